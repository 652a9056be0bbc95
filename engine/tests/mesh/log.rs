//! Log lines as values: level, message and named fields.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::with_default;
use tracing::{Event, Level, Metadata, Subscriber};

/// Event ids of the reference's log lines.
pub(crate) mod event_id {
    pub(crate) const JOINED: &str = "3";
    pub(crate) const RECOVERED: &str = "4";
    pub(crate) const SUSPECT: &str = "5";
    pub(crate) const LEFT: &str = "6";
}

/// One log line.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) level: Level,
    pub(crate) fields: BTreeMap<String, String>,
}

impl Line {
    /// The value of a field; empty where the line has none of this name.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

/// The log of one host, DEBUG and above.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<Line>>>);

impl Log {
    /// Runs `act`; what it logs, and what threads that it starts log, comes here.
    pub(crate) fn of<T>(&self, act: impl FnOnce() -> T) -> T {
        with_default(Capture(self.clone()), act)
    }

    /// Everything so far.
    pub(crate) fn lines(&self) -> Vec<Line> {
        self.0.lock().unwrap().clone()
    }

    /// The lines with this event id about this peer.
    pub(crate) fn about(&self, event_id: &str, peer: &str) -> Vec<Line> {
        let mut lines = self.lines();
        lines.retain(|line| line.field("EventId") == event_id && line.field("PeerId") == peer);
        lines
    }

    /// Everything, a line each, for failures.
    pub(crate) fn text(&self) -> String {
        let line = |line: &Line| {
            let fields: Vec<_> = line.fields.iter().map(|(k, v)| format!("{k}={v}")).collect();
            format!("{} {}\n", line.level, fields.join(" "))
        };
        self.lines().iter().map(line).collect()
    }
}

struct Capture(Log);

impl Subscriber for Capture {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "mesh_gossip" && *metadata.level() <= Level::DEBUG
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = *event.metadata().level();
        self.0.0.lock().unwrap().push(Line { level, fields: fields.0 });
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

#[derive(Default)]
struct Fields(BTreeMap<String, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}
