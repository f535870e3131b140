//! With which code clawinit leaves (DESIGN section 3).

use crate::harness::{End, Init};

/// Signals whose default action ends a process.
fn deadly() -> impl Iterator<Item = i32> {
    let harmless = [
        libc::SIGCHLD,
        libc::SIGCONT,
        libc::SIGSTOP,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
        libc::SIGURG,
        libc::SIGWINCH,
    ];
    (1..=64).filter(move |signal| !harmless.contains(signal))
}

/// A34, A46, B2: also 126, 127 and 128, which inits have taken for their own.
pub fn every_exit_code_of_the_child_is_clawinits_own() {
    for code in 0..=255 {
        // 75 asks for a restart by default; here it is to be a code like any other.
        let options: &[&str] = if code == 75 { &["--restart-code", "none"] } else { &[] };
        Init::new(options).role(&["exit", &code.to_string()]).finish_with(code);
    }
}

/// A35, A46, A17: all of them, the real-time signals too.
pub fn a_death_by_signal_is_reported_as_128_and_its_number() {
    for signal in deadly() {
        Init::new(&[]).role(&["die", &signal.to_string()]).finish_with(128 + signal);
    }
}

/// B15: status 139 alone says too little.
pub fn a_death_by_signal_is_named_in_the_log() {
    let done = Init::new(&[]).role(&["die", "11"]).finish_with(139);
    let exits = done.events("child-exited");
    assert_eq!(exits.len(), 1, "{}", done.text());
    assert_eq!(exits[0]["signal"], "SIGSEGV", "{}", done.text());
    assert_eq!(exits[0]["core_dumped"], false, "{}", done.text());

    let done = Init::plain(&[]).role(&["die", "11"]).finish_with(139);
    assert!(done.err.iter().any(|line| line.contains("SIGSEGV")), "{}", done.text());
}

/// A10, B14: a code that is listed counts as success, in each way that leads to it.
pub fn success_codes_are_reported_as_zero() {
    for code in [1, 3, 74, 143, 255] {
        let listed = format!("{code},200");
        Init::new(&["--success-codes", &listed]).role(&["exit", &code.to_string()]).finish_with(0);
    }
    let mode = |kill_mode: &str, role: &[&str], code: i32| {
        let options = ["--success-codes=143", "--kill-mode", kill_mode, "--stop-grace=200ms"];
        let run = Init::new(&options).role(role).ready();
        run.term();
        run.finish_with(code);
    };
    for kill_mode in ["mixed", "group", "process"] {
        mode(kill_mode, &["pause"], 0);
        mode(kill_mode, &["record", "exit=15:143"], 0);
        // SIGKILL at the deadline is no success.
        mode(kill_mode, &["record"], 137);
    }
}

/// A11: what is not listed keeps its value.
pub fn all_codes_listed_but_one_leave_that_one_alone() {
    for code in [0, 1, 2, 42, 127, 128, 143, 254, 255] {
        let others: Vec<String> =
            (0..=255).filter(|other| *other != code).map(|other| other.to_string()).collect();
        Init::new(&["--success-codes", &others.join(",")])
            .role(&["exit", &code.to_string()])
            .finish_with(code);
    }
}

/// B13, A48: never a code of ours.
pub fn a_stop_reports_the_childs_own_code_in_every_kill_mode() {
    for kill_mode in ["mixed", "group", "process"] {
        for code in [0, 1, 7, 143] {
            let run = Init::new(&["--kill-mode", kill_mode])
                .role(&["record", &format!("exit=15:{code}")])
                .ready();
            run.term();
            run.finish_with(code);
        }
        // The very signal that it was sent: 128 and its number.
        let run = Init::new(&["--kill-mode", kill_mode]).role(&["pause"]).ready();
        run.term();
        run.finish_with(143);
    }
}

pub fn a_child_that_leaves_with_the_restart_code_when_stopped_has_stopped() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT] {
        let run = Init::new(&[]).role(&["record", &format!("exit={signal}:75")]).ready();
        run.signal(signal);
        let done = run.finish_with(0);
        assert_eq!(done.events("started").len(), 1, "{}", done.text());
    }
}

pub fn the_stop_exit_code_replaces_what_a_stop_in_time_reports() {
    for (code, role) in [(0, &["record", "exit=15:1"][..]), (0, &["pause"]), (9, &["pause"])] {
        let run = Init::new(&["--stop-exit-code", &code.to_string()]).role(role).ready();
        run.term();
        run.finish_with(code);
    }
    let run = Init::new(&["--stop-exit-code=child"]).role(&["record", "exit=15:6"]).ready();
    run.term();
    run.finish_with(6);
}

/// Only a stop that was asked for and was done in time.
pub fn the_stop_exit_code_says_nothing_of_other_ends() {
    Init::new(&["--stop-exit-code=0"]).role(&["exit", "3"]).finish_with(3);
    Init::new(&["--stop-exit-code=0"]).role(&["die", "6"]).finish_with(134);
    let run =
        Init::new(&["--stop-exit-code=0", "--stop-grace=150ms"]).role(&["ignore", "15"]).ready();
    run.term();
    run.finish_with(137);
}

/// B1: SIGCHLDs that coalesce hide neither the child nor its code.
pub fn a_child_that_dies_together_with_an_orphan_keeps_its_code() {
    for _ in 0..200 {
        Init::new(&[]).role(&["together"]).finish_with(42);
    }
}

/// A48, A49.
pub fn a_child_that_had_to_be_killed_is_137() {
    let run = Init::new(&["--stop-grace=150ms"]).role(&["ignore", "15,2,3"]).ready();
    run.term();
    let done = run.finish();
    assert_eq!(done.end, End::Code(137), "{}", done.text());
    assert_eq!(done.events("escalated").len(), 1, "{}", done.text());
}
