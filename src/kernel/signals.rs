//! Blocking signals and waiting for them: sigprocmask(2), sigaction(2), sigtimedwait(2).
//!
//! By raw system calls, since the C library keeps signals 32 to 34 for itself: musl's wrappers
//! neither block them nor wait for them, and `SIGRTMIN` as people count it is 34.

use super::{Errno, clock};
use crate::signal::Signal;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A mask as the kernel has it: bit `n - 1` for signal `n`.
#[derive(Clone, Copy)]
pub struct Mask(pub(super) u64);

impl Mask {
    /// No signal is blocked.
    pub const NONE: Mask = Mask(0);
}

/// The kernel's `sigsetsize`.
pub(super) const MASK_BYTES: usize = size_of::<u64>();

/// A signal that came.
#[derive(Clone, Copy)]
pub struct Received {
    /// Which one.
    pub signal: Signal,
    /// Who sent it.
    pub sender: Sender,
    info: libc::siginfo_t,
}

/// The value that our verbs send with their signal: "claw". Every version has the same.
const VERB: usize = 0x636c_6177;

/// Sends `signal` to a process with the value that says that the sender waits for the outcome.
/// `folder` is its `/proc/PID`, opened when it was looked at: the signal goes to that process or
/// to nobody (pidfd_send_signal(2), Linux 5.1), while its number may be somebody else's by now, or
/// another's in our PID namespace. A kernel or a filter that does not know the call gets the number.
pub fn send_as_verb(folder: BorrowedFd, pid: i32, signal: Signal) -> Result<(), Errno> {
    let info = queued_by_us(signal, VERB);
    let (folder, number) = (folder.as_raw_fd(), signal.number());
    // SAFETY: `info` is a whole siginfo_t, which the kernel reads.
    let sent =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, folder, number, &raw const info, 0) };
    let sent = match Errno::check(sent) {
        Err(Errno(libc::ENOSYS | libc::EPERM)) => {
            // SAFETY: as above.
            let sent =
                unsafe { libc::syscall(libc::SYS_rt_sigqueueinfo, pid, number, &raw const info) };
            Errno::check(sent)
        }
        sent => sent,
    };
    sent.map(drop)
}

/// What sigqueue(3) would send: `si_code`, `si_pid`, `si_uid`, `si_value` of sigaction(2).
fn queued_by_us(signal: Signal, value: usize) -> libc::siginfo_t {
    // SAFETY: siginfo_t is plain data.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    info.si_signo = signal.number();
    info.si_code = libc::SI_QUEUE;
    // The C library has no name for them: they lie where the kernel's `struct siginfo` of 64-bit
    // machines has its `_rt`.
    let fields = (&raw mut info).cast::<u8>();
    // SAFETY: siginfo_t is 128 bytes long and aligned for all three; getuid cannot fail.
    unsafe {
        fields.add(16).cast::<i32>().write(super::process::pid());
        fields.add(20).cast::<u32>().write(libc::getuid());
        fields.add(24).cast::<usize>().write(value);
    }
    info
}

/// Who sent a signal (`si_code`, `si_pid`, `si_uid` of sigaction(2)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sender {
    /// The kernel itself: a terminal, a timer, the death of a child or of the parent.
    Kernel,
    /// A process; pid 0 is one that has no number in this PID namespace.
    Process {
        /// Its pid in this namespace.
        pid: i32,
        /// Its real user.
        uid: u32,
    },
}

impl Received {
    /// The value, where it was sent with one (sigqueue(3)), in the form to send it on.
    pub(super) fn queued(&self) -> Option<&libc::siginfo_t> {
        (self.info.si_code == libc::SI_QUEUE).then_some(&self.info)
    }

    /// Whether one of our own verbs sent it, which waits for what comes of it: the value says so.
    pub fn is_of_a_verb(&self) -> bool {
        // SAFETY: SI_QUEUE carries a value.
        self.queued().is_some_and(|info| unsafe { info.si_value() }.sival_ptr as usize == VERB)
    }
}

/// Blocks every signal and returns the mask that was in force. To be called before anything
/// else: what arrives from now on waits in the kernel's queue. An error comes of a filter of system
/// calls only.
pub fn block_all() -> Result<Mask, Errno> {
    let all = u64::MAX;
    let mut old = 0u64;
    // SAFETY: both masks are eight bytes, as the size says.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const all,
            &raw mut old,
            MASK_BYTES,
        )
    };
    Errno::check(result).map(|_| Mask(old))
}

/// Puts a mask in force.
pub(super) fn set_mask(mask: Mask) {
    // SAFETY: as in `block_all`.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask.0,
            std::ptr::null_mut::<u64>(),
            MASK_BYTES,
        )
    };
}

/// Puts the mask in force that the process was started with: for a program that handles no
/// signals.
pub fn give_back(mask: Mask) {
    set_mask(mask);
}

