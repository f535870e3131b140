//! The gateway as its users meet it: the binary, its port, its folder, its signals.

mod agents;
<<<<<<< HEAD
mod clawinit;
mod harness;
mod metrics;
mod notify;
=======
mod crashes;
mod crowd;
mod faults;
mod harness;
mod metrics;
mod nasty;
>>>>>>> gwrel
mod requests;
mod secret;
mod signals;
mod sockets;
mod start;
mod store;
mod underway;
mod verbs;
