//! A restart keeps the place: the child saves, leaves, and comes again (DESIGN sections 1, 2, 4).

use crate::harness::{Done, Folder, Init, Run, free_port, ms, pid_in};

/// When each generation began to run, on the clock of `sys::now_ns`.
fn beginnings(done: &Done) -> Vec<u64> {
    done.out
        .iter()
        .filter_map(|line| line.strip_prefix("generation ")?.split_once("at=")?.1.parse().ok())
        .collect()
}

fn saved(run: &Run, count: u64) {
    let wanted = format!("ready saved={count} ");
    run.says_prefix(&wanted);
}

/// The main promise, often enough to see a descriptor or a page lost on the way.
pub fn usr1_saves_and_restarts_a_thousand_times_without_growth() {
    let folder = Folder::new();
    let file = folder.word("state");
    let run = Init::new(&["--restart-limit=1/60s"]).role(&["state", &file]);
    saved(&run, 0);
    let mut before = None;
    for round in 1..=1000 {
        run.usr1();
        saved(&run, round);
        if round == 20 {
            // The first rounds may touch pages for the first time.
            before = Some((run.descriptors(), memory(&run)));
        }
    }
    let (descriptors, kilobytes) = before.expect("round 20");
    assert_eq!(run.descriptors(), descriptors, "descriptors of clawinit");
    let now = memory(&run);
    assert!(now <= kilobytes, "resident memory of clawinit grew from {kilobytes} kB to {now} kB");
    assert!(run.zombies().is_empty(), "{:?}", run.zombies());
    run.term();
    let done = run.finish_with(0);
    assert_eq!(done.events("started").len(), 1001);
    let text = std::fs::read_to_string(&file).expect("the saved state");
    assert_eq!(text.trim(), "1000");
}

fn memory(run: &Run) -> u64 {
    let text = run.status("VmRSS");
    let kilobytes = text.split(' ').next().expect("a number");
    kilobytes.parse().expect("kB")
}

pub fn the_restart_code_brings_a_new_generation() {
    // With no stable time to live for the code is a request, and nothing waits.
    let run = Init::new(&["--stable-after=0s", "--restart-delay=60s"])
        .role(&["generations", "1=record,exit=12:75", "*=record,exit=15:0"])
        .ready();
    run.signal(libc::SIGUSR2);
    run.ready_generation(2);
    let done = run.stop();
    done.code(0);
    let causes: Vec<_> = done.events("restarting").iter().map(|e| e["cause"].clone()).collect();
    assert_eq!(causes, ["code"], "{}", done.text());
}

/// One that asks again and again at once is a loop like any other.
pub fn a_restart_code_too_soon_waits_and_counts_like_a_crash() {
    let done = Init::new(&["--restart-limit=2/60s", "--restart-delay=40ms"])
        .role(&["generations", "*=exit,75"])
        .finish_with(75);
    let began = beginnings(&done);
    assert_eq!(began.len(), 3, "{}", done.text());
    assert!(ms(began[0], began[1]) >= 20.0, "{}", done.text());
    assert_eq!(done.events("restart-limit").len(), 1, "{}", done.text());
}

pub fn restart_codes_can_be_chosen_and_zero_be_one() {
    let run = Init::new(&["--restart-code=0,77", "--restart-delay=1ms"])
        .role(&["generations", "1=exit,0", "2=exit,77", "*=record,exit=15:0"])
        .ready();
    run.ready_generation(3);
    // A stop that clawinit saw is a stop, whatever the code.
    run.term();
    let done = run.finish_with(0);
    assert_eq!(done.events("started").len(), 3, "{}", done.text());

    Init::new(&["--restart-code=77"]).role(&["exit", "75"]).finish_with(75);
    Init::new(&["--restart-code=none"]).role(&["exit", "75"]).finish_with(75);
}

