//! Who a member is, how often it has lived, and which of two claims about it wins.
//!
//! Invariant: [`Precedence`] is a total order, so that members that have heard the same claims
//! in any order agree (rule M-3).

use core::fmt;

use sha2::{Digest, Sha256};

/// A member's stable name: SHA-256(cluster id, 0, node id), truncated to 128 bits (rule M-1).
///
/// The cluster is part of the hash, so equal node ids of two clusters never collide.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub [u8; 16]);

impl MemberId {
    /// Derives the id of `node_id` in `cluster_id`.
    pub fn derive(cluster_id: &str, node_id: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(cluster_id.as_bytes());
        hash.update([0]);
        hash.update(node_id.as_bytes());
        let digest = hash.finalize();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Self(id)
    }

    /// The first eight bytes as a number: the id is a hash already.
    pub fn prefix(self) -> u64 {
        let mut prefix = [0; 8];
        prefix.copy_from_slice(&self.0[..8]);
        u64::from_le_bytes(prefix)
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A version of a member (rule M-2): `generation` is its start time in Unix milliseconds, so
/// that a restart supersedes its past at once; `counter` rises with every refutation and every
/// change of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Incarnation {
    /// Start time of the process, Unix milliseconds.
    pub generation: u64,
    /// Changes within the generation.
    pub counter: u32,
}

impl Incarnation {
    /// The next incarnation of the same life; the last one of all has none and stays.
    #[must_use]
    pub fn next(self) -> Self {
        match self.counter.checked_add(1) {
            Some(counter) => Self { generation: self.generation, counter },
            None => Self { generation: self.generation.saturating_add(1), counter: 0 }.max(self),
        }
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.generation, self.counter)
    }
}

/// What is believed of a member. At one incarnation the later state wins (rule M-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum State {
    /// In touch, or not doubted.
    Alive = 1,
    /// Doubted; may still refute.
    Suspect = 2,
    /// Judged failed by others.
    Dead = 3,
    /// Gone by its own signed word.
    Left = 4,
}

impl State {
    /// Every state, in order of precedence.
    pub const ALL: [Self; 4] = [Self::Alive, Self::Suspect, Self::Dead, Self::Left];

    /// Decodes the wire value.
    pub fn from_wire(value: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| *state as u8 == value)
    }

    /// Alive or Suspect: still a member for every purpose but trust in its next ack.
    pub fn is_present(self) -> bool {
        matches!(self, Self::Alive | Self::Suspect)
    }
}

/// The order of claims about one member (rule M-3): incarnation first, then state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Precedence(pub Incarnation, pub State);

/// What a member says it is ready for; part of its signed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Lifecycle {
    /// Takes work.
    #[default]
    Active = 0,
    /// Takes no new work, keeps what it has.
    Cordoned = 1,
    /// Hands its work over.
    Draining = 2,
    /// Holds no work.
    Drained = 3,
    /// Its last word: the record that carries it is the signed leave (rule L-1).
    Leaving = 4,
}

impl Lifecycle {
    /// Decodes the wire value.
    pub fn from_wire(value: u8) -> Option<Self> {
        [Self::Active, Self::Cordoned, Self::Draining, Self::Drained, Self::Leaving]
            .into_iter()
            .find(|lifecycle| *lifecycle as u8 == value)
    }

    /// The word used in JSON and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Cordoned => "cordoned",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Leaving => "leaving",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Rules M-1 and M-2.
    #[test]
    fn ids_separate_clusters_and_restarts_supersede() {
        assert_ne!(MemberId::derive("a", "bc"), MemberId::derive("ab", "c"));
        assert_eq!(MemberId::derive("a", "b"), MemberId::derive("a", "b"));
        let before = Incarnation { generation: 7, counter: u32::MAX };
        let restarted = Incarnation { generation: 8, counter: 0 };
        assert!(restarted > before);
        assert_eq!(before.next(), restarted, "an exhausted counter moves to a new generation");
        let last = Incarnation { generation: u64::MAX, counter: u32::MAX };
        assert_eq!(last.next(), last, "the end of all numbers is no panic");
    }

    /// Rule M-3, exhaustively over every pair of claims from a small world.
    #[test]
    fn precedence_is_total_and_incarnation_rules_state() {
        let mut claims = Vec::new();
        for generation in 1..=2 {
            for counter in 0..=2 {
                for state in State::ALL {
                    claims.push(Precedence(Incarnation { generation, counter }, state));
                }
            }
        }
        for (i, a) in claims.iter().enumerate() {
            for (j, b) in claims.iter().enumerate() {
                assert_eq!(i.cmp(&j), a.cmp(b), "{a:?} against {b:?}");
            }
        }
    }
}
