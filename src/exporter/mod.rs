//! The exporter (`--metrics-listen`): metrics, status and health over HTTP, from a process beside
//! PID 1, which starts it and starts it again when it ends (`init/exporter.rs`).

use crate::kernel::entry::Start;

/// The program, by the name `clawinit-exporter`. Its arguments: the address to listen on, the log
/// format, the log level. Descriptor `spawn::HANDED` is the status page.
pub fn main(_start: &Start) -> u8 {
    1
}
