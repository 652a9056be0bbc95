//! When we last heard from whom, and how long its answers take (rule F-2).
//!
//! Invariant: an entry exists only for members that we have exchanged a datagram with.

use crate::config::PING_FLOOR;
use crate::member::MemberId;
use crate::membership::table::IdMap;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks(u32);

impl Ticks {
    const NANOS: u32 = 100;

    fn of(duration: Duration) -> Self {
        Self(u32::try_from(duration.as_nanos() / u128::from(Self::NANOS)).unwrap_or(u32::MAX))
    }

    fn duration(self) -> Duration {
        Duration::from_nanos(u64::from(self.0) * u64::from(Self::NANOS))
    }
}

impl Contact {
    /// A first datagram from it came.
    pub fn new(now: Instant) -> Self {
        Self { last: now, smoothed: Ticks(0), variation: Ticks(0) }
    }

    /// Smoothed round-trip time and its variation, to 100 ns, once measured.
    pub fn rtt(&self) -> Option<(Duration, Duration)> {
        (self.smoothed.0 > 0).then(|| (self.smoothed.duration(), self.variation.duration()))
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
        self.smoothed = Ticks(Ticks::of(smoothed).0.max(1));
        self.variation = Ticks::of(variation);
    }

    /// How long a ping to it may take: srtt + 4·rttvar within 100 ms and `ceiling`; `None` where
    /// nothing was measured.
    pub fn ping_timeout(&self, ceiling: Duration) -> Option<Duration> {
        let (smoothed, variation) = self.rtt()?;
        Some((smoothed + variation * 4).max(PING_FLOOR).min(ceiling))
    }
}

/// Contacts by member.
#[derive(Clone, Debug, Default)]
pub struct Contacts {
    by_id: IdMap<Contact>,
}

impl Contacts {
    /// A datagram of `peer` arrived.
    pub fn heard(&mut self, now: Instant, peer: MemberId) {
        self.by_id
            .entry(peer)
            .and_modify(|contact| contact.last = contact.last.max(now))
            .or_insert(Contact::new(now));
    }

    /// An ack of `peer` took `sample`.
    pub fn measured(&mut self, peer: MemberId, sample: Duration) {
        if let Some(contact) = self.by_id.get_mut(&peer) {
            contact.measured(sample);
        }
    }

    /// What is known of `peer`.
    pub fn of(&self, peer: MemberId) -> Option<Contact> {
        self.by_id.get(&peer).copied()
    }

    /// Every contact, in no meaningful order.
    pub fn iter(&self) -> impl Iterator<Item = (MemberId, Contact)> {
        self.by_id.iter().map(|(id, contact)| (*id, *contact))
    }

    /// Forgets `peer`.
    pub fn forget(&mut self, peer: MemberId) {
        self.by_id.remove(&peer);
    }

    /// Forgets whoever `stays` does not hold for.
    pub fn retain(&mut self, mut stays: impl FnMut(MemberId, &Contact) -> bool) {
        self.by_id.retain(|id, contact| stays(*id, contact));
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
