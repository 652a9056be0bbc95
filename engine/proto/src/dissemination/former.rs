//! What members were known by a moment ago, for words that they signed then (rule U-1).
//!
//! A letter under the old seal may arrive after the new seal was shown to everybody. So the seal before
//! hangs on the wall for as long as letters are on their way, and then it is taken down.
//!
//! Invariants: of a member the latest record stands here that gave way to one under another
//! certificate; none counts for longer than [`LIFETIME`]; they are bounded in number, the oldest go.

use alloc::collections::VecDeque;
use alloc::sync::Arc;

use super::origins::LIFETIME;
use crate::member::MemberId;
use crate::membership::broadcast::BroadcastId;
use crate::membership::record::SignedRecord;
use crate::membership::table::IdMap;
use crate::time::Instant;

/// Members remembered: that many exchange their certificates within a minute only where all do at
/// once.
const MOST: usize = 1_024;

/// Records that were replaced.
#[derive(Clone, Debug, Default)]
pub struct Former {
    records: IdMap<(Instant, Arc<SignedRecord>)>,
    /// When and whose, the oldest first; of a member that was replaced again only the last counts.
    order: VecDeque<(Instant, MemberId)>,
}

impl Former {
    /// `record` has given way to one of the same life under another certificate.
    pub fn replaced(&mut self, now: Instant, record: Arc<SignedRecord>) {
        let id = record.record().id;
        self.forget(now);
        if self.order.len() >= MOST {
            self.drop_oldest();
        }
        self.records.insert(id, (now, record));
        self.order.push_back((now, id));
    }

    /// By which record the origin of this broadcast was known in the same life, if words of that time
    /// may still be on their way.
    pub fn of(&self, now: Instant, id: BroadcastId) -> Option<&SignedRecord> {
        let (since, record) = self.records.get(&id.origin)?;
        let lives = now.since(*since) <= LIFETIME;
        let same = record.record().incarnation.generation == id.generation;
        (lives && same).then_some(&**record)
    }

    /// Takes down what no word can need any more.
    pub fn forget(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(since, _)| now.since(*since) > LIFETIME) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some((since, id)) = self.order.pop_front() else { return };
        if self.records.get(&id).is_some_and(|(last, _)| *last == since) {
            self.records.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::Incarnation;
    use crate::membership::record::first_record;
    use crate::membership::record_tests::HashAuthority;
    use crate::metadata::Metadata;
    use crate::time::Duration;
    use std::format;
    use std::vec::Vec;

    fn record(name: &str, generation: u64) -> Arc<SignedRecord> {
        let metadata = Metadata {
            node_id: name.into(),
            role: "worker".into(),
            region: "r".into(),
            mesh_version: "1".into(),
            ..Metadata::default()
        };
        let life = Incarnation { generation, counter: 0 };
        let record = first_record("c", life, Vec::new(), metadata);
        Arc::new(SignedRecord::author(record, &HashAuthority).unwrap())
    }

    fn word(record: &SignedRecord) -> BroadcastId {
        let content = record.record();
        let generation = content.incarnation.generation;
        BroadcastId { origin: content.id, generation, sequence: 0 }
    }

    /// Rule U-1: a record stands as long as words live, for its own life.
    #[test]
    fn what_was_replaced_is_known_for_a_while() {
        let at = |seconds| Instant::ORIGIN + Duration::from_secs(seconds);
        let (a, next) = (record("a", 1), record("a", 2));
        let mut former = Former::default();
        former.replaced(at(0), a.clone());
        assert_eq!(former.of(at(60), word(&a)), Some(&*a));
        assert_eq!(former.of(at(60), word(&next)), None, "another life");
        assert_eq!(former.of(at(61), word(&a)), None);
        former.replaced(at(70), next.clone());
        assert_eq!(former.of(at(70), word(&next)), Some(&*next));
        assert_eq!(former.records.len(), 1, "one of a member");
        former.forget(at(131));
        assert_eq!(former.records.len(), 0);
    }

    /// Rule B-1.
    #[test]
    fn former_records_are_bounded_and_the_oldest_go() {
        let mut former = Former::default();
        let records: Vec<_> = (0..=MOST).map(|n| record(&format!("n{n}"), 1)).collect();
        for record in &records {
            former.replaced(Instant::ORIGIN, record.clone());
        }
        let known = |record: &SignedRecord| former.of(Instant::ORIGIN, word(record)).is_some();
        assert_eq!(records.iter().filter(|record| known(record)).count(), MOST);
        assert!(!known(&records[0]) && known(&records[MOST]));
    }
}
