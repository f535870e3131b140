//! Many leftovers at once that no SIGTERM ends, under a storm of signals of which many find no
//! child.

use crate::account;
use crate::control::Control;
use crate::graces::{LATE_MS, Lateness};
use crate::harness::{End, Folder, Init, Run, events, ms};
use crate::report::{Report, Took};
use crate::seen::{self, Ending, Page, Watch};
use crate::storm::{BLOCKED, PLAIN, QUEUED, Sent, Storm, nothing};
use clawinit::status::Phase;
use clawinit::status::read::Snapshot;
use serde_json::Value;
use std::time::Duration;

const GRACE_MS: u64 = 400;

/// Restarts before the stop; the first two are the warm-up.
const ROUNDS: u64 = 5;

/// When leftovers were to be killed, as the status page has it, and when the first and the last of
/// some of them were seen to be gone.
struct Killed {
    due: u64,
    first: u64,
    last: u64,
}

pub fn run(count: usize, seed: u64) -> Report {
    let mut report = Report::default();
    let folder = Folder::new();
    let file = std::fs::File::create(folder.file("log")).expect("a file for the log");
    let sweep = format!("--sweep-grace={GRACE_MS}ms");
    let options = [&sweep, "--stop-grace=60s", "--restart-grace=60s", "--log-level=debug"];
    let leave = format!("leave={count}");
    let run = Init::new(&options).stderr(file).flag(BLOCKED).role(&["take", &leave]).ready();
    let page = Page::of(&run);
    let mut control = Control::start(GRACE_MS, count);
    let (mut killed, mut killed_control) = (Vec::new(), Vec::new());
    let (mut watch, mut sent) = (None, nothing());
    for round in 1..=ROUNDS {
        if round == 3 {
            watch = Some(Watch::begin(run.pid));
        }
        let storm = Storm::go_on(&run, seed + round, sent);
        killed.push(one_round(&run, &page, count, round));
        sent = storm.end();
        killed_control.push(one_control(&mut control));
    }
    let seen = account::settle(&run, &page, &mut sent);
    let growth = watch.expect("round 3").end();
    let done = run.stop();
    let last = page.now();
    let log = std::fs::read_to_string(folder.file("log")).expect("the log");
    let log: Vec<String> = log.lines().map(str::to_string).collect();
    report.hold(done.end == End::Code(0), || done.text());
    report.row(format!("{count} deaf leftovers at once: PID 1"), growth.text(), seen::BOUND_TEXT);
    report.take(growth.fault());
    let said = Took::read(&done.out);
    deadlines(&mut report, count, &killed, &said, &killed_control);
    sending(&mut report, &log, &killed, &seen);
    let wanted = count as u64 * (ROUNDS + 1);
    report.hold([last.swept, last.killed, last.reaped] == [wanted; 3], || {
        format!(
            "of {wanted} leftovers {} were told, {} killed, {} reaped",
            last.swept, last.killed, last.reaped
        )
    });
    account::judge(&mut report, "deaf leftovers", &sent, &seen, &said);
    dropped(&mut report, &log, &sent, &seen);
    report
}

/// A restart, with all the leftovers there.
fn one_round(run: &Run, page: &Page, count: usize, generation: u64) -> Killed {
    run.until("the leftovers to be there", || {
        let ready = run.out.all().iter().filter(|line| *line == "ready").count();
        (ready as u64 == generation).then_some(())
    });
    let child = seen::outside(run, page.now().child.expect("a child"));
    let all = seen::children(child);
    assert_eq!(all.len(), count, "the leftovers of generation {generation}");
    let some = some(&all);
    run.usr1();
    let sweep = page.until(run, "the sweep", |now| now.phase == Some(Phase::Sweeping));
    let due = sweep.deadline.expect("a deadline").as_nanos() as u64;
    let killed = Killed::of(due, &some);
    page.until(run, "the next generation", |now| now.generation == generation + 1);
    killed
}

