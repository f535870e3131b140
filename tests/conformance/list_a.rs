//! List A of CONFORMANCE.md: what the suites of other inits check.

use crate::harness::{Folder, Run, pid_in, signals, status_field};
use crate::inits::Dialect::{Catatonit, Clawinit, DumbInit, Tini};
use crate::inits::{How, Not, Seen, absent, check, ends, failed, must, signal_name};
use crate::sys;
use nix::libc;

/// Ctrl-C as it is typed.
pub const INTERRUPT: &str = "\u{3}";

/// A command that does not exist.
pub const MISSING: &str = "clawinit-test-no-such-program";

fn words<'a>(parts: &[&[&'a str]]) -> Vec<&'a str> {
    parts.concat()
}

/// Whether this process of the namespace still runs.
pub fn lives(run: &Run, pid: i32) -> bool {
    run.processes().iter().any(|p| p.pid == pid && p.state != 'Z')
}

pub fn no_zombies(run: &Run) -> Seen {
    must("zombies stay", || {
        run.until("all zombies to be reaped", || run.zombies().is_empty().then_some(()));
    })
}

/// The pid that a role of this name said.
pub fn left(run: &Run, name: &str) -> Result<i32, Not> {
    must(format!("{name} does not start"), || {
        pid_in(&run.says_prefix(&format!("left {name} pid=")))
    })
}

pub fn ready(run: Run) -> Result<Run, Not> {
    must("the command does not start", || run.ready())
}

/// Sends a signal and waits until the recorder has it as `becomes`.
pub fn passes(run: &Run, signal: i32, becomes: i32) -> Seen {
    let seen = || signals(&run.out.all()).iter().filter(|s| **s == becomes).count();
    let before = seen();
    must(format!("{} does not reach the child", signal_name(signal)), || {
        run.signal(signal);
        run.until("the signal", || (seen() > before).then_some(()));
    })
}

/// Waits until the init itself is in one of these states.
pub fn init_state(run: &Run, states: &str, fact: &str) -> Seen {
    must(fact, || {
        run.until("the init's state", || {
            run.status("State").starts_with(|c| states.contains(c)).then_some(())
        });
    })
}

pub fn version(how: &How) -> Seen {
    let done = how.quick(&["--version"])?;
    done.ends(0, "")?;
    let starts = match how.dialect {
        Clawinit => "clawinit ",
        Tini | Catatonit => "tini version ",
        DumbInit => "dumb-init v",
    };
    let text = done.text();
    let number = text.strip_prefix(starts).and_then(|rest| rest.chars().next());
    check(number.is_some_and(|c| c.is_ascii_digit()), format!("says {:?}", text.trim()))
}

pub fn no_arguments(how: &How) -> Seen {
    let done = how.quick(&[])?;
    done.ends(how.usage_code(), "")?;
    // By its own name clawinit answers a wrong line with a line: what to type.
    let usage = if how.is(Clawinit) { "[OPTIONS] -- COMMAND".to_string() } else { "usage".into() };
    let said = if how.is(Clawinit) { done.err.clone() } else { done.err.to_lowercase() };
    check(said.contains(&usage), "shows no usage")
}

pub fn short_help(how: &How) -> Seen {
    let done = how.quick(&["-h"])?;
    done.ends(0, "-h")?;
    check(done.text().to_lowercase().contains("usage"), "-h shows no usage")?;
    how.quick(&["-z", "true"])?.ends(how.usage_code(), "-z")
}

pub fn licence(how: &How) -> Seen {
    let flag = match how.dialect {
        Clawinit | Tini => "-l",
        Catatonit => "-L",
        DumbInit => return absent("has no such option"),
    };
    let done = how.quick(&[flag])?;
    done.ends(0, "")?;
    check(done.text().len() > 200, "shows no licence")
}

