//! What an agent's owner changes from the command line, and what everybody then sees.

use std::io::{BufRead, BufReader, Lines, Read as _, Write as _};
use std::process::{ChildStdout, Stdio};

use serde_json::{Value, json};

use crate::stage::{Outcome, Process, Stage, omnirelay, stderr, stdout, until};

const NODES: [&str; 2] = ["owner-a", "owner-b"];

/// Two agents, whose sockets are below `runtime`.
fn pair(stage: &Stage, runtime: &str) -> Outcome<[Process; 2]> {
    let mut seed = None;
    let mut start = |node: &str| -> Outcome<Process> {
        let mut settings = stage.settings(node, "worker")?;
        let first = format!("127.0.0.1:{}", settings["port"]);
        settings.insert("seedPeers".into(), json!([seed.get_or_insert(first)]));
        let config = stage.write(&format!("{node}.json"), &settings)?;
        stage.start(&config, &[("XDG_RUNTIME_DIR", runtime)])
    };
    Ok([start(NODES[0])?, start(NODES[1])?])
}

/// Reads what a watch prints until it tells this of the first node.
fn heard(watch: &mut Lines<BufReader<ChildStdout>>, key: &str, wanted: &str) -> Outcome {
    for line in watch {
        let peer: Value = serde_json::from_str(&line?)?;
        if peer["nodeId"] == NODES[0] && peer[key] == wanted {
            return Ok(());
        }
    }
    Err(format!("the watch ended before {key} was {wanted}").into())
}

/// A node is cordoned, drained, resumed and sent away; who watches its peer is told each step.
#[test]
fn a_node_is_cordoned_drained_resumed_and_sent_away_through_its_socket() -> Outcome {
    let stage = Stage::new("owner", "owner.test")?;
    let runtime = stage.home().join("run");
    let runtime = runtime.to_str().ok_or("a path that is text")?;
    let [mut changed, watching] = pair(&stage, runtime)?;
    let mesh = |line: &str| {
        let mut command = omnirelay(stage.home());
        command.env("XDG_RUNTIME_DIR", runtime).arg("mesh").args(line.split(' ')).output()
    };
    let several = mesh("cordon")?;
    assert_eq!(several.status.code(), Some(1));
    assert!(stderr(&several).contains("--node ID (owner-a, owner-b)"), "{}", stderr(&several));
    let mut watcher = omnirelay(stage.home())
        .args(["mesh", "peers", "watch", "--format", "ndjson", "-u", &watching.control])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut watch = BufReader::new(watcher.stdout.take().ok_or("stdout is piped")?).lines();
    heard(&mut watch, "lifecycle", "active")?;
    for (line, state, seen) in [
        ("cordon --node owner-a --reason disk", "State: cordoned\nReason: disk\n", "cordoned"),
        ("uncordon --node owner-a", "State: active\n", "active"),
        (
            "drain --node owner-a --reason kernel --wait",
            "State: drained\nReason: kernel",
            "drained",
        ),
        ("upgrade status --node owner-a", "State: drained\nReason: kernel\n", ""),
        ("upgrade resume --node owner-a", "State: active\n", "active"),
        ("cordon --node owner-a", "State: cordoned\n", "cordoned"),
    ] {
        let output = mesh(line)?;
        assert_eq!(output.status.code(), Some(0), "{line}: {}", stderr(&output));
        assert!(stdout(&output).starts_with(state), "{line}: {}", stdout(&output));
        if !seen.is_empty() {
            heard(&mut watch, "lifecycle", seen)?;
        }
    }
    let conflict = mesh("resume --node owner-a")?;
    assert_eq!(conflict.status.code(), Some(1));
    assert!(stderr(&conflict).contains("uncordon it"), "{}", stderr(&conflict));
    let left = mesh("leave --node owner-a")?;
    assert_eq!(left.status.code(), Some(0), "{}", stderr(&left));
    assert_eq!(stdout(&left), "left the mesh; 1 members acknowledged it\n");
    heard(&mut watch, "reason", "left")?;
    watcher.kill()?;
    watcher.wait()?;
    let ended = until("the process ends", || changed.ended())?;
    assert_eq!(ended.code(), Some(0), "a daemon that has left is done");
    Ok(())
}

