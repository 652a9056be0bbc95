//! A table for many nodes of one world: a base that they share, and what each holds differently.
//!
//! A hundred thousand nodes that each kept a hundred thousand members would not fit in any machine.
//! Most of what they hold is the same, so it is kept once; a node keeps its differences.
//!
//! Each hears of a change at a moment of its own, which is kept apart: it is less than a difference,
//! and no walk looks at it.
//!
//! Invariants: a member is what the difference says, or else what the base says, since its own moment;
//! whatever base is taken, no answer changes.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mesh_gossip_proto::membership::digest;
use mesh_gossip_proto::membership::roster::List;
use mesh_gossip_proto::membership::table::{Counts, draw};
use mesh_gossip_proto::{Config, Instant, Member, MemberId, MemberTable, State, View};

use crate::hash::IndexHasher;
use crate::table::SimTable;
use universe::{Number, Universe};

mod universe;

/// A fold is worth a new base from so many members on.
const WORTH_A_BASE: usize = 16;
/// One table in so many may say otherwise of what becomes the base.
const FEW_OF: usize = 16;
/// Members that may come are entered in blocks of at least so many.
const LEAST_BLOCK: usize = 64;

/// What many nodes hold alike.
#[derive(Clone, Debug, Default)]
struct Base {
    /// Raised with every base of a world.
    version: usize,
    members: Vec<Option<Member>>,
    /// One bit a member that is present: walks touch this alone, and it stays in the cache.
    present: Vec<u64>,
    departed: Vec<Number>,
    counts: Counts,
    digest: u64,
    /// Members that differ from the base before.
    changed: Vec<Number>,
}

impl Base {
    fn get(&self, number: Number) -> Option<&Member> {
        self.members.get(number as usize)?.as_ref()
    }

    fn is_present(&self, number: Number) -> bool {
        let word = self.present.get(number as usize / 64).copied().unwrap_or(0);
        word & (1 << (number % 64)) != 0
    }
}

/// What all tables of one world know of: the newest universe and the newest base.
#[derive(Debug)]
struct Registry {
    universe: Mutex<Arc<Universe>>,
    base: Mutex<Arc<Base>>,
    /// Version of the newest base, to be looked at without the lock.
    version: AtomicUsize,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is one assignment: a panic elsewhere leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    fn new(cluster_id: &str, rings: u8) -> Self {
        Self {
            universe: Mutex::new(Arc::new(Universe::new(cluster_id, rings))),
            base: Mutex::default(),
            version: AtomicUsize::new(0),
        }
    }

    fn universe(&self) -> Arc<Universe> {
        locked(&self.universe).clone()
    }

    fn enter(&self, ids: impl Iterator<Item = MemberId>) {
        Arc::make_mut(&mut locked(&self.universe)).enter(ids);
    }
}

/// One node's table.
#[derive(Clone, Debug)]
pub struct SharedTable {
    registry: Arc<Registry>,
    universe: Arc<Universe>,
    base: Arc<Base>,
    delta: Numbered<Option<Member>>,
    /// Since when what the base says is believed here, where that is another moment than the base's.
    moments: Numbered<Instant>,
    counts: Counts,
    digest: u64,
}

type Numbered<V> = HashMap<Number, V, BuildHasherDefault<IndexHasher>>;

fn list_of(state: State) -> List {
    if state.is_present() { List::Present } else { List::Departed }
}

