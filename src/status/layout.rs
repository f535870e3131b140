//! Where what is on the page: words of eight bytes in the machine's own order.
//!
//! A later version may add fields at the end; it raises `MINOR`, and the length that the page
//! tells. What a reader does not know it passes over, and what a page does not have is absent
//! for the reader. A change of anything else raises `MAJOR`, and older readers say so.

use super::{BOUNDS_MS, Timed};
use crate::kernel::page;
use crate::signal;

/// "CLAWPAGE": this is a status page.
pub const MAGIC_VALUE: u64 = u64::from_be_bytes(*b"CLAWPAGE");

/// Raised when a field moves or changes its meaning.
pub const MAJOR: u64 = 1;

/// Raised when fields are added.
pub const MINOR: u64 = 1;

/// A field: its first word, and how many there are.
#[derive(Clone, Copy)]
pub struct Field {
    /// Its first word.
    pub at: usize,
    /// Its length in words.
    pub words: usize,
}

impl Field {
    /// The field of this many words behind this one.
    const fn then(self, words: usize) -> Field {
        Field { at: self.at + self.words, words }
    }
}

/// [`MAGIC_VALUE`].
pub const MAGIC: Field = Field { at: 0, words: 1 };
/// Odd while the page is being written; every change raises it.
pub const SEQUENCE: Field = MAGIC.then(1);
/// `MAJOR << 48 | MINOR << 32 | length of the page's used part in bytes`.
pub const LAYOUT: Field = SEQUENCE.then(1);
/// clawinit's version, text with zero bytes behind it.
pub const VERSION: Field = LAYOUT.then(2);
/// clawinit's own pid, in its namespace.
pub const PID: Field = VERSION.then(1);
/// When it started, in nanoseconds of CLOCK_MONOTONIC, as all times here but two.
pub const BORN: Field = PID.then(1);
/// The same in nanoseconds since 1970-01-01 UTC.
pub const BORN_REALTIME: Field = BORN.then(1);

/// Its phase: a place in `Phase::ALL`.
pub const PHASE: Field = BORN_REALTIME.then(1);
/// When that began.
pub const PHASE_SINCE: Field = PHASE.then(1);
/// When SIGKILL follows, or the next generation in `backoff`; 0: never.
pub const DEADLINE: Field = PHASE_SINCE.then(1);
/// The child's pid; 0: there is none.
pub const CHILD: Field = DEADLINE.then(1);
/// Which generation lives or lived last, from 1.
pub const GENERATION: Field = CHILD.then(1);
/// When it started.
pub const GENERATION_BORN: Field = GENERATION.then(1);
/// Restarts that came to a new generation, by `core::Cause`: signal, code, crash.
pub const RESTARTS: Field = GENERATION_BORN.then(3);
/// Crashes since the last stable generation.
pub const CRASHES: Field = RESTARTS.then(1);

/// How the last generation ended: [`END_NONE`] and its sisters.
pub const LAST_KIND: Field = CRASHES.then(1);
/// Its exit code, or the signal's number.
pub const LAST_VALUE: Field = LAST_KIND.then(1);
/// [`FLAG_CORE`], [`FLAG_OOM`].
pub const LAST_FLAGS: Field = LAST_VALUE.then(1);
/// Which generation that was.
pub const LAST_GENERATION: Field = LAST_FLAGS.then(1);
/// How long it had lived, in nanoseconds.
pub const LAST_LIVED: Field = LAST_GENERATION.then(1);
/// When it ended, in nanoseconds since 1970-01-01 UTC.
pub const LAST_REALTIME: Field = LAST_LIVED.then(1);

/// There was no end yet.
pub const END_NONE: u64 = 0;
/// It exited with a code.
pub const END_EXITED: u64 = 1;
/// A signal ended it.
pub const END_SIGNALED: u64 = 2;
/// It could not be started; the code says why.
pub const END_NOT_STARTED: u64 = 3;
/// SIGKILL did not end it.
pub const END_SURVIVED: u64 = 4;
/// It left a core dump.
pub const FLAG_CORE: u64 = 1;
/// The kernel's OOM killer ended it.
pub const FLAG_OOM: u64 = 2;

/// What clawinit leaves with, plus one; 0: it has not left.
pub const EXIT_CODE: Field = LAST_REALTIME.then(1);

/// The last stop request: [`REQUEST_WORDS`] words, by the `REQUEST_` offsets.
pub const STOP: Field = EXIT_CODE.then(REQUEST_WORDS);
/// The last restart request by signal, as [`STOP`].
pub const RESTART: Field = STOP.then(REQUEST_WORDS);

/// The signal's number; 0: there was no such request.
pub const REQUEST_SIGNAL: usize = 0;
/// When it came.
pub const REQUEST_AT: usize = 1;
/// The sender's pid, 0 for one outside the container; all ones: the kernel.
pub const REQUEST_PID: usize = 2;
/// The sender's user.
pub const REQUEST_UID: usize = 3;
/// How many bytes of its command line follow, in `REQUEST_COMMAND_WORDS` words.
pub const REQUEST_LENGTH: usize = 4;
/// The first of them.
pub const REQUEST_COMMAND: usize = 5;
/// Room for `report::Asker::KEPT` bytes.
pub const REQUEST_COMMAND_WORDS: usize = 20;
/// All of it.
pub const REQUEST_WORDS: usize = REQUEST_COMMAND + REQUEST_COMMAND_WORDS;

