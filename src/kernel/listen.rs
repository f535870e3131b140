//! Sockets that listen: socket(2), bind(2), listen(2), for `--listen`.
//!
//! They are made without close-on-exec and stay where the kernel puts them, from descriptor 3 on:
//! each generation inherits them there, and nothing has to be moved in between.

use super::{Errno, descriptors};
use std::mem::{offset_of, size_of};
use std::net::SocketAddr;

/// How many connections may wait to be accepted; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Why there is no socket at a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// The kernel says so.
    Errno(Errno),
    /// Somebody listens there: this pid, 0 where it is in another namespace.
    By(i32),
    /// Something that is no socket is there.
    NoSocket,
}

impl From<Errno> for Taken {
    fn from(errno: Errno) -> Taken {
        Taken::Errno(errno)
    }
}

/// Listens on a TCP port. `[::]` takes IPv4 too, whatever `net.ipv6.bindv6only` says. Errors:
/// those of socket(2), bind(2), listen(2).
pub fn tcp(address: SocketAddr) -> Result<i32, Errno> {
    let fd = socket(if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 })?;
    let made = set(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1).and_then(|()| match address {
        SocketAddr::V4(address) => {
            // SAFETY: plain data.
            let mut place: libc::sockaddr_in = unsafe { std::mem::zeroed() };
            place.sin_family = libc::AF_INET as libc::sa_family_t;
            place.sin_port = address.port().to_be();
            place.sin_addr.s_addr = u32::from_ne_bytes(address.ip().octets());
            bind(fd, &raw const place, size_of::<libc::sockaddr_in>())
        }
        SocketAddr::V6(address) => {
            set(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 0)?;
            // SAFETY: plain data.
            let mut place: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
            place.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            place.sin6_port = address.port().to_be();
            place.sin6_addr.s6_addr = address.ip().octets();
            place.sin6_scope_id = address.scope_id();
            bind(fd, &raw const place, size_of::<libc::sockaddr_in6>())
        }
    });
    finish(fd, made.and_then(|()| listen(fd)))
}

/// Listens at a path that fits into `sun_path`, for everybody (mode 0666, as systemd.socket(5)
/// has it). A socket that nobody listens on any more is replaced; one that somebody does, and
/// everything else, is left as it is. Errors: who or what is there, or those of the calls.
pub fn unix(path: &str) -> Result<i32, Taken> {
    let fd = socket(libc::AF_UNIX)?;
    finish(fd, bind_path(fd, path).and_then(|()| listen(fd).map_err(Taken::from)))
}

fn bind_path(fd: i32, path: &str) -> Result<(), Taken> {
    // A socket is made with 0777 less the mask. A chmod(2) of the path could hit what somebody who
    // may write to the folder has put there since, by a link anything at all.
    // SAFETY: takes a number.
    let mask = unsafe { libc::umask(0o111) };
    let bound = bind_or_replace(fd, path);
    // SAFETY: takes a number.
    unsafe { libc::umask(mask) };
    bound
}

fn bind_or_replace(fd: i32, path: &str) -> Result<(), Taken> {
    let (place, length) = address(path);
    match bind(fd, &raw const place, length) {
        Err(Errno(libc::EADDRINUSE)) => {
            make_way(path)?;
            Ok(bind(fd, &raw const place, length)?)
        }
        bound => Ok(bound?),
    }
}

/// Removes a socket that nobody listens on.
fn make_way(path: &str) -> Result<(), Taken> {
    let (place, length) = address(path);
    // SAFETY: plain data.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with a zero byte, and `stat` is ours.
    let found = unsafe { libc::lstat(place.sun_path.as_ptr(), &raw mut stat) };
    Errno::check(i64::from(found))?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFSOCK {
        return Err(Taken::NoSocket);
    }
    let flags = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: takes numbers.
    let probe = Errno::check(i64::from(unsafe { libc::socket(libc::AF_UNIX, flags, 0) }))? as i32;
    // SAFETY: the address is ours, and as long as its length says.
    let reached =
        unsafe { libc::connect(probe, (&raw const place).cast(), length as libc::socklen_t) };
    let answer = match Errno::check(i64::from(reached)) {
        Err(Errno(libc::ECONNREFUSED)) => Ok(()),
        Ok(_) => Err(Taken::By(owner(probe))),
        // Its backlog is full, or it is no stream socket: somebody has it.
        Err(Errno(libc::EAGAIN | libc::EPROTOTYPE)) => Err(Taken::By(0)),
        Err(errno) => Err(Taken::Errno(errno)),
    };
    // SAFETY: ours, and used by nobody any more.
    unsafe { libc::close(probe) };
    answer?;
    // SAFETY: the path ends with a zero byte.
    Errno::check(i64::from(unsafe { libc::unlink(place.sun_path.as_ptr()) }))?;
    Ok(())
}

