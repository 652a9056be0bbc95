//! The `omnirelay` command: a mesh to watch, a mesh agent as a daemon, its membership, its
//! certificates.
//!
//! Invariant: the exit code is 0 for success, 1 for an error of any kind (a usage error
//! included), 2 for an answer that did not come in time.

mod agent;
mod bootstrap;
mod config;
mod control;
mod demo;
mod doctor;
#[cfg(test)]
mod documented_tests;
mod duration;
mod force_leave;
mod health;
mod leaders;
mod log_filter;
mod logging;
mod manual;
#[cfg_attr(not(feature = "otlp"), path = "otlp_off.rs")]
mod otlp;
mod paint;
mod peers;
mod reload;
mod say;
mod signals;
mod stdout;
mod supervision;
mod table;
mod upgrade;

use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::say::tell;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Gossip membership over mutual TLS: demo, agent, members, certificates.
///
/// Exit codes: 0 ok, 1 error (usage errors included), 2 timeout.
#[derive(Parser, Debug)]
#[command(name = "omnirelay", version)]
struct Cli {
    #[command(subcommand)]
    area: Area,
}

#[derive(Subcommand, Debug)]
enum Area {
    /// The gossip mesh.
    Mesh(Box<Mesh>),
    /// Prints what makes a shell complete commands.
    Completions(manual::CompletionsArgs),
    /// Prints the manual page, or writes one for each command.
    Man(manual::ManArgs),
}

#[derive(Args, Debug)]
struct Mesh {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Starts a mesh of agents on loopback and shows its members, until Ctrl-C.
    Demo(demo::DemoArgs),
    /// Runs one agent until SIGTERM or SIGINT.
    Agent(agent::AgentArgs),
    /// Shows the members that an agent knows.
    Peers(peers::PeersArgs),
    /// Shows who leads what; advice, and no lock.
    Leaders(leaders::LeadersArgs),
    /// Shows and checks settings, and prints their schema.
    Config(config::ConfigArgs),
    Doctor(doctor::DoctorArgs),
    Health(health::HealthArgs),
    Bootstrap(bootstrap::BootstrapArgs),
    ForceLeave(force_leave::ForceLeaveArgs),
    /// Lets a node take no new work of the mesh.
    Cordon(upgrade::ReasonArgs),
    /// Lets it take new work again.
    Uncordon(upgrade::StatusArgs),
    /// Lets a node hand its work over.
    Drain(upgrade::DrainArgs),
    /// Ends a drain, or calls it off.
    Resume(upgrade::StatusArgs),
    /// Lets a node say goodbye to the mesh.
    Leave(upgrade::StatusArgs),
    Upgrade(upgrade::UpgradeArgs),
    Logging(log_filter::LoggingArgs),
}

/// Why a command failed, by the verb that was asked.
#[derive(Debug)]
enum Failure {
    Demo(demo::DemoError),
    Agent(agent::AgentError),
    Peers(peers::PeersError),
    Leaders(peers::PeersError),
    Config(config::ConfigError),
    Doctor(doctor::DoctorError),
    Bootstrap(bootstrap::BootstrapError),
    ForceLeave(force_leave::ForceLeaveError),
    Control(control::ControlError),
    Manual(manual::ManualError),
}

impl Failure {
    fn is_told(&self) -> bool {
        match self {
            Self::Demo(error) => error.is_told(),
            Self::Agent(_)
            | Self::Peers(_)
            | Self::Leaders(_)
            | Self::Config(_)
            | Self::Doctor(_)
            | Self::Bootstrap(_)
            | Self::Control(_)
            | Self::ForceLeave(_)
            | Self::Manual(_) => false,
        }
    }

