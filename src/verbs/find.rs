//! Which process is the clawinit that is meant: the one whose status page says so.

use super::{FAILED, Failure, NO_CLAWINIT, NO_PERMISSION, NOT_RUNNING, USAGE};
use crate::kernel::entry::Start;
use crate::kernel::{Errno, clock, kill, signals};
use crate::report::Words;
use crate::signal::Signal;
use crate::status::read::{self, Snapshot, Unreadable};
use std::fmt::Write;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::Duration;

/// What a descriptor of the page is a link to.
const LINK: &[u8] = b"/memfd:clawinit-status (deleted)";

/// The page comes a moment after the first child, which may ask for it at once.
const PATIENCE: Duration = Duration::from_millis(300);

/// How often to look meanwhile.
const LOOK: Duration = Duration::from_millis(5);

/// A clawinit. Its page and its folder stay open: what they tell is of this process for ever,
/// also when its number is somebody else's.
pub struct Found {
    /// Its pid, as this process sees it.
    pub pid: i32,
    /// Whether the pids on its page are what this process sees too.
    pub same_namespace: bool,
    page: File,
    folder: File,
}

impl Found {
    /// What the page says now; what it said last, when the process has ended.
    pub fn read(&self) -> Result<Snapshot, Failure> {
        read::read(&self.page).map_err(|why| unreadable(self.pid, &why))
    }

    /// Sends it a signal that says that we wait for the outcome.
    pub fn send(&self, signal: Signal) -> Result<(), Errno> {
        signals::send_as_verb(self.folder.as_fd(), self.pid, signal)
    }

    /// Whether the process has not ended yet.
    pub fn lives(&self) -> bool {
        // By way of the open folder, whose files fail once the process is gone.
        let path = format!("/proc/self/fd/{}/stat", self.folder.as_raw_fd());
        let stat = fs::read(path).unwrap_or_default();
        // The name in brackets may hold anything.
        let state = stat.iter().rposition(|b| *b == b')').and_then(|end| stat.get(end + 2));
        state.is_some_and(|state| !b"ZXx".contains(state))
    }
}

/// What a process turned out to be.
enum Candidate {
    Clawinit(Found),
    /// It has a page that this version cannot read.
    Unreadable(Unreadable),
    /// Its descriptors may not be looked at.
    Forbidden,
    /// It has no page.
    Other,
    /// There is no such process.
    Gone,
}

/// Finds it: `wanted`, or `CLAWINIT_PID` of the environment, or PID 1, or the only one there is,
/// those of the own control group first.
pub fn find(start: &Start, wanted: Option<i32>) -> Result<Found, Failure> {
    let end = clock::monotonic() + PATIENCE;
    loop {
        match look(start, wanted) {
            Ok(found) => return Ok(found),
            Err((_, true)) if clock::monotonic() < end => std::thread::sleep(LOOK),
            Err((failure, _)) => return Err(failure),
        }
    }
}

