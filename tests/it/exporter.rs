//! The exporter (issue 4): what it serves, how long it lives, and that nobody but it is held up by
//! those who ask too much of it.

use crate::harness::{Folder, Init, Run, free_port, ms};
use crate::sys;
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(15);

/// 64 clients and one that is being let in; what every process has, the page, the log, the poll
/// and the listener; what a census has open.
const MOST_OPEN: usize = 64 + 1 + 7 + 2;

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// The value of a sample, by its name and labels as they are written.
    pub fn sample(&self, name: &str) -> Option<f64> {
        self.body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Reads one answer, and no byte of what follows it.
fn read_answer(stream: &mut TcpStream, has_body: bool) -> std::io::Result<Answer> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("a head in UTF-8");
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    let mut answer = Answer { status, head, body: String::new() };
    if has_body {
        let length = answer.header("Content-Length").expect("a length").parse().expect("a number");
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        answer.body = String::from_utf8(body).expect("a body in UTF-8");
    }
    Ok(answer)
}

/// Sends `text` and reads an answer.
fn ask(port: u16, text: &str) -> std::io::Result<Answer> {
    let mut stream = connect(port)?;
    stream.write_all(text.as_bytes())?;
    read_answer(&mut stream, !text.starts_with("HEAD"))
}

pub fn get(port: u16, path: &str) -> std::io::Result<Answer> {
    ask(port, &format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))
}

/// clawinit with an exporter, and where that listens.
pub fn exporting(options: &[&str]) -> (Init, u16) {
    let port = free_port();
    let listen = format!("--metrics-listen=127.0.0.1:{port}");
    (Init::new(&[options, &[listen.as_str()]].concat()), port)
}

/// Waits until the exporter listens.
pub fn listening(run: Run) -> Run {
    run.event("exporter-listening", 1);
    run
}

/// The answer of an exporter that is there.
pub fn scrape(run: &Run, port: u16, path: &str) -> Answer {
    get(port, path).unwrap_or_else(|error| run.fail(&format!("GET {path}: {error}")))
}

/// Scrapes until this phase is the one.
fn in_phase(run: &Run, port: u16, phase: &str) -> Answer {
    let sample = format!("clawinit_phase{{phase=\"{phase}\"}}");
    run.until(&format!("the phase {phase}"), || {
        let answer = scrape(run, port, "/metrics");
        (answer.sample(&sample) == Some(1.0)).then_some(answer)
    })
}

/// The exporter's pid in the namespace, as the status page has it.
fn exporter_pid(run: &Run, port: u16) -> i32 {
    run.until("the exporter on the status page", || {
        scrape(run, port, "/status").json()["exporter"]["pid"].as_i64()
    }) as i32
}

/// The pid by which this process sees it.
fn seen_from_here(run: &Run, inside: i32) -> i32 {
    let children = run.proc(&format!("task/{}/children", run.pid));
    let mut children = children.split_whitespace().map(|pid| pid.parse::<i32>().expect("a pid"));
    let found = children.find(|pid| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let pids = crate::harness::status_field(&status, "NSpid").unwrap_or_default();
        pids.split_whitespace().last() == Some(&inside.to_string())
    });
    found.unwrap_or_else(|| run.fail(&format!("no child of clawinit is {inside} inside")))
}

