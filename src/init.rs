//! The program: start, then wait, step, act, and wait again. `init/` has what each part does:
//! `start.rs` before the first generation, `act.rs` what an action does, `say.rs` what is told.

mod act;
pub mod exporter;
mod keep;
mod notify;
mod prober;
mod say;
mod sockets;
mod start;

pub use say::cannot_block;

use crate::cli::{self, Request};
use crate::config::{Config, Level};
use crate::core::{Action, End, Event, State, is_timeless, step};
use crate::kernel::cgroup::Memory;
use crate::kernel::entry::Start;
use crate::kernel::notify::SIGNAL;
use crate::kernel::reap::{self, Reaped};
use crate::kernel::signals::{self, Mask, Received, Sender};
use crate::kernel::spawn::Environment;
use crate::kernel::terminal::Terminal;
use crate::kernel::{Errno, clock, process};
use crate::leftovers::{Leftovers, ToldGroup};
use crate::report::{Asker, Command, Log, Story};
use crate::signal::Signal;
use crate::status::layout;
use crate::verbs;
use crate::watch::PortWatch;
use exporter::Exporter;
use keep::Kept;
use notify::Ear;
use prober::Prober;
use std::ffi::{CString, c_char};
use std::time::Duration;

/// From the first instruction to the last; the code to leave with. All signals are blocked.
pub fn main(start: Start) -> u8 {
    if start.args.first().is_some_and(|name| *name == exporter::NAME) {
        return crate::exporter::main(&start);
    }
    if start.args.first().is_some_and(|name| *name == crate::prober::NAME) {
        return crate::prober::main(&start);
    }
    if let Some(code) = verbs::run(&start) {
        return code;
    }
    match cli::read(&start) {
        Ok(Request::Run { config, command, warnings }) => {
            Init::new(&start, *config, command).run(&start, &warnings)
        }
        Ok(Request::Print(text)) => say::print(&start, &text),
        Err(refused) => say::refuse(&start, &refused),
    }
}

struct Init {
    config: Config,
    state: State,
    log: Log,
    story: Story,
    command: Command,
    places: Vec<CString>,
    argv: Vec<*const c_char>,
    /// Room for a shell in front of `argv`, by another init's name.
    shell: Option<Vec<*const c_char>>,
    environment: Environment,
    /// The mask and SIGCHLD's disposition that clawinit was given, for the child.
    mask: Mask,
    ignores_children: Result<bool, Errno>,
    terminal: Option<Terminal>,
    /// The pid, and process group, of the last child; for the terminal alone.
    last_child: i32,
    /// The folder that children start in, once clawinit itself has left it.
    folder: Option<CString>,
    leftovers: Leftovers,
    /// The child's process group, once it got the sweep's own signal as a whole.
    told_group: Option<ToldGroup>,
    watch: Option<PortWatch>,
    /// The signal that is being acted on, and who sent it.
    received: Option<Received>,
    asker: Option<Asker>,
    /// Our own verbs that wait for what comes of a request: pids that may be gone.
    verbs: Vec<i32>,
    /// How many processes the OOM killer had ended when the generation began.
    memory: Memory,
    oom_before: Option<u64>,
    kept: Kept,
    exporter: Option<Exporter>,
    /// How many sockets of `--listen` clawinit has open, from descriptor 3 on.
    sockets: i32,
    ear: Option<Ear>,
    prober: Option<Prober>,
}

impl Init {
    fn run(mut self, start: &Start, warnings: &[String]) -> u8 {
        if let Err(code) = self.prepare(start) {
            return code;
        }
        let first = self.spawn();
        // From here on clawinit leaves only by `Action::Exit`.
        self.settle(start, warnings);
        self.happened(first);
        self.look_after_exporter();
        self.look_after_prober();
        loop {
            match signals::wait(self.time_left()) {
                Ok(received) => self.received = received,
                Err(errno) => return self.cannot_wait(errno),
            }
            if let Some(event) = self.received.and_then(|received| self.event(received)) {
                self.happened(event);
            }
            // Who has spoken or ended in the last moment has done so in time.
            if self.deadline_passed() {
                self.hear_all();
                if let Some(event) = self.reap() {
                    self.happened(event);
                }
                if self.deadline_passed() {
                    self.happened(Event::DeadlinePassed);
                }
            }
            self.hear_when_due();
            self.look_at_port();
            self.look_after_exporter();
            self.look_after_prober();
        }
    }

