//! The sockets of `--listen`: made before the first generation, kept through every restart, let
//! go when a stop is told to the child.

use super::Init;
use crate::core::{Next, Phase};
use crate::kernel::listen::{self, Taken};
use crate::kernel::{Errno, descriptors, port};
use crate::leftovers::name_of;
use crate::sockets::{self, Place, Wanted};
use std::fmt::Write;

/// The first descriptor of sd_listen_fds(3).
const FIRST: i32 = 3;

impl Init {
    /// Makes them. Nothing of clawinit's own may be open yet: they get the numbers from
    /// [`FIRST`] on. `Err`: the code to leave with.
    pub(super) fn open_sockets(&mut self) -> Result<(), u8> {
        let mut names = String::new();
        let mut variables = self.config.listen_env.and_then(|list| list.to_str().ok());
        for (place, wanted) in sockets::known(self.config.listen).enumerate() {
            let number = FIRST + place as i32;
            match open(&wanted) {
                Ok(fd) if fd == number => {}
                Ok(_) => {
                    return Err(self.cannot_start(format_args!(
                        "--listen: descriptor {number} is taken by something that clawinit was handed, and the sockets have to begin at {FIRST}; start it without"
                    )));
                }
                Err(why) => return Err(self.cannot_start(format_args!("--listen: {why}"))),
            }
            self.sockets += 1;
            let colon = if place == 0 { "" } else { ":" };
            let _ = write!(names, "{colon}{}", wanted.name);
            if let Some(list) = variables {
                let (name, rest) = list.split_once(',').map_or((list, None), |(n, r)| (n, Some(r)));
                self.environment.set(name, &number.to_string());
                variables = rest;
            }
        }
        if self.sockets > 0 {
            self.environment.set("LISTEN_FDS", &self.sockets.to_string());
            self.environment.set("LISTEN_FDNAMES", &names);
            self.environment.set_to_pid("LISTEN_PID");
        }
        Ok(())
    }

    /// Closes clawinit's own copies: the child's are the only ones from here on, and the port is
    /// free as soon as it closes them.
    pub(super) fn let_go_of_sockets(&mut self) {
        if self.sockets > 0 {
            descriptors::close_range(FIRST, FIRST + self.sockets - 1);
            self.sockets = 0;
        }
    }

    /// Where nobody will accept any more, nobody shall wait for it either.
    pub(super) fn let_go_of_sockets_when_leaving(&mut self) {
        if matches!(self.state.phase, Phase::Sweeping { next: Next::Leave, .. }) {
            self.let_go_of_sockets();
        }
    }

    /// Whether the port of `--port` is one that clawinit itself keeps open.
    pub(super) fn keeps_port_open(&self) -> bool {
        let kept = |wanted: Wanted| match wanted.place {
            Place::Tcp(address) => Some(address.port()) == self.config.port,
            Place::Unix(_) => false,
        };
        self.sockets > 0 && sockets::known(self.config.listen).any(kept)
    }
}

/// Errors: a line for people.
fn open(wanted: &Wanted) -> Result<i32, String> {
    let written = wanted.written;
    match wanted.place {
        Place::Tcp(address) => listen::tcp(address).map_err(|errno| {
            let more = match errno.0 {
                libc::EADDRINUSE => match port::listener(address.port()).and_then(port::holder) {
                    Some((pid, name)) => format!(" by pid {pid} ({name}); stop it, or write another port"),
                    None => "; stop who has it, or write another port".to_owned(),
                },
                libc::EACCES => "; ports below net.ipv4.ip_unprivileged_port_start take CAP_NET_BIND_SERVICE: write a higher one".to_owned(),
                libc::EADDRNOTAVAIL => "; no interface has this address: write 0.0.0.0 or [::]".to_owned(),
                libc::EAFNOSUPPORT if address.is_ipv6() => "; there is no IPv6 here: write 0.0.0.0".to_owned(),
                _ => for_descriptors(errno),
            };
            format!("{written}: {errno}{more}")
        }),
        Place::Unix(path) => listen::unix(path).map_err(|taken| match taken {
            Taken::By(0) => format!("{written}: a process that clawinit may not see listens there; stop it, or write another path"),
            Taken::By(pid) => {
                let name = name_of(pid);
                format!("{written}: pid {pid} ({name}) listens there; stop it, or write another path")
            }
            Taken::NoSocket => format!("{written}: there is something that is no socket; remove it, or write another path"),
            Taken::Errno(errno) => {
                let more = match errno.0 {
                    libc::ENOENT => "; its folder is not there: make it".to_owned(),
                    libc::EACCES | libc::EPERM => "; clawinit may not write in its folder".to_owned(),
                    libc::EROFS => "; write a path on a volume or a tmpfs".to_owned(),
                    _ => for_descriptors(errno),
                };
                format!("{written}: {errno}{more}")
            }
        }),
    }
}

fn for_descriptors(errno: Errno) -> String {
    match errno.0 {
        libc::EMFILE => "; raise the limit of open files (ulimit -n, nofile)".to_owned(),
        _ => String::new(),
    }
}
