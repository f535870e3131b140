//! What /proc tells about processes. In an image or sandbox without /proc every answer
//! is `None`, and callers do with less.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};

use crate::lock::nix_pid;

/// A line of proc_pid_stat(5), the fields that are used.
pub struct Stat {
    /// Field 2, the name.
    pub name: String,
    /// Field 3: `Z` for a zombie.
    pub state: char,
    /// Field 4, the parent.
    pub parent: u32,
    /// Field 22: when it started, in ticks since boot. With the pid it names one
    /// process for good, as pids are used again.
    pub start_time: u64,
}

/// The process `pid`, which lives in our PID namespace.
pub fn stat(pid: u32) -> Option<Stat> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold blanks and parentheses: it ends at the last one.
    let (head, tail) = line.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
    Some(Stat {
        name,
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        start_time: fields.get(19)?.parse().ok()?,
    })
}

/// Whether the process that has `pid`, and started at `start_time` where that is known,
/// lives still. A zombie has ended.
pub fn is_alive(pid: u32, start_time: Option<u64>) -> bool {
    match stat(pid) {
        Some(stat) => stat.state != 'Z' && start_time.is_none_or(|time| time == stat.start_time),
        None => start_time.is_none() && kill(nix_pid(pid), None) != Err(Errno::ESRCH),
    }
}

/// Sends `signal` to the process that has `pid` and started at `start_time`; false when
/// that one is gone, whoever has its pid now.
pub fn signal(pid: u32, start_time: Option<u64>, signal: Signal) -> Result<bool, Errno> {
    let is_the_one = || start_time.is_none() || stat(pid).map(|stat| stat.start_time) == start_time;
    let through_pidfd = || {
        let descriptor =
            pidfd_open(rustix::process::Pid::from_raw(nix_pid(pid).as_raw())?, PidfdFlags::empty())
                .ok()?;
        // Checked after it was opened: the pid may go to another process from here on, the
        // descriptor does not.
        if !is_the_one() {
            return Some(false);
        }
        let signal = rustix::process::Signal::from_named_raw(signal as i32)?;
        pidfd_send_signal(descriptor, signal).ok().map(|()| true)
    };
    if let Some(sent) = through_pidfd() {
        return Ok(sent);
    }
    // Gone, not allowed, or a kernel or sandbox without pidfd_open(2): kill(2) tells which.
    if !is_the_one() {
        return Ok(false);
    }
    match kill(nix_pid(pid), signal) {
        Ok(()) => Ok(true),
        Err(Errno::ESRCH) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether PID 1 is an ancestor of ours. One that was put into a container by `docker
/// exec` has a parent outside of it, and ends by SIGKILL when the container does.
pub fn descends_from_init() -> bool {
    let mut pid = std::process::id();
    loop {
        match stat(pid).map(|stat| stat.parent) {
            Some(0) => return pid == 1,
            Some(parent) => pid = parent,
            None => return std::os::unix::process::parent_id() != 0,
        }
    }
}

/// Our PID namespace, as `pid:[4026531836]`.
pub fn pid_namespace() -> Option<String> {
    let link = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(link.to_str()?.to_owned())
}

/// How a process ended, for people.
pub fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(number)) => match nix::sys::signal::Signal::try_from(number) {
            Ok(signal) => signal.as_str().to_owned(),
            Err(_) => format!("signal {number}"),
        },
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn signal_goes_only_to_the_process_that_started_then() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let start_time = stat(child.id()).unwrap().start_time;
        assert_eq!(signal(child.id(), Some(start_time + 1), Signal::SIGKILL), Ok(false));
        assert!(child.try_wait().unwrap().is_none(), "a process that was not meant was killed");
        assert_eq!(signal(child.id(), Some(start_time), Signal::SIGKILL), Ok(true));
        assert_eq!(ending(child.wait().unwrap()), "SIGKILL");
        assert_eq!(signal(child.id(), Some(start_time), Signal::SIGKILL), Ok(false));
    }

    #[test]
    fn this_test_descends_from_init() {
        assert!(descends_from_init());
    }
}
