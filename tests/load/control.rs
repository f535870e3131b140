//! A program that has nothing to do but to wait and to kill (`roles::control`): what is late there
//! is the machine's.

use crate::harness::{self, Lines, ms, probe};
use crate::sys;
use std::process::{Child, Command, Stdio};

pub struct Control {
    process: Child,
    said: Lines,
    rounds: usize,
    length: u64,
}

impl Control {
    /// It waits `length` milliseconds and kills `count` children.
    pub fn start(length: u64, count: usize) -> Control {
        let mut process = Command::new(probe())
            .args(["probe", "control", &length.to_string(), &count.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the control");
        let said = Lines::read_from(process.stdout.take().expect("a pipe"));
        Control { process, said, rounds: 0, length }
    }

    /// Those that it will kill next.
    pub fn children(&mut self) -> Vec<i32> {
        let found = harness::until("the control's children", || {
            let lines = self.said.all();
            let pids = lines.get(self.rounds)?.strip_prefix("children ")?;
            Some(pids.split(' ').map(|pid| pid.parse().expect("a pid")).collect())
        });
        self.rounds += 1;
        found.expect("the control's children")
    }

    /// Asks for it; says when.
    pub fn ask(&self) -> u64 {
        let now = sys::now_ns();
        sys::kill(self.process.id() as i32, libc::SIGTERM).expect("ask the control");
        now
    }

    /// How late an end was, in milliseconds.
    pub fn late(&self, asked: u64, ended: u64) -> f64 {
        ms(asked, ended) - self.length as f64
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // Its children end with it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
