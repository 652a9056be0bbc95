//! The control HTTP server of one agent (rule S-20).
//!
//! It listens on loopback and only tells: whoever may open a socket on this machine may read, and
//! nobody may change anything. A browser is kept out by two headers that it cannot help sending:
//! the name that it looked up (`Host`) and the page that asked (`Origin`).
//!
//! Invariant: a request reaches a handler only if it is a GET or HEAD, for a loopback name, and
//! from no page.

mod listener;
mod members;
mod watch;

use std::io;
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use mesh_gossip_proto::{Lifecycle, State as MemberState};
use serde_json::json;
use tokio::sync::{Semaphore, oneshot, watch as watch_channel};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::Desk;
use super::agents::listen;
use super::changes::History;
use super::leaders::leaders_document;
use listener::BoundedListener;

/// A request is answered by then, if only to say that it cannot be.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Long answers made at a time, each on a thread of its own.
const BUILDERS: usize = 2;
/// Connections at a time; further ones wait in the kernel's backlog.
const MOST_CONNECTIONS: usize = 64;
/// The text format that Prometheus scrapes.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A running server; it ends when this is dropped.
pub(super) struct HttpServer {
    stop: watch_channel::Sender<()>,
    /// Ends when the listener is closed.
    closed: oneshot::Receiver<()>,
}

impl HttpServer {
    /// Ends the server; returns once its port is free. Answers under way are still given.
    pub(super) async fn stop(self) {
        drop(self.stop);
        // The other end is never used: it goes with the listener.
        let _ = self.closed.await;
    }
}

/// Serves until the returned server is dropped.
///
/// # Errors
/// The listener is not bound to a loopback address, or this runtime cannot take it.
pub(super) fn serve(desk: Arc<Desk>, listener: TcpListener) -> io::Result<HttpServer> {
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("control HTTP without TLS is served on loopback only, not on {address}"),
        ));
    }
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let (open, closed) = oneshot::channel();
    let site = Arc::clone(&desk.site);
    let listener = BoundedListener { listener: listen(listener)?, places, site, _open: open };
    let (stop, stopped) = watch_channel::channel(());
    let front = Arc::new(Front::new(desk, stopped.clone()));
    let server = axum::serve(listener, routes(front)).with_graceful_shutdown(async move {
        let mut stopped = stopped;
        // Nothing is ever sent: the sender is dropped.
        let _ = stopped.changed().await;
    });
    tokio::spawn(server.into_future());
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
    Router::new()
        .route("/control/peers", get(members::peers))
        .route("/omnirelay/control/peers", get(members::peers))
        .route("/control/peers/watch", get(watch::watch))
        .route("/omnirelay/control/peers/watch", get(watch::watch))
        .route("/control/leaders", get(leaders))
        .route("/omnirelay/control/leaders", get(leaders))
        .route("/metrics", get(metrics))
        .route("/omnirelay/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .fallback(async || refusal(StatusCode::NOT_FOUND, "unknown path"))
        .layer(middleware::from_fn(guard))
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
    match local.record.record().lifecycle {
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

/// Who may ask, and for how long.
async fn guard(request: Request, next: Next) -> Response {
    let forbidden = |why| refusal(StatusCode::FORBIDDEN, why);
    if !is_local(request.uri(), request.headers()) {
        return forbidden("the Host header names no loopback address");
    }
    if request.headers().contains_key(header::ORIGIN) {
        return forbidden("requests of web pages are refused");
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return forbidden("this port only tells; changes need the control socket");
    }
    match timeout(ANSWER_WITHIN, next.run(request)).await {
        Ok(response) => response,
        Err(_elapsed) => refusal(StatusCode::SERVICE_UNAVAILABLE, "no answer in time"),
    }
}

/// Exactly one Host header, of a loopback name; an absolute target must agree.
fn is_local(uri: &Uri, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    host.to_str().is_ok_and(is_loopback_name)
        && uri.authority().is_none_or(|authority| is_loopback_name(authority.as_str()))
}

/// `localhost`, `127.0.0.0/8` or `[::1]`, with any port or none.
fn is_loopback_name(host: &str) -> bool {
    if let Some(bracketed) = host.strip_prefix('[') {
        let Some((ip, port)) = bracketed.split_once(']') else { return false };
        let port_is_fine = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return port_is_fine && ip.parse().is_ok_and(|ip: std::net::Ipv6Addr| ip.is_loopback());
    }
    let (name, port_is_fine) = match host.split_once(':') {
        Some((name, port)) => (name, is_port(port)),
        None => (host, true),
    };
    let is_loopback = name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    port_is_fine && (is_loopback || name.eq_ignore_ascii_case("localhost"))
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule S-20.
    #[test]
    fn only_loopback_names_are_names_of_ours() {
        for ours in ["localhost", "LocalHost:8080", "127.0.0.1", "127.9.9.9:1", "[::1]", "[::1]:8"]
        {
            assert!(is_loopback_name(ours), "{ours}");
        }
        for foreign in [
            "",
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost:",
            "localhost:80@evil.example",
            "10.0.0.1:8080",
            "[2001:db8::1]:8080",
            "[::1]evil",
            "[::1",
            "0.0.0.0",
        ] {
            assert!(!is_loopback_name(foreign), "{foreign}");
        }
    }
}
