//! Files that clawinit opens for itself, and those it was given.
//!
//! Its own are close-on-exec and never 0, 1 or 2: where standard error came in closed, the next
//! file to be opened would become it, and would get the log.

use super::Errno;
use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// An open file of our own, closed when it is dropped.
pub struct File(i32);

impl File {
    /// Opens `path` with `flags` of open(2), O_CLOEXEC added; a new file gets mode 0644.
    pub fn open(path: &CStr, flags: i32) -> Result<File, Errno> {
        // SAFETY: the path is a C string.
        let fd = unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, 0o644) };
        let fd = Errno::check(i64::from(fd))? as i32;
        if fd > 2 { Ok(File(fd)) } else { above_standard(fd).map(File) }
    }

    /// One write(2): how many bytes it took.
    pub fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        write(self.0, bytes)
    }

    /// Cuts the file to nothing.
    pub fn empty(&self) {
        // SAFETY: touches no memory. Where it fails the file stays as it is.
        unsafe { libc::ftruncate(self.0, 0) };
    }

    /// Whether it is a regular file that is known by more names than one (link(2)).
    pub fn has_another_name(&self) -> bool {
        let stat = stat(self.0);
        stat.st_mode & libc::S_IFMT == libc::S_IFREG && stat.st_nlink > 1
    }

    /// One read(2): how many bytes it gave, 0 at the end.
    pub fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        // SAFETY: the buffer is ours, and its length is given.
        let got = unsafe { libc::read(self.0, buffer.as_mut_ptr().cast(), buffer.len()) };
        Errno::check(got as i64).map(|n| n as usize)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: ours, and used by nobody any more.
        unsafe { libc::close(self.0) };
    }
}

/// Moves a descriptor of our own, close-on-exec, out of the place of a standard one.
pub(super) fn above_standard(fd: i32) -> Result<i32, Errno> {
    // SAFETY: duplicates a descriptor that is ours.
    let moved = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
    let moved = Errno::check(i64::from(moved));
    // SAFETY: ours, and used by nobody any more.
    unsafe { libc::close(fd) };
    moved.map(|fd| fd as i32)
}

/// All of a file; `None` where it cannot be read. std's own reader asks again for as long as a read
/// is interrupted, and PID 1 must not wait for a kernel that does nothing else.
pub(super) fn read_whole(path: &CStr) -> Option<String> {
    let file = File::open(path, libc::O_RDONLY).ok()?;
    let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match file.read(&mut buffer).ok()? {
            0 => return String::from_utf8(all).ok(),
            got => all.extend_from_slice(&buffer[..got]),
        }
    }
}

/// Calls `wanted` with the name of each thing in a folder until it finds something. std's own
/// reader of folders panics where close(2) fails, and PID 1 must not.
pub(super) fn find_in_folder<T>(
    path: &CStr,
    mut wanted: impl FnMut(&CStr) -> Option<T>,
) -> Option<T> {
    const NAME: usize = 19; // where the name begins in linux_dirent64 (getdents(2))
    let folder = File::open(path, libc::O_RDONLY | libc::O_DIRECTORY).ok()?;
    let mut buffer = [0u8; 1024];
    loop {
        // SAFETY: the buffer is ours, and its length is given.
        let got = unsafe {
            libc::syscall(libc::SYS_getdents64, folder.0, buffer.as_mut_ptr(), buffer.len())
        };
        let mut rest = &buffer[..usize::try_from(got).ok().filter(|got| *got > 0)?];
        while let Some(length) = rest.get(16..18) {
            let length = usize::from(u16::from_ne_bytes([length[0], length[1]]));
            let name = CStr::from_bytes_until_nul(rest.get(NAME..length)?).ok()?;
            if let Some(found) = wanted(name) {
                return Some(found);
            }
            rest = &rest[length..];
        }
    }
}

/// Whether there is anything by this name, a link that leads nowhere included.
pub fn is_there(path: &CStr) -> bool {
    // SAFETY: plain data, which the kernel fills.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the path is a C string, `stat` ours.
    let result = unsafe { libc::lstat(path.as_ptr(), &raw mut stat) };
    Errno::check(i64::from(result)) != Err(Errno(libc::ENOENT))
}

/// What a descriptor refers to, as `st_mode & S_IFMT` of inode(7); 0 where it is closed.
pub(super) fn kind(fd: i32) -> libc::mode_t {
    stat(fd).st_mode & libc::S_IFMT
}

/// fstat(2); all zero where the descriptor is closed.
fn stat(fd: i32) -> libc::stat {
    // SAFETY: plain data, which the kernel fills.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `stat` is ours; it stays zero where the call fails.
    unsafe { libc::fstat(fd, &raw mut stat) };
    stat
}

/// Whether standard error leads to systemd's journal: JOURNAL_STREAM names its device and inode
/// (systemd.exec(5)), and is inherited by processes whose standard error is another.
pub fn stderr_is_the_journal() -> bool {
    let Some(named) = std::env::var_os("JOURNAL_STREAM") else { return false };
    let mut numbers = named.to_str().unwrap_or_default().split(':').map(str::parse);
    let (Some(Ok(device)), Some(Ok(inode))) = (numbers.next(), numbers.next()) else {
        return false;
    };
    // SAFETY: plain data, which the kernel fills.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `stat` is ours.
    let known = unsafe { libc::fstat(2, &raw mut stat) } == 0;
    let (device, inode): (u64, u64) = (device, inode);
    known && (stat.st_dev, stat.st_ino) == (device, inode)
}

