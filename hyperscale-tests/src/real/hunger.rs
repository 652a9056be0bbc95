//! Members that hardly ever get a core: each shares a control group of a small quota with busy threads.
//!
//! A member whose machine is exhausted waits for its turn among everything else that wants to run. Here a
//! group gets 3 % of a core, one turn of a thread in each tenth of a second, so that with B busy threads a
//! member runs once in (B + 1) / 10 seconds, and 32 such groups leave everybody else the rest of the machine.
//!
//! Invariant: busy threads run in a group with a quota and nowhere else; they end, and the groups go, with
//! whoever made them.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use clap::Args;

use super::process::{self, Turns};

/// What a group gets of a core, microseconds in a period of so many.
const QUOTA_US: u32 = 3_000;
const PERIOD_US: u32 = 100_000;
/// A group is empty when the last process in it has been waited for, and for the kernel a moment later.
const EMPTIES: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(20);
/// Groups bear it, then the process that made them, then the member.
const NAME: &str = "mesh-gossip-";
/// What busy threads say once they are there.
const READY: &str = "ready";

/// Which kind of control groups share out processor time here, and where they are mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Controller {
    One(PathBuf),
    Two(PathBuf),
}

impl Controller {
    /// By the lines of `/proc/mounts`: the first version where it has the controller, else the second.
    fn among(mounts: &str) -> Option<Self> {
        let mounted = |kind: &'static str, option: Option<&'static str>| {
            mounts.lines().find_map(move |line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                let (at, of, options) = (words.get(1)?, words.get(2)?, words.get(3)?);
                let has = option.is_none_or(|known| options.split(',').any(|one| one == known));
                (*of == kind && has).then(|| PathBuf::from(at))
            })
        };
        let one = mounted("cgroup", Some("cpu")).map(Self::One);
        one.or_else(|| mounted("cgroup2", None).map(Self::Two))
    }

    /// Takes away what runs left that were killed themselves; a group that is in use stays.
    fn clear(&self) {
        let entries = fs::read_dir(self.root()).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name();
            let run = name.to_str().and_then(|name| name.strip_prefix(NAME)?.split('-').next());
            if run.is_some_and(|run| !Path::new("/proc").join(run).exists()) {
                // Somebody else may have been faster.
                let _ = fs::remove_dir(entry.path());
            }
        }
    }

    fn root(&self) -> &Path {
        match self {
            Self::One(root) | Self::Two(root) => root,
        }
    }

    /// Makes a group and bounds it.
    fn group(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.root().join(name);
        if let Self::Two(root) = self {
            fs::write(root.join("cgroup.subtree_control"), "+cpu")?;
        }
        fs::create_dir(&path)?;
        let bounded = match self {
            Self::One(_) => fs::write(path.join("cpu.cfs_period_us"), PERIOD_US.to_string())
                .and_then(|()| fs::write(path.join("cpu.cfs_quota_us"), QUOTA_US.to_string())),
            Self::Two(_) => fs::write(path.join("cpu.max"), format!("{QUOTA_US} {PERIOD_US}")),
        };
        match bounded {
            Ok(()) => Ok(path),
            Err(error) => {
                let _ = fs::remove_dir(&path);
                Err(error)
            }
        }
    }
}

/// One hungry member.
struct Group {
    path: PathBuf,
    node: usize,
    member: u32,
    /// Where it belongs when this is over.
    home: PathBuf,
    eater: Child,
    turns: Turns,
}

/// Everybody who is hungry.
#[derive(Default)]
pub(super) struct Hunger(Vec<Group>);

/// What became of one hungry member's wish to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Starved {
    /// Whose.
    pub node: usize,
    /// Since it is hungry.
    pub turns: Turns,
}

