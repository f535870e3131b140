//! What runs under clawinit in these tests: one small program of many roles.
//!
//! It is this same test binary, called with a role as its first words, so that no shell stands
//! between clawinit and what a test wants to see. A role writes what it sees to standard output,
//! a line for each thing, beginning with `ready`.

use crate::sys;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::wait::WaitStatus;
use nix::unistd::{Pid, getpgrp, getpid, getppid, getsid, setsid};
use serde_json::json;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::io::{BufRead, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::time::Duration;

/// Runs the role that `args` name; never comes back.
pub fn run(args: &[String]) -> ! {
    let (role, rest) = args.split_first().expect("a role");
    match role.as_str() {
        "launch" => crate::launch::run(rest),
        "enter" => crate::launch::enter(rest),
        "can-launch" => crate::launch::can(),
        "exit" => std::process::exit(rest[0].parse().expect("an exit code")),
        "die" => die(rest[0].parse().expect("a signal")),
        "pause" => pause(),
        "record" => record(rest),
        "ignore" => ignore(rest),
        "leave" => leave(rest),
        "chatter" => chatter(rest),
        "heir" => heir(&rest[0]),
        "nap" => nap(rest),
        "move-out" => move_out(rest),
        "orphans" => orphans(rest),
        "together" => together(),
        "repeat" => repeat(rest),
        "burst" => burst(rest),
        "zombie-holder" => zombie_holder(rest),
        "headless" => headless(),
        "state" => state(&rest[0]),
        "generations" => generations(rest),
        "bind" => bind(rest),
        "facts" => facts(),
        "read-line" => read_line(),
        "root" => {
            let root = nix::unistd::Uid::from_raw(0);
            nix::unistd::setresuid(root, root, root).expect("become root");
            run(rest)
        }
        "kill" => kill(rest),
        "shout" => shout(rest),
        "stopwatch" => stopwatch(),
        "named" => named(rest),
        "crowd" => crowd(rest),
        "attack" => attack(rest),
        "security" => crate::assault::role(rest),
        "verb" => verb(rest),
        "as" => {
            let user = rest[0].parse().expect("a uid");
            sys::become_user(user, user);
            run(&rest[1..])
        }
        "several" => several(rest),
        "serve" => serve(rest),
        "says" => crate::probe_notify::run(rest),
        "page" => page(rest),
        "hold-page" => hold_page(rest),
        "read-page" => crate::page::reader(rest),
        "remove" => {
            std::fs::remove_file(&rest[0]).expect("remove the file");
            std::process::exit(rest[1].parse().expect("an exit code"))
        }
        _ => panic!("unknown role {role}"),
    }
}

pub fn say(line: &str) {
    // One write for each line, so that lines of several processes do not mix. Nobody may be
    // listening any more, which is no concern of a role.
    let _ = std::io::stdout().write_all(format!("{line}\n").as_bytes());
}

fn say_ready() {
    let generation = std::env::var("CLAWINIT_GENERATION").unwrap_or_default();
    say(&format!("ready pid={} generation={generation}", getpid()));
}

/// `die N`: ends by signal N, whatever was ignored or blocked before.
fn die(signal: i32) -> ! {
    // No core file in the folder of whoever runs the tests.
    nix::sys::prctl::set_dumpable(false).expect("PR_SET_DUMPABLE");
    setrlimit(Resource::RLIMIT_CORE, 0, 0).expect("RLIMIT_CORE");
    sys::block_exactly(0);
    if signal != libc::SIGKILL {
        sys::default(signal);
    }
    sys::kill(getpid().as_raw(), signal).expect("kill myself");
    pause_forever()
}

fn pause_forever() -> ! {
    loop {
        nix::unistd::pause();
    }
}

/// `pause`: the program that knows nothing of signals; each has its default action.
fn pause() -> ! {
    sys::block_exactly(0);
    sys::default(libc::SIGPIPE);
    say_ready();
    pause_forever()
}

/// `ignore N,N…`: lives on after these.
fn ignore(args: &[String]) -> ! {
    for signal in args[0].split(',') {
        sys::ignore(signal.parse().expect("a signal"));
    }
    say_ready();
    pause_forever()
}

/// How `record` answers a signal: leave with `code` after `delay`.
struct Rule {
    code: i32,
    delay: Duration,
}

/// `record [exit=SIGNAL:CODE[:MILLISECONDS]]… [stop]`: says each signal in the order of arrival.
/// With `stop` it stops itself first, as after `kill -STOP`.
fn record(args: &[String]) -> ! {
    sys::block_exactly(u64::MAX);
    let mut rules = BTreeMap::new();
    let mut stop = false;
    for arg in args {
        if let Some(rule) = arg.strip_prefix("exit=") {
            let parts: Vec<i32> = rule.split(':').map(|n| n.parse().expect("rule")).collect();
            let delay = Duration::from_millis(*parts.get(2).unwrap_or(&0) as u64);
            rules.insert(parts[0], Rule { code: parts[1], delay });
        } else {
            assert_eq!(arg, "stop", "record: unknown word");
            stop = true;
        }
    }
    say_ready();
    if stop {
        sys::kill(getpid().as_raw(), libc::SIGSTOP).expect("stop myself");
    }
    let mut leave: Option<(u64, i32)> = None;
    loop {
        let bound = leave.map(|(at, _)| Duration::from_nanos(at.saturating_sub(sys::now_ns())));
        let Some(got) = sys::wait_signal(u64::MAX, bound) else {
            std::process::exit(leave.expect("a bound only when leaving").1);
        };
        say(&format!(
            "signal {} code={} value={} from={}",
            got.signal, got.code, got.value, got.pid
        ));
        if let Some(rule) = rules.get(&got.signal)
            && leave.is_none()
        {
            if rule.delay.is_zero() {
                std::process::exit(rule.code);
            }
            leave = Some((sys::now_ns() + rule.delay.as_nanos() as u64, rule.code));
        }
    }
}

/// `leave NAME:KIND[:OPTION]… … -- ROLE…`: starts what a careless program leaves behind, then
/// becomes ROLE. KIND is `worker` (a child in the same group), `orphan` (its parent is gone) or
/// `daemon` (the same in a session of its own). Options: `deaf` lives on after SIGTERM, `plain`
/// has default actions, `stopped` is stopped, `slow=MS` needs that long to clean up, `port=N` holds a TCP port,
/// `stuck` waits where no signal but SIGKILL reaches it (state D), `brood` hands a deaf child over when it dies, `chain=N` starts a successor when it is told to end,
/// which does the same, N times.
fn leave(args: &[String]) -> ! {
    let split = args.iter().position(|arg| arg == "--").expect("--");
    for leftover in &args[..split] {
        start_leftover(leftover);
    }
    run(&args[split + 1..])
}

fn start_leftover(words: &str) {
    let mut parts = words.split(':');
    let name = parts.next().expect("a name");
    let kind = parts.next().expect("a kind");
    let options: Vec<&str> = parts.collect();
    let (ready, ready_end) = std::io::pipe().expect("pipe");
    let Some(child) = sys::fork() else {
        drop(ready);
        if kind != "worker" {
            if kind == "daemon" {
                setsid().expect("setsid");
            }
            if sys::fork().is_some() {
                std::process::exit(0);
            }
        }
        leftover(name, &options, ready_end);
    };
    drop(ready_end);
    if kind != "worker" {
        let _ = nix::sys::wait::waitpid(Pid::from_raw(child), None);
    }
    let mut line = String::new();
    std::io::BufReader::new(ready).read_line(&mut line).expect("the leftover to start");
    assert!(!line.is_empty(), "the leftover {words} did not start");
}

fn leftover(name: &str, options: &[&str], mut ready: std::io::PipeWriter) -> ! {
    let mut deaf = false;
    let mut plain = false;
    let mut stopped = false;
    let mut stuck = false;
    let mut slow = 0;
    let mut chain = 0;
    let mut holds = Vec::new();
    for option in options {
        match option.split_once('=').unwrap_or((option, "")) {
            ("deaf", _) => deaf = true,
            ("plain", _) => plain = true,
            ("stopped", _) => stopped = true,
            ("stuck", _) => stuck = true,
            ("slow", ms) => slow = ms.parse().expect("milliseconds"),
            ("port", port) => holds.push(listen(port).expect("the leftover's port")),
            ("chain", more) => chain = more.parse().expect("a number"),
            ("brood", _) => start_leftover(&format!("{name}.brood:worker:deaf")),
            _ => panic!("unknown leftover option {option}"),
        }
    }
    if !plain {
        sys::block_exactly(u64::MAX);
    }
    say(&format!("left {name} pid={}", getpid()));
    ready.write_all(b"ready\n").expect("my maker waits");
    drop(ready);
    if stopped {
        sys::kill(getpid().as_raw(), libc::SIGSTOP).expect("stop myself");
    }
    if stuck {
        sys::wait_for_a_vfork_without_end();
    }
    if plain {
        pause_forever();
    }
    loop {
        let got = sys::wait_signal(u64::MAX, None).expect("no bound");
        say(&format!("left {name} signal {}", got.signal));
        if got.signal == libc::SIGTERM && !deaf {
            std::thread::sleep(Duration::from_millis(slow));
            if chain > 0 {
                start_leftover(&format!("{name}:worker:chain={}", chain - 1));
            }
            say(&format!("left {name} done"));
            std::process::exit(0);
        }
    }
}

/// `chatter N ROLE…`: N workers write to standard error for ever, whole pages; then becomes ROLE.
fn chatter(args: &[String]) -> ! {
    for _ in 0..args[0].parse().expect("a number") {
        if sys::fork().is_none() {
            sys::block_exactly(0);
            let mut page = [b'x'; 4096];
            page[4095] = b'\n';
            while std::io::stderr().write_all(&page).is_ok() {}
            std::process::exit(0);
        }
    }
    run(&args[1..])
}

/// `heir LEFTOVER`: when it is told to end, it starts this leftover (as `leave` does) and leaves.
fn heir(leftover: &str) -> ! {
    sys::block_exactly(u64::MAX);
    say_ready();
    while sys::wait_signal(u64::MAX, None).expect("no bound").signal != libc::SIGTERM {}
    start_leftover(leftover);
    std::process::exit(0)
}

/// `nap SIGNAL CODE`: stops itself when it is told SIGNAL, and leaves with CODE once it is awake.
fn nap(args: &[String]) -> ! {
    let number = |i: usize| args[i].parse::<i32>().expect("a number");
    sys::block_exactly(u64::MAX);
    say_ready();
    while sys::wait_signal(u64::MAX, None).expect("no bound").signal != number(0) {}
    say("naps");
    sys::kill(getpid().as_raw(), libc::SIGSTOP).expect("stop myself");
    say("awake");
    std::process::exit(number(1))
}

/// `move-out ROLE…`: goes over to the process group of a child, while another child stays in the
/// one it leaves; then becomes ROLE.
fn move_out(args: &[String]) -> ! {
    let old = getpgrp();
    start_leftover("stays:worker:deaf");
    let Some(child) = sys::fork() else { pause_forever() };
    let child = Pid::from_raw(child);
    nix::unistd::setpgid(child, child).expect("a group for the child");
    nix::unistd::setpgid(Pid::from_raw(0), child).expect("move over to it");
    assert_ne!(getpgrp(), old, "moved out");
    run(args)
}

fn listen(port: &str) -> std::io::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port.parse().expect("a port")))
}

