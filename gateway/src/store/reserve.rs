//! Room on the disk that is kept for the worst day.
//!
//! redb needs a little space to close its file in order, to repair it, and to delete
//! (it writes a page anew before it frees the old one). On a disk that is full, a
//! restart would otherwise end with a memory that cannot be opened, and reads that
//! worked before would be gone as well. So a file of nothing holds some space, is
//! removed for such work, and made again after it.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

use crate::files;

/// The file's name in the state folder.
pub const FILE: &str = "memory.reserve";
/// Its size. What redb needs grows with the memory: about 64 KiB for a GiB.
const BYTES: u64 = 512 * 1024;
/// A small disk gives this part of itself.
const PART: u64 = 8;

/// The reserve of a state folder.
pub struct Reserve(PathBuf);

impl Reserve {
    /// The one of `folder`, there or not.
    pub fn of(folder: &Path) -> Self {
        Self(folder.join(FILE))
    }

    /// Gives its space to what comes next.
    pub fn release(&self) {
        // Not there: nothing was held.
        let _ = fs::remove_file(&self.0);
    }

    /// Takes back what is to be had. Best effort: every part of it helps.
    pub fn refill(&self) {
        let folder = self.0.parent().unwrap_or(Path::new("."));
        let disk = statvfs(folder).map_or(u64::MAX, |disk| disk.blocks() * disk.fragment_size());
        let Ok(mut file) = files::create(&self.0) else { return };
        let _ = write_zeros(&mut file, BYTES.min(disk / PART));
    }

    /// Does `work` with the space released.
    pub fn lend<T>(&self, work: impl FnOnce() -> T) -> T {
        self.release();
        let done = work();
        self.refill();
        done
    }
}

fn write_zeros(file: &mut File, bytes: u64) -> std::io::Result<()> {
    // A page at a time: the last one that fits counts.
    let page = [0; 4096];
    for _ in 0..bytes / page.len() as u64 {
        file.write_all(&page)?;
    }
    Ok(())
}
