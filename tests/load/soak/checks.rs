//! What must be so at every moment.

use crate::harness::Run;
use crate::report::Report;
use crate::seen::{Growth, Holds, Page, outside};
use clawinit::status::Phase;
use clawinit::status::read::Snapshot;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a zombie of PID 1 may be seen.
const ZOMBIE: Duration = Duration::from_secs(1);

/// How long nothing may come of a deadline: SIGKILL gets two seconds to work, and this is a busy
/// machine.
const OVERDUE: Duration = Duration::from_secs(4);

/// No generation lives longer than ten seconds.
const PROGRESS: Duration = Duration::from_secs(20);

pub struct Checks {
    began: Instant,
    warm: Duration,
    growth: Option<Growth>,
    /// At the first tenth of the time, the second, and so on.
    course: Vec<Holds>,
    time: Duration,
    last: Option<Snapshot>,
    progress: Instant,
    zombies: BTreeMap<i32, Instant>,
    oldest_zombie: Duration,
    next_zombies: Instant,
    looks: u64,
    exporter: Option<(i32, Holds)>,
}

impl Checks {
    pub fn begin(_run: &Run, time: Duration) -> Checks {
        let now = Instant::now();
        Checks {
            began: now,
            warm: (time / 10).min(Duration::from_secs(30)),
            growth: None,
            course: Vec::new(),
            time,
            last: None,
            progress: now,
            zombies: BTreeMap::new(),
            oldest_zombie: Duration::ZERO,
            next_zombies: now,
            looks: 0,
            exporter: None,
        }
    }

    pub fn look(&mut self, run: &Run, page: &Page, report: &mut Report) {
        self.looks += 1;
        let now = page.now();
        if let Some(fault) = self.inconsistent(&now) {
            report.faults.push(format!("{fault}; before {:?}; now {now:?}", self.last));
        }
        if self.last.as_ref().is_none_or(|last| last.generation != now.generation) {
            self.progress = Instant::now();
        }
        report.hold(self.progress.elapsed() < PROGRESS, || format!("it stands still: {now:?}"));
        self.last = Some(now);
        self.look_at_memory(run, page, report);
        if Instant::now() >= self.next_zombies {
            self.next_zombies = Instant::now() + Duration::from_millis(250);
            self.look_for_zombies(run, report);
        }
    }

    fn inconsistent(&self, now: &Snapshot) -> Option<String> {
        let phase = now.phase?;
        let child = match phase {
            Phase::Running | Phase::Stopping | Phase::Restarting | Phase::Failing => {
                now.child.is_some()
            }
            Phase::Starting | Phase::Sweeping | Phase::Backoff => now.child.is_none(),
            Phase::Exited => false,
        };
        if !child {
            return Some(format!("the phase {} with the child {:?}", phase.name(), now.child));
        }
        let timed = !matches!(phase, Phase::Running | Phase::Starting);
        if now.deadline.is_some() != timed {
            return Some(format!(
                "the phase {} with the deadline {:?}",
                phase.name(),
                now.deadline
            ));
        }
        let clock = Duration::from_nanos(crate::sys::now_ns());
        if now.deadline.is_some_and(|at| at + OVERDUE < clock) {
            return Some("a deadline is long over".to_string());
        }
        if now.restarts.iter().sum::<u64>() + 1 != now.generation {
            return Some("restarts and generations do not add up".to_string());
        }
        let last = self.last.as_ref()?;
        let falls = counters(last).zip(counters(now)).any(|(before, now)| now < before);
        falls.then(|| "a counter has fallen".to_string())
    }

