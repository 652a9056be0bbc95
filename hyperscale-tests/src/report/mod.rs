//! Everything shown, written down: `report.json`, `report.md` and plots.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::outcome::{Outcome, rounded};
use crate::scenario::criteria::Check;
use crate::suite::cell::Shown;
use crate::suite::judge::{self, Comparison};

pub mod machine;
mod markdown;
mod plots;

/// Why a report could not be written.
#[derive(Debug)]
pub struct WriteError {
    path: PathBuf,
    error: io::Error,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--out: {}: {}", self.path.display(), self.error)
    }
}

impl std::error::Error for WriteError {}

/// One detector in one cell.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// Number of the row.
    pub row: &'static str,
    /// The cell within its row.
    pub cell: String,
    /// Who detects.
    pub detector: &'static str,
    /// Every seed.
    pub seeds: Vec<u64>,
    /// Figures against thresholds.
    pub checks: Vec<Check>,
    /// Whether all hold.
    pub pass: bool,
    /// Whether that is part of the verdict: baselines are printed beside, not judged.
    pub counts: bool,
    /// All figures.
    pub outcome: Outcome,
}

/// The report of a suite.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Command line.
    pub command: String,
    /// Commit, with a mark when files were changed.
    pub commit: String,
    /// Where it ran.
    pub machine: machine::Machine,
    /// How much was run.
    pub tier: &'static str,
    /// Real time that took.
    pub wall_s: f64,
    /// Every cell.
    pub cells: Vec<Entry>,
    /// Statements about several cells.
    pub comparisons: Vec<Comparison>,
    /// Whether everything that counts holds.
    pub pass: bool,
}

impl Report {
    /// Of what was shown.
    pub fn of(tier: &'static str, shown: &[Shown], wall: Duration) -> Self {
        let entry = |shown: &Shown| Entry {
            row: shown.cell.row.name(),
            cell: shown.cell.label.clone(),
            detector: shown.run.plan.detector.name(),
            seeds: shown.run.seeds.clone(),
            checks: shown.checks.clone(),
            pass: shown.pass,
            counts: shown.counts(),
            outcome: Outcome { checks: Vec::new(), pass: shown.pass, ..shown.run.outcome() },
        };
        let comparisons = judge::compare(shown);
        let pass = shown.iter().filter(|shown| shown.counts()).all(|shown| shown.pass)
            && comparisons.iter().filter(|one| one.counts).all(|one| one.pass);
        Self {
            command: machine::command_line(),
            commit: machine::commit(),
            machine: machine::Machine::here(),
            tier,
            wall_s: rounded(wall.as_secs_f64()),
            cells: shown.iter().map(entry).collect(),
            comparisons,
            pass,
        }
    }

    /// The report as Markdown.
    pub fn markdown(&self) -> String {
        markdown::write(self)
    }

    /// Writes all files into `folder`, which is made if absent.
    pub fn write(&self, folder: &Path, shown: &[Shown]) -> Result<(), WriteError> {
        let put = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).map_err(|error| WriteError { path, error })
        };
        std::fs::create_dir_all(folder)
            .map_err(|error| WriteError { path: folder.to_path_buf(), error })?;
        let json = serde_json::to_string_pretty(self).unwrap_or_default();
        put("report.json", json + "\n")?;
        put("report.md", self.markdown())?;
        for (name, svg) in plots::all(shown) {
            put(name, svg)?;
        }
        Ok(())
    }
}
