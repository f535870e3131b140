//! The bodies of answers that tell about the gateway.

use std::time::Duration;

use super::metrics::{self, Gauges};
use super::{Life, Server, routes};
use crate::http::head::Head;
use crate::http::response::Response;
use crate::supervisor::Supervisor;

/// The version that bodies and metrics name.
const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Server {
    fn uptime(&self) -> u64 {
        (Duration::from_millis(self.state.uptime_ms) + self.started.elapsed()).as_secs()
    }

    pub(super) fn status(&self, head: &Head) -> Response {
        let status = match &self.life {
            Life::Starting => "starting",
            Life::Serving => "running",
            Life::Draining(_) => "stopping",
        };
        let more = routes::has_token(head, self.token.as_ref()).then(|| MoreStatus {
            version: VERSION,
            pid: std::process::id(),
            generation: self.state.generation,
            port: self.place.port,
            path: self.place.path.as_deref(),
            started_at: self.state.started_at,
            connections: self.connections.len() + 1,
            agents: self.agents.running(),
            memory_keys: self.totals.keys,
            memory_bytes: self.totals.bytes,
            supervisor: self.supervisor,
        });
        Response::json(200, &StatusBody { status, uptime: self.uptime(), more })
    }

    pub(super) fn ready(&self) -> Response {
        let (code, failing): (u16, &[&str]) = match &self.life {
            Life::Starting => (503, &["memory"]),
            Life::Serving => (200, &[]),
            Life::Draining(_) => (503, &["draining"]),
        };
        Response::json(
            code,
            &Ready { ready: code == 200, failing, uptime_ms: self.started.elapsed().as_millis() },
        )
    }

    pub(super) fn startup(&self) -> Response {
        let (code, status, pending_reason) = match &self.life {
            Life::Starting => (503, "starting", Some("memory")),
            Life::Serving => (200, "started", None),
            Life::Draining(drain) => (503, "draining", Some(drain.reason.words())),
        };
        Response::json(
            code,
            &Startup {
                ok: code == 200,
                status,
                version: VERSION,
                uptime_ms: self.started.elapsed().as_millis(),
                pending_reason,
            },
        )
    }

    pub(super) fn metrics(&self) -> Response {
        let text = metrics::text(
            &self.counters,
            &Gauges {
                uptime: self.uptime(),
                generation: self.state.generation,
                ready: matches!(self.life, Life::Serving),
                draining: self.is_draining(),
                started_at: self.state.started_at,
                last_save: self.state.save_us.map(Duration::from_micros),
                ended: self.state.ended,
                last_drain: self.state.drain_ms.map(Duration::from_millis),
                connections: self.connections.len() + 1,
                connections_max: self.max_connections,
                memory_keys: self.totals.keys,
                memory_bytes: self.totals.bytes,
                cache_bytes: self.cache.bytes(),
                cache_hits: self.cache.hits,
                cache_misses: self.cache.misses,
                agents: self.agents.running(),
                agent_restarts: self.agents.restarts,
            },
        );
        Response::new(200, "text/plain; version=0.0.4", text)
    }
}

// The bodies of the real gateway (OPENCLAW.md section 3), field by field in its order.

#[derive(serde::Serialize)]
pub(super) struct Health {
    pub(super) ok: bool,
    pub(super) status: &'static str,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Ready<'a> {
    ready: bool,
    failing: &'a [&'a str],
    uptime_ms: u128,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Startup {
    ok: bool,
    status: &'static str,
    version: &'static str,
    uptime_ms: u128,
    pending_reason: Option<&'static str>,
}

#[derive(serde::Serialize)]
struct StatusBody<'a> {
    status: &'static str,
    uptime: u64,
    #[serde(flatten)]
    more: Option<MoreStatus<'a>>,
}

/// Fields of `/status` for those who have the token.
#[derive(serde::Serialize)]
struct MoreStatus<'a> {
    version: &'static str,
    pid: u32,
    generation: u64,
    port: u16,
    /// Of a gateway that listens on one.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    started_at: u64,
    connections: usize,
    agents: usize,
    memory_keys: u64,
    memory_bytes: u64,
    supervisor: Supervisor,
}
