//! The log: told to whoever reads it, in the way of nobody (DESIGN section 6).

use crate::harness::{Done, Folder, Init, Lines, free_port, ms, package};
use crate::{schema, sys};
use std::collections::BTreeSet;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// Every line of clawinit's is one JSON object with the fields that all have.
fn all_json(done: &Done) {
    assert!(!done.err.is_empty(), "a log");
    for line in &done.err {
        let event: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        for field in ["ts", "level", "event", "message"] {
            assert!(!event[field].is_null(), "{field} is missing: {line}");
        }
        assert!(event["message"].as_str().is_some_and(|m| !m.is_empty()), "{line}");
    }
}

pub fn every_line_of_the_json_log_is_an_object_with_the_fixed_fields() {
    // A command, a signal number and an argument that need escapes.
    let folder = Folder::new();
    let odd = folder.write("odd \"name\"\\\t\u{e9}", "#!/bin/sh\nexit 75\n", 0o755);
    let done = Init::new(&["-v", "--restart-limit=2/60s", "--restart-delay=1ms"])
        .command(&[&odd, "line\nbreak"])
        .finish_with(75);
    all_json(&done);
    assert_eq!(done.events("started").len(), 3, "{}", done.text());

    let run = Init::new(&["-v", "--stop-grace=150ms"])
        .role(&["leave", "a:daemon:deaf", "--", "record"])
        .ready();
    run.usr1();
    run.signal(50);
    run.signal(libc::SIGWINCH);
    run.term();
    let done = run.finish_with(137);
    all_json(&done);
    for event in
        ["started", "stop-requested", "restart-requested", "child-exited", "escalated", "exiting"]
    {
        assert!(!done.events(event).is_empty(), "no {event}: {}", done.text());
    }
    let exiting = &done.events("exiting")[0];
    assert_eq!(exiting["code"], 137, "{exiting}");
}

/// A name that is no text at all must not break the log of those who read it.
pub fn a_command_that_is_not_utf8_is_logged_as_valid_json() {
    let folder = Folder::new();
    let script = folder.write(
        "script",
        "#!/bin/sh\nexec \"$1\" --log-format=json -- \"$(printf '/nowhere/\\377\\376')\"\n",
        0o755,
    );
    let inner = crate::harness::clawinit().display().to_string();
    let done = Init::new(&[]).command(&[&script, &inner]).finish_with(127);
    all_json(&done);
}

pub fn every_text_line_begins_with_the_name() {
    let run = Init::plain(&["-v"])
        .role(&["generations", "1=record,exit=10:75", "*=record,exit=15:0"])
        .ready();
    run.usr1();
    run.ready_generation(2);
    let done = run.stop();
    done.code(0);
    assert!(!done.err.is_empty());
    for line in &done.err {
        assert!(line.starts_with("clawinit: "), "{line:?}");
    }
}

pub fn levels_say_more_and_less() {
    let lines = |options: &[&str]| {
        let run = Init::plain(options).role(&["record", "exit=15:0"]).ready();
        let done = run.stop();
        done.code(0);
        done.err.len()
    };
    let (quiet, normal, verbose) = (lines(&["-q"]), lines(&[]), lines(&["-v"]));
    assert_eq!(quiet, 0, "nothing is wrong, so -q says nothing");
    assert!(normal > 0 && verbose > normal, "{normal} and {verbose} lines");
    assert_eq!(lines(&["--log-level=error"]), 0);
    assert_eq!(lines(&["--log-level=info"]), normal);
    assert_eq!(lines(&["--log-level=debug"]), verbose);
}

pub fn a_closed_stderr_is_no_hindrance() {
    for under in [false, true] {
        let init = || {
            let init = Init::new(&["-v"]).flag("close=2");
            if under { init.under() } else { init }
        };
        init().role(&["exit", "33"]).finish_with(33);
        let run =
            init().role(&["generations", "1=record,exit=10:75", "*=record,exit=15:34"]).ready();
        run.usr1();
        run.ready_generation(2);
        run.term();
        run.finish_with(34);
    }
    // Nothing of clawinit's own may sit at number 2 then: the child would write into it.
    let folder = Folder::new();
    let report = folder.word("report");
    let done = Init::new(&["--termination-log", &report])
        .flag("close=2")
        .command(&["sh", "-c", "readlink /proc/self/fd/2; echo mine >&2; echo asked"])
        .finish_with(0);
    assert_eq!(done.out, ["asked"], "{}", done.text());
}

