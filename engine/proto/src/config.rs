//! What can be true: the validated parameters of one node. Every limit stands here with its
//! argument and with what happens when it is reached (rule B-1).

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::error::ConfigError;
use crate::time::Duration;

mod baseline;
mod promise;
mod scopes;

pub use baseline::Baseline;
pub use promise::LATE_WAKE_UP;
pub(crate) use promise::{PING_FLOOR, SOON, spacing};
pub use scopes::{Scope, ScopeError, ScopeKind};

/// Which failure detector runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Detector {
    /// Ring observers, one statistic, one quorum, one announcement.
    #[default]
    Observers,
    /// SWIM with Lifeguard's dynamic timeouts and local health.
    Lifeguard,
    /// Plain SWIM: fixed suspicion timeout, no local health.
    Swim,
}

/// How many members one gossip tick reaches (rule G-3).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fanout {
    /// Always this many.
    Fixed(usize),
    /// ⌈coefficient · ⌈log2 n⌉⌉ within floor..=ceiling.
    Adaptive {
        /// Multiplier of ⌈log2 n⌉.
        coefficient: f64,
        /// Never fewer.
        floor: usize,
        /// Never more.
        ceiling: usize,
    },
}

impl Fanout {
    /// The fan-out for `members` present members.
    pub fn at(self, members: usize) -> usize {
        match self {
            Self::Fixed(fanout) => fanout,
            Self::Adaptive { coefficient, floor, ceiling } => {
                let scaled = coefficient * f64::from(log2_ceil(members));
                // Bounded by `ceiling`, a small number; the cast only drops the fraction.
                let whole = scaled as usize;
                let rounded = if scaled > whole as f64 { whole + 1 } else { whole };
                rounded.clamp(floor, ceiling)
            }
        }
    }

    /// The same where this share of pings is lost, and the oldest news has waited for so many ticks
    /// more than it should (rule G-5). What is fixed stays so.
    pub fn raised(self, members: usize, loss: f64, late: usize) -> usize {
        let base = self.at(members);
        match self {
            Self::Fixed(_) => base,
            Self::Adaptive { coefficient: _, floor, ceiling } => {
                // One way about half of that is lost: as many more as get lost, and as much again.
                let lost = if loss > LITTLE_LOSS { base as f64 * loss } else { 0.0 };
                base.saturating_add(lost as usize).saturating_add(late).clamp(floor, ceiling)
            }
        }
    }
}

/// Loss that says nothing: one late answer in twenty.
const LITTLE_LOSS: f64 = 0.05;

/// Bounds on what peers can make a node hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Members known, departed ones included, who make room for newcomers; beyond, a further one is
    /// refused and counted.
    pub members: usize,
    /// Bytes of one metadata document; a larger one is refused and counted.
    pub metadata_bytes: usize,
    /// Updates waiting for gossip; the most often sent one makes room and is counted.
    pub queue_entries: usize,
    /// Records asked for and not yet received; further hints wait for the next gossip.
    pub pulls: usize,
    /// Indirect probes carried out for others at one time; a further one gets no nack.
    pub relays: usize,
    /// Tests of doubted members open at one time; a further one is refused and counted.
    pub tests: usize,
    /// Proofs of death kept for whoever asks; the oldest goes.
    pub proofs: usize,
    /// Broadcasts waiting to be passed on; the most often sent one makes room and is counted.
    pub broadcasts: usize,
    /// Their bytes, likewise.
    pub broadcast_bytes: usize,
    /// Events not yet taken, by the driver and again by the host; at the limit some go, counted,
    /// and an overflow is marked.
    pub events: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            members: 200_000,
            metadata_bytes: 4_096,
            queue_entries: 65_536,
            pulls: 1_024,
            relays: 256,
            tests: 256,
            proofs: 4_096,
            broadcasts: 4_096,
            broadcast_bytes: 1_048_576,
            events: 4_096,
        }
    }
}