/// Rule S-14: an order that an operator hands to one agent ends a member's life there, and
/// one that reaches nobody ends nothing.
#[test]
fn an_operators_order_is_obeyed_through_the_control_socket() -> Outcome {
    let stage = Stage::new("order", "order.test")?;
    let runtime = stage.home().join("run");
    let runtime = runtime.to_str().ok_or("a path that is text")?;
    let [told, mut subject] = pair(&stage, runtime)?;
    let issue = "mesh bootstrap issue --dir ca --operator --node alice --out alice";
    let issued = omnirelay(stage.home()).args(issue.split(' ')).output()?;
    assert_eq!(issued.status.code(), Some(0), "{}", stderr(&issued));
    let life = until("both know each other", || {
        let peer = told.peer(NODES[1])?.filter(|peer| peer["status"] == "Alive");
        Ok(peer.and_then(|peer| peer["incarnation"].as_str().map(str::to_owned)))
    })?;
    let socket = format!("{runtime}/mesh-gossip/{}.sock", NODES[0]);
    let order = |incarnation: &str, socket: &str| {
        let line = format!(
            "mesh force-leave --certificate alice/alice.pem --key alice/alice.key --node {} \
             --incarnation {incarnation} --socket {socket}",
            NODES[1]
        );
        omnirelay(stage.home()).args(line.split_whitespace()).output()
    };
    let nowhere = order(&life, "nowhere.sock")?;
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(stderr(&nowhere).contains("nowhere.sock"), "{}", stderr(&nowhere));
    let status = told.peer(NODES[1])?.ok_or("it is listed")?["status"].clone();
    assert_eq!(status, "Alive", "an order that reached nobody");
    // Bytes that are no order are the sender's mistake; an order for another life is one that does
    // not hold.
    let (status, answer) = post(&socket, "/control/force-leave", b"no order")?;
    assert_eq!(status, 400, "{answer}");
    assert!(answer.contains("the bytes are no order"), "{answer}");
    let other = order("1.0", &socket)?;
    assert_eq!(other.status.code(), Some(1));
    assert!(stderr(&other).contains("another incarnation"), "{}", stderr(&other));
    let sent = order(&life, &socket)?;
    assert_eq!(sent.status.code(), Some(0), "{}", stderr(&sent));
    assert!(stderr(&sent).starts_with("sent: owner-b"), "{}", stderr(&sent));
    assert_eq!(stdout(&sent), "");
    until("the view shows it gone", || {
        Ok(told.peer(NODES[1])?.filter(|peer| peer["status"] == "Left").map(drop))
    })?;
    let ended = until("the process of its subject ends", || subject.ended())?;
    assert_eq!(ended.code(), Some(0), "a daemon that was sent away is done");
    Ok(())
}

/// The status and the whole text of an answer through a control socket.
fn post(socket: &str, path: &str, body: &[u8]) -> Outcome<(u16, String)> {
    let mut stream = std::os::unix::net::UnixStream::connect(socket)?;
    let length = body.len();
    write!(stream, "POST {path} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n")?;
    stream.write_all(body)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).ok_or("a status")?.parse()?;
    Ok((status, answer))
}

/// What an agent logs is changed while it runs, and ends by itself.
#[test]
fn what_an_agent_logs_is_changed_while_it_runs_and_ends_by_itself() -> Outcome {
    let stage = Stage::new("logging", "logging.test")?;
    let runtime = stage.home().join("run");
    let runtime = runtime.to_str().ok_or("a path that is text")?;
    let config = stage.write("n.json", &stage.settings("logger", "worker")?)?;
    let agent = stage.start(&config, &[("XDG_RUNTIME_DIR", runtime)])?;
    let mesh = |line: &str| {
        let mut command = omnirelay(stage.home());
        command
            .env("XDG_RUNTIME_DIR", runtime)
            .args(["mesh", "logging"])
            .args(line.split(' '))
            .output()
    };
    let said = |line: &str| -> Outcome<String> {
        let output = mesh(line)?;
        assert_eq!(output.status.code(), Some(0), "{line}: {}", stderr(&output));
        Ok(stdout(&output))
    };
    assert_eq!(said("show")?, "Filter: info\nConfigured: info\n");
    let at_level = |level: &str| agent.log().iter().filter(|line| line["level"] == level).count();
    assert_eq!(at_level("DEBUG") + at_level("TRACE"), 0);
    assert_eq!(
        said("set warn,mesh_gossip=trace")?,
        "Filter: warn,mesh_gossip=trace\nConfigured: info\n"
    );
    let refused = mesh("set loud")?;
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("\"loud\" is neither a level"), "{}", stderr(&refused));
    // A stranger at the sync port is told at TRACE alone.
    until("it logs what it did not before", || {
        drop(std::net::TcpStream::connect(agent.address)?);
        Ok((at_level("TRACE") > 0).then_some(()))
    })?;
    let timed = said("set error --for 300ms")?;
    assert!(timed.starts_with("Filter: error\nConfigured: info\nUntil: 20"), "{timed}");
    until("it logs as configured again", || {
        Ok((said("show")? == "Filter: info\nConfigured: info\n").then_some(()))
    })?;
    said("set debug --for 1h")?;
    assert_eq!(said("reset")?, "Filter: info\nConfigured: info\n");
    Ok(())
}
