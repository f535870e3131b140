//! The images in Docker: stopping, restarting, and what is left afterwards.

use crate::engine::{
    Container, Engine, TOKEN, TempFile, Volume, children, clawinit, free_port, gateway, name,
    package, status_field, until, zombies,
};
use crate::http;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

const DOCKER: Engine = Engine::Docker;

/// A gateway without work is gone long before this.
const SOON: Duration = Duration::from_secs(3);

pub fn absent() -> Option<String> {
    DOCKER.absent()
}

pub fn the_scratch_image_runs_without_root_and_capabilities_on_a_read_only_root() {
    let container = DOCKER.gateway(&[
        "--read-only",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        "--pids-limit=32",
        "--memory=64m",
    ]);
    let init = container.pid();
    let gateway = *children(init).first().expect("the gateway");
    for pid in [init, gateway] {
        for (field, wanted) in [
            ("Uid", "65532\t65532\t65532\t65532"),
            ("Gid", "65532\t65532\t65532\t65532"),
            ("CapEff", "0000000000000000"),
            ("CapPrm", "0000000000000000"),
            ("CapBnd", "0000000000000000"),
            ("NoNewPrivs", "1"),
        ] {
            assert_eq!(status_field(pid, field), wanted, "{field} of {pid}");
        }
    }
    assert_eq!(container.inspect("{{.HostConfig.ReadonlyRootfs}}"), "true");
    container.remember("place", "a volume");
    assert_eq!(container.recall("place"), "a volume");
    container.stop("20");
    assert_eq!(container.wait(), 0);
}

/// What the README tells a new user to write into a Dockerfile, as it stands there.
pub fn the_dockerfile_of_the_readme_works_with_the_command_below_it() {
    let readme = std::fs::read_to_string(package().join("README.md")).expect("README.md");
    let block = |kind: &str| {
        let fence = format!("```{kind}\n");
        let rest = readme.split_once(&fence).unwrap_or_else(|| panic!("no {fence} block")).1;
        rest.split_once("```").expect("its end").0
    };
    let folder = TempFile::new("readme");
    let data = Path::new(folder.text()).join("data");
    std::fs::create_dir_all(&data).expect("a folder to build in");
    std::fs::copy(clawinit(), data.with_file_name("clawinit")).expect("copy clawinit");
    std::fs::copy(gateway(), data.with_file_name("openclaw")).expect("copy openclaw");
    std::fs::write(data.with_file_name("Dockerfile"), block("dockerfile")).expect("Dockerfile");
    let image = name("readme");
    DOCKER.say(&["build", "--quiet", "--tag", &image, folder.text()]).fine();
    std::fs::remove_dir_all(folder.text()).expect("remove the folder");

    // The options of its `docker run`, but for the port and the names, which are the test's.
    let run = readme.split_once("docker run -d --name gateway ").expect("docker run").1;
    let run = run.split_once("clawinit:scratch").expect("the image").0.replace('\\', " ");
    let token = format!("GATEWAY_TOKEN={TOKEN}");
    let volume = Volume::new(DOCKER);
    let mut options = Vec::new();
    let mut words = run.split_whitespace();
    while let Some(word) = words.next() {
        match word {
            "-p" => drop(words.next()),
            "-v" => {
                let mount = words.next().expect("a mount").replace("gateway-data", &volume.name);
                options.extend([word.to_owned(), mount]);
            }
            "-e" => {
                words.next();
                options.extend([word.to_owned(), token.clone()]);
            }
            word => options.push(word.to_owned()),
        }
    }
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let container = DOCKER.start(&options, &image, &[]);
    container.ready();
    container.remember("key", "as the README says");
    assert_eq!(container.recall("key"), "as the README says");
    container.stop("30");
    assert_eq!(container.wait(), 0);
    drop(container);
    DOCKER.say(&["rmi", &image]).fine();
}

pub fn docker_stop_leaves_0_within_the_gateways_own_time() {
    let container = DOCKER.gateway(&[]);
    container.remember("key", "value");
    let took = container.stop("30");
    assert!(took < SOON, "docker stop took {took:?}\n{}", container.logs());
    assert_eq!(container.wait(), 0);
    let logs = container.logs();
    for line in
        ["stop requested by pid 0 (outside the container): SIGTERM", "Graceful shutdown initiated"]
    {
        assert!(logs.contains(line), "{line:?} is not in\n{logs}");
    }
}

