//! Starts clawinit for a test, watches it, and removes all of it again.
//!
//! A test says where clawinit runs and with what (`Init`), starts it (`Run`) and asks what it
//! sees. Every wait has a bound and, when it fails, tells what it waited for and what was there
//! instead. What a test started dies with its `Run`, also when the test fails.

use crate::sys;
use serde_json::Value;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

thread_local! {
    /// No wait of this thread is longer: well past what anything here takes, on a busy machine too.
    /// Other inits, which may well hang, get less (`tests/conformance`).
    pub static BOUND: Cell<Duration> = const { Cell::new(Duration::from_secs(20)) };
}

/// How often a wait looks at what has no way to tell us (files of `/proc`).
const LOOK: Duration = Duration::from_millis(1);

/// A shell that starts the tests in the background leaves these ignored, for all below.
pub fn take_interrupts() {
    for signal in [libc::SIGINT, libc::SIGQUIT] {
        sys::default(signal);
    }
}

/// The program under test.
pub fn clawinit() -> PathBuf {
    std::env::var_os("CLAWINIT_BIN")
        .map_or_else(|| env!("CARGO_BIN_EXE_clawinit").into(), PathBuf::from)
}

/// This test binary, which plays the children too.
pub fn probe() -> PathBuf {
    std::env::current_exe().expect("the path of the test binary")
}

/// Whether a process of ours may make the namespaces that the launcher makes.
pub fn namespaces_work() -> std::io::Result<()> {
    let tried = Command::new(probe()).args(["probe", "can-launch"]).output()?;
    if tried.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&tried.stdout).trim().to_string();
    Err(std::io::Error::other(why))
}

