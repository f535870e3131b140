//! List B of CONFORMANCE.md: what users of other inits have asked for or complained about.

use crate::harness::{End, Folder, Init, Run, pid_in, probe, signals};
use crate::inits::Dialect::{Catatonit, Clawinit, DumbInit, Tini};
use crate::inits::{How, Not, Seen, absent, check, ends, failed, must, signal_name};
use crate::list_a::{
    INTERRUPT, MISSING, init_state, left, lives, masks, no_zombies, passes, ready,
};
use crate::sys;
use nix::libc;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// How often a race is tried: the number that the line names for clawinit, fewer for the others,
/// which need not be proven right here.
fn rounds(how: &How, ours: usize, others: usize) -> usize {
    if how.ours && how.is(Clawinit) { ours } else { others }
}

pub fn coalesced_deaths(how: &How) -> Seen {
    let rounds = rounds(how, 2000, 200).to_string();
    let probe = probe().display().to_string();
    let program = how.program.display().to_string();
    // As PID 1's child, so that one namespace serves all rounds; a name that is needed is a link.
    let folder = Folder::new();
    let program = if how.ours && !how.is(Clawinit) {
        let link = folder.file(how.dialect.name());
        std::os::unix::fs::symlink(&program, &link).expect("a link");
        link.display().to_string()
    } else {
        program
    };
    let mut line = vec!["probe", "repeat", &rounds, "42", &program];
    line.extend(how.base());
    line.extend(how.quiet());
    line.extend([probe.as_str(), "probe", "together"]);
    let run = Init::plain(&line).program(probe.clone().into()).alone();
    let mut round = 0;
    let wanted: usize = rounds.parse().expect("a number");
    while round < wanted {
        round += 50;
        must("hangs", || run.says(&format!("round {round}")))?;
    }
    ends(run, 0, "").map(drop)
}

pub fn codes_of_its_own(how: &How) -> Seen {
    for code in [126, 127, 128, 255] {
        let command = format!("exit {code}");
        let line = [how.base(), &["--", "sh", "-c", &command]].concat();
        how.quick(&line)?.ends(code, &format!("exit {code}"))?;
    }
    Ok(())
}

const WAIT_FOR_ALL: &str = "--exit-when=all";

pub fn waits_for_the_rest(how: &How) -> Seen {
    if !how.is(Clawinit) {
        return absent("leaves with its child");
    }
    let run = how.init(&[WAIT_FOR_ALL]).role(&["leave", "d:daemon", "--", "exit", "3"]);
    let daemon = left(&run, "d")?;
    must("the child does not end", || {
        run.err_line("the child's end", |l| l.contains("exited with 3").then_some(()));
    })?;
    init_state(&run, "S", "leaves with its child")?;
    let _killer = run.exec(&["kill", "15", &daemon.to_string()]);
    ends(run, 3, "when the last has gone")?;
    let init = how.init(&[WAIT_FOR_ALL, "--stop-grace=300ms"]);
    let run = init.role(&["leave", "d:daemon:deaf", "--", "exit", "3"]);
    left(&run, "d")?;
    run.term();
    must("does not end at its time limit", || run.end()).map(drop)
}

pub fn children_may_clean_up(how: &How) -> Seen {
    let role = ["leave", "w:worker:slow=2000", "--", "record", "exit=15:0"];
    let run = ready(how.init(&how.group()).role(&role))?;
    run.term();
    let done = ends(run, 0, "")?;
    check(done.says("left w done"), "the workers are killed in the midst of it")
}

pub fn workers_see_nothing_while_the_child_drains(how: &How) -> Seen {
    let flags = if how.is(Clawinit) { vec!["--kill-mode=mixed"] } else { how.single() };
    let role = ["leave", "w:worker", "--", "record", "exit=12:0"];
    let run = ready(how.init(&flags).role(&role))?;
    passes(&run, libc::SIGTERM, libc::SIGTERM)?;
    passes(&run, libc::SIGHUP, libc::SIGHUP)?;
    check(!run.out.text().contains("left w signal"), "the worker is told with the child")
}

