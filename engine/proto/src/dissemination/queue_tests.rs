//! How often updates are sent, and when they are done.

use super::*;
use crate::member::{Incarnation, State};
use crate::membership::record::RecordHash;
use crate::time::Duration;
use crate::wire::message::{Message, Messages};
use std::vec::Vec;

/// In a cluster of a hundred.
fn of(sends: u32) -> Need {
    Need { sends, others: 99 }
}

const NOW: Instant = Instant::ORIGIN;

fn id(n: u8) -> MemberId {
    MemberId([n; 16])
}

fn filling(sends: u32, burst: u64) -> Filling {
    Filling { sends, burst, carrier: Carrier::Any, to: id(0) }
}

fn update(n: u8, counter: u32) -> Claim {
    let incarnation = Incarnation { generation: 1, counter };
    Claim::Update(Update::new(id(n), incarnation, State::Alive, RecordHash(u64::from(counter))))
}

fn take(queue: &mut Queue, limit: usize, sends: u32) -> Vec<(u8, u32)> {
    let mut packet = Packet::default();
    queue.fill(NOW, &mut packet, limit, filling(sends, 0));
    Messages::new(packet.as_bytes())
        .map(|message| match message {
            Ok(Message::Update(update)) => (update.id[0], update.incarnation.counter.get()),
            other => panic!("{other:?}"),
        })
        .collect()
}

/// Rule G-1: λ·⌈log10(n+1)⌉, never below eight.
#[test]
fn the_transmit_limit_follows_the_configured_multiplier() {
    for (lambda, members, expected) in
        [(4, 3, 8), (4, 9, 8), (4, 99, 8), (4, 100, 12), (3, 1_000, 12), (4, 100_000, 24)]
    {
        let found = transmit_limit(lambda, members, LEAST_SENDS);
        assert_eq!(found, expected, "λ {lambda}, n {members}");
    }
}

/// Rule G-1: an update is sent exactly as often as its limit, then never again.
#[test]
fn an_update_stops_at_its_limit() {
    let mut queue = Queue::default();
    queue.push(NOW, id(1), update(1, 0), 100);
    let sent = (0..40).filter(|_| !take(&mut queue, 1_168, 8).is_empty()).count();
    assert_eq!(sent, 8);
    assert!(queue.is_empty() && queue.order.is_empty());
}

/// Rule G-2: fewest sends first, then the newest; one entry a member, the newest claim.
#[test]
fn the_least_sent_goes_first_and_a_newer_claim_replaces() {
    let mut queue = Queue::default();
    queue.push(NOW, id(1), update(1, 0), 100);
    queue.push(NOW, id(2), update(2, 0), 100);
    let one = 43;
    assert_eq!(take(&mut queue, one, 8), [(2, 0)], "the newest of the unsent");
    assert_eq!(take(&mut queue, one, 8), [(1, 0)], "then the other unsent one");
    queue.push(NOW, id(3), update(3, 0), 100);
    assert_eq!(take(&mut queue, one, 8), [(3, 0)]);
    queue.push(NOW, id(1), update(1, 7), 100);
    assert_eq!(queue.len(), 3);
    assert_eq!(take(&mut queue, one, 8), [(1, 7)], "a newer claim starts afresh");
}

#[test]
fn a_full_queue_drops_the_most_sent() {
    let mut queue = Queue::default();
    queue.push(NOW, id(1), update(1, 0), 2);
    take(&mut queue, 1_168, 8);
    assert_eq!(queue.push(NOW, id(2), update(2, 0), 2), 0);
    assert_eq!(queue.push(NOW, id(3), update(3, 0), 2), 1);
    let mut left: Vec<_> = take(&mut queue, 1_168, 8).iter().map(|(n, _)| *n).collect();
    left.sort_unstable();
    assert_eq!(left, [2, 3]);
}

