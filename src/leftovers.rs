//! What the child left: the direct children of clawinit, for as long as there are any.
//!
//! Each that ends hands its own children over, so the list is read again after each reaping;
//! a process is told once. A child of ours that is not reaped keeps its pid, so no signal can
//! go astray between the reading and the sending. Processes that came in through `docker exec`
//! have their parent outside, are no children of ours, and are left alone.

use crate::kernel::{Errno, descendants, kill, reap};
use crate::signal::Signal;

/// Those that were told to end in this sweep.
#[derive(Default)]
pub struct Leftovers {
    told: Vec<i32>,
    everyone_told: bool,
    killing: bool,
}

/// Who is to be signalled, and by which means.
#[derive(Clone, Copy)]
pub struct Means {
    /// As PID 1 `kill(-1)` reaches all where there is no `/proc`; elsewhere it would reach
    /// strangers.
    pub is_pid1: bool,
    /// The group that was told already, by `--kill-mode group`.
    pub told_group: Option<i32>,
}

/// Whom a signal was sent to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// To those that were listed, and not told before.
    Listed,
    /// To every process of the PID namespace: there is no list.
    Everyone,
}

impl Leftovers {
    /// A new sweep: nobody was told yet.
    pub fn begin(&mut self) {
        self.told.clear();
        self.everyone_told = false;
        self.killing = false;
    }

    /// `pid` was reaped; its number may come again.
    pub fn reaped(&mut self, pid: i32) {
        if let Ok(place) = self.told.binary_search(&pid) {
            self.told.remove(place);
        }
    }

    /// Sends `signal` to each that was not told yet, and SIGCONT to those that are stopped.
    /// Calls `each` for those, before. An error: there is no list, and no other means.
    pub fn tell(
        &mut self,
        means: Means,
        signal: Signal,
        mut each: impl FnMut(i32),
    ) -> Result<Reach, Errno> {
        let before = self.told.len();
        let told = &mut self.told;
        let listed = descendants::for_each_child(|pid| {
            if told[..before].binary_search(&pid).is_ok() {
                return;
            }
            told.push(pid);
            if means.told_group.is_some_and(|group| descendants::group_of(pid) == group) {
                return;
            }
            each(pid);
            let _ = kill::process(pid, signal); // ESRCH: gone; EPERM: another user's
            if reap::is_stopped(pid) {
                let _ = kill::process(pid, Signal::CONT);
            }
        });
        self.told.sort_unstable();
        match listed {
            Ok(()) => Ok(Reach::Listed),
            Err(_) if means.is_pid1 && self.everyone_told => Ok(Reach::Listed),
            Err(_) if means.is_pid1 => {
                self.everyone_told = true;
                let _ = kill::everyone(signal); // ESRCH: nobody is there
                Ok(Reach::Everyone)
            }
            Err(errno) => Err(errno),
        }
    }

    /// Sends SIGKILL to each that did not get it yet, as `tell` does.
    pub fn kill(&mut self, means: Means, each: impl FnMut(i32)) -> Result<Reach, Errno> {
        if !self.killing {
            self.begin();
            self.killing = true;
        }
        self.tell(Means { told_group: None, ..means }, Signal::KILL, each)
    }

    /// Sends `signal` to all of them, each time it is called.
    pub fn signal(means: Means, signal: Signal) -> Result<(), Errno> {
        let listed = descendants::for_each_child(|pid| {
            let _ = kill::process(pid, signal);
        });
        match listed {
            Err(_) if means.is_pid1 => kill::everyone(signal),
            listed => listed,
        }
    }
}

/// The name of a process, from `/proc/PID/comm`; empty where it is gone.
pub fn name_of(pid: i32) -> String {
    let mut buffer = [0; 32];
    String::from_utf8_lossy(descendants::read(pid, "comm", &mut buffer)).trim_end().to_owned()
}