pub fn the_limit_is_not_slept_out(how: &How) -> Seen {
    if !how.is(Clawinit) {
        return absent("has no time limit");
    }
    let role = ["leave", "w:worker:slow=300", "--", "record", "exit=15:0:100"];
    let mut took = f64::MAX;
    // The quickest of three: a busy machine makes one late, a limit that is slept out all of them.
    for _ in 0..3 {
        let run = ready(how.init(&["--stop-grace=60s", "--sweep-grace=60s"]).role(&role))?;
        let at = run.term();
        let done = ends(run, 0, "")?;
        check(done.says("left w done"), "the worker is killed")?;
        took = took.min(crate::harness::ms(at, done.at));
        if took < 900.0 {
            break;
        }
    }
    // What both took, and half a second.
    check(took < 900.0, format!("takes {took:.0} ms of which 400 are the children's"))
}

pub fn daemons_are_told(how: &How) -> Seen {
    for flags in [vec![], how.group()] {
        let role = ["leave", "d:daemon", "--", "record", "exit=15:0"];
        let run = ready(how.init(&flags).role(&role))?;
        run.term();
        let done = ends(run, 0, "")?;
        check(done.says("left d done"), "the daemon is killed without a word")?;
    }
    Ok(())
}

pub fn all_means_all(how: &How) -> Seen {
    if !how.is(Clawinit) {
        return absent("no option promises it");
    }
    for (flags, told) in [("--kill-mode=mixed", true), ("--kill-mode=process", false)] {
        let role = ["leave", "d:daemon", "--", "record", "exit=15:0"];
        let run = ready(how.init(&[flags]).role(&role))?;
        run.term();
        let done = ends(run, 0, "")?;
        check(done.says("left d done") == told, format!("{flags}: not what the help says"))?;
    }
    let help = how.quick(&["--help"])?.text();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    check(help.contains("the child only, no sweep"), "the help does not say who is left out")
}

pub fn a_program_that_goes_on(how: &How) -> Seen {
    if !how.is(Clawinit) {
        return absent("leaves with its child");
    }
    let run = how.init(&[WAIT_FOR_ALL]).role(&["leave", "s:worker", "--", "exit", "0"]);
    left(&run, "s")?;
    must("the child does not end", || {
        run.err_line("the child's end", |l| l.contains("exited with 0").then_some(()));
    })?;
    run.signal(libc::SIGHUP);
    must("what is left gets no signal", || run.says("left s signal 1"))?;
    run.term();
    let done = ends(run, 0, "")?;
    check(done.says("left s done"), "what is left is killed")
}

pub fn no_orphan_stays(how: &How) -> Seen {
    let flags: &[&str] = if how.is(Tini) { &["-s"] } else { &[] };
    let init = how.init(flags).under();
    let init = if how.is(DumbInit) { init.flag("subreaper") } else { init };
    let run = ready(init.role(&["leave", "d:daemon:plain", "--", "record", "exit=15:0"]))?;
    let daemon = left(&run, "d")?;
    run.term();
    must("does not end", || run.end())?;
    check(!lives(&run, daemon), "a daemon lives on without it")
}

/// Sends `signal` to a child that takes its time, and says what it saw.
fn seen_of(how: &How, flags: &[&str], signal: i32) -> Result<Vec<i32>, Not> {
    let rule = format!("exit={signal}:0:60");
    let run = ready(how.init(flags).role(&["record", &rule]))?;
    run.signal(signal);
    Ok(ends(run, 0, &signal_name(signal))?.signals())
}

pub fn once(how: &How) -> Seen {
    for flags in how.modes() {
        let seen = seen_of(how, &flags, libc::SIGTERM)?;
        check(seen == [libc::SIGTERM], format!("the child sees {seen:?}"))?;
    }
    Ok(())
}

pub fn nothing_that_was_not_sent(how: &How) -> Seen {
    for flags in how.modes() {
        for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
            let seen = seen_of(how, &flags, signal)?;
            check(seen == [signal], format!("{}: the child sees {seen:?}", signal_name(signal)))?;
        }
    }
    Ok(())
}

pub fn the_code_of_a_stop(how: &How) -> Seen {
    for flags in how.modes() {
        for code in [0, 7] {
            let rule = format!("exit=15:{code}");
            let run = ready(how.init(&flags).role(&["record", &rule]))?;
            run.term();
            ends(run, code, "")?;
        }
    }
    Ok(())
}

