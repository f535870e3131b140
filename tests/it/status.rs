//! `clawinit status`: what one wants to know at three in the morning, and finding whom to ask.

use crate::harness::{Folder, Init, Run, clawinit, free_port, probe};
use crate::{schema, sys};
use serde_json::Value;

/// What `clawinit status` says in the namespace, once it says what is wanted.
fn status(run: &Run, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let found = crate::harness::until(what, || {
        // Before the program has become clawinit there is none.
        let said = run.verb(&["status", "--json"]);
        last = serde_json::from_str(&said.out).unwrap_or(Value::String(said.err));
        wanted(&last).then(|| last.clone())
    });
    found.unwrap_or_else(|| run.fail(&format!("{what}; the last one: {last:#}")))
}

#[track_caller]
fn fits(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{} letters: {line:?}", line.chars().count());
        assert!(!line.contains('\u{1b}'), "an escape: {line:?}");
    }
}

pub fn it_tells_in_80_columns_what_runs_and_who_asked() {
    let run = Init::new(&[]).role(&["record", "exit=10:75"]).ready();
    run.signal_from_inside(&["10"]);
    run.ready_generation(2);
    let said = run.verb(&["status"]).with(0);
    fits(&said.out);
    let lines: Vec<&str> = said.out.lines().collect();
    assert!(lines[0].starts_with("phase      running for "), "{}", said.out);
    assert!(lines[1].starts_with("child      pid "), "{}", said.out);
    assert!(lines[1].contains("generation 2, up "), "{}", said.out);
    for wanted in [
        "\ncommand    /",
        " ago: generation 1 exited with 75 after ",
        " ago: SIGUSR1 by pid ",
        "\nrestarts   1 by signal, 0 by exit code, 0 by crash\n",
        "\nsignals    1 SIGUSR1\n",
        &format!("\nclawinit   {}, pid 1, up ", env!("CARGO_PKG_VERSION")),
    ] {
        assert!(said.out.contains(wanted), "no {wanted:?} in\n{}", said.out);
    }
}

pub fn its_json_fits_the_schema_in_every_phase() {
    let schema = schema::load("status.schema.json");
    let check = |run: &Run, phase: &str, code: i32| {
        let seen = status(run, phase, |status| status["phase"] == phase);
        schema::holds(&schema, &seen);
        let said = run.verb(&["status"]);
        fits(&said.out);
        // The phase may have changed by now, but not to one with another code.
        said.with(code);
        seen
    };
    let run = Init::new(&["--stop-grace", "60s"]).role(&["record", "exit=10:75:60000"]).ready();
    let seen = check(&run, "running", 0);
    assert_eq!(seen["child"]["pid"], 2, "{seen}");
    assert_eq!(seen["deadline_seconds"], Value::Null, "{seen}");
    assert_eq!(seen["last_exit"], Value::Null, "{seen}");
    assert!(seen["child"]["command"].as_str().unwrap().ends_with("probe record exit=10:75:60000"));
    run.usr1();
    let seen = check(&run, "restarting", 0);
    assert!(seen["deadline_seconds"].as_f64().unwrap() > 10.0, "{seen}");
    assert_eq!(seen["requests"]["restart"]["last"]["sender"]["pid"], 0, "{seen}");
    run.term();
    let seen = check(&run, "stopping", 0);
    assert_eq!(seen["requests"]["stop"]["last"]["signal"], "SIGTERM", "{seen}");
    drop(run);

    let run = Init::new(&["--sweep-grace", "60s"])
        .role(&["leave", "x:daemon:deaf", "--", "record", "exit=10:75"])
        .ready();
    run.usr1();
    let seen = check(&run, "sweeping", 3);
    assert_eq!(seen["child"]["pid"], Value::Null, "{seen}");
    assert_eq!(seen["leftovers"], 1, "{seen}");
    assert_eq!(seen["last_exit"]["code"], 75, "{seen}");
    drop(run);

    let run = Init::new(&["--restart", "always", "--restart-delay", "60s"]).role(&["die", "9"]);
    let seen = check(&run, "backoff", 3);
    assert_eq!(seen["last_exit"]["signal"], "SIGKILL", "{seen}");
    assert_eq!(seen["crashes_in_a_row"], 1, "{seen}");
    drop(run);

    // A first start that is tried again: nothing has ever run.
    let folder = Folder::new();
    let busy = folder.write("busy", "#!/bin/sh\n", 0o755);
    let _writer = std::fs::OpenOptions::new().append(true).open(&busy).expect("open it");
    let run = Init::new(&["--restart-delay", "60s"]).command(&[&busy]);
    let seen = check(&run, "backoff", 3);
    assert_eq!(seen["generation"], 0, "{seen}");
    let said = run.verb(&["status"]).with(3);
    assert!(said.out.contains("\nchild      none has started yet\n"), "{}", said.out);
}

