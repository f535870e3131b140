//! Engines, and what tests make in them: every container, volume and file goes with its value,
//! also when the test fails. Names begin with what `scripts/engines` gave, so that it can remove
//! whatever is left when the tests themselves were killed.

use crate::http;
use serde_json::Value;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The variable with the beginning of all names.
pub const PREFIX: &str = "CLAWINIT_TEST_PREFIX";

/// No wait of these tests is longer: well past what anything here takes, on a busy machine too.
const BOUND: Duration = Duration::from_secs(30);
/// How often a wait looks at what has no way to tell us.
const LOOK: Duration = Duration::from_millis(10);

/// The token of all gateways here.
pub const TOKEN: &str = "sesame-Zq8x2Lw5Tn7v";

/// The folder of this package.
pub fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The released clawinit.
pub fn clawinit() -> PathBuf {
    binary("CLAWINIT_BIN", "clawinit")
}

/// The released gateway.
pub fn gateway() -> PathBuf {
    binary("CLAWINIT_GATEWAY", "openclaw")
}

fn binary(variable: &str, name: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| package().join("target"), PathBuf::from);
    target.join(format!("{}-unknown-linux-musl/release/{name}", std::env::consts::ARCH))
}

/// A name that nobody else has.
pub fn name(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let prefix = std::env::var(PREFIX).expect("scripts/engines to have set the prefix");
    format!("{prefix}{what}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Asks again and again, within the bound.
pub fn until<T>(what: &str, mut wanted: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + BOUND;
    loop {
        if let Some(found) = wanted() {
            return found;
        }
        assert!(Instant::now() < end, "waited {BOUND:?} for {what}");
        std::thread::sleep(LOOK);
    }
}

/// A TCP port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("0.0.0.0", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    /// Its output, without the line's end; it must have succeeded.
    pub fn fine(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out.trim_end().to_string()
    }
}

/// Runs a command; one that hangs is ended, and fails.
pub fn say(command: &mut Command) -> Said {
    let mut bounded = Command::new("timeout");
    bounded.args(["--kill-after=5", "90"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bounded.env(name, value),
            None => bounded.env_remove(name),
        };
    }
    let output = bounded.stdin(Stdio::null()).output().expect("start a command");
    Said {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A container engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Docker,
    /// Docker whose own init is clawinit.
    InitDocker,
    Podman,
}

impl Engine {
    /// Why it cannot be used here.
    pub fn absent(self) -> Option<String> {
        let (program, ask) = match self {
            Engine::Docker => ("docker", "info"),
            Engine::InitDocker if std::env::var_os("CLAWINIT_TEST_INIT_DOCKER").is_none() => {
                return Some("no dockerd could be started with clawinit as its init-path".into());
            }
            Engine::InitDocker => ("docker", "info"),
            Engine::Podman => ("podman", "info"),
        };
        if Command::new(program).arg("--version").output().is_err() {
            return Some(format!("{program} is absent"));
        }
        let said = self.say(&[ask]);
        match said.code {
            Some(0) => None,
            _ => Some(format!(
                "{program} does not answer: {}",
                said.err.lines().last().unwrap_or_default()
            )),
        }
    }

    fn command(self) -> Command {
        match self {
            Engine::Docker => Command::new("docker"),
            Engine::InitDocker => {
                let mut command = Command::new("docker");
                let host = std::env::var("CLAWINIT_TEST_INIT_DOCKER");
                command.args(["--host", &host.expect("the second dockerd")]);
                command
            }
            Engine::Podman => Command::new("podman"),
        }
    }

    pub fn say(self, words: &[&str]) -> Said {
        say(self.command().args(words))
    }

    /// An image of ours, made at its first use: `scratch`, `debian` or `alpine-like`.
    pub fn image(self, name: &str) -> String {
        let place = match name {
            "scratch" => 0,
            "debian" => 1,
            "alpine-like" => 2,
            other => panic!("no image {other}"),
        };
        match self {
            Engine::Docker => {
                static MADE: [OnceLock<String>; 3] = [const { OnceLock::new() }; 3];
                MADE[place].get_or_init(|| build(name)).clone()
            }
            Engine::InitDocker => {
                static MADE: [OnceLock<String>; 3] = [const { OnceLock::new() }; 3];
                MADE[place].get_or_init(|| self.load(&Engine::Docker.image(name))).clone()
            }
            Engine::Podman => {
                static MADE: [OnceLock<String>; 3] = [const { OnceLock::new() }; 3];
                let load = || format!("localhost/{}", self.load(&Engine::Docker.image(name)));
                MADE[place].get_or_init(load).clone()
            }
        }
    }

    /// Takes an image over from the usual Docker.
    fn load(self, image: &str) -> String {
        let archive = TempFile::new("image");
        Engine::Docker.say(&["save", "--output", archive.text(), image]).fine();
        self.say(&["load", "--input", archive.text()]).fine();
        image.to_string()
    }

    /// Runs a container to its end.
    pub fn run(self, options: &[&str], image: &str, command: &[&str]) -> Said {
        let name = name("run");
        let mut words = vec!["run", "--name", &name];
        words.extend(options);
        words.push(image);
        words.extend(command);
        let said = self.say(&words);
        self.say(&["rm", "--force", "--volumes", &name]);
        said
    }

    /// Starts a container and leaves it running.
    pub fn start(self, options: &[&str], image: &str, command: &[&str]) -> Container {
        let container = Container { engine: self, name: name("container") };
        let mut words = vec!["run", "--detach", "--name", &container.name];
        words.extend(options);
        words.push(image);
        words.extend(command);
        self.say(&words).fine();
        container
    }

    /// Starts a gateway with the token, and waits until it takes work.
    pub fn gateway(self, options: &[&str]) -> Container {
        let token = format!("GATEWAY_TOKEN={TOKEN}");
        let mut all = vec!["--env", &token];
        all.extend(options);
        let container = self.start(&all, &self.image("scratch"), &[]);
        container.ready();
        container
    }
}

/// Makes what our images stand on, where it is not there yet.
pub fn bases() {
    build("bases");
}

/// Builds an image as `make images` does, by a name of ours.
fn build(name: &str) -> String {
    let prefix = std::env::var(PREFIX).expect("scripts/engines to have set the prefix");
    let image = format!("{prefix}image");
    let said = Command::new(package().join("scripts/images"))
        .arg(name)
        .env("IMAGE", &image)
        .env("CLAWINIT_BIN", clawinit())
        .env("CLAWINIT_GATEWAY", gateway())
        .stdin(Stdio::null())
        .output()
        .expect("start scripts/images");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    format!("{image}:{name}")
}

/// A container, running or not.
pub struct Container {
    pub engine: Engine,
    pub name: String,
}

impl Container {
    /// One that somebody else has made.
    pub fn of(engine: Engine, name: &str) -> Container {
        Container { engine, name: name.to_string() }
    }

    pub fn inspect(&self, format: &str) -> String {
        self.engine.say(&["inspect", "--type", "container", "--format", format, &self.name]).fine()
    }

    /// What it has written so far, on both of its outputs.
    pub fn logs(&self) -> String {
        let said = self.engine.say(&["logs", &self.name]);
        said.out + &said.err
    }

    /// Waits for a text in what it writes.
    pub fn says(&self, text: &str) {
        until(&format!("{text:?} in the log"), || self.logs().contains(text).then_some(()));
    }

    /// Sends a signal as somebody outside does.
    pub fn kill(&self, signal: &str) {
        self.engine.say(&["kill", "--signal", signal, &self.name]).fine();
    }

    pub fn exec(&self, words: &[&str]) -> Said {
        let mut all = vec!["exec", &self.name];
        all.extend(words);
        self.engine.say(&all)
    }

    /// Stops it as people do; how long that took.
    pub fn stop(&self, patience: &str) -> Duration {
        let begun = Instant::now();
        self.engine.say(&["stop", "-t", patience, &self.name]).fine();
        begun.elapsed()
    }

    /// Waits for its end; the exit code that the engine reports.
    pub fn wait(&self) -> i32 {
        let code = self.engine.say(&["wait", &self.name]).fine();
        code.parse().unwrap_or_else(|_| panic!("no exit code: {code:?}"))
    }

    /// The pid of its PID 1 as this machine counts.
    pub fn pid(&self) -> i32 {
        let pid = self.inspect("{{.State.Pid}}");
        pid.parse().unwrap_or_else(|_| panic!("no pid: {pid:?}"))
    }

    /// Where its gateway answers.
    pub fn address(&self) -> SocketAddr {
        let address = until("an address of the container", || {
            let format = "{{.NetworkSettings.IPAddress}}";
            let own = self.inspect(format).parse::<IpAddr>().ok();
            let state = self.inspect("{{.State.Status}}");
            assert_ne!(state, "exited", "the container has no address, for it has ended");
            let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
            own.or_else(|| self.inspect(format).split_whitespace().next()?.parse().ok())
        });
        SocketAddr::new(address, 8888)
    }

    /// Waits until the gateway takes work.
    pub fn ready(&self) {
        let address = self.address();
        until("a gateway that is ready", || {
            matches!(http::ask(address, "GET", "/ready", "", ""), Ok((200, _))).then_some(())
        });
    }

    /// Waits for this generation of the gateway to take work.
    pub fn generation(&self, number: u64) {
        until(&format!("generation {number}"), || {
            (self.status().ok()?["generation"] == number).then_some(())
        });
        self.ready();
    }

    /// What the gateway says of itself to those who know the token.
    pub fn status(&self) -> Result<Value, String> {
        let (_, body) = http::ask(self.address(), "GET", "/status", TOKEN, "")
            .map_err(|error| error.to_string())?;
        serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))
    }

    /// Writes a value into the gateway's memory.
    pub fn remember(&self, key: &str, value: &str) {
        let path = format!("/memory/{key}");
        let (code, body) =
            http::ask(self.address(), "PUT", &path, TOKEN, value).expect("an answer");
        assert!((200..300).contains(&code), "{code} {body}");
    }

    /// Reads it again.
    pub fn recall(&self, key: &str) -> String {
        let path = format!("/memory/{key}");
        let (code, body) = http::ask(self.address(), "GET", &path, TOKEN, "").expect("an answer");
        assert_eq!(code, 200, "{body}");
        body
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let state = self.engine.say(&["inspect", "--format", "{{json .State}}", &self.name]);
            eprintln!("--- {}: {}{}", self.name, state.out.trim_end(), state.err);
            eprintln!("{}", self.logs());
        }
        self.engine.say(&["rm", "--force", "--volumes", &self.name]);
    }
}

