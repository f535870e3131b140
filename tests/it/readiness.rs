//! What a child says of itself, and what becomes of one that says nothing (sd_notify(3)).

use crate::harness::{End, Init, free_port};
use crate::sys;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

pub fn a_child_that_is_not_ready_in_time_has_crashed() {
    let options = ["--notify", "--start-grace=200ms"];
    // It ends as it was asked to, which is no success all the same.
    let done = Init::new(&options).role(&["says", "wait:15", "exit:0"]).finish_with(1);
    assert_eq!(done.events("not-ready").len(), 1, "{}", done.text());
    let options = [&options[..], &["--restart=on-failure", "--restart-delay=1ms"]].concat();
    let run = Init::new(&options).role(&[
        "generations",
        "1=says,wait:15,exit:0",
        "*=says,say:READY=1,wait:15,exit:0",
    ]);
    assert_eq!(run.event("ready", 1)["generation"], 2);
    run.stop().code(0);
}

pub fn a_child_that_gives_no_sign_of_life_gets_the_watchdogs_signal_and_then_sigkill() {
    let options = [
        "--watchdog=300ms",
        "--watchdog-signal=ABRT",
        "--restart-grace=200ms",
        "--restart=on-failure",
        "--restart-delay=1ms",
    ];
    let run = Init::new(&options).role(&[
        "generations",
        "1=ignore,6",
        "*=says,print:again,alive:15,exit:0",
    ]);
    assert_eq!(run.event("hung", 1)["signal"], "SIGABRT");
    run.event("escalated", 1);
    let exited = run.event("child-exited", 1);
    assert_eq!(exited["signal"], "SIGKILL", "{exited}");
    run.says("again");
    run.stop().code(0);
}

pub fn signs_of_life_keep_a_child_for_longer_than_the_watchdogs_time() {
    let run = Init::new(&["--watchdog=400ms"])
        .role(&["says", "print:ready", "alive:12", "print:enough", "alive:15", "exit:0"])
        .ready();
    // Three times the watchdog's time, of its own clock.
    let born = sys::now_ns();
    run.until("a second and a bit", || (sys::now_ns() - born > 1_200_000_000).then_some(()));
    run.signal(libc::SIGUSR2);
    run.says("enough");
    let done = run.stop();
    done.code(0);
    assert!(done.events("hung").is_empty(), "{}", done.text());
}

pub fn a_child_that_says_itself_that_it_failed_is_not_waited_for() {
    let run =
        Init::new(&["--watchdog=60s"]).role(&["says", "say:WATCHDOG=trigger", "wait:15", "exit:5"]);
    let done = run.finish_with(5);
    assert_eq!(done.events("hung").len(), 1, "{}", done.text());
}

pub fn an_extension_saves_a_child_from_sigkill() {
    let slow =
        ["says", "print:ready", "wait:15", "say:EXTEND_TIMEOUT_USEC=20000000", "nap:900", "exit:3"];
    let grace = ["--notify", "--stop-grace=500ms"];
    let with = [&grace[..], &["--stop-grace-max=30s"]].concat();
    let run = Init::new(&with).role(&slow).ready();
    run.term();
    let done = run.finish_with(3);
    assert_eq!(done.events("extended").len(), 1, "{}", done.text());
    let run = Init::new(&grace).role(&slow).ready();
    run.term();
    run.finish_with(137);
    // The same of a restart.
    let slow = slow.map(|step| step.replace("wait:15", "wait:10"));
    let slow: Vec<&str> = slow.iter().map(String::as_str).collect();
    let restart = ["--notify", "--restart-grace=500ms", "--restart-grace-max=30s"];
    let run = Init::new(&restart).role(&slow).ready();
    run.usr1();
    assert_eq!(run.event("child-exited", 1)["code"], 3);
}

pub fn a_start_is_extended_up_to_its_maximum() {
    let slow =
        ["says", "say:EXTEND_TIMEOUT_USEC=20000000", "nap:900", "say:READY=1", "wait:15", "exit:0"];
    let grace = ["--notify", "--start-grace=500ms"];
    let with = [&grace[..], &["--start-grace-max=30s"]].concat();
    let run = Init::new(&with).role(&slow);
    run.event("ready", 1);
    assert_eq!(run.events("start-extended").len(), 1);
    run.stop().code(0);
    let done =
        Init::new(&grace).role(&["says", "say:EXTEND_TIMEOUT_USEC=20000000", "wait:15"]).finish();
    assert_eq!(done.events("not-ready").len(), 1, "{}", done.text());
}

