//! Names of seeds and the addresses behind them.
//!
//! Invariant: a resolver that is silent costs the patience of one question, not more.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use mesh_gossip::options::AgentOptions;

use super::report::Finding;

const CHECK: &str = "seeds";
/// Seeds looked at; whoever lists more has an answer after these.
const MOST: usize = 16;
/// Bytes of a seed file, likewise.
const LONGEST_FILE: u64 = 1 << 20;

/// One seed's name and one of its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seed {
    pub(super) name: String,
    pub(super) address: SocketAddr,
}

impl std::fmt::Display for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let address = self.address.to_string();
        if self.name == address {
            f.write_str(&address)
        } else {
            write!(f, "{} ({address})", self.name)
        }
    }
}

/// Looks every seed up.
pub(super) fn check(options: &AgentOptions, patience: Duration) -> (Vec<Seed>, Vec<Finding>) {
    let mut names = options.seeds.clone();
    let mut findings = Vec::new();
    if let Some(file) = &options.seed_file {
        match read_bounded(file) {
            Ok(text) => names.extend(listed(&text)),
            Err(error) => findings.push(Finding::fail(
                CHECK,
                format!("{}: {error}", file.display()),
                "write the file, or remove mesh:gossip:seedFile",
            )),
        }
    }
    if names.is_empty() && findings.is_empty() {
        let evidence = "none: this node joins nobody, others have to name it";
        findings.push(Finding::warn(CHECK, evidence, "set mesh:gossip:seedPeers to some members"));
    }
    names.truncate(MOST);
    let mut seeds = Vec::new();
    for name in names {
        match resolve(&name, patience) {
            Ok(addresses) => {
                let shown: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
                findings.push(Finding::pass(CHECK, format!("{name} is {}", shown.join(", "))));
                seeds.extend(
                    addresses.into_iter().map(|address| Seed { name: name.clone(), address }),
                );
            }
            Err(why) => findings.push(Finding::fail(
                CHECK,
                format!("{name} does not resolve: {why}"),
                format!("add {name} to DNS, or write an address to mesh:gossip:seedPeers"),
            )),
        }
    }
    seeds.truncate(MOST);
    (seeds, findings)
}

/// As much as an agent reads of it.
fn read_bounded(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(LONGEST_FILE).read_to_string(&mut text)?;
    Ok(text)
}

/// One seed a line; `#` begins a comment.
fn listed(text: &str) -> impl Iterator<Item = String> {
    text.lines()
        .map(|line| line.split_once('#').map_or(line, |(seed, _comment)| seed).trim())
        .filter(|seed| !seed.is_empty())
        .map(str::to_owned)
}

/// On a thread of its own, since the system's resolver cannot be given up.
fn resolve(name: &str, patience: Duration) -> Result<Vec<SocketAddr>, String> {
    let (answer, found) = mpsc::channel();
    let asked = name.to_owned();
    thread::spawn(move || {
        // Nobody may be waiting any more.
        let _ = answer.send(asked.to_socket_addrs().map(Vec::from_iter));
    });
    match found.recv_timeout(patience) {
        Ok(Ok(addresses)) if addresses.is_empty() => Err("no address".into()),
        Ok(Ok(addresses)) => Ok(addresses),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {patience:?}")),
    }
}
