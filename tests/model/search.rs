//! Every state that the machine can come to, breadth first, with an environment that does its
//! worst: children that exit with any code or never, leftovers that die or do not, starts that
//! fail, requests at any moment. The invariants of DESIGN section 5 are checked in each step,
//! those of one step by `core::invariants`, those of whole histories against a second, slower
//! book that is kept here.
//!
//! One nanosecond is one tick: a crash delay below a microsecond has no jitter, so the search
//! is exact.

use clawinit::config::{Config, ExitWhen, KillMode, Manners, RestartMode, RestartStyle};
use clawinit::core::{
    Action, Cause, End, Event, KILL_WAIT, Limit, Next, Note, Notice, Phase, StartFailure, State,
    Status, step,
};
use clawinit::signal::Signal;
use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const TICK: Duration = Duration::from_nanos(1);
/// The search starts here, so that ages can be looked back at.
const EPOCH: Duration = Duration::from_secs(1_000);
/// Generations are followed up to this one.
const GENERATIONS: u32 = 3;
/// The same where the child speaks, which multiplies the states; `make model` follows more.
const GENERATIONS_HEARD: u32 = 1;

fn ticks(n: u64) -> Duration {
    TICK * n as u32
}

fn small() -> Config {
    with_small_times(Config { is_pid1: true, ..Config::new() })
}

fn with_small_times(config: Config) -> Config {
    Config {
        stop_grace: ticks(4),
        restart_grace: ticks(3),
        sweep_grace: ticks(2),
        restart_delay: ticks(2),
        restart_delay_max: ticks(3),
        restart_limit: (2, ticks(6)),
        stable_after: ticks(3),
        ..config
    }
}

/// What a second book says about the history.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Book {
    /// When the first stop request came.
    stop: Option<Duration>,
    /// It came while clawinit was not leaving anyway, so it has a say in the exit code.
    stop_counts: bool,
    /// SIGKILL came at the stop's deadline.
    overdue: bool,
    /// A restart was asked for while this generation lived.
    restart_asked: Option<u32>,
    /// Crashes since the last stable generation.
    crashes: Vec<Duration>,
    in_a_row: u32,
    /// The last end.
    last: Option<End>,
    /// One crash was too many.
    gave_up: bool,
    /// It was asked to end for its own failure.
    failed: bool,
    /// Since when it does its work, as far as anybody knows.
    works_since: Option<Duration>,
    /// Whether other processes live that are the machine's to end.
    leftovers: bool,
}

#[derive(Clone)]
struct Node {
    state: State,
    book: Book,
    now: Duration,
}

/// What tells one state from another, as 128 bits of hash: times become distances from now, and
/// what is too old to matter is dropped.
fn key(config: &Config, node: &Node) -> u128 {
    let now = node.now;
    let rel = |at: Duration| at.as_nanos() as i64 - now.as_nanos() as i64;
    let limit = |l: Limit| (matches!(l, Limit::Kill(_)), rel(l.time()));
    let state = &node.state;
    let times = match state.phase {
        Phase::Starting | Phase::Running | Phase::Exited { .. } => (None, None),
        Phase::Stopping { tell, limit: l } => (tell.map(rel), Some(limit(l))),
        Phase::Restarting { limit: l, since } => {
            (config.restart_grace_max.map(|_| rel(since)), l.map(limit))
        }
        Phase::Failing { limit: l } => (None, l.map(limit)),
        Phase::Sweeping { next: Next::Leave, limit: l } => (None, Some(limit(l))),
        Phase::Sweeping { next: Next::Generation(at), limit: l } => {
            (Some(rel(at).max(0)), Some(limit(l)))
        }
        Phase::Backoff { until } => (Some(rel(until)), None),
    };
    let age = (now - state.started.min(now)).min(config.stable_after);
    let stop = state.stop.map(|s| (s.signal, rel(s.at), rel(s.deadline), s.overdue));
    let shape = (std::mem::discriminant(&state.phase), state.child.is_some(), state.generation);
    let steady = state.steady(now).min(config.stable_after);
    let words = (state.readiness, state.ready_since.is_some(), steady, state.due.map(rel));
    let mut book = node.book.clone();
    book.stop = book.stop.map(|at| EPOCH - (now - at));
    book.crashes.retain(|at| now - *at <= config.restart_limit.1);
    for at in &mut book.crashes {
        *at = EPOCH - (now - *at);
    }
    book.in_a_row = book.in_a_row.min(4);
    book.works_since = book.works_since.map(|at| EPOCH - (now - at).min(config.stable_after));
    let hash = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, shape, times, age, stop, words).hash(&mut hasher);
        (state.last, state.cause, state.failed, &book).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    hash(1) << 64 | hash(2)
}

