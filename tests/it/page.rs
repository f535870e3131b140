//! The status page: a page of memory that PID 1 writes and everybody else reads.

use crate::harness::{Init, Run, probe};
use clawinit::core::{End, Status};
use clawinit::signal::Signal;
use clawinit::status::layout as at;
use clawinit::status::read::{self, Snapshot, Unreadable};
use clawinit::status::write::Writer;
use clawinit::status::{Asked, Phase, Timed};
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Where the page of a process is.
fn path(pid: i32) -> Option<PathBuf> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.find(|path| {
        std::fs::read_link(path).is_ok_and(|to| to.to_string_lossy().contains("clawinit-status"))
    })
}

fn open(run: &Run) -> File {
    let path = run.until("a status page", || path(run.pid));
    File::open(path).expect("open the page")
}

/// Waits until the page says what is wanted.
fn until(run: &Run, what: &str, wanted: impl Fn(&Snapshot) -> bool) -> Snapshot {
    let file = open(run);
    let mut last = None;
    let found = crate::harness::until(what, || {
        last = match read::read(&file) {
            Err(Unreadable::NoPage) => None, // it is just being made
            page => Some(page.expect("read the page")),
        };
        last.clone().filter(&wanted)
    });
    found.unwrap_or_else(|| run.fail(&format!("{what}; the page: {last:#?}")))
}

fn count(snapshot: &Snapshot, timed: Timed) -> u64 {
    snapshot.histograms[timed as usize].buckets.iter().sum()
}

pub fn the_page_shows_a_running_child() {
    let run = Init::new(&["--stop-grace", "7s", "--port", "4711"]).role(&["record"]).ready();
    let page = until(&run, "phase running", |page| page.phase == Some(Phase::Running));
    assert_eq!(page.pid, 1, "{page:?}");
    assert_eq!(page.child, Some(2), "{page:?}");
    assert_eq!(page.generation, 1, "{page:?}");
    assert_eq!(page.version, env!("CARGO_PKG_VERSION"), "{page:?}");
    assert_eq!(page.stop_grace, Duration::from_secs(7), "{page:?}");
    assert_eq!(page.stop_by, Some(Signal::TERM), "{page:?}");
    assert_eq!(page.restart_by, Some(Signal::USR1), "{page:?}");
    assert_eq!(page.port, Some(4711), "{page:?}");
    assert_eq!((page.deadline, page.exit_code, page.last), (None, None, None), "{page:?}");
    assert!(page.command.starts_with(probe().display().to_string().as_bytes()), "{page:?}");
    assert!(page.command.ends_with(b"probe\0record\0"), "{page:?}");
    assert!(page.born <= page.generation_born, "{page:?}");
    run.stop();
}

pub fn a_restart_is_on_the_page_with_who_asked_and_how_the_last_one_ended() {
    let run = Init::new(&[]).role(&["record", "exit=10:75", "exit=15:0"]).ready();
    run.signal_from_inside(&["10"]);
    run.ready_generation(2);
    let page = until(&run, "generation 2", |page| page.generation == 2);
    assert_eq!(page.phase, Some(Phase::Running), "{page:?}");
    assert_eq!(page.restarts, [1, 0, 0], "{page:?}");
    assert_eq!((page.requests, page.requests_done), ([0, 1], [0, 1]), "{page:?}");
    let last = page.last.expect("a last end");
    assert_eq!(last.end, End::Reaped(Status::Exited(75)), "{page:?}");
    assert_eq!((last.generation, last.oom), (1, false), "{page:?}");
    let asked = page.restart.expect("a restart request");
    assert_eq!(asked.signal, Signal::USR1, "{page:?}");
    assert!(asked.asker.pid > Some(1), "{page:?}");
    assert_eq!(count(&page, Timed::Restart), 1, "{page:?}");
    assert_eq!(count(&page, Timed::FirstSignal), 1, "{page:?}");
    assert_eq!(page.received[10], 1, "{page:?}");
    assert_eq!(page.forwarded[10], 1, "{page:?}");
    run.stop();
}

/// Nobody can look at a page whose process has gone; an open file of it stays as it was last.
pub fn the_page_tells_how_it_ended_to_whoever_had_it_open() {
    let run = Init::new(&["--stop-grace", "300ms"]).role(&["ignore", "15"]).ready();
    let file = open(&run);
    run.term();
    let stopping = until(&run, "phase stopping", |page| page.phase == Some(Phase::Stopping));
    let stop = stopping.stop.expect("a stop request");
    assert_eq!(stopping.deadline, Some(stop.at + Duration::from_millis(300)), "{stopping:?}");
    run.finish_with(137);
    let page = read::read(&file).expect("read the page");
    assert_eq!(page.phase, Some(Phase::Exited), "{page:?}");
    assert_eq!(page.exit_code, Some(137), "{page:?}");
    assert_eq!((page.escalations, page.killed), (1, 1), "{page:?}");
    assert_eq!((page.requests, page.requests_done), ([1, 0], [0, 0]), "{page:?}");
    assert_eq!(count(&page, Timed::Stop), 1, "{page:?}");
    assert_eq!(page.child, None, "{page:?}");
}

