//! What is exported: log records and spans, owned, ready to be encoded elsewhere.

use std::fmt::Debug;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::Level;
use tracing::field::{Field, Visit};

/// A value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Whole(i64),
    Real(f64),
    Truth(bool),
}

/// The message and the attributes beside it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fields {
    pub(super) message: String,
    pub(super) attributes: Vec<(String, Value)>,
}

impl Fields {
    /// The text of an attribute.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find_map(|(key, value)| match value {
            Value::Text(text) if key == name => Some(text.as_str()),
            Value::Text(_) | Value::Whole(_) | Value::Real(_) | Value::Truth(_) => None,
        })
    }

    /// The whole number of an attribute.
    pub(super) fn whole(&self, name: &str) -> Option<i64> {
        self.attributes.iter().find_map(|(key, value)| match value {
            Value::Whole(number) if key == name => Some(*number),
            Value::Text(_) | Value::Whole(_) | Value::Real(_) | Value::Truth(_) => None,
        })
    }

    /// Later values stand in the place of earlier ones.
    pub(super) fn add(&mut self, later: Self) {
        let names: Vec<_> = later.attributes.iter().map(|(name, _)| name.clone()).collect();
        self.attributes.retain(|(name, _)| !names.contains(name));
        self.attributes.extend(later.attributes);
    }
}

/// Trace and span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SpanIds {
    pub(super) trace: u128,
    pub(super) span: u64,
}

impl SpanIds {
    /// Of a new trace.
    pub(super) fn root() -> Self {
        Self { trace: u128::from(random()) << 64 | u128::from(random()), span: random() }
    }

    /// Another span of the trace.
    pub(super) fn child(self) -> Self {
        Self { trace: self.trace, span: random() }
    }
}

/// Ids have to differ and need not be secret: the keys of a hash map's hasher are random.
fn random() -> u64 {
    RandomState::new().hash_one(now_ns()).max(1)
}

/// One line of the log.
#[derive(Clone, Debug)]
pub(super) struct LogRecord {
    pub(super) time_ns: u64,
    pub(super) level: Level,
    pub(super) target: String,
    pub(super) fields: Fields,
    pub(super) span: Option<SpanIds>,
}

/// Something that took time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SpanRecord {
    pub(super) ids: SpanIds,
    pub(super) parent: Option<u64>,
    pub(super) name: String,
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
    pub(super) fields: Fields,
}

/// Nanoseconds since the epoch.
pub(super) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// What `record` tells a visitor.
pub(super) fn fields(record: impl FnOnce(&mut dyn Visit)) -> Fields {
    let mut collector = Collector::default();
    record(&mut collector);
    collector.0
}

#[derive(Default)]
struct Collector(Fields);

impl Collector {
    fn take(&mut self, field: &Field, value: Value) {
        match value {
            Value::Text(text) if field.name() == "message" => self.0.message = text,
            other => self.0.attributes.push((field.name().to_owned(), other)),
        }
    }
}

impl Visit for Collector {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.take(field, Value::Real(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.take(field, Value::Whole(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        // OTLP has no unsigned numbers; the few beyond are told as text.
        let whole = i64::try_from(value).map(Value::Whole);
        self.take(field, whole.unwrap_or_else(|_| Value::Text(value.to_string())));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.take(field, Value::Truth(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, Value::Text(value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.take(field, Value::Text(format!("{value:?}")));
    }
}