/// Whether they say the same of a member, but for the moment.
fn same(a: Option<&Member>, b: Option<&Member>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(&a.record, &b.record) && a.state == b.state,
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fn count(counts: &mut Counts, state: State) -> &mut usize {
    match state {
        State::Alive => &mut counts.alive,
        State::Suspect => &mut counts.suspect,
        State::Dead => &mut counts.dead,
        State::Left => &mut counts.left,
    }
}

fn share_of(member: &Member) -> u64 {
    if member.state.is_present() { digest::share(member.id(), member.record.hash()) } else { 0 }
}

impl SharedTable {
    fn on(registry: Arc<Registry>, base: Arc<Base>) -> Self {
        let (counts, digest) = (base.counts, base.digest);
        let universe = registry.universe();
        let (delta, moments) = (HashMap::default(), HashMap::default());
        Self { registry, universe, base, delta, moments, counts, digest }
    }

    fn at(&self, number: Number) -> Option<&Member> {
        if !self.delta.is_empty()
            && let Some(own) = self.delta.get(&number)
        {
            return own.as_ref();
        }
        self.base.get(number)
    }

    fn number(&mut self, id: MemberId) -> Number {
        if let Some(number) = self.universe.number(id) {
            return number;
        }
        self.registry.enter(std::iter::once(id));
        self.universe = self.registry.universe();
        match self.universe.number(id) {
            Some(number) => number,
            None => unreachable!("it was entered"),
        }
    }

    fn set(&mut self, number: Number, member: Option<Member>) {
        if let Some(before) = self.at(number) {
            let (state, share) = (before.state, share_of(before));
            *count(&mut self.counts, state) -= 1;
            self.digest ^= share;
        }
        if let Some(member) = &member {
            *count(&mut self.counts, member.state) += 1;
            self.digest ^= share_of(member);
        }
        self.hold(number, member);
    }

    /// Makes `member` what this table says of `number`, in whatever way costs least.
    fn hold(&mut self, number: Number, member: Option<Member>) {
        let of_base = self.base.get(number);
        if !same(of_base, member.as_ref()) {
            self.moments.remove(&number);
            self.delta.insert(number, member);
            return;
        }
        self.delta.remove(&number);
        match member {
            Some(own) if of_base.is_some_and(|other| other.since != own.since) => {
                self.moments.insert(number, own.since);
            }
            Some(_) | None => drop(self.moments.remove(&number)),
        }
    }

    /// What this node says of a member, its own moment included.
    fn own(&self, number: Number) -> Option<Member> {
        let member = self.at(number)?;
        Some(Member { since: self.moment(number, member), ..member.clone() })
    }

    fn moment(&self, number: Number, member: &Member) -> Instant {
        if self.moments.is_empty() {
            return member.since;
        }
        self.moments.get(&number).copied().unwrap_or(member.since)
    }

    /// Goes over to the newest base. Every member stays what it was.
    fn rebase(&mut self) {
        let newest = locked(&self.registry.base).clone();
        let numbers: Vec<Number> = if self.base.version + 1 == newest.version {
            newest.changed.clone()
        } else {
            (0..self.base.members.len().max(newest.members.len()) as Number).collect()
        };
        let held: Vec<_> = numbers.into_iter().map(|number| (number, self.own(number))).collect();
        self.base = newest;
        for (number, held) in held {
            self.hold(number, held);
        }
        if self.delta.len() * 4 < self.delta.capacity() {
            self.delta.shrink_to_fit();
        }
        if self.moments.len() * 4 < self.moments.capacity() {
            self.moments.shrink_to_fit();
        }
    }

    /// Takes the newest base; a table that began empty does so once it holds most of what others do.
    fn follow(&mut self) {
        let newest = self.registry.version.load(Ordering::Relaxed);
        if newest == self.base.version {
            return;
        }
        let began_empty = self.base.version == 0;
        let most = || locked(&self.registry.base).counts.present() * 7 / 8;
        if began_empty && self.delta.len() < most() {
            return;
        }
        self.rebase();
    }

    fn departed_count(&self) -> usize {
        self.counts.dead + self.counts.left
    }

    fn is_departed(&self, number: Number) -> bool {
        self.at(number).is_some_and(|member| !member.state.is_present())
    }

    /// The departed in the order of their ids.
    fn departed(&self) -> Vec<Number> {
        if self.departed_count() == 0 {
            return Vec::new();
        }
        if self.are_many_departed() {
            let everybody = self.universe.by_id().from(0);
            return everybody.filter(|number| self.is_departed(*number)).collect();
        }
        let of_base = self.base.departed.iter().copied();
        let of_base = of_base.filter(|number| !self.delta.contains_key(number));
        let own = self.delta.keys().copied();
        let mut departed: Vec<Number> =
            of_base.chain(own).filter(|number| self.is_departed(*number)).collect();
        departed.sort_unstable_by_key(|number| self.universe.by_id().place_of(*number));
        departed
    }

    /// Whether looking at everybody in turn finds one soon.
    fn are_many_departed(&self) -> bool {
        self.departed_count() * 8 > self.universe.len()
    }

    fn is_present(&self, number: Number) -> bool {
        if !self.delta.is_empty()
            && let Some(own) = self.delta.get(&number)
        {
            return own.as_ref().is_some_and(|member| member.state.is_present());
        }
        self.base.is_present(number)
    }

    fn sample_departed(&self, point: u64, steps: usize) -> Option<&Member> {
        let (count, by_id) = (self.departed_count(), self.universe.by_id());
        let (steps, from) = (steps % count.max(1), by_id.place_of_point(point));
        if self.are_many_departed() {
            let mut places = by_id.from(from).filter(|number| self.is_departed(*number));
            return self.at(places.nth(steps)?);
        }
        let departed = self.departed();
        let first = departed.partition_point(|number| by_id.place_of(*number) < from);
        let number = departed.get((first + steps) % count.max(1))?;
        self.at(*number)
    }
}

impl MemberTable for SharedTable {
    fn for_cluster(cluster_id: &str, rings: u8) -> Self {
        let registry = Arc::new(Registry::new(cluster_id, rings));
        let base = locked(&registry.base).clone();
        Self::on(registry, base)
    }

    fn get(&self, id: MemberId) -> Option<&Member> {
        self.at(self.universe.number(id)?)
    }

    fn since(&self, member: &Member) -> Instant {
        match self.universe.number(member.id()) {
            Some(number) => self.moment(number, member),
            None => member.since,
        }
    }

    fn put(&mut self, member: Member) {
        self.follow();
        let number = self.number(member.id());
        self.set(number, Some(member));
    }

    fn remove(&mut self, id: MemberId) {
        self.follow();
        if let Some(number) = self.universe.number(id) {
            self.set(number, None);
        }
    }

    fn len(&self) -> usize {
        self.counts.present() + self.departed_count()
    }

    fn counts(&self) -> Counts {
        self.counts
    }

    fn digest(&self) -> u64 {
        self.digest
    }

    fn sample(&self, list: List, rng: &mut fastrand::Rng) -> Option<&Member> {
        let (ring, point, steps) = draw(rng, self.universe.rings());
        match list {
            List::Present => {
                let circle = self.universe.ring(ring);
                let steps = steps % self.counts.present().max(1);
                let places = circle.from(circle.place_of_point(point));
                let number = places.filter(|number| self.is_present(*number)).nth(steps)?;
                self.at(number)
            }
            List::Departed => self.sample_departed(point, steps),
        }
    }

    fn before(&self, ring: u8, id: MemberId) -> impl Iterator<Item = MemberId> {
        let (place, _) = self.universe.place_on(ring, id);
        let others = self.universe.ring(ring).before(place);
        let others = others.filter(|number| self.is_present(*number));
        others.map(|number| self.universe.id(number)).filter(move |other| *other != id)
    }

    fn after(&self, ring: u8, id: MemberId) -> impl Iterator<Item = MemberId> {
        let (place, _) = self.universe.place_on(ring, id);
        let others = self.universe.ring(ring).from(place);
        let others = others.filter(|number| self.is_present(*number));
        others.map(|number| self.universe.id(number)).filter(move |other| *other != id)
    }

    fn members(&self, list: List) -> impl Iterator<Item = &Member> {
        let (present, departed) = match list {
            List::Present => (Some(self.universe.ring(0).from(0)), Vec::new()),
            List::Departed => (None, self.departed()),
        };
        let present = present.into_iter().flatten();
        let present = present.filter(|number| self.is_present(*number));
        present.chain(departed).filter_map(|number| self.at(number))
    }

    fn view(&self, local: MemberId, version: u64, now: Instant) -> View {
        let lists = [List::Present, List::Departed];
        let members = lists.into_iter().flat_map(|list| self.members(list));
        let own = members.filter_map(|member| self.own(self.universe.number(member.id())?));
        View::of(own, local, version, now)
    }
}

/// What the tables of one world have in common.
#[derive(Debug)]
pub struct Common {
    registry: Arc<Registry>,
}

impl Common {
    fn publish(&self, mut base: Base) {
        base.departed = Vec::new();
        base.present = vec![0; base.members.len().div_ceil(64)];
        (base.counts, base.digest) = (Counts::default(), 0);
        for (number, member) in (0..).zip(&base.members) {
            let Some(member) = member else { continue };
            *count(&mut base.counts, member.state) += 1;
            base.digest ^= share_of(member);
            match list_of(member.state) {
                List::Present => base.present[number as usize / 64] |= 1 << (number % 64),
                List::Departed => base.departed.push(number),
            }
        }
        let mut newest = locked(&self.registry.base);
        base.version = newest.version + 1;
        self.registry.version.store(base.version, Ordering::Relaxed);
        *newest = Arc::new(base);
    }
}

impl SimTable for SharedTable {
    type Common = Common;

    fn common(config: &Config) -> Common {
        Common { registry: Arc::new(Registry::new(&config.cluster_id, config.rings)) }
    }

    fn expect(common: &mut Common, known: usize, name: impl Fn(usize) -> MemberId) {
        let entered = common.registry.universe().len();
        if known > entered {
            // In blocks, because each later entry costs a look at everybody.
            let most = known.max(entered + (entered / 8).max(LEAST_BLOCK));
            common.registry.enter((entered..most).map(name));
        }
    }

    fn empty(common: &Common, _config: &Config) -> Self {
        Self::on(common.registry.clone(), Arc::default())
    }

    fn fill(common: &mut Common, _config: &Config, members: Vec<Member>) {
        common.registry.enter(members.iter().map(Member::id));
        let universe = common.registry.universe();
        let mut base = Base { members: vec![None; universe.len()], ..Base::default() };
        for member in members {
            if let Some(number) = universe.number(member.id()) {
                base.changed.push(number);
                base.members[number as usize] = Some(member);
            }
        }
        common.publish(base);
    }

    fn full(common: &Common) -> Self {
        let base = locked(&common.registry.base).clone();
        Self::on(common.registry.clone(), base)
    }

    fn stands(&self, id: MemberId) -> Option<(u32, *const u8)> {
        let number = self.universe.number(id)?;
        let place = self.base.members.as_ptr().wrapping_add(number as usize);
        Some((number, place.cast()))
    }

    fn fold<'a>(common: &mut Common, tables: impl Iterator<Item = &'a Self> + Clone) {
        Self::fold_from(common, tables, WORTH_A_BASE);
    }
}