pub fn a_request_under_way_is_answered_before_the_container_ends() {
    let container = DOCKER.gateway(&[]);
    let mut stream = http::connect(container.address()).expect("connect");
    stream.write_all(http::head("PUT", "/memory/late", TOKEN, 10).as_bytes()).expect("write");
    stream.write_all(b"12345").expect("write");
    let answer = std::thread::scope(|threads| {
        let stopping = threads.spawn(|| container.stop("30"));
        container.says("Graceful shutdown initiated");
        stream.write_all(b"67890").expect("write");
        let answer = http::answer(stream).expect("an answer");
        let took = stopping.join().expect("docker stop");
        assert!(took < SOON, "docker stop took {took:?} after the answer");
        answer
    });
    assert!((200..300).contains(&answer.0), "{answer:?}");
    assert_eq!(container.wait(), 0);
    DOCKER.say(&["start", &container.name]).fine();
    container.ready();
    assert_eq!(container.recall("late"), "1234567890");
}

/// What must not change when the gateway restarts.
fn identity(container: &Container) -> String {
    container.inspect("{{.Id}} {{.State.StartedAt}} {{.State.Pid}} {{.RestartCount}}")
}

pub fn docker_kill_usr1_brings_a_new_generation_with_the_memory_kept() {
    let container = DOCKER.gateway(&["--restart=on-failure"]);
    container.remember("key", "kept over a signal");
    let before = identity(&container);
    assert!(before.ends_with(" 0"), "restarts of the container: {before}");
    container.kill("USR1");
    container.generation(2);
    assert_eq!(identity(&container), before);
    assert_eq!(container.recall("key"), "kept over a signal");
    container.says("restart requested by pid 0 (outside the container): SIGUSR1");
}

