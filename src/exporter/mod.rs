//! The exporter (`--metrics-listen`): metrics, status and health over HTTP, from a process beside
//! PID 1, which starts it and starts it again when it ends (`init/exporter.rs`).
//!
//! One thread and one epoll loop (mio). Whoever attacks it costs this process time, and at most
//! `server::MOST_CONNECTIONS` descriptors and their buffers; PID 1 only has its page read.

mod answers;
mod connection;
pub mod metrics;
pub mod request;
mod server;
pub mod source;

use crate::config::{Level, LogFormat};
use crate::kernel::entry::{self, Start};
use crate::kernel::{descriptors, process, signals};
use crate::report::{self, Log, Value};
use crate::signal::Signal;
use server::Server;
use source::Source;
use std::ffi::CStr;
use std::fmt;

/// The program, by the name `clawinit-exporter`. Its arguments: the address to listen on, the log
/// format, the log level. Descriptor `spawn::HANDED` is the status page.
#[inline(never)] // its clients' table would lie in PID 1's first stack frame
pub fn main(start: &Start) -> u8 {
    // It writes to the terminal that the child is in the foreground of (SIGTTOU), and to pipes
    // whose reader may be gone. Whatever else comes ends it, and PID 1 starts it again.
    signals::block_only(&[Signal::TTOU, Signal::PIPE]);
    process::set_name(c"clawinit-export");
    entry::on_panic(panicked);
    let word = |place: usize| start.args.get(place).map_or(c"", |word| *word);
    let format = if word(2) == c"json" { LogFormat::Json } else { LogFormat::Text };
    let log = || Log::new("clawinit", level(word(3)), format);
    let address = word(1).to_str().unwrap_or_default();
    let Ok(parsed) = address.parse() else {
        let name = word(0).to_string_lossy();
        let said = format_args!("{name} is not for people: --metrics-listen starts it");
        log().line(Level::Error, "exporter-failed", said, &[]);
        return 2;
    };
    descriptors::let_go_of_input_and_output();
    let source = Source::new(descriptors::handed(), log());
    let error = match Server::new(parsed, source) {
        Ok(mut server) => server.run(address),
        Err(error) => error,
    };
    let said = format_args!("--metrics-listen {address}: {error}");
    let fields = [("address", Value::Text(&address)), ("error", Value::Text(&error))];
    log().line(Level::Error, "exporter-failed", said, &fields);
    1
}

/// The level by its word.
fn level(word: &CStr) -> Level {
    let all = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];
    all.into_iter().find(|level| report::level_name(*level) == word).unwrap_or(Level::Info)
}

fn panicked(message: &str, place: &dyn fmt::Display) {
    let mut log = Log::new("clawinit", Level::Error, LogFormat::Text);
    let said = format_args!("a fault in the exporter: {message} at {place}; leaving with 70");
    log.line(Level::Error, "panic", said, &[]);
}
