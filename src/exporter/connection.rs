//! One client: bytes in, bytes out, and where it stands between them.

use super::answers::Answer;
use super::request::{self, Head, Method};
use super::source::Source;
use mio::net::TcpStream;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

/// From the first byte of a request, or from a connection's begin, to the last byte of the
/// answer. Absolute: a byte now and then does not move it.
const REQUEST_TIME: Duration = Duration::from_secs(5);

/// Between requests: longer than people let pass between two scrapes.
const IDLE_TIME: Duration = Duration::from_secs(75);

/// After the last answer, for what the client still sends: closed with unread bytes, the kernel
/// sends a reset that can overtake the answer (RFC 9112, section 9.6).
const LINGER_TIME: Duration = Duration::from_secs(1);

/// Requests that one client has answered before the others get their turn.
const TURN: usize = 8;

/// Where a connection stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Between requests.
    Idle,
    /// A request is coming.
    Asking,
    /// Its answer is going out.
    Answering { keep_alive: bool },
    /// All is said; what still comes is dropped.
    Lingering,
}

/// What is to become of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Wait until the poll says more.
    Wait,
    /// It has more to be done, and others have their turn first.
    Again,
    /// Close it.
    Close,
}

/// A client's connection.
pub struct Connection {
    /// The socket.
    pub stream: TcpStream,
    phase: Phase,
    since: Instant,
    input: Vec<u8>,
    output: Vec<u8>,
    sent: usize,
}

/// What a read or write came to.
enum Flow {
    Moved(usize),
    Blocked,
    Ended,
}

impl Connection {
    /// One that has said nothing yet.
    pub fn new(stream: TcpStream, now: Instant) -> Connection {
        // An answer is one write: nothing to gain from Nagle's delay.
        let _ = stream.set_nodelay(true);
        Connection {
            stream,
            phase: Phase::Asking,
            since: now,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
        }
    }

    /// Since when it has kept us waiting.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// When it must have moved on.
    pub fn deadline(&self) -> Instant {
        self.since
            + match self.phase {
                Phase::Idle => IDLE_TIME,
                Phase::Asking | Phase::Answering { .. } => REQUEST_TIME,
                Phase::Lingering => LINGER_TIME,
            }
    }

    /// Goes on as far as it can.
    pub fn go_on(&mut self, source: &mut Source, now: Instant) -> Next {
        let mut answered = 0;
        loop {
            let flow = match self.phase {
                Phase::Answering { keep_alive } => match self.flush() {
                    Flow::Ended => return Next::Close,
                    Flow::Blocked => return Next::Wait,
                    Flow::Moved(_) if keep_alive => {
                        let next = if self.input.is_empty() { Phase::Idle } else { Phase::Asking };
                        self.enter(next, now);
                        answered += 1;
                        if answered == TURN {
                            return Next::Again;
                        }
                        continue;
                    }
                    Flow::Moved(_) => {
                        let _ = self.stream.shutdown(Shutdown::Write); // it may be gone
                        self.enter(Phase::Lingering, now);
                        continue;
                    }
                },
                Phase::Lingering => {
                    self.input.clear();
                    let flow = self.fill();
                    if matches!(flow, Flow::Moved(_)) {
                        answered += 1;
                        if answered == TURN {
                            return Next::Again;
                        }
                    }
                    flow
                }
                Phase::Idle | Phase::Asking => match request::read(&self.input) {
                    Head::Whole(request) => {
                        let answer = Answer::to(&request, source);
                        self.answer(&answer, request.method, request.keep_alive);
                        self.input.drain(..request.length);
                        continue;
                    }
                    Head::Refused(status) => {
                        self.answer(&Answer::refusal(status), Method::Get, false);
                        continue;
                    }
                    Head::Part => self.fill(),
                },
            };
            match flow {
                Flow::Moved(_) if self.phase == Phase::Idle => self.enter(Phase::Asking, now),
                Flow::Moved(_) => {}
                Flow::Blocked => return Next::Wait,
                Flow::Ended => return Next::Close,
            }
        }
    }

    fn enter(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.since = now;
    }

    fn answer(&mut self, answer: &Answer, method: Method, keep_alive: bool) {
        self.output = answer.write(method, keep_alive);
        self.sent = 0;
        self.phase = Phase::Answering { keep_alive };
    }

    /// Reads once, as much as a head may still have.
    fn fill(&mut self) -> Flow {
        let mut buffer = [0; request::MOST_BYTES];
        let room = request::MOST_BYTES - self.input.len();
        let flow = flow(|| self.stream.read(&mut buffer[..room]));
        if let Flow::Moved(count) = flow {
            self.input.extend_from_slice(&buffer[..count]);
        }
        flow
    }

    /// Sends what is queued; `Moved`: all is out.
    fn flush(&mut self) -> Flow {
        while self.sent < self.output.len() {
            match flow(|| self.stream.write(&self.output[self.sent..])) {
                Flow::Moved(count) => self.sent += count,
                other => return other,
            }
        }
        let sent = self.sent;
        self.output = Vec::new(); // an idle client's buffer is nobody's
        Flow::Moved(sent)
    }
}

fn flow(mut call: impl FnMut() -> io::Result<usize>) -> Flow {
    loop {
        match call() {
            Ok(0) => return Flow::Ended,
            Ok(count) => return Flow::Moved(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Flow::Blocked,
            Err(_) => return Flow::Ended,
        }
    }
}
