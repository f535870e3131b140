//! `clawinit stop` and `clawinit restart`: they ask, wait, and say how it went.

use crate::harness::{Folder, Init, Run, free_port, plain, probe};
use serde_json::Value;

/// A time that no test waits for.
const NEVER: &str = "60s";

#[track_caller]
fn object(said: &str) -> Value {
    let value: Value = serde_json::from_str(said).unwrap_or_else(|e| panic!("{e}: {said}"));
    assert_eq!(said.matches('\n').count(), 1, "one line: {said}");
    let mut names: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    let all = [
        "child_pid",
        "exit_code",
        "generation",
        "happened",
        "phase",
        "pid",
        "processes_killed",
        "ready",
        "reason",
        "seconds",
        "signal",
        "verb",
    ];
    assert_eq!(names, all);
    value
}

pub fn a_stop_tells_how_it_went() {
    // Many times: it is a race with PID 1, which takes the verb along when it leaves.
    for _ in 0..20 {
        let run = Init::new(&[]).role(&["record", "exit=15:7"]).ready();
        let said = run.verb(&["stop"]).with(0);
        assert!(said.out.starts_with("SIGTERM sent to clawinit, pid 1\n"), "{}", said.out);
        assert!(said.out.contains("\nstopped in "), "{}", said.out);
        assert!(said.out.ends_with(", exit code 7\n"), "{}", said.out);
        assert_eq!(said.err, "");
        let done = run.finish_with(7);
        let by = done.events("stop-requested")[0]["sender"].to_string();
        assert!(by.ends_with(" stop\""), "{by}");
    }
    let run = Init::new(&[]).under().role(&["record", "exit=15:0:50"]).ready();
    let said = object(&run.verb(&["stop", "--json"]).with(0).out);
    assert_eq!(said["verb"], "stop", "{said}");
    assert_eq!(said["happened"], true, "{said}");
    assert_eq!(said["signal"], "SIGTERM", "{said}");
    assert_eq!(said["exit_code"], 0, "{said}");
    assert_eq!(said["phase"], "exited", "{said}");
    assert_eq!(said["pid"], 2, "{said}");
    assert!(said["seconds"].as_f64().unwrap() >= 0.05, "{said}");
    run.finish_with(0);
}

pub fn a_stop_from_outside_tells_how_it_went() {
    // By the time that it is told, process and number may be gone; the page is not.
    let run = Init::new(&["--stop-on", "RTMIN+3,HUP"]).role(&["record", "exit=1:5:20"]).ready();
    let said = run.verb_outside(&["stop"]).finish().with(0);
    assert!(said.out.starts_with("SIGHUP sent to clawinit, pid "), "{}", said.out);
    assert!(said.out.ends_with(", exit code 5\n"), "{}", said.out);
    run.finish_with(5);
}

pub fn a_stop_that_needed_sigkill_says_so() {
    let run = Init::new(&["--stop-grace", "200ms"])
        .role(&["leave", "x:daemon:deaf", "--", "ignore", "15"])
        .ready();
    let said = run.verb(&["stop"]).with(0);
    assert!(said.out.contains("stopping, SIGKILL in "), "{}", said.out);
    assert!(
        said.out.ends_with(", exit code 137; SIGKILL was needed for 2 processes\n"),
        "{}",
        said.out
    );
    run.finish_with(137);
}

pub fn a_stop_under_way_is_waited_for_and_not_repeated() {
    let run = Init::new(&[]).under().role(&["record", "exit=15:0:400"]).ready();
    run.term();
    run.says_prefix("signal 15");
    let said = run.verb(&["stop"]).with(0);
    assert!(
        said.out.starts_with("a stop is under way already, asked for by pid 0 (outside"),
        "{}",
        said.out
    );
    assert!(said.out.ends_with(", exit code 0\n"), "{}", said.out);
    assert_eq!(run.finish_with(0).signals(), [15], "the child is told once");
}

