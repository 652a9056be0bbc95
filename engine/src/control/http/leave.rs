//! `/control/leave` and `/control/force-leave`.
//!
//! Invariant: a goodbye goes on whether or not whoever asked waits for the answer.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use mesh_gossip_proto::{Command, CommandError};
use serde_json::json;
use tokio::sync::oneshot;

use super::{Front, refusal, unwell};
use crate::orders::{Order, Reply};

/// Says goodbye; the answer comes when enough members know, or says that it is under way.
pub(super) async fn leave(State(front): State<Arc<Front>>) -> Response {
    // Of its own: with the connection goes the handler, and the host would not learn that its agent
    // has left.
    let goodbye = tokio::spawn(async move {
        let agent = front.desk.agent;
        let done = order(&front, |reply| Order::Leave { agent, reply }).await;
        if let Some(Ok(_)) = done {
            front.desk.upgrade.leaves();
        }
        done
    });
    match goodbye.await {
        Ok(Some(Ok(acknowledged))) => Json(json!({"acknowledged": acknowledged})).into_response(),
        Ok(Some(Err(error))) => refused(&error),
        // A panic was told by its own hook.
        Ok(None) | Err(_) => unwell(),
    }
}

/// Obeys an operator's signed order, which is the body, and passes it on (rule S-14).
pub(super) async fn force_leave(State(front): State<Arc<Front>>, body: Bytes) -> Response {
    let (agent, command) = (front.desk.agent, Command::ForceLeave(body.to_vec()));
    match order(&front, |reply| Order::Command { agent, command, reply }).await {
        Some(Ok(())) => Json(json!({"status": "obeyed"})).into_response(),
        Some(Err(error)) => refused(&error),
        None => unwell(),
    }
}

async fn order<T: Send + 'static>(
    front: &Front,
    order: impl FnOnce(Reply<T>) -> Order,
) -> Option<T> {
    let (answer, asked) = oneshot::channel();
    let reply = Box::new(move |done| {
        // Whoever asked may have given up.
        let _ = answer.send(done);
    });
    front.desk.shard.order(order(reply)).ok()?;
    asked.await.ok()
}

/// What was asked is not understood, or cannot be in the node's present state.
fn refused(error: &CommandError) -> Response {
    let status = match error {
        CommandError::NoOrder(_) | CommandError::TooLarge(..) => StatusCode::BAD_REQUEST,
        CommandError::Stopped
        | CommandError::MetadataTooLarge(..)
        | CommandError::MetadataMissing(_)
        | CommandError::Stale
        | CommandError::Immutable(_)
        | CommandError::Signing
        | CommandError::Order(_)
        | CommandError::TooFast
        | CommandError::NoSuchMember => StatusCode::CONFLICT,
    };
    refusal(status, &error.to_string())
}
