//! What clawinit needs of its surroundings, used up or not there; and time that does not go on as
//! one thinks.

use crate::harness::{Folder, Init, Lines, Run, clawinit, free_port, ms, probe, until};
use crate::sys;
use nix::mount::{MsFlags, mount};
use std::ffi::CString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The first word of a command line of this binary that is [`make_and_become`]'s.
pub const PLACE: &str = "place";

/// `place MAKE... -- PROGRAM WORD...`: makes the place what the words say, then becomes PROGRAM. In
/// PID 1 before it is clawinit, in namespaces of its own.
///
/// `cgroup=FOLDER` moves into a control group, `full=FOLDER` puts a file system without any room
/// there, `empty=FOLDER` one with nothing in it.
pub fn make_and_become(args: &[String]) -> ! {
    crate::sys::default(libc::SIGPIPE);
    let split = args.iter().position(|word| word == "--").expect("--");
    for word in &args[..split] {
        let (what, folder) = word.split_once('=').expect("what=FOLDER");
        let size = if what == "full" { "size=4k" } else { "size=1m" };
        match what {
            "cgroup" => std::fs::write(format!("{folder}/cgroup.procs"), "0").expect("move in"),
            "full" | "empty" => {
                mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), Some(size))
                    .expect("mount a tmpfs");
            }
            _ => panic!("place: unknown word {word}"),
        }
        if what == "full" {
            let mut filler = std::fs::File::create(format!("{folder}/filler")).expect("a file");
            while filler.write_all(&[0; 512]).is_ok() {}
        }
    }
    let line = args[split + 1..].iter().map(|word| CString::new(word.as_str()).expect("no zero"));
    let line: Vec<CString> = line.collect();
    let error = nix::unistd::execv(&line[0], &line);
    panic!("{:?}: {error:?}", line[0]);
}

/// clawinit with these options in a place of this kind.
fn placed(make: &[&str], options: &[&str]) -> Init {
    let program = clawinit().display().to_string();
    let mut words = vec![PLACE];
    words.extend(make);
    words.extend(["--", &program]);
    words.extend(options);
    Init::plain(&words).program(probe())
}

/// A control group of version 1 that goes with the value, once nobody is in it.
struct Group(PathBuf);

impl Group {
    /// One of this controller; `None` where it cannot be made.
    fn new(controller: &str) -> Option<Group> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("clawinit-test-{}-{count}", std::process::id());
        let path = Path::new("/sys/fs/cgroup").join(controller).join(name);
        match std::fs::create_dir(&path) {
            Ok(()) => Some(Group(path)),
            Err(error) => {
                println!("no control group can be made here: {}: {error}", path.display());
                None
            }
        }
    }

    fn set(&self, file: &str, value: &str) {
        let path = self.0.join(file);
        std::fs::write(&path, value).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    fn word(&self) -> String {
        format!("cgroup={}", self.0.display())
    }

    fn freeze(&self) {
        self.set("freezer.state", "FROZEN");
        let state = || std::fs::read_to_string(self.0.join("freezer.state")).ok();
        let frozen = until("the group to be frozen", || {
            state().filter(|state| state.trim() == "FROZEN").map(drop)
        });
        assert!(frozen.is_some(), "{:?}", state());
    }

    fn thaw(&self) {
        self.set("freezer.state", "THAWED");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.0.join("freezer.state").exists() {
            self.thaw();
        }
        let gone = until("the group to be empty", || std::fs::remove_dir(&self.0).ok());
        if gone.is_none() {
            eprintln!("{} is left", self.0.display());
        }
    }
}

fn says(run: &Run, text: &str) {
    run.err_line(text, |line| line.contains(text).then_some(()));
}

// ---- pids ----

/// It may be better in a moment, so it is tried as often as `--restart-limit` says.
pub fn without_room_for_a_process_it_says_so_and_leaves_with_125() {
    let Some(group) = Group::new("pids") else { return };
    group.set("pids.max", "1");
    let done = placed(&[&group.word()], &["--restart-delay=1ms", "--restart-limit=2/60s"])
        .role(&["exit", "0"])
        .finish_with(125);
    let refused = |line: &&String| {
        line.contains("cannot make a process for ")
            && line.ends_with("Resource temporarily unavailable")
    };
    assert_eq!(done.err.iter().filter(refused).count(), 3, "{}", done.text());
}

pub fn room_for_a_process_that_comes_later_is_used() {
    let Some(group) = Group::new("pids") else { return };
    group.set("pids.max", "1");
    let options = ["--restart=on-failure", "--restart-delay=20ms", "--restart-limit=50/60s"];
    let run = placed(&[&group.word()], &options).role(&["record", "exit=15:0"]);
    says(&run, "cannot make a process for ");
    group.set("pids.max", "max");
    let run = run.ready();
    run.stop().code(0);
}

