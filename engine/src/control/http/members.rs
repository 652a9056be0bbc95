//! `GET /control/peers`: members by filters and pages, and nothing where nothing changed.
//!
//! Invariant: the tag names one version of one life's view, so that who shows it again is told
//! "not modified" exactly while that view stands.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use mesh_gossip_proto::View;

use super::{Front, refusal, unwell};
use crate::control::peers::peers_document;
use crate::control::selection::selection;

/// The query of a request as pairs.
pub(super) type Pairs = Result<Query<Vec<(String, String)>>, QueryRejection>;

pub(super) async fn peers(
    State(front): State<Arc<Front>>,
    headers: HeaderMap,
    query: Pairs,
) -> Response {
    let bad = |why: &str| refusal(StatusCode::BAD_REQUEST, why);
    let Ok(Query(query)) = query else { return bad("the query cannot be read") };
    let (wanted, page) = match selection(&query, true) {
        Ok(asked) => asked,
        Err(error) => return bad(&error.to_string()),
    };
    // Read before the inspection: contacts may be newer than the view, never older.
    let published = front.desk.site.published();
    let etag = format!("\"{}\"", tag(&published.view));
    let caching = [(header::ETAG, etag.clone()), (header::CACHE_CONTROL, "no-cache".to_owned())];
    if is_known(&headers, &etag) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    let Some(inspection) = front.desk.inspect().await else { return unwell() };
    let site = Arc::clone(&front.desk.site);
    let body = front.aside(move || {
        let is_revoked = |envelope: &[u8]| site.is_revoked(envelope);
        let document = peers_document(&published.view, &inspection, (&wanted, &page), &is_revoked);
        serde_json::to_vec(&document)
    });
    match body.await {
        Some(Ok(body)) => {
            let kind = [(header::CONTENT_TYPE, "application/json")];
            (caching, kind, Bytes::from(body)).into_response()
        }
        Some(Err(_)) | None => {
            refusal(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be made")
        }
    }
}

/// Names a version of the view of one life: versions begin anew with every life.
pub(super) fn tag(view: &View) -> String {
    let life = view.member(view.local()).map_or(0, |local| local.incarnation().generation);
    format!("{life:x}-{:x}", view.version())
}

/// Whether the client holds this very version (RFC 9110 §13.1.2).
fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|held| {
        let held = held.trim();
        held == "*" || held.strip_prefix("W/").unwrap_or(held) == etag
    })
}
