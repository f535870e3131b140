//! kill(2) and rt_sigqueueinfo(2).

use super::Errno;
use super::signals::Received;
use crate::signal::Signal;

/// Sends `signal` to one process.
pub fn process(pid: i32, signal: Signal) -> Result<(), Errno> {
    send(pid, signal)
}

/// Sends `signal` to the process group that `leader` leads, and to itself where it has moved to
/// another. Only while the leader is not reaped: after that the number may be somebody else's.
pub fn group(leader: i32, signal: Signal) -> Result<(), Errno> {
    let sent = send(-leader, signal);
    if super::descendants::group_of(leader) == leader { sent } else { send(leader, signal) }
}

/// Sends `signal` to every process of the PID namespace but PID 1. Only as PID 1.
pub fn everyone(signal: Signal) -> Result<(), Errno> {
    send(-1, signal)
}

/// Whether there is a process of this pid, ours to signal or not.
pub fn exists(pid: i32) -> bool {
    // SAFETY: signal 0 is sent to nobody (kill(2)); touches no memory.
    let asked = Errno::check(i64::from(unsafe { libc::kill(pid, 0) }));
    pid > 0 && asked != Err(Errno(libc::ESRCH)) // EPERM: another user's
}

/// Whether there is anybody in this process group.
pub(super) fn group_exists(pgrp: i32) -> bool {
    // SAFETY: signal 0 is sent to nobody (kill(2)); touches no memory.
    let asked = Errno::check(i64::from(unsafe { libc::kill(-pgrp, 0) }));
    pgrp > 0 && asked != Err(Errno(libc::ESRCH)) // EPERM: another user's
}

/// Sends `signal` to this process itself.
pub fn this_process(signal: Signal) {
    let _ = send(super::process::pid(), signal);
}

/// Passes on a signal that was received, as `signal`, with its value and its sender where it
/// has a value.
pub fn pass_on(pid: i32, signal: Signal, received: &Received) -> Result<(), Errno> {
    let Some(info) = received.queued() else {
        return send(pid, signal);
    };
    // SAFETY: `info` is a whole siginfo_t with a negative si_code, as the call wants of anyone
    // but the kernel.
    let result = unsafe {
        libc::syscall(libc::SYS_rt_sigqueueinfo, pid, signal.number(), std::ptr::from_ref(info))
    };
    Errno::check(result).map(drop)
}

fn send(target: i32, signal: Signal) -> Result<(), Errno> {
    // SAFETY: kill touches no memory of ours.
    Errno::check(i64::from(unsafe { libc::kill(target, signal.number()) })).map(drop)
}