pub fn it_serves_metrics_status_and_health() {
    let (init, port) = exporting(&[]);
    let run = listening(init.role(&["record", "exit=15:0"]).ready());
    let metrics = scrape(&run, port, "/metrics?name=x");
    assert_eq!(metrics.status, 200, "{metrics:?}");
    let plain = Some("text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(metrics.header("Content-Type"), plain, "{metrics:?}");
    for (sample, value) in [
        ("clawinit_build_info{version=\"0.1.0\"}", 1.0),
        ("clawinit_phase{phase=\"running\"}", 1.0),
        ("clawinit_phase{phase=\"stopping\"}", 0.0),
        ("clawinit_child_running", 1.0),
        ("clawinit_generation", 1.0),
        ("clawinit_processes", 3.0),
        ("clawinit_adopted_orphans", 0.0),
        ("clawinit_zombies_unreaped", 0.0),
        ("clawinit_stop_duration_seconds_count", 0.0),
    ] {
        assert_eq!(metrics.sample(sample), Some(value), "{sample}: {}", metrics.body);
    }
    for absent in ["clawinit_deadline_seconds", "clawinit_last_exit", "_elapsed_seconds"] {
        assert!(!metrics.body.contains(absent), "{absent}: {}", metrics.body);
    }
    let started = metrics.sample("clawinit_start_time_seconds").expect("a start time");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let age = now.expect("after 1970").as_secs_f64() - started;
    assert!((0.0..60.0).contains(&age), "it started {age} s ago");

    let status = scrape(&run, port, "/status");
    assert_eq!(status.header("Content-Type"), Some("application/json"), "{status:?}");
    let json = status.json();
    assert_eq!((&json["phase"], &json["generation"]), (&"running".into(), &1.into()), "{json}");
    assert_eq!(json["census"]["processes"], 3, "{json}");

    let health = scrape(&run, port, "/health");
    assert_eq!((health.status, health.body.as_str()), (200, "{\"phase\":\"running\"}\n"));
    let paths = scrape(&run, port, "/");
    assert_eq!(paths.status, 200, "{paths:?}");
    for path in ["/metrics", "/status", "/health"] {
        assert!(paths.body.contains(path), "{paths:?}");
    }
    run.stop().code(0);
}

pub fn it_refuses_what_it_does_not_serve() {
    let (init, port) = exporting(&[]);
    let run = listening(init.role(&["record", "exit=15:0"]).ready());
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(9000));
    let endless = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(200_000));
    for (text, status) in [
        ("GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("GET /metrics/ HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 405),
        ("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("\x16\x03\x01 hello over TLS\r\n\r\n", 400),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
        (&long, 431),
        (&endless, 431),
    ] {
        let answer = ask(port, text).unwrap_or_else(|e| run.fail(&format!("{text:.60}: {e}")));
        assert_eq!(answer.status, status, "{text:.60}: {answer:?}");
        if status == 405 {
            assert_eq!(answer.header("Allow"), Some("GET, HEAD"), "{answer:?}");
        }
    }
    let whole = scrape(&run, port, "/health");
    let head = ask(port, "HEAD /health HTTP/1.1\r\nHost: a\r\n\r\n").expect("an answer to HEAD");
    assert_eq!(head.status, 200, "{head:?}");
    assert_eq!(head.header("Content-Length"), whole.header("Content-Length"), "{head:?}");
    run.stop().code(0);
}

