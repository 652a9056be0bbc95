//! The suite: every row of the table of scenarios, three detectors side by side, judged.
//!
//! Invariant: what is printed as passing was measured in this very run, against the thresholds in
//! [`criteria`](crate::scenario::criteria) and [`judge`]; a cell that fails is
//! printed as failing, with its figure.

use std::fmt;
use std::path::PathBuf;
use std::time::Instant as Clock;

use clap::{Args, ValueEnum};

use crate::report::{self, Report};
use crate::suite::cell::Row;
use crate::suite::kept::Kept;

pub mod cell;
pub mod interval;
pub mod judge;
mod kept;
pub mod pool;
mod rows;
pub mod sweep;

/// How much is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Tier {
    /// Up to 1,000 nodes, two minutes on two cores.
    T0,
    /// Up to 10,000 nodes, with as many runs as the claims need.
    T1,
    /// 100,000 nodes.
    T2,
    /// 1,000,000 nodes.
    T3,
}

impl Tier {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::T0 => "t0",
            Self::T1 => "t1",
            Self::T2 => "t2",
            Self::T3 => "t3",
        }
    }

    /// All that it holds.
    pub fn cells(self) -> Vec<cell::Cell> {
        rows::cells(self)
    }
}

/// Flags of `hyperscale suite`.
#[derive(Args, Clone, Debug)]
pub struct Flags {
    /// How much is run.
    #[arg(long, value_enum, default_value = "t0")]
    tier: Tier,
    /// Only these rows: H2,H7.
    #[arg(long, value_delimiter = ',', value_parser = Row::parse)]
    only: Vec<Row>,
    /// Only cells in whose name this stands: ", 5 % loss". What compares cells sees no others.
    #[arg(long, value_name = "TEXT")]
    cells: Option<String>,
    /// Where the report goes.
    #[arg(long, default_value = "target/hyperscale")]
    pub out: PathBuf,
    /// Runs at one time.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..))]
    jobs: u8,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Take the runs that earlier calls have left in --out: those of the same plan, made by the same
    /// build.
    #[arg(long)]
    resume: bool,
}

/// Why there is no report.
#[derive(Debug)]
pub enum SuiteError {
    /// The tier has no cell that was asked for.
    NothingToRun(Tier),
    /// The report cannot be written.
    Unwritable(report::FileError),
}

impl fmt::Display for SuiteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingToRun(tier) => {
                write!(f, "--only, --cells: tier {} has no such cell", tier.name())
            }
            Self::Unwritable(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SuiteError {}

/// Runs the suite and writes its report; returns it.
pub fn run(flags: &Flags) -> Result<Report, SuiteError> {
    let started = Clock::now();
    let wanted = |row: &Row| flags.only.is_empty() || flags.only.contains(row);
    let mut cells = flags.tier.cells();
    let named = |label: &str| flags.cells.as_ref().is_none_or(|text| label.contains(text));
    cells.retain(|cell| wanted(&cell.row) && named(&cell.label));
    for cell in &mut cells {
        cell.plan.seed = flags.seed;
    }
    if cells.is_empty() {
        return Err(SuiteError::NothingToRun(flags.tier));
    }
    let kept = Kept::open(&flags.out, flags.resume)
        .map_err(|error| SuiteError::Unwritable(report::FileError::of_out(&flags.out, error)))?;
    let results = pool::run(&cells, usize::from(flags.jobs), &kept);
    let report = Report::of(flags.tier.name(), &results, started.elapsed());
    report.write(&flags.out).map_err(SuiteError::Unwritable)?;
    Ok(report)
}
