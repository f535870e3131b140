//! Programs that run beside PID 1: `status`, `restart`, `stop`, `health`, `check`. They are verbs
//! only as the first word of the command line, and only by clawinit's own name.

pub mod args;
pub mod health;

use crate::cli;
use crate::config::{Level, LogFormat, Manners};
use crate::kernel::entry::Start;
use crate::kernel::signals;
use crate::report::Log;
use std::ffi::CStr;
use std::fmt;
use std::time::Duration;

/// It did not happen, or there was no answer.
pub const FAILED: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;

/// Runs the verb that the command line begins with, and returns its exit code. `None`: it begins
/// with none.
pub fn run(start: &Start) -> Option<u8> {
    let (called, words) = start.args.split_first()?;
    if cli::manners(called.to_bytes()) != Manners::Clawinit {
        return None;
    }
    let (verb, words) = words.split_first()?;
    let run: fn(&Start, &[&'static CStr]) -> u8 = match verb.to_bytes() {
        b"health" => health::run,
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

/// A time as people write it: `500ms`, `25s`, `2m`. Errors: what is wrong, and what to write.
pub fn duration(text: &str) -> Result<Duration, String> {
    cli::duration_text(text).map_err(|cli::Wrong(wrong)| wrong)
}
