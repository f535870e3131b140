//! `clawinit check`: what would happen, told and not done.

use crate::harness::{Folder, Init, Plain, plain};
use serde_json::Value;

fn check(words: &[&str], variables: &[(&str, &str)]) -> Plain {
    let mut all = vec!["check"];
    all.extend(words);
    plain(None, &all, variables)
}

/// Its findings as JSON; the command can be run.
fn findings(words: &[&str], variables: &[(&str, &str)]) -> Value {
    let mut all = vec!["--json"];
    all.extend(words);
    let done = check(&all, variables);
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""), "{words:?}: {}", done.out);
    assert_eq!(done.out.lines().count(), 1, "{}", done.out);
    serde_json::from_str(&done.out).unwrap_or_else(|e| panic!("{e}: {}", done.out))
}

fn warnings(words: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
    let found = findings(words, variables);
    let all = found["warnings"].as_array().expect("warnings");
    all.iter().map(|w| w["message"].as_str().expect("a message").to_string()).collect()
}

pub fn every_setting_is_told_with_where_it_comes_from() {
    let variables = [
        ("CLAWINIT_STOP_GRACE", "8s"),
        ("CLAWINIT_SWEEP_GRACE", "1s"),
        ("CLAWINIT_KILL_MODE", ""),
        ("TINI_SUBREAPER", ""),
    ];
    let words =
        ["--sweep-grace=2500ms", "-v", "-e", "7", "--map=HUP:none", "--restart-delay=1m", "true"];
    let found = findings(&words, &variables);
    for (name, value, from) in [
        ("stop-grace", Some("8s"), "CLAWINIT_STOP_GRACE"),
        ("restart-grace", Some("8s"), "as --stop-grace"),
        ("sweep-grace", Some("2500ms"), "command line"),
        ("kill-mode", Some("mixed"), "default"),
        ("subreaper", Some("on"), "TINI_SUBREAPER"),
        ("log-level", Some("debug"), "command line"),
        ("success-codes", Some("7"), "command line"),
        ("map", Some("HUP:none"), "command line"),
        ("restart-delay", Some("60s"), "command line"),
        ("restart-delay-max", Some("60s"), "as --restart-delay"),
        ("restart-code", Some("75"), "default"),
        ("stop-signal", None, "default"),
    ] {
        let setting = &found["settings"][name];
        assert_eq!((setting["value"].as_str(), setting["from"].as_str()), (value, Some(from)));
    }
    // All there are, in both forms, and none twice.
    let help = plain(None, &["--help"], &[]).out;
    let text = check(&words, &variables).out;
    let settings = found["settings"].as_object().expect("settings");
    for name in settings.keys() {
        assert!(help.contains(&format!("  --{name} ")), "{name} is not in the help");
        assert_eq!(text.matches(&format!("\n  --{name} ")).count(), 1, "{name} in {text}");
    }
    assert_eq!(settings.len(), help.matches("\n  --").count() - 2, "all but --help and --version");
}

/// What it prints is what one can type: typed, it means the same.
pub fn the_settings_it_prints_are_taken_back() {
    let words = [
        "--stop-on=TERM,RTMIN+3,33",
        "--stop-signal=INT",
        "--stop-grace=1500ms",
        "--stop-delay=2s",
        "--restart-on=HUP",
        "--restart-signal=RTMAX",
        "--restart-grace=90s",
        "--restart-code=9,3,0",
        "--no-restart-code=78",
        "--restart=always",
        "--restart-limit=64/2m",
        "--kill-mode=group",
        "--map=USR2:HUP,WINCH:none",
        "--success-codes=143,1",
        "--stop-exit-code=0",
        "--platform-grace=1m",
        "--user=65534",
        "--no-new-privs",
        "--subreaper=off",
        "--parent-death-signal=KILL",
        "--port=8888",
        "--metrics-listen=127.0.0.1:9464",
        "--termination-log=/tmp/report",
        "--log-format=json",
        "--log-level=trace",
        "--exit-when=all",
        "--listen=0.0.0.0:8080=http,unix:/run/app.sock",
        "--listen-env=HTTP_FD",
        "--notify",
        "--start-grace=90s",
        "--watchdog=30s",
        "--watchdog-signal=ABRT",
        "--ready-url=http://localhost:8080/ready",
        "--ready-body=well",
        "--ready-json=status=ok",
        "--restart-style=in-place",
        "--stop-grace-max=2500ms",
        "--restart-grace-max=2m",
        "true",
    ];
    let first = findings(&words, &[])["settings"].clone();
    let typed: Vec<String> = first
        .as_object()
        .expect("settings")
        .iter()
        .filter_map(|(name, s)| Some(format!("--{name}={}", s["value"].as_str()?)))
        .collect();
    let mut again: Vec<&str> = typed.iter().map(String::as_str).collect();
    again.push("true");
    let second = findings(&again, &[])["settings"].clone();
    for (name, setting) in first.as_object().expect("settings") {
        assert_eq!(setting["value"], second[name]["value"], "{name}");
    }
    assert_eq!(first["restart-code"]["value"], "9,0,3", "the first one is the child's");
    for word in words {
        let name = word.split_once('=').map_or(word, |(name, _)| name);
        let setting = name.strip_prefix("--").map(|name| &first[name]["value"]);
        assert!(setting.is_none_or(|value| value.is_string()), "{word}: {setting:?}");
    }
}

