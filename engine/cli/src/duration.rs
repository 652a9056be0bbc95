//! Durations as people type them: `500ms`, `5s`, `2m`, `1h`, or .NET's `00:00:05`.
//!
//! Invariant: a bare number is refused, because its unit would be a guess.

use std::time::Duration;

/// Parses one duration.
///
/// # Errors
/// A message that shows the forms that are understood.
pub(crate) fn parse(text: &str) -> Result<Duration, DurationError> {
    let seconds = if text.contains(':') { clock(text) } else { suffixed(text) };
    seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).ok_or(DurationError)
}

/// Parses a duration above zero.
///
/// # Errors
/// As [`parse`]; zero is refused too.
pub(crate) fn parse_positive(text: &str) -> Result<Duration, DurationError> {
    parse(text).and_then(|span| if span.is_zero() { Err(DurationError) } else { Ok(span) })
}

/// No duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DurationError;

impl std::fmt::Display for DurationError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("write a time with its unit, such as 500ms, 10s, 2m, 1h or 00:00:10")
    }
}

impl std::error::Error for DurationError {}

fn suffixed(text: &str) -> Option<f64> {
    let unit_at = text.find(|letter: char| letter.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    let unit_secs = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return None,
    };
    Some(digits(number)? * unit_secs)
}

fn clock(text: &str) -> Option<f64> {
    let mut parts = text.split(':');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    Some(digits(hours)? * 3_600.0 + digits(minutes)? * 60.0 + digits(seconds)?)
}

/// Plain decimals only: `f64::from_str` would take `inf`, `1e9` and a sign.
fn digits(text: &str) -> Option<f64> {
    let plain = text.chars().all(|letter| letter.is_ascii_digit() || letter == '.');
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_required_and_dotnet_spans_understood() {
        for (text, ms) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("1.5s", 1_500),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("00:01:30", 90_000),
            ("00:00:00.250", 250),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "5", "s", "5 s", "-5s", "1e9s", "infs", "5x", "1:2", "1:2:3:4", "é", "."]
        {
            assert_eq!(parse(text), Err(DurationError), "{text}");
        }
        assert_eq!(parse_positive("0s"), Err(DurationError));
    }
}
