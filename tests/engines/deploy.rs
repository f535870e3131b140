//! The steps of `.github/workflows/`, which are scripts of this repository, against a real Docker
//! and a real registry on this machine.

use crate::compose::{Project, programs};
use crate::engine::{
    Container, Engine, PREFIX, Said, TempFile, clawinit, free_port, gateway, package, say, until,
};
use crate::http;
use crate::tools::{missing, tool};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const DOCKER: Engine = Engine::Docker;

pub fn absent() -> Option<String> {
    crate::compose::absent().or_else(|| tool("registry").is_none().then(|| missing("registry")))
}

/// A registry on loopback, and the images that were named for it.
struct Registry {
    /// A container, so that it is removed with the others when the tests are killed.
    _server: Container,
    folder: TempFile,
    address: SocketAddr,
}

impl Registry {
    fn start() -> Registry {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let folder = TempFile::new("registry");
        std::fs::create_dir_all(folder.text()).expect("make a folder");
        let settings = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: /tmp}}}}\nhttp: {{addr: {address}}}\n"
        );
        let file = Path::new(folder.text()).join("registry.yml");
        std::fs::write(&file, settings).expect("write the settings");
        std::fs::copy(tool("registry").expect("the registry"), file.with_file_name("registry"))
            .expect("copy the registry");
        crate::engine::bases();
        let mount = format!("--volume={}:/registry:ro", folder.text());
        let words = ["/registry/registry", "serve", "/registry/registry.yml"];
        let options = ["--network=host", &mount];
        let server = DOCKER.start(&options, "clawinit-base-debian", &words);
        let registry = Registry { _server: server, folder, address };
        until("the registry", || TcpStream::connect(address).ok());
        registry
    }

    /// The name of an image there.
    fn image(&self, tag: &str) -> String {
        format!("{}:{tag}", self.repository())
    }

    fn repository(&self) -> String {
        let prefix = std::env::var(PREFIX).expect("scripts/engines to have set the prefix");
        format!("{}/{prefix}gateway", self.address)
    }

    /// An image that is in the registry only.
    fn push(&self, tag: &str, command: &str) -> String {
        let image = self.image(tag);
        let folder = TempFile::new("pushed");
        std::fs::create_dir_all(folder.text()).expect("make a folder");
        let recipe = format!("FROM {}\nLABEL tag={tag}\n{command}\n", DOCKER.image("scratch"));
        std::fs::write(Path::new(folder.text()).join("Dockerfile"), recipe).expect("Dockerfile");
        DOCKER.say(&["build", "--quiet", "--tag", &image, folder.text()]).fine();
        std::fs::remove_dir_all(folder.text()).expect("remove the folder");
        DOCKER.say(&["push", &image]).fine();
        DOCKER.say(&["rmi", &image]).fine();
        image
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let filter = format!("reference={}/*", self.address);
        // By name: the same image may have another name, which is another test's.
        let format = "{{.Repository}}:{{.Tag}}";
        let images = DOCKER.say(&["images", "--format", format, "--filter", &filter]);
        for image in images.out.split_whitespace() {
            DOCKER.say(&["rmi", image]);
        }
        let _ = std::fs::remove_dir_all(self.folder.text());
    }
}

/// The folder on a machine that a workflow deploys to.
fn project() -> Project {
    let mut project = Project::new(&programs()[0], &["docker-compose.yml"]);
    let folder = project.path("").display().to_string();
    project.set("DEPLOY_FOLDER", &folder);
    project.set("CHECK_TIMEOUT", "4");
    project
}

fn step(project: &Project, name: &str) -> Said {
    project.call(&package().join("scripts/deploy").join(name), &[])
}

/// What the workflow does with an image; the step that failed, where one did.
fn deploy(project: &mut Project, image: &str) -> Option<(&'static str, Said)> {
    project.set("IMAGE", image);
    // In the order of the workflow, which a test below holds to this one.
    for name in STEPS {
        let said = step(project, name);
        if said.code != Some(0) {
            return Some((name, said));
        }
    }
    None
}