/// A reader that does not read: PID 1 goes on, and says later how much it could not say.
pub fn a_full_pipe_never_blocks_it() {
    let (reader, writer) = std::io::pipe().expect("pipe");
    let filled = fill(&writer);
    let run = Init::new(&["-v"])
        .stderr(writer)
        .role(&["generations", "1=record,exit=10:75", "*=record,exit=15:0"])
        .ready();
    for _ in 0..50 {
        run.signal(libc::SIGUSR2);
    }
    run.usr1();
    run.ready_generation(2);
    // Room again: what is said from now on is read, with the count of what was not.
    let read = Lines::read_from(reader);
    run.until("the pipe to be empty", || (read.text().len() >= filled).then_some(()));
    run.signal(libc::SIGWINCH);
    run.says_prefix("signal 28");
    let asked = run.term();
    let done = run.finish_with(0);
    assert!(ms(asked, done.at) < 2000.0);
    let lines: Vec<String> =
        read.all().iter().map(|line| line.trim_start_matches('x').to_string()).collect();
    let dropped = crate::harness::events(&lines, "lines-dropped");
    assert!(!dropped.is_empty(), "no count of dropped lines in:\n{}", lines.join("\n"));
    assert!(dropped[0]["count"].as_u64() > Some(0), "{}", dropped[0]);
}

/// Fills a pipe to the last byte; says how many went in.
fn fill(writer: &std::io::PipeWriter) -> usize {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    // A description of its own: the flag would otherwise be set for clawinit's end too, and hide
    // whether it copes with one that blocks.
    let own = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(writer));
    let file = std::fs::OpenOptions::new().write(true).open(own).expect("the pipe again");
    fcntl(file.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("O_NONBLOCK");
    let mut file = file;
    let mut filled = 0;
    for piece in [&[b'x'; 4096][..], b"x"] {
        while let Ok(written) = file.write(piece) {
            filled += written;
        }
    }
    filled
}

/// The flags of the description are shared with the child and with whoever gave it.
pub fn the_childs_stderr_still_blocks() {
    let (reader, writer) = std::io::pipe().expect("pipe");
    let own = writer.try_clone().expect("dup");
    let run = Init::new(&["-v"]).stderr(writer).role(&["record", "exit=15:0"]).ready();
    run.signal(libc::SIGUSR2);
    run.says_prefix("signal 12");
    let flags = nix::fcntl::fcntl(own.as_fd(), nix::fcntl::FcntlArg::F_GETFL).expect("F_GETFL");
    assert_eq!(flags & nix::libc::O_NONBLOCK, 0, "clawinit made the shared stderr non-blocking");
    drop(own);
    run.term();
    run.finish_with(0);
    drop(reader);
}

pub fn a_stderr_that_is_a_file_is_appended_to() {
    let folder = Folder::new();
    let log = folder.write("log", "what was there before\n", 0o644);
    // The descriptor stands at the beginning of the file, without O_APPEND.
    let run = Init::plain(&["-v"])
        .flag(&format!("stderr={log}"))
        .role(&["generations", "1=record,exit=10:75", "*=record,exit=15:0"])
        .ready();
    // Somebody else writes too; a line of clawinit's must not land on theirs.
    let mut other = std::fs::OpenOptions::new().append(true).open(&log).expect("the log");
    other.write_all(b"from somebody else\n").expect("write");
    run.usr1();
    run.ready_generation(2);
    other.write_all(b"once more\n").expect("write");
    run.stop().code(0);
    let text = std::fs::read_to_string(&log).expect("the log");
    whole_lines(&text, &["what was there before", "from somebody else", "once more"]);
}

/// `clawinit … 2>log`: the child writes through the descriptor that it shares with clawinit.
pub fn neither_clawinit_nor_the_child_writes_over_the_other_in_a_file() {
    let folder = Folder::new();
    let log = folder.write("log", "", 0o644);
    let run = Init::plain(&["-v"])
        .flag(&format!("stderr={log}"))
        .role(&["generations", "1=shout,one,record,exit=10:75", "*=shout,two,record,exit=15:0"])
        .ready();
    run.usr1();
    run.ready_generation(2);
    run.stop().code(0);
    let text = std::fs::read_to_string(&log).expect("the log");
    whole_lines(&text, &["child-says one", "child-says two"]);
    assert!(text.contains("clawinit: generation 1 started"), "{text}");
}