impl Hunger {
    /// From here on these members, by their numbers and processes, share theirs with so many busy threads
    /// each.
    ///
    /// # Errors
    /// Of the machine, where control groups are not ours to make.
    pub(super) fn begin(&mut self, members: &[(usize, u32)], busy: u16) -> io::Result<()> {
        let mounts = fs::read_to_string("/proc/mounts")?;
        let none = || io::Error::other("no control groups for processor time are mounted");
        let controller = Controller::among(&mounts).ok_or_else(none)?;
        let refused = |error: io::Error| {
            let root = controller.root().display();
            io::Error::new(error.kind(), format!("a control group in {root}: {error}"))
        };
        let own = std::process::id();
        controller.clear();
        for (node, member) in members {
            let name = format!("{NAME}{own}-{node}");
            // What has been entered is cleared away, whatever fails.
            let mut eater = eater(busy)?;
            let path = match controller.group(&name) {
                Ok(path) => path,
                Err(error) => {
                    let _ = eater.kill();
                    let _ = eater.wait();
                    return Err(refused(error));
                }
            };
            let home = controller.root().join("cgroup.procs");
            let turns = process::turns_of(&member.to_string());
            self.0.push(Group { path, node: *node, member: *member, home, eater, turns });
        }
        for group in &mut self.0 {
            let procs = group.path.join("cgroup.procs");
            fs::write(&procs, group.eater.id().to_string()).map_err(refused)?;
            fs::write(&procs, group.member.to_string()).map_err(refused)?;
            if let Some(input) = &mut group.eater.stdin {
                writeln!(input, "go")?;
            }
        }
        Ok(())
    }

    /// How it went so far.
    pub(super) fn starved(&self) -> Vec<Starved> {
        let of = |group: &Group| Starved {
            node: group.node,
            turns: process::turns_of(&group.member.to_string()).since(group.turns),
        };
        self.0.iter().map(of).collect()
    }
}

impl Drop for Hunger {
    fn drop(&mut self) {
        for group in &mut self.0 {
            // It may have ended by itself.
            let _ = group.eater.kill();
            // So may the member.
            let _ = fs::write(&group.home, group.member.to_string());
        }
        for group in &mut self.0 {
            let _ = group.eater.wait();
            let mut waited = Duration::ZERO;
            while let Err(error) = fs::remove_dir(&group.path) {
                if waited >= EMPTIES {
                    eprintln!("{} stays: {error}", group.path.display());
                    break;
                }
                thread::sleep(LOOK);
                waited += LOOK;
            }
        }
    }
}

/// A process whose threads wait for the word to begin.
fn eater(busy: u16) -> io::Result<Child> {
    let program = std::env::current_exe()?;
    let mut command = Command::new(program);
    command.args(["burn", "--threads", &busy.to_string()]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut ready = String::new();
    if let Some(output) = child.stdout.take() {
        BufReader::new(output).read_line(&mut ready)?;
    }
    if ready.trim() == READY {
        return Ok(child);
    }
    let _ = child.kill();
    let _ = child.wait();
    Err(io::Error::other("busy threads did not start"))
}

/// Flags of `hyperscale burn`.
#[derive(Args, Clone, Copy, Debug)]
pub struct BurnFlags {
    /// Busy threads.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
}

/// Waits for a line, and then keeps so many threads busy until the input ends.
///
/// # Errors
/// Where threads cannot be started or the word to begin cannot be read.
pub fn burn(flags: BurnFlags) -> Result<(), Box<dyn std::error::Error>> {
    let begins = Arc::new(Barrier::new(usize::from(flags.threads) + 1));
    for _ in 0..flags.threads {
        let begins = begins.clone();
        let spin = move || {
            begins.wait();
            loop {
                std::hint::spin_loop();
            }
        };
        thread::Builder::new().stack_size(64 * 1_024).spawn(spin)?;
    }
    println!("{READY}");
    let mut input = io::stdin().lock();
    let mut word = String::new();
    if input.read_line(&mut word)? > 0 {
        begins.wait();
        input.read_to_end(&mut Vec::new())?;
    }
    // Threads that spin end with their process alone.
    std::process::exit(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_controller_for_processor_time_is_found() {
        let one = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                   cgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0\n\
                   cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu 0 0\n\
                   cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(
            Controller::among(one),
            Some(Controller::One("/sys/fs/cgroup/cpu".into())),
            "the second version has no controller that the first has"
        );
        let two = "cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n";
        assert_eq!(Controller::among(two), Some(Controller::Two("/sys/fs/cgroup".into())));
        assert_eq!(Controller::among("proc /proc proc rw 0 0\n"), None);
    }
}
