//! The threat model of `docs/security.md`: what others can do to clawinit, and what they cannot.
//! The page names the test of each of its claims; this module has those that are of no other one,
//! and holds the page to all of them.

use crate::exporter::{exporting, listening};
use crate::harness::{Done, End, Folder, Init, Run, clawinit, free_port, package, probe};
use crate::sys;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What somebody would like to stand in the log as a line of its own.
const FORGED: &str = "x\nclawinit: forged\x1b[2J\u{9b}2J\r\u{2028}\u{202e}";

/// How each attempt of `assault` went: 0, or its error number.
fn tried(line: &str) -> Map<String, Value> {
    serde_json::from_str(line.strip_prefix("tried ").expect("the attempts")).expect("JSON")
}

/// Every attempt must have been refused.
fn all_refused(tried: &Map<String, Value>) {
    assert!(tried.len() > 70, "{tried:?}");
    for (what, errno) in tried {
        let errno = errno.as_i64().expect("a number") as i32;
        let refusals: &[i32] = match what.as_str() {
            // setpgid(2) knows no process that is not one's own child.
            "group" => &[libc::ESRCH],
            // Within a session everybody may send it (kill(2)); it is handed on, and wakes nobody
            // who does not sleep.
            "signal 18" => &[0, libc::EPERM],
            _ => &[libc::EPERM, libc::EACCES],
        };
        assert!(refusals.contains(&errno), "{what}: {errno}; {tried:?}");
    }
}

pub fn a_child_of_another_user_can_do_nothing_to_it() {
    let folder = Folder::new();
    let (clawinit, probe) = folder.copies();
    let run = Init::new(&["--user=1234:1234"])
        .program(clawinit)
        .with_probe(probe)
        .role(&["security", "assault", "record", "exit=15:0"])
        .ready();
    all_refused(&tried(&run.says_prefix("tried ")));
    assert!(run.events("stop-requested").is_empty(), "{:?}", run.events(""));
    let done = run.stop();
    done.code(0);
    // Not one other came back by way of clawinit.
    let mut came = done.signals();
    came.retain(|signal| *signal != libc::SIGCONT);
    assert_eq!(came, [libc::SIGTERM], "{}", done.text());
}

/// What `docker exec --user` starts, without CAP_KILL and CAP_SYS_PTRACE.
pub fn another_user_from_outside_can_do_nothing_to_it() {
    let folder = Folder::new();
    let (program, probe) = folder.copies();
    let run = Init::new(&[])
        .program(program.clone())
        .with_probe(probe)
        .role(&["record", "exit=15:0"])
        .ready();
    let guest = run.exec(&["as", "1234", "security", "assault", "pause"]);
    all_refused(&tried(&guest.says_prefix("tried ")));
    drop(guest);
    for verb in ["stop", "restart"] {
        run.verb_of(&["as", "1234"], &program, &[verb]).with(4);
    }
    assert_eq!(run.status("State"), "S (sleeping)");
    assert!(run.events("stop-requested").is_empty(), "{:?}", run.events(""));
    run.stop().code(0);
}

/// The kernel drops SIGKILL and SIGSTOP from inside of PID 1's namespace (pid_namespaces(7)); the
/// others are blocked, those of a fault included, and are handed on as they came.
pub fn no_signal_from_inside_kills_or_freezes_it() {
    let run = Init::new(&["--restart-on=none"]).role(&["record", "exit=15:0"]).ready();
    let deadly = ["9", "19", "4", "5", "6", "7", "8", "11", "31", "20", "21", "22", "13", "14"];
    for signal in deadly {
        run.signal_from_inside(&[signal]);
    }
    run.says_prefix("signal 14 ");
    assert_eq!(run.status("State"), "S (sleeping)");
    let done = run.stop();
    done.code(0);
    let handed: BTreeSet<i32> = done.signals().into_iter().collect();
    let wanted: BTreeSet<i32> = deadly[2..].iter().map(|n| n.parse().expect("a number")).collect();
    assert_eq!(handed, &wanted | &BTreeSet::from([libc::SIGTERM]), "{}", done.text());
}

