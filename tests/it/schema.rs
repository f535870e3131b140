//! Holds JSON to a schema of `docs/`: as much of JSON Schema (2020-12) as those schemas use.
//!
//! Stricter than the standard in one thing: a member that the schema does not name is an error
//! unless `additionalProperties` allows it. Readers are to take additions of later versions, but
//! what this version says is to be documented.

use crate::harness::{Init, free_port, package};
use serde_json::Value;
use std::collections::BTreeSet;

/// A schema of `docs/`, by its file's name.
pub fn load(name: &str) -> Value {
    let path = package().join("docs").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Fails with what is wrong, and with the value.
pub fn holds(schema: &Value, value: &Value) {
    let mut wrong = Vec::new();
    check(schema, schema, value, "$", &mut wrong);
    assert!(wrong.is_empty(), "{}\nin {value:#}", wrong.join("\n"));
}

fn check(root: &Value, schema: &Value, value: &Value, path: &str, wrong: &mut Vec<String>) {
    let words = match schema {
        Value::Bool(true) => return,
        Value::Bool(false) => return wrong.push(format!("{path}: not allowed")),
        Value::Object(words) => words,
        _ => panic!("{path}: {schema} is no schema"),
    };
    let empty = serde_json::Map::new();
    let properties = words.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    for (word, wanted) in words {
        match word.as_str() {
            // Words about the schema; `additionalProperties` is looked at below.
            "$schema"
            | "$id"
            | "$defs"
            | "$comment"
            | "title"
            | "description"
            | "examples"
            | "format"
            | "additionalProperties" => {}
            "$ref" => {
                let name = wanted.as_str().and_then(|r| r.strip_prefix("#/$defs/"));
                let found = name.and_then(|name| root.get("$defs")?.get(name));
                let found = found.unwrap_or_else(|| panic!("{path}: {wanted} leads nowhere"));
                check(root, found, value, path, wrong);
            }
            "type" => {
                let types = wanted.as_array().cloned().unwrap_or_else(|| vec![wanted.clone()]);
                if !types.iter().any(|t| is_of(t.as_str().expect("a type"), value)) {
                    wrong.push(format!("{path}: {value} is not of type {wanted}"));
                }
            }
            "enum" => {
                if !wanted.as_array().expect("a list").contains(value) {
                    wrong.push(format!("{path}: {value} is none of {wanted}"));
                }
            }
            "const" => {
                if wanted != value {
                    wrong.push(format!("{path}: {value} is not {wanted}"));
                }
            }
            "minimum" | "maximum" => {
                let bound = wanted.as_f64().expect("a number");
                let fits = |n: f64| if word == "minimum" { n >= bound } else { n <= bound };
                if value.as_f64().is_some_and(|n| !fits(n)) {
                    wrong.push(format!("{path}: {value} against {word} {wanted}"));
                }
            }
            "minLength" | "maxLength" => {
                let bound = wanted.as_u64().expect("a number") as usize;
                let fits = |n: usize| if word == "minLength" { n >= bound } else { n <= bound };
                if value.as_str().is_some_and(|text| !fits(text.chars().count())) {
                    wrong.push(format!("{path}: {value} against {word} {wanted}"));
                }
            }
            "required" => {
                for name in wanted.as_array().expect("a list") {
                    let name = name.as_str().expect("a name");
                    if value.is_object() && value.get(name).is_none() {
                        wrong.push(format!("{path}: {name} is missing"));
                    }
                }
            }
            "properties" => {
                for (name, schema) in properties {
                    if let Some(value) = value.get(name) {
                        check(root, schema, value, &format!("{path}.{name}"), wrong);
                    }
                }
            }
            "items" => {
                for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, wanted, item, &format!("{path}[{i}]"), wrong);
                }
            }
            "anyOf" | "oneOf" | "allOf" => {
                let all = wanted.as_array().expect("a list");
                let fit = all.iter().filter(|schema| {
                    let mut wrong = Vec::new();
                    check(root, schema, value, path, &mut wrong);
                    wrong.is_empty()
                });
                let fit = fit.count();
                let right = match word.as_str() {
                    "anyOf" => fit > 0,
                    "oneOf" => fit == 1,
                    _ => fit == all.len(),
                };
                if !right {
                    wrong.push(format!("{path}: {value} fits {fit} of {word}"));
                }
            }
            _ => {
                panic!("{path}: the word {word} is not known here; teach it to tests/it/schema.rs")
            }
        }
    }
    let of_objects = words.contains_key("properties") || words.contains_key("additionalProperties");
    for (name, value) in value.as_object().into_iter().flatten().filter(|_| of_objects) {
        if !properties.contains_key(name) {
            let others = words.get("additionalProperties").unwrap_or(&Value::Bool(false));
            check(root, others, value, &format!("{path}.{name}"), wrong);
        }
    }
}

