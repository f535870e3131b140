//! `docs/monitoring` by what Prometheus' own tool says of it, and by the lists of metrics. Needs
//! promtool and no engine.

use crate::engine::{TempFile, package, say};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

pub fn absent() -> Option<String> {
    let found = Command::new("promtool").arg("--version").output().is_ok();
    (!found).then(|| "promtool is absent".to_string())
}

fn folder() -> PathBuf {
    package().join("docs/monitoring")
}

fn read(file: &str) -> String {
    let path = package().join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn dashboard() -> Value {
    serde_json::from_str(&read("docs/monitoring/dashboard.json")).expect("JSON")
}

fn promtool(words: &[&str]) -> String {
    // It finds the files that a file names beside that file, and so do we.
    say(Command::new("env").arg("--chdir").arg(folder()).arg("promtool").args(words)).fine()
}

/// Each alert of the rules and what stands about it there.
fn alerts() -> BTreeMap<String, String> {
    let text = read("docs/monitoring/clawinit.rules.yml");
    let found: Vec<(String, String)> = text
        .split("- alert: ")
        .skip(1)
        .map(|part| part.split_once('\n').expect("a name and more"))
        .map(|(name, rest)| (name.to_string(), rest.to_string()))
        .collect();
    let count = found.len();
    let named = BTreeMap::from_iter(found);
    assert_eq!(named.len(), count, "an alert's name is there twice");
    named
}

/// Everything that the dashboard asks, with what Grafana puts in the place of its variables.
fn questions() -> Vec<String> {
    fn walk(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match (name.as_str(), value) {
                        ("expr", Value::String(expr)) => found.push(expr.clone()),
                        // label_values(SELECTOR, label)
                        ("definition", Value::String(text)) => {
                            let inner = text.strip_prefix("label_values(");
                            let selector = inner.and_then(|inner| inner.rsplit_once(", "));
                            found.push(selector.expect("a selector").0.to_string());
                        }
                        _ => walk(value, found),
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|value| walk(value, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut found = Vec::new();
    walk(&dashboard(), &mut found);
    for expr in &mut found {
        for (variable, value) in [
            ("$__rate_interval", "1m"),
            ("$__range", "1h"),
            ("$instance", "x"),
            ("$gateway", "x"),
            ("$job", "x"),
        ] {
            *expr = expr.replace(variable, value);
        }
        assert!(!expr.contains('$'), "a variable that the dashboard does not have: {expr}");
    }
    found
}

/// The metrics of ours that a text names.
fn metrics_in(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'))
        .filter(|word| word.starts_with("clawinit_") || word.starts_with("openclaw_"))
        .map(str::to_string)
        .collect()
}

/// The metrics that the rules and the dashboard name.
pub fn metrics_used() -> BTreeSet<String> {
    let mut used = metrics_in(&read("docs/monitoring/clawinit.rules.yml"));
    used.extend(questions().iter().flat_map(|expr| metrics_in(expr)));
    assert!(used.len() > 40, "too few to be all of them: {used:?}");
    used
}

pub fn promtool_accepts_rules_and_configuration() {
    let said = promtool(&["check", "rules", "--lint=all", "--lint-fatal", "clawinit.rules.yml"]);
    assert!(said.contains("SUCCESS"), "{said}");
    let said = promtool(&["check", "config", "--lint=all", "--lint-fatal", "prometheus.yml"]);
    assert!(said.contains("clawinit.rules.yml"), "the configuration reads the rules: {said}");
}

pub fn each_alert_fires_in_its_case_and_stays_quiet_in_another() {
    let said = promtool(&["test", "rules", "clawinit.rules.test.yml"]);
    assert!(said.contains("SUCCESS"), "{said}");
    // A case without an alert proves nothing of it, and neither does one without its neighbour.
    let tests = read("docs/monitoring/clawinit.rules.test.yml");
    for alert in alerts().keys() {
        let fires = format!("alertname=\"{alert}\", alertstate=\"firing\"");
        let case = tests.split("- name: ").find(|case| case.contains(&fires));
        let case = case.unwrap_or_else(|| panic!("no case in which {alert} fires"));
        assert!(case.contains("instance=\"fine"), "no case in which {alert} does not fire: {case}");
    }
}

pub fn each_alert_says_how_bad_it_is_and_what_to_type_next() {
    let readme = read("docs/monitoring/README.md");
    for (alert, text) in alerts() {
        let severity = ["info", "warning", "critical"]
            .iter()
            .any(|severity| text.contains(&format!("severity: {severity}\n")));
        assert!(severity, "{alert} has no severity that the README knows");
        for field in ["summary: ", "description: "] {
            assert!(text.contains(field), "{alert} has no {field}");
        }
        assert!(text.contains('`'), "{alert} names nothing to type");
        assert!(readme.contains(&format!("| `{alert}` |")), "{alert} is not in the README's table");
    }
    for line in readme.lines() {
        if let Some((name, _)) = line.strip_prefix("| `").and_then(|line| line.split_once('`')) {
            let alert = name.starts_with("Clawinit") || name.starts_with("Openclaw");
            assert!(!alert || alerts().contains_key(name), "the README explains {name}: no alert");
        }
    }
}

pub fn every_expression_of_the_dashboard_parses() {
    // promtool parses no expression by itself, but it does as a rule's. JSON is YAML, too.
    let rules: Vec<Value> = questions()
        .iter()
        .enumerate()
        .map(|(number, expr)| json!({ "record": format!("dashboard:{number}"), "expr": expr }))
        .collect();
    let file = json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    let file = TempFile::with("dashboard.json", &file.to_string());
    let said = promtool(&["check", "rules", file.text()]);
    assert!(said.contains(&format!("{} rules found", rules.len())), "{said}");
}

pub fn rules_and_dashboard_name_documented_metrics_only() {
    let mut documented = BTreeSet::new();
    for page in ["docs/metrics.md", "gateway/README.md"] {
        // | `a_metric`, `another` | type or meaning | ...
        for line in read(page).lines().filter_map(|line| line.strip_prefix("| ")) {
            let (names, rest) = line.split_once(" | ").unwrap_or((line, ""));
            for name in metrics_in(names) {
                if rest.starts_with("histogram") {
                    documented.extend(["_bucket", "_sum", "_count"].map(|end| name.clone() + end));
                } else {
                    documented.insert(name);
                }
            }
        }
    }
    let unknown: Vec<String> = metrics_used().difference(&documented).cloned().collect();
    assert!(unknown.is_empty(), "nobody serves {unknown:?}; documented are {documented:?}");
}

pub fn the_dashboard_is_one_that_grafana_takes() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 39));
    let variables: Vec<&str> = dashboard["templating"]["list"]
        .as_array()
        .expect("variables")
        .iter()
        .filter_map(|variable| variable["name"].as_str())
        .collect();
    assert_eq!(variables, ["datasource", "job", "instance", "gateway"]);
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<u64> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
    let mut places: Vec<(String, [u64; 4])> = Vec::new();
    for panel in panels {
        let title = panel["title"].as_str().expect("a title").to_string();
        let place = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().expect(side));
        let [x, y, w, h] = place;
        assert!(w > 0 && h > 0 && x + w <= 24, "{title} does not fit: {place:?}");
        for (other, [ox, oy, ow, oh]) in &places {
            let apart = x + w <= *ox || ox + ow <= x || y + h <= *oy || oy + oh <= y;
            assert!(apart, "{title} lies on {other}");
        }
        places.push((title.clone(), place));
        if panel["type"] == "row" {
            continue;
        }
        let targets = panel["targets"].as_array().filter(|targets| !targets.is_empty());
        for target in targets.unwrap_or_else(|| panic!("{title} asks nothing")) {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            let expr = target["expr"].as_str().expect("an expression");
            let chosen = expr.contains("instance=~\"$instance\"") && expr.contains("job=~\"$job\"")
                || expr.contains("instance=~\"$gateway\"");
            assert!(chosen, "{title} shows what was not chosen: {expr}");
        }
    }
}