    /// Steps the state machine and does what it says; an action's answer is an event too.
    fn happened(&mut self, event: Event) {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            if let Event::StartFailed(failure) = event {
                self.keep_end(End::NotStarted(failure.code), false, Duration::ZERO);
            }
            // The clock and the page are a good part of what it costs to pass a signal on or to
            // reap an orphan. Only where lines are written of those can one be dropped.
            let as_before = is_timeless(&self.state, event)
                && !self.log.wants(Level::Debug)
                && !self.config.warn_on_reap;
            let now = if as_before { self.state.started } else { clock::monotonic() };
            let actions = step(&self.config, &mut self.state, now, event);
            // Before anything is done about it: who sees the child told sees the phase, too.
            if matches!(event, Event::Stop(_) | Event::Restart(_)) {
                self.publish(now);
            }
            self.trace(event, actions.as_slice());
            self.let_go_of_sockets_when_leaving();
            for action in actions.as_slice() {
                next = self.perform(*action).or(next);
            }
            if !as_before {
                self.publish(now);
            }
        }
    }

    fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Spawn => return Some(self.next_generation()),
            Action::Forward(signal) => self.forward(signal),
            Action::Tell(signal) => self.tell(signal),
            Action::Kill => self.kill(),
            Action::ForwardToLeftovers(signal) => self.forward_to_leftovers(signal),
            Action::TellLeftovers(signal) => return self.tell_leftovers(signal),
            Action::KillLeftovers => self.kill_leftovers(),
            Action::Continue => self.send_child(Signal::CONT),
            Action::Suspend => self.suspend(),
            Action::Note(note) => self.note(note),
            Action::Exit(code) => self.exit(code),
        }
        None
    }

    /// What a signal means; `None`: it is clawinit's own affair.
    fn event(&mut self, received: Received) -> Option<Event> {
        let signal = received.signal;
        match received.sender {
            Sender::Kernel | Sender::Process { .. } if signal == Signal::CHLD => {
                // A verb that waits for a stop which others have asked for says so by a signal
                // that is nobody else's concern.
                self.wait_for_verb(received);
                self.note_received(signal);
                // The last words of one that has ended come before its end.
                self.hear_all();
                return self.reap();
            }
            // Something was sent to the socket. A process may have sent this signal too, and
            // where both were pending there is but one: it is heard whoever is named.
            Sender::Kernel | Sender::Process { .. } if signal == SIGNAL && self.ear.is_some() => {
                self.hear_soon();
                if received.sender == Sender::Kernel {
                    return None;
                }
            }
            // clawinit's own write to a broken or full standard error raised it.
            Sender::Process { pid, .. }
                if [Signal::PIPE, Signal::XFSZ].contains(&signal) && pid == process::pid() =>
            {
                return None;
            }
            // The terminal raised it for clawinit; the child gets its own.
            Sender::Kernel if [Signal::TTIN, Signal::TTOU, Signal::CONT].contains(&signal) => {
                return None;
            }
            Sender::Kernel | Sender::Process { .. } => {}
        }
        self.note_received(signal);
        self.kept.page.update(|w| w.add(layout::RECEIVED, signal.number() as usize, 1));
        let event = self.config.event(signal);
        if matches!(event, Event::Stop(_) | Event::Restart(_)) {
            // What was said before the request was not said in answer to it.
            self.hear_all();
            self.asker = Some(say::asker(received.sender));
            self.wait_for_verb(received);
        }
        Some(event)
    }

    /// Reaps until nothing is left to reap: SIGCHLD coalesces.
    fn reap(&mut self) -> Option<Event> {
        let (mut child, mut any, mut others, mut lost) = (None, false, 0, false);
        let children = loop {
            // Once it is reaped its number may be somebody else's, who ends in this very moment.
            let of_child = self.state.child.filter(|_| child.is_none());
            self.end_group_before_its_leader_is_reaped(of_child);
            match reap::next() {
                Reaped::One(pid, status) if of_child == Some(pid) => child = Some(status),
                Reaped::One(pid, status) if self.exporter_pid() == Some(pid) => {
                    self.exporter_ended(pid, status);
                }
                Reaped::One(pid, status) if self.prober_pid() == Some(pid) => {
                    self.prober_ended(pid, status);
                }
                Reaped::One(pid, status) => {
                    others += 1;
                    self.orphan_reaped(pid, status);
                }
                Reaped::NoneDead => break true,
                // Ours was not reaped: it is asked again, once.
                Reaped::NoChildren if self.state.child.is_some() && child.is_none() => {
                    if std::mem::replace(&mut lost, true) {
                        self.cannot_reap(Errno(libc::ECHILD));
                    }
                    continue;
                }
                Reaped::NoChildren => break false,
                Reaped::Unknown(errno) => self.cannot_reap(errno),
            }
            any = true;
        };
        if others > 0 {
            self.kept.page.update(|w| w.add(layout::REAPED, 0, others));
        }
        // While the child lives nobody asks.
        let gone = child.is_some() || self.state.child.is_none();
        let leftovers = children && (!gone || self.has_others());
        match child {
            Some(status) => Some(Event::ChildExited { status, leftovers }),
            None if any => Some(Event::Reaped { leftovers }),
            None => self.child_stopped().then_some(Event::ChildStopped),
        }
    }
}