pub fn verbosity_repeats(how: &How) -> Seen {
    how.verbose()?;
    for flags in [&["-vvv"][..], &["-v", "-v", "-v"]] {
        how.quick(&words(&[how.base(), flags, &["true"]]))?.ends(0, "true")?;
        how.quick(&words(&[how.base(), flags, &["false"]]))?.ends(1, "false")?;
    }
    Ok(())
}

pub fn two_dashes(how: &How) -> Seen {
    let flags = how.verbose().unwrap_or_default();
    how.quick(&words(&[how.base(), &flags, &["--", "true"]]))?.ends(0, "-- true")?;
    let done = how.quick(&words(&[how.base(), &flags, &["--", "--", "true"]]))?;
    check(done.end != crate::harness::End::Code(0), "-- -- true runs true")
}

pub fn verbosity_from_the_environment(how: &How) -> Seen {
    how.verbose()?;
    let variable = match how.dialect {
        DumbInit => ("DUMB_INIT_DEBUG", "1"),
        _ => ("TINI_VERBOSITY", "3"),
    };
    // tini says it on standard output.
    let usual = how.quick(&words(&[how.base(), &["true"]]))?.text().lines().count();
    let done = how.quick_with(&words(&[how.base(), &["true"]]), &[variable])?;
    done.ends(0, "")?;
    check(done.text().lines().count() > usual, "says no more")?;
    check(!how.is(Tini) || done.text().contains("Received SIGCHLD"), "does not name SIGCHLD")
}

pub fn start_failures(how: &How) -> Seen {
    how.quick(&words(&[how.base(), &[MISSING]]))?.ends(127, "a missing command")?;
    how.quick(&words(&[how.base(), &["/etc"]]))?.ends(126, "/etc")
}

pub fn stdin_and_stdout(how: &How) -> Seen {
    let folder = Folder::new();
    let input = folder.write("input", "echo to-stdout\nexit 6\n", 0o644);
    let run = how.init(&[]).flag(&format!("stdin={input}")).command(&["sh"]);
    let done = ends(run, 6, "")?;
    check(done.out == ["to-stdout"], "standard output is changed")
}

pub fn one_success_code(how: &How) -> Seen {
    if matches!(how.dialect, DumbInit | Catatonit) {
        return absent("does not remap codes");
    }
    for code in 0..=255 {
        let code = code.to_string();
        let done = how.quick(&words(&[
            how.base(),
            &["-e", &code, "--", "sh", "-c", &format!("exit {code}")],
        ]))?;
        done.ends(0, &format!("-e {code}"))?;
    }
    Ok(())
}

pub fn all_success_codes_but_one(how: &How) -> Seen {
    if matches!(how.dialect, DumbInit | Catatonit) {
        return absent("does not remap codes");
    }
    for code in 0..=255 {
        let others = (0..=255).filter(|other| *other != code);
        let listed: Vec<String> = others.flat_map(|n| ["-e".to_string(), n.to_string()]).collect();
        let mut line = how.base().to_vec();
        line.extend(listed.iter().map(String::as_str));
        let command = format!("exit {code}");
        line.extend(["sh", "-c", &command]);
        how.quick_with(&line, &[("POSIXLY_CORRECT", "1")])?
            .ends(code, &format!("all but {code}"))?;
    }
    Ok(())
}

