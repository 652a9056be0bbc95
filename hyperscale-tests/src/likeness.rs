//! Whether the simulator tells the truth: the same crashes in virtual time and on sockets (row H18).
//!
//! Members are killed in waves, a few at a time, again and again. How long it takes until the first
//! of the others knows is a distribution; two of them are alike when their Kolmogorov–Smirnov distance
//! is small. Load is a mean, and is compared as a ratio.
//!
//! Invariant: both sides play the plan of one seed with one configuration. Nothing here can be
//! adjusted: the simulator's figures are made before the first socket is opened.

use std::fmt;
use std::thread;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::measure::Spread;
use crate::outcome::{Run, rounded};
use crate::plan::{Crash, Plan, PlanError, Scenario};
use crate::progress::Progress;
use crate::real::{self, Ground, RealError, Sockets};
use crate::scenario;

/// Crashes of a cell on sockets, at least.
const CRASHES: usize = 400;
/// Share of the members that are killed at once, at most.
const AT_ONCE: f64 = 0.05;
/// As many times more crashes are simulated, so that chance is mostly that of the sockets.
const SIMULATED: u64 = 10;
/// What may lie between the distributions of the first verdict ...
const MOST_APART: f64 = 0.10;
/// ... and between the loads, as a share of the simulated one.
const MOST_LOAD: f64 = 0.10;
/// Two samples of one distribution lie farther apart than this, over the root of their harmonic
/// size, in one case of twenty (Smirnov 1948).
const BY_CHANCE: f64 = 1.358;

/// Flags of `hyperscale likeness`.
#[derive(Args, Clone, Debug)]
pub struct Flags {
    /// Members, a cell each.
    #[arg(long, value_delimiter = ',', default_values_t = [64, 128, 200])]
    nodes: Vec<usize>,
    /// Probabilities that a datagram is lost, a cell each.
    #[arg(long, value_delimiter = ',', default_values_t = [0.0, 0.1])]
    loss: Vec<f64>,
    /// Crashes of a cell on sockets.
    #[arg(long, default_value_t = CRASHES)]
    crashes: usize,
    /// Meshes on sockets that share the crashes of a cell at one time.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    meshes: u8,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What the sockets stand on.
    #[command(flatten)]
    sockets: Sockets,
    /// Print one JSON object as the last line.
    #[arg(long)]
    pub json: bool,
}

/// Why there is nothing to compare.
#[derive(Debug)]
pub enum LikenessError {
    /// The flags contradict each other.
    Plan(PlanError),
    /// The sockets could not play.
    Real(RealError),
    /// A mesh ended by a panic, which was reported by its own thread.
    Ended,
}

impl fmt::Display for LikenessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan(error) => error.fmt(f),
            Self::Real(error) => error.fmt(f),
            Self::Ended => f.write_str("a mesh ended before its time"),
        }
    }
}

impl std::error::Error for LikenessError {}

impl From<PlanError> for LikenessError {
    fn from(error: PlanError) -> Self {
        Self::Plan(error)
    }
}

impl From<RealError> for LikenessError {
    fn from(error: RealError) -> Self {
        Self::Real(error)
    }
}

/// One side of a cell.
#[derive(Clone, Debug, Serialize)]
pub struct Side {
    /// Crashes that somebody noticed.
    pub crashes: usize,
    /// Milliseconds until the first member knew, median and 99th percentile,
    pub t_first_p50: Option<f64>,
    /// likewise,
    pub t_first_p99: Option<f64>,
    /// and until the last one did, the median.
    pub t_full_p50: Option<f64>,
    /// Bytes a node and second.
    pub bytes_per_node_s: f64,
    /// Handshake bytes a node and second, which stand beside it.
    pub handshake_bytes_per_node_s: f64,
    /// Deaths of members without fault.
    pub false_deaths: u64,
}

impl Side {
    fn of(run: &Run) -> Self {
        let (first, full) = (Spread::of_ms(&run.found.first), Spread::of_ms(&run.found.full));
        Self {
            crashes: run.found.first.len(),
            t_first_p50: first.p50.map(rounded),
            t_first_p99: first.p99.map(rounded),
            t_full_p50: full.p50.map(rounded),
            bytes_per_node_s: rounded(run.per_node_s(run.load.bytes)),
            handshake_bytes_per_node_s: rounded(run.per_node_s(run.load.handshake_bytes)),
            false_deaths: run.found.false_deaths,
        }
    }
}

