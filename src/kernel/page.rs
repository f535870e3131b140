//! A page of memory that other processes can read and nobody else can change: memfd_create(2),
//! mmap(2), and the seals of fcntl(2).

use super::Errno;
use std::sync::atomic::AtomicU64;

/// How many words the page has.
pub const WORDS: usize = 512;

/// Its length in bytes; a page of the kernel on the architectures that clawinit is built for,
/// or a part of one.
pub const BYTES: usize = WORDS * size_of::<u64>();

/// A page that is ours to write, and the descriptor by which others find and read it.
pub struct Page {
    /// Its words, zero at first. They stay for the life of the process.
    pub words: &'static [AtomicU64; WORDS],
    /// Close-on-exec, above 2, never closed.
    pub fd: i32,
}

impl Page {
    /// Makes one. `name` is what `/proc/PID/fd` shows of it, behind `/memfd:`. Errors: those of
    /// memfd_create(2) and mmap(2); ENOSYS where a sandbox does not know them.
    pub fn new(name: &std::ffi::CStr) -> Result<Page, Errno> {
        let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
        // SAFETY: the name is a C string.
        let fd =
            Errno::check(unsafe { libc::syscall(libc::SYS_memfd_create, name.as_ptr(), flags) })?
                as i32;
        let fd = if fd > 2 { fd } else { super::descriptors::above_standard(fd)? };
        Page::map(fd).inspect_err(|_| {
            // SAFETY: ours, and used by nobody.
            unsafe { libc::close(fd) };
        })
    }

    fn map(fd: i32) -> Result<Page, Errno> {
        // SAFETY: touches no memory.
        Errno::check(i64::from(unsafe { libc::ftruncate(fd, BYTES as libc::off_t) }))?;
        // SAFETY: a new mapping of the file's whole length, at a place that the kernel chooses.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                fd,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        // The mapping stays, and nothing else can write, or cut the file: a store behind its end
        // would be SIGBUS, and a process of the same user may open it by /proc/PID/fd.
        // F_SEAL_FUTURE_WRITE came with Linux 5.1; before that others could only lie about us.
        let size = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW;
        for seals in [size | libc::F_SEAL_FUTURE_WRITE | libc::F_SEAL_SEAL, size] {
            // SAFETY: touches no memory.
            if unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, seals) } == 0 {
                // SAFETY: mapped, aligned to a page, long enough, zeroed by the kernel, never
                // unmapped, and reached only by way of atomics; the seals keep its length.
                let words = unsafe { &*memory.cast::<[AtomicU64; WORDS]>() };
                return Ok(Page { words, fd });
            }
        }
        let errno = Errno::last();
        // SAFETY: the mapping made above, which nobody uses.
        unsafe { libc::munmap(memory, BYTES) };
        Err(errno)
    }
}
