//! What a client asks for: the head of an HTTP/1.1 request (RFC 9112), and which of our two
//! formats its Accept header prefers (RFC 9110, section 12.5.1).

use super::metrics::Format;

/// The longest head, in bytes.
pub const MOST_BYTES: usize = 8 * 1024;

/// The most headers.
const MOST_HEADERS: usize = 64;

/// A request.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Its path, without what follows a `?`.
    pub path: String,
    /// Which format of metrics it prefers.
    pub format: Format,
    /// Whether another request may follow.
    pub keep_alive: bool,
    /// How many bytes it had.
    pub length: usize,
}

/// The methods that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // named as in RFC 9110
pub enum Method {
    Get,
    Head,
    Other,
}

/// What the bytes so far are.
#[derive(Debug, PartialEq, Eq)]
pub enum Head {
    /// A whole request.
    Whole(Request),
    /// The beginning of one.
    Part,
    /// No request that we take: the status to answer with.
    Refused(u16),
}

/// Reads the first head of `bytes`.
pub fn read(bytes: &[u8]) -> Head {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let length = match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= MOST_BYTES => length,
        Ok(httparse::Status::Partial) if bytes.len() < MOST_BYTES => return Head::Part,
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Head::Refused(431),
        Err(httparse::Error::Version) => return Head::Refused(505),
        Err(_) => return Head::Refused(400),
    };
    let is_1_1 = head.version == Some(1);
    let (mut accept, mut keep_alive, mut hosts) = (String::new(), is_1_1, 0);
    for header in head.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        let Ok(value) = std::str::from_utf8(header.value) else { continue };
        if is("accept") {
            // Several lines are one list (RFC 9110, section 5.3).
            accept = accept + "," + value;
        } else if is("connection") {
            let words = |wanted| list(value).any(|word| word.eq_ignore_ascii_case(wanted));
            keep_alive = keep_alive && !words("close") || !is_1_1 && words("keep-alive");
        } else if is("content-length") || is("transfer-encoding") {
            // A body means nothing here. It is not read, so nothing can follow it.
            if value.trim() != "0" {
                keep_alive = false;
            }
        } else if is("host") {
            hosts += 1;
        }
    }
    if is_1_1 && hosts != 1 {
        return Head::Refused(400); // RFC 9112, section 3.2
    }
    Head::Whole(Request {
        method: match head.method {
            Some("GET") => Method::Get,
            Some("HEAD") => Method::Head,
            _ => Method::Other,
        },
        path: path(head.path.unwrap_or_default()).to_owned(),
        format: format(&accept),
        keep_alive,
        length,
    })
}

/// `/metrics?x=1` and `http://host/metrics` (RFC 9112, section 3.2.2) ask for `/metrics`.
fn path(target: &str) -> &str {
    let target = match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => rest.find('/').map_or("/", |at| &rest[at..]),
        _ => target,
    };
    target.split_once('?').map_or(target, |(path, _)| path)
}

fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|word| !word.is_empty())
}

/// OpenMetrics where it is preferred to the plain text, which is what everybody else gets.
fn format(accept: &str) -> Format {
    let (mut open_metrics, mut plain, mut any) = (0, None, 0);
    for range in list(accept) {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let (mut quality, mut version) = (1000, None);
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name.trim() {
                "q" | "Q" => quality = thousandths(value.trim()),
                "version" => version = Some(value.trim().trim_matches('"')),
                _ => {}
            }
        }
        let is = |name: &str| kind.eq_ignore_ascii_case(name);
        if is("application/openmetrics-text") && matches!(version, None | Some("1.0.0")) {
            open_metrics = quality.max(open_metrics);
        } else if is("text/*") || is("text/plain") && matches!(version, None | Some("0.0.4")) {
            plain = plain.max(Some(quality));
        } else if is("*/*") {
            any = quality.max(any);
        }
    }
    // One that names OpenMetrics and takes "anything" as gladly has named it for a reason.
    match plain {
        Some(plain) if open_metrics > plain => Format::OpenMetrics,
        None if open_metrics > 0 && open_metrics >= any => Format::OpenMetrics,
        _ => Format::Plain,
    }
}

