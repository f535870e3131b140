//! How long to wait after a crash, and when to give up (invariant I12).

use crate::config::{Config, MAX_CRASHES};
use std::fmt;
use std::time::Duration;

/// The crashes since a generation was last stable.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Crashes {
    /// When they were, oldest first, in nanoseconds: a ring.
    times: [u64; MAX_CRASHES],
    next: u8,
    len: u8,
    /// How many in a row; the delay doubles with each.
    in_a_row: u32,
    /// Where the jitter comes from (xorshift64).
    seed: u64,
}

impl Crashes {
    /// None yet. Two inits with the same `seed` wait equally long.
    pub const fn new(seed: u64) -> Crashes {
        Crashes {
            times: [0; MAX_CRASHES],
            next: 0,
            len: 0,
            in_a_row: 0,
            seed: seed | 1, // xorshift stays at zero for ever
        }
    }

    /// How many in a row.
    pub const fn in_a_row(&self) -> u32 {
        self.in_a_row
    }

    /// A generation was stable: the past is forgiven.
    pub const fn forget(&mut self) {
        *self = Crashes::new(self.seed);
    }

    /// A crash at `now`. Whether that is one more than `--restart-limit` tolerates.
    #[must_use]
    pub fn record(&mut self, config: &Config, now: Duration) -> bool {
        let (limit, window) = config.restart_limit;
        let now = now.as_nanos() as u64;
        let window = window.as_nanos() as u64;
        let recent =
            (0..self.len).filter(|back| now.saturating_sub(self.time(*back)) <= window).count();
        self.times[usize::from(self.next)] = now;
        self.next = (self.next + 1) % MAX_CRASHES as u8;
        self.len = (self.len + 1).min(MAX_CRASHES as u8);
        self.in_a_row = self.in_a_row.saturating_add(1);
        recent >= usize::from(limit)
    }

    /// The wait after the crash just recorded: `--restart-delay`, doubled for each one before
    /// it in a row, at most `--restart-delay-max`, less up to a fifth, so that gateways that
    /// died together do not all come back together.
    pub fn delay(&mut self, config: &Config) -> Duration {
        let doublings = self.in_a_row.saturating_sub(1).min(31);
        let full =
            config.restart_delay.saturating_mul(1 << doublings).min(config.restart_delay_max);
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        let share = (self.seed % 201) as u32; // thousandths
        full - full / 1000 * share
    }

    /// When the crash `back` places before the last one was, in nanoseconds.
    fn time(&self, back: u8) -> u64 {
        let ring = MAX_CRASHES as u8;
        self.times[usize::from((self.next + ring - 1 - back) % ring)]
    }
}

impl fmt::Debug for Crashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} crashes, {} in a row", self.len, self.in_a_row)
    }
}