/// Verbs that have told how it went are not waited for, and leave room for those that have not.
pub fn a_stop_after_many_restarts_is_told_as_well() {
    let run =
        Init::new(&["--stable-after", "1ms"]).role(&["record", "exit=10:75", "exit=15:0"]).ready();
    for _ in 0..6 {
        run.verb(&["restart"]).with(0);
    }
    let said = run.verb(&["stop"]).with(0);
    assert!(said.out.ends_with(", exit code 0\n"), "{}", said.out);
    run.finish_with(0);
}

pub fn a_restart_waits_for_a_generation_that_stays() {
    let run = Init::new(&["--stable-after", "300ms"]).role(&["record", "exit=10:75"]).ready();
    let said = run.verb(&["restart"]).with(0);
    let lines: Vec<&str> = said.out.lines().collect();
    assert_eq!(lines[0], "SIGUSR1 sent to clawinit, pid 1", "{}", said.out);
    assert!(said.out.contains("generation 2 runs, pid "), "{}", said.out);
    assert!(said.out.contains("; waiting until it has lived 300 ms\n"), "{}", said.out);
    let last = lines[lines.len() - 1];
    assert!(last.starts_with("restarted in ") && last.contains(": generation 2, pid "), "{last}");
    assert!(last.ends_with(", has lived 300 ms"), "{last}");
    let said = object(&run.verb(&["restart", "--json"]).with(0).out);
    assert_eq!(said["happened"], true, "{said}");
    assert_eq!(said["generation"], 3, "{said}");
    assert_eq!(said["signal"], "SIGUSR1", "{said}");
    assert_eq!(said["phase"], "running", "{said}");
    assert_eq!(said["exit_code"], Value::Null, "{said}");
    assert!(said["seconds"].as_f64().unwrap() >= 0.3, "{said}");
}

pub fn a_restart_waits_for_an_answer() {
    let port = free_port().to_string();
    let serve = format!("2=serve,{port},200,record,exit=10:75");
    let run = Init::new(&[]).role(&["generations", "1=record,exit=10:75", &serve]).ready();
    let url = format!("http://127.0.0.1:{port}/ready");
    let said = run.verb(&["restart", "--wait-for", &url]).with(0);
    assert!(said.out.contains("; waiting until it answers\n"), "{}", said.out);
    assert!(said.out.contains("generation 2, pid "), "{}", said.out);
    assert!(said.out.contains(", answers after "), "{}", said.out);
}

pub fn a_restart_that_never_answers_is_124_and_says_what_came() {
    let port = free_port().to_string();
    let serve = format!("2=serve,{port},503,record,exit=10:75");
    let run = Init::new(&[]).role(&["generations", "1=record,exit=10:75", &serve]).ready();
    let url = format!("http://127.0.0.1:{port}/");
    let said = run.verb(&["restart", "--wait-for", &url, "--timeout", "700ms"]).with(124);
    assert!(
        said.err.starts_with("clawinit: restart: not yet, after 700 ms: generation 2 has lived "),
        "{}",
        said.err
    );
    assert!(said.err.contains("; --wait-for: ") && said.err.contains("503"), "{}", said.err);
    assert!(said.err.ends_with("; nothing is undone, it goes on\n"), "{}", said.err);
}

pub fn a_restart_into_a_crash_did_not_happen() {
    let run = Init::new(&["--restart", "always", "--restart-delay", NEVER])
        .role(&["generations", "1=record,exit=10:75", "2=exit,3"])
        .ready();
    let said = run.verb(&["restart"]).with(1);
    assert!(
        said.err.starts_with("clawinit: restart: not restarted: generation 2 exited with 3 after "),
        "{}",
        said.err
    );
    let run = Init::new(&["--restart", "always", "--restart-delay", NEVER])
        .role(&["generations", "1=record,exit=10:75", "2=die,9"])
        .ready();
    let said = run.verb(&["restart", "--json"]).with(1);
    let object = object(&said.out);
    assert_eq!(object["happened"], false, "{object}");
    let reason = object["reason"].as_str().unwrap();
    assert!(reason.starts_with("not restarted: generation 2 was ended by SIGKILL"), "{reason}");
    assert!(said.err.contains(reason), "{}", said.err);
}