/// Rule G-3: the datagrams of one burst to one target bring it different updates.
#[test]
fn a_burst_brings_each_update_once() {
    let mut queue = Queue::default();
    for n in 0..40 {
        queue.push(NOW, id(n), update(n, 0), 100);
    }
    let fill = |queue: &mut Queue, burst| {
        queue.fill(NOW, &mut Packet::default(), 1_168, filling(8, burst))
    };
    let first: Vec<_> = (0..3).map(|_| fill(&mut queue, 1)).collect();
    assert_eq!(first, [27, 13, 0]);
    assert_eq!(fill(&mut queue, 2), 27, "another target");
    let sent: u32 = queue.entries.values().map(|entry| entry.sends).sum();
    assert_eq!(sent, 67);
}

/// Rule G-5: the age of the queue is that of the oldest update that was never sent.
#[test]
fn the_oldest_unsent_is_known() {
    let at = |ms| NOW + Duration::from_millis(ms);
    let mut queue = Queue::default();
    assert_eq!(queue.unsent_since(), None);
    for n in 1..=3 {
        queue.push(at(u64::from(n)), id(n), update(n, 0), 100);
    }
    assert_eq!(queue.unsent_since(), Some(at(1)));
    take(&mut queue, 2 * 43, 8);
    assert_eq!(queue.unsent_since(), Some(at(1)), "the newest two went");
    queue.push(at(9), id(1), update(1, 1), 100);
    assert_eq!(queue.unsent_since(), Some(at(9)), "a newer claim is as old as itself");
    take(&mut queue, 43, 8);
    assert_eq!(queue.unsent_since(), None);
}

fn death(n: u8) -> Claim {
    let incarnation = Incarnation::default().into();
    let (age_ms, proof) = (0.into(), 0.into());
    let death = Death { id: id(n).0, incarnation, announcer: [0; 16], age_ms, proof };
    Claim::Death { death, since: NOW }
}

/// Sends what the queue has a datagram of its own for; says to how many.
fn tick(queue: &mut Queue, now: Instant) -> usize {
    let targets = queue.targets(now, 15, 16);
    for target in 0..targets {
        let to = id(200 + target as u8);
        let filling = Filling { sends: 16, burst: 0, carrier: Carrier::Any, to };
        queue.fill(now, &mut Packet::default(), 1_168, filling);
    }
    targets
}

/// Rule G-6: what comes once in a while is told at once, what comes all the time hardly ever in
/// datagrams of its own.
#[test]
fn frequent_updates_have_few_datagrams_of_their_own() {
    for (claim, alone) in [(update(1, 0), 2), (death(1), 3)] {
        let mut queue = Queue::new(true);
        let mut ticks = Vec::new();
        for second in 0..300 {
            let now = NOW + Duration::from_secs(second);
            queue.push(now, id(1), claim, 100);
            ticks.push(tick(&mut queue, now));
        }
        assert_eq!(ticks[..6], [15; 6], "{claim:?}");
        let late: usize = ticks[100..].iter().sum();
        assert!((200 * alone..=200 * alone + 26).contains(&late), "{claim:?}: {late}");
        let rested = NOW + Duration::from_secs(2_000);
        queue.push(rested, id(1), claim, 100);
        assert_eq!(tick(&mut queue, rested), 15, "{claim:?}: after a rest");
    }
}

/// Rule G-6: while many wait each is sent as often as the limit says, heard or not.
#[test]
fn many_updates_are_sent_as_often_as_ever() {
    let mut queue = Queue::new(true);
    for n in 0..=CALM as u8 {
        queue.push(NOW, id(n), update(n, 0), 100);
    }
    (0..=CALM as u8).for_each(|n| queue.heard(id(n), id(99), of(16)));
    queue.agreed(id(98), of(16));
    assert_eq!(queue.targets(NOW, 15, 16), 15);
    let sent: usize = (0..40).map(|_| take(&mut queue, 1_168, 16).len()).sum();
    assert_eq!(sent, 16 * (CALM + 1));
    assert!(queue.is_empty() && queue.order.is_empty());
}

