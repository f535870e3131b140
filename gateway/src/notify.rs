//! What the gateway tells whoever supervises it, by the protocol of sd_notify(3) and
//! sd_watchdog_enabled(3). Nothing here waits: a supervisor that does not read must not
//! hold the gateway up.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// From a message that found no room to the next try.
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// What is told.
pub enum News<'a> {
    /// It starts; at most so much longer than a start usually takes.
    Starting(Option<Duration>),
    /// It takes work.
    Ready(&'a str),
    /// It ends within that time.
    Stopping(&'a str, Duration),
    /// It will be back, in the same process.
    Reloading(&'a str),
}

/// The way to the supervisor, where there is one.
pub struct Notify {
    line: Option<Line>,
    /// From one sign of life to the next, where they are wanted.
    every: Option<Duration>,
    alive_at: Option<Instant>,
    /// What has found no room yet. Only the newest counts.
    unsent: Option<(String, Instant)>,
    fails: bool,
}

struct Line {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Notify {
    /// As the environment says. What is wrong with it is logged, and no reason not to
    /// serve.
    pub fn from_environment() -> Self {
        let line = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()).and_then(|name| {
            Line::to(&name)
                .inspect_err(|error| {
                    log::warn!(
                        "NOTIFY_SOCKET: \"{}\" {error}; the supervisor will not hear from this gateway",
                        name.display()
                    );
                })
                .ok()
        });
        let every = line.is_some().then(|| interval(&|name| env::var_os(name))).flatten();
        Self { line, every, alive_at: every.map(|_| Instant::now()), unsent: None, fails: false }
    }

    /// Tells it, now or as soon as there is room.
    pub fn tell(&mut self, news: &News<'_>, now: Instant) {
        self.send(text(news), now);
    }

    /// Gives the sign of life that is due, and tells what had no room. Called by the loop
    /// and by nothing else: a loop that hangs gives none.
    pub fn tick(&mut self, now: Instant) {
        if let Some((message, when)) = self.unsent.take() {
            if when <= now {
                self.send(message, now);
            } else {
                self.unsent = Some((message, when));
            }
        }
        if let (Some(every), Some(when)) = (self.every, self.alive_at)
            && when <= now
        {
            let sent = self.try_send("WATCHDOG=1");
            self.alive_at = Some(now + if sent { every } else { every.min(TRY_AGAIN) });
        }
    }

    /// When [`Notify::tick`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let unsent = self.unsent.as_ref().map(|(_, when)| *when);
        [unsent, self.alive_at].into_iter().flatten().min()
    }

    fn send(&mut self, message: String, now: Instant) {
        self.unsent = (!self.try_send(&message)).then(|| (message, now + TRY_AGAIN));
    }

    /// Whether there is nothing left to do about it: it was sent, or can never be.
    fn try_send(&mut self, message: &str) -> bool {
        let Some(line) = &self.line else { return true };
        match line.socket.send_to_addr(message.as_bytes(), &line.address) {
            Ok(_) => {
                self.fails = false;
                true
            }
            // ENOBUFS has no kind of its own.
            Err(error)
                if error.kind() == io::ErrorKind::WouldBlock
                    || error.raw_os_error() == Some(nix::libc::ENOBUFS) =>
            {
                false
            }
            Err(error) => {
                if !self.fails {
                    log::warn!("the supervisor cannot be told ({error}); going on");
                }
                self.fails = true;
                true
            }
        }
    }
}

impl Line {
    fn to(name: &OsString) -> io::Result<Self> {
        let unusable = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
        let address = match name.as_bytes() {
            [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest),
            [b'/', ..] => SocketAddr::from_pathname(name),
            bytes if bytes.starts_with(b"vsock") => {
                return Err(unusable("is a socket of another machine, which is not known here"));
            }
            _ => return Err(unusable("is neither a path from the root nor an @name")),
        }
        .map_err(|error| unusable(&format!("cannot be an address: {error}")))?;
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address })
    }
}

/// Half of the time after which silence counts as death, as sd_watchdog_enabled(3) wants
/// it; none where no signs of life are asked for, or somebody else's.
fn interval(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<Duration> {
    let number = |name: &str| variable(name).map(|text| text.to_str()?.parse::<u64>().ok());
    match number("WATCHDOG_PID") {
        None => {}
        Some(pid) if pid == Some(u64::from(std::process::id())) => {}
        Some(_) => return None,
    }
    match number("WATCHDOG_USEC")? {
        Some(0) => None,
        Some(micros) => Some(Duration::from_micros(micros) / 2),
        None => {
            log::warn!("WATCHDOG_USEC is no number of microseconds; no sign of life is given");
            None
        }
    }
}

fn text(news: &News<'_>) -> String {
    match news {
        News::Starting(longer) => {
            format!("STATUS=opening the memory{}", longer.map_or_else(String::new, extend))
        }
        News::Ready(status) => format!("READY=1\nSTATUS={status}"),
        News::Stopping(status, longest) => {
            format!("STOPPING=1\nSTATUS={status}{}", extend(*longest))
        }
        News::Reloading(status) => {
            // sd_notify(3): RELOADING=1 comes with the time at which it was sent.
            let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Into::into);
            format!("RELOADING=1\nMONOTONIC_USEC={}\nSTATUS={status}", now.as_micros())
        }
    }
}

/// A time that the supervisor should grant at least. It never shortens the one it has
/// anyway, and it is told once: a gateway that hangs in the meantime gets no more of it.
fn extend(time: Duration) -> String {
    format!("\nEXTEND_TIMEOUT_USEC={}", time.as_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(usec: Option<&str>, pid: Option<String>) -> Option<Duration> {
        interval(&|name| match name {
            "WATCHDOG_USEC" => usec.map(OsString::from),
            _ => pid.clone().map(OsString::from),
        })
    }

    #[test]
    fn signs_of_life_come_twice_as_often_as_they_must() {
        assert_eq!(every(Some("3000000"), None), Some(Duration::from_millis(1500)));
        let own = std::process::id();
        assert_eq!(every(Some("2000"), Some(own.to_string())), Some(Duration::from_millis(1)));
    }

    #[test]
    fn no_signs_of_life_where_none_are_wanted_or_another_process_gives_them() {
        assert_eq!(every(None, None), None);
        assert_eq!(every(Some("0"), None), None);
        assert_eq!(every(Some("soon"), None), None);
        assert_eq!(every(Some("2000"), Some("1".to_owned())), None);
        assert_eq!(every(Some("2000"), Some("x".to_owned())), None);
    }

    #[test]
    fn only_addresses_of_this_machine_are_taken() {
        let to = |name: &str| Line::to(&OsString::from(name)).map(drop).map_err(|e| e.to_string());
        assert_eq!(to("@a name"), Ok(()));
        assert_eq!(to("/run/notify"), Ok(()));
        assert!(to("vsock:2:1234").unwrap_err().contains("another machine"));
        assert!(to("notify").unwrap_err().contains("neither"));
        assert!(to(&"/x".repeat(200)).unwrap_err().contains("cannot be an address"));
    }
}