pub fn a_code_that_is_a_success(how: &How) -> Seen {
    if matches!(how.dialect, DumbInit | Catatonit) {
        return absent("does not remap codes");
    }
    for mode in how.modes() {
        let flags = [&["-e", "143"], mode.as_slice()].concat();
        for role in [&["pause"][..], &["record", "exit=15:143"]] {
            let run = ready(how.init(&flags).role(role))?;
            run.term();
            ends(run, 0, role[0])?;
        }
        let run = ready(how.init(&flags).role(&["pause"]))?;
        let child = pid_in(&run.says_prefix("ready")).to_string();
        let _killer = run.exec(&["kill", "9", &child]);
        ends(run, 137, "SIGKILL")?;
    }
    Ok(())
}

pub fn a_death_is_told(how: &How) -> Seen {
    let mut flags = how.verbose()?;
    if how.is(Clawinit) {
        flags.push("--log-format=json");
    }
    let done = ends(how.init(&flags).role(&["die", "11"]), 139, "")?;
    // tini says it on standard output.
    let said = done.text();
    let named = ["SIGSEGV", "Segmentation fault"].iter().any(|name| said.contains(name));
    check(named, "does not name the signal")?;
    check(said.to_lowercase().contains("core"), "names the signal, says nothing of a core")
}

/// CPU time of the init, in ticks of 10 ms.
fn ticks(run: &Run) -> u64 {
    let stat = run.proc("stat");
    let rest = stat.rsplit_once(") ").expect("stat").1;
    let fields: Vec<&str> = rest.split(' ').collect();
    fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime")
}

pub fn what_cannot_be_reaped(how: &How) -> Seen {
    let role = ["zombie-holder", "leave", "a:orphan", "s:orphan:stuck", "--", "headless"];
    let run = ready(how.init(&[]).role(&role))?;
    let (orphan, stuck) = (left(&run, "a")?, left(&run, "s")?);
    must("an orphan in state D", || run.wait_state(stuck, "D"))?;
    passes(&run, libc::SIGUSR2, libc::SIGUSR2)?;
    check(run.exec(&["kill", "9", &orphan.to_string()]).code() == Some(0), "no orphan to end")?;
    must("other zombies stay", || {
        run.until("the orphan to be reaped", || {
            (!run.processes().iter().any(|p| p.pid == orphan)).then_some(())
        });
    })?;
    let before = ticks(&run);
    // The window of a measurement.
    std::thread::sleep(std::time::Duration::from_millis(300));
    check(ticks(&run) - before <= 2, "a busy loop")
}

pub fn early_term(how: &How) -> Seen {
    // As soon as it has blocked SIGTERM; and where its caller had, from the first instruction on.
    let half = rounds(how, 250, 60);
    for round in 0..2 * half {
        let micros = round / 2 * 2500 / half;
        let init = if round % 2 == 0 {
            how.init(&[]).flag(&format!("term-blocked={micros}"))
        } else {
            how.init(&[]).flag(&format!("term-after={micros}")).flag("block=15")
        };
        let run = init.role(&["pause"]);
        must("a SIGTERM before the child has begun is lost", || run.end())?;
        ends(run, 143, "")?;
    }
    Ok(())
}

pub fn real_time_signals(how: &How) -> Seen {
    let run = ready(how.init(&[]).role(&["record"]))?;
    for signal in 34..=64 {
        run.signal(signal);
    }
    // Higher numbers come later: SIGUSR2 would overtake them, so the last one is waited for.
    let all: Vec<i32> = (34..=64).collect();
    let found = must("", || run.until("all", || (signals(&run.out.all()) == all).then_some(())));
    if found.is_err() {
        let seen = signals(&run.out.all());
        return Err(failed(match seen.len() {
            0 => "none of them arrives".to_string(),
            some => format!("{some} of 31 arrive"),
        }));
    }
    if !matches!(how.dialect, Clawinit | DumbInit) {
        return Ok(());
    }
    let map = how.map(&[(if how.is(Clawinit) { "RTMIN+3" } else { "37" }, "12")])?;
    let map: Vec<&str> = map.iter().map(String::as_str).collect();
    let run =
        must("they arrive, but are not rewritten", || how.init(&map).role(&["record"]).ready())?;
    passes(&run, 37, libc::SIGUSR2)
}

