//! Where log lines go: stderr, one line each, as text or JSON.
//!
//! Two drawers: stdout belongs to what a caller asked for (a table, a document, the address that
//! was bound), so that it can be piped while the log is kept in the other.
//!
//! Invariant: nothing is logged to stdout, the log is set up once a process, and a log that cannot
//! be written stops nobody.

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
        // A complaint about a closed stderr would go to stderr, and its failure is a panic.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match options.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|_| LoggingError)
}