/// The others' lines are all there, and beside them only whole ones of clawinit's.
fn whole_lines(text: &str, others: &[&str]) {
    for line in others {
        assert_eq!(text.lines().filter(|l| l == line).count(), 1, "{line:?} in:\n{text}");
    }
    let ours = |line: &&str| line.starts_with("clawinit: ");
    assert!(text.lines().filter(ours).count() >= 4, "{text}");
    for line in text.lines() {
        assert!(ours(&line) || others.contains(&line), "a torn line {line:?} in:\n{text}");
    }
}

/// The log on the terminal itself, as with `docker run -t`.
pub fn a_stderr_that_is_a_terminal_shows_the_log() {
    let (master, slave) = sys::open_pty().expect("a pty");
    let run =
        Init::plain(&[]).flag(&format!("stderr={slave}")).role(&["record", "exit=15:0"]).ready();
    let text = std::thread::spawn(move || crate::harness::read_all(std::fs::File::from(master)));
    run.term();
    run.finish_with(0);
    let text = text.join().expect("the reader");
    assert!(text.contains("clawinit: stop requested"), "{text}");
}

/// A terminal whose output was stopped with Ctrl-S blocks whoever writes to it.
pub fn a_terminal_that_is_held_up_never_blocks_it() {
    let (master, slave) = sys::open_pty().expect("a pty");
    let run = Init::plain(&["-v"])
        .flag(&format!("stderr={slave}"))
        .role(&["record", "exit=15:0"])
        .ready();
    // Nobody reads the master: its buffer is full after some kilobytes.
    for round in 1..=600 {
        run.signal(libc::SIGUSR2);
        run.until("the child to be told", || {
            (crate::harness::signals(&run.out.all()).len() >= round).then_some(())
        });
    }
    run.term();
    run.finish_with(0);
    drop(master);
}

/// The reader is gone for good: writing raises SIGPIPE and EPIPE.
pub fn a_reader_that_has_gone_is_no_hindrance() {
    let (reader, writer) = std::io::pipe().expect("pipe");
    let run = Init::new(&["-v"]).stderr(writer).role(&["record", "exit=15:0"]).ready();
    drop(reader);
    for _ in 0..20 {
        run.signal(libc::SIGUSR2);
    }
    run.term();
    run.finish_with(0);
}

/// A disk that is full (`/dev/full` answers ENOSPC).
pub fn a_full_disk_is_no_hindrance() {
    let run = Init::new(&["-v"]).flag("stderr=/dev/full").role(&["record", "exit=15:0"]).ready();
    run.term();
    run.finish_with(0);
}

/// Section 2: with the nearest name that there is.
pub fn an_unknown_variable_is_a_warning_with_the_nearest_name() {
    let done =
        Init::new(&[]).variable("CLAWINIT_STOP_GRASE", "5s").role(&["exit", "0"]).finish_with(0);
    let warnings = done.events("warning");
    assert_eq!(warnings.len(), 1, "{}", done.text());
    let text = warnings[0]["message"].as_str().unwrap_or("");
    assert!(text.contains("CLAWINIT_STOP_GRASE") && text.contains("CLAWINIT_STOP_GRACE"), "{text}");
}

/// A15, for the name of our own: `-w` says it, and nothing else does.
pub fn reaped_zombies_are_told_with_w() {
    for (words, told) in [(&["-w"][..], 12), (&[], 0)] {
        let run = Init::plain(words).role(&["burst", "12", "record"]).ready();
        let said = || run.err.text().matches("Reaped zombie process with pid=").count();
        run.until("all orphans to be reaped and told", || {
            (run.zombies().is_empty() && said() == told).then_some(())
        });
        run.stop().code(0);
    }
}

/// A pipe of another user's cannot be opened anew, so that the flag for not blocking is out of reach.
pub fn a_full_pipe_of_another_user_never_blocks_it() {
    let folder = Folder::new();
    let (clawinit, probe) = folder.copies();
    let (reader, writer) = std::io::pipe().expect("pipe");
    fill(&writer);
    let run = Init::new(&["-v", "--stop-grace=300ms"])
        .program(clawinit)
        .with_probe(probe)
        .flag("user=65534")
        .stderr(writer)
        .role(&["record"])
        .ready();
    let asked = run.term();
    let done = run.finish_with(137);
    let took = ms(asked, done.at);
    assert!((300.0..1000.0).contains(&took), "{took} ms");
    drop(reader);
}

