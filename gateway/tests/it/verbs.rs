//! `gateway stop | restart | status`: alone, and under a supervisor that is a loop in
//! a shell.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{
    Folder, Gateway, PATIENCE, Random, failure, is_root, outcome, port_in, start, verb, wait_for,
};

/// Stands in for clawinit: names itself, forwards SIGTERM, leaves with the code.
const CLAWINIT: &str = "CLAWINIT_PID=$$; export CLAWINIT_PID; \"$0\" \"$@\" & child=$!; \
     trap 'echo forwarded >&2; kill -TERM $child' TERM; \
     while kill -0 $child 2>/dev/null; do wait $child; code=$?; done; exit $code";

/// `WORDS… INNER`, with the environment of `inner`.
fn within(words: &[&str], inner: &Command) -> Command {
    let mut command = Command::new(words[0]);
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.args(&words[1..]).arg(inner.get_program()).args(inner.get_args());
    command
}

/// `while :; do openclaw gateway start …; done`, that ends when the gateway leaves
/// with 0, as every supervisor does that knows zero from non-zero.
fn loop_around(inner: &Command) -> Command {
    let script = "trap '' TERM; while :; do \"$0\" \"$@\"; code=$?; [ $code = 0 ] && exit 0; done";
    within(&["sh", "-c", script], inner)
}

#[test]
fn status_answers_from_the_gateway_then_from_the_folder() {
    let folder = Folder::new("status-verb");
    let (value, code, _) = outcome(verb(&folder, "status"));
    assert_eq!((value, code), (json!({ "status": "stopped", "reason": "never started" }), 3));

    let mut gateway = Gateway::start(&folder);
    let (value, code, _) = outcome(verb(&folder, "status"));
    assert_eq!((&value["status"], &value["generation"], code), (&"running".into(), &1.into(), 0));
    let mut command = verb(&folder, "status");
    command.env_remove("GATEWAY_TOKEN").arg("--json");
    let (value, code, said) = outcome(command);
    assert_eq!((value, code), (json!({ "status": "running", "uptime": 0 }), 0));
    assert_eq!(said, "", "--json prints nothing else");

    assert_eq!(gateway.end(Signal::SIGTERM), 0);
    let (value, code, _) = outcome(verb(&folder, "status"));
    assert_eq!(
        (&value["status"], &value["reason"], code),
        (&"stopped".into(), &"graceful shutdown".into(), 3)
    );

    Gateway::start(&folder).kill();
    let (value, code, _) = outcome(verb(&folder, "status"));
    assert_eq!((&value["reason"], &value["generation"], code), (&"killed".into(), &2.into(), 3));

    assert_eq!(Gateway::start(&folder).end(Signal::SIGUSR1), 75);
    let (value, code, _) = outcome(verb(&folder, "status"));
    assert_eq!((&value["reason"], code), (&"restart requested".into(), 3));
}

#[test]
fn status_of_a_gateway_elsewhere_is_asked_by_url() {
    let folder = Folder::new("here");
    let other = Folder::new("there");
    let gateway = Gateway::start(&other);
    let url = format!("http://127.0.0.1:{}", gateway.port);
    let mut command = verb(&folder, "status");
    command.env("GATEWAY_URL", &url);
    let (value, code, _) = outcome(command);
    assert_eq!((&value["status"], code), (&"running".into(), 0));
}

