//! New connections, as many as descriptors allow.

use std::io;
use std::time::{Duration, Instant};

use mio::{Interest, Token as Source};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::connection::Connection;
use super::{Life, Server};
use crate::files::unix_seconds;
use crate::http::response::Response;
use crate::sockets::Stream;

/// After an accept that failed for want of descriptors or memory. The listener stays
/// readable then, and trying at once would be a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections taken in one turn, so that the others get theirs.
const ACCEPT_TURN: usize = 64;
/// What the memory gets to be opened before connections that wait are told that it is
/// not. Probes have timeouts of a second and more.
const OPENING_TIME: Duration = Duration::from_millis(500);
/// Descriptors kept for the disk, agents, pipes and whatever else is opened late.
const SPARE_DESCRIPTORS: usize = 32;

impl Server {
    pub(super) fn accept_when_due(&mut self, now: Instant) {
        if self.accept_at.is_some_and(|when| when <= now) {
            self.accept_at = self.may_wait_until().filter(|until| now < *until);
            if self.accept_at.is_none() {
                self.accept(now, ACCEPT_TURN);
            }
        }
    }

    /// How long connections stay in the backlog of a listener that outlives us: while the
    /// memory is being opened, so that they get answers and not 503.
    fn may_wait_until(&self) -> Option<Instant> {
        let is_starting = matches!(self.life, Life::Starting);
        (is_starting && self.was_handed).then(|| self.started + OPENING_TIME)
    }

    pub(super) fn accept(&mut self, now: Instant, most: usize) {
        for index in 0..self.listeners.len() {
            let mut taken = 0;
            loop {
                if taken == most {
                    self.accept_at = Some(now);
                    break;
                }
                match self.listeners[index].1.accept() {
                    Ok(stream) => self.admit(stream, now),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // accept(2): errors of the new connection come out here, too.
                    Err(error)
                        if matches!(
                            error.kind(),
                            io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
                        ) => {}
                    Err(error) => {
                        log::warn!("no connection can be accepted: {error}");
                        self.accept_at = Some(now + ACCEPT_PAUSE);
                        break;
                    }
                }
                taken += 1;
            }
        }
    }

    fn admit(&mut self, stream: Stream, now: Instant) {
        if self.connections.len() >= self.max_connections {
            if self.counters.refused == 0 {
                log::warn!(
                    "{} connections are open, as many as descriptors allow: more get 503 \
                     (raise the limit with ulimit -n)",
                    self.connections.len()
                );
            }
            self.counters.refused += 1;
            self.turn_away(stream, now);
            return;
        }
        let mut connection = Connection::new(stream, now);
        let id = self.next_id;
        self.next_id += 1;
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) =
            self.poll.registry().register(&mut connection.stream, Source(id), interest)
        {
            log::warn!("a connection cannot be watched: {error}");
            return;
        }
        self.counters.accepted += 1;
        self.enter(id, &mut connection);
        self.connections.insert(id, connection);
    }

    /// 503 and closed, with one try for each: it costs no descriptor past this call.
    fn turn_away(&mut self, stream: Stream, now: Instant) {
        let mut connection = Connection::new(stream, now);
        // What is unread at the close turns it into a reset that overtakes the answer.
        connection.fill(&mut self.scratch);
        let response = Response::error(503, "too many connections").with("Retry-After", "1");
        *self.counters.answers.entry(response.status).or_default() += 1;
        connection.queue(&response.write(false, false, false, unix_seconds()));
        connection.flush();
        connection.end_output();
    }
}

/// Raises the descriptor limit as far as it goes and says how many connections that
/// allows.
pub(super) fn max_connections() -> usize {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, hard)| {
        match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
            Ok(()) => hard,
            Err(_) => soft,
        }
    });
    // Without /proc, what a gateway has open at its start.
    let open = std::fs::read_dir("/proc/self/fd").map_or(16, Iterator::count);
    usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(open + SPARE_DESCRIPTORS).max(1)
}
