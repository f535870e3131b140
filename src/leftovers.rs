//! What the child left: the direct children of clawinit, for as long as there are any.
//!
//! Each that ends hands its own children over, so the list is read again after each reaping;
//! a process is told once. A child of ours that is not reaped keeps its pid, so no signal can
//! go astray between the reading and the sending. Processes that came in through `docker exec`
//! have their parent outside, are no children of ours, and are left alone.

use crate::kernel::{Errno, clock, descendants, kill, reap};
use crate::signal::Signal;
use std::time::Duration;

/// Those that were told to end in this sweep.
#[derive(Default)]
pub struct Leftovers {
    told: Vec<i32>,
    everyone_told: bool,
    killing: bool,
    rounds: u32,
}

/// Who is to be signalled, and by which means.
#[derive(Clone, Copy)]
pub struct Means {
    /// As PID 1 `kill(-1)` reaches all where there is no `/proc`; elsewhere it would reach
    /// strangers.
    pub is_pid1: bool,
    /// The group that was told already, by `--kill-mode group`.
    pub told_group: Option<ToldGroup>,
    /// Children that are clawinit's own helpers, and nothing that the child left.
    pub spared: [Option<i32>; 2],
}

/// A process group that got the sweep's own signal as a whole.
#[derive(Clone, Copy)]
pub struct ToldGroup {
    leader: i32,
    /// When, since boot.
    when: Duration,
    /// The pid that was given out last by then.
    last_pid: i32,
}

impl ToldGroup {
    /// The group of `leader`, which is about to be told.
    pub fn now(leader: i32) -> ToldGroup {
        ToldGroup { leader, when: clock::since_boot(), last_pid: descendants::last_pid() }
    }

    /// Whether this process got the signal with the group: it is in it, and was born before. The
    /// kernel tells births by the tick; within one, pids count up.
    fn has(&self, pid: i32) -> bool {
        descendants::group_of(pid) == self.leader
            && descendants::born(pid).is_some_and(|born| {
                born + descendants::TICK <= self.when || born <= self.when && pid <= self.last_pid
            })
    }
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
        self.rounds = 0;
    }

    /// How many times newcomers were told in this sweep.
    pub fn rounds(&self) -> u32 {
        self.rounds
    }

    /// How many of those that were told have not been reaped.
    pub fn pending(&self) -> usize {
        self.told.len()
    }

    /// `pid` was reaped; its number may come again.
    pub fn reaped(&mut self, pid: i32) {
        if let Ok(place) = self.told.binary_search(&pid) {
            self.told.remove(place);
        }
    }

    /// Sends `signal` to each that was not told yet, and SIGCONT to those that are stopped.
    /// Calls `each` for those, with what the sending said. An error: there is no list, and no other means.
    pub fn tell(
        &mut self,
        means: Means,
        signal: Signal,
        mut each: impl FnMut(i32, Result<(), Errno>),
    ) -> Result<Reach, Errno> {
        let before = self.told.len();
        let told = &mut self.told;
        let listed = descendants::for_each_child(|pid| {
            if means.spared.contains(&Some(pid)) || told[..before].binary_search(&pid).is_ok() {
                return;
            }
            told.push(pid);
            if !means.told_group.is_some_and(|group| group.has(pid)) {
                each(pid, kill::process(pid, signal));
            }
            if signal != Signal::KILL && reap::is_stopped(pid) {
                let _ = kill::process(pid, Signal::CONT);
            }
        });
        self.rounds += u32::from(self.told.len() > before);
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
    pub fn kill(
        &mut self,
        means: Means,
        each: impl FnMut(i32, Result<(), Errno>),
    ) -> Result<Reach, Errno> {
        if !self.killing {
            self.begin();
            self.killing = true;
        }
        self.tell(Means { told_group: None, ..means }, Signal::KILL, each)
    }

    /// Sends `signal` to all of them, each time it is called, and calls `each` as `tell` does.
    pub fn signal(
        means: Means,
        signal: Signal,
        mut each: impl FnMut(i32, Result<(), Errno>),
    ) -> Result<(), Errno> {
        let listed = descendants::for_each_child(|pid| {
            if !means.spared.contains(&Some(pid)) {
                each(pid, kill::process(pid, signal));
            }
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
