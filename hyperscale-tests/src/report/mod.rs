//! Everything shown, written down: `report.json`, `report.md` and plots; and [several](results)
//! reports together.
//!
//! Invariant: text and plots are made of what `report.json` holds, so that a report that was read
//! back looks as it did when it was made.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::outcome::{Outcome, rounded};
use crate::scenario::criteria::{self, Check};
use crate::suite::cell::{Row, Shown};
use crate::suite::judge::{self, Comparison};

pub mod machine;
mod markdown;
mod plots;
pub mod results;

/// Why a report could not be read or written.
#[derive(Debug)]
pub struct FileError {
    flag: &'static str,
    path: PathBuf,
    error: io::Error,
}

impl FileError {
    /// The folder of a report cannot be used.
    pub fn of_out(path: &Path, error: io::Error) -> Self {
        Self { flag: "--out", path: path.into(), error }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.flag, self.path.display(), self.error)
    }
}

impl std::error::Error for FileError {}

/// One detector in one cell.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Number of the row.
    pub row: String,
    /// The cell within its row.
    pub cell: String,
    /// Who detects.
    pub detector: String,
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
    /// Points (seconds, share) of what the row has a plot of: who knows of a crash (H2), who agrees
    /// after a heal (H11).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curve: Vec<(f64, f64)>,
}

impl Entry {
    fn of(shown: &Shown) -> Self {
        let curve = if shown.cell.row == Row::H2 {
            shown.run.found.curve.points()
        } else if shown.cell.row == Row::H11 {
            shown.run.agreement.clone()
        } else {
            Vec::new()
        };
        Self {
            row: shown.cell.row.name().into(),
            cell: shown.cell.label.clone(),
            detector: shown.run.plan.detector.name().into(),
            seeds: shown.run.seeds.clone(),
            checks: shown.checks.clone(),
            pass: shown.pass,
            counts: shown.counts(),
            outcome: Outcome { checks: Vec::new(), pass: shown.pass, ..shown.run.outcome() },
            curve: plots::thinned(&curve),
        }
    }

    /// In one word; a baseline is not judged.
    pub fn verdict(&self) -> &'static str {
        match (self.counts, self.pass) {
            (true, true) => criteria::verdict(&self.checks),
            (true, false) => "**FAIL**",
            (false, true) => "–",
            (false, false) => "(would fail)",
        }
    }
}

/// The report of a suite.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Command line.
    pub command: String,
    /// Commit, with a mark when files were changed.
    pub commit: String,
    /// Where it ran.
    pub machine: machine::Machine,
    /// How much was run.
    pub tier: String,
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
        let mut report = Self {
            command: machine::command_line(),
            commit: machine::commit(),
            machine: machine::Machine::here(),
            tier: tier.into(),
            wall_s: rounded(wall.as_secs_f64()),
            cells: shown.iter().map(Entry::of).collect(),
            comparisons: judge::compare(shown),
            pass: false,
        };
        report.pass = report.holds();
        report
    }

    fn holds(&self) -> bool {
        let mut cells = self.cells.iter().filter(|entry| entry.counts);
        let mut compared = self.comparisons.iter().filter(|one| one.counts);
        cells.all(|entry| entry.pass) && compared.all(|one| one.pass)
    }

    /// The report as Markdown.
    pub fn markdown(&self) -> String {
        markdown::write(self)
    }

    /// Writes all files into `folder`, which is made if absent.
    pub fn write(&self, folder: &Path) -> Result<(), FileError> {
        let json = serde_json::to_string_pretty(self).unwrap_or_default();
        put(folder, "report.json", json + "\n")?;
        put(folder, "report.md", self.markdown())?;
        for (name, svg) in plots::all(&self.cells.iter().collect::<Vec<_>>()) {
            put(folder, name, svg)?;
        }
        Ok(())
    }
}

/// Writes one file into a folder, which is made if absent.
fn put(folder: &Path, name: &str, text: String) -> Result<(), FileError> {
    let path = folder.join(name);
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&path, text))
        .map_err(|error| FileError::of_out(&path, error))
}
