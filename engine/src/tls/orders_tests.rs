//! Operators' orders under real certificates: obeyed, and not (rule S-14).

use std::time::Duration;

use mesh_gossip_proto::wire::message::kind;
use mesh_gossip_proto::{
    Alarm, Command, CommandError, Event, Incarnation, LeftReason, SignedRecord, State, WallTime,
};

use crate::bootstrap::{CertificateAuthority, Subject};
use crate::tls::certificates_tests::unix;
use crate::tls::certificates_tests::{CLUSTER, DAY, TRUST_DOMAIN, issue, list_of, mesh_ca, start};
use crate::tls::forgery_tests::{Court, id, incarnation, now_ms, record};
use crate::tls::operator::{Operator, OperatorError};
use crate::tls::trust::Trust;

const HOUR: Duration = Duration::from_secs(3_600);

fn operator(ca: &CertificateAuthority) -> Operator {
    let issued = ca.issue(&Subject::new("console", "operator"), start(), DAY).unwrap();
    Operator::load(&issued.tls_options(ca)).unwrap()
}

fn order(by: &Operator, of: usize, incarnation: Incarnation) -> Vec<u8> {
    by.force_leave(id(of), incarnation, WallTime(now_ms()), HOUR).unwrap()
}

/// Rule S-14: a member is gone by an operator's word, its life is over, and the order goes on.
#[test]
fn an_order_is_obeyed_and_passed_on() {
    let ca = mesh_ca();
    let mut court = Court::under(&ca);
    let bytes = order(&operator(&ca), 1, incarnation(0));
    court.node.handle_command(court.now, Command::ForceLeave(bytes.clone())).unwrap();
    court.drain();
    assert_eq!(court.sees(1), Some(State::Left));
    let told = court.sent_of(kind::FORCE_LEAVE);
    assert!(told.len() >= 3 && told.iter().all(|(_, body)| *body == bytes), "{}", told.len());
    let events: Vec<Event> = std::iter::from_fn(|| court.node.poll_event()).collect();
    assert!(events.contains(&Event::Alarm(Alarm::OrderedOut(id(1)))));
    let left = |event: &Event| matches!(event, Event::Left { reason: LeftReason::Left, .. });
    assert_eq!(events.iter().filter(|event| left(event)).count(), 1);

    // Whoever hears of it from a member does the same, once.
    let mut court = Court::under(&ca);
    court.hears(3, kind::FORCE_LEAVE, &bytes);
    assert_eq!(court.sees(1), Some(State::Left));
    let told = court.sent_of(kind::FORCE_LEAVE).len();
    assert!(told >= 3);
    court.hears(4, kind::FORCE_LEAVE, &bytes);
    assert_eq!(court.sent_of(kind::FORCE_LEAVE).len(), told, "it is known");

    // That life is over, and the next one is another matter: the order says nothing of it.
    let signed =
        |counter| SignedRecord::author(record(1, counter), court.members[1].as_ref()).unwrap();
    let (old, new) = (signed(0), signed(1));
    court.hears(2, kind::RECORD, old.envelope());
    assert_eq!(court.sees(1), Some(State::Left));
    court.hears(1, kind::RECORD, new.envelope());
    assert_eq!(court.sees(1), Some(State::Alive));
    court.hears(3, kind::FORCE_LEAVE, &bytes);
    assert_eq!(court.sees(1), Some(State::Alive), "replayed");
    court.hears(3, kind::FORCE_LEAVE, &order(&operator(&ca), 1, incarnation(0)));
    assert_eq!((court.sees(1), court.counted("stale-order")), (Some(State::Alive), 1), "repeated");
}

/// Rule S-14: whoever missed it is told when it shows that it did.
#[test]
fn whoever_lives_on_against_an_order_is_told() {
    let ca = mesh_ca();
    let mut court = Court::under(&ca);
    court.hears(3, kind::FORCE_LEAVE, &order(&operator(&ca), 1, incarnation(0)));
    court.sent.clear();
    court.hears(1, kind::HINT, &id(9).0);
    assert_eq!(court.sent_of(kind::FORCE_LEAVE).iter().filter(|(to, _)| *to == id(1)).count(), 1);

    // The one that it names leaves, as its host would have had it do.
    let mut court = Court::under(&ca);
    let own = court.node.local().record().incarnation;
    court.hears(3, kind::FORCE_LEAVE, &order(&operator(&ca), 0, own));
    assert!(!court.sent_of(kind::RECORD).is_empty(), "its signed leave");
    let events: Vec<Event> = std::iter::from_fn(|| court.node.poll_event()).collect();
    assert!(events.contains(&Event::Alarm(Alarm::OrderedOut(id(0)))));
    court.until(10_000);
    let last = std::iter::from_fn(|| court.node.poll_event()).last();
    assert!(matches!(last, Some(Event::LeaveComplete { .. })), "{last:?}");
}

