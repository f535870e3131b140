//! The termination report (DESIGN section 6): why a container has ended, for those who come later.

use crate::harness::{Done, Folder, Init, Run, free_port, package};
use crate::schema;
use serde_json::Value;
use std::collections::BTreeSet;

/// The most that Kubernetes takes.
const MOST: usize = 4096;

/// Runs with a report, does what the test does, and reads it.
fn report(options: &[&str], role: &[&str], during: impl Fn(&Run)) -> (Value, Done) {
    let folder = Folder::new();
    let path = folder.word("report");
    let mut all = options.to_vec();
    all.extend(["--termination-log", &path]);
    let run = Init::new(&all).role(role);
    during(&run);
    let done = run.finish();
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("the report {path}: {error}\n{}", done.text()));
    assert!(text.len() <= MOST, "{} bytes", text.len());
    let report = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    schema::holds(&schema::load("report.schema.json"), &report);
    (report, done)
}

fn ready(run: &Run) {
    run.says_prefix("ready");
}

pub fn a_stop_is_reported_with_its_sender_and_its_time() {
    let (report, _) = report(&[], &["record", "exit=15:0:120"], |run| {
        ready(run);
        run.term();
    });
    assert_eq!(report["cause"], "stop", "{report}");
    assert_eq!(report["exit_code"], 0, "{report}");
    assert_eq!(report["signal"], "SIGTERM", "{report}");
    assert_eq!(report["killed"], false, "{report}");
    assert_eq!(report["generations"], 1, "{report}");
    assert!(report["sender"].is_object(), "{report}");
    let seconds = report["stop_seconds"].as_f64().expect("stop_seconds");
    assert!((0.12..2.0).contains(&seconds), "{report}");
}

pub fn a_sender_inside_is_reported_by_pid_and_uid() {
    let (report, _) = report(&[], &["record", "exit=15:0"], |run| {
        ready(run);
        run.signal_from_inside(&["15"]);
    });
    assert!(report["sender"]["pid"].as_i64() > Some(1), "{report}");
    assert_eq!(report["sender"]["uid"], 0, "{report}");
}

pub fn the_childs_own_end_is_reported_as_such() {
    let (exited, _) = report(&[], &["exit", "3"], |_| {});
    assert_eq!(exited["cause"], "child-exit", "{exited}");
    assert_eq!(exited["exit_code"], 3, "{exited}");
    assert!(exited["sender"].is_null(), "{exited}");
    assert!(exited["stop_seconds"].is_null(), "{exited}");
    assert!(exited["fault"].is_null(), "{exited}");
    let (died, _) = report(&[], &["die", "11"], |_| {});
    assert_eq!(died["exit_code"], 139, "{died}");
}

pub fn what_had_to_be_killed_is_named() {
    let (report, _) =
        report(&["--stop-grace=150ms"], &["leave", "a:daemon:deaf", "--", "ignore", "15"], |run| {
            ready(run);
            run.term();
        });
    assert_eq!(report["killed"], true, "{report}");
    assert_eq!(report["exit_code"], 137, "{report}");
    let processes = report["killed_processes"].as_array().expect("killed_processes");
    assert_eq!(processes.len(), 2, "the child and what it left: {report}");
}

pub fn restarts_are_counted_by_cause() {
    let (report, done) = report(
        &["--restart=on-failure", "--restart-delay=1ms", "--stable-after=1ms"],
        &[
            "generations",
            "1=record,exit=10:75",
            "2=record,exit=10:0",
            "3=record,exit=12:75",
            "4=record,exit=12:9",
            "*=record,exit=15:0",
        ],
        |run| {
            for (generation, signal) in [(1, 10), (2, 10), (3, 12), (4, 12), (5, 15)] {
                run.ready_generation(generation);
                // Old enough to count as stable.
                std::thread::sleep(std::time::Duration::from_millis(5));
                run.signal(signal);
            }
        },
    );
    assert_eq!(report["restarts"]["signal"], 2, "{report}: {}", done.text());
    assert_eq!(report["restarts"]["code"], 1, "{report}: {}", done.text());
    assert_eq!(report["restarts"]["crash"], 1, "{report}: {}", done.text());
    assert_eq!(report["generations"], 5, "{report}: {}", done.text());
}

pub fn the_restart_limit_is_reported() {
    let (report, _) = report(
        &["--restart=always", "--restart-delay=1ms", "--restart-limit=2/60s"],
        &["exit", "7"],
        |_| {},
    );
    assert_eq!(report["cause"], "restart-limit", "{report}");
    assert_eq!(report["exit_code"], 7, "{report}");
    assert_eq!(report["generations"], 3, "{report}");
}

