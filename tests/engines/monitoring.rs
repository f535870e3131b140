//! A real Prometheus beside a real gateway under clawinit, as
//! `docs/monitoring/docker-compose.monitoring.yml` has them. Nothing can be pulled for a test, so
//! the host's own Prometheus is put into an image.

use crate::engine::{self, Container, Engine, Said, TOKEN, TempFile, free_port, name, say, until};
use crate::{http, rules};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};

const DOCKER: Engine = Engine::Docker;
const FILE: &str = "docs/monitoring/docker-compose.monitoring.yml";

pub fn absent() -> Option<String> {
    DOCKER
        .absent()
        .or_else(|| match compose() {
            Some(_) => None,
            None => Some("neither docker-compose nor the plugin of docker is there".into()),
        })
        .or_else(|| match prometheus() {
            Some(_) => None,
            None => Some("prometheus is absent".into()),
        })
}

/// The words that call Compose here.
fn compose() -> Option<&'static [&'static str]> {
    const PROGRAMS: [&[&str]; 2] = [&["docker", "compose"], &["docker-compose"]];
    PROGRAMS.into_iter().find(|words| {
        let tried = Command::new(words[0]).args(&words[1..]).arg("version").output();
        tried.is_ok_and(|tried| tried.status.success())
    })
}

/// Where the host has its Prometheus.
fn prometheus() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("prometheus")).find(|file| file.is_file())
}

/// An image with the host's Prometheus; it goes with its value.
struct Image(String);

impl Image {
    fn new() -> Image {
        DOCKER.image("debian"); // makes what this one stands on, too
        let context = TempFile::new("context");
        std::fs::create_dir(context.text()).expect("a folder");
        let own = prometheus().expect("prometheus");
        std::fs::copy(own, format!("{}/prometheus", context.text())).expect("copy prometheus");
        let dockerfile = "FROM clawinit-base-debian\n\
            RUN install -d -o 65534 -g 65534 /prometheus\n\
            COPY prometheus /bin/prometheus\n\
            USER 65534:65534\n\
            ENTRYPOINT [\"/bin/prometheus\"]\n";
        std::fs::write(format!("{}/Dockerfile", context.text()), dockerfile).expect("write");
        let image = Image(name("prometheus"));
        let mut build = Command::new("docker");
        build.env("DOCKER_BUILDKIT", "0");
        let said = say(build.args(["build", "--quiet", "--tag", &image.0, context.text()]));
        std::fs::remove_dir_all(context.text()).expect("remove the folder");
        said.fine();
        image
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        DOCKER.say(&["rmi", "--force", &self.0]);
    }
}

/// The services, up and answering.
struct Stack {
    // Dropped in this order: `drop` below takes the containers down before the image goes.
    name: String,
    /// What the test changes.
    changes: TempFile,
    ports: [String; 2],
    image: Image,
}

impl Stack {
    fn up() -> Stack {
        // A gateway that waits for requests longer than the alert does; still less than the grace.
        let changes = "services:\n  gateway:\n    \
            command: [/openclaw, gateway, start, --drain-time, 24s]\n";
        let stack = Stack {
            name: name("monitoring"),
            changes: TempFile::with("changes.yaml", changes),
            ports: [free_port().to_string(), free_port().to_string()],
            image: Image::new(),
        };
        stack.say(&["up", "--detach"]).fine();
        stack
    }

    fn say(&self, words: &[&str]) -> Said {
        let program = compose().expect("Compose");
        let mut command = Command::new(program[0]);
        command
            .args(&program[1..])
            .args(["--project-name", &self.name, "--file"])
            .arg(engine::package().join(FILE))
            .args(["--file", self.changes.text()])
            .args(words)
            .env("GATEWAY_IMAGE", DOCKER.image("scratch"))
            .env("PROMETHEUS_IMAGE", &self.image.0)
            .env("GATEWAY_PORT", &self.ports[0])
            .env("PROMETHEUS_PORT", &self.ports[1])
            .env("GATEWAY_TOKEN", TOKEN);
        say(&mut command)
    }

