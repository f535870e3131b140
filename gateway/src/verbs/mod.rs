//! The verbs: `start` is the gateway itself, the others ask one that runs.

mod ask;
mod client;
mod restart;
mod start;
mod status;
mod stop;

use std::process::ExitCode;

use crate::cli::Command;
use crate::failure::Failure;
use crate::signals;
use crate::store::check;

/// Does what was asked for; the exit code is returned.
pub fn run(command: Command) -> Result<ExitCode, Failure> {
    if !matches!(command, Command::Start(_)) {
        signals::release();
    }
    match command {
        Command::Start(settings) => start::run(*settings),
        Command::Stop(ask) => stop::run(&ask),
        Command::Restart(ask) => restart::run(&ask),
        Command::Status(ask) => status::run(&ask),
        Command::CheckMemory(path) => Ok(check::verb(&path)),
        Command::Told(code) => Ok(code),
    }
}
