//! The machine and the day, without which figures mean nothing.

use serde_json::{Value, json};
use std::process::Command;

pub struct Machine {
    pub date: String,
    pub commit: String,
    pub processor: String,
    pub cpus: usize,
    pub kernel: String,
    pub load: String,
    /// Whether other work can come between.
    pub is_real_time: bool,
    pub versions: Vec<String>,
}

pub fn describe() -> Machine {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let virtual_machine =
        cpuinfo.lines().any(|l| l.starts_with("flags") && l.contains(" hypervisor"));
    let mut processor = model.map_or_else(|| said("uname", &["-m"]), |(_, name)| name.to_string());
    if virtual_machine {
        processor += ", a virtual machine";
    }
    let packages = ["tini", "dumb-init", "catatonit", "s6", "runit", "supervisor"];
    let versions =
        said("dpkg-query", &[&["-W", "-f", "${Package} ${Version}\n"], &packages[..]].concat());
    Machine {
        date: said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        commit: said("git", &["describe", "--always", "--dirty"]),
        processor,
        cpus: std::thread::available_parallelism().map_or(0, usize::from),
        kernel: said("uname", &["-sr"]),
        load: read("/proc/loadavg").split(' ').take(1).collect(),
        is_real_time: said("chrt", &["--pid", "0"]).contains("SCHED_RR"),
        versions: versions.lines().map(str::to_string).collect(),
    }
}

fn said(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output();
    output
        .map_or(String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_string())
}

impl Machine {
    pub fn line(&self) -> String {
        format!("{}; {} CPUs: {}; {}", self.date, self.cpus, self.processor, self.kernel)
    }

    pub fn lines(&self) -> String {
        format!("{}\n{}\n{}", self.line(), self.about(), self.versions.join(", "))
    }

    /// What was measured, and beside what else.
    pub fn about(&self) -> String {
        let priority = if self.is_real_time {
            "all of it at a real-time priority, so that other work does not come between"
        } else {
            "at the usual priority"
        };
        format!("clawinit {}; load when it began {}; {priority}", self.commit, self.load)
    }

    pub fn json(&self) -> Value {
        json!({
            "date": self.date, "commit": self.commit, "processor": self.processor, "cpus": self.cpus,
            "kernel": self.kernel, "load": self.load,
            "real_time": self.is_real_time, "versions": self.versions,
        })
    }
}