pub fn subreaper(how: &How) -> Seen {
    // The bit that was inherited, and each way to ask for it.
    let mut ways: Vec<(&[&str], bool, bool)> = vec![(&[], false, true)];
    match how.dialect {
        Clawinit => ways.extend([
            (&["-s"][..], false, false),
            (&["--subreaper=on"], false, false),
            (&[], false, false),
            (&[], true, false),
        ]),
        Tini => ways.extend([(&["-s"][..], false, false), (&[], true, false)]),
        Catatonit => ways.push((&[], false, false)),
        DumbInit => {}
    }
    for (flags, variable, bit) in ways {
        let mut init = how.init(&words(&[how.quiet(), flags])).under();
        if variable {
            init = init.variable("TINI_SUBREAPER", "");
        }
        if bit {
            init = init.flag("subreaper");
        }
        let run = ready(init.role(&["leave", "o:orphan", "--", "burst", "100", "record"]))?;
        let orphan = left(&run, "o")?;
        let parent = run.processes().iter().find(|p| p.pid == orphan).map(|p| p.parent);
        check(parent == Some(2), "does not adopt orphans")?;
        no_zombies(&run)?;
        run.term();
        let done = ends(run, 0, "")?;
        check(done.err.is_empty(), format!("says {:?}", done.err.join(" ")))?;
    }
    Ok(())
}

pub fn orphans_of_pid_1(how: &How) -> Seen {
    ends(how.init(&[]).role(&["orphans", "34", "0"]), 0, "100 orphans")?;
    let run = ready(how.init(&[]).role(&["burst", "100", "record"]))?;
    no_zombies(&run)
}

pub fn a_group_of_its_own(how: &How) -> Seen {
    let run = ready(how.init(&[]).role(&["leave", "a:orphan", "--", "record"]))?;
    let child = pid_in(&run.says_prefix("ready"));
    let orphan = left(&run, "a")?;
    let processes = run.processes();
    let group = |pid: i32| processes.iter().find(|p| p.pid == pid).map(|p| p.group);
    check(group(child) == group(orphan), "the orphan is in another group than the child")?;
    check(group(child) != group(1), "the child is in the init's own group")
}

pub fn orphans_are_told(how: &How) -> Seen {
    if matches!(how.dialect, DumbInit | Catatonit) {
        return absent("has no such option");
    }
    let role = &["burst", "12", "record"];
    let told = |run: &Run| run.err.text().to_lowercase().matches("reaped").count();
    let run = ready(how.init(&["-w"]).role(role))?;
    must("-w does not tell of each orphan", || {
        run.until("all to be told", || (told(&run) >= 12).then_some(()));
    })?;
    run.term();
    let done = ends(run, 0, "-w")?;
    let line = "Reaped zombie process with pid=";
    check(!how.is(Tini) || done.text().contains(line), "other words than tini's")?;
    let run = ready(how.init(&[]).role(role))?;
    no_zombies(&run)?;
    check(told(&run) == 0, "tells of orphans without -w")
}

pub fn warns_where_it_cannot_reap(how: &How) -> Seen {
    if how.is(Catatonit) {
        return absent("adopts orphans without being asked");
    }
    let flags: &[&str] = if how.is(Clawinit) { &["--subreaper=off"] } else { &[] };
    let done = ends(how.init(flags).under().role(&["exit", "6"]), 6, "")?;
    let said = done.err.join("\n").to_lowercase();
    check(said.contains("zombie reaping won't work"), "says nothing of it")
}

pub fn deadly_signals(how: &How) -> Seen {
    for under in [false, true] {
        for signal in [libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2] {
            let init = how.init(&[]);
            let init = if under { init.under() } else { init };
            let run = ready(init.role(&["pause"]))?;
            run.signal(signal);
            ends(run, 128 + signal, &signal_name(signal))?;
        }
    }
    Ok(())
}

pub fn group_forwarding(how: &How) -> Seen {
    let mut ways = vec![(how.group(), false)];
    if matches!(how.dialect, Clawinit | Tini) {
        ways.push((vec!["-g"], false));
        ways.push((vec![], true));
    }
    for (flags, variable) in ways {
        let init = how.init(&flags);
        let init = if variable { init.variable("TINI_KILL_PROCESS_GROUP", "") } else { init };
        let run = ready(init.role(&["leave", "w:worker", "--", "ignore", "15"]))?;
        run.term();
        must("the grandchild gets nothing", || run.says("left w done"))?;
    }
    Ok(())
}

