//! The gateway under clawinit itself: the socket that it keeps open, what it is told, and
//! what it does when it is told nothing any more. `CLAWINIT_BIN` names the program, or it
//! lies beside the gateway; without one these tests are skipped.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{
    Client, Folder, Gateway, OPENCLAW, PATIENCE, free_port, outcome, request, start, verb, wait_for,
};
use crate::sockets::{Over, kept_alive, one_each};

/// The program, if there is one.
fn clawinit(test: &str) -> Option<PathBuf> {
    let path = std::env::var_os("CLAWINIT_BIN")
        .map_or_else(|| Path::new(OPENCLAW).with_file_name("clawinit"), PathBuf::from);
    let knows = Command::new(&path).arg("--help").output().ok().map(|output| output.stdout);
    if knows.is_some_and(|help| String::from_utf8_lossy(&help).contains("--listen ")) {
        return Some(path);
    }
    println!("skipped: {test}: no clawinit with --listen at {}", path.display());
    None
}

/// `clawinit OPTIONS… openclaw gateway start …`, with the environment of `inner`.
fn under(clawinit: &Path, options: &[&str], inner: &Command) -> Command {
    let mut command = Command::new(clawinit);
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.args(["--stable-after", "0s", "--restart-delay", "10ms", "--restart", "on-failure"]);
    command.args(["--stop-grace", "15s"]);
    command.args(options).arg("--").arg(inner.get_program()).args(inner.get_args());
    command
}

/// A clawinit that takes its gateway along, also when the test fails: killed outright, it
/// would leave it running.
struct Init(Gateway);

impl Init {
    fn run(clawinit: &Path, options: &[&str], inner: &Command, folder: &Folder) -> Self {
        Self(Gateway::run(under(clawinit, options, inner), folder))
    }
}

impl Deref for Init {
    type Target = Gateway;

    fn deref(&self) -> &Gateway {
        &self.0
    }
}

impl DerefMut for Init {
    fn deref_mut(&mut self) -> &mut Gateway {
        &mut self.0
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        let until = Instant::now() + PATIENCE;
        if self.0.ending().is_none() {
            self.0.signal(Signal::SIGTERM);
        }
        while self.0.ending().is_none() && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Its status page, as `/status` of the gateway has it.
fn status(port: u16) -> Option<serde_json::Value> {
    let mut client = Client::try_connect(port).ok()?;
    let answer = client.try_ask("GET", "/status", b"")?;
    serde_json::from_slice(&answer.body).ok()
}

fn gateway_pid(port: u16) -> Pid {
    let status = status(port).expect("an answer");
    Pid::from_raw(status["pid"].as_i64().unwrap() as i32)
}

#[test]
fn no_client_notices_twenty_restarts_of_clawinit() {
    let test = "no_client_notices_twenty_restarts_of_clawinit";
    let Some(clawinit) = clawinit(test) else { return };
    let folder = Folder::new("clawinit-steady");
    let port = free_port();
    let options = ["--notify", "--listen", &format!("127.0.0.1:{port}=gateway")];
    let init = Init::run(&clawinit, &options, &start(&folder), &folder);
    assert_eq!(init.port, port);
    assert_eq!(init.ask("PUT", "/memory/a", b"kept").status, 201);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let new: Vec<_> = (0..3).map(|_| scope.spawn(|| one_each(port, &over))).collect();
        let kept: Vec<_> = (0..3).map(|_| scope.spawn(|| kept_alive(port, &over))).collect();
        let until_over = Over(&over);
        for generation in 2..=21 {
            let (value, code, said) = outcome(verb(&folder, "restart"));
            assert_eq!(
                (&value["status"], &value["generation"], code),
                (&"restarted".into(), &generation.into(), 0),
                "{said}\n{}",
                init.log()
            );
        }
        drop(until_over);
        for (name, clients) in [("one request each", new), ("kept alive", kept)] {
            for client in clients {
                let tally = client.join().expect("a client that noticed nothing");
                assert!(tally.answered > 20, "{tally:?}");
                println!("{name}: {tally:?}");
            }
        }
    });
}

#[test]
fn restart_of_clawinit_waits_until_the_gateway_is_ready() {
    let test = "restart_of_clawinit_waits_until_the_gateway_is_ready";
    let Some(clawinit) = clawinit(test) else { return };
    let folder = Folder::new("clawinit-ready");
    let port = free_port();
    let options = ["--notify", "--listen", &format!("127.0.0.1:{port}")];
    let mut init = Init::run(&clawinit, &options, &start(&folder), &folder);
    let pid = init.pid().to_string();
    for generation in 2..=4 {
        let restart = Command::new(&clawinit).args(["restart", "--pid", &pid]).output().unwrap();
        assert_eq!(restart.status.code(), Some(0), "{restart:?}\n{}", init.log());
        let ready = init.ask("GET", "/ready", b"");
        assert_eq!(ready.status, 200, "{}", ready.text());
        assert_eq!(status(port).unwrap()["generation"], generation);
    }
    assert_eq!(init.end(Signal::SIGTERM), 0);
    assert!(Client::try_connect(port).is_err(), "the port is free");
}

