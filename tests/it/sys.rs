//! The tests' own kernel layer: the few calls for which `nix` has no safe wrapper.
//!
//! `unsafe` is said here and nowhere else under `tests/it` (`tidy.rs` holds us to it).
//! Signal masks go past the C library on purpose: musl hides signals 32 to 34 from
//! `sigprocmask` and `sigaction`, and clawinit promises to forward these too.

use std::io;
use std::time::Duration;

/// Bytes of the kernel's signal set: 64 signals.
const KERNEL_SIGSET: usize = 8;

/// A set that holds one signal.
pub fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// A set that holds each of `signals`.
pub fn set(signals: &[i32]) -> u64 {
    signals.iter().fold(0, |set, &signal| set | bit(signal))
}

/// What a signal brought with it (`siginfo_t`).
#[derive(Debug, Clone, Copy)]
pub struct Received {
    pub signal: i32,
    pub code: i32,
    pub pid: i32,
    pub value: i64,
}

/// Sets the blocked set of the calling thread, all 64 signals of it.
pub fn block_exactly(mask: u64) {
    // SAFETY: the kernel reads 8 bytes from `mask` and writes nothing, as the old set is null.
    let done = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            std::ptr::null_mut::<u64>(),
            KERNEL_SIGSET,
        )
    };
    assert_eq!(done, 0, "rt_sigprocmask: {}", io::Error::last_os_error());
}

/// Takes one pending signal of `mask`; `None` once `bound` has passed without any.
pub fn wait_signal(mask: u64, bound: Option<Duration>) -> Option<Received> {
    let limit = bound.map(|bound| libc::timespec {
        tv_sec: bound.as_secs() as _,
        tv_nsec: bound.subsec_nanos() as libc::c_long,
    });
    let limit_at = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    loop {
        // SAFETY: all-zero bytes are a valid siginfo_t.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel reads `mask` and `limit`, and fills `info`; all three outlive the call.
        let signal = unsafe {
            libc::syscall(
                libc::SYS_rt_sigtimedwait,
                &raw const mask,
                &raw mut info,
                limit_at,
                KERNEL_SIGSET,
            )
        };
        if signal > 0 {
            // SAFETY: pid and value are plain integers in every layout that a signal sent by
            // kill(2) or sigqueue(3) can have; for others they are bytes without meaning.
            let (pid, value) = unsafe { (info.si_pid(), info.si_value().sival_ptr as i64) };
            return Some(Received { signal: signal as i32, code: info.si_code, pid, value });
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EAGAIN) => return None,
            // A stop and a continue interrupt the wait.
            Some(libc::EINTR) => {}
            _ => panic!("rt_sigtimedwait: {error}"),
        }
    }
}

/// The kernel's `struct sigaction`, as far as SIG_DFL and SIG_IGN need it.
#[repr(C)]
struct KernelAction {
    handler: usize,
    flags: libc::c_ulong,
    restorer: usize,
    mask: u64,
}

fn set_disposition(signal: i32, handler: usize) {
    let action = KernelAction { handler, flags: 0, restorer: 0, mask: 0 };
    // SAFETY: `action` has the kernel's layout; neither SIG_DFL nor SIG_IGN is ever called.
    let done = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            &raw const action,
            std::ptr::null_mut::<KernelAction>(),
            KERNEL_SIGSET,
        )
    };
    assert_eq!(done, 0, "rt_sigaction({signal}): {}", io::Error::last_os_error());
}

/// Ignores `signal` in this process and, through exec, in what it becomes.
pub fn ignore(signal: i32) {
    set_disposition(signal, libc::SIG_IGN);
}

/// Gives `signal` its default action.
pub fn default(signal: i32) {
    set_disposition(signal, libc::SIG_DFL);
}

/// kill(2) for any number; `nix` knows no real-time signals.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: two integers go in, nothing is written.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// sigqueue(3) for any number, also those that musl keeps for itself.
pub fn queue(pid: i32, signal: i32, value: i32) -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    info.si_signo = signal;
    info.si_code = libc::SI_QUEUE;
    // The fields behind the header (pid, uid, value) have no public setter: on 64-bit Linux
    // they lie at byte 16, 20 and 24.
    let bytes = (&raw mut info).cast::<u8>();
    // SAFETY: siginfo_t is 128 bytes, so byte 24 and the 8 after it are inside, and aligned.
    unsafe { bytes.add(24).cast::<i64>().write(i64::from(value)) };
    // SAFETY: the kernel reads `info`, which outlives the call.
    match unsafe { libc::syscall(libc::SYS_rt_sigqueueinfo, pid, signal, &raw const info) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// fork(2). Only for the roles of `probe.rs` and for the bench, which have one thread.
pub fn fork() -> Option<i32> {
    // SAFETY: no other thread can hold a lock that the child would need.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", io::Error::last_os_error()),
        0 => None,
        pid => Some(pid),
    }
}

/// Waits in vfork(2) for a child that never ends: until then the kernel shows this process in state
/// D, and it takes no signal but SIGKILL.
pub fn wait_for_a_vfork_without_end() {
    // SAFETY: without CLONE_VM the child has a memory of its own, and does nothing but pause(2).
    unsafe {
        if libc::syscall(libc::SYS_clone, libc::CLONE_VFORK | libc::SIGCHLD, 0, 0, 0, 0) == 0 {
            loop {
                libc::pause();
            }
        }
    }
}

