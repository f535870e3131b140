//! The units of `systemd/` under a real systemd: PID 1 of a container, with Podman and its Quadlet
//! beside it. One such machine serves all tests of this module, one after the other, since they
//! are about one unit; `scripts/engines` removes it with whatever else has its prefix.

use crate::engine::{Container, Engine, Said, TOKEN, TempFile, clawinit, gateway, package, until};
use crate::http;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

const DOCKER: Engine = Engine::Docker;
const BASE: &str = "clawinit-base-systemd";

const UNIT: &str = "openclaw-gateway.service";
const ALONE: &str = "openclaw-gateway-alone.service";
const QUADLET: &str = "openclaw-gateway.container";
const STATE: &str = "GATEWAY_STATE_DIR=/var/lib/openclaw/gateway-state";

/// A gateway without work is gone long before this.
const SOON: Duration = Duration::from_secs(3);

pub fn absent() -> Option<String> {
    DOCKER.absent().or_else(|| {
        let made = DOCKER.say(&["image", "inspect", BASE]).code == Some(0);
        let can_be = nix::unistd::geteuid().is_root()
            && Command::new("debootstrap").arg("--version").output().is_ok();
        let why =
            "the image with systemd is not made, and debootstrap is absent or we are not root";
        (!made && !can_be).then(|| why.to_string())
    })
}

/// The control groups for it to write in. With version 1 each hierarchy by itself: systemd mounts
/// the folder of them again, read-only, and that reaches this machine's own where it is the same
/// file system. Podman could not make a pod there until somebody mounted it back.
fn cgroups() -> Vec<String> {
    let root = "/sys/fs/cgroup";
    if Path::new(root).join("cgroup.controllers").exists() {
        return vec![format!("--volume={root}:{root}:rw"), "--cgroupns=host".to_string()];
    }
    let mounts = std::fs::read_to_string("/proc/mounts").expect("/proc/mounts");
    let folders = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    let below = folders.filter(|folder| folder.starts_with(&format!("{root}/")));
    below.map(|folder| format!("--volume={folder}:{folder}:rw")).collect()
}

/// The machine, booted at its first use.
fn machine() -> &'static Container {
    static MACHINE: OnceLock<Container> = OnceLock::new();
    MACHINE.get_or_init(|| {
        let made = Command::new(package().join("scripts/images"))
            .arg("systemd-base")
            .stdin(Stdio::null())
            .output()
            .expect("start scripts/images");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut options = vec![
            // systemd mounts, and so do the sandboxes of its units and Podman.
            "--cap-add=SYS_ADMIN",
            "--cap-add=SYS_PTRACE",
            "--cap-add=NET_ADMIN",
            "--security-opt=seccomp=unconfined",
            "--security-opt=apparmor=unconfined",
            "--env=container=docker",
            "--stop-signal=SIGRTMIN+3",
            "--tmpfs=/run",
            "--tmpfs=/run/lock",
            "--tmpfs=/tmp",
            // Podman's layers cannot lie on Docker's.
            "--tmpfs=/var/lib/containers",
        ];
        let mounts = cgroups();
        options.extend(mounts.iter().map(String::as_str));
        let machine = DOCKER.start(&options, BASE, &[]);
        until("systemd to have started", || {
            let state = machine.exec(&["systemctl", "is-system-running"]).out;
            ["running", "degraded"].contains(&state.trim()).then_some(())
        });
        // As on a host: a unit's credentials are mounted for it from outside, and Podman sets up
        // the network of its containers.
        machine.exec(&["mount", "--make-rshared", "/"]).fine();
        machine.exec(&["mount", "-o", "remount,rw", "/proc/sys"]).fine();
        for (from, to) in [(clawinit(), "clawinit"), (gateway(), "openclaw")] {
            copy(&machine, &from, &format!("/usr/local/bin/{to}"));
        }
        let token = TempFile::with("token", TOKEN);
        machine.exec(&["mkdir", "-p", "/etc/openclaw", "/etc/containers/systemd"]).fine();
        copy(&machine, Path::new(token.text()), "/etc/openclaw/token");
        machine.exec(&["chmod", "600", "/etc/openclaw/token"]).fine();
        machine
    })
}

fn copy(machine: &Container, from: &Path, to: &str) {
    let to_place = format!("{}:{to}", machine.name);
    DOCKER.say(&["cp", &from.display().to_string(), &to_place]).fine();
    machine.exec(&["chown", "root:root", to]).fine();
}

