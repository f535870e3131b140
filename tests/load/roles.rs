//! What runs under clawinit while it is loaded: roles beside those of `tests/it/probe.rs`.

use crate::random::Random;
use crate::sys;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid, getppid};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Orphans that lose their parent in one moment.
const FAMILY: u64 = 50;

/// Runs the role that `args` name; never comes back.
pub fn run(args: &[String]) -> ! {
    match args.first().map(String::as_str) {
        Some("take") => take(&args[1..]),
        Some("latency") => latency(&args[1..]),
        Some("soak") => crate::soak::child(&args[1]),
        Some("control") => control(&args[1..]),
        _ => crate::probe::run(args),
    }
}

pub fn say(line: &str) {
    // One write for each line, so that lines of several processes do not mix.
    let _ = std::io::stdout().write_all(format!("{line}\n").as_bytes());
}

/// What came of one real-time signal.
#[derive(Default)]
struct Values {
    first: i64,
    last: i64,
    count: u64,
    /// How often a value did not follow the one before it.
    gaps: u64,
}

/// What came of one ordinary signal, of which equal ones coalesce while they are pending.
#[derive(Default)]
struct Plain {
    count: u64,
    last_at: u64,
}

/// All signals that a process took.
#[derive(Default)]
pub struct Taken {
    queued: BTreeMap<i32, Values>,
    plain: BTreeMap<i32, Plain>,
}

impl Taken {
    pub fn note(&mut self, got: sys::Received) {
        if got.signal < 32 {
            let plain = self.plain.entry(got.signal).or_default();
            plain.count += 1;
            plain.last_at = sys::now_ns();
            return;
        }
        let values = self.queued.entry(got.signal).or_default();
        if values.count == 0 {
            values.first = got.value;
        } else if got.value != values.last + 1 {
            values.gaps += 1;
        }
        values.last = got.value;
        values.count += 1;
    }

    /// Takes what is pending by now, and says all that was taken, and when. Nothing is taken after
    /// that.
    pub fn say(&mut self) {
        while let Some(got) = sys::wait_signal(u64::MAX, Some(Duration::ZERO)) {
            self.note(got);
        }
        let queued: Vec<_> =
            self.queued.iter().map(|(n, v)| (n, v.first, v.last, v.count, v.gaps)).collect();
        let plain: Vec<_> = self.plain.iter().map(|(n, p)| (n, p.count, p.last_at)).collect();
        say(&json!({ "queued": queued, "plain": plain, "at": sys::now_ns() }).to_string());
    }
}

/// `take [deaf] [leave=N] [make=N,N…] [seed=N] [stubborn]`: takes every signal and says at its end
/// what came. SIGHUP makes orphans, the first one as many as the first number says. `deaf` does not
/// end; `leave` has children that do not; `stubborn`: neither does who makes the orphans.
fn take(args: &[String]) -> ! {
    sys::block_exactly(u64::MAX);
    let has = |word: &str| args.iter().any(|arg| arg == word);
    let value = |name: &str| args.iter().find_map(|arg| arg.strip_prefix(name));
    let mut random = Random::new(value("seed=").map_or(0, |n| n.parse().expect("a seed")));
    let makes = value("make=").unwrap_or_default().split(',').filter_map(|n| n.parse().ok());
    let mut makes: Vec<u64> = makes.collect();
    for _ in 0..value("leave=").map_or(0, |n| n.parse().expect("a number")) {
        deaf_worker();
    }
    tell("READY=1");
    say("ready");
    let mut taken = Taken::default();
    loop {
        let got = sys::wait_signal(u64::MAX, None).expect("no bound");
        taken.note(got);
        match got.signal {
            libc::SIGHUP if !makes.is_empty() => {
                make_aside(makes.remove(0), random.next(), has("stubborn"));
            }
            libc::SIGCHLD => reap(),
            libc::SIGUSR1 | libc::SIGTERM if !has("deaf") => {
                taken.say();
                std::process::exit(0)
            }
            _ => {}
        }
    }
}

/// Tells clawinit something of this process (sd_notify(3)), where it listens. Waits until there is
/// room for it.
pub fn tell(what: &str) {
    let Ok(address) = std::env::var("NOTIFY_SOCKET") else { return };
    let name = address.strip_prefix('@').expect("an abstract name");
    let address = SocketAddr::from_abstract_name(name).expect("a name");
    let socket = UnixDatagram::unbound().expect("a socket");
    let _ = socket.send_to_addr(what.as_bytes(), &address);
}

