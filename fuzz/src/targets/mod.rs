//! One file a target.

pub mod cli;
pub mod core_step;
pub mod exporter_request;
pub mod gateway_cli;
pub mod gateway_http;
pub mod gateway_state;
pub mod health_response;
pub mod listen;
pub mod notify;
pub mod proc;
pub mod status_page;
