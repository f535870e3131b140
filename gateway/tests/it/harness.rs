//! Gateways with a folder and a port of their own, gone at the end of the test also
//! when it fails, and a client that sees every byte.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// The program as it was built for these tests.
pub const OPENCLAW: &str = env!("CARGO_BIN_EXE_openclaw");
/// The token of every gateway here.
pub const TOKEN: &str = "a-token-that-nobody-else-has";
/// What anything may take before the test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for `what` until `done` says so.
pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A folder that is removed at the end.
pub struct Folder(PathBuf);

impl Folder {
    /// A new one, named for the test.
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("openclaw-{}-{count}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where the gateway's state goes.
    pub fn state(&self) -> PathBuf {
        self.0.join("state")
    }

    /// Where its log goes.
    pub fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// Names in the state folder that begin with `prefix`.
    pub fn named(&self, prefix: &str) -> Vec<String> {
        fs::read_dir(self.state())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with(prefix))
            .collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The program that verbs run: CLAWINIT_GATEWAY, which may be the one that is released, or
/// the one that was built for the tests.
pub fn program() -> PathBuf {
    std::env::var_os("CLAWINIT_GATEWAY").map_or_else(|| OPENCLAW.into(), PathBuf::from)
}

/// `openclaw gateway VERB --state-dir …` with a clean environment.
pub fn verb(folder: &Folder, verb: &str) -> Command {
    let mut command = Command::new(program());
    command.env_clear().env("GATEWAY_TOKEN", TOKEN).env("PATH", std::env::var_os("PATH").unwrap());
    command.args(["gateway", verb, "--state-dir"]).arg(folder.state()).stdin(Stdio::null());
    command
}

/// The same for `start`, on any free port.
pub fn start(folder: &Folder) -> Command {
    let mut command = verb(folder, "start");
    command.args(["--port", "0"]);
    command
}

/// A start under `ulimit -n`.
pub fn limited(folder: &Folder, descriptors: u32) -> Command {
    let inner = start(folder);
    let mut command = Command::new("sh");
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.args(["-c", &format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"")]);
    command.arg(inner.get_program()).args(inner.get_args());
    command
}

/// What a verb printed, and its exit code.
pub fn outcome(mut command: Command) -> (Value, i32, String) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("stdout is no JSON ({error}): {output:?}"));
    (value, output.status.code().unwrap_or(-1), said)
}

/// The one line on stderr of a start that must fail, and its exit code.
pub fn failure(mut command: Command) -> (String, i32) {
    let output: Output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let line = said.strip_suffix('\n').unwrap_or_else(|| panic!("no line: {said:?}"));
    assert!(
        line.starts_with("openclaw: ") && !line.contains('\n'),
        "not one line of ours: {said:?}"
    );
    (line.to_owned(), output.status.code().unwrap_or(-1))
}

/// A gateway that runs.
pub struct Gateway {
    child: Child,
    log: PathBuf,
    /// Where it listens.
    pub port: u16,
}

impl Gateway {
    /// Starts one on `folder` and waits until it is ready.
    pub fn start(folder: &Folder) -> Self {
        Self::run(start(folder), folder)
    }

    /// Starts `command` and waits until it is ready.
    pub fn run(command: Command, folder: &Folder) -> Self {
        let mut gateway = Self::spawn(command, folder);
        gateway.wait_ready();
        gateway
    }

    /// Starts `command`, whatever becomes of it.
    pub fn spawn(mut command: Command, folder: &Folder) -> Self {
        let log = folder.log();
        let file = File::options().create(true).append(true).open(&log).unwrap();
        // Only this generation's lines count.
        file.set_len(0).unwrap();
        let child = command.stdout(Stdio::null()).stderr(file).spawn().unwrap();
        Self { child, log, port: 0 }
    }

