//! What an agent says of settings that cannot be: exit code 1, the key and the fix on stderr,
//! nothing on stdout.

use std::ffi::OsStr;
use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::stage::{Outcome, Stage, omnirelay, stderr, stdout};

const NODE: &str = "refused";

/// Runs a process that must refuse to start, and returns what it said.
fn refusal(case: &str, command: &mut Command) -> Outcome<String> {
    let output = command.output()?;
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{case}: {said}");
    assert_eq!(stdout(&output), "", "{case}");
    assert!(said.lines().any(|line| line.starts_with("error: ")), "{case}: {said}");
    Ok(said)
}

fn assert_says(case: &str, said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{case}: no {part:?} in {said}");
    }
}

/// A case: what is changed in good settings, and what must be said of it.
type Case<'a> = (&'a str, Value, &'a [&'a str]);

/// Every key of `change` replaces that of `good`; null removes it.
fn changed(good: &Map<String, Value>, change: &Value) -> Map<String, Value> {
    let mut settings = good.clone();
    for (key, value) in change.as_object().into_iter().flatten() {
        match (settings.get_mut(key), value) {
            (_, Value::Null) => drop(settings.remove(key)),
            (Some(Value::Object(inner)), Value::Object(_)) => *inner = changed(inner, value),
            _ => drop(settings.insert(key.clone(), value.clone())),
        }
    }
    settings
}

