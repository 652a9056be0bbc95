//! Other membership libraries beside ours, on one network: `hyperscale peers`.
//!
//! Every member of every mesh is a process of its own behind a front of one [`Proxy`](super::proxy::Proxy),
//! which loses what it is told to lose and counts what everybody sends. All play the same: everybody joins
//! through one seed at one instant; nothing happens for a while; one member is killed; one more at each rate
//! of loss. Each library runs as its makers recommend for one site.
//!
//! Invariant: who is not there is left out with the reason, and whoever is behind is shown behind.

mod join;
mod mesh;
mod table;
#[cfg(feature = "peers")]
mod tasks;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::flags;

pub use join::run as be_a_peer;
pub use table::{Compared, Row};

/// Whose membership it is.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// This project's.
    Ours,
    /// Debian's serf, a program.
    Serf,
    /// foca, a crate.
    Foca,
    /// memberlist, a crate.
    Memberlist,
    /// chitchat, a crate.
    Chitchat,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Ours, Self::Serf, Self::Foca, Self::Memberlist, Self::Chitchat];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "mesh-gossip",
            Self::Serf => "serf",
            Self::Foca => "foca",
            Self::Memberlist => "memberlist (crate)",
            Self::Chitchat => "chitchat",
        }
    }

    /// Its version, or why it cannot play.
    fn version(self) -> Result<String, String> {
        match self {
            Self::Ours => Ok(env!("CARGO_PKG_VERSION").into()),
            Self::Serf => {
                let said = Command::new("serf").arg("version").output();
                let said = said.map_err(|error| format!("no serf here ({error})"))?;
                let text = String::from_utf8_lossy(&said.stdout).into_owned();
                text.lines().next().map(str::to_owned).ok_or_else(|| "serf tells no version".into())
            }
            Self::Foca | Self::Memberlist | Self::Chitchat => self.crate_version(),
        }
    }

    #[cfg(feature = "peers")]
    fn crate_version(self) -> Result<String, String> {
        // Those of the lock file, which is what was compiled.
        let lock = include_str!("../../../../Cargo.lock");
        let name = match self {
            Self::Foca => "foca",
            Self::Memberlist => "memberlist",
            Self::Chitchat => "chitchat",
            Self::Ours | Self::Serf => return Err("no crate of others".into()),
        };
        let (_, after) = lock
            .split_once(&format!("name = \"{name}\"\nversion = \""))
            .ok_or("the lock file does not name it")?;
        after.split('"').next().map(str::to_owned).ok_or_else(|| "no version".into())
    }

    #[cfg(not(feature = "peers"))]
    fn crate_version(self) -> Result<String, String> {
        Err("this program was built without --features peers".into())
    }

    /// The parameters that it runs with.
    fn parameters(self) -> &'static str {
        match self {
            Self::Ours => {
                "defaults: interval 1 s, detector observers, but for events, which are told at once; mTLS 1.3 of every \
                 member, one shard thread"
            }
            Self::Serf => {
                "profile lan, the default: probe 1 s, gossip 200 ms, suspicion x4; no encryption"
            }
            Self::Foca => "Config::new_lan(members); identities renew themselves; no encryption",
            Self::Memberlist => {
                "Options::lan(): probe 500 ms, probe timeout 1 s, over UDP and TCP; no encryption, no \
                 compression"
            }
            Self::Chitchat => {
                "gossip 1 s, FailureDetectorConfig::default(): phi 8, and a prior of 5 s that weighs in for \
                 some minutes; protocol V1; no encryption"
            }
        }
    }
}