/// Looks once. Errors: why there is none, and whether a moment later there may be one.
fn look(start: &Start, wanted: Option<i32>) -> Result<Found, (Failure, bool)> {
    if let Some(pid) = wanted {
        return look_at_wanted(pid);
    }
    let given = start.variables().find_map(|variable| {
        let value = variable.to_bytes().strip_prefix(b"CLAWINIT_PID=")?;
        std::str::from_utf8(value).ok()?.parse().ok().filter(|pid| *pid > 0)
    });
    let mut forbidden = None;
    let mut without = None;
    for pid in given.into_iter().chain([1]) {
        match look_at(pid) {
            Candidate::Clawinit(found) => return Ok(found),
            Candidate::Unreadable(why) => return Err((unreadable(pid, &why), false)),
            Candidate::Forbidden if is_named_clawinit(pid) || given == Some(pid) => {
                forbidden = forbidden.or(Some(pid));
            }
            Candidate::Other if is_named_clawinit(pid) => without = without.or(Some(pid)),
            Candidate::Forbidden | Candidate::Other | Candidate::Gone => {}
        }
    }
    // Where PID 1 is clawinit there is no other to be meant.
    if let Some(pid) = forbidden {
        return Err((not_permitted(pid), false));
    }
    let mut all = Vec::new();
    for pid in processes().map_err(|failure| (failure, false))? {
        match look_at(pid) {
            Candidate::Clawinit(found) => all.push(found),
            Candidate::Unreadable(why) => return Err((unreadable(pid, &why), false)),
            Candidate::Forbidden if is_named_clawinit(pid) => {
                forbidden = forbidden.or(Some(pid));
            }
            Candidate::Other if is_named_clawinit(pid) => without = without.or(Some(pid)),
            Candidate::Forbidden | Candidate::Other | Candidate::Gone => {}
        }
    }
    let own = fs::read("/proc/self/cgroup").unwrap_or_default();
    let is_near = |found: &Found| {
        fs::read(format!("/proc/{}/cgroup", found.pid)).is_ok_and(|group| group == own)
    };
    let near = all.iter().filter(|found| is_near(found)).count();
    if near == 1 && all.len() > 1 {
        all.retain(is_near);
    }
    match (all.len(), forbidden, without) {
        (1, ..) => all.pop().ok_or_else(|| (nobody(), false)),
        (0, Some(pid), _) => Err((not_permitted(pid), false)),
        (0, None, Some(pid)) => Err((
            Failure::new(
                FAILED,
                format!("pid {pid} is clawinit, but has no status page; its log says why"),
            ),
            true,
        )),
        (0, None, None) => Err((nobody(), false)),
        (count, ..) => {
            let mut list = format!("{count} are running here, write --pid N for the one you mean:");
            for found in all.iter().take(8) {
                let command = found.read().map(|page| page.command).unwrap_or_default();
                let command: String = Words(&command).to_string().chars().take(50).collect();
                let _ = write!(list, " {} ({command})", found.pid);
            }
            if count > 8 {
                list.push_str(" ...");
            }
            Err((Failure::new(USAGE, list), false))
        }
    }
}

fn look_at_wanted(pid: i32) -> Result<Found, (Failure, bool)> {
    let name = name(pid);
    match look_at(pid) {
        Candidate::Clawinit(found) => Ok(found),
        Candidate::Unreadable(why) => Err((unreadable(pid, &why), false)),
        Candidate::Forbidden => Err((not_permitted(pid), false)),
        Candidate::Other if is_named_clawinit(pid) => Err((
            Failure::new(
                FAILED,
                format!("pid {pid} is clawinit, but has no status page; its log says why"),
            ),
            true,
        )),
        Candidate::Other => Err((
            Failure::new(NO_CLAWINIT, format!("--pid: {pid} is {name}, and no clawinit")),
            false,
        )),
        Candidate::Gone => {
            Err((Failure::new(NO_CLAWINIT, format!("--pid: there is no process {pid}")), false))
        }
    }
}

/// What this process is.
fn look_at(pid: i32) -> Candidate {
    let Ok(folder) = File::open(format!("/proc/{pid}")) else {
        // With hidepid (proc(5)) others' processes are not there, but can be signalled, or not.
        return if kill::exists(pid) { Candidate::Forbidden } else { Candidate::Gone };
    };
    // By way of the open folder: the number may be another's by now.
    let entries = match fs::read_dir(format!("/proc/self/fd/{}/fd", folder.as_raw_fd())) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Candidate::Forbidden,
        Err(_) => return Candidate::Gone,
    };
    for entry in entries.flatten() {
        let path = entry.path();
        // Another process's links may be listed and yet not be followed.
        match fs::read_link(&path) {
            Ok(link) if link.as_os_str().as_encoded_bytes() == LINK => {}
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Candidate::Forbidden;
            }
            _ => continue,
        }
        // The exporter has it too, and is told by its name where its number cannot.
        if arg0(pid) == b"clawinit-exporter" {
            continue;
        }
        return match open(&path) {
            Ok((page, read)) => match read {
                Ok(read) => {
                    let numbers = own_numbers(pid);
                    let inner = numbers.last().copied().unwrap_or(pid);
                    // 0: it is just being made.
                    if read.pid != inner && read.pid != 0 {
                        continue;
                    }
                    let same_namespace = numbers.len() < 2;
                    Candidate::Clawinit(Found { pid, same_namespace, page, folder })
                }
                Err(Unreadable::NoPage) => continue,
                Err(why) => Candidate::Unreadable(why),
            },
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Candidate::Forbidden,
            Err(_) => continue,
        };
    }
    Candidate::Other
}

