//! Which events `step` takes no look at the clock for, and that it takes none.

use clawinit::config::Config;
use clawinit::core::{
    Event, Limit, Next, Notice, Phase, StartFailure, State, Status, is_timeless, step,
};
use clawinit::signal::Signal;
use std::time::Duration;

const NOW: Duration = Duration::from_secs(100);

fn phases() -> [Phase; 8] {
    let limit = Limit::Kill(Duration::from_secs(120));
    [
        Phase::Starting,
        Phase::Running,
        Phase::Stopping { tell: None, limit },
        Phase::Restarting { limit: Some(limit), since: NOW },
        Phase::Failing { limit: Some(limit) },
        Phase::Sweeping { next: Next::Leave, limit },
        Phase::Backoff { until: Duration::from_secs(120) },
        Phase::Exited { code: 3 },
    ]
}

fn events() -> [Event; 11] {
    [
        Event::Forward(Signal::HUP),
        Event::Reaped { leftovers: true },
        Event::Reaped { leftovers: false },
        Event::Stop(Signal::TERM),
        Event::Restart(Signal::USR1),
        Event::Spawned(7),
        Event::StartFailed(StartFailure { code: 125, temporary: true }),
        Event::ChildExited { status: Status::Exited(3), leftovers: true },
        Event::ChildStopped,
        Event::Notified(Notice::Alive),
        Event::DeadlinePassed,
    ]
}

#[test]
fn signals_to_pass_on_and_orphans_need_no_clock_while_a_child_runs() {
    for phase in phases() {
        for child in [None, Some(7)] {
            for event in events() {
                let state = State { phase, child, ..State::new(1) };
                let runs = phase == Phase::Running && child.is_some();
                let comes_by_the_thousand =
                    matches!(event, Event::Forward(_) | Event::Reaped { .. });
                let timeless = is_timeless(&state, event);
                assert_eq!(timeless, runs && comes_by_the_thousand, "{phase:?}, {event:?}");
                if timeless {
                    let at = |now| {
                        let mut after = state;
                        let actions = step(&Config::new(), &mut after, now, event);
                        (after, actions.as_slice().to_vec())
                    };
                    assert_eq!(at(NOW), at(Duration::ZERO), "{event:?}");
                    assert_eq!(at(NOW).0, state, "{event:?}");
                }
            }
        }
    }
}
