//! Restarts by the ten thousand under a storm of signals.

use crate::account;
use crate::harness::{End, Init, Run, free_port};
use crate::report::{Report, Took};
use crate::seen::{Page, Watch};
use crate::storm::{BLOCKED, Storm};
use clawinit::core::Readiness;
use clawinit::status::Phase;
use std::time::Instant;

/// So many, after a warm-up of a twentieth as many; and a tenth as many of a child that is given a
/// socket and says that it is ready.
pub fn run(count: u64, seed: u64) -> Report {
    let mut report = one(count, seed, "restarts", &[]);
    let listen = format!("--listen=127.0.0.1:{}", free_port());
    let more = one(count / 10, seed, "restarts with --listen and --notify", &[&listen, "--notify"]);
    report.rows.extend(more.rows);
    report.faults.extend(more.faults);
    report
}

fn one(count: u64, seed: u64, what: &str, options: &[&str]) -> Report {
    let mut report = Report::default();
    let warm = count / 20;
    let options: Vec<&str> =
        ["--log-level=warn"].into_iter().chain(options.iter().copied()).collect();
    let run = Init::new(&options).flag(BLOCKED).role(&["take"]).ready();
    let page = Page::of(&run);
    let storm = Storm::begin(&run, seed);
    restart(&run, &page, 1, warm);
    let watch = Watch::begin(run.pid);
    let began = Instant::now();
    restart(&run, &page, warm + 1, count);
    let took = began.elapsed().as_secs_f64();
    let mut sent = storm.end();
    let seen = account::settle(&run, &page, &mut sent);
    let growth = watch.end();
    let done = run.stop();
    report.hold(seen.restarts == [warm + count, 0, 0], || format!("restarts: {:?}", seen.restarts));
    report.hold(seen.generation == warm + count + 1, || format!("generation {}", seen.generation));
    report.hold(seen.requests_done[1] == warm + count, || format!("{seen:?}"));
    report.hold(done.end == End::Code(0), || done.text());
    // By this level nothing is said unless it is wrong.
    report.faults.extend(done.err.iter().cloned());
    report.row(
        format!("{count} {what}"),
        format!(
            "{} by signal in {took:.1} s, {:.2} ms each with the start of the child",
            seen.restarts[0] - warm,
            took * 1000.0 / count as f64
        ),
        "a generation for each request, each in its grace",
    );
    report.row(format!("{count} {what}: PID 1"), growth.text(), crate::seen::BOUND_TEXT);
    report.take(growth.fault());
    account::judge(&mut report, what, &sent, &seen, &Took::read(&done.out));
    report
}

/// Restarts the generations from `first` on, one after the other.
fn restart(run: &Run, page: &Page, first: u64, count: u64) {
    for generation in first..first + count {
        page.until(run, "the generation to run", |now| {
            // A request before it was ready would take the place of the one under way.
            let ready = now.readiness == Readiness::Ready || !now.knows_readiness;
            now.generation == generation && now.phase == Some(Phase::Running) && ready
        });
        run.usr1();
    }
    page.until(run, "the last generation to run", |now| {
        now.generation == first + count && now.requests_done[1] == now.requests[1]
    });
}
