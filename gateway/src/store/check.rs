//! Whether the memory file can be opened, found out by a process of its own.
//!
//! redb says of a plain open that it "may panic" on a file that was altered, and even
//! its checked open walks structures that a broken disk wrote. This program is built
//! with `panic=abort`, so the file is opened first where an abort, an endless loop or a
//! huge allocation harms nobody: `openclaw check-memory FILE`, started from here.

use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _, parent_id};
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Output, Stdio};
use std::time::Duration;

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;

use super::memory;
use crate::state::Stamp;
use crate::{process, signals};

/// The hidden verb that runs the check.
pub const VERB: &str = "check-memory";
/// Whose child a check is.
const PARENT: &str = "OPENCLAW_CHECK_PARENT";
/// `EX_DATAERR` of sysexits.h: this is no memory file.
const DAMAGED: u8 = 65;
/// `EX_IOERR`: the file cannot be read, which says nothing about what is in it.
const UNREADABLE: u8 = 74;
/// CPU seconds that any check may take, and bytes for which it may take one more.
const CPU_SECONDS: u64 = 20;
const BYTES_PER_CPU_SECOND: u64 = 8 * 1024 * 1024;
/// Address space that a check may take beside the file's own size.
const ADDRESS_SPACE: u64 = 512 * 1024 * 1024;
/// How often a check is begun that somebody ends.
const ATTEMPTS: u32 = 3;
/// What a file can make its check die of; SIGXCPU is the limit of CPU time. Any other
/// signal is somebody's: the kernel's that is short of memory, or a terminal's Ctrl-C.
const OF_THE_FILE: [Signal; 6] = [
    Signal::SIGABRT,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGILL,
    Signal::SIGSEGV,
    Signal::SIGXCPU,
];

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
    Some(Duration::from_secs(cpu_seconds(found.bytes)) * ATTEMPTS)
}

fn cpu_seconds(bytes: u64) -> u64 {
    CPU_SECONDS + bytes / BYTES_PER_CPU_SECOND
}

/// Checks `path` in a child process, anew where somebody ends it: that says nothing about
/// the file.
pub fn run(path: &Path) -> Verdict {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        match once(path) {
            Err(error) => return Verdict::Unknown(error),
            Ok(output) if !was_ended(output.status) => return read_verdict(output),
            Ok(output) => last = Some(output.status),
        }
    }
    let how = last.map_or_else(String::new, process::ending);
    Verdict::Unreadable(format!(
        "its check was ended by {how} {ATTEMPTS} times; it may want more memory"
    ))
}

/// A child rather than a thread, and this program itself rather than a helper: a scratch
/// image holds nothing else.
fn once(path: &Path) -> io::Result<Output> {
    match start("/proc/self/exe".as_ref(), path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // No /proc: the name we were called by must do.
            let name = std::env::args_os().next().unwrap_or_default();
            start(name.as_ref(), path)
        }
        result => result,
    }
}

/// Whether a check ended by a signal that no file sends.
fn was_ended(status: ExitStatus) -> bool {
    status.signal().is_some_and(|number| !OF_THE_FILE.iter().any(|own| *own as i32 == number))
}

fn start(program: &Path, path: &Path) -> io::Result<Output> {
    Command::new(program)
        .arg0("openclaw")
        .arg(VERB)
        .arg(path)
        .env_clear()
        .env(PARENT, std::process::id().to_string())
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
    // A gateway that was killed before that sends no signal any more; the check would go on
    // for nobody, and keep the file from the next gateway's.
    if std::env::var(PARENT).is_ok_and(|pid| pid != parent_id().to_string()) {
        eprintln!("the gateway that wanted this check is gone");
        return ExitCode::from(UNREADABLE);
    }
    let bytes = std::fs::metadata(path).map_or(0, |meta| meta.len());
    let seconds = cpu_seconds(bytes);
    // At the second limit the kernel sends SIGKILL, which would say that somebody did.
    let _ = setrlimit(Resource::RLIMIT_CPU, seconds, seconds + 1);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_that_somebody_ends_says_nothing_about_the_file() {
        for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            assert!(was_ended(ExitStatus::from_raw(signal as i32)), "{signal}");
        }
        for signal in OF_THE_FILE {
            assert!(!was_ended(ExitStatus::from_raw(signal as i32)), "{signal}");
        }
        let code = |code: u8| ExitStatus::from_raw(i32::from(code) << 8);
        assert!(![0, DAMAGED, UNREADABLE, 1].into_iter().any(|number| was_ended(code(number))));
    }
}