/// One write(2) to a descriptor that came with the process.
pub(super) fn write(fd: i32, bytes: &[u8]) -> Result<usize, Errno> {
    // SAFETY: the bytes are readable, and their length is given.
    let took = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
    Errno::check(took as i64).map(|n| n as usize)
}

/// Writes to the end of a file that came with the process, wherever its offset is, and moves
/// that offset, which others share, behind what was written.
pub(super) fn append(fd: i32, bytes: &[u8]) -> Result<usize, Errno> {
    write_with(fd, bytes, libc::RWF_APPEND).or_else(|_| {
        // Linux before 4.16, or a file system that knows no such flag.
        // SAFETY: touches no memory. Where it fails the write goes to the offset as it is.
        unsafe { libc::lseek(fd, 0, libc::SEEK_END) };
        write(fd, bytes)
    })
}

/// Writes without waiting for room, whatever the descriptor's own flags are.
pub(super) fn write_now(fd: i32, bytes: &[u8]) -> Result<usize, Errno> {
    write_with(fd, bytes, libc::RWF_NOWAIT)
}

/// pwritev2(2) at the current offset.
fn write_with(fd: i32, bytes: &[u8], flags: i32) -> Result<usize, Errno> {
    let part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let here: libc::c_long = -1; // "the current offset", low and high half
    // syscall(2) reads longs. The last one lies on the stack, where the half above an int is
    // whatever was there.
    let flags = libc::c_long::from(flags);
    // SAFETY: one iovec over readable bytes, which the call only reads.
    let took = unsafe {
        libc::syscall(libc::SYS_pwritev2, fd, &raw const part, 1usize, here, here, flags)
    };
    Errno::check(took).map(|n| n as usize)
}

/// Closes every descriptor above 2 but those `kept`, which are our own: what the caller handed
/// over is the child's now, and a reader at the other end of a pipe waits for its last writer
/// (openSUSE/catatonit#12). No other one of our own may be open.
pub fn close_inherited(mut kept: [Option<i32>; 2]) {
    kept.sort_unstable();
    let mut first = 3;
    for kept in kept.into_iter().flatten() {
        close_range(first, kept - 1);
        first = kept + 1;
    }
    close_range(first, i32::MAX);
}

/// In a process that is about to execute a program: hands `fd` on as `number`, and nothing else
/// above 2.
pub(super) fn hand_on(fd: i32, number: i32) {
    // SAFETY: touches no memory; the process is a new one, and has no `File` in use.
    unsafe {
        if fd == number {
            libc::fcntl(fd, libc::F_SETFD, 0);
        } else {
            libc::dup2(fd, number);
        }
    }
    close_range(number + 1, i32::MAX);
}

/// In a helper of our own: what it was handed as [`super::spawn::HANDED`]. To be taken once.
pub fn handed() -> std::fs::File {
    // SAFETY: whoever started us put it there for us, and nothing else of this program owns it.
    unsafe { std::os::fd::FromRawFd::from_raw_fd(super::spawn::HANDED) }
}

/// In a helper of our own: puts `/dev/null` in the place of standard input and output, which are
/// the child's: whoever reads its output waits for the last one who could write to it.
pub fn let_go_of_input_and_output() {
    // SAFETY: a C string; the numbers are the process's own, and no `File` has them.
    unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        for fd in [0, 1] {
            if null == -1 {
                libc::close(fd);
            } else {
                libc::dup2(null, fd);
            }
        }
        if null > 2 {
            libc::close(null);
        }
    }
}

/// close_range(2), both ends included.
pub fn close_range(first: i32, last: i32) {
    if first > last {
        return;
    }
    // SAFETY: takes numbers. The caller holds no `File`.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if result == 0 {
        return;
    }
    // Linux before 5.9, or a seccomp filter that does not know the call. 1,024 is the usual
    // soft limit, and asking for the real one would cost more than it gives.
    for fd in first..=last.min(1023) {
        // SAFETY: as above.
        unsafe { libc::close(fd) };
    }
}

/// Writes `text` whole to standard output, where somebody asked for it and waits.
pub fn print(mut text: &[u8]) -> Result<(), Errno> {
    while !text.is_empty() {
        let took = write(1, text)?;
        text = &text[took..];
    }
    Ok(())
}

/// Whether something is at one of these paths.
pub fn exists(places: &[CString]) -> bool {
    places.iter().any(|place| as_path(place).symlink_metadata().is_ok())
}

/// Whether there is a folder at one of them.
pub fn is_folder(places: &[CString]) -> bool {
    places.iter().any(|place| as_path(place).is_dir())
}

/// Whether this process, by the user that it runs as, may execute what is at `place`
/// (faccessat(2)).
pub fn may_execute(place: &CStr) -> bool {
    // SAFETY: a C string, which the call reads.
    unsafe { libc::faccessat(libc::AT_FDCWD, place.as_ptr(), libc::X_OK, libc::AT_EACCESS) == 0 }
}

fn as_path(place: &CString) -> &Path {
    Path::new(OsStr::from_bytes(place.as_bytes()))
}