#[test]
fn status_of_a_gateway_that_hangs_is_1_within_its_timeout() {
    let folder = Folder::new("hangs");
    let gateway = Gateway::start(&folder);
    gateway.signal(Signal::SIGSTOP);
    let begun = Instant::now();
    let mut command = verb(&folder, "status");
    command.args(["--timeout", "300ms"]);
    let (value, code, _) = outcome(command);
    assert_eq!((&value["status"], code), (&"unknown".into(), 1));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn stop_alone_is_proven_and_stopping_again_is_fine() {
    let folder = Folder::new("stop");
    let mut gateway = Gateway::start(&folder);
    let pid = gateway.pid();
    let (value, code, said) = outcome(verb(&folder, "stop"));
    assert_eq!((value, code), (json!({ "status": "stopped", "reason": "graceful shutdown" }), 0));
    assert!(said.contains(&format!("sending SIGTERM to the gateway, pid {pid}")), "{said}");
    assert_eq!(gateway.wait().code(), Some(0));
    let mut command = verb(&folder, "stop");
    command.arg("--json");
    let (value, code, said) = outcome(command);
    assert_eq!((value, code), (json!({ "status": "stopped", "reason": "not running" }), 0));
    assert_eq!(said, "");
}

#[test]
fn stop_that_does_not_happen_in_time_is_no_success() {
    let folder = Folder::new("stop-late");
    let gateway = Gateway::start(&folder);
    gateway.signal(Signal::SIGSTOP);
    let mut command = verb(&folder, "stop");
    command.args(["--timeout", "300ms"]);
    let (value, code, said) = outcome(command);
    assert_eq!(
        (&value["status"], &value["reason"], code),
        (&"stopping".into(), &"timeout".into(), 1)
    );
    assert!(said.contains("did not stop within"), "{said}");
}

/// A process that ends with the test, however that ends.
struct Bystander(Child);

impl Bystander {
    fn is_alive(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A process that is no gateway, and to which the pid in the lock file at `path` has
/// come. It did not start in the same clock tick: a pid takes longer to come round.
fn bystander(path: &Path) -> Bystander {
    let text = fs::read_to_string(path).unwrap();
    let mut holder: Value = serde_json::from_str(&text).unwrap();
    let begun = Instant::now();
    loop {
        let child = Bystander(Command::new("sleep").arg("600").spawn().unwrap());
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.0.id())).unwrap();
        let start_time = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().nth(19);
        if start_time != Some(holder["start_time"].to_string().as_str()) {
            holder["pid"] = child.0.id().into();
            fs::write(path, holder.to_string()).unwrap();
            return child;
        }
        assert!(begun.elapsed() < PATIENCE, "the clock stands still");
    }
}

#[test]
fn verbs_never_signal_a_pid_whose_lock_is_not_held() {
    let folder = Folder::new("stale-pid");
    let mut gateway = Gateway::start(&folder);
    gateway.kill();
    let path = folder.state().join("gateway.lock");
    let mut bystander = bystander(&path);
    let (value, _, _) = outcome(verb(&folder, "stop"));
    assert_eq!(value["reason"], "not running");
    let (value, code, _) = outcome(verb(&folder, "restart"));
    assert_eq!((&value["reason"], code), (&"not running".into(), 1));
    assert!(bystander.is_alive(), "a process that is no gateway was signalled");
}

#[test]
fn pid_of_another_container_is_not_signalled() {
    let folder = Folder::new("container");
    let gateway = Gateway::start(&folder);
    let path = folder.state().join("gateway.lock");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once("pid:[").unwrap();
    let (_, after) = rest.split_once(']').unwrap();
    fs::write(&path, format!("{before}pid:[1]{after}")).unwrap();
    let output = verb(&folder, "stop").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("runs in another container"), "{said}");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(gateway.ask("GET", "/ready", b"").status, 200);
}

#[test]
fn restart_alone_says_that_nobody_started_it_again() {
    let folder = Folder::new("alone");
    let mut gateway = Gateway::start(&folder);
    let verb = std::thread::spawn({
        let command = verb(&folder, "restart");
        move || outcome(command)
    });
    assert_eq!(gateway.wait().code(), Some(75));
    let (value, code, said) = verb.join().unwrap();
    assert_eq!((&value["status"], code), (&"stopped".into(), 1));
    assert!(
        said.contains("nobody started the next") && said.contains("--on-restart exec"),
        "{said}"
    );
}

