//! Every route once: the router and the document at `/openapi.json` are both made from this.
//!
//! Invariant: a route that is served is documented, and the other way round.

use std::sync::Arc;

use axum::Json;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use serde_json::{Map, Value, json};

use super::{
    Front, healthz, leaders, leases, leave, logging, members, metrics, page, readyz, upgrade, watch,
};

/// One route.
pub(super) struct Route {
    /// Its path.
    pub(super) path: &'static str,
    /// Whether it is served below `/omnirelay` as well, as readers of the reference know it.
    pub(super) is_aliased: bool,
    /// What is served there.
    pub(super) what: What,
    /// In a line.
    pub(super) summary: &'static str,
}

/// What is served at a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Peers,
    Watch,
    Leaders,
    LeaseHealth,
    Logging,
    Upgrade,
    Drain,
    Resume,
    Cordon,
    Uncordon,
    Leave,
    ForceLeave,
    Metrics,
    Healthz,
    Readyz,
    OpenApi,
    Page,
}

const fn route(path: &'static str, what: What, summary: &'static str) -> Route {
    Route { path, is_aliased: false, what, summary }
}

const fn aliased(path: &'static str, what: What, summary: &'static str) -> Route {
    Route { path, is_aliased: true, what, summary }
}

/// All of them.
pub(super) const ROUTES: &[Route] = &[
    aliased("/control/peers", What::Peers, "Members, by filters and pages."),
    aliased("/control/peers/watch", What::Watch, "Members as they change, by server-sent events."),
    aliased("/control/leaders", What::Leaders, "Who leads what; advice, and no lock."),
    aliased("/control/lease-health", What::LeaseHealth, "Who may be given work."),
    route("/control/logging", What::Logging, "What the host logs; PUT changes it, for a while."),
    route("/control/upgrade", What::Upgrade, "How far the node is with its drain."),
    route("/control/upgrade/drain", What::Drain, "Hands the node's work over."),
    route("/control/upgrade/resume", What::Resume, "Ends a drain, or calls it off."),
    route("/control/cordon", What::Cordon, "Takes no new work of the mesh."),
    route("/control/uncordon", What::Uncordon, "Takes new work again."),
    route("/control/leave", What::Leave, "Says goodbye to the mesh."),
    route("/control/force-leave", What::ForceLeave, "Obeys an operator's signed order."),
    aliased("/metrics", What::Metrics, "Metrics in Prometheus' text format."),
    route("/healthz", What::Healthz, "Whether the agent's shard answers."),
    route("/readyz", What::Readyz, "Whether the node is joined and takes work."),
    route("/openapi.json", What::OpenApi, "This document."),
    route("/", What::Page, "The status page, for people."),
];

impl Route {
    /// Every path it is served at.
    pub(super) fn paths(&self) -> impl Iterator<Item = String> {
        let alias = self.is_aliased.then(|| format!("/omnirelay{}", self.path));
        std::iter::once(self.path.to_owned()).chain(alias)
    }
}

impl What {
    pub(super) fn handler(self) -> MethodRouter<Arc<Front>> {
        match self {
            Self::Peers => get(members::peers),
            Self::Watch => get(watch::watch),
            Self::Leaders => get(leaders),
            Self::LeaseHealth => get(leases::lease_health),
            Self::Logging => get(logging::told).put(logging::turn),
            Self::Upgrade => get(upgrade::status),
            Self::Drain => post(upgrade::drain),
            Self::Resume => post(upgrade::resume),
            Self::Cordon => post(upgrade::cordon),
            Self::Uncordon => post(upgrade::uncordon),
            Self::Leave => post(leave::leave),
            Self::ForceLeave => post(leave::force_leave),
            Self::Metrics => get(metrics),
            Self::Healthz => get(healthz),
            Self::Readyz => get(readyz),
            Self::OpenApi => get(openapi),
            Self::Page => get(page::page),
        }
    }

