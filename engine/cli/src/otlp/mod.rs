//! Logs and traces to an OpenTelemetry collector, by OTLP over HTTP in its JSON form.
//!
//! What is logged is exported, as structured records. Traces are stories of the log: a doubt of a
//! member from its first suspicion to its end is a span, and so is the way into the mesh. Spans of
//! `tracing` are exported as well. The collector is beside the agent, as a rule, and speaks clear
//! HTTP on loopback; whatever it does further is its own.
//!
//! Invariant: an agent never waits for its collector, except at its own end and for a bounded time;
//! what does not fit the queue is dropped and counted.

mod encode;
mod outbox;
mod record;
mod settings;
mod stories;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use outbox::Outbox;
use record::{Fields, LogRecord, SpanIds, SpanRecord, fields, now_ns};
use stories::Stories;

/// The exporter's own words, which it does not export: they would never end.
const OWN_TARGET: &str = "omnirelay::otlp";
/// How long the end of the process waits for the collector.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// The way to a collector, if there is one.
pub(crate) struct Export {
    outbox: Option<Arc<Outbox>>,
    note: Option<String>,
}

impl Export {
    /// Nowhere.
    pub(crate) fn none() -> Self {
        Self { outbox: None, note: None }
    }

    /// As the environment asks for it, by OpenTelemetry's variables.
    pub(crate) fn from_environment(node_id: &str) -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        match settings::read(variable, node_id) {
            Ok(None) => Self { outbox: None, note: None },
            Ok(Some(target)) => match Outbox::start(target) {
                Ok(outbox) => Self { outbox: Some(outbox), note: None },
                Err(error) => {
                    Self { outbox: None, note: Some(format!("nothing is exported: {error}")) }
                }
            },
            Err(why) => Self { outbox: None, note: Some(format!("nothing is exported: {why}")) },
        }
    }

    /// What the operator should know.
    pub(crate) fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// What hears the log.
    pub(crate) fn layer<S>(&self) -> Option<Box<dyn Layer<S> + Send + Sync>>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let outbox = self.outbox.clone()?;
        Some(Box::new(Exporting { outbox, stories: Mutex::default() }))
    }

    /// Sends what is left, as far as the collector takes it in time.
    pub(crate) fn finish(&self) {
        if let Some(outbox) = &self.outbox {
            outbox.flush(LAST_WORDS);
        }
    }
}

struct Exporting {
    outbox: Arc<Outbox>,
    stories: Mutex<Stories>,
}

/// A span of `tracing` that has not ended.
struct Open {
    ids: SpanIds,
    parent: Option<u64>,
    start_ns: u64,
    fields: Fields,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Exporting {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let about = event.metadata();
        if about.target() == OWN_TARGET {
            return;
        }
        let span = context.event_span(event);
        let inside = span.and_then(|span| span.extensions().get::<Open>().map(|open| open.ids));
        let mut log = LogRecord {
            time_ns: now_ns(),
            level: *about.level(),
            target: about.target().to_owned(),
            fields: fields(|visitor| event.record(visitor)),
            span: inside,
        };
        let story = {
            let mut stories = self.stories.lock().unwrap_or_else(PoisonError::into_inner);
            stories.hears(&log)
        };
        log.span = log.span.or(story.span);
        if let Some(ended) = story.ended {
            self.outbox.span(ended);
        }
        self.outbox.log(log);
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let parent = span.parent();
        let above = parent.and_then(|parent| parent.extensions().get::<Open>().map(|o| o.ids));
        let open = Open {
            ids: above.map_or_else(SpanIds::root, SpanIds::child),
            parent: above.map(|ids| ids.span),
            start_ns: now_ns(),
            fields: fields(|visitor| attributes.record(visitor)),
        };
        span.extensions_mut().insert(open);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(open) = span.extensions_mut().get_mut::<Open>() {
            open.fields.add(fields(|visitor| values.record(visitor)));
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let Some(open) = span.extensions_mut().remove::<Open>() else { return };
        self.outbox.span(SpanRecord {
            ids: open.ids,
            parent: open.parent,
            name: span.name().to_owned(),
            start_ns: open.start_ns,
            end_ns: now_ns(),
            fields: open.fields,
        });
    }
}
