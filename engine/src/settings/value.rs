//! From the text of one value to what it means.
//!
//! Files and variables give text only, as .NET's configuration does; the kind of the key decides
//! what the text may say.
//!
//! Invariant: parsing never panics, and what it returns can be used without another check.

use std::net::IpAddr;
use std::time::Duration;

use mesh_gossip_proto::Scope;
use zeroize::Zeroizing;

use super::keys::Kind;
use super::problem::{Problem, SeedProblem};

/// A parsed value.
#[derive(Clone, PartialEq)]
pub(super) enum Value {
    Switch(bool),
    Count(u64),
    Real(f64),
    Span(Duration),
    Text(String),
    Word(&'static str),
    Secret(Zeroizing<String>),
    Address(IpAddr),
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Switch(on) => write!(f, "{on}"),
            Self::Count(count) => write!(f, "{count}"),
            Self::Real(real) => write!(f, "{real}"),
            Self::Span(span) => write!(f, "{span:?}"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Word(word) => write!(f, "{word}"),
            Self::Secret(_) => f.write_str("(redacted)"),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

/// The longest duration that can be written: ten years, far below where clocks saturate.
const SPAN_MAX: Duration = Duration::from_secs(3_650 * 86_400);

/// Parses one value, or one element of a list.
pub(super) fn parse(kind: Kind, text: &str) -> Result<Value, Problem> {
    if kind.is_secret() {
        // Taken as it is: blanks may belong to a password.
        return Ok(Value::Secret(Zeroizing::new(text.into())));
    }
    if kind == Kind::Labels {
        return Ok(Value::Text(text.into()));
    }
    let text = text.trim();
    if text.is_empty() {
        return Err(Problem::Empty);
    }
    match kind {
        Kind::Switch => switch(text).map(Value::Switch).ok_or(Problem::Switch),
        Kind::Count { least, most } => count(text)
            .filter(|count| (least..=most).contains(count))
            .map(Value::Count)
            .ok_or(Problem::Count { least, most }),
        Kind::Real => {
            let real = text.parse().ok().filter(|real: &f64| real.is_finite());
            real.map(Value::Real).ok_or(Problem::Real)
        }
        Kind::Span => span(text).map(Value::Span),
        Kind::Text | Kind::Path | Kind::Labels => Ok(Value::Text(text.into())),
        Kind::Segment => {
            if is_segment(text) {
                Ok(Value::Text(text.into()))
            } else {
                Err(Problem::Segment)
            }
        }
        Kind::Secret | Kind::SecretName => Ok(Value::Secret(Zeroizing::new(text.into()))),
        Kind::Address => {
            unbracketed(text).parse().map(Value::Address).map_err(|_| Problem::Address)
        }
        Kind::Host => {
            let host = unbracketed(text);
            if is_host(host) { Ok(Value::Text(host.into())) } else { Err(Problem::Host) }
        }
        Kind::Choice(allowed) => choice(allowed, text).map(Value::Word),
        Kind::Fingerprint => match thumbprint(text) {
            Some(print) if print.len() == 64 => Ok(Value::Text(print)),
            Some(_) | None => Err(Problem::Fingerprint),
        },
        Kind::Endpoint | Kind::Seeds => seed(text).map(Value::Text).map_err(Problem::Seed),
        Kind::Scopes => {
            let scope = Scope::parse(text).map_err(Problem::Scope)?;
            Ok(Value::Text(scope.to_string()))
        }
        Kind::Thumbprints => thumbprint(text).map(Value::Text).ok_or(Problem::Thumbprint),
    }
}

/// Whether `text` can stand in a certificate's identity (rule S-8).
pub(super) fn is_segment(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(is_segment_byte)
}

/// A segment made from a host name: lower case, other characters replaced.
pub(super) fn segment_from(text: &str) -> String {
    let lower = text.trim().to_ascii_lowercase();
    let clean = |c: char| if c.is_ascii() && is_segment_byte(c as u8) { c } else { '-' };
    lower.chars().map(clean).take(100).collect()
}

fn is_segment_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-')
}

fn switch(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        return Some(true);
    }
    text.eq_ignore_ascii_case("false").then_some(false)
}

/// Digits only: no sign, no exponent.
fn count(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn choice(allowed: &'static [&'static str], text: &str) -> Result<&'static str, Problem> {
    if let Some(word) = allowed.iter().find(|word| word.eq_ignore_ascii_case(text)) {
        return Ok(word);
    }
    let lower = text.to_ascii_lowercase();
    let steps = |word: &str| strsim::damerau_levenshtein(word, &lower);
    let nearest = allowed.iter().copied().min_by_key(|word| steps(word));
    Err(Problem::Choice { allowed, nearest: nearest.filter(|word| steps(word) <= 2) })
}

