//! The transition table, by hand: for each phase, in each of its forms, what every event does.
//!
//! `what is done | the phase after`; `-`: nothing is done and nothing changes. It is 100 s, the
//! child's pid is 7, generation 2 started at 90 s, which is just stable; the stop grace is 25 s,
//! the restart grace 20 s, the sweep grace 3 s, and crashes wait for nothing. `kill@` is when
//! SIGKILL is due, `over@` when the wait for its effect ends. A deadline comes at its own time.

use clawinit::config::{Config, ExitWhen, RestartStyle};
use clawinit::core::{
    Action, Cause, End, Event, Limit, Next, Note, Notice, Phase, Readiness, StartFailure, State, Status, Stop,
    step,
};
use clawinit::signal::Signal;
use std::time::Duration;

pub const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub const NOW: Duration = s(100);

const KILL_103: Limit = Limit::Kill(s(103));
pub const OVER_102: Limit = Limit::GiveUp(s(102));
const LEAVE: Next = Next::Leave;

pub fn config(exit_when: ExitWhen) -> Config {
    Config {
        restart_grace: s(20),
        restart_delay: Duration::ZERO,
        is_pid1: true,
        exit_when,
        ..Config::new()
    }
}

pub fn state(phase: Phase, child: bool) -> State {
    let mut state = State::new(1);
    state.phase = phase;
    state.child = child.then_some(7);
    state.generation = 2;
    state.started = s(90);
    state.ready_since = Some(s(90));
    state.last = Some(End::Reaped(Status::Exited(3)));
    state.cause = Some(Cause::Crash);
    state
}

pub fn stopped(mut state: State, deadline: u64, overdue: bool) -> State {
    state.stop = Some(Stop { signal: Signal::TERM, at: NOW, deadline: s(deadline), overdue });
    state
}

