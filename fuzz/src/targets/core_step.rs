//! The state machine: any configuration, any events at any times. The invariants of each step are
//! asserted by `core::step` itself where debug assertions are on, as they are here.

use crate::input::Input;
use clawinit::config::{
    CodeSet, Config, ExitWhen, KillMode, MAX_CRASHES, Manners, RestartMode, RestartStyle,
};
use clawinit::core::{
    Action, Event, KILL_WAIT, Notice, Phase, StartFailure, State, Status, is_timeless, step,
};
use clawinit::signal::Signal;
use std::time::Duration;

/// More events than a stop ever needs: the start under way, the stop, the end of its delay, SIGKILL,
/// the end of the wait for its effect.
const MOST_STEPS: usize = 6;

/// Reads a configuration, then events until the bytes are used up, then asks for a stop.
pub fn core_step(data: &[u8]) {
    let mut input = Input(data);
    let config = config(&mut input);
    let mut state = State::new(input.number());
    let mut now = input.time();
    while !input.is_empty() && !has_left(&state) {
        now += input.time();
        let event = event(&mut input, &config, &mut now, &state);
        apply(&config, &mut state, now, event);
    }
    stop(&config, state, now, &mut input);
}

/// The same with a child that says these things of itself.
pub fn says(notices: impl Iterator<Item = Notice>, input: &mut Input) {
    let config = config(input);
    let mut state = State::new(1);
    let mut now = input.time();
    apply(&config, &mut state, now, Event::Spawned(7));
    for notice in notices {
        now += input.time();
        match input.byte() % 8 {
            0 => apply(&config, &mut state, now, Event::Restart(Signal::USR1)),
            1 => apply(&config, &mut state, now, Event::Stop(Signal::TERM)),
            2 => {
                if let Some(deadline) = state.deadline() {
                    now = now.max(deadline);
                    apply(&config, &mut state, now, Event::DeadlinePassed);
                }
            }
            _ => {}
        }
        apply(&config, &mut state, now, Event::Notified(notice));
    }
    stop(&config, state, now, input);
}

fn has_left(state: &State) -> bool {
    matches!(state.phase, Phase::Exited { .. })
}

/// A step, and what it says of the whole.
fn apply(config: &Config, state: &mut State, now: Duration, event: Event) {
    let before = *state;
    let actions = step(config, state, now, event);
    let actions = actions.as_slice();
    let spawns = actions.iter().filter(|action| **action == Action::Spawn).count();
    assert!(spawns <= 1, "{spawns} generations at once: {before:?} {event:?} {actions:?}");
    assert_eq!(
        spawns == 1,
        state.phase == Phase::Starting && (before.phase != Phase::Starting || spawns == 1),
        "Starting is where a generation is started: {before:?} {event:?} {state:?}"
    );
    if is_timeless(&before, event) {
        let mut later = before;
        let again = step(config, &mut later, now + Duration::from_secs(9), event);
        assert_eq!((later, again.as_slice()), (*state, actions), "timeless: {event:?}");
    }
    for (from, to) in before.restarts.iter().zip(state.restarts) {
        assert!(to == *from || to == from + 1, "restarts are counted one by one");
    }
}

/// Liveness: whatever came before, a stop that nobody answers ends in time, by deadlines alone.
fn stop(config: &Config, mut state: State, mut now: Duration, input: &mut Input) {
    let story = state;
    apply(config, &mut state, now, Event::Stop(Signal::TERM));
    // One that was asked for before, and that the child has extended, may have longer.
    let longest = now + config.stop_delay + config.stop_grace.max(config.sweep_grace);
    let bound = state.stop.map_or(longest, |stop| stop.deadline.max(longest)) + KILL_WAIT;
    for _ in 0..MOST_STEPS {
        if has_left(&state) {
            assert!(now <= bound, "left at {now:?}, not by {bound:?}: {story:?}");
            return;
        }
        let event = match state.phase {
            Phase::Starting if input.flag() => Event::StartFailed(failure(input)),
            Phase::Starting => Event::Spawned(7),
            _ => {
                let deadline = state.deadline();
                now = now.max(deadline.unwrap_or_else(|| panic!("no deadline: {state:?}")));
                Event::DeadlinePassed
            }
        };
        apply(config, &mut state, now, event);
    }
    assert!(has_left(&state), "{MOST_STEPS} steps did not do: {story:?}, then {state:?}");
}

