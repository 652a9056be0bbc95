//! What outlives a restart: the last life's generation, and the revocation lists in force.
//!
//! A sailor's log in a locked drawer: the number of the last voyage, so that the next one has a
//! higher number whatever the ship's clock says (rule S-12), and the newest list of the banished
//! from each port, so that nobody talks us back to an older one (rule S-16).
//!
//! Invariants: one agent at a time has the drawer open; numbers in it only rise; what is damaged is
//! never half believed: a generation can be done without and is, a revocation list cannot and the
//! agent does not start.

mod file;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mesh_gossip_proto::WallTime;
use rustix::fs::{FlockOperation, flock};

use crate::tls::revocation::{MAX_LIST, RevocationList};
use crate::tls::standing::KeyId;

const GENERATION: &str = "generation";
const LISTS: &str = "lists";
const LIST_SUFFIX: &str = ".crl";

/// A generation further ahead of our clock was never accepted by anybody (rule S-12): it comes from
/// a clock that was wrong, and one wrong clock never burns an identity for ever.
const FARTHEST_AHEAD: Duration = Duration::from_secs(600);

/// Most lists kept: a mesh has as many as it has CAs.
const MAX_LISTS: usize = 256;

/// An agent that ends may hold the lock for a moment after its ports are free.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The state of one agent on its disk.
pub(crate) struct StateDirectory {
    path: PathBuf,
    /// Held while the agent lives.
    _lock: File,
    written: Mutex<Written>,
}

/// What is known to be on the disk.
#[derive(Default)]
struct Written {
    generation: u64,
    numbers: HashMap<KeyId, String>,
}

/// A revocation list that was kept, in DER, and its file.
pub(crate) struct KeptList {
    pub(crate) path: PathBuf,
    pub(crate) der: Vec<u8>,
}

impl StateDirectory {
    /// Opens the state of an agent below `root`, and makes it where there is none.
    pub(crate) fn open(root: &Path, cluster: &str, node_id: &str) -> Result<Self, StateError> {
        let path = root.join(cluster).join(node_id);
        file::make_directory(&path.join(LISTS))?;
        let lock_path = path.join("lock");
        let fault = |error| StateError::Io { path: lock_path.clone(), error };
        let lock = file::owners().write(true).create(true).truncate(false).open(&lock_path);
        let lock = lock.map_err(fault)?;
        let until = Instant::now() + LOCK_PATIENCE;
        loop {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < until => {
                    thread::sleep(LOCK_PAUSE);
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(StateError::Locked { path: path.clone() });
                }
                Err(error) => return Err(fault(error.into())),
            }
        }
        Ok(Self { path, _lock: lock, written: Mutex::default() })
    }

    /// Warnings for its owner.
    pub(crate) fn warnings(&self) -> Vec<String> {
        file::permission_warning(&self.path).into_iter().collect()
    }

    /// The generation of the life that begins: above the last one, and on the disk before anybody
    /// hears of it (rule S-12).
    pub(crate) fn begin_life(&self, now: WallTime) -> Result<WallTime, StateError> {
        let path = self.path.join(GENERATION);
        let kept = match file::read(&path, GENERATION, 32) {
            Ok(Some(text)) => parsed(&text).ok_or(StateError::Damaged { path: path.clone() }),
            Ok(None) => Ok(0),
            Err(error) => Err(error),
        };
        let kept = match kept {
            Ok(kept) => kept,
            Err(StateError::Damaged { .. }) => {
                // Our seeds hold our last life as well, and we go above what they hold.
                let aside = file::set_aside(&path)?;
                tracing::error!(
                    target: "mesh_gossip",
                    File = %path.display(),
                    Aside = %aside.display(),
                    "the kept generation is damaged and is not used; the clock stands in for it"
                );
                0
            }
            Err(error) => return Err(error),
        };
        let farthest = now.0.saturating_add(FARTHEST_AHEAD.as_millis() as u64);
        let generation = if kept > farthest {
            tracing::error!(
                target: "mesh_gossip",
                Kept = kept,
                Clock = now.0,
                "the kept generation lies more than ten minutes ahead of the clock and is not \
                 followed; one of the two clocks was wrong"
            );
            now.0
        } else {
            now.0.max(kept + 1)
        };
        self.write_generation(generation)?;
        Ok(WallTime(generation))
    }

    /// Keeps a generation that rose while the agent lives.
    pub(crate) fn keep_generation(&self, generation: u64) -> Result<(), StateError> {
        if generation <= self.written().generation {
            return Ok(());
        }
        self.write_generation(generation)
    }

    /// Whether this generation is not on the disk yet.
    pub(crate) fn lacks_generation(&self, generation: u64) -> bool {
        generation > self.written().generation
    }

    fn write_generation(&self, generation: u64) -> Result<(), StateError> {
        let mut written = self.written();
        let text = generation.to_string();
        file::write(&self.path.join(GENERATION), GENERATION, text.as_bytes())?;
        written.generation = generation;
        Ok(())
    }

    /// The lists that were kept.
    ///
    /// A damaged one is an error: whom it revoked would be let in.
    pub(crate) fn lists(&self) -> Result<Vec<KeptList>, StateError> {
        let directory = self.path.join(LISTS);
        let fault = |error| StateError::Io { path: directory.clone(), error };
        let mut paths = Vec::new();
        for entry in fs::read_dir(&directory).map_err(fault)? {
            let path = entry.map_err(fault)?.path();
            if path.as_os_str().as_encoded_bytes().ends_with(LIST_SUFFIX.as_bytes()) {
                paths.push(path);
            }
        }
        if paths.len() > MAX_LISTS {
            return Err(fault(io::Error::other(format!("more than {MAX_LISTS} lists"))));
        }
        paths.sort();
        let mut lists = Vec::new();
        for path in paths {
            let damaged = || StateError::Damaged { path: path.clone() };
            let der = file::read(&path, LISTS, MAX_LIST)?.ok_or_else(damaged)?;
            lists.push(KeptList { path, der });
        }
        Ok(lists)
    }

    /// Keeps what is in force and not kept yet. It is called with lists in force only, whose
    /// numbers rise.
    pub(crate) fn keep_lists<'a>(
        &self,
        lists: impl Iterator<Item = &'a RevocationList>,
    ) -> Result<(), StateError> {
        let mut written = self.written();
        for list in lists {
            let (issuer, number) = (list.issuer(), list.number());
            if written.numbers.get(&issuer) == Some(&number) {
                continue;
            }
            let name = format!("{issuer}{LIST_SUFFIX}");
            file::write(&self.path.join(LISTS).join(name), LISTS, list.der())?;
            written.numbers.insert(issuer, number);
        }
        Ok(())
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for StateDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StateDirectory({})", self.path.display())
    }
}

fn parsed(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The state directory cannot be used.
#[derive(Debug)]
pub enum StateError {
    /// The operating system refuses.
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Its word.
        error: io::Error,
    },
    /// Another agent has it open.
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The file is not as it was written.
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, error } => write!(
                f,
                "{}: {error}; let this process write there, or set another directory",
                path.display()
            ),
            Self::Locked { path } => write!(
                f,
                "{} is in use by another agent of this name; stop it, or give one of them another \
                 directory",
                path.display()
            ),
            Self::Damaged { path } => write!(
                f,
                "{} is damaged; restore it, or delete it and give the newest revocation list in \
                 mesh:gossip:tls:crlPath: without it, whom it revoked is let in",
                path.display()
            ),
        }
    }
}

impl std::error::Error for StateError {}
