//! Reports of several runs of the suite put together: what is known of the present code.
//!
//! A tier takes hours and is run row by row, on the day that suits. Each run leaves a report; this
//! puts them side by side in one document, in which every figure names the run that it is of: its
//! command, commit and machine. What it wrote it also reads, so that a row that was run again
//! replaces its figures and leaves all others.
//!
//! Invariant: a figure stands with the run that made it, and the run named last is the one that is
//! shown of each cell, whether it passed or not.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum as _};

use super::markdown::{FIGURES, LEGEND, NATURE, comparison, curves, figures};
use super::{Entry, FileError, Report, plots, put};
use crate::suite::cell::{Cell, Row};
use crate::suite::judge::Comparison;
use crate::suite::{Tier, interval};

/// Flags of `hyperscale report`.
#[derive(Args, Clone, Debug)]
pub struct Flags {
    /// Folders with reports of `suite`, or with what this command wrote. Of a cell that several have,
    /// the last one's figures are taken.
    #[arg(long, required = true, num_args = 1.., value_name = "DIR")]
    merge: Vec<PathBuf>,
    /// Where suite.md, suite.json and plots go.
    #[arg(long, default_value = "docs/results")]
    pub out: PathBuf,
}

/// Reports of runs, each with those cells that no later run has shown again.
#[derive(Clone, Debug)]
pub struct Results {
    runs: Vec<Report>,
}

/// Puts reports together and writes them; returns them.
pub fn run(flags: &Flags) -> Result<Results, FileError> {
    let mut runs = Vec::new();
    for folder in &flags.merge {
        runs.extend(read(folder)?);
    }
    let results = Results::of(runs);
    results.write(&flags.out)?;
    Ok(results)
}

/// The reports in a folder: several together, or one.
fn read(folder: &Path) -> Result<Vec<Report>, FileError> {
    let together = folder.join("suite.json");
    let (path, several) = match together.exists() {
        true => (together, true),
        false => (folder.join("report.json"), false),
    };
    let parsed = std::fs::read(&path).and_then(|json| {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        if several {
            serde_json::from_slice(&json).map_err(invalid)
        } else {
            serde_json::from_slice(&json).map(|report| vec![report]).map_err(invalid)
        }
    });
    parsed.map_err(|error| FileError { flag: "--merge", path, error })
}

impl Results {
    /// Of reports in the order in which they were made.
    pub fn of(mut runs: Vec<Report>) -> Self {
        let (mut cells, mut compared) = (BTreeSet::new(), BTreeSet::new());
        for report in runs.iter_mut().rev() {
            let tier = report.tier.clone();
            report.cells.retain(|entry| {
                let (row, cell) = (entry.row.clone(), entry.cell.clone());
                cells.insert((tier.clone(), row, cell, entry.detector.clone()))
            });
            report
                .comparisons
                .retain(|one| compared.insert((tier.clone(), one.row.clone(), one.label.clone())));
            report.pass = report.holds();
        }
        runs.retain(|report| !report.cells.is_empty());
        Self { runs }
    }

    /// Whether all that is shown and counts holds.
    pub fn pass(&self) -> bool {
        self.runs.iter().all(|report| report.pass)
    }

    /// Runs of a tier with the numbers by which the text names them.
    fn of_tier(&self, tier: Tier) -> impl Iterator<Item = (usize, &Report)> {
        let numbered = self.runs.iter().enumerate().map(|(at, report)| (at + 1, report));
        numbered.filter(move |(_, report)| report.tier == tier.name())
    }

    /// Cells of a tier in the order of its rows, with the number of the run that each is of.
    fn cells(&self, tier: Tier) -> Vec<(usize, &Entry)> {
        let of_row = |row: Row| {
            let cells = self
                .of_tier(tier)
                .flat_map(|(run, report)| report.cells.iter().map(move |entry| (run, entry)));
            cells.filter(move |(_, entry)| entry.row == row.name())
        };
        Row::ALL.into_iter().flat_map(of_row).collect()
    }