/// A gateway on another port. Not under clawinit, which would hand it the socket of the right one.
const DEAF: &str = r#"ENTRYPOINT ["/openclaw"]
CMD ["gateway", "start", "--port", "9999"]"#;

const STEPS: [&str; 4] = ["pull", "stop", "start", "check"];

fn label(project: &Project) -> String {
    project.container("gateway").inspect("{{.Config.Labels.tag}}")
}

pub fn a_deployment_replaces_the_gateway_and_keeps_its_memory() {
    let registry = Registry::start();
    let mut project = project();
    // The first time there is nothing to stop.
    let failed = deploy(&mut project, &registry.push("one", ""));
    assert!(failed.is_none(), "{failed:?}");
    assert_eq!(label(&project), "one");
    let first = project.container("gateway");
    first.remember("key", "older than the new image");
    let failed = deploy(&mut project, &registry.push("two", ""));
    assert!(failed.is_none(), "{failed:?}");
    assert_eq!(label(&project), "two");
    let second = project.container("gateway");
    assert_ne!(first.name, second.name);
    assert_eq!(second.recall("key"), "older than the new image");
    assert_eq!(second.status().expect("a status")["generation"], 2);
    // Whoever calls Compose by hand, or at boot, starts the same image.
    project.say(&["up", "--detach"]).fine();
    let settings = std::fs::read_to_string(project.path(".env")).expect(".env");
    assert!(settings.contains(&format!("GATEWAY_IMAGE={}", registry.image("two"))), "{settings}");
}

