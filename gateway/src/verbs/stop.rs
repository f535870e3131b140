//! `gateway stop`: done when the lock is free, the process gone and the port free.

use std::process::ExitCode;

use super::ask::{self, Outcome, Patience};
use crate::cli::Ask;
use crate::failure::{FAILED, Failure};
use crate::lock::{self, Holder, Look};
use crate::ports;
use crate::state::{self, Found};
use crate::supervisor::Kind;
use nix::sys::signal::Signal;

/// Stops the gateway. One that does not run is stopped already: exit code 0.
pub fn run(ask: &Ask) -> Result<ExitCode, Failure> {
    let Some(holder) = ask::holder(ask)? else {
        ask::progress(ask, &format!("no gateway runs on {}", ask.state_dir.display()));
        return ask::outcome(
            &Outcome { status: "stopped", reason: Some("not running"), ..Outcome::default() },
            0,
        );
    };
    // Until this is dropped, the gateway's last act waits for ours.
    let watch = lock::watch(&ask.state_dir);
    ask::send(ask, &holder, Signal::SIGTERM)?;

    let mut patience = Patience::new(ask);
    loop {
        match ask::look(ask)? {
            Look::Held(Some(other)) if other != holder => return came_back(ask, &holder, &other),
            Look::Held(_) => {}
            Look::Free if ports::is_open(holder.port) => {}
            // The container ends with the gateway, and this verb with it: no word may
            // wait for the process's end there.
            Look::Free if ends_with_it(&holder) => {
                // Held to this process's very end, so that its exit code gets out, too.
                std::mem::forget(watch);
                return stopped(ask);
            }
            Look::Free => break,
        }
        if patience.is_over() {
            return still_there(ask, &holder);
        }
        patience.wait("waiting for requests and agents to finish");
    }
    drop(watch);
    while holder.is_alive() {
        if patience.is_over() {
            return still_there(ask, &holder);
        }
        patience.wait("waiting for the process to end");
    }
    stopped(ask)
}

/// Whether the gateway's supervisor is the init of the container that we are in.
fn ends_with_it(holder: &Holder) -> bool {
    holder.pid == 1 || (holder.supervisor.kind == Kind::Clawinit && holder.supervisor.pid == 1)
}

fn stopped(ask: &Ask) -> Result<ExitCode, Failure> {
    let reason = match state::read(&ask.state_dir) {
        Ok(Found::State(state)) => state.ending(),
        Ok(Found::Nothing | Found::Damaged(_)) | Err(_) => "unknown: the state file cannot be read",
    };
    ask::outcome(&Outcome { status: "stopped", reason: Some(reason), ..Outcome::default() }, 0)
}

fn still_there(ask: &Ask, holder: &Holder) -> Result<ExitCode, Failure> {
    ask::progress(
        ask,
        &format!(
            "the gateway, pid {}, did not stop within {:?}; kill -KILL ends it, and no acknowledged write is lost",
            holder.pid, ask.timeout
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

fn came_back(ask: &Ask, old: &Holder, new: &Holder) -> Result<ExitCode, Failure> {
    ask::progress(
        ask,
        &format!(
            "generation {} stopped, and its supervisor (pid {}) started generation {} as pid {}; stop the supervisor",
            old.generation, old.supervisor.pid, new.generation, new.pid
        ),
    );
    ask::outcome(
        &Outcome {
            status: "running",
            reason: Some("started again by its supervisor"),
            generation: Some(new.generation),
            pid: Some(new.pid),
            ..Outcome::default()
        },
        FAILED,
    )
}
