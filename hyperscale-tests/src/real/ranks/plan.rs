//! What all ranks have in common: what is played, who is where, and everybody's papers.
//!
//! `hyperscale plan` writes a directory: `plan.toml`, and below `papers` the trust anchor `ca.pem` and
//! for each rank a directory with the certificates and keys of its members. Keys are in files that their
//! owner alone can read; the key that signed them is never written, so that nobody can add a member.
//!
//! Invariant: the flags in the file are those of `hyperscale sim`, and mean the same plan.

use std::fs;
use std::net::IpAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::{Args, Parser};
use mesh_gossip::bootstrap::{CaValidity, CertificateAuthority, Existing, Subject};
use mesh_gossip::options::{Material, RevocationOptions, TlsOptions};
use mesh_gossip::tls::identity::NameRule;

use super::{RankError, file};
use crate::flags;
use crate::plan::{Plan, PlanError, Scenario};
use crate::real::RealError;
use crate::real::papers::{self, CLUSTER, TRUST_DOMAIN, VALIDITY};

const PLAN: &str = "plan.toml";
const PAPERS: &str = "papers";
const ANCHOR: &str = "ca.pem";

/// Flags of `hyperscale plan`.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Flags {
    /// What happens, as in a simulation.
    #[command(flatten)]
    pub plan: flags::Flags,
    /// Processes that share the members.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=4_096))]
    pub world: u16,
    /// Where every process looks for the mesh: a name whose addresses are all asked, and a port. Without
    /// it rank 0 writes its address into the directory of the journals.
    #[arg(long)]
    pub seeds: Option<String>,
    /// Address to listen at.
    #[arg(long, default_value = "127.0.0.1")]
    pub bind: IpAddr,
    /// Port of the first member of each process, the next ones follow; any free ones where it is 0.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// Directory to write.
    #[arg(long, default_value = "hyperscale-plan")]
    pub out: PathBuf,
}

/// A plan as a rank reads it.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) plan: Plan,
    pub(super) world: usize,
    pub(super) seeds: Option<String>,
    pub(super) bind: IpAddr,
    pub(super) port: u16,
    directory: PathBuf,
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: flags::Flags,
}

/// Writes a plan; returns where.
///
/// # Errors
/// [`RankError`] where the flags contradict each other, ask for what many processes cannot play, or a
/// file cannot be written.
pub fn run(flags: &Flags) -> Result<PathBuf, RankError> {
    let at = flags.out.join(PLAN);
    let world = usize::from(flags.world);
    let refused = |error: PlanError| RankError::Unreadable(at.clone(), error.to_string());
    let plan = playable(flags.plan.plan().map_err(refused)?, world).map_err(refused)?;
    file(&flags.out, fs::create_dir_all(&flags.out))?;
    let now = SystemTime::now();
    let mint = |error| RankError::Real(RealError::Mint(error));
    let authority = CertificateAuthority::create(TRUST_DOMAIN, CLUSTER, now, CaValidity::default())
        .map_err(mint)?;
    let papers = flags.out.join(PAPERS);
    file(&papers, fs::create_dir_all(&papers))?;
    let anchor = papers.join(ANCHOR);
    file(&anchor, fs::write(&anchor, authority.bundle_pem()))?;
    for rank in 0..world {
        let own = of_rank(&papers, rank);
        file(&own, fs::create_dir_all(&own))?;
        for node in share(plan.nodes, world, rank) {
            let subject = Subject::new(&papers::name(node), "worker");
            let issued = authority.issue(&subject, now, VALIDITY).map_err(mint)?;
            issued.write(&own, Existing::Replace).map_err(mint)?;
        }
    }
    // Last: where there is a plan, there are papers.
    file(&at, fs::write(&at, written(flags, &plan)))?;
    Ok(at)
}

