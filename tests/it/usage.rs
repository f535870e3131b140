//! Every usage error has its line: what was wrong, where, and what to type instead (DESIGN
//! sections 2 and 3).

use crate::harness::{Plain, plain};

/// Options with a value that is wrong for them.
const WRONG: &[(&str, &[&str])] = &[
    (
        "stop-on",
        &["", "TERM,", "TERM,,INT", "NOPE", "0", "65", "KILL", "TERM,STOP", "CHLD", "term int"],
    ),
    ("stop-signal", &["", "NOPE", "KILL", "STOP", "0", "99", "TERM,INT"]),
    (
        "stop-grace",
        &[
            "",
            "25",
            "25 s",
            "s",
            "-1s",
            "1h",
            "1.5",
            "x25s",
            "ten",
            "99999999999999999999s",
            "99999999999999999999",
        ],
    ),
    ("stop-delay", &["", "5", "5sec", "-5s"]),
    ("restart-on", &["", "USR1,", "NOPE", "KILL", "STOP", "CHLD", "TERM", "QUIT,USR1"]),
    ("restart-signal", &["", "NOPE", "KILL", "70"]),
    ("restart-grace", &["", "10", "10d"]),
    ("sweep-grace", &["", "3", "3seconds"]),
    ("restart-code", &["", "256", "-1", "75,", "75,,76", "x", "75;76"]),
    ("no-restart-code", &["", "256", "x", "78,", "75"]),
    ("restart", &["", "sometimes", "Always", "unless-stopped"]),
    ("restart-delay", &["", "200", "0.2s"]),
    ("restart-delay-max", &["", "30", "30x"]),
    ("restart-limit", &["", "5", "5/60", "/60s", "5/", "x/60s", "-1/60s", "5/60s/1"]),
    ("stable-after", &["", "10", "10 s"]),
    ("kill-mode", &["", "all", "GROUP", "control-group"]),
    (
        "map",
        &[
            "",
            "TERM",
            "TERM:",
            ":TERM",
            "TERM:NOPE",
            "NOPE:TERM",
            "TERM:INT,",
            "TERM:INT:HUP",
            "KILL:TERM",
            "CHLD:TERM",
        ],
    ),
    ("success-codes", &["", "256", "143,", "x", "-1"]),
    ("stop-exit-code", &["", "256", "parent", "-1"]),
    ("platform-grace", &["", "30", "30sec"]),
    ("user", &["", "bob", "1000:", ":1000", "1000:staff", "-1", "1000:1000:1000", "+5", "5:+5"]),
    ("subreaper", &["", "yes", "maybe"]),
    ("parent-death-signal", &["", "NOPE", "0", "65", "STOP", "CHLD"]),
    ("port", &["", "0", "70000", "65536", "http", "-1", "80,81", "+5"]),
    ("termination-log", &["", "relative/path"]),
    ("log-format", &["", "xml", "JSON"]),
    ("log-level", &["", "loud", "11"]),
    ("exit-when", &["", "never", "parent"]),
];

/// One line that begins with the name, and says where it was and what to type; nothing has run.
fn one_line(done: &Plain, names: &str, how: &str) {
    assert_eq!(done.code, Some(2), "{how}: {}", done.err);
    assert_eq!(done.out, "", "{how}: something ran");
    let lines: Vec<&str> = done.err.lines().collect();
    assert_eq!(lines.len(), 1, "{how}: one line, not {lines:#?}");
    let line = lines[0];
    assert!(line.starts_with("clawinit: "), "{how}: {line}");
    assert!(line.contains(names), "{how} is not named: {line}");
    assert!(
        ["write ", "did you mean ", "give "].iter().any(|word| line.contains(word)),
        "{how}: nothing says what to type: {line}"
    );
}

pub fn every_wrong_value_of_an_option_has_its_line() {
    for (option, values) in WRONG {
        let long = format!("--{option}");
        for value in *values {
            let how = format!("{long} {value:?}");
            one_line(&plain(None, &[&long, value, "echo", "ran"], &[]), &long, &how);
            let joined = format!("{long}={value}");
            one_line(&plain(None, &[&joined, "--", "echo", "ran"], &[]), &long, &how);
        }
    }
}

/// The same values from the environment; the line names the variable. Empty is as good as unset,
/// as Compose passes on what nobody set.
pub fn every_wrong_value_of_a_variable_has_its_line() {
    for (option, values) in WRONG {
        let variable = format!("CLAWINIT_{}", option.to_uppercase().replace('-', "_"));
        for value in values.iter().filter(|value| !value.is_empty()) {
            // What two options disagree about is told by the option's name.
            let disagree =
                [("restart-on", "TERM"), ("restart-on", "QUIT,USR1"), ("no-restart-code", "75")];
            let names = if disagree.contains(&(option, value)) { "--" } else { &variable };
            let done = plain(None, &["echo", "ran"], &[(&variable, value)]);
            one_line(&done, names, &format!("{variable}={value:?}"));
        }
    }
}

pub fn an_option_without_its_value_has_its_line() {
    for (option, _) in WRONG {
        let long = format!("--{option}");
        one_line(&plain(None, &[&long], &[]), &long, &long);
    }
}