/// Nor does one that others write to at the same moment: room that was there is gone again.
pub fn a_pipe_of_another_user_that_the_child_fills_never_blocks_it() {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("the release");
    let mut numbers = release.split(['.', '-']).map_while(|n| n.trim().parse::<u32>().ok());
    if (numbers.next(), numbers.next()) < (Some(6), Some(4)) {
        println!("Linux {} has no RWF_NOWAIT for pipes", release.trim());
        return;
    }
    let folder = Folder::new();
    let (clawinit, probe) = folder.copies();
    let (mut reader, writer) = std::io::pipe().expect("pipe");
    fill(&writer);
    let run = Init::new(&["-v"])
        .program(clawinit)
        .with_probe(probe)
        .flag("user=65534")
        .stderr(writer)
        .role(&["chatter", "3", "record", "exit=15:4"])
        .ready();
    for round in 1..=500 {
        run.signal(libc::SIGUSR2);
        run.until("the child to be told, while nobody reads the log", || {
            (crate::harness::signals(&run.out.all()).len() >= round).then_some(())
        });
        // Room for one page: for clawinit's line or for one of the others.
        std::io::Read::read(&mut reader, &mut [0; 4096]).expect("read a page");
    }
    run.term();
    run.finish_with(4);
}

/// systemd.exec(5): JOURNAL_STREAM names the device and the inode of the journal's socket. It is
/// inherited by processes whose standard error is another.
pub fn a_stderr_that_is_the_journal_gets_priorities() {
    let run = |json: bool, named: fn(u64, u64) -> String| -> Vec<String> {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        let stat = nix::sys::stat::fstat(&theirs).expect("fstat");
        let init = if json { Init::new(&["-vv", "-w"]) } else { Init::plain(&["-vv", "-w"]) };
        let lines = Lines::read_from(ours);
        init.variable("JOURNAL_STREAM", &named(stat.st_dev, stat.st_ino))
            .variable("CLAWINIT_STOP_GRASE", "1s")
            .stderr(OwnedFd::from(theirs))
            .command(&["no-such-command"])
            .finish_with(127);
        lines.wait_end();
        let said = lines.all();
        assert!(said.len() > 3, "{said:?}");
        said
    };
    for json in [false, true] {
        for line in run(json, |device, inode| format!("{device}:{inode}")) {
            let (priority, text) = line.split_once('>').expect("a priority");
            assert!(text.starts_with(if json { "{\"ts\"" } else { "clawinit: " }), "{line}");
            let level = match priority {
                "<3" => "error",
                "<4" => "warn",
                "<6" => "info",
                "<7" => "",
                _ => panic!("{line}"),
            };
            if json && !level.is_empty() {
                assert!(text.contains(&format!("\"level\":\"{level}\"")), "{line}");
            }
            let unfound = text.contains("no-such-command: No such file");
            assert!(priority == "<3" || !unfound, "{line}");
            assert!(priority == "<4" || !text.contains("CLAWINIT_STOP_GRASE"), "{line}");
        }
        for other in [
            |device: u64, inode: u64| format!("{device}:{}", inode + 1),
            |device, inode| format!("{}:{inode}", device + 1),
            |_, inode: u64| inode.to_string(),
            |_, _| "x:y".to_string(),
            |_, _| String::new(),
        ] {
            for line in run(json, other) {
                assert!(!line.starts_with('<'), "{line}");
            }
        }
    }
}

