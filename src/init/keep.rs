//! What is kept for others to read: the status page, and the times that it counts.

use super::Init;
use crate::config::Level;
use crate::core::{Cause, End, Event, Limit, Phase as CorePhase, Status};
use crate::kernel::{clock, process};
use crate::report::Fault;
use crate::signal::{self, Signal};
use crate::status::layout as at;
use crate::status::write::Writer;
use crate::status::{Asked, Phase, Timed};
use std::time::Duration;

/// The status page, and what is under way that it will count.
#[derive(Default)]
pub(super) struct Kept {
    pub page: Writer,
    /// When the request came that the child was not told of yet.
    untold: Option<Duration>,
    /// When the restart began that the next generation will end, and whether somebody asked.
    turnaround: Option<(Duration, bool)>,
    /// The child got SIGKILL from clawinit.
    pub overdue: bool,
}

impl Init {
    /// Makes the page and puts on it what does not change. Not before the child runs: nothing
    /// that it has to wait for. False: there is none, and the log says so.
    pub(super) fn open_page(&mut self) -> bool {
        if let Err(errno) = self.kept.page.open() {
            let said = format_args!(
                "no status page: memfd_create: {errno}; clawinit status, stop and restart will not find this clawinit"
            );
            self.log.line(Level::Warn, "warning", said, &[]);
            return false;
        }
        let config = &self.config;
        // clawinit itself began some microseconds before: to look at the clock then would have
        // made the child wait.
        let (born, born_realtime) = (clock::monotonic(), clock::realtime());
        let mut command = Vec::new();
        for word in &self.command.0 {
            command.extend_from_slice(word.to_bytes_with_nul());
        }
        command.truncate(at::COMMAND.words * 8);
        // The usual one where it is one of them, so that nobody has to wonder at another.
        let asks = |usual: Signal, wanted: fn(&Event) -> bool| {
            let all = (1..=i32::from(signal::MAX)).filter_map(Signal::new);
            let mut those = std::iter::once(usual).chain(all).filter(|s| wanted(&config.event(*s)));
            those.next().map_or(0, |signal| signal.number() as u64)
        };
        self.kept.page.update(|w| {
            w.set(at::PID, process::pid() as u64);
            w.time(at::BORN, born);
            w.time(at::BORN_REALTIME, born_realtime);
            w.time(at::STOP_DELAY, config.stop_delay);
            w.time(at::STOP_GRACE, config.stop_grace);
            w.time(at::RESTART_GRACE, config.restart_grace);
            w.time(at::STABLE_AFTER, config.stable_after);
            w.time(at::WATCHDOG, config.watchdog.unwrap_or_default());
            w.time(at::START_GRACE, config.start_grace.unwrap_or_default());
            w.set(at::KNOWS_READINESS, config.knows_readiness().into());
            w.set(at::SOCKETS, self.sockets as u64);
            w.set(at::STOP_BY, asks(Signal::TERM, |event| matches!(event, Event::Stop(_))));
            w.set(at::RESTART_BY, asks(Signal::USR1, |event| matches!(event, Event::Restart(_))));
            w.set(at::PORT, config.port.unwrap_or(0).into());
            w.set(at::COMMAND_LENGTH, command.len() as u64);
            w.text(at::COMMAND, &command);
        });
        true
    }

    /// A generation has begun: what the OOM killer does from now on is done to it.
    pub(super) fn look_at_memory(&mut self) {
        self.oom_before = self.memory.oom_kills();
    }

    /// Where we are, after each step.
    pub(super) fn publish(&self, now: Duration) {
        let state = &self.state;
        let phase = match state.phase {
            CorePhase::Starting => Phase::Starting,
            CorePhase::Running => Phase::Running,
            CorePhase::Stopping { .. } => Phase::Stopping,
            CorePhase::Restarting { .. } => Phase::Restarting,
            CorePhase::Sweeping { .. } => Phase::Sweeping,
            CorePhase::Backoff { .. } => Phase::Backoff,
            CorePhase::Failing { .. } => Phase::Failing,
            CorePhase::Exited { .. } => Phase::Exited,
        };
        self.kept.page.update(|w| {
            w.phase(phase, now);
            w.time(at::DEADLINE, state.limit().unwrap_or_default());
            w.set(
                at::KILL,
                match state.ending() {
                    Some(Limit::Kill(_)) => at::KILL_FOLLOWS,
                    Some(Limit::GiveUp(_)) => at::KILL_SENT,
                    None => 0,
                },
            );
            w.set(at::CHILD, state.child.unwrap_or(0) as u64);
            w.set(at::GENERATION, state.generation.into());
            w.time(at::GENERATION_BORN, state.started);
            w.list(at::RESTARTS, state.restarts.map(u64::from));
            w.set(at::CRASHES, state.crashes.in_a_row().into());
            w.set(at::LEFTOVERS, self.leftovers.pending() as u64);
            w.set(at::DROPPED, self.log.dropped_in_all());
            self.put_readiness(w);
            let failing = matches!(state.phase, CorePhase::Failing { .. });
            w.set(at::FAULT, fault(self.story.fault.filter(|_| failing)));
            if let CorePhase::Exited { code } = state.phase {
                w.set(at::EXIT_CODE, u64::from(code) + 1);
            }
        });
    }