/// A folder that goes with the value.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "clawinit-test-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("make a folder");
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A file of this folder as a word of a command line.
    pub fn word(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }

    /// A file with this text and mode.
    pub fn write(&self, name: &str, text: &str, mode: u32) -> String {
        std::fs::write(self.file(name), text).expect("write a file");
        self.set_mode(name, mode);
        self.word(name)
    }

    pub fn set_mode(&self, name: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(self.file(name), std::fs::Permissions::from_mode(mode))
            .expect("chmod");
    }

    /// Copies of clawinit and of the probe that every user can run, wherever cargo built them.
    pub fn copies(&self) -> (PathBuf, PathBuf) {
        self.set_mode("", 0o755);
        let copy = |from: PathBuf, name: &str| {
            std::fs::copy(from, self.file(name)).expect("copy a program");
            self.set_mode(name, 0o755);
            self.file(name)
        };
        (copy(clawinit(), "clawinit"), copy(probe(), "probe"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A TCP port of the loopback address that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// Lines that a process has written so far.
#[derive(Clone, Default)]
pub struct Lines(Arc<(Mutex<Written>, Condvar)>);

#[derive(Default)]
struct Written {
    text: String,
    ended: bool,
}

impl Lines {
    pub fn read_from(source: impl Read + Send + 'static) -> Lines {
        let lines = Lines::default();
        let writer = lines.clone();
        std::thread::spawn(move || {
            let mut source = source;
            let mut buffer = [0; 65536];
            loop {
                match source.read(&mut buffer) {
                    // A pty answers EIO when its last slave has closed.
                    Ok(0) | Err(_) => break,
                    Ok(n) => writer.change(|w| w.text += &String::from_utf8_lossy(&buffer[..n])),
                }
            }
            writer.change(|w| w.ended = true);
        });
        lines
    }

    fn change(&self, with: impl FnOnce(&mut Written)) {
        with(&mut self.0.0.lock().expect("lines"));
        self.0.1.notify_all();
    }

    pub fn text(&self) -> String {
        self.0.0.lock().expect("lines").text.clone()
    }

    /// The whole lines so far.
    pub fn all(&self) -> Vec<String> {
        let text = self.text();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|l| l.trim_end_matches('\r').to_string()).collect()
    }

    /// Waits until `wanted` finds something in what has been written.
    fn wait<T>(&self, mut wanted: impl FnMut(&str) -> Option<T>) -> Option<T> {
        let (written, changed) = &*self.0;
        let end = Instant::now() + BOUND.get();
        let mut now = written.lock().expect("lines");
        loop {
            if let Some(found) = wanted(&now.text) {
                return Some(found);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || now.ended {
                return None;
            }
            now = changed.wait_timeout(now, left).expect("lines").0;
        }
    }

    pub fn wait_end(&self) {
        let (written, changed) = &*self.0;
        let now = written.lock().expect("lines");
        let (_now, waited) =
            changed.wait_timeout_while(now, BOUND.get(), |w| !w.ended).expect("lines");
        assert!(!waited.timed_out(), "the output did not come to its end");
    }
}

/// How clawinit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Code(i32),
    Signal(i32),
}

/// A process as `/proc` of the namespace shows it.
#[derive(Debug, Clone)]
pub struct Process {
    pub pid: i32,
    pub parent: i32,
    pub state: char,
    pub group: i32,
    pub command: String,
}

/// What to start, and where.
pub struct Init {
    program: PathBuf,
    probe: PathBuf,
    flags: Vec<String>,
    options: Vec<String>,
    variables: Vec<(String, String)>,
    stderr: Option<Stdio>,
    pty: Option<OwnedFd>,
    slave: String,
    json: bool,
}

impl Init {
    /// clawinit as PID 1 of a new namespace with a fresh `/proc`; its log is JSON.
    pub fn new(options: &[&str]) -> Init {
        let mut init = Init::plain(options);
        init.json = true;
        init
    }

    /// The same with the log as it is by default.
    pub fn plain(options: &[&str]) -> Init {
        Init {
            program: clawinit(),
            probe: probe(),
            flags: Vec::new(),
            options: options.iter().map(ToString::to_string).collect(),
            variables: Vec::new(),
            stderr: None,
            pty: None,
            slave: String::new(),
            json: false,
        }
    }

    /// Called by another name, as an engine's init-path would: nothing of our own is passed.
    pub fn named(name: &str, options: &[&str]) -> Init {
        Init::plain(options).flag(&format!("argv0=/sbin/{name}"))
    }

    /// As an ordinary process below somebody else's PID 1.
    pub fn under(self) -> Init {
        self.flag("under")
    }

    /// A flag of `launch.rs`.
    pub fn flag(mut self, flag: &str) -> Init {
        self.flags.push(flag.to_string());
        self
    }

    pub fn variable(mut self, name: &str, value: &str) -> Init {
        self.variables.push((name.to_string(), value.to_string()));
        self
    }

    pub fn program(mut self, program: PathBuf) -> Init {
        self.program = program;
        self
    }

    pub fn with_probe(mut self, probe: PathBuf) -> Init {
        self.probe = probe;
        self
    }

    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Init {
        self.stderr = Some(stderr.into());
        self
    }

    /// With a terminal of its own; the log stays a pipe.
    pub fn terminal(self) -> Init {
        self.console().flag("keep-stderr")
    }

    /// With a terminal for everything, as `docker run -t` gives it.
    pub fn console(mut self) -> Init {
        let (master, slave) = sys::open_pty().expect("a pty");
        self.pty = Some(master);
        self.slave = slave.clone();
        self.flag(&format!("tty={slave}"))
    }

    /// Starts it with a role of `probe.rs` as its child.
    pub fn role(self, role: &[&str]) -> Run {
        let probe = self.probe.display().to_string();
        let mut command = vec![probe.as_str(), "probe"];
        command.extend(role);
        self.command(&command)
    }

    /// Starts it with this command.
    pub fn command(self, command: &[&str]) -> Run {
        let mut words = self.options.clone();
        if self.json {
            words.insert(0, "--log-format=json".to_string());
        }
        words.push("--".to_string());
        words.extend(command.iter().map(ToString::to_string));
        self.words(&words)
    }

    /// Starts it with nothing but its options.
    pub fn alone(self) -> Run {
        let words = self.options.clone();
        self.words(&words)
    }

    fn words(self, words: &[String]) -> Run {
        let (control, theirs) = UnixStream::pair().expect("a socket pair");
        let mut launcher = Command::new(probe());
        launcher
            .args(["probe", "launch"])
            .args(&self.flags)
            .arg("--")
            .arg(&self.program)
            .args(words)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .envs(self.variables)
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::piped())
            .stderr(self.stderr.unwrap_or_else(Stdio::piped));
        let mut launcher = launcher.spawn().expect("start the launcher");
        // The command holds our copy of the other end of the socket; it must close with theirs.
        let out = match &self.pty {
            Some(pty) => {
                let reader = pty.try_clone().expect("dup the pty");
                launcher.stdout.take();
                Lines::read_from(std::fs::File::from(reader))
            }
            None => launcher.stdout.take().map_or_else(Lines::default, Lines::read_from),
        };
        let err = launcher.stderr.take().map_or_else(Lines::default, Lines::read_from);
        let control_end = control.try_clone().expect("dup the socket");
        let mut run = Run {
            pid: 0,
            first: 0,
            launcher,
            control: control_end,
            said: Lines::read_from(control),
            out,
            err,
            pty: self.pty,
            slave: self.slave,
            done: false,
            told: Cell::new(false),
        };
        run.first = run.said_number("first ", 0).expect("the launcher to say PID 1") as i32;
        run.pid = run.said_number("pid ", 0).expect("the launcher to say the pid") as i32;
        run
    }
}

/// A running clawinit.
pub struct Run {
    /// Its pid as this process sees it.
    pub pid: i32,
    pub out: Lines,
    pub err: Lines,
    /// PID 1 of its namespace: itself, or the small one above it.
    first: i32,
    launcher: Child,
    control: UnixStream,
    said: Lines,
    pty: Option<OwnedFd>,
    slave: String,
    done: bool,
    /// A failure has shown what is known already.
    told: Cell<bool>,
}

/// A clawinit that has ended, with all that it wrote.
pub struct Done {
    pub end: End,
    /// When, on the clock of `sys::now_ns`.
    pub at: u64,
    pub out: Vec<String>,
    pub err: Vec<String>,
}

impl Run {
    fn said_number(&self, word: &str, index: usize) -> Option<u64> {
        self.said.wait(|text| {
            let line =
                text.split_inclusive('\n').find(|l| l.starts_with(word) && l.ends_with('\n'))?;
            line[word.len()..].split_whitespace().nth(index)?.parse().ok()
        })
    }

    /// Fails with all that is known about this run.
    pub fn fail(&self, what: &str) -> ! {
        self.told.set(true);
        panic!("{what}\n{}", self.seen())
    }

    fn seen(&self) -> String {
        let mut seen = format!(
            "--- output\n{}\n--- log of clawinit\n{}\n--- launcher: {}\n",
            self.out.text(),
            self.err.text(),
            self.said.text().replace('\n', "; ")
        );
        seen += "--- processes\n";
        for process in self.processes() {
            seen += &format!("{process:?}\n");
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid));
        for line in status.unwrap_or_default().lines() {
            if line.starts_with("State") || line.starts_with("Sig") || line.starts_with("ShdPnd") {
                seen += &format!("clawinit {line}\n");
            }
        }
        seen
    }

    /// Waits for a line of the child's output that `wanted` takes.
    pub fn out_line<T>(&self, what: &str, wanted: impl Fn(&str) -> Option<T>) -> T {
        self.line_of(&self.out, what, wanted)
    }

    /// Waits for a line of the log that `wanted` takes.
    pub fn err_line<T>(&self, what: &str, wanted: impl Fn(&str) -> Option<T>) -> T {
        self.line_of(&self.err, what, wanted)
    }

    fn line_of<T>(&self, lines: &Lines, what: &str, wanted: impl Fn(&str) -> Option<T>) -> T {
        let found = lines.wait(|text| {
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            whole.lines().find_map(|l| wanted(l.trim_end_matches('\r')))
        });
        found.unwrap_or_else(|| self.fail(&format!("waited for {what}, which did not come")))
    }

    /// Waits for exactly this line of output.
    pub fn says(&self, line: &str) {
        self.out_line(&format!("the line {line:?}"), |l| (l == line).then_some(()));
    }

    /// Waits for a line of output that begins so.
    pub fn says_prefix(&self, prefix: &str) -> String {
        self.out_line(&format!("a line {prefix:?}…"), |l| {
            l.starts_with(prefix).then(|| l.to_string())
        })
    }

    /// Waits for the child to say that it is ready.
    pub fn ready(self) -> Run {
        self.says_prefix("ready");
        self
    }

    /// Waits for the child of this generation to say that it is ready.
    pub fn ready_generation(&self, generation: u32) {
        let end = format!("generation={generation}");
        self.out_line(&format!("generation {generation} to be ready"), |l| {
            (l.starts_with("ready") && l.ends_with(&end)).then_some(())
        });
    }

    /// Waits until `wanted` finds something, asking again and again.
    pub fn until<T>(&self, what: &str, wanted: impl FnMut() -> Option<T>) -> T {
        until(what, wanted).unwrap_or_else(|| self.fail(&format!("waited in vain for {what}")))
    }

    /// Sends a signal to clawinit; says when.
    pub fn signal(&self, signal: i32) -> u64 {
        let now = sys::now_ns();
        sys::kill(self.pid, signal).unwrap_or_else(|e| self.fail(&format!("kill {signal}: {e}")));
        now
    }

    pub fn term(&self) -> u64 {
        self.signal(libc::SIGTERM)
    }

    pub fn usr1(&self) -> u64 {
        self.signal(libc::SIGUSR1)
    }

    /// The events of the JSON log so far, or those of one name.
    pub fn events(&self, name: &str) -> Vec<Value> {
        events(&self.err.all(), name)
    }

    /// Waits for the `count`th event of this name.
    pub fn event(&self, name: &str, count: usize) -> Value {
        let found = self.err.wait(|text| {
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            let lines: Vec<String> = whole.lines().map(str::to_string).collect();
            events(&lines, name).into_iter().nth(count - 1)
        });
        found.unwrap_or_else(|| self.fail(&format!("no event {name} (number {count}) came")))
    }

    /// Waits for the end of clawinit.
    pub fn end(&self) -> (End, u64) {
        let found = self.said.wait(|text| {
            let mut lines = text.split_inclusive('\n').filter(|l| l.ends_with('\n'));
            lines.find_map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                match words[..] {
                    ["exit", code, at] => Some((End::Code(code.parse().ok()?), at.parse().ok()?)),
                    ["signal", n, at] => Some((End::Signal(n.parse().ok()?), at.parse().ok()?)),
                    _ => None,
                }
            })
        });
        found.unwrap_or_else(|| self.fail("waited for clawinit to end, which it did not"))
    }

    /// Waits for the end of clawinit and of all that ran beside it.
    pub fn finish(mut self) -> Done {
        let (end, at) = self.end();
        self.remove();
        Done { end, at, out: self.out.all(), err: self.err.all() }
    }

    /// Waits for the end, which must be this code.
    pub fn finish_with(mut self, code: i32) -> Done {
        let (end, at) = self.end();
        self.remove();
        if end != End::Code(code) {
            self.fail(&format!("clawinit ended with {end:?}, expected Code({code})"));
        }
        Done { end, at, out: self.out.all(), err: self.err.all() }
    }

    /// Stops it and checks that nothing unusual comes of it.
    pub fn stop(self) -> Done {
        self.term();
        self.finish()
    }

    fn remove(&mut self) {
        if self.done {
            return;
        }
        self.done = true;
        // The launcher ends the namespace when it hears the end of the socket.
        let _ = self.control.shutdown(std::net::Shutdown::Both);
        let _ = self.launcher.wait();
        self.pty = None;
        if !std::thread::panicking() {
            for lines in [&self.out, &self.err] {
                if Arc::strong_count(&lines.0) > 1 {
                    lines.wait_end();
                }
            }
        }
    }

    /// A file of `/proc/PID` of clawinit.
    pub fn proc(&self, name: &str) -> String {
        let path = format!("/proc/{}/{name}", self.pid);
        std::fs::read_to_string(&path).unwrap_or_else(|e| self.fail(&format!("{path}: {e}")))
    }

    /// A file of `/proc/PID` of a process by its pid in the namespace; none where it is gone.
    pub fn proc_inside(&self, pid: i32, name: &str) -> Option<String> {
        std::fs::read_to_string(format!("/proc/{}/root/proc/{pid}/{name}", self.first)).ok()
    }

    /// Where the descriptors of such a process lead to, by their numbers.
    pub fn descriptors_inside(&self, pid: i32) -> BTreeMap<i32, String> {
        let folder = std::fs::read_dir(format!("/proc/{}/root/proc/{pid}/fd", self.first));
        let one = |entry: std::io::Result<std::fs::DirEntry>| {
            let entry = entry.ok()?;
            let to = std::fs::read_link(entry.path()).ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, to.display().to_string()))
        };
        folder.into_iter().flatten().filter_map(one).collect()
    }

    /// A field of `/proc/PID/status` of clawinit.
    pub fn status(&self, field: &str) -> String {
        status_field(&self.proc("status"), field)
            .unwrap_or_else(|| self.fail(&format!("no {field} in /proc/PID/status")))
    }

    /// Numbers of the descriptors that clawinit has open.
    pub fn descriptors(&self) -> Vec<i32> {
        let mut open: Vec<i32> = std::fs::read_dir(format!("/proc/{}/fd", self.pid))
            .expect("/proc/PID/fd")
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        open.sort_unstable();
        open
    }

    /// All processes of the namespace, as its own `/proc` shows them.
    pub fn processes(&self) -> Vec<Process> {
        let Ok(folder) = std::fs::read_dir(format!("/proc/{}/root/proc", self.first)) else {
            return Vec::new();
        };
        folder
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let pid = entry.file_name().to_str()?.parse().ok()?;
                let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
                // The name in brackets may hold anything; what follows is numbers.
                let (_, rest) = stat.rsplit_once(") ")?;
                let fields: Vec<&str> = rest.split(' ').collect();
                let command = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
                Some(Process {
                    pid,
                    parent: fields[1].parse().ok()?,
                    state: fields[0].chars().next()?,
                    group: fields[2].parse().ok()?,
                    command: command.replace('\0', " "),
                })
            })
            .collect()
    }

    pub fn zombies(&self) -> Vec<Process> {
        let mut all = self.processes();
        all.retain(|process| process.state == 'Z');
        all
    }

    /// Waits for the process of this pid (of the namespace) to be in one of these states.
    pub fn wait_state(&self, pid: i32, states: &str) {
        self.until(&format!("process {pid} in state {states}"), || {
            self.processes()
                .iter()
                .find(|p| p.pid == pid)
                .filter(|p| states.contains(p.state))
                .map(|_| ())
        });
    }

    /// Starts a role in the namespace as `docker exec` would.
    pub fn exec(&self, role: &[&str]) -> Guest {
        let mut child = Command::new(probe())
            .args(["probe", "enter", &self.pid.to_string(), "--"])
            .args(role)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start a guest");
        let out = Lines::read_from(child.stdout.take().expect("a pipe"));
        Guest { child, out }
    }

    /// Runs a verb of clawinit in the namespace as `docker exec` would, to its end. Words with an
    /// equals sign and no hyphen before it are variables for it.
    pub fn verb(&self, words: &[&str]) -> Plain {
        self.verb_of(&[], &clawinit(), words)
    }

    /// The same by this program, in a role that ends in one of its own (`as UID`).
    pub fn verb_of(&self, role: &[&str], program: &Path, words: &[&str]) -> Plain {
        self.begin_verb(role, program, words).finish()
    }

    /// Starts a verb in the namespace.
    pub fn begin_verb(&self, role: &[&str], program: &Path, words: &[&str]) -> Verb {
        Verb::start(self.verb_command(role, program, words))
    }

    /// Starts a verb in the namespace with a terminal, as `docker exec -t` would.
    pub fn begin_verb_on_terminal(&self, words: &[&str]) -> Verb {
        Verb::start_on_terminal(self.verb_command(&[], &clawinit(), words))
    }

    fn verb_command(&self, role: &[&str], program: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(probe());
        command.args(["probe", "enter", &self.pid.to_string(), "--"]);
        command.args(role).arg("verb").arg(program).args(words).env_clear();
        command
    }

    /// Runs a verb outside of the namespace, as on the host, on this clawinit.
    pub fn verb_outside(&self, words: &[&str]) -> Verb {
        let mut command = Command::new(clawinit());
        command.args(words).args(["--pid", &self.pid.to_string()]).env_clear();
        Verb::start(command)
    }

    /// Takes the terminal away, as when the connection to it breaks.
    pub fn hang_up(&self) {
        sys::hang_up(&self.slave).expect("hang up");
    }

    /// Sends a signal to clawinit from inside of its namespace.
    pub fn signal_from_inside(&self, words: &[&str]) {
        let pid = if self.first == self.pid { "1" } else { "2" };
        let mut role = vec!["kill", words[0], pid];
        role.extend(&words[1..]);
        let code = self.exec(&role).code();
        // The end of the namespace may be faster than that of the sender.
        if ![Some(0), Some(137)].contains(&code) {
            self.fail(&format!("the sender inside ended with {code:?}"));
        }
    }

    /// The process group in the foreground of the terminal.
    pub fn foreground(&self) -> i32 {
        nix::unistd::tcgetpgrp(self.pty.as_ref().expect("a terminal")).expect("tcgetpgrp").as_raw()
    }

    /// The launcher, which leads the session of the terminal with the flag `background`.
    pub fn launcher(&self) -> i32 {
        self.launcher.id() as i32
    }

    /// Types at the terminal.
    pub fn types(&self, text: &str) {
        let pty = self.pty.as_ref().expect("a terminal");
        let mut pty = std::fs::File::from(pty.try_clone().expect("dup the pty"));
        pty.write_all(text.as_bytes()).expect("type");
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.done && !self.told.get() {
            eprintln!("{}", self.seen());
        }
        self.remove();
    }
}

