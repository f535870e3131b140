//! As much of HTTP/1.1 as one GET needs (RFC 9112): a URL, a request, and an answer that is never
//! trusted: nothing in it makes us wait past the deadline or keep more than the limits say.

use super::shown;
use crate::kernel::{Errno, aside};
use crate::report::Span;
use httparse::{Header, Response, Status, parse_chunk_size};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// The most of status line and headers, about what servers themselves take.
const MAX_HEAD: usize = 32 * 1024;
const MAX_HEADERS: usize = 128;

/// The most of a body: a page that says how something is has no more.
pub const MAX_BODY: usize = 1024 * 1024;

/// The longest line of a chunk's size, with extensions that nobody uses.
const MAX_CHUNK_LINE: usize = 1024;

/// How many interim answers (100, 103) are passed over.
const MAX_INTERIM: usize = 16;

/// What may not come in time.
const NAME_SERVER: &str = "answer of the name server";

/// A URL, taken apart.
pub struct Target {
    /// The name or the address, without brackets.
    host: String,
    port: u16,
    /// Host and port as they stand in the URL.
    authority: String,
    /// The path and the query.
    path: String,
}

impl Target {
    /// Reads `http://HOST[:PORT][/PATH]`. Errors: what is wrong with it, and what to write.
    pub fn new(url: &str) -> Result<Target, String> {
        let wrong = |what: &str| format!("\"{}\" {what}", shown(url.as_bytes()));
        // A line end in it would be a header of the request's.
        if let Some(odd) = url.chars().find(|c| !c.is_ascii_graphic()) {
            let mut bytes = [0; 4];
            let escaped: String =
                odd.encode_utf8(&mut bytes).bytes().map(|byte| format!("%{byte:02X}")).collect();
            return Err(wrong(&format!(
                "holds a blank, or a letter that no URL can have; write {escaped} for it"
            )));
        }
        let rest = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => {
                return Err(wrong(
                    "wants TLS, which is not spoken here; write http:// and a port that answers without it, inside the container",
                ));
            }
            Some(_) => return Err(wrong("is no HTTP; write http://HOST:PORT/PATH")),
            None => {
                let like = url.trim_start_matches('/');
                return Err(wrong(&format!(
                    "has no scheme; write http://{}",
                    shown(like.as_bytes())
                )));
            }
        };
        // What is behind `#` is for the reader of the page, and not sent.
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            // Not shown: a password may stand there.
            return Err("the URL names a user, which is not sent; leave out what is before the @"
                .to_owned());
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(inside) => inside.split_once(']').ok_or_else(|| {
                wrong("has a [ without its ]; write an IPv6 address like http://[::1]:8080/")
            })?,
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        if authority.starts_with('[') {
            if host.parse::<Ipv6Addr>().is_err() {
                return Err(wrong("has no IPv6 address in its brackets; write one like [::1]"));
            }
        } else if host.parse::<Ipv6Addr>().is_ok() || port.matches(':').count() > 1 {
            return Err(wrong("has an IPv6 address without brackets; write it like [::1]"));
        } else if host.is_empty() {
            return Err(wrong("names no host; write http://HOST:PORT/PATH"));
        } else if !host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
            return Err(wrong("has no host that could be looked up; write a name or an address"));
        }
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => Some(80),
            None => None,
            Some("") => Some(80), // RFC 3986, section 3.2.3
            Some(digits) => digits
                .parse()
                .ok()
                .filter(|port| *port != 0 && digits.bytes().all(|b| b.is_ascii_digit())),
        };
        Ok(Target {
            host: host.to_owned(),
            port: port.ok_or_else(|| {
                wrong("has no TCP port behind its host; write a number from 1 to 65535")
            })?,
            authority: authority.to_owned(),
            path: format!("{}{path}", if path.starts_with('/') { "" } else { "/" }),
        })
    }

    /// Where it may be. A name is looked up aside: the C library's resolver has its own idea of how
    /// long that may take.
    fn addresses(&self, deadline: Deadline) -> Result<Vec<SocketAddr>, String> {
        let at = |address: IpAddr| SocketAddr::new(address, self.port);
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok(vec![at(address)]);
        }
        // An image from scratch has no /etc/hosts (RFC 6761, section 6.3).
        if self.host.eq_ignore_ascii_case("localhost") {
            return Ok(vec![at(Ipv4Addr::LOCALHOST.into()), at(Ipv6Addr::LOCALHOST.into())]);
        }
        let look_up = || match (self.host.as_str(), self.port).to_socket_addrs() {
            Ok(found) => found.map(|address| format!("{}\n", address.ip())).collect(),
            Err(error) => format!("no: {}\n", why(&error)),
        };
        let host = &self.host;
        let found = aside::answer(look_up, deadline.left(NAME_SERVER)?)
            .map_err(|errno| format!("cannot look up {host}: {errno}"))?
            .ok_or_else(|| deadline.passed(NAME_SERVER))?;
        if let Some(reason) = found.strip_prefix("no: ") {
            return Err(format!("cannot look up {host}: {}", reason.trim_end()));
        }
        let found: Vec<_> = found.lines().filter_map(|line| line.parse().ok()).map(at).collect();
        if found.is_empty() { Err(format!("{host} has no address")) } else { Ok(found) }
    }

    /// Connects to the first of its addresses that takes us. Each has its share of the time, so
    /// that one behind which nobody answers leaves some for the others.
    fn connect(&self, deadline: Deadline) -> Result<TcpStream, String> {
        let what = format!("connection to {}", self.authority);
        let addresses = self.addresses(deadline)?;
        let mut first = None;
        for (i, address) in addresses.iter().enumerate() {
            let share = deadline.left(&what)? / (addresses.len() - i) as u32;
            match TcpStream::connect_timeout(address, share.max(Duration::from_micros(1))) {
                Ok(stream) => return Ok(stream),
                Err(error) => first = first.or(Some(error)),
            }
        }
        match first {
            Some(error) if error.kind() != io::ErrorKind::TimedOut => {
                Err(format!("no {what}: {}", why(&error)))
            }
            _ => Err(deadline.passed(&what)),
        }
    }

    /// Asks once, `timeout` for all of it. Errors: what happened instead of an answer.
    pub fn get(&self, timeout: Duration) -> Result<Answer, String> {
        let deadline = Deadline { end: Instant::now() + timeout, timeout };
        let mut stream = self.connect(deadline)?;
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: clawinit/{}\r\nAccept: */*\r\nConnection: close\r\n\r\n",
            self.path,
            self.authority,
            env!("CARGO_PKG_VERSION"),
        );
        let mut rest = request.as_bytes();
        while !rest.is_empty() {
            let what = "room for the request";
            let _ = stream.set_write_timeout(Some(deadline.left(what)?));
            match stream.write(rest) {
                Ok(0) => return Err("the request could not be sent".to_owned()),
                Ok(took) => rest = &rest[took..],
                Err(error) if is_again(&error) => {}
                // It may have answered all the same before it closed.
                Err(_) => break,
            }
        }
        Incoming { wire: stream, deadline, bytes: Vec::new(), ended: false }.answer()
    }
}

/// What an answer comes over.
pub trait Wire {
    /// Reads once, `timeout` at most, as `Read::read` does.
    fn read(&mut self, piece: &mut [u8], timeout: Duration) -> io::Result<usize>;
}

impl Wire for TcpStream {
    fn read(&mut self, piece: &mut [u8], timeout: Duration) -> io::Result<usize> {
        self.set_read_timeout(Some(timeout))?;
        Read::read(self, piece)
    }
}

/// Reads an answer from `wire`, `timeout` for all of it. Errors: what came instead of one.
pub fn read_answer(wire: impl Wire, timeout: Duration) -> Result<Answer, String> {
    let deadline = Deadline { end: Instant::now() + timeout, timeout };
    Incoming { wire, deadline, bytes: Vec::new(), ended: false }.answer()
}

/// The end of everything, and how long that was from the beginning.
#[derive(Clone, Copy)]
struct Deadline {
    end: Instant,
    timeout: Duration,
}

impl Deadline {
    /// The time left, never zero. Errors: there is none.
    fn left(&self, what: &str) -> Result<Duration, String> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(self.passed(what)) } else { Ok(left) }
    }

    fn passed(&self, what: &str) -> String {
        format!("no {what} within {}", Span(self.timeout))
    }
}

/// What the server said.
pub struct Answer {
    /// Its number.
    pub status: u16,
    /// The words behind the number; often none.
    pub reason: String,
    /// Where a redirect points to.
    pub location: Option<String>,
    /// Or why there is not all of it.
    pub body: Result<Vec<u8>, String>,
}

/// How long the body is.
enum Length {
    Known(usize),
    Chunked,
    /// It ends with the connection.
    UntilClose,
}

/// The connection, and what came over it and was not taken yet.
struct Incoming<W> {
    wire: W,
    deadline: Deadline,
    bytes: Vec<u8>,
    ended: bool,
}

impl<W: Wire> Incoming<W> {
    /// Waits for more. Errors: `what` did not come whole. False: the server has closed.
    fn more(&mut self, what: &str) -> Result<bool, String> {
        let mut piece = [0; 16 * 1024];
        while !self.ended {
            let left = self.deadline.left(what)?;
            match self.wire.read(&mut piece, left) {
                Ok(0) => self.ended = true,
                Ok(got) => {
                    self.bytes.extend_from_slice(&piece[..got]);
                    return Ok(true);
                }
                Err(error) if is_again(&error) => {}
                Err(error) => return Err(format!("no {what}: {}", why(&error))),
            }
        }
        Ok(false)
    }

    fn answer(mut self) -> Result<Answer, String> {
        for _ in 0..=MAX_INTERIM {
            let (mut answer, length) = self.head()?;
            // 101 is no interim answer: what follows it is not HTTP (and nobody asked for it).
            if matches!(answer.status, 100 | 102..200) {
                continue;
            }
            answer.body = match length {
                Length::Known(length) => self.body_of(length),
                Length::Chunked => self.chunks(),
                Length::UntilClose => self.until_close(),
            };
            return Ok(answer);
        }
        Err(format!("more than {MAX_INTERIM} interim answers, and none to the question"))
    }

    /// Takes status line and headers.
    fn head(&mut self) -> Result<(Answer, Length), String> {
        let mut looked_at = 0;
        loop {
            // A parse goes from the beginning again: only where a line has ended since the last.
            if self.bytes[looked_at..].contains(&b'\n') {
                let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
                let mut response = Response::new(&mut headers);
                match response.parse(&self.bytes) {
                    Ok(Status::Complete(end)) => {
                        let head = read_head(&response);
                        self.bytes.drain(..end);
                        return head;
                    }
                    Ok(Status::Partial) => {}
                    Err(httparse::Error::TooManyHeaders) => {
                        return Err(format!("an answer with more than {MAX_HEADERS} headers"));
                    }
                    Err(error) => {
                        return Err(format!(
                            "an answer that is no HTTP ({error}): {}",
                            shown(&self.bytes)
                        ));
                    }
                }
            }
            looked_at = self.bytes.len();
            if looked_at > MAX_HEAD {
                return Err(format!("an answer with more than {} KiB of headers", MAX_HEAD / 1024));
            }
            if !self.more("answer")? {
                return Err(if self.bytes.is_empty() {
                    "the connection was closed without an answer".to_owned()
                } else {
                    format!(
                        "the connection was closed in the midst of the headers: {}",
                        shown(&self.bytes)
                    )
                });
            }
        }
    }

    fn body_of(&mut self, length: usize) -> Result<Vec<u8>, String> {
        if length > MAX_BODY {
            return Err(too_long());
        }
        while self.bytes.len() < length {
            if !self.more("end of the body")? {
                let got = self.bytes.len();
                return Err(format!("the body ended after {got} of {length} bytes"));
            }
        }
        self.bytes.truncate(length);
        Ok(std::mem::take(&mut self.bytes))
    }

    fn until_close(&mut self) -> Result<Vec<u8>, String> {
        while self.bytes.len() <= MAX_BODY {
            if !self.more("end of the body")? {
                return Ok(std::mem::take(&mut self.bytes));
            }
        }
        Err(too_long())
    }

    /// RFC 9112, section 7.1. What is behind the last chunk does not matter any more.
    fn chunks(&mut self) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        let mut at = 0;
        loop {
            let (line, size) = match parse_chunk_size(&self.bytes[at..]) {
                // The parser takes a line without a digit for a size of 0, the end of the body.
                Ok(Status::Complete(found)) if self.bytes[at].is_ascii_hexdigit() => found,
                Ok(Status::Partial) if self.bytes.len() - at <= MAX_CHUNK_LINE => {
                    self.more_of_a_chunk(&mut at)?;
                    continue;
                }
                Ok(_) | Err(_) => {
                    let line = shown(&self.bytes[at..]);
                    return Err(format!("a chunk of the body without a size: {line}"));
                }
            };
            if size > (MAX_BODY - body.len()) as u64 {
                return Err(too_long());
            }
            if size == 0 {
                return Ok(body);
            }
            at += line;
            let size = size as usize;
            while self.bytes.len() - at < size + 2 {
                self.more_of_a_chunk(&mut at)?;
            }
            let (chunk, end) = self.bytes[at..][..size + 2].split_at(size);
            if end != b"\r\n" {
                return Err("a chunk of the body is longer than it says".to_owned());
            }
            body.extend_from_slice(chunk);
            at += size + 2;
        }
    }

    /// Waits for more, and forgets what is before `at`.
    fn more_of_a_chunk(&mut self, at: &mut usize) -> Result<(), String> {
        self.bytes.drain(..std::mem::take(at));
        if self.more("end of the body")? {
            Ok(())
        } else {
            Err("the body ended in the midst of a chunk".to_owned())
        }
    }
}

fn too_long() -> String {
    format!("the body has more than {} KiB; ask for a smaller page", MAX_BODY / 1024)
}

fn read_head(response: &Response) -> Result<(Answer, Length), String> {
    let status = response.code.unwrap_or_default();
    let named = |name: &'static str| {
        let those = move |header: &&Header| -> bool { header.name.eq_ignore_ascii_case(name) };
        response.headers.iter().filter(those).map(|header| header.value.trim_ascii())
    };
    let mut length = Length::UntilClose;
    for value in named("content-length") {
        let digits = value.iter().all(u8::is_ascii_digit);
        let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        match (length, number.filter(|_| digits)) {
            (Length::UntilClose, Some(number)) => length = Length::Known(number),
            (Length::Known(before), Some(number)) if before == number => {
                length = Length::Known(number);
            }
            _ => return Err(format!("an answer with the Content-Length \"{}\"", shown(value))),
        }
    }
    for value in named("transfer-encoding") {
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(format!("an answer with the Transfer-Encoding \"{}\"", shown(value)));
        }
        length = Length::Chunked;
    }
    if matches!(status, 100..200 | 204 | 304) {
        length = Length::Known(0);
    }
    let answer = Answer {
        status,
        reason: shown(response.reason.unwrap_or_default().as_bytes()),
        location: named("location").next().map(shown),
        body: Ok(Vec::new()),
    };
    Ok((answer, length))
}

/// Whether to look at the clock and to try again: a timeout of the socket may end a bit early.
fn is_again(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

/// The reason without what std puts around it.
fn why(error: &io::Error) -> String {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(number) => Errno(number).to_string(),
        None => text.trim_start_matches("failed to lookup address information: ").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Wire for &[u8] {
        fn read(&mut self, piece: &mut [u8], _timeout: Duration) -> io::Result<usize> {
            Read::read(self, piece)
        }
    }

    /// The body of an answer with these chunks.
    fn body(chunks: &str) -> Result<Vec<u8>, String> {
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        read_answer(answer.as_bytes(), Duration::from_secs(60)).and_then(|answer| answer.body)
    }

    #[test]
    fn a_chunk_without_a_size_is_no_end_of_the_body() {
        assert_eq!(body("3\r\nabc\r\n0\r\n\r\n"), Ok(b"abc".to_vec()));
        assert_eq!(body("3;x=y\r\nabc\r\n0;x=y\r\n\r\n"), Ok(b"abc".to_vec()));
        for chunks in [";x=y\r\n\r\n", "\r\n\r\n", "3\r\nabc\r\n;\r\n\r\n", " \r\n", "\t;\r\n"] {
            let wrong = body(chunks).expect_err(chunks);
            assert!(wrong.starts_with("a chunk of the body without a size"), "{chunks:?}: {wrong}");
        }
    }
}
