//! The metrics, in Prometheus' text format 0.0.4 and in OpenMetrics 1.0. `docs/metrics.md` lists
//! them; a test holds the two to each other.

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
    let uptime =
        if page.runs() { now.saturating_sub(page.generation_born) } else { Duration::ZERO };
    text.gauge("clawinit_generation_uptime_seconds", help, Number::Seconds(uptime));
    if let Some(ready) = page.ready() {
        let help = "Whether the child is ready.";
        text.gauge("clawinit_ready", help, Number::Count(ready.into()));
        let help = "How long the child has been ready; 0 while it is not.";
        let since = page.ready_since.filter(|_| ready);
        let time = since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        text.gauge("clawinit_ready_seconds", help, Number::Seconds(time));
    }
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
        (
            "clawinit_start_timeouts",
            "Generations that were not ready within --start-grace.",
            page.not_ready,
        ),
        (
            "clawinit_watchdog_expired",
            "Generations that gave no sign of life within --watchdog.",
            page.hung,
        ),
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
    text.family("clawinit_notifications", Kind::Counter, "Notifications that came (sd_notify).");
    let heard = page.notices.saturating_sub(page.notices_refused);
    for (result, count) in [("heard", heard), ("refused", page.notices_refused)] {
        text.sample("_total", &[("result", &result)], Number::Count(count));
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
        Some(
            Phase::Starting | Phase::Running | Phase::Backoff | Phase::Failing | Phase::Exited,
        )
        | None => (None, None),
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
    let sizes = orphans.iter().map(|orphan| orphan.resident_bytes);
    let memory = sizes.fold(0, u64::saturating_add);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::census::Orphan;
    use crate::report::Asker;
    use crate::status::layout as at;
    use crate::status::read::{self, LastEnd, Request};
    use std::collections::BTreeMap;

    /// A page with nothing on it but what makes it one.
    fn page() -> Snapshot {
        let mut words = vec![0u64; at::USED];
        words[at::MAGIC.at] = at::MAGIC_VALUE;
        words[at::LAYOUT.at] = at::MAJOR << 48 | at::MINOR << 32 | (at::USED * 8) as u64;
        words[at::PHASE.at] = Phase::Running as u64;
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        read::parse(&bytes).expect("a page")
    }

    fn request(at: u64) -> Option<Request> {
        let asker = Asker::new(Some(0), 0, b"");
        Some(Request { signal: Signal::TERM, at: Duration::from_secs(at), asker })
    }

    fn counted() -> Counted {
        let zombies = |parent, name: &str| Zombies { parent, name: name.to_owned(), count: 3 };
        let orphan = Orphan {
            pid: 9,
            name: "o".to_owned(),
            age: Duration::from_secs(4),
            resident_bytes: 4096,
        };
        Counted {
            census: Ok(Census {
                processes: 7,
                zombies: (2..20).map(|pid| zombies(pid, "a\\b\"c\nd")).collect(),
                orphans: vec![orphan],
                pids_current: Some(8),
                pids_max: Some(100),
            }),
            port_held: Some(true),
        }
    }

    /// With everything on it that a page can have.
    fn full() -> Snapshot {
        let mut full = page();
        full.version = "1.2.3".to_owned();
        full.phase = Some(Phase::Stopping);
        full.deadline = Some(Duration::from_secs(40));
        full.stop = request(20);
        full.port = Some(8888);
        full.knows_readiness = true;
        full.notices = 7;
        full.notices_refused = 3;
        full.hung = 2;
        full.received[34] = 2;
        full.last = Some(LastEnd {
            end: End::Reaped(Status::Signaled { signal: Signal::KILL, core_dumped: false }),
            oom: false,
            fault: None,
            generation: 1,
            lived: Duration::ZERO,
            realtime: Duration::from_secs(1_700_000_000),
        });
        full.histograms[Timed::Stop as usize].buckets[2] = 4;
        full.histograms[Timed::Stop as usize].buckets[at::BUCKETS - 1] = 1;
        full.histograms[Timed::Stop as usize].sum = Duration::from_millis(99_004);
        full
    }

    const NOW: Duration = Duration::from_secs(30);

    fn restarting() -> Snapshot {
        let mut page = page();
        page.phase = Some(Phase::Restarting);
        page.restart = request(25);
        page
    }

    #[test]
    fn every_sample_reads_as_it_should() {
        let text = text(&full(), &counted(), NOW, Format::Plain);
        for line in [
            "clawinit_build_info{version=\"1.2.3\"} 1",
            "clawinit_phase{phase=\"stopping\"} 1",
            "clawinit_phase{phase=\"running\"} 0",
            "clawinit_signals_received_total{signal=\"SIGTERM\"} 0",
            "clawinit_signals_received_total{signal=\"SIGRTMIN\"} 2",
            "clawinit_deadline_seconds 10.000000000",
            "clawinit_stop_elapsed_seconds 10.000000000",
            "clawinit_last_exit_code 137",
            "clawinit_last_exit_timestamp_seconds 1700000000.000000000",
            "clawinit_stop_duration_seconds_bucket{le=\"0.002\"} 0",
            "clawinit_stop_duration_seconds_bucket{le=\"0.005\"} 4",
            "clawinit_stop_duration_seconds_bucket{le=\"0.01\"} 4",
            "clawinit_stop_duration_seconds_bucket{le=\"10.0\"} 4",
            "clawinit_stop_duration_seconds_bucket{le=\"+Inf\"} 5",
            "clawinit_stop_duration_seconds_sum 99.004000000",
            "clawinit_stop_duration_seconds_count 5",
            "clawinit_port_held{port=\"8888\"} 1",
            "clawinit_ready 0",
            "clawinit_ready_seconds 0.000000000",
            "clawinit_phase{phase=\"failing\"} 0",
            "clawinit_notifications_total{result=\"heard\"} 4",
            "clawinit_notifications_total{result=\"refused\"} 3",
            "clawinit_watchdog_expired_total 2",
            "clawinit_start_timeouts_total 0",
            "clawinit_zombies{parent=\"a\\\\b\\\"c\\nd\",parent_pid=\"2\"} 3",
            "clawinit_zombies_unreaped 54",
            "clawinit_adopted_orphans_oldest_seconds 4.000000000",
            "clawinit_adopted_orphans_memory_bytes 4096",
            "clawinit_pids_max 100",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert_eq!(text.matches("clawinit_zombies{").count(), MOST_PARENTS);
        assert!(!text.contains("clawinit_restart_elapsed_seconds"), "{text}");
        assert!(!text.contains("SIGUSR2"), "{text}");
    }

    #[test]
    fn what_is_not_there_is_absent() {
        let nothing = Counted { census: Err("no /proc".to_owned()), port_held: None };
        let text = text(&page(), &nothing, NOW, Format::Plain);
        for name in
            ["deadline", "elapsed", "ready", "last_exit", "port_held", "processes ", "zombies{"]
        {
            assert!(!text.contains(&format!("clawinit_{name}")), "{name} is in\n{text}");
        }
        let limitless = Counted { census: Ok(Census::default()), port_held: None };
        let text = super::text(&page(), &limitless, NOW, Format::Plain);
        assert!(text.contains("clawinit_processes 0\n"), "{text}");
        assert!(!text.contains("clawinit_pids"), "{text}");
    }

    #[test]
    fn a_sweep_belongs_to_the_request_that_led_to_it() {
        let born = |page: &mut Snapshot| page.generation_born = Duration::from_secs(10);
        let mut page = restarting();
        born(&mut page);
        let at = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(under_way(&page), (None, at(25)));
        page.phase = Some(Phase::Sweeping);
        assert_eq!(under_way(&page), (None, at(25)));
        page.stop = request(28);
        assert_eq!(under_way(&page), (at(28), None));
        page.stop = None;
        page.restart = request(9); // it led to this generation, which has left by itself
        assert_eq!(under_way(&page), (None, None));
        page.phase = Some(Phase::Running);
        page.restart = request(25);
        assert_eq!(under_way(&page), (None, None));
    }

    /// What the format says of a family: `# TYPE` and `# UNIT`, and its samples with their labels.
    #[derive(Default, Debug, PartialEq)]
    struct Family {
        kind: String,
        unit: Option<String>,
        samples: Vec<String>,
    }

    /// Reads OpenMetrics strictly: each family once, its samples behind it and by its name.
    fn families(text: &str) -> BTreeMap<String, Family> {
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        let mut current = String::new();
        let body = text.strip_suffix("# EOF\n").expect("the end");
        for line in body.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let words: Vec<&str> = comment.splitn(3, ' ').collect();
                let [what, name, value] = words[..] else { panic!("{line}") };
                match what {
                    "HELP" => {
                        assert!(!families.contains_key(name), "{name} twice");
                        assert!(value.ends_with('.') && !value.contains(['\\', '"']), "{line}");
                        current = name.to_owned();
                        families.insert(current.clone(), Family::default());
                    }
                    "TYPE" => families.get_mut(name).expect(line).kind = value.to_owned(),
                    "UNIT" => families.get_mut(name).expect(line).unit = Some(value.to_owned()),
                    _ => panic!("{line}"),
                }
                assert_eq!(name, current, "{line}");
                continue;
            }
            let family = families.get_mut(&current).expect(line);
            let rest = line.strip_prefix(current.as_str()).expect(line);
            let suffix = rest.split(['{', ' ']).next().expect(line);
            let suffixes: &[&str] = match family.kind.as_str() {
                "counter" => &["_total"],
                "info" => &["_info"],
                "histogram" => &["_bucket", "_sum", "_count"],
                "gauge" => &[""],
                other => panic!("{other}"),
            };
            assert!(suffixes.contains(&suffix), "{line}");
            let value = line.rsplit(' ').next().expect(line);
            assert!(value.parse::<f64>().is_ok_and(|v| v >= 0.0), "{line}");
            family.samples.push(line.to_owned());
        }
        families
    }

    /// All that can be served, and no more, is in `docs/metrics.md`, and the other way round.
    #[test]
    fn the_documentation_and_what_is_served_are_the_same() {
        let mut served = families(&text(&full(), &counted(), NOW, Format::OpenMetrics));
        served.extend(families(&text(&restarting(), &counted(), NOW, Format::OpenMetrics)));
        let full = families(&text(&self::full(), &counted(), NOW, Format::OpenMetrics));
        served.extend(full);
        let served: BTreeMap<String, [String; 3]> = served
            .into_iter()
            .map(|(name, family)| {
                let unit = ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(unit));
                assert_eq!(family.unit.as_deref(), unit, "the unit of {name}");
                let sample = family.samples.first().unwrap_or_else(|| panic!("{name} is empty"));
                let labels = sample.split_once('{').map_or("", |(_, labels)| labels);
                let labels: Vec<&str> = labels
                    .split(',')
                    .filter_map(|label| Some(label.split_once("=\"")?.0))
                    .filter(|label| *label != "le")
                    .collect();
                let suffix = match family.kind.as_str() {
                    "counter" => "_total",
                    "info" => "_info",
                    _ => "",
                };
                let unit = family.unit.unwrap_or_default();
                (format!("{name}{suffix}"), [family.kind, unit, labels.join(", ")])
            })
            .collect();
        let rows = include_str!("../../docs/metrics.md").lines();
        let documented: BTreeMap<String, [String; 3]> = rows
            .filter(|row| row.starts_with("| `clawinit_"))
            .map(|row| {
                let row = row.replace('`', "");
                let cells: Vec<&str> = row.split('|').map(str::trim).collect();
                assert_eq!(cells.len(), 7, "{row}");
                (cells[1].to_owned(), [2, 3, 4].map(|cell| cells[cell].to_owned()))
            })
            .collect();
        assert_eq!(documented, served, "left: docs/metrics.md; right: what is served");
    }

    #[test]
    fn both_formats_have_the_same_samples() {
        let samples = |format| -> Vec<String> {
            let text = text(&full(), &counted(), NOW, format);
            text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
        };
        assert_eq!(samples(Format::Plain), samples(Format::OpenMetrics));
        let plain = text(&full(), &counted(), NOW, Format::Plain);
        assert!(plain.contains("# TYPE clawinit_restarts_total counter\n"), "{plain}");
        assert!(!plain.contains("# EOF") && !plain.contains("# UNIT"), "{plain}");
    }

    #[test]
    fn sizes_that_no_number_holds_together_are_the_largest_there_is() {
        let mut counted = counted();
        if let Ok(census) = &mut counted.census {
            census.orphans =
                vec![Orphan { resident_bytes: u64::MAX, ..census.orphans[0].clone() }; 2];
        }
        let text = text(&full(), &counted, NOW, Format::Plain);
        let sample = format!("clawinit_adopted_orphans_memory_bytes {}\n", u64::MAX);
        assert!(text.contains(&sample), "{text}");
    }
}