fn event(input: &mut Input, config: &Config, now: &mut Duration, state: &State) -> Event {
    // Most of the time what can come, now and then what cannot.
    let likely = input.byte();
    match (state.phase, likely % 16) {
        (Phase::Starting, 0..=9) => return Event::Spawned(i32::from(input.byte()) + 2),
        (Phase::Starting, 10..=12) => return Event::StartFailed(failure(input)),
        (_, 0..=4) => {
            if let Some(deadline) = state.deadline() {
                *now = deadline.max(*now);
                return Event::DeadlinePassed;
            }
        }
        _ => {}
    }
    match input.byte() % 16 {
        12..=15 => Event::Notified(notice(input)),
        0 => Event::Stop(signal(input)),
        1 => Event::Restart(signal(input)),
        2 => Event::Forward(signal(input)),
        3 => config.event(signal(input)),
        4..=6 => Event::ChildExited { status: status(input), leftovers: input.flag() },
        7 | 8 => Event::Reaped { leftovers: input.flag() },
        9 => Event::ChildStopped,
        10 => Event::DeadlinePassed,
        _ if input.flag() => Event::StartFailed(failure(input)),
        // A second child cannot be there: it would have been started.
        _ if state.phase == Phase::Starting => Event::Spawned(9),
        _ => Event::DeadlinePassed,
    }
}

fn notice(input: &mut Input) -> Notice {
    match input.byte() % 8 {
        0 | 1 => Notice::Ready,
        2 => Notice::Reloading,
        3 => Notice::Stopping,
        4 => Notice::Alive,
        5 => Notice::Failed,
        _ => Notice::Extend(input.time()),
    }
}

fn signal(input: &mut Input) -> Signal {
    let usual = [Signal::TERM, Signal::USR1, Signal::HUP, Signal::INT, Signal::TSTP, Signal::TTIN];
    match input.byte() {
        byte @ 0..=191 => usual[usize::from(byte) % usual.len()],
        byte => Signal::new(i32::from(byte % 64) + 1).unwrap_or(Signal::TERM),
    }
}

fn status(input: &mut Input) -> Status {
    match input.flag() {
        true => Status::Signaled { signal: signal(input), core_dumped: input.flag() },
        false => Status::Exited(input.code()),
    }
}

fn failure(input: &mut Input) -> StartFailure {
    StartFailure { code: input.choose(&[125, 126, 127]), temporary: input.flag() }
}

fn codes(input: &mut Input) -> CodeSet {
    let mut set = CodeSet::EMPTY;
    for _ in 0..input.byte() % 4 {
        set.insert(input.code());
    }
    set
}

fn config(input: &mut Input) -> Config {
    let manners = [
        Manners::Clawinit,
        Manners::Clawinit,
        Manners::Tini,
        Manners::Catatonit,
        Manners::DumbInit,
    ];
    let mut config = match input.choose(&manners) {
        Manners::Clawinit => Config::new(),
        manners => Config::transparent(manners),
    };
    let kinds = input.byte();
    config.is_pid1 = kinds & 1 == 0;
    config.exit_when = if kinds & 2 == 0 { ExitWhen::Child } else { ExitWhen::All };
    config.kill_mode =
        [KillMode::Mixed, KillMode::Group, KillMode::Process][usize::from(kinds >> 2) % 3];
    config.restart =
        [RestartMode::Never, RestartMode::Request, RestartMode::OnFailure, RestartMode::Always]
            [usize::from(kinds >> 4) % 4];
    // Half of them as they are: what is rare alone is rarer together.
    let given = input.byte();
    let has = |bit: u8| given >> bit & 1 == 1;
    if has(0) {
        config.stop_grace = input.time();
        config.restart_grace = input.time();
        config.sweep_grace = input.time();
    }
    if has(1) {
        config.stop_delay = input.time();
    }
    if has(2) {
        config.restart_delay = input.time();
        config.restart_delay_max = config.restart_delay.max(input.time());
    }
    if has(3) {
        config.restart_limit = (input.byte() % (MAX_CRASHES as u8 + 1), input.time());
        config.stable_after = input.time();
    }
    if has(4) {
        config.restart_codes = codes(input);
    }
    if has(5) {
        config.no_restart_codes = codes(input);
        config.success_codes = codes(input);
        config.stop_exit_code = input.flag().then(|| input.code());
    }
    if has(6) {
        config.stop_signal = input.flag().then(|| signal(input));
        config.restart_signal = input.flag().then(|| signal(input));
    }
    let hears = input.byte();
    let has = |bit: u8| hears >> bit & 1 == 1;
    if has(0) {
        config.notify = true;
        config.start_grace = has(1).then(|| input.time());
        if has(2) {
            config.restart_style = RestartStyle::InPlace;
        }
    }
    if has(3) {
        config.watchdog = Some(input.time());
        config.watchdog_signal = input.flag().then(|| signal(input));
    }
    if has(4) && config.hears() {
        config.stop_grace_max = input.flag().then(|| config.stop_grace + input.time());
        config.restart_grace_max = input.flag().then(|| config.restart_grace + input.time());
    }
    if has(5) {
        let from = signal(input);
        config.map[from.number() as usize] = input.flag().then(|| signal(input));
    }
    config
}
