//! SIGTERM and SIGUSR1 while five hundred requests are under way: each is answered, or
//! refused so that its client may send it again: nothing of it was done, and it sees
//! `Connection: close` or the end of the connection before any byte of an answer.
//!
//! `GATEWAY_DRAINS` says how often; `make gateway-drains` has twenty of each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{
    Client, Folder, Gateway, OPENCLAW, free_port, program, request, setting, verb, wait_for,
};

/// Requests under way when the signal comes.
const REQUESTS: usize = 500;
/// Clients that ask for more all the time, whatever happens.
const CROSSING: usize = 8;
const SLOW_PIECE: Duration = Duration::from_millis(80);

/// What a request is like when the signal comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// The half of a large body is there.
    Upload,
    /// The same, and the rest takes its time.
    SlowUpload,
    /// The half of a head is there.
    HalfHead,
    /// Just sent, on a connection that had a request before.
    KeptAlive,
    /// Just sent, on a connection that nobody has accepted yet.
    New,
    /// Several at once; the gateway may answer the first ones and close.
    Pipelined,
    /// Not allowed, and its body is still on its way.
    Refused,
}

const KINDS: [Kind; 7] = [
    Kind::Upload,
    Kind::SlowUpload,
    Kind::HalfHead,
    Kind::KeptAlive,
    Kind::New,
    Kind::Pipelined,
    Kind::Refused,
];
const PIPELINED: usize = 4;

/// One client with its request or requests.
struct UnderWay {
    kind: Kind,
    number: usize,
    client: Client,
}

fn value(number: usize) -> Vec<u8> {
    let length = 1_000 + number * 131 % 60_000;
    (0..length).map(|place| (number * 7 + place) as u8).collect()
}

fn path(number: usize, part: usize) -> String {
    format!("/memory/under-way-{number}-{part}")
}

fn put(number: usize, part: usize) -> Vec<u8> {
    let value = value(number + part);
    let mut bytes = request("PUT", &path(number, part), value.len()).into_bytes();
    bytes.extend(value);
    bytes
}

impl UnderWay {
    fn new(number: usize, port: u16) -> Self {
        // One in ten is slow, the others are all kinds in turn.
        let kind = match (number % 10, KINDS[number % KINDS.len()]) {
            (0, _) => Kind::SlowUpload,
            (_, Kind::SlowUpload) => Kind::Upload,
            (_, kind) => kind,
        };
        Self { kind, number, client: Client::connect(port) }
    }

    /// All that it will send, and how much of that before the signal.
    fn bytes(&self) -> (Vec<u8>, usize) {
        match self.kind {
            Kind::Upload | Kind::SlowUpload => {
                let bytes = put(self.number, 0);
                let half = bytes.len() - value(self.number).len() / 2;
                (bytes, half)
            }
            Kind::HalfHead => (request("GET", "/health", 0).into_bytes(), 30),
            Kind::KeptAlive | Kind::New => {
                let bytes = put(self.number, 0);
                let all = bytes.len();
                (bytes, all)
            }
            Kind::Pipelined => {
                let bytes: Vec<u8> =
                    (0..PIPELINED).flat_map(|part| put(self.number, part)).collect();
                let all = bytes.len();
                (bytes, all)
            }
            Kind::Refused => {
                let length = 512 * 1024;
                let head = request("PUT", &path(self.number, 0), length);
                let mut bytes = head.replace("Bearer ", "Bearer not-").into_bytes();
                bytes.resize(bytes.len() + length, b'r');
                let part = bytes.len() / 8;
                (bytes, part)
            }
        }
    }

    fn is_just_sent(&self) -> bool {
        matches!(self.kind, Kind::KeptAlive | Kind::New | Kind::Pipelined)
    }
}

/// What became of requests.
#[derive(Default)]
struct Tally {
    finished: BTreeMap<Kind, u64>,
    refused: BTreeMap<Kind, u64>,
    crossing_finished: u64,
    crossing_refused: u64,
    /// Tries to connect while nobody listens: no request was made.
    nobody: u64,
    failed: Vec<String>,
    /// Values that were acknowledged, and those of requests that were refused.
    kept: Vec<(String, Vec<u8>)>,
    not_done: Vec<String>,
}

