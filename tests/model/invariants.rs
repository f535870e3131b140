//! The invariants themselves: each is broken by a step that was made up for it, and kept by that
//! step's neighbours. A check that lets everything pass is worth nothing.

use clawinit::config::Config;
use clawinit::core::invariants::check;
use clawinit::core::{
    Action, Cause, End, Event, KILL_WAIT, Limit, Next, Note, Notice, Phase, StartFailure, State,
    Status, Stop,
};
use clawinit::signal::Signal;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const NOW: Duration = s(100);
const RUNNING: Phase = Phase::Running;
const STARTING: Phase = Phase::Starting;
const BACKOFF: Phase = Phase::Backoff { until: s(110) };
const EXITED: Phase = Phase::Exited { code: 3 };

const STOP: Event = Event::Stop(Signal::TERM);
const FORWARD: Event = Event::Forward(Signal::HUP);
const DEADLINE: Event = Event::DeadlinePassed;
const EXTEND: Event = Event::Notified(Notice::Extend(s(60)));
const GONE: Event = Event::Reaped { leftovers: false };
const CHILD_GONE: Event = Event::ChildExited { status: Status::Exited(3), leftovers: true };

const KILL: Action = Action::Kill;
const PASS_ON: Action = Action::Forward(Signal::HUP);
const NEXT: Action = Action::Note(Note::NextGeneration { cause: Cause::Crash, delay: s(1) });

fn stopping(limit: Limit) -> Phase {
    Phase::Stopping { tell: None, limit }
}

fn restarting(limit: Limit) -> Phase {
    Phase::Restarting { limit: Some(limit), since: s(95) }
}

fn sweeping(limit: Limit) -> Phase {
    Phase::Sweeping { next: Next::Leave, limit }
}

fn failing(limit: Limit) -> Phase {
    Phase::Failing { limit: Some(limit) }
}

fn kill(seconds: u64) -> Limit {
    Limit::Kill(s(seconds))
}

fn over(seconds: u64) -> Limit {
    Limit::GiveUp(s(seconds))
}

/// A state with the child, with pid 7.
fn with_child(phase: Phase) -> State {
    State { child: Some(7), ..without(phase) }
}

/// A state without it.
fn without(phase: Phase) -> State {
    let mut state = State::new(1);
    (state.phase, state.generation, state.started) = (phase, 2, s(90));
    state.last = Some(End::Reaped(Status::Exited(3)));
    state
}

/// The same when a stop was asked for, 100 s after the begin.
fn stop(state: State, deadline: u64) -> State {
    let stop = Stop { signal: Signal::TERM, at: NOW, deadline: s(deadline), overdue: false };
    State { stop: Some(stop), ..state }
}

/// A stop delay of 2 s, and children that may extend both graces to 40 s.
fn config() -> Config {
    let mut config = Config { is_pid1: true, stop_delay: s(2), ..Config::new() };
    (config.stop_grace_max, config.restart_grace_max) = (Some(s(40)), Some(s(40)));
    config
}

/// What is said of a step at 100 s; nothing where all is kept.
fn said(config: &Config, before: State, event: Event, after: State, actions: &[Action]) -> String {
    let step = AssertUnwindSafe(|| check(config, &before, NOW, event, &after, actions));
    match catch_unwind(step) {
        Ok(()) => String::new(),
        Err(why) => why.downcast_ref::<String>().cloned().unwrap_or_default(),
    }
}

#[track_caller]
fn keeps(before: State, event: Event, after: State, actions: &[Action]) {
    let said = said(&config(), before, event, after, actions);
    assert!(said.is_empty(), "{said}");
}

#[track_caller]
fn breaks(rule: &str, before: State, event: Event, after: State, actions: &[Action]) {
    let said = said(&config(), before, event, after, actions);
    assert!(said.starts_with(rule), "expected {rule}, got {said:?}");
}

