//! What users of memberlist, Serf, Consul, foca and chitchat complain of, where one node shows that
//! it cannot happen here. `docs/peers.md` lists all of them with their tests.

mod stage;

use std::sync::Arc;

use mesh_gossip_proto::membership::order::Sentence;
use mesh_gossip_proto::membership::record::{Claim, OperatorClaim, first_record};
use mesh_gossip_proto::node::Birth;
use mesh_gossip_proto::wire::message::kind;
use mesh_gossip_proto::{
    Authority, Command, Config, Detector, Duration, Incarnation, Lifecycle, MemberTable, Node,
    PeerError, Signature, SignedRecord, State, WallTime,
};
use stage::{BORN, CLUSTER, Names, Stage, address, at, birth, death, entry, id, incarnation};
use stage::{metadata, record, signed};

fn lifeguard() -> Config {
    Config { detector: Detector::Lifeguard, ..Config::new(CLUSTER) }
}

fn counted(stage: &Stage, reason: &str) -> u64 {
    stage.node.stats().rejected.get(reason).copied().unwrap_or(0)
}

/// A member's authority that knows operators as well: whoever is named so.
struct Obedient(Names);

impl Authority for Obedient {
    fn sign(&self, message: &[u8]) -> Option<Signature> {
        self.0.sign(message)
    }
    fn leaf(&self) -> &[u8] {
        self.0.leaf()
    }
    fn intermediates(&self) -> &[[u8; 32]] {
        &[]
    }
    fn verify(&self, claim: &Claim<'_>) -> Result<(), PeerError> {
        self.0.verify(claim)
    }
    fn verify_operator(&self, claim: &OperatorClaim<'_>) -> Result<(), PeerError> {
        let signed = Names { leaf: claim.leaf.to_vec(), salt: 1 }.sign(claim.message);
        let holds = signed.is_some_and(|signature| signature.bytes == claim.signature);
        if holds && claim.leaf.starts_with(b"operator") {
            return Ok(());
        }
        Err(PeerError::Signature("no operator"))
    }
}

fn obedient(others: &[&str]) -> Stage {
    let birth =
        Birth { authority: Arc::new(Obedient(Names::of("a"))), ..birth(lifeguard(), "a", BORN, 7) };
    let mut stage = Stage::knowing(lifeguard(), &[]);
    stage.node = Node::new(at(0), birth).unwrap();
    others.iter().for_each(|other| stage.record(other, &record(other, 0)));
    stage.sent.clear();
    stage
}

/// Rules S-14 and A-3, consul#9962 and consul#21633: a peer that has not heard of an operator's order
/// cannot undo it with its state; it learns of the order, and the member comes back as a new life.
#[test]
fn a_force_leave_is_not_undone_by_a_state() {
    let sentence = |incarnation, lifetime| Sentence {
        cluster_id: CLUSTER,
        subject: id("b"),
        incarnation,
        issued: WallTime(BORN),
        lifetime: Duration::from_secs(lifetime),
    };
    let order = sentence(incarnation(0), 3_600).sign(&Names::of("operator")).unwrap();
    let mut stage = obedient(&["b", "c", "d"]);
    let forged = sentence(incarnation(0), 3_600).sign(&Names::of("c")).unwrap();
    stage.tell("c", kind::FORCE_LEAVE, &forged);
    assert_eq!((stage.state("b"), counted(&stage, "order-signature")), (Some(State::Alive), 1));
    stage.node.handle_command(stage.now, Command::ForceLeave(order)).unwrap();
    stage.drain();
    assert_eq!(stage.state("b"), Some(State::Left));
    stage.until(60_000);
    stage.sent.clear();
    for state in [State::Alive, State::Suspect, State::Dead] {
        stage.node.handle_sync(stage.now, id("c"), &entry(state, &record("b", 0)));
        stage.record("d", &record("b", 0));
        stage.drain();
        assert_eq!(stage.state("b"), Some(State::Left), "{state:?}");
    }
    assert!(!stage.sent_of(kind::FORCE_LEAVE).is_empty(), "whoever missed the order gets it");
    let back = Incarnation { generation: BORN + 1, counter: 0 };
    stage.record("b", &signed("b", back, Lifecycle::Active, "r"));
    assert_eq!(stage.state("b"), Some(State::Alive), "its next life is another matter");
}

/// Rule R-2, memberlist#370 and memberlist#359, which call it "not fixable": a member leaves, moves
/// and changes by its own signature alone.
#[test]
fn nobody_leaves_or_moves_by_anothers_word() {
    let mut stage = Stage::knowing(lifeguard(), &["b", "c"]);
    let mut moved = record("b", 1).record().clone();
    moved.addresses = vec![address("c")];
    let left = signed("b", incarnation(1), Lifecycle::Leaving, "r").record().clone();
    let changed = signed("b", incarnation(1), Lifecycle::Active, "elsewhere").record().clone();
    for (count, content) in (1..).zip([moved, left, changed]) {
        let forged = SignedRecord::author(content, &Names::of("c")).unwrap();
        stage.record("c", &forged);
        stage.node.handle_sync(stage.now, id("c"), &entry(State::Alive, &forged));
        assert_eq!(counted(&stage, "signature"), 2 * count);
        let held = stage.node.member(id("b")).unwrap();
        assert_eq!((held.state, held.incarnation()), (State::Alive, incarnation(0)));
    }
}

/// Rules M-1 and R-2, consul#843 and grafana/agent#4466: another cluster's members do not enter, by
/// whichever door they come, and the reason is named.
#[test]
fn foreign_clusters_never_merge() {
    let mut stage = Stage::knowing(lifeguard(), &["b", "c"]);
    let members = stage.node.table().len();
    for name in ["b", "x"] {
        let content = first_record("another", incarnation(9), vec![address(name)], metadata(name));
        let names = Names { leaf: format!("{name}/another/worker").into_bytes(), salt: 1 };
        let foreign = SignedRecord::author(content, &names).unwrap();
        stage.record("c", &foreign);
        for state in [State::Alive, State::Left, State::Dead, State::Suspect] {
            stage.node.handle_sync(stage.now, id("c"), &entry(state, &foreign));
        }
    }
    stage.until(30_000);
    assert_eq!(stage.node.table().len(), members);
    // A state's departed are not even looked at.
    assert!(counted(&stage, "foreign-cluster") >= 4, "{:?}", stage.node.stats().rejected);
    let held = stage.node.member(id("b")).unwrap();
    assert_eq!(held.incarnation(), incarnation(0), "ours of that name is another");
}

/// Rules A-1 and G-1, quickwit-oss/quickwit#6653, chitchat#161 and chitchat#119: what a ping says of
/// all members has one size, and of the dead a few datagrams speak, not all for ever.
#[test]
fn digests_never_grow_and_the_dead_are_told_of_a_few_times() {
    let mut sizes = Vec::new();
    for members in [5, 600] {
        let mut stage = Stage::knowing(lifeguard(), &["b", "c"]);
        for n in 0..members {
            let name = format!("m{n}");
            stage.record(&name, &record(&name, 0));
            stage.answering.push(name);
        }
        stage.until(30_000);
        stage.sent.clear();
        stage.say("c", &death("b", 0, "c"));
        stage.until(90_000);
        sizes.push(stage.sent_of(kind::PING).iter().map(|ping| ping.body.len()).max());
        let told = stage.sent_of(kind::DEAD).len();
        assert!((1..=12).contains(&told), "{members} members: {told} times");
    }
    assert_eq!(sizes[0], sizes[1]);
}
