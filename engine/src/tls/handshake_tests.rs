//! Whole handshakes between two ends in memory, over the configurations that agents use.

use std::sync::Arc;

use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, Connection, ProtocolVersion, ServerConnection};

use crate::tls::alpn;
use crate::tls::certificates_tests::{DAY, credentials, credentials_at, mesh_ca, start, uri_of};
use crate::tls::credentials::{Credentials, server_name};
use crate::tls::identity::{IdentityError, NameRule, peer_of};
use crate::tls::provider::provider;
use crate::tls::verifier::reason_of;

/// How a handshake went, seen from each end.
struct Outcome {
    client: Result<(), rustls::Error>,
    server: Result<(), rustls::Error>,
    ends: (Connection, Connection),
}

fn shake(client: ClientConfig, server: &Credentials) -> Outcome {
    let client = ClientConnection::new(Arc::new(client), server_name()).unwrap();
    let server = ServerConnection::new(Arc::clone(server.gossip_server())).unwrap();
    let (mut client, mut server) = (Connection::from(client), Connection::from(server));
    let (mut of_client, mut of_server) = (Ok(()), Ok(()));
    for _ in 0..8 {
        pass(&mut client, &mut server, &mut of_server);
        pass(&mut server, &mut client, &mut of_client);
    }
    Outcome { client: of_client, server: of_server, ends: (client, server) }
}

/// Carries what `from` has to say, alerts included, and keeps the first error of `to`.
fn pass(from: &mut Connection, to: &mut Connection, outcome: &mut Result<(), rustls::Error>) {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    let mut unread = bytes.as_slice();
    while !unread.is_empty() && outcome.is_ok() {
        to.read_tls(&mut unread).unwrap();
        *outcome = to.process_new_packets().map(|_| ());
    }
}

fn client_of(credentials: &Credentials) -> ClientConfig {
    ClientConfig::clone(credentials.gossip_client())
}

fn reasons(outcome: &Outcome) -> (&'static str, &'static str) {
    let word = |end: &Result<(), _>| end.as_ref().err().map_or("ok", reason_of);
    (word(&outcome.client), word(&outcome.server))
}

