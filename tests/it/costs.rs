//! What clawinit costs, in figures that noise does not move: system calls, page faults, bytes,
//! descriptors. Times are shown by `make bench` and asserted nowhere.

use crate::harness::{Folder, Init, Run, clawinit, package, probe, status_field};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// What an idle clawinit may take.
const MOST_BYTES: u64 = 700_000;
const MOST_RESIDENT_KIB: u64 = 600;
const MOST_DIRTY_KIB: u64 = 60;
/// Standard input, output and error, the log's own, the status page.
const MOST_DESCRIPTORS: usize = 5;
/// From its exec until it waits: those of its start, of its first line and of the status page.
const MOST_PAGE_FAULTS: u64 = 60;

/// Why the system calls cannot be listed here.
pub fn no_strace() -> Option<String> {
    if cfg!(not(target_arch = "x86_64")) {
        return Some("the lists are those of x86-64".to_string());
    }
    let tried = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).output();
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_string()),
        Err(error) => Some(format!("strace: {error}")),
    }
}

/// The release build is what the budgets of bytes are for; the debug build is larger.
fn is_release() -> bool {
    std::env::var_os("CLAWINIT_BIN").is_some()
}

/// The calls of a table of `docs/performance.md`, as `who name`.
fn documented(heading: &str) -> Vec<String> {
    let page = std::fs::read_to_string(package().join("docs/performance.md")).expect("the page");
    let section = page.split("\n## ").find(|section| section.starts_with(heading));
    let rows = section.unwrap_or_else(|| panic!("no section {heading:?}")).lines();
    rows.filter_map(|row| {
        let mut cells = row.strip_prefix("| `")?.split('|').map(str::trim);
        let call = cells.next()?.trim_end_matches('`');
        Some(format!("{} {call}", cells.next()?))
    })
    .collect()
}

/// The system calls of clawinit and of the process that becomes its child, `who name`, in order:
/// up to the child's execve, and from clawinit's last wait for a signal on.
fn traced() -> (Vec<String>, Vec<String>) {
    let folder = Folder::new();
    let file = folder.word("trace");
    let program = clawinit().display().to_string();
    let output = Command::new("strace")
        .args(["-f", "-qq", "-e", "signal=none", "-o", &file])
        .args(["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"])
        .args([&program, "--"])
        .arg(probe())
        .args(["probe", "exit", "0"])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .output()
        .expect("run strace");
    let trace = std::fs::read_to_string(&file).expect("the trace");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{trace}");

    // "PID NAME(…"; the rest of a call that was interrupted by another line is "PID <... NAME".
    let call = |line: &str| -> Option<(String, String)> {
        let (pid, rest) = line.split_once(' ')?;
        let name = rest.trim_start().split_once('(')?.0;
        name.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_')
            .then(|| (pid.into(), name.into()))
    };
    let is_exec = |line: &str| line.contains(&format!("execve(\"{program}\""));
    let mut lines = trace.lines().skip_while(|line| !is_exec(line));
    let first = lines.next().and_then(call).unwrap_or_else(|| panic!("no exec in\n{trace}"));
    let calls: Vec<(String, String)> = lines.filter_map(call).collect();
    let own =
        |(pid, name): &(String, String)| (*pid == first.0).then(|| format!("clawinit {name}"));

    let child = calls.iter().position(|(pid, _)| *pid != first.0).expect("a child");
    let is_child = |(pid, _): &&(String, String)| *pid == calls[child].0;
    let mut start: Vec<String> = calls[..child].iter().filter_map(own).collect();
    if !is_release() {
        // The C library makes room for the thread's data, of which a debug build has more.
        start = start.into_iter().skip_while(|call| call == "clawinit mmap").collect();
    }
    for (_, name) in calls[child..].iter().filter(is_child) {
        start.push(format!("child {name}"));
        if name == "execve" {
            break;
        }
    }
    let wait = |(pid, name): &(String, String)| *pid == first.0 && name == "rt_sigtimedwait";
    let last = calls.iter().rposition(wait).expect("a wait for signals");
    let end = calls[last + 1..].iter().filter_map(own).collect();
    (start, end)
}

