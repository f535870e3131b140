//! Who listens on a TCP port, from `/proc/net/tcp` and the descriptors of `/proc/PID/fd`.
//! Only for `--port`: this allocates and reads files, and is asked for nothing else.

use std::fs;

/// The state of a listening socket in `/proc/net/tcp` (the kernel's `TCP_LISTEN`).
const LISTEN: &str = "0A";

/// The inode of a socket that listens on `port`, on any address of this network namespace.
pub fn listener(port: u16) -> Option<u64> {
    ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .find_map(|table| find_listener(&table, port))
}

/// sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode ...
fn find_listener(table: &str, port: u16) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        let local = columns.nth(1)?;
        let state = columns.nth(1)?;
        let inode = columns.nth(5)?;
        let (_, hex) = local.rsplit_once(':')?;
        (state == LISTEN && u16::from_str_radix(hex, 16) == Ok(port))
            .then(|| inode.parse().ok())
            .flatten()
    })
}

/// A process that has this socket open, with its name; `None` where we may not look.
pub fn holder(inode: u64) -> Option<(i32, String)> {
    let link = format!("socket:[{inode}]");
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(entry.path().join("fd")) else { continue };
        let holds = descriptors
            .flatten()
            .any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target.as_os_str() == &*link));
        if holds {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            return Some((pid, name.trim_end().to_owned()));
        }
    }
    None
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
    fn the_holder_of_a_real_port_is_named() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let inode = listener(socket.local_addr().unwrap().port()).expect("a listener");
        let (pid, name) = holder(inode).expect("a holder");
        assert_eq!(pid, std::process::id() as i32);
        assert!(!name.is_empty());
    }
}