pub fn a_restart_in_place_is_done_when_the_same_process_is_ready_again() {
    let options = ["--notify", "--restart-style=in-place", "--restart-grace=20s"];
    let run = Init::new(&options).role(&[
        "says",
        "say:READY=1",
        "wait:10",
        "say:RELOADING=1",
        "say:READY=1",
        "wait:10",
        "say:RELOADING=1",
        "say:READY=1",
        "wait:15",
        "exit:0",
    ]);
    run.event("ready", 1);
    run.usr1();
    run.event("restarted-in-place", 1);
    run.usr1();
    run.event("restarted-in-place", 2);
    let done = run.stop();
    done.code(0);
    assert_eq!(done.events("started").len(), 1, "{}", done.text());
}

pub fn a_restart_in_place_that_does_not_come_about_is_one_by_sigkill() {
    let options = ["--notify", "--restart-style=in-place", "--restart-grace=300ms"];
    let run = Init::new(&options).role(&[
        "generations",
        "1=says,say:READY=1,wait:10,stay",
        "*=says,say:READY=1,wait:15,exit:0",
    ]);
    run.event("ready", 1);
    run.usr1();
    run.event("escalated", 1);
    assert_eq!(run.event("ready", 2)["generation"], 2);
    run.stop().code(0);
}

pub fn crashes_are_forgiven_by_the_time_that_a_child_was_ready_and_not_by_its_age() {
    // Each lives for longer than --stable-after, but none is ready for as long.
    let options = [
        "--notify",
        "--stable-after=400ms",
        "--restart=on-failure",
        "--restart-delay=1ms",
        "--restart-limit=3/60s",
    ];
    let run = Init::new(&options).role(&["says", "nap:500", "say:READY=1", "nap:50", "exit:1"]);
    let done = run.finish_with(1);
    assert_eq!(done.events("started").len(), 4, "{}", done.text());
    assert_eq!(done.events("restart-limit").len(), 1, "{}", done.text());
}

pub fn the_childs_own_processes_are_heard_and_those_that_it_left_only_where_they_are_the_program() {
    let run = Init::new(&["--notify"]).role(&[
        "says",
        "orphan:READY=1",
        "wait:12",
        "helper:READY=1",
        "wait:15",
        "exit:0",
    ]);
    run.event("notify-refused", 1);
    assert!(run.events("ready").is_empty());
    run.signal(libc::SIGUSR2);
    run.event("ready", 1);
    run.stop().code(0);
    let run = Init::new(&["--notify", "--exit-when=all"]).role(&[
        "says",
        "orphan:READY=1",
        "wait:15",
        "exit:0",
    ]);
    run.event("ready", 1);
    run.stop().code(0);
}

pub fn a_url_that_answers_makes_a_child_ready_that_says_nothing() {
    let port = free_port();
    let url = format!("--ready-url=http://127.0.0.1:{port}/");
    let options = [&url, "--ready-body=ok", "--start-grace=20s", "--log-level=debug"];
    let role = format!("http:{port}");
    let run = Init::new(&options)
        .role(&["says", "print:ready", "wait:12", &role, "wait:15", "exit:0"])
        .ready();
    let asks = run.event("prober-started", 1)["pid"].as_i64().expect("a pid");
    assert!(run.events("ready").is_empty());
    // Whoever ends the one who asks has it start anew.
    assert_eq!(run.exec(&["kill", "9", &asks.to_string()]).code(), Some(0));
    run.event("prober-started", 2);
    run.signal(libc::SIGUSR2);
    run.event("ready", 1);
    // Nobody asks any more, and nobody is left.
    run.until("who asks to be gone", || {
        run.processes().iter().all(|p| !p.command.contains("clawinit-ready")).then_some(())
    });
    let done = run.stop();
    done.code(0);
    assert!(done.events("sweep").is_empty(), "{}", done.text());
}

