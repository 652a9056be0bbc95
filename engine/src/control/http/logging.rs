//! `/control/logging`: what the host logs, told and changed.
//!
//! Invariant: a filter that the host does not understand changes nothing.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Deserializer};

use super::{Front, refusal};
use crate::control::logging::{LONGEST, LogError, LogStatus, MOST_FILTER};
use crate::settings::span;

/// What a changing request says; nothing: back to what is configured.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Wish {
    #[serde(default, deserialize_with = "given")]
    filter: Option<String>,
    #[serde(rename = "for")]
    within: Option<String>,
}

/// A text. `null` is none: whoever meant a filter and had none would undo another's.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

pub(super) async fn told(State(front): State<Arc<Front>>) -> Response {
    answer(front.desk.logging.status())
}

pub(super) async fn turn(State(front): State<Arc<Front>>, body: Bytes) -> Response {
    let bad = |why: &str| refusal(StatusCode::BAD_REQUEST, why);
    let wish = if body.is_empty() { Ok(Wish::default()) } else { serde_json::from_slice(&body) };
    let Wish { filter, within } = match wish {
        Ok(wish) => wish,
        Err(error) => {
            return bad(&format!("the body is not {{\"filter\":\"…\",\"for\":\"10m\"}}: {error}"));
        }
    };
    if filter.as_ref().is_some_and(|filter| filter.len() > MOST_FILTER) {
        return bad(&format!("a filter has {MOST_FILTER} bytes at most"));
    }
    let within = match (within.as_deref().map(span).transpose(), &filter) {
        (Err(problem), _) => return bad(&format!("for: {problem}")),
        (Ok(Some(_)), None) => return bad("for needs a filter"),
        (Ok(Some(within)), Some(_)) if within.is_zero() || within > LONGEST => {
            return bad("for is above zero, and a day at most");
        }
        (Ok(within), _) => within,
    };
    let turned = front.desk.logging.turn(filter.as_deref(), within);
    if turned.is_ok() {
        // After the change: a filter that hides this line is one that its owner wanted.
        tracing::info!(
            target: "mesh_gossip",
            NodeId = front.desk.site.node_id(),
            Filter = filter.as_deref().unwrap_or("as configured"),
            For = ?within,
            "what is logged was changed"
        );
    }
    answer(turned)
}

fn answer(outcome: Result<LogStatus, LogError>) -> Response {
    match outcome {
        Ok(status) => Json(status).into_response(),
        Err(LogError::NotGiven) => {
            refusal(StatusCode::NOT_IMPLEMENTED, "the host has not given its log to the agent")
        }
        Err(LogError::Filter(error)) => refusal(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}
