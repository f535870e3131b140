//! Sockets that whoever started the gateway has opened for it: by `LISTEN_FDS`
//! (sd_listen_fds(3)), or by number (`--fd`).
//!
//! Connections that come while one generation ends and the next one starts wait in such a
//! socket's backlog, since its other owner keeps it open.

use std::io::{self, IoSlice, IoSliceMut};
use std::net;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, UnixAddr, getsockname, sendmsg};
use nix::unistd::close;
use rustix::net::sockopt::{socket_acceptconn, socket_domain, socket_type};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketType, recvmsg,
};

use crate::failure::Failure;
use crate::sockets::Listener;

/// Where sd_listen_fds(3) begins to count.
const FIRST: RawFd = 3;
/// The names that mean us, where sockets have names.
const OUR_NAMES: [&str; 2] = ["gateway", "http"];
/// `PID:FD,FD`: what a gateway that starts itself again leaves to itself. A variable of
/// its own, as the numbers need not follow each other as those of `LISTEN_FDS` do.
const IN_PLACE: &str = "GATEWAY_FDS_IN_PLACE";
/// What is meant for the gateway alone. An agent that found it would take itself for the
/// service: listen on descriptors that it does not have, and report to the supervisor.
pub const VARIABLES: [&str; 8] = [
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    IN_PLACE,
];

/// A number that was said to be a listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Offer {
    number: RawFd,
    /// Who says so.
    source: &'static str,
    name: Option<String>,
}

/// Takes the listening sockets that this process was started with; none is no error.
/// `options` are those of `--fd`, which count before those of `LISTEN_FDS`.
///
/// To be called before anything is opened: a number that is wrong must not name a
/// descriptor of our own.
pub fn take(options: &[RawFd]) -> Result<Vec<OwnedFd>, Failure> {
    let variable = |name: &str| std::env::var(name).ok();
    let offers = offers(&variable, std::process::id())?;
    let (wanted, left) = choose(offers, options);
    let sockets = wanted.iter().map(adopt).collect();
    for offer in left {
        // Ours it is all the same, and agents must not inherit it.
        let _ = close(offer.number);
        log::warn!(
            "descriptor {}{} was handed in and is not listened on",
            offer.number,
            offer.name.map_or_else(String::new, |name| format!(" ({name})"))
        );
    }
    sockets
}