fn is_of(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => {
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0)
        }
        _ => panic!("no type {name}"),
    }
}

/// A validator that takes everything would prove nothing.
pub fn what_does_not_fit_a_schema_is_refused() {
    let schema = serde_json::json!({
        "type": "object",
        "required": ["n"],
        "properties": {
            "n": { "type": "integer", "minimum": 1 },
            "list": { "type": "array", "items": { "$ref": "#/$defs/word" } },
            "open": { "additionalProperties": { "type": "null" } }
        },
        "$defs": { "word": { "enum": ["a", "b"] } }
    });
    let right = serde_json::json!({ "n": 1, "list": ["a", "b"], "open": { "x": null } });
    holds(&schema, &right);
    for (wrong, why) in [
        (serde_json::json!([]), "$: [] is not of type"),
        (serde_json::json!({}), "$: n is missing"),
        (serde_json::json!({ "n": 0 }), "$.n: 0 against minimum 1"),
        (serde_json::json!({ "n": 1.5 }), "$.n: 1.5 is not of type"),
        (serde_json::json!({ "n": 1, "list": ["c"] }), "$.list[0]: \"c\" is none of"),
        (serde_json::json!({ "n": 1, "open": { "x": 1 } }), "$.open.x: 1 is not of type"),
        (serde_json::json!({ "n": 1, "more": 1 }), "$.more: not allowed"),
    ] {
        let mut found = Vec::new();
        check(&schema, &schema, &wrong, "$", &mut found);
        assert!(found.iter().any(|line| line.starts_with(why)), "{wrong}: {found:?}, not {why}");
    }
}

/// What the log says of readiness, watchdog and restarts in place, and of who asks.
pub fn the_events_of_readiness_fit_the_schema() {
    let schema = load("log.schema.json");
    let port = free_port();
    let url = format!("--ready-url=http://127.0.0.1:{port}/");
    let serve = format!("{port}");
    let debug = "--log-level=debug";
    let again = ["--restart=always", "--restart-delay=1ms"];
    let mut seen = BTreeSet::new();
    let mut runs: Vec<(Vec<&str>, Vec<&str>, &str)> = vec![
        (
            vec![debug, "--notify", "--restart-style=in-place", "--stop-grace-max=60s"],
            vec![
                "says",
                "say:READY=1|STATUS=well",
                "say:RELOADING=1",
                "say:READY=1",
                "print:ready",
                "wait:10",
                "say:READY=1",
                "print:again",
                "wait:15",
                "say:EXTEND_TIMEOUT_USEC=30000000",
                "nap:300",
                "exit:0",
            ],
            "again",
        ),
        (
            vec![debug, "--notify", "--start-grace=300ms"],
            vec![
                "generations",
                "1=says,wait:15,exit:1",
                "*=says,say:READY=1,print:ready,wait:15,exit:0",
            ],
            "ready",
        ),
        (
            vec![debug, "--watchdog=300ms"],
            vec![
                "generations",
                "1=says,wait:15,exit:1",
                "*=says,say:STOPPING=1,print:ready,wait:15,exit:0",
            ],
            "ready",
        ),
        (vec![debug, &url], vec!["serve", &serve, "200", "record", "exit=15:0"], "ready"),
    ];
    for (options, role, last) in &mut runs {
        options.extend(again);
        let run = Init::new(options).role(role);
        if *last == "again" {
            run.says("ready");
            run.usr1();
        }
        run.says_prefix(last);
        if role[0] == "serve" {
            run.event("ready", 1);
        }
        let done = run.stop();
        for event in done.events("") {
            holds(&schema, &event);
            seen.insert(event["event"].as_str().expect("a name").to_string());
        }
    }
    for event in [
        "ready",
        "reloading",
        "restarted-in-place",
        "ends-itself",
        "not-ready",
        "hung",
        "extended",
        "status",
        "prober-started",
    ] {
        assert!(seen.contains(event), "no {event} in {seen:?}");
    }
}
