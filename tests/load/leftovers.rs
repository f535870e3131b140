//! Many leftovers at once that no SIGTERM ends, under a storm of signals of which many find no
//! child.

use crate::account;
use crate::graces::Lateness;
use crate::harness::{End, Folder, Init, Run, events, ms};
use crate::report::{Report, Took};
use crate::seen::{self, Ending, Page, Watch};
use crate::storm::{BLOCKED, PLAIN, QUEUED, Sent, Storm, nothing};
use clawinit::status::read::Snapshot;

const GRACE_MS: u64 = 400;

/// Restarts before the stop; the first two are the warm-up.
const ROUNDS: u64 = 5;

pub fn run(count: usize, seed: u64) -> Report {
    let mut report = Report::default();
    let folder = Folder::new();
    let log = std::fs::File::create(folder.file("log")).expect("a file for the log");
    let sweep = format!("--sweep-grace={GRACE_MS}ms");
    let options = [&sweep, "--stop-grace=60s", "--restart-grace=60s", "--log-level=debug"];
    let leave = format!("leave={count}");
    let run = Init::new(&options).stderr(log).flag(BLOCKED).role(&["take", &leave]).ready();
    let page = Page::of(&run);
    let (mut watch, mut sent, mut killed) = (None, nothing(), Vec::new());
    for round in 1..=ROUNDS {
        if round == 3 {
            watch = Some(Watch::begin(run.pid));
        }
        let storm = Storm::go_on(&run, seed + round, sent);
        killed.push(one_round(&run, &page, count, round));
        sent = storm.end();
    }
    let growth = watch.expect("round 3").end();
    let seen = account::settle(&run, &page, &mut sent);
    let done = run.stop();
    let last = page.now();
    report.hold(done.end == End::Code(0), || done.text());
    report.row(format!("{count} deaf leftovers at once: PID 1"), growth.text(), seen::BOUND_TEXT);
    report.take(growth.fault());
    let said = Took::read(&done.out);
    deadlines(&mut report, count, &killed, &said);
    let wanted = count as u64 * (ROUNDS + 1);
    report.hold([last.swept, last.killed, last.reaped] == [wanted; 3], || {
        format!(
            "of {wanted} leftovers {} were told, {} killed, {} reaped",
            last.swept, last.killed, last.reaped
        )
    });
    account::judge(&mut report, "deaf leftovers", &sent, &seen, &said);
    let log = std::fs::read_to_string(folder.file("log")).expect("the log");
    dropped(&mut report, &log, &sent, &seen);
    report
}

/// A restart; when the first, the middle one and the last of the leftovers ended.
fn one_round(run: &Run, page: &Page, count: usize, generation: u64) -> Vec<u64> {
    run.until("the leftovers to be there", || {
        let ready = run.out.all().iter().filter(|line| *line == "ready").count();
        (ready as u64 == generation).then_some(())
    });
    let child = seen::outside(run, page.now().child.expect("a child"));
    let all = seen::children(child);
    assert_eq!(all.len(), count, "the leftovers of generation {generation}");
    let some: Vec<Ending> =
        [0, count / 2, count - 1].iter().map(|place| Ending::of(all[*place])).collect();
    run.usr1();
    let ends = seen::ended(&some);
    page.until(run, "the next generation", |now| now.generation == generation + 1);
    ends
}

/// From the child's last words to the first and the last end of a leftover.
fn deadlines(report: &mut Report, count: usize, killed: &[Vec<u64>], said: &Took) {
    let after = |pick: fn(&Vec<u64>) -> u64| -> Vec<f64> {
        let both = said.ends.iter().zip(killed);
        both.map(|(end, ends)| ms(*end, pick(ends)) - GRACE_MS as f64).collect()
    };
    let first = after(|ends| ends.iter().copied().min().unwrap_or(0));
    let last = after(|ends| ends.iter().copied().max().unwrap_or(0));
    let text =
        |late: &[f64]| late.iter().map(|ms| format!("{ms:.1}")).collect::<Vec<_>>().join(", ");
    report.row(
        format!("{count} deaf leftovers, {} sweeps of {GRACE_MS} ms: late by", killed.len()),
        format!("the first {} ms, the last {} ms", text(&first), text(&last)),
        "never early; the first within 50 ms",
    );
    let late = Lateness::of(first);
    report.take(late.fault("deaf leftovers", None));
}

/// Each signal that found no child is a line of the log.
fn dropped(report: &mut Report, log: &str, sent: &Sent, seen: &Snapshot) {
    let lines: Vec<String> = log.lines().map(str::to_string).collect();
    // The stop that follows is none of these.
    let told = events(&lines, "signal-dropped").len() as u64;
    let all = QUEUED.iter().chain(&PLAIN).map(|n| *n as usize);
    let counted: u64 = all.map(|n| seen.received[n] - seen.forwarded[n]).sum();
    report.row(
        "signals that found no child",
        format!("{counted} of {}; {told} lines in the log", sent.counts.iter().sum::<u64>()),
        "as many lines",
    );
    report.hold(told == counted, || format!("{counted} were dropped, {told} told"));
    report.hold(counted > 0, || "none found no child: nothing was tried".to_string());
}
