//! Which request means what: path, method and token, in this order. Nothing here
//! touches the state of the server.

use std::borrow::Cow;

use crate::http::head::{Framing, Head, Method};
use crate::http::response::Response;
use crate::token::Token;

/// The most bytes of a key, after percent-decoding.
const MAX_KEY: usize = 512;
/// Entries of a list where no limit is asked for, and the most there are.
const LIST_LIMIT: usize = 1_000;

/// What a request asks for.
#[derive(Debug)]
pub enum Route {
    /// `/status`.
    Status,
    /// `/health` and `/healthz`.
    Health,
    /// `/ready` and `/readyz`.
    Ready,
    /// `/startupz`.
    Startup,
    /// `/metrics`.
    Metrics,
    /// GET of `/memory/KEY`.
    Get(String),
    /// PUT of `/memory/KEY`.
    Put(String),
    /// DELETE of `/memory/KEY`.
    Delete(String),
    /// GET of `/memory`.
    List {
        /// The key to begin behind.
        after: String,
        /// The most entries.
        limit: usize,
    },
}

/// Finds the route; an error is the answer.
pub fn find(head: &Head, token: Option<&Token>) -> Result<Route, Response> {
    let route = match head.path.as_str() {
        "/status" => read_only(head, Route::Status)?,
        "/health" | "/healthz" => read_only(head, Route::Health)?,
        "/ready" | "/readyz" => read_only(head, Route::Ready)?,
        "/startupz" => read_only(head, Route::Startup)?,
        "/metrics" => read_only(head, Route::Metrics)?,
        "/memory" => {
            read_only(head, ())?;
            admit(head, token)?;
            list(&head.query)?
        }
        path => match path.strip_prefix("/memory/") {
            Some(key) => one_key(head, key, token)?,
            None => {
                return Err(Response::error(
                    404,
                    "no such path; see /status, /health, /ready, /metrics, /memory",
                ));
            }
        },
    };
    Ok(route)
}

/// Whether the request carries the token.
pub fn has_token(head: &Head, token: Option<&Token>) -> bool {
    match (token, &head.bearer) {
        (Some(token), Some(offered)) => token.matches(offered),
        (Some(_), None) | (None, _) => false,
    }
}

fn read_only<T>(head: &Head, route: T) -> Result<T, Response> {
    match head.method {
        Method::Get | Method::Head => Ok(route),
        Method::Put | Method::Delete | Method::Other => Err(not_allowed("GET, HEAD")),
    }
}

fn not_allowed(methods: &'static str) -> Response {
    Response::error(405, "this path does not know the method").with("Allow", methods)
}

fn admit(head: &Head, token: Option<&Token>) -> Result<(), Response> {
    if token.is_none() {
        return Err(Response::error(
            403,
            "no token is set; start the gateway with GATEWAY_TOKEN or GATEWAY_TOKEN_FILE",
        ));
    }
    if !has_token(head, token) {
        return Err(Response::error(401, "wants the header Authorization: Bearer TOKEN")
            .with("WWW-Authenticate", "Bearer realm=\"openclaw\""));
    }
    Ok(())
}

fn one_key(head: &Head, key: &str, token: Option<&Token>) -> Result<Route, Response> {
    if head.method == Method::Other {
        return Err(not_allowed("GET, HEAD, PUT, DELETE"));
    }
    admit(head, token)?;
    let key = percent_decode(key)
        .filter(|key| (1..=MAX_KEY).contains(&key.len()))
        .ok_or_else(|| Response::error(400, "a key is 1 to 512 bytes of percent-encoded UTF-8"))?
        .into_owned();
    Ok(match head.method {
        Method::Get | Method::Head => Route::Get(key),
        Method::Delete => Route::Delete(key),
        // RFC 9110 section 15.5.12: without a length nobody knows whether a value is
        // empty or lost.
        Method::Put if head.framing == Framing::None => {
            return Err(Response::error(411, "PUT wants a Content-Length or a chunked body"));
        }
        Method::Put | Method::Other => Route::Put(key),
    })
}

