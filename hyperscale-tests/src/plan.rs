//! What to simulate: every flag of `hyperscale sim`, checked, with its default.
//!
//! Invariant: a [`Plan`] says everything that a run depends on; two runs of one plan give one
//! trace hash, and [`Plan::replay`] is the command line that makes the plan again.

use std::fmt;
use std::time::Duration;

use mesh_gossip_proto::config::{Baseline, Fanout};
use mesh_gossip_proto::{Config, Detector};

pub use crate::flags::Flags;

/// More nodes than this no build was ever asked to simulate.
pub const MOST_NODES: usize = 1_000_000;
/// Virtual time between a warm start and the measured window.
pub const WARMUP: Duration = Duration::from_secs(60);
/// When the faults of a scenario begin, counted from the start of the measured window.
pub const FAULT_AT: Duration = Duration::from_secs(10);
/// From one wave of crashes to the next.
pub const WAVE_EVERY: Duration = Duration::from_secs(20);
/// A dense table in every node costs O(N²), and leaves the processor's cache from a few hundred
/// nodes on; above this size the nodes share one. The trace is the same.
pub const DENSE_UP_TO: usize = 200;
/// A member that is blocked and runs in turn does each at most a thousand times a second.
const SHORTEST_CYCLE: Duration = Duration::from_millis(1);

/// What is wrong with a command line.
#[derive(Clone, Debug, PartialEq)]
pub enum PlanError {
    /// A name that is none.
    Unknown {
        /// The flag.
        flag: &'static str,
        /// What was given.
        given: String,
        /// What there is.
        known: String,
    },
    /// A value that cannot be read.
    Unreadable {
        /// The flag.
        flag: &'static str,
        /// What was given.
        given: String,
        /// An example of what can be read.
        example: &'static str,
    },
    /// A value that can be read and cannot be.
    OutOfRange {
        /// The flag.
        flag: &'static str,
        /// What was given.
        given: String,
        /// What is allowed.
        allowed: String,
    },
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { flag, given, known } => {
                write!(f, "{flag} {given}: unknown; there is {known}")
            }
            Self::Unreadable { flag, given, example } => {
                write!(f, "{flag} {given}: cannot be read; for example {example}")
            }
            Self::OutOfRange { flag, given, allowed } => write!(f, "{flag} {given}: {allowed}"),
        }
    }
}

impl std::error::Error for PlanError {}

/// What happens to the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scenario {
    /// Nothing.
    Steady,
    /// Members are killed at one instant.
    Crash,
    /// Ten members lose 80 % of what they send, or of what is sent to them.
    Asymmetric,
    /// Ten members hear nothing for 20 s, then everything for 20 s, in turn.
    FlipFlop,
    /// Anomalous members are blocked and run in turn, as in the paper on Lifeguard.
    LifeguardInterval,
    /// Members are blocked once.
    Threshold,
    /// The mesh is cut in two and made whole again.
    Partition,
    /// A tenth of the members at a time is down for five seconds.
    RollingRestart,
    /// Regions far apart; the link between two of them is cut for a minute.
    Wan,
    /// Members die and come back all the time.
    Churn,
    /// Some members begin with views that differ from those of all others.
    AntiEntropy,
    /// The certificates of all members and their CA are exchanged within a minute, while members
    /// die and come back.
    Certificates,
    /// One member alone, which everybody else joins at one instant.
    JoinStorm,
    /// Members whose machines are exhausted hardly ever get a core.
    Exhaustion,
    /// A new version is rolled out and back, and all certificates and their CA are exchanged, across
    /// regions, under loss, with a high fan-out, while members describe themselves anew.
    Drill,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Steady,
        Self::Crash,
        Self::Asymmetric,
        Self::FlipFlop,
        Self::LifeguardInterval,
        Self::Threshold,
        Self::Partition,
        Self::RollingRestart,
        Self::Wan,
        Self::Churn,
        Self::AntiEntropy,
        Self::Certificates,
        Self::JoinStorm,
        Self::Exhaustion,
        Self::Drill,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Crash => "crash",
            Self::Asymmetric => "asymmetric",
            Self::FlipFlop => "flip-flop",
            Self::LifeguardInterval => "lifeguard-interval",
            Self::Threshold => "threshold",
            Self::Partition => "partition",
            Self::RollingRestart => "rolling-restart",
            Self::Wan => "wan",
            Self::Churn => "churn",
            Self::AntiEntropy => "anti-entropy",
            Self::Certificates => "certificates",
            Self::JoinStorm => "join-storm",
            Self::Exhaustion => "exhaustion",
            Self::Drill => "drill",
        }
    }

    fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    /// Reads a name.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let found = Self::ALL.into_iter().find(|scenario| scenario.name() == text);
        found.ok_or_else(|| PlanError::Unknown {
            flag: "--scenario",
            given: text.into(),
            known: Self::names(),
        })
    }

    /// Measured time where none is given.
    pub fn duration(self) -> Duration {
        Duration::from_secs(match self {
            Self::Steady | Self::Churn => 600,
            Self::Crash => 60,
            Self::AntiEntropy => 30,
            Self::Asymmetric | Self::FlipFlop | Self::Drill => 900,
            Self::LifeguardInterval | Self::Threshold | Self::Certificates => 120,
            Self::Partition | Self::Exhaustion => 300,
            Self::RollingRestart => 130,
            Self::Wan => 180,
            Self::JoinStorm => 40,
        })
    }
}