/// Compares the masks of a child with those that the init was given.
pub fn masks(how: &How, ignored: &[i32], blocked: &[i32]) -> Seen {
    let list = |numbers: &[i32]| {
        let words: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        words.join(",")
    };
    let mut init = how.init(&[]);
    if !ignored.is_empty() {
        init = init.flag(&format!("ignore={}", list(ignored)));
    }
    if !blocked.is_empty() {
        init = init.flag(&format!("block={}", list(blocked)));
    }
    let done = ends(init.command(&["cat", "/proc/self/status"]), 0, "")?;
    let status = done.out.join("\n");
    for (field, what, wanted) in
        [("SigIgn", "ignored", sys::set(ignored)), ("SigBlk", "blocked", sys::set(blocked))]
    {
        let mask = status_field(&status, field).unwrap_or_default();
        let seen = u64::from_str_radix(&mask, 16).unwrap_or(u64::MAX);
        let wrong = |set: u64| -> Vec<String> {
            (1..=64).filter(|n| set & sys::bit(*n) != 0).map(signal_name).collect()
        };
        let (more, less) = (wrong(seen & !wanted), wrong(wanted & !seen));
        check(more.is_empty(), format!("{} {what} in the child", more.join(", ")))?;
        check(less.is_empty(), format!("{} no longer {what}", less.join(", ")))?;
    }
    Ok(())
}

pub fn inherited_masks(how: &How) -> Seen {
    masks(how, &[], &[])?;
    masks(how, &[2, 11, 22], &[])?;
    masks(how, &[], &[4, 15, 21])?;
    masks(how, &[2, 11, 22], &[4, 15, 21])
}

pub fn parents_death(how: &How) -> Seen {
    if matches!(how.dialect, DumbInit | Catatonit) {
        return absent("has no such option");
    }
    let init = how.init(&["-p", "SIGUSR1"]).under().flag("parent-dies");
    let run = ready(init.role(&["record", "exit=10:0"]))?;
    let parent: i32 = run.status("PPid").parse().expect("a pid");
    sys::kill(parent, libc::SIGKILL).expect("end the parent");
    ends(run, 0, "").map(drop)
}

pub fn interactive_shell(how: &How) -> Seen {
    let run = how.init(&[]).console().variable("PS1", "prompt> ").command(&["dash", "-i"]);
    must("no prompt comes", || {
        run.until("the prompt", || run.out.text().contains("prompt> ").then_some(()));
    })?;
    run.types("exit 0\n");
    ends(run, 0, "").map(drop)
}

pub fn control_c(how: &How) -> Seen {
    let run = ready(how.init(&[]).terminal().role(&["pause"]))?;
    run.types(INTERRUPT);
    ends(run, 130, "").map(drop)
}

pub fn valgrind(how: &How) -> Seen {
    let valgrind = std::path::Path::new("/usr/bin/valgrind");
    if !valgrind.exists() {
        return Err(Not::Cannot("valgrind is not installed"));
    }
    // By what it is called under valgrind, clawinit is itself: that cannot be forged there.
    if how.ours && !how.is(Clawinit) {
        return Err(Not::Same);
    }
    if how.is(Catatonit) {
        return absent("static: valgrind cannot tell its memory");
    }
    let program = how.program.display().to_string();
    let line = words(&[
        &["-q", "--vgdb=no", "--error-exitcode=99", "--leak-check=full", &program],
        how.base(),
        how.quiet(),
    ]);
    let folder = Folder::new();
    let done = ends(
        // It names its files by its pid, and others are PID 1 as well.
        how.bare(&line).variable("TMPDIR", &folder.word("")).program(valgrind.into()).command(&[
            "sh",
            "-c",
            "(true &) ; exit 7",
        ]),
        7,
        "",
    )?;
    check(done.err.is_empty(), format!("valgrind says {:?}", done.err.first()))
}

