//! Our datagram path beside others, in one process and on one core, in turns.
//!
//! `cargo run --release -p mesh-gossip-benches --bin compare -- datagram --json` compares datagrams
//! a second and core, `-- datagram --quick` only looks whether we have fallen behind, `-- updates
//! --json` compares member updates a second. docs/performance.md has the method and figures.
//!
//! Invariant: only ratios of one run are compared; with `--json` the last line is one object.

mod bare;
mod crowd;
mod datagram;
mod ours;
mod plain;
mod quic;
mod raw;
mod report;
mod rounds;
mod tokio_ring;
mod tokio_udp;
mod turns;
mod updates;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Compares our datagram path with others.
#[derive(Parser, Debug)]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Clone, Debug)]
enum What {
    /// Datagrams a second and core.
    Datagram {
        /// Ends with one JSON object.
        #[arg(long)]
        json: bool,
        /// Half a minute: fails when the raw calls are too far ahead.
        #[arg(long)]
        quick: bool,
        /// Draws the rates into an SVG file.
        #[arg(long, conflicts_with = "quick")]
        plot: Option<PathBuf>,
    },
    /// A round of gossip beside foca, memberlist and chitchat.
    Rounds {
        /// Ends with one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Member updates a second and core, packed against one a datagram.
    Updates {
        /// Ends with one JSON object.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let Args { what } = Args::parse();
    if let Err(error) = mesh_gossip::io::affinity::pin_to(0) {
        eprintln!("not pinned to a core: {error}");
    }
    let (found, json) = match &what {
        What::Datagram { json, quick: true, .. } => (datagram::quick(), *json),
        What::Datagram { json, plot, .. } => (datagram::full(plot.as_deref()), *json),
        What::Rounds { json } => (rounds::run(), *json),
        What::Updates { json } => (updates::run(), *json),
    };
    match found {
        Ok(value) => {
            if json {
                println!("{value}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
