//! What outlives a generation: `state.json` in the state folder.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::files;

/// The file's name in the state folder.
pub const FILE: &str = "state.json";

/// Where a generation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It serves; or it was killed, when nobody holds the lock.
    Running,
    /// It was asked to stop or to restart, and drains.
    Stopping,
    /// It ended in order.
    Stopped,
}

/// Why the last generation ended in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// SIGTERM, SIGINT or SIGQUIT.
    #[serde(rename = "graceful shutdown")]
    Stop,
    /// SIGUSR1.
    #[serde(rename = "restart requested")]
    Restart,
}

impl Reason {
    /// The words that the verbs print and the file holds.
    pub fn words(self) -> &'static str {
        match self {
            Self::Stop => "graceful shutdown",
            Self::Restart => "restart requested",
        }
    }
}

/// How the closed memory file looked. While it still looks so, nobody has touched it
/// and it need not be checked page by page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Length in bytes.
    pub bytes: u64,
    /// Time of the last change, nanoseconds since 1970.
    pub modified_ns: u64,
}

impl Stamp {
    /// The stamp of the file at `path`; none when it cannot be told.
    pub fn of(path: &Path) -> Option<Self> {
        let meta = std::fs::metadata(path).ok()?;
        let modified = meta.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(Self { bytes: meta.len(), modified_ns: u64::try_from(modified.as_nanos()).ok()? })
    }
}

/// How generations ended, counted over all starts on the folder. A process cannot count
/// its own end, and its counters die with it: the next one counts it, at its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// In order, by a stop.
    pub stop: u64,
    /// In order, by a restart.
    pub restart: u64,
    /// Any other way: killed, crashed, without power, or unable to write that it ended.
    pub killed: u64,
}

impl Ended {
    /// With the end of the generation that left `state`.
    pub fn with(mut self, state: &State) -> Self {
        let count = match (state.status, state.reason) {
            (Status::Stopped, Some(Reason::Stop)) => &mut self.stop,
            (Status::Stopped, Some(Reason::Restart)) => &mut self.restart,
            (Status::Stopped, None) | (Status::Running | Status::Stopping, _) => &mut self.killed,
        };
        *count = count.saturating_add(1);
        self
    }
}

/// The contents of `state.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Where the generation stands.
    pub status: Status,
    /// Why it ended, or is about to.
    pub reason: Option<Reason>,
    /// Counts the starts on this folder, from 1.
    pub generation: u64,
    /// Time served by all generations together, up to `saved_at`.
    pub uptime_ms: u64,
    /// The process, as its own PID namespace counts.
    pub pid: u32,
    /// The port that it listened on.
    pub port: u16,
    /// When this generation started, seconds since 1970.
    pub started_at: u64,
    /// When this was written, seconds since 1970.
    pub saved_at: u64,
    /// How long the drain took that ended this generation, or the one before it.
    pub drain_ms: Option<u64>,
    /// How long that drain took to bring the state to the disk. Whoever asks for metrics
    /// never sees a save at the end of its own process, so the next generation tells of it.
    pub save_us: Option<u64>,
    /// How the generations before this one ended; none did in a file of an older gateway.
    #[serde(default)]
    pub ended: Ended,
    /// How the memory file looked when it was closed in order.
    pub memory: Option<Stamp>,
}

/// What was found in the state folder.
pub enum Found {
    /// Nothing: the first start.
    Nothing,
    /// The last generation's state.
    State(Box<State>),
    /// Something that is no state, and what is wrong with it.
    Damaged(String),
}

/// Reads the state file in `folder`. An error means that the file is there and cannot
/// be read.
pub fn read(folder: &Path) -> io::Result<Found> {
    match std::fs::read(folder.join(FILE)) {
        Ok(bytes) => Ok(match serde_json::from_slice(&bytes) {
            Ok(state) => Found::State(Box::new(state)),
            Err(error) => Found::Damaged(error.to_string()),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) => Err(error),
    }
}

/// Reads the state for a start: a damaged file is set aside and said so.
pub fn take_over(folder: &Path) -> io::Result<Option<State>> {
    match read(folder)? {
        Found::Nothing => Ok(None),
        Found::State(state) => Ok(Some(*state)),
        Found::Damaged(wrong) => {
            let path = folder.join(FILE);
            let aside: PathBuf = files::set_aside(&path)?;
            log::warn!(
                "state file {} is damaged ({wrong}); set aside as {}; \
                 generation and uptime count from the beginning",
                path.display(),
                aside.display()
            );
            Ok(None)
        }
    }
}

impl State {
    /// The state of a generation that begins, on `port`, after the one that left `last`.
    pub fn following(last: Option<&State>, port: u16) -> Self {
        let now = files::unix_seconds();
        // One that was killed had no drain to tell of; what its file says is an older one's.
        let drained = last.filter(|last| last.status == Status::Stopped);
        Self {
            status: Status::Running,
            reason: None,
            generation: last.map_or(1, |last| last.generation.saturating_add(1)),
            uptime_ms: last.map_or(0, |last| last.uptime_ms),
            pid: std::process::id(),
            port,
            started_at: now,
            saved_at: now,
            drain_ms: drained.and_then(|last| last.drain_ms),
            save_us: drained.and_then(|last| last.save_us),
            ended: last.map_or_else(Ended::default, |last| last.ended.with(last)),
            memory: None,
        }
    }

    /// Time served by all generations together, when this one has gone on for `more`. What a disk
    /// or a person left in the file may be any number.
    pub fn served(&self, more: Duration) -> u64 {
        self.uptime_ms.saturating_add(u64::try_from(more.as_millis()).unwrap_or(u64::MAX))
    }

    /// Why the generation ended, when nobody holds the lock.
    pub fn ending(&self) -> &'static str {
        match (self.status, self.reason) {
            (Status::Stopped, Some(reason)) => reason.words(),
            (Status::Stopped | Status::Running | Status::Stopping, _) => "killed",
        }
    }

    /// Writes the file, whole or not at all, and says how long that took.
    pub fn save(&self, folder: &Path) -> io::Result<Duration> {
        let begun = Instant::now();
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        files::replace(&folder.join(FILE), &bytes)?;
        Ok(begun.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_at_their_end_stay_there() {
        for (status, reason) in [
            (Status::Stopped, Some(Reason::Stop)),
            (Status::Stopped, Some(Reason::Restart)),
            (Status::Running, None),
        ] {
            let ended = Ended { stop: u64::MAX, restart: u64::MAX, killed: u64::MAX };
            let last = State {
                status,
                reason,
                generation: u64::MAX,
                uptime_ms: u64::MAX,
                ended,
                ..State::following(None, 1)
            };
            let next = State::following(Some(&last), 1);
            assert_eq!((next.generation, next.ended), (u64::MAX, ended));
            assert_eq!(next.served(Duration::from_secs(1)), u64::MAX);
        }
    }
}
