//! What runs under each init. A role says numbers of eight bytes on its standard output, most of
//! them times on the clock of `sys::now_ns`, and is told numbers on its standard input.

use crate::{Result, sys};
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::time::Duration;

/// Set in what a maker of orphans says, which shares its pipe with others.
pub const DONE: u64 = 1 << 63;

/// How many orphans die in one moment of a storm, and how often.
pub const BURST: u64 = 50;
const STORM_TICK: Duration = Duration::from_millis(5);

/// What a maker of orphans is told to do; a number follows.
pub const ONE_BY_ONE: u64 = 1;
pub const ALL_AT_ONCE: u64 = 2;
pub const STORM: u64 = 3;

/// The variable that says the role under supervisors whose `run` takes no arguments of ours.
pub const ROLE: &str = "BENCH_ROLE";

struct Pipes {
    out: File,
    input: File,
}

impl Pipes {
    fn say(&mut self, number: u64) {
        // Whoever listens may have gone.
        let _ = self.out.write_all(&number.to_ne_bytes());
    }

    fn hear(&mut self) -> Option<u64> {
        let mut bytes = [0; 8];
        self.input.read_exact(&mut bytes).ok()?;
        Some(u64::from_ne_bytes(bytes))
    }
}

/// Plays a role; `began` is when this process did.
pub fn play(began: u64, words: &[&str]) -> Result<bool> {
    let from_variable = std::env::var(ROLE).unwrap_or_default();
    let from_variable: Vec<&str> = from_variable.split_whitespace().collect();
    // A supervisor may pass words of its own (s6 does).
    let words = if from_variable.is_empty() { words } else { &from_variable[..] };
    let mut pipes = Pipes { out: File::from(sys::own(1)), input: File::from(sys::own(0)) };
    match *words {
        ["born"] => pipes.say(began),
        ["leave"] => leave(&mut pipes),
        ["pause"] => {
            pipes.say(began);
            loop {
                nix::unistd::pause();
            }
        }
        ["echo"] => echo(&mut pipes),
        ["stop", leftovers] => stop(&mut pipes, leftovers.parse()?),
        ["generation", file] => generation(began, file)?,
        _ => {
            return Err("write: size CLAWINIT, or all CLAWINIT FOLDER, or quick all …".into());
        }
    }
    Ok(true)
}

/// Leaves when it is told to, and says when that was.
fn leave(pipes: &mut Pipes) {
    pipes.say(0);
    pipes.hear();
    pipes.say(sys::now_ns());
    sys::exit_at_once();
}

/// Says when each SIGUSR2 came. A second process makes orphans when it is told to.
fn echo(pipes: &mut Pipes) {
    sys::block_exactly(u64::MAX);
    if sys::fork().is_none() {
        make_orphans(pipes);
    }
    pipes.say(0);
    let wanted = sys::set(&[libc::SIGUSR2, libc::SIGTERM]);
    while let Some(got) = sys::wait_signal(wanted, None) {
        let now = sys::now_ns();
        if got.signal == libc::SIGTERM {
            sys::exit_at_once();
        }
        pipes.say(now);
    }
}

fn make_orphans(pipes: &mut Pipes) -> ! {
    while let Some(what) = pipes.hear() {
        let Some(count) = pipes.hear() else { break };
        let made = match what {
            ONE_BY_ONE => {
                (0..count).for_each(|_| one_orphan());
                count
            }
            ALL_AT_ONCE => {
                orphans(count, None);
                count
            }
            STORM => storm(Duration::from_millis(count)),
            _ => break,
        };
        pipes.say(DONE | made);
    }
    sys::exit_at_once()
}

/// Bursts of orphans for so long; says how many there were.
fn storm(length: Duration) -> u64 {
    let tick = STORM_TICK.as_nanos() as u64;
    let (mut next, mut made) = (sys::now_ns(), 0);
    let end = next + length.as_nanos() as u64;
    while next < end {
        orphans(BURST, None);
        made += BURST;
        next += tick;
        if let Some(left) = next.checked_sub(sys::now_ns()) {
            std::thread::sleep(Duration::from_nanos(left));
        } else {
            // Where the machine cannot keep up, what was missed is not made up for.
            next = sys::now_ns();
        }
    }
    made
}

/// Makes an orphan, has it end, and waits until it has been reaped.
fn one_orphan() {
    let Ok((mut pid, pid_end)) = std::io::pipe() else { return };
    orphans(1, Some(pid_end));
    let mut bytes = [0; 4];
    if pid.read_exact(&mut bytes).is_ok() {
        while sys::kill(i32::from_ne_bytes(bytes), 0).is_ok() {
            let _ = nix::sched::sched_yield();
        }
    }
}

/// Makes so many orphans, children of PID 1 by then, says their pids where somebody wants them,
/// and has them end in one moment.
fn orphans(count: u64, mut pids: Option<PipeWriter>) {
    let Ok((gate, gate_end)) = std::io::pipe() else { return };
    let Some(parent) = sys::fork() else {
        drop(gate_end);
        for _ in 0..count {
            let Some(pid) = sys::fork() else { wait_at(gate) };
            if let Some(pids) = &mut pids {
                let _ = pids.write_all(&pid.to_ne_bytes());
            }
        }
        sys::exit_at_once();
    };
    drop(pids);
    drop(gate);
    let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(parent), None);
    drop(gate_end);
}

fn wait_at(mut gate: PipeReader) -> ! {
    let _ = gate.read(&mut [0]);
    sys::exit_at_once()
}

/// Starts so many that will be left, and ends when it is told to. They end by SIGTERM, too.
fn stop(pipes: &mut Pipes, leftovers: u64) {
    sys::block_exactly(sys::set(&[libc::SIGTERM]));
    for _ in 0..leftovers {
        if sys::fork().is_none() {
            sys::block_exactly(0);
            loop {
                nix::unistd::pause();
            }
        }
    }
    pipes.say(sys::now_ns());
    sys::wait_signal(sys::set(&[libc::SIGTERM]), None);
    sys::exit_at_once();
}

/// Says when it started and when it ended, in a file: some supervisors hand no pipe on.
fn generation(began: u64, file: &str) -> Result<()> {
    let asks = [libc::SIGTERM, libc::SIGUSR1, libc::SIGHUP];
    sys::block_exactly(sys::set(&asks));
    let mut file = File::options().append(true).create(true).open(file)?;
    file.write_all(&began.to_ne_bytes())?;
    sys::wait_signal(sys::set(&asks), None);
    file.write_all(&sys::now_ns().to_ne_bytes())?;
    sys::exit_at_once()
}
