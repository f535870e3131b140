//! wait(2).

use super::{Errno, clock, signals};
use crate::core::Status;
use crate::signal::Signal;
use std::time::Duration;

/// What one look for a dead child found.
pub enum Reaped {
    /// This one, which is gone now: its pid may be somebody else's from here on.
    One(i32, Status),
    /// None, but there are children that live.
    NoneDead,
    /// There are no children at all.
    NoChildren,
    /// The kernel, or a filter of system calls, does not say.
    Unknown(Errno),
}

/// How often an answer that is none is asked for again: an end that is missed here is missed for
/// good, since no SIGCHLD comes a second time.
const TRIES: u32 = 8;

/// Reaps one dead child if there is one, whatever signal its end sends (`__WALL`).
pub fn next() -> Reaped {
    let mut status = 0;
    let mut tries = 0;
    loop {
        tries += 1;
        // SAFETY: `status` is ours.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::__WALL) };
        return match Errno::check(i64::from(pid)) {
            Ok(0) => Reaped::NoneDead,
            Ok(_) => Reaped::One(pid, decode(status)),
            Err(Errno(libc::ECHILD)) => Reaped::NoChildren,
            Err(_) if tries < TRIES => continue,
            Err(errno) => Reaped::Unknown(errno),
        };
    }
}

/// Reaps this child, which just got SIGKILL, and waits for its end, `timeout` at most: it may be
/// in state D, reading about a process that is. Takes SIGCHLD from the queue, so that whoever
/// goes on afterwards has to look at all children again.
pub fn wait(pid: i32, timeout: Duration) {
    let end = clock::monotonic() + timeout;
    loop {
        // SAFETY: touches no memory.
        let got = unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) };
        let left = end.saturating_sub(clock::monotonic());
        if got != 0 && Errno::check(i64::from(got)) != Err(Errno(libc::EINTR)) || left.is_zero() {
            return;
        }
        signals::wait_for(Signal::CHLD, left);
    }
}

/// Whether there are children, living or dead.
pub fn has_children() -> bool {
    // SAFETY: siginfo_t is plain data; the kernel fills it.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is ours.
    let found = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, options) };
    Errno::check(i64::from(found)).is_ok()
}

/// A dead child that is not reaped yet, and stays so; 0 when there is none.
pub fn peek() -> i32 {
    look(libc::P_ALL, 0, libc::WEXITED)
}

/// Whether this child of ours is stopped at this moment.
pub fn is_stopped(pid: i32) -> bool {
    look(libc::P_PID, pid, libc::WSTOPPED) == pid
}

/// waitid(2) that takes nothing away: WNOWAIT leaves the child as it was.
fn look(kind: libc::idtype_t, pid: i32, what: i32) -> i32 {
    // SAFETY: siginfo_t is plain data; the kernel fills it.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = what | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is ours, and stays zero when no child is in that state.
    unsafe {
        libc::waitid(kind, pid as libc::id_t, &raw mut info, options);
        info.si_pid()
    }
}

fn decode(status: i32) -> Status {
    if libc::WIFSIGNALED(status) {
        let signal = Signal::new(libc::WTERMSIG(status)).unwrap_or(Signal::KILL);
        Status::Signaled { signal, core_dumped: libc::WCOREDUMP(status) }
    } else {
        Status::Exited(libc::WEXITSTATUS(status) as u8)
    }
}