/// A weight: "0" to "1" with at most three digits behind the point (RFC 9110, section 12.4.2).
/// What makes no sense weighs nothing.
fn thousandths(weight: &str) -> u32 {
    let (whole, part) = weight.split_once('.').unwrap_or((weight, ""));
    if part.len() > 3 || !part.bytes().all(|b| b.is_ascii_digit()) {
        return 0;
    }
    let part: u32 = format!("{part:0<3}").parse().unwrap_or(0);
    match whole {
        "0" => part,
        "1" if part == 0 => 1000,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> Request {
        match read(text.as_bytes()) {
            Head::Whole(request) => request,
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn a_request_is_read_and_what_follows_it_left() {
        let first = "GET /metrics?a=b HTTP/1.1\r\nHost: x\r\n\r\n";
        let request = whole(&format!("{first}GET / HTTP/1.1\r\n"));
        assert_eq!((request.method, request.path.as_str()), (Method::Get, "/metrics"));
        assert_eq!((request.keep_alive, request.length), (true, first.len()));
        for end in 0..first.len() {
            assert_eq!(read(&first.as_bytes()[..end]), Head::Part, "{:?}", &first[..end]);
        }
    }

    #[test]
    fn who_stays_and_who_leaves() {
        for (head, stays) in [
            ("GET / HTTP/1.1\r\nHost: x\r\n", true),
            ("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n", false),
            ("GET / HTTP/1.1\r\nHost: x\r\nconnection: TE, Close\r\n", false),
            ("GET / HTTP/1.0\r\n", false),
            ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n", true),
            ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n", true),
            ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n", false),
            ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n", false),
        ] {
            assert_eq!(whole(&format!("{head}\r\n")).keep_alive, stays, "{head}");
        }
    }

    #[test]
    fn paths_come_in_two_forms() {
        for (target, wanted) in [
            ("/", "/"),
            ("/metrics?x=://y", "/metrics"),
            ("http://a:9464/metrics", "/metrics"),
            ("http://a", "/"),
            ("*", "*"),
        ] {
            assert_eq!(path(target), wanted, "{target}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let many = "X: y\r\n".repeat(MOST_HEADERS + 1);
        let long = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}", "y".repeat(MOST_BYTES));
        let long_whole = format!("{long}\r\n\r\n");
        for (text, status) in [
            ("\u{1}\u{2}\r\n", 400),
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
            (&format!("GET / HTTP/1.1\r\n{many}\r\n"), 431),
            (&long, 431),
            (&long_whole, 431),
        ] {
            assert_eq!(read(text.as_bytes()), Head::Refused(status), "{text:.80}");
        }
    }

    #[test]
    fn open_metrics_goes_to_those_who_prefer_it() {
        let prometheus_2 = "application/openmetrics-text;version=1.0.0;q=0.5,application/\
                            openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,\
                            */*;q=0.2";
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                            application/openmetrics-text;version=0.0.1;q=0.5,\
                            text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for accept in [
            prometheus_2,
            prometheus_3,
            "application/openmetrics-text",
            "application/openmetrics-text; version=\"1.0.0\", */*",
            "Application/OpenMetrics-Text;q=0.9, text/plain;q=0.8",
            "text/plain;q=0.5,application/openmetrics-text;q=0.501",
            "application/openmetrics-text, text/plain;q=0",
        ] {
            assert_eq!(format(accept), Format::OpenMetrics, "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/html, application/xhtml+xml, */*;q=0.8",
            "text/plain",
            "application/*",
            "text/plain, application/openmetrics-text",
            "text/plain;q=0.6, application/openmetrics-text;q=0.5",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;version=2.0.0, text/plain;q=0.1",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=banana",
            "application/openmetrics-text;q=1.5",
            "application/openmetrics-text;q=0.2, */*",
            ",;,;q=,=;",
        ] {
            assert_eq!(format(accept), Format::Plain, "{accept}");
        }
    }
}
