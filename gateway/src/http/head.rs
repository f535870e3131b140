//! The head of a request: request line and fields, and what they say about the body.

use httparse::{EMPTY_HEADER, Error, Request, Status};

use super::Refusal;

/// The most bytes that a head may have, its empty last line included; more is a 431.
pub const MAX_BYTES: usize = 16 * 1024;
/// The most fields that a head may have.
const MAX_FIELDS: usize = 100;

/// The methods that RFC 9110 and RFC 5789 know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// PUT
    Put,
    /// DELETE
    Delete,
    /// One that no route has: POST, PATCH, OPTIONS, TRACE, CONNECT.
    Other,
}

/// Where the body ends (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Neither Content-Length nor Transfer-Encoding: no body.
    None,
    /// Content-Length.
    Length(u64),
    /// Transfer-Encoding: chunked.
    Chunked,
}

/// A request without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// What is wanted.
    pub method: Method,
    /// The path as it was sent, still percent-encoded, without the query.
    pub path: String,
    /// What stands behind `?`; empty when there is none.
    pub query: String,
    /// HTTP/1.0: no chunked answers, no 100, and it closes unless asked not to.
    pub http_1_0: bool,
    /// Whether the client will use the connection again.
    pub keep_alive: bool,
    /// Where the body ends.
    pub framing: Framing,
    /// `Expect: 100-continue`: the client waits for a word before it sends the body.
    pub expects_continue: bool,
    /// The token of `Authorization: Bearer TOKEN`.
    pub bearer: Option<Vec<u8>>,
}

impl Head {
    /// Whether a body follows.
    pub fn has_body(&self) -> bool {
        match self.framing {
            Framing::None | Framing::Length(0) => false,
            Framing::Length(_) | Framing::Chunked => true,
        }
    }
}

/// Reads a head from the start of `bytes`: `None` when more bytes are needed, else the
/// head and how many bytes it took.
pub fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, Refusal> {
    let mut fields = [EMPTY_HEADER; MAX_FIELDS];
    let mut request = Request::new(&mut fields);
    let visible = &bytes[..bytes.len().min(MAX_BYTES)];
    let taken = match request.parse(visible) {
        Ok(Status::Complete(taken)) => taken,
        Ok(Status::Partial) if bytes.len() < MAX_BYTES => return Ok(None),
        Ok(Status::Partial) if !visible.contains(&b'\n') => {
            return Err(Refusal::new(414, "the request line is longer than 16 KiB"));
        }
        Ok(Status::Partial) => {
            return Err(Refusal::new(431, "the request's head is longer than 16 KiB"));
        }
        Err(Error::TooManyHeaders) => {
            return Err(Refusal::new(431, "the request has more than 100 header fields"));
        }
        Err(Error::Version) => {
            return Err(Refusal::new(505, "only HTTP/1.0 and HTTP/1.1 are spoken here"));
        }
        Err(_) => return Err(Refusal::new(400, "the request's head is not well formed")),
    };
    if has_bare_line_feed(&visible[..taken]) {
        return Err(Refusal::new(400, "a line of the request's head ends without CR"));
    }
    let head = understand(&request)?;
    Ok(Some((head, taken)))
}

/// RFC 9112 section 2.2 lets a reader take a line feed alone for the end of a line; one
/// before us that did not would see fewer fields than we do.
fn has_bare_line_feed(head: &[u8]) -> bool {
    head.split_inclusive(|byte| *byte == b'\n').any(|line| !line.ends_with(b"\r\n"))
}

/// Whether `bytes`, which are no head that can be read, begin one with the method HEAD:
/// its answer has no body, whatever else is wrong (RFC 9110 section 9.3.2).
pub fn is_head_method(bytes: &[u8]) -> bool {
    let start = bytes.iter().position(|byte| !b"\r\n".contains(byte)).unwrap_or(0);
    bytes[start..].starts_with(b"HEAD ")
}

