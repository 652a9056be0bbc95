//! What a run and a member in a process of its own say to each other: one JSON object a line, orders on the
//! member's standard input and words on its standard output.
//!
//! Papers come by the first line, so that no key is ever in a file or on a command line. The end of its
//! input ends a member, so that none outlives its run, however that ends.

use std::net::SocketAddr;

use mesh_gossip::options::{Material, RevocationOptions, TlsOptions};
use mesh_gossip::tls::identity::NameRule;
use serde::{Deserialize, Serialize};

use super::counters::{Counters, Gauges};
use super::papers::TRUST_DOMAIN;
use super::process::Memory;

/// To a member.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// Run.
    Begin(Box<Begin>),
    /// These are its papers from here on.
    Papers(Papers),
    /// Tell what was counted.
    Count,
    /// Tell who is present in the view, by number.
    View,
}

/// Who a member is, where it listens, and whom it asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Begin {
    /// What is played, as flags of `hyperscale sim`.
    pub(crate) flags: String,
    pub(crate) node: usize,
    /// `auto`, `uring` or `mmsg`.
    pub(crate) io: String,
    pub(crate) shards: Option<u16>,
    pub(crate) bind: SocketAddr,
    /// Where others reach it, where that is elsewhere.
    pub(crate) advertise: Option<SocketAddr>,
    pub(crate) seeds: Vec<String>,
    pub(crate) papers: Papers,
}

/// PEM of what a member shows, its key, and whom it trusts.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Papers {
    chain: String,
    key: String,
    trusted: String,
}

impl std::fmt::Debug for Papers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Papers")
    }
}

impl Papers {
    /// As text; papers of a run are in memory.
    pub(crate) fn of(options: &TlsOptions) -> Self {
        let text = |material: &Material| match material {
            Material::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Material::Path(path) => unreachable!("{} is no paper in memory", path.display()),
        };
        Self {
            chain: text(&options.certificate),
            key: options.key.as_ref().map(text).unwrap_or_default(),
            trusted: text(&options.ca),
        }
    }

    /// As an agent is given them.
    pub(crate) fn tls_options(&self) -> TlsOptions {
        let bytes = |text: &str| Material::Bytes(text.as_bytes().to_vec().into());
        TlsOptions {
            certificate: bytes(&self.chain),
            key: Some(bytes(&self.key)),
            password: None,
            ca: bytes(&self.trusted),
            trust_domain: TRUST_DOMAIN.into(),
            identity: NameRule::Spiffe,
            allowed_thumbprints: Vec::new(),
            revocation: RevocationOptions::default(),
            reload_interval: TlsOptions::RELOAD_INTERVAL,
        }
    }
}

/// Of a member.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Word {
    /// It listens here, on this backend.
    Started { at: SocketAddr, backend: String, before: Memory, engine: Memory },
    /// It cannot go on.
    Failed(String),
    /// So many are present in its view, so many of them in doubt.
    Holds { present: usize, doubted: usize },
    /// It was told this of a member, `how` being a word of the measure; or something else of somebody.
    Saw { at_ms: u64, of: usize, how: String },
    /// It was told so many things that no measure looks at.
    Told(u64),
    /// What was counted.
    Counted(Counters, Gauges),
    /// Who is present.
    Present(Vec<usize>),
}
