//! `GET /control/peers/watch`: members as they change, by server-sent events.
//!
//! A watcher holds the view that it was told of last. When the connection has room it looks for a
//! newer one and is told the difference: however slow it reads, nothing queues up for it, and what
//! it gets next is complete.
//!
//! Invariants: an event's id names the view that its reader then has; no more than [`WATCHERS`]
//! watch at a time; a watch ends with the server.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep};

use super::members::{Pairs, tag};
use super::{Front, refusal};
use crate::control::changes::changes;
use crate::control::peers::peers_document;
use crate::control::selection::{Page, Selection, selection};
use crate::snapshot::Published;

/// Watchers of one agent; they leave most connections to those who ask once.
pub(super) const WATCHERS: usize = 16;
/// How often a watcher looks for a newer view: changes that come together are told together, and
/// the shard that makes them is not asked to ring a bell.
const LOOK: Duration = Duration::from_millis(250);
/// A watcher hears something at least so often. Below the patience of a connection.
const HEARTBEAT: Duration = Duration::from_secs(5);

pub(super) async fn watch(
    State(front): State<Arc<Front>>,
    headers: HeaderMap,
    query: Pairs,
) -> Response {
    let bad = |why: &str| refusal(StatusCode::BAD_REQUEST, why);
    let Ok(Query(query)) = query else { return bad("the query cannot be read") };
    let wanted = match selection(&query, false) {
        Ok((wanted, _)) => wanted,
        Err(error) => return bad(&error.to_string()),
    };
    let Ok(place) = Arc::clone(&front.watchers).try_acquire_owned() else {
        front.desk.site.metrics().control_dropped("watchers");
        let mut crowded = refusal(StatusCode::SERVICE_UNAVAILABLE, "too many watchers");
        crowded.headers_mut().insert(header::RETRY_AFTER, const { header_value("5") });
        return crowded;
    };
    let told = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let told = told.and_then(|id| front.history.find(id));
    front.desk.site.metrics().control_watchers(1);
    let stopped = front.stopped.clone();
    let watcher = Watcher { front, wanted, told, stopped, _place: place };
    let events = stream::unfold(watcher, |mut watcher| async {
        let event = watcher.next().await?;
        Some((Ok::<_, Infallible>(event), watcher))
    });
    let kind = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    (kind, Body::from_stream(events)).into_response()
}

const fn header_value(text: &'static str) -> axum::http::HeaderValue {
    axum::http::HeaderValue::from_static(text)
}

/// One watch.
struct Watcher {
    front: Arc<Front>,
    wanted: Selection,
    /// The view that the reader has.
    told: Option<Arc<Published>>,
    /// Closed when the server ends.
    stopped: watch::Receiver<()>,
    _place: OwnedSemaphorePermit,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.front.desk.site.metrics().control_watchers(-1);
    }
}

impl Watcher {
    /// What is sent next: an event when there is one, else a sign of life.
    async fn next(&mut self) -> Option<Bytes> {
        let silent_until = Instant::now() + HEARTBEAT;
        loop {
            if let Some(event) = self.news().await {
                return Some(event);
            }
            if Instant::now() >= silent_until {
                return Some(Bytes::from_static(b": still here\n\n"));
            }
            tokio::select! {
                _closed = self.stopped.changed() => return None,
                () = sleep(LOOK) => {}
            }
        }
    }

    /// The event that brings the reader up to date, if it is not.
    async fn news(&mut self) -> Option<Bytes> {
        let published = self.front.desk.site.published();
        let newest = tag(&published.view);
        if self.told.as_ref().is_some_and(|told| tag(&told.view) == newest) {
            return None;
        }
        let inspection = self.front.desk.inspect().await?;
        let site = Arc::clone(&self.front.desk.site);
        let (told, wanted) = (self.told.clone(), self.wanted.clone());
        let newer = Arc::clone(&published);
        let made = self.front.aside(move || {
            let is_revoked = |envelope: &[u8]| site.is_revoked(envelope);
            let text = match told {
                Some(told) => {
                    let (old, new) = (&told.view, &newer.view);
                    let document = changes(old, new, &wanted, &inspection, &is_revoked);
                    ("changes", document.map(|document| serde_json::to_string(&document)))
                }
                None => {
                    let asked = (&wanted, &Page::default());
                    let document = peers_document(&newer.view, &inspection, asked, &is_revoked);
                    ("snapshot", Some(serde_json::to_string(&document)))
                }
            };
            let (name, Some(Ok(data))) = text else { return None };
            // JSON has no raw line break, so that one line of data holds it.
            Some(format!("event: {name}\nid: {newest}\ndata: {data}\n\n"))
        });
        let event = made.await?;
        // Changes beyond the selection are told with the next one within it.
        self.told = Some(Arc::clone(&published));
        let event = event?;
        self.front.history.remember(&tag(&published.view), &published);
        Some(Bytes::from(event))
    }
}
