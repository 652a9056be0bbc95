//! Which revocation lists are in force here, and who is to hear of it (rule S-16).
//!
//! The lists themselves are long letters that travel by stream; what gossips is their number: a
//! notice on the door that a newer one can be had inside. Whoever has an older one asks at that
//! door; whoever shows an older number is told ours.
//!
//! Invariants: only what is in force here is announced, so that a made-up number goes no further
//! than its maker's own word; the number of lists is bounded, and so is what one peer can make us
//! say or ask.

use alloc::vec::Vec;

use crate::member::MemberId;
use crate::membership::table::IdMap;
use crate::time::{Duration, Instant};
use crate::wire::message::{ListNotice, Packet};

/// Most lists that are announced: a mesh has as many as it has CAs, which is a handful.
pub const MOST_LISTS: usize = 64;

/// One peer makes us ask, or answer, once in so long.
const PAUSE: Duration = Duration::from_secs(1);

/// Peers remembered; beyond it those whose pause is over are forgotten.
const PEERS: usize = 1_024;

/// Sends that an old notice gets now and then: whoever missed it, or was cut off, learns of it
/// from a neighbour.
const REMINDERS: u32 = 3;

#[derive(Clone, Copy, Debug)]
struct Held {
    notice: ListNotice,
    sends: u32,
}

/// What a notice of a peer calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing.
    Nothing,
    /// It has a list that we have not: ask it.
    Ask,
    /// It has an older one: tell it this.
    Tell(ListNotice),
}

/// The lists in force.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    held: Vec<Held>,
    peers: IdMap<Instant>,
}

impl Lists {
    /// These are in force, all of them; says whether any is news.
    pub fn hold(&mut self, notices: &[ListNotice]) -> bool {
        let mut news = false;
        let mut held = Vec::with_capacity(notices.len().min(MOST_LISTS));
        for notice in notices.iter().take(MOST_LISTS) {
            let known = self.held.iter().find(|held| held.notice == *notice).copied();
            news |= known.is_none();
            held.push(known.unwrap_or(Held { notice: *notice, sends: 0 }));
        }
        self.held = held;
        news
    }

    /// Whether none is in force.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether a notice has been sent fewer than `limit` times.
    pub fn is_waiting(&self, limit: u32) -> bool {
        self.held.iter().any(|held| held.sends < limit)
    }

    /// Puts the least sent notice into a datagram; says whether it did.
    pub fn fill(&mut self, packet: &mut Packet, room: usize, limit: u32) -> bool {
        let waiting = self.held.iter_mut().filter(|held| held.sends < limit);
        let Some(next) = waiting.min_by_key(|held| held.sends) else { return false };
        let fits = packet.push(room, &next.notice);
        next.sends += u32::from(fits);
        fits
    }

    /// A few more sends for every notice.
    pub fn remind(&mut self, limit: u32) {
        for held in &mut self.held {
            held.sends = held.sends.min(limit.saturating_sub(REMINDERS));
        }
    }

    /// `from` says which list is in force there.
    pub fn heard(&mut self, now: Instant, from: MemberId, notice: &ListNotice) -> Heard {
        let ours = self.held.iter().find(|held| held.notice.issuer == notice.issuer);
        let call = match ours.map(|held| held.notice) {
            Some(ours) if ours.number > notice.number => Heard::Tell(ours),
            // One number on two lists is the CA's mistake: the first one stays.
            Some(ours) if ours.number == notice.number => Heard::Nothing,
            Some(_) | None => Heard::Ask,
        };
        if call == Heard::Nothing || !self.may(now, from) { Heard::Nothing } else { call }
    }

