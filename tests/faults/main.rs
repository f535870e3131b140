//! What becomes of clawinit where the kernel answers with an error, and where what it needs is
//! not there or used up.
//!
//! `make faults` runs all; a word behind `cargo test --test faults --` picks by name. `FULL=1`
//! tries every error of a call at each place, where otherwise they take turns; `SEED` says which
//! comes where.

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

mod matrix;
mod scenes;
mod table;
mod traced;
mod world;

use libtest_mimic::{Arguments, Trial};

/// Tests at a time: most of them wait, for processes or for a deadline.
const AT_A_TIME: usize = 6;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("probe") if words[1] == "tell" => scenes::tell(&words[2..]),
        Some("probe") => probe::run(&words[1..]),
        Some(world::PLACE) => world::make_and_become(&words[1..]),
        Some(traced::AWAIT) => traced::wait_and_become(&words[1..]),
        _ => {}
    }
    harness::take_interrupts();
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_A_TIME);
    let must = std::env::var_os("CLAWINIT_REQUIRE_ENGINES").is_some();
    let mut all = surroundings();
    if let Err(why) = harness::namespaces_work() {
        println!("PID namespaces cannot be made here ({why}): nothing runs");
        all = all.into_iter().map(|test| test.with_ignored_flag(!must)).collect();
        libtest_mimic::run(&arguments, all).exit();
    }
    match no_strace().filter(|_| !must) {
        Some(why) => println!("no system call can be answered here ({why}): the matrix is skipped"),
        None => all.extend(matrix()),
    }
    libtest_mimic::run(&arguments, all).exit();
}

/// Why strace is of no use here.
fn no_strace() -> Option<String> {
    if cfg!(not(target_arch = "x86_64")) {
        return Some("the table has the calls of x86-64".to_string());
    }
    match std::process::Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_string()),
        Err(error) => Some(format!("strace: {error}")),
    }
}

/// Lists tests: `tests!(world; a, b)`. The compiler tells of a test that is in no list, as of any
/// function that nobody calls.
macro_rules! tests {
    ($module:ident; $($test:ident),* $(,)?) => {
        vec![$(Trial::test(format!("{}::{}", stringify!($module), stringify!($test)), || {
            $module::$test();
            Ok(())
        }),)*]
    };
}

fn surroundings() -> Vec<Trial> {
    tests!(world;
        without_room_for_a_process_it_says_so_and_leaves_with_125,
        room_for_a_process_that_comes_later_is_used,
        a_group_that_is_full_neither_hinders_a_restart_nor_a_stop,
        an_exporter_for_which_there_is_no_room_is_told_and_hinders_nobody,
        without_a_free_descriptor_it_starts_restarts_sweeps_and_stops,
        at_the_limit_of_its_memory_the_child_is_ended_and_clawinit_lives,
        a_report_for_which_there_is_no_room_is_in_the_log_and_no_half_of_one_stays,
        a_report_on_a_read_only_disk_is_in_the_log,
        without_anything_in_dev_it_starts_restarts_sweeps_and_stops,
        a_deadline_that_passes_in_a_frozen_group_is_kept_when_it_thaws,
        a_frozen_group_that_thaws_within_the_grace_stops_as_ever,
        many_pauses_of_an_idle_container_change_nothing,
        other_offsets_of_the_clocks_move_no_deadline,
        the_clock_that_can_be_set_decides_nothing,
    )
}

fn matrix() -> Vec<Trial> {
    let full = std::env::var_os("FULL").is_some_and(|word| !word.is_empty());
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut all = matrix::trials(seed, full);
    type Test = fn() -> Result<(), String>;
    let more: [(&str, Test); 5] = [
        (
            "the_table_has_every_call_of_every_scene",
            matrix::the_table_has_every_call_of_every_scene,
        ),
        ("the_scenes_end_as_they_say", matrix::the_scenes_end_as_they_say),
        ("a_stop_with_any_call_is_a_stop", matrix::a_stop_with_any_call_is_a_stop),
        ("slow_calls_change_nothing", matrix::slow_calls_change_nothing),
        (
            "a_write_that_takes_a_part_only_loses_a_line_and_leaves_no_half_report",
            matrix::a_write_that_takes_a_part_only_loses_a_line_and_leaves_no_half_report,
        ),
    ];
    let more = more.map(|(name, test)| Trial::test(format!("matrix::{name}"), move || Ok(test()?)));
    all.extend(more);
    all
}
