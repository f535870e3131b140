//! The rows as a table for a terminal, as a page, and as JSON.

use crate::figures::{Cell, Row, show};
use crate::inits::Init;
use crate::machine::Machine;
use crate::rows::Found;
use serde_json::{Value, json};
use std::fmt::Write;

/// Whether a target was met, in a word.
fn word(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => "met",
        Some(false) => "MISSED",
        None => "not measured",
    }
}

fn spread(cell: Cell) -> String {
    if cell.count == 1 { String::new() } else { format!("{}..{}", show(cell.low), show(cell.high)) }
}

/// A block for each row: median, quartiles, ratio to tini; above it what was to be reached.
pub fn table(inits: &[Init], rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        let unit = if row.unit.is_empty() { String::new() } else { format!(", {}", row.unit) };
        let _ = writeln!(text, "\n{}{unit}", row.what);
        for (target, met) in row.verdicts(inits) {
            let _ = writeln!(text, "  target {target}: {}", word(met));
        }
        let names = inits.iter().map(|init| init.name).zip(row.cells.iter().copied());
        let cells: Vec<(&str, Option<Cell>)> =
            names.chain(row.others.iter().map(|(name, cell)| (*name, Some(*cell)))).collect();
        let cells: Vec<(usize, &str, Cell)> = cells
            .iter()
            .enumerate()
            .filter_map(|(i, (name, cell))| Some((i, *name, (*cell)?)))
            .collect();
        let mut line = |head: &str, cell: &dyn Fn(&(usize, &str, Cell)) -> String| {
            let columns: String =
                cells.iter().map(|column| format!("{:>14}", cell(column))).collect();
            if !columns.trim().is_empty() {
                let _ = writeln!(text, "  {head:<10}{columns}");
            }
        };
        line("", &|(_, name, _)| (*name).to_string());
        line("median", &|(_, _, cell)| show(cell.middle));
        line("quartiles", &|(_, _, cell)| spread(*cell));
        line("x tini", &|(i, _, _)| {
            row.ratio(*i).map_or(String::new(), |ratio| format!("{ratio:.2}"))
        });
    }
    text
}

/// The page of `docs/benchmarks`.
pub fn page(machine: &Machine, inits: &[Init], found: &Found) -> String {
    let mut text = format!(
        "# clawinit beside other inits\n\n\
         Written by `make bench`, all rows in one run in which the inits took turns. {}. {}. {}.\n\n\
         Each cell: median (quartiles) ratio to tini. *tini again* is the same tini once more: what it \
         differs by is noise. *none* is the child without an init. `inits.json` has the same figures.\n\n\
         ![Each row as a multiple of tini's figure](ratios.svg)\n\n\
         ![Share of early SIGTERMs that are lost](early.svg)\n\n\
         ![Reaping and stopping with 10 to 10,000 children](scale.svg)\n\n",
        machine.line(),
        machine.about(),
        machine.versions.join(", ")
    );
    let names: String = inits.iter().map(|init| format!(" {} |", init.name)).collect();
    let _ = writeln!(text, "| row | unit | target for clawinit |{names}");
    let _ = writeln!(text, "|---|---|---|{}", "---|".repeat(inits.len()));
    for row in &found.rows {
        let targets: Vec<String> = row
            .verdicts(inits)
            .into_iter()
            .map(|(words, met)| format!("{words}: **{}**", word(met)))
            .collect();
        let cells: String = (0..inits.len()).map(|i| format!(" {} |", page_cell(row, i))).collect();
        let _ = writeln!(text, "| {} | {} | {} |{cells}", row.what, row.unit, targets.join("; "));
        for (name, cell) in &row.others {
            let _ = writeln!(
                text,
                "| … {name} | {} | |{}",
                row.unit,
                format!(" {} ({}) |", show(cell.middle), spread(*cell))
                    + &" |".repeat(inits.len() - 1)
            );
        }
    }
    let _ = writeln!(text);
    for note in &found.notes {
        let _ = writeln!(text, "* {note}");
    }
    text
}

fn page_cell(row: &Row, init: usize) -> String {
    let Some(cell) = row.cell(init) else { return String::new() };
    let mut text = show(cell.middle);
    if cell.count > 1 {
        let _ = write!(text, " ({})", spread(cell));
    }
    if let Some(ratio) = row.ratio(init) {
        let _ = write!(text, " {ratio:.2}");
    }
    text
}

pub fn json(machine: &Machine, inits: &[Init], found: &Found) -> String {
    let cell = |cell: Cell| json!({"median": cell.middle, "quartiles": [cell.low, cell.high], "samples": cell.count});
    let rows: Vec<Value> = found
        .rows
        .iter()
        .map(|row| {
            let own = inits.iter().enumerate().filter_map(|(i, init)| {
                let mut value = cell(row.cell(i)?);
                value["ratio_to_tini"] = json!(row.ratio(i));
                Some((init.name.to_string(), value))
            });
            let others = row.others.iter().map(|(name, other)| ((*name).to_string(), cell(*other)));
            let targets: Vec<Value> = row
                .verdicts(inits)
                .into_iter()
                .map(|(target, met)| json!({"target": target, "met": met}))
                .collect();
            json!({
                "row": row.key, "what": row.what, "unit": row.unit, "targets": targets,
                "inits": own.chain(others).collect::<serde_json::Map<_, _>>(),
            })
        })
        .collect();
    let all = json!({"machine": machine.json(), "notes": found.notes, "rows": rows});
    format!("{all:#}\n")
}
