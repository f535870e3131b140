//! `openclaw`: a small gateway that shows the child's half of clawinit's contract.
//!
//! It serves HTTP on one port, keeps a memory of keys and values in a folder, runs
//! agents as children, stops on SIGTERM, and on SIGUSR1 saves its state and leaves
//! with code 75 for whoever supervises it. The README has the options and routes.
#![forbid(unsafe_code)]

mod agents;
mod cli;
mod duration;
mod failure;
mod files;
mod handed;
mod http;
mod lock;
mod logging;
mod notify;
mod ports;
mod process;
mod server;
mod signals;
mod sockets;
mod state;
mod store;
mod supervisor;
mod token;
mod verbs;

use std::process::ExitCode;

fn main() -> ExitCode {
    signals::hold();
    match cli::parse().and_then(verbs::run) {
        Ok(code) => code,
        Err(failure) => failure.tell(),
    }
}