/// A process in the namespace that came in from outside.
pub struct Guest {
    child: Child,
    pub out: Lines,
}

impl Guest {
    /// Waits for a line of its output that begins so.
    pub fn says_prefix(&self, prefix: &str) -> String {
        let found = self.out.wait(|text| {
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            whole.lines().find(|l| l.starts_with(prefix)).map(str::to_string)
        });
        found.unwrap_or_else(|| panic!("no {prefix:?}… from the guest: {}", self.out.text()))
    }

    /// Waits for its end and says its exit code.
    pub fn code(&mut self) -> Option<i32> {
        self.child.wait().expect("wait for the guest").code()
    }

    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("ask for the guest").is_none()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // The process inside holds the pipe of this one's parent only through its namespace, which
        // ends with clawinit; until then it is the child of what we end here.
        let task = format!("/proc/{0}/task/{0}/children", self.child.id());
        for child in std::fs::read_to_string(task).unwrap_or_default().split_whitespace() {
            if let Ok(child) = child.parse() {
                let _ = sys::kill(child, libc::SIGKILL);
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A verb that runs.
pub struct Verb {
    child: Child,
    pub out: Lines,
    pub err: Lines,
}

impl Verb {
    /// Starts it with pipes for what it says.
    pub fn start(mut command: Command) -> Verb {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start a verb");
        let out = child.stdout.take().map_or_else(Lines::default, Lines::read_from);
        let err = child.stderr.take().map_or_else(Lines::default, Lines::read_from);
        Verb { child, out, err }
    }

    /// Starts it with a terminal for what it says.
    pub fn start_on_terminal(mut command: Command) -> Verb {
        let (master, slave) = sys::open_pty().expect("a pty");
        let slave = std::fs::OpenOptions::new().write(true).open(slave).expect("open the pty");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(slave)
            .stderr(Stdio::piped())
            .spawn()
            .expect("start a verb");
        // The command holds our copy of the other end, which must close with theirs.
        drop(command);
        let out = Lines::read_from(std::fs::File::from(master));
        let err = child.stderr.take().map_or_else(Lines::default, Lines::read_from);
        Verb { child, out, err }
    }

    /// Waits for its output to hold this.
    pub fn says(&self, text: &str) {
        let found = self.out.wait(|all| all.contains(text).then_some(()));
        found.unwrap_or_else(|| {
            panic!("no {text:?} from the verb:\n{}\n{}", self.out.text(), self.err.text())
        });
    }

    pub fn kill(&mut self, signal: i32) {
        sys::kill(self.child.id() as i32, signal).expect("signal the verb");
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Plain {
        let done = until("the verb to end", || self.child.try_wait().expect("ask for the verb"));
        let Some(status) = done else {
            let _ = self.child.kill();
            panic!("the verb did not end; it said:\n{}\n{}", self.out.text(), self.err.text());
        };
        use std::os::unix::process::ExitStatusExt;
        self.out.wait_end();
        self.err.wait_end();
        Plain {
            code: status.code().or(status.signal().map(|signal| 128 + signal)),
            out: self.out.text(),
            err: self.err.text(),
        }
    }
}

/// A field of a `/proc/…/status` text.
pub fn status_field(status: &str, field: &str) -> Option<String> {
    status.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name == field).then(|| value.trim().to_string())
    })
}

/// Asks again and again, within the bound.
pub fn until<T>(_what: &str, mut wanted: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + BOUND.get();
    loop {
        if let Some(found) = wanted() {
            return Some(found);
        }
        if Instant::now() > end {
            return None;
        }
        std::thread::sleep(LOOK);
    }
}

/// The events of this name among JSON log lines; all events where the name is empty.
pub fn events(lines: &[String], name: &str) -> Vec<Value> {
    lines
        .iter()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|event| name.is_empty() || event["event"] == name)
        .collect()
}

