//! A disk that fails: strace answers ENOSPC or EIO to each call by which the gateway
//! writes, one after the other. Whatever it is: nothing acknowledged is lost, the client
//! is told, the log says it once, it works again when the fault goes, and the next start
//! finds everything.
//!
//! `GATEWAY_FAULT_STRIDE` says how many calls are passed over from one to the next;
//! `make gateway-faults` passes none over.

use std::collections::BTreeMap;
use std::fs;
use std::ops::AddAssign;
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Answer, Client, Folder, Gateway, Random, setting, start, wait_for};

/// Calls that write, make files, or bring them to the disk, as this machine has them; and
/// those that read.
const CALLS: [&str; 8] = [
    "?open,openat",
    "write,writev",
    "pwrite64",
    "ftruncate",
    "fsync",
    "fdatasync",
    "?rename,?renameat,renameat2",
    READS,
];
/// A full disk can be read.
const READS: &str = "read,pread64";
/// What is in the state folder, but the reserve, which is best effort and has 128 writes.
const FILES: [&str; 7] = [
    "memory.redb",
    "memory.redb.new",
    "state.json",
    "state.json.new",
    "gateway.lock",
    "gateway.watch",
    ".probe",
];
/// Runs at the same time.
const LANES: usize = 3;

/// What strace does to the gateway.
#[derive(Clone, Debug)]
struct Fault {
    calls: &'static str,
    errno: &'static str,
    /// The first call that is answered so, of each thread and process.
    first: u64,
    /// Whether all behind it are, too.
    lasts: bool,
    /// Whether the folder is of a gateway that was killed: it is checked and repaired.
    unclean: bool,
}

/// What runs came to.
#[derive(Clone, Copy, Default)]
struct Sum {
    runs: u64,
    injected: u64,
    refused_starts: u64,
    full: u64,
    failed: u64,
    acknowledged: u64,
}

impl AddAssign for Sum {
    fn add_assign(&mut self, other: Self) {
        self.runs += other.runs;
        self.injected += other.injected;
        self.refused_starts += other.refused_starts;
        self.full += other.full;
        self.failed += other.failed;
        self.acknowledged += other.acknowledged;
    }
}

impl Sum {
    fn print(&self, what: &str) {
        println!(
            "{what}: {} runs, {} calls answered with an error; {} starts refused while it lasted; \
             requests refused: {} with 507, {} with 503; {} writes acknowledged, none lost",
            self.runs,
            self.injected,
            self.refused_starts,
            self.full,
            self.failed,
            self.acknowledged
        );
    }
}

/// What may be under each key.
#[derive(Default)]
struct Known(BTreeMap<String, Vec<Option<Vec<u8>>>>);

impl Known {
    /// Puts or deletes, and says what came back.
    fn write(&mut self, client: &mut Client, key: &str, value: Option<Vec<u8>>) -> Option<Answer> {
        let path = format!("/memory/{key}");
        let may = self.0.entry(key.to_owned()).or_insert_with(|| vec![None]);
        may.push(value.clone());
        let answer = match &value {
            Some(value) => client.try_ask("PUT", &path, value)?,
            None => client.try_ask("DELETE", &path, b"")?,
        };
        if matches!(answer.status, 201 | 204 | 404) {
            *may = vec![value];
        }
        Some(answer)
    }

    /// Reads every key; none but what may be there is.
    fn check(&mut self, client: &mut Client, what: &dyn Fn() -> String) {
        for (key, may) in &mut self.0 {
            let answer = client.ask("GET", &format!("/memory/{key}"), b"");
            let found = match answer.status {
                200 => Some(answer.body),
                404 => None,
                _ => continue,
            };
            assert!(may.contains(&found), "{key}: {}", what());
            *may = vec![found];
        }
    }
}

/// A folder of a gateway that was killed, and what is in it.
struct Template {
    folder: Folder,
    known: BTreeMap<String, Vec<Option<Vec<u8>>>>,
}

impl Template {
    fn new() -> Self {
        let folder = Folder::new("faults-template");
        let mut gateway = Gateway::start(&folder);
        let mut client = gateway.connect();
        let mut known = Known::default();
        for number in 0..12_usize {
            let value = vec![b'a' + number as u8; number * 701];
            let answer = known.write(&mut client, &format!("old-{number}"), Some(value)).unwrap();
            assert_eq!(answer.status, 201);
        }
        gateway.kill();
        Self { folder, known: known.0 }
    }

