//! Whether the memory file can be opened, found out by a process of its own.
//!
//! redb says of a plain open that it "may panic" on a file that was altered, and even
//! its checked open walks structures that a broken disk wrote. This program is built
//! with `panic=abort`, so the file is opened first where an abort, an endless loop or a
//! huge allocation harms nobody: `openclaw check-memory FILE`, started from here.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::Duration;

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;

use super::memory;
use crate::state::Stamp;
use crate::{process, signals};

/// The hidden verb that runs the check.
pub const VERB: &str = "check-memory";
/// `EX_DATAERR` of sysexits.h: this is no memory file.
const DAMAGED: u8 = 65;
/// `EX_IOERR`: the file cannot be read, which says nothing about what is in it.
const UNREADABLE: u8 = 74;
/// CPU seconds that any check may take, and bytes for which it may take one more.
const CPU_SECONDS: u64 = 20;
const BYTES_PER_CPU_SECOND: u64 = 8 * 1024 * 1024;
/// Address space that a check may take beside the file's own size.
const ADDRESS_SPACE: u64 = 512 * 1024 * 1024;

/// What a check found.
#[derive(Debug)]
pub enum Verdict {
    /// It can be opened; where it was unclean, it has been repaired.
    Sound,
    /// It is not what was once written.
    Damaged(String),
    /// It could not be read, and stays where it is.
    Unreadable(String),
    /// The check itself could not be started.
    Unknown(io::Error),
}

/// How long the check of `path` may take at a start, where one is due: the file is not as
/// it was closed.
pub fn patience(path: &Path, closed_as: Option<Stamp>) -> Option<Duration> {
    let found = Stamp::of(path).filter(|found| Some(*found) != closed_as)?;
    Some(Duration::from_secs(cpu_seconds(found.bytes)))
}

fn cpu_seconds(bytes: u64) -> u64 {
    CPU_SECONDS + bytes / BYTES_PER_CPU_SECOND
}

/// Checks `path` in a child process. A child rather than a thread, and this program
/// itself rather than a helper: a scratch image holds nothing else.
pub fn run(path: &Path) -> Verdict {
    match start("/proc/self/exe".as_ref(), path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // No /proc: the name we were called by must do.
            let name = std::env::args_os().next().unwrap_or_default();
            start(name.as_ref(), path).map_or_else(Verdict::Unknown, read_verdict)
        }
        result => result.map_or_else(Verdict::Unknown, read_verdict),
    }
}

fn start(program: &Path, path: &Path) -> io::Result<Output> {
    Command::new(program)
        .arg0("openclaw")
        .arg(VERB)
        .arg(path)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()
}

fn read_verdict(output: Output) -> Verdict {
    let code = output.status.code().and_then(|code| u8::try_from(code).ok());
    let text = String::from_utf8_lossy(&output.stderr);
    let said = text.trim().replace('\n', " ");
    match code {
        Some(0) => Verdict::Sound,
        Some(UNREADABLE) => Verdict::Unreadable(said),
        Some(DAMAGED) => Verdict::Damaged(said),
        Some(_) | None => Verdict::Damaged(format!(
            "its check ended with {}: {said}",
            process::ending(output.status)
        )),
    }
}

/// The child's side.
pub fn verb(path: &Path) -> ExitCode {
    signals::release();
    // Best effort, all of them: a check without limits still checks.
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    let bytes = std::fs::metadata(path).map_or(0, |meta| meta.len());
    let seconds = cpu_seconds(bytes);
    let _ = setrlimit(Resource::RLIMIT_CPU, seconds, seconds);
    let _ = setrlimit(Resource::RLIMIT_AS, ADDRESS_SPACE + bytes, ADDRESS_SPACE + bytes);
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);

    let opened = memory::open_database(path, true)
        .and_then(|database| memory::totals(&database).map(|_| database));
    match opened {
        Ok(database) => {
            // It is sound; how it is left is for the next open to see to.
            let _ = database.close();
            ExitCode::SUCCESS
        }
        Err(error) => {
            let advice =
                if memory::is_full(&error) { "; free some space on that disk" } else { "" };
            eprintln!("{error}{advice}");
            ExitCode::from(if memory::is_damage(&error) { DAMAGED } else { UNREADABLE })
        }
    }
}
