//! Real agents on real sockets: the scenarios of the simulator, played on loopback.
//!
//! One process, one engine, N agents, each with a certificate, a port and a view of its own; or a
//! process for each of them. The
//! script is the simulator's, the measure is the simulator's, the thresholds are the simulator's; what
//! differs is the world between them. Three phases: everybody starts and finds everybody else; the
//! warm-up; the measured window.
//!
//! Invariant: the same flags mean the same plan here and in the simulator. Faults follow from the
//! seed; when they strike to the millisecond, and what comes of it, does not.

use std::fmt;
use std::io;
use std::time::{Duration, Instant as Clock};

use mesh_gossip::bootstrap::BootstrapError;
use mesh_gossip::options::EngineOptions;
use mesh_gossip::{AgentError, RenewError, StartError};

use crate::plan::Plan;
use crate::progress::Progress;

mod cast;
mod child;
mod counters;
mod drill;
mod figures;
pub mod flags;
mod hosts;
mod hunger;
mod judge;
mod member;
mod papers;
pub mod peers;
mod pipe;
pub mod process;
mod processes;
mod proxy;
pub mod ranks;
mod stage;
mod timeline;
mod trend;
mod weather;

pub use cast::Cost;
pub use drill::Drilled;
pub use figures::{Figures, Joined, Report};
pub use flags::{Flags, Ground, Hazards, Io, Sockets};
pub use hunger::{BurnFlags, Starved, burn};
pub use member::run as be_a_member;

use cast::Cast;
use figures::Grown;
use hosts::{Hosts, Identities};
use process::Memory;
use processes::Processes;
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
    /// The machine does not give what processes need: pipes, ports, threads.
    Machine(io::Error),
    /// A member's process does not do what it should.
    Process {
        /// Whose,
        node: usize,
        /// and why.
        what: String,
    },
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
            Self::Machine(error) => write!(f, "the machine refuses: {error}"),
            Self::Process { node, what } => write!(f, "the process of node {node}: {what}"),
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
pub fn run(plan: &Plan, ground: &Ground, progress: &Progress) -> Result<Report, RealError> {
    let begun = Clock::now();
    let sky = Sky::of(plan, ground.hazards);
    if ground.processes.is_some() {
        let processes = Processes::asleep(plan, ground, sky)?;
        let mut stage = Stage::new(plan, processes);
        let joined = stage.start(progress)?;
        let [process, engine] = stage.hosts().grown.map(|memory| memory.resident);
        // Certificates are made by this process, which is none of those that are measured.
        let (certificates, joined_at) = (process, joined.resident);
        let grown = Grown { process, certificates, engine, joined: joined_at };
        return play(stage, ground, joined, grown, begun, progress);
    }
    let mut grown = Grown { process: Memory::now().resident, ..Grown::default() };
    let identities = Identities::mint(plan)?;
    grown.certificates = Memory::now().resident;
    // A scheduler that sees threads which sleep often may leave them all on one core.
    let options = EngineOptions { pin: true, ..ground.sockets.engine() };
    let hosts = Hosts::asleep(identities, options, sky)?;
    grown.engine = Memory::now().resident;
    let mut stage = Stage::new(plan, hosts);
    let joined = stage.start(progress)?;
    grown.joined = joined.resident;
    play(stage, ground, joined, grown, begun, progress)
}

fn play<C: Cast>(
    mut stage: Stage<'_, C>,
    ground: &Ground,
    joined: Joined,
    grown: Grown,
    begun: Clock,
    progress: &Progress,
) -> Result<Report, RealError> {
    stage.warm(progress)?;
    stage.play(progress)?;
    progress.end();
    stage.close(ground, joined, grown, begun).map(judge::judged)
}
