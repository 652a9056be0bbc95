//! Who tells all this, as labels of a series that is always 1.
//!
//! Dashboards group by it: no other family repeats the names of its agent.
//!
//! Invariant: there is one series at most, of what the view says of us.

use mesh_gossip_proto::View;
use prometheus::{IntGaugeVec, Opts, Registry};

use super::families::register;

const LABELS: [&str; 5] = ["mesh_node", "mesh_cluster", "mesh_role", "mesh_region", "mesh_version"];

/// The agent's names.
pub(super) struct Identity(IntGaugeVec);

impl Identity {
    pub(super) fn new(r: &Registry) -> Self {
        let options = Opts::new("mesh_gossip_agent_info", "1; the labels tell who the agent is.");
        let family = IntGaugeVec::new(options, &LABELS).expect("names are well formed");
        Self(register(r, family))
    }

    pub(super) fn copy(&self, view: &View) {
        self.0.reset();
        let Some(member) = view.member(view.local()) else { return };
        let it = &member.record.record().metadata;
        let values = [&it.node_id, &it.cluster_id, &it.role, &it.region, &it.mesh_version]
            .map(String::as_str);
        self.0.with_label_values(&values).set(1);
    }
}
