//! How the command is started, and what happens when it cannot be (DESIGN section 3).

use crate::harness::{Done, Folder, Init, pid_in, plain};
use nix::sys::stat::Mode;
use serde_json::Value;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

/// The line of the role `facts`.
pub fn facts(done: &Done) -> Value {
    done.out
        .iter()
        .rev()
        .find_map(|line| line.starts_with('{').then(|| serde_json::from_str(line).ok())?)
        .unwrap_or_else(|| panic!("no facts: {}", done.text()))
}

/// Runs a command that cannot start: the code, and a log that names it and says why.
fn cannot_start(command: &str, code: i32, names: &str, folder: Option<&str>) {
    let init = |json: bool| {
        let mut init = if json { Init::new(&[]) } else { Init::plain(&[]) };
        if let Some(folder) = folder {
            init = init.flag(&format!("folder={folder}"));
        }
        init
    };
    let done = init(true).command(&[command, "word"]).finish_with(code);
    let failed = done.events("start-failed");
    assert_eq!(failed.len(), 1, "{command}: {}", done.text());
    let reason = failed[0]["reason"].as_str().unwrap_or("");
    assert!(!reason.is_empty(), "{command}: {}", done.text());

    let done = init(false).command(&[command, "word"]).finish_with(code);
    assert!(
        done.err.iter().any(|l| l.starts_with("clawinit: ") && l.contains(names)),
        "{command}: the log does not name {names}: {}",
        done.text()
    );
}

/// A8, B30.
pub fn a_missing_command_is_127() {
    let folder = Folder::new();
    cannot_start(&folder.word("nothing-here"), 127, &folder.word("nothing-here"), None);
    cannot_start("clawinit-test-no-such-program", 127, "clawinit-test-no-such-program", None);
    cannot_start("./nothing-here", 127, "./nothing-here", Some(&folder.word("")));
    // A part of the path is a file.
    let file = folder.write("file", "", 0o644);
    let below = format!("{file}/below");
    let done = Init::plain(&[]).command(&[&below]).finish();
    assert!(
        [126, 127].iter().any(|code| done.end == crate::harness::End::Code(*code)),
        "{:?}: {}",
        done.end,
        done.text()
    );
}

/// A8.
pub fn a_command_that_may_not_be_executed_is_126() {
    let folder = Folder::new();
    let file = folder.write("plain-file", "#!/bin/sh\nexit 0\n", 0o644);
    cannot_start(&file, 126, &file, None);
    cannot_start("./plain-file", 126, "./plain-file", Some(&folder.word("")));
}

/// A8: `/etc`.
pub fn a_directory_is_126() {
    cannot_start("/etc", 126, "/etc", None);
    let folder = Folder::new();
    cannot_start(&folder.word(""), 126, &folder.word(""), None);
}

/// ENOEXEC: a shell would feed it to itself, an init must not.
pub fn a_garbage_file_is_126() {
    let folder = Folder::new();
    let file = folder.write("garbage", "\u{1}\u{2}no program\u{3}", 0o755);
    cannot_start(&file, 126, &file, None);
    let empty = folder.write("empty", "", 0o755);
    cannot_start(&empty, 126, &empty, None);
    let script = folder.write("no-first-line", "echo hello\n", 0o755);
    cannot_start(&script, 126, &script, None);
}

/// B30: the script is there, its interpreter is not; the difference is told.
pub fn a_missing_interpreter_is_127_and_named() {
    let folder = Folder::new();
    let script = folder.write("script", "#!/no/such/interpreter -x\nexit 0\n", 0o755);
    cannot_start(&script, 127, &script, None);
    cannot_start(&script, 127, "interpreter", None);
}

pub fn an_empty_command_is_127() {
    Init::plain(&[]).command(&[""]).finish_with(127);
}

/// B32: `docker run --init IMG -h` runs a program named -h.
pub fn a_command_that_looks_like_an_option_is_a_command() {
    for word in ["-h", "--help", "--version", "--", "-x"] {
        Init::plain(&[]).command(&[word]).finish_with(127);
    }
}

