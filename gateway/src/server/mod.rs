//! The loop: one thread that waits for sockets, signals, agents and the disk.

mod accept;
mod connection;
mod drain;
mod metrics;
mod pages;
mod requests;
mod routes;
mod turn;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token as Source, Waker};
use nix::sys::signal::Signal;
use serde_json::json;

use self::connection::{Connection, READ_BYTES};
use self::drain::{Drain, Step};
use self::metrics::Counters;
use crate::agents::Agents;
use crate::failure::Failure;
use crate::files::unix_seconds;
use crate::http::body::Room;
use crate::http::response::Response;
use crate::signals::Signals;
use crate::state::{Reason, Stamp, State, Status};
use crate::store::cache::Cache;
use crate::store::disk::{self, Answer, Answers, Job, Ticket};
use crate::store::memory::{Totals, Trouble, Write};
use crate::supervisor::Supervisor;
use crate::token::Token;

/// How often the uptime is saved while nothing else happens: what a `kill -9` can take.
const SAVE_EVERY: Duration = Duration::from_secs(10);

const SIGNALS: Source = Source(0);
const DISK: Source = Source(1);
/// Listeners come from here on, then connections; no number is used twice.
const FIRST: usize = 2;

/// What the loop is started with.
pub struct Setup {
    /// The state folder, locked.
    pub folder: PathBuf,
    /// The state of this generation, as saved at its start.
    pub state: State,
    /// How long that save took; none where it failed.
    pub first_save: Option<Duration>,
    /// How the last generation left the memory file.
    pub closed_as: Option<Stamp>,
    /// Sockets that listen already.
    pub listeners: Vec<TcpListener>,
    /// Signals, caught already.
    pub signals: Signals,
    /// The token, when one is set.
    pub token: Option<Token>,
    /// Agents to start.
    pub agents: Agents,
    /// From the stop request to the end of requests and agents.
    pub drain_time: Duration,
    /// The parent.
    pub supervisor: Supervisor,
}

/// Where the gateway stands.
enum Life {
    /// The memory is being opened.
    Starting,
    /// It takes work.
    Serving,
    /// It was asked to stop or restart.
    Draining(Drain),
}

/// Serves until a signal ends it, and says which end was asked for.
pub fn run(setup: Setup) -> Result<Reason, Failure> {
    let failed =
        |error: io::Error| Failure::failed(format!("the event loop cannot be set up: {error}"));
    let mut events = Events::with_capacity(1024);
    let mut server = Server::new(setup).map_err(failed)?;
    loop {
        let now = Instant::now();
        server.take_answers(now)?;
        server.accept_when_due(now);
        server.turn(now);
        server.expire(now);
        server.agents.tick(now);
        server.save_when_due(now);
        server.drain(now);
        if let Life::Draining(Drain { step: Step::Done, reason, .. }) = server.life {
            return Ok(reason);
        }
        match server.poll.poll(&mut events, server.timeout(Instant::now())) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
        let now = Instant::now();
        for event in &events {
            match event.token() {
                SIGNALS => server.take_signals(now),
                DISK => {}
                Source(id) if server.listeners.iter().any(|(own, _)| *own == id) => {
                    server.accept_at = Some(now)
                }
                Source(id) => server.enqueue(id),
            }
        }
    }
}

struct Server {
    poll: Poll,
    signals: Signals,
    listeners: Vec<(usize, TcpListener)>,
    connections: HashMap<usize, Connection>,
    next_id: usize,
    /// Deadlines of connections, the nearest first.
    timetable: BTreeSet<(Instant, usize)>,
    /// Connections that may be able to go on.
    queue: VecDeque<usize>,
    /// Bytes of input of all connections that are not understood yet.
    waiting: usize,
    /// When to accept next, where something is to be accepted.
    accept_at: Option<Instant>,
    max_connections: usize,
    /// What the bodies of requests may hold.
    room: Room,
    jobs: Sender<Job>,
    answers: Receiver<Answer>,
    /// Kept open past the disk thread's end: a waker that is closed takes a wake-up that
    /// the poll has not seen with it.
    _waker: Arc<Waker>,
    folder: PathBuf,
    cache: Cache,
    totals: Totals,
    disk_closed: bool,
    agents: Agents,
    token: Option<Token>,
    drain_time: Duration,
    supervisor: Supervisor,
    counters: Counters,
    life: Life,
    /// The state as it was when this generation began.
    state: State,
    started: Instant,
    save_at: Instant,
    save_fails: bool,
    /// The state of a restart is being saved, which comes before all else.
    saves_first: bool,
    memory_fails: bool,
    scratch: Box<[u8; READ_BYTES]>,
}

