//! No zombie stays (DESIGN section 1, point 1; I9).

use crate::harness::{Init, Run, pid_in};

/// Waits until no process of the namespace is a zombie.
fn no_zombies(run: &Run) {
    run.until("all zombies to be reaped", || run.zombies().is_empty().then_some(()));
}

/// A13, A45, A50.
pub fn a_thousand_orphans_of_three_generations_are_all_reaped() {
    let run = Init::new(&[]).role(&["orphans", "1000", "0"]);
    run.finish_with(0);

    // The child's own code comes through whatever the orphans left with.
    Init::new(&[]).role(&["orphans", "50", "29"]).finish_with(29);
}

/// The same seen from outside while the child goes on.
pub fn no_zombie_is_left_while_the_child_runs() {
    let run = Init::new(&["-v"]).role(&["burst", "300", "record"]).ready();
    no_zombies(&run);
    let done = run.stop();
    done.code(0);
}

/// A50, B1: 300 deaths in one moment are far fewer SIGCHLDs.
pub fn orphans_that_die_in_one_moment_are_all_reaped() {
    Init::new(&[]).role(&["burst", "300", "11"]).finish_with(11);
}

/// A12, B36: not PID 1, it takes the orphans all the same.
pub fn as_a_subreaper_orphans_are_reaped_too() {
    for options in [&[][..], &["--subreaper=auto"], &["--subreaper=on"]] {
        let run = Init::new(options).under().role(&["burst", "100", "record"]).ready();
        no_zombies(&run);
        let done = run.stop();
        done.code(0);
        assert!(done.events("warning").len() <= 1, "one warning at most: {}", done.text());
    }
    Init::new(&[]).under().role(&["orphans", "100", "0"]).finish_with(0);
}

/// A16: the orphans of one that reaps nothing go to the PID 1 above it.
pub fn without_the_subreaper_orphans_go_to_pid_1() {
    let run = Init::new(&["--subreaper=off"])
        .under()
        .role(&["leave", "a:orphan:plain", "--", "record", "exit=15:0"])
        .ready();
    let orphan = pid_in(&run.says_prefix("left a"));
    let found = run.processes().into_iter().find(|p| p.pid == orphan);
    assert_eq!(found.map(|p| p.parent), Some(1), "the orphan's parent");
    let done = run.stop();
    done.code(0);
}

/// With the inherited bit it is one, whoever set it (A12).
pub fn an_inherited_subreaper_bit_is_no_reason_to_complain() {
    let run = Init::new(&["--subreaper=off"])
        .under()
        .flag("subreaper")
        .role(&["burst", "20", "record"])
        .ready();
    no_zombies(&run);
    run.stop().code(0);
}

/// A47: what comes in with `docker exec` leaves its orphans to PID 1.
pub fn an_orphan_of_a_process_from_outside_is_reaped() {
    let run = Init::new(&[]).role(&["record", "exit=15:0"]).ready();
    let mut guest = run.exec(&["orphans", "20", "0"]);
    assert_eq!(guest.code(), Some(0), "the guest's own end");
    no_zombies(&run);
    run.stop().code(0);
}

/// B16: a zombie that is not clawinit's keeps it from nothing.
pub fn a_zombie_whose_parent_lives_disturbs_nothing() {
    let run = Init::new(&[])
        .role(&["zombie-holder", "leave", "a:orphan", "--", "record", "exit=15:4"])
        .ready();
    let orphan = pid_in(&run.says_prefix("left a"));
    let guest = run.exec(&["kill", "15", &orphan.to_string()]);
    run.says("left a done");
    run.until("the orphan to be reaped", || (run.zombies().len() == 1).then_some(()));
    drop(guest);
    run.stop().code(4);
}

/// B16: the thread-group leader is dead, another thread lives: it cannot be reaped yet, must not be
/// spun on, and is swept with the rest.
pub fn a_dead_leader_with_living_threads_is_no_busy_loop() {
    let run = Init::new(&[]).role(&["headless"]).ready();
    // A signal that comes through shows that the loop still turns.
    run.signal(libc::SIGUSR2);
    run.says_prefix("signal 12");
    let before = ticks(&run);
    // The window of a measurement, not a wait.
    std::thread::sleep(std::time::Duration::from_millis(300));
    let spent = ticks(&run) - before;
    assert!(spent <= 2, "{spent} ticks of CPU time in 300 ms of nothing");
    run.stop().code(0);
}

/// CPU time that clawinit has used, in ticks of 10 ms.
fn ticks(run: &Run) -> u64 {
    let stat = run.proc("stat");
    let rest = stat.rsplit_once(") ").expect("stat").1;
    let fields: Vec<&str> = rest.split(' ').collect();
    fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime")
}

/// B40: tini wakes every second.
pub fn nothing_wakes_it_while_nothing_happens() {
    let run = Init::new(&[]).role(&["record", "exit=15:0"]).ready();
    let switches = || run.status("voluntary_ctxt_switches");
    // The child's first words may come before clawinit has gone to its wait.
    let before = run.until("clawinit to wait", || {
        let first = switches();
        std::thread::sleep(std::time::Duration::from_millis(50));
        (switches() == first).then_some(first)
    });
    // The window of a measurement.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(switches(), before, "wake-ups in 1.5 s of nothing");
    run.stop().code(0);
}

/// A14: the child and its orphans are in a group that is not clawinit's.
pub fn the_child_leads_a_group_of_its_own() {
    let run = Init::new(&[]).role(&["leave", "a:orphan", "--", "record", "exit=15:0"]).ready();
    let child = pid_in(&run.says_prefix("ready"));
    let orphan = pid_in(&run.says_prefix("left a"));
    let processes = run.processes();
    let group = |pid: i32| processes.iter().find(|p| p.pid == pid).map(|p| p.group);
    assert_eq!(group(child), Some(child), "the child's group");
    assert_eq!(group(orphan), Some(child), "the orphan's group");
    run.stop().code(0);
}
