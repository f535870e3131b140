//! `gateway restart`: done when another generation holds the lock and answers ready.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::ask::{self, Outcome, Patience};
use crate::cli::Ask;
use crate::duration;
use crate::failure::{FAILED, Failure};
use crate::lock::{Holder, Look};
use crate::process;
use crate::supervisor::Kind;

/// How long an unknown supervisor gets to start the next generation, from the end of
/// the last one. Those that are known get the whole timeout.
const UNKNOWN_SUPERVISOR_WAIT: Duration = Duration::from_secs(5);

/// Restarts the gateway.
pub fn run(ask: &Ask) -> Result<ExitCode, Failure> {
    let mut patience = Patience::new(ask);
    let Some((old, watch)) = ask::signal(ask, Signal::SIGUSR1, &mut patience)? else {
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

    let mut gone_since = None;
    let mut watch = Some(watch);
    loop {
        let what = match ask::look(ask)? {
            Look::Held(Some(new)) if new != old => {
                let is_ready = ask::get(
                    new.local_addresses().as_slice(),
                    "/ready",
                    None,
                    patience.left().min(ask::ANSWER_WAIT),
                );
                if let Ok((200, _)) = is_ready {
                    return restarted(ask, &new, patience.elapsed());
                }
                "waiting for the new generation to be ready"
            }
            Look::Held(None) => "waiting for the new generation to name itself",
            Look::Held(Some(_)) => "waiting for requests and agents to finish",
            Look::Free => {
                if gone_since.is_none() && ends_container(&old) {
                    // Held to this process's very end, so that its exit code gets out, too.
                    std::mem::forget(watch);
                    return ended(ask, &old);
                }
                let since = *gone_since.get_or_insert_with(|| {
                    if may_end_container(&old) && !process::descends_from_init() {
                        foretell(ask, &old);
                    }
                    Instant::now()
                });
                // Seen: the gateway may leave.
                watch = None;
                if old.supervisor.kind == Kind::Unknown
                    && !old.restarts_itself
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
                &format!(
                    "no new generation was ready within {}: {what}",
                    duration::words(ask.timeout)
                ),
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

/// A container ends with its PID 1, and the verb with it.
fn ends_container(old: &Holder) -> bool {
    old.pid == 1 && !old.restarts_itself
}

/// clawinit, and a gateway that starts itself again, keep the container.
fn may_end_container(old: &Holder) -> bool {
    old.supervisor.kind != Kind::Clawinit && !old.restarts_itself
}

/// The last word, where the container may end before another.
fn foretell(ask: &Ask, old: &Holder) {
    ask::progress(
        ask,
        &format!(
            "generation {} saved its state and leaves; where the container ends now, nobody in it started the next",
            old.generation
        ),
    );
}

fn ended(ask: &Ask, old: &Holder) -> Result<ExitCode, Failure> {
    ask::progress(
        ask,
        &format!(
            "generation {} saved its state, and the container ends with it, as it is PID 1; a restart policy starts it again. \
             Run it under clawinit, or with --on-restart exec",
            old.generation
        ),
    );
    ask::outcome(
        &Outcome {
            status: "stopped",
            reason: Some("restart requested, and the container ends with the gateway"),
            generation: Some(old.generation),
            ..Outcome::default()
        },
        FAILED,
    )
}

fn restarted(ask: &Ask, new: &Holder, took: Duration) -> Result<ExitCode, Failure> {
    ask::progress(ask, &format!("generation {} is ready, pid {}", new.generation, new.pid));
    ask::outcome(
        &Outcome {
            status: "restarted",
            generation: Some(new.generation),
            pid: Some(new.pid),
            port: Some(new.port),
            path: new.path.as_deref(),
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
            "generation {} saved its state and left, and nobody started the next within {}; \
             run it under a supervisor (clawinit, systemd), or with --on-restart exec",
            old.generation,
            duration::words(UNKNOWN_SUPERVISOR_WAIT)
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