pub fn a_group_that_is_full_neither_hinders_a_restart_nor_a_stop() {
    let Some(group) = Group::new("pids") else { return };
    let run = placed(&[&group.word()], &["--restart-delay=1ms"])
        .role(&["generations", "1=leave,w:worker,--,record,exit=10:75", "*=record,exit=15:0"])
        .ready();
    // clawinit, the child, what it left: not one more.
    group.set("pids.max", "3");
    run.usr1();
    run.ready_generation(2);
    let done = run.stop();
    done.code(0);
    assert!(done.says("left w done"), "{}", done.text());
}

pub fn an_exporter_for_which_there_is_no_room_is_told_and_hinders_nobody() {
    let Some(group) = Group::new("pids") else { return };
    group.set("pids.max", "2");
    let port = free_port();
    let run = placed(&[&group.word()], &[&format!("--metrics-listen=127.0.0.1:{port}")])
        .role(&["record", "exit=15:0"])
        .ready();
    says(&run, "the exporter cannot be started: Resource temporarily unavailable");
    group.set("pids.max", "max");
    says(&run, "metrics at ");
    run.stop().code(0);
}

// ---- descriptors ----

pub fn without_a_free_descriptor_it_starts_restarts_sweeps_and_stops() {
    let run = Init::plain(&["--restart-delay=1ms"])
        .flag("descriptors=3")
        .role(&["generations", "1=record,exit=10:75", "*=record,exit=15:0"])
        .ready();
    says(&run, "no status page");
    run.usr1();
    run.ready_generation(2);
    run.until("no zombie", || run.zombies().is_empty().then_some(()));
    let done = run.stop();
    done.code(0);
    assert!(
        done.text().contains("no status page: memfd_create: No file descriptors available"),
        "{}",
        done.text()
    );
}

// ---- memory ----

pub fn at_the_limit_of_its_memory_the_child_is_ended_and_clawinit_lives() {
    let Some(group) = Group::new("memory") else { return };
    group.set("memory.limit_in_bytes", "16M");
    // A line without an end: tail keeps all of it.
    let hungry = "[ $CLAWINIT_GENERATION = 1 ] && exec tail -n 1 /dev/zero
                  trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    let run = placed(&[&group.word()], &["--restart=on-failure", "--restart-delay=1ms"])
        .command(&["/bin/sh", "-c", hungry])
        .ready();
    says(&run, "out of memory, by the kernel's OOM killer");
    run.until("no zombie", || run.zombies().is_empty().then_some(()));
    run.stop().code(0);
}

// ---- disks ----

pub fn a_report_for_which_there_is_no_room_is_in_the_log_and_no_half_of_one_stays() {
    let folder = Folder::new();
    std::fs::create_dir(folder.file("full")).expect("a folder");
    let report = format!("--termination-log={}", folder.word("full/report"));
    let full = format!("full={}", folder.word("full"));
    let done = placed(&[&full], &[&report]).role(&["exit", "7"]).finish_with(7);
    let told: Vec<&String> = done.err.iter().filter(|line| line.contains("report could")).collect();
    assert_eq!(told.len(), 1, "{}", done.text());
    assert!(told[0].contains("No space left on device: {"), "{}", done.text());
}

pub fn a_report_on_a_read_only_disk_is_in_the_log() {
    for flags in [&["read-only"][..], &["read-only", "no-proc"]] {
        let init = Init::plain(&["--termination-log=/clawinit-test-report"]);
        let init = flags.iter().fold(init, |init, flag| init.flag(flag));
        let done = init.role(&["exit", "7"]).finish_with(7);
        let told = "the termination report could not be written: Read-only file system: {";
        assert!(done.text().contains(told), "{}", done.text());
    }
}

pub fn without_anything_in_dev_it_starts_restarts_sweeps_and_stops() {
    let run = placed(&["empty=/dev"], &["--restart-delay=1ms"])
        .role(&[
            "generations",
            "1=leave,a:daemon,--,record,exit=10:75",
            "*=leave,b:daemon,--,record,exit=15:0",
        ])
        .ready();
    run.usr1();
    run.ready_generation(2);
    run.until("no zombie", || run.zombies().is_empty().then_some(()));
    let done = run.stop();
    done.code(0);
    for line in ["left a done", "left b done"] {
        assert!(done.says(line), "{}", done.text());
    }
}

// ---- a frozen group: `docker pause` is this ----

/// Waits until so much of the monotonic clock is over: no process is there that could tell.
fn pass(since: u64, milliseconds: f64) {
    until("time to pass", || (ms(since, sys::now_ns()) > milliseconds).then_some(()));
}

