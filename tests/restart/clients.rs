//! Clients at a steady rate, whatever becomes of the requests before (an open loop): each is begun
//! when it is due, and its wait counts from then on.
//!
//! New ones connect, ask once and leave. Some of them ask a moment after they have connected, as
//! all do over a network: they are connected, and nothing of them has come yet. Keepers ask again and again on one connection, and again
//! on a new one where RFC 9110 section 9.2.2 lets them: the request is idempotent, the connection
//! was used before, and not a byte of the answer has come.

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt,
};
use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddrV4;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A client that has waited for so long gives up.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked who that is.
const LOOK: Duration = Duration::from_millis(100);
/// Addresses that clients come from in turn: ports of one alone would run out in TIME-WAIT.
const SOURCES: u64 = 64;
/// How late those ask that ask late.
const THOUGHT: Duration = Duration::from_millis(20);
/// Keepers, and how often each asks.
const KEEPERS: usize = 20;
const KEEPER_INTERVAL: Duration = Duration::from_millis(100);

/// What became of a request that was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The connection was refused.
    Refused,
    /// Reset, or closed, before a byte of the answer.
    Unanswered,
    /// Reset, or closed, in the midst of the answer.
    Cut,
    /// No answer for as long as a client has patience.
    Late,
    /// Another answer than the one that is asked for.
    Wrong,
    /// This machine has no descriptor or port for it.
    NotBegun,
}

/// A request that was not answered.
#[derive(Clone, Copy, Debug)]
pub struct Loss {
    pub how: Lost,
    /// When its connection was begun.
    pub begun: Instant,
    pub ended: Instant,
}

/// An answer.
#[derive(Clone, Copy)]
pub struct Answer {
    pub due: Instant,
    pub ended: Instant,
}

/// What a load came to.
#[derive(Default)]
pub struct Counts {
    /// Requests of new connections.
    pub new: u64,
    /// Requests of keepers.
    pub kept: u64,
    /// Those of keepers that were sent once more, as they may be.
    pub again: u64,
    pub answers: Vec<Answer>,
    pub losses: Vec<Loss>,
    /// From the first to the last begin.
    pub took: Duration,
}

/// A load that runs.
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Counts>,
}

impl Load {
    /// Begins it: so many new connections a second, of which one in `late` asks late.
    pub fn begin(to: SocketAddrV4, rate: u32, late: u32) -> Load {
        // Each that waits has a descriptor.
        if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
            let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = std::thread::spawn(move || Crowd::new(to).run(rate, late, &seen));
        Load { stop, thread }
    }

    /// Begins no more, and waits for what is under way.
    pub fn end(self) -> Counts {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the clients")
    }
}

/// One request and its connection.
struct Client {
    stream: TcpStream,
    due: Instant,
    begun: Instant,
    /// When it asks, at the soonest.
    asks: Instant,
    sent: bool,
    got: Vec<u8>,
    keeper: Option<usize>,
    /// An answer has come on this connection before.
    reused: bool,
    /// Between two requests.
    idle: bool,
}

struct Crowd {
    to: SocketAddrV4,
    poll: Poll,
    clients: HashMap<usize, Client>,
    next: usize,
    /// Those that ask late, and when.
    thinking: VecDeque<(Instant, usize)>,
    counts: Counts,
    /// The connection of each keeper, where it has one.
    kept: [Option<usize>; KEEPERS],
}

impl Crowd {
    fn new(to: SocketAddrV4) -> Crowd {
        let poll = Poll::new().expect("epoll");
        let counts = Counts::default();
        Crowd {
            to,
            poll,
            clients: HashMap::new(),
            next: 0,
            thinking: VecDeque::new(),
            counts,
            kept: [None; KEEPERS],
        }
    }