/// An instruction that no processor knows.
const UNKNOWN: &[u8] = if cfg!(target_arch = "x86_64") { &[0x0f, 0x0b] } else { &[0; 4] };

pub fn abort_from_outside(how: &How) -> Seen {
    let fatal = [libc::SIGABRT, libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];
    for under in [true, false] {
        let init = how.init(&[]);
        let run = ready(if under { init.under() } else { init }.role(&["record"]))?;
        for signal in fatal {
            passes(&run, signal, signal)?;
        }
        if under {
            continue;
        }
        // A fault of its own: what it would do when its wait returns is none of its instructions.
        let at = must("no wait to be seen", || {
            run.until("the wait", || {
                let call = std::fs::read_to_string(format!("/proc/{}/syscall", run.pid)).ok()?;
                let at = call.split_whitespace().last()?.strip_prefix("0x")?;
                u64::from_str_radix(at, 16).ok()
            })
        })?;
        let memory = format!("/proc/{}/mem", run.pid);
        let mut memory =
            std::fs::OpenOptions::new().write(true).open(memory).expect("the init's memory");
        memory.seek(std::io::SeekFrom::Start(at)).expect("seek");
        memory.write_all(UNKNOWN).expect("write to the init's memory");
        run.signal(libc::SIGUSR2);
        let (end, _) = must("survives a fault of its own", || run.end())?;
        check(end == End::Signal(libc::SIGILL), format!("a fault of its own ends in {end:?}"))?;
    }
    Ok(())
}

pub fn a_harmless_signal(how: &How) -> Seen {
    let map = how.map(&[("12", "0")])?;
    let map: Vec<&str> = map.iter().map(String::as_str).collect();
    let run = ready(how.init(&map).role(&["pause"]))?;
    run.signal(libc::SIGUSR2);
    run.term();
    ends(run, 143, "").map(drop)
}

pub fn tstp_reaches_the_handler(how: &How) -> Seen {
    let run = ready(how.init(&how.single()).role(&["record"]))?;
    passes(&run, libc::SIGTSTP, libc::SIGTSTP)?;
    passes(&run, libc::SIGCONT, libc::SIGCONT)
}

