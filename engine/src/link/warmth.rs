//! Which sessions are ready for use, which rest, and which have to go (rule S-22).
//!
//! Expanded keys are large, so only sessions in use have them: a few thousand a shard, the least
//! recently used first to lose them, and none for longer than a minute after its last datagram.
//! What is left of a session then is small, and enough to go on where it stopped. Ring neighbours
//! keep their keys, because they are what the detector looks at.
//!
//! Invariants: a live session stands in one list, and in the list of the dehydrated exactly when it
//! has no expanded keys; a neighbour's session is neither dehydrated nor evicted.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mesh_gossip_proto::{Duration, Instant, MemberId};

use super::recency::{List, Recency};
use super::session::Session;
use super::{Entry, Links, Slots};

/// Sessions with expanded keys a shard: with 1.4 KB each they take 6 MB.
pub const MOST_HOT: usize = 4_096;
/// Unused for so long, a session gives up its keys.
const DEHYDRATES: Duration = Duration::from_secs(60);
/// A use that follows another so closely changes no order: at thousands of datagrams a second from
/// one peer the lists would be kept for nothing.
const USE_IS_NEWS: Duration = Duration::from_millis(1);
/// A session that nothing was sent or heard on for so long ends: what is kept is what is used,
/// ring neighbours and a few acquaintances, however many members there are.
const IDLE: Duration = Duration::from_secs(600);
/// Sessions of one agent, whatever the size of its mesh.
pub(super) const MOST_SESSIONS: usize = 131_072;
/// Sessions that an agent may have in the smallest mesh: a member may have four, and those that
/// were restarted leave theirs behind.
const LEAST_SESSIONS: usize = 256;
/// How often tables that have become too large are looked for.
const TIDIES: Duration = Duration::from_secs(60);

/// How many sessions of a shard have expanded keys, over all of its agents.
#[derive(Debug)]
pub struct HotKeys {
    most: usize,
    held: AtomicUsize,
}

impl HotKeys {
    /// Room for so many.
    pub fn of(most: usize) -> Self {
        Self { most, held: AtomicUsize::new(0) }
    }

    // One shard's agents share it, which run on one thread: any order will do.

    fn take(&self, more: usize) {
        self.held.fetch_add(more, Ordering::Relaxed);
    }