/// As clawinit itself would find: 126 and 127 there are 1 here.
pub fn the_command_is_found_or_what_is_wrong_with_it_told() {
    let folder = Folder::new();
    let name = |name: &str| folder.word(name);
    folder.write("right", "#!/bin/sh\nexec true\n", 0o755);
    folder.write("closed", "#!/bin/sh\n", 0o644);
    folder.write("garbage", "no program\n", 0o755);
    folder.write("empty", "", 0o755);
    folder.write("lost", "#! /no/such/interpreter -x\n", 0o755);
    folder.write("windows", "#!/bin/sh\r\necho\r\n", 0o755);
    // The head of a program, its loader named and absent; then one of another machine.
    let mut elf = std::fs::read("/bin/true").expect("a program");
    let at = elf.windows(5).position(|w| w == b"/lib6" || w == b"/lib/").expect("its loader");
    elf[at..at + 5].copy_from_slice(b"/nowh");
    std::fs::write(folder.file("loader"), &elf).expect("write");
    folder.set_mode("loader", 0o755);
    elf[18..20].copy_from_slice(&[0xf3, 0]); // RISC-V
    std::fs::write(folder.file("foreign"), &elf).expect("write");
    folder.set_mode("foreign", 0o755);

    for (command, code, why) in [
        (name("right"), 0, "right"),
        ("true".to_string(), 0, "/bin/true"),
        ("no-such-program".to_string(), 127, "is not on PATH; write its full path, or set PATH"),
        (String::new(), 127, "the command is empty"),
        (name("none"), 127, "there is no such file"),
        (name(""), 126, "is a folder"),
        (name("closed"), 126, "may not be executed; chmod +x it?"),
        (name("garbage"), 126, "it is no program, and has no #! line"),
        (name("empty"), 126, "it is no program, and has no #! line"),
        (name("lost"), 127, "its #! line names /no/such/interpreter, which is not there"),
        (
            name("windows"),
            127,
            "its #! line names /bin/sh\\r, which is not there; its lines end as on Windows",
        ),
        (name("loader"), 127, "its dynamic loader names /nowh"),
        (name("foreign"), 126, "it is a program for another machine"),
    ] {
        let done = check(&["--", &command], &[]);
        assert_eq!(done.code, Some(i32::from(code != 0)), "{command}: {}", done.out);
        assert!(done.out.contains(why), "{command}: no {why:?} in {}", done.out);
        let json = check(&["--json", "--", &command], &[]);
        let json: Value = serde_json::from_str(&json.out).expect("JSON");
        let (path, problem) = (&json["path"], &json["problem"]);
        let said = if code == 0 { path } else { problem };
        assert!(said.as_str().is_some_and(|s| s.contains(why)), "{command}: {json}");
        assert!(path.is_null() != problem.is_null(), "{command}: {json}");
        // And so it is.
        let real = plain(None, &["--", &command], &[]);
        assert_eq!(real.code, Some(code), "{command}: {}", real.err);
    }
}

