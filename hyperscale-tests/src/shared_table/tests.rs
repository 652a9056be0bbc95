//! Both tables in step: whatever happens to them, they answer alike.

use mesh_gossip_proto::membership::record::first_record;
use mesh_gossip_proto::{Incarnation, Metadata, SignedRecord};
use proptest::prelude::*;

use super::*;
use crate::authority::{ModelAuthority, Notary};
use mesh_gossip_proto::DenseTable;

const CLUSTER: &str = "sim";
/// Members beyond those of the base, some of whom nobody expected.
const MEMBERS: u8 = 40;

fn name(index: usize) -> String {
    format!("n{index}")
}

fn config() -> Config {
    Config { rings: 3, ..Config::new(CLUSTER) }
}

fn member(index: u8, state: State, generation: u64, since: u64) -> Member {
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
    let record = Arc::new(SignedRecord::author(record, &authority).expect("it signs"));
    Member { record, state, since: Instant::from_nanos(since) }
}

/// What happens to a table.
#[derive(Clone, Debug)]
enum Deed {
    Put(u8, State, u64),
    Remove(u8),
    Fold,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let state = prop::sample::select(State::ALL.to_vec());
    let deed = prop_oneof![
        6 => (0..MEMBERS, state, 0u64..3).prop_map(|(index, state, g)| Deed::Put(index, state, g)),
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
        let mut dense = DenseTable::for_cluster(CLUSTER, config().rings);
        base.iter().cloned().for_each(|member| dense.put(member));
        let mut common = SharedTable::common(&config());
        SharedTable::expect(&mut common, expected.into(), |index| id(index as u8));
        SharedTable::fill(&mut common, &config(), base.clone());
        // Two live through the same, so that they agree on what differs from the base; a third
        // began with nothing.
        let mut tables = [SharedTable::full(&common), SharedTable::full(&common)];
        let mut late = SharedTable::empty(&common, &config());
        base.into_iter().for_each(|member| late.put(member));
        alike(&dense, &tables[0], seed)?;
        for (step, deed) in (1..).zip(deeds) {
            match deed {
                Deed::Put(index, state, generation) => {
                    let member = member(index, state, generation, step);
                    dense.put(member.clone());
                    tables.iter_mut().for_each(|table| table.put(member.clone()));
                    late.put(member);
                }
                Deed::Remove(index) => {
                    dense.remove(id(index));
                    tables.iter_mut().for_each(|table| table.remove(id(index)));
                    late.remove(id(index));
                }
                Deed::Fold => SharedTable::fold_from(&mut common, tables.iter(), 1),
            }
        }
        for table in tables.iter().chain([&late]) {
            alike(&dense, table, seed)?;
        }
    }
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