    /// Whoever was told something has heard enough, as `head` has. What is more than an answer, a token or
    /// the state after a change, is not meant.
    fn is_heard_enough(&self) -> bool {
        let unheard = match self {
            Self::Peers(peers::PeersError::Output(error))
            | Self::Leaders(peers::PeersError::Output(error))
            | Self::Config(config::ConfigError::Output(error))
            | Self::Doctor(doctor::DoctorError::Output(error))
            | Self::Manual(manual::ManualError::Output(error)) => error,
            Self::Peers(_)
            | Self::Leaders(_)
            | Self::Config(_)
            | Self::Doctor(_)
            | Self::Manual(_)
            | Self::Demo(_)
            | Self::Agent(_)
            | Self::Bootstrap(_)
            | Self::Control(_)
            | Self::ForceLeave(_) => return false,
        };
        unheard.kind() == std::io::ErrorKind::BrokenPipe
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::Peers(error) | Self::Leaders(error) if error.is_timeout() => 2,
            Self::Bootstrap(error) if error.is_timeout() => 2,
            Self::Control(error) if error.is_timeout() => 2,
            Self::ForceLeave(error) if error.is_timeout() => 2,
            Self::Demo(_)
            | Self::Agent(_)
            | Self::Peers(_)
            | Self::Leaders(_)
            | Self::Config(_)
            | Self::Doctor(_)
            | Self::Bootstrap(_)
            | Self::Control(_)
            | Self::ForceLeave(_)
            | Self::Manual(_) => 1,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Demo(error) => error.fmt(f),
            Self::Agent(error) => error.fmt(f),
            Self::Peers(error) | Self::Leaders(error) => error.fmt(f),
            Self::Config(error) => error.fmt(f),
            Self::Doctor(error) => error.fmt(f),
            Self::Bootstrap(error) => error.fmt(f),
            Self::ForceLeave(error) => error.fmt(f),
            Self::Control(error) => error.fmt(f),
            Self::Manual(error) => error.fmt(f),
        }
    }
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(said) => {
            // A closed pipe is the only way to fail here, and there is nobody to tell.
            let _ = said.print();
            // clap's own code for a usage error is 2, which means a timeout here.
            return if said.use_stderr() { ExitCode::from(1) } else { ExitCode::SUCCESS };
        }
    };
    let done = match cli.area {
        Area::Mesh(mesh) => obey(mesh.verb),
        Area::Completions(args) => {
            manual::completions(Cli::command(), &args).map_err(Failure::Manual)
        }
        Area::Man(args) => manual::man(Cli::command(), &args).map_err(Failure::Manual),
    };
    logging::finish();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_heard_enough() => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_told() {
                tell!("error: {failure}");
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

fn obey(verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Demo(args) => demo::run(&args).map_err(Failure::Demo),
        Verb::Agent(args) => agent::run(&args).map_err(Failure::Agent),
        Verb::Peers(args) => peers::run(&args).map_err(Failure::Peers),
        Verb::Leaders(args) => leaders::run(&args).map_err(Failure::Leaders),
        Verb::Config(args) => config::run(&args).map_err(Failure::Config),
        Verb::Doctor(args) => doctor::run(&args).map_err(Failure::Doctor),
        Verb::Health(args) => health::run(&args).map_err(Failure::Control),
        Verb::Bootstrap(args) => bootstrap::run(&args).map_err(Failure::Bootstrap),
        Verb::ForceLeave(args) => force_leave::run(&args).map_err(Failure::ForceLeave),
        Verb::Cordon(args) => upgrade::cordon(&args).map_err(Failure::Control),
        Verb::Uncordon(args) => upgrade::uncordon(&args).map_err(Failure::Control),
        Verb::Drain(args) => upgrade::drain(&args).map_err(Failure::Control),
        Verb::Resume(args) => upgrade::resume(&args).map_err(Failure::Control),
        Verb::Leave(args) => upgrade::leave(&args).map_err(Failure::Control),
        Verb::Upgrade(args) => upgrade::run(&args).map_err(Failure::Control),
        Verb::Logging(args) => log_filter::run(&args).map_err(Failure::Control),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_of_peers_stand_before_or_after_list() {
        for line in [
            "omnirelay mesh peers -u http://h:1 --format json",
            "omnirelay mesh peers list -u http://h:1 --format json",
            "omnirelay mesh peers -u http://h:1 list --format json",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
    }
}
