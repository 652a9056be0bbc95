//! The flags of `hyperscale real`: those of `hyperscale sim`, and what sockets need beside them.
//!
//! Invariant: a plan that sockets cannot play is refused before anything starts, with the reason.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use mesh_gossip::options::{BackendChoice, EngineOptions};

use crate::flags;
use crate::plan::{Plan, PlanError, Scenario, Table};

/// More agents than this one process was never asked to hold.
pub const MOST_AGENTS: usize = 2_048;
/// With so many, a starved member has a turn in 1.7 seconds.
pub const BUSY: u16 = 16;

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
    /// What the network between them does beside what the plan asks for.
    #[command(flatten)]
    pub hazards: Hazards,
    /// Busy threads that each starved member shares 3 % of a core with, in turns of 3 ms a tenth of a
    /// second: the scenario exhaustion.
    #[arg(long, default_value_t = BUSY, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub busy: u16,
    /// Gives every agent a process of its own, as many as there are --nodes; this one holds all of them
    /// where none are given.
    #[arg(long, value_parser = clap::value_parser!(u16).range(2..=512))]
    pub processes: Option<u16>,
    /// With --processes: this program, an older build of hyperscale, is what members are at first. From its
    /// first restart on a member is of this build.
    #[arg(long, value_name = "PROGRAM")]
    pub older: Option<PathBuf>,
}

/// What a network does to datagrams.
#[derive(Args, Clone, Copy, Debug, Default, PartialEq)]
pub struct Hazards {
    /// Probability that a datagram arrives twice: 0.05 or 5%; with --processes alone.
    #[arg(long, value_parser = flags::probability, default_value_t = 0.0)]
    pub duplication: f64,
    /// Probability that a datagram is held back, so that later ones overtake it.
    #[arg(long, value_parser = flags::probability, default_value_t = 0.0)]
    pub reordering: f64,
    /// Each datagram takes up to so many milliseconds.
    #[arg(long, value_parser = clap::value_parser!(u16).range(..=5_000), default_value_t = 0)]
    pub jitter_ms: u16,
}

impl Hazards {
    /// The longest way.
    pub fn jitter(self) -> Duration {
        Duration::from_millis(self.jitter_ms.into())
    }

    /// The flags that ask for the same.
    pub fn replay(self) -> String {
        let mut line = String::new();
        let mut add = |asked: bool, flag: &str, value: String| {
            if asked {
                line += &format!(" --{flag} {value}");
            }
        };
        add(self.duplication > 0.0, "duplication", self.duplication.to_string());
        add(self.reordering > 0.0, "reordering", self.reordering.to_string());
        add(self.jitter_ms > 0, "jitter-ms", self.jitter_ms.to_string());
        line
    }
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

/// All that agents stand on.
#[derive(Clone, Debug, PartialEq)]
pub struct Ground {
    /// The sockets.
    pub sockets: Sockets,
    /// The network between them.
    pub hazards: Hazards,
    /// How many processes, where every agent has one.
    pub processes: Option<u16>,
    /// Busy threads beside each starved member.
    pub busy: u16,
    /// What members are until they start again, where that is another build.
    pub older: Option<PathBuf>,
}

impl Ground {
    /// Sockets of one process on loopback as it is.
    pub fn of(sockets: Sockets) -> Self {
        Self { sockets, hazards: Hazards::default(), processes: None, busy: BUSY, older: None }
    }

    /// The flags that ask for the same.
    pub fn replay(&self) -> String {
        let processes = self.processes.map(|processes| format!(" --processes {processes}"));
        let busy = if self.busy == BUSY { String::new() } else { format!(" --busy {}", self.busy) };
        let older = self.older.as_ref().map(|older| format!(" --older {}", older.display()));
        let rest = [busy, older.unwrap_or_default(), processes.unwrap_or_default()].concat();
        self.sockets.replay() + &self.hazards.replay() + &rest
    }
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
    /// All that agents stand on.
    pub fn ground(&self) -> Ground {
        let Self { sockets, hazards, processes, busy, older, plan: _ } = self;
        let (sockets, hazards, older) = (*sockets, *hazards, older.clone());
        Ground { sockets, hazards, processes: *processes, busy: *busy, older }
    }

    /// The plan that the flags describe.
    ///
    /// # Errors
    /// [`PlanError`] where the flags contradict each other, or ask for what sockets do not have.
    pub fn plan(&self) -> Result<Plan, PlanError> {
        let plan = playable(self.plan.plan()?)?;
        let refuse = |flag, given: String, allowed: &str| {
            Err(PlanError::OutOfRange { flag, given, allowed: allowed.into() })
        };
        match self.processes {
            None if plan.scenario == Scenario::Exhaustion => {
                let given = plan.scenario.name().into();
                refuse("--scenario", given, "with --processes: who shares one shares its turns")
            }
            None if self.older.is_some() => {
                let given = format!("{:?}", self.older.clone().unwrap_or_default());
                refuse("--older", given, "with --processes: one process is of one build")
            }
            None if self.hazards.duplication > 0.0 => {
                let given = self.hazards.duplication.to_string();
                refuse("--duplication", given, "with --processes: one process carries no bytes")
            }
            Some(_) if plan.scenario == Scenario::Drill => {
                let given = plan.scenario.name().into();
                refuse("--scenario", given, "without --processes: every view is looked into")
            }
            Some(processes) if usize::from(processes) != plan.nodes => {
                let allowed = format!(
                    "{}, one for each of --nodes; plan, agent and ranks let many share one",
                    plan.nodes
                );
                refuse("--processes", processes.to_string(), &allowed)
            }
            Some(_) | None => Ok(plan),
        }
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
        | Scenario::Exhaustion
        | Scenario::Drill
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
            ("--nodes 8 --processes 4", "one for each"),
            ("--nodes 8 --scenario exhaustion", "--processes"),
            ("--nodes 8 --processes 8 --scenario drill", "every view"),
            ("--nodes 8 --duplication 5%", "--processes"),
            ("--nodes 8 --older target/old", "one build"),
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