pub fn the_restart_mode_says_what_brings_a_child_back() {
    let generations = |mode: &str, role: &[&str], code: i32| {
        let done = Init::new(&["--restart", mode, "--restart-limit=2/60s", "--restart-delay=1ms"])
            .role(role)
            .finish_with(code);
        done.events("started").len()
    };
    assert_eq!(generations("never", &["exit", "75"], 75), 1);
    assert_eq!(generations("never", &["exit", "1"], 1), 1);
    assert_eq!(generations("request", &["exit", "75"], 75), 3);
    assert_eq!(generations("request", &["exit", "1"], 1), 1);
    assert_eq!(generations("request", &["die", "11"], 139), 1);
    assert_eq!(generations("on-failure", &["exit", "0"], 0), 1);
    assert_eq!(generations("on-failure", &["exit", "1"], 1), 3);
    assert_eq!(generations("on-failure", &["die", "11"], 139), 3);
    assert_eq!(generations("always", &["exit", "0"], 1), 3);
    assert_eq!(generations("always", &["exit", "1"], 1), 3);
}

pub fn no_restart_codes_end_it_in_every_mode() {
    for mode in ["request", "on-failure", "always"] {
        let done = Init::new(&["--restart", mode, "--no-restart-code=78,3"])
            .role(&["exit", "78"])
            .finish_with(78);
        assert_eq!(done.events("started").len(), 1, "{}", done.text());
    }
}

/// Section 2, `--restart-delay`: it doubles, with jitter, up to the maximum.
pub fn crash_delays_double_up_to_the_maximum() {
    let done = Init::new(&[
        "--restart=on-failure",
        "--restart-delay=40ms",
        "--restart-delay-max=200ms",
        "--restart-limit=5/60s",
    ])
    .role(&["generations", "*=exit,9"])
    .finish_with(9);
    let began = beginnings(&done);
    assert_eq!(began.len(), 6, "five crashes tolerated: {}", done.text());
    let restarts = done.events("restarting");
    let said: Vec<f64> =
        restarts.iter().map(|event| event["delay_ms"].as_f64().expect("delay_ms")).collect();
    let ideal = [40.0, 80.0, 160.0, 200.0, 200.0];
    assert_eq!(said.len(), ideal.len(), "{}", done.text());
    for (round, ideal) in ideal.iter().enumerate() {
        // Jitter is clawinit's to choose, within half of the delay.
        assert!(
            (ideal * 0.5..=ideal * 1.5).contains(&said[round]) && said[round] <= 200.0,
            "delay {round} was {} ms, about {ideal} expected",
            said[round]
        );
        let waited = ms(began[round], began[round + 1]);
        assert!(
            (said[round] - 1.0..said[round] + 100.0).contains(&waited),
            "delay {round}: said {} ms, waited {waited} ms",
            said[round]
        );
    }
    assert!(restarts.iter().all(|event| event["cause"] == "crash"), "{}", done.text());
}

pub fn one_crash_over_the_limit_exits_with_the_childs_code() {
    for (limit, generations) in [("1/60s", 2), ("3/60s", 4)] {
        let done =
            Init::new(&["--restart=always", "--restart-delay=1ms", "--restart-limit", limit])
                .role(&["exit", "21"])
                .finish_with(21);
        assert_eq!(done.events("started").len(), generations, "{}", done.text());
        assert_eq!(done.events("restart-limit").len(), 1, "{}", done.text());
    }
}

/// With 0 as a restart code, as the real OpenClaw wants it, or in mode `always`: a platform's
/// on-failure policy is to see that nothing was done (openclaw/openclaw#73178).
pub fn a_child_that_leaves_with_0_again_and_again_is_no_success() {
    for mode in ["--restart=always", "--restart-code=0"] {
        let limits = ["--restart-delay=1ms", "--restart-limit=2/60s"];
        let done = Init::new(&[&[mode][..], &limits].concat()).role(&["exit", "0"]).finish_with(1);
        assert_eq!(done.events("restart-limit").len(), 1, "{}", done.text());
        assert_eq!(done.events("exiting")[0]["code"], 1, "{}", done.text());
    }
}

/// Crashes that are older than the window are no longer counted.
pub fn crashes_outside_of_the_window_do_not_count() {
    let run = Init::new(&[
        "--restart=on-failure",
        "--restart-delay=60ms",
        "--restart-delay-max=60ms",
        "--restart-limit=3/80ms",
    ])
    .role(&["generations", "8=record,exit=15:0", "*=exit,1"])
    .ready();
    run.ready_generation(8);
    run.stop().code(0);
}

