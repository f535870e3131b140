//! What each path answers with.

use super::metrics::{self, Format};
use super::request::{Method, Request};
use super::source::Source;
use crate::status;
use crate::status::read::Snapshot;

/// An answer, before it is written.
pub struct Answer {
    status: u16,
    kind: &'static str,
    body: String,
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// What a client that asks for nothing gets.
const PATHS: &str = "clawinit's exporter\n\n/metrics  for Prometheus\n/status   what clawinit is \
                     doing, as JSON\n/health   200 while a generation runs, else 503\n\
                     /ready    200 while it is ready, where somebody says so\n";

impl Answer {
    /// The answer to a request.
    pub fn to(request: &Request, source: &mut Source) -> Answer {
        match (request.method, request.path.as_str()) {
            (Method::Other, _) => Answer::refusal(405),
            (_, "/metrics") => Answer::metrics(request.format, source),
            (_, "/status") => Answer::status(source),
            (_, "/health") => Answer::yes_or_no(source, Snapshot::runs),
            (_, "/ready") => Answer::yes_or_no(source, Snapshot::serves),
            (_, "/") => Answer { status: 200, kind: TEXT, body: PATHS.to_owned() },
            _ => Answer::refusal(404),
        }
    }

    /// One that only has a status.
    pub fn refusal(status: u16) -> Answer {
        Answer { status, kind: TEXT, body: format!("{}\n", reason(status)) }
    }

    fn metrics(format: Format, source: &mut Source) -> Answer {
        match source.look() {
            Ok((page, counted, now)) => Answer {
                status: 200,
                kind: format.content_type(),
                body: metrics::text(&page, counted, now, format),
            },
            Err(why) => Answer::unreadable(why),
        }
    }

    fn status(source: &mut Source) -> Answer {
        match source.look() {
            Ok((page, counted, now)) => {
                let body = status::json::render(&page, counted.census.as_ref().ok(), now);
                Answer { status: 200, kind: JSON, body: body + "\n" }
            }
            Err(why) => Answer::unreadable(why),
        }
    }

    fn yes_or_no(source: &Source, is_well: fn(&Snapshot) -> bool) -> Answer {
        match source.page() {
            Ok(page) => Answer {
                status: if is_well(&page) { 200 } else { 503 },
                kind: JSON,
                body: format!("{{\"phase\":\"{}\"}}\n", page.phase_name()),
            },
            Err(why) => Answer::unreadable(why),
        }
    }

    fn unreadable(why: String) -> Answer {
        Answer { status: 503, kind: TEXT, body: why + "\n" }
    }

    /// As it goes over the wire.
    pub fn write(&self, method: Method, keep_alive: bool) -> Vec<u8> {
        let (status, kind, length) = (self.status, self.kind, self.body.len());
        let connection = if keep_alive { "keep-alive" } else { "close" };
        let allow = if status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 {status} {}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
             Cache-Control: no-store\r\nVary: Accept\r\n{allow}Connection: {connection}\r\n\r\n",
            reason(status)
        );
        let body = if method == Method::Head { "" } else { &self.body };
        [head.as_bytes(), body.as_bytes()].concat()
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
