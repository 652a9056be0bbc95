//! Cordon, drain and resume through the control socket, with participants that behave and that do not.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use mesh_gossip_proto::detector::contacts::Contact;
use mesh_gossip_proto::{Event, Lifecycle, State};
use serde_json::Value;

use super::Site as _;
use super::leases::{Lease, LeaseReport};
use super::stage_tests::{
    AGENT, Setting, Stage, TestMesh, eventually, id, inspection, led_by, view_of,
};
use super::upgrade::{DrainOrder, DrainParticipant};
use crate::io::Backend;
use crate::orders::{Order, Work};

fn stage() -> Stage {
    Stage::set(Setting::new(Backend::Mmsg, &["me", "peer"]), TestMesh::new().certify("me"))
}

/// Status and document of a request through the socket.
fn ask(stage: &Stage, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut stream = UnixStream::connect(&stage.socket).unwrap();
    let length = body.len();
    // HTTP/1.0: the body is what comes until the end.
    write!(stream, "{method} {path} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

fn post(stage: &Stage, path: &str, body: &str) -> (u16, Value) {
    ask(stage, "POST", path, body)
}

fn is_state(stage: &Stage, wanted: &str) -> Value {
    eventually(|| {
        let (_, status) = ask(stage, "GET", "/control/upgrade", "");
        (status["state"] == wanted).then_some(status)
    })
}

fn published(stage: &Stage) -> Vec<Lifecycle> {
    stage.lifecycles.lock().unwrap().clone()
}

/// Drains when it is let, with the outcome that it is given.
struct Clerk {
    outcomes: std::sync::Mutex<mpsc::Receiver<Result<(), String>>>,
    asked: Arc<AtomicU32>,
    resumed: Arc<AtomicBool>,
}

/// A clerk and how it is led.
struct Lead {
    outcomes: mpsc::Sender<Result<(), String>>,
    asked: Arc<AtomicU32>,
    resumed: Arc<AtomicBool>,
}

fn clerk() -> (Clerk, Lead) {
    let (outcomes, receiver) = mpsc::channel();
    let (asked, resumed) = (Arc::<AtomicU32>::default(), Arc::<AtomicBool>::default());
    let lead = Lead { outcomes, asked: Arc::clone(&asked), resumed: Arc::clone(&resumed) };
    (Clerk { outcomes: std::sync::Mutex::new(receiver), asked, resumed }, lead)
}

impl DrainParticipant for Clerk {
    fn drain(&self, order: &DrainOrder) -> Result<(), String> {
        assert_eq!(order.reason(), Some("kernel"));
        self.asked.fetch_add(1, Ordering::AcqRel);
        loop {
            match self.outcomes.lock().unwrap().try_recv() {
                Ok(outcome) => return outcome,
                Err(_) if order.is_called_off() => return Err("called off".into()),
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    fn resume(&self) {
        self.resumed.store(true, Ordering::Release);
    }
}

const HOUR: Duration = Duration::from_secs(3_600);
const KERNEL: &str = r#"{"reason":"kernel"}"#;

/// A goodbye that nobody here asked for, an operator's order, is one as well; it is told once.
#[test]
fn the_end_of_a_goodbye_is_a_leave_whoever_wished_it() {
    let stage = stage();
    let event = Event::LeaveComplete { acknowledged: 1 };
    stage.work(Work::Event { agent: AGENT, at: inspection().wall, event });
    eventually(|| (stage.upgrade.lifecycle() == Lifecycle::Leaving).then_some(()));
    let told = stage.upgrade.status();
    stage.upgrade.leaves();
    assert_eq!(stage.upgrade.status(), told);
}

/// Whoever asked went away before enough members knew: the agent leaves all the same, and its host
/// learns of it.
#[test]
fn a_goodbye_outlives_its_client() {
    let stage = stage();
    let mut client = UnixStream::connect(&stage.socket).unwrap();
    client.write_all(b"POST /control/leave HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let Order::Leave { reply, .. } = stage.order() else { panic!("the goodbye is ordered") };
    drop(client);
    // Time for the server to notice; what is asserted holds without it too.
    thread::sleep(Duration::from_millis(100));
    assert_eq!(stage.upgrade.lifecycle(), Lifecycle::Active);
    reply(Ok(2));
    eventually(|| (stage.upgrade.lifecycle() == Lifecycle::Leaving).then_some(()));
}

#[test]
fn a_drain_outlives_its_client_and_ends_when_every_participant_is_done() {
    let stage = stage();
    let _shard = stage.attend(inspection());
    let ((quick, quick_lead), (slow, slow_lead)) = (clerk(), clerk());
    let _quick = stage.upgrade.register("quick", HOUR, Arc::new(quick));
    let _slow = stage.upgrade.register("slow", HOUR, Arc::new(slow));
    let (status, document) = post(&stage, "/control/upgrade/drain", KERNEL);
    assert_eq!((status, document["state"].as_str()), (200, Some("draining")));
    assert_eq!(document["reason"], "kernel");
    assert_eq!(document["participants"][0]["name"], "quick");
    assert_eq!(published(&stage), [Lifecycle::Draining], "told before anybody has drained");
    let (status, _) = ask(&stage, "GET", "/readyz", "");
    assert_eq!(status, 503);
    quick_lead.outcomes.send(Ok(())).unwrap();
    eventually(|| {
        let (_, status) = ask(&stage, "GET", "/control/upgrade", "");
        (status["participants"][0]["state"] == "drained").then_some(())
    });
    // Asked again it is the same drain: nobody is asked twice.
    let (status, document) = post(&stage, "/control/upgrade/drain", KERNEL);
    assert_eq!((status, document["state"].as_str()), (200, Some("draining")));
    let (status, document) = post(&stage, "/control/upgrade/drain", r#"{"reason":"disk"}"#);
    assert_eq!(status, 409);
    assert!(document["error"].as_str().unwrap().contains("kernel"), "{document}");
    slow_lead.outcomes.send(Ok(())).unwrap();
    is_state(&stage, "drained");
    assert_eq!(published(&stage), [Lifecycle::Draining, Lifecycle::Drained]);
    for lead in [&quick_lead, &slow_lead] {
        assert_eq!(lead.asked.load(Ordering::Acquire), 1);
    }
    let (status, document) = post(&stage, "/control/upgrade/resume", "");
    assert_eq!((status, document["state"].as_str()), (200, Some("active")));
    assert!(document.get("reason").is_none());
    eventually(|| slow_lead.resumed.load(Ordering::Acquire).then_some(()));
    assert_eq!(ask(&stage, "GET", "/readyz", "").0, 200);
    assert_eq!(post(&stage, "/control/upgrade/resume", "").0, 200, "once more is no error");
    assert_eq!(published(&stage).last(), Some(&Lifecycle::Active));
}

/// However long a participant may take, and whenever it comes.
#[test]
fn whoever_comes_after_a_drain_is_asked_by_the_next_one() {
    let stage = stage();
    let _shard = stage.attend(inspection());
    let ((first, first_lead), (second, second_lead)) = (clerk(), clerk());
    let _first = stage.upgrade.register("first", Duration::MAX, Arc::new(first));
    first_lead.outcomes.send(Ok(())).unwrap();
    assert_eq!(post(&stage, "/control/upgrade/drain", KERNEL).0, 200);
    is_state(&stage, "drained");
    let _second = stage.upgrade.register("second", HOUR, Arc::new(second));
    let (status, document) = post(&stage, "/control/upgrade/drain", "");
    assert_eq!((status, document["state"].as_str()), (200, Some("draining")));
    second_lead.outcomes.send(Ok(())).unwrap();
    is_state(&stage, "drained");
    assert_eq!(second_lead.asked.load(Ordering::Acquire), 1);
    assert_eq!(first_lead.asked.load(Ordering::Acquire), 1, "it is done");
}

#[test]
fn a_participant_that_failed_or_was_late_tries_again_and_nobody_else_does() {
    let stage = stage();
    let _shard = stage.attend(inspection());
    let ((good, good_lead), (bad, bad_lead), (late, late_lead)) = (clerk(), clerk(), clerk());
    let _good = stage.upgrade.register("good", HOUR, Arc::new(good));
    let _bad = stage.upgrade.register("bad", HOUR, Arc::new(bad));
    let _late = stage.upgrade.register("late", Duration::ZERO, Arc::new(late));
    good_lead.outcomes.send(Ok(())).unwrap();
    bad_lead.outcomes.send(Err("two leases are stuck".into())).unwrap();
    post(&stage, "/control/upgrade/drain", KERNEL);
    let status = is_state(&stage, "failed");
    let participants = status["participants"].as_array().unwrap();
    let told = |name: &str| {
        let found = participants.iter().find(|participant| participant["name"] == name).unwrap();
        (found["state"].as_str().unwrap().to_owned(), found["error"].as_str().map(str::to_owned))
    };
    assert_eq!(told("bad"), ("failed".into(), Some("two leases are stuck".into())));
    assert_eq!(told("late").0, "late");
    assert_eq!(told("good"), ("drained".into(), None));
    assert_eq!(published(&stage), [Lifecycle::Draining], "it is still not ready for work");
    bad_lead.outcomes.send(Ok(())).unwrap();
    // The first attempt of the late one is called off; the second one finds this.
    eventually(|| {
        post(&stage, "/control/upgrade/drain", KERNEL);
        let _ = late_lead.outcomes.send(Ok(()));
        let (_, status) = ask(&stage, "GET", "/control/upgrade", "");
        (status["state"] == "drained").then_some(())
    });
    assert_eq!(good_lead.asked.load(Ordering::Acquire), 1);
    assert_eq!(bad_lead.asked.load(Ordering::Acquire), 2);
    assert!(late_lead.asked.load(Ordering::Acquire) >= 2);
    assert_eq!(published(&stage), [Lifecycle::Draining, Lifecycle::Drained]);
}

#[test]
fn a_drain_is_called_off_and_what_comes_late_changes_nothing() {
    let stage = stage();
    let _shard = stage.attend(inspection());
    let (stubborn, lead) = clerk();
    let registration = stage.upgrade.register("stubborn", HOUR, Arc::new(stubborn));
    post(&stage, "/control/upgrade/drain", KERNEL);
    eventually(|| (lead.asked.load(Ordering::Acquire) == 1).then_some(()));
    let (status, document) = post(&stage, "/control/upgrade/resume", "");
    assert_eq!((status, document["state"].as_str()), (200, Some("active")));
    eventually(|| lead.resumed.load(Ordering::Acquire).then_some(()));
    let (_, status) = ask(&stage, "GET", "/control/upgrade", "");
    assert_eq!(status["participants"][0]["state"], "idle");
    post(&stage, "/control/upgrade/drain", KERNEL);
    drop(registration);
    is_state(&stage, "drained");
    let expected =
        [Lifecycle::Draining, Lifecycle::Active, Lifecycle::Draining, Lifecycle::Drained];
    assert_eq!(published(&stage), expected);
}

#[test]
fn cordon_and_drain_do_not_mix_and_bad_bodies_are_told() {
    let stage = stage();
    let _shard = stage.attend(inspection());
    for _ in 0..2 {
        let (status, document) = post(&stage, "/control/cordon", r#"{"reason":"noisy disk"}"#);
        assert_eq!((status, document["state"].as_str()), (200, Some("cordoned")));
        assert_eq!(document["reason"], "noisy disk");
    }
    assert_eq!(ask(&stage, "GET", "/readyz", "").0, 200, "it serves what it has");
    assert_eq!(post(&stage, "/control/upgrade/resume", "").0, 409);
    let (status, document) = post(&stage, "/control/uncordon", "");
    assert_eq!((status, document["state"].as_str()), (200, Some("active")));
    post(&stage, "/control/cordon", "");
    let (status, document) = post(&stage, "/control/upgrade/drain", "{}");
    assert_eq!((status, document["state"].as_str()), (200, Some("drained")), "nobody to ask");
    for path in ["/control/cordon", "/control/uncordon"] {
        assert_eq!(post(&stage, path, "").0, 409, "{path}");
    }
    let long = format!("{{\"reason\":\"{}\"}}", "x".repeat(1_025));
    for body in ["drain", r#"{"why":"x"}"#, &long] {
        assert_eq!(post(&stage, "/control/upgrade/drain", body).0, 400);
    }
    assert_eq!(post(&stage, "/control/upgrade/drain", &" ".repeat(70_000)).0, 413);
    assert_eq!(ask(&stage, "GET", "/control/cordon", "").0, 405);
    assert_eq!(ask(&stage, "PUT", "/control/peers", "").0, 405);
}

/// Rule S-20: what changes something comes through the owner's socket alone.
#[test]
fn loopback_changes_nothing_and_a_leave_through_the_socket_is_told() {
    let stage = stage();
    let _shard = stage.attend(inspection());
    for path in ["upgrade/drain", "upgrade/resume", "cordon", "uncordon", "leave", "force-leave"] {
        let answer = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .new_agent()
            .post(format!("http://{}/control/{path}", stage.http))
            .send_empty()
            .unwrap();
        assert_eq!(answer.status().as_u16(), 403, "{path}");
    }
    assert!(published(&stage).is_empty());
    let (status, document) = post(&stage, "/control/leave", "");
    assert_eq!((status, document["acknowledged"].as_u64()), (200, Some(2)));
    assert_eq!(post(&stage, "/control/upgrade/drain", "").0, 409, "it leaves");
    stage.remove();
    assert!(!stage.socket.exists());
}

/// The status of a request whose answer may never end.
fn status(stage: &Stage, method: &str, path: &str) -> u16 {
    let mut stream = UnixStream::connect(&stage.socket).unwrap();
    write!(stream, "{method} {path} HTTP/1.0\r\nContent-Length: 0\r\n\r\n").unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn the_openapi_document_names_every_route_and_nothing_else() {
    let stage = stage();
    let _shard = stage.attend(inspection());
    let (_, document) = ask(&stage, "GET", "/openapi.json", "");
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 15, "{paths:?}");
    for (path, methods) in paths {
        for method in methods.as_object().unwrap().keys() {
            let told = status(&stage, &method.to_uppercase(), path);
            assert!(![404, 405].contains(&told), "{method} {path}: {told}");
        }
        let other = if methods.get("get").is_some() { "POST" } else { "GET" };
        assert_eq!(status(&stage, other, path), 405, "{other} {path}");
    }
    // Whatever the tests of this crate ask for is in it.
    for path in ["/control/peers", "/omnirelay/control/peers/watch", "/omnirelay/metrics"] {
        assert!(paths.contains_key(path), "{path}");
    }
}

/// Every refusal that a route can be brought to stands in the document.
#[test]
fn refusals_are_as_the_openapi_document_says() {
    let stage = stage();
    let _shard = stage.attend(inspection());
    let (_, document) = ask(&stage, "GET", "/openapi.json", "");
    let large = " ".repeat(70_000);
    for (method, path, query, body, wanted) in [
        ("GET", "/control/peers", "?status=odd", "", 400),
        ("GET", "/control/peers/watch", "?status=odd", "", 400),
        ("GET", "/control/leaders", "?scope=nobodys", "", 404),
        ("PUT", "/control/logging", "", "[", 400),
        ("PUT", "/control/logging", "", &large, 413),
        ("PUT", "/control/logging", "", r#"{"filter":"debug"}"#, 501),
        ("POST", "/control/upgrade/drain", "", "[", 400),
        ("POST", "/control/cordon", "", &large, 413),
        ("POST", "/control/force-leave", "", &large, 413),
    ] {
        let (status, answer) = ask(&stage, method, &format!("{path}{query}"), body);
        assert_eq!(status, wanted, "{method} {path}{query}: {answer}");
        assert!(answer["error"].is_string(), "{method} {path}{query}: {answer}");
        let told = &document["paths"][path][method.to_lowercase()]["responses"];
        assert!(told[wanted.to_string()].is_object(), "{method} {path} {wanted}: {told}");
    }
}

/// What is answered has no field that the schema lacks.
fn is_described(schema: &Value, answer: &Value, at: &str) {
    match answer {
        Value::Object(fields) if schema.get("additionalProperties").is_none() => {
            for (name, value) in fields {
                let described = &schema["properties"][name];
                assert!(described.is_object(), "{at}.{name} is not in the document");
                is_described(described, value, &format!("{at}.{name}"));
            }
        }
        Value::Array(items) => {
            for item in items {
                is_described(&schema["items"], item, at);
            }
        }
        Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn answers_are_as_the_openapi_document_says() {
    let stage = stage();
    let mut inspection = inspection();
    let mut contact = Contact::new(inspection.now);
    contact.measured(Duration::from_millis(1));
    inspection.contacts.push((id("peer"), contact));
    let _shard = stage.attend(inspection);
    let (clerk, _lead) = clerk();
    let _clerk = stage.upgrade.register("clerk", Duration::ZERO, Arc::new(clerk));
    post(&stage, "/control/upgrade/drain", KERNEL);
    is_state(&stage, "failed");
    let people = [("me".to_owned(), State::Alive), ("peer".to_owned(), State::Dead)];
    stage.publish(view_of(&people, 2));
    let lease = Lease { sequence_id: 1, attempt: 1, lease_id: "l".into() };
    let report = LeaseReport { active_leases: vec![lease], ..LeaseReport::default() };
    stage.leases.report("peer", report).unwrap();
    let (_, document) = ask(&stage, "GET", "/openapi.json", "");
    let as_it_says = |path: &str| {
        let (status, answer) = ask(&stage, "GET", path, "");
        assert_eq!(status, 200);
        let bare = path.split('?').next().unwrap();
        let success = &document["paths"][bare]["get"]["responses"]["200"];
        let name = success["content"]["application/json"]["schema"]["$ref"].as_str().unwrap();
        let schema = &document["components"]["schemas"][name.rsplit('/').next().unwrap()];
        is_described(schema, &answer, path);
        answer
    };
    for path in
        ["/control/peers", "/control/peers?limit=1", "/control/upgrade", "/control/lease-health"]
    {
        as_it_says(path);
    }
    stage.publish(led_by("peer"));
    assert_eq!(as_it_says("/control/leaders")["tokens"][0]["leaderId"], "peer");
}

#[test]
fn what_is_refused_is_counted() {
    let stage = stage();
    let _shard = stage.attend(inspection());
    let (status, document) = post(&stage, "/control/upgrade/drain", &" ".repeat(70_000));
    assert_eq!(status, 413);
    assert!(document["error"].as_str().unwrap().contains("65536"), "{document}");
    let answer = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .new_agent()
        .post(format!("http://{}/control/leave", stage.http))
        .send_empty()
        .unwrap();
    assert_eq!(answer.status().as_u16(), 403);
    let text = stage.site.metrics.render(&stage.site.published().view, &inspection());
    for reason in ["large", "forbidden"] {
        let line = format!("mesh_gossip_control_dropped_total{{mesh_reason=\"{reason}\"}} 1\n");
        assert!(text.contains(&line), "{line}: {text}");
    }
}