    fn copy(&self, folder: &Folder) -> Known {
        fs::create_dir(folder.state()).unwrap();
        for name in ["memory.redb", "state.json"] {
            fs::copy(self.folder.state().join(name), folder.state().join(name)).unwrap();
        }
        Known(self.known.clone())
    }
}

/// `start` under strace, which is nobody's parent: pid, signals and exit code are the
/// gateway's.
fn traced(folder: &Folder, fault: &Fault) -> Command {
    let inner = start(folder);
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-qq", "-o"]).arg(folder.path().join("trace"));
    // A filter is quicker; but it stays when strace leaves, and calls fail for ever then.
    command.arg(if fault.lasts { "--interruptible=waiting" } else { "--seccomp-bpf" });
    command.arg("-P").arg(folder.state());
    for name in FILES {
        command.arg("-P").arg(folder.state().join(name));
    }
    let Fault { calls, errno, first, lasts, .. } = fault;
    let lasts = if *lasts { "+" } else { "" };
    command.args(["-e", &format!("trace={calls}")]);
    command.args(["-e", &format!("inject={calls}:error={errno}:when={first}{lasts}")]);
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.arg(inner.get_program()).args(inner.get_args());
    command
}

fn injected(folder: &Folder) -> u64 {
    let trace = fs::read_to_string(folder.path().join("trace")).unwrap_or_default();
    trace.matches("(INJECTED)").count() as u64
}

/// The tracer leaves, and the fault with it.
fn take_fault_away(gateway: &Gateway) {
    let tracer = || {
        let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("TracerPid:")).unwrap();
        line.trim().parse::<i32>().unwrap()
    };
    let pid = tracer();
    assert_ne!(pid, 0, "strace is gone already");
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    wait_for("the end of strace", || tracer() == 0);
}

/// A gateway with a fault, from its start to its end, and one without.
fn run(fault: &Fault, template: &Template) -> Sum {
    let folder = Folder::new("faults");
    let mut known = if fault.unclean { template.copy(&folder) } else { Known::default() };
    let mut sum = Sum { runs: 1, ..Sum::default() };
    let mut gateway = Gateway::spawn(traced(&folder, fault), &folder);
    let mut ended = None;
    wait_for("a start, or its refusal", || {
        ended = gateway.ending();
        ended.is_some() || gateway.is_ready()
    });
    let what = |gateway: &Gateway| format!("{fault:?}: {}", gateway.log());
    match ended {
        Some(status) => {
            sum.refused_starts += 1;
            let log = gateway.log();
            let line = log.lines().last().unwrap_or_default();
            assert_eq!(status.code(), Some(1), "{}", what(&gateway));
            // What failed, and of which file.
            let why = if fault.errno == "EIO" { "I/O error" } else { "No space left" };
            let named = log.contains(&folder.state().display().to_string());
            assert!(line.contains(why) && named, "{}", what(&gateway));
        }
        None => {
            work(&gateway, fault, &mut known, &mut sum);
            let (signal, code) = match fault.first % 2 {
                0 => (Signal::SIGTERM, 0),
                _ => (Signal::SIGUSR1, 75),
            };
            assert_eq!(gateway.end(signal), code, "{}", what(&gateway));
        }
    }
    let said = gateway.log();
    let mut gateway = Gateway::start(&folder);
    let what = || format!("{fault:?}: {said}then: {}", gateway.log());
    let mut client = gateway.connect();
    known.check(&mut client, &what);
    for name in ["memory.redb.damaged", "state.json.damaged"] {
        assert_eq!(folder.named(name), [""; 0], "{}", what());
    }
    assert_eq!(client.ask("PUT", "/memory/last", b"last").status, 201, "{}", what());
    assert_eq!(gateway.end(Signal::SIGTERM), 0);
    sum.injected = injected(&folder);
    sum
}

