//! Programs that run beside PID 1: `status`, `restart`, `stop`, `health`, `check`. They are verbs
//! only as the first word of the command line, and only by clawinit's own name.

pub mod args;
pub mod check;
pub mod find;
pub mod health;
pub mod request;
pub mod status;

use crate::cli;
use crate::config::{Level, LogFormat, Manners};
use crate::kernel::entry::Start;
use crate::kernel::{descriptors, signals, terminal};
use crate::report::Log;
use std::ffi::CStr;
use std::fmt;
use std::time::Duration;

/// It did not happen, or there was no answer.
pub const FAILED: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// No clawinit is running here; of `status`: no child runs at the moment.
pub const NOT_RUNNING: u8 = 3;
/// This user may not.
pub const NO_PERMISSION: u8 = 4;
/// The process of `--pid` is no clawinit.
pub const NO_CLAWINIT: u8 = 5;
/// The time of `--timeout` is over.
pub const TIMEOUT: u8 = 124;

/// Why a verb did not do what it was to do.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// A line for people.
    pub why: String,
}

impl Failure {
    /// A failure with this code and line.
    pub fn new(code: u8, why: String) -> Failure {
        Failure { code, why }
    }

    /// Says it on standard error, and returns the exit code.
    pub fn say(&self, verb: &str) -> u8 {
        fail(verb, self.code, format_args!("{}", self.why))
    }
}

/// Runs the verb that the command line begins with, and returns its exit code. `None`: it begins
/// with none.
pub fn run(start: &Start) -> Option<u8> {
    let (called, words) = start.args.split_first()?;
    if cli::manners(called.to_bytes()) != Manners::Clawinit {
        return None;
    }
    let (verb, words) = words.split_first()?;
    let run: fn(&Start, &[&'static CStr]) -> u8 = match verb.to_bytes() {
        b"check" => check::run,
        b"health" => health::run,
        b"restart" => request::restart,
        b"status" => status::run,
        b"stop" => request::stop,
        _ => return None,
    };
    // These are ordinary programs, which a signal ends as it ends any other.
    signals::give_back(start.mask);
    Some(run(start, words))
}

/// Says in one line on standard error why a verb did not do what it was to do, and returns
/// `code`.
pub fn fail(verb: &str, code: u8, why: fmt::Arguments) -> u8 {
    let mut log = Log::new("clawinit", Level::Error, LogFormat::Text);
    log.line(Level::Error, "verb", format_args!("{verb}: {why}"), &[]);
    code
}

/// Prints `text` for somebody who waits for it. Errors: it cannot be written.
pub fn print(text: &str) -> Result<(), Failure> {
    descriptors::print(text.as_bytes())
        .map_err(|errno| Failure::new(FAILED, format!("standard output: {errno}")))
}

/// The width and the height of the terminal at standard output, where it can be drawn on.
pub fn screen() -> Option<(usize, usize)> {
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    terminal::size(1).filter(|_| !dumb)
}

/// A time as people write it: `500ms`, `25s`, `2m`. Errors: what is wrong, and what to write.
pub fn duration(text: &str) -> Result<Duration, String> {
    cli::duration_text(text).map_err(|cli::Wrong(wrong)| wrong)
}
