//! Seeds: names that people write, addresses that a node can dial.
//!
//! Names change their addresses and files their lines, so both are read again for as long as the
//! agent runs. Only a change is told to the node: it dials absent seeds by itself.
//!
//! Invariant: seeds once found are never taken back by a resolver that fails.

mod list;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::sleep;

use crate::orders::Refused;
use list::MOST_SEEDS;
pub(crate) use list::SeedList;

/// Longest file read, in bytes: far above [`MOST_SEEDS`] lines of any length a name may have.
const LONGEST_FILE: u64 = 1_024 * 1_024;

/// How often is looked.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Names and file are read again, and seeds that wait have their turn.
    renew: Duration,
    /// The same while nothing was found: a mesh that starts together with its names must not wait.
    retry: Duration,
}

impl Pace {
    const USUAL: Self = Self { renew: Duration::from_secs(30), retry: Duration::from_secs(1) };
}

/// Where an agent's seeds come from.
#[derive(Clone, Debug)]
pub(super) struct Seeds {
    names: Vec<String>,
    file: Option<PathBuf>,
    pace: Pace,
}

/// What one look found.
#[derive(Debug, Default)]
struct Found {
    /// The file's names, if it could be read.
    listed: Option<Vec<String>>,
    /// Addresses of each name that has some.
    resolved: Vec<(String, Vec<SocketAddr>)>,
    /// Names and files that gave nothing, with the reason.
    failed: Vec<(String, String)>,
}

/// The newest answer for each name. A name that fails keeps its last one, and a file that cannot
/// be read its last list.
#[derive(Debug, Default)]
struct Memory {
    listed: Vec<String>,
    addresses: HashMap<String, Vec<SocketAddr>>,
}

impl Memory {
    /// Takes in what a look found; returns all addresses known for `names` and the file's.
    fn take(&mut self, names: &[String], found: Found) -> Vec<SocketAddr> {
        if let Some(listed) = found.listed {
            self.listed = listed;
        }
        self.addresses.extend(found.resolved);
        let wanted: HashSet<&String> = names.iter().chain(&self.listed).collect();
        self.addresses.retain(|name, _| wanted.contains(name));
        self.addresses.values().flatten().copied().collect()
    }
}

impl Seeds {
    pub(super) fn new(names: Vec<String>, file: Option<PathBuf>) -> Self {
        Self { names, file, pace: Pace::USUAL }
    }

    /// Tells the node its seeds, at once those that need no resolver, and every change. What other
    /// settings led to is forgotten; what the host named stays.
    pub(super) async fn keep_joining(
        self,
        list: Arc<SeedList>,
        resolvers: Arc<Semaphore>,
        is_joined: impl Fn() -> bool,
    ) {
        if self.need_looks() {
            // What other settings led to serves until a look has found what these lead to.
            list.add(&self.literal());
        } else {
            list.configure(self.literal());
        }
        // Refused, it is told with what the first look finds.
        let _ = list.tell();
        let (mut failing, mut memory) = (HashSet::new(), Memory::default());
        let mut crowded = false;
        loop {
            if self.need_looks() {
                let found = self.look(&resolvers, memory.listed.clone()).await;
                report(&list, &found, &mut failing);
                let known = memory.take(&self.names, found);
                if !known.is_empty() {
                    list.configure(known);
                }
            }
            let told = list.tell();
            report_length(&list, &mut crowded);
            match told {
                Ok(()) => self.wait(&list, &is_joined).await,
                Err(Refused::Busy) => sleep(self.pace.retry).await,
                Err(Refused::Stopped) => return,
            }
        }
    }

    /// Waits until there may be something to tell.
    async fn wait(&self, list: &SeedList, is_joined: impl Fn() -> bool) {
        if self.need_looks() && !list.is_configured() {
            sleep(self.pace.retry).await;
        } else if self.need_looks() || list.waiting() > 0 {
            sleep(self.pace.renew).await;
        } else {
            // They fit and cannot change but by the host, who has told the node itself.
            return list.named().await;
        }
        // Who has found the mesh has no use for more seeds, and would greet each as a stranger.
        if !is_joined() {
            list.next_turn();
        }
    }