pub fn it_is_found_by_its_own_child() {
    let program = clawinit().display().to_string();
    for under in [false, true] {
        let init = Init::new(&[]);
        let init = if under { init.under() } else { init };
        let done = init.command(&[&program, "status", "--json"]).finish_with(0);
        let seen: Value = serde_json::from_str(&done.out[0]).expect("JSON");
        assert_eq!(seen["pid"], if under { 2 } else { 1 }, "{seen}");
        assert_eq!(seen["phase"], "running", "{seen}");
    }
}

pub fn it_is_found_where_pid_1_is_another() {
    let run = Init::new(&[]).under().role(&["record"]).ready();
    let seen = run.verb(&["status", "--json"]).with(0).json();
    assert_eq!(seen["pid"], 2, "{seen}");
    // A variable that names a process without a page is as good as none.
    let seen = run.verb(&["status", "--json", "CLAWINIT_PID=3"]).with(0).json();
    assert_eq!(seen["pid"], 2, "{seen}");
    let seen = run.verb(&["status", "--json", "CLAWINIT_PID=2"]).with(0).json();
    assert_eq!(seen["pid"], 2, "{seen}");
}

pub fn who_only_holds_the_page_is_not_taken_for_it() {
    let run = Init::new(&[]).under().role(&["record"]).ready();
    status(&run, "running", |status| status["phase"] == "running");
    let holder = run.exec(&["hold-page", "2", "pause"]);
    let pid = holder.says_prefix("ready");
    let pid = crate::harness::pid_in(&pid).to_string();
    let seen = run.verb(&["status", "--json"]).with(0).json();
    assert_eq!(seen["pid"], 2, "{seen}");
    let said = run.verb(&["status", "--pid", &pid]).with(5);
    assert!(said.err.contains(&format!("--pid: {pid} is ")), "{}", said.err);
}

/// clawinit's place taken by a role of the probe.
fn another(role: &[&str]) -> Run {
    let mut words = vec!["probe"];
    words.extend(role);
    Init::plain(&words).program(probe()).alone().ready()
}

pub fn several_are_listed_and_a_pid_picks_one() {
    let (program, child) = (clawinit().display().to_string(), probe().display().to_string());
    let run = another(&["several", "2", &program, "--", &child, "probe", "pause"]);
    let said = crate::harness::until("both to be found", || {
        Some(run.verb(&["status"])).filter(|said| said.code == Some(2))
    });
    let said = said.unwrap_or_else(|| run.fail("both are running"));
    assert!(said.err.contains("2 are running here, write --pid N"), "{}", said.err);
    let (_, list) = said.err.split_once("you mean: ").expect("a list");
    let pids: Vec<&str> = list
        .split(')')
        .filter_map(|entry| entry.split_once(" (")?.0.split_whitespace().next_back())
        .collect();
    assert_eq!(pids.len(), 2, "{}", said.err);
    for pid in pids {
        let seen = run.verb(&["status", "--json", "--pid", pid]).with(0).json();
        assert_eq!(seen["pid"].to_string(), pid, "{seen}");
    }
}