/// A6, A11, B31: with and without `--`, also words that are options or verbs of ours.
pub fn nothing_behind_the_command_is_read_as_ours() {
    let given =
        ["facts", "--stop-grace", "nonsense", "-h", "--", "-v", "status", "--version", "--port=0"];
    let done = Init::new(&[]).role(&given).finish_with(0);
    let args = facts(&done)["args"].clone();
    let words: Vec<&str> =
        args.as_array().expect("args").iter().filter_map(Value::as_str).collect();
    assert_eq!(words[2..], given, "{}", done.text());

    let probe = crate::harness::probe().display().to_string();
    let mut without = vec!["--log-level=error", probe.as_str(), "probe"];
    without.extend(given);
    let done = Init::plain(&without).alone().finish_with(0);
    let args = facts(&done)["args"].clone();
    let words: Vec<&str> =
        args.as_array().expect("args").iter().filter_map(Value::as_str).collect();
    assert_eq!(words[2..], given, "{}", done.text());

    Init::plain(&["sh", "-c", "exit 3"]).alone().finish_with(3);
}

/// A9.
pub fn stdin_and_stdout_reach_the_command_unharmed() {
    let folder = Folder::new();
    let input = folder.write("input", "echo to-stdout\necho to-stderr >&2\nexit 6\n", 0o644);
    let done = Init::new(&[]).flag(&format!("stdin={input}")).command(&["sh"]).finish_with(6);
    assert_eq!(done.out, ["to-stdout"], "{}", done.text());
    assert!(done.err.iter().any(|line| line == "to-stderr"), "{}", done.text());
}

/// A33, B35.
pub fn the_child_starts_in_the_callers_folder_and_clawinit_sits_in_the_root() {
    let folder = Folder::new();
    let path = std::fs::canonicalize(folder.path()).expect("the folder");
    let place = format!("folder={}", path.display());
    let done = Init::new(&[]).flag(&place).role(&["facts"]).finish_with(0);
    assert_eq!(facts(&done)["cwd"], path.display().to_string(), "{}", done.text());

    let run = Init::new(&[]).flag(&place).role(&["record", "exit=15:0"]).ready();
    // It leaves the caller's folder once the child runs.
    run.until("clawinit to sit in the root", || {
        let cwd = std::fs::read_link(format!("/proc/{}/cwd", run.pid)).ok()?;
        (cwd.as_os_str() == "/").then_some(())
    });
    run.stop().code(0);

    // Also in a later generation, and for a command that is named from there.
    folder.copies();
    let run = Init::new(&["--restart-delay=1ms"])
        .flag(&place)
        .with_probe("./probe".into())
        .role(&["generations", "1=exit,75", "*=facts"]);
    let done = run.finish_with(0);
    assert_eq!(facts(&done)["cwd"], path.display().to_string(), "{}", done.text());
}

/// A descriptor file that this process can read, and a flag that hands it over as number 3.
fn fifo(folder: &Folder, name: &str) -> (std::fs::File, String) {
    let path = folder.file(name);
    nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).expect("mkfifo");
    let reader = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(&path)
        .expect("open the fifo");
    (reader, folder.word(name))
}

/// B33: every generation gets them; what clawinit opens for itself is not among them.
pub fn descriptors_that_were_given_reach_every_generation() {
    let folder = Folder::new();
    let (_reader, path) = fifo(&folder, "given");
    let run = Init::new(&["--restart-delay=1ms"])
        .flag(&format!("fd=3:{path}"))
        .flag(&format!("fd=7:{path}"))
        .role(&["generations", "2=facts", "*=exit,75"]);
    let done = run.finish_with(0);
    let fds = facts(&done)["fds"].clone();
    let numbers: Vec<&String> = fds.as_object().expect("fds").keys().collect();
    assert_eq!(numbers, ["0", "1", "2", "3", "7"], "{fds}");
    assert_eq!(fds["3"], path, "{fds}");
    assert_eq!(fds["7"], path, "{fds}");
}

