//! The loop: clients come, are answered, are late.

use super::connection::{Connection, Next};
use super::source::Source;
use crate::config::Level;
use crate::report::Value;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Clients at one time. One more, and the one that has kept us waiting longest goes: whoever
/// holds connections open without a word keeps no scrape out.
pub const MOST_CONNECTIONS: usize = 64;

/// Clients taken in one turn, so that the others get theirs.
const ACCEPT_TURN: usize = 16;

/// After an accept(2) that failed for want of descriptors or memory, where nobody could be sent
/// away: trying at once would be a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const LISTENER: Token = Token(MOST_CONNECTIONS);

/// The listener and its clients.
pub struct Server {
    poll: Poll,
    listener: TcpListener,
    /// By token.
    connections: [Option<Connection>; MOST_CONNECTIONS],
    /// Those with more to be done, by token.
    again: Vec<usize>,
    /// When to accept without being told that somebody is there.
    accept_at: Option<Instant>,
    /// It has been said that there are too few descriptors.
    told: bool,
    source: Source,
}

impl Server {
    /// Listens. Errors: those of bind(2) and listen(2).
    pub fn new(address: SocketAddr, source: Source) -> io::Result<Server> {
        // With SO_REUSEADDR: connections of the exporter before this one may still be in TIME_WAIT.
        let mut listener = TcpListener::bind(address)?;
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Server {
            poll,
            listener,
            connections: [const { None }; MOST_CONNECTIONS],
            again: Vec::new(),
            accept_at: None,
            told: false,
            source,
        })
    }

    /// Says where it serves, and does so until the poll fails; returns why it did.
    pub fn run(&mut self, address: &str) -> io::Error {
        let said = format_args!("metrics at http://{address}/metrics");
        let fields = [("address", Value::Text(&address))];
        self.source.log.line(Level::Info, "exporter-listening", said, &fields);
        let mut events = Events::with_capacity(MOST_CONNECTIONS + 1);
        loop {
            match self.poll.poll(&mut events, self.timeout()) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return error,
                Ok(()) | Err(_) => {}
            }
            let now = Instant::now();
            for token in std::mem::take(&mut self.again) {
                self.go_on(token, now);
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept_at = Some(now),
                    Token(token) => self.go_on(token, now),
                }
            }
            self.end_late_ones(now);
            if self.accept_at.is_some_and(|at| at <= now) {
                self.accept(now);
            }
        }
    }

    /// Nothing to do: it waits for ever and wakes for nothing.
    fn timeout(&self) -> Option<Duration> {
        if !self.again.is_empty() {
            return Some(Duration::ZERO);
        }
        let deadlines = self.connections.iter().flatten().map(Connection::deadline);
        let next = deadlines.chain(self.accept_at).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn go_on(&mut self, token: usize, now: Instant) {
        // It may have made room for another since the event.
        let Some(connection) = &mut self.connections[token] else { return };
        match connection.go_on(&mut self.source, now) {
            Next::Wait => {}
            Next::Again => self.again.push(token),
            Next::Close => self.connections[token] = None, // the kernel ends its watch, too
        }
    }

    fn end_late_ones(&mut self, now: Instant) {
        for place in &mut self.connections {
            if place.as_ref().is_some_and(|connection| connection.deadline() <= now) {
                *place = None;
            }
        }
    }

    fn accept(&mut self, now: Instant) {
        self.accept_at = None;
        for _ in 0..ACCEPT_TURN {
            match self.listener.accept() {
                Ok((stream, _)) => self.admit(stream, now),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return,
                    // accept(2): errors of the new connection come out here, too.
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => {}
                    _ if self.make_room(&error) => {}
                    _ => {
                        self.accept_at = Some(now + ACCEPT_PAUSE);
                        return;
                    }
                },
            }
        }
        self.accept_at = Some(now); // there may be more
    }

    /// One more cannot be let in: the one that has kept us waiting longest goes. False: there is
    /// none.
    fn make_room(&mut self, error: &io::Error) -> bool {
        if !self.told {
            self.told = true;
            let said = format_args!("the exporter cannot accept a connection: {error}");
            let fields = [("error", Value::Text(error))];
            self.source.log.line(Level::Warn, "exporter-full", said, &fields);
        }
        self.oldest().is_some_and(|oldest| self.connections[oldest].take().is_some())
    }

    /// Most clients have sent their request by now, and are served and gone without the poll.
    fn admit(&mut self, stream: TcpStream, now: Instant) {
        let free = self.connections.iter().position(Option::is_none);
        let Some(token) = free.or_else(|| self.oldest()) else { return };
        let mut connection = Connection::new(stream, now);
        match connection.go_on(&mut self.source, now) {
            Next::Wait => {}
            Next::Again => self.again.push(token),
            Next::Close => return,
        }
        let interest = Interest::READABLE | Interest::WRITABLE;
        // Without it, nobody would wake us for this client: it goes.
        if self.poll.registry().register(&mut connection.stream, Token(token), interest).is_ok() {
            self.connections[token] = Some(connection);
        }
    }

    fn oldest(&self) -> Option<usize> {
        let taken = self.connections.iter().enumerate();
        let since = taken.filter_map(|(token, c)| Some((c.as_ref()?.since(), token)));
        since.min().map(|(_, token)| token)
    }
}
