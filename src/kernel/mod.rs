//! The system calls, one file per kernel concept, and the only place that says `unsafe`.
//!
//! Everything here is a thin, safe function over one or two calls; no decision is taken here
//! that `core` could take.

pub mod aside;
pub mod cgroup;
pub mod clock;
pub mod descendants;
pub mod descriptors;
pub mod entry;
pub mod kill;
pub mod listen;
pub mod memory;
pub mod notify;
pub mod output;
pub mod page;
pub mod port;
pub mod privileges;
pub mod process;
pub mod reap;
pub mod signals;
pub mod spawn;
pub mod terminal;
#[cfg(all(panic = "abort", target_env = "musl"))]
mod unwind;

/// An error number of errno(3).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// What the last failed call left.
    pub fn last() -> Errno {
        // std keeps errno's place for each C library; nothing is allocated.
        Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
    }

    /// `result` as the C library's calls return it: -1 means that errno was set.
    fn check(result: i64) -> Result<i64, Errno> {
        if result == -1 { Err(Errno::last()) } else { Ok(result) }
    }
}

impl std::fmt::Display for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // SAFETY: strerror's answer is a string that stays until the next call; PID 1 has one
        // thread.
        let text = unsafe { std::ffi::CStr::from_ptr(libc::strerror(self.0)) };
        f.write_str(text.to_str().unwrap_or("unknown error"))
    }
}

impl std::fmt::Debug for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self} (errno {})", self.0)
    }
}
