//! A flood of notifications (sd_notify(3)) must hold up no signal.

use crate::graces::Lateness;
use crate::harness::{End, Init};
use crate::random::Random;
use crate::report::Report;
use crate::roles::microseconds;
use crate::seen::{BOUND_TEXT, Page, Watch};
use crate::storm::{BLOCKED, QUEUED};
use crate::sys;
use serde_json::Value;
use std::time::Duration;

/// What a flood may make a signal later by, in milliseconds, beyond what a process waits for its
/// turn that never sleeps; which PID 1 does not while it is flooded. So much that a signal which
/// waits for processors is told from one that waits for the end of the flood, on any machine.
const LATER_MS: f64 = 100.0;

/// So many signals in peace, as many under a flood, and as many to a child that is always awake.
pub fn run(count: u64, seed: u64) -> Report {
    let mut report = Report::default();
    let peace = Lateness::of(measure(&mut report, count, seed, &["latency"]));
    let busy = Lateness::of(measure(&mut report, count, seed, &["latency", "busy"]));
    let flood = Lateness::of(measure(&mut report, count, seed, &["latency", "flood"]));
    report.row(
        format!("{count} signals from their sender to the child"),
        format!(
            "in peace {}; under a flood of notifications {}; in peace to a child that never sleeps {}",
            peace.text(),
            flood.text(),
            busy.text()
        ),
        "half of them: those of the flood 100 ms more at most than both others together",
    );
    let (fair, held_up) = (peace.percentile(50) + busy.percentile(50), flood.percentile(50));
    report.hold(held_up <= fair + LATER_MS, || format!("a flood holds signals up: {held_up} ms"));
    report
}

fn measure(report: &mut Report, count: u64, seed: u64, role: &[&str]) -> Vec<f64> {
    let mut random = Random::new(seed);
    let run = Init::new(&["--notify", "--watchdog=60m"]).flag(BLOCKED).role(role).ready();
    let page = Page::of(&run);
    if role.contains(&"flood") {
        page.until(&run, "the flood", |now| now.notices > 1000);
    }
    let (watch, before) = (Watch::begin(run.pid), page.now().notices);
    for _ in 0..count {
        std::thread::sleep(Duration::from_micros(random.between(200, 1800)));
        let sent = sys::queue(run.pid, QUEUED[1], microseconds() as i32);
        report.hold(sent.is_ok(), || format!("{sent:?}"));
    }
    let now = page.until(&run, "the signals", |now| now.forwarded[QUEUED[1] as usize] == count);
    let growth = watch.end();
    let done = run.stop();
    report.hold(done.end == End::Code(0), || done.text());
    if role.contains(&"flood") {
        let notices = now.notices - before;
        report.row(format!("{notices} notifications meanwhile: PID 1"), growth.text(), BOUND_TEXT);
        report.take(growth.fault());
    }
    let said = done.out.iter().find(|line| line.starts_with('{')).expect("the latencies");
    let said: Value = serde_json::from_str(said).expect("the latencies");
    let all = said["latency"].as_array().expect("the latencies");
    report.hold(all.len() as u64 == count, || format!("{} signals came", all.len()));
    all.iter().map(|one| one.as_f64().expect("microseconds") / 1000.0).collect()
}
