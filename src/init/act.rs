//! What an action of the state machine does to processes.

use super::Init;
use super::exporter::Exporter;
use super::prober::Prober;
use crate::config::{ExitWhen, KillMode, Manners};
use crate::core::{Event, Phase, SWEEP_SIGNAL, StartFailure, Status};
use crate::kernel::signals;
use crate::kernel::spawn::{self, Failure, Handed, Program, Step};
use crate::kernel::{Errno, clock, descendants, descriptors, kill, reap};
use crate::leftovers::{self, Leftovers, Means, Reach, ToldGroup};
use crate::signal::Signal;
use std::time::Duration;

/// How many processes a line or the report names.
pub(super) const NAMED: usize = 8;

impl Init {
    /// How long to wait for a signal; `None`: for ever.
    pub(super) fn time_left(&self) -> Option<Duration> {
        let look = self.watch.as_ref().and_then(|watch| watch.deadline());
        let exporter = self.exporter.as_ref().and_then(Exporter::due);
        let prober = self.prober.as_ref().and_then(Prober::due);
        let ear = self.ear.as_ref().and_then(|ear| ear.next);
        let all = [self.state.deadline(), look, exporter, prober, ear];
        let deadline = all.into_iter().flatten().min();
        deadline.map(|deadline| deadline.saturating_sub(clock::monotonic()))
    }

    pub(super) fn deadline_passed(&self) -> bool {
        self.state.deadline().is_some_and(|deadline| clock::monotonic() >= deadline)
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
        self.end_prober();
        self.forget_what_was_said();
        let spawned = spawn::spawn(&mut Program {
            places: &self.places,
            argv: &self.argv,
            shell: self.shell.as_deref_mut(),
            environment: &mut self.environment,
            mask: self.mask,
            ignores_children: self.ignores_children == Ok(true),
            terminal: self.terminal.filter(|t| t.is_left_to_us(self.last_child)),
            folder: self.folder.as_deref(),
            user: self.config.user,
            no_new_privs: self.config.no_new_privs,
            handed: Handed::All,
        });
        match spawned {
            Ok(pid) => {
                self.last_child = pid;
                if !self.config.can_restart() {
                    // What clawinit was handed is the child's now.
                    self.log.close();
                    descriptors::close_inherited([self.kept.page.fd(), self.ear_fd()]);
                    self.sockets = 0;
                }
                self.note_started(pid);
                if self.config.knows_readiness() {
                    self.ask_for_readiness();
                } else {
                    self.keep_ready();
                }
                if self.state.generation > 0 {
                    self.look_at_memory();
                }
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
        // No call queues a value to a group, so a real-time signal goes to the child alone.
        let to_group = self.config.kill_mode == KillMode::Group && !signal.is_realtime();
        match (self.state.child, self.received) {
            (Some(pid), Some(received)) if !to_group => {
                let sent = kill::pass_on(pid, signal, &received);
                self.note_sent(signal, pid, sent);
            }
            _ => self.send_child(signal),
        }
    }

    /// Asks the child to end, and wakes it where it is stopped.
    pub(super) fn tell(&mut self, signal: Signal) {
        let Some(pid) = self.state.child else { return };
        self.keep_told();
        if matches!(self.state.phase, Phase::Stopping { .. }) {
            self.let_go_of_sockets();
        }
        let group = self.config.kill_mode == KillMode::Group && signal == SWEEP_SIGNAL;
        if group && self.told_group.is_none() {
            self.told_group = Some(ToldGroup::now(pid));
        }
        self.send_child(signal);
        if reap::is_stopped(pid) {
            self.send_child(Signal::CONT);
        }
    }

    pub(super) fn kill(&mut self) {
        let Some(pid) = self.state.child else { return };
        let mut round = Round::default();
        round.add(pid, Ok(()));
        self.kept.overdue = true;
        self.note_escalated(round);
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

    /// Whether the child is stopped at a time when that matters: it is to end, and has to be
    /// woken for it; or clawinit is a shell's job, which stops with it, so that the shell gets
    /// its terminal back.
    pub(super) fn child_stopped(&self) -> bool {
        let ends = matches!(
            self.state.phase,
            Phase::Stopping { .. } | Phase::Restarting { .. } | Phase::Failing { .. }
        );
        let job = !self.config.is_pid1 && self.terminal.is_some();
        (ends || job) && self.state.child.is_some_and(reap::is_stopped)
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
    pub(super) fn end_group_before_its_leader_is_reaped(&mut self, child: Option<i32>) {
        if self.config.manners == Manners::DumbInit
            && self.config.kill_mode == KillMode::Group
            && let Some(pid) = child
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
        let mut refused = Round::default();
        let listed = Leftovers::signal(self.means(), signal, |pid, sent| {
            if sent.is_err() {
                refused.add(pid, sent);
            }
        });
        self.note_not_permitted(signal, &refused);
        if let Err(errno) = listed {
            self.note_no_list(errno);
        }
    }

    /// Tells those that were not told yet. Where that is impossible they do not exist for us:
    /// waiting for them would only take time.
    pub(super) fn tell_leftovers(&mut self, signal: Signal) -> Option<Event> {
        let mut round = Round::default();
        let means = self.means();
        let told = self.leftovers.tell(means, signal, |pid, sent| round.add(pid, sent));
        round.everyone = told == Ok(Reach::Everyone);
        self.note_told(signal, &round);
        match told {
            Ok(Reach::Listed | Reach::Everyone) => None,
            Err(errno) => {
                self.note_no_list(errno);
                Some(Event::Reaped { leftovers: false })
            }
        }
    }

    pub(super) fn kill_leftovers(&mut self) {
        let mut round = Round::default();
        let means = self.means();
        let killed = self.leftovers.kill(means, |pid, sent| round.add(pid, sent));
        round.everyone = killed == Ok(Reach::Everyone);
        self.note_escalated(round);
        if let Err(errno) = killed {
            self.note_no_list(errno);
        }
    }

    /// Those that are still there.
    pub(super) fn still_there(&self) -> Round {
        let mut round = Round::default();
        let spared = self.helpers();
        // Without a list there is nobody to name.
        let _ = descendants::for_each_child(|pid| {
            if !spared.contains(&Some(pid)) {
                round.add(pid, Ok(()));
            }
        });
        round
    }

    fn means(&self) -> Means {
        Means {
            is_pid1: self.config.is_pid1,
            // With `--exit-when all` they are the program, and are told whatever their group.
            told_group: self.told_group.filter(|_| self.config.exit_when == ExitWhen::Child),
            spared: self.helpers(),
        }
    }
}

/// Processes that a signal was sent to at one time.
#[derive(Default)]
pub(super) struct Round {
    /// The first few, by pid and name.
    pub named: Vec<(i32, String)>,
    /// How many there are.
    pub count: usize,
    /// How many of them belong to another user, and got nothing (EPERM).
    pub not_permitted: usize,
    /// They are every process of the namespace, uncounted.
    pub everyone: bool,
}

impl Round {
    fn add(&mut self, pid: i32, sent: Result<(), Errno>) {
        self.count += 1;
        self.not_permitted += usize::from(sent == Err(Errno(libc::EPERM)));
        if self.named.len() < NAMED {
            self.named.push((pid, leftovers::name_of(pid)));
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