pub fn a_generation_that_lived_long_enough_resets_the_delay() {
    let run = Init::new(&[
        "--restart=on-failure",
        "--restart-delay=40ms",
        "--stable-after=150ms",
        "--restart-limit=3/60s",
    ])
    .role(&["generations", "4=record,exit=12:1", "5=record,exit=15:0", "*=exit,1"]);
    run.ready_generation(4);
    // Longer than the stable time: this is what the test is about.
    std::thread::sleep(std::time::Duration::from_millis(200));
    run.signal(libc::SIGUSR2);
    run.ready_generation(5);
    let done = run.stop();
    done.code(0);
    let delays: Vec<f64> = done
        .events("restarting")
        .iter()
        .map(|event| event["delay_ms"].as_f64().expect("delay_ms"))
        .collect();
    assert_eq!(delays.len(), 4, "{}", done.text());
    assert!(delays[2] > delays[3] * 1.5, "{delays:?}");
}

pub fn restarts_asked_for_by_signal_never_count() {
    let run = Init::new(&["--restart=on-failure", "--restart-limit=1/60s", "--restart-delay=60s"])
        .role(&["generations", "*=record,exit=10:1,exit=15:0"]);
    for generation in 1..=20 {
        run.ready_generation(generation);
        run.usr1();
    }
    run.ready_generation(21);
    run.stop().code(0);
}

/// I11: whatever it leaves with.
pub fn after_a_restart_request_any_exit_leads_to_the_next_generation() {
    for code in [0, 1, 75, 137, 255] {
        let run = Init::new(&[])
            .role(&["generations", &format!("1=record,exit=10:{code}"), "*=record,exit=15:0"])
            .ready();
        run.usr1();
        run.ready_generation(2);
        run.stop().code(0);
    }
}

/// A child without a handler dies of it, which is no crash.
pub fn a_child_that_dies_of_the_restart_signal_has_restarted() {
    let folder = Folder::new();
    let report = folder.word("report");
    let run =
        Init::new(&["--restart-delay=60s", "--termination-log", &report]).role(&["pause"]).ready();
    for generation in 2..=5 {
        run.usr1();
        run.ready_generation(generation);
    }
    let done = run.stop();
    done.code(143);
    assert!(
        done.events("restarting").iter().all(|event| event["cause"] == "signal"),
        "{}",
        done.text()
    );
}

pub fn a_child_that_does_not_leave_for_a_restart_is_killed_and_restarted() {
    let run = Init::new(&["--restart-grace=200ms"])
        .role(&["generations", "1=record", "*=record,exit=15:0"])
        .ready();
    let asked = run.usr1();
    let event = run.event("started", 2);
    run.ready_generation(2);
    let done = run.stop();
    done.code(0);
    let took = ms(asked, beginnings(&done)[1]);
    assert!((200.0..400.0).contains(&took), "{took} ms, {event}: {}", done.text());
    assert_eq!(done.events("escalated").len(), 1, "{}", done.text());
}

pub fn the_restart_grace_is_the_stop_grace_where_it_is_not_said() {
    let run = Init::new(&["--stop-grace=200ms"])
        .role(&["generations", "1=ignore,10", "*=record,exit=15:0"])
        .ready();
    let asked = run.usr1();
    run.ready_generation(2);
    let done = run.stop();
    let took = ms(asked, beginnings(&done)[1]);
    assert!((200.0..400.0).contains(&took), "{took} ms: {}", done.text());
}

pub fn requests_during_a_restart_are_folded_into_it() {
    let run = Init::new(&[])
        .role(&["generations", "1=record,exit=10:75:200", "*=record,exit=15:0"])
        .ready();
    run.usr1();
    run.says_prefix("signal 10");
    run.usr1();
    run.usr1();
    run.ready_generation(2);
    let done = run.stop();
    done.code(0);
    assert_eq!(done.events("started").len(), 2, "{}", done.text());
    // The second generation has nothing to do with the requests to the first.
    let later: Vec<String> =
        done.out.iter().skip_while(|line| !line.starts_with("generation 2")).cloned().collect();
    assert_eq!(crate::harness::signals(&later), [15], "{}", done.text());
}