#[test]
fn i1_one_child_at_a_time() {
    let rule = "I1: a generation starts only when there is no child";
    breaks(rule, without(BACKOFF), DEADLINE, with_child(STARTING), &[Action::Spawn]);
    keeps(without(BACKOFF), DEADLINE, without(STARTING), &[Action::Spawn]);
    let rule = "I1: a child is there in no phase that has none";
    for phase in [STARTING, BACKOFF, sweeping(kill(103)), EXITED] {
        breaks(rule, without(phase), Event::ChildStopped, with_child(phase), &[]);
        keeps(without(phase), Event::ChildStopped, without(phase), &[]);
    }
    for phase in [RUNNING, stopping(kill(125)), restarting(kill(120)), failing(kill(120))] {
        let bare = |state: State| State { last: None, ..state };
        keeps(bare(with_child(phase)), Event::ChildStopped, bare(with_child(phase)), &[]);
    }
    // SIGKILL did not end it: the pid is still its own.
    let survived = State { last: Some(End::Survived), ..with_child(Phase::Exited { code: 137 }) };
    let before = with_child(stopping(over(100)));
    keeps(before, DEADLINE, survived, &[Action::Exit(137)]);
}

#[test]
fn a_timeless_event_changes_nothing() {
    let before = with_child(RUNNING);
    keeps(before, FORWARD, before, &[PASS_ON]);
    let after = State { started: s(91), ..before };
    breaks("a timeless event", before, FORWARD, after, &[PASS_ON]);
    keeps(before, Event::ChildStopped, after, &[]);
}

#[test]
fn i2_and_i3_sigkill_when_a_deadline_has_passed_and_only_then() {
    let rule = "I2: SIGKILL only once a deadline has passed";
    let running = with_child(RUNNING);
    breaks(rule, running, Event::ChildStopped, running, &[KILL]);
    let early = with_child(stopping(kill(101)));
    breaks(rule, early, DEADLINE, with_child(stopping(over(102))), &[KILL]);
    keeps(early, DEADLINE, early, &[]);
    let due = with_child(stopping(kill(100)));
    keeps(due, DEADLINE, with_child(stopping(over(102))), &[KILL]);
    let late = with_child(stopping(kill(99)));
    keeps(late, DEADLINE, with_child(stopping(over(102))), &[KILL]);
    let killed = with_child(stopping(over(101)));
    keeps(killed, CHILD_GONE, without(sweeping(over(101))), &[Action::KillLeftovers]);
    let rule = "I3: what still lives when a deadline has passed gets SIGKILL";
    for passed in [due, late] {
        breaks(rule, passed, DEADLINE, with_child(stopping(over(102))), &[]);
        keeps(passed, Event::ChildStopped, passed, &[Action::Continue]);
    }
}

#[test]
fn i4_the_stops_deadline_moves_only_as_far_as_the_operator_lets_the_child_move_it() {
    let rule = "I4: the stop's deadline does not move";
    let state = |deadline| stop(with_child(stopping(kill(deadline))), deadline);
    keeps(state(125), STOP, state(125), &[]);
    breaks(rule, state(125), STOP, state(126), &[]);
    breaks(rule, state(125), STOP, state(124), &[]);
    keeps(state(125), EXTEND, state(125), &[]);
    // Asked for at 100 s, two seconds of delay, forty of the longest grace.
    keeps(state(125), EXTEND, state(142), &[]);
    breaks(rule, state(125), EXTEND, state(143), &[]);
    breaks(rule, state(125), EXTEND, state(124), &[]);
    let without_a_maximum = Config { stop_grace_max: None, ..config() };
    let said = said(&without_a_maximum, state(125), EXTEND, state(126), &[]);
    assert!(said.starts_with(rule), "{said}");
}

