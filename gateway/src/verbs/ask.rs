//! What `stop`, `restart` and `status` have in common.

use std::fs::File;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

pub use super::client::get;
use crate::cli::Ask;
use crate::failure::Failure;
use crate::lock::{self, Holder, Look};
use crate::process;
use crate::supervisor::Kind;

/// flock(2) and the end of somebody else's child cannot be waited for with a bound, so
/// they are looked at this often.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// What one question of many to the gateway may take.
pub const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// The gateway that runs on the state folder, if one does. One that has not written its
/// name yet is waited for.
pub fn holder(ask: &Ask, patience: &mut Patience<'_>) -> Result<Option<Holder>, Failure> {
    loop {
        match look(ask)? {
            Look::Free => return Ok(None),
            Look::Held(Some(holder)) => return Ok(Some(holder)),
            Look::Held(None) => {}
        }
        if patience.is_over() {
            return Err(unnamed(ask));
        }
        patience.wait("waiting for the gateway to write who it is");
    }
}

fn unnamed(ask: &Ask) -> Failure {
    Failure::failed(format!(
        "the lock in {} is held, and its holder has not written who it is; \
         wait for its start to end, or find it with: fuser {}",
        ask.state_dir.display(),
        ask.state_dir.join(lock::FILE).display()
    ))
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

/// Sends `signal` to whoever acts on it for the gateway that runs on the folder. Who
/// that is, and the watch which makes the gateway's last act wait for ours, is
/// returned; none when no gateway runs.
pub fn signal(
    ask: &Ask,
    signal: Signal,
    patience: &mut Patience<'_>,
) -> Result<Option<(Holder, Option<File>)>, Failure> {
    loop {
        let Some(holder) = holder(ask, patience)? else { return Ok(None) };
        check_port(ask, &holder)?;
        let watch = lock::watch(&ask.state_dir);
        if send(ask, &holder, signal)? {
            return Ok(Some((holder, watch)));
        }
        // Its process is gone, so the lock is on its way to be free or the next one's.
        if patience.is_over() {
            return Err(unnamed(ask));
        }
        patience.wait("waiting for the gateway to write who it is");
    }
}

/// Refuses a port that is not the one of the folder's gateway. A host is not compared:
/// where GATEWAY_URL is set for a whole container it has a name like
/// `http://openclaw-gateway:8888`, and signals reach only gateways of this machine.
fn check_port(ask: &Ask, holder: &Holder) -> Result<(), Failure> {
    match &ask.target {
        Some(target) if target.port != holder.port => Err(Failure::usage(format!(
            "{source}: the gateway on {folder} has {place}, not {other}; \
             leave {source} out, or name the other's folder with --state-dir",
            source = target.source,
            folder = ask.state_dir.display(),
            place = holder.place(),
            other = target.port
        ))),
        Some(_) | None => Ok(()),
    }
}

/// Sends `signal` to clawinit when that is the gateway's parent still, else to the
/// gateway itself; false when the gateway is gone.
fn send(ask: &Ask, holder: &Holder, signal: Signal) -> Result<bool, Failure> {
    if !holder.is_in_our_namespace() {
        return Err(Failure::failed(format!(
            "the gateway on {} runs in another container, where its pid {} means something; run the verb there",
            ask.state_dir.display(),
            holder.pid
        )));
    }
    if !holder.is_alive() {
        return Ok(false);
    }
    let (name, pid, start_time) = target(holder);
    match process::signal(pid, start_time, signal) {
        Ok(true) => {
            progress(ask, &format!("sending {signal} to {name}, pid {pid}"));
            Ok(true)
        }
        Ok(false) => Ok(false),
        Err(error) => Err(Failure::failed(format!(
            "{name}, pid {pid}, cannot be sent {signal}: {}; run the verb as its user or as root",
            error.desc()
        ))),
    }
}

fn target(holder: &Holder) -> (&'static str, u32, Option<u64>) {
    let supervisor = holder.supervisor;
    let is_parent_still = match process::stat(holder.pid) {
        Some(stat) => stat.parent == supervisor.pid,
        None => holder.is_supervisor_alive(),
    };
    match supervisor.kind {
        Kind::Clawinit if is_parent_still => {
            ("clawinit", supervisor.pid, holder.supervisor_start_time)
        }
        Kind::Clawinit | Kind::Systemd | Kind::Unknown => {
            ("the gateway", holder.pid, holder.start_time)
        }
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
    #[serde(skip_serializing_if = "is_no_port")]
    pub port: Option<u16>,
    /// The path of its socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<&'a str>,
    /// Seconds served by all generations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime: Option<u64>,
    /// How long the verb took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u128>,
}

/// A gateway on a path has none.
fn is_no_port(port: &Option<u16>) -> bool {
    matches!(port, None | Some(0))
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

    /// What is left of the time.
    pub fn left(&self) -> Duration {
        self.ask.timeout.saturating_sub(self.elapsed())
    }

    /// Whether the time is over.
    pub fn is_over(&self) -> bool {
        self.left().is_zero()
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
