//! The port: how it is bound, and who has it when it cannot be.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use mio::net::TcpListener;
use nix::sys::socket::{self, Backlog};

use crate::failure::Failure;
use crate::process;
use crate::sockets::{Address, Client, Listener, Place};

/// A connection to an address of our own is answered at once or refused at once.
const LOCAL_WAIT: Duration = Duration::from_millis(500);

/// Listens on `port`: on `address`, or where none is given on every address of both
/// protocol versions. Port 0 is any free one. The place that it came to is returned.
pub fn listen(address: Option<IpAddr>, port: u16) -> Result<(Vec<Listener>, Place), Failure> {
    let result = match address {
        Some(address) => bind(address, port).map(|listener| vec![listener]),
        None => listen_everywhere(port),
    };
    let listeners = result.map_err(|error| explain(&error, address, port))?;
    let port = match listeners.first().map(TcpListener::local_addr) {
        Some(Ok(local)) => local.port(),
        Some(Err(_)) | None => port,
    };
    let listeners = listeners.into_iter().map(Listener::Tcp).collect();
    Ok((listeners, Place { bind: address, port, path: None }))
}

/// One socket on `[::]` takes IPv4 as well, unless the host says otherwise (ipv6(7),
/// `bindv6only`); hosts without IPv6 have only IPv4.
fn listen_everywhere(port: u16) -> io::Result<Vec<TcpListener>> {
    match bind(Ipv6Addr::UNSPECIFIED.into(), port) {
        Ok(listener) => {
            let only_v6 = fs::read_to_string("/proc/sys/net/ipv6/bindv6only")
                .is_ok_and(|text| text.trim() == "1");
            if !only_v6 {
                return Ok(vec![listener]);
            }
            let port = listener.local_addr()?.port();
            Ok(vec![listener, bind(Ipv4Addr::UNSPECIFIED.into(), port)?])
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        Err(_) => Ok(vec![bind(Ipv4Addr::UNSPECIFIED.into(), port)?]),
    }
}

/// mio sets SO_REUSEADDR, so connections of the last generation that linger in
/// TIME_WAIT do not keep the port from the next.
fn bind(address: IpAddr, port: u16) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(SocketAddr::new(address, port))?;
    // mio has 128 wait for us at the most, which is what musl calls SOMAXCONN. Nobody tells
    // those that come over that: their kernel asks again after a second. As many as ours lets.
    socket::listen(&listener, Backlog::MAXALLOWABLE)?;
    Ok(listener)
}

fn explain(error: &io::Error, address: Option<IpAddr>, port: u16) -> Failure {
    Failure::failed(match error.kind() {
        io::ErrorKind::AddrInUse => {
            let holder = holder(port)
                .unwrap_or_else(|| "a process that cannot be seen from here".to_owned());
            format!("port {port} is taken by {holder}; stop it, or choose another port with --port")
        }
        io::ErrorKind::PermissionDenied => {
            format!("port {port} is not allowed for this user; choose one above 1023 with --port")
        }
        io::ErrorKind::AddrNotAvailable => {
            let address = address.map_or_else(String::new, |address| address.to_string());
            format!(
                "--bind: {address} is no address of this machine; leave --bind out to listen on all"
            )
        }
        _ => format!("port {port} cannot be opened: {error}"),
    })
}

/// The process that listens on `port`, as `pid 12 (nginx)`.
pub fn holder(port: u16) -> Option<String> {
    let inodes = listening_inodes(port)?;
    let links: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(entry.path().join("fd")) else { continue };
        for descriptor in descriptors.flatten() {
            let target = fs::read_link(descriptor.path()).unwrap_or_default();
            if target.to_str().is_some_and(|target| links.iter().any(|link| link == target)) {
                let name =
                    process::stat(pid).map_or_else(String::new, |stat| format!(" ({})", stat.name));
                return Some(format!("pid {pid}{name}"));
            }
        }
    }
    None
}

/// Whether anybody listens on one of `addresses`, which are this machine's. A connection
/// tells in microseconds; /proc/net/tcp takes a millisecond for every 1,000 connections.
pub fn is_open(addresses: &[Address]) -> bool {
    addresses.iter().any(|address| Client::connect(address, LOCAL_WAIT).is_ok())
}

/// The inodes of sockets that listen on `port`; none without /proc.
fn listening_inodes(port: u16) -> Option<Vec<u64>> {
    let mut inodes = Vec::new();
    let v4 = fs::read_to_string("/proc/net/tcp").ok()?;
    let v6 = fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
    for line in v4.lines().chain(v6.lines()) {
        // proc_net(5): sl local_address rem_address st … inode; 0A is LISTEN.
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        if let [_, local, _, "0A", ..] = fields.as_slice()
            && let Some((_, digits)) = local.rsplit_once(':')
            && u16::from_str_radix(digits, 16) == Ok(port)
        {
            inodes.extend(fields.get(9).and_then(|inode| inode.parse::<u64>().ok()));
        }
    }
    Some(inodes)
}