/// What Prometheus sends.
pub fn open_metrics_goes_to_those_who_prefer_it() {
    let (init, port) = exporting(&[]);
    let run = listening(init.role(&["record", "exit=15:0"]).ready());
    let accept = "application/openmetrics-text;version=1.0.0;q=0.5,\
                  application/openmetrics-text;version=0.0.1;q=0.4,\
                  text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    let head = format!("GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n\r\n");
    let answer = ask(port, &head).expect("an answer");
    let kind = Some("application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert_eq!(answer.header("Content-Type"), kind, "{answer:?}");
    assert!(answer.body.ends_with("\n# EOF\n"), "{}", answer.body);
    for line in [
        "# TYPE clawinit_restarts counter",
        "clawinit_restarts_total{cause=\"crash\"} 0",
        "# TYPE clawinit_build info",
        "# UNIT clawinit_stop_duration_seconds seconds",
        "# UNIT clawinit_adopted_orphans_memory_bytes bytes",
    ] {
        assert!(answer.body.lines().any(|l| l == line), "{line}: {}", answer.body);
    }
    run.stop().code(0);
}

pub fn one_connection_serves_many_requests() {
    let (init, port) = exporting(&[]);
    let run = listening(init.role(&["record", "exit=15:0"]).ready());
    let mut stream = connect(port).expect("connect");
    let request = "GET /health HTTP/1.1\r\nHost: a\r\n\r\n";
    for _ in 0..3 {
        stream.write_all(request.as_bytes()).expect("send");
        let answer = read_answer(&mut stream, true).expect("an answer");
        assert_eq!(answer.header("Connection"), Some("keep-alive"), "{answer:?}");
    }
    // More than it answers in one turn, all at once, and the last one says goodbye.
    let last = "GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all((request.repeat(100) + last).as_bytes()).expect("send");
    for place in 0..=100 {
        let answer = read_answer(&mut stream, true).expect("an answer");
        let connection = if place < 100 { "keep-alive" } else { "close" };
        assert_eq!(answer.header("Connection"), Some(connection), "answer {place}: {answer:?}");
    }
    assert_eq!(stream.read(&mut [0]).expect("the end of the connection"), 0);
    run.stop().code(0);
}

/// Whoever holds connections open without a word keeps no scrape out, and does not stay.
pub fn silent_clients_keep_no_scrape_out_and_are_let_go() {
    let (init, port) = exporting(&[]);
    let run = listening(init.role(&["record", "exit=15:0"]).ready());
    let begun = Instant::now();
    let mut silent: Vec<TcpStream> = (0..200).map(|_| connect(port).expect("connect")).collect();
    let mut slow = connect(port).expect("connect");
    slow.write_all(b"GET / HTTP/1.1\r\nHost: ").expect("send");
    let asked = Instant::now();
    assert_eq!(scrape(&run, port, "/metrics").status, 200);
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(2), "the scrape took {took:?}");
    let exporter = exporter_pid(&run, port);
    let open = run.descriptors_inside(exporter).len();
    assert!(open <= MOST_OPEN, "{open} descriptors");
    // A word now and then does not move the deadline.
    let end = loop {
        match slow.write_all(b"x") {
            Ok(()) if begun.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(50)),
            Ok(()) => run.fail("a client that never ends its request is not let go"),
            Err(_) => break begun.elapsed(),
        }
    };
    assert!(end > Duration::from_secs(4), "let go after {end:?}");
    for stream in &mut silent {
        let gone = stream.read(&mut [0]);
        let gone_or_reset = matches!(&gone, Ok(0))
            || gone.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionReset);
        assert!(gone_or_reset, "a silent client: {gone:?}");
    }
    run.stop().code(0);
}

/// Fewer descriptors than it may have clients: the oldest go, and it neither spins nor waits.
pub fn few_descriptors_keep_no_scrape_out() {
    let (init, port) = exporting(&[]);
    let run = init.flag("descriptors=24").role(&["record", "exit=15:0"]).ready();
    let run = listening(run);
    let exporter = exporter_pid(&run, port);
    let _silent: Vec<TcpStream> = (0..100).map(|_| connect(port).expect("connect")).collect();
    let asked = Instant::now();
    assert_eq!(scrape(&run, port, "/metrics").status, 200);
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(2), "the scrape took {took:?}");
    run.event("exporter-full", 1);
    assert_eq!(run.events("exporter-full").len(), 1, "it is said once");
    run.until("it to sleep", || {
        let status = run.proc_inside(exporter, "status")?;
        let state = crate::harness::status_field(&status, "State")?;
        state.starts_with('S').then_some(())
    });
    run.stop().code(0);
}

pub fn a_killed_exporter_is_started_again() {
    let (init, port) = exporting(&[]);
    let run = listening(init.role(&["record", "exit=15:0"]).ready());
    let first = exporter_pid(&run, port);
    sys::kill(seen_from_here(&run, first), libc::SIGKILL).expect("kill the exporter");
    let ended = run.event("exporter-ended", 1);
    assert_eq!(ended["level"], "warn", "{ended}");
    run.event("exporter-listening", 2);
    let second = exporter_pid(&run, port);
    assert_ne!(first, second);
    let metrics = scrape(&run, port, "/metrics");
    for (sample, value) in [
        ("clawinit_exporter_restarts_total", 1.0),
        ("clawinit_generation", 1.0),
        ("clawinit_zombies_reaped_total", 0.0),
        ("clawinit_leftovers_swept_total", 0.0),
        ("clawinit_adopted_orphans", 0.0),
    ] {
        assert_eq!(metrics.sample(sample), Some(value), "{sample}: {}", metrics.body);
    }
    let done = run.stop();
    done.code(0);
    assert!(done.events("sweep").is_empty(), "{}", done.text());
}

