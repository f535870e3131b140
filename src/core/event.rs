//! What can happen.

use super::exit::Status;
use crate::signal::Signal;

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
    /// The state's nearest deadline has passed.
    DeadlinePassed,
}

/// Why a generation could not be started.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StartFailure {
    /// The code to leave with when this ends clawinit: 125, 126 or 127.
    pub code: u8,
    /// It may go better in a moment (EAGAIN, ENOMEM, EMFILE, ENFILE, ETXTBSY).
    pub temporary: bool,
}