pub fn a_restart_into_an_exit_did_not_happen() {
    let run = Init::new(&[]).role(&["generations", "1=record,exit=10:75", "2=exit,78"]).ready();
    let said = run.verb(&["restart"]).with(1);
    assert!(
        said.err.starts_with("clawinit: restart: not restarted: ")
            && said.err.contains("generation 2 exited with 78 after "),
        "{}",
        said.err
    );
    run.finish_with(78);
}

pub fn a_restart_that_cannot_start_did_not_happen() {
    let folder = Folder::new();
    let program = folder.word("program");
    std::fs::copy(probe(), &program).expect("copy the probe");
    let run = Init::new(&["--restart-delay", NEVER])
        .command(&[&program, "probe", "record", "exit=10:75"])
        .ready();
    std::fs::remove_file(&program).expect("remove it");
    let said = run.verb(&["restart"]).with(1);
    assert!(said.err.contains("could not be started (127)"), "{}", said.err);
}

pub fn a_restart_that_a_stop_overtakes_did_not_happen() {
    let run = Init::new(&[]).under().role(&["record", "exit=15:0:100"]).ready();
    let verb = run.begin_verb(&[], &crate::harness::clawinit(), &["restart"]);
    verb.says("restarting, SIGKILL in ");
    run.term();
    let said = verb.finish().with(1);
    assert!(said.err.starts_with("clawinit: restart: not restarted: clawinit "), "{}", said.err);
    assert!(said.err.contains("by pid 0 (outside the container)"), "{}", said.err);
    assert!(said.err.ends_with("a stop wins over a restart\n"), "{}", said.err);
    run.finish_with(0);
}

pub fn a_restart_during_a_stop_is_refused_at_once() {
    let run = Init::new(&["--stop-grace", NEVER]).role(&["record"]).ready();
    run.term();
    run.says_prefix("signal 15");
    let said = run.verb(&["restart"]).with(1);
    assert!(
        said.err.starts_with("clawinit: restart: clawinit is stopping, asked by "),
        "{}",
        said.err
    );
    assert_eq!(said.out, "");
}

pub fn a_restart_that_another_one_follows_waits_for_the_last() {
    let run = Init::new(&["--stable-after", "500ms"]).role(&["record", "exit=10:75"]).ready();
    let verb = run.begin_verb(&[], &crate::harness::clawinit(), &["restart"]);
    verb.says("generation 2 runs");
    run.ready_generation(2);
    run.usr1();
    let said = verb.finish().with(0);
    assert!(said.out.contains("generation 3, pid "), "{}", said.out);
}

pub fn a_restart_in_the_crash_delay_ends_the_delay() {
    let run =
        Init::new(&["--restart", "always", "--restart-delay", NEVER, "--stable-after", "50ms"])
            .role(&["generations", "1=exit,3", "*=record"]);
    run.event("restarting", 1);
    let said = run.verb(&["restart"]).with(0);
    assert!(said.out.contains("generation 2, pid "), "{}", said.out);
}