pub fn a_container_with_an_exporter_ends_with_its_child() {
    for (role, code) in [(&["exit", "7"][..], 7), (&["record", "exit=12:3"], 3)] {
        let (init, _) = exporting(&[]);
        let run = init.role(role);
        if code == 3 {
            run.says_prefix("ready"); // before that the signal would end the child
            run.event("exporter-listening", 1);
            run.signal(libc::SIGUSR2);
        }
        let done = run.finish_with(code);
        let exits = done.events("child-exited");
        assert_eq!(exits.len(), 1, "{}", done.text());
        assert!(done.events("sweep").is_empty(), "{}", done.text());
        assert!(done.events("exporter-ended").is_empty(), "{}", done.text());
    }
}

/// Nor by the time that ending it takes.
pub fn an_exporter_delays_no_exit() {
    let (init, _) = exporting(&[]);
    let run = listening(init.role(&["record", "exit=15:4"]).ready());
    let asked = run.term();
    let done = run.finish_with(4);
    let took = ms(asked, done.at);
    assert!(took < 200.0, "{took} ms: {}", done.text());
}

pub fn restarts_keep_the_exporter() {
    let (init, port) = exporting(&[]);
    let run = listening(init.role(&["record", "exit=10:75", "exit=15:0"]).ready());
    let pid = exporter_pid(&run, port);
    for generation in 2..=4 {
        run.usr1();
        run.ready_generation(generation);
        assert_eq!(exporter_pid(&run, port), pid, "in generation {generation}");
    }
    let metrics = run.until("the fourth generation", || {
        let metrics = scrape(&run, port, "/metrics");
        (metrics.sample("clawinit_generation") == Some(4.0)).then_some(metrics)
    });
    for (sample, value) in [
        ("clawinit_restarts_total{cause=\"signal\"}", 3.0),
        ("clawinit_restarts_total{cause=\"code\"}", 0.0),
        ("clawinit_requests_total{request=\"restart\"}", 3.0),
        ("clawinit_requests_in_time_total{request=\"restart\"}", 3.0),
        ("clawinit_signals_received_total{signal=\"SIGUSR1\"}", 3.0),
        ("clawinit_restart_duration_seconds_count", 3.0),
        ("clawinit_time_to_first_signal_seconds_count", 3.0),
        ("clawinit_last_exit_code", 75.0),
        ("clawinit_child_running", 1.0),
        ("clawinit_adopted_orphans", 0.0),
        ("clawinit_exporter_restarts_total", 0.0),
    ] {
        assert_eq!(metrics.sample(sample), Some(value), "{sample}: {}", metrics.body);
    }
    run.stop().code(0);
}

/// Issue 4: it stays until the child is gone, so that the last scrape sees the stop.
pub fn the_last_scrape_sees_the_stop() {
    let (init, port) = exporting(&[]);
    let run = listening(init.role(&["record", "exit=15:0:1500"]).ready());
    run.term();
    let metrics = in_phase(&run, port, "stopping");
    assert_eq!(metrics.sample("clawinit_child_running"), Some(1.0), "{}", metrics.body);
    let left = metrics.sample("clawinit_deadline_seconds").expect("a deadline");
    assert!((20.0..25.0).contains(&left), "{left} s left of 25");
    let elapsed = metrics.sample("clawinit_stop_elapsed_seconds").expect("a stop");
    assert!((0.0..5.0).contains(&elapsed), "{elapsed} s since the request");
    let health = scrape(&run, port, "/health");
    assert_eq!((health.status, health.body.as_str()), (200, "{\"phase\":\"stopping\"}\n"));
    run.finish_with(0);
    let refused = get(port, "/metrics").expect_err("nobody listens any more");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{refused}");
}

