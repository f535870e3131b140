//! The status for people: what one wants to know at three in the morning, most important first.

use super::Phase;
use super::read::{LastEnd, Request, Snapshot};
use crate::census::Census;
use crate::core::{End, Readiness};
use crate::report::{Fault, Span, Words, misleads};
use crate::signal::Signal;
use std::fmt::{self, Write};
use std::time::Duration;

/// How wide a line may be.
pub const WIDTH: usize = 80;

/// Where the words of a line begin, behind its label.
const INDENT: usize = 11;

/// How many lines a text of others may take.
const LINES: usize = 3;

/// How many parents with zombies, and how many orphans, are named.
const NAMED: usize = 3;

/// The status, in lines of at most `width`. `now`: CLOCK_MONOTONIC.
pub fn render(page: &Snapshot, census: Option<&Census>, now: Duration, width: usize) -> String {
    let mut text = Lines { text: String::new(), width: width.max(40) };
    text.line("phase", &phase(page, now));
    match page.child {
        Some(pid) => text.line(
            "child",
            &format!(
                "pid {pid}, generation {}, up {}",
                page.generation,
                Age(now.saturating_sub(page.generation_born))
            ),
        ),
        None if page.generation == 0 => text.line("child", "none has started yet"),
        None => text.line("child", &format!("none; generation {} was the last", page.generation)),
    }
    text.line("command", &Words(&page.command).to_string());
    own_word(&mut text, page, now);
    if let Some(last) = &page.last {
        text.line("last exit", &last_exit(page, last, now));
    }
    for (label, request) in [("stop", &page.stop), ("restart", &page.restart)] {
        if let Some(request) = request {
            text.line(label, &asked(request, now));
        }
    }
    let [by_signal, by_code, by_crash] = page.restarts;
    let mut restarts =
        format!("{by_signal} by signal, {by_code} by exit code, {by_crash} by crash");
    if page.crashes_in_a_row > 0 {
        let _ =
            write!(restarts, "; {} in a row", counted(page.crashes_in_a_row, "crash", "crashes"));
    }
    text.line("restarts", &restarts);
    let mut killed = Vec::new();
    if page.escalations > 0 || page.killed > 0 {
        killed.push(format!(
            "{} with SIGKILL, at {}",
            counted(page.killed, "process", "processes"),
            counted(page.escalations, "deadline", "deadlines")
        ));
    }
    if page.oom_kills > 0 {
        let children = counted(page.oom_kills, "child", "children");
        killed.push(format!("{children} by the kernel, out of memory"));
    }
    if !killed.is_empty() {
        text.line("killed", &killed.join("; "));
    }
    if page.leftovers > 0 || page.swept > 0 {
        let mut swept =
            format!("{} that the child left", counted(page.swept, "process", "processes"));
        if page.leftovers > 0 {
            let _ = write!(swept, ", {} still here", page.leftovers);
        }
        text.line("swept", &swept);
    }
    if let Some(census) = census {
        take_in(&mut text, census);
    }
    let mut signals = String::new();
    for (number, count) in page.received.iter().enumerate().filter(|(_, count)| **count > 0) {
        if let Some(signal) = Signal::new(number as i32) {
            let comma = if signals.is_empty() { "" } else { ", " };
            let _ = write!(signals, "{comma}{count} {signal}");
        }
    }
    if !signals.is_empty() {
        text.line("signals", &signals);
    }
    if page.dropped > 0 {
        let lines = counted(page.dropped, "line", "lines");
        text.line("log", &format!("{lines} lost: nobody read them in time"));
    }
    let again = match page.exporter_restarts {
        0 => String::new(),
        n => format!(", started again {}", counted(n, "time", "times")),
    };
    match (page.exporter, page.exporter_due) {
        (Some(pid), _) => text.line("exporter", &format!("pid {pid}{again}")),
        (None, Some(due)) => {
            let left = Age(due.saturating_sub(now));
            text.line("exporter", &format!("down, the next try in {left}{again}; see the log"));
        }
        (None, None) => {}
    }
    let up = Age(now.saturating_sub(page.born));
    text.line("clawinit", &format!("{}, pid {}, up {up}", page.version, page.pid));
    text.text
}

