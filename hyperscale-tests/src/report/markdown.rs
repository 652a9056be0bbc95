//! The report for people: a table a row, then what failed, with its figure.

use std::fmt::Write as _;

use crate::measure::Spread;
use crate::outcome::Outcome;
use crate::report::{Entry, Report, plots};
use crate::scenario::criteria;
use crate::suite::cell::Row;
use crate::suite::judge::Comparison;

/// Columns that every table of cells has.
pub(super) const FIGURES: &str = "T_first p50 / p99 (s) | T_full p50 / p99 / p99.9 / max (s), n | \
                                  missed | false deaths (healthy) | node-h | B/node/s | handshake \
                                  B/node/s | handshakes/node/min | messages/node/s";

/// What those columns mean.
pub(super) const LEGEND: &str = "Thresholds apply to `observers`; the baselines run with the \
    formulas of their papers and memberlist's profile for local networks, and are printed beside. \
    Times count from the fault; T_full is reached when the last live member holds the faulty one \
    departed. A 99.9th percentile needs 4,000 detections, a 99th above 1,000 nodes a hundred. \
    `figure` stands where nothing was claimed, `not judged` where a claim could not be. No false \
    death in H node-hours means fewer than 3/H a node-hour at 95 %. Whether the baselines behave as \
    published is said in H3.";

/// What was run.
pub(super) const NATURE: &str = "Simulated: virtual time, the production `Node`; sizes and costs of \
                                 sessions are modelled, cryptography is not run.";

/// Writes it all.
pub(super) fn write(report: &Report) -> String {
    let mut text = String::new();
    head(report, &mut text);
    for row in Row::ALL {
        let cells: Vec<&Entry> =
            report.cells.iter().filter(|entry| entry.row == row.name()).collect();
        if cells.is_empty() {
            continue;
        }
        let _ = writeln!(text, "\n## {} {}\n", row.name(), row.title());
        let _ = writeln!(text, "Published: {}.\n", row.published());
        let _ = writeln!(
            text,
            "| cell | detector | runs | {FIGURES} | verdict |\n|{}",
            "---|".repeat(13)
        );
        for entry in cells {
            line(entry, &mut text);
        }
        for compared in report.comparisons.iter().filter(|one| one.row == row.name()) {
            comparison(compared, &mut text);
        }
    }
    failures(report, &mut text);
    curves(&mut text);
    text
}

fn head(report: &Report, text: &mut String) {
    let verdict = if report.pass { "pass" } else { "FAIL" };
    let _ = write!(
        text,
        "# Hyperscale suite, tier {}: {verdict}\n\n{NATURE}\n\n\
         - command: `{}`\n- commit: {}\n- machine: {}\n- real time: {:.0} s\n\n{LEGEND}\n",
        report.tier, report.command, report.commit, report.machine, report.wall_s,
    );
}

fn seconds(ms: Option<f64>) -> String {
    ms.map_or("–".into(), |ms| format!("{:.2}", ms / 1e3))
}

fn spread(spread: &Spread, with_tail: bool) -> String {
    if spread.n == 0 {
        return "–".into();
    }
    let mut text = format!("{} / {}", seconds(spread.p50), seconds(spread.p99));
    if with_tail {
        let tail = (seconds(spread.p999), seconds(spread.max));
        let _ = write!(text, " / {} / {}, {}", tail.0, tail.1, spread.n);
    }
    text
}

fn line(entry: &Entry, text: &mut String) {
    let _ = writeln!(
        text,
        "| {} | {} | {} | {} | {} |",
        entry.cell,
        entry.detector,
        entry.seeds.len(),
        figures(&entry.outcome),
        entry.verdict(),
    );
}

/// What the columns of [`FIGURES`] hold.
pub(super) fn figures(outcome: &Outcome) -> String {
    format!(
        "{} | {} | {} | {} ({}) | {:.1} | {:.0} | {:.1} | {:.2} | {:.2}",
        spread(&outcome.t_first_ms, false),
        spread(&outcome.t_full_ms, true),
        outcome.missed,
        outcome.false_deaths,
        outcome.false_deaths_healthy,
        outcome.node_hours,
        outcome.bytes_per_node_s,
        outcome.handshake_bytes_per_node_s,
        outcome.handshakes_per_node_min,
        outcome.messages_per_node_s,
    )
}

/// A statement about several cells, with its checks.
pub(super) fn comparison(compared: &Comparison, text: &mut String) {
    let Comparison { row, label, note, .. } = compared;
    let verdict = match (compared.counts, criteria::verdict(&compared.checks)) {
        (false, _) => "figure",
        (true, "figure") => "not judged",
        (true, verdict) => verdict,
    };
    let _ = writeln!(text, "\n**{verdict}**: {row} {label}. {note}.");
    for check in &compared.checks {
        let _ = writeln!(text, "- {check}");
    }
}

fn failures(report: &Report, text: &mut String) {
    let failed: Vec<&Entry> =
        report.cells.iter().filter(|entry| entry.counts && !entry.pass).collect();
    let _ = writeln!(text, "\n## Thresholds of `observers`\n");
    for entry in report.cells.iter().filter(|entry| entry.counts) {
        for check in &entry.checks {
            let _ = writeln!(text, "- {} {}: {}", entry.row, entry.cell, check);
        }
    }
    if failed.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n## Cells that fail\n");
    for entry in failed {
        let _ =
            writeln!(text, "- {} {}; replay: `{}`", entry.row, entry.cell, entry.outcome.replay);
        for check in entry.checks.iter().filter(|check| !check.pass) {
            let _ = writeln!(text, "  - {}", check);
        }
    }
}

pub(super) fn curves(text: &mut String) {
    text.push_str("\n## Curves\n");
    for name in plots::NAMES {
        let _ = writeln!(text, "\n![{}]({name})", name.trim_end_matches(".svg"));
    }
}
