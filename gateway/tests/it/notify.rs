//! What the gateway tells its supervisor (sd_notify(3)), read as clawinit reads it: from
//! a socket of the test's, with the sender's credentials.

use std::fs;
use std::io::IoSliceMut;
use std::os::fd::AsRawFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::cmsg_space;
use nix::sys::signal::Signal;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, UnixAddr, UnixCredentials, recvmsg, setsockopt, sockopt,
};

use crate::harness::{Folder, Gateway, PATIENCE, request, start, wait_for};

/// A supervisor's ear.
struct Ear {
    socket: UnixDatagram,
    name: String,
}

/// A message, and who sent it.
#[derive(Debug, PartialEq, Eq)]
struct Message {
    text: String,
    pid: i32,
}

impl Message {
    fn has(&self, line: &str) -> bool {
        self.text.lines().any(|own| own == line)
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    }
}

impl Ear {
    /// On an abstract name.
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("openclaw-notify-{}-{count}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        Self::of(UnixDatagram::bind_addr(&address).unwrap(), format!("@{name}"))
    }

    fn of(socket: UnixDatagram, name: String) -> Self {
        setsockopt(&socket, sockopt::PassCred, &true).unwrap();
        Self { socket, name }
    }

    /// The next message, if one comes in `time`.
    fn hear(&self, time: Duration) -> Option<Message> {
        self.socket.set_read_timeout(Some(time)).unwrap();
        let mut bytes = [0; 4096];
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let mut space = cmsg_space!(UnixCredentials);
        let flags = MsgFlags::empty();
        let received =
            recvmsg::<UnixAddr>(self.socket.as_raw_fd(), &mut slices, Some(&mut space), flags)
                .ok()?;
        let pid = received.cmsgs().unwrap().find_map(|message| match message {
            ControlMessageOwned::ScmCredentials(credentials) => Some(credentials.pid()),
            _ => None,
        });
        let count = received.bytes;
        let text = String::from_utf8(bytes[..count].to_vec()).unwrap();
        Some(Message { text, pid: pid.expect("credentials") })
    }

    /// The next one that is no sign of life.
    fn news(&self) -> Message {
        let begun = Instant::now();
        loop {
            let message = self.hear(PATIENCE).expect("a message in time");
            if message.text != "WATCHDOG=1" {
                return message;
            }
            assert!(begun.elapsed() < PATIENCE, "nothing but signs of life");
        }
    }

    /// Tells `command` of itself.
    fn told(&self, mut command: Command) -> Command {
        command.env("NOTIFY_SOCKET", &self.name);
        command
    }
}

#[test]
fn ready_is_told_when_it_is_and_stopping_when_that_begins() {
    let folder = Folder::new("notify");
    let path = folder.path().join("notify.sock");
    let by_path = Ear::of(UnixDatagram::bind(&path).unwrap(), path.display().to_string());
    for (ear, signal, code) in [(Ear::new(), Signal::SIGTERM, 0), (by_path, Signal::SIGUSR1, 75)] {
        let mut gateway = Gateway::spawn(ear.told(start(&folder)), &folder);
        let pid = gateway.pid().as_raw();
        let message = ear.news();
        assert!(message.has("STATUS=opening the memory"), "{message:?}");
        let message = ear.news();
        assert!(message.has("READY=1") && message.pid == pid, "{message:?}");
        gateway.wait_log("ready on port");
        gateway.port = crate::harness::port_in(&gateway.log()).unwrap();
        let status = message.value("STATUS").unwrap();
        assert!(status.ends_with(&format!("is ready on port {}", gateway.port)), "{status}");
        assert_eq!(gateway.ask("GET", "/ready", b"").status, 200);

        let mut upload = gateway.connect();
        upload.send(request("PUT", "/memory/a", 4)).send("ha");
        wait_for("the connection to be taken", || {
            gateway.ask("GET", "/metrics", b"").text().contains("openclaw_connections 2\n")
        });
        gateway.signal(signal);
        let message = ear.news();
        assert!(message.has("STOPPING=1") && message.pid == pid, "{message:?}");
        assert!(message.value("STATUS").unwrap().contains(signal.as_str()), "{message:?}");
        // Ten seconds of drain, one for SIGKILL, five for the disk, and the moments between.
        let longest: u64 = message.value("EXTEND_TIMEOUT_USEC").unwrap().parse().unwrap();
        assert!((16_000_000..18_000_000).contains(&longest), "{longest}");
        upload.send("lf");
        assert!([201, 204].contains(&upload.answer().status));
        assert_eq!(gateway.wait().code(), Some(code));
        assert_eq!(ear.hear(Duration::from_millis(1)), None, "it says nothing else");
    }
}

