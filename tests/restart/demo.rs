//! The gateway restarted and killed under a steady load, with sockets that outlive it and without.

use crate::clients::{Answer, Counts, Load, Loss, Lost};
use crate::harness::{End, Folder, Init, Run, free_port};
use crate::sys;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How much of it.
#[derive(Clone, Copy)]
pub struct Effort {
    pub restarts: u32,
    pub crashes: u32,
    /// New connections a second.
    pub rate: u32,
    /// From one generation that is ready to the next restart or crash.
    pub pause: Duration,
}

/// From the signal to the port that is free: the bound that a stop has.
const STOP_BOUND: Duration = Duration::from_secs(3);
/// One in so many new clients asks a moment after it has connected.
const LATE: u32 = 10;
/// Clients that wait in the backlog of a gateway that is killed.
const WAITING: usize = 100;

/// One restart or crash.
#[derive(Clone, Copy)]
struct Change {
    begun: Instant,
    /// The signal is sent.
    sent: Instant,
    ready: Instant,
    is_crash: bool,
}

/// What one side of the comparison came to.
pub struct Side {
    counts: Counts,
    changes: Vec<Change>,
    stop: Duration,
}

/// The gateway's program.
pub fn gateway() -> Option<PathBuf> {
    let named = std::env::var_os("CLAWINIT_GATEWAY").map(PathBuf::from);
    named
        .or_else(|| Some(crate::harness::clawinit().with_file_name("openclaw")))
        .filter(|path| path.is_file())
}

struct Gateway {
    run: Run,
    address: SocketAddrV4,
    generation: usize,
    _folder: Folder,
}

impl Gateway {
    fn start(listens: bool) -> Gateway {
        let folder = Folder::new();
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, free_port());
        let listen = format!("--listen={address}");
        let mut options = vec![
            "--notify",
            "--restart=on-failure",
            // Crashes come faster here than anywhere else.
            "--restart-limit=64/60s",
            "--stable-after=200ms",
            "--start-grace=10s",
        ];
        let port = address.port().to_string();
        let gateway = gateway().expect("the gateway").display().to_string();
        let mut command = vec![gateway.as_str(), "gateway", "start"];
        if listens {
            options.push(&listen);
        } else {
            command.extend(["--bind", "127.0.0.1", "--port", &port]);
        }
        let run = Init::new(&options)
            .variable("GATEWAY_STATE_DIR", &folder.word("state"))
            .command(&command);
        let gateway = Gateway { run, address, generation: 1, _folder: folder };
        gateway.run.event("ready", 1);
        gateway
    }

    /// Its process, as we see it.
    fn pid(&self) -> i32 {
        let path = format!("/proc/{0}/task/{0}/children", self.run.pid);
        self.run.until("the gateway's process", || {
            let children = std::fs::read_to_string(&path).ok()?;
            children.split_whitespace().next()?.parse().ok()
        })
    }

    fn restart(&mut self) -> Change {
        let begun = Instant::now();
        self.run.usr1();
        self.next(begun, Instant::now(), false)
    }

    fn crash(&mut self) -> Change {
        let pid = self.pid();
        let begun = Instant::now();
        sys::kill(pid, libc::SIGKILL).expect("kill the gateway");
        self.next(begun, Instant::now(), true)
    }

    fn next(&mut self, begun: Instant, sent: Instant, is_crash: bool) -> Change {
        self.generation += 1;
        self.run.event("ready", self.generation);
        Change { begun, sent, ready: Instant::now(), is_crash }
    }

    /// How long it takes from the signal until somebody else can have the port.
    fn stop(self) -> Duration {
        let begun = Instant::now();
        self.run.term();
        let free = || TcpListener::bind(self.address).is_ok().then(|| begun.elapsed());
        let took = self.run.until("the port to be free", free);
        let done = self.run.finish();
        assert_eq!(done.end, End::Code(0), "{}", done.text());
        took
    }
}

/// Runs one side.
pub fn side(effort: Effort, listens: bool) -> Side {
    let mut gateway = Gateway::start(listens);
    let load = Load::begin(gateway.address, effort.rate, LATE);
    let mut changes = Vec::new();
    for crash in order(effort) {
        // The load is what this is about; it is to be a steady one before each change.
        std::thread::sleep(effort.pause);
        changes.push(if crash { gateway.crash() } else { gateway.restart() });
    }
    std::thread::sleep(effort.pause);
    let counts = load.end();
    Side { counts, changes, stop: gateway.stop() }
}

/// Crashes spread among the restarts: which of them each is.
fn order(effort: Effort) -> Vec<bool> {
    let all = effort.restarts + effort.crashes;
    let crashes = |until: u32| until * effort.crashes / all.max(1);
    (0..all).map(|at| crashes(at + 1) > crashes(at)).collect()
}

/// What waits in the backlog of a gateway that is killed is answered by the next one: these are
/// known to wait there, since the one that is killed was stopped before they came.
pub fn backlog() {
    let mut gateway = Gateway::start(true);
    let pid = gateway.pid();
    sys::kill(pid, libc::SIGSTOP).expect("stop the gateway");
    let ask = |_| {
        let mut client = TcpStream::connect(gateway.address).expect("a connection");
        client.write_all(b"GET /status HTTP/1.0\r\n\r\n").expect("ask");
        client
    };
    let clients: Vec<TcpStream> = (0..WAITING).map(ask).collect();
    gateway.crash();
    for mut client in clients {
        client.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
    }
    gateway.stop();
}