/// Who detects: the default and what it is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Contender {
    /// Ring observers, the default.
    Observers,
    /// SWIM with all three parts of Lifeguard.
    Lifeguard,
    /// SWIM as published.
    Swim,
    /// SWIM with Lifeguard's local health alone.
    LhaProbe,
    /// SWIM with Lifeguard's dynamic suspicion alone.
    LhaSuspicion,
    /// SWIM with Lifeguard's buddy system alone.
    Buddy,
}

impl Contender {
    /// All of them, the default first.
    pub const ALL: [Self; 6] = [
        Self::Observers,
        Self::Lifeguard,
        Self::Swim,
        Self::LhaProbe,
        Self::LhaSuspicion,
        Self::Buddy,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Observers => "observers",
            Self::Lifeguard => "lifeguard",
            Self::Swim => "swim",
            Self::LhaProbe => "lha-probe",
            Self::LhaSuspicion => "lha-suspicion",
            Self::Buddy => "buddy",
        }
    }

    /// Whether it is the default, of which something is promised.
    pub fn is_ours(self) -> bool {
        match self {
            Self::Observers => true,
            Self::Lifeguard | Self::Swim | Self::LhaProbe | Self::LhaSuspicion | Self::Buddy => {
                false
            }
        }
    }

    /// Reads a name.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let found = Self::ALL.into_iter().find(|contender| contender.name() == text);
        found.ok_or_else(|| PlanError::Unknown {
            flag: "--detector",
            given: text.into(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }

    /// Parameters of a cluster: our defaults, or memberlist's with the papers' formulas.
    fn config(self, cluster_id: &str) -> Config {
        let lan = Config::memberlist_lan(cluster_id);
        let part = |baseline| Config { detector: Detector::Lifeguard, baseline, ..lan.clone() };
        match self {
            Self::Observers => Config { detector: Detector::Observers, ..Config::new(cluster_id) },
            Self::Lifeguard => part(Baseline::paper()),
            Self::Swim => Config { detector: Detector::Swim, ..part(Baseline::plain()) },
            Self::LhaProbe => part(Baseline::probe_only()),
            Self::LhaSuspicion => part(Baseline::suspicion_only()),
            Self::Buddy => part(Baseline::buddy_only()),
        }
    }
}

/// How many members are killed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Crash {
    /// So many.
    Members(usize),
    /// Such a part of all, between 0 and 1.
    Share(f64),
}

impl Crash {
    /// Reads `10` or `25%`.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let unreadable =
            || PlanError::Unreadable { flag: "--crash", given: text.into(), example: "10 or 25%" };
        let Some(share) = text.strip_suffix('%') else {
            return text.parse().map(Self::Members).map_err(|_| unreadable());
        };
        let share: f64 = share.parse().map_err(|_| unreadable())?;
        if (0.0..100.0).contains(&share) {
            Ok(Self::Share(share / 100.0))
        } else {
            Err(PlanError::OutOfRange {
                flag: "--crash",
                given: text.into(),
                allowed: "a share is at least 0% and below 100%".into(),
            })
        }
    }

    /// Members killed of `nodes`.
    pub fn of(self, nodes: usize) -> usize {
        match self {
            Self::Members(members) => members,
            Self::Share(share) => (nodes as f64 * share).round() as usize,
        }
    }
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Members(members) => write!(f, "{members}"),
            Self::Share(share) => write!(f, "{}%", share * 100.0),
        }
    }
}

/// Which direction of an impaired member suffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// What it sends.
    Egress,
    /// What is sent to it.
    Ingress,
}

