//! What members say of the work they take, counted at a scrape from the view.
//!
//! Invariant: every lifecycle has a series at all times, so that a rule that waits for the end of a
//! drain sees a zero and not a gap.

use mesh_gossip_proto::{Lifecycle, State, View};
use prometheus::{IntGaugeVec, Registry};

use super::families::gauges;

const ALL: [Lifecycle; 5] = [
    Lifecycle::Active,
    Lifecycle::Cordoned,
    Lifecycle::Draining,
    Lifecycle::Drained,
    Lifecycle::Leaving,
];

/// Our own lifecycle, and how many present members are in each.
pub(super) struct Lifecycles {
    own: IntGaugeVec,
    members: IntGaugeVec,
}

impl Lifecycles {
    pub(super) fn new(r: &Registry) -> Self {
        let label = "mesh_lifecycle";
        Self {
            own: gauges(
                r,
                "mesh_gossip_lifecycle",
                "1: what we say of our work; 0: others.",
                label,
            ),
            members: gauges(
                r,
                "mesh_gossip_lifecycle_members",
                "Present members by what they say of their work.",
                label,
            ),
        }
    }

    pub(super) fn copy(&self, view: &View) {
        let mut members = [0_i64; ALL.len()];
        let mut own = [0_i64; ALL.len()];
        for member in view.members() {
            match member.state {
                State::Alive | State::Suspect => {}
                State::Dead | State::Left => continue,
            }
            let record = member.record.record();
            let Some(at) = ALL.iter().position(|one| *one == record.lifecycle) else { continue };
            members[at] += 1;
            own[at] += i64::from(record.id == view.local());
        }
        for (at, lifecycle) in ALL.into_iter().enumerate() {
            self.own.with_label_values(&[lifecycle.as_str()]).set(own[at]);
            self.members.with_label_values(&[lifecycle.as_str()]).set(members[at]);
        }
    }
}
