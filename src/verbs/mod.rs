//! Programs that run beside PID 1: `status`, `restart`, `stop`, `health`, `check`. They are verbs
//! only as the first word of the command line, and only by clawinit's own name.

pub mod health;

use crate::cli;
use crate::config::Manners;
use crate::kernel::entry::Start;
use crate::kernel::signals;
use std::ffi::CStr;

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
