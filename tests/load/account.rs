//! Where each signal of a storm went.

use crate::harness::{Init, Run};
use crate::report::{Report, Took};
use crate::seen::Page;
use crate::storm::{BLOCKED, PLAIN, QUEUED, Sent, nothing};
use crate::sys;
use clawinit::status::read::Snapshot;

/// Sends each ordinary signal of the storm once more, and waits until clawinit has received and
/// passed on all that was ever sent. For a time when nothing else goes on.
pub fn settle(run: &Run, page: &Page, sent: &mut Sent) -> Snapshot {
    for signal in PLAIN {
        let before = page.now().forwarded[signal as usize];
        sent.last_at[signal as usize] = sys::now_ns();
        run.signal(signal);
        sent.counts[signal as usize] += 1;
        page.until(run, "the last ordinary signal", |now| now.forwarded[signal as usize] > before);
    }
    let all = |now: &Snapshot| {
        QUEUED.iter().all(|n| now.received[*n as usize] == sent.counts[*n as usize])
    };
    page.until(run, "all signals of the storm to be received", all)
}

/// Real-time signals by what became of them.
pub struct Account {
    pub sent: u64,
    pub received: u64,
    pub forwarded: u64,
    pub taken: u64,
}

impl Account {
    pub fn of(sent: &Sent, page: &Snapshot, took: &Took) -> Account {
        let sum = |counts: &[u64]| QUEUED.iter().map(|n| counts[*n as usize]).sum();
        Account {
            sent: sent.queued(),
            received: sum(&page.received),
            forwarded: sum(&page.forwarded),
            taken: sum(&took.queued),
        }
    }

    /// There was no child to have them: a sweep, a crash delay.
    pub fn dropped(&self) -> u64 {
        self.received - self.forwarded
    }

    /// They came to a child that had taken its last one and was about to end.
    pub fn died(&self) -> u64 {
        self.forwarded - self.taken
    }

    pub fn text(&self) -> String {
        format!(
            "{} sent, {} received, {} passed on, {} taken by a generation, {} passed on to one at its end, {} dropped for want of a child",
            self.sent,
            self.received,
            self.forwarded,
            self.taken,
            self.died(),
            self.dropped()
        )
    }
}

/// Says where the real-time signals went, and holds that none is unaccounted for.
pub fn real_time(
    report: &mut Report,
    what: &str,
    sent: &Sent,
    page: &Snapshot,
    took: &Took,
) -> Account {
    let account = Account::of(sent, page, took);
    // Other users of the machine share the kernel's queue with the sender.
    let refused = match sent.refused {
        0 => String::new(),
        count => format!("; {count} more refused to the sender"),
    };
    report.row(
        format!("{what}: real-time signals, {:.0} signals a second", sent.rate()),
        account.text() + &refused,
        "received = sent; in order, without a gap in what a generation takes",
    );
    report.faults.extend(took.faults.iter().map(|fault| format!("{what}: {fault}")));
    for n in QUEUED.map(|n| n as usize) {
        let (sent, received) = (sent.counts[n], page.received[n]);
        let (forwarded, taken) = (page.forwarded[n], took.queued[n]);
        report.hold(sent == received && forwarded <= received && taken <= forwarded, || {
            format!("{what}: signal {n}: {sent} sent, {received} received, {forwarded} passed on, {taken} taken")
        });
    }
    account
}

/// The same, and that the last of each ordinary signal came.
pub fn judge(
    report: &mut Report,
    what: &str,
    sent: &Sent,
    page: &Snapshot,
    took: &Took,
) -> Account {
    for n in PLAIN.map(|n| n as usize) {
        report.hold(took.last_at[n] >= sent.last_at[n], || {
            format!("{what}: the last signal {n} did not come")
        });
        let (sent, received) = (sent.counts[n], page.received[n]);
        report.hold(took.plain[n] <= received && received <= sent, || {
            format!("{what}: more of signal {n} came than was sent")
        });
    }
    real_time(report, what, sent, page, took)
}

/// A signal that is passed on as another one (`--map`) is counted by the one that came, or received
/// and forwarded would not add up.
pub fn mapped(_seed: u64) -> Report {
    let mut report = Report::default();
    let [_, from, to, _] = QUEUED;
    let map = format!("--map={from}:{to}");
    let run = Init::new(&[&map, "--log-level=warn"]).flag(BLOCKED).role(&["take"]).ready();
    let page = Page::of(&run);
    let mut sent = nothing();
    for _ in 0..3 {
        sent.one(run.pid, from);
    }
    let (from, to) = (from as usize, to as usize);
    page.until(&run, "the signals", |now| now.received[from] == 3);
    let done = run.stop();
    let (seen, took) = (page.now(), Took::read(&done.out).queued[to]);
    let counted = (seen.forwarded[from], seen.forwarded[to]);
    report.row(
        "three signals that are passed on as others",
        format!("{took} taken; {} counted by the one received", counted.0),
        "each of them",
    );
    report.hold(took == 3 && counted == (3, 0), || {
        format!("{took} were taken; forwarded, by the one received and by the other: {counted:?}")
    });
    report
}
