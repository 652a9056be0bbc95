//! Records from the future (rule S-12).
//!
//! A member whose clock is ahead signs a generation that the others have not reached. It is true,
//! and applying it would bind the member to that future for ever; so it waits until its time has
//! come, and by then a truer record may have taken its place.
//!
//! Invariant: a member has one record here, the earliest; the number is bounded, the latest goes.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::member::MemberId;

/// Records held.
const MOST: usize = 256;

/// Records by member.
#[derive(Clone, Debug, Default)]
pub struct Early {
    held: BTreeMap<MemberId, (u64, MemberId, Arc<[u8]>)>,
}

impl Early {
    /// Holds a verified record of `id`, brought by `from`, whose life begins at `generation`. Says
    /// whether that is news.
    pub fn hold(
        &mut self,
        id: MemberId,
        generation: u64,
        from: MemberId,
        envelope: &Arc<[u8]>,
    ) -> bool {
        let news = !self.held.contains_key(&id);
        if self.held.get(&id).is_none_or(|(known, _, _)| generation < *known) {
            self.held.insert(id, (generation, from, envelope.clone()));
        }
        if self.held.len() > MOST {
            let latest = self.held.iter().max_by_key(|(_, (generation, _, _))| *generation);
            if let Some(latest) = latest.map(|(id, _)| *id) {
                self.held.remove(&latest);
            }
        }
        news
    }

    /// Whether this member has a record here.
    pub fn holds(&self, id: MemberId) -> bool {
        self.held.contains_key(&id)
    }

    /// The records whose time has come, with who brought them: lives up to `latest` are believed.
    pub fn ripe(&mut self, latest: impl Fn(u64) -> bool) -> Vec<(MemberId, Arc<[u8]>)> {
        let ripe = self.held.iter().filter(|(_, (generation, _, _))| latest(*generation));
        let ripe: Vec<MemberId> = ripe.map(|(id, _)| *id).collect();
        let held = &mut self.held;
        let take = |id| held.remove(&id).map(|(_, from, envelope)| (from, envelope));
        ripe.into_iter().filter_map(take).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> MemberId {
        MemberId(core::array::from_fn(|i| n.to_le_bytes()[i % 4]))
    }

    /// Rule S-12.
    #[test]
    fn a_record_is_held_until_its_time() {
        let mut early = Early::default();
        let bytes = |text: &[u8]| Arc::<[u8]>::from(text);
        assert!(early.hold(id(1), 500, id(9), &bytes(b"later")));
        assert!(!early.hold(id(1), 300, id(8), &bytes(b"sooner")));
        assert!(!early.hold(id(1), 400, id(8), &bytes(b"later again")));
        assert_eq!(early.ripe(|generation| generation <= 299), []);
        assert_eq!(early.ripe(|generation| generation <= 300), [(id(8), bytes(b"sooner"))]);
        assert!(!early.holds(id(1)));
        for n in 0..300 {
            early.hold(id(n), u64::from(n), id(9), &bytes(b"r"));
        }
        assert_eq!(early.held.len(), MOST);
        assert!(early.holds(id(255)) && !early.holds(id(256)), "the latest go");
    }
}
