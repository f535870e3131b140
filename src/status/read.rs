//! The readers' half: a copy of the page, and what it says.

use super::layout::{self as at, Field};
use super::{Phase, Timed};
use crate::core::{End, Readiness, Status};
use crate::report::{Asker, Fault};
use crate::signal::{self, Signal};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

/// How much of a page is read: all that this version knows, which is at its beginning.
const KNOWN_BYTES: usize = at::USED * 8;

/// How long to try for a page that is not being written at that moment. A change takes
/// nanoseconds; PID 1 would have to be stopped in the midst of one, or to wait for a processor.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why a page cannot be read.
#[derive(Debug)]
pub enum Unreadable {
    /// The kernel says so.
    Io(io::Error),
    /// It is no status page.
    NoPage,
    /// A clawinit of another generation of layouts wrote it.
    OtherLayout {
        /// Its `MAJOR`.
        major: u64,
    },
    /// It stayed half written: PID 1 was stopped in the midst of a change.
    Busy,
}

/// What the page said at one moment. Times are those of CLOCK_MONOTONIC unless said otherwise.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// clawinit's version.
    pub version: String,
    /// Its pid, in its own namespace.
    pub pid: i32,
    /// When it started.
    pub born: Duration,
    /// The same, since 1970-01-01 UTC.
    pub born_realtime: Duration,
    /// Its phase; `None`: one that this version does not know.
    pub phase: Option<Phase>,
    /// When that began.
    pub phase_since: Duration,
    /// When SIGKILL follows, or the next generation in `backoff`.
    pub deadline: Option<Duration>,
    /// The child's pid.
    pub child: Option<i32>,
    /// Its command line, zero bytes between the words; long ones are cut.
    pub command: Vec<u8>,
    /// Which generation lives or lived last, from 1.
    pub generation: u64,
    /// When it started.
    pub generation_born: Duration,
    /// Restarts by cause: signal, code, crash.
    pub restarts: [u64; 3],
    /// Crashes since the last stable generation.
    pub crashes_in_a_row: u64,
    /// How the last generation ended.
    pub last: Option<LastEnd>,
    /// What clawinit left with; `None`: it lives.
    pub exit_code: Option<u8>,
    /// The last stop request, and the last restart request by signal.
    pub stop: Option<Request>,
    /// See `stop`.
    pub restart: Option<Request>,
    /// Requests acted on, by `Asked`.
    pub requests: [u64; 2],
    /// Those done in their grace, without SIGKILL.
    pub requests_done: [u64; 2],
    /// Processes reaped that were not the child.
    pub reaped: u64,
    /// How often a deadline passed and SIGKILL was sent.
    pub escalations: u64,
    /// Processes that got SIGKILL.
    pub killed: u64,
    /// Processes that were swept.
    pub swept: u64,
    /// Those told in the sweep under way, or the last one, that have not ended yet.
    pub leftovers: u64,
    /// Generations that the OOM killer ended.
    pub oom_kills: u64,
    /// Log lines that nobody read in time.
    pub dropped: u64,
    /// Its settings.
    pub stop_delay: Duration,
    /// See `--stop-grace`.
    pub stop_grace: Duration,
    /// See `--restart-grace`.
    pub restart_grace: Duration,
    /// See `--stable-after`.
    pub stable_after: Duration,
    /// What to send for a stop; `None`: no signal means that.
    pub stop_by: Option<Signal>,
    /// What to send for a restart.
    pub restart_by: Option<Signal>,
    /// See `--port`.
    pub port: Option<u16>,
    /// The exporter's pid.
    pub exporter: Option<i32>,
    /// The pid of who asks `--ready-url`.
    pub prober: Option<i32>,
    /// How often it was started again.
    pub exporter_restarts: u64,
    /// When one that has ended is started again.
    pub exporter_due: Option<Duration>,
    /// Signals received, by number.
    pub received: Vec<u64>,
    /// Signals forwarded, by the number received.
    pub forwarded: Vec<u64>,
    /// Whether somebody tells when the child is ready.
    pub knows_readiness: bool,
    /// What the child says of itself.
    pub readiness: Readiness,
    /// When it was ready first.
    pub ready_since: Option<Duration>,
    /// See `--watchdog`.
    pub watchdog: Option<Duration>,
    /// See `--start-grace`.
    pub start_grace: Option<Duration>,
    /// Generations that were ended because no sign of life came.
    pub hung: u64,
    /// Generations that were ended because they were not ready in time.
    pub not_ready: u64,
    /// Notifications that came, and those whose sender does not speak for the child.
    pub notices: u64,
    /// See `notices`.
    pub notices_refused: u64,
    /// How many sockets clawinit has made for the child.
    pub sockets: u64,
    /// STATUS= of the child; empty: it said none.
    pub status_text: String,
    /// Whether SIGKILL was sent at the deadline of an end; `None`: there is no such deadline, or
    /// the page does not say.
    pub kill_sent: Option<bool>,
    /// In `failing`, what the generation has failed to do.
    pub fault: Option<Fault>,
    /// By `Timed`.
    pub histograms: [Histogram; Timed::ALL.len()],
}

