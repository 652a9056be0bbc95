//! Records under real certificates: signed, relayed, tampered with, borrowed, too late.

use std::sync::Arc;

use mesh_gossip_proto::error::PeerError;
use mesh_gossip_proto::membership::record::{Authority, Claim, PROTOCOL_VERSIONS, first_record};
use mesh_gossip_proto::{Incarnation, Metadata, NodeRecord, SignedRecord};

use crate::bootstrap::CertificateAuthority;
use crate::options::{RevocationOptions, TlsOptions};
use crate::tls::authority::{Intermediates, MeshAuthority};
use crate::tls::certificates_tests::{
    CLUSTER, DAY, LaxCa, ROLE, Still, TRUST_DOMAIN, bytes, credentials, credentials_at, issue,
    mesh_ca, start, unix, uri_of,
};
use crate::tls::credentials::Credentials;
use crate::tls::identity::NameRule;
use crate::tls::provider::sha256;

const METADATA_LIMIT: usize = 4_096;

fn authority_of(credentials: Arc<Credentials>) -> MeshAuthority {
    MeshAuthority::new(credentials, Arc::new(Intermediates::default()))
}

fn authority(ca: &CertificateAuthority, node_id: &str) -> MeshAuthority {
    authority_of(credentials(ca, node_id))
}

fn record(node_id: &str, role: &str, generation: u64) -> NodeRecord {
    let metadata = Metadata {
        node_id: node_id.into(),
        role: role.into(),
        region: "r".into(),
        mesh_version: "1".into(),
        ..Metadata::default()
    };
    let incarnation = Incarnation { generation, counter: 0 };
    let record =
        first_record(CLUSTER, incarnation, vec!["192.0.2.1:17421".parse().unwrap()], metadata);
    assert_eq!(record.versions, PROTOCOL_VERSIONS);
    record
}

fn now_ms() -> u64 {
    unix(start()).as_secs() * 1_000
}

fn verify(envelope: &[u8], by: &MeshAuthority) -> Result<SignedRecord, PeerError> {
    SignedRecord::verify(envelope, CLUSTER, METADATA_LIMIT, by)
}

/// Rules R-1 and S-11.
#[test]
fn a_record_signed_by_one_member_is_verified_by_another() {
    let ca = mesh_ca();
    let (alice, bob) = (authority(&ca, "alice"), authority(&ca, "bob"));
    let signed = SignedRecord::author(record("alice", ROLE, now_ms()), &alice).unwrap();
    for _ in 0..2 {
        assert_eq!(verify(signed.envelope(), &bob).unwrap(), signed, "proven, then remembered");
    }
    assert!(verify(signed.envelope(), &alice).is_ok(), "our own record may come back to us");
}

/// Rule R-2.
#[test]
fn no_byte_of_a_record_can_change_unnoticed() {
    let ca = mesh_ca();
    let (alice, bob) = (authority(&ca, "alice"), authority(&ca, "bob"));
    let signed = SignedRecord::author(record("alice", ROLE, now_ms()), &alice).unwrap();
    verify(signed.envelope(), &bob).unwrap();
    let hashes = signed.envelope().len() - 32;
    for position in 0..hashes {
        let mut bytes = signed.envelope().to_vec();
        bytes[position] ^= 0x01;
        assert!(verify(&bytes, &bob).is_err(), "byte {position} changed unnoticed");
    }
}

/// Rule S-8: the certificate must name the node, the cluster and the role of the record.
#[test]
fn nobody_signs_for_another_name() {
    let ca = mesh_ca();
    let (alice, bob) = (authority(&ca, "alice"), authority(&ca, "bob"));
    for forged in [record("carol", ROLE, now_ms()), record("alice", "gateway", now_ms())] {
        let signed = SignedRecord::author(forged, &alice).unwrap();
        let refused = verify(signed.envelope(), &bob).unwrap_err();
        assert_eq!(refused, PeerError::Signature("identity"));
    }
    let outsider = authority(&mesh_ca(), "mallory");
    let signed = SignedRecord::author(record("mallory", ROLE, now_ms()), &outsider).unwrap();
    assert_eq!(
        verify(signed.envelope(), &bob).unwrap_err(),
        PeerError::UnknownSigner,
        "its CA is unknown, so its intermediate is too"
    );
}

/// Rule S-12.
#[test]
fn a_life_that_begins_after_the_certificates_end_is_refused() {
    let ca = mesh_ca();
    let (alice, bob) = (authority(&ca, "alice"), authority(&ca, "bob"));
    let end_ms = unix(start() + DAY).as_secs() * 1_000;
    let last = SignedRecord::author(record("alice", ROLE, end_ms + 999), &alice).unwrap();
    assert!(verify(last.envelope(), &bob).is_ok());
    let late = SignedRecord::author(record("alice", ROLE, end_ms + 1_000), &alice).unwrap();
    assert_eq!(verify(late.envelope(), &bob), Err(PeerError::Incarnation));
}

/// Rule S-11: signers are unexpired.
#[test]
fn an_expired_signer_is_refused() {
    let ca = mesh_ca();
    let alice = authority(&ca, "alice");
    let signed = SignedRecord::author(record("alice", ROLE, now_ms()), &alice).unwrap();
    let options = ca
        .issue(&crate::bootstrap::Subject::new("bob", ROLE), start(), 3 * DAY)
        .unwrap()
        .tls_options(&ca);
    let clock = Arc::new(Still(start() + 2 * DAY));
    let later = Credentials::load_with_clock(&options, CLUSTER, "bob", ROLE, clock).unwrap();
    let refused = verify(signed.envelope(), &authority_of(Arc::new(later))).unwrap_err();
    assert_eq!(refused, PeerError::Signature("expired"));
}

