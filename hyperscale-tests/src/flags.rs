//! The flags of `hyperscale sim`, and the line that repeats a run.
//!
//! Invariant: the flags written by [`Plan::replay`], read again, give the same plan.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;

use crate::plan::{Contender, Crash, Plan, PlanError, Scenario, Table, Variant, impaired, stands};
use crate::scenario::cells;

/// What a replay line starts with.
pub const COMMAND: &str = "cargo run --release -p hyperscale-tests --bin hyperscale --";

/// Flags of `hyperscale sim`. What is not given takes the default of its scenario.
#[derive(Args, Clone, Debug)]
pub struct Flags {
    /// What happens: steady, crash, asymmetric, flip-flop, lifeguard-interval, threshold,
    /// partition, rolling-restart, wan, churn, anti-entropy, certificates, join-storm, or on sockets alone exhaustion and drill.
    #[arg(long, value_parser = Scenario::parse, default_value = "steady")]
    scenario: Scenario,
    /// Members; the first one is everybody's seed and never at fault.
    #[arg(long, default_value_t = 128)]
    nodes: usize,
    /// What everything follows from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Who detects: observers, lifeguard, swim, lha-probe, lha-suspicion or buddy.
    #[arg(long, value_parser = Contender::parse, default_value = "observers")]
    detector: Contender,
    /// Probability that a datagram is lost: 0.05 or 5%.
    #[arg(long, value_parser = probability)]
    loss: Option<f64>,
    /// Members killed at one instant, at 10 s: 10, or 25% of all.
    #[arg(long, value_parser = Crash::parse)]
    crash: Option<Crash>,
    /// Measured time after the warm-up, faults included: 300 (seconds) or 5m.
    #[arg(long, value_parser = seconds)]
    duration: Option<Duration>,
    /// Time between the warm start and the measured window.
    #[arg(long, value_parser = seconds)]
    warmup_s: Option<Duration>,
    /// Sides of a partition in percent of all members: 90/10.
    #[arg(long, value_parser = split)]
    split: Option<(u8, u8)>,
    /// How long a partition stands.
    #[arg(long, value_parser = seconds)]
    partition_s: Option<Duration>,
    /// Direction of an asymmetric loss: egress or ingress.
    #[arg(long, value_parser = variant)]
    variant: Option<Variant>,
    /// Member table: dense, shared, or auto (dense up to 200 nodes).
    #[arg(long, value_parser = table)]
    table: Option<Table>,
    /// Rings of the detector observers: 1 to 8.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=8))]
    rings: Option<u8>,
    /// Time between probes: 500ms or 1s.
    #[arg(long, value_parser = span)]
    interval: Option<Duration>,
    /// Ceiling of the ping timeout.
    #[arg(long, value_parser = span)]
    ping_timeout: Option<Duration>,
    /// Silence that the detector observers forgives.
    #[arg(long, value_parser = span)]
    grace: Option<Duration>,
    /// Regions 80 to 200 ms from each other.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=64))]
    regions: Option<u8>,
    /// Members that are impaired, blocked or slow, or whose views differ.
    #[arg(long)]
    impaired: Option<usize>,
    /// Differences between their views and all others.
    #[arg(long)]
    differ: Option<usize>,
    /// How long a member is blocked at a time.
    #[arg(long, value_parser = span)]
    block: Option<Duration>,
    /// How long a blocked member runs in between.
    #[arg(long, value_parser = span)]
    run: Option<Duration>,
    /// A named pair of --block and --run of lifeguard-interval.
    #[arg(long, value_parser = cells::parse, conflicts_with_all = ["block", "run"])]
    cell: Option<cells::Cell>,
    /// Broadcasts that hosts say in a second, all together.
    #[arg(long, value_parser = clap::value_parser!(u32).range(..=10_000))]
    words: Option<u32>,
    /// How often members are killed in the scenario crash, all in all.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    waves: Option<u32>,
    /// Print one JSON object as the last line.
    #[arg(long)]
    pub json: bool,
}

impl Flags {
    /// The plan that the flags describe.
    pub fn plan(&self) -> Result<Plan, PlanError> {
        let mut plan = Plan::new(self.scenario, self.nodes);
        plan.seed = self.seed;
        plan.detector = self.detector;
        replace(&mut plan.loss, self.loss);
        replace(&mut plan.crash, self.crash);
        replace(&mut plan.waves, self.waves);
        let waves = self.waves.filter(|waves| *waves > 1).map(Plan::lasting);
        replace(&mut plan.duration, self.duration.or(waves));
        replace(&mut plan.warmup, self.warmup_s);
        replace(&mut plan.split, self.split);
        plan.partition = self.partition_s.unwrap_or(stands(plan.duration));
        replace(&mut plan.variant, self.variant);
        replace(&mut plan.table, self.table);
        replace(&mut plan.rings, self.rings);
        plan.interval = self.interval;
        plan.ping_timeout = self.ping_timeout;
        plan.grace = self.grace;
        replace(&mut plan.regions, self.regions);
        plan.impaired = self.impaired.unwrap_or(impaired(self.scenario, self.nodes));
        replace(&mut plan.differ, self.differ);
        replace(&mut plan.block, self.block.or(self.cell.map(|cell| cell.block)));
        replace(&mut plan.run, self.run.or(self.cell.map(|cell| cell.run)));
        replace(&mut plan.words, self.words);
        plan.validate()
    }