pub fn an_unknown_option_has_its_line_with_the_nearest_one() {
    for (typed, meant) in [
        ("--stop-grase", "--stop-grace"),
        ("--stopgrace=3s", "--stop-grace"),
        ("--restart-codes=75", "--restart-code"),
        ("--kil-mode=group", "--kill-mode"),
        ("--succes-codes", "--success-codes"),
        ("--log-fromat=json", "--log-format"),
    ] {
        let done = plain(None, &[typed, "echo", "ran"], &[]);
        one_line(&done, typed.split('=').next().unwrap_or(typed), typed);
        assert!(done.err.contains("did you mean") && done.err.contains(meant), "{}", done.err);
    }
    for typed in ["--zzzzzzzzzz", "-z", "-Z", "-vz"] {
        one_line(&plain(None, &[typed, "echo", "ran"], &[]), typed, typed);
    }
}

/// DESIGN section 2: a bare number says what to type.
pub fn a_duration_without_a_unit_says_what_to_type() {
    let done = plain(None, &["--stop-grace", "25", "true"], &[]);
    assert_eq!(done.err, "clawinit: --stop-grace: \"25\" has no unit; write 25s\n");
}

/// What would be refused again is no advice.
pub fn a_duration_that_is_too_long_is_not_suggested() {
    let done = plain(None, &["--stop-grace", "99999999999999999999", "echo", "ran"], &[]);
    one_line(&done, "--stop-grace", "twenty digits");
    assert!(!done.err.contains("write 99999999999999999999"), "{}", done.err);
}

/// A delay over a maximum that was said as well.
pub fn a_delay_over_its_maximum_has_its_line() {
    let words = ["--restart-delay", "60s", "--restart-delay-max", "30s", "echo", "ran"];
    one_line(&plain(None, &words, &[]), "--restart-delay", "60s over 30s");
}

pub fn a_missing_command_has_its_line() {
    for words in [&[][..], &["--"], &["--stop-grace=3s"], &["-v", "--"]] {
        one_line(&plain(None, words, &[]), "command", &format!("{words:?}"));
    }
}

/// A signal cannot mean both.
pub fn a_signal_that_is_to_stop_and_to_restart_has_its_line() {
    let done = plain(None, &["--stop-on=USR1,TERM", "echo", "ran"], &[]);
    one_line(&done, "USR1", "--stop-on=USR1");
    let done = plain(None, &["--stop-on=TERM", "--restart-on=HUP,TERM", "echo", "ran"], &[]);
    one_line(&done, "TERM", "TERM in both");
}

/// tini's short options keep tini's form, and have their line as well.
pub fn wrong_short_options_have_their_line() {
    for words in [&["-e", "256"][..], &["-e", "x"], &["-e", ""], &["-p", "NOPE"], &["-p", ""]] {
        let mut all = words.to_vec();
        all.extend(["echo", "ran"]);
        one_line(&plain(None, &all, &[]), words[0], &format!("{words:?}"));
    }
    one_line(&plain(None, &["-e"], &[]), "-e", "-e alone");
    one_line(&plain(None, &["-p"], &[]), "-p", "-p alone");
}

/// What is right is not refused: every way to write a value that the help promises.
pub fn right_values_are_taken() {
    for words in [
        &["--stop-on=SIGTERM,INT,RTMIN+3,RTMAX-1,15"][..],
        &["--stop-on=TERM", "--restart-on=HUP,QUIT"],
        &["--restart-on=none"],
        &["--restart-signal=usr2"],
        &["--stop-grace=0s", "--restart-grace=500ms", "--sweep-grace=1m"],
        &["--restart-code=0", "--no-restart-code=78,64"],
        &["--restart-code=none"],
        &["--restart-limit=0/1s"],
        &["--map=TERM:INT,INT:TERM,USR2:none"],
        &["--success-codes=0,143,255"],
        &["--stop-exit-code=child"],
        &["--stop-exit-code", "0"],
        &["--kill-mode", "process"],
        &["--log-level=warn", "-v", "-q", "-vv", "-qq"],
        &["--termination-log=none"],
        &["-e", "1", "-e", "2", "-g", "-s", "-w"],
        &["--exit-when=child", "--subreaper=off", "--restart=never"],
    ] {
        let mut all = words.to_vec();
        all.extend(["--", "sh", "-c", "exit 44"]);
        let done = plain(None, &all, &[]);
        assert_eq!(done.code, Some(44), "{words:?}: {}", done.err);
    }
}

pub fn every_help_fits_80_columns() {
    for verb in [None, Some("status"), Some("stop"), Some("restart"), Some("health"), Some("check")]
    {
        let words: Vec<&str> = verb.into_iter().chain(["--help"]).collect();
        let done = plain(None, &words, &[]);
        assert_eq!(done.code, Some(0), "{}", done.err);
        for line in done.out.lines() {
            assert!(line.chars().count() <= 80, "{words:?}: {line}");
        }
    }
}

pub fn the_help_names_every_option_and_exits_zero() {
    for word in ["--help", "-h"] {
        let done = plain(None, &[word], &[]);
        assert_eq!(done.code, Some(0), "{}", done.err);
        assert_eq!(done.err, "");
        for (option, _) in WRONG {
            assert!(done.out.contains(&format!("--{option} ")), "{option} in {word}: {}", done.out);
        }
        // tini's letters too (A2: "naming the options that exist").
        for letter in ["-v", "-q", "-s", "-g", "-w", "-p", "-e"] {
            assert!(done.out.contains(letter), "{letter}: {}", done.out);
        }
    }
}

/// A1, A4.
pub fn version_and_licence_are_printed() {
    let done = plain(None, &["--version"], &[]);
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    assert!(done.out.contains(env!("CARGO_PKG_VERSION")), "{}", done.out);
    let done = plain(None, &["--license"], &[]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(done.out.contains("Copyright"), "{}", done.out);
}
