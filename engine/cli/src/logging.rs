//! Where log lines go: stderr, one line each, as text or JSON.
//!
//! Stdout belongs to what a caller asked for (a table, a document, the address that was bound),
//! so that it can be piped while the log is kept.

use std::io::IsTerminal;

use mesh_gossip::settings::{LogFormat, LogOptions};

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
pub(crate) fn start(options: LogOptions) -> Result<(), LoggingError> {
    let builder = tracing_subscriber::fmt()
        .with_max_level(options.level)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match options.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|_| LoggingError)
}