/// While nothing runs, `/health` says so.
pub fn health_is_503_while_no_generation_runs() {
    let (init, port) = exporting(&["--restart=always", "--restart-delay=15s"]);
    let run = init.role(&["generations", "1=record,exit=12:1", "*=record,exit=15:0"]).ready();
    run.event("exporter-listening", 1);
    run.signal(libc::SIGUSR2);
    let metrics = in_phase(&run, port, "backoff");
    assert_eq!(metrics.sample("clawinit_child_running"), Some(0.0), "{}", metrics.body);
    assert_eq!(metrics.sample("clawinit_crashes_in_a_row"), Some(1.0), "{}", metrics.body);
    assert_eq!(metrics.sample("clawinit_generation_uptime_seconds"), Some(0.0));
    let left = metrics.sample("clawinit_deadline_seconds").expect("a deadline");
    assert!((5.0..15.0).contains(&left), "{left} s left of at most 15");
    let health = scrape(&run, port, "/health");
    assert_eq!((health.status, health.body.as_str()), (503, "{\"phase\":\"backoff\"}\n"));
    run.term();
    run.finish_with(1);
}

pub fn exit_when_all_is_not_held_up_by_it() {
    let (init, port) = exporting(&["--exit-when=all"]);
    let run = init.role(&["leave", "a:daemon", "--", "exit", "7"]);
    run.event("exporter-listening", 1);
    run.event("child-exited", 1);
    let health = scrape(&run, port, "/health");
    assert_eq!(health.status, 200, "its program goes on: {health:?}");
    let metrics = run.until("an adopted orphan", || {
        let metrics = scrape(&run, port, "/metrics");
        (metrics.sample("clawinit_adopted_orphans") == Some(1.0)).then_some(metrics)
    });
    assert_eq!(metrics.sample("clawinit_child_running"), Some(0.0), "{}", metrics.body);
    run.term();
    let done = run.finish_with(7);
    assert!(done.says("left a done"), "{}", done.text());
}

pub fn the_sweep_leaves_it_alone() {
    let (init, port) = exporting(&[]);
    let roles = ["1=leave,a:daemon:slow=200,--,record,exit=10:75", "*=record,exit=15:0"];
    let run = init.role(&[&["generations"][..], &roles].concat()).ready();
    run.event("exporter-listening", 1);
    let pid = exporter_pid(&run, port);
    run.usr1();
    let sweeping = in_phase(&run, port, "sweeping");
    assert!(sweeping.sample("clawinit_restart_elapsed_seconds").is_some(), "{}", sweeping.body);
    assert_eq!(sweeping.sample("clawinit_leftovers"), Some(1.0), "{}", sweeping.body);
    run.ready_generation(2);
    assert_eq!(exporter_pid(&run, port), pid);
    let metrics = scrape(&run, port, "/metrics");
    assert_eq!(metrics.sample("clawinit_leftovers_swept_total"), Some(1.0), "{}", metrics.body);
    assert_eq!(metrics.sample("clawinit_exporter_restarts_total"), Some(0.0), "{}", metrics.body);
    run.stop().code(0);
}

/// The child is what matters: it runs, and the log says what is missing.
pub fn a_port_in_use_keeps_nothing_from_running() {
    let (init, port) = exporting(&[]);
    let taken = TcpListener::bind(("127.0.0.1", port)).expect("take the port");
    let run = init.role(&["record", "exit=15:5"]).ready();
    let failed = run.event("exporter-failed", 1);
    assert_eq!(failed["level"], "error", "{failed}");
    let message = failed["message"].as_str().expect("a message");
    assert!(message.contains(&format!("127.0.0.1:{port}")), "{failed}");
    assert!(message.contains("in use"), "{failed}");
    let ended = run.event("exporter-ended", 2);
    assert_eq!(run.events("exporter-failed").len(), 2, "a line for each try");
    assert_eq!((&ended["delay_ms"], &ended["level"]), (&2000.into(), &"warn".into()), "{ended}");
    drop(taken);
    run.event("exporter-listening", 1);
    // It may serve before PID 1 has put down that it runs.
    run.until("two restarts of the exporter on the page", || {
        let metrics = scrape(&run, port, "/metrics");
        (metrics.sample("clawinit_exporter_restarts_total") == Some(2.0)).then_some(())
    });
    run.term();
    run.finish_with(5);
}

