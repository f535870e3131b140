//! The platform's grace is longer than what clawinit may take within it: stop delay, stop grace
//! and the sweep. Otherwise the platform's SIGKILL comes first, and nobody knows why.
//!
//! Every file in which a grace stands is read. What belongs together is a section: a stage of a
//! Dockerfile, a paragraph or code block of a document, a pod with all that sets it up, else the
//! file. What a section does not set is clawinit's default.

use crate::harness::{package, plain};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// How platforms are told their grace.
const PLATFORM: [&str; 6] = [
    "stop_grace_period",
    "terminationGracePeriodSeconds",
    "TimeoutStopSec",
    "StopTimeout",
    "--stop-timeout",
    "stop -t",
];

/// What clawinit is told that the platform gives. It gives nothing by itself.
const TOLD: &str = "CLAWINIT_PLATFORM_GRACE";

/// What the gateway takes after its drain time at most: an agent's SIGKILL, and the disk.
const AFTER_DRAIN: f64 = 6.0;

/// The keys of which one must stand in a file for a platform; a default there is too short.
fn wanted(place: &str, text: &str) -> &'static [&'static [&'static str]] {
    if place.starts_with("compose/") && place.ends_with(".yml") {
        &[&["stop_grace_period"]]
    } else if place.starts_with("k8s/") && text.contains("containers:") {
        &[&["terminationGracePeriodSeconds"]]
    } else if place.ends_with(".service") {
        &[&["TimeoutStopSec"]]
    } else if place.ends_with(".container") {
        // From the inside out.
        &[&["--stop-timeout", "StopTimeout"], &["TimeoutStopSec"]]
    } else {
        &[]
    }
}

/// How clawinit is told its own, and what it takes where it is not.
const OWN: [(&str, &str, f64); 3] = [
    ("CLAWINIT_STOP_DELAY", "--stop-delay", 0.0),
    ("CLAWINIT_STOP_GRACE", "--stop-grace", 25.0),
    ("CLAWINIT_SWEEP_GRACE", "--sweep-grace", 3.0),
];

/// What Docker and Podman give a container that says nothing.
const ENGINE: f64 = 10.0;

/// Not what anybody is to copy.
const SHOWN: [(&str, &str); 3] = [
    ("scripts/troubleshoot-demo", "makes the faults that the next one explains"),
    ("scripts/sanitize", "runs clawinit where no platform would end it"),
    ("docs/troubleshooting.md", "shows what comes of graces that are too short"),
];

/// Files that must be among those that were read, so that the test cannot lose them.
const KNOWN: [&str; 13] = [
    "README.md",
    "compose/docker-compose.yml",
    "compose/docker-compose.blue.yml",
    "compose/docker-compose.green.yml",
    "k8s/base/deployment.yaml",
    "k8s/base/settings.env",
    "k8s/overlays/stateful/statefulset.yaml",
    "k8s/examples/restart-rules.yaml",
    "k8s/examples/sidecar.yaml",
    "images/scratch/Dockerfile",
    "systemd/openclaw-gateway.service",
    "systemd/openclaw-gateway-alone.service",
    "systemd/openclaw-gateway.container",
];

/// A time behind a key, in seconds: `25s`, `2m`, `500ms`, or a bare number of seconds.
fn time(text: &str) -> Option<f64> {
    let text = text.trim_start_matches([' ', '=', ':', '"', '\'']);
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let number: f64 = text[..digits].parse().ok()?;
    let unit = text[digits..].split(|c: char| !c.is_ascii_alphabetic()).next()?;
    Some(match unit {
        "ms" => number / 1000.0,
        "m" | "min" => number * 60.0,
        _ => number,
    })
}

/// All that a text says of a key. `name: KEY` and `value: TIME` in the next line is one of them.
fn values(text: &str, key: &str) -> Vec<f64> {
    let part = |letter: Option<char>| letter.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let whole = |at: usize| {
        !part(text[..at].chars().next_back()) && !part(text[at + key.len()..].chars().next())
    };
    text.match_indices(key)
        .filter(|(at, _)| whole(*at))
        .filter_map(|(at, _)| {
            let rest = &text[at + key.len()..];
            let next = rest.trim_start_matches(['\n', ' ']);
            time(next.strip_prefix("value").filter(|_| rest.starts_with('\n')).unwrap_or(rest))
        })
        .collect()
}

/// What one section says.
struct Section {
    place: String,
    text: String,
    /// Several containers of it stop one after the other within the one grace.
    in_a_row: bool,
}

impl Section {
    fn platform(&self) -> Vec<f64> {
        PLATFORM.iter().flat_map(|key| values(&self.text, key)).collect()
    }

