//! Sockets that outlive a generation (`--listen`, sd_listen_fds(3)).

use crate::harness::{BOUND, Folder, Init, Run, free_port};
use serde_json::Value;
use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

/// What a client is answered, once it is.
fn answer(mut client: impl Read + Send + 'static) -> String {
    let (says, said) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let _ = client.read_to_string(&mut text);
        let _ = says.send(text.trim().to_string());
    });
    said.recv_timeout(BOUND.get()).expect("an answer in time")
}

fn connects(port: u16) -> Result<TcpStream, ErrorKind> {
    TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.kind())
}

fn until_refused(run: &Run, port: u16) {
    run.until("the port to be free", || {
        (connects(port).err() == Some(ErrorKind::ConnectionRefused)).then_some(())
    });
}

pub fn each_generation_gets_them_from_descriptor_3_and_its_own_pid() {
    let folder = Folder::new();
    let path = folder.word("socket");
    let port = free_port();
    let listen = format!("--listen=127.0.0.1:{port}=http,unix:{path}");
    let options =
        [&listen, "--listen-env=HTTP_FD,ADMIN_FD", "--restart=on-failure", "--restart-delay=1ms"];
    let run = Init::new(&options).variable("LISTEN_FDS", "7").role(&[
        "generations",
        "1=facts",
        "*=facts",
    ]);
    let done = run.finish_with(0);
    check_facts(&done.out, 1);
    let run = Init::new(&options).role(&["generations", "1=die,9", "*=facts"]);
    check_facts(&run.finish_with(0).out, 1);
}

fn check_facts(lines: &[String], count: usize) {
    let facts: Vec<Value> = lines.iter().filter_map(|l| serde_json::from_str(l).ok()).collect();
    assert_eq!(facts.len(), count, "{lines:?}");
    for facts in facts {
        let env = &facts["env"];
        assert_eq!(env["LISTEN_FDS"], "2", "{facts}");
        assert_eq!(env["LISTEN_FDNAMES"], "http:unknown", "{facts}");
        assert_eq!(env["LISTEN_PID"], facts["pid"].to_string(), "{facts}");
        assert_eq!((&env["HTTP_FD"], &env["ADMIN_FD"]), (&"3".into(), &"4".into()), "{facts}");
        for fd in ["3", "4"] {
            assert!(
                facts["fds"][fd].as_str().is_some_and(|to| to.starts_with("socket:")),
                "{facts}"
            );
        }
        assert_eq!(facts["fds"]["5"], Value::Null, "{facts}");
    }
}

pub fn who_connects_while_no_generation_accepts_is_answered_by_the_next() {
    let folder = Folder::new();
    let path = folder.word("socket");
    let port = free_port();
    let listen = format!("--listen=127.0.0.1:{port}");
    let options = [&listen, "--restart=on-failure", "--restart-delay=700ms"];
    let run = Init::new(&options).role(&["generations", "1=die,9", "*=says,serve,wait:15,exit:0"]);
    // In the crash delay: nobody accepts, and nobody is refused.
    run.event("restarting", 1);
    let client = connects(port).unwrap_or_else(|e| run.fail(&format!("connect: {e}")));
    assert_eq!(answer(client), "2");
    run.stop().code(0);
    // By another generation over a path, asked for by a signal.
    let listen = format!("--listen=unix:{path}");
    let run = Init::new(&[&listen])
        .role(&["generations", "1=says,print:ready,wait:10,exit:75", "*=says,serve,wait:15,exit:0"])
        .ready();
    let client = UnixStream::connect(&path).unwrap_or_else(|e| run.fail(&format!("connect: {e}")));
    run.usr1();
    assert_eq!(answer(client), "2");
    run.stop().code(0);
}

pub fn a_stop_frees_the_port_as_soon_as_the_child_lets_it_go() {
    let port = free_port();
    let listen = format!("--listen=127.0.0.1:{port}");
    let run = Init::new(&[&listen, "--stop-delay=400ms"])
        .role(&["says", "print:ready", "wait:15", "close", "print:closed", "wait:12", "exit:0"])
        .ready();
    run.term();
    run.event("stop-requested", 1);
    // The child is not told yet: whoever comes now is still served.
    assert!(connects(port).is_ok());
    run.says("closed");
    until_refused(&run, port);
    assert!(run.events("child-exited").is_empty(), "the child lives on");
    run.signal(libc::SIGUSR2);
    run.finish_with(0);
}

pub fn who_will_be_answered_by_nobody_any_more_is_refused_during_the_sweep() {
    let port = free_port();
    let listen = format!("--listen=127.0.0.1:{port}");
    // A leftover that ignores SIGTERM and has not got the socket keeps clawinit for its grace.
    let run = Init::new(&[&listen, "--sweep-grace=20s"])
        .role(&["leave", "a:orphan:deaf", "--", "says", "print:ready", "wait:12", "exit:0"])
        .ready();
    run.signal(libc::SIGUSR2);
    run.event("sweep", 1);
    run.until("clawinit's own copy to be closed", || {
        let open = run.descriptors_inside(1);
        (!open.values().any(|to| to.starts_with("socket:"))).then_some(())
    });
}

pub fn a_port_that_is_taken_is_an_error_that_names_who_has_it() {
    let held = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = held.local_addr().expect("an address").port();
    let listen = format!("--listen=127.0.0.1:{port}");
    let done = Init::new(&[&listen]).role(&["exit", "0"]).finish_with(125);
    let line = done.events("start-failed")[0]["message"].to_string();
    assert!(line.contains(&format!("127.0.0.1:{port}")) && line.contains("in use"), "{line}");
    assert!(line.contains("write another port"), "{line}");
}

