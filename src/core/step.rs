//! `step(state, now, event) -> actions`: one function a phase, each naming every event.

use super::action::{Action, Actions, Note};
use super::event::{Event, Notice, StartFailure};
use super::exit::{End, Status, exit_code};
use super::invariants;
use super::phase::{Cause, Limit, Next, Phase, Readiness, State, Stop};
use crate::config::{Config, ExitWhen, RestartMode, RestartStyle};
use crate::signal::Signal;
use std::time::Duration;

/// How long to wait for what SIGKILL should have ended. A process in state D (proc(5)) ends
/// when its device answers, which may be never: it is named and left to the kernel.
pub const KILL_WAIT: Duration = Duration::from_secs(2);

/// By how much the deadline of a child's word has to have been missed for clawinit to take it that
/// it was not running itself (`docker pause`, a machine that stood still): the child was not
/// running either, and has its time anew. Never reached by a machine that is merely busy.
pub const OVERSLEPT: Duration = Duration::from_secs(1);

/// What asks leftovers to end.
pub const SWEEP_SIGNAL: Signal = Signal::TERM;

/// What to do about `event`, which came at `now`. The caller does the actions in order, and
/// tells `DeadlinePassed` once `state.deadline()` has been reached.
pub fn step(config: &Config, state: &mut State, now: Duration, event: Event) -> Actions {
    let before = cfg!(debug_assertions).then_some(*state);
    let mut todo = Actions::none();
    let of_the_child = matches!(event, Event::ChildExited { .. } | Event::ChildStopped);
    if of_the_child && state.child.is_none() {
        return todo; // there is none: nothing can have happened to it
    }
    let mut s = Step { config, state, now, todo: &mut todo };
    match s.state.phase {
        Phase::Starting => s.starting(event),
        Phase::Running => s.running(event),
        Phase::Stopping { tell, limit } => s.stopping(event, tell, limit),
        Phase::Restarting { limit, since } => s.restarting(event, limit, since),
        Phase::Failing { limit } => s.failing(event, limit),
        Phase::Sweeping { next, limit } => s.sweeping(event, next, limit),
        Phase::Backoff { .. } => s.backoff(event),
        Phase::Exited { .. } => {}
    }
    if !matches!(state.phase, Phase::Running) {
        state.due = None;
    }
    if let Some(before) = before {
        invariants::check(config, &before, now, event, state, todo.as_slice());
    }
    todo
}

/// Whether `step` takes no look at `now` and leaves the state as it is: so it is with what comes
/// by the thousand, signals to pass on and orphans, while a child runs.
pub fn is_timeless(state: &State, event: Event) -> bool {
    matches!(state.phase, Phase::Running)
        && state.child.is_some()
        && matches!(event, Event::Forward(_) | Event::Reaped { .. })
}

struct Step<'a> {
    config: &'a Config,
    state: &'a mut State,
    now: Duration,
    todo: &'a mut Actions,
}

