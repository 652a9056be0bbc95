//! Where log lines go: stderr, one line each, as text or JSON.
//!
//! Two drawers: stdout belongs to what a caller asked for (a table, a document, the address that
//! was bound), so that it can be piped while the log is kept in the other.
//!
//! Invariant: nothing is logged to stdout, the log is set up once a process, and a log that cannot
//! be written stops nobody.

use std::io::IsTerminal;

use mesh_gossip::settings::{LogFormat, LogOptions};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt, reload};

use crate::otlp::Export;

/// Sets the least severity of a log that runs.
pub(crate) struct Level(reload::Handle<LevelFilter, Registry>);

impl Level {
    /// From here on nothing below `level` is logged.
    pub(crate) fn set(&self, level: LevelFilter) {
        // It fails only when the log itself is gone, and then there is nobody to tell.
        let _ = self.0.reload(level);
    }
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
pub(crate) fn start(options: LogOptions) -> Result<Level, LoggingError> {
    start_exporting(options, &Export::none())
}

/// The same, and where `export` leads.
///
/// # Errors
/// [`LoggingError`].
pub(crate) fn start_exporting(options: LogOptions, export: &Export) -> Result<Level, LoggingError> {
    let (level, handle) = reload::Layer::new(options.level);
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
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
    started.map(|()| Level(handle)).map_err(|_| LoggingError)
}