    fn give_back(&self, less: usize) {
        self.held.fetch_sub(less, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn has_room(&self) -> bool {
        self.held.load(Ordering::Relaxed) < self.most
    }

    fn are_too_many(&self) -> bool {
        self.held.load(Ordering::Relaxed) > self.most
    }
}

/// The lists and limits of one agent.
pub(super) struct Warmth {
    lists: Recency,
    /// Whose sessions stay warm; a few dozen at most.
    neighbours: Vec<MemberId>,
    most_sessions: usize,
    keys: Arc<HotKeys>,
    tidied: Instant,
}

impl Default for Warmth {
    fn default() -> Self {
        Self {
            lists: Recency::default(),
            neighbours: Vec::new(),
            most_sessions: LEAST_SESSIONS,
            keys: Arc::new(HotKeys::of(MOST_HOT)),
            tidied: Instant::ORIGIN,
        }
    }
}

impl Drop for Warmth {
    fn drop(&mut self) {
        self.keys.give_back(self.hot());
    }
}

impl Warmth {
    /// Sessions with expanded keys.
    pub(super) fn hot(&self) -> usize {
        self.kept() + self.lists.len(List::Hot)
    }

    /// Sessions with neighbours.
    pub(super) fn kept(&self) -> usize {
        self.lists.len(List::Kept)
    }

    /// Sessions without.
    pub(super) fn dehydrated(&self) -> usize {
        self.lists.len(List::Cold)
    }

    /// The session at `index` is gone.
    pub(super) fn forget(&mut self, index: u32) {
        self.put(index, None);
    }

    fn put(&mut self, index: u32, list: Option<List>) {
        let is_hot = |list: Option<List>| list.is_some_and(|list| list != List::Cold);
        let (slot, before) = (Slots::<Entry>::slot(index), self.list_of(index));
        match list {
            Some(list) => self.lists.put_first(slot, list),
            None => self.lists.remove(slot),
        }
        match (is_hot(before), is_hot(list)) {
            (false, true) => self.keys.take(1),
            (true, false) => self.keys.give_back(1),
            (true, true) | (false, false) => {}
        }
    }

    /// Where the session at `index` stands.
    pub(super) fn list_of(&self, index: u32) -> Option<List> {
        self.lists.list_of(Slots::<Entry>::slot(index))
    }

    /// Where a session with `peer` belongs that is in use.
    fn hot_list(&self, peer: MemberId) -> List {
        if self.neighbours.contains(&peer) { List::Kept } else { List::Hot }
    }
}

impl Links {
    /// Shares the room for expanded keys with the other agents of a shard.
    pub fn share_keys(&mut self, keys: Arc<HotKeys>) {
        let hot = self.warmth.hot();
        keys.take(hot);
        std::mem::replace(&mut self.warmth.keys, keys).give_back(hot);
    }

    /// The mesh has so many members: an agent keeps at most two sessions a member.
    pub fn set_members(&mut self, members: usize) {
        self.warmth.most_sessions = (members * 2).clamp(LEAST_SESSIONS, MOST_SESSIONS);
    }

    /// A mesh of a few, for tests.
    #[cfg(test)]
    pub(super) fn limit_sessions(&mut self, most: usize) {
        self.warmth.most_sessions = most;
    }

    /// These are our ring neighbours from here on: their sessions stay warm.
    pub fn keep_warm(&mut self, neighbours: impl Iterator<Item = MemberId>) {
        let before = std::mem::take(&mut self.warmth.neighbours);
        self.warmth.neighbours.extend(neighbours);
        for peer in before {
            self.sort_in(peer);
        }
        for place in 0..self.warmth.neighbours.len() {
            self.sort_in(self.warmth.neighbours[place]);
        }
    }

    /// Puts the sessions with `peer` that are in use in the list where they belong.
    fn sort_in(&mut self, peer: MemberId) {
        let list = self.warmth.hot_list(peer);
        for index in self.members.get(&peer).cloned().unwrap_or_default().iter() {
            let stands = self.warmth.list_of(*index);
            match stands {
                Some(List::Kept | List::Hot) if stands != Some(list) => {
                    self.warmth.put(*index, Some(list));
                }
                Some(List::Kept | List::Hot | List::Cold) | None => {}
            }
        }
    }

    /// The session at `index` was confirmed.
    pub(super) fn enlist(&mut self, index: u32) {
        let Some(Entry::Open(session)) = self.slots.get(index) else { return };
        let list = self.warmth.hot_list(session.peer);
        self.warmth.put(index, Some(list));
        self.spare_keys(index);
        let lists = |warmth: &Warmth| warmth.hot() + warmth.dehydrated();
        while lists(&self.warmth) > self.warmth.most_sessions {
            let Some(victim) = self.least_used(&[List::Cold, List::Hot], index) else { break };
            self.stats.evicted += 1;
            self.close(victim);
        }
    }

    /// Something authentic is sent or was heard on the session at `index`.
    pub(super) fn use_session(&mut self, now: Instant, index: u32) {
        let Some(Entry::Open(session)) = self.slots.get_mut(index) else { return };
        let list = self.warmth.list_of(index);
        if list == Some(List::Hot) && now.since(session.used) < USE_IS_NEWS {
            return;
        }
        session.used = now;
        match list {
            Some(List::Hot) => self.warmth.put(index, Some(List::Hot)),
            Some(List::Cold) => self.rehydrate(now, index),
            // Neighbours' need no order; one that is unconfirmed stands nowhere yet.
            Some(List::Kept) | None => {}
        }
    }

    fn rehydrate(&mut self, now: Instant, index: u32) {
        let Some(Entry::Open(session)) = self.slots.get_mut(index) else { return };
        session.warm_up();
        let (peer, path, due) = (session.peer, session.path, session.begun());
        let renews = (due + self.lifetime(index)).max(now);
        let list = self.warmth.hot_list(peer);
        self.warmth.put(index, Some(list));
        self.stats.rehydrated += 1;
        self.paths.entry(path).or_insert(index);
        if self.members.get(&peer).and_then(|order| order.first()) == Some(&index) {
            self.live_until(index, renews);
        }
        self.spare_keys(index);
    }

    /// Takes the keys of the least recently used while the shard has too many, but for `newest`.
    fn spare_keys(&mut self, newest: u32) {
        while self.warmth.keys.are_too_many() {
            let Some(index) = self.least_used(&[List::Hot], newest) else { break };
            self.dehydrate(index);
        }
    }

    /// The least recently used session of the first of these lists that has one other than
    /// `newest`.
    fn least_used(&self, lists: &[List], newest: u32) -> Option<u32> {
        let mut oldest = lists.iter().filter_map(|list| self.warmth.lists.oldest(*list));
        // What was put first last is last in line: if it is met, its list has no other.
        let found = oldest.find(|slot| *slot != Slots::<Entry>::slot(newest))?;
        self.slots.index_at(found)
    }

    /// The session at `index` keeps only what it cannot do without.
    fn dehydrate(&mut self, index: u32) {
        let Some(Entry::Open(session)) = self.slots.get_mut(index) else { return };
        let (peer, path, attempt) = (session.peer, session.path, attempt_of(session));
        let (ends, idles) = (session.ends, session.used + IDLE);
        session.dehydrate();
        self.warmth.put(index, Some(List::Cold));
        self.drop_attempt(index, attempt);
        self.leave_path(index, peer, path);
        if self.members.get(&peer).and_then(|order| order.first()) == Some(&index) {
            // It falls idle by its place in the list, long before it wants a successor.
            self.timers.cancel(index);
            if ends < idles {
                self.timers.set(index, ends);
            }
        }
    }

    /// Datagrams of the handshake behind `session` are not expected any more.
    pub(super) fn forget_attempt(&mut self, index: u32, session: &Session) {
        self.drop_attempt(index, attempt_of(session));
    }

    fn drop_attempt(&mut self, index: u32, attempt: Option<(SocketAddr, u64)>) {
        if let Some(attempt) = attempt
            && self.attempts.get(&attempt) == Some(&index)
        {
            self.attempts.remove(&attempt);
        }
    }

    /// `path` leads elsewhere than to the session at `index`; another one of its peer takes over.
    pub(super) fn leave_path(&mut self, index: u32, peer: MemberId, path: SocketAddr) {
        if self.paths.get(&path) != Some(&index) {
            return;
        }
        self.paths.remove(&path);
        let is_hot = |other: &u32| match self.slots.get(*other) {
            Some(Entry::Open(session)) => *other != index && session.warm().is_some(),
            Some(Entry::Dialing(_) | Entry::Answering(_)) | None => false,
        };
        if let Some(other) = self.sessions_at(peer, path).into_iter().find(is_hot) {
            self.paths.insert(path, other);
        }
    }

    /// When the next session is to be dehydrated or falls idle.
    pub(super) fn cools(&self) -> Option<Instant> {
        let due = |list: List, after: Duration| {
            let index = self.slots.index_at(self.warmth.lists.oldest(list)?)?;
            let Some(Entry::Open(session)) = self.slots.get(index) else { return None };
            Some(session.used + after)
        };
        Instant::earliest(due(List::Hot, DEHYDRATES), due(List::Cold, IDLE))
    }

    /// Dehydrates what was not used for a while, and ends what nobody has used for long.
    pub(super) fn cool(&mut self, now: Instant) {
        let hot = self.warmth.lists.len(List::Hot);
        while let Some(index) = self.unused_since(now, List::Hot, DEHYDRATES) {
            self.dehydrate(index);
        }
        while let Some(index) = self.unused_since(now, List::Cold, IDLE) {
            self.stats.idled += 1;
            self.close(index);
        }
        let emptied = hot > 0 && self.warmth.lists.len(List::Hot) == 0;
        if emptied || now.since(self.warmth.tidied) >= TIDIES {
            self.warmth.tidied = now;
            self.tidy(now);
        }
    }

    fn unused_since(&self, now: Instant, list: List, span: Duration) -> Option<u32> {
        let index = self.slots.index_at(self.warmth.lists.oldest(list)?)?;
        let Some(Entry::Open(session)) = self.slots.get(index) else { return None };
        (now.since(session.used) >= span).then_some(index)
    }

    /// Gives back what tables needed for more than they hold.
    fn tidy(&mut self, now: Instant) {
        self.targets.tidy(now);
        fn fit<K: Eq + Hash, V, S: BuildHasher>(table: &mut HashMap<K, V, S>) {
            if table.capacity() > 4 * table.len() {
                table.shrink_to(2 * table.len());
            }
        }
        self.said.retain(|_, said| said.counts(now));
        fit(&mut self.said);
        fit(&mut self.paths);
        fit(&mut self.attempts);
        fit(&mut self.members);
    }
}

/// Under which key the handshake behind a session is remembered, if it is.
fn attempt_of(session: &Session) -> Option<(SocketAddr, u64)> {
    let attempt = session.warm().and_then(|warm| warm.attempt)?;
    session.theirs.then_some((session.path, attempt))
}
