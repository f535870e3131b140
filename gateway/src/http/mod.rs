//! HTTP/1.1 as a server has to read and write it (RFC 9110, RFC 9112).

pub mod body;
pub mod date;
pub mod head;
pub mod response;

/// A request that is answered with an error and ends its connection, as nobody can say
/// where the next one would begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status code.
    pub status: u16,
    /// What was wrong.
    pub message: &'static str,
}

impl Refusal {
    /// A refusal with this status and message.
    pub const fn new(status: u16, message: &'static str) -> Self {
        Self { status, message }
    }
}
