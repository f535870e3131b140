//! Who brings the gateway back after exit code 75.

use serde::{Deserialize, Serialize};

/// The kind of parent that the gateway found at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// clawinit: it takes SIGTERM and SIGUSR1 for the gateway.
    Clawinit,
    /// systemd runs the gateway as a service.
    Systemd,
    /// A shell, a loop, another supervisor or nobody: it cannot be told which.
    Unknown,
}

/// The parent at the gateway's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supervisor {
    /// What it is.
    pub kind: Kind,
    /// Its pid, as the gateway's PID namespace counts; 0 when it is outside.
    pub pid: u32,
}

/// Looks at the parent and at what it left in the environment.
pub fn find() -> Supervisor {
    let pid = std::os::unix::process::parent_id();
    let named = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    let kind = if pid != 0 && named("CLAWINIT_PID") == Some(pid) {
        Kind::Clawinit
    } else if named("SYSTEMD_EXEC_PID") == Some(std::process::id()) {
        // systemd.exec(5): set to the pid of the process that systemd itself started,
        // so that one inherited by accident (OPENCLAW.md 1d) does not count.
        Kind::Systemd
    } else {
        Kind::Unknown
    };
    Supervisor { kind, pid }
}
