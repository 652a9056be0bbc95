//! Minting, as a verifier and a file system see it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::files::{Readers, write_all};
use super::*;
use crate::tls::certificates_tests::{
    CLUSTER, DAY, ROLE, TRUST_DOMAIN, credentials, issue, mesh_ca, start, uri_of,
};

fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().unwrap()
}

fn seconds(time: SystemTime) -> i64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64
}

/// Rule S-8: what a leaf says, extension by extension.
#[test]
fn a_leaf_says_who_it_is_and_nothing_more() {
    let subject = Subject {
        dns_names: vec!["n1.example".into()],
        addresses: vec!["192.0.2.1".parse().unwrap()],
        ..Subject::new("n1", ROLE)
    };
    let issued = mesh_ca().issue(&subject, start(), DAY).unwrap();
    let chain = certificates(&issued.chain_pem);
    let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
    assert!(!leaf.is_ca());
    assert!(leaf.basic_constraints().unwrap().is_some(), "CA:FALSE is said, not implied");
    let usage = leaf.key_usage().unwrap().unwrap().value;
    assert_eq!(usage.flags, 1, "digitalSignature alone");
    let uses = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(uses.server_auth && uses.client_auth && !uses.any && uses.other.is_empty());
    let names = &leaf.subject_alternative_name().unwrap().unwrap().value.general_names;
    assert_eq!(names.len(), 3);
    let uris: Vec<_> = names.iter().filter(|name| matches!(name, GeneralName::URI(_))).collect();
    assert_eq!(uris, [&GeneralName::URI(&uri_of("n1"))]);
    assert_eq!(leaf.validity().not_before.timestamp(), seconds(start()) - 60);
    assert_eq!(leaf.validity().not_after.timestamp(), seconds(start() + DAY));
    assert_eq!(leaf.raw_serial_as_string().replace(':', ""), issued.serial);

    let (_, issuing) = X509Certificate::from_der(&chain[1]).unwrap();
    let limits = issuing.basic_constraints().unwrap().unwrap().value;
    assert_eq!((limits.ca, limits.path_len_constraint), (true, Some(0)));
    let usage = issuing.key_usage().unwrap().unwrap().value;
    assert!(usage.key_cert_sign() && usage.crl_sign() && !usage.digital_signature());
}

#[test]
fn serial_numbers_are_sixteen_random_bytes() {
    let ca = mesh_ca();
    let serials: BTreeSet<_> = (0..20).map(|_| issue(&ca, "n1").serial).collect();
    assert_eq!(serials.len(), 20);
    assert!(serials.iter().all(|serial| serial.len() == 32));
}

#[test]
fn names_and_lifetimes_that_cannot_be_are_refused() {
    let ca = mesh_ca();
    let issue = |node_id: &str, role: &str| ca.issue(&Subject::new(node_id, role), start(), DAY);
    for (node_id, role) in [("N1", ROLE), ("", ROLE), ("..", ROLE), ("n1", "a/b")] {
        assert!(matches!(issue(node_id, role), Err(BootstrapError::Name(_))), "{node_id} {role}");
    }
    assert!(
        issue("console", "operator").is_ok(),
        "operators hold certificates, they do not gossip"
    );
    let create = |domain, cluster| {
        CertificateAuthority::create(domain, cluster, start(), CaValidity::default())
    };
    assert!(matches!(create("TD", CLUSTER), Err(BootstrapError::Name(_))));
    assert!(matches!(create(TRUST_DOMAIN, "a b"), Err(BootstrapError::Name(_))));
    let long = "c".repeat(255);
    assert!(create(&long, &long).is_ok());
    let subject = Subject { dns_names: vec!["a b".into()], ..Subject::new("n1", ROLE) };
    assert!(matches!(ca.issue(&subject, start(), DAY), Err(BootstrapError::DnsName(_))));

    let too_long = ca.issue(&Subject::new("n1", ROLE), start(), 731 * DAY).unwrap_err();
    assert!(matches!(too_long, BootstrapError::OutlivesIssuer { .. }));
    assert!(too_long.to_string().contains("63158400 s"), "{too_long}");
    assert!(ca.issue(&Subject::new("n1", ROLE), start() + 800 * DAY, DAY).is_err());
    let endless = CaValidity { root: Duration::MAX, issuing: Duration::MAX };
    let endless = CertificateAuthority::create(TRUST_DOMAIN, CLUSTER, start(), endless);
    assert!(matches!(endless, Err(BootstrapError::Time)));
}

