//! The agent that runs with these settings, asked at its control URL.
//!
//! Invariant: an agent of another name is not taken for ours.

use std::time::Duration;

use mesh_gossip::options::AgentOptions;
use serde::Deserialize;

use crate::peers;

/// An agent of this name that answers.
pub(super) struct Running {
    pub(super) url: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    local_node_id: String,
}

impl Running {
    /// Asks where it was said, or where the settings say.
    pub(super) fn find(
        options: &AgentOptions,
        url: Option<&str>,
        patience: Duration,
    ) -> Option<Self> {
        let configured = || {
            let at = options.control.as_ref()?.bind;
            // A port that the kernel chose is known to that agent alone.
            (at.port() != 0).then(|| format!("http://{at}"))
        };
        let url = url.map(str::to_owned).or_else(configured)?;
        let body = peers::fetch(&format!("{url}/control/peers"), patience).ok()?;
        let document: Document = serde_json::from_str(&body).ok()?;
        (document.local_node_id == options.node_id).then_some(Self { url })
    }
}
