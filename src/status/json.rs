//! The status as JSON: what `clawinit status --json` prints and the exporter serves. Its schema
//! is `docs/status.schema.json`; names do not change from one version to the next.

use super::Asked;
use super::read::{LastEnd, Request, Snapshot};
use crate::census::Census;
use crate::core::{End, Readiness, Status};
use crate::report::{Fault, Timestamp, Value, Words, misleads};
use crate::signal::Signal;
use std::fmt::{self, Write};
use std::time::Duration;

/// One object, without a newline in it. `now`: CLOCK_MONOTONIC. `census`: `None` where nobody
/// counted.
pub fn render(page: &Snapshot, census: Option<&Census>, now: Duration) -> String {
    let mut json = Json::object();
    json.put("version", Value::Text(&page.version));
    json.put("pid", Value::Number(page.pid.into()));
    json.put("phase", Value::Text(&page.phase_name()));
    json.put("phase_seconds", Value::Seconds(now.saturating_sub(page.phase_since)));
    json.put("generation", Value::Number(page.generation as i64));
    json.open("child", '{');
    json.put("pid", pid(page.child));
    json.put("command", Value::Text(&Words(&page.command)));
    let says = Some(&page.status_text).filter(|text| !text.is_empty() && page.child.is_some());
    json.put("status_text", says.map_or(Value::Null, |text| Value::Text(text)));
    json.close('}');
    let ready = page.ready();
    json.put("ready", ready.map_or(Value::Null, Value::Flag));
    json.put("readiness", Value::Text(&readiness(page.readiness)));
    let since = page.ready_since.filter(|_| ready == Some(true));
    json.put("ready_seconds", seconds(since.map(|since| now.saturating_sub(since))));
    put_fault(&mut json, page.fault);
    json.put("sockets", Value::Number(page.sockets as i64));
    json.put("uptime_seconds", Value::Seconds(now.saturating_sub(page.born)));
    json.put("started_at", Value::Text(&Timestamp(page.born_realtime)));
    let lived = page.child.map(|_| now.saturating_sub(page.generation_born));
    json.put("generation_uptime_seconds", seconds(lived));
    let [by_signal, by_code, by_crash] = page.restarts;
    json.open("restarts", '{');
    json.put("signal", Value::Number(by_signal as i64));
    json.put("code", Value::Number(by_code as i64));
    json.put("crash", Value::Number(by_crash as i64));
    json.close('}');
    json.put("crashes_in_a_row", Value::Number(page.crashes_in_a_row as i64));
    json.put("deadline_seconds", seconds(page.deadline.map(|at| at.saturating_sub(now))));
    match &page.last {
        Some(last) => last_exit(&mut json, last),
        None => json.put("last_exit", Value::Null),
    }
    json.put("exit_code", page.exit_code.map_or(Value::Null, |code| Value::Number(code.into())));
    json.put("leftovers", Value::Number(page.leftovers as i64));
    json.open("requests", '{');
    for (asked, last) in [(Asked::Stop, &page.stop), (Asked::Restart, &page.restart)] {
        json.open(asked.name(), '{');
        json.put("count", Value::Number(page.requests[asked as usize] as i64));
        json.put("in_time", Value::Number(page.requests_done[asked as usize] as i64));
        match last {
            Some(last) => request(&mut json, last, page),
            None => json.put("last", Value::Null),
        }
        json.close('}');
    }
    json.close('}');
    json.open("counters", '{');
    for (name, count) in [
        ("zombies_reaped", page.reaped),
        ("escalations", page.escalations),
        ("processes_killed", page.killed),
        ("processes_swept", page.swept),
        ("oom_kills", page.oom_kills),
        ("dropped_log_lines", page.dropped),
        ("start_timeouts", page.not_ready),
        ("watchdog_expired", page.hung),
        ("notifications_heard", page.notices.saturating_sub(page.notices_refused)),
        ("notifications_refused", page.notices_refused),
    ] {
        json.put(name, Value::Number(count as i64));
    }
    signals(&mut json, "signals_received", &page.received);
    signals(&mut json, "signals_forwarded", &page.forwarded);
    json.close('}');
    if page.exporter.is_none() && page.exporter_due.is_none() {
        json.put("exporter", Value::Null);
    } else {
        let due = page.exporter_due.map(|due| due.saturating_sub(now));
        json.open("exporter", '{');
        json.put("pid", pid(page.exporter));
        json.put("restarts", Value::Number(page.exporter_restarts as i64));
        json.put("again_in_seconds", due.map_or(Value::Null, Value::Seconds));
        json.close('}');
    }
    settings(&mut json, page);
    match census {
        Some(census) => take_in(&mut json, census),
        None => json.put("census", Value::Null),
    }
    json.end()
}

