//! What an action of the state machine does to processes.

use super::Init;
use crate::config::{ExitWhen, KillMode, Manners};
use crate::core::{Event, SWEEP_SIGNAL, StartFailure, Status};
use crate::kernel::signals::{self, Received};
use crate::kernel::spawn::{self, Failure, Program, Step};
use crate::kernel::{Errno, clock, descendants, descriptors, kill, reap};
use crate::leftovers::{self, Leftovers, Means, Reach};
use crate::signal::Signal;
use std::time::Duration;

/// How many processes a line or the report names.
pub(super) const NAMED: usize = 8;

impl Init {
    /// How long to wait for a signal; `None`: for ever.
    pub(super) fn time_left(&self) -> Option<Duration> {
        let look = self.watch.as_ref().and_then(|watch| watch.deadline());
        let deadline = match (self.state.deadline(), look) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        deadline.map(|deadline| deadline.saturating_sub(clock::monotonic()))
    }

    // ---- starting a generation ----

    pub(super) fn next_generation(&mut self) -> Event {
        self.port_settled();
        self.spawn()
    }

    /// Starts the next generation.
    pub(super) fn spawn(&mut self) -> Event {
        if self.config.manners == Manners::Clawinit {
            self.environment.number_generation(self.state.generation.saturating_add(1));
        }
        self.leftovers.begin();
        self.told_group = None;
        let spawned = spawn::spawn(&mut Program {
            argv: &self.argv,
            environment: &mut self.environment,
            mask: self.mask,
            ignores_children: self.ignores_children,
            terminal: self.terminal.filter(|t| t.is_left_to_us(self.last_child)),
            folder: self.folder.as_deref(),
            user: self.config.user,
            no_new_privs: self.config.no_new_privs,
        });
        match spawned {
            Ok(pid) => {
                self.last_child = pid;
                if !self.config.can_restart() {
                    // What clawinit was handed is the child's now.
                    self.log.close();
                    descriptors::close_inherited();
                }
                self.note_started(pid);
                Event::Spawned(pid)
            }
            Err(failure) => {
                self.note_start_failed(failure);
                Event::StartFailed(judge(failure))
            }
        }
    }

    // ---- the child ----

    /// Passes on what was just received, with its value where it has one.
    pub(super) fn forward(&mut self, signal: Signal) {
        let Some(pid) = self.state.child else { return };
        // No call queues a value to a group, so a real-time signal goes to the child alone.
        let to_group = self.config.kill_mode == KillMode::Group && !signal.is_realtime();
        let sent = match self.received {
            Some(received) if !to_group => kill::pass_on(pid, signal, &received),
            _ if to_group => kill::group(pid, signal),
            _ => kill::process(pid, signal),
        };
        self.note_sent(signal, pid, sent);
    }

    /// Asks the child to end, and wakes it where it is stopped.
    pub(super) fn tell(&mut self, signal: Signal) {
        let Some(pid) = self.state.child else { return };
        self.send_child(signal);
        if reap::is_stopped(pid) {
            self.send_child(Signal::CONT);
        }
        if self.config.kill_mode == KillMode::Group && signal == SWEEP_SIGNAL {
            self.told_group = Some(pid);
        }
    }

    pub(super) fn kill(&mut self) {
        let Some(pid) = self.state.child else { return };
        self.note_escalated(1, false, vec![(pid, leftovers::name_of(pid))]);
        self.send_child(Signal::KILL);
    }

    pub(super) fn send_child(&mut self, signal: Signal) {
        let Some(pid) = self.state.child else { return };
        let sent = match self.config.kill_mode {
            KillMode::Group => kill::group(pid, signal),
            KillMode::Mixed | KillMode::Process => kill::process(pid, signal),
        };
        self.note_sent(signal, pid, sent);
    }

    /// Whether this SIGCHLD came because the terminal stopped the child; then a job that is not
    /// PID 1 stops as well, so that the shell gets its terminal back.
    pub(super) fn child_stopped(&self, received: Received) -> bool {
        let job = !self.config.is_pid1 && self.terminal.is_some();
        job && received.tells_of_a_stop() && self.state.child.is_some_and(reap::is_stopped)
    }

