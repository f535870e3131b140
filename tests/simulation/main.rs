//! The loop that ships, over a kernel that is simulated: thousands of schedules a second, each
//! made of a seed, with faults that no real kernel can be asked for. `schedule.rs` is what a seed
//! stands for, `world.rs` the kernel, `kernel.rs` the calls that the program makes to it,
//! `book.rs` what must hold, `shrink.rs` what is left of a schedule that broke it.
//!
//! The sources of the program are taken as they are, by their own paths; only `kernel` is another.
//! It has the same functions, so the compiler keeps the two in step.
//!
//! `make simulate` runs a million; `SIMULATE=N` says how many, `SEED=S` where to begin.

#[path = "../../src"]
#[allow(dead_code, unused_imports)] // the program's, of which the loop uses a part
mod program {
    pub mod census;
    pub mod cli;
    pub mod config;
    pub mod core;
    pub mod init;
    pub mod leftovers;
    pub mod notice;
    pub mod report;
    pub mod signal;
    pub mod sockets;
    pub mod status;
    pub mod watch;
}
pub use program::{
    census, cli, config, core, init, leftovers, notice, report, signal, sockets, status, watch,
};

/// Programs that run beside PID 1: none of them does here.
mod verbs {
    pub fn run(_: &crate::kernel::entry::Start) -> Option<u8> {
        None
    }
}

/// The exporter's own program, which is a process of the simulation.
mod exporter {
    pub fn main(_: &crate::kernel::entry::Start) -> u8 {
        unreachable!("no word that calls for it is ever given")
    }
}

/// The same of the one that asks whether the child is ready.
mod prober {
    use std::ffi::CStr;

    pub const NAME: &CStr = c"clawinit-ready";

    pub fn main(_: &crate::kernel::entry::Start) -> u8 {
        unreachable!("no word that calls for it is ever given")
    }

    pub fn probe(_: &str, _: Option<&str>, _: Option<&str>) -> Result<(), String> {
        Ok(())
    }
}

mod book;
mod kernel;
mod known;
mod random;
mod run;
mod schedule;
mod shrink;
mod world;

use libtest_mimic::{Arguments, Failed, Trial};
use run::Totals;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;

/// How many schedules the ordinary test run takes.
const FEW: u64 = 50_000;

/// Where the seeds begin when nobody says so; any number would do.
const FIRST: u64 = 1;

/// Failures that are shrunk and printed; more of them would say the same.
const SHOWN: usize = 3;

fn main() -> ExitCode {
    run::keep_panics_quiet();
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1); // the schedules take as many threads as they are given
    let trials = vec![
        Trial::test("no_schedule_breaks_a_promise", schedules),
        Trial::test("every_schedule_that_found_a_defect_is_kept", || match known::broken() {
            broken if broken.is_empty() => Ok(()),
            broken => Err(Failed::from(broken.join("\n"))),
        }),
        Trial::test("a_seed_is_the_same_schedule_and_the_same_history_each_time", || {
            for seed in 1..200 {
                let (one, other) = (run::trace(seed), run::trace(seed));
                if one != other {
                    return Err(Failed::from(format!("seed {seed} had two histories")));
                }
            }
            Ok(())
        }),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A number of the environment.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let digits = text.replace(['_', ','], "");
    Some(digits.parse().unwrap_or_else(|_| panic!("{name}={text}: write a whole number")))
}

/// The seeds by what they broke: the words without the numbers.
fn by_kind(broken: &[(u64, String)]) -> BTreeMap<String, Vec<u64>> {
    let mut kinds = BTreeMap::<String, Vec<u64>>::new();
    for (seed, what) in broken {
        kinds.entry(shrink::kind(what)).or_default().push(*seed);
    }
    kinds
}

fn schedules() -> Result<(), Failed> {
    let count = number("SIMULATE").unwrap_or(FEW);
    let first = number("SEED").unwrap_or(FIRST);
    let threads = number("THREADS").unwrap_or(1).max(1);
    let next = Mutex::new(first);
    let all = Mutex::new(Totals::default());
    // A share at a time, so that no thread is left with the slow ones.
    const SHARE: u64 = 500;
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let from = {
                        let mut next = next.lock().unwrap();
                        let from = *next;
                        *next = from.saturating_add(SHARE).min(first + count);
                        from
                    };
                    if from >= first + count {
                        return;
                    }
                    let mut own = Totals::default();
                    for seed in from..(from + SHARE).min(first + count) {
                        own.add(seed, run::seed(seed));
                    }
                    all.lock().unwrap().join(own);
                }
            });
        }
    });
    let mut totals = all.into_inner().unwrap();
    println!("{totals}");
    if totals.broken.is_empty() {
        return Ok(());
    }
    totals.broken.sort_unstable();
    let mut text = format!("{} of {count} schedules broke a promise\n", totals.broken.len());
    for (what, seeds) in by_kind(&totals.broken) {
        text += &format!("{:6} × {what}: seed {}\n", seeds.len(), seeds[0]);
    }
    for (seed, _) in totals.broken.iter().take(number("SHOWN").map_or(SHOWN, |n| n as usize)) {
        text += &shrink::report(*seed);
    }
    Err(Failed::from(text))
}