/// Makes the terminal behind `fd` the controlling one of this session leader.
pub fn take_terminal(fd: i32) -> io::Result<()> {
    // SAFETY: TIOCSCTTY takes an integer.
    match unsafe { libc::ioctl(fd, libc::TIOCSCTTY as _, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Puts `from` at the number `to`, open across exec.
pub fn dup_to(from: i32, to: i32) {
    if from == to {
        // dup2 of a descriptor to itself would leave close-on-exec set.
        // SAFETY: fcntl with integers.
        let done = unsafe { libc::fcntl(to, libc::F_SETFD, 0) };
        assert_ne!(done, -1, "fcntl({to}): {}", io::Error::last_os_error());
        return;
    }
    // SAFETY: the roles own the numbers they name; nothing of Rust's holds them.
    let done = unsafe { libc::dup2(from, to) };
    assert_ne!(done, -1, "dup2({from}, {to}): {}", io::Error::last_os_error());
}

/// Takes over a descriptor that the kernel has just made for the caller.
pub fn own(fd: i32) -> std::os::fd::OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: callers pass what a system call has just returned; nobody else owns it.
    unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) }
}

/// Closes a descriptor by number.
pub fn close(fd: i32) {
    // SAFETY: used for 0 to 2 and inherited numbers, which no Rust object owns.
    unsafe { libc::close(fd) };
}

/// Nanoseconds of the monotonic clock, the same in every process of the machine.
pub fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills `time`.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Ends only the calling thread; the process lives on while another thread does.
pub fn exit_this_thread() -> ! {
    // SAFETY: nothing of this thread's stack is borrowed by the other one.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!("exit(2) returned")
}

/// Drops to `uid` and `gid` without any supplementary group.
pub fn become_user(uid: u32, gid: u32) {
    // SAFETY: integers and a null list of length 0.
    let done = unsafe {
        libc::setgroups(0, std::ptr::null()) == 0
            && libc::setresgid(gid, gid, gid) == 0
            && libc::setresuid(uid, uid, uid) == 0
    };
    assert!(done, "become user {uid}:{gid}: {}", io::Error::last_os_error());
}

/// Gives up every capability from the bounding set too, so that none can come back.
pub fn drop_bounding_capabilities() {
    for capability in 0..64 {
        // SAFETY: prctl with integers; numbers past the last capability are refused (EINVAL).
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
}

/// Whether a command that this process runs could gain privileges.
pub fn no_new_privs() -> bool {
    // SAFETY: prctl with integers.
    unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 }
}

/// Makes orphans below this process its own children.
pub fn become_subreaper() {
    // SAFETY: prctl with integers.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
}

/// A descriptor of process `pid` that polls readable at its end.
pub fn pidfd(pid: i32) -> io::Result<std::os::fd::OwnedFd> {
    // SAFETY: integers go in.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(own(fd as i32))
}

/// Takes a copy of a descriptor of another process (pidfd_getfd(2)), and closes it again.
pub fn take_descriptor(pid: i32, number: i32) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let process = pidfd(pid)?;
    // SAFETY: integers go in.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    close(fd as i32);
    Ok(())
}

/// Maps the first page of a file as others would who share it, and unmaps it.
pub fn map(file: &std::fs::File, for_writing: bool) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let access = if for_writing { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
    // SAFETY: a new mapping at a place that the kernel chooses, of which nobody gets to know.
    unsafe {
        let at =
            libc::mmap(std::ptr::null_mut(), 4096, access, libc::MAP_SHARED, file.as_raw_fd(), 0);
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        libc::munmap(at, 4096);
    }
    Ok(())
}

/// Hangs up the terminal of this path, as when the connection behind it breaks.
pub fn hang_up(path: &str) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::OpenOptionsExt;
    const TIOCVHANGUP: i32 = 0x5437;
    let terminal = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(path)?;
    // SAFETY: TIOCVHANGUP takes nothing.
    match unsafe { libc::ioctl(terminal.as_raw_fd(), TIOCVHANGUP as _) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Opens the next free pty; its slave's path comes with it.
pub fn open_pty() -> io::Result<(std::os::fd::OwnedFd, String)> {
    // Close-on-exec from the start: other tests spawn at the same moment.
    // SAFETY: integers go in.
    let fd = unsafe { libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let master = own(fd);
    let mut name = [0u8; 64];
    // SAFETY: `name` is as long as we say, and ptsname_r ends what it writes with a zero.
    let done = unsafe {
        libc::grantpt(fd) == 0
            && libc::unlockpt(fd) == 0
            && libc::ptsname_r(fd, name.as_mut_ptr().cast(), name.len()) == 0
    };
    if !done {
        return Err(io::Error::last_os_error());
    }
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(0);
    Ok((master, String::from_utf8_lossy(&name[..end]).into_owned()))
}

/// Leaves without a destructor or a handler.
#[allow(dead_code, reason = "for the bench")]
pub fn exit_at_once() -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(0) }
}

/// The command line as the C library hands it to `main`.
#[allow(dead_code, reason = "for the bench")]
pub fn words(count: i32, words: *const *const libc::c_char) -> Vec<&'static str> {
    (0..count as usize)
        // SAFETY: `words` holds `count` C strings, which live as long as the process.
        .map(|i| unsafe { std::ffi::CStr::from_ptr(*words.add(i)) })
        .map(|word| word.to_str().unwrap_or_default())
        .collect()
}

/// Makes a program's `main` of a function that gets the time (of `now_ns`) and its words, with no
/// Rust runtime before it.
#[allow(unused_macros, reason = "for the bench")]
macro_rules! c_main {
    ($start:path) => {
        // SAFETY: the name is the one that the C library looks for; a program has one `main`.
        #[unsafe(no_mangle)]
        extern "C" fn main(count: i32, words: *const *const ::libc::c_char) -> i32 {
            let began = $crate::sys::now_ns();
            $start(began, &$crate::sys::words(count, words))
        }
    };
}
#[allow(unused_imports, reason = "for the bench")]
pub(crate) use c_main;
