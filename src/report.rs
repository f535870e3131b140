//! Log lines and the termination report: what happened, for people and for programs.
//!
//! A line is built on the stack, written once, and dropped and counted where its reader is
//! behind: PID 1 never waits for whoever reads its log.

use crate::config::{Level, LogFormat, TerminationLog};
use crate::core::{Cause, End, State, Status};
use crate::kernel::descriptors::{self, File};
use crate::kernel::output::Output;
use crate::kernel::{Errno, clock};
use std::ffi::CStr;
use std::fmt::{self, Write};
use std::time::Duration;

/// A line and a report are at most this long: PIPE_BUF, so that a pipe takes a line whole or
/// not at all (pipe(7)), and what Kubernetes keeps of a termination message.
const MAX_BYTES: usize = 4096;

/// The longest name, sentence, message in JSON, and string in a field, in bytes; what is longer
/// is cut.
const MAX_NAME: usize = 64;
const MAX_TEXT: usize = 4000;
const MAX_MESSAGE: usize = 1400;
const MAX_STRING: usize = 400;

/// Where Kubernetes looks for a termination message.
const KUBERNETES: &CStr = c"/dev/termination-log";

/// The value of a field.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    /// A string.
    Text(&'a dyn fmt::Display),
    /// A whole number.
    Number(i64),
    /// A time, given in seconds.
    Seconds(Duration),
    /// True or false.
    Flag(bool),
    /// Nothing to say.
    Null,
    /// JSON, as it is.
    Json(&'a dyn fmt::Display),
}

/// A field of a JSON line or of the report.
pub type Field<'a> = (&'a str, Value<'a>);

/// The log on standard error.
pub struct Log {
    /// Lines above this level are not written.
    pub level: Level,
    /// Sentences or JSON.
    pub format: LogFormat,
    /// The name at the head of each line of text.
    pub name: &'static str,
    output: Output,
    dropped: u64,
    dropped_in_all: u64,
    /// Whether standard error is the journal's; not looked at before the first line.
    journal: Option<bool>,
    /// Where each line is put together: what the first one has touched serves the others.
    line: Option<Box<Buffer>>,
}

impl Log {
    /// Nothing is opened before the first line.
    pub fn new(name: &'static str, level: Level, format: LogFormat) -> Log {
        Log {
            level,
            format,
            name,
            output: Output::default(),
            dropped: 0,
            dropped_in_all: 0,
            journal: None,
            line: None,
        }
    }

    /// Whether lines of this level are written.
    pub fn wants(&self, level: Level) -> bool {
        level <= self.level
    }

    /// Writes a line if it is wanted. `event` and the fields are for programs, and do not change
    /// from one version to the next; `message` is for people.
    pub fn line(&mut self, level: Level, event: &str, message: fmt::Arguments, fields: &[Field]) {
        if !self.wants(level) {
            return;
        }
        if self.dropped > 0 {
            let count = self.dropped;
            let said = format_args!("{count} log lines dropped: nobody read them in time");
            let fields = [("count", Value::Number(count as i64))];
            if self.write(Level::Warn, "lines-dropped", said, &fields) {
                self.dropped = 0;
            }
        }
        if !self.write(level, event, message, fields) {
            self.dropped += 1;
            self.dropped_in_all += 1;
        }
    }

    /// Lines that could not be written so far and were not told of yet.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Lines that could not be written since it began.
    pub fn dropped_in_all(&self) -> u64 {
        self.dropped_in_all
    }

    /// Writes `text` as it is, once.
    pub fn raw(&mut self, text: &[u8]) {
        let _ = self.output.write(text);
    }

    /// Closes what it opened; the next line opens it again.
    pub fn close(&mut self) {
        self.output.close();
    }

    fn write(
        &mut self,
        level: Level,
        event: &str,
        message: fmt::Arguments,
        fields: &[Field],
    ) -> bool {
        let mut own = self.line.take().unwrap_or_default();
        let line = &mut *own;
        line.length = 0;
        if *self.journal.get_or_insert_with(descriptors::stderr_is_the_journal) {
            let _ = write!(line, "<{}>", priority(level));
        }
        self.put_together(line, level, event, message, fields);
        let written = self.output.write(line.as_bytes()).is_ok();
        self.line = Some(own);
        written
    }

    /// Adds a line to `line`, its end included.
    pub fn put_together(
        &self,
        line: &mut Buffer,
        level: Level,
        event: &str,
        message: fmt::Arguments,
        fields: &[Field],
    ) {
        match self.format {
            LogFormat::Text => {
                let _ = write!(Escaped::new(line, MAX_NAME, false), "{}", self.name);
                let _ = line.write_str(": ");
                let _ = write!(Escaped::new(line, MAX_TEXT, false), "{message}");
            }
            LogFormat::Json => {
                let name = level_name(level).to_str().unwrap_or_default();
                let _ = write!(line, "{{\"ts\":\"{}\",\"level\":\"{name}\"", Timestamp::now());
                let _ = write!(line, ",\"event\":\"{event}\",\"message\":\"");
                let _ = write!(Escaped::new(line, MAX_MESSAGE, true), "{message}");
                let _ = line.write_char('"');
                for field in fields {
                    let _ = line.write_char(',');
                    json_field(line, field);
                }
                let _ = line.write_char('}');
            }
        }
        let _ = line.write_char('\n');
    }
}

/// The word for a level, in the log and behind `--log-level`.
pub fn level_name(level: Level) -> &'static CStr {
    match level {
        Level::Error => c"error",
        Level::Warn => c"warn",
        Level::Info => c"info",
        Level::Debug => c"debug",
        Level::Trace => c"trace",
    }
}