pub fn gateway_restart_by_docker_exec_brings_a_new_generation_with_the_memory_kept() {
    let container = DOCKER.gateway(&["--restart=on-failure"]);
    container.remember("key", "kept over a verb");
    let before = identity(&container);
    let said = container.exec(&["/openclaw", "gateway", "restart"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let outcome: Value = serde_json::from_str(&said.out).expect("JSON on standard output");
    assert_eq!(outcome["status"], "restarted", "{said:?}");
    assert_eq!(outcome["generation"], 2, "{said:?}");
    // The verb says so when it is so: no wait here.
    assert_eq!(container.status().expect("a status")["generation"], 2);
    assert_eq!(identity(&container), before);
    assert_eq!(container.recall("key"), "kept over a verb");
}

pub fn restarts_in_a_row_keep_the_container() {
    let container = DOCKER.gateway(&["--restart=on-failure"]);
    container.remember("key", "kept over many");
    let before = identity(&container);
    for generation in 2..=11 {
        container.kill("USR1");
        container.generation(generation);
    }
    assert_eq!(identity(&container), before);
    assert_eq!(container.recall("key"), "kept over many");
    assert!(zombies(container.pid()).is_empty());
}

/// A shell script under clawinit in the image with a small shell.
fn script(options: &[&str], text: &str) -> Container {
    DOCKER.start(options, &DOCKER.image("alpine-like"), &["sh", "-c", text])
}

pub fn processes_of_docker_exec_outlive_a_restart() {
    let container = script(&[], "trap 'exit 75' USR1; echo up; while :; do sleep 0.1; done");
    container.says("up");
    DOCKER.say(&["exec", "--detach", &container.name, "sleep", "12345"]).fine();
    let guest = || {
        let top = DOCKER.say(&["top", &container.name, "-eo", "pid,args"]).fine();
        top.lines().find_map(|line| Some(line.strip_suffix(" sleep 12345")?.trim().to_string()))
    };
    let before = until("the process of docker exec", guest);
    container.kill("USR1");
    container.says("generation 2 started");
    assert_eq!(guest(), Some(before));
    assert!(!container.logs().contains("sweeping"), "{}", container.logs());
}

/// A termination message file, and the option that mounts it where Kubernetes would.
fn termination_message() -> (TempFile, String) {
    let file = TempFile::with("termination-log", "");
    let option = format!("--volume={}:/dev/termination-log", file.text());
    (file, option)
}

fn report(file: &TempFile) -> Value {
    let text = file.read();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

/// The stop lasted as long as its grace, and hardly longer.
fn was_killed_at(report: &Value, grace: f64) {
    assert_eq!(report["killed"], true, "{report}");
    let took = report["stop_seconds"].as_f64().expect("a time");
    assert!(took >= grace, "killed after {took} s, before the grace of {grace} s\n{report}");
    assert!(took < grace + 0.5, "killed after {took} s, long past {grace} s\n{report}");
}

pub fn a_child_deaf_to_sigterm_is_killed_at_the_grace_and_not_before() {
    let (file, mount) = termination_message();
    let container = DOCKER.start(
        &["--env=CLAWINIT_STOP_GRACE=2s", &mount],
        &DOCKER.image("debian"),
        &["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"],
    );
    container.says("deaf");
    container.stop("20");
    assert_eq!(container.wait(), 137);
    assert_eq!(container.inspect("{{.State.ExitCode}} {{.State.OOMKilled}}"), "137 false");
    was_killed_at(&report(&file), 2.0);
    container.says("the time is up: SIGKILL for");
}

pub fn a_gateway_that_drains_for_longer_than_the_grace_is_killed_at_the_grace() {
    let (file, mount) = termination_message();
    let token = format!("--env=GATEWAY_TOKEN={TOKEN}");
    let container = DOCKER.start(
        &[&token, "--env=CLAWINIT_STOP_GRACE=2s", &mount],
        &DOCKER.image("scratch"),
        &["/openclaw", "gateway", "start", "--drain-time", "60s"],
    );
    container.ready();
    container.remember("key", "acknowledged");
    // A request that never comes to its end keeps the gateway draining.
    let mut stream = http::connect(container.address()).expect("connect");
    stream.write_all(http::head("PUT", "/memory/never", TOKEN, 10).as_bytes()).expect("write");
    stream.write_all(b"12345").expect("write");
    container.stop("20");
    assert_eq!(container.wait(), 137);
    let report = report(&file);
    was_killed_at(&report, 2.0);
    assert_eq!(report["child_signal"], "SIGKILL", "{report}");
    drop(stream);
    // What was acknowledged is there all the same.
    DOCKER.say(&["start", &container.name]).fine();
    container.ready();
    assert_eq!(container.recall("key"), "acknowledged");
}

pub fn gateway_stop_by_docker_exec_ends_the_container_and_on_failure_leaves_it_down() {
    let container = DOCKER.gateway(&["--restart=on-failure"]);
    let said = container.exec(&["/openclaw", "gateway", "stop"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let outcome: Value = serde_json::from_str(&said.out).expect("JSON on standard output");
    assert_eq!(outcome["status"], "stopped", "{said:?}");
    assert_eq!(outcome["reason"], "graceful shutdown", "{said:?}");
    assert_eq!(container.wait(), 0);
    // Docker decides about a restart in the moment of the exit: `restarting` would show it.
    assert_eq!(container.inspect("{{.State.Status}} {{.RestartCount}}"), "exited 0");
}

pub fn on_failure_brings_back_a_gateway_that_was_killed() {
    let container = DOCKER.gateway(&["--restart=on-failure"]);
    container.remember("key", "acknowledged");
    let gateway = *children(container.pid()).first().expect("the gateway");
    kill(Pid::from_raw(gateway), Signal::SIGKILL).expect("kill the gateway");
    until("a restart of the container", || {
        (container.inspect("{{.RestartCount}} {{.State.Running}}") == "1 true").then_some(())
    });
    container.ready();
    assert_eq!(container.recall("key"), "acknowledged");
}

pub fn on_failure_brings_back_a_child_that_crashed() {
    let container = script(&["--restart=on-failure:2"], "exit 3");
    until("two restarts of the container", || {
        (container.inspect("{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}")
            == "2 exited 3")
            .then_some(())
    });
}

pub fn orphans_leave_no_zombies() {
    let container = script(
        &[],
        "i=0; while [ $i -lt 300 ]; do ( sh -c 'sleep 0.2 &' ); i=$((i+1)); done
         echo spawned; exec sleep 1000",
    );
    container.says("spawned");
    let init = container.pid();
    until("all orphans to be gone", || (children(init).len() == 1).then_some(()));
    assert!(zombies(init).is_empty());
    // `sleep` as the child of PID 1 has no handler, and ends by the signal itself.
    container.stop("20");
    assert_eq!(container.wait(), 143);
}

/// The kernel's OOM killer and anybody's `kill -9` look the same to wait(2).
pub fn a_child_that_runs_out_of_memory_is_told_from_one_that_was_killed() {
    let options = ["--memory", "24m", "--memory-swap", "24m"];
    // A line without an end: tail keeps all of it.
    let hungry = script(&options, "exec tail -n 1 /dev/zero");
    assert_eq!(hungry.wait(), 137);
    let logs = hungry.logs();
    let told = "was ended by SIGKILL after";
    let oom = ": out of memory, by the kernel's OOM killer";
    assert!(logs.lines().any(|l| l.contains(told) && l.ends_with(oom)), "{logs}");
    // A worker that the child waits for: the shell hands its 137 on.
    let worker = script(&options, "tail -n 1 /dev/zero; exit $?");
    assert_eq!(worker.wait(), 137);
    let logs = worker.logs();
    assert!(logs.lines().any(|l| l.contains("exited with 137") && l.ends_with(oom)), "{logs}");
    let killed = script(&options, "kill -9 $$");
    assert_eq!(killed.wait(), 137);
    let logs = killed.logs();
    assert!(logs.contains(told) && !logs.contains("out of memory"), "{logs}");
}

pub fn leftovers_are_told_to_end_before_the_container_ends() {
    let container = script(
        &[],
        "( setsid sh -c 'trap \"echo told; exit\" TERM; echo armed; while :; do sleep 0.1; done' & )
         sleep 1000",
    );
    container.says("armed");
    container.stop("20");
    assert_eq!(container.wait(), 143);
    let logs = container.logs();
    assert!(logs.contains("sweeping what the child left: SIGTERM to"), "{logs}");
    assert!(logs.lines().any(|line| line == "told"), "{logs}");
}

/// Does what writes log lines, and looks for the token in all that others can see.
fn shows_no_token(container: &Container) {
    container.remember("key", "value");
    http::ask(container.address(), "GET", "/memory/key", "wrong", "").expect("an answer");
    container.exec(&["/openclaw", "gateway", "status"]);
    container.kill("USR1");
    container.generation(2);
    let top = DOCKER.say(&["top", &container.name, "-eo", "pid,args"]).fine();
    assert!(top.contains("/openclaw gateway start"), "{top}");
    assert!(!top.contains(TOKEN), "docker top shows the token:\n{top}");
    container.stop("20");
    let logs = container.logs();
    assert!(logs.contains("signal-forwarded") || logs.contains("sent to the child"), "{logs}");
    assert!(!logs.contains(TOKEN), "the log shows the token:\n{logs}");
}

pub fn the_token_is_in_no_log_and_no_process_list() {
    let talk = ["/openclaw", "gateway", "start", "--log-level", "debug"];
    let image = DOCKER.image("scratch");
    let token = format!("--env=GATEWAY_TOKEN={TOKEN}");
    let by_variable = DOCKER.start(&[&token, "--env=CLAWINIT_LOG_LEVEL=trace"], &image, &talk);
    by_variable.ready();
    shows_no_token(&by_variable);

    let file = TempFile::with("token", &format!("{TOKEN}\n"));
    let mount = format!("--volume={}:/run/secrets/token:ro", file.text());
    let by_file = DOCKER.start(
        &[&mount, "--env=GATEWAY_TOKEN_FILE=/run/secrets/token", "--env=CLAWINIT_LOG_LEVEL=trace"],
        &image,
        &talk,
    );
    by_file.ready();
    shows_no_token(&by_file);
    assert!(!by_file.inspect("{{json .}}").contains(TOKEN));
}

pub fn the_port_is_free_right_after_docker_stop() {
    let port = free_port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let variable = format!("--env=GATEWAY_PORT={port}");
    let start = || {
        // The host's own network: nothing of Docker stands between the gateway and the port.
        let container = DOCKER.start(&["--network=host", &variable], &DOCKER.image("scratch"), &[]);
        until("a gateway that is ready", || {
            matches!(http::ask(address, "GET", "/ready", "", ""), Ok((200, _))).then_some(())
        });
        container
    };
    let first = start();
    // A client that stays connected does not keep the port.
    let idle = http::connect(address).expect("connect");
    first.stop("20");
    let bound = TcpListener::bind(("0.0.0.0", port));
    assert!(bound.is_ok(), "{bound:?}\n{}", first.logs());
    drop(bound);
    let second = start();
    second.stop("20");
    drop(idle);
    assert_eq!((first.wait(), second.wait()), (0, 0));
}

pub fn the_memory_on_a_named_volume_outlives_the_container() {
    let volume = Volume::new(DOCKER);
    let mount = format!("--volume={}:/data", volume.name);
    let first = DOCKER.gateway(&["--read-only", "--cap-drop=ALL", &mount]);
    first.remember("key", "older than its container");
    first.stop("20");
    drop(first);
    let second = DOCKER.gateway(&["--read-only", "--cap-drop=ALL", &mount]);
    assert_eq!(second.recall("key"), "older than its container");
    assert_eq!(second.status().expect("a status")["generation"], 2);
}

pub fn the_termination_message_holds_the_report() {
    let (file, mount) = termination_message();
    let container = DOCKER.gateway(&["--read-only", &mount, "--env=CLAWINIT_PORT=8888"]);
    container.kill("USR1");
    container.generation(2);
    container.stop("20");
    assert_eq!(container.wait(), 0);
    let report = report(&file);
    for (field, wanted) in [
        ("cause", Value::from("stop")),
        ("exit_code", Value::from(0)),
        ("child_exit_code", Value::from(0)),
        ("signal", Value::from("SIGTERM")),
        ("killed", Value::from(false)),
        ("generations", Value::from(2)),
    ] {
        assert_eq!(report[field], wanted, "{field} in {report}");
    }
    assert_eq!(report["sender"]["pid"], 0, "{report}");
    assert_eq!(report["restarts"]["signal"], 1, "{report}");
    assert!(report["port_release_seconds"].as_f64().is_some_and(|time| time < 3.0), "{report}");
    assert!(file.read().len() <= 4096);
}

/// The verbs as somebody on call types them, also the one that ends the container it runs in;
/// and the report where Docker has no termination message.
pub fn the_verbs_of_docker_exec_tell_how_it_went_and_docker_cp_has_the_report() {
    let volume = Volume::new(DOCKER);
    let mount = format!("--volume={}:/data", volume.name);
    let report_at = "--env=CLAWINIT_TERMINATION_LOG=/data/termination.json";
    // As root, with the child as another: the usual capabilities have no CAP_SYS_PTRACE.
    let user = ["--user=0", "--env=CLAWINIT_USER=65532:65532"];
    let options = [&["--read-only", &mount, report_at][..], &user].concat();
    let container = DOCKER.gateway(&options);
    let status = container.exec(&["/clawinit", "status"]);
    assert_eq!(status.code, Some(0), "{}{}", status.out, status.err);
    assert!(status.out.starts_with("phase      running for "), "{}", status.out);
    assert!(status.out.contains("\ncommand    /openclaw gateway start\n"), "{}", status.out);
    let url = "http://127.0.0.1:8888/ready";
    let restarted = container.exec(&["/clawinit", "restart", "--wait-for", url]);
    assert_eq!(restarted.code, Some(0), "{}{}", restarted.out, restarted.err);
    assert!(restarted.out.contains(": generation 2, pid "), "{}", restarted.out);
    let words = ["/clawinit", "health", "--expect-json", "status=running"];
    let healthy = container.exec(&[&words[..], &["http://127.0.0.1:8888/status"]].concat());
    assert_eq!(healthy.code, Some(0), "{}{}", healthy.out, healthy.err);
    let stopped = container.exec(&["/clawinit", "stop"]);
    assert_eq!(stopped.code, Some(0), "{}{}", stopped.out, stopped.err);
    assert!(stopped.out.contains("\nstopped in "), "{}", stopped.out);
    assert!(stopped.out.ends_with(", exit code 0\n"), "{}", stopped.out);
    assert_eq!(container.wait(), 0);
    let file = TempFile::new("termination");
    let inside = format!("{}:/data/termination.json", container.name);
    DOCKER.say(&["cp", &inside, file.text()]).fine();
    let report = report(&file);
    assert_eq!(report["cause"], "stop", "{report}");
    assert_eq!(report["sender"]["command"], "/clawinit stop", "{report}");
    assert_eq!(report["restarts"]["signal"], 1, "{report}");
}

pub fn usage_errors_and_missing_commands_have_their_codes() {
    let image = DOCKER.image("scratch");
    let said = DOCKER.run(&["--env=CLAWINIT_STOP_GRACE=25"], &image, &[]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("write 25s"), "{said:?}");
    let said = DOCKER.run(&[], &image, &["/nowhere"]);
    assert_eq!(said.code, Some(127), "{said:?}");
    assert!(said.err.contains("/nowhere"), "{said:?}");
    let said = DOCKER.run(&[], &image, &["/data"]);
    assert_eq!(said.code, Some(126), "{said:?}");
    assert!(said.err.contains("/data"), "{said:?}");
    let said = DOCKER.run(&[], &image, &["/openclaw", "--version"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.starts_with("openclaw "), "{said:?}");
}
