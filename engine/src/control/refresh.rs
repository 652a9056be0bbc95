//! The host's own description of itself, read again and again.
//!
//! A host knows things about itself that change while it runs: a feature switched on, a label. It
//! gives a source; the source is read every refresh period, and only a difference is published,
//! because a period of republishing by everybody would be a storm.
//!
//! Invariant: an unchanged description costs no datagram.

use std::sync::Arc;
use std::time::Duration;

use mesh_gossip_proto::{Command, CommandError, Metadata};
use tokio::time::sleep;

use super::Desk;
use crate::orders::Order;

/// Brings a description up to date. Called on the control thread: it may not block.
pub(crate) type MetadataSource = Box<dyn FnMut(&mut Metadata) + Send>;

/// Reads `source` at once and then every `period`, for ever.
pub(super) async fn follow(desk: Arc<Desk>, period: Duration, mut source: MetadataSource) {
    loop {
        let published = desk.site.published();
        let own = published.view.member(published.view.local());
        if let Some(own) = own.map(|member| member.record.record().metadata.clone()) {
            let mut metadata = own.clone();
            source(&mut metadata);
            metadata.metadata_version = own.metadata_version;
            if metadata != own {
                publish(&desk, metadata);
            }
        }
        sleep(period).await;
    }
}

fn publish(desk: &Desk, metadata: Metadata) {
    let node_id = desk.site.node_id().to_owned();
    let reply = Box::new(move |outcome| {
        if let Err(error) = outcome
            && error != CommandError::Stale
        {
            tracing::warn!(
                target: "mesh_gossip",
                NodeId = node_id,
                Reason = %error,
                "the metadata source gave what cannot be published"
            );
        }
    });
    // Stale when the host changed it by command meanwhile: the source is read again in a period.
    let command = Command::ReviseMetadata(metadata);
    // So is one that a busy shard refuses.
    let _ = desk.shard.order(Order::Command { agent: desk.agent, command, reply });
}
