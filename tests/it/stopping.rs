//! A stop tells the child, gives it its time, and kills only after that (DESIGN sections 1 and 4).

use crate::harness::{Done, Init, Run, free_port, ms, pid_in};
use std::time::Duration;

/// A pause between two signals of one test, which is what the test is about.
fn pause(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

/// Checks that clawinit ended no earlier than `after` and that SIGKILL, or the end where none was
/// needed, came at most 50 ms later.
fn took(asked: u64, done: &Done, after: u64) {
    let took = ms(asked, done.at);
    let after = after as f64;
    assert!(
        took >= after,
        "ended {took:.1} ms after the request, before {after} ms were over: {}",
        done.text()
    );
    // On a machine with other work the killed processes themselves may be slow to go; what is
    // promised is when SIGKILL is sent, which the log tells.
    let last = done.events("escalated").last().and_then(milliseconds);
    let first = done.events("stop-requested").first().and_then(milliseconds);
    let sent = first.zip(last).map_or(took, |(first, last)| last - first);
    assert!(
        took <= after + 50.0 || (sent <= after + 50.0 && took <= after + 500.0),
        "ended {took:.1} ms after the request, expected {after} to {}: {}",
        after + 50.0,
        done.text()
    );
}

/// The time of day of an event of the log, in milliseconds.
fn milliseconds(event: &serde_json::Value) -> Option<f64> {
    let time = event["ts"].as_str()?.split_once('T')?.1.strip_suffix('Z')?;
    let seconds = time
        .split(':')
        .try_fold(0.0, |sum, part| part.parse::<f64>().ok().map(|part| sum * 60.0 + part))?;
    Some(seconds * 1000.0)
}

/// A49. Five at a time, as many as leave each other in peace on two processors.
pub fn sigkill_comes_at_the_deadline_and_never_before_it_fifty_times() {
    for _ in 0..10 {
        let runs: Vec<Run> = (0..5)
            .map(|_| Init::new(&["--stop-grace=150ms"]).role(&["ignore", "15"]).ready())
            .collect();
        let asked: Vec<u64> = runs.iter().map(Run::term).collect();
        for (run, asked) in runs.into_iter().zip(asked) {
            let done = run.finish_with(137);
            took(asked, &done, 150);
        }
    }
}

pub fn second_term_does_not_move_the_deadline() {
    for again in [libc::SIGTERM, libc::SIGINT, libc::SIGUSR1] {
        let run = Init::new(&["--stop-grace=400ms"]).role(&["record"]).ready();
        let asked = run.term();
        for _ in 0..3 {
            pause(100);
            run.signal(again);
        }
        let done = run.finish_with(137);
        took(asked, &done, 400);
    }
}

pub fn a_second_term_is_forwarded() {
    let run = Init::new(&[]).role(&["record", "exit=2:8"]).ready();
    run.term();
    run.says_prefix("signal 15");
    run.term();
    run.until("the second SIGTERM to reach the child", || {
        (crate::harness::signals(&run.out.all()) == [15, 15]).then_some(())
    });
    run.signal(libc::SIGINT);
    let done = run.finish_with(8);
    assert_eq!(done.signals(), [15, 15, 2], "{}", done.text());
}

/// B6: the grace is never slept out.
pub fn a_stop_ends_as_soon_as_the_last_process_has_gone() {
    let run = Init::new(&["--stop-grace=60s", "--sweep-grace=60s"])
        .role(&["leave", "a:daemon", "b:daemon:slow=100", "--", "record", "exit=15:0"])
        .ready();
    let asked = run.term();
    let done = run.finish_with(0);
    let took = ms(asked, done.at);
    assert!((100.0..500.0).contains(&took), "{took} ms: {}", done.text());
}

pub fn each_stop_signal_stops() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT] {
        let run = Init::new(&[]).role(&["record", &format!("exit={signal}:0")]).ready();
        run.signal(signal);
        let done = run.finish_with(0);
        assert_eq!(done.events("stop-requested").len(), 1, "{}", done.text());
    }
}

pub fn stop_on_names_the_signals_that_stop() {
    let run = Init::new(&["--stop-on=RTMIN+3", "--stop-grace=300ms"])
        .role(&["record", "exit=37:0"])
        .ready();
    // No stop any more: forwarded, and no deadline runs.
    run.term();
    run.says_prefix("signal 15");
    pause(400);
    assert!(run.events("stop-requested").is_empty());
    run.signal(37);
    let done = run.finish_with(0);
    assert_eq!(done.signals(), [15, 37], "{}", done.text());
}

