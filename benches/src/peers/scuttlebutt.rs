//! chitchat: no membership by rumour but a reconciliation of digests, which name every member. It
//! cannot be driven without a runtime: two of them run on one thread, their transport is its
//! channel in memory, which encodes and decodes each message (and compares the two), and a round
//! is over when the other holds what was news.

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use chitchat::transport::ChannelTransport;
use chitchat::{
    ChitchatConfig, ChitchatHandle, ChitchatId, DeletionStatus, FailureDetectorConfig,
    ProtocolVersion, VersionedValue, spawn_chitchat,
};
use tokio::runtime::{Builder, Runtime};

use crate::population::{CLUSTER, address};

/// Rounds happen when they are asked for.
const NEVER: Duration = Duration::from_secs(86_400);

fn who(number: u32) -> ChitchatId {
    ChitchatId::new(format!("node-{number:06}"), 1_700_000_000_000, address(number))
}

/// Two that know the same members.
pub struct Pair {
    runtime: Runtime,
    author: ChitchatHandle,
    reader: ChitchatHandle,
    members: Arc<[ChitchatId]>,
}

impl Pair {
    /// Both know the first `members` members and are none of them.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn knowing(members: u32) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime starts");
        let transport = ChannelTransport::default();
        let start = |number| {
            let id = who(number);
            let config = ChitchatConfig {
                listen_addr: id.gossip_advertise_addr,
                chitchat_id: id,
                cluster_id: CLUSTER.to_string(),
                gossip_interval: NEVER,
                seed_nodes: Vec::new(),
                failure_detector_config: FailureDetectorConfig::default(),
                marked_for_deletion_grace_period: NEVER,
                catchup_callback: None,
                extra_liveness_predicate: None,
                protocol_version: ProtocolVersion::V1,
            };
            runtime.block_on(spawn_chitchat(config, Vec::new(), &transport)).expect("it starts")
        };
        let (author, reader) = (start(members), start(members + 1));
        let mut pair = Self { runtime, author, reader, members: (0..members).map(who).collect() };
        let everybody: Vec<u32> = (0..members).collect();
        pair.learn(&everybody, 1);
        // One message does not hold all of them.
        for about in everybody.chunks(16) {
            pair.round(about, 1);
        }
        pair
    }

    /// The author learns of `about`, whoever may have told it.
    pub fn learn(&mut self, about: &[u32], version: u64) {
        let Self { runtime, author, members, .. } = self;
        runtime.block_on(author.with_chitchat(|chitchat| {
            for number in about {
                let value =
                    VersionedValue { value: "alive".into(), version, status: DeletionStatus::Set };
                let news = iter::once(("state".to_string(), value));
                chitchat.reset_node_state_if_update(&members[*number as usize], news, version, 0);
            }
        }));
    }

    /// One round of gossip between the two, until the reader knows this of `about`.
    ///
    /// # Panics
    /// If one of them has ended.
    pub fn round(&mut self, about: &[u32], version: u64) {
        let Self { runtime, author, reader, members } = self;
        runtime.block_on(async {
            let knows = async || {
                reader
                    .with_chitchat(|chitchat| {
                        about.iter().all(|number| {
                            let state = chitchat.node_state(&members[*number as usize]);
                            state.is_some_and(|state| state.max_version() >= version)
                        })
                    })
                    .await
            };
            let mut looks = 0u32;
            while !knows().await {
                // A message has room for so much; what is left takes another round.
                if looks.is_multiple_of(64) {
                    let to = reader.chitchat_id().gossip_advertise_addr;
                    author.gossip(to).expect("it has not ended");
                }
                looks += 1;
                tokio::task::yield_now().await;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_arrive_by_a_round() {
        let mut pair = Pair::knowing(20);
        pair.learn(&[3, 4], 2);
        pair.round(&[3, 4], 2);
        let Pair { runtime, reader, members, .. } = &pair;
        let version = |number: usize| {
            runtime.block_on(reader.with_chitchat(|chitchat| {
                chitchat.node_state(&members[number]).map(chitchat::NodeState::max_version)
            }))
        };
        assert_eq!([version(3), version(4), version(5)], [Some(2), Some(2), Some(1)]);
    }
}
