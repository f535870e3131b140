//! What the options decide, by hand: the rows of `table.rs` have one configuration, these have the
//! others.

use clawinit::config::{CodeSet, Config, ExitWhen, KillMode, RestartMode, RestartStyle};
use clawinit::core::{
    Action, Cause, Crashes, End, Event, Limit, Next, Note, Notice, Phase, Readiness, State, Status,
    Stop, step,
};
use clawinit::signal::Signal;
use std::time::Duration;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const NOW: Duration = s(100);

fn codes(codes: &[u8]) -> CodeSet {
    let mut set = CodeSet::EMPTY;
    codes.iter().for_each(|code| set.insert(*code));
    set
}

/// Crashes wait for nothing; 75 asks for a restart, 78 forbids it, 4 is a success.
fn config(restart: RestartMode) -> Config {
    Config {
        restart,
        restart_delay: Duration::ZERO,
        restart_codes: codes(&[75]),
        no_restart_codes: codes(&[78]),
        success_codes: codes(&[4]),
        is_pid1: true,
        ..Config::new()
    }
}

/// A second generation with pid 7 that has run since 90 s, which is just stable.
fn running() -> State {
    let mut state = State::new(1);
    (state.phase, state.child, state.generation) = (Phase::Running, Some(7), 2);
    (state.started, state.ready_since) = (s(90), Some(s(90)));
    state
}

fn stopping(limit: u64, deadline: u64) -> State {
    let phase = Phase::Stopping { tell: None, limit: Limit::Kill(s(limit)) };
    let stop = Stop { signal: Signal::TERM, at: NOW, deadline: s(deadline), overdue: false };
    State { phase, stop: Some(stop), ..running() }
}

fn after(config: &Config, mut state: State, now: Duration, event: Event) -> (State, Vec<Action>) {
    let actions = step(config, &mut state, now, event);
    (state, actions.as_slice().to_vec())
}

fn exited(status: Status, leftovers: bool) -> Event {
    Event::ChildExited { status, leftovers }
}

const TERMINATED: Status = Status::Signaled { signal: Signal::TERM, core_dumped: false };

#[test]
fn the_mode_and_the_code_decide_whether_a_generation_follows_and_why() {
    use RestartMode::{Always, Never, OnFailure, Request};
    let (code, crash) = (Some(Cause::Code), Some(Cause::Crash));
    let ends = [0, 1, 4, 75, 78].map(Status::Exited);
    for (mode, expected) in [
        (Never, [None; 6]),
        (Request, [None, None, None, code, None, None]),
        (OnFailure, [None, crash, None, code, None, crash]),
        (Always, [crash, crash, crash, code, None, crash]),
    ] {
        for (status, expected) in ends.into_iter().chain([TERMINATED]).zip(expected) {
            let (state, _) = after(&config(mode), running(), NOW, exited(status, false));
            let follows = state.phase == Phase::Starting;
            assert_eq!(follows.then_some(state.cause).flatten(), expected, "{mode:?}, {status:?}");
            assert!(follows || matches!(state.phase, Phase::Exited { .. }), "{:?}", state.phase);
        }
    }
}

/// One that was asked to end because it did not say what it had to say has failed, whatever its
/// code.
#[test]
fn a_generation_that_failed_has_crashed_even_with_a_code_of_success() {
    let failing = Phase::Failing { limit: Some(Limit::Kill(s(120))) };
    let failed = State { phase: failing, failed: true, ..running() };
    for (mode, code, expected) in [
        (RestartMode::OnFailure, 0, Some(Cause::Crash)),
        (RestartMode::OnFailure, 75, Some(Cause::Code)),
        (RestartMode::Request, 0, None),
        (RestartMode::Request, 75, Some(Cause::Code)),
        (RestartMode::Always, 78, None),
    ] {
        let status = Status::Exited(code);
        let (state, _) = after(&config(mode), failed, NOW, exited(status, false));
        let follows = state.phase == Phase::Starting;
        assert_eq!(follows.then_some(state.cause).flatten(), expected, "{mode:?}, {code}");
        // It is counted as a crash also where it asked for its restart.
        assert_eq!(state.crashes.in_a_row(), u32::from(expected.is_some()), "{mode:?}, {code}");
    }
}

