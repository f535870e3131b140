//! Called by the name of another init, it is that init (DESIGN section 2, CONFORMANCE list A).

use crate::harness::{Folder, Init, pid_in, plain};

/// The names under which it is transparent.
const NAMES: [&str; 6] =
    ["tini", "tini-static", "docker-init", "podman-init", "catatonit", "dumb-init"];

/// Those that take tini's short options.
const LIKE_TINI: [&str; 2] = ["tini", "docker-init"];

pub fn a_transparent_name_restarts_on_nothing() {
    for name in NAMES.iter().filter(|name| **name != "tini-static") {
        // Exit code 75 is the application's own.
        Init::named(name, &[]).role(&["exit", "75"]).finish_with(75);
        // SIGUSR1 as well: it dies of it.
        let run = Init::named(name, &[]).role(&["pause"]).ready();
        run.usr1();
        run.finish_with(138);
    }
}

/// Warnings only: nothing is said where nothing is wrong.
pub fn a_transparent_name_says_nothing() {
    for name in NAMES.iter().filter(|name| **name != "tini-static") {
        let run = Init::named(name, &[]).role(&["record", "exit=15:3"]).ready();
        run.term();
        let done = run.finish_with(3);
        assert_eq!(done.err, [""; 0], "{name}: {}", done.text());
    }
}

/// No grace and no sweep: it waits as long as the child takes, and leaves with it.
pub fn a_transparent_name_neither_kills_nor_sweeps() {
    for name in ["tini", "docker-init", "catatonit"] {
        let run = Init::named(name, &[])
            .under()
            .role(&["leave", "d:daemon", "w:worker", "--", "record", "exit=12:0"])
            .ready();
        run.term();
        run.says_prefix("signal 15");
        run.signal(libc::SIGUSR2);
        run.end();
        let done = run.finish_with(0);
        assert!(!done.text().contains("left d signal"), "{name}: {}", done.text());
        assert!(!done.text().contains("left w signal"), "{name}: {}", done.text());
    }
}

/// The image's own clawinit below it shall have its variables.
pub fn a_transparent_name_hands_our_variables_on_untouched() {
    for name in NAMES.iter().filter(|name| **name != "tini-static") {
        let done = Init::named(name, &[])
            .variable("CLAWINIT_STOP_GRACE", "no duration at all")
            .variable("CLAWINIT_RESTART", "always")
            .variable("CLAWINIT_NO_SUCH", "1")
            .role(&["facts"])
            .finish_with(0);
        let facts = crate::starting::facts(&done);
        let env = facts["env"].as_object().expect("env");
        let mut ours: Vec<String> = env
            .iter()
            .filter(|(name, _)| name.starts_with("CLAWINIT_"))
            .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or("")))
            .collect();
        ours.sort();
        assert_eq!(
            ours,
            [
                "CLAWINIT_NO_SUCH=1",
                "CLAWINIT_RESTART=always",
                "CLAWINIT_STOP_GRACE=no duration at all"
            ],
            "{name}"
        );
        assert_eq!(done.err, [""; 0], "{name}: {}", done.text());
    }
}

/// Podman mounts the init at `/dev/init`; another `init` is clawinit under a name of somebody's.
pub fn init_is_transparent_as_dev_init_only() {
    let done = Init::plain(&[]).flag("argv0=/dev/init").role(&["exit", "75"]).finish_with(75);
    assert_eq!(done.err, [""; 0], "{}", done.text());
    let done = Init::plain(&["--restart-limit=1/60s", "--restart-delay=1ms"])
        .flag("argv0=/sbin/init")
        .role(&["exit", "75"])
        .finish_with(75);
    assert!(!done.err.is_empty(), "it logs as clawinit does: {}", done.text());
}

