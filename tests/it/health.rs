//! `clawinit health`: a GET that believes nothing and waits for nobody past its time.

use crate::harness::{Folder, Plain, clawinit, ms, plain};
use crate::sys;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

/// A server on the loopback address that reads a request and then does as `answer` says, for
/// each connection; its port. It goes with the test process.
fn serve(answer: impl Fn(&mut TcpStream, &str) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
                request.push(byte[0]);
            }
            answer(&mut stream, &String::from_utf8_lossy(&request));
        }
    });
    port
}

/// One that answers with these bytes, and closes.
fn says(answer: impl Into<Vec<u8>>) -> String {
    let answer = answer.into();
    let port = serve(move |stream, _| {
        // The client may have seen enough and left.
        let _ = stream.write_all(&answer);
    });
    format!("http://127.0.0.1:{port}/")
}

/// A whole answer with this body.
fn page(body: &str) -> String {
    says(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

fn health(words: &[&str]) -> Plain {
    let mut all = vec!["health"];
    all.extend(words);
    plain(None, &all, &[])
}

fn healthy(words: &[&str]) -> Plain {
    let done = health(words);
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""), "{words:?}: {}", done.out);
    done
}

/// Not healthy: one line that says so, nothing in it that a terminal would act on.
fn ill(words: &[&str], why: &str) -> String {
    let done = health(words);
    let line = done.err.strip_suffix('\n').unwrap_or(&done.err).to_string();
    assert_eq!((done.code, done.out.as_str()), (Some(1), ""), "{words:?}: {line}");
    assert!(line.starts_with("clawinit: health: "), "{words:?}: {line}");
    assert!(!line.contains(char::is_control) && line.len() < 700, "{words:?}: {line:?}");
    assert!(line.contains(why), "{words:?}: no {why:?} in: {line}");
    line
}

pub fn a_right_answer_is_healthy_and_has_one_short_line() {
    let url = page("fine");
    let done = healthy(&[&url]);
    assert!(done.out.starts_with("200, ") && done.out.ends_with(" ms\n"), "{:?}", done.out);
    assert_eq!(healthy(&["--quiet", &url]).out, "");
    assert_eq!(healthy(&[&url, "--status=200-204", "--expect-body", "in"]).err, "");
}

