//! What /proc tells about processes. In an image or sandbox without /proc every answer
//! is `None`, and callers do with less.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

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
