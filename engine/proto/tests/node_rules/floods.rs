//! A valid member that floods (rule S-7).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use mesh_gossip_proto::membership::order::Sentence;
use mesh_gossip_proto::membership::record::{Claim, OperatorClaim};
use mesh_gossip_proto::membership::table::MemberTable as _;
use mesh_gossip_proto::wire::message::{Ping, RecordPull, Update, Verify};
use mesh_gossip_proto::wire::parts;
use mesh_gossip_proto::{Authority, Signature, WallTime};
use zerocopy::IntoBytes as _;

fn region(node: &Node, of: &str) -> String {
    node.member(id(of)).unwrap().record.record().metadata.region.clone()
}

/// Lets the node's deadlines come until `ms`.
fn pass(node: &mut Node, ms: u64) {
    while let Some((due, _)) = node.poll_timeout()
        && due <= at(ms)
    {
        node.handle_timeout(due);
        drain(node, due);
    }
}

fn updates(node: &mut Node) -> usize {
    events(node).iter().filter(|event| matches!(event, Event::Updated(_))).count()
}

/// Rule S-7: of a subject that changes without end five records count at once and then one a
/// second, the latest, which needs no second telling.
#[test]
fn a_subject_is_applied_once_a_second_and_the_latest_wins() {
    let mut node = acquainted(&["b", "c"]);
    events(&mut node);
    for counter in 1..=100 {
        let record = record("b", counter, &format!("r{counter}"));
        tell(&mut node, at(1_000), "b", kind::RECORD, record.envelope());
    }
    assert_eq!((region(&node, "b"), updates(&mut node)), ("r5".into(), 5));
    // Whoever tells of the one that waits is not asked for it.
    drain(&mut node, at(1_000));
    let latest = record("b", 100, "r100");
    let update = Update::new(id("b"), stage::incarnation(100), State::Alive, latest.hash());
    tell_body(&mut node, at(1_500), "c", &update);
    assert_eq!(pulls(&drain(&mut node, at(1_500)), "b"), 0);
    pass(&mut node, 1_999);
    assert_eq!(updates(&mut node), 0);
    pass(&mut node, 2_000);
    assert_eq!((region(&node, "b"), updates(&mut node)), ("r100".into(), 1));
    // One that comes a little too soon is applied without anybody's help.
    tell(&mut node, at(2_100), "b", kind::RECORD, record("b", 101, "last").envelope());
    assert_eq!(region(&node, "b"), "r100");
    pass(&mut node, 3_000);
    assert_eq!((region(&node, "b"), updates(&mut node)), ("last".into(), 1));
    assert_eq!(node.stats().rejected["record-pace"], 94);
    // Others are not touched by it.
    tell(&mut node, at(3_000), "c", kind::RECORD, record("c", 1, "there").envelope());
    assert_eq!(region(&node, "c"), "there");
}

/// Rule S-7: whoever is doubted answers at once, however often it has changed.
#[test]
fn a_refutation_is_never_late() {
    let mut node = credulous(&["b", "c"]);
    for counter in 1..=20 {
        tell(&mut node, at(1_000), "b", kind::RECORD, record("b", counter, "r").envelope());
    }
    tell_body(&mut node, at(1_001), "c", &doubt("b", 5, "c"));
    assert_eq!(state(&node, "b"), Some(State::Suspect));
    tell(&mut node, at(1_002), "b", kind::RECORD, record("b", 21, "r").envelope());
    assert_eq!(state(&node, "b"), Some(State::Alive));
}

/// Rule S-7: a leave that comes too soon is neither lost nor acknowledged before it counts.
#[test]
fn a_hasty_leave_is_acknowledged_when_it_counts() {
    let mut node = acquainted(&["b", "c"]);
    for counter in 1..=5 {
        tell(&mut node, at(1_000), "b", kind::RECORD, record("b", counter, "r").envelope());
    }
    let leave = stage::signed("b", stage::incarnation(6), Lifecycle::Leaving, "r");
    let acks = |node: &mut Node, ms| {
        tell(node, at(ms), "b", kind::RECORD, leave.envelope());
        let sent = drain(node, at(ms));
        let messages = sent.iter().flat_map(|(_, bytes)| Messages::new(bytes));
        messages.filter(|message| matches!(message, Ok(Message::LeaveAck(_)))).count()
    };
    assert_eq!((acks(&mut node, 1_100), state(&node, "b")), (0, Some(State::Alive)));
    pass(&mut node, 2_000);
    assert_eq!((acks(&mut node, 2_001), state(&node, "b")), (1, Some(State::Left)));
}

/// Rule S-7: questions and records come out of the budget of who sent them, and of nobody else.
#[test]
fn who_floods_uses_up_its_own_budget() {
    let mut node = acquainted(&["b", "c", "d"]);
    let ask = RecordPull { id: id("d").0, hash: 0.into() };
    let answers = |node: &mut Node, from, count| {
        (0..count).for_each(|_| tell_body(node, at(1_000), from, &ask));
        let sent = drain(node, at(1_000));
        let messages = sent.iter().flat_map(|(_, bytes)| Messages::new(bytes));
        messages.filter(|message| matches!(message, Ok(Message::Record(_)))).count()
    };
    assert_eq!(answers(&mut node, "b", 5_000), 1_024);
    assert_eq!(answers(&mut node, "c", 10), 10);
    let verify =
        Verify { subject: id("d").0, incarnation: wire(0), round: 1.into(), elapsed_ms: 0.into() };
    (0..1_000).for_each(|_| tell_body(&mut node, at(1_000), "b", &verify));
    // Forged ones: each would cost a signature check.
    let mut forged = record("c", 9, "forged").envelope().to_vec();
    let end = forged.len() - 1;
    forged[end] ^= 1;
    (0..3_000).for_each(|_| tell(&mut node, at(1_000), "b", kind::RECORD, &forged));
    let rejected = node.stats().rejected;
    assert_eq!((rejected["pull-budget"], rejected["verify-budget"]), (3_976, 900));
    assert_eq!(rejected["record-budget"], 952);
    tell(&mut node, at(1_000), "c", kind::RECORD, record("c", 1, "mine").envelope());
    assert_eq!(region(&node, "c"), "mine");
}