    fn may(&mut self, now: Instant, peer: MemberId) -> bool {
        let rests = |since: &Instant| now.since(*since) < PAUSE;
        if self.peers.get(&peer).is_some_and(rests) {
            return false;
        }
        if self.peers.len() >= PEERS {
            self.peers.retain(|_, since| rests(since));
        }
        let room = self.peers.len() < PEERS;
        if room {
            self.peers.insert(peer, now);
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::{Message, Messages};
    use zerocopy::byteorder::little_endian::U64;

    const LIMIT: u32 = 8;

    fn notice(issuer: u8, number: u8) -> ListNotice {
        let mut wide = [0; 20];
        wide[19] = number;
        ListNotice { issuer: [issuer; 16], number: wide, hash: U64::new(u64::from(number)) }
    }

    fn at(ms: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(10_000 + ms)
    }

    fn peer(number: u8) -> MemberId {
        MemberId([number; 16])
    }

    fn sent(lists: &mut Lists) -> Vec<(u8, u8)> {
        let mut packet = Packet::default();
        lists.fill(&mut packet, 1_168, LIMIT);
        let read = Messages::new(packet.as_bytes()).map(|message| match message {
            Ok(Message::ListNotice(notice)) => (notice.issuer[0], notice.number[19]),
            other => panic!("{other:?}"),
        });
        read.collect()
    }

    /// Rule S-16: a list that is news is announced a bounded number of times, then now and then.
    #[test]
    fn news_is_announced_so_often_and_reminded_of() {
        let mut lists = Lists::default();
        assert!(!lists.hold(&[]) && !lists.is_waiting(LIMIT));
        assert!(lists.hold(&[notice(1, 7), notice(2, 3)]));
        let told: Vec<_> = (0..16).flat_map(|_| sent(&mut lists)).collect();
        assert_eq!(told.iter().filter(|of| **of == (1, 7)).count(), 8);
        assert_eq!(told.iter().filter(|of| **of == (2, 3)).count(), 8);
        assert!(!lists.is_waiting(LIMIT) && sent(&mut lists).is_empty());
        assert!(!lists.hold(&[notice(1, 7), notice(2, 3)]), "no news");
        assert!(!lists.is_waiting(LIMIT));
        assert!(lists.hold(&[notice(1, 8), notice(2, 3)]));
        assert_eq!(sent(&mut lists), [(1, 8)]);
        for _ in 0..20 {
            sent(&mut lists);
        }
        lists.remind(LIMIT);
        let told: Vec<_> = (0..16).flat_map(|_| sent(&mut lists)).collect();
        assert_eq!(told.len(), 2 * REMINDERS as usize);
    }

    /// Rule S-16: a higher number is asked for, a lower one is answered, and one peer cannot make
    /// us do either more than once a second.
    #[test]
    fn numbers_are_compared_and_a_peer_is_heard_once_a_second() {
        let mut lists = Lists::default();
        lists.hold(&[notice(1, 7)]);
        assert_eq!(lists.heard(at(0), peer(1), &notice(1, 7)), Heard::Nothing);
        assert_eq!(lists.heard(at(0), peer(1), &notice(1, 8)), Heard::Ask);
        assert_eq!(lists.heard(at(1), peer(1), &notice(1, 9)), Heard::Nothing);
        assert_eq!(lists.heard(at(1), peer(2), &notice(9, 1)), Heard::Ask, "an issuer of its own");
        assert_eq!(lists.heard(at(2), peer(3), &notice(1, 6)), Heard::Tell(notice(1, 7)));
        assert_eq!(lists.heard(at(1_000), peer(1), &notice(1, 9)), Heard::Ask);
        let mut longer = notice(1, 0);
        longer.number[0] = 1;
        assert_eq!(lists.heard(at(9_000), peer(1), &longer), Heard::Ask);
    }

    #[test]
    fn a_crowd_is_remembered_within_bounds() {
        let mut lists = Lists::default();
        let of = |number: u32| {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&number.to_le_bytes());
            MemberId(id)
        };
        for number in 0..5_000 {
            lists.heard(at(0), of(number), &notice(1, 1));
        }
        assert_eq!(lists.peers.len(), PEERS);
        assert_eq!(lists.heard(at(0), of(9_999), &notice(1, 1)), Heard::Nothing);
        assert_eq!(lists.heard(at(1_000), of(9_999), &notice(1, 1)), Heard::Ask);
        let many: Vec<_> = (0..=255).map(|issuer| notice(issuer, 1)).collect();
        lists.hold(&many);
        assert_eq!(lists.held.len(), MOST_LISTS);
    }
}