impl Variant {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Egress => "egress",
            Self::Ingress => "ingress",
        }
    }
}

/// Which member table the nodes use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// One of its own each, as in production.
    Dense,
    /// A shared base and differences.
    Shared,
    /// Dense up to [`DENSE_UP_TO`] nodes.
    Auto,
}

impl Table {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Shared => "shared",
            Self::Auto => "auto",
        }
    }
}

/// Everything that a run depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What happens.
    pub scenario: Scenario,
    /// Members.
    pub nodes: usize,
    /// What everything follows from.
    pub seed: u64,
    /// Who detects.
    pub detector: Contender,
    /// Probability that a datagram is lost.
    pub loss: f64,
    /// Members killed ten seconds into the measured window.
    pub crash: Crash,
    /// Measured time.
    pub duration: Duration,
    /// Time before that, for estimators to settle.
    pub warmup: Duration,
    /// The larger and the smaller side of a partition, in percent of all members.
    pub split: (u8, u8),
    /// How long a partition stands.
    pub partition: Duration,
    /// Direction of an asymmetric loss.
    pub variant: Variant,
    /// Member table.
    pub table: Table,
    /// Rings of the default detector.
    pub rings: u8,
    /// Time between probes; the detector's own where none is given.
    pub interval: Option<Duration>,
    /// Ceiling of the ping timeout.
    pub ping_timeout: Option<Duration>,
    /// Silence that the default detector forgives.
    pub grace: Option<Duration>,
    /// Regions, far from each other.
    pub regions: u8,
    /// Members that are impaired, blocked or slow, or whose views differ.
    pub impaired: usize,
    /// Differences of such a view to all others.
    pub differ: usize,
    /// How long an anomalous member is blocked at a time.
    pub block: Duration,
    /// How long it runs in between.
    pub run: Duration,
    /// Broadcasts that hosts say in a second, all together.
    pub words: u32,
    /// How often members are killed in a crash; between two waves the killed ones come back.
    pub waves: u32,
}

impl Plan {
    /// A plan with the defaults of its scenario.
    pub fn new(scenario: Scenario, nodes: usize) -> Self {
        let duration = scenario.duration();
        let far = matches!(scenario, Scenario::Wan | Scenario::Drill);
        let crash = usize::from(scenario == Scenario::Crash);
        Self {
            scenario,
            nodes,
            seed: 1,
            detector: Contender::Observers,
            loss: match scenario {
                Scenario::Wan => 0.01,
                Scenario::Drill => 0.05,
                _ => 0.0,
            },
            crash: Crash::Members(crash),
            duration,
            warmup: match scenario {
                Scenario::AntiEntropy | Scenario::JoinStorm => Duration::ZERO,
                _ => WARMUP,
            },
            split: (50, 50),
            partition: stands(duration),
            variant: Variant::Egress,
            table: Table::Auto,
            rings: Config::new("defaults").rings,
            interval: None,
            ping_timeout: None,
            grace: None,
            regions: if far { 8 } else { 1 },
            impaired: impaired(scenario, nodes),
            differ: if scenario == Scenario::AntiEntropy { 30 } else { 0 },
            block: if scenario == Scenario::LifeguardInterval {
                Duration::from_millis(8_192)
            } else {
                Duration::from_secs(2)
            },
            run: Duration::from_millis(256),
            words: 0,
            waves: 1,
        }
    }

    /// Until the last of so many waves has been seen through.
    pub fn lasting(waves: u32) -> Duration {
        FAULT_AT + WAVE_EVERY * waves
    }

    /// Members killed at one instant.
    pub fn crashes(&self) -> usize {
        self.crash.of(self.nodes)
    }

    /// Whether the nodes share a table.
    pub fn shares_table(&self) -> bool {
        match self.table {
            Table::Dense => false,
            Table::Shared => true,
            Table::Auto => self.nodes > DENSE_UP_TO,
        }
    }

    /// The nodes' parameters.
    pub fn config(&self, cluster_id: &str) -> Config {
        let mut config = self.detector.config(cluster_id);
        config.rings = self.rings;
        if self.scenario == Scenario::Drill {
            config.fanout = Fanout::Adaptive { coefficient: 3.0, floor: 6, ceiling: 64 };
        }
        config.interval = self.interval.unwrap_or(config.interval);
        config.ping_timeout = self.ping_timeout.unwrap_or(config.ping_timeout);
        config.grace = self.grace.unwrap_or(config.grace);
        config.suspicion_interval = config.suspicion_interval.max(config.interval * 2);
        config
    }