/// Rule S-14: an order of somebody else, of another cluster, for another life, or of another time is
/// none, and is counted.
#[test]
fn an_order_that_does_not_hold_changes_nothing() {
    let ca = mesh_ca();
    let by = operator(&ca);
    let good = order(&by, 1, incarnation(0));
    let mut tampered = good.clone();
    tampered[12] ^= 1;
    let stranger = order(&operator(&mesh_ca()), 1, incarnation(0));
    let elsewhere = CertificateAuthority::create(
        TRUST_DOMAIN,
        "another",
        start(),
        crate::bootstrap::CaValidity::default(),
    );
    let elsewhere = order(&operator(&elsewhere.unwrap()), 1, incarnation(0));
    let at = |issued: u64| by.force_leave(id(1), incarnation(0), WallTime(issued), HOUR).unwrap();
    let minutes = |n: u64| n * 60_000;
    let cases = [
        (tampered, "order-signature"),
        (stranger, "order-signature"),
        (elsewhere, "foreign-cluster"),
        (at(now_ms() - minutes(61)), "order-time"),
        (at(now_ms() + minutes(11)), "order-time"),
        (good[..good.len() - 1].to_vec(), "decode"),
    ];
    for (bytes, reason) in cases {
        let mut court = Court::under(&ca);
        court.hears(3, kind::FORCE_LEAVE, &bytes);
        assert_eq!((court.sees(1), court.counted(reason)), (Some(State::Alive), 1), "{reason}");
        assert!(court.sent_of(kind::FORCE_LEAVE).is_empty());
        let refused = court.node.handle_command(court.now, Command::ForceLeave(bytes));
        match refused {
            Err(CommandError::NoOrder(_)) => assert_eq!(reason, "decode"),
            Err(CommandError::Order(_)) => assert_ne!(reason, "decode"),
            other => panic!("{reason}: {other:?}"),
        }
    }
    // A life that has ended, one that we have not heard of, and one that nobody can have begun.
    let later = Incarnation { generation: now_ms() + minutes(11), counter: 0 };
    for (of, reason) in [(incarnation(1), None), (later, Some("order-time"))] {
        let mut court = Court::under(&ca);
        let bytes = order(&by, 1, of);
        court.hears(3, kind::FORCE_LEAVE, &bytes);
        assert_eq!(court.sees(1), Some(State::Alive));
        assert_eq!(reason.map_or(0, |reason| court.counted(reason)), reason.map_or(0, |_| 1));
        let refused = court.node.handle_command(court.now, Command::ForceLeave(bytes));
        assert!(matches!(refused, Err(CommandError::Order(_))), "{refused:?}");
    }
    assert!(matches!(
        by.force_leave(id(1), incarnation(0), WallTime(now_ms()), HOUR * 25),
        Err(OperatorError::Lifetime(_))
    ));
}

/// Rules S-14 and S-16: members are no operators, and a revoked operator is none.
#[test]
fn only_an_operator_in_good_standing_orders() {
    let ca = mesh_ca();
    let member = issue(&ca, "m2");
    assert!(matches!(Operator::load(&member.tls_options(&ca)), Err(OperatorError::Identity(_))));
    // A member that signs all the same.
    let mut court = Court::under(&ca);
    let sentence = mesh_gossip_proto::membership::order::Sentence {
        cluster_id: CLUSTER,
        subject: id(1),
        incarnation: incarnation(0),
        issued: WallTime(now_ms()),
        lifetime: HOUR,
    };
    let bytes = sentence.sign(court.members[2].as_ref()).unwrap();
    court.hears(2, kind::FORCE_LEAVE, &bytes);
    assert_eq!((court.sees(1), court.counted("order-signature")), (Some(State::Alive), 1));

    let issued = ca.issue(&Subject::new("console", "operator"), start(), DAY).unwrap();
    let by = Operator::load(&issued.tls_options(&ca)).unwrap();
    let verifier = court.members[0].credentials().verifier().clone();
    let mut trust = Trust::clone(&verifier.trust().load());
    trust.take_list(&list_of(&ca, 1, &[&issued.serial]), unix(start())).unwrap();
    verifier.trust().replace(trust);
    court.hears(2, kind::FORCE_LEAVE, &order(&by, 1, incarnation(0)));
    assert_eq!((court.sees(1), court.counted("order-signature")), (Some(State::Alive), 2));
}
