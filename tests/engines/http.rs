//! As much of HTTP as asking a gateway takes.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What one answer may take.
const ANSWER: Duration = Duration::from_secs(10);

/// A connection on which nothing was said yet.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    Ok(stream)
}

/// The head of a request with a body of `length` bytes, after which the server is to close.
pub fn head(method: &str, path: &str, token: &str, length: usize) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\
         Authorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// The status code and the body of an answer.
pub fn answer(mut stream: TcpStream) -> io::Result<(u16, String)> {
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let code = text.split(' ').nth(1).and_then(|code| code.parse().ok());
    match (code, text.split_once("\r\n\r\n")) {
        (Some(code), Some((_, body))) => Ok((code, body.to_string())),
        _ => Err(io::Error::other(format!("no HTTP answer: {text:?}"))),
    }
}

/// One request and its answer.
pub fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    token: &str,
    body: &str,
) -> io::Result<(u16, String)> {
    let mut stream = connect(address)?;
    stream.write_all(head(method, path, token, body.len()).as_bytes())?;
    stream.write_all(body.as_bytes())?;
    answer(stream)
}
