//! The kernel's queue of signals is full (RLIMIT_SIGPENDING): real-time signals are refused to
//! whoever sends them, with EAGAIN, and what was taken is not lost.

use crate::account;
use crate::harness::{End, Init, Run};
use crate::report::{Report, Took};
use crate::seen::{self, Page};
use crate::storm::{BLOCKED, QUEUED, Sent, nothing};
use crate::sys;
use std::process::Command;
use std::time::Instant;

/// How many clawinit's queue has room for here; usually tens of thousands.
const ROOM: u64 = 200;

pub fn run(_seed: u64) -> Report {
    let mut report = Report::default();
    let run = start(&mut report);
    let page = Page::of(&run);
    let (mut sent, began) = (nothing(), Instant::now());
    for _ in 0..2 {
        fill(&run, &mut sent);
        sys::kill(run.pid, libc::SIGCONT).expect("wake PID 1");
        account::settle(&run, &page, &mut sent);
    }
    report.row(
        format!("queue with room for {ROOM}, filled twice while PID 1 was stopped"),
        format!("{} accepted, {} refused to the sender (EAGAIN)", sent.queued(), sent.refused),
        "each accepted one reaches the child",
    );
    report.hold(sent.refused == 2, || "no sender was refused: nothing was tried".to_string());
    let seen = account::settle(&run, &page, &mut sent);
    // A request needs no room: the kernel keeps one bit for it.
    fill(&run, &mut sent.clone());
    run.term();
    sys::kill(run.pid, libc::SIGCONT).expect("wake PID 1");
    let done = run.finish();
    report.hold(done.end == End::Code(0), || format!("a stop with a full queue: {}", done.text()));
    let mut said = Took::read(&done.out);
    // What came after the last count is none of it.
    for n in QUEUED.map(|n| n as usize) {
        said.queued[n] = said.queued[n].min(sent.counts[n]);
    }
    sent.took = began.elapsed();
    account::judge(&mut report, "full queue", &sent, &seen, &said);
    child_ends(&mut report);
    report
}

/// SIGCHLD needs no room either.
fn child_ends(report: &mut Report) {
    let run = start(report);
    let child = seen::outside(&run, Page::of(&run).now().child.expect("a child"));
    fill(&run, &mut nothing());
    sys::kill(child, libc::SIGKILL).expect("end the child");
    sys::kill(run.pid, libc::SIGCONT).expect("wake PID 1");
    let done = run.finish();
    report.row(
        "a stop, and the child's end, while the queue is full",
        format!("code 0; {:?}", done.end),
        "in time; code 137",
    );
    report.hold(done.end == End::Code(137), || done.text());
}

fn start(report: &mut Report) -> Run {
    let run = Init::new(&["--log-level=warn"]).flag(BLOCKED).role(&["take"]).ready();
    let limit = format!("--sigpending={ROOM}:{ROOM}");
    let set = Command::new("prlimit").args(["--pid", &run.pid.to_string(), &limit]).status();
    report.hold(set.as_ref().is_ok_and(|set| set.success()), || format!("prlimit: {set:?}"));
    run
}

/// Stops PID 1 and queues real-time signals to it until one is refused.
fn fill(run: &Run, sent: &mut Sent) {
    sys::kill(run.pid, libc::SIGSTOP).expect("stop PID 1");
    run.until("PID 1 to be stopped", || run.status("State").starts_with('T').then_some(()));
    let refused = sent.refused;
    for _ in 0..100 * ROOM {
        sent.one(run.pid, QUEUED[1]);
        if sent.refused > refused {
            return;
        }
    }
}
