//! `clawinit health`: a GET, and what its answer has to be. It is the HEALTHCHECK of an image that
//! has no curl.

pub mod http;

use super::args::{Given, Opt, Usage};
use super::{FAILED, fail};
use crate::kernel::descriptors;
use crate::kernel::entry::Start;
use crate::report::{Span, misleads};
use http::{Answer, Target};
use serde_json::Value;
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

    /// Takes over what `--expect-body` and `--expect-json` ask of the body. Errors: what is wrong
    /// with them, and what to write.
    pub fn expect(&mut self, given: &Given) -> Result<(), String> {
        for text in given.all("expect-body") {
            if text.is_empty() {
                return Err("--expect-body: every body contains \"\"; write a text".to_owned());
            }
            self.body.push(text.to_owned());
        }
        for wanted in given.all("expect-json") {
            self.expect_json(wanted).map_err(|wrong| format!("--expect-json: {wrong}"))?;
        }
        Ok(())
    }

    /// Takes over a `PATH=VALUE` that a JSON body has to have. Errors: what is wrong with it, and
    /// what to write.
    pub fn expect_json(&mut self, wanted: &str) -> Result<(), String> {
        let (path, value) =
            wanted.split_once('=').filter(|(path, _)| !path.is_empty()).ok_or_else(|| {
                let wanted = shown(wanted.as_bytes());
                format!("\"{wanted}\" is no path with a value; write one like status=ok")
            })?;
        self.json.push((path.to_owned(), value.to_owned()));
        Ok(())
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
            let json: Value = serde_json::from_slice(&body)
                .map_err(|error| format!("expected JSON, got {} ({error})", page(&body)))?;
            for (path, wanted) in &self.json {
                let expected = || {
                    format!(
                        "expected {} to be {}",
                        shown(path.as_bytes()),
                        shown(wanted.as_bytes())
                    )
                };
                match find(&json, path) {
                    Some(found) if is(found, wanted) => {}
                    Some(found) => {
                        let found = shown(found.to_string().as_bytes());
                        return Err(format!("{}, got {found}", expected()));
                    }
                    None => {
                        return Err(format!("{}, which is not in {}", expected(), page(&body)));
                    }
                }
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

/// What is at a path: names and numbers with dots between them, or a JSON Pointer (RFC 6901),
/// which begins with a slash and takes every name.
fn find<'a>(json: &'a Value, path: &str) -> Option<&'a Value> {
    if path.starts_with('/') {
        return json.pointer(path);
    }
    path.split('.').try_fold(json, |json, name| match json {
        Value::Object(fields) => fields.get(name),
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        _ => None,
    })
}

/// A string is its own text; everything else, and a string in quotes, is compared as JSON.
fn is(found: &Value, wanted: &str) -> bool {
    if found.as_str() == Some(wanted) {
        return true;
    }
    match (found, serde_json::from_str(wanted)) {
        (Value::Number(found), Ok(Value::Number(wanted))) => {
            // 1 is 1.0, but two large whole numbers may be one as floating-point numbers.
            *found == wanted
                || (found.is_f64() || wanted.is_f64()) && found.as_f64() == wanted.as_f64()
        }
        (found, Ok(wanted)) => *found == wanted,
        (_, Err(_)) => false,
    }
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
            letter if misleads(letter) => line.extend(letter.escape_default()),
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
Asks for URL, http://HOST[:PORT][/PATH], with one GET of HTTP/1.1, and tells by
its exit code whether the answer is the one expected. For a HEALTHCHECK in an
image without a shell. A page for everything answers 200 to anything: expect
something of the body too. Redirects are not followed. PATH is names and places
in lists with dots between them, status or checks.0.name, or a JSON Pointer,
/checks/0/name. VALUE is the text of a string, or JSON: true, 3, null, [1,2].
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
    probe.expect(given)?;
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
    fn a_value_is_found_and_compared() {
        let json: Value = serde_json::from_str(
            r#"{"status":"ok","n":3,"f":1.0,"t":true,"z":null,"big":9007199254740993,
                "checks":{"db":{"ok":true}},"items":[{"name":"a"},{"name":"b.c"}],
                "a.b":{"c/d":"x"},"list":[1,2],"number":"3","empty":""}"#,
        )
        .unwrap();
        for (path, value) in [
            ("status", "ok"),
            ("status", "\"ok\""),
            ("n", "3"),
            ("n", "3.0"),
            ("f", "1"),
            ("t", "true"),
            ("z", "null"),
            ("big", "9007199254740993"),
            ("checks.db.ok", "true"),
            ("items.1.name", "b.c"),
            ("/a.b/c~1d", "x"),
            ("/items/0/name", "a"),
            ("list", "[1, 2]"),
            ("checks", "{\"db\":{\"ok\":true}}"),
            ("number", "3"),
            ("empty", ""),
        ] {
            assert!(find(&json, path).is_some_and(|found| is(found, value)), "{path}={value}");
        }
        for (path, value) in [
            ("status", "OK"),
            ("status", ""),
            ("n", "4"),
            ("n", "\"3\""),
            ("t", "True"),
            ("z", ""),
            ("big", "9007199254740992"),
            ("list", "[2,1]"),
        ] {
            assert!(find(&json, path).is_some_and(|found| !is(found, value)), "{path}={value}");
        }
        for path in ["nothing", "status.x", "items.2", "items.-1", "items.x", "n.0", "/items/9"] {
            assert!(find(&json, path).is_none(), "{path}");
        }
    }

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
