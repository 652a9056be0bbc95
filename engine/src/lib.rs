//! Embeddable gossip membership over mutual TLS datagrams.
mod agent;
mod clock;
mod control;
mod engine;
mod entropy;
mod error;
pub mod examine;
pub mod io;
pub mod leaders;
pub mod link;
mod metrics;
mod network;
pub mod options;
mod orders;
pub mod reconfigure;
pub mod settings;
mod shard;
mod shared;
pub mod snapshot;
mod state;
pub mod tls;
mod trace;
mod upkeep;
mod wall;

#[cfg(feature = "bootstrap")]
pub mod bootstrap;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;

pub use mesh_gossip_proto as proto;

pub use agent::{Agent, AgentBuilder, BuildError, DocumentError, EventReader, Health, ViewReader};
pub use control::HostEvent;
pub use control::leases::{Lease, LeaseError, LeaseReport};
pub use control::logging::{FilterError, LogSwitch};
pub use control::upgrade::{
    DrainOrder, DrainParticipant, DrainRegistration, ParticipantStatus, UpgradeError, UpgradeStatus,
};
pub use engine::Engine;
pub use error::{AgentError, StartError};
pub use leaders::LeaderWatch;
pub use options::{AgentOptions, EngineOptions};
pub use orders::{Inspection, Refused};
pub use reconfigure::{ReconfigureError, Report};
pub use shard::records::{Quantiles, Recorded};
pub use state::StateError;
pub use upkeep::{RenewError, Renewed};

/// The README's program compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