impl Tally {
    fn read(&mut self, mut one: UnderWay) {
        let count = if one.kind == Kind::Pipelined { PIPELINED } else { 1 };
        let mut closing = false;
        for part in 0..count {
            let own = path(one.number, part);
            let answer = if closing { None } else { one.client.try_answer(false) };
            let Some(answer) = answer else {
                // Only what stands behind an answer that closes may go unanswered.
                if closing {
                    *self.refused.entry(one.kind).or_default() += 1;
                    self.not_done.push(own);
                } else {
                    self.failed.push(format!("{:?} {}: no answer", one.kind, one.number));
                }
                continue;
            };
            closing = answer.field("connection") == Some("close");
            match (one.kind, answer.status) {
                (Kind::HalfHead, 200) => *self.finished.entry(one.kind).or_default() += 1,
                (Kind::Refused, 401) => *self.refused.entry(one.kind).or_default() += 1,
                // A machine that keeps our threads waiting for ten seconds makes slow ones of us.
                (_, 408) if closing => {
                    *self.refused.entry(one.kind).or_default() += 1;
                    self.not_done.push(own);
                }
                (_, 201) => {
                    *self.finished.entry(one.kind).or_default() += 1;
                    self.kept.push((own, value(one.number + part)));
                }
                (kind, other) => self.failed.push(format!("{kind:?} {}: {other}", one.number)),
            }
        }
        if let Err(error) = one.client.end() {
            self.failed.push(format!("{:?} {}: then {error}", one.kind, one.number));
        }
    }

    fn add(&mut self, other: Self) {
        for (all, own) in [(&mut self.finished, other.finished), (&mut self.refused, other.refused)]
        {
            own.into_iter().for_each(|(kind, count)| *all.entry(kind).or_default() += count);
        }
        self.crossing_finished += other.crossing_finished;
        self.crossing_refused += other.crossing_refused;
        self.nobody += other.nobody;
        self.failed.extend(other.failed);
    }

    fn print(&self, what: &str) {
        let all = |counts: &BTreeMap<Kind, u64>| counts.values().sum::<u64>();
        let good = all(&self.finished)
            + all(&self.refused)
            + self.crossing_finished
            + self.crossing_refused;
        let sum = good + self.failed.len() as u64;
        println!(
            "{what}: {sum} requests, {} finished, {} refused cleanly, {} failed: {:.2} %",
            all(&self.finished) + self.crossing_finished,
            all(&self.refused) + self.crossing_refused,
            self.failed.len(),
            good as f64 * 100.0 / sum as f64
        );
        for kind in KINDS {
            let count = |counts: &BTreeMap<Kind, u64>| counts.get(&kind).copied().unwrap_or(0);
            println!(
                "  {:<12} {:>6} finished {:>6} refused",
                format!("{kind:?}"),
                count(&self.finished),
                count(&self.refused)
            );
        }
        println!(
            "  {:<12} {:>6} finished {:>6} refused, and nobody listened {} times",
            "Crossing", self.crossing_finished, self.crossing_refused, self.nobody
        );
    }
}

/// Sends one request after the other, also while the gateway leaves and comes back.
fn cross(port: u16, own: usize, stop: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    let mut client: Option<Client> = None;
    for count in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let path = format!("/memory/crossing-{own}-{count}");
        let value = format!("{own} {count}").into_bytes();
        let Some(mut connected) = client.take().or_else(|| Client::try_connect(port).ok()) else {
            tally.nobody += 1;
            thread::sleep(Duration::from_millis(1));
            continue;
        };
        match connected.try_ask("PUT", &path, &value) {
            Some(answer) if answer.status == 201 => {
                tally.crossing_finished += 1;
                tally.kept.push((path, value));
                client = (answer.field("connection") != Some("close")).then_some(connected);
            }
            Some(answer) if answer.status == 503 => {
                tally.crossing_refused += 1;
                tally.not_done.push(path);
            }
            Some(answer) => tally.failed.push(format!("crossing: {answer:?}")),
            None if connected.has_part() => tally.failed.push("crossing: half an answer".into()),
            // Nothing came: whether nothing was done either is seen in what is there later.
            None => {
                tally.crossing_refused += 1;
                tally.not_done.push(path);
            }
        }
    }
    tally
}

