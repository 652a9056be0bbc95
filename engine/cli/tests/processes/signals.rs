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

/// What can change while an agent runs does, by a signal or by the file alone; what cannot is named;
/// and a mistake changes nothing.
#[test]
fn settings_change_while_an_agent_runs() -> Outcome {
    let stage = Stage::new("reload", "reload.local")?;
    let mut settings = stage.settings("reload-a", "worker")?;
    let file = stage.write("node.json", &settings)?;
    let agent = stage.start(&file, &[])?;
    let own = || Ok::<_, Box<dyn std::error::Error>>(agent.peers()?[0]["metadata"].take());
    assert_eq!(own()?["region"], "local");

    // No signal: the file is noticed.
    settings.insert("region".into(), "eu-1".into());
    settings.insert("labels".into(), serde_json::json!({"rack": "r7"}));
    settings.insert("log".into(), serde_json::json!({"format": "json", "level": "debug"}));
    settings.insert("interval".into(), "900ms".into());
    stage.write("node.json", &settings)?;
    let line = until("the file is noticed", || {
        Ok(lines(&agent, "a settings file changed: settings reloaded").pop())
    })?;
    assert_eq!(line["Changed"], "region, labels, log:level");
    assert_eq!(line["NeedsRestart"], "interval");
    let metadata = own()?;
    assert_eq!((&metadata["region"], &metadata["labels"]["rack"]), (&"eu-1".into(), &"r7".into()));

    // Half of it is right, and none of it is taken.
    settings.insert("region".into(), "eu-2".into());
    settings.insert("grace".into(), "1ms".into());
    stage.write("node.json", &settings)?;
    let line = until("the mistake is told", || Ok(lines(&agent, "nothing changed").pop()))?;
    let reason = line["Reason"].as_str().unwrap_or_default();
    for part in ["mesh:gossip:grace", "1ms", "node.json:", "100ms to 60s"] {
        assert!(reason.contains(part), "{reason}");
    }
    assert_eq!(own()?["region"], "eu-1");

    // Another member's settings: what could be applied is not, and the log says who we stay.
    settings.remove("grace");
    settings.insert("nodeId".into(), "reload-b".into());
    stage.write("node.json", &settings)?;
    let line = until("another id is refused", || {
        let mut refused = lines(&agent, "nothing changed");
        refused.retain(|line| line["Reason"].as_str().is_some_and(|why| why.contains("nodeId")));
        Ok(refused.pop())
    })?;
    let reason = line["Reason"].as_str().unwrap_or_default();
    for part in ["mesh:gossip:nodeId = \"reload-b\"", "\"reload-a\"", "restart"] {
        assert!(reason.contains(part), "{reason}");
    }
    assert_eq!((&line["level"], &own()?["region"]), (&"ERROR".into(), &"eu-1".into()));

    settings.insert("nodeId".into(), "reload-a".into());
    settings.insert("labels".into(), serde_json::json!({}));
    stage.write("node.json", &settings)?;
    until("labels are taken back", || Ok(own()?["labels"]["rack"].is_null().then_some(())))?;
    let told = lines(&agent, "settings reloaded");
    assert_eq!(told.last().map(|line| &line["Changed"]), Some(&"region, labels".into()));
    assert_eq!(told.last().map(|line| &line["NeedsRestart"]), Some(&"interval".into()));
    Ok(())
}