pub fn the_stop_signal_is_what_the_child_is_sent() {
    let run = Init::new(&["--stop-signal=QUIT"]).role(&["record", "exit=3:0"]).ready();
    run.term();
    let done = run.finish_with(0);
    assert_eq!(done.signals(), [3], "{}", done.text());
}

pub fn the_stop_delay_comes_before_the_child_is_told_and_before_the_grace() {
    let run = Init::new(&["--stop-delay=300ms", "--stop-grace=200ms"]).role(&["record"]).ready();
    let asked = run.term();
    pause(200);
    assert!(
        crate::harness::signals(&run.out.all()).is_empty(),
        "the child was told during the delay"
    );
    let done = run.finish_with(137);
    took(asked, &done, 500);
    assert_eq!(done.signals(), [15], "{}", done.text());
}

pub fn a_second_stop_signal_ends_the_stop_delay() {
    let run = Init::new(&["--stop-delay=60s"]).role(&["record", "exit=15:6"]).ready();
    let asked = run.term();
    run.event("stop-requested", 1);
    run.term();
    let done = run.finish_with(6);
    assert!(ms(asked, done.at) < 5000.0, "{}", done.text());
}

/// A child that leaves by itself during the delay has nothing left to be told.
pub fn a_child_that_leaves_during_the_stop_delay_ends_it() {
    let run =
        Init::new(&["--stop-delay=60s", "--restart=always"]).role(&["record", "exit=12:0"]).ready();
    run.term();
    run.event("stop-requested", 1);
    run.signal(libc::SIGUSR2);
    let done = run.finish_with(0);
    assert_eq!(done.events("started").len(), 1, "{}", done.text());
}

/// A stopped process takes no signal; it is woken so that its own handler can run.
pub fn a_stopped_child_still_stops_by_its_own_handler() {
    for signal in ["stop", "tstp"] {
        let run = Init::new(&[]);
        let run = if signal == "stop" {
            run.role(&["record", "exit=15:5", "stop"]).ready()
        } else {
            run.role(&["pause"]).ready()
        };
        let child = pid_in(&run.says_prefix("ready"));
        if signal == "tstp" {
            run.signal(libc::SIGTSTP);
        }
        run.wait_state(child, "T");
        let asked = run.term();
        let done = run.finish_with(if signal == "stop" { 5 } else { 143 });
        assert!(ms(asked, done.at) < 5000.0, "{}", done.text());
    }
}

/// B12, just-containers/s6-overlay#459: a SIGCONT to all is a signal that nobody sent.
pub fn a_child_that_is_not_stopped_sees_no_cont() {
    for role_signal in [libc::SIGTERM, libc::SIGUSR1] {
        let run = Init::new(&[])
            .role(&["generations", "1=record,exit=10:75,exit=15:0", "*=record,exit=15:0"])
            .ready();
        if role_signal == libc::SIGUSR1 {
            run.usr1();
            run.ready_generation(2);
        }
        let done = run.stop();
        done.code(0);
        assert!(!done.signals().contains(&18), "{}", done.text());
    }
}

/// I5, section 4: also from a state in which no child lives.
pub fn a_stop_during_the_crash_delay_exits_at_once_with_the_last_code() {
    for delay in ["--stop-delay=0s", "--stop-delay=60s"] {
        let run =
            Init::new(&["--restart=on-failure", "--restart-delay=60s", delay]).role(&["exit", "9"]);
        run.event("restarting", 1);
        let asked = run.term();
        let done = run.finish_with(9);
        assert!(ms(asked, done.at) < 500.0, "{}", done.text());
        assert_eq!(done.events("started").len(), 1, "{}", done.text());
    }
}

pub fn stop_beats_a_restart_that_is_under_way() {
    for code in [0, 75, 3] {
        let run = Init::new(&[]).role(&["record", &format!("exit=15:{code}")]).ready();
        run.usr1();
        run.says_prefix("signal 10");
        run.term();
        let done = run.finish_with(if code == 75 { 0 } else { code });
        assert_eq!(done.signals(), [10, 15], "{}", done.text());
        assert_eq!(done.events("started").len(), 1, "{}", done.text());
    }
}

/// Both are there when clawinit next looks, in whichever order it takes them.
pub fn a_stop_and_a_restart_in_one_moment_are_a_stop() {
    for order in [[libc::SIGUSR1, libc::SIGTERM], [libc::SIGTERM, libc::SIGUSR1]] {
        let run = Init::new(&[]).role(&["record", "exit=15:0:30", "exit=10:75:30"]).ready();
        run.signal(libc::SIGSTOP);
        run.until("clawinit to be stopped", || run.status("State").starts_with('T').then_some(()));
        for signal in order {
            run.signal(signal);
        }
        run.signal(libc::SIGCONT);
        let done = run.finish_with(0);
        assert_eq!(done.events("started").len(), 1, "{}", done.text());
    }
}