/// `orphans FAMILIES CODE`: each family is a child, a grandchild and a great-grandchild, each of
/// which outlives its parent; then leaves with CODE once all have ended.
fn orphans(args: &[String]) -> ! {
    let families: usize = args[0].parse().expect("a number");
    let code = args[1].parse().expect("an exit code");
    // The pipe is at its end when the last of them has gone.
    let (alive, alive_end) = std::io::pipe().expect("pipe");
    for _ in 0..families {
        if let Some(child) = sys::fork() {
            let _ = nix::sys::wait::waitpid(Pid::from_raw(child), None);
            continue;
        }
        // The child ends at once and is waited for; these two become orphans, one of the other.
        for _ in 0..3 {
            let parent = getpid();
            if sys::fork().is_some() {
                std::process::exit(0);
            }
            while getppid() == parent {
                std::thread::yield_now();
            }
        }
        std::process::exit(7);
    }
    drop(alive_end);
    let mut rest = Vec::new();
    let mut alive = alive;
    let _ = std::io::Read::read_to_end(&mut alive, &mut rest);
    say("ready");
    std::process::exit(code)
}

/// `together`: an orphan and this process end in the same moment, so that their SIGCHLDs coalesce.
fn together() -> ! {
    let (gate, gate_end) = std::io::pipe().expect("pipe");
    let Some(child) = sys::fork() else {
        if sys::fork().is_some() {
            std::process::exit(0);
        }
        drop(gate_end);
        let _ = std::io::Read::read(&mut &gate, &mut [0]);
        std::process::exit(1);
    };
    drop(gate);
    let _ = nix::sys::wait::waitpid(Pid::from_raw(child), None);
    // Closing the gate by ending releases the orphan.
    std::process::exit(42)
}

