//! `omnirelay mesh doctor` finds what is wrong and names it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use mesh_gossip::bootstrap::{
    CertificateAuthority, Reason, Registrar, Subject, TRUST_BUNDLE, Target,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Map, Value, json};

use crate::stage::{Outcome, Process, Stage, free_port, omnirelay, stderr, stdout, until};

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

/// Trusts the authorities of both stages.
fn trust_both(stage: &Stage, other: &Stage, settings: &mut Map<String, Value>) -> Outcome {
    let read = |stage: &Stage| std::fs::read_to_string(stage.home().join("ca").join(TRUST_BUNDLE));
    std::fs::write(stage.home().join("both.pem"), read(stage)? + &read(other)?)?;
    settings["tls"]["caPath"] = json!("both.pem");
    Ok(())
}

/// The authority of the seed does not vouch for us: the alert comes after our side was done.
#[test]
fn a_seed_that_refuses_us_is_named_with_its_alert() -> Outcome {
    let (elsewhere, seed, _) = pair("refusing")?;
    let stage = Stage::new("refusing", "refusing.local")?;
    let mut settings = stage.settings("refusing-a", "worker")?;
    settings.insert("seedPeers".into(), json!([seed.address.to_string()]));
    // We trust the seed's authority, yet our own certificate is of another one.
    trust_both(&stage, &elsewhere, &mut settings)?;
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

/// A server of streams that shows the chain and key in this file, whatever they are worth.
fn pretender(file: &Path) -> Outcome<SocketAddr> {
    let chain = CertificateDer::pem_file_iter(file)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(file)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"mesh-sync/1".to_vec()];
    let config = Arc::new(config);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, free_port()?))?;
    let address = listener.local_addr()?;
    thread::spawn(move || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        loop {
            let (mut stream, _) = listener.accept()?;
            let mut tls = rustls::ServerConnection::new(Arc::clone(&config))?;
            // The caller hangs up with an alert, which ends this one.
            while tls.complete_io(&mut stream).is_ok_and(|(read, _)| read > 0) {}
        }
    });
    Ok(address)
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
    let there =
        ["TCP works, but no datagram", "blocked on the way to the seed", "from here to port"];
    behind(|inward, _| !inward, "deaf", "UDP", &there)?;
    let back = ["TCP works, but no datagram", "blocked on the way from the seed", "back to here"];
    behind(|inward, _| inward, "mute", "UDP", &back)
}

/// Two members of one mesh, who know each other.
fn two(name: &str) -> Outcome<(Stage, [Process; 2])> {
    let (stage, first, mut settings) = pair(name)?;
    let _ = settings.insert("region".into(), json!("eu"));
    let second = stage.start(&stage.write("second.json", &settings)?, &[])?;
    until("both know each other", || {
        let knows = |process: &Process| Ok::<_, Box<dyn std::error::Error>>(process.peers()?.len());
        Ok((knows(&first)? == 2 && knows(&second)? == 2).then_some(()))
    })?;
    Ok((stage, [first, second]))
}

/// The path between us and a member is broken, and a third one tells that the member is well.
#[test]
fn a_member_that_only_we_do_not_reach_is_told_by_a_third_one() -> Outcome {
    let (stage, [first, second]) = two("third")?;
    let mut settings = stage.settings("third-b", "worker")?;
    let relay = relay(first.address, |_, _| false)?;
    settings.insert("seedPeers".into(), json!([relay.to_string(), second.address.to_string()]));
    let parts = [
        "does not answer here",
        "holds third-seed Alive",
        "only the path between",
        "let UDP and TCP pass between",
    ];
    fails(&stage, &settings, "reachability", &parts)
}

/// Nobody answers there at all: the member is found by its address, and it is down for others too.
#[test]
fn a_member_that_nobody_reaches_is_told_by_a_third_one() -> Outcome {
    let (stage, [first, second]) = two("down")?;
    let mut settings = stage.settings("down-b", "worker")?;
    let seeds = [first.address.to_string(), second.address.to_string()];
    settings.insert("seedPeers".into(), json!(seeds));
    first.kill()?;
    until("the death is known", || {
        let seed = second.peer("down-seed")?.ok_or("it stays listed")?;
        Ok((seed["status"] != "Alive").then_some(()))
    })?;
    let parts = ["does not answer here", "holds down-seed", "do not reach it either", "start"];
    fails(&stage, &settings, "reachability", &parts)
}