pub fn a_request_during_the_crash_delay_starts_the_child_at_once() {
    let run =
        Init::new(&["--restart=on-failure", "--restart-delay=60s", "--restart-delay-max=60s"])
            .role(&["generations", "1=exit,9", "*=record,exit=15:0"]);
    run.event("restarting", 1);
    let asked = run.usr1();
    run.ready_generation(2);
    let done = run.stop();
    done.code(0);
    assert!(ms(asked, beginnings(&done)[1]) < 1000.0, "{}", done.text());
}

pub fn the_signals_of_a_restart_can_be_chosen() {
    let run = Init::new(&["--restart-on=HUP,USR2", "--restart-signal=INT"])
        .role(&["generations", "3=record,exit=15:0,exit=10:0", "*=record,exit=2:75"])
        .ready();
    run.signal(libc::SIGHUP);
    run.ready_generation(2);
    run.signal(libc::SIGUSR2);
    run.ready_generation(3);
    // No restart signal any more, so it goes to the child.
    run.usr1();
    let done = run.finish_with(0);
    assert_eq!(done.signals(), [2, 2, 10], "{}", done.text());
}

pub fn a_stopped_child_is_woken_for_a_restart() {
    let run = Init::new(&[])
        .role(&["generations", "1=record,exit=10:75,stop", "*=record,exit=15:0"])
        .ready();
    let child = pid_in(&run.says_prefix("ready"));
    run.wait_state(child, "T");
    let asked = run.usr1();
    run.ready_generation(2);
    let done = run.stop();
    done.code(0);
    assert!(ms(asked, beginnings(&done)[1]) < 5000.0, "{}", done.text());
    assert!(done.events("escalated").is_empty(), "{}", done.text());
}

/// What the gateway's users met: the old agent holds the port that the new gateway wants.
pub fn a_leftover_that_holds_the_port_is_gone_before_the_next_generation_binds_it() {
    let port = free_port();
    let held = format!("1=leave,a:daemon:deaf:port={port},--,record,exit=10:75");
    let wants = format!("*=bind,{port},record,exit=15:0");
    for under in [false, true] {
        let init = Init::new(&["--sweep-grace=100ms", "--port", &port.to_string()]);
        let init = if under { init.under() } else { init };
        let run = init.role(&["generations", &held, &wants]).ready();
        run.usr1();
        run.ready_generation(2);
        let done = run.stop();
        done.code(0);
        assert!(done.says("left a signal 15"), "asked before killed: {}", done.text());
    }
}

/// The same without a request, on the code.
pub fn leftovers_are_swept_before_a_restart_by_code_too() {
    let port = free_port();
    let held = format!("1=leave,a:daemon:port={port},w:worker:deaf,--,exit,75");
    let wants = format!("*=bind,{port},record,exit=15:0");
    let run = Init::new(&["--sweep-grace=100ms", "--restart-delay=1ms"]).role(&[
        "generations",
        &held,
        &wants,
    ]);
    run.ready_generation(2);
    run.stop().code(0);
}

/// Section 4: the sweep ends on the stop's deadline, and nothing is started.
pub fn a_stop_during_the_sweep_for_a_restart_starts_nothing() {
    let run = Init::new(&["--sweep-grace=30s", "--restart-grace=60s", "--stop-grace=200ms"])
        .role(&["leave", "a:daemon:deaf", "--", "record", "exit=10:75"])
        .ready();
    run.usr1();
    run.says("left a signal 15");
    let asked = run.term();
    let done = run.finish();
    let took = ms(asked, done.at);
    assert!((150.0..600.0).contains(&took), "{took} ms: {}", done.text());
    assert_eq!(done.events("started").len(), 1, "{}", done.text());
}

pub fn the_restart_deadline_covers_the_sweep() {
    let run = Init::new(&["--sweep-grace=30s", "--restart-grace=300ms"])
        .role(&["generations", "1=leave,a:daemon:deaf,--,record,exit=10:75", "*=record,exit=15:0"])
        .ready();
    let asked = run.usr1();
    run.ready_generation(2);
    let done = run.stop();
    done.code(0);
    let took = ms(asked, beginnings(&done)[1]);
    assert!((300.0..500.0).contains(&took), "{took} ms: {}", done.text());
}