    /// Whether anything here may change its addresses.
    fn need_looks(&self) -> bool {
        self.file.is_some() || self.literal().len() < self.names.len()
    }

    /// The seeds that are addresses already.
    fn literal(&self) -> Vec<SocketAddr> {
        self.names.iter().filter_map(|name| name.parse().ok()).collect()
    }

    /// Reads file and names on a thread of its own: the system's resolver blocks, for half a
    /// minute where a server is silent, and cannot be given up. The thread outlives an agent that
    /// ends meanwhile and then ends by itself.
    async fn look(&self, resolvers: &Arc<Semaphore>, listed: Vec<String>) -> Found {
        let Ok(permit) = Arc::clone(resolvers).acquire_owned().await else {
            return Found::default();
        };
        let (answer, found) = oneshot::channel();
        let seeds = self.clone();
        let look = move |permit: OwnedSemaphorePermit| {
            // Nobody waits for the answer any more if the agent is gone.
            let _ = answer.send(seeds.look_blocking(listed));
            drop(permit);
        };
        let started = thread::Builder::new().name("mesh-resolver".into()).spawn(|| look(permit));
        match started {
            Ok(_detached) => found.await.unwrap_or_default(),
            Err(error) => {
                let failed = vec![("resolver thread".to_owned(), error.to_string())];
                Found { failed, ..Found::default() }
            }
        }
    }

    /// `listed` are the file's names as they were read last.
    fn look_blocking(&self, listed: Vec<String>) -> Found {
        let mut found = Found::default();
        let mut names = self.names.clone();
        match self.file.as_ref().map(|file| (file, read_bounded(file))) {
            None => {}
            Some((_, Ok(text))) => {
                let read: Vec<String> = lines(&text).map(str::to_owned).collect();
                names.extend(read.iter().cloned());
                found.listed = Some(read);
            }
            Some((file, Err(error))) => {
                names.extend(listed);
                found.failed.push((file.display().to_string(), error.to_string()));
            }
        }
        for name in names {
            match name.to_socket_addrs().map(Vec::from_iter) {
                Ok(addresses) if !addresses.is_empty() => found.resolved.push((name, addresses)),
                Ok(_none) => found.failed.push((name, "no address".to_owned())),
                Err(error) => found.failed.push((name, error.to_string())),
            }
        }
        found
    }
}

fn read_bounded(file: &PathBuf) -> io::Result<String> {
    let mut text = String::new();
    io::Read::read_to_string(
        &mut io::Read::take(std::fs::File::open(file)?, LONGEST_FILE),
        &mut text,
    )?;
    Ok(text)
}

/// One seed a line; `#` begins a comment.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(|line| line.split_once('#').map_or(line, |(seed, _comment)| seed).trim())
        .filter(|seed| !seed.is_empty())
}

/// One line when a name begins to fail, one when it works again.
fn report(list: &SeedList, found: &Found, failing: &mut HashSet<String>) {
    let node_id = list.node_id();
    for (name, reason) in &found.failed {
        if failing.insert(name.clone()) {
            tracing::warn!(
                target: "mesh_gossip",
                NodeId = node_id,
                Seed = name,
                Reason = reason,
                "mesh seed not found, trying on"
            );
        }
    }
    failing.retain(|name| {
        let fails = found.failed.iter().any(|(failed, _)| failed == name);
        if !fails {
            tracing::info!(
                target: "mesh_gossip",
                NodeId = node_id,
                Seed = name,
                "mesh seed found again"
            );
        }
        fails
    });
}

/// One line when the list outgrows what is dialled at a time.
fn report_length(list: &SeedList, crowded: &mut bool) {
    let waiting = list.waiting();
    if waiting > 0 && !*crowded {
        tracing::warn!(
            target: "mesh_gossip",
            NodeId = list.node_id(),
            Seeds = waiting + MOST_SEEDS,
            Dialled = MOST_SEEDS,
            "more mesh seeds than are dialled at a time, they take turns"
        );
    }
    *crowded = waiting > 0;
}
