//! What a client sends to the gateway: a head, then a body by length or in chunks.

use crate::http::Refusal;
use crate::http::body::{Body, Room};
use crate::http::head::{self, Framing, Method};
use crate::http::response::Response;
use clawinit::exporter::request;

/// Reads the bytes as a request.
pub fn gateway_http(data: &[u8]) {
    let data = &data[..data.len().min(32 * 1024)];
    let whole = head::parse(data);
    match &whole {
        Ok(Some((asked, taken))) => {
            assert!(*taken <= data.len().min(head::MAX_BYTES));
            assert!(asked.path == "*" || asked.path.starts_with('/'), "{asked:?}");
            assert!(!asked.path.contains(['?', '\r', '\n', ' ']), "{asked:?}");
            assert_eq!(head::parse(&data[..*taken]), whole, "what follows a head has no say in it");
            assert_eq!(head::parse(&data[..taken - 1]), Ok(None));
            as_the_exporter_reads_it(&data[..*taken], asked);
            body(asked.framing, &data[*taken..]);
        }
        Ok(None) => assert!(data.len() < head::MAX_BYTES),
        Err(refusal) => refused(refusal, data),
    }
    for cut in (0..data.len()).step_by(1 + data.len() / 48) {
        match head::parse(&data[..cut]) {
            Ok(None) => {}
            early => assert_eq!(early, whole, "cut at {cut}"),
        }
    }
    // Any bytes are a body, too.
    body(Framing::Chunked, data);
}

fn refused(refusal: &Refusal, data: &[u8]) {
    let known = [400, 413, 414, 417, 431, 501, 503, 505];
    assert!(known.contains(&refusal.status), "{refusal:?}");
    let answer = Response::from(refusal.clone()).write(head::is_head_method(data), false, false, 0);
    let answer = String::from_utf8(answer).expect("text");
    assert!(answer.starts_with(&format!("HTTP/1.1 {} ", refusal.status)), "{answer}");
}

/// Two readers of one message that part ways are what request smuggling is made of.
fn as_the_exporter_reads_it(bytes: &[u8], asked: &head::Head) {
    let request::Head::Whole(other) = request::read(bytes) else { return };
    let method = match asked.method {
        Method::Get => request::Method::Get,
        Method::Head => request::Method::Head,
        Method::Put | Method::Delete | Method::Other => request::Method::Other,
    };
    assert_eq!((method, bytes.len()), (other.method, other.length));
    // The exporter, which never reads a body, leaves behind each that could come.
    assert!(!asked.has_body() || !other.keep_alive, "{asked:?} {other:?}");
    assert!(asked.keep_alive || !other.keep_alive, "{asked:?} {other:?}");
}

type Read = Result<Option<(Vec<u8>, usize)>, Refusal>;

/// What came out of a body that arrives in pieces, and how many bytes were its own.
fn read(framing: Framing, input: &[u8], piece: usize) -> Read {
    let mut body = Body::new(framing, Some(Room::default().hold()))?;
    let mut taken = 0;
    for part in input.chunks(piece) {
        let count = body.take(part)?;
        taken += count;
        if count < part.len() {
            assert!(body.is_done());
        }
        if body.is_done() {
            break;
        }
    }
    Ok(body.is_done().then(|| (body.into_parts().0, taken)))
}

fn body(framing: Framing, input: &[u8]) {
    let whole = read(framing, input, input.len().max(1));
    for piece in [1, 2, 7] {
        assert_eq!(read(framing, input, piece), whole, "in pieces of {piece}");
    }
    match (framing, &whole) {
        (Framing::None, Ok(read)) => assert_eq!(*read, Some((Vec::new(), 0))),
        (Framing::Length(length), Ok(Some((bytes, taken)))) => {
            assert_eq!((bytes.len() as u64, *taken as u64), (length, length));
            assert!(input.starts_with(bytes));
        }
        (Framing::Length(length), Ok(None)) => assert!((input.len() as u64) < length),
        (Framing::Chunked, Ok(Some(read))) => assert_eq!(Some(read), unchunked(input).as_ref()),
        (Framing::Chunked, Ok(None)) => assert_eq!(unchunked(input), None),
        (_, Err(refusal)) => refused(refusal, b""),
    }
}

/// RFC 9112, section 7.1, the simple way: the body of what is well formed, and where it ends.
pub fn unchunked(input: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut body = Vec::new();
    let mut at = 0;
    let line = |at: &mut usize| {
        let end = input[*at..].windows(2).position(|two| two == b"\r\n")?;
        let line = &input[*at..*at + end];
        *at += end + 2;
        Some(line)
    };
    loop {
        let size = line(&mut at)?;
        let digits = size.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = u64::from_str_radix(std::str::from_utf8(&size[..digits]).ok()?, 16).ok()?;
        if size == 0 {
            break;
        }
        let chunk = input.get(at..at.checked_add(usize::try_from(size).ok()?)?)?;
        body.extend(chunk);
        at += chunk.len() + 2;
        if input.get(at - 2..at)? != b"\r\n" {
            return None;
        }
    }
    while !line(&mut at)?.is_empty() {}
    Some((body, at))
}