fn assert_refused(stage: &Stage, good: &Map<String, Value>, cases: &[Case<'_>]) -> Outcome {
    for (case, change, parts) in cases {
        let file = stage.write("refused.json", &changed(good, change))?;
        assert_says(case, &refusal(case, &mut stage.agent(&file))?, parts);
    }
    Ok(())
}

#[test]
fn credentials_that_cannot_be_used_are_named_by_key_file_and_fix() -> Outcome {
    let stage = Stage::new("bad", "bad.local")?;
    let good = stage.settings(NODE, "worker")?;
    let other = stage.issue("another", "worker")?;
    fs::write(stage.home().join("garbled.key"), "not a key at all")?;
    let pem = "-----BEGIN PRIVATE KEY-----\nAAAAAAAA\n-----END PRIVATE KEY-----\n";
    fs::write(stage.home().join("hollow.key"), pem)?;
    let certificate = "mesh:gossip:tls:certificatePath";
    let key = "mesh:gossip:tls:keyPath";
    let cases: [Case<'_>; 9] = [
        (
            "no certificate is named",
            json!({"tls": {"certificatePath": null, "keyPath": null}}),
            &[certificate, "MESH_GOSSIP_CERT_PATH", "omnirelay mesh bootstrap"],
        ),
        (
            "the certificate is not there",
            json!({"tls": {"certificatePath": "/nowhere/node.pem"}}),
            &[certificate, "/nowhere/node.pem", "check that the path is right"],
        ),
        (
            "no authority is named",
            json!({"tls": {"caPath": null}}),
            &["mesh:gossip:tls:caPath", "MESH__GOSSIP__TLS__CAPATH"],
        ),
        (
            "the key is a directory",
            json!({"tls": {"keyPath": stage.home()}}),
            &[key, "cannot be read", "check that the path is right"],
        ),
        (
            "the key is not there",
            json!({"tls": {"keyPath": "/nowhere/node.key"}}),
            &[key, "/nowhere/node.key", "check that the path is right"],
        ),
        (
            "the key is garbled",
            json!({"tls": {"keyPath": "garbled.key"}}),
            &[key, "garbled.key", "is not PEM; expected"],
        ),
        (
            "the key is hollow",
            json!({"tls": {"keyPath": "hollow.key"}}),
            &[key, "hollow.key", "expected ECDSA P-256"],
        ),
        (
            "the key is another certificate's",
            json!({"tls": {"keyPath": other["tls"]["keyPath"]}}),
            &[key, "does not belong to the certificate", "issued together"],
        ),
        (
            "the certificate is another cluster's",
            json!({"clusterId": "elsewhere"}),
            &[certificate, "\"bad\"", "set mesh:gossip:clusterId, or issue one for this cluster"],
        ),
    ];
    assert_refused(&stage, &good, &cases)
}

#[test]
fn values_that_cannot_be_are_named_by_key_origin_and_fix() -> Outcome {
    let stage = Stage::new("bad", "bad.local")?;
    let good = stage.settings(NODE, "worker")?;
    let here = "refused.json:";
    let cases: [Case<'_>; 9] = [
        ("no port", json!({"port": 70_000}), &["mesh:gossip:port", "70000", here, "0 to 65535"]),
        ("no number", json!({"port": "http"}), &["mesh:gossip:port", "\"http\"", "0 to 65535"]),
        ("no duration", json!({"interval": "soon"}), &["mesh:gossip:interval", "soon", "hh:mm:ss"]),
        ("no unit", json!({"pingTimeout": 2}), &["mesh:gossip:pingTimeout", here, "unit", "5s"]),
        (
            "no such key",
            json!({"fanuot": 3}),
            &["mesh:gossip:fanuot", here, "did you mean mesh:gossip:fanout?"],
        ),
        (
            "no such detector",
            json!({"detector": "paxos"}),
            &["mesh:gossip:detector", "paxos", here, "observers", "lifeguard", "swim"],
        ),
        (
            "no seed",
            json!({"seedPeers": ["10.0.0.1"]}),
            &["mesh:gossip:seedPeers:0", "10.0.0.1", "has no port"],
        ),
        (
            "no name of the certificate",
            json!({"nodeId": "somebody"}),
            &["mesh:gossip:nodeId", "\"somebody\"", "\"refused\"", "issue a certificate"],
        ),
        (
            "no role of the certificate",
            json!({"role": "gateway"}),
            &["mesh:gossip:role", "\"worker\"", "\"gateway\"", "issue a certificate"],
        ),
    ];
    assert_refused(&stage, &good, &cases)?;

    let file = stage.write("good.json", &good)?;
    for (variable, value, parts) in [
        ("MESH__GOSSIP__PORT", "70000", ["mesh:gossip:port", "0 to 65535"]),
        ("MESH_GOSSIP__SUSPICIONINTERVAL", "5", ["mesh:gossip:suspicionInterval", "unit"]),
        ("OMNIRELAY__MESH__GOSSIP__REGOIN", "eu", ["mesh:gossip:REGOIN", "mesh:gossip:region"]),
    ] {
        let said = refusal(variable, stage.agent(&file).env(variable, value))?;
        assert_says(variable, &said, &parts);
        assert_says(variable, &said, &[variable]);
    }
    let garbled = OsStr::from_bytes(b"caf\xe9");
    let said = refusal("no text", stage.agent(&file).env("MESH__GOSSIP__REGION", garbled))?;
    assert_says("no text", &said, &["MESH__GOSSIP__REGION", "UTF-8"]);
    fs::write(stage.home().join("broken.json"), "{ nonsense")?;
    let said = refusal("no JSON", &mut stage.agent(&stage.home().join("broken.json")))?;
    assert_says("no JSON", &said, &["broken.json:1", "not valid JSON"]);
    let said = refusal("no file", &mut stage.agent(&stage.home().join("nowhere.json")))?;
    assert_says("no file", &said, &["nowhere.json", "cannot be read"]);
    Ok(())
}

#[test]
fn everything_that_is_wrong_is_told_at_once() -> Outcome {
    let stage = Stage::new("bad", "bad.local")?;
    let mut settings = stage.settings(NODE, "worker")?;
    settings.insert("port".into(), json!(-1));
    settings.insert("interval".into(), json!("soon"));
    let file = stage.write("refused.json", &settings)?;
    let said = refusal("two errors", &mut stage.agent(&file))?;
    assert_says("two errors", &said, &["mesh:gossip:port", "mesh:gossip:interval"]);
    Ok(())
}

#[test]
fn a_busy_port_stops_an_agent_and_not_a_demo() -> Outcome {
    let stage = Stage::new("busy", "busy.local")?;
    let datagrams = UdpSocket::bind("127.0.0.1:0")?;
    let streams = TcpListener::bind("127.0.0.1:0")?;
    let control = TcpListener::bind("127.0.0.1:0")?;
    let good = stage.settings(NODE, "worker")?;
    let control_port = control.local_addr()?.port();
    for (key, port, change) in [
        ("port", datagrams.local_addr()?.port(), None),
        ("port", streams.local_addr()?.port(), None),
        ("control:port", control_port, Some(json!({"control": {"port": control_port}}))),
    ] {
        let change = change.unwrap_or_else(|| json!({"port": port}));
        let file = stage.write("busy.json", &changed(&good, &change))?;
        let said = refusal(key, &mut stage.agent(&file))?;
        let key = format!("mesh:gossip:{key}");
        assert_says(&key, &said, &[&key, &port.to_string(), "is taken", "another"]);
    }

    let port = datagrams.local_addr()?.port().to_string();
    let control_port = control_port.to_string();
    let ports = ["--port", &port, "--control-port", &control_port];
    let demo = [&["mesh", "demo", "--duration", "3s"][..], &ports].concat();
    let output = omnirelay(stage.home()).args(demo).output()?;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = stdout(&output);
    let moved = format!("port {port} is busy: demo-1 moved to ");
    let control_moved = format!("control port {control_port} is busy: demo-1 moved to ");
    assert_says("demo", &said, &[&moved, &control_moved, "All 3 agents see each other"]);
    Ok(())
}
