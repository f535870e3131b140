//! Log lines on stderr: `openclaw: text`. No time stamp: journald, Docker and
//! Kubernetes put their own before each line.
//!
//! A reader that does not read must not hold up a stop, so nothing here waits: a line
//! is written by one write, or dropped, and the next one that fits says how many were.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Mutex, PoisonError};

use env_logger::Target;
use log::{Level, LevelFilter};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{SFlag, fstat};

/// The longest line, its end included. Linux writes so much to a pipe whole or not at
/// all (pipe(7), PIPE_BUF), also where agents write to it at the same time.
const MAX_LINE: usize = 4096;

/// One for the whole process: both threads log.
static LINES: Mutex<Lines> = Mutex::new(Lines { output: None, dropped: 0 });

/// Sends log lines of `level` and above to stderr.
pub fn start(level: LevelFilter) {
    env_logger::Builder::new()
        .filter_level(level)
        .target(Target::Pipe(Box::new(Stderr)))
        .format(|line, record| {
            let mark = match record.level() {
                Level::Error => "error: ",
                Level::Warn => "warning: ",
                Level::Info => "",
                Level::Debug | Level::Trace => "debug: ",
            };
            line.write_all(self::line(mark, record.args()).as_bytes())
        })
        .init();
    // The hook of std writes to stderr, however long that takes.
    std::panic::set_hook(Box::new(|panic| tell(&panic.to_string())));
}

/// Writes one line as a verb's failure looks, at any log level.
pub fn tell(line: &str) {
    write(self::line("", &line).as_bytes());
}

/// A line as it is written, its end included. What it repeats of a file, of a variable or of
/// somebody's words begins no line of its own and moves no cursor.
pub fn line(mark: &str, message: &dyn Display) -> String {
    let mut line = format!("openclaw: {mark}");
    for letter in message.to_string().chars() {
        match letter {
            letter if letter.is_control() => line.extend(letter.escape_default()),
            letter => line.push(letter),
        }
    }
    line.push('\n');
    line
}

fn write(line: &[u8]) {
    LINES.lock().unwrap_or_else(PoisonError::into_inner).write(line);
}

/// What env_logger writes to: each line by one call.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        write(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Lines {
    /// None before the first line.
    output: Option<Output>,
    /// Lines that had no room since the last that had.
    dropped: u64,
}

impl Lines {
    fn write(&mut self, line: &[u8]) {
        let output = self.output.get_or_insert_with(Output::open);
        let mut text = Vec::new();
        if self.dropped > 0 {
            text = format!(
                "openclaw: warning: {} log lines were dropped: nobody read them in time\n",
                self.dropped
            )
            .into_bytes();
        }
        text.extend_from_slice(line);
        if text.len() > MAX_LINE {
            text.truncate(MAX_LINE - 1);
            text.push(b'\n');
        }
        match output.write(&text) {
            Ok(_) => self.dropped = 0,
            Err(_) => self.dropped += 1,
        }
    }
}

/// Standard error, as it can be written to without waiting. O_NONBLOCK belongs to the
/// open file, which agents and whoever started us share: it is never set on that one.
enum Output {
    /// A pipe or terminal: another open file of the same thing, non-blocking.
    Reopened(File),
    /// A regular file: it has no reader to wait for, and its offset is shared.
    File,
    /// A socket, such as the journal's.
    Socket,
    /// Without /proc, or the right to open it: asked with poll(2) before each write.
    Polled,
}

impl Output {
    fn open() -> Self {
        let kind = fstat(io::stderr())
            .map_or(SFlag::empty(), |stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT);
        if kind == SFlag::S_IFREG {
            return Self::File;
        }
        if kind == SFlag::S_IFSOCK {
            return Self::Socket;
        }
        File::options()
            .write(true)
            .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
            .open("/proc/self/fd/2")
            .map_or(Self::Polled, Self::Reopened)
    }

    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        match self {
            Self::Reopened(file) => file.write(text),
            Self::File => io::stderr().write(text),
            Self::Socket => {
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                Ok(send(io::stderr().as_raw_fd(), text, flags)?)
            }
            Self::Polled => {
                let stderr = io::stderr();
                let mut asked =
                    [PollFd::new(std::os::fd::AsFd::as_fd(&stderr), PollFlags::POLLOUT)];
                match poll(&mut asked, PollTimeout::ZERO)? {
                    0 => Err(io::ErrorKind::WouldBlock.into()),
                    _ => io::stderr().write(text),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_damaged_file_says_begins_no_line_of_its_own() {
        let wrong = serde_json::from_str::<crate::state::Status>("\"a\\nopenclaw: b\\u001b\"");
        let wrong = wrong.expect_err("no status");
        let line = line("warning: ", &format_args!("damaged ({wrong})"));
        assert!(line.starts_with("openclaw: warning: damaged (unknown variant `a\\nopenclaw: b"));
        assert!(!line.trim_end_matches('\n').contains(char::is_control), "{line:?}");
    }
}
