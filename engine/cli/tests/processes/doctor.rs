//! `omnirelay mesh doctor` finds what is wrong and names it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use mesh_gossip::bootstrap::{CertificateAuthority, Subject, TRUST_BUNDLE};
use serde_json::{Map, Value, json};

use crate::stage::{Outcome, Process, Stage, free_port, omnirelay, stderr, stdout};

const DAY: Duration = Duration::from_secs(86_400);

/// The findings of one check as `VERDICT evidence fix`, and the exit code.
fn doctor(stage: &Stage, config: &Path, check: &str) -> Outcome<(Vec<String>, Option<i32>)> {
    let output = omnirelay(stage.home())
        .args(["mesh", "doctor", "--json", "--config"])
        .arg(config)
        .output()?;
    let document: Value = serde_json::from_slice(&output.stdout)
        .map_err(|_| format!("{} {}", stdout(&output), stderr(&output)))?;
    let checks = document["checks"].as_array().ok_or("a list")?;
    let failed = checks.iter().any(|found| found["verdict"] == "FAIL");
    assert_eq!(document["ok"], !failed);
    assert_eq!(output.status.code(), Some(i32::from(failed)), "{document}");
    for found in checks {
        // What passed needs no fix, and nothing else comes without one.
        assert_eq!(found["verdict"] == "PASS", found["fix"].is_null(), "{found}");
    }
    let word = |found: &Value, key: &str| found[key].as_str().unwrap_or_default().to_owned();
    let lines = checks.iter().filter(|found| found["check"] == check);
    let lines =
        lines.map(|found| ["verdict", "evidence", "fix"].map(|key| word(found, key)).join(" "));
    Ok((lines.collect(), output.status.code()))
}

/// Writes a certificate of this worker, with its key, that ended six days ago.
fn expire(stage: &Stage, node: &str, file: &str) -> Outcome {
    let ca = CertificateAuthority::load(&stage.home().join("ca"))?;
    let past = SystemTime::now() - 7 * DAY;
    let issued = ca.issue(&Subject::new(node, "worker"), past, DAY)?;
    let text = format!("{}{}", issued.chain_pem, *issued.key_pem);
    Ok(std::fs::write(stage.home().join(file), text)?)
}

/// The check failed once, and said all of these.
fn fails(stage: &Stage, settings: &Map<String, Value>, check: &str, parts: &[&str]) -> Outcome {
    let config = stage.write("doctor.json", settings)?;
    let (lines, code) = doctor(stage, &config, check)?;
    let [line] = lines.iter().filter(|line| line.starts_with("FAIL")).collect::<Vec<_>>()[..]
    else {
        return Err(format!("one failure of {check:?} in {lines:?}").into());
    };
    assert!(parts.iter().all(|part| line.contains(part)), "{line}");
    assert_eq!(code, Some(1));
    Ok(())
}

#[test]
fn a_sound_node_passes() -> Outcome {
    let stage = Stage::new("sound", "sound.local")?;
    let settings = stage.settings("sound-a", "worker")?;
    let config = stage.write("node.json", &settings)?;
    let output =
        omnirelay(stage.home()).args(["mesh", "doctor", "--config"]).arg(&config).output()?;
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    let text = stdout(&output);
    for check in ["configuration", "certificate", "binds", "io_uring"] {
        assert!(text.lines().any(|line| line.contains(&format!("  {check} "))), "{check}: {text}");
    }
    assert!(text.contains("spiffe://sound.local/"), "{text}");
    Ok(())
}

#[test]
fn wrong_settings_are_told_and_end_it() -> Outcome {
    let stage = Stage::new("doctor-settings", "settings.local")?;
    let mut settings = stage.settings("set-a", "worker")?;
    settings.insert("fanuot".into(), json!(3));
    fails(&stage, &settings, "configuration", &["mesh:gossip:fanuot", "mesh:gossip:fanout?"])?;
    let (others, _) = doctor(&stage, &stage.home().join("doctor.json"), "binds")?;
    assert_eq!(others, Vec::<String>::new());
    Ok(())
}

