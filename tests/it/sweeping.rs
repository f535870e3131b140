//! What the child left running is ended before clawinit goes on or leaves (DESIGN sections 1, 5).

use crate::harness::{Done, Init, ms, pid_in};

/// B7, B8, A27: daemons, orphans and workers alike.
pub fn everything_the_child_left_is_told_and_waited_for() {
    for (how, options) in [("stop", &[][..]), ("exit", &[])] {
        let role: &[&str] =
            if how == "stop" { &["record", "exit=15:3"] } else { &["record", "exit=12:3"] };
        let mut words = vec![
            "leave",
            "d:daemon:slow=50",
            "o:orphan:slow=80",
            "w:worker:slow=20",
            "p:daemon:plain",
            "--",
        ];
        words.extend(role);
        let run = Init::new(options).role(&words).ready();
        run.signal(if how == "stop" { libc::SIGTERM } else { libc::SIGUSR2 });
        let done = run.finish_with(3);
        for name in ["d", "o", "w"] {
            assert!(done.says(&format!("left {name} done")), "{how}: {}", done.text());
        }
        assert!(done.events("escalated").is_empty(), "{how}: {}", done.text());
        assert!(!done.events("sweep").is_empty(), "{how}: {}", done.text());
    }
}

/// A container does not linger for a daemon that ignores SIGTERM.
pub fn a_deaf_leftover_is_killed_after_the_sweep_grace_when_the_child_left_by_itself() {
    let run = Init::new(&["--sweep-grace=200ms"])
        .role(&["leave", "a:daemon:deaf", "--", "record", "exit=12:6"])
        .ready();
    let asked = run.signal(libc::SIGUSR2);
    let done = run.finish_with(6);
    let took = ms(asked, done.at);
    assert!((200.0..300.0).contains(&took), "{took} ms: {}", done.text());
    assert!(done.says("left a signal 15"), "{}", done.text());
    assert_eq!(done.events("escalated").len(), 1, "{}", done.text());
}

/// Each that dies hands over its own children, and these are swept as well.
pub fn what_a_dying_leftover_hands_over_is_swept_too() {
    for under in [false, true] {
        let init = Init::new(&["--sweep-grace=200ms"]);
        let init = if under { init.under() } else { init };
        let run = init
            .role(&["leave", "a:daemon:brood", "b:worker:plain:brood", "--", "record", "exit=12:0"])
            .ready();
        let brood = pid_in(&run.says_prefix("left a.brood"));
        run.signal(libc::SIGUSR2);
        run.end();
        let done = run.finish_with(0);
        for name in ["a.brood", "b.brood"] {
            assert!(done.says(&format!("left {name} signal 15")), "{brood}: {}", done.text());
        }
    }
}

/// B10: outside of PID 1 too, nothing is left behind.
pub fn a_subreaper_leaves_no_orphan_behind() {
    let run = Init::new(&["--sweep-grace=100ms"])
        .under()
        .role(&["leave", "a:daemon:deaf", "b:daemon", "w:worker", "--", "record", "exit=15:0"])
        .ready();
    run.term();
    run.end();
    let left = run.processes();
    assert!(left.iter().all(|p| p.pid == 1), "left behind: {left:?}");
    let done = run.finish_with(0);
    assert!(done.says("left b done") && done.says("left w done"), "{}", done.text());
    assert!(done.says("left a signal 15"), "{}", done.text());
    assert!(!done.events("escalated").is_empty(), "{}", done.text());
}

/// Section 5: `docker exec` belongs to whoever called it.
pub fn a_process_from_outside_is_never_touched() {
    let run = Init::new(&["--sweep-grace=150ms"])
        .role(&["generations", "1=leave,a:daemon:deaf,--,record,exit=10:75", "*=record,exit=15:0"])
        .ready();
    let mut recorder = run.exec(&["record"]);
    recorder.says_prefix("ready");
    let mut pausing = run.exec(&["pause"]);
    pausing.says_prefix("ready");
    run.usr1();
    run.ready_generation(2);
    assert!(recorder.runs() && pausing.runs(), "guests after a restart");
    let seen = crate::harness::signals(&recorder.out.all());
    assert_eq!(seen, [0; 0], "signals that the guest saw");
    // PID 1's end is the namespace's: then they go by the kernel's hand, not before clawinit's own.
    run.stop().code(0);
    assert_eq!(crate::harness::signals(&recorder.out.all()), [0; 0]);
}