/// A restart that is asked for once a stop is under way changes nothing.
pub fn a_restart_request_during_a_stop_is_no_restart() {
    let run = Init::new(&[]).role(&["record", "exit=10:75"]).ready();
    run.term();
    run.says_prefix("signal 15");
    run.usr1();
    // Whether the child is told is its own affair; here it leaves by what it was told, or is ended.
    run.signal(libc::SIGINT);
    let run_end = run.until("the restart request to be taken or dropped", || {
        let signals = crate::harness::signals(&run.out.all());
        (signals.contains(&10) || signals.contains(&2)).then_some(signals)
    });
    if !run_end.contains(&10) {
        run.signal(libc::SIGKILL);
        return;
    }
    let done = run.finish_with(0);
    assert_eq!(done.events("started").len(), 1, "{}", done.text());
}

/// B5: nobody but the child is told while it drains.
pub fn mixed_tells_the_child_alone_and_its_group_afterwards() {
    let run = Init::new(&["--kill-mode=mixed"])
        .role(&["leave", "w:worker", "--", "record", "exit=15:0:300"])
        .ready();
    run.term();
    let done = run.finish_with(0);
    // What the worker was told, it was told by the sweep, once the child had gone.
    let log = done.out.join("\n");
    assert!(log.contains("left w signal 15"), "{log}");
    assert!(log.contains("left w done"), "{log}");
    let swept = done.events("sweep");
    assert!(!swept.is_empty(), "{}", done.text());
}

/// B5, the order of it: the worker is still untouched when the child has long been told.
pub fn in_mixed_a_worker_sees_nothing_while_the_child_drains() {
    let run = Init::new(&[]).role(&["leave", "w:worker", "--", "record", "exit=12:0"]).ready();
    run.term();
    run.says_prefix("signal 15");
    assert!(!run.out.text().contains("left w signal"), "{}", run.out.text());
    run.signal(libc::SIGUSR2);
    run.finish_with(0);
}

/// A18, A25: also a grandchild whose parent ignores the signal.
pub fn group_tells_the_whole_group() {
    let run = Init::new(&["--kill-mode=group"])
        .role(&["leave", "w:worker", "o:orphan", "--", "record", "exit=12:0"])
        .ready();
    run.term();
    run.says("left w done");
    run.says("left o done");
    run.says_prefix("signal 15");
    run.signal(libc::SIGUSR2);
    run.finish_with(0);
}

/// B8: a session of its own is out of the group; the sweep has it all the same.
pub fn in_group_mode_a_daemon_is_swept_afterwards() {
    let run = Init::new(&["--kill-mode=group"])
        .role(&["leave", "d:daemon", "--", "record", "exit=12:0"])
        .ready();
    run.term();
    run.says_prefix("signal 15");
    assert!(!run.out.text().contains("left d signal"), "{}", run.out.text());
    run.signal(libc::SIGUSR2);
    let done = run.finish_with(0);
    assert!(done.says("left d done"), "{}", done.text());
}

/// A26, A28: they live on, where the end of clawinit is not the end of the namespace.
pub fn process_mode_touches_nobody_but_the_child() {
    let run = Init::new(&["--kill-mode=process"])
        .under()
        .role(&["leave", "w:worker", "d:daemon", "--", "record", "exit=15:0"])
        .ready();
    let worker = pid_in(&run.says_prefix("left w"));
    let daemon = pid_in(&run.says_prefix("left d"));
    run.term();
    run.end();
    let left: Vec<i32> = run.processes().iter().map(|p| p.pid).collect();
    assert!(left.contains(&worker) && left.contains(&daemon), "{left:?}");
    let done = run.finish_with(0);
    assert!(!done.out.join("\n").contains("left w signal"), "{}", done.text());
    assert!(!done.out.join("\n").contains("left d signal"), "{}", done.text());
}

/// B4: children that need their time when the parent leaves at once.
pub fn workers_of_a_parent_that_leaves_at_once_may_finish() {
    for kill_mode in ["group", "mixed"] {
        let run = Init::new(&["--kill-mode", kill_mode])
            .role(&["leave", "a:worker:slow=400", "b:worker:slow=300", "--", "record", "exit=15:0"])
            .ready();
        run.term();
        let done = run.finish_with(0);
        assert!(done.says("left a done") && done.says("left b done"), "{}", done.text());
    }
}

