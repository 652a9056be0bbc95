//! `omnirelay mesh bootstrap`: certificate authorities and node certificates.
//!
//! A passport office: the files are the passports, and the receipt says how to use them. What was
//! done is told on stderr; stdout carries what a program or a file takes: settings, a token, a
//! revocation list.
//!
//! Invariant: stdout carries what was asked for or nothing at all, no key is ever printed, and a
//! token is printed once and taken from no argument (rule S-21).

mod authority;
mod error;
mod node;
mod options;
mod serve;

use std::io::Write;
use std::path::{Path, PathBuf, absolute};
use std::time::Duration;

use clap::{Args, Subcommand};
use mesh_gossip::bootstrap::Existing;
use serde_json::json;
use zeroize::Zeroizing;

pub(crate) use error::BootstrapError;

use crate::say::tell;

/// What `--help` ends with; docs/bootstrap.md explains it, and a test types that in.
const WALK: &str = "\
A walk, on the authority's machine:
  omnirelay mesh bootstrap init --dir ca --trust-domain example.org --cluster prod
  omnirelay mesh bootstrap serve --dir ca --listen 0.0.0.0:17420
  omnirelay mesh bootstrap token --dir ca --node node-1 --role worker --out node-1.token
on the node, with the token and the fingerprint that init told:
  omnirelay mesh bootstrap join --server HOST:17420 --ca-fingerprint HEX \\
    --node node-1 --token-file node-1.token --out node-1 > node-1.json
  omnirelay mesh agent --config node-1.json
  omnirelay mesh bootstrap renew --server HOST:17420 --dir node-1 --node node-1 --daemon
and when the node must go, on the authority's machine:
  omnirelay mesh bootstrap revoke --dir ca --node node-1
  omnirelay mesh bootstrap crl --dir ca --out crl.pem";

/// Certificates: an authority, tokens to join with, renewal, revocation.
#[derive(Args, Debug)]
#[command(after_help = WALK)]
pub(crate) struct BootstrapArgs {
    #[command(subcommand)]
    verb: BootstrapVerb,
}

#[derive(Subcommand, Debug)]
enum BootstrapVerb {
    Init(options::InitArgs),
    Token(options::TokenArgs),
    Serve(options::ServeArgs),
    Join(options::JoinArgs),
    Issue(options::IssueArgs),
    Renew(options::RenewArgs),
    Revoke(options::RevokeArgs),
    Crl(options::CrlArgs),
    Inspect(options::InspectArgs),
}

/// Does what was asked and tells.
pub(crate) fn run(args: &BootstrapArgs) -> Result<(), BootstrapError> {
    match &args.verb {
        BootstrapVerb::Init(args) => authority::init(args),
        BootstrapVerb::Token(args) => authority::token(args),
        BootstrapVerb::Serve(args) => serve::serve(args),
        BootstrapVerb::Join(args) => node::join(args),
        BootstrapVerb::Issue(args) => authority::issue(args),
        BootstrapVerb::Renew(args) => node::renew(args),
        BootstrapVerb::Revoke(args) => authority::revoke(args),
        BootstrapVerb::Crl(args) => authority::crl(args),
        BootstrapVerb::Inspect(args) => authority::inspect(args),
    }
}

/// Settings of one node, as a file for `mesh agent --config`.
struct NodeSettings<'a> {
    node: &'a str,
    role: &'a str,
    cluster: &'a str,
    trust_domain: &'a str,
    certificate: &'a Path,
    key: &'a Path,
    ca: &'a Path,
}

fn print_settings(settings: &NodeSettings<'_>) -> Result<(), BootstrapError> {
    print(&json!({ "mesh": { "gossip": {
        "nodeId": settings.node,
        "role": settings.role,
        "clusterId": settings.cluster,
        "tls": {
            "certificatePath": full(settings.certificate)?,
            "keyPath": full(settings.key)?,
            "caPath": full(settings.ca)?,
            "trustDomain": settings.trust_domain,
        },
    }}}))
}

/// A password, from a file for the same reason as a token.
fn password(path: Option<&PathBuf>) -> Result<Option<Zeroizing<String>>, BootstrapError> {
    let Some(path) = path else { return Ok(None) };
    let text = std::fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|error| BootstrapError::File(path.clone(), error))?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(BootstrapError::NoPassword(path.clone()));
    }
    Ok(Some(Zeroizing::new(password.to_owned())))
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
    say(&format!("{settings:#}"))
}

/// One thing on stdout.
fn say(text: &str) -> Result<(), BootstrapError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()).map_err(BootstrapError::Process)
}

fn warn(warnings: impl IntoIterator<Item = String>) {
    for warning in warnings {
        tell!("warning: {warning}");
    }
}
