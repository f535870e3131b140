//! `docker run --init` with clawinit as the daemon's init-path: as transparent as tini.

use crate::engine::{Container, Engine, Said, TOKEN, children, until, zombies};
use serde_json::Value;

const DOCKER: Engine = Engine::InitDocker;

/// Nothing here needs a network, and this dockerd has none.
const OPTIONS: [&str; 3] = ["--init", "--network=none", "--entrypoint=/bin/sh"];

pub fn absent() -> Option<String> {
    Engine::Docker.absent().or_else(|| DOCKER.absent())
}

fn run(image: &str, script: &str) -> Said {
    DOCKER.run(&OPTIONS, &DOCKER.image(image), &["-c", script])
}

fn start(image: &str, script: &str) -> Container {
    DOCKER.start(&OPTIONS, &DOCKER.image(image), &["-c", script])
}

pub fn docker_takes_clawinit_for_an_init_of_the_right_kind() {
    let info = DOCKER.say(&["info"]);
    let all = format!("{}{}", info.out, info.err);
    let complaint = all.lines().find(|line| line.contains("WARNING") && line.contains("init"));
    assert_eq!(complaint, None, "{all}");
    let version = DOCKER.say(&["version", "--format", "{{json .Server}}"]).fine();
    let version: Value = serde_json::from_str(&version).expect("JSON");
    let components = version["Components"].as_array().expect("components");
    let init = components.iter().find(|one| one["Name"] == "docker-init").expect("an init");
    // It reads this from what the init answers to --version.
    assert!(init["Version"].as_str().is_some_and(|v| v.starts_with("0.19.0")), "{init}");

    let said = run("alpine-like", "/sbin/docker-init --version; tr '\\0' ' ' </proc/1/cmdline");
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("clawinit"), "another init is there: {said:?}");
    assert!(said.out.contains("/sbin/docker-init -- /bin/sh"), "{said:?}");
    // As silent as the one whose place it takes.
    assert_eq!(said.err, "", "{said:?}");
}

pub fn exit_codes_come_through_in_alpine_like_and_debian_images() {
    for image in ["alpine-like", "debian"] {
        // 75 asks for a restart under clawinit's own name, and nowhere else.
        for code in [0, 1, 2, 75, 127, 255] {
            let said = run(image, &format!("exit {code}"));
            assert_eq!(said.code, Some(code), "{image}: {said:?}");
        }
        let said = run(image, "kill -KILL $$");
        assert_eq!(said.code, Some(137), "{image}: {said:?}");
    }
}

pub fn signals_end_the_program_as_they_would_without_an_init() {
    for image in ["alpine-like", "debian"] {
        for (signal, code) in [("TERM", 143), ("USR1", 138), ("INT", 130)] {
            let container = start(image, "echo up; exec sleep 1000");
            container.says("up");
            // The word comes before the program; the signal is for the program.
            let init = container.pid();
            until("the program itself", || {
                let child = *children(init).first()?;
                let name = std::fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
                (name.trim() == "sleep").then_some(())
            });
            container.kill(signal);
            assert_eq!(container.wait(), code, "{image}, SIG{signal}");
        }
    }
}

pub fn orphans_leave_no_zombies() {
    for image in ["alpine-like", "debian"] {
        let container = start(
            image,
            "i=0; while [ $i -lt 200 ]; do ( sh -c 'sleep 0.2 &' ); i=$((i+1)); done
             echo spawned; exec sleep 1000",
        );
        container.says("spawned");
        let init = container.pid();
        until("all orphans to be gone", || (children(init).len() == 1).then_some(()));
        assert!(zombies(init).is_empty(), "{image}");
    }
}

pub fn a_gateway_under_clawinit_runs_below_it_unchanged() {
    let token = format!("--env=GATEWAY_TOKEN={TOKEN}");
    let container =
        DOCKER.start(&["--init", "--network=none", &token], &DOCKER.image("scratch"), &[]);
    container.says("ready on port 8888: generation 1");
    let said = container.exec(&["/openclaw", "gateway", "restart"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    container.says("ready on port 8888: generation 2");
    container.stop("20");
    assert_eq!(container.wait(), 0);
    container.says("Graceful shutdown initiated");
}