pub fn what_takes_longer_than_the_timeout_is_124_and_goes_on() {
    let run = Init::new(&["--stop-grace", NEVER]).role(&["record"]).ready();
    let said = run.verb(&["restart", "--timeout", "100ms"]).with(124);
    assert!(
        said.err.starts_with("clawinit: restart: not yet, after 100 ms: restarting for "),
        "{}",
        said.err
    );
    assert!(said.err.contains(", SIGKILL in 59"), "{}", said.err);
    let said = run.verb(&["stop", "--timeout=100ms", "--json"]).with(124);
    let object = object(&said.out);
    assert_eq!(object["happened"], false, "{object}");
    assert_eq!(object["phase"], "stopping", "{object}");
    assert!(object["reason"].as_str().unwrap().starts_with("not yet, after 100 ms"), "{object}");
    assert!(run.status("State").starts_with('S'), "clawinit goes on");
    drop(run);
    // One that does not react at all.
    let run = Init::new(&[]).under().role(&["record"]).ready();
    run.verb(&["status"]).with(0); // the page is there
    run.signal(libc::SIGSTOP);
    run.until("clawinit to be stopped", || run.status("State").starts_with('T').then_some(()));
    let said = run.verb(&["stop", "--timeout", "100ms"]).with(124);
    assert!(said.err.contains("it has not acted on the signal yet"), "{}", said.err);
    assert!(said.err.contains("kill -CONT 2"), "{}", said.err);
}

pub fn without_a_wait_it_returns_at_once() {
    let run = Init::new(&["--stop-grace", NEVER]).role(&["record"]).ready();
    let said = run.verb(&["restart", "--no-wait"]).with(0);
    assert_eq!(said.out, "SIGUSR1 sent to clawinit, pid 1\n");
    run.says_prefix("signal 10");
    let object = object(&run.verb(&["stop", "--no-wait", "--json"]).with(0).out);
    assert_eq!(object["happened"], Value::Null, "{object}");
    assert_eq!(object["signal"], "SIGTERM", "{object}");
    run.says_prefix("signal 15");
}

pub fn where_no_signal_asks_for_it_the_verb_says_so() {
    let run = Init::new(&["--restart-on", "none", "--stop-on", "none"]).role(&["record"]).ready();
    let said = run.verb(&["restart"]).with(1);
    assert!(
        said.err.starts_with(
            "clawinit: restart: no signal asks pid 1 for a restart: it was started with --restart-on none"
        ),
        "{}",
        said.err
    );
    let said = run.verb(&["stop"]).with(1);
    assert!(said.err.contains("it was started with --stop-on none"), "{}", said.err);
}

pub fn what_failed_is_json_too() {
    let run = Init::new(&[]).role(&["record"]).ready();
    let said = run.verb(&["stop", "--json", "--pid", "2"]).with(5);
    let object = object(&said.out);
    assert_eq!(object["happened"], false, "{object}");
    assert!(object["reason"].as_str().unwrap().starts_with("--pid: 2 is "), "{object}");
    assert_eq!(object["generation"], Value::Null, "{object}");
}

/// What stands in the last line of a terminal, after each time that it was written over.
fn frames(text: &str) -> Vec<String> {
    text.split(['\r', '\n']).filter(|frame| !frame.is_empty()).map(str::to_string).collect()
}

pub fn a_terminal_shows_a_bar_in_one_line_of_80_columns() {
    let run = Init::new(&["--stop-grace", "2s"]).role(&["record", "exit=15:0:500"]).ready();
    let said = run.begin_verb_on_terminal(&["stop"]).finish().with(0);
    let frames = frames(&said.out);
    let bars: Vec<&String> = frames.iter().filter(|f| f.starts_with("stopping  [")).collect();
    assert!(bars.len() > 2, "{frames:#?}");
    for frame in &frames {
        assert!(frame.chars().count() < 80, "{frame:?}");
        assert!(!frame.contains('\u{1b}'), "{frame:?}");
    }
    assert!(bars[0].contains("[###") && bars[0].contains(" s to SIGKILL"), "{frames:#?}");
    let full = |bar: &str| bar.matches('#').count();
    assert!(full(bars[bars.len() - 1]) < full(bars[0]), "it shrinks: {frames:#?}");
    // The bar is wiped before the outcome is said.
    let blank = &frames[frames.len() - 2];
    assert!(blank.trim().is_empty() && blank.len() >= bars[0].len(), "{frames:#?}");
    assert!(frames[frames.len() - 1].starts_with("stopped in "), "{frames:#?}");
    // And one line feed for each line that stays: all bars are one line.
    assert_eq!(said.out.matches('\n').count(), 2, "{:?}", said.out);
}

