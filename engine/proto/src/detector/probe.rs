//! Probes in flight: a direct ping, then relays, then a verdict (rule F-3).
//!
//! Invariants: a probe ends exactly once, by an ack or by its end; a nack counts once a relay.

use alloc::collections::BTreeMap;

use arrayvec::ArrayVec;

use crate::member::MemberId;
use crate::time::{Duration, Instant};

/// Most relays that one probe asks.
pub const MAX_RELAYS: usize = 16;

/// Where a probe stands. Few probes are in flight, so the larger variant costs nothing.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a handful of probes are in flight")]
enum Phase {
    Direct,
    Indirect { relays: ArrayVec<MemberId, MAX_RELAYS>, nacks: ArrayVec<MemberId, MAX_RELAYS> },
}

/// One probe.
#[derive(Clone, Debug)]
struct Probe {
    target: MemberId,
    sent: Instant,
    ends: Instant,
    phase: Phase,
}

/// What an ack was worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acked {
    /// Who was probed.
    pub target: MemberId,
    /// Ping to ack, when it came directly.
    pub rtt: Option<Duration>,
}

/// Why a probe failed: whom to blame is awareness' affair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Who did not answer.
    pub target: MemberId,
    /// Relays asked.
    pub relays: usize,
    /// Relays that sent a nack.
    pub nacks: usize,
}

/// All probes of one node, by sequence number.
#[derive(Clone, Debug, Default)]
pub struct Probes {
    in_flight: BTreeMap<u32, Probe>,
    last_sequence: u32,
}

impl Probes {
    /// Draws a sequence number; relayed pings share the space.
    pub fn sequence(&mut self) -> u32 {
        self.last_sequence = self.last_sequence.wrapping_add(1);
        self.last_sequence
    }

    /// Begins a probe of `target`; returns its sequence number.
    pub fn begin(&mut self, now: Instant, target: MemberId, ends: Instant) -> u32 {
        let sequence = self.sequence();
        self.in_flight.insert(sequence, Probe { target, sent: now, ends, phase: Phase::Direct });
        sequence
    }

    /// Whether `target` is being probed.
    pub fn is_probing(&self, target: MemberId) -> bool {
        self.in_flight.values().any(|probe| probe.target == target)
    }

    /// The direct ping is late: the target to ask relays about and the time left, unless the
    /// probe is over or was relayed already.
    pub fn late(&self, now: Instant, sequence: u32) -> Option<(MemberId, Duration)> {
        let probe = self.in_flight.get(&sequence)?;
        match probe.phase {
            Phase::Direct => Some((probe.target, probe.ends.since(now))),
            Phase::Indirect { .. } => None,
        }
    }

    /// Relays were asked.
    pub fn relayed(&mut self, sequence: u32, relays: ArrayVec<MemberId, MAX_RELAYS>) {
        if let Some(probe) = self.in_flight.get_mut(&sequence) {
            probe.phase = Phase::Indirect { relays, nacks: ArrayVec::new() };
        }
    }

    /// An ack by `from` itself.
    pub fn acked(&mut self, now: Instant, sequence: u32, from: MemberId) -> Option<Acked> {
        if self.in_flight.get(&sequence)?.target != from {
            return None;
        }
        let probe = self.in_flight.remove(&sequence)?;
        Some(Acked { target: from, rtt: Some(now.since(probe.sent)) })
    }

    /// An ack relayed by `relay`; only one that was asked counts.
    pub fn acked_by_relay(&mut self, sequence: u32, relay: MemberId) -> Option<Acked> {
        match &self.in_flight.get(&sequence)?.phase {
            Phase::Direct => return None,
            Phase::Indirect { relays, .. } if !relays.contains(&relay) => return None,
            Phase::Indirect { .. } => {}
        }
        let probe = self.in_flight.remove(&sequence)?;
        Some(Acked { target: probe.target, rtt: None })
    }

    /// `peer` proved to be alive by other means: ends its probes.
    pub fn proven(&mut self, peer: MemberId) -> Option<(u32, Acked)> {
        let sequence =
            *self.in_flight.iter().find(|(_, probe)| probe.target == peer).map(|(key, _)| key)?;
        self.in_flight.remove(&sequence);
        Some((sequence, Acked { target: peer, rtt: None }))
    }

    /// A nack by `relay`; says whether it counted.
    pub fn nacked(&mut self, sequence: u32, relay: MemberId) -> bool {
        let Some(probe) = self.in_flight.get_mut(&sequence) else { return false };
        match &mut probe.phase {
            Phase::Direct => false,
            Phase::Indirect { relays, nacks } => {
                let counts = relays.contains(&relay) && !nacks.contains(&relay);
                if counts {
                    nacks.push(relay);
                }
                counts
            }
        }
    }

    /// The probe's time is over; `None` when it was answered.
    pub fn ended(&mut self, sequence: u32) -> Option<Failed> {
        let probe = self.in_flight.remove(&sequence)?;
        let (relays, nacks) = match &probe.phase {
            Phase::Direct => (0, 0),
            Phase::Indirect { relays, nacks } => (relays.len(), nacks.len()),
        };
        Some(Failed { target: probe.target, relays, nacks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: MemberId = MemberId([1; 16]);
    const B: MemberId = MemberId([2; 16]);
    const C: MemberId = MemberId([3; 16]);

    fn at(ms: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(ms)
    }

    /// Rule F-3: direct, relayed, failed, with nacks counted once a relay.
    #[test]
    fn a_silent_target_fails_with_its_nacks_counted() {
        let mut probes = Probes::default();
        let sequence = probes.begin(at(0), A, at(1_000));
        assert!(probes.is_probing(A));
        assert_eq!(probes.late(at(400), sequence), Some((A, Duration::from_millis(600))));
        probes.relayed(sequence, [B, C].into_iter().collect());
        assert_eq!(probes.late(at(500), sequence), None, "relays are asked once");
        assert!(probes.nacked(sequence, B));
        assert!(!probes.nacked(sequence, B), "a relay counts once");
        assert!(!probes.nacked(sequence, A), "only relays count");
        assert_eq!(probes.ended(sequence), Some(Failed { target: A, relays: 2, nacks: 1 }));
        assert_eq!(probes.ended(sequence), None);
    }

    #[test]
    fn only_the_target_or_a_relay_can_ack() {
        let mut probes = Probes::default();
        let sequence = probes.begin(at(0), A, at(1_000));
        assert_eq!(probes.acked(at(3), sequence, B), None);
        assert_eq!(probes.acked_by_relay(sequence, B), None);
        let rtt = Some(Duration::from_millis(3));
        assert_eq!(probes.acked(at(3), sequence, A), Some(Acked { target: A, rtt }));
        assert_eq!(probes.ended(sequence), None, "an answered probe cannot fail");

        let sequence = probes.begin(at(0), A, at(1_000));
        probes.relayed(sequence, [B].into_iter().collect());
        assert_eq!(probes.acked_by_relay(sequence, C), None);
        assert_eq!(probes.acked_by_relay(sequence, B), Some(Acked { target: A, rtt: None }));

        probes.begin(at(0), C, at(1_000));
        assert!(matches!(probes.proven(C), Some((_, Acked { rtt: None, .. }))));
        assert!(!probes.is_probing(C));
    }
}
