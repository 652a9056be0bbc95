//! Durations as people type them on a command line, read as settings read them: whoever has
//! learned one of the two has learned both.
//!
//! Invariant: what is parsed is above zero, so that waiting for it is waiting.

use std::time::Duration;

use mesh_gossip::settings::span;

/// Parses a duration above zero.
///
/// # Errors
/// A message that shows the forms that are understood.
pub(crate) fn parse_positive(text: &str) -> Result<Duration, DurationError> {
    span(text).ok().filter(|span| !span.is_zero()).ok_or(DurationError)
}

/// No duration, or none above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DurationError;

impl std::fmt::Display for DurationError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("write a time with its unit, such as 500ms, 10s, 2m, 1h or 00:00:10")
    }
}

impl std::error::Error for DurationError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_needs_a_unit_and_more_than_nothing() {
        assert_eq!(parse_positive("1.5s"), Ok(Duration::from_millis(1_500)));
        assert_eq!(parse_positive("00:01:30"), Ok(Duration::from_secs(90)));
        for text in ["", "5", "-5s", "0s", "00:00:00"] {
            assert_eq!(parse_positive(text), Err(DurationError), "{text}");
        }
    }
}