/// Of files that belong together all are written, or none is left to be in the way of the next attempt.
#[test]
fn what_cannot_be_written_whole_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let too_long = "x".repeat(300);
    let files = [("a.key", "k", Readers::Owner), (too_long.as_str(), "c", Readers::All)];
    assert!(write_all(home.path(), &files, Existing::Refuse).is_err());
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    // What was there before stays.
    fs::write(home.path().join("a.key"), "kept").unwrap();
    assert!(write_all(home.path(), &files[..1], Existing::Refuse).is_err());
    assert_eq!(fs::read(home.path().join("a.key")).unwrap(), b"kept");
}

#[test]
fn a_directory_is_the_whole_authority_and_needs_no_root_key() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path().join("deep/ca");
    let ca = mesh_ca();
    ca.write(&home, Existing::Refuse).unwrap();
    assert_eq!(mode(&home), 0o700);
    for (name, expected) in [
        (ROOT_KEY, 0o600),
        (ISSUING_KEY, 0o600),
        (ROOT_CERTIFICATE, 0o644),
        (ISSUING_CERTIFICATE, 0o644),
        (TRUST_BUNDLE, 0o644),
    ] {
        assert_eq!(mode(&home.join(name)), expected & mode_mask(), "{name}");
    }
    fs::remove_file(home.join(ROOT_KEY)).unwrap();
    let loaded = CertificateAuthority::load(&home).unwrap();
    assert_eq!((loaded.trust_domain(), loaded.cluster()), (TRUST_DOMAIN, CLUSTER));
    assert_eq!(loaded.bundle_pem(), ca.bundle_pem());
    // Certificates of both verify against one another's bundle.
    let (first, second) = (credentials(&ca, "n1"), credentials(&loaded, "n2"));
    let now = first.now().unwrap();
    let usage = crate::tls::verifier::Usage::Client;
    assert!(first.verifier().verify_peer(second.chain(), usage, now).is_ok());
}

#[test]
fn nothing_is_overwritten_unless_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let (ca, other) = (mesh_ca(), mesh_ca());
    ca.write(directory.path(), Existing::Refuse).unwrap();
    let refused = other.write(directory.path(), Existing::Refuse).unwrap_err();
    assert!(matches!(refused, BootstrapError::Exists(_)), "{refused}");
    let bundle = || fs::read_to_string(directory.path().join(TRUST_BUNDLE)).unwrap();
    assert_eq!(bundle(), ca.bundle_pem());
    let key = directory.path().join(ISSUING_KEY);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    other.write(directory.path(), Existing::Replace).unwrap();
    assert_eq!(bundle(), other.bundle_pem());
    assert_eq!(mode(&key), 0o600, "a loose mode is not inherited");

    let issued = issue(&ca, "n1");
    let files = issued.write(directory.path(), Existing::Refuse).unwrap();
    assert_eq!(mode(&files.key), 0o600);
    assert!(matches!(
        issued.write(directory.path(), Existing::Refuse),
        Err(BootstrapError::Exists(_))
    ));
}

#[test]
fn a_directory_that_does_not_hold_an_authority_says_which_file_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let load = || CertificateAuthority::load(directory.path()).map(|_| ()).unwrap_err().to_string();
    assert!(load().contains(ROOT_CERTIFICATE));
    let (ca, other) = (mesh_ca(), tempfile::tempdir().unwrap());
    ca.write(directory.path(), Existing::Refuse).unwrap();
    mesh_ca().write(other.path(), Existing::Refuse).unwrap();
    fs::copy(other.path().join(ISSUING_KEY), directory.path().join(ISSUING_KEY)).unwrap();
    let text = load();
    assert!(text.contains("issuing.key: expected the private key of issuing.pem"), "{text}");
    fs::write(directory.path().join(ISSUING_CERTIFICATE), issue(&ca, "n1").chain_pem).unwrap();
    assert!(load().contains("issuing.pem: expected a CA certificate"));
    fs::write(directory.path().join(ISSUING_CERTIFICATE), "x").unwrap();
    assert!(load().contains("issuing.pem: expected a PEM certificate"));
}

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// What the process's umask leaves of a file that all may read.
fn mode_mask() -> u32 {
    let probe = tempfile::tempdir().unwrap();
    let path = probe.path().join("probe");
    fs::write(&path, "").unwrap();
    mode(&path) | 0o600
}
