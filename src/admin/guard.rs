//! Who may use the admin port: whoever has the token, where there is one; and never a page from somewhere else, through an operator's browser.
//!
//! What a browser can be made to send by another site's page, and what stops it:
//!   1. a form or a script posts here: its `Origin` is not this host, its `Sec-Fetch-Site` not `same-origin`;
//!   2. the page's own name is pointed at 127.0.0.1 (DNS rebinding): origin and host agree, but the host is no loopback name;
//!   3. neither header is sent, by an old browser: only a body that is not JSON can be sent so, and a browser's request has to be JSON.
//!
//! With a token all three lack it. Tools that are no browsers send none of these headers, and are not held to them.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, HeaderName, ORIGIN, REFERER, USER_AGENT};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::api::problem;
use crate::config;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

pub struct Guard {
    /// Hashed, so that a comparison takes the same time whatever is presented.
    token: Option<[u8; 32]>,
    loopback_only: bool,
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Objection {
    NoToken,
    ForeignName,
    ForeignSite,
    NotJson,
}

impl Guard {
    pub fn new(config: &config::Admin) -> Result<Self, String> {
        let token = match &config.token_file {
            None => None,
            Some(path) => {
                let text =
                    std::fs::read_to_string(path).map_err(|e| format!("admin.token_file: {}: {e}", path.display()))?;
                let token = text.lines().next().unwrap_or_default().trim().to_owned();
                if token.is_empty() {
                    return Err(format!("admin.token_file: {}: its first line is empty", path.display()));
                }
                Some(Sha256::digest(token.as_bytes()).into())
            }
        };
        Ok(Guard { token, loopback_only: config.listen.ip().is_loopback() })
    }

    fn objection(&self, method: &Method, headers: &HeaderMap) -> Option<Objection> {
        let changes = ![Method::GET, Method::HEAD].contains(method);
        if !self.admits(headers) {
            return Some(Objection::NoToken);
        }
        if self.is_foreign_name(headers) {
            return Some(Objection::ForeignName);
        }
        match changes {
            true if is_foreign_site(headers) => Some(Objection::ForeignSite),
            true if is_browser(headers) && !is_json(headers) => Some(Objection::NotJson),
            _ => None,
        }
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(expected) = &self.token else { return true };
        let presented = text(headers, &AUTHORIZATION).and_then(|v| v.strip_prefix("Bearer "));
        presented.is_some_and(|token| {
            let presented: [u8; 32] = Sha256::digest(token.trim().as_bytes()).into();
            presented.iter().zip(expected).fold(0, |d, (a, b)| d | (a ^ b)) == 0
        })
    }

    /// Without a token the host must be a loopback name, or a foreign one could be pointed here.
    fn is_foreign_name(&self, headers: &HeaderMap) -> bool {
        let host = text(headers, &HOST).unwrap_or_default();
        self.token.is_none() && self.loopback_only && !is_loopback_name(host)
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// A browser says where a request came from; anything but this very host is somebody else's page.
fn is_foreign_site(headers: &HeaderMap) -> bool {
    let host = text(headers, &HOST).unwrap_or_default();
    let own = |origin: &str| [origin.strip_prefix("http://"), origin.strip_prefix("https://")].contains(&Some(host));
    let foreign_origin = headers.contains_key(ORIGIN) && !text(headers, &ORIGIN).is_some_and(own);
    let site = text(headers, &FETCH_SITE);
    foreign_origin || site.is_some_and(|site| !["same-origin", "none"].contains(&site))
}

fn is_browser(headers: &HeaderMap) -> bool {
    let is_mozilla = text(headers, &USER_AGENT).is_some_and(|agent| agent.starts_with("Mozilla/"));
    is_mozilla || [ORIGIN, REFERER, COOKIE, FETCH_SITE].iter().any(|name| headers.contains_key(name))
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = text(headers, &CONTENT_TYPE).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// `host`, `host:port`, `[address]:port`; none at all comes from no browser.
fn is_loopback_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let is_address = || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    host.is_empty() || name.eq_ignore_ascii_case("localhost") || is_address()
}

fn refusal(objection: Objection) -> Response {
    match objection {
        Objection::NoToken => {
            let hint = "send the first line of admin.token_file as \"Authorization: Bearer ...\"";
            let answer = problem(StatusCode::UNAUTHORIZED, "a bearer token is required", hint);
            ([("www-authenticate", "Bearer")], answer).into_response()
        }
        Objection::ForeignName => problem(
            StatusCode::MISDIRECTED_REQUEST,
            "the port is called by a name that is not its own",
            "without admin.token_file it answers to localhost, 127.0.0.1 and [::1] only",
        ),
        Objection::ForeignSite => problem(
            StatusCode::FORBIDDEN,
            "the request comes from another site",
            "call the admin port by its own address",
        ),
        Objection::NotJson => problem(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "a browser's request has to be JSON",
            "send it with Content-Type: application/json",
        ),
    }
}

pub async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.objection(request.method(), request.headers()) {
        Some(objection) => refusal(objection),
        None => next.run(request).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (HeaderName::from_static(k), v.parse().expect("a header"))).collect()
    }

    fn open() -> Guard {
        Guard { token: None, loopback_only: true }
    }

    #[test]
    fn a_tool_needs_no_headers_and_a_foreign_page_gets_nowhere() {
        let json = ("content-type", "application/json");
        let own = ("origin", "http://127.0.0.1:6441");
        let host = ("host", "127.0.0.1:6441");
        let form = ("content-type", "application/x-www-form-urlencoded");
        let cases = [
            (vec![host], None),
            (vec![host, form], None),
            (vec![host, own, json], None),
            (vec![("host", "localhost:6441"), ("origin", "http://localhost:6441"), json], None),
            (vec![("host", "[::1]:6441"), json, ("sec-fetch-site", "same-origin")], None),
            (vec![host, own, form], Some(Objection::NotJson)),
            (vec![host, ("user-agent", "Mozilla/5.0"), form], Some(Objection::NotJson)),
            (vec![host, ("origin", "http://evil.example"), json], Some(Objection::ForeignSite)),
            (vec![host, ("origin", "http://127.0.0.1:8080"), json], Some(Objection::ForeignSite)),
            (vec![host, ("origin", "null"), json], Some(Objection::ForeignSite)),
            (vec![host, own, ("sec-fetch-site", "cross-site"), json], Some(Objection::ForeignSite)),
            (
                vec![("host", "evil.example:6441"), ("origin", "http://evil.example:6441"), json],
                Some(Objection::ForeignName),
            ),
            (vec![("host", "127.0.0.1.evil.example")], Some(Objection::ForeignName)),
        ];
        for (given, expected) in cases {
            assert_eq!(open().objection(&Method::PATCH, &headers(&given)), expected, "{given:?}");
        }
    }

    #[test]
    fn reading_by_a_foreign_name_is_refused_too() {
        let rebound = headers(&[("host", "evil.example:6441")]);
        assert_eq!(open().objection(&Method::GET, &rebound), Some(Objection::ForeignName));
        let with_token = Guard { token: Some(Sha256::digest(b"word").into()), loopback_only: true };
        assert_eq!(with_token.objection(&Method::GET, &rebound), Some(Objection::NoToken));
        let known = headers(&[("host", "pgduet.internal"), ("authorization", "Bearer word")]);
        assert_eq!(with_token.objection(&Method::GET, &known), None);
    }
}
