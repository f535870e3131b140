//! What dying processes cost an init, and how long it takes to stop with them.

use super::signals::echoes;
use super::start::{at_rest, micros};
use super::{Effort, empty, real, turns};
use crate::figures::{Row, Target};
use crate::inits::Init;
use crate::roles::{ALL_AT_ONCE, BURST, ONE_BY_ONE};
use crate::space::{Plan, Space};
use crate::{Result, sys};

/// Has orphans made, and says what each costs the init in microseconds of CPU.
fn orphans(space: &mut Space, what: u64, count: u64, times: u64) -> Result<f64> {
    let before = space.cpu_at_rest(1)?;
    for _ in 0..times {
        space.tell(what)?;
        space.tell(count)?;
        space.expect("orphans")?;
    }
    let after = space.cpu_at_rest(1)?;
    Ok(micros(before, after) / (count * times) as f64)
}

/// CPU for each of 20,000 orphans, one by one and in bursts.
pub fn reap(inits: &[Init], effort: Effort) -> Result<Vec<Row>> {
    const ROUNDS: usize = 40;
    let mut spaces = echoes(inits, true)?;
    let (mut single, mut bursts) = (empty(inits), empty(inits));
    let count = effort.of(20_000 / ROUNDS) as u64;
    for round in 0..ROUNDS {
        for turn in turns(spaces.len(), round) {
            let (i, space) = &mut spaces[turn];
            single[*i].push(orphans(space, ONE_BY_ONE, count, 1)?);
            bursts[*i].push(orphans(space, ALL_AT_ONCE, BURST, count.div_ceil(BURST))?);
        }
    }
    Ok(vec![
        Row::new("reap-one", "reap: CPU for an orphan, one by one, on one CPU", "us")
            .samples(&single)
            .target(Target::TimesBest(1.00)),
        Row::new("reap-burst", "reap: CPU for an orphan, 50 at once, on one CPU", "us")
            .samples(&bursts)
            .target(Target::TimesBest(1.00)),
    ])
}

/// From SIGTERM to the end of the init, whose child ends at once and leaves so many.
fn stop_once(init: &Init, leftovers: usize) -> Result<f64> {
    let mut space = Plan::new(init, &["stop", &leftovers.to_string()])?.start()?;
    space.expect("the child")?;
    at_rest(&space)?;
    let asked = sys::now_ns();
    space.signal(libc::SIGTERM)?;
    Ok(micros(asked, space.end()?.at) / 1e3)
}

pub fn stop(inits: &[Init], effort: Effort) -> Result<Vec<Row>> {
    let (mut alone, mut hundred) = (empty(inits), empty(inits));
    let all: Vec<(usize, &Init)> = real(inits).collect();
    for round in 0..effort.of(200) {
        for turn in turns(all.len(), round) {
            let (i, init) = all[turn];
            alone[i].push(stop_once(init, 0)?);
        }
    }
    for round in 0..effort.of(50) {
        for turn in turns(all.len(), round) {
            let (i, init) = all[turn];
            hundred[i].push(stop_once(init, 100)?);
        }
    }
    Ok(vec![
        Row::new("stop", "stop: SIGTERM to the init's end, its child ends at once", "ms")
            .samples(&alone)
            .target(Target::TimesTini(1.00)),
        Row::new("stop-100", "the same with 100 leftovers", "ms")
            .samples(&hundred)
            .target(Target::AtMost(20.0)),
    ])
}

/// How both grow with the number of children.
pub fn scale(inits: &[Init], effort: Effort, notes: &mut Vec<String>) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let counts: &[usize] =
        if effort == Effort::Full { &[10, 100, 1_000, 10_000] } else { &[10, 100, 1_000] };
    let (mut reaps, mut stops) = (Vec::new(), Vec::new());
    for &count in counts {
        let (mut cpu, mut time) = (empty(inits), empty(inits));
        for _ in 0..(effort.of(3_000) / count).clamp(1, 30) {
            let mut spaces = echoes(inits, true)?;
            for (i, space) in &mut spaces {
                cpu[*i].push(orphans(space, ALL_AT_ONCE, count as u64, 1)?);
            }
            drop(spaces);
            for (i, init) in real(inits) {
                time[i].push(stop_once(init, count)?);
            }
        }
        reaps.push(
            Row::new(
                &format!("scale-reap-{count}"),
                &format!("scale: CPU for an orphan, {count} at once"),
                "us",
            )
            .samples(&cpu),
        );
        stops.push(
            Row::new(
                &format!("scale-stop-{count}"),
                &format!("scale: stop with {count} leftovers"),
                "ms",
            )
            .samples(&time),
        );
    }
    for (what, rows) in [("CPU for an orphan", &reaps), ("time to stop for a leftover", &stops)] {
        let per = |i: usize| {
            let own = rows.get(i)?.middle(crate::inits::CLAWINIT)?;
            Some(if what.starts_with("CPU") { own } else { own * 1e3 / counts[i] as f64 })
        };
        if let Some((few, many)) = per(1).zip(per(counts.len() - 1)) {
            let verdict = if many <= few * 1.1 { "linear or better" } else { "more than linear" };
            let last = counts[counts.len() - 1];
            notes.push(format!(
                "Scale of clawinit, {what}: {few:.2} us with {}, {many:.2} us with {last}: {verdict}.", counts[1]
            ));
        }
    }
    rows.append(&mut reaps);
    rows.append(&mut stops);
    Ok(rows)
}
