//! What hashicorp/memberlist does where this project does otherwise: gossip to the recently dead
//! and periodic exchanges (rule F-9). It runs for the baselines alone, without [`Baseline::extras`].
//!
//! Invariant: none of this is reached with the extras on.
//!
//! [`Baseline::extras`]: crate::config::Baseline::extras

use alloc::vec::Vec;

use super::Node;
use crate::member::{MemberId, State};
use crate::membership::roster::List;
use crate::membership::table::MemberTable;
use crate::time::{Duration, Instant};

/// The dead are gossiped to for so long: a living one learns of its death and refutes.
const DEAD_GOSSIP: Duration = Duration::from_secs(30);

impl<T: MemberTable> Node<T> {
    /// Up to `wanted` distinct others at random, present or dead for less than 30 s.
    pub(super) fn draw_with_recently_dead(&mut self, now: Instant, wanted: usize) -> Vec<MemberId> {
        let counts = self.table.counts();
        let all = counts.present() + counts.dead + counts.left;
        let mut drawn = Vec::with_capacity(wanted);
        for _ in 0..wanted * 8 {
            if drawn.len() == wanted {
                break;
            }
            let present = self.rng.usize(0..all) < counts.present();
            let list = if present { List::Present } else { List::Departed };
            let Some(member) = self.table.sample(list, &mut self.rng) else { continue };
            let hears = match member.state {
                State::Alive | State::Suspect => true,
                State::Dead => now.since(self.table.since(member)) <= DEAD_GOSSIP,
                State::Left => false,
            };
            let id = member.id();
            if hears && id != self.local && !drawn.contains(&id) {
                drawn.push(id);
            }
        }
        drawn
    }

    /// A full exchange with one random member when its time has come.
    pub(super) fn push_pull(&mut self, now: Instant) {
        if !self.push_pull.is_due(now, self.members(), &mut self.rng) {
            return;
        }
        let partner = self.draw_present(1).first().and_then(|id| self.peer(*id));
        if let Some(partner) = partner {
            self.wish_stream(partner, Vec::new());
        }
    }
}