/// Runs that come by every event that can be brought about: each line is as documented.
pub fn every_event_of_real_runs_fits_the_schema() {
    let schema = schema::load("log.schema.json");
    let folder = Folder::new();
    let port = free_port().to_string();
    let holder = format!("a:daemon:deaf:port={port}");
    let port = format!("--port={port}");
    let metrics = format!("--metrics-listen=127.0.0.1:{}", free_port());
    let mut seen = BTreeSet::new();
    let mut take = |done: Done| {
        for event in done.events("") {
            schema::holds(&schema, &event);
            seen.insert(event["event"].as_str().expect("a name").to_string());
        }
    };

    // Restarts by signal and by code, a fold, other signals, orphans, a port that stays taken.
    let run = Init::new(&["-vv", "-w", "--stable-after=1ms", "--stop-grace=300ms", &port])
        .variable("CLAWINIT_STOP_GRASE", "1s")
        .role(&[
            "generations",
            "1=burst,3,record",
            "2=record,exit=12:75",
            &format!("*=leave,{holder},--,record"),
        ]);
    run.ready_generation(1);
    run.signal(libc::SIGWINCH);
    run.signal(50);
    run.usr1();
    run.event("restart-requested", 1);
    run.usr1();
    run.event("request-folded", 1);
    run.ready_generation(2);
    run.signal(libc::SIGUSR2);
    run.ready_generation(3);
    run.term();
    take(run.finish_with(137));
    // Crashes to the limit; the report has nowhere to go.
    let log = format!("--termination-log={}", folder.word("no/such/folder"));
    let crashes = ["--restart=always", "--restart-delay=1ms", "--restart-limit=1/60s", &log];
    take(Init::new(&crashes).role(&["die", "11"]).finish_with(139));
    // A program that goes on without the child, and has to be killed.
    let run = Init::new(&["--exit-when=all", "--stop-grace=200ms"]).role(&[
        "leave",
        "a:daemon:deaf",
        "--",
        "exit",
        "0",
    ]);
    run.event("goes-on", 1);
    run.term();
    take(run.finish());
    // No command; a signal while nobody is there to have it.
    take(Init::new(&[]).command(&["no-such-command"]).finish_with(127));
    let run = Init::new(&["-v", "--restart=always", "--restart-delay=20s"]).role(&["exit", "1"]);
    run.event("restarting", 1);
    run.signal(libc::SIGUSR2);
    run.event("signal-dropped", 1);
    run.term();
    take(run.finish_with(1));
    // A port that is released, an exporter, a sweep.
    let run = Init::new(&["-v", &port, "--sweep-grace=100ms", &metrics])
        .role(&["leave", &holder, "--", "record", "exit=15:0"])
        .ready();
    run.event("exporter-started", 1);
    run.term();
    take(run.finish_with(0));
    // A full pipe.
    let (reader, writer) = std::io::pipe().expect("pipe");
    let filled = fill(&writer);
    let run = Init::new(&[]).stderr(writer).role(&["record", "exit=15:0"]).ready();
    let read = Lines::read_from(reader);
    run.until("the pipe to be empty", || (read.text().len() >= filled).then_some(()));
    run.term();
    let mut done = run.finish_with(0);
    read.wait_end();
    done.err = read.all().iter().map(|line| line.trim_start_matches('x').to_string()).collect();
    take(done);

    for event in [
        "child-exited",
        "escalated",
        "exiting",
        "exporter-started",
        "goes-on",
        "lines-dropped",
        "port-released",
        "reaped",
        "report-not-written",
        "request-folded",
        "restart-limit",
        "restart-requested",
        "restarting",
        "signal-dropped",
        "signal-forwarded",
        "signal-received",
        "start-failed",
        "started",
        "step",
        "stop-requested",
        "sweep",
        "told",
        "warning",
    ] {
        assert!(seen.contains(event), "no {event} in {seen:?}");
    }
}

/// The table, the schema and the code name the same events, and the same fields.
pub fn the_documented_events_are_those_of_the_code() {
    let page = std::fs::read_to_string(package().join("docs/log.md")).expect("docs/log.md");
    let rows = page.lines().skip_while(|line| !line.starts_with("| event |")).skip(2);
    let mut documented = BTreeSet::new();
    let schema = schema::load("log.schema.json");
    let alternatives = schema["oneOf"].as_array().expect("oneOf");
    // These are always text.
    let text_only = ["usage", "verb"];
    for row in rows.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let event = cells[1].trim_matches('`').to_string();
        if !text_only.contains(&event.as_str()) {
            let found = alternatives.iter().find(|a| a["properties"]["event"]["const"] == *event);
            let found = found.unwrap_or_else(|| panic!("{event} is not in the schema"));
            let fields = found["properties"].as_object().expect("properties").keys();
            for field in
                fields.filter(|f| !["ts", "level", "event", "message"].contains(&f.as_str()))
            {
                let told = cells[3].contains(&format!("`{field}`"))
                    || cells[3] == "the same" && field.starts_with(['s', 'd']);
                assert!(told, "{event}: {field} is not in its row: {row}");
            }
        }
        assert!(documented.insert(event), "twice: {row}");
    }
    for alternative in alternatives {
        let event = alternative["properties"]["event"]["const"].as_str().expect("a name");
        assert!(documented.contains(event), "{event} is in the schema only");
    }
    assert_eq!(documented, events_of_the_code(), "left: docs/log.md; right: src");
}

/// What stands where `Log::line` takes its event.
fn events_of_the_code() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![package().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a source file");
            let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
            let calls = ["log.line(", "log().line(", "self.write(", "self.requested("];
            for call in calls {
                for (at, _) in flat.match_indices(call) {
                    let arguments = &flat[at + call.len()..];
                    let Some((_, behind)) = arguments.split_once(", \"") else { continue };
                    let name = behind.split('"').next().expect("a name");
                    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
                    if plain && arguments.find(", \"") < Some(40) {
                        found.insert(name.to_string());
                    }
                }
            }
        }
    }
    found
}