pub fn w_alone(how: &How) -> Seen {
    match how.dialect {
        Clawinit | Tini => how.quick(&["-w"])?.ends(how.usage_code(), "-w"),
        DumbInit | Catatonit => absent("has no such option"),
    }
}

const FOUR: [&str; 5] = ["leave", "a:worker", "b:worker", "c:worker", "d:worker"];

pub fn term_ends_the_group(how: &How) -> Seen {
    let workers = ["leave", "a:worker:plain", "b:worker:plain", "c:worker:plain", "d:worker:plain"];
    let role = words(&[&workers, &["--", "pause"]]);
    let run = ready(how.init(&how.group()).under().role(&role))?;
    let pids: Vec<i32> =
        ["a", "b", "c", "d"].iter().map(|name| left(&run, name)).collect::<Result<_, _>>()?;
    run.term();
    must("the rest of the group lives on", || {
        run.until("all five to end", || {
            let lives = run.processes();
            let lives = |pid| lives.iter().any(|p| p.pid == pid && p.state != 'Z');
            (!pids.iter().any(|pid| lives(*pid))).then_some(())
        });
    })?;
    ends(run, 143, "").map(drop)
}

/// After the end of the init: all four workers live, and none was sent a signal.
fn untouched(run: Run, code: i32) -> Seen {
    let pids: Vec<i32> =
        ["a", "b", "c", "d"].iter().map(|name| left(&run, name)).collect::<Result<_, _>>()?;
    must("does not end", || run.end())?;
    let alive = pids.iter().filter(|pid| lives(&run, **pid)).count();
    let done = ends(run, code, "")?;
    check(alive == 4, format!("{alive} of 4 others live on"))?;
    let told = done.out.iter().any(|line| line.starts_with("left") && line.contains("signal"));
    check(!told, "the others get a signal too")
}

pub fn term_reaches_the_child_alone(how: &How) -> Seen {
    let role = words(&[&FOUR, &["--", "record", "exit=15:9"]]);
    let run = ready(how.init(&how.single()).under().role(&role))?;
    run.term();
    untouched(run, 9)
}

pub fn the_rest_of_the_group_is_told(how: &How) -> Seen {
    let run = how.init(&how.group()).under().role(&["leave", "w:worker", "--", "exit", "3"]);
    left(&run, "w")?;
    must("the rest of the group gets nothing", || run.says("left w signal 15"))?;
    ends(run, 3, "").map(drop)
}

pub fn nobody_else_is_told(how: &How) -> Seen {
    let role = words(&[&FOUR, &["--", "exit", "3"]]);
    untouched(how.init(&how.single()).under().role(&role), 3)
}

pub fn a_missing_command_is_named(how: &How) -> Seen {
    for flags in how.modes() {
        let done = how.quick(&words(&[how.base(), &flags, &["--", MISSING]]))?;
        check(done.end != crate::harness::End::Code(0), "leaves with 0")?;
        let line = done.err.lines().find(|line| line.contains(MISSING)).unwrap_or_default();
        let why = ["No such file or directory", "not found"];
        check(
            why.iter().any(|why| line.contains(why)),
            "does not name the command and the reason",
        )?;
    }
    Ok(())
}

pub fn usage_errors(how: &How) -> Seen {
    let done = how.quick(&[])?;
    done.ends(how.usage_code(), "no arguments")?;
    check(!done.err.is_empty(), "no usage on standard error")?;
    let long: &[&[&str]] = match how.dialect {
        Clawinit => &[&["-h"], &["--help"], &["--version"]],
        Tini => &[&["-h"], &["--version"]],
        DumbInit => &[&["-h"], &["--help"], &["-V"], &["--version"]],
        Catatonit => &[&["-h"], &["-V"], &["--version"]],
    };
    for line in long {
        how.quick(line)?.ends(0, line[0])?;
    }
    let done = how.quick(&["--no-such-option", "true"])?;
    done.ends(how.usage_code(), "an unknown option")?;
    check(done.err.contains("no-such-option"), "does not name the unknown option")
}