    fn look_at_memory(&mut self, run: &Run, page: &Page, report: &mut Report) {
        let Some(now) = Holds::of(run.pid) else {
            report.faults.push("PID 1 is gone".to_string());
            return;
        };
        let elapsed = self.began.elapsed();
        if elapsed < self.warm {
            return;
        }
        let growth = self.growth.get_or_insert(Growth { before: now, most: now, after: now });
        growth.most = growth.most.most(now);
        if elapsed >= self.time * self.course.len() as u32 / 10 {
            self.course.push(now);
        }
        if self.exporter.is_none()
            && let Some(pid) = page.now().exporter
        {
            let pid = outside(run, pid);
            self.exporter = Holds::of(pid).map(|holds| (pid, holds));
        }
    }

    fn look_for_zombies(&mut self, run: &Run, report: &mut Report) {
        let now = Instant::now();
        let seen: Vec<i32> =
            run.zombies().iter().filter(|process| process.parent == 1).map(|p| p.pid).collect();
        self.zombies.retain(|pid, _| seen.contains(pid));
        for pid in seen {
            let age = now - *self.zombies.entry(pid).or_insert(now);
            self.oldest_zombie = self.oldest_zombie.max(age);
            report.hold(age < ZOMBIE, || format!("the zombie {pid} is there for {age:?}"));
        }
    }

    pub fn end(&mut self, run: &Run, page: &Page, report: &mut Report) {
        let now = page.now();
        let [signal, code, crash] = now.restarts;
        report.row(
            "generations",
            format!(
                "{}: restarts by signal {signal}, by code {code}, after a crash {crash}",
                now.generation
            ),
            "a generation for each restart",
        );
        report.row(
            "what the children said of themselves",
            format!(
                "{} notifications, {} of strangers refused; {} generations were not ready in time, {} gave no sign of life",
                now.notices, now.notices_refused, now.not_ready, now.hung
            ),
            "",
        );
        report.row(
            "processes",
            format!(
                "{} orphans and leftovers reaped, {} told to end, {} killed at {} deadlines",
                now.reaped, now.swept, now.killed, now.escalations
            ),
            "no zombie of PID 1 for a second",
        );
        report.row(
            "looks at the page, at memory and descriptors",
            format!(
                "{}; oldest zombie seen twice {} ms",
                self.looks,
                self.oldest_zombie.as_millis()
            ),
            "phase, child, deadline and counters agree",
        );
        if let (Some(mut growth), Some(after)) = (self.growth, Holds::of(run.pid)) {
            growth.after = after;
            // A list of children that is being read at this moment.
            growth.after.descriptors = after.descriptors.min(growth.before.descriptors);
            report.row("PID 1", growth.text(), crate::seen::BOUND_TEXT);
            report.take(growth.fault());
        }
        let course: Vec<String> = self.course.iter().map(|h| h.resident.to_string()).collect();
        report.row(
            "PID 1, resident at each tenth of the time",
            format!("{} kB", course.join(", ")),
            "",
        );
        if let Some((pid, before)) = self.exporter
            && let Some(after) = Holds::of(pid)
        {
            let text = format!(
                "resident {}, then {} kB; descriptors {}, then {}; started again {} times",
                before.resident,
                after.resident,
                before.descriptors,
                after.descriptors,
                now.exporter_restarts
            );
            report.row("the exporter", text, "512 kB more at most; never again");
            report
                .hold(after.resident <= before.resident + 512, || "the exporter grew".to_string());
        }
        report.hold(now.exporter_restarts == 0, || "the exporter ended".to_string());
    }
}

/// What never becomes less.
fn counters(page: &Snapshot) -> impl Iterator<Item = u64> {
    let single = [
        page.generation,
        page.reaped,
        page.escalations,
        page.killed,
        page.swept,
        page.dropped,
        page.exporter_restarts,
        page.notices,
        page.notices_refused,
        page.not_ready,
        page.hung,
    ];
    let lists = [
        page.restarts.to_vec(),
        page.requests.to_vec(),
        page.requests_done.to_vec(),
        page.received.clone(),
        page.forwarded.clone(),
    ];
    single.into_iter().chain(lists.into_iter().flatten())
}