#[test]
fn an_expired_certificate_and_one_of_another_node_are_named() -> Outcome {
    let stage = Stage::new("doctor-pki", "pki.local")?;
    let mut settings = stage.settings("pki-a", "worker")?;
    settings.insert("nodeId".into(), json!("pki-b"));
    let parts = ["certificate says \"pki-a\"", "mesh:gossip:nodeId is \"pki-b\"", "issue"];
    fails(&stage, &settings, "certificate", &parts)?;

    settings.insert("nodeId".into(), json!("pki-a"));
    expire(&stage, "pki-a", "expired.pem")?;
    settings.insert("tls".into(), {
        let mut tls = settings["tls"].clone();
        tls["certificatePath"] = json!("expired.pem");
        tls.as_object_mut().ok_or("an object")?.remove("keyPath");
        tls
    });
    fails(&stage, &settings, "certificate", &["expired at", "renew it, or set the clock"])
}

#[test]
fn a_seed_that_does_not_resolve_is_named() -> Outcome {
    let stage = Stage::new("doctor-seeds", "seeds.local")?;
    let mut settings = stage.settings("seeds-a", "worker")?;
    settings.insert("seedPeers".into(), json!(["nowhere.invalid:17421"]));
    let parts = ["nowhere.invalid:17421 does not resolve", "DNS"];
    fails(&stage, &settings, "seeds", &parts)
}

#[test]
fn a_port_is_taken_by_a_stranger_or_by_the_nodes_own_agent() -> Outcome {
    let stage = Stage::new("doctor-binds", "binds.local")?;
    let mut settings = stage.settings("binds-a", "worker")?;
    settings.insert("control".into(), json!({ "port": free_port()? }));
    let config = stage.write("doctor.json", &settings)?;
    let agent = stage.start(&config, &[])?;
    let (lines, code) = doctor(&stage, &config, "binds")?;
    assert_eq!((lines.len(), code), (2, Some(0)), "{lines:?}");
    assert!(lines.iter().all(|line| line.contains("held by this node's agent")), "{lines:?}");

    for check in ["receive drops", "alarms"] {
        let (lines, _) = doctor(&stage, &config, check)?;
        assert!(lines.len() == 1 && lines[0].starts_with("PASS"), "{lines:?}");
    }

    // Another node there: its agent is a stranger to this one.
    let mut other = stage.settings("binds-b", "worker")?;
    other.insert("port".into(), json!(agent.address.port()));
    fails(&stage, &other, "binds", &["is taken", "choose another port"])
}

/// A node of a mesh of two: the other one runs and is its seed.
fn pair(name: &str) -> Outcome<(Stage, Process, Map<String, Value>)> {
    let stage = Stage::new(name, &format!("{name}.local"))?;
    let seed = stage.settings(&format!("{name}-seed"), "worker")?;
    let seed = stage.start(&stage.write("seed.json", &seed)?, &[])?;
    let mut settings = stage.settings(&format!("{name}-a"), "worker")?;
    settings.insert("seedPeers".into(), json!([seed.address.to_string()]));
    Ok((stage, seed, settings))
}

#[test]
fn a_seed_that_is_well_passes_and_meets_nobody() -> Outcome {
    let (stage, seed, settings) = pair("well")?;
    let config = stage.write("doctor.json", &settings)?;
    for (check, part) in
        [("mTLS", "accept each other"), ("UDP", "came back"), ("MTU", "both ways"), ("clock", "s")]
    {
        let (lines, code) = doctor(&stage, &config, check)?;
        assert_eq!((lines.len(), code), (1, Some(0)), "{check}: {lines:?}");
        assert!(lines[0].starts_with("PASS") && lines[0].contains(part), "{lines:?}");
    }
    assert_eq!(seed.peers()?.len(), 1, "the doctor is no member");
    Ok(())
}