    /// Checks what no single flag can.
    pub fn validate(self) -> Result<Self, PlanError> {
        let refuse = |flag, given: String, allowed: String| {
            Err(PlanError::OutOfRange { flag, given, allowed })
        };
        if !(2..=MOST_NODES).contains(&self.nodes) {
            let allowed = format!("2 to {MOST_NODES} nodes");
            return refuse("--nodes", self.nodes.to_string(), allowed);
        }
        // Node 0 is everybody's seed and without fault, so that an absent seed is a question of
        // its own.
        let faulty = self.crashes() + self.impaired;
        if faulty >= self.nodes {
            let allowed = format!(
                "{} killed and {} impaired, at most {} of {} nodes can be at fault",
                self.crashes(),
                self.impaired,
                self.nodes - 1,
                self.nodes
            );
            return refuse("--crash", self.crash.to_string(), allowed);
        }
        if self.crashes() > 0 && self.duration <= FAULT_AT {
            let allowed = format!("members are killed at {FAULT_AT:?}: measure longer than that");
            return refuse("--duration", format!("{:?}", self.duration), allowed);
        }
        if self.waves > 1 && self.scenario != Scenario::Crash {
            return refuse(
                "--waves",
                self.waves.to_string(),
                "members are killed in waves in crash".into(),
            );
        }
        if self.differ + self.impaired >= self.nodes {
            let allowed = format!("fewer than the other {} members", self.nodes - self.impaired);
            return refuse("--differ", self.differ.to_string(), allowed);
        }
        let cycle = self.block + self.run;
        if self.scenario == Scenario::LifeguardInterval && cycle < SHORTEST_CYCLE {
            let allowed = format!("blocked and running for {SHORTEST_CYCLE:?} at least");
            return refuse("--block, --run", format!("{cycle:?}"), allowed);
        }
        if self.scenario == Scenario::Wan && self.regions < 2 {
            let allowed = "2 regions at least: the link between two of them is cut".into();
            return refuse("--regions", self.regions.to_string(), allowed);
        }
        let healed = FAULT_AT + self.partition;
        if self.scenario == Scenario::Partition && self.duration <= healed {
            let allowed = format!("the partition heals at {healed:?}: measure longer than that");
            return refuse("--duration", format!("{:?}", self.duration), allowed);
        }
        match self.config("checked").validate() {
            Ok(_) => Ok(self),
            Err(error) => {
                refuse("--interval, --ping-timeout, --grace", "as given".into(), error.to_string())
            }
        }
    }
}

/// How long a partition stands where nothing else is said.
pub(crate) fn stands(duration: Duration) -> Duration {
    (duration / 3).max(Duration::from_secs(120))
}

/// Members at fault, beside the killed ones, where nothing else is said.
pub(crate) fn impaired(scenario: Scenario, nodes: usize) -> usize {
    match scenario {
        Scenario::Asymmetric | Scenario::FlipFlop => 10.min(nodes.saturating_sub(1) / 4).max(1),
        Scenario::LifeguardInterval | Scenario::Exhaustion => 8.min(nodes.saturating_sub(1)),
        Scenario::Threshold => (nodes / 4).max(1),
        Scenario::AntiEntropy => 4.min(nodes / 8).max(1),
        Scenario::Steady
        | Scenario::Crash
        | Scenario::Partition
        | Scenario::RollingRestart
        | Scenario::Wan
        | Scenario::Churn
        | Scenario::Certificates
        | Scenario::Drill
        | Scenario::JoinStorm => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_counts_of_killed_members_are_read() {
        assert_eq!(Crash::parse("10"), Ok(Crash::Members(10)));
        assert_eq!(Crash::parse("25%").map(|crash| crash.of(1_000)), Ok(250));
        assert!(Crash::parse("100%").is_err() && Crash::parse("-1").is_err());
        assert!(Crash::parse("ten").is_err());
    }

    #[test]
    fn scenarios_go_by_their_names() {
        let error = Scenario::parse("weather").expect_err("refused").to_string();
        assert!(error.contains("weather") && error.contains("join-storm"), "{error}");
        for scenario in Scenario::ALL {
            assert_eq!(Scenario::parse(scenario.name()), Ok(scenario));
        }
    }

    #[test]
    fn somebody_must_be_left_to_detect() {
        let mut plan = Plan::new(Scenario::Crash, 5);
        plan.crash = Crash::Members(5);
        assert!(plan.clone().validate().is_err());
        plan.crash = Crash::Members(4);
        assert!(plan.validate().is_ok());
    }
}
