//! The lifecycle of a container as a pure state machine: no system call, no clock, no
//! allocation. `docs/design.md` has its table and the reason of each choice.
//!
//! Times are [`Duration`](std::time::Duration)s on the monotonic clock, whose origin does
//! not matter here.

mod action;
mod backoff;
mod event;
mod exit;
pub mod invariants;
mod phase;
mod step;

pub use action::{Action, Actions, Note};
pub use backoff::Crashes;
pub use event::{Event, Notice, StartFailure};
pub use exit::{End, Status, exit_code};
pub use phase::{Cause, Limit, Next, Phase, Readiness, State, Stop};
pub use step::{KILL_WAIT, OVERSLEPT, SWEEP_SIGNAL, is_timeless, step};
