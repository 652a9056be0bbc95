//! Scopes of leadership: what a mesh has one leader for, and who may be it (rule E-1).
//!
//! A scope is written as a name with filters: `control`, `ingest; role=gateway`,
//! `control-eu; region=eu-1; role=gateway`.
//!
//! Invariant: two scopes with the same name and filters have the same definition, everywhere.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;

use sha2::{Digest, Sha256};

use super::bad;
use crate::error::ConfigError;
use crate::metadata::{MAX_SCOPE_NAME, MAX_SCOPES, Metadata};

/// Longest role or region that a scope may ask for: that of a certificate's segment.
const MAX_FILTER: usize = 128;

/// What a mesh has one leader for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Its name.
    pub name: String,
    /// Only members of this role may lead.
    pub role: Option<String>,
    /// Only members of this region may lead.
    pub region: Option<String>,
}

/// What a scope asks of its leader, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeKind {
    /// Nothing.
    Global,
    /// A role.
    Role,
    /// A region, with a role or without.
    Region,
}

impl ScopeKind {
    /// The word used in JSON and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Role => "role",
            Self::Region => "region",
        }
    }
}

/// Why a text is no scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeError {
    /// The name is empty, too long, or has other characters than letters, digits and `._:/@-`.
    Name,
    /// After the name stands something else than `role=…` or `region=…`.
    Filter,
    /// A filter stands there twice.
    Twice,
}

impl fmt::Display for ScopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => write!(
                f,
                "a scope begins with its name, 1 to {MAX_SCOPE_NAME} of A-Z a-z 0-9 . _ : / @ -"
            ),
            Self::Filter => f.write_str(
                "after a scope's name stand only `; role=ROLE` and `; region=REGION`, each with 1 \
                 to 128 bytes",
            ),
            Self::Twice => f.write_str("a scope has one role and one region at most"),
        }
    }
}

impl core::error::Error for ScopeError {}

impl Scope {
    /// A scope that any member may lead.
    pub fn global(name: &str) -> Self {
        Self { name: name.to_string(), role: None, region: None }
    }

    /// Reads `name; role=…; region=…`.
    ///
    /// # Errors
    /// [`ScopeError`] says what would be right.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        let mut parts = text.split(';').map(str::trim);
        let mut scope = Self::global(parts.next().unwrap_or_default());
        for part in parts {
            let (key, value) = part.split_once('=').ok_or(ScopeError::Filter)?;
            let filter = match key.trim_end() {
                "role" => &mut scope.role,
                "region" => &mut scope.region,
                _ => return Err(ScopeError::Filter),
            };
            if filter.replace(value.trim_start().to_string()).is_some() {
                return Err(ScopeError::Twice);
            }
        }
        scope.check().map(|()| scope)
    }

    /// Its kind, which follows from what it asks for.
    pub fn kind(&self) -> ScopeKind {
        match (&self.region, &self.role) {
            (Some(_), _) => ScopeKind::Region,
            (None, Some(_)) => ScopeKind::Role,
            (None, None) => ScopeKind::Global,
        }
    }

    /// Whether a member that says this of itself is of the right role and region.
    pub fn admits(&self, metadata: &Metadata) -> bool {
        let fits = |wanted: &Option<String>, found: &String| {
            wanted.as_ref().is_none_or(|wanted| wanted == found)
        };
        fits(&self.role, &metadata.role) && fits(&self.region, &metadata.region)
    }

    /// What tells this scope from every other, those of the same name and other filters included:
    /// the first eight bytes, big-endian, of SHA-256("mesh-leader-v1" ‖ name ‖ 0 ‖ role ‖ 0 ‖
    /// region), with nothing for a filter that it lacks.
    pub fn definition(&self) -> u64 {
        let mut hash = Sha256::new();
        hash.update(b"mesh-leader-v1");
        hash.update(self.name.as_bytes());
        for filter in [&self.role, &self.region] {
            hash.update([0]);
            hash.update(filter.as_deref().unwrap_or_default().as_bytes());
        }
        let digest = hash.finalize();
        let mut prefix = [0; 8];
        prefix.copy_from_slice(&digest[..8]);
        u64::from_be_bytes(prefix)
    }

    fn check(&self) -> Result<(), ScopeError> {
        let plain = |byte: u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'/' | b'@' | b'-')
        };
        if !(1..=MAX_SCOPE_NAME).contains(&self.name.len()) || !self.name.bytes().all(plain) {
            return Err(ScopeError::Name);
        }
        let sound = |filter: &Option<String>| {
            let text = |text: &String| {
                (1..=MAX_FILTER).contains(&text.len()) && !text.contains([';', '\0'])
            };
            filter.as_ref().is_none_or(text)
        };
        if sound(&self.role) && sound(&self.region) { Ok(()) } else { Err(ScopeError::Filter) }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        for (key, filter) in [("role", &self.role), ("region", &self.region)] {
            if let Some(value) = filter {
                write!(f, "; {key}={value}")?;
            }
        }
        Ok(())
    }
}