pub fn diagnostics_on_stderr_only(how: &How) -> Seen {
    let verbose = how.verbose()?;
    for flags in how.modes() {
        let line = words(&[how.base(), &flags, &verbose, &["echo", "oh, hi"]]);
        let done = how.quick(&line)?;
        done.ends(0, "")?;
        check(done.out == "oh, hi\n", "diagnostics go to standard output")?;
        check(!done.err.is_empty(), "no diagnostics")?;
    }
    Ok(())
}

pub fn wrong_rewrites(how: &How) -> Seen {
    let folder = Folder::new();
    let trace = folder.word("was-run");
    let flag = match how.dialect {
        Clawinit => "--map",
        DumbInit => "-r",
        Tini | Catatonit => return absent("does not rewrite signals"),
    };
    let over = if how.is(Clawinit) { "65:1" } else { "32:1" };
    for wrong in ["", "herp", "herp:derp", "15", "15::12", "15:derp", over] {
        let done = how.quick(&[flag, wrong, "touch", &trace])?;
        done.ends(how.usage_code(), &format!("{wrong:?}"))?;
        check(!done.err.is_empty(), format!("{wrong:?}: no message"))?;
    }
    let done = how.quick(&[flag, "1:2", flag, "x:1", "touch", &trace])?;
    done.ends(how.usage_code(), "a bad one after a good one")?;
    how.quick(&[flag])?.ends(how.usage_code(), "no value")?;
    check(!folder.file("was-run").exists(), "the command is run")
}

pub fn folders(how: &How) -> Seen {
    let folder = Folder::new();
    let path = std::fs::canonicalize(folder.path()).expect("the folder");
    let place = format!("folder={}", path.display());
    let run =
        ready(how.init(&[]).flag(&place).command(&["sh", "-c", "pwd; echo ready; sleep 60"]))?;
    must("the child is in another folder", || run.says(&path.display().to_string()))?;
    must("the init stays in the caller's folder", || {
        run.until("the init to sit in the root", || {
            let cwd = std::fs::read_link(format!("/proc/{}/cwd", run.pid)).ok()?;
            (cwd.as_os_str() == "/").then_some(())
        });
    })
}

pub fn exit_codes(how: &How) -> Seen {
    for code in [0, 1, 2, 32, 64, 127, 254, 255] {
        let command = format!("exit {code}");
        how.quick(&words(&[how.base(), &["--", "sh", "-c", &command]]))?.ends(code, "")?;
    }
    Ok(())
}

pub fn deaths(how: &How) -> Seen {
    for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGKILL] {
        let command = format!("ulimit -c 0; kill -{signal} $$");
        let line = words(&[how.base(), &["--", "sh", "-c", &command]]);
        how.quick(&line)?.ends(128 + signal, &signal_name(signal))?;
    }
    Ok(())
}

pub fn every_signal(how: &How) -> Seen {
    let dropped = [libc::SIGKILL, libc::SIGCHLD, libc::SIGSTOP];
    let suspending = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
    let run = ready(how.init(&[]).role(&["record"]))?;
    let seen = |signal: i32| signals(&run.out.all()).iter().filter(|s| **s == signal).count();
    let mut lost = Vec::new();
    // A marker behind each signal, of a higher number or a lower priority: when it has come, the
    // signal has, too, or never will.
    let marker = libc::SIGPWR;
    for signal in (1..=31).filter(|n| !dropped.contains(n) && !suspending.contains(n)) {
        let before = seen(marker);
        run.signal(signal);
        if signal == marker {
            passes(&run, marker, marker)?;
            continue;
        }
        run.signal(marker);
        must(format!("{} stops it", signal_name(signal)), || {
            run.until("the marker", || (seen(marker) > before).then_some(()));
        })?;
        if seen(signal) == 0 {
            lost.push(signal_name(signal));
        }
    }
    check(lost.is_empty(), format!("as PID 1 it loses {}", lost.join(", ")))?;
    drop(run);
    let run = ready(how.init(&[]).under().role(&["record"]))?;
    for signal in [libc::SIGILL, libc::SIGABRT, libc::SIGSEGV, libc::SIGSYS, libc::SIGTERM] {
        passes(&run, signal, signal)?;
    }
    Ok(())
}