/// The events, in the order of the columns.
fn events() -> [(&'static str, Event); 13] {
    let exited = |code, leftovers| Event::ChildExited { status: Status::Exited(code), leftovers };
    [
        ("stop", Event::Stop(Signal::TERM)),
        ("restart", Event::Restart(Signal::USR1)),
        ("forward", Event::Forward(Signal::HUP)),
        ("spawned", Event::Spawned(7)),
        ("start failed for now", Event::StartFailed(StartFailure { code: 125, temporary: true })),
        ("start failed for good", Event::StartFailed(StartFailure { code: 127, temporary: false })),
        ("child exited", exited(3, false)),
        ("child exited, left some", exited(3, true)),
        ("child exited with 75, left some", exited(75, true)),
        ("reaped, some left", Event::Reaped { leftovers: true }),
        ("reaped, none left", Event::Reaped { leftovers: false }),
        ("child stopped", Event::ChildStopped),
        ("deadline", Event::DeadlinePassed),
    ]
}

pub fn show(actions: &[Action], phase: Phase) -> String {
    let left: Vec<String> = actions.iter().map(show_action).collect();
    format!("{} | {}", left.join(", "), show_phase(phase)).trim().to_owned()
}

fn show_action(action: &Action) -> String {
    match action {
        Action::Spawn => "spawn".into(),
        Action::Forward(signal) => format!("forward {signal}"),
        Action::Tell(signal) => format!("tell {signal}"),
        Action::Kill => "kill".into(),
        Action::ForwardToLeftovers(signal) => format!("forward-left {signal}"),
        Action::TellLeftovers(signal) => format!("tell-left {signal}"),
        Action::KillLeftovers => "kill-left".into(),
        Action::Continue => "continue".into(),
        Action::Suspend => "suspend".into(),
        Action::Exit(code) => format!("exit {code}"),
        Action::Note(note) => match note {
            Note::StopRequested { within, .. } => format!("(stop {within:?})"),
            Note::StopRepeated(_) => "(stop again)".into(),
            Note::DelayEnded(_) => "(delay ended)".into(),
            Note::RestartRequested { within, .. } => format!("(restart {within:?})"),
            Note::RestartFolded(_) => "(folded)".into(),
            Note::RestartRefused(_) => "(refused)".into(),
            Note::NoChild(_) => "(no child)".into(),
            Note::ChildExited { .. } => "(exited)".into(),
            Note::GoesOn => "(goes on)".into(),
            Note::NextGeneration { cause, delay } => format!("(next by {cause} in {delay:?})"),
            Note::Ready { after } => format!("(ready after {after:?})"),
            Note::Reloading => "(reloading)".into(),
            Note::EndsItself => "(ends itself)".into(),
            Note::RestartedInPlace { after } => format!("(in place after {after:?})"),
            Note::NotReady { after, .. } => format!("(not ready after {after:?})"),
            Note::NoSignOfLife(_) => "(hung)".into(),
            Note::SaysItFailed(_) => "(failed)".into(),
            Note::Extended { within } => format!("(extended to {within:?})"),
            Note::StartExtended { within } => format!("(start extended to {within:?})"),
            Note::Overslept { by } => format!("(overslept {by:?})"),
            Note::RestartLimit => "(limit)".into(),
            Note::Survived => "(survived)".into(),
        },
    }
}

fn show_limit(limit: Limit) -> String {
    match limit {
        Limit::Kill(at) => format!("kill@{}", at.as_secs()),
        Limit::GiveUp(at) => format!("over@{}", at.as_secs()),
    }
}

fn show_phase(phase: Phase) -> String {
    match phase {
        Phase::Starting => "starting".into(),
        Phase::Running => "running".into(),
        Phase::Stopping { tell: None, limit } => format!("stopping {}", show_limit(limit)),
        Phase::Stopping { tell: Some(tell), limit } => {
            format!("stopping tell@{} {}", tell.as_secs(), show_limit(limit))
        }
        Phase::Restarting { limit: None, .. } => "restarting".into(),
        Phase::Restarting { limit: Some(limit), .. } => {
            format!("restarting {}", show_limit(limit))
        }
        Phase::Failing { limit: None } => "failing".into(),
        Phase::Failing { limit: Some(limit) } => format!("failing {}", show_limit(limit)),
        Phase::Sweeping { next: Next::Leave, limit } => {
            format!("sweeping, leave {}", show_limit(limit))
        }
        Phase::Sweeping { next: Next::Generation(at), limit } => {
            format!("sweeping, next@{} {}", at.as_secs(), show_limit(limit))
        }
        Phase::Backoff { until } => format!("backoff@{}", until.as_secs()),
        Phase::Exited { code } => format!("exited {code}"),
    }
}

/// Runs one row of the table and says what differs.
fn row(name: &str, start: State, exit_when: ExitWhen, expected: [&str; 13]) {
    row_of(name, start, &config(exit_when), expected);
}

/// The same with a configuration of its own.
pub fn row_of(name: &str, start: State, config: &Config, expected: [&str; 13]) {
    let mut wrong = String::new();
    for ((event_name, event), expected) in events().into_iter().zip(expected) {
        let mut state = start;
        let now = match event {
            Event::DeadlinePassed => start.deadline().unwrap_or(NOW),
            _ => NOW,
        };
        let actions = step(config, &mut state, now, event);
        let unchanged = actions.as_slice().is_empty() && state.phase == start.phase;
        let got = if unchanged { "-".into() } else { show(actions.as_slice(), state.phase) };
        // A phase that stays is not written again.
        let same = format!(" | {}", show_phase(start.phase));
        let got = got.strip_suffix(&same).unwrap_or(&got);
        if got != expected {
            wrong += &format!("\n{name}, {event_name}:\n  expected {expected}\n  got      {got}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

use ExitWhen::{All, Child};

#[test]
fn starting() {
    row(
        "starting",
        state(Phase::Starting, false),
        Child,
        [
            "(stop 25s)",
            "(folded)",
            "(no child)",
            "| running",
            "(next by crash in 0ns), spawn",
            "(next by crash in 0ns), spawn", // on a restart every failure is tried again
            "-", "-", "-", "-", "-", "-", "-",
        ],
    );
}

#[test]
fn starting_the_first_generation() {
    let mut first = state(Phase::Starting, false);
    (first.generation, first.last, first.cause) = (0, None, None);
    row(
        "starting the first",
        first,
        Child,
        [
            "(stop 25s)",
            "(folded)",
            "(no child)",
            "| running",
            "(next by crash in 0ns), spawn",
            "exit 127 | exited 127",
            "-", "-", "-", "-", "-", "-", "-",
        ],
    );
}

#[test]
fn starting_when_a_stop_was_asked_for() {
    row(
        "starting, to stop",
        stopped(state(Phase::Starting, false), 125, false),
        Child,
        [
            "-",
            "(refused)",
            "(no child)",
            "tell SIGTERM | stopping kill@125",
            "exit 125 | exited 125",
            "exit 127 | exited 127",
            "-", "-", "-", "-", "-", "-", "-",
        ],
    );
}

#[test]
fn running() {
    row(
        "running",
        state(Phase::Running, true),
        Child,
        [
            "(stop 25s), tell SIGTERM | stopping kill@125",
            "(restart 20s), tell SIGUSR1 | restarting kill@120",
            "forward SIGHUP",
            "-", "-", "-",
            "(exited), exit 3 | exited 3",
            "(exited), tell-left SIGTERM | sweeping, leave kill@103",
            "(exited), (next by code in 0ns), tell-left SIGTERM | sweeping, next@100 kill@103",
            "-", "-",
            "suspend",
            "-",
        ],
    );
}

#[test]
fn running_until_all_have_ended() {
    row(
        "running, all",
        state(Phase::Running, true),
        All,
        [
            "(stop 25s), tell SIGTERM | stopping kill@125",
            "(restart 20s), tell SIGUSR1 | restarting kill@120",
            "forward SIGHUP",
            "-", "-", "-",
            "(exited), exit 3 | exited 3",
            "(exited), (goes on)",
            "(exited), (next by code in 0ns), tell-left SIGTERM | sweeping, next@100 kill@103",
            "-", "-",
            "suspend",
            "-",
        ],
    );
}

#[test]
fn running_on_without_the_child() {
    row(
        "going on",
        state(Phase::Running, false),
        All,
        [
            "(stop 25s), tell-left SIGTERM | stopping kill@125",
            "(restart 20s), tell-left SIGUSR1 | restarting kill@120",
            "forward-left SIGHUP",
            "-", "-", "-", "-", "-", "-", "-",
            "exit 3 | exited 3",
            "-", "-",
        ],
    );
}

#[test]
fn stopping() {
    let phase = Phase::Stopping { tell: None, limit: Limit::Kill(s(125)) };
    row(
        "stopping",
        stopped(state(phase, true), 125, false),
        Child,
        [
            "(stop again), tell SIGTERM",
            "(refused)",
            "forward SIGHUP",
            "-", "-", "-",
            "(exited), exit 3 | exited 3",
            "(exited), tell-left SIGTERM | sweeping, leave kill@103",
            "(exited), tell-left SIGTERM | sweeping, leave kill@103",
            "-", "-",
            "continue",
            "kill | stopping over@127",
        ],
    );
}

#[test]
fn stopping_by_another_signal_sweeps_with_sigterm() {
    let phase = Phase::Stopping { tell: None, limit: Limit::Kill(s(125)) };
    let mut by_int = stopped(state(phase, true), 125, false);
    by_int.stop = by_int.stop.map(|stop| Stop { signal: Signal::INT, ..stop });
    row("stopping by SIGINT", by_int, Child, [
        "(stop again), tell SIGTERM",
        "(refused)",
        "forward SIGHUP",
        "-", "-", "-",
        "(exited), exit 3 | exited 3",
        "(exited), tell-left SIGTERM | sweeping, leave kill@103",
        "(exited), tell-left SIGTERM | sweeping, leave kill@103",
        "-", "-",
        "continue",
        "kill | stopping over@127",
    ]);
}

#[test]
fn stopping_without_the_child_by_another_signal() {
    let phase = Phase::Stopping { tell: None, limit: Limit::Kill(s(125)) };
    let mut by_int = stopped(state(phase, false), 125, false);
    by_int.stop = by_int.stop.map(|stop| Stop { signal: Signal::INT, ..stop });
    row("stopping the rest by SIGINT", by_int, All, [
        "(stop again), forward-left SIGTERM",
        "(refused)",
        "forward-left SIGHUP",
        "-", "-", "-", "-", "-", "-",
        "tell-left SIGINT",
        "exit 3 | exited 3",
        "-",
        "kill-left | stopping over@127",
    ]);
}

#[test]
fn stopping_short_of_the_deadline_bounds_the_sweep() {
    let phase = Phase::Stopping { tell: None, limit: Limit::Kill(s(101)) };
    row(
        "stopping soon",
        stopped(state(phase, true), 101, false),
        Child,
        [
            "(stop again), tell SIGTERM",
            "(refused)",
            "forward SIGHUP",
            "-", "-", "-",
            "(exited), exit 3 | exited 3",
            "(exited), tell-left SIGTERM | sweeping, leave kill@101",
            "(exited), tell-left SIGTERM | sweeping, leave kill@101",
            "-", "-",
            "continue",
            "kill | stopping over@103",
        ],
    );
}

#[test]
fn stopping_before_the_child_is_told() {
    let phase = Phase::Stopping { tell: Some(s(104)), limit: Limit::Kill(s(129)) };
    row(
        "delayed",
        stopped(state(phase, true), 129, false),
        Child,
        [
            "(delay ended), tell SIGTERM | stopping kill@129",
            "(refused)",
            "forward SIGHUP",
            "-", "-", "-",
            "(exited), exit 3 | exited 3",
            "(exited), tell-left SIGTERM | sweeping, leave kill@103",
            "(exited), tell-left SIGTERM | sweeping, leave kill@103",
            "-", "-",
            "continue",
            "tell SIGTERM | stopping kill@129",
        ],
    );
}

#[test]
fn stopping_after_sigkill() {
    let phase = Phase::Stopping { tell: None, limit: OVER_102 };
    row(
        "killed",
        stopped(state(phase, true), 100, true),
        Child,
        [
            "(stop again), tell SIGTERM",
            "(refused)",
            "forward SIGHUP",
            "-", "-", "-",
            "(exited), exit 3 | exited 3",
            "(exited), kill-left | sweeping, leave over@102",
            "(exited), kill-left | sweeping, leave over@102",
            "-", "-",
            "continue",
            "(survived), exit 137 | exited 137",
        ],
    );
}

#[test]
fn stopping_without_the_child() {
    let phase = Phase::Stopping { tell: None, limit: Limit::Kill(s(125)) };
    row(
        "stopping the rest",
        stopped(state(phase, false), 125, false),
        All,
        [
            "(stop again), forward-left SIGTERM",
            "(refused)",
            "forward-left SIGHUP",
            "-", "-", "-", "-", "-", "-",
            "tell-left SIGTERM",
            "exit 3 | exited 3",
            "-",
            "kill-left | stopping over@127",
        ],
    );
}

#[test]
fn restarting() {
    let phase = Phase::Restarting { limit: Some(Limit::Kill(s(120))), since: NOW };
    row(
        "restarting",
        state(phase, true),
        Child,
        [
            "(stop 20s), tell SIGTERM | stopping kill@120", // the deadline does not move later
            "(folded)",
            "forward SIGHUP",
            "-", "-", "-",
            "(exited), (next by signal in 0ns), spawn | starting",
            "(exited), (next by signal in 0ns), tell-left SIGTERM | sweeping, next@100 kill@103",
            "(exited), (next by signal in 0ns), tell-left SIGTERM | sweeping, next@100 kill@103",
            "-", "-",
            "continue",
            "kill | restarting over@122",
        ],
    );
}

#[test]
fn restarting_after_sigkill() {
    let phase = Phase::Restarting { limit: Some(OVER_102), since: NOW };
    row(
        "restarting, killed",
        state(phase, true),
        Child,
        [
            "(stop 2s) | stopping over@102",
            "(folded)",
            "forward SIGHUP",
            "-", "-", "-",
            "(exited), (next by signal in 0ns), spawn | starting",
            "(exited), (next by signal in 0ns), kill-left | sweeping, next@100 over@102",
            "(exited), (next by signal in 0ns), kill-left | sweeping, next@100 over@102",
            "-", "-",
            "continue",
            "(survived) | restarting", // never two children: it waits on
        ],
    );
}

#[test]
fn restarting_a_child_that_sigkill_does_not_end() {
    row(
        "restarting, survived",
        state(Phase::Restarting { limit: None, since: NOW }, true),
        Child,
        [
            "(stop 2s) | stopping over@102",
            "(folded)",
            "forward SIGHUP",
            "-", "-", "-",
            "(exited), (next by signal in 0ns), spawn | starting",
            "(exited), (next by signal in 0ns), tell-left SIGTERM | sweeping, next@100 kill@103",
            "(exited), (next by signal in 0ns), tell-left SIGTERM | sweeping, next@100 kill@103",
            "-", "-",
            "continue",
            "-",
        ],
    );
}

#[test]
fn restarting_without_the_child() {
    let phase = Phase::Restarting { limit: Some(Limit::Kill(s(120))), since: NOW };
    row(
        "restarting the rest",
        state(phase, false),
        All,
        [
            "(stop 20s), tell-left SIGTERM | stopping kill@120",
            "(folded)",
            "forward-left SIGHUP",
            "-", "-", "-", "-", "-", "-",
            "tell-left SIGTERM",
            "(next by signal in 0ns), spawn | starting",
            "-",
            "kill-left | restarting over@122",
        ],
    );
}

#[test]
fn sweeping_before_leaving() {
    row(
        "sweeping",
        state(Phase::Sweeping { next: LEAVE, limit: KILL_103 }, false),
        Child,
        [
            "(stop again)",
            "(refused)",
            "(no child)",
            "-", "-", "-", "-", "-", "-",
            "tell-left SIGTERM",
            "exit 3 | exited 3",
            "-",
            "kill-left | sweeping, leave over@105",
        ],
    );
}

#[test]
fn sweeping_long_before_leaving_is_bounded_by_a_stop() {
    let phase = Phase::Sweeping { next: LEAVE, limit: Limit::Kill(s(160)) };
    row(
        "sweeping long",
        state(phase, false),
        Child,
        [
            "(stop again) | sweeping, leave kill@125",
            "(refused)",
            "(no child)",
            "-", "-", "-", "-", "-", "-",
            "tell-left SIGTERM",
            "exit 3 | exited 3",
            "-",
            "kill-left | sweeping, leave over@162",
        ],
    );
}

/// With a stop delay the request's deadline lies further off than a stop grace from now.
#[test]
fn sweeping_long_after_a_stop_goes_on_to_the_deadline_of_the_first() {
    let phase = Phase::Sweeping { next: LEAVE, limit: Limit::Kill(s(160)) };
    row(
        "sweeping long",
        stopped(state(phase, false), 160, false),
        Child,
        [
            "(stop again)",
            "(refused)",
            "(no child)",
            "-", "-", "-", "-", "-", "-",
            "tell-left SIGTERM",
            "exit 3 | exited 3",
            "-",
            "kill-left | sweeping, leave over@162",
        ],
    );
}

#[test]
fn sweeping_before_the_next_generation() {
    let phase = Phase::Sweeping { next: Next::Generation(NOW), limit: KILL_103 };
    row(
        "sweeping",
        state(phase, false),
        Child,
        [
            "(stop 25s) | sweeping, leave kill@103",
            "(folded)",
            "(no child)",
            "-", "-", "-", "-", "-", "-",
            "tell-left SIGTERM",
            "spawn | starting",
            "-",
            "kill-left | sweeping, next@100 over@105",
        ],
    );
}

#[test]
fn sweeping_after_sigkill_before_leaving() {
    row(
        "swept",
        state(Phase::Sweeping { next: LEAVE, limit: OVER_102 }, false),
        Child,
        [
            "(stop again)",
            "(refused)",
            "(no child)",
            "-", "-", "-", "-", "-", "-",
            "kill-left",
            "exit 3 | exited 3",
            "-",
            "(survived), exit 3 | exited 3",
        ],
    );
}

#[test]
fn sweeping_after_sigkill_before_a_generation_that_waits() {
    let phase = Phase::Sweeping { next: Next::Generation(s(150)), limit: OVER_102 };
    row(
        "swept",
        state(phase, false),
        Child,
        [
            "(stop 25s) | sweeping, leave over@102",
            "(folded)",
            "(no child)",
            "-", "-", "-", "-", "-", "-",
            "kill-left",
            "| backoff@150",
            "-",
            "(survived) | backoff@150",
        ],
    );
}

#[test]
fn backoff() {
    row(
        "backoff",
        state(Phase::Backoff { until: s(150) }, false),
        Child,
        [
            "(stop 0ns), exit 3 | exited 3",
            "(restart 0ns), spawn | starting",
            "(no child)",
            "-", "-", "-", "-", "-", "-", "-", "-", "-",
            "spawn | starting",
        ],
    );
}

#[test]
fn exited() {
    row(
        "exited",
        state(Phase::Exited { code: 3 }, false),
        Child,
        ["-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-"],
    );
}

/// `--watchdog` alone expects signs of life, and no READY=1: what else the child says takes nothing
/// from the time that it has lived.
#[test]
fn a_child_that_need_not_say_that_it_is_ready_is_steady_by_its_age_whatever_it_says() {
    let config = Config { watchdog: Some(s(60)), ..config(Child) };
    for notice in [Notice::Stopping, Notice::Reloading, Notice::Alive] {
        let mut state = state(Phase::Running, true);
        step(&config, &mut state, NOW, Event::Notified(notice));
        let exited = Event::ChildExited { status: Status::Exited(75), leftovers: false };
        let actions = step(&config, &mut state, NOW, exited);
        let next = Note::NextGeneration { cause: Cause::Code, delay: Duration::ZERO };
        assert!(actions.as_slice().contains(&Action::Note(next)), "{notice:?}: {actions:?}");
        assert_eq!(state.crashes.in_a_row(), 0, "{notice:?}");
    }
}

/// What a generation was asked to end for is over once it is restarted in place.
#[test]
fn a_child_that_is_ready_again_in_place_has_not_failed() {
    let config =
        Config { notify: true, restart_style: RestartStyle::InPlace, ..config(Child) };
    let mut state = state(Phase::Failing { limit: Some(Limit::Kill(s(120))) }, true);
    (state.readiness, state.failed) = (Readiness::NotYet, true);
    step(&config, &mut state, NOW, Event::Restart(Signal::USR1));
    step(&config, &mut state, NOW, Event::Notified(Notice::Ready));
    assert_eq!(state.phase, Phase::Running);
    let exited = Event::ChildExited { status: Status::Exited(0), leftovers: false };
    let actions = step(&config, &mut state, NOW, exited);
    assert_eq!(actions.as_slice().last(), Some(&Action::Exit(0)), "{actions:?}");
}

#[test]
fn a_stop_that_sigkill_ended_after_its_deadline_was_not_done_in_time() {
    let config = Config { stop_exit_code: Some(9), ..config(Child) };
    // SIGKILL came at the deadline of the restart before it, and took until after the stop's.
    let phase = Phase::Sweeping { next: LEAVE, limit: OVER_102 };
    for (deadline, code) in [(102, 9), (100, 3)] {
        let mut after = stopped(state(phase, false), deadline, false);
        let _ = step(&config, &mut after, NOW, Event::Reaped { leftovers: false });
        assert_eq!(after.phase, Phase::Exited { code }, "deadline at {deadline} s");
    }
}