/// What the child says of itself, and what it was given to serve with.
fn own_word(text: &mut Lines, page: &Snapshot, now: Duration) {
    if page.phase == Some(Phase::Running) && page.readiness != Readiness::Unknown {
        text.line("ready", &readiness(page, now));
    }
    if page.watchdog.is_some() || page.hung > 0 {
        let mut watchdog = match page.watchdog {
            Some(time) => format!("a sign of life is due every {}", Span(time)),
            None => "none".to_owned(),
        };
        if page.hung > 0 {
            let count = counted(page.hung, "generation", "generations");
            let _ = write!(watchdog, "; {count} hung so far");
        }
        text.line("watchdog", &watchdog);
    }
    if !page.status_text.is_empty() && page.child.is_some() {
        text.line("says", &page.status_text);
    }
    if page.sockets > 0 {
        text.line("sockets", &format!("{} of --listen", page.sockets));
    }
    if page.notices_refused > 0 {
        let refused = counted(page.notices_refused, "notification", "notifications");
        text.line("refused", &format!("{refused}: the sender does not speak for the child"));
    }
}

fn readiness(page: &Snapshot, now: Duration) -> String {
    let mut ready = match page.readiness {
        Readiness::Ready => {
            let since = page.ready_since.unwrap_or(page.generation_born);
            format!("for {}", Age(now.saturating_sub(since)))
        }
        Readiness::NotYet => match page.start_grace {
            Some(grace) => {
                let left = (page.generation_born + grace).saturating_sub(now);
                format!("not yet; {} left of --start-grace {}", Age(left), Span(grace))
            }
            None => "not yet".to_owned(),
        },
        Readiness::Reloading => "not now; it starts anew inside its own process".to_owned(),
        Readiness::Stopping => "no more; it says that it is about to end".to_owned(),
        Readiness::Unknown => "nobody says".to_owned(),
    };
    if page.not_ready > 0 {
        let count = counted(page.not_ready, "generation", "generations");
        let _ = write!(ready, "; {count} not in time so far");
    }
    ready
}

/// What a generation failed to do, as half a sentence.
pub fn fault(fault: Fault) -> &'static str {
    match fault {
        Fault::NotReady => "it was not ready in time (--start-grace)",
        Fault::Hung => "it hung (--watchdog)",
    }
}

/// The phase, and what comes next.
pub fn phase(page: &Snapshot, now: Duration) -> String {
    let name = page.phase_name();
    let since = Age(now.saturating_sub(page.phase_since));
    match page.phase {
        Some(Phase::Exited) => match page.exit_code {
            Some(code) => format!("{name} with {code}"),
            None => name.to_owned(),
        },
        Some(Phase::Starting) => name.to_owned(),
        Some(Phase::Running) => format!("{name} for {since}"),
        Some(
            Phase::Stopping | Phase::Restarting | Phase::Failing | Phase::Sweeping | Phase::Backoff,
        )
        | None => {
            let why = page.fault.map(|why| format!(": {}", fault(why))).unwrap_or_default();
            match next(page, now) {
                Some(next) => format!("{name} for {since}{why}, {next}"),
                None => format!("{name} for {since}{why}"),
            }
        }
    }
}

/// What the deadline will bring.
pub fn next(page: &Snapshot, now: Duration) -> Option<String> {
    let left = Age(page.deadline?.saturating_sub(now));
    match page.phase? {
        Phase::Stopping | Phase::Restarting | Phase::Failing if sigkill_follows(page) => {
            let extended = if page.extended() { " (more time, as the child asked)" } else { "" };
            Some(format!("SIGKILL in {left}{extended}"))
        }
        Phase::Stopping | Phase::Restarting | Phase::Failing => {
            Some(format!("SIGKILL sent, {left} left"))
        }
        Phase::Backoff => Some(format!("the next generation in {left}")),
        Phase::Sweeping => Some(format!("{left} left for what the child left")),
        Phase::Starting | Phase::Running | Phase::Exited => None,
    }
}

/// Whether the deadline of a stop or restart is that of SIGKILL, and not yet that of the wait for
/// its effect.
pub fn sigkill_follows(page: &Snapshot) -> bool {
    if let Some(sent) = page.kill_sent {
        return !sent;
    }
    // A page of minor 0 does not say so.
    let (request, grace) = match page.phase {
        Some(Phase::Stopping) => (&page.stop, page.stop_delay + page.stop_grace),
        Some(Phase::Restarting) => (&page.restart, page.restart_grace),
        _ => return false,
    };
    page.deadline.zip(request.as_ref()).is_some_and(|(at, asked)| at <= asked.at + grace)
}