/// A stop does not wait for a process from outside either.
pub fn a_process_from_outside_keeps_no_stop_waiting() {
    let run = Init::new(&[]).role(&["record", "exit=15:0"]).ready();
    let guest = run.exec(&["ignore", "15"]);
    guest.says_prefix("ready");
    let asked = run.term();
    let done = run.finish_with(0);
    assert!(ms(asked, done.at) < 1000.0, "{}", done.text());
}

/// Section 5: without `/proc` there is `kill(-1)`.
pub fn without_proc_leftovers_are_swept_all_the_same() {
    let run = Init::new(&["--sweep-grace=200ms"])
        .flag("no-proc")
        .role(&["leave", "d:daemon", "a:daemon:deaf", "--", "record", "exit=15:0"])
        .ready();
    let asked = run.term();
    let done = run.finish_with(0);
    assert!(done.says("left d done"), "{}", done.text());
    assert!(done.says("left a signal 15"), "{}", done.text());
    let took = ms(asked, done.at);
    assert!((200.0..1000.0).contains(&took), "{took} ms: {}", done.text());
}

/// B3, B9: a program that re-executes itself by fork and exit.
pub fn exit_when_all_stays_for_what_goes_on() {
    for under in [false, true] {
        let init = Init::new(&["--exit-when=all"]);
        let init = if under { init.under() } else { init };
        let run = init.role(&["leave", "a:daemon", "--", "exit", "7"]);
        run.event("child-exited", 1);
        // Signals go to what is left.
        run.term();
        run.says("left a done");
        run.finish_with(7);
    }
}

/// It leaves by itself with the last process.
pub fn exit_when_all_leaves_with_the_last_process() {
    let run = Init::new(&["--exit-when=all"]).role(&["leave", "a:orphan", "--", "exit", "0"]);
    run.event("child-exited", 1);
    let orphan = pid_in(&run.says_prefix("left a"));
    let guest = run.exec(&["kill", "15", &orphan.to_string()]);
    let done = run.finish_with(0);
    drop(guest);
    assert!(done.says("left a done"), "{}", done.text());
}

/// B3: a stop of what is left has its limit too.
pub fn exit_when_all_still_has_a_deadline() {
    let run = Init::new(&["--exit-when=all", "--stop-grace=200ms"]).role(&[
        "leave",
        "a:daemon:deaf",
        "--",
        "exit",
        "0",
    ]);
    run.event("child-exited", 1);
    let asked = run.term();
    let done = run.finish();
    let took = ms(asked, done.at);
    assert!((195.0..400.0).contains(&took), "{took} ms: {}", done.text());
}

/// Other signals are forwarded to what is left as well (B9).
pub fn exit_when_all_forwards_other_signals_to_what_is_left() {
    let run = Init::new(&["--exit-when=all"]).role(&["leave", "a:daemon", "--", "exit", "0"]);
    run.event("child-exited", 1);
    run.signal(libc::SIGHUP);
    run.says("left a signal 1");
    run.term();
    run.finish_with(0);
}

/// A stopped process takes no SIGTERM; one that is not sees no SIGCONT.
pub fn a_stopped_leftover_is_woken_and_no_other() {
    let run = Init::new(&["--sweep-grace=10s"])
        .role(&["leave", "s:daemon:stopped", "d:daemon:slow=50", "--", "record", "exit=15:0"])
        .ready();
    run.wait_state(pid_in(&run.says_prefix("left s")), "T");
    let asked = run.term();
    let done = run.finish_with(0);
    assert!(ms(asked, done.at) < 5000.0, "{}", done.text());
    assert!(done.says("left s done") && done.says("left d done"), "{}", done.text());
    assert!(!done.says("left d signal 18"), "{}", done.text());
}

/// I6: also where clawinit is on its way out already.
pub fn a_stop_during_the_sweep_of_an_exit_keeps_the_stops_time() {
    let run = Init::new(&["--sweep-grace=60s", "--stop-grace=200ms"])
        .role(&["leave", "a:daemon:deaf", "--", "record", "exit=12:6"])
        .ready();
    run.signal(libc::SIGUSR2);
    run.says("left a signal 15");
    let asked = run.term();
    let done = run.finish_with(6);
    let took = ms(asked, done.at);
    assert!((195.0..500.0).contains(&took), "{took} ms: {}", done.text());
}