/// As many, killed by a program that has nothing else to do.
fn one_control(control: &mut Control) -> Killed {
    let some = some(&control.children());
    let due = control.ask() + GRACE_MS * 1_000_000;
    Killed::of(due, &some)
}

/// The first of many, the middle one and the last.
fn some(all: &[i32]) -> Vec<Ending> {
    [0, all.len() / 2, all.len() - 1].iter().map(|place| Ending::of(all[*place])).collect()
}

impl Killed {
    fn of(due: u64, some: &[Ending]) -> Killed {
        let ends = seen::ended(some);
        let first = ends.iter().copied().min().unwrap_or(0);
        Killed { due, first, last: ends.into_iter().max().unwrap_or(0) }
    }
}

fn first(killed: &[Killed]) -> Vec<f64> {
    killed.iter().map(|one| ms(one.due, one.first)).collect()
}

fn last(killed: &[Killed]) -> Vec<f64> {
    killed.iter().map(|one| ms(one.due, one.last)).collect()
}

fn text(late: &[f64]) -> String {
    late.iter().map(|ms| format!("{ms:.1}")).collect::<Vec<_>>().join(", ")
}

/// Never before the child's last words and the grace. Of the first one's lateness the half is held,
/// since there are a few of these only; the others share the processors with a thousand processes
/// that all want to end.
fn deadlines(
    report: &mut Report,
    count: usize,
    killed: &[Killed],
    said: &Took,
    control: &[Killed],
) {
    let after_words = said.ends.iter().zip(killed).map(|(end, k)| ms(*end, k.first));
    let least = after_words.reduce(f64::min).unwrap_or(0.0);
    report.row(
        format!("{count} deaf leftovers, {} sweeps of {GRACE_MS} ms: seen to end", killed.len()),
        format!(
            "the first {} ms, the last {} ms after the deadline; the control: {} ms, {} ms",
            text(&first(killed)),
            text(&last(killed)),
            text(&first(control)),
            text(&last(control))
        ),
        "never early; the first: half of them within 50 ms and the control's",
    );
    report.hold(least >= GRACE_MS as f64, || format!("leftovers ended after {least} ms"));
    let bound = LATE_MS + Lateness::of(first(control)).percentile(50);
    let half = Lateness::of(first(killed)).percentile(50);
    report.hold(half <= bound, || format!("half of the first ones were {half} ms late"));
}

/// When clawinit had sent SIGKILL to all of them, by its own log.
fn sending(report: &mut Report, log: &[String], killed: &[Killed], page: &Snapshot) {
    let sent = events(log, "escalated");
    let late: Vec<f64> = sent.iter().zip(killed).map(|(e, k)| after(e, k.due, page)).collect();
    report.row(
        "the line that says that all of them were sent SIGKILL",
        format!("{} ms after the deadline", text(&late)),
        "",
    );
    report.hold(late.len() == killed.len(), || format!("{} lines", late.len()));
}

/// How many milliseconds after a time of the monotonic clock a line was written, which tells the
/// time of day in milliseconds.
fn after(event: &Value, due: u64, page: &Snapshot) -> f64 {
    const DAY: f64 = 86_400_000.0;
    let text = event["ts"].as_str().expect("a time");
    let parts: Vec<f64> =
        text[11..23].split(':').map(|part| part.parse().expect("a time")).collect();
    let written = (parts[0] * 3600.0 + parts[1] * 60.0 + parts[2]) * 1000.0;
    let due = page.born_realtime + Duration::from_nanos(due).saturating_sub(page.born);
    // The line's time is cut to whole milliseconds.
    (written + 1.0 - due.as_secs_f64() * 1000.0).rem_euclid(DAY)
}

/// Each signal that found no child is a line of the log.
fn dropped(report: &mut Report, log: &[String], sent: &Sent, seen: &Snapshot) {
    let told = events(log, "signal-dropped").len() as u64;
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