/// Rule G-6: whoever brings what waits here, or agrees, has it; it is sent less often, and not
/// back.
#[test]
fn what_others_have_is_sent_less_often_and_not_back() {
    let mut queue = Queue::new(true);
    queue.push(NOW, id(1), death(1), 100);
    queue.heard(id(1), id(7), of(16));
    let to = |to| Filling { sends: 16, burst: 0, carrier: Carrier::Any, to };
    let fill = |queue: &mut Queue, filling| queue.fill(NOW, &mut Packet::default(), 1_168, filling);
    assert_eq!(fill(&mut queue, to(id(7))), 0, "it came from there");
    let told = Filling { carrier: Carrier::Told, ..to(id(8)) };
    assert_eq!(fill(&mut queue, told), 0, "nor to whom it was told");
    assert_eq!(fill(&mut queue, to(id(8))), 1);
    (10..15).for_each(|n| queue.agreed(id(n), of(16)));
    assert_eq!(queue.len(), 1, "seven of eight");
    (0..100).for_each(|_| queue.agreed(id(10), of(16)));
    (0..100).for_each(|_| queue.heard(id(1), id(7), of(16)));
    assert_eq!(queue.len(), 1, "whoever repeats itself tells nothing new");
    queue.heard(id(1), id(9), of(16));
    assert!(queue.is_empty() && queue.order.is_empty());

    let mut baseline = Queue::default();
    baseline.push(NOW, id(1), death(1), 100);
    (0..20).for_each(|_| baseline.heard(id(1), id(7), of(16)));
    baseline.agreed(id(8), of(16));
    let sent = (0..40).filter(|_| fill(&mut baseline, to(id(7))) > 0).count();
    assert_eq!(sent, 16, "a baseline counts its own sends alone");
}

/// Rule G-6: however many say that they have it, an update leaves whoever learned it once.
#[test]
fn what_was_never_sent_is_not_dropped() {
    let mut queue = Queue::new(true);
    queue.push(NOW, id(1), update(1, 0), 100);
    (10..60).for_each(|n| queue.agreed(id(n), of(16)));
    assert_eq!(take(&mut queue, 1_168, 16), [(1, 0)]);
    assert!(queue.is_empty() && queue.order.is_empty());
}

/// Rule G-6: where everybody has it by its own word, nothing is left to do, however few they are.
#[test]
fn what_all_have_is_dropped() {
    let mut queue = Queue::new(true);
    queue.push(NOW, id(1), update(1, 0), 100);
    let need = Need { sends: 16, others: 3 };
    queue.heard(id(1), id(7), need);
    queue.heard(id(1), id(8), need);
    (0..9).for_each(|_| queue.agreed(id(8), need));
    assert_eq!(queue.len(), 1, "one may lack it");
    queue.agreed(id(9), need);
    assert!(queue.is_empty() && queue.order.is_empty());
}

/// Rule G-1: a hot update takes 40 bytes, a death 64 with its frame.
#[test]
fn updates_are_small() {
    assert_eq!(size_of::<Update>(), 40);
    assert!(FRAME + size_of::<Death>() <= 64);
}

/// Rule H-3.
#[test]
fn verdicts_are_retracted_and_records_stay() {
    let mut queue = Queue::default();
    let incarnation = Incarnation::default().into();
    let doubt = Suspicion { id: id(2).0, incarnation, accuser: id(9).0 };
    queue.push(NOW, id(1), update(1, 0), 10);
    queue.push(NOW, id(2), Claim::Suspicion(doubt), 10);
    queue.retract_verdicts();
    assert_eq!((queue.len(), queue.order.len()), (1, 1));
    assert_eq!(take(&mut queue, 1_168, 8), [(1, 0)]);
}

#[test]
fn a_death_tells_its_age_when_it_is_sent() {
    let mut queue = Queue::default();
    let death = Death {
        id: id(1).0,
        incarnation: Incarnation::default().into(),
        announcer: id(2).0,
        age_ms: 0.into(),
        proof: 0.into(),
    };
    queue.push(NOW, id(1), Claim::Death { death, since: Instant::ORIGIN }, 10);
    let mut packet = Packet::default();
    let now = Instant::ORIGIN + Duration::from_millis(750);
    assert_eq!(queue.fill(now, &mut packet, 1_168, filling(8, 0)), 1);
    match Messages::new(packet.as_bytes()).next() {
        Some(Ok(Message::Death(death))) => assert_eq!(death.age_ms.get(), 750),
        other => panic!("{other:?}"),
    }
}
