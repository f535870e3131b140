//! What comes over the wire: routes, limits, slow and many clients.

use std::io::{Read, Write};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::{Client, Folder, Gateway, TOKEN, limited, request, start, wait_for};

#[test]
fn bodies_of_the_real_gateways_probes() {
    let folder = Folder::new("probes");
    let gateway = Gateway::start(&folder);
    let mut client = gateway.connect();
    for path in ["/health", "/healthz"] {
        assert_eq!(client.ask("GET", path, b"").text(), r#"{"ok":true,"status":"live"}"#);
    }
    for path in ["/ready", "/readyz"] {
        let answer = client.ask("GET", path, b"");
        assert_eq!(answer.status, 200);
        assert!(
            answer.text().starts_with(r#"{"ready":true,"failing":[],"uptimeMs":"#),
            "{}",
            answer.text()
        );
    }
    let answer = client.ask("GET", "/startupz", b"");
    assert_eq!(answer.status, 200);
    assert!(
        answer.text().starts_with(r#"{"ok":true,"status":"started","version":"#),
        "{}",
        answer.text()
    );
    assert!(answer.text().ends_with(r#""pendingReason":null}"#), "{}", answer.text());
    assert_eq!(answer.field("cache-control"), Some("no-store"));
}

#[test]
fn status_shows_two_fields_to_anyone_and_more_to_those_with_the_token() {
    let folder = Folder::new("status");
    let gateway = Gateway::start(&folder);
    for authorization in ["", "Authorization: Bearer wrong\r\n", "Authorization: Basic eDp5\r\n"] {
        let mut client = gateway.connect();
        client.send(format!("GET /status HTTP/1.1\r\nHost: a\r\n{authorization}\r\n"));
        let answer = client.answer();
        assert_eq!(
            (answer.status, answer.text()),
            (200, r#"{"status":"running","uptime":0}"#),
            "{authorization}"
        );
    }
    let status = gateway.ask("GET", "/status", b"").json();
    assert_eq!(status["pid"], gateway.pid().as_raw());
    assert_eq!((&status["generation"], &status["port"]), (&1.into(), &gateway.port.into()));
}

#[test]
fn refusals_by_path_method_and_token() {
    let folder = Folder::new("matrix");
    let gateway = Gateway::start(&folder);
    let plain = |line: &str| {
        let mut client = gateway.connect();
        client.send(format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client.answer()
    };
    assert_eq!(plain("GET /").status, 404);
    assert_eq!(plain("GET /statusx").status, 404);
    assert_eq!(plain("GET /memoryx").status, 404);
    let answer = plain("PUT /status");
    assert_eq!((answer.status, answer.field("allow")), (405, Some("GET, HEAD")));
    let answer = plain("POST /memory/a");
    assert_eq!((answer.status, answer.field("allow")), (405, Some("GET, HEAD, PUT, DELETE")));
    for line in ["GET /memory", "GET /memory/a", "PUT /memory/a", "DELETE /memory/a"] {
        let answer = plain(line);
        assert_eq!(answer.status, 401, "{line}");
        assert_eq!(answer.field("www-authenticate"), Some("Bearer realm=\"openclaw\""), "{line}");
    }
    let answer = gateway.ask("BREW", "/status", b"");
    assert_eq!(answer.status, 501);
    for path in ["/status", "/health", "/ready", "/metrics", "/healthz", "/readyz", "/startupz"] {
        assert_eq!(plain(&format!("GET {path}")).status, 200, "{path} is open to anyone");
    }
}

#[test]
fn without_a_token_the_memory_is_forbidden_and_the_log_says_why() {
    let folder = Folder::new("no-token");
    let mut command = start(&folder);
    command.env_remove("GATEWAY_TOKEN");
    let gateway = Gateway::run(command, &folder);
    for (method, path) in
        [("GET", "/memory"), ("GET", "/memory/a"), ("PUT", "/memory/a"), ("DELETE", "/memory/a")]
    {
        assert_eq!(gateway.ask(method, path, b"").status, 403, "{method} {path}");
    }
    assert_eq!(gateway.ask("GET", "/status", b"").text(), r#"{"status":"running","uptime":0}"#);
    assert!(
        gateway.log().contains("no token is set: /memory answers 403; set GATEWAY_TOKEN"),
        "{}",
        gateway.log()
    );
}

#[test]
fn chunked_and_fixed_bodies_arrive_alike_in_pieces_of_any_size() {
    let folder = Folder::new("bodies");
    let gateway = Gateway::start(&folder);
    let body: Vec<u8> = (0..300_u32).flat_map(u32::to_be_bytes).collect();
    let mut chunked = format!("PUT /memory/c HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
    for part in body.chunks(97) {
        chunked.extend(format!("{:x};part\r\n", part.len()).bytes());
        chunked.extend(part);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\nTrailer: x\r\n\r\n");
    for piece in [1, 7, 4096] {
        let mut client = gateway.connect();
        for bytes in chunked.chunks(piece) {
            client.send(bytes);
        }
        assert!(client.answer().status < 300);
        assert_eq!(client.ask("GET", "/memory/c", b"").body, body, "in pieces of {piece}");
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let folder = Folder::new("pipeline");
    let gateway = Gateway::start(&folder);
    let mut client = gateway.connect();
    let mut all = String::new();
    for number in 0..50 {
        all += &request("PUT", &format!("/memory/{number}"), 2);
        all += &format!("{number:02}");
        all += &request("GET", &format!("/memory/{number}"), 0);
    }
    client.send(all);
    for number in 0..50 {
        assert_eq!(client.answer().status, 201, "PUT {number}");
        assert_eq!(client.answer().text(), format!("{number:02}"), "GET {number}");
    }
}

#[test]
fn expect_100_continue_is_answered_before_the_body_or_refused_without_it() {
    let folder = Folder::new("continue");
    let gateway = Gateway::start(&folder);
    let head =
        request("PUT", "/memory/a", 3).replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
    let mut client = gateway.connect();
    client.send(&head);
    assert_eq!(client.answer().status, 100);
    client.send("abc");
    assert_eq!(client.answer().status, 201);
    let mut client = gateway.connect();
    client.send(head.replace(TOKEN, "wrong"));
    let answer = client.answer();
    assert_eq!((answer.status, answer.field("connection")), (401, Some("close")));
    assert!(client.is_closed());
}

#[test]
fn head_and_http_1_0_are_served() {
    let folder = Folder::new("old");
    let gateway = Gateway::start(&folder);
    let mut client = gateway.connect();
    client.send(request("HEAD", "/health", 0));
    let answer = client.try_answer(true).unwrap();
    assert_eq!((answer.status, answer.field("content-length")), (200, Some("27")));
    assert_eq!(
        client.ask("GET", "/health", b"").status,
        200,
        "nothing of HEAD's body is in the way"
    );
    let mut client = gateway.connect();
    client.send("GET /health HTTP/1.0\r\n\r\n");
    assert_eq!(client.answer().field("connection"), Some("close"));
    assert!(client.is_closed());
}

#[test]
fn oversized_heads_and_bodies_get_their_answer_while_the_client_still_sends() {
    let folder = Folder::new("sizes");
    let gateway = Gateway::start(&folder);
    let mib = 1024 * 1024;
    let largest = vec![b'x'; mib];
    let mut client = gateway.connect();
    assert_eq!(client.ask("PUT", "/memory/a", &largest).status, 201);
    assert_eq!(client.ask("GET", "/memory/a", b"").body, largest);

    let mut client = gateway.connect();
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(17 * 1024)));
    let answer = client.answer();
    assert_eq!((answer.status, answer.field("connection")), (431, Some("close")));

    let mut client = gateway.connect();
    assert_eq!(client.ask("PUT", "/memory/a", &vec![b'x'; mib + 1]).status, 413);

    // Announced in chunks, it is noticed on the way.
    let mut client = gateway.connect();
    client.send(format!("PUT /memory/a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\nTransfer-Encoding: chunked\r\n\r\n200000\r\n"));
    assert_eq!(client.answer().status, 413);
    assert_eq!(gateway.ask("GET", "/memory/a", b"").body, largest, "nothing refused was stored");
}

#[test]
fn bodies_that_nobody_wants_take_no_memory() {
    let folder = Folder::new("unwanted");
    let gateway = Gateway::start(&folder);
    let length = 1024 * 1024;
    let body = vec![b'x'; length - 1];
    let mut clients: Vec<Client> = (0..100)
        .map(|number| {
            let mut client = gateway.connect();
            let path = ["/status", "/health", "/ready", "/metrics"][number % 4];
            client.send(format!(
                "GET {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"
            ));
            client.send(&body);
            client
        })
        .collect();
    for client in &mut clients {
        assert_eq!(client.send("x").answer().status, 200);
    }
    let peak = gateway.peak_kib();
    assert!(peak < 32 * 1024, "{peak} KiB for 100 MiB of bodies without a token");
}

#[test]
fn values_under_way_are_bounded_together_and_the_next_one_gets_503() {
    let folder = Folder::new("bounded");
    let gateway = Gateway::start(&folder);
    let length = 1024 * 1024;
    let mut held: Vec<Client> = Vec::new();
    for number in 0..64 {
        let mut client = gateway.connect();
        let head = request("PUT", &format!("/memory/{number}"), length);
        client.send(head.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n"));
        assert_eq!(client.answer().status, 100);
        held.push(client);
    }
    let mut client = gateway.connect();
    let answer = client.send(request("PUT", "/memory/a", length)).answer();
    assert_eq!(
        (answer.status, answer.field("connection"), answer.field("retry-after")),
        (503, Some("close"), Some("1"))
    );
    assert_eq!(gateway.ask("GET", "/ready", b"").status, 200);
    drop(held);
    let value = vec![b'v'; length];
    wait_for("room for a value", || {
        gateway
            .connect()
            .try_ask("PUT", "/memory/a", &value)
            .is_some_and(|answer| answer.status == 201)
    });
    assert_eq!(gateway.ask("PUT", "/memory/a", &value).status, 204, "its room was given back");
}

#[test]
fn head_that_fails_in_the_parser_gets_no_body() {
    let folder = Folder::new("head-fails");
    let gateway = Gateway::start(&folder);
    for text in [
        "HEAD /status HTTP/1.1\r\n\r\n",
        "\r\nHEAD / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "HEAD / HTTP/2.0\r\n\r\n",
        "HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx",
    ] {
        let mut client = gateway.connect();
        client.send(text);
        let mut answer = String::new();
        client.stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 "), "{answer:?} to {text:?}");
        assert_eq!(answer.split_once("\r\n\r\n").unwrap().1, "", "{answer:?} to {text:?}");
    }
}

#[test]
fn slow_heads_bodies_and_readers_are_let_go_and_nobody_waits_for_them() {
    let folder = Folder::new("slow");
    let gateway = Gateway::start(&folder);
    assert_eq!(gateway.ask("PUT", "/memory/a", &[b'x'; 32 * 1024]).status, 201);
    // More answers than the sockets' buffers hold, and nobody who reads them.
    let mut deaf = gateway.connect();
    deaf.send(request("GET", "/memory/a", 0).repeat(600));
    let mut trickling = gateway.connect();
    let begun = Instant::now();
    trickling.send("GET /health HTTP/1.1\r\nHost: a\r\n");
    let mut writer = trickling.stream.try_clone().unwrap();
    let trickle = thread::spawn(move || {
        // A byte now and then, for as long as it is taken.
        while writer.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(100));
        }
    });
    let mut body = gateway.connect();
    body.send(request("PUT", "/memory/b", 100)).send("half");
    let mut idle = gateway.connect();
    assert_eq!(gateway.ask("GET", "/health", b"").status, 200);

    let answer = trickling.answer();
    let took = begun.elapsed();
    assert_eq!((answer.status, answer.field("connection")), (408, Some("close")));
    assert!((Duration::from_secs(9)..Duration::from_secs(13)).contains(&took), "{took:?}");
    assert_eq!(body.answer().status, 408);
    trickle.join().unwrap();
    assert_eq!(idle.ask("GET", "/health", b"").status, 200, "who has said nothing is not slow");
    let text = gateway.ask("GET", "/metrics", b"").text().to_owned();
    assert!(text.contains("openclaw_request_timeouts_total 2\n"), "{text}");
    wait_for("only this connection and the idle one", || {
        gateway.ask("GET", "/metrics", b"").text().contains("openclaw_connections 2\n")
    });
    assert!(deaf.stream.write_all(&[b'x'; 1 << 20]).is_err(), "the one that never read is let go");
}

#[test]
fn two_thousand_idle_connections_are_held_and_the_next_one_is_served() {
    let folder = Folder::new("idle");
    let gateway = Gateway::start(&folder);
    let mut idle: Vec<Client> = (0..2_000).map(|_| gateway.connect()).collect();
    wait_for("2,001 connections", || {
        gateway.ask("GET", "/metrics", b"").text().contains("openclaw_connections 2001\n")
    });
    let before = gateway.cpu_ticks();
    // Idle is observed, not waited for.
    thread::sleep(Duration::from_millis(500));
    let spent = gateway.cpu_ticks() - before;
    assert!(spent <= 5, "{spent} ticks of CPU in 500 idle ms");
    for client in idle.iter_mut().step_by(100) {
        assert_eq!(client.ask("GET", "/health", b"").status, 200);
    }
}

#[test]
fn connections_beyond_the_descriptor_limit_get_503_and_cost_no_cpu() {
    let folder = Folder::new("descriptors");
    let mut gateway = Gateway::run(limited(&folder, 80), &folder);
    let mut held: Vec<Client> = (0..100).map(|_| gateway.connect()).collect();
    let mut refused = 0;
    for client in &mut held {
        let answer = client.try_ask("GET", "/health", b"");
        match answer.map(|answer| answer.status) {
            Some(200) => {}
            Some(503) | None => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!((1..100).contains(&refused), "{refused} of 100 refused");
    let before = gateway.cpu_ticks();
    thread::sleep(Duration::from_millis(500));
    let spent = gateway.cpu_ticks() - before;
    assert!(spent <= 5, "{spent} ticks of CPU while full");
    let answer = gateway.ask("GET", "/health", b"");
    assert_eq!((answer.status, answer.field("retry-after")), (503, Some("1")));
    drop(held);
    wait_for("room for a connection", || gateway.ask("GET", "/health", b"").status == 200);
    assert_eq!(gateway.ask("PUT", "/memory/a", b"x").status, 201, "the disk had its descriptors");
    assert_eq!(gateway.end(Signal::SIGTERM), 0);
}

#[test]
fn kernel_without_descriptors_is_no_reason_to_spin() {
    let folder = Folder::new("emfile");
    let gateway = Gateway::start(&folder);
    let pid = gateway.pid().to_string();
    let limit = |number: &str| {
        let status =
            Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={number}:")]).status();
        status.is_ok_and(|status| status.success())
    };
    if !limit("8") {
        println!("skipped: prlimit cannot change the limit here");
        return;
    }
    let mut waiting = gateway.connect();
    gateway.wait_log("no connection can be accepted");
    let before = gateway.cpu_ticks();
    thread::sleep(Duration::from_millis(500));
    let spent = gateway.cpu_ticks() - before;
    assert!(spent <= 5, "{spent} ticks of CPU without descriptors");
    assert!(limit("1000"));
    assert_eq!(waiting.ask("GET", "/health", b"").status, 200, "it was waiting all the time");
}

#[test]
fn garbage_of_every_kind_is_answered_or_closed_and_the_gateway_lives() {
    let folder = Folder::new("garbage");
    let gateway = Gateway::start(&folder);
    let mut random = crate::harness::Random::new("garbage");
    let seeds: [&[u8]; 5] = [
        b"GET /status HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PUT /memory/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"PUT /memory/a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    for round in 0..500 {
        let mut bytes = seeds[round % seeds.len()].to_vec();
        for _ in 0..random.below(4) {
            let place = random.below(bytes.len() as u64) as usize;
            bytes[place] = random.below(256) as u8;
        }
        let mut client = gateway.connect();
        client.send(&bytes);
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // A reset is an answer, too.
        let _ = client.stream.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 "), "{answer:?} to {bytes:?}");
    }
    assert_eq!(gateway.ask("GET", "/health", b"").status, 200);
}

#[test]
fn metrics_count_answers_and_name_every_family_once() {
    let folder = Folder::new("metrics");
    let gateway = Gateway::start(&folder);
    gateway.ask("PUT", "/memory/a", b"12345");
    gateway.ask("GET", "/memory/a", b"");
    gateway.ask("GET", "/nowhere", b"");
    let answer = gateway.ask("GET", "/metrics", b"");
    assert_eq!(answer.field("content-type"), Some("text/plain; version=0.0.4"));
    let text = answer.text();
    for line in [
        "openclaw_requests_total{code=\"201\"} 1",
        "openclaw_requests_total{code=\"404\"} 1",
        "openclaw_memory_keys 1",
        "openclaw_memory_bytes 5",
        "openclaw_memory_cache_hits_total 1",
        "openclaw_memory_commits_total 1",
        "openclaw_ready 1",
        "openclaw_generation 1",
    ] {
        assert!(text.lines().any(|own| own == line), "{line} is not in:\n{text}");
    }
    let mut families: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let count = families.len();
    families.sort_unstable();
    families.dedup();
    assert_eq!(families.len(), count);
}