pub fn a_body_of_every_kind_is_read_whole() {
    let json = r#"{"status":"ok"}"#;
    for answer in [
        format!("HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{json}and more"),
        format!("HTTP/1.1 200 OK\r\ncontent-length: 15\r\nContent-Length: 15\r\n\r\n{json}"),
        format!("HTTP/1.1 200 OK\r\n\r\n{json}"),
        format!("HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n{json}"),
        format!("HTTP/1.1 200\r\n\r\n{json}"),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\n{\"sta\r\n00a;x=y\r\ntus\":\"ok\"}\r\n0\r\n\r\n".to_string(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nF\r\n{\"status\":\"ok\"}\r\n0\r\nA: b\r\n\r\n".to_string(),
        format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{json}"),
    ] {
        healthy(&[&says(answer), "--expect-json", "status=ok"]);
    }
    healthy(&[&says("HTTP/1.1 204 No Content\r\n\r\n")]);
    healthy(&[&says("HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n"), "--status=304"]);
    // In as many pieces as there are bytes.
    let port = serve(|stream, _| {
        let _ = stream.set_nodelay(true);
        for byte in
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n1\r\n!\r\n0\r\n\r\n"
        {
            stream.write_all(&[*byte]).expect("write");
        }
    });
    healthy(&[&format!("http://127.0.0.1:{port}"), "--expect-body=ok!"]);
}

pub fn the_request_is_plain_http_and_nothing_gets_into_it() {
    let (sender, receiver) = mpsc::channel();
    let port = serve(move |stream, request| {
        sender.send(request.to_string()).expect("send");
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").expect("answer");
    });
    for (path, wanted) in
        [("", "/"), ("/a/b?c=d&e#f", "/a/b?c=d&e"), ("?q=1", "/?q=1"), ("/%0d%0a", "/%0d%0a")]
    {
        healthy(&[&format!("HTTP://localhost:{port}{path}")]);
        let request = receiver.recv_timeout(Duration::from_secs(5)).expect("a request");
        assert_eq!(
            request,
            format!(
                "GET {wanted} HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: clawinit/{}\r\nAccept: */*\r\nConnection: close\r\n\r\n",
                env!("CARGO_PKG_VERSION")
            )
        );
    }
}

pub fn another_status_is_told_with_what_came() {
    let draining = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 8\r\n\r\ndraining";
    ill(&[&says(draining)], "expected 200-299, got 503 Service Unavailable: draining");
    healthy(&[&says(draining), "--status=503"]);
    healthy(&[&says(draining), "--status", "500-599"]);
    ill(&[&page("x"), "--status", "204"], "expected 204, got 200 OK: x");
    let redirect = "HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n";
    ill(&[&says(redirect)], "got 302 Found, a redirect to /login, which is not followed");
    ill(&[&says("HTTP/1.1 404\r\n\r\n")], "got 404");
    // Nobody asked for another protocol.
    ill(&[&says("HTTP/1.1 101 Switching Protocols\r\n\r\n")], "got 101");
}

pub fn what_is_expected_of_the_body_is_told_when_it_is_not_there() {
    let url = page(r#"{"status":"draining","checks":[{"ok":false,"n":3}],"a.b":null}"#);
    healthy(&[
        &url,
        "--expect-body=drain",
        "--expect-body=checks",
        "--expect-json=checks.0.n=3",
        "--expect-json=checks.0.ok=false",
        "--expect-json=/a.b=null",
        "--expect-json=status=draining",
    ]);
    ill(&[&url, "--expect-json", "status=ok"], "expected status to be ok, got \"draining\"");
    ill(&[&url, "--expect-json", "checks.0.ok=true"], "to be true, got false");
    ill(&[&url, "--expect-json", "checks.1.ok=true"], "which is not in {\"status\"");
    ill(
        &[&url, "--expect-body=drain", "--expect-body=running"],
        "expected \"running\" in the body, got {",
    );
    // A page for everything, as single-page applications have it.
    let app = page("<!doctype html><div id=app></div>");
    healthy(&[&app]);
    ill(&[&app, "--expect-json", "status=ok"], "expected JSON, got <!doctype html>");
    ill(&[&page(""), "--expect-json", "status=ok"], "expected JSON, got an empty body");
    ill(&[&page(""), "--expect-body", "ok"], "got an empty body");
}

pub fn foreign_text_is_cut_and_cannot_forge_a_line() {
    let line = ill(
        &[&page("\x1b[2J\nclawinit: healthy\r\x07\u{9b}"), "--expect-body=ok"],
        "\\u{1b}[2J\\nclawinit: healthy\\r\\u{7}\\u{9b}",
    );
    assert_eq!(line.matches("clawinit: ").count(), 2, "{line}");
    ill(&[&page(&"long".repeat(50_000)), "--expect-body=ok"], "longlong...");
    ill(&[&says("HTTP/1.1 302 \x1b[2J\r\nLocation: \x1b[31m\r\n\r\n")], "");
    ill(&[&says(b"\xff\xfe\x00\x1b[2J\n".to_vec())], "no HTTP");
}

pub fn answers_that_are_none_have_their_line() {
    ill(&[&says("")], "closed without an answer");
    ill(&[&says("SSH-2.0-OpenSSH_9.9\r\n")], "an answer that is no HTTP");
    ill(&[&says("HTTP/1.1 200 OK\r\nConte")], "closed in the midst of the headers");
    ill(
        &[&says("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfive!")],
        "ended after 5 of 10 bytes",
    );
    ill(&[&says("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n")], "Content-Length \"x\"");
    ill(&[&says("HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nfive!")], "Content-Length \"+5\"");
    ill(
        &[&says("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")],
        "Content-Length",
    );
    ill(
        &[&says("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n")],
        "Transfer-Encoding \"gzip, chunked\"",
    );
    for chunks in ["zz\r\n", "5\r\nfive!five!", "5\r\nfiv", "", "5", "fffffffffffffffff\r\n"] {
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        ill(&[&says(answer)], "chunk");
    }
    ill(&[&says("HTTP/1.1 100 Continue\r\n\r\n".repeat(50))], "interim answers");
}

pub fn nothing_that_is_sent_uses_up_time_or_memory() {
    // More of everything than is taken; all of it without an end.
    let bombs: [(&str, &[u8], &[u8], &str); 6] = [
        ("a body", b"HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 65536], "more than 1024 KiB"),
        ("headers", b"HTTP/1.1 200 OK\r\n", b"a: b\r\n", "more than 128 headers"),
        ("a header", b"HTTP/1.1 200 OK\r\na: ", &[b'x'; 4096], "more than 32 KiB of headers"),
        ("empty lines", b"", &[b'\n'; 512], "more than 32 KiB of headers"),
        (
            "small chunks",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"1\r\nx\r\n1\r\nx\r\n1\r\nx\r\n1\r\nx\r\n1\r\nx\r\n1\r\nx\r\n",
            "more than 1024 KiB",
        ),
        (
            "a chunk's line",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;",
            &[b'x'; 4096],
            "a chunk of the body without a size",
        ),
    ];
    for (what, head, again, why) in bombs {
        let port = serve(move |stream, _| {
            let mut whole = stream.write_all(head);
            // Pieces of a sensible size, whatever is repeated.
            let piece = again.repeat(65536 / again.len());
            while whole.is_ok() {
                whole = stream.write_all(&piece);
            }
        });
        let line = ill(&[&format!("http://127.0.0.1:{port}/"), "--timeout=20s"], why);
        assert!(!line.contains("within"), "{what}: {line}");
    }
    ill(&[&says("HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n")], "more than 1024 KiB");
    ill(&[&says("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n")], "");
    for open in ["[", "{\"a\":"] {
        let deep = page(&open.repeat(200_000));
        ill(&[&deep, "--expect-json", "a=1"], "expected JSON");
        ill(&[&page("1"), "--expect-json", &format!("a={}", open.repeat(20_000))], "");
    }
}

/// However slowly it goes on.
pub fn one_deadline_covers_everything() {
    let drips: [(&str, &'static [u8], &'static [u8]); 5] = [
        ("nothing", b"", b""),
        ("headers", b"HTTP/1.1 200 OK\r\n", b"a"),
        ("interim answers", b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        ("a body", b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
        ("chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ];
    for (what, head, drip) in drips {
        let port = serve(move |stream, _| {
            let mut whole = stream.write_all(head);
            // It ends with the client, whose end of the connection closes.
            let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
            while whole.is_ok() && !stream.read(&mut [0]).is_ok_and(|n| n == 0) {
                whole = stream.write_all(drip);
            }
        });
        let began = sys::now_ns();
        ill(&[&format!("http://127.0.0.1:{port}/"), "--timeout=400ms"], "within 400 ms");
        let took = ms(began, sys::now_ns());
        assert!((400.0..1500.0).contains(&took), "{what}: {took} ms");
    }
    // A name server that never answers.
    let server = UdpSocket::bind("127.93.7.11:53").expect("port 53 of a loopback address");
    let began = sys::now_ns();
    let done = with_etc("nameserver 127.93.7.11", "http://some.name.test/", "--timeout=400ms");
    let took = ms(began, sys::now_ns());
    assert_eq!(done.0, Some(1), "{}", done.1);
    assert!(done.1.contains("no answer of the name server within 400 ms"), "{}", done.1);
    assert!((400.0..1500.0).contains(&took), "{took} ms");
    drop(server);
}

/// The code, and what was said, where nothing is in `/etc` but this resolv.conf.
fn with_etc(resolv_conf: &str, url: &str, option: &str) -> (Option<i32>, String) {
    let script = "mount -t tmpfs none /etc && echo \"$1\" >/etc/resolv.conf && exec \"$2\" health \"$3\" \"$4\"";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh", resolv_conf])
        .arg(clawinit())
        .args([url, option])
        .output()
        .expect("unshare, of util-linux");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// An image from scratch has no /etc/hosts, and may have no name server.
pub fn localhost_needs_no_file_and_no_name_server() {
    let url = page("fine").replace("127.0.0.1", "localhost");
    let (code, text) = with_etc("", &url, "--timeout=2s");
    assert_eq!(code, Some(0), "{text}");
    // The other address is tried too.
    let listener = TcpListener::bind("[::1]:0");
    if let Ok(listener) = listener {
        let url = format!("http://LocalHost:{}/", listener.local_addr().expect("a port").port());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").expect("answer");
            let _ = stream.read(&mut [0; 4096]);
        });
        healthy(&[&url]);
    } else {
        println!("there is no IPv6 here");
    }
}

pub fn who_cannot_be_reached_is_told() {
    let port = crate::harness::free_port();
    for host in ["127.0.0.1", "localhost", "[::1]"] {
        ill(&[&format!("http://{host}:{port}/")], &format!("no connection to {host}:{port}: "));
    }
    ill(&["http://no.such.name.invalid/", "--timeout=2s"], "no.such.name.invalid");
    // Nobody takes the connection: the queue of a listener that accepts none is full.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let short = Duration::from_millis(200);
    let mut queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, short) {
        queue.push(stream);
        assert!(queue.len() < 10_000, "a queue without an end");
    }
    ill(&[&format!("http://{address}/"), "--timeout=300ms"], "within 300 ms");
}

pub fn wrong_urls_and_options_have_their_line() {
    for (words, why) in [
        (&["127.0.0.1:80/x"][..], "has no scheme; write http://127.0.0.1:80/x"),
        (&["//host/x"], "has no scheme; write http://host/x"),
        (&[""], "has no scheme; write http://"),
        (&["https://127.0.0.1/"], "wants TLS"),
        (&["ftp://127.0.0.1/"], "is no HTTP; write http://"),
        (&["http://user:secret@host/"], "names a user, which is not sent; leave out"),
        (&["http:///x"], "names no host; write"),
        (&["http://:80/x"], "names no host; write"),
        (&["http://host:0/"], "write a number from 1 to 65535"),
        (&["http://host:99999/"], "write a number from 1 to 65535"),
        (&["http://host:+80/"], "write a number from 1 to 65535"),
        (&["http://host:8o/"], "write a number from 1 to 65535"),
        (&["http://::1/"], "write it like [::1]"),
        (&["http://[::1/"], "write an IPv6 address like"),
        (&["http://[nine]/"], "write one like [::1]"),
        (&["http://[::1]80/"], "write a number from 1 to 65535"),
        (&["http://ho$st/"], "write a name or an address"),
        (&["http://host/a b"], "write %20 for it"),
        (&["http://host/\r\nX-Injected: 1"], "write %0D for it"),
        (&["http://host\n/"], "write %0A for it"),
        (&["http://h\u{f6}st/"], "write %C3%B6 for it"),
        (&[], "no URL given; write clawinit health URL"),
        (&["http://a/", "http://b/"], "one word too many; leave it out"),
        (&["http://a/", "--timeout", "5"], "--timeout: \"5\" has no unit; write 5s"),
        (&["http://a/", "--timeout=0s"], "--timeout: nothing answers in no time; write more"),
        (&["http://a/", "--status=20"], "--status: \"20\" is no status; write a number"),
        (&["http://a/", "--status=300-200"], "--status: "),
        (&["http://a/", "--expect-body="], "--expect-body: every body contains \"\"; write"),
        (
            &["http://a/", "--expect-json=status"],
            "--expect-json: \"status\" is no path with a value; write",
        ),
        (&["http://a/", "--expect-json==x"], "--expect-json: "),
        (&["http://a/", "--expect-jsn=a=b"], "did you mean --expect-json?"),
    ] {
        let done = health(words);
        assert_eq!((done.code, done.out.as_str()), (Some(2), ""), "{words:?}: {}", done.err);
        assert_eq!(done.err.lines().count(), 1, "{words:?}: {}", done.err);
        assert!(done.err.starts_with("clawinit: health: "), "{words:?}: {}", done.err);
        assert!(done.err.contains(why), "{words:?}: no {why:?} in {}", done.err);
        assert!(!done.err.contains("secret"), "{}", done.err);
    }
}

/// As PID 1 of a container made for nothing else, and where its output cannot be written.
pub fn it_answers_wherever_it_runs() {
    let url = page("fine");
    let run = crate::harness::Init::plain(&["health", &url]).alone();
    run.finish_with(0);
    let run = crate::harness::Init::plain(&["health", &url]).flag("close=1").alone();
    run.finish_with(0);
    let folder = Folder::new();
    let (clawinit, probe) = folder.copies();
    let run = crate::harness::Init::plain(&["health", &url])
        .program(clawinit)
        .with_probe(probe)
        .flag("user=65534")
        .flag("no-proc")
        .flag("read-only")
        .alone();
    run.finish_with(0);
}
