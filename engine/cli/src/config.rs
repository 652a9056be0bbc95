//! `omnirelay mesh config`: what the settings say, what is wrong with them, what may be written.
//!
//! Invariant: secrets are never printed, and a check ends with 0 only when an agent would take the
//! settings.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use mesh_gossip::settings::{
    Checked, Diagnosis, Origin, Settings, SettingsErrors, Sources, schema,
};
use serde::Serialize;

use crate::table;

/// Shows and checks settings.
#[derive(Args, Debug)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    verb: ConfigVerb,
}

#[derive(Subcommand, Debug)]
enum ConfigVerb {
    /// Tells everything that is wrong, with key, value, origin and fix; exit code 1 if anything is.
    Check(SourceArgs),
    /// Shows the value of every key, secrets redacted.
    Show(ShowArgs),
    /// Prints a JSON schema (draft 2020-12) of a settings file, for editors.
    Schema,
}

/// Where the settings are read.
#[derive(Args, Debug)]
struct SourceArgs {
    /// JSON settings, read after appsettings.json and before the environment.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct ShowArgs {
    #[command(flatten)]
    sources: SourceArgs,
    /// Tells where each value comes from: a line of a file, a variable, or the default.
    #[arg(long)]
    origin: bool,
}

/// Why there is nothing good to show.
#[derive(Debug)]
pub(crate) enum ConfigError {
    /// A check found so much, and has told it.
    Wrong(usize),
    /// Settings that cannot be read cannot be shown.
    Settings(SettingsErrors),
    /// Our own output could not be written.
    Output(std::io::Error),
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Wrong(1) => f.write_str("1 problem; an agent would not start"),
            Self::Wrong(count) => write!(f, "{count} problems; an agent would not start"),
            Self::Settings(errors) => errors.fmt(f),
            Self::Output(error) => write!(f, "cannot write the answer: {error}"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Prints what was asked for.
pub(crate) fn run(args: &ConfigArgs) -> Result<(), ConfigError> {
    match &args.verb {
        ConfigVerb::Check(args) => check(args),
        ConfigVerb::Show(args) => show(args),
        ConfigVerb::Schema => print(&schema::text()),
    }
}

fn check(args: &SourceArgs) -> Result<(), ConfigError> {
    let checked = Settings::check(&Sources::from_process(args.config.as_deref()));
    let text = if args.json { as_json(&CheckDocument::from(&checked)) } else { as_text(&checked) };
    let printed = print(&text);
    match checked.problems.len() {
        0 => printed,
        // Which matters more than who has heard it.
        count => Err(ConfigError::Wrong(count)),
    }
}

fn as_text(checked: &Checked) -> String {
    let mut text: String =
        checked.problems.iter().map(|problem| format!("error: {problem}\n")).collect();
    text.extend(checked.notes.iter().map(|note| format!("note: {note}\n")));
    if checked.problems.is_empty() {
        text.push_str(if checked.settings.enabled() {
            "the settings hold\n"
        } else {
            "the settings hold; mesh:gossip:enabled is false, so that no agent runs\n"
        });
    }
    text
}

fn show(args: &ShowArgs) -> Result<(), ConfigError> {
    let settings = Settings::load(&Sources::from_process(args.sources.config.as_deref()))
        .map_err(ConfigError::Settings)?;
    let lines = settings.describe();
    let text = if args.sources.json {
        let settings = lines
            .iter()
            .map(|line| ShownSetting {
                key: &line.key,
                value: &line.value,
                origin: args.origin.then(|| Place::from(&line.origin)),
            })
            .collect();
        as_json(&ShowDocument { settings })
    } else if args.origin {
        let rows: Vec<[String; 3]> =
            lines.into_iter().map(|line| [line.key, line.value, line.origin.to_string()]).collect();
        joined(table::lines(["Key", "Value", "Origin"], &rows))
    } else {
        let rows: Vec<[String; 2]> = lines.into_iter().map(|line| [line.key, line.value]).collect();
        joined(table::lines(["Key", "Value"], &rows))
    };
    print(&text)
}

fn joined(lines: Vec<String>) -> String {
    lines.into_iter().map(|line| line + "\n").collect()
}

fn as_json(document: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(document);
    text.expect("text, numbers and lists are always JSON") + "\n"
}

fn print(text: &str) -> Result<(), ConfigError> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(ConfigError::Output)
}

#[derive(Serialize)]
struct CheckDocument {
    ok: bool,
    problems: Vec<Problem>,
    notes: Vec<NoteLine>,
}

#[derive(Serialize)]
struct Problem {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<Place>,
    problem: String,
    fix: String,
}

#[derive(Serialize)]
struct NoteLine {
    key: String,
    origin: Place,
    note: String,
}

#[derive(Serialize)]
struct ShowDocument<'a> {
    settings: Vec<ShownSetting<'a>>,
}

#[derive(Serialize)]
struct ShownSetting<'a> {
    key: &'a str,
    value: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<Place>,
}

/// Where a value was set: exactly one of these.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Place {
    Default,
    File { path: String, line: usize },
    Variable(String),
}

impl From<&Origin> for Place {
    fn from(origin: &Origin) -> Self {
        match origin {
            Origin::Default => Self::Default,
            Origin::File { path, line } => Self::File { path: path.to_string(), line: *line },
            Origin::Variable(name) => Self::Variable(name.clone()),
        }
    }
}

impl From<Diagnosis> for Problem {
    fn from(diagnosis: Diagnosis) -> Self {
        let Diagnosis { key, value, origin, problem, fix } = diagnosis;
        Self { key, value, origin: origin.as_ref().map(Place::from), problem, fix }
    }
}

impl From<&Checked> for CheckDocument {
    fn from(checked: &Checked) -> Self {
        let problems: Vec<Problem> =
            checked.problems.iter().map(|problem| problem.diagnosis().into()).collect();
        let note = |note: &mesh_gossip::settings::Note| NoteLine {
            key: note.key.clone(),
            origin: Place::from(&note.origin),
            note: note.text.clone().into_owned(),
        };
        let notes = checked.notes.iter().map(note).collect();
        Self { ok: problems.is_empty(), problems, notes }
    }
}
