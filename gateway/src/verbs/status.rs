//! `gateway status`: from the gateway when it runs, else from the state folder.

use std::process::ExitCode;

use serde::de::IgnoredAny;

use super::ask::{self, Outcome};
use crate::cli::Ask;
use crate::failure::{FAILED, Failure};
use crate::state::{self, Found};

/// The exit code when the gateway does not run, as systemctl and LSB have it.
const NOT_RUNNING: u8 = 3;

/// Tells how the gateway is.
pub fn run(ask: &Ask) -> Result<ExitCode, Failure> {
    let holder = match ask::holder(ask) {
        Ok(holder) => holder,
        // A folder that cannot be read from here: an address that was named is enough.
        Err(_) if ask.address.is_some() => None,
        Err(failure) => return Err(failure),
    };
    if holder.is_none() && ask.address.is_none() {
        return stopped(ask);
    }
    let address = ask::address(ask, holder.as_ref());
    match ask::get(ask, holder.as_ref(), "/status") {
        // A page of some other server is no status, whatever its code.
        Ok((200, body)) => match serde_json::from_slice::<IgnoredAny>(&body) {
            Ok(IgnoredAny) => {
                ask::progress(ask, &format!("the gateway at {address} answers"));
                ask::print(&String::from_utf8_lossy(&body), 0)
            }
            Err(error) => no_answer(ask, &address, &format!("its status is no JSON: {error}")),
        },
        Ok((code, _)) => no_answer(ask, &address, &format!("its status has code {code}")),
        Err(_) if holder.is_none() => stopped(ask),
        Err(error) => no_answer(ask, &address, &error.to_string()),
    }
}

fn no_answer(ask: &Ask, address: &str, why: &str) -> Result<ExitCode, Failure> {
    ask::progress(ask, &format!("the gateway at {address} does not answer as it should: {why}"));
    ask::outcome(&Outcome { status: "unknown", reason: Some(why), ..Outcome::default() }, FAILED)
}

fn stopped(ask: &Ask) -> Result<ExitCode, Failure> {
    ask::progress(ask, &format!("no gateway runs on {}", ask.state_dir.display()));
    let found = state::read(&ask.state_dir).map_err(|error| {
        Failure::failed(format!("the state in {} cannot be read: {error}", ask.state_dir.display()))
    })?;
    let answer = match found {
        Found::Nothing => {
            Outcome { status: "stopped", reason: Some("never started"), ..Outcome::default() }
        }
        Found::Damaged(_) => Outcome {
            status: "stopped",
            reason: Some("unknown: the state file is damaged"),
            ..Outcome::default()
        },
        Found::State(state) => Outcome {
            status: "stopped",
            reason: Some(state.ending()),
            generation: Some(state.generation),
            port: Some(state.port),
            uptime: Some(state.uptime_ms / 1000),
            ..Outcome::default()
        },
    };
    ask::outcome(&answer, NOT_RUNNING)
}