/// A duration as settings take it: `[d.]hh:mm:ss[.fff]`, or a decimal number with a unit (`ms`,
/// `s`, `m`, `h`).
///
/// # Errors
/// [`Problem`] says why it is none.
pub fn span(text: &str) -> Result<Duration, Problem> {
    let parts: Vec<&str> = text.split(':').collect();
    let nanos = match parts[..] {
        [number] => with_unit(number)?,
        [first, second] if decimal(first).is_some() && decimal(second).is_some() => {
            return Err(Problem::TwoPartSpan);
        }
        [hours, minutes, seconds] => time_span(hours, minutes, seconds).ok_or(Problem::Span)?,
        _ => return Err(Problem::Span),
    };
    if nanos > SPAN_MAX.as_nanos() {
        return Err(Problem::SpanTooLong(SPAN_MAX));
    }
    let (secs, rest) = (nanos / NANOS, nanos % NANOS);
    // Both fit: `nanos` is at most ten years.
    Ok(Duration::new(secs as u64, rest as u32))
}

const NANOS: u128 = 1_000_000_000;

fn with_unit(text: &str) -> Result<u128, Problem> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let nanos = match &text[digits.len()..] {
        "ms" => NANOS / 1_000,
        "s" => NANOS,
        "m" => 60 * NANOS,
        "h" => 3_600 * NANOS,
        "" if decimal(text.trim_start_matches('-')).is_some() => return Err(Problem::BareNumber),
        _ => return Err(Problem::Span),
    };
    let (whole, billionths) = decimal(digits.trim_end()).ok_or(Problem::Span)?;
    Ok(whole * nanos + billionths * nanos / NANOS)
}

fn time_span(hours: &str, minutes: &str, seconds: &str) -> Option<u128> {
    let (days, hours) = match hours.split_once('.') {
        Some((days, hours)) => (whole(days)?, hours),
        None => (0, hours),
    };
    let two = |text: &str| (text.len() <= 2).then(|| whole(text)).flatten();
    let hours = two(hours).filter(|hours| *hours < 24)?;
    let minutes = two(minutes).filter(|minutes| *minutes < 60)?;
    let (seconds, billionths) = decimal(seconds).filter(|(seconds, _)| *seconds < 60)?;
    Some((((days * 24 + hours) * 60 + minutes) * 60 + seconds) * NANOS + billionths)
}

/// A decimal number as its whole part and its billionths.
fn decimal(text: &str) -> Option<(u128, u128)> {
    let Some((before, after)) = text.split_once('.') else {
        return Some((whole(text)?, 0));
    };
    let fraction = whole(after).filter(|_| after.len() <= 9)?;
    let missing = u32::try_from(9 - after.len()).ok()?;
    Some((whole(before)?, fraction * 10_u128.pow(missing)))
}

/// Up to twelve digits, so that products of units stay far below the type's range.
fn whole(text: &str) -> Option<u128> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits && text.len() <= 12).then(|| text.parse().ok()).flatten()
}

/// A seed in its one spelling.
pub(super) fn seed(text: &str) -> Result<String, SeedProblem> {
    if text.contains("//") {
        return Err(SeedProblem::Scheme);
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or(SeedProblem::Host)?;
        let v6: std::net::Ipv6Addr = host.parse().map_err(|_| SeedProblem::Host)?;
        let port = after.strip_prefix(':').ok_or(SeedProblem::NoPort)?;
        return Ok(format!("[{v6}]:{}", seed_port(port)?));
    }
    let (host, port) = text.rsplit_once(':').ok_or(SeedProblem::NoPort)?;
    if host.contains(':') {
        return Err(SeedProblem::Brackets);
    }
    let port = seed_port(port)?;
    if is_host(host) { Ok(format!("{host}:{port}")) } else { Err(SeedProblem::Host) }
}

