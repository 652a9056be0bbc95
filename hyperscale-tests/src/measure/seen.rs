//! What of an event the measure looks at: who was seen how. Everything else that an event says does
//! not matter to it, so that a line of text is enough to carry it elsewhere.

use mesh_gossip_proto::{Event, LeftReason, MemberId};

/// How a member was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Alive, for the first time.
    Joined,
    /// Alive again: it had been held departed,
    Returned,
    /// or was merely doubted.
    Cleared,
    /// In doubt.
    Suspected,
    /// Dead.
    Failed,
    /// Departed for another reason.
    Left,
    /// Out of reach, as the last one there is.
    Unreachable,
}

/// One member's look at another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Whom it saw,
    pub subject: MemberId,
    /// and how.
    pub how: How,
}

impl How {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Joined,
        Self::Returned,
        Self::Cleared,
        Self::Suspected,
        Self::Failed,
        Self::Left,
        Self::Unreachable,
    ];

    /// A stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Returned => "returned",
            Self::Cleared => "cleared",
            Self::Suspected => "suspected",
            Self::Failed => "failed",
            Self::Left => "left",
            Self::Unreachable => "unreachable",
        }
    }

    /// Reads that word.
    pub fn read(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|how| how.word() == word)
    }
}

impl Seen {
    /// What an event says to the measure; nothing, most of the time.
    pub fn of(event: &Event) -> Option<Self> {
        let (record, how) = match event {
            Event::Joined(record) => (record, How::Joined),
            Event::Recovered { record, previous } if previous.is_present() => {
                (record, How::Cleared)
            }
            Event::Recovered { record, .. } => (record, How::Returned),
            Event::Suspected { record, .. } => (record, How::Suspected),
            Event::Left { record, reason: LeftReason::Failed } => (record, How::Failed),
            Event::Left { record, reason: LeftReason::Left | LeftReason::Revoked } => {
                (record, How::Left)
            }
            Event::Unreachable(record) => (record, How::Unreachable),
            Event::Updated(_)
            | Event::Forgotten(_)
            | Event::Refuted(_)
            | Event::Conflict(_)
            | Event::LeaderChanged { .. }
            | Event::Alarm(_)
            | Event::RecordRejected { .. }
            | Event::RoundTrip { .. }
            | Event::ProbeFailed(_)
            | Event::JoinComplete
            | Event::LeaveComplete { .. }
            | Event::Broadcast { .. }
            | Event::Message { .. }
            | Event::Missed(_)
            | Event::Overflow(_) => return None,
        };
        Some(Self { subject: record.record().id, how })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_has_a_word_of_its_own() {
        for how in How::ALL {
            assert_eq!(How::read(how.word()), Some(how));
        }
        assert_eq!(How::read("seen"), None);
    }
}