pub fn a_port_that_needs_privilege_says_which() {
    let run = Init::new(&["--listen=127.0.0.1:79"])
        .flag("network")
        .flag("user=1234")
        .role(&["exit", "0"]);
    let done = run.finish_with(125);
    let line = done.events("start-failed")[0]["message"].to_string();
    assert!(line.contains("CAP_NET_BIND_SERVICE"), "{line}");
}

pub fn a_path_that_somebody_listens_on_is_an_error_that_names_the_owner() {
    let folder = Folder::new();
    let path = folder.word("socket");
    let listen = format!("--listen=unix:{path}");
    let run =
        Init::new(&[&listen]).role(&["says", "print:ready", "serve", "wait:15", "exit:0"]).ready();
    let done = Init::new(&[&listen]).role(&["exit", "0"]).finish_with(125);
    let line = done.events("start-failed")[0]["message"].to_string();
    assert!(line.contains(&path) && line.contains("listens there"), "{line}");
    assert_eq!(answer(UnixStream::connect(&path).expect("the first one's")), "1");
    run.stop().code(0);
    // It is stale now.
    let run =
        Init::new(&[&listen]).role(&["says", "print:ready", "serve", "wait:15", "exit:0"]).ready();
    assert_eq!(answer(UnixStream::connect(&path).expect("the second one's")), "1");
    run.stop().code(0);
}

pub fn more_sockets_than_descriptors_are_refused_with_the_limit_to_raise() {
    let folder = Folder::new();
    let places: Vec<String> =
        (0..40).map(|n| format!("unix:{}", folder.word(&format!("s{n}")))).collect();
    let listen = format!("--listen={}", places.join(","));
    let done = Init::new(&[&listen]).flag("descriptors=20").role(&["exit", "0"]).finish_with(125);
    let line = done.events("start-failed")[0]["message"].to_string();
    assert!(line.contains("raise the limit of open files"), "{line}");
}

pub fn something_that_was_handed_in_where_they_belong_is_an_error() {
    let folder = Folder::new();
    let file = folder.write("file", "x", 0o644);
    let listen = format!("--listen=127.0.0.1:{}", free_port());
    let init = Init::new(&[&listen]).flag(&format!("fd=3:{file}"));
    let done = init.role(&["exit", "0"]).finish_with(125);
    let line = done.events("start-failed")[0]["message"].to_string();
    assert!(line.contains("descriptor 3 is taken"), "{line}");
}

pub fn a_child_that_does_not_care_for_them_or_closes_them_takes_them_from_nobody() {
    let port = free_port();
    let listen = format!("--listen=127.0.0.1:{port}");
    let run = Init::new(&[&listen]).role(&[
        "generations",
        "1=says,print:ready,close,wait:10,exit:75",
        "2=says,print:again,wait:10,exit:75",
        "*=says,serve,wait:15,exit:0",
    ]);
    run.says("ready");
    run.usr1();
    run.says("again");
    run.usr1();
    let client = connects(port).unwrap_or_else(|e| run.fail(&format!("connect: {e}")));
    assert_eq!(answer(client), "3");
    run.stop().code(0);
    until_free(port);
}

fn until_free(port: u16) {
    TcpListener::bind(("127.0.0.1", port)).expect("nobody has the port any more");
}

pub fn no_helper_of_clawinits_own_has_them() {
    let (port, metrics, nobody) = (free_port(), free_port(), free_port());
    let listen = format!("--listen=127.0.0.1:{port}");
    let metrics = format!("--metrics-listen=127.0.0.1:{metrics}");
    let ready = format!("--ready-url=http://127.0.0.1:{nobody}/");
    let run = Init::new(&[&listen, &metrics, &ready, "--log-level=debug"])
        .role(&["record", "exit=15:0"])
        .ready();
    let own = run.descriptors_inside(1);
    let socket = own.get(&3).cloned().unwrap_or_else(|| run.fail("no descriptor 3"));
    for (event, count) in [("exporter-started", 1), ("prober-started", 1)] {
        let pid = run.event(event, count)["pid"].as_i64().expect("a pid") as i32;
        // It has executed its program once its name is the helper's.
        run.until("the helper to be one", || {
            run.processes()
                .iter()
                .any(|p| p.pid == pid && p.command.contains("clawinit-"))
                .then_some(())
        });
        let has = run.descriptors_inside(pid);
        assert!(!has.values().any(|to| *to == socket), "{event}: {has:?}");
    }
    run.stop().code(0);
}

pub fn a_port_that_clawinit_keeps_open_is_no_port_held_by_leftovers() {
    let port = free_port();
    let listen = format!("--listen=127.0.0.1:{port}");
    let watch = format!("--port={port}");
    let run = Init::new(&[&listen, &watch]).role(&[
        "generations",
        "1=says,print:ready,wait:10,exit:75",
        "*=says,print:again,wait:15,exit:0",
    ]);
    run.says("ready");
    run.usr1();
    run.says("again");
    assert!(run.events("port-held").is_empty(), "{:?}", run.events("port-held"));
    run.term();
    let done = run.finish();
    assert!(done.events("port-held").is_empty(), "{}", done.text());
    assert_eq!(done.events("port-released").len(), 1, "{}", done.text());
}

pub fn three_hundred_restarts_with_sockets_and_readiness_grow_nothing() {
    let port = free_port();
    let listen = format!("--listen=127.0.0.1:{port}");
    let run =
        Init::new(&[&listen, "--notify"]).role(&["says", "say:READY=1", "wait:10", "exit:75"]);
    let mut before = None;
    for round in 1..=300 {
        run.event("ready", round);
        if round == 20 {
            before = Some((run.descriptors(), run.status("VmRSS")));
        }
        run.usr1();
    }
    run.event("ready", 301);
    let now = (run.descriptors(), run.status("VmRSS"));
    assert_eq!(Some(now), before);
}