pub fn the_step_that_stops_waits_until_it_has_stopped() {
    let registry = Registry::start();
    let mut project = project();
    assert!(deploy(&mut project, &registry.push("one", "")).is_none());
    let container = project.container("gateway");
    let begun = Instant::now();
    let said = step(&project, "stop");
    let took = begun.elapsed();
    assert_eq!(said.code, Some(0), "{said:?}");
    // When it returns, it is so: no wait here. And it is not the grace that ended it.
    assert_eq!(container.inspect("{{.State.Status}} {{.State.ExitCode}}"), "exited 0");
    assert!(http::connect(project.address).is_err(), "the port is taken still");
    assert!(took < Duration::from_secs(20), "the stop took {took:?}: {said:?}");
    assert!(said.out.contains(r#""status":"stopped""#), "{said:?}");
    assert_eq!(step(&project, "stop").code, Some(0), "nothing to stop is no failure");
}

pub fn a_new_image_that_does_not_come_up_is_rolled_back() {
    let registry = Registry::start();
    let mut project = project();
    assert!(deploy(&mut project, &registry.push("good", "")).is_none());
    project.container("gateway").remember("key", "kept");
    for (tag, command) in [
        // It leaves at once, again and again; it never takes work.
        ("crashing", r#"CMD ["/openclaw", "gateway", "start", "--no-such-option"]"#),
        ("deaf", DEAF),
    ] {
        let (failed, said) = deploy(&mut project, &registry.push(tag, command)).expect("a failure");
        assert_eq!(failed, "check", "{said:?}");
        let said = step(&project, "roll-back");
        assert_eq!(said.code, Some(0), "{said:?}");
        assert_eq!(label(&project), "good", "{said:?}");
        let container = project.container("gateway");
        container.ready();
        assert_eq!(container.recall("key"), "kept");
    }
}

/// A deployment that failed and was left so, and the next one.
pub fn an_image_that_does_not_work_is_no_way_back() {
    let registry = Registry::start();
    let mut project = project();
    assert!(deploy(&mut project, &registry.push("good", "")).is_none());
    for (tag, command) in [
        ("deaf", DEAF),
        ("crashing", r#"CMD ["/openclaw", "gateway", "start", "--no-such-option"]"#),
    ] {
        let (failed, said) = deploy(&mut project, &registry.push(tag, command)).expect("a failure");
        assert_eq!(failed, "check", "{said:?}");
    }
    let said = step(&project, "roll-back");
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(label(&project), "good", "{said:?}");
}

/// What Compose or Docker does not say is not "there is no gateway".
pub fn a_step_that_cannot_ask_says_so_and_changes_nothing() {
    let registry = Registry::start();
    let mut project = project();
    assert!(deploy(&mut project, &registry.push("one", "")).is_none());
    assert!(deploy(&mut project, &registry.push("two", "")).is_none());
    let container = project.container("gateway");
    let before = container.inspect("{{.Id}} {{.State.StartedAt}}");
    // Everything that the steps call, but for docker.
    let bare = TempFile::new("bare");
    std::fs::create_dir_all(bare.text()).expect("make a folder");
    for program in ["bash", "env", "dirname", "basename"] {
        let path = say(Command::new("which").arg(program)).fine();
        std::os::unix::fs::symlink(path, Path::new(bare.text()).join(program)).expect("a link");
    }
    let (settings, away) = (project.path("gateway.env"), project.path("away"));
    let refused = |wanted: &str, variable: Option<(&str, &str)>| {
        for name in STEPS.iter().chain(&["roll-back"]) {
            let script = package().join("scripts/deploy").join(name);
            let mut words = vec!["-C".to_string(), project.path("").display().to_string()];
            words.extend(variable.map(|(name, value)| format!("{name}={value}")));
            words.push(script.display().to_string());
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let said = project.call(Path::new("/usr/bin/env"), &words);
            assert_eq!(said.code, Some(1), "{name}: {said:?}");
            assert_eq!(said.err.lines().count(), 1, "{name}: {said:?}");
            assert!(said.err.contains(wanted), "{name}: {said:?}");
        }
    };
    std::fs::rename(&settings, &away).expect("move gateway.env away");
    refused("gateway.env", None);
    std::fs::rename(&away, &settings).expect("move gateway.env back");
    refused("Compose cannot say", Some(("COMPOSE", "docker no-such-plugin")));
    refused("Docker does not answer", Some(("DOCKER_HOST", "unix:///nowhere.sock")));
    refused("docker is missing", Some(("PATH", bare.text())));
    assert_eq!(container.inspect("{{.Id}} {{.State.StartedAt}}"), before);
    // And the way back is there still.
    project.say(&["kill"]).fine();
    let said = step(&project, "roll-back");
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(label(&project), "one", "{said:?}");
    let _ = std::fs::remove_dir_all(bare.text());
}

pub fn an_image_that_cannot_be_pulled_changes_nothing() {
    let registry = Registry::start();
    let mut project = project();
    assert!(deploy(&mut project, &registry.push("one", "")).is_none());
    let container = project.container("gateway");
    let before = container.inspect("{{.Id}} {{.State.StartedAt}}");
    let missing = registry.image("nowhere");
    let (failed, said) = deploy(&mut project, &missing).expect("a failure");
    assert_eq!(failed, "pull", "{said:?}");
    assert_eq!(container.inspect("{{.Id}} {{.State.StartedAt}}"), before);
    container.ready();
    // Also where somebody rolls back all the same.
    let said = step(&project, "roll-back");
    assert_ne!(said.code, None, "{said:?}");
    assert_eq!(label(&project), "one");
}

pub fn a_first_deployment_that_fails_leaves_nothing_running() {
    let registry = Registry::start();
    let mut project = project();
    let command = DEAF;
    let (failed, said) = deploy(&mut project, &registry.push("deaf", command)).expect("a failure");
    assert_eq!(failed, "check", "{said:?}");
    let said = step(&project, "roll-back");
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("nothing to go back to"), "{said:?}");
    assert_eq!(project.container("gateway").inspect("{{.State.Running}}"), "false");
}

/// Binaries as `make build-all` leaves them. The one of the other machine may not be built here:
/// then it is ours with the other machine's number in its header, which is all that pack looks at.
fn targets() -> TempFile {
    let folder = TempFile::new("targets");
    for arch in ["x86_64", "aarch64"] {
        let to = Path::new(folder.text()).join(format!("{arch}-unknown-linux-musl/release"));
        std::fs::create_dir_all(&to).expect("make a folder");
        for (from, name) in [(clawinit(), "clawinit"), (gateway(), "openclaw")] {
            let mut bytes = std::fs::read(&from).expect("read a binary");
            bytes[18] = if arch == "x86_64" { 0x3e } else { 0xb7 };
            std::fs::write(to.join(name), bytes).expect("write a binary");
            std::fs::set_permissions(to.join(name), mode()).expect("chmod");
        }
    }
    folder
}

fn mode() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o755)
}

fn release(name: &str, variables: &[(&str, &str)]) -> Said {
    let mut command = Command::new(package().join("scripts/release").join(name));
    say(command.envs(variables.iter().copied()))
}

pub fn a_release_has_binaries_for_both_targets_with_checksums_and_an_image_for_each() {
    let targets = targets();
    let dist = TempFile::new("dist");
    let variables = [("TARGETS_FOLDER", targets.text()), ("DIST", dist.text())];
    let said = release("pack", &variables);
    assert_eq!(said.code, Some(0), "{said:?}");
    let version = env!("CARGO_PKG_VERSION");
    let sums = std::fs::read_to_string(Path::new(dist.text()).join("SHA256SUMS")).expect("sums");
    assert_eq!(sums.lines().count(), 2, "{sums}");
    for arch in ["x86_64", "aarch64"] {
        let archive =
            Path::new(dist.text()).join(format!("clawinit-{version}-{arch}-linux.tar.gz"));
        let listed = say(Command::new("tar").arg("-tzf").arg(&archive)).fine();
        for file in ["clawinit", "openclaw", "LICENSE", "README.md", "clawinit.1"] {
            assert!(listed.lines().any(|line| line.ends_with(&format!("/{file}"))), "{listed}");
        }
    }
    // Packed again, it is the same byte for byte.
    let again = release("pack", &variables);
    assert_eq!(again.out, said.out);

    let registry = Registry::start();
    let image = registry.repository();
    let said = release("images", &[("DIST", dist.text()), ("IMAGE", &image)]);
    assert_eq!(said.code, Some(0), "{said:?}");
    for arch in ["amd64", "arm64"] {
        let one = format!("{image}:{version}-{arch}");
        DOCKER.say(&["rmi", &one]).fine();
        DOCKER.say(&["pull", &one]).fine();
        let format = "{{.Os}}/{{.Architecture}}";
        let said = DOCKER.say(&["image", "inspect", "--format", format, &one]).fine();
        assert_eq!(said, format!("linux/{arch}"));
    }
    // The name for both gives this machine its own, and it runs.
    let one = format!("{image}:{version}");
    DOCKER.say(&["pull", &one]).fine();
    let said = DOCKER.run(&[], &one, &["/openclaw", "--version"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let _ = std::fs::remove_dir_all(targets.text());
    let _ = std::fs::remove_dir_all(dist.text());
}

pub fn a_release_of_the_wrong_binaries_or_version_is_refused() {
    let targets = targets();
    let dist = TempFile::new("dist");
    let ours = [("TARGETS_FOLDER", targets.text()), ("DIST", dist.text())];
    let of = |arch: &str| {
        Path::new(targets.text()).join(format!("{arch}-unknown-linux-musl/release/clawinit"))
    };
    let said = release("pack", &[ours[0], ours[1], ("VERSION", "99.0.0")]);
    assert!(said.code == Some(1) && said.err.contains("99.0.0"), "{said:?}");
    assert_eq!(release("version", &[("TAG", "v99.0.0")]).code, Some(1));
    let version = env!("CARGO_PKG_VERSION");
    let said = release("version", &[("TAG", &format!("v{version}"))]);
    assert_eq!(said.fine(), format!("VERSION={version}"));
    // A program with an interpreter needs libraries that scratch has not.
    std::fs::copy("/bin/sh", of("x86_64")).expect("copy a program");
    let said = release("pack", &ours);
    assert!(said.code == Some(1) && said.err.contains("is not static"), "{said:?}");
    std::fs::copy(of("aarch64"), of("x86_64")).expect("copy a binary");
    let said = release("pack", &ours);
    assert!(said.code == Some(1) && said.err.contains("of another machine"), "{said:?}");
    let _ = std::fs::remove_dir_all(targets.text());
    let _ = std::fs::remove_dir_all(dist.text());
}

pub fn a_release_is_published_with_all_that_was_packed() {
    let targets = targets();
    let dist = TempFile::new("dist");
    let ours = [("TARGETS_FOLDER", targets.text()), ("DIST", dist.text())];
    assert_eq!(release("pack", &ours).code, Some(0));
    // GitHub cannot be reached from here: a `gh` that says what it was asked for.
    let folder = TempFile::new("bin");
    std::fs::create_dir_all(folder.text()).expect("make a folder");
    let stand_in = Path::new(folder.text()).join("gh");
    std::fs::write(&stand_in, "#!/bin/sh\nprintf '%s\\n' \"$@\"\n").expect("write a script");
    std::fs::set_permissions(&stand_in, mode()).expect("chmod");
    let path = format!("{}:{}", folder.text(), std::env::var("PATH").expect("PATH"));
    let variables = [("DIST", dist.text()), ("TAG", "v0.1.0"), ("PATH", &path)];
    let said = release("publish", &variables);
    assert_eq!(said.code, Some(0), "{said:?}");
    for wanted in ["create", "v0.1.0", "x86_64-linux.tar.gz", "aarch64-linux.tar.gz", "SHA256SUMS"]
    {
        assert!(said.out.lines().any(|line| line.ends_with(wanted)), "{wanted}: {said:?}");
    }
    // What was changed since it was packed is not published.
    let sums = Path::new(dist.text()).join("SHA256SUMS");
    let text = std::fs::read_to_string(&sums).expect("sums");
    std::fs::write(&sums, text.replacen(|c: char| c.is_ascii_digit(), "x", 1)).expect("sums");
    assert_ne!(release("publish", &variables).code, Some(0));
    for folder in [targets, dist, folder] {
        let _ = std::fs::remove_dir_all(folder.text());
    }
}

pub fn signing_in_says_what_is_missing_and_shows_no_password() {
    // No registry here wants a password: a `docker` that says what it was asked for.
    let folder = TempFile::new("bin");
    std::fs::create_dir_all(folder.text()).expect("make a folder");
    let stand_in = Path::new(folder.text()).join("docker");
    std::fs::write(&stand_in, "#!/bin/sh\necho \"$@\"\nread -r password\necho \"<$password>\"\n")
        .expect("write a script");
    std::fs::set_permissions(&stand_in, mode()).expect("chmod");
    let path = format!("{}:{}", folder.text(), std::env::var("PATH").expect("PATH"));
    let all = [
        ("IMAGE", "registry.example/owner/clawinit"),
        ("REGISTRY_USER", "somebody"),
        ("REGISTRY_PASSWORD", "secret"),
        ("PATH", &path),
    ];
    let said = release("sign-in", &all);
    let wanted = "login --username somebody --password-stdin registry.example\n<secret>";
    assert_eq!(said.fine(), wanted);
    for missing in 0..3 {
        let mut some = all;
        some[missing].1 = "";
        let said = release("sign-in", &some);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains(all[missing].0), "{said:?}");
        assert!(!said.err.contains("secret") && said.out.is_empty(), "{said:?}");
    }
    let _ = std::fs::remove_dir_all(folder.text());
}

pub fn the_workflows_run_these_scripts_and_nothing_else() {
    let steps = |file: &str| -> Vec<String> {
        let path = package().join(".github/workflows").join(file);
        let text = std::fs::read_to_string(path).expect(file);
        let run = |line: &str| Some(line.trim().strip_prefix("run: ")?.to_string());
        text.lines().filter_map(run).collect()
    };
    let deploy: Vec<String> =
        STEPS.iter().chain(&["roll-back"]).map(|name| format!("scripts/deploy/{name}")).collect();
    assert_eq!(steps("deploy.yml"), deploy);
    let release = steps("release.yml");
    let mut scripts: Vec<&str> =
        release.iter().filter_map(|step| step.split(" >>").next()).collect();
    scripts.sort();
    let mut wanted: Vec<String> = std::fs::read_dir(package().join("scripts/release"))
        .expect("scripts/release")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .map(|name| format!("scripts/release/{name}"))
        .chain(["make build-all".to_string()])
        .collect();
    wanted.sort();
    assert_eq!(scripts, wanted);
}