pub fn what_will_hurt_is_warned_of() {
    let folder = Folder::new();
    let script = folder.write("script", "#!/bin/sh\nset -e\nsleep 9\n", 0o755);
    let good = folder.write("good", "#!/bin/sh\nset -e\nexec sleep 9\n", 0o755);
    folder.write("link-to", "", 0o644);
    std::os::unix::fs::symlink(folder.file("link-to"), folder.file("link")).expect("a link");
    let report = |name: &str| format!("--termination-log={}", folder.word(name));
    let fit = "--stop-grace=5s";
    for (words, needle) in [
        (vec!["true"], "Docker and Compose kill after 10s where nobody says otherwise; give 30s"),
        (vec!["--stop-grace=9s", "--stop-delay=1s", "true"], "--stop-delay 1s and --stop-grace 9s"),
        (vec!["--stop-grace=30s", "true"], "and Kubernetes after 30s; give 35s"),
        (vec!["--platform-grace=25s", "true"], "the platform kills after 25s"),
        (vec![fit, "sh", "-c", "sleep 9; true"], "sh -c: a shell that stays"),
        (vec![fit, "/bin/bash", "-euc", "sleep 9"], "--sweep-grace 3s instead of --stop-grace 5s"),
        (vec![fit, "--kill-mode=process", "sh", "-c", "sleep 9"], "is told nothing"),
        (vec![fit, &script], "a shell script without exec"),
        (vec![fit, "--stop-on=INT", "true"], "SIGTERM is not in --stop-on"),
        (vec![fit, "--stop-on=none", "true"], "no signal means stop"),
        (vec![fit, "--restart=never", "--restart-code=3", "true"], "--restart-code does nothing"),
        (
            vec!["--notify", "--stop-grace-max=40s", "--platform-grace=30s", "true"],
            "a stop may take --stop-grace-max 40s, but the platform kills after 30s",
        ),
        (vec![fit, "--watchdog=900ms", "true"], "would be taken for hung; write 10s or more"),
        (
            vec![fit, "--kill-mode=group", "--listen=[::]:8080", "sh", "-c", "sleep 9; true"],
            "LISTEN_PID names the shell",
        ),
        (
            vec![fit, "--watchdog=9s", "sh", "-c", "trap : TERM; sleep 9"],
            "WATCHDOG_PID names the shell",
        ),
        (
            vec![fit, "--kill-mode=group", "--notify", "sh", "-c", "sleep 9; true"],
            "is heard only while the shell lives",
        ),
        (vec![fit, &report("no/such/folder"), "true"], "its folder is not there"),
        (vec![fit, &report("link"), "true"], "a link in its place is not followed"),
        (vec![fit, &report(""), "true"], "it is a folder"),
    ] {
        let found = warnings(&words, &[]);
        assert!(found.iter().any(|w| w.contains(needle)), "{words:?}: no {needle:?} in {found:#?}");
        assert_eq!(found.len(), 1, "{words:?}: {found:#?}");
    }
    let unknown = warnings(&[fit, "true"], &[("CLAWINIT_STOP_GRASE", "1s")]);
    assert!(unknown[0].contains("did you mean CLAWINIT_STOP_GRACE?"), "{unknown:?}");
    // Nothing is wrong with these.
    for words in [
        vec![fit, "true"],
        vec!["--platform-grace=30s", "true"],
        vec!["--stop-grace=9s", "true"],
        vec![fit, "sh", "-c", "cd / && exec sleep 9"],
        vec![fit, "sh", "-c", "trap 'kill $!' TERM; sleep 9 & wait"],
        vec![fit, "--kill-mode=group", "sh", "-c", "sleep 9; true"],
        vec![fit, "sh", "script", "-c", "x"],
        vec![fit, "echo", "sh", "-c", "x"],
        vec![fit, &good],
        vec![fit, "--stop-on=TERM", "--restart=never", "true"],
        vec![fit, &report("report"), "true"],
        vec![fit, "--listen=127.0.0.1:80,unix:/run/app.sock", "--port=80", "true"],
        vec![fit, "--watchdog=1s", "--notify", "--listen=[::]:80", "sh", "-c", "exec sleep 9"],
        vec!["--notify", "--stop-grace-max=29s", "--platform-grace=30s", "true"],
    ] {
        let found = warnings(&words, &[]);
        assert!(found.is_empty(), "{words:?}: {found:#?}");
    }
}

