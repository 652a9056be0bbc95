//! All ranks of a plan on this machine, each a process of this program.
//!
//! Invariant: what was written for the run is gone after it, keys first of all.

use std::env;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::merge::{self, Merged};
use super::{RankError, file, plan};
use crate::flags;
use crate::real::flags::Sockets;

/// A directory that goes when it is done with.
struct Room(PathBuf);

impl Drop for Room {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} stays: {error}", self.0.display());
        }
    }
}

/// Plays what the flags describe in `world` processes, and puts their journals together.
///
/// # Errors
/// [`RankError`] where they ask for what processes cannot play, or one did not play to the end.
pub fn run(flags: &flags::Flags, sockets: Sockets, world: u16) -> Result<Merged, RankError> {
    let room = Room(env::temp_dir().join(format!("hyperscale-{}", std::process::id())));
    let (at, out) = (room.0.join("plan"), room.0.join("out"));
    plan::run(&plan::Flags {
        plan: flags.clone(),
        world,
        seeds: None,
        bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
        port: 0,
        out: at.clone(),
    })?;
    let children = (0..world).map(|rank| start(&at, &out, rank, sockets));
    let children: Vec<Child> = children.collect::<Result<_, _>>()?;
    let mut unfinished = Vec::new();
    for (rank, mut child) in children.into_iter().enumerate() {
        let status = file(Path::new("a process"), child.wait())?;
        if !status.success() {
            unfinished.push(rank);
        }
    }
    if !unfinished.is_empty() {
        return Err(RankError::Unfinished(unfinished));
    }
    merge::run(&merge::Flags { plan: at, out, json: false })
}

fn start(at: &Path, out: &Path, rank: u16, sockets: Sockets) -> Result<Child, RankError> {
    let program = file(Path::new("this program"), env::current_exe())?;
    let mut agent = Command::new(&program);
    agent.arg("agent").arg("--plan").arg(at).arg("--out").arg(out);
    agent.args(["--rank", &rank.to_string()]).args(sockets.replay().split_whitespace());
    // What it has to say is in its journal, or an error.
    file(&program, agent.stdout(Stdio::null()).spawn())
}