pub fn no_clawinit_is_3() {
    let run = another(&["pause"]);
    for words in [&["status"][..], &["stop"], &["restart"]] {
        let said = run.verb(words).with(3);
        assert_eq!(said.err, format!("clawinit: {}: no clawinit is running here\n", words[0]));
        assert_eq!(said.out, "");
    }
}

pub fn a_pid_that_is_no_clawinit_is_5() {
    let run = Init::new(&[]).role(&["record"]).ready();
    let said = run.verb(&["status", "--pid", "2"]).with(5);
    assert!(said.err.starts_with("clawinit: status: --pid: 2 is "), "{}", said.err);
    let said = run.verb(&["stop", "--pid=999999"]).with(5);
    assert_eq!(said.err, "clawinit: stop: --pid: there is no process 999999\n");
}

pub fn another_user_is_told_whom_to_be() {
    let folder = Folder::new();
    let (program, probe) = folder.copies();
    let run = Init::new(&[]).program(program.clone()).with_probe(probe).role(&["record"]).ready();
    for words in [&["status"][..], &["status", "--pid", "1"], &["stop"], &["restart", "--json"]] {
        let said = run.verb_of(&["as", "4711"], &program, words).with(4);
        let wanted = format!(
            "clawinit: {}: pid 1 is clawinit, but uid 4711 may not read its status page; run this as uid 0 (docker exec -u 0 ...)\n",
            words[0]
        );
        assert_eq!(said.err, wanted);
    }
    // The user that it runs as may.
    let run = Init::new(&[])
        .program(program.clone())
        .with_probe(folder.file("probe"))
        .flag("user=4711")
        .role(&["record"])
        .ready();
    run.verb_of(&["as", "4711"], &program, &["status"]).with(0);
}

pub fn older_and_newer_pages_are_read_and_others_are_refused_with_a_way_out() {
    let schema = schema::load("status.schema.json");
    // The older one ends in the midst, behind the phase and the child.
    for (minor, more) in [("1", "8"), ("0", "0"), ("0", "-500")] {
        let used = clawinit::status::layout::USED as i64;
        let more = if more == "-500" { (20 - used).to_string() } else { more.to_string() };
        let run = another(&["page", "1", minor, &more]);
        let seen = run.verb(&["status", "--json"]).with(0).json();
        schema::holds(&schema, &seen);
        assert_eq!(seen["version"], "9.8.7", "{seen}");
        assert_eq!(seen["child"]["pid"], 4242, "{seen}");
        assert_eq!((&seen["ready"], &seen["sockets"]), (&Value::Null, &0.into()), "{seen}");
        run.verb(&["status", "--ready"]).with(0);
        fits(&run.verb(&["status"]).with(0).out);
    }
    let run = another(&["page", "2", "0", "0"]);
    for verb in ["status", "stop", "restart"] {
        let said = run.verb(&[verb]).with(1);
        assert!(said.err.contains("layout 2, not 1"), "{}", said.err);
        assert!(said.err.contains("/proc/1/exe status --pid 1"), "{}", said.err);
    }
}

pub fn a_name_forges_no_line_and_no_json() {
    let run = another(&["page", "1", "0", "0"]);
    let seen = run.verb(&["status", "--json"]).with(0).json();
    assert_eq!(seen["child"]["command"], "a\u{fffd}\n\u{1b}[2Jb\rphase\"\\", "{seen}");
    let said = run.verb(&["status"]).with(0);
    fits(&said.out);
    assert!(
        said.out.contains("\ncommand    a\u{fffd}\\u000a\\u001b[2Jb\\u000dphase\"\\\n"),
        "{:?}",
        said.out
    );
}