/// `repeat N CODE PROGRAM ARG…`: runs a program N times, one after the other, each time with the
/// subreaper bit; leaves with 0 when each of them left with CODE.
fn repeat(args: &[String]) -> ! {
    let count: usize = args[0].parse().expect("a number");
    let code: i32 = args[1].parse().expect("an exit code");
    for round in 1..=count {
        let Some(pid) = sys::fork() else {
            sys::block_exactly(0);
            sys::become_subreaper();
            let words: Vec<CString> =
                args[2..].iter().map(|a| CString::new(a.as_str()).expect("no zero")).collect();
            let error = nix::unistd::execv(&words[0], &words);
            panic!("{}: {error:?}", args[2]);
        };
        // What an init leaves to us is none of its children.
        let status = loop {
            match nix::sys::wait::waitpid(None, None).expect("a child") {
                status if status.pid() == Some(Pid::from_raw(pid)) => break status,
                _ => {}
            }
        };
        if status != WaitStatus::Exited(Pid::from_raw(pid), code) {
            say(&format!("round {round} ended with {status:?}"));
            std::process::exit(1);
        }
        if round % 50 == 0 {
            say(&format!("round {round}"));
        }
    }
    std::process::exit(0)
}

/// `burst N CODE`: N orphans die of one signal in one moment; leaves with CODE afterwards.
fn burst(args: &[String]) -> ! {
    let count: usize = args[0].parse().expect("a number");
    let (alive, alive_end) = std::io::pipe().expect("pipe");
    let Some(child) = sys::fork() else {
        setsid().expect("setsid");
        for _ in 0..count {
            if sys::fork().is_none() {
                pause_forever();
            }
        }
        say(&format!("group {}", getpid()));
        std::process::exit(0);
    };
    drop(alive_end);
    let _ = nix::sys::wait::waitpid(Pid::from_raw(child), None);
    sys::kill(-child, libc::SIGKILL).expect("kill the group");
    let mut alive = alive;
    let _ = std::io::Read::read_to_end(&mut alive, &mut Vec::new());
    if args[1] == "record" {
        record(&["exit=15:0".to_string()]);
    }
    say_ready();
    std::process::exit(args[1].parse().expect("an exit code"))
}