/// B34: whoever waits for the end of such a pipe must not wait for clawinit's own copy.
pub fn where_no_restart_can_come_clawinit_keeps_no_copy_of_given_descriptors() {
    let folder = Folder::new();
    let (mut reader, path) = fifo(&folder, "given");
    let run = Init::new(&["--restart=never", "--restart-on=none"])
        .flag(&format!("fd=3:{path}"))
        .command(&["sh", "-c", "echo said >&3; exec 3>&-; echo ready; exec sleep 60"])
        .ready();
    let mut text = String::new();
    run.until("the end of the pipe, with the child alive", || {
        let mut buffer = [0; 64];
        match reader.read(&mut buffer) {
            Ok(0) => Some(()),
            Ok(n) => {
                text += &String::from_utf8_lossy(&buffer[..n]);
                None
            }
            Err(_) => None,
        }
    });
    assert_eq!(text, "said\n");
    let links: Vec<String> = run
        .descriptors()
        .iter()
        .filter_map(|fd| std::fs::read_link(format!("/proc/{}/fd/{fd}", run.pid)).ok())
        .map(|to| to.display().to_string())
        .collect();
    assert!(!links.contains(&path), "{links:?}");
    run.term();
    run.finish_with(143);
}

/// B33: socket activation names the process that is to take the sockets.
pub fn a_listen_pid_that_named_clawinit_names_the_child() {
    let done = Init::new(&["--restart-delay=1ms"])
        .variable("LISTEN_PID", "1")
        .variable("LISTEN_FDS", "2")
        .role(&["generations", "1=exit,75", "*=facts"])
        .finish_with(0);
    let facts_seen = facts(&done);
    assert_eq!(facts_seen["env"]["LISTEN_PID"], facts_seen["pid"].to_string(), "{facts_seen}");
    assert_eq!(facts_seen["env"]["LISTEN_FDS"], "2", "{facts_seen}");

    let done = Init::new(&[]).variable("LISTEN_PID", "4711").role(&["facts"]).finish_with(0);
    assert_eq!(facts(&done)["env"]["LISTEN_PID"], "4711", "{}", done.text());
}

/// B29.
pub fn a_closed_stdin_or_stdout_is_no_hindrance() {
    for close in ["0", "1", "0,1"] {
        Init::new(&[]).flag(&format!("close={close}")).role(&["exit", "9"]).finish_with(9);
    }
    // The child gets them as clawinit was given them: with nothing of clawinit's in their place.
    let done = Init::new(&[])
        .flag("close=0")
        .command(&["sh", "-c", "test -e /proc/self/fd/0 && readlink /proc/self/fd/0; echo asked"])
        .finish_with(0);
    assert_eq!(done.out, ["asked"], "{}", done.text());
}

pub fn the_user_option_drops_user_group_and_supplementary_groups() {
    let folder = Folder::new();
    let (_, probe) = folder.copies();
    let done =
        Init::new(&["--user=1000:1001"]).with_probe(probe.clone()).role(&["facts"]).finish_with(0);
    let seen = facts(&done);
    for (field, value) in [("uid", 1000), ("euid", 1000), ("gid", 1001)] {
        assert_eq!(seen[field], value, "{field}: {seen}");
    }
    let groups = seen["groups"].as_array().expect("groups");
    assert!(groups.iter().all(|group| *group == 1001), "{seen}");
    assert_eq!(seen["no_new_privs"], false, "{seen}");

    // Every generation, and signals still reach it.
    let run = Init::new(&["--user=65534", "--no-new-privs"])
        .with_probe(probe)
        .role(&["generations", "1=record,exit=10:75", "*=facts"])
        .ready();
    run.usr1();
    let done = run.finish_with(0);
    let seen = facts(&done);
    assert_eq!(seen["uid"], 65534, "{seen}");
    assert_eq!(seen["no_new_privs"], true, "{seen}");
}

pub fn a_user_that_cannot_be_taken_is_125_and_starts_nothing() {
    let folder = Folder::new();
    let (clawinit, probe) = folder.copies();
    let done = Init::plain(&["--user=0:0"])
        .program(clawinit)
        .with_probe(probe)
        .flag("user=65534")
        .role(&["facts"])
        .finish();
    assert_eq!(done.end, crate::harness::End::Code(125), "{}", done.text());
    assert!(done.out.is_empty(), "{}", done.text());
    assert!(done.text().contains("--user: "), "{}", done.text());
}