impl Side {
    /// What a crash took along: the connection was begun before the SIGKILL, so that the gateway
    /// may have accepted it, and ended after.
    fn of_a_crash(&self, loss: &Loss) -> bool {
        let broken = [Lost::Unanswered, Lost::Cut].contains(&loss.how);
        broken
            && self.changes.iter().any(|change| {
                change.is_crash
                    && loss.begun <= change.sent
                    && loss.ended >= change.begun
                    && loss.ended <= change.ready
            })
    }

    /// Losses of one kind, those of crashes apart.
    fn lost(&self, how: Lost) -> usize {
        let losses = self.counts.losses.iter();
        losses.filter(|loss| loss.how == how && !self.of_a_crash(loss)).count()
    }

    fn lost_in_crashes(&self) -> usize {
        self.counts.losses.iter().filter(|loss| self.of_a_crash(loss)).count()
    }

    /// Waits of all requests, or of those that were due while none was ready; sorted.
    fn waits(&self, of: impl Fn(&Answer) -> bool) -> Vec<Duration> {
        let answers = self.counts.answers.iter().filter(|answer| of(answer));
        let mut waits: Vec<Duration> = answers.map(|answer| answer.ended - answer.due).collect();
        waits.sort_unstable();
        waits
    }

    fn came_in(&self, answer: &Answer, is_crash: bool) -> bool {
        let during = |c: &&Change| c.begun <= answer.due && answer.due <= c.ready;
        self.changes.iter().find(during).is_some_and(|change| change.is_crash == is_crash)
    }

    fn changes_took(&self, is_crash: bool) -> Vec<Duration> {
        let changes = self.changes.iter().filter(|change| change.is_crash == is_crash);
        let mut took: Vec<Duration> = changes.map(|change| change.ready - change.begun).collect();
        took.sort_unstable();
        took
    }

    /// What must hold for sockets that outlive the gateway.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for how in
            [Lost::Refused, Lost::Unanswered, Lost::Cut, Lost::Late, Lost::Wrong, Lost::NotBegun]
        {
            let mut all = self.counts.losses.iter();
            let first = all.find(|loss| loss.how == how && !self.of_a_crash(loss));
            if let Some(loss) = first {
                let around = self.around(loss);
                faults.push(format!("{} × {how:?}, the first {around}", self.lost(how)));
            }
        }
        if self.stop > STOP_BOUND {
            faults.push(format!("the port was free only after {:?}", self.stop));
        }
        faults
    }

    /// When it was, seen from the last change before it.
    fn around(&self, loss: &Loss) -> String {
        let last = self.changes.iter().rev().find(|change| change.begun <= loss.ended);
        let Some(change) = last else { return "before any restart".to_string() };
        let what = if change.is_crash { "SIGKILL" } else { "SIGUSR1" };
        let since = |when: Instant| {
            let after = when.saturating_duration_since(change.begun);
            let before = change.begun.saturating_duration_since(when);
            if before.is_zero() { format!("{after:?} after") } else { format!("{before:?} before") }
        };
        format!(
            "begun {} {what}, ended {}, ready {}",
            since(loss.begun),
            since(loss.ended),
            since(change.ready)
        )
    }

    pub fn refused(&self) -> usize {
        self.lost(Lost::Refused)
    }

    fn column(&self) -> Vec<String> {
        let counts = &self.counts;
        let seconds = counts.took.as_secs_f64();
        let number = |how| self.lost(how).to_string();
        vec![
            format!("{} at {:.0}/s", counts.new, counts.new as f64 / seconds),
            format!("{} on {} connections", counts.kept, "20"),
            counts.answers.len().to_string(),
            number(Lost::Refused),
            number(Lost::Unanswered),
            number(Lost::Cut),
            number(Lost::Late),
            number(Lost::Wrong),
            number(Lost::NotBegun),
            self.lost_in_crashes().to_string(),
            counts.again.to_string(),
            spread(&self.waits(|_| true)),
            spread(&self.waits(|answer| self.came_in(answer, false))),
            spread(&self.waits(|answer| self.came_in(answer, true))),
            spread(&self.changes_took(false)),
            spread(&self.changes_took(true)),
            format!("{:.0} ms", ms(self.stop)),
        ]
    }
}

const WHAT: [&str; 17] = [
    "new connections, one request each",
    "requests of clients that keep theirs",
    "answered with 200",
    "**refused**",
    "**reset or closed before a byte of the answer**, no crash at fault",
    "cut off in the midst of an answer, no crash at fault",
    "no answer in 10 s",
    "other answers than 200",
    "could not be begun (the load's own machine)",
    "lost in a crash: begun before the SIGKILL, the gateway may have had them",
    "sent again as RFC 9110 allows (kept connections)",
    "wait: p50, p99, longest",
    "wait of those that came during a restart",
    "wait of those that came during a crash",
    "from SIGUSR1 to the next that is ready",
    "from SIGKILL to the next that is ready",
    "from SIGTERM to a port that is free (bound: 3 s)",
];

/// The two beside each other, in Markdown.
pub fn table(with: &Side, without: &Side) -> String {
    let mut table = "| | with `--listen` | without |\n|---|---:|---:|\n".to_string();
    for ((what, with), without) in WHAT.iter().zip(with.column()).zip(without.column()) {
        let _ = writeln!(table, "| {what} | {with} | {without} |");
    }
    table
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Of sorted times.
fn spread(times: &[Duration]) -> String {
    let Some(longest) = times.last() else { return "none".to_string() };
    let at = |share: usize| ms(times[(times.len() - 1) * share / 100]);
    format!("{:.1}, {:.0}, {:.0} ms", at(50), at(99), ms(*longest))
}
