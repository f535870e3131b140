//! Bytes as decisions: what is asked for behind their end is 0.

use std::time::Duration;

/// The bytes that are left.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub fn number(&mut self) -> u64 {
        self.take(8).iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// The next bytes, as many as there are.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Some bytes, by a length before them.
    pub fn some(&mut self) -> &'a [u8] {
        let count = self.byte();
        self.take(count.into())
    }

    pub fn choose<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.byte()) % all.len()]
    }

    /// None, a moment, some seconds, or as long as any option can ask for.
    pub fn time(&mut self) -> Duration {
        match self.byte() % 8 {
            0 | 1 => Duration::ZERO,
            2 => Duration::from_nanos(self.byte().into()),
            3 => Duration::from_millis(self.byte().into()),
            4..=6 => Duration::from_secs(self.byte().into()),
            _ => Duration::from_millis(self.number() % (366 * 86_400_000)),
        }
    }

    pub fn code(&mut self) -> u8 {
        match self.byte() % 8 {
            0 => self.byte(),
            n => [0, 1, 75, 78, 127, 137, 143][usize::from(n) - 1],
        }
    }
}