#[test]
fn restart_alone_works_in_place() {
    let folder = Folder::new("alone-exec");
    let mut command = start(&folder);
    command.args(["--on-restart", "exec"]);
    let mut gateway = Gateway::run(command, &folder);
    let (value, code, _) = outcome(verb(&folder, "restart"));
    assert_eq!((&value["status"], &value["generation"], code), (&"restarted".into(), &2.into(), 0));
    assert_eq!(value["pid"], gateway.pid().as_raw());
    let (value, code, _) = outcome(verb(&folder, "stop"));
    assert_eq!((&value["status"], code), (&"stopped".into(), 0));
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn restart_and_stop_under_a_shell_loop() {
    let folder = Folder::new("loop");
    let mut supervisor = Gateway::run(loop_around(&start(&folder)), &folder);
    assert_eq!(supervisor.ask("PUT", "/memory/a", b"kept").status, 201);
    for generation in 2..=4 {
        let (value, code, said) = outcome(verb(&folder, "restart"));
        assert_eq!(
            (&value["status"], &value["generation"], code),
            (&"restarted".into(), &generation.into(), 0),
            "{said}"
        );
    }
    let last =
        supervisor.log().lines().rfind(|line| line.contains("ready on port")).unwrap().to_owned();
    supervisor.port = port_in(&last).unwrap();
    assert_eq!(supervisor.ask("GET", "/memory/a", b"").text(), "kept");
    let (value, code, _) = outcome(verb(&folder, "stop"));
    assert_eq!((&value["status"], code), (&"stopped".into(), 0));
    assert_eq!(supervisor.wait().code(), Some(0));
}

#[test]
fn stop_under_a_supervisor_that_starts_it_again_is_no_success() {
    let folder = Folder::new("always");
    let mut supervisor = Gateway::run(
        within(&["sh", "-c", "for i in 1 2 3 4 5; do \"$0\" \"$@\"; done"], &start(&folder)),
        &folder,
    );
    for generation in 2..=5 {
        let (value, code, said) = outcome(verb(&folder, "stop"));
        assert_eq!(
            (&value["reason"], code),
            (&"started again by its supervisor".into(), 1),
            "{value} {said}"
        );
        assert!(
            said.contains(&format!("its supervisor (pid {}, sh)", supervisor.pid()))
                && said.contains("stop that supervisor"),
            "{said}"
        );
        supervisor.wait_log(&format!("generation {generation},"));
    }
    let (value, code, _) = outcome(verb(&folder, "stop"));
    assert_eq!((value, code), (json!({ "status": "stopped", "reason": "graceful shutdown" }), 0));
    assert_eq!(supervisor.wait().code(), Some(0));
}

#[test]
fn stop_goes_to_clawinit_when_that_is_the_parent() {
    let folder = Folder::new("clawinit");
    let command = within(&["sh", "-c", CLAWINIT], &start(&folder));
    let mut init = Gateway::run(command, &folder);
    let status = init.ask("GET", "/status", b"").json();
    assert_eq!(status["supervisor"], json!({ "kind": "clawinit", "pid": init.pid().as_raw() }));
    let (value, code, said) = outcome(verb(&folder, "stop"));
    assert!(said.contains(&format!("sending SIGTERM to clawinit, pid {}", init.pid())), "{said}");
    assert_eq!((&value["reason"], code), (&"graceful shutdown".into(), 0));
    assert_eq!(init.wait().code(), Some(0));
    assert!(init.log().contains("forwarded"), "{}", init.log());
}

/// A PID namespace, as a container has, in which `words` and then a gateway run; none
/// where this kernel or user has none.
struct Container {
    init: Gateway,
    pid1: String,
}

impl Container {
    fn run(test: &str, words: &[&str], folder: &Folder) -> Option<Self> {
        if !is_root(test) {
            return None;
        }
        let unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
        let init = Gateway::spawn(within(&[&unshare, words].concat(), &start(folder)), folder);
        wait_for("a gateway in a namespace, or the refusal of unshare", || {
            port_in(&init.log()).is_some() || init.log().contains("unshare:")
        });
        if init.log().contains("unshare:") {
            println!("skipped: {test}: no PID namespace here: {}", init.log());
            return None;
        }
        let children =
            fs::read_to_string(format!("/proc/{0}/task/{0}/children", init.pid())).unwrap();
        Some(Self { pid1: children.trim().to_owned(), init })
    }

    /// The command, run there as by `docker exec`: its parent is outside.
    fn exec(&self, inner: &Command) -> Command {
        within(&["nsenter", "--target", &self.pid1, "--pid", "--mount"], inner)
    }
}

#[test]
fn stop_inside_a_container_prints_its_outcome_before_the_container_ends() {
    let test = "stop_inside_a_container_prints_its_outcome_before_the_container_ends";
    // What `docker run --init` does: another init above clawinit.
    let clawinit_below =
        format!("sh -c '{}' \"$0\" \"$@\"; exit $?", CLAWINIT.replace('\'', "'\\''"));
    let mut random = Random::new(test);
    for (name, words) in [
        ("gateway as PID 1", &[][..]),
        ("clawinit as PID 1", &["sh", "-c", CLAWINIT]),
        ("docker-init, clawinit", &["sh", "-c", &clawinit_below]),
        ("a shell as PID 1", &["sh", "-c", "\"$0\" \"$@\"; exit $?"]),
    ] {
        for round in 0..5 {
            let folder = Folder::new("namespace");
            let Some(mut container) = Container::run(test, words, &folder) else { return };
            std::thread::sleep(Duration::from_micros(random.below(2_000)));
            let (value, code, said) = outcome(container.exec(&verb(&folder, "stop")));
            assert_eq!(
                (&value["reason"], code),
                (&"graceful shutdown".into(), 0),
                "{name}, round {round}: {said}"
            );
            assert_eq!(container.init.wait().code(), Some(0), "{name}, round {round}");
        }
    }
}

#[test]
fn restart_of_a_gateway_that_is_pid_1_says_that_the_container_ends() {
    let test = "restart_of_a_gateway_that_is_pid_1_says_that_the_container_ends";
    for _ in 0..5 {
        let folder = Folder::new("pid-1");
        let Some(mut container) = Container::run(test, &[], &folder) else { return };
        let (value, code, said) = outcome(container.exec(&verb(&folder, "restart")));
        assert_eq!(
            (&value["reason"], code),
            (&"restart requested, and the container ends with the gateway".into(), 1),
            "{said}"
        );
        assert!(said.contains("restart policy"), "{said}");
        assert_eq!(container.init.wait().code(), Some(75));
    }
}

#[test]
fn stop_waits_for_the_name_of_a_gateway_that_starts_and_spares_who_has_the_old_pid() {
    let folder = Folder::new("starting");
    let mut gateway = Gateway::start(&folder);
    gateway.kill();
    let lock = folder.state().join("gateway.lock");
    let mut bystander = bystander(&lock);
    // Keeps the next generation between its lock and its name.
    let state = folder.state().join("state.json");
    fs::remove_file(&state).unwrap();
    nix::unistd::mkfifo(&state, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // Another name for it, which stays when the first is set aside.
    let feed = folder.state().join("feed");
    fs::hard_link(&state, &feed).unwrap();
    let mut next = Gateway::spawn(start(&folder), &folder);
    wait_for("the old name to be gone", || fs::read(&lock).unwrap().is_empty());
    let mut early = verb(&folder, "stop");
    early.args(["--timeout", "100ms"]);
    let output = early.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("has not written who it is"), "{said}");
    assert_eq!(output.status.code(), Some(1));

    let stop = std::thread::spawn({
        let command = verb(&folder, "stop");
        move || outcome(command)
    });
    // It opens the file more than once: to see whether it may, and to read it.
    wait_for("the stop", || {
        let pipe =
            fs::OpenOptions::new().write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&feed);
        let _ = pipe.and_then(|mut pipe| pipe.write_all(b"no state"));
        stop.is_finished()
    });
    let (value, code, said) = stop.join().unwrap();
    assert!(bystander.is_alive(), "a process that is no gateway was signalled: {said}");
    assert_eq!((&value["reason"], code), (&"graceful shutdown".into(), 0), "{said}");
    assert!(said.contains(&format!("the gateway, pid {}", next.pid())), "{said}");
    assert_eq!(next.wait().code(), Some(0));
}