fn open(path: &Path) -> io::Result<(File, Result<Snapshot, Unreadable>)> {
    let page = File::open(path)?;
    let read = read::read(&page);
    Ok((page, read))
}

/// Its pid in each PID namespace from this one down to its own; empty before Linux 4.1.
fn own_numbers(pid: i32) -> Vec<i32> {
    numbers_in(&fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default())
}

/// The same in the text of that file.
pub fn numbers_in(status: &str) -> Vec<i32> {
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    line.unwrap_or_default().split_whitespace().filter_map(|n| n.parse().ok()).collect()
}

fn processes() -> Result<Vec<i32>, Failure> {
    let entries = fs::read_dir("/proc").map_err(|error| no_proc(&error.to_string()))?;
    let pids: Vec<i32> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    if pids.is_empty() { Err(no_proc("it is empty")) } else { Ok(pids) }
}

fn no_proc(why: &str) -> Failure {
    let line = format!("/proc: {why}; mount it, clawinit is found by its descriptors there");
    Failure::new(FAILED, line)
}

/// The name that it was called by.
fn arg0(pid: i32) -> Vec<u8> {
    let mut line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.truncate(line.iter().position(|b| *b == 0).unwrap_or(line.len()));
    line
}

/// Whether it looks like one: anybody may read a name.
fn is_named_clawinit(pid: i32) -> bool {
    arg0(pid).rsplit(|b| *b == b'/').next() == Some(b"clawinit")
        && !fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| is_a_verb(&line))
}

/// Whether a command line is that of a verb, which has no page and never will.
fn is_a_verb(line: &[u8]) -> bool {
    let second = line.split(|b| *b == 0).nth(1).unwrap_or_default();
    [&b"status"[..], b"stop", b"restart", b"health", b"check"].contains(&second)
}

fn name(pid: i32) -> String {
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    String::from_utf8_lossy(&name).trim_end().to_owned()
}

fn nobody() -> Failure {
    Failure::new(NOT_RUNNING, "no clawinit is running here".to_owned())
}

fn not_permitted(pid: i32) -> Failure {
    let (own, its) = (owner("self").unwrap_or(0), owner(&pid.to_string()));
    let who = match its {
        Some(uid) if uid != own => {
            format!("run this as uid {uid} (docker exec -u {uid} ...)")
        }
        _ => "run this as root with its capabilities, or in its container".to_owned(),
    };
    let what = if is_named_clawinit(pid) { "clawinit" } else { "another's" };
    Failure::new(
        NO_PERMISSION,
        format!("pid {pid} is {what}, but uid {own} may not read its status page; {who}"),
    )
}

/// The user that a process belongs to; a process that hides itself belongs to root, as far as
/// `/proc` tells, so the first number of its `Uid` line is asked.
fn owner(pid: &str) -> Option<u32> {
    owner_in(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// The same in the text of that file.
pub fn owner_in(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn unreadable(pid: i32, why: &Unreadable) -> Failure {
    let line = match why {
        Unreadable::Io(error) => format!("the status page of pid {pid}: {error}"),
        Unreadable::NoPage => format!("what pid {pid} has under that name is no status page"),
        Unreadable::OtherLayout { major } => format!(
            "pid {pid} is a clawinit of another version, whose status page this one cannot read (layout {major}, not {}); ask it by its own program: /proc/{pid}/exe status --pid {pid}",
            crate::status::layout::MAJOR
        ),
        Unreadable::Busy => format!(
            "the status page of pid {pid} is half written: it was stopped in the midst of a change (kill -CONT {pid}?)"
        ),
    };
    Failure::new(FAILED, line)
}
