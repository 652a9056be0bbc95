//! One mesh over many processes: an existing engine starts them, here they find each other.
//!
//! A plan says what is played and gives every member its papers. Each process is a rank of a world and
//! runs its share of the members. Rank 0 announces over the mesh itself when the measured window opens;
//! from then on every rank plays its part of the script by the clock, and writes down what its members
//! saw. The journals are merged into what one process would have said.
//!
//! Invariant: the script follows from the plan, so that all ranks know who dies when without a word.

mod act;
mod journal;
mod merge;
mod place;
mod plan;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use mesh_gossip::AgentError;

use super::RealError;

pub use act::{Flags as AgentFlags, run as play};
pub use merge::{Flags as MergeFlags, Merged, run as merge};
pub use plan::{Flags as PlanFlags, run as make_plan};

/// Why a rank did not play, or ranks cannot be put together.
#[derive(Debug)]
pub enum RankError {
    /// A file could not be read or written.
    File(PathBuf, io::Error),
    /// A file says what nobody can follow: which one, and what.
    Unreadable(PathBuf, String),
    /// Nobody says which rank this is.
    NoRank,
    /// What the engine says and what the plan says differ.
    Differs {
        /// What it is about,
        what: &'static str,
        /// where it is said,
        said_by: &'static str,
        /// what is said there,
        said: usize,
        /// and what the plan has.
        planned: usize,
    },
    /// The window never opened: rank 0 was not heard.
    Unheard,
    /// Journals of these ranks are missing or without an end.
    Unfinished(Vec<usize>),
    /// The agents did not play.
    Real(RealError),
}

impl fmt::Display for RankError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Unreadable(path, what) => write!(f, "{}: {what}", path.display()),
            Self::NoRank => {
                write!(f, "which rank is this? Give --rank or set one of {}", place::names())
            }
            Self::Differs { what, said_by, said, planned } => {
                write!(f, "{said_by} says {said} {what}, the plan has {planned}")
            }
            Self::Unheard => f.write_str("rank 0 never said when the window opens"),
            Self::Unfinished(ranks) => {
                write!(f, "journals of ranks {ranks:?} are missing or have no end")
            }
            Self::Real(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RankError {}

impl From<RealError> for RankError {
    fn from(error: RealError) -> Self {
        Self::Real(error)
    }
}

impl From<AgentError> for RankError {
    fn from(error: AgentError) -> Self {
        Self::Real(RealError::Agent(error))
    }
}

/// Names the file in an error.
fn file<T>(path: &Path, outcome: io::Result<T>) -> Result<T, RankError> {
    outcome.map_err(|error| RankError::File(path.to_owned(), error))
}
