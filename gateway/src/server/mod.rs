//! The loop: one thread that waits for sockets, signals, agents and the disk.

mod connection;
mod drain;
mod metrics;
mod routes;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token as Source, Waker};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use serde_json::json;

use self::connection::{Connection, Flow, Phase, READ_BYTES};
use self::drain::{Drain, Step};
use self::metrics::{Counters, Gauges};
use self::routes::Route;
use crate::agents::Agents;
use crate::failure::Failure;
use crate::files::unix_seconds;
use crate::http::body::{Body, Room};
use crate::http::head::{self, Head, Method};
use crate::http::response::{CONTINUE, Response};
use crate::signals::Signals;
use crate::state::{Reason, Stamp, State, Status};
use crate::store::cache::Cache;
use crate::store::disk::{self, Answer, Answers, Job, Ticket};
use crate::store::memory::{Totals, Trouble, Write};
use crate::supervisor::Supervisor;
use crate::token::Token;

/// How often the uptime is saved while nothing else happens: what a `kill -9` can take.
const SAVE_EVERY: Duration = Duration::from_secs(10);
/// After an accept that failed for want of descriptors or memory. The listener stays
/// readable then, and trying at once would be a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections taken in one turn, so that the others get theirs.
const ACCEPT_TURN: usize = 64;
/// Steps of one connection in one turn.
const CONNECTION_TURN: usize = 32;
/// Descriptors kept for the disk, agents, pipes and whatever else is opened late.
const SPARE_DESCRIPTORS: usize = 32;
/// The version that bodies and metrics name.
const VERSION: &str = env!("CARGO_PKG_VERSION");

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
            accept_at: None,
            max_connections: max_connections(),
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
            counters: Counters::default(),
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
                    let busy =
                        self.connections.values().filter(|connection| connection.is_busy()).count();
                    let waits = busy > 0 || !self.queue.is_empty() || self.saves_first;
                    if waits && now < until {
                        return;
                    }
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
                            let response = value_response(&value);
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
                    Life::Starting | Life::Serving => None,
                    Life::Draining(Drain { step: Step::Disk(_) | Step::Done, .. }) => {
                        Some("final state saved")
                    }
                    Life::Draining(_) => Some("state saved before the restart"),
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

    // Connections.

    fn accept_when_due(&mut self, now: Instant) {
        if self.accept_at.is_some_and(|when| when <= now) {
            self.accept_at = None;
            self.accept(now, ACCEPT_TURN);
        }
    }

    fn accept(&mut self, now: Instant, most: usize) {
        for index in 0..self.listeners.len() {
            let mut taken = 0;
            loop {
                if taken == most {
                    self.accept_at = Some(now);
                    break;
                }
                match self.listeners[index].1.accept() {
                    Ok((stream, _)) => self.admit(stream, now),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // accept(2): errors of the new connection come out here, too.
                    Err(error)
                        if matches!(
                            error.kind(),
                            io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
                        ) => {}
                    Err(error) => {
                        log::warn!("no connection can be accepted: {error}");
                        self.accept_at = Some(now + ACCEPT_PAUSE);
                        break;
                    }
                }
                taken += 1;
            }
        }
    }

    fn admit(&mut self, stream: TcpStream, now: Instant) {
        if self.connections.len() >= self.max_connections {
            if self.counters.refused == 0 {
                log::warn!(
                    "{} connections are open, as many as descriptors allow: more get 503 \
                     (raise the limit with ulimit -n)",
                    self.connections.len()
                );
            }
            self.counters.refused += 1;
            self.turn_away(stream, now);
            return;
        }
        let mut connection = Connection::new(stream, now);
        let id = self.next_id;
        self.next_id += 1;
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) =
            self.poll.registry().register(&mut connection.stream, Source(id), interest)
        {
            log::warn!("a connection cannot be watched: {error}");
            return;
        }
        self.counters.accepted += 1;
        self.enter(id, &mut connection);
        self.connections.insert(id, connection);
    }

    /// 503 and closed, with one try for each: it costs no descriptor past this call.
    fn turn_away(&mut self, stream: TcpStream, now: Instant) {
        let mut connection = Connection::new(stream, now);
        // What is unread at the close turns it into a reset that overtakes the answer.
        connection.fill(&mut self.scratch);
        let response = Response::error(503, "too many connections").with("Retry-After", "1");
        *self.counters.answers.entry(response.status).or_default() += 1;
        connection.queue(&response.write(false, false, false, unix_seconds()));
        connection.flush();
        connection.end_output();
    }

    fn enqueue(&mut self, id: usize) {
        if let Some(connection) = self.connections.get_mut(&id)
            && !connection.queued
        {
            connection.queued = true;
            self.queue.push_back(id);
        }
    }

    /// Lets every connection that is queued now go on.
    fn turn(&mut self, now: Instant) {
        for _ in 0..self.queue.len() {
            let Some(id) = self.queue.pop_front() else { return };
            let Some(mut connection) = self.connections.remove(&id) else { continue };
            connection.queued = false;
            match self.advance(id, &mut connection, now) {
                Next::Close => self.leave(id, &connection),
                next => {
                    self.enter(id, &mut connection);
                    self.connections.insert(id, connection);
                    if next == Next::Again {
                        self.enqueue(id);
                    }
                }
            }
        }
    }

    /// Puts the connection's deadline in the timetable.
    fn enter(&mut self, id: usize, connection: &mut Connection) {
        let deadline = connection.deadline();
        if deadline != connection.entered {
            self.leave(id, connection);
            self.timetable.extend(deadline.map(|when| (when, id)));
            connection.entered = deadline;
        }
    }

    fn leave(&mut self, id: usize, connection: &Connection) {
        if let Some(when) = connection.entered {
            self.timetable.remove(&(when, id));
        }
    }

    fn expire(&mut self, now: Instant) {
        while let Some(&(when, id)) = self.timetable.first()
            && when <= now
        {
            self.timetable.pop_first();
            let Some(mut connection) = self.connections.remove(&id) else { continue };
            connection.entered = None;
            match &connection.phase {
                Phase::Head(_) | Phase::Body { .. } => {
                    let head_only = match &connection.phase {
                        Phase::Body { head, .. } => head.method == Method::Head,
                        _ => head::is_head_method(&connection.input),
                    };
                    self.counters.timed_out += 1;
                    self.refuse(
                        &mut connection,
                        Response::error(408, "the request did not arrive in time"),
                        head_only,
                        now,
                    );
                    self.enter(id, &mut connection);
                    self.connections.insert(id, connection);
                    self.enqueue(id);
                }
                Phase::Idle(_)
                | Phase::Waiting { .. }
                | Phase::Sending { .. }
                | Phase::Lingering(_) => {}
            }
        }
    }

    /// Lets a connection go on until it must wait for its client or the disk.
    fn advance(&mut self, id: usize, connection: &mut Connection, now: Instant) -> Next {
        for _ in 0..CONNECTION_TURN {
            match &mut connection.phase {
                Phase::Idle(_) | Phase::Head(_) => {
                    if !connection.input.is_empty() {
                        match head::parse(&connection.input) {
                            Ok(Some((head, taken))) => {
                                connection.consume(taken);
                                self.begin(connection, head, now);
                                continue;
                            }
                            Ok(None) => {
                                if let Phase::Idle(_) = connection.phase {
                                    connection.phase = Phase::Head(now);
                                }
                            }
                            Err(refusal) => {
                                let head_only = head::is_head_method(&connection.input);
                                self.refuse(connection, refusal.into(), head_only, now);
                                continue;
                            }
                        }
                    }
                    match connection.fill(&mut self.scratch) {
                        Flow::Moved(_) => {}
                        Flow::Blocked if self.is_draining() && !connection.is_busy() => {
                            return Next::Close;
                        }
                        Flow::Blocked => return Next::Keep,
                        Flow::Ended => return Next::Close,
                    }
                }
                Phase::Body { head, body, received, .. } => {
                    match body.take(&connection.input) {
                        Ok(taken) => {
                            *received += taken;
                            let done = body.is_done();
                            connection.consume(taken);
                            if done {
                                self.dispatch(id, connection, now);
                                continue;
                            }
                        }
                        Err(refusal) => {
                            let head_only = head.method == Method::Head;
                            self.refuse(connection, refusal.into(), head_only, now);
                            continue;
                        }
                    }
                    // A 100 that may be queued still.
                    if connection.flush() == Flow::Ended {
                        return Next::Close;
                    }
                    match connection.fill(&mut self.scratch) {
                        Flow::Moved(_) => {}
                        Flow::Blocked => return Next::Keep,
                        Flow::Ended => return Next::Close,
                    }
                }
                Phase::Waiting { .. } => return Next::Keep,
                Phase::Sending { keep_alive, .. } => {
                    let keep_alive = *keep_alive;
                    match connection.flush() {
                        Flow::Moved(_) if keep_alive => connection.phase = Phase::Idle(now),
                        Flow::Moved(_) => {
                            connection.end_output();
                            connection.phase = Phase::Lingering(now);
                        }
                        Flow::Blocked => return Next::Keep,
                        Flow::Ended => return Next::Close,
                    }
                }
                Phase::Lingering(_) => {
                    connection.consume(connection.input.len());
                    match connection.fill(&mut self.scratch) {
                        Flow::Moved(_) => {}
                        Flow::Blocked => return Next::Keep,
                        Flow::Ended => return Next::Close,
                    }
                }
            }
        }
        Next::Again
    }

    // Requests.

    fn is_draining(&self) -> bool {
        matches!(self.life, Life::Draining(_))
    }

    /// A head is complete: its body is next, unless it can be answered without.
    fn begin(&mut self, connection: &mut Connection, head: Head, now: Instant) {
        let route = match routes::find(&head, self.token.as_ref()) {
            Ok(route) => route,
            Err(response) => return self.answer(connection, &head, response, now),
        };
        // Only a value is wanted; nobody else's body takes memory.
        let hold = matches!(route, Route::Put(_)).then(|| self.room.hold());
        match Body::new(head.framing, hold) {
            Ok(body) => {
                // RFC 9110 section 10.1.1: not where the body has begun to come anyway.
                if head.expects_continue && !body.is_done() && connection.input.is_empty() {
                    connection.queue(CONTINUE);
                }
                connection.phase = Phase::Body { head, route, body, since: now, received: 0 };
            }
            Err(refusal) => self.answer(connection, &head, refusal.into(), now),
        }
    }

    /// A request is complete.
    fn dispatch(&mut self, id: usize, connection: &mut Connection, now: Instant) {
        let phase = std::mem::replace(&mut connection.phase, Phase::Idle(now));
        let Phase::Body { mut head, route, body, .. } = phase else {
            unreachable!("only a connection with a complete body is dispatched")
        };
        // The body is in: it no longer stands between this request and the next.
        head.framing = head::Framing::None;
        let (bytes, hold) = body.into_parts();
        let job = match route {
            Route::Status => return self.answer(connection, &head, self.status(&head), now),
            Route::Health => {
                return self.answer(
                    connection,
                    &head,
                    Response::json(200, &Health { ok: true, status: "live" }),
                    now,
                );
            }
            Route::Ready => return self.answer(connection, &head, self.ready(), now),
            Route::Startup => return self.answer(connection, &head, self.startup(), now),
            Route::Metrics => return self.answer(connection, &head, self.metrics(), now),
            _ if matches!(self.life, Life::Starting) => {
                let response =
                    Response::error(503, "the memory is being opened").with("Retry-After", "1");
                return self.answer(connection, &head, response, now);
            }
            Route::Get(key) => match self.cache.get(&key) {
                Some(value) => return self.answer(connection, &head, value_response(&value), now),
                None => Job::Get(id, key),
            },
            Route::Put(key) => Job::Write(id, Write::Put(key, bytes.into())),
            Route::Delete(key) => Job::Write(id, Write::Delete(key)),
            Route::List { after, limit } => Job::List { ticket: id, after, limit },
        };
        match self.jobs.send(job) {
            Ok(()) => connection.phase = Phase::Waiting { head, _hold: hold },
            Err(_) => {
                self.answer(connection, &head, Response::error(503, "the memory is closed"), now)
            }
        }
    }

    /// The disk has done its part of a request.
    fn finish(&mut self, ticket: Ticket, response: Response) {
        // A client that left in the meantime gets no answer.
        let Some(mut connection) = self.connections.remove(&ticket) else { return };
        let now = Instant::now();
        match std::mem::replace(&mut connection.phase, Phase::Idle(now)) {
            Phase::Waiting { head, .. } => self.answer(&mut connection, &head, response, now),
            other => connection.phase = other,
        }
        self.connections.insert(ticket, connection);
        self.enqueue(ticket);
    }

    fn answer(
        &mut self,
        connection: &mut Connection,
        head: &Head,
        response: Response,
        now: Instant,
    ) {
        // Answered before its body was read, a request ends its connection.
        let keep_alive = head.keep_alive && !head.has_body() && !self.is_draining();
        log::debug!("{}: {}", head.path, response.status);
        self.send(
            connection,
            &response,
            head.method == Method::Head,
            keep_alive,
            head.http_1_0,
            now,
        );
    }

    /// Answers what is no request that could be followed by another.
    fn refuse(
        &mut self,
        connection: &mut Connection,
        response: Response,
        head_only: bool,
        now: Instant,
    ) {
        self.send(connection, &response, head_only, false, false, now);
    }

    fn send(
        &mut self,
        connection: &mut Connection,
        response: &Response,
        head_only: bool,
        keep_alive: bool,
        http_1_0: bool,
        now: Instant,
    ) {
        *self.counters.answers.entry(response.status).or_default() += 1;
        connection.queue(&response.write(head_only, keep_alive, http_1_0, unix_seconds()));
        connection.phase = Phase::Sending { keep_alive, since: now };
    }

    // Bodies of answers.

    fn uptime(&self) -> u64 {
        (Duration::from_millis(self.state.uptime_ms) + self.started.elapsed()).as_secs()
    }

    fn status(&self, head: &Head) -> Response {
        let status = match &self.life {
            Life::Starting => "starting",
            Life::Serving => "running",
            Life::Draining(_) => "stopping",
        };
        let more = routes::has_token(head, self.token.as_ref()).then(|| MoreStatus {
            version: VERSION,
            pid: std::process::id(),
            generation: self.state.generation,
            port: self.state.port,
            started_at: self.state.started_at,
            connections: self.connections.len() + 1,
            agents: self.agents.running(),
            memory_keys: self.totals.keys,
            memory_bytes: self.totals.bytes,
            supervisor: self.supervisor,
        });
        Response::json(200, &StatusBody { status, uptime: self.uptime(), more })
    }

    fn ready(&self) -> Response {
        let (code, failing): (u16, &[&str]) = match &self.life {
            Life::Starting => (503, &["memory"]),
            Life::Serving => (200, &[]),
            Life::Draining(_) => (503, &["draining"]),
        };
        Response::json(
            code,
            &Ready { ready: code == 200, failing, uptime_ms: self.started.elapsed().as_millis() },
        )
    }

    fn startup(&self) -> Response {
        let (code, status, pending_reason) = match &self.life {
            Life::Starting => (503, "starting", Some("memory")),
            Life::Serving => (200, "started", None),
            Life::Draining(drain) => (503, "draining", Some(drain.reason.words())),
        };
        Response::json(
            code,
            &Startup {
                ok: code == 200,
                status,
                version: VERSION,
                uptime_ms: self.started.elapsed().as_millis(),
                pending_reason,
            },
        )
    }

    fn metrics(&self) -> Response {
        let text = metrics::text(
            &self.counters,
            &Gauges {
                uptime: self.uptime(),
                generation: self.state.generation,
                ready: matches!(self.life, Life::Serving),
                draining: self.is_draining(),
                last_drain: self.state.drain_ms.map(Duration::from_millis),
                connections: self.connections.len() + 1,
                connections_max: self.max_connections,
                memory_keys: self.totals.keys,
                memory_bytes: self.totals.bytes,
                cache_bytes: self.cache.bytes(),
                cache_hits: self.cache.hits,
                cache_misses: self.cache.misses,
                agents: self.agents.running(),
                agent_restarts: self.agents.restarts,
            },
        );
        Response::new(200, "text/plain; version=0.0.4", text)
    }
}

