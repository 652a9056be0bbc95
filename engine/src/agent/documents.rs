//! The documents of the control HTTP server, for a host that serves or reads them by itself.
//!
//! Invariant: the same document by either way: nothing here words anything of its own.

use std::fmt;
use std::time::Duration;

use mesh_gossip_proto::{Lifecycle, State};
use serde::Serialize;

use super::Agent;
use crate::control::Site;
use crate::control::leaders::leaders_document;
use crate::control::leases::lease_document;
use crate::control::peers::peers_document;
use crate::control::selection::{Page, Selection};
use crate::error::AgentError;

/// Why there is no document.
#[derive(Debug)]
pub enum DocumentError {
    /// The agent did not answer.
    Agent(AgentError),
    /// It was asked for something that does not exist; what.
    Unknown(String),
    /// It could not be written as JSON.
    Json(serde_json::Error),
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(error) => error.fmt(f),
            Self::Unknown(what) => f.write_str(what),
            Self::Json(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DocumentError {}

impl From<AgentError> for DocumentError {
    fn from(error: AgentError) -> Self {
        Self::Agent(error)
    }
}

/// How an agent is, as its `/healthz` and `/readyz` tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// The first full exchange with the mesh is done.
    pub joined: bool,
    /// It hands its work over, or has done so.
    pub draining: bool,
    /// It is a member in its own view.
    pub present: bool,
}

impl Health {
    /// Whether it may be given work.
    pub fn is_ready(self) -> bool {
        self.joined && self.present && !self.draining
    }
}

impl Agent {
    /// What `GET /control/peers` answers.
    ///
    /// # Errors
    /// [`DocumentError::Agent`] when the shard does not answer within `timeout`.
    pub fn peers_json(&self, timeout: Duration) -> Result<String, DocumentError> {
        let inspection = self.inspect(timeout)?;
        let published = self.view();
        let is_revoked = |envelope: &[u8]| Site::is_revoked(&*self.shared, envelope);
        let everybody = (&Selection::default(), &Page::default());
        json(&peers_document(&published.view, &inspection, everybody, &is_revoked))
    }

    /// What `GET /control/leaders` answers, of one scope or of all.
    ///
    /// # Errors
    /// [`DocumentError::Unknown`] for a scope that is not configured, else as for
    /// [`Agent::peers_json`].
    pub fn leaders_json(
        &self,
        scope: Option<&str>,
        timeout: Duration,
    ) -> Result<String, DocumentError> {
        let inspection = self.inspect(timeout)?;
        let document = leaders_document(&self.view().view, scope, inspection.wall);
        json(&document.map_err(|unknown| DocumentError::Unknown(unknown.to_string()))?)
    }

    /// What `GET /control/lease-health` answers, with what [`Agent::report_leases`] was told.
    ///
    /// # Errors
    /// As for [`Agent::peers_json`].
    pub fn lease_health_json(&self, timeout: Duration) -> Result<String, DocumentError> {
        let inspection = self.inspect(timeout)?;
        json(&lease_document(&self.view().view, &inspection, &self.leases))
    }

    /// How the agent is: its shard answers, or this is an error.
    ///
    /// # Errors
    /// As for [`Agent::inspect`].
    pub fn health(&self, timeout: Duration) -> Result<Health, AgentError> {
        let joined = self.inspect(timeout)?.joined;
        let published = self.view();
        let Some(local) = published.view.member(self.shared.id) else {
            return Ok(Health { joined, draining: false, present: false });
        };
        let present = match local.state {
            State::Alive | State::Suspect => true,
            State::Dead | State::Left => false,
        };
        let draining = match local.record.record().lifecycle {
            Lifecycle::Active | Lifecycle::Cordoned => false,
            Lifecycle::Draining | Lifecycle::Drained | Lifecycle::Leaving => true,
        };
        Ok(Health { joined, draining, present })
    }
}

fn json(document: &impl Serialize) -> Result<String, DocumentError> {
    serde_json::to_string(document).map_err(DocumentError::Json)
}
