//! `omnirelay mesh logging`: what a running agent logs, shown and changed.
//!
//! Invariant: a change with a time ends in the agent, whatever becomes of this process.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::json;

use crate::control::{ControlError, DoorArgs};
use crate::upgrade::{parsed, written};
use crate::{duration, table};

const PATH: &str = "/control/logging";

/// Shows or changes what a running agent logs.
#[derive(Args, Debug)]
pub(crate) struct LoggingArgs {
    #[command(subcommand)]
    verb: LoggingVerb,
}

#[derive(Subcommand, Debug)]
enum LoggingVerb {
    /// Shows it.
    Show(DoorArgs),
    /// Logs by this filter from here on, in the place of mesh:gossip:log:level.
    Set(SetArgs),
    /// Logs as configured again.
    Reset(DoorArgs),
}

#[derive(Args, Debug)]
struct SetArgs {
    /// A level (off, error, warn, info, debug, trace), or levels by target:
    /// info,mesh_gossip=trace.
    filter: String,
    /// How long, a day at most; without it until `reset` or a restart.
    #[arg(long = "for", value_name = "TIME", value_parser = duration::parse_positive)]
    within: Option<Duration>,
    #[command(flatten)]
    door: DoorArgs,
}

#[derive(Deserialize)]
struct Status {
    filter: String,
    configured: String,
    until: Option<String>,
}

/// Asks and prints.
pub(crate) fn run(args: &LoggingArgs) -> Result<(), ControlError> {
    let (door, method, body) = match &args.verb {
        LoggingVerb::Show(door) => (door, "GET", json!(null)),
        LoggingVerb::Reset(door) => (door, "PUT", json!({})),
        LoggingVerb::Set(SetArgs { filter, within, door }) => {
            // Milliseconds: the forms of a duration are read there as they are here.
            let mut wish = json!({ "filter": filter });
            if let Some(within) = within {
                wish["for"] = format!("{}ms", within.as_millis()).into();
            }
            (door, "PUT", wish)
        }
    };
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = door.door()?.ask(method, PATH, body.as_bytes(), door.timeout)?;
    written(&as_text(&parsed(&answer)?))
}

fn as_text(status: &Status) -> String {
    let mut text = format!("Filter: {}\n", table::harmless(&status.filter));
    text += &format!("Configured: {}\n", table::harmless(&status.configured));
    if let Some(until) = &status.until {
        text += &format!("Until: {}\n", table::harmless(until));
    }
    text
}