pub fn orphans_and_leftovers_are_counted() {
    let options = ["--restart=always", "--restart-delay=1m", "--restart-delay-max=1m"];
    let run = Init::new(&options).role(&["orphans", "4", "0"]);
    let page = until(&run, "phase backoff", |page| page.phase == Some(Phase::Backoff));
    assert_eq!(page.reaped, 12, "four families of three, who all end as orphans: {page:?}");
    run.term();
    run.finish_with(0);

    let run = Init::new(&[])
        .role(&["leave", "a:orphan", "b:daemon", "--", "record", "exit=10:0", "exit=15:0"])
        .ready();
    run.usr1();
    run.ready_generation(2);
    let page = until(&run, "two swept", |page| page.swept == 2);
    assert_eq!((page.leftovers, page.escalations), (0, 0), "{page:?}");
    run.stop();
}

pub fn a_crash_delay_is_on_the_page() {
    let options = ["--restart", "on-failure", "--restart-delay", "1m", "--restart-delay-max", "1m"];
    let run = Init::new(&options).role(&["die", "11"]);
    let page = until(&run, "phase backoff", |page| page.phase == Some(Phase::Backoff));
    assert_eq!((page.child, page.crashes_in_a_row), (None, 1), "{page:?}");
    assert!(page.deadline > Some(page.phase_since + Duration::from_secs(40)), "{page:?}");
    let segv = Signal::parse("SEGV").expect("SIGSEGV");
    let end = End::Reaped(Status::Signaled { signal: segv, core_dumped: false });
    assert_eq!(page.last.map(|last| last.end), Some(end), "{page:?}");
    run.term();
    run.finish_with(139);
}

/// One who may open the page may do so for writing, and could cut it: PID 1's next store would
/// then be SIGBUS, and the end of the container.
pub fn nobody_else_can_change_or_cut_the_page() {
    let run = Init::new(&[]).role(&["record", "exit=15:0"]).ready();
    let path = run.until("a status page", || path(run.pid));
    let file = File::options().read(true).write(true).open(&path).expect("open for writing");
    file.set_len(0).expect_err("cut the page");
    file.set_len(1 << 20).expect_err("grow the page");
    std::os::unix::fs::FileExt::write_at(&file, b"forged", 0).expect_err("write to the page");
    run.usr1();
    run.stop();
}

pub fn the_transparent_names_have_no_page() {
    let run = Init::named("docker-init", &[]).role(&["record", "exit=15:0"]).ready();
    assert_eq!(path(run.pid), None);
    assert_eq!(run.descriptors().into_iter().filter(|fd| *fd > 2).count(), 0);
    run.term();
    run.finish_with(0);
}

pub fn the_child_does_not_get_the_page() {
    let options = ["--restart", "always", "--restart-delay", "1ms", "--restart-limit", "1/1m"];
    let done = Init::new(&options).role(&["facts"]).finish();
    assert_eq!(done.out.len(), 2, "{}", done.text());
    assert!(!done.out.concat().contains("clawinit-status"), "{}", done.text());
}

/// A million changes, each of ten fields over the whole page, before readers in processes of
/// their own: whatever they see belongs to one change.
pub fn no_reader_sees_half_of_an_update() {
    const UPDATES: u64 = 1_000_000;
    let mut page = Writer::default();
    page.open().expect("a page");
    let fd = page.fd().expect("its descriptor").to_string();
    let own = std::process::id().to_string();
    let mut readers: Vec<_> = (0..2)
        .map(|_| {
            Command::new(probe())
                .args(["probe", "read-page", &own, &fd])
                .stdout(Stdio::piped())
                .spawn()
                .expect("start a reader")
        })
        .collect();
    for number in 1..=UPDATES {
        put(&page, number);
        // PID 1 makes at least one system call between two updates.
        for _ in 0..4 {
            std::hint::black_box(nix::unistd::getppid());
        }
        if number == 1 {
            // The readers have to be there before it goes on.
            for reader in &mut readers {
                let mut line = [0; 6];
                let out = reader.stdout.as_mut().expect("its output");
                std::io::Read::read_exact(out, &mut line).expect("a reader to be ready");
                assert_eq!(&line, b"ready\n");
            }
        }
    }
    page.update(|w| w.set(at::EXIT_CODE, 1));
    for reader in readers {
        let said = reader.wait_with_output().expect("wait for a reader");
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.status.success(), "{text}");
        let count: u64 = text.trim().parse().unwrap_or_else(|_| panic!("{text}"));
        println!("{count} reads beside {UPDATES} updates");
        assert!(count > 1_000, "only {count} reads");
    }
}