/// In group mode the group has been told already, but of another signal than the sweep's: a worker
/// that lives through SIGINT or SIGUSR1 is asked with SIGTERM before it is killed. One that was
/// told SIGTERM is not told twice (B11).
pub fn a_group_that_was_told_something_else_is_asked_to_end_before_it_is_killed() {
    for (signal, code) in [(libc::SIGINT, 0), (libc::SIGQUIT, 0)] {
        let run = Init::new(&["--kill-mode=group", "--sweep-grace=10s"])
            .role(&["leave", "w:worker", "--", "record", &format!("exit={signal}:{code}")])
            .ready();
        let asked = run.signal(signal);
        let done = run.finish_with(code);
        assert!(ms(asked, done.at) < 5000.0, "{}", done.text());
        assert!(done.says("left w done"), "{}", done.text());
    }
    let run = Init::new(&["--kill-mode=group", "--sweep-grace=150ms"])
        .role(&["leave", "w:worker:deaf", "--", "record", "exit=15:0"])
        .ready();
    run.term();
    let done = run.finish_with(0);
    let told = done.out.iter().filter(|line| *line == "left w signal 15").count();
    assert_eq!(told, 1, "{}", done.text());
}

/// How often this leftover was told to end.
fn told(done: &Done, name: &str) -> usize {
    let line = format!("left {name} signal {}", libc::SIGTERM);
    done.out.iter().filter(|l| **l == line).count()
}

/// B11, the other side of it: who was born after the group was told was not told.
pub fn who_joins_the_group_after_it_was_told_is_told_in_the_sweep() {
    let run = Init::new(&["--kill-mode=group", "--sweep-grace=10s"]).role(&["heir", "w:worker"]);
    let run = run.ready();
    let asked = run.term();
    let done = run.finish_with(0);
    assert!(ms(asked, done.at) < 5000.0, "{}", done.text());
    assert!(done.says("left w done"), "{}", done.text());
    assert!(done.events("escalated").is_empty(), "{}", done.text());

    let run = Init::new(&["--kill-mode=group", "--sweep-grace=500ms"])
        .role(&["leave", "old:worker:deaf", "--", "heir", "new:worker:deaf"])
        .ready();
    run.term();
    let done = run.finish_with(0);
    for name in ["old", "new"] {
        assert_eq!(told(&done, name), 1, "{name}: {}", done.text());
    }
}

/// The group's SIGTERM waits for it; the sweep only has to wake it.
pub fn a_stopped_member_of_the_group_is_woken_in_the_sweep() {
    let run = Init::new(&["--kill-mode=group", "--sweep-grace=10s"])
        .role(&["leave", "s:worker:stopped", "--", "record", "exit=15:0"])
        .ready();
    run.wait_state(pid_in(&run.says_prefix("left s")), "T");
    let asked = run.term();
    let done = run.finish_with(0);
    assert!(ms(asked, done.at) < 5000.0, "{}", done.text());
    assert!(done.says("left s done"), "{}", done.text());
    assert!(done.events("escalated").is_empty(), "{}", done.text());
}

/// They are none of its business, but `all` says that clawinit stays for them, up to the deadline.
pub fn exit_when_all_waits_in_kill_mode_process_and_tells_nobody() {
    let run = Init::new(&["--exit-when=all", "--kill-mode=process", "--stop-grace=60s"])
        .role(&["leave", "a:daemon", "--", "record", "exit=15:3"])
        .ready();
    let daemon = pid_in(&run.says_prefix("left a"));
    run.term();
    run.event("child-exited", 1);
    let sender = run.exec(&["kill", "15", &daemon.to_string()]);
    let done = run.finish_with(3);
    drop(sender);
    assert!(done.says("left a done"), "{}", done.text());
    assert_eq!(told(&done, "a"), 1, "told by nobody but the test: {}", done.text());

    let run = Init::new(&["--exit-when=all", "--kill-mode=process", "--stop-grace=300ms"])
        .role(&["leave", "a:daemon:deaf", "--", "record", "exit=15:3"])
        .ready();
    let asked = run.term();
    let done = run.finish_with(3);
    let took = ms(asked, done.at);
    assert!((295.0..600.0).contains(&took), "{took} ms: {}", done.text());
    assert_eq!(told(&done, "a"), 0, "{}", done.text());
}

/// Each that is told starts the next one: told of as long as it is news.
pub fn a_chain_of_successors_does_not_flood_the_log() {
    for options in [&["--sweep-grace=20s"][..], &["--sweep-grace=20s", "--kill-mode=group"]] {
        let run = Init::new(options)
            .role(&["leave", "c:daemon:chain=100", "--", "record", "exit=15:0"])
            .ready();
        run.term();
        let done = run.finish_with(0);
        let ended = done.out.iter().filter(|line| *line == "left c done").count();
        assert_eq!(ended, 101, "{}", done.text());
        assert!(!done.events("sweep").is_empty(), "{}", done.text());
        assert!(done.err.len() <= 20, "{} lines: {}", done.err.len(), done.text());
    }
}
