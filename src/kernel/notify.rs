//! The socket on which a child says how it does (sd_notify(3)), and sending to one.
//!
//! Its name is an abstract one that the kernel chooses (unix(7), "autobind"): no writable folder
//! is needed for it, and containers that share a network namespace cannot take each other's. A
//! datagram raises SIGIO in this process, so that the one wait of PID 1 hears of it; the standard
//! signal rather than a real-time one, because a flood of datagrams is then one pending signal.

use super::{Errno, descriptors, process};
use crate::signal::Signal;
use std::ffi::CString;
use std::mem::{offset_of, size_of};

/// fcntl(2), which the libc crate does not have for musl; the same on every architecture.
const F_SETSIG: i32 = 10;

/// What datagrams raise.
pub const SIGNAL: Signal = Signal::IO;

/// The socket, non-blocking and close-on-exec.
pub struct Socket {
    fd: i32,
}

/// A datagram that came.
pub struct Datagram<'a> {
    /// Who sent it, as the kernel says; 0: a process of another PID namespace.
    pub sender: i32,
    /// What it says; nothing where it was longer than the room for it.
    pub text: &'a [u8],
}

/// Room for the sender's credentials and nothing else: descriptors that come along do not fit,
/// and the kernel drops them.
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

// SAFETY: computes a number.
const CONTROL_BYTES: usize = unsafe { libc::CMSG_SPACE(size_of::<libc::ucred>() as u32) } as usize;

impl Socket {
    /// Makes it, and says its address as NOTIFY_SOCKET has it, with an at sign for the zero byte
    /// of an abstract name. Errors: those of socket(2), bind(2), fcntl(2).
    pub fn open() -> Result<(Socket, String), Errno> {
        let flags = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: takes numbers.
        let fd = Errno::check(i64::from(unsafe { libc::socket(libc::AF_UNIX, flags, 0) }))? as i32;
        let fd = if fd > 2 { fd } else { descriptors::above_standard(fd)? };
        let socket = Socket { fd };
        let name = socket.prepare().inspect_err(|_| socket.close())?;
        Ok((socket, name))
    }

    fn prepare(&self) -> Result<String, Errno> {
        let on = 1i32;
        // SAFETY: reads an int that is ours, as its length says.
        let passes = unsafe {
            let length = size_of::<i32>() as libc::socklen_t;
            libc::setsockopt(
                self.fd,
                libc::SOL_SOCKET,
                libc::SO_PASSCRED,
                (&raw const on).cast(),
                length,
            )
        };
        Errno::check(i64::from(passes))?;
        // SAFETY: plain data.
        let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
        address.sun_family = libc::AF_UNIX as libc::sa_family_t;
        let mut length = size_of::<libc::sa_family_t>() as libc::socklen_t; // no name: autobind
        // SAFETY: the address is ours, and as long as its length says.
        let bound = unsafe { libc::bind(self.fd, (&raw const address).cast(), length) };
        Errno::check(i64::from(bound))?;
        length = size_of::<libc::sockaddr_un>() as libc::socklen_t;
        // SAFETY: the kernel fills what is ours, up to the length given.
        let named =
            unsafe { libc::getsockname(self.fd, (&raw mut address).cast(), &raw mut length) };
        Errno::check(i64::from(named))?;
        for (what, value) in [
            (libc::F_SETOWN, process::pid()),
            (F_SETSIG, SIGNAL.number()), // so that it says that the kernel sent it
            (libc::F_SETFL, libc::O_NONBLOCK | libc::O_ASYNC),
        ] {
            // SAFETY: touches no memory.
            Errno::check(i64::from(unsafe { libc::fcntl(self.fd, what, value) }))?;
        }
        let start = offset_of!(libc::sockaddr_un, sun_path) + 1;
        let name = (length as usize).saturating_sub(start);
        let name = address.sun_path[1..].iter().take(name).map(|byte| char::from(*byte as u8));
        Ok(std::iter::once('@').chain(name).collect())
    }

