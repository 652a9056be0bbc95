//! The control HTTP server on a real loopback socket.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mesh_gossip_proto::State;

use super::leases::{Lease, LeaseReport};
use super::stage_tests::{
    Person, Setting, Stage, TestMesh, inspection, led_by, published, view_at, view_of,
};
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
        ("GET /control/peers?colour=red HTTP/1.1\r\nHost: localhost\r\n", 400),
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

/// Status, tag and body of a question with headers.
fn ask(stage: &Stage, path: &str, headers: &[(&str, &str)]) -> (u16, Option<String>, String) {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut request = agent.get(format!("http://{}{path}", stage.http));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut response = request.call().unwrap();
    let tag = response.headers().get("etag").map(|tag| tag.to_str().unwrap().to_owned());
    (response.status().as_u16(), tag, response.body_mut().read_to_string().unwrap())
}

fn names(body: &str) -> Vec<String> {
    let document: serde_json::Value = serde_json::from_str(body).unwrap();
    let peers = document["peers"].as_array().unwrap();
    peers.iter().map(|peer| peer["nodeId"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn peers_are_filtered_and_paged_and_bad_queries_name_the_key() {
    let stage =
        Stage::set(Setting::new(Backend::Mmsg, &["me", "b", "a"]), TestMesh::new().certify("me"));
    let _shard = stage.attend(inspection());
    let (status, _, body) = ask(&stage, "/control/peers?limit=2&region=eu&label.rack=r1", &[]);
    assert_eq!((status, names(&body)), (200, vec!["me".to_owned(), "a".to_owned()]));
    assert!(body.ends_with(r#"],"next":"a"}"#), "{body}");
    let (_, _, body) = ask(&stage, "/control/peers?limit=2&after=a", &[]);
    assert_eq!(names(&body), ["b"]);
    let (_, _, body) = ask(&stage, "/control/peers?status=Suspect", &[]);
    assert!(body.ends_with(r#""localNodeId":"me","peers":[]}"#), "{body}");
    let (status, _, body) = ask(&stage, "/control/peers?stats=Left", &[]);
    assert_eq!(status, 400);
    assert_eq!(body, r#"{"error":"unknown query key \"stats\"; did you mean \"status\"?"}"#);
    assert_eq!(ask(&stage, "/control/peers?status=Gone", &[]).0, 400);
}

#[test]
fn an_unchanged_view_is_not_told_twice() {
    let stage = stage(Backend::Mmsg);
    let shard = stage.attend(inspection());
    let path = "/control/peers?status=Alive";
    let (status, tag, _) = ask(&stage, path, &[]);
    let tag = tag.unwrap();
    assert_eq!((status, tag.as_str()), (200, "\"3e8-1\""));
    for held in [tag.as_str(), "W/\"3e8-1\"", "\"x\", \"3e8-1\"", "*"] {
        let (status, again, body) = ask(&stage, path, &[("If-None-Match", held)]);
        assert_eq!((status, again.as_deref(), body.as_str()), (304, Some(&*tag), ""), "{held}");
    }
    drop(shard);
    let (status, _, _) = ask(&stage, path, &[("If-None-Match", &tag)]);
    assert_eq!(status, 304, "the shard is not asked for it");
    let _shard = stage.attend(inspection());
    stage.publish(view_at(&["me", "peer"], 2));
    let (status, next, _) = ask(&stage, path, &[("If-None-Match", &tag)]);
    assert_eq!((status, next.as_deref()), (200, Some("\"3e8-2\"")));
}

/// Ten thousand members are told, and not by the thread that carries everybody's bulk sync.
#[test]
fn a_large_answer_is_made_beside_the_control_thread() {
    let stage = stage(Backend::Mmsg);
    let _shard = stage.attend(inspection());
    let mut people = vec![("me".to_owned(), State::Alive), ("revoked".to_owned(), State::Dead)];
    people.extend((0..9_998).map(|number| (format!("node-{number:05}"), State::Alive)));
    stage.publish(view_of(&people, 2));
    let (status, _, body) = ask(&stage, "/control/peers", &[]);
    assert_eq!((status, names(&body).len()), (200, 10_000));
    assert!(stage.site.judged_aside.load(Ordering::Acquire), "the records were looked at");
    assert!(!stage.site.judged_in_control.load(Ordering::Acquire));
}

/// An event stream, read by hand.
struct Events(std::io::BufReader<TcpStream>);

/// One event: name, id and data.
type Told = (String, String, serde_json::Value);

impl Events {
    fn open(stage: &Stage, query: &str, last: Option<&str>) -> Self {
        let mut stream = TcpStream::connect(stage.http).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        let resume = last.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        // HTTP/1.0: the body is what comes until the end.
        let request =
            format!("GET /control/peers/watch{query} HTTP/1.0\r\nHost: localhost\r\n{resume}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut events = Self(std::io::BufReader::new(stream));
        let head: Vec<String> = events.lines();
        assert!(head[0].contains(" 200 "), "{head:?}");
        assert!(head.iter().any(|line| line == "content-type: text/event-stream"), "{head:?}");
        events
    }

    /// The lines up to an empty one, or to the end.
    fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            std::io::BufRead::read_line(&mut self.0, &mut line).unwrap();
            let line = line.trim_end();
            if line.is_empty() {
                return lines;
            }
            lines.push(line.to_owned());
        }
    }

    fn next(&mut self) -> Told {
        let lines = self.lines();
        let field = |name: &str| {
            let found = lines.iter().find_map(|line| line.strip_prefix(&format!("{name}: ")));
            found.unwrap_or_else(|| panic!("{lines:?} lack {name}")).to_owned()
        };
        (field("event"), field("id"), serde_json::from_str(&field("data")).unwrap())
    }
}

fn peers_of(document: &serde_json::Value) -> Vec<&str> {
    let peers = document["peers"].as_array().unwrap();
    peers.iter().map(|peer| peer["nodeId"].as_str().unwrap()).collect()
}

#[test]
fn a_watcher_is_told_all_and_then_what_changes_and_resumes() {
    let stage = stage(Backend::Mmsg);
    let _shard = stage.attend(inspection());
    let mut events = Events::open(&stage, "", None);
    let (name, id, document) = events.next();
    assert_eq!((name.as_str(), id.as_str()), ("snapshot", "3e8-1"));
    assert_eq!(document["localNodeId"], "me");
    assert_eq!(peers_of(&document), ["me", "peer"]);
    stage.publish(view_at(&["me", "new"], 2));
    let (name, id, document) = events.next();
    assert_eq!((name.as_str(), id.as_str()), ("changes", "3e8-2"));
    assert_eq!(peers_of(&document), ["new"]);
    assert_eq!(document["removed"], serde_json::json!(["peer"]));
    drop(events);
    stage.publish(view_at(&["me", "new", "newer"], 3));
    let (name, id, document) = Events::open(&stage, "", Some("3e8-1")).next();
    assert_eq!((name.as_str(), id.as_str()), ("changes", "3e8-3"));
    assert_eq!(peers_of(&document), ["new", "newer"], "both steps at once");
    let (name, _, document) = Events::open(&stage, "?region=eu", Some("3e7-1")).next();
    assert_eq!(name, "snapshot", "of another life");
    assert_eq!(peers_of(&document).len(), 3);
}

#[test]
fn a_quiet_watch_shows_life_and_unselected_changes_are_not_told() {
    let stage = stage(Backend::Uring);
    let _shard = stage.attend(inspection());
    let mut events = Events::open(&stage, "?status=Left", None);
    assert_eq!(peers_of(&events.next().2), Vec::<&str>::new());
    stage.publish(view_at(&["me", "peer", "new"], 2));
    assert_eq!(events.lines(), [": still here"]);
    let people = [("me".to_owned(), State::Alive), ("peer".to_owned(), State::Left)];
    stage.publish(view_of(&people, 3));
    let (name, id, document) = events.next();
    assert_eq!((name.as_str(), id.as_str()), ("changes", "3e8-3"));
    assert_eq!(peers_of(&document), ["peer"]);
}

#[test]
fn watchers_are_few_and_end_with_the_server() {
    let stage = stage(Backend::Mmsg);
    let _shard = stage.attend(inspection());
    let mut watchers: Vec<_> = (0..16).map(|_| Events::open(&stage, "", None)).collect();
    for watcher in &mut watchers {
        assert_eq!(watcher.next().0, "snapshot");
    }
    let (status, _, body) = ask(&stage, "/control/peers/watch", &[]);
    assert_eq!((status, body.as_str()), (503, r#"{"error":"too many watchers"}"#));
    let (_, _, metrics) = get(&stage, "/metrics");
    assert!(metrics.contains("\nmesh_gossip_control_watchers 16\n"), "{metrics}");
    assert!(metrics.contains(r#"mesh_gossip_control_dropped_total{mesh_reason="watchers"} 1"#));
    assert_eq!(ask(&stage, "/control/peers/watch?limit=1", &[]).0, 400, "a watch has no pages");
    stage.remove();
    for watcher in &mut watchers {
        assert_eq!(watcher.lines(), Vec::<String>::new(), "the end");
    }
}

#[test]
fn lease_health_follows_gossip_and_carries_the_hosts_reports() {
    let stage = stage(Backend::Mmsg);
    let _shard = stage.attend(inspection());
    let report = |pending| LeaseReport {
        active_assignments: 1,
        pending_reassignments: pending,
        active_leases: vec![Lease { sequence_id: 7, attempt: 2, lease_id: "l-7".into() }],
    };
    stage.leases.report("peer", report(2)).unwrap();
    stage.leases.report("stranger", report(1)).unwrap();
    let health = || -> serde_json::Value {
        let (status, kind, body) = get(&stage, "/omnirelay/control/lease-health");
        assert_eq!((status, kind.as_str()), (200, "application/json"));
        serde_json::from_str(&body).unwrap()
    };
    let document = health();
    assert_eq!(document["peers"][0]["peerId"], "me");
    let expected = serde_json::json!({
        "peerId": "peer", "lastHeartbeat": "2024-05-01T12:00:00.250+00:00", "isHealthy": true,
        "activeAssignments": 1, "pendingReassignments": 2,
        "activeLeases": [{"sequenceId": 7, "attempt": 2, "leaseId": "l-7"}],
        "metadata": {"label.rack": "r1", "mesh.cluster": "test", "mesh.http3": "true",
            "mesh.lifecycle": "active", "mesh.region": "eu", "mesh.role": "worker",
            "mesh.version": "1.0"},
    });
    assert_eq!(document["peers"][1], expected);
    assert_eq!(document["peers"][2]["metadata"]["disconnect.reason"], "gossip-unknown");
    let summary = |eligible, unhealthy| {
        serde_json::json!({
            "eligiblePeers": eligible, "unhealthyPeers": unhealthy, "pendingReassignments": 3
        })
    };
    assert_eq!(document["summary"], summary(2, 1));
    let people = |state| [("me".to_owned(), State::Alive), ("peer".to_owned(), state)];
    for (state, why) in [(State::Suspect, "gossip-suspect"), (State::Dead, "gossip-left")] {
        stage.publish(view_of(&people(state), 2));
        let document = health();
        let peer = &document["peers"][1];
        assert_eq!(
            (&peer["isHealthy"], &peer["metadata"]["disconnect.reason"]),
            (&false.into(), &why.into())
        );
        assert_eq!(peer["lastDisconnect"], "2024-05-01T11:59:00.250+00:00");
        assert_eq!(document["summary"], summary(1, 2));
    }
    stage.publish(view_of(&people(State::Alive), 3));
    assert_eq!(health()["peers"][1], expected, "it came back");
}