/// How a generation ended, as half a sentence.
pub fn ended(last: &LastEnd) -> String {
    let mut text = match last.end {
        End::Reaped(status) => status.to_string(),
        End::NotStarted(code) => format!("could not be started ({code})"),
        End::Survived => "did not end even of SIGKILL".to_owned(),
    };
    if last.oom {
        text.push_str(", out of memory");
    }
    if matches!(last.end, End::Reaped(_)) {
        let _ = write!(text, " after {}", Age(last.lived));
    }
    if let Some(why) = last.fault {
        let _ = write!(text, ": {}", fault(why));
    }
    text
}

fn last_exit(page: &Snapshot, last: &LastEnd, now: Duration) -> String {
    let ago = page.realtime(now).saturating_sub(last.realtime);
    format!("{} ago: generation {} {}", Age(ago), last.generation, ended(last))
}

fn asked(request: &Request, now: Duration) -> String {
    let ago = Age(now.saturating_sub(request.at));
    format!("{ago} ago: {} by {}", request.signal, request.asker)
}

fn take_in(text: &mut Lines, census: &Census) {
    let zombies: u64 = census.zombies.iter().map(|z| z.count).sum();
    let mut processes = census.processes.to_string();
    let _ = write!(processes, ", {}", counted(zombies, "zombie", "zombies"));
    let _ = write!(processes, ", {}", counted(census.orphans.len() as u64, "orphan", "orphans"));
    match (census.pids_current, census.pids_max) {
        (Some(now), Some(max)) => {
            let _ = write!(processes, "; {now} of {max} pids");
        }
        (Some(now), None) => {
            let _ = write!(processes, "; {}", counted(now, "pid", "pids"));
        }
        (None, _) => {}
    }
    text.line("processes", &processes);
    for zombies in census.zombies.iter().take(NAMED) {
        let line = format!(
            "{} of pid {} ({}), which does not wait for {}",
            counted(zombies.count, "zombie", "zombies"),
            zombies.parent,
            zombies.name,
            if zombies.count == 1 { "it" } else { "them" }
        );
        text.line("", &line);
    }
    text.more(census.zombies.len(), "parents with zombies");
    for orphan in census.orphans.iter().take(NAMED) {
        let line = format!(
            "orphan pid {} ({}), up {}, {}",
            orphan.pid,
            orphan.name,
            Age(orphan.age),
            Size(orphan.resident_bytes)
        );
        text.line("", &line);
    }
    text.more(census.orphans.len(), "orphans");
}

/// Lines with a label, broken where they are too long.
struct Lines {
    text: String,
    width: usize,
}

impl Lines {
    fn line(&mut self, label: &str, what: &str) {
        let room = self.width - INDENT;
        let clean = clean(what);
        let mut label = label;
        for (number, line) in broken(&clean, room).into_iter().enumerate() {
            if number == LINES {
                // Whoever wants it whole has --json.
                self.text.truncate(self.text.trim_end().len());
                let last = self.text.rfind('\n').map_or(0, |end| end + 1);
                let long = self.text[last..].chars().count() + 4 > self.width;
                if long {
                    let cut = self.text.char_indices().rev().nth(3).map_or(0, |(at, _)| at);
                    self.text.truncate(self.text[..cut].trim_end().len());
                }
                self.text.push_str(" ...\n");
                break;
            }
            let _ = writeln!(self.text, "{label:<INDENT$}{line}");
            label = "";
        }
    }

    fn more(&mut self, count: usize, what: &str) {
        if count > NAMED {
            self.line("", &format!("and {} more {what}", count - NAMED));
        }
    }
}

/// Broken at blanks, and where there are none in the midst of a word.
fn broken(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut length = 0;
    for word in text.split(' ') {
        let mut word = word;
        let letters = word.chars().count();
        if length > 0 && length + 1 + letters > room {
            lines.push(String::new());
            length = 0;
        }
        if length > 0 {
            if let Some(line) = lines.last_mut() {
                line.push(' ');
            }
            length += 1;
        }
        loop {
            let cut = word.char_indices().nth(room - length).map_or(word.len(), |(at, _)| at);
            if let Some(line) = lines.last_mut() {
                line.push_str(&word[..cut]);
            }
            length += word[..cut].chars().count();
            word = &word[cut..];
            if word.is_empty() {
                break;
            }
            lines.push(String::new());
            length = 0;
        }
    }
    lines
}

/// Text of others without what would act on a terminal or begin a line of its own.
pub fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if misleads(c) {
            let _ = write!(clean, "\\u{:04x}", c as u32);
        } else {
            clean.push(c);
        }
    }
    clean
}

