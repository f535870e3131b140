//! With a terminal (DESIGN section 4): the hand-over is seen by nobody, and the shell has its jobs.

use crate::harness::{End, Folder, Init, pid_in};
use crate::sys;

/// Ctrl-C and Ctrl-Z as they are typed.
const INTERRUPT: &str = "\u{3}";
const SUSPEND: &str = "\u{1a}";

/// A21.
pub fn a_shell_is_interactive_and_its_exit_ends_the_container() {
    for under in [false, true] {
        let init = Init::new(&[]).console();
        let init = if under { init.under() } else { init };
        let run = init.variable("PS1", "prompt> ").command(&["dash", "-i"]);
        run.until("the prompt", || run.out.text().contains("prompt> ").then_some(()));
        run.types("exit 5\n");
        run.finish_with(5);
    }
}

/// A22, B28.
pub fn control_c_reaches_the_child_and_ends_it_with_130() {
    for kill_mode in ["mixed", "group", "process"] {
        for under in [false, true] {
            let init = Init::new(&["--kill-mode", kill_mode]).terminal();
            let init = if under { init.under() } else { init };
            let run = init.role(&["pause"]).ready();
            run.types(INTERRUPT);
            run.finish_with(130);
        }
    }
    let run = Init::new(&[]).terminal().command(&["sh", "-c", "sleep 60; exit 9"]);
    // A shell that has not waited for its job yet would go on without it.
    run.until("the shell's job to run", || {
        run.processes()
            .iter()
            .any(|p| p.command.starts_with("sleep") && p.state == 'S')
            .then_some(())
    });
    run.types(INTERRUPT);
    run.finish_with(130);
}

/// A43, B26.
pub fn bash_has_job_control() {
    for (under, leader) in [(false, true), (true, true), (true, false)] {
        let mut init = Init::new(&[]).console();
        if under {
            init = init.under();
        }
        if !leader {
            init = init.flag("not-leader");
        }
        let run =
            init.variable("PS1", "prompt> ").command(&["bash", "--norc", "--noprofile", "-i"]);
        run.until("the prompt", || run.out.text().contains("prompt> ").then_some(()));
        run.types("sleep 61 & jobs; echo now-${PPID}-here\n");
        run.until("the job list", || {
            let text = run.out.text();
            (text.contains("Running") && text.contains("-here\r\n")).then_some(())
        });
        // A job in the foreground that is suspended gives the shell its terminal back.
        run.types("cat\n");
        run.until("cat to have the terminal", || {
            run.processes()
                .iter()
                .any(|p| p.command.starts_with("cat") && p.pid == p.group)
                .then_some(())
        });
        run.types(SUSPEND);
        run.until("the shell to say that cat is stopped", || {
            run.out.text().contains("Stopped").then_some(())
        });
        run.types("kill -9 %1 %2; exit 4\nexit 4\n");
        let done = run.finish_with(4);
        let text = done.text();
        assert!(!text.contains("no job control"), "{text}");
        assert!(!text.contains("cannot set terminal process group"), "{text}");
    }
}

/// B26: nothing to say where there is none.
pub fn without_a_terminal_nothing_is_said_of_it() {
    let done = Init::plain(&[]).role(&["exit", "0"]).finish_with(0);
    let log = done.err.join("\n").to_lowercase();
    assert!(!log.contains("tty") && !log.contains("terminal"), "{log}");
}

/// B25: a child with default actions would die of the HUP, with 129.
pub fn the_hand_over_of_the_terminal_kills_nobody() {
    for round in 0..120 {
        let mut init = Init::new(&[]).terminal();
        match round % 3 {
            0 => {}
            1 => init = init.under(),
            _ => init = init.under().flag("not-leader"),
        }
        let done = init.command(&["sleep", "0.002"]).finish();
        assert_eq!(done.end, End::Code(0), "round {round}: {}", done.text());
    }
}

/// A44, B25: no HUP, CONT, TTIN or TTOU is seen because of it; a HUP that somebody sends is.
pub fn the_child_sees_no_signal_of_the_hand_over_but_a_later_hup() {
    for (under, leader) in [(false, true), (true, true), (true, false)] {
        let mut init = Init::new(&[]).terminal();
        if under {
            init = init.under();
        }
        if !leader {
            init = init.flag("not-leader");
        }
        let run = init.role(&["record", "exit=15:0"]).ready();
        run.signal(libc::SIGHUP);
        run.says_prefix("signal 1 ");
        let done = run.stop();
        done.code(0);
        assert_eq!(done.signals(), [1, 15], "{}", done.text());
    }
}

/// The child is in the foreground, in every generation.
pub fn every_generation_has_the_terminal() {
    for (under, leader) in [(false, true), (true, true), (true, false)] {
        let mut init = Init::new(&["--restart-delay=1ms"]).terminal();
        if under {
            init = init.under();
        }
        if !leader {
            init = init.flag("not-leader");
        }
        let done = init.role(&["generations", "1=exit,75", "2=exit,75", "*=facts"]).finish_with(0);
        let facts = crate::starting::facts(&done);
        assert_eq!(facts["foreground"], facts["pgrp"], "{facts}");
        assert_eq!(facts["pgrp"], facts["pid"], "{facts}");
    }
}