fn put(page: &Writer, number: u64) {
    page.update(|w| {
        w.set(at::CHILD, number);
        w.text(at::COMMAND, &number.to_ne_bytes().repeat(at::COMMAND.words));
        w.set(at::COMMAND_LENGTH, at::COMMAND.words as u64 * 8);
        w.list(at::RESTARTS, [number; 3]);
        w.list(at::FORWARDED, [number; 65]);
        w.list(at::HISTOGRAMS, [number; at::HISTOGRAM_WORDS * Timed::ALL.len()]);
        w.set(at::GENERATION, number);
        w.set(at::DROPPED, number);
        w.time(at::BORN, Duration::from_nanos(number));
        w.set(at::EXPORTER_RESTARTS, number);
    });
}

/// The role `read-page PID FD`: reads until the page tells of an exit, and says how often.
pub fn reader(args: &[String]) -> ! {
    let file = File::open(format!("/proc/{}/fd/{}", args[0], args[1])).expect("open the page");
    println!("ready");
    let mut count = 0u64;
    loop {
        let page = match read::read(&file) {
            Ok(page) => page,
            Err(error) => panic!("after {count} reads: {error:?}"),
        };
        let number = page.generation;
        let mut seen = vec![page.dropped, page.exporter_restarts, page.born.as_nanos() as u64];
        seen.push(page.child.unwrap_or(0) as u64);
        seen.extend(page.restarts);
        seen.extend(&page.forwarded);
        for histogram in page.histograms {
            seen.extend(histogram.buckets);
            seen.push(histogram.sum.as_nanos() as u64);
        }
        let words = page.command.chunks_exact(8);
        seen.extend(words.map(|w| u64::from_ne_bytes(w.try_into().expect("eight bytes"))));
        assert!(seen.iter().all(|word| *word == number), "{number}, after {count} reads: {seen:?}");
        count += 1;
        if page.exit_code.is_some() {
            println!("{count}");
            std::process::exit(0);
        }
    }
}

pub fn a_page_of_an_older_or_newer_minor_layout_is_read() {
    let word = |bytes: &mut Vec<u8>, at: usize, value: u64| {
        bytes[at * 8..at * 8 + 8].copy_from_slice(&value.to_ne_bytes());
    };
    let mut bytes = vec![0; 4096];
    word(&mut bytes, at::MAGIC.at, at::MAGIC_VALUE);
    word(&mut bytes, at::GENERATION.at, 7);
    word(&mut bytes, at::PORT.at, 80);
    let layout =
        |major: u64, minor: u64, words: usize| major << 48 | minor << 32 | (words as u64 * 8);
    // One that knew no field behind the generation's.
    word(&mut bytes, at::LAYOUT.at, layout(at::MAJOR, 0, at::GENERATION.at + 1));
    let older = read::parse(&bytes).expect("an older page");
    assert_eq!((older.generation, older.port), (7, None), "{older:?}");
    // One with more of them.
    bytes.resize(8192, 0xff);
    word(&mut bytes, at::LAYOUT.at, layout(at::MAJOR, at::MINOR + 1, 1024));
    let newer = read::parse(&bytes).expect("a newer page");
    assert_eq!((newer.generation, newer.port), (7, Some(80)), "{newer:?}");
    // One in which fields have moved.
    word(&mut bytes, at::LAYOUT.at, layout(at::MAJOR + 1, 0, 512));
    match read::parse(&bytes) {
        Err(Unreadable::OtherLayout { major }) => assert_eq!(major, at::MAJOR + 1),
        other => panic!("{other:?}"),
    }
}

/// Whatever a page says, reading it ends, and shows no more than there is.
pub fn a_page_of_anything_at_all_is_no_danger() {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..20_000 {
        let length = (next() % 5000) as usize;
        let mut bytes: Vec<u8> = (0..length).map(|_| next() as u8).collect();
        if length >= 32 && next() % 4 != 0 {
            bytes[..8].copy_from_slice(&at::MAGIC_VALUE.to_ne_bytes());
            let layout = at::MAJOR << 48 | next() & 0xffff_ffff;
            bytes[16..24].copy_from_slice(&layout.to_ne_bytes());
        }
        if let Ok(page) = read::parse(&bytes) {
            assert!(page.command.len() <= at::COMMAND.words * 8);
        }
    }
    assert_eq!(Asked::ALL.map(|asked| asked as usize), [0, 1]);
}
