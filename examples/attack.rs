//! What an exporter costs PID 1, and what an attack on it does to PID 1: `scripts/attack` calls it
//! with the path of clawinit. Shown, never judged: times depend on the machine and on what else
//! it does, and `tests/it/exporter.rs` judges what does not.
//!
//! Everything runs in a network namespace of its own. A signal is sent to PID 1 every millisecond;
//! its child takes the clock when it comes. The attackers need a CPU, too: the row `attack beside
//! it` has them attack another clawinit's exporter, so that what is left between that row and the
//! one below it is what PID 1 notices of its own exporter.

#[path = "../tests/it/attack.rs"]
mod attack;

use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long each row is measured.
const ROW: Duration = Duration::from_secs(5);
/// Between two signals.
const PAUSE: Duration = Duration::from_millis(1);
/// How long anything may take to begin.
const PATIENCE: Duration = Duration::from_secs(10);
const ATTACKERS: usize = 4;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["child"] => child(),
        ["inside", clawinit] => inside(Path::new(clawinit)),
        [clawinit] => outside(clawinit),
        _ => Err("write: attack CLAWINIT".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("attack: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Nanoseconds since the epoch: the clock that two programs have in common.
fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos())
}

/// What runs under clawinit: says when each signal came.
fn child() -> Result<()> {
    let mut wanted = SigSet::empty();
    wanted.add(Signal::SIGUSR2);
    wanted.thread_block()?;
    println!("ready");
    loop {
        wanted.wait()?;
        println!("{}", now());
    }
}

/// The same program in a network namespace.
fn outside(clawinit: &str) -> Result<()> {
    let clawinit = fs::canonicalize(clawinit)?;
    let own = std::env::current_exe()?;
    let up = "ip link set lo up && exec \"$@\"";
    let done = Command::new("unshare")
        .args(["--net", "sh", "-c", up, "sh"])
        .arg(own)
        .arg("inside")
        .arg(clawinit)
        .status()?;
    if done.success() { Ok(()) } else { Err(format!("unshare: {done}").into()) }
}

fn inside(clawinit: &Path) -> Result<()> {
    println!(
        "{:<24} {:>8} {:>7} {:>7} {:>7}  {:>8} {:>6} {:>7} {:>7}  {:>9} {:>11} {:>7} {:>5}",
        "",
        "signals",
        "p50",
        "p99",
        "most",
        "resident",
        "dirty",
        "threads",
        "wakes",
        "connects",
        "answered",
        "peak",
        "fds"
    );
    println!(
        "{:<24} {:>8} {:>7} {:>7} {:>7}  {:>8} {:>6} {:>7} {:>7}  {:>9} {:>11} {:>7} {:>5}",
        "", "", "us", "us", "us", "KiB", "KiB", "", "", "", "", "KiB", ""
    );
    row("no exporter", &Container::start(clawinit, None)?, None, Load::None)?;
    let exporting = |port: u16| Container::start(clawinit, Some(port));
    let other = exporting(9464)?;
    let alone = Container::start(clawinit, None)?;
    row("attack beside it", &alone, other.exporter, Load::Attack(9464))?;
    drop((alone, other));
    let own = exporting(9465)?;
    row("exporter, nobody asks", &own, own.exporter, Load::None)?;
    row("exporter, ten scrapes/s", &own, own.exporter, Load::Scrapes(9465))?;
    row("exporter, attacked", &own, own.exporter, Load::Attack(9465))?;
    row("exporter, after it", &own, own.exporter, Load::None)?;
    println!(
        "p50, p99, most: from the signal to PID 1 until its child has it. resident, dirty, threads, \
         wakes: PID 1's own;\nwakes: those that no signal of ours made. peak and fds: the exporter's \
         that is attacked. {ATTACKERS} attackers, {} s a row",
        ROW.as_secs()
    );
    Ok(())
}

/// A clawinit as PID 1, with its child. Both go with the value: `--kill-child`.
struct Container {
    unshare: Child,
    clawinit: i32,
    exporter: Option<i32>,
    out: std::cell::RefCell<BufReader<ChildStdout>>,
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

impl Container {
    fn start(clawinit: &Path, port: Option<u16>) -> Result<Container> {
        let mut unshare = Command::new("unshare");
        // The environment that Docker gives: what is in it lies on PID 1's stack.
        unshare.env_clear().envs([
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ("HOSTNAME", "0123456789ab"),
            ("HOME", "/"),
        ]);
        unshare.args(["--pid", "--fork", "--mount-proc", "--kill-child"]).arg(clawinit);
        unshare.args(port.map(|port| format!("--metrics-listen=127.0.0.1:{port}")));
        unshare.args(["--log-level=warn", "--"]).arg(std::env::current_exe()?).arg("child");
        let mut unshare = unshare.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut out = BufReader::new(unshare.stdout.take().ok_or("no pipe")?);
        let mut line = String::new();
        out.read_line(&mut line)?;
        let first = children(unshare.id() as i32)?;
        let clawinit = *first.first().ok_or("clawinit did not start")?;
        let end = Instant::now() + PATIENCE;
        let exporter = loop {
            let found = children(clawinit)?.into_iter().find(|pid| {
                let name = fs::read_to_string(format!("/proc/{pid}/comm"));
                name.is_ok_and(|name| name.trim_end() == "clawinit-export")
            });
            if found.is_some() || port.is_none() {
                break found;
            }
            if Instant::now() > end {
                return Err("the exporter did not start".into());
            }
            std::thread::sleep(PAUSE);
        };
        Ok(Container { unshare, clawinit, exporter, out: out.into() })
    }

