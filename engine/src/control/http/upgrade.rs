//! `/control/upgrade`, `/control/cordon` and `/control/uncordon`.
//!
//! Invariant: what was asked goes on whether or not whoever asked waits for the answer.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::task::spawn_blocking;

use super::{Front, refusal};
use crate::control::upgrade::{MOST_REASON, Upgrade, UpgradeError, UpgradeStatus};

/// What a changing request says.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Wish {
    reason: Option<String>,
}

pub(super) async fn status(State(front): State<Arc<Front>>) -> Response {
    Json(front.desk.upgrade.status()).into_response()
}

pub(super) async fn drain(State(front): State<Arc<Front>>, body: Bytes) -> Response {
    change(front, body, |upgrade, reason| upgrade.drain(reason)).await
}

pub(super) async fn resume(State(front): State<Arc<Front>>, body: Bytes) -> Response {
    change(front, body, |upgrade, _| upgrade.resume()).await
}

pub(super) async fn cordon(State(front): State<Arc<Front>>, body: Bytes) -> Response {
    change(front, body, |upgrade, reason| upgrade.cordon(reason)).await
}

pub(super) async fn uncordon(State(front): State<Arc<Front>>, body: Bytes) -> Response {
    change(front, body, |upgrade, _| upgrade.uncordon()).await
}

async fn change(
    front: Arc<Front>,
    body: Bytes,
    act: impl FnOnce(&Arc<Upgrade>, Option<String>) -> Result<UpgradeStatus, UpgradeError>
    + Send
    + 'static,
) -> Response {
    let wish = if body.is_empty() { Ok(Wish::default()) } else { serde_json::from_slice(&body) };
    let reason = match wish {
        Ok(Wish { reason }) => reason.filter(|reason| !reason.is_empty()),
        Err(error) => {
            let why = format!("the body is not {{\"reason\":\"…\"}}: {error}");
            return refusal(StatusCode::BAD_REQUEST, &why);
        }
    };
    if reason.as_ref().is_some_and(|reason| reason.len() > MOST_REASON) {
        let why = format!("a reason has {MOST_REASON} bytes at most");
        return refusal(StatusCode::BAD_REQUEST, &why);
    }
    let upgrade = Arc::clone(&front.desk.upgrade);
    match spawn_blocking(move || act(&upgrade, reason)).await {
        Ok(Ok(status)) => Json(status).into_response(),
        Ok(Err(UpgradeError::Conflict(why))) => refusal(StatusCode::CONFLICT, &why),
        Ok(Err(UpgradeError::Agent(error))) => {
            refusal(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
        }
        Err(_) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "the change ended unfinished"),
    }
}