impl Snapshot {
    /// Its phase in a word.
    pub fn phase_name(&self) -> &'static str {
        self.phase.map_or("unknown", |phase| phase.name())
    }

    /// A time of its clock, since 1970-01-01 UTC.
    pub fn realtime(&self, at: Duration) -> Duration {
        self.born_realtime + at.saturating_sub(self.born)
    }
}

fn pid(pid: Option<i32>) -> Value<'static> {
    pid.map_or(Value::Null, |pid| Value::Number(pid.into()))
}

fn seconds(time: Option<Duration>) -> Value<'static> {
    time.map_or(Value::Null, Value::Seconds)
}

fn readiness(readiness: Readiness) -> &'static str {
    match readiness {
        Readiness::Unknown => "unknown",
        Readiness::NotYet => "not-yet",
        Readiness::Ready => "ready",
        Readiness::Reloading => "reloading",
        Readiness::Stopping => "stopping",
    }
}

fn put_fault(json: &mut Json, fault: Option<Fault>) {
    let name = fault.map(Fault::name);
    json.put("fault", name.as_ref().map_or(Value::Null, |name| Value::Text(name)));
}

fn last_exit(json: &mut Json, last: &LastEnd) {
    let (reason, code, signal, core_dumped) = match last.end {
        End::Reaped(Status::Exited(code)) => ("exited", Some(code), None, false),
        End::Reaped(Status::Signaled { signal, core_dumped }) => {
            ("signaled", None, Some(signal), core_dumped)
        }
        End::NotStarted(code) => ("not-started", Some(code), None, false),
        End::Survived => ("survived-kill", None, None, false),
    };
    json.open("last_exit", '{');
    json.put("generation", Value::Number(last.generation as i64));
    json.put("reason", Value::Text(&reason));
    json.put("code", code.map_or(Value::Null, |code| Value::Number(code.into())));
    json.put("signal", signal.as_ref().map_or(Value::Null, |signal| Value::Text(signal)));
    json.put("core_dumped", Value::Flag(core_dumped));
    json.put("oom_killed", Value::Flag(last.oom));
    put_fault(json, last.fault);
    json.put("lived_seconds", Value::Seconds(last.lived));
    json.put("at", Value::Text(&Timestamp(last.realtime)));
    json.close('}');
}

fn request(json: &mut Json, last: &Request, page: &Snapshot) {
    json.open("last", '{');
    json.put("signal", Value::Text(&last.signal));
    json.put("at", Value::Text(&Timestamp(page.realtime(last.at))));
    json.open("sender", '{');
    json.put("pid", pid(last.asker.pid));
    let uid = last.asker.pid.map_or(Value::Null, |_| Value::Number(last.asker.uid.into()));
    json.put("uid", uid);
    json.put("command", Value::Text(&last.asker.command()));
    json.close('}');
    json.close('}');
}

/// Those that came at all.
fn signals(json: &mut Json, name: &str, counts: &[u64]) {
    json.open(name, '{');
    for (number, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        if let Some(signal) = Signal::new(number as i32) {
            json.put(&signal.to_string(), Value::Number(*count as i64));
        }
    }
    json.close('}');
}

fn settings(json: &mut Json, page: &Snapshot) {
    json.open("settings", '{');
    json.put("stop_delay_seconds", Value::Seconds(page.stop_delay));
    json.put("stop_grace_seconds", Value::Seconds(page.stop_grace));
    json.put("restart_grace_seconds", Value::Seconds(page.restart_grace));
    json.put("stable_after_seconds", Value::Seconds(page.stable_after));
    json.put("start_grace_seconds", seconds(page.start_grace));
    json.put("watchdog_seconds", seconds(page.watchdog));
    let signal = |signal: &'_ Option<Signal>| match signal {
        Some(signal) => signal.to_string(),
        None => String::new(),
    };
    for (name, by) in [("stop_signal", &page.stop_by), ("restart_signal", &page.restart_by)] {
        let text = signal(by);
        json.put(name, if text.is_empty() { Value::Null } else { Value::Text(&text) });
    }
    json.put("port", page.port.map_or(Value::Null, |port| Value::Number(port.into())));
    json.close('}');
}

