//! One member of another library in a process of its own, told who it is by one line on its standard input.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::Kind;

/// Who a peer is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Begin {
    pub(crate) kind: Kind,
    pub(crate) node: usize,
    pub(crate) bind: SocketAddr,
    /// Where everybody is reached, by number; the first one is the seed.
    pub(crate) fronts: Vec<SocketAddr>,
}

/// Runs until its input ends.
///
/// # Errors
/// What keeps it from running.
#[cfg(feature = "peers")]
pub fn run() -> Result<(), Box<dyn std::error::Error>> {
    super::tasks::run()
}

/// Nobody to run.
///
/// # Errors
/// Always: the program was built without others.
#[cfg(not(feature = "peers"))]
pub fn run() -> Result<(), Box<dyn std::error::Error>> {
    Err("this program was built without --features peers".into())
}
