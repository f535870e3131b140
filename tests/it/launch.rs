//! Makes the place that a test wants and starts clawinit in it: `it launch FLAG... -- PROGRAM ARG...`.
//!
//! A test process has many threads and must neither fork nor change its own namespaces, so this
//! process with one thread does it. It talks with the test over its standard input, a socket:
//!
//! - it says `first N` and `pid N`, PID 1 of the namespace and clawinit as the test sees them,
//!   before the program runs, `exec` once it does,
//!   and `exit CODE NANOSECONDS` or `signal NUMBER NANOSECONDS` when it has ended;
//! - the test says nothing: when its end closes, for whatever reason, everything dies here.
//!
//! Everything lives in a PID namespace of its own, also where clawinit is not to be PID 1: the
//! kernel ends what is left in it, and no test leaves a process behind.

use crate::sys;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, setpgid, setsid};
use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::process::Command;

/// Where clawinit is to run, as the test wrote it in flags.
#[derive(Default)]
struct Place {
    /// clawinit is the child of a small PID 1 rather than PID 1 itself.
    under: bool,
    /// No `/proc`: an empty file system lies over it.
    no_proc: bool,
    /// The limit of open descriptors.
    descriptors: Option<u64>,
    /// `/proc` stays the one of the namespace above.
    foreign_proc: bool,
    /// `/proc` shows a user only what is their own.
    hide_pids: bool,
    /// A network of its own, with nothing but a loopback address.
    network: bool,
    read_only: bool,
    subreaper: bool,
    ignore: Vec<i32>,
    block: Vec<i32>,
    /// Drop to this user and group, and give up the bounding set.
    user: Option<u32>,
    stdin: Option<String>,
    stderr: Option<String>,
    close: Vec<i32>,
    fds: Vec<(i32, String)>,
    tty: Option<String>,
    /// stderr stays what the test made it, although there is a terminal.
    keep_stderr: bool,
    /// The terminal's session is led by a process above clawinit.
    not_leader: bool,
    folder: Option<String>,
    /// The folder is removed as soon as it is the working folder.
    remove_folder: bool,
    /// The launcher has the terminal and is in its foreground; clawinit is in a background group
    /// that was made outside of its PID namespace. Goes with `not-leader`.
    background: bool,
    argv0: Option<String>,
    early_term: EarlyTerm,
    /// The small PID 1 leaves (and so ends all) as soon as clawinit's parent is to die.
    parent_dies: bool,
}

/// When the launcher sends SIGTERM by itself, faster than the test could.
#[derive(Default, Clone, Copy)]
enum EarlyTerm {
    #[default]
    Never,
    /// Microseconds after the program was told to start.
    AfterStart(u64),
    /// Microseconds after the program has been seen to block SIGTERM.
    AfterBlocked(u64),
}

fn numbers(list: &str) -> Vec<i32> {
    list.split(',').map(|n| n.parse().expect("a number")).collect()
}

impl Place {
    fn parse(flags: &[String]) -> Place {
        let mut place = Place::default();
        for flag in flags {
            let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
            let text = || Some(value.to_string());
            match name {
                "under" => place.under = true,
                "no-proc" => place.no_proc = true,
                "descriptors" => place.descriptors = Some(value.parse().expect("a number")),
                "foreign-proc" => place.foreign_proc = true,
                "hide-pids" => place.hide_pids = true,
                "network" => place.network = true,
                "read-only" => place.read_only = true,
                "subreaper" => place.subreaper = true,
                "ignore" => place.ignore = numbers(value),
                "block" => place.block = numbers(value),
                "user" => place.user = Some(value.parse().expect("a uid")),
                "stdin" => place.stdin = text(),
                "stderr" => place.stderr = text(),
                "close" => place.close = numbers(value),
                "fd" => {
                    let (fd, path) = value.split_once(':').expect("fd=N:PATH");
                    place.fds.push((fd.parse().expect("a number"), path.to_string()));
                }
                "tty" => place.tty = text(),
                "keep-stderr" => place.keep_stderr = true,
                "not-leader" => place.not_leader = true,
                "folder" => place.folder = text(),
                "remove-folder" => place.remove_folder = true,
                "background" => place.background = true,
                "argv0" => place.argv0 = text(),
                "term-after" => {
                    place.early_term = EarlyTerm::AfterStart(value.parse().expect("microseconds"));
                }
                "term-blocked" => {
                    place.early_term =
                        EarlyTerm::AfterBlocked(value.parse().expect("microseconds"));
                }
                "parent-dies" => place.parent_dies = true,
                _ => panic!("launch: unknown flag {flag}"),
            }
        }
        place
    }

