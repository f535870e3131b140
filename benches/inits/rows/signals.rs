//! Signals on their way through an init: idle, in a storm of dying orphans, and too early.

use super::start::{at_rest, micros};
use super::{Effort, empty, real, turns};
use crate::figures::{Cell, Row, Target, quantile};
use crate::inits::Init;
use crate::roles::{DONE, STORM};
use crate::space::{Plan, Space, stay_on_one_cpu};
use crate::{Result, sys};
use nix::sched::{sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use std::time::Duration;

/// Each init with a child that says when a signal came, all running beside each other.
pub fn echoes(inits: &[Init], on_one_cpu: bool) -> Result<Vec<(usize, Space)>> {
    let mut spaces = Vec::new();
    for (i, init) in real(inits) {
        let plan = Plan::new(init, &["echo"])?;
        let mut space = Plan { on_one_cpu, ..plan }.start()?;
        space.expect("the child")?;
        spaces.push((i, space));
    }
    for (_, space) in &spaces {
        at_rest(space)?;
    }
    Ok(spaces)
}

/// From kill(2) to the child.
pub fn forward(inits: &[Init], effort: Effort) -> Result<Row> {
    let all = sched_getaffinity(Pid::from_raw(0))?;
    stay_on_one_cpu()?;
    let took = forward_times(inits, effort);
    sched_setaffinity(Pid::from_raw(0), &all)?;
    Ok(Row::new("forward", "forward: a signal to the init, to the child; idle, on one CPU", "us")
        .samples(&took?)
        .target(Target::TimesBest(0.95))
        .target(Target::TimesBest(1.00)))
}

fn forward_times(inits: &[Init], effort: Effort) -> Result<Vec<Vec<f64>>> {
    let mut spaces = echoes(inits, true)?;
    let mut took = empty(inits);
    for round in 0..effort.of(4_000) {
        for turn in turns(spaces.len(), round) {
            let (i, space) = &mut spaces[turn];
            let sent = sys::now_ns();
            space.signal(libc::SIGUSR2)?;
            took[*i].push(micros(sent, space.expect("a forwarded signal")?));
            // The init is asleep again before the next one.
            std::thread::sleep(Duration::from_micros(100));
        }
    }
    Ok(took)
}

/// The same at 1 kHz while orphans die.
pub fn storm(inits: &[Init], effort: Effort, notes: &mut Vec<String>) -> Result<Vec<Row>> {
    const SLICE: Duration = Duration::from_secs(1);
    const EVERY: Duration = Duration::from_millis(1);
    let mut spaces = echoes(inits, false)?;
    let mut took = empty(inits);
    let mut made = 0;
    let slices = effort.of(10);
    for _ in 0..slices {
        for (i, space) in &mut spaces {
            space.tell(STORM)?;
            space.tell(SLICE.as_millis() as u64)?;
            let mut next = sys::now_ns();
            let end = next + SLICE.as_nanos() as u64;
            let mut more = true;
            while next < end && more {
                let sent = sys::now_ns();
                space.signal(libc::SIGUSR2)?;
                // The maker's last word may come in between.
                loop {
                    let said = space.expect("a signal in a storm")?;
                    if said & DONE == 0 {
                        took[*i].push(micros(sent, said));
                        break;
                    }
                    made += said & !DONE;
                    more = false;
                }
                next += EVERY.as_nanos() as u64;
                let left = next.saturating_sub(sys::now_ns());
                std::thread::sleep(Duration::from_nanos(left));
            }
            if more {
                made += space.expect("the end of a storm")? & !DONE;
            }
        }
    }
    let rate = made as f64 / (slices * spaces.len()) as f64 / SLICE.as_secs_f64();
    notes.push(format!("In the storm {rate:.0} orphans died per second."));
    let p99 = took.iter().map(|took| quantile(took, 0.99).map(Cell::exact)).collect();
    Ok(vec![
        Row::new("storm-p50", "storm: forwarding while orphans die, p50", "us")
            .samples(&took)
            .target(Target::TimesBest(1.00)),
        Row::new("storm-p99", "storm, p99: see how far the two copies of tini differ", "us")
            .cells(p99),
    ])
}

/// How far behind exec a SIGTERM is sent, at most.
pub const LATEST: u64 = 1_500;
/// The steps between.
pub const STEP: u64 = 25;

/// What became of SIGTERMs that came early.
pub struct Losses {
    /// For each init: the delay behind exec in microseconds, and whether it was lost.
    pub sent: Vec<Vec<(f64, bool)>>,
    /// For each init: from exec to the first instruction, in microseconds.
    pub first: Vec<Option<Cell>>,
}

/// SIGTERMs at different times after exec.
pub fn early(inits: &[Init], effort: Effort) -> Result<Losses> {
    let mut losses = Losses { sent: vec![Vec::new(); inits.len()], first: vec![None; inits.len()] };
    let plans: Vec<(usize, Plan)> = real(inits)
        .map(|(i, init)| Ok((i, Plan::new(init, &["pause"])?)))
        .collect::<Result<_>>()?;
    for round in 0..effort.of(20) as u64 {
        for step in 0..LATEST / STEP {
            // Not the same places in each round.
            let after = step * STEP + round * STEP / 20;
            for (i, plan) in &plans {
                losses.sent[*i].push(one_early(plan, after)?);
            }
        }
    }
    for (i, plan) in &plans {
        let looks: Vec<Option<f64>> =
            (0..effort.of(100)).map(|_| first_instruction(plan)).collect::<Result<_>>()?;
        losses.first[*i] = Cell::of(&looks.into_iter().flatten().collect::<Vec<_>>());
    }
    Ok(losses)
}

/// One SIGTERM so many microseconds after exec: when it was sent, and whether it was lost.
fn one_early(plan: &Plan, after: u64) -> Result<(f64, bool)> {
    let mut space = plan.start()?;
    while sys::now_ns() < space.executed + after * 1_000 {}
    space.signal(libc::SIGTERM)?;
    let sent = micros(space.executed, sys::now_ns());
    // The child has no handler: whichever of both comes to it first, ends it. This one follows
    // when all is set up, so it comes first only where the other was lost. No number: it has ended.
    if space.record()?.is_some() {
        at_rest(&space)
            .or_else(|error| if space.proc("stat").is_ok() { Err(error) } else { Ok(()) })?;
        let _ = space.signal(libc::SIGVTALRM);
    }
    match space.end()?.code - 128 {
        libc::SIGTERM => Ok((sent, false)),
        libc::SIGVTALRM => Ok((sent, true)),
        other => Err(format!("{} ended with 128 + {other}", plan.words[0]).into()),
    }
}

/// From exec to the first instruction: when the kernel has laid out the new program, its
/// `startcode` appears in `/proc/PID/stat`, and the first instruction follows. None where that was
/// over before the first look.
fn first_instruction(plan: &Plan) -> Result<Option<f64>> {
    let startcode = |stat: &str| -> Result<String> {
        let (_, fields) = stat.rsplit_once(") ").ok_or("no stat")?;
        Ok(fields.split(' ').nth(26 - 3).unwrap_or_default().to_string())
    };
    // What the process runs before is this program.
    let own = startcode(&std::fs::read_to_string("/proc/self/stat")?)?;
    let space = plan.start()?;
    let mut before = None;
    loop {
        let code = startcode(&space.proc("stat")?)?;
        let now = sys::now_ns();
        if code != own && code != "0" {
            return Ok(before.map(|before| micros(space.executed, (before + now) / 2)));
        }
        if now > space.executed + 100_000_000 {
            return Err(format!("{}: its start cannot be seen", plan.words[0]).into());
        }
        before = Some(now);
    }
}

impl Losses {
    /// The share of the signals that were lost, in per cent.
    fn share(&self, init: usize) -> Option<Cell> {
        let sent = &self.sent[init];
        let lost = sent.iter().filter(|(_, lost)| *lost).count();
        (!sent.is_empty()).then(|| Cell::exact(100.0 * lost as f64 / sent.len() as f64))
    }

    /// The time after which none was lost, and the window before it: microseconds after exec.
    fn last(&self, init: usize) -> Option<f64> {
        let sent = &self.sent[init];
        if sent.is_empty() {
            return None;
        }
        let lost = sent.iter().filter(|(_, lost)| *lost).count() as f64;
        // Signals come evenly over the time, so the share that is lost is the share of the time
        // in which they are lost: less jumpy than the latest one.
        Some(lost / sent.len() as f64 * LATEST as f64)
    }

    /// The share of losses for each step of the delay.
    pub fn curve(&self, init: usize) -> Vec<(f64, f64)> {
        let bins = (LATEST / STEP) as usize;
        let mut counts = vec![(0u32, 0u32); bins + 1];
        for (at, lost) in &self.sent[init] {
            let bin = ((at / STEP as f64) as usize).min(bins);
            counts[bin].0 += 1;
            counts[bin].1 += u32::from(*lost);
        }
        let middle = |bin: usize| (bin as f64 + 0.5) * STEP as f64;
        let points = counts.iter().enumerate().filter(|(_, count)| count.0 > 0);
        points.map(|(bin, count)| (middle(bin), f64::from(count.1) / f64::from(count.0))).collect()
    }
}

pub fn early_rows(losses: &Losses) -> Vec<Row> {
    let inits = 0..losses.sent.len();
    let share = inits.clone().map(|init| losses.share(init)).collect();
    let deaf: Vec<Option<f64>> = inits.clone().map(|init| losses.last(init)).collect();
    let window =
        inits.map(|init| Some(Cell::exact((deaf[init]? - losses.first[init]?.middle).max(0.0))));
    vec![
        Row::new("early-lost", "early: SIGTERMs 0 to 1,500 us after exec that are lost", "%")
            .cells(share),
        Row::new("early-deaf", "early: how long after exec a SIGTERM is lost", "us")
            .cells(deaf.iter().map(|time| time.map(Cell::exact)).collect()),
        Row::new(
            "early-first",
            "of that, the kernel's exec, up to the init's first instruction",
            "us",
        )
        .cells(losses.first.clone()),
        Row::new("early-window", "and the init's own window, until it has blocked signals", "us")
            .cells(window.collect())
            .target(Target::TimesTini(0.10)),
    ]
}
