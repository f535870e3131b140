//! What clawinit needs of an engine: no capability, no root, nothing to write to, and no system call
//! that the default seccomp profile withholds (`docs/security.md`).

use crate::engine::{Container, Engine, TempFile, children, status_field, until, zombies};
use serde_json::Value;

const DOCKER: Engine = Engine::Docker;

/// The narrowest container that the engine makes, with its own seccomp profile.
const NARROW: [&str; 6] = [
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--user=65532:65532",
    "--pids-limit=64",
    "--memory=64m",
];

pub fn absent() -> Option<String> {
    DOCKER.absent()
}

fn narrow(options: &[&str], script: &str) -> Container {
    let options = [&NARROW[..], options].concat();
    DOCKER.start(&options, &DOCKER.image("alpine-like"), &["sh", "-c", script])
}

/// SECCOMP_MODE_FILTER of prctl(2).
const FILTERED: &str = "2";

pub fn everything_works_without_a_capability_under_the_default_seccomp_profile() {
    let report = TempFile::with("termination-log", "");
    let mount = format!("--volume={}:/dev/termination-log", report.text());
    let container = narrow(
        &[
            &mount,
            "--env=CLAWINIT_METRICS_LISTEN=127.0.0.1:9464",
            "--env=CLAWINIT_PORT=8888",
            "--env=CLAWINIT_VARY_PID=1",
            "--env=CLAWINIT_NO_NEW_PRIVS=1",
            "--env=CLAWINIT_LOG_LEVEL=debug",
        ],
        "trap 'exit 75' USR1; trap 'exit 0' TERM
         i=0; while [ $i -lt 20 ]; do ( sleep 0.1 & ); i=$((i+1)); done
         ( setsid sleep 1000 & )
         echo up $CLAWINIT_GENERATION; while :; do sleep 0.1; done",
    );
    container.says("up 1");
    let init = container.pid();
    for pid in [vec![init], children(init)].concat() {
        for (field, wanted) in [
            ("Seccomp", FILTERED),
            ("NoNewPrivs", "1"),
            ("CapPrm", "0000000000000000"),
            ("CapEff", "0000000000000000"),
            ("CapBnd", "0000000000000000"),
            ("Uid", "65532\t65532\t65532\t65532"),
        ] {
            assert_eq!(status_field(pid, field), wanted, "{field} of {pid}");
        }
    }
    container.says("the exporter");
    let health = container.exec(&["clawinit", "health", "http://127.0.0.1:9464/health"]);
    assert_eq!(health.code, Some(0), "{health:?}");
    let status = container.exec(&["clawinit", "status"]);
    assert_eq!(status.code, Some(0), "{status:?}");
    let restarted = container.exec(&["clawinit", "restart"]);
    assert_eq!(restarted.code, Some(0), "{restarted:?}");
    container.says("up 2");
    until("all orphans to be reaped", || zombies(init).is_empty().then_some(()));
    container.stop("20");
    assert_eq!(container.wait(), 0);
    let logs = container.logs();
    assert!(logs.contains("sweeping what the child left"), "{logs}");
    // It says what it cannot do. Nothing of it was withheld here.
    for word in ["not permitted", "denied", "not implemented", "warning", "cannot"] {
        assert!(!logs.contains(word), "{word}: {logs}");
    }
    let report: Value = serde_json::from_str(&report.read()).expect("the report");
    assert_eq!(report["cause"], "stop", "{report}");
    assert_eq!(report["restarts"]["signal"], 1, "{report}");
}

/// The other user of `docker exec --user`, with the capabilities that Docker gives it: none.
pub fn another_user_of_docker_exec_cannot_stop_or_read_it() {
    let container = DOCKER.start(
        &["--user=65532:65532"],
        &DOCKER.image("alpine-like"),
        &["sh", "-c", "trap 'exit 0' TERM; echo up; while :; do sleep 0.1; done"],
    );
    container.says("up");
    let other = |words: &[&str]| {
        DOCKER.say(&[&["exec", "--user=1234:1234", &container.name], words].concat())
    };
    for script in ["kill -TERM 1", "kill -USR1 1", "cat /proc/1/environ", "ls /proc/1/fd/"] {
        let said = other(&["sh", "-c", script]);
        assert_ne!(said.code, Some(0), "{script}: {said:?}");
        let refused = ["not permitted", "denied"].iter().any(|why| said.err.contains(why));
        assert!(refused, "{script}: {said:?}");
    }
    assert_eq!(other(&["clawinit", "stop"]).code, Some(4));
    assert!(!container.logs().contains("stop requested"), "{}", container.logs());
    container.stop("20");
    assert_eq!(container.wait(), 0);
}
