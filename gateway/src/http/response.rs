//! Answers and how they are written.

use super::{Refusal, date};

/// Before the body of a request that waits for it (RFC 9110 section 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// An answer, before it is known how its connection goes on.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    content_type: &'static str,
    body: Vec<u8>,
    fields: Vec<(&'static str, &'static str)>,
}

impl Response {
    /// Bytes of a type.
    pub fn new(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, content_type, body: body.into(), fields: Vec::new() }
    }

    /// A JSON value.
    pub fn json(status: u16, body: &impl serde::Serialize) -> Self {
        // Only maps with keys that are no strings fail, and there are none.
        let body = serde_json::to_vec(body).unwrap_or_default();
        Self::new(status, "application/json", body)
    }

    /// Nothing but the status.
    pub fn empty(status: u16) -> Self {
        Self::new(status, "", Vec::new())
    }

    /// `{"error":"…"}`.
    pub fn error(status: u16, message: &str) -> Self {
        Self::json(status, &serde_json::json!({ "error": message }))
    }

    /// The same with one more field.
    pub fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.fields.push((name, value));
        self
    }

    /// The bytes to send. `head_only` for HEAD; `keep_alive` tells whether another
    /// request may follow.
    pub fn write(
        &self,
        head_only: bool,
        keep_alive: bool,
        http_1_0: bool,
        unix_seconds: u64,
    ) -> Vec<u8> {
        let mut head = format!(
            "HTTP/1.1 {} {}\r\nDate: {}\r\nCache-Control: no-store\r\n",
            self.status,
            reason(self.status),
            date::imf_fixdate(unix_seconds),
        );
        // RFC 9110 section 8.6: no Content-Length with 204.
        if self.status != 204 {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
            if !self.content_type.is_empty() {
                head.push_str(&format!(
                    "Content-Type: {}\r\nX-Content-Type-Options: nosniff\r\n",
                    self.content_type
                ));
            }
        }
        for (name, value) in &self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match (keep_alive, http_1_0) {
            (false, _) => head.push_str("Connection: close\r\n"),
            (true, true) => head.push_str("Connection: keep-alive\r\n"),
            (true, false) => {}
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        if !head_only {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

impl From<Refusal> for Response {
    fn from(refusal: Refusal) -> Self {
        let response = Self::error(refusal.status, refusal.message);
        if refusal.status == 503 { response.with("Retry-After", "1") } else { response }
    }
}

/// The words behind a status code (RFC 9110 section 15; 507 is RFC 4918's).
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(response: &Response, head_only: bool, keep_alive: bool, http_1_0: bool) -> String {
        String::from_utf8(response.write(head_only, keep_alive, http_1_0, 0)).unwrap()
    }

    #[test]
    fn head_has_the_length_but_not_the_body() {
        let response = Response::new(200, "text/plain", "abc");
        let full = text(&response, false, true, false);
        let head = text(&response, true, true, false);
        assert_eq!(full, format!("{head}abc"));
        assert!(head.contains("Content-Length: 3\r\n"));
    }

    #[test]
    fn connection_is_named_only_where_it_is_not_the_default() {
        let response = Response::empty(200);
        assert!(text(&response, false, false, false).contains("Connection: close\r\n"));
        assert!(text(&response, false, true, true).contains("Connection: keep-alive\r\n"));
        assert!(!text(&response, false, true, false).contains("Connection:"));
    }

    #[test]
    fn no_content_has_no_length() {
        assert!(!text(&Response::empty(204), false, true, false).contains("Content-"));
    }
}