#[test]
fn a_stable_generation_forgives_and_a_restart_code_of_it_is_no_crash() {
    let config = Config { restart_limit: (9, s(60)), ..config(RestartMode::Always) };
    let mut crashed = running();
    for _ in 0..3 {
        let _ = crashed.crashes.record(&config, s(99));
    }
    for (born, code, in_a_row) in [
        // Ten seconds are stable, one nanosecond less is not.
        (s(90), 1, 1),
        (s(90) + Duration::from_nanos(1), 1, 4),
        (s(80), 1, 1),
        (s(90), 75, 0),
        (s(90) + Duration::from_nanos(1), 75, 4),
    ] {
        let before = State { started: born, ready_since: Some(born), ..crashed };
        let event = exited(Status::Exited(code), false);
        let (state, _) = after(&config, before, NOW, event);
        assert_eq!(state.crashes.in_a_row(), in_a_row, "born at {born:?}, left with {code}");
    }
    // A restart that a signal asked for forgives as well, and is never a crash.
    let restarting = Phase::Restarting { limit: Some(Limit::Kill(s(120))), since: NOW };
    for (born, in_a_row) in [(s(90), 0), (s(91), 3)] {
        let before = State { phase: restarting, started: born, ready_since: Some(born), ..crashed };
        let (state, _) = after(&config, before, NOW, exited(Status::Exited(1), false));
        assert_eq!(state.crashes.in_a_row(), in_a_row, "born at {born:?}");
    }
}

#[test]
fn one_crash_too_many_is_said_and_ends_it() {
    let config = Config { restart_limit: (0, s(60)), ..config(RestartMode::Always) };
    let young = State { started: s(99), ready_since: Some(s(99)), ..running() };
    let (state, actions) = after(&config, young, NOW, exited(Status::Exited(0), false));
    assert_eq!((state.phase, state.gave_up), (Phase::Exited { code: 1 }, true));
    assert!(actions.contains(&Action::Note(Note::RestartLimit)), "{actions:?}");
}

#[test]
fn a_crash_waits_for_its_delay() {
    let delays = Config { restart_delay: s(10), restart_delay_max: s(30), ..Config::new() };
    let config = Config { restart: RestartMode::Always, ..delays };
    let young = State { started: s(99), ready_since: Some(s(99)), ..running() };
    let (state, _) = after(&config, young, NOW, exited(Status::Exited(1), false));
    let mut same = Crashes::new(1);
    let _ = same.record(&config, NOW);
    assert_eq!(state.phase, Phase::Backoff { until: NOW + same.delay(&config) });
}

#[test]
fn a_stop_delay_comes_before_the_grace() {
    let config = Config { stop_delay: s(4), ..config(RestartMode::Request) };
    let tell = |at: u64| Phase::Stopping { tell: Some(s(at)), limit: Limit::Kill(s(129)) };
    let told = Phase::Stopping { tell: None, limit: Limit::Kill(s(129)) };
    let (state, actions) = after(&config, running(), NOW, Event::Stop(Signal::TERM));
    assert_eq!(state.phase, tell(104));
    let within = s(29);
    assert_eq!(actions, [Action::Note(Note::StopRequested { signal: Signal::TERM, within })]);
    let (state, actions) = after(&config, state, s(104), Event::DeadlinePassed);
    assert_eq!((state.phase, &actions[..]), (told, &[Action::Tell(Signal::TERM)][..]));
    // One that was asked for while a generation started goes on counting from then.
    let starting = State { phase: Phase::Starting, child: None, ..state };
    for (now, phase, actions) in [
        (103, tell(104), vec![]),
        (104, told, vec![Action::Tell(Signal::TERM)]),
        (105, told, vec![Action::Tell(Signal::TERM)]),
    ] {
        let (state, did) = after(&config, starting, s(now), Event::Spawned(7));
        assert_eq!((state.phase, did), (phase, actions), "started at {now} s");
    }
    // The child may move the end, which begins behind the delay.
    let config = Config { stop_grace_max: Some(s(60)), ..config };
    let extend = Event::Notified(Notice::Extend(s(1_000)));
    let (state, _) = after(&config, State { phase: told, ..starting }, s(110), extend);
    assert_eq!(state.ending(), Some(Limit::Kill(s(164))));
    assert_eq!(state.stop.map(|stop| stop.deadline), Some(s(164)));
}

