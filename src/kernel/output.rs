//! Writing to standard error without ever waiting for its reader.
//!
//! O_NONBLOCK belongs to the open file, which the child shares: setting it would change the
//! child's own writes. So a pipe or a terminal is opened anew through `/proc/self/fd/2`, which
//! makes another open file of the same thing. A regular file has no reader to wait for and is
//! written to as it came, at its end: opened anew it would have an offset of its own, and
//! clawinit and the child would write over each other. A socket has MSG_DONTWAIT. Without `/proc`, or without the
//! right to open it, RWF_NOWAIT makes the one write not wait (pwritev2(2); pipes know it since
//! Linux 6.4). Where even that is unknown, poll(2) asks first, and only a child that fills the
//! last room of the same pipe between the two calls can still make clawinit wait.

use super::Errno;
use super::descriptors::{self, File};

/// Standard error.
#[derive(Default)]
pub enum Output {
    /// Not looked at yet: nothing has been written.
    #[default]
    Unopened,
    /// Opened anew, non-blocking.
    Reopened(File),
    /// A regular file: it never makes a writer wait.
    File,
    /// A socket, such as the journal's.
    Socket,
    /// As it came, shared with the child.
    Shared,
}

impl Output {
    /// Writes `line` whole, or says why not; never waits. EAGAIN: its reader is behind.
    pub fn write(&mut self, line: &[u8]) -> Result<(), Errno> {
        if matches!(self, Output::Unopened) {
            *self = open();
        }
        let took = match self {
            Output::Reopened(file) => file.write(line)?,
            Output::File => descriptors::append(2, line)?,
            Output::Socket => send(line)?,
            Output::Unopened | Output::Shared => match descriptors::write_now(2, line) {
                Err(Errno(libc::EOPNOTSUPP | libc::ENOSYS)) if has_room() => {
                    descriptors::write(2, line)?
                }
                took => took?,
            },
        };
        if took == line.len() { Ok(()) } else { Err(Errno(libc::ENOSPC)) }
    }

    /// Closes what was opened, so that no descriptor but the first three is ours.
    pub fn close(&mut self) {
        *self = Output::Unopened;
    }
}

fn open() -> Output {
    match descriptors::kind(2) {
        libc::S_IFREG => Output::File,
        libc::S_IFSOCK => Output::Socket,
        _ => {
            let flags = libc::O_WRONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
            File::open(c"/proc/self/fd/2", flags).map_or(Output::Shared, Output::Reopened)
        }
    }
}

fn has_room() -> bool {
    let mut fds = libc::pollfd { fd: 2, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one pollfd, ours; a timeout of 0 does not wait.
    unsafe { libc::poll(&raw mut fds, 1, 0) > 0 }
}

fn send(line: &[u8]) -> Result<usize, Errno> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the bytes are readable, and their length is given.
    let took = unsafe { libc::send(2, line.as_ptr().cast(), line.len(), flags) };
    Errno::check(took as i64).map(|n| n as usize)
}