/// A file of `systemd/`, installed and started; stopped and removed with the value.
struct Unit {
    machine: &'static Container,
    /// What systemctl calls it.
    name: String,
    /// The journal's place at the start of the test.
    cursor: String,
    _alone: MutexGuard<'static, ()>,
}

impl Unit {
    /// Installs it, with a drop-in behind it.
    fn install(file: &str, drop_in: &str) -> Unit {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let machine = machine();
        let said = machine.exec(&["journalctl", "-n", "0", "--show-cursor"]).out;
        let cursor =
            said.split_once("cursor: ").map_or("", |(_, cursor)| cursor.trim()).to_string();
        let (name, folder) = match file.strip_suffix(".container") {
            Some(stem) => (format!("{stem}.service"), "/etc/containers/systemd"),
            None => (file.to_string(), "/etc/systemd/system"),
        };
        let unit = Unit { machine, name, cursor, _alone: alone };
        copy(machine, &package().join("systemd").join(file), &format!("{folder}/{file}"));
        if !drop_in.is_empty() {
            let text = TempFile::with("drop-in", drop_in);
            machine.exec(&["mkdir", "-p", &format!("{folder}/{file}.d")]).fine();
            copy(machine, Path::new(text.text()), &format!("{folder}/{file}.d/test.conf"));
        }
        unit.systemctl(&["daemon-reload"]).fine();
        unit
    }

    /// Installs it, starts it, and waits until the gateway takes work.
    fn start(file: &str, drop_in: &str) -> Unit {
        let unit = Unit::install(file, drop_in);
        unit.systemctl(&["start", &unit.name]).fine();
        machine().ready();
        unit
    }

    fn systemctl(&self, words: &[&str]) -> Said {
        let mut all = vec!["systemctl", "--no-pager"];
        all.extend(words);
        self.machine.exec(&all)
    }

    fn property(&self, name: &str) -> String {
        self.systemctl(&["show", "--property", name, "--value", &self.name]).fine()
    }

    fn main_pid(&self) -> String {
        self.property("MainPID")
    }

    /// Waits for a property to have this value.
    fn is(&self, property: &str, wanted: &str) {
        until(&format!("{property} to be {wanted}"), || {
            (self.property(property) == wanted).then_some(())
        });
    }

    /// The only child of the unit's main process.
    fn child(&self) -> String {
        let main = self.main_pid();
        until("a child of the main process", || {
            let said = self.machine.exec(&["pgrep", "-P", &main]).out;
            let pid = said.trim();
            (!pid.is_empty() && !pid.contains('\n')).then(|| pid.to_string())
        })
    }

    fn kill(&self, signal: &str, pid: &str) {
        self.machine.exec(&["kill", signal, pid]).fine();
    }

    /// What the unit wrote since the test began: the journal's entries.
    fn journal(&self) -> Vec<Value> {
        let after = format!("--after-cursor={}", self.cursor);
        let words = ["journalctl", "--no-pager", "-o", "json", "-u", &self.name, &after];
        let text = self.machine.exec(&words).fine();
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// Waits for an entry with this text.
    fn says(&self, text: &str) -> Value {
        until(&format!("{text:?} in the journal"), || {
            let mut entries = self.journal().into_iter();
            entries.find(|entry| entry["MESSAGE"].as_str().is_some_and(|said| said.contains(text)))
        })
    }

    /// Stops it as people do; how long that took.
    fn stop(&self) -> Duration {
        let begun = Instant::now();
        self.systemctl(&["stop", &self.name]).fine();
        begun.elapsed()
    }

    /// Nothing answers, and nobody of the unit is left.
    fn is_gone(&self) {
        assert!(http::connect(self.machine.address()).is_err(), "the port is still taken");
        let said = self.machine.exec(&["pgrep", "-a", "clawinit|openclaw|conmon"]);
        assert_eq!(said.out, "", "these are left");
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {}", self.systemctl(&["status", &self.name]).out);
            for entry in self.journal() {
                eprintln!("{} <{}>", entry["MESSAGE"], entry["PRIORITY"]);
            }
        }
        for words in [
            &["kill", "--signal=KILL", &self.name][..],
            &["stop", &self.name],
            &["reset-failed", &self.name],
        ] {
            self.systemctl(words);
        }
        self.machine.exec(&[
            "sh",
            "-c",
            "rm -rf /etc/systemd/system/openclaw* /etc/containers/systemd/* /var/lib/openclaw
             podman rm -f openclaw-gateway; podman volume rm -f openclaw-data",
        ]);
        self.systemctl(&["daemon-reload"]);
    }
}

