//! Each connection's turn: as far as it can go without waiting.

use std::time::Instant;

use super::Server;
use super::connection::{Connection, Flow, Phase, Then};
use crate::http::head::{self, Method};
use crate::http::response::Response;

/// Steps of one connection in one turn.
const CONNECTION_TURN: usize = 32;
/// The most bytes that wait, of all connections together, for the rest of their head or
/// for an answer that nobody reads. What comes whole never waits, so an honest request
/// finds its way past any number of slow ones.
const MAX_WAITING: usize = 16 * 1024 * 1024;

/// What becomes of a connection after its turn.
#[derive(PartialEq, Eq)]
enum Next {
    /// It waits.
    Keep,
    /// It could go on, and the others are next.
    Again,
    /// It is over.
    Close,
}

impl Server {
    pub(super) fn enqueue(&mut self, id: usize) {
        if let Some(connection) = self.connections.get_mut(&id)
            && !connection.queued
        {
            connection.queued = true;
            self.queue.push_back(id);
        }
    }

    /// Lets every connection that is queued now go on.
    pub(super) fn turn(&mut self, now: Instant) {
        for _ in 0..self.queue.len() {
            let Some(id) = self.queue.pop_front() else { return };
            let Some(mut connection) = self.connections.remove(&id) else { continue };
            connection.queued = false;
            self.waiting -= connection.input.len();
            let mut next = self.advance(id, &mut connection, now);
            if next == Next::Keep && self.waiting + connection.input.len() > MAX_WAITING {
                next = self.shed(&mut connection, now);
            }
            match next {
                Next::Close => self.leave(id, &connection),
                next => {
                    self.waiting += connection.input.len();
                    self.enter(id, &mut connection);
                    self.connections.insert(id, connection);
                    if next == Next::Again {
                        self.enqueue(id);
                    }
                }
            }
        }
    }

    /// There is no room for what this connection has sent and cannot be answered yet.
    fn shed(&mut self, connection: &mut Connection, now: Instant) -> Next {
        match connection.phase {
            Phase::Head(_) => {
                let head_only = head::is_head_method(&connection.input);
                self.refuse(
                    connection,
                    Response::error(503, "too many requests have half a head")
                        .with("Retry-After", "1"),
                    head_only,
                    now,
                );
                connection.consume(connection.input.len());
                Next::Again
            }
            Phase::Sending { .. } if !connection.input.is_empty() => Next::Close,
            // The disk will be done; the others hold nothing.
            Phase::New { .. }
            | Phase::Idle(_)
            | Phase::Body { .. }
            | Phase::Waiting { .. }
            | Phase::Sending { .. }
            | Phase::Lingering { .. } => Next::Keep,
        }
    }

    /// Puts the connection's deadline in the timetable.
    pub(super) fn enter(&mut self, id: usize, connection: &mut Connection) {
        let deadline = connection.deadline();
        if deadline != connection.entered {
            self.leave(id, connection);
            self.timetable.extend(deadline.map(|when| (when, id)));
            connection.entered = deadline;
        }
    }

    fn leave(&mut self, id: usize, connection: &Connection) {
        if let Some(when) = connection.entered {
            self.timetable.remove(&(when, id));
        }
    }

    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(&(when, id)) = self.timetable.first()
            && when <= now
        {
            self.timetable.pop_first();
            let Some(mut connection) = self.connections.remove(&id) else { continue };
            connection.entered = None;
            match &connection.phase {
                Phase::Head(_) | Phase::Body { .. } => {
                    let head_only = match &connection.phase {
                        Phase::Body { head, .. } => head.method == Method::Head,
                        _ => head::is_head_method(&connection.input),
                    };
                    self.counters.timed_out += 1;
                    self.refuse(
                        &mut connection,
                        Response::error(408, "the request did not arrive in time"),
                        head_only,
                        now,
                    );
                    self.enter(id, &mut connection);
                    self.connections.insert(id, connection);
                    self.enqueue(id);
                }
                // It is read once more: what has come by now is answered.
                Phase::New { .. } if self.is_gentle() => {
                    connection.phase = Phase::Idle(now);
                    self.enter(id, &mut connection);
                    self.connections.insert(id, connection);
                    self.enqueue(id);
                }
                Phase::New { .. }
                | Phase::Idle(_)
                | Phase::Waiting { .. }
                | Phase::Sending { .. }
                | Phase::Lingering { .. } => self.waiting -= connection.input.len(),
            }
        }
    }

    /// Lets a connection go on until it must wait for its client or the disk.
    fn advance(&mut self, id: usize, connection: &mut Connection, now: Instant) -> Next {
        for _ in 0..CONNECTION_TURN {
            match &mut connection.phase {
                Phase::New { .. } | Phase::Idle(_) | Phase::Head(_) => {
                    if !connection.input.is_empty() {
                        match head::parse(&connection.input) {
                            Ok(Some((head, taken))) => {
                                connection.consume(taken);
                                self.begin(connection, head, now);
                                continue;
                            }
                            Ok(None) => {
                                if !connection.is_busy() {
                                    connection.phase = Phase::Head(now);
                                }
                            }
                            Err(refusal) => {
                                let head_only = head::is_head_method(&connection.input);
                                self.refuse(connection, refusal.into(), head_only, now);
                                continue;
                            }
                        }
                    }
                    match connection.fill(&mut self.scratch) {
                        Flow::Moved(_) => {}
                        Flow::Blocked if !self.is_draining() || connection.is_busy() => {
                            return Next::Keep;
                        }
                        Flow::Blocked if !self.is_gentle() => return Next::Close,
                        Flow::Blocked if connection.is_new() => return Next::Keep,
                        // A request may be on its way: it must not meet a closed socket.
                        Flow::Blocked => {
                            connection.end_output();
                            connection.phase = Phase::Lingering { unread: false, since: now };
                        }
                        Flow::Ended => return Next::Close,
                    }
                }
                Phase::Body { head, body, received, .. } => {
                    match body.take(&connection.input) {
                        Ok(taken) => {
                            *received += taken;
                            let done = body.is_done();
                            connection.consume(taken);
                            if done {
                                self.dispatch(id, connection, now);
                                continue;
                            }
                        }
                        Err(refusal) => {
                            let head_only = head.method == Method::Head;
                            self.refuse(connection, refusal.into(), head_only, now);
                            continue;
                        }
                    }
                    // A 100 that may be queued still.
                    if connection.flush() == Flow::Ended {
                        return Next::Close;
                    }
                    match connection.fill(&mut self.scratch) {
                        Flow::Moved(_) => {}
                        Flow::Blocked => return Next::Keep,
                        Flow::Ended => return Next::Close,
                    }
                }
                Phase::Waiting { .. } => return Next::Keep,
                Phase::Sending { then, .. } => {
                    let then = *then;
                    match connection.flush() {
                        Flow::Moved(_) if then == Then::Next => {
                            connection.phase = Phase::Idle(now);
                        }
                        Flow::Moved(_) => {
                            connection.end_output();
                            let unread = then == Then::EndUnread;
                            connection.phase = Phase::Lingering { unread, since: now };
                        }
                        Flow::Blocked => return Next::Keep,
                        Flow::Ended => return Next::Close,
                    }
                }
                Phase::Lingering { .. } => {
                    connection.consume(connection.input.len());
                    match connection.fill(&mut self.scratch) {
                        Flow::Moved(_) => {}
                        Flow::Blocked => return Next::Keep,
                        Flow::Ended => return Next::Close,
                    }
                }
            }
        }
        Next::Again
    }
}