/// The same in the log as people read it.
pub fn its_lines_are_clawinits_own() {
    let port = free_port();
    let listen = format!("--metrics-listen=127.0.0.1:{port}");
    let run = Init::plain(&[&listen, "--log-level=info"]).role(&["record", "exit=15:0"]).ready();
    let line = format!("clawinit: metrics at http://127.0.0.1:{port}/metrics");
    run.err_line("where the metrics are", |l| (l == line).then_some(()));
    run.stop().code(0);
    let run = Init::plain(&[&listen, "--log-level=warn"]).role(&["record", "exit=15:0"]).ready();
    run.until("the exporter", || get(port, "/metrics").ok());
    let done = run.stop();
    assert_eq!(done.err, [""; 0], "{}", done.text());
}

pub fn it_runs_as_the_user() {
    let folder = Folder::new();
    let (clawinit, probe) = folder.copies();
    let (init, port) = exporting(&["--user=1234:4321"]);
    let run = init.program(clawinit).with_probe(probe).role(&["record", "exit=15:0"]).ready();
    let run = listening(run);
    let status = run.proc_inside(exporter_pid(&run, port), "status").expect("its status");
    for line in [
        "Name:\tclawinit-export",
        "Uid:\t1234\t1234\t1234\t1234",
        "Gid:\t4321\t4321\t4321\t4321",
        "Groups:\t4321 ",
        "NoNewPrivs:\t1",
    ] {
        assert!(status.lines().any(|l| l == line), "{line:?}: {status}");
    }
    let metrics = scrape(&run, port, "/metrics");
    assert_eq!(metrics.sample("clawinit_processes"), Some(3.0), "{}", metrics.body);
    run.stop().code(0);
}

/// Whoever reads the child's output waits for the last one who could write to it.
pub fn it_holds_nothing_that_is_the_childs() {
    let folder = Folder::new();
    let file = folder.write("given", "", 0o600);
    let (init, port) = exporting(&[]);
    let run = init.flag(&format!("fd=7:{file}")).role(&["record", "exit=15:0"]).ready();
    let run = listening(run);
    let exporter = exporter_pid(&run, port);
    let open = run.until("no client", || {
        let open = run.descriptors_inside(exporter);
        (open.values().filter(|to| to.starts_with("socket:")).count() == 1).then_some(open)
    });
    for (fd, to) in &open {
        let expected = match fd {
            0 | 1 => to == "/dev/null",
            3 => to.starts_with("/memfd:clawinit-status"),
            // Standard error, and the same opened anew, as PID 1 has it.
            _ => *to == open[&2] || to.starts_with("socket:") || to == "anon_inode:[eventpoll]",
        };
        assert!(expected, "descriptor {fd}: {open:?}");
    }
    let environment = run.proc_inside(exporter, "environ").expect("its environment");
    assert_eq!(environment, "");
    run.stop().code(0);
}

/// Nothing to do: it sleeps, and so does PID 1.
pub fn nothing_wakes_it_while_nobody_asks() {
    let (init, port) = exporting(&[]);
    let run = listening(init.role(&["record", "exit=15:0"]).ready());
    let exporter = exporter_pid(&run, port);
    let switches = |pid: i32| {
        let status = run.proc_inside(pid, "status").expect("its status");
        crate::harness::status_field(&status, "voluntary_ctxt_switches").expect("a count")
    };
    // The last client's end is still news to it.
    run.until("no client", || {
        let open = run.descriptors_inside(exporter);
        (open.values().filter(|to| to.starts_with("socket:")).count() == 1).then_some(())
    });
    let state = |pid: i32| {
        let status = run.proc_inside(pid, "status").expect("its status");
        crate::harness::status_field(&status, "State").expect("a state")
    };
    run.until("it to sleep", || state(exporter).starts_with('S').then_some(()));
    let before = [switches(1), switches(exporter)];
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!([switches(1), switches(exporter)], before, "wake-ups of PID 1 and of the exporter");
    run.stop().code(0);
}

/// Lines that promtool has to say to these metrics; `None`: there is no promtool here.
pub fn promtool(metrics: &str) -> Option<String> {
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!("no promtool here: the metrics are not checked with it");
            return None;
        }
        child => child.expect("run promtool"),
    };
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(metrics.as_bytes()).expect("tell promtool");
    drop(stdin);
    let output = child.wait_with_output().expect("wait for promtool");
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said += &String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        said += &output.status.to_string();
    }
    Some(said)
}

