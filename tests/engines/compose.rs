//! `compose/docker-compose.yml` as a user copies it, by the older program and the newer plugin.

use crate::engine::{
    Container, Engine, Said, TOKEN, TempFile, children, free_port, name, package, say, until,
};
use crate::http;
use crate::tools::tool;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const DOCKER: Engine = Engine::Docker;

pub fn absent() -> Option<String> {
    DOCKER.absent().or_else(|| match programs().as_slice() {
        [] => Some("neither docker-compose nor the plugin of docker is there".into()),
        _ => None,
    })
}

/// The words that call each Compose that is here: the plugin (version 2 and later), which is also
/// a program of its own, and the older docker-compose.
pub fn programs() -> Vec<Vec<String>> {
    let works = |words: &[String]| {
        let tried = Command::new(&words[0]).args(&words[1..]).arg("version").output();
        tried.ok().filter(|tried| tried.status.success())
    };
    let plugin = vec!["docker".to_string(), "compose".to_string()];
    let ours = tool("docker-compose").map(|path| vec![path.display().to_string()]);
    let newer = [Some(plugin), ours].into_iter().flatten().find(|words| works(words).is_some());
    let older = vec!["docker-compose".to_string()];
    let is_older = works(&older).is_some_and(|said| {
        String::from_utf8_lossy(&said.stdout).contains("docker-compose version 1.")
    });
    newer.into_iter().chain(is_older.then_some(older)).collect()
}

/// A copy of `compose/` under a name of its own, and all that Compose makes by it.
pub struct Project {
    program: Vec<String>,
    name: String,
    folder: TempFile,
    files: Vec<&'static str>,
    variables: Vec<(&'static str, String)>,
    /// Where it is to be reached on this machine.
    pub address: SocketAddr,
}

impl Project {
    pub fn new(program: &[String], files: &[&'static str]) -> Project {
        let folder = TempFile::new("compose");
        let copied = Command::new("cp")
            .args(["-r", "--"])
            .arg(package().join("compose"))
            .arg(folder.text())
            .status();
        assert!(copied.is_ok_and(|copied| copied.success()), "copy compose/");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let project = Project {
            program: program.to_vec(),
            name: name("compose"),
            folder,
            files: files.to_vec(),
            variables: vec![
                ("GATEWAY_IMAGE", DOCKER.image("scratch")),
                ("GATEWAY_PORT", address.port().to_string()),
            ],
            address,
        };
        let example =
            std::fs::read_to_string(project.path("gateway.env.example")).expect("the example");
        assert!(example.contains("\nGATEWAY_TOKEN=\n"), "{example}");
        let settings = example.replace("GATEWAY_TOKEN=", &format!("GATEWAY_TOKEN={TOKEN}"));
        std::fs::write(project.path("gateway.env"), settings).expect("write gateway.env");
        // Whoever the gateway's user is here; the file says how to make it for one of them.
        let data = project.path("data");
        std::fs::create_dir_all(&data).expect("make data");
        std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o777)).expect("chmod");
        project
    }

    /// A file of the copy.
    pub fn path(&self, file: &str) -> PathBuf {
        Path::new(self.folder.text()).join(file)
    }

    /// Sets a variable for everything that is called from now on.
    pub fn set(&mut self, name: &'static str, value: &str) {
        self.variables.retain(|(old, _)| *old != name);
        self.variables.push((name, value.to_string()));
    }

    /// Runs a command in the folder, with the variables.
    pub fn call(&self, program: &Path, words: &[&str]) -> Said {
        // Compose v1 has no --project-directory for all that it reads; the shell has cd.
        let mut command = Command::new("env");
        command.arg("--chdir").arg(self.folder.text()).arg(program).args(words);
        command.env("COMPOSE_PROJECT_NAME", &self.name).env("COMPOSE", self.program.join(" "));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        say(&mut command)
    }

    /// Runs Compose on the files.
    pub fn say(&self, words: &[&str]) -> Said {
        let mut all: Vec<&str> = self.program[1..].iter().map(String::as_str).collect();
        all.extend(self.files.iter().flat_map(|file| ["-f", file]));
        all.extend(words);
        self.call(Path::new(&self.program[0]), &all)
    }

    /// The container of a service, which goes with the project and not with this value.
    pub fn container(&self, service: &str) -> ManuallyDrop<Container> {
        let said = self.say(&["ps", "--all", "--quiet", service]);
        let identity = said.out.trim().to_string();
        assert!(!identity.is_empty(), "no container of {service}: {said:?}");
        ManuallyDrop::new(Container::of(DOCKER, &identity))
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = self.say(&["logs", "--tail", "40"]);
            eprintln!("--- {:?}: {}{}", self.program, said.out, said.err);
        }
        self.say(&["down", "--volumes", "--timeout", "5"]);
        let _ = std::fs::remove_dir_all(self.folder.text());
    }
}