/// `zombie-holder ROLE…`: keeps a dead child that it never waits for.
fn zombie_holder(args: &[String]) -> ! {
    if sys::fork().is_none() {
        std::process::exit(0);
    }
    run(args)
}

/// `headless`: an orphan whose first thread has ended while another goes on looks like a zombie
/// that cannot be waited for. This process itself goes on as a recorder.
fn headless() -> ! {
    let (ready, ready_end) = std::io::pipe().expect("pipe");
    let Some(child) = sys::fork() else {
        drop(ready);
        if sys::fork().is_some() {
            std::process::exit(0);
        }
        sys::block_exactly(0);
        std::thread::spawn(move || {
            let mut ready_end = ready_end;
            let _ = ready_end.write_all(b"ready\n");
            drop(ready_end);
            pause_forever();
        });
        sys::exit_this_thread();
    };
    drop(ready_end);
    let _ = nix::sys::wait::waitpid(Pid::from_raw(child), None);
    let _ = std::io::BufReader::new(ready).read_line(&mut String::new());
    record(&["exit=15:0".to_string()])
}

/// `state FILE`: a program that saves its state on SIGUSR1 and asks to be started again.
fn state(path: &str) -> ! {
    sys::block_exactly(sys::set(&[libc::SIGUSR1, libc::SIGTERM]));
    let saved: u64 =
        std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    say(&format!("ready saved={saved} pid={}", getpid()));
    let wanted = sys::set(&[libc::SIGUSR1, libc::SIGTERM]);
    let got = sys::wait_signal(wanted, None).expect("no bound");
    if got.signal == libc::SIGTERM {
        std::process::exit(0);
    }
    std::fs::write(path, format!("{}\n", saved + 1)).expect("save the state");
    std::process::exit(75)
}

