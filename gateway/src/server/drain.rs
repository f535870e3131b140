//! The way from a stop or restart request to the end, step by step.
//!
//! Requests under way are finished, then the agents end, then the cache is flushed and
//! the disk closed. Every step has a deadline, and one that fails does not keep the
//! next from its work.

use std::time::{Duration, Instant};

use crate::state::Reason;

/// The part of the drain time that agents get, at most.
const AGENT_GRACE: Duration = Duration::from_secs(2);
/// From an agent's SIGKILL until nobody waits for it any more (state D).
const KILL_WAIT: Duration = Duration::from_secs(1);
/// What a slow disk gets for the last commit and the state. Everything acknowledged is
/// on it already.
const DISK_TIME: Duration = Duration::from_secs(5);

/// Where the drain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Requests under way are finished, until then.
    Requests(Instant),
    /// Agents have their SIGTERM; SIGKILL then.
    Agents(Instant),
    /// They have their SIGKILL; given up then.
    Killing(Instant),
    /// The disk closes the memory and saves the state, until then.
    Disk(Instant),
    /// Clients close what was closed for them, until then.
    Closing(Instant),
    /// All is done.
    Done,
}

/// From the end of all requests until connections that were closed on our side are closed
/// on the other, too: a request that crosses the close on its way finds an open socket,
/// and its client reads an end of file, not a reset.
const CLOSE_TIME: Duration = Duration::from_millis(100);

/// A drain under way.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    /// What was asked for.
    pub reason: Reason,
    /// When.
    pub begun: Instant,
    /// Where it stands.
    pub step: Step,
    /// Whether new connections are waited for, and idle ones closed on our side first:
    /// behind a socket that others hold, clients are to notice nothing.
    pub is_gentle: bool,
    /// When the last connection is closed, whatever its client does.
    pub close_at: Instant,
    /// What agents get.
    agent_grace: Duration,
}

impl Drain {
    /// A drain of `total` length that begins `now`.
    pub fn new(
        reason: Reason,
        now: Instant,
        total: Duration,
        agents: bool,
        is_gentle: bool,
    ) -> Self {
        let agent_grace = if agents { AGENT_GRACE.min(total / 2) } else { Duration::ZERO };
        let step = Step::Requests(now + total - agent_grace);
        Self { reason, begun: now, step, is_gentle, close_at: now, agent_grace }
    }

    /// The longest that a drain of `total` length can take.
    pub fn longest(total: Duration) -> Duration {
        total + KILL_WAIT + DISK_TIME + CLOSE_TIME
    }

    /// When the step that it is in ends by itself.
    pub fn deadline(&self) -> Option<Instant> {
        match self.step {
            Step::Requests(until)
            | Step::Agents(until)
            | Step::Killing(until)
            | Step::Disk(until)
            | Step::Closing(until) => Some(until),
            Step::Done => None,
        }
    }

    /// The same drain, at another step.
    pub fn at(self, step: Step) -> Self {
        Self { step, ..self }
    }

    /// The step in which agents have their SIGTERM. From here on no request is answered.
    pub fn agents_step(&mut self, now: Instant) -> Step {
        self.close_at = now + CLOSE_TIME;
        Step::Agents(now + self.agent_grace)
    }

    /// The step in which SIGKILL does its work.
    pub fn killing_step(now: Instant) -> Step {
        Step::Killing(now + KILL_WAIT)
    }

    /// The last step.
    pub fn disk_step(now: Instant) -> Step {
        Step::Disk(now + DISK_TIME)
    }
}