/// Refuses too many scopes, and those that nobody could tell apart.
pub(super) fn check(scopes: &[Scope]) -> Result<(), ConfigError> {
    const KEY: &str = "leadership:scopes";
    if scopes.len() > MAX_SCOPES {
        return Err(bad(KEY, format!("{} scopes are more than {MAX_SCOPES}", scopes.len())));
    }
    for (at, scope) in scopes.iter().enumerate() {
        scope.check().map_err(|error| bad(KEY, format!("{scope}: {error}")))?;
        if scopes[..at].iter().any(|other| other.name == scope.name) {
            return Err(bad(KEY, format!("the scope {} is defined twice", scope.name)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::vec::Vec;

    /// Rule E-1: what is written is what is read, and the filters name the kind.
    #[test]
    fn a_scope_is_a_name_with_filters() {
        for (text, kind, canonical) in [
            ("control", ScopeKind::Global, "control"),
            (" ingest ;role=gateway", ScopeKind::Role, "ingest; role=gateway"),
            ("eu/control; region = eu 1", ScopeKind::Region, "eu/control; region=eu 1"),
            ("x;region=eu;role=worker", ScopeKind::Region, "x; role=worker; region=eu"),
        ] {
            let scope = Scope::parse(text).unwrap();
            assert_eq!((scope.kind(), scope.to_string().as_str()), (kind, canonical));
            assert_eq!(Scope::parse(canonical), Ok(scope));
        }
        let long = "x".repeat(MAX_SCOPE_NAME + 1);
        for (text, error) in [
            ("", ScopeError::Name),
            (";role=a", ScopeError::Name),
            ("a b", ScopeError::Name),
            (long.as_str(), ScopeError::Name),
            ("a;role", ScopeError::Filter),
            ("a;colour=red", ScopeError::Filter),
            ("a;role=", ScopeError::Filter),
            ("a;role=b;role=c", ScopeError::Twice),
        ] {
            assert_eq!(Scope::parse(text), Err(error), "{text}");
        }
    }

    /// Rule E-1: a name with another filter is another scope, and the numbers are a promise.
    #[test]
    fn golden_definitions() {
        let found: Vec<String> = ["control", "control; role=a", "control; region=a"]
            .map(|text| format!("{:016x}", Scope::parse(text).unwrap().definition()))
            .into();
        assert_eq!(found, GOLDEN);
    }

    const GOLDEN: [&str; 3] = ["6a594f4329f59d7f", "4fb5d7679239e3cc", "6e662568f3a99aca"];

    /// Rules B-1 and E-1.
    #[test]
    fn too_many_scopes_and_twins_are_refused_by_name() {
        let with = |scopes: Vec<Scope>| Config { scopes, ..Config::new("c") }.validate();
        let many = |count: usize| (0..count).map(|n| Scope::global(&format!("s{n}"))).collect();
        assert!(with(many(MAX_SCOPES)).is_ok());
        let twins = ["a", "a; role=b"].map(|text| Scope::parse(text).unwrap()).into();
        for scopes in [many(MAX_SCOPES + 1), twins, [Scope::global("no name")].into()] {
            assert_eq!(with(scopes).map_err(|error| error.key), Err("leadership:scopes"));
        }
    }
}
