//! One question to a control server, over TCP or through its owner's socket.
//!
//! Invariant: a question ends by its deadline, whatever the other end does.

mod door;

use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Deserialize;

pub(crate) use door::{CertificateArgs, Door, is_plain};

use crate::{duration, peers, table};

/// Room for a status with many participants.
const MOST_ANSWER: u64 = 1 << 20;
/// Lines of a head, and bytes of one.
const MOST_HEAD: usize = 64;
const MOST_LINE: u64 = 8_192;

/// Which agent is changed.
#[derive(Args, Clone, Debug)]
pub(crate) struct DoorArgs {
    /// Control socket of the agent (mesh:gossip:control:socket).
    #[arg(long, value_name = "FILE", conflicts_with = "node")]
    socket: Option<PathBuf>,
    /// Node id of an agent of this user on this machine; needed where there are several.
    #[arg(long, value_name = "ID")]
    node: Option<String>,
    /// Control URL of an agent on another machine, https; needs an operator's certificate.
    #[arg(short, long, value_parser = peers::base, conflicts_with_all = ["socket", "node"])]
    url: Option<String>,
    #[command(flatten)]
    certificates: CertificateArgs,
    /// How long the answer may take; exit code 2 when it does not come in time.
    #[arg(long, default_value = "10s", value_parser = duration::parse_positive)]
    pub(crate) timeout: Duration,
}

/// Why there was no answer, or not the one that was wanted.
#[derive(Debug)]
pub(crate) enum ControlError {
    /// No socket to go to.
    NoDoor(String),
    /// The answer did not come in time.
    Timeout { what: String, after: Duration },
    /// Not reached, or the answer broke off.
    Io { what: String, error: io::Error },
    /// Something else than HTTP answers there.
    Protocol(String),
    /// The server said no.
    Refused { status: u16, why: String },
    /// What was asked for did not come about.
    Failed(String),
}

impl ControlError {
    /// Whether waiting longer might have helped.
    pub(crate) fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. })
    }

    fn io(what: &str, after: Duration, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                Self::Timeout { what: what.into(), after }
            }
            _ => Self::Io { what: what.into(), error },
        }
    }
}

impl std::fmt::Display for ControlError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoDoor(why) => f.write_str(why),
            Self::Timeout { what, after } => {
                write!(f, "{what} did not answer within {after:?}; --timeout allows it longer")
            }
            Self::Io { what, error } if what.starts_with("https:") => write!(
                f,
                "cannot reach {what}: {error}; check the URL, and that agent and command trust \
                 each other's certificates"
            ),
            Self::Io { what, error } => write!(
                f,
                "cannot reach {what}: {error}; check that the agent runs, as this user, with this \
                 control socket"
            ),
            Self::Protocol(what) => write!(f, "{what} is no control server"),
            Self::Refused { status, why } => {
                write!(f, "refused (HTTP status {status}): {}", table::harmless(why))
            }
            Self::Failed(why) => f.write_str(&table::harmless(why)),
        }
    }
}

impl std::error::Error for ControlError {}

impl DoorArgs {
    /// The way that is meant.
    pub(crate) fn door(&self) -> Result<Door, ControlError> {
        match &self.url {
            Some(url) => self.certificates.door(url),
            None => self.socket().map(Door::Socket),
        }
    }

    fn socket(&self) -> Result<PathBuf, ControlError> {
        if let Some(path) = &self.socket {
            return Ok(path.clone());
        }
        let home = std::env::var_os("XDG_RUNTIME_DIR").filter(|home| !home.is_empty());
        let home = home.ok_or_else(|| {
            ControlError::NoDoor(
                "XDG_RUNTIME_DIR is not set: name the agent's control socket with --socket FILE"
                    .into(),
            )
        })?;
        let home = PathBuf::from(home).join("mesh-gossip");
        match &self.node {
            Some(node) => Ok(home.join(format!("{node}.sock"))),
            None => only_socket(&home),
        }
    }
}

/// The socket in this directory, if there is exactly one.
fn only_socket(home: &Path) -> Result<PathBuf, ControlError> {
    let entries = std::fs::read_dir(home).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sock"))
        .collect();
    found.sort();
    match found.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(ControlError::NoDoor(format!(
            "no agent has a control socket in {}: start one, or name its socket with --socket FILE",
            home.display()
        ))),
        several => {
            let name = |path: &PathBuf| path.file_stem().map(|stem| stem.display().to_string());
            let names: Vec<String> = several.iter().filter_map(name).collect();
            Err(ControlError::NoDoor(format!(
                "several agents have a control socket: name one with --node ID ({})",
                names.join(", ")
            )))
        }
    }
}

/// What a control server says no with.
fn refusal(status: u16, body: &[u8]) -> ControlError {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
    }
    let why = serde_json::from_slice(body).map_or_else(
        |_| String::from_utf8_lossy(body).into_owned(),
        |refusal: Refusal| refusal.error,
    );
    ControlError::Refused { status, why }
}

/// Reads the head of an answer.
fn status(stream: &mut impl BufRead, what: &str, patience: Duration) -> Result<u16, ControlError> {
    let mut status = None;
    for _ in 0..MOST_HEAD {
        let mut line = String::new();
        let read = stream.take(MOST_LINE).read_line(&mut line);
        read.map_err(|error| ControlError::io(what, patience, error))?;
        if line.trim_end().is_empty() {
            return status.ok_or_else(|| ControlError::Protocol(what.into()));
        }
        if status.is_none() {
            let told = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
            status = told.and_then(|status| status.trim_end().parse().ok());
            if status.is_none() {
                break;
            }
        }
    }
    Err(ControlError::Protocol(what.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_and_what_is_none_is_told() {
        let of = |text: &str| status(&mut text.as_bytes(), "x", Duration::ZERO).ok();
        assert_eq!(of("HTTP/1.0 200 OK\r\na: b\r\n\r\nbody"), Some(200));
        assert_eq!(of("HTTP/1.1 409 Conflict\r\n\r\n"), Some(409));
        for none in ["", "\r\n", "SSH-2.0-x\r\n\r\n", "HTTP/1.1 x\r\n\r\n"] {
            assert_eq!(of(none), None, "{none:?}");
        }
        assert_eq!(of(&format!("HTTP/1.0 200 OK\r\n{}", "a: b\r\n".repeat(100))), None);
    }

    #[test]
    fn the_only_socket_is_found_and_of_several_one_is_named() {
        let home = tempfile::tempdir().unwrap();
        let told = || match only_socket(home.path()) {
            Ok(path) => path.file_name().unwrap().display().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(told().contains("no agent has a control socket"), "{}", told());
        std::fs::write(home.path().join("a.sock"), "").unwrap();
        std::fs::write(home.path().join("b.txt"), "").unwrap();
        assert_eq!(told(), "a.sock");
        std::fs::write(home.path().join("c.sock"), "").unwrap();
        assert!(told().ends_with("--node ID (a, c)"), "{}", told());
    }
}
