//! A node's life with its certificate: it joins, meets others, renews, is revoked.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::office::{Office, refused, succeeded};
use crate::stage::{Outcome, Process, free_port, stderr, until};

fn agent_settings(printed: &str) -> Outcome<Map<String, Value>> {
    let mut settings: Value = serde_json::from_str(printed)?;
    let Value::Object(mut gossip) = settings["mesh"]["gossip"].take() else {
        return Err("no settings were printed".into());
    };
    gossip.insert("bindAddress".into(), json!("127.0.0.1"));
    gossip.insert("port".into(), json!(free_port()?));
    gossip.insert("control".into(), json!({ "port": 0 }));
    gossip.insert("log".into(), json!({ "format": "json", "level": "info" }));
    Ok(gossip)
}

fn sees(observer: &Process, node: &str) -> Outcome<Option<()>> {
    let peer = observer.peer(node)?;
    Ok(peer.filter(|peer| peer["status"] == "Alive").map(|_| ()))
}

fn serial(office: &Office, path: &str) -> Outcome<String> {
    let findings = office.inspect(path)?;
    Ok(findings["certificates"][0]["serial"].as_str().ok_or("no serial")?.to_owned())
}

#[test]
fn a_token_leads_from_nothing_to_a_member_that_others_see() -> Outcome {
    let office = Office::new()?;
    let _served = office.serve()?;
    // On stdout and through stdin: no file of the token exists at all.
    let mut command = office.verb("token");
    command.args(["--dir", "ca", "--node", "joined", "--role", "worker"]);
    let token = succeeded(&command.output()?)?;
    let mut join = office
        .join("joined", "-", "joined")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    join.stdin.take().ok_or("stdin is piped")?.write_all(token.as_bytes())?;
    let joined = join.wait_with_output()?;
    let printed = succeeded(&joined)?;
    let secret = token.trim().rsplit('.').next().ok_or("no secret")?;
    for said in [printed.clone(), stderr(&joined), fs::read_to_string(office.path("serve.log"))?] {
        assert!(!said.contains(secret), "{said}");
    }
    let mode = fs::metadata(office.path("joined/joined.key"))?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let by_hand = office.stage.settings("issued", "worker")?;
    let by_hand = office.stage.start(&office.stage.write("issued.json", &by_hand)?, &[])?;
    let mut settings = agent_settings(&printed)?;
    settings.insert("seedPeers".into(), json!([by_hand.address.to_string()]));
    let joined = office.stage.start(&office.stage.write("joined.json", &settings)?, &[])?;
    until("both see each other", || Ok(sees(&by_hand, "joined")?.and(sees(&joined, "issued")?)))
}

#[test]
fn a_certificate_is_renewed_until_it_is_revoked() -> Outcome {
    let office = Office::new()?;
    let _served = office.serve()?;
    office.token("n1", "token", &[])?;
    succeeded(&office.join("n1", "token", "n1").output()?)?;
    let again = refused(&office.join("n1", "token", "n1").output()?);
    assert!(again.contains("n1.pem exists; --force"), "{again}");

    let (first, key) = (serial(&office, "n1/n1.pem")?, fs::read(office.path("n1/n1.key"))?);
    succeeded(&office.renew("n1", "n1")?)?;
    let second = serial(&office, "n1/n1.pem")?;
    assert_ne!(first, second);
    assert_ne!(key, fs::read(office.path("n1/n1.key"))?, "each certificate has its own key");

    let revoke = |more: &[&str]| office.verb("revoke").args(["--dir", "ca"]).args(more).output();
    assert_eq!(succeeded(&revoke(&["--serial", &second])?)?.trim(), second);
    let said = refused(&office.renew("n1", "n1")?);
    assert!(said.contains("is revoked"), "{said}");
    // By node: what is left goes too, and an open token is void.
    office.token("n1", "open", &[])?;
    assert_eq!(succeeded(&revoke(&["--node", "n1"])?)?.trim(), first);
    let said = refused(&office.join("n1", "open", "again").output()?);
    assert!(said.contains("taken back"), "{said}");
    office.token("n1", "return", &[])?;
    succeeded(&office.join("n1", "return", "again").output()?)?;
    let said = refused(&revoke(&["--node", "nobody"])?);
    assert!(said.contains("nobody"), "{said}");

    let outcomes: Vec<_> =
        office.audit("renew")?.iter().map(|line| line["outcome"].clone()).collect();
    assert_eq!(outcomes, ["ok", "revoked"]);
    Ok(())
}