    /// The same, if it can be played in virtual time.
    pub fn simulated(&self) -> Result<Plan, PlanError> {
        let plan = self.plan()?;
        let why = match plan.scenario {
            Scenario::Exhaustion => Some("virtual time has no cores to share"),
            Scenario::Drill => Some("it reads what agents tell those who watch them"),
            Scenario::Steady
            | Scenario::Crash
            | Scenario::Asymmetric
            | Scenario::FlipFlop
            | Scenario::LifeguardInterval
            | Scenario::Threshold
            | Scenario::Partition
            | Scenario::RollingRestart
            | Scenario::Wan
            | Scenario::Churn
            | Scenario::AntiEntropy
            | Scenario::Certificates
            | Scenario::JoinStorm => None,
        };
        if let Some(why) = why {
            let given = plan.scenario.name().into();
            let allowed = format!("on sockets alone: {why}");
            return Err(PlanError::OutOfRange { flag: "--scenario", given, allowed });
        }
        Ok(plan)
    }
}

fn replace<V>(place: &mut V, given: Option<V>) {
    if let Some(given) = given {
        *place = given;
    }
}

impl Plan {
    /// The command line that runs this plan again.
    pub fn replay(&self) -> String {
        let usual = Self::new(self.scenario, self.nodes);
        let mut line = format!(
            "{COMMAND} sim --scenario {} --nodes {} --seed {} --detector {}",
            self.scenario.name(),
            self.nodes,
            self.seed,
            self.detector.name()
        );
        let mut add = |differs: bool, flag: &str, value: String| {
            if differs {
                let _ = write!(line, " --{flag} {value}");
            }
        };
        let ms = |span: Duration| format!("{}us", span.as_micros());
        let secs = |span: Duration| span.as_secs_f64().to_string();
        add(self.loss != usual.loss, "loss", self.loss.to_string());
        add(self.crash != usual.crash, "crash", self.crash.to_string());
        add(self.duration != usual.duration, "duration", secs(self.duration));
        add(self.warmup != usual.warmup, "warmup-s", secs(self.warmup));
        add(self.split != usual.split, "split", format!("{}/{}", self.split.0, self.split.1));
        add(self.partition != stands(self.duration), "partition-s", secs(self.partition));
        add(self.variant != usual.variant, "variant", self.variant.name().into());
        add(self.table != usual.table, "table", self.table.name().into());
        add(self.rings != usual.rings, "rings", self.rings.to_string());
        add(self.interval.is_some(), "interval", ms(self.interval.unwrap_or_default()));
        add(self.ping_timeout.is_some(), "ping-timeout", ms(self.ping_timeout.unwrap_or_default()));
        add(self.grace.is_some(), "grace", ms(self.grace.unwrap_or_default()));
        add(self.regions != usual.regions, "regions", self.regions.to_string());
        add(self.impaired != usual.impaired, "impaired", self.impaired.to_string());
        add(self.differ != usual.differ, "differ", self.differ.to_string());
        add(self.block != usual.block, "block", ms(self.block));
        add(self.run != usual.run, "run", ms(self.run));
        add(self.words != usual.words, "words", self.words.to_string());
        add(self.waves != usual.waves, "waves", self.waves.to_string());
        line
    }
}

fn unreadable(flag: &'static str, given: &str, example: &'static str) -> PlanError {
    PlanError::Unreadable { flag, given: given.into(), example }
}

pub(crate) fn probability(text: &str) -> Result<f64, PlanError> {
    let (number, scale) = match text.strip_suffix('%') {
        Some(number) => (number, 100.0),
        None => (text, 1.0),
    };
    let value: f64 = number.parse().map_err(|_| unreadable("--loss", text, "0.05 or 5%"))?;
    let value = value / scale;
    if (0.0..1.0).contains(&value) {
        return Ok(value);
    }
    let allowed = "a probability is at least 0 and below 1".into();
    Err(PlanError::OutOfRange { flag: "--loss", given: text.into(), allowed })
}

