//! Seeds that a host names while its agent runs.
//!
//! Invariant: settings and host each take back their own seeds alone.

use std::net::SocketAddr;

use super::{Agent, PATIENCE, answer, wait};
use crate::error::AgentError;

impl Agent {
    /// Dials these members too to find the mesh through, beside the seeds of the settings: at once,
    /// and again for as long as they are absent. They take the place of those that an earlier call
    /// named, so that an empty list takes those back; the seeds of the settings stay in any case, and
    /// these stay when the settings change.
    ///
    /// Where both are more than 256 addresses, so many are dialled at a time, and until the mesh is
    /// found others have their turn every 30 seconds.
    ///
    /// # Errors
    /// [`AgentError`]; after [`AgentError::Timeout`] they may have been taken nevertheless.
    pub fn join(&self, addresses: Vec<SocketAddr>) -> Result<(), AgentError> {
        let (reply, answered) = answer();
        self.seeds.name(addresses, reply)?;
        Ok(wait(&answered, PATIENCE)??)
    }
}
