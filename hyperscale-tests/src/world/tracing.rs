//! Events as bytes of the trace: who, which record, which state.

use mesh_gossip_proto::{Event, Instant, LeftReason, MemberId, SignedRecord};

use super::World;
use crate::table::SimTable;
use crate::trace::Kind;

/// Enough for the largest event.
const MOST_BYTES: usize = 64;

/// Bytes of one event.
struct Line {
    bytes: [u8; MOST_BYTES],
    length: usize,
}

impl Line {
    fn of(tag: u8) -> Self {
        let mut line = Self { bytes: [0; MOST_BYTES], length: 0 };
        line.put(&[tag]);
        line
    }

    fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
        self
    }

    /// As much of it as there is room for.
    fn beginning(&mut self, bytes: &[u8]) -> &mut Self {
        self.put(&bytes[..bytes.len().min(16)])
    }

    fn number(&mut self, number: u64) -> &mut Self {
        self.put(&number.to_le_bytes())
    }

    fn id(&mut self, id: MemberId) -> &mut Self {
        self.put(&id.0)
    }

    fn perhaps(&mut self, id: Option<MemberId>) -> &mut Self {
        self.id(id.unwrap_or(MemberId([0; 16])))
    }

    fn record(&mut self, record: &SignedRecord) -> &mut Self {
        let content = record.record();
        self.id(content.id)
            .number(content.incarnation.generation)
            .put(&content.incarnation.counter.to_le_bytes())
            .number(record.hash().0)
    }
}

/// What a host said.
fn said(tag: u8, from: MemberId, topic: u16, bytes: &[u8]) -> Line {
    let mut line = Line::of(tag);
    line.id(from).put(&topic.to_le_bytes()).beginning(bytes);
    line
}

fn lost_some(tag: u8, lost: u64) -> Line {
    let mut line = Line::of(tag);
    line.number(lost);
    line
}

fn line(event: &Event) -> Line {
    let mut line;
    match event {
        Event::Joined(record) => {
            line = Line::of(1);
            line.record(record);
        }
        Event::Recovered { record, previous } => {
            line = Line::of(2);
            line.record(record).put(&[*previous as u8]);
        }
        Event::Suspected { record, last_contact } => {
            line = Line::of(3);
            line.record(record).number(last_contact.map_or(u64::MAX, Instant::as_nanos));
        }
        Event::Unreachable(record) => {
            line = Line::of(15);
            line.record(record);
        }
        Event::Left { record, reason } => {
            line = Line::of(4);
            line.record(record).put(&reason.as_str().as_bytes()[..1]);
        }
        Event::Updated(record) => {
            line = Line::of(5);
            line.record(record);
        }
        Event::Forgotten(id) => {
            line = Line::of(6);
            line.id(*id);
        }
        Event::Refuted(record) => {
            line = Line::of(7);
            line.record(record);
        }
        Event::Conflict(id) => {
            line = Line::of(8);
            line.id(*id);
        }
        Event::RecordRejected { from, error } => {
            line = Line::of(9);
            line.id(*from).beginning(error.reason().as_bytes());
        }
        Event::RoundTrip { peer, rtt } => {
            line = Line::of(10);
            line.id(*peer).number(rtt.as_nanos() as u64);
        }
        Event::ProbeFailed(id) => {
            line = Line::of(11);
            line.id(*id);
        }
        Event::LeaderChanged { scope, leader, term, previous } => {
            line = Line::of(20);
            line.number(scope.definition()).number(*term).perhaps(*leader).perhaps(*previous);
        }
        Event::JoinComplete => line = Line::of(12),
        Event::LeaveComplete { acknowledged } => {
            line = Line::of(13);
            line.number(*acknowledged as u64);
        }
        Event::Overflow(lost) => line = lost_some(14, *lost),
        Event::Broadcast { from, topic, bytes } => line = said(16, *from, *topic, bytes),
        Event::Message { from, topic, bytes } => line = said(17, *from, *topic, bytes),
        Event::Missed(lost) => line = lost_some(18, *lost),
        Event::Alarm(alarm) => {
            line = Line::of(19);
            line.put(alarm.as_str().as_bytes());
        }
    }
    line
}

impl<T: SimTable> World<T> {
    /// Adds an event to the trace, and to the roll whose verdict it is.
    pub(super) fn trace_event(&mut self, by: usize, event: &Event) {
        if matches!(event, Event::Left { reason: LeftReason::Failed, .. }) {
            let passed = self.node(by).stats().declared_dead;
            self.roll.tells_of_departure(by, passed);
        }
        let line = line(event);
        self.trace.add(self.now.as_nanos(), Kind::Event, by, &line.bytes[..line.length]);
    }
}