    /// How it is asked for.
    fn methods(self) -> &'static [&'static str] {
        match self {
            Self::Drain
            | Self::Resume
            | Self::Cordon
            | Self::Uncordon
            | Self::Leave
            | Self::ForceLeave => &["post"],
            Self::Logging => &["get", "put"],
            Self::Peers
            | Self::Watch
            | Self::Leaders
            | Self::LeaseHealth
            | Self::Upgrade
            | Self::Metrics
            | Self::Healthz
            | Self::Readyz
            | Self::OpenApi
            | Self::Page => &["get"],
        }
    }

    /// Properties of the body that a change takes.
    fn body(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Drain | Self::Cordon => &[("reason", "string")],
            Self::Logging => &[("filter", "string"), ("for", "string")],
            Self::Peers
            | Self::Watch
            | Self::Leaders
            | Self::LeaseHealth
            | Self::Upgrade
            | Self::Resume
            | Self::Uncordon
            | Self::Leave
            | Self::ForceLeave
            | Self::Metrics
            | Self::Healthz
            | Self::Readyz
            | Self::OpenApi
            | Self::Page => &[],
        }
    }

    fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Peers => &[
                "status",
                "role",
                "cluster",
                "region",
                "lifecycle",
                "label.NAME",
                "limit",
                "after",
            ],
            Self::Watch => &["status", "role", "cluster", "region", "lifecycle", "label.NAME"],
            Self::Leaders => &["scope"],
            Self::LeaseHealth
            | Self::Logging
            | Self::Upgrade
            | Self::Drain
            | Self::Resume
            | Self::Cordon
            | Self::Uncordon
            | Self::Leave
            | Self::ForceLeave
            | Self::Metrics
            | Self::Healthz
            | Self::Readyz
            | Self::OpenApi
            | Self::Page => &[],
        }
    }

    /// Headers of a request that matter.
    fn headers(self) -> &'static [&'static str] {
        match self {
            Self::Peers => &["If-None-Match"],
            Self::Watch => &["Last-Event-ID"],
            Self::Leaders
            | Self::LeaseHealth
            | Self::Logging
            | Self::Upgrade
            | Self::Drain
            | Self::Resume
            | Self::Cordon
            | Self::Uncordon
            | Self::Leave
            | Self::ForceLeave
            | Self::Metrics
            | Self::Healthz
            | Self::Readyz
            | Self::OpenApi
            | Self::Page => &[],
        }
    }

    /// What may go wrong, by method, beside what may go wrong everywhere.
    fn failures(self, method: &str) -> &'static [(&'static str, &'static str)] {
        const BODY: (&str, &str) = ("400", "The body is not understood.");
        const QUERY: (&str, &str) = ("400", "The query is not understood.");
        const STATE: (&str, &str) = ("409", "Not in the node's present state.");
        const LARGE: (&str, &str) = ("413", "The body is too large.");
        match self {
            Self::Peers | Self::Watch => &[QUERY],
            Self::Leaders => &[QUERY, ("404", "There is no such scope.")],
            Self::Logging if method == "put" => {
                &[BODY, LARGE, ("501", "The host has not given its log to the agent.")]
            }
            Self::Drain | Self::Resume | Self::Cordon | Self::Uncordon | Self::ForceLeave => {
                &[BODY, STATE, LARGE]
            }
            Self::Leave => &[STATE],
            Self::LeaseHealth
            | Self::Logging
            | Self::Upgrade
            | Self::Metrics
            | Self::Healthz
            | Self::Readyz
            | Self::OpenApi
            | Self::Page => &[],
        }
    }

    /// Media type and schema of a success.
    fn answer(self) -> (&'static str, Value) {
        let named = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
        let object = || json!({"type": "object"});
        match self {
            Self::Peers => ("application/json", named("Peers")),
            Self::Watch => ("text/event-stream", json!({"type": "string"})),
            Self::LeaseHealth => ("application/json", named("LeaseHealth")),
            Self::Logging => ("application/json", named("Logging")),
            Self::Upgrade | Self::Drain | Self::Resume | Self::Cordon | Self::Uncordon => {
                ("application/json", named("Upgrade"))
            }
            Self::Metrics => ("text/plain", json!({"type": "string"})),
            Self::Leaders => ("application/json", named("Leaders")),
            Self::Leave | Self::ForceLeave | Self::Healthz | Self::Readyz | Self::OpenApi => {
                ("application/json", object())
            }
            Self::Page => ("text/html", json!({"type": "string"})),
        }
    }
}

async fn openapi() -> Response {
    Json(document()).into_response()
}

/// The OpenAPI document.
fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        for path in route.paths() {
            let methods = route.what.methods().iter();
            let operations = methods.map(|method| ((*method).to_owned(), operation(route, method)));
            paths.insert(path, Value::Object(operations.collect()));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "mesh-gossip control server",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Over loopback TCP it only tells; POST and PUT need the control socket, or \
                            mutual TLS with a certificate of the role operator.",
        },
        "paths": paths,
        "components": {"schemas": schemas()},
    })
}