pub fn whoever_has_started_clawinit_is_told_what_the_child_says() {
    let name = format!("clawinit-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("an address");
    let superior = UnixDatagram::bind_addr(&address).expect("a socket");
    superior.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let run = Init::new(&["--notify"]).variable("NOTIFY_SOCKET", &format!("@{name}")).role(&[
        "says",
        "say:READY=1",
        "say:WATCHDOG=1",
        "wait:15",
        "exit:0",
    ]);
    let heard = || {
        let mut text = [0; 64];
        let length = superior.recv(&mut text).unwrap_or_else(|e| run.fail(&format!("told: {e}")));
        String::from_utf8_lossy(&text[..length]).into_owned()
    };
    assert_eq!(heard(), "READY=1");
    assert_eq!(heard(), "WATCHDOG=1");
    run.term();
    assert_eq!(heard(), "STOPPING=1");
    run.finish_with(0);
}

pub fn a_sigio_that_somebody_sends_is_forwarded_all_the_same() {
    for options in [&[][..], &["--notify"]] {
        let run = Init::new(options).role(&["record", "exit=15:0"]).ready();
        run.signal(libc::SIGIO);
        run.says_prefix(&format!("signal {} ", libc::SIGIO));
        run.stop().code(0);
    }
}

pub fn a_child_that_was_frozen_with_clawinit_has_its_time_anew() {
    let run = Init::new(&["--watchdog=1500ms"])
        .role(&["says", "print:ready", "alive:12", "print:frozen", "wait:12", "alive:15", "exit:0"])
        .ready();
    run.signal(libc::SIGUSR2);
    run.says("frozen");
    let child = run.event("started", 1)["pid"].to_string();
    let both = |signal: i32| {
        sys::kill(run.pid, signal).expect("clawinit");
        assert_eq!(run.exec(&["kill", &signal.to_string(), &child]).code(), Some(0));
    };
    both(libc::SIGSTOP);
    let since = sys::now_ns();
    run.until("longer than the watchdog's time", || {
        (sys::now_ns() - since > 3_000_000_000).then_some(())
    });
    both(libc::SIGCONT);
    run.event("overslept", 1);
    run.signal(libc::SIGUSR2);
    let done = run.stop();
    assert_eq!(done.end, End::Code(0), "{}", done.text());
    assert!(done.events("hung").is_empty(), "{}", done.text());
}

pub fn the_last_words_of_a_child_are_heard_before_its_end() {
    let run = Init::new(&["--notify", "--log-level=debug"]).role(&[
        "says",
        "say:STATUS=last words",
        "exit:3",
    ]);
    let done = run.finish_with(3);
    let said = done.events("status");
    assert_eq!(
        said.first().map(|s| s["status"].clone()),
        Some("last words".into()),
        "{}",
        done.text()
    );
}

pub fn a_child_that_says_again_and_again_that_it_ends_is_told_once_and_has_its_grace() {
    let again = ["says", "say:STOPPING=1", "say:STOPPING=1", "say:STOPPING=1", "stay"];
    let run = Init::new(&["--notify", "--restart-grace=300ms"]).role(&again);
    let done = run.finish_with(137);
    assert_eq!(done.events("ends-itself").len(), 1, "{}", done.text());
    assert_eq!(done.events("hung").len(), 1, "{}", done.text());
}

pub fn a_child_that_restarts_by_its_code_is_no_end_for_who_has_started_clawinit() {
    let name = format!("clawinit-test-code-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("an address");
    let superior = UnixDatagram::bind_addr(&address).expect("a socket");
    superior.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let run = Init::new(&["--notify", "--stable-after=0s"])
        .variable("NOTIFY_SOCKET", &format!("@{name}"))
        .role(&[
            "generations",
            "1=says,say:READY=1,say:STOPPING=1,exit:75",
            "*=says,say:READY=1,wait:15,exit:0",
        ]);
    let heard = || {
        let mut text = [0; 64];
        let length = superior.recv(&mut text).unwrap_or_else(|e| run.fail(&format!("told: {e}")));
        String::from_utf8_lossy(&text[..length]).into_owned()
    };
    assert_eq!([heard(), heard()], ["READY=1", "READY=1"]);
    run.term();
    assert_eq!(heard(), "STOPPING=1");
    run.finish_with(0);
}

pub fn the_line_of_a_start_that_took_too_long_has_what_the_url_answered() {
    let url = format!("--ready-url=http://127.0.0.1:{}/", free_port());
    let run = Init::new(&[&url, "--start-grace=1500ms"]).role(&["says", "wait:15", "exit:0"]);
    let done = run.finish_with(1);
    let line = done.events("not-ready")[0]["message"].to_string();
    assert!(line.contains("--ready-url: ") && line.contains("refused"), "{line}");
}
