//! The dashboard: three files out of the binary, and nothing from anywhere else.
//!
//! The policy allows scripts and styles of this origin only, nothing inline, no frame around it, and no text to become markup: what is
//! shown of statements and errors was written by others.

use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY};
use axum::http::header::{X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use axum::response::{IntoResponse, Response};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";
const OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// In the order in which they stand on each other.
const SCRIPT: &str = concat!(
    include_str!("page/dom.js"),
    include_str!("page/format.js"),
    include_str!("page/server.js"),
    include_str!("page/plot.js"),
    include_str!("page/sorted.js"),
    include_str!("page/questions.js"),
    include_str!("page/change.js"),
    include_str!("page/phase.js"),
    include_str!("page/reads.js"),
    include_str!("page/link.js"),
    include_str!("page/shadow.js"),
    include_str!("page/records.js"),
    include_str!("page/main.js"),
);

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, "no-cache"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (OPENER, "same-origin"),
        (RESOURCE, "same-origin"),
    ];
    (headers, text).into_response()
}

pub async fn index() -> Response {
    file("text/html; charset=utf-8", include_str!("page/index.html"))
}

pub async fn style() -> Response {
    file("text/css; charset=utf-8", include_str!("page/style.css"))
}

pub async fn script() -> Response {
    file("text/javascript; charset=utf-8", SCRIPT)
}

pub async fn icon() -> Response {
    file("image/svg+xml", include_str!("page/icon.svg"))
}