fn operation(route: &Route, method: &str) -> Value {
    let (kind, schema) = route.what.answer();
    let failure = |why: &str| {
        let schema = json!({"$ref": "#/components/schemas/Error"});
        json!({"description": why, "content": {"application/json": {"schema": schema}}})
    };
    let mut responses = Map::new();
    responses.insert(
        "200".into(),
        json!({"description": "Done.", "content": {kind: {"schema": schema}}}),
    );
    responses.insert(
        "403".into(),
        failure("Not over this connection, not by this certificate, or not from a web page."),
    );
    responses.insert("503".into(), failure("The agent does not answer, or is not ready."));
    for (status, why) in route.what.failures(method) {
        responses.insert((*status).into(), failure(why));
    }
    let headers = route.what.headers();
    if headers.contains(&"If-None-Match") {
        responses["200"]["headers"] = json!({"ETag": {"schema": {"type": "string"}}});
        responses.insert("304".into(), json!({"description": "As the reader has it already."}));
    }
    let parameter =
        |place: &str, name: &&str| json!({"name": name, "in": place, "schema": {"type": "string"}});
    let parameters = route.what.parameters().iter().map(|name| parameter("query", name));
    let parameters: Vec<Value> =
        parameters.chain(headers.iter().map(|name| parameter("header", name))).collect();
    let mut operation = json!({
        "summary": route.summary, "parameters": parameters, "responses": responses,
    });
    if route.what == What::ForceLeave {
        let schema = json!({"type": "string", "format": "binary"});
        operation["requestBody"] =
            json!({"required": true, "content": {"application/octet-stream": {"schema": schema}}});
    }
    if method != "get" && !route.what.body().is_empty() {
        let schema = properties(route.what.body(), &[]);
        operation["requestBody"] =
            json!({"required": false, "content": {"application/json": {"schema": schema}}});
    }
    operation
}

/// An object with these properties, by name and type; `others` by name and schema.
fn properties(simple: &[(&str, &str)], others: &[(&str, Value)]) -> Value {
    let simple = simple.iter().map(|(name, kind)| ((*name).to_owned(), json!({"type": kind})));
    let others = others.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone()));
    json!({"type": "object", "properties": simple.chain(others).collect::<Map<_, _>>()})
}

fn schemas() -> Value {
    let list = |items: Value| json!({"type": "array", "items": items});
    let texts = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let said = properties(
        &[
            ("role", "string"),
            ("clusterId", "string"),
            ("region", "string"),
            ("meshVersion", "string"),
            ("http3Support", "boolean"),
            ("endpoint", "string"),
            ("metadataVersion", "integer"),
        ],
        &[("labels", texts.clone())],
    );
    let peer = properties(
        &[
            ("nodeId", "string"),
            ("status", "string"),
            ("lastSeen", "string"),
            ("rttMs", "number"),
            ("lifecycle", "string"),
            ("incarnation", "string"),
            ("reason", "string"),
            ("lastContact", "string"),
        ],
        &[("metadata", said)],
    );
    let head = [
        ("schemaVersion", "string"),
        ("generatedAt", "string"),
        ("localNodeId", "string"),
        ("next", "string"),
    ];
    let participant =
        properties(&[("name", "string"), ("state", "string"), ("error", "string")], &[]);
    let upgrade = [("state", "string"), ("reason", "string"), ("updatedAt", "string")];
    let logging = [("filter", "string"), ("configured", "string"), ("until", "string")];
    let lease = properties(
        &[("sequenceId", "integer"), ("attempt", "integer"), ("leaseId", "string")],
        &[],
    );
    let lease_peer = properties(
        &[
            ("peerId", "string"),
            ("lastHeartbeat", "string"),
            ("lastDisconnect", "string"),
            ("isHealthy", "boolean"),
            ("activeAssignments", "integer"),
            ("pendingReassignments", "integer"),
        ],
        &[("activeLeases", list(lease)), ("metadata", texts)],
    );
    let summary = properties(
        &[
            ("eligiblePeers", "integer"),
            ("unhealthyPeers", "integer"),
            ("pendingReassignments", "integer"),
        ],
        &[],
    );
    json!({
        "Error": properties(&[("error", "string")], &[]),
        "Peers": properties(&head, &[("peers", list(peer))]),
        "Leaders": leaders_schema(),
        "Logging": properties(&logging, &[]),
        "Upgrade": properties(&upgrade, &[("participants", list(participant))]),
        "LeaseHealth": properties(&[], &[("peers", list(lease_peer)), ("summary", summary)]),
    })
}

fn leaders_schema() -> Value {
    let token = properties(
        &[
            ("scope", "string"),
            ("scopeKind", "string"),
            ("leaderId", "string"),
            ("term", "integer"),
            ("fenceToken", "integer"),
            ("issuedAt", "string"),
            ("expiresAt", "string"),
        ],
        &[("labels", json!({"type": "object", "additionalProperties": {"type": "string"}}))],
    );
    let tokens = json!({"type": "array", "items": token});
    properties(&[("generatedAt", "string")], &[("tokens", tokens)])
}