/// The sweep has no time beyond the one deadline.
pub fn the_stop_deadline_covers_the_sweep() {
    let run = Init::new(&["--stop-grace=400ms", "--sweep-grace=10s"])
        .role(&["leave", "a:daemon:deaf", "--", "record", "exit=15:0"])
        .ready();
    let asked = run.term();
    let done = run.finish_with(0);
    took(asked, &done, 400);
}

pub fn the_sweep_grace_ends_the_sweep_before_the_deadline() {
    let run = Init::new(&["--stop-grace=20s", "--sweep-grace=200ms"])
        .role(&["leave", "a:daemon:deaf", "--", "record", "exit=15:0"])
        .ready();
    let asked = run.term();
    let done = run.finish_with(0);
    took(asked, &done, 200);
    assert!(done.says("left a signal 15"), "told before it was killed: {}", done.text());
}

pub fn a_platform_grace_that_is_too_short_is_warned_of() {
    let warned = |options: &[&str]| {
        let done = Init::new(options).role(&["exit", "0"]).finish_with(0);
        done.events("warning").len()
    };
    assert_eq!(warned(&["--platform-grace=10s"]), 1);
    assert_eq!(warned(&["--platform-grace=30s", "--stop-delay=6s"]), 1);
    assert_eq!(warned(&["--platform-grace=30s"]), 0);
    assert_eq!(warned(&["--platform-grace=10s", "--stop-grace=8s"]), 0);
    assert_eq!(warned(&[]), 0);
}

/// Asked to stop before the child has done anything at all.
pub fn every_option_can_come_from_the_environment() {
    let run = Init::new(&[])
        .variable("CLAWINIT_STOP_GRACE", "150ms")
        .variable("CLAWINIT_STOP_SIGNAL", "HUP")
        .role(&["record"])
        .ready();
    run.term();
    let done = run.finish_with(137);
    assert_eq!(done.signals(), [1], "{}", done.text());

    // The command line wins.
    let run = Init::new(&["--stop-signal=QUIT"])
        .variable("CLAWINIT_STOP_SIGNAL", "HUP")
        .role(&["record", "exit=3:0"])
        .ready();
    run.term();
    run.finish_with(0);
}

pub fn a_restart_request_during_the_stop_delay_is_no_restart() {
    let run = Init::new(&["--stop-delay=300ms"]).role(&["record", "exit=15:0"]).ready();
    run.term();
    run.event("stop-requested", 1);
    run.usr1();
    let done = run.finish_with(0);
    assert_eq!(done.events("started").len(), 1, "{}", done.text());
}

/// `--port`: where nothing ends the holder, it is at least named.
pub fn a_process_that_keeps_the_port_is_named() {
    let port = free_port();
    let run = Init::new(&["--kill-mode=process", "--port", &port.to_string()])
        .role(&["leave", &format!("d:daemon:deaf:port={port}"), "--", "record", "exit=15:0"])
        .ready();
    let holder = pid_in(&run.says_prefix("left d"));
    run.term();
    let done = run.finish_with(0);
    let named = done.events("").iter().any(|event| {
        let text = event["message"].as_str().unwrap_or("");
        text.contains(&port.to_string()) && text.contains(&format!("pid {holder}"))
    });
    assert!(named, "{}", done.text());
}

/// It is not reached with its old group any more, which still has somebody in it.
pub fn a_child_that_left_its_group_is_told_and_killed_itself() {
    let run = Init::new(&["--kill-mode=group", "--sweep-grace=100ms"])
        .role(&["move-out", "record", "exit=15:6"])
        .ready();
    run.term();
    let done = run.finish_with(6);
    assert_eq!(done.signals(), [15], "{}", done.text());

    let run = Init::new(&["--kill-mode=group", "--stop-grace=200ms"])
        .role(&["move-out", "record"])
        .ready();
    let asked = run.term();
    let done = run.finish_with(137);
    took(asked, &done, 200);
    assert_eq!(done.signals(), [15], "{}", done.text());
}

/// Told already, it is woken all the same: for a stop and for a restart.
pub fn a_child_that_stops_itself_after_it_was_told_is_woken() {
    for signal in [libc::SIGTERM, libc::SIGUSR1] {
        let first = format!("1=nap,{signal},75");
        let run = Init::new(&[]).role(&["generations", &first, "*=record,exit=15:0"]).ready();
        let asked = run.signal(signal);
        run.says("naps");
        run.says("awake");
        if signal == libc::SIGUSR1 {
            run.ready_generation(2);
            run.term();
        }
        let done = run.finish_with(0);
        assert!(ms(asked, done.at) < 5000.0, "{}", done.text());
    }
}
