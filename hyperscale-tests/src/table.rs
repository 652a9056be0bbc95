//! What the simulator asks of a table beyond what nodes ask: to be made for many nodes at once.

use mesh_gossip_proto::{Config, DenseTable, Member, MemberId, MemberTable};

/// A table that a world can hand out to its nodes.
pub trait SimTable: MemberTable + Send + 'static {
    /// What the tables of one world have in common.
    type Common: Send;

    /// For a world with this configuration.
    fn common(config: &Config) -> Self::Common;

    /// So many members may come, whose ids `name` tells.
    fn expect(common: &mut Self::Common, known: usize, name: impl Fn(usize) -> MemberId) {
        let _ = (common, known, name);
    }

    /// An empty table.
    fn empty(common: &Self::Common, config: &Config) -> Self;

    /// Members that [`SimTable::full`] tables hold from here on.
    fn fill(common: &mut Self::Common, config: &Config, members: Vec<Member>);

    /// A table with the members of the last [`SimTable::fill`].
    fn full(common: &Self::Common) -> Self;

    /// How many [were expected](SimTable::expect) before this member, and where its entry stands, if
    /// that is soon told: hints for whoever looks ahead.
    fn stands(&self, id: MemberId) -> Option<(u32, *const u8)> {
        let _ = id;
        None
    }

    /// Looks through the tables of all running nodes for what they could share. Never changes an
    /// answer of any table.
    fn fold<'a>(common: &mut Self::Common, tables: impl Iterator<Item = &'a Self> + Clone);
}

impl SimTable for DenseTable {
    type Common = Self;

    fn common(config: &Config) -> Self {
        Self::for_cluster(&config.cluster_id, config.rings)
    }

    fn empty(_common: &Self, config: &Config) -> Self {
        Self::for_cluster(&config.cluster_id, config.rings)
    }

    fn fill(common: &mut Self, config: &Config, members: Vec<Member>) {
        *common = Self::common(config);
        for member in members {
            common.put(member);
        }
    }

    fn full(common: &Self) -> Self {
        common.clone()
    }

    fn fold<'a>(_common: &mut Self, _tables: impl Iterator<Item = &'a Self> + Clone) {}
}
