//! What a server answers to `clawinit health`.

use crate::input::Input;
use clawinit::report::misleads;
use clawinit::verbs::health::http::{self, Answer, Wire};
use std::io;
use std::time::Duration;

/// A server that sends these bytes in pieces of this length, and closes.
struct Server<'a> {
    bytes: &'a [u8],
    piece: usize,
}

impl Wire for Server<'_> {
    fn read(&mut self, piece: &mut [u8], timeout: Duration) -> io::Result<usize> {
        assert!(!timeout.is_zero(), "a read without a bound");
        let count = self.piece.min(piece.len()).min(self.bytes.len());
        let (now, later) = self.bytes.split_at(count);
        piece[..count].copy_from_slice(now);
        self.bytes = later;
        Ok(count)
    }
}

fn read(bytes: &[u8], piece: usize) -> Result<Answer, String> {
    http::read_answer(Server { bytes, piece }, Duration::from_secs(60))
}

/// Reads the bytes as an answer, in pieces and at once.
pub fn health_response(data: &[u8]) {
    let mut input = Input(data);
    let piece = 1 + usize::from(input.byte()) * if input.flag() { 1 } else { 64 };
    let bytes = &input.0[..input.0.len().min(8 * 1024)];
    let (whole, pieces) = (read(bytes, bytes.len().max(1)), read(bytes, piece));
    match (&whole, &pieces) {
        (Ok(whole), Ok(pieces)) => {
            let parts = |answer: &Answer| {
                (
                    answer.status,
                    answer.reason.clone(),
                    answer.location.clone(),
                    answer.body.clone().ok(),
                )
            };
            assert_eq!(parts(whole), parts(pieces), "in pieces of {piece}");
            holds(whole, bytes);
        }
        // What is shown of half an answer depends on how much of it had come.
        (Err(whole), Err(pieces)) => {
            for line in [whole, pieces] {
                assert!(!line.contains(misleads), "{line:?}");
            }
        }
        _ => panic!("at once {:?}, in pieces of {piece} {:?}", whole.is_ok(), pieces.is_ok()),
    }
}

fn holds(answer: &Answer, bytes: &[u8]) {
    assert!((100..1000).contains(&answer.status) || answer.status < 100, "{}", answer.status);
    assert!(!answer.reason.contains(misleads), "{:?}", answer.reason);
    assert!(!answer.location.iter().any(|at| at.contains(misleads)));
    match &answer.body {
        Err(line) => assert!(!line.contains(misleads), "{line:?}"),
        Ok(body) => {
            assert!(body.len() <= bytes.len().min(http::MAX_BODY));
            if is_chunked(bytes) {
                assert_eq!(
                    Some(body),
                    unchunked(bytes).as_ref(),
                    "{:?}",
                    bytes.escape_ascii().to_string()
                );
            }
        }
    }
}

/// Whether the bytes are one answer whose body is chunked, as far as a simple look shows.
fn is_chunked(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    // With a bare LF somewhere the head may have ended before.
    head.starts_with("http/1.1 200 ")
        && !head.replace("\r\n", "").contains('\n')
        && head.split("\r\n").any(|line| line == "transfer-encoding: chunked")
}

/// RFC 9112, section 7.1, the simple way.
fn unchunked(bytes: &[u8]) -> Option<Vec<u8>> {
    let start = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    super::gateway_http::unchunked(&bytes[start..]).map(|(body, _)| body)
}