/// Writes of all sorts; what is refused is asked for again.
fn work(gateway: &Gateway, fault: &Fault, known: &mut Known, sum: &mut Sum) {
    let what = || format!("{fault:?}: {}", gateway.log());
    let mut client = gateway.connect();
    let mut refused = 0;
    let writes = [
        ("a", Some(vec![b'a'; 10])),
        ("b", Some(vec![b'b'; 100_000])),
        ("a", Some(vec![b'c'; 3_000])),
        ("b", None),
        ("c", Some(Vec::new())),
        ("a", Some(vec![b'd'; 20_000])),
    ];
    for (key, value) in writes {
        for attempt in 0.. {
            let answer = known.write(&mut client, key, value.clone());
            let answer = answer.unwrap_or_else(|| panic!("no answer: {}", what()));
            let good = matches!(answer.status, 201 | 204) || answer.status == 404;
            if good {
                sum.acknowledged += 1;
                break;
            }
            refused += 1;
            match answer.status {
                507 if fault.errno == "ENOSPC" => sum.full += 1,
                503 if fault.errno == "EIO" => sum.failed += 1,
                other => panic!("{other} {}: {}", answer.text(), what()),
            }
            assert!(answer.json()["error"].is_string(), "{answer:?}");
            known.check(&mut client, &what);
            if fault.lasts && attempt == 2 {
                let log = gateway.log();
                let lines = log.matches("such requests are refused until it works again").count();
                assert_eq!(lines, 1, "said once, while it lasts: {log}");
                take_fault_away(gateway);
            }
            assert!(attempt < 4, "it does not work again: {}", what());
        }
    }
    let lines = gateway.log().matches("such requests are refused until it works again").count();
    assert!((lines > 0) == (refused > 0) && lines <= refused, "{}", what());
    assert_eq!(client.ask("GET", "/memory", b"").status, 200, "{}", what());
    known.check(&mut client, &what);
}

/// Whether strace may trace here; says so where it may not.
fn can_trace(test: &str) -> bool {
    let tried = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).output();
    let can = tried.is_ok_and(|output| output.status.success());
    if !can {
        println!("skipped: {test}: strace is missing, or may not trace here");
    }
    can
}

/// Does `jobs` in a few threads.
fn share(jobs: Vec<impl FnOnce() -> Sum + Send>) -> Sum {
    let (jobs, sum) = (Mutex::new(jobs), Mutex::new(Sum::default()));
    thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                loop {
                    let Some(job) = jobs.lock().unwrap().pop() else { return };
                    let own = job();
                    *sum.lock().unwrap() += own;
                }
            });
        }
    });
    sum.into_inner().unwrap()
}

#[test]
fn enospc_and_eio_at_each_call_that_writes_lose_nothing_acknowledged() {
    if !can_trace("enospc_and_eio_at_each_call_that_writes_lose_nothing_acknowledged") {
        return;
    }
    let stride = setting("GATEWAY_FAULT_STRIDE", 9);
    let mut random = Random::new("faults at each call");
    let template = &Template::new();
    let mut jobs = Vec::new();
    for calls in CALLS {
        for errno in ["ENOSPC", "EIO"] {
            for unclean in [false, true] {
                if (calls, errno) == (READS, "ENOSPC") {
                    continue;
                }
                let first = 1 + random.below(stride);
                jobs.push(move || {
                    let mut sum = Sum::default();
                    for first in (first..).step_by(stride as usize) {
                        let fault = Fault { calls, errno, first, lasts: false, unclean };
                        let own = run(&fault, template);
                        sum += own;
                        // No thread or process made so many.
                        if own.injected == 0 {
                            break;
                        }
                    }
                    sum
                });
            }
        }
    }
    let sum = share(jobs);
    sum.print(&format!("one call in {stride} fails"));
    assert!(sum.injected > 0 && sum.full > 0 && sum.failed > 0, "nothing was proven");
}

#[test]
fn enospc_and_eio_from_any_call_on_are_told_and_over_when_the_disk_works_again() {
    if !can_trace("enospc_and_eio_from_any_call_on_are_told_and_over_when_the_disk_works_again") {
        return;
    }
    let mut random = Random::new("faults from a call on");
    let template = &Template::new();
    let jobs: Vec<_> = (0..setting("GATEWAY_LASTING_FAULTS", 24))
        .map(|_| {
            let calls = CALLS[random.below(CALLS.len() as u64) as usize];
            let errno = if calls == READS { 1 } else { random.below(2) };
            let fault = Fault {
                calls,
                errno: ["ENOSPC", "EIO"][errno as usize],
                first: 1 + random.below(40),
                lasts: true,
                unclean: random.below(2) == 0,
            };
            move || run(&fault, template)
        })
        .collect();
    let sum = share(jobs);
    sum.print("all calls fail from one on");
    assert!(sum.injected > 0, "nothing was proven");
}
