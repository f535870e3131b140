//! Very many connections, and very slow ones: those who behave are served, what is
//! refused is told so, memory stays bounded and descriptors come back.

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;

use crate::harness::{Client, Folder, Gateway, limited, wait_for};

const CONNECTIONS: usize = 10_000;
/// Clients of the slowloris that send half a head, as large as one may be, and those that
/// send a body byte by byte.
const HALF_HEADS: usize = 4_000;
const TRICKLED: usize = 1_000;
/// What the gateway may take for all of them.
const MEMORY_KIB: u64 = 64 * 1024;

/// Raises our own limit; false where this machine does not allow so many.
fn may_open(descriptors: usize, test: &str) -> bool {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    // Others of these tests run beside this one.
    let can = hard >= descriptors as u64 + 6_000;
    if can {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    } else {
        println!("skipped: {test} wants more than the {hard} descriptors that are allowed here");
    }
    can
}

fn descriptors(gateway: &Gateway) -> usize {
    fs::read_dir(format!("/proc/{}/fd", gateway.pid())).unwrap().count()
}

fn wait_for_connections(gateway: &Gateway, count: usize) {
    wait_for(&format!("{count} connections"), || {
        let text = gateway.ask("GET", "/metrics", b"").text().to_owned();
        text.contains(&format!("openclaw_connections {count}\n"))
    });
}

#[test]
fn ten_thousand_connections_are_held_and_served_and_their_descriptors_come_back() {
    let test = "ten_thousand_connections_are_held_and_served_and_their_descriptors_come_back";
    if !may_open(CONNECTIONS, test) {
        return;
    }
    let folder = Folder::new("ten-thousand");
    let mut gateway = Gateway::start(&folder);
    let before = descriptors(&gateway);
    let small = gateway.peak_kib();
    let begun = Instant::now();
    let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| gateway.connect()).collect();
    wait_for_connections(&gateway, CONNECTIONS + 1);
    let connected = begun.elapsed();
    let begun = Instant::now();
    for client in &mut clients {
        client.send("GET /health HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.answer().status, 200);
    }
    let answered = begun.elapsed();
    let peak = gateway.peak_kib();
    println!(
        "{CONNECTIONS} connections in {connected:.1?}, each answered in {answered:.1?} together; \
         {peak} KiB at the most, {small} KiB before"
    );
    assert!(peak < MEMORY_KIB, "{peak} KiB");
    drop(clients);
    wait_for("every descriptor to come back", || descriptors(&gateway) <= before);
    assert_eq!(gateway.ask("PUT", "/memory/a", b"x").status, 201);
    assert_eq!(gateway.end(Signal::SIGTERM), 0);
}

#[test]
fn ten_thousand_connections_over_a_limit_of_a_thousand_are_served_or_refused_in_words() {
    let test = "ten_thousand_connections_over_a_limit_of_a_thousand_are_served_or_refused_in_words";
    if !may_open(CONNECTIONS, test) {
        return;
    }
    let folder = Folder::new("over-the-limit");
    let mut gateway = Gateway::run(limited(&folder, 1_000), &folder);
    let before = descriptors(&gateway);
    let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| gateway.connect()).collect();
    let (mut served, mut refused, mut unclean) = (0, 0, 0);
    for client in &mut clients {
        // Who is refused may find the connection closed; the answer is there all the same.
        client.try_send("GET /health HTTP/1.1\r\nHost: a\r\n\r\n");
        match client.try_answer(false) {
            Some(answer) if answer.status == 200 => served += 1,
            Some(answer) if answer.status == 503 => {
                assert_eq!(answer.field("connection"), Some("close"));
                assert_eq!(answer.field("retry-after"), Some("1"));
                refused += 1;
            }
            Some(other) => panic!("{other:?}"),
            None => unclean += 1,
        }
    }
    println!(
        "{CONNECTIONS} connections, room for fewer than 1000: {served} served, {refused} refused \
         with 503, {unclean} closed without a word"
    );
    assert!((500..1_000).contains(&served), "{served}");
    assert_eq!((served + refused, unclean), (CONNECTIONS, 0));
    assert_eq!(gateway.log().matches("as many as descriptors allow").count(), 1, "said once");
    drop(clients);
    wait_for("every descriptor to come back", || descriptors(&gateway) <= before);
    assert_eq!(gateway.ask("PUT", "/memory/a", b"x").status, 201);
    assert_eq!(gateway.end(Signal::SIGTERM), 0);
}

