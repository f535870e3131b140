//! What can happen.

use super::exit::Status;
use crate::signal::Signal;
use std::time::Duration;

/// One thing that happened, as the kernel layer saw it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Event {
    /// A signal of `--stop-on` came.
    Stop(Signal),
    /// A signal of `--restart-on` came.
    Restart(Signal),
    /// Any other signal came.
    Forward(Signal),
    /// The next generation runs under this pid.
    Spawned(i32),
    /// The next generation could not be started.
    StartFailed(StartFailure),
    /// The child was reaped. `leftovers`: clawinit has other children.
    ChildExited {
        /// How it ended.
        status: Status,
        /// Whether clawinit still has children.
        leftovers: bool,
    },
    /// Other processes were reaped. `leftovers`: clawinit still has children besides the child.
    Reaped {
        /// Whether clawinit still has children.
        leftovers: bool,
    },
    /// The terminal stopped the child (outside PID 1 only).
    ChildStopped,
    /// The child said something of itself.
    Notified(Notice),
    /// The state's nearest deadline has passed.
    DeadlinePassed,
}

/// What a child says of itself, by the protocol of sd_notify(3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Notice {
    /// `READY=1`: it does its work.
    Ready,
    /// `RELOADING=1`: it starts anew inside its own process, and will say `READY=1` again.
    Reloading,
    /// `STOPPING=1`: it is about to end.
    Stopping,
    /// `WATCHDOG=1`: a sign of life.
    Alive,
    /// `WATCHDOG=trigger`: it knows itself that it does its work no more.
    Failed,
    /// `EXTEND_TIMEOUT_USEC`: it needs this long from now on for what it was asked to do.
    Extend(Duration),
}

/// Why a generation could not be started.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StartFailure {
    /// The code to leave with when this ends clawinit: 125, 126 or 127.
    pub code: u8,
    /// It may go better in a moment (EAGAIN, ENOMEM, EMFILE, ENFILE, ETXTBSY).
    pub temporary: bool,
}
