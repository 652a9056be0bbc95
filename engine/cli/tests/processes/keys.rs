//! Keys whose effect only a whole process shows: where it listens, how it logs, which cores its threads
//! have, and what it does before it sleeps.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::{Map, Value, json};

use crate::stage::{Outcome, Process, Stage, skipped, until};

/// An agent of one stage whose settings are these beside the usual ones.
fn started(stage: &Stage, node: &str, own: &[(&str, Value)]) -> Outcome<Process> {
    let settings = settled(stage, node, own)?;
    stage.start(&stage.write(&format!("{node}.json"), &settings)?, &[])
}

fn settled(stage: &Stage, node: &str, own: &[(&str, Value)]) -> Outcome<Map<String, Value>> {
    let mut settings = stage.settings(node, "worker")?;
    settings.extend(own.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    Ok(settings)
}

/// `bindAddress` is the address that is taken, and no other of the same port.
#[test]
fn two_agents_share_a_port_on_two_addresses() -> Outcome {
    let stage = Stage::new("addressed", "addressed.local")?;
    let first = started(&stage, "first", &[("bindAddress", json!("127.0.0.1"))])?;
    let port = first.address.port();
    let own = [("bindAddress", json!("127.0.0.2")), ("port", json!(port))];
    let second = started(&stage, "second", &own)?;
    assert_eq!(first.address.to_string(), format!("127.0.0.1:{port}"));
    assert_eq!(second.address.to_string(), format!("127.0.0.2:{port}"));
    // A wildcard would have both, and is in the way.
    let own = [("bindAddress", json!("0.0.0.0")), ("port", json!(port))];
    let refused = started(&stage, "third", &own).err().ok_or("it started")?.to_string();
    assert!(refused.contains("mesh:gossip:port") && refused.contains("taken"), "{refused}");
    Ok(())
}

/// What an agent with this log says at its start: on stdout, and in its log until it listens or, where
/// nothing is to be logged, until it has said so.
fn said(stage: &Stage, node: &str, log: &Value) -> Outcome<(String, String)> {
    let settings = settled(stage, node, &[("log", log.clone())])?;
    let config = stage.write(&format!("{node}.json"), &settings)?;
    let path = stage.home().join(format!("{node}.log"));
    let mut child =
        stage.agent(&config).stdout(Stdio::piped()).stderr(File::create(&path)?).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or("stdout is piped")?).read_line(&mut line)?;
    let logged = fs::read_to_string(&path)?;
    child.kill()?;
    child.wait()?;
    Ok((line, logged))
}

/// `log:format` is how stdout and the log are written, `log:level` what is left out.
#[test]
fn the_log_is_written_in_the_format_and_from_the_level_that_was_chosen() -> Outcome {
    let stage = Stage::new("worded", "worded.local")?;
    let is_json = |text: &str| {
        text.lines().count() > 0 && text.lines().all(|l| serde_json::from_str::<Value>(l).is_ok())
    };
    let (line, log) = said(&stage, "json", &json!({"format": "json", "level": "info"}))?;
    assert!(is_json(&line) && is_json(&log), "{line}{log}");
    assert!(log.contains("mesh gossip listening"), "{log}");
    let (line, log) = said(&stage, "text", &json!({"format": "text", "level": "info"}))?;
    assert!(line.starts_with("text listens on 127.0.0.1:"), "{line}");
    assert!(log.contains("mesh gossip listening") && !is_json(&log), "{log}");
    let (line, log) = said(&stage, "quiet", &json!({"format": "text", "level": "error"}))?;
    assert!(line.starts_with("quiet listens on"), "{line}");
    assert!(!log.contains("mesh gossip listening"), "{log}");
    Ok(())
}

/// Cores that each shard of a process may run on, as the kernel prints them.
#[cfg(target_os = "linux")]
fn cores_of_shards(process: &Process) -> Outcome<Vec<String>> {
    let mut cores = Vec::new();
    for thread in fs::read_dir(format!("/proc/{}/task", process.pid()))? {
        let thread = thread?.path();
        if fs::read_to_string(thread.join("comm"))?.starts_with("mesh-shard-") {
            let status = fs::read_to_string(thread.join("status"))?;
            let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
            cores.push(allowed.ok_or("the kernel tells it")?.trim().to_owned());
        }
    }
    cores.sort();
    Ok(cores)
}

/// `io:pin` gives each shard one core of its own; without it the kernel moves them as it likes.
#[cfg(target_os = "linux")]
#[test]
fn pinned_shards_have_a_core_each() -> Outcome {
    if std::thread::available_parallelism()?.get() < 2 {
        skipped("io:pin needs two cores to show anything");
        return Ok(());
    }
    let stage = Stage::new("pinned", "pinned.local")?;
    let free = started(&stage, "free", &[("io", json!({"shards": 2, "pin": false}))])?;
    let pinned = started(&stage, "pinned", &[("io", json!({"shards": 2, "pin": true}))])?;
    let is_one = |cores: &String| cores.parse::<u32>().is_ok();
    let cores = cores_of_shards(&pinned)?;
    assert_eq!(cores.len(), 2, "{cores:?}");
    assert!(cores.iter().all(is_one) && cores[0] != cores[1], "{cores:?}");
    let cores = cores_of_shards(&free)?;
    assert!(cores.len() == 2 && !cores.iter().any(is_one), "{cores:?}");
    Ok(())
}

/// `io:spin` is how long a shard looks before it sleeps; without it, it never does.
#[test]
fn a_shard_looks_before_it_sleeps_when_it_is_told_to_spin() -> Outcome {
    const SPINS: &str = "mesh_gossip_io_total{mesh_io=\"spins\"}";
    let stage = Stage::new("spun", "spun.local")?;
    let spins = started(&stage, "spins", &[("io", json!({"spin": "1ms"}))])?;
    let sleeps = started(&stage, "sleeps", &[("io", json!({"spin": "0s"}))])?;
    until("it looks", || Ok((spins.metric(SPINS)? > 0.0).then_some(())))?;
    assert_eq!(sleeps.metric(SPINS)?, 0.0);
    Ok(())
}

/// `seedFile` names members as `seedPeers` does, and `metrics:peerLabels` whether the metrics name them.
#[test]
fn a_seed_file_leads_to_the_mesh_and_peers_are_named_or_not() -> Outcome {
    let stage = Stage::new("filed", "filed.local")?;
    let first = started(&stage, "first", &[("metrics", json!({"peerLabels": "off"}))])?;
    let seeds = stage.home().join("seeds");
    fs::write(&seeds, format!("{}\n", first.address))?;
    let own = [("seedFile", json!(seeds)), ("metrics", json!({"peerLabels": "on"}))];
    let second = started(&stage, "second", &own)?;
    let knows = |agent: &Process, node: &str| {
        agent.peer(node).map(|peer| peer.filter(|peer| peer["status"] == "Alive"))
    };
    until("they find each other", || knows(&first, "second"))?;
    until("the second names the first", || {
        Ok(second.read("/metrics")?.contains("mesh_peer=\"first\"").then_some(()))
    })?;
    assert!(!first.read("/metrics")?.contains("mesh_peer=\"second\""), "the first names nobody");
    Ok(())
}