fn list(query: &str) -> Result<Route, Response> {
    let mut after = String::new();
    let mut limit = LIST_LIMIT;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match name {
            "after" => {
                after = percent_decode(value)
                    .ok_or_else(|| Response::error(400, "after: not percent-encoded UTF-8"))?
                    .into_owned();
            }
            "limit" => {
                limit = value
                    .parse()
                    .ok()
                    .filter(|limit| (1..=LIST_LIMIT).contains(limit))
                    .ok_or_else(|| Response::error(400, "limit: a number from 1 to 1000"))?;
            }
            _ => return Err(Response::error(400, "the list knows after=KEY and limit=N")),
        }
    }
    Ok(Route::List { after, limit })
}

fn percent_decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high << 4 | low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head;

    fn ask(line: &str, fields: &str, token: Option<&str>) -> Result<Route, u16> {
        let text = format!("{line} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let (head, _) = head::parse(text.as_bytes()).unwrap().unwrap();
        let token = token.map(|token| Token::new(token, "test").unwrap());
        find(&head, token.as_ref()).map_err(|response| response.status)
    }

    #[test]
    fn path_comes_before_method_and_method_before_token() {
        assert_eq!(ask("GET /nowhere", "", Some("t")).unwrap_err(), 404);
        assert_eq!(ask("PUT /nowhere", "", Some("t")).unwrap_err(), 404);
        assert_eq!(ask("PUT /memory", "", Some("t")).unwrap_err(), 405);
        assert_eq!(ask("POST /memory/a", "", Some("t")).unwrap_err(), 405);
        assert_eq!(ask("GET /memory/a", "", Some("t")).unwrap_err(), 401);
        assert_eq!(
            ask("GET /memory/a", "Authorization: Bearer x\r\n", Some("t")).unwrap_err(),
            401
        );
        assert_eq!(ask("GET /memory/a", "Authorization: Bearer t\r\n", None).unwrap_err(), 403);
        assert!(ask("GET /memory/a", "Authorization: Bearer t\r\n", Some("t")).is_ok());
    }

    #[test]
    fn keys_are_percent_decoded_and_bounded() {
        let auth = "Authorization: Bearer t\r\n";
        let key = |path: &str| match ask(&format!("GET /memory/{path}"), auth, Some("t")) {
            Ok(Route::Get(key)) => Ok(key),
            Ok(other) => panic!("{other:?}"),
            Err(status) => Err(status),
        };
        assert_eq!(key("a%20b/c%C3%A9"), Ok("a b/cé".to_owned()));
        assert_eq!(key(&"x".repeat(512)), Ok("x".repeat(512)));
        for bad in ["", "%", "%4", "%zz", "%ff", "%+1", &"x".repeat(513)] {
            assert_eq!(key(bad), Err(400), "{bad:?}");
        }
    }

    #[test]
    fn put_wants_a_length() {
        let auth = "Authorization: Bearer t\r\n";
        assert_eq!(ask("PUT /memory/a", auth, Some("t")).unwrap_err(), 411);
        assert!(ask("PUT /memory/a", &format!("{auth}Content-Length: 0\r\n"), Some("t")).is_ok());
    }

    #[test]
    fn list_knows_after_and_limit() {
        let auth = "Authorization: Bearer t\r\n";
        assert!(matches!(
            ask("GET /memory?after=a%26b&limit=2", auth, Some("t")),
            Ok(Route::List { after, limit: 2 }) if after == "a&b"
        ));
        for bad in ["limit=0", "limit=1001", "limit=x", "sort=up", "after=%"] {
            assert_eq!(
                ask(&format!("GET /memory?{bad}"), auth, Some("t")).unwrap_err(),
                400,
                "{bad}"
            );
        }
    }
}