    /// The next datagram, in `buffer`, if one has come. Never waits.
    pub fn next<'a>(&self, buffer: &'a mut [u8]) -> Option<Datagram<'a>> {
        let mut control = Control([0; CONTROL_BYTES]);
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: plain data.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = CONTROL_BYTES as _;
        let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
        // SAFETY: the header names a buffer and a control buffer that are ours, with their
        // lengths.
        let got = unsafe { libc::recvmsg(self.fd, &raw mut message, flags) };
        let got = Errno::check(got as i64).ok()? as usize;
        let whole = message.msg_flags & libc::MSG_TRUNC == 0;
        let sender = sender(&message).unwrap_or(0);
        Some(Datagram { sender, text: if whole { &buffer[..got] } else { &[] } })
    }

    /// Its descriptor.
    pub fn fd(&self) -> i32 {
        self.fd
    }

    fn close(&self) {
        // SAFETY: ours, and used by nobody any more.
        unsafe { libc::close(self.fd) };
    }
}

/// The pid in the credentials that came with a message.
fn sender(message: &libc::msghdr) -> Option<i32> {
    // SAFETY: the kernel has filled the control buffer that the header names, and says its length
    // there; the header's first entry, if any, lies in it and is aligned.
    unsafe {
        let first = libc::CMSG_FIRSTHDR(message);
        let header = first.as_ref()?;
        let is_whole =
            header.cmsg_len as usize >= libc::CMSG_LEN(size_of::<libc::ucred>() as u32) as usize;
        (header.cmsg_level == libc::SOL_SOCKET
            && header.cmsg_type == libc::SCM_CREDENTIALS
            && is_whole)
            .then(|| libc::CMSG_DATA(first).cast::<libc::ucred>().read_unaligned().pid)
    }
}

/// Sends `text` to the socket of a NOTIFY_SOCKET, `@name` or a path. Never waits. Errors: those
/// of sendto(2); EAFNOSUPPORT for an address of another kind.
pub fn send(address: &str, text: &str) -> Result<(), Errno> {
    // SAFETY: plain data.
    let mut target: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    target.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let abstract_name = address.starts_with('@');
    let fits = address.len() < target.sun_path.len();
    if !fits || !(abstract_name || address.starts_with('/')) {
        return Err(Errno(libc::EAFNOSUPPORT));
    }
    for (place, byte) in target.sun_path.iter_mut().zip(address.bytes()) {
        *place = byte as _;
    }
    if abstract_name {
        target.sun_path[0] = 0;
    }
    let length = offset_of!(libc::sockaddr_un, sun_path) + address.len();
    let flags = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: takes numbers.
    let fd = Errno::check(i64::from(unsafe { libc::socket(libc::AF_UNIX, flags, 0) }))? as i32;
    // SAFETY: text and address are ours, with their lengths; the descriptor is closed once.
    let sent = unsafe {
        let sent = libc::sendto(
            fd,
            text.as_ptr().cast(),
            text.len(),
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            (&raw const target).cast(),
            length as libc::socklen_t,
        );
        let sent = Errno::check(sent as i64);
        libc::close(fd);
        sent
    };
    sent.map(drop)
}

/// `NOTIFY_SOCKET=ADDRESS`, for an environment.
pub fn variable(address: &str) -> CString {
    CString::new(format!("NOTIFY_SOCKET={address}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_comes_with_its_senders_pid_and_a_long_one_says_nothing() {
        // Each raises SIGIO, which clawinit has blocked and which ends a process that has not.
        // SAFETY: SIG_IGN is a valid disposition for SIGIO.
        unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) };
        let (socket, name) = Socket::open().unwrap();
        assert!(name.starts_with('@') && name.len() == 6, "{name}");
        let mut buffer = [0; 32];
        assert!(socket.next(&mut buffer).is_none());
        send(&name, "READY=1").unwrap();
        send(&name, &"x".repeat(33)).unwrap();
        let pid = std::process::id() as i32;
        let first = socket.next(&mut buffer).unwrap();
        assert_eq!((first.sender, first.text), (pid, &b"READY=1"[..]));
        let second = socket.next(&mut buffer).unwrap();
        assert_eq!((second.sender, second.text), (pid, &b""[..]));
        assert!(socket.next(&mut buffer).is_none());
        socket.close();
    }

    #[test]
    fn an_address_that_is_none_is_refused_and_a_dead_one_says_so() {
        let long = format!("/{}", "x".repeat(200));
        for wrong in ["", "relative", "vsock:2:1234", long.as_str()] {
            assert_eq!(send(wrong, "x"), Err(Errno(libc::EAFNOSUPPORT)), "{wrong}");
        }
        assert_eq!(send("@nobody-is-here-of-that-name", "x"), Err(Errno(libc::ECONNREFUSED)));
    }
}