/// Who had listened when `fd` connected to it (SO_PEERCRED of unix(7)).
fn owner(fd: i32) -> i32 {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel fills what is ours, up to the length given.
    unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut length,
        );
    }
    credentials.pid
}

fn address(path: &str) -> (libc::sockaddr_un, usize) {
    // SAFETY: plain data.
    let mut place: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    place.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let room = place.sun_path.len() - 1;
    for (to, from) in place.sun_path.iter_mut().zip(path.bytes().take(room)) {
        *to = from as _;
    }
    (place, offset_of!(libc::sockaddr_un, sun_path) + path.len().min(room) + 1)
}

fn socket(family: i32) -> Result<i32, Errno> {
    // SAFETY: takes numbers.
    let fd = Errno::check(i64::from(unsafe { libc::socket(family, libc::SOCK_STREAM, 0) }))? as i32;
    if fd > 2 {
        return Ok(fd);
    }
    // A standard descriptor came in closed. This one is for the child, so it is not
    // close-on-exec.
    let fd = descriptors::above_standard(fd)?;
    // SAFETY: touches no memory.
    unsafe { libc::fcntl(fd, libc::F_SETFD, 0) };
    Ok(fd)
}

fn set(fd: i32, level: i32, option: i32, value: i32) -> Result<(), Errno> {
    // SAFETY: reads an int that is ours, as its length says.
    let set = unsafe {
        let length = size_of::<i32>() as libc::socklen_t;
        libc::setsockopt(fd, level, option, (&raw const value).cast(), length)
    };
    Errno::check(i64::from(set)).map(drop)
}

fn bind<T>(fd: i32, address: *const T, length: usize) -> Result<(), Errno> {
    // SAFETY: each caller passes an address of its own and its length.
    let bound = unsafe { libc::bind(fd, address.cast(), length as libc::socklen_t) };
    Errno::check(i64::from(bound)).map(drop)
}

fn listen(fd: i32) -> Result<(), Errno> {
    // SAFETY: takes numbers.
    Errno::check(i64::from(unsafe { libc::listen(fd, BACKLOG) })).map(drop)
}

fn finish<E>(fd: i32, made: Result<(), E>) -> Result<i32, E> {
    made.map(|()| fd).inspect_err(|_| {
        // SAFETY: ours, and used by nobody.
        unsafe { libc::close(fd) };
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::net::TcpStream;
    use std::os::unix::net::{UnixListener, UnixStream};

    fn close(fd: i32) {
        // SAFETY: the test's own.
        unsafe { libc::close(fd) };
    }

    /// A free port, asked of the kernel.
    fn free_port() -> u16 {
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    #[test]
    fn both_families_are_reached_by_one_socket_of_the_other() {
        let port = free_port();
        let Ok(fd) = tcp(format!("[::]:{port}").parse().unwrap()) else { return };
        assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
        assert_eq!(tcp(format!("[::]:{port}").parse().unwrap()), Err(Errno(libc::EADDRINUSE)));
        close(fd);
        let refused = TcpStream::connect(("127.0.0.1", port)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_stale_path_is_replaced_and_a_live_one_names_its_owner() {
        let folder = std::env::temp_dir().join(format!("clawinit-listen-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("s");
        let text = path.to_str().unwrap();
        let live = UnixListener::bind(&path).unwrap();
        assert_eq!(unix(text), Err(Taken::By(std::process::id() as i32)));
        assert!(UnixStream::connect(&path).is_ok(), "the live one is untouched");
        drop(live);
        let fd = unix(text).expect("the stale one is replaced");
        assert!(UnixStream::connect(&path).is_ok());
        close(fd);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "kept").unwrap();
        assert_eq!(unix(text), Err(Taken::NoSocket));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