/// The number of syslog(3) that the journal knows a level by (sd-daemon(3)).
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

fn json_field(line: &mut Buffer, (name, value): &Field) {
    let _ = write!(line, "\"{name}\":");
    let _ = match value {
        Value::Text(text) => {
            let _ = line.write_char('"');
            let _ = write!(Escaped::new(line, MAX_STRING, true), "{text}");
            line.write_char('"')
        }
        Value::Number(number) => write!(line, "{number}"),
        Value::Seconds(time) => write!(line, "{}.{:06}", time.as_secs(), time.subsec_micros()),
        Value::Flag(flag) => write!(line, "{flag}"),
        Value::Null => line.write_str("null"),
        Value::Json(json) => write!(line, "{json}"),
    };
}

/// Who asked for something, kept after they are gone.
#[derive(Clone, Copy)]
pub struct Asker {
    /// Its pid in this namespace, 0 for one outside; `None`: the kernel.
    pub pid: Option<i32>,
    /// Its user.
    pub uid: u32,
    command: [u8; Asker::KEPT],
    length: u8,
}

impl Asker {
    /// How many bytes of its command line are kept.
    pub const KEPT: usize = 160;

    /// A process and the beginning of its command line, its words separated by zero bytes as in
    /// `/proc/PID/cmdline`; or the kernel.
    pub fn new(pid: Option<i32>, uid: u32, command: &[u8]) -> Asker {
        let mut kept = [0; Asker::KEPT];
        let length = command.len().min(kept.len());
        kept[..length].copy_from_slice(&command[..length]);
        Asker { pid, uid, command: kept, length: length as u8 }
    }

    /// Its command line; empty where it could not be read.
    pub fn command(&self) -> Words<'_> {
        Words(self.bytes())
    }

    /// The same with zero bytes between its words.
    pub fn bytes(&self) -> &[u8] {
        &self.command[..usize::from(self.length)]
    }
}

impl fmt::Display for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            None => f.write_str("the kernel"),
            Some(0) => f.write_str("pid 0 (outside the container)"),
            Some(pid) if self.length == 0 => write!(f, "pid {pid} (uid {})", self.uid),
            Some(pid) => write!(f, "pid {pid} (uid {}: {})", self.uid, self.command()),
        }
    }
}

/// Words with zero bytes between them, shown with blanks.
pub struct Words<'a>(pub &'a [u8]);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0.strip_suffix(b"\0").unwrap_or(self.0);
        for (i, word) in whole.split(|b| *b == 0).enumerate() {
            if i > 0 {
                f.write_char(' ')?;
            }
            for chunk in word.utf8_chunks() {
                f.write_str(chunk.valid())?;
                if !chunk.invalid().is_empty() {
                    f.write_char(char::REPLACEMENT_CHARACTER)?;
                }
            }
        }
        Ok(())
    }
}

/// A command with its arguments, for a line.
pub struct Command(pub Vec<&'static CStr>);

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, word) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_char(' ')?;
            }
            write!(f, "{}", Words(word.to_bytes()))?;
        }
        Ok(())
    }
}

