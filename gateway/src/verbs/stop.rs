//! `gateway stop`: done when the lock is free, the process gone and the port free.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::ask::{self, Outcome, Patience};
use crate::cli::Ask;
use crate::duration;
use crate::failure::{FAILED, Failure};
use crate::lock::{Holder, Look};
use crate::ports;
use crate::process;
use crate::state::{self, Found, State};
use crate::supervisor::Kind;

/// How long a supervisor that was not told of the stop may take to start the gateway
/// again before it counts as stopped: systemd waits 100 ms, a loop in a shell does not.
const AGAIN_WAIT: Duration = Duration::from_millis(500);

/// Stops the gateway. One that does not run is stopped already: exit code 0.
pub fn run(ask: &Ask) -> Result<ExitCode, Failure> {
    let mut patience = Patience::new(ask);
    let Some((holder, watch)) = ask::signal(ask, Signal::SIGTERM, &mut patience)? else {
        ask::progress(ask, &format!("no gateway runs on {}", ask.state_dir.display()));
        return ask::outcome(
            &Outcome { status: "stopped", reason: Some("not running"), ..Outcome::default() },
            0,
        );
    };

    loop {
        let look = ask::look(ask)?;
        match &look {
            Look::Held(Some(other)) if *other != holder => {
                return came_back(ask, &holder, Some(other));
            }
            Look::Held(_) => {}
            // Whoever has the port when the process is gone is somebody else.
            Look::Free if may_hold_port(&holder) && holder.is_alive() => {}
            // No word may wait for the process's end where this verb ends with it.
            Look::Free if ends_with_it(&holder) => {
                // Held to this process's very end, so that its exit code gets out, too.
                std::mem::forget(watch);
                return stopped(ask, &holder);
            }
            Look::Free => break,
        }
        if patience.is_over() {
            return match look {
                Look::Held(None) => came_back(ask, &holder, None),
                Look::Held(Some(_)) | Look::Free => still_there(ask, &holder),
            };
        }
        patience.wait("waiting for requests and agents to finish");
    }
    // Seen: the gateway may leave.
    drop(watch);
    while holder.is_alive() {
        if patience.is_over() {
            return still_there(ask, &holder);
        }
        patience.wait("waiting for the process to end");
    }
    let until = Instant::now() + AGAIN_WAIT;
    loop {
        // In this order: what it did before it ended is seen by the look.
        let is_over = Instant::now() >= until || !may_start_again(&holder);
        match ask::look(ask)? {
            Look::Held(Some(other)) => return came_back(ask, &holder, Some(&other)),
            Look::Held(None) if patience.is_over() => return came_back(ask, &holder, None),
            Look::Free if is_over => return stopped(ask, &holder),
            Look::Held(None) | Look::Free => {}
        }
        patience.wait("waiting whether its supervisor starts it again");
    }
}

/// Whether somebody listens where the gateway did. Where another supervisor than clawinit
/// handed its socket in, that one goes on listening, and a connection to it would start
/// the gateway again (systemd.socket(5)): it is not asked.
fn may_hold_port(holder: &Holder) -> bool {
    let keeps_it = holder.was_handed && holder.supervisor.kind != Kind::Clawinit;
    !keeps_it && ports::is_open(&holder.local_addresses())
}

/// Whether this verb may end with the gateway, as a container ends with its PID 1 or
/// the last child of that.
fn ends_with_it(holder: &Holder) -> bool {
    let (pid, supervisor) = (holder.pid, holder.supervisor);
    pid == 1
        || (supervisor.kind == Kind::Clawinit && supervisor.pid == 1)
        || !process::descends_from_init()
}

/// clawinit was told to stop; any other parent only sees that its child has ended.
fn may_start_again(holder: &Holder) -> bool {
    holder.supervisor.kind != Kind::Clawinit && holder.is_supervisor_alive()
}

fn stopped(ask: &Ask, holder: &Holder) -> Result<ExitCode, Failure> {
    let state = match state::read(&ask.state_dir) {
        Ok(Found::State(state)) => Some(state),
        Ok(Found::Nothing | Found::Damaged(_)) | Err(_) => None,
    };
    let reason = match &state {
        Some(state) if state.generation > holder.generation => {
            return came_and_went(ask, holder, state);
        }
        Some(state) if state.generation == holder.generation => state.ending(),
        Some(_) => "unknown: it could not save its state",
        None => "unknown: the state file cannot be read",
    };
    if let Some(other) = may_hold_port(holder)
        .then(|| ports::holder(holder.port).unwrap_or_else(|| "another process".to_owned()))
    {
        ask::progress(ask, &format!("{} is taken by {other} now", holder.place()));
    }
    ask::outcome(&Outcome { status: "stopped", reason: Some(reason), ..Outcome::default() }, 0)
}

fn still_there(ask: &Ask, holder: &Holder) -> Result<ExitCode, Failure> {
    ask::progress(
        ask,
        &format!(
            "the gateway, pid {}, did not stop within {}; kill -KILL ends it, and no acknowledged write is lost",
            holder.pid,
            duration::words(ask.timeout)
        ),
    );
    ask::outcome(
        &Outcome {
            status: "stopping",
            reason: Some("timeout"),
            pid: Some(holder.pid),
            ..Outcome::default()
        },
        FAILED,
    )
}

fn came_back(ask: &Ask, old: &Holder, new: Option<&Holder>) -> Result<ExitCode, Failure> {
    let who = new.map_or_else(
        || "the next one, which has not written its name yet".to_owned(),
        |new| format!("generation {} as pid {}", new.generation, new.pid),
    );
    ask::progress(
        ask,
        &format!(
            "generation {} stopped, and {} started {who}; stop that supervisor",
            old.generation,
            supervisor(old)
        ),
    );
    ask::outcome(
        &Outcome {
            status: "running",
            reason: Some(STARTED_AGAIN),
            generation: new.map(|new| new.generation),
            pid: new.map(|new| new.pid),
            ..Outcome::default()
        },
        FAILED,
    )
}

fn came_and_went(ask: &Ask, old: &Holder, new: &State) -> Result<ExitCode, Failure> {
    ask::progress(
        ask,
        &format!(
            "generation {} stopped, and {} started generation {}, which has ended as well ({}); stop that supervisor",
            old.generation,
            supervisor(old),
            new.generation,
            new.ending()
        ),
    );
    ask::outcome(
        &Outcome {
            status: "stopped",
            reason: Some(STARTED_AGAIN),
            generation: Some(new.generation),
            ..Outcome::default()
        },
        FAILED,
    )
}

const STARTED_AGAIN: &str = "started again by its supervisor";

/// The parent, as `its supervisor (pid 12, sh)`.
fn supervisor(holder: &Holder) -> String {
    let pid = holder.supervisor.pid;
    match process::stat(pid) {
        Some(stat) if holder.is_supervisor_alive() => {
            format!("its supervisor (pid {pid}, {})", stat.name)
        }
        Some(_) | None => format!("its supervisor (pid {pid})"),
    }
}
