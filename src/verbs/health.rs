//! `clawinit health`: a GET, and what its answer has to be.

use crate::kernel::entry::Start;
use std::ffi::CStr;
use std::time::Duration;

/// What is asked, and what the answer has to be.
pub struct Probe {
    /// `http://HOST[:PORT][/PATH]`, checked.
    pub url: String,
    /// For all of it: connecting, asking, and the whole answer.
    pub timeout: Duration,
    /// The lowest and the highest status that will do.
    pub status: (u16, u16),
    /// Text that the body has to contain.
    pub body: Option<String>,
    /// A path into a JSON body, and the value that has to be there.
    pub json: Option<(String, String)>,
}

impl Probe {
    /// A probe of this URL that any 2xx answer satisfies. Errors: what is wrong with the URL,
    /// and what to write.
    pub fn new(url: &str, timeout: Duration) -> Result<Probe, String> {
        Ok(Probe { url: url.to_owned(), timeout, status: (200, 299), body: None, json: None })
    }

    /// Asks once. Errors: what the answer was instead, in one line.
    pub fn ask(&self) -> Result<(), String> {
        Err("not written yet".to_owned())
    }
}

/// The verb.
pub fn run(_start: &Start, _words: &[&'static CStr]) -> u8 {
    2
}