/// A burst, or a gateway that has no CPU for a moment: the kernel lets them wait. Over its
/// bound it drops them in silence, and they try again a second later.
#[test]
fn two_thousand_connections_at_once_wait_for_a_gateway_that_has_no_cpu() {
    let allowed = fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    if allowed.trim().parse::<usize>().unwrap() < 2_100 {
        println!("skipped: this kernel lets only {allowed} connections wait");
        return;
    }
    let folder = Folder::new("burst");
    let mut gateway = Gateway::start(&folder);
    gateway.signal(Signal::SIGSTOP);
    let address = (std::net::Ipv4Addr::LOCALHOST, gateway.port).into();
    let waiting: Vec<_> = (0..2_000)
        .map_while(|_| TcpStream::connect_timeout(&address, Duration::from_millis(500)).ok())
        .collect();
    gateway.signal(Signal::SIGCONT);
    assert_eq!(waiting.len(), 2_000, "so many were let wait");
    wait_for_connections(&gateway, 2_001);
    drop(waiting);
    assert_eq!(gateway.end(Signal::SIGTERM), 0);
}

/// Reads to the end, and says which answer came; 0 for none.
fn last_word(mut client: Client) -> u16 {
    let status = client.try_answer(false).map_or(0, |answer| answer.status);
    let _ = client.stream.read_to_end(&mut Vec::new());
    status
}

#[test]
fn slowloris_of_5000_holds_nobody_up_and_takes_no_memory_to_speak_of() {
    let test = "slowloris_of_5000_holds_nobody_up_and_takes_no_memory_to_speak_of";
    if !may_open(HALF_HEADS + TRICKLED, test) {
        return;
    }
    let folder = Folder::new("slowloris");
    let mut gateway = Gateway::start(&folder);
    let before = descriptors(&gateway);
    let half = format!("GET /health HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(15 * 1024));
    let begun = Instant::now();
    let mut heads: Vec<Client> = (0..HALF_HEADS)
        .map(|_| {
            let mut client = gateway.connect();
            client.try_send(&half);
            client
        })
        .collect();
    let mut bodies: Vec<Client> = (0..TRICKLED)
        .map(|_| {
            let mut client = gateway.connect();
            client.send("GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
            client
        })
        .collect();
    let mut times = Vec::new();
    let mut sent = 0;
    // Each head and body gets a byte now and then, past the time that it has.
    while begun.elapsed() < Duration::from_secs(11) {
        for client in heads.iter_mut().chain(&mut bodies) {
            sent += u64::from(client.try_send("x"));
        }
        for _ in 0..20 {
            let asked = Instant::now();
            assert_eq!(gateway.ask("GET", "/health", b"").status, 200, "an honest client");
            times.push(asked.elapsed());
            thread::sleep(Duration::from_millis(5));
        }
    }
    times.sort_unstable();
    let peak = gateway.peak_kib();
    let count = |clients: Vec<Client>| {
        let (mut late, mut shed) = (0, 0);
        for client in clients {
            match last_word(client) {
                408 => late += 1,
                503 => shed += 1,
                other => panic!("{other} for a slow one"),
            }
        }
        (late, shed)
    };
    let (late_heads, shed_heads) = count(heads);
    let (late_bodies, shed_bodies) = count(bodies);
    println!(
        "{HALF_HEADS} half heads: {late_heads} let go with 408, {shed_heads} with 503; {TRICKLED} \
         bodies: {late_bodies} with 408, {shed_bodies} with 503; {sent} single bytes; {} honest \
         requests of 200 in between, half within {:?}, the slowest {:?}; {peak} KiB at the most",
        times.len(),
        times[times.len() / 2],
        times[times.len() - 1],
    );
    assert_eq!(shed_bodies, 0, "bodies that nobody wants take no memory");
    assert!(late_heads > 500, "{late_heads}: those that there is room for have their time");
    assert!(peak < MEMORY_KIB, "{peak} KiB");
    wait_for("every descriptor to come back", || descriptors(&gateway) <= before);
    assert_eq!(gateway.end(Signal::SIGTERM), 0);
}
