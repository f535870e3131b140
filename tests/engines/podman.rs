//! The same image in Podman, as a container and as a Kubernetes pod.

use crate::engine::{Container, Engine, TempFile, clawinit, name, status_field};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const PODMAN: Engine = Engine::Podman;

/// One test at a time: Podman's bridge changes its own hardware address when a container comes or
/// goes (netavark 1.4 leaves it to the kernel), and what the others answer is lost for seconds.
pub fn alone() -> MutexGuard<'static, ()> {
    static BRIDGE: Mutex<()> = Mutex::new(());
    BRIDGE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn absent() -> Option<String> {
    // The images are built by Docker.
    PODMAN.absent().or_else(|| {
        Engine::Docker.absent().map(|why| format!("its images are built by Docker, and {why}"))
    })
}

pub fn podman_stop_leaves_0_within_the_gateways_own_time() {
    let _alone = alone();
    let container =
        PODMAN.gateway(&["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"]);
    container.remember("key", "value");
    let took = container.stop("30");
    assert!(took < Duration::from_secs(3), "podman stop took {took:?}\n{}", container.logs());
    assert_eq!(container.inspect("{{.State.ExitCode}}"), "0");
    container.says("Graceful shutdown initiated");
}

pub fn a_restart_keeps_the_container_and_the_memory() {
    let _alone = alone();
    let container = PODMAN.gateway(&[]);
    container.remember("key", "kept");
    let identity = || container.inspect("{{.Id}} {{.State.StartedAt}} {{.State.Pid}}");
    let before = identity();
    container.kill("USR1");
    container.generation(2);
    let said = container.exec(&["/openclaw", "gateway", "restart"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    container.generation(3);
    assert_eq!(identity(), before);
    assert_eq!(container.recall("key"), "kept");
    // Podman goes by its own account of the exit: 0 after a stop from inside as well.
    let said = container.exec(&["/openclaw", "gateway", "stop"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(container.wait(), 0);
}

pub fn in_a_user_namespace_it_stops_and_restarts_as_anywhere() {
    let _alone = alone();
    // Root of this namespace is nobody on this machine, and the gateway is not even that.
    let maps = ["--uidmap=0:200000:70000", "--gidmap=0:200000:70000"];
    let said = PODMAN.run(&maps, &PODMAN.image("scratch"), &["openclaw", "--version"]);
    if said.code != Some(0) {
        println!("podman: no user namespace can be made here: {}", said.err.trim_end());
        return;
    }
    let locked = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"];
    let container = PODMAN.gateway(&[maps.as_slice(), &locked].concat());
    let pid = container.pid();
    assert_eq!(status_field(pid, "Uid"), "265532\t265532\t265532\t265532");
    assert_eq!(status_field(pid, "CapEff"), "0000000000000000");
    container.remember("key", "kept");
    let said = container.exec(&["openclaw", "gateway", "restart"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    container.generation(2);
    assert_eq!(container.recall("key"), "kept");
    container.stop("30");
    assert_eq!(container.inspect("{{.State.ExitCode}}"), "0");
    container.says("Graceful shutdown initiated");
}

pub fn clawinit_as_init_path_is_as_transparent_as_catatonit() {
    let _alone = alone();
    let path = format!("--init-path={}", clawinit().display());
    let options = ["--init", &path, "--entrypoint=/bin/sh"];
    let image = PODMAN.image("alpine-like");
    for code in [0, 7, 75, 255] {
        let said = PODMAN.run(&options, &image, &["-c", &format!("exit {code}")]);
        assert_eq!((said.code, said.err.as_str()), (Some(code), ""), "{said:?}");
    }
    let container = PODMAN.start(&options, &image, &["-c", "echo up; sleep 1000"]);
    container.says("up");
    container.kill("TERM");
    assert_eq!(container.wait(), 143);
}

/// A pod as `podman kube play` makes it from a manifest.
struct Pod {
    name: String,
    manifest: TempFile,
}

impl Pod {
    fn play(name: String, manifest: &str) -> Pod {
        let pod = Pod { name, manifest: TempFile::with("manifest", manifest) };
        PODMAN.say(&["kube", "play", pod.manifest.text()]).fine();
        pod
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        PODMAN.say(&["kube", "down", self.manifest.text()]);
        PODMAN.say(&["pod", "rm", "--force", "--ignore", &self.name]);
    }
}

pub fn a_kubernetes_pod_runs_and_stops_in_order() {
    let _alone = alone();
    let pod = name("pod");
    let image = PODMAN.image("scratch");
    let pod = Pod::play(
        pod.clone(),
        &format!(
            r#"
apiVersion: v1
kind: Pod
metadata:
  name: {pod}
spec:
  terminationGracePeriodSeconds: 30
  containers:
    - name: gateway
      image: {image}
      imagePullPolicy: Never
      securityContext:
        runAsNonRoot: true
        runAsUser: 65532
        readOnlyRootFilesystem: true
        allowPrivilegeEscalation: false
        capabilities:
          drop: ["ALL"]
"#
        ),
    );
    let container = Container::of(PODMAN, &format!("{}-gateway", pod.name));
    container.says("ready on port 8888: generation 1");
    let said = container.exec(&["/openclaw", "gateway", "restart"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    container.says("ready on port 8888: generation 2");
    let begun = Instant::now();
    PODMAN.say(&["pod", "stop", "-t", "30", &pod.name]).fine();
    let took = begun.elapsed();
    assert_eq!(container.inspect("{{.State.ExitCode}}"), "0");
    container.says("Graceful shutdown initiated");
    assert!(took < Duration::from_secs(15), "the pod took {took:?} to stop");
}