/// What becomes of a connection after its turn.
#[derive(PartialEq, Eq)]
enum Next {
    /// It waits.
    Keep,
    /// It could go on, and the others are next.
    Again,
    /// It is over.
    Close,
}

fn value_response(value: &[u8]) -> Response {
    Response::new(200, "application/octet-stream", value)
}

/// Raises the descriptor limit as far as it goes and says how many connections that
/// allows.
fn max_connections() -> usize {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, hard)| {
        match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
            Ok(()) => hard,
            Err(_) => soft,
        }
    });
    // Without /proc, what a gateway has open at its start.
    let open = std::fs::read_dir("/proc/self/fd").map_or(16, Iterator::count);
    usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(open + SPARE_DESCRIPTORS).max(1)
}

// The bodies of the real gateway (OPENCLAW.md section 3), field by field in its order.

#[derive(serde::Serialize)]
struct Health {
    ok: bool,
    status: &'static str,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Ready<'a> {
    ready: bool,
    failing: &'a [&'a str],
    uptime_ms: u128,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Startup {
    ok: bool,
    status: &'static str,
    version: &'static str,
    uptime_ms: u128,
    pending_reason: Option<&'static str>,
}

#[derive(serde::Serialize)]
struct StatusBody {
    status: &'static str,
    uptime: u64,
    #[serde(flatten)]
    more: Option<MoreStatus>,
}

/// Fields of `/status` for those who have the token.
#[derive(serde::Serialize)]
struct MoreStatus {
    version: &'static str,
    pid: u32,
    generation: u64,
    port: u16,
    started_at: u64,
    connections: usize,
    agents: usize,
    memory_keys: u64,
    memory_bytes: u64,
    supervisor: Supervisor,
}
