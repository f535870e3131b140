//! Counters, and the Prometheus text of `/metrics`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::state::Ended;

/// What is counted while the gateway runs.
#[derive(Default)]
pub struct Counters {
    /// Answers by status code.
    pub answers: BTreeMap<u16, u64>,
    /// Connections taken.
    pub accepted: u64,
    /// Connections turned away for want of descriptors.
    pub refused: u64,
    /// Requests that did not arrive in time.
    pub timed_out: u64,
    /// Commits, and the time they took.
    pub commits: u64,
    /// Seconds of all commits together.
    pub commit_time: Duration,
    /// Saves of the state file.
    pub saves: u64,
    /// Saves that failed.
    pub saves_failed: u64,
    /// How long the last save took.
    pub save_time: Duration,
}

impl Counters {
    /// As they are behind the first save, which comes before anything is served.
    pub fn from_start(first_save: Option<Duration>) -> Self {
        Self {
            saves: u64::from(first_save.is_some()),
            saves_failed: u64::from(first_save.is_none()),
            save_time: first_save.unwrap_or_default(),
            ..Self::default()
        }
    }
}

/// What is measured at the moment of asking.
pub struct Gauges {
    pub uptime: u64,
    pub generation: u64,
    pub ready: bool,
    pub draining: bool,
    pub started_at: u64,
    pub last_drain: Option<Duration>,
    pub last_save: Option<Duration>,
    pub ended: Ended,
    pub connections: usize,
    pub connections_max: usize,
    pub memory_keys: u64,
    pub memory_bytes: u64,
    pub cache_bytes: usize,
    pub cache_hits: u64,
    pub cache_misses: u64,
    pub agents: usize,
    pub agent_restarts: u64,
}

/// Prometheus text exposition format 0.0.4.
pub fn text(counters: &Counters, gauges: &Gauges) -> String {
    let mut page = Page(String::new());
    page.family("build_info", "gauge", "The version that runs.");
    page.sample("build_info", concat!("{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1);
    page.gauge("uptime_seconds", "Time served, over generations.", gauges.uptime);
    page.gauge(
        "start_time_seconds",
        "When this generation started, in seconds since 1970.",
        gauges.started_at,
    );
    page.gauge("generation", "Starts on this state folder.", gauges.generation);
    page.gauge("ready", "1 when work is taken.", u8::from(gauges.ready));
    page.gauge("draining", "1 after a stop or restart was asked for.", u8::from(gauges.draining));
    if let Some(drain) = gauges.last_drain {
        page.gauge(
            "last_drain_seconds",
            "How long the last generation's drain took.",
            drain.as_secs_f64(),
        );
    }
    if let Some(save) = gauges.last_save {
        page.gauge(
            "last_save_seconds",
            "How long the last generation took to bring its state to the disk when it ended.",
            save.as_secs_f64(),
        );
    }
    page.family(
        "generations_ended_total",
        "counter",
        "Ends of generations on this state folder: in order by a stop or restart, or killed.",
    );
    let Ended { stop, restart, killed } = gauges.ended;
    for (how, count) in [("stop", stop), ("restart", restart), ("killed", killed)] {
        page.sample("generations_ended_total", &format!("{{how=\"{how}\"}}"), count);
    }
    page.family("requests_total", "counter", "Answers by status code.");
    for (code, count) in &counters.answers {
        page.sample("requests_total", &format!("{{code=\"{code}\"}}"), count);
    }
    page.counter(
        "request_timeouts_total",
        "Requests that did not arrive in time.",
        counters.timed_out,
    );
    page.gauge("connections", "Open connections.", gauges.connections);
    page.gauge(
        "connections_max",
        "Connections that the descriptor limit allows.",
        gauges.connections_max,
    );
    page.counter("connections_accepted_total", "Connections taken.", counters.accepted);
    page.counter("connections_refused_total", "Connections over the limit.", counters.refused);
    page.counter("state_saves_total", "Saves of the state file.", counters.saves);
    page.counter("state_save_failures_total", "Saves that failed.", counters.saves_failed);
    page.gauge(
        "state_save_seconds",
        "How long the last save took.",
        counters.save_time.as_secs_f64(),
    );
    page.gauge("memory_keys", "Keys in the memory.", gauges.memory_keys);
    page.gauge("memory_bytes", "Bytes of values in the memory.", gauges.memory_bytes);
    page.gauge("memory_cache_bytes", "Bytes in the cache.", gauges.cache_bytes);
    page.counter("memory_cache_hits_total", "Reads answered by the cache.", gauges.cache_hits);
    page.counter("memory_cache_misses_total", "Reads that asked the disk.", gauges.cache_misses);
    page.counter("memory_commits_total", "Commits to the disk.", counters.commits);
    page.counter(
        "memory_commit_seconds_total",
        "Time in commits.",
        counters.commit_time.as_secs_f64(),
    );
    page.gauge("agents", "Agents that live.", gauges.agents);
    page.counter(
        "agent_restarts_total",
        "Agents started again after they died.",
        gauges.agent_restarts,
    );
    page.0
}

struct Page(String);

impl Page {
    fn gauge(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.family(name, "gauge", help);
        self.sample(name, "", value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.family(name, "counter", help);
        self.sample(name, "", value);
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "# HELP openclaw_{name} {help}\n# TYPE openclaw_{name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "openclaw_{name}{labels} {value}");
    }
}