pub fn rewrites(how: &How) -> Seen {
    let map = how.map(&[("15", "2"), ("2", "15"), ("10", "10"), ("1", "31"), ("31", "1")])?;
    let map: Vec<&str> = map.iter().map(String::as_str).collect();
    let run = ready(how.init(&map).role(&["record"]))?;
    for (signal, becomes) in [(15, 2), (2, 15), (10, 10), (1, 31), (31, 1), (12, 12), (3, 3)] {
        passes(&run, signal, becomes)?;
    }
    let seen = signals(&run.out.all());
    check(seen == [2, 15, 10, 31, 1, 12, 3], format!("the child sees {seen:?}"))
}

pub fn dropped_signals(how: &How) -> Seen {
    let map = how.map(&[("10", "0")])?;
    let map: Vec<&str> = map.iter().map(String::as_str).collect();
    let run = ready(how.init(&map).role(&["record"]))?;
    run.signal(libc::SIGUSR1);
    passes(&run, libc::SIGUSR2, libc::SIGUSR2)?;
    let seen = signals(&run.out.all());
    check(seen == [12], format!("the child sees {seen:?}"))
}

const SUSPENDING: [i32; 3] = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

pub fn suspends_child_and_itself(how: &How) -> Seen {
    let run = ready(how.init(&[]).under().role(&["pause"]))?;
    let child = pid_in(&run.says_prefix("ready"));
    for signal in SUSPENDING {
        let name = signal_name(signal);
        run.signal(signal);
        must(format!("{name} does not suspend the child"), || run.wait_state(child, "T"))?;
        init_state(&run, "T", &format!("{name} does not suspend the init"))?;
        run.signal(libc::SIGCONT);
        must("SIGCONT does not wake the child", || run.wait_state(child, "S"))?;
        init_state(&run, "S", "SIGCONT does not wake the init")?;
    }
    Ok(())
}

pub fn suspends_itself_and_tells_the_child(how: &How) -> Seen {
    let run = ready(how.init(&how.single()).under().role(&["record"]))?;
    for signal in SUSPENDING {
        let name = signal_name(signal);
        passes(&run, signal, signal)?;
        init_state(&run, "T", &format!("{name} does not suspend the init"))?;
        passes(&run, libc::SIGCONT, libc::SIGCONT)?;
        init_state(&run, "S", "SIGCONT does not wake the init")?;
    }
    Ok(())
}

pub fn rewritten_suspension(how: &How) -> Seen {
    let map = how.map(&[("20", "1"), ("21", "1"), ("22", "1")])?;
    let map: Vec<&str> = map.iter().map(String::as_str).collect();
    let run = ready(how.init(&map).under().role(&["record"]))?;
    for signal in SUSPENDING {
        passes(&run, signal, libc::SIGHUP)?;
        init_state(&run, "T", &format!("{} does not suspend the init", signal_name(signal)))?;
        passes(&run, libc::SIGCONT, libc::SIGCONT)?;
    }
    Ok(())
}

pub fn a_filter_on_a_terminal(how: &How) -> Seen {
    for under in [false, true] {
        let init = how.init(&[]).terminal();
        let run = if under { init.under() } else { init }.command(&["tac"]);
        run.types("one\ntwo\n\u{4}");
        let done = ends(run, 0, "")?;
        // What was typed is echoed before.
        let last: Vec<&String> = done.out.iter().rev().take(2).collect();
        check(last == ["one", "two"], format!("the output is {:?}", done.out))?;
    }
    Ok(())
}

