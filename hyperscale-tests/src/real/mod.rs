//! Real agents on real sockets: the scenarios of the simulator, played on loopback.
//!
//! One process, one engine, N agents, each with a certificate, a port and a view of its own. The
//! script is the simulator's, the measure is the simulator's, the thresholds are the simulator's; what
//! differs is the world between them. Three phases: everybody starts and finds everybody else; the
//! warm-up; the measured window.
//!
//! Invariant: the same flags mean the same plan here and in the simulator. Faults follow from the
//! seed; when they strike to the millisecond, and what comes of it, does not.

use std::fmt;
use std::time::{Duration, Instant as Clock};

use mesh_gossip::bootstrap::BootstrapError;
use mesh_gossip::{AgentError, RenewError, StartError};

use crate::plan::Plan;
use crate::progress::Progress;

mod counters;
mod figures;
pub mod flags;
mod hosts;
mod judge;
mod papers;
pub mod process;
pub mod ranks;
mod stage;
mod timeline;
mod weather;

pub use figures::{Figures, Report};
pub use flags::{Flags, Io, Sockets};

use figures::Grown;
use hosts::{Hosts, Identities};
use process::Memory;
use stage::Stage;
use weather::Sky;

/// Everybody has found everybody else by then, or never will.
const CONVERGE_LIMIT: Duration = Duration::from_secs(120);
const CONVERGE_LOOK: Duration = Duration::from_millis(10);

/// Why nothing was measured.
#[derive(Debug)]
pub enum RealError {
    /// A certificate could not be made.
    Mint(BootstrapError),
    /// The engine or an agent could not be started.
    Start(StartError),
    /// An agent does not answer.
    Agent(AgentError),
    /// An agent does not take a certificate.
    Renew(RenewError),
    /// The agents never found each other.
    NotConverged {
        /// Views that were complete in the end,
        complete: usize,
        /// of so many.
        nodes: usize,
    },
}

impl fmt::Display for RealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mint(error) => write!(f, "cannot mint certificates: {error}"),
            Self::Start(error) => error.fmt(f),
            Self::Agent(error) => write!(f, "an agent does not answer: {error}"),
            Self::Renew(error) => write!(f, "an agent does not take its certificate: {error}"),
            Self::NotConverged { complete, nodes } => write!(
                f,
                "after {CONVERGE_LIMIT:?} {complete} of {nodes} views are complete; try fewer --nodes"
            ),
        }
    }
}

impl std::error::Error for RealError {}

impl From<StartError> for RealError {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

impl From<BootstrapError> for RealError {
    fn from(error: BootstrapError) -> Self {
        Self::Mint(error)
    }
}

impl From<RenewError> for RealError {
    fn from(error: RenewError) -> Self {
        Self::Renew(error)
    }
}

/// Plays a plan on sockets.
///
/// # Errors
/// [`RealError`] says why there is nothing to report.
pub fn run(plan: &Plan, sockets: Sockets, progress: &Progress) -> Result<Report, RealError> {
    let begun = Clock::now();
    let mut grown = Grown { process: Memory::now().resident, ..Grown::default() };
    let identities = Identities::mint(plan)?;
    grown.certificates = Memory::now().resident;
    let hosts = Hosts::asleep(identities, sockets.engine(), Sky::of(plan))?;
    grown.engine = Memory::now().resident;

    let mut stage = Stage::new(plan, hosts);
    let joined = stage.start(progress)?;
    grown.joined = Memory::now().resident;
    stage.warm(progress)?;
    stage.play(progress)?;
    progress.end();
    let report = stage.close(sockets, joined, grown, begun);
    report.map(judge::judged)
}
