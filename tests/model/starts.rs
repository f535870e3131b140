//! What the start of a generation sets: counts, times, what is expected of it.

use clawinit::config::Config;
use clawinit::core::{Cause, Event, Phase, Readiness, State, step};
use std::time::Duration;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The state after a start at 100 s that follows `generation` others.
fn started(config: &Config, generation: u32, cause: Option<Cause>) -> State {
    let mut state = State::new(1);
    (state.generation, state.cause, state.restarts) = (generation, cause, [5, 6, 7]);
    (state.failed, state.gave_up, state.ready_since) = (true, true, Some(s(50)));
    let actions = step(config, &mut state, s(100), Event::Spawned(7));
    assert!(actions.as_slice().is_empty(), "{actions:?}");
    assert_eq!((state.phase, state.child), (Phase::Running, Some(7)));
    assert_eq!((state.generation, state.started), (generation + 1, s(100)));
    assert!(!state.failed && !state.gave_up, "that was another generation");
    // One that cannot say when it is ready is so from its start.
    let ready = (!config.knows_readiness()).then_some(s(100));
    assert_eq!(state.ready_since, ready);
    state
}

#[test]
fn a_restart_is_counted_once_its_generation_has_started() {
    let config = Config::new();
    for (generation, cause, restarts) in [
        // The first one is no restart, however often its start was tried.
        (0, None, [5, 6, 7]),
        (0, Some(Cause::Crash), [5, 6, 7]),
        (1, Some(Cause::Signal), [6, 6, 7]),
        (1, Some(Cause::Code), [5, 7, 7]),
        (2, Some(Cause::Crash), [5, 6, 8]),
        (9, Some(Cause::Signal), [6, 6, 7]),
        (9, None, [5, 6, 7]),
    ] {
        let counted = started(&config, generation, cause).restarts;
        assert_eq!(counted, restarts, "{cause:?} after {generation} generations");
    }
}

#[test]
fn what_a_generation_has_to_say_is_due_from_its_start() {
    let quiet = Config::new();
    let notify = Config { notify: true, ..Config::new() };
    let watched = Config { watchdog: Some(s(5)), ..Config::new() };
    let both = Config { start_grace: Some(s(30)), notify: true, ..watched.clone() };
    for (config, readiness, due) in [
        (&quiet, Readiness::Unknown, None),
        (&notify, Readiness::NotYet, None),
        (&watched, Readiness::Unknown, Some(s(105))),
        (&both, Readiness::NotYet, Some(s(130))),
    ] {
        let state = started(config, 1, Some(Cause::Crash));
        assert_eq!((state.readiness, state.due), (readiness, due));
        assert_eq!(state.deadline(), due);
    }
}
