//! Log lines on stderr: `openclaw: text`. No time stamp: journald, Docker and
//! Kubernetes put their own before each line.

use std::io::Write as _;

use log::{Level, LevelFilter};

/// Sends log lines of `level` and above to stderr.
pub fn start(level: LevelFilter) {
    env_logger::Builder::new()
        .filter_level(level)
        .format(|line, record| {
            let mark = match record.level() {
                Level::Error => "error: ",
                Level::Warn => "warning: ",
                Level::Info => "",
                Level::Debug | Level::Trace => "debug: ",
            };
            writeln!(line, "openclaw: {mark}{}", record.args())
        })
        .init();
}
