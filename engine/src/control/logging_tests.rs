//! The host's log, turned over the control socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::logging::{FilterError, LogSwitch};
use super::stage_tests::{Setting, Stage, TestMesh, eventually, inspection};
use crate::io::Backend;

/// A log that remembers what it was told.
#[derive(Default)]
struct Recorder(Mutex<Vec<Option<String>>>);

impl Recorder {
    fn told(&self) -> Vec<Option<String>> {
        self.0.lock().unwrap().clone()
    }
}

impl LogSwitch for Recorder {
    fn configured(&self) -> String {
        "warn".into()
    }

    fn set(&self, filter: Option<&str>) -> Result<(), FilterError> {
        if filter == Some("loud") {
            return Err(FilterError { reason: "no such level: loud".into() });
        }
        self.0.lock().unwrap().push(filter.map(str::to_owned));
        Ok(())
    }
}

fn ask(stage: &Stage, method: &str, body: &str) -> (u16, Value) {
    let mut stream = UnixStream::connect(&stage.socket).unwrap();
    let length = body.len();
    let head = format!("{method} /control/logging HTTP/1.0\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

fn stage() -> (Stage, Arc<Recorder>) {
    let stage = Stage::set(Setting::new(Backend::Mmsg, &["me"]), TestMesh::new().certify("me"));
    let recorder = Arc::new(Recorder::default());
    stage.logging.give(Arc::clone(&recorder) as Arc<dyn LogSwitch>);
    (stage, recorder)
}

fn filter(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn a_filter_is_put_in_force_told_and_taken_back() {
    let (stage, recorder) = stage();
    let _shard = stage.attend(inspection());
    let configured = json!({"filter": "warn", "configured": "warn"});
    assert_eq!(ask(&stage, "GET", ""), (200, configured.clone()));
    let (status, document) = ask(&stage, "PUT", r#"{"filter":"info,mesh_gossip=trace"}"#);
    let told = json!({"filter": "info,mesh_gossip=trace", "configured": "warn"});
    assert_eq!((status, &document), (200, &told));
    assert_eq!(ask(&stage, "GET", "").1, told);
    for nothing in ["", "{}"] {
        assert_eq!(ask(&stage, "PUT", nothing), (200, configured.clone()), "{nothing}");
    }
    assert_eq!(recorder.told()[..2], [filter("info,mesh_gossip=trace"), None]);
}

#[test]
fn a_filter_ends_by_itself_and_the_last_wish_counts() {
    let (stage, recorder) = stage();
    let _shard = stage.attend(inspection());
    // An end that comes first and does not count, since a later wish took its place.
    ask(&stage, "PUT", r#"{"filter":"info","for":"1h"}"#);
    let (_, document) = ask(&stage, "PUT", r#"{"filter":"debug","for":"20ms"}"#);
    let until = document["until"].as_str().unwrap();
    assert!(until.ends_with("+00:00"), "{until}");
    eventually(|| (ask(&stage, "GET", "").1["filter"] == "warn").then_some(()));
    assert_eq!(recorder.told(), [filter("info"), filter("debug"), None]);

    // Whoever asks for good ends the timer before.
    ask(&stage, "PUT", r#"{"filter":"info","for":"10ms"}"#);
    let (_, document) = ask(&stage, "PUT", r#"{"filter":"trace"}"#);
    assert_eq!(document["until"], Value::Null);
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(ask(&stage, "GET", "").1["filter"], "trace");
}

#[test]
fn what_is_not_understood_changes_nothing_and_an_end_turns_back() {
    let (stage, recorder) = stage();
    let _shard = stage.attend(inspection());
    let long = format!(r#"{{"filter":"{}"}}"#, "x".repeat(1_025));
    for (body, why) in [
        (r#"{"filter":"loud"}"#, "no such level: loud"),
        (r#"{"filter":"info","for":"10"}"#, "a duration needs a unit"),
        (r#"{"filter":"info","for":"0s"}"#, "above zero"),
        (r#"{"filter":"info","for":"25h"}"#, "a day at most"),
        (r#"{"for":"10m"}"#, "for needs a filter"),
        (r#"{"level":"info"}"#, "unknown field"),
        (r#"{"filter":null}"#, "expected a string"),
        (&long, "1024 bytes"),
    ] {
        let (status, document) = ask(&stage, "PUT", body);
        assert_eq!(status, 400, "{body}");
        assert!(document["error"].as_str().unwrap().contains(why), "{document}");
    }
    assert!(recorder.told().is_empty());
    ask(&stage, "PUT", r#"{"filter":"debug"}"#);
    // Another log: what the first was turned to is turned back.
    stage.logging.give(Arc::new(Recorder::default()));
    assert_eq!(recorder.told(), [filter("debug"), None]);
    assert_eq!(ask(&stage, "GET", "").1["filter"], "warn");
}

/// Rule S-20.
#[test]
fn loopback_only_tells_what_is_logged_and_a_host_may_keep_its_log() {
    let (stage, recorder) = stage();
    let _shard = stage.attend(inspection());
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let url = format!("http://{}/control/logging", stage.http);
    assert_eq!(agent.get(&url).call().unwrap().status().as_u16(), 200);
    assert_eq!(agent.put(&url).send(r#"{"filter":"trace"}"#).unwrap().status().as_u16(), 403);
    assert!(recorder.told().is_empty());
    let kept = Stage::set(Setting::new(Backend::Mmsg, &["me"]), TestMesh::new().certify("me"));
    let _shard = kept.attend(inspection());
    for (method, body) in [("GET", ""), ("PUT", r#"{"filter":"info"}"#)] {
        let (status, document) = ask(&kept, method, body);
        assert_eq!((status, document["error"].as_str().unwrap().is_empty()), (501, false));
    }
}