/// The end of a generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LastEnd {
    /// How.
    pub end: End,
    /// Whether the OOM killer did it.
    pub oom: bool,
    /// What the generation had failed to do, so that it was asked to end.
    pub fault: Option<Fault>,
    /// Which generation.
    pub generation: u64,
    /// How long it had lived.
    pub lived: Duration,
    /// When, since 1970-01-01 UTC.
    pub realtime: Duration,
}

/// A request by signal.
#[derive(Clone, Copy)]
pub struct Request {
    /// The signal.
    pub signal: Signal,
    /// When it came.
    pub at: Duration,
    /// Who sent it.
    pub asker: Asker,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} by {} at {:?}", self.signal, self.asker, self.at)
    }
}

/// A histogram of times.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Histogram {
    /// How many were at most `BOUNDS_MS[i]` and longer than the bound before; the last one: how
    /// many were longer than all.
    pub buckets: [u64; at::BUCKETS],
    /// All of them together.
    pub sum: Duration,
}

/// Reads the page behind an open file. Errors: see [`Unreadable`].
pub fn read(file: &File) -> Result<Snapshot, Unreadable> {
    let end = Instant::now() + PATIENCE;
    let mut bytes = [0; KNOWN_BYTES];
    loop {
        let before = sequence(file)?;
        fence(Ordering::Acquire);
        let got = file.read_at(&mut bytes, 0).map_err(Unreadable::Io)?;
        fence(Ordering::Acquire);
        if before % 2 == 0 && sequence(file)? == before {
            return parse(&bytes[..got]);
        }
        if Instant::now() >= end {
            return Err(Unreadable::Busy);
        }
        std::thread::yield_now();
    }
}

fn sequence(file: &File) -> Result<u64, Unreadable> {
    let mut word = [0; 8];
    match file.read_at(&mut word, (at::SEQUENCE.at * 8) as u64) {
        Ok(8) => Ok(u64::from_ne_bytes(word)),
        Ok(_) => Err(Unreadable::NoPage),
        Err(error) => Err(Unreadable::Io(error)),
    }
}

