//! The gateway as its users meet it: the binary, its port, its folder, its signals.

mod agents;
mod clawinit;
mod harness;
mod metrics;
mod notify;
mod requests;
mod signals;
mod sockets;
mod start;
mod store;
mod verbs;
