//! One table of everything that can be written below `mesh:gossip`.
//!
//! Think of a form with one row per question: the row holds the question's name, the kind of
//! answer, the answer taken when the field stays blank, and one line of help. The parser, the
//! search for the nearest key, and the table of `docs/configuration.md` all read this form. Its rows
//! stand in one file a topic.
//!
//! Invariant: names are unique without regard to case, and every default is an answer that its
//! own kind accepts.

mod limits;
mod node;
mod process;
mod protocol;
mod tls;

use std::fmt::Write as _;

/// The section that every key stands in.
pub const ROOT: &str = "mesh:gossip";

/// One key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Key {
    /// Name below `mesh:gossip`, in its documented spelling: `tls:caPath`.
    pub name: &'static str,
    /// What its value must be.
    pub kind: Kind,
    /// What stands when nobody sets it.
    pub default: Default,
    /// Whether this build acts on it.
    pub standing: Standing,
    /// One line for the reader.
    pub doc: &'static str,
}

/// What a value must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// `true` or `false`.
    Switch,
    /// A whole number within bounds.
    Count {
        /// Smallest.
        least: u64,
        /// Largest.
        most: u64,
    },
    /// A decimal number.
    Real,
    /// A duration.
    Span,
    /// Text that is not empty.
    Text,
    /// A segment of the certificate's identity: `[a-z0-9._-]`.
    Segment,
    /// A secret value, never shown.
    Secret,
    /// Where a secret is found: an environment variable, or a file when it contains a slash.
    SecretName,
    /// A file.
    Path,
    /// An IP address.
    Address,
    /// A host name or an IP address.
    Host,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A `host:port`.
    Endpoint,
    /// SHA-256 of a certificate.
    Fingerprint,
    /// A list of `host:port`.
    Seeds,
    /// A list of certificate thumbprints.
    Thumbprints,
    /// Scopes of leadership.
    Scopes,
    /// Names with values.
    Labels,
}

impl Kind {
    /// Whether values must be kept out of errors, logs and listings.
    pub fn is_secret(self) -> bool {
        matches!(self, Self::Secret | Self::SecretName)
    }

    /// Whether the key holds several values, one per index.
    pub(super) fn is_list(self) -> bool {
        matches!(self, Self::Seeds | Self::Thumbprints | Self::Scopes)
    }

    /// Whether an empty value means that nothing is set.
    pub(super) fn empty_unsets(self) -> bool {
        matches!(self, Self::Secret | Self::SecretName | Self::Path | Self::Host)
    }

    fn words(self) -> String {
        match self {
            Self::Switch => "`true` or `false`".into(),
            Self::Count { least, most } if most == COUNT_MAX => {
                format!("whole number from {least}")
            }
            Self::Count { least, most } => format!("whole number, {least} to {most}"),
            Self::Real => "number".into(),
            Self::Span => "duration".into(),
            Self::Text => "text".into(),
            Self::Segment => "name of `a-z 0-9 . _ -`".into(),
            Self::Secret => "secret".into(),
            Self::SecretName => "name of a secret".into(),
            Self::Path => "file".into(),
            Self::Address => "IP address".into(),
            Self::Host => "host name or IP address".into(),
            Self::Choice(words) => {
                let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
                quoted.join(", ")
            }
            Self::Endpoint => "`host:port`".into(),
            Self::Fingerprint => "SHA-256 in hexadecimal".into(),
            Self::Seeds => "list of `host:port`".into(),
            Self::Thumbprints => "list of thumbprints".into(),
            Self::Scopes => "list of `name; role=…; region=…`".into(),
            Self::Labels => "names with values".into(),
        }
    }
}