/// What the world may do next.
fn events(config: &Config, node: &Node) -> Vec<Event> {
    let state = &node.state;
    if state.phase == Phase::Starting {
        return vec![
            Event::Spawned(7),
            Event::StartFailed(StartFailure { code: 125, temporary: true }),
            Event::StartFailed(StartFailure { code: 127, temporary: false }),
        ];
    }
    let usr1 = config.event(Signal::USR1);
    let mut events = vec![config.event(Signal::TERM), usr1, Event::Forward(Signal::HUP)];
    if state.child.is_some() {
        let kill = Status::Signaled { signal: Signal::KILL, core_dumped: false };
        let usr1 = Status::Signaled { signal: Signal::USR1, core_dumped: false };
        let mut ends = vec![Status::Exited(0), Status::Exited(1), Status::Exited(75), kill];
        if config.success_codes.contains(usr1.code()) {
            ends.push(usr1);
        }
        if config.no_restart_codes.contains(78) {
            ends.push(Status::Exited(78));
        }
        for status in ends {
            for leftovers in [false, true] {
                events.push(Event::ChildExited { status, leftovers });
            }
        }
        // Orphans come and go beside the child.
        events.push(Event::Reaped { leftovers: true });
        events.push(Event::ChildStopped);
    } else if node.book.leftovers {
        events.push(Event::Reaped { leftovers: true });
        events.push(Event::Reaped { leftovers: false });
    }
    let heard = config.hears() && (state.child.is_some() || state.phase == Phase::Running);
    if heard {
        let more = Notice::Extend(ticks(5));
        let all = [Notice::Ready, Notice::Reloading, Notice::Stopping, Notice::Alive];
        events.extend(all.into_iter().chain([Notice::Failed, more]).map(Event::Notified));
    }
    events
}

/// Section 3 of DESIGN, from the book alone.
fn expected_code(config: &Config, book: &Book) -> u8 {
    let (code, exited) = match book.last.expect("something was tried") {
        End::Reaped(Status::Exited(code)) => (code, true),
        End::Reaped(Status::Signaled { signal, .. }) => (128 + signal.number() as u8, false),
        End::NotStarted(code) => {
            return if book.stop_counts && !book.overdue {
                config.stop_exit_code.unwrap_or(code)
            } else {
                code
            };
        }
        End::Survived => return 137,
    };
    let gave_up = (book.gave_up || book.failed) && !book.stop_counts;
    match config.stop_exit_code {
        Some(wanted) if book.stop_counts && !book.overdue => wanted,
        _ if book.stop_counts && exited && config.restart_codes.contains(code) => 0,
        _ if config.success_codes.contains(code) => u8::from(gave_up),
        _ if code == 0 => u8::from(gave_up),
        _ => code,
    }
}