    /// Microseconds from a signal to PID 1 until the child has it.
    fn forward(&self) -> Result<f64> {
        let sent = now();
        kill(Pid::from_raw(self.clawinit), Signal::SIGUSR2)?;
        let mut line = String::new();
        self.out.borrow_mut().read_line(&mut line)?;
        let came: u128 = line.trim().parse()?;
        Ok(came.saturating_sub(sent) as f64 / 1e3)
    }
}

fn children(pid: i32) -> Result<Vec<i32>> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    Ok(list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect())
}

/// What happens to an exporter meanwhile.
enum Load {
    None,
    /// Ten a second, at this port.
    Scrapes(u16),
    Attack(u16),
}

/// Ten a second.
fn scrapes(address: SocketAddr, goes_on: impl Fn() -> bool) -> attack::Outcome {
    let mut outcome = attack::Outcome { connections: 0, asked: 0, answered: 0 };
    while goes_on() {
        outcome.asked += 1;
        if let Ok(stream) = TcpStream::connect(address) {
            outcome.connections += 1;
            outcome.answered += u64::from(attack::is_answered(stream));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    outcome
}

fn row(name: &str, container: &Container, exporter: Option<i32>, load: Load) -> Result<()> {
    let more = AtomicBool::new(true);
    let goes_on = || more.load(Ordering::Relaxed);
    let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let (took, wakes, open, outcome) = std::thread::scope(|scope| -> Result<_> {
        let load = scope.spawn(|| match load {
            Load::None => None,
            Load::Scrapes(port) => Some(scrapes(address(port), goes_on)),
            Load::Attack(port) => Some(attack::run(address(port), ATTACKERS, goes_on)),
        });
        let before = number(container.clawinit, "status", "voluntary_ctxt_switches")?;
        let (mut took, mut most_open) = (Vec::new(), 0);
        let end = Instant::now() + ROW;
        let measured = (|| -> Result<()> {
            while Instant::now() < end {
                took.push(container.forward()?);
                if let Some(exporter) = exporter {
                    let open = fs::read_dir(format!("/proc/{exporter}/fd"))?.count();
                    most_open = open.max(most_open);
                }
                std::thread::sleep(PAUSE);
            }
            Ok(())
        })();
        more.store(false, Ordering::Relaxed);
        let outcome = load.join().map_err(|_| "the load failed")?;
        measured?;
        let after = number(container.clawinit, "status", "voluntary_ctxt_switches")?;
        Ok((took, after - before, most_open, outcome))
    })?;
    let signals = took.len();
    let mut sorted = took;
    sorted.sort_by(f64::total_cmp);
    let part = |part: usize| sorted[(signals * part / 1000).min(signals - 1)];
    let own = |file: &str, field: &str| number(container.clawinit, file, field);
    let wakes = wakes.saturating_sub(signals as u64);
    let of_load =
        |value: fn(&attack::Outcome) -> String| outcome.as_ref().map_or("-".to_owned(), value);
    let of_exporter = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
    let peak = exporter.map(|pid| number(pid, "status", "VmHWM")).transpose()?;
    println!(
        "{name:<24} {signals:>8} {:>7.0} {:>7.0} {:>7.0}  {:>8} {:>6} {:>7} {wakes:>7}  {:>9} {:>11} {:>7} {:>5}",
        part(500),
        part(990),
        part(1000),
        own("smaps_rollup", "Rss")?,
        own("smaps_rollup", "Private_Dirty")?,
        own("status", "Threads")?,
        of_load(|outcome| outcome.connections.to_string()),
        of_load(|outcome| format!("{}/{}", outcome.answered, outcome.asked)),
        of_exporter(peak),
        of_exporter(exporter.map(|_| open as u64)),
    );
    Ok(())
}

/// A number of a file of `/proc/PID`.
fn number(pid: i32, file: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}"))?;
    let field = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let digits = field.and_then(|value| value.split_whitespace().next());
    Ok(digits.ok_or_else(|| format!("no {name} in /proc/{pid}/{file}"))?.parse()?)
}