/// What the environment offers to the process `pid`.
fn offers(variable: &dyn Fn(&str) -> Option<String>, pid: u32) -> Result<Vec<Offer>, Failure> {
    if let Some(own) = variable(IN_PLACE).and_then(|text| in_place(&text, pid)) {
        return Ok(own);
    }
    // The variables of a process further up are nothing of ours.
    if variable("LISTEN_PID").and_then(|text| text.parse().ok()) != Some(pid) {
        return Ok(Vec::new());
    }
    let Some(text) = variable("LISTEN_FDS") else { return Ok(Vec::new()) };
    let count: RawFd =
        text.parse().ok().filter(|count| (0..=RawFd::MAX - FIRST).contains(count)).ok_or_else(
            || {
                Failure::failed(format!(
                    "LISTEN_FDS: \"{text}\" is no number of sockets; unset it to open a port"
                ))
            },
        )?;
    let names = variable("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').map(str::to_owned);
    let mut offers = Vec::new();
    for number in FIRST..FIRST + count {
        // A count without end ends at the first that is not open.
        if !is_open(number) {
            return Err(wrong("LISTEN_FDS", number, "is not open"));
        }
        let name = names.next().filter(|name| !name.is_empty());
        offers.push(Offer { number, source: "LISTEN_FDS", name });
    }
    Ok(offers)
}

fn in_place(text: &str, pid: u32) -> Option<Vec<Offer>> {
    let (own, numbers) = text.split_once(':')?;
    if own.parse() != Ok(pid) {
        return None;
    }
    numbers
        .split(',')
        .map(|number| Some(Offer { number: number.parse().ok()?, source: IN_PLACE, name: None }))
        .collect()
}

/// Which of the offers are listened on, and which are left.
fn choose(offers: Vec<Offer>, options: &[RawFd]) -> (Vec<Offer>, Vec<Offer>) {
    // What this process left to itself was chosen before it did.
    let is_chosen = offers.iter().any(|offer| offer.source == IN_PLACE);
    if !options.is_empty() && !is_chosen {
        let wanted =
            options.iter().map(|number| Offer { number: *number, source: "--fd", name: None });
        let left = offers.into_iter().filter(|offer| !options.contains(&offer.number));
        return (wanted.collect(), left.collect());
    }
    let is_ours =
        |offer: &Offer| offer.name.as_deref().is_some_and(|name| OUR_NAMES.contains(&name));
    if offers.iter().any(is_ours) {
        return offers.into_iter().partition(is_ours);
    }
    // Names that say nothing to us: systemd's default is the name of the unit.
    (offers, Vec::new())
}

/// Asked without opening anything, which could be given that very number.
fn is_open(number: RawFd) -> bool {
    getsockname::<SockaddrStorage>(number) != Err(Errno::EBADF)
}

/// Makes the number a socket of ours, or says what it is instead.
fn adopt(offer: &Offer) -> Result<OwnedFd, Failure> {
    let Offer { number, source, .. } = *offer;
    let socket = copy(number).map_err(|error| match error {
        Errno::EBADF => wrong(source, number, "is not open"),
        error => Failure::failed(format!(
            "{source}: descriptor {number} cannot be taken: {}",
            error.desc()
        )),
    })?;
    check(&socket).map_err(|what| wrong(source, number, what))?;
    // The copy is all we need, and is close-on-exec.
    let _ = close(number);
    Ok(socket)
}

fn wrong(source: &str, number: RawFd, what: &str) -> Failure {
    let instead = if source == "--fd" { "leave --fd out" } else { "unset LISTEN_FDS" };
    Failure::failed(format!(
        "{source}: descriptor {number} {what}; hand in a stream socket that listens, \
         or {instead} to open a port"
    ))
}

/// Another descriptor for what `number` is. Only `unsafe` code may say that a number is a
/// descriptor, and there is none here; but the kernel takes numbers where descriptors are
/// sent (unix(7), SCM_RIGHTS), and what is received belongs to the receiver.
fn copy(number: RawFd) -> Result<OwnedFd, Errno> {
    if !is_open(number) {
        return Err(Errno::EBADF);
    }
    let (here, there) = UnixStream::pair().map_err(errno)?;
    let numbers = [number];
    let message = [ControlMessage::ScmRights(&numbers)];
    let bytes = [IoSlice::new(&[0])];
    sendmsg::<UnixAddr>(here.as_raw_fd(), &bytes, &message, MsgFlags::empty(), None)?;
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut received = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(&there, &mut [IoSliceMut::new(&mut byte)], &mut received, RecvFlags::CMSG_CLOEXEC)
        .map_err(|error| Errno::from_raw(error.raw_os_error()))?;
    let descriptor = received.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    // What was sent comes, unless no descriptor is left for it.
    descriptor.ok_or(Errno::EMFILE)
}

fn errno(error: io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// Whether it is a stream socket that listens.
fn check(socket: &OwnedFd) -> Result<(), &'static str> {
    match socket_type(socket) {
        Ok(SocketType::STREAM) => {}
        Ok(_) => return Err("is a socket, but not a stream socket"),
        Err(_) => return Err("is not a socket"),
    }
    match socket_domain(socket) {
        Ok(AddressFamily::INET | AddressFamily::INET6 | AddressFamily::UNIX) => {}
        Ok(_) | Err(_) => return Err("is a socket of neither TCP nor a Unix path"),
    }
    match socket_acceptconn(socket) {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err("is a socket that does not listen"),
    }
}

/// The socket as the loop takes it. O_NONBLOCK belongs to the open file, which is shared
/// with whoever else holds the socket: an accept that waits would make the loop wait, and
/// each generation sets it for itself.
pub fn listener(socket: &OwnedFd) -> io::Result<Listener> {
    let socket = socket.try_clone()?;
    if socket_domain(&socket)? == AddressFamily::UNIX {
        let listener = UnixListener::from(socket);
        listener.set_nonblocking(true)?;
        return Ok(Listener::Unix(mio::net::UnixListener::from_std(listener)));
    }
    let listener = net::TcpListener::from(socket);
    listener.set_nonblocking(true)?;
    Ok(Listener::Tcp(mio::net::TcpListener::from_std(listener)))
}

/// Lets `sockets` through an exec of this process, and says how they are found then.
pub fn leave_in_place(sockets: &[OwnedFd]) -> Option<(&'static str, String)> {
    let mut numbers = Vec::new();
    for socket in sockets {
        fcntl(socket, FcntlArg::F_SETFD(FdFlag::empty())).ok()?;
        numbers.push(socket.as_raw_fd().to_string());
    }
    (!numbers.is_empty())
        .then(|| (IN_PLACE, format!("{}:{}", std::process::id(), numbers.join(","))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(variables: &[(&str, &str)]) -> Result<Vec<Offer>, Failure> {
        let find = |name: &str| {
            variables.iter().find(|(own, _)| *own == name).map(|(_, text)| (*text).to_owned())
        };
        offers(&find, 77)
    }

    fn named(number: RawFd, name: &str) -> Offer {
        let name = Some(name.to_owned()).filter(|name| !name.is_empty());
        Offer { number, source: "LISTEN_FDS", name }
    }

    #[test]
    fn variables_of_another_process_are_not_ours() {
        assert_eq!(offered(&[]).unwrap(), []);
        assert_eq!(offered(&[("LISTEN_FDS", "1")]).unwrap(), []);
        assert_eq!(offered(&[("LISTEN_FDS", "1"), ("LISTEN_PID", "78")]).unwrap(), []);
        assert_eq!(offered(&[("LISTEN_FDS", "1"), ("LISTEN_PID", "x")]).unwrap(), []);
        assert_eq!(offered(&[("LISTEN_FDS", "0"), ("LISTEN_PID", "77")]).unwrap(), []);
        assert_eq!(offered(&[(IN_PLACE, "78:4"), ("LISTEN_PID", "78")]).unwrap(), []);
    }

    #[test]
    fn a_count_that_is_none_is_refused() {
        for text in ["x", "-1", "", "2147483647"] {
            let failure = offered(&[("LISTEN_FDS", text), ("LISTEN_PID", "77")]).unwrap_err();
            assert!(failure.line.starts_with("LISTEN_FDS: "), "{}", failure.line);
        }
    }

    #[test]
    fn sockets_named_for_us_are_listened_on_else_all() {
        let all = vec![named(3, "a"), named(4, ""), named(5, "b")];
        assert_eq!(choose(all.clone(), &[]), (all, vec![]));
        let some = vec![named(3, "metrics"), named(4, "http"), named(5, "gateway")];
        let (wanted, left) = choose(some, &[]);
        assert_eq!(wanted, [named(4, "http"), named(5, "gateway")]);
        assert_eq!(left, [named(3, "metrics")]);
    }

    #[test]
    fn numbers_of_the_option_count_before_the_variables() {
        let (wanted, left) = choose(vec![named(3, "http"), named(4, "")], &[4]);
        assert_eq!((wanted[0].number, wanted[0].source), (4, "--fd"));
        assert_eq!((wanted.len(), left), (1, vec![named(3, "http")]));
        let own = offered(&[(IN_PLACE, "77:12,9")]).unwrap();
        let (wanted, left) = choose(own, &[4]);
        assert_eq!(wanted.iter().map(|offer| offer.number).collect::<Vec<_>>(), [12, 9]);
        assert_eq!(left, []);
    }

    #[test]
    fn only_stream_sockets_that_listen_are_taken() {
        let listening = net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(check(&listening.into()), Ok(()));
        let (stream, _other) = UnixStream::pair().unwrap();
        assert_eq!(check(&stream.into()), Err("is a socket that does not listen"));
        let datagrams = net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(check(&datagrams.into()), Err("is a socket, but not a stream socket"));
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        assert_eq!(check(&file.into()), Err("is not a socket"));
        assert_eq!(copy(RawFd::MAX).unwrap_err(), Errno::EBADF);
    }
}