/// Whoever may signal it may do so without end: it still hears SIGTERM and SIGCHLD, which have
/// higher numbers, keeps its deadlines, and ends whoever floods it.
pub fn a_flood_of_signals_keeps_neither_a_stop_nor_an_exit_waiting() {
    let run =
        Init::new(&["--stop-grace=300ms"]).role(&["security", "flood", "ignore", "15"]).ready();
    let asked = run.term();
    let done = run.finish();
    assert_eq!(done.end, End::Code(137), "{}", done.text());
    assert!(done.at - asked >= 300_000_000, "{} ns", done.at - asked);

    let run = Init::new(&["--sweep-grace=300ms"]).role(&["security", "flood", "exit", "7"]);
    run.finish_with(7);
}

pub fn what_a_child_does_to_itself_and_to_the_place_keeps_no_stop_waiting() {
    let folder = Folder::new();
    let report = folder.word("report");
    let run = Init::new(&["--stop-grace=200ms", "--termination-log", &report])
        .role(&["security", "spoil", "ignore", "15"]);
    run.says("spoiled");
    run.term();
    run.finish_with(137);
    // It has its own root, limits and mask of modes, and had its own standard error.
    let mode = std::fs::metadata(&report).expect("the report").permissions().mode();
    assert_eq!(mode & 0o7777, 0o644, "{mode:o}");
}

/// Where a report would go, and what stands in another place by the same name.
fn report_to(path: &str) -> Done {
    let done = Init::new(&["--termination-log", path]).role(&["exit", "19"]).finish_with(19);
    let warned = done.events("report-not-written").len();
    assert_eq!(warned, 1, "{path}: {}", done.text());
    done
}

/// One who may write to the report's folder, and not to another user's file, could otherwise have
/// clawinit write over it: as root it may.
pub fn a_report_writes_over_no_file_of_another_name() {
    let folder = Folder::new();
    let victim = folder.write("victim", "precious", 0o600);
    let link = folder.word("link");
    symlink(&victim, &link).expect("a symbolic link");
    report_to(&link);
    let second = folder.word("second");
    std::fs::hard_link(&victim, &second).expect("a hard link");
    report_to(&second);
    assert_eq!(std::fs::read_to_string(&victim).expect("the victim"), "precious");
    // A link that leads nowhere makes nothing there.
    let nowhere = folder.word("nowhere");
    let dangling = folder.word("dangling");
    symlink(&nowhere, &dangling).expect("a symbolic link");
    report_to(&dangling);
    assert!(!Path::new(&nowhere).exists());
}

pub fn a_report_waits_for_no_pipe_and_no_device() {
    let folder = Folder::new();
    let pipe = folder.word("pipe");
    nix::unistd::mkfifo(Path::new(&pipe), nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
    report_to(&pipe);
    report_to("/dev/full");
    report_to(&folder.word(""));
    // A reader that reads nothing.
    let _reader = OpenOptions::new().read(true).write(true).open(&pipe).expect("the pipe");
    let mut full = OpenOptions::new().write(true).open(&pipe).expect("the pipe");
    nix::fcntl::fcntl(&full, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))
        .expect("O_NONBLOCK");
    while full.write(&[b'x'; 512]).is_ok() {}
    report_to(&pipe);
}

pub fn no_text_of_others_forges_a_line_of_the_log() {
    let folder = Folder::new();
    let report = folder.word("report");
    let run =
        Init::plain(&["--sweep-grace=50ms", "--log-level=debug", "--termination-log", &report])
            .command(&[
                probe().to_str().expect("a path"),
                "probe",
                "named",
                "x\nclawinit: me",
                "leave",
                "a:daemon:deaf",
                "--",
                "generations",
                "1=record,exit=15:0",
                FORGED,
            ]);
    run.says_prefix("ready");
    // Its command line is told as that of whoever asked.
    let mut guest = run.exec(&["verb", "/bin/sh", "-c", "kill -15 1; sleep 60; :", FORGED]);
    let done = run.finish_with(0);
    guest.code();
    assert!(done.err.len() > 4, "{}", done.text());
    for line in &done.err {
        assert!(line.starts_with("clawinit: "), "{line:?} in {}", done.text());
        assert!(!line.starts_with("clawinit: forged") && !line.starts_with("clawinit: me"));
        let plain = |c: char| !c.is_control() && !"\u{2028}\u{202e}".contains(c);
        assert!(line.chars().all(plain), "{line:?} in {}", done.text());
    }
    let told = done.err.iter().filter(|line| line.contains("forged\\u001b")).count();
    assert!(told >= 2, "the command and the sender: {}", done.text());
    let text = std::fs::read_to_string(&report).expect("the report");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("clawinit: me"), "the name of what was killed: {text}");
}

