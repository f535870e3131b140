//! What no list has: cases that our own issues name, where other inits fail as well.

use crate::harness::{Folder, free_port, probe};
use crate::inits::Dialect::{Clawinit, Tini};
use crate::inits::{How, Not, Seen, check, ends, failed, must};
use crate::list_a::ready;
use nix::libc;
use std::io::Write;

pub fn ignored_sigchld(how: &How) -> Seen {
    for under in [false, true] {
        let init = || {
            let init = how.init(&[]).flag("ignore=17");
            if under { init.under() } else { init }
        };
        ends(init().role(&["exit", "23"]), 23, "")?;
        ends(init().role(&["orphans", "10", "24"]), 24, "with orphans")?;
    }
    Ok(())
}

pub fn term_in_the_first_calls(how: &How) -> Seen {
    let strace = std::path::Path::new("/usr/bin/strace");
    if !strace.exists() {
        return Err(Not::Cannot("strace is not installed"));
    }
    if how.ours && !how.is(Clawinit) {
        return Err(Not::Same);
    }
    let folder = Folder::new();
    let trace = folder.word("trace");
    // Each system call takes 10 ms more, so that there is time to send something in between. With
    // -D strace is a process beside it, and the init PID 1.
    let program = how.program.display().to_string();
    let line = ["-D", "-o", &trace, "-e", "inject=all:delay_exit=10000", &program];
    let line = [&line, how.base(), how.single().as_slice()].concat();
    let run = how.bare(&line).program(strace.into()).role(&["pause"]);
    must("strace shows nothing", || {
        run.until("four calls", || {
            let calls = std::fs::read_to_string(&trace).unwrap_or_default();
            (calls.lines().count() >= 4).then_some(())
        });
    })?;
    run.term();
    must("it is lost", || run.end())?;
    ends(run, 143, "").map(drop)
}

/// Whether the init has ended and its parent knows.
fn over(run: &crate::harness::Run) -> bool {
    !std::path::Path::new(&format!("/proc/{}", run.pid)).exists()
}

/// What starts a command again where the init does not: the loop that people write.
const LOOP: &str = "trap : USR1 TERM\nwhile :; do \"$@\"; [ $? = 75 ] || exit; done\n";

/// A command that comes back when it leaves with 75.
fn restarting(how: &How, folder: &Folder, role: &[&str]) -> crate::harness::Run {
    let probe = probe().display().to_string();
    let command = [&[probe.as_str(), "probe"], role].concat();
    if how.is(Clawinit) {
        // Its defaults: nothing of `base`.
        return how.bare(&[]).command(&command);
    }
    let script = folder.write("loop", LOOP, 0o644);
    how.init(&how.group()).command(&[&["sh", script.as_str()], command.as_slice()].concat())
}

pub fn stop_during_a_restart(how: &How) -> Seen {
    let folder = Folder::new();
    // Asked to restart, it saves for 300 ms.
    let run = ready(restarting(how, &folder, &["record", "exit=10:75:300"]))?;
    run.signal(libc::SIGUSR1);
    must("SIGUSR1 does not reach the child", || run.says_prefix("signal 10 "))?;
    run.term();
    let second = || run.out.all().iter().filter(|line| line.starts_with("ready")).count() > 1;
    let over = must("does not end", || {
        run.until("the end, or another start", || (over(&run) || second()).then_some(over(&run)))
    })?;
    check(over && !second(), "starts it again after the stop")?;
    ends(run, 0, "").map(drop)
}

pub fn leftovers_on_the_port(how: &How) -> Seen {
    let folder = Folder::new();
    let (port, probe) = (free_port(), probe().display().to_string());
    let mark = folder.word("second");
    let app = folder.write(
        "app",
        &format!(
            "[ -e {mark} ] && exec {probe} probe bind {port} record exit=15:0\ntouch {mark}\n\
             exec {probe} probe leave d:daemon:port={port} -- exit 75\n"
        ),
        0o644,
    );
    let command = ["sh", app.as_str()];
    let run = if how.is(Clawinit) {
        how.bare(&["--restart-delay=1ms"]).command(&command)
    } else {
        let script = folder.write("loop", LOOP, 0o644);
        how.init(&how.group()).command(&[&["sh", script.as_str()], command.as_slice()].concat())
    };
    let bound = must("it is not started again", || {
        run.out_line("the second start", |line| {
            (line.starts_with("ready") || line.starts_with("bind: ")).then(|| line.to_string())
        })
    })?;
    check(bound.starts_with("ready"), "the second start finds the port taken")
}

pub fn full_stderr(how: &How) -> Seen {
    let verbose = how.verbose()?;
    let (_reader, mut writer) = std::io::pipe().map_err(|e| failed(e.to_string()))?;
    // A pipe holds 16 pages; nobody reads them.
    writer.write_all(&[b'x'; 65536]).expect("fill the pipe");
    // tini has its verbosity on standard output, and on stderr what `-w` tells of orphans.
    let w: &[&str] = if matches!(how.dialect, Clawinit | Tini) { &["-w"] } else { &[] };
    let init = how.init(&[&verbose, w].concat()).stderr(writer);
    let role = ["burst", "5", "record"];
    let run = must("stands still before its command", || init.role(&role).ready())?;
    run.term();
    must("stands still in a write", || run.end())?;
    ends(run, 0, "").map(drop)
}