pub fn job_control(how: &How) -> Seen {
    for flags in how.modes() {
        for under in [false, true] {
            let init = how.init(&flags).console();
            let init = if under { init.under() } else { init };
            let shell = ["bash", "--norc", "--noprofile", "-i"];
            let run = init.variable("PS1", "prompt> ").command(&shell);
            must("no prompt comes", || {
                run.until("the prompt", || run.out.text().contains("prompt> ").then_some(()));
            })?;
            run.types("sleep 61 & jobs; echo now-${PPID}-here\n");
            must("no job list comes", || {
                run.until("the job list", || {
                    let text = run.out.text();
                    (text.contains("Running") && text.contains("-here\r\n")).then_some(())
                });
            })?;
            run.types("kill -9 %1; exit 4\nexit 4\n");
            let text = ends(run, 4, "bash")?.text();
            check(!text.contains("no job control"), "bash has no job control")?;
            check(!text.contains("cannot set terminal process group"), "bash has no terminal")?;
        }
    }
    Ok(())
}

pub fn hand_over_is_not_forwarded(how: &How) -> Seen {
    let run = ready(how.init(&[]).terminal().role(&["record", "exit=15:0"]))?;
    passes(&run, libc::SIGHUP, libc::SIGHUP)?;
    run.term();
    let seen = ends(run, 0, "")?.signals();
    check(seen == [1, 15], format!("the child sees {seen:?}"))
}

pub fn an_orphan_of_an_orphan(how: &How) -> Seen {
    let run = ready(how.init(&[]).role(&["leave", "o:orphan:plain:brood", "--", "record"]))?;
    let (orphan, brood) = (left(&run, "o")?, left(&run, "o.brood")?);
    for pid in [orphan, brood] {
        let code = run.exec(&["kill", "9", &pid.to_string()]).code();
        check(code == Some(0), "the orphan is gone already")?;
    }
    must("a zombie stays", || {
        run.until("both to be reaped", || {
            let left = run.processes();
            (!left.iter().any(|p| p.pid == orphan || p.pid == brood)).then_some(())
        });
    })
}

pub fn one_child(how: &How) -> Seen {
    ends(how.init(&[]).role(&["exit", "0"]), 0, "")?;
    let run = ready(how.init(&[]).role(&["pause"]))?;
    let child = pid_in(&run.says_prefix("ready")).to_string();
    let _killer = run.exec(&["kill", "12", &child]);
    ends(run, 140, "SIGUSR2 from outside").map(drop)
}

pub fn an_orphan_from_outside(how: &How) -> Seen {
    let run = ready(how.init(&[]).role(&["record"]))?;
    let code = run.exec(&["orphans", "10", "0"]).code();
    check(code == Some(0), "the process from outside fails")?;
    no_zombies(&run)
}

pub fn a_handler_answers(how: &How) -> Seen {
    let run = ready(how.init(&[]).role(&["record", "exit=15:0"]))?;
    run.term();
    ends(run, 0, "").map(drop)
}

pub fn a_deadline(how: &How) -> Seen {
    if !how.is(Clawinit) {
        return absent("has no deadline of its own");
    }
    let run = ready(how.init(&["--stop-grace=300ms"]).role(&["ignore", "15"]))?;
    let at = run.term();
    let done = ends(run, 137, "")?;
    check(done.at - at >= 300_000_000, "SIGKILL comes before the deadline")
}

pub fn many_zombies_at_once(how: &How) -> Seen {
    ends(how.init(&[]).role(&["burst", "300", "33"]), 33, "300 zombies")?;
    ends(how.init(&[]).role(&["orphans", "3", "44"]), 44, "three orphans")?;
    let run = ready(how.init(&[]).role(&["burst", "300", "record"]))?;
    no_zombies(&run).map_err(|_| failed("zombies stay"))
}