/// Rules S-1, S-2 and S-8.
#[test]
fn two_members_agree_on_tls_1_3_a_suite_and_a_protocol() {
    let ca = mesh_ca();
    let (alice, bob) = (credentials(&ca, "alice"), credentials(&ca, "bob"));
    let outcome = shake(client_of(&alice), &bob);
    assert_eq!(reasons(&outcome), ("ok", "ok"));
    let (client, server) = &outcome.ends;
    for (end, peer) in [(client, "bob"), (server, "alice")] {
        assert!(!end.is_handshaking());
        assert_eq!(end.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        let suite = end.negotiated_cipher_suite().unwrap().suite();
        assert_eq!(suite, rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
        assert!(alpn::ok(end.alpn_protocol(), alpn::GOSSIP));
        assert_eq!(
            peer_of(NameRule::Spiffe, end.peer_certificates()).unwrap().name(),
            uri_of(peer)
        );
        assert_eq!(end.handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
    let Connection::Server(server) = server else { panic!("the second end serves") };
    assert_eq!(server.server_name(), None, "rule S-8: no name is sent");
    assert_eq!(peer_of(NameRule::Spiffe, None), Err(IdentityError::NoName(NameRule::Spiffe)));
}

/// Sessions cannot be resumed: that would skip the peer's certificate.
#[test]
fn a_second_handshake_is_a_full_one() {
    let ca = mesh_ca();
    let (alice, bob) = (credentials(&ca, "alice"), credentials(&ca, "bob"));
    for _ in 0..2 {
        let outcome = shake(client_of(&alice), &bob);
        assert_eq!(outcome.ends.0.handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
}

#[test]
fn a_client_without_a_certificate_is_refused() {
    let ca = mesh_ca();
    let (alice, bob) = (credentials(&ca, "alice"), credentials(&ca, "bob"));
    let mut client = ClientConfig::builder_with_details(
        provider(),
        Arc::clone(&alice.gossip_client().time_provider),
    )
    .with_protocol_versions(&[&TLS13])
    .unwrap()
    .dangerous()
    .with_custom_certificate_verifier(Arc::clone(alice.verifier()) as Arc<_>)
    .with_no_client_auth();
    client.alpn_protocols = vec![alpn::GOSSIP.to_vec()];
    let outcome = shake(client, &bob);
    assert_eq!(reasons(&outcome), ("peer-alert", "no-certificate"));
}

/// Rule S-1.
#[test]
fn another_protocol_is_refused_and_none_is_noticed() {
    let ca = mesh_ca();
    let (alice, bob) = (credentials(&ca, "alice"), credentials(&ca, "bob"));
    let sync = ClientConfig::clone(alice.sync_client());
    assert_eq!(reasons(&shake(sync, &bob)), ("peer-alert", "alpn"));
    let mut silent = client_of(&alice);
    silent.alpn_protocols.clear();
    let outcome = shake(silent, &bob);
    assert_eq!(reasons(&outcome), ("ok", "ok"), "rustls lets silence pass");
    assert!(!alpn::ok(outcome.ends.0.alpn_protocol(), alpn::GOSSIP));
    assert!(!alpn::ok(outcome.ends.1.alpn_protocol(), alpn::GOSSIP));
}

/// Rule S-1. A ClientHello as TLS 1.2 knows it: no supported_versions extension.
#[test]
fn tls_1_2_is_refused_by_the_server() {
    let bob = credentials(&mesh_ca(), "bob");
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 4, 0xc0, 0x2b, 0x13, 0x01, 1, 0]);
    let extensions: &[u8] = &[
        0, 10, 0, 4, 0, 2, 0, 23, // supported_groups: secp256r1
        0, 13, 0, 4, 0, 2, 4, 3, // signature_algorithms: ECDSA P-256 with SHA-256
    ];
    body.extend([0, extensions.len() as u8]);
    body.extend(extensions);
    let mut record = vec![22, 3, 1, 0, body.len() as u8 + 4, 1, 0, 0, body.len() as u8];
    record.extend(body);
    let mut server = ServerConnection::new(Arc::clone(bob.gossip_server())).unwrap();
    server.read_tls(&mut record.as_slice()).unwrap();
    let error = server.process_new_packets().unwrap_err();
    assert_eq!(reason_of(&error), "incompatible", "{error}");
}

/// Rule S-1. A ServerHello that chooses TLS 1.2.
#[test]
fn tls_1_2_is_refused_by_the_client() {
    let alice = credentials(&mesh_ca(), "alice");
    let config = Arc::clone(alice.gossip_client());
    let mut client = ClientConnection::new(config, server_name()).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    let mut record = vec![22, 3, 3, 0, 42, 2, 0, 0, 38, 3, 3];
    record.extend([7; 32]);
    record.extend([0, 0xc0, 0x2b, 0]);
    client.read_tls(&mut record.as_slice()).unwrap();
    let error = client.process_new_packets().unwrap_err();
    assert_eq!(reason_of(&error), "incompatible", "{error}");
    assert!(client.is_handshaking() && client.peer_certificates().is_none());
}

/// Rules S-8 and S-16, each end with the reason that its counters show.
#[test]
fn foreign_expired_and_own_certificates_fail_on_either_end() {
    let (ca, foreign) = (mesh_ca(), mesh_ca());
    let alice = credentials(&ca, "alice");
    let stranger = credentials(&foreign, "bob");
    assert_eq!(reasons(&shake(client_of(&alice), &stranger)), ("unknown-ca", "peer-alert"));
    // The stranger trusts only its own CA, so let it trust anybody to see our server refuse.
    let mut trusting = client_of(&stranger);
    trusting.dangerous().set_certificate_verifier(Arc::clone(alice.verifier()) as Arc<_>);
    let server = credentials(&ca, "carol");
    assert_eq!(reasons(&shake(trusting, &server)), ("peer-alert", "unknown-ca"));

    let later = credentials_at(&ca, "bob", start());
    let mut late = client_of(&alice);
    late.time_provider = Arc::new(crate::tls::certificates_tests::Still(start() + 2 * DAY));
    assert_eq!(reasons(&shake(late, &later)), ("expired", "peer-alert"));

    let namesake = credentials(&ca, "alice");
    assert_eq!(reasons(&shake(client_of(&alice), &namesake)), ("own-id", "peer-alert"));
}