/// A child that no signal but SIGKILL ends; those of this process are blocked in it, too.
pub fn deaf_worker() -> i32 {
    sys::fork().unwrap_or_else(|| deaf())
}

fn deaf() -> ! {
    loop {
        let _ = sys::wait_signal(u64::MAX, None);
    }
}

/// Nothing of a test that was ended from outside stays: this process goes with `parent`.
fn end_with(parent: Pid) {
    let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
    // It may have gone before that call.
    if getppid() != parent {
        sys::exit_at_once();
    }
}

/// Waits for those of our children that have ended.
pub fn reap() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        match status {
            WaitStatus::StillAlive => return,
            WaitStatus::Exited(_, 0) => say("made"),
            _ => {}
        }
    }
}

pub fn make_aside(count: u64, seed: u64, stubborn: bool) {
    if sys::fork().is_none() {
        sys::block_exactly(if stubborn { u64::MAX } else { 0 });
        make(count, seed);
        std::process::exit(0);
    }
}

/// Makes orphans, a family in one moment; they end by themselves, in every way.
pub fn make(count: u64, seed: u64) {
    let mut random = Random::new(seed);
    let mut left = count;
    while left > 0 {
        let family = left.min(FAMILY);
        left -= family;
        if let Some(parent) = sys::fork() {
            let _ = waitpid(Pid::from_raw(parent), None);
            random.next();
            continue;
        }
        for _ in 0..family {
            random.next();
            if sys::fork().is_none() {
                orphan(&mut random);
            }
        }
        sys::exit_at_once();
    }
}

fn orphan(random: &mut Random) -> ! {
    match random.between(0, 3) {
        // Before its parent: clawinit inherits a zombie.
        0 => {}
        1 => std::thread::sleep(Duration::from_micros(random.between(0, 3000))),
        2 => std::process::exit(random.between(1, 255) as i32),
        _ => {
            let _ = sys::kill(std::process::id() as i32, libc::SIGKILL);
        }
    }
    sys::exit_at_once()
}

/// `control MILLISECONDS COUNT`: the least that could do what a grace does. It has deaf children,
/// whose pids it says; on SIGTERM it waits that long, sends SIGKILL to each, and has the next ones.
fn control(args: &[String]) -> ! {
    let number = |i: usize| args[i].parse::<u64>().expect("a number");
    let grace = Duration::from_millis(number(0));
    sys::block_exactly(u64::MAX);
    end_with(getppid());
    loop {
        let children: Vec<i32> = (0..number(1)).map(|_| deaf_with_parent()).collect();
        let pids: Vec<String> = children.iter().map(ToString::to_string).collect();
        say(&format!("children {}", pids.join(" ")));
        let _ = sys::wait_signal(sys::bit(libc::SIGTERM), None);
        let _ = sys::wait_signal(sys::bit(libc::SIGUSR2), Some(grace));
        for child in &children {
            let _ = sys::kill(*child, libc::SIGKILL);
        }
        for child in children {
            let _ = waitpid(Pid::from_raw(child), None);
        }
    }
}

fn deaf_with_parent() -> i32 {
    let parent = getpid();
    sys::fork().unwrap_or_else(|| {
        end_with(parent);
        deaf()
    })
}

/// `latency [flood | busy]`: how long a signal takes that has the time of its sending as its value, in
/// microseconds; says all of them at its end. `flood`: meanwhile another process of ours tells
/// clawinit that this one lives, as fast as it takes that. `busy`: this one never sleeps.
fn latency(args: &[String]) -> ! {
    sys::block_exactly(u64::MAX);
    tell("READY=1");
    let has = |word: &str| args.iter().any(|arg| arg == word);
    let busy = has("busy");
    if has("flood") && sys::fork().is_none() {
        sys::block_exactly(0);
        loop {
            tell("WATCHDOG=1");
        }
    }
    say("ready");
    let mut all = Vec::new();
    loop {
        let bound = busy.then_some(Duration::ZERO);
        let Some(got) = sys::wait_signal(u64::MAX, bound) else { continue };
        match got.signal {
            libc::SIGTERM => {
                say(&json!({ "latency": all }).to_string());
                std::process::exit(0)
            }
            signal if signal >= 32 => all.push(microseconds() - got.value),
            _ => {}
        }
    }
}

/// The clock's microseconds as far as they fit into a signal's value.
pub fn microseconds() -> i64 {
    (sys::now_ns() / 1000 % (1 << 30)) as i64
}