#[test]
fn a_certificate_that_was_issued_by_hand_is_renewed_as_well() -> Outcome {
    let office = Office::new()?;
    let _served = office.serve()?;
    office.stage.issue("n1", "worker")?;
    let first = serial(&office, "n1-worker/n1.pem")?;
    let mut renew = office.verb("renew");
    renew.args(["--server", &office.address(), "--dir", "n1-worker", "--node", "n1"]);
    succeeded(&renew.args(["--ca", "ca/ca.pem"]).output()?)?;
    assert_ne!(serial(&office, "n1-worker/n1.pem")?, first);
    Ok(())
}

#[test]
fn a_pkcs12_store_is_written_read_and_enough_to_renew_with() -> Outcome {
    let office = Office::new()?;
    let _served = office.serve()?;
    fs::write(office.path("password"), "correct horse\n")?;
    let with = ["--pkcs12-password-file", "password"];
    office.token("n1", "token", &[])?;
    succeeded(&office.join("n1", "token", "n1").args(with).output()?)?;
    let first = serial(&office, "n1/n1.pem")?;
    let mode = fs::metadata(office.path("n1/n1.p12"))?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let inside = || -> Outcome<String> {
        let mut inspect = office.verb("inspect");
        inspect.args(["--json", "--password-file", "password", "n1/n1.p12"]);
        let findings: Value = serde_json::from_str(&succeeded(&inspect.output()?)?)?;
        assert_eq!(findings[0]["certificates"].as_array().map(Vec::len), Some(2));
        Ok(findings[0]["certificates"][0]["serial"].as_str().ok_or("no serial")?.to_owned())
    };
    assert_eq!(inside()?, first);

    for name in ["n1/n1.pem", "n1/n1.key"] {
        fs::remove_file(office.path(name))?;
    }
    let mut renew = office.verb("renew");
    renew.args(["--server", &office.address(), "--dir", "n1", "--node", "n1"]);
    succeeded(&renew.args(with).output()?)?;
    let second = serial(&office, "n1/n1.pem")?;
    assert_ne!(second, first);
    assert_eq!(inside()?, second);

    fs::write(office.path("password"), "battery staple")?;
    let mut inspect = office.verb("inspect");
    inspect.args(["--password-file", "password", "n1/n1.p12"]);
    let said = refused(&inspect.output()?);
    assert!(said.contains("password is another one") && !said.contains("staple"), "{said}");
    fs::write(office.path("password"), "")?;
    assert!(refused(&inspect.output()?).contains("no password"));
    Ok(())
}

#[test]
fn an_operators_certificate_is_issued_by_hand_and_never_renewed_by_itself() -> Outcome {
    let office = Office::new()?;
    let _served = office.serve()?;
    let mut issue = office.verb("issue");
    issue.args(["--dir", "ca", "--node", "alice", "--operator", "--out", "alice"]);
    assert_eq!(succeeded(&issue.output()?)?, "", "no settings that no agent takes");
    let leaf = office.inspect("alice/alice.pem")?["certificates"][0].clone();
    assert_eq!(leaf["names"], json!(["spiffe://td.test/mesh/c1/operator/alice"]));
    let mut renew = office.verb("renew");
    renew.args(["--server", &office.address(), "--dir", "alice", "--node", "alice"]);
    let said = refused(&renew.args(["--ca", "ca/ca.pem"]).output()?);
    assert!(said.contains("the server does not accept it"), "{said}");
    let mut token = office.verb("token");
    token.args(["--dir", "ca", "--node", "alice", "--role", "operator"]);
    assert!(refused(&token.output()?).contains("never gossip"));
    Ok(())
}

