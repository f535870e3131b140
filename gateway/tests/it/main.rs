//! The gateway as its users meet it: the binary, its port, its folder, its signals.

mod agents;
mod clawinit;
mod crashes;
mod crowd;
mod faults;
mod harness;
mod metrics;
mod nasty;
mod notify;
mod requests;
mod secret;
mod signals;
mod sockets;
mod start;
mod store;
mod underway;
mod verbs;
