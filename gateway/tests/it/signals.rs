//! SIGTERM, SIGUSR1 and the others: what is finished, what is kept, what is left.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};

use crate::harness::{
    Client, Folder, Gateway, OPENCLAW, free_port, is_root, request, start, verb, wait_for,
};

fn refuses(port: u16) -> bool {
    Client::try_connect(port).is_err()
}

#[test]
fn sigterm_finishes_requests_under_way_with_the_port_free_at_once() {
    let folder = Folder::new("under-way");
    let mut gateway = Gateway::start(&folder);
    let mut idle = gateway.connect();
    assert_eq!(idle.ask("GET", "/ready", b"").status, 200);
    let mut upload = gateway.connect();
    upload.send(request("PUT", "/memory/slow", 10)).send("first");
    let mut heads: Vec<(Client, &str)> = ["/ready", "/status", "/health", "/startupz"]
        .into_iter()
        .map(|path| {
            let mut client = gateway.connect();
            client.send(format!("GET {path} HTT"));
            (client, path)
        })
        .collect();
    wait_for("every connection to be taken", || {
        gateway.ask("GET", "/metrics", b"").text().contains("openclaw_connections 7\n")
    });

    gateway.signal(Signal::SIGTERM);
    gateway.wait_log("Graceful shutdown initiated (SIGTERM)");
    wait_for("the port to be free", || refuses(gateway.port));
    // Free means that another may have it, while this one still drains.
    drop(std::net::TcpListener::bind(("0.0.0.0", gateway.port)).unwrap());
    assert!(idle.is_closed(), "an idle connection is closed at once");

    for (client, path) in &mut heads {
        client.send("P/1.1\r\nHost: a\r\n\r\n");
        let answer = client.answer();
        assert_eq!(answer.field("connection"), Some("close"), "{path}");
        match *path {
            "/ready" => {
                assert_eq!(answer.status, 503);
                assert!(
                    answer.text().starts_with(r#"{"ready":false,"failing":["draining"],"#),
                    "{}",
                    answer.text()
                );
            }
            "/status" => assert_eq!(answer.text(), r#"{"status":"stopping","uptime":0}"#),
            "/health" => assert_eq!(answer.status, 200, "alive while it drains"),
            _ => {
                assert_eq!(answer.status, 503);
                assert!(answer.text().contains(r#""status":"draining""#), "{}", answer.text());
            }
        }
    }
    upload.send("-last");
    let answer = upload.answer();
    assert_eq!((answer.status, answer.field("connection")), (201, Some("close")));
    assert_eq!(gateway.wait().code(), Some(0));
    let log = gateway.log();
    for line in [
        "drain finished",
        "memory flushed: 1 keys on the disk; cache of 1 cleared",
        "final state saved in",
        "stopped",
    ] {
        assert!(log.contains(line), "{line} is not in:\n{log}");
    }
    let gateway = Gateway::start(&folder);
    assert_eq!(gateway.ask("GET", "/memory/slow", b"").text(), "first-last");
}

#[test]
fn request_that_does_not_finish_is_cut_off_at_the_drain_time() {
    let folder = Folder::new("cut-off");
    let mut command = start(&folder);
    command.args(["--drain-time", "300ms"]);
    let mut gateway = Gateway::run(command, &folder);
    let mut upload = gateway.connect();
    upload.send(request("PUT", "/memory/never", 10)).send("first");
    wait_for("the connection to be taken", || {
        gateway.ask("GET", "/metrics", b"").text().contains("openclaw_connections 2\n")
    });
    let begun = Instant::now();
    assert_eq!(gateway.end(Signal::SIGTERM), 0);
    let took = begun.elapsed();
    assert!((Duration::from_millis(290)..Duration::from_millis(1500)).contains(&took), "{took:?}");
    assert!(gateway.log().contains("1 requests were cut off"), "{}", gateway.log());
}

#[test]
fn sigint_and_sigquit_stop_like_sigterm() {
    let folder = Folder::new("int");
    for signal in [Signal::SIGINT, Signal::SIGQUIT] {
        let mut gateway = Gateway::start(&folder);
        assert_eq!(gateway.end(signal), 0);
        assert!(
            gateway.log().contains(&format!("Graceful shutdown initiated ({signal})")),
            "{}",
            gateway.log()
        );
    }
}

#[test]
fn sigusr1_leaves_with_75_and_the_next_generation_goes_on_where_it_was() {
    let folder = Folder::new("usr1");
    let mut gateway = Gateway::start(&folder);
    assert_eq!(gateway.ask("PUT", "/memory/a", b"kept").status, 201);
    wait_for("an uptime of a second", || gateway.ask("GET", "/status", b"").json()["uptime"] == 1);
    assert_eq!(gateway.end(Signal::SIGUSR1), 75);
    let log = gateway.log();
    let places: Vec<usize> = [
        "restart initiated",
        "state saved before the restart in",
        "memory flushed: 1 keys on the disk",
        "final state saved in",
        "exit code 75",
    ]
    .iter()
    .map(|text| log.find(text).unwrap_or_else(|| panic!("{text} is not in:\n{log}")))
    .collect();
    assert!(places.is_sorted(), "{log}");
    let state = fs::read_to_string(folder.state().join("state.json")).unwrap();
    assert!(state.contains(r#""reason": "restart requested""#), "{state}");

    let gateway = Gateway::start(&folder);
    let status = gateway.ask("GET", "/status", b"").json();
    assert_eq!(status["generation"], 2);
    assert!(status["uptime"].as_u64().unwrap() >= 1, "uptime counts over generations: {status}");
    assert_eq!(gateway.ask("GET", "/memory/a", b"").text(), "kept");
}

#[test]
fn clawinit_names_the_restart_code() {
    let folder = Folder::new("code");
    let mut command = start(&folder);
    command.env("CLAWINIT_RESTART_CODE", "42");
    assert_eq!(Gateway::run(command, &folder).end(Signal::SIGUSR1), 42);
}

#[test]
fn sigterm_turns_a_restart_into_a_stop_and_a_second_one_changes_nothing() {
    let folder = Folder::new("both");
    let mut gateway = Gateway::start(&folder);
    let mut upload = gateway.connect();
    upload.send(request("PUT", "/memory/a", 4)).send("ha");
    wait_for("the connection to be taken", || {
        gateway.ask("GET", "/metrics", b"").text().contains("openclaw_connections 2\n")
    });
    gateway.signal(Signal::SIGUSR1);
    gateway.wait_log("restart initiated");
    gateway.signal(Signal::SIGTERM);
    gateway.wait_log("SIGTERM received while draining for a restart: it is a stop now");
    gateway.signal(Signal::SIGTERM);
    gateway.wait_log("SIGTERM received while draining: it changes nothing");
    gateway.signal(Signal::SIGUSR1);
    gateway.wait_log("SIGUSR1 received while draining: it changes nothing");
    upload.send("lf");
    assert_eq!(upload.answer().status, 201);
    assert_eq!(gateway.wait().code(), Some(0));
    let state = fs::read_to_string(folder.state().join("state.json")).unwrap();
    assert!(state.contains(r#""reason": "graceful shutdown""#), "{state}");
}

#[test]
fn sighup_does_not_end_the_gateway() {
    let folder = Folder::new("hup");
    let mut gateway = Gateway::start(&folder);
    gateway.signal(Signal::SIGHUP);
    gateway.wait_log("SIGHUP received");
    assert_eq!(gateway.ask("GET", "/ready", b"").status, 200);
    assert_eq!(gateway.end(Signal::SIGTERM), 0);
}

#[test]
fn gateway_started_with_everything_blocked_and_ignored_still_stops_and_reaps() {
    let folder = Folder::new("blocked");
    let mut command = start(&folder);
    command.args(["--agent", "true"]);
    // SAFETY: between fork and exec only sigaction(2) and sigprocmask(2) are called,
    // which signal-safety(7) allows there.
    unsafe {
        command.pre_exec(|| {
            for number in [Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGCHLD, Signal::SIGHUP] {
                signal(number, SigHandler::SigIgn)?;
            }
            SigSet::all().thread_set_mask()?;
            Ok(())
        });
    }
    let mut gateway = Gateway::run(command, &folder);
    gateway.wait_log("died: exit code 0");
    assert_eq!(gateway.end(Signal::SIGTERM), 0);
}

#[test]
fn sigterm_at_any_moment_of_the_start_is_a_stop() {
    let mut random = crate::harness::Random::new("early SIGTERM");
    let folder = Folder::new("early");
    let mut before_handlers = 0;
    for round in 0..60 {
        let mut gateway = Gateway::spawn(start(&folder), &folder);
        std::thread::sleep(Duration::from_micros(random.below(6_000)));
        gateway.signal(Signal::SIGTERM);
        let status = gateway.wait();
        match status.code() {
            Some(0) => {}
            // Before its first instruction nothing can be handled.
            None if gateway.log().is_empty() => before_handlers += 1,
            _ => panic!("round {round}: {status}: {}", gateway.log()),
        }
    }
    println!("60 stops, {before_handlers} of them before main()");
}

#[test]
fn restart_in_place_keeps_the_process_and_starts_a_generation() {
    let folder = Folder::new("exec");
    let mut command = start(&folder);
    command.args(["--on-restart", "exec"]);
    let mut gateway = Gateway::run(command, &folder);
    assert_eq!(gateway.ask("PUT", "/memory/a", b"kept").status, 201);
    for generation in 2..=4 {
        gateway.signal(Signal::SIGUSR1);
        let line = format!("generation {generation},");
        gateway.wait_log(&line);
        let log = gateway.log();
        let last = log.lines().rfind(|text| text.contains("ready on port")).unwrap().to_owned();
        gateway.port = crate::harness::port_in(&last).unwrap();
        let status = gateway.ask("GET", "/status", b"").json();
        assert_eq!(
            (&status["generation"], &status["pid"]),
            (&generation.into(), &gateway.pid().as_raw().into())
        );
        assert_eq!(gateway.ask("GET", "/memory/a", b"").text(), "kept");
    }
    assert_eq!(gateway.end(Signal::SIGTERM), 0);
}

/// A gateway with `log` as its stderr, once it answers.
fn start_logging_to(log: impl AsFd, folder: &Folder) -> Gateway {
    let port = free_port();
    let mut command = verb(folder, "start");
    command.args(["--port", &port.to_string()]);
    command.stderr(log.as_fd().try_clone_to_owned().unwrap());
    let gateway = Gateway::spawn_on(command, folder, port);
    wait_for("the gateway to be ready", || is_ready(port));
    gateway
}

fn is_non_blocking(file: impl AsFd) -> bool {
    OFlag::from_bits_retain(fcntl(file, FcntlArg::F_GETFL).unwrap()).contains(OFlag::O_NONBLOCK)
}

#[test]
fn log_that_nobody_reads_does_not_keep_the_gateway_from_answering_restarting_or_stopping() {
    let folder = Folder::new("unread");
    let (pipe_reader, mut pipe) = std::io::pipe().unwrap();
    let room = fcntl(&pipe, FcntlArg::F_GETPIPE_SZ).unwrap();
    pipe.write_all(&vec![b'.'; room as usize]).unwrap();
    let (socket_reader, mut socket) = UnixStream::pair().unwrap();
    socket.set_nonblocking(true).unwrap();
    while socket.write(&[b'.'; 4096]).is_ok() {}
    while socket.write(b".").is_ok() {}
    socket.set_nonblocking(false).unwrap();
    for log in [OwnedFd::from(pipe), OwnedFd::from(socket)] {
        for (end, code) in [(Signal::SIGUSR1, 75), (Signal::SIGTERM, 0)] {
            let mut gateway = start_logging_to(&log, &folder);
            for _ in 0..120 {
                gateway.signal(Signal::SIGHUP);
                assert_eq!(gateway.ask("GET", "/ready", b"").status, 200);
            }
            assert!(!is_non_blocking(&log), "agents share the open file");
            assert_eq!(gateway.end(end), code);
        }
    }
    drop((pipe_reader, socket_reader));
}

#[test]
fn log_of_another_user_that_nobody_reads_does_not_hold_up_a_stop() {
    if !is_root("log_of_another_user_that_nobody_reads_does_not_hold_up_a_stop") {
        return;
    }
    let folder = Folder::new("unread-nobody");
    let program = folder.path().join("openclaw");
    fs::copy(OPENCLAW, &program).unwrap();
    fs::create_dir(folder.state()).unwrap();
    std::os::unix::fs::chown(folder.state(), Some(65532), Some(65532)).unwrap();
    // Root's pipe, as in a container with a user of its own: it cannot be opened anew.
    let (_reader, mut pipe) = std::io::pipe().unwrap();
    let room = fcntl(&pipe, FcntlArg::F_GETPIPE_SZ).unwrap();
    pipe.write_all(&vec![b'.'; room as usize]).unwrap();
    let port = free_port();
    let mut command = std::process::Command::new(&program);
    command.env_clear().uid(65532).gid(65532).current_dir("/").stderr(pipe);
    command.args(["gateway", "start", "--port", &port.to_string(), "--state-dir"]);
    command.arg(folder.state());
    let mut gateway = Gateway::spawn_on(command, &folder, port);
    wait_for("the gateway to be ready", || is_ready(port));
    for _ in 0..20 {
        gateway.signal(Signal::SIGHUP);
        assert_eq!(gateway.ask("GET", "/ready", b"").status, 200);
    }
    assert_eq!(gateway.end(Signal::SIGTERM), 0);
}

fn is_ready(port: u16) -> bool {
    let Ok(mut client) = Client::try_connect(port) else { return false };
    client.try_ask("GET", "/ready", b"").is_some_and(|answer| answer.status == 200)
}

#[test]
fn dropped_log_lines_are_counted_by_the_next_one_that_fits() {
    let folder = Folder::new("dropped");
    let (mut reader, mut pipe) = std::io::pipe().unwrap();
    let room = fcntl(&pipe, FcntlArg::F_GETPIPE_SZ).unwrap() as usize;
    pipe.write_all(&vec![b'.'; room]).unwrap();
    let mut gateway = start_logging_to(&pipe, &folder);
    drop(pipe);
    reader.read_exact(&mut vec![0; room]).unwrap();
    assert_eq!(gateway.end(Signal::SIGTERM), 0);
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    // The line that says ready is one that was dropped.
    let first = said.lines().next().unwrap();
    assert!(first.starts_with("openclaw: warning: 1 log lines were dropped"), "{said}");
    assert!(said.contains("Graceful shutdown initiated"), "{said}");
}