/// Blocks these signals and no others: for a helper that has nothing to do when they come.
pub fn block_only(signals: &[Signal]) {
    set_mask(Mask(signals.iter().fold(0, |mask, signal| mask | 1 << (signal.number() - 1))));
}

/// Gives SIGCHLD its default disposition, since children of a process that ignores it leave no
/// status behind and wait(2) says ECHILD, and returns whether it was ignored. An error comes of a
/// filter of system calls only.
pub fn expect_children() -> Result<bool, Errno> {
    // SAFETY: a zeroed sigaction is valid: default disposition, no flags, empty mask.
    let mut new: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: as above; it is written to.
    let mut old: libc::sigaction = unsafe { std::mem::zeroed() };
    new.sa_sigaction = libc::SIG_DFL;
    // SAFETY: both are ours.
    let result = unsafe { libc::sigaction(libc::SIGCHLD, &raw const new, &raw mut old) };
    Errno::check(i64::from(result)).map(|_| old.sa_sigaction == libc::SIG_IGN)
}

/// Ignores SIGCHLD: for a child that is to start as clawinit was started.
pub(super) fn ignore_children() {
    // SAFETY: SIG_IGN is a valid disposition for SIGCHLD.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

/// The next signal, or `None` after `timeout` or when the wait was disturbed. All signals have
/// to be blocked. Without a timeout it waits for ever and wakes for nothing else. An error: the
/// kernel or a filter does not let us wait, and to try again would be a busy loop.
pub fn wait(timeout: Option<Duration>) -> Result<Option<Received>, Errno> {
    match take(u64::MAX, timeout) {
        Ok(received) => Ok(Some(received)),
        Err(Errno(libc::EAGAIN)) if timeout.is_some() => Ok(None),
        Err(errno @ Errno(libc::EAGAIN | libc::EINTR)) if is_endless() => Err(errno),
        Err(Errno(libc::EAGAIN | libc::EINTR)) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// A frozen group that thaws, or a debugger that comes, disturbs a wait once; nothing does so this
/// often within a second but a kernel, or a filter, that lets nobody wait.
const MOST_DISTURBANCES: u32 = 100;

/// Counts a disturbance of a wait; whether there were too many.
fn is_endless() -> bool {
    static DISTURBANCES: AtomicU32 = AtomicU32::new(0);
    static SECOND: AtomicU64 = AtomicU64::new(0);
    let second = clock::monotonic().as_secs();
    if SECOND.swap(second, Relaxed) != second {
        DISTURBANCES.store(0, Relaxed);
    }
    DISTURBANCES.fetch_add(1, Relaxed) >= MOST_DISTURBANCES
}

/// Takes `signal` from the queue if it is there.
pub fn take_pending(signal: Signal) -> Option<Received> {
    take(1 << (signal.number() - 1), Some(Duration::ZERO)).ok()
}

/// Waits until `signal` is in the queue, and takes it; `timeout` at most.
pub(super) fn wait_for(signal: Signal, timeout: Duration) {
    let _ = take(1 << (signal.number() - 1), Some(timeout));
}

fn take(set: u64, timeout: Option<Duration>) -> Result<Received, Errno> {
    let time = timeout.map(|t| libc::timespec {
        tv_sec: t.as_secs() as _, // the C library's time_t, 64 bits wide on both targets
        tv_nsec: t.subsec_nanos() as _,
    });
    let time_ptr = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: siginfo_t is plain data; the kernel fills it.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is eight bytes, `info` and `time` live through the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigtimedwait,
            &raw const set,
            &raw mut info,
            time_ptr,
            MASK_BYTES,
        )
    };
    let signal = Signal::new(Errno::check(result)? as i32).ok_or(Errno(libc::EAGAIN))?;
    let from_process = info.si_code <= 0 && info.si_code != libc::SI_TIMER
        || signal == Signal::CHLD && info.si_code != libc::SI_KERNEL;
    let sender = if from_process {
        // SAFETY: SI_USER, SI_QUEUE and SI_TKILL carry the sender's pid and uid, and SIGCHLD
        // the child's, at the same place.
        unsafe { Sender::Process { pid: info.si_pid(), uid: info.si_uid() } }
    } else {
        Sender::Kernel
    };
    Ok(Received { signal, sender, info })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_verb_sends_reads_as_queued_by_it() {
        let info = queued_by_us(Signal::USR1, VERB);
        assert_eq!((info.si_signo, info.si_code), (Signal::USR1.number(), libc::SI_QUEUE));
        // SAFETY: SI_QUEUE carries pid, uid and value.
        let (pid, uid, value) = unsafe { (info.si_pid(), info.si_uid(), info.si_value()) };
        assert_eq!((pid, value.sival_ptr as usize), (super::super::process::pid(), VERB));
        // SAFETY: cannot fail, touches no memory.
        assert_eq!(uid, unsafe { libc::getuid() });
    }
}
