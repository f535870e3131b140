//! docs/conformance.md and the part of README.md that tell the same.

use crate::harness::package;
use crate::inits::{Dialect, How, Not, Seen};
use crate::rows::{ROWS, Row};
use crate::{Outcome, outcome};
use std::collections::BTreeMap;
use std::sync::LazyLock;

const PAGE: &str = "docs/conformance.md";

/// A cell of the table.
pub fn cell(seen: &Seen) -> String {
    match seen {
        Ok(()) => "✓".to_string(),
        Err(Not::Failed(fact, _)) => format!("✗ {}", fact.replace('|', "\\|")),
        Err(Not::Absent(why)) => format!("– {why}"),
        Err(Not::Same) => "as by its own name".to_string(),
        Err(Not::Cannot(why)) => format!("not run: {why}"),
    }
}

fn peer(outcome: &Outcome, dialect: Dialect) -> Option<&Seen> {
    outcome.peers.iter().find(|(peer, ..)| *peer == dialect)?.1.as_ref()
}

/// The cells of the page as it lies there, by the row's number.
static RECORDED: LazyLock<BTreeMap<String, Vec<String>>> = LazyLock::new(|| {
    let text = std::fs::read_to_string(package().join(PAGE)).unwrap_or_default();
    text.lines()
        .filter(|line| line.starts_with("| "))
        .filter_map(|line| {
            let cells = line.replace("\\|", "\u{0}");
            let mut cells =
                cells.trim_matches('|').split('|').map(|cell| cell.trim().replace('\u{0}', "\\|"));
            Some((cells.next()?, cells.collect()))
        })
        .collect()
});

/// What the page says of a peer in this row.
pub fn recorded(row: &Row, dialect: Dialect) -> Option<String> {
    let column = Dialect::PEERS.iter().position(|peer| *peer == dialect)?;
    // What it is about and clawinit stand before the peers.
    RECORDED.get(row.id)?.get(column + 2).cloned()
}

