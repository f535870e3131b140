//! `docs/troubleshooting.md` shows what `scripts/troubleshoot-demo` prints: both are held together
//! here, but for numbers, times and the order in which two writers of one log came to write.

use crate::engine::{Engine, PREFIX, clawinit, gateway, package};
use std::process::{Command, Stdio};

const DOCKER: Engine = Engine::Docker;

pub fn absent() -> Option<String> {
    DOCKER.absent()
}

/// A line without what differs from run to run.
fn steady(line: &str) -> String {
    let mut steady = String::new();
    for word in line.split_whitespace() {
        let digits = word.starts_with(|letter: char| letter.is_ascii_digit());
        match word.trim_end_matches(',') {
            // Times are told in the unit that suits them.
            "less" | "than" | "ms" | "s" => {}
            _ if digits && !steady.contains("out of memory") => steady.push('#'),
            _ => steady.extend(word.chars().filter(|letter| !letter.is_ascii_digit())),
        }
        steady.push(' ');
    }
    steady.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub fn what_the_page_shows_is_what_the_demonstration_prints() {
    // Its images, by the name that the tests have for them.
    let scratch = DOCKER.image("scratch");
    DOCKER.image("alpine-like");
    let said = Command::new("timeout")
        .args(["--kill-after=20", "400"])
        .arg(package().join("scripts/troubleshoot-demo"))
        .env("IMAGE", scratch.strip_suffix(":scratch").expect("a tag"))
        .env("CLAWINIT_BIN", clawinit())
        .env("CLAWINIT_GATEWAY", gateway())
        .stdin(Stdio::null())
        .output()
        .expect("start scripts/troubleshoot-demo");
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success(), "{text}{}", String::from_utf8_lossy(&said.stderr));
    let printed: Vec<String> = text.lines().map(steady).collect();
    let page =
        std::fs::read_to_string(package().join("docs/troubleshooting.md")).expect("the page");
    let mut shown = 0;
    for block in page.split("```console\n").skip(1) {
        for line in block.split("```").next().expect("its end").lines() {
            // What the kernel and Docker say of memory differs with their versions.
            if line.contains("out of memory") {
                continue;
            }
            shown += 1;
            assert!(printed.contains(&steady(line)), "{line:?} was not printed:\n{text}");
        }
    }
    assert!(shown > 60, "{shown} lines");
    let ours = format!("name=^{}demo-", std::env::var(PREFIX).expect("a prefix"));
    let left = DOCKER.say(&["ps", "-aq", "--filter", &ours]).fine();
    assert_eq!(left, "", "containers that it left");
}
