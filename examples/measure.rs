//! What clawinit costs beside other inits, side by side in one run: `scripts/size` calls it with
//! the path of clawinit. Its table goes to standard output; a budget of size or memory that is
//! broken (`docs/design.md`, "What it costs") is a line on standard error and the exit code 1.
//! Times depend on the machine and on what else it does: they are shown, never judged.
//!
//! Each init runs as PID 1 of a fresh PID namespace, with the environment of a container: what is
//! in it lies on the init's stack, and counts. Start is the time from the execve(2) of the
//! init to the first line of its child's `main`: this program takes the clock as PID 1, becomes
//! the init, and is the child as well. The row `none` is the same without an init.

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Starts of each init; they take turns, so that what the machine does besides hits all alike.
const STARTS: usize = 300;
/// Looks at the memory of each; where the kernel puts a stack makes a page of difference.
const LOOKS: usize = 9;

/// The budgets of clawinit.
const MOST_BYTES: u64 = 700_000;
const MOST_RESIDENT_KIB: u64 = 600;
const MOST_DIRTY_KIB: u64 = 60;
const MOST_THREADS: u64 = 1;

/// How long an idle init may take to be idle.
const SETTLES: Duration = Duration::from_secs(10);

/// clawinit first, then Debian's packages of the others.
const PEERS: [&str; 4] = ["tini", "tini-static", "dumb-init", "catatonit"];

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["become", ..] => become_init(&words[1..]),
        ["born", at] => born(at),
        ["idle"] => idle(),
        [clawinit] => compare(Path::new(clawinit)),
        _ => Err("write: measure CLAWINIT".into()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("measure: {error}");
            ExitCode::FAILURE
        }
    }
}

// ---- what runs inside the namespace ----

/// Nanoseconds since the epoch: the clock that two programs have in common.
fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos())
}

/// As PID 1: takes the time and becomes the init, or its child where there is none.
fn become_init(init: &[&str]) -> Result<bool> {
    let own = std::env::current_exe()?;
    let mut command = match init {
        [] => Command::new(&own),
        [program, options @ ..] => {
            let mut command = Command::new(program);
            command.args(options).arg(&own);
            command
        }
    };
    let error = command.arg("born").arg(now().to_string()).exec();
    Err(format!("{init:?}: {error}").into())
}

/// The child: how long ago that was.
fn born(at: &str) -> Result<bool> {
    let now = now();
    println!("{}", now.saturating_sub(at.parse()?));
    Ok(true)
}

/// A child that does nothing until its standard input ends.
fn idle() -> Result<bool> {
    println!("idle");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(true)
}

// ---- what measures ----

/// An init and what it costs.
struct Row {
    name: String,
    /// None: the row without an init.
    path: Option<PathBuf>,
    memory: Option<Memory>,
    starts: Vec<u128>,
}

/// An idle init.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Memory {
    resident_kib: u64,
    dirty_kib: u64,
    threads: u64,
}

impl Row {
    fn new(name: &str, path: Option<PathBuf>) -> Row {
        Row { name: name.to_string(), path, memory: None, starts: Vec::new() }
    }

    /// The command line before the child's.
    fn init(&self) -> Vec<&str> {
        self.path.iter().filter_map(|path| path.to_str()).chain(self.dashes()).collect()
    }

    fn dashes(&self) -> Option<&str> {
        self.path.as_ref().map(|_| "--")
    }

    fn bytes(&self) -> Option<u64> {
        Some(fs::metadata(self.path.as_ref()?).ok()?.len())
    }

    /// The median start, in microseconds.
    fn start(&self) -> Option<f64> {
        let mut sorted = self.starts.clone();
        sorted.sort_unstable();
        Some(*sorted.get(sorted.len() / 2)? as f64 / 1e3)
    }
}

fn compare(clawinit: &Path) -> Result<bool> {
    let clawinit = fs::canonicalize(clawinit)?;
    let mut rows = vec![Row::new("clawinit", Some(clawinit))];
    for peer in PEERS {
        match on_path(peer) {
            Some(path) => rows.push(Row::new(peer, Some(path))),
            None => println!("{peer} is absent, and left out"),
        }
    }
    rows.push(Row::new("none", None));
    match namespace() {
        Ok(namespace) => {
            for row in rows.iter_mut().filter(|row| row.path.is_some()) {
                let looks: Result<Vec<Memory>> =
                    (0..LOOKS).map(|_| memory(&namespace, row)).collect();
                row.memory = Some(middle(&looks?));
            }
            for _ in 0..STARTS {
                for row in &mut rows {
                    let took = start(&namespace, row)?;
                    row.starts.push(took);
                }
            }
        }
        Err(why) => {
            println!("no PID namespace can be made here ({why}): sizes only");
        }
    }
    print!("{}", table(&rows));
    Ok(within_budgets(&rows))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The words that make a PID namespace here.
fn namespace() -> Result<Vec<&'static str>> {
    let root = ["--pid", "--fork", "--mount-proc", "--kill-child"];
    let user = ["--user", "--map-current-user"];
    let mut why = String::new();
    for words in [root.to_vec(), [&user[..], &root[..]].concat()] {
        let output = Command::new("unshare").args(&words).arg("true").output()?;
        if output.status.success() {
            return Ok(words);
        }
        why = String::from_utf8_lossy(&output.stderr).trim().to_string();
    }
    Err(why.into())
}

/// unshare(1) with the environment that Docker gives.
fn unshare(namespace: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(namespace).env_clear().envs([
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOSTNAME", "0123456789ab"),
        ("HOME", "/"),
    ]);
    command
}