    fn container(&self, service: &str) -> Container {
        Container::of(DOCKER, &self.say(&["ps", "--quiet", service]).fine())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.say(&["down", "--volumes", "--timeout", "5"]);
    }
}

/// Prometheus' own API.
struct Api(SocketAddr);

impl Api {
    /// The data of an answer; none while it does not answer.
    fn ask(&self, path: &str) -> Option<Value> {
        let mut stream = http::connect(self.0).ok()?;
        // 1.0: its answers come in one piece, whatever their length.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: prometheus\r\n\r\n").ok()?;
        let (code, body) = http::answer(stream).ok()?;
        let answer: Value = serde_json::from_str(&body).ok()?;
        assert_eq!((code, &answer["status"]), (200, &Value::from("success")), "{path}: {body}");
        Some(answer["data"].clone())
    }

    /// The values of an expression, now.
    fn values(&self, expr: &str) -> Vec<f64> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        let query: String = expr
            .bytes()
            .map(|byte| match plain(byte) {
                true => char::from(byte).to_string(),
                false => format!("%{byte:02X}"),
            })
            .collect();
        let data = self.ask(&format!("/api/v1/query?query={query}")).unwrap_or_default();
        let samples = data["result"].as_array().cloned().unwrap_or_default();
        samples.iter().filter_map(|sample| sample["value"][1].as_str()?.parse().ok()).collect()
    }

    /// Waits until an expression has this one value.
    fn comes_to(&self, expr: &str, value: f64) {
        let mut last = Vec::new();
        until(&format!("{expr} to be {value}"), || {
            let values = self.values(expr);
            if values != last {
                println!("{expr}: {values:?}");
                last.clone_from(&values);
            }
            (values == [value]).then_some(())
        });
    }

    /// The alert of this name, when it fires.
    fn firing(&self, name: &str) -> Option<Value> {
        let alerts = self.ask("/api/v1/alerts")?["alerts"].as_array().cloned()?;
        let fires = |alert: &Value| alert["labels"]["alertname"] == name;
        alerts.into_iter().find(|alert| fires(alert) && alert["state"] == "firing")
    }
}

/// A request that is under way until its rest is sent.
struct Slow(TcpStream);

impl Slow {
    const LENGTH: usize = 1 << 20;
    /// So much at once: the gateway gives a body a second for every 16 KiB that have come.
    const FIRST: usize = Slow::LENGTH / 4 * 3;

    fn begin(gateway: SocketAddr) -> Slow {
        let mut stream = http::connect(gateway).expect("a connection");
        let head = http::head("PUT", "/memory/slow", TOKEN, Slow::LENGTH);
        stream.write_all(head.as_bytes()).expect("send a head");
        stream.write_all(&vec![b'x'; Slow::FIRST]).expect("send a part");
        Slow(stream)
    }

    fn end(mut self) {
        let rest = vec![b'x'; Slow::LENGTH - Slow::FIRST];
        self.0.write_all(&rest).expect("send the rest");
        let (code, body) = http::answer(self.0).expect("an answer");
        assert!(matches!(code, 201 | 204), "{code} {body}");
    }
}

/// A page of metrics, which promtool has nothing to say against.
fn scrape(address: SocketAddr) -> String {
    let (code, page) = http::ask(address, "GET", "/metrics", "", "").expect("a scrape");
    assert_eq!(code, 200, "{page}");
    let mut check = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start promtool");
    let mut input = check.stdin.take().expect("its input");
    input.write_all(page.as_bytes()).expect("hand it the page");
    drop(input);
    let said = check.wait_with_output().expect("its end");
    let words = String::from_utf8_lossy(&said.stdout) + String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && words.trim().is_empty(), "{words}\n{page}");
    page
}