pub fn control_z(how: &How) -> Seen {
    let run = ready(how.init(&[]).terminal().role(&["pause"]))?;
    let child = pid_in(&run.says_prefix("ready"));
    run.types("\u{1a}");
    must("^Z is not echoed", || {
        run.until("the echo", || run.out.text().contains("^Z").then_some(()));
    })?;
    // Who gave the child a session of its own has nobody to suspend: then there is nothing to see,
    // and the window ends.
    let end = sys::now_ns() + 500_000_000;
    while sys::now_ns() < end && !run.processes().iter().any(|p| p.pid == child && p.state == 'T') {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    run.term();
    must("after ^Z a SIGTERM no longer ends it", || run.end())?;
    ends(run, 143, "").map(drop)
}

pub fn no_permission(how: &How) -> Seen {
    let folder = Folder::new();
    let (_, probe) = folder.copies();
    folder.set_mode("probe", 0o4755);
    let program = if how.ours { folder.file("clawinit") } else { how.program.clone() };
    let init = how.init(&[]).program(program).with_probe(probe).flag("user=65534");
    let run = ready(init.role(&["root", "record", "exit=12:31"]))?;
    run.signal(libc::SIGHUP);
    run.signal(libc::SIGHUP);
    let child = pid_in(&run.says_prefix("ready"));
    let _guest = run.exec(&["kill", "12", &child.to_string()]);
    ends(run, 31, "").map(drop)
}

pub fn sigpipe(how: &How) -> Seen {
    masks(how, &[], &[])?;
    masks(how, &[13], &[])?;
    let line = [how.base(), how.quiet(), &["--", "sh", "-c", "yes | head -n 1"]].concat();
    let done = how.quick(&line)?;
    done.ends(0, "yes | head")?;
    check(done.out == "y\n", "yes | head writes something else")
}

pub fn hand_over_kills_nobody(how: &How) -> Seen {
    for round in 0..rounds(how, 500, 60) {
        let mut init = how.init(&[]).terminal();
        match round % 3 {
            0 => {}
            1 => init = init.under(),
            _ => init = init.under().flag("not-leader"),
        }
        ends(init.command(&["sleep", "0.002"]), 0, "")?;
    }
    Ok(())
}

pub fn bash_on_a_terminal(how: &How) -> Seen {
    for (under, leader) in [(false, true), (true, true), (true, false)] {
        let mut init = how.init(&[]).console();
        if under {
            init = init.under();
        }
        if !leader {
            init = init.flag("not-leader");
        }
        let shell = ["bash", "--norc", "--noprofile", "-i"];
        let run = init.variable("PS1", "prompt> ").command(&shell);
        must("no prompt comes", || {
            run.until("the prompt", || run.out.text().contains("prompt> ").then_some(()));
        })?;
        run.types("exit 4\n");
        let text = ends(run, 4, "")?.text();
        let place = if leader { "" } else { "in a shell's session " };
        check(!text.contains("no job control"), format!("{place}bash has no job control"))?;
        let group = "cannot set terminal process group";
        check(!text.contains(group), format!("{place}bash has no terminal"))?;
    }
    let done = ends(how.init(&[]).role(&["exit", "0"]), 0, "")?;
    let said = done.err.join("\n").to_lowercase();
    check(!said.contains("tty") && !said.contains("terminal"), "complains where there is none")
}

pub fn a_reader_at_once(how: &How) -> Seen {
    for flags in how.modes() {
        for under in [false, true] {
            let init = how.init(&flags).terminal();
            let run = if under { init.under() } else { init }.role(&["read-line"]);
            run.types("hello\n");
            must("the reader hangs", || run.says("got hello"))?;
            ends(run, 0, "")?;
        }
    }
    Ok(())
}

pub fn control_c_ends_a_shell(how: &How) -> Seen {
    for flags in how.modes() {
        let command = ["sh", "-c", "sleep 60; exit 9"];
        let run = how.init(&flags).terminal().command(&command);
        must("the shell's job does not run", || {
            run.until("the shell's job to run", || {
                let sleeps =
                    |p: &crate::harness::Process| p.command.starts_with("sleep") && p.state == 'S';
                run.processes().iter().any(sleeps).then_some(())
            });
        })?;
        run.types(INTERRUPT);
        ends(run, 130, "")?;
    }
    Ok(())
}

pub fn other_stdins(how: &How) -> Seen {
    let (_master, slave) = sys::open_pty().expect("a pty");
    for under in [false, true] {
        for flag in [&format!("stdin={slave}"), "stdin=/dev/null", "close=0"] {
            let init = how.init(&[]).flag(flag);
            let init = if under { init.under() } else { init };
            let when = match flag {
                "close=0" => "stdin closed",
                "stdin=/dev/null" => "/dev/null",
                _ => "another's terminal",
            };
            ends(init.role(&["exit", "17"]), 17, when)?;
        }
    }
    Ok(())
}

pub fn why_it_does_not_start(how: &How) -> Seen {
    let folder = Folder::new();
    let missing = format!("/no/such/{MISSING}");
    let script = folder.write("script", "#!/no/such/interpreter\nexit 0\n", 0o755);
    let locked = folder.write("locked", "#!/bin/sh\nexit 0\n", 0o644);
    let garbage = folder.write("garbage", "\u{1}\u{2}no program\u{3}", 0o755);
    let starts_not = |command: &str, code: i32, what: &str| {
        let done = how.quick(&[how.base(), &["--", command]].concat())?;
        done.ends(code, what)?;
        let line = done.err.lines().find(|line| line.contains(command)).map(str::to_string);
        line.ok_or_else(|| failed(format!("{what}: does not name it")))
    };
    let no_file = starts_not(&missing, 127, "a missing command")?.replace(&missing, "");
    let no_interpreter = starts_not(&script, 127, "a missing interpreter")?.replace(&script, "");
    check(
        without_numbers(&no_file) != without_numbers(&no_interpreter),
        "a missing interpreter looks like a missing command",
    )?;
    starts_not(&locked, 126, "a file that may not be executed")?;
    // As tini, clawinit hands such a file to the shell, as execvp(3) does for tini.
    if !how.ours || how.is(Clawinit) {
        starts_not(&garbage, 126, "a file that is no program")?;
    }
    Ok(())
}

/// A line without the pid that some write into it.
fn without_numbers(line: &str) -> String {
    line.chars().filter(|c| !c.is_ascii_digit()).collect()
}

pub fn nothing_behind_the_command(how: &How) -> Seen {
    let done = how.quick(&[how.base(), &["sh", "-c", "exit 3"]].concat())?;
    check(done.end == End::Code(3), "takes `-c` of `sh -c` for an option of its own")?;
    let given = ["sh", "-c", "echo \"$@\"", "-v", "-e", "-h", "--version", "--", "-g"];
    let done = how.quick(&[how.base(), how.quiet(), &given].concat())?;
    done.ends(0, "")?;
    check(done.out == "-e -h --version -- -g\n", format!("the command gets {:?}", done.out))
}

pub fn a_command_like_an_option(how: &How) -> Seen {
    let done = how.quick(&["--", "-h"])?;
    check(!done.text().to_lowercase().contains("usage"), "shows its help")?;
    done.ends(127, "")
}

pub fn socket_activation(how: &How) -> Seen {
    let folder = Folder::new();
    let path = folder.write("socket", "", 0o644);
    let facts = |given: &str| {
        let run = how
            .init(&[])
            .variable("LISTEN_PID", given)
            .variable("LISTEN_FDS", "2")
            .flag(&format!("fd=3:{path}"))
            .flag(&format!("fd=4:{path}"))
            .role(&["facts"]);
        let done = ends(run, 0, "")?;
        let line = done.out.iter().find(|line| line.starts_with('{')).cloned();
        let line = line.ok_or_else(|| failed("no facts"))?;
        serde_json::from_str::<serde_json::Value>(&line).map_err(|e| failed(e.to_string()))
    };
    let seen = facts("4711")?;
    check(seen["env"]["LISTEN_PID"] == "4711", "changes another's LISTEN_PID")?;
    check(seen["fds"]["3"] == path && seen["fds"]["4"] == path, "descriptors are lost")?;
    let seen = facts("1")?;
    check(seen["env"]["LISTEN_FDS"] == "2", "changes LISTEN_FDS")?;
    let child = seen["pid"].to_string();
    check(seen["env"]["LISTEN_PID"] == child.as_str(), "LISTEN_PID does not name the child")
}

pub fn no_descriptor_kept(how: &How) -> Seen {
    let folder = Folder::new();
    let path = folder.file("given");
    let mode = nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR;
    nix::unistd::mkfifo(&path, mode).expect("mkfifo");
    let mut reader = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&path)
        .expect("open the fifo");
    let flags: &[&str] = if how.is(Clawinit) { &["--restart=never"] } else { &[] };
    let script = "echo said >&3; exec 3>&-; echo ready; exec sleep 60";
    let init = how.init(flags).flag(&format!("fd=3:{}", path.display()));
    let run = ready(init.command(&["sh", "-c", script]))?;
    must("keeps the pipe open", || {
        run.until("the end of the pipe", || match reader.read(&mut [0; 64]) {
            Ok(0) => Some(()),
            Ok(_) | Err(_) => None,
        });
    })
}

