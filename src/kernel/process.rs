//! This process itself: getpid(2), prctl(2), chdir(2), exit(2).

use super::{Errno, clock};
use crate::signal::Signal;
use std::ffi::{CStr, CString};
use std::time::Duration;

/// Its pid in its own namespace.
pub fn pid() -> i32 {
    // SAFETY: cannot fail, touches no memory.
    unsafe { libc::getpid() }
}

/// How many bytes a page of memory has: `/proc` counts resident memory in pages.
pub fn page_bytes() -> u64 {
    // SAFETY: takes a number. The kernel always knows its page size (sysconf(3)).
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as u64 }
}

/// Its parent's pid; 0 when that one is outside the PID namespace.
pub fn parent() -> i32 {
    // SAFETY: cannot fail, touches no memory.
    unsafe { libc::getppid() }
}

/// Eight bytes that the kernel chose at random for this process (AT_RANDOM of getauxval(3)).
pub fn random() -> u64 {
    // SAFETY: reads the auxiliary vector, which stays as the kernel laid it out.
    let bytes = unsafe { libc::getauxval(libc::AT_RANDOM) } as *const [u8; 8];
    // SAFETY: the address of 16 bytes, or null where there is none.
    unsafe { bytes.as_ref() }.map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

/// Orphans among the descendants become our children (PR_SET_CHILD_SUBREAPER).
pub fn become_subreaper() -> Result<(), Errno> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1)
}

/// The user that it acts as.
pub fn user() -> u32 {
    // SAFETY: cannot fail, touches no memory.
    unsafe { libc::geteuid() }
}

/// Whether they do already: the flag outlives exec(2).
pub fn is_subreaper() -> bool {
    let mut flag: libc::c_int = 0;
    // SAFETY: the call writes one int to where the pointer says.
    let result = unsafe { libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut flag, 0, 0, 0) };
    result == 0 && flag != 0
}

/// The kernel sends `signal` to us when the thread that started us ends (PR_SET_PDEATHSIG).
pub fn signal_at_parent_death(signal: Signal) -> Result<(), Errno> {
    prctl(libc::PR_SET_PDEATHSIG, signal.number() as libc::c_ulong)
}

/// A number that the next boot does not repeat: from the kernel, or where it has none yet, from
/// the clock.
pub fn random_byte() -> u8 {
    let mut byte = 0;
    // SAFETY: the call writes one byte at most, to where the pointer says.
    match unsafe { libc::getrandom((&raw mut byte).cast(), 1, libc::GRND_NONBLOCK) } {
        1 => byte,
        _ => clock::realtime().subsec_nanos().to_le_bytes()[0],
    }
}

fn prctl(option: i32, value: libc::c_ulong) -> Result<(), Errno> {
    // SAFETY: these options take a number and touch no memory.
    Errno::check(i64::from(unsafe { libc::prctl(option, value, 0, 0, 0) })).map(drop)
}

/// Goes to `/`, so that the folder it was started in can be unmounted.
pub fn leave_folder() {
    // SAFETY: the path is a C string. A failure leaves us where we are, which harms nobody.
    unsafe { libc::chdir(c"/".as_ptr()) };
}

/// The working folder's path; `None` where it was removed or lies outside our root.
pub fn folder() -> Option<CString> {
    let mut path = [0u8; libc::PATH_MAX as usize]; // the kernel knows no longer one
    // SAFETY: the buffer is ours, and its length is given; what is there ends with a zero byte.
    let path = unsafe {
        if libc::getcwd(path.as_mut_ptr().cast(), path.len()).is_null() {
            return None;
        }
        CStr::from_ptr(path.as_ptr().cast())
    };
    // A path outside our root begins with "(unreachable)" (getcwd(3)) and leads nowhere.
    Some(path.to_owned()).filter(|path| path.as_bytes().starts_with(b"/"))
}

/// Whether others of our user may look at us (PR_GET_DUMPABLE).
pub(super) fn is_dumpable() -> bool {
    // SAFETY: touches no memory.
    unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) == 1 }
}

/// Lets them (PR_SET_DUMPABLE).
pub(super) fn make_dumpable() {
    let _ = prctl(libc::PR_SET_DUMPABLE, 1);
}

/// Names this process for `ps` and `/proc/PID/comm` (PR_SET_NAME): 15 bytes at most.
pub fn set_name(name: &std::ffi::CStr) {
    // SAFETY: a C string, which the kernel copies.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) };
}

/// Waits until a process has ended that may be anybody's child, `timeout` at most
/// (pidfd_open(2), Linux 5.3; before that it does not wait).
pub fn wait_for_end(pid: i32, timeout: Duration) {
    // SAFETY: takes numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let Ok(fd) = Errno::check(fd) else { return };
    let mut fds = libc::pollfd { fd: fd as i32, events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd, ours; every signal is blocked, so nothing interrupts it. The
    // descriptor is ours and used by nobody else.
    unsafe {
        libc::poll(&raw mut fds, 1, timeout.as_millis() as i32);
        libc::close(fd as i32);
    }
}

/// Leaves at once: no destructor, no buffer, no handler has anything to say.
pub fn exit(code: u8) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(i32::from(code)) }
}
