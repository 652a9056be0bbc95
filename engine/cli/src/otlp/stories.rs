//! Stories of the log as spans: the way into the mesh, and each doubt of a member.
//!
//! A doubt begins with the line "suspect" about a member and ends when it recovers or has left; every
//! line between them about that member belongs to the span.
//!
//! Invariant: stories that never end are bounded in number; beyond, a doubt has lines and no span.

use std::collections::HashMap;

use super::record::{Fields, LogRecord, SpanIds, SpanRecord, Value};

// Event ids of log lines.
const LISTENING: i64 = 1;
const RECOVERED: i64 = 4;
const SUSPECT: i64 = 5;
const LEFT: i64 = 6;
/// The line that ends the way into the mesh.
const JOINED: &str = "mesh joined";
/// Doubts under way at once.
const MOST: usize = 10_000;

/// The stories under way.
#[derive(Debug, Default)]
pub(super) struct Stories {
    /// By the node that tells, and by the member that is told of: empty for the node's own.
    open: HashMap<(String, String), Begun>,
}

#[derive(Clone, Copy, Debug)]
struct Begun {
    ids: SpanIds,
    start_ns: u64,
}

/// What a line belongs to, and what it ends.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) span: Option<SpanIds>,
    pub(super) ended: Option<SpanRecord>,
}

impl Stories {
    pub(super) fn hears(&mut self, line: &LogRecord) -> Told {
        let fields = &line.fields;
        let Some(node) = fields.text("NodeId") else { return Told::default() };
        let peer = fields.text("PeerId").unwrap_or_default();
        let key = (node.to_owned(), peer.to_owned());
        let name = if peer.is_empty() { "mesh.join" } else { "mesh.suspicion" };
        match fields.whole("EventId") {
            Some(LISTENING | SUSPECT) if self.open.len() < MOST => {
                let begun = Begun { ids: SpanIds::root(), start_ns: line.time_ns };
                let begun = *self.open.entry(key).or_insert(begun);
                Told { span: Some(begun.ids), ended: None }
            }
            Some(RECOVERED) => self.ends(&key, name, "recovered", line),
            Some(LEFT) => self.ends(&key, name, "left", line),
            None if fields.message == JOINED => self.ends(&key, name, "joined", line),
            Some(_) | None => {
                let span = self.open.get(&key).filter(|_| !peer.is_empty()).map(|begun| begun.ids);
                Told { span, ended: None }
            }
        }
    }

    fn ends(
        &mut self,
        key: &(String, String),
        name: &str,
        outcome: &str,
        line: &LogRecord,
    ) -> Told {
        let Some(Begun { ids, start_ns }) = self.open.remove(key) else { return Told::default() };
        let mut fields = Fields { message: String::new(), ..line.fields.clone() };
        fields.attributes.retain(|(name, _)| name != "EventId");
        fields.attributes.push(("Outcome".to_owned(), Value::Text(outcome.to_owned())));
        let (name, end_ns) = (name.to_owned(), line.time_ns);
        let ended = SpanRecord { ids, parent: None, name, start_ns, end_ns, fields };
        Told { span: Some(ids), ended: Some(ended) }
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    fn line(time_ns: u64, event: Option<i64>, peer: &str, message: &str) -> LogRecord {
        let mut attributes = vec![("NodeId".to_owned(), Value::Text("a".to_owned()))];
        attributes.extend(event.map(|id| ("EventId".to_owned(), Value::Whole(id))));
        if !peer.is_empty() {
            attributes.push(("PeerId".to_owned(), Value::Text(peer.to_owned())));
        }
        let fields = Fields { message: message.to_owned(), attributes };
        LogRecord { time_ns, level: Level::INFO, target: "t".to_owned(), fields, span: None }
    }

    #[test]
    fn a_doubt_is_a_span_from_its_first_line_to_its_end() {
        for (end, outcome) in [(RECOVERED, "recovered"), (LEFT, "left")] {
            let mut stories = Stories::default();
            let begun = stories.hears(&line(1, Some(SUSPECT), "b", "suspect"));
            assert!(begun.span.is_some() && begun.ended.is_none());
            // Another member, and a line about this one.
            assert_eq!(stories.hears(&line(2, None, "c", "unreachable")).span, None);
            assert_eq!(stories.hears(&line(3, None, "b", "unreachable")).span, begun.span);
            let ended = stories.hears(&line(4, Some(end), "b", "ends"));
            assert_eq!(ended.span, begun.span);
            let span = ended.ended.expect("it has ended");
            assert_eq!((span.name.as_str(), span.start_ns, span.end_ns), ("mesh.suspicion", 1, 4));
            assert_eq!(span.fields.text("Outcome"), Some(outcome));
            assert_eq!(span.fields.text("PeerId"), Some("b"));
            assert!(stories.hears(&line(5, Some(end), "b", "again")).ended.is_none());
        }
    }

    #[test]
    fn the_way_into_the_mesh_is_a_span() {
        let mut stories = Stories::default();
        stories.hears(&line(10, Some(LISTENING), "", "listening"));
        stories.hears(&line(11, Some(3), "b", "peer joined"));
        let span = stories.hears(&line(12, None, "", JOINED)).ended.expect("it has ended");
        assert_eq!((span.name.as_str(), span.start_ns, span.end_ns), ("mesh.join", 10, 12));
        assert_eq!(span.fields.text("Outcome"), Some("joined"));
    }

    #[test]
    fn stories_are_bounded() {
        let mut stories = Stories::default();
        for number in 0..=MOST {
            stories.hears(&line(1, Some(SUSPECT), &format!("m{number}"), "suspect"));
        }
        assert_eq!(stories.open.len(), MOST);
        let beyond = stories.hears(&line(2, Some(LEFT), &format!("m{MOST}"), "left"));
        assert!(beyond.span.is_none() && beyond.ended.is_none());
    }
}
