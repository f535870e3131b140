//! Every signal that can be forwarded is, and no other (DESIGN section 4).

use crate::harness::{Done, End, Folder, Init, Run, pid_in, status_field};
use crate::sys;

/// All that a process can be sent and clawinit forwards.
fn forwardable() -> impl Iterator<Item = i32> {
    (1..=64).filter(|n| ![libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD].contains(n))
}

/// Sends a signal and waits until the child has said it.
fn passes(run: &Run, signal: i32) {
    let before =
        crate::harness::signals(&run.out.all()).iter().filter(|seen| **seen == signal).count();
    run.signal(signal);
    run.until(&format!("signal {signal} to reach the child"), || {
        let now = crate::harness::signals(&run.out.all());
        (now.iter().filter(|seen| **seen == signal).count() > before).then_some(())
    });
}

/// A36, A40, B18, B19, B21: from 1 to 64, also those that end tini and dumb-init themselves.
pub fn every_forwardable_signal_reaches_the_child_in_order() {
    let run = Init::new(&["--restart-on=none"]).role(&["record"]).ready();
    let mut order: Vec<i32> = forwardable()
        .filter(|n| ![libc::SIGTERM, libc::SIGINT, libc::SIGQUIT].contains(n))
        .collect();
    // These ask for a stop; the grace is long enough for all of them to be seen.
    order.extend([libc::SIGINT, libc::SIGQUIT, libc::SIGTERM]);
    for &signal in &order {
        passes(&run, signal);
    }
    assert_eq!(crate::harness::signals(&run.out.all()), order);
}

/// The same where clawinit is an ordinary process, without the ones that suspend it.
pub fn every_signal_is_forwarded_by_one_that_is_not_pid_1() {
    let run = Init::new(&["--restart-on=none"]).under().role(&["record"]).ready();
    let suspending = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU, libc::SIGCONT];
    for signal in forwardable().filter(|n| !suspending.contains(n)) {
        passes(&run, signal);
    }
}

/// 64 values on each of three numbers: nothing lost, nothing mixed up.
pub fn real_time_signals_keep_their_number_value_and_order() {
    let numbers = [34, 50, 64];
    let run = Init::new(&[]).role(&["record", "exit=15:0"]).ready();
    for value in 0..64 {
        for number in numbers {
            sys::queue(run.pid, number, value * 1000 + number).expect("sigqueue");
        }
    }
    run.until("all real-time signals", || {
        (crate::harness::signals(&run.out.all()).len() == 64 * numbers.len()).then_some(())
    });
    let done = run.stop();
    done.code(0);
    for number in numbers {
        let prefix = format!("signal {number} ");
        let values: Vec<i32> = done
            .out
            .iter()
            .filter(|line| line.starts_with(&prefix))
            .map(|line| {
                assert!(line.contains("code=-1 "), "sent by sigqueue: {line}");
                let (_, rest) = line.split_once("value=").expect("a value");
                rest.split(' ').next().expect("a value").parse().expect("a number")
            })
            .collect();
        let sent: Vec<i32> = (0..64).map(|value| value * 1000 + number).collect();
        assert_eq!(values, sent, "signal {number}");
    }
}

/// B11, B12: as many as were sent, none beside them.
pub fn a_stop_signal_is_delivered_once_and_nothing_with_it() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT] {
        for kill_mode in ["mixed", "group", "process"] {
            let run = Init::new(&["--kill-mode", kill_mode])
                .role(&["record", &format!("exit={signal}:0:60")])
                .ready();
            run.signal(signal);
            let done = run.finish_with(0);
            assert_eq!(done.signals(), [signal], "{kill_mode}: {}", done.text());
        }
    }
}

/// A17.
pub fn a_forwarded_signal_ends_a_child_with_default_actions() {
    for under in [false, true] {
        for signal in [libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2, libc::SIGHUP] {
            let mut init = Init::new(&["--restart-on=none"]);
            if under {
                init = init.under();
            }
            let run = init.role(&["pause"]).ready();
            run.signal(signal);
            run.finish_with(128 + signal);
        }
    }
}

pub fn usr1_is_like_any_other_when_nothing_restarts_on_it() {
    let run = Init::new(&["--restart-on=none"]).role(&["record", "exit=10:5"]).ready();
    run.usr1();
    let done = run.finish_with(5);
    assert_eq!(done.events("started").len(), 1, "{}", done.text());
}

/// A37, A38, B18, B20.
pub fn a_map_rewrites_what_it_names_and_nothing_else() {
    let map = "--map=HUP:USR2,USR2:HUP,WINCH:none,RTMIN+3:ALRM,ALRM:RTMAX,CONT:CONT";
    let run = Init::new(&[map]).role(&["record", "exit=15:0"]).ready();
    // What arrives where this is sent; 0 for nothing.
    let sent = [(1, 12), (12, 1), (28, 0), (37, 14), (14, 64), (38, 38), (18, 18)];
    let mut expected = Vec::new();
    for (signal, becomes) in sent {
        run.signal(signal);
        if becomes != 0 {
            expected.push(becomes);
        }
        run.until(&format!("{signal} to arrive as {becomes}"), || {
            (crate::harness::signals(&run.out.all()) == expected).then_some(())
        });
    }
    expected.push(15);
    let done = run.stop();
    done.code(0);
    assert_eq!(done.signals(), expected, "{}", done.text());
}