/// `generations N=ROLE,ARG,… … *=ROLE,…`: another role in each generation.
fn generations(args: &[String]) -> ! {
    let generation = std::env::var("CLAWINIT_GENERATION").expect("CLAWINIT_GENERATION");
    say(&format!("generation {generation} at={}", sys::now_ns()));
    let role = args
        .iter()
        .filter_map(|arg| arg.split_once('='))
        .find(|(number, _)| *number == generation || *number == "*")
        .expect("a role for this generation")
        .1;
    let words: Vec<String> = role.split(',').map(str::to_string).collect();
    run(&words)
}

/// `bind PORT ROLE…`: holds the port, or leaves with 3 when somebody else does.
fn bind(args: &[String]) -> ! {
    match listen(&args[0]) {
        Ok(_held) => run(&args[1..]),
        Err(error) => {
            say(&format!("bind: {error}"));
            std::process::exit(3)
        }
    }
}

/// `facts`: what this process was given, as one JSON line; then leaves with 0.
fn facts() -> ! {
    let fds: BTreeMap<String, String> = std::fs::read_dir("/proc/self/fd")
        .expect("/proc/self/fd")
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let to = std::fs::read_link(entry.path()).ok()?;
            Some((
                entry.file_name().to_string_lossy().into_owned(),
                to.to_string_lossy().into_owned(),
            ))
        })
        // The descriptor of the listing itself.
        .filter(|(_, to)| !to.starts_with("/proc/"))
        .collect();
    let environment: BTreeMap<String, String> = std::env::vars().collect();
    let groups: Vec<u32> = std::fs::read_to_string("/proc/self/status")
        .expect("/proc/self/status")
        .lines()
        .find_map(|line| line.strip_prefix("Groups:"))
        .expect("Groups")
        .split_whitespace()
        .map(|group| group.parse().expect("a gid"))
        .collect();
    let stdin = std::io::stdin();
    let foreground = nix::unistd::tcgetpgrp(stdin.as_fd()).map(Pid::as_raw).unwrap_or(-1);
    say(&json!({
        "pid": getpid().as_raw(),
        "ppid": getppid().as_raw(),
        "pgrp": getpgrp().as_raw(),
        "sid": getsid(None).map(Pid::as_raw).unwrap_or(-1),
        "foreground": foreground,
        "uid": nix::unistd::getuid().as_raw(),
        "euid": nix::unistd::geteuid().as_raw(),
        "gid": nix::unistd::getgid().as_raw(),
        "groups": groups,
        "no_new_privs": sys::no_new_privs(),
        "cwd": std::env::current_dir().expect("cwd"),
        "env": environment,
        "fds": fds,
        "args": std::env::args().collect::<Vec<_>>(),
    })
    .to_string());
    std::process::exit(0)
}

