//! How a child ended, and which code clawinit leaves with (DESIGN section 3).

use super::phase::State;
use crate::config::Config;
use crate::signal::Signal;

/// How a process ended (wait(2)).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Status {
    /// It called `_exit` with this code.
    Exited(u8),
    /// A signal ended it.
    Signaled {
        /// Which one.
        signal: Signal,
        /// Whether it left a core dump.
        core_dumped: bool,
    },
}

impl Status {
    /// The code as shells and Docker report it: `128 + n` for signal `n`.
    pub const fn code(self) -> u8 {
        match self {
            Status::Exited(code) => code,
            Status::Signaled { signal, .. } => 128 + signal.number() as u8,
        }
    }
}

/// How the last generation ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum End {
    /// It ran and was reaped.
    Reaped(Status),
    /// It could not be started; the code says why.
    NotStarted(u8),
    /// SIGKILL did not end it within the kill wait.
    Survived,
}

impl End {
    /// The code before any option has its say.
    pub const fn code(self) -> u8 {
        match self {
            End::Reaped(status) => status.code(),
            End::NotStarted(code) => code,
            End::Survived => 128 + Signal::KILL.number() as u8,
        }
    }
}

/// The code that clawinit leaves with, from the history alone (invariant I10).
pub fn exit_code(config: &Config, state: &State) -> u8 {
    let Some(end) = state.last else {
        return 125; // nothing was ever tried: cannot happen past `Starting`
    };
    let code = end.code();
    if let Some(stop) = state.stop {
        if let Some(wanted) = config.stop_exit_code
            && !stop.overdue
            && end != End::Survived
        {
            return wanted;
        }
        // It wanted to be restarted and was stopped: no restart policy shall bring it back.
        if matches!(end, End::Reaped(Status::Exited(c)) if config.restart_codes.contains(c)) {
            return 0;
        }
    }
    let code = match end {
        End::Reaped(_) if config.success_codes.contains(code) => 0,
        End::Reaped(_) | End::NotStarted(_) | End::Survived => code,
    };
    // A child that left with 0 again and again has not done its work, and one that was ended
    // because it was not ready, or hung, has not either: an on-failure policy of the platform is
    // to see that (openclaw/openclaw#73178).
    let undone = (state.gave_up || state.failed) && state.stop.is_none();
    if code == 0 && undone { 1 } else { code }
}