#[test]
fn a_seed_of_a_foreign_ca_is_named() -> Outcome {
    let (_elsewhere, seed, _) = pair("foreign")?;
    let stage = Stage::new("foreign", "foreign.local")?;
    let mut settings = stage.settings("foreign-a", "worker")?;
    settings.insert("seedPeers".into(), json!([seed.address.to_string()]));
    fails(&stage, &settings, "mTLS", &["issued by no CA that is trusted", "caPath"])
}

/// The authority of the seed does not vouch for us: the alert comes after our side was done.
#[test]
fn a_seed_that_refuses_us_is_named_with_its_alert() -> Outcome {
    let (elsewhere, seed, _) = pair("refusing")?;
    let stage = Stage::new("refusing", "refusing.local")?;
    let mut settings = stage.settings("refusing-a", "worker")?;
    settings.insert("seedPeers".into(), json!([seed.address.to_string()]));
    // We trust the seed's authority, yet our own certificate is of another one.
    let read =
        |stage: &Stage, file: &str| std::fs::read_to_string(stage.home().join("ca").join(file));
    let own = read(&stage, TRUST_BUNDLE)?;
    let both = own + &read(&elsewhere, TRUST_BUNDLE)?;
    std::fs::write(stage.home().join("both.pem"), both)?;
    settings["tls"]["caPath"] = json!("both.pem");
    fails(
        &stage,
        &settings,
        "mTLS",
        &["refuses us with the alert UnknownCA", "give that member our root"],
    )
}

#[test]
fn a_node_id_that_two_nodes_have_is_named() -> Outcome {
    let (stage, seed, _) = pair("double")?;
    let mut settings = stage.settings("double-seed", "gateway")?;
    settings.insert("seedPeers".into(), json!([seed.address.to_string()]));
    fails(&stage, &settings, "node id", &["two nodes have it", "another mesh:gossip:nodeId"])
}

/// What a relay lets pass: whether it goes to the seed, and its size.
type Rule = fn(bool, usize) -> bool;

/// Stands before the seed: streams pass, datagrams by a rule.
fn relay(seed: SocketAddr, rule: Rule) -> Outcome<SocketAddr> {
    let port = free_port()?;
    let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, port))?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let address = front.local_addr()?;
    thread::spawn(move || -> io::Result<()> {
        let (mut bytes, mut caller) = ([0; 2_048], None);
        loop {
            let (size, from) = front.recv_from(&mut bytes)?;
            let inward = from != seed;
            if inward {
                caller = Some(from);
            }
            let to = if inward { Some(seed) } else { caller };
            if let Some(to) = to.filter(|_| rule(inward, size)) {
                front.send_to(&bytes[..size], to)?;
            }
        }
    });
    thread::spawn(move || -> io::Result<()> {
        loop {
            let (near, _) = listener.accept()?;
            let far = TcpStream::connect(seed)?;
            for (mut from, mut to) in
                [(near.try_clone()?, far.try_clone()?), (far.try_clone()?, near.try_clone()?)]
            {
                thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    to.shutdown(std::net::Shutdown::Write)
                });
            }
        }
    });
    Ok(address)
}

fn behind(rule: Rule, name: &str, check: &str, parts: &[&str]) -> Outcome {
    let (stage, seed, mut settings) = pair(name)?;
    let relay = relay(seed.address, rule)?;
    settings.insert("seedPeers".into(), json!([relay.to_string()]));
    fails(&stage, &settings, check, parts)
}

#[test]
fn udp_that_is_blocked_one_way_is_named() -> Outcome {
    let parts = ["TCP works, but no datagram", "let UDP pass to port"];
    behind(|inward, _| !inward, "deaf", "UDP", &parts)?;
    behind(|inward, _| inward, "mute", "UDP", &parts)
}

#[test]
fn a_path_that_swallows_large_datagrams_is_named_with_its_direction() -> Outcome {
    let lost = "are lost on the way";
    behind(
        |inward, size| !inward || size <= 600,
        "hole",
        "MTU",
        &[lost, "way to the seed", "raise the MTU"],
    )?;
    behind(
        |inward, size| inward || size <= 600,
        "hole2",
        "MTU",
        &["way from the seed", "raise the MTU"],
    )
}