/// The grace counts on, as that of the platform does; what it did not end in time has SIGKILL as
/// soon as anybody runs again.
pub fn a_deadline_that_passes_in_a_frozen_group_is_kept_when_it_thaws() {
    let Some(group) = Group::new("freezer") else { return };
    let run = placed(&[&group.word()], &["--stop-grace=300ms"]).role(&["record"]).ready();
    let asked = run.term();
    run.says_prefix("signal 15");
    group.freeze();
    pass(asked, 600.0);
    assert!(run.err.all().iter().all(|line| !line.contains("SIGKILL")), "{:?}", run.err.all());
    let thawed = sys::now_ns();
    group.thaw();
    let done = run.finish_with(137);
    assert!(ms(asked, done.at) > 600.0, "{}", done.text());
    assert!(ms(thawed, done.at) < 1_000.0, "{} ms: {}", ms(thawed, done.at), done.text());
    assert!(done.text().contains("the time is up: SIGKILL"), "{}", done.text());
}

/// A pause within the grace costs nothing but its own time.
pub fn a_frozen_group_that_thaws_within_the_grace_stops_as_ever() {
    let Some(group) = Group::new("freezer") else { return };
    let run =
        placed(&[&group.word()], &["--stop-grace=15s"]).role(&["record", "exit=15:9"]).ready();
    group.freeze();
    let asked = run.term();
    pass(asked, 100.0);
    group.thaw();
    let done = run.finish_with(9);
    assert!(!done.text().contains("SIGKILL"), "{}", done.text());
}

/// Nothing waits for anything, many times: no wake-up of these is taken for a kernel that lets
/// nobody wait.
pub fn many_pauses_of_an_idle_container_change_nothing() {
    let Some(group) = Group::new("freezer") else { return };
    let run = placed(&[&group.word()], &[]).role(&["record", "exit=15:0"]).ready();
    for _ in 0..50 {
        group.freeze();
        group.thaw();
    }
    let done = run.stop();
    done.code(0);
    assert_eq!(done.signals(), [libc::SIGTERM], "{}", done.text());
}

// ---- clocks ----

/// Clocks that began at another time (a container that was checkpointed, another time namespace):
/// the graces are as long as ever, and births are told from the same clock.
pub fn other_offsets_of_the_clocks_move_no_deadline() {
    let offers = Command::new("unshare").arg("--help").output().expect("unshare");
    if !String::from_utf8_lossy(&offers.stdout).contains("--monotonic") {
        println!("this unshare(1) makes no time namespaces");
        return;
    }
    for offset in ["1000000", "-3"] {
        let role = ["leave", "w:worker:deaf", "--", "record", "exit=15:0"];
        let mut shifted = Command::new("unshare");
        shifted
            .args(["--time", "--monotonic", offset, "--boottime", offset, "--pid", "--fork"])
            .args(["--mount-proc", "--kill-child"])
            .arg(clawinit())
            .args(["--kill-mode=group", "--stop-grace=300ms", "--"])
            .arg(probe())
            .arg("probe")
            .args(role)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::null());
        let mut above = Ended(shifted.stdout(Stdio::piped()).spawn().expect("start unshare"));
        let out = Lines::read_from(above.0.stdout.take().expect("a pipe"));
        let came = until("the child", || out.text().contains("ready").then_some(()));
        assert!(came.is_some(), "{offset}: {}", out.text());
        // unshare(1) waits for its child, which is PID 1.
        let pid = above.0.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let init = children.expect("its children").trim().parse().expect("one child");
        let asked = sys::now_ns();
        sys::kill(init, libc::SIGTERM).expect("signal PID 1");
        let end = until("its end", || above.0.try_wait().expect("ask for unshare"));
        let took = ms(asked, sys::now_ns());
        assert_eq!(end.and_then(|end| end.code()), Some(0), "{offset}: {}", out.text());
        assert!((300.0..1_500.0).contains(&took), "{offset}: {took} ms: {}", out.text());
        // The worker got it with the group, and not again: it was born before, on any clock.
        assert_eq!(out.text().matches("left w signal 15").count(), 1, "{offset}: {}", out.text());
    }
}

/// A process that does not outlive the test; `--kill-child` takes those below along.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// CLOCK_REALTIME may be set at any time. It cannot be set on a machine that others use, and the
/// kernel has no namespace for it; but nothing that decides reads it: what people read is dated by
/// it, and `--vary-pid` takes a random byte from it where the kernel has none yet.
pub fn the_clock_that_can_be_set_decides_nothing() {
    let source = crate::harness::package().join("src");
    let mut folders = vec![source.clone()];
    let mut users = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("src").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a source");
            let file = path.strip_prefix(&source).expect("below src").display().to_string();
            for _ in text.matches("clock::realtime()") {
                users.push(file.clone());
            }
            assert!(!text.contains("SystemTime"), "{file}");
        }
    }
    users.sort();
    assert_eq!(users, ["init/keep.rs", "init/keep.rs", "kernel/process.rs", "report.rs"]);
}
