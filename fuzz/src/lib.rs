//! What reads bytes of others, held to its promises on any bytes.
//!
//! Each target is a plain function of the bytes; `tests/replay.rs` calls it with every input of
//! its committed corpus, `libfuzzer/` with what libFuzzer thinks of (`make fuzz`).

// The gateway is a program and no library: its modules are taken in as they are. They name each
// other by `crate::`, so they stand at the root here too.
macro_rules! gateway {
    ($($module:ident $path:literal),* $(,)?) => {
        $(
            #[allow(dead_code)] // the program uses what these targets do not
            #[path = $path]
            mod $module;
        )*
    };
}
gateway! {
    agents "../../gateway/src/agents.rs",
    cli "../../gateway/src/cli.rs",
    duration "../../gateway/src/duration.rs",
    failure "../../gateway/src/failure.rs",
    files "../../gateway/src/files.rs",
    handed "../../gateway/src/handed.rs",
    http "../../gateway/src/http/mod.rs",
    lock "../../gateway/src/lock.rs",
    logging "../../gateway/src/logging.rs",
    notify "../../gateway/src/notify.rs",
    ports "../../gateway/src/ports.rs",
    process "../../gateway/src/process.rs",
    server "../../gateway/src/server/mod.rs",
    signals "../../gateway/src/signals.rs",
    sockets "../../gateway/src/sockets.rs",
    state "../../gateway/src/state.rs",
    store "../../gateway/src/store/mod.rs",
    supervisor "../../gateway/src/supervisor.rs",
    token "../../gateway/src/token.rs",
    verbs "../../gateway/src/verbs/mod.rs",
}

pub mod corpus;
mod input;
mod lend;
mod targets;

pub use targets::cli::cli;
pub use targets::core_step::core_step;
pub use targets::exporter_request::exporter_request;
pub use targets::gateway_cli::gateway_cli;
pub use targets::gateway_http::gateway_http;
pub use targets::gateway_state::gateway_state;
pub use targets::health_response::health_response;
pub use targets::listen::listen;
pub use targets::notify::notify as notify_datagram;
pub use targets::proc::proc;
pub use targets::status_page::status_page;

/// A target and its name, which is that of its corpus and of its program in `libfuzzer/`.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 11] = [
    ("cli", cli),
    ("core_step", core_step),
    ("exporter_request", exporter_request),
    ("gateway_cli", gateway_cli),
    ("gateway_http", gateway_http),
    ("gateway_state", gateway_state),
    ("health_response", health_response),
    ("listen", listen),
    ("notify", notify_datagram),
    ("proc", proc),
    ("status_page", status_page),
];
