//! `gateway start`: takes the state folder, opens the port, serves, and leaves.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use nix::errno::Errno;
use nix::unistd::{getegid, geteuid};

use crate::agents::Agents;
use crate::cli::{OnRestart, Start};
use crate::failure::{CONFLICT, Failure};
use crate::files;
use crate::lock::{self, Denied, Holder, Lock};
use crate::notify::{News, Notify};
use crate::server::{self, End, Setup};
use crate::signals::{self, Signals};
use crate::sockets::{Listener, Place};
use crate::state::{self, Reason, State, Status};
use crate::store::reserve::Reserve;
use crate::store::{check, memory};
use crate::{handed, logging, ports, supervisor};

/// Runs the gateway until a signal ends it.
pub fn run(settings: Start) -> Result<ExitCode, Failure> {
    logging::start(settings.log_level);
    // Told here: whoever told it further up could wait for the log's reader.
    Ok(serve(settings).unwrap_or_else(|failure| {
        logging::tell(&failure.line);
        ExitCode::from(failure.code)
    }))
}

fn serve(settings: Start) -> Result<ExitCode, Failure> {
    // Before anything is opened.
    let handed = handed::take(&settings.fds)?;
    let mut notify = Notify::from_environment();
    let signals = Signals::catch()
        .map_err(|error| Failure::failed(format!("signals cannot be handled: {error}")))?;
    signals::release();

    let folder = settings.state_dir;
    let mut lock = take_folder(&folder)?;
    let last = state::take_over(&folder)
        .map_err(|error| Failure::failed(format!("state file in {}: {error}", folder.display())))?;
    report_last(last.as_ref());

    // Nothing may fail for want of the folder once the port is open.
    let (listeners, place) = listen((settings.bind, settings.port), &handed)?;
    let supervisor = supervisor::find();
    let state = State::following(last.as_ref(), place.port);
    // Before anything waits for the disk: until then verbs wait for the name.
    let restarts_itself = settings.on_restart == OnRestart::Exec;
    let was_handed = !handed.is_empty();
    let holder = Holder::this(state.generation, &place, was_handed, restarts_itself, supervisor);
    if let Err(error) = lock.name(&holder) {
        log::error!("{}: {error}; verbs will not find this gateway", folder.display());
    }
    let first_save = state.save(&folder);
    if let Err(error) = &first_save {
        // A full disk is no reason to refuse reads; writes are refused one by one.
        log::error!("the state cannot be saved in {}: {error}", folder.display());
    }
    if settings.token.is_none() {
        log::warn!("no token is set: /memory answers 403; set GATEWAY_TOKEN or GATEWAY_TOKEN_FILE");
    }

    let closed_as = last.and_then(|last| last.memory);
    notify.tell(
        &News::Starting(check::patience(&folder.join(memory::FILE), closed_as)),
        Instant::now(),
    );
    let End { reason, handed, mut notify } = server::run(Setup {
        folder: folder.clone(),
        state,
        first_save: first_save.ok(),
        closed_as,
        listeners,
        handed,
        place,
        notify,
        in_place: restarts_itself,
        signals,
        token: settings.token,
        agents: Agents::new(settings.agents),
        drain_time: settings.drain_time,
        supervisor,
    })?;
    let meanwhile = || notify.tick(Instant::now());
    match (reason, settings.on_restart) {
        (Reason::Stop, _) => {
            log::info!("stopped");
            lock.hand_back(&folder, meanwhile);
            Ok(ExitCode::SUCCESS)
        }
        (Reason::Restart, OnRestart::Exit) => {
            log::info!("leaving with exit code {} to be started again", settings.restart_code);
            lock.hand_back(&folder, meanwhile);
            Ok(ExitCode::from(settings.restart_code))
        }
        (Reason::Restart, OnRestart::Exec) => {
            log::info!("starting again in place");
            drop(lock);
            // A signal that comes between two programs waits for the next one's handlers.
            signals::hold();
            let mut command = Command::new("/proc/self/exe");
            command.args(std::env::args_os().skip(1)).envs(handed::leave_in_place(&handed));
            let error = command.exec();
            Err(Failure::failed(format!("the gateway cannot start itself again: {error}")))
        }
    }
}