/// The figures of `docs/systemd.md`, as this systemd gives them, and units that it finds no fault in.
pub fn systemd_finds_no_fault_and_the_exposure_that_the_documentation_names() {
    let page = std::fs::read_to_string(package().join("docs/systemd.md")).expect("docs/systemd.md");
    for file in [UNIT, ALONE] {
        let unit = Unit::install(file, "");
        let said = unit.machine.exec(&["systemd-analyze", "verify", file]);
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{file}");
        let said = unit.machine.exec(&["systemd-analyze", "security", "--no-pager", file]).fine();
        let last = said.lines().last().unwrap_or_default();
        let figure = last.split_once(&format!("{file}: ")).expect("a figure").1;
        let figure = figure.split(' ').next().expect("a number");
        let row = format!("| `{file}` | {figure} |");
        assert!(page.contains(&row), "docs/systemd.md has no row {row:?}; systemd says: {last}");
        drop(unit);
    }
}

pub fn systemctl_stop_ends_everything_in_the_gateways_own_time() {
    for file in [UNIT, ALONE] {
        let unit = Unit::start(file, "");
        unit.machine.remember("key", "value");
        assert_eq!(unit.machine.exec(&["ps", "-o", "user=", "-C", "openclaw"]).fine(), "www-data");
        let took = unit.stop();
        assert!(took < SOON, "{file}: systemctl stop took {took:?}");
        unit.is_gone();
        let told: Vec<_> =
            ["ActiveState", "Result", "ExecMainStatus"].map(|name| unit.property(name)).into();
        assert_eq!(told, ["inactive", "success", "0"], "{file}");
        unit.says("Graceful shutdown initiated");
        if file == UNIT {
            // systemd is the one who asked.
            unit.says("stop requested by pid 1 (uid 0: /lib/systemd/systemd)");
        }
    }
}

pub fn systemctl_kill_usr1_restarts_in_place_with_the_memory_kept() {
    let unit = Unit::start(UNIT, "");
    unit.machine.remember("key", "kept");
    let before = unit.main_pid();
    unit.systemctl(&["kill", "--kill-whom=main", "--signal=USR1", &unit.name]).fine();
    unit.machine.generation(2);
    // To all of the unit's processes, which is what it does unasked: the gateway hears it twice.
    unit.systemctl(&["kill", "-s", "USR1", &unit.name]).fine();
    unit.machine.generation(3);
    assert_eq!((unit.main_pid(), unit.property("NRestarts")), (before, "0".to_string()));
    assert_eq!(unit.machine.recall("key"), "kept");
    unit.says("restart requested by pid 1 (uid 0: /lib/systemd/systemd)");
}

pub fn systemctl_reload_returns_when_the_next_generation_is_ready() {
    let unit = Unit::start(UNIT, "");
    let before = unit.main_pid();
    unit.systemctl(&["reload", &unit.name]).fine();
    // No wait here: the verb has waited.
    assert_eq!(unit.machine.status().expect("a status")["generation"], 2);
    assert_eq!((unit.main_pid(), unit.property("NRestarts")), (before, "0".to_string()));
}

pub fn a_crash_of_the_gateway_is_made_good_in_place_and_one_of_clawinit_by_systemd() {
    let unit = Unit::start(UNIT, "[Service]\nRestartSec=100ms\n");
    unit.machine.remember("key", "kept");
    let before = unit.main_pid();
    unit.kill("-KILL", &unit.child());
    unit.machine.generation(2);
    assert_eq!((unit.main_pid(), unit.property("NRestarts")), (before.clone(), "0".to_string()));
    unit.says("restarting after a crash");

    unit.kill("-KILL", &before);
    unit.is("NRestarts", "1");
    unit.machine.generation(3);
    assert_ne!(unit.main_pid(), before);
    assert_eq!(unit.machine.recall("key"), "kept");
}

pub fn a_crash_without_clawinit_is_made_good_by_systemd() {
    let unit = Unit::start(ALONE, "");
    unit.machine.remember("key", "kept");
    unit.kill("-KILL", &unit.main_pid());
    unit.is("NRestarts", "1");
    unit.machine.generation(2);
    assert_eq!(unit.machine.recall("key"), "kept");
}

