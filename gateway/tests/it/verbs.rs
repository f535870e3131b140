//! `gateway stop | restart | status`: alone, and under a supervisor that is a loop in
//! a shell.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Folder, Gateway, Random, outcome, port_in, start, verb, wait_for};

/// `while :; do openclaw gateway start …; done`, that ends when the gateway leaves
/// with 0, as every supervisor does that knows zero from non-zero.
fn loop_around(inner: &Command) -> Command {
    let mut command = Command::new("sh");
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.args([
        "-c",
        "trap '' TERM; while :; do \"$0\" \"$@\"; code=$?; [ $code = 0 ] && exit 0; done",
    ]);
    command.arg(inner.get_program()).args(inner.get_args());
    command
}

#[test]
fn status_answers_from_the_gateway_then_from_the_folder() {
    let folder = Folder::new("status-verb");
    let (value, code, _) = outcome(verb(&folder, "status"));
    assert_eq!((value, code), (json!({ "status": "stopped", "reason": "never started" }), 3));

    let mut gateway = Gateway::start(&folder);
    let (value, code, _) = outcome(verb(&folder, "status"));
    assert_eq!((&value["status"], &value["generation"], code), (&"running".into(), &1.into(), 0));
    let mut command = verb(&folder, "status");
    command.env_remove("GATEWAY_TOKEN").arg("--json");
    let (value, code, said) = outcome(command);
    assert_eq!((value, code), (json!({ "status": "running", "uptime": 0 }), 0));
    assert_eq!(said, "", "--json prints nothing else");

    assert_eq!(gateway.end(Signal::SIGTERM), 0);
    let (value, code, _) = outcome(verb(&folder, "status"));
    assert_eq!(
        (&value["status"], &value["reason"], code),
        (&"stopped".into(), &"graceful shutdown".into(), 3)
    );

    Gateway::start(&folder).kill();
    let (value, code, _) = outcome(verb(&folder, "status"));
    assert_eq!((&value["reason"], &value["generation"], code), (&"killed".into(), &2.into(), 3));

    assert_eq!(Gateway::start(&folder).end(Signal::SIGUSR1), 75);
    let (value, code, _) = outcome(verb(&folder, "status"));
    assert_eq!((&value["reason"], code), (&"restart requested".into(), 3));
}

#[test]
fn status_of_a_gateway_elsewhere_is_asked_by_url() {
    let folder = Folder::new("here");
    let other = Folder::new("there");
    let gateway = Gateway::start(&other);
    let url = format!("http://127.0.0.1:{}", gateway.port);
    let mut command = verb(&folder, "status");
    command.env("GATEWAY_URL", &url);
    let (value, code, _) = outcome(command);
    assert_eq!((&value["status"], code), (&"running".into(), 0));
}

#[test]
fn status_of_a_gateway_that_hangs_is_1_within_its_timeout() {
    let folder = Folder::new("hangs");
    let gateway = Gateway::start(&folder);
    gateway.signal(Signal::SIGSTOP);
    let begun = Instant::now();
    let mut command = verb(&folder, "status");
    command.args(["--timeout", "300ms"]);
    let (value, code, _) = outcome(command);
    assert_eq!((&value["status"], code), (&"unknown".into(), 1));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn stop_alone_is_proven_and_stopping_again_is_fine() {
    let folder = Folder::new("stop");
    let mut gateway = Gateway::start(&folder);
    let pid = gateway.pid();
    let (value, code, said) = outcome(verb(&folder, "stop"));
    assert_eq!((value, code), (json!({ "status": "stopped", "reason": "graceful shutdown" }), 0));
    assert!(said.contains(&format!("sending SIGTERM to the gateway, pid {pid}")), "{said}");
    assert_eq!(gateway.wait().code(), Some(0));
    let mut command = verb(&folder, "stop");
    command.arg("--json");
    let (value, code, said) = outcome(command);
    assert_eq!((value, code), (json!({ "status": "stopped", "reason": "not running" }), 0));
    assert_eq!(said, "");
}

#[test]
fn stop_that_does_not_happen_in_time_is_no_success() {
    let folder = Folder::new("stop-late");
    let gateway = Gateway::start(&folder);
    gateway.signal(Signal::SIGSTOP);
    let mut command = verb(&folder, "stop");
    command.args(["--timeout", "300ms"]);
    let (value, code, said) = outcome(command);
    assert_eq!(
        (&value["status"], &value["reason"], code),
        (&"stopping".into(), &"timeout".into(), 1)
    );
    assert!(said.contains("did not stop within"), "{said}");
}

#[test]
fn verbs_never_signal_a_pid_whose_lock_is_not_held() {
    let folder = Folder::new("stale-pid");
    let mut gateway = Gateway::start(&folder);
    gateway.kill();
    let mut bystander = Command::new("sleep").arg("600").spawn().unwrap();
    let path = folder.state().join("gateway.lock");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace(&gateway.pid().to_string(), &bystander.id().to_string()))
        .unwrap();
    let (value, _, _) = outcome(verb(&folder, "stop"));
    assert_eq!(value["reason"], "not running");
    let (value, code, _) = outcome(verb(&folder, "restart"));
    assert_eq!((&value["reason"], code), (&"not running".into(), 1));
    let alive = bystander.try_wait().unwrap().is_none();
    bystander.kill().unwrap();
    bystander.wait().unwrap();
    assert!(alive, "a process that is no gateway was signalled");
}

