//! The census (issue 4): who is there, as the exporter tells it.

use crate::exporter::{exporting, listening, promtool, scrape};
use crate::harness::Folder;
use std::path::Path;

/// Gateways with this many of both have been seen.
pub fn zombies_and_orphans_are_counted() {
    let (init, port) = exporting(&[]);
    let run =
        init.role(&["named", "gateway", "crowd", "513", "191", "record", "exit=15:0"]).ready();
    let run = listening(run);
    let metrics = run.until("all of them to be there", || {
        let metrics = scrape(&run, port, "/metrics");
        let there = metrics.sample("clawinit_zombies_unreaped") == Some(513.0)
            && metrics.sample("clawinit_adopted_orphans") == Some(191.0);
        there.then_some(metrics)
    });
    let zombies = metrics.sample("clawinit_zombies{parent=\"gateway\",parent_pid=\"2\"}");
    assert_eq!(zombies, Some(513.0), "{}", metrics.body);
    // Those, clawinit, the child and the exporter.
    let processes = metrics.sample("clawinit_processes");
    assert_eq!(processes, Some(513.0 + 191.0 + 3.0), "{}", metrics.body);
    let oldest = metrics.sample("clawinit_adopted_orphans_oldest_seconds").expect("an age");
    assert!((0.0..60.0).contains(&oldest), "{oldest} s");
    let memory = metrics.sample("clawinit_adopted_orphans_memory_bytes").expect("memory");
    assert!(memory >= 191.0 * 4096.0, "{memory} bytes");
    let json = scrape(&run, port, "/status").json();
    assert_eq!(json["census"]["processes"], 707, "{json}");
    run.stop().code(0);
}

/// A dead leader whose other threads go on is alive.
pub fn a_dead_leader_with_living_threads_is_no_zombie() {
    let (init, port) = exporting(&[]);
    let run = listening(init.role(&["headless"]).ready());
    let metrics = run.until("the orphan", || {
        let metrics = scrape(&run, port, "/metrics");
        (metrics.sample("clawinit_adopted_orphans") == Some(1.0)).then_some(metrics)
    });
    assert_eq!(metrics.sample("clawinit_zombies_unreaped"), Some(0.0), "{}", metrics.body);
    run.stop().code(0);
}

/// A process chooses its name, and a name is a label.
pub fn a_name_cannot_forge_a_sample() {
    for (name, label) in [
        ("a) Z 1 (b", "a) Z 1 (b"),
        ("x\"} 9\n# y", "x\\\"} 9\\n# y"),
        ("back\\slash", "back\\\\slash"),
        (")", ")"),
    ] {
        let (init, port) = exporting(&[]);
        let role = ["named", name, "crowd", "2", "0", "record", "exit=15:0"];
        let run = listening(init.role(&role).ready());
        let sample = format!("clawinit_zombies{{parent=\"{label}\",parent_pid=\"2\"}}");
        // They may still be dying when their parent is ready.
        let metrics = run.until(&sample, || {
            let metrics = scrape(&run, port, "/metrics");
            (metrics.sample(&sample) == Some(2.0)).then_some(metrics)
        });
        if let Some(said) = promtool(&metrics.body) {
            assert_eq!(said, "", "{name:?}: {}", metrics.body);
        }
        run.stop().code(0);
    }
}

/// Pids of another namespace would be lies about strangers.
pub fn a_foreign_proc_is_told_and_not_read() {
    let (init, port) = exporting(&[]);
    let run = listening(init.flag("foreign-proc").role(&["record", "exit=15:0"]).ready());
    let metrics = scrape(&run, port, "/metrics");
    assert_eq!(metrics.status, 200, "{metrics:?}");
    assert!(!metrics.body.contains("clawinit_processes "), "{}", metrics.body);
    assert_eq!(metrics.sample("clawinit_generation"), Some(1.0), "{}", metrics.body);
    let told = run.event("exporter-no-census", 1);
    assert!(told["message"].as_str().expect("a message").contains("PID namespace"), "{told}");
    assert!(scrape(&run, port, "/status").json()["census"].is_null());
    run.term();
    run.finish_with(0);
}

/// A part of the processes is no census.
pub fn a_proc_that_hides_others_is_told_and_not_read() {
    let folder = Folder::new();
    let (clawinit, probe) = folder.copies();
    let (init, port) = exporting(&["--user=1234"]);
    let run = init.flag("hide-pids").program(clawinit).with_probe(probe);
    let run = listening(run.role(&["record", "exit=15:0"]).ready());
    let metrics = scrape(&run, port, "/metrics");
    assert!(!metrics.body.contains("clawinit_processes "), "{}", metrics.body);
    run.event("exporter-no-census", 1);
    run.stop().code(0);
}

/// A control group of its own, removed with the value.
struct Group(std::path::PathBuf);

impl Group {
    /// Version 1 or 2; `None` where this user can make none with a pids controller.
    fn new() -> Option<Group> {
        let name = format!("clawinit-test-{}", std::process::id());
        let groups = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"].iter().filter_map(|root| {
            let group = Group(Path::new(root).join(&name));
            std::fs::create_dir(&group.0).ok()?;
            std::fs::write(group.0.join("pids.max"), "77").ok()?;
            Some(group)
        });
        groups.into_iter().next()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

pub fn the_control_groups_pids_are_told_with_their_limit() {
    let (init, port) = exporting(&[]);
    let run = listening(init.role(&["record", "exit=15:0"]).ready());
    let Some(group) = Group::new() else {
        println!("no control group can be made here: pids.current and pids.max are not tried");
        run.stop().code(0);
        return;
    };
    let pid = run.pid.to_string();
    std::fs::write(group.0.join("cgroup.procs"), pid).expect("move clawinit");
    let metrics = run.until("the limit", || {
        let metrics = scrape(&run, port, "/metrics");
        (metrics.sample("clawinit_pids_max") == Some(77.0)).then_some(metrics)
    });
    assert_eq!(metrics.sample("clawinit_pids_current"), Some(1.0), "{}", metrics.body);
    run.stop().code(0);
    drop(group);
}