pub fn the_restart_code_brings_the_gateway_back_whatever_restart_says() {
    let unit = Unit::start(ALONE, "[Service]\nRestart=no\n");
    unit.machine.remember("key", "kept");
    unit.systemctl(&["kill", "--kill-whom=main", "--signal=USR1", &unit.name]).fine();
    unit.is("NRestarts", "1");
    unit.machine.generation(2);
    assert_eq!(unit.machine.recall("key"), "kept");
    let failed = unit.journal().iter().any(|entry| {
        entry["MESSAGE"].as_str().is_some_and(|said| said.contains("Failed with result"))
    });
    assert!(!failed, "a restart that was asked for is no failure");
    // By the verb, which waits for it; systemd is a supervisor that it does not know.
    unit.machine.exec(&["env", STATE, "openclaw", "gateway", "restart"]).fine();
    assert_eq!(unit.machine.status().expect("a status")["generation"], 3);
    drop(unit);

    // Under clawinit the code stays inside.
    let unit = Unit::start(UNIT, "");
    unit.kill("-USR1", &unit.child());
    unit.machine.generation(2);
    assert_eq!(unit.property("NRestarts"), "0");
    unit.says("exited with 75");
}

pub fn codes_that_no_start_mends_bring_nothing_back() {
    for file in [UNIT, ALONE] {
        for code in ["2", "78"] {
            let command = format!("/bin/sh -c \"exit {code}\"");
            let command = if file == UNIT {
                format!("/usr/local/bin/clawinit -- {command}")
            } else {
                command
            };
            let drop_in = format!("[Service]\nRestart=always\nExecStart=\nExecStart={command}\n");
            let unit = Unit::install(file, &drop_in);
            unit.systemctl(&["start", &unit.name]);
            unit.is("ActiveState", "failed");
            let told = (unit.property("ExecMainStatus"), unit.property("NRestarts"));
            assert_eq!(told, (code.to_string(), "0".to_string()), "{file}");
        }
    }
}

pub fn gateway_stop_on_the_host_leaves_the_unit_down() {
    for file in [UNIT, ALONE] {
        let unit = Unit::start(file, "");
        let said = unit.machine.exec(&["env", STATE, "openclaw", "gateway", "stop"]);
        assert_eq!(said.code, Some(0), "{said:?}");
        unit.is("ActiveState", "inactive");
        assert_eq!(unit.property("Result"), "success", "{file}");
        unit.is_gone();
    }
}

/// An agent that leaves a process behind, out of its group and its session.
const AGENT: &str = "gateway start --agent \"sh -c 'setsid -f sleep 5000; exec sleep 6000'\"";

pub fn nothing_outlives_a_stop_and_kill_mode_process_would_let_it() {
    let left = |unit: &Unit| unit.machine.exec(&["pgrep", "-fx", "sleep 5000"]).out;
    let started = |unit: &Unit| {
        until("what the agent leaves behind", || (!left(unit).is_empty()).then_some(()));
    };
    let command = format!(
        "[Service]\nExecStart=\nExecStart=/usr/local/bin/clawinit -- /usr/local/bin/openclaw {AGENT}\n"
    );
    let unit = Unit::start(UNIT, &command);
    started(&unit);
    unit.stop();
    assert_eq!(left(&unit), "");
    // It was told first.
    unit.says("sweeping what the child left: SIGTERM to");
    drop(unit);

    let command = format!("[Service]\nExecStart=\nExecStart=/usr/local/bin/openclaw {AGENT}\n");
    let unit = Unit::start(ALONE, &command);
    started(&unit);
    unit.stop();
    assert_eq!(left(&unit), "");
    drop(unit);

    // The blog's setting.
    let unit = Unit::start(ALONE, &format!("{command}KillMode=process\n"));
    started(&unit);
    unit.stop();
    assert_ne!(left(&unit), "", "KillMode=process left nothing: then the comment is wrong");
    unit.machine.exec(&["pkill", "-fx", "sleep 5000"]).fine();
}

pub fn a_gateway_that_does_not_leave_is_killed_by_clawinit_before_systemd_would() {
    let drop_in = "[Service]\nEnvironment=CLAWINIT_STOP_GRACE=2s\nExecStart=\n\
         ExecStart=/usr/local/bin/clawinit -- /bin/sh -c \"trap '' TERM; echo deaf; while :; do sleep 1; done\"\n";
    let unit = Unit::install(UNIT, drop_in);
    unit.systemctl(&["start", &unit.name]).fine();
    unit.says("deaf");
    let took = unit.stop();
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(4), "{took:?}");
    unit.says("the time is up: SIGKILL for");
    let told = (unit.property("Result"), unit.property("ExecMainStatus"));
    assert_eq!(told, ("exit-code".to_string(), "137".to_string()));
}