/// What stands when nobody sets a key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Default {
    /// This value.
    Is(&'static str),
    /// Something found at start, in words.
    Derived(&'static str),
    /// Nothing.
    Unset,
}

impl Default {
    fn words(self) -> String {
        match self {
            Self::Is(value) => format!("`{value}`"),
            Self::Derived(words) => words.into(),
            Self::Unset => "unset".into(),
        }
    }
}

/// Whether this build acts on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    Used,
    /// It does not, which harms nobody: setting the key gives this note.
    Noted(&'static str),
    /// It does not, and to ignore it would mislead: setting the key is this error.
    Refused(&'static str),
}

/// Upper bound of counts that have no bound of their own.
const COUNT_MAX: u64 = u32::MAX as u64;
const COUNT: Kind = Kind::Count { least: 0, most: COUNT_MAX };
const LIMIT: Kind = Kind::Count { least: 1, most: 16_777_216 };
const LISTENING_PORT: Kind = Kind::Count { least: 0, most: 65_535 };

const fn used(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { name, kind, default: Default::Is(default), standing: Standing::Used, doc }
}

const fn unset(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { name, kind, default: Default::Unset, standing: Standing::Used, doc }
}

const fn derived(name: &'static str, kind: Kind, words: &'static str, doc: &'static str) -> Key {
    Key { name, kind, default: Default::Derived(words), standing: Standing::Used, doc }
}

const fn noted(key: Key, why: &'static str) -> Key {
    Key { standing: Standing::Noted(why), ..key }
}

const fn refused(key: Key, why: &'static str) -> Key {
    Key { standing: Standing::Refused(why), ..key }
}

/// The tables of the topics, in the order of the documentation.
const TOPICS: [&[Key]; 5] = [node::KEYS, protocol::KEYS, tls::KEYS, process::KEYS, limits::KEYS];

static ALL: [Key; count(&TOPICS)] = joined(&TOPICS);

/// Every key, in the order of the documentation.
pub static KEYS: &[Key] = &ALL;

const fn count(topics: &[&[Key]]) -> usize {
    let (mut sum, mut at) = (0, 0);
    while at < topics.len() {
        sum += topics[at].len();
        at += 1;
    }
    sum
}

const fn joined<const N: usize>(topics: &[&[Key]]) -> [Key; N] {
    let mut all = [topics[0][0]; N];
    let (mut filled, mut topic) = (0, 0);
    while topic < topics.len() {
        let mut at = 0;
        while at < topics[topic].len() {
            all[filled] = topics[topic][at];
            filled += 1;
            at += 1;
        }
        topic += 1;
    }
    all
}

/// The key of this name, without regard to case.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name.eq_ignore_ascii_case(name))
}

/// The key of our own code's name.
pub(super) fn known(name: &str) -> &'static Key {
    find(name).unwrap_or_else(|| panic!("the table of keys has no {name}"))
}

/// Whether keys stand below this name: `tls`, `control:tls`.
pub(super) fn is_section(name: &str) -> bool {
    let below = format!("{}:", name.to_ascii_lowercase());
    KEYS.iter().any(|key| key.name.to_ascii_lowercase().starts_with(&below))
}

/// The key that `name` was probably meant to be: at most one edit in three characters away.
///
/// The right key in the wrong section counts as two edits, so that `caPath` finds `tls:caPath`.
pub fn nearest(name: &str) -> Option<&'static Key> {
    const MOVED: usize = 2;
    let name = name.to_ascii_lowercase();
    let last = last_segment(&name);
    let most = 1.max(last.chars().count() / 3);
    let cost = |key: &Key| {
        let full = key.name.to_ascii_lowercase();
        let whole = strsim::damerau_levenshtein(&name, &full);
        let moved = strsim::damerau_levenshtein(last, last_segment(&full));
        (whole.min(moved) <= most).then(|| whole.min(moved + MOVED))
    };
    let close = KEYS.iter().filter_map(|key| Some((cost(key)?, key)));
    close.min_by_key(|(cost, _)| *cost).map(|(_, key)| key)
}

/// The environment variable of a key under the first root.
pub(super) fn variable(name: &str) -> String {
    format!("MESH__GOSSIP__{}", name.replace(':', "__").to_ascii_uppercase())
}

/// The table of keys as `docs/configuration.md` shows it.
pub fn markdown() -> String {
    let mut table = String::from("| key | value | default | meaning |\n|---|---|---|---|\n");
    for key in KEYS {
        // Writing to a String cannot fail.
        let _ = writeln!(
            table,
            "| `{}` | {} | {} | {} |",
            key.name,
            key.kind.words(),
            key.default.words(),
            key.doc
        );
    }
    table
}

fn last_segment(name: &str) -> &str {
    name.rsplit(':').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_defaults_are_valid() {
        for (at, key) in KEYS.iter().enumerate() {
            let twin = KEYS[..at].iter().find(|other| other.name.eq_ignore_ascii_case(key.name));
            assert_eq!(twin, None, "{}", key.name);
            if let Default::Is(text) = key.default {
                let parsed = super::super::value::parse(key.kind, text);
                assert!(parsed.is_ok(), "{} = {text}: {parsed:?}", key.name);
            }
        }
    }

    #[test]
    fn a_typing_error_finds_the_key_that_was_meant() {
        for (typed, meant) in [
            ("fanuot", "fanout"),
            ("tls:port", "port"),
            ("seedPeer", "seedPeers"),
            ("caPath", "tls:caPath"),
            ("tls:certficatePath", "tls:certificatePath"),
            ("controll:port", "control:port"),
            ("SUSPICION_INTERVAL", "suspicionInterval"),
        ] {
            assert_eq!(nearest(typed).map(|key| key.name), Some(meant), "{typed}");
        }
        for typed in ["", "nope", "zzzzzzzzzzzz"] {
            assert_eq!(nearest(typed), None, "{typed}");
        }
    }
}
