//! Restarts that no client notices: the released gateway under the released clawinit with
//! `--listen`, under a steady load of clients; and the recipes of docs/zero-downtime.md.
//!
//! `cargo test --test restart` takes a small part of the load, in seconds. `make demo-restart`
//! takes all of it and prints the table of that page. `RESTARTS`, `CRASHES`, `RATE` (new
//! connections a second) and `PAUSE` (milliseconds between two changes) choose another amount.

// The harness serves tests/it, too, which uses all of it.
#[allow(dead_code)]
#[path = "../it/harness.rs"]
mod harness;
#[allow(dead_code)]
#[path = "../it/launch.rs"]
mod launch;
#[allow(dead_code)]
#[path = "../it/sys.rs"]
mod sys;

mod clients;
mod demo;
mod probe;
mod recipes;

use demo::Effort;
use libtest_mimic::{Arguments, Failed, Trial};
use std::time::Duration;

const FULL: Effort =
    Effort { restarts: 50, crashes: 10, rate: 2_000, pause: Duration::from_millis(700) };
const SMALL: Effort =
    Effort { restarts: 5, crashes: 2, rate: 500, pause: Duration::from_millis(300) };

/// Longer than any wait of these takes.
const BOUND: Duration = Duration::from_secs(60);

/// A number of the environment, where there is one.
fn number(name: &str) -> Option<u32> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}: {text:?} is no number")))
}

fn effort(otherwise: Effort) -> Effort {
    let pause = number("PAUSE").map(|ms| Duration::from_millis(ms.into()));
    Effort {
        restarts: number("RESTARTS").unwrap_or(otherwise.restarts),
        crashes: number("CRASHES").unwrap_or(otherwise.crashes),
        rate: number("RATE").unwrap_or(otherwise.rate).max(1),
        pause: pause.unwrap_or(otherwise.pause),
    }
}

/// Both sides, their table, and what is not as it should be.
fn compare(effort: Effort) -> Result<(), String> {
    harness::BOUND.set(BOUND);
    let Effort { restarts, crashes, rate, .. } = effort;
    println!("{restarts} restarts and {crashes} crashes at {rate} new connections a second:\n");
    let with = demo::side(effort, true);
    let without = demo::side(effort, false);
    println!("{}", demo::table(&with, &without));
    let mut faults = with.faults();
    // Or the clients would not notice either.
    if without.refused() == 0 {
        faults.push("without --listen nothing was refused: is there a load?".to_string());
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "probe") {
        probe::run(&words[1..]);
    }
    harness::take_interrupts();
    if words == ["demo"] {
        if let Err(faults) = compare(effort(FULL)) {
            eprintln!("demo-restart: {faults}");
            std::process::exit(1);
        }
        return;
    }
    let mut absent = harness::namespaces_work()
        .err()
        .map(|why| format!("PID namespaces cannot be made here ({why})"));
    if demo::gateway().is_none() {
        absent = absent.or_else(|| Some("no gateway: CLAWINIT_GATEWAY names it".to_string()));
    }
    if let Some(why) = &absent {
        println!("{why}: nothing is restarted");
    }
    let must = std::env::var_os("CLAWINIT_REQUIRE_ENGINES").is_some();
    let skipped = absent.is_some() && !must;
    let mut arguments = Arguments::from_args();
    // Each has the machine for itself.
    arguments.test_threads = Some(1);
    let mut trials = vec![
        Trial::test("restarts_and_crashes_under_load_refuse_no_client_and_reset_none", || {
            compare(effort(SMALL)).map_err(Failed::from)
        })
        .with_ignored_flag(skipped),
        Trial::test("what_waits_for_a_gateway_that_is_killed_is_answered_by_the_next", || {
            harness::BOUND.set(BOUND);
            demo::backlog();
            Ok(())
        })
        .with_ignored_flag(skipped),
    ];
    trials.extend(recipes::ALL.iter().map(|recipe| {
        let there = recipes::is_there(recipe.program);
        if !there {
            println!("{} is absent; scripts/setup all gets it", recipe.program);
        }
        Trial::test(format!("the_recipe_for_{}_is_as_it_says", recipe.name), move || {
            harness::BOUND.set(BOUND);
            recipes::run(recipe);
            Ok(())
        })
        .with_ignored_flag(skipped || (!there && !must))
    }));
    trials.push(Trial::test("every_recipe_of_the_page_is_run", || {
        recipes::every_recipe_of_the_page_is_run();
        Ok(())
    }));
    libtest_mimic::run(&arguments, trials).exit();
}