/// A time as people say it: `25 s`, `0.412 s`, `3 min`.
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        match ms {
            0 if !self.0.is_zero() => f.write_str("less than 1 ms"),
            0..1_000 => write!(f, "{ms} ms"),
            _ if ms.is_multiple_of(60_000) && ms >= 120_000 => write!(f, "{} min", ms / 60_000),
            _ if ms.is_multiple_of(1_000) => write!(f, "{} s", ms / 1_000),
            _ => write!(f, "{}.{:01} s", ms / 1_000, ms % 1_000 / 100),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Exited(code) => write!(f, "exited with {code}"),
            Status::Signaled { signal, core_dumped } => {
                write!(
                    f,
                    "was ended by {signal}{}",
                    if *core_dumped { " (core dumped)" } else { "" }
                )
            }
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cause::Signal => "signal",
            Cause::Code => "code",
            Cause::Crash => "crash",
        })
    }
}

/// What a child failed to do, so that it was asked to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It did not say in time that it is ready (`--start-grace`).
    NotReady,
    /// It gave no sign of life, or said itself that it has failed (`--watchdog`).
    Hung,
}

impl Fault {
    /// All of them; each one's place, plus one, is its number on the status page.
    pub const ALL: [Fault; 2] = [Fault::NotReady, Fault::Hung];

    /// In a word, for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Fault::NotReady => "not-ready",
            Fault::Hung => "watchdog",
        }
    }
}

/// What the termination report says beyond the state.
#[derive(Default)]
pub struct Story {
    /// Who asked for the stop.
    pub stopped_by: Option<Asker>,
    /// Who asked for the last restart by signal.
    pub restarted_by: Option<Asker>,
    /// Whether `--restart-limit` ended it.
    pub limit_reached: bool,
    /// Whether SIGKILL was needed.
    pub killed: bool,
    /// For which processes: the first few, by pid and name.
    pub victims: Vec<(i32, String)>,
    /// Whether the kernel's OOM killer ended the last generation.
    pub oom_killed: bool,
    /// What the last generation to fail had failed to do; whether that is the last one of all, the
    /// state knows.
    pub fault: Option<Fault>,
    /// How long the watched port stayed taken after the last request.
    pub port_release: Option<Duration>,
    /// Who held it still when it was last looked at.
    pub port_holder: Option<String>,
    /// Whether the platform's grace is shorter than ours.
    pub grace_does_not_fit: bool,
}