/// B37: the hardened container.
pub fn it_works_without_root_without_proc_and_with_a_read_only_root() {
    let folder = Folder::new();
    let (clawinit, probe) = folder.copies();
    for flags in
        [&["read-only"][..], &["no-proc"], &["user=65534"], &["read-only", "no-proc", "user=65534"]]
    {
        let mut init = Init::new(&[]).program(clawinit.clone()).with_probe(probe.clone());
        for flag in flags {
            init = init.flag(flag);
        }
        let run = init
            .role(&["generations", "1=leave,a:daemon,--,record,exit=10:75", "*=burst,20,record"])
            .ready();
        run.usr1();
        run.ready_generation(2);
        let done = run.stop();
        done.code(0);
        assert!(done.says("left a done"), "{flags:?}: {}", done.text());
        assert!(done.signals().contains(&15), "{flags:?}: {}", done.text());
    }
}

/// B36: never "can only run as PID 1", and a line of warning at most.
pub fn it_runs_as_any_pid() {
    let done = Init::plain(&[]).under().role(&["exit", "12"]).finish_with(12);
    let lines = done.err.iter().filter(|line| line.contains("warning")).count();
    assert!(lines <= 1, "{}", done.text());
}

/// Section 6: what the outer one was told is not for the inner one.
pub fn a_clawinit_under_a_clawinit_takes_nothing_from_the_outer_one() {
    let inner = crate::harness::clawinit().display().to_string();
    let probe = crate::harness::probe().display().to_string();
    let run = Init::new(&["--restart-code=70"])
        .variable("CLAWINIT_STOP_GRACE", "7s")
        .variable("CLAWINIT_STOP_SIGNAL", "HUP")
        .variable("CLAWINIT_RESTART", "always")
        .variable("OTHER", "kept")
        .command(&[&inner, "-v", "--", &probe, "probe", "facts"]);
    let done = run.until("the facts of the innermost", || {
        let lines = run.out.all();
        lines
            .iter()
            .find(|line| line.starts_with('{'))
            .and_then(|line| serde_json::from_str::<Value>(line).ok())
    });
    let env = done["env"].as_object().expect("env");
    let ours: Vec<&String> = env.keys().filter(|name| name.starts_with("CLAWINIT_")).collect();
    assert_eq!(ours, ["CLAWINIT_GENERATION", "CLAWINIT_PID", "CLAWINIT_RESTART_CODE"], "{done}");
    assert_eq!(env["OTHER"], "kept");
    // The inner one's own: its code is the default, its child's parent is itself.
    assert_eq!(env["CLAWINIT_GENERATION"], "1", "{done}");
    assert_eq!(env["CLAWINIT_RESTART_CODE"], "75", "{done}");
    assert_eq!(env["CLAWINIT_PID"], done["ppid"].to_string(), "{done}");
    // "always" was the outer one's: it starts another inner one, which begins at 1 again.
    let complaints = run.err.text();
    assert!(
        !complaints.contains("unknown variable") && !complaints.contains("did you mean"),
        "{complaints}"
    );
}

/// The child can find the way without a PATH, as with execvp(3).
pub fn a_command_is_looked_up_in_path() {
    let folder = Folder::new();
    folder.write("found-by-name", "#!/bin/sh\nexit 14\n", 0o755);
    // A file that may not be executed does not end the search.
    let other = Folder::new();
    other.write("found-by-name", "#!/bin/sh\nexit 15\n", 0o644);
    let path = format!("{}:{}", other.path().display(), folder.path().display());
    Init::plain(&[]).variable("PATH", &path).command(&["found-by-name"]).finish_with(14);
    // Only one without the permission: 126.
    Init::plain(&[])
        .variable("PATH", &other.path().display().to_string())
        .command(&["found-by-name"])
        .finish_with(126);
}

/// Nothing is started without a command, and the help is near.
pub fn without_a_command_it_is_a_usage_error() {
    let done = plain(None, &[], &[]);
    assert_eq!(done.code, Some(2), "{}", done.err);
    assert!(done.err.contains("clawinit"), "{}", done.err);
    let done = plain(None, &["--"], &[]);
    assert_eq!(done.code, Some(2), "{}", done.err);
}