pub fn the_start_folder_is_left(how: &How) -> Seen {
    let folder = Folder::new();
    let path = std::fs::canonicalize(folder.path()).expect("the folder").display().to_string();
    let init = how.init(&[]).flag(&format!("folder={path}"));
    // The child leaves it, too: nothing keeps it busy then.
    let run = ready(init.command(&["sh", "-c", "cd /; echo ready; exec sleep 60"]))?;
    must("sits in the folder that it was started in", || {
        run.until("nothing of the init in it", || {
            let links = run.descriptors().into_iter().map(|fd| format!("fd/{fd}"));
            let mut links = links.chain(["cwd".to_string()]);
            let within = |link: String| {
                let to = std::fs::read_link(format!("/proc/{}/{link}", run.pid));
                to.is_ok_and(|to| to.starts_with(&path))
            };
            (!links.any(within)).then_some(())
        });
    })
}

pub fn any_pid(how: &How) -> Seen {
    let done = ends(how.init(how.quiet()).under().role(&["exit", "12"]), 12, "")?;
    check(done.err.len() <= 1, format!("{} lines of warning", done.err.len()))?;
    if matches!(how.dialect, DumbInit | Catatonit) {
        return Ok(());
    }
    let flags = [how.quiet(), &["-s"]].concat();
    let done = ends(how.init(&flags).under().role(&["exit", "12"]), 12, "-s")?;
    check(done.err.is_empty(), "warns with -s, too")
}

