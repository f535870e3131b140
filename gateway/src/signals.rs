//! Signals as events of the loop.

use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigSet, Signal};
use signal_hook::{flag, low_level::pipe};

/// What the gateway handles. SIGPIPE is ignored by Rust's runtime before `main`.
const HANDLED: [Signal; 6] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGHUP,
    Signal::SIGCHLD,
];

/// Blocks every signal, as the first act of the program: one that arrives before the
/// handlers are there waits for them instead of killing.
pub fn hold() {
    // The only error of sigprocmask(2) is a wrong `how`.
    let _ = SigSet::all().thread_set_mask();
}

/// Lets signals through, also those that whoever started us had blocked: a gateway
/// that inherits a blocked SIGTERM could not be stopped, nor could its agents.
pub fn release() {
    let _ = SigSet::empty().thread_set_mask();
}

/// Signals that were caught and not yet taken.
pub struct Signals {
    /// Set by the handler before it writes to the pipe.
    caught: Vec<(Signal, Arc<AtomicBool>)>,
    /// Readable after a signal.
    pub pipe: mio::net::UnixStream,
}

impl Signals {
    /// Sets the handlers up, whatever dispositions were inherited: SIGINT and SIGQUIT
    /// are ignored in a shell's background job, SIGHUP under nohup, and with SIGCHLD
    /// ignored no child could be waited for.
    pub fn catch() -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        let mut caught = Vec::new();
        for signal in HANDLED {
            let seen = Arc::new(AtomicBool::new(false));
            // Actions run in the order they were registered: flag, then wake-up.
            flag::register(signal as i32, Arc::clone(&seen))?;
            pipe::register(signal as i32, write.try_clone()?)?;
            caught.push((signal, seen));
        }
        Ok(Self { caught, pipe: mio::net::UnixStream::from_std(read) })
    }

    /// The signals that came since the last call; several of one number count as one.
    pub fn take(&mut self) -> Vec<Signal> {
        // The pipe first: a signal between the two steps writes again.
        let mut bytes = [0; 64];
        while matches!(self.pipe.read(&mut bytes), Ok(count) if count > 0) {}
        self.caught
            .iter()
            .filter(|(_, seen)| seen.swap(false, Ordering::SeqCst))
            .map(|(signal, _)| *signal)
            .collect()
    }
}
