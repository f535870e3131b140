//! Who is there: processes, zombies that nobody waits for, orphans that clawinit adopted. Counted
//! by the exporter and by `clawinit status`, never by PID 1.

use std::io;
use std::time::Duration;

/// What `/proc` and the control group say at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Processes in the PID namespace, zombies among them.
    pub processes: u64,
    /// Zombies, by the living parent that does not wait for them; most first.
    pub zombies: Vec<Zombies>,
    /// Processes that lost their parent and are clawinit's children now, apart from the child
    /// and the exporter; oldest first.
    pub orphans: Vec<Orphan>,
    /// `pids.current` of the control group; `None` where that cannot be read.
    pub pids_current: Option<u64>,
    /// `pids.max`; `None`: no limit, or it cannot be read.
    pub pids_max: Option<u64>,
}

/// A parent's zombies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zombies {
    /// The parent's pid.
    pub parent: i32,
    /// Its name (`/proc/PID/comm`).
    pub name: String,
    /// How many of its children are zombies.
    pub count: u64,
}

/// An adopted orphan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Its pid.
    pub pid: i32,
    /// Its name.
    pub name: String,
    /// How long it has lived.
    pub age: Duration,
    /// Its resident memory, in bytes.
    pub resident_bytes: u64,
}

/// Counts, as seen from `/proc`. `clawinit`, `child`, `exporter`: their pids. Errors: there is no
/// `/proc` to read.
pub fn take(_clawinit: i32, _child: Option<i32>, _exporter: Option<i32>) -> io::Result<Census> {
    Ok(Census::default())
}