/// What a page's bytes say, whatever they are. Errors: [`Unreadable::NoPage`],
/// [`Unreadable::OtherLayout`].
pub fn parse(bytes: &[u8]) -> Result<Snapshot, Unreadable> {
    let whole = Words(bytes);
    let layout = whole.get(at::LAYOUT);
    let length = (layout & 0xffff_ffff) as usize;
    if whole.get(at::MAGIC) != at::MAGIC_VALUE || length < (at::LAYOUT.at + 1) * 8 {
        return Err(Unreadable::NoPage);
    }
    let major = layout >> 48;
    if major != at::MAJOR {
        return Err(Unreadable::OtherLayout { major });
    }
    // Behind its own length there is nothing that this page's writer has put there.
    let page = Words(&bytes[..length.min(bytes.len())]);
    let command_length = page.get(at::COMMAND_LENGTH);
    Ok(Snapshot {
        version: page.text(at::VERSION, u64::MAX),
        pid: page.get(at::PID) as i32,
        born: page.time(at::BORN),
        born_realtime: page.time(at::BORN_REALTIME),
        phase: Phase::ALL.get(page.get(at::PHASE) as usize).copied(),
        phase_since: page.time(at::PHASE_SINCE),
        deadline: page.some(at::DEADLINE).map(Duration::from_nanos),
        child: page.some(at::CHILD).map(|pid| pid as i32),
        command: page.bytes(at::COMMAND, command_length),
        generation: page.get(at::GENERATION),
        generation_born: page.time(at::GENERATION_BORN),
        restarts: page.array(at::RESTARTS),
        crashes_in_a_row: page.get(at::CRASHES),
        last: page.last(),
        exit_code: page.some(at::EXIT_CODE).map(|code| (code - 1) as u8),
        stop: page.request(at::STOP),
        restart: page.request(at::RESTART),
        requests: page.array(at::REQUESTS),
        requests_done: page.array(at::REQUESTS_DONE),
        reaped: page.get(at::REAPED),
        escalations: page.get(at::ESCALATIONS),
        killed: page.get(at::KILLED),
        swept: page.get(at::SWEPT),
        leftovers: page.get(at::LEFTOVERS),
        oom_kills: page.get(at::OOM_KILLS),
        dropped: page.get(at::DROPPED),
        stop_delay: page.time(at::STOP_DELAY),
        stop_grace: page.time(at::STOP_GRACE),
        restart_grace: page.time(at::RESTART_GRACE),
        stable_after: page.time(at::STABLE_AFTER),
        stop_by: Signal::new(page.get(at::STOP_BY) as i32),
        restart_by: Signal::new(page.get(at::RESTART_BY) as i32),
        port: page.some(at::PORT).map(|port| port as u16),
        exporter: page.some(at::EXPORTER).map(|pid| pid as i32),
        prober: page.some(at::PROBER).map(|pid| pid as i32),
        exporter_restarts: page.get(at::EXPORTER_RESTARTS),
        exporter_due: page.some(at::EXPORTER_DUE).map(Duration::from_nanos),
        received: page.array::<{ signal::MAX as usize + 1 }>(at::RECEIVED).to_vec(),
        forwarded: page.array::<{ signal::MAX as usize + 1 }>(at::FORWARDED).to_vec(),
        knows_readiness: page.get(at::KNOWS_READINESS) != 0,
        readiness: Readiness::ALL
            .get(page.get(at::READINESS) as usize)
            .copied()
            .unwrap_or(Readiness::Unknown),
        ready_since: page.some(at::READY_SINCE).map(Duration::from_nanos),
        watchdog: page.some(at::WATCHDOG).map(Duration::from_nanos),
        start_grace: page.some(at::START_GRACE).map(Duration::from_nanos),
        hung: page.get(at::HUNG),
        not_ready: page.get(at::NOT_READY),
        notices: page.get(at::NOTICES),
        notices_refused: page.get(at::NOTICES_REFUSED),
        sockets: page.get(at::SOCKETS),
        status_text: page.text(at::STATUS_TEXT, u64::MAX),
        kill_sent: page.some(at::KILL).map(|kill| kill == at::KILL_SENT),
        fault: page.fault(at::FAULT),
        histograms: std::array::from_fn(|i| page.histogram(i)),
    })
}

/// A page's bytes; what is behind their end reads as 0.
struct Words<'a>(&'a [u8]);

impl Snapshot {
    /// Whether the child does its work, in a phase in which it is to; `None`: nobody says.
    pub fn ready(&self) -> Option<bool> {
        let is = self.phase == Some(Phase::Running) && self.readiness == Readiness::Ready;
        self.knows_readiness.then_some(is)
    }

    /// A generation runs; with `--exit-when all` it does so without its first process, too.
    pub fn runs(&self) -> bool {
        self.child.is_some() || self.phase == Some(Phase::Running)
    }