/// The names that a page has samples of, or says that it would.
fn names(page: &str) -> BTreeSet<String> {
    page.lines()
        .filter_map(|line| {
            line.strip_prefix("# TYPE ")
                .or_else(|| Some(line).filter(|line| !line.starts_with('#')))
        })
        .filter_map(|line| line.split([' ', '{']).next())
        .filter(|name| !name.is_empty())
        .map(str::to_string)
        .collect()
}

pub fn prometheus_sees_a_restart_and_fires_the_alert_of_a_slow_stop() {
    let stack = Stack::up();
    let gateway = stack.container("gateway");
    let prometheus = stack.container("prometheus");
    gateway.ready();
    let api = Api(SocketAddr::new(prometheus.address().ip(), 9090));
    let exporter = SocketAddr::new(gateway.address().ip(), 9464);
    api.comes_to(r#"up{job="clawinit", instance="gateway:9464"}"#, 1.0);
    api.comes_to(r#"up{job="openclaw", instance="gateway:8888"}"#, 1.0);
    api.comes_to(r#"clawinit_phase{phase="running"}"#, 1.0);
    api.comes_to("clawinit_generation", 1.0);
    let mut served = names(&scrape(exporter));

    // A restart that a request holds up until it was scraped.
    let slow = Slow::begin(gateway.address());
    gateway.kill("USR1");
    api.comes_to(r#"clawinit_phase{phase="restarting"}"#, 1.0);
    until("the time that the restart has taken", || {
        (api.values("clawinit_restart_elapsed_seconds").first()? > &0.0).then_some(())
    });
    served.extend(names(&scrape(exporter)));
    slow.end();
    gateway.generation(2);
    api.comes_to("clawinit_generation", 2.0);
    api.comes_to(r#"clawinit_restarts_total{cause="signal"}"#, 1.0);
    api.comes_to(r#"clawinit_requests_in_time_total{request="restart"}"#, 1.0);
    api.comes_to("clawinit_last_exit_code", 75.0);
    api.comes_to("openclaw_generation", 2.0);
    api.comes_to(r#"openclaw_generations_ended_total{how="restart"}"#, 1.0);
    until("the last save's time", || api.values("openclaw_last_save_seconds").first().copied());
    served.extend(names(&scrape(gateway.address())));
    assert!(api.firing("ClawinitStopSlow").is_none());

    // A stop that takes longer than it may.
    let slow = Slow::begin(gateway.address());
    gateway.kill("TERM");
    api.comes_to(r#"clawinit_phase{phase="stopping"}"#, 1.0);
    served.extend(names(&scrape(exporter)));
    let alert = until("the alert of the slow stop", || api.firing("ClawinitStopSlow"));
    println!("{alert}");
    assert_eq!(alert["labels"]["severity"], "warning", "{alert}");
    assert_eq!(alert["labels"]["instance"], "gateway:9464", "{alert}");
    let summary = alert["annotations"]["summary"].as_str().unwrap_or_default();
    assert!(summary.starts_with("A stop of gateway:9464 has taken 1"), "{alert}");
    assert_eq!(gateway.inspect("{{.State.Status}}"), "running", "it fires while the stop goes on");
    slow.end();
    assert_eq!(gateway.wait(), 0, "{}", gateway.logs());

    // Gone, down by its policy, and what it did is still told.
    api.comes_to(r#"up{job="clawinit"}"#, 0.0);
    assert!(api.firing("ClawinitStopSlow").is_some());
    assert_eq!(gateway.inspect("{{.State.Status}} {{.RestartCount}}"), "exited 0");

    // Prometheus could evaluate every rule, and everything that they and the dashboard name is
    // served by one of the two.
    let groups = api.ask("/api/v1/rules").expect("the rules")["groups"].clone();
    let all = groups.as_array().expect("groups").iter();
    let rules: Vec<&Value> =
        all.flat_map(|group| group["rules"].as_array().expect("rules")).collect();
    assert!(rules.len() > 20, "{groups}");
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
    let unknown: Vec<String> = rules::metrics_used().difference(&served).cloned().collect();
    assert!(unknown.is_empty(), "not served: {unknown:?}\nserved: {served:?}");
}