#[test]
fn pid_of_another_container_is_not_signalled() {
    let folder = Folder::new("container");
    let gateway = Gateway::start(&folder);
    let path = folder.state().join("gateway.lock");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once("pid:[").unwrap();
    let (_, after) = rest.split_once(']').unwrap();
    fs::write(&path, format!("{before}pid:[1]{after}")).unwrap();
    let output = verb(&folder, "stop").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("runs in another container"), "{said}");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(gateway.ask("GET", "/ready", b"").status, 200);
}

#[test]
fn restart_alone_says_that_nobody_started_it_again() {
    let folder = Folder::new("alone");
    let mut gateway = Gateway::start(&folder);
    let verb = std::thread::spawn({
        let command = verb(&folder, "restart");
        move || outcome(command)
    });
    assert_eq!(gateway.wait().code(), Some(75));
    let (value, code, said) = verb.join().unwrap();
    assert_eq!((&value["status"], code), (&"stopped".into(), 1));
    assert!(
        said.contains("nobody started the next") && said.contains("--on-restart exec"),
        "{said}"
    );
}

#[test]
fn restart_alone_works_in_place() {
    let folder = Folder::new("alone-exec");
    let mut command = start(&folder);
    command.args(["--on-restart", "exec"]);
    let mut gateway = Gateway::run(command, &folder);
    let (value, code, _) = outcome(verb(&folder, "restart"));
    assert_eq!((&value["status"], &value["generation"], code), (&"restarted".into(), &2.into(), 0));
    assert_eq!(value["pid"], gateway.pid().as_raw());
    let (value, code, _) = outcome(verb(&folder, "stop"));
    assert_eq!((&value["status"], code), (&"stopped".into(), 0));
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn restart_and_stop_under_a_shell_loop() {
    let folder = Folder::new("loop");
    let mut supervisor = Gateway::run(loop_around(&start(&folder)), &folder);
    assert_eq!(supervisor.ask("PUT", "/memory/a", b"kept").status, 201);
    for generation in 2..=4 {
        let (value, code, said) = outcome(verb(&folder, "restart"));
        assert_eq!(
            (&value["status"], &value["generation"], code),
            (&"restarted".into(), &generation.into(), 0),
            "{said}"
        );
    }
    let last =
        supervisor.log().lines().rfind(|line| line.contains("ready on port")).unwrap().to_owned();
    supervisor.port = port_in(&last).unwrap();
    assert_eq!(supervisor.ask("GET", "/memory/a", b"").text(), "kept");
    let (value, code, _) = outcome(verb(&folder, "stop"));
    assert_eq!((&value["status"], code), (&"stopped".into(), 0));
    assert_eq!(supervisor.wait().code(), Some(0));
}

#[test]
fn stop_under_a_supervisor_that_starts_it_again_is_no_success() {
    let folder = Folder::new("always");
    let mut command = loop_around(&start(&folder));
    let again = "trap '' TERM; for i in 1 2; do \"$0\" \"$@\"; done";
    let arguments: Vec<_> = command.get_args().skip(2).map(ToOwned::to_owned).collect();
    command = {
        let mut fresh = Command::new("sh");
        fresh.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        fresh.args(["-c", again]).args(arguments);
        fresh
    };
    let mut supervisor = Gateway::run(command, &folder);
    // Whether the verb sees the moment between the two generations is a race that both
    // may win; what must not happen is "stopped" while one holds the lock.
    let (value, code, _) = outcome(verb(&folder, "stop"));
    match code {
        0 => assert_eq!(value["status"], "stopped"),
        _ => assert_eq!(value["reason"], "started again by its supervisor"),
    }
    supervisor.wait_log("generation 2,");
    let (_, code, _) = outcome(verb(&folder, "stop"));
    assert_eq!(code, 0);
    assert_eq!(supervisor.wait().code(), Some(0));
}

#[test]
fn stop_goes_to_clawinit_when_that_is_the_parent() {
    let folder = Folder::new("clawinit");
    let inner = start(&folder);
    // Stands in for clawinit: names itself, forwards SIGTERM, leaves with the code.
    let script = "CLAWINIT_PID=$$; export CLAWINIT_PID; \"$0\" \"$@\" & child=$!; \
                  trap 'echo forwarded >&2; kill -TERM $child' TERM; \
                  while kill -0 $child 2>/dev/null; do wait $child; code=$?; done; exit $code";
    let mut command = Command::new("sh");
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.args(["-c", script]).arg(inner.get_program()).args(inner.get_args());
    let mut init = Gateway::run(command, &folder);
    let status = init.ask("GET", "/status", b"").json();
    assert_eq!(status["supervisor"], json!({ "kind": "clawinit", "pid": init.pid().as_raw() }));
    let (value, code, said) = outcome(verb(&folder, "stop"));
    assert!(said.contains(&format!("sending SIGTERM to clawinit, pid {}", init.pid())), "{said}");
    assert_eq!((&value["reason"], code), (&"graceful shutdown".into(), 0));
    assert_eq!(init.wait().code(), Some(0));
    assert!(init.log().contains("forwarded"), "{}", init.log());
}

#[test]
fn stop_inside_a_pid_namespace_prints_its_outcome_before_the_namespace_ends() {
    if !crate::harness::is_root(
        "stop_inside_a_pid_namespace_prints_its_outcome_before_the_namespace_ends",
    ) {
        return;
    }
    let folder = Folder::new("namespace");
    let inner = start(&folder);
    let mut command = Command::new("unshare");
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
    command.arg(inner.get_program()).args(inner.get_args());
    let mut random = Random::new("namespace");
    for round in 0..10 {
        let mut again = Command::new("unshare");
        again.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        again.args(command.get_args());
        let mut init = Gateway::spawn(again, &folder);
        wait_for("a gateway as PID 1, or the refusal of unshare", || {
            port_in(&init.log()).is_some() || init.log().contains("unshare:")
        });
        if init.log().contains("unshare:") {
            println!("skipped: no PID namespace here: {}", init.log());
            return;
        }
        let children =
            fs::read_to_string(format!("/proc/{0}/task/{0}/children", init.pid())).unwrap();
        let pid1 = children.trim().to_owned();
        let stop = verb(&folder, "stop");
        let mut entered = Command::new("nsenter");
        entered.env_clear().envs(stop.get_envs().filter_map(|(name, value)| Some((name, value?))));
        entered
            .args(["--target", &pid1, "--pid", "--mount"])
            .arg(stop.get_program())
            .args(stop.get_args());
        std::thread::sleep(Duration::from_micros(random.below(2_000)));
        let (value, code, said) = outcome(entered);
        assert_eq!(
            (&value["reason"], code),
            (&"graceful shutdown".into(), 0),
            "round {round}: {said}"
        );
        assert_eq!(init.wait().code(), Some(0));
    }
}