fn understand(request: &Request<'_, '_>) -> Result<Head, Refusal> {
    let method = match request.method.unwrap_or_default() {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "POST" | "PATCH" | "OPTIONS" | "TRACE" | "CONNECT" => Method::Other,
        _ => return Err(Refusal::new(501, "the method is not known here")),
    };
    let (path, query) = split_target(request.path.unwrap_or_default())?;
    let http_1_0 = request.version == Some(0);

    let mut hosts = 0;
    let mut length = None;
    let mut codings = Vec::new();
    let (mut close, mut keep) = (false, !http_1_0);
    let mut expects_continue = false;
    let mut bearer = None;
    for field in request.headers.iter() {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        if is("host") {
            hosts += 1;
            // RFC 9112 section 3.2: "or a Host header field with an invalid field value".
            if !field.value.iter().all(|byte| may_be_in_host(*byte)) {
                return Err(Refusal::new(400, "Host is no name or address with a port"));
            }
        } else if is("content-length") {
            // RFC 9112 section 6.3 rule 5 lets equal duplicates pass; two parties that
            // read them differently are what request smuggling is made of.
            if length.replace(parse_length(field.value)?).is_some() {
                return Err(Refusal::new(400, "more than one Content-Length"));
            }
        } else if is("transfer-encoding") {
            let named = elements(field.value);
            // Named and empty, it says nothing about where the body ends; another
            // reader may ignore the Content-Length beside it, or refuse it.
            if named.is_empty() {
                return Err(Refusal::new(400, "Transfer-Encoding names no coding"));
            }
            codings.extend(named);
        } else if is("connection") {
            for option in elements(field.value) {
                match option.as_str() {
                    "close" => close = true,
                    "keep-alive" => keep = true,
                    _ => {}
                }
            }
        } else if is("expect") {
            if !field.value.eq_ignore_ascii_case(b"100-continue") {
                return Err(Refusal::new(417, "the only expectation known here is 100-continue"));
            }
            // RFC 9110 section 10.1.1: not in HTTP/1.0.
            expects_continue = !http_1_0;
        } else if is("authorization") {
            let token = bearer_token(field.value).map(<[u8]>::to_vec);
            if bearer.replace(token.unwrap_or_default()).is_some() {
                return Err(Refusal::new(400, "more than one Authorization"));
            }
        }
    }
    if hosts > 1 || (hosts == 0 && !http_1_0) {
        return Err(Refusal::new(400, "HTTP/1.1 wants exactly one Host"));
    }
    let framing = match (codings.as_slice(), length) {
        ([], None) => Framing::None,
        ([], Some(length)) => Framing::Length(length),
        (_, Some(_)) => {
            return Err(Refusal::new(400, "Content-Length and Transfer-Encoding in one request"));
        }
        (_, None) if http_1_0 => {
            return Err(Refusal::new(400, "HTTP/1.0 has no Transfer-Encoding"));
        }
        ([coding], None) if coding == "chunked" => Framing::Chunked,
        (several, None) if several.iter().filter(|coding| *coding == "chunked").count() > 1 => {
            return Err(Refusal::new(400, "chunked more than once"));
        }
        (_, None) => {
            return Err(Refusal::new(501, "the only transfer coding known here is chunked"));
        }
    };
    // RFC 9112 section 9.3: close wins, wherever it stands.
    let keep_alive = keep && !close;
    Ok(Head { method, path, query, http_1_0, keep_alive, framing, expects_continue, bearer })
}

/// The path and query of a request target: origin form, absolute form, or `*`
/// (RFC 9112 section 3.2).
fn split_target(target: &str) -> Result<(String, String), Refusal> {
    let local = match target.get(..7) {
        Some(scheme) if scheme.eq_ignore_ascii_case("http://") => {
            let rest = &target[7..];
            match rest.find(['/', '?']) {
                Some(0) => return Err(Refusal::new(400, "the request target has no host")),
                Some(end) if rest.as_bytes()[end] == b'/' => &rest[end..],
                Some(_) | None if rest.is_empty() => {
                    return Err(Refusal::new(400, "the request target has no host"));
                }
                Some(_) | None => "/",
            }
        }
        Some(_) | None => target,
    };
    if local != "*" && !local.starts_with('/') {
        return Err(Refusal::new(400, "the request target must begin with a slash"));
    }
    let (path, query) = local.split_once('?').unwrap_or((local, ""));
    Ok((path.to_owned(), query.to_owned()))
}