pub fn a_dumb_terminal_gets_lines() {
    let run = Init::new(&[]).role(&["record", "exit=15:0:100"]).ready();
    let said = run.begin_verb_on_terminal(&["stop", "TERM=dumb"]).finish().with(0);
    assert!(said.out.contains("\nstopping, SIGKILL in "), "{}", said.out);
    assert!(!said.out.contains('['), "{}", said.out);
}

pub fn wrong_words_have_their_line() {
    for (words, line) in [
        (&["status", "--jso"][..], "status: --jso: no such option; did you mean --json?"),
        (&["status", "--json=yes"], "status: --json: it takes no value; write --json"),
        (&["stop", "--timeout", "5"], "stop: --timeout: \"5\" has no unit; write 5s"),
        (&["stop", "--timeout"], "stop: --timeout: the value is missing; write --timeout D"),
        (
            &["stop", "--pid", "one"],
            "stop: --pid: \"one\" is no pid; write a number from 1 on, as ps shows it",
        ),
        (
            &["stop", "now"],
            "stop: \"now\" is one word too many; leave it out, or write clawinit -- stop ... to run a command of that name",
        ),
        (
            &["restart", "--no-wait", "--timeout", "5s"],
            "restart: --no-wait: --timeout says to wait; leave one of the two out",
        ),
    ] {
        let said = plain(None, words, &[]).with(2);
        assert_eq!(said.err, format!("clawinit: {line}\n"), "{words:?}");
        assert_eq!(said.out, "", "{words:?}");
    }
    let said = plain(None, &["restart", "--wait-for", "nonsense"], &[]).with(2);
    assert!(said.err.starts_with("clawinit: restart: --wait-for: "), "{}", said.err);
}

pub fn the_help_of_each_verb_fits_80_columns() {
    for verb in ["status", "stop", "restart"] {
        let said = plain(None, &[verb, "--help"], &[]).with(0);
        assert!(
            said.out.starts_with(&format!("usage: clawinit {verb} [OPTIONS]\n")),
            "{}",
            said.out
        );
        assert!(said.out.contains("Exit code: 0 "), "{}", said.out);
        let long: Vec<&str> = said.out.lines().filter(|line| line.len() > 80).collect();
        assert!(long.is_empty(), "{long:#?}");
    }
}

pub fn a_verb_needs_clawinits_own_name() {
    let run: Run = Init::named("tini", &["status"]).alone();
    run.finish_with(127);
}

/// Says READY=1 when it is told to start, some time later, and leaves for the next one.
const LATER: &str = "*=says,nap:150,say:READY=1,wait:10,exit:75";

pub fn a_restart_waits_until_the_child_is_ready() {
    let first = "1=says,say:READY=1,print:ready,wait:10,exit:75";
    let run = Init::new(&["--notify", "--stable-after", NEVER])
        .role(&["generations", first, LATER])
        .ready();
    let said = run.verb(&["restart"]).with(0);
    assert!(said.out.contains("generation 2 runs, pid "), "{}", said.out);
    assert!(said.out.contains("; waiting until it is ready\n"), "{}", said.out);
    let last = said.out.lines().last().expect("a line");
    assert!(last.starts_with("restarted in ") && last.contains(": generation 2, pid "), "{last}");
    assert!(last.contains(", ready after "), "{last}");
    let said = object(&run.verb(&["restart", "--json"]).with(0).out);
    assert_eq!((&said["happened"], &said["ready"]), (&true.into(), &true.into()), "{said}");
    assert_eq!(said["generation"], 3, "{said}");
    assert!(said["seconds"].as_f64().unwrap() >= 0.15, "{said}");
    drop(run);
    let run = Init::new(&["--notify", "--start-grace", NEVER])
        .role(&["generations", first, LATER])
        .ready();
    let said = run.verb(&["restart"]).with(0);
    assert!(said.out.contains("; waiting until it is ready, within 60 s\n"), "{}", said.out);
}

