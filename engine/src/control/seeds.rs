//! Seeds: names that people write, addresses that a node can dial.
//!
//! Names change their addresses and files their lines, so both are read again for as long as the
//! agent runs. Only a change is told to the node: it dials absent seeds by itself.
//!
//! Invariant: seeds once found are never taken back by a resolver that fails.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mesh_gossip_proto::Command;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::sleep;

use super::Desk;
use super::sync::offer;
use crate::orders::Order;

/// How often names and file are read again.
const RENEW_EVERY: Duration = Duration::from_secs(30);
/// The same while nothing was found: a mesh that starts together with its names must not wait.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// Most addresses dialled. Each costs a datagram an interval until it answers; one seed is enough
/// to find a mesh, and nobody lists so many by hand.
const MOST_SEEDS: usize = 256;
/// Longest file read, in bytes: far above [`MOST_SEEDS`] lines of any length a name may have.
const LONGEST_FILE: u64 = 1_024 * 1_024;

/// Where an agent's seeds come from.
#[derive(Clone, Debug)]
pub(super) struct Seeds {
    names: Vec<String>,
    file: Option<PathBuf>,
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
        Self { names, file }
    }

    /// Tells the node its seeds, at once those that need no resolver, and every change.
    pub(super) async fn keep_joining(self, desk: Arc<Desk>, resolvers: Arc<Semaphore>) {
        let literal = self.literal();
        let mut told = Vec::new();
        join(&desk, literal.clone(), &mut told).await;
        if self.file.is_none() && self.names.len() == literal.len() && told == normal(literal) {
            return;
        }
        let mut failing = HashSet::new();
        let mut memory = Memory::default();
        loop {
            let found = self.look(&resolvers, memory.listed.clone()).await;
            report(&desk, &found, &mut failing);
            join(&desk, memory.take(&self.names, found), &mut told).await;
            sleep(if told.is_empty() { RETRY_EVERY } else { RENEW_EVERY }).await;
        }
    }

    /// The same for an agent that has had other seeds: those are forgotten first.
    pub(super) async fn replace(self, desk: Arc<Desk>, resolvers: Arc<Semaphore>) {
        let nobody = || Order::Command {
            agent: desk.agent,
            command: Command::Join(Vec::new()),
            // A node that has left needs no seeds.
            reply: Box::new(drop),
        };
        // A shard that takes no orders for seconds has other troubles, and then keeps its seeds.
        let _ = offer(&desk, nobody).await;
        self.keep_joining(desk, resolvers).await;
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

/// The same addresses in the same order, whatever order a resolver rotates them into.
fn normal(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(MOST_SEEDS);
    addresses
}

async fn join(desk: &Desk, addresses: Vec<SocketAddr>, told: &mut Vec<SocketAddr>) {
    let addresses = normal(addresses);
    if addresses.is_empty() || addresses == *told {
        return;
    }
    let order = || Order::Command {
        agent: desk.agent,
        command: Command::Join(addresses.clone()),
        // A node that has left needs no seeds.
        reply: Box::new(drop),
    };
    if offer(desk, order).await.is_ok() {
        *told = addresses;
    }
}

/// One line when a name begins to fail, one when it works again.
fn report(desk: &Desk, found: &Found, failing: &mut HashSet<String>) {
    let node_id = desk.site.node_id();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_hold_one_seed_a_line_and_comments() {
        let text = "# the first rack\n10.0.0.1:17421\n\n  seed.mesh:17421  # two addresses\n#x:1\n";
        assert_eq!(lines(text).collect::<Vec<_>>(), ["10.0.0.1:17421", "seed.mesh:17421"]);
    }

    #[test]
    fn names_literals_and_files_are_looked_up_and_failures_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("seeds");
        std::fs::write(&file, "[::1]:3 # six\n").unwrap();
        let names = ["127.0.0.1:1", "localhost:2", "nothing", "no.invalid:9"];
        let seeds = Seeds::new(names.map(str::to_owned).to_vec(), Some(file));
        let found = seeds.look_blocking(Vec::new());
        let failed: Vec<_> = found.failed.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(failed, ["nothing", "no.invalid:9"]);
        let gone = Seeds::new(Vec::new(), Some(directory.path().join("absent")));
        assert_eq!(gone.look_blocking(Vec::new()).failed.len(), 1);
        let known = Memory::default().take(&seeds.names, found);
        for address in ["127.0.0.1:1", "127.0.0.1:2", "[::1]:3"] {
            assert!(known.contains(&address.parse().unwrap()), "{address}: {known:?}");
        }
    }

    /// What was found stays while its name fails, and goes when nobody names it any more.
    #[test]
    fn a_resolver_that_fails_takes_nothing_back() {
        let names = ["a:1".to_owned(), "b:1".to_owned()];
        let address = |n: u8| SocketAddr::from(([10, 0, 0, n], 1));
        let resolved = |name: &str, n| (name.to_owned(), vec![address(n)]);
        let mut memory = Memory::default();
        let listed = Some(vec!["c:1".to_owned()]);
        let all = vec![resolved("a:1", 1), resolved("b:1", 2), resolved("c:1", 3)];
        memory.take(&names, Found { listed, resolved: all, failed: Vec::new() });
        let moved = Found { resolved: vec![resolved("a:1", 9)], ..Found::default() };
        let known = normal(memory.take(&names, moved));
        assert_eq!(known, normal(vec![address(9), address(2), address(3)]));
        let emptied = Found { listed: Some(Vec::new()), ..Found::default() };
        let known = normal(memory.take(&names, emptied));
        assert_eq!(known, normal(vec![address(9), address(2)]));
    }

    #[test]
    fn rotated_answers_are_no_change() {
        let parse = |text: &str| -> Vec<SocketAddr> {
            text.split(' ').map(|address| address.parse().unwrap()).collect()
        };
        assert_eq!(
            normal(parse("10.0.0.2:1 10.0.0.1:1 10.0.0.2:1")),
            normal(parse("10.0.0.1:1 10.0.0.2:1"))
        );
    }
}