#[test]
fn a_stop_is_overdue_once_sigkill_came_at_its_own_deadline() {
    let config = config(RestartMode::Request);
    for (limit, deadline, overdue) in [(125, 125, true), (124, 125, false)] {
        let before = stopping(limit, deadline);
        let (state, actions) = after(&config, before, s(limit), Event::DeadlinePassed);
        assert_eq!(actions, [Action::Kill]);
        assert_eq!(state.stop.map(|stop| stop.overdue), Some(overdue), "at {limit} s");
    }
}

#[test]
fn kill_mode_process_sweeps_nothing() {
    let config = Config { kill_mode: KillMode::Process, ..config(RestartMode::Request) };
    let leaves = exited(Status::Exited(3), true);
    let (state, _) = after(&config, running(), NOW, leaves);
    assert_eq!(state.phase, Phase::Exited { code: 3 });
    let (state, _) = after(&config, running(), NOW, exited(Status::Exited(75), true));
    assert_eq!(state.phase, Phase::Starting);
    let (state, _) = after(&config, stopping(125, 125), NOW, leaves);
    assert_eq!(state.phase, Phase::Exited { code: 3 });
}

#[test]
fn exit_when_all_waits_for_the_rest_and_tells_them_only_where_it_sweeps() {
    let sweeping = |limit| Phase::Sweeping { next: Next::Leave, limit: Limit::Kill(s(limit)) };
    let leaves = exited(Status::Exited(3), true);
    let all = Config { exit_when: ExitWhen::All, ..config(RestartMode::Request) };
    let told = Action::TellLeftovers(Signal::TERM);
    // They may finish within the stop's whole deadline.
    let (state, actions) = after(&all, stopping(125, 125), NOW, leaves);
    assert_eq!(state.phase, sweeping(125));
    assert_eq!(actions.last(), Some(&told), "{actions:?}");
    let waits = Config { kill_mode: KillMode::Process, ..all.clone() };
    let (state, actions) = after(&waits, stopping(125, 125), NOW, leaves);
    assert_eq!(state.phase, sweeping(125));
    assert!(!actions.contains(&told), "{actions:?}");
    // A next generation waits for nobody there.
    let (state, _) = after(&waits, running(), NOW, exited(Status::Exited(75), true));
    assert_eq!(state.phase, Phase::Starting);
    // Without it, what the child left has its own grace.
    let usual = config(RestartMode::Request);
    let (state, _) = after(&usual, stopping(125, 125), NOW, leaves);
    assert_eq!(state.phase, sweeping(103));
    let (state, _) = after(&usual, stopping(102, 102), NOW, leaves);
    assert_eq!(state.phase, sweeping(102));
}

#[test]
fn a_restart_in_place_is_counted_and_begins_anew() {
    let config = Config {
        notify: true,
        restart_style: RestartStyle::InPlace,
        watchdog: Some(s(5)),
        ..config(RestartMode::Request)
    };
    let phase = Phase::Restarting { limit: Some(Limit::Kill(s(120))), since: s(98) };
    let before = State { phase, restarts: [5, 6, 7], cause: Some(Cause::Crash), ..running() };
    let (state, actions) = after(&config, before, NOW, Event::Notified(Notice::Ready));
    assert_eq!((state.phase, state.restarts), (Phase::Running, [6, 6, 7]));
    assert_eq!((state.cause, state.generation), (Some(Cause::Signal), 2));
    assert_eq!((state.ready_since, state.due), (Some(NOW), Some(s(105))));
    assert_eq!(actions, [Action::Note(Note::RestartedInPlace { after: s(2) })]);
}

