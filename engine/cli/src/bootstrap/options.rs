//! What can be asked of `omnirelay mesh bootstrap`.
//!
//! Invariant: no option takes a secret, only the name of a file that holds one (rule S-21).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use mesh_gossip::bootstrap::{Fingerprint, Reason, Serial};

use crate::duration::parse_positive;

fn days() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=36_500)
}

/// Creates the certificate authority of a cluster.
///
/// A root and, below it, an issuing CA that signs nodes only. Tells the root's fingerprint, which
/// joining nodes pin; stdout carries the settings that trust the authority. Move root.key offline.
#[derive(Args, Debug)]
pub(super) struct InitArgs {
    /// Where the authority is kept; its key never leaves this directory.
    #[arg(long, value_name = "DIR")]
    pub(super) dir: PathBuf,
    /// Trust domain of the identities (spiffe://TRUST_DOMAIN/mesh/…).
    #[arg(long)]
    pub(super) trust_domain: String,
    /// Cluster that the authority vouches for.
    #[arg(long)]
    pub(super) cluster: String,
    /// Days until the authority expires.
    #[arg(long, default_value_t = 3_650, value_parser = days())]
    pub(super) days: u32,
    /// Replaces an authority that is there already: every certificate and token of it is void then.
    #[arg(long)]
    pub(super) force: bool,
}

/// Makes a token that one node may join with, once.
///
/// The token is printed on stdout, or written to --out for the owner alone; the authority keeps
/// only its hash. Carry it to the node over a channel that you trust. The first key that is shown
/// with it gets the certificate; the same key may ask again, another one never. A node that was
/// revoked may return with a new token.
#[derive(Args, Debug)]
pub(super) struct TokenArgs {
    /// Directory of the authority.
    #[arg(long, value_name = "DIR")]
    pub(super) dir: PathBuf,
    /// Name of the node within the cluster.
    #[arg(long, value_name = "ID")]
    pub(super) node: String,
    /// Role of the node; `operator` and `bootstrap` are reserved.
    #[arg(long)]
    pub(super) role: String,
    /// How long the token can be used.
    #[arg(long, default_value = "1h", value_parser = parse_positive)]
    pub(super) ttl: Duration,
    /// Days until the certificate expires that the node gets, and each renewal of it.
    #[arg(long, default_value_t = 90, value_parser = days())]
    pub(super) days: u32,
    /// Lifetime of the certificate as a duration, such as 10m, for certificates shorter than days.
    #[arg(long, value_parser = parse_positive, conflicts_with = "days")]
    pub(super) lifetime: Option<Duration>,
    /// Writes the token to a file that must not exist yet.
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
}

/// Answers nodes that join and renew, until SIGTERM or SIGINT.
///
/// TLS 1.3 over TCP. Stdout carries one line, when the server listens; the audit log goes to
/// audit.jsonl in the authority's directory and to stderr. Tokens, hand-issued certificates and
/// revocations of other commands count at once. The revocation list is made anew when half of its
/// life is over.
#[derive(Args, Debug)]
pub(super) struct ServeArgs {
    /// Directory of the authority.
    #[arg(long, value_name = "DIR")]
    pub(super) dir: PathBuf,
    /// Where it listens; nodes elsewhere need an address that they reach, such as 0.0.0.0:17420.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:17420")]
    pub(super) listen: SocketAddr,
    /// Node id in the server's own certificate.
    #[arg(long, value_name = "ID", default_value = "bootstrap")]
    pub(super) name: String,
}

/// Asks the authority's server for this node's certificate, with a token.
///
/// The key is made here and stays here. Nothing is sent to the server before it has shown a CA
/// with the given fingerprint and a certificate in the role `bootstrap` below it. Writes ID.pem,
/// ID.key and ca.pem; stdout carries the settings that use them. A join that was interrupted is
/// simply repeated: its key is kept and gets the same certificate.
#[derive(Args, Debug)]
pub(super) struct JoinArgs {
    /// The authority's server.
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) server: String,
    /// SHA-256 fingerprint of the authority's root, as `init`, `token` and `serve` tell it.
    #[arg(long, value_name = "HEX")]
    pub(super) ca_fingerprint: Fingerprint,
    /// Name of this node, as the token was made for.
    #[arg(long, value_name = "ID")]
    pub(super) node: String,
    /// File that holds the token; - reads it from stdin.
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: PathBuf,
    /// Where certificate, key and CA are written.
    #[arg(long, value_name = "DIR")]
    pub(super) out: PathBuf,
    /// Expected trust domain; by default the one that the pinned root names.
    #[arg(long)]
    pub(super) trust_domain: Option<String>,
    /// Expected cluster; by default the one that the pinned root names.
    #[arg(long)]
    pub(super) cluster: Option<String>,
    /// How long an unreachable server is tried again.
    #[arg(long, default_value = "30s", value_parser = parse_positive)]
    pub(super) timeout: Duration,
    /// Also writes ID.p12, a PKCS#12 store of chain and key under the password in this file.
    #[arg(long, value_name = "FILE")]
    pub(super) pkcs12_password_file: Option<PathBuf>,
    /// Replaces a certificate that is there already.
    #[arg(long)]
    pub(super) force: bool,
}

