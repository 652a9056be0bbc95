//! Why a bootstrap verb did not do what was asked.

use std::io;
use std::path::PathBuf;

use mesh_gossip::bootstrap::BootstrapError as MintError;
use mesh_gossip::bootstrap::client::ClientError;

use crate::logging::LoggingError;

/// A bootstrap verb failed.
#[derive(Debug)]
pub(crate) enum BootstrapError {
    /// Minting, reading or writing failed.
    Mint(MintError),
    /// A role that no agent may have.
    Reserved(&'static str),
    /// Something is there already and may not be replaced.
    Exists(PathBuf),
    /// The file or stdin holds no token.
    NoToken(PathBuf),
    /// The file holds no password.
    NoPassword(PathBuf),
    /// A file of ours cannot be read or written.
    File(PathBuf, io::Error),
    /// The authority's server gave nothing.
    Client(ClientError),
    /// The log's settings cannot be.
    Logging(LoggingError),
    /// A path of ours could not be made absolute, or stdout is closed.
    Process(io::Error),
}

impl BootstrapError {
    /// Whether an answer did not come in time.
    pub(crate) fn is_timeout(&self) -> bool {
        let Self::Client(ClientError::Unreachable(error)) = self else { return false };
        matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
    }
}

impl std::fmt::Display for BootstrapError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mint(error) => error.fmt(f),
            Self::Reserved(role) => write!(
                f,
                "--role {role} is reserved for certificates that never gossip, so that `mesh \
                 agent` refuses them. Name the role that the node has in the mesh, such as worker; \
                 `mesh bootstrap issue --operator` makes a person's, `serve` its own"
            ),
            Self::Exists(path) => {
                write!(f, "{} exists; --force replaces it", path.display())
            }
            Self::NoToken(path) => write!(
                f,
                "{}: not a token; it is one line that begins with mesh1. and that `mesh bootstrap \
                 token` printed",
                path.display()
            ),
            Self::NoPassword(path) => {
                write!(f, "{}: no password, the file is empty", path.display())
            }
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Client(error) => error.fmt(f),
            Self::Logging(error) => error.fmt(f),
            Self::Process(error) => write!(f, "the answer cannot be printed: {error}"),
        }
    }
}

impl std::error::Error for BootstrapError {}

/// Tells the one failure that an option of ours resolves from all others.
impl From<MintError> for BootstrapError {
    fn from(error: MintError) -> Self {
        match error {
            MintError::Exists(path) => Self::Exists(path),
            other => Self::Mint(other),
        }
    }
}

impl From<ClientError> for BootstrapError {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}
