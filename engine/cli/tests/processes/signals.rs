//! What a running agent makes of signals.

use std::time::Duration;

use serde_json::Value;

use crate::stage::{Outcome, Process, Stage, omnirelay, stderr, until};

/// Log lines whose message contains `part`.
fn lines(process: &Process, part: &str) -> Vec<Value> {
    let mut lines = process.log();
    lines.retain(|line| line["message"].as_str().is_some_and(|said| said.contains(part)));
    lines
}

#[test]
fn a_hangup_ends_no_agent_and_a_goodbye_is_logged_once() -> Outcome {
    let stage = Stage::new("signals", "signals.local")?;
    let settings = stage.settings("signals-a", "worker")?;
    let file = stage.write("node.json", &settings)?;
    let mut agent = stage.start(&file, &[])?;
    for heard in 1..=2 {
        agent.signal("HUP")?;
        until("the hangup is logged", || {
            Ok((lines(&agent, "SIGHUP").len() == heard).then_some(()))
        })?;
    }
    // It would be gone by then, had it been ended.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(agent.peers()?[0]["status"], "Alive");
    let told = lines(&agent, "SIGHUP");
    assert_eq!(told.len(), 2, "one line a signal: {told:?}");
    assert_eq!((&told[0]["level"], &told[0]["Certificate"]), (&"INFO".into(), &false.into()));

    assert_eq!(agent.terminate()?.code(), Some(0));
    let left = lines(&agent, "left the mesh");
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0]["NodeId"], "signals-a");
    assert_eq!(left[0]["Acknowledged"], 0);
    Ok(())
}

/// Rule S-15: a hangup takes over what the settings name now, or nothing.
#[test]
fn a_hangup_takes_over_another_certificate() -> Outcome {
    let stage = Stage::new("hangup", "hangup.local")?;
    let mut settings = stage.settings("hangup-a", "worker")?;
    let file = stage.write("node.json", &settings)?;
    let agent = stage.start(&file, &[])?;
    let told = |part: &str| {
        let told = lines(&agent, "SIGHUP").into_iter();
        let mut about =
            told.filter(|line| line["message"].as_str().is_some_and(|s| s.contains(part)));
        Ok(about.next_back())
    };
    std::fs::write(stage.home().join("node.json"), "{\"mesh\": {\"gossip\": {\"port\": \"x\"}}}")?;
    agent.signal("HUP")?;
    let line = until("it is refused", || told("nothing changed"))?;
    assert_eq!(line["level"], "ERROR");

    // Another certificate of the same node, in another place.
    let elsewhere = stage.home().join("elsewhere");
    let names = ["--node", "hangup-a", "--role", "worker", "--out", "elsewhere"];
    let issue = [&["mesh", "bootstrap", "issue", "--dir", "ca"][..], &names].concat();
    let output = omnirelay(stage.home()).args(issue).output()?;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let tls = settings["tls"].as_object_mut().ok_or("there are TLS settings")?;
    for (key, name) in [("certificatePath", "hangup-a.pem"), ("keyPath", "hangup-a.key")] {
        tls.insert(key.into(), elsewhere.join(name).to_string_lossy().into());
    }
    stage.write("node.json", &settings)?;
    agent.signal("HUP")?;
    let line = until("it is taken over", || told("reloaded"))?;
    assert_eq!((&line["Certificate"], &line["Trust"]), (&true.into(), &false.into()));
    assert_eq!(agent.peers()?[0]["status"], "Alive");
    Ok(())
}
