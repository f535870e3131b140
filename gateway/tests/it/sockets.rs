//! Sockets that were handed in: what is taken, what is refused, and what clients see
//! while generations come and go behind one door.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, RawFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::signal::Signal;

use crate::harness::{
    Client, Folder, Gateway, PATIENCE, failure, outcome, request, start, verb, wait_for,
};

/// The command with `sockets` as descriptors 3, 4, …, as a supervisor hands them in.
pub fn hand_in(inner: &Command, sockets: &[BorrowedFd<'_>]) -> Command {
    let mut command = Command::new("sh");
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.args(["-c", "LISTEN_PID=$$; export LISTEN_PID; exec \"$0\" \"$@\""]);
    command.arg(inner.get_program()).args(inner.get_args());
    command.env("LISTEN_FDS", sockets.len().to_string());
    inherit(&mut command, sockets);
    command
}

/// Descriptors 3, 4, … of what `command` starts.
fn inherit(command: &mut Command, sockets: &[BorrowedFd<'_>]) {
    let numbers: Vec<RawFd> = sockets.iter().map(|socket| socket.as_raw_fd()).collect();
    // SAFETY: between fork and exec only fcntl(2) and dup2(2) are called, on memory that
    // is there already: signal-safety(7) allows that.
    unsafe {
        command.pre_exec(move || {
            // Out of the way first: one's number may be another's place.
            for (number, place) in numbers.iter().zip(100..) {
                if libc::fcntl(*number, libc::F_DUPFD_CLOEXEC, place) < place {
                    return Err(io::Error::last_os_error());
                }
            }
            for (place, number) in (3..).zip(100..100 + numbers.len() as RawFd) {
                if libc::dup2(number, place) < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
}

/// A socket that outlives gateways.
fn door() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn generation(folder: &Folder, door: &TcpListener) -> Gateway {
    Gateway::run(hand_in(&start(folder), &[door.as_fd()]), folder)
}

/// Stops the gateway, all of its threads: what it has seen by then, it has seen.
fn stand_still(gateway: &Gateway) {
    gateway.signal(Signal::SIGSTOP);
    wait_for("every thread to stand still", || {
        fs::read_dir(format!("/proc/{}/task", gateway.pid())).unwrap().all(|task| {
            let stat = fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
            stat.rsplit_once(')').unwrap().1.starts_with(" T")
        })
    });
}

fn connections(gateway: &Gateway, count: usize) {
    wait_for("every connection to be taken", || {
        let line = format!("openclaw_connections {}\n", count + 1);
        gateway.ask("GET", "/metrics", b"").text().contains(&line)
    });
}

#[test]
fn socket_that_was_handed_in_is_the_port_of_gateway_log_and_verbs() {
    let folder = Folder::new("handed");
    let (door, port) = door();
    let mut gateway = generation(&folder, &door);
    assert_eq!(gateway.port, port);
    assert_eq!(gateway.ask("GET", "/ready", b"").status, 200);
    assert_eq!(gateway.ask("GET", "/status", b"").json()["port"], port);
    assert!(
        gateway.log().contains(&format!("listening on what was handed in: port {port}")),
        "{}",
        gateway.log()
    );
    let (value, code, _) = outcome(verb(&folder, "status"));
    assert_eq!((&value["port"], code), (&port.into(), 0));
    let (line, code) = failure(start(&folder));
    assert!(line.contains(&format!("on port {port}")), "{line}");
    assert_eq!(code, 78);
    assert_eq!(gateway.end(Signal::SIGTERM), 0);
}

#[test]
fn sockets_of_every_family_are_served_and_verbs_reach_a_path() {
    let folder = Folder::new("families");
    let path = folder.path().join("gateway.sock");
    let v4 = TcpListener::bind("127.0.0.1:0").unwrap();
    let v6 = TcpListener::bind("[::1]:0").ok();
    let unix = UnixListener::bind(&path).unwrap();
    let name = format!("openclaw-test-{}", std::process::id());
    let named = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let mut sockets = vec![unix.as_fd(), v4.as_fd(), named.as_fd()];
    sockets.extend(v6.as_ref().map(AsFd::as_fd));
    let mut gateway = Gateway::spawn(hand_in(&start(&folder), &sockets), &folder);
    gateway.wait_log(&format!("ready on unix:{}: generation 1", path.display()));
    for port in [Some(&v4), v6.as_ref()].into_iter().flatten() {
        let stream = TcpStream::connect(port.local_addr().unwrap()).unwrap();
        assert!(get(stream, "/ready").starts_with("HTTP/1.1 200"));
    }
    assert!(get(UnixStream::connect(&path).unwrap(), "/ready").starts_with("HTTP/1.1 200"));
    let by_name = UnixStream::connect_addr(&SocketAddr::from_abstract_name(&name).unwrap());
    assert!(get(by_name.unwrap(), "/ready").starts_with("HTTP/1.1 200"));

    let (value, code, said) = outcome(verb(&folder, "status"));
    assert_eq!(
        (&value["status"], &value["path"], code),
        (&"running".into(), &path.to_str().into(), 0)
    );
    assert!(said.contains(&format!("the gateway at unix:{} answers", path.display())), "{said}");
    let mut command = verb(&folder, "stop");
    command.args(["--port", "8888"]);
    let said = command.output().unwrap();
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains(&format!("has unix:{}, not 8888", path.display())), "{said}");
    let restart = thread::spawn({
        let command = verb(&folder, "restart");
        move || outcome(command)
    });
    assert_eq!(gateway.wait().code(), Some(75));
    let mut gateway = Gateway::spawn(hand_in(&start(&folder), &sockets), &folder);
    let (value, code, said) = restart.join().unwrap();
    assert_eq!(
        (&value["status"], &value["path"], code),
        (&"restarted".into(), &path.to_str().into(), 0),
        "{said}"
    );
    let (value, code, _) = outcome(verb(&folder, "stop"));
    assert_eq!((&value["reason"], code), (&"graceful shutdown".into(), 0));
    assert_eq!(gateway.wait().code(), Some(0));
}

/// One request on a stream of any kind.
fn get(mut stream: impl io::Read + io::Write, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn what_cannot_be_listened_on_is_one_line_that_says_why() {
    let folder = Folder::new("wrong");
    let file = fs::File::open("/proc/self/exe").unwrap();
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (pair, _other) = UnixStream::pair().unwrap();
    let (good, _) = door();
    for (socket, why) in [
        (file.as_fd(), "is not a socket"),
        (datagrams.as_fd(), "is a socket, but not a stream socket"),
        (pair.as_fd(), "is a socket that does not listen"),
    ] {
        let (line, code) = failure(hand_in(&start(&folder), &[socket]));
        assert!(line.contains(&format!("LISTEN_FDS: descriptor 3 {why}; hand in")), "{line}");
        assert_eq!(code, 1);
        let mut command = start(&folder);
        command.args(["--fd", "4"]);
        inherit(&mut command, &[good.as_fd(), socket]);
        let (line, code) = failure(command);
        assert!(line.contains(&format!("--fd: descriptor 4 {why}; hand in")), "{line}");
        assert_eq!(code, 1);
    }
    let mut command = hand_in(&start(&folder), &[good.as_fd()]);
    command.env("LISTEN_FDS", "100000000");
    let (line, _) = failure(command);
    assert!(line.contains("LISTEN_FDS: descriptor 4 is not open"), "{line}");
    let mut command = start(&folder);
    command.args(["--fd", "77"]);
    assert!(failure(command).0.contains("--fd: descriptor 77 is not open"));
    // Nothing but the folder's making may have been tried.
    assert!(!folder.state().join("memory.redb").exists());
}

#[test]
fn number_of_an_option_is_listened_on_whatever_else_is_there() {
    let folder = Folder::new("fd");
    let ((other, other_port), (door, port)) = (door(), door());
    let mut command = start(&folder);
    command.args(["--fd", "4"]);
    // As `clawinit --listen-env FD sh -c 'exec openclaw gateway start --fd $FD'` has it.
    let command = hand_in(&command, &[other.as_fd(), door.as_fd()]);
    let gateway = Gateway::run(command, &folder);
    assert_eq!(gateway.port, port);
    assert!(gateway.log().contains("descriptor 3 was handed in and is not listened on"));
    let waits = TcpStream::connect((Ipv4Addr::LOCALHOST, other_port)).unwrap();
    assert_eq!(gateway.ask("GET", "/ready", b"").status, 200);
    other.set_nonblocking(true).unwrap();
    wait_for("the connection that nobody took", || other.accept().is_ok());
    drop(waits);
}

#[test]
fn sockets_for_another_process_are_not_touched() {
    let folder = Folder::new("other-pid");
    let (door, port) = door();
    let mut command = start(&folder);
    command.env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
    inherit(&mut command, &[door.as_fd()]);
    let gateway = Gateway::run(command, &folder);
    assert_ne!(gateway.port, port);
    assert_eq!(gateway.ask("GET", "/ready", b"").status, 200);
}

#[test]
fn socket_with_our_name_is_ours_and_the_others_are_left() {
    let folder = Folder::new("names");
    let ((metrics, _), (door, port)) = (door(), door());
    let mut command = hand_in(&start(&folder), &[metrics.as_fd(), door.as_fd()]);
    command.env("LISTEN_FDNAMES", "metrics:gateway");
    let gateway = Gateway::run(command, &folder);
    assert_eq!(gateway.port, port);
    assert!(
        gateway.log().contains("descriptor 3 (metrics) was handed in and is not listened on"),
        "{}",
        gateway.log()
    );
}

#[test]
fn agents_inherit_neither_the_socket_nor_what_was_said_about_it() {
    let folder = Folder::new("inherit");
    let (door, _) = door();
    let seen = folder.path().join("seen");
    let mut command = start(&folder);
    let script = "env; ls -l /proc/$$/fd; echo end; exec sleep 600";
    command.arg("--agent").arg(format!("sh -c '({script}) > {}'", seen.display()));
    let mut command = hand_in(&command, &[door.as_fd()]);
    command.env("NOTIFY_SOCKET", "@nobody").env("WATCHDOG_USEC", "60000000");
    command.env("LISTEN_FDNAMES", "gateway").env("KEPT", "yes");
    let mut gateway = Gateway::run(command, &folder);
    wait_for("the agent's look around", || {
        fs::read_to_string(&seen).is_ok_and(|text| text.contains("end\n"))
    });
    let seen = fs::read_to_string(&seen).unwrap();
    assert!(seen.contains("KEPT=yes"), "{seen}");
    for gone in ["LISTEN_", "NOTIFY_", "WATCHDOG_", "socket:"] {
        assert!(!seen.contains(gone), "{gone}: {seen}");
    }
    assert_eq!(gateway.end(Signal::SIGTERM), 0);
}

#[test]
fn requests_under_way_and_first_ones_are_answered_and_idle_connections_read_an_end() {
    let folder = Folder::new("hand-on");
    let (door, _) = door();
    let mut gateway = generation(&folder, &door);
    let mut idle = gateway.connect();
    assert_eq!(idle.ask("GET", "/ready", b"").status, 200);
    let mut upload = gateway.connect();
    upload.send(request("PUT", "/memory/slow", 10)).send("first");
    let mut first = gateway.connect();
    let mut silent = gateway.connect();
    connections(&gateway, 4);
    let begun = Instant::now();
    gateway.signal(Signal::SIGUSR1);
    gateway.wait_log("Graceful restart initiated (SIGUSR1)");

    // An end of file, and then no reset for a request that crossed it.
    assert_eq!(idle.stream.read(&mut [0]).unwrap(), 0);
    idle.stream.write_all(request("GET", "/ready", 0).as_bytes()).unwrap();
    thread::sleep(Duration::from_millis(20));
    idle.stream.write_all(b"more").unwrap();
    assert_eq!(idle.stream.read(&mut [0]).unwrap(), 0);

    let answer = first.ask("GET", "/ready", b"");
    assert_eq!((answer.status, answer.field("connection")), (503, Some("close")));
    // Nothing is taken any more.
    let mut waiting = gateway.connect();
    waiting.send(request("GET", "/memory/slow", 0));
    assert_eq!(silent.stream.read(&mut [0]).unwrap(), 0, "a silent one is closed, too");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    upload.send("-last");
    let answer = upload.answer();
    assert_eq!((answer.status, answer.field("connection")), (201, Some("close")));
    assert_eq!(gateway.wait().code(), Some(75));
    assert!(gateway.log().contains("every request was answered"), "{}", gateway.log());

    let gateway = generation(&folder, &door);
    assert_eq!(waiting.answer().text(), "first-last");
    assert_eq!(gateway.ask("GET", "/status", b"").json()["generation"], 2);
}

#[test]
fn who_waits_at_a_restart_is_answered_by_the_next_generation() {
    let folder = Folder::new("next-one");
    let (door, _) = door();
    let mut gateway = generation(&folder, &door);
    stand_still(&gateway);
    let mut waiting = gateway.connect();
    waiting.send(request("GET", "/status", 0));
    gateway.signal(Signal::SIGUSR1);
    gateway.signal(Signal::SIGCONT);
    assert_eq!(gateway.wait().code(), Some(75));
    let _gateway = generation(&folder, &door);
    assert_eq!(waiting.answer().json()["generation"], 2);
}

#[test]
fn request_that_crosses_the_close_of_an_idle_connection_meets_no_reset() {
    let folder = Folder::new("crossing");
    let (door, _) = door();
    // The gateway waits for 100 ms, and a busy machine may hold this test up for longer.
    let is_clean = (0..10).any(|_| {
        let mut gateway = generation(&folder, &door);
        let mut idle = gateway.connect();
        assert_eq!(idle.ask("GET", "/ready", b"").status, 200);
        gateway.signal(Signal::SIGUSR1);
        assert_eq!(idle.stream.read(&mut [0]).unwrap(), 0);
        gateway.wait_log("memory flushed");
        let late = request("GET", "/ready", 0);
        let (first, second) = late.as_bytes().split_at(5);
        let sent = idle.stream.write_all(first).and_then(|()| {
            // A reset for the first part would have come by the time of the second.
            wait_for("5 ms", {
                let begun = Instant::now();
                move || begun.elapsed() > Duration::from_millis(5)
            });
            idle.stream.write_all(second)
        });
        let end = sent.and_then(|()| idle.stream.read(&mut [0]));
        drop(idle);
        assert_eq!(gateway.wait().code(), Some(75));
        matches!(end, Ok(0))
    });
    assert!(is_clean, "a reset in each of ten restarts");
}

#[test]
fn silent_connection_holds_a_restart_up_for_a_second_at_most() {
    let folder = Folder::new("silent");
    let (door, _) = door();
    let mut gateway = generation(&folder, &door);
    let _silent: Vec<Client> = (0..50).map(|_| gateway.connect()).collect();
    connections(&gateway, 50);
    let begun = Instant::now();
    assert_eq!(gateway.end(Signal::SIGUSR1), 75);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn connections_wait_while_nobody_is_there_and_survive_kill_9() {
    let folder = Folder::new("backlog");
    let (door, port) = door();
    let mut gateway = generation(&folder, &door);
    assert_eq!(gateway.ask("PUT", "/memory/a", b"kept").status, 201);
    gateway.kill();
    let mut waiting: Vec<Client> = (0..50).map(|_| Client::connect(port)).collect();
    for client in &mut waiting {
        client.send(request("GET", "/memory/a", 0));
    }
    let _gateway = generation(&folder, &door);
    for client in &mut waiting {
        let answer = client.answer();
        assert_eq!((answer.status, answer.text()), (200, "kept"));
    }
}

#[test]
fn stop_answers_what_waits_and_lets_go_of_the_socket_at_once() {
    let folder = Folder::new("handed-stop");
    let (door, port) = door();
    let mut gateway = generation(&folder, &door);
    let mut upload = gateway.connect();
    upload.send(request("PUT", "/memory/slow", 10)).send("first");
    connections(&gateway, 1);
    stand_still(&gateway);
    let mut waiting = gateway.connect();
    waiting.send(request("GET", "/health", 0));
    let mut late = gateway.connect();
    gateway.signal(Signal::SIGTERM);
    gateway.signal(Signal::SIGCONT);
    gateway.wait_log("Graceful shutdown initiated");
    // As clawinit does when it tells its child.
    drop(door);
    assert_eq!(waiting.answer().status, 200);
    assert_eq!(late.ask("GET", "/health", b"").status, 200, "its first request");
    wait_for("the port to be free", || Client::try_connect(port).is_err());
    drop(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap());
    upload.send("-last");
    assert_eq!(upload.answer().status, 201);
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn stop_of_a_gateway_whose_socket_is_its_supervisors_does_not_knock_there() {
    let folder = Folder::new("handed-verb");
    let (door, port) = door();
    let mut gateway = generation(&folder, &door);
    let stop = thread::spawn({
        let command = verb(&folder, "stop");
        move || outcome(command)
    });
    assert_eq!(gateway.wait().code(), Some(0));
    let (value, code, said) = stop.join().unwrap();
    assert_eq!((&value["reason"], code), (&"graceful shutdown".into(), 0), "{said}");
    assert!(!said.contains(&port.to_string()), "{said}");
    // systemd.socket(5) starts the service again for any connection.
    door.set_nonblocking(true).unwrap();
    assert_eq!(door.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn stop_after_a_restart_began_lets_go_of_the_socket() {
    let folder = Folder::new("handed-both");
    let (door, port) = door();
    let mut command = start(&folder);
    command.args(["--on-restart", "exec"]);
    let mut gateway = Gateway::run(hand_in(&command, &[door.as_fd()]), &folder);
    let mut upload = gateway.connect();
    upload.send(request("PUT", "/memory/slow", 10)).send("first");
    connections(&gateway, 1);
    gateway.signal(Signal::SIGUSR1);
    gateway.wait_log("restart initiated");
    drop(door);
    Client::connect(port);
    gateway.signal(Signal::SIGTERM);
    wait_for("the port to be free", || Client::try_connect(port).is_err());
    upload.send("-last");
    assert_eq!(upload.answer().status, 201);
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn restart_in_place_goes_on_with_the_socket() {
    let folder = Folder::new("handed-exec");
    let ((door, port), (other, _)) = (door(), door());
    let mut command = start(&folder);
    command.args(["--on-restart", "exec"]);
    let mut command = hand_in(&command, &[other.as_fd(), door.as_fd()]);
    command.env("LISTEN_FDNAMES", "x:http");
    let mut gateway = Gateway::run(command, &folder);
    let descriptors =
        |gateway: &Gateway| fs::read_dir(format!("/proc/{}/fd", gateway.pid())).unwrap().count();
    let before = descriptors(&gateway);
    for generation in 2..=4 {
        gateway.signal(Signal::SIGUSR1);
        gateway.wait_log(&format!("ready on port {port}: generation {generation},"));
        let status = gateway.ask("GET", "/status", b"").json();
        assert_eq!(
            (&status["generation"], &status["pid"]),
            (&generation.into(), &gateway.pid().as_raw().into())
        );
    }
    wait_for("no more descriptors than at first", || descriptors(&gateway) <= before);
    assert_eq!(gateway.end(Signal::SIGTERM), 0);
}

/// What clients of a door came to.
#[derive(Debug, Default)]
pub struct Tally {
    pub answered: u64,
    /// Closed cleanly between two requests, and sent again, as RFC 9110 section 9.2.2 allows.
    pub again: u64,
    pub longest: Duration,
}

/// One new connection after the other, one request each: none may fail.
pub fn one_each(port: u16, over: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let mut client = Client::try_connect(port).expect("a connection");
        let answer = client.ask("GET", "/memory/a", b"");
        assert_eq!((answer.status, answer.text()), (200, "kept"));
        tally.answered += 1;
        tally.longest = tally.longest.max(begun.elapsed());
        thread::sleep(Duration::from_millis(1));
    }
    tally
}

/// One connection for as long as it lasts.
pub fn kept_alive(port: u16, over: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    let mut client = Client::connect(port);
    let mut is_fresh = true;
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        client.send(request("GET", "/memory/a", 0));
        match client.try_answer(false) {
            Some(answer) => {
                assert_eq!((answer.status, answer.text()), (200, "kept"));
                tally.answered += 1;
                tally.longest = tally.longest.max(begun.elapsed());
                is_fresh = answer.field("connection") == Some("close");
                if is_fresh {
                    client = Client::connect(port);
                }
            }
            None => {
                assert!(!is_fresh, "closed before its first request was answered");
                assert_eq!(client.error(), None, "a reset");
                tally.again += 1;
                client = Client::connect(port);
                is_fresh = true;
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
    tally
}

#[test]
fn no_client_notices_twenty_restarts_behind_one_socket() {
    let folder = Folder::new("steady");
    let (door, port) = door();
    let mut gateway = generation(&folder, &door);
    assert_eq!(gateway.ask("PUT", "/memory/a", b"kept").status, 201);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let new: Vec<_> = (0..3).map(|_| scope.spawn(|| one_each(port, &over))).collect();
        let kept: Vec<_> = (0..3).map(|_| scope.spawn(|| kept_alive(port, &over))).collect();
        let until_over = Over(&over);
        for number in 2..=21 {
            assert_eq!(gateway.end(Signal::SIGUSR1), 75);
            assert!(gateway.log().contains("every request was answered"), "{}", gateway.log());
            gateway = generation(&folder, &door);
            let status = gateway.ask("GET", "/status", b"").json();
            assert_eq!(status["generation"], number);
        }
        drop(until_over);
        for (name, clients) in [("one request each", new), ("kept alive", kept)] {
            for client in clients {
                let tally = client.join().expect("a client that noticed nothing");
                // What a client gets done in between is the machine's affair.
                assert!(tally.answered >= 5, "{tally:?}");
                println!("{name}: {tally:?}");
            }
        }
    });
}

/// Ends the clients, also when the test fails.
pub struct Over<'a>(pub &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn verb_does_not_wait_for_a_full_backlog_of_a_path_past_its_time() {
    let folder = Folder::new("path-hangs");
    let path = folder.path().join("gateway.sock");
    let unix = UnixListener::bind(&path).unwrap();
    nix::sys::socket::listen(&unix, nix::sys::socket::Backlog::new(1).unwrap()).unwrap();
    let gateway = Gateway::spawn(hand_in(&start(&folder), &[unix.as_fd()]), &folder);
    gateway.wait_log("ready on unix:");
    gateway.signal(Signal::SIGSTOP);
    let waiting = fill(&path);
    let begun = Instant::now();
    let mut command = verb(&folder, "status");
    command.args(["--timeout", "300ms"]);
    let (value, code, said) = outcome(command);
    assert_eq!((&value["status"], code), (&"unknown".into(), 1), "{said}");
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
    drop(waiting);
}

/// Connections until the backlog is full, where connect(2) would wait.
fn fill(path: &Path) -> Vec<std::os::fd::OwnedFd> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
    let mut waiting = Vec::new();
    loop {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let client = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
        match connect(client.as_raw_fd(), &UnixAddr::new(path).unwrap()) {
            Ok(()) => waiting.push(client),
            Err(nix::errno::Errno::EAGAIN) => return waiting,
            Err(error) => panic!("{error}"),
        }
        assert!(waiting.len() < 100, "a backlog without an end");
    }
}