impl Story {
    /// Why clawinit ends, in a word.
    pub fn cause(&self, state: &State) -> &'static str {
        match state.last {
            _ if state.stop.is_some() => "stop",
            _ if self.limit_reached => "restart-limit",
            Some(End::NotStarted(_)) | None => "start-failed",
            Some(End::Reaped(_) | End::Survived) => {
                self.last_fault(state).map_or("child-exit", Fault::name)
            }
        }
    }

    /// What the last generation had failed to do, where it was asked to end for that.
    pub fn last_fault(&self, state: &State) -> Option<Fault> {
        let ran = !matches!(state.last, Some(End::NotStarted(_)));
        self.fault.filter(|_| state.failed && ran)
    }

    /// The termination report, at most 4,096 bytes of JSON.
    pub fn report(&self, state: &State, code: u8, now: Duration, dropped: u64) -> Buffer {
        let cause = self.cause(state);
        let (child_code, child_signal) = match state.last {
            Some(End::Reaped(Status::Exited(code))) => (Value::Number(code.into()), None),
            Some(End::Reaped(Status::Signaled { signal, .. })) => (Value::Null, Some(signal)),
            Some(End::NotStarted(_) | End::Survived) | None => (Value::Null, None),
        };
        let optional = |time: Option<Duration>| time.map_or(Value::Null, Value::Seconds);
        let [by_signal, by_code, by_crash] = state.restarts;
        let restarts =
            format!("{{\"signal\":{by_signal},\"code\":{by_code},\"crash\":{by_crash}}}");
        let sender =
            |asker: Option<Asker>| asker.map_or("null".to_owned(), |asker| sender_json(&asker));
        let (stopped_by, restarted_by) = (sender(self.stopped_by), sender(self.restarted_by));
        let victims = self.victims_json();
        let fault = self.last_fault(state).map(Fault::name);
        let fields = [
            ("version", Value::Text(&env!("CARGO_PKG_VERSION"))),
            ("cause", Value::Text(&cause)),
            ("exit_code", Value::Number(code.into())),
            ("child_exit_code", child_code),
            ("child_signal", child_signal.as_ref().map_or(Value::Null, |s| Value::Text(s))),
            ("sender", Value::Json(&stopped_by)),
            ("signal", state.stop.as_ref().map_or(Value::Null, |s| Value::Text(&s.signal))),
            ("killed", Value::Flag(self.killed)),
            ("killed_processes", Value::Json(&victims)),
            ("oom_killed", Value::Flag(self.oom_killed)),
            ("fault", fault.as_ref().map_or(Value::Null, |fault| Value::Text(fault))),
            ("generations", Value::Number(state.generation.into())),
            ("restarts", Value::Json(&restarts)),
            ("restart_sender", Value::Json(&restarted_by)),
            ("stop_seconds", optional(state.stop.map(|stop| now.saturating_sub(stop.at)))),
            ("port_release_seconds", optional(self.port_release)),
            ("port_holder", self.port_holder.as_ref().map_or(Value::Null, |h| Value::Text(h))),
            ("platform_grace_too_short", Value::Flag(self.grace_does_not_fit)),
            ("dropped_log_lines", Value::Number(dropped as i64)),
        ];
        let mut report = Buffer::new();
        for (i, field) in fields.iter().enumerate() {
            let _ = report.write_char(if i == 0 { '{' } else { ',' });
            json_field(&mut report, field);
        }
        let _ = report.write_str("}\n");
        report
    }

    fn victims_json(&self) -> String {
        let mut list = Buffer::new();
        for (i, (pid, name)) in self.victims.iter().enumerate() {
            let _ = write!(list, "{}{{\"pid\":{pid},\"name\":\"", if i == 0 { "[" } else { "," });
            let _ = write!(Escaped::new(&mut list, 96, true), "{name}");
            let _ = list.write_str("\"}");
        }
        let _ = list.write_str(if self.victims.is_empty() { "[]" } else { "]" });
        String::from_utf8_lossy(list.as_bytes()).into_owned()
    }
}

fn sender_json(asker: &Asker) -> String {
    let mut json = Buffer::new();
    let _ = match asker.pid {
        None => json.write_str("{\"pid\":null,\"uid\":null,\"command\":\""),
        Some(pid) => write!(json, "{{\"pid\":{pid},\"uid\":{},\"command\":\"", asker.uid),
    };
    let _ = write!(Escaped::new(&mut json, MAX_STRING, true), "{}", asker.command());
    let _ = json.write_str("\"}");
    String::from_utf8_lossy(json.as_bytes()).into_owned()
}

/// Whether Kubernetes, which makes its file before clawinit starts, wants a report.
pub fn kubernetes_wants_one() -> bool {
    descriptors::is_there(KUBERNETES)
}

/// Writes the report whole, in one call. A link in its place is not followed, a pipe without a
/// reader not waited for. EMLINK: the file has another name, and whoever made this one may want
/// that file to be written over, which only clawinit may do. `Ok(false)`: there is nowhere to
/// write it.
pub fn write_report(place: TerminationLog, report: &Buffer) -> Result<bool, Errno> {
    let flags = libc::O_WRONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = match place {
        TerminationLog::Off => return Ok(false),
        TerminationLog::IfPresent => match File::open(KUBERNETES, flags) {
            Ok(file) => file,
            Err(Errno(libc::ENOENT)) => return Ok(false),
            Err(errno) => return Err(errno),
        },
        TerminationLog::Path(path) => File::open(path, flags | libc::O_CREAT)?,
    };
    if file.has_another_name() {
        return Err(Errno(libc::EMLINK));
    }
    file.empty();
    match file.write(report.as_bytes()) {
        Ok(all) if all == report.as_bytes().len() => Ok(true),
        short => {
            file.empty(); // half a report would be worse than none
            Err(short.err().unwrap_or(Errno(libc::ENOSPC)))
        }
    }
}

/// Text of at most 4,096 bytes; the end of what does not fit is lost.
pub struct Buffer {
    bytes: [u8; MAX_BYTES],
    length: usize,
}

impl Buffer {
    /// Empty.
    pub fn new() -> Buffer {
        Buffer { bytes: [0; MAX_BYTES], length: 0 }
    }

    /// What is in it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Default for Buffer {
    fn default() -> Buffer {
        Buffer::new()
    }
}

