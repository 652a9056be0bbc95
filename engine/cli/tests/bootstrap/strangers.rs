//! Servers that are not the authority's hear nothing, least of all a token.

use std::fs;

use mesh_gossip::bootstrap::{
    CaValidity, CertificateAuthority, Existing, Registrar, SERVER_ROLE, Subject, wall,
};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateSigningRequestDer, PrivatePkcs8KeyDer};

use crate::office::{CLUSTER, Office, TRUST_DOMAIN};
use crate::stage::{Outcome, stderr};
use crate::wire::Recorder;

const HOUR: std::time::Duration = std::time::Duration::from_secs(3_600);

/// A server of `authority` with a certificate in `role`; it shows its root, as a real one does.
fn recorder(authority: &CertificateAuthority, role: &str) -> Outcome<Recorder> {
    let issued = authority.issue(&Subject::new("s", role), wall(), HOUR)?;
    let chain = format!("{}{}", issued.chain_pem, authority.bundle_pem());
    Recorder::start(&chain, &issued.key_pem)
}

fn foreign(trust_domain: &str, cluster: &str) -> Outcome<CertificateAuthority> {
    Ok(CertificateAuthority::create(trust_domain, cluster, wall(), CaValidity::default())?)
}

/// What the recorder heard, and what the joining node said.
fn heard(
    office: &Office,
    recorder: Recorder,
    fingerprint: &str,
    more: &[&str],
) -> Outcome<[String; 2]> {
    let mut join = office.join_at(&recorder.address, fingerprint, "n1", "token", "n1");
    let output = join.args(["--timeout", "1s"]).args(more).output()?;
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    Ok([recorder.read()?, stderr(&output)])
}

#[test]
fn the_authoritys_own_server_is_sent_the_token() -> Outcome {
    let office = Office::new()?;
    let token = office.token("n1", "token", &[])?;
    let registrar = Registrar::open(&office.path("ca"), None)?;
    // So the recorder records: the tests below could fail.
    let recorder = recorder(registrar.authority(), SERVER_ROLE)?;
    let [heard, said] = heard(&office, recorder, &office.fingerprint, &[])?;
    assert!(heard.contains(&token), "{heard} {said}");
    Ok(())
}

/// Rule S-21: what a joining node sends proves its key and does not hold it.
#[test]
fn a_nodes_key_never_leaves_it() -> Outcome {
    let office = Office::new()?;
    office.token("n1", "token", &[])?;
    let registrar = Registrar::open(&office.path("ca"), None)?;
    let recorder = recorder(registrar.authority(), SERVER_ROLE)?;
    let [heard, said] = heard(&office, recorder, &office.fingerprint, &[])?;
    // The attempt never ended, so the key still waits in its file.
    let key = fs::read_to_string(office.path("n1/n1.key.next"))?;
    let der = PrivatePkcs8KeyDer::from_pem_slice(key.as_bytes())?;
    // RFC 5958 with a P-256 key of RFC 5915: its number stands at this place.
    let number = &der.secret_pkcs8_der()[36..68];
    let (_, body) = heard.split_once("\r\n\r\n").ok_or("no body was sent")?;
    let request: serde_json::Value = serde_json::from_str(body)?;
    let fields: Vec<_> = request.as_object().ok_or("no object")?.keys().cloned().collect();
    assert_eq!(fields, ["csr", "nodeId", "token"]);
    let csr = request["csr"].as_str().ok_or("no request")?;
    let csr = CertificateSigningRequestDer::from_pem_slice(csr.as_bytes())?;
    for bytes in [heard.as_bytes(), said.as_bytes(), &csr] {
        assert!(!bytes.windows(number.len()).any(|window| window == number));
    }
    let secret = key.lines().nth(1).ok_or("no base64")?;
    assert!(!heard.contains(secret) && !said.contains(secret));
    Ok(())
}

#[test]
fn another_fingerprint_hears_no_token() -> Outcome {
    let office = Office::new()?;
    office.token("n1", "token", &[])?;
    let stranger = recorder(&foreign(TRUST_DOMAIN, CLUSTER)?, SERVER_ROLE)?;
    let [heard, said] = heard(&office, stranger, &office.fingerprint, &[])?;
    assert_eq!(heard, "");
    assert!(said.contains("fingerprint") && said.contains(&office.fingerprint), "{said}");
    Ok(())
}

#[test]
fn a_member_of_the_mesh_hears_no_token() -> Outcome {
    let office = Office::new()?;
    office.token("n1", "token", &[])?;
    let registrar = Registrar::open(&office.path("ca"), None)?;
    for role in ["worker", "operator"] {
        let member = recorder(registrar.authority(), role)?;
        let [heard, said] = heard(&office, member, &office.fingerprint, &[])?;
        assert_eq!(heard, "", "{role}");
        assert!(said.contains(role) && said.contains(SERVER_ROLE), "{said}");
    }
    Ok(())
}

#[test]
fn another_cluster_or_trust_domain_hears_no_token() -> Outcome {
    let office = Office::new()?;
    office.token("n1", "token", &[])?;
    let registrar = Registrar::open(&office.path("ca"), None)?;
    for option in ["--cluster", "--trust-domain"] {
        let server = recorder(registrar.authority(), SERVER_ROLE)?;
        let [heard, said] = heard(&office, server, &office.fingerprint, &[option, "other"])?;
        assert_eq!(heard, "", "{option}");
        assert!(said.contains("\"other\""), "{said}");
    }
    Ok(())
}

/// A foreign CA that shows the pinned root beside its own chain is not thereby the authority.
#[test]
fn a_shown_root_that_signed_nothing_hears_no_token() -> Outcome {
    let office = Office::new()?;
    office.token("n1", "token", &[])?;
    let other = foreign(TRUST_DOMAIN, CLUSTER)?;
    other.write(&office.path("other"), Existing::Refuse)?;
    let issued = other.issue(&Subject::new("s", SERVER_ROLE), wall(), HOUR)?;
    let root = fs::read_to_string(office.path("ca/root.pem"))?;
    let chain = format!("{}{}{root}", issued.chain_pem, other.bundle_pem());
    let [heard, said] =
        heard(&office, Recorder::start(&chain, &issued.key_pem)?, &office.fingerprint, &[])?;
    assert_eq!(heard, "");
    assert!(said.contains("nothing was sent"), "{said}");
    Ok(())
}
