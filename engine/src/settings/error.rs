//! What can be wrong with what people wrote, and how to put it right.
//!
//! Each error reads like a note in the margin: which line of which file, what stands there, what
//! should stand there.
//!
//! Invariant: a [`Shown`] never holds a secret, and errors hold no other text of a value.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::keys::{self, Key, ROOT};
use super::problem::Problem;

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
        /// What the other place says.
        value: Shown,
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
        /// Why not, and after a semicolon what would be right.
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

/// One thing that is wrong, in the parts that a person or an editor asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// The full key, where it is about one.
    pub key: Option<String>,
    /// What stands there, secrets redacted; `None` where nothing does.
    pub value: Option<String>,
    /// Where it stands; `None` where nothing does.
    pub origin: Option<Origin>,
    /// What is wrong.
    pub problem: String,
    /// What would be right.
    pub fix: String,
}

impl SettingsError {
    /// The same in parts.
    pub fn diagnosis(&self) -> Diagnosis {
        let value = match self {
            Self::Unreadable { .. }
            | Self::Syntax { .. }
            | Self::NotText { .. }
            | Self::Missing { .. } => None,
            Self::UnknownKey { value, .. }
            | Self::SetTwice { value, .. }
            | Self::Invalid { value, .. }
            | Self::Refused { value, .. } => Some(value.printable().to_owned()),
        };
        let (problem, fix) = (self.problem(), self.fix());
        Diagnosis { key: self.key(), value, origin: self.origin(), problem, fix }
    }

    /// Where it stands.
    pub fn origin(&self) -> Option<Origin> {
        match self {
            Self::Unreadable { path, why: _ } => {
                Some(Origin::File { path: path.to_string_lossy().into(), line: 1 })
            }
            Self::Syntax { at: origin, .. }
            | Self::NotText { origin }
            | Self::UnknownKey { origin, .. }
            | Self::SetTwice { second: origin, .. }
            | Self::Invalid { origin, .. }
            | Self::Refused { origin, .. } => Some(origin.clone()),
            Self::Missing { .. } => None,
        }
    }

    fn problem(&self) -> String {
        match self {
            Self::Unreadable { why, .. } => format!("cannot be read: {why}"),
            Self::Syntax { column, why, .. } => format!("not valid JSON at column {column}: {why}"),
            Self::NotText { .. } => "not valid UTF-8".into(),
            Self::UnknownKey { .. } => "no such key".into(),
            Self::SetTwice { first, .. } => format!("set twice, by {first} as well"),
            Self::Invalid { problem, .. } => problem.fault(),
            Self::Refused { why, .. } => halves(why).0.into(),
            Self::Missing { .. } => "must be configured when gossip is enabled".into(),
        }
    }

    fn fix(&self) -> String {
        match self {
            Self::Unreadable { .. } => {
                "check that the path is right and that this process may read it".into()
            }
            Self::Syntax { .. } => {
                "correct the file there; comments and trailing commas are allowed".into()
            }
            Self::NotText { .. } => "write the value as UTF-8 text".into(),
            Self::UnknownKey { nearest: None, .. } => {
                "remove it; docs/configuration.md lists all keys".into()
            }
            Self::UnknownKey { nearest: Some(near), origin, .. } => match origin {
                Origin::Variable(_) => {
                    format!("did you mean {ROOT}:{near} ({})?", keys::variable(near))
                }
                Origin::Default | Origin::File { .. } => format!("did you mean {ROOT}:{near}?"),
            },
            Self::SetTwice { .. } => "keep one".into(),
            Self::Invalid { problem, .. } => problem.fix(),
            Self::Refused { why, .. } => halves(why).1.into(),
            Self::Missing { fix, .. } => (*fix).into(),
        }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (problem, fix) = (self.problem(), self.fix());
        match self {
            Self::Unreadable { path, .. } => write!(f, "{}: {problem}; {fix}", path.display()),
            Self::Syntax { at, column, why } => {
                write!(f, "{at}:{column}: not valid JSON: {why}; {fix}")
            }
            Self::NotText { origin } => write!(f, "{origin}: {problem}; {fix}"),
            Self::UnknownKey { key, value, origin, .. }
            | Self::SetTwice { key, value, second: origin, .. }
            | Self::Invalid { key, value, origin, .. } => {
                write!(f, "{ROOT}:{key} = {value} ({origin}): {problem}; {fix}")
            }
            Self::Refused { key, value, origin, .. } => {
                write!(f, "{ROOT}:{key} = {value} ({origin}): {problem}; {fix}")
            }
            Self::Missing { key, .. } => write!(f, "{ROOT}:{key} {problem}. {fix}"),
        }
    }
}

impl std::error::Error for SettingsError {}

/// What is wrong, and what would be right.
fn halves(why: &'static str) -> (&'static str, &'static str) {
    why.split_once("; ").unwrap_or((why, "remove the key"))
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
