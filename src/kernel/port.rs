//! Who listens on a TCP port: sock_diag(7), and the descriptors of `/proc/PID/fd`. Only for
//! `--port`.

use super::Errno;
use super::descriptors::{find_in_folder, read_whole};
use std::ffi::CString;
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// The kernel's `TCP_LISTEN`; in `/proc/net/tcp` it is written in hexadecimal.
const LISTEN: u8 = 10;

/// Sizes and offsets of linux/netlink.h and linux/inet_diag.h.
const HEADER_BYTES: usize = 16;
const REQUEST_BYTES: usize = HEADER_BYTES + 56;
const ANSWER_INODE: usize = HEADER_BYTES + 68;

/// The inode of a socket that listens on `port`, on any address of this network namespace.
pub fn listener(port: u16) -> Option<u64> {
    ask_kernel(port).unwrap_or_else(|_| {
        // No sock_diag in this kernel. Slow where the table of connections is large.
        [c"/proc/self/net/tcp", c"/proc/self/net/tcp6"]
            .iter()
            .filter_map(|table| read_whole(table))
            .find_map(|table| find_listener(&table, port))
    })
}

/// Asks for the listening sockets of one port, first by IPv4, then by IPv6. The answers are in
/// the queue when the request has been sent, so nothing waits.
fn ask_kernel(port: u16) -> Result<Option<u64>, Errno> {
    // SAFETY: touches no memory.
    let socket = unsafe {
        libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_SOCK_DIAG)
    };
    let socket = Errno::check(i64::from(socket))? as i32;
    // SAFETY: ours, just opened.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    for family in [libc::AF_INET, libc::AF_INET6] {
        let request = request(family as u8, port);
        // SAFETY: the bytes are readable, and their length is given.
        let sent = unsafe {
            libc::send(
                socket.as_raw_fd(),
                request.as_ptr().cast(),
                request.len(),
                libc::MSG_DONTWAIT,
            )
        };
        Errno::check(sent as i64)?;
        let mut done = false;
        while !done {
            let mut buffer = [0u8; 2048];
            // SAFETY: the buffer is ours, and its length is given.
            let got = unsafe {
                let (start, length) = (buffer.as_mut_ptr().cast(), buffer.len());
                libc::recv(socket.as_raw_fd(), start, length, libc::MSG_DONTWAIT)
            };
            let got = Errno::check(got as i64)? as usize;
            match read_answer(&buffer[..got]) {
                Answer::Listener(inode) => return Ok(Some(inode)),
                Answer::More => {}
                Answer::Done => done = true,
                Answer::Failed => return Err(Errno(libc::EOPNOTSUPP)),
            }
        }
    }
    Ok(None)
}

/// A SOCK_DIAG_BY_FAMILY dump for TCP sockets in the state LISTEN with this source port.
fn request(family: u8, port: u16) -> [u8; REQUEST_BYTES] {
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    let mut bytes = [0; REQUEST_BYTES];
    bytes[0..4].copy_from_slice(&(REQUEST_BYTES as u32).to_ne_bytes());
    bytes[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
    bytes[HEADER_BYTES] = family;
    bytes[HEADER_BYTES + 1] = libc::IPPROTO_TCP as u8;
    bytes[HEADER_BYTES + 4..HEADER_BYTES + 8].copy_from_slice(&(1u32 << LISTEN).to_ne_bytes());
    bytes[HEADER_BYTES + 8..HEADER_BYTES + 10].copy_from_slice(&port.to_be_bytes());
    bytes
}

/// What a netlink message says.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// A socket listens; its inode.
    Listener(u64),
    /// More messages follow.
    More,
    /// That was all.
    Done,
    /// The kernel refuses, or it makes no sense.
    Failed,
}