/// Sends `signal` with everything under way, and reads what becomes of it. One that is
/// `frozen` for that finds the signal, unread bytes and connections that nobody has
/// accepted, all at one time.
fn drain(gateway: &Gateway, signal: Signal, frozen: bool, over: impl FnOnce()) -> Tally {
    let port = gateway.port;
    let mut all: Vec<UnderWay> = (0..REQUESTS).map(|number| UnderWay::new(number, port)).collect();
    for one in &mut all {
        match one.kind {
            Kind::KeptAlive => assert_eq!(one.client.ask("GET", "/health", b"").status, 200),
            Kind::New | Kind::Pipelined => {}
            Kind::Upload | Kind::SlowUpload | Kind::HalfHead | Kind::Refused => {
                let (bytes, before) = one.bytes();
                one.client.send(&bytes[..before]);
            }
        }
    }
    let stop = AtomicBool::new(false);
    let mut tally = Tally::default();
    thread::scope(|scope| {
        let stop = &stop;
        let crossing: Vec<_> =
            (0..CROSSING).map(|own| scope.spawn(move || cross(port, own, stop))).collect();
        if frozen {
            gateway.signal(Signal::SIGSTOP);
        }
        // These are new once more: the gateway has had time to accept the first ones.
        for one in &mut all {
            if one.kind == Kind::New {
                one.client = Client::connect(port);
            }
            if one.is_just_sent() {
                one.client.send(one.bytes().0);
            }
        }
        gateway.signal(signal);
        if frozen {
            gateway.signal(Signal::SIGCONT);
        }
        let readers: Vec<_> = all
            .into_iter()
            .map(|mut one| {
                scope.spawn(move || {
                    finish(&mut one);
                    let mut tally = Tally::default();
                    tally.read(one);
                    tally
                })
            })
            .collect();
        let mut take = |other: Tally| {
            tally.kept.extend(other.kept.iter().cloned());
            tally.not_done.extend(other.not_done.iter().cloned());
            tally.add(other);
        };
        readers.into_iter().for_each(|reader| take(reader.join().unwrap()));
        over();
        stop.store(true, Ordering::SeqCst);
        crossing.into_iter().for_each(|one| take(one.join().unwrap()));
    });
    tally
}

/// Sends what is left of a request.
fn finish(one: &mut UnderWay) {
    let (bytes, before) = one.bytes();
    if one.is_just_sent() {
        return;
    }
    for piece in bytes[before..].chunks((bytes.len() - before).div_ceil(8)) {
        if one.kind == Kind::SlowUpload {
            thread::sleep(SLOW_PIECE);
        }
        // Who is refused may find the connection closed; the answer is there all the same.
        if !one.client.try_send(piece) {
            break;
        }
    }
}

/// Compares what is there with what was answered.
fn verify(gateway: &Gateway, tally: &mut Tally, what: &str) {
    let mut client = gateway.connect();
    for (path, value) in std::mem::take(&mut tally.kept) {
        let answer = client.ask("GET", &path, b"");
        assert_eq!((answer.status, answer.body == value), (200, true), "{what}: {path}");
    }
    for path in std::mem::take(&mut tally.not_done) {
        let answer = client.ask("GET", &path, b"");
        if answer.status != 404 {
            tally.failed.push(format!("{path} was not answered, and done all the same"));
        }
    }
}

fn start_on(folder: &Folder, port: u16, above: Option<&Path>) -> Command {
    let inner = verb(folder, "start");
    let mut command = match above {
        Some(clawinit) => {
            let mut command = Command::new(clawinit);
            command.args(["--stop-grace", "90s"]).env_clear();
            command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
            command.arg(inner.get_program()).args(inner.get_args());
            command
        }
        None => inner,
    };
    // Longer than the slowest client here takes on a busy machine: who is cut off then is
    // not what these tests are about.
    command.args(["--port", &port.to_string(), "--drain-time", "60s"]);
    command
}