/// Takes one step and checks the history's invariants.
fn advance(config: &Config, node: &Node, now: Duration, event: Event) -> Node {
    let mut state = node.state;
    let mut book = node.book.clone();
    let before = node.state;
    let told =
        |what: &str| format!("{what}\nbefore {before:?}\n{event:?} {:?} later", now - node.now);

    // The book's side.
    let leaving = matches!(before.phase, Phase::Sweeping { next: Next::Leave, .. });
    if let Event::Stop(_) = event {
        book.stop.get_or_insert(now);
        book.stop_counts |= !leaving;
    }
    if let (Event::Restart(_), Phase::Running | Phase::Failing { .. }) = (event, before.phase) {
        book.restart_asked = Some(before.generation);
    }
    let mut crashed = false;
    let by_itself = matches!(before.phase, Phase::Running | Phase::Failing { .. });
    let mut verdict = |book: &mut Book, status: Status| {
        let works = book.works_since.map_or(Duration::ZERO, |since| now - since);
        let stable = works >= config.stable_after;
        let code = status.code();
        let asks = matches!(status, Status::Exited(c) if config.restart_codes.contains(c));
        let failed = book.failed || code != 0 && !config.success_codes.contains(code);
        let comes_back = by_itself
            && !book.gave_up
            && !config.no_restart_codes.contains(code)
            && match config.restart {
                RestartMode::Never => false,
                RestartMode::Request => asks,
                RestartMode::OnFailure => asks || failed,
                RestartMode::Always => true,
            };
        if stable && (comes_back || matches!(before.phase, Phase::Restarting { .. })) {
            book.crashes.clear();
            book.in_a_row = 0;
        }
        crashed = comes_back && !(asks && stable && !book.failed);
    };
    match event {
        Event::ChildExited { status, leftovers } => {
            book.last = Some(End::Reaped(status));
            book.leftovers = leftovers;
            verdict(&mut book, status);
        }
        Event::Reaped { leftovers } => {
            book.leftovers = leftovers && before.child.is_none();
            // Its program had gone on without it, and failed.
            if let (Phase::Failing { .. }, None, false, Some(End::Reaped(status))) =
                (before.phase, before.child, leftovers, book.last)
            {
                verdict(&mut book, status);
            }
        }
        Event::Spawned(_) => {
            book.failed = false;
            book.works_since = (!config.knows_readiness()).then_some(now);
        }
        // In place it is a new beginning.
        Event::Notified(Notice::Ready)
            if before.phase != Phase::Running
                && config.restart_style == RestartStyle::InPlace
                && matches!(
                    before.phase,
                    Phase::Restarting { limit: Some(Limit::Kill(_)), .. }
                ) =>
        {
            book.works_since = Some(now);
            book.restart_asked = None;
        }
        Event::Notified(Notice::Ready) if before.phase == Phase::Running => {
            book.works_since.get_or_insert(now);
        }
        Event::Notified(Notice::Failed) if before.phase == Phase::Running => book.failed = true,
        Event::DeadlinePassed if before.phase == Phase::Running => {
            assert!(before.due.is_some_and(|due| now >= due), "{}", told("I13: nothing was due"));
            book.failed = true;
        }
        Event::StartFailed(failure) => {
            book.last = Some(End::NotStarted(failure.code));
            crashed = before.stop.is_none() && (failure.temporary || before.generation > 0);
        }
        _ => {}
    }
    let mut too_many = false;
    if crashed {
        let (limit, window) = config.restart_limit;
        let recent = book.crashes.iter().filter(|at| now - **at <= window).count();
        too_many = recent >= usize::from(limit);
        book.crashes.push(now);
        book.in_a_row += 1;
    }

    // The machine's side; one-step invariants are asserted inside.
    let actions = step(config, &mut state, now, event);
    let actions = actions.as_slice();
    let kills = actions.iter().any(|a| matches!(a, Action::Kill | Action::KillLeftovers));
    if event == Event::DeadlinePassed
        && kills
        && let Some(stop) = state.stop
    {
        book.overdue |= now >= stop.deadline;
    }
    if event == Event::DeadlinePassed
        && matches!(before.phase, Phase::Stopping { limit: Limit::GiveUp(at), .. } if now >= at)
    {
        book.last = Some(End::Survived);
    }
    if event == Event::DeadlinePassed
        && matches!(before.phase, Phase::Failing { limit: Some(Limit::GiveUp(at)) } if now >= at)
        && !config.restarts_after_crashes()
    {
        book.last = Some(End::Survived);
    }

    let gave_up = actions.contains(&Action::Note(Note::RestartLimit));
    assert_eq!(gave_up, too_many, "{}", told("I12: the limit follows from the times alone"));
    book.gave_up |= gave_up;
    if let Event::Spawned(_) = event {
        book.gave_up = false; // it was asked for all the same
    }
    // What it was asked to end for is over once it is ready anew.
    let in_place = |a: &Action| matches!(a, Action::Note(Note::RestartedInPlace { .. }));
    book.failed &= !actions.iter().any(in_place);
    for action in actions {
        if let Action::Note(Note::NextGeneration { cause, delay }) = action {
            let doubled = config.restart_delay * (1 << (book.in_a_row.saturating_sub(1)).min(8));
            let expected =
                if crashed { doubled.min(config.restart_delay_max) } else { Duration::ZERO };
            assert_eq!(*delay, expected, "{}", told("I12: the delay follows from the times alone"));
            // A start that failed is tried again for the reason that it was tried first.
            let asked_by_signal = match before.phase {
                Phase::Starting => before.cause == Some(Cause::Signal),
                phase => matches!(phase, Phase::Restarting { .. }),
            };
            assert_eq!(
                *cause == Cause::Signal,
                asked_by_signal,
                "{}",
                told("the cause is the one asked for")
            );
        }
    }
    if let (Phase::Exited { .. }, Some(Limit::GiveUp(_)), Some(stop)) =
        (state.phase, before.ending(), state.stop)
    {
        book.overdue |= now >= stop.deadline;
    }
    if let Phase::Exited { code } = state.phase {
        let after_start_failure = matches!(book.last, Some(End::NotStarted(_)));
        assert!(
            book.restart_asked.is_none() || book.stop.is_some() || after_start_failure,
            "{}",
            told("I11: a restart asked for in life leads to a generation")
        );
        assert_eq!(code, expected_code(config, &book), "{}", told("I10: the exit code"));
    }
    if let (Event::Spawned(_), Some(asked)) = (event, book.restart_asked) {
        assert_eq!(state.generation, asked + 1, "{}", told("I11: exactly one generation"));
        book.restart_asked = None;
    }
    if let Some(stop) = book.stop {
        let grace = config.stop_grace_max.unwrap_or(config.stop_grace);
        let bound = config.stop_delay + grace + KILL_WAIT;
        assert!(now <= stop + bound, "{}", told("I6: a stop is done within its bound"));
        assert!(
            matches!(state.phase, Phase::Exited { .. } | Phase::Starting)
                || state.deadline().is_some_and(|at| at <= stop + bound),
            "{}",
            told("I6: time alone ends a stop")
        );
        assert!(!matches!(event, Event::Spawned(_)) || before.phase == Phase::Starting);
    }
    if !matches!(state.phase, Phase::Sweeping { .. }) && state.child.is_some() {
        book.leftovers = false;
    }
    Node { state, book, now }
}