/// Parameters of one node. Build it, then call [`Config::validate`].
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Cluster that the node belongs to; bound into ids, keys and signatures.
    pub cluster_id: String,
    /// Time between probe rounds.
    pub interval: Duration,
    /// Ceiling of the adaptive ping timeout.
    pub ping_timeout: Duration,
    /// Budget from the end of a member to its removal (rule F-6); kept from five intervals on, by
    /// `lifeguard` and `observers` up to 16 members. Beyond, [`Config::achievable`] tells.
    pub suspicion_interval: Duration,
    /// Relays asked when a direct ping is late, by the detectors `lifeguard` and `swim`.
    pub indirect_pings: usize,
    /// Members reached by one gossip tick.
    pub fanout: Fanout,
    /// λ of the transmit limit λ·⌈log10(n+1)⌉.
    pub retransmit_limit: u32,
    /// Time between gossip ticks while updates wait.
    pub gossip_interval: Duration,
    /// Most datagrams of one gossip tick.
    pub max_outbound_per_round: usize,
    /// Failure detector.
    pub detector: Detector,
    /// Parts of the detectors `lifeguard` and `swim`.
    pub baseline: Baseline,
    /// Rings on which members stand for the detector `observers`.
    pub rings: u8,
    /// Observers of a member, where so many others exist.
    pub observers: usize,
    /// A silence of so long is forgiven by the detector `observers`.
    pub grace: Duration,
    /// How long a departed member stays listed.
    pub left_retention: Duration,
    /// How long its record is kept after that, to be redialled.
    pub dead_retention: Duration,
    /// What the mesh has one leader for; every member that may lead has the same list (rule E-1).
    pub scopes: Vec<Scope>,
    /// Largest plaintext of one datagram.
    pub max_payload: usize,
    /// Bounds.
    pub limits: Limits,
}

/// Sealed datagrams carry at most this many bytes of UDP payload: below any path MTU in use.
pub const MAX_DATAGRAM: usize = 1_200;

/// Header and tag of a sealed datagram.
pub const SEAL_OVERHEAD: usize = 32;

impl Config {
    /// The defaults for a cluster.
    pub fn new(cluster_id: &str) -> Self {
        Self {
            cluster_id: cluster_id.to_string(),
            interval: Duration::from_secs(1),
            ping_timeout: Duration::from_secs(2),
            suspicion_interval: Duration::from_secs(5),
            indirect_pings: 3,
            fanout: Fanout::Adaptive { coefficient: 1.5, floor: 3, ceiling: 32 },
            retransmit_limit: 4,
            gossip_interval: Duration::from_millis(200),
            max_outbound_per_round: 20,
            detector: Detector::default(),
            baseline: Baseline::default(),
            rings: 8,
            observers: 8,
            grace: Duration::from_millis(2_050),
            left_retention: Duration::from_secs(600),
            dead_retention: Duration::from_secs(24 * 3_600),
            scopes: Vec::new(),
            max_payload: MAX_DATAGRAM - SEAL_OVERHEAD,
            limits: Limits::default(),
        }
    }

    /// Checks every bound; the first one broken is named by its key.
    pub fn validate(self) -> Result<Self, ConfigError> {
        let cluster = &self.cluster_id;
        if cluster.is_empty() || cluster.len() > 128 {
            return Err(bad(
                "clusterId",
                format!("has {} bytes; 1 to 128 are allowed", cluster.len()),
            ));
        }
        within("interval", self.interval, Duration::from_millis(10), Duration::from_secs(3_600))?;
        within(
            "pingTimeout",
            self.ping_timeout,
            Duration::from_millis(10),
            Duration::from_secs(60),
        )?;
        let least = self.interval * 2;
        if self.suspicion_interval < least {
            return Err(bad(
                "suspicionInterval",
                format!("{:?} is below two intervals ({least:?})", self.suspicion_interval),
            ));
        }
        counted("indirectPings", self.indirect_pings, 0, 16)?;
        match self.fanout {
            Fanout::Fixed(fanout) => counted("fanout", fanout, 1, 64)?,
            Fanout::Adaptive { coefficient, floor, ceiling } => {
                counted("fanoutFloor", floor, 1, 64)?;
                counted("fanoutCeiling", ceiling, 1, 64)?;
                if floor > ceiling {
                    return Err(bad(
                        "fanoutFloor",
                        format!("{floor} is above fanoutCeiling ({ceiling})"),
                    ));
                }
                if !(coefficient > 0.0 && coefficient <= 16.0) {
                    return Err(bad(
                        "fanoutCoefficient",
                        format!("{coefficient} is not above 0 and at most 16"),
                    ));
                }
            }
        }
        within("grace", self.grace, Duration::from_millis(100), Duration::from_secs(60))?;
        counted("rings", self.rings.into(), 1, 8)?;
        counted("observers", self.observers, 1, 8)?;
        counted("retransmitLimit", self.retransmit_limit as usize, 1, 32)?;
        counted("maxOutboundPerRound", self.max_outbound_per_round, 1, 1_024)?;
        scopes::check(&self.scopes)?;
        counted("maxPayload", self.max_payload, 512, MAX_DATAGRAM - SEAL_OVERHEAD)?;
        within(
            "gossipInterval",
            self.gossip_interval,
            Duration::from_millis(10),
            Duration::from_secs(60),
        )?;
        Ok(self)
    }
}

