//! clawinit: the init for containers. See `docs/design.md`.
//!
//! The data goes one way: signal, [`core::Event`], [`core::step`], [`core::Action`]s, and back
//! to the wait. [`init`] has the loop, [`kernel`] the system calls.

pub mod census;
pub mod cli;
pub mod config;
pub mod core;
pub mod exporter;
pub mod init;
pub mod kernel;
pub mod leftovers;
pub mod notice;
pub mod prober;
pub mod report;
pub mod signal;
pub mod sockets;
pub mod status;
pub mod verbs;
pub mod watch;
