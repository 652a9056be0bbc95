//! `omnirelay mesh peers`: the members that an agent knows, asked over its control URL.
//!
//! Invariant: stdout carries the whole answer or nothing; JSON is passed on as the server wrote
//! it, so that fields which this build does not know are kept.

mod watch;

use std::io::Write;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde::Deserialize;
use serde_json::value::RawValue;
use ureq::http::Uri;

use crate::control::{CertificateArgs, ControlError, Door, is_plain};
use crate::paint::Paint;
use crate::{duration, table};

const PATH: &str = "/control/peers";
/// Room for a million members; a longer answer is refused rather than swallowed.
const MAX_ANSWER_BYTES: u64 = 1 << 30;
/// Room for a reason.
const MAX_REFUSAL_BYTES: u64 = 1 << 16;

/// Shows the members that an agent knows.
#[derive(Args, Debug)]
pub(crate) struct PeersArgs {
    #[command(subcommand)]
    verb: Option<PeersVerb>,
    /// Control URL of the agent.
    #[arg(short, long, global = true, default_value = "http://127.0.0.1:8080", value_parser = base)]
    url: String,
    #[command(flatten)]
    certificates: CertificateArgs,
    /// How the members are printed.
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// How long the whole answer may take; exit code 2 when it does not come in time.
    #[arg(long, global = true, default_value = "10s", value_parser = duration::parse_positive)]
    timeout: Duration,
}

#[derive(Subcommand, Clone, Copy, Debug)]
enum PeersVerb {
    /// Lists them once (the default).
    List,
    /// Lists them, then prints who changes, until Ctrl-C; --timeout is for how long the agent may
    /// be gone.
    Watch,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// Columns for people.
    Table,
    /// The server's document.
    Json,
    /// One member a line.
    Ndjson,
}

impl Format {
    /// Coloured where people read it.
    fn painted(self, text: String) -> String {
        match self {
            Self::Table => Paint::for_stdout().text(&text),
            Self::Json | Self::Ndjson => text,
        }
    }
}

/// Why the members could not be shown.
#[derive(Debug)]
pub(crate) enum PeersError {
    /// The answer did not come in time.
    Timeout { url: String, after: Duration },
    /// Nobody listens there.
    Refused { url: String },
    /// Not reached, or the answer broke off.
    Transport { url: String, error: ureq::Error },
    /// The server answered with an error.
    Status { url: String, status: u16, why: Option<String> },
    /// The server answered with something else than what was asked for.
    Document { url: String, what: &'static str, error: serde_json::Error },
    /// The watch broke off, or there is no way to the agent.
    Control { url: String, error: ControlError },
    /// Our own output could not be written.
    Output(std::io::Error),
}

impl PeersError {
    /// Whether waiting longer might have helped.
    pub(crate) fn is_timeout(&self) -> bool {
        match self {
            Self::Timeout { .. } => true,
            Self::Control { error, .. } => error.is_timeout(),
            Self::Refused { .. }
            | Self::Transport { .. }
            | Self::Status { .. }
            | Self::Document { .. }
            | Self::Output(_) => false,
        }
    }
}

impl std::fmt::Display for PeersError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Timeout { url, after } => {
                write!(f, "{url} did not answer within {after:?}; --timeout allows it longer")
            }
            Self::Refused { url } => write!(
                f,
                "nobody listens at {url}: start an agent (omnirelay mesh agent --config FILE) or \
                 name another one's control URL with -u URL"
            ),
            Self::Transport { url, error } => {
                write!(f, "cannot reach {url}: {error}; check the URL given with -u")
            }
            Self::Status { url, status, why: Some(why) } => {
                write!(f, "{url} answered with HTTP status {status}: {}", table::harmless(why))
            }
            Self::Status { url, status, why: None } => write!(
                f,
                "{url} answered with HTTP status {status}; check that -u names an agent's control \
                 URL"
            ),
            Self::Document { url, what, error } => write!(
                f,
                "{url} did not answer with a list of {what} ({error}); check that -u names an \
                 agent's control URL"
            ),
            Self::Control { url, error } => {
                let error = error.to_string();
                match error.contains(url.as_str()) {
                    true => f.write_str(&error),
                    false => write!(f, "{url}: {error}"),
                }
            }
            Self::Output(error) => write!(f, "cannot write the answer: {error}"),
        }
    }
}

impl std::error::Error for PeersError {}

/// Asks and prints.
pub(crate) fn run(args: &PeersArgs) -> Result<(), PeersError> {
    match args.verb {
        None | Some(PeersVerb::List) => {}
        Some(PeersVerb::Watch) => {
            let door = args.certificates.door(&args.url);
            let door = door.map_err(|error| no_way(&args.url, error))?;
            return watch::run(&door, args.format, args.timeout);
        }
    }
    let url = format!("{}{PATH}", args.url);
    let body = fetch(&args.url, PATH, &args.certificates, args.timeout)?;
    let text = render(&body, args.format).map_err(|error| PeersError::Document {
        url,
        what: "members",
        error,
    })?;
    let mut out = std::io::stdout().lock();
    let text = args.format.painted(text);
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(PeersError::Output)
}

