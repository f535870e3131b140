//! clock_gettime(2).

use std::time::Duration;

/// Since an arbitrary point; never set, never goes back (`CLOCK_MONOTONIC`).
pub fn monotonic() -> Duration {
    read(libc::CLOCK_MONOTONIC)
}

/// Since boot, sleep included: what `/proc` counts births by (`CLOCK_BOOTTIME`).
pub fn since_boot() -> Duration {
    read(libc::CLOCK_BOOTTIME)
}

/// Since 1970-01-01 UTC, for people to read (`CLOCK_REALTIME`).
pub fn realtime() -> Duration {
    read(libc::CLOCK_REALTIME)
}

/// What this process has had of a CPU (`CLOCK_PROCESS_CPUTIME_ID`).
pub fn cpu_time() -> Duration {
    read(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn read(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is ours and large enough. No clock of these can fail (clock_gettime(2)).
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