impl Step<'_> {
    fn starting(&mut self, event: Event) {
        match event {
            Event::Spawned(pid) => {
                let state = &mut *self.state;
                state.child = Some(pid);
                state.started = self.now;
                state.generation = state.generation.saturating_add(1);
                if state.generation > 1
                    && let Some(cause) = state.cause
                {
                    state.restarts[cause as usize] += 1;
                }
                state.phase = Phase::Running;
                state.failed = false;
                // With `--exit-when all` somebody may have asked for it after the limit.
                state.gave_up = false;
                if self.config.knows_readiness() {
                    state.readiness = Readiness::NotYet;
                    state.ready_since = None;
                    state.due = self.config.start_grace.map(|grace| self.now + grace);
                } else {
                    state.readiness = Readiness::Unknown;
                    state.ready_since = Some(self.now);
                    state.due = self.config.watchdog.map(|time| self.now + time);
                }
                if let Some(stop) = self.state.stop {
                    self.tell_to_stop(stop);
                }
            }
            Event::StartFailed(failure) => self.start_failed(failure),
            // The loop leaves signals in the kernel's queue while it starts a generation, so
            // these three only come from a caller that does not. A stop is kept all the same.
            Event::Stop(signal) => {
                if self.state.stop.is_none() {
                    self.note_stop(signal, self.now + self.stop_time());
                }
            }
            Event::Restart(signal) => self.note(match self.state.stop {
                Some(_) => Note::RestartRefused(signal),
                None => Note::RestartFolded(signal),
            }),
            Event::Forward(signal) => self.note(Note::NoChild(signal)),
            Event::ChildExited { .. }
            | Event::Reaped { .. }
            | Event::ChildStopped
            | Event::Notified(_)
            | Event::DeadlinePassed => {}
        }
    }

    fn running(&mut self, event: Event) {
        match event {
            Event::Stop(signal) => {
                let stop = self.note_stop(signal, self.now + self.stop_time());
                self.tell_to_stop(stop);
            }
            Event::Restart(signal) => {
                let within = self.config.restart_grace;
                self.note(Note::RestartRequested { signal, within });
                self.tell(self.config.told_to_restart(signal));
                let limit = Some(Limit::Kill(self.now + within));
                self.state.phase = Phase::Restarting { limit, since: self.now };
            }
            Event::Forward(signal) => self.forward(signal),
            Event::ChildExited { status, leftovers } => {
                self.child_exited(status);
                match self.verdict(status) {
                    Next::Leave if leftovers && self.config.exit_when == ExitWhen::All => {
                        self.note(Note::GoesOn);
                    }
                    next => self.sweep(next, leftovers, None),
                }
            }
            Event::Reaped { leftovers: false } if self.state.child.is_none() => {
                self.proceed(Next::Leave);
            }
            Event::ChildStopped => self.todo.push(Action::Suspend),
            Event::Notified(notice) => self.notified(notice),
            Event::DeadlinePassed => {
                let late = self.state.due.and_then(|due| self.now.checked_sub(due));
                if let Some(late) = late.filter(|late| *late >= OVERSLEPT) {
                    self.note(Note::Overslept { by: late });
                    let time = match self.state.readiness {
                        Readiness::NotYet | Readiness::Reloading => self.config.start_grace,
                        Readiness::Unknown | Readiness::Ready => self.config.watchdog,
                        Readiness::Stopping => Some(self.config.restart_grace),
                    };
                    self.state.due = time.map(|time| self.now + time);
                } else if late.is_some() {
                    let after = self.now.saturating_sub(self.state.started);
                    match self.state.readiness {
                        Readiness::NotYet | Readiness::Reloading => {
                            self.fail(self.config.told_to_end(), |signal| Note::NotReady {
                                signal,
                                after,
                            });
                        }
                        Readiness::Unknown | Readiness::Ready | Readiness::Stopping => {
                            self.fail(self.config.told_when_hung(), Note::NoSignOfLife);
                        }
                    }
                }
            }
            Event::Reaped { .. } | Event::Spawned(_) | Event::StartFailed(_) => {}
        }
    }

    /// What a child that nobody has asked to do anything says of itself.
    fn notified(&mut self, notice: Notice) {
        let watchdog = self.config.watchdog;
        match (notice, self.state.readiness) {
            (Notice::Ready, Readiness::Ready) => {}
            (Notice::Ready, _) => {
                let after = self.now.saturating_sub(self.state.started);
                self.note(Note::Ready { after });
                self.ready();
            }
            // Said again it changes nothing, or whoever says it for ever would have for ever.
            (Notice::Reloading, Readiness::Reloading) | (Notice::Stopping, Readiness::Stopping) => {
            }
            (Notice::Reloading, _) => {
                self.note(Note::Reloading);
                self.state.readiness = Readiness::Reloading;
                self.state.due = self.config.start_grace.map(|grace| self.now + grace);
            }
            // From here on it may be too busy to give signs of life, and it accepts nobody any
            // more; it has as long as one who was asked to end.
            (Notice::Stopping, _) => {
                self.note(Note::EndsItself);
                self.state.readiness = Readiness::Stopping;
                let time = watchdog.unwrap_or_default().max(self.config.restart_grace);
                self.state.due = Some(self.now + time);
            }
            (Notice::Alive, Readiness::Unknown | Readiness::Ready) => {
                self.state.due = watchdog.map(|time| self.now + time);
            }
            (Notice::Failed, _) => self.fail(self.config.told_when_hung(), Note::SaysItFailed),
            (Notice::Extend(time), Readiness::NotYet) => self.extend_start(time),
            // No sign of life makes up for READY=1, and who is ready needs no more time for it.
            (Notice::Alive | Notice::Extend(_), _) => {}
        }
    }

    /// A child that is not ready yet needs longer: from now on, up to the operator's maximum.
    fn extend_start(&mut self, time: Duration) {
        if let (Some(due), Some(max)) = (self.state.due, self.config.start_grace_max) {
            let wanted = self.now.saturating_add(time).min(self.state.started + max);
            if wanted > due {
                self.note(Note::StartExtended { within: wanted.saturating_sub(self.now) });
                self.state.due = Some(wanted);
            }
        }
    }

    /// It does its work; from now on it has to give signs of life.
    fn ready(&mut self) {
        self.state.readiness = Readiness::Ready;
        self.state.ready_since = self.state.ready_since.or(Some(self.now));
        self.state.due = self.config.watchdog.map(|time| self.now + time);
    }

    /// A child that is on its way out: only what it says of itself for others to see.
    fn notified_while_ending(&mut self, notice: Notice) {
        match notice {
            Notice::Stopping => self.state.readiness = Readiness::Stopping,
            Notice::Reloading => self.state.readiness = Readiness::Reloading,
            Notice::Ready | Notice::Alive | Notice::Failed | Notice::Extend(_) => {}
        }
    }

    /// The child is asked to end, as one that has crashed.
    fn fail(&mut self, signal: Signal, note: impl FnOnce(Signal) -> Note) {
        self.state.failed = true;
        self.note(note(signal));
        self.tell(signal);
        let limit = Some(Limit::Kill(self.now + self.config.restart_grace));
        self.state.phase = Phase::Failing { limit };
    }

    /// More time for an end that has a deadline: from now on, up to the operator's maximum, and
    /// never less than there was. The deadline as it is from now on.
    fn extended(&mut self, limit: Limit, time: Duration, latest: Option<Duration>) -> Limit {
        match (limit, latest) {
            (Limit::Kill(at), Some(latest)) if self.now.saturating_add(time).min(latest) > at => {
                let at = self.now.saturating_add(time).min(latest);
                self.note(Note::Extended { within: at.saturating_sub(self.now) });
                Limit::Kill(at)
            }
            (limit, _) => limit,
        }
    }

    fn stopping(&mut self, event: Event, tell: Option<Duration>, limit: Limit) {
        match event {
            Event::Stop(signal) => {
                self.note(match tell {
                    Some(_) => Note::DelayEnded(signal),
                    None => Note::StopRepeated(signal),
                });
                let signal = self.config.told_to_stop(signal);
                if tell.is_none() && self.lingers() {
                    self.todo.push(Action::ForwardToLeftovers(signal));
                } else {
                    self.tell(signal);
                }
                self.state.phase = Phase::Stopping { tell: None, limit };
            }
            Event::Restart(signal) => self.note(Note::RestartRefused(signal)),
            Event::Forward(signal) => self.forward(signal),
            Event::ChildExited { status, leftovers } => {
                self.child_exited(status);
                self.sweep(Next::Leave, leftovers, Some(limit));
            }
            Event::Reaped { leftovers } if self.state.child.is_none() => {
                if leftovers {
                    let stop = self.state.stop.filter(|_| tell.is_none());
                    self.keep_telling(limit, stop.map(|s| self.config.told_to_stop(s.signal)));
                } else {
                    self.proceed(Next::Leave);
                }
            }
            Event::ChildStopped => self.todo.push(Action::Continue),
            Event::DeadlinePassed => {
                if self.now >= limit.time() {
                    match self.enforce(limit) {
                        Some(limit) => self.state.phase = Phase::Stopping { tell: None, limit },
                        None => {
                            self.state.last = Some(End::Survived);
                            self.proceed(Next::Leave);
                        }
                    }
                } else if tell.is_some_and(|tell| self.now >= tell)
                    && let Some(stop) = self.state.stop
                {
                    self.tell(self.config.told_to_stop(stop.signal));
                    self.state.phase = Phase::Stopping { tell: None, limit };
                }
            }
            Event::Notified(Notice::Extend(time)) => {
                if let Some(mut stop) = self.state.stop {
                    let latest = self.config.stop_grace_max;
                    let latest = latest.map(|max| stop.at + self.config.stop_delay + max);
                    let limit = self.extended(limit, time, latest);
                    if let Limit::Kill(at) = limit {
                        stop.deadline = at;
                    }
                    self.state.stop = Some(stop);
                    self.state.phase = Phase::Stopping { tell, limit };
                }
            }
            Event::Notified(notice) => self.notified_while_ending(notice),
            Event::Reaped { .. } | Event::Spawned(_) | Event::StartFailed(_) => {}
        }
    }

    /// A stop is asked for while the child is ending for another reason.
    fn stop_while_ending(&mut self, signal: Signal, limit: Option<Limit>) {
        let wanted = self.now + self.stop_time();
        match limit {
            Some(Limit::Kill(deadline)) => {
                let stop = self.note_stop(signal, wanted.min(deadline));
                self.tell_to_stop(stop);
            }
            // SIGKILL is on its way: nothing is left to be told.
            Some(Limit::GiveUp(_)) | None => {
                let over = limit.unwrap_or(Limit::GiveUp(self.now + KILL_WAIT));
                self.note_stop(signal, over.time());
                self.state.phase = Phase::Stopping { tell: None, limit: over };
            }
        }
    }

    /// The deadline of an end that a next generation follows, where it has passed.
    fn enforced(&mut self, limit: Option<Limit>) -> Option<Limit> {
        match limit {
            // Past the kill wait there is nothing to do but to wait on: a second child
            // beside one that still holds its files would be worse (I1).
            Some(limit) if self.now >= limit.time() => self.enforce(limit),
            limit => limit,
        }
    }

    fn restarting(&mut self, event: Event, limit: Option<Limit>, since: Duration) {
        match event {
            Event::Stop(signal) => self.stop_while_ending(signal, limit),
            Event::Restart(signal) => self.note(Note::RestartFolded(signal)),
            Event::Forward(signal) => self.forward(signal),
            Event::ChildExited { status, leftovers } => {
                self.child_exited(status);
                self.forgive_if_stable();
                self.requested_generation(leftovers, limit);
            }
            Event::Reaped { leftovers } if self.state.child.is_none() => match (leftovers, limit) {
                (true, Some(limit)) => self.keep_telling(limit, Some(SWEEP_SIGNAL)),
                (true, None) => {}
                (false, _) => self.requested_generation(false, limit),
            },
            Event::ChildStopped => self.todo.push(Action::Continue),
            Event::DeadlinePassed => {
                let limit = self.enforced(limit);
                self.state.phase = Phase::Restarting { limit, since };
            }
            Event::Notified(Notice::Ready)
                if self.config.restart_style == RestartStyle::InPlace
                    && matches!(limit, Some(Limit::Kill(_))) =>
            {
                self.note(Note::RestartedInPlace { after: self.now.saturating_sub(since) });
                self.state.cause = Some(Cause::Signal);
                self.state.restarts[Cause::Signal as usize] += 1;
                self.state.failed = false;
                self.state.ready_since = None;
                self.ready();
                self.state.phase = Phase::Running;
            }
            Event::Notified(Notice::Extend(time)) => {
                let latest = self.config.restart_grace_max.map(|max| since + max);
                let limit = limit.map(|limit| self.extended(limit, time, latest));
                self.state.phase = Phase::Restarting { limit, since };
            }
            Event::Notified(notice) => self.notified_while_ending(notice),
            Event::Reaped { .. } | Event::Spawned(_) | Event::StartFailed(_) => {}
        }
    }

    fn failing(&mut self, event: Event, limit: Option<Limit>) {
        match event {
            Event::Stop(signal) => self.stop_while_ending(signal, limit),
            // Whatever the mode makes of a crash: now somebody wants a next generation.
            Event::Restart(signal) => {
                let deadline = limit.map_or(self.now, Limit::time);
                let within = deadline.saturating_sub(self.now);
                self.note(Note::RestartRequested { signal, within });
                self.state.phase = Phase::Restarting { limit, since: self.now };
            }
            Event::Forward(signal) => self.forward(signal),
            Event::ChildExited { status, leftovers } => {
                self.child_exited(status);
                let next = self.verdict(status);
                self.sweep(next, leftovers, limit);
            }
            Event::Reaped { leftovers } if self.state.child.is_none() => match (leftovers, limit) {
                (true, Some(limit)) => self.keep_telling(limit, Some(SWEEP_SIGNAL)),
                (true, None) => {}
                // Its program had gone on in other processes, which are gone now.
                (false, _) => {
                    let next = match self.state.last {
                        Some(End::Reaped(status)) => self.verdict(status),
                        Some(End::NotStarted(_) | End::Survived) | None => Next::Leave,
                    };
                    self.proceed(next);
                }
            },
            Event::ChildStopped => self.todo.push(Action::Continue),
            Event::DeadlinePassed => match self.enforced(limit) {
                // No next generation waits for its end.
                None if !self.config.restarts_after_crashes() => {
                    self.state.last = Some(End::Survived);
                    self.proceed(Next::Leave);
                }
                limit => self.state.phase = Phase::Failing { limit },
            },
            Event::Notified(notice) => self.notified_while_ending(notice),
            Event::Reaped { .. } | Event::Spawned(_) | Event::StartFailed(_) => {}
        }
    }

    fn sweeping(&mut self, event: Event, next: Next, limit: Limit) {
        match event {
            Event::Stop(signal) => {
                let deadline = self.now + self.config.stop_grace;
                let limit = match limit {
                    // One that was asked for already bounds the sweep, its stop delay included.
                    Limit::Kill(at) if self.state.stop.is_none() => Limit::Kill(at.min(deadline)),
                    Limit::Kill(_) | Limit::GiveUp(_) => limit,
                };
                match next {
                    Next::Generation(_) => {
                        self.note_stop(signal, deadline);
                    }
                    // clawinit leaves in any case; with the child's code, which is known.
                    Next::Leave => self.note(Note::StopRepeated(signal)),
                }
                self.state.phase = Phase::Sweeping { next: Next::Leave, limit };
            }
            Event::Restart(signal) => self.note(match next {
                Next::Generation(_) => Note::RestartFolded(signal),
                Next::Leave => Note::RestartRefused(signal),
            }),
            Event::Forward(signal) => self.note(Note::NoChild(signal)),
            Event::Reaped { leftovers: true } => self.keep_telling(limit, self.sweep_signal()),
            Event::Reaped { leftovers: false } => self.proceed(next),
            Event::DeadlinePassed => {
                if self.now >= limit.time() {
                    match self.enforce(limit) {
                        Some(limit) => self.state.phase = Phase::Sweeping { next, limit },
                        None => self.proceed(next),
                    }
                }
            }
            Event::ChildExited { .. }
            | Event::ChildStopped
            | Event::Notified(_)
            | Event::Spawned(_)
            | Event::StartFailed(_) => {}
        }
    }

    fn backoff(&mut self, event: Event) {
        match event {
            Event::Stop(signal) => {
                self.note_stop(signal, self.now);
                self.proceed(Next::Leave);
            }
            Event::Restart(signal) => {
                self.note(Note::RestartRequested { signal, within: Duration::ZERO });
                self.proceed(Next::Generation(self.now));
            }
            Event::Forward(signal) => self.note(Note::NoChild(signal)),
            Event::DeadlinePassed => {
                if self.state.deadline().is_some_and(|until| self.now >= until) {
                    self.proceed(Next::Generation(self.now));
                }
            }
            Event::ChildExited { .. }
            | Event::Reaped { .. }
            | Event::ChildStopped
            | Event::Notified(_)
            | Event::Spawned(_)
            | Event::StartFailed(_) => {}
        }
    }

    /// What the end of a child that nobody else asked to end leads to.
    fn verdict(&mut self, status: Status) -> Next {
        let config = self.config;
        let code = status.code();
        let asked = matches!(status, Status::Exited(c) if config.restart_codes.contains(c));
        let failed = self.state.failed || code != 0 && !config.success_codes.contains(code);
        let cause = match config.restart {
            // Whoever gave up before does not begin anew with what had gone on without the child.
            _ if self.state.gave_up || config.no_restart_codes.contains(code) => {
                return Next::Leave;
            }
            RestartMode::Never => return Next::Leave,
            RestartMode::Request | RestartMode::OnFailure | RestartMode::Always if asked => {
                Cause::Code
            }
            RestartMode::Request => return Next::Leave,
            RestartMode::OnFailure if !failed => return Next::Leave,
            RestartMode::OnFailure | RestartMode::Always => Cause::Crash,
        };
        let stable = self.forgive_if_stable();
        if cause == Cause::Code && stable && !self.state.failed {
            self.generation_follows(cause, Duration::ZERO)
        } else {
            self.crashed(cause)
        }
    }

    /// A generation that did its work for `--stable-after` or longer makes up for the crashes
    /// before it.
    fn forgive_if_stable(&mut self) -> bool {
        let stable = self.state.steady(self.now) >= self.config.stable_after;
        if stable {
            self.state.crashes.forget();
        }
        stable
    }

    /// Counts a crash: the next generation waits, or there is none.
    fn crashed(&mut self, cause: Cause) -> Next {
        if self.state.crashes.record(self.config, self.now) {
            self.note(Note::RestartLimit);
            self.state.gave_up = true;
            return Next::Leave;
        }
        let delay = self.state.crashes.delay(self.config);
        self.generation_follows(cause, delay)
    }

    fn generation_follows(&mut self, cause: Cause, delay: Duration) -> Next {
        self.state.cause = Some(cause);
        self.note(Note::NextGeneration { cause, delay });
        Next::Generation(self.now + delay)
    }

    fn start_failed(&mut self, failure: StartFailure) {
        self.state.last = Some(End::NotStarted(failure.code));
        let retried = failure.temporary || self.state.generation > 0;
        let next = if self.state.stop.is_some() || !retried {
            Next::Leave
        } else {
            let cause = self.state.cause.unwrap_or(Cause::Crash);
            self.crashed(cause)
        };
        self.proceed(next);
    }

    /// The child was reaped.
    fn child_exited(&mut self, status: Status) {
        let lived = self.now.saturating_sub(self.state.started);
        if let Some(pid) = self.state.child.take() {
            self.note(Note::ChildExited { pid, status, lived });
        }
        self.state.last = Some(End::Reaped(status));
    }

    /// Its end was asked for by a restart request: the next generation waits for nothing.
    fn requested_generation(&mut self, leftovers: bool, limit: Option<Limit>) {
        let next = self.generation_follows(Cause::Signal, Duration::ZERO);
        self.sweep(next, leftovers, limit);
    }

    /// Ends what the child left, within the sweep grace and never past `limit`, the deadline
    /// of the stop or restart under way.
    fn sweep(&mut self, next: Next, leftovers: bool, limit: Option<Limit>) {
        // `--exit-when all` waits for them even where they are none of its business otherwise.
        let waits =
            self.config.sweeps() || self.config.exit_when == ExitWhen::All && next == Next::Leave;
        if !leftovers || !waits {
            return self.proceed(next);
        }
        let grace = self.now + self.config.sweep_grace;
        let limit = match limit {
            None => Limit::Kill(grace),
            // `--exit-when all` lets them finish within the stop's whole deadline.
            Some(Limit::Kill(at)) if self.config.exit_when == ExitWhen::All => Limit::Kill(at),
            Some(Limit::Kill(at)) => Limit::Kill(at.min(grace)),
            Some(Limit::GiveUp(at)) => Limit::GiveUp(at),
        };
        self.keep_telling(limit, self.sweep_signal());
        self.state.phase = Phase::Sweeping { next, limit };
    }

    /// What a sweep says; nothing where it only waits.
    fn sweep_signal(&self) -> Option<Signal> {
        self.config.sweeps().then_some(SWEEP_SIGNAL)
    }

    /// Leftovers may have come since they were last told: a process that ends hands over its
    /// own children. `signal`: what they are told; `None`: nothing yet.
    fn keep_telling(&mut self, limit: Limit, signal: Option<Signal>) {
        match (limit, signal) {
            (Limit::Kill(_), Some(signal)) => self.todo.push(Action::TellLeftovers(signal)),
            (Limit::Kill(_), None) => {}
            (Limit::GiveUp(_), _) => self.todo.push(Action::KillLeftovers),
        }
    }

    /// A deadline has passed: SIGKILL, or the end of the wait for its effect (`None`).
    fn enforce(&mut self, limit: Limit) -> Option<Limit> {
        match limit {
            Limit::Kill(_) => {
                if let Some(stop) = &mut self.state.stop
                    && self.now >= stop.deadline
                {
                    stop.overdue = true;
                }
                self.todo.push(match self.state.child {
                    Some(_) => Action::Kill,
                    None => Action::KillLeftovers,
                });
                Some(Limit::GiveUp(self.now + KILL_WAIT))
            }
            Limit::GiveUp(_) => {
                self.note(Note::Survived);
                None
            }
        }
    }

    /// To the next generation, at once or after its delay, or out.
    fn proceed(&mut self, next: Next) {
        match next {
            Next::Leave => {
                // SIGKILL was sent earlier, at a restart's or a sweep's deadline, and took until
                // after the stop's.
                let killed = matches!(self.state.ending(), Some(Limit::GiveUp(_)));
                if let Some(stop) = self.state.stop.as_mut().filter(|_| killed) {
                    stop.overdue |= self.now >= stop.deadline;
                }
                let code = exit_code(self.config, self.state);
                self.state.phase = Phase::Exited { code };
                self.todo.push(Action::Exit(code));
            }
            Next::Generation(at) if self.now >= at => {
                self.state.phase = Phase::Starting;
                self.todo.push(Action::Spawn);
            }
            Next::Generation(until) => self.state.phase = Phase::Backoff { until },
        }
    }

    /// From a stop request to its deadline.
    fn stop_time(&self) -> Duration {
        self.config.stop_delay + self.config.stop_grace
    }

    /// Writes down that a stop was asked for. No generation starts any more (I5).
    fn note_stop(&mut self, signal: Signal, deadline: Duration) -> Stop {
        let within = deadline.saturating_sub(self.now);
        self.note(Note::StopRequested { signal, within });
        let stop = Stop { signal, at: self.now, deadline, overdue: false };
        self.state.stop = Some(stop);
        stop
    }

    /// Tells the child to stop, now or after the stop delay.
    fn tell_to_stop(&mut self, stop: Stop) {
        let tell = stop.at + self.config.stop_delay;
        let wait = tell > self.now;
        if !wait {
            self.tell(self.config.told_to_stop(stop.signal));
        }
        self.state.phase =
            Phase::Stopping { tell: wait.then_some(tell), limit: Limit::Kill(stop.deadline) };
    }

    /// Whether the child's program goes on without it.
    fn lingers(&self) -> bool {
        self.state.child.is_none()
    }

    fn tell(&mut self, signal: Signal) {
        self.todo.push(if self.lingers() {
            Action::TellLeftovers(signal)
        } else {
            Action::Tell(signal)
        });
    }

    fn forward(&mut self, received: Signal) {
        let Some(signal) = self.config.forwarded(received) else {
            return;
        };
        self.todo.push(if self.lingers() {
            Action::ForwardToLeftovers(signal)
        } else {
            Action::Forward(signal)
        });
        if self.config.suspends(received) {
            self.todo.push(Action::Suspend);
        }
    }

    fn note(&mut self, note: Note) {
        self.todo.push(Action::Note(note));
    }
}
