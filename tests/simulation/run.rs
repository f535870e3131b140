//! One schedule, from its seed to the end of clawinit, and what came of it.

use crate::kernel::entry::Start;
use crate::kernel::signals::Mask;
use crate::schedule::{Fault, Name, Schedule};
use crate::world::{self, Broken, Exited, World};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

thread_local! {
    /// Command lines live as long as a process; their words are few, and kept.
    static WORDS: RefCell<HashMap<String, &'static CStr>> = RefCell::default();
    /// What the last panic said.
    static PANIC: RefCell<String> = RefCell::default();
}

/// What came of a schedule.
pub struct Outcome {
    /// The promise that was broken.
    pub broken: Option<String>,
    pub trace: Vec<String>,
    pub seen: Seen,
}

/// What a schedule had in it: a million that test nothing would be no news.
#[derive(Default, Clone, Copy)]
pub struct Seen {
    pub calls: u64,
    pub processes: u64,
    pub generations: u64,
    pub stopped: u64,
    pub escalated: u64,
    pub reused: u64,
}

/// Counts over many schedules.
#[derive(Default)]
pub struct Totals {
    count: u64,
    seen: Seen,
    /// Seeds, and what they broke.
    pub broken: Vec<(u64, String)>,
}

impl Totals {
    pub fn add(&mut self, seed: u64, outcome: Outcome) {
        self.count += 1;
        self.sum(outcome.seen);
        self.broken.extend(outcome.broken.map(|what| (seed, what)));
    }

    pub fn join(&mut self, other: Totals) {
        self.count += other.count;
        self.sum(other.seen);
        self.broken.extend(other.broken);
    }

    fn sum(&mut self, more: Seen) {
        let seen = &mut self.seen;
        seen.calls += more.calls;
        seen.processes += more.processes;
        seen.generations += more.generations;
        seen.stopped += more.stopped;
        seen.escalated += more.escalated;
        seen.reused += more.reused;
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Seen { calls, processes, generations, stopped, escalated, reused } = self.seen;
        write!(
            f,
            "{} schedules: {generations} generations, {processes} processes ({reused} by a pid \
             that another had before), {calls} calls; {stopped} asked to stop, {escalated} needed SIGKILL",
            self.count
        )
    }
}

/// A broken promise unwinds, and so does an assertion of the program's own; neither is printed
/// where it happens.
pub fn keep_panics_quiet() {
    std::panic::set_hook(Box::new(|info| {
        let message = info.payload_as_str().unwrap_or("no message");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        PANIC.set(format!("{message} at {place}"));
    }));
}

fn word(text: &str) -> &'static CStr {
    WORDS.with_borrow_mut(|words| {
        if let Some(known) = words.get(text) {
            return *known;
        }
        let new: &'static CStr = Box::leak(CString::new(text).expect("no zero").into_boxed_c_str());
        words.insert(text.to_owned(), new);
        new
    })
}

pub fn seed(seed: u64) -> Outcome {
    schedule(Rc::new(Schedule::of(seed)), false)
}

/// All that happens in a schedule, line by line.
pub fn trace(seed: u64) -> Vec<String> {
    schedule(Rc::new(Schedule::of(seed)), true).trace
}

pub fn schedule(plan: Rc<Schedule>, traced: bool) -> Outcome {
    let name = match plan.options.name {
        Name::Clawinit => "clawinit",
        Name::Tini => "tini",
        Name::Catatonit => "catatonit",
        Name::DumbInit => "dumb-init",
    };
    let mut args = vec![word(name)];
    args.extend(plan.options.words().iter().map(|text| word(text)));
    args.extend([c"--", c"program"]);
    world::enter(plan, traced);
    let start = Start { args, mask: Mask::NONE, parent: 0 };
    let ended = catch_unwind(AssertUnwindSafe(|| crate::init::main(start)));
    let mut world = world::leave();
    let broken = match ended {
        Ok(125) if world.has(|fault| *fault == Fault::Socket) && !world.book.has_begun() => None,
        Ok(code) => Some(format!("it returned with {code}; {}", world.last_line.trim_end())),
        Err(payload) => match payload.downcast::<Broken>() {
            Ok(_) if is_blind(&world) => None,
            Ok(broken) => Some(broken.0),
            Err(payload) if payload.is::<Exited>() => None,
            Err(_) => Some(PANIC.take()),
        },
    };
    Outcome { broken, trace: world.trace(), seen: seen(&world) }
}

/// Where clawinit overslept and its log does not show it, the book cannot know that a child has its
/// time anew. The program's own assertions count all the same.
fn is_blind(world: &World) -> bool {
    let dumb = world.plan.options.level == Some("error")
        || world.has(|fault| matches!(fault, Fault::Log { .. }));
    dumb && world.plan.options.hears() && world.has(|fault| matches!(fault, Fault::Stall { .. }))
}

fn seen(world: &World) -> Seen {
    let mut pids: Vec<_> = world.processes.iter().map(|process| process.pid).collect();
    pids.sort_unstable();
    pids.dedup();
    Seen {
        calls: world.calls(),
        processes: world.processes.len() as u64,
        generations: world.book.generation.into(),
        stopped: world.book.was_stopped().into(),
        escalated: world.book.has_escalated().into(),
        reused: (world.processes.len() - pids.len()) as u64,
    }
}
