//! Both tables in step: whatever happens to them, they answer alike.

use std::cell::RefCell;

use mesh_gossip_proto::membership::record::first_record;
use mesh_gossip_proto::{Incarnation, Metadata, SignedRecord};
use proptest::prelude::*;

use super::*;
use crate::authority::{ModelAuthority, Notary};
use mesh_gossip_proto::DenseTable;

const CLUSTER: &str = "sim";
/// Members beyond those of the base, some of whom nobody expected.
const MEMBERS: u8 = 40;
/// Enough that one of them may disagree with a base.
const TABLES: usize = FEW_OF + 2;

fn name(index: usize) -> String {
    format!("n{index}")
}

fn config() -> Config {
    Config { rings: 3, ..Config::new(CLUSTER) }
}

/// A record is one for all who hold it, as in a world.
fn member(index: u8, state: State, generation: u64, since: u64) -> Member {
    thread_local! {
        static MADE: RefCell<HashMap<(u8, u64), Arc<SignedRecord>>> = RefCell::default();
    }
    let record = MADE.with_borrow_mut(|made| {
        made.entry((index, generation)).or_insert_with(|| record(index, generation)).clone()
    });
    Member { record, state, since: Instant::from_nanos(since) }
}

fn record(index: u8, generation: u64) -> Arc<SignedRecord> {
    let name = name(index.into());
    let authority = ModelAuthority::new(&name, 0, Notary::default());
    let metadata = Metadata {
        node_id: name,
        role: "worker".into(),
        region: "r1".into(),
        mesh_version: "1".into(),
        ..Metadata::default()
    };
    let incarnation = Incarnation { generation, counter: 0 };
    let record = first_record(CLUSTER, incarnation, Vec::new(), metadata);
    Arc::new(SignedRecord::author(record, &authority).expect("it signs"))
}

/// What happens to a table.
#[derive(Clone, Debug)]
enum Deed {
    Put(u8, State, u64),
    /// One of the tables does not hear of it.
    PutButOne(u8, State, u64),
    Remove(u8),
    Fold,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let state = prop::sample::select(State::ALL.to_vec());
    let put = (0..MEMBERS, state, 0u64..3);
    let deed = prop_oneof![
        6 => put.clone().prop_map(|(index, state, g)| Deed::Put(index, state, g)),
        2 => put.prop_map(|(index, state, g)| Deed::PutButOne(index, state, g)),
        2 => (0..MEMBERS).prop_map(Deed::Remove),
        1 => Just(Deed::Fold),
    ];
    prop::collection::vec(deed, 0..120)
}

fn id(index: u8) -> MemberId {
    MemberId::derive(CLUSTER, &name(index.into()))
}

/// What a table says of a member, its own moment included.
fn told<T: MemberTable>(table: &T, member: &Member) -> Member {
    Member { since: table.since(member), ..member.clone() }
}