/// Reads the messages of one answer, up to the first that decides it.
pub fn read_answer(mut bytes: &[u8]) -> Answer {
    const NLMSG_NOOP: u16 = 1;
    const NLMSG_ERROR: u16 = 2;
    const NLMSG_DONE: u16 = 3;
    while let Some(header) = bytes.get(..HEADER_BYTES) {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        match u16::from_ne_bytes([header[4], header[5]]) {
            NLMSG_DONE => return Answer::Done,
            NLMSG_ERROR => return Answer::Failed,
            NLMSG_NOOP => {}
            _ => {
                return match bytes.get(ANSWER_INODE..ANSWER_INODE + 4) {
                    Some(inode) if length >= ANSWER_INODE + 4 => {
                        Answer::Listener(u64::from(u32::from_ne_bytes([
                            inode[0], inode[1], inode[2], inode[3],
                        ])))
                    }
                    _ => Answer::Failed,
                };
            }
        }
        bytes = bytes.get(length.max(HEADER_BYTES).next_multiple_of(4)..).unwrap_or_default();
    }
    Answer::More
}

/// The inode of a socket that listens on `port`, in a table of connections:
/// sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode ...
pub fn find_listener(table: &str, port: u16) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        let local = columns.nth(1)?;
        let state = columns.nth(1)?;
        let inode = columns.nth(5)?;
        let (_, hex) = local.rsplit_once(':')?;
        (u8::from_str_radix(state, 16) == Ok(LISTEN) && u16::from_str_radix(hex, 16) == Ok(port))
            .then(|| inode.parse().ok())
            .flatten()
    })
}

/// A process that has this socket open, with its name; `None` where we may not look.
pub fn holder(inode: u64) -> Option<(i32, String)> {
    if !super::descendants::proc_is_ours() {
        return None; // its pids are those of another namespace
    }
    let link = format!("socket:[{inode}]");
    find_in_folder(c"/proc", |name| {
        let pid: i32 = name.to_str().ok()?.parse().ok()?;
        let folder = CString::new(format!("/proc/{pid}/fd")).ok()?;
        find_in_folder(&folder, |fd| {
            let path = format!("/proc/{pid}/fd/{}", fd.to_str().ok()?);
            fs::read_link(path).is_ok_and(|to| to.as_os_str() == &*link).then_some(())
        })?;
        let mut name = [0; 32];
        let name = String::from_utf8_lossy(super::descendants::read(pid, "comm", &mut name));
        Some((pid, name.trim_end().to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:22B8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0
   1: 0100007F:22B8 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0
";

    #[test]
    fn the_listening_socket_of_a_port_is_found_and_no_connection() {
        assert_eq!(find_listener(TABLE, 8888), Some(4711));
        assert_eq!(find_listener(TABLE, 8080), None);
    }

    #[test]
    fn a_table_that_makes_no_sense_holds_no_listener() {
        for table in ["", "\n\n", "a\nb c d e f g h i j", "x\n0: : 0A"] {
            assert_eq!(find_listener(table, 8888), None);
        }
    }

    #[test]
    fn the_holder_of_a_real_port_is_named_until_it_lets_go() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(socket) = std::net::TcpListener::bind(address) else { continue };
            let port = socket.local_addr().unwrap().port();
            let inode = listener(port).expect("a listener");
            let (pid, name) = holder(inode).expect("a holder");
            assert_eq!(pid, std::process::id() as i32);
            assert!(!name.is_empty());
            drop(socket);
            assert_eq!(listener(port), None);
        }
    }

    #[test]
    fn the_kernel_and_proc_name_the_same_socket() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let table = fs::read_to_string("/proc/self/net/tcp").unwrap();
        assert_eq!(ask_kernel(port), Ok(find_listener(&table, port)));
    }

    #[test]
    fn an_answer_that_makes_no_sense_is_no_listener() {
        assert_eq!(read_answer(&[]), Answer::More);
        assert_eq!(read_answer(&[0; 15]), Answer::More);
        assert_eq!(read_answer(&[7; 40]), Answer::Failed);
        let mut error = [0; 36];
        (error[0], error[4]) = (36, 2);
        assert_eq!(read_answer(&error), Answer::Failed);
        let mut nothing_then_done = [0; 32];
        (nothing_then_done[0], nothing_then_done[4]) = (16, 1);
        (nothing_then_done[16], nothing_then_done[20]) = (16, 3);
        assert_eq!(read_answer(&nothing_then_done), Answer::Done);
    }
}