#[test]
fn how_long_a_child_had_lived_is_told() {
    let (state, actions) =
        after(&config(RestartMode::Never), running(), NOW, exited(Status::Exited(3), false));
    let status = Status::Exited(3);
    assert_eq!(state.last, Some(End::Reaped(status)));
    let told = Action::Note(Note::ChildExited { pid: 7, status, lived: s(10) });
    assert_eq!(actions.first(), Some(&told));
}

#[test]
fn an_extension_that_gives_nothing_more_is_not_told() {
    let config = Config { notify: true, stop_grace_max: Some(s(60)), ..config(RestartMode::Never) };
    for (seconds, told) in [(24, false), (25, false), (26, true)] {
        let extend = Event::Notified(Notice::Extend(s(seconds)));
        let (state, actions) = after(&config, stopping(125, 125), NOW, extend);
        assert_eq!(!actions.is_empty(), told, "{seconds} s: {actions:?}");
        assert_eq!(state.limit(), Some(s(100 + seconds.max(25))), "{seconds} s");
    }
}

#[test]
fn a_deadline_that_has_not_come_changes_nothing() {
    let limit = Limit::Kill(s(120));
    let tell = Some(s(110));
    for phase in [
        Phase::Running,
        Phase::Stopping { tell: None, limit },
        Phase::Stopping { tell, limit },
        Phase::Stopping { tell: None, limit: Limit::GiveUp(s(120)) },
        Phase::Restarting { limit: Some(limit), since: NOW },
        Phase::Restarting { limit: Some(Limit::GiveUp(s(120))), since: NOW },
        Phase::Failing { limit: Some(limit) },
        Phase::Failing { limit: Some(Limit::GiveUp(s(120))) },
        Phase::Sweeping { next: Next::Leave, limit },
        Phase::Backoff { until: s(120) },
    ] {
        let has_child = !matches!(phase, Phase::Sweeping { .. } | Phase::Backoff { .. });
        let due = (phase == Phase::Running).then_some(s(120));
        let mut state = State { phase, due, child: has_child.then_some(7), ..running() };
        if matches!(phase, Phase::Stopping { .. }) {
            state.stop = stopping(120, 120).stop;
        }
        let early = after(&config(RestartMode::Always), state, NOW, Event::DeadlinePassed);
        assert_eq!(early, (state, vec![]), "{phase:?}");
    }
}

#[test]
fn an_extension_of_a_start_that_gives_nothing_more_is_not_told() {
    let grace = Config { notify: true, start_grace: Some(s(30)), ..config(RestartMode::Never) };
    let config = Config { start_grace_max: Some(s(60)), ..grace };
    let starts = State { readiness: Readiness::NotYet, due: Some(s(125)), ..running() };
    for (seconds, told) in [(24, false), (25, false), (26, true)] {
        let extend = Event::Notified(Notice::Extend(s(seconds)));
        let (state, actions) = after(&config, starts, NOW, extend);
        assert_eq!(!actions.is_empty(), told, "{seconds} s: {actions:?}");
        assert_eq!(state.due, Some(s(100 + seconds.max(25))), "{seconds} s");
    }
}

/// Its program had gone on in other processes, which a word of theirs brings to an end.
#[test]
fn whoever_gave_up_does_not_begin_anew() {
    let failing = Phase::Failing { limit: Some(Limit::Kill(s(120))) };
    let last = Some(End::Reaped(Status::Exited(1)));
    let rest = State { phase: failing, child: None, failed: true, last, ..running() };
    let none_left = Event::Reaped { leftovers: false };
    for (gave_up, expected) in [(false, Phase::Starting), (true, Phase::Exited { code: 1 })] {
        let before = State { gave_up, ..rest };
        let (state, _) = after(&config(RestartMode::Always), before, NOW, none_left);
        assert_eq!(state.phase, expected, "gave up: {gave_up}");
    }
}
