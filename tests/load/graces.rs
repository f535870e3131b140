//! How exactly SIGKILL comes when a grace is over: never early, and how late.
//!
//! What is measured is the time from the request to the moment at which another process sees the
//! end of the one that got SIGKILL. Beside it, at the same time and on the same machine, a program
//! does nothing else than wait for the same time and kill a child of its own: what is late there
//! too is the machine's.

use crate::control::Control;
use crate::harness::{Init, Run, ms};
use crate::random::Random;
use crate::report::{Report, Took};
use crate::seen::{self, Ending, Page};
use crate::storm::{BLOCKED, Storm};
use std::time::Duration;

/// What clawinit may be late by, in 99 of 100 cases.
pub const LATE_MS: f64 = 50.0;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Grace {
    Stop,
    Restart,
    Sweep,
}

impl Grace {
    fn option(self) -> &'static str {
        match self {
            Grace::Stop => "--stop-grace",
            Grace::Restart => "--restart-grace",
            Grace::Sweep => "--sweep-grace",
        }
    }

    /// How many of them one clawinit can have.
    fn at_a_time(self) -> usize {
        match self {
            Grace::Stop => 1,
            Grace::Restart | Grace::Sweep => 5,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Weather {
    Calm,
    Storm,
    /// A storm, and orphans as fast as they can be made.
    Flood,
}

impl Weather {
    fn name(self) -> &'static str {
        match self {
            Weather::Calm => "nothing else",
            Weather::Storm => "1 kHz of signals",
            Weather::Flood => "1 kHz of signals and a flood of orphans",
        }
    }
}

/// By how many milliseconds something came late, in rising order.
pub struct Lateness(Vec<f64>);

impl Lateness {
    pub fn of(mut late: Vec<f64>) -> Lateness {
        late.sort_by(f64::total_cmp);
        Lateness(late)
    }

    /// What so many of a hundred are not above.
    pub fn percentile(&self, percent: usize) -> f64 {
        let place = (self.0.len() * percent).div_ceil(100).max(1) - 1;
        self.0[place.min(self.0.len() - 1)]
    }

    pub fn text(&self) -> String {
        let (least, most) = (self.0[0], self.0[self.0.len() - 1]);
        let (half, p99) = (self.percentile(50), self.percentile(99));
        format!("least {least:.2}, p50 {half:.2}, p99 {p99:.2}, most {most:.2} ms")
    }

    /// Early, or later than it may be on a machine that makes the control late by so much.
    pub fn fault(&self, what: &str, control: &Lateness) -> Option<String> {
        let bound = LATE_MS + control.percentile(99);
        let fine = self.0[0] >= 0.0 && self.percentile(99) <= bound;
        (!fine).then(|| format!("{what}: SIGKILL was early or late: {}", self.text()))
    }
}

/// `count` of each of nine cases.
pub fn run(count: usize, seed: u64) -> Report {
    let mut report = Report::default();
    let mut random = Random::new(seed);
    let (mut all, mut all_control) = (Vec::new(), Vec::new());
    for weather in [Weather::Calm, Weather::Storm, Weather::Flood] {
        for grace in [Grace::Stop, Grace::Restart, Grace::Sweep] {
            let (mut ours, mut control) = (Vec::new(), Vec::new());
            while ours.len() < count {
                let some = grace.at_a_time().min(count - ours.len());
                let length = random.between(20, 250);
                let (late, late_control) = measure(grace, weather, length, some, random.next());
                ours.extend(late);
                control.extend(late_control);
            }
            all.extend(&ours);
            all_control.extend(&control);
            let what = format!("{}, {}", grace.option(), weather.name());
            judge(&mut report, &what, ours, control);
        }
    }
    judge(&mut report, "all graces", all, all_control);
    report
}

fn judge(report: &mut Report, what: &str, ours: Vec<f64>, control: Vec<f64>) {
    let (ours, control) = (Lateness::of(ours), Lateness::of(control));
    report.row(
        format!("{what}, {} times: late by", ours.0.len()),
        format!("{}; the control: {}", ours.text(), control.text()),
        "never early, p99 at most 50 ms",
    );
    report.take(ours.fault(what, &control));
}

/// One clawinit with a grace of `length` milliseconds, `times` times past it; late by how much,
/// and the control.
fn measure(
    grace: Grace,
    weather: Weather,
    length: u64,
    times: usize,
    seed: u64,
) -> (Vec<f64>, Vec<f64>) {
    let option = format!("{}={length}ms", grace.option());
    let mut options = vec!["--log-level=warn", &option];
    let word = format!("seed={}", seed >> 1);
    let mut role = vec!["take", "make=1000000000", &word];
    if grace == Grace::Sweep {
        options.extend(["--stop-grace=60s", "--restart-grace=60s"]);
        role.extend(["leave=1", "stubborn"]);
    } else {
        role.push("deaf");
    }
    let run = Init::new(&options).flag(BLOCKED).role(&role).ready();
    let page = Page::of(&run);
    let mut control = Control::start(length, 1);
    let storm = (weather != Weather::Calm).then(|| Storm::begin(&run, seed));
    let (mut late, mut late_control, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    for time in 1..=times as u64 {
        page.until(&run, "the generation to run", |now| now.generation == time);
        let (asked, ended, control_late) = one(&run, &page, &mut control, grace, weather);
        late.push(ms(asked, ended) - length as f64);
        late_control.push(control_late);
        ends.push(ended);
    }
    if let Some(storm) = storm {
        storm.end();
    }
    if grace == Grace::Sweep {
        page.until(&run, "the last generation", |now| now.generation == times as u64 + 1);
        // The grace began with the end of the child, not before it said that it ends.
        let said = Took::read(&run.stop().out);
        late = said
            .ends
            .iter()
            .zip(ends)
            .map(|(end, ended)| ms(*end, ended) - length as f64)
            .collect();
    }
    (late, late_control)
}

/// When it was asked for, when what got SIGKILL had ended, and how late the control was.
fn one(
    run: &Run,
    page: &Page,
    control: &mut Control,
    grace: Grace,
    weather: Weather,
) -> (u64, u64, f64) {
    let child = seen::outside(run, page.now().child.expect("a child"));
    let target = match grace {
        Grace::Stop | Grace::Restart => child,
        Grace::Sweep => run.until("the leftover", || seen::children(child).first().copied()),
    };
    if weather == Weather::Flood {
        let before = page.now().reaped;
        run.signal(libc::SIGHUP);
        page.until(run, "orphans", |now| now.reaped > before + 100);
    }
    let both = [Ending::of(target), Ending::of(control.children()[0])];
    let asked = if grace == Grace::Stop { run.term() } else { run.usr1() };
    // Not in the same moment: they would wait for each other.
    std::thread::sleep(Duration::from_millis(5));
    let asked_control = control.ask();
    let ended = seen::ended(&both);
    (asked, ended[0], control.late(asked_control, ended[1]))
}