    /// Starts `command`, which has a stderr and a port already.
    pub fn spawn_on(mut command: Command, folder: &Folder, port: u16) -> Self {
        let log = folder.log();
        File::create(&log).unwrap();
        let child = command.stdout(Stdio::null()).spawn().unwrap();
        Self { child, log, port }
    }

    fn wait_ready(&mut self) {
        let begun = Instant::now();
        loop {
            if let Some(port) = port_in(&self.log()) {
                self.port = port;
                return;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("ended with {status} before it was ready: {}", self.log());
            }
            assert!(begun.elapsed() < PATIENCE, "not ready in time: {}", self.log());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Its pid.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits until a line with `text` is in the log.
    pub fn wait_log(&self, text: &str) {
        wait_for(&format!("the log line {text:?} in:\n{}", self.log()), || {
            self.log().contains(text)
        });
    }

    /// How it ended, if it has.
    pub fn ending(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Whether it has said that it is ready; its port is known then.
    pub fn is_ready(&mut self) -> bool {
        let port = port_in(&self.log());
        self.port = port.unwrap_or(self.port);
        port.is_some()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "did not end in time: {}", self.log());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Sends a signal and waits for the exit code.
    pub fn end(&mut self, signal: Signal) -> i32 {
        self.signal(signal);
        let status = self.wait();
        status
            .code()
            .unwrap_or_else(|| panic!("ended by signal {:?}: {}", status.signal(), self.log()))
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// A new connection.
    pub fn connect(&self) -> Client {
        Client::connect(self.port)
    }

    /// One request on a new connection, with the token.
    pub fn ask(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        self.connect().ask(method, path, body)
    }

    /// The process that checks the memory file, while it lives.
    pub fn check(&self) -> Option<Pid> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).ok()?;
        tasks.flatten().find_map(|task| {
            let children = fs::read_to_string(task.path().join("children")).ok()?;
            children.split_ascii_whitespace().next()?.parse().ok().map(Pid::from_raw)
        })
    }

    /// The most memory that it has had so far (VmHWM).
    pub fn peak_kib(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    /// CPU time so far, in clock ticks of 10 ms.
    pub fn cpu_ticks(&self) -> u64 {
        let line = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields: Vec<&str> = line.rsplit_once(')').unwrap().1.split_ascii_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port()
}

/// The port of the line that says ready.
pub fn port_in(log: &str) -> Option<u16> {
    let rest = log.split_once("ready on port ")?.1;
    rest.split_once(':')?.0.parse().ok()
}

/// An answer, taken apart.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The fields' names in lower case, and their values.
    pub fields: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A connection.
pub struct Client {
    /// The socket.
    pub stream: TcpStream,
    rest: Vec<u8>,
    /// What the last read ended with.
    failed: Option<std::io::ErrorKind>,
}

impl Client {
    /// Connects to a port of this machine.
    pub fn connect(port: u16) -> Self {
        Self::try_connect(port).unwrap()
    }

    /// The same, where that may fail.
    pub fn try_connect(port: u16) -> std::io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, rest: Vec::new(), failed: None })
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).unwrap();
        self
    }

