//! `gateway restart`: done when another generation holds the lock and answers ready.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::ask::{self, Outcome, Patience};
use crate::cli::Ask;
use crate::failure::{FAILED, Failure};
use crate::lock::{self, Holder, Look};
use crate::supervisor::Kind;
use nix::sys::signal::Signal;

/// How long an unknown supervisor gets to start the next generation, from the end of
/// the last one. Those that are known get the whole timeout.
const UNKNOWN_SUPERVISOR_WAIT: Duration = Duration::from_secs(5);

/// Restarts the gateway.
pub fn run(ask: &Ask) -> Result<ExitCode, Failure> {
    let Some(old) = ask::holder(ask)? else {
        ask::progress(
            ask,
            &format!(
                "no gateway runs on {}; start one with: openclaw gateway start",
                ask.state_dir.display()
            ),
        );
        return ask::outcome(
            &Outcome { status: "stopped", reason: Some("not running"), ..Outcome::default() },
            FAILED,
        );
    };
    let watch = lock::watch(&ask.state_dir);
    ask::send(ask, &old, Signal::SIGUSR1)?;

    let mut patience = Patience::new(ask);
    let mut gone_since = None;
    let mut watch = Some(watch);
    loop {
        let what = match ask::look(ask)? {
            Look::Held(Some(new)) if new != old => {
                if let Ok((200, _)) = ask::get(ask, Some(&new), "/ready") {
                    return restarted(ask, &new, patience.elapsed());
                }
                "waiting for the new generation to be ready"
            }
            Look::Held(_) if gone_since.is_some() => {
                "waiting for the new generation to name itself"
            }
            Look::Held(_) => "waiting for requests and agents to finish",
            Look::Free => {
                // Seen: the gateway may leave.
                watch = None;
                let since = *gone_since.get_or_insert_with(Instant::now);
                if old.supervisor.kind == Kind::Unknown
                    && since.elapsed() >= UNKNOWN_SUPERVISOR_WAIT
                {
                    return alone(ask, &old);
                }
                "waiting for the supervisor to start the next generation"
            }
        };
        if patience.is_over() {
            drop(watch);
            ask::progress(
                ask,
                &format!("no new generation was ready within {:?}: {what}", ask.timeout),
            );
            return ask::outcome(
                &Outcome {
                    status: "restarting",
                    reason: Some("timeout"),
                    generation: Some(old.generation),
                    ..Outcome::default()
                },
                FAILED,
            );
        }
        patience.wait(what);
    }
}

fn restarted(ask: &Ask, new: &Holder, took: Duration) -> Result<ExitCode, Failure> {
    ask::progress(ask, &format!("generation {} is ready, pid {}", new.generation, new.pid));
    ask::outcome(
        &Outcome {
            status: "restarted",
            generation: Some(new.generation),
            pid: Some(new.pid),
            port: Some(new.port),
            took_ms: Some(took.as_millis()),
            ..Outcome::default()
        },
        0,
    )
}

fn alone(ask: &Ask, old: &Holder) -> Result<ExitCode, Failure> {
    ask::progress(
        ask,
        &format!(
            "generation {} saved its state and left, and nobody started the next within {UNKNOWN_SUPERVISOR_WAIT:?}; \
             run it under a supervisor (clawinit, systemd), or with --on-restart exec",
            old.generation
        ),
    );
    ask::outcome(
        &Outcome {
            status: "stopped",
            reason: Some("restart requested, and nobody started it again"),
            generation: Some(old.generation),
            ..Outcome::default()
        },
        FAILED,
    )
}
