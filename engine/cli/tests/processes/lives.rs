//! One mesh of three processes: birth, a sudden death, a return, a goodbye.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::stage::{Outcome, Process, Stage, omnirelay, stderr, stdout, until};

const CLUSTER: &str = "lives";
const NODES: [&str; 3] = ["lives-a", "lives-b", "lives-c"];

// Event ids of log lines.
const RECOVERED: u32 = 4;
const SUSPECT: u32 = 5;
const LEFT: u32 = 6;

/// Three certificates, three settings files.
fn files(stage: &Stage) -> Outcome<[PathBuf; 3]> {
    let mut seed = None;
    let mut file = |node: &str| -> Outcome<PathBuf> {
        let mut settings = stage.settings(node, "worker")?;
        let seed = seed.get_or_insert_with(|| format!("127.0.0.1:{}", settings["port"]));
        settings.insert("seedPeers".into(), json!([seed]));
        stage.write(&format!("{node}.json"), &settings)
    };
    Ok([file(NODES[0])?, file(NODES[1])?, file(NODES[2])?])
}

/// Lines about `peer` with this event id, after the first `known` ones.
fn told(process: &Process, known: usize, event: u32, peer: &str) -> Vec<Value> {
    let mut lines = process.log().split_off(known);
    lines.retain(|line| line["EventId"] == event && line["PeerId"] == peer);
    lines
}

fn position(process: &Process, known: usize, event: u32, peer: &str) -> Option<usize> {
    let lines = process.log().split_off(known);
    lines.iter().position(|line| line["EventId"] == event && line["PeerId"] == peer)
}

/// Of the whole log: what was doubted when it died may have been doubted before that.
fn last(process: &Process, event: u32, peer: &str) -> Option<usize> {
    let lines = process.log();
    lines.iter().rposition(|line| line["EventId"] == event && line["PeerId"] == peer)
}

fn everyone_alive(process: &Process) -> Outcome<Option<()>> {
    let peers = process.peers()?;
    let alive = peers.iter().filter(|peer| peer["status"] == "Alive").count();
    Ok((alive == NODES.len() && peers.len() == NODES.len()).then_some(()))
}

/// Generation and counter.
fn incarnation(peer: &Value) -> Outcome<(u64, u64)> {
    let text = peer["incarnation"].as_str().ok_or("no incarnation")?;
    let (generation, counter) = text.split_once('.').ok_or("not generation.counter")?;
    Ok((generation.parse()?, counter.parse()?))
}

/// When each process first showed `node` under `status`, since `from`.
fn shown(
    processes: [&Process; 2],
    node: &str,
    status: &str,
    from: Instant,
) -> Outcome<[Duration; 2]> {
    let mut since = [None; 2];
    until(&format!("{node} is {status}"), || {
        for (process, since) in processes.iter().zip(&mut since) {
            let peer = process.peer(node)?;
            if since.is_none() && peer.is_some_and(|peer| peer["status"] == status) {
                *since = Some(from.elapsed());
            }
        }
        let [Some(first), Some(second)] = since else { return Ok(None) };
        Ok(Some([first, second]))
    })
}

#[test]
fn three_processes_converge_and_follow_a_death_a_return_and_a_goodbye() -> Outcome {
    let stage = Stage::new(CLUSTER, "lives.local")?;
    let files = files(&stage)?;
    let started = Instant::now();
    let a = stage.start(&files[0], &[])?;
    let b = stage.start(&files[1], &[])?;
    let c = stage.start(&files[2], &[])?;
    for process in [&a, &b, &c] {
        until("three members are Alive", || everyone_alive(process))?;
    }
    println!("three processes converged {} ms after the first start", ms(started.elapsed()));
    the_command_lists_three(&stage, &a)?;

    let before = incarnation(&a.peer(NODES[2])?.ok_or("not listed")?)?;
    the_dead_are_removed([&a, &b], c)?;
    let c = the_dead_return(&stage, [&a, &b], &files[2], before)?;
    a_goodbye_is_heard([&a, &c], b)
}

fn the_command_lists_three(stage: &Stage, a: &Process) -> Outcome {
    let list = ["mesh", "peers", "--format", "ndjson", "-u", &a.control];
    let output = omnirelay(stage.home()).args(list).output()?;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    let members: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let names: Vec<_> = members.iter().map(|member| &member["nodeId"]).collect();
    assert_eq!(names, NODES, "ourselves first, the others by name");
    assert_eq!(members[0]["metadata"]["endpoint"], a.address.to_string());
    Ok(())
}