/// The number of a peer's version.
fn version(dialect: Dialect) -> String {
    let said = How::peer(dialect).and_then(|how| how.quick(&["--version"]).ok());
    let said = said.map(|said| said.text()).unwrap_or_default();
    let number = said.split_whitespace().map(|word| word.trim_start_matches('v'));
    let mut number = number.filter(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    let number = number.next().unwrap_or("?");
    number.split('_').next().unwrap_or(number).to_string()
}

fn head() -> String {
    let names: Vec<String> = Dialect::PEERS
        .iter()
        .map(|dialect| format!("{} {}", dialect.name(), version(*dialect)))
        .collect();
    names.join(" | ")
}

/// clawinit's cell.
fn ours(row: &Row, outcome: &Outcome) -> String {
    format!("{} {}", cell(&outcome.clawinit), row.note).trim_end().to_string()
}

/// The whole table.
pub fn table() -> String {
    let mut table = format!("| | | clawinit | {} |\n|---|---|---|---|---|---|\n", head());
    for (index, row) in ROWS.iter().enumerate() {
        let outcome = outcome(index);
        table += &format!("| {} | {} | {} |", row.id, row.says, ours(row, outcome));
        for dialect in Dialect::PEERS {
            let cell = peer(outcome, dialect).map_or("not installed".to_string(), cell);
            table += &format!(" {cell} |");
        }
        table += "\n";
    }
    table
}

fn count(wanted: impl Fn(&Seen) -> bool) -> String {
    let mut counts = vec![0; 1 + Dialect::PEERS.len()];
    for index in 0..ROWS.len() {
        let outcome = outcome(index);
        counts[0] += usize::from(wanted(&outcome.clawinit));
        for (column, dialect) in Dialect::PEERS.iter().enumerate() {
            counts[column + 1] += usize::from(peer(outcome, *dialect).is_some_and(&wanted));
        }
    }
    let counts: Vec<String> = counts.iter().map(ToString::to_string).collect();
    counts.join(" | ")
}

fn counts() -> String {
    let mut text = format!("| of {} rows | clawinit | {} |\n", ROWS.len(), head());
    text += "|---|---|---|---|---|\n";
    text += &format!("| passed | {} |\n", count(Result::is_ok));
    let failed = |seen: &Seen| matches!(seen, Err(Not::Failed(..)));
    text += &format!("| failed | {} |\n", count(failed));
    let absent = |seen: &Seen| matches!(seen, Err(Not::Absent(_)));
    text += &format!("| no such feature | {} |\n", count(absent));
    let cannot = |seen: &Seen| matches!(seen, Err(Not::Cannot(_)));
    if !count(cannot).chars().all(|c| "0 |".contains(c)) {
        text += &format!("| not run | {} |\n", count(cannot));
    }
    text
}

/// Rows that a peer fails, by who fails them.
fn differences() -> String {
    let mut groups: Vec<(Vec<&str>, Vec<String>)> = Vec::new();
    for (index, row) in ROWS.iter().enumerate() {
        let outcome = outcome(index);
        let failed =
            |dialect: &&Dialect| matches!(peer(outcome, **dialect), Some(Err(Not::Failed(..))));
        let by: Vec<&str> = Dialect::PEERS.iter().filter(failed).map(|d| d.name()).collect();
        let line = format!("{} {}", row.id, row.says);
        match groups.iter_mut().find(|(group, _)| *group == by) {
            Some((_, lines)) => lines.push(line),
            None => groups.push((by, vec![line])),
        }
    }
    groups.retain(|(by, _)| !by.is_empty());
    groups.sort_by_key(|(by, _)| (std::cmp::Reverse(by.len()), by.join(" ")));
    let mut text = "| passed by clawinit, failed by | |\n|---|---|\n".to_string();
    for (by, lines) in groups {
        let by = if by.len() == Dialect::PEERS.len() { "all three".into() } else { by.join(", ") };
        text += &format!("| {by} | {} |\n", lines.join("<br>"));
    }
    text
}

/// What clawinit by a peer's name does not do although the peer does.
fn exceptions() -> String {
    let mut text = String::new();
    for row in ROWS {
        if let Some((dialect, why)) = row.except {
            text += &format!("; but for {} as {}: {why}", row.id, dialect.name());
        }
    }
    text
}

/// What stands between `begin` and `end` in a text is replaced.
fn part(text: &str, new: &str) -> String {
    const BEGIN: &str = "<!-- conformance: written by make conformance -->\n";
    const END: &str = "<!-- end of conformance -->\n";
    let (before, rest) = text.split_once(BEGIN).expect("the place in README.md");
    let (_, after) = rest.split_once(END).expect("the end of the place in README.md");
    format!("{before}{BEGIN}{new}{END}{after}")
}

fn page() -> String {
    format!(
        "# Conformance\n\n\
         What the suites of other inits check (A), what their users asked for or complained of (B), \
         and what our own issues add (C), each as a case of `tests/conformance`, run with clawinit \
         and side by side with Debian's packages of tini, dumb-init and catatonit. \
         `make conformance` runs it and writes this page; `make test-fast` fails where page and \
         run differ, or clawinit fails a row.\n\n\
         ✓ passed, ✗ failed and what was seen, – the init has no such feature. \
         \"Group mode\" is `-g` for tini and catatonit, the default of dumb-init, and `--kill-mode group`; \
         \"single mode\" is the default of the first two, dumb-init's `-c`, and `--kill-mode process`. \
         clawinit runs with `--restart-on none --restart-code none`, since SIGUSR1 and 75 mean nothing \
         to the others. Called by a peer's name it passes every row that this peer passes{}.\n\n\
         No row needs an engine: PID 1 is that of a real PID namespace, `docker exec` a process that \
         enters it. `tests/engines` has Docker and Podman. Where users named a program (a Jenkins, \
         an irb) or an hour, the case has a role of `tests/it/probe.rs` and a window of seconds.\n\n\
         {}\n{}",
        exceptions(),
        counts(),
        table()
    )
}

fn readme(old: &str) -> String {
    part(old, &format!("{}\n{}", counts(), differences()))
}

fn read(name: &str) -> String {
    std::fs::read_to_string(package().join(name)).unwrap_or_default()
}

/// Writes both.
pub fn write() {
    std::fs::write(package().join(PAGE), page()).expect("write the page");
    std::fs::write(package().join("README.md"), readme(&read("README.md")))
        .expect("write README.md");
}

/// Fails where one of them says something else than this run.
pub fn hold() -> Result<(), String> {
    let mut wrong = Vec::new();
    let old = read(PAGE);
    if !old.contains(&head()) {
        println!("{PAGE} is of other versions than {}: only clawinit's part is held", head());
        for (index, row) in ROWS.iter().enumerate() {
            let recorded = RECORDED.get(row.id).and_then(|cells| cells.get(1));
            if recorded != Some(&ours(row, outcome(index))) {
                wrong.push(format!("{}: the page says {recorded:?}", row.id));
            }
        }
        return if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) };
    }
    for (name, new) in [(PAGE, page()), ("README.md", readme(&read("README.md")))] {
        let old = read(name);
        if new != old {
            let differs = |line: &&str| !old.lines().any(|old| old == *line);
            let lines: Vec<&str> = new.lines().filter(differs).collect();
            let lines = lines.join("\n");
            wrong.push(format!("{name} is not what `make conformance` would write:\n{lines}"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}
