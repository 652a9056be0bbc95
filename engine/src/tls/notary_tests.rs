//! What the agents of one process prove once, and what each judges for itself (rules S-11 and S-16).

use std::sync::Arc;

use mesh_gossip_proto::error::PeerError;
use mesh_gossip_proto::membership::record::{Authority, first_record};
use mesh_gossip_proto::{Incarnation, Metadata, SignedRecord};

use crate::bootstrap::CertificateAuthority;
use crate::options::{RevocationOptions, TlsOptions};
use crate::tls::authority::{Intermediates, MeshAuthority, SIGNATURES_CHECKED};
use crate::tls::certificates_tests::{
    CLUSTER, LaxCa, ROLE, TRUST_DOMAIN, bytes, credentials_beside, issue, mesh_ca, start, unix,
    uri_of,
};
use crate::tls::identity::NameRule;
use crate::tls::notary::Notary;
use crate::tls::standing::Serial;
use crate::tls::trust::Trust;
use crate::tls::verifier::{CHAINS_PROVEN, TrustError, Usage};

fn authority(notary: &Arc<Notary>, options: &TlsOptions, node_id: &str) -> MeshAuthority {
    let credentials = credentials_beside(notary, options, node_id);
    MeshAuthority::new(credentials, Arc::new(Intermediates::default()))
}

fn member(notary: &Arc<Notary>, ca: &CertificateAuthority, node_id: &str) -> MeshAuthority {
    authority(notary, &issue(ca, node_id).tls_options(ca), node_id)
}

fn signed(author: &MeshAuthority) -> SignedRecord {
    let node_id = author.credentials().identity().node_id.clone();
    let metadata = Metadata {
        node_id,
        role: ROLE.into(),
        region: "r".into(),
        mesh_version: "1".into(),
        ..Metadata::default()
    };
    let incarnation = Incarnation { generation: unix(start()).as_secs() * 1_000, counter: 0 };
    let addresses = vec!["192.0.2.1:17421".parse().unwrap()];
    SignedRecord::author(first_record(CLUSTER, incarnation, addresses, metadata), author).unwrap()
}

/// As a node takes a record.
fn taken(by: &MeshAuthority, envelope: &[u8]) -> Result<Arc<SignedRecord>, PeerError> {
    SignedRecord::verify(envelope, CLUSTER, 4_096, by).map(|record| by.intern(Arc::new(record)))
}

/// Chains proven and signatures checked by `act`.
fn costs(act: impl FnOnce()) -> (u32, u32) {
    let before = (CHAINS_PROVEN.get(), SIGNATURES_CHECKED.get());
    act();
    (CHAINS_PROVEN.get() - before.0, SIGNATURES_CHECKED.get() - before.1)
}

/// Rule S-11: a record is verified once in a process and held once, however many agents take it.
#[test]
fn agents_of_one_process_prove_and_keep_a_record_once() {
    let (ca, notary) = (mesh_ca(), Arc::default());
    let alice = signed(&member(&notary, &ca, "alice"));
    let crowd: Vec<_> =
        (0..8).map(|number| member(&notary, &ca, &format!("agent-{number}"))).collect();
    let mut held = Vec::new();
    let spent = costs(|| {
        held.extend(crowd.iter().map(|agent| taken(agent, alice.envelope()).unwrap()));
    });
    assert_eq!(spent, (1, 1));
    assert!(held.iter().all(|record| Arc::ptr_eq(record, &held[0])), "one copy");
    let bytes = |agent: &MeshAuthority| agent.shared(alice.envelope().to_vec().into());
    assert!(Arc::ptr_eq(&bytes(&crowd[0]), &bytes(&crowd[1])));

    let mut forged = alice.envelope().to_vec();
    let hashes = forged.len() - 32;
    for position in (0..hashes).step_by(3) {
        forged[position] ^= 1;
        assert!(taken(&crowd[1], &forged).is_err(), "byte {position}");
        forged[position] ^= 1;
    }
}

/// Rule S-11: whoever is alone in its process keeps nothing for others.
#[test]
fn a_single_agent_keeps_nothing_twice() {
    let (ca, notary) = (mesh_ca(), Arc::default());
    let alice = signed(&member(&Arc::default(), &ca, "alice"));
    let bob = member(&notary, &ca, "bob");
    let held = [(); 2].map(|()| taken(&bob, alice.envelope()).unwrap());
    assert!(!Arc::ptr_eq(&held[0], &held[1]));
    assert_eq!(Arc::strong_count(&held[0]), 1);

    let carol = member(&notary, &ca, "carol");
    let shared = taken(&carol, alice.envelope()).unwrap();
    assert_eq!(Arc::strong_count(&shared), 2);
    drop(carol);
    let alone = taken(&bob, alice.envelope()).unwrap();
    assert!(!Arc::ptr_eq(&alone, &shared), "alone again");
}