impl Write for Buffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let space = &mut self.bytes[self.length..];
        let count = text.len().min(space.len());
        space[..count].copy_from_slice(&text.as_bytes()[..count]);
        self.length += count;
        Ok(())
    }
}

/// Whether a letter of somebody else's text could act on a terminal, begin another line, or show
/// other letters than there are: control characters, the separators of lines and paragraphs, and
/// the marks of direction and their like (CVE-2021-42574).
pub fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Passes text on with what [`misleads`] escaped, so that a name with a newline in it
/// cannot forge a line; in JSON also quotes and backslashes (RFC 8259). Cuts it to `left` bytes.
struct Escaped<'a> {
    to: &'a mut Buffer,
    left: usize,
    json: bool,
}

impl<'a> Escaped<'a> {
    fn new(to: &'a mut Buffer, most: usize, json: bool) -> Escaped<'a> {
        Escaped { to, left: most, json }
    }

    fn put(&mut self, piece: fmt::Arguments, length: usize) -> fmt::Result {
        if length > self.left {
            if self.left > 0 {
                self.to.write_str("...")?;
            }
            self.left = 0;
            return Ok(());
        }
        self.left -= length;
        self.to.write_fmt(piece)
    }
}

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Nearly always that is all of it.
        let plain = text.find(|c| misleads(c) || self.json && matches!(c, '"' | '\\'));
        let plain = plain.unwrap_or(text.len());
        let mut rest = text;
        if plain <= self.left {
            self.left -= plain;
            self.to.write_str(&text[..plain])?;
            rest = &text[plain..];
        }
        for c in rest.chars() {
            match c {
                '"' | '\\' if self.json => self.put(format_args!("\\{c}"), 2)?,
                c if misleads(c) => {
                    self.put(format_args!("\\u{:04x}", c as u32), 6)?;
                }
                c => self.put(format_args!("{c}"), c.len_utf8())?,
            }
        }
        Ok(())
    }
}

/// A moment since 1970-01-01 UTC, as RFC 3339 has it, to the millisecond.
pub struct Timestamp(pub Duration);

impl Timestamp {
    fn now() -> Timestamp {
        Timestamp(clock::realtime())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        // Count from 1 March of year 0, so that the leap day ends a year and 400 years a cycle.
        let days = days + 719_468;
        let (cycle, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        let year = cycle * 400 + year + next_year;
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        let ms = self.0.subsec_millis();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &str, most: usize, json: bool) -> String {
        let mut buffer = Buffer::new();
        write!(Escaped::new(&mut buffer, most, json), "{text}").unwrap();
        String::from_utf8(buffer.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn a_moment_reads_as_rfc_3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000Z"),
            (1_767_225_599, "2025-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Timestamp(Duration::from_secs(seconds)).to_string(), text);
        }
    }

    #[test]
    fn a_name_cannot_forge_a_line_or_break_json() {
        assert_eq!(escaped("a\nb\x1b\"\\é", 99, true), "a\\u000ab\\u001b\\\"\\\\é");
        assert_eq!(escaped("a\nb\"\\", 99, false), "a\\u000ab\"\\");
        // C1's own escape, a line's end to many readers, and a text that reads backwards.
        assert_eq!(escaped("a\u{9b}2J\u{2028}\u{202e}b", 99, false), "a\\u009b2J\\u2028\\u202eb");
    }

    #[test]
    fn long_text_is_cut_at_a_letter() {
        assert_eq!(escaped("ééé", 5, true), "éé...");
        assert_eq!(escaped("abc", 3, true), "abc");
    }

    #[test]
    fn a_full_buffer_keeps_what_fits() {
        let mut buffer = Buffer::new();
        for _ in 0..1000 {
            buffer.write_str("0123456789").unwrap();
        }
        assert_eq!(buffer.as_bytes().len(), MAX_BYTES);
    }

    #[test]
    fn times_are_said_as_people_say_them() {
        for (ms, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_000, "1 s"),
            (25_000, "25 s"),
            (25_349, "25.3 s"),
            (60_000, "60 s"),
            (120_000, "2 min"),
            (90_000, "90 s"),
        ] {
            assert_eq!(Span(Duration::from_millis(ms)).to_string(), text);
        }
        assert_eq!(Span(Duration::from_micros(300)).to_string(), "less than 1 ms");
    }
}