    /// A request that is acted on.
    pub(super) fn keep_request(&mut self, asked: Asked, signal: Signal) {
        // The state machine's own time of a stop: its deadline counts from there.
        let now = match (asked, self.state.stop) {
            (Asked::Stop, Some(stop)) => stop.at,
            _ => clock::monotonic(),
        };
        self.kept.untold = Some(now);
        match asked {
            Asked::Stop => self.kept.turnaround = None,
            Asked::Restart => {
                self.kept.turnaround = Some((now, true));
                self.kept.overdue = false;
            }
        }
        self.kept.page.update(|w| w.request(asked, signal, now, self.asker));
    }

    /// The child was told of the request.
    pub(super) fn keep_told(&mut self) {
        if let Some(asked) = self.kept.untold.take() {
            let took = clock::monotonic().saturating_sub(asked);
            self.kept.page.update(|w| w.observe(Timed::FirstSignal, took));
        }
    }

    /// Another generation will follow the one that has just ended.
    pub(super) fn keep_turnaround(&mut self, cause: Cause) {
        if cause == Cause::Code && self.kept.turnaround.is_none() {
            self.kept.turnaround = Some((clock::monotonic(), false));
        }
    }

    /// The next generation runs.
    pub(super) fn keep_started(&mut self) {
        self.kept.untold = None;
        let overdue = std::mem::take(&mut self.kept.overdue);
        let Some((since, asked)) = self.kept.turnaround.take() else { return };
        let took = clock::monotonic().saturating_sub(since);
        let in_time = asked && !overdue;
        self.kept.page.update(|w| {
            w.observe(Timed::Restart, took);
            w.add(at::REQUESTS_DONE, Asked::Restart as usize, in_time.into());
        });
    }

    /// How a generation ended.
    pub(super) fn keep_end(&mut self, end: End, oom: bool, lived: Duration) {
        self.kept.untold = None;
        let (kind, value, core) = match end {
            End::Reaped(Status::Exited(code)) => (at::END_EXITED, u64::from(code), false),
            End::Reaped(Status::Signaled { signal, core_dumped }) => {
                (at::END_SIGNALED, signal.number() as u64, core_dumped)
            }
            End::NotStarted(code) => (at::END_NOT_STARTED, code.into(), false),
            End::Survived => (at::END_SURVIVED, 0, false),
        };
        let flags = if core { at::FLAG_CORE } else { 0 } | if oom { at::FLAG_OOM } else { 0 };
        let started = !matches!(end, End::NotStarted(_));
        let generation = self.state.generation + u32::from(!started);
        let last_fault = fault(self.story.fault.filter(|_| self.state.failed && started));
        self.kept.page.update(|w| {
            w.set(at::LAST_KIND, kind);
            w.set(at::LAST_VALUE, value);
            w.set(at::LAST_FLAGS, flags);
            w.set(at::LAST_FAULT, last_fault);
            w.set(at::LAST_GENERATION, generation.into());
            w.time(at::LAST_LIVED, lived);
            w.time(at::LAST_REALTIME, clock::realtime());
            w.add(at::OOM_KILLS, 0, oom.into());
        });
    }

    /// clawinit leaves; `took`: since the stop request.
    pub(super) fn keep_exit(&mut self, took: Option<Duration>, now: Duration) {
        if let (Some(took), Some(stop)) = (took, self.state.stop) {
            self.kept.page.update(|w| {
                w.observe(Timed::Stop, took);
                w.add(at::REQUESTS_DONE, Asked::Stop as usize, (!stop.overdue).into());
            });
        }
        if self.state.last == Some(End::Survived) {
            self.keep_end(End::Survived, false, now.saturating_sub(self.state.started));
        }
        self.publish(now);
    }
}

/// What a generation has failed to do, as the page has it.
fn fault(fault: Option<Fault>) -> u64 {
    fault.map_or(0, |fault| fault as u64 + 1)
}