fn same(heading: &str, seen: &[String]) {
    let wanted = documented(heading);
    assert!(wanted.len() > 3, "the table of {heading:?}: {wanted:?}");
    assert_eq!(seen, wanted, "left: what strace sees; right: {heading:?} of docs/performance.md");
}

pub fn the_system_calls_from_exec_to_the_childs_start_are_those_of_the_page() {
    let (start, _) = traced();
    same("From exec to the child's start", &start);
}

pub fn the_system_calls_from_the_childs_exit_to_its_own_are_those_of_the_page() {
    let (_, end) = traced();
    same("From the child's exit to clawinit's own", &end);
}

/// An init at rest, its child running.
fn at_rest(options: &[&str]) -> Run {
    let run = Init::plain(options).role(&["pause"]).ready();
    let pid = run.pid;
    run.until("clawinit to wait", || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let waits = std::fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
        let sleeps = status_field(&status, "State")?.starts_with('S');
        (sleeps && !waits.contains("vfork")).then_some(())
    });
    run
}

pub fn at_rest_it_has_one_thread_and_no_descriptor_too_many() {
    let run = at_rest(&[]);
    assert_eq!(run.status("Threads"), "1");
    let open = run.descriptors();
    assert!(open.len() <= MOST_DESCRIPTORS, "{open:?}, at most {MOST_DESCRIPTORS}");
    run.stop();
}

pub fn its_memory_at_rest_is_within_its_budget() {
    // Pages of a file that was just written count as dirty wherever it is mapped.
    std::fs::File::open(clawinit()).and_then(|file| file.sync_all()).expect("sync the program");
    let run = at_rest(&[]);
    let rollup = run.proc("smaps_rollup");
    let kib = |name: &str| -> u64 {
        let value = status_field(&rollup, name).unwrap_or_else(|| panic!("no {name} in {rollup}"));
        value.split(' ').next().and_then(|n| n.parse().ok()).expect("a number")
    };
    let dirty = kib("Private_Dirty");
    assert!(dirty <= MOST_DIRTY_KIB, "{dirty} KiB private dirty, at most {MOST_DIRTY_KIB}");
    if is_release() {
        let resident = kib("Rss");
        assert!(resident <= MOST_RESIDENT_KIB, "{resident} KiB, at most {MOST_RESIDENT_KIB}");
    }
    run.stop();
}

pub fn the_released_binary_is_within_its_budget() {
    let bytes = std::fs::metadata(clawinit()).expect("the program").len();
    if is_release() {
        assert!(bytes <= MOST_BYTES, "{bytes} bytes, at most {MOST_BYTES}");
    }
}

/// A process that does not outlive the test.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        // It is a group of its own, with its child in another: the child is asked by clawinit.
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.0.id() as i32),
            nix::sys::signal::Signal::SIGTERM,
        );
        let _ = self.0.wait();
    }
}

/// Not in a namespace: whoever forks to make one has faults of its own before the exec, which
/// the kernel counts with those behind it.
pub fn its_page_faults_at_start_are_within_their_budget() {
    let child = Command::new(clawinit())
        .arg("--")
        .arg(probe())
        .args(["probe", "pause"])
        .env_clear()
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut started = Started(child.expect("start clawinit"));
    let out = crate::harness::Lines::read_from(started.0.stdout.take().expect("a pipe"));
    let pid = started.0.id();
    let stat = |field: usize| -> Option<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        (fields[0] == "S").then(|| fields[field - 3].parse().ok())?
    };
    let faults = crate::harness::until("clawinit to wait", || {
        let ready = out.all().iter().any(|line| line.starts_with("ready"));
        stat(10).filter(|_| ready)
    });
    let faults = faults.unwrap_or_else(|| panic!("clawinit did not come to rest: {}", out.text()));
    assert!(faults <= MOST_PAGE_FAULTS, "{faults} page faults, at most {MOST_PAGE_FAULTS}");
}
