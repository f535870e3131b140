//! What becomes of a request, from its head to its answer.

use std::time::Instant;

use super::connection::{Connection, Phase, Then};
use super::pages::Health;
use super::routes::{self, Route};
use super::{Life, Server};
use crate::files::unix_seconds;
use crate::http::body::Body;
use crate::http::head::{self, Head, Method};
use crate::http::response::{CONTINUE, Response};
use crate::store::disk::{Job, Ticket};
use crate::store::memory::Write;

impl Server {
    /// A head is complete: its body is next, unless it can be answered without.
    pub(super) fn begin(&mut self, connection: &mut Connection, head: Head, now: Instant) {
        let route = match routes::find(&head, self.token.as_ref()) {
            Ok(route) => route,
            Err(response) => return self.answer(connection, &head, response, now),
        };
        // Only a value is wanted; nobody else's body takes memory.
        let hold = matches!(route, Route::Put(_)).then(|| self.room.hold());
        match Body::new(head.framing, hold) {
            Ok(body) => {
                // RFC 9110 section 10.1.1: not where the body has begun to come anyway.
                if head.expects_continue && !body.is_done() && connection.input.is_empty() {
                    connection.queue(CONTINUE);
                }
                connection.phase = Phase::Body { head, route, body, since: now, received: 0 };
            }
            Err(refusal) => self.answer(connection, &head, refusal.into(), now),
        }
    }

    /// A request is complete.
    pub(super) fn dispatch(&mut self, id: usize, connection: &mut Connection, now: Instant) {
        let phase = std::mem::replace(&mut connection.phase, Phase::Idle(now));
        let Phase::Body { mut head, route, body, .. } = phase else {
            unreachable!("only a connection with a complete body is dispatched")
        };
        // The body is in: it no longer stands between this request and the next.
        head.framing = head::Framing::None;
        let (bytes, hold) = body.into_parts();
        let job = match route {
            Route::Status => return self.answer(connection, &head, self.status(&head), now),
            Route::Health => {
                return self.answer(
                    connection,
                    &head,
                    Response::json(200, &Health { ok: true, status: "live" }),
                    now,
                );
            }
            Route::Ready => return self.answer(connection, &head, self.ready(), now),
            Route::Startup => return self.answer(connection, &head, self.startup(), now),
            Route::Metrics => return self.answer(connection, &head, self.metrics(), now),
            _ if matches!(self.life, Life::Starting) => {
                let response =
                    Response::error(503, "the memory is being opened").with("Retry-After", "1");
                return self.answer(connection, &head, response, now);
            }
            Route::Get(key) => match self.cache.get(&key) {
                Some(value) => return self.answer(connection, &head, value_response(&value), now),
                None => Job::Get(id, key),
            },
            Route::Put(key) => Job::Write(id, Write::Put(key, bytes.into())),
            Route::Delete(key) => Job::Write(id, Write::Delete(key)),
            Route::List { after, limit } => Job::List { ticket: id, after, limit },
        };
        match self.jobs.send(job) {
            Ok(()) => connection.phase = Phase::Waiting { head, _hold: hold },
            Err(_) => {
                self.answer(connection, &head, Response::error(503, "the memory is closed"), now)
            }
        }
    }

    /// The disk has done its part of a request.
    pub(super) fn finish(&mut self, ticket: Ticket, response: Response) {
        // A client that left in the meantime gets no answer.
        let Some(mut connection) = self.connections.remove(&ticket) else { return };
        let now = Instant::now();
        match std::mem::replace(&mut connection.phase, Phase::Idle(now)) {
            Phase::Waiting { head, .. } => self.answer(&mut connection, &head, response, now),
            other => connection.phase = other,
        }
        self.connections.insert(ticket, connection);
        self.enqueue(ticket);
    }

    fn answer(
        &mut self,
        connection: &mut Connection,
        head: &Head,
        response: Response,
        now: Instant,
    ) {
        // Answered before its body was read, a request ends its connection.
        let then = if head.has_body() || (self.is_draining() && !connection.input.is_empty()) {
            Then::EndUnread
        } else if head.keep_alive && !self.is_draining() {
            Then::Next
        } else {
            Then::End
        };
        log::debug!("{}: {}", head.path, response.status);
        self.send(connection, &response, head.method == Method::Head, then, head.http_1_0, now);
    }

    /// Answers what is no request that could be followed by another.
    pub(super) fn refuse(
        &mut self,
        connection: &mut Connection,
        response: Response,
        head_only: bool,
        now: Instant,
    ) {
        self.send(connection, &response, head_only, Then::EndUnread, false, now);
    }

    fn send(
        &mut self,
        connection: &mut Connection,
        response: &Response,
        head_only: bool,
        then: Then,
        http_1_0: bool,
        now: Instant,
    ) {
        let keep_alive = then == Then::Next;
        *self.counters.answers.entry(response.status).or_default() += 1;
        connection.queue(&response.write(head_only, keep_alive, http_1_0, unix_seconds()));
        connection.phase = Phase::Sending { then, since: now };
    }
}

pub(super) fn value_response(value: &[u8]) -> Response {
    Response::new(200, "application/octet-stream", value)
}
