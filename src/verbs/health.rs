//! `clawinit health`: a GET, and what its answer has to be. It is the HEALTHCHECK of an image that
//! has no curl.

mod http;
mod json;

use super::args::{Given, Opt, Usage};
use super::{FAILED, fail};
use crate::kernel::descriptors;
use crate::kernel::entry::Start;
use crate::report::Span;
use http::{Answer, Target};
use json::Json;
use std::ffi::CStr;
use std::time::{Duration, Instant};

/// As long as nobody says otherwise. Docker gives 30 s, Kubernetes 1 s.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What is asked, and what the answer has to be.
pub struct Probe {
    target: Target,
    /// For all of it: connecting, asking, and the whole answer.
    pub timeout: Duration,
    /// The lowest and the highest status that will do.
    pub status: (u16, u16),
    /// Texts that the body has to contain.
    pub body: Vec<String>,
    /// Paths into a JSON body, and the values that have to be there.
    pub json: Vec<(String, String)>,
}

impl Probe {
    /// A probe of this URL that any 2xx answer satisfies. Errors: what is wrong with the URL,
    /// and what to write.
    pub fn new(url: &str, timeout: Duration) -> Result<Probe, String> {
        let target = Target::new(url)?;
        Ok(Probe { target, timeout, status: (200, 299), body: Vec::new(), json: Vec::new() })
    }

    /// Asks once. Errors: what the answer was instead, in one line.
    pub fn ask(&self) -> Result<(), String> {
        self.status().map(drop)
    }

    /// Asks once, and says the status of an answer that will do.
    fn status(&self) -> Result<u16, String> {
        let answer = self.target.get(self.timeout)?;
        let (lowest, highest) = self.status;
        if !(lowest..=highest).contains(&answer.status) {
            return Err(self.other_status(&answer));
        }
        let status = answer.status;
        let body = answer.body?;
        for text in &self.body {
            if !contains(&body, text.as_bytes()) {
                let wanted = shown(text.as_bytes());
                return Err(format!("expected \"{wanted}\" in the body, got {}", page(&body)));
            }
        }
        if !self.json.is_empty() {
            let json = Json::read(&body)
                .map_err(|error| format!("expected JSON, got {} ({error})", page(&body)))?;
            for (path, wanted) in &self.json {
                let instead = match json.find(path) {
                    Some(found) if found.is(wanted) => continue,
                    Some(found) => format!("got {}", shown(found.text.as_bytes())),
                    None => format!("which is not in {}", page(&body)),
                };
                let (path, wanted) = (shown(path.as_bytes()), shown(wanted.as_bytes()));
                return Err(format!("expected {path} to be {wanted}, {instead}"));
            }
        }
        Ok(status)
    }

    fn other_status(&self, answer: &Answer) -> String {
        let Answer { status, reason, location, body } = answer;
        let expected = match self.status {
            (lowest, highest) if lowest == highest => lowest.to_string(),
            (lowest, highest) => format!("{lowest}-{highest}"),
        };
        let blank = if reason.is_empty() { "" } else { " " };
        let more = match (location, body) {
            (Some(location), _) if (300..400).contains(status) => {
                format!(", a redirect to {location}, which is not followed")
            }
            (_, Ok(body)) if !body.is_empty() => format!(": {}", shown(body)),
            _ => String::new(),
        };
        format!("expected {expected}, got {status}{blank}{reason}{more}")
    }
}

/// A body for a line.
fn page(body: &[u8]) -> String {
    if body.is_empty() { "an empty body".to_owned() } else { shown(body) }
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    body.windows(text.len()).any(|part| part == text)
}

/// Something from outside for a line of ours: cut, and nothing in it that could move a cursor or
/// begin another line.
fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 200;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * MOST)]);
    let text = text.trim();
    let mut line = String::new();
    for letter in text.chars() {
        if line.len() >= MOST {
            break;
        }
        match letter {
            letter if letter.is_control() => line.extend(letter.escape_default()),
            letter => line.push(letter),
        }
    }
    if line.len() >= MOST || bytes.len() > 4 * MOST {
        line.push_str("...");
    }
    line
}

