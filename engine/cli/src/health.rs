//! `omnirelay mesh health`: one word and an exit code, for container engines and scripts.
//!
//! It asks through the control socket, which is there whatever the TCP listener demands of its
//! clients, unless a URL is named.

use clap::Args;

use crate::control::{ControlError, DoorArgs};
use crate::upgrade::written;

/// Tells whether an agent is well, or ready for work.
///
/// Exit code 0 when it is, 1 when it is not or cannot be reached, 2 when no answer came in time.
#[derive(Args, Debug)]
pub(crate) struct HealthArgs {
    #[command(flatten)]
    door: DoorArgs,
    /// Whether it has joined and is not draining, and not only whether it is well.
    #[arg(long)]
    ready: bool,
}

/// Asks, and prints the word.
pub(crate) fn run(args: &HealthArgs) -> Result<(), ControlError> {
    let (path, word) = if args.ready { ("/readyz", "ready") } else { ("/healthz", "healthy") };
    args.door.door()?.ask("GET", path, b"", args.door.timeout)?;
    written(&format!("{word}\n"))
}