/// ⌈log10(n + 1)⌉ without floating point: the number of decimal digits of n.
pub fn log10_ceil(n: usize) -> u32 {
    n.checked_ilog10().map_or(0, |digits| digits + 1)
}

/// ⌈log2 n⌉, 0 for n ≤ 1.
pub fn log2_ceil(n: usize) -> u32 {
    n.max(1).next_power_of_two().trailing_zeros()
}

fn bad(key: &'static str, message: String) -> ConfigError {
    ConfigError { key, message }
}

fn within(
    key: &'static str,
    value: Duration,
    low: Duration,
    high: Duration,
) -> Result<(), ConfigError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(bad(key, format!("{value:?} is outside {low:?} to {high:?}")))
}

fn counted(key: &'static str, value: usize, low: usize, high: usize) -> Result<(), ConfigError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(bad(key, format!("{value} is outside {low} to {high}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_round_up() {
        // ⌈log10(n+1)⌉: 9 members need one digit's worth, 10 need two (log10 11 > 1).
        for (n, expected) in [(0, 0), (1, 1), (9, 1), (10, 2), (99, 2), (100, 3)] {
            assert_eq!(log10_ceil(n), expected, "n = {n}");
        }
        for (n, expected) in [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (1_024, 10)] {
            assert_eq!(log2_ceil(n), expected, "n = {n}");
        }
    }

    /// Rule G-3.
    #[test]
    fn adaptive_fanout_stays_between_floor_and_ceiling() {
        let fanout = Fanout::Adaptive { coefficient: 1.5, floor: 3, ceiling: 8 };
        assert_eq!(fanout.at(1), 3);
        assert_eq!(fanout.at(16), 6);
        assert_eq!(fanout.at(17), 8, "⌈1.5 · 5⌉");
        assert_eq!(fanout.at(1_000_000), 8);
        assert_eq!(Fanout::Fixed(5).at(1_000), 5);
    }

    /// Rule G-5: measured loss and late news raise the fan-out, up to the ceiling.
    #[test]
    fn loss_and_late_news_raise_the_fanout() {
        let fanout = Fanout::Adaptive { coefficient: 1.5, floor: 3, ceiling: 32 };
        let raised = |loss, late| fanout.raised(1_000, loss, late);
        assert_eq!(fanout.at(1_000), 15);
        assert_eq!([raised(0.0, 0), raised(0.02, 0), raised(0.05, 0)], [15; 3], "little loss");
        assert_eq!([raised(0.2, 0), raised(0.5, 0), raised(0.9, 0)], [18, 22, 28]);
        assert_eq!([raised(0.0, 1), raised(0.2, 4), raised(0.5, 400)], [16, 22, 32]);
        assert_eq!(raised(0.5, usize::MAX), 32);
        assert_eq!(Fanout::Fixed(4).raised(1_000, 0.5, 9), 4, "what is fixed stays");
    }

    /// Rule B-1.
    #[test]
    fn broken_bounds_are_named_by_key() {
        let base = || Config::new("c");
        let cases = [
            (Config { cluster_id: String::new(), ..base() }, "clusterId"),
            (Config { interval: Duration::ZERO, ..base() }, "interval"),
            (Config { suspicion_interval: Duration::from_secs(1), ..base() }, "suspicionInterval"),
            (Config { fanout: Fanout::Fixed(0), ..base() }, "fanout"),
            (Config { grace: Duration::from_millis(99), ..base() }, "grace"),
            (Config { grace: Duration::from_secs(61), ..base() }, "grace"),
            (Config { rings: 9, ..base() }, "rings"),
            (Config { observers: 0, ..base() }, "observers"),
            (Config { observers: 9, ..base() }, "observers"),
            (Config { retransmit_limit: 0, ..base() }, "retransmitLimit"),
            (Config { max_payload: 60_000, ..base() }, "maxPayload"),
            (Config { gossip_interval: Duration::ZERO, ..base() }, "gossipInterval"),
        ];
        for (config, key) in cases {
            assert_eq!(config.validate().map_err(|error| error.key), Err(key));
        }
        assert!(base().validate().is_ok());
    }
}
