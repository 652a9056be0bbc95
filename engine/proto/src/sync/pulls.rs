//! Records asked for and not yet received (rule R-5).
//!
//! Invariant: at most one request a member and version is under way; the number is bounded.

use crate::member::MemberId;
use crate::membership::record::RecordHash;
use crate::membership::table::IdMap;
use crate::time::{Duration, Instant};

/// After so long the next hint asks again, whomever it came from.
const PATIENCE: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug)]
struct Pull {
    hash: RecordHash,
    asked: Instant,
}

/// Open requests by member.
#[derive(Clone, Debug, Default)]
pub struct Pulls {
    open: IdMap<Pull>,
}

impl Pulls {
    /// Whether to ask for `hash` of `id` at `now`; if so, remembers it.
    pub fn begin(&mut self, now: Instant, id: MemberId, hash: RecordHash, limit: usize) -> bool {
        if let Some(pull) = self.open.get(&id)
            && pull.hash == hash
            && now.since(pull.asked) < PATIENCE
        {
            return false;
        }
        if self.open.len() >= limit && !self.open.contains_key(&id) {
            self.open.retain(|_, pull| now.since(pull.asked) < PATIENCE);
            if self.open.len() >= limit {
                return false;
            }
        }
        self.open.insert(id, Pull { hash, asked: now });
        true
    }

    /// A record of `id` arrived.
    pub fn done(&mut self, id: MemberId) {
        self.open.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule R-5.
    #[test]
    fn a_record_is_asked_for_once_until_patience_ends() {
        let (a, b) = (MemberId([1; 16]), MemberId([2; 16]));
        let at = |ms| Instant::ORIGIN + Duration::from_millis(ms);
        let mut pulls = Pulls::default();
        assert!(pulls.begin(at(0), a, RecordHash(1), 1));
        assert!(!pulls.begin(at(10), a, RecordHash(1), 1));
        assert!(pulls.begin(at(10), a, RecordHash(2), 1), "a newer version is another record");
        assert!(!pulls.begin(at(10), b, RecordHash(1), 1), "bounded");
        assert!(pulls.begin(at(600), b, RecordHash(1), 1), "the stale one makes room");
        pulls.done(b);
        assert!(pulls.begin(at(601), b, RecordHash(1), 1));
    }
}
