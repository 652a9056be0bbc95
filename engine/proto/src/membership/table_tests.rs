//! The table against plain maps and sets, and what its views share.

use alloc::sync::Arc;
use std::collections::BTreeMap;
use std::format;
use std::vec::Vec;

use proptest::prelude::*;

use crate::member::{Incarnation, MemberId, State};
use crate::membership::chunks::WIDTH;
use crate::membership::digest;
use crate::membership::record::{SignedRecord, first_record};
use crate::membership::record_tests::HashAuthority;
use crate::membership::ring_tests::{Model as RingModel, Places};
use crate::membership::roster::List;
use crate::membership::table::{Counts, DenseTable, Member, MemberTable, draw};
use crate::metadata::Metadata;
use crate::time::Instant;

const RINGS: u8 = 3;

fn id(number: u32) -> MemberId {
    MemberId::derive("c", &format!("n{number}"))
}

fn member(number: u32, counter: u32, state: State) -> Member {
    let metadata = Metadata { node_id: format!("n{number}"), ..Metadata::default() };
    let incarnation = Incarnation { generation: 1, counter };
    let record = first_record("c", incarnation, Vec::new(), metadata);
    let record = Arc::new(SignedRecord::author(record, &HashAuthority).unwrap());
    Member { record, state, since: Instant::from_nanos(counter.into()) }
}

/// What the table should answer, by collections whose answers are plain.
struct Model {
    members: BTreeMap<MemberId, Member>,
    rings: RingModel<Places>,
}

impl Model {
    fn put(&mut self, member: Member) {
        if member.state.is_present() {
            self.rings.insert(member.id());
        } else {
            self.rings.remove(member.id());
        }
        self.members.insert(member.id(), member);
    }

    fn remove(&mut self, id: MemberId) {
        self.rings.remove(id);
        self.members.remove(&id);
    }

    fn of(&self, list: List) -> Vec<MemberId> {
        let present = list == List::Present;
        let found = self.members.values().filter(|member| member.state.is_present() == present);
        found.map(Member::id).collect()
    }

    fn sample(&self, list: List, rng: &mut fastrand::Rng) -> Option<MemberId> {
        let (ring, point, steps) = draw(rng, RINGS);
        let walk = match list {
            List::Present => self.rings.onward(ring, point),
            List::Departed => {
                let from = MemberId((u128::from(point) << 64).to_be_bytes());
                let departed = self.of(list);
                let (below, above): (Vec<_>, Vec<_>) = departed.iter().partition(|id| **id < from);
                above.into_iter().chain(below).copied().collect()
            }
        };
        walk.get(steps % walk.len().max(1)).copied()
    }

    fn counts(&self) -> Counts {
        let count = |state| self.members.values().filter(|member| member.state == state).count();
        Counts {
            alive: count(State::Alive),
            suspect: count(State::Suspect),
            dead: count(State::Dead),
            left: count(State::Left),
        }
    }

    fn digest(&self) -> u64 {
        let present = self.members.values().filter(|member| member.state.is_present());
        present.fold(0, |sum, member| sum ^ digest::share(member.id(), member.record.hash()))
    }
}

