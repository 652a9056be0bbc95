//! Other options for an agent that runs: all that can change, or nothing.
//!
//! Invariant: whatever may refuse is asked before anything is changed.

use std::sync::PoisonError;

use mesh_gossip_proto::Metadata;

use super::{Agent, PATIENCE};
use crate::control::ControlMessage;
use crate::error::AgentError;
use crate::options::AgentOptions;
use crate::orders::{Adjustment, Order};
use crate::reconfigure::{ReconfigureError, Report, differences, merged, same_member};
use crate::upkeep::{Change, Renewed};

impl Agent {
    /// Takes over what a running agent can of other options: region, version, labels, HTTP/3,
    /// seeds, certificates, trust, revocation lists and how often they are read,
    /// `metrics:peerLabels` and `leftRetention`. Files are read again even where no option
    /// differs. The report names what has changed and what needs a restart, each by its key. What
    /// the host changed by [`Agent::update_metadata`] stays, where the options say the same as
    /// before. Options of another member, with another id, role, cluster or trust domain, are
    /// refused whole.
    ///
    /// Blocks while files are read. Calls take turns.
    ///
    /// ```no_run
    /// use mesh_gossip::settings::{Settings, Sources};
    ///
    /// # fn host(agent: &mesh_gossip::Agent) -> Result<(), Box<dyn std::error::Error>> {
    /// let settings = Settings::load(&Sources::from_process(None))?;
    /// let (_, options) = settings.resolve()?;
    /// let report = agent.reconfigure(options)?;
    /// println!("changed: {:?}; after a restart: {:?}", report.changed, report.needs_restart);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ReconfigureError`] says why nothing changed.
    pub fn reconfigure(&self, options: AgentOptions) -> Result<Report, ReconfigureError> {
        let mut in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        same_member(&in_force, &options)?;
        options.protocol.clone().validate().map_err(ReconfigureError::Config)?;
        let (changed, needs_restart) = differences(&in_force, &options);
        let next = merged(&in_force, options);

        let describes = |metadata: &mut Metadata| describe(&in_force, &next, metadata);
        let mut metadata =
            self.metadata().ok_or(ReconfigureError::Metadata(AgentError::Stopped))?;
        describes(&mut metadata);
        self.adjust(Adjustment::Weigh(metadata)).map_err(ReconfigureError::Metadata)?;

        let options = Change::Options(Box::new(next.tls.clone()));
        let certificates = match self.keeper.renew(options).map_err(ReconfigureError::Renew)? {
            Renewed { refused: Some(error), trust, .. } => {
                return Err(ReconfigureError::Refused { error: Box::new(error), trust });
            }
            renewed => renewed,
        };

        let has_seeds = !next.seeds.is_empty() || next.seed_file.is_some();
        let adjustment = Adjustment::Take {
            left_retention: next.protocol.left_retention,
            peer_labels: next.peer_labels,
            has_seeds,
        };
        self.update_metadata(describes).map_err(ReconfigureError::Agent)?;
        self.adjust(adjustment).map_err(ReconfigureError::Agent)?;
        if in_force.seeds != next.seeds || in_force.seed_file != next.seed_file {
            let (seeds, file) = (next.seeds.clone(), next.seed_file.clone());
            let message = ControlMessage::Seeds { agent: self.id, seeds, file };
            let sent = self.engine.control().try_send(message);
            sent.map_err(|refused| ReconfigureError::Agent(refused.into()))?;
        }
        *in_force = next;
        Ok(Report { changed, needs_restart, certificates })
    }

    fn adjust(&self, adjustment: Adjustment) -> Result<(), AgentError> {
        let agent = self.id;
        let done = self.ask(PATIENCE, |reply| Order::Adjust { agent, adjustment, reply })?;
        Ok(done?)
    }
}

/// Brings to `metadata` what `after` says otherwise than `before`, and nothing else.
fn describe(before: &AgentOptions, after: &AgentOptions, metadata: &mut Metadata) {
    if before.region != after.region {
        metadata.region.clone_from(&after.region);
    }
    if before.mesh_version != after.mesh_version {
        metadata.mesh_version.clone_from(&after.mesh_version);
    }
    if before.http3_support != after.http3_support {
        metadata.http3_support = after.http3_support;
    }
    for name in before.labels.keys().filter(|name| !after.labels.contains_key(*name)) {
        metadata.labels.remove(name);
    }
    for (name, value) in &after.labels {
        if before.labels.get(name) != Some(value) {
            metadata.labels.insert(name.clone(), value.clone());
        }
    }
}