#[test]
fn name_of_a_process_that_is_gone_is_signalled_by_nobody() {
    let folder = Folder::new("gone");
    let mut gateway = Gateway::start(&folder);
    gateway.kill();
    let path = folder.state().join("gateway.lock");
    let mut bystander = bystander(&path);
    // The moment in which the next generation has the lock and nothing more.
    let held = fs::File::open(&path).unwrap();
    held.lock().unwrap();
    for name in ["stop", "restart"] {
        let mut command = verb(&folder, name);
        command.args(["--timeout", "100ms"]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
    }
    assert!(bystander.is_alive(), "a process that is no gateway was signalled");
}

#[test]
fn port_or_url_of_another_gateway_is_refused_before_anything_is_sent() {
    let folder = Folder::new("other-port");
    let mut gateway = Gateway::start(&folder);
    for name in ["stop", "restart"] {
        let mut by_port = verb(&folder, name);
        by_port.args(["--port", "9"]);
        let mut by_url = verb(&folder, name);
        by_url.env("GATEWAY_URL", "http://some-other-host:9");
        for (source, command) in [("--port", by_port), ("GATEWAY_URL", by_url)] {
            let (line, code) = failure(command);
            assert!(
                line.starts_with(&format!("openclaw: {source}: the gateway on "))
                    && line.contains(&format!("has port {}, not 9; leave", gateway.port)),
                "{line}"
            );
            assert_eq!(code, 2);
        }
    }
    let status = gateway.ask("GET", "/status", b"").json();
    assert_eq!((&status["status"], &status["generation"]), (&"running".into(), &1.into()));
    assert_eq!(gateway.end(Signal::SIGTERM), 0);
}

#[test]
fn url_with_a_service_name_and_the_right_port_is_no_obstacle() {
    let folder = Folder::new("service-name");
    let mut command = start(&folder);
    command.args(["--on-restart", "exec"]);
    let mut gateway = Gateway::run(command, &folder);
    // The port is any free one, and another after each start.
    let with_url = |name: &str| {
        let text = fs::read_to_string(folder.state().join("gateway.lock")).unwrap();
        let port = serde_json::from_str::<Value>(&text).unwrap()["port"].clone();
        let mut command = verb(&folder, name);
        command.env("GATEWAY_URL", format!("http://openclaw-gateway.invalid:{port}"));
        outcome(command)
    };
    let (value, code, said) = with_url("restart");
    assert_eq!((&value["status"], code), (&"restarted".into(), 0), "{said}");
    let (value, code, said) = with_url("stop");
    assert_eq!((&value["status"], code), (&"stopped".into(), 0), "{said}");
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn verbs_find_a_gateway_on_any_address_whoever_has_its_port_on_another() {
    for address in ["127.0.0.1", "127.0.0.2", "::1", "::", "0.0.0.0"] {
        if address.contains(':') && TcpListener::bind("[::1]:0").is_err() {
            println!("skipped: {address}: no IPv6 here");
            continue;
        }
        // The same port on another address, where there is one left.
        let other = match address {
            "127.0.0.2" | "::1" => Some(TcpListener::bind("127.0.0.1:0").unwrap()),
            "127.0.0.1" => Some(TcpListener::bind("127.0.0.2:0").unwrap()),
            _ => None,
        };
        let port = other.as_ref().map_or(0, |other| other.local_addr().unwrap().port());
        let folder = Folder::new("address");
        let mut command = verb(&folder, "start");
        command.args(["--port", &port.to_string(), "--bind", address, "--on-restart", "exec"]);
        let mut gateway = Gateway::run(command, &folder);
        let (value, code, said) = outcome(verb(&folder, "status"));
        assert_eq!((&value["status"], code), (&"running".into(), 0), "{address}: {said}");
        let mut by_port = verb(&folder, "status");
        by_port.args(["--port", &gateway.port.to_string()]);
        let (value, code, said) = outcome(by_port);
        assert_eq!((&value["generation"], code), (&1.into(), 0), "{address}: {said}");
        let (value, code, said) = outcome(verb(&folder, "restart"));
        assert_eq!((&value["status"], code), (&"restarted".into(), 0), "{address}: {said}");
        let (value, code, said) = outcome(verb(&folder, "stop"));
        assert_eq!((&value["status"], code), (&"stopped".into(), 0), "{address}: {said}");
        assert_eq!(gateway.wait().code(), Some(0));
    }
}

#[test]
fn status_waits_as_long_as_it_was_told_and_says_so_in_words() {
    let folder = Folder::new("patient");
    let gateway = Gateway::start(&folder);
    gateway.signal(Signal::SIGSTOP);
    let begun = Instant::now();
    let mut command = verb(&folder, "status");
    command.args(["--timeout", "2300ms"]);
    let (value, code, said) = outcome(command);
    assert_eq!((&value["reason"], code), (&"no answer within 2300 ms".into(), 1), "{said}");
    assert!(begun.elapsed() >= Duration::from_millis(2300), "{:?}", begun.elapsed());
    let mut command = verb(&folder, "status");
    command.args(["--timeout", "0s"]);
    let (value, code, _) = outcome(command);
    assert_eq!((&value["reason"], code), (&"no answer within 0 s".into(), 1));
}

#[test]
fn address_that_nothing_answers_at_is_no_clean_stop() {
    let folder = Folder::new("typo");
    let mut by_url = verb(&folder, "status");
    by_url.env("GATEWAY_URL", "http://127.0.0.1:1");
    let mut by_port = verb(&folder, "status");
    by_port.args(["--port", "1"]);
    let mut by_name = verb(&folder, "status");
    by_name.env("GATEWAY_URL", "http://nowhere.invalid:8888");
    for (name, command) in [
        ("http://127.0.0.1:1", by_url),
        ("port 1", by_port),
        ("http://nowhere.invalid:8888", by_name),
    ] {
        let (value, code, said) = outcome(command);
        assert_eq!((&value["status"], code), (&"unknown".into(), 1), "{said}");
        assert!(said.contains(&format!("the gateway at {name} does not answer")), "{said}");
    }
}

#[test]
fn stop_needs_no_token_and_status_goes_on_without_it() {
    let folder = Folder::new("no-token");
    let mut gateway = Gateway::start(&folder);
    let with_file = |name: &str| {
        let mut command = verb(&folder, name);
        command.env_remove("GATEWAY_TOKEN").env("GATEWAY_TOKEN_FILE", "/nowhere");
        outcome(command)
    };
    let (value, code, said) = with_file("status");
    assert_eq!((value, code), (json!({ "status": "running", "uptime": 0 }), 0));
    assert!(said.contains("asking without the token: GATEWAY_TOKEN_FILE: /nowhere: "), "{said}");
    let (value, code, said) = with_file("stop");
    assert_eq!((&value["status"], code), (&"stopped".into(), 0), "{said}");
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn lock_is_its_owners_and_the_watch_anybodys_to_read() {
    let folder = Folder::new("modes");
    fs::create_dir(folder.state()).unwrap();
    // As older versions left it.
    let lock = folder.state().join("gateway.lock");
    fs::write(&lock, "").unwrap();
    fs::set_permissions(&lock, fs::Permissions::from_mode(0o644)).unwrap();
    let _gateway = Gateway::start(&folder);
    for (name, mode) in [("gateway.lock", 0o600), ("gateway.watch", 0o644)] {
        let found = fs::metadata(folder.state().join(name)).unwrap().permissions().mode();
        assert_eq!(found & 0o7777, mode, "{name}: {found:o}");
    }
}
