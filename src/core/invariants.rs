//! What must hold in every step (DESIGN section 5, I1 to I12; I13 is for what a child says of
//! itself). Checked after each step where debug assertions are on, and by the exhaustive search in `tests/model`. I9 is the kernel
//! layer's (it reaps until nothing is left) and is tested there; I6, I10, I11 and I12 speak of
//! whole histories and are searched by the model.

use super::action::{Action, Note};
use super::event::{Event, Notice};
use super::exit::End;
use super::phase::{Limit, Phase, State};
use super::step::{KILL_WAIT, is_timeless};
use crate::config::Config;
use std::time::Duration;

/// Panics, naming the invariant, when the step from `before` to `after` broke one.
pub fn check(
    config: &Config,
    before: &State,
    now: Duration,
    event: Event,
    after: &State,
    actions: &[Action],
) {
    let holds = |rule: &str, holds: bool| {
        assert!(
            holds,
            "{rule}\nbefore {before:?}\nevent {event:?} at {now:?}\nafter {after:?}\nactions {actions:?}"
        );
    };
    let did = |wanted: fn(&Action) -> bool| actions.iter().any(wanted);
    let spawns = did(|a| matches!(a, Action::Spawn));
    let kills = did(|a| matches!(a, Action::Kill | Action::KillLeftovers));
    let exits = did(|a| matches!(a, Action::Exit(_)));

    holds("I1: a generation starts only when there is no child", !spawns || after.child.is_none());
    holds(
        "I1: a child is there in no phase that has none",
        after.child.is_none()
            || matches!(
                after.phase,
                Phase::Running
                    | Phase::Stopping { .. }
                    | Phase::Restarting { .. }
                    | Phase::Failing { .. }
            )
            || after.last == Some(End::Survived),
    );

    holds("a timeless event changes nothing", !is_timeless(before, event) || before == after);

    let limit = State::ending;
    holds(
        "I2: SIGKILL only once a deadline has passed",
        !kills
            || match limit(before) {
                Some(Limit::Kill(at)) => now >= at,
                Some(Limit::GiveUp(_)) => true,
                None => false,
            },
    );
    holds(
        "I3: what still lives when a deadline has passed gets SIGKILL",
        match (event, limit(before)) {
            (Event::DeadlinePassed, Some(Limit::Kill(at))) if now >= at => kills,
            _ => true,
        },
    );
    let extends = matches!(event, Event::Notified(Notice::Extend(_)));
    if let (Some(old), Some(new)) = (before.stop, after.stop) {
        holds(
            "I4: the stop's deadline does not move, but by the child's request and up to the maximum",
            old.deadline == new.deadline
                || extends
                    && new.deadline >= old.deadline
                    && config
                        .stop_grace_max
                        .is_some_and(|max| new.deadline <= new.at + config.stop_delay + max),
        );
    }
    let same_phase = std::mem::discriminant(&before.phase) == std::mem::discriminant(&after.phase);
    match (limit(before), limit(after)) {
        (Some(Limit::Kill(old)), Some(Limit::Kill(new))) => {
            let latest = match (after.phase, after.stop) {
                (_, Some(stop)) => stop.deadline, // which was checked above
                (Phase::Restarting { since, .. }, None) => {
                    config.restart_grace_max.map_or(old, |max| since + max)
                }
                _ => old,
            };
            holds(
                "I4: no deadline moves later, but by the child's request and up to the maximum",
                new <= old || extends && new <= latest,
            );
            // A sweep is bounded by its own grace, and a stop that comes by its own too.
            let repeat = same_phase && !extends && before.stop.is_some() == after.stop.is_some();
            let bounds = matches!(before.phase, Phase::Sweeping { .. }) && before.stop.is_none();
            holds("I4: no repeat moves a deadline", !repeat || bounds || new == old);
        }
        (Some(Limit::GiveUp(old)), Some(Limit::GiveUp(new))) => {
            holds("I4: the kill wait does not move", old == new);
        }
        (Some(Limit::GiveUp(_)), Some(Limit::Kill(_))) => {
            holds("I4: SIGKILL is not taken back", false);
        }
        (Some(Limit::Kill(_)), Some(Limit::GiveUp(at))) => {
            holds("I6: the kill wait is bounded", at == now + KILL_WAIT);
        }
        (None, _) | (_, None) => {}
    }
    holds("I5: no generation starts after a stop", !spawns || before.stop.is_none());
    holds("I5: a stop is never forgotten", before.stop.is_none() || after.stop.is_some());
    holds(
        "I6: a stop has a deadline",
        after.stop.is_none()
            || matches!(
                after.phase,
                Phase::Starting
                    | Phase::Stopping { .. }
                    | Phase::Sweeping { .. }
                    | Phase::Exited { .. }
            ),
    );

    let forwards = actions
        .iter()
        .filter(|a| matches!(a, Action::Forward(_) | Action::ForwardToLeftovers(_)))
        .count();
    let lives = before.child.is_some();
    let wanted = match event {
        Event::Forward(signal) if lives => usize::from(config.forwarded(signal).is_some()),
        Event::Forward(_) => forwards, // `--exit-when all`, or no child to have it
        Event::Stop(_) if !lives => forwards, // `--exit-when all` again: a second stop signal
        _ => 0,
    };
    holds("I7: a signal is forwarded to a living child exactly once", forwards == wanted);

    let signals_child = did(|a| {
        matches!(a, Action::Forward(_) | Action::Tell(_) | Action::Kill | Action::Continue)
    });
    holds("I8: no signal goes to a child that was reaped", !signals_child || after.child.is_some());
    holds(
        "I10: clawinit leaves exactly when it says so",
        match after.phase {
            Phase::Exited { .. } if matches!(before.phase, Phase::Exited { .. }) => {
                actions.is_empty()
            }
            Phase::Exited { code } => actions.last() == Some(&Action::Exit(code)),
            Phase::Starting
            | Phase::Running
            | Phase::Stopping { .. }
            | Phase::Restarting { .. }
            | Phase::Failing { .. }
            | Phase::Sweeping { .. }
            | Phase::Backoff { .. } => !exits,
        },
    );
    holds(
        "I11: a generation that was announced comes, unless a stop does",
        !did(|a| matches!(a, Action::Note(Note::NextGeneration { .. })))
            || spawns
            || matches!(after.phase, Phase::Sweeping { .. } | Phase::Backoff { .. }),
    );
    holds(
        "I13: a word is due only from a generation that runs",
        after.due.is_none() || matches!(after.phase, Phase::Running),
    );
    holds(
        "I13: a generation is asked to end for its silence only once its word was due",
        !matches!(after.phase, Phase::Failing { .. })
            || matches!(before.phase, Phase::Failing { .. })
            || match event {
                Event::DeadlinePassed => before.due.is_some_and(|due| now >= due),
                _ => event == Event::Notified(Notice::Failed),
            },
    );
    holds(
        "generations only grow, one at a time",
        after.generation == before.generation
            || after.generation == before.generation.saturating_add(1)
                && matches!(event, Event::Spawned(_)),
    );
}