pub fn a_watcher_is_told_of_changes_and_of_the_end() {
    let schema = schema::load("status.schema.json");
    let run = Init::new(&[]).role(&["record", "exit=10:75", "exit=15:0"]).ready();
    let json = run.verb_outside(&["status", "--watch", "--json"]);
    let text = run.verb_outside(&["status", "--watch"]);
    json.says("\"phase\":\"running\",");
    text.says("generation 1, up");
    run.usr1();
    run.ready_generation(2);
    json.says("\"generation\":2,");
    text.says("generation 2, up");
    run.term();
    let (json, text) = (json.finish().with(3), text.finish().with(3));
    assert!(text.out.ends_with("clawinit left with 0\n"), "{}", text.out);
    fits(&text.out);
    let lines: Vec<Value> = json
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    for line in &lines {
        schema::holds(&schema, line);
    }
    assert_eq!(lines.last().unwrap()["exit_code"], 0, "{}", json.out);
    assert!(lines.len() < 12, "something changed {} times:\n{}", lines.len(), json.out);
}

pub fn a_watcher_at_a_terminal_sees_it_in_place() {
    let run = Init::new(&[]).role(&["record", "exit=10:75"]).ready();
    let mut watch = run.begin_verb_on_terminal(&["status", "--watch"]);
    watch.says("generation 1, up");
    run.usr1();
    watch.says("generation 2, up");
    // It goes up by as many lines as it drew, and erases what is behind them.
    let text = watch.out.text();
    let first = text.find("\u{1b}[J").unwrap_or_else(|| panic!("no frame: {text:?}"));
    let lines = text[..first].matches('\n').count();
    assert!(text[first..].contains(&format!("\u{1b}[J\r\u{1b}[{lines}A")), "{text:?}");
    assert!(text.contains("\u{1b}[K\r\n"), "{text:?}");
    watch.kill(libc::SIGKILL);
}

pub fn the_end_of_a_watch_is_clean() {
    let run = Init::new(&[]).role(&["record"]).ready();
    let mut watch = run.verb_outside(&["status", "--watch"]);
    watch.says("phase ");
    watch.kill(libc::SIGINT);
    let said = watch.finish().with(130);
    assert_eq!(said.err, "");
    // clawinit is gone without a word: the watch says that, too.
    let watch = run.verb_outside(&["status", "--watch"]);
    watch.says("phase ");
    sys::kill(run.pid, libc::SIGKILL).expect("kill clawinit");
    let said = watch.finish().with(3);
    assert!(said.out.contains("clawinit is gone, and left no exit code"), "{}", said.out);
}

#[track_caller]
fn has(said: &str, wanted: &str) {
    assert!(said.contains(wanted), "no {wanted:?} in\n{said}");
}