pub fn lines_in_the_journal_have_their_levels() {
    let unit = Unit::start(UNIT, "");
    unit.kill("-KILL", &unit.child());
    unit.machine.generation(2);
    // syslog(3): 3 error, 4 warning, 6 informational.
    for (text, level) in [("generation 1 started", "6"), ("restarting after a crash", "4")] {
        let entry = unit.says(text);
        assert_eq!(entry["PRIORITY"], level, "{entry}");
        let said = entry["MESSAGE"].as_str().expect("a text");
        assert!(said.starts_with("clawinit: "), "the level is still in the text: {said}");
    }
    drop(unit);
    let missing = "[Service]\nExecStart=\nExecStart=/usr/local/bin/clawinit -- /nowhere\n";
    let unit = Unit::install(UNIT, missing);
    unit.systemctl(&["start", &unit.name]);
    let entry = unit.says("/nowhere");
    assert_eq!(entry["PRIORITY"], "3", "{entry}");
}

/// One request and its answer, from inside: Quadlet's port is on the machine's loopback alone.
fn ask_inside(machine: &Container, method: &str, path: &str, body: &str) -> String {
    let request = http::head(method, path, TOKEN, body.len()) + body;
    let script = r#"exec 3<>/dev/tcp/127.0.0.1/8888; printf %s "$1" >&3; cat <&3"#;
    machine.exec(&["bash", "-c", script, "bash", &request]).out
}

pub fn the_quadlet_runs_restarts_and_stops_the_container() {
    let unit = Unit::install(QUADLET, "");
    let machine = unit.machine;
    let podman = |words: &[&str]| {
        let mut all = vec!["podman"];
        all.extend(words);
        machine.exec(&all)
    };
    // The generator itself finds no fault, and neither does systemd in what it makes.
    let made = machine.exec(&["/usr/libexec/podman/quadlet", "-dryrun"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let complaints: Vec<&str> =
        made.err.lines().filter(|line| !line.contains("Loading source unit file")).collect();
    assert!(complaints.is_empty(), "{complaints:?}");
    assert!(made.out.contains("KillMode=mixed"), "the comment says so: {}", made.out);
    let made = format!("/run/systemd/generator/{}", unit.name);
    let said = machine.exec(&["systemd-analyze", "verify", &made]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));

    let archive = TempFile::new("image");
    let image = DOCKER.image("scratch");
    DOCKER.say(&["save", "--output", archive.text(), &image]).fine();
    copy(machine, Path::new(archive.text()), "/root/image.tar");
    podman(&["load", "--input", "/root/image.tar"]).fine();
    podman(&["tag", &format!("localhost/{image}"), "localhost/clawinit:scratch"]).fine();
    podman(&["secret", "create", "--replace", "openclaw-token", "/etc/openclaw/token"]).fine();
    unit.systemctl(&["start", &unit.name]).fine();
    unit.says("ready on port 8888: generation 1");

    let answer = ask_inside(machine, "PUT", "/memory/key", "kept");
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let identity = || podman(&["inspect", "--format", "{{.Id}}", "openclaw-gateway"]).fine();
    let before = (identity(), unit.main_pid());
    unit.systemctl(&["reload", &unit.name]).fine();
    unit.says("ready on port 8888: generation 2");
    podman(&["kill", "--signal=USR1", "openclaw-gateway"]).fine();
    unit.says("ready on port 8888: generation 3");
    assert_eq!((identity(), unit.main_pid()), before);
    assert!(ask_inside(machine, "GET", "/memory/key", "").ends_with("kept"));
    podman(&["healthcheck", "run", "openclaw-gateway"]).fine();
    let seen = podman(&["inspect", "openclaw-gateway"]).fine() + &machine.exec(&["ps", "ax"]).out;
    assert!(!seen.contains(TOKEN), "the token can be seen");

    // clawinit gone, the container gone: systemd makes another one.
    let init = podman(&["inspect", "--format", "{{.State.Pid}}", "openclaw-gateway"]).fine();
    unit.kill("-KILL", &init);
    unit.is("NRestarts", "1");
    unit.says("ready on port 8888: generation 4");
    assert!(ask_inside(machine, "GET", "/memory/key", "").ends_with("kept"));

    // From inside, it goes down and stays down.
    podman(&["exec", "openclaw-gateway", "/openclaw", "gateway", "stop"]);
    unit.is("ActiveState", "inactive");
    assert_eq!(unit.property("Result"), "success");
    unit.systemctl(&["start", &unit.name]).fine();
    unit.says("ready on port 8888: generation 5");

    let took = unit.stop();
    assert!(took < Duration::from_secs(10), "systemctl stop took {took:?}");
    unit.says("Graceful shutdown initiated");
    assert_eq!(
        (unit.property("Result"), unit.property("ActiveState")),
        ("success".into(), "inactive".into())
    );
    unit.is_gone();
}