/// Rule S-11: a chain learned from a handshake completes the records of its author.
#[test]
fn an_intermediate_is_learned_only_from_a_chain_that_holds() {
    // Two issuing CAs of one root: bob's bundle holds the root alone.
    let ca = mesh_ca();
    let alice = credentials(&ca, "alice");
    let signed =
        SignedRecord::author(record("alice", ROLE, now_ms()), &authority_of(Arc::clone(&alice)));
    let signed = signed.unwrap();
    let root_only = ca.bundle_pem();
    let second = root_only[1..].find("-----BEGIN").unwrap() + 1;
    let options =
        TlsOptions { ca: bytes(&root_only[..second]), ..issue(&ca, "bob").tls_options(&ca) };
    let clock = Arc::new(Still(start()));
    let bob = Credentials::load_with_clock(&options, CLUSTER, "bob", ROLE, clock).unwrap();
    let bob = authority_of(Arc::new(bob));
    assert!(verify(signed.envelope(), &bob).is_ok(), "bob's own chain has the intermediate");

    // A mesh whose nodes are signed by an intermediate that bob does not have.
    let root = LaxCa::new("root");
    let issuing = root.intermediate("issuing");
    let carol_leaf = issuing.leaf(&uri_of("carol"), |_| {});
    let dave_leaf = root.leaf(&uri_of("dave"), |_| {});
    let node = |name: &str, chain: String, key: &str| {
        let options = TlsOptions {
            certificate: bytes(&chain),
            key: Some(bytes(key)),
            password: None,
            ca: bytes(&root.pem),
            trust_domain: TRUST_DOMAIN.into(),
            identity: NameRule::Spiffe,
            allowed_thumbprints: Vec::new(),
            revocation: RevocationOptions::default(),
            reload_interval: TlsOptions::RELOAD_INTERVAL,
        };
        let clock = Arc::new(Still(start()));
        Arc::new(Credentials::load_with_clock(&options, CLUSTER, name, ROLE, clock).unwrap())
    };
    let carol = node("carol", format!("{}{}", carol_leaf.pem, issuing.pem), &carol_leaf.key_pem);
    let dave = authority_of(node("dave", dave_leaf.pem, &dave_leaf.key_pem));
    let signed =
        SignedRecord::author(record("carol", ROLE, now_ms()), &authority_of(Arc::clone(&carol)))
            .unwrap();
    let missing = Err(PeerError::UnknownSigner);
    assert_eq!(verify(signed.envelope(), &dave).map(|_| ()), missing);
    dave.learn(alice.chain());
    assert_eq!(
        dave.intermediate(&alice.intermediates()[0]),
        None,
        "a foreign chain teaches nothing"
    );
    dave.learn(&[carol.leaf().clone(), carol.chain()[1].clone(), alice.chain()[1].clone()]);
    assert_eq!(dave.intermediate(&sha256(&issuing.der)), Some(issuing.der.clone()));
    assert_eq!(dave.intermediate(&alice.intermediates()[0]), None, "only what the path needs");
    assert!(verify(signed.envelope(), &dave).is_ok());
}

/// Rule S-17.
#[test]
fn thumbprints_restrict_authors_too_but_not_ourselves() {
    let ca = mesh_ca();
    let alice = authority(&ca, "alice");
    let hex: String = sha256(alice.leaf()).iter().map(|byte| format!("{byte:02x}")).collect();
    let options =
        TlsOptions { allowed_thumbprints: vec![hex], ..issue(&ca, "bob").tls_options(&ca) };
    let clock = Arc::new(Still(start()));
    let bob = Credentials::load_with_clock(&options, CLUSTER, "bob", ROLE, clock).unwrap();
    let bob = authority_of(Arc::new(bob));
    for (author, name, outcome) in [
        (&alice, "alice", Ok(())),
        (&bob, "bob", Ok(())),
        (&authority(&ca, "carol"), "carol", Err(PeerError::Signature("pin"))),
    ] {
        let signed = SignedRecord::author(record(name, ROLE, now_ms()), author).unwrap();
        assert_eq!(verify(signed.envelope(), &bob).map(|_| ()), outcome, "{name}");
    }
}

#[test]
fn a_record_key_never_signs_what_tls_would_accept_and_weak_schemes_never_verify() {
    let ca = mesh_ca();
    let alice = authority_of(credentials_at(&ca, "alice", start()));
    assert!(alice.sign(&[b' '; 100]).is_none(), "the prefix of a TLS 1.3 CertificateVerify");
    let signature = alice.sign(b"mesh").unwrap();
    let claim = |scheme| Claim {
        cluster_id: CLUSTER,
        node_id: "alice",
        role: ROLE,
        incarnation: Incarnation { generation: now_ms(), counter: 0 },
        message: b"mesh",
        scheme,
        signature: &signature.bytes,
        leaf: alice.leaf(),
        intermediates: alice.intermediates(),
    };
    assert_eq!(alice.verify(&claim(0x0403)), Ok(()));
    assert_eq!(alice.verify(&claim(0x0503)), Err(PeerError::Signature("mismatch")));
    assert_eq!(alice.verify(&claim(0x0203)), Err(PeerError::Signature("scheme")), "SHA-1");
    let too_many = [[0; 32]; 200];
    let unknown = Claim { leaf: b"no certificate", intermediates: &too_many, ..claim(0x0403) };
    assert_eq!(alice.verify(&unknown), Err(PeerError::Signature("chain")));
}