/// RFC 3986 section 3.2: names, addresses and a port, without a user.
fn may_be_in_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte)
}

fn parse_length(value: &[u8]) -> Result<u64, Refusal> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::new(400, "Content-Length is not a number"));
    }
    // Digits that no u64 holds are a number all the same, and one that is too large.
    Ok(value
        .iter()
        .fold(0_u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'))))
}

/// The elements of a comma-separated list, in lower case (RFC 9110 section 5.6.1).
fn elements(value: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(value)
        .split(',')
        .map(|element| element.trim_matches([' ', '\t']).to_ascii_lowercase())
        .filter(|element| !element.is_empty())
        .collect()
}

fn bearer_token(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Head {
        let (head, taken) = parse(text.as_bytes()).unwrap().expect("a whole head");
        assert!(text.is_char_boundary(taken));
        head
    }

    fn refused(text: &str) -> u16 {
        parse(text.as_bytes()).expect_err(&format!("{text:?} was taken")).status
    }

    #[test]
    fn plain_get_keeps_the_connection() {
        let head = head("GET /status?x=1 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(
            (head.method, head.path.as_str(), head.query.as_str()),
            (Method::Get, "/status", "x=1")
        );
        assert!(head.keep_alive && !head.has_body() && !head.http_1_0);
    }

    #[test]
    fn pipelined_requests_are_taken_one_by_one() {
        let one = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
        let text = format!("{one}GET /b HTTP/1.1\r\nHost: a\r\n\r\n");
        let (first, taken) = parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!((first.path.as_str(), taken), ("/a", one.len()));
        assert_eq!(parse(&text.as_bytes()[taken..]).unwrap().unwrap().0.path, "/b");
    }

    #[test]
    fn every_cut_of_a_head_asks_for_more() {
        let text = "PUT /memory/a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n";
        for end in 0..text.len() {
            assert_eq!(parse(&text.as_bytes()[..end]), Ok(None), "cut at {end}");
        }
    }

    #[test]
    fn http_1_0_closes_unless_asked_not_to() {
        assert!(!head("GET / HTTP/1.0\r\n\r\n").keep_alive);
        assert!(head("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keep_alive);
        assert!(!head("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").keep_alive);
    }

    #[test]
    fn close_wins_over_keep_alive_wherever_it_stands() {
        for (version, value) in [
            ("1.0", "close, keep-alive"),
            ("1.0", "keep-alive, close"),
            ("1.1", "close, keep-alive"),
            ("1.1", "keep-alive, Close"),
            ("1.0", "close\r\nConnection: keep-alive"),
        ] {
            let text = format!("GET / HTTP/{version}\r\nHost: a\r\nConnection: {value}\r\n\r\n");
            assert!(!head(&text).keep_alive, "{text:?}");
        }
    }

    #[test]
    fn transfer_encoding_that_names_no_coding_is_refused() {
        for fields in [
            "Transfer-Encoding:\r\nContent-Length: 3",
            "Content-Length: 3\r\nTransfer-Encoding: ,",
            "Transfer-Encoding: ",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding:",
        ] {
            assert_eq!(
                refused(&format!("PUT /a HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n")),
                400,
                "{fields}"
            );
        }
    }

    #[test]
    fn absolute_form_is_reduced_to_its_path() {
        assert_eq!(head("GET http://a:1/x?y HTTP/1.1\r\nHost: a\r\n\r\n").path, "/x");
        assert_eq!(head("GET HTTP://a HTTP/1.1\r\nHost: a\r\n\r\n").path, "/");
        assert_eq!(head("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").path, "*");
        assert_eq!(refused("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
        assert_eq!(refused("GET x HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
        assert_eq!(refused("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
    }

    #[test]
    fn two_lengths_are_refused_also_equal_ones() {
        for value in [
            "Content-Length: 3\r\nContent-Length: 4",
            "Content-Length: 3\r\nContent-Length: 3",
            "Content-Length: 3, 3",
        ] {
            assert_eq!(
                refused(&format!("PUT /a HTTP/1.1\r\nHost: a\r\n{value}\r\n\r\n")),
                400,
                "{value}"
            );
        }
    }

    #[test]
    fn length_is_digits_only() {
        for value in ["", "-1", "+1", "0x10", "1 2", "1e3", "١"] {
            assert_eq!(
                refused(&format!("PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: {value}\r\n\r\n")),
                400,
                "{value}"
            );
        }
    }

    #[test]
    fn huge_length_is_a_number_that_is_too_large() {
        let head =
            head("PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n");
        assert_eq!(head.framing, Framing::Length(u64::MAX));
    }

    #[test]
    fn length_with_transfer_encoding_is_refused() {
        assert_eq!(
            refused(
                "PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
            ),
            400
        );
    }

    #[test]
    fn chunked_is_the_only_transfer_coding() {
        let with = |value: &str| {
            format!("PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {value}\r\n\r\n")
        };
        assert_eq!(head(&with("Chunked")).framing, Framing::Chunked);
        assert_eq!(refused(&with("gzip, chunked")), 501);
        assert_eq!(refused(&with("identity")), 501);
        assert_eq!(refused(&with("chunked, chunked")), 400);
        assert_eq!(refused("PUT /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
    }

    #[test]
    fn folded_lines_blanks_before_colons_and_nul_are_refused() {
        assert_eq!(refused("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n"), 400);
        assert_eq!(refused("GET / HTTP/1.1\r\nHost : a\r\n\r\n"), 400);
        assert_eq!(refused("GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n"), 400);
        assert_eq!(refused("GET /\r\n\r\n"), 400);
    }

    #[test]
    fn line_feeds_without_cr_are_refused_wherever_they_stand() {
        for text in [
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nX: y\nContent-Length: 3\r\nHost: a\r\n\r\n",
        ] {
            assert_eq!(refused(text), 400, "{text:?}");
        }
        let behind = "GET / HTTP/1.1\r\nHost: a\r\n\r\n\nGET";
        assert!(parse(behind.as_bytes()).is_ok(), "what stands behind the head is not its own");
    }

    #[test]
    fn host_is_a_name_or_an_address() {
        for value in ["", "a", "a_b.example:8888", "192.0.2.1", "[::1]:80", "x%20y"] {
            head(&format!("GET / HTTP/1.1\r\nHost: {value}\r\n\r\n"));
        }
        for value in ["a b", "a/b", "user@a", "a?b", "a#b", "a\\b", "<a>", "\u{e9}"] {
            assert_eq!(
                refused(&format!("GET / HTTP/1.1\r\nHost: {value}\r\n\r\n")),
                400,
                "{value}"
            );
        }
    }

    #[test]
    fn other_versions_are_505() {
        assert_eq!(refused("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), 505);
        assert_eq!(refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505);
    }

    #[test]
    fn host_is_wanted_once() {
        assert_eq!(refused("GET / HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(refused("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), 400);
    }

    #[test]
    fn unknown_method_is_501_and_unknown_expectation_417() {
        assert_eq!(refused("BREW / HTTP/1.1\r\nHost: a\r\n\r\n"), 501);
        assert_eq!(refused("PUT / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n"), 417);
    }

    #[test]
    fn long_heads_are_431_and_long_request_lines_414() {
        let field = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(MAX_BYTES));
        assert_eq!(refused(&field), 431);
        assert_eq!(refused(&format!("GET /{}", "x".repeat(MAX_BYTES))), 414);
        let many = "X: y\r\n".repeat(MAX_FIELDS);
        assert_eq!(refused(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")), 431);
    }

    #[test]
    fn bearer_tokens_are_found_whatever_the_case_of_the_scheme() {
        let with = |value: &str| {
            head(&format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: {value}\r\n\r\n")).bearer
        };
        assert_eq!(with("Bearer abc"), Some(b"abc".to_vec()));
        assert_eq!(with("bearer  abc"), Some(b"abc".to_vec()));
        assert_eq!(with("Basic abc"), Some(Vec::new()));
    }
}