    /// All of it as Markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "# Results of the hyperscale suite\n\n{NATURE} Written by `hyperscale report`; not by \
             hand. The number in the column \"run\" names the command, commit and machine that a \
             line is of; any cell is repeated by its replay line in suite.json.\n\n{LEGEND}\n"
        );
        for tier in Tier::value_variants() {
            if self.of_tier(*tier).next().is_some() {
                self.tier(*tier, &mut text);
            }
        }
        curves(&mut text);
        text
    }

    fn tier(&self, tier: Tier, text: &mut String) {
        let cells = self.cells(tier);
        let counted: Vec<&Entry> =
            cells.iter().map(|(_, entry)| *entry).filter(|entry| entry.counts).collect();
        let failed = counted.iter().filter(|entry| !entry.pass).count();
        let of = counted.len();
        let _ = writeln!(text, "\n## Tier {}: {failed} of {of} cells fail\n", tier.name());
        let absent = absent(tier, &cells);
        if !absent.is_empty() {
            let absent = absent.join("; ");
            let _ = writeln!(text, "Cells of this tier that were not run: {absent}.\n");
        }
        for (number, report) in self.of_tier(tier) {
            let Report { command, commit, machine, wall_s, .. } = report;
            let _ = writeln!(
                text,
                "- run {number}: `{command}`; commit {commit}; {machine}; {wall_s:.0} s"
            );
        }
        let head = "row | cell | detector | run | seeds";
        let rule = "---|".repeat(15);
        let _ = writeln!(text, "\n| {head} | {FIGURES} | verdict |\n|{rule}");
        for (run, entry) in &cells {
            let Entry { row, cell, detector, outcome, .. } = *entry;
            let (seeds, verdict) = (seeds(&entry.seeds), entry.verdict());
            let figures = figures(outcome);
            let _ = writeln!(
                text,
                "| {row} | {cell} | {detector} | {run} | {seeds} | {figures} | {verdict} |"
            );
        }
        let _ = writeln!(text, "\n### Thresholds, tier {}\n", tier.name());
        for entry in counted {
            for check in &entry.checks {
                let _ = writeln!(text, "- {} {}: {check}", entry.row, entry.cell);
            }
            if !entry.pass {
                let _ = writeln!(text, "  - replay: `{}`", entry.outcome.replay);
            }
        }
        let compared = self.of_tier(tier).flat_map(|(_, report)| &report.comparisons);
        let mut compared: Vec<_> = compared.cloned().collect();
        compared.sort_by_key(|one| Row::parse(&one.row).ok());
        beside_calibration(&mut compared);
        for one in &compared {
            comparison(one, text);
        }
    }

    /// Writes all files into `folder`, which is made if absent.
    pub fn write(&self, folder: &Path) -> Result<(), FileError> {
        // One run a line: a row that is run again changes its own lines alone.
        let runs = self.runs.iter().map(|run| serde_json::to_string(run).unwrap_or_default());
        let runs: Vec<String> = runs.collect();
        put(folder, "suite.json", format!("[\n{}\n]\n", runs.join(",\n")))?;
        put(folder, "suite.md", self.markdown())?;
        let tiers = Tier::value_variants().iter();
        let cells: Vec<&Entry> =
            tiers.flat_map(|tier| self.cells(*tier)).map(|(_, entry)| entry).collect();
        for (name, svg) in plots::all(&cells) {
            put(folder, name, svg)?;
        }
        Ok(())
    }
}

/// Cells of a tier of which no run is at hand.
fn absent(tier: Tier, shown: &[(usize, &Entry)]) -> Vec<String> {
    let is_shown = |cell: &Cell| {
        shown.iter().any(|(_, entry)| entry.row == cell.row.name() && entry.cell == cell.label)
    };
    let all = tier.cells().into_iter().filter(|cell| !is_shown(cell));
    all.map(|cell| format!("{} {}", cell.row.name(), cell.label)).collect()
}

/// What was compared with a baseline says whether the tier's own H3 found the baselines to behave as
/// published, whenever each of the two was run.
fn beside_calibration(compared: &mut [Comparison]) {
    let calibrations = compared.iter().filter(|one| interval::is_calibration(one));
    let Some(fit) = calibrations.map(|one| one.pass).reduce(|all, one| all && one) else { return };
    for one in compared.iter_mut().filter(|one| one.row != Row::H3.name()) {
        for said in [interval::NOT_RUN, interval::in_short(true), interval::in_short(false)] {
            one.note = one.note.replace(said, interval::in_short(fit));
        }
    }
}

/// `1`, `1 to 10`, or all of them where they do not count up.
fn seeds(seeds: &[u64]) -> String {
    let count_up = seeds.windows(2).all(|pair| pair[0] + 1 == pair[1]);
    match (seeds, count_up) {
        ([], _) => "–".into(),
        ([one], _) => one.to_string(),
        ([first, .., last], true) => format!("{first} to {last}"),
        (_, false) => {
            let each: Vec<String> = seeds.iter().map(u64::to_string).collect();
            each.join(", ")
        }
    }
}

#[cfg(test)]
#[path = "results/tests.rs"]
mod tests;
