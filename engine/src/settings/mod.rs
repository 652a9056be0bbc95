//! Layered configuration: files, environment, an origin for every value.
//!
//! A pile of transparencies (see [`Sources`]): files at the bottom, environment on top, each
//! covering only what it says. [`Settings::load`] looks through the pile, remembers on which sheet
//! each value stands, and says everything that is wrong in one go. [`Settings::resolve`] turns
//! what was written into what can be true: the options of an engine and an agent.
//!
//! Invariant: every value is checked against the one table of keys ([`keys::KEYS`]), and a secret
//! leaves this module only inside `TlsOptions`.

mod check;
mod clashes;
mod error;
pub mod keys;
mod layer;
mod pile;
mod problem;
mod resolve;
pub mod schema;
mod sources;
#[cfg(test)]
mod tests;
mod value;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

pub use check::Checked;
pub use error::{Diagnosis, Origin, SettingsError, SettingsErrors, Shown};
use keys::{Default, Key, Kind, ROOT, Standing};
use layer::Statement;
use pile::{Part, Pile, Written, invalid};
pub use problem::{Problem, SeedProblem};
use sources::FileSource;
pub use sources::Sources;
use value::Value;
pub use value::span;

/// Largest file of a secret, in bytes: a PKCS#12 store in base64 is among what they hold.
const MAX_SECRET: usize = 1_048_576;
/// Bytes of a settings file, which holds what belongs to other programs as well.
const MAX_FILE: usize = 4 * 1_048_576;

/// Form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How the host logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Form of the lines.
    pub format: LogFormat,
    /// Least severity that is logged.
    pub level: tracing::level_filters::LevelFilter,
}

/// Something a reader should know although it is no error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The full key.
    pub key: String,
    /// Where it was set.
    pub origin: Origin,
    /// What to know.
    pub text: Cow<'static, str>,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.key, self.origin, self.text)
    }
}

/// One line of a listing of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The full key; elements of lists carry their index, labels their name.
    pub key: String,
    /// The value in printable form, secrets redacted; empty where nothing is set.
    pub value: String,
    /// Where it was set.
    pub origin: Origin,
}

/// A value that was set, parsed.
#[derive(Clone)]
struct Entry {
    /// Name below `mesh:gossip` as it is printed.
    name: String,
    value: Value,
    shown: Shown,
    origin: Origin,
}

/// What people wrote, checked key by key.
#[derive(Clone)]
pub struct Settings {
    entries: BTreeMap<(&'static str, Part), Entry>,
    host_name: String,
}

impl Settings {
    /// Reads and checks the sources.
    ///
    /// # Errors
    /// Everything that is wrong: files that cannot be read, keys that do not exist, values that
    /// their key cannot take.
    pub fn load(sources: &Sources) -> Result<Self, SettingsErrors> {
        let (settings, errors) = Self::read(sources);
        SettingsErrors::check(errors, settings)
    }

    /// What can be read, without what cannot, and what is wrong with the latter.
    fn read(sources: &Sources) -> (Self, Vec<SettingsError>) {
        let mut errors = Vec::new();
        let mut pile = Pile::default();
        for variable in sources.garbled.iter().filter(|name| concerns_us(name)) {
            errors.push(SettingsError::NotText { origin: Origin::Variable(variable.clone()) });
        }
        for file in &sources.files {
            match statements_of(file) {
                Ok(statements) => pile.cover(statements, &mut errors),
                Err(error) => errors.push(error),
            }
        }
        for statements in layer::of_environment(&sources.variables) {
            pile.cover(statements, &mut errors);
        }
        for text in &sources.last_words {
            match statements_of(text) {
                Ok(statements) => pile.cover(statements, &mut errors),
                Err(error) => errors.push(error),
            }
        }
        let mut entries = BTreeMap::new();
        for ((name, part), written) in pile.written {
            match written.parse(keys::known(name), sources) {
                Ok(entry) => {
                    entries.insert((name, part), entry);
                }
                Err(error) => errors.push(error),
            }
        }
        let host_name = value::segment_from(sources.host_name.as_deref().unwrap_or("localhost"));
        (Self { entries, host_name }, errors)
    }

    /// Whether the agent runs at all. When it does not, there is nothing to resolve.
    pub fn enabled(&self) -> bool {
        self.switch("enabled")
    }

    /// How the host logs.
    pub fn log(&self) -> LogOptions {
        use tracing::level_filters::LevelFilter;
        let format = match self.word("log:format") {
            "text" => LogFormat::Text,
            "json" => LogFormat::Json,
            other => resolve::unadmitted(other),
        };
        let level = match self.word("log:level") {
            "off" => LevelFilter::OFF,
            "error" => LevelFilter::ERROR,
            "warn" => LevelFilter::WARN,
            "info" => LevelFilter::INFO,
            "debug" => LevelFilter::DEBUG,
            "trace" => LevelFilter::TRACE,
            other => resolve::unadmitted(other),
        };
        LogOptions { format, level }
    }