fn written(flags: &Flags, plan: &Plan) -> String {
    let replay = plan.replay();
    let (_, played) = replay.split_once(" sim ").unwrap_or_default();
    let mut text = format!(
        "# Made by hyperscale plan; read by every hyperscale agent and by hyperscale report.\n\
         flags = \"{played}\"\nworld = {}\nbind = \"{}\"\nport = {}\n",
        flags.world, flags.bind, flags.port
    );
    if let Some(seeds) = &flags.seeds {
        text += &format!("seeds = \"{seeds}\"\n");
    }
    text
}

/// The plan, if ranks can play it: no rank sees the whole network, so that none can be made.
fn playable(plan: Plan, world: usize) -> Result<Plan, PlanError> {
    let refuse = |flag, given: String, allowed: &str| {
        Err(PlanError::OutOfRange { flag, given, allowed: allowed.into() })
    };
    if world > plan.nodes {
        return refuse("--world", world.to_string(), "a process has a member at least");
    }
    if plan.loss > 0.0 || plan.regions > 1 {
        let given = format!("{}, {}", plan.loss, plan.regions);
        return refuse("--loss, --regions", given, "processes stand on the network that there is");
    }
    if plan.words > 0 {
        return refuse("--words", plan.words.to_string(), "hosts are silent on sockets");
    }
    match plan.scenario {
        Scenario::Steady | Scenario::Crash | Scenario::RollingRestart | Scenario::Churn => Ok(plan),
        Scenario::Asymmetric
        | Scenario::FlipFlop
        | Scenario::LifeguardInterval
        | Scenario::Threshold
        | Scenario::Partition
        | Scenario::Wan
        | Scenario::AntiEntropy
        | Scenario::Certificates
        | Scenario::Exhaustion
        | Scenario::Drill
        | Scenario::JoinStorm => {
            let allowed = "many processes play steady, crash, rolling-restart and churn";
            refuse("--scenario", plan.scenario.name().into(), allowed)
        }
    }
}

/// The members of a rank: all ranks have as many, or one more.
pub(super) fn share(members: usize, world: usize, rank: usize) -> Range<usize> {
    members * rank / world..members * (rank + 1) / world
}

fn of_rank(papers: &Path, rank: usize) -> PathBuf {
    papers.join(format!("rank-{rank}"))
}

impl Shared {
    /// Reads `plan.toml`, or that of a directory.
    pub(super) fn read(path: &Path) -> Result<Self, RankError> {
        let at = if path.is_dir() { path.join(PLAN) } else { path.to_owned() };
        let text = file(&at, fs::read_to_string(&at))?;
        let directory = at.parent().unwrap_or(Path::new(".")).to_owned();
        Self::parse(&text, directory).map_err(|what| RankError::Unreadable(at, what))
    }

    /// Lines of `key = value`, a value being a number or a string in quotes without escapes.
    fn parse(text: &str, directory: PathBuf) -> Result<Self, String> {
        let (mut flags, mut world, mut seeds) = (None, None, None);
        let (mut bind, mut port) = (None, 0);
        let lines = text.lines().map(str::trim);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (key, value) = line.split_once('=').ok_or_else(|| format!("no key in: {line}"))?;
            let value = value.trim();
            let quoted = || {
                let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
                inner.map(str::to_owned).ok_or_else(|| format!("no string in: {line}"))
            };
            let number = || value.parse::<u16>().map_err(|_| format!("no number in: {line}"));
            match key.trim() {
                "flags" => flags = Some(quoted()?),
                "world" => world = Some(number()?),
                "seeds" => seeds = Some(quoted()?),
                "bind" => {
                    bind = Some(quoted()?.parse().map_err(|_| format!("no address in: {line}"))?);
                }
                "port" => port = number()?,
                other => return Err(format!("unknown key: {other}")),
            }
        }
        let flags = flags.ok_or("no flags")?;
        let words = std::iter::once("plan").chain(flags.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        let world = usize::from(world.ok_or("no world")?);
        let plan = line.flags.plan().and_then(|plan| playable(plan, world));
        let plan = plan.map_err(|error| error.to_string())?;
        let bind = bind.ok_or("no bind")?;
        Ok(Self { plan, world, seeds, bind, port, directory })
    }