/// The answer of a control server at this URL.
pub(crate) fn fetch(
    base: &str,
    path: &str,
    certificates: &CertificateArgs,
    timeout: Duration,
) -> Result<String, PeersError> {
    if is_plain(base) {
        return fetch_plain(&format!("{base}{path}"), timeout);
    }
    let door = certificates.door(base).map_err(|error| no_way(base, error))?;
    fetch_through(&door, path, timeout)
}

/// The same over mutual TLS.
pub(crate) fn fetch_through(
    door: &Door,
    path: &str,
    timeout: Duration,
) -> Result<String, PeersError> {
    let url = format!("{door}{path}");
    match door.ask_within("GET", path, b"", timeout, MAX_ANSWER_BYTES) {
        Ok(body) => Ok(String::from_utf8_lossy(&body).into_owned()),
        Err(ControlError::Timeout { after, .. }) => Err(PeersError::Timeout { url, after }),
        Err(ControlError::Refused { status, why }) => {
            Err(PeersError::Status { url, status, why: Some(why) })
        }
        Err(error) => Err(no_way(&url, error)),
    }
}

fn no_way(url: &str, error: ControlError) -> PeersError {
    PeersError::Control { url: url.into(), error }
}

/// The answer of a control server on loopback.
pub(crate) fn fetch_plain(url: &str, timeout: Duration) -> Result<String, PeersError> {
    let blame = |error: ureq::Error| match error {
        ureq::Error::Timeout(_) => PeersError::Timeout { url: url.into(), after: timeout },
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            PeersError::Timeout { url: url.into(), after: timeout }
        }
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            PeersError::Refused { url: url.into() }
        }
        error => PeersError::Transport { url: url.into(), error },
    };
    // No proxy: the control server is this machine's own, whatever http_proxy says.
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .build()
        .new_agent();
    let mut answer = agent.get(url).header("accept", "application/json").call().map_err(blame)?;
    let status = answer.status();
    if status.as_u16() != 200 {
        let body = answer.body_mut().with_config().limit(MAX_REFUSAL_BYTES).read_to_string();
        let why = body.ok().and_then(|body| serde_json::from_str::<Refusal>(&body).ok());
        let why = why.map(|refusal| refusal.error);
        return Err(PeersError::Status { url: url.into(), status: status.as_u16(), why });
    }
    answer.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_string().map_err(blame)
}

/// How a control server says why not.
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// A control URL without its trailing slash.
pub(crate) fn base(text: &str) -> Result<String, UrlError> {
    let uri: Uri = text.parse().map_err(|_| UrlError::Shape)?;
    if uri.host().is_none_or(str::is_empty) || uri.query().is_some() {
        return Err(UrlError::Shape);
    }
    match uri.scheme_str() {
        Some("http" | "https") => Ok(text.trim_end_matches('/').to_owned()),
        _ => Err(UrlError::Shape),
    }
}

/// No control URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UrlError {
    Shape,
}

impl std::fmt::Display for UrlError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Shape => "write it as http://HOST:PORT, or https://HOST:PORT for mutual TLS",
        })
    }
}

impl std::error::Error for UrlError {}

/// What the table needs of the document; the rest is ignored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    generated_at: String,
    local_node_id: String,
    peers: Vec<Peer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Peer {
    node_id: String,
    status: String,
    rtt_ms: Option<f64>,
    #[serde(default)]
    lifecycle: Option<String>,
    #[serde(default)]
    metadata: PeerMetadata,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PeerMetadata {
    role: String,
    cluster_id: String,
    region: String,
    mesh_version: String,
    http3_support: bool,
}

/// The members alone, each as the server wrote it.
#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    peers: Vec<&'a RawValue>,
}

fn render(body: &str, format: Format) -> Result<String, serde_json::Error> {
    match format {
        Format::Table => Ok(as_table(&serde_json::from_str(body)?)),
        Format::Json => {
            serde_json::from_str::<Members<'_>>(body)?;
            Ok(format!("{}\n", body.trim_end()))
        }
        Format::Ndjson => {
            let members: Members<'_> = serde_json::from_str(body)?;
            // A line break inside a JSON string is always escaped: any raw one is layout.
            Ok(members
                .peers
                .iter()
                .map(|peer| peer.get().replace(['\r', '\n'], "") + "\n")
                .collect())
        }
    }
}