    /// What a reader should know although it is no error: keys without effect.
    pub fn notes(&self) -> Vec<Note> {
        let standing =
            self.entries.iter().filter_map(|((name, _), entry)| match keys::known(name).standing {
                Standing::Noted(text) => Some(entry.note(text)),
                Standing::Used | Standing::Refused(_) => None,
            });
        standing.chain(self.conditional_notes()).collect()
    }

    /// Every key with its value and where the value comes from, in the order of the documentation.
    pub fn describe(&self) -> Vec<Described> {
        let mut lines = Vec::new();
        for key in keys::KEYS {
            let before = lines.len();
            lines.extend(self.parts(key.name).map(|(_, entry)| Described {
                key: format!("{ROOT}:{}", entry.name),
                value: entry.shown.printable().into(),
                origin: entry.origin.clone(),
            }));
            if lines.len() == before {
                let value = match key.default {
                    Default::Is(value) => value.into(),
                    Default::Derived(_) if key.name == "nodeId" => self.node_id(),
                    Default::Derived(words) => format!("({})", words.replace('`', "")),
                    Default::Unset => String::new(),
                };
                let key = format!("{ROOT}:{}", key.name);
                lines.push(Described { key, value, origin: Origin::Default });
            }
        }
        lines
    }

    /// The node's name: as written, or made from the host's.
    pub fn node_id(&self) -> String {
        self.text("nodeId").unwrap_or_else(|| format!("mesh-{}", self.host_name))
    }

    fn parts(&self, name: &'static str) -> impl Iterator<Item = (&Part, &Entry)> {
        let from = (name, Part::Whole);
        let entries = self.entries.range(from..).take_while(move |((key, _), _)| *key == name);
        entries.map(|((_, part), entry)| (part, entry))
    }

    fn entry(&self, name: &'static str) -> Option<&Entry> {
        self.entries.get(&(name, Part::Whole))
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.entries.values().map(|e| (&e.name, &e.shown))).finish()
    }
}

impl Entry {
    fn note(&self, text: impl Into<Cow<'static, str>>) -> Note {
        let (key, origin) = (format!("{ROOT}:{}", self.name), self.origin.clone());
        Note { key, origin, text: text.into() }
    }
}

fn statements_of(file: &FileSource) -> Result<Vec<Statement>, SettingsError> {
    let (path, required) = match file {
        FileSource::Text(name, text) => return layer::of_file(name, text),
        FileSource::Required(path) => (path, true),
        FileSource::Optional(path) => (path, false),
    };
    match read_bounded(path, MAX_FILE) {
        Ok(text) => layer::of_file(&path.to_string_lossy(), &text),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !required => Ok(Vec::new()),
        Err(error) => Err(SettingsError::Unreadable { path: path.clone(), why: error.kind() }),
    }
}

/// Whether a variable of this name says something here: a setting, or which files are read.
fn concerns_us(variable: &str) -> bool {
    let nothing = [(variable.to_owned(), Zeroizing::new(String::new()))];
    sources::ENVIRONMENT_NAMES.contains(&variable)
        || layer::of_environment(&nothing).iter().any(|statements| !statements.is_empty())
}

impl Written {
    fn parse(self, key: &Key, sources: &Sources) -> Result<Entry, SettingsError> {
        let Self { name, text, origin } = self;
        let shown = Shown::of(key, &text);
        let parsed = match key.kind {
            Kind::SecretName => look_up(&text, sources).map(Value::Secret),
            kind => value::parse(kind, &text),
        };
        match parsed {
            Ok(value) => Ok(Entry { name, value, shown, origin }),
            Err(problem) => Err(invalid(&name, shown, origin, problem)),
        }
    }
}

/// Finds a secret: in the file when the name contains a slash, else in the variable of that name.
fn look_up(name: &str, sources: &Sources) -> Result<Zeroizing<String>, Problem> {
    let name = name.trim();
    if name.contains('/') {
        let text = read_bounded(Path::new(name), MAX_SECRET);
        let text = text.map_err(|error| Problem::SecretFile(error.kind()))?;
        return Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).into()));
    }
    if sources.garbled.iter().any(|variable| variable == name) {
        return Err(Problem::SecretNotText);
    }
    let found = sources.variables.iter().find(|(variable, _)| variable == name);
    found.map(|(_, value)| value.clone()).ok_or(Problem::SecretVariable)
}

/// Reads a file that may hold secrets and may be a device without an end.
fn read_bounded(path: &Path, most: usize) -> io::Result<Zeroizing<String>> {
    // Reserved up front: a text that grows would leave copies of the secret behind.
    let mut text = Zeroizing::new(String::with_capacity(most + 1));
    File::open(path)?.take(most as u64 + 1).read_to_string(&mut text)?;
    if text.len() > most { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(text) }
}