#[test]
fn lists_have_rising_numbers_and_name_what_was_revoked() -> Outcome {
    let office = Office::new()?;
    let list = |name: &str| -> Outcome<(u64, Vec<String>)> {
        succeeded(&office.verb("crl").args(["--dir", "ca", "--out", name]).output()?)?;
        let facts = office.inspect(name)?["revocationLists"][0].clone();
        let number = facts["number"].as_u64().ok_or("no number")?;
        Ok((number, serde_json::from_value(facts["revoked"].clone())?))
    };
    assert_eq!(list("a.crl")?, (1, vec![]));
    assert_eq!(list("b.crl")?, (1, vec![]), "a list is not signed anew without a reason");
    office.stage.issue("n1", "worker")?;
    let issued = serial(&office, "n1-worker/n1.pem")?;
    let mut revoke = office.verb("revoke");
    revoke.args(["--dir", "ca", "--serial", &issued, "--reason", "key-compromise"]);
    succeeded(&revoke.output()?)?;
    assert_eq!(list("c.crl")?, (2, vec![issued.clone()]));
    let said = refused(&revoke.output()?);
    assert!(said.contains(&issued), "a certificate is revoked once: {said}");

    // Who serves the list tells the same one.
    let _served = office.serve()?;
    office.token("n2", "token", &[])?;
    succeeded(&office.join("n2", "token", "n2").output()?)?;
    let mut renew = office.verb("renew");
    renew.args(["--server", &office.address(), "--dir", "n2", "--node", "n2", "--crl", "d.crl"]);
    succeeded(&renew.output()?)?;
    assert_eq!(fs::read(office.path("c.crl"))?, fs::read(office.path("d.crl"))?);
    Ok(())
}

#[test]
fn a_daemon_renews_by_itself_and_ends_when_it_is_revoked() -> Outcome {
    let office = Office::new()?;
    let _served = office.serve()?;
    // So short that it is due at once.
    office.token("n1", "token", &["--lifetime", "30s"])?;
    succeeded(&office.join("n1", "token", "n1").output()?)?;
    let first = serial(&office, "n1/n1.pem")?;
    let mut command = office.verb("renew");
    command.args(["--server", &office.address(), "--dir", "n1", "--node", "n1", "--daemon"]);
    let mut daemon = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    until("the daemon has renewed", || {
        Ok(Some(()).filter(|()| serial(&office, "n1/n1.pem").is_ok_and(|serial| serial != first)))
    })?;
    let revoke = office.verb("revoke").args(["--dir", "ca", "--node", "n1"]).output()?;
    succeeded(&revoke)?;
    // The next renewal is due within the certificate's half minute.
    let deadline = Instant::now() + Duration::from_secs(120);
    let status = loop {
        if let Some(status) = daemon.try_wait()? {
            break status;
        }
        if Instant::now() >= deadline {
            daemon.kill()?;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let mut said = String::new();
    std::io::Read::read_to_string(&mut daemon.stderr.take().ok_or("piped")?, &mut said)?;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("revoked"), "{said}");
    Ok(())
}

#[test]
fn loose_keys_are_told_and_a_new_authority_keeps_no_old_promise() -> Outcome {
    let office = Office::new()?;
    let key = office.path("ca/issuing.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644))?;
    let mut command = office.verb("token");
    command.args(["--dir", "ca", "--node", "n1", "--role", "worker", "--out", "token"]);
    let output = command.output()?;
    succeeded(&output)?;
    let said = stderr(&output);
    assert!(said.contains("issuing.key") && said.contains("chmod 600"), "{said}");
    let again = refused(&command.output()?);
    assert!(again.contains("token exists"), "{again}");

    let mut init = office.verb("init");
    init.args(["--dir", "ca", "--trust-domain", "td.test", "--cluster", "c1", "--force"]);
    succeeded(&init.output()?)?;
    let facts = office.inspect("ca")?;
    assert_eq!(facts["authority"]["tokens"], json!([]));
    assert_ne!(facts["authority"]["fingerprint"], office.fingerprint.as_str());
    Ok(())
}