fn same(table: &DenseTable, model: &Model, seed: u64) -> Result<(), TestCaseError> {
    prop_assert_eq!(table.len(), model.members.len());
    prop_assert_eq!(table.counts(), model.counts());
    prop_assert_eq!(table.digest(), model.digest());
    let view = table.view(id(0), 1, Instant::ORIGIN);
    for number in 0..130 {
        let known = model.members.get(&id(number));
        prop_assert_eq!(table.get(id(number)), known);
        prop_assert_eq!(view.member(id(number)), known);
        prop_assert_eq!(view.state(id(number)), known.map(|member| member.state));
    }
    let (mut ours, mut theirs) = (fastrand::Rng::with_seed(seed), fastrand::Rng::with_seed(seed));
    for list in [List::Present, List::Departed] {
        let mut listed: Vec<_> = table.members(list).map(Member::id).collect();
        let canonical = match list {
            List::Present => model.rings.onward(0, 0),
            List::Departed => model.of(list),
        };
        prop_assert_eq!(&listed, &canonical);
        listed.sort_unstable();
        prop_assert_eq!(&listed, &model.of(list));
        for _ in 0..8 {
            let drawn = table.sample(list, &mut ours).map(Member::id);
            prop_assert_eq!(drawn, model.sample(list, &mut theirs));
        }
    }
    for (ring, of) in [(0, 0), (1, 1), (2, 77), (0, 1_000)] {
        let before: Vec<_> = table.before(ring, id(of)).collect();
        prop_assert_eq!(before, model.rings.before(ring, id(of)));
        let after: Vec<_> = table.after(ring, id(of)).collect();
        prop_assert_eq!(after, model.rings.after(ring, id(of)));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Rules D-1, A-1 and V-1: content decides every answer, and old views keep theirs.
    #[test]
    fn a_table_behaves_like_maps_and_sets(
        steps in prop::collection::vec((0u8..8, 0u32..130, 0u32..3), 0..400),
        seed in any::<u64>(),
    ) {
        let mut table = DenseTable::for_cluster("c", RINGS);
        let rings = RingModel::new(Places::Hashed, RINGS);
        let mut model = Model { members: BTreeMap::new(), rings };
        let mut views = Vec::new();
        for (step, (action, number, counter)) in steps.into_iter().enumerate() {
            let state = match action {
                0..=3 => Some(State::Alive),
                4 => Some(State::Suspect),
                5 => Some(State::Dead),
                6 => Some(State::Left),
                _ => None,
            };
            match state {
                Some(state) => {
                    table.put(member(number, counter, state));
                    model.put(member(number, counter, state));
                }
                None => {
                    table.remove(id(number));
                    model.remove(id(number));
                }
            }
            if step % 60 == 0 || step < 3 {
                same(&table, &model, seed)?;
                views.push((table.view(id(0), 1, Instant::ORIGIN), model.members.clone()));
            }
        }
        same(&table, &model, seed)?;
        for (view, members) in views {
            for number in 0..130 {
                prop_assert_eq!(view.member(id(number)), members.get(&id(number)));
            }
        }
    }
}

/// Rule V-1: a view after one change to 100,000 members shares all chunks but those of the change.
#[test]
fn a_view_costs_the_chunks_that_changed() {
    const MEMBERS: u32 = 100_000;
    let mut table = DenseTable::for_cluster("c", 1);
    for number in 0..MEMBERS {
        table.put(member(number, 0, State::Alive));
    }
    let view = |table: &DenseTable| table.view(id(0), 1, Instant::ORIGIN);
    let before = view(&table);
    let chunks = before.chunks().chunks().count();
    let buckets = before.slots().index().chunks();
    assert_eq!(chunks, MEMBERS.div_ceil(WIDTH as u32) as usize);

    table.put(member(54_321, 1, State::Suspect));
    let suspected = view(&table);
    assert_eq!(suspected.chunks().shared_with(before.chunks()), chunks - 1);
    assert_eq!(suspected.slots().index().shared_with(before.slots().index()), buckets);
    assert_eq!(before.state(id(54_321)), Some(State::Alive));
    assert_eq!(suspected.state(id(54_321)), Some(State::Suspect));

    table.remove(id(54_321));
    let removed = view(&table);
    assert_eq!(removed.chunks().shared_with(suspected.chunks()), chunks - 1);
    assert_eq!(removed.slots().index().shared_with(suspected.slots().index()), buckets - 1);
    assert_eq!(removed.state(id(54_321)), None);

    table.put(member(MEMBERS, 0, State::Alive));
    let joined = view(&table);
    assert_eq!(joined.chunks().shared_with(removed.chunks()), chunks - 1);
    // Its bucket; and at most one that is split because of it, with the one that is new.
    assert!(joined.slots().index().shared_with(removed.slots().index()) >= buckets - 3);
    assert_eq!(joined.state(id(MEMBERS)), Some(State::Alive));
}