fn seed_port(text: &str) -> Result<u64, SeedProblem> {
    count(text).filter(|port| (1..=65_535).contains(port)).ok_or(SeedProblem::Port)
}

/// A DNS name or an IP address without brackets. A name whose last label is a number is an
/// address that was mistyped: no top-level domain is one.
fn is_host(host: &str) -> bool {
    if host.parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let number = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
    name.len() <= 253 && name.split('.').all(label) && !name.rsplit('.').next().is_some_and(number)
}

fn unbracketed(text: &str) -> &str {
    text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text)
}

/// Hexadecimal digits in lower case; colons, blanks and the invisible mark that the Windows
/// certificate dialog puts in front are dropped.
fn thumbprint(text: &str) -> Option<String> {
    let separator = |c: &char| matches!(c, ':' | ' ' | '-' | '\u{200e}');
    let digits: String = text.chars().filter(|c| !separator(c)).collect();
    let valid = matches!(digits.len(), 40 | 64) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    valid.then(|| digits.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_time_spans_or_numbers_with_a_unit() {
        for (text, millis) in [
            ("00:00:05", 5_000),
            ("0:0:5", 5_000),
            ("00:00:00.250", 250),
            ("1.02:03:04.5", 93_784_500),
            ("500ms", 500),
            ("2.05s", 2_050),
            ("2.05 s", 2_050),
            ("1.5m", 90_000),
            ("2h", 7_200_000),
            ("0s", 0),
        ] {
            assert_eq!(span(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn other_durations_are_errors_that_say_why() {
        for (text, problem) in [
            ("5", Problem::BareNumber),
            ("5.5", Problem::BareNumber),
            ("-5", Problem::BareNumber),
            ("-5s", Problem::Span),
            ("5 parsecs", Problem::Span),
            ("00:05", Problem::TwoPartSpan),
            ("24:00:00", Problem::Span),
            ("00:60:00", Problem::Span),
            ("00:00:60", Problem::Span),
            ("00:00:00:05", Problem::Span),
            (".5s", Problem::Span),
            ("s", Problem::Span),
            ("1e3s", Problem::Span),
            ("99999999h", Problem::SpanTooLong(SPAN_MAX)),
        ] {
            assert_eq!(span(text), Err(problem), "{text}");
        }
    }

    #[test]
    fn seeds_have_a_host_and_a_port() {
        for (text, seed_text) in [
            ("gateway-1:17421", "gateway-1:17421"),
            ("gateway.mesh.example.:1", "gateway.mesh.example.:1"),
            ("10.0.0.1:17421", "10.0.0.1:17421"),
            ("[2001:db8::1]:17421", "[2001:db8::1]:17421"),
        ] {
            assert_eq!(seed(text).as_deref(), Ok(seed_text));
        }
        for (text, problem) in [
            ("gateway-1", SeedProblem::NoPort),
            ("[::1]", SeedProblem::NoPort),
            ("gateway-1:", SeedProblem::Port),
            ("gateway-1:0", SeedProblem::Port),
            ("gateway-1:+1", SeedProblem::Port),
            ("gateway-1:65536", SeedProblem::Port),
            (":17421", SeedProblem::Host),
            ("10.0.0.300:17421", SeedProblem::Host),
            ("a b:17421", SeedProblem::Host),
            ("[gateway-1]:17421", SeedProblem::Host),
            ("::1:17421", SeedProblem::Brackets),
            ("https://gateway-1:17421", SeedProblem::Scheme),
        ] {
            assert_eq!(seed(text), Err(problem), "{text}");
        }
    }

    #[test]
    fn thumbprints_lose_their_separators() {
        let colons = ["Ab"; 20].join(":");
        assert_eq!(thumbprint(&format!("\u{200e}{colons}")), Some("ab".repeat(20)));
        assert_eq!(thumbprint(&"f".repeat(64)), Some("f".repeat(64)));
        assert_eq!(thumbprint("f00"), None);
        assert_eq!(thumbprint(&"g".repeat(40)), None);
    }
}