    /// In the process that becomes clawinit: everything that exec carries over.
    fn enter(&self) {
        if let Some(path) = &self.tty {
            let terminal =
                nix::fcntl::open(path.as_str(), OFlag::O_RDWR | OFlag::O_NOCTTY, Mode::empty())
                    .expect("open the terminal");
            if !self.not_leader {
                setsid().expect("setsid");
                sys::take_terminal(terminal.as_raw_fd()).expect("TIOCSCTTY");
            }
            let last = if self.keep_stderr { 1 } else { 2 };
            for fd in 0..=last {
                sys::dup_to(terminal.as_raw_fd(), fd);
            }
            drop(terminal);
        } else {
            let path = self.stdin.as_deref().unwrap_or("/dev/null");
            put(path, 0, OFlag::O_RDONLY);
        }
        if let Some(path) = &self.stderr {
            // Without O_APPEND: it is clawinit's work not to write over what is there.
            put(path, 2, OFlag::O_WRONLY | OFlag::O_NOCTTY);
        }
        for (fd, path) in &self.fds {
            put(path, *fd, OFlag::O_RDWR);
        }
        for &fd in &self.close {
            sys::close(fd);
        }
        if let Some(folder) = &self.folder {
            std::env::set_current_dir(folder).expect("the folder");
            if self.remove_folder {
                std::fs::remove_dir(folder).expect("remove the folder");
            }
        }
        if self.subreaper {
            sys::become_subreaper();
        }
        // The test decides what clawinit gets, not Rust's runtime (SIGPIPE) and not whatever
        // started the tests.
        for signal in (1..=64).filter(|n| ![libc::SIGKILL, libc::SIGSTOP].contains(n)) {
            sys::default(signal);
        }
        for &signal in &self.ignore {
            sys::ignore(signal);
        }
        if let Some(most) = self.descriptors {
            setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("RLIMIT_NOFILE");
        }
        if let Some(user) = self.user {
            sys::drop_bounding_capabilities();
            sys::become_user(user, user);
        }
        sys::block_exactly(sys::set(&self.block));
    }

    fn mount(&self) {
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private");
        let kind = if self.no_proc { "tmpfs" } else { "proc" };
        let how = self.hide_pids.then_some("hidepid=2");
        if !self.foreign_proc {
            mount(Some(kind), "/proc", Some(kind), MsFlags::empty(), how).expect("mount /proc");
        }
        if self.network {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
            assert!(up.is_ok_and(|up| up.success()), "launch: ip link set lo up");
        }
        if self.read_only {
            let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
            mount(none, "/", none, flags, none).expect("read-only root");
        }
    }
}

/// Opens `path` at descriptor `fd`.
fn put(path: &str, fd: i32, how: OFlag) {
    let file = nix::fcntl::open(path, how, Mode::empty())
        .unwrap_or_else(|error| panic!("launch: open {path}: {error}"));
    if file.as_raw_fd() == fd {
        let _ = file.into_raw_fd();
    } else {
        sys::dup_to(file.as_raw_fd(), fd);
    }
}

/// A pipe that no program started here inherits.
fn pipe() -> (File, File) {
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC).expect("pipe");
    (high(reader), high(writer))
}

/// Moves a descriptor out of the way of the numbers that a test may ask for.
fn high(fd: OwnedFd) -> File {
    let moved = fcntl(&fd, FcntlArg::F_DUPFD_CLOEXEC(100)).expect("F_DUPFD_CLOEXEC");
    File::from(sys::own(moved))
}

fn say(control: &File, text: &str) {
    // The test may be gone; then nobody needs to know.
    let _ = (&mut &*control).write_all(format!("{text}\n").as_bytes());
}

fn say_end(control: &File, status: WaitStatus) {
    let now = sys::now_ns();
    match status {
        WaitStatus::Exited(_, code) => say(control, &format!("exit {code} {now}")),
        WaitStatus::Signaled(_, signal, _) => {
            say(control, &format!("signal {} {now}", signal as i32));
        }
        other => panic!("launch: unexpected {other:?}"),
    }
}