/// `read-line`: reads a line of standard input at once; `got …` says it, exit code 0.
fn read_line() -> ! {
    sys::block_exactly(0);
    say_ready();
    let mut line = String::new();
    match std::io::stdin().lock().read_line(&mut line) {
        Ok(_) => say(&format!("got {}", line.trim_end())),
        Err(error) => say(&format!("read: {error}")),
    }
    std::process::exit(0)
}

/// `kill SIGNAL PID [UID]`: sends it, as UID where one is given.
fn kill(args: &[String]) -> ! {
    let number = |i: usize| args[i].parse::<i32>().expect("a number");
    if args.len() > 2 {
        sys::become_user(number(2) as u32, number(2) as u32);
    }
    match sys::kill(number(1), number(0)) {
        Ok(()) => std::process::exit(0),
        Err(error) => {
            say(&format!("kill: {error}"));
            std::process::exit(1)
        }
    }
}

/// `shout NAME ROLE…`: says a line on standard error too, then becomes ROLE.
fn shout(args: &[String]) -> ! {
    let _ = std::io::stderr().write_all(format!("child-says {}\n", args[0]).as_bytes());
    run(&args[1..])
}

/// `stopwatch`: says when each signal came; leaves with 0 on SIGTERM.
fn stopwatch() -> ! {
    sys::block_exactly(u64::MAX);
    say_ready();
    loop {
        let got = sys::wait_signal(u64::MAX, None).expect("no bound");
        say(&format!("at {}", sys::now_ns()));
        if got.signal == libc::SIGTERM {
            std::process::exit(0);
        }
    }
}

/// `named NAME ROLE…`: becomes ROLE by this name in `/proc/PID/comm`.
fn named(args: &[String]) -> ! {
    let name = std::ffi::CString::new(args[0].as_str()).expect("no zero byte");
    nix::sys::prctl::set_name(&name).expect("PR_SET_NAME");
    run(&args[1..])
}

/// `crowd ZOMBIES ORPHANS ROLE…`: lets so many dead children lie, and has so many that lost their
/// parent to others; then becomes ROLE.
fn crowd(args: &[String]) -> ! {
    let number = |i: usize| args[i].parse::<usize>().expect("a number");
    for _ in 0..number(0) {
        if sys::fork().is_none() {
            std::process::exit(0);
        }
    }
    let Some(child) = sys::fork() else {
        for _ in 0..number(1) {
            if sys::fork().is_none() {
                sys::block_exactly(0);
                pause_forever();
            }
        }
        std::process::exit(0);
    };
    let _ = nix::sys::wait::waitpid(Pid::from_raw(child), None);
    run(&args[2..])
}

/// `attack PORT CONNECTIONS`: see `attack.rs`.
fn attack(args: &[String]) -> ! {
    let port: u16 = args[0].parse().expect("a port");
    let left = std::sync::atomic::AtomicI64::new(args[1].parse().expect("a number"));
    say("ready");
    let outcome = crate::attack::run(([127, 0, 0, 1], port).into(), 4, || {
        left.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) > 0
    });
    say(&format!("done {} {} {}", outcome.connections, outcome.asked, outcome.answered));
    std::process::exit(0)
}
/// `verb CLAWINIT [NAME=VALUE]… WORD…`: becomes clawinit with these words and variables.
fn verb(args: &[String]) -> ! {
    use std::os::unix::process::CommandExt;
    sys::block_exactly(0);
    sys::default(libc::SIGPIPE);
    let (variables, words): (Vec<&String>, Vec<&String>) =
        args[1..].iter().partition(|arg| arg.contains('=') && !arg.starts_with('-'));
    let variables = variables.iter().filter_map(|v| v.split_once('='));
    let error = std::process::Command::new(&args[0]).args(words).envs(variables).exec();
    panic!("{}: {error}", args[0])
}