    /// What clawinit takes, and for how many containers it is said.
    fn own(&self) -> (f64, usize) {
        let said: Vec<Vec<f64>> = OWN
            .iter()
            .map(|(variable, option, _)| {
                [values(&self.text, variable), values(&self.text, option)].concat()
            })
            .collect();
        let containers = said.iter().map(Vec::len).max().unwrap_or(0);
        let sum = |take: &dyn Fn(&[f64]) -> f64| -> f64 {
            said.iter()
                .zip(OWN)
                .map(|(said, (.., default))| match said.as_slice() {
                    [] => default,
                    said => take(said),
                })
                .sum()
        };
        let longest = sum(&|said| said.iter().copied().fold(0.0, f64::max));
        if !self.in_a_row || containers < 2 {
            return (longest, containers);
        }
        // Each has its own grace and sweep; what one of them does not say is the default again.
        let total = said.iter().zip(OWN).map(|(said, (.., default))| {
            let missing = (containers - said.len()) as f64;
            said.iter().sum::<f64>() + missing * default
        });
        (total.sum(), containers)
    }

    /// What is wrong with it; nothing where no grace stands in it.
    fn fault(&self) -> Option<String> {
        let mut platform = self.platform();
        let told = values(&self.text, TOLD);
        let (own, said) = self.own();
        let mut inner = 0.0;
        for keys in wanted(&self.place, &self.text) {
            let given: Vec<f64> = keys.iter().flat_map(|key| values(&self.text, key)).collect();
            let Some(shortest) = given.into_iter().reduce(f64::min) else {
                return Some(format!("{}: {} is missing", self.place, keys.join(" or ")));
            };
            if shortest <= inner {
                let within = format!("{shortest} s of {}, {inner} s within it", keys[0]);
                return Some(format!("{}: {within}", self.place));
            }
            inner = shortest;
        }
        if platform.is_empty() && told.is_empty() && said == 0 {
            return None;
        }
        if platform.is_empty() {
            // An image or a document that says which platform it is meant for.
            platform.clone_from(&told);
        }
        if platform.is_empty() {
            let engine = ["docker run", "podman run"].iter().any(|run| self.text.contains(run));
            if !engine {
                return Some(format!("{}: no platform's grace beside clawinit's", self.place));
            }
            platform.push(ENGINE);
        }
        let shortest = platform.iter().copied().fold(f64::INFINITY, f64::min);
        let drain = values(&self.text, "--drain-time").into_iter().reduce(f64::max);
        let own = drain.map_or(own, |drain| own.max(drain + AFTER_DRAIN));
        if shortest <= own {
            return Some(format!(
                "{}: the platform gives {shortest} s, and a stop may take {own} s",
                self.place
            ));
        }
        told.iter().find(|told| **told != shortest).map(|told| {
            format!(
                "{}: clawinit is told {told} s, and the platform gives {shortest} s",
                self.place
            )
        })
    }
}

/// The files that git knows, or would with the next `git add`, as text.
fn files() -> BTreeMap<String, String> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(package())
        .output()
        .expect("run git");
    let names = String::from_utf8(output.stdout).expect("names in UTF-8");
    names
        .split('\0')
        .filter(|name| !name.is_empty() && !name.ends_with(".rs"))
        .filter_map(|name| {
            Some((name.to_string(), std::fs::read_to_string(package().join(name)).ok()?))
        })
        .collect()
}

/// Whether any grace stands in a text.
fn has_a_grace(text: &str) -> bool {
    let own = OWN.iter().flat_map(|(variable, option, _)| [*variable, *option]);
    PLATFORM.into_iter().chain([TOLD]).chain(own).any(|key| !values(text, key).is_empty())
}

fn split(name: &str, text: &str) -> Vec<Section> {
    let one = |number: usize, text: &str| Section {
        place: if number == 0 { name.to_string() } else { format!("{name}, section {number}") },
        text: text.to_string(),
        in_a_row: name.starts_with("k8s/examples/"),
    };
    let parts: Vec<String> = if name.ends_with("Dockerfile") {
        let staged = text.replace("\nFROM ", "\n\0FROM ");
        staged.split('\0').map(str::to_string).collect()
    } else if name.ends_with(".md") || name.starts_with("scripts/") {
        // A command may go on over lines, and a table row is for itself.
        let joined = text.replace("\\\n", " ").replace("\n|", "\n\n|");
        joined.split("\n\n").map(str::to_string).collect()
    } else {
        return vec![one(0, text)];
    };
    parts.iter().enumerate().map(|(number, part)| one(number + 1, part)).collect()
}

pub fn every_platforms_grace_is_longer_than_clawinits() {
    let mut sections = Vec::new();
    let mut read = BTreeSet::new();
    let mut base = String::new();
    let mut pods = Vec::new();
    for (name, text) in files() {
        if !has_a_grace(&text) || SHOWN.iter().any(|(shown, _)| name == *shown) {
            continue;
        }
        read.insert(name.clone());
        match name.as_str() {
            // The manual explains the options and sets none.
            "docs/clawinit.1" => {}
            "k8s/base/settings.env" => base = text,
            // Its pods get the settings of the base.
            name if name.starts_with("k8s/") && !name.starts_with("k8s/examples/") => {
                pods.push((name.to_string(), text));
            }
            name => sections.extend(split(name, &text)),
        }
    }
    for known in KNOWN {
        assert!(read.contains(known), "no grace was found in {known}; {read:?}");
    }
    for (name, text) in pods {
        let text = format!("{text}\n{base}");
        sections.push(Section { place: name, text, in_a_row: false });
    }
    let faults: Vec<String> = sections.iter().filter_map(Section::fault).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let said = sections.iter().filter(|section| has_a_grace(&section.text)).count();
    println!("graces: {said} sections of {} files", read.len());
}

