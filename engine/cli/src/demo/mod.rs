//! `omnirelay mesh demo`: a whole mesh in one process, to watch or to assert on.
//!
//! An ephemeral certificate authority lives in memory for as long as the demo does, so that even
//! a demo speaks nothing but mutual TLS. Everything here reads the mesh as a host would: through
//! the agents' views.
//!
//! Invariant: with `--assert` the last line is the verdict, also when nothing could be started.

mod assertion;
mod board;
mod follow;
mod live;
mod mesh;
mod options;
mod ports;
mod report;
mod voice;

use std::time::Duration;

use clap::{Args, ValueEnum};
use mesh_gossip::StartError;
use mesh_gossip::bootstrap::BootstrapError as MintError;
use mesh_gossip::options::BackendChoice;
use mesh_gossip::settings::{LogFormat, LogOptions};
use tracing::level_filters::LevelFilter;

use crate::duration;
use crate::logging::{self, LoggingError};
use crate::signals::Stop;
use voice::Voice;

/// Starts a mesh of agents on loopback and shows its members, until Ctrl-C.
///
/// Mints an ephemeral certificate authority, starts the agents on the first free ports, prints
/// when everyone sees everyone, then a table of the members that follows their changes. On a
/// terminal keys kill, stop, add, cut off, drain and certify agents anew, and each act is followed by
/// how many milliseconds the others took to know.
#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Agents to start.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=4_096))]
    nodes: u16,
    /// Ends the demo after this long; with --assert, gives up after it.
    #[arg(long, value_parser = duration::parse_positive)]
    duration: Option<Duration>,
    /// Datagram backend; without it, io_uring where it is usable.
    #[arg(long, value_enum)]
    io: Option<Io>,
    /// Converges, kills the last agent without a goodbye, waits for its removal from every view,
    /// and exits with 0 if both took no longer than promised, else 1. For 2 to 16 agents.
    #[arg(long)]
    assert: bool,
    /// With --assert: the last line is one JSON object. Without: every line is one.
    #[arg(long)]
    json: bool,
    /// First gossip port to try.
    #[arg(long, default_value_t = 17_421, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// First port to try for the control server of the first agent.
    #[arg(long, default_value_t = 8_080, value_parser = clap::value_parser!(u16).range(1..))]
    control_port: u16,
    /// Logs the agents to stderr at this level: error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL")]
    log: Option<LevelFilter>,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Io {
    Uring,
    Mmsg,
}

impl DemoArgs {
    fn backend(&self) -> BackendChoice {
        match self.io {
            None => BackendChoice::Auto,
            Some(Io::Uring) => BackendChoice::Uring,
            Some(Io::Mmsg) => BackendChoice::Mmsg,
        }
    }
}

/// Why the demo failed.
#[derive(Debug)]
pub(crate) enum DemoError {
    /// No certificate could be minted.
    Mint(MintError),
    /// The engine did not start.
    Engine(StartError),
    /// An agent did not start.
    Agent { node: String, error: StartError },
    /// Every port that was tried is taken.
    NoPort { from: u16, tried: u16 },
    /// Not everyone saw everyone in time.
    NotConverged { after: Duration, missing: Vec<String> },
    /// The killed agent stayed in somebody's view.
    NotRemoved { after: Duration, still_in: Vec<String> },
    /// A signal, or the end of --duration, came before the assertions were done.
    Interrupted,
    /// There is nobody left to notice a death among fewer than two agents.
    TooFewToKill,
    /// More agents than the suspicion interval is promised for.
    TooManyToPromise { nodes: u16, most: usize },
    /// A promise was broken; stdout has told which one.
    Asserted,
    /// The log could not be set up.
    Logging(LoggingError),
    /// Signals could not be taken over, or stdout is closed.
    Process(std::io::Error),
}

impl DemoError {
    /// Whether stdout has told it already; a further line would follow the last one.
    pub(crate) fn is_told(&self) -> bool {
        matches!(self, Self::Asserted)
    }
}

impl std::fmt::Display for DemoError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mint(error) => write!(f, "cannot mint the demo's certificates: {error}"),
            Self::Engine(error) => write!(f, "the engine did not start: {error}"),
            Self::Agent { node, error } => write!(f, "{node} did not start: {error}"),
            Self::NoPort { from, tried } => write!(
                f,
                "none of the {tried} ports from {from} is free; name another first one with \
                 --port or --control-port"
            ),
            Self::NotConverged { after, missing } => write!(
                f,
                "after {after:?} not everyone sees everyone: {}; --log debug shows why",
                missing.join(", ")
            ),
            Self::NotRemoved { after, still_in } => write!(
                f,
                "{after:?} after its death the killed agent is still a member for {}",
                still_in.join(", ")
            ),
            Self::Interrupted => f.write_str("interrupted before the end"),
            Self::TooFewToKill => {
                f.write_str("--assert kills an agent and asks the others: --nodes 2 at least")
            }
            Self::TooManyToPromise { nodes, most } => write!(
                f,
                "--assert holds removals to suspicionInterval, which is promised up to {most} \
                 members: --nodes {most} at most, not {nodes}"
            ),
            Self::Asserted => f.write_str("a promise was broken"),
            Self::Logging(error) => error.fmt(f),
            Self::Process(error) => write!(f, "the demo's own process failed: {error}"),
        }
    }
}

impl std::error::Error for DemoError {}

impl From<std::io::Error> for DemoError {
    fn from(error: std::io::Error) -> Self {
        Self::Process(error)
    }
}

/// Runs the demo to its end.
pub(crate) fn run(args: &DemoArgs) -> Result<(), DemoError> {
    if let Some(level) = args.log {
        logging::start(LogOptions { format: LogFormat::Text, level })
            .map_err(DemoError::Logging)?;
    }
    let stop = Stop::on_signals()?;
    if args.assert {
        return assertion::run(args, &stop, &mut Voice::plain());
    }
    let mut voice = Voice::for_stdout(args.json);
    if voice.redraws() && live::is_possible(args.nodes) {
        return live::run(args, &stop, &mut voice);
    }
    follow::run(args, &stop, &mut voice)
}
