//! Cordon, drain, resume and leases from the host's side.

use std::sync::Arc;
use std::time::Duration;

use mesh_gossip_proto::Lifecycle;

use super::Agent;
use crate::control::leases::{LeaseError, LeaseReport};
use crate::control::logging::LogSwitch;
use crate::control::upgrade::{DrainParticipant, DrainRegistration, UpgradeError, UpgradeStatus};
use crate::error::AgentError;

impl Agent {
    /// Takes no new work of the mesh, visibly to every member; what is there goes on. Asked twice it
    /// is done once.
    ///
    /// # Errors
    /// [`UpgradeError::Conflict`] while the node drains or leaves.
    pub fn cordon(&self, reason: Option<&str>) -> Result<UpgradeStatus, UpgradeError> {
        self.upgrade.cordon(reason.map(str::to_owned))
    }

    /// Takes new work again.
    ///
    /// # Errors
    /// [`UpgradeError::Conflict`] while the node drains or leaves.
    pub fn uncordon(&self) -> Result<UpgradeStatus, UpgradeError> {
        self.upgrade.uncordon()
    }

    /// Hands its work over: the mesh sees `draining` and readiness fails before the host's
    /// participants are asked, each on a thread of its own, and `drained` once all are done. Returns at
    /// once; [`Agent::upgrade_status`] tells how far it is. Asked again it lets those that failed or were late try again.
    ///
    /// # Errors
    /// [`UpgradeError::Conflict`] while it drains for another reason, or leaves.
    pub fn drain(&self, reason: Option<&str>) -> Result<UpgradeStatus, UpgradeError> {
        self.upgrade.drain(reason.map(str::to_owned))
    }

    /// Ends a drain, or calls it off while it is under way.
    ///
    /// # Errors
    /// [`UpgradeError::Conflict`] when the node is cordoned, or leaves.
    pub fn resume(&self) -> Result<UpgradeStatus, UpgradeError> {
        self.upgrade.resume()
    }

    /// How far the node is.
    pub fn upgrade_status(&self) -> UpgradeStatus {
        self.upgrade.status()
    }

    /// Adds a part of the host that has work to hand over within so much time. It is asked at every
    /// drain until the registration is dropped.
    pub fn register_drain(
        &self,
        name: &str,
        within: Duration,
        participant: impl DrainParticipant,
    ) -> DrainRegistration {
        self.upgrade.register(name, within, Arc::new(participant))
    }

    /// Publishes a lifecycle (active, cordoned, draining, drained).
    ///
    /// # Errors
    /// [`AgentError`] says why nothing changed.
    pub fn set_lifecycle(&self, lifecycle: Lifecycle) -> Result<(), AgentError> {
        self.upgrade.set(lifecycle)
    }

    /// Tells what the host knows of the work of a peer, in the place of what it told before; it
    /// stands in `GET /omnirelay/control/lease-health` of this agent, and nowhere else.
    ///
    /// # Errors
    /// [`LeaseError`] at a limit; then nothing changed.
    pub fn report_leases(&self, node_id: &str, report: LeaseReport) -> Result<(), LeaseError> {
        self.leases.report(node_id, report)
    }

    /// Gives the host's log to the control server: `PUT /control/logging` turns the switch, and it
    /// is turned back when the time that was asked for is over, and when the agent ends. A switch
    /// that was given before is turned back and let go.
    ///
    /// ```no_run
    /// use std::sync::Arc;
    /// use mesh_gossip::{Agent, FilterError, LogSwitch};
    ///
    /// struct Level; // holds a `tracing_subscriber::reload::Handle`, for example
    ///
    /// impl LogSwitch for Level {
    ///     fn configured(&self) -> String {
    ///         "info".into()
    ///     }
    ///
    ///     fn set(&self, filter: Option<&str>) -> Result<(), FilterError> {
    ///         let level = filter.unwrap_or("info").parse::<tracing::Level>();
    ///         let level = level.map_err(|error| FilterError { reason: error.to_string() })?;
    ///         println!("{level} from here on");
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # fn host(agent: &Agent) {
    /// agent.give_log(Arc::new(Level));
    /// # }
    /// ```
    pub fn give_log(&self, switch: Arc<dyn LogSwitch>) {
        self.logging.give(switch);
    }
}
