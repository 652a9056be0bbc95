//! `omnirelay mesh bootstrap`: certificate authorities and node certificates.
//!
//! A passport office: the files are the passports, and the receipt says how to use them. What was
//! written is told on stderr; stdout carries the settings that use it, as a JSON file for
//! `mesh agent --config`, so that the output can be redirected into one.
//!
//! Invariant: stdout carries settings that an agent takes or nothing at all, and no key is ever
//! printed.

use std::io::Write;
use std::path::{Path, PathBuf, absolute};
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use mesh_gossip::bootstrap::{
    BootstrapError as MintError, CaValidity, CertificateAuthority, Existing, ROOT_KEY, Subject,
    TRUST_BUNDLE,
};
use mesh_gossip::tls::identity::RESERVED_ROLES;
use serde_json::json;

/// Mints certificate authorities and node certificates.
#[derive(Args, Debug)]
pub(crate) struct BootstrapArgs {
    #[command(subcommand)]
    verb: BootstrapVerb,
}

#[derive(Subcommand, Debug)]
enum BootstrapVerb {
    /// Creates the certificate authority of a cluster.
    Init(InitArgs),
    /// Issues the certificate of one node.
    Issue(IssueArgs),
}

#[derive(Args, Debug)]
struct InitArgs {
    /// Where the authority is kept; its key never leaves this directory.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Trust domain of the identities (spiffe://TRUST_DOMAIN/mesh/…).
    #[arg(long)]
    trust_domain: String,
    /// Cluster that the authority vouches for.
    #[arg(long)]
    cluster: String,
    /// Days until the authority expires.
    #[arg(long, default_value_t = 3_650, value_parser = days())]
    days: u32,
    /// Replaces an authority that is there already: every certificate it issued is void then.
    #[arg(long)]
    force: bool,
}

#[derive(Args, Debug)]
struct IssueArgs {
    /// Directory of the authority.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Name of the node within the cluster.
    #[arg(long, value_name = "ID")]
    node: String,
    /// Role of the node; `operator` and `bootstrap` are reserved.
    #[arg(long)]
    role: String,
    /// Where the certificate and its key are written.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Days until the certificate expires.
    #[arg(long, default_value_t = 90, value_parser = days())]
    days: u32,
    /// Replaces a certificate that is there already.
    #[arg(long)]
    force: bool,
}

fn days() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=36_500)
}

/// Why nothing was minted.
#[derive(Debug)]
pub(crate) enum BootstrapError {
    /// Minting, reading or writing failed.
    Mint(MintError),
    /// A role that no agent may have.
    Reserved(&'static str),
    /// Something is there already and may not be replaced.
    Exists(PathBuf),
    /// A path of ours could not be made absolute, or stdout is closed.
    Process(std::io::Error),
}

impl std::fmt::Display for BootstrapError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mint(error) => error.fmt(f),
            Self::Reserved(role) => write!(
                f,
                "--role {role} is reserved for certificates that never gossip, so that `mesh \
                 agent` refuses them; this build has no verb that issues one. Name the role that \
                 the node has in the mesh, such as worker"
            ),
            Self::Exists(path) => {
                write!(f, "{} exists; --force replaces it", path.display())
            }
            Self::Process(error) => write!(f, "the settings cannot be printed: {error}"),
        }
    }
}

impl std::error::Error for BootstrapError {}

/// Mints and tells.
pub(crate) fn run(args: &BootstrapArgs) -> Result<(), BootstrapError> {
    match &args.verb {
        BootstrapVerb::Init(args) => init(args),
        BootstrapVerb::Issue(args) => issue(args),
    }
}

fn init(args: &InitArgs) -> Result<(), BootstrapError> {
    let root = span(args.days);
    let validity = CaValidity { root, issuing: root.min(CaValidity::default().issuing) };
    let authority = CertificateAuthority::create(
        &args.trust_domain,
        &args.cluster,
        SystemTime::now(),
        validity,
    )
    .map_err(BootstrapError::Mint)?;
    authority.write(&args.dir, existing(args.force)).map_err(blame)?;
    eprintln!("wrote the authority of cluster {} to {}", args.cluster, args.dir.display());
    eprintln!("its root key ({ROOT_KEY}) signs no node: move it offline");
    print(&json!({ "mesh": { "gossip": {
        "clusterId": authority.cluster(),
        "tls": {
            "caPath": full(&args.dir.join(TRUST_BUNDLE))?,
            "trustDomain": authority.trust_domain(),
        },
    }}}))
}

fn issue(args: &IssueArgs) -> Result<(), BootstrapError> {
    if let Some(role) = RESERVED_ROLES.into_iter().find(|role| *role == args.role) {
        return Err(BootstrapError::Reserved(role));
    }
    let authority = CertificateAuthority::load(&args.dir).map_err(BootstrapError::Mint)?;
    let subject = Subject::new(&args.node, &args.role);
    let issued = authority
        .issue(&subject, SystemTime::now(), span(args.days))
        .map_err(BootstrapError::Mint)?;
    let files = issued.write(&args.out, existing(args.force)).map_err(blame)?;
    eprintln!("wrote {} (serial {})", files.certificate.display(), issued.serial);
    eprintln!("wrote {}", files.key.display());
    print(&json!({ "mesh": { "gossip": {
        "nodeId": args.node,
        "role": args.role,
        "clusterId": authority.cluster(),
        "tls": {
            "certificatePath": full(&files.certificate)?,
            "keyPath": full(&files.key)?,
            "caPath": full(&args.dir.join(TRUST_BUNDLE))?,
            "trustDomain": authority.trust_domain(),
        },
    }}}))
}

/// Tells the one failure that an option of ours resolves from all others.
fn blame(error: MintError) -> BootstrapError {
    if let MintError::Exists(path) = error {
        return BootstrapError::Exists(path);
    }
    BootstrapError::Mint(error)
}

fn existing(force: bool) -> Existing {
    if force { Existing::Replace } else { Existing::Refuse }
}

/// A settings file may be read from another directory.
fn full(path: &Path) -> Result<PathBuf, BootstrapError> {
    absolute(path).map_err(BootstrapError::Process)
}

fn span(days: u32) -> Duration {
    Duration::from_secs(u64::from(days) * 86_400)
}

fn print(settings: &serde_json::Value) -> Result<(), BootstrapError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{settings:#}").map_err(BootstrapError::Process)
}