/// The role `launch`.
pub fn run(args: &[String]) -> ! {
    let split = args.iter().position(|arg| arg == "--").expect("--");
    let place = Place::parse(&args[..split]);
    let program = &args[split + 1..];

    // Whoever started the tests may have left descriptors open for all below.
    for fd in 3..1024 {
        sys::close(fd);
    }
    let control =
        fcntl(std::io::stdin().as_fd(), FcntlArg::F_DUPFD_CLOEXEC(100)).expect("control socket");
    let control = File::from(sys::own(control));
    setsid().expect("setsid");
    let background = place.background.then(|| background_group(&place));
    unshare(CloneFlags::CLONE_NEWPID).expect("a PID namespace");

    let (forked, forked_end) = pipe();
    let (go, go_end) = pipe();
    let (exec, exec_end) = pipe();

    let Some(first) = sys::fork() else {
        drop((forked, go_end, exec));
        place.mount();
        if place.under {
            small_pid_1(&place, control, forked_end, go, exec_end, program);
        }
        drop(control);
        become_program(&place, forked_end, go, exec_end, program);
    };
    drop((forked_end, go, exec_end));
    if let Some(leader) = background {
        // The group lives on with its last member, which is clawinit.
        setpgid(Pid::from_raw(first), leader).expect("into the background");
        sys::kill(leader.as_raw(), libc::SIGKILL).expect("end the leader");
        waitpid(leader, None).expect("waitpid");
    }

    // The program waits for our word, so its pid is known before it can end.
    let pid = read_pid(forked, first, place.under);
    say(&control, &format!("first {first}"));
    say(&control, &format!("pid {pid}"));
    drop({
        let mut go_end = go_end;
        go_end.write_all(b"g").expect("the program waits");
        go_end
    });
    if let EarlyTerm::AfterStart(micros) = place.early_term {
        spin(micros);
        let _ = sys::kill(pid, libc::SIGTERM);
    }
    let mut why = String::new();
    let mut exec = exec;
    let _ = exec.read_to_string(&mut why);
    assert!(why.is_empty(), "launch: {why}");
    // Only now is what is blocked the program's own work.
    if let EarlyTerm::AfterBlocked(micros) = place.early_term
        && wait_until_term_is_blocked(pid)
    {
        spin(micros);
        let _ = sys::kill(pid, libc::SIGTERM);
    }
    say(&control, "exec");

    if watch(&control, first) {
        let status = waitpid(Pid::from_raw(first), None).expect("waitpid");
        if !place.under {
            say_end(&control, status);
        }
    } else {
        let _ = sys::kill(first, libc::SIGKILL);
        let _ = waitpid(Pid::from_raw(first), None);
    }
    std::process::exit(0);
}

/// Takes the terminal, and makes a second process group that is not in its foreground.
fn background_group(place: &Place) -> Pid {
    let path = place.tty.as_deref().expect("background wants a tty");
    let how = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let terminal = nix::fcntl::open(path, how, Mode::empty()).expect("open the terminal");
    sys::take_terminal(terminal.as_raw_fd()).expect("TIOCSCTTY");
    std::mem::forget(high(terminal));
    let Some(leader) = sys::fork() else {
        loop {
            nix::unistd::pause();
        }
    };
    let leader = Pid::from_raw(leader);
    setpgid(leader, leader).expect("a group of its own");
    leader
}

/// The role `can-launch`: whether this user may make the namespaces.
pub fn can() -> ! {
    match unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS) {
        Ok(()) => std::process::exit(0),
        Err(error) => {
            println!("{error}");
            std::process::exit(1)
        }
    }
}

/// Waits for the first process to end (true) or the test to be gone (false).
fn watch(control: &File, first: i32) -> bool {
    let ended = sys::pidfd(first).expect("pidfd");
    let mut fds = [
        PollFd::new(ended.as_fd(), PollFlags::POLLIN),
        PollFd::new(control.as_fd(), PollFlags::POLLIN),
    ];
    loop {
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => return fds[0].any() == Some(true),
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => panic!("launch: poll: {error}"),
        }
    }
}

/// The pid of the process that becomes clawinit, as this side of the namespace sees it.
fn read_pid(mut forked: File, first: i32, under: bool) -> i32 {
    let mut byte = [0];
    forked.read_exact(&mut byte).expect("the namespace to start");
    if !under {
        return first;
    }
    // Down the chain of first children to the process that waits for our word.
    let mut pid = first;
    loop {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
            .expect("the children of the small PID 1");
        match children.split_whitespace().next() {
            Some(child) => pid = child.parse().expect("a pid"),
            None => return pid,
        }
    }
}

fn spin(micros: u64) {
    let end = sys::now_ns() + micros * 1000;
    while sys::now_ns() < end {
        std::hint::spin_loop();
    }
}

