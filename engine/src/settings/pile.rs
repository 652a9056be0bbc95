//! The pile of layers while it grows: what is said last stands on top.
//!
//! Invariant: every part that stands here belongs to a key of the table, and carries the place
//! that said it last.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;

use zeroize::Zeroizing;

use super::error::{Origin, SettingsError, Shown};
use super::keys::{self, Key, Kind};
use super::layer::{Said, Statement};
use super::problem::Problem;

/// Which part of a key's value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Part {
    Whole,
    Index(u32),
    /// In lower case.
    Label(String),
}

/// The uppermost text of every key, while the pile grows.
#[derive(Default)]
pub(super) struct Pile {
    pub(super) written: BTreeMap<(&'static str, Part), Written>,
}

/// What stands on top.
pub(super) struct Written {
    pub(super) name: String,
    pub(super) text: Zeroizing<String>,
    pub(super) origin: Origin,
}

impl Pile {
    /// Lays one layer on top.
    pub(super) fn cover(&mut self, statements: Vec<Statement>, errors: &mut Vec<SettingsError>) {
        let mut seen: BTreeMap<(&'static str, Part), Origin> = BTreeMap::new();
        for statement in statements {
            let (key, part) = match locate(&statement) {
                Ok(Some(located)) => located,
                Ok(None) => continue,
                Err(error) => {
                    errors.push(error);
                    continue;
                }
            };
            match seen.entry((key.name, part.clone())) {
                Slot::Vacant(slot) => {
                    slot.insert(statement.origin.clone());
                }
                Slot::Occupied(slot) => {
                    errors.push(SettingsError::SetTwice {
                        value: Shown::of(key, statement.said.text()),
                        key: statement.name,
                        first: slot.get().clone(),
                        second: statement.origin,
                    });
                    continue;
                }
            }
            if let Err(error) = self.put(key, part, statement) {
                errors.push(error);
            }
        }
    }

    fn put(&mut self, key: &'static Key, part: Part, said: Statement) -> Result<(), SettingsError> {
        let whole = part == Part::Whole;
        let list = key.kind.is_list();
        let many = list || key.kind == Kind::Labels;
        let problem = if many { Problem::Labels } else { Problem::NotOneValue };
        match said.said {
            Said::Null => self.clear(key.name, &part),
            Said::EmptyList if list && whole => self.clear(key.name, &part),
            Said::EmptySection if many && whole => self.clear(key.name, &part),
            Said::EmptyList | Said::EmptySection => {
                return Err(invalid(&said.name, Shown::nothing(), said.origin, problem));
            }
            Said::Text(text) if says_nothing(key, whole, &text) => self.clear(key.name, &part),
            Said::Text(text) if many && whole => {
                if !list {
                    return Err(invalid(key.name, Shown::of(key, &text), said.origin, problem));
                }
                self.clear(key.name, &part);
                for (index, element) in
                    (0..).zip(text.split(',').filter(|element| !element.trim().is_empty()))
                {
                    self.write(key, Part::Index(index), None, element, &said.origin);
                }
            }
            Said::Text(text) => {
                let spelled = said.name.get(key.name.len() + 1..);
                self.write(key, part, spelled, &text, &said.origin);
            }
        }
        Ok(())
    }

    /// Writes over what stands there. A label keeps the spelling of its first layer.
    fn write(
        &mut self,
        key: &'static Key,
        part: Part,
        label: Option<&str>,
        text: &str,
        origin: &Origin,
    ) {
        let name = match &part {
            Part::Whole => key.name.to_owned(),
            Part::Index(index) => format!("{}:{index}", key.name),
            Part::Label(lower) => format!("{}:{}", key.name, label.unwrap_or(lower)),
        };
        let text = Zeroizing::new(text.to_owned());
        match self.written.entry((key.name, part)) {
            Slot::Vacant(slot) => {
                slot.insert(Written { name, text, origin: origin.clone() });
            }
            Slot::Occupied(mut slot) => {
                slot.get_mut().text = text;
                slot.get_mut().origin = origin.clone();
            }
        }
    }

    fn clear(&mut self, name: &'static str, part: &Part) {
        if *part == Part::Whole {
            self.written.retain(|(key, _), _| *key != name);
        } else {
            self.written.remove(&(name, part.clone()));
        }
    }
}

/// Whether an empty text takes a value back rather than being one. Blanks may be a password.
fn says_nothing(key: &Key, whole: bool, text: &str) -> bool {
    let nothing = if key.kind.is_secret() { text.is_empty() } else { text.trim().is_empty() };
    let allowed = key.kind.empty_unsets() || key.kind.is_list();
    nothing && (allowed || (key.kind == Kind::Labels && whole))
}

/// The key and the part that a statement is about; `None` when it says nothing.
fn locate(statement: &Statement) -> Result<Option<(&'static Key, Part)>, SettingsError> {
    let name = statement.name.as_str();
    if let Some(key) = keys::find(name) {
        return Ok(Some((key, Part::Whole)));
    }
    let fail = |shown: Shown, problem: Problem| {
        Err(invalid(name, shown, statement.origin.clone(), problem))
    };
    let text = statement.said.text();
    let inside = name.match_indices(':').find_map(|(at, _)| {
        let key = keys::find(&name[..at])?;
        Some((key, &name[at + 1..]))
    });
    if let Some((key, rest)) = inside {
        if key.kind.is_list() {
            return match rest.parse() {
                Ok(index) => Ok(Some((key, Part::Index(index)))),
                Err(_) => fail(Shown::of(key, text), Problem::Index),
            };
        }
        if key.kind == Kind::Labels {
            if rest.is_empty() || rest.contains(':') {
                return fail(Shown::of(key, text), Problem::Labels);
            }
            return Ok(Some((key, Part::Label(rest.to_lowercase()))));
        }
        return fail(Shown::of(key, text), Problem::NotOneValue);
    }
    if keys::is_section(name) {
        return match statement.said {
            Said::EmptySection | Said::Null => Ok(None),
            Said::EmptyList | Said::Text(_) => {
                fail(Shown::of_unknown(name, None, text), Problem::Section)
            }
        };
    }
    let nearest = keys::nearest(name);
    Err(SettingsError::UnknownKey {
        key: name.into(),
        value: Shown::of_unknown(name, nearest, text),
        origin: statement.origin.clone(),
        nearest: nearest.map(|key| key.name),
    })
}

pub(super) fn invalid(key: &str, value: Shown, origin: Origin, problem: Problem) -> SettingsError {
    SettingsError::Invalid { key: key.into(), value, origin, problem }
}