impl SharedTable {
    /// Makes a new base if nearly all tables agree on at least `worth` members that differ from it.
    /// The others keep what they say as differences: somebody always joins where many come and go.
    fn fold_from<'a>(
        common: &mut Common,
        mut tables: impl Iterator<Item = &'a Self> + Clone,
        worth: usize,
    ) {
        let Some(first) = tables.next() else { return };
        let newest = locked(&common.registry.base).clone();
        let few = tables.clone().count() / FEW_OF;
        let mut agreed: Vec<(Number, Option<Member>)> = Vec::new();
        for (number, member) in &first.delta {
            let differs = |table: &&Self| !same(table.at(*number), member.as_ref());
            let is_news = !same(newest.get(*number), member.as_ref());
            if is_news && tables.clone().filter(differs).nth(few).is_none() {
                agreed.push((*number, member.clone()));
            }
        }
        if agreed.len() < worth {
            return;
        }
        let mut base = Base::clone(&newest);
        base.changed = agreed.iter().map(|(number, _)| *number).collect();
        for (number, member) in agreed {
            let place = number as usize;
            if base.members.len() <= place {
                base.members.resize(place + 1, None);
            }
            base.members[place] = member;
        }
        common.publish(base);
    }
}

#[cfg(test)]
mod tests;
