//! Orphans by the hundred thousand under a storm of signals.

use crate::account;
use crate::harness::Init;
use crate::report::{Report, Took};
use crate::seen::{Page, Watch};
use crate::storm::{BLOCKED, Storm};
use std::time::Instant;

/// So many, after a warm-up of a tenth as many.
pub fn run(count: u64, seed: u64) -> Report {
    let mut report = Report::default();
    let warm = count / 10;
    let (make, word) = (format!("make={warm},{count}"), format!("seed={seed}"));
    let run = Init::new(&["--log-level=warn"]).flag(BLOCKED).role(&["take", &make, &word]).ready();
    let page = Page::of(&run);
    let storm = Storm::begin(&run, seed);
    run.signal(libc::SIGHUP);
    page.until(&run, "the first orphans to be reaped", |now| now.reaped == warm);
    let watch = Watch::begin(run.pid);
    let began = Instant::now();
    run.signal(libc::SIGHUP);
    page.until(&run, "all orphans to be reaped", |now| now.reaped >= warm + count);
    let took = began.elapsed().as_secs_f64();
    let mut sent = storm.end();
    let seen = account::settle(&run, &page, &mut sent);
    let growth = watch.end();
    let zombies = run.zombies();
    let done = run.stop();
    report.hold(zombies.is_empty(), || format!("zombies are left: {zombies:?}"));
    report.hold(seen.reaped == warm + count, || format!("{} were reaped", seen.reaped));
    report.hold(done.end == crate::harness::End::Code(0), || done.text());
    report.row(
        format!("{count} orphans"),
        format!(
            "{} reaped in {took:.1} s, {:.0} a second; no zombie left",
            seen.reaped - warm,
            count as f64 / took
        ),
        "each of them reaped",
    );
    report.row(format!("{count} orphans: PID 1"), growth.text(), crate::seen::BOUND_TEXT);
    report.take(growth.fault());
    let said = Took::read(&done.out);
    let account = account::judge(&mut report, "orphans", &sent, &seen, &said);
    report.hold(account.taken == account.sent, || {
        format!("a child that lived all the while took {} of {}", account.taken, account.sent)
    });
    report
}