impl Server {
    fn new(setup: Setup) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut signals = setup.signals;
        poll.registry().register(&mut signals.pipe, SIGNALS, Interest::READABLE)?;
        let mut next_id = FIRST;
        let mut listeners = Vec::new();
        for mut listener in setup.listeners {
            poll.registry().register(&mut listener, Source(next_id), Interest::READABLE)?;
            listeners.push((next_id, listener));
            next_id += 1;
        }
        let (jobs, jobs_end) = mpsc::channel();
        let (answers_end, answers) = mpsc::channel();
        let waker = Arc::new(Waker::new(poll.registry(), DISK)?);
        let way_back = Answers { sender: answers_end, waker: Arc::clone(&waker) };
        let folder = setup.folder.clone();
        thread::Builder::new()
            .name("disk".to_owned())
            .spawn(move || disk::run(folder, setup.closed_as, jobs_end, way_back))?;
        let now = Instant::now();
        Ok(Self {
            poll,
            signals,
            listeners,
            connections: HashMap::new(),
            next_id,
            timetable: BTreeSet::new(),
            queue: VecDeque::new(),
            waiting: 0,
            accept_at: None,
            max_connections: accept::max_connections(),
            room: Room::default(),
            jobs,
            answers,
            _waker: waker,
            folder: setup.folder,
            cache: Cache::default(),
            totals: Totals::default(),
            disk_closed: false,
            agents: setup.agents,
            token: setup.token,
            drain_time: setup.drain_time,
            supervisor: setup.supervisor,
            counters: Counters::from_start(setup.first_save),
            life: Life::Starting,
            state: setup.state,
            started: now,
            save_at: now + SAVE_EVERY,
            save_fails: false,
            saves_first: false,
            memory_fails: false,
            scratch: Box::new([0; READ_BYTES]),
        })
    }

    /// How long the poll may wait.
    fn timeout(&self, now: Instant) -> Option<Duration> {
        if !self.queue.is_empty() {
            return Some(Duration::ZERO);
        }
        let drain = match &self.life {
            Life::Starting | Life::Serving => None,
            Life::Draining(drain) => drain.deadline(),
        };
        let save = matches!(self.life, Life::Serving).then_some(self.save_at);
        let connection = self.timetable.first().map(|(when, _)| *when);
        [drain, save, connection, self.accept_at, self.agents.next_deadline(now)]
            .into_iter()
            .flatten()
            .min()
            .map(|when| when.saturating_duration_since(now))
    }

    // Signals.

    fn take_signals(&mut self, now: Instant) {
        for signal in self.signals.take() {
            match signal {
                Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT => {
                    self.begin_drain(Reason::Stop, signal, now);
                }
                Signal::SIGUSR1 => self.begin_drain(Reason::Restart, signal, now),
                Signal::SIGCHLD => {
                    // While the disk thread may be waiting for its check of the memory
                    // file, nobody else's child is reaped.
                    let as_init = std::process::id() == 1 && matches!(self.life, Life::Serving);
                    self.agents.reap(now, as_init);
                }
                // A terminal that closes must not take the gateway with it, and there
                // is no configuration to read again.
                Signal::SIGHUP => log::info!("SIGHUP received: nothing to reload, going on"),
                other => log::warn!("{other} received: not known, going on"),
            }
        }
    }

    fn begin_drain(&mut self, reason: Reason, signal: Signal, now: Instant) {
        if let Life::Draining(drain) = &mut self.life {
            match (drain.reason, reason) {
                (Reason::Restart, Reason::Stop) => {
                    drain.reason = Reason::Stop;
                    log::info!("{signal} received while draining for a restart: it is a stop now");
                }
                (Reason::Stop, _) | (Reason::Restart, Reason::Restart) => {
                    log::info!("{signal} received while draining: it changes nothing");
                }
            }
            return;
        }
        match reason {
            Reason::Stop => log::info!("Graceful shutdown initiated ({signal})"),
            Reason::Restart => log::info!("Graceful restart initiated ({signal})"),
        }
        // What the kernel has accepted for us is ours to answer.
        self.accept(now, usize::MAX);
        self.listeners.clear();
        self.accept_at = None;
        self.life =
            Life::Draining(Drain::new(reason, now, self.drain_time, !self.agents.is_empty()));
        if reason == Reason::Restart {
            self.save();
            self.saves_first = true;
        }
        // Each is read once more: what has arrived is a request under way; those with
        // nothing to say are closed.
        let ids: Vec<usize> = self.connections.keys().copied().collect();
        for id in ids {
            self.enqueue(id);
        }
    }

    // The drain.

    /// Goes on with the drain as far as it can.
    fn drain(&mut self, now: Instant) {
        while let Life::Draining(drain) = self.life {
            let next = match drain.step {
                Step::Requests(until) => {
                    let waits = self.connections.values().any(Connection::holds_drain)
                        || !self.queue.is_empty()
                        || self.saves_first;
                    if waits && now < until {
                        return;
                    }
                    let busy =
                        self.connections.values().filter(|connection| connection.is_busy()).count();
                    self.end_requests(busy, now.duration_since(drain.begun));
                    self.agents.end();
                    drain.agents_step(now)
                }
                Step::Agents(_) | Step::Killing(_) if self.agents.have_ended() => {
                    self.close_disk(drain, now)
                }
                Step::Agents(until) if now >= until => {
                    self.agents.kill();
                    Drain::killing_step(now)
                }
                Step::Killing(until) if now >= until => {
                    log::error!("agents live on after SIGKILL; going on without them");
                    self.close_disk(drain, now)
                }
                Step::Disk(_) if self.disk_closed => Step::Done,
                Step::Disk(until) if now >= until => {
                    log::error!(
                        "the disk did not finish in time; every acknowledged write is on it"
                    );
                    Step::Done
                }
                Step::Agents(_) | Step::Killing(_) | Step::Disk(_) | Step::Done => return,
            };
            self.life = Life::Draining(drain.at(next));
        }
    }

    fn end_requests(&mut self, busy: usize, took: Duration) {
        self.connections.clear();
        self.timetable.clear();
        self.queue.clear();
        self.waiting = self.connections.values().map(|connection| connection.input.len()).sum();
        if busy == 0 {
            log::info!("drain finished in {} ms: every request was answered", took.as_millis());
        } else {
            log::warn!("drain ended after {} ms: {busy} requests were cut off", took.as_millis());
        }
    }

    fn close_disk(&mut self, drain: Drain, now: Instant) -> Step {
        let mut state = self.snapshot();
        state.status = Status::Stopped;
        state.drain_ms = u64::try_from(now.duration_since(drain.begun).as_millis()).ok();
        let _ = self.jobs.send(Job::Close(Box::new(state)));
        let cached = self.cache.len();
        self.cache.clear();
        log::info!(
            "memory flushed: {} keys on the disk; cache of {cached} cleared",
            self.totals.keys
        );
        Drain::disk_step(now)
    }

    // The state file.

    /// The state as of now.
    fn snapshot(&self) -> State {
        let (status, reason) = match &self.life {
            Life::Starting | Life::Serving => (Status::Running, None),
            Life::Draining(drain) => (Status::Stopping, Some(drain.reason)),
        };
        State {
            status,
            reason,
            uptime_ms: self.state.uptime_ms
                + u64::try_from(self.started.elapsed().as_millis()).unwrap_or(0),
            saved_at: unix_seconds(),
            ..self.state.clone()
        }
    }

    fn save(&mut self) {
        self.save_at = Instant::now() + SAVE_EVERY;
        // A disk thread that has ended has said why.
        let _ = self.jobs.send(Job::Save(Box::new(self.snapshot())));
    }

    fn save_when_due(&mut self, now: Instant) {
        if matches!(self.life, Life::Serving) && self.save_at <= now {
            self.save();
        }
    }

    // The disk.

    fn take_answers(&mut self, now: Instant) -> Result<(), Failure> {
        while let Ok(answer) = self.answers.try_recv() {
            match answer {
                Answer::Opened(totals) => self.opened(totals, now),
                Answer::NotOpened(line) => return self.not_opened(line),
                Answer::Committed { totals, took } => {
                    self.totals = totals;
                    self.counters.commits += 1;
                    self.counters.commit_time += took;
                }
                Answer::Written(ticket, write, result) => self.written(ticket, write, result),
                Answer::Got(ticket, key, result) => {
                    let response = match result {
                        Ok(Some(value)) => {
                            let response = requests::value_response(&value);
                            self.cache.put(key, value);
                            response
                        }
                        Ok(None) => Response::error(404, "no such key"),
                        Err(trouble) => self.trouble(&trouble),
                    };
                    self.finish(ticket, response);
                }
                Answer::Listed(ticket, result) => {
                    let response = match result {
                        Ok((keys, more)) => {
                            Response::json(200, &json!({ "keys": keys, "more": more }))
                        }
                        Err(trouble) => self.trouble(&trouble),
                    };
                    self.finish(ticket, response);
                }
                Answer::Saved(result) => self.saved(result),
                Answer::Closed(result) => {
                    if let Err(error) = result {
                        log::error!(
                            "the memory file could not be closed ({error}); the next start repairs it"
                        );
                    }
                    self.disk_closed = true;
                }
            }
        }
        Ok(())
    }

    fn opened(&mut self, totals: Totals, now: Instant) {
        self.totals = totals;
        if matches!(self.life, Life::Starting) {
            self.life = Life::Serving;
            log::info!(
                "ready on port {}: generation {}, by the state folder's count; {} keys in memory, \
                 started in {} ms",
                self.state.port,
                self.state.generation,
                totals.keys,
                self.started.elapsed().as_millis()
            );
            self.agents.start(now);
        }
    }

    /// Without its memory the gateway has nothing to serve, unless it is on its way out.
    fn not_opened(&mut self, line: String) -> Result<(), Failure> {
        if matches!(self.life, Life::Draining(_)) {
            log::error!("{line}");
            self.disk_closed = true;
            return Ok(());
        }
        Err(Failure::failed(line))
    }

    fn written(&mut self, ticket: Ticket, write: Write, result: Result<bool, Trouble>) {
        let response = match (write, result) {
            (_, Err(trouble)) => self.trouble(&trouble),
            (Write::Put(key, value), Ok(existed)) => {
                self.memory_fails = false;
                self.cache.put(key, value);
                Response::empty(if existed { 204 } else { 201 })
            }
            (Write::Delete(key), Ok(existed)) => {
                self.memory_fails = false;
                self.cache.remove(&key);
                if existed { Response::empty(204) } else { Response::error(404, "no such key") }
            }
        };
        self.finish(ticket, response);
    }

    /// The answer to a request that the disk could not do; logged once per trouble.
    fn trouble(&mut self, trouble: &Trouble) -> Response {
        let (response, line) = match trouble {
            Trouble::Full => (
                Response::error(507, "the disk is full; nothing was written"),
                "the disk is full".to_owned(),
            ),
            Trouble::Failed(error) => (
                Response::error(503, "the memory cannot be used now; nothing was acknowledged")
                    .with("Retry-After", "1"),
                error.clone(),
            ),
        };
        if !self.memory_fails {
            log::error!(
                "memory in {}: {line}; such requests are refused until it works again",
                self.folder.display()
            );
            self.memory_fails = true;
        }
        response
    }

    fn saved(&mut self, result: io::Result<Duration>) {
        self.saves_first = false;
        match result {
            Ok(took) => {
                self.counters.saves += 1;
                self.counters.save_time = took;
                self.save_fails = false;
                let what = match &self.life {
                    Life::Draining(Drain { step: Step::Disk(_) | Step::Done, .. }) => {
                        Some("final state saved")
                    }
                    Life::Draining(Drain { reason: Reason::Restart, .. }) => {
                        Some("state saved before the restart")
                    }
                    // One of those that are made every now and then.
                    Life::Starting | Life::Serving | Life::Draining(_) => None,
                };
                if let Some(what) = what {
                    log::info!("{what} in {:.1} ms", took.as_secs_f64() * 1e3);
                }
            }
            Err(error) => {
                self.counters.saves_failed += 1;
                if !self.save_fails {
                    log::error!("the state cannot be saved in {}: {error}", self.folder.display());
                }
                self.save_fails = true;
            }
        }
    }

    fn is_draining(&self) -> bool {
        matches!(self.life, Life::Draining(_))
    }
}