/// False when the process was gone before that, or never did.
fn wait_until_term_is_blocked(pid: i32) -> bool {
    let end = sys::now_ns() + 5_000_000_000;
    while sys::now_ns() < end {
        let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else {
            return false;
        };
        let mask = crate::harness::status_field(&status, "SigBlk").unwrap_or_default();
        if u64::from_str_radix(&mask, 16).unwrap_or(0) & sys::bit(libc::SIGTERM) != 0 {
            return true;
        }
        // While a process waits for its blocked signals, the kernel does not show them as blocked.
        let call = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
        if call.starts_with(&format!("{} ", libc::SYS_rt_sigtimedwait)) {
            return true;
        }
        if status.contains("State:\tZ") {
            return false;
        }
    }
    false
}

/// Says that it is there, waits for the word, sets up, and becomes the program.
fn become_program(
    place: &Place,
    mut forked: File,
    mut go: File,
    mut exec_end: File,
    program: &[String],
) -> ! {
    // From here to exec nothing that is sent may be lost, where the test has it blocked.
    sys::block_exactly(u64::MAX);
    forked.write_all(b"f").expect("the launcher listens");
    drop(forked);
    let mut byte = [0];
    if go.read_exact(&mut byte).is_err() {
        std::process::exit(1);
    }
    drop(go);
    place.enter();
    let text = |s: &String| CString::new(s.as_str()).expect("no zero byte");
    let mut argv: Vec<CString> = program.iter().map(text).collect();
    let path = argv[0].clone();
    if let Some(name) = &place.argv0 {
        argv[0] = text(name);
    }
    let Err(error) = nix::unistd::execv(&path, &argv);
    let _ = exec_end.write_all(format!("exec {}: {error}", program[0]).as_bytes());
    std::process::exit(1);
}

/// PID 1 of the namespace where clawinit is to be an ordinary process: starts it, says how it
/// ended, reaps, and stays until the launcher ends it, so that a test can look at what is left.
fn small_pid_1(
    place: &Place,
    control: File,
    forked: File,
    go: File,
    exec_end: File,
    program: &[String],
) -> ! {
    if place.not_leader {
        // A session and its terminal belong to this process, as to a shell that runs clawinit.
        setsid().expect("setsid");
        let path = place.tty.as_deref().expect("not-leader wants a tty");
        let how = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let terminal = nix::fcntl::open(path, how, Mode::empty()).expect("open the terminal");
        sys::take_terminal(terminal.as_raw_fd()).expect("TIOCSCTTY");
        // Open for good: whoever reads the other end takes a last close for the end.
        std::mem::forget(terminal);
    }
    let Some(pid) = sys::fork() else {
        if place.parent_dies {
            // clawinit gets a parent of its own that a test can end: this process.
            if let Some(pid) = sys::fork() {
                drop((forked, go, exec_end));
                let status = waitpid(Pid::from_raw(pid), None).expect("waitpid");
                say_end(&control, status);
                std::process::exit(0);
            }
        }
        drop(control);
        become_program(place, forked, go, exec_end, program);
    };
    drop((forked, go, exec_end));
    loop {
        match waitpid(None, None) {
            Ok(status) if place.parent_dies => {
                // The parent was killed: clawinit is now a child of ours.
                if status.pid() != Some(Pid::from_raw(pid)) {
                    say_end(&control, status);
                }
            }
            Ok(status) if status.pid() == Some(Pid::from_raw(pid)) => say_end(&control, status),
            // EINVAL: ended by a real-time signal, for which `nix` has no name.
            Ok(_) | Err(nix::errno::Errno::EINTR | nix::errno::Errno::EINVAL) => {}
            // Nothing left: stay until the launcher ends us.
            Err(nix::errno::Errno::ECHILD) => nix::unistd::pause(),
            Err(error) => panic!("small PID 1: {error}"),
        }
    }
}

/// The role `enter PID -- ROLE...`: what `docker exec` does. The process it starts has its parent
/// outside of the namespace, which shows inside as PPid 0.
pub fn enter(args: &[String]) -> ! {
    let pid = &args[0];
    let namespaces: Vec<File> = ["pid", "net", "mnt"]
        .iter()
        // Who ends before we come in has no namespaces any more; our code tells it.
        .map(|kind| File::open(format!("/proc/{pid}/ns/{kind}")))
        .collect::<Result<_, _>>()
        .unwrap_or_else(|_| std::process::exit(1));
    for namespace in namespaces {
        nix::sched::setns(namespace.as_fd(), CloneFlags::empty()).expect("setns");
    }
    let Some(child) = sys::fork() else {
        crate::probe::run(&args[2..]);
    };
    match waitpid(Pid::from_raw(child), None) {
        Ok(WaitStatus::Exited(_, code)) => std::process::exit(code),
        Ok(WaitStatus::Signaled(_, signal, _)) => std::process::exit(128 + signal as i32),
        other => panic!("enter: {other:?}"),
    }
}
