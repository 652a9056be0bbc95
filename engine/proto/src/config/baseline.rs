//! Which parts of Lifeguard run, and whether what this project adds to it runs as well (rule F-9).
//!
//! A baseline that was quietly improved flatters nobody: with [`Baseline::paper`] the detectors
//! `lifeguard` and `swim` are those of the papers and of hashicorp/memberlist, formula by formula,
//! and every part of Lifeguard can be switched off alone.
//!
//! Invariant: the formulas of rule F-5 do not depend on these switches, except by leaving a part
//! out; `promise` alone replaces them, and only in small clusters.

use super::{Config, Detector, Fanout};
use crate::time::Duration;

/// Parts of the detectors `lifeguard` and `swim`.
///
/// With [`Detector::Swim`] the parts `health`, `dynamic` and `buddy` are off, whatever stands
/// here. With [`Detector::Observers`] nothing of this is used.
///
/// What `promise` adds (rules F-1 and F-6): up to 16 members, several probes an interval in an
/// order that is kept between rounds, and a deadline that counts from the last contact.
///
/// What `extras` adds to the papers and memberlist:
/// - an update is sent at least 8 times (rule G-1); without it λ·⌈log10(n+1)⌉ times;
/// - a ping may take srtt + 4·rttvar (rule F-2); without it `pingTimeout`;
/// - with few updates queued a new one leaves within 20 ms, and a backlog sends several datagrams
///   a target (rule G-3); without it one datagram a target, on a tick of random phase;
/// - NOTICE to the departed (rule H-1), the redial of the dead (H-2) and of absent seeds after the
///   join (J-2); without it the dead are gossiped to for 30 s, as memberlist does;
/// - the returned bury nobody (rule H-3);
/// - a stall of our own is forgiven (rule F-8);
/// - an accused member sends its new record straight to whoever passed the claim on (rule F-7),
///   and a suspect is warned the moment we begin to doubt it; without it a refutation travels by
///   gossip, and a suspect is warned with its next ping only (if `buddy` is on);
/// - suspects may serve as relays (rule F-3); without it only members held alive do;
/// - a full exchange follows a lasting difference of digests (rule A-2); without it there is one
///   with a random member every 30 s, more rarely above 32 members (memberlist's push-pull).
///
/// What remains this project's even in [`Baseline::paper`], because it lies below the detector:
/// - all of it runs over authenticated sessions, and what concerns a member (alive, refutation,
///   leave) is its signed record: gossip carries the record's hash, the record is pulled
///   (rule R-5), which adds a round trip to a refutation; a claim above the newest signed
///   incarnation has no effect (rule M-4);
/// - an accuser must be a member held present, and an ack or nack of a relay that was not asked
///   does not count;
/// - a suspicion in a full exchange counts as the sender's; memberlist counts it as one's own;
/// - any authenticated datagram of a stranger leads to a pull of its record;
/// - a direct ping takes at most half of its probe, so that relays have a chance; with the
///   profile [`Config::memberlist_lan`] that is exactly `pingTimeout`;
/// - the score of local health ends at 8 (the paper's S), memberlist's at 7; the ping timeout is
///   stretched with the interval (the paper), memberlist stretches the interval alone; a relay
///   sends its nack after 4/5 of the time left (the paper), memberlist after a full `pingTimeout`;
/// - memberlist rounds log10 n and timeouts down to thousandths, this code does not;
/// - there is no ping over TCP: memberlist's fallback finds members whose datagrams alone are lost;
/// - datagrams hold 1,168 bytes of messages, memberlist's 1,400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Baseline {
    /// LHA-Probe: local health stretches interval and timeout; relays send nacks (rule F-4).
    pub health: bool,
    /// LHA-Suspicion: independent accusers shorten a suspicion that starts long (rule F-5).
    pub dynamic: bool,
    /// The buddy system: a suspect that is pinged learns of it in the same datagram (rule F-7).
    pub buddy: bool,
    /// The budget of small clusters (rules F-1 and F-6).
    pub promise: bool,
    /// Everything else that this project adds.
    pub extras: bool,
}

impl Default for Baseline {
    fn default() -> Self {
        Self { health: true, dynamic: true, buddy: true, promise: true, extras: true }
    }
}

impl Baseline {
    /// Lifeguard as in its paper, SWIM with [`Detector::Swim`]: nothing of ours.
    pub const fn paper() -> Self {
        Self { health: true, dynamic: true, buddy: true, promise: false, extras: false }
    }

    /// No part of Lifeguard: SWIM under the name `lifeguard`.
    pub const fn plain() -> Self {
        Self { health: false, dynamic: false, buddy: false, promise: false, extras: false }
    }

    /// SWIM and local health alone.
    pub const fn probe_only() -> Self {
        Self { health: true, ..Self::plain() }
    }

    /// SWIM and dynamic suspicion alone.
    pub const fn suspicion_only() -> Self {
        Self { dynamic: true, ..Self::plain() }
    }

    /// SWIM and the buddy system alone.
    pub const fn buddy_only() -> Self {
        Self { buddy: true, ..Self::plain() }
    }
}

impl Config {
    /// memberlist's profile for local networks (`DefaultLANConfig`), with [`Baseline::paper`]:
    /// probe every second, 500 ms for a direct ping, three relays, gossip every 200 ms to three
    /// members, suspicion multiplier 4 and at most six times that, retransmit multiplier 4.
    pub fn memberlist_lan(cluster_id: &str) -> Self {
        Self {
            interval: Duration::from_secs(1),
            ping_timeout: Duration::from_millis(500),
            indirect_pings: 3,
            fanout: Fanout::Fixed(3),
            retransmit_limit: 4,
            gossip_interval: Duration::from_millis(200),
            detector: Detector::Lifeguard,
            baseline: Baseline::paper(),
            ..Self::new(cluster_id)
        }
    }

    /// The parts that run under the configured detector.
    pub fn parts(&self) -> Baseline {
        let all = self.baseline;
        match self.detector {
            Detector::Lifeguard => all,
            Detector::Swim => Baseline { health: false, dynamic: false, buddy: false, ..all },
            Detector::Observers => Baseline { extras: true, ..Baseline::plain() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rules F-4 and F-5: plain SWIM has no part of Lifeguard, each ablation exactly one.
    #[test]
    fn swim_has_no_part_of_lifeguard_and_an_ablation_one() {
        let config = Config::memberlist_lan("c").validate().unwrap();
        assert_eq!(config.parts(), Baseline::paper());
        let swim = Config { detector: Detector::Swim, ..config };
        assert_eq!(swim.parts(), Baseline::plain());
        for one in [Baseline::probe_only(), Baseline::suspicion_only(), Baseline::buddy_only()] {
            let parts = [one.health, one.dynamic, one.buddy, one.promise, one.extras];
            assert_eq!(parts.iter().filter(|part| **part).count(), 1);
        }
    }
}