#[test]
fn a_check_that_takes_its_time_is_announced_and_ready_comes_behind_it() {
    let folder = Folder::new("notify-check");
    Gateway::start(&folder).kill();
    // As one that another check holds still.
    let file = fs::File::open(folder.state().join("memory.redb")).unwrap();
    file.lock().unwrap();
    let ear = Ear::new();
    let mut gateway = Gateway::spawn(ear.told(start(&folder)), &folder);
    let message = ear.news();
    let longest: u64 = message.value("EXTEND_TIMEOUT_USEC").unwrap().parse().unwrap();
    // Of up to three attempts.
    assert!((60_000_000..180_000_000).contains(&longest), "{message:?}");
    let holder = fs::read_to_string(folder.state().join("gateway.lock")).unwrap();
    let holder: serde_json::Value = serde_json::from_str(&holder).unwrap();
    gateway.port = holder["port"].as_u64().unwrap() as u16;
    assert_eq!(gateway.ask("GET", "/ready", b"").status, 503);
    assert!(!message.has("READY=1"), "{message:?}");
    assert_eq!(ear.hear(Duration::from_millis(100)), None);
    file.unlock().unwrap();
    assert!(ear.news().has("READY=1"));
    assert_eq!(gateway.ask("GET", "/ready", b"").status, 200);
    assert_eq!(gateway.end(Signal::SIGTERM), 0);
}

#[test]
fn restart_in_place_is_told_as_one_and_ready_again_after_it() {
    let folder = Folder::new("notify-exec");
    let ear = Ear::new();
    let mut command = ear.told(start(&folder));
    command.args(["--on-restart", "exec"]);
    let mut gateway = Gateway::run(command, &folder);
    for _ in 0..2 {
        assert!(ear.news().has("STATUS=opening the memory"));
        assert!(ear.news().has("READY=1"));
        gateway.signal(Signal::SIGUSR1);
        let message = ear.news();
        assert!(message.has("RELOADING=1") && !message.has("STOPPING=1"), "{message:?}");
        assert!(message.value("MONOTONIC_USEC").unwrap().parse::<u64>().unwrap() > 0);
    }
    assert!(ear.news().has("STATUS=opening the memory"));
    let message = ear.news();
    assert!(message.has("READY=1") && message.pid == gateway.pid().as_raw(), "{message:?}");
    assert_eq!(gateway.end(Signal::SIGTERM), 0);
    assert!(ear.news().has("STOPPING=1"));
}

