//! Audit lines: who asked for what, and what came of it.
//!
//! Invariant: a line carries ids, serial numbers and addresses, never a token, a key or a request
//! (rule S-21).

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use mesh_gossip_proto::WallTime;
use serde::Serialize;

use crate::bootstrap::BootstrapError;
use crate::bootstrap::files;
use crate::bootstrap::names::Serial;
use crate::wall::rfc3339;

/// What somebody asked an authority for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Act {
    /// A token was made.
    Token,
    /// A certificate was issued by hand.
    Issue,
    /// A node asked with a token.
    Join,
    /// A node asked with its certificate.
    Renew,
    /// A certificate or a node was revoked.
    Revoke,
    /// A revocation list was signed.
    Crl,
}

/// One line of the audit log.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AuditLine<'a> {
    /// What was asked for.
    pub(super) act: Act,
    /// `ok`, or the refusal's code.
    pub(super) outcome: &'a str,
    /// For which node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) node_id: Option<&'a str>,
    /// By which token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token_id: Option<&'a str>,
    /// About which certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) serial: Option<Serial>,
    /// Under which number, for revocation lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) crl_number: Option<u64>,
    /// From where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) peer: Option<SocketAddr>,
}

impl<'a> AuditLine<'a> {
    /// A line that says no more than that.
    pub(super) fn new(act: Act, outcome: &'a str) -> Self {
        Self {
            act,
            outcome,
            node_id: None,
            token_id: None,
            serial: None,
            crl_number: None,
            peer: None,
        }
    }
}

/// The log of one authority.
#[derive(Clone, Debug)]
pub(super) struct Audit {
    path: PathBuf,
    /// Who else hears of each line.
    echo: Option<fn(&str)>,
}

#[derive(Serialize)]
struct Stamped<'a> {
    at: String,
    #[serde(flatten)]
    line: &'a AuditLine<'a>,
}

impl Audit {
    pub(super) fn new(directory: &Path, echo: Option<fn(&str)>) -> Self {
        Self { path: directory.join(files::AUDIT), echo }
    }

    /// Adds a line. The file is opened each time, so that it can be rotated away.
    pub(super) fn note(&self, now: SystemTime, line: &AuditLine<'_>) -> Result<(), BootstrapError> {
        let fault = |error| files::io_error(&self.path, error);
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let at = rfc3339(WallTime(since.as_millis() as u64));
        let text = serde_json::to_string(&Stamped { at, line }).map_err(|e| fault(e.into()))?;
        if let Some(echo) = self.echo {
            echo(&text);
        }
        let file = files::owners_options().append(true).create(true).open(&self.path);
        file.and_then(|mut file| file.write_all(format!("{text}\n").as_bytes())).map_err(fault)
    }
}