/// The child's parent is clawinit, and its pid the one that the log tells.
pub fn the_log_tells_the_childs_pid() {
    let run = Init::new(&[]).role(&["record", "exit=15:0"]).ready();
    let child = pid_in(&run.says_prefix("ready"));
    let started = run.event("started", 1);
    assert_eq!(started["pid"], child, "{started}");
    assert_eq!(started["generation"], 1, "{started}");
    run.stop().code(0);
}

/// Nobody can go back to it; that is said, and is no reason not to come back.
pub fn a_folder_that_was_removed_is_told_and_the_next_generation_starts_in_the_root() {
    let folder = Folder::new();
    std::fs::create_dir(folder.file("gone")).expect("a folder");
    let done = Init::new(&["--restart-delay=1ms"])
        .flag(&format!("folder={}", folder.word("gone")))
        .flag("remove-folder")
        .role(&["generations", "1=exit,75", "*=facts"])
        .finish_with(0);
    let warnings = done.events("warning");
    let told = |event: &Value| event["message"].as_str().is_some_and(|m| m.contains("folder"));
    assert!(warnings.iter().any(told), "{}", done.text());
    let facts = facts(&done);
    assert_eq!(facts["env"]["CLAWINIT_GENERATION"], "2", "{facts}");
    assert_eq!(facts["cwd"], "/", "{facts}");
}

/// `--user` of who it is already: nothing has to be dropped that it may not drop.
pub fn the_user_option_takes_who_it_is_already_without_privileges() {
    let folder = Folder::new();
    let (clawinit, probe) = folder.copies();
    for user in ["65534:65534", "65534"] {
        let done = Init::new(&["--user", user])
            .program(clawinit.clone())
            .with_probe(probe.clone())
            .flag("user=65534")
            .role(&["facts"])
            .finish_with(0);
        let facts = facts(&done);
        assert_eq!((&facts["uid"], &facts["gid"]), (&65534.into(), &65534.into()), "{facts}");
    }
}

/// openclaw/openclaw#74346: a lock file of the last boot names the pid that the program has again.
pub fn with_vary_pid_the_child_has_another_pid_at_each_boot() {
    let folder = Folder::new();
    let (clawinit, probe) = folder.copies();
    let boot = |options: &[&str], flags: &[&str]| {
        let mut init = Init::new(options).program(clawinit.clone()).with_probe(probe.clone());
        for flag in flags {
            init = init.flag(flag);
        }
        let done = init.role(&["exit", "0"]).finish_with(0);
        // Those that took the pids before it are nobody's zombies, and nothing is told of them.
        assert!(done.events("reaped").is_empty(), "{}", done.text());
        assert!(done.events("warning").is_empty(), "{}", done.text());
        done.events("started")[0]["pid"].as_i64().expect("a pid")
    };
    let plain: Vec<i64> = (0..3).map(|_| boot(&[], &[])).collect();
    assert_eq!(plain, [plain[0]; 3], "without it every boot is alike");
    // As in a container: a user without any capability, without /proc, on a read-only root.
    for flags in [&[][..], &["user=65534", "no-proc", "read-only"]] {
        let varied: Vec<i64> =
            (0..8).map(|_| boot(&["--log-level=debug", "--vary-pid"], flags)).collect();
        let in_reach = |pid: &i64| (plain[0]..=plain[0] + 255).contains(pid);
        assert!(varied.iter().all(in_reach), "{varied:?}, without it {plain:?}");
        // Eight equal ones of 256 are 2^-56 of all times.
        assert!(varied.iter().any(|pid| *pid != varied[0]), "{varied:?}");
    }
}

/// The variable; what the next generation gets; and the switch written out.
pub fn vary_pid_is_for_the_first_generation_only() {
    let run = Init::new(&["--restart-delay=1ms"])
        .variable("CLAWINIT_VARY_PID", "yes")
        .role(&["generations", "1=record,exit=10:75", "*=record,exit=15:0"])
        .ready();
    let first = run.event("started", 1)["pid"].as_i64().expect("a pid");
    run.usr1();
    run.ready_generation(2);
    let second = run.event("started", 2)["pid"].as_i64().expect("a pid");
    assert_eq!(second, first + 1, "the next generation has the next pid");
    assert!(run.zombies().is_empty(), "{:?}", run.zombies());
    run.stop().code(0);
    Init::new(&["--vary-pid=no"]).role(&["exit", "3"]).finish_with(3);
}
