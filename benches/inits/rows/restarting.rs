//! From the end of a child to the first instruction of the next one, where a restart was asked for.

use super::Effort;
use super::start::micros;
use crate::Result;
use crate::figures::{Cell, Row, Target};
use crate::inits::{CLAWINIT, Init, on_path};
use crate::roles::ROLE;
use crate::space::{Plan, wait_until};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How old a child is when it is restarted: some supervisors wait when it was younger than 1 s.
const YOUNG: Duration = Duration::from_millis(100);
const OLD: Duration = Duration::from_millis(1_500);

/// A supervisor: what to run as PID 1, and what asks it for a restart (none: SIGUSR1).
struct Supervisor {
    name: &'static str,
    start: Vec<String>,
    ask: Vec<String>,
}

/// A folder that goes with the value.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn restart(inits: &[Init], effort: Effort, notes: &mut Vec<String>) -> Result<Vec<Row>> {
    let folder = std::env::temp_dir().join(format!("clawinit-test-bench-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let folder = Folder(folder);
    let own = std::env::current_exe()?;
    let supervisors = [
        clawinit(inits, &own, &folder.0)?,
        s6(&own, &folder.0)?,
        runit(&own, &folder.0)?,
        supervisord(&own, &folder.0)?,
    ];
    for supervisor in &supervisors {
        if on_path_or_file(&supervisor.start[0]).is_none() {
            notes.push(format!("{} is absent, and left out of the restarts.", supervisor.name));
        }
    }
    let mut rows = Vec::new();
    for (key, age, count) in
        [("restart-young", YOUNG, effort.of(20)), ("restart-old", OLD, effort.of(20))]
    {
        let what = format!(
            "restart: a child's end to the next one's first instruction, the child {} s old",
            age.as_secs_f64()
        );
        let mut row = Row::new(key, &what, "ms").target(Target::AtMost(1.0));
        row.cells = vec![None; inits.len()];
        for supervisor in &supervisors {
            let Some(program) = on_path_or_file(&supervisor.start[0]) else { continue };
            let took = restarts(supervisor, &program, &folder.0, age, count)?;
            let Some(cell) = Cell::of(&took) else { continue };
            if supervisor.name == inits[CLAWINIT].name {
                row.cells[CLAWINIT] = Some(cell);
            } else {
                row.others.push((supervisor.name, cell));
            }
        }
        rows.push(row);
    }
    Ok(rows)
}

fn on_path_or_file(program: &str) -> Option<PathBuf> {
    if program.contains('/') { Some(PathBuf::from(program)) } else { on_path(program) }
}

fn clawinit(inits: &[Init], own: &Path, folder: &Path) -> Result<Supervisor> {
    let mut start = inits[CLAWINIT].words();
    start.extend(
        [own, Path::new("generation"), &record(folder, "clawinit")]
            .map(|p| p.display().to_string()),
    );
    Ok(Supervisor { name: "clawinit", start, ask: Vec::new() })
}

/// The file that a supervisor's children write to.
fn record(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.record"))
}

/// A service folder whose `run` is this program, so that no shell is in the way.
fn service(own: &Path, folder: &Path, name: &str) -> Result<PathBuf> {
    let service = folder.join(name);
    fs::create_dir_all(&service)?;
    fs::copy(own, service.join("run"))?;
    fs::set_permissions(service.join("run"), fs::Permissions::from_mode(0o755))?;
    Ok(service)
}

fn s6(own: &Path, folder: &Path) -> Result<Supervisor> {
    let service = service(own, folder, "s6")?.display().to_string();
    Ok(Supervisor {
        name: "s6",
        start: vec!["s6-supervise".into(), service.clone()],
        ask: vec!["s6-svc".into(), "-r".into(), service],
    })
}

fn runit(own: &Path, folder: &Path) -> Result<Supervisor> {
    let service = service(own, folder, "runit")?.display().to_string();
    Ok(Supervisor {
        name: "runit",
        start: vec!["runsv".into(), service.clone()],
        // `sv restart` is TERM, CONT and up.
        ask: vec!["sv".into(), "restart".into(), service],
    })
}

fn supervisord(own: &Path, folder: &Path) -> Result<Supervisor> {
    let file = folder.join("supervisord.conf");
    let at = folder.display();
    let text = format!(
        "[unix_http_server]\nfile={at}/supervisor.sock\n\
         [supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={at}/supervisord.pid\n\
         [rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\
         [supervisorctl]\nserverurl=unix://{at}/supervisor.sock\n\
         [program:child]\ncommand={} generation {}\nautorestart=true\n",
        own.display(),
        record(folder, "supervisord").display()
    );
    fs::write(&file, text)?;
    let file = file.display().to_string();
    Ok(Supervisor {
        name: "supervisord",
        start: vec!["supervisord".into(), "-c".into(), file.clone()],
        ask: ["supervisorctl", "-c", &file, "restart", "child"].map(String::from).to_vec(),
    })
}

/// Milliseconds from the end of a child of this age to the next one's start.
fn restarts(
    supervisor: &Supervisor,
    program: &Path,
    folder: &Path,
    age: Duration,
    count: usize,
) -> Result<Vec<f64>> {
    let file = record(folder, supervisor.name);
    let _ = fs::remove_file(&file);
    let mut words = supervisor.start.clone();
    words[0] = program.display().to_string();
    let role = format!("{ROLE}=generation {}", file.display());
    let plan = Plan { words, variables: vec![role], ..Plan::default() };
    let space = plan.start()?;
    // One from the start, then two for each restart.
    let said = || fs::read(&file).map_or(0, |bytes| bytes.len() / 8);
    let wait_for = |count: usize| {
        wait_until(&format!("generation {} of {}", count / 2 + 1, supervisor.name), || {
            Ok(said() >= count)
        })
    };
    wait_for(1)?;
    for done in 0..count {
        std::thread::sleep(age);
        match supervisor.ask.split_first() {
            None => space.signal(libc::SIGUSR1)?,
            Some((program, words)) => {
                let mut ask = Command::new(program);
                ask.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                ask.status()?;
            }
        }
        wait_for(2 * done + 3)?;
    }
    drop(space);
    let times: Vec<u64> = fs::read(&file)?
        .chunks_exact(8)
        .filter_map(|bytes| Some(u64::from_ne_bytes(bytes.try_into().ok()?)))
        .collect();
    Ok(times[1..].chunks_exact(2).map(|pair| micros(pair[0], pair[1]) / 1e3).collect())
}
