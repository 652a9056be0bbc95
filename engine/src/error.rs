//! Why an engine or an agent did not start, or did not obey.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use mesh_gossip_proto::{CommandError, ConfigError};

use crate::io::IoError;
use crate::orders::Refused;
use crate::state::StateError;
use crate::tls::credentials::CredentialsError;

/// An engine or an agent could not start; the message names the setting and the fix.
#[derive(Debug)]
pub enum StartError {
    /// The datagram backend.
    Io(IoError),
    /// A thread, or what it needs.
    Thread(io::Error),
    /// A parameter that cannot be true.
    Config(ConfigError),
    /// Certificate, key or trust.
    Credentials(Box<CredentialsError>),
    /// What outlives a restart.
    State(StateError),
    /// This build has no client of the authority's server.
    NoRenewal,
    /// An address could not be bound: the setting, the address, the kernel's word.
    Bind {
        /// The setting's key.
        key: &'static str,
        /// What was to be bound.
        address: SocketAddr,
        /// What the kernel said.
        error: io::Error,
    },
    /// The control socket could not be bound.
    ControlSocket {
        /// Its path.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// The control server would be reachable from other machines.
    ControlExposed(SocketAddr),
    /// The advertised host has no address: the setting's value and why.
    Advertise {
        /// Value of `mesh:gossip:advertiseHost`.
        host: String,
        /// What the resolver said.
        error: io::Error,
    },
    /// The node refused its metadata.
    Metadata(CommandError),
    /// The operating system gave no random bytes.
    Entropy,
    /// A thread of the engine does not take orders.
    Refused(Refused),
}

impl StartError {
    /// Whether somebody else holds the port: another one may be tried.
    pub fn is_port_busy(&self) -> bool {
        matches!(self, Self::Bind { error, .. } if error.kind() == io::ErrorKind::AddrInUse)
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "mesh:gossip:io:backend: {error}"),
            Self::Thread(error) => write!(f, "a thread could not be started: {error}"),
            Self::Config(error) => write!(f, "mesh:gossip:{error}"),
            Self::Credentials(error) => error.fmt(f),
            Self::State(error) => write!(f, "mesh:gossip:stateDirectory: {error}"),
            Self::NoRenewal => f.write_str(
                "mesh:gossip:bootstrap:server: this build cannot renew certificates by itself; \
                 remove the key, and run `omnirelay mesh bootstrap renew --daemon` beside the host",
            ),
            Self::Bind { key, address, error } => unbound(f, key, *address, error),
            Self::ControlSocket { path, error } if error.kind() == io::ErrorKind::AddrInUse => {
                write!(
                    f,
                    "mesh:gossip:control:socket: {} is taken; stop the agent that listens there, or \
                 name another path",
                    path.display()
                )
            }
            Self::ControlSocket { path, error } => write!(
                f,
                "mesh:gossip:control:socket: {} could not be bound: {error}; name a path of at \
                 most 107 bytes in a directory that this process may write",
                path.display()
            ),
            Self::ControlExposed(address) => write!(
                f,
                "mesh:gossip:control:address: {address} is not loopback; off loopback the control \
                 server needs mutual TLS: set mesh:gossip:control:tls:enabled to true, or the \
                 address to 127.0.0.1"
            ),
            Self::Advertise { host, error } => write!(
                f,
                "mesh:gossip:advertiseHost: {host:?} has no address that others could dial \
                 ({error}); set an address or a name that resolves"
            ),
            Self::Metadata(error @ CommandError::MetadataTooLarge(..)) => write!(
                f,
                "mesh:gossip:labels: {error}; shorten labels or region, or raise \
                 mesh:gossip:limits:metadataBytes in the whole mesh"
            ),
            Self::Metadata(error) => write!(f, "mesh:gossip: {error}"),
            Self::Entropy => f.write_str("the operating system gave no random bytes"),
            Self::Refused(error) => error.fmt(f),
        }
    }
}

/// Why an address could not be bound, and what to do.
fn unbound(
    f: &mut fmt::Formatter<'_>,
    key: &str,
    address: SocketAddr,
    error: &io::Error,
) -> fmt::Result {
    let (ip, port) = (address.ip(), address.port());
    match error.kind() {
        io::ErrorKind::AddrInUse => write!(
            f,
            "{key}: port {port} at {ip} is taken; stop the process that holds it or choose another \
             port"
        ),
        io::ErrorKind::AddrNotAvailable => {
            // The address is wrong, not the port.
            let place = if key.contains("control") { ":address" } else { ":bindAddress" };
            let key = key.replace(":port", place);
            write!(
                f,
                "{key}: {ip} is no address of this machine; set one that is, or 0.0.0.0 for all"
            )
        }
        io::ErrorKind::PermissionDenied => write!(
            f,
            "{key}: this process may not bind port {port} at {ip} ({error}); choose a port from \
             1024 on, or grant it CAP_NET_BIND_SERVICE"
        ),
        _ => write!(
            f,
            "{key}: {address} could not be bound: {error}; choose another address or port"
        ),
    }
}

impl std::error::Error for StartError {}

/// An agent did not do what its host asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentError {
    /// The node refused; nothing has changed.
    Command(CommandError),
    /// The shard did not take the order.
    Refused(Refused),
    /// No answer came in time; the order may still be carried out.
    Timeout,
    /// The agent has been stopped.
    Stopped,
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(error) => error.fmt(f),
            Self::Refused(error) => error.fmt(f),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Stopped => f.write_str("the agent has been stopped"),
        }
    }
}

impl std::error::Error for AgentError {}

impl From<CommandError> for AgentError {
    fn from(error: CommandError) -> Self {
        Self::Command(error)
    }
}

impl From<Refused> for AgentError {
    fn from(error: Refused) -> Self {
        Self::Refused(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_bound_is_told_with_what_to_do() {
        let told = |key: &'static str, kind: io::ErrorKind| {
            let address = ([127, 0, 0, 1], 80).into();
            StartError::Bind { key, address, error: kind.into() }.to_string()
        };
        for (key, kind, parts) in [
            (
                "mesh:gossip:port",
                io::ErrorKind::AddrInUse,
                ["mesh:gossip:port: port 80 at 127.0.0.1 is taken", "another port"],
            ),
            (
                "mesh:gossip:control:port",
                io::ErrorKind::AddrNotAvailable,
                ["mesh:gossip:control:address: 127.0.0.1 is no address", "0.0.0.0"],
            ),
            (
                "mesh:gossip:port",
                io::ErrorKind::PermissionDenied,
                ["mesh:gossip:port: this process may not bind port 80", "CAP_NET_BIND_SERVICE"],
            ),
            (
                "mesh:gossip:port",
                io::ErrorKind::OutOfMemory,
                ["mesh:gossip:port: 127.0.0.1:80 could not be bound", "choose another"],
            ),
        ] {
            let text = told(key, kind);
            assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        }
    }
}
