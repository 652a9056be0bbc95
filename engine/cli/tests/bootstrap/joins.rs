//! One token, one certificate, whoever asks and whatever dies.

use std::process::{Output, Stdio};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, SanType};
use serde_json::json;

use crate::office::{Office, refused, succeeded};
use crate::stage::{Outcome, stderr, until};
use crate::wire::{exchange, post};

/// As many nodes, or thieves, as show one token at a time.
const CROWD: usize = 100;

#[test]
fn a_token_that_is_old_used_or_somebody_elses_is_refused() -> Outcome {
    let office = Office::new()?;
    let _served = office.serve()?;
    office.token("n1", "old", &["--ttl", "1ms"])?;
    let said = refused(&office.join("n1", "old", "a").output()?);
    assert!(said.contains("the token has expired"), "{said}");

    office.token("n1", "token", &[])?;
    let said = refused(&office.join("n2", "token", "a").output()?);
    assert!(said.contains("for another node"), "{said}");
    succeeded(&office.join("n1", "token", "b").output()?)?;
    let said = refused(&office.join("n1", "token", "c").output()?);
    assert!(said.contains("used with another key"), "{said}");

    std::fs::write(office.path("none"), "hello")?;
    let said = refused(&office.join("n1", "none", "d").output()?);
    assert!(said.contains("not a token") && !said.contains("hello"), "{said}");
    let mut argument = office.join("n1", "token", "e");
    let said = refused(&argument.args(["--token", "x"]).output()?);
    assert!(said.contains("--token"), "a token is no argument: {said}");

    let outcomes: Vec<_> =
        office.audit("join")?.iter().map(|line| line["outcome"].clone()).collect();
    assert_eq!(outcomes, ["expired-token", "other-node", "ok", "used-token"]);
    Ok(())
}

#[test]
fn a_crowd_with_one_token_gets_one_certificate_although_the_server_is_killed() -> Outcome {
    let office = Office::new()?;
    let served = office.serve()?;
    office.token("n1", "token", &[])?;
    let mut crowd = Vec::new();
    for number in 0..CROWD {
        let mut join = office.join("n1", "token", &format!("out-{number}"));
        join.args(["--timeout", "2m"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        crowd.push(join.spawn()?);
        if number == CROWD / 2 {
            until("somebody was answered", || {
                Ok(Some(()).filter(|()| office.audit("join").is_ok_and(|lines| !lines.is_empty())))
            })?;
        }
    }
    served.kill()?;
    let _served = office.serve()?;
    let outputs: Vec<Output> =
        crowd.into_iter().map(|join| join.wait_with_output()).collect::<Result<_, _>>()?;
    let (winners, losers): (Vec<_>, Vec<_>) =
        outputs.iter().partition(|output| output.status.success());
    assert_eq!(winners.len(), 1);
    for loser in losers {
        assert!(stderr(loser).contains("used with another key"), "{}", stderr(loser));
    }
    let facts = office.inspect("ca")?;
    let issued = facts["authority"]["issued"].as_array().ok_or("no certificates")?;
    let serials: Vec<_> = issued.iter().filter(|facts| facts["nodeId"] == "n1").collect();
    assert_eq!(serials.len(), 1, "{serials:?}");
    assert_eq!(std::fs::read_dir(office.path("ca/issued"))?.count(), 1);
    Ok(())
}

#[test]
fn a_join_outlives_the_server_whenever_it_dies() -> Outcome {
    const DEATHS: u64 = 12;
    let office = Office::new()?;
    let mut served = office.serve()?;
    for number in 0..DEATHS {
        let node = format!("n{number}");
        office.token(&node, &node, &[])?;
        let mut join = office.join(&node, &node, "out");
        let join = join.args(["--timeout", "2m"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let join = join.spawn()?;
        // Anywhere between the start of the process and the end of its join.
        std::thread::sleep(Duration::from_millis(number * 3));
        served.kill()?;
        served = office.serve()?;
        succeeded(&join.wait_with_output()?)?;
        assert!(office.path(&format!("out/{node}.pem")).is_file());
    }
    let facts = office.inspect("ca")?;
    let issued = facts["authority"]["issued"].as_array().ok_or("no certificates")?;
    for number in 0..DEATHS {
        let node = format!("n{number}");
        let count = issued.iter().filter(|facts| facts["nodeId"] == node.as_str()).count();
        assert_eq!(count, 1, "{node}");
    }
    Ok(())
}

/// Rule S-8.
#[test]
fn a_hostile_request_gets_a_plain_leaf() -> Outcome {
    let office = Office::new()?;
    let _served = office.serve()?;
    let token = office.token("n1", "token", &[])?;
    let mut params = CertificateParams::new(vec!["evil.example".to_owned()])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let operator = "spiffe://td.test/mesh/c1/operator/root";
    params.subject_alt_names.push(SanType::URI(operator.try_into()?));
    let csr = params.serialize_request(&KeyPair::generate()?)?.pem()?;
    let body = json!({ "nodeId": "n1", "token": token, "csr": csr }).to_string();
    let (status, answer) = post(&office.address(), "/v1/join", &body)?;
    assert_eq!(status, 200, "{answer}");
    let grant: serde_json::Value = serde_json::from_str(&answer)?;
    std::fs::write(office.path("leaf.pem"), grant["chain"].as_str().ok_or("no chain")?)?;
    let leaf = office.inspect("leaf.pem")?["certificates"][0].clone();
    assert_eq!(leaf["isCa"], false);
    assert_eq!(leaf["names"], json!(["spiffe://td.test/mesh/c1/worker/n1"]));
    Ok(())
}

#[test]
fn guesses_are_throttled_and_nonsense_is_not_listened_to() -> Outcome {
    let office = Office::new()?;
    let _served = office.serve()?;
    let guess = format!("mesh1.{}.{}", "0".repeat(16), "A".repeat(43));
    let csr = CertificateParams::default().serialize_request(&KeyPair::generate()?)?.pem()?;
    let body = json!({ "nodeId": "n1", "token": guess, "csr": csr }).to_string();
    let mut statuses = Vec::new();
    // Ten, and those that come back meanwhile: one in six seconds.
    while !statuses.contains(&429) && statuses.len() < 40 {
        statuses.push(post(&office.address(), "/v1/join", &body)?.0);
    }
    let refused = statuses.iter().filter(|status| **status == 401).count();
    assert!(refused >= 10 && refused + 1 == statuses.len(), "{statuses:?}");
    assert_eq!(office.audit("join")?.len(), refused, "who is throttled fills no log");

    let (status, answer) = post(&office.address(), "/v1/renew", "{}")?;
    assert_eq!((status, answer.contains("no-certificate")), (401, true), "{answer}");
    assert_eq!(post(&office.address(), "/", "")?.0, 404);
    assert_eq!(post(&office.address(), "/v1/crl", "")?.0, 405);
    let huge = format!("POST /v1/join HTTP/1.1\r\nx: {}", "y".repeat(20_000));
    assert_eq!(exchange(&office.address(), huge.as_bytes())?, "");
    let long = "POST /v1/join HTTP/1.1\r\ncontent-length: 99999999\r\n\r\n";
    assert_eq!(exchange(&office.address(), long.as_bytes())?, "");
    Ok(())
}
