//! What ends the program: one line for a person and an exit code.

use std::io::Write as _;
use std::process::ExitCode;

use crate::logging;

/// A wrong option or variable, as clap and every shell tool have it.
pub const USAGE: u8 = 2;
/// The start, or what a verb was asked for, did not happen.
pub const FAILED: u8 = 1;
/// Another gateway owns the state folder. `EX_CONFIG`, as the real gateway 9.6 leaves:
/// with `--no-restart-code 78` no supervisor tries again in vain.
pub const CONFLICT: u8 = 78;

/// One line and the code to leave with.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// What was wrong, where, and what to type instead; without the program's name.
    pub line: String,
}

impl Failure {
    /// A wrong option or variable.
    pub fn usage(line: impl Into<String>) -> Self {
        Self { code: USAGE, line: line.into() }
    }

    /// Anything else that did not work.
    pub fn failed(line: impl Into<String>) -> Self {
        Self { code: FAILED, line: line.into() }
    }

    /// Writes the line to stderr. A stderr that is gone must not change the exit code,
    /// so the error of that write is dropped (`eprintln!` would panic).
    pub fn tell(&self) -> ExitCode {
        let _ = std::io::stderr().write_all(self.text().as_bytes());
        ExitCode::from(self.code)
    }

    /// What is written. It repeats what somebody typed or set, which must begin no line of its own
    /// and move no cursor.
    pub fn text(&self) -> String {
        logging::line("", &self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_typed_begins_no_line_and_moves_no_cursor() {
        let failure = Failure::usage("--port: \"1\n\x1b[2J\u{9b}é\" is no port");
        assert_eq!(failure.text(), "openclaw: --port: \"1\\n\\u{1b}[2J\\u{9b}é\" is no port\n");
    }
}