/// A19, B24: the child begins where clawinit was begun. `cat` tells, since Rust's own runtime
/// changes SIGPIPE in every Rust program before its `main`.
pub fn the_child_starts_with_the_mask_and_the_ignored_set_of_the_caller() {
    let all = [1, 2, 4, 10, 11, 13, 15, 17, 21, 22, 32, 33, 34, 40, 64];
    for (ignored, blocked) in [
        (&[][..], &[][..]),
        (&[22, 11, 2], &[21, 4, 15]),
        (&[13], &[]),
        (&[17], &[17]),
        (&all, &all),
    ] {
        let list = |numbers: &[i32]| {
            let words: Vec<String> = numbers.iter().map(ToString::to_string).collect();
            words.join(",")
        };
        let mut init = Init::new(&[]);
        if !ignored.is_empty() {
            init = init.flag(&format!("ignore={}", list(ignored)));
        }
        if !blocked.is_empty() {
            init = init.flag(&format!("block={}", list(blocked)));
        }
        let done = init.command(&["cat", "/proc/self/status"]).finish_with(0);
        let status = done.out.join("\n");
        let mask = |field: &str| {
            let text = status_field(&status, field).expect("a mask");
            u64::from_str_radix(&text, 16).expect("hexadecimal")
        };
        assert_eq!(mask("SigIgn"), sys::set(ignored), "ignored:\n{status}");
        assert_eq!(mask("SigBlk"), sys::set(blocked), "blocked:\n{status}");
        assert_eq!(mask("SigCgt"), 0, "caught:\n{status}");
    }
}

/// The second generation gets no less.
pub fn a_restarted_child_starts_with_the_callers_mask_too() {
    let run = Init::new(&["--restart=always", "--restart-delay=1ms"])
        .flag("ignore=13,21")
        .flag("block=12,40")
        .command(&["cat", "/proc/self/status"]);
    run.event("started", 2);
    run.until("the status of two generations", || {
        (run.out.text().matches("SigIgn").count() >= 2).then_some(())
    });
    let text = run.out.text();
    for (field, expected) in [("SigIgn", [13, 21]), ("SigBlk", [12, 40])] {
        let masks: Vec<u64> = text
            .lines()
            .filter_map(|line| line.strip_prefix(field)?.strip_prefix(":\t"))
            .map(|mask| u64::from_str_radix(mask.trim(), 16).expect("hexadecimal"))
            .take(2)
            .collect();
        assert_eq!(masks, [sys::set(&expected); 2], "{field}");
    }
}

/// catatonit and tini hang there: the kernel reaps by itself, and no SIGCHLD comes.
pub fn an_inherited_ignored_sigchld_hangs_nothing() {
    for under in [false, true] {
        let init = || {
            let init = Init::new(&[]).flag("ignore=17");
            if under { init.under() } else { init }
        };
        init().role(&["exit", "23"]).finish_with(23);
        init().role(&["orphans", "30", "24"]).finish_with(24);
        let run = init().role(&["record", "exit=15:25"]).ready();
        run.term();
        run.finish_with(25);
    }
}

/// B19: one that somebody sent; a real fault would come as a different thing.
pub fn fatal_signals_from_outside_do_not_end_clawinit() {
    let run = Init::new(&[]).role(&["record", "exit=15:0"]).ready();
    for signal in [
        libc::SIGABRT,
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGILL,
        libc::SIGFPE,
        libc::SIGTRAP,
        libc::SIGSYS,
    ] {
        passes(&run, signal);
    }
    run.stop().code(0);
}

/// Its own write to a reader that has gone raises SIGPIPE, in itself.
pub fn a_sigpipe_of_its_own_is_not_forwarded() {
    for under in [false, true] {
        let (reader, writer) = std::io::pipe().expect("pipe");
        let mut init = Init::plain(&["-v"]).stderr(writer);
        if under {
            init = init.under();
        }
        drop(reader);
        let run = init.role(&["record", "exit=15:0"]).ready();
        for _ in 0..5 {
            passes(&run, libc::SIGUSR2);
        }
        let done = run.stop();
        done.code(0);
        assert!(!done.signals().contains(&13), "{}", done.text());
    }
}

pub fn a_sigpipe_that_somebody_sent_is_forwarded() {
    let run = Init::new(&[]).role(&["record", "exit=15:0"]).ready();
    passes(&run, libc::SIGPIPE);
    run.stop().code(0);
}