/// `1 crash`, `2 crashes`.
fn counted(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

/// A time that may be long: `45 ms`, `12.3 s`, `5 min 3 s`, `2 h 5 min`, `3 d 4 h`.
pub struct Age(pub Duration);

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (big, small, of) = match seconds {
            0..60 => return write!(f, "{}", Span(self.0)),
            60..3_600 => ((60, "min"), (1, "s"), 60),
            3_600..86_400 => ((3_600, "h"), (60, "min"), 60),
            _ => ((86_400, "d"), (3_600, "h"), 24),
        };
        write!(f, "{} {}", seconds / big.0, big.1)?;
        match seconds / small.0 % of {
            0 => Ok(()),
            rest => write!(f, " {rest} {}", small.1),
        }
    }
}

/// Memory: `812 KiB`, `1.2 MiB`.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kib = self.0 / 1024;
        match kib {
            0..1024 => write!(f, "{kib} KiB"),
            1024..1_048_576 => write!(f, "{}.{} MiB", kib / 1024, kib % 1024 * 10 / 1024),
            _ => write!(f, "{}.{} GiB", kib >> 20, (kib >> 10) % 1024 * 10 / 1024),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_times_are_said_in_two_units() {
        for (seconds, text) in [
            (59, "59 s"),
            (60, "1 min"),
            (303, "5 min 3 s"),
            (3_600, "1 h"),
            (7_500, "2 h 5 min"),
            (86_399, "23 h 59 min"),
            (273_600, "3 d 4 h"),
        ] {
            assert_eq!(Age(Duration::from_secs(seconds)).to_string(), text);
        }
        assert_eq!(Age(Duration::from_millis(12_345)).to_string(), "12.3 s");
    }

    #[test]
    fn lines_are_broken_at_blanks_and_cut_at_the_third() {
        let mut lines = Lines { text: String::new(), width: 40 };
        lines.line("command", "/bin/sh -c a b\nc");
        lines.line("", &"x".repeat(40));
        lines.line("long", &"word ".repeat(40));
        lines.line("longer", &"y".repeat(100));
        let expected = "command    /bin/sh -c a b\\u000ac\n           \
                        xxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n           xxxxxxxxxxx\n\
                        long       word word word word word word\n           \
                        word word word word word word\n           \
                        word word word word word ...\n\
                        longer     yyyyyyyyyyyyyyyyyyyyyyyyyyyyy\n           \
                        yyyyyyyyyyyyyyyyyyyyyyyyyyyyy\n           \
                        yyyyyyyyyyyyyyyyyyyyyyyyy ...\n";
        assert_eq!(lines.text, expected, "{}", lines.text);
        assert!(lines.text.lines().all(|line| line.chars().count() <= 40), "{}", lines.text);
    }

    /// Whoever makes a page of that name decides what is on it.
    #[test]
    fn a_page_of_anything_is_shown_in_80_columns_and_as_json() {
        use crate::status::layout as at;
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        // Miri takes seconds for each.
        for round in 0..if cfg!(miri) { 2 } else { 2_000 } {
            let mut words: Vec<u64> = (0..at::USED)
                .map(|_| if random() % 2 == 0 { random() } else { random() % 70 })
                .collect();
            words[at::MAGIC.at] = at::MAGIC_VALUE;
            words[at::LAYOUT.at] = at::MAJOR << 48 | (at::USED * 8) as u64;
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            let page = crate::status::read::parse(&bytes).ok().unwrap();
            let now = Duration::from_nanos(random());
            let width = 40 + (random() % 41) as usize;
            let text = render(&page, None, now, width);
            for line in text.lines() {
                assert!(line.chars().count() <= width, "round {round}, {width}: {line:?}");
                assert!(!line.contains(char::is_control), "round {round}: {line:?}");
            }
            let json = crate::status::json::render(&page, None, now);
            let parsed = serde_json::from_str::<serde_json::Value>(&json);
            assert!(parsed.is_ok(), "round {round}: {parsed:?}: {json}");
        }
    }

    #[test]
    fn text_of_others_acts_on_no_terminal() {
        assert_eq!(clean("a\x1b[2J\r\u{9b}\u{202e}é"), "a\\u001b[2J\\u000d\\u009b\\u202eé");
    }

    #[test]
    fn sizes_are_said_in_the_next_unit() {
        assert_eq!(Size(831_488).to_string(), "812 KiB");
        assert_eq!(Size(1_300_000).to_string(), "1.2 MiB");
        assert_eq!(Size(3 << 30).to_string(), "3.0 GiB");
    }
}
