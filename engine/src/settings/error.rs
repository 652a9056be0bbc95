//! What can be wrong with what people wrote, and how to put it right.
//!
//! Each error reads like a note in the margin: which line of which file, what stands there, what
//! should stand there.
//!
//! Invariant: a [`Shown`] never holds a secret, and errors hold no other text of a value.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mesh_gossip_proto::ScopeError;

use super::keys::{self, Key, ROOT};

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A line of a file.
    File {
        /// The file.
        path: Arc<str>,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Variable(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
        }
    }
}

/// A value as it may be printed: secrets redacted, long ones shortened, control characters
/// escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown(Option<String>);

impl Shown {
    /// What stands for a secret.
    pub const REDACTED: &'static str = "(redacted)";
    const MOST_CHARS: usize = 80;

    /// A value of a known key.
    pub(super) fn of(key: &Key, text: &str) -> Self {
        if key.kind.is_secret() { Self(None) } else { Self::plain(text) }
    }

    /// A value of a key that may be a mistyped secret.
    pub(super) fn of_unknown(name: &str, nearest: Option<&Key>, text: &str) -> Self {
        const SUSPICIOUS: [&str; 8] =
            ["tls", "pass", "pwd", "secret", "data", "key", "token", "credential"];
        let name = name.to_ascii_lowercase();
        let secret = SUSPICIOUS.iter().any(|word| name.contains(word))
            || nearest.is_some_and(|key| key.kind.is_secret());
        if secret { Self(None) } else { Self::plain(text) }
    }

    /// Where there is no value to show.
    pub(super) fn nothing() -> Self {
        Self(Some(String::new()))
    }

    /// The text without quotes.
    pub(super) fn printable(&self) -> &str {
        self.0.as_deref().unwrap_or(Self::REDACTED)
    }

    fn plain(text: &str) -> Self {
        // Key material that was pasted where a path belongs.
        if text.contains("-----BEGIN") {
            return Self(None);
        }
        match text.char_indices().nth(Self::MOST_CHARS) {
            Some((end, _)) => Self(Some(format!("{}…", &text[..end]))),
            None => Self(Some(text.into())),
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(text) => write!(f, "{text:?}"),
            None => f.write_str(Self::REDACTED),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum SettingsError {
    /// A file could not be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: std::io::ErrorKind,
    },
    /// A file is not JSON.
    Syntax {
        /// Where reading stopped.
        at: Origin,
        /// Column, from 1.
        column: usize,
        /// What was met.
        why: String,
    },
    /// A variable of ours holds bytes that are no text.
    NotText {
        /// The variable.
        origin: Origin,
    },
    /// No such key.
    UnknownKey {
        /// Below `mesh:gossip`, as it was written.
        key: String,
        /// Its value.
        value: Shown,
        /// Where.
        origin: Origin,
        /// The key that was probably meant.
        nearest: Option<&'static str>,
    },
    /// One file, or the environment under one root, sets a key twice.
    SetTwice {
        /// Below `mesh:gossip`.
        key: String,
        /// One place.
        first: Origin,
        /// The other place.
        second: Origin,
    },
    /// The value cannot be what the key needs.
    Invalid {
        /// Below `mesh:gossip`.
        key: String,
        /// Its value.
        value: Shown,
        /// Where.
        origin: Origin,
        /// What is wrong, and what would be right.
        problem: Problem,
    },
    /// The value asks for something that this build does not do.
    Refused {
        /// Below `mesh:gossip`.
        key: &'static str,
        /// Its value.
        value: Shown,
        /// Where.
        origin: Origin,
        /// What would be right.
        why: &'static str,
    },
    /// A required key is not set.
    Missing {
        /// Below `mesh:gossip`.
        key: &'static str,
        /// How to put it right.
        fix: &'static str,
    },
}

impl SettingsError {
    /// The full key, where the error is about one.
    pub fn key(&self) -> Option<String> {
        match self {
            Self::Unreadable { .. } | Self::Syntax { .. } | Self::NotText { .. } => None,
            Self::UnknownKey { key, .. }
            | Self::SetTwice { key, .. }
            | Self::Invalid { key, .. } => Some(format!("{ROOT}:{key}")),
            Self::Refused { key, .. } | Self::Missing { key, .. } => Some(format!("{ROOT}:{key}")),
        }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, why } => {
                write!(f, "{}: cannot be read: {why}", path.display())
            }
            Self::Syntax { at, column, why } => write!(f, "{at}:{column}: not valid JSON: {why}"),
            Self::NotText { origin } => {
                write!(f, "{origin}: not valid UTF-8; write the value as UTF-8 text")
            }
            Self::UnknownKey { key, value, origin, nearest } => {
                write!(f, "{ROOT}:{key} = {value} ({origin}): no such key")?;
                match (nearest, origin) {
                    (Some(near), Origin::Variable(_)) => {
                        write!(f, "; did you mean {ROOT}:{near} ({})?", keys::variable(near))
                    }
                    (Some(near), Origin::Default | Origin::File { .. }) => {
                        write!(f, "; did you mean {ROOT}:{near}?")
                    }
                    (None, _) => f.write_str("; docs/configuration.md lists all keys"),
                }
            }
            Self::SetTwice { key, first, second } => {
                write!(f, "{ROOT}:{key}: set twice, by {first} and by {second}; keep one")
            }
            Self::Invalid { key, value, origin, problem } => {
                write!(f, "{ROOT}:{key} = {value} ({origin}): {problem}")
            }
            Self::Refused { key, value, origin, why } => {
                write!(f, "{ROOT}:{key} = {value} ({origin}): {why}")
            }
            Self::Missing { key, fix } => {
                write!(f, "{ROOT}:{key} must be configured when gossip is enabled. {fix}")
            }
        }
    }
}