fn alike(dense: &DenseTable, shared: &SharedTable, seed: u64) -> Result<(), TestCaseError> {
    prop_assert_eq!(dense.len(), shared.len());
    prop_assert_eq!(dense.counts(), shared.counts());
    prop_assert_eq!(dense.digest(), shared.digest());
    for list in [List::Present, List::Departed] {
        let listed: Vec<Member> = dense.members(list).cloned().collect();
        let others: Vec<Member> = shared.members(list).map(|m| told(shared, m)).collect();
        prop_assert_eq!(listed, others, "in one order");
        for draw in 0..8 {
            let mut rngs = [0; 2].map(|_| fastrand::Rng::with_seed(seed ^ draw));
            let [first, second] = &mut rngs;
            let drawn = shared.sample(list, second).map(|member| told(shared, member));
            prop_assert_eq!(dense.sample(list, first), drawn.as_ref());
            prop_assert_eq!(rngs[0].u64(..), rngs[1].u64(..), "the same numbers are taken");
        }
    }
    // One of them is nobody's.
    for index in 0..=MEMBERS {
        let held = shared.get(id(index)).map(|member| told(shared, member));
        prop_assert_eq!(dense.get(id(index)), held.as_ref());
        for ring in 0..config().rings {
            let walks = (dense.before(ring, id(index)), shared.before(ring, id(index)));
            prop_assert_eq!(walks.0.collect::<Vec<_>>(), walks.1.collect::<Vec<_>>());
            let walks = (dense.after(ring, id(index)), shared.after(ring, id(index)));
            prop_assert_eq!(walks.0.collect::<Vec<_>>(), walks.1.collect::<Vec<_>>());
        }
    }
    let sorted = |view: &View| {
        let mut members: Vec<Member> = view.members().cloned().collect();
        members.sort_unstable_by_key(Member::id);
        members
    };
    let views = (dense.view(id(0), 7, Instant::ORIGIN), shared.view(id(0), 7, Instant::ORIGIN));
    prop_assert_eq!(sorted(&views.0), sorted(&views.1));
    prop_assert_eq!(views.0.digest(), views.1.digest());
    prop_assert_eq!(views.0.counts(), views.1.counts());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Rule D-1: who stands where follows from who is a member alone, in either table.
    #[test]
    fn a_shared_table_answers_as_a_dense_one(
        base in 0..MEMBERS,
        expected in 0..MEMBERS,
        deeds in deeds(),
        seed in any::<u64>(),
    ) {
        let base: Vec<Member> = (0..base).map(|index| member(index, State::Alive, 0, 0)).collect();
        let mut common = SharedTable::common(&config());
        SharedTable::expect(&mut common, expected.into(), |index| id(index as u8));
        SharedTable::fill(&mut common, &config(), base.clone());
        // Most live through the same, each at moments of its own, so that they agree on what differs
        // from the base; the last but one misses some of it, and the last began with nothing.
        let mut shared: Vec<_> = (0..TABLES - 1).map(|_| SharedTable::full(&common)).collect();
        shared.push(SharedTable::empty(&common, &config()));
        let mut tables: Vec<(DenseTable, SharedTable)> = shared
            .into_iter()
            .map(|shared| (DenseTable::for_cluster(CLUSTER, config().rings), shared))
            .collect();
        for (number, (dense, shared)) in tables.iter_mut().enumerate() {
            base.iter().cloned().for_each(|member| dense.put(member));
            if number == TABLES - 1 {
                base.iter().cloned().for_each(|member| shared.put(member));
            }
            alike(dense, shared, seed)?;
        }
        for (step, deed) in (1u64..).zip(deeds) {
            if let Deed::Fold = deed {
                let shared = tables.iter().map(|(_, shared)| shared);
                SharedTable::fold_from(&mut common, shared, 1);
                continue;
            }
            for (number, (dense, shared)) in tables.iter_mut().enumerate() {
                let moment = step * 100 + number as u64;
                match deed {
                    Deed::PutButOne(..) if number == TABLES - 2 => {}
                    Deed::Put(index, state, g) | Deed::PutButOne(index, state, g) => {
                        let member = member(index, state, g, moment);
                        dense.put(member.clone());
                        shared.put(member);
                    }
                    Deed::Remove(index) => {
                        dense.remove(id(index));
                        shared.remove(id(index));
                    }
                    Deed::Fold => {}
                }
            }
        }
        for number in [0, 1, TABLES - 2, TABLES - 1] {
            let (dense, shared) = &tables[number];
            alike(dense, shared, seed)?;
        }
    }
}

/// Nearly all of so many do not hear of something, as one of [`FEW_OF`] may.
#[test]
fn a_base_tells_nobody_another_moment_and_nobody_what_it_did_not_hear() {
    let mut common = SharedTable::common(&config());
    let base = (0..MEMBERS).map(|index| member(index, State::Alive, 0, 0)).collect();
    SharedTable::fill(&mut common, &config(), base);
    let mut tables: Vec<_> = (0..TABLES).map(|_| SharedTable::full(&common)).collect();
    let (deaf, hearing) = tables.split_last_mut().expect("there are some");
    for (number, table) in (0..).zip(hearing.iter_mut()) {
        (0..20).for_each(|index| table.put(member(index, State::Dead, 0, 100 + number)));
    }
    let since = |table: &SharedTable, index| {
        table.get(id(index)).map(|m| (m.state, table.since(m).as_nanos()))
    };
    SharedTable::fold(&mut common, hearing.iter().chain([&*deaf]));
    for (number, table) in (0..).zip(hearing.iter_mut()) {
        table.put(member(30, State::Suspect, 0, 500));
        assert_eq!((table.delta.len(), table.counts().dead), (1, 20), "the rest is common");
        assert_eq!(since(table, 7), Some((State::Dead, 100 + number)), "table {number}");
    }
    deaf.put(member(30, State::Suspect, 0, 500));
    assert_eq!((deaf.delta.len(), deaf.counts().dead), (21, 0));
    assert_eq!(since(deaf, 7), Some((State::Alive, 0)));
}

#[test]
fn what_all_agree_on_becomes_the_base() {
    let members = 100;
    let mut common = SharedTable::common(&config());
    let base = (0..members).map(|index| member(index, State::Alive, 0, 0)).collect();
    SharedTable::fill(&mut common, &config(), base);
    let mut tables = [0; 5].map(|_| SharedTable::full(&common));
    for index in 0..50 {
        let died = member(index, State::Dead, 0, 9);
        tables.iter_mut().for_each(|table| table.put(died.clone()));
    }
    assert!(tables.iter().all(|table| table.delta.len() == 50));
    SharedTable::fold(&mut common, tables.iter());
    let news = member(60, State::Suspect, 0, 10);
    tables.iter_mut().for_each(|table| table.put(news.clone()));
    assert!(tables.iter().all(|table| table.delta.len() == 1 && table.counts().dead == 50));
}