/// How many steps it may take, once a stop was asked for and nobody answers it: the start that was
/// under way, the end of the stop delay, SIGKILL, the end of the wait for its effect.
const STEPS_OF_A_STOP: usize = 4;

/// Liveness: from this state a stop leads to the end by time alone, whatever the start that was
/// under way comes to.
fn a_stop_ends(config: &Config, node: &Node) {
    let starts: &[Event] = match node.state.phase {
        Phase::Starting => {
            &[Event::Spawned(7), Event::StartFailed(StartFailure { code: 125, temporary: true })]
        }
        _ => &[Event::DeadlinePassed],
    };
    for start in starts {
        let (mut state, mut now) = (node.state, node.now);
        step(config, &mut state, now, Event::Stop(Signal::TERM));
        for _ in 0..STEPS_OF_A_STOP {
            let event = match state.phase {
                Phase::Exited { .. } => break,
                Phase::Starting => *start,
                _ => Event::DeadlinePassed,
            };
            now = state.deadline().map_or(now, |at| at.max(now));
            step(config, &mut state, now, event);
        }
        assert!(
            matches!(state.phase, Phase::Exited { .. }),
            "liveness: from every state a stop leads to the end\nfrom {:?}\nto {state:?}",
            node.state
        );
    }
}

/// An invariant was broken: what is searched beside it need not be searched to its end.
static BROKEN: AtomicBool = AtomicBool::new(false);

/// Raises [`BROKEN`] where a search panics.
struct Alarm;

impl Drop for Alarm {
    fn drop(&mut self) {
        BROKEN.fetch_or(std::thread::panicking(), Ordering::Relaxed);
    }
}