/// Without the line ends that a narrow page makes.
fn flat(said: &str) -> String {
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub fn it_tells_whether_the_child_is_ready_and_what_it_says() {
    let schema = schema::load("status.schema.json");
    let port = free_port();
    let listen = format!("--listen=127.0.0.1:{port},unix:/tmp/clawinit-test-{port}");
    let options = ["--notify", "--start-grace=60s", "--watchdog=90s", &listen];
    let run = Init::new(&options)
        .role(&[
            "says",
            "print:ready",
            "wait:12",
            "say:READY=1|STATUS=42\u{9b}clients",
            "wait:12",
            "say:RELOADING=1",
            "wait:12",
            "say:STOPPING=1",
            "stay",
        ])
        .ready();
    // Not before the page has said it is the answer that of this moment.
    let check = |readiness: &str, ready: bool, line: &str| {
        let seen = status(&run, readiness, |status| status["readiness"] == readiness);
        schema::holds(&schema, &seen);
        assert_eq!(seen["ready"], ready, "{seen}");
        assert_eq!(seen["ready_seconds"].is_number(), ready, "{seen}");
        // A child that is not ready runs all the same; who wants more asks for it.
        let said = run.verb(&["status"]).with(0);
        fits(&said.out);
        has(&said.out, line);
        run.verb(&["status", "--ready"]).with(if ready { 0 } else { 3 });
        run.signal(libc::SIGUSR2);
        (seen, said.out)
    };
    let (seen, said) = check("not-yet", false, "\nready      not yet; ");
    has(&said, " left of --start-grace 60 s\n");
    has(&said, "\nwatchdog   a sign of life is due every 90 s\n");
    has(&said, "\nsockets    2 of --listen\n");
    assert!(!said.contains("\nsays "), "{said}");
    assert_eq!((&seen["sockets"], &seen["fault"]), (&2.into(), &Value::Null), "{seen}");
    assert_eq!(seen["child"]["status_text"], Value::Null, "{seen}");
    assert_eq!(seen["settings"]["watchdog_seconds"], 90.0, "{seen}");
    let (seen, said) = check("ready", true, "\nready      for ");
    has(&said, "\nsays       42\\u009bclients\n");
    assert_eq!(seen["child"]["status_text"], "42\u{9b}clients", "{seen}");
    assert_eq!(seen["counters"]["notifications_heard"], 1, "{seen}");
    check("reloading", false, "\nready      not now; it starts anew inside its own process\n");
    check("stopping", false, "\nready      no more; it says that it is about to end\n");
}

pub fn without_readiness_a_child_that_runs_is_ready_enough() {
    let run = Init::new(&[]).role(&["record"]).ready();
    let seen = status(&run, "running", |status| status["phase"] == "running");
    assert_eq!((&seen["ready"], &seen["readiness"]), (&Value::Null, &"unknown".into()), "{seen}");
    let said = run.verb(&["status", "--ready"]).with(0);
    for label in ["ready", "watchdog", "says", "sockets", "refused"] {
        assert!(!said.out.contains(&format!("\n{label} ")), "{}", said.out);
    }
    let run = Init::new(&["--restart=always", "--restart-delay=60s"]).role(&["die", "9"]);
    status(&run, "backoff", |status| status["phase"] == "backoff");
    run.verb(&["status", "--ready"]).with(3);
}

pub fn a_child_that_fails_is_told_with_the_reason() {
    let schema = schema::load("status.schema.json");
    let late = ["--notify", "--start-grace=300ms", "--restart-grace=60s"];
    let run = Init::new(&late).role(&["says", "stay"]);
    let seen = status(&run, "failing", |status| status["phase"] == "failing");
    schema::holds(&schema, &seen);
    assert_eq!((&seen["fault"], &seen["ready"]), (&"not-ready".into(), &false.into()), "{seen}");
    assert_eq!(seen["counters"]["start_timeouts"], 1, "{seen}");
    assert!(seen["deadline_seconds"].as_f64() > Some(10.0), "{seen}");
    let said = run.verb(&["status"]).with(0);
    fits(&said.out);
    has(&said.out, "phase      failing for ");
    has(&flat(&said.out), ": it was not ready in time (--start-grace), SIGKILL in 5");
    run.verb(&["status", "--ready"]).with(3);
    drop(run);

    let hung = ["--watchdog=50ms", "--restart=always", "--restart-delay=60s"];
    let run = Init::new(&hung).role(&["says", "wait:15", "exit:3"]);
    let seen = status(&run, "backoff", |status| status["phase"] == "backoff");
    schema::holds(&schema, &seen);
    assert_eq!((&seen["fault"], &seen["ready"]), (&Value::Null, &Value::Null), "{seen}");
    assert_eq!(seen["last_exit"]["fault"], "watchdog", "{seen}");
    assert_eq!(seen["counters"]["watchdog_expired"], 1, "{seen}");
    let said = run.verb(&["status"]).with(3);
    fits(&said.out);
    has(&flat(&said.out), ": it hung (--watchdog) restarts ");
    has(&said.out, "\nwatchdog   a sign of life is due every 50 ms; 1 generation hung so far\n");
}