const USAGE: Usage = Usage {
    verb: "health",
    operand: "URL",
    about: "\
Asks for URL, http://HOST[:PORT][/PATH], with one GET of HTTP/1.1, and tells by its exit code
whether the answer is the one expected. For a HEALTHCHECK in an image without a shell. A page
for everything answers 200 to anything: expect something of the body too. Redirects are not
followed. PATH is names and places in lists with dots between them, status or checks.0.name, or
a JSON Pointer, /checks/0/name. VALUE is the text of a string, or JSON: true, 3, null, [1,2].
A body is read to its end, 1 MiB at most.",
    options: &[
        Opt { name: "timeout", value: "D", help: "for everything, the name server included (5s)" },
        Opt { name: "status", value: "N[-M]", help: "the status expected (200-299)" },
        Opt { name: "expect-body", value: "TEXT", help: "the body contains this; repeat for more" },
        Opt {
            name: "expect-json",
            value: "PATH=VALUE",
            help: "the body is JSON, and has this there; repeat for more",
        },
        Opt { name: "quiet", value: "", help: "print nothing when healthy" },
    ],
    codes: "0 healthy, 1 not, and one line says what came instead; 2 wrong usage.",
};

/// The verb.
pub fn run(_start: &Start, words: &[&'static CStr]) -> u8 {
    let given = match USAGE.read(words) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let probe = match probe(&given) {
        Ok(probe) => probe,
        Err(wrong) => return USAGE.refuse(&wrong),
    };
    let began = Instant::now();
    match probe.status() {
        Ok(status) => {
            if !given.has("quiet") {
                // A lost line is no reason to call a healthy service anything else.
                let line = format!("{status}, {}\n", Span(began.elapsed()));
                let _ = descriptors::print(line.as_bytes());
            }
            0
        }
        Err(instead) => {
            let url = shown(given.operand.as_bytes());
            fail(USAGE.verb, FAILED, format_args!("{url}: {instead}"))
        }
    }
}

fn probe(given: &Given) -> Result<Probe, String> {
    let timeout = given.duration("timeout")?.unwrap_or(TIMEOUT);
    if timeout.is_zero() {
        return Err("--timeout: nothing answers in no time; write more, like 5s".to_owned());
    }
    let mut probe = Probe::new(given.operand, timeout)?;
    if let Some(status) = given.parsed("status", statuses)? {
        probe.status = status;
    }
    for text in given.all("expect-body") {
        if text.is_empty() {
            return Err("--expect-body: every body contains \"\"; write a text".to_owned());
        }
        probe.body.push(text.to_owned());
    }
    for wanted in given.all("expect-json") {
        let (path, value) =
            wanted.split_once('=').filter(|(path, _)| !path.is_empty()).ok_or_else(|| {
                let wanted = shown(wanted.as_bytes());
                format!(
                    "--expect-json: \"{wanted}\" is no path with a value; write one like status=ok"
                )
            })?;
        probe.json.push((path.to_owned(), value.to_owned()));
    }
    Ok(probe)
}

/// `200`, or `200-299`.
fn statuses(text: &'static str) -> Result<(u16, u16), String> {
    let number = |text: &str| {
        let plain = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|status| plain && *status >= 100)
    };
    let (lowest, highest) = text.split_once('-').unwrap_or((text, text));
    number(lowest).zip(number(highest)).filter(|(lowest, highest)| lowest <= highest).ok_or_else(
        || format!("\"{text}\" is no status; write a number like 200, or two like 200-399"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_text_is_cut_and_moves_no_cursor() {
        assert_eq!(shown(b"a\nb\x1b[2J\xff"), "a\\nb\\u{1b}[2J\u{fffd}");
        let long = shown(&[b'x'; 5000]);
        assert!(long.len() == 203 && long.ends_with("x..."), "{long}");
    }

    #[test]
    fn a_status_or_two_are_read() {
        assert_eq!(statuses("204"), Ok((204, 204)));
        assert_eq!(statuses("200-399"), Ok((200, 399)));
        for wrong in ["", "20", "2xx", "399-200", "200-", "+20", "099", "200-300-400"] {
            assert!(statuses(wrong).is_err(), "{wrong}");
        }
    }
}
