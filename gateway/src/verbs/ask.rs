//! What `stop`, `restart` and `status` have in common.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};

use super::client;
use crate::cli::Ask;
use crate::failure::Failure;
use crate::lock::{self, Holder, Look, nix_pid};
use crate::process;
use crate::supervisor::Kind;

/// flock(2) and the end of somebody else's child cannot be waited for with a bound, so
/// they are looked at this often.
pub const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// How long a gateway may take from its lock to its name in it.
const NAME_WAIT: Duration = Duration::from_secs(2);
/// What one question to the gateway may take.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// The gateway that runs on the state folder, if one does.
pub fn holder(ask: &Ask) -> Result<Option<Holder>, Failure> {
    let until = Instant::now() + NAME_WAIT;
    loop {
        match look(ask)? {
            Look::Free => return Ok(None),
            Look::Held(Some(holder)) => return Ok(Some(holder)),
            Look::Held(None) if Instant::now() < until => thread::sleep(LOOK_AGAIN),
            Look::Held(None) => {
                return Err(Failure::failed(format!(
                    "the lock in {} is held, but its holder has not written who it is",
                    ask.state_dir.display()
                )));
            }
        }
    }
}

/// Who holds the lock now.
pub fn look(ask: &Ask) -> Result<Look, Failure> {
    lock::look(&ask.state_dir).map_err(|error| {
        Failure::failed(format!(
            "the lock {} cannot be read: {error}; run the verb as the gateway's user, or name its folder with --state-dir",
            ask.state_dir.join(lock::FILE).display()
        ))
    })
}

/// Where the gateway answers.
pub fn address(ask: &Ask, holder: Option<&Holder>) -> String {
    ask.address
        .clone()
        .unwrap_or_else(|| format!("127.0.0.1:{}", holder.map_or(ask.port, |holder| holder.port)))
}

/// GET of a path of the gateway.
pub fn get(ask: &Ask, holder: Option<&Holder>, path: &str) -> io::Result<(u16, Vec<u8>)> {
    client::get(
        &address(ask, holder),
        path,
        ask.token.as_ref(),
        ask.timeout.clamp(LOOK_AGAIN, ANSWER_WAIT),
    )
}

/// Sends `signal` to whoever acts on it for this gateway: clawinit when that is its
/// parent still, else the gateway itself.
pub fn send(ask: &Ask, holder: &Holder, signal: Signal) -> Result<(), Failure> {
    if !holder.is_in_our_namespace() {
        return Err(Failure::failed(format!(
            "the gateway on {} runs in another container, where its pid {} means something; run the verb there",
            ask.state_dir.display(),
            holder.pid
        )));
    }
    let (name, pid) = target(holder);
    progress(ask, &format!("sending {signal} to {name}, pid {pid}"));
    match kill(nix_pid(pid), signal) {
        Ok(()) => Ok(()),
        // It ended by itself just now, and the wait that follows sees that.
        Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(Failure::failed(format!(
            "{name}, pid {pid}, cannot be sent {signal}: {}; run the verb as its user or as root",
            error.desc()
        ))),
    }
}

fn target(holder: &Holder) -> (&'static str, u32) {
    let supervisor = holder.supervisor;
    let is_parent_still = match process::stat(holder.pid) {
        Some(stat) => stat.parent == supervisor.pid,
        None => kill(nix_pid(supervisor.pid), None) != Err(Errno::ESRCH),
    };
    match supervisor.kind {
        Kind::Clawinit if is_parent_still => ("clawinit", supervisor.pid),
        Kind::Clawinit | Kind::Systemd | Kind::Unknown => ("the gateway", holder.pid),
    }
}

/// A line for whoever watches.
pub fn progress(ask: &Ask, line: &str) {
    if !ask.json {
        // A closed stderr is no reason to stop half-way.
        let _ = writeln!(io::stderr(), "openclaw: {line}");
    }
}

/// What a verb prints on stdout, as one line of JSON.
#[derive(Default, serde::Serialize)]
pub struct Outcome<'a> {
    /// Where the gateway stands now.
    pub status: &'a str,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
    /// The generation that the status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Its process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Its port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Seconds served by all generations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime: Option<u64>,
    /// How long the verb took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u128>,
}

/// Prints the outcome.
pub fn outcome(outcome: &Outcome<'_>, code: u8) -> Result<ExitCode, Failure> {
    // Strings and numbers always make JSON.
    print(&serde_json::to_string(outcome).unwrap_or_default(), code)
}

/// Prints a line of JSON.
pub fn print(line: &str, code: u8) -> Result<ExitCode, Failure> {
    writeln!(io::stdout(), "{line}")
        .and_then(|()| io::stdout().flush())
        .map_err(|error| Failure::failed(format!("the outcome cannot be printed: {error}")))?;
    Ok(ExitCode::from(code))
}

/// Shows once a second that a wait goes on.
pub struct Patience<'a> {
    ask: &'a Ask,
    begun: Instant,
    next: Duration,
}

impl<'a> Patience<'a> {
    /// A wait that begins now.
    pub fn new(ask: &'a Ask) -> Self {
        Self { ask, begun: Instant::now(), next: Duration::from_secs(1) }
    }

    /// Time since its beginning.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Whether the time is over.
    pub fn is_over(&self) -> bool {
        self.elapsed() >= self.ask.timeout
    }

    /// Waits a moment for `what`.
    pub fn wait(&mut self, what: &str) {
        if self.elapsed() >= self.next {
            progress(self.ask, &format!("{what} ({} s)", self.next.as_secs()));
            self.next += Duration::from_secs(1);
        }
        thread::sleep(LOOK_AGAIN);
    }
}
