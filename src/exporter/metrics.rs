//! The metrics, in Prometheus' text format 0.0.4 and in OpenMetrics 1.0. `docs/metrics.md` lists
//! them; a test holds the two to each other.

use super::answers::runs;
use super::source::Counted;
use crate::census::{Census, Zombies};
use crate::core::{Cause, End, Status};
use crate::signal::Signal;
use crate::status::read::{Histogram, Snapshot};
use crate::status::{Asked, BOUNDS_MS, Phase, Timed};
use std::fmt::{self, Display, Write};
use std::time::Duration;

/// How many parents of zombies are named.
const MOST_PARENTS: usize = 10;

/// Signals whose counts are there from the beginning, so that the first one is an increase.
const USUAL: [Signal; 4] = [Signal::HUP, Signal::INT, Signal::USR1, Signal::TERM];

/// The two formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Format {
    Plain,
    OpenMetrics,
}

impl Format {
    /// Its media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Format::Plain => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// All metrics as of `now` (CLOCK_MONOTONIC).
pub fn text(page: &Snapshot, counted: &Counted, now: Duration, format: Format) -> String {
    let mut text = Text { format, name: "", out: String::with_capacity(16 * 1024) };
    text.family("clawinit_build", Kind::Info, "The version of clawinit that runs.");
    text.sample("_info", &[("version", &page.version)], Number::Count(1));
    life(&mut text, page, now);
    counts(&mut text, page);
    requests(&mut text, page, now);
    last_exit(&mut text, page);
    for timed in Timed::ALL {
        histogram(&mut text, timed, &page.histograms[timed as usize]);
    }
    if let (Some(port), Some(held)) = (page.port, counted.port_held) {
        let help = "Whether somebody listens on the port of --port.";
        text.family("clawinit_port_held", Kind::Gauge, help);
        text.sample("", &[("port", &port)], Number::Count(held.into()));
    }
    if let Ok(census) = &counted.census {
        people(&mut text, census);
    }
    if format == Format::OpenMetrics {
        text.out.push_str("# EOF\n");
    }
    text.out
}

fn life(text: &mut Text, page: &Snapshot, now: Duration) {
    text.family("clawinit_phase", Kind::Gauge, "1 for the phase that clawinit is in.");
    for phase in Phase::ALL {
        let is = page.phase == Some(phase);
        text.sample("", &[("phase", &phase.name())], Number::Count(is.into()));
    }
    let help = "Whether the child lives.";
    text.gauge("clawinit_child_running", help, Number::Count(page.child.is_some().into()));
    let help = "Which generation of the child lives or lived last, from 1.";
    text.gauge("clawinit_generation", help, Number::Count(page.generation));
    let help = "When clawinit started, since 1970-01-01 UTC.";
    text.gauge("clawinit_start_time_seconds", help, Number::Seconds(page.born_realtime));
    let help = "How long clawinit has run.";
    let uptime = now.saturating_sub(page.born);
    text.gauge("clawinit_uptime_seconds", help, Number::Seconds(uptime));
    let help = "How long the generation has run; 0 while none runs.";
    let uptime = if runs(page) { now.saturating_sub(page.generation_born) } else { Duration::ZERO };
    text.gauge("clawinit_generation_uptime_seconds", help, Number::Seconds(uptime));
}

fn counts(text: &mut Text, page: &Snapshot) {
    text.family("clawinit_restarts", Kind::Counter, "Restarts that came to a new generation.");
    for cause in [Cause::Signal, Cause::Code, Cause::Crash] {
        let count = page.restarts[cause as usize];
        text.sample("_total", &[("cause", &cause)], Number::Count(count));
    }
    let help = "Crashes since the last generation that lived --stable-after.";
    text.gauge("clawinit_crashes_in_a_row", help, Number::Count(page.crashes_in_a_row));
    let help = "Signals that clawinit received, but SIGCHLD.";
    signals(text, "clawinit_signals_received", help, &page.received);
    let help = "Signals that clawinit forwarded, by the signal that it received.";
    signals(text, "clawinit_signals_forwarded", help, &page.forwarded);
    for (name, help, count) in [
        ("clawinit_zombies_reaped", "Processes reaped that were not the child.", page.reaped),
        (
            "clawinit_escalations",
            "Deadlines that passed, so that SIGKILL was sent.",
            page.escalations,
        ),
        ("clawinit_processes_killed", "Processes that got SIGKILL from clawinit.", page.killed),
        (
            "clawinit_leftovers_swept",
            "Processes that the child left and that were told to end.",
            page.swept,
        ),
        ("clawinit_oom_kills", "Generations that the kernel's OOM killer ended.", page.oom_kills),
        ("clawinit_log_lines_dropped", "Log lines that nobody read in time.", page.dropped),
        (
            "clawinit_exporter_restarts",
            "How often the exporter was started again.",
            page.exporter_restarts,
        ),
    ] {
        text.family(name, Kind::Counter, help);
        text.sample("_total", &[], Number::Count(count));
    }
    let help = "Leftovers told to end that have not ended yet.";
    text.gauge("clawinit_leftovers", help, Number::Count(page.leftovers));
}

fn signals(text: &mut Text, name: &'static str, help: &str, counts: &[u64]) {
    text.family(name, Kind::Counter, help);
    for (number, count) in counts.iter().enumerate() {
        if let Some(signal) = Signal::new(number as i32)
            && (*count > 0 || USUAL.contains(&signal))
        {
            text.sample("_total", &[("signal", &signal)], Number::Count(*count));
        }
    }
}

fn requests(text: &mut Text, page: &Snapshot, now: Duration) {
    let in_time = "Requests done in their grace, without SIGKILL.";
    for (name, help, counts) in [
        (
            "clawinit_requests",
            "Stop and restart requests by signal that were acted on.",
            page.requests,
        ),
        ("clawinit_requests_in_time", in_time, page.requests_done),
    ] {
        text.family(name, Kind::Counter, help);
        for asked in Asked::ALL {
            let count = Number::Count(counts[asked as usize]);
            text.sample("_total", &[("request", &asked.name())], count);
        }
    }
    if let Some(deadline) = page.deadline {
        let left = deadline.saturating_sub(now);
        let help = "Time left until SIGKILL, or in backoff until the next generation.";
        text.gauge("clawinit_deadline_seconds", help, Number::Seconds(left));
    }
    let (stop, restart) = under_way(page);
    if let Some(at) = stop {
        let took = now.saturating_sub(at);
        let help = "Time since the stop request that is under way.";
        text.gauge("clawinit_stop_elapsed_seconds", help, Number::Seconds(took));
    }
    if let Some(at) = restart {
        let took = now.saturating_sub(at);
        let help = "Time since the restart request that is under way.";
        text.gauge("clawinit_restart_elapsed_seconds", help, Number::Seconds(took));
    }
}

/// When the stop and the restart came that are under way.
fn under_way(page: &Snapshot) -> (Option<Duration>, Option<Duration>) {
    let stop = page.stop.map(|stop| stop.at);
    // One of this generation; an older one led to it, and is done.
    let restart = page.restart.map(|r| r.at).filter(|at| *at >= page.generation_born);
    match page.phase {
        Some(Phase::Stopping) => (stop, None),
        Some(Phase::Restarting) => (None, restart),
        Some(Phase::Sweeping) => (stop, restart.filter(|_| stop.is_none())),
        Some(Phase::Starting | Phase::Running | Phase::Backoff | Phase::Exited) | None => {
            (None, None)
        }
    }
}

fn last_exit(text: &mut Text, page: &Snapshot) {
    let Some(last) = page.last else { return };
    let code = match last.end {
        End::Reaped(Status::Exited(code)) | End::NotStarted(code) => u64::from(code),
        End::Reaped(Status::Signaled { signal, .. }) => 128 + signal.number() as u64,
        End::Survived => 128 + Signal::KILL.number() as u64,
    };
    let help = "How the last generation ended: its exit code, or 128 + the signal that ended it.";
    text.gauge("clawinit_last_exit_code", help, Number::Count(code));
    let help = "When the last generation ended, since 1970-01-01 UTC.";
    text.gauge("clawinit_last_exit_timestamp_seconds", help, Number::Seconds(last.realtime));
}

fn histogram(text: &mut Text, timed: Timed, histogram: &Histogram) {
    let (name, help) = match timed {
        Timed::Stop => ("clawinit_stop_duration_seconds", "From a stop request to clawinit's end."),
        Timed::Restart => (
            "clawinit_restart_duration_seconds",
            "From a restart request, or from the exit with a restart code, to the next generation.",
        ),
        Timed::FirstSignal => (
            "clawinit_time_to_first_signal_seconds",
            "From a stop or restart request to the signal that told the child.",
        ),
        Timed::PortRelease => (
            "clawinit_port_release_seconds",
            "From a stop or restart request to the port of --port being free.",
        ),
    };
    text.family(name, Kind::Histogram, help);
    let mut total = 0u64;
    for (bound, count) in BOUNDS_MS.into_iter().map(Some).chain([None]).zip(histogram.buckets) {
        total = total.saturating_add(count);
        text.sample("_bucket", &[("le", &Bound(bound))], Number::Count(total));
    }
    text.sample("_sum", &[], Number::Seconds(histogram.sum));
    text.sample("_count", &[], Number::Count(total));
}

/// A bucket's upper bound, as both formats have it in common: `0.005`, `10.0`, `+Inf`.
struct Bound(Option<u64>);

impl Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("+Inf"),
            Some(ms) => {
                let digits = format!("{:03}", ms % 1000);
                let digits = digits.trim_end_matches('0');
                write!(f, "{}.{}", ms / 1000, if digits.is_empty() { "0" } else { digits })
            }
        }
    }
}

