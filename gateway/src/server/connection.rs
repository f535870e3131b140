//! One connection: bytes in, bytes out, and where it stands between them.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use crate::http::body::{Body, Hold};
use crate::http::head::Head;
use crate::sockets::Stream;

use super::routes::Route;

/// From the first byte of a head to its last. Absolute: a byte now and then does not
/// move it (slowloris).
pub const HEAD_TIME: Duration = Duration::from_secs(10);
/// What a body or an answer gets, beside a second for every [`BYTES_PER_SECOND`] of it
/// that has passed: slow lines are served, stalled ones are not.
pub const TRANSFER_TIME: Duration = Duration::from_secs(10);
const BYTES_PER_SECOND: usize = 16 * 1024;
/// Between requests. Longer than the 60 s after which common load balancers let go of
/// an idle connection: the one who closes first must not be us, or a request crosses it.
pub const IDLE_TIME: Duration = Duration::from_secs(75);
/// What a connection that has just been accepted gets for its first request when the
/// gateway ends and clients are to notice nothing: the request follows the connect at once, and a client
/// that is closed before the answer to its first one does not try again. One that is
/// silent for longer is a spare one of a browser or pool, whose owner knows that it may
/// be closed.
pub const FIRST_TIME: Duration = Duration::from_secs(1);
/// After the last answer, for what the client still sends: closed with unread bytes,
/// the kernel sends a reset that can overtake the answer (RFC 9112 section 9.6).
pub const LINGER_TIME: Duration = Duration::from_secs(1);
/// What one read takes at most.
pub const READ_BYTES: usize = 16 * 1024;

/// Where a connection stands.
pub enum Phase {
    /// Nothing has come yet.
    New {
        /// When it was accepted.
        since: Instant,
        /// How long it may say nothing.
        until: Instant,
    },
    /// Between requests, since then.
    Idle(Instant),
    /// Part of a head has come; the first byte came then.
    Head(Instant),
    /// The body is coming.
    Body {
        /// Its head.
        head: Head,
        /// What it asks for.
        route: Route,
        /// What has come.
        body: Body,
        /// When its head was complete.
        since: Instant,
        /// Bytes since then.
        received: usize,
    },
    /// The disk has the request.
    Waiting {
        /// Its head.
        head: Head,
        /// The room of its body, which the disk has.
        _hold: Option<Hold>,
    },
    /// The answer is being sent.
    Sending {
        /// What comes after it.
        then: Then,
        /// Since then.
        since: Instant,
    },
    /// All is sent; what still comes is dropped.
    Lingering {
        /// Whether more was on its way when the answer was made.
        unread: bool,
        /// Since then.
        since: Instant,
    },
}

/// What comes after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Another request may.
    Next,
    /// The end: the client has sent all that it had to.
    End,
    /// The end, and the client may be sending still: a body that nobody wanted, or another
    /// request. One that sends all before it reads must not meet a closed connection.
    EndUnread,
}

/// What a read or write came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Flow {
    /// Something moved.
    Moved(usize),
    /// Nothing now; the poll will say when.
    Blocked,
    /// The other side has closed, or the connection is broken.
    Ended,
}

/// A client's connection.
pub struct Connection {
    /// The socket.
    pub stream: Stream,
    /// Bytes that came and are not understood yet.
    pub input: Vec<u8>,
    /// Where it stands.
    pub phase: Phase,
    /// The deadline that is entered in the loop's timetable.
    pub entered: Option<Instant>,
    /// Whether it stands in the loop's queue already.
    pub queued: bool,
    output: Vec<u8>,
    sent: usize,
}

impl Connection {
    /// A connection that has said nothing yet.
    pub fn new(stream: Stream, now: Instant) -> Self {
        stream.set_nodelay();
        Self {
            stream,
            input: Vec::new(),
            phase: Phase::New { since: now, until: now + IDLE_TIME },
            entered: None,
            queued: false,
            output: Vec::new(),
            sent: 0,
        }
    }

    /// When it must have moved on.
    pub fn deadline(&self) -> Option<Instant> {
        let transfer = |since: Instant, moved: usize| {
            since + TRANSFER_TIME + Duration::from_secs((moved / BYTES_PER_SECOND) as u64)
        };
        match &self.phase {
            Phase::New { until, .. } => Some(*until),
            Phase::Idle(since) => Some(*since + IDLE_TIME),
            Phase::Head(since) => Some(*since + HEAD_TIME),
            Phase::Body { since, received, .. } => Some(transfer(*since, *received)),
            Phase::Waiting { .. } => None,
            Phase::Sending { since, .. } => Some(transfer(*since, self.sent)),
            Phase::Lingering { since, .. } => Some(*since + LINGER_TIME),
        }
    }

    /// Whether a request is under way, or its answer.
    pub fn is_busy(&self) -> bool {
        match self.phase {
            Phase::New { .. } | Phase::Idle(_) | Phase::Lingering { .. } => false,
            Phase::Head(_) | Phase::Body { .. } | Phase::Waiting { .. } | Phase::Sending { .. } => {
                true
            }
        }
    }

    /// Whether nothing has come yet.
    pub fn is_new(&self) -> bool {
        matches!(self.phase, Phase::New { .. })
    }

    /// Gives a new connection no more than [`FIRST_TIME`] for its first request.
    pub fn hurry(&mut self) {
        if let Phase::New { since, until } = &mut self.phase {
            *until = *since + FIRST_TIME;
        }
    }

    /// Whether a drain waits for it: also for a client that has yet to find its answer.
    pub fn holds_drain(&self) -> bool {
        self.is_busy() || matches!(self.phase, Phase::Lingering { unread: true, .. })
    }

    /// Reads once. The buffer is the loop's: thousands of idle connections hold none.
    pub fn fill(&mut self, scratch: &mut [u8; READ_BYTES]) -> Flow {
        let flow = flow(retry(|| self.stream.read(scratch)));
        if let Flow::Moved(count) = flow {
            self.input.extend_from_slice(&scratch[..count]);
        }
        flow
    }

    /// Drops the first `count` bytes of the input, and its buffer with the last.
    pub fn consume(&mut self, count: usize) {
        if count == self.input.len() {
            self.input = Vec::new();
        } else {
            self.input.drain(..count);
        }
    }

    /// Queues bytes for sending.
    pub fn queue(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }

    /// Sends what is queued: `Moved(0)` when all is out.
    pub fn flush(&mut self) -> Flow {
        while self.sent < self.output.len() {
            match flow(retry(|| self.stream.write(&self.output[self.sent..]))) {
                Flow::Moved(count) => self.sent += count,
                other => return other,
            }
        }
        // A large answer's buffer is not kept for a small one's sake.
        self.output = Vec::new();
        self.sent = 0;
        Flow::Moved(0)
    }

    /// Says that nothing more will be sent.
    pub fn end_output(&self) {
        // A client that has gone does not need to hear it.
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn flow(result: io::Result<usize>) -> Flow {
    match result {
        Ok(0) => Flow::Ended,
        Ok(count) => Flow::Moved(count),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Flow::Blocked,
        Err(_) => Flow::Ended,
    }
}
