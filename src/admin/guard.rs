//! Who may use the admin port: whoever has the token, where there is one; and never a page from somewhere else, through an operator's browser.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::api::problem;
use crate::config;

pub struct Guard {
    /// Hashed, so that a comparison takes the same time whatever is presented.
    token: Option<[u8; 32]>,
    loopback_only: bool,
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

    fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(expected) = &self.token else { return true };
        let presented =
            headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
        presented.is_some_and(|token| {
            let presented: [u8; 32] = Sha256::digest(token.trim().as_bytes()).into();
            presented.iter().zip(expected).fold(0, |d, (a, b)| d | (a ^ b)) == 0
        })
    }

    /// A browser says where a request came from; anything but this very host is somebody else's page. On loopback without a token the
    /// host must be a loopback name too, or a foreign name could be pointed here.
    fn is_from_elsewhere(&self, headers: &HeaderMap) -> bool {
        let text = |name| headers.get(name).and_then(|v: &axum::http::HeaderValue| v.to_str().ok());
        let host = text(HOST).unwrap_or_default();
        let foreign_origin = text(ORIGIN).is_some_and(|origin| {
            origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")) != Some(host)
        });
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let foreign_name = self.token.is_none() && self.loopback_only && !is_loopback_name(name);
        foreign_origin || foreign_name
    }
}

fn is_loopback_name(name: &str) -> bool {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.is_empty() || name == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

pub async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    if !guard.admits(request.headers()) {
        let answer =
            problem(StatusCode::UNAUTHORIZED, "a bearer token is required", "send the first line of admin.token_file");
        return ([("www-authenticate", "Bearer")], answer).into_response();
    }
    if request.method() != Method::GET && guard.is_from_elsewhere(request.headers()) {
        return problem(
            StatusCode::FORBIDDEN,
            "the request comes from another site",
            "call the admin port by its own address",
        );
    }
    next.run(request).await
}