pub fn promtool_has_nothing_to_say_in_any_phase() {
    for (phase, options, role, signal) in [
        ("running", &["--port=1"][..], &["record", "exit=15:0"][..], None),
        ("stopping", &[], &["record"], Some(libc::SIGTERM)),
        ("restarting", &[], &["record"], Some(libc::SIGUSR1)),
        (
            "sweeping",
            &["--sweep-grace=20s"],
            &["leave", "a:daemon:deaf", "--", "record", "exit=12:3"],
            Some(libc::SIGUSR2),
        ),
        (
            "backoff",
            &["--restart=always", "--restart-delay=20s"],
            &["record", "exit=12:3"],
            Some(libc::SIGUSR2),
        ),
    ] {
        let (init, port) = exporting(options);
        let run = listening(init.role(role).ready());
        if let Some(signal) = signal {
            run.signal(signal);
        }
        let metrics = in_phase(&run, port, phase);
        let Some(said) = promtool(&metrics.body) else { return };
        assert_eq!(said, "", "in the phase {phase}:\n{}", metrics.body);
        let ongoing = metrics.sample("clawinit_deadline_seconds").is_some();
        assert_eq!(ongoing, phase != "running", "{phase}: {}", metrics.body);
    }
}

pub fn a_port_that_is_watched_is_told() {
    let watched = free_port();
    let (init, port) = exporting(&[&format!("--port={watched}")]);
    let run = init.role(&["bind", &watched.to_string(), "record", "exit=15:0"]).ready();
    let run = listening(run);
    let metrics = scrape(&run, port, "/metrics");
    let sample = format!("clawinit_port_held{{port=\"{watched}\"}}");
    assert_eq!(metrics.sample(&sample), Some(1.0), "{}", metrics.body);
    run.stop().code(0);
}

/// How long it takes a signal to PID 1 to reach the child, in microseconds, sorted.
fn forwarding(run: &Run, seen: &mut usize, more: impl Fn(usize) -> bool) -> Vec<f64> {
    let mut took = Vec::new();
    while more(took.len()) {
        let sent = run.signal(libc::SIGUSR2);
        let came = run.until("the signal to be forwarded", || {
            let lines = run.out.all();
            let mut came = lines.iter().filter_map(|l| l.strip_prefix("at ")?.parse::<u64>().ok());
            came.nth(*seen)
        });
        *seen += 1;
        took.push(ms(sent, came) * 1e3);
    }
    took.sort_by(f64::total_cmp);
    took
}

/// Issue 4: slow clients and 10,000 connections are the exporter's affair alone.
pub fn ten_thousand_bad_clients_are_not_noticed_by_pid_1() {
    let port = free_port();
    let listen = format!("--metrics-listen=127.0.0.1:{port}");
    let run = Init::new(&[&listen]).flag("network").role(&["stopwatch"]).ready();
    let run = listening(run);
    let children = run.proc(&format!("task/{}/children", run.pid));
    let exporter: i32 = children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .find(|pid| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| name == "clawinit-export\n")
        })
        .unwrap_or_else(|| run.fail("no exporter"));
    let figure = |pid: i32, name: &str| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
        crate::harness::status_field(&status, name).unwrap_or_else(|| panic!("no {name}: {status}"))
    };
    let mut seen = 0;
    let calm = forwarding(&run, &mut seen, |taken| taken < 200);
    let before = [figure(run.pid, "VmRSS"), figure(run.pid, "Threads")];
    let mut attacker = run.exec(&["attack", &port.to_string(), "10000"]);
    attacker.says_prefix("ready");
    let most_open = std::cell::Cell::new(0);
    let attacked = forwarding(&run, &mut seen, |_| {
        let open = std::fs::read_dir(format!("/proc/{exporter}/fd")).map_or(0, Iterator::count);
        most_open.set(most_open.get().max(open));
        !attacker.out.text().contains("done")
    });
    let after = [figure(run.pid, "VmRSS"), figure(run.pid, "Threads")];
    let said = attacker.says_prefix("done ");
    assert_eq!(attacker.code(), Some(0), "{said}");
    let numbers: Vec<u64> = said.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [connections, asked, answered] = numbers[..] else { panic!("{said}") };
    assert!(connections >= 9_900, "connections that were made: {said}");
    // In good order means answered, although 256 others are held open all the time.
    assert!(answered * 10 >= asked * 9, "requests that were answered: {said}");
    assert!(most_open.get() <= MOST_OPEN, "{} descriptors were open", most_open.get());
    let peak: u64 = figure(exporter, "VmHWM").trim_end_matches(" kB").parse().expect("a number");
    assert!(peak < 8 * 1024, "the exporter took {peak} KiB");
    assert_eq!(after, before, "PID 1's memory and threads");
    assert!(attacked.len() >= 10, "PID 1 answered {} signals meanwhile", attacked.len());
    let part = |took: &[f64], part: usize| took[(took.len() * part / 100).min(took.len() - 1)];
    println!(
        "forwarding in us, p50 and p99: {:.0} and {:.0} before, {:.0} and {:.0} ({} signals) \
         under {connections} connections; {answered} of {asked} requests answered; \
         the exporter took {peak} KiB and {} descriptors",
        part(&calm, 50),
        part(&calm, 99),
        part(&attacked, 50),
        part(&attacked, 99),
        attacked.len(),
        most_open.get(),
    );
    assert!(run.events("exporter-ended").is_empty(), "{:?}", run.events("exporter-ended"));
    let asked = run.term();
    let done = run.finish_with(0);
    let took = ms(asked, done.at);
    assert!(took < 1000.0, "the stop took {took} ms: {}", done.text());
}

