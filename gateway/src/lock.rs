//! One gateway per state folder: a kernel lock, never a pid in a file.
//!
//! In a container the gateway has the same pid at every boot, so a pid alone proves
//! nothing (OPENCLAW.md, complaint 24). The lock is held as long as the process lives,
//! however it dies; what stands in the file only tells people and verbs who holds it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::process;
use crate::sockets::{Address, Place};
use crate::supervisor::Supervisor;

/// The lock's name in the state folder.
pub const FILE: &str = "gateway.lock";
/// Held by a verb that waits for the gateway's end; see [`Lock::hand_back`].
const WATCH: &str = "gateway.watch";

/// A descriptor of a killed gateway can live a moment longer in a child that was
/// between fork and exec. Who starts right after a crash waits for that.
const LEFTOVER_WAIT: Duration = Duration::from_millis(500);
/// How long a gateway that has ended everything stays for a verb to say so.
pub const WATCHER_WAIT: Duration = Duration::from_millis(500);
/// flock(2) has no timeout, so bounded waits look again this often.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Who holds the lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The gateway's pid, as its own PID namespace counts.
    pub pid: u32,
    /// `/proc/PID/stat` field 22; none without /proc.
    pub start_time: Option<u64>,
    /// The PID namespace in which `pid` means something; none without /proc.
    pub pid_namespace: Option<String>,
    /// The generation.
    pub generation: u64,
    /// The port that it listens on; 0 where it is a path.
    pub port: u16,
    /// The address that it listens on; all when none.
    #[serde(default)]
    pub bind: Option<IpAddr>,
    /// The path of the Unix socket that it listens on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Whether the socket was handed in, so that others may hold it open.
    #[serde(default)]
    pub was_handed: bool,
    /// Whether it starts itself again after SIGUSR1, in the same process.
    #[serde(default)]
    pub restarts_itself: bool,
    /// Its parent at the start.
    pub supervisor: Supervisor,
    /// Field 22 of the parent's stat; none without /proc.
    #[serde(default)]
    pub supervisor_start_time: Option<u64>,
}

impl Holder {
    /// This process.
    pub fn this(
        generation: u64,
        place: &Place,
        was_handed: bool,
        restarts_itself: bool,
        supervisor: Supervisor,
    ) -> Self {
        let pid = std::process::id();
        Self {
            pid,
            start_time: process::stat(pid).map(|stat| stat.start_time),
            pid_namespace: process::pid_namespace(),
            generation,
            port: place.port,
            bind: place.bind,
            path: place.path.clone(),
            was_handed,
            restarts_itself,
            supervisor,
            supervisor_start_time: process::stat(supervisor.pid).map(|stat| stat.start_time),
        }
    }

    /// Whether `pid` can be signalled from here: a pid of another container means
    /// another process, or none, in this one.
    pub fn is_in_our_namespace(&self) -> bool {
        match (&self.pid_namespace, process::pid_namespace()) {
            (Some(theirs), Some(ours)) => *theirs == ours,
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// Whether the process lives still.
    pub fn is_alive(&self) -> bool {
        process::is_alive(self.pid, self.start_time)
    }

    /// Whether its parent at the start lives still; a parent of another PID namespace
    /// cannot be seen.
    pub fn is_supervisor_alive(&self) -> bool {
        self.supervisor.pid != 0
            && process::is_alive(self.supervisor.pid, self.supervisor_start_time)
    }

    /// Where it listens.
    pub fn place(&self) -> Place {
        Place { bind: self.bind, port: self.port, path: self.path.clone() }
    }

    /// Where it answers on this machine.
    pub fn local_addresses(&self) -> Vec<Address> {
        if let Some(path) = &self.path {
            return vec![Address::Path(path.clone())];
        }
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        let addresses = match self.bind {
            // `::` is both protocol versions, unless the host says otherwise.
            Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => vec![Ipv6Addr::LOCALHOST.into(), loopback],
            Some(address) if !address.is_unspecified() => vec![address],
            Some(_) | None => vec![loopback],
        };
        addresses
            .into_iter()
            .map(|address| Address::Port(SocketAddr::new(address, self.port)))
            .collect()
    }
}

/// A pid for nix. Linux pids fit in 22 bits.
pub fn nix_pid(pid: u32) -> nix::unistd::Pid {
    nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX))
}

