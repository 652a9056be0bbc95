//! Whom we try to reach: the handshake under way and the payloads that wait for it.
//!
//! Invariants: at most one handshake a target; at most [`PENDING`] payloads wait, the oldest go
//! first; handshakes to one target are paced (rule S-18).

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use mesh_gossip_proto::{Destination, Duration, Instant, MemberId, Transmit};

use super::pacing::Pace;

/// Payloads that wait for a handshake.
pub(super) const PENDING: usize = 8;
/// Handshakes to one target: so many at once, then one each refill.
const BURST: u32 = 3;
const REFILL: Duration = Duration::from_secs(10);
/// Failed handshakes are forgiven at most so often.
const FORGIVES_EVERY: Duration = Duration::from_secs(60);
/// Targets remembered; beyond it those at rest are forgotten.
const REMEMBERED: usize = 4_096;

/// The most handshakes with one member that one end begins within `span`.
pub(super) fn most_handshakes_in(span: Duration) -> usize {
    BURST as usize + span.as_millis().div_ceil(REFILL.as_millis()) as usize
}

/// A member, or whoever answers at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Target {
    Member(MemberId),
    Address(SocketAddr),
}

impl Target {
    pub(super) fn of(transmit: &Transmit) -> Self {
        match transmit.to {
            Destination::Member(id) => Self::Member(id),
            Destination::Seed => Self::Address(transmit.address),
        }
    }
}

struct Outlook {
    dial: Option<u32>,
    pending: VecDeque<Vec<u8>>,
    pace: Pace,
}

impl Outlook {
    fn new() -> Self {
        Self { dial: None, pending: VecDeque::new(), pace: Pace::new(BURST, REFILL) }
    }

    fn is_at_rest(&self, now: Instant) -> bool {
        self.dial.is_none() && self.pending.is_empty() && self.pace.is_full(now)
    }
}

/// All targets.
#[derive(Default)]
pub(super) struct Targets {
    outlooks: HashMap<Target, Outlook>,
    /// When failed handshakes were forgiven last.
    forgiven: Option<Instant>,
}

impl Targets {
    /// Keeps a payload for when `target` is reached; returns how many had to go for it.
    pub(super) fn hold(&mut self, target: Target, payload: &[u8]) -> u64 {
        let outlook = self.outlooks.entry(target).or_insert_with(Outlook::new);
        // A seed gets the same hello again and again; the newest says everything.
        let most = match target {
            Target::Member(_) => PENDING,
            Target::Address(_) => 1,
        };
        let mut dropped = 0;
        while outlook.pending.len() >= most {
            outlook.pending.pop_front();
            dropped += 1;
        }
        outlook.pending.push_back(payload.to_vec());
        match target {
            Target::Member(_) => dropped,
            Target::Address(_) => 0,
        }
    }

    /// Whether a handshake with `target` may begin: none is under way and the pace allows it.
    pub(super) fn may_dial(&mut self, now: Instant, target: Target) -> bool {
        if self.outlooks.len() >= REMEMBERED {
            self.outlooks.retain(|_, outlook| !outlook.is_at_rest(now));
        }
        let outlook = self.outlooks.entry(target).or_insert_with(Outlook::new);
        outlook.dial.is_none() && outlook.pace.take(now)
    }

    /// We were cut off: whatever failed meanwhile may be tried again at once, once a minute.
    pub(super) fn forgive(&mut self, now: Instant) {
        if self.forgiven.is_some_and(|at| now.since(at) < FORGIVES_EVERY) {
            return;
        }
        self.forgiven = Some(now);
        self.outlooks.values_mut().for_each(|outlook| outlook.pace.fill());
    }

    /// Forgets whoever is at rest, and gives back the room.
    pub(super) fn tidy(&mut self, now: Instant) {
        self.outlooks.retain(|_, outlook| !outlook.is_at_rest(now));
        if self.outlooks.capacity() > 4 * self.outlooks.len() {
            self.outlooks.shrink_to(2 * self.outlooks.len());
        }
    }

    /// A handshake began under `index`.
    pub(super) fn dialling(&mut self, target: Target, index: u32) {
        let outlook = self.outlooks.entry(target).or_insert_with(Outlook::new);
        assert!(outlook.dial.is_none(), "one handshake a target");
        outlook.dial = Some(index);
    }

    /// The handshake under `index` ended, either way.
    pub(super) fn dialled(&mut self, target: Target, index: u32) {
        if let Some(outlook) = self.outlooks.get_mut(&target)
            && outlook.dial == Some(index)
        {
            outlook.dial = None;
        }
    }

    /// Whether a handshake with `target` is under way.
    pub(super) fn is_dialling(&self, target: Target) -> bool {
        self.outlooks.get(&target).is_some_and(|outlook| outlook.dial.is_some())
    }

    /// The payloads that wait for `target`.
    pub(super) fn pending_mut(&mut self, target: Target) -> Option<&mut VecDeque<Vec<u8>>> {
        self.outlooks.get_mut(&target).map(|outlook| &mut outlook.pending)
    }

    /// Takes the payloads that wait for `target`.
    pub(super) fn take(&mut self, target: Target) -> VecDeque<Vec<u8>> {
        self.pending_mut(target).map(std::mem::take).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_wait_bounded_and_the_newest_stay() {
        let mut targets = Targets::default();
        let member = Target::Member(MemberId([1; 16]));
        let dropped: u64 = (0..10).map(|n| targets.hold(member, &[n])).sum();
        assert_eq!(dropped, 2);
        assert_eq!(targets.take(member).front(), Some(&vec![2]));
        let seed = Target::Address(SocketAddr::from(([127, 0, 0, 1], 1)));
        targets.hold(seed, &[1]);
        targets.hold(seed, &[2]);
        assert_eq!(targets.take(seed), [vec![2]]);
    }

    /// Rule S-18: one handshake a target, paced.
    #[test]
    fn one_handshake_at_a_time_and_not_too_often() {
        let now = Instant::ORIGIN + Duration::from_secs(60);
        let mut targets = Targets::default();
        let target = Target::Member(MemberId([1; 16]));
        for index in 0..3 {
            assert!(targets.may_dial(now, target));
            targets.dialling(target, index);
            assert!(!targets.may_dial(now, target), "one is under way");
            targets.dialled(target, index);
        }
        assert!(!targets.may_dial(now, target), "three in a burst");
        assert!(targets.may_dial(now + REFILL, target));
    }

    /// Rule S-18: after a partition nobody waits for a bucket that was emptied in vain.
    #[test]
    fn what_failed_while_we_were_cut_off_is_forgiven_once_a_minute() {
        let now = Instant::ORIGIN + Duration::from_secs(60);
        let mut targets = Targets::default();
        let target = Target::Member(MemberId([1; 16]));
        let tries = |targets: &mut Targets, seconds| {
            let now = now + Duration::from_secs(seconds);
            (0..9).filter(|_| targets.may_dial(now, target)).count()
        };
        assert_eq!(tries(&mut targets, 0), 3);
        targets.forgive(now);
        assert_eq!(tries(&mut targets, 1), 3);
        targets.forgive(now + FORGIVES_EVERY - Duration::from_millis(1));
        let spent = tries(&mut targets, 2);
        assert_eq!(spent, 0, "once a minute");
        targets.forgive(now + FORGIVES_EVERY);
        assert_eq!(tries(&mut targets, 60), 3);
    }
}