    fn run(mut self, rate: u32, late: u32, stop: &AtomicBool) -> Counts {
        let began = Instant::now();
        let pause = KEEPER_INTERVAL / KEEPERS as u32;
        let (mut new, mut kept, mut look) = (0, 0, began);
        let mut events = Events::with_capacity(1024);
        loop {
            let now = Instant::now();
            let stopped = stop.load(Ordering::Relaxed);
            let next_new = began + Duration::from_secs(1) * new / rate;
            let next_kept = began + pause * kept;
            if !stopped && next_new <= now {
                new += 1;
                self.counts.new += 1;
                let thought = if new % late == 0 { THOUGHT } else { Duration::ZERO };
                self.begin(next_new, None, thought);
            }
            if !stopped && next_kept <= now {
                self.ask_again(kept as usize % KEEPERS, next_kept);
                kept += 1;
            }
            if look <= now {
                self.give_up(now);
                look = now + LOOK;
            }
            while let Some((_, id)) = self.thinking.pop_front_if(|(when, _)| *when <= now) {
                self.step(id);
            }
            if stopped && self.clients.values().all(|client| client.idle) {
                break;
            }
            if !stopped {
                self.counts.took = now - began;
            }
            let due = if stopped { look } else { look.min(next_new).min(next_kept) };
            let due = self.thinking.front().map_or(due, |(when, _)| due.min(*when));
            let wait = due.saturating_duration_since(now);
            // epoll counts in milliseconds: what is due sooner is waited for here.
            let wait = if wait < Duration::from_millis(1) { Duration::ZERO } else { wait };
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => panic!("epoll: {error}"),
                _ => {}
            }
            for event in &events {
                self.step(event.token().0);
            }
        }
        self.counts
    }

    /// Connects for a request that is due now and sent after a `thought`.
    fn begin(&mut self, due: Instant, keeper: Option<usize>, thought: Duration) {
        let begun = Instant::now();
        let made = open(self.to, self.next as u64).and_then(|mut stream| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            let all = self.poll.registry().register(&mut stream, Token(self.next), interest);
            all.map(|()| stream).map_err(|_| Errno::ENOMEM)
        });
        match made {
            Ok(stream) => {
                let client = Client {
                    stream,
                    due: due + thought,
                    begun,
                    asks: begun + thought,
                    sent: false,
                    got: Vec::new(),
                    keeper,
                    reused: false,
                    idle: false,
                };
                self.clients.insert(self.next, client);
                if !thought.is_zero() {
                    self.thinking.push_back((begun + thought, self.next));
                }
                if let Some(keeper) = keeper {
                    self.kept[keeper] = Some(self.next);
                }
                self.next += 1;
            }
            Err(Errno::ECONNREFUSED) => self.lose(Lost::Refused, begun),
            Err(_) => self.lose(Lost::NotBegun, begun),
        }
    }

    /// The next request of a keeper, unless it still waits for the one before.
    fn ask_again(&mut self, keeper: usize, due: Instant) {
        let connection = self.kept[keeper].and_then(|id| Some((id, self.clients.get_mut(&id)?)));
        match connection {
            None => {
                self.counts.kept += 1;
                self.begin(due, Some(keeper), Duration::ZERO);
            }
            Some((id, client)) if client.idle => {
                self.counts.kept += 1;
                (client.idle, client.sent, client.due) = (false, false, due);
                client.got.clear();
                self.step(id);
            }
            Some(_) => {}
        }
    }

    /// Goes on with a client as far as it goes.
    fn step(&mut self, id: usize) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        match client.go_on() {
            Ok(false) => {}
            Ok(true) if client.idle => drop(self.forget(id)),
            Ok(true) => self.answered(id),
            Err(how) => self.failed(id, how),
        }
    }

    fn answered(&mut self, id: usize) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if !client.got.starts_with(b"HTTP/1.1 200 ") && !client.got.starts_with(b"HTTP/1.0 200 ") {
            self.failed(id, Lost::Wrong);
            return;
        }
        self.counts.answers.push(Answer { due: client.due, ended: Instant::now() });
        if client.keeper.is_some() && !says_close(&client.got) {
            (client.idle, client.reused) = (true, true);
            return;
        }
        self.forget(id);
    }

    fn failed(&mut self, id: usize, how: Lost) {
        let Some(client) = self.forget(id) else { return };
        if client.idle {
            return;
        }
        match client.keeper {
            Some(keeper) if client.reused && how == Lost::Unanswered => {
                self.counts.again += 1;
                self.begin(client.due, Some(keeper), Duration::ZERO);
            }
            _ => self.lose(how, client.begun),
        }
    }

    fn lose(&mut self, how: Lost, begun: Instant) {
        self.counts.losses.push(Loss { how, begun, ended: Instant::now() });
    }

    fn forget(&mut self, id: usize) -> Option<Client> {
        let client = self.clients.remove(&id)?;
        if let Some(keeper) = client.keeper {
            self.kept[keeper] = None;
        }
        Some(client)
    }

    fn give_up(&mut self, now: Instant) {
        let late = |client: &Client| !client.idle && now > client.due + PATIENCE;
        let all: Vec<usize> =
            self.clients.iter().filter(|(_, client)| late(client)).map(|(id, _)| *id).collect();
        for id in all {
            self.failed(id, Lost::Late);
        }
    }
}