/// SIGKILL: gone from peers, metrics and logs, suspected first.
fn the_dead_are_removed(survivors: [&Process; 2], victim: Process) -> Outcome {
    let node = NODES[2];
    let known = survivors.map(|survivor| survivor.log().len());
    let killed = Instant::now();
    let status = victim.kill()?;
    assert_eq!(status.code(), None, "ended by a signal");
    let removed = shown(survivors, node, "Left", killed)?;
    println!("removed {:?} ms after SIGKILL (suspicionInterval 5000)", removed.map(ms));

    for (survivor, known) in survivors.into_iter().zip(known) {
        let peer = survivor.peer(node)?.ok_or("not listed")?;
        assert_eq!(peer["reason"], "failed", "{peer}");
        for (status, count) in [("alive", 2.0), ("suspect", 0.0), ("left", 1.0)] {
            let name = format!("mesh_gossip_members{{mesh_status=\"{status}\"}}");
            until(&name, || Ok((survivor.metric(&name)? == count).then_some(())))?;
        }
        // The log is written by another thread than the one that publishes the view.
        until("the departure is logged", || Ok(position(survivor, known, LEFT, node)))?;
        // Once at least: a busy machine may have raised a doubt before, which was refuted.
        let suspected = told(survivor, 0, SUSPECT, node);
        let left = told(survivor, known, LEFT, node);
        assert_eq!((suspected.is_empty(), left.len()), (false, 1), "{suspected:?} {left:?}");
        assert!(last(survivor, SUSPECT, node) < last(survivor, LEFT, node), "doubted, then gone");
        for line in suspected.iter().chain(&left) {
            assert_eq!(line["level"], "WARN");
            assert_eq!(line["ClusterId"], CLUSTER);
            assert_eq!(line["Role"], "worker");
        }
        assert!(suspected[0]["LastSeen"].is_string(), "{}", suspected[0]);
        assert_eq!(left[0]["Reason"], "failed");
    }
    Ok(())
}

/// The same settings file again: Alive under a higher incarnation.
fn the_dead_return(
    stage: &Stage,
    survivors: [&Process; 2],
    file: &std::path::Path,
    before: (u64, u64),
) -> Outcome<Process> {
    let node = NODES[2];
    let known = survivors.map(|survivor| survivor.log().len());
    let restarted = Instant::now();
    let process = stage.start(file, &[])?;
    let back = shown(survivors, node, "Alive", restarted)?;
    println!("back {:?} ms after the restart (promised within 2000)", back.map(ms));
    until("the returned one sees three", || everyone_alive(&process))?;
    for (survivor, known) in survivors.into_iter().zip(known) {
        let now = incarnation(&survivor.peer(node)?.ok_or("not listed")?)?;
        assert!(now > before, "{now:?} is not above {before:?}");
        until("the return is logged", || Ok(position(survivor, known, RECOVERED, node)))?;
        let mut recovered = told(survivor, known, RECOVERED, node);
        recovered.retain(|line| line["PreviousStatus"] == "Left");
        assert_eq!(recovered.len(), 1, "{recovered:?}");
    }
    Ok(process)
}

/// SIGTERM: Left by its own word, exit code 0, and nobody doubts it afterwards.
fn a_goodbye_is_heard(others: [&Process; 2], mut leaving: Process) -> Outcome {
    let node = NODES[1];
    let known = others.map(|other| other.log().len());
    let asked = Instant::now();
    let status = leaving.terminate()?;
    println!("ended {} ms after SIGTERM", ms(asked.elapsed()));
    assert_eq!(status.code(), Some(0));
    shown(others, node, "Left", asked)?;
    for (other, known) in others.into_iter().zip(known) {
        assert_eq!(other.peer(node)?.ok_or("not listed")?["reason"], "left");
        let at = until("the goodbye is logged", || Ok(position(other, known, LEFT, node)))?;
        let left = told(other, known, LEFT, node);
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(left[0]["Reason"], "left");
        let suspected = told(other, known + at, SUSPECT, node);
        assert!(suspected.is_empty(), "whoever said goodbye is not doubted: {suspected:?}");
    }
    Ok(())
}

fn ms(span: Duration) -> u128 {
    span.as_millis()
}
