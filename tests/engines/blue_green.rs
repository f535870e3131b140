//! Two colours behind nginx: `compose/switch` under load, and where the new one does not come up.

use crate::compose::{Project, programs};
use crate::engine::{Engine, Said, TOKEN, TempFile, name, package, say, until};
use crate::http;
use crate::tools::{missing, tool};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const DOCKER: Engine = Engine::Docker;
const FILES: [&str; 3] =
    ["docker-compose.nginx.yml", "docker-compose.blue.yml", "docker-compose.green.yml"];

/// Between two requests of one client: what makes the load steady.
const PACE: Duration = Duration::from_millis(10);
/// Between the halves of a body that comes slowly: longer than the move of the traffic.
const SLOW: Duration = Duration::from_millis(300);

pub fn absent() -> Option<String> {
    crate::compose::absent().or_else(|| tool("nginx").is_none().then(|| missing("nginx")))
}

/// An image with this machine's nginx and the libraries that it names, since none can be pulled.
fn nginx() -> String {
    static MADE: OnceLock<String> = OnceLock::new();
    MADE.get_or_init(|| {
        let program = tool("nginx").expect("nginx");
        let folder = TempFile::new("nginx");
        let root = Path::new(folder.text()).join("root");
        let listed = Command::new("ldd").arg(&program).output().expect("start ldd");
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let libraries = listed.split_whitespace().filter(|word| word.starts_with('/'));
        let copies = libraries.map(|path| (Path::new(path), path));
        for (from, to) in copies.chain([(program.as_path(), "/usr/sbin/nginx")]) {
            let to = root.join(to.trim_start_matches('/'));
            std::fs::create_dir_all(to.parent().expect("a folder")).expect("make a folder");
            std::fs::copy(from, &to).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
        }
        // As in the image that the file names: a place for temporary files, nginx's own user.
        let recipe = r#"FROM clawinit-base-busybox
COPY root/ /
RUN mkdir -p /etc/nginx /var/log/nginx /var/lib/nginx
STOPSIGNAL SIGQUIT
CMD ["nginx", "-g", "daemon off;"]
"#;
        std::fs::write(Path::new(folder.text()).join("Dockerfile"), recipe).expect("Dockerfile");
        crate::engine::bases();
        let image = format!("{}:test", name("nginx"));
        DOCKER.say(&["build", "--quiet", "--tag", &image, folder.text()]).fine();
        std::fs::remove_dir_all(folder.text()).expect("remove the folder");
        image
    })
    .clone()
}

fn project(program: &[String]) -> Project {
    let mut project = Project::new(program, &FILES);
    project.set("NGINX_IMAGE", &nginx());
    // What a colour that does not come up is waited for.
    project.set("SWITCH_TIMEOUT", "20");
    project
}

fn switch(project: &Project, words: &[&str]) -> Said {
    project.call(&project.path("switch"), words)
}

/// What a load has seen.
#[derive(Default)]
struct Load {
    enough: AtomicBool,
    answered: AtomicUsize,
    failed: Mutex<Vec<String>>,
}

impl Load {
    /// Runs clients until `work` is done. Each is of another kind.
    fn during<T>(address: SocketAddr, work: impl FnOnce(&Load) -> T) -> (Load, T) {
        let load = Load::default();
        let done = std::thread::scope(|threads| {
            threads.spawn(|| {
                load.run("one request a connection", || {
                    http::ask(address, "GET", "/status", "", "").map(|(code, _)| code)
                })
            });
            let mut kept = KeepAlive { address, stream: None };
            let load = &load;
            threads.spawn(move || load.run("requests on one connection", || kept.get("/ready")));
            threads.spawn(|| {
                load.run("writes", || {
                    http::ask(address, "PUT", "/memory/key", TOKEN, "value").map(|(code, _)| code)
                })
            });
            threads.spawn(|| load.run("slow writes", || slow_write(address)));
            // Ends the clients also when the work panics, or the scope would wait for ever.
            let guard = Enough(load);
            let done = work(load);
            drop(guard);
            done
        });
        (load, done)
    }

    fn run(&self, what: &str, mut request: impl FnMut() -> io::Result<u16>) {
        while !self.enough.load(Ordering::Relaxed) {
            match request() {
                Ok(code) if (200..300).contains(&code) => {
                    self.answered.fetch_add(1, Ordering::Relaxed);
                }
                other => self.failed.lock().expect("a lock").push(format!("{what}: {other:?}")),
            }
            std::thread::sleep(PACE);
        }
    }