/// Section 6: what the child is told.
pub fn the_child_knows_its_generation_its_code_and_whom_to_signal() {
    let run = Init::new(&["--restart-code=70,71", "--restart-delay=1ms"]).role(&[
        "generations",
        "1=exit,70",
        "*=facts",
    ]);
    let done = run.finish_with(0);
    let facts = crate::starting::facts(&done);
    assert_eq!(facts["env"]["CLAWINIT_GENERATION"], "2", "{facts}");
    assert_eq!(facts["env"]["CLAWINIT_RESTART_CODE"], "70", "{facts}");
    assert_eq!(facts["env"]["CLAWINIT_PID"], "1", "{facts}");
}

/// At a restart every failure to start is retried: the file may be on its way.
pub fn a_command_that_is_missing_at_a_restart_is_tried_again() {
    let folder = Folder::new();
    let (_, program) = folder.copies();
    let run =
        Init::new(&["--restart-delay=20ms", "--restart-delay-max=50ms", "--restart-limit=64/60s"])
            .with_probe(program)
            .role(&[
                "generations",
                &format!("1=remove,{},75", folder.word("probe")),
                "*=record,exit=15:0",
            ]);
    let event = run.event("start-failed", 2);
    assert!(event["reason"].as_str().is_some_and(|r| !r.is_empty()), "{event}");
    let (_, _) = folder.copies();
    run.says_prefix("ready");
    run.stop().code(0);
}

/// A stop while the starts fail ends it.
pub fn a_stop_while_starts_fail_exits() {
    let folder = Folder::new();
    let (_, program) = folder.copies();
    let run = Init::new(&["--restart-delay=60s"])
        .with_probe(program)
        .role(&["generations", &format!("1=remove,{},75", folder.word("probe"))]);
    run.event("restarting", 1);
    let asked = run.term();
    let done = run.finish();
    assert!(ms(asked, done.at) < 1000.0, "{}", done.text());
}

/// ETXTBSY: somebody still writes the program (a fresh container layer). It is retried at first
/// start too.
pub fn a_program_that_is_being_written_is_tried_again_at_first_start() {
    let folder = Folder::new();
    let (_, program) = folder.copies();
    let writer = std::fs::OpenOptions::new().write(true).open(&program).expect("open for writing");
    let run =
        Init::new(&["--restart-delay=20ms", "--restart-delay-max=50ms", "--restart-limit=64/60s"])
            .with_probe(program)
            .role(&["record", "exit=15:0"]);
    run.event("start-failed", 2);
    drop(writer);
    let run = run.ready();
    run.stop().code(0);
}

/// A code that counts as success is no failure.
pub fn a_success_code_is_no_crash() {
    let done = Init::new(&["--restart=on-failure", "--success-codes=3"])
        .role(&["exit", "3"])
        .finish_with(0);
    assert_eq!(done.events("started").len(), 1, "{}", done.text());
}

pub fn in_group_mode_the_whole_group_is_told_to_restart() {
    let run = Init::new(&["--kill-mode=group"])
        .role(&["generations", "1=leave,w:worker,--,record,exit=10:75:50", "*=record,exit=15:0"])
        .ready();
    run.usr1();
    run.ready_generation(2);
    let done = run.stop();
    done.code(0);
    assert!(done.says("left w signal 10"), "{}", done.text());
    let place = |wanted: &str| done.out.iter().position(|line| line.starts_with(wanted));
    let (swept, next) = (place("left w done"), place("generation 2"));
    assert!(swept.is_some() && swept < next, "swept before the next one: {}", done.text());
}

/// The default of the maximum is no limit to a delay that somebody has asked for.
pub fn a_delay_over_the_default_maximum_is_waited_for() {
    let run = Init::new(&["--restart=on-failure", "--restart-delay=60s"]).role(&["exit", "9"]);
    let delay = run.event("restarting", 1)["delay_ms"].as_u64().expect("delay_ms");
    // Less the jitter.
    assert!((48_000..=72_000).contains(&delay), "{delay} ms");
    run.term();
    run.finish_with(9);
}
