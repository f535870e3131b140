//! `--port`: how long a stop or restart leaves the port taken, and by whom.
//!
//! The kernel tells nobody without CAP_NET_ADMIN when a socket is closed, so this looks every
//! few milliseconds, but only between a request and its end, and only when it was asked for.

use crate::kernel::port;
use std::time::Duration;

/// How often to look. Thirty times finer than the warning threshold of DESIGN section 6.
const INTERVAL: Duration = Duration::from_millis(20);

/// A port under watch.
pub struct PortWatch {
    port: u16,
    since: Option<Duration>,
    next_look: Duration,
}

impl PortWatch {
    /// Nothing is looked at before [`begin`](Self::begin).
    pub fn new(port: u16) -> PortWatch {
        PortWatch { port, since: None, next_look: Duration::ZERO }
    }

    /// A stop or restart began; a second request changes nothing.
    pub fn begin(&mut self, now: Duration) {
        if self.since.is_none() && port::listener(self.port).is_some() {
            self.since = Some(now);
            self.next_look = now + INTERVAL;
        }
    }

    /// When to look next.
    pub fn deadline(&self) -> Option<Duration> {
        self.since.map(|_| self.next_look)
    }

    /// Looks, if it is time: how long the port stayed taken, once it is free.
    pub fn look(&mut self, now: Duration) -> Option<Duration> {
        let since = self.since.filter(|_| now >= self.next_look)?;
        self.next_look = now + INTERVAL;
        if port::listener(self.port).is_some() {
            return None;
        }
        self.since = None;
        Some(now.saturating_sub(since))
    }

    /// The last look, before the next generation or the end: as `look`, or who still holds it.
    pub fn finish(&mut self, now: Duration) -> Option<Result<Duration, String>> {
        let since = self.since.take()?;
        Some(match port::listener(self.port) {
            None => Ok(now.saturating_sub(since)),
            Some(inode) => Err(match port::holder(inode) {
                Some((pid, name)) => format!("pid {pid} ({name})"),
                None => "a process that clawinit may not see".to_owned(),
            }),
        })
    }

    /// Its number.
    pub fn port(&self) -> u16 {
        self.port
    }
}