impl std::error::Error for SettingsError {}

/// What is wrong with a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Problem {
    /// Not `true` or `false`.
    Switch,
    /// Not a whole number within bounds.
    Count {
        /// Smallest.
        least: u64,
        /// Largest.
        most: u64,
    },
    /// Not a finite number.
    Real,
    /// A duration without a unit.
    BareNumber,
    /// Not a duration.
    Span,
    /// Hours and minutes, or minutes and seconds: nobody can tell.
    TwoPartSpan,
    /// Longer than any duration here may be.
    SpanTooLong(Duration),
    /// Empty.
    Empty,
    /// Not a segment of a certificate's identity.
    Segment,
    /// Not an IP address.
    Address,
    /// Not a host name or an IP address.
    Host,
    /// Not `host:port`.
    Seed(SeedProblem),
    /// Not a scope of leadership.
    Scope(ScopeError),
    /// Not a thumbprint.
    Thumbprint,
    /// Not SHA-256.
    Fingerprint,
    /// None of the words.
    Choice {
        /// The words.
        allowed: &'static [&'static str],
        /// The one that was probably meant.
        nearest: Option<&'static str>,
    },
    /// Neither base64 nor PEM.
    Base64,
    /// The secret names no variable that is set.
    SecretVariable,
    /// The secret names a variable that holds bytes that are no text.
    SecretNotText,
    /// The file of a secret cannot be read.
    SecretFile(std::io::ErrorKind),
    /// A value stands where a section belongs.
    Section,
    /// A list or a section stands where one value belongs.
    NotOneValue,
    /// A list or a text stands where names with values belong.
    Labels,
    /// The index of a list is not a number.
    Index,
    /// The values contradict a rule of the protocol; the rule.
    Protocol(String),
}

/// What is wrong with a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeedProblem {
    /// No port.
    NoPort,
    /// A port that is none.
    Port,
    /// A host that is none.
    Host,
    /// An IPv6 address without brackets.
    Brackets,
    /// A URL.
    Scheme,
}