/// Issues the certificate of one node by hand, key included.
///
/// Stdout carries the settings that use it. The key is made here and must travel; a node that joins
/// with a token makes its own.
#[derive(Args, Debug)]
pub(super) struct IssueArgs {
    /// Directory of the authority.
    #[arg(long, value_name = "DIR")]
    pub(super) dir: PathBuf,
    /// Name of the node within the cluster.
    #[arg(long, value_name = "ID")]
    pub(super) node: String,
    /// Role of the node; `operator` and `bootstrap` are reserved.
    #[arg(long, required_unless_present = "operator")]
    pub(super) role: Option<String>,
    /// Issues the certificate of a person who operates the mesh: it never gossips, and no settings
    /// are printed.
    #[arg(long, conflicts_with = "role")]
    pub(super) operator: bool,
    /// Where the certificate and its key are written.
    #[arg(long, value_name = "DIR")]
    pub(super) out: PathBuf,
    /// Days until the certificate expires.
    #[arg(long, default_value_t = 90, value_parser = days())]
    pub(super) days: u32,
    /// Also writes ID.p12, a PKCS#12 store of chain and key under the password in this file.
    #[arg(long, value_name = "FILE")]
    pub(super) pkcs12_password_file: Option<PathBuf>,
    /// Replaces a certificate that is there already.
    #[arg(long)]
    pub(super) force: bool,
}

/// Exchanges this node's certificate for a new one with a new key.
///
/// Shows the present certificate, which must be neither revoked nor expired. Replaces ID.pem and
/// ID.key. With --daemon it stays, renews at two thirds of the certificate's life (a little
/// earlier, at random), tries again when that fails, and ends with an error when the authority
/// refuses for good.
#[derive(Args, Debug)]
pub(super) struct RenewArgs {
    /// The authority's server.
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) server: String,
    /// Directory that `join` or `issue` wrote to.
    #[arg(long, value_name = "DIR")]
    pub(super) dir: PathBuf,
    /// Name of this node.
    #[arg(long, value_name = "ID")]
    pub(super) node: String,
    /// CA bundle, where it is not ca.pem in that directory.
    #[arg(long, value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
    /// Also writes ID.p12, a PKCS#12 store of chain and key under the password in this file; where there
    /// is no ID.pem, the present certificate is read from it.
    #[arg(long, value_name = "FILE")]
    pub(super) pkcs12_password_file: Option<PathBuf>,
    /// Also fetches the revocation list into this file.
    #[arg(long, value_name = "FILE")]
    pub(super) crl: Option<PathBuf>,
    /// Stays and renews whenever it is time.
    #[arg(long)]
    pub(super) daemon: bool,
    /// How often the daemon fetches the revocation list.
    #[arg(long, default_value = "5m", value_parser = parse_positive, requires_all = ["daemon", "crl"])]
    pub(super) crl_every: Duration,
}

/// Revokes a certificate, or a node with all it has.
///
/// Enters the revocation in the ledger and writes a new revocation list, crl.pem in the
/// authority's directory, with a higher number. With --node every live certificate of the node is
/// revoked, its open tokens are void, and it gets no other certificate until somebody makes a
/// token for it or issues one by hand.
#[derive(Args, Debug)]
pub(super) struct RevokeArgs {
    /// Directory of the authority.
    #[arg(long, value_name = "DIR")]
    pub(super) dir: PathBuf,
    /// Serial number of the certificate.
    #[arg(long, value_name = "HEX", required_unless_present = "node", conflicts_with = "node")]
    pub(super) serial: Option<Serial>,
    /// Name of the node.
    #[arg(long, value_name = "ID")]
    pub(super) node: Option<String>,
    /// Why.
    #[arg(long, value_enum, default_value_t = ReasonArg::Unspecified)]
    pub(super) reason: ReasonArg,
}

/// Why a certificate is revoked (RFC 5280).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ReasonArg {
    Unspecified,
    KeyCompromise,
    Superseded,
    CessationOfOperation,
}

impl From<ReasonArg> for Reason {
    fn from(reason: ReasonArg) -> Self {
        match reason {
            ReasonArg::Unspecified => Self::Unspecified,
            ReasonArg::KeyCompromise => Self::KeyCompromise,
            ReasonArg::Superseded => Self::Superseded,
            ReasonArg::CessationOfOperation => Self::CessationOfOperation,
        }
    }
}

/// Prints the current certificate revocation list.
///
/// As PEM, good for seven days. A new one is signed when half of the last one's life is over.
#[derive(Args, Debug)]
pub(super) struct CrlArgs {
    /// Directory of the authority.
    #[arg(long, value_name = "DIR")]
    pub(super) dir: PathBuf,
    /// Writes it to a file.
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
}

/// Shows what a certificate, a chain, a revocation list or an authority's directory says.
///
/// Verifies nothing and writes nothing.
#[derive(Args, Debug)]
pub(super) struct InspectArgs {
    /// PEM files, directories of authorities, or PKCS#12 stores with --password-file.
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<PathBuf>,
    /// The paths are PKCS#12 stores under the password in this file.
    #[arg(long, value_name = "FILE")]
    pub(super) password_file: Option<PathBuf>,
    /// One JSON array with one object a path.
    #[arg(long)]
    pub(super) json: bool,
}
