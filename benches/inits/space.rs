//! A program as PID 1 of a PID namespace of its own.
//!
//! Two processes stand between this one and the program: a keeper, which makes the namespace and
//! tells when the program ended, and the one that becomes the program. Each dies with the one
//! above it, so that nothing is left when this program is killed.

use crate::inits::Init;
use crate::{Result, sys};
use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, execve, getppid, pipe2};
use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Between the word that the program is about to be executed, and that moment: time for the one
/// who hears it to be ready.
const AHEAD: Duration = Duration::from_micros(300);

/// The environment that Docker gives.
const ENVIRONMENT: [&str; 3] = [
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOSTNAME=0123456789ab",
    "HOME=/",
];

/// What to run, and how.
#[derive(Default)]
pub struct Plan {
    pub words: Vec<String>,
    /// Variables besides the usual.
    pub variables: Vec<String>,
    /// The keeper traces the program instead of only waiting for it.
    pub trace: bool,
    /// All that lives in the namespace stays on one CPU, as does the keeper: what is measured is
    /// then the init, and not where the scheduler puts who.
    pub on_one_cpu: bool,
}

impl Plan {
    /// An init with a role of this program as its child.
    pub fn new(init: &Init, role: &[&str]) -> Result<Plan> {
        let mut words = init.words();
        words.push(std::env::current_exe()?.display().to_string());
        words.extend(role.iter().map(ToString::to_string));
        Ok(Plan { words, ..Plan::default() })
    }

    /// The same on one CPU.
    pub fn on_one_cpu(mut self) -> Plan {
        self.on_one_cpu = true;
        self
    }

    /// Starts it. What it costs to make the namespace is over when the program is executed.
    pub fn start(&self) -> Result<Space> {
        let (out, out_end) = pipe()?;
        let (input_end, input) = pipe()?;
        let (errors, errors_end) = pipe()?;
        let (kept, kept_end) = pipe()?;
        let parent = nix::unistd::getpid();
        let Some(keeper) = sys::fork() else {
            drop((out, input, errors, kept));
            let ends = Ends { input: input_end, out: out_end, errors: errors_end };
            let failed = self.keep(parent, ends, &kept_end);
            // Nobody may be there to read it.
            let _ = (&kept_end).write_all(format!("failed: {failed}\n").as_bytes());
            std::process::exit(1);
        };
        drop((out_end, input_end, errors_end, kept_end));
        let mut space =
            Space { pid: 0, keeper, out, input: Some(input), kept, _errors: errors, executed: 0 };
        let line = space.line()?;
        space.pid = line.strip_prefix("pid ").and_then(|pid| pid.parse().ok()).ok_or(line)?;
        space.executed = space.record()?.ok_or("the namespace ended before its program began")?;
        Ok(space)
    }

    /// The keeper's life. Comes back when something failed.
    fn keep(&self, parent: Pid, ends: Ends, kept: &File) -> Box<dyn std::error::Error> {
        let kept = || -> Result<()> {
            die_with(parent)?;
            if self.on_one_cpu {
                stay_on_one_cpu()?;
            }
            unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS)?;
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
            let Some(first) = sys::fork() else {
                let error = self.become_program(ends).err();
                eprintln!("bench: {}: {error:?}", self.words[0]);
                std::process::exit(127);
            };
            drop(ends);
            (&*kept).write_all(format!("pid {first}\n").as_bytes())?;
            let first = Pid::from_raw(first);
            if self.trace {
                let counted = crate::rows::start::count_instructions(first)?;
                let (instructions, traps) = counted;
                (&*kept).write_all(format!("counted {instructions} {traps}\n").as_bytes())?;
                let _ = nix::sys::signal::kill(first, Signal::SIGKILL);
            }
            let status = waitpid(first, None)?;
            let now = sys::now_ns();
            let code = match status {
                WaitStatus::Exited(_, code) => code,
                WaitStatus::Signaled(_, signal, _) => 128 + signal as i32,
                other => return Err(format!("unexpected {other:?}").into()),
            };
            (&*kept).write_all(format!("end {code} {now}\n").as_bytes())?;
            std::process::exit(0)
        };
        kept().err().unwrap_or_else(|| "nothing".into())
    }

    /// In the process that becomes the program.
    fn become_program(&self, ends: Ends) -> Result<()> {
        // Its parent is outside of its PID namespace.
        set_pdeathsig(Signal::SIGKILL)?;
        if self.trace {
            nix::sys::ptrace::traceme()?;
        }
        mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), None::<&str>)?;
        let words: Vec<CString> = self
            .words
            .iter()
            .map(|word| CString::new(word.as_str()))
            .collect::<std::result::Result<_, _>>()?;
        let variables =
            ENVIRONMENT.iter().copied().chain(self.variables.iter().map(String::as_str));
        let variables: Vec<CString> =
            variables.map(CString::new).collect::<std::result::Result<_, _>>()?;
        for signal in (1..=64).filter(|n| ![libc::SIGKILL, libc::SIGSTOP].contains(n)) {
            sys::default(signal);
        }
        sys::block_exactly(0);
        sys::dup_to(ends.input.as_raw_fd(), 0);
        sys::dup_to(ends.errors.as_raw_fd(), 2);
        sys::dup_to(ends.out.as_raw_fd(), 1);
        let at = sys::now_ns() + AHEAD.as_nanos() as u64;
        (&ends.out).write_all(&at.to_ne_bytes())?;
        while sys::now_ns() < at {}
        match execve(&words[0], &words, &variables)? {}
    }
}

