//! What we can do about it.

use super::exit::Status;
use super::phase::Cause;
use crate::signal::Signal;
use std::time::Duration;

/// One thing for the kernel layer to do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    /// Start the next generation; answered by `Spawned` or `StartFailed`.
    Spawn,
    /// Pass the signal just received on to the child, or to its group, with its value.
    Forward(Signal),
    /// Ask the child, or its group, to stop or to restart; wake it if it is stopped.
    Tell(Signal),
    /// SIGKILL for the child, or its group.
    Kill,
    /// Pass the signal on to each process that the child left (`--exit-when all`).
    ForwardToLeftovers(Signal),
    /// Ask each process that the child left, and that was not asked yet, to end.
    TellLeftovers(Signal),
    /// SIGKILL for each of them.
    KillLeftovers,
    /// Wake the child: the terminal stopped it while it was to end.
    Continue,
    /// Stop this process itself until SIGCONT (outside PID 1 only).
    Suspend,
    /// Say something.
    Note(Note),
    /// Leave with this code.
    Exit(u8),
}

/// Something worth saying.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Note {
    /// A stop was asked for.
    StopRequested {
        /// By this signal.
        signal: Signal,
        /// How long everything has to end.
        within: Duration,
    },
    /// It was asked for again.
    StopRepeated(Signal),
    /// It was asked for again, which ends the stop delay.
    DelayEnded(Signal),
    /// A restart was asked for.
    RestartRequested {
        /// By this signal.
        signal: Signal,
        /// How long the child has to end.
        within: Duration,
    },
    /// A restart is on its way already.
    RestartFolded(Signal),
    /// A restart was asked for too late: clawinit stops or leaves.
    RestartRefused(Signal),
    /// There is no child to forward this to.
    NoChild(Signal),
    /// The child ended.
    ChildExited {
        /// Its pid, which is free for others from now on.
        pid: i32,
        /// How.
        status: Status,
        /// How long it had lived.
        lived: Duration,
    },
    /// Its program goes on in other processes (`--exit-when all`).
    GoesOn,
    /// Another generation follows.
    NextGeneration {
        /// Why.
        cause: Cause,
        /// In how long.
        delay: Duration,
    },
    /// The child is ready.
    Ready {
        /// How long that took it, from its start or from what it was asked.
        after: Duration,
    },
    /// The child starts anew inside its own process.
    Reloading,
    /// The child is about to end, and nobody had asked it to.
    EndsItself,
    /// The child is ready anew, in the same process: the restart is done.
    RestartedInPlace {
        /// How long that took since the request.
        after: Duration,
    },
    /// The child was not ready within the start grace: it is asked to end.
    NotReady {
        /// By this signal.
        signal: Signal,
        /// How long it had had.
        after: Duration,
    },
    /// No sign of life came within the watchdog's time: the child is asked to end.
    NoSignOfLife(Signal),
    /// The child says itself that it has failed: it is asked to end.
    SaysItFailed(Signal),
    /// The child needs longer for its end, and may have it.
    Extended {
        /// From now on.
        within: Duration,
    },
    /// The child needs longer to be ready, and may have it.
    StartExtended {
        /// From now on.
        within: Duration,
    },
    /// clawinit itself did not run when the child's word was due: the child has its time anew.
    Overslept {
        /// For how long.
        by: Duration,
    },
    /// One crash too many.
    RestartLimit,
    /// SIGKILL did not end everything.
    Survived,
}

/// What one step asks for, in order. No step asks for more than `CAPACITY` things.
#[derive(Clone, Copy, Debug)]
pub struct Actions {
    items: [Action; Actions::CAPACITY],
    len: usize,
}

impl Actions {
    /// The longest list: a child's exit is told, a sweep is begun, a generation announced.
    const CAPACITY: usize = 5;

    /// Nothing.
    pub const fn none() -> Actions {
        Actions { items: [Action::Spawn; Actions::CAPACITY], len: 0 }
    }

    /// Adds one.
    pub const fn push(&mut self, action: Action) {
        self.items[self.len] = action;
        self.len += 1;
    }

    /// In order.
    pub fn as_slice(&self) -> &[Action] {
        &self.items[..self.len]
    }
}