#[test]
fn i4_no_deadline_moves_later_and_no_repeat_moves_one() {
    let rule = "I4: no deadline moves later";
    let state = |at| with_child(restarting(kill(at)));
    keeps(state(120), Event::Restart(Signal::USR1), state(120), &[]);
    breaks(rule, state(120), Event::Restart(Signal::USR1), state(121), &[]);
    breaks(rule, state(120), EXTEND, state(136), &[]);
    keeps(state(120), EXTEND, state(135), &[]); // 95 s and the longest grace
    let without_a_maximum = Config { restart_grace_max: None, ..config() };
    let said = said(&without_a_maximum, state(120), EXTEND, state(121), &[]);
    assert!(said.starts_with(rule), "{said}");
    // Nobody has set a maximum to these.
    breaks(rule, with_child(failing(kill(120))), EXTEND, with_child(failing(kill(121))), &[]);

    let rule = "I4: no repeat moves a deadline";
    breaks(rule, state(120), Event::Restart(Signal::USR1), state(119), &[]);
    keeps(state(120), CHILD_GONE, without(sweeping(kill(103))), &[]);
    keeps(state(120), STOP, stop(with_child(stopping(kill(110))), 110), &[]);
    keeps(without(sweeping(kill(120))), STOP, without(sweeping(kill(110))), &[]);
}

#[test]
fn i4_and_i6_the_wait_for_sigkill_is_bounded_and_does_not_move() {
    let state = |limit| with_child(stopping(limit));
    keeps(state(over(102)), Event::ChildStopped, state(over(102)), &[]);
    let moved = "I4: the kill wait does not move";
    breaks(moved, state(over(102)), Event::ChildStopped, state(over(101)), &[]);
    let back = "I4: SIGKILL is not taken back";
    breaks(back, state(over(102)), Event::ChildStopped, state(kill(102)), &[]);
    let bounded = "I6: the kill wait is bounded";
    let from_now = Limit::GiveUp(NOW + KILL_WAIT);
    keeps(state(kill(100)), DEADLINE, state(from_now), &[KILL]);
    for limit in [over(101), over(103)] {
        breaks(bounded, state(kill(100)), DEADLINE, state(limit), &[KILL]);
    }
}

#[test]
fn i5_and_i6_after_a_stop_no_generation_starts_and_time_ends_it() {
    let swept = without(sweeping(kill(103)));
    let start = &[Action::Spawn];
    keeps(swept, GONE, without(STARTING), start);
    let rule = "I5: no generation starts after a stop";
    breaks(rule, stop(swept, 125), GONE, stop(without(STARTING), 125), start);
    let rule = "I5: a stop is never forgotten";
    breaks(rule, stop(swept, 125), GONE, without(EXITED), &[Action::Exit(3)]);
    keeps(stop(swept, 125), GONE, stop(without(EXITED), 125), &[Action::Exit(3)]);
    let rule = "I6: a stop has a deadline";
    let running = with_child(RUNNING);
    breaks(rule, running, STOP, stop(running, 127), &[]);
    keeps(running, STOP, stop(with_child(stopping(kill(127))), 127), &[]);
    keeps(without(STARTING), STOP, stop(without(STARTING), 127), &[]);
}

#[test]
fn i7_a_signal_is_forwarded_exactly_once() {
    let rule = "I7: a signal is forwarded to a living child exactly once";
    let running = with_child(RUNNING);
    breaks(rule, running, FORWARD, running, &[]);
    breaks(rule, running, FORWARD, running, &[PASS_ON, PASS_ON]);
    breaks(rule, running, Event::ChildStopped, running, &[PASS_ON]);
    let mut drops = config();
    drops.map[Signal::HUP.number() as usize] = None;
    assert_eq!(said(&drops, running, FORWARD, running, &[]), "");
    assert!(said(&drops, running, FORWARD, running, &[PASS_ON]).starts_with(rule));
    // To what the child has left: once, or to nobody.
    let to_the_rest = &[Action::ForwardToLeftovers(Signal::HUP)];
    keeps(without(RUNNING), FORWARD, without(RUNNING), to_the_rest);
    keeps(without(BACKOFF), FORWARD, without(BACKOFF), &[]);
    let rest = stop(without(stopping(kill(125))), 125);
    keeps(rest, STOP, rest, to_the_rest);
    let whole = stop(with_child(stopping(kill(125))), 125);
    breaks(rule, whole, STOP, whole, &[PASS_ON]);
}