impl Client {
    /// Writes and reads. True: the answer is there, or an idle connection has ended.
    fn go_on(&mut self) -> Result<bool, Lost> {
        if !self.sent && !self.idle && self.asks <= Instant::now() {
            match self.stream.take_error() {
                Ok(Some(error)) | Err(error) => return Err(self.lost(&error)),
                Ok(None) => {}
            }
            match self.stream.write(self.request()) {
                // It is far shorter than what a new connection takes.
                Ok(_) => self.sent = true,
                Err(error) if waits(&error) => return Ok(false),
                Err(error) => return Err(self.lost(&error)),
            }
        }
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) if self.idle => return Ok(true),
                Ok(0) => return Err(self.unanswered()),
                Ok(count) => self.got.extend_from_slice(&buffer[..count]),
                Err(error) if waits(&error) => return Ok(false),
                Err(_) if self.idle => return Ok(true),
                Err(error) => return Err(self.lost(&error)),
            }
            if is_whole(&self.got) {
                return Ok(true);
            }
        }
    }

    fn request(&self) -> &'static [u8] {
        match self.keeper {
            Some(_) => b"GET /status HTTP/1.1\r\nHost: gateway\r\n\r\n",
            None => b"GET /status HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n",
        }
    }

    fn lost(&self, error: &std::io::Error) -> Lost {
        match error.kind() {
            ErrorKind::ConnectionRefused => Lost::Refused,
            _ => self.unanswered(),
        }
    }

    fn unanswered(&self) -> Lost {
        if self.got.is_empty() { Lost::Unanswered } else { Lost::Cut }
    }
}

fn waits(error: &std::io::Error) -> bool {
    // A connection that is not made yet is ENOTCONN to whoever reads.
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::NotConnected)
}

/// A connection under way, from one of the addresses of this machine.
fn open(to: SocketAddrV4, number: u64) -> Result<TcpStream, Errno> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    // The port is chosen when it is known to whom: one serves several peers.
    setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
    let last = (2 + number % SOURCES) as u8;
    bind(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, last, 0))?;
    match connect(socket.as_raw_fd(), &SockaddrIn::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => {
            Ok(TcpStream::from_std(std::net::TcpStream::from(socket)))
        }
        Err(error) => Err(error),
    }
}

/// The head, without its empty line, where it has come.
fn head(got: &[u8]) -> Option<&str> {
    let end = got.windows(4).position(|four| four == b"\r\n\r\n")?;
    std::str::from_utf8(&got[..end]).ok()
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    fields.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn is_whole(got: &[u8]) -> bool {
    let length = |head: &str| field(head, "content-length")?.parse::<usize>().ok();
    head(got)
        .is_some_and(|head| length(head).is_some_and(|body| got.len() >= head.len() + 4 + body))
}

/// Whether the connection ends with this answer.
fn says_close(got: &[u8]) -> bool {
    let close = |head: &str| field(head, "connection").is_some_and(|value| value == "close");
    head(got).is_some_and(|head| head.starts_with("HTTP/1.0 ") || close(head))
}
