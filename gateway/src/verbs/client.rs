//! One GET to the gateway.

use std::io::{self, Read as _, Write as _};
use std::time::{Duration, Instant};

use crate::sockets::{Address, Client};
use crate::token::Token;

/// More than any body that the verbs ask for.
const MAX_ANSWER: usize = 64 * 1024;
/// connect(2) and receives with a bound of zero would have none.
const LEAST: Duration = Duration::from_millis(1);

/// The status code and body of `http://ADDRESS/path`, of the first address that lets
/// connect, all within `patience`: past it, the error
/// is [`io::ErrorKind::TimedOut`].
pub fn get(
    addresses: &[Address],
    path: &str,
    token: Option<&Token>,
    patience: Duration,
) -> io::Result<(u16, Vec<u8>)> {
    let until = Instant::now() + patience;
    let asked = connect(addresses, until).and_then(|stream| ask(stream, path, token, until));
    asked.map_err(|error| match error.kind() {
        // How Linux tells that a receive's time is over.
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    })
}

fn left(until: Instant) -> io::Result<Duration> {
    match until.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        left => Ok(left.max(LEAST)),
    }
}

fn connect(addresses: &[Address], until: Instant) -> io::Result<Client> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match Client::connect(address, left(until)?) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn ask(
    mut stream: Client,
    path: &str,
    token: Option<&Token>,
    until: Instant,
) -> io::Result<(u16, Vec<u8>)> {
    let host = stream.host()?;
    let mut request =
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n").into_bytes();
    if let Some(token) = token {
        request.extend_from_slice(b"Authorization: Bearer ");
        request.extend_from_slice(token.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    stream.set_write_timeout(left(until)?)?;
    stream.write_all(&request)?;
    let mut answer = Vec::new();
    let mut bytes = [0; 4096];
    while answer.len() < MAX_ANSWER {
        // One that sends a byte now and then is held to the same end.
        stream.set_read_timeout(left(until)?)?;
        match stream.read(&mut bytes) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&bytes[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    parse(&answer)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP/1.1"))
}

fn parse(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut fields);
    match response.parse(answer) {
        Ok(httparse::Status::Complete(head)) => Some((response.code?, answer[head..].to_vec())),
        Ok(httparse::Status::Partial) | Err(_) => None,
    }
}