/// Reads `500ms`, `2s`, `5m` or `1h`.
fn span(text: &str) -> Result<Duration, PlanError> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let seconds = match &text[digits.len()..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return Err(unreadable("a time", text, "500ms, 2s, 5m or 1h")),
    };
    let value: f64 = digits.parse().map_err(|_| unreadable("a time", text, "500ms or 2s"))?;
    // Whole microseconds, so that a time that is written can be read again.
    let micros = (value * seconds * 1e6).round();
    if !(0.0..1e13).contains(&micros) {
        let allowed = "a time is at least 0 and below 115 days".into();
        return Err(PlanError::OutOfRange { flag: "a time", given: text.into(), allowed });
    }
    Ok(Duration::from_micros(micros as u64))
}

/// The same; a bare number means seconds.
fn seconds(text: &str) -> Result<Duration, PlanError> {
    if text.ends_with(|letter: char| letter.is_ascii_alphabetic()) {
        span(text)
    } else {
        span(&format!("{text}s"))
    }
}

fn split(text: &str) -> Result<(u8, u8), PlanError> {
    let sides = text.split_once('/').and_then(|(a, b)| a.parse().ok().zip(b.parse().ok()));
    let (larger, smaller): (u8, u8) = sides.ok_or(unreadable("--split", text, "90/10"))?;
    if larger > 0 && smaller > 0 && larger.checked_add(smaller) == Some(100) {
        return Ok((larger, smaller));
    }
    let allowed = "the sides are above 0 and make 100 together".into();
    Err(PlanError::OutOfRange { flag: "--split", given: text.into(), allowed })
}

fn one_of<V: Copy>(
    flag: &'static str,
    text: &str,
    known: &[(&'static str, V)],
) -> Result<V, PlanError> {
    let found = known.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
    found.ok_or_else(|| PlanError::Unknown {
        flag,
        given: text.into(),
        known: known.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "),
    })
}

fn variant(text: &str) -> Result<Variant, PlanError> {
    let known = [Variant::Egress, Variant::Ingress].map(|variant| (variant.name(), variant));
    one_of("--variant", text, &known)
}

fn table(text: &str) -> Result<Table, PlanError> {
    let known = [Table::Dense, Table::Shared, Table::Auto].map(|table| (table.name(), table));
    one_of("--table", text, &known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }

    fn read(arguments: &str) -> Result<Plan, String> {
        let words = std::iter::once("sim").chain(arguments.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        line.flags.plan().map_err(|error| error.to_string())
    }

    #[test]
    fn a_replay_line_gives_the_same_plan() {
        for arguments in [
            "--scenario crash --nodes 1000 --crash 25% --loss 5% --seed 9",
            "--scenario partition --nodes 300 --split 90/10 --duration 400 --partition-s 30",
            "--scenario asymmetric --nodes 1000 --variant ingress --table shared --rings 1",
            "--scenario lifeguard-interval --cell coma --impaired 32 --detector swim",
            "--scenario wan --interval 500ms --ping-timeout 250ms --grace 1s --warmup-s 12.5",
            "--scenario anti-entropy --nodes 1000 --differ 100 --impaired 3",
            "--scenario join-storm --nodes 200 --loss 5%",
            "--scenario threshold --block 64s --duration 5m --loss 0.3",
            "--scenario churn --nodes 1000 --words 100",
            "--scenario crash --nodes 64 --crash 3 --waves 20",
        ] {
            let plan = read(arguments).unwrap_or_else(|error| panic!("{arguments}: {error}"));
            let replay = plan.replay();
            let again = replay.strip_prefix(COMMAND).and_then(|line| line.strip_prefix(" sim "));
            assert_eq!(read(again.unwrap_or_default()), Ok(plan), "{replay}");
        }
    }

    #[test]
    fn bad_flags_are_refused_with_what_is_allowed() {
        for (arguments, hint) in [
            ("--scenario nonsense", "rolling-restart"),
            ("--loss 1.0", "below 1"),
            ("--loss 5", "below 1"),
            ("--crash 100%", "below 100%"),
            ("--nodes 1", "2 to 1000000"),
            ("--nodes 4 --crash 4", "at most 3 of 4"),
            ("--split 50/40", "100"),
            ("--interval 5", "500ms"),
            ("--rings 9", "1..=8"),
            ("--crash 1 --duration 10", "longer"),
            ("--detector paxos", "observers"),
            ("--interval 1ms", "interval"),
            ("--scenario wan --waves 2", "in crash"),
            ("--scenario anti-entropy --nodes 100 --differ 97", "--differ"),
        ] {
            let error = read(arguments).expect_err(arguments);
            assert!(error.contains(hint), "{arguments}: {error}");
        }
    }
}