#[test]
fn signs_of_life_come_from_the_loop_also_while_it_drains() {
    let folder = Folder::new("watchdog");
    let ear = Ear::new();
    let mut command = ear.told(start(&folder));
    command.env("WATCHDOG_USEC", "1000000");
    let mut gateway = Gateway::run(command, &folder);
    let silence = || {
        let begun = Instant::now();
        while ear.hear(PATIENCE).expect("a sign of life").text != "WATCHDOG=1" {}
        begun.elapsed()
    };
    for _ in 0..3 {
        assert!(silence() < Duration::from_secs(1));
    }
    let mut upload = gateway.connect();
    upload.send(request("PUT", "/memory/a", 4)).send("ha");
    wait_for("the connection to be taken", || {
        gateway.ask("GET", "/metrics", b"").text().contains("openclaw_connections 2\n")
    });
    gateway.signal(Signal::SIGTERM);
    while !ear.hear(PATIENCE).expect("a message").has("STOPPING=1") {}
    for _ in 0..3 {
        assert!(silence() < Duration::from_secs(1));
    }
    // A process that stands still says nothing.
    gateway.signal(Signal::SIGSTOP);
    while ear.hear(Duration::from_millis(1)).is_some() {}
    assert_eq!(ear.hear(Duration::from_millis(1200)), None);
    gateway.signal(Signal::SIGCONT);
    assert!(silence() < Duration::from_secs(1));
    upload.send("lf");
    assert_eq!(upload.answer().status, 201);
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn disk_that_hangs_stops_no_signs_of_life() {
    let folder = Folder::new("watchdog-disk");
    Gateway::start(&folder).kill();
    // What the disk thread waits for while it opens the memory.
    let file = fs::File::open(folder.state().join("memory.redb")).unwrap();
    file.lock().unwrap();
    let ear = Ear::new();
    let mut command = ear.told(start(&folder));
    command.env("WATCHDOG_USEC", "1000000");
    let mut gateway = Gateway::spawn(command, &folder);
    for _ in 0..4 {
        let begun = Instant::now();
        while ear.hear(PATIENCE).expect("a sign of life").text != "WATCHDOG=1" {}
        assert!(begun.elapsed() < Duration::from_secs(1));
    }
    assert!(!gateway.log().contains("ready on"), "{}", gateway.log());
    file.unlock().unwrap();
    while !ear.hear(PATIENCE).expect("a message").has("READY=1") {}
    assert_eq!(gateway.end(Signal::SIGTERM), 0);
}

#[test]
fn signs_of_life_that_another_process_gives_are_not_ours() {
    let folder = Folder::new("watchdog-pid");
    let ear = Ear::new();
    let mut command = ear.told(start(&folder));
    command.env("WATCHDOG_USEC", "20000").env("WATCHDOG_PID", "1");
    let mut gateway = Gateway::run(command, &folder);
    assert!(ear.news().has("STATUS=opening the memory"));
    assert!(ear.news().has("READY=1"));
    assert_eq!(ear.hear(Duration::from_millis(100)), None);
    assert_eq!(gateway.end(Signal::SIGTERM), 0);
}

#[test]
fn supervisor_that_does_not_read_holds_nothing_up_and_hears_the_newest_later() {
    let folder = Folder::new("notify-full");
    let ear = Ear::new();
    let stuffing = UnixDatagram::unbound().unwrap();
    stuffing.set_nonblocking(true).unwrap();
    let address = SocketAddr::from_abstract_name(&ear.name[1..]).unwrap();
    while stuffing.send_to_addr(b"WATCHDOG=1", &address).is_ok() {}
    let mut gateway = Gateway::run(ear.told(start(&folder)), &folder);
    assert_eq!(gateway.ask("GET", "/ready", b"").status, 200);
    assert!(ear.news().has("READY=1"));
    while stuffing.send_to_addr(b"WATCHDOG=1", &address).is_ok() {}
    let begun = Instant::now();
    assert_eq!(gateway.end(Signal::SIGTERM), 0);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn address_that_is_none_or_that_nobody_has_is_one_warning() {
    let folder = Folder::new("notify-wrong");
    for (name, said) in [
        ("vsock:2:1234", "is a socket of another machine"),
        ("notify", "is neither a path from the root nor an @name"),
        ("@openclaw-nobody-listens-here", "the supervisor cannot be told"),
        ("/nowhere/notify", "the supervisor cannot be told"),
    ] {
        let mut command = start(&folder);
        command.env("NOTIFY_SOCKET", name).env("WATCHDOG_USEC", "20000");
        let mut gateway = Gateway::run(command, &folder);
        gateway.wait_log(said);
        assert_eq!(gateway.ask("GET", "/ready", b"").status, 200);
        assert_eq!(gateway.end(Signal::SIGTERM), 0);
        assert_eq!(gateway.log().matches("warning").count(), 1, "{}", gateway.log());
    }
}
