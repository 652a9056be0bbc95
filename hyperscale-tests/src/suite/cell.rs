//! A cell: one plan, run under several seeds by several detectors.

use crate::measure::Spread;
use crate::outcome::Run;
use crate::plan::{Contender, Plan, PlanError};
use crate::scenario::criteria::Check;

/// A row of the table of scenarios.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Row {
    /// No faults.
    H1,
    /// Crashes.
    H2,
    /// Crashes, fast profile.
    H2b,
    /// The interval experiment of the paper on Lifeguard.
    H3,
    /// One block.
    H4,
    /// Symmetric loss.
    H6,
    /// Asymmetric loss.
    H7,
    /// Batches of events at a concurrent cut.
    H8,
    /// Mass crash.
    H9,
    /// Join storm.
    H10,
    /// Partition and heal.
    H11,
    /// Rolling restart.
    H12,
    /// Regions.
    H13,
    /// Certificates and their CA change.
    H14,
    /// Views that differ.
    H15,
    /// The simulator itself.
    H17,
    /// Churn.
    H19,
    /// Broadcasts of hosts under churn.
    Words,
}

impl Row {
    /// All that this build runs.
    pub const ALL: [Self; 18] = [
        Self::H1,
        Self::H2,
        Self::H2b,
        Self::H3,
        Self::H4,
        Self::H6,
        Self::H7,
        Self::H8,
        Self::H9,
        Self::H10,
        Self::H11,
        Self::H12,
        Self::H13,
        Self::H14,
        Self::H15,
        Self::H17,
        Self::H19,
        Self::Words,
    ];

    /// Its number.
    pub fn name(self) -> &'static str {
        match self {
            Self::H1 => "H1",
            Self::H2 => "H2",
            Self::H2b => "H2b",
            Self::H3 => "H3",
            Self::H4 => "H4",
            Self::H6 => "H6",
            Self::H7 => "H7",
            Self::H8 => "H8",
            Self::H9 => "H9",
            Self::H10 => "H10",
            Self::H11 => "H11",
            Self::H12 => "H12",
            Self::H13 => "H13",
            Self::H14 => "H14",
            Self::H15 => "H15",
            Self::H17 => "H17",
            Self::H19 => "H19",
            Self::Words => "words",
        }
    }

    /// What it is about.
    pub fn title(self) -> &'static str {
        match self {
            Self::H1 => "steady",
            Self::H2 => "crash",
            Self::H2b => "crash, fast profile (500 ms, 250 ms, grace 1 s)",
            Self::H3 => "the interval experiment of the paper on Lifeguard",
            Self::H4 => "threshold: one block",
            Self::H6 => "symmetric loss",
            Self::H7 => "asymmetric loss",
            Self::H8 => "concurrent cut: batches of events",
            Self::H9 => "mass crash",
            Self::H10 => "join storm: one seed, then everybody at one instant",
            Self::H11 => "partition and heal",
            Self::H12 => "rolling restart",
            Self::H13 => "WAN: 8 regions, one link cut for 60 s",
            Self::H14 => "certificates: leaves and CA within 60 s, 5 % a minute die and come back",
            Self::H15 => "anti-entropy: views that differ",
            Self::H17 => "the simulator",
            Self::H19 => "churn: 1 % a minute die and come back",
            Self::Words => "broadcasts of hosts: 100 a second, 1 % a minute die and come back",
        }
    }

    /// What others have published, read in their text (F) or off their figures (Ff).
    pub fn published(self) -> &'static str {
        match self {
            Self::H1 => "SWIM 2.0 messages a period (F); memberlist .54/.64 KB/s mean at 1k (F)",
            Self::H2 => {
                "Rapid reacts about 10 s after memberlist (F); memberlist's own formula: 8 to 48 s \
                 of suspicion at 100"
            }
            Self::H3 => {
                "FP / FP- of SWIM 339,002 / 1,326; in % of that LHA-Probe 67.72 / 32.88, \
                 LHA-Suspicion 3.00 / 6.71, Buddy 94.08 / 44.57, Lifeguard 1.53 / 1.89, with \
                 110.59 % of the messages and 97.97 % of the bytes (F)"
            }
            Self::H6 => "SWIM's group collapses at 10 % (F)",
            Self::H7 => "Rapid removes exactly the 10; memberlist oscillates, never all (F)",
            Self::H8 => "Rapid: 1 view change (F)",
            Self::H9 => "Rapid up to 25 % (F); HyParView 90 % reliable at 95 % (F)",
            Self::H10 => {
                "bootstrap at 1k / 1.5k / 2k: Rapid about 30 / 40 / 53 s, memberlist about 45 / 70 / \
                 95 s (Ff); sizes seen on the way 4/8/4 against 901/1383/1858 (F)"
            }
            Self::H11 => "memberlist never heals a long one (memberlist#222)",
            Self::H15 => "memberlist ships about 0.9 / 9 MB each way at 10k / 100k",
            Self::H13 => "Serf needs a WAN profile of 5 s / 3 s (F)",
            Self::Words => "memberlist: gossip of members starves broadcasts (memberlist#299)",
            Self::H2b | Self::H4 | Self::H12 | Self::H14 | Self::H17 | Self::H19 => "nothing",
        }
    }

    /// Reads a number, in either case.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let found = Self::ALL.into_iter().find(|row| row.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| PlanError::Unknown {
            flag: "--only",
            given: text.into(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}

/// By what a cell is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Yardstick {
    /// The thresholds of its scenario.
    Scenario,
    /// Batches of events.
    Batches,
    /// Nothing by itself: rows compare their cells.
    Row,
    /// Repeatability and speed.
    Simulator,
}

/// One plan, several seeds, several detectors.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Its row.
    pub row: Row,
    /// What sets it apart within its row.
    pub label: String,
    /// What is run; seeds count up from its seed.
    pub plan: Plan,
    /// By how many seeds others of its kind precede it.
    pub first: usize,
    /// Who runs it, and how often.
    pub contenders: Vec<(Contender, usize)>,
    /// Warm-up and measured time of a baseline, where they differ from ours.
    pub baseline: Option<(std::time::Duration, std::time::Duration)>,
    /// By what it is judged.
    pub yardstick: Yardstick,
    /// Not beside others, so that real time and memory mean something.
    pub alone: bool,
}

impl Cell {
    /// The plan of one run.
    pub fn plan_of(&self, contender: Contender, number: usize) -> Plan {
        let mut plan = self.plan.clone();
        plan.detector = contender;
        if self.yardstick != Yardstick::Simulator {
            plan.seed += (self.first + number) as u64;
        }
        if !contender.is_ours()
            && let Some((warmup, duration)) = self.baseline
        {
            (plan.warmup, plan.duration) = (warmup, duration);
        }
        plan
    }
}

/// What one detector showed in one cell.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The cell.
    pub cell: Cell,
    /// All its runs together.
    pub run: Run,
    /// Its figures against their thresholds.
    pub checks: Vec<Check>,
    /// Whether all hold; for a baseline this says what it does, and is no part of the verdict.
    pub pass: bool,
    /// Whether a run was repeated and gave the same hash; none where none was.
    pub repeated: Option<bool>,
}

impl Shown {
    /// Percentiles of the time until the last live member knew.
    pub fn full(&self) -> Spread {
        Spread::of_ms(&self.run.found.full)
    }

    /// Whether it counts for the verdict.
    pub fn counts(&self) -> bool {
        self.run.plan.detector.is_ours()
    }
}