impl Done {
    pub fn events(&self, name: &str) -> Vec<Value> {
        events(&self.err, name)
    }

    pub fn code(&self, code: i32) -> &Done {
        assert_eq!(
            self.end,
            End::Code(code),
            "the end of clawinit; it wrote:\n{}\nand its child:\n{}",
            self.err.join("\n"),
            self.out.join("\n")
        );
        self
    }

    /// Signals that the child said it got, in order.
    pub fn signals(&self) -> Vec<i32> {
        signals(&self.out)
    }

    pub fn says(&self, line: &str) -> bool {
        self.out.iter().any(|l| l == line)
    }

    pub fn text(&self) -> String {
        format!("{}\n--- log\n{}", self.out.join("\n"), self.err.join("\n"))
    }
}

/// Signals in the lines of a recorder, in order.
pub fn signals(lines: &[String]) -> Vec<i32> {
    lines
        .iter()
        .filter_map(|line| line.strip_prefix("signal ")?.split(' ').next()?.parse().ok())
        .collect()
}

/// The child's pid as it was said in its line (`… pid=N …`).
pub fn pid_in(line: &str) -> i32 {
    line.split_whitespace()
        .find_map(|word| word.strip_prefix("pid=")?.parse().ok())
        .unwrap_or_else(|| panic!("no pid in {line:?}"))
}

/// clawinit run to its end by its own, without a namespace: for what never starts a command.
pub struct Plain {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Plain {
    /// It must have ended with this code.
    #[track_caller]
    pub fn with(self, code: i32) -> Plain {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }

    /// Its output is JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}{}", self.out, self.err))
    }
}

pub fn plain(name: Option<&str>, words: &[&str], variables: &[(&str, &str)]) -> Plain {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(clawinit());
    if let Some(name) = name {
        command.arg0(name);
    }
    let output = command
        .args(words)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("run clawinit");
    Plain {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The folder of this package.
pub fn package() -> &'static Path {
    static PACKAGE: OnceLock<PathBuf> = OnceLock::new();
    PACKAGE.get_or_init(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")))
}

/// Milliseconds between two times of `sys::now_ns`, with the part behind the point.
pub fn ms(from: u64, to: u64) -> f64 {
    (to as f64 - from as f64) / 1e6
}

/// The last line of a text reader's input, for tests that read a fifo.
pub fn read_all(mut reader: impl Read) -> String {
    let mut text = String::new();
    BufReader::new(&mut reader)
        .lines()
        .map_while(Result::ok)
        .for_each(|line| text += &(line + "\n"));
    text
}
