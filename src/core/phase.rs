//! Where we are.

use super::backoff::Crashes;
use super::exit::End;
use crate::signal::Signal;
use std::time::Duration;

/// The state of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    /// The phase, with its deadlines.
    pub phase: Phase,
    /// The child, from its start until it is reaped; `None` in `Running`, `Stopping` and
    /// `Restarting` when its program goes on without it (`--exit-when all`).
    pub child: Option<i32>,
    /// Which generation lives, or lived last; 0 before the first.
    pub generation: u32,
    /// When it started.
    pub started: Duration,
    /// How the last generation ended.
    pub last: Option<End>,
    /// The stop that was asked for.
    pub stop: Option<Stop>,
    /// Why the next generation comes.
    pub cause: Option<Cause>,
    /// Restarts that came to a new generation, by cause: signal, code, crash.
    pub restarts: [u32; 3],
    /// Crashes since the last stable generation.
    pub crashes: Crashes,
    /// `--restart-limit` ended it.
    pub gave_up: bool,
    /// What the child says of itself.
    pub readiness: Readiness,
    /// When it was ready first, in this generation or since it was restarted in place.
    pub ready_since: Option<Duration>,
    /// In `Running`: when a word of the child is due, `READY=1` within the start grace or a sign
    /// of life within the watchdog's time. Its absence is a crash.
    pub due: Option<Duration>,
    /// The child was asked to end because that word did not come.
    pub failed: bool,
}

/// What a child says of itself (sd_notify(3)).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Readiness {
    /// Nothing is expected of it and nothing came: nobody knows.
    Unknown,
    /// It has not said `READY=1` yet.
    NotYet,
    /// It has.
    Ready,
    /// It starts anew inside its own process.
    Reloading,
    /// It is about to end.
    Stopping,
}

impl Readiness {
    /// All of them; each one's place is its number on the status page.
    pub const ALL: [Readiness; 5] = [
        Readiness::Unknown,
        Readiness::NotYet,
        Readiness::Ready,
        Readiness::Reloading,
        Readiness::Stopping,
    ];
}

/// The phases of DESIGN section 5.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Phase {
    /// A generation is being started. No signal is taken from the kernel's queue meanwhile.
    Starting,
    /// It runs.
    Running,
    /// A stop was asked for.
    Stopping {
        /// When the child is to be told (`--stop-delay`); `None`: it was.
        tell: Option<Duration>,
        /// Until when it has to be gone.
        limit: Limit,
    },
    /// A restart was asked for, and the child was told.
    Restarting {
        /// Until when it has to be gone, or ready anew (`--restart-style in-place`); `None`: it
        /// outlived even the kill wait.
        limit: Option<Limit>,
        /// When the request came.
        since: Duration,
    },
    /// The child failed to say that it is ready, or alive, and was asked to end. What follows is
    /// what follows a crash.
    Failing {
        /// As in `Restarting`.
        limit: Option<Limit>,
    },
    /// The child is gone and what it left is being ended.
    Sweeping {
        /// What comes then.
        next: Next,
        /// Until when they have to be gone.
        limit: Limit,
    },
    /// Waiting before the next generation.
    Backoff {
        /// When that is.
        until: Duration,
    },
    /// clawinit leaves.
    Exited {
        /// With this code.
        code: u8,
    },
}

/// A deadline, and what it means when it passes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Limit {
    /// Send SIGKILL.
    Kill(Duration),
    /// SIGKILL was sent; stop waiting for what it did not end.
    GiveUp(Duration),
}

impl Limit {
    /// When.
    pub const fn time(self) -> Duration {
        match self {
            Limit::Kill(at) | Limit::GiveUp(at) => at,
        }
    }
}

/// What follows a sweep.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Next {
    /// Leave.
    Leave,
    /// The next generation, not before this time.
    Generation(Duration),
}

/// Why a generation follows another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cause {
    /// Somebody sent a signal of `--restart-on`.
    Signal,
    /// The child left with a code of `--restart-code`.
    Code,
    /// It ended without having been asked to.
    Crash,
}

/// A stop that was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Stop {
    /// By this signal.
    pub signal: Signal,
    /// When.
    pub at: Duration,
    /// Everything has to be gone by then. Nothing moves it but the child's own request for more
    /// time, up to `--stop-grace-max`.
    pub deadline: Duration,
    /// SIGKILL was needed at that deadline.
    pub overdue: bool,
}

impl State {
    /// Before the first generation. `seed` is for the jitter of crash delays.
    pub const fn new(seed: u64) -> State {
        State {
            phase: Phase::Starting,
            child: None,
            generation: 0,
            started: Duration::ZERO,
            last: None,
            stop: None,
            cause: None,
            restarts: [0; 3],
            crashes: Crashes::new(seed),
            gave_up: false,
            readiness: Readiness::Unknown,
            ready_since: None,
            due: None,
            failed: false,
        }
    }

    /// How long the generation has been what `--stable-after` asks for at `now`: ready, where it
    /// says so or has to; alive otherwise, whatever else it says (`STOPPING=1` with `--watchdog`
    /// alone).
    pub fn steady(&self, has_to_say_so: bool, now: Duration) -> Duration {
        let since = match self.ready_since {
            None if !has_to_say_so => Some(self.started),
            ready_since => ready_since,
        };
        since.map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }

    /// When SIGKILL follows, or the end of the wait for its effect; in `Backoff` the next
    /// generation. `None`: never.
    pub fn limit(&self) -> Option<Duration> {
        match self.phase {
            Phase::Backoff { until } => Some(until),
            _ => self.ending().map(Limit::time),
        }
    }

    /// The deadline of the end that is under way.
    pub fn ending(&self) -> Option<Limit> {
        match self.phase {
            Phase::Stopping { limit, .. } | Phase::Sweeping { limit, .. } => Some(limit),
            Phase::Restarting { limit, .. } | Phase::Failing { limit } => limit,
            Phase::Starting | Phase::Running | Phase::Backoff { .. } | Phase::Exited { .. } => None,
        }
    }

    /// The nearest time at which something has to happen by itself; `None`: never.
    pub fn deadline(&self) -> Option<Duration> {
        match (self.phase, self.limit()) {
            (Phase::Stopping { tell: Some(tell), .. }, limit) => {
                Some(limit.map_or(tell, |at| at.min(tell)))
            }
            (Phase::Running, _) => self.due,
            (_, limit) => limit,
        }
    }
}
