//! `GET /control/lease-health`.
//!
//! Invariant: the document is made beside the control thread, as every long one.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::{Front, refusal, unwell};
use crate::control::leases::lease_document;

pub(super) async fn lease_health(State(front): State<Arc<Front>>) -> Response {
    let Some(inspection) = front.desk.inspect().await else { return unwell() };
    let (site, leases) = (Arc::clone(&front.desk.site), Arc::clone(&front.desk.leases));
    let body = front.aside(move || {
        serde_json::to_vec(&lease_document(&site.published().view, &inspection, &leases))
    });
    match body.await {
        Some(Ok(body)) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Some(Err(_)) | None => {
            refusal(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be made")
        }
    }
}
