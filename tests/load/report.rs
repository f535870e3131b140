//! What a scenario found: figures for a table, and what is not as it should be.

use serde_json::Value;
use std::fmt::Write;

/// A figure, and what it must be.
pub struct Row {
    pub what: String,
    pub found: String,
    pub bound: String,
}

#[derive(Default)]
pub struct Report {
    pub rows: Vec<Row>,
    pub faults: Vec<String>,
}

impl Report {
    pub fn row(&mut self, what: impl Into<String>, found: impl Into<String>, bound: &str) {
        self.rows.push(Row { what: what.into(), found: found.into(), bound: bound.to_string() });
    }

    /// What must be so.
    pub fn hold(&mut self, so: bool, otherwise: impl FnOnce() -> String) {
        if !so {
            self.faults.push(otherwise());
        }
    }

    /// A fault, where there is one.
    pub fn take(&mut self, fault: Option<String>) {
        self.faults.extend(fault);
    }

    /// Lines of a Markdown table.
    pub fn lines(&self) -> String {
        self.rows.iter().fold(String::new(), |mut lines, row| {
            let _ = writeln!(lines, "| {} | {} | {} |", row.what, row.found, row.bound);
            lines
        })
    }
}

/// The head of that table.
pub const HEAD: &str = "| what | found | must be |\n|---|---|---|\n";

/// What the children said that they took, all generations together (`roles::Taken`).
#[derive(Debug)]
pub struct Took {
    /// Real-time signals by number.
    pub queued: [u64; 65],
    pub plain: [u64; 65],
    pub last_at: [u64; 65],
    /// When each generation had taken its last one.
    pub ends: Vec<u64>,
    /// What was out of order, or missing among what one generation took.
    pub faults: Vec<String>,
}

impl Took {
    pub fn read(lines: &[String]) -> Took {
        let mut took = Took {
            queued: [0; 65],
            plain: [0; 65],
            last_at: [0; 65],
            ends: Vec::new(),
            faults: Vec::new(),
        };
        let mut before = [-1; 65];
        for line in lines.iter().filter(|line| line.starts_with('{')) {
            let said: Value = serde_json::from_str(line).expect("what the child said");
            took.generation(&said, &mut before);
        }
        took
    }

    fn generation(&mut self, said: &Value, before: &mut [i64; 65]) {
        self.ends.push(said["at"].as_u64().expect("a time"));
        let list = |name: &str| said[name].as_array().cloned().unwrap_or_default();
        let number = |of: &Value, place: usize| of[place].as_i64().expect("a number");
        for one in list("queued") {
            let signal = number(&one, 0) as usize;
            let (first, last) = (number(&one, 1), number(&one, 2));
            if number(&one, 4) != 0 || first <= before[signal] {
                self.faults.push(format!("signal {signal}: lost or out of order: {one}"));
            }
            before[signal] = last;
            self.queued[signal] += number(&one, 3) as u64;
        }
        for one in list("plain") {
            let signal = number(&one, 0) as usize;
            self.plain[signal] += number(&one, 1) as u64;
            self.last_at[signal] = number(&one, 2) as u64;
        }
    }
}
