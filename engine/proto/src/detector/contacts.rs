//! When we last heard from whom, and how long its answers take (rule F-2).
//!
//! Invariant: an entry exists only for members that we have exchanged a datagram with.

use core::num::NonZeroU32;

use crate::config::PING_FLOOR;
use crate::member::MemberId;
use crate::near::{Entry, Near};
use crate::time::{Duration, Instant};

/// What our own exchanges with one member showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contact {
    /// Last authenticated datagram from it.
    pub last: Instant,
    /// Smoothed round-trip time and its variation (RFC 6298), once measured: the former is not 0.
    smoothed: Ticks,
    variation: Ticks,
}

/// A duration in steps of 100 ns, up to seven minutes: a node keeps two for everybody it talks to.
/// One more than their number, so that an entry knows without a word more whether its place is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks(NonZeroU32);

impl Ticks {
    const NANOS: u32 = 100;
    const NONE: Self = Self(NonZeroU32::MIN);
    const ONE: Self = Self(NonZeroU32::MIN.saturating_add(1));

    fn of(duration: Duration) -> Self {
        let ticks = u32::try_from(duration.as_nanos() / u128::from(Self::NANOS));
        Self(NonZeroU32::MIN.saturating_add(ticks.unwrap_or(u32::MAX)))
    }

    fn duration(self) -> Duration {
        Duration::from_nanos(u64::from(self.0.get() - 1) * u64::from(Self::NANOS))
    }
}

impl Contact {
    /// A first datagram from it came.
    pub fn new(now: Instant) -> Self {
        Self { last: now, smoothed: Ticks::NONE, variation: Ticks::NONE }
    }

    /// Smoothed round-trip time and its variation, to 100 ns, once measured.
    pub fn rtt(&self) -> Option<(Duration, Duration)> {
        (self.smoothed != Ticks::NONE)
            .then(|| (self.smoothed.duration(), self.variation.duration()))
    }

    /// A ping was answered after `sample`.
    pub fn measured(&mut self, sample: Duration) {
        let (smoothed, variation) = match self.rtt() {
            None => (sample, sample / 2),
            Some((smoothed, variation)) => {
                let error = smoothed.abs_diff(sample);
                (smoothed * 7 / 8 + sample / 8, variation * 3 / 4 + error / 4)
            }
        };
        self.smoothed = Ticks(Ticks::of(smoothed).0.max(Ticks::ONE.0));
        self.variation = Ticks::of(variation);
    }

    /// How long a ping to it may take: srtt + 4·rttvar within 100 ms and `ceiling`; `None` where
    /// nothing was measured.
    pub fn ping_timeout(&self, ceiling: Duration) -> Option<Duration> {
        let (smoothed, variation) = self.rtt()?;
        Some((smoothed + variation * 4).max(PING_FLOOR).min(ceiling))
    }
}

/// A contact and whose it is: two to a cache line.
#[derive(Clone, Copy, Debug)]
struct Held(Option<(MemberId, Contact)>);

const _: () = assert!(size_of::<Held>() == 32);

impl Entry for Held {
    type Key = MemberId;
    const FREE: Self = Self(None);

    fn key(&self) -> Option<MemberId> {
        self.0.map(|(id, _)| id)
    }

    /// The id is a hash already.
    fn spread(id: MemberId) -> usize {
        id.prefix() as usize
    }
}

/// Contacts by member.
#[derive(Clone, Debug, Default)]
pub struct Contacts {
    by_id: Near<Held>,
}

impl Contacts {
    /// A datagram of `peer` arrived.
    pub fn heard(&mut self, now: Instant, peer: MemberId) {
        match self.find(peer) {
            Some(contact) => contact.last = contact.last.max(now),
            None => self.by_id.insert(Held(Some((peer, Contact::new(now))))),
        }
    }

    fn find(&mut self, peer: MemberId) -> Option<&mut Contact> {
        self.by_id.get_mut(peer)?.0.as_mut().map(|(_, contact)| contact)
    }

    /// An ack of `peer` took `sample`.
    pub fn measured(&mut self, peer: MemberId, sample: Duration) {
        if let Some(contact) = self.find(peer) {
            contact.measured(sample);
        }
    }

    /// What is known of `peer`.
    pub fn of(&self, peer: MemberId) -> Option<Contact> {
        self.by_id.get(peer)?.0.map(|(_, contact)| contact)
    }

    /// Where what is known of `peer` stands in memory.
    pub fn place(&self, peer: MemberId) -> *const u8 {
        self.by_id.place(peer)
    }

    /// Every contact, in no meaningful order.
    pub fn iter(&self) -> impl Iterator<Item = (MemberId, Contact)> {
        self.by_id.iter().filter_map(|held| held.0)
    }

    /// Forgets `peer`.
    pub fn forget(&mut self, peer: MemberId) {
        self.by_id.remove(peer);
    }

    /// Forgets whoever `stays` does not hold for.
    pub fn retain(&mut self, mut stays: impl FnMut(MemberId, &Contact) -> bool) {
        self.by_id.retain(|held| held.0.is_some_and(|(id, contact)| stays(id, &contact)));
    }

    /// How long a ping to `peer` may take; one never measured gets the ceiling, because its first
    /// answer contains a handshake.
    pub fn ping_timeout(&self, peer: MemberId, ceiling: Duration) -> Duration {
        self.of(peer).and_then(|contact| contact.ping_timeout(ceiling)).unwrap_or(ceiling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: MemberId = MemberId([1; 16]);

    /// Rule F-2.
    #[test]
    fn the_timeout_follows_the_round_trip_between_floor_and_ceiling() {
        let ceiling = Duration::from_secs(2);
        let mut contacts = Contacts::default();
        assert_eq!(contacts.ping_timeout(PEER, ceiling), ceiling, "cold");
        contacts.heard(Instant::from_nanos(1), PEER);
        contacts.measured(PEER, Duration::from_millis(80));
        assert_eq!(contacts.ping_timeout(PEER, ceiling), Duration::from_millis(240));
        for _ in 0..60 {
            contacts.measured(PEER, Duration::from_millis(1));
        }
        assert_eq!(contacts.ping_timeout(PEER, ceiling), PING_FLOOR);
        contacts.measured(PEER, Duration::from_secs(60));
        assert_eq!(contacts.ping_timeout(PEER, ceiling), ceiling);
    }

    #[test]
    fn a_contact_never_moves_back() {
        let mut contacts = Contacts::default();
        contacts.heard(Instant::from_nanos(9), PEER);
        contacts.heard(Instant::from_nanos(5), PEER);
        assert_eq!(contacts.of(PEER).unwrap().last, Instant::from_nanos(9));
    }
}