/// `several N PROGRAM WORD…`: starts the program N times, and stays until all have ended.
fn several(args: &[String]) -> ! {
    sys::block_exactly(0);
    let started: Vec<_> = (0..args[0].parse().expect("a number"))
        .map(|_| std::process::Command::new(&args[1]).args(&args[2..]).spawn())
        .collect();
    say_ready();
    for child in started {
        let _ = child.expect("start the program").wait();
    }
    pause_forever()
}

/// `page MAJOR MINOR MORE`: has a status page of this layout, MORE words longer (shorter, where
/// that is negative) than that of this version, as a clawinit of another version would have.
fn page(args: &[String]) -> ! {
    use clawinit::status::layout as at;
    use std::os::unix::fs::FileExt;
    let number = |i: usize| args[i].parse::<i64>().expect("a number");
    sys::block_exactly(0);
    let used = (at::USED as i64 + number(2)) as usize;
    let mut words = vec![u64::MAX; used];
    let known = used.min(at::USED);
    words[..known].fill(0);
    let mut set = |field: at::Field, value: u64| {
        if let Some(word) = words.get_mut(field.at) {
            *word = value;
        }
    };
    set(at::MAGIC, at::MAGIC_VALUE);
    let layout = (number(0) as u64) << 48 | (number(1) as u64) << 32 | (used * 8) as u64;
    set(at::LAYOUT, layout);
    set(at::VERSION, u64::from_ne_bytes(*b"9.8.7\0\0\0"));
    set(at::PID, getpid().as_raw() as u64);
    set(at::PHASE, 1);
    set(at::CHILD, 4242);
    set(at::GENERATION, 6);
    // A name that would like to be another line, and is no UTF-8.
    set(at::COMMAND_LENGTH, 16);
    set(at::COMMAND, u64::from_ne_bytes(*b"a\xff\n\x1b[2Jb"));
    set(at::Field { at: at::COMMAND.at + 1, words: 1 }, u64::from_ne_bytes(*b"\rphase\"\\"));
    let page =
        nix::sys::memfd::memfd_create(c"clawinit-status", nix::sys::memfd::MFdFlags::MFD_CLOEXEC);
    let page = std::fs::File::from(page.expect("memfd_create"));
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    page.write_all_at(&bytes, 0).expect("write the page");
    say_ready();
    pause_forever()
}

/// `hold-page PID ROLE…`: has the status page of another process open, as the exporter has.
fn hold_page(args: &[String]) -> ! {
    let folder = format!("/proc/{}/fd", args[0]);
    let held = std::fs::read_dir(&folder).expect("its descriptors").find_map(|entry| {
        let path = entry.ok()?.path();
        let link = std::fs::read_link(&path).ok()?;
        link.to_str()?.starts_with("/memfd:clawinit-status").then_some(path)
    });
    let held = std::fs::File::open(held.expect("a status page")).expect("open it");
    std::mem::forget(held);
    run(&args[1..])
}

/// `serve PORT STATUS ROLE…`: answers every request there with this status, then becomes ROLE.
fn serve(args: &[String]) -> ! {
    let listener = listen(&args[0]).expect("the port");
    let status = args[1].clone();
    sys::block_exactly(u64::MAX);
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let mut connection = connection;
            let mut request = [0; 1024];
            let _ = std::io::Read::read(&mut connection, &mut request);
            let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n");
            let _ = connection.write_all(answer.as_bytes());
        }
    });
    run(&args[2..])
}