/// Flags of `hyperscale peers`.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Flags {
    /// Members, a mesh each.
    #[arg(long, value_delimiter = ',', default_values_t = [32, 64])]
    nodes: Vec<usize>,
    /// Who plays; all of them where none are named.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Kind>,
    /// Rates of loss.
    #[arg(long, value_delimiter = ',', value_parser = flags::probability,
          default_values_t = [0.05, 0.10, 0.20])]
    loss: Vec<f64>,
    /// How long at most until all see all.
    #[arg(long, default_value_t = 60)]
    join_s: u64,
    /// How long nothing is measured after that.
    #[arg(long, default_value_t = 60)]
    settle_s: u64,
    /// How long nothing happens.
    #[arg(long, default_value_t = 30)]
    idle_s: u64,
    /// How long a death, and each rate of loss, is looked at.
    #[arg(long, default_value_t = 40)]
    window_s: u64,
    /// What losses are drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Directory for peers.json and peers.md.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print one JSON object as the last line.
    #[arg(long)]
    pub json: bool,
}

impl Flags {
    fn join(&self) -> Duration {
        Duration::from_secs(self.join_s)
    }

    fn settle(&self) -> Duration {
        Duration::from_secs(self.settle_s)
    }

    fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_s)
    }

    fn window(&self) -> Duration {
        Duration::from_secs(self.window_s)
    }

    fn kinds(&self) -> Vec<Kind> {
        if self.only.is_empty() { Kind::ALL.to_vec() } else { self.only.clone() }
    }

    /// The line that plays the same again.
    fn replay(&self) -> String {
        let list = |words: Vec<String>| words.join(",");
        let kinds = self
            .kinds()
            .into_iter()
            .filter_map(|kind| Some(kind.to_possible_value()?.get_name().to_owned()));
        format!(
            "cargo run --release -p hyperscale-tests --features peers --bin hyperscale -- peers \
             --nodes {} --only {} --loss {} --join-s {} --settle-s {} --idle-s {} --window-s {} --seed {}",
            list(self.nodes.iter().map(ToString::to_string).collect()),
            list(kinds.collect()),
            list(self.loss.iter().map(ToString::to_string).collect()),
            self.join_s,
            self.settle_s,
            self.idle_s,
            self.window_s,
            self.seed
        )
    }
}

/// Plays all of them, one after another.
///
/// # Errors
/// What the machine refuses, or a process that ended by itself.
pub fn run(
    flags: &Flags,
    mut say: impl FnMut(&str),
) -> Result<Compared, Box<dyn std::error::Error>> {
    let deaths = flags.loss.len() + 1;
    // A seed, and one who survives beside it.
    let least = deaths + 2;
    if let Some(few) = flags.nodes.iter().find(|nodes| **nodes < least) {
        let why = format!(
            "--nodes {few}: {deaths} members die, one without loss and one for each --loss"
        );
        return Err(format!("{why}, so that at least {least} are needed").into());
    }
    let mut compared = Compared::begin(flags.replay());
    for kind in flags.kinds() {
        match kind.version() {
            Err(why) => {
                say(&format!("{} is left out: {why}", kind.name()));
                compared.left_out(kind, why);
            }
            Ok(version) => {
                say(&format!("{} {version}: {}", kind.name(), kind.parameters()));
                compared.plays(kind, version);
                for nodes in &flags.nodes {
                    // An accident of one takes nothing from the others.
                    match mesh::play(flags, kind, *nodes) {
                        Ok(row) => {
                            say(&row.to_string());
                            compared.add(row);
                        }
                        Err(error) => {
                            let why = format!("{nodes} members: {error}");
                            say(&format!("{} is left out: {why}", kind.name()));
                            compared.left_out(kind, why);
                        }
                    }
                    write(flags, &compared)?;
                }
            }
        }
    }
    write(flags, &compared)?;
    Ok(compared)
}

fn write(flags: &Flags, compared: &Compared) -> Result<(), Box<dyn std::error::Error>> {
    let Some(out) = &flags.out else { return Ok(()) };
    std::fs::create_dir_all(out)?;
    std::fs::write(out.join("peers.md"), compared.markdown())?;
    let json = serde_json::to_string_pretty(compared)?;
    std::fs::write(out.join("peers.json"), json + "\n")?;
    Ok(())
}