pub fn readiness_is_served_and_health_does_not_depend_on_it() {
    let (init, port) = exporting(&["--notify"]);
    let role = ["says", "print:ready", "wait:12", "say:READY=1", "wait:15", "exit:0"];
    let run = listening(init.role(&role).ready());
    let metrics = scrape(&run, port, "/metrics");
    for (sample, value) in [
        ("clawinit_ready", 0.0),
        ("clawinit_ready_seconds", 0.0),
        ("clawinit_phase{phase=\"failing\"}", 0.0),
        ("clawinit_notifications_total{result=\"heard\"}", 0.0),
        ("clawinit_start_timeouts_total", 0.0),
        ("clawinit_watchdog_expired_total", 0.0),
    ] {
        assert_eq!(metrics.sample(sample), Some(value), "{sample}: {}", metrics.body);
    }
    assert_eq!(scrape(&run, port, "/health").status, 200);
    let ready = scrape(&run, port, "/ready");
    assert_eq!((ready.status, ready.body.as_str()), (503, "{\"phase\":\"running\"}\n"));
    run.signal(libc::SIGUSR2);
    run.until("the child to be ready", || {
        (scrape(&run, port, "/ready").status == 200).then_some(())
    });
    let metrics = scrape(&run, port, "/metrics");
    assert_eq!(metrics.sample("clawinit_ready"), Some(1.0), "{}", metrics.body);
    assert!(metrics.sample("clawinit_ready_seconds") > Some(0.0), "{}", metrics.body);
    let heard = metrics.sample("clawinit_notifications_total{result=\"heard\"}");
    assert_eq!(heard, Some(1.0), "{}", metrics.body);
    run.stop().code(0);
    // Where nobody says it there is no such metric, and a child that runs is ready enough.
    let (init, port) = exporting(&[]);
    let run = listening(init.role(&["record", "exit=15:0"]).ready());
    assert_eq!(scrape(&run, port, "/ready").status, 200);
    assert!(!scrape(&run, port, "/metrics").body.contains("clawinit_ready"));
    run.stop().code(0);
}

pub fn a_child_that_fails_is_a_phase_and_is_counted() {
    let (init, port) = exporting(&["--watchdog=300ms", "--restart-grace=60s"]);
    let run = listening(init.role(&["says", "stay"]));
    let metrics = in_phase(&run, port, "failing");
    assert_eq!(metrics.sample("clawinit_watchdog_expired_total"), Some(1.0), "{}", metrics.body);
    assert!(metrics.sample("clawinit_deadline_seconds") > Some(10.0), "{}", metrics.body);
}