pub fn hardened(how: &How) -> Seen {
    let folder = Folder::new();
    let (_, probe) = folder.copies();
    let program = if how.ours { folder.file("clawinit") } else { how.program.clone() };
    for flags in
        [&["read-only"][..], &["no-proc"], &["user=65534"], &["read-only", "no-proc", "user=65534"]]
    {
        let init = || {
            let init = how.init(&[]).program(program.clone()).with_probe(probe.clone());
            flags.iter().fold(init, |init, flag| init.flag(flag))
        };
        let when = flags.join(", ");
        ends(init().role(&["orphans", "10", "9"]), 9, &when)?;
        let run = ready(init().role(&["burst", "20", "record"]))?;
        run.term();
        ends(run, 0, &when)?;
    }
    Ok(())
}

pub fn a_parent_that_died_early(how: &How) -> Seen {
    if matches!(how.dialect, DumbInit | Catatonit) {
        return absent("has no such option");
    }
    let strace = Path::new("/usr/bin/strace");
    if !strace.exists() {
        return Err(Not::Cannot("strace is not installed"));
    }
    if how.ours && !how.is(Clawinit) {
        return Err(Not::Same);
    }
    // strace is the parent, holds it before its prctl(2), and dies then.
    let program = how.program.display().to_string();
    let folder = Folder::new();
    let trace = folder.word("trace");
    let hold = "inject=prctl:delay_enter=20000000";
    let line = ["-o", &trace, "-e", "trace=prctl", "-e", hold, &program];
    let line = [&line, how.base(), &["-p", "SIGUSR2"]].concat();
    let init = how.bare(&line).program(strace.into()).under();
    let run = init.role(&["record", "exit=12:0"]);
    let init_pid = must("no prctl is seen", || {
        run.until("the prctl", || {
            let children =
                std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", run.pid)).ok()?;
            let pid = children.split_whitespace().next()?.to_string();
            let call = std::fs::read_to_string(format!("/proc/{pid}/syscall")).ok()?;
            // The option of the call: PR_SET_PDEATHSIG is 1.
            let held = format!("{} 0x1 ", libc::SYS_prctl);
            call.starts_with(&held).then_some(pid)
        })
    })?;
    sys::kill(run.pid, libc::SIGKILL).expect("end the parent");
    must("the signal is missed", || {
        run.until("the signal, or the end", || {
            let gone = !Path::new(&format!("/proc/{init_pid}")).exists();
            (gone || signals(&run.out.all()).contains(&12)).then_some(())
        });
    })?;
    let help = how.quick(&["-h"])?.text();
    let whose = if how.is(Clawinit) { "clawinit's parent" } else { "parent" };
    check(help.contains(whose), "the help does not say whose parent")
}

pub fn engines_know_the_version(how: &How) -> Seen {
    // An engine calls it by the name that it has for its init.
    let how = if how.is(Clawinit) { How::ours(Tini) } else { how.clone() };
    let text = how.quick(&["--version"])?.text();
    check(text.starts_with("tini version "), format!("says {:?}", text.trim()))
}

pub fn idle(how: &How) -> Seen {
    let size = std::fs::metadata(&how.program).map_or(0, |file| file.len());
    check(size < 1_000_000, format!("{size} bytes"))?;
    let run = ready(how.init(&[]).role(&["record"]))?;
    let switches = || run.status("voluntary_ctxt_switches");
    let window = std::time::Duration::from_millis;
    // The child's first words may come before the init has gone to its wait.
    let before = must("never rests", || {
        run.until("the init to wait", || {
            let first = switches();
            std::thread::sleep(window(50));
            (switches() == first).then_some(first)
        })
    })?;
    // The window of a measurement.
    std::thread::sleep(window(2100));
    check(switches() == before, "wakes each second")?;
    no_zombies(&run)
}