/// Rules S-7 and G-6: a ping of fifteen bytes whose digest names what its sender lacks is worth so
/// many answers, and no more.
#[test]
fn who_shows_digests_without_end_is_told_a_few_times() {
    let mut node = acquainted(&["b", "c", "d"]);
    let told = |node: &mut Node, from| {
        let lacks = node.member(id("d")).unwrap().share();
        let digest = node.table().digest() ^ lacks;
        for sequence in 0..200 {
            let ping = Ping { sequence: sequence.into(), digest: digest.into() };
            tell_body(node, at(1_000), from, &ping);
        }
        let sent = drain(node, at(1_000));
        let messages = sent.iter().flat_map(|(_, bytes)| Messages::new(bytes));
        messages.filter(|message| matches!(message, Ok(Message::Record(_)))).count()
    };
    assert_eq!(told(&mut node, "b"), 8);
    assert_eq!(node.stats().rejected["lacking-budget"], 192);
    assert_eq!(told(&mut node, "c"), 8, "it is its own budget");
}

/// Rule S-7: who brings a state is told from what in it is forged.
#[test]
fn forged_entries_of_a_state_are_counted() {
    let mut node = acquainted(&["b", "c"]);
    let mut forged = entry(State::Alive, &record("c", 9, "forged"));
    let signature = forged.len() - Names::of("c").leaf.len() - 1;
    forged[signature] ^= 1;
    let good = entry(State::Alive, &record("d", 0, "r"));
    let state_of_b = [&*forged, &*good, &*forged, &*good, &*forged].concat();
    assert_eq!(node.handle_sync(at(1_000), id("b"), &state_of_b), 3);
    assert_eq!((state(&node, "d"), region(&node, "c")), (Some(State::Alive), "r".into()));
    assert_eq!(node.handle_sync(at(1_000), id("b"), &good), 0);
}

/// Believes the certificate `operator` and counts how often it is asked to.
struct Counting(Names, AtomicUsize);

impl Authority for Counting {
    fn sign(&self, message: &[u8]) -> Option<Signature> {
        self.0.sign(message)
    }
    fn leaf(&self) -> &[u8] {
        self.0.leaf()
    }
    fn intermediates(&self) -> &[[u8; 32]] {
        self.0.intermediates()
    }
    fn verify(&self, claim: &Claim<'_>) -> Result<(), PeerError> {
        self.0.verify(claim)
    }
    fn verify_operator(&self, claim: &OperatorClaim<'_>) -> Result<(), PeerError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        let by = Names { leaf: claim.leaf.to_vec(), salt: claim.signature[0] };
        let holds = claim.leaf == b"operator"
            && by.sign(claim.message).is_some_and(|signature| signature.bytes == claim.signature);
        if holds { Ok(()) } else { Err(PeerError::Signature("no operator's")) }
    }
}

fn order(of: &str) -> Vec<u8> {
    let sentence = Sentence {
        cluster_id: CLUSTER,
        subject: id(of),
        incarnation: stage::incarnation(0),
        issued: WallTime(BORN),
        lifetime: Duration::from_secs(3_600),
    };
    sentence.sign(&Names { leaf: b"operator".to_vec(), salt: 1 }).unwrap()
}

/// Rules S-7 and S-14: an order costs a chain's proof, so one that is in force is not proven again,
/// and for one member so many at once and ten a second are, whole ones and those in parts.
#[test]
fn orders_come_out_of_the_budget_of_who_brings_them() {
    let authority = Arc::new(Counting(Names::of("a"), AtomicUsize::new(0)));
    let proven = || authority.1.load(Ordering::Relaxed);
    let born = Birth { authority: authority.clone(), ..birth("a") };
    let mut node = introduced(Node::new(at(0), born).unwrap(), &["b", "c", "d", "e"]);
    let good = order("d");
    (0..1_000).for_each(|_| tell(&mut node, at(1_000), "b", kind::FORCE_LEAVE, &good));
    assert_eq!((state(&node, "d"), proven()), (Some(State::Left), 1), "replayed");
    // Forged ones, each another: half of them whole, the others as a part that is all there is.
    let mut forged = order("e");
    let signature = forged.len() - b"operator".len() - 2;
    for number in 0..1_000_u16 {
        forged[signature..signature + 2].copy_from_slice(&number.to_le_bytes());
        let mut in_parts = parts::split(kind::FORCE_LEAVE, &forged, 1_000);
        match in_parts.next().filter(|_| number % 2 == 0) {
            Some((header, all)) => {
                let body = [header.as_bytes(), all].concat();
                tell(&mut node, at(1_000), "b", kind::PART, &body);
            }
            None => tell(&mut node, at(1_000), "b", kind::FORCE_LEAVE, &forged),
        }
    }
    assert_eq!(proven(), 64);
    assert_eq!(node.stats().rejected["order-budget"], 937);
    assert_eq!(state(&node, "e"), Some(State::Alive));
    // Nobody else's word is late for it.
    tell(&mut node, at(1_000), "c", kind::FORCE_LEAVE, &order("e"));
    assert_eq!((state(&node, "e"), proven()), (Some(State::Left), 65));
    (0..99).for_each(|_| tell(&mut node, at(2_000), "b", kind::FORCE_LEAVE, &forged));
    assert_eq!(proven(), 75, "ten a second");
}