    /// What member `node` of `rank` shows, and whom it trusts; read from files as it starts.
    pub(super) fn tls_options(&self, rank: usize, node: usize) -> TlsOptions {
        let papers = self.directory.join(PAPERS);
        let own = of_rank(&papers, rank);
        let name = papers::name(node);
        TlsOptions {
            certificate: Material::Path(own.join(format!("{name}.pem"))),
            key: Some(Material::Path(own.join(format!("{name}.key")))),
            password: None,
            ca: Material::Path(papers.join(ANCHOR)),
            trust_domain: TRUST_DOMAIN.into(),
            identity: NameRule::Spiffe,
            allowed_thumbprints: Vec::new(),
            revocation: RevocationOptions::default(),
            reload_interval: TlsOptions::RELOAD_INTERVAL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        flags: Flags,
    }

    fn flags(words: &str) -> Flags {
        let words = std::iter::once("plan").chain(words.split_whitespace());
        Command::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).flags
    }

    #[test]
    fn every_member_is_somebodys_and_nobody_has_two() {
        for (members, world) in [(200, 4), (7, 3), (5, 5), (1_000, 33)] {
            let all: Vec<usize> = (0..world).flat_map(|rank| share(members, world, rank)).collect();
            assert_eq!(all, (0..members).collect::<Vec<_>>());
            let sizes = (0..world).map(|rank| share(members, world, rank).len());
            let (least, most) = (sizes.clone().min(), sizes.max());
            assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1));
        }
    }

    #[test]
    fn a_plan_that_is_written_is_read_as_it_was() {
        let directory =
            std::env::temp_dir().join(format!("hyperscale-plan-{}", std::process::id()));
        let line = format!(
            "--scenario crash --nodes 6 --crash 2 --seed 9 --duration 25 --warmup-s 4 --world 3 \
             --seeds mesh-seeds:17500 --port 17500 --out {}",
            directory.display()
        );
        let flags = flags(&line);
        let at = run(&flags).unwrap_or_else(|error| panic!("{error}"));
        let shared = Shared::read(&directory).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(shared.plan, flags.plan.plan().expect("a plan"));
        assert_eq!((shared.world, shared.port), (3, 17_500));
        assert_eq!(shared.seeds.as_deref(), Some("mesh-seeds:17500"));
        assert_eq!(Shared::read(&at).expect("the same by its file").plan, shared.plan);
        let key = directory.join("papers/rank-1/node-2.key");
        let mode = fs::metadata(&key).expect("a key").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "a key is its owner's alone");
        let kept = fs::read_dir(directory.join("papers")).expect("papers").count();
        assert_eq!(kept, 1 + 3, "an anchor and a directory a rank: the key of the CA is not kept");
        fs::remove_dir_all(&directory).expect("removed");
    }

    #[test]
    fn what_is_wrong_with_a_plan_is_told() {
        let read = |text: &str| Shared::parse(text, PathBuf::new()).expect_err("refused");
        let whole = "flags = \"--nodes 8\"\nworld = 2\nbind = \"127.0.0.1\"\n";
        assert!(Shared::parse(whole, PathBuf::new()).is_ok());
        for (text, hint) in [
            ("world = 2\n", "no flags"),
            ("flags = --nodes 8\n", "no string"),
            ("flags = \"--nodes 8\"\nworld = two\n", "no number"),
            ("wrold = 2\n", "unknown key"),
            (
                "flags = \"--nodes 8 --loss 0.1\"\nworld = 2\nbind = \"::1\"\n",
                "the network that there is",
            ),
            (
                "flags = \"--nodes 8 --scenario threshold\"\nworld = 2\nbind = \"::1\"\n",
                "many processes play",
            ),
            ("flags = \"--nodes 8\"\nworld = 9\nbind = \"::1\"\n", "--world 9"),
        ] {
            let error = read(text);
            assert!(error.contains(hint), "{text}: {error}");
        }
    }
}