pub fn a_command_that_cannot_start_is_reported() {
    let folder = Folder::new();
    let path = folder.word("report");
    Init::new(&["--termination-log", &path])
        .command(&["clawinit-test-no-such-program"])
        .finish_with(127);
    let text = std::fs::read_to_string(&path).expect("the report");
    let report: Value = serde_json::from_str(&text).expect("JSON");
    schema::holds(&schema::load("report.schema.json"), &report);
    assert_eq!(report["cause"], "start-failed", "{report}");
    assert_eq!(report["exit_code"], 127, "{report}");
}

pub fn the_release_of_the_port_is_measured() {
    let port = free_port();
    let words = port.to_string();
    let (report, _) = report(
        &["--port", &words, "--sweep-grace=150ms"],
        &["leave", &format!("a:daemon:deaf:port={port}"), "--", "record", "exit=15:0"],
        |run| {
            ready(run);
            run.term();
        },
    );
    let seconds = report["port_release_seconds"].as_f64().expect("port_release_seconds");
    assert!((0.1..2.0).contains(&seconds), "{report}");
}

/// At most 4,096 bytes, and JSON all the same, whatever there is to tell.
pub fn a_report_of_very_much_is_cut_and_stays_json() {
    let mut role = vec!["leave".to_string()];
    role.extend((0..150).map(|n| format!("left-behind-{n}:daemon:deaf")));
    role.extend(["--", "record", "exit=15:0"].map(str::to_string));
    let role: Vec<&str> = role.iter().map(String::as_str).collect();
    let (report, _) = report(&["--sweep-grace=100ms"], &role, |run| {
        ready(run);
        run.term();
    });
    assert_eq!(report["killed"], true, "{report}");
    assert_eq!(report["cause"], "stop", "{report}");
}

/// An older, longer report leaves nothing behind the new one.
pub fn an_older_report_is_replaced_whole() {
    let folder = Folder::new();
    let path = folder.write("report", &"x".repeat(8000), 0o644);
    Init::new(&["--termination-log", &path]).role(&["exit", "1"]).finish_with(1);
    let text = std::fs::read_to_string(&path).expect("the report");
    serde_json::from_str::<Value>(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
}

pub fn a_report_that_cannot_be_written_changes_no_exit_code() {
    let folder = Folder::new();
    for path in [folder.word("no/such/folder/report"), folder.word(""), "/dev/full".to_string()] {
        let done = Init::new(&["--termination-log", &path]).role(&["exit", "19"]).finish_with(19);
        let warned = done.events("").iter().any(|event| event["level"] == "warn");
        assert!(warned, "{path}: {}", done.text());
    }
}

/// The table of `docs/log.md`, the schema and the report name the same fields.
pub fn the_documented_fields_are_those_of_the_report() {
    let (report, _) = report(&[], &["exit", "0"], |_| {});
    let path = package().join("docs/log.md");
    let page = std::fs::read_to_string(path).expect("docs/log.md");
    let (_, table) = page.split_once("## The termination report").expect("its heading");
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let documented: BTreeSet<&str> = rows
        .flat_map(|row| row.split('|').nth(1).expect("a cell").split('`').skip(1).step_by(2))
        .collect();
    let written: BTreeSet<&str> =
        report.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(documented, written, "left: docs/log.md; right: the report");
}

pub fn an_end_that_clawinit_asked_for_has_its_cause() {
    let (late, done) =
        report(&["--notify", "--start-grace=300ms"], &["says", "wait:15", "exit:4"], |_| {});
    assert_eq!((&late["cause"], &late["fault"]), (&"not-ready".into(), &"not-ready".into()));
    assert_eq!(done.events("exiting")[0]["cause"], "not-ready", "{}", done.text());
    let (hung, _) = report(&["--watchdog=300ms"], &["says", "wait:15", "exit:4"], |_| {});
    assert_eq!((&hung["cause"], &hung["fault"]), (&"watchdog".into(), &"watchdog".into()));
    assert_eq!((&hung["killed"], &hung["exit_code"]), (&false.into(), &4.into()), "{hung}");
    // One too many of them.
    let (limit, _) = report(
        &["--watchdog=100ms", "--restart=always", "--restart-delay=1ms", "--restart-limit=1/60s"],
        &["says", "wait:15", "exit:4"],
        |_| {},
    );
    assert_eq!((&limit["cause"], &limit["fault"]), (&"restart-limit".into(), &"watchdog".into()));
    // Earlier ones do not count, and a stop is a stop.
    let (stop, _) = report(
        &["--watchdog=500ms", "--restart=always", "--restart-delay=1ms"],
        &["generations", "1=says,wait:15,exit:4", "*=says,print:ready,alive:15,exit:0"],
        |run| {
            ready(run);
            run.term();
        },
    );
    assert_eq!((&stop["cause"], &stop["fault"]), (&"stop".into(), &Value::Null), "{stop}");
}