/// A symlink is how an engine or a person would do it.
pub fn a_symlink_is_as_good_as_a_name() {
    let folder = Folder::new();
    let link = folder.file("docker-init");
    std::os::unix::fs::symlink(crate::harness::clawinit(), &link).expect("symlink");
    let done = Init::plain(&[]).program(link).role(&["exit", "75"]).finish_with(75);
    assert_eq!(done.err, [""; 0], "{}", done.text());
}

/// A1, B39: engines look for it.
pub fn the_version_says_tini_version_where_an_engine_asks() {
    for name in LIKE_TINI {
        let done = plain(Some(name), &["--version"], &[]);
        assert_eq!(done.code, Some(0), "{}", done.err);
        assert!(done.out.starts_with("tini version "), "{name}: {}", done.out);
    }
    let done = plain(None, &["--version"], &[]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(done.out.contains("clawinit"), "{}", done.out);
}

/// A2, A3, A30: what each of them does with a wrong or missing word; 1, not 2.
pub fn usage_errors_under_a_transparent_name_are_one() {
    for name in NAMES.iter().filter(|name| **name != "tini-static") {
        let done = plain(Some(name), &[], &[]);
        assert_eq!(done.code, Some(1), "{name}: {}", done.err);
        assert!(!done.err.is_empty(), "{name}");
        let done = plain(Some(name), &["--no-such-option", "true"], &[]);
        assert_eq!(done.code, Some(1), "{name}: {}", done.err);
        assert!(done.err.contains("no-such-option"), "{name}: {}", done.err);
        let done = plain(Some(name), &["-h"], &[]);
        assert_eq!(done.code, Some(0), "{name}: {}", done.err);
    }
    let done = plain(Some("tini"), &["-z", "true"], &[]);
    assert_eq!(done.code, Some(1), "{}", done.err);
}

/// A4.
pub fn the_licence_is_shown() {
    for words in [["-l"], ["--license"]] {
        let done = plain(Some("tini"), &words, &[]);
        assert_eq!(done.code, Some(0), "{}", done.err);
        assert!(done.out.len() > 200, "{}", done.out);
    }
}

/// A5, A6.
pub fn tinis_v_repeats_and_changes_nothing_else() {
    for name in LIKE_TINI {
        Init::named(name, &["-vvv"]).command(&["true"]).finish_with(0);
        Init::named(name, &["-vvv"]).command(&["false"]).finish_with(1);
        Init::named(name, &["-vvv", "true"]).alone().finish_with(0);
        Init::named(name, &["-v", "-v"]).command(&["true"]).finish_with(0);
        // The second `--` is the command.
        Init::named(name, &["-vvv", "--", "--", "true"]).alone().finish_with(127);
    }
}

/// A7.
pub fn tini_verbosity_is_as_good_as_flags() {
    let done = Init::named("tini", &[])
        .variable("TINI_VERBOSITY", "3")
        .role(&["exit", "0"])
        .finish_with(0);
    assert!(done.text().contains("Received SIGCHLD"), "{}", done.text());
    let done = Init::named("tini", &["-vvv"]).role(&["exit", "0"]).finish_with(0);
    assert!(done.text().contains("Received SIGCHLD"), "{}", done.text());
}

/// A10, A11, B14.
pub fn tinis_e_makes_a_code_a_success() {
    for code in [0, 1, 2, 75, 127, 128, 255] {
        let code = code.to_string();
        Init::named("tini", &["-e", &code]).role(&["exit", &code]).finish_with(0);
    }
    Init::named("tini", &["-e", "1", "-e", "5"]).role(&["exit", "5"]).finish_with(0);
    Init::named("tini", &["-e5"]).role(&["exit", "5"]).finish_with(0);
    let run = Init::named("tini", &["-e", "143"]).role(&["pause"]).ready();
    run.term();
    run.finish_with(0);

    let all_but = |code: i32| {
        (0..=255)
            .filter(|other| *other != code)
            .flat_map(|other| ["-e".to_string(), other.to_string()])
            .collect::<Vec<String>>()
    };
    for code in [0, 1, 77, 255] {
        let words = all_but(code);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Init::named("tini", &words).role(&["exit", &code.to_string()]).finish_with(code);
    }
    for wrong in ["256", "-1", "x", ""] {
        let done = plain(Some("tini"), &["-e", wrong, "true"], &[]);
        assert_eq!(done.code, Some(1), "-e {wrong:?}: {}", done.err);
    }
}

/// A12, A15.
pub fn tinis_s_reaps_as_a_subreaper_and_w_says_so() {
    for (words, variable) in [(&["-s"][..], false), (&[], true)] {
        let init = || {
            let init = Init::named("tini", words).under();
            if variable { init.variable("TINI_SUBREAPER", "") } else { init }
        };
        let done = init().role(&["orphans", "30", "0"]).finish_with(0);
        assert_eq!(done.err, [""; 0], "{}", done.text());
    }
    // Twelve orphans; the child lives on until all of them have been told.
    for (words, told) in [(&["-w"][..], 12), (&[], 0)] {
        let run = Init::named("tini", words).role(&["burst", "12", "record"]).ready();
        let said = || run.err.text().matches("Reaped zombie process with pid=").count();
        run.until("all orphans to be reaped and told", || {
            (run.zombies().is_empty() && said() == told).then_some(())
        });
        run.stop().code(0);
    }
}

/// A16.
pub fn as_tini_it_warns_where_it_cannot_reap_and_runs_all_the_same() {
    let done = Init::named("tini", &[]).under().role(&["exit", "6"]).finish_with(6);
    assert!(done.text().to_lowercase().contains("zombie reaping won't work"), "{}", done.text());
}

/// A18.
pub fn tinis_g_signals_the_group() {
    for (words, variable) in [(&["-g"][..], false), (&[], true)] {
        let init = Init::named("tini", words);
        let init = if variable { init.variable("TINI_KILL_PROCESS_GROUP", "") } else { init };
        let run = init.role(&["leave", "w:worker", "--", "record", "exit=12:0"]).ready();
        run.term();
        run.says("left w done");
        run.says_prefix("signal 15");
        run.signal(libc::SIGUSR2);
        run.finish_with(0);
    }
}

/// A20.
pub fn tinis_p_is_the_signal_of_the_parents_death() {
    let run = Init::named("tini", &["-p", "SIGUSR1"])
        .under()
        .flag("parent-dies")
        .role(&["record", "exit=10:0"])
        .ready();
    let parent: i32 = run.status("PPid").parse().expect("a pid");
    crate::sys::kill(parent, libc::SIGKILL).expect("end the parent");
    run.finish_with(0);
}

/// A25: dumb-init's default, a session and group of the child's own.
pub fn dumb_init_signals_the_whole_group() {
    let run = Init::named("dumb-init", &[])
        .role(&["leave", "a:worker", "b:worker", "c:orphan", "--", "record", "exit=12:0"])
        .ready();
    run.term();
    for name in ["a", "b", "c"] {
        run.says(&format!("left {name} done"));
    }
    run.says_prefix("signal 15");
    run.signal(libc::SIGUSR2);
    run.finish_with(0);
}

/// A26, A28.
pub fn dumb_inits_c_signals_the_child_alone() {
    for (words, variable) in [(&["-c"][..], false), (&["--single-child"], false), (&[], true)] {
        let init = Init::named("dumb-init", words).under();
        let init = if variable { init.variable("DUMB_INIT_SETSID", "0") } else { init };
        let run = init.role(&["leave", "w:worker", "--", "record", "exit=15:9"]).ready();
        run.term();
        run.end();
        let done = run.finish_with(9);
        assert!(!done.text().contains("left w signal"), "{}", done.text());
    }
}

/// A27.
pub fn dumb_init_tells_the_rest_of_the_group_when_the_child_leaves() {
    let run = Init::named("dumb-init", &[]).under().role(&["leave", "w:worker", "--", "exit", "3"]);
    run.says("left w signal 15");
    run.finish_with(3);
}

/// A29.
pub fn dumb_init_says_that_a_command_is_missing() {
    for words in [&[][..], &["-c"], &["-v"]] {
        let done =
            Init::named("dumb-init", words).command(&["clawinit-test-no-such-program"]).finish();
        assert_ne!(done.end, crate::harness::End::Code(0));
        assert!(
            done.text().contains("clawinit-test-no-such-program: No such file or directory"),
            "{}",
            done.text()
        );
    }
}

/// A30.
pub fn dumb_inits_help_and_version() {
    for words in [["-h"], ["--help"], ["-V"], ["--version"]] {
        let done = plain(Some("dumb-init"), &words, &[]);
        assert_eq!(done.code, Some(0), "{words:?}: {}", done.err);
        assert!(!(done.out + &done.err).is_empty(), "{words:?}");
    }
}

/// A31.
pub fn dumb_inits_diagnostics_go_to_stderr_only() {
    for (words, variable) in
        [(&["-v"][..], false), (&["--verbose"], false), (&["-c", "-v"], false), (&[], true)]
    {
        let init = Init::named("dumb-init", words);
        let init = if variable { init.variable("DUMB_INIT_DEBUG", "1") } else { init };
        let done = init.command(&["echo", "oh, hi"]).finish_with(0);
        assert_eq!(done.out, ["oh, hi"], "{}", done.text());
        assert!(!done.err.is_empty(), "{words:?}: diagnostics");
    }
}

/// A32.
pub fn dumb_inits_r_refuses_what_it_cannot_do() {
    let folder = Folder::new();
    let trace = folder.word("was-run");
    for wrong in ["", "herp", "herp:derp", "15", "15::12", "15:derp", "32:1", "1:32"] {
        let done = plain(Some("dumb-init"), &["-r", wrong, "touch", &trace], &[]);
        assert_eq!(done.code, Some(1), "-r {wrong:?}: {}", done.err);
        assert!(!done.err.is_empty(), "-r {wrong:?}");
    }
    let done = plain(Some("dumb-init"), &["-r", "1:2", "-r", "x:1", "touch", &trace], &[]);
    assert_eq!(done.code, Some(1), "{}", done.err);
    let done = plain(Some("dumb-init"), &["-r"], &[]);
    assert_eq!(done.code, Some(1), "{}", done.err);
    assert!(!folder.file("was-run").exists(), "the command ran");
}

/// A37, A38.
pub fn dumb_inits_r_rewrites_and_drops() {
    for spelling in ["-r", "--rewrite"] {
        let words = [
            spelling, "15:2", spelling, "2:15", spelling, "1:31", spelling, "31:1", spelling,
            "12:0", spelling, "10:10",
        ];
        let run = Init::named("dumb-init", &words).role(&["record"]).ready();
        let mut expected = Vec::new();
        for (sent, becomes) in [(15, 2), (2, 15), (1, 31), (31, 1), (12, 0), (10, 10), (3, 3)] {
            run.signal(sent);
            if becomes != 0 {
                expected.push(becomes);
            }
            run.until(&format!("{sent} to arrive as {becomes}"), || {
                (crate::harness::signals(&run.out.all()) == expected).then_some(())
            });
        }
    }
}

/// A36.
pub fn dumb_init_forwards_every_ordinary_signal() {
    for words in [&[][..], &["-c"]] {
        let run = Init::named("dumb-init", words).role(&["record"]).ready();
        let mut sent = Vec::new();
        for signal in (1..=31).filter(|n| ![9, 17, 18, 19, 20, 21, 22].contains(n)) {
            run.signal(signal);
            sent.push(signal);
            run.until(&format!("signal {signal}"), || {
                (crate::harness::signals(&run.out.all()) == sent).then_some(())
            });
        }
    }
}

/// A43.
pub fn as_dumb_init_a_shell_has_job_control() {
    for words in [&[][..], &["-c"]] {
        let run = Init::named("dumb-init", words).console().variable("PS1", "prompt> ").command(&[
            "bash",
            "--norc",
            "--noprofile",
            "-i",
        ]);
        run.until("the prompt", || run.out.text().contains("prompt> ").then_some(()));
        run.types("exit 4\n");
        let done = run.finish_with(4);
        assert!(!done.text().contains("no job control"), "{}", done.text());
    }
}

/// A39, A40, A41: the child is suspended by STOP or gets the signal as it is, dumb-init with it.
pub fn dumb_init_suspends_itself_with_its_child() {
    // What the child sees of TSTP before it is continued; nothing where it got a STOP.
    for (words, sees) in [(&[][..], None), (&["-c"], Some(20)), (&["-r", "20:1"], Some(1))] {
        let run = Init::named("dumb-init", words).under().role(&["record", "exit=15:0"]).ready();
        let child = pid_in(&run.says_prefix("ready"));
        run.signal(libc::SIGTSTP);
        run.until("dumb-init to be stopped", || run.status("State").starts_with('T').then_some(()));
        match sees {
            Some(signal) => {
                run.says_prefix(&format!("signal {signal} "));
            }
            None => run.wait_state(child, "T"),
        }
        run.signal(libc::SIGCONT);
        run.says_prefix("signal 18 ");
        run.until("dumb-init to be awake", || run.status("State").starts_with('S').then_some(()));
        run.stop().code(0);
    }
}

/// tini reads it with atoi(3), and refuses nothing.
pub fn any_tini_verbosity_runs_the_command() {
    for value in ["", "5", "99", "abc", "-1", "99999999999999999999"] {
        for init in [Init::plain(&[]), Init::named("tini", &[])] {
            init.variable("TINI_VERBOSITY", value).role(&["exit", "0"]).finish_with(0);
        }
    }
}

/// execvp(3), which they use, hands it to `/bin/sh`; by the path and by the name.
pub fn a_script_without_a_first_line_is_run_by_sh() {
    let folder = Folder::new();
    let script = folder.write("script", "printf '%s|' \"$@\"\necho\nexit 5\n", 0o755);
    for command in [script.as_str(), "script"] {
        let path = format!("{}:/usr/bin:/bin", folder.word(""));
        let done = Init::named("tini", &[])
            .variable("PATH", &path)
            .command(&[command, "a b", "", "-c"])
            .finish_with(5);
        assert_eq!(done.out, ["a b||-c|"], "{}", done.text());
        assert_eq!(done.err, [""; 0], "{}", done.text());
    }
    // By its own name it says so instead.
    let done = Init::plain(&[]).command(&[&script, "a"]).finish_with(126);
    assert_eq!(done.out, [""; 0], "{}", done.text());
    assert!(done.err.iter().any(|line| line.contains(&script)), "{}", done.text());
}

/// catatonit makes itself a subreaper; neither it nor dumb-init says a word of that.
pub fn below_another_pid_1_catatonit_adopts_and_dumb_init_says_nothing() {
    let run = Init::named("catatonit", &[])
        .under()
        .role(&["leave", "o:orphan", "--", "record", "exit=15:3"])
        .ready();
    let orphan = pid_in(&run.says_prefix("left o"));
    let parent_of = || run.processes().iter().find(|p| p.pid == orphan).map(|p| p.parent);
    run.until("the orphan to be clawinit's", || (parent_of() == Some(2)).then_some(()));
    assert_eq!(run.exec(&["kill", "15", &orphan.to_string()]).code(), Some(0));
    run.until("the orphan to be reaped", || parent_of().is_none().then_some(()));
    let done = run.stop();
    done.code(3);
    assert_eq!(done.err, [""; 0], "{}", done.text());

    let done = Init::named("dumb-init", &[]).under().role(&["exit", "6"]).finish_with(6);
    assert_eq!(done.err, [""; 0], "{}", done.text());
}