/// All states that can be reached; how many.
fn search(name: &str, config: &Config) -> usize {
    let _alarm = Alarm;
    let first = Node { state: State::new(1), book: Book::default(), now: EPOCH };
    let mut seen = HashSet::new();
    let mut queue = VecDeque::from([first.clone()]);
    seen.insert(key(config, &first));
    let mut steps = 0usize;
    let mut exited = 0usize;
    let more = std::env::var("GENERATIONS_HEARD").ok().and_then(|n| n.parse().ok());
    let last = if config.hears() { more.unwrap_or(GENERATIONS_HEARD) } else { GENERATIONS };
    while let Some(node) = queue.pop_front() {
        if BROKEN.load(Ordering::Relaxed) {
            return 0;
        }
        a_stop_ends(config, &node);
        let mut successors = Vec::new();
        for event in events(config, &node) {
            successors.push(advance(config, &node, node.now, event));
        }
        match node.state.deadline() {
            Some(at) => {
                assert!(at >= node.now || node.state.deadline() <= Some(node.now), "{at:?}");
                let at = at.max(node.now);
                successors.push(advance(config, &node, at, Event::DeadlinePassed));
                // Time may also pass without reaching it; the kill wait's ticks are too many.
                if at - node.now > TICK && at - node.now < ticks(50) {
                    successors.push(Node { now: node.now + TICK, ..node.clone() });
                }
            }
            // Nothing is due, so what matters is only how long it has lived and worked.
            None if node.state.phase == Phase::Running => {
                let lived = node.now - node.state.started;
                let works = node.state.steady(node.now);
                if lived < config.stable_after + TICK
                    || !works.is_zero() && works < config.stable_after + TICK
                {
                    successors.push(Node { now: node.now + TICK, ..node.clone() });
                }
            }
            None => {}
        }
        for next in successors {
            steps += 1;
            if matches!(next.state.phase, Phase::Exited { .. }) {
                exited += 1;
                continue;
            }
            if next.state.generation <= last && seen.insert(key(config, &next)) {
                queue.push_back(next);
            }
        }
    }
    assert!(exited > 0, "{name}: nothing ever ends");
    println!("{name}: {} states, {steps} steps, {exited} ways out", seen.len());
    seen.len()
}

#[test]
fn every_reachable_state_keeps_the_invariants() {
    let mut no_restart = small();
    no_restart.no_restart_codes.insert(78);
    let mut success = small();
    success.success_codes.insert(1);
    success.success_codes.insert(138);
    let mut zero_restarts = small();
    zero_restarts.restart_codes.insert(0);
    let heard = |config: Config| Config {
        start_grace: Some(ticks(3)),
        watchdog: Some(ticks(2)),
        notify: true,
        ..config
    };
    let configs = [
        ("ready or not", heard(small())),
        ("default", small()),
        ("never", Config { restart: RestartMode::Never, ..small() }),
        ("on-failure", Config { restart: RestartMode::OnFailure, ..no_restart }),
        ("always", Config { restart: RestartMode::Always, ..small() }),
        ("stop delay", Config { stop_delay: ticks(3), ..small() }),
        ("no grace", Config { stop_grace: ticks(0), restart_grace: ticks(0), ..small() }),
        ("long sweep", Config { sweep_grace: ticks(9), ..small() }),
        ("exit when all", Config { exit_when: ExitWhen::All, ..small() }),
        (
            "exit when all, delay",
            Config { exit_when: ExitWhen::All, stop_delay: ticks(2), ..small() },
        ),
        ("no sweep", Config { kill_mode: KillMode::Process, ..small() }),
        ("stop exit code", Config { stop_exit_code: Some(9), ..small() }),
        ("success codes", Config { restart: RestartMode::OnFailure, ..success }),
        ("restart code 0", zero_restarts),
        (
            "no crash tolerated",
            Config { restart: RestartMode::Always, restart_limit: (0, ticks(6)), ..small() },
        ),
        ("tini's manners", with_small_times(Config::transparent(Manners::Tini))),
        (
            "dumb-init's manners, not PID 1",
            with_small_times(Config::transparent(Manners::DumbInit)),
        ),
        ("ready or not, always", heard(Config { restart: RestartMode::Always, ..small() })),
        (
            "in place, extended",
            Config {
                restart_style: RestartStyle::InPlace,
                restart_grace_max: Some(ticks(5)),
                stop_grace_max: Some(ticks(6)),
                watchdog: None,
                ..heard(small())
            },
        ),
        (
            "watchdog alone, on-failure",
            Config {
                notify: false,
                start_grace: None,
                restart: RestartMode::OnFailure,
                ..heard(small())
            },
        ),
        ("ready or not, exit when all", heard(Config { exit_when: ExitWhen::All, ..small() })),
    ];
    // One thread for each processor; each takes the next configuration that is left.
    let next = AtomicUsize::new(0);
    let work = || {
        let one = || configs.get(next.fetch_add(1, Ordering::Relaxed));
        std::iter::from_fn(one).map(|(name, config)| search(name, config)).sum::<usize>()
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let total: usize = std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        all.into_iter().map(|one| one.join().expect("no invariant was broken")).sum()
    });
    println!("{total} states in all");
    assert!(total > 10_000, "the search shrank to {total} states: what can it not reach any more?");
}