    /// Whether the child is ready; where nobody says, whether a generation runs.
    pub fn serves(&self) -> bool {
        self.ready().unwrap_or_else(|| self.runs())
    }

    /// Whether the child has asked for more time than its stop or restart had, and got it.
    pub fn extended(&self) -> bool {
        let (asked, grace) = match self.phase {
            Some(Phase::Stopping) => (&self.stop, self.stop_delay + self.stop_grace),
            Some(Phase::Restarting) => (&self.restart, self.restart_grace),
            _ => return false,
        };
        let given = asked.as_ref().map(|asked| asked.at + grace);
        self.kill_sent == Some(false) && self.deadline.zip(given).is_some_and(|(at, g)| at > g)
    }
}

impl Words<'_> {
    fn word(&self, place: usize) -> u64 {
        let bytes = self.0.get(place * 8..place * 8 + 8);
        bytes.and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes)
    }

    fn get(&self, field: Field) -> u64 {
        self.word(field.at)
    }

    /// The field's word where it is not 0.
    fn some(&self, field: Field) -> Option<u64> {
        Some(self.get(field)).filter(|word| *word != 0)
    }

    fn time(&self, field: Field) -> Duration {
        Duration::from_nanos(self.get(field))
    }

    fn array<const N: usize>(&self, field: Field) -> [u64; N] {
        std::array::from_fn(|i| self.word(field.at + i))
    }

    fn bytes(&self, field: Field, length: u64) -> Vec<u8> {
        let words = (field.at..field.at + field.words).flat_map(|i| self.word(i).to_ne_bytes());
        words.take(length.min(field.words as u64 * 8) as usize).collect()
    }

    /// Text up to its first zero byte.
    fn text(&self, field: Field, length: u64) -> String {
        let bytes = self.bytes(field, length);
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    }

    fn last(&self) -> Option<LastEnd> {
        let (value, flags) = (self.get(at::LAST_VALUE), self.get(at::LAST_FLAGS));
        let end = match self.get(at::LAST_KIND) {
            at::END_EXITED => End::Reaped(Status::Exited(value as u8)),
            at::END_SIGNALED => End::Reaped(Status::Signaled {
                signal: Signal::new(value as i32)?,
                core_dumped: flags & at::FLAG_CORE != 0,
            }),
            at::END_NOT_STARTED => End::NotStarted(value as u8),
            at::END_SURVIVED => End::Survived,
            _ => return None,
        };
        Some(LastEnd {
            end,
            oom: flags & at::FLAG_OOM != 0,
            fault: self.fault(at::LAST_FAULT),
            generation: self.get(at::LAST_GENERATION),
            lived: self.time(at::LAST_LIVED),
            realtime: self.time(at::LAST_REALTIME),
        })
    }

    fn fault(&self, field: Field) -> Option<Fault> {
        let place = self.some(field)? - 1;
        Fault::ALL.get(usize::try_from(place).ok()?).copied()
    }

    fn request(&self, field: Field) -> Option<Request> {
        let part = |place, words| Field { at: field.at + place, words };
        let signal = Signal::new(self.word(field.at + at::REQUEST_SIGNAL) as i32)?;
        let pid = self.word(field.at + at::REQUEST_PID);
        let length = self.word(field.at + at::REQUEST_LENGTH);
        let command = self.bytes(part(at::REQUEST_COMMAND, at::REQUEST_COMMAND_WORDS), length);
        let uid = self.word(field.at + at::REQUEST_UID) as u32;
        let pid = (pid != u64::MAX).then_some(pid as i32);
        let at = self.time(part(at::REQUEST_AT, 1));
        Some(Request { signal, at, asker: Asker::new(pid, uid, &command) })
    }

    fn histogram(&self, place: usize) -> Histogram {
        let first = at::HISTOGRAMS.at + place * at::HISTOGRAM_WORDS;
        Histogram {
            buckets: std::array::from_fn(|i| self.word(first + i)),
            sum: Duration::from_nanos(self.word(first + at::BUCKETS)),
        }
    }
}