    /// Not one request failed.
    fn is_fine(&self) -> usize {
        let failed = self.failed.lock().expect("a lock");
        let answered = self.answered.load(Ordering::Relaxed);
        assert!(failed.is_empty(), "{} of {answered} failed: {failed:#?}", failed.len());
        answered
    }
}

struct Enough<'a>(&'a Load);

impl Drop for Enough<'_> {
    fn drop(&mut self) {
        self.0.enough.store(true, Ordering::Relaxed);
    }
}

/// A client that keeps its connection for as long as the server does.
struct KeepAlive {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

impl KeepAlive {
    fn get(&mut self, path: &str) -> io::Result<u16> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => http::connect(self.address)?,
        };
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: gateway\r\n\r\n").as_bytes())?;
        let mut text = String::new();
        let mut bytes = [0; 4096];
        let (head, length) = loop {
            let count = stream.read(&mut bytes)?;
            text.push_str(&String::from_utf8_lossy(&bytes[..count]));
            let Some((head, _)) = text.split_once("\r\n\r\n") else {
                if count == 0 {
                    return Err(io::Error::other(format!("closed after {text:?}")));
                }
                continue;
            };
            let head = head.to_ascii_lowercase();
            let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
            let length = field("content-length: ").and_then(|length| length.parse().ok());
            let length: usize = length.ok_or_else(|| io::Error::other(format!("{text:?}")))?;
            break (head, length);
        };
        while text.len() < head.len() + 4 + length {
            let count = stream.read(&mut bytes)?;
            if count == 0 {
                return Err(io::Error::other(format!("closed after {text:?}")));
            }
            text.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        if !head.contains("connection: close") {
            self.stream = Some(stream);
        }
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        code.ok_or_else(|| io::Error::other(head))
    }
}

/// A write whose head is sent before the traffic moves and whose end comes after, now and then.
fn slow_write(address: SocketAddr) -> io::Result<u16> {
    let mut stream = http::connect(address)?;
    stream.write_all(http::head("PUT", "/memory/slow", TOKEN, 10).as_bytes())?;
    stream.write_all(b"12345")?;
    std::thread::sleep(SLOW);
    stream.write_all(b"67890")?;
    http::answer(stream).map(|(code, _)| code)
}

/// The colour that nginx sends requests to.
fn live(project: &Project) -> &'static str {
    if project.path("live/green").exists() { "green" } else { "blue" }
}

fn switches_lose_nothing(program: &[String], times: usize) {
    let project = project(program);
    assert_eq!(switch(&project, &[]).code, Some(0));
    assert_eq!(live(&project), "blue");
    let (load, ()) = Load::during(project.address, |load| {
        for _ in 0..times {
            let before = load.answered.load(Ordering::Relaxed);
            let (old, new) = match live(&project) {
                "blue" => ("blue", "green"),
                _ => ("green", "blue"),
            };
            let said = switch(&project, &[]);
            assert_eq!(said.code, Some(0), "{said:?}");
            assert_eq!(live(&project), new);
            let old = project.container(&format!("gateway-{old}"));
            assert_eq!(old.inspect("{{.State.Status}} {{.State.ExitCode}}"), "exited 0");
            until("requests after the switch", || {
                (load.answered.load(Ordering::Relaxed) > before + 20).then_some(())
            });
        }
    });
    let answered = load.is_fine();
    println!("{}: {times} switches, {answered} requests, none failed", program.join(" "));
}

pub fn ten_switches_under_load_lose_no_request() {
    let programs = programs();
    switches_lose_nothing(&programs[0], 10);
}

pub fn the_other_compose_switches_as_well() {
    for program in programs().iter().skip(1) {
        switches_lose_nothing(program, 2);
    }
}

/// An image of ours that starts the gateway in another way.
fn image_with(command: &str) -> String {
    let image = format!("{}:test", name("other"));
    let folder = TempFile::new("other");
    std::fs::create_dir_all(folder.text()).expect("make a folder");
    let recipe = format!("FROM {}\nCMD {command}\n", DOCKER.image("scratch"));
    std::fs::write(Path::new(folder.text()).join("Dockerfile"), recipe).expect("Dockerfile");
    DOCKER.say(&["build", "--quiet", "--tag", &image, folder.text()]).fine();
    std::fs::remove_dir_all(folder.text()).expect("remove the folder");
    image
}

