//! The part of the transition table that is about what a child says of itself (sd_notify(3)), by
//! hand as the rest of it (`table.rs`): for each phase, what each notice does, and what an end for
//! the child's own failure does with each event.
//!
//! `what is done | the phase after | readiness, when its word is due`; `-`: nothing is done and
//! nothing changes. The start grace is 30 s, the watchdog's time 5 s; a start may be extended to
//! 90 s, a stop to 60 s and a restart to 40 s.

use crate::table::{NOW, OVER_102, config, row_of, s, show, state, stopped};
use clawinit::config::{Config, ExitWhen, RestartMode, RestartStyle};
use clawinit::core::{Event, Limit, Notice, OVERSLEPT, Phase, Readiness, State, step};
use clawinit::signal::Signal;

fn heard() -> Config {
    Config {
        notify: true,
        start_grace: Some(s(30)),
        start_grace_max: Some(s(90)),
        watchdog: Some(s(5)),
        watchdog_signal: Signal::parse("ABRT"),
        stop_grace_max: Some(s(60)),
        restart_grace_max: Some(s(40)),
        ..config(ExitWhen::Child)
    }
}

fn on_failure() -> Config {
    Config { restart: RestartMode::OnFailure, ..heard() }
}

fn in_place() -> Config {
    Config { restart_style: RestartStyle::InPlace, ..heard() }
}

fn running(readiness: Readiness, due: Option<u64>) -> State {
    let mut state = state(Phase::Running, true);
    state.readiness = readiness;
    state.due = due.map(s);
    if readiness == Readiness::NotYet {
        state.ready_since = None;
    }
    state
}

fn failing(limit: Option<Limit>) -> State {
    let mut state = state(Phase::Failing { limit }, true);
    state.failed = true;
    state
}

/// The notices, in the order of the columns.
const NOTICES: [(&str, Notice); 6] = [
    ("ready", Notice::Ready),
    ("reloading", Notice::Reloading),
    ("stopping", Notice::Stopping),
    ("alive", Notice::Alive),
    ("failed", Notice::Failed),
    ("30 s more", Notice::Extend(s(30))),
];

fn words(state: &State) -> String {
    let due = state.due.map(|at| format!(" due@{}", at.as_secs()));
    format!("{:?}{}", state.readiness, due.unwrap_or_default())
}

