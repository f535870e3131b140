//! Work that may take longer than we want to wait, in a process of its own: fork(2).
//!
//! The C library's resolver cannot be told how long it may take. A thread would do as well, and
//! would bring the code for threads into a program that has none.

use super::{Errno, kill, process};
use crate::signal::Signal;
use std::io::{PipeReader, Read, Write};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Work under way; dropped, it is ended.
pub struct Aside {
    pid: i32,
    reader: PipeReader,
}

impl Aside {
    /// Begins it. Only for a process with one thread. Errors: there is no pipe, or no process, to
    /// be had.
    pub fn begin(work: impl FnOnce() -> String) -> Result<Aside, Errno> {
        let (reader, mut writer) = std::io::pipe().map_err(|_| Errno::last())?;
        // SAFETY: this process has one thread, so the child finds every lock free.
        let pid = Errno::check(i64::from(unsafe { libc::fork() }))? as i32;
        if pid == 0 {
            drop(reader);
            let _ = writer.write_all(work().as_bytes());
            process::exit(0);
        }
        Ok(Aside { pid, reader })
    }

    /// Its answer; `None`: there is none yet, after `timeout`.
    pub fn answer(&mut self, timeout: Duration) -> Option<String> {
        let mut fds =
            libc::pollfd { fd: self.reader.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let most = timeout.as_micros().div_ceil(1000).min(i32::MAX as u128) as i32;
        // SAFETY: one pollfd, ours. Only a signal that ends this process could interrupt it.
        let came = unsafe { libc::poll(&raw mut fds, 1, most) } > 0;
        let mut text = String::new();
        // It writes once, and leaves.
        (came && self.reader.read_to_string(&mut text).is_ok()).then_some(text)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let _ = kill::process(self.pid, Signal::KILL);
        // SAFETY: touches no memory. Our child, which is ending.
        unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), 0) };
    }
}

/// What `work` answers; `None`: nothing within `timeout`. Otherwise as [`Aside::begin`].
pub fn answer(work: impl FnOnce() -> String, timeout: Duration) -> Result<Option<String>, Errno> {
    Ok(Aside::begin(work)?.answer(timeout))
}
