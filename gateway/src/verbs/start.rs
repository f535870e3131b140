//! `gateway start`: takes the state folder, opens the port, serves, and leaves.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use nix::unistd::{getegid, geteuid};

use crate::agents::Agents;
use crate::cli::{OnRestart, Start};
use crate::failure::{CONFLICT, Failure};
use crate::files::unix_seconds;
use crate::lock::{Denied, Holder, Lock};
use crate::server::{self, Setup};
use crate::signals::{self, Signals};
use crate::state::{self, Reason, State, Status};
use crate::{logging, ports, supervisor};

/// Runs the gateway until a signal ends it.
pub fn run(settings: Start) -> Result<ExitCode, Failure> {
    logging::start(settings.log_level);
    let signals = Signals::catch()
        .map_err(|error| Failure::failed(format!("signals cannot be handled: {error}")))?;
    signals::release();

    let folder = settings.state_dir;
    let mut lock = take_folder(&folder)?;
    let last = state::take_over(&folder)
        .map_err(|error| Failure::failed(format!("state file in {}: {error}", folder.display())))?;
    report_last(last.as_ref());

    // Nothing may fail for want of the folder once the port is open.
    let (listeners, port) = ports::listen(settings.bind, settings.port)?;
    let supervisor = supervisor::find();
    let state = begin(last.as_ref(), port);
    // Before anything waits for the disk: until then verbs wait for the name.
    let restarts_itself = settings.on_restart == OnRestart::Exec;
    let address = (settings.bind, port);
    let holder = Holder::this(state.generation, address, restarts_itself, supervisor);
    if let Err(error) = lock.name(&holder) {
        log::error!("{}: {error}; verbs will not find this gateway", folder.display());
    }
    if let Err(error) = state.save(&folder) {
        // A full disk is no reason to refuse reads; writes are refused one by one.
        log::error!("the state cannot be saved in {}: {error}", folder.display());
    }
    if settings.token.is_none() {
        log::warn!("no token is set: /memory answers 403; set GATEWAY_TOKEN or GATEWAY_TOKEN_FILE");
    }

    let reason = server::run(Setup {
        folder: folder.clone(),
        state,
        closed_as: last.and_then(|last| last.memory),
        listeners,
        signals,
        token: settings.token,
        agents: Agents::new(settings.agents),
        drain_time: settings.drain_time,
        supervisor,
    })?;
    match (reason, settings.on_restart) {
        (Reason::Stop, _) => {
            log::info!("stopped");
            lock.hand_back(&folder);
            Ok(ExitCode::SUCCESS)
        }
        (Reason::Restart, OnRestart::Exit) => {
            log::info!("leaving with exit code {} to be started again", settings.restart_code);
            lock.hand_back(&folder);
            Ok(ExitCode::from(settings.restart_code))
        }
        (Reason::Restart, OnRestart::Exec) => {
            log::info!("starting again in place");
            drop(lock);
            // A signal that comes between two programs waits for the next one's handlers.
            signals::hold();
            let error = Command::new("/proc/self/exe").args(std::env::args_os().skip(1)).exec();
            Err(Failure::failed(format!("the gateway cannot start itself again: {error}")))
        }
    }
}

/// The state folder, there, writable and ours alone.
fn take_folder(folder: &Path) -> Result<Lock, Failure> {
    let unusable = |error: &io::Error| Failure::failed(explain(folder, error));
    // What the memory holds is nobody else's business: mode 0700 where we make it.
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| unusable(&error))?;
    let lock = match Lock::take(folder) {
        Ok(lock) => lock,
        Err(Denied::Io(error)) => return Err(unusable(&error)),
        Err(Denied::Held(holder)) => {
            let who = match holder {
                Some(holder) if holder.is_in_our_namespace() => {
                    format!("the gateway with pid {} on port {}", holder.pid, holder.port)
                }
                Some(holder) => {
                    format!(
                        "a gateway in another container (pid {} there) on port {}",
                        holder.pid, holder.port
                    )
                }
                None => "another gateway, which has not written its name yet".to_owned(),
            };
            return Err(Failure {
                code: CONFLICT,
                line: format!(
                    "state folder {} is in use by {who}; stop that one, or choose another folder with --state-dir",
                    folder.display()
                ),
            });
        }
    };
    // The lock file may be writable where the folder is not.
    let probe = folder.join(".probe");
    File::create(&probe).and_then(|_| fs::remove_file(&probe)).map_err(|error| unusable(&error))?;
    Ok(lock)
}

/// Which folder, for whom, and whose it is.
fn explain(folder: &Path, error: &io::Error) -> String {
    let (user, group) = (geteuid(), getegid());
    // The folder itself, or what stands in the way of making it.
    let nearest = folder.ancestors().find_map(|path| Some((path, fs::metadata(path).ok()?)));
    let owner = nearest.as_ref().map_or_else(String::new, |(path, meta)| {
        format!(
            "; {} belongs to uid {} gid {}, mode {:04o}",
            path.display(),
            meta.uid(),
            meta.gid(),
            meta.mode() & 0o7777
        )
    });
    let advice = match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            "mount a volume there, or choose another with --state-dir".to_owned()
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "choose a folder with --state-dir".to_owned()
        }
        _ => format!("chown it to {user}:{group}, or choose another with --state-dir"),
    };
    format!(
        "state folder {} cannot be written by uid {user} gid {group}: {error}{owner}; {advice}",
        folder.display()
    )
}

fn report_last(last: Option<&State>) {
    match last {
        None => {}
        Some(State { status: Status::Stopped, .. }) => {}
        Some(State { status: Status::Running | Status::Stopping, generation, .. }) => log::warn!(
            "generation {generation} was killed before it could end; every acknowledged write is kept"
        ),
    }
}

/// The state of a generation that begins.
fn begin(last: Option<&State>, port: u16) -> State {
    let now = unix_seconds();
    State {
        status: Status::Running,
        reason: None,
        generation: last.map_or(1, |last| last.generation.saturating_add(1)),
        uptime_ms: last.map_or(0, |last| last.uptime_ms),
        pid: std::process::id(),
        port,
        started_at: now,
        saved_at: now,
        drain_ms: last.and_then(|last| last.drain_ms),
        memory: None,
    }
}