/// Runs one row and says what differs.
fn notices(name: &str, start: State, config: &Config, expected: [&str; 6]) {
    let mut wrong = String::new();
    for ((notice_name, notice), expected) in NOTICES.into_iter().zip(expected) {
        let mut after = start;
        let actions = step(config, &mut after, NOW, Event::Notified(notice));
        let shown = show(actions.as_slice(), after.phase);
        let same = show(&[], start.phase);
        let shown = shown.strip_suffix(&format!(" {same}")).unwrap_or(&shown);
        let mut got = if shown == same { String::new() } else { shown.to_owned() };
        if words(&after) != words(&start) {
            got += &format!(" | {}", words(&after));
        }
        let got = if got.is_empty() { "-" } else { got.trim() };
        if got != expected {
            wrong += &format!("\n{name}, {notice_name}:\n  expected {expected}\n  got      {got}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_child_that_is_not_ready_yet() {
    notices(
        "not ready",
        running(Readiness::NotYet, Some(120)),
        &heard(),
        [
            "(ready after 10s) | Ready due@105",
            "(reloading) | Reloading due@130",
            "(ends itself) | Stopping due@120",
            "-", // a sign of life is not what is waited for
            "(failed), tell SIGABRT | failing kill@120 | NotYet",
            "(start extended to 30s) | NotYet due@130",
        ],
    );
}

#[test]
fn a_start_is_extended_up_to_its_maximum() {
    let extended = |more, config: &Config| {
        let mut after = running(Readiness::NotYet, Some(120));
        let _ = step(config, &mut after, NOW, Event::Notified(Notice::Extend(s(more))));
        after.due
    };
    assert_eq!(extended(300, &heard()), Some(s(180)), "90 s after the start at 90 s");
    assert_eq!(extended(10, &heard()), Some(s(120)), "never earlier");
    let without = Config { start_grace_max: None, ..heard() };
    assert_eq!(extended(300, &without), Some(s(120)), "only if it may be");
}

#[test]
fn a_word_that_was_due_while_clawinit_itself_did_not_run_is_due_anew() {
    for (readiness, shown, due) in [
        (Readiness::NotYet, "NotYet", 131),
        (Readiness::Reloading, "Reloading", 131),
        (Readiness::Ready, "Ready", 106),
        (Readiness::Unknown, "Unknown", 106),
        (Readiness::Stopping, "Stopping", 121),
    ] {
        let mut after = running(readiness, Some(100));
        let actions = step(&heard(), &mut after, s(101), Event::DeadlinePassed);
        assert_eq!(show(actions.as_slice(), after.phase), "(overslept 1s) | running");
        assert_eq!(words(&after), format!("{shown} due@{due}"));
    }
    // A busy machine is no excuse.
    let late = NOW + OVERSLEPT - std::time::Duration::from_nanos(1);
    let mut after = running(Readiness::Ready, Some(100));
    let _ = step(&heard(), &mut after, late, Event::DeadlinePassed);
    assert!(matches!(after.phase, Phase::Failing { .. }), "{after:?}");
}

#[test]
fn a_child_that_is_ready() {
    notices(
        "ready",
        running(Readiness::Ready, Some(103)),
        &heard(),
        [
            "-",
            "(reloading) | Reloading due@130",
            "(ends itself) | Stopping due@120",
            "| Ready due@105",
            "(failed), tell SIGABRT | failing kill@120 | Ready",
            "-",
        ],
    );
}

#[test]
fn a_child_that_reloads_by_itself() {
    notices(
        "reloading",
        running(Readiness::Reloading, Some(120)),
        &heard(),
        [
            "(ready after 10s) | Ready due@105",
            "-",
            "(ends itself) | Stopping due@120",
            "-",
            "(failed), tell SIGABRT | failing kill@120 | Reloading",
            "-",
        ],
    );
}

#[test]
fn a_child_that_ends_by_itself_has_the_restart_grace() {
    notices(
        "ends itself",
        running(Readiness::Stopping, Some(115)),
        &heard(),
        [
            "(ready after 10s) | Ready due@105",
            "(reloading) | Reloading due@130",
            "-",
            "-",
            "(failed), tell SIGABRT | failing kill@120 | Stopping",
            "-",
        ],
    );
}

#[test]
fn a_child_of_which_only_life_is_expected() {
    let config = Config { notify: false, start_grace: None, ..heard() };
    notices(
        "watchdog alone",
        running(Readiness::Unknown, Some(103)),
        &config,
        [
            "(ready after 10s) | Ready due@105",
            "(reloading) | Reloading",
            "(ends itself) | Stopping due@120",
            "| Unknown due@105",
            "(failed), tell SIGABRT | failing kill@120 | Unknown",
            "-",
        ],
    );
}

#[test]
fn without_a_watchdog_nothing_but_its_end_is_due_of_a_child() {
    let config = Config { watchdog: None, start_grace: None, ..heard() };
    notices(
        "no watchdog",
        running(Readiness::NotYet, None),
        &config,
        [
            "(ready after 10s) | Ready",
            "(reloading) | Reloading",
            "(ends itself) | Stopping due@120",
            "-",
            "(failed), tell SIGABRT | failing kill@120",
            "-",
        ],
    );
}

#[test]
fn a_stop_is_extended_up_to_its_maximum() {
    let phase = |at| Phase::Stopping { tell: None, limit: Limit::Kill(s(at)) };
    let to_stop = |at| {
        let mut state = stopped(state(phase(at), true), at, false);
        state.readiness = Readiness::Ready;
        state
    };
    let extended = |at, more, config: &Config| {
        let mut after = to_stop(at);
        let event = Event::Notified(Notice::Extend(s(more)));
        let _ = step(config, &mut after, NOW, event);
        (after.phase, after.stop.map(|stop| stop.deadline))
    };
    notices(
        "stopping",
        to_stop(125),
        &heard(),
        ["-", "| Reloading", "| Stopping", "-", "-", "(extended to 30s) | stopping kill@130"],
    );
    assert_eq!(extended(125, 300, &heard()), (phase(160), Some(s(160))), "up to the maximum");
    assert_eq!(extended(125, 20, &heard()), (phase(125), Some(s(125))), "never earlier");
    let without = Config { stop_grace_max: None, ..heard() };
    assert_eq!(extended(125, 30, &without), (phase(125), Some(s(125))), "only if it may be");
    let killed = stopped(state(Phase::Stopping { tell: None, limit: OVER_102 }, true), 100, true);
    let mut after = killed;
    let _ = step(&heard(), &mut after, NOW, Event::Notified(Notice::Extend(s(30))));
    assert_eq!(after, killed, "not after SIGKILL");
}

#[test]
fn an_extension_of_a_stop_counts_from_the_end_of_its_delay() {
    let config = Config { stop_delay: s(5), ..heard() };
    let phase = Phase::Stopping { tell: Some(s(105)), limit: Limit::Kill(s(130)) };
    let mut after = stopped(state(phase, true), 130, false);
    let _ = step(&config, &mut after, NOW, Event::Notified(Notice::Extend(s(300))));
    let expected = Phase::Stopping { tell: Some(s(105)), limit: Limit::Kill(s(165)) };
    assert_eq!(after.phase, expected);
}

#[test]
fn a_restart_is_extended_up_to_its_maximum() {
    let phase = Phase::Restarting { limit: Some(Limit::Kill(s(120))), since: s(95) };
    let mut start = state(phase, true);
    start.readiness = Readiness::Ready;
    notices(
        "restarting",
        start,
        &heard(),
        ["-", "| Reloading", "| Stopping", "-", "-", "(extended to 30s) | restarting kill@130"],
    );
    let mut after = start;
    let _ = step(&heard(), &mut after, NOW, Event::Notified(Notice::Extend(s(300))));
    let limit = Some(Limit::Kill(s(135)));
    assert_eq!(after.phase, Phase::Restarting { limit, since: s(95) });
}

#[test]
fn a_restart_in_place_is_done_when_the_child_is_ready_anew() {
    let phase = Phase::Restarting { limit: Some(Limit::Kill(s(120))), since: s(95) };
    let mut start = state(phase, true);
    start.readiness = Readiness::Reloading;
    notices(
        "in place",
        start,
        &in_place(),
        [
            "(in place after 5s) | running | Ready due@105",
            "-",
            "| Stopping",
            "-",
            "-",
            "(extended to 30s) | restarting kill@130",
        ],
    );
    let mut after = start;
    let _ = step(&in_place(), &mut after, NOW, Event::Notified(Notice::Ready));
    assert_eq!((after.restarts, after.ready_since), ([1, 0, 0], Some(NOW)));
    // Once SIGKILL was sent, no word takes it back.
    let killed = state(Phase::Restarting { limit: Some(OVER_102), since: s(60) }, true);
    let mut after = killed;
    let _ = step(&in_place(), &mut after, NOW, Event::Notified(Notice::Ready));
    assert_eq!(after, killed);
}

#[test]
fn a_child_that_fails_may_say_what_it_likes() {
    notices(
        "failing",
        failing(Some(Limit::Kill(s(120)))),
        &heard(),
        ["-", "| Reloading", "| Stopping", "-", "-", "-"],
    );
}

#[test]
fn where_no_child_is_nobody_is_heard() {
    for phase in [
        Phase::Starting,
        Phase::Sweeping { next: clawinit::core::Next::Leave, limit: Limit::Kill(s(103)) },
        Phase::Backoff { until: s(150) },
        Phase::Exited { code: 3 },
    ] {
        notices("nobody", state(phase, false), &heard(), ["-"; 6]);
    }
}

#[test]
fn a_start_that_takes_too_long_is_a_failure() {
    row_of(
        "not ready",
        running(Readiness::NotYet, Some(100)),
        &on_failure(),
        [
            "(stop 25s), tell SIGTERM | stopping kill@125",
            "(restart 20s), tell SIGUSR1 | restarting kill@120",
            "forward SIGHUP",
            "-",
            "-",
            "-",
            "(exited), (next by crash in 0ns), spawn | starting",
            "(exited), (next by crash in 0ns), tell-left SIGTERM | sweeping, next@100 kill@103",
            "(exited), (next by code in 0ns), tell-left SIGTERM | sweeping, next@100 kill@103",
            "-",
            "-",
            "suspend",
            "(not ready after 10s), tell SIGTERM | failing kill@120",
        ],
    );
}

#[test]
fn silence_longer_than_the_watchdogs_time_is_a_failure() {
    row_of(
        "hung",
        running(Readiness::Ready, Some(100)),
        &on_failure(),
        [
            "(stop 25s), tell SIGTERM | stopping kill@125",
            "(restart 20s), tell SIGUSR1 | restarting kill@120",
            "forward SIGHUP",
            "-",
            "-",
            "-",
            "(exited), (next by crash in 0ns), spawn | starting",
            "(exited), (next by crash in 0ns), tell-left SIGTERM | sweeping, next@100 kill@103",
            "(exited), (next by code in 0ns), tell-left SIGTERM | sweeping, next@100 kill@103",
            "-",
            "-",
            "suspend",
            "(hung), tell SIGABRT | failing kill@120",
        ],
    );
}

#[test]
fn failing_before_the_next_generation() {
    row_of(
        "failing",
        failing(Some(Limit::Kill(s(120)))),
        &on_failure(),
        [
            "(stop 20s), tell SIGTERM | stopping kill@120", // the deadline does not move later
            "(restart 20s) | restarting kill@120",
            "forward SIGHUP",
            "-",
            "-",
            "-",
            "(exited), (next by crash in 0ns), spawn | starting",
            "(exited), (next by crash in 0ns), tell-left SIGTERM | sweeping, next@100 kill@103",
            "(exited), (next by code in 0ns), tell-left SIGTERM | sweeping, next@100 kill@103",
            "-",
            "-",
            "continue",
            "kill | failing over@122",
        ],
    );
}

#[test]
fn failing_before_leaving() {
    row_of(
        "failing, request",
        failing(Some(Limit::Kill(s(120)))),
        &heard(),
        [
            "(stop 20s), tell SIGTERM | stopping kill@120",
            "(restart 20s) | restarting kill@120",
            "forward SIGHUP",
            "-",
            "-",
            "-",
            "(exited), exit 3 | exited 3",
            "(exited), tell-left SIGTERM | sweeping, leave kill@103",
            "(exited), (next by code in 0ns), tell-left SIGTERM | sweeping, next@100 kill@103",
            "-",
            "-",
            "continue",
            "kill | failing over@122",
        ],
    );
}

#[test]
fn failing_after_sigkill() {
    row_of(
        "failing, killed",
        failing(Some(OVER_102)),
        &on_failure(),
        [
            "(stop 2s) | stopping over@102",
            "(restart 2s) | restarting over@102",
            "forward SIGHUP",
            "-",
            "-",
            "-",
            "(exited), (next by crash in 0ns), spawn | starting",
            "(exited), (next by crash in 0ns), kill-left | sweeping, next@100 over@102",
            "(exited), (next by code in 0ns), kill-left | sweeping, next@100 over@102",
            "-",
            "-",
            "continue",
            "(survived) | failing", // never two children: it waits on
        ],
    );
}

#[test]
fn failing_after_sigkill_where_nothing_follows() {
    row_of(
        "failing, killed, request",
        failing(Some(OVER_102)),
        &heard(),
        [
            "(stop 2s) | stopping over@102",
            "(restart 2s) | restarting over@102",
            "forward SIGHUP",
            "-",
            "-",
            "-",
            "(exited), exit 3 | exited 3",
            "(exited), kill-left | sweeping, leave over@102",
            "(exited), (next by code in 0ns), kill-left | sweeping, next@100 over@102",
            "-",
            "-",
            "continue",
            "(survived), exit 137 | exited 137",
        ],
    );
}

#[test]
fn failing_without_the_child() {
    let mut start = failing(Some(Limit::Kill(s(120))));
    start.child = None;
    let config = Config { exit_when: ExitWhen::All, ..on_failure() };
    row_of(
        "failing, the rest",
        start,
        &config,
        [
            "(stop 20s), tell-left SIGTERM | stopping kill@120",
            "(restart 20s) | restarting kill@120",
            "forward-left SIGHUP",
            "-",
            "-",
            "-",
            "-",
            "-",
            "-",
            "tell-left SIGTERM",
            "(next by crash in 0ns), spawn | starting",
            "-",
            "kill-left | failing over@122",
        ],
    );
}

#[test]
fn a_failure_that_ends_with_0_is_no_success() {
    let mut state = failing(Some(Limit::Kill(s(120))));
    let status = clawinit::core::Status::Exited(0);
    let _ = step(&heard(), &mut state, NOW, Event::ChildExited { status, leftovers: false });
    assert_eq!(state.phase, Phase::Exited { code: 1 });
}

#[test]
fn a_generation_is_stable_by_the_time_that_it_was_ready() {
    // It has lived for 10 s, and was ready for 4 of them: the crash before it still counts.
    let mut young = running(Readiness::Ready, Some(105));
    young.ready_since = Some(s(96));
    let _ = young.crashes.record(&on_failure(), s(80));
    let old = State { ready_since: Some(s(90)), ..young };
    let crashes = |mut state: State| {
        let status = clawinit::core::Status::Exited(1);
        let event = Event::ChildExited { status, leftovers: false };
        let _ = step(&on_failure(), &mut state, NOW, event);
        state.crashes.in_a_row()
    };
    assert_eq!((crashes(young), crashes(old)), (2, 1));
}