pub fn a_colour_that_does_not_come_up_leaves_the_traffic_where_it_was() {
    let program = &programs()[0];
    let mut project = project(program);
    assert_eq!(switch(&project, &[]).code, Some(0));
    project.set("SWITCH_TIMEOUT", "3");
    // It leaves at once; it never takes work; it takes work, but not from outside.
    for command in [
        r#"["/openclaw", "gateway", "start", "--no-such-option"]"#,
        r#"["/openclaw", "gateway", "start", "--port", "9999"]"#,
        r#"["/openclaw", "gateway", "start", "--bind", "127.0.0.1"]"#,
    ] {
        project.set("GATEWAY_IMAGE", &image_with(command));
        let (load, said) = Load::during(project.address, |load| {
            let said = switch(&project, &[]);
            let before = load.answered.load(Ordering::Relaxed);
            until("requests after the switch", || {
                (load.answered.load(Ordering::Relaxed) > before + 20).then_some(())
            });
            said
        });
        assert_eq!(said.code, Some(1), "{command}: {said:?}");
        assert!(said.err.contains("blue is live, as before"), "{said:?}");
        assert_eq!(live(&project), "blue");
        load.is_fine();
        let green = project.container("gateway-green");
        until("green to be down", || {
            (green.inspect("{{.State.Running}}") == "false").then_some(())
        });
    }
    // And a good one comes up all the same.
    project.set("GATEWAY_IMAGE", &DOCKER.image("scratch"));
    project.set("SWITCH_TIMEOUT", "20");
    let said = switch(&project, &[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(live(&project), "green");
}

pub fn a_switch_to_a_colour_that_nginx_loses_moves_the_traffic_back() {
    let program = &programs()[0];
    let mut project = project(program);
    assert_eq!(switch(&project, &[]).code, Some(0));
    // It is not waited for as long as one that starts.
    project.set("SWITCH_TIMEOUT", "80");
    // An nginx that says it sends requests to blue whatever the file is: the traffic has moved,
    // and the answer is not the new colour's.
    let path = project.path("nginx.conf");
    let text = std::fs::read_to_string(&path).expect("nginx.conf");
    let other = text.replace("live/green)", "live/nothing)");
    assert_ne!(text, other);
    std::fs::write(&path, other).expect("nginx.conf");
    project.container("nginx").kill("HUP");
    let begun = Instant::now();
    let said = switch(&project, &["green"]);
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(30), "the traffic was away for {took:?}: {said:?}");
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("moving the traffic from blue to green"), "{said:?}");
    assert!(said.err.contains("blue is live, as before"), "{said:?}");
    assert_eq!(live(&project), "blue");
    let (code, _) = http::ask(project.address, "GET", "/ready", "", "").expect("an answer");
    assert_eq!(code, 200);
}

