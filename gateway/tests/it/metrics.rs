//! `/metrics`: what it tells of this generation, and of those before it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{Folder, Gateway};

fn page(gateway: &Gateway) -> String {
    gateway.ask("GET", "/metrics", b"").text().to_owned()
}

/// The value of a sample, when it is there.
fn sample(page: &str, name: &str) -> Option<f64> {
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    Some(value.parse().unwrap_or_else(|error| panic!("{name} {value}: {error}")))
}

/// Ends counted so far: by a stop, by a restart, any other.
fn ends(page: &str) -> [f64; 3] {
    ["stop", "restart", "killed"].map(|how| {
        let name = format!("openclaw_generations_ended_total{{how=\"{how}\"}}");
        sample(page, &name).unwrap_or_else(|| panic!("no {name} in:\n{page}"))
    })
}

fn state(folder: &Folder) -> Value {
    serde_json::from_slice(&fs::read(folder.state().join("state.json")).unwrap()).unwrap()
}

fn write_state(folder: &Folder, state: &Value) {
    fs::write(folder.state().join("state.json"), state.to_string()).unwrap();
}

#[test]
fn a_generation_tells_how_those_before_it_ended() {
    let folder = Folder::new("ends");
    let mut gateway = Gateway::start(&folder);
    assert_eq!(ends(&page(&gateway)), [0.0, 0.0, 0.0]);
    assert_eq!(gateway.end(Signal::SIGUSR1), 75);
    let mut gateway = Gateway::start(&folder);
    assert_eq!(ends(&page(&gateway)), [0.0, 1.0, 0.0]);
    assert_eq!(gateway.end(Signal::SIGTERM), 0);
    let mut gateway = Gateway::start(&folder);
    assert_eq!(ends(&page(&gateway)), [1.0, 1.0, 0.0]);
    gateway.kill();
    let mut gateway = Gateway::start(&folder);
    assert_eq!(ends(&page(&gateway)), [1.0, 1.0, 1.0]);
    // Killed while it drained: a restart that was asked for and did not happen.
    let mut upload = gateway.connect();
    upload.send(crate::harness::request("PUT", "/memory/a", 4)).send("ha");
    crate::harness::wait_for("the connection to be taken", || {
        page(&gateway).contains("openclaw_connections 2\n")
    });
    gateway.signal(Signal::SIGUSR1);
    gateway.wait_log("state saved before the restart");
    gateway.kill();
    assert_eq!(ends(&page(&Gateway::start(&folder))), [1.0, 1.0, 2.0]);
}

#[test]
fn the_save_at_the_end_of_a_generation_is_told_by_the_next_one() {
    let folder = Folder::new("last-save");
    let mut gateway = Gateway::start(&folder);
    assert_eq!(sample(&page(&gateway), "openclaw_last_save_seconds"), None, "nothing ended yet");
    assert_eq!(gateway.ask("PUT", "/memory/a", b"kept").status, 201);
    assert_eq!(gateway.end(Signal::SIGUSR1), 75);
    // "state saved before the restart in 0.4 ms": closing the memory comes on top.
    let log = gateway.log();
    let first = log.split_once("before the restart in ").unwrap().1.split_once(" ms").unwrap().0;
    let first: f64 = first.parse().unwrap();
    let saved = state(&folder)["save_us"].as_f64().unwrap();
    assert!(saved >= (first - 0.1) * 1e3, "{saved} µs, and the log says:\n{log}");
    let mut gateway = Gateway::start(&folder);
    assert_eq!(sample(&page(&gateway), "openclaw_last_save_seconds"), Some(saved / 1e6));
    assert_eq!(gateway.end(Signal::SIGTERM), 0);

    // A disk that took its time, as the file would tell of it.
    let mut slow = state(&folder);
    assert!(slow["save_us"].as_u64().is_some_and(|us| us > 0), "a stop has one, too: {slow}");
    slow["save_us"] = json!(6_100_000);
    write_state(&folder, &slow);
    let mut gateway = Gateway::start(&folder);
    assert_eq!(sample(&page(&gateway), "openclaw_last_save_seconds"), Some(6.1));
    gateway.kill();
    // What was killed saved nothing at its end: the older save is not told again.
    let gateway = Gateway::start(&folder);
    assert_eq!(sample(&page(&gateway), "openclaw_last_save_seconds"), None);
}

#[test]
fn saves_are_counted_from_the_one_at_the_start() {
    let folder = Folder::new("first-save");
    let page = page(&Gateway::start(&folder));
    assert_eq!(sample(&page, "openclaw_state_saves_total"), Some(1.0));
    assert_eq!(sample(&page, "openclaw_state_save_failures_total"), Some(0.0));
    assert!(sample(&page, "openclaw_state_save_seconds").is_some_and(|took| took > 0.0), "{page}");
    let started = state(&folder)["started_at"].as_f64();
    assert_eq!(sample(&page, "openclaw_start_time_seconds"), started);
}

#[test]
fn a_state_file_of_a_gateway_that_counted_no_ends_is_taken_over() {
    let folder = Folder::new("older");
    assert_eq!(Gateway::start(&folder).end(Signal::SIGTERM), 0);
    let mut older = state(&folder);
    for field in ["ended", "save_us"] {
        older.as_object_mut().unwrap().remove(field).unwrap();
    }
    write_state(&folder, &older);
    let gateway = Gateway::start(&folder);
    assert_eq!(folder.named("state.json.damaged"), [""; 0]);
    assert_eq!(gateway.ask("GET", "/status", b"").json()["generation"], 2);
    assert_eq!(ends(&page(&gateway)), [1.0, 0.0, 0.0]);
}

#[test]
fn the_readme_lists_every_metric_and_no_other() {
    let folder = Folder::new("listed");
    // The second one has all: some tell of the generation before.
    assert_eq!(Gateway::start(&folder).end(Signal::SIGUSR1), 75);
    let page = page(&Gateway::start(&folder));
    let served: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, _)| name)
        .collect();
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let section = readme.split_once("## Metrics").unwrap().1.split_once("\n## ").unwrap().0;
    let listed: BTreeSet<&str> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once(" | "))
        .flat_map(|(names, _)| names.split("`, `").map(|name| name.trim_matches('`')))
        .collect();
    assert_eq!(listed, served);
}
