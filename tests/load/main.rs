//! clawinit under load: orphans, restarts, storms of signals, deaf leftovers, graces; and for as
//! long as one likes a mixture of everything.
//!
//! `cargo test --test load` takes a small part of each, in seconds. `make load` takes all of it and
//! prints the table of docs/reliability.md, `make soak TIME=1h` the mixture. `SEED` repeats a run.

// The harness and the roles serve tests/it, too, which uses all of them.
#[allow(dead_code)]
#[path = "../it/assault.rs"]
mod assault;
#[allow(dead_code)]
#[path = "../it/attack.rs"]
mod attack;
#[allow(dead_code)]
#[path = "../it/harness.rs"]
mod harness;
#[allow(dead_code)]
#[path = "../it/launch.rs"]
mod launch;
#[allow(dead_code)]
#[path = "../it/page.rs"]
mod page;
#[allow(dead_code)]
#[path = "../it/probe.rs"]
mod probe;
#[allow(dead_code)]
#[path = "../it/probe_notify.rs"]
mod probe_notify;
#[allow(dead_code)]
#[path = "../it/sys.rs"]
mod sys;

mod account;
mod control;
mod graces;
mod leftovers;
mod notices;
mod orphans;
mod queue;
mod random;
mod report;
mod restarts;
mod roles;
mod seen;
mod soak;
mod storm;

use libtest_mimic::{Arguments, Failed, Trial};
use report::Report;
use std::time::{Duration, Instant};

/// How much of everything.
struct Effort {
    soak: Duration,
    orphans: u64,
    restarts: u64,
    leftovers: usize,
    /// For each of nine cases.
    graces: usize,
}

const FULL: Effort = Effort {
    soak: Duration::ZERO,
    orphans: 100_000,
    restarts: 10_000,
    leftovers: 1_000,
    graces: 30,
};
const SMALL: Effort = Effort {
    soak: Duration::from_secs(6),
    orphans: 5_000,
    restarts: 300,
    leftovers: 200,
    graces: 6,
};

type Scenario = fn(&Effort, u64) -> Report;

/// Each with the number of its seed.
const SCENARIOS: [(&str, Scenario); 8] = [
    ("orphans_under_a_storm_are_all_reaped_and_nothing_grows", |e, seed| {
        orphans::run(e.orphans, seed)
    }),
    ("restarts_under_a_storm_account_for_each_signal_and_nothing_grows", |e, seed| {
        restarts::run(e.restarts, seed)
    }),
    ("deaf_leftovers_all_at_once_are_killed_at_the_deadline_and_nothing_grows", |e, seed| {
        leftovers::run(e.leftovers, seed)
    }),
    ("a_full_queue_is_told_to_the_sender_and_loses_nothing", |_, seed| queue::run(seed)),
    ("a_mapped_signal_is_counted_by_the_one_received", |_, seed| account::mapped(seed)),
    ("a_flood_of_notifications_holds_up_no_signal_and_nothing_grows", |e, seed| {
        notices::run(e.restarts / 3, seed)
    }),
    ("a_mixture_of_everything_for_some_seconds_keeps_pid_1_as_it_was", |e, seed| {
        soak::run(e.soak, seed)
    }),
    ("no_grace_is_early_and_late_by_little", |e, seed| graces::run(e.graces, seed)),
];

/// Longer than any wait of these takes; the full figures wait for 100,000 orphans at once.
const BOUND: Duration = Duration::from_secs(600);

/// The same for the small part.
const SMALL_BOUND: Duration = Duration::from_secs(60);

fn seed() -> u64 {
    std::env::var("SEED").ok().filter(|text| !text.is_empty()).map_or_else(
        || sys::now_ns() % 1_000_000,
        |text| text.parse().unwrap_or_else(|_| panic!("SEED: {text:?} is no number")),
    )
}

/// `10s`, `10m`, `1h`.
fn time(text: &str) -> Duration {
    let (number, unit) = text.split_at(text.len().saturating_sub(1));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => panic!("soak: {text:?} has no unit; write 10m, 1h"),
    };
    Duration::from_secs(seconds * number.parse::<u64>().expect("soak: a time as 10m, 1h"))
}

fn soak(length: Duration, seed: u64) -> bool {
    harness::BOUND.set(SMALL_BOUND);
    println!("soak: seed {seed}");
    let report = soak::run(length, seed);
    println!("{}{}", report::HEAD, report.lines());
    for fault in &report.faults {
        eprintln!("soak: seed {seed}: {fault}");
    }
    report.faults.is_empty()
}

fn full(words: &[String], seed: u64) -> bool {
    harness::BOUND.set(BOUND);
    let began = Instant::now();
    println!("load: seed {seed}");
    let mut all = Report::default();
    // The mixture has a command of its own.
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    for (name, scenario) in SCENARIOS {
        if name.contains("mixture") || !wanted(name) {
            continue;
        }
        eprintln!("{name}");
        let report = scenario(&FULL, seed);
        all.rows.extend(report.rows);
        all.faults.extend(report.faults);
    }
    println!("{}{}", report::HEAD, all.lines());
    println!("seed {seed}, {:.0} s in all", began.elapsed().as_secs_f64());
    for fault in &all.faults {
        eprintln!("load: {fault}");
    }
    all.faults.is_empty()
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "probe") {
        roles::run(&words[1..]);
    }
    harness::take_interrupts();

    let seed = seed();
    if std::env::var_os("LOAD").is_some_and(|word| word == "full") {
        std::process::exit(i32::from(!full(&words, seed)));
    }
    if let [word, length] = &words[..]
        && word == "soak"
    {
        std::process::exit(i32::from(!soak(time(length), seed)));
    }
    let able = harness::namespaces_work();
    if let Err(why) = &able {
        println!("PID namespaces cannot be made here ({why}): nothing is loaded");
    }
    let must = std::env::var_os("CLAWINIT_REQUIRE_ENGINES").is_some();
    let mut arguments = Arguments::from_args();
    // Each has the machine for itself.
    arguments.test_threads = Some(1);
    println!("load: seed {seed}");
    let trials = SCENARIOS.iter().map(|&(name, scenario)| {
        Trial::test(name, move || small(scenario, seed)).with_ignored_flag(able.is_err() && !must)
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

fn small(scenario: Scenario, seed: u64) -> Result<(), Failed> {
    harness::BOUND.set(SMALL_BOUND);
    let report = scenario(&SMALL, seed);
    println!("{}", report.lines());
    match report.faults.as_slice() {
        [] => Ok(()),
        faults => Err(format!("seed {seed}: {}", faults.join("\n")).into()),
    }
}
