//! Clients that mean no good, for the exporter's tests and for `examples/attack.rs`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long one of them waits for anything.
const PATIENCE: Duration = Duration::from_secs(2);

/// Connections that each attacker holds open without ever finishing its request.
const HELD: usize = 64;

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// Connections that were made.
    pub connections: u64,
    /// Requests in good order among them.
    pub asked: u64,
    /// Those of them that got their whole answer.
    pub answered: u64,
}

/// Attacks from so many threads, a connection for each time that `more` says true.
pub fn run(address: SocketAddr, threads: usize, more: impl Fn() -> bool + Sync) -> Outcome {
    let [connections, asked, answered] = [const { AtomicU64::new(0) }; 3];
    let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut held = Vec::new();
                for turn in 0.. {
                    if !more() {
                        break;
                    }
                    let Ok(stream) = TcpStream::connect_timeout(&address, PATIENCE) else {
                        continue;
                    };
                    count(&connections);
                    let _ = stream.set_read_timeout(Some(PATIENCE));
                    let _ = stream.set_write_timeout(Some(PATIENCE));
                    match turn % 5 {
                        0 => {
                            count(&asked);
                            if is_answered(stream) {
                                count(&answered);
                            }
                        }
                        1 => drop(stream),
                        2 => floods(stream),
                        3 => asks_and_leaves(stream),
                        _ => hold(&mut held, stream),
                    }
                }
            });
        }
    });
    let [connections, asked, answered] = [connections, asked, answered].map(AtomicU64::into_inner);
    Outcome { connections, asked, answered }
}

/// A scrape; whether it got its whole answer.
pub fn is_answered(mut stream: TcpStream) -> bool {
    let request = b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let mut answer = String::new();
    stream.write_all(request).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200 OK")
        && answer.contains("clawinit_uptime_seconds")
}

/// A head without an end.
fn floods(mut stream: TcpStream) {
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nX: ");
    let _ = stream.write_all(&[b'x'; 64 * 1024]);
    let _ = stream.read(&mut [0; 512]);
}

/// Many requests, none of whose answers it reads.
fn asks_and_leaves(mut stream: TcpStream) {
    let _ = stream.write_all("GET /status HTTP/1.1\r\nHost: a\r\n\r\n".repeat(64).as_bytes());
}

/// One more that says a word now and then, and never its last one.
fn hold(held: &mut Vec<TcpStream>, mut stream: TcpStream) {
    let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nX: ");
    held.push(stream);
    if held.len() > HELD {
        held.remove(0);
    }
    for stream in held {
        let _ = stream.write_all(b"x");
    }
}