/// What clawinit opens with all that it can do under way, the exporter and the verbs included.
pub fn every_descriptor_of_its_own_is_close_on_exec() {
    let port = free_port();
    let listen = format!("--metrics-listen=127.0.0.1:{port}");
    let sockets = format!("--listen=127.0.0.1:{}", free_port());
    let folder = Folder::new();
    let report = folder.word("report");
    let words = [
        "--port=8888",
        "--notify",
        &sockets,
        &listen,
        "--vary-pid",
        "--termination-log",
        &report,
        "--restart-delay=1ms",
        "--",
    ];
    let mut command = vec!["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
    let program = clawinit().display().to_string();
    command.push(&program);
    command.extend(words);
    let probe = probe().display().to_string();
    let second = format!("*=security,scrape,{port}");
    command.extend([&probe, "probe", "generations", "1=exit,75", &second]);
    let lines = traced(&folder, &command);
    let opened = own_descriptors(&lines, &program);
    // The log, the status page, the exporter's poll, listener and client, the report, /proc.
    for call in ["open", "memfd_create", "socket", "accept4", "epoll_create1", "fcntl"] {
        let some = opened.iter().any(|line| line.contains(&format!("{call}(")));
        assert!(some || call == "fcntl", "no {call} in\n{}", lines.join("\n"));
    }
    let wide: Vec<&String> = opened.iter().filter(|line| !line.contains("CLOEXEC")).collect();
    // One is for the child: the socket of --listen.
    assert_eq!(wide.len(), 1, "not close-on-exec: {wide:#?}");
    assert!(wide[0].starts_with("socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = 3"), "{wide:#?}");

    let run = Init::new(&[]).role(&["record", "exit=15:0"]).ready();
    let pid = run.pid.to_string();
    for verb in ["status", "stop"] {
        let lines = traced(&folder, &[&program, verb, "--pid", &pid]);
        let opened = own_descriptors(&lines, &program);
        assert!(opened.len() > 2, "{lines:?}");
        let wide: Vec<&String> = opened.iter().filter(|line| !line.contains("CLOEXEC")).collect();
        assert!(wide.is_empty(), "{verb}: not close-on-exec: {wide:#?}");
    }
    run.finish_with(0);
}

/// Runs a command to its success under strace(1), which lists the calls that make descriptors,
/// signal others or execute programs.
fn traced(folder: &Folder, command: &[&str]) -> Vec<String> {
    let file = folder.word("trace");
    let calls = "trace=open,openat,creat,socket,socketpair,accept,accept4,memfd_create,pidfd_open,\
                 epoll_create,epoll_create1,eventfd,eventfd2,pipe,pipe2,dup,dup2,dup3,fcntl,\
                 timerfd_create,signalfd,signalfd4,inotify_init,inotify_init1,\
                 chmod,fchmod,fchmodat,?fchmodat2,chown,lchown,fchownat,execve,kill,tkill,tgkill,rt_sigqueueinfo,pidfd_send_signal";
    let output = Command::new("strace")
        .args(["-f", "-qq", "-e", "signal=none", "-e", calls, "-o", &file])
        .args(command)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .output()
        .expect("run strace");
    let trace = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(output.status.success(), "{}\n{trace}", String::from_utf8_lossy(&output.stderr));
    whole(&trace)
}

/// The lines of a trace, each call in one: one that was interrupted by another process's is shown
/// in two parts.
fn whole(trace: &str) -> Vec<String> {
    let mut begun = BTreeMap::new();
    let mut lines = Vec::new();
    for line in trace.lines() {
        let (pid, call) = line.split_once(' ').unwrap_or((line, ""));
        if let Some(begin) = line.strip_suffix(" <unfinished ...>") {
            begun.insert(pid, begin);
        } else if let Some((_, rest)) = call.split_once(" resumed>") {
            lines.push(format!("{}{rest}", begun.remove(pid).unwrap_or(pid)));
        } else {
            lines.push(line.to_string());
        }
    }
    lines.extend(begun.into_values().map(|begin| format!("{begin})")));
    lines
}

/// The calls by which processes that are clawinit made descriptors: not those of what it executed,
/// nor of what executed it.
fn own_descriptors(lines: &[String], program: &str) -> Vec<String> {
    let mut others = BTreeSet::new();
    let own = |path: &str| path == program || path == "/proc/self/exe";
    let mut opened = Vec::new();
    for line in lines {
        let Some((pid, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if let Some(path) = call.strip_prefix("execve(\"").and_then(|c| c.split('"').next()) {
            if own(path) {
                others.remove(pid)
            } else {
                others.insert(pid.to_string())
            };
            continue;
        }
        let failed = call.contains(" = -1 ");
        let signals = ["kill(", "tkill(", "tgkill(", "rt_sigqueueinfo(", "pidfd_send_signal("];
        if others.contains(pid) || failed || signals.iter().any(|s| call.starts_with(s)) {
            continue;
        }
        // Of fcntl only what makes another descriptor, or takes close-on-exec away.
        if call.starts_with("fcntl(") && !call.contains("F_DUPFD") && !call.contains("F_SETFD, 0") {
            continue;
        }
        // The exporter's page, put where its program looks for it, and its standard streams.
        let handed = ["dup2(", "dup3("].iter().any(|dup| call.starts_with(dup))
            && [", 0)", ", 1)", ", 3)"].iter().any(|to| call.contains(to));
        if handed || call.starts_with("fcntl(3, F_SETFD, 0)") {
            continue;
        }
        opened.push(call.to_string());
    }
    opened
}

pub fn the_child_has_what_clawinit_was_given_and_nothing_of_its_own() {
    let folder = Folder::new();
    let file = folder.write("given", "", 0o600);
    let report = folder.word("report");
    let (init, _) =
        exporting(&["--port=8888", "--restart-delay=1ms", "--termination-log", &report]);
    let run = init.flag(&format!("fd=5:{file}")).role(&["generations", "3=facts", "*=exit,75"]);
    let done = run.finish_with(0);
    let facts = done.out.iter().find_map(|line| {
        let facts: Value = serde_json::from_str(line).ok()?;
        facts.is_object().then_some(facts)
    });
    let facts = facts.unwrap_or_else(|| panic!("no facts: {}", done.text()));
    let numbers: Vec<&String> = facts["fds"].as_object().expect("fds").keys().collect();
    assert_eq!(numbers, ["0", "1", "2", "5"], "{facts}");
    assert_eq!(facts["fds"]["5"], file, "{facts}");
}

/// A pid can be somebody else's between the look at it and the signal.
pub fn a_verb_signals_the_process_that_it_looked_at_and_no_number() {
    let folder = Folder::new();
    let program = clawinit().display().to_string();
    for (verb, signal) in [("restart", "SIGUSR1"), ("stop", "SIGTERM")] {
        let run = Init::new(&[]).role(&["record", "exit=10:75", "exit=15:0"]).ready();
        let lines = traced(&folder, &[&program, verb, "--pid", &run.pid.to_string()]);
        let sent: Vec<&String> = lines
            .iter()
            .filter(|line| {
                line.contains("kill(")
                    || line.contains("_send_signal(")
                    || line.contains("queueinfo(")
            })
            .filter(|line| !(line.contains(" kill(") && line.contains(", 0)"))) // nobody gets it
            .collect();
        assert_eq!(sent.len(), 1, "{verb}: {sent:#?}");
        assert!(sent[0].contains("pidfd_send_signal("), "{verb}: {sent:#?}");
        assert!(sent[0].contains(signal), "{verb}: {sent:#?}");
        // And it changes nothing: no file is opened for writing.
        let written = ["O_WRONLY", "O_RDWR", "O_CREAT"];
        let opened = own_descriptors(&lines, &program);
        let writes = opened.iter().filter(|line| written.iter().any(|how| line.contains(how)));
        assert_eq!(writes.collect::<Vec<_>>(), [""; 0], "{verb}");
        if verb == "restart" {
            run.ready_generation(2);
            run.term();
        }
        run.finish_with(0);
    }
}

/// By a map of its own it could change the page behind the seals' back.
pub fn the_page_cannot_be_mapped_for_writing() {
    let run = Init::new(&[]).role(&["record", "exit=15:0"]).ready();
    // It has its seals once it can be read: they follow the making of it by microseconds.
    run.until("a page to read", || (run.verb(&["status"]).code == Some(0)).then_some(()));
    let page = page_of(&run).expect("a status page");
    let page = OpenOptions::new().read(true).write(true).open(page).expect("open the page");
    sys::map(&page, false).expect("map it for reading");
    let refused = sys::map(&page, true).expect_err("map it for writing");
    assert_eq!(refused.raw_os_error(), Some(libc::EPERM), "{refused}");
    run.stop().code(0);
}

fn page_of(run: &Run) -> Option<PathBuf> {
    let entries = std::fs::read_dir(format!("/proc/{}/fd", run.pid)).ok()?;
    entries.filter_map(|entry| Some(entry.ok()?.path())).find(|path| {
        std::fs::read_link(path).is_ok_and(|to| to.to_string_lossy().contains("clawinit-status"))
    })
}

/// The command line is on the page for whoever may scrape; the environment is nowhere.
pub fn no_variable_is_on_the_page_in_the_log_or_in_an_answer() {
    const SECRET: &str = "sesame-9fK2";
    let (init, port) = exporting(&["--log-level=debug"]);
    let run = init.variable("TOKEN", SECRET).role(&["record", "exit=15:0"]).ready();
    let run = listening(run);
    for path in ["/metrics", "/status", "/health"] {
        let answer = crate::exporter::scrape(&run, port, path);
        assert!(!answer.body.contains(SECRET) && !answer.head.contains(SECRET), "{answer:?}");
    }
    let page = run.until("a status page", || page_of(&run));
    let mut bytes = Vec::new();
    File::open(page).expect("the page").read_to_end(&mut bytes).expect("read it");
    let on_page = bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
    assert!(!on_page, "{}", String::from_utf8_lossy(&bytes));
    let done = run.stop();
    assert!(!done.text().contains(SECRET), "{}", done.text());
}

/// The address that the child was given.
fn address(run: &Run) -> String {
    run.says_prefix("address ").trim_start_matches("address ").to_string()
}

pub fn a_notification_of_anybody_but_the_child_is_not_heard() {
    let folder = Folder::new();
    let (program, probe) = folder.copies();
    let run = Init::new(&["--notify", "--log-level=debug"])
        .program(program)
        .with_probe(probe)
        .role(&["security", "address", "leave", "a:orphan", "--", "record", "exit=15:0"])
        .ready();
    let address = address(&run);
    // Root by docker exec, another user, and a process of another PID namespace in the same
    // network namespace.
    for role in [&[][..], &["as", "1234"]] {
        let speak = ["security", "speak", &address, "READY=1\nSTOPPING=1", "3", "pause"];
        let guest = run.exec(&[role, &speak].concat());
        guest.says_prefix("spoken");
        run.event("notify-refused", if role.is_empty() { 1 } else { 4 });
    }
    let outside = Command::new(crate::harness::probe())
        .args(["probe", "security", "speak", &address, "READY=1", "1", "exit", "0"])
        .output()
        .expect("speak from outside");
    assert!(outside.status.success(), "{}", String::from_utf8_lossy(&outside.stderr));
    let seven = run.event("notify-refused", 7);
    assert_eq!(seven["pid"], 0, "{seven}");
    assert!(run.events("ready").is_empty(), "{:?}", run.events("ready"));
    let done = run.stop();
    done.code(0);
    assert!(done.events("ready").is_empty(), "{}", done.text());
}

pub fn a_descriptor_that_comes_with_a_notification_is_not_taken() {
    let run = Init::new(&["--notify"])
        .role(&["security", "speak", "-", "READY=1", "100", "record", "exit=15:0"])
        .ready();
    run.event("ready", 1);
    let taken = |run: &Run| {
        let open = run.descriptors_inside(1);
        open.into_iter().filter(|(_, to)| to == "/dev/zero").count()
    };
    assert_eq!(taken(&run), 0, "{:?}", run.descriptors_inside(1));
    run.usr1();
    run.stop().code(0);
}

/// Not by what it says, and not by how often.
pub fn no_notification_moves_a_deadline_past_the_operators_maximum() {
    let options = ["--notify", "--stop-grace=200ms", "--stop-grace-max=500ms"];
    for (text, least) in [
        ("EXTEND_TIMEOUT_USEC=18446744073709551615", 500_000_000),
        ("EXTEND_TIMEOUT_USEC=99999999999999999999999\nSTATUS=x", 200_000_000),
        ("STATUS=\x1b[2J\nREADY=1\nREADY=1", 200_000_000),
    ] {
        let run = Init::new(&options).role(&["security", "babble", text, "ignore", "15"]).ready();
        let asked = run.term();
        let done = run.finish();
        assert_eq!(done.end, End::Code(137), "{}", done.text());
        let took = done.at - asked;
        assert!((least..5_000_000_000).contains(&took), "{text:?}: {took} ns: {}", done.text());
    }
    // Without a maximum there is none to be had.
    let run = Init::new(&options[..2])
        .role(&["security", "babble", "EXTEND_TIMEOUT_USEC=99000000", "ignore", "15"])
        .ready();
    let asked = run.term();
    let done = run.finish();
    assert_eq!(done.end, End::Code(137), "{}", done.text());
    assert!(done.at - asked < 5_000_000_000, "{}", done.text());
    assert!(done.events("extended").is_empty(), "{}", done.text());
}

/// Whoever may write to the folder of a socket could put a link there, and have root open another
/// file to everybody, or remove it.
pub fn a_listening_socket_changes_nothing_that_is_in_its_place() {
    let folder = Folder::new();
    let victim = folder.write("victim", "precious", 0o600);
    let link = folder.word("link");
    symlink(&victim, &link).expect("a symbolic link");
    for there in [&victim, &link] {
        let listen = format!("--listen=unix:{there}");
        Init::new(&[&listen]).role(&["exit", "0"]).finish_with(125);
    }
    let metadata = std::fs::metadata(&victim).expect("the victim");
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
    assert_eq!(std::fs::read_to_string(&victim).expect("the victim"), "precious");

    let socket = folder.word("socket");
    let listen = format!("--listen=unix:{socket}");
    let program = clawinit().display().to_string();
    let probe = probe().display().to_string();
    for _ in 0..2 {
        // The second time in the place of one that nobody listens on any more.
        let command = [&program, listen.as_str(), "--", &probe, "probe", "exit", "0"];
        let lines = traced(&folder, &command);
        let by_path = lines.iter().filter(|line| line.contains("chmod") || line.contains("chown"));
        assert_eq!(by_path.collect::<Vec<_>>(), [""; 0]);
        let mode = std::fs::symlink_metadata(&socket).expect("the socket").permissions().mode();
        assert_eq!(mode & 0o7777, 0o666, "{mode:o}");
    }
}

/// A claim of the page is a row whose last cell names its tests; each must be one that runs.
pub fn every_claim_of_the_security_page_has_its_test() {
    let page = std::fs::read_to_string(package().join("docs/security.md")).expect("the page");
    let known = functions();
    let mut claims = 0;
    for row in page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| file")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        if cells.last() == Some(&"tested by") {
            continue;
        }
        let tests: Vec<&str> =
            cells.last().expect("a cell").split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "a claim without a test: {row}");
        for test in tests {
            assert!(known.contains(test), "{test} is no test of ours: {row}");
        }
        claims += 1;
    }
    assert!(claims > 40, "only {claims} claims");
}

/// `module::function` of every test, and commands of `scripts/` by their paths.
fn functions() -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for folder in
        ["tests/it", "tests/engines", "tests/model", "gateway/tests/it", "src", "gateway/src"]
    {
        add_functions(&package().join(folder), &mut known);
    }
    for script in std::fs::read_dir(package().join("scripts")).expect("scripts").flatten() {
        known.insert(format!("scripts/{}", script.file_name().to_string_lossy()));
    }
    known
}

fn add_functions(folder: &Path, known: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            add_functions(&path, known);
            continue;
        }
        let module = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        for line in text.lines() {
            let line = line.trim_start();
            let line = line.strip_prefix("pub ").unwrap_or(line);
            let Some(rest) = line.strip_prefix("fn ") else { continue };
            let Some((name, _)) = rest.split_once("()") else { continue };
            known.insert(format!("{module}::{name}"));
        }
    }
}

/// The page's tables of `unsafe` code and of dependencies are what the commands print.
pub fn the_inventories_of_the_security_page_are_those_of_the_sources() {
    let output = Command::new(package().join("scripts/unsafe-inventory"))
        .arg("--check")
        .output()
        .expect("run scripts/unsafe-inventory");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}
