//! The children of this process as `/proc` lists them: proc_pid_task_children(5).

use super::Errno;
use super::descriptors::File;
use super::process;
use std::fmt::Write;
use std::time::Duration;

/// Whether `/proc` is there and counts pids as we do: one that was mounted outside our PID
/// namespace has other numbers, and a signal to those would hit strangers.
pub fn proc_is_ours() -> bool {
    let mut target = [0u8; 16];
    // SAFETY: the path is a C string, the buffer ours, its length given.
    let length =
        unsafe { libc::readlink(c"/proc/self".as_ptr(), target.as_mut_ptr().cast(), target.len()) };
    let Ok(length) = usize::try_from(length) else { return false };
    std::str::from_utf8(&target[..length]).ok().and_then(|pid| pid.parse().ok())
        == Some(process::pid())
}

/// Calls `each` with the pid of every child, dead ones that are not reaped among them. An
/// error: there is no such list, and nobody knows.
pub fn for_each_child(mut each: impl FnMut(i32)) -> Result<(), Errno> {
    if !proc_is_ours() {
        return Err(Errno(libc::ENOENT));
    }
    let file = File::open(c"/proc/thread-self/children", libc::O_RDONLY)?;
    let mut buffer = [0u8; 4096];
    let mut pids = Pids::default();
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        pids.take(&buffer[..count], &mut each);
    }
}

/// A list of pids that comes in pieces, which may end within a number.
#[derive(Default)]
pub struct Pids {
    /// What the digits so far are.
    pid: i32,
}

impl Pids {
    /// Calls `each` with those that end in `piece`. "12 345 6789 ": a blank ends each number, also
    /// the last one.
    pub fn take(&mut self, piece: &[u8], mut each: impl FnMut(i32)) {
        for byte in piece {
            if byte.is_ascii_digit() {
                self.pid = self.pid.wrapping_mul(10).wrapping_add(i32::from(byte - b'0'));
            } else if self.pid > 0 {
                each(self.pid);
                self.pid = 0;
            }
        }
    }
}

/// How exactly the kernel tells when a process was born: USER_HZ is 100 on every architecture
/// that clawinit is built for.
pub const TICK: Duration = Duration::from_millis(10);

/// When a process was born, since boot: field 22 of `/proc/PID/stat` (proc_pid_stat(5)), rounded
/// down to a tick.
pub fn born(pid: i32) -> Option<Duration> {
    let ticks = stat_field(pid, 22)?;
    Some(Duration::from_millis(ticks.saturating_mul(TICK.as_millis() as u64)))
}

/// The parent of a process; 0 where that is in another PID namespace, `None` where the process is
/// gone.
pub fn parent_of(pid: i32) -> Option<i32> {
    stat_field(pid, 4)?.try_into().ok()
}

/// A number of `/proc/PID/stat`, by its place in proc_pid_stat(5), from 4 on.
fn stat_field(pid: i32, place: usize) -> Option<u64> {
    let mut buffer = [0; 512];
    field_in(read(pid, "stat", &mut buffer), place)
}

/// The same in the bytes of that file.
pub fn field_in(stat: &[u8], place: usize) -> Option<u64> {
    // The name in parentheses may hold anything but what is behind it: field 3.
    let end = stat.windows(2).rposition(|two| two == b") ")?;
    let fields = std::str::from_utf8(&stat[end + 2..]).ok()?;
    fields.split(' ').nth(place - 3)?.parse().ok()
}

/// The pid that was given out last in our PID namespace: field 5 of `/proc/loadavg`. 0 where
/// that cannot be read.
pub fn last_pid() -> i32 {
    let mut buffer = [0; 128];
    let read = File::open(c"/proc/loadavg", libc::O_RDONLY).and_then(|f| f.read(&mut buffer));
    last_pid_in(&buffer[..read.unwrap_or(0)])
}

/// The same in the bytes of that file.
pub fn last_pid_in(loadavg: &[u8]) -> i32 {
    let text = std::str::from_utf8(loadavg).unwrap_or_default();
    text.split_ascii_whitespace().nth(4).and_then(|pid| pid.parse().ok()).unwrap_or(0)
}

/// The process group of a child of ours.
pub fn group_of(pid: i32) -> i32 {
    // SAFETY: touches no memory.
    unsafe { libc::getpgid(pid) }
}

/// Reads `/proc/PID/FILE` of a process into `buffer`, as much as fits. Nothing where it is
/// gone, or where `/proc` is not ours.
pub fn read<'a>(pid: i32, file: &str, buffer: &'a mut [u8]) -> &'a [u8] {
    let mut path = [0u8; 48];
    let mut end = &mut path[..];
    let _ = write!(super::spawn::SliceWriter(&mut end), "/proc/{pid}/{file}\0");
    let Ok(path) = std::ffi::CStr::from_bytes_until_nul(&path) else { return &[] };
    if !proc_is_ours() {
        return &[];
    }
    let count = File::open(path, libc::O_RDONLY).and_then(|file| file.read(buffer)).unwrap_or(0);
    &buffer[..count]
}