fn as_table(document: &Document) -> String {
    const COLUMNS: [&str; 8] =
        ["Node", "Status", "Role", "Cluster", "Region", "Version", "HTTP/3", "rtt (ms)"];
    let mut text = format!(
        "Generated at: {}\nLocal node: {}\n\n",
        table::harmless(&document.generated_at),
        table::harmless(&document.local_node_id)
    );
    let rows: Vec<_> = document.peers.iter().map(row).collect();
    let lines = match document.peers.iter().any(|peer| peer.set_apart().is_some()) {
        false => table::lines(COLUMNS, &rows),
        // Behind the others, so that whoever counts columns finds each where it was.
        true => {
            let [a, b, c, d, e, f, g, h] = COLUMNS;
            let apart = document.peers.iter().map(|peer| peer.set_apart().unwrap_or("-"));
            let longer = rows.into_iter().zip(apart).map(|([a, b, c, d, e, f, g, h], apart)| {
                [a, b, c, d, e, f, g, h, apart.to_owned()]
            });
            table::lines([a, b, c, d, e, f, g, h, "Lifecycle"], &longer.collect::<Vec<_>>())
        }
    };
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

fn row(peer: &Peer) -> [String; 8] {
    let metadata = &peer.metadata;
    [
        peer.node_id.clone(),
        peer.status.clone(),
        metadata.role.clone(),
        metadata.cluster_id.clone(),
        metadata.region.clone(),
        metadata.mesh_version.clone(),
        table::yes(metadata.http3_support),
        table::rtt(peer.rtt_ms),
    ]
}

impl Peer {
    /// What keeps work from it: cordoned, draining or drained.
    fn set_apart(&self) -> Option<&str> {
        self.lifecycle.as_deref().filter(|lifecycle| *lifecycle != "active")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{
  "schemaVersion": "v1", "generatedAt": "2026-01-02T03:04:05.678+00:00", "localNodeId": "gw-1",
  "peers": [
    {"nodeId": "gw-1", "status": "Alive", "lastSeen": "2026-01-02T03:04:05+00:00",
     "metadata": {"role": "gateway", "clusterId": "prod", "region": "eu-1", "meshVersion": "1.4.0",
                  "http3Support": true, "endpoint": "10.0.0.1:17421", "metadataVersion": 1}},
    {"nodeId": "worker-12", "status": "Suspect", "rttMs": 0.4712, "later": {"b": 1, "a": 2},
     "metadata": {"role": "worker", "clusterId": "prod", "region": "eu-1", "meshVersion": "dev",
                  "http3Support": false}}
  ]
}"#;

    #[test]
    fn the_table_is_the_references() -> Result<(), serde_json::Error> {
        let expected = "\
Generated at: 2026-01-02T03:04:05.678+00:00
Local node: gw-1

Node       Status   Role     Cluster  Region  Version  HTTP/3  rtt (ms)
gw-1       Alive    gateway  prod     eu-1    1.4.0    yes     -
worker-12  Suspect  worker   prod     eu-1    dev      no      0.47
";
        assert_eq!(render(BODY, Format::Table)?, expected);
        Ok(())
    }

    /// Who is given no work is seen at a glance; where nobody is, the columns are the reference's.
    #[test]
    fn who_is_cordoned_or_drained_is_shown() -> Result<(), serde_json::Error> {
        let active = BODY.replace("\"rttMs\"", "\"lifecycle\": \"active\", \"rttMs\"");
        assert_eq!(render(&active, Format::Table)?, render(BODY, Format::Table)?);
        for lifecycle in ["cordoned", "draining", "drained"] {
            let body = active.replace("active", lifecycle);
            let text = render(&body, Format::Table)?;
            let lines: Vec<&str> = text.lines().skip(3).collect();
            assert!(lines[0].ends_with("rtt (ms)  Lifecycle"), "{text}");
            assert!(lines[1].ends_with("-         -"), "{text}");
            assert!(lines[2].ends_with(&format!("0.47      {lifecycle}")), "{text}");
        }
        Ok(())
    }

    #[test]
    fn json_is_the_servers_document_and_ndjson_one_member_a_line() -> Result<(), serde_json::Error>
    {
        assert_eq!(render(BODY, Format::Json)?, format!("{BODY}\n"));
        let lines = render(BODY, Format::Ndjson)?;
        let lines: Vec<_> = lines.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[1].contains(r#""later": {"b": 1, "a": 2}"#), "order and unknown fields kept");
        assert!(render("[]", Format::Json).is_err());
        Ok(())
    }

    #[test]
    fn urls_are_http_or_https_with_a_host() {
        assert_eq!(base("http://127.0.0.1:8080/"), Ok("http://127.0.0.1:8080".into()));
        assert_eq!(base("http://[::1]:8080"), Ok("http://[::1]:8080".into()));
        assert_eq!(base("https://h/"), Ok("https://h".into()));
        for url in ["", "127.0.0.1:8080", "ftp://h", "http://", "http://h/?a=b", "not a url"] {
            assert_eq!(base(url), Err(UrlError::Shape), "{url}");
        }
    }
}
