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
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token as Source, Waker};
use nix::sys::signal::Signal;
use serde_json::json;

use self::connection::{Connection, Phase, READ_BYTES};
use self::drain::{Drain, Step};
use self::metrics::Counters;
use crate::agents::Agents;
use crate::failure::Failure;
use crate::files::unix_seconds;
use crate::http::body::Room;
use crate::http::response::Response;
use crate::lock;
use crate::notify::{News, Notify};
use crate::signals::{self, Signals};
use crate::sockets::{Listener, Place};
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
    pub listeners: Vec<Listener>,
    /// The same ones, where they were handed in: what keeps them open for a next program
    /// in this process.
    pub handed: Vec<OwnedFd>,
    /// Where they listen.
    pub place: Place,
    /// The way to the supervisor.
    pub notify: Notify,
    /// Whether a restart happens in this process.
    pub in_place: bool,
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

/// How the loop ended.
pub struct End {
    /// Which end was asked for.
    pub reason: Reason,
    /// Sockets to go on with in this process.
    pub handed: Vec<OwnedFd>,
    /// The way to the supervisor.
    pub notify: Notify,
}

/// Serves until a signal ends it.
pub fn run(setup: Setup) -> Result<End, Failure> {
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
        server.notify.tick(now);
        if let Life::Draining(Drain { step: Step::Done, reason, .. }) = server.life {
            return Ok(End { reason, handed: server.handed, notify: server.notify });
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
    listeners: Vec<(usize, Listener)>,
    handed: Vec<OwnedFd>,
    /// Whether the listener outlives us.
    was_handed: bool,
    place: Place,
    notify: Notify,
    in_place: bool,
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
        thread::Builder::new().name("disk".to_owned()).spawn(move || {
            // Signals are the loop's: one that this thread had to take first would find the
            // loop with a connection that came after it.
            signals::hold();
            disk::run(folder, setup.closed_as, jobs_end, way_back)
        })?;
        let now = Instant::now();
        Ok(Self {
            poll,
            signals,
            listeners,
            was_handed: !setup.handed.is_empty(),
            handed: setup.handed,
            place: setup.place,
            notify: setup.notify,
            in_place: setup.in_place,
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
        let agents = self.agents.next_deadline(now);
        [drain, save, connection, self.accept_at, agents, self.notify.deadline()]
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
                    self.handed.clear();
                    self.tell_end(Reason::Stop, signal, now);
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
        self.tell_end(reason, signal, now);
        // What the kernel has accepted for us is ours to answer, unless the next generation
        // will. After a stop there may be none.
        if reason == Reason::Stop || !self.was_handed {
            self.accept(now, usize::MAX);
        }
        self.close_listeners(reason);
        let has_agents = !self.agents.is_empty();
        self.life =
            Life::Draining(Drain::new(reason, now, self.drain_time, has_agents, self.was_handed));
        if reason == Reason::Restart {
            self.save();
            self.saves_first = true;
        }
        // Each is read once more: what has arrived is a request under way; those with
        // nothing to say are closed.
        let ids: Vec<usize> = self.connections.keys().copied().collect();
        for id in ids {
            if self.was_handed
                && let Some(connection) = self.connections.get_mut(&id)
            {
                connection.hurry();
            }
            self.enqueue(id);
        }
    }

    /// Says to the supervisor what has begun, before anything else is done about it.
    fn tell_end(&mut self, reason: Reason, signal: Signal, now: Instant) {
        let longest = Drain::longest(self.drain_time) + lock::WATCHER_WAIT;
        let status = |what: &str| format!("{what} ({signal}): finishing what is under way");
        match reason {
            Reason::Stop => self.notify.tell(&News::Stopping(&status("stopping"), longest), now),
            // Who is told of a stop waits for an exit, and this process stays.
            Reason::Restart if self.in_place => {
                self.notify.tell(&News::Reloading(&status("restarting in place")), now);
            }
            Reason::Restart => {
                self.notify.tell(&News::Stopping(&status("restarting"), longest), now);
            }
        }
    }

    /// Closes what listens. A listener that others hold stays open, with whoever waits in
    /// its backlog, and would go on waking our poll (epoll(7), question 6): it is taken out
    /// before it is closed.
    fn close_listeners(&mut self, reason: Reason) {
        for (_, mut listener) in self.listeners.drain(..) {
            if let Err(error) = self.poll.registry().deregister(&mut listener) {
                log::warn!("a listener stays in the poll: {error}");
            }
        }
        self.accept_at = None;
        if reason == Reason::Stop || !self.in_place {
            self.handed.clear();
        }
    }

    fn is_gentle(&self) -> bool {
        matches!(self.life, Life::Draining(Drain { is_gentle: true, .. }))
    }

    // The drain.

    /// Goes on with the drain as far as it can.
    fn drain(&mut self, now: Instant) {
        while let Life::Draining(mut drain) = self.life {
            let next = match drain.step {
                Step::Requests(until) => {
                    let has_new =
                        drain.is_gentle && self.connections.values().any(Connection::is_new);
                    let waits = self.connections.values().any(Connection::holds_drain)
                        || has_new
                        || !self.queue.is_empty()
                        || self.saves_first;
                    if waits && now < until {
                        return;
                    }
                    let busy =
                        self.connections.values().filter(|connection| connection.is_busy()).count();
                    self.end_requests(busy, drain, now);
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
                Step::Disk(_) if self.disk_closed => Step::Closing(drain.close_at),
                Step::Disk(until) if now >= until => {
                    log::error!(
                        "the disk did not finish in time; every acknowledged write is on it"
                    );
                    Step::Closing(drain.close_at)
                }
                Step::Closing(until) if now >= until || self.connections.is_empty() => Step::Done,
                Step::Agents(_)
                | Step::Killing(_)
                | Step::Disk(_)
                | Step::Closing(_)
                | Step::Done => return,
            };
            self.life = Life::Draining(drain.at(next));
        }
    }

    fn end_requests(&mut self, busy: usize, drain: Drain, now: Instant) {
        let took = now.duration_since(drain.begun);
        // Those that are closed on our side stay until their clients have seen it.
        self.connections.retain(|_, connection| {
            drain.is_gentle && matches!(connection.phase, Phase::Lingering { .. })
        });
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
            uptime_ms: self.state.served(self.started.elapsed()),
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
                "ready on {}: generation {}, by the state folder's count; {} keys in memory, \
                 started in {} ms",
                self.place,
                self.state.generation,
                totals.keys,
                self.started.elapsed().as_millis()
            );
            let status = format!("generation {} is ready on {}", self.state.generation, self.place);
            self.notify.tell(&News::Ready(&status), now);
            self.agents.start(now);
            // Whoever has waited for this.
            self.accept_at = self.accept_at.map(|_| now);
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
                    Life::Draining(Drain {
                        step: Step::Disk(_) | Step::Closing(_) | Step::Done,
                        ..
                    }) => Some("final state saved"),
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