/// What was handed in, or else the port.
fn listen(
    (bind, port): (Option<IpAddr>, u16),
    handed: &[OwnedFd],
) -> Result<(Vec<Listener>, Place), Failure> {
    let failed = |error: io::Error| {
        Failure::failed(format!("the socket that was handed in cannot be used: {error}"))
    };
    let listeners: Vec<Listener> =
        handed.iter().map(handed::listener).collect::<io::Result<_>>().map_err(failed)?;
    let places: Vec<Place> =
        listeners.iter().map(Listener::place).collect::<io::Result<_>>().map_err(failed)?;
    let Some(first) = places.first().cloned() else {
        return ports::listen(bind, port);
    };
    let names: Vec<String> = places.iter().map(Place::to_string).collect();
    log::info!(
        "listening on what was handed in: {}; --port and --bind are not used",
        names.join(", ")
    );
    Ok((listeners, first))
}

/// The state folder, there, ours alone, and usable with all that is in it: nothing may
/// fail for want of it once the port is open.
fn take_folder(folder: &Path) -> Result<Lock, Failure> {
    let unusable =
        |error: &io::Error| Failure::failed(explain("state folder", folder, "written", error));
    files::make_folder(folder).map_err(|error| unusable(&error))?;
    let lock = match Lock::take(folder) {
        Ok(lock) => lock,
        Err(Denied::Io(error)) => {
            let path = folder.join(lock::FILE);
            return Err(if path.exists() {
                Failure::failed(explain("lock file", &path, "opened", &error))
            } else {
                unusable(&error)
            });
        }
        Err(Denied::Held(holder)) => {
            let who = match holder {
                Some(holder) if holder.is_in_our_namespace() => {
                    format!("the gateway with pid {} on {}", holder.pid, holder.place())
                }
                Some(holder) => {
                    format!(
                        "a gateway in another container (pid {} there) on {}",
                        holder.pid,
                        holder.place()
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
    // A start needs room for the state and for a repair; held again once it is through.
    Reserve::of(folder).release();

    let memory = folder.join(memory::FILE);
    can_be("memory file", &memory, "read and written", |path| {
        File::options().read(true).write(true).open(path).map(drop)
    })?;
    can_be("state file", &folder.join(state::FILE), "read", |path| {
        // A folder can be opened, and not read.
        File::open(path)?.read(&mut [0]).map(drop)
    })?;
    // The lock file may be writable where the folder is not.
    let probe = folder.join(".probe");
    match File::create(&probe).and_then(|_| fs::remove_file(&probe)) {
        // A full disk is no reason to refuse reads; writes are refused one by one.
        Err(error) if memory::is_full_io(&error) && memory.exists() => {}
        other => other.map_err(|error| unusable(&error))?,
    }
    Ok(lock)
}

/// Whether a file, where there is one, lets itself be used as it will be later.
fn can_be(
    what: &str,
    path: &Path,
    done: &str,
    attempt: impl FnOnce(&Path) -> io::Result<()>,
) -> Result<(), Failure> {
    match attempt(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Failure::failed(explain(what, path, done, &error)))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What cannot be used, why, and what to do about it.
fn explain(what: &str, path: &Path, done: &str, error: &io::Error) -> String {
    let cannot = format!("{what} {} cannot be {done}", path.display());
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            let (user, group) = (geteuid(), getegid());
            return format!(
                "{cannot} by uid {user} gid {group}: {error}{}; \
                 chown it to {user}:{group}, or choose another folder with --state-dir",
                whose(path)
            );
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "mount a volume there, or choose another folder with --state-dir"
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "choose a folder with --state-dir"
        }
        io::ErrorKind::IsADirectory => "a folder stands where a file should; move it away",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "its disk has no room or no inodes left (df -h, df -i): free some, \
             or choose another folder with --state-dir"
        }
        _ if matches!(
            error.raw_os_error().map(Errno::from_raw),
            Some(Errno::EMFILE | Errno::ENFILE)
        ) =>
        {
            "too few descriptors: raise the limit (ulimit -n)"
        }
        _ => "choose another folder with --state-dir",
    };
    format!("{cannot}: {error}; {advice}")
}

/// Whose `path` is, or what stands in the way to it.
fn whose(path: &Path) -> String {
    let nearest = path.ancestors().find_map(|path| Some((path, fs::metadata(path).ok()?)));
    nearest.map_or_else(String::new, |(path, meta)| {
        format!(
            "; {} belongs to uid {} gid {}, mode {:04o}",
            path.display(),
            meta.uid(),
            meta.gid(),
            meta.mode() & 0o7777
        )
    })
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