/// Requests that were acted on, by `Asked`.
pub const REQUESTS: Field = RESTART.then(2);
/// Those of them that were done in their grace, without SIGKILL.
pub const REQUESTS_DONE: Field = REQUESTS.then(2);
/// Processes reaped that were not the child.
pub const REAPED: Field = REQUESTS_DONE.then(1);
/// How often a deadline passed and SIGKILL was sent.
pub const ESCALATIONS: Field = REAPED.then(1);
/// Processes that got SIGKILL.
pub const KILLED: Field = ESCALATIONS.then(1);
/// Processes that the child left and that were told to end.
pub const SWEPT: Field = KILLED.then(1);
/// Those of them that the sweep under way, or the last one, has told and not yet seen end.
pub const LEFTOVERS: Field = SWEPT.then(1);
/// Generations that the kernel's OOM killer ended.
pub const OOM_KILLS: Field = LEFTOVERS.then(1);
/// Log lines that nobody read in time.
pub const DROPPED: Field = OOM_KILLS.then(1);

/// The stop delay, in nanoseconds.
pub const STOP_DELAY: Field = DROPPED.then(1);
/// The stop grace, in nanoseconds.
pub const STOP_GRACE: Field = STOP_DELAY.then(1);
/// The restart grace, in nanoseconds.
pub const RESTART_GRACE: Field = STOP_GRACE.then(1);
/// `--stable-after`, in nanoseconds.
pub const STABLE_AFTER: Field = RESTART_GRACE.then(1);
/// The signal that asks for a stop, the lowest of `--stop-on`; SIGTERM where that is one of
/// them; 0: none does.
pub const STOP_BY: Field = STABLE_AFTER.then(1);
/// The same of `--restart-on`, SIGUSR1 before others.
pub const RESTART_BY: Field = STOP_BY.then(1);
/// The port of `--port`; 0: none.
pub const PORT: Field = RESTART_BY.then(1);

/// The exporter's pid; 0: it does not run.
pub const EXPORTER: Field = PORT.then(1);
/// How often it was started again.
pub const EXPORTER_RESTARTS: Field = EXPORTER.then(1);

/// Signals received, by number; SIGCHLD, which coalesces, is not counted.
pub const RECEIVED: Field = EXPORTER_RESTARTS.then(signal::MAX as usize + 1);
/// Signals that were forwarded, by the number that was received.
pub const FORWARDED: Field = RECEIVED.then(signal::MAX as usize + 1);

/// The histograms of `Timed`: for each the buckets, then the sum in nanoseconds.
pub const HISTOGRAMS: Field = FORWARDED.then(HISTOGRAM_WORDS * Timed::ALL.len());
/// A histogram's buckets: each counts what fits under its bound and no lower one.
pub const BUCKETS: usize = BOUNDS_MS.len() + 1;
/// Buckets and sum.
pub const HISTOGRAM_WORDS: usize = BUCKETS + 1;

/// How many bytes of the command follow.
pub const COMMAND_LENGTH: Field = HISTOGRAMS.then(1);
/// The child's command and arguments with zero bytes between them, as much as fits.
pub const COMMAND: Field = COMMAND_LENGTH.then(80);

/// When an exporter that has ended is started again; 0: it runs, or none is wanted.
pub const EXPORTER_DUE: Field = COMMAND.then(1);

/// Since minor 1. Whether somebody tells when the child is ready.
pub const KNOWS_READINESS: Field = EXPORTER_DUE.then(1);
/// What the child says of itself: a place in `core::Readiness`.
pub const READINESS: Field = KNOWS_READINESS.then(1);
/// When it was ready first; 0: it was not.
pub const READY_SINCE: Field = READINESS.then(1);
/// `--watchdog`, in nanoseconds; 0: none.
pub const WATCHDOG: Field = READY_SINCE.then(1);
/// `--start-grace`, in nanoseconds; 0: none.
pub const START_GRACE: Field = WATCHDOG.then(1);
/// Generations that were ended because no sign of life came.
pub const HUNG: Field = START_GRACE.then(1);
/// Generations that were ended because they were not ready in time.
pub const NOT_READY: Field = HUNG.then(1);
/// Notifications that came (sd_notify(3)).
pub const NOTICES: Field = NOT_READY.then(1);
/// Those of them whose sender does not speak for the child.
pub const NOTICES_REFUSED: Field = NOTICES.then(1);
/// How many sockets of `--listen` clawinit began with.
pub const SOCKETS: Field = NOTICES_REFUSED.then(1);
/// What the deadline of an end means: [`KILL_FOLLOWS`], [`KILL_SENT`]; 0: there is none.
pub const KILL: Field = SOCKETS.then(1);
/// SIGKILL.
pub const KILL_FOLLOWS: u64 = 1;
/// The end of the wait for its effect.
pub const KILL_SENT: u64 = 2;
/// STATUS= of the child, text with zero bytes behind it.
pub const STATUS_TEXT: Field = KILL.then(16);
/// In `failing`, what the generation has failed to do: a place in `report::Fault`, plus one; 0:
/// nothing.
pub const FAULT: Field = STATUS_TEXT.then(1);
/// The same of the generation that ended last.
pub const LAST_FAULT: Field = FAULT.then(1);

/// The pid of who asks `--ready-url`; 0: nobody does.
pub const PROBER: Field = LAST_FAULT.then(1);

/// How many words are used.
pub const USED: usize = PROBER.at + PROBER.words;

const _: () = assert!(USED <= page::WORDS);
const _: () = assert!(crate::report::Asker::KEPT == REQUEST_COMMAND_WORDS * 8);