pub fn a_switch_to_the_live_colour_is_refused() {
    let mut project = project(&programs()[0]);
    assert_eq!(switch(&project, &[]).code, Some(0));
    let blue = project.container("gateway-blue");
    let before = blue.inspect("{{.Id}} {{.State.StartedAt}}");
    // Another image would have it made anew, with nobody to serve meanwhile.
    project.set("GATEWAY_IMAGE", &image_with(r#"["/openclaw", "gateway", "start"]"#));
    let said = switch(&project, &["blue"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("blue is live already"), "{said:?}");
    assert_eq!(blue.inspect("{{.Id}} {{.State.StartedAt}}"), before);
    // Where it does not run, as after a boot, it is brought back; so it is without a word.
    for words in [&["blue"][..], &[]] {
        project.container("gateway-blue").stop("40");
        assert_eq!(switch(&project, words).code, Some(0));
        assert_eq!(live(&project), "blue");
        let (code, _) = http::ask(project.address, "GET", "/ready", "", "").expect("an answer");
        assert_eq!(code, 200);
    }
}

pub fn each_colour_keeps_its_image() {
    let mut project = project(&programs()[0]);
    let image = |project: &Project, colour: &str| {
        project.container(&format!("gateway-{colour}")).inspect("{{.Config.Image}}")
    };
    let old = DOCKER.image("scratch");
    let new = image_with(r#"["/openclaw", "gateway", "start"]"#);
    assert_eq!(switch(&project, &[]).code, Some(0));
    project.set("GATEWAY_IMAGE", "");
    // What has none of its own takes the image that is live.
    assert_eq!(switch(&project, &[]).code, Some(0));
    assert_eq!(image(&project, "green"), old);
    assert_eq!(switch(&project, &[]).code, Some(0));
    project.set("GATEWAY_IMAGE", &new);
    assert_eq!(switch(&project, &[]).code, Some(0));
    project.set("GATEWAY_IMAGE", "");
    for (colour, wanted) in [("blue", &old), ("green", &new)] {
        let said = switch(&project, &[]);
        assert!(said.err.contains(&format!("starting {colour} from {wanted}")), "{said:?}");
        assert_eq!((live(&project), &image(&project, colour)), (colour, wanted));
    }
}

pub fn a_colour_that_crashes_over_and_over_is_replaced_and_stopped() {
    let mut project = project(&programs()[0]);
    assert_eq!(switch(&project, &[]).code, Some(0));
    // For ever, so that it is seen: Docker waits longer before each attempt, and it is `restarting`
    // most of the time.
    let path = project.path("docker-compose.green.yml");
    let text = std::fs::read_to_string(&path).expect("green");
    let text = text.replace("restart: on-failure:3", "restart: always");
    let text = text.replace("condition: on-failure", "condition: any");
    std::fs::write(&path, text.replace("        max_attempts: 3\n", "")).expect("green");
    let crashing = image_with(r#"["/openclaw", "gateway", "start", "--no-such-option"]"#);
    let good = DOCKER.image("scratch");
    let crash = |project: &mut Project, colour: &str| {
        project.set("GATEWAY_IMAGE", &crashing);
        project.say(&["up", "--detach", "--no-deps", &format!("gateway-{colour}")]).fine();
        let container = project.container(&format!("gateway-{colour}"));
        until("a restart by Docker", || {
            let state = container.inspect("{{.State.Status}} {{.RestartCount}}");
            (state.starts_with("restarting") && !state.ends_with(" 0")).then_some(())
        });
        project.set("GATEWAY_IMAGE", &good);
        container.name.clone()
    };
    // As the colour that is started...
    let broken = crash(&mut project, "green");
    let said = switch(&project, &[]);
    assert_eq!((said.code, live(&project)), (Some(0), "green"), "{said:?}");
    assert_ne!(project.container("gateway-green").name, broken);
    // ... and as the one that is left.
    let broken = crash(&mut project, "green");
    let said = switch(&project, &[]);
    assert_eq!((said.code, live(&project)), (Some(0), "blue"), "{said:?}");
    let state = DOCKER.say(&["inspect", "--format", "{{.State.Status}}", &broken]).fine();
    assert_eq!(state, "exited", "{said:?}");
}

pub fn a_switch_says_what_is_missing() {
    let project = project(&programs()[0]);
    let bare = TempFile::new("bare");
    std::fs::create_dir_all(bare.text()).expect("make a folder");
    for program in ["bash", "env", "dirname"] {
        let path = say(Command::new("which").arg(program)).fine();
        std::os::unix::fs::symlink(path, Path::new(bare.text()).join(program)).expect("a link");
    }
    let one_line = |variable: &str, wanted: &str| {
        let script = project.path("switch").display().to_string();
        let said = project.call(Path::new("/usr/bin/env"), &[variable, &script]);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert_eq!(said.err.lines().count(), 1, "{said:?}");
        assert!(said.err.contains(wanted), "{said:?}");
    };
    one_line(&format!("PATH={}", bare.text()), "docker is missing");
    one_line("COMPOSE=no-such-compose", "no-such-compose is missing");
    one_line("DOCKER_HOST=unix:///nowhere.sock", "Docker does not answer");
    let mode = |path: &str, mode: u32| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(project.path(path), mode).expect("chmod");
    };
    // As after a checkout under `umask 077`.
    mode("nginx.conf", 0o600);
    one_line("A=", "nginx.conf");
    mode("nginx.conf", 0o644);
    mode("live", 0o700);
    one_line("A=", "live: chmod");
    mode("live", 0o755);
    std::fs::rename(project.path("gateway.env"), project.path("away")).expect("move it away");
    one_line("A=", "gateway.env");
    std::fs::rename(project.path("away"), project.path("gateway.env")).expect("move it back");
    // An image that is nowhere: what Compose says of it, and no log of what ran before.
    assert_eq!(switch(&project, &[]).code, Some(0));
    assert_eq!(switch(&project, &[]).code, Some(0));
    let script = project.path("switch").display().to_string();
    let nowhere = "GATEWAY_IMAGE=127.0.0.1:1/nothing:none";
    let said = project.call(Path::new("/usr/bin/env"), &[nowhere, &script]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("blue cannot be started"), "{said:?}");
    assert!(!said.err.contains("clawinit: "), "{said:?}");
    assert_eq!(live(&project), "green");
    let _ = std::fs::remove_dir_all(bare.text());
}

pub fn the_two_colours_differ_in_their_names_alone() {
    let read = |colour: &str| {
        let path = package().join(format!("compose/docker-compose.{colour}.yml"));
        std::fs::read_to_string(path).expect("a file of compose/")
    };
    let exchanged =
        read("blue").replace("blue", "-").replace("green", "blue").replace('-', "green");
    let wanted = read("green").replace('-', "green");
    assert_eq!(exchanged, wanted);
}
