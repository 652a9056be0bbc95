//! An agent asked from elsewhere: `https` URLs, and what each certificate may.

use std::io::{BufRead, BufReader};
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::stage::{Outcome, Process, Stage, omnirelay, stderr, stdout};

/// Files of somebody who asks.
struct Papers {
    certificate: String,
    key: String,
    ca: String,
}

impl Papers {
    fn of(stage: &Stage, node: &str, role: &str) -> Outcome<Self> {
        let settings = stage.issue(node, role)?;
        let path = |key: &str| -> Outcome<String> {
            let text = settings["tls"][key].as_str().ok_or("a path")?;
            Ok(stage.home().join(text).display().to_string())
        };
        Ok(Self {
            certificate: path("certificatePath")?,
            key: path("keyPath")?,
            ca: path("caPath")?,
        })
    }

    /// A person, with the authorities that the nodes have.
    fn of_operator(stage: &Stage, name: &str, ca: &str) -> Outcome<Self> {
        let issue = format!("mesh bootstrap issue --dir ca --operator --node {name} --out {name}");
        let issued = omnirelay(stage.home()).args(issue.split(' ')).output()?;
        assert_eq!(issued.status.code(), Some(0), "{}", stderr(&issued));
        let file =
            |end: &str| stage.home().join(format!("{name}/{name}.{end}")).display().to_string();
        Ok(Self { certificate: file("pem"), key: file("key"), ca: ca.to_owned() })
    }

    fn words(&self) -> [&str; 6] {
        ["--certificate", &self.certificate, "--key", &self.key, "--ca", &self.ca]
    }
}

fn mesh(stage: &Stage, line: &str, agent: &Process, words: &[&str]) -> Outcome<Output> {
    let line = line.split(' ').chain(["--url", &agent.control]).chain(words.iter().copied());
    Ok(omnirelay(stage.home()).arg("mesh").args(line).output()?)
}

/// Rule S-20: members and observers read, operators change, and nobody else is answered.
#[test]
fn an_agent_is_asked_from_elsewhere_with_a_certificate_of_the_mesh() -> Outcome {
    let stage = Stage::new("remote", "remote.test")?;
    let mut settings = stage.settings("gateway", "gateway")?;
    settings.insert(
        "control".into(),
        json!({ "address": "0.0.0.0", "port": 0, "tls": {"enabled": true} }),
    );
    let mut agent = stage.start(&stage.write("gateway.json", &settings)?, &[])?;
    assert!(agent.control.starts_with("https://0.0.0.0:"), "{}", agent.control);
    agent.control = agent.control.replace("0.0.0.0", "127.0.0.1");
    let observer = Papers::of(&stage, "grafana", "observer")?;
    let operator = Papers::of_operator(&stage, "alice", &observer.ca)?;

    let listed = mesh(&stage, "peers list --format ndjson", &agent, &observer.words())?;
    assert_eq!(listed.status.code(), Some(0), "{}", stderr(&listed));
    assert!(
        stdout(&listed).starts_with(r#"{"nodeId":"gateway","status":"Alive""#),
        "{}",
        stdout(&listed)
    );
    let leaders = mesh(&stage, "leaders status", &agent, &observer.words())?;
    assert_eq!(leaders.status.code(), Some(0), "{}", stderr(&leaders));
    assert!(stdout(&leaders).starts_with("Generated at: "), "{}", stdout(&leaders));
    let mut watcher = omnirelay(stage.home())
        .args(["mesh", "peers", "watch", "--format", "ndjson", "-u", &agent.control])
        .args(observer.words())
        .stdout(Stdio::piped())
        .spawn()?;
    let watch = BufReader::new(watcher.stdout.take().ok_or("stdout is piped")?);
    let mut watch = watch.lines();
    let mut next = || -> Outcome<Value> {
        Ok(serde_json::from_str(&watch.next().ok_or("the watch ended")??)?)
    };
    assert_eq!(next()?["lifecycle"], "active");

    let refused = mesh(&stage, "drain", &agent, &observer.words())?;
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("403): this certificate only reads"), "{}", stderr(&refused));
    let cordoned = mesh(&stage, "cordon --reason disk", &agent, &operator.words())?;
    assert_eq!(cordoned.status.code(), Some(0), "{}", stderr(&cordoned));
    assert!(
        stdout(&cordoned).starts_with("State: cordoned\nReason: disk\n"),
        "{}",
        stdout(&cordoned)
    );
    assert_eq!(next()?["lifecycle"], "cordoned", "who watches from elsewhere is told");
    watcher.kill()?;
    watcher.wait()?;

    let elsewhere = Stage::new("remote", "remote.test")?;
    let foreign = Papers::of(&elsewhere, "grafana", "observer")?;
    for (words, told) in [
        (&[][..], "needs mutual TLS: name a certificate"),
        (&["--certificate", &observer.certificate], "name its authorities with --ca"),
        (&foreign.words(), "trust each other's certificates"),
        (&[&foreign.words()[..4], &["--ca", &observer.ca]].concat(), "trust each other's"),
        (
            &[&observer.words()[..], &["--expect", "dispatcher"]].concat(),
            "the member \"gateway\" answered, expected \"dispatcher\"",
        ),
    ] {
        let output = mesh(&stage, "peers", &agent, words)?;
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        assert!(stderr(&output).contains(told), "{words:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "");
    }
    Ok(())
}

/// An address that others reach is refused without TLS: key, value, origin and fix are told.
#[test]
fn an_address_off_loopback_is_refused_without_mutual_tls() -> Outcome {
    let stage = Stage::new("exposed", "exposed.test")?;
    let mut settings = stage.settings("gateway", "gateway")?;
    settings.insert("control".into(), json!({ "address": "0.0.0.0", "port": 0 }));
    let config = stage.write("gateway.json", &settings)?;
    let output = stage.agent(&config).output()?;
    assert_eq!(output.status.code(), Some(1));
    for part in [
        "mesh:gossip:control:address = \"0.0.0.0\" (",
        "gateway.json:",
        "set mesh:gossip:control:tls:enabled to true, or use 127.0.0.1",
    ] {
        assert!(stderr(&output).contains(part), "{part}: {}", stderr(&output));
    }
    Ok(())
}