/// How many parents of zombies, and how many orphans, are listed: whoever asks the exporter again
/// and again must not get a megabyte each time.
const LISTED: usize = 64;

fn take_in(json: &mut Json, census: &Census) {
    json.open("census", '{');
    json.put("processes", Value::Number(census.processes as i64));
    let zombies: u64 = census.zombies.iter().map(|parent| parent.count).sum();
    json.put("zombie_count", Value::Number(zombies as i64));
    json.open("zombies", '[');
    for zombies in census.zombies.iter().take(LISTED) {
        json.item('{');
        json.put("parent", Value::Number(zombies.parent.into()));
        json.put("name", Value::Text(&zombies.name));
        json.put("count", Value::Number(zombies.count as i64));
        json.close('}');
    }
    json.close(']');
    json.put("orphan_count", Value::Number(census.orphans.len() as i64));
    json.open("orphans", '[');
    for orphan in census.orphans.iter().take(LISTED) {
        json.item('{');
        json.put("pid", Value::Number(orphan.pid.into()));
        json.put("name", Value::Text(&orphan.name));
        json.put("age_seconds", Value::Seconds(orphan.age));
        json.put("resident_bytes", Value::Number(orphan.resident_bytes as i64));
        json.close('}');
    }
    json.close(']');
    let count = |count: Option<u64>| count.map_or(Value::Null, |n| Value::Number(n as i64));
    json.put("pids_current", count(census.pids_current));
    json.put("pids_max", count(census.pids_max));
    json.close('}');
}

/// JSON being written: commas are put where they belong, strings are escaped.
pub struct Json(String);

impl Json {
    /// An object that has begun.
    pub fn object() -> Json {
        Json(String::from("{"))
    }

    /// The object, closed.
    pub fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }

    /// A member of the object that is open.
    pub fn put(&mut self, name: &str, value: Value) {
        self.name(name);
        let _ = match value {
            Value::Text(text) => {
                self.0.push('"');
                let _ = write!(Escaped(&mut self.0), "{text}");
                self.0.push('"');
                Ok(())
            }
            Value::Number(number) => write!(self.0, "{number}"),
            Value::Seconds(time) => {
                write!(self.0, "{}.{:06}", time.as_secs(), time.subsec_micros())
            }
            Value::Flag(flag) => write!(self.0, "{flag}"),
            Value::Null => self.0.write_str("null"),
            Value::Json(json) => write!(self.0, "{json}"),
        };
    }

    /// Begins an object (`{`) or a list (`[`) in the object that is open.
    pub fn open(&mut self, name: &str, bracket: char) {
        self.name(name);
        self.0.push(bracket);
    }

    /// Begins one in the list that is open.
    pub fn item(&mut self, bracket: char) {
        self.comma();
        self.0.push(bracket);
    }

    /// Ends what was begun last, by its bracket.
    pub fn close(&mut self, bracket: char) {
        self.0.push(bracket);
    }

    fn name(&mut self, name: &str) {
        self.comma();
        self.0.push('"');
        self.0.push_str(name);
        self.0.push_str("\":");
    }

    fn comma(&mut self) {
        if !self.0.ends_with(['{', '[']) {
            self.0.push(',');
        }
    }
}

/// A string of JSON (RFC 8259); what else a terminal might act on is escaped too.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '"' | '\\' => {
                    self.0.push('\\');
                    self.0.push(c);
                }
                c if misleads(c) => write!(self.0, "\\u{:04x}", c as u32)?,
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_commas_are_as_json_has_them() {
        let mut json = Json::object();
        json.put("a", Value::Text(&"x\"\\\n\u{9b}é"));
        json.open("list", '[');
        for _ in 0..2 {
            json.item('{');
            json.put("n", Value::Number(-1));
            json.put("s", Value::Seconds(Duration::from_millis(1_050)));
            json.close('}');
        }
        json.close(']');
        json.open("empty", '{');
        json.close('}');
        json.put("last", Value::Null);
        assert_eq!(
            json.end(),
            r#"{"a":"x\"\\\u000a\u009bé","list":[{"n":-1,"s":1.050000},{"n":-1,"s":1.050000}],"empty":{},"last":null}"#
        );
    }
}