/// A42, B27: read before anything else, no TTIN stops it.
pub fn a_program_that_reads_the_terminal_at_once_gets_what_is_typed() {
    for kill_mode in ["mixed", "group"] {
        for under in [false, true] {
            let init = Init::new(&["--kill-mode", kill_mode]).terminal();
            let init = if under { init.under() } else { init };
            let run = init.role(&["read-line"]);
            run.types("hello\n");
            run.says("got hello");
            run.finish_with(0);
        }
    }
}

/// B29: a tty that is not ours: every error of the hand-over is harmless.
pub fn a_terminal_that_is_not_the_controlling_one_is_no_hindrance() {
    let (_master, slave) = sys::open_pty().expect("a pty");
    for under in [false, true] {
        let init = Init::new(&[]).flag(&format!("stdin={slave}"));
        let init = if under { init.under() } else { init };
        init.role(&["exit", "17"]).finish_with(17);
    }
}

/// B29.
pub fn a_stdin_that_is_no_terminal_is_no_hindrance() {
    Init::new(&[]).flag("stdin=/dev/null").role(&["exit", "18"]).finish_with(18);
    let folder = Folder::new();
    let file = folder.write("input", "x", 0o644);
    Init::new(&[]).flag(&format!("stdin={file}")).role(&["exit", "18"]).finish_with(18);
    Init::new(&[]).flag("close=0").role(&["exit", "18"]).finish_with(18);
}

/// B22: otherwise `docker stop` no longer reaches it.
pub fn as_pid_1_it_never_suspends_itself() {
    for terminal in [false, true] {
        let init = Init::new(&[]);
        let init = if terminal { init.terminal() } else { init };
        let run = init.role(&["pause"]).ready();
        let child = pid_in(&run.says_prefix("ready"));
        for signal in [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU] {
            run.signal(signal);
            run.wait_state(child, "T");
            assert!(!run.status("State").starts_with('T'), "clawinit is stopped");
            run.signal(libc::SIGCONT);
            run.wait_state(child, "S");
        }
        run.signal(libc::SIGTSTP);
        run.wait_state(child, "T");
        run.term();
        run.finish_with(143);
    }
}

/// A39, A40: an ordinary job of somebody's shell, suspended and continued with its child.
pub fn elsewhere_tstp_stops_the_child_and_then_clawinit_and_cont_wakes_both() {
    let run = Init::new(&[]).under().role(&["pause"]).ready();
    let child = pid_in(&run.says_prefix("ready"));
    for signal in [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU, libc::SIGTSTP] {
        run.signal(signal);
        run.until("clawinit to be stopped", || run.status("State").starts_with('T').then_some(()));
        run.wait_state(child, "T");
        run.signal(libc::SIGCONT);
        run.wait_state(child, "S");
        run.until("clawinit to be awake", || run.status("State").starts_with('S').then_some(()));
    }
    run.term();
    run.finish_with(143);
}

/// Section 4: as a session leader clawinit gets the HUP of a terminal that has gone.
pub fn a_terminal_that_goes_away_hangs_nothing() {
    let run = Init::new(&[]).terminal().role(&["pause"]).ready();
    run.hang_up();
    run.finish_with(129);
}

/// A42: a filter reads and writes it, and nothing comes between.
pub fn a_filter_reads_and_writes_the_terminal() {
    for under in [false, true] {
        let init = Init::new(&[]).terminal();
        let init = if under { init.under() } else { init };
        let run = init.command(&["tac"]);
        run.types("one\ntwo\n\u{4}");
        let done = run.finish_with(0);
        let lines: Vec<&String> = done.out.iter().collect();
        // What was typed is echoed before.
        assert_eq!(lines[lines.len() - 2..], ["two", "one"], "{}", done.text());
    }
}

/// A background job takes the terminal from nobody, also where its group and that of the
/// foreground both come from outside of the PID namespace, and so have no number inside.
pub fn a_background_job_of_a_new_namespace_leaves_the_terminal_alone() {
    let run = Init::new(&[])
        .terminal()
        .flag("not-leader")
        .flag("background")
        .role(&["generations", "1=record,exit=10:75", "*=record,exit=15:3"])
        .ready();
    assert_eq!(run.foreground(), run.launcher(), "while the child runs");
    run.usr1();
    run.ready_generation(2);
    assert_eq!(run.foreground(), run.launcher(), "in the next generation");
    run.term();
    run.end();
    // The launcher, which leads the session, may have gone as well; then it is nobody's.
    let foreground = run.foreground();
    assert!([run.launcher(), 0].contains(&foreground), "{foreground} after the end");
    run.finish_with(3);
}