/// The defaults above are clawinit's.
pub fn the_defaults_of_the_graces_are_those_of_the_help() {
    let help = plain(None, &["--help"], &[]).out;
    let readme = std::fs::read_to_string(package().join("README.md")).expect("README.md");
    for (variable, option, default) in OWN {
        let row = readme.lines().find(|line| line.starts_with(&format!("| `{option} ")));
        let cell = row.and_then(|row| row.split('|').nth(2)).map(str::trim);
        assert_eq!(cell.and_then(time), Some(default), "{option} in README.md");
        assert!(help.contains(option), "{option} is not in the help");
        assert_eq!(variable, format!("CLAWINIT_{}", option[2..].replace('-', "_").to_uppercase()));
    }
}

/// The test sees what it is there to see.
pub fn a_grace_that_does_not_fit_is_found() {
    let fault = |name: &str, text: &str| split(name, text).iter().find_map(Section::fault);
    for (name, fine, wrong) in [
        ("a.yml", "stop_grace_period: 30s\n CLAWINIT_STOP_GRACE: 25s", "stop_grace_period: 28s"),
        ("a.service", "TimeoutStopSec=30s", "TimeoutStopSec=20s\nEnvironment=CLAWINIT_LOG=x"),
        ("a.md", "docker run --stop-timeout 30 x", "docker run \\\n  --stop-timeout 12 x"),
        ("a.md", "docker run -e CLAWINIT_STOP_GRACE=5s x", "`CLAWINIT_STOP_GRACE=5s` alone"),
        ("a.md", "`--stop-grace` is how long", "docker run -e CLAWINIT_STOP_GRACE=7s x"),
        (
            "Dockerfile",
            "FROM a\nENV CLAWINIT_STOP_GRACE=5s CLAWINIT_PLATFORM_GRACE=9s\nFROM b\nENV \
             CLAWINIT_STOP_GRACE=50s CLAWINIT_PLATFORM_GRACE=60s",
            "FROM a\nENV CLAWINIT_STOP_GRACE=5s CLAWINIT_PLATFORM_GRACE=8s",
        ),
        (
            "k8s/examples/a.yaml",
            "terminationGracePeriodSeconds: 30\n- name: CLAWINIT_STOP_GRACE\n  value: 17s\n- name: \
             CLAWINIT_STOP_GRACE\n  value: 5s",
            "terminationGracePeriodSeconds: 30\n- name: CLAWINIT_STOP_GRACE\n  value: 17s\n- name: \
             CLAWINIT_STOP_GRACE\n  value: 9s",
        ),
        (
            "b.yml",
            "stop_grace_period: 40s\nCLAWINIT_PLATFORM_GRACE: 40s",
            "stop_grace_period: 40s\nCLAWINIT_PLATFORM_GRACE: 50s",
        ),
        (
            "b.yml",
            "stop_grace_period: 40s\nCLAWINIT_PLATFORM_GRACE: 40s",
            "stop_grace_period: 40s\nCLAWINIT_PLATFORM_GRACE: 35s",
        ),
        (
            "a.container",
            "StopTimeout=30\nTimeoutStopSec=45",
            "StopTimeout=30\nTimeoutStopSec=30\nCLAWINIT_PLATFORM_GRACE=30s",
        ),
        (
            "a.service",
            "ExecStart=a --drain-time 30s\nTimeoutStopSec=40",
            "ExecStart=a --drain-time 30s\nTimeoutStopSec=36",
        ),
    ] {
        assert_eq!(fault(name, fine), None, "{fine}");
        assert!(fault(name, wrong).is_some(), "nothing was found in {wrong:?}");
    }
}

/// A platform's own key that is deleted from a file of ours: what clawinit is told is no grace.
pub fn a_platforms_grace_that_is_deleted_is_found() {
    let files = files();
    let base = &files["k8s/base/settings.env"];
    for name in KNOWN {
        let text = &files[name];
        for key in wanted(name, text).concat() {
            let section = |text: &str| Section {
                place: name.to_string(),
                text: if name.starts_with("k8s/") {
                    format!("{text}\n{base}")
                } else {
                    text.into()
                },
                in_a_row: false,
            };
            let kept: Vec<&str> = text.lines().filter(|l| values(l, key).is_empty()).collect();
            if kept.len() < text.lines().count() {
                let fault = section(&kept.join("\n")).fault().unwrap_or_default();
                assert!(fault.contains("is missing"), "{name} without {key}: {fault:?}");
            }
        }
    }
}
