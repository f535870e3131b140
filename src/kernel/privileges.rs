//! setgroups(2), setgid(2), setuid(2), and no_new_privs of prctl(2), in a child that has not
//! executed its program yet.
//!
//! By raw system calls: the C library's functions would change all threads of the process, and
//! this child still shares the memory of its parent.

use super::Errno;

/// Becomes `uid` and `gid`, with `gid` as the only group. One who is that user already, and not
/// root, may not change groups and keeps those it has.
pub(super) fn become_user(uid: u32, gid: u32) -> Result<(), Errno> {
    // SAFETY: these cannot fail and touch no memory.
    let now = unsafe { (libc::getuid(), libc::geteuid(), libc::getgid(), libc::getegid()) };
    if uid != 0 && now == (uid, uid, gid, gid) {
        return Ok(());
    }
    // SAFETY: one group is read from where the pointer says; the other two touch no memory.
    unsafe {
        Errno::check(libc::syscall(libc::SYS_setgroups, 1usize, &raw const gid))?;
        Errno::check(libc::syscall(libc::SYS_setgid, gid))?;
        Errno::check(libc::syscall(libc::SYS_setuid, uid))?;
    }
    Ok(())
}

/// No program executed from here on gains privileges.
pub(super) fn no_new_privs() -> Result<(), Errno> {
    // SAFETY: takes a number, touches no memory.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    Errno::check(i64::from(result)).map(drop)
}
