//! The control HTTP server of one agent (rule S-20).
//!
//! Doors lead to it: loopback, where whoever may open a socket on this machine may read; the Unix
//! socket, through which its owner changes things as well; and mutual TLS, where a certificate says
//! which of both its holder may.
//!
//! Invariant: without TLS nothing is served to other machines.

pub(super) mod gate;
mod guard;
mod leases;
mod leave;
mod listener;
mod logging;
mod members;
mod page;
pub(super) mod socket;
mod table;
mod upgrade;
mod watch;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use mesh_gossip_proto::{Lifecycle, State as MemberState};
use serde_json::json;
use tokio::sync::{Semaphore, oneshot, watch as watch_channel};
use tokio::task::spawn_blocking;

use super::Desk;
use super::changes::History;
use super::leaders::leaders_document;
use gate::HttpPort;
use listener::{BoundedListener, Door};
use socket::OwnerSocket;
use table::ROUTES;

/// A request is answered by then, if only to say that it cannot be.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Long answers made at a time, each on a thread of its own.
const BUILDERS: usize = 2;
/// Connections at a time; further ones wait in the kernel's backlog.
const MOST_CONNECTIONS: usize = 64;
/// Bytes of a request's body, at most: an operator's order with its chain fits.
const MOST_BODY: usize = 64 * 1_024;
/// The text format that Prometheus scrapes.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A running server; it ends when this is dropped.
pub(super) struct HttpServer {
    stop: watch_channel::Sender<()>,
    /// Each ends when its listener is closed.
    closed: Vec<oneshot::Receiver<()>>,
}

impl HttpServer {
    /// Ends the server; returns once its port is free. Answers under way are still given.
    pub(super) async fn stop(self) {
        drop(self.stop);
        for closed in self.closed {
            // The other end is never used: it goes with the listener.
            let _ = closed.await;
        }
    }
}

/// Serves until the returned server is dropped.
///
/// # Errors
/// The listener is not bound to a loopback address and has no TLS, or this runtime cannot take it.
pub(super) fn serve(
    desk: Arc<Desk>,
    tcp: Option<HttpPort>,
    socket: Option<OwnerSocket>,
) -> io::Result<HttpServer> {
    let mut doors = Vec::new();
    if let Some(HttpPort { listener, gate }) = tcp {
        let address = listener.local_addr()?;
        doors.push(match gate {
            Some(gate) => Door::tls(listener, gate, Arc::clone(&desk.site))?,
            None if address.ip().is_loopback() => Door::loopback(listener)?,
            None => {
                return Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    format!(
                        "control HTTP without TLS is served on loopback only, not on {address}"
                    ),
                ));
            }
        });
    }
    if let Some(socket) = socket {
        doors.push(Door::socket(socket)?);
    }
    let (stop, stopped) = watch_channel::channel(());
    let front = Arc::new(Front::new(desk, stopped.clone()));
    let mut closed = Vec::new();
    for door in doors {
        // Of its own: a crowd at one door does not lock the other.
        let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        let (open, closes) = oneshot::channel();
        let site = Arc::clone(&front.desk.site);
        let listener = BoundedListener { door, places, site, _open: open };
        let mut stopped = stopped.clone();
        let routes =
            routes(Arc::clone(&front)).into_make_service_with_connect_info::<guard::Caller>();
        let server = axum::serve(listener, routes).with_graceful_shutdown(async move {
            // Nothing is ever sent: the sender is dropped.
            let _ = stopped.changed().await;
        });
        tokio::spawn(server.into_future());
        closed.push(closes);
    }
    Ok(HttpServer { stop, closed })
}

/// What the handlers share.
struct Front {
    desk: Arc<Desk>,
    builders: Semaphore,
    watchers: Arc<Semaphore>,
    history: History,
    /// Closed when the server ends.
    stopped: watch_channel::Receiver<()>,
}

impl Front {
    fn new(desk: Arc<Desk>, stopped: watch_channel::Receiver<()>) -> Self {
        let (builders, watchers) = (Semaphore::new(BUILDERS), Semaphore::new(watch::WATCHERS));
        let (watchers, history) = (Arc::new(watchers), History::default());
        Self { desk, builders, watchers, history, stopped }
    }

    /// Does what takes milliseconds where nobody waits for it: this thread also carries bulk sync.
    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let _turn = self.builders.acquire().await.ok()?;
        spawn_blocking(work).await.ok()
    }
}

fn routes(front: Arc<Front>) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        for path in route.paths() {
            router = router.route(&path, route.what.handler());
        }
    }
    router
        .fallback(async || refusal(StatusCode::NOT_FOUND, "unknown path"))
        .method_not_allowed_fallback(async || {
            refusal(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method")
        })
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .layer(middleware::from_fn_with_state(Arc::clone(&front), guard::guard))
        .with_state(front)
}

/// Of all scopes, or of the one that `scope` names.
async fn leaders(
    State(front): State<Arc<Front>>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Response {
    let bad = |why: &str| refusal(StatusCode::BAD_REQUEST, why);
    let Ok(Query(query)) = query else { return bad("the query cannot be read") };
    let scope = match query.as_slice() {
        [] => None,
        [(name, scope)] if name == "scope" && !scope.is_empty() => Some(scope.as_str()),
        _ => return bad("the only filter is scope=NAME, once"),
    };
    let Some(inspection) = front.desk.inspect().await else { return unwell() };
    let published = front.desk.site.published();
    match leaders_document(&published.view, scope, inspection.wall) {
        Ok(document) => Json(document).into_response(),
        Err(unknown) => refusal(StatusCode::NOT_FOUND, &unknown.to_string()),
    }
}

async fn metrics(State(front): State<Arc<Front>>) -> Response {
    let Some(inspection) = front.desk.inspect().await else { return unwell() };
    let text = front.desk.site.metrics().render(&front.desk.site.published().view, &inspection);
    ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response()
}

/// Healthy: the shard answers.
async fn healthz(State(front): State<Arc<Front>>) -> Response {
    match front.desk.inspect().await {
        Some(_) => Json(json!({"status": "healthy"})).into_response(),
        None => unwell(),
    }
}

/// Ready: joined, present in its own view, and not handing its work over.
async fn readyz(State(front): State<Arc<Front>>) -> Response {
    if front.desk.inspect().await.is_none() {
        return unwell();
    }
    let not_ready = |why| refusal(StatusCode::SERVICE_UNAVAILABLE, why);
    if !front.desk.site.is_joined() {
        return not_ready("not joined");
    }
    let published = front.desk.site.published();
    let Some(local) = published.view.member(published.view.local()) else {
        return not_ready("stopped");
    };
    match local.state {
        MemberState::Alive | MemberState::Suspect => {}
        MemberState::Dead | MemberState::Left => return not_ready("stopped"),
    }
    // What was asked of us holds at once; the view may be a moment behind.
    match local.record.record().lifecycle.max(front.desk.upgrade.lifecycle()) {
        // A cordoned member takes no new work of the mesh; it serves what it has.
        Lifecycle::Active | Lifecycle::Cordoned => Json(json!({"status": "ready"})).into_response(),
        Lifecycle::Draining | Lifecycle::Drained => not_ready("draining"),
        Lifecycle::Leaving => not_ready("stopped"),
    }
}

fn unwell() -> Response {
    refusal(StatusCode::SERVICE_UNAVAILABLE, "the agent does not answer")
}

fn refusal(status: StatusCode, why: &str) -> Response {
    (status, Json(json!({"error": why}))).into_response()
}
