//! A certificate of our own that is exchanged, and one of somebody else that is revoked.

mod stage;

use std::sync::Arc;

use mesh_gossip_proto::membership::record::signer;
use mesh_gossip_proto::wire::message::kind;
use mesh_gossip_proto::{
    Authority, Config, Detector, Event, LeftReason, PeerError, Signature, State,
};
use stage::{CLUSTER, Names, Stage, id, incarnation, record};

const DETECTORS: [Detector; 3] = [Detector::Observers, Detector::Lifeguard, Detector::Swim];

fn knowing(detector: Detector) -> Stage {
    Stage::knowing(Config { detector, ..Config::new(CLUSTER) }, &["b", "c"])
}

/// Rule S-15: our record is signed again, under the next incarnation, and announced.
#[test]
fn a_new_certificate_signs_our_record_again() {
    for detector in DETECTORS {
        let mut stage = knowing(detector);
        stage.events();
        let before = stage.node.local().clone();
        let renewed = Names { salt: 9, ..Names::of("a") };
        stage.node.handle_authority(stage.now, Arc::new(renewed)).unwrap();
        let own = stage.node.local().clone();
        assert_eq!(own.record().incarnation, before.record().incarnation.next());
        assert_eq!(own.record().metadata, before.record().metadata);
        assert_ne!(own.envelope(), before.envelope());
        let (leaf, intermediates) = signer(own.envelope()).unwrap();
        assert_eq!((leaf, intermediates.len()), (&b"a/c/worker"[..], 0));
        assert_eq!(stage.events(), [Event::Updated(own)]);
        stage.until(2_000);
        assert!(!stage.sent_of(kind::UPDATE).is_empty(), "others are told");
    }
}

struct Mute;

impl Authority for Mute {
    fn sign(&self, _message: &[u8]) -> Option<Signature> {
        None
    }
    fn leaf(&self) -> &[u8] {
        b"mute"
    }
    fn intermediates(&self) -> &[[u8; 32]] {
        &[]
    }
    fn verify(
        &self,
        _claim: &mesh_gossip_proto::membership::record::Claim<'_>,
    ) -> Result<(), PeerError> {
        Err(PeerError::Signature("mute"))
    }
}

/// Rule S-15: failure keeps the old.
#[test]
fn a_certificate_that_cannot_sign_changes_nothing() {
    let mut stage = knowing(Detector::Observers);
    let before = stage.node.local().clone();
    assert!(stage.node.handle_authority(stage.now, Arc::new(Mute)).is_err());
    assert_eq!(*stage.node.local(), before);
    stage.record("b", &record("b", 1));
    assert_eq!(stage.node.member(id("b")).unwrap().incarnation(), incarnation(1));
}

/// Rule S-16: whose signer is revoked is gone at once; nothing is said about it, and its record
/// brings it back as little as the word of others.
#[test]
fn a_revoked_member_is_gone_without_a_word() {
    for detector in DETECTORS {
        let mut stage = knowing(detector);
        stage.until(1_000);
        stage.events();
        stage.sent.clear();
        stage.node.handle_revoked(stage.now, id("b"), incarnation(7));
        assert_eq!(stage.state("b"), Some(State::Alive), "that was another life");
        stage.node.handle_revoked(stage.now, id("b"), incarnation(0));
        stage.node.handle_revoked(stage.now, id("a"), incarnation(0));
        assert_eq!(stage.state("b"), Some(State::Dead));
        let [Event::Left { record: gone, reason: LeftReason::Revoked }] = &stage.events()[..]
        else {
            panic!("one transition")
        };
        assert_eq!(gone.record().id, id("b"));
        stage.record("c", &record("b", 0));
        stage.until(20_000);
        assert_eq!(stage.state("b"), Some(State::Dead));
        assert!(stage.sent_of(kind::DEAD).is_empty(), "each learns it from its own list");
        assert_eq!(stage.state("c"), Some(State::Alive));

        // What its authority accepts comes back: a new certificate, a new life.
        stage.record("c", &record("b", 1));
        assert_eq!(stage.state("b"), Some(State::Alive));
    }
}