/// Where it is asked matters too.
pub fn the_place_is_looked_at() {
    let asked = |init: Init, code| {
        let text = init.alone().finish_with(code).out.join("\n");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let words = ["check", "--stop-grace=5s", "--", "true"];
    let first = asked(Init::plain(&words), 0);
    assert!(first.contains("this is PID 1, as clawinit would be"), "{first}");
    assert!(!first.contains("warnings"), "{first}");
    let under = asked(Init::plain(&words).under(), 0);
    assert!(under.contains("this is not PID 1, as clawinit should be; "), "{under}");
    let no_proc = asked(Init::plain(&words).flag("no-proc"), 0);
    assert!(no_proc.contains("there is no /proc of this PID namespace"), "{no_proc}");
    let folder = Folder::new();
    let (clawinit, probe) = folder.copies();
    let user = ["check", "--stop-grace=5s", "--user=1000", "--", "true"];
    let user = Init::plain(&user).program(clawinit).with_probe(probe).flag("user=65534");
    let user = asked(user, 0);
    assert!(user.contains("--user 1000: this is user 65534"), "{user}");
    let (clawinit, probe) = (folder.file("clawinit"), folder.file("probe"));
    let low = ["check", "--stop-grace=5s", "--listen=0.0.0.0:8080,[::]:81,[::]:80", "--", "true"];
    let low = Init::plain(&low).program(clawinit).with_probe(probe).flag("user=65534");
    let low = asked(low, 0);
    assert!(low.contains("--listen: port 80 is below "), "{low}");
    assert!(low.contains(", and this user has no CAP_NET_BIND_SERVICE; "), "{low}");
}

pub fn nothing_is_started_and_nothing_written() {
    let folder = Folder::new();
    let (made, report) = (folder.word("made"), folder.word("report"));
    let log = format!("--termination-log={report}");
    let done = check(&[&log, "--metrics-listen=127.0.0.1:9464", "--", "touch", &made], &[]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 0);
}

/// Eighty columns, no colour, no control character but line ends.
pub fn its_text_fits_a_terminal() {
    let folder = Folder::new();
    let odd = folder.write("odd\x1b[2J\nname", "#!/bin/sh\nexec true\n", 0o755);
    let log = format!("--termination-log={}", folder.word("no/such/\x1b[2J\nfolder"));
    let done = check(&["--restart=never", "--restart-on=HUP", &log, "--", &odd, "a\nb"], &[]);
    assert_eq!(done.code, Some(0), "{}", done.out);
    for line in done.out.lines() {
        assert!(!line.contains(char::is_control), "{line:?}");
        // Names of files are shown whole.
        assert!(line.chars().count() <= 80 || line.contains("/clawinit-test-"), "{line}");
    }
}

pub fn wrong_words_have_their_line() {
    for (words, why) in [
        (&[][..], "no command given; write clawinit check [OPTIONS] -- COMMAND"),
        (&["--json"], "no command given; write clawinit check"),
        (&["--stop-grace", "5", "true"], "--stop-grace: \"5\" has no unit; write 5s"),
        (&["--stop-grce=5s", "true"], "did you mean --stop-grace?"),
        (&["--stop-grace=5s", "--json", "true"], "--json: no such option"),
    ] {
        let done = check(words, &[]);
        assert_eq!((done.code, done.out.as_str()), (Some(2), ""), "{words:?}: {}", done.err);
        assert_eq!(done.err.lines().count(), 1, "{words:?}: {}", done.err);
        assert!(done.err.starts_with("clawinit: check: "), "{words:?}: {}", done.err);
        assert!(done.err.contains(why), "{words:?}: no {why:?} in {}", done.err);
    }
    let wrong = check(&["true"], &[("CLAWINIT_PORT", "http")]);
    assert!(wrong.code == Some(2) && wrong.err.contains("CLAWINIT_PORT: "), "{}", wrong.err);
    let help = check(&["--help"], &[]);
    assert_eq!((help.code, help.err.as_str()), (Some(0), ""));
    assert!(help.out.starts_with("usage: clawinit check "), "{}", help.out);
    // Behind --, or by another name, it is a command like any other.
    let run = plain(None, &["--", "check", "x"], &[]);
    assert_eq!(run.code, Some(127), "{}", run.err);
}
