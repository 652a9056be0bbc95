//! Where log lines go: stderr, one line each, as text or JSON.
//!
//! Two drawers: stdout belongs to what a caller asked for (a table, a document, the address that
//! was bound), so that it can be piped while the log is kept in the other.
//!
//! Invariant: nothing is logged to stdout, the log is set up once a process, and a log that cannot
//! be written stops nobody.

mod lines;

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use mesh_gossip::settings::{LogFormat, LogOptions};
use mesh_gossip::{FilterError, LogSwitch};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt, reload};

use crate::otlp::Export;
use lines::Lines;

/// The end of a process waits so long for a reader of its log.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The log of this process, once it has one.
static LINES: OnceLock<Lines> = OnceLock::new();

/// Sets what a log that runs lets through.
pub(crate) struct Level {
    handle: reload::Handle<Targets, Registry>,
    state: Mutex<State>,
}

struct State {
    configured: LevelFilter,
    /// An operator's wish stands in the place of what is configured.
    is_turned: bool,
}

impl Level {
    fn new(handle: reload::Handle<Targets, Registry>, configured: LevelFilter) -> Self {
        Self { handle, state: Mutex::new(State { configured, is_turned: false }) }
    }

    /// From here on nothing below `level` is logged, once no other wish stands.
    pub(crate) fn set(&self, level: LevelFilter) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.configured = level;
        if !state.is_turned {
            self.put(everything_from(level));
        }
    }

    fn put(&self, targets: Targets) {
        // It fails only when the log itself is gone, and then there is nobody to tell.
        let _ = self.handle.reload(targets);
    }
}

impl LogSwitch for Level {
    fn configured(&self) -> String {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.configured.to_string()
    }

    fn set(&self, filter: Option<&str>) -> Result<(), FilterError> {
        let wished = filter.map(parsed).transpose()?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_turned = wished.is_some();
        self.put(wished.unwrap_or_else(|| everything_from(state.configured)));
        Ok(())
    }
}

fn everything_from(level: LevelFilter) -> Targets {
    Targets::new().with_default(level)
}

/// A level, or levels by target: `debug`, `info,mesh_gossip=trace`.
fn parsed(filter: &str) -> Result<Targets, FilterError> {
    let wrong = |reason| FilterError { reason };
    // A single word is a level; the library would take a misspelled one for a target.
    let is_level = |part: &str| !part.is_empty() && part.parse::<LevelFilter>().is_ok();
    let is_known = |part: &str| part.contains('=') || is_level(part);
    let filter: String = filter.chars().filter(|character| !character.is_whitespace()).collect();
    if let Some(part) = filter.split(',').find(|part| !is_known(part)) {
        return Err(wrong(format!(
            "{part:?} is neither a level (off, error, warn, info, debug, trace) nor target=level"
        )));
    }
    filter.parse().map_err(|error| wrong(format!("{filter:?}: {error}")))
}

/// The process has a log already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LoggingError;

impl std::fmt::Display for LoggingError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("logging was set up twice")
    }
}

impl std::error::Error for LoggingError {}

/// Sends the log of this process to stderr.
///
/// # Errors
/// [`LoggingError`].
pub(crate) fn start(options: LogOptions) -> Result<Arc<Level>, LoggingError> {
    start_exporting(options, &Export::none())
}

/// The same, and where `export` leads.
///
/// # Errors
/// [`LoggingError`].
pub(crate) fn start_exporting(
    options: LogOptions,
    export: &Export,
) -> Result<Arc<Level>, LoggingError> {
    let (level, handle) = reload::Layer::new(everything_from(options.level));
    let lines = fmt::layer()
        .with_writer(LINES.get_or_init(Lines::to_stderr).clone())
        // A complaint about a closed stderr would go to stderr, and its failure is a panic.
        .log_internal_errors(false)
        .with_ansi(
            std::io::stderr().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()),
        );
    let registry = tracing_subscriber::registry().with(level).with(export.layer());
    let started = match options.format {
        LogFormat::Text => registry.with(lines).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    started.map(|()| Arc::new(Level::new(handle, options.level))).map_err(|_| LoggingError)
}

/// Before the process ends: what was logged is carried to whoever reads it.
pub(crate) fn finish() {
    if let Some(lines) = LINES.get() {
        lines.flush(LAST_WORDS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_levels_and_what_is_misspelled_is_told() {
        for right in ["debug", "info,mesh_gossip=trace", "off", "mesh_gossip::link=debug, warn"] {
            assert!(parsed(right).is_ok(), "{right}");
        }
        for wrong in ["", "loud", "info,loud", "mesh_gossip=loud", "debug,,info"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_wish_stands_over_a_reload_and_ends_with_what_is_configured_then() {
        let (layer, handle) = reload::Layer::<Targets, Registry>::new(Targets::new());
        let level = Level::new(handle, LevelFilter::INFO);
        let lets = |target: &str, at: tracing::Level| {
            level.handle.with_current(|targets| targets.would_enable(target, &at))
        };
        let switch: &dyn LogSwitch = &level;
        assert!(switch.set(Some("warn,mesh_gossip=trace")).is_ok());
        assert_eq!(lets("mesh_gossip", tracing::Level::TRACE).ok(), Some(true));
        assert_eq!(lets("omnirelay", tracing::Level::INFO).ok(), Some(false));
        level.set(LevelFilter::ERROR);
        assert_eq!(lets("mesh_gossip", tracing::Level::TRACE).ok(), Some(true), "the wish stands");
        assert_eq!(switch.configured(), "error");
        assert!(switch.set(Some("nonsense")).is_err());
        assert_eq!(lets("mesh_gossip", tracing::Level::TRACE).ok(), Some(true), "nothing changed");
        assert!(switch.set(None).is_ok());
        assert_eq!(lets("mesh_gossip", tracing::Level::WARN).ok(), Some(false));
        assert_eq!(lets("mesh_gossip", tracing::Level::ERROR).ok(), Some(true));
        drop(layer);
    }
}
