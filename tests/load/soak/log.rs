//! Reads the log as a careless collector does: now and then not at all.

use crate::random::Random;
use crate::report::Report;
use clawinit::status::read::Snapshot;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, PipeReader};
use std::thread::JoinHandle;
use std::time::Duration;

pub struct Reader(JoinHandle<Read>);

#[derive(Default)]
struct Read {
    lines: u64,
    stalls: u64,
    events: BTreeMap<String, u64>,
    /// Lines that are no JSON, and those that tell of something that must not be.
    wrong: Vec<String>,
    /// What the lines that tell of lost ones count.
    lost: u64,
}

impl Reader {
    pub fn begin(pipe: PipeReader, seed: u64) -> Reader {
        Reader(std::thread::spawn(move || {
            let mut random = Random::new(!seed);
            let mut read = Read::default();
            for line in BufReader::new(pipe).lines() {
                read.take(&line.unwrap_or_else(|error| error.to_string()));
                if random.between(1, 300) == 1 {
                    read.stalls += 1;
                    std::thread::sleep(Duration::from_millis(random.between(100, 15_000)));
                }
            }
            read
        }))
    }

    /// Waits for the last line, and says what there was.
    pub fn end(self, page: &Snapshot, report: &mut Report) -> String {
        let read = self.0.join().expect("the reader of the log");
        report.faults.extend(read.wrong.iter().map(|line| format!("log: {line}")));
        let started = read.events.get("started").copied().unwrap_or(0);
        report.hold(started <= page.generation, || format!("{started} generations in the log"));
        report.hold(page.dropped > 0 || started == page.generation, || {
            format!("{started} generations in the log, {} on the page", page.generation)
        });
        report.hold(read.lost <= page.dropped, || {
            format!("{} lost by the log, {} by the page", read.lost, page.dropped)
        });
        format!(
            "{} lines read with {} breaks of up to 15 s, {} dropped meanwhile ({} of them told in the log)",
            read.lines, read.stalls, page.dropped, read.lost
        )
    }
}

impl Read {
    fn take(&mut self, line: &str) {
        self.lines += 1;
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            self.wrong.push(format!("no JSON: {line:?}"));
            return;
        };
        let name = event["event"].as_str().unwrap_or_default().to_string();
        if ["panic", "start-failed", "restart-limit"].contains(&name.as_str()) {
            self.wrong.push(line.to_string());
        }
        self.lost += event["count"].as_u64().unwrap_or(0);
        *self.events.entry(name).or_default() += 1;
    }
}
