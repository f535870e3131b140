//! The rows: what is measured, how often, and what is to be reached (issue 5).

pub mod reaping;
pub mod resources;
pub mod restarting;
pub mod signals;
pub mod start;

use crate::Result;
use crate::figures::Row;
use crate::inits::Init;
use std::time::Duration;

/// How many samples are taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    Full,
    /// A tenth, to see that all of it works.
    Quick,
}

impl Effort {
    /// `full` samples, or a tenth of them.
    pub fn of(self, full: usize) -> usize {
        match self {
            Effort::Full => full,
            Effort::Quick => full.div_ceil(10),
        }
    }

    pub fn time(self, full: Duration) -> Duration {
        match self {
            Effort::Full => full,
            Effort::Quick => full / 10,
        }
    }
}

/// All that was found.
pub struct Found {
    pub rows: Vec<Row>,
    /// What a row cannot say.
    pub notes: Vec<String>,
    pub losses: signals::Losses,
}

/// The rows of `make size`.
pub fn small(inits: &[Init]) -> Result<Vec<Row>> {
    let mut rows = resources::size(inits);
    rows.extend(resources::memory(inits)?);
    rows.extend(start::start(inits, Effort::Quick, &mut Vec::new())?);
    Ok(rows)
}

/// Those that are named, with all samples.
pub fn some(inits: &[Init], wanted: &str) -> Result<Vec<Row>> {
    let (effort, mut rows, mut notes) = (Effort::Full, Vec::new(), Vec::new());
    for name in wanted.split(',') {
        match name {
            "start" => rows.extend(start::start(inits, effort, &mut notes)?),
            "exit" => rows.push(start::exit(inits, effort)?),
            "forward" => rows.push(signals::forward(inits, effort)?),
            "reap" => rows.extend(reaping::reap(inits, effort)?),
            "stop" => rows.extend(reaping::stop(inits, effort)?),
            "early" => rows.extend(signals::early_rows(&signals::early(inits, effort)?)),
            "storm" => rows.extend(signals::storm(inits, effort, &mut notes)?),
            _ => return Err(format!("no row is called '{name}'").into()),
        }
    }
    Ok(rows)
}

/// Every row.
pub fn all(inits: &[Init], effort: Effort) -> Result<Found> {
    let began = std::time::Instant::now();
    let mut notes = Vec::new();
    let mut rows = Vec::new();
    let say = |what: &str| eprintln!("{:>4} s  {what}", began.elapsed().as_secs());
    say("start");
    rows.extend(start::start(inits, effort, &mut notes)?);
    say("forward");
    rows.push(signals::forward(inits, effort)?);
    say("exit");
    rows.push(start::exit(inits, effort)?);
    say("reap");
    rows.extend(reaping::reap(inits, effort)?);
    say("memory and size");
    rows.extend(resources::memory(inits)?);
    rows.extend(resources::size(inits));
    rows.extend(resources::image(inits, &mut notes));
    say("restart");
    rows.extend(restarting::restart(inits, effort, &mut notes)?);
    say("stop");
    rows.extend(reaping::stop(inits, effort)?);
    say("storm");
    rows.extend(signals::storm(inits, effort, &mut notes)?);
    say("early");
    let losses = signals::early(inits, effort)?;
    rows.extend(signals::early_rows(&losses));
    say("scale");
    rows.extend(reaping::scale(inits, effort, &mut notes)?);
    say("idle");
    rows.push(resources::idle(inits, effort)?);
    say("done");
    Ok(Found { rows, notes, losses })
}

/// An empty list of samples for each init.
fn empty(inits: &[Init]) -> Vec<Vec<f64>> {
    vec![Vec::new(); inits.len()]
}

/// The order of a round: each begins with another, since whoever comes first may find the caches
/// as somebody else left them.
fn turns(count: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |i| (round + i) % count)
}

/// The inits that are one, with their place in the list.
fn real(inits: &[Init]) -> impl Iterator<Item = (usize, &Init)> {
    inits.iter().enumerate().filter(|(_, init)| init.path.is_some())
}