/// Rule S-16: a peer's chain is proven once for all who trust the same; each of them goes by its
/// own snapshot of trust, and takes nobody for its peer that bears its own name.
#[test]
fn a_proven_chain_serves_all_who_trust_the_same() {
    let (ca, notary) = (mesh_ca(), Arc::default());
    let [alice, bob, carol] = ["alice", "bob", "carol"]
        .map(|name| credentials_beside(&notary, &issue(&ca, name).tls_options(&ca), name));
    let now = unix(start());
    let chain = carol.chain();
    let asked = |who: &crate::tls::credentials::Credentials| {
        who.verifier().confirm_peer(chain, Usage::Server, now)
    };
    // Trust that was read again and says the same is another snapshot.
    let cell = alice.verifier().trust();
    cell.replace(Trust::clone(&cell.load()));
    let spent = costs(|| {
        for (who, epoch) in [(&alice, 1), (&bob, 0)] {
            let verified = asked(who).unwrap();
            assert_eq!(verified.identity.node_id, "carol");
            assert_eq!(verified.standing.epoch, epoch, "what its sessions will compare");
        }
    });
    assert_eq!(spent.0, 1);
    assert!(matches!(asked(&carol), Err(TrustError::OwnId { .. })));
}

/// Rules S-16 and S-17: what one agent has proven binds nobody who trusts otherwise.
#[test]
fn who_trusts_otherwise_judges_for_itself() {
    let (ca, notary) = (mesh_ca(), Arc::default());
    let author = member(&notary, &ca, "alice");
    let alice = signed(&author);
    let (bob, carol) = (member(&notary, &ca, "bob"), member(&notary, &ca, "carol"));
    let stranger = member(&notary, &mesh_ca(), "dave");
    let pinned = TlsOptions {
        allowed_thumbprints: vec!["ab".repeat(32)],
        ..issue(&ca, "erin").tls_options(&ca)
    };
    let pinned = authority(&notary, &pinned, "erin");
    let confirm = |who: &MeshAuthority| {
        let chain = author.credentials().chain();
        who.credentials().verifier().confirm_peer(chain, Usage::Server, unix(start())).map(drop)
    };
    assert!(taken(&bob, alice.envelope()).is_ok() && confirm(&bob).is_ok());

    assert_eq!(taken(&stranger, alice.envelope()).unwrap_err(), PeerError::UnknownSigner);
    assert!(matches!(confirm(&stranger), Err(TrustError::UnknownCa)));
    assert_eq!(taken(&pinned, alice.envelope()).unwrap_err(), PeerError::Signature("pin"));
    assert!(matches!(confirm(&pinned), Err(TrustError::Pin { .. })));

    // Carol alone has the list that revokes Alice.
    let serial = Serial::new(&author.credentials().verified().serial).to_string();
    let list = crate::tls::certificates_tests::list_of(&ca, 1, &[&serial]);
    let cell = carol.credentials().verifier().trust();
    let mut trust = Trust::clone(&cell.load());
    let clock = rustls_pki_types::UnixTime::now();
    trust.take_list(&list, clock).unwrap();
    cell.replace(trust);
    assert_eq!(taken(&carol, alice.envelope()).unwrap_err(), PeerError::Signature("revoked"));
    assert!(matches!(confirm(&carol), Err(TrustError::Revoked { .. })));
    assert!(taken(&bob, alice.envelope()).is_ok() && confirm(&bob).is_ok(), "Bob has no list");
}

/// Rule S-11: whoever believes a record can complete its chain, so an agent that lacks an
/// intermediate asks for it although another of its process has it.
#[test]
fn an_agent_that_lacks_an_intermediate_asks_for_it() {
    let (root, notary) = (LaxCa::new("root"), Arc::default());
    let issuing = root.intermediate("issuing");
    let options = |ca: &LaxCa, name: &str| {
        let leaf = ca.leaf(&uri_of(name), |_| {});
        let above = if ca.pem == root.pem { "" } else { ca.pem.as_str() };
        TlsOptions {
            certificate: bytes(&format!("{}{above}", leaf.pem)),
            key: Some(bytes(&leaf.key_pem)),
            password: None,
            ca: bytes(&root.pem),
            trust_domain: TRUST_DOMAIN.into(),
            identity: NameRule::Spiffe,
            allowed_thumbprints: Vec::new(),
            revocation: RevocationOptions::default(),
            reload_interval: TlsOptions::RELOAD_INTERVAL,
        }
    };
    let carol = authority(&notary, &options(&issuing, "carol"), "carol");
    let [dave, erin] = ["dave", "erin"].map(|name| authority(&notary, &options(&root, name), name));
    let record = signed(&carol);
    erin.learn(carol.credentials().chain());
    assert!(taken(&erin, record.envelope()).is_ok());
    assert_eq!(taken(&dave, record.envelope()).unwrap_err(), PeerError::UnknownSigner);
    dave.learn(carol.credentials().chain());
    assert!(costs(|| assert!(taken(&dave, record.envelope()).is_ok())) == (0, 0));
}