/// One start.
fn start(namespace: &[&str], row: &Row) -> Result<u128> {
    let output = unshare(namespace)
        .arg(std::env::current_exe()?)
        .arg("become")
        .args(row.init())
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().map_err(|_| format!("{}: {output:?}", row.name).into())
}

/// An init with an idle child. Both go with the value: `--kill-child`.
struct Idle(Child);

impl Drop for Idle {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn memory(namespace: &[&str], row: &Row) -> Result<Memory> {
    let unshare = unshare(namespace)
        .args(row.init())
        .arg(std::env::current_exe()?)
        .arg("idle")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let unshare = &mut Idle(unshare).0;
    let mut line = String::new();
    BufReader::new(unshare.stdout.take().ok_or("no pipe")?).read_line(&mut line)?;
    if line != "idle\n" {
        return Err(format!("{}: its child did not start", row.name).into());
    }
    let task = format!("/proc/{0}/task/{0}/children", unshare.id());
    let init = fs::read_to_string(&task)?;
    let init = init.trim();
    // The child may run before its parent is done with starting it.
    let end = Instant::now() + SETTLES;
    let mut before = None;
    loop {
        let found = look(init)?;
        if found.is_some() && found == before {
            break;
        }
        if Instant::now() > end {
            return Err(format!("{} does not come to rest", row.name).into());
        }
        before = found;
        std::thread::sleep(Duration::from_millis(50));
    }
    if let Some(mut stdin) = unshare.stdin.take() {
        let _ = stdin.write_all(b"\n");
    }
    before.ok_or_else(|| "no memory figures".into())
}

/// The median of each figure.
fn middle(looks: &[Memory]) -> Memory {
    let median = |figure: fn(&Memory) -> u64| {
        let mut sorted: Vec<u64> = looks.iter().map(figure).collect();
        sorted.sort_unstable();
        sorted[sorted.len() / 2]
    };
    Memory {
        resident_kib: median(|m| m.resident_kib),
        dirty_kib: median(|m| m.dirty_kib),
        threads: median(|m| m.threads),
    }
}

/// The memory of a sleeping process; none while it runs.
fn look(pid: &str) -> Result<Option<Memory>> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    if !field(&status, "State").is_some_and(|state| state.starts_with('S')) {
        return Ok(None);
    }
    let number = |text: &str, name: &str| -> Result<u64> {
        let value = field(text, name).ok_or_else(|| format!("no {name}"))?;
        let digits = value.split_whitespace().next().unwrap_or_default();
        Ok(digits.parse()?)
    };
    Ok(Some(Memory {
        resident_kib: number(&rollup, "Rss")?,
        dirty_kib: number(&rollup, "Private_Dirty")?,
        threads: number(&status, "Threads")?,
    }))
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
}

// ---- what is said ----

fn table(rows: &[Row]) -> String {
    let none = rows.iter().find(|row| row.path.is_none()).and_then(Row::start);
    let own = |row: &Row| Some(row.start()? - none?);
    let tini = rows.iter().find(|row| row.name == "tini").and_then(own);
    let mut text = format!(
        "{:<12} {:>9} {:>9} {:>10} {:>8} {:>10} {:>9} {:>7}\n",
        "", "size", "resident", "dirty", "threads", "start", "of it", "x tini"
    );
    text += &format!(
        "{:<12} {:>9} {:>9} {:>10} {:>8} {:>10} {:>9} {:>7}\n",
        "", "bytes", "KiB", "KiB", "", "us", "us", ""
    );
    for row in rows {
        let memory = |value: fn(Memory) -> u64| row.memory.map(value);
        let ratio = own(row).zip(tini).map(|(own, tini)| own / tini);
        text += &format!(
            "{:<12} {:>9} {:>9} {:>10} {:>8} {:>10} {:>9} {:>7}\n",
            row.name,
            show(row.bytes()),
            show(memory(|m| m.resident_kib)),
            show(memory(|m| m.dirty_kib)),
            show(memory(|m| m.threads)),
            show(row.start().map(|time| format!("{time:.0}"))),
            show(own(row).filter(|_| row.path.is_some()).map(|time| format!("{time:.0}"))),
            show(ratio.filter(|_| row.path.is_some()).map(|ratio| format!("{ratio:.2}"))),
        );
    }
    text + "start: from exec to the child's main; of it: without what the row `none` takes; all medians\n"
}

fn show<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_string(), |value| value.to_string())
}

/// Tells of each budget that is broken.
fn within_budgets(rows: &[Row]) -> bool {
    let mut broken = Vec::new();
    let mut at_most = |what: &str, value: Option<u64>, most: u64| {
        if value.is_some_and(|value| value > most) {
            broken.push(format!("{what}: {} of at most {most}", show(value)));
        }
    };
    let own = &rows[0];
    at_most("size in bytes", own.bytes(), MOST_BYTES);
    at_most("resident KiB", own.memory.map(|m| m.resident_kib), MOST_RESIDENT_KIB);
    at_most("private dirty KiB", own.memory.map(|m| m.dirty_kib), MOST_DIRTY_KIB);
    at_most("threads", own.memory.map(|m| m.threads), MOST_THREADS);
    for peer in &rows[1..] {
        let resident = own.memory.zip(peer.memory).map(|(own, peer)| (own, peer.resident_kib));
        if let Some((own, peers)) = resident.filter(|(own, peers)| own.resident_kib >= *peers) {
            broken.push(format!(
                "resident KiB: {} is not under the {peers} of {}",
                own.resident_kib, peer.name
            ));
        }
    }
    for line in &broken {
        eprintln!("measure: clawinit breaks its budget: {line}");
    }
    broken.is_empty()
}
