//! `omnirelay mesh leaders`: who leads what, as far as an agent can tell, asked over its control
//! URL.
//!
//! Invariant: stdout carries whole answers only; JSON is passed on as the server wrote it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::thread;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use mesh_gossip::proto::{Scope, ScopeError};
use serde::Deserialize;

use crate::control::CertificateArgs;
use crate::peers::{PeersError, base, fetch};
use crate::{duration, stdout, table};

const PATH: &str = "/control/leaders";
/// How often a watch asks.
const PACE: Duration = Duration::from_millis(500);

/// Shows who leads what, as far as an agent can tell: advice, and no lock.
#[derive(Args, Debug)]
pub(crate) struct LeadersArgs {
    #[command(subcommand)]
    verb: LeadersVerb,
}

#[derive(Subcommand, Debug)]
enum LeadersVerb {
    /// Shows the leaders of all scopes, or of one.
    Status(StatusArgs),
}

#[derive(Args, Debug)]
struct StatusArgs {
    /// The name of one scope.
    #[arg(long, value_parser = scope_name)]
    scope: Option<String>,
    /// Goes on, and shows them again whenever they have changed, until Ctrl-C or an error.
    #[arg(long)]
    watch: bool,
    /// How they are printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Control URL of the agent.
    #[arg(short, long, default_value = "http://127.0.0.1:8080", value_parser = base)]
    url: String,
    #[command(flatten)]
    certificates: CertificateArgs,
    /// How long a whole answer may take; exit code 2 when it does not come in time.
    #[arg(long, default_value = "10s", value_parser = duration::parse_positive)]
    timeout: Duration,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// Columns for people.
    Table,
    /// The server's document, one a line.
    Json,
}

/// A scope's name, which needs no escaping in a URL.
fn scope_name(text: &str) -> Result<String, ScopeError> {
    match Scope::parse(text)? {
        Scope { name, role: None, region: None } => Ok(name),
        Scope { .. } => Err(ScopeError::Name),
    }
}

/// Asks and prints, once or for ever.
pub(crate) fn run(args: &LeadersArgs) -> Result<(), PeersError> {
    let LeadersVerb::Status(args) = &args.verb;
    let query = args.scope.as_ref().map(|scope| format!("?scope={scope}")).unwrap_or_default();
    let path = format!("{PATH}{query}");
    let url = format!("{}{path}", args.url);
    let mut shown: Option<Vec<Key>> = None;
    loop {
        let body = fetch(&args.url, &path, &args.certificates, args.timeout)?;
        let blame = |error| PeersError::Document { url: url.clone(), what: "leaders", error };
        let document: Document = serde_json::from_str(&body).map_err(blame)?;
        let keys: Vec<Key> = document.tokens.iter().map(Token::key).collect();
        if shown.as_ref() != Some(&keys) {
            let text = match args.format {
                Format::Table => {
                    let apart = if shown.is_some() { "\n" } else { "" };
                    format!("{apart}{}", as_table(&document))
                }
                // A line break inside a JSON string is always escaped: any raw one is layout.
                Format::Json => body.trim_end().replace(['\r', '\n'], "") + "\n",
            };
            let mut out = std::io::stdout().lock();
            out.write_all(text.as_bytes())
                .and_then(|()| out.flush())
                .map_err(PeersError::Output)?;
            shown = Some(keys);
        }
        if !args.watch {
            return Ok(());
        }
        stdout::still_read().map_err(PeersError::Output)?;
        thread::sleep(PACE);
    }
}

/// What the table needs of the document; the rest is ignored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    generated_at: String,
    tokens: Vec<Token>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    scope: String,
    scope_kind: String,
    leader_id: String,
    term: u64,
    fence_token: u64,
    issued_at: String,
    expires_at: String,
}

/// What makes an answer news: times move with every one.
type Key = (String, String, u64, u64);

impl Token {
    fn key(&self) -> Key {
        (self.scope.clone(), self.leader_id.clone(), self.term, self.fence_token)
    }

    fn row(&self) -> [String; 7] {
        [
            self.scope.clone(),
            self.scope_kind.clone(),
            self.leader_id.clone(),
            self.term.to_string(),
            self.fence_token.to_string(),
            self.issued_at.clone(),
            self.expires_at.clone(),
        ]
    }
}

fn as_table(document: &Document) -> String {
    let rows: Vec<_> = document.tokens.iter().map(Token::row).collect();
    let header = ["Scope", "Kind", "Leader", "Term", "Fence token", "Issued at", "Expires at"];
    let mut text = format!("Generated at: {}\n\n", table::harmless(&document.generated_at));
    for line in table::lines(header, &rows) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{line}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_asked_for_by_its_name_alone() {
        assert_eq!(scope_name("eu/control:1"), Ok("eu/control:1".into()));
        for text in ["", "a b", "a?b", "a&b", "a; role=b"] {
            assert_eq!(scope_name(text), Err(ScopeError::Name), "{text}");
        }
    }
}