    /// The same, where the gateway may have closed; false when it has.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Whether a part of an answer has come.
    pub fn has_part(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Reads to the end, which a reset is not, nor another byte.
    pub fn end(&mut self) -> Result<(), String> {
        let mut more = Vec::new();
        match self.stream.read_to_end(&mut more) {
            Ok(0) if self.rest.is_empty() => Ok(()),
            Ok(_) => Err(format!("{} bytes more", self.rest.len() + more.len())),
            Err(error) => Err(error.to_string()),
        }
    }

    /// One request with the token.
    pub fn ask(&mut self, method: &str, path: &str, body: &[u8]) -> Answer {
        self.try_ask(method, path, body).unwrap_or_else(|| panic!("no answer to {method} {path}"))
    }

    /// The same, where the gateway may die.
    pub fn try_ask(&mut self, method: &str, path: &str, body: &[u8]) -> Option<Answer> {
        let mut bytes = request(method, path, body.len()).into_bytes();
        bytes.extend_from_slice(body);
        self.stream.write_all(&bytes).ok()?;
        self.try_answer(method == "HEAD")
    }

    /// The next answer.
    pub fn answer(&mut self) -> Answer {
        self.try_answer(false).expect("an answer")
    }

    /// The next answer, if one comes whole.
    pub fn try_answer(&mut self, head_only: bool) -> Option<Answer> {
        loop {
            let mut fields = [httparse::EMPTY_HEADER; 64];
            let mut response = httparse::Response::new(&mut fields);
            if let Ok(httparse::Status::Complete(head)) = response.parse(&self.rest) {
                let status = response.code.unwrap();
                let fields: Vec<(String, String)> = response
                    .headers
                    .iter()
                    .map(|field| {
                        (
                            field.name.to_ascii_lowercase(),
                            String::from_utf8(field.value.to_vec()).unwrap(),
                        )
                    })
                    .collect();
                let length = fields.iter().find(|(name, _)| name == "content-length");
                let length = match length {
                    Some((_, value)) if !head_only => value.parse().unwrap(),
                    _ => 0,
                };
                while self.rest.len() < head + length {
                    self.read()?;
                }
                let body = self.rest[head..head + length].to_vec();
                self.rest.drain(..head + length);
                return Some(Answer { status, fields, body });
            }
            self.read()?;
        }
    }

    /// What came of the connection after its end: an error that waits, such as a reset.
    pub fn error(&self) -> Option<std::io::ErrorKind> {
        self.failed
    }

    /// Whether the gateway closes the connection without another byte.
    pub fn is_closed(&mut self) -> bool {
        self.rest.is_empty() && self.read().is_none()
    }

    fn read(&mut self) -> Option<()> {
        let mut bytes = [0; 64 * 1024];
        let read = loop {
            match self.stream.read(&mut bytes) {
                // signal(7): a receive with a timeout is not restarted after a signal.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        match read {
            Ok(0) => None,
            Err(error) => {
                self.failed = Some(error.kind());
                None
            }
            Ok(count) => {
                self.rest.extend_from_slice(&bytes[..count]);
                Some(())
            }
        }
    }
}

/// The head of a request with the token.
pub fn request(method: &str, path: &str, length: usize) -> String {
    let length = match method {
        "PUT" => format!("Content-Length: {length}\r\n"),
        _ => String::new(),
    };
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n{length}\r\n"
    )
}

/// A small file system of its own, unmounted at the end.
pub struct Small(PathBuf);

impl Small {
    /// Mounts a tmpfs with these options; none where that is not allowed.
    pub fn mount(path: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "openclaw-test"])
            .arg(path)
            .status();
        match mounted {
            Ok(status) if status.success() => Some(Self(path.to_owned())),
            other => {
                println!("skipped: a tmpfs cannot be mounted here: {other:?}");
                None
            }
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// Whether the test runs as root; says so where it does not.
pub fn is_root(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        println!("skipped: {test} needs root");
    }
    root
}

/// Numbers that look random and come again from the same seed (xorshift64*).
pub struct Random(u64);

impl Random {
    /// From OPENCLAW_TEST_SEED, or the clock; printed either way.
    pub fn new(test: &str) -> Self {
        let seed = match std::env::var("OPENCLAW_TEST_SEED") {
            Ok(text) => text.parse().expect("OPENCLAW_TEST_SEED is a number"),
            Err(_) => std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64,
        };
        println!("{test}: OPENCLAW_TEST_SEED={seed}");
        Self(seed | 1)
    }

    /// Another one, for a thread of its own.
    pub fn fork(&mut self) -> Self {
        Self(self.below(1 << 40) | 1)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16) % end
    }
}

/// A number from the environment: the ordinary run takes the default, the commands of
/// docs/reliability.md more.
pub fn setting(variable: &str, default: u64) -> u64 {
    std::env::var(variable)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}
