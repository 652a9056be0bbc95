//! The control HTTP server on a real loopback socket.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mesh_gossip_proto::State;

use super::stage_tests::{Person, Setting, Stage, TestMesh, inspection, led_by, published};
use crate::io::Backend;

fn stage(backend: Backend) -> Stage {
    Stage::set(Setting::new(backend, &["me", "peer"]), TestMesh::new().certify("me"))
}

/// Status, content type and body.
fn get(stage: &Stage, path: &str) -> (u16, String, String) {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut response = agent.get(format!("http://{}{path}", stage.http)).call().unwrap();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    (response.status().as_u16(), kind, response.body_mut().read_to_string().unwrap())
}

/// The status of a request written by hand.
fn status(stage: &Stage, request: &str) -> u16 {
    let mut stream = TcpStream::connect(stage.http).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line")
}

#[test]
fn peers_are_told_under_both_paths() {
    for backend in [Backend::Uring, Backend::Mmsg] {
        let stage = stage(backend);
        let _shard = stage.attend(inspection());
        let (status, kind, body) = get(&stage, "/control/peers");
        assert_eq!((status, kind.as_str()), (200, "application/json"));
        assert!(
            body.starts_with(r#"{"schemaVersion":"v1","generatedAt":"2024-05-01T12:00:00.250"#)
        );
        let document: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(document["localNodeId"], "me");
        assert_eq!(document["peers"][1]["nodeId"], "peer");
        assert_eq!(get(&stage, "/omnirelay/control/peers").2, body);
    }
}

#[test]
fn metrics_are_told_as_prometheus_wants_them() {
    let stage = stage(Backend::Mmsg);
    let _shard = stage.attend(inspection());
    for path in ["/metrics", "/omnirelay/metrics"] {
        let (status, kind, body) = get(&stage, path);
        assert_eq!((status, kind.as_str()), (200, "text/plain; version=0.0.4; charset=utf-8"));
        assert!(body.contains("mesh_gossip_members{mesh_status=\"alive\"} 2\n"), "{body}");
    }
}

#[test]
fn readiness_follows_the_join_and_the_state() {
    let stage = stage(Backend::Mmsg);
    let _shard = stage.attend(inspection());
    assert_eq!(get(&stage, "/readyz").0, 200);
    stage.site.joined.store(false, Ordering::Release);
    let (status, kind, body) = get(&stage, "/readyz");
    assert_eq!((status, kind.as_str()), (503, "application/json"));
    assert_eq!(body, r#"{"error":"not joined"}"#);
    assert_eq!(get(&stage, "/healthz").0, 200, "healthy without being ready");
    stage.site.joined.store(true, Ordering::Release);
    let gone = published(&[Person { name: "me", state: State::Left }]);
    *stage.site.published.lock().unwrap() = Arc::new(gone);
    assert_eq!(get(&stage, "/readyz").0, 503);
}

#[test]
fn an_agent_whose_shard_does_not_answer_is_unavailable() {
    let stage = stage(Backend::Mmsg);
    for path in ["/healthz", "/control/peers"] {
        let (status, _, body) = get(&stage, path);
        assert_eq!((status, body.as_str()), (503, r#"{"error":"the agent does not answer"}"#));
    }
}

#[test]
fn unknown_paths_are_told_in_json() {
    let stage = stage(Backend::Uring);
    let (status, kind, body) = get(&stage, "/control/secrets");
    assert_eq!((status, kind.as_str()), (404, "application/json"));
    assert_eq!(body, r#"{"error":"unknown path"}"#);
}

/// Rule S-20.
#[test]
fn web_pages_foreign_names_and_changes_are_refused() {
    let stage = stage(Backend::Mmsg);
    let _shard = stage.attend(inspection());
    let close = "Connection: close\r\n\r\n";
    for (request, expected) in [
        ("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n", 200),
        ("GET /healthz HTTP/1.1\r\nHost: localhost:8080\r\n", 200),
        ("HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n", 200),
        ("GET /control/peers?status=Left HTTP/1.1\r\nHost: localhost\r\n", 400),
        ("GET /healthz HTTP/1.1\r\nHost: evil.example\r\n", 403),
        ("GET /healthz HTTP/1.1\r\nHost: localhost.evil.example\r\n", 403),
        ("GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n", 403),
        ("GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n", 403),
        ("GET /healthz HTTP/1.0\r\n", 403),
        ("GET /healthz HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n", 403),
        ("GET /healthz HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\n", 403),
        ("POST /control/peers HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n", 403),
        ("DELETE /nothing HTTP/1.1\r\nHost: localhost\r\n", 403),
        ("GET /nothing HTTP/1.1\r\nHost: evil.example\r\n", 403),
    ] {
        assert_eq!(status(&stage, &format!("{request}{close}")), expected, "{request}");
    }
}

/// Rule E-8.
#[test]
fn leaders_are_told_under_both_paths_and_by_scope() {
    let stage = stage(Backend::Mmsg);
    let _shard = stage.attend(inspection());
    let view = led_by("peer");
    let at = inspection().wall;
    *stage.site.published.lock().unwrap() = Arc::new(crate::snapshot::Published { view, at });
    let (status, kind, body) = get(&stage, "/control/leaders");
    assert_eq!((status, kind.as_str()), (200, "application/json"));
    assert!(body.contains(r#""leaderId":"peer","term":3"#), "{body}");
    for path in ["/omnirelay/control/leaders", "/control/leaders?scope=ingest", "/control/leaders?"]
    {
        assert_eq!(get(&stage, path), (200, kind.clone(), body.clone()), "{path}");
    }
    let (status, _, vacant) = get(&stage, "/control/leaders?scope=vacant");
    assert!(status == 200 && vacant.ends_with(r#""tokens":[]}"#), "{vacant}");
    let (status, kind, unknown) = get(&stage, "/control/leaders?scope=eu%2Fcontrol");
    assert_eq!((status, kind.as_str()), (404, "application/json"));
    assert!(unknown.contains("eu/control"), "{unknown}");
    for query in ["scope=", "scope=a&scope=b", "role=worker", "scope"] {
        assert_eq!(get(&stage, &format!("/control/leaders?{query}")).0, 400, "{query}");
    }
}
