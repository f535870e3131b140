//! PID 1's half: a change is a few stores to memory, and never a system call.

use super::layout::{self as at, Field};
use super::{Asked, BOUNDS_MS, NAME, Phase, Timed};
use crate::kernel::Errno;
use crate::kernel::page::{Page, WORDS};
use crate::report::Asker;
use crate::signal::Signal;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

/// The page to write to; before [`Writer::open`] there is none, and nothing is kept.
#[derive(Default)]
pub struct Writer {
    words: Option<&'static [AtomicU64; WORDS]>,
    fd: Option<i32>,
}

impl Writer {
    /// Makes the page. Errors: those of [`Page::new`].
    pub fn open(&mut self) -> Result<(), Errno> {
        let page = Page::new(NAME)?;
        self.words = Some(page.words);
        self.fd = Some(page.fd);
        self.update(|w| {
            w.set(at::MAGIC, at::MAGIC_VALUE);
            w.set(at::LAYOUT, at::MAJOR << 48 | at::MINOR << 32 | (at::USED * 8) as u64);
            w.text(at::VERSION, env!("CARGO_PKG_VERSION").as_bytes());
        });
        Ok(())
    }

    /// The page's descriptor, for the exporter.
    pub fn fd(&self) -> Option<i32> {
        self.fd
    }

    /// Changes several fields: a reader sees all of it or nothing (a sequence lock).
    pub fn update(&self, change: impl FnOnce(&Words)) {
        let Some(words) = self.words else { return };
        let sequence = &words[at::SEQUENCE.at];
        let before = sequence.load(Ordering::Relaxed);
        sequence.store(before.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release); // no store below may be seen before that one
        change(&Words(words));
        sequence.store(before.wrapping_add(2), Ordering::Release);
    }

    /// Counts one more of something.
    pub fn count(&self, field: Field) {
        self.update(|w| w.add(field, 0, 1));
    }
}

/// The words, while they are being changed.
pub struct Words(&'static [AtomicU64; WORDS]);

impl Words {
    fn put(&self, word: usize, value: u64) {
        self.0[word].store(value, Ordering::Relaxed);
    }

    /// Sets a field of one word.
    pub fn set(&self, field: Field, value: u64) {
        self.put(field.at, value);
    }

    /// A time.
    pub fn time(&self, field: Field, time: Duration) {
        self.put(field.at, time.as_nanos() as u64);
    }

    /// Adds to the word at `place` of a field.
    pub fn add(&self, field: Field, place: usize, more: u64) {
        let word = &self.0[field.at + place];
        word.store(word.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    /// Sets the words of a field.
    pub fn list(&self, field: Field, values: impl IntoIterator<Item = u64>) {
        for (place, value) in values.into_iter().enumerate().take(field.words) {
            self.put(field.at + place, value);
        }
    }

    /// Text, with zero bytes behind it where there is room.
    pub fn text(&self, field: Field, text: &[u8]) {
        let room = &text[..text.len().min(field.words * 8)];
        for (place, chunk) in room.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.put(field.at + place, u64::from_ne_bytes(word));
        }
    }

    /// The phase, and when it began where it is another than before.
    pub fn phase(&self, phase: Phase, now: Duration) {
        let number = phase as u64;
        let same = self.0[at::PHASE.at].load(Ordering::Relaxed) == number;
        if !same || self.0[at::PHASE_SINCE.at].load(Ordering::Relaxed) == 0 {
            self.time(at::PHASE_SINCE, now);
        }
        self.set(at::PHASE, number);
    }

    /// A request that is acted on, and who made it.
    pub fn request(&self, asked: Asked, signal: Signal, now: Duration, asker: Option<Asker>) {
        let field = match asked {
            Asked::Stop => at::STOP,
            Asked::Restart => at::RESTART,
        };
        let part = |place, words| Field { at: field.at + place, words };
        let pid = asker.and_then(|asker| asker.pid).map_or(u64::MAX, |pid| pid as u64);
        let command = asker.as_ref().map_or(&b""[..], |asker| asker.bytes());
        self.set(part(at::REQUEST_SIGNAL, 1), signal.number() as u64);
        self.time(part(at::REQUEST_AT, 1), now);
        self.set(part(at::REQUEST_PID, 1), pid);
        self.set(part(at::REQUEST_UID, 1), asker.map_or(0, |asker| asker.uid.into()));
        self.set(part(at::REQUEST_LENGTH, 1), command.len() as u64);
        self.text(part(at::REQUEST_COMMAND, at::REQUEST_COMMAND_WORDS), command);
        self.add(at::REQUESTS, asked as usize, 1);
    }

    /// Counts a time in its histogram.
    pub fn observe(&self, timed: Timed, time: Duration) {
        let bucket = BOUNDS_MS.iter().position(|ms| time <= Duration::from_millis(*ms));
        let first = timed as usize * at::HISTOGRAM_WORDS;
        self.add(at::HISTOGRAMS, first + bucket.unwrap_or(BOUNDS_MS.len()), 1);
        self.add(at::HISTOGRAMS, first + at::BUCKETS, time.as_nanos() as u64);
    }
}
