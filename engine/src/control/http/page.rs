//! `/`: the status page, one file that needs nothing from anywhere else.
//!
//! Invariant: the page runs the script and the style that are in it and no others, and speaks with
//! the server that it came from and nobody else; its headers hold a browser to that.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::tls::provider::sha256;

const PAGE: &str = include_str!("status.html");

/// The hashes are taken here, so that an edit of the page cannot forget them.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        source("script"),
        source("style"),
    )
});

/// The one element of this name, as a policy names it.
fn source(element: &str) -> String {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    let inside = PAGE.split_once(&open).and_then(|(_, rest)| rest.split_once(&close));
    let (inside, _) = inside.unwrap_or_default();
    format!("'sha256-{}'", STANDARD.encode(sha256(inside.as_bytes())))
}

pub(super) async fn page() -> Response {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY.as_str()),
        (header::CACHE_CONTROL, "no-cache"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, Html(PAGE)).into_response()
}
