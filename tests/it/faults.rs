//! Answers of the kernel that are rare, or that a filter of system calls gives: strace makes them.
//! What clawinit itself got wrong once; `tests/faults` tries every call with every error.

use crate::harness::{Done, Folder, Init, clawinit};
use std::path::Path;

/// Runs clawinit under strace, which answers as `inject` says; also what strace wrote. `None`
/// where there is no strace.
fn with_fault(inject: &str, code: i32) -> Option<(Done, String)> {
    let strace = Path::new("/usr/bin/strace");
    if !strace.exists() {
        println!("no strace here: {inject} is not tried");
        return None;
    }
    let folder = Folder::new();
    let trace = folder.word("trace");
    let call = inject.split(':').next().unwrap_or(inject);
    let (inject, trace_only) = (format!("inject={inject}"), format!("trace={call}"));
    let program = clawinit().display().to_string();
    // The child makes neither of these calls: strace would answer it as well.
    let options = ["-f", "-o", &trace, "-e", &trace_only, "-e", &inject, &program, "-q"];
    let done = Init::plain(&options).program(strace.into()).role(&["exit", "7"]).finish_with(code);
    let trace = std::fs::read_to_string(trace).expect("the trace");
    assert!(trace.contains("INJECTED"), "nothing was injected: {trace}");
    Some((done, trace))
}

/// Without its one wait clawinit can do nothing; it must neither spin nor leave without a word.
pub fn a_wait_for_signals_that_fails_is_told_and_ends_it() {
    let Some((done, trace)) = with_fault("rt_sigtimedwait:error=ENOSYS", 70) else { return };
    let told = done.err.iter().filter(|line| line.contains("rt_sigtimedwait")).count();
    assert_eq!(told, 1, "{}", done.text());
    assert_eq!(trace.matches("INJECTED").count(), 1, "{trace}");
}

/// An interrupted wait for the child is not its answer.
pub fn an_interrupted_wait_for_the_child_loses_no_code() {
    let Some((done, _)) = with_fault("wait4:error=EINTR:when=1", 7) else { return };
    assert_eq!(done.err, [""; 0], "{}", done.text());
}

/// Signals that are not blocked are lost, also that of the child's end: it would stay for ever.
pub fn signals_that_cannot_be_blocked_are_told_and_nothing_is_started() {
    let Some((done, _)) = with_fault("rt_sigprocmask:error=EINVAL", 125) else { return };
    assert_eq!(done.err, ["clawinit: cannot block signals: rt_sigprocmask: Invalid argument"]);
    assert_eq!(done.out, [""; 0], "{}", done.text());
}

/// No wait is interrupted a hundred times a second but by a kernel that lets nobody wait.
pub fn a_wait_for_signals_that_is_interrupted_for_ever_is_no_busy_loop() {
    for errno in ["EINTR", "EAGAIN"] {
        let fault = format!("rt_sigtimedwait:error={errno}");
        let Some((done, trace)) = with_fault(&fault, 70) else { return };
        assert!(done.text().contains("cannot wait for signals"), "{}", done.text());
        assert!(trace.matches("INJECTED").count() < 500, "{trace}");
    }
}

/// An answer that is none is asked for again: no second SIGCHLD comes.
pub fn a_wait_for_the_child_that_fails_once_loses_no_code() {
    for errno in ["ECHILD", "EINVAL", "ESRCH"] {
        let fault = format!("wait4:error={errno}:when=1");
        let Some((done, _)) = with_fault(&fault, 7) else { return };
        assert_eq!(done.err, [""; 0], "{}", done.text());
    }
}

/// Who never hears of an end never leaves.
pub fn a_wait_for_children_that_always_fails_is_told_and_ends_it() {
    for errno in ["ECHILD", "EINTR", "ENOSYS"] {
        let Some((done, trace)) = with_fault(&format!("wait4:error={errno}"), 70) else { return };
        assert!(done.text().contains("cannot wait for children: wait4"), "{}", done.text());
        assert!(trace.matches("INJECTED").count() < 50, "{trace}");
    }
}
