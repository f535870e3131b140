//! The table: each line of CONFORMANCE.md, and the cases that our own issues add.

use crate::inits::{Dialect, How, Seen};
use crate::{list_a as a, list_b as b, list_c as c};

/// A line of the table.
pub struct Row {
    /// Its number in CONFORMANCE.md; those with a C are ours.
    pub id: &'static str,
    /// What an init does that passes.
    pub says: &'static str,
    pub case: fn(&How) -> Seen,
    /// What has to be known to read clawinit's cell.
    pub note: &'static str,
    /// What clawinit called by this peer's name does not do, although the peer does, and why.
    pub except: Option<(Dialect, &'static str)>,
}

const fn row(id: &'static str, says: &'static str, case: fn(&How) -> Seen) -> Row {
    Row { id, says, case, note: "", except: None }
}

impl Row {
    const fn note(mut self, note: &'static str) -> Row {
        self.note = note;
        self
    }

    const fn except(mut self, dialect: Dialect, why: &'static str) -> Row {
        self.except = Some((dialect, why));
        self
    }
}

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row("A1", "`--version` names program and version, code 0", a::version),
    row("A2", "no arguments: usage on stderr, not code 0", a::no_arguments)
        .note("one line says what to type; the usage by another init's name"),
    row("A3", "`-h`: usage, code 0; an unknown `-z`: the code of a wrong command line", a::short_help)
        .note("2; 1 by another init's name"),
    row("A4", "an option prints the licence", a::licence),
    row("A5", "`-v` three times changes nothing but the log", a::verbosity_repeats),
    row("A6", "behind `--` comes the command, a second `--` included", a::two_dashes),
    row("A7", "a variable makes it as verbose as the option", a::verbosity_from_the_environment),
    row("A8", "a missing command is 127, `/etc` is 126", a::start_failures),
    row("A9", "stdin and stdout are the command's, unharmed", a::stdin_and_stdout),
    row("A10", "`-e N` makes code N a success, for each N", a::one_success_code),
    row("A11", "all codes but N listed: N stays N, for each N; no `--`, POSIXLY_CORRECT set", a::all_success_codes_but_one),
    row("A12", "as a subreaper, in each way to become one, it reaps 100 orphans and says nothing", a::subreaper),
    row("A13", "as PID 1 it reaps 100 orphans", a::orphans_of_pid_1),
    row("A14", "child and orphans share a process group that is not the init's", a::a_group_of_its_own),
    row("A15", "`-w` tells of each orphan reaped; without it nothing is said", a::orphans_are_told),
    row("A16", "neither PID 1 nor subreaper: it warns, and runs the command", a::warns_where_it_cannot_reap)
        .note("with `--subreaper off`; by default it adopts"),
    row("A17", "TERM, USR1 and USR2 end a plain child with 128 + n, as PID 1 and not", a::deadly_signals),
    row("A18", "in group mode a grandchild gets the signal that the child ignores", a::group_forwarding),
    row("A19", "signals ignored or blocked on entry are so in the child, and no others", a::inherited_masks),
    row("A20", "`-p USR1`: the parent's death reaches the child as USR1", a::parents_death),
    row("A21", "a shell on a terminal is interactive, its exit ends the container", a::interactive_shell),
    row("A22", "^C reaches the child, code 130", a::control_c),
    row("A23", "valgrind finds nothing", a::valgrind)
        .note("static: valgrind sees its memory accesses, not its allocations"),
    row("A24", "`-w` and nothing else is a wrong command line (tini's suite expects 0, tini itself does not)", a::w_alone),
    row("A25", "group mode: TERM ends all five of a pipeline", a::term_ends_the_group),
    row("A26", "single mode: TERM reaches the child alone, four others live on", a::term_reaches_the_child_alone),
    row("A27", "group mode: the rest of the group gets TERM when the child leaves", a::the_rest_of_the_group_is_told),
    row("A28", "single mode: nobody gets a signal when the child leaves", a::nobody_else_is_told),
    row("A29", "a missing command is named with the reason", a::a_missing_command_is_named),
    row("A30", "an unknown long option is named; help and version are code 0", a::usage_errors),
    row("A31", "diagnostics go to stderr only", a::diagnostics_on_stderr_only),
    row("A32", "a wrong rewrite of signals is refused, the command not run", a::wrong_rewrites),
    row("A33", "the child starts in the caller's folder, the init sits in `/`", a::folders),
    row("A34", "codes 0, 1, 2, 32, 64, 127, 254, 255 come through", a::exit_codes),
    row("A35", "death by TERM, HUP, QUIT, KILL is 128 + n", a::deaths),
    row("A36", "signals 1 to 31 reach the child, also ILL TRAP ABRT BUS FPE SEGV SYS", a::every_signal),
    row("A37", "signals are rewritten: one, a swap, identity, 1 and 31", a::rewrites),
    row("A38", "a signal is dropped, the next one comes", a::dropped_signals),
    row("A39", "TSTP, TTIN, TTOU suspend a plain child and the init; CONT wakes both", a::suspends_child_and_itself)
        .note("where it is not PID 1"),
    row("A40", "single mode: the child gets TSTP, TTIN, TTOU as they are, the init suspends itself", a::suspends_itself_and_tells_the_child),
    row("A41", "those three can be rewritten", a::rewritten_suspension),
    row("A42", "a filter reads and writes the terminal, nothing comes between", a::a_filter_on_a_terminal),
    row("A43", "bash on a terminal has job control, in both modes", a::job_control),
    row("A44", "the terminal's hand-over is not forwarded, a later HUP is", a::hand_over_is_not_forwarded),
    row("A45", "as PID 1 it reaps the orphan of an orphan", a::an_orphan_of_an_orphan),
    row("A46", "one child: 0 is 0; killed by USR2 from outside is 140", a::one_child),
    row("A47", "it reaps orphans of a process that came in from outside", a::an_orphan_from_outside),
    row("A48", "TERM reaches the handler, its 0 comes through", a::a_handler_answers),
    row("A49", "a child that ignores TERM is killed after a time, 137", a::a_deadline),
    row("A50", "300 zombies in one moment are reaped, the code is the child's", a::many_zombies_at_once),
    row("B1", "child and orphan die in one moment: never a hang, always the child's code", b::coalesced_deaths)
        .note("2000 times; the others 200"),
    row("B2", "a child's own 126, 127, 128, 255 end it at once", b::codes_of_its_own),
    row("B3", "asked to, it stays until the last process has gone or its time is up", b::waits_for_the_rest)
        .note("`--exit-when all`"),
    row("B4", "group mode: children of a parent that leaves at once have 2 s to clean up", b::children_may_clean_up),
    row("B5", "a worker sees no signal while the child drains", b::workers_see_nothing_while_the_child_drains),
    row("B6", "a stop ends with the last process, a limit of 60 s is not slept out", b::the_limit_is_not_slept_out),
    row("B7", "daemons of a session of their own get TERM on stop, not the kernel's KILL", b::daemons_are_told),
    row("B8", "the option that promises all reaches who called setsid(); the help says which does not", b::all_means_all),
    row("B9", "a program that goes on by fork and exit is waited for, and gets the signals", b::a_program_that_goes_on)
        .note("`--exit-when all`"),
    row("B10", "a subreaper leaves no orphan behind", b::no_orphan_stays),
    row("B11", "a stop signal is delivered once", b::once),
    row("B12", "no signal that nobody sent", b::nothing_that_was_not_sent),
    row("B13", "the code of a stop is the child's: 0, 7", b::the_code_of_a_stop),
    row("B14", "`-e 143` takes both ends with 143 for a success, not a KILL", b::a_code_that_is_a_success),
    row("B15", "a death by signal is told with name and core flag", b::a_death_is_told)
        .note("the core flag in the JSON log"),
    row("B16", "zombies of others, an orphan in state D, a dead leader of living threads: no harm, no spin", b::what_cannot_be_reaped),
    row("B17", "TERM at any moment of the start is not lost, once blocked by caller or init", b::early_term)
        .note("500 starts; the others 120"),
    row("B18", "signals 34 to 64 are forwarded, and rewritten where any are", b::real_time_signals),
    row("B19", "ABRT, SEGV, BUS, ILL, FPE from outside are forwarded; a fault of its own ends it", b::abort_from_outside),
    row("B20", "a USR2 that is dropped ends no child", b::a_harmless_signal),
    row("B21", "as PID 1, TSTP and CONT reach the child's handler", b::tstp_reaches_the_handler),
    row("B22", "^Z at PID 1: a TERM still ends the container", b::control_z)
        .except(Dialect::DumbInit, "dumb-init's child has a session of its own, where ^Z suspends nobody; clawinit's child keeps the caller's, and is suspended as under tini"),
    row("B23", "a kill(2) without permission ends nothing, the child's code comes through", b::no_permission),
    row("B24", "SIGPIPE is as the caller had it, `yes \\| head` ends", b::sigpipe),
    row("B25", "the terminal's hand-over kills no child", b::hand_over_kills_nobody)
        .note("500 starts; the others 60"),
    row("B26", "bash has its terminal, as PID 1 and not; without one nothing is said", b::bash_on_a_terminal),
    row("B27", "who reads the terminal at once is not stopped", b::a_reader_at_once),
    row("B28", "^C ends `sh -c \"sleep …\"` at once, in both modes", b::control_c_ends_a_shell),
    row("B29", "stdin another's terminal, /dev/null, or closed: the command runs", b::other_stdins),
    row("B30", "failures to start: 127, 126, named, a missing interpreter told from a missing file", b::why_it_does_not_start),
    row("B31", "nothing behind the command is read as an option, without `--`", b::nothing_behind_the_command),
    row("B32", "`-- -h` runs a command of that name: 127", b::a_command_like_an_option),
    row("B33", "LISTEN_PID that named the init names the child; descriptors come through", b::socket_activation),
    row("B34", "it keeps no descriptor of its caller open", b::no_descriptor_kept)
        .note("where no restart can come"),
    row("B35", "it leaves the folder that it was started in", b::the_start_folder_is_left),
    row("B36", "not PID 1: it works, one line of warning at most", b::any_pid),
    row("B37", "no root, no capability, read-only root, no /proc: start, signals, reaping", b::hardened),
    row("B38", "`-p` where the parent died before it was asked for: not missed", b::a_parent_that_died_early),
    row("B39", "an engine that looks for `tini version` finds it", b::engines_know_the_version)
        .note("by an engine's name for its init"),
    row("B40", "idle, it never wakes; the binary is under a megabyte", b::idle),
    row("C1", "SIGCHLD ignored by whoever started it: works", c::ignored_sigchld),
    row("C2", "a stop during a restart (of the others: by a shell loop): the child finishes, nothing starts after it", c::stop_during_a_restart),
    row("C3", "a restart (of the others: by a shell loop) finds the port free that a leftover held", c::leftovers_on_the_port),
    row("C4", "a full pipe on stderr, everything logged: it starts and stops all the same", c::full_stderr),
    row("C5", "a TERM that comes after the first four system calls of PID 1 is not lost", c::term_in_the_first_calls),
];