#[test]
fn stop_of_the_gateway_ends_clawinit_and_frees_the_port() {
    let test = "stop_of_the_gateway_ends_clawinit_and_frees_the_port";
    let Some(clawinit) = clawinit(test) else { return };
    let folder = Folder::new("clawinit-stop");
    let port = free_port();
    let options = ["--listen", &format!("127.0.0.1:{port}")];
    let mut init = Init::run(&clawinit, &options, &start(&folder), &folder);
    let stop = thread::spawn({
        let command = verb(&folder, "stop");
        move || outcome(command)
    });
    assert_eq!(init.wait().code(), Some(0));
    let (value, code, said) = stop.join().unwrap();
    assert_eq!((&value["reason"], code), (&"graceful shutdown".into(), 0), "{said}");
    assert!(!said.contains("is taken by"), "{said}");
    assert!(Client::try_connect(port).is_err());
}

#[test]
fn who_waits_is_answered_after_a_crash() {
    let test = "who_waits_is_answered_after_a_crash";
    let Some(clawinit) = clawinit(test) else { return };
    let folder = Folder::new("clawinit-crash");
    let port = free_port();
    let options = ["--restart-delay", "500ms", "--listen", &format!("127.0.0.1:{port}")];
    let init = Init::run(&clawinit, &options, &start(&folder), &folder);
    assert_eq!(init.ask("PUT", "/memory/a", b"kept").status, 201);
    kill(gateway_pid(port), Signal::SIGKILL).unwrap();
    let mut waiting: Vec<Client> = (0..20).map(|_| Client::connect(port)).collect();
    for client in &mut waiting {
        client.send(request("GET", "/memory/a", 0));
    }
    for client in &mut waiting {
        assert_eq!(client.answer().text(), "kept");
    }
    assert_eq!(status(port).unwrap()["generation"], 2);
}

#[test]
fn gateway_that_stands_still_is_replaced_by_the_watchdog() {
    let test = "gateway_that_stands_still_is_replaced_by_the_watchdog";
    let Some(clawinit) = clawinit(test) else { return };
    let folder = Folder::new("clawinit-watchdog");
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let options = ["--notify", "--watchdog", "1s", "--restart-grace", "500ms", "--listen", &listen];
    let mut init = Init::run(&clawinit, &options, &start(&folder), &folder);
    // One that works is left alone.
    let begun = Instant::now();
    wait_for("three times the watchdog", || begun.elapsed() > Duration::from_secs(3));
    assert_eq!(status(port).unwrap()["generation"], 1);
    // Once more for each SIGCONT: as a loop that hangs, it does nothing more.
    let hung = gateway_pid(port);
    let begun = Instant::now();
    wait_for("the end of the one that hangs", || kill(hung, Signal::SIGSTOP).is_err());
    println!("ended after {:?}", begun.elapsed());
    let mut waiting = Client::connect(port);
    waiting.send(request("GET", "/health", 0));
    wait_for("the next generation", || {
        status(port).is_some_and(|status| status["generation"] == 2)
    });
    println!("replaced after {:?}", begun.elapsed());
    assert_eq!(waiting.answer().status, 200);
    assert_eq!(init.end(Signal::SIGTERM), 0);
}

#[test]
fn number_in_a_variable_is_listened_on() {
    let test = "number_in_a_variable_is_listened_on";
    let Some(clawinit) = clawinit(test) else { return };
    let folder = Folder::new("clawinit-fd");
    let port = free_port();
    let mut shell = Command::new("sh");
    let inner = start(&folder);
    shell.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.args(["-c", "unset LISTEN_FDS; exec \"$0\" \"$@\" --fd $FD"]);
    shell.arg(inner.get_program()).args(inner.get_args());
    let options = ["--listen-env", "FD", "--listen", &format!("127.0.0.1:{port}")];
    let mut init = Init::run(&clawinit, &options, &shell, &folder);
    assert_eq!(init.port, port);
    assert_eq!(init.end(Signal::SIGTERM), 0);
}

#[test]
fn gateway_that_restarts_in_place_is_ready_anew() {
    let test = "gateway_that_restarts_in_place_is_ready_anew";
    let Some(clawinit) = clawinit(test) else { return };
    let folder = Folder::new("clawinit-in-place");
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let options = ["--notify", "--restart-style", "in-place", "--listen", &listen];
    let mut command = start(&folder);
    command.args(["--on-restart", "exec"]);
    let mut init = Init::run(&clawinit, &options, &command, &folder);
    let own = gateway_pid(port);
    for generation in 2..=4 {
        let (value, code, said) = outcome(verb(&folder, "restart"));
        assert_eq!(
            (&value["status"], &value["generation"], code),
            (&"restarted".into(), &generation.into(), 0),
            "{said}\n{}",
            init.log()
        );
        assert_eq!(gateway_pid(port), own);
    }
    init.wait_log("restarted in place: the child is ready again");
    assert_eq!(init.end(Signal::SIGTERM), 0);
}
