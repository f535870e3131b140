//! The status page: what clawinit is doing, written by PID 1, read by everyone else.
//!
//! A page of memory with a name, which other processes find among the descriptors of PID 1
//! (`/proc/PID/fd`) and read. PID 1 needs no socket and no writable path for it, an update is a
//! few stores to memory, and nobody who reads can hold it up. `layout.rs` says where what is,
//! `write.rs` is PID 1's half, `read.rs` that of the verbs and the exporter; `json.rs` and `text.rs`
//! show what was read.

pub mod json;
pub mod layout;
pub mod read;
pub mod text;
pub mod write;

use std::ffi::CStr;

/// The page's name; `/proc/PID/fd/N` is a link to `/memfd:clawinit-status (deleted)`.
pub const NAME: &CStr = c"clawinit-status";

/// A phase without its deadlines, by its number on the page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // named as in `core::Phase`
pub enum Phase {
    Starting,
    Running,
    Stopping,
    Restarting,
    Sweeping,
    Backoff,
    Exited,
    Failing,
}

impl Phase {
    /// All of them; each one's place is its number.
    pub const ALL: [Phase; 8] = [
        Phase::Starting,
        Phase::Running,
        Phase::Stopping,
        Phase::Restarting,
        Phase::Sweeping,
        Phase::Backoff,
        Phase::Exited,
        Phase::Failing,
    ];

    /// Its name, in lower case, for people and for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Running => "running",
            Phase::Stopping => "stopping",
            Phase::Restarting => "restarting",
            Phase::Sweeping => "sweeping",
            Phase::Backoff => "backoff",
            Phase::Exited => "exited",
            Phase::Failing => "failing",
        }
    }
}

/// The two things that clawinit can be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Asked {
    Stop,
    Restart,
}

impl Asked {
    /// Both; each one's place is its number.
    pub const ALL: [Asked; 2] = [Asked::Stop, Asked::Restart];

    /// `stop` or `restart`.
    pub const fn name(self) -> &'static str {
        match self {
            Asked::Stop => "stop",
            Asked::Restart => "restart",
        }
    }
}

/// A time that is kept as a histogram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timed {
    /// From a stop request to clawinit's end.
    Stop,
    /// From a restart request (the child's exit, where its exit code asked) to the start of the
    /// next generation.
    Restart,
    /// From a stop or restart request to the signal that told the child: the stop delay, and
    /// what clawinit takes.
    FirstSignal,
    /// From a stop or restart request to the port of `--port` being free.
    PortRelease,
}

impl Timed {
    /// All of them; each one's place is its number.
    pub const ALL: [Timed; 4] =
        [Timed::Stop, Timed::Restart, Timed::FirstSignal, Timed::PortRelease];
}

/// The upper bounds of the histograms' buckets, in milliseconds; one more is for what is longer.
/// The thresholds of the alert rules are among them (DESIGN section 6: 2, 3, 5 and 10 s).
pub const BOUNDS_MS: [u64; 13] =
    [1, 2, 5, 10, 50, 100, 500, 1_000, 2_000, 3_000, 5_000, 10_000, 30_000];