/// Stays on the last CPU that this process may use, and all that it starts too.
pub fn stay_on_one_cpu() -> Result<()> {
    let may = sched_getaffinity(Pid::from_raw(0))?;
    let last = (0..CpuSet::count()).rev().find(|cpu| may.is_set(*cpu).unwrap_or(false));
    let mut one = CpuSet::new();
    one.set(last.ok_or("no CPU")?)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &one)?)
}

/// The ends of the pipes that become the first three descriptors.
struct Ends {
    input: File,
    out: File,
    errors: File,
}

/// Ends this process with `parent`, which may have ended already.
fn die_with(parent: Pid) -> Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != parent {
        return Err("its parent has gone".into());
    }
    Ok(())
}

fn pipe() -> Result<(File, File)> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    Ok((File::from(reader), File::from(writer)))
}

/// A running PID 1. It goes with the value.
pub struct Space {
    /// Its pid here.
    pub pid: i32,
    /// When it was executed, on the clock of `sys::now_ns`.
    pub executed: u64,
    keeper: i32,
    out: File,
    input: Option<File>,
    kept: File,
    /// Nobody reads them, but a log needs somewhere to go.
    _errors: File,
}

/// How a program ended, and when.
pub struct End {
    pub code: i32,
    pub at: u64,
}

impl Space {
    /// The next number that the child says; none when nobody is left to say one.
    pub fn record(&mut self) -> Result<Option<u64>> {
        let mut bytes = [0; 8];
        match self.out.read(&mut bytes)? {
            0 => Ok(None),
            // Numbers are written whole (pipe(7)).
            8 => Ok(Some(u64::from_ne_bytes(bytes))),
            n => Err(format!("{n} bytes instead of a number from pid {}", self.pid).into()),
        }
    }

    /// The next number, which has to come.
    pub fn expect(&mut self, what: &str) -> Result<u64> {
        self.record()?.ok_or_else(|| format!("waited in vain for {what}").into())
    }

    /// Tells the child a number.
    pub fn tell(&mut self, number: u64) -> Result<()> {
        let input = self.input.as_mut().ok_or("its input is closed")?;
        Ok(input.write_all(&number.to_ne_bytes())?)
    }

    pub fn signal(&self, signal: i32) -> Result<()> {
        Ok(sys::kill(self.pid, signal)?)
    }

    /// Waits for the end of the program.
    pub fn end(&mut self) -> Result<End> {
        let line = self.line()?;
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["end", code, at] => Ok(End { code: code.parse()?, at: at.parse()? }),
            _ => Err(line.into()),
        }
    }

    /// A line of the keeper's.
    pub fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        let mut byte = [0];
        while self.kept.read(&mut byte)? == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        Ok(String::from_utf8(line)?)
    }

    /// A file of `/proc/PID`.
    pub fn proc(&self, name: &str) -> Result<String> {
        let path = format!("/proc/{}/{name}", self.pid);
        std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}").into())
    }

    /// How long it has run on a CPU so far (proc_pid_schedstat(5)), once it sleeps and has no
    /// children but `children`.
    pub fn cpu_at_rest(&self, children: usize) -> Result<u64> {
        let list = format!("task/{}/children", self.pid);
        wait_until("PID 1 at rest", || {
            let status = self.proc("status")?;
            let sleeps = field(&status, "State").is_some_and(|state| state.starts_with('S'));
            Ok(sleeps && self.proc(&list)?.split_whitespace().count() == children)
        })?;
        let schedstat = self.proc("schedstat")?;
        Ok(schedstat.split(' ').next().unwrap_or_default().parse()?)
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        if self.pid > 0 {
            let _ = sys::kill(self.pid, libc::SIGKILL);
        } else {
            let _ = sys::kill(self.keeper, libc::SIGKILL);
        }
        let _ = waitpid(Pid::from_raw(self.keeper), None);
    }
}

/// Asks again and again, for at most half a minute.
pub fn wait_until(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = sys::now_ns() + 30_000_000_000;
    while !done()? {
        if sys::now_ns() > end {
            return Err(format!("waited in vain for {what}").into());
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

/// The value of `Name: value` among the lines of a file of `/proc`.
pub fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
}
