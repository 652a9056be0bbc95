//! Nodes that begin behind the others, and what it costs them to catch up.

use std::collections::BTreeMap;

use mesh_gossip_proto::wire::message::{FRAME, kind};
use mesh_gossip_proto::{Instant, WallTime};
use serde::{Deserialize, Serialize};

use super::World;
use crate::ledger::OVERHEAD;
use crate::table::SimTable;

/// Nodes whose tables are behind those of all others when a [warm](World::warm) world begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    /// Who they are.
    pub nodes: Vec<usize>,
    /// Members that they do not know.
    pub unknown: Vec<usize>,
    /// Members of which they have an older record.
    pub older: Vec<usize>,
}

impl Behind {
    /// So many nodes, spread evenly, whose views differ from those of the others by `differ` shares:
    /// half of them, or one more, of members that they do not know, the others in pairs of an older
    /// and a newer record. Node 0 is never among either.
    pub fn by(differ: usize, behind: usize, nodes: usize) -> Self {
        let step = ((nodes - 1) / behind.max(1)).max(1);
        let those: Vec<usize> = (0..behind).map(|turn| 1 + turn * step).collect();
        let older = differ / 4;
        let mut others = (1..nodes).filter(|node| !those.contains(node));
        let mut take = |count: usize| others.by_ref().take(count).collect();
        Self { unknown: take(differ - 2 * older), older: take(older), nodes: those }
    }
}

/// What settling differences cost: sketches and their answers, records left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settling {
    /// Bytes of those messages, and of the datagrams around them.
    pub bytes: u64,
    /// Sketches.
    pub sketches: u64,
    /// Answers to them.
    pub differences: u64,
}

impl Settling {
    /// The greater of each figure.
    pub fn raise(&mut self, other: Self) {
        self.bytes = self.bytes.max(other.bytes);
        self.sketches = self.sketches.max(other.sketches);
        self.differences = self.differences.max(other.differences);
    }
}

/// The books of nodes that are behind.
#[derive(Default)]
pub(super) struct Views {
    of: BTreeMap<usize, Settling>,
}

impl Views {
    pub(super) fn of(behind: &Behind) -> Self {
        Self { of: behind.nodes.iter().map(|node| (*node, Settling::default())).collect() }
    }

    /// A datagram leaves.
    pub(super) fn note(&mut self, from: usize, to: usize, mut bytes: &[u8]) {
        let mut spent = Settling::default();
        while let [kind, low, high, rest @ ..] = bytes {
            let length = usize::from(u16::from_le_bytes([*low, *high]));
            let settles = [kind::SKETCH, kind::DIFFERENCE, kind::WANT].contains(kind);
            spent.sketches += u64::from(*kind == kind::SKETCH);
            spent.differences += u64::from(*kind == kind::DIFFERENCE);
            spent.bytes += if settles { (FRAME + length) as u64 } else { 0 };
            bytes = rest.get(length..).unwrap_or_default();
        }
        if spent.bytes == 0 {
            return;
        }
        for node in [from, to] {
            if let Some(sum) = self.of.get_mut(&node) {
                sum.bytes += spent.bytes + OVERHEAD;
                sum.sketches += spent.sketches;
                sum.differences += spent.differences;
            }
        }
    }
}

impl<T: SimTable> World<T> {
    /// The most that settling its differences cost one of the nodes that [began behind](Behind); none
    /// where nobody did.
    pub fn settling(&self) -> Option<Settling> {
        let views = self.views.as_ref()?;
        let mut most = Settling::default();
        views.of.values().for_each(|spent| most.raise(*spent));
        Some(most)
    }

    /// Takes from a table what a node that is behind does not know.
    pub(super) fn set_back(&mut self, table: &mut T, behind: &Behind, starts: &[Instant]) {
        for node in &behind.unknown {
            table.remove(self.ids[*node]);
        }
        for node in &behind.older {
            let mut birth = self.birth(*node, starts[*node]);
            birth.born = WallTime(birth.born.0 - 1);
            table.put(self.author(birth, Instant::ORIGIN));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_differ_by_so_many_shares() {
        for (differ, unknown, older) in [(0, 0, 0), (1, 1, 0), (30, 16, 7), (1_000, 500, 250)] {
            let behind = Behind::by(differ, 4, 1_000);
            assert_eq!((behind.unknown.len(), behind.older.len()), (unknown, older));
            assert_eq!(unknown + 2 * older, differ);
            assert_eq!(behind.nodes, [1, 250, 499, 748]);
            let mut all = [behind.nodes, behind.unknown, behind.older].concat();
            all.sort_unstable();
            all.dedup();
            assert!(all.len() == 4 + unknown + older && all[0] > 0);
        }
    }
}
