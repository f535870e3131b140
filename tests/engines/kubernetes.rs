//! Our own pod, live: `k8s/overlays/podman` by `podman kube play`.

use crate::engine::{Container, Engine, TOKEN, TempFile, free_port, name, package, say, until};
use crate::http;
use crate::manifests::{self, Copied};
use crate::podman;
use serde_json::Value;
use std::io::Write;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

const PODMAN: Engine = Engine::Podman;

pub fn absent() -> Option<String> {
    podman::absent().or_else(manifests::absent)
}

/// The pod of the overlay under names of its own, and what Podman made of it.
struct Pod {
    container: Container,
    pod: String,
    manifest: TempFile,
    secret: String,
    /// Where kubelet would have put the termination message.
    message: TempFile,
    address: SocketAddr,
    _alone: MutexGuard<'static, ()>,
}

impl Pod {
    /// Plays it with an image of ours and more patches of the Deployment.
    fn play(image: &str, patches: &str) -> Pod {
        let alone = podman::alone();
        let copied = Copied::new();
        let prefix = format!("{}-", name("kube"));
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let message = TempFile::with("termination-log", "");
        let image = PODMAN.image(image);
        let (image, tag) = image.rsplit_once(':').expect("a tag");
        std::fs::create_dir(copied.path("test")).expect("make a folder");
        // Podman knows no termination message, and makes a volume by the name of the emptyDir.
        let kustomization = format!(
            r#"
resources: [../overlays/podman]
namePrefix: {prefix}
images:
  - name: localhost/clawinit
    newName: {image}
    newTag: {tag}
patches:
  - target: {{kind: Deployment}}
    patch: |
      - {{op: replace, path: /spec/template/spec/containers/0/ports/0/hostPort, value: {port}}}
      - {{op: replace, path: /spec/template/spec/volumes/0/name, value: {prefix}data}}
      - {{op: replace, path: /spec/template/spec/containers/0/volumeMounts/0/name, value: {prefix}data}}
      - op: replace
        path: /spec/template/spec/containers/0/env/0/valueFrom/secretKeyRef/name
        value: {prefix}gateway-token
      - op: add
        path: /spec/template/spec/volumes/-
        value: {{name: message, hostPath: {{path: {message}, type: File}}}}
      - op: add
        path: /spec/template/spec/containers/0/volumeMounts/-
        value: {{name: message, mountPath: /dev/termination-log}}
{patches}
"#,
            port = address.port(),
            message = message.text(),
        );
        std::fs::write(copied.path("test/kustomization.yaml"), kustomization).expect("a file");
        let rendered = copied.render("test");
        let manifest = TempFile::with("manifest", &rendered);
        let secret = format!("{prefix}gateway-token");
        let gateway = format!("{prefix}openclaw-gateway");
        let mut pod = Pod {
            container: Container::of(PODMAN, &gateway),
            pod: gateway,
            manifest,
            secret,
            message,
            address,
            _alone: alone,
        };
        // As the overlay says that a user makes it.
        let make = "printf '{\"token\":\"%s\"}' \"$(printf %s \"$1\" | base64 -w 0)\" |
            podman secret create \"$2\" -";
        say(Command::new("sh").args(["-c", make, "sh", TOKEN, &pod.secret])).fine();
        PODMAN.say(&["kube", "play", pod.manifest.text()]).fine();
        let filter = format!("name={}", pod.pod);
        // By Podman's version it has a number behind it or not.
        pod.pod = PODMAN.say(&["pod", "ps", "--filter", &filter, "--format", "{{.Name}}"]).fine();
        pod.container = Container::of(PODMAN, &format!("{}-gateway", pod.pod));
        pod.ready();
        pod
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        http::ask(self.address, method, path, TOKEN, body).expect("an answer")
    }

    fn ready(&self) {
        until("a gateway that is ready", || {
            matches!(http::ask(self.address, "GET", "/ready", "", ""), Ok((200, _))).then_some(())
        });
    }

    /// The generation that answers, where one does.
    fn generation(&self) -> Option<u64> {
        let (_, body) = http::ask(self.address, "GET", "/status", TOKEN, "").ok()?;
        serde_json::from_str::<Value>(&body).ok()?["generation"].as_u64()
    }

    /// What must not change when the gateway restarts.
    fn identity(&self) -> String {
        self.container.inspect("{{.Id}} {{.State.StartedAt}} {{.State.Pid}} {{.RestartCount}}")
    }

    /// As the deletion of a pod goes: the containers first, with the grace of the manifest, then
    /// the rest. `podman kube down` alone sends SIGKILL at once before Podman 5.1
    /// (containers/podman#22397), and `podman pod stop` takes the network away with the first
    /// signal, as it stops the pod's own container beside the others.
    fn delete(&self) -> Duration {
        let begun = Instant::now();
        PODMAN.say(&["stop", "-t", "30", &self.container.name]).fine();
        begun.elapsed()
    }

    fn report(&self) -> Value {
        let text = self.message.read();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.pod, self.container.logs());
        }
        PODMAN.say(&["kube", "down", self.manifest.text()]);
        PODMAN.say(&["pod", "rm", "--force", "--ignore", &self.pod]);
        PODMAN.say(&["secret", "rm", &self.secret]);
    }
}

/// Waits for a text in the file that the container's output goes to.
fn says(log: &str, text: &str) {
    until(&format!("{text:?} in the log"), || {
        std::fs::read_to_string(log).expect("the log").contains(text).then_some(())
    });
}

