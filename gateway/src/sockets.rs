//! Sockets of either kind: of a port, or of a path in the file system.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{self, IpAddr, Shutdown, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::time::Duration;

use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

/// Where a gateway listens, as log, lock file and verbs name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The address; all when none.
    pub bind: Option<IpAddr>,
    /// The port; 0 where it is a path.
    pub port: u16,
    /// The path of a Unix socket, or its abstract name behind an `@`.
    pub path: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(out, "unix:{path}"),
            None => write!(out, "port {}", self.port),
        }
    }
}

/// What a verb connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A port.
    Port(SocketAddr),
    /// A path, or an abstract name behind an `@`.
    Path(String),
}

/// A socket that listens.
pub enum Listener {
    /// On a port.
    Tcp(TcpListener),
    /// On a path.
    Unix(UnixListener),
}

impl Listener {
    /// The next connection that waits.
    pub fn accept(&self) -> io::Result<Stream> {
        Ok(match self {
            Self::Tcp(listener) => Stream::Tcp(listener.accept()?.0),
            Self::Unix(listener) => Stream::Unix(listener.accept()?.0),
        })
    }

    /// Where it listens.
    pub fn place(&self) -> io::Result<Place> {
        Ok(match self {
            Self::Tcp(listener) => {
                let address = listener.local_addr()?;
                Place { bind: Some(address.ip()), port: address.port(), path: None }
            }
            Self::Unix(listener) => {
                let address = listener.local_addr()?;
                let path = match (address.as_pathname(), address.as_abstract_name()) {
                    (Some(path), _) => path.display().to_string(),
                    (None, Some(name)) => format!("@{}", String::from_utf8_lossy(name)),
                    (None, None) => String::new(),
                };
                Place { bind: None, port: 0, path: Some(path) }
            }
        })
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(listener) => listener,
            Self::Unix(listener) => listener,
        }
    }
}

/// A connection.
pub enum Stream {
    /// To a port.
    Tcp(TcpStream),
    /// To a path.
    Unix(UnixStream),
}

impl Stream {
    /// Sends each write at once.
    pub fn set_nodelay(&self) {
        match self {
            // An answer is one write: nothing to gain from Nagle's delay.
            Self::Tcp(stream) => drop(stream.set_nodelay(true)),
            Self::Unix(_) => {}
        }
    }

    /// Closes the way out.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(how),
            Self::Unix(stream) => stream.shutdown(how),
        }
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(stream) => stream,
            Self::Unix(stream) => stream,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(bytes),
            Self::Unix(stream) => stream.read(bytes),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A verb's connection, all of whose waits have a bound.
pub enum Client {
    /// To a port.
    Port(net::TcpStream),
    /// To a path.
    Path(std::os::unix::net::UnixStream),
}

impl Client {
    /// Connects within `patience`.
    pub fn connect(address: &Address, patience: Duration) -> io::Result<Self> {
        Ok(match address {
            Address::Port(address) => {
                Self::Port(net::TcpStream::connect_timeout(address, patience)?)
            }
            Address::Path(path) => Self::Path(connect_path(path, patience)?),
        })
    }

    /// What the field Host says.
    pub fn host(&self) -> io::Result<String> {
        Ok(match self {
            Self::Port(stream) => stream.peer_addr()?.to_string(),
            // RFC 9110 section 7.2 wants one, and a path is none.
            Self::Path(_) => "localhost".to_owned(),
        })
    }

    /// What each read may take from now on.
    pub fn set_read_timeout(&self, time: Duration) -> io::Result<()> {
        match self {
            Self::Port(stream) => stream.set_read_timeout(Some(time)),
            Self::Path(stream) => stream.set_read_timeout(Some(time)),
        }
    }

    /// What each write may take from now on.
    pub fn set_write_timeout(&self, time: Duration) -> io::Result<()> {
        match self {
            Self::Port(stream) => stream.set_write_timeout(Some(time)),
            Self::Path(stream) => stream.set_write_timeout(Some(time)),
        }
    }
}

/// connect(2) to a path waits while the backlog is full, as long as SO_SNDTIMEO says.
fn connect_path(path: &str, patience: Duration) -> io::Result<std::os::unix::net::UnixStream> {
    let address = match path.strip_prefix('@') {
        Some(name) => UnixAddr::new_abstract(name.as_bytes())?,
        None => UnixAddr::new(path)?,
    };
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let micros = i64::try_from(patience.as_micros()).unwrap_or(i64::MAX);
    setsockopt(&socket, sockopt::SendTimeout, &TimeVal::microseconds(micros))?;
    connect(socket.as_raw_fd(), &address)?;
    Ok(socket.into())
}

impl Read for Client {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Port(stream) => stream.read(bytes),
            Self::Path(stream) => stream.read(bytes),
        }
    }
}

impl Write for Client {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Port(stream) => stream.write(bytes),
            Self::Path(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the poll watches goes by the socket inside.
macro_rules! watched {
    ($kind:ty) => {
        impl Source for $kind {
            fn register(
                &mut self,
                registry: &Registry,
                token: Token,
                interest: Interest,
            ) -> io::Result<()> {
                self.source().register(registry, token, interest)
            }

            fn reregister(
                &mut self,
                registry: &Registry,
                token: Token,
                interest: Interest,
            ) -> io::Result<()> {
                self.source().reregister(registry, token, interest)
            }

            fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
                self.source().deregister(registry)
            }
        }
    };
}

watched!(Listener);
watched!(Stream);
