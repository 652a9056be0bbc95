//! What a rank writes down: one JSON object a line, in the order in which it learned of it, and a
//! histogram of how long its members took to learn of each death.
//!
//! Invariant: a journal ends with its [`End`], or its rank did not play to the end; nothing is written
//! over what another run wrote.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::{RankError, file};
use crate::measure::How;
use crate::real::counters::{Counters, Gauges};
use crate::real::process::{Memory, Threads};

/// Longest time that the histogram tells apart from longer ones, microseconds, and its precision.
const LONGEST_US: u64 = 3_600_000_000;
const DIGITS: u8 = 3;

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// Which rank this is, and what it plays.
    Begin(Begin),
    /// Its members have found all others.
    Joined(Found),
    /// The window opens.
    Opened(Opened),
    /// A member saw another one.
    Saw(Saw),
    /// Members of this rank were killed at this moment.
    Killed { at_ms: u64, nodes: Vec<usize> },
    /// One runs again.
    Restarted { at_ms: u64, node: usize },
    /// It is over.
    End(Box<End>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Begin {
    pub(super) rank: usize,
    pub(super) members: Range<usize>,
    pub(super) flags: String,
    pub(super) host: String,
    pub(super) backend: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Found {
    pub(super) started_ms: u64,
    pub(super) converged_ms: u64,
    pub(super) counters: Counters,
    pub(super) threads: Threads,
    pub(super) resident: [u64; 4],
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Opened {
    pub(super) at_ms: u64,
    /// Views of this rank that were complete.
    pub(super) complete: usize,
    pub(super) load_average: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Saw {
    pub(super) at_ms: u64,
    pub(super) by: usize,
    pub(super) of: usize,
    pub(super) how: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) at_ms: u64,
    /// Views of this rank that hold exactly the living.
    pub(super) complete: usize,
    pub(super) running: usize,
    /// What was counted in the window.
    pub(super) spent: Counters,
    pub(super) gauges: Vec<Gauges>,
    pub(super) threads: Threads,
    pub(super) memory: Memory,
    pub(super) descriptors: usize,
    pub(super) events: u64,
    pub(super) load_average: f64,
    pub(super) wall_ms: u64,
}

impl Saw {
    pub(super) fn how(&self) -> Option<How> {
        How::read(&self.how)
    }
}

/// The journal of a rank, being written.
pub(super) struct Journal {
    path: PathBuf,
    lines: BufWriter<File>,
    delays: Histogram<u64>,
}

/// Where a rank writes its journal.
pub(super) fn of_rank(directory: &Path, rank: usize) -> PathBuf {
    directory.join(format!("rank-{rank}.jsonl"))
}

fn delays() -> Histogram<u64> {
    let made = Histogram::new_with_bounds(1, LONGEST_US, DIGITS);
    made.unwrap_or_else(|error| unreachable!("bounds that hold: {error}"))
}

impl Journal {
    /// A new one.
    pub(super) fn create(directory: &Path, rank: usize) -> Result<Self, RankError> {
        file(directory, fs::create_dir_all(directory))?;
        let path = of_rank(directory, rank);
        let opened = OpenOptions::new().write(true).create_new(true).open(&path);
        let lines = BufWriter::new(file(&path, opened)?);
        Ok(Self { path, lines, delays: delays() })
    }

    pub(super) fn write(&mut self, line: &Line) -> Result<(), RankError> {
        let unwritable =
            |error: serde_json::Error| RankError::Unreadable(self.path.clone(), error.to_string());
        let text = serde_json::to_string(line).map_err(unwritable)?;
        file(&self.path, writeln!(self.lines, "{text}"))
    }

    /// A member of this rank learned of a death after so long, in microseconds.
    pub(super) fn learned_after(&mut self, us: u64) {
        self.delays.saturating_record(us.max(1));
    }

    /// Writes the histogram beside it, and all that waits.
    pub(super) fn close(mut self) -> Result<PathBuf, RankError> {
        file(&self.path, self.lines.flush())?;
        let beside = self.path.with_extension("hdr");
        file(&beside, fs::write(&beside, text_of(&self.delays)))?;
        Ok(self.path)
    }
}

/// A histogram as text: a value in microseconds and how often it occurred, a line each.
fn text_of(histogram: &Histogram<u64>) -> String {
    let mut text = format!("# microseconds and counts; 1 to {LONGEST_US}, {DIGITS} digits\n");
    for step in histogram.iter_recorded() {
        text += &format!("{} {}\n", step.value_iterated_to(), step.count_at_value());
    }
    text
}

/// Adds a histogram that was written so.
pub(super) fn add(path: &Path, to: &mut Histogram<u64>) -> Result<(), RankError> {
    let text = file(path, fs::read_to_string(path))?;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let pair = line.split_once(' ').and_then(|(value, count)| {
            Some((value.parse::<u64>().ok()?, count.parse::<u64>().ok()?))
        });
        let unreadable = || RankError::Unreadable(path.to_owned(), format!("no count: {line}"));
        let (value, count) = pair.ok_or_else(unreadable)?;
        to.saturating_record_n(value, count);
    }
    Ok(())
}

/// An empty histogram, to add others to.
pub(super) fn nobody() -> Histogram<u64> {
    delays()
}

/// All lines of a journal.
pub(super) fn read(path: &Path) -> Result<Vec<Line>, RankError> {
    let lines = BufReader::new(file(path, File::open(path))?).lines();
    let read = |(number, line): (usize, std::io::Result<String>)| {
        let line = file(path, line)?;
        serde_json::from_str(&line).map_err(|error| {
            RankError::Unreadable(path.to_owned(), format!("line {}: {error}", number + 1))
        })
    };
    lines.enumerate().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_is_read_as_it_was_written_and_never_written_over() {
        let directory =
            std::env::temp_dir().join(format!("hyperscale-journal-{}", std::process::id()));
        let mut journal = Journal::create(&directory, 2).expect("a journal");
        let lines = [
            Line::Killed { at_ms: 7, nodes: vec![3, 4] },
            Line::Saw(Saw { at_ms: 9, by: 1, of: 3, how: How::Failed.word().into() }),
        ];
        for line in &lines {
            journal.write(line).expect("written");
        }
        for us in [1_500_000, 1_500_000, 2_900_000] {
            journal.learned_after(us);
        }
        let path = journal.close().expect("closed");
        assert_eq!(read(&path).expect("read"), lines);
        assert!(Journal::create(&directory, 2).is_err(), "another run's is kept");
        let (mut once, mut twice) = (nobody(), nobody());
        add(&path.with_extension("hdr"), &mut once).expect("a histogram");
        (0..2).for_each(|_| add(&path.with_extension("hdr"), &mut twice).expect("a histogram"));
        assert_eq!((once.len(), twice.len()), (3, 6));
        assert_eq!(once.value_at_quantile(0.5), twice.value_at_quantile(0.5));
        assert!(once.value_at_quantile(0.5).abs_diff(1_500_000) <= 1_500);
        fs::remove_dir_all(&directory).expect("removed");
    }
}