/// A running node asks whether it is heard.
#[test]
fn a_running_node_learns_whether_it_is_heard() -> Outcome {
    let (stage, seed, mut settings) = pair("heard")?;
    settings.insert("control".into(), json!({ "port": free_port()? }));
    let config = stage.write("doctor.json", &settings)?;
    let agent = stage.start(&config, &[])?;
    until("it has joined", || Ok((seed.peers()?.len() == 2).then_some(())))?;
    let (lines, _) = doctor(&stage, &config, "reachability")?;
    assert!(lines.len() == 1 && lines[0].contains("holds this node Alive"), "{lines:?}");

    // It is dead for others, and another process of its name answers at its control port.
    agent.kill()?;
    until("its death is known", || {
        let status = seed.peer("heard-a")?.ok_or("it stays listed")?["status"].clone();
        Ok((status == "Left").then_some(()))
    })?;
    settings.insert("seedPeers".into(), json!(["127.0.0.1:9"]));
    let _cut_off = stage.start(&stage.write("alone.json", &settings)?, &[])?;
    settings.insert("seedPeers".into(), json!([seed.address.to_string()]));
    fails(
        &stage,
        &settings,
        "reachability",
        &["this node runs, yet", "holds it", "not heard there"],
    )
}

/// The seed shows a certificate that ended.
#[test]
fn a_seed_with_an_expired_certificate_is_named() -> Outcome {
    let stage = Stage::new("lapsed", "lapsed.local")?;
    expire(&stage, "lapsed-seed", "lapsed.pem")?;
    let seed = pretender(&stage.home().join("lapsed.pem"))?;
    let mut settings = stage.settings("lapsed-a", "worker")?;
    settings.insert("seedPeers".into(), json!([seed.to_string()]));
    fails(&stage, &settings, "mTLS", &["expired at", "renew that member's certificate"])
}

/// The seed is of our authority, and of another cluster.
#[test]
fn a_seed_with_a_wrong_identity_is_named() -> Outcome {
    let elsewhere = Stage::new("elsewhere", "wrong.local")?;
    let seed = elsewhere.settings("wrong-seed", "worker")?;
    let seed = elsewhere.start(&elsewhere.write("seed.json", &seed)?, &[])?;
    let stage = Stage::new("wrong", "wrong.local")?;
    let mut settings = stage.settings("wrong-a", "worker")?;
    settings.insert("seedPeers".into(), json!([seed.address.to_string()]));
    trust_both(&stage, &elsewhere, &mut settings)?;
    fails(&stage, &settings, "mTLS", &["elsewhere", "name members of this cluster"])
}

/// Lists of the authority: one that names our own certificate, and one that is long overdue.
#[test]
fn a_revocation_list_that_names_us_or_is_overdue_is_told() -> Outcome {
    let stage = Stage::new("lists", "lists.local")?;
    let mut settings = stage.settings("lists-a", "worker")?;
    settings["tls"]["crlPath"] = json!("list.pem");
    let registrar = Registrar::open(&stage.home().join("ca"), None)?;
    let put = |text: String| std::fs::write(stage.home().join("list.pem"), text);

    let (overdue, grace) = (SystemTime::now() - 40 * DAY, json!("90.00:00:00"));
    put(registrar.crl(overdue)?)?;
    fails(&stage, &settings, "revocation list", &["has been due for", "newest list"])?;
    // Within its grace it is a warning with the time that is left.
    settings["tls"]["crlGrace"] = grace;
    let config = stage.write("doctor.json", &settings)?;
    let (lines, code) = doctor(&stage, &config, "revocation list")?;
    let [line] = &lines[..] else { return Err(format!("{lines:?}").into()) };
    assert!(line.starts_with("WARN") && line.contains("handshakes fail in"), "{line}");
    assert_eq!(code, Some(0));

    registrar.revoke(Target::Node("lists-a"), Reason::KeyCompromise, SystemTime::now())?;
    put(registrar.crl(SystemTime::now())?)?;
    fails(&stage, &settings, "certificate", &["revoked"])
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
