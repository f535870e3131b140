//! `gateway status`: from the gateway when it runs, else from the state folder.

use std::io::ErrorKind;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::process::ExitCode;

use serde::de::IgnoredAny;

use super::ask::{self, Outcome, Patience};
use crate::cli::{Ask, Target};
use crate::duration;
use crate::failure::{FAILED, Failure};
use crate::lock::Holder;
use crate::sockets::Address;
use crate::state::{self, Found};

/// The exit code when the gateway does not run, as systemctl and LSB have it.
const NOT_RUNNING: u8 = 3;

/// Tells how the gateway is.
pub fn run(ask: &Ask) -> Result<ExitCode, Failure> {
    let mut patience = Patience::new(ask);
    let holder = match (ask::holder(ask, &mut patience), &ask.target) {
        (Ok(holder), _) => holder,
        // A folder that cannot be read from here: an address that was named is enough.
        (Err(_), Some(_)) => None,
        (Err(failure), None) => return Err(failure),
    };
    let (name, addresses) = match (&ask.target, &holder) {
        (Some(target), holder) => match addresses(target, holder.as_ref()) {
            Ok(addresses) => (target.to_string(), addresses),
            Err(error) => return no_answer(ask, &target.to_string(), &error.to_string()),
        },
        (None, Some(holder)) => (holder.place().to_string(), holder.local_addresses()),
        (None, None) => return stopped(ask),
    };
    // What is open to anyone is better than nothing.
    let token = match &ask.token {
        Ok(token) => token.as_ref(),
        Err(failure) => {
            ask::progress(ask, &format!("asking without the token: {}", failure.line));
            None
        }
    };
    match ask::get(&addresses, "/status", token, patience.left()) {
        // A page of some other server is no status, whatever its code.
        Ok((200, body)) => match serde_json::from_slice::<IgnoredAny>(&body) {
            Ok(IgnoredAny) => {
                ask::progress(ask, &format!("the gateway at {name} answers"));
                ask::print(&String::from_utf8_lossy(&body), 0)
            }
            Err(error) => no_answer(ask, &name, &format!("its status is no JSON: {error}")),
        },
        Ok((code, _)) => no_answer(ask, &name, &format!("its status has code {code}")),
        Err(error) if error.kind() == ErrorKind::TimedOut => {
            no_answer(ask, &name, &format!("no answer within {}", duration::words(ask.timeout)))
        }
        Err(error) => no_answer(ask, &name, &error.to_string()),
    }
}

/// Where an option or GATEWAY_URL points. A port alone is one of this machine: that of
/// the folder's gateway, on whatever address that has, or any other's.
fn addresses(target: &Target, holder: Option<&Holder>) -> std::io::Result<Vec<Address>> {
    match (&target.host, holder) {
        (Some(host), _) => {
            Ok((host.as_str(), target.port).to_socket_addrs()?.map(Address::Port).collect())
        }
        (None, Some(holder)) if holder.port == target.port => Ok(holder.local_addresses()),
        (None, Some(_) | None) => {
            Ok(vec![Address::Port(SocketAddr::from(([127, 0, 0, 1], target.port)))])
        }
    }
}

fn no_answer(ask: &Ask, name: &str, why: &str) -> Result<ExitCode, Failure> {
    ask::progress(ask, &format!("the gateway at {name} does not answer as it should: {why}"));
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