pub fn a_restart_in_place_keeps_the_generation() {
    let run = Init::new(&["--notify", "--restart-style", "in-place"])
        .role(&[
            "says",
            "say:READY=1",
            "print:ready",
            "wait:10",
            "nap:100",
            "say:READY=1",
            "wait:10",
            "say:RELOADING=1",
            "nap:100",
            "say:READY=1",
            "wait:10",
            "exit:75",
        ])
        .ready();
    let said = run.verb(&["restart"]).with(0);
    assert!(said.out.contains("\nrestarting, SIGKILL in "), "{}", said.out);
    let last = said.out.lines().last().expect("a line");
    assert!(last.starts_with("restarted in place in "), "{last}");
    assert!(last.ends_with(": generation 1, pid 2, ready"), "{last}");
    let said = object(&run.verb(&["restart", "--json"]).with(0).out);
    assert_eq!((&said["happened"], &said["ready"]), (&true.into(), &true.into()), "{said}");
    assert_eq!((&said["generation"], &said["child_pid"]), (&1.into(), &2.into()), "{said}");
    // One that leaves all the same has a successor, which is the one to wait for.
    let said = run.verb(&["restart"]).with(0);
    assert!(said.out.contains(": generation 2, pid "), "{}", said.out);
}

pub fn a_restart_into_a_child_that_is_not_ready_did_not_happen() {
    let first = "1=says,say:READY=1,print:ready,wait:10,exit:75";
    for (second, more, why) in [
        (
            "2=says,wait:15,exit:0",
            "--start-grace=500ms",
            "it was not ready in time (--start-grace)",
        ),
        ("2=says,say:WATCHDOG=trigger,wait:15,exit:0", "--start-grace=60s", "it hung (--watchdog)"),
        // It does not even end when it is told to.
        ("2=says,stay", "--start-grace=500ms", "it was not ready in time (--start-grace)"),
        ("2=exit,3", "--start-grace=60s", "exited with 3 after "),
    ] {
        let options =
            ["--notify", "--restart=always", "--restart-delay", NEVER, "--restart-grace=60s", more];
        let run = Init::new(&options).role(&["generations", first, second]).ready();
        let said = run.verb(&["restart"]).with(1);
        let start = "clawinit: restart: not restarted: generation 2 ";
        assert!(said.err.starts_with(start) && said.err.contains(why), "{second}: {}", said.err);
    }
    let run =
        Init::new(&["--notify"]).role(&["generations", first, "2=says,print:ready,stay"]).ready();
    let said = run.verb(&["restart", "--timeout", "500ms"]).with(124);
    assert!(
        said.err.starts_with("clawinit: restart: not yet, after 500 ms: generation 2 has lived ")
            && said.err.contains(" and is not ready; "),
        "{}",
        said.err
    );
}

pub fn a_stop_that_the_child_extends_is_shown_with_its_new_deadline() {
    let run = Init::new(&["--notify", "--stop-grace=9s", "--stop-grace-max=60s"])
        .role(&[
            "says",
            "print:ready",
            "wait:15",
            "say:EXTEND_TIMEOUT_USEC=30000000",
            "nap:300",
            "exit:0",
        ])
        .ready();
    let said = run.verb(&["stop"]).with(0);
    let wanted = "\nstopping, SIGKILL in 2";
    assert!(said.out.contains(wanted), "{}", said.out);
    assert!(said.out.contains(" s (more time, as the child asked)\n"), "{}", said.out);
    assert!(said.out.ends_with(", exit code 0\n"), "{}", said.out);
    run.finish_with(0);
}