/// The file alone, up and ready, once for each Compose that is here.
fn with_each(test: fn(&Project, &Container)) {
    for program in programs() {
        let project = Project::new(&program, &["docker-compose.yml"]);
        project.say(&["up", "--detach"]).fine();
        let container = project.container("gateway");
        container.ready();
        test(&project, &container);
    }
}

pub fn the_file_starts_a_healthy_gateway_with_its_limits_on_its_port() {
    with_each(|project, container| {
        let (code, body) = http::ask(project.address, "GET", "/status", "", "").expect("an answer");
        assert_eq!(code, 200, "{body}");
        assert!(body.starts_with(r#"{"status":"running","uptime":"#), "{body}");
        let limits = "{{.HostConfig.NanoCpus}} {{.HostConfig.Memory}} {{.Config.StopTimeout}}";
        assert_eq!(container.inspect(limits), "2000000000 4294967296 30");
        let policy =
            "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}";
        assert_eq!(container.inspect(policy), "on-failure 3");
        until("a healthy container", || {
            let health = container.inspect("{{.State.Health.Status}}");
            assert_ne!(health, "unhealthy", "{}", container.inspect("{{json .State.Health}}"));
            (health == "healthy").then_some(())
        });
        container.remember("key", "value");
        let state = project.path("data/gateway-state/memory.redb");
        assert!(state.is_file(), "{} is not there", state.display());
        // Nobody reads the token from a process list or from the log.
        assert!(!container.logs().contains(TOKEN));
    });
}

pub fn the_file_brings_back_a_gateway_that_crashed() {
    with_each(|_, container| {
        container.remember("key", "acknowledged");
        let gateway = *children(container.pid()).first().expect("the gateway");
        kill(Pid::from_raw(gateway), Signal::SIGKILL).expect("kill the gateway");
        until("a restart of the container", || {
            (container.inspect("{{.RestartCount}} {{.State.Running}}") == "1 true").then_some(())
        });
        container.ready();
        assert_eq!(container.recall("key"), "acknowledged");
    });
}

/// Restarts by Compose under clients that come one after the other.
pub fn a_restart_refuses_no_client() {
    with_each(|project, container| {
        let stop = AtomicBool::new(false);
        let client = || {
            let mut answered = 0;
            while !stop.load(Ordering::Relaxed) {
                let (code, body) =
                    http::ask(project.address, "GET", "/status", "", "").expect("an answer");
                assert_eq!(code, 200, "{body}");
                answered += 1;
            }
            answered
        };
        let answered: u32 = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..4).map(|_| scope.spawn(client)).collect();
            for generation in 2..=4 {
                project.say(&["kill", "-s", "USR1", "gateway"]).fine();
                container.says(&format!("generation {generation} is ready"));
            }
            stop.store(true, Ordering::Relaxed);
            clients.into_iter().map(|client| client.join().expect("a client")).sum()
        });
        println!("{:?}: {answered} requests over 3 restarts", project.program);
        assert!(answered > 100, "{answered} requests are no load");
    });
}

pub fn gateway_stop_from_inside_leaves_the_service_down() {
    with_each(|project, container| {
        container.remember("key", "kept");
        let said = project.say(&["exec", "-T", "gateway", "openclaw", "gateway", "stop"]);
        assert_eq!(said.code, Some(0), "{said:?}");
        assert_eq!(container.wait(), 0);
        assert_eq!(container.inspect("{{.State.Status}} {{.RestartCount}}"), "exited 0");
        project.say(&["up", "--detach"]).fine();
        container.ready();
        assert_eq!(container.recall("key"), "kept");
    });
}

pub fn compose_down_is_graceful() {
    with_each(|project, container| {
        let begun = Instant::now();
        project.say(&["stop"]).fine();
        let took = begun.elapsed();
        // Compose takes its time on a busy machine; it is not the grace that ended it.
        assert!(took < Duration::from_secs(20), "stop took {took:?}\n{}", container.logs());
        assert_eq!(container.inspect("{{.State.ExitCode}}"), "0");
        container.says("Graceful shutdown initiated");
        project.say(&["down", "--volumes"]).fine();
        let gone = || DOCKER.say(&["inspect", &container.name]).code.is_some_and(|code| code != 0);
        until("the container to be gone", || gone().then_some(()));
    });
}

pub fn the_token_can_come_from_a_secret() {
    for program in programs() {
        let files = ["docker-compose.yml", "docker-compose.secret.yml"];
        let project = Project::new(&program, &files);
        let settings = std::fs::read_to_string(project.path("gateway.env")).expect("gateway.env");
        let without: Vec<&str> =
            settings.lines().filter(|line| !line.starts_with("GATEWAY_TOKEN=")).collect();
        std::fs::write(project.path("gateway.env"), without.join("\n")).expect("gateway.env");
        let token = project.path("token");
        std::fs::write(&token, format!("{TOKEN}\n")).expect("write the token");
        std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o444)).expect("chmod");
        project.say(&["up", "--detach"]).fine();
        let container = project.container("gateway");
        container.ready();
        container.remember("key", "value");
        assert!(!container.inspect("{{json .}}").contains(TOKEN), "docker inspect shows the token");
    }
}