/// The lock, held until this is dropped or the process ends.
pub struct Lock {
    file: File,
}

/// Why the lock was not had.
pub enum Denied {
    /// Another gateway has it; none when it has not written its name yet.
    Held(Option<Box<Holder>>),
    /// The file cannot be opened or written.
    Io(io::Error),
}

impl Lock {
    /// Takes the lock in `folder`. The descriptor is close-on-exec, as all of std's
    /// are: agents that outlive the gateway do not keep it.
    pub fn take(folder: &Path) -> Result<Self, Denied> {
        let path = folder.join(FILE);
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(Denied::Io)?;
        let until = Instant::now() + LEFTOVER_WAIT;
        loop {
            match file.try_lock() {
                Ok(()) => {
                    // The name of the last holder goes at once: a verb that reads it under
                    // our lock would signal whoever has its pid today.
                    file.set_len(0).map_err(Denied::Io)?;
                    // One that is left by an older version, or that is another user's.
                    let _ = file.set_permissions(fs::Permissions::from_mode(0o600));
                    let _ = open_watch(folder);
                    return Ok(Self { file });
                }
                Err(TryLockError::WouldBlock) if Instant::now() < until => {
                    std::thread::sleep(LOOK_AGAIN);
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(Denied::Held(read_name(&file).map(Box::new)));
                }
                Err(TryLockError::Error(error)) => return Err(Denied::Io(error)),
            }
        }
    }

    /// Writes who holds the lock, for information only.
    pub fn name(&mut self, holder: &Holder) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(holder)?;
        bytes.push(b'\n');
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&bytes)?;
        self.file.set_len(bytes.len() as u64)
    }

    /// Lets go of the lock before the process ends, then gives a verb that watches
    /// the time to print what happened. Under clawinit the container ends with the
    /// gateway, and with it a `docker exec … gateway stop` in the middle of its work.
    /// `meanwhile` is called again and again.
    pub fn hand_back(self, folder: &Path, mut meanwhile: impl FnMut()) {
        drop(self);
        let Ok(file) = File::options().read(true).open(folder.join(WATCH)) else { return };
        let until = Instant::now() + WATCHER_WAIT;
        while matches!(file.try_lock(), Err(TryLockError::WouldBlock)) && Instant::now() < until {
            meanwhile();
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

/// Whether a gateway runs on the folder, and which.
pub enum Look {
    /// Nobody holds the lock.
    Free,
    /// Somebody does; none while the name is being written.
    Held(Option<Holder>),
}

/// Looks who holds the lock in `folder`, without taking it.
pub fn look(folder: &Path) -> io::Result<Look> {
    let file = match File::open(folder.join(FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Look::Free),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Look::Free),
        Err(TryLockError::WouldBlock) => Ok(Look::Held(read_name(&file))),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Tells the gateway that a verb waits for its end; holds until dropped, at the latest
/// with the verb's process. Best effort: a verb of another user cannot, and loses
/// nothing but the last line in a container that ends.
pub fn watch(folder: &Path) -> Option<File> {
    let file = open_watch(folder).ok()?;
    file.try_lock_shared().ok()?;
    Some(file)
}

/// The watch, for reading: flock(2) asks for no more, and so a verb run by root and a
/// gateway run by another user share it whoever made it. It holds nothing.
fn open_watch(folder: &Path) -> io::Result<File> {
    let path = folder.join(WATCH);
    match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let file =
                File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
            // Whatever the umask.
            file.set_permissions(fs::Permissions::from_mode(0o644))?;
            Ok(file)
        }
        opened => opened,
    }
}

fn read_name(mut file: &File) -> Option<Holder> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}
