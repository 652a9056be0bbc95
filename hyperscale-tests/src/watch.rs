//! Who looks on: every event of every node, at once, with what the world knows about it.

use std::any::Any;
use std::collections::HashMap;

use mesh_gossip_proto::{Event, Instant, MemberId};

/// An event of one node.
#[derive(Clone, Debug)]
pub struct Told {
    /// When.
    pub at: Instant,
    /// Index of the node.
    pub by: usize,
    /// What.
    pub event: Event,
}

/// What the world knows and no node: who is who, and who is well.
#[derive(Clone, Debug, Default)]
pub struct Roll {
    by_id: HashMap<MemberId, u32>,
    entries: Vec<Standing>,
    running: usize,
}

/// How it stands with one node.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// Its id.
    pub id: MemberId,
    /// It runs.
    pub up: bool,
    /// It neither sends nor receives.
    pub paused: bool,
    /// It was told to leave in this life.
    pub leaving: bool,
    /// Lives begun.
    pub lives: u32,
    /// Since when it runs, or does not.
    pub since: Instant,
    /// The departure that it tells of is its own verdict: its suspicion matured, or the quorum that
    /// it asked agreed. Others learn of it, and pass it on.
    pub by_own_verdict: bool,
    /// Verdicts passed in this life, and those of them that were told.
    verdicts: (u64, u64),
}

impl Roll {
    /// The node with this id.
    pub fn index(&self, id: MemberId) -> Option<usize> {
        self.by_id.get(&id).map(|index| *index as usize)
    }

    /// How it stands with a node.
    pub fn standing(&self, index: usize) -> &Standing {
        &self.entries[index]
    }

    /// Nodes that run.
    pub fn running(&self) -> usize {
        self.running
    }

    pub(crate) fn enter(&mut self, id: MemberId) {
        self.by_id.insert(id, self.entries.len() as u32);
        self.entries.push(Standing {
            id,
            up: false,
            paused: false,
            leaving: false,
            lives: 0,
            since: Instant::ORIGIN,
            by_own_verdict: false,
            verdicts: (0, 0),
        });
    }

    pub(crate) fn starts(&mut self, index: usize, now: Instant) {
        let entry = &mut self.entries[index];
        assert!(!entry.up, "a running node is not started again");
        self.running += 1;
        let (id, lives) = (entry.id, entry.lives + 1);
        *entry = Standing {
            id,
            up: true,
            paused: false,
            leaving: false,
            lives,
            since: now,
            by_own_verdict: false,
            verdicts: (0, 0),
        };
    }

    pub(crate) fn ends(&mut self, index: usize, now: Instant) {
        let entry = &mut self.entries[index];
        if entry.up {
            self.running -= 1;
        }
        (entry.up, entry.paused, entry.since) = (false, false, now);
    }

    pub(crate) fn set_paused(&mut self, index: usize, paused: bool) {
        self.entries[index].paused = paused;
    }

    /// A node that has passed so many verdicts tells of a departure. What it tells of at one
    /// instant is either a deadline's doing or a message's, so that verdicts come first.
    pub(crate) fn tells_of_departure(&mut self, index: usize, passed: u64) {
        let entry = &mut self.entries[index];
        entry.verdicts.0 = passed;
        entry.by_own_verdict = entry.verdicts.1 < passed;
        entry.verdicts.1 += u64::from(entry.by_own_verdict);
    }

    pub(crate) fn leaves(&mut self, index: usize) {
        self.entries[index].leaving = true;
    }
}

/// Sees every event of every node at the moment when it is told.
pub trait Watch: Any + Send {
    /// Node `by` told `event`.
    fn event(&mut self, at: Instant, by: usize, event: &Event, roll: &Roll);

    /// A new life of node `index` begins, or its life ends.
    fn standing(&mut self, at: Instant, index: usize, roll: &Roll) {
        let _ = (at, index, roll);
    }
}