fn end_alone(signal: Signal, code: i32) {
    let mut sum = Tally::default();
    for round in 0..setting("GATEWAY_DRAINS", 2) {
        let what = format!("{signal} alone, round {round}");
        let folder = Folder::new("under-way");
        let port = free_port();
        let mut gateway = Gateway::run(start_on(&folder, port, None), &folder);
        let mut tally = drain(&gateway, signal, round % 2 == 0, || {
            wait_for("the port to be free", || Client::try_connect(port).is_err());
        });
        assert_eq!(gateway.wait().code(), Some(code), "{what}: {}", gateway.log());
        assert!(gateway.log().contains("every request was answered"), "{}", gateway.log());
        let next = Gateway::run(start_on(&folder, port, None), &folder);
        verify(&next, &mut tally, &what);
        sum.add(tally);
    }
    sum.print(&format!("{signal} alone"));
    assert_eq!(sum.failed, [""; 0]);
}

#[test]
fn sigterm_with_500_requests_under_way_finishes_or_refuses_each_of_them() {
    end_alone(Signal::SIGTERM, 0);
}

#[test]
fn sigusr1_with_500_requests_under_way_finishes_or_refuses_each_of_them() {
    end_alone(Signal::SIGUSR1, 75);
}

/// CLAWINIT_BIN, or what was built beside the gateway.
fn clawinit() -> Option<PathBuf> {
    let folder = Path::new(OPENCLAW).parent()?;
    let built = ["clawinit", "../release/clawinit"].map(|name| folder.join(name));
    let named = std::env::var_os("CLAWINIT_BIN").map(PathBuf::from);
    named.into_iter().chain(built).find(|path| path.exists())
}

#[test]
fn restart_and_stop_under_clawinit_finish_or_refuse_each_of_500_requests() {
    let Some(clawinit) = clawinit() else {
        println!("skipped: no clawinit was built beside {}", program().display());
        return;
    };
    let mut sum = Tally::default();
    for round in 0..setting("GATEWAY_DRAINS", 2) {
        for signal in [Signal::SIGUSR1, Signal::SIGTERM] {
            let what = format!("{signal} under clawinit, round {round}");
            let folder = Folder::new("under-clawinit");
            let port = free_port();
            let mut gateway = Gateway::run(start_on(&folder, port, Some(&clawinit)), &folder);
            let mut tally = drain(&gateway, signal, false, || match signal {
                Signal::SIGUSR1 => gateway.wait_log("generation 2,"),
                _ => wait_for("the port to be free", || Client::try_connect(port).is_err()),
            });
            if signal == Signal::SIGUSR1 {
                verify(&gateway, &mut tally, &what);
                let log = gateway.log();
                assert!(log.contains("every request was answered"), "{what}: {log}");
                assert_eq!(gateway.end(Signal::SIGTERM), 0, "{}", gateway.log());
            } else {
                assert_eq!(gateway.wait().code(), Some(0), "{what}: {}", gateway.log());
                let next = Gateway::run(start_on(&folder, port, None), &folder);
                verify(&next, &mut tally, &what);
            }
            sum.add(tally);
        }
    }
    sum.print("restart and stop under clawinit");
    assert_eq!(sum.failed, [""; 0]);
}

#[test]
fn client_that_sends_all_before_it_reads_finds_its_refusal_though_nothing_else_is_under_way() {
    for signal in [Signal::SIGTERM, Signal::SIGUSR1] {
        let folder = Folder::new("refused-late");
        let mut gateway = Gateway::start(&folder);
        let length = 512 * 1024;
        let mut client = gateway.connect();
        let head = request("PUT", "/memory/a", length).replace("Bearer ", "Bearer not-");
        client.send(head).send(vec![b'r'; length / 2]);
        wait_for("its refusal", || {
            gateway.ask("GET", "/metrics", b"").text().contains("{code=\"401\"} 1\n")
        });
        gateway.signal(signal);
        gateway.wait_log("initiated");
        wait_for("the port to be free", || Client::try_connect(gateway.port).is_err());
        // As on a line that is not fast, and well within the time for it.
        for piece in vec![b'r'; length / 2].chunks(length / 32) {
            thread::sleep(Duration::from_millis(15));
            assert!(client.try_send(piece), "the connection was reset");
        }
        assert_eq!(client.answer().status, 401);
        assert_eq!(client.end(), Ok(()));
        drop(client);
        gateway.wait();
        assert!(gateway.log().contains("every request was answered"), "{}", gateway.log());
    }
}
