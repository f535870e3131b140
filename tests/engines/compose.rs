//! The gateway as a service of Compose: the older program and the newer plugin alike.

use crate::engine::{Container, Engine, Said, TOKEN, TempFile, name, say, until};
use std::process::Command;
use std::time::{Duration, Instant};

const DOCKER: Engine = Engine::Docker;

pub fn absent() -> Option<String> {
    DOCKER.absent().or_else(|| match program() {
        Some(_) => None,
        None => Some("neither docker-compose nor the plugin of docker is there".into()),
    })
}

/// The words that call Compose here.
fn program() -> Option<&'static [&'static str]> {
    const PROGRAMS: [&[&str]; 2] = [&["docker", "compose"], &["docker-compose"]];
    PROGRAMS.into_iter().find(|words| {
        let tried = Command::new(words[0]).args(&words[1..]).arg("version").output();
        tried.is_ok_and(|tried| tried.status.success())
    })
}

struct Project {
    name: String,
    file: TempFile,
}

impl Project {
    /// One gateway, as `compose/` has it.
    fn up() -> Project {
        let image = DOCKER.image("scratch");
        let text = format!(
            r#"
services:
  gateway:
    image: {image}
    restart: on-failure
    stop_grace_period: 30s
    read_only: true
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    environment:
      GATEWAY_TOKEN: {TOKEN}
"#
        );
        let project =
            Project { name: name("compose"), file: TempFile::with("compose.yaml", &text) };
        project.say(&["up", "--detach"]).fine();
        project
    }

    fn say(&self, words: &[&str]) -> Said {
        let program = program().expect("Compose");
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).args(["--project-name", &self.name]);
        say(command.args(["--file", self.file.text()]).args(words))
    }

    fn container(&self) -> Container {
        Container::of(DOCKER, &self.say(&["ps", "--quiet", "gateway"]).fine())
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        self.say(&["down", "--volumes", "--timeout", "5"]);
    }
}

pub fn gateway_stop_from_inside_leaves_the_service_down() {
    let project = Project::up();
    let container = project.container();
    container.ready();
    container.remember("key", "kept");
    let said = project.say(&["exec", "-T", "gateway", "/openclaw", "gateway", "stop"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(container.wait(), 0);
    assert_eq!(container.inspect("{{.State.Status}} {{.RestartCount}}"), "exited 0");
    project.say(&["up", "--detach"]).fine();
    container.ready();
    assert_eq!(container.recall("key"), "kept");
}

pub fn compose_down_is_graceful() {
    let project = Project::up();
    let container = project.container();
    container.ready();
    let begun = Instant::now();
    project.say(&["stop"]).fine();
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(5), "stop took {took:?}\n{}", container.logs());
    assert_eq!(container.inspect("{{.State.ExitCode}}"), "0");
    container.says("Graceful shutdown initiated");
    project.say(&["down", "--volumes"]).fine();
    let gone = || DOCKER.say(&["inspect", &container.name]).code.is_some_and(|code| code != 0);
    until("the container to be gone", || gone().then_some(()));
}