    /// Stops this process until somebody sends SIGCONT, and passes that on.
    pub(super) fn suspend(&mut self) {
        if let Some(terminal) = self.terminal {
            terminal.take_back(self.last_child);
        }
        kill::this_process(Signal::STOP);
        let woken = signals::take_pending(Signal::CONT);
        if let (Some(terminal), Some(pid)) = (self.terminal, self.state.child)
            && terminal.is_left_to_us(pid)
        {
            terminal.give_to(pid);
        }
        if woken.is_some() {
            self.send_child(Signal::CONT);
        }
    }

    // ---- what it left ----

    /// dumb-init tells the rest of the child's group when the child ends; the group's number is
    /// its own only until the leader is reaped.
    pub(super) fn end_group_before_its_leader_is_reaped(&mut self) {
        if self.config.manners == Manners::DumbInit
            && self.config.kill_mode == KillMode::Group
            && let Some(pid) = self.state.child
            && reap::peek() == pid
        {
            let _ = kill::group(pid, Signal::TERM);
        }
    }

    pub(super) fn orphan_reaped(&mut self, pid: i32, status: Status) {
        self.leftovers.reaped(pid);
        self.note_orphan(pid, status);
    }

    pub(super) fn forward_to_leftovers(&mut self, signal: Signal) {
        if let Err(errno) = Leftovers::signal(self.means(), signal) {
            self.note_no_list(errno);
        }
    }

    /// Tells those that were not told yet. Where that is impossible they do not exist for us:
    /// waiting for them would only take time.
    pub(super) fn tell_leftovers(&mut self, signal: Signal) -> Option<Event> {
        let (mut count, mut named) = (0, Vec::new());
        let means = self.means();
        let told = self.leftovers.tell(means, signal, |pid| {
            count += 1;
            if named.len() < NAMED {
                named.push((pid, leftovers::name_of(pid)));
            }
        });
        self.note_sweep(signal, count, told == Ok(Reach::Everyone), &named);
        match told {
            Ok(Reach::Listed | Reach::Everyone) => None,
            Err(errno) => {
                self.note_no_list(errno);
                Some(Event::Reaped { leftovers: false })
            }
        }
    }

    pub(super) fn kill_leftovers(&mut self) {
        let (mut count, mut named) = (0, Vec::new());
        let means = self.means();
        let killed = self.leftovers.kill(means, |pid| {
            count += 1;
            if named.len() < NAMED {
                named.push((pid, leftovers::name_of(pid)));
            }
        });
        self.note_escalated(count, killed == Ok(Reach::Everyone), named);
        if let Err(errno) = killed {
            self.note_no_list(errno);
        }
    }

    /// Those that are still there, by pid and name, the first few.
    pub(super) fn still_there(&self) -> Vec<(i32, String)> {
        let mut named = Vec::new();
        // Without a list there is nobody to name.
        let _ = descendants::for_each_child(|pid| {
            if named.len() < NAMED {
                named.push((pid, leftovers::name_of(pid)));
            }
        });
        named
    }

    fn means(&self) -> Means {
        Means {
            is_pid1: self.config.is_pid1,
            // With `--exit-when all` they are the program, and are told whatever their group.
            told_group: self.told_group.filter(|_| self.config.exit_when == ExitWhen::Child),
        }
    }
}

/// What a failed start means: 125 where clawinit failed, 126 where the command cannot be run,
/// 127 where it is not there.
fn judge(failure: Failure) -> StartFailure {
    let Failure { step, errno: Errno(errno) } = failure;
    let code = match (step, errno) {
        (Step::Execute, libc::ENOENT) => 127,
        (Step::Execute, _) => 126,
        (Step::Clone | Step::Folder | Step::User | Step::NoNewPrivs, _) => 125,
    };
    let temporary =
        matches!(errno, libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE | libc::ETXTBSY);
    StartFailure { code, temporary }
}