/// One number of members at one loss, on both sides.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// Members.
    pub nodes: usize,
    /// Probability that a datagram is lost.
    pub loss: f64,
    /// In virtual time.
    pub simulated: Side,
    /// On sockets.
    pub sockets: Side,
    /// Greatest distance between the two distributions of the first verdict.
    pub ks_distance: f64,
    /// What samples of these sizes from one distribution exceed once in twenty times.
    pub ks_by_chance: f64,
    /// Load on sockets over the simulated one.
    pub load_ratio: f64,
    /// Whether both are within their limits, and there were crashes enough.
    pub pass: bool,
}

impl Cell {
    fn of(plan: &Plan, wanted: usize, simulated: &Run, sockets: &Run) -> Self {
        let (a, b) = (samples(simulated), samples(sockets));
        let ks_distance = distance(&a, &b);
        let (simulated, sockets) = (Side::of(simulated), Side::of(sockets));
        let load_ratio = sockets.bytes_per_node_s / simulated.bytes_per_node_s;
        let pass = sockets.crashes >= wanted
            && ks_distance <= MOST_APART
            && (load_ratio - 1.0).abs() <= MOST_LOAD;
        let by_chance = BY_CHANCE * (1.0 / a.len() as f64 + 1.0 / b.len() as f64).sqrt();
        Self {
            nodes: plan.nodes,
            loss: plan.loss,
            simulated,
            sockets,
            ks_distance: rounded(ks_distance),
            ks_by_chance: rounded(by_chance),
            load_ratio: rounded(load_ratio),
            pass,
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |value: Option<f64>| value.map_or("none".into(), |value| format!("{value:.0} ms"));
        let Self { simulated, sockets, .. } = self;
        write!(
            f,
            "{} nodes, loss {}: first verdict {} simulated (n = {}), {} on sockets (n = {}); \
             KS distance {:.3} (limit {MOST_APART}; by chance {:.3}); load {:.0} and {:.0} B/s a node, \
             ratio {:.3} (limit 1 ± {MOST_LOAD}); {}",
            self.nodes,
            self.loss,
            ms(simulated.t_first_p50),
            simulated.crashes,
            ms(sockets.t_first_p50),
            sockets.crashes,
            self.ks_distance,
            self.ks_by_chance,
            simulated.bytes_per_node_s,
            sockets.bytes_per_node_s,
            self.load_ratio,
            if self.pass { "pass" } else { "FAIL" }
        )
    }
}

/// Every cell.
#[derive(Clone, Debug, Serialize)]
pub struct Likeness {
    /// In the order of the flags.
    pub cells: Vec<Cell>,
    /// Whether every cell passes.
    pub pass: bool,
}

/// Plays every cell on both sides.
///
/// # Errors
/// [`LikenessError`] says why there is nothing to compare.
pub fn run(flags: &Flags, mut tell: impl FnMut(&Cell)) -> Result<Likeness, LikenessError> {
    let mut plans = Vec::new();
    for loss in &flags.loss {
        for nodes in &flags.nodes {
            plans.push(plan(flags, *nodes, *loss)?);
        }
    }
    // Every prediction is made before the first measurement.
    let predicted: Vec<Run> = plans.iter().map(|plan| simulated(flags, plan)).collect();
    let mut cells = Vec::new();
    for (plan, simulated) in plans.iter().zip(&predicted) {
        let measured = on_sockets(flags, plan)?;
        let cell = Cell::of(plan, flags.crashes, simulated, &measured);
        tell(&cell);
        cells.push(cell);
    }
    let pass = cells.iter().all(|cell| cell.pass);
    Ok(Likeness { cells, pass })
}

/// What one mesh of a cell plays.
fn plan(flags: &Flags, nodes: usize, loss: f64) -> Result<Plan, PlanError> {
    let mut plan = Plan::new(Scenario::Crash, nodes);
    let at_once = ((nodes as f64 * AT_ONCE) as usize).max(1);
    let share = flags.crashes.div_ceil(usize::from(flags.meshes));
    let waves = u32::try_from(share.div_ceil(at_once)).unwrap_or(u32::MAX).max(2);
    (plan.crash, plan.waves, plan.loss) = (Crash::Members(at_once), waves, loss);
    (plan.duration, plan.seed) = (Plan::lasting(waves), flags.seed);
    plan.validate()
}

fn seeded(plan: &Plan, number: u64) -> Plan {
    Plan { seed: plan.seed + number, ..plan.clone() }
}

fn simulated(flags: &Flags, plan: &Plan) -> Run {
    let mut all = scenario::run(plan, &Progress::silent());
    for number in 1..SIMULATED * u64::from(flags.meshes) {
        all.merge(scenario::run(&seeded(plan, number), &Progress::silent()));
    }
    all
}

/// Meshes know nothing of each other; each has threads of its own.
fn on_sockets(flags: &Flags, plan: &Plan) -> Result<Run, LikenessError> {
    let runs: Vec<_> = thread::scope(|scope| {
        let play = |number| {
            let plan = seeded(plan, number);
            scope.spawn(move || real::run(&plan, &Ground::of(flags.sockets), &Progress::silent()))
        };
        let meshes: Vec<_> = (0..u64::from(flags.meshes)).map(play).collect();
        meshes.into_iter().map(|mesh| mesh.join()).collect()
    });
    let mut all: Option<Run> = None;
    for run in runs {
        let run = run.map_err(|_| LikenessError::Ended)??.run;
        match &mut all {
            Some(all) => all.merge(run),
            None => all = Some(run),
        }
    }
    all.ok_or(LikenessError::Ended)
}

fn samples(run: &Run) -> Vec<Duration> {
    let mut first = run.found.first.clone();
    first.sort_unstable();
    first
}

/// The Kolmogorov–Smirnov distance of two ordered samples: the most by which their shares of what is
/// no greater than a value differ, over all values.
fn distance(a: &[Duration], b: &[Duration]) -> f64 {
    let share = |sample: &[Duration], value: &Duration| {
        sample.partition_point(|one| one <= value) as f64 / sample.len().max(1) as f64
    };
    let apart = |value: &Duration| (share(a, value) - share(b, value)).abs();
    a.iter().chain(b).map(apart).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(values: impl IntoIterator<Item = u64>) -> Vec<Duration> {
        values.into_iter().map(Duration::from_millis).collect()
    }

    #[test]
    fn the_distance_is_that_of_the_distributions() {
        let whole = sample(0..100);
        assert_eq!(distance(&whole, &whole), 0.0);
        assert_eq!(distance(&whole, &sample(200..300)), 1.0);
        assert!((distance(&whole, &sample(25..125)) - 0.25).abs() < 1e-9);
        assert!((distance(&whole, &sample((0..50).map(|n| n * 2))) - 0.01).abs() < 0.011);
        assert_eq!(distance(&sample([5, 5, 5]), &sample([5])), 0.0, "ties are one step");
    }

    /// A cell has the crashes that it needs, never too many at once, whatever the number of meshes.
    #[test]
    fn a_cell_has_its_crashes() {
        for (nodes, meshes) in [(64, 4), (128, 3), (200, 1), (12, 7)] {
            let flags = Flags {
                nodes: vec![nodes],
                loss: vec![0.0],
                crashes: CRASHES,
                meshes,
                seed: 1,
                sockets: Sockets { io: real::Io::Auto, shards: None },
                json: false,
            };
            let plan = plan(&flags, nodes, 0.0).expect("playable");
            let crashes = plan.crashes() * plan.waves as usize * usize::from(meshes);
            assert!((CRASHES..CRASHES * 2).contains(&crashes), "{nodes}: {crashes}");
            assert!(plan.crashes() == 1 || plan.crashes() as f64 <= AT_ONCE * nodes as f64);
            assert_eq!(plan.duration, Plan::lasting(plan.waves));
        }
    }

    /// The simulator is like itself, and unlike itself with another configuration: the comparison can
    /// fail.
    #[test]
    fn another_configuration_is_told_apart() {
        let mut plan = Plan::new(Scenario::Crash, 24);
        (plan.crash, plan.waves) = (Crash::Members(1), 40);
        plan.duration = Plan::lasting(plan.waves);
        let usual = scenario::run(&plan, &Progress::silent());
        let again = scenario::run(&seeded(&plan, 1), &Progress::silent());
        let fast = Plan { interval: Some(Duration::from_millis(500)), ..seeded(&plan, 2) };
        let fast = scenario::run(&fast, &Progress::silent());
        let alike = Cell::of(&plan, 40, &usual, &again);
        let unlike = Cell::of(&plan, 40, &usual, &fast);
        assert_eq!((alike.sockets.crashes, alike.simulated.crashes), (40, 40));
        assert!(alike.ks_distance < alike.ks_by_chance, "{alike}");
        assert!(unlike.ks_distance > unlike.ks_by_chance && !unlike.pass, "{unlike}");
    }
}
