//! `mesh bootstrap serve`: the authority at its counter.
//!
//! Invariant: as for an agent, stdout carries one line, once the server listens, and the first
//! SIGTERM or SIGINT ends it in order.

use std::sync::Arc;

use mesh_gossip::bootstrap::{ROOT_KEY, ServeOptions, Server};
use mesh_gossip::settings::{LogFormat, LogOptions};
use serde_json::json;
use tracing::level_filters::LevelFilter;

use super::options::ServeArgs;
use super::{BootstrapError, authority, say};
use crate::logging;
use crate::say::tell;
use crate::signals::Stop;

pub(super) fn serve(args: &ServeArgs) -> Result<(), BootstrapError> {
    let log = LogOptions { format: LogFormat::Json, level: LevelFilter::INFO };
    let _level = logging::start(log).map_err(BootstrapError::Logging)?;
    let stop = Stop::on_signals().map_err(BootstrapError::Process)?;
    let registrar = Arc::new(authority::open(&args.dir, Some(|line| tell!("{line}")))?);
    if args.dir.join(ROOT_KEY).exists() {
        tell!("warning: {ROOT_KEY} lies beside a server that never needs it; move it offline");
    }
    let options = ServeOptions { listen: args.listen, node_id: args.name.clone() };
    let server = Server::start(Arc::clone(&registrar), &options)?;
    let line = json!({
        "address": server.address().to_string(),
        "fingerprint": registrar.authority().fingerprint()?,
        "cluster": registrar.authority().cluster(),
        "trustDomain": registrar.authority().trust_domain(),
    });
    say(&line.to_string())?;
    stop.wait_until(None);
    drop(server);
    Ok(())
}