/// A volume with a name.
pub struct Volume {
    engine: Engine,
    pub name: String,
}

impl Volume {
    pub fn new(engine: Engine) -> Volume {
        let volume = Volume { engine, name: name("volume") };
        engine.say(&["volume", "create", &volume.name]).fine();
        volume
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        self.engine.say(&["volume", "rm", "--force", &self.name]);
    }
}

/// A file in the folder that `scripts/engines` removes.
pub struct TempFile(String);

impl TempFile {
    pub fn new(what: &str) -> TempFile {
        let folder = std::env::var("CLAWINIT_TEST_FOLDER").expect("the folder of scripts/engines");
        TempFile(format!("{folder}/{}", name(what)))
    }

    /// With this text; anybody may read and write it, whoever the container's user is.
    pub fn with(what: &str, text: &str) -> TempFile {
        use std::os::unix::fs::PermissionsExt;
        let file = TempFile::new(what);
        std::fs::write(&file.0, text).expect("write a file");
        std::fs::set_permissions(&file.0, std::fs::Permissions::from_mode(0o666)).expect("chmod");
        file
    }

    pub fn text(&self) -> &str {
        &self.0
    }

    pub fn read(&self) -> String {
        std::fs::read_to_string(&self.0).expect("read a file")
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The direct children of a process.
pub fn children(pid: i32) -> Vec<i32> {
    std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// Those of them that are dead and not reaped.
pub fn zombies(pid: i32) -> Vec<i32> {
    let is_zombie = |pid: &i32| status_field(*pid, "State").starts_with('Z');
    children(pid).into_iter().filter(is_zombie).collect()
}

/// A field of `/proc/PID/status`; empty where the process is gone.
pub fn status_field(pid: i32, field: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(str::trim))
        .unwrap_or_default()
        .to_string()
}