#[test]
fn i8_no_signal_goes_to_a_child_that_was_reaped() {
    let rule = "I8: no signal goes to a child that was reaped";
    let before = with_child(stopping(kill(125)));
    let after = without(sweeping(kill(103)));
    for action in [Action::Tell(Signal::TERM), Action::Continue] {
        breaks(rule, before, CHILD_GONE, after, &[action]);
        keeps(before, Event::ChildStopped, before, &[action]);
    }
    keeps(before, CHILD_GONE, after, &[Action::TellLeftovers(Signal::TERM)]);
}

#[test]
fn i10_clawinit_leaves_exactly_when_it_says_so() {
    let rule = "I10: clawinit leaves exactly when it says so";
    let before = without(sweeping(kill(103)));
    keeps(before, GONE, without(EXITED), &[Action::Exit(3)]);
    breaks(rule, before, GONE, without(EXITED), &[]);
    breaks(rule, before, GONE, without(EXITED), &[Action::Exit(4)]);
    breaks(rule, before, GONE, before, &[Action::Exit(3)]);
    keeps(without(EXITED), GONE, without(EXITED), &[]);
    breaks(rule, without(EXITED), GONE, without(EXITED), &[Action::Exit(3)]);
}

#[test]
fn i11_a_generation_that_was_announced_comes() {
    let rule = "I11: a generation that was announced comes";
    let before = with_child(RUNNING);
    breaks(rule, before, CHILD_GONE, without(RUNNING), &[NEXT]);
    keeps(before, CHILD_GONE, without(RUNNING), &[]);
    keeps(before, CHILD_GONE, without(BACKOFF), &[NEXT]);
    keeps(before, CHILD_GONE, without(sweeping(kill(103))), &[NEXT]);
    keeps(before, CHILD_GONE, without(STARTING), &[NEXT, Action::Spawn]);
}

#[test]
fn i13_a_word_is_due_only_from_a_generation_that_runs() {
    let rule = "I13: a word is due only from a generation that runs";
    let due = |state: State| State { due: Some(s(110)), ..state };
    let before = with_child(RUNNING);
    keeps(before, Event::Notified(Notice::Alive), due(before), &[]);
    breaks(rule, before, CHILD_GONE, due(without(BACKOFF)), &[]);
}

#[test]
fn i13_silence_is_a_failure_once_a_word_was_due() {
    let rule = "I13: a generation is asked to end for its silence only once its word was due";
    let due = |at: Option<u64>| State { due: at.map(s), ..with_child(RUNNING) };
    let fails = with_child(failing(kill(120)));
    for at in [99, 100] {
        keeps(due(Some(at)), DEADLINE, fails, &[Action::Tell(Signal::TERM)]);
    }
    for at in [Some(101), None] {
        breaks(rule, due(at), DEADLINE, fails, &[Action::Tell(Signal::TERM)]);
    }
    keeps(due(None), Event::Notified(Notice::Failed), fails, &[Action::Tell(Signal::TERM)]);
    breaks(rule, due(Some(99)), Event::Notified(Notice::Ready), fails, &[]);
    keeps(fails, Event::ChildStopped, fails, &[Action::Continue]);
}

#[test]
fn generations_only_grow_one_at_a_time() {
    let rule = "generations only grow, one at a time";
    let grown = |by: u32| State { generation: 2 + by, ..with_child(RUNNING) };
    let failed = Event::StartFailed(StartFailure { code: 125, temporary: true });
    keeps(without(STARTING), Event::Spawned(7), grown(1), &[]);
    breaks(rule, without(STARTING), failed, grown(1), &[]);
    breaks(rule, without(STARTING), Event::Spawned(7), grown(2), &[]);
    keeps(without(STARTING), failed, without(STARTING), &[Action::Spawn]);
}
