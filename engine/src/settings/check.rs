//! Everything that is wrong at once, for people who put it right: one run, one list.
//!
//! Loading stops before values are looked at together, and the protocol names one broken bound at
//! a time. A check goes on: what was found is put aside, and the rest is looked at again.
//!
//! Invariant: a key is blamed once, and no problem follows from another that was told.

use std::collections::BTreeSet;

use super::error::SettingsError;
use super::keys::ROOT;
use super::{Note, Settings, Sources};

/// What a check found.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What is wrong, in the order of the sources.
    pub problems: Vec<SettingsError>,
    /// What a reader should know although it is no error.
    pub notes: Vec<Note>,
    /// What stands, without what is wrong.
    pub settings: Settings,
}

impl Settings {
    /// Reads the sources and looks for everything that is wrong.
    pub fn check(sources: &Sources) -> Checked {
        let (settings, mut problems) = Self::read(sources);
        let mut rest = settings.clone();
        // Of a file that cannot be read nobody knows what it lacks.
        let blind = problems.iter().any(|problem| problem.key().is_none());
        let mut told: BTreeSet<String> = problems.iter().filter_map(SettingsError::key).collect();
        // Each round puts a key aside or ends, so there are no more rounds than keys.
        while settings.enabled() {
            let Err(found) = rest.resolve() else { break };
            let mut aside = false;
            for error in &found {
                let Some(key) = error.key() else { continue };
                if follows(error, blind, &told) || !told.insert(key.clone()) {
                    continue;
                }
                aside |= rest.put_aside(&key);
                problems.push(error.clone());
            }
            if !aside {
                break;
            }
        }
        Checked { problems, notes: settings.notes(), settings }
    }

    /// Takes a value out, so that its default stands; whether there was one.
    fn put_aside(&mut self, full_key: &str) -> bool {
        let before = self.entries.len();
        let name = full_key.strip_prefix(ROOT).and_then(|rest| rest.strip_prefix(':'));
        self.entries.retain(|_, entry| name != Some(entry.name.as_str()));
        self.entries.len() < before
    }
}

/// A certificate that is missing only because what names it is wrong.
fn follows(error: &SettingsError, blind: bool, told: &BTreeSet<String>) -> bool {
    const CERTIFICATE: &str = "mesh:gossip:tls:certificate";
    let SettingsError::Missing { key, .. } = error else { return false };
    let full = format!("{ROOT}:{key}");
    let same = |other: &String| {
        other.eq_ignore_ascii_case(&full)
            || (full.starts_with(CERTIFICATE)
                && other.to_ascii_lowercase().starts_with(&CERTIFICATE.to_ascii_lowercase()))
    };
    blind || told.iter().any(same)
}
