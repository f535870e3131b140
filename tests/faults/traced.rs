//! clawinit as PID 1 with strace(1) on it, and on nobody else.
//!
//! Without `-f` strace follows no child, also none that shares the memory of its parent until it
//! executes (vfork(2)). It comes before the first instruction: PID 1 begins as this test binary,
//! which waits for a lock (a call that clawinit never makes) until strace has attached, and then
//! becomes clawinit. Calls are counted from there, so `when=1` is clawinit's own first.

use crate::harness::{Init, Lines, Run, clawinit, probe, until};
use nix::fcntl::{Flock, FlockArg};
use std::ffi::CString;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The first word of a command line of this binary that is [`wait_and_become`]'s.
pub const AWAIT: &str = "await";

/// `await LOCK NAME PROGRAM WORD...`: waits until nobody holds LOCK, then becomes PROGRAM, called
/// NAME.
pub fn wait_and_become(args: &[String]) -> ! {
    // Rust's runtime ignores it, and clawinit would inherit that.
    crate::sys::default(libc::SIGPIPE);
    let words = args[1..].iter().map(|word| CString::new(word.as_str()).expect("no zero byte"));
    let words: Vec<CString> = words.collect();
    let line = [&words[..1], &words[2..]].concat();
    let lock = File::open(&args[0]).expect("open the lock");
    // What an exec takes of memory is there from now on, and asks the kernel for nothing.
    let _held = Vec::<*const u8>::with_capacity(line.len() + 1);
    let _ = nix::unistd::execv(c"/", &line);
    println!("{AWAIT}");
    let held = Flock::lock(lock, FlockArg::LockShared);
    let error = nix::unistd::execv(&words[1], &line);
    panic!("{}: {error:?} {held:?}", args[2]);
}

/// A clawinit under strace; strace ends with it.
pub struct Traced {
    pub run: Run,
    strace: Child,
    said: Lines,
    trace: String,
}

impl Traced {
    /// Starts it with `init`'s flags and variables, called `name`, with these options; strace
    /// gets `tamper`, and writes to the file `trace`.
    pub fn start(
        (name, options): (&str, &[String]),
        (init, role): (impl FnOnce(Init) -> Init, &[&str]),
        tamper: &[String],
        trace: &str,
    ) -> Traced {
        let path = format!("{trace}.lock");
        let lock = File::create(&path).expect("make the lock");
        let lock = Flock::lock(lock, FlockArg::LockExclusive).expect("a lock of our own");
        let program = clawinit().display().to_string();
        let mut words = vec![AWAIT, &path, name, &program];
        words.extend(options.iter().map(String::as_str));
        let run = init(Init::plain(&words).program(probe())).role(role);
        // Its own calls, up to that for the lock, are none of clawinit's.
        run.says(AWAIT);
        let mut strace = Command::new("strace")
            .args(["-s", "256", "-e", "signal=none", "-o", trace, "-p", &run.pid.to_string()])
            .args(tamper)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start strace");
        let said = Lines::read_from(strace.stderr.take().expect("a pipe"));
        let attached = until("strace to attach", || said.text().contains("attached").then_some(()));
        assert!(attached.is_some(), "strace: {}", said.text());
        drop(lock);
        Traced { run, strace, said, trace: trace.to_string() }
    }

    /// The trace of one that has ended, from its exec on.
    pub fn calls(mut self) -> (Run, Vec<String>) {
        let ended = until("strace to end", || self.strace.try_wait().expect("ask for strace"));
        assert!(ended.is_some(), "strace goes on: {}", self.said.text());
        let text = std::fs::read_to_string(Path::new(&self.trace)).expect("the trace");
        let from = text.find("execve(").unwrap_or_else(|| panic!("no exec in\n{text}"));
        let calls = text[from..].lines().skip(1).filter(|line| name_of(line).is_some());
        let calls = calls.map(str::to_string).collect();
        (self.run, calls)
    }
}

/// The system call of a line of strace.
pub fn name_of(line: &str) -> Option<&str> {
    let name = line.split_once('(')?.0;
    name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_').then_some(name)
}
