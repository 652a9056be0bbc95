//! The flags of `hyperscale real`: those of `hyperscale sim`, and what sockets need beside them.
//!
//! Invariant: a plan that sockets cannot play is refused before anything starts, with the reason.

use clap::{Args, ValueEnum};
use mesh_gossip::options::{BackendChoice, EngineOptions};

use crate::flags;
use crate::plan::{Plan, PlanError, Scenario, Table};

/// More agents than this one process was never asked to hold.
pub const MOST_AGENTS: usize = 2_048;

/// Flags of `hyperscale real`. What is not given takes the default of its scenario.
#[derive(Args, Clone, Debug)]
// The flattened flags have a group of the same name.
#[group(skip)]
pub struct Flags {
    /// What happens, as in a simulation.
    #[command(flatten)]
    pub plan: flags::Flags,
    /// What the sockets stand on.
    #[command(flatten)]
    pub sockets: Sockets,
    /// Processes that share the members; this one holds all of them where none are given.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub processes: Option<u16>,
}

/// What the sockets stand on.
#[derive(Args, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sockets {
    /// Datagram backend.
    #[arg(long, value_enum, default_value_t = Io::Auto)]
    pub io: Io,
    /// Shard threads; as many as cores where none are given.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub shards: Option<u16>,
}

/// A datagram backend.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// io_uring where it is usable.
    Auto,
    /// io_uring or an error.
    Uring,
    /// recvmmsg and sendmmsg.
    Mmsg,
}

impl Flags {
    /// The plan that the flags describe.
    ///
    /// # Errors
    /// [`PlanError`] where the flags contradict each other, or ask for what sockets do not have.
    pub fn plan(&self) -> Result<Plan, PlanError> {
        playable(self.plan.plan()?)
    }
}

impl Sockets {
    /// As an engine is started with.
    pub fn engine(self) -> EngineOptions {
        let backend = match self.io {
            Io::Auto => BackendChoice::Auto,
            Io::Uring => BackendChoice::Uring,
            Io::Mmsg => BackendChoice::Mmsg,
        };
        EngineOptions { backend, shards: self.shards.map(usize::from), ..EngineOptions::default() }
    }

    /// The flags that make the same choice.
    pub fn replay(self) -> String {
        let io = match self.io {
            Io::Auto => "",
            Io::Uring => " --io uring",
            Io::Mmsg => " --io mmsg",
        };
        let shards = self.shards.map(|shards| format!(" --shards {shards}"));
        io.to_owned() + shards.as_deref().unwrap_or_default()
    }
}

/// The plan, if sockets can play it.
fn playable(plan: Plan) -> Result<Plan, PlanError> {
    let refuse = |flag, given: String, allowed: &str| {
        Err(PlanError::OutOfRange { flag, given, allowed: allowed.into() })
    };
    if plan.nodes > MOST_AGENTS {
        let allowed = format!("2 to {MOST_AGENTS} agents in one process");
        return refuse("--nodes", plan.nodes.to_string(), &allowed);
    }
    if plan.table != Table::Auto {
        return refuse("--table", plan.table.name().into(), "agents have the table that they have");
    }
    if plan.words > 0 {
        return refuse("--words", plan.words.to_string(), "hosts are silent on sockets");
    }
    match plan.scenario {
        Scenario::Steady
        | Scenario::Crash
        | Scenario::RollingRestart
        | Scenario::Churn
        | Scenario::JoinStorm
        | Scenario::Asymmetric
        | Scenario::FlipFlop
        | Scenario::LifeguardInterval
        | Scenario::Threshold
        | Scenario::Partition
        | Scenario::Wan
        | Scenario::Certificates => Ok(plan),
        Scenario::AntiEntropy => {
            let allowed = "agents begin with nobody: what they differ by cannot be given to them";
            refuse("--scenario", plan.scenario.name().into(), allowed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }

    fn read(arguments: &str) -> Result<(Plan, Sockets), String> {
        let words = std::iter::once("real").chain(arguments.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        let plan = line.flags.plan().map_err(|error| error.to_string())?;
        Ok((plan, line.flags.sockets))
    }

    #[test]
    fn what_sockets_cannot_play_is_refused_with_the_reason() {
        for (arguments, hint) in [
            ("--nodes 2049", "2048"),
            ("--table shared", "--table"),
            ("--scenario churn --words 3", "--words"),
            ("--scenario anti-entropy", "agents begin with nobody"),
            ("--io carrier-pigeon", "uring"),
            ("--scenario crash --crash 128", "at most 127"),
        ] {
            let error = read(arguments).expect_err(arguments);
            assert!(error.contains(hint), "{arguments}: {error}");
        }
    }

    #[test]
    fn the_choice_of_sockets_can_be_repeated() {
        for arguments in ["", " --io mmsg --shards 2", " --io uring"] {
            let (_, sockets) = read(arguments).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(sockets.replay(), arguments);
        }
    }
}