/// B23: the child is another user's by now, and clawinit is not root.
pub fn a_child_that_may_not_be_signalled_is_a_warning_at_most() {
    let folder = Folder::new();
    let (clawinit, probe) = folder.copies();
    folder.set_mode("probe", 0o4755);
    let run = Init::new(&[])
        .program(clawinit)
        .with_probe(probe)
        .flag("user=65534")
        .role(&["root", "record", "exit=12:31"])
        .ready();
    run.signal(libc::SIGHUP);
    run.signal(libc::SIGHUP);
    let child = pid_in(&run.says_prefix("ready"));
    // It goes on, and still has the child's status.
    let guest = run.exec(&["kill", "12", &child.to_string()]);
    let done = run.finish_with(31);
    drop(guest);
    assert!(!done.signals().contains(&1), "{}", done.text());
}

/// What SIGKILL could not end because it never came is not blamed on a device.
pub fn a_child_that_may_not_be_killed_is_said_to_be_one() {
    let folder = Folder::new();
    let (clawinit, probe) = folder.copies();
    folder.set_mode("probe", 0o4755);
    let run = Init::new(&["--stop-grace=200ms"])
        .program(clawinit)
        .with_probe(probe)
        .flag("user=65534")
        .role(&["root", "record"])
        .ready();
    run.signal(libc::SIGTERM);
    let done = run.finish_with(137);
    let said = done.text();
    let verdict = said.lines().find(|line| line.contains("SIGKILL did not end"));
    assert!(verdict.is_some_and(|line| line.contains("not permitted")), "{said}");
}

fn early(flag: &str, micros: u64, under: bool, block: bool) -> Done {
    let mut init = Init::new(&["--stop-grace=10s"]).flag(&format!("{flag}={micros}"));
    if under {
        init = init.under();
    }
    if block {
        init = init.flag("block=15");
    }
    init.role(&["pause"]).finish()
}

/// B17: as soon as clawinit has blocked it, and from then on through the start of the child.
pub fn a_sigterm_once_blocked_is_never_lost() {
    for round in 0..300 {
        let micros = round * 5;
        let done = early("term-blocked", micros, false, false);
        assert_eq!(done.end, End::Code(143), "{micros} µs: {}", done.text());
    }
}

/// B17: the kernel drops what comes for a PID 1 before it has blocked it, unless the caller had.
pub fn a_sigterm_from_the_first_instruction_on_is_never_lost() {
    for round in 0..300 {
        let micros = round * 5;
        let done = early("term-after", micros, false, true);
        assert_eq!(done.end, End::Code(143), "{micros} µs: {}", done.text());
    }
}

/// Where clawinit is no PID 1, one that comes too early ends it, and nothing has started.
pub fn a_sigterm_at_any_time_ends_one_that_is_not_pid_1() {
    for round in 0..200 {
        let micros = round * 7;
        let done = early("term-after", micros, true, false);
        assert!(
            [End::Code(143), End::Signal(15)].contains(&done.end),
            "{micros} µs: {:?} {}",
            done.end,
            done.text()
        );
        if done.end == End::Signal(15) {
            assert!(
                done.out.is_empty(),
                "a child was there, and clawinit died before it: {}",
                done.text()
            );
        }
    }
}

/// The sender of a request is kept: inside by pid and uid, outside as such.
pub fn the_sender_of_a_request_is_told() {
    let run = Init::new(&[]).role(&["record", "exit=15:0"]).ready();
    run.signal_from_inside(&["15"]);
    let event = run.event("stop-requested", 1);
    assert_eq!(event["signal"], "SIGTERM", "{event}");
    assert_eq!(event["sender_uid"], 0, "{event}");
    assert!(event["sender_pid"].as_i64() > Some(1), "{event}");
    run.finish_with(0);

    let folder = Folder::new();
    let (clawinit, probe) = folder.copies();
    let run = Init::new(&[])
        .program(clawinit)
        .with_probe(probe)
        .flag("user=65534")
        .role(&["record", "exit=15:0"])
        .ready();
    run.signal_from_inside(&["15", "65534"]);
    let event = run.event("stop-requested", 1);
    assert_eq!(event["sender_uid"], 65534, "{event}");
    run.finish_with(0);

    let run = Init::plain(&[]).role(&["record", "exit=15:0"]).ready();
    run.term();
    run.err_line("the sender from outside", |line| {
        line.starts_with("clawinit: stop requested by pid 0 (outside the container): SIGTERM, 25 s")
            .then_some(())
    });
    run.finish_with(0);
}

/// A20, B38.
pub fn the_parents_death_brings_the_signal_that_was_asked_for() {
    let run = Init::new(&["--parent-death-signal=USR2"])
        .under()
        .flag("parent-dies")
        .role(&["record", "exit=12:0"])
        .ready();
    let parent: i32 = run.status("PPid").parse().expect("a pid");
    sys::kill(parent, libc::SIGKILL).expect("end the parent");
    let done = run.finish_with(0);
    assert_eq!(done.signals(), [12], "{}", done.text());
}
