//! Agents are kept running, and none outlives the gateway.

use std::fs;
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Folder, Gateway, start, wait_for};

/// Whether a process lives: there, and no zombie.
fn lives(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|line| !line.rsplit_once(')').unwrap().1.starts_with(" Z"))
}

/// The pids that a script wrote, one a line.
fn pids(folder: &Folder, count: usize) -> Vec<i32> {
    let path = folder.path().join("pids");
    let read = || -> Vec<i32> {
        let text = fs::read_to_string(&path).unwrap_or_default();
        text.split_inclusive('\n')
            .filter_map(|line| line.strip_suffix('\n')?.parse().ok())
            .collect()
    };
    wait_for(&format!("{count} pids in {}", path.display()), || read().len() >= count);
    read()
}

#[test]
fn agents_get_term_then_kill_and_none_survives() {
    let folder = Folder::new("agents");
    let list = folder.path().join("pids");
    let list = list.display();
    let mut command = start(&folder);
    command.args(["--drain-time", "400ms"]);
    // One that obeys, one that is deaf, and a group with a deaf grandchild.
    command.args(["--agent", &format!("sh -c 'echo $$ >> {list}; exec sleep 600'")]);
    command.args([
        "--agent",
        &format!("sh -c 'trap \"\" TERM; echo $$ >> {list}; while :; do sleep 600; done'"),
    ]);
    command.args([
        "--agent",
        &format!("sh -c '(trap \"\" TERM; sleep 600 & echo $! >> {list}; wait) & echo $$ >> {list}; wait'"),
    ]);
    let mut gateway = Gateway::run(command, &folder);
    let pids = pids(&folder, 4);
    assert_eq!(gateway.ask("GET", "/status", b"").json()["agents"], 3);
    assert_eq!(gateway.end(Signal::SIGTERM), 0);
    let log = gateway.log();
    assert!(
        log.contains("ended: SIGTERM") && log.contains("did not end after SIGTERM: SIGKILL"),
        "{log}"
    );
    wait_for("every agent to be gone", || !pids.iter().any(|&pid| lives(pid)));
}

#[test]
fn agent_that_dies_is_started_again_without_what_it_left() {
    let folder = Folder::new("agent-dies");
    let list = folder.path().join("pids");
    let list = list.display();
    let mut command = start(&folder);
    command.args([
        "--agent",
        &format!("sh -c 'sleep 600 & echo $! >> {list}; echo $$ >> {list}; exec sleep 600'"),
    ]);
    let mut gateway = Gateway::run(command, &folder);
    let first = pids(&folder, 2);
    kill(Pid::from_raw(first[1]), Signal::SIGKILL).unwrap();
    let both = pids(&folder, 4);
    gateway.wait_log("died: SIGKILL");
    wait_for("the first agent's leftover to be gone", || !lives(first[0]));
    assert!(lives(both[2]) && lives(both[3]));
    assert!(
        gateway.ask("GET", "/metrics", b"").text().contains("openclaw_agent_restarts_total 1\n")
    );
    assert_eq!(gateway.end(Signal::SIGTERM), 0);
    wait_for("every agent to be gone", || !both.iter().any(|&pid| lives(pid)));
}

#[test]
fn agent_that_cannot_be_started_is_logged_and_the_gateway_serves() {
    let folder = Folder::new("agent-missing");
    let mut command = start(&folder);
    command.args(["--agent", "/no/such/agent --secret x"]);
    let mut gateway = Gateway::run(command, &folder);
    gateway.wait_log("agent /no/such/agent cannot be started: No such file or directory");
    assert!(!gateway.log().contains("secret"), "{}", gateway.log());
    assert_eq!(gateway.end(Signal::SIGTERM), 0);
}

#[test]
fn agents_start_with_no_signal_blocked_and_none_ignored() {
    let folder = Folder::new("agent-mask");
    let status = folder.path().join("status");
    let mut command = start(&folder);
    command.args([
        "--agent",
        &format!(
            "sh -c 'cp /proc/self/status {0}.new; mv {0}.new {0}; exec sleep 600'",
            status.display()
        ),
    ]);
    let mut gateway = Gateway::run(command, &folder);
    wait_for("the agent's /proc/self/status", || status.exists());
    let text = fs::read_to_string(status).unwrap();
    for name in ["SigBlk:\t", "SigIgn:\t"] {
        let mask = text.split_once(name).unwrap().1.lines().next().unwrap();
        // Signals 32 and up are the C library's own, and handed on as they came.
        let standard = u64::from_str_radix(mask, 16).unwrap() & 0x7fff_ffff;
        assert_eq!(standard, 0, "{name}{mask}");
    }
    assert_eq!(gateway.end(Signal::SIGTERM), 0);
}

#[test]
fn agents_do_not_keep_the_lock_of_a_gateway_that_was_killed() {
    let folder = Folder::new("agent-lock");
    let list = folder.path().join("pids");
    let mut command = start(&folder);
    command.args(["--agent", &format!("sh -c 'echo $$ >> {}; exec sleep 600'", list.display())]);
    let mut gateway = Gateway::run(command, &folder);
    let pid = pids(&folder, 1)[0];
    gateway.kill();
    assert!(lives(pid), "nobody has ended the agent yet");
    let mut next = Gateway::start(&folder);
    assert_eq!(next.end(Signal::SIGTERM), 0);
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

#[test]
fn zombies_that_somebody_reaps_late_keep_no_stop_waiting() {
    let folder = Folder::new("agent-zombie");
    let list = folder.path().join("pids");
    let list = list.display();
    let mut command = start(&folder);
    // Its own grandchild comes back to the gateway, which reaps nobody else's as long as
    // it is not PID 1: a reaper that is late to the end.
    command.args([
        "--agent",
        &format!("sh -c '(sleep 600 & echo $! >> {list}); echo $$ >> {list}; exec sleep 600'"),
    ]);
    // SAFETY: between fork and exec only prctl(2) is called, which is a plain system call.
    unsafe {
        command.pre_exec(|| Ok(prctl::set_child_subreaper(true)?));
    }
    let mut gateway = Gateway::run(command, &folder);
    let pids = pids(&folder, 2);
    let parent = || {
        let line = fs::read_to_string(format!("/proc/{}/stat", pids[0])).unwrap();
        line.rsplit_once(')').unwrap().1.split_ascii_whitespace().nth(1).unwrap().to_owned()
    };
    wait_for("the grandchild to be the gateway's", || parent() == gateway.pid().to_string());
    let begun = Instant::now();
    assert_eq!(gateway.end(Signal::SIGTERM), 0);
    let took = begun.elapsed();
    assert!(!gateway.log().contains("live on"), "{}", gateway.log());
    assert!(!gateway.log().contains("SIGKILL"), "{}", gateway.log());
    assert!(took < Duration::from_millis(900), "{took:?}: {}", gateway.log());
}
