//! Pings carried out for others (rule F-3).
//!
//! Invariant: a request ends exactly once, by a relayed ack or by a nack.

use alloc::collections::BTreeMap;

use crate::member::MemberId;

/// One request of another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who asked.
    pub requester: MemberId,
    /// The requester's sequence number, echoed in the answer.
    pub sequence: u32,
    /// Who is pinged.
    pub target: MemberId,
}

/// Open requests by the sequence number of our own ping.
#[derive(Clone, Debug, Default)]
pub struct Relays {
    open: BTreeMap<u32, Request>,
}

impl Relays {
    /// Remembers a request under our ping's sequence number; refuses beyond `limit`.
    pub fn begin(&mut self, ping: u32, request: Request, limit: usize) -> bool {
        if self.open.len() >= limit {
            return false;
        }
        self.open.insert(ping, request);
        true
    }

    /// The target answered our ping.
    pub fn acked(&mut self, ping: u32, from: MemberId) -> Option<Request> {
        if self.open.get(&ping)?.target != from {
            return None;
        }
        self.open.remove(&ping)
    }

    /// The target's answer is late: the requester gets a nack.
    pub fn late(&mut self, ping: u32) -> Option<Request> {
        self.open.remove(&ping)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_end_once_and_are_bounded() {
        let (a, b) = (MemberId([1; 16]), MemberId([2; 16]));
        let request = Request { requester: a, sequence: 9, target: b };
        let mut relays = Relays::default();
        assert!(relays.begin(1, request, 1));
        assert!(!relays.begin(2, request, 1));
        assert_eq!(relays.acked(1, a), None, "only the target answers");
        assert_eq!(relays.acked(1, b), Some(request));
        assert_eq!(relays.late(1), None);
    }
}
