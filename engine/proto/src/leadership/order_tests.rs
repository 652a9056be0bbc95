//! The order of succession: the same for all, steady, and a promise.

use alloc::sync::Arc;
use std::string::String;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::member::{Incarnation, State};
use crate::membership::record::{NodeRecord, SignedRecord, first_record};
use crate::membership::record_tests::HashAuthority;
use crate::metadata::Metadata;
use crate::time::Instant;

const CLUSTER: &str = "c";

fn member(name: &str, edit: impl FnOnce(&mut NodeRecord)) -> Member {
    let metadata = Metadata {
        node_id: name.into(),
        role: "worker".into(),
        region: "r1".into(),
        mesh_version: "1".into(),
        ..Metadata::default()
    };
    let incarnation = Incarnation { generation: 1, counter: 0 };
    let mut record = first_record(CLUSTER, incarnation, Vec::new(), metadata);
    edit(&mut record);
    let record = Arc::new(SignedRecord::author(record, &HashAuthority).unwrap());
    Member { record, state: State::Alive, since: Instant::ORIGIN }
}

fn ready(scopes: &[&Scope]) -> impl Fn(&mut NodeRecord) {
    let stands: Vec<u64> = scopes.iter().map(|scope| scope.definition()).collect();
    move |record| {
        record.standing = Some(Standing { stands: stands.clone(), terms: Vec::new() }.into());
    }
}

fn view(members: &[Member]) -> View {
    View::of(members.iter().cloned(), MemberId::derive(CLUSTER, "n0"), 1, Instant::ORIGIN)
}

fn names(view: &View, order: &[MemberId]) -> Vec<String> {
    let name = |id: &MemberId| view.member(*id).unwrap().record.record().metadata.node_id.clone();
    order.iter().map(name).collect()
}

/// Rule E-1: these numbers are a promise: members of different builds have to agree.
#[test]
fn golden_order() {
    let members: Vec<Member> = (0..8).map(|n| member(&std::format!("n{n}"), |_| {})).collect();
    let view = view(&members);
    let of = |text: &str| names(&view, &succession(&view, &Scope::parse(text).unwrap(), 3));
    assert_eq!(score(1, MemberId([0; 16])).0, 0x910a_2dec_8902_5cc1);
    assert_eq!(of("control"), ["n0", "n7", "n5"]);
    assert_eq!(of("ingest"), ["n6", "n1", "n7"]);
}

/// Rule E-2: present, active, of the right role and region, and ready.
#[test]
fn only_members_that_may_lead_stand_in_the_order() {
    let scope = Scope::parse("x; role=gateway; region=eu").unwrap();
    let base = |name: &str, edit: &dyn Fn(&mut NodeRecord)| {
        member(name, |record| {
            record.metadata.role = "gateway".into();
            record.metadata.region = "eu".into();
            ready(&[&scope])(record);
            edit(record);
        })
    };
    let mut members = std::vec![
        base("fine", &|_| {}),
        base("suspect", &|_| {}),
        base("role", &|record| record.metadata.role = "worker".into()),
        base("region", &|record| record.metadata.region = "us".into()),
        base("draining", &|record| record.lifecycle = Lifecycle::Draining),
        base("cordoned", &|record| record.lifecycle = Lifecycle::Cordoned),
        base("dead", &|_| {}),
        base("left", &|_| {}),
        base("unready", &|record| record.standing = None),
        base("otherwise", &ready(&[&Scope::parse("x; role=gateway").unwrap()])),
    ];
    for (at, state) in [(1, State::Suspect), (6, State::Dead), (7, State::Left)] {
        members[at].state = state;
    }
    let seen = view(&members);
    let mut order = names(&seen, &succession(&seen, &scope, 16));
    order.sort_unstable();
    assert_eq!(order, ["fine", "suspect"], "a doubt differs from view to view, and is no verdict");
    // A scope that nobody stands for is answered by who would suit.
    for member in &mut members {
        let mut record = member.record.record().clone();
        record.standing = None;
        member.record = Arc::new(SignedRecord::author(record, &HashAuthority).unwrap());
    }
    let seen = view(&members);
    let mut order = names(&seen, &succession(&seen, &scope, 16));
    order.sort_unstable();
    assert_eq!(order, ["fine", "otherwise", "suspect", "unready"]);
}

/// Rule E-3: of the claims the highest counts, of equal ones the preferred; claims of members that
/// may not lead are remembered and count for nothing.
#[test]
fn the_highest_claim_counts_and_the_preferred_of_two_equal_ones() {
    let scope = Scope::global("x");
    let definition = scope.definition();
    let claiming = |name: &str, number: u64, held: bool, definition: u64| {
        member(name, |record| {
            let term = Term { scope: "x".into(), definition, number, since: WallTime(7), held };
            record.standing =
                Some(Standing { stands: [scope.definition()].into(), terms: [term].into() }.into());
        })
    };
    let poll = |members: &[Member]| {
        let mut poll = Poll::default();
        members.iter().for_each(|member| poll.count(&scope, definition, member));
        let backwards = members.iter().rev().fold(Poll::default(), |mut poll, member| {
            poll.count(&scope, definition, member);
            poll
        });
        assert_eq!(poll, backwards, "the order of counting makes no difference");
        poll
    };
    let [a, b] = ["a", "b"].map(|name| claiming(name, 3, true, definition));
    let first = if score(definition, a.id()) > score(definition, b.id()) { &a } else { &b };
    let seen = poll(&[a.clone(), b.clone(), claiming("c", 2, true, definition)]);
    assert_eq!(seen.best.map(|best| (best.member, best.term)), Some((first.id(), 3)));
    assert!(seen.rivals);
    let seen = poll(&[
        a.clone(),
        claiming("witness", 9, false, definition),
        claiming("elsewhere", 8, true, !definition),
    ]);
    assert_eq!(seen.best, Some(Claim { member: a.id(), term: 3, since: WallTime(7) }));
    assert_eq!((seen.rivals, seen.recorded), (false, 9));
}

proptest! {
    /// Rules E-1 and E-2: nobody's coming or going moves anybody but itself, and the order of
    /// arrival does not matter.
    #[test]
    fn the_order_is_steady(count in 1usize..24, gone in 0usize..24, turn in 0usize..24) {
        let scope = Scope::global("x");
        let mut members: Vec<Member> =
            (0..count).map(|n| member(&std::format!("n{n}"), ready(&[&scope]))).collect();
        let all = succession(&view(&members), &scope, count);
        prop_assert_eq!(all.len(), count);
        members.rotate_left(turn % count);
        prop_assert_eq!(&succession(&view(&members), &scope, count), &all);
        let gone = members.swap_remove(gone % count).id();
        let rest: Vec<MemberId> = all.iter().copied().filter(|id| *id != gone).collect();
        prop_assert_eq!(&succession(&view(&members), &scope, count), &rest);
        let few = succession(&view(&members), &scope, 3);
        prop_assert_eq!(&few[..], &rest[..rest.len().min(3)]);
    }
}

/// Rule E-1: scopes spread over the members.
#[test]
fn many_scopes_have_many_leaders() {
    let members: Vec<Member> = (0..16).map(|n| member(&std::format!("n{n}"), |_| {})).collect();
    let view = view(&members);
    let mut led = std::collections::BTreeMap::new();
    for n in 0..1_600 {
        let first = succession(&view, &Scope::global(&std::format!("shard-{n}")), 1);
        *led.entry(first[0]).or_insert(0) += 1;
    }
    // 100 each; six standard deviations are 58.
    assert!(led.len() == 16 && led.values().all(|count| (42..=158).contains(count)), "{led:?}");
}