pub fn deleting_the_pod_loses_no_request() {
    let pod = Pod::play("scratch", "");
    // Podman holds the container's lock while it stops it, and would not show the log so long.
    let log = pod.container.inspect("{{.HostConfig.LogConfig.Path}}");
    let mut late = http::connect(pod.address).expect("connect");
    late.write_all(http::head("PUT", "/memory/late", TOKEN, 10).as_bytes()).expect("write");
    late.write_all(b"12345").expect("write");
    std::thread::scope(|threads| {
        let deleting = threads.spawn(|| pod.delete());
        says(&log, "stop-requested");
        // The stop delay: nodes that do not know yet send requests still, and they are answered.
        let begun = Instant::now();
        let mut served = 0;
        while begun.elapsed() < Duration::from_secs(3) {
            let (code, body) = pod.ask("PUT", "/memory/new", "in time");
            assert!((200..300).contains(&code), "{code} {body}");
            served += 1;
        }
        assert!(served > 10, "{served} requests in three seconds");
        // Then the gateway is told, and finishes what is under way.
        says(&log, "Graceful shutdown initiated");
        late.write_all(b"67890").expect("write");
        let (code, body) = http::answer(late).expect("an answer");
        assert!((200..300).contains(&code), "{code} {body}");
        let took = deleting.join().expect("podman stop");
        assert!(took > Duration::from_secs(5), "the stop delay is 5 s, and it took {took:?}");
        assert!(took < Duration::from_secs(25), "the pod took {took:?} to stop");
    });
    assert_eq!(pod.container.inspect("{{.State.ExitCode}}"), "0");
    let report = pod.report();
    for (field, wanted) in [
        ("cause", Value::from("stop")),
        ("exit_code", Value::from(0)),
        ("signal", Value::from("SIGTERM")),
        ("killed", Value::from(false)),
        ("generations", Value::from(1)),
        ("platform_grace_too_short", Value::from(false)),
    ] {
        assert_eq!(report[field], wanted, "{field} in {report}");
    }
}

pub fn usr1_by_exec_restarts_inside_and_no_count_rises() {
    let pod = Pod::play("alpine-like", "");
    let before = pod.identity();
    assert!(before.ends_with(" 0"), "restarts of the container: {before}");
    let (code, body) = pod.ask("PUT", "/memory/key", "kept");
    assert!((200..300).contains(&code), "{code} {body}");
    let restarts: [&[&str]; 3] = [
        &["kill", "-USR1", "1"],
        &["openclaw", "gateway", "restart"],
        &["clawinit", "restart", "--wait-for", "http://127.0.0.1:8888/ready"],
    ];
    for (words, generation) in restarts.iter().zip(2..) {
        let said = pod.container.exec(words);
        assert_eq!(said.code, Some(0), "{words:?}: {said:?}");
        until(&format!("generation {generation} after {words:?}"), || {
            (pod.generation() == Some(generation)).then_some(())
        });
        pod.ready();
    }
    assert_eq!(pod.identity(), before);
    assert_eq!(pod.ask("GET", "/memory/key", ""), (200, "kept".to_string()));
    pod.delete();
    let report = pod.report();
    assert_eq!(report["generations"], 4, "{report}");
    assert_eq!(report["restarts"]["signal"], 3, "{report}");
}

pub fn a_stop_from_inside_comes_back_under_restart_policy_always() {
    let pod = Pod::play("scratch", "");
    let (code, body) = pod.ask("PUT", "/memory/key", "kept");
    assert!((200..300).contains(&code), "{code} {body}");
    let said = pod.container.exec(&["openclaw", "gateway", "stop"]);
    // Podman 4.3 may lose the exit code of an exec whose container is started again at once.
    let is_lost = said.err.contains("exec died event") && said.out.contains("graceful shutdown");
    assert!(said.code == Some(0) || is_lost, "{said:?}");
    until("the container to be started again", || {
        let state = pod.container.inspect("{{.RestartCount}} {{.State.Running}}");
        (state == "1 true").then_some(())
    });
    pod.ready();
    // The emptyDir is the pod's, and outlives the container's restart.
    assert_eq!(pod.ask("GET", "/memory/key", ""), (200, "kept".to_string()));
}

pub fn with_one_process_namespace_for_the_pod_the_verbs_work_as_well() {
    let patch = "      - {op: add, path: /spec/template/spec/shareProcessNamespace, value: true}";
    let pod = Pod::play("alpine-like", patch);
    let first = pod.container.exec(&["cat", "/proc/1/comm"]).fine();
    assert_ne!(first, "clawinit", "PID 1 is the pod's own");
    let before = pod.identity();
    let said = pod.container.exec(&["openclaw", "gateway", "restart"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    until("generation 2", || (pod.generation() == Some(2)).then_some(()));
    assert_eq!(pod.identity(), before);
    let took = pod.delete();
    assert!(took < Duration::from_secs(25), "the pod took {took:?} to stop");
    assert_eq!(pod.container.inspect("{{.State.ExitCode}}"), "0");
    assert_eq!(pod.report()["cause"], "stop");
}

pub fn what_a_restart_costs_is_measured_by_a_command() {
    let _alone = podman::alone();
    let mut command = Command::new(package().join("scripts/restart-cost"));
    command.arg("2").env("IMAGE", Engine::Docker.image("scratch"));
    command.env("PODMAN_IMAGE", PODMAN.image("scratch")).env("NAME", name("cost"));
    command.env("PORT", free_port().to_string());
    let said = say(&mut command);
    let out = said.fine();
    for row in ["in place, by SIGUSR1", "by the engine's policy", "docker restart", "podman pod"] {
        assert!(out.contains(row), "{row:?} is not in\n{out}");
    }
}