impl fmt::Display for SeedProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPort => "has no port",
            Self::Port => "has a port that is not a number from 1 to 65535",
            Self::Host => "has a host that is neither a DNS name nor an IP address",
            Self::Brackets => "is an IPv6 address without brackets",
            Self::Scheme => "is a URL",
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch => f.write_str("neither true nor false"),
            Self::Count { least, most } => write!(f, "not a whole number from {least} to {most}"),
            Self::Real => f.write_str("not a number; write it as 1.5"),
            Self::BareNumber => f.write_str(
                "a duration needs a unit, since .NET reads a bare number as days; write 5s, 500ms \
                 or 00:00:05",
            ),
            Self::Span => {
                f.write_str("not a duration; write [d.]hh:mm:ss[.fff], or a number with ms, s, m or h")
            }
            Self::TwoPartSpan => f.write_str(
                "a duration of two parts is ambiguous; write hh:mm:ss, or a number with m or s",
            ),
            Self::SpanTooLong(most) => {
                write!(f, "longer than {} days, the most allowed", most.as_secs() / 86_400)
            }
            Self::Empty => f.write_str("must not be empty; give a value or remove the key"),
            Self::Segment => f.write_str(
                "is part of the certificate's identity: 1 to 128 characters of a-z 0-9 . _ -",
            ),
            Self::Address => f.write_str("not an IP address; write 0.0.0.0, 127.0.0.1 or ::"),
            Self::Host => f.write_str(
                "neither a DNS name nor an IP address; the port has a key of its own, advertisePort",
            ),
            Self::Seed(problem) => {
                write!(f, "{problem}; write host:17421, 10.0.0.1:17421 or [2001:db8::1]:17421")
            }
            Self::Scope(problem) => problem.fmt(f),
            Self::Thumbprint => f.write_str(
                "not a thumbprint; write 40 (SHA-1) or 64 (SHA-256) hexadecimal digits",
            ),
            Self::Fingerprint => f.write_str(
                "not a fingerprint; write the 64 hexadecimal digits that `mesh bootstrap init` told",
            ),
            Self::Choice { allowed, nearest } => {
                write!(f, "not one of {}", allowed.join(", "))?;
                match nearest {
                    Some(near) => write!(f, "; did you mean {near}?"),
                    None => Ok(()),
                }
            }
            Self::Base64 => f.write_str("neither base64 nor PEM; encode the file with base64"),
            Self::SecretVariable => f.write_str(
                "names no environment variable that is set; set it, or give the path of a file",
            ),
            Self::SecretNotText => f.write_str(
                "names an environment variable that is not valid UTF-8; write it as UTF-8 text",
            ),
            Self::SecretFile(why) => write!(f, "names a file that cannot be read: {why}"),
            Self::Section => f.write_str("a section, not a value; its keys stand below it"),
            Self::NotOneValue => f.write_str("one value is expected here"),
            Self::Labels => {
                f.write_str("names with one value each are expected, as in labels:rack = r7")
            }
            Self::Index => f.write_str("a list is expected; its elements are numbered from 0"),
            Self::Protocol(rule) => f.write_str(rule),
        }
    }
}

/// Everything that is wrong, at once.
#[derive(Clone, Debug, PartialEq)]
pub struct SettingsErrors(Vec<SettingsError>);

impl SettingsErrors {
    /// `Err` with the errors, or `value` when there are none.
    pub(super) fn check<T>(errors: Vec<SettingsError>, value: T) -> Result<T, Self> {
        if errors.is_empty() { Ok(value) } else { Err(Self(errors)) }
    }

    /// At least one error.
    pub(super) fn of(errors: Vec<SettingsError>) -> Self {
        assert!(!errors.is_empty(), "nothing is returned without a reason");
        Self(errors)
    }

    /// The errors in the order of their sources.
    pub fn iter(&self) -> std::slice::Iter<'_, SettingsError> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a SettingsErrors {
    type Item = &'a SettingsError;
    type IntoIter = std::slice::Iter<'a, SettingsError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for SettingsErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsErrors {}
