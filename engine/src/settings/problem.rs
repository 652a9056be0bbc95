//! What can be wrong with one value, and what would be right.
//!
//! Invariant: every problem has a fix, and neither repeats the value.

use std::fmt;
use std::time::Duration;

use mesh_gossip_proto::ScopeError;

/// What is wrong with a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Problem {
    /// Not `true` or `false`.
    Switch,
    /// Not a whole number within bounds.
    Count {
        /// Smallest.
        least: u64,
        /// Largest.
        most: u64,
    },
    /// Not a finite number.
    Real,
    /// A duration without a unit.
    BareNumber,
    /// Not a duration.
    Span,
    /// Hours and minutes, or minutes and seconds: nobody can tell.
    TwoPartSpan,
    /// Longer than any duration here may be.
    SpanTooLong(Duration),
    /// Empty.
    Empty,
    /// Not a segment of a certificate's identity.
    Segment,
    /// Not an IP address.
    Address,
    /// Not a host name or an IP address.
    Host,
    /// Not `host:port`.
    Seed(SeedProblem),
    /// Not a scope of leadership.
    Scope(ScopeError),
    /// A scope before it has the same name.
    ScopeTwice,
    /// So many are the most.
    OneTooMany(usize),
    /// Gossip and the control server want the same port of the same address.
    PortTaken,
    /// Not a thumbprint.
    Thumbprint,
    /// Not SHA-256.
    Fingerprint,
    /// None of the words.
    Choice {
        /// The words.
        allowed: &'static [&'static str],
        /// The one that was probably meant.
        nearest: Option<&'static str>,
    },
    /// Neither base64 nor PEM.
    Base64,
    /// The secret names no variable that is set.
    SecretVariable,
    /// The secret names a variable that holds bytes that are no text.
    SecretNotText,
    /// The file of a secret cannot be read.
    SecretFile(std::io::ErrorKind),
    /// A value stands where a section belongs.
    Section,
    /// A list or a section stands where one value belongs.
    NotOneValue,
    /// A list or a text stands where names with values belong.
    Labels,
    /// The index of a list is not a number.
    Index,
    /// The values contradict a rule of the protocol; the rule.
    Protocol(String),
}

/// What is wrong with a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeedProblem {
    /// No port.
    NoPort,
    /// A port that is none.
    Port,
    /// A host that is none.
    Host,
    /// An IPv6 address without brackets.
    Brackets,
    /// A URL.
    Scheme,
}

impl fmt::Display for SeedProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPort => "has no port",
            Self::Port => "has a port that is not a number from 1 to 65535",
            Self::Host => "has a host that is neither a DNS name nor an IP address",
            Self::Brackets => "is an IPv6 address without brackets",
            Self::Scheme => "is a URL",
        })
    }
}

impl Problem {
    /// What is wrong.
    pub fn fault(&self) -> String {
        let text = match self {
            Self::Count { least, most } => {
                return format!("not a whole number from {least} to {most}");
            }
            Self::SpanTooLong(most) => {
                let days = most.as_secs() / 86_400;
                return format!("longer than {days} days, the most allowed");
            }
            Self::Seed(problem) => return problem.to_string(),
            Self::Scope(problem) => return problem.to_string(),
            Self::Choice { allowed, nearest: _ } => {
                return format!("not one of {}", allowed.join(", "));
            }
            Self::SecretFile(why) => return format!("names a file that cannot be read: {why}"),
            Self::OneTooMany(most) => return format!("one too many: {most} are the most"),
            Self::Protocol(rule) => rule,
            Self::ScopeTwice => "a scope before it has the same name",
            Self::PortTaken => "gossip (bulk sync, TCP) and the control server want the same port",
            Self::Switch => "neither true nor false",
            Self::Real => "not a number",
            Self::BareNumber => "a duration needs a unit, since .NET reads a bare number as days",
            Self::Span => "not a duration",
            Self::TwoPartSpan => "a duration of two parts is ambiguous",
            Self::Empty => "must not be empty",
            Self::Segment => "is part of the certificate's identity and holds other characters",
            Self::Address => "not an IP address",
            Self::Host => "neither a DNS name nor an IP address",
            Self::Thumbprint => "not a thumbprint",
            Self::Fingerprint => "not a fingerprint",
            Self::Base64 => "neither base64 nor PEM",
            Self::SecretVariable => "names no environment variable that is set",
            Self::SecretNotText => "names an environment variable that is not valid UTF-8",
            Self::Section => "a section, not a value",
            Self::NotOneValue => "one value is expected here",
            Self::Labels => "names with one value each are expected",
            Self::Index => "a list is expected; its elements are numbered from 0",
        };
        text.into()
    }

    /// What would be right.
    pub fn fix(&self) -> String {
        let text = match self {
            Self::Count { .. } => "write one within these bounds, in digits",
            Self::Choice { allowed: _, nearest: Some(near) } => {
                return format!("did you mean {near}?");
            }
            Self::Choice { allowed, nearest: None } => {
                return format!("write {}", allowed.first().unwrap_or(&""));
            }
            Self::Switch => "write true or false",
            Self::Real => "write it as 1.5",
            Self::BareNumber => "write 5s, 500ms or 00:00:05",
            Self::Span => "write [d.]hh:mm:ss[.fff], or a number with ms, s, m or h",
            Self::TwoPartSpan => "write hh:mm:ss, or a number with m or s",
            Self::SpanTooLong(_) => "write a shorter one",
            Self::Empty => "give a value or remove the key",
            Self::Segment => "write 1 to 128 characters of a-z 0-9 . _ -",
            Self::Address => "write 0.0.0.0, 127.0.0.1 or ::",
            Self::Host => {
                "write a name or an address; the port has a key of its own, advertisePort"
            }
            Self::Seed(_) => "write host:17421, 10.0.0.1:17421 or [2001:db8::1]:17421",
            Self::Scope(_) => "write name, or name; role=gateway; region=eu-1",
            Self::ScopeTwice => "give it a name of its own, or remove it",
            Self::OneTooMany(_) => "remove it, or another one",
            Self::PortTaken => "choose another number, or 0 for any free one",
            Self::Thumbprint => "write 40 (SHA-1) or 64 (SHA-256) hexadecimal digits",
            Self::Fingerprint => "write the 64 hexadecimal digits that `mesh bootstrap init` told",
            Self::Base64 => "encode the file with base64",
            Self::SecretVariable => "set it, or give the path of a file",
            Self::SecretNotText => "write it as UTF-8 text",
            Self::SecretFile(_) => "check that the path is right and that this process may read it",
            Self::Section => "write its keys below it",
            Self::NotOneValue => "write one text, number or switch",
            Self::Labels => "write them as in labels:rack = r7",
            Self::Index => "write a number, or the whole as a list",
            Self::Protocol(_) => "choose a value within these bounds, or remove the key",
        };
        text.into()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.fault(), self.fix())
    }
}