fn people(text: &mut Text, census: &Census) {
    let help = "Processes in clawinit's PID namespace, zombies among them.";
    text.gauge("clawinit_processes", help, Number::Count(census.processes));
    let help = "Zombies whose living parent does not wait for them, for the parents with most.";
    text.family("clawinit_zombies", Kind::Gauge, help);
    for Zombies { parent, name, count } in census.zombies.iter().take(MOST_PARENTS) {
        let labels: [(&str, &dyn Display); 2] = [("parent", name), ("parent_pid", parent)];
        text.sample("", &labels, Number::Count(*count));
    }
    let help = "All zombies whose living parent does not wait for them.";
    let unreaped = census.zombies.iter().map(|zombies| zombies.count).sum();
    text.gauge("clawinit_zombies_unreaped", help, Number::Count(unreaped));
    let help = "Living processes that lost their parent and are clawinit's children now.";
    let orphans = &census.orphans;
    text.gauge("clawinit_adopted_orphans", help, Number::Count(orphans.len() as u64));
    let help = "How long the oldest adopted orphan has lived; 0: there is none.";
    let oldest = orphans.first().map_or(Duration::ZERO, |orphan| orphan.age);
    text.gauge("clawinit_adopted_orphans_oldest_seconds", help, Number::Seconds(oldest));
    let help = "Resident memory of the adopted orphans.";
    let memory = orphans.iter().map(|orphan| orphan.resident_bytes).sum();
    text.gauge("clawinit_adopted_orphans_memory_bytes", help, Number::Count(memory));
    if let Some(count) = census.pids_current {
        let help = "Processes and threads in the control group (pids.current).";
        text.gauge("clawinit_pids_current", help, Number::Count(count));
    }
    if let Some(most) = census.pids_max {
        let help = "How many processes and threads the control group may have (pids.max).";
        text.gauge("clawinit_pids_max", help, Number::Count(most));
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
    Info,
}

enum Number {
    Count(u64),
    Seconds(Duration),
}

type Label<'a> = (&'static str, &'a dyn Display);

/// The text under way.
struct Text {
    format: Format,
    /// The family that was begun last.
    name: &'static str,
    out: String,
}

impl Text {
    /// Begins a family, by its name without the suffix of its samples.
    fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        // What OpenMetrics calls a counter's or an info's name lacks the suffix that the plain
        // format has in it.
        let (kind, suffix) = match (kind, self.format) {
            (Kind::Counter, Format::Plain) => ("counter", "_total"),
            (Kind::Counter, Format::OpenMetrics) => ("counter", ""),
            (Kind::Info, Format::Plain) => ("gauge", "_info"),
            (Kind::Info, Format::OpenMetrics) => ("info", ""),
            (Kind::Gauge, _) => ("gauge", ""),
            (Kind::Histogram, _) => ("histogram", ""),
        };
        self.put(format_args!("# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n"));
        if self.format == Format::OpenMetrics
            && let Some(unit) = ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(unit))
        {
            self.put(format_args!("# UNIT {name} {unit}\n"));
        }
        self.name = name;
    }

    fn gauge(&mut self, name: &'static str, help: &str, value: Number) {
        self.family(name, Kind::Gauge, help);
        self.sample("", &[], value);
    }

    /// A sample of the family that was begun last.
    fn sample(&mut self, suffix: &str, labels: &[Label], value: Number) {
        let name = self.name;
        self.put(format_args!("{name}{suffix}"));
        for (place, (label, value)) in labels.iter().enumerate() {
            self.put(format_args!("{}{label}=\"", if place == 0 { '{' } else { ',' }));
            let _ = write!(Escaped(&mut self.out), "{value}");
            self.out.push('"');
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
        match value {
            Number::Count(count) => self.put(format_args!(" {count}\n")),
            Number::Seconds(time) => {
                self.put(format_args!(" {}.{:09}\n", time.as_secs(), time.subsec_nanos()));
            }
        }
    }

    fn put(&mut self, text: fmt::Arguments) {
        let _ = self.out.write_fmt(text); // a String takes all
    }
}

/// A label's value: both formats escape the same three.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            match letter {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                letter => self.0.push(letter),
            }
        }
        Ok(())
    }
}
