//! The table of what users of other projects complain of: each row has tests, and each reference of
//! a row is named by the comment above one of them.
//!
//! A row is `| number | pain | references | tests |`. References are words with a `#` between a project
//! and a number; tests are names in backticks. A row that has none says `planned:` and with what.

use std::collections::BTreeMap;

use crate::lexer::{Line, first_test_line, is_word};

/// One row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    number: u32,
    references: Vec<String>,
    tests: Vec<String>,
    planned: bool,
}

/// Reads the rows of a document; other tables have no number in front.
pub(crate) fn rows(document: &str) -> Vec<Row> {
    document.lines().filter_map(row).collect()
}

fn row(line: &str) -> Option<Row> {
    let cells: Vec<&str> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
    let [number, _, references, tests, ..] = cells.as_slice() else { return None };
    let named = tests.split('`').skip(1).step_by(2).map(str::to_owned);
    Some(Row {
        number: number.parse().ok()?,
        references: self::references(references).map(str::to_owned).collect(),
        tests: named.collect(),
        planned: tests.starts_with("planned:"),
    })
}

/// Words such as `memberlist#222` or `grafana/agent#4466`.
fn references(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !(is_word(c) || "#/-".contains(c)));
    words.filter(|word| {
        word.split_once('#')
            .is_some_and(|(project, number)| !project.is_empty() && number.parse::<u32>().is_ok())
    })
}

/// What stands above each test, by the test's name.
#[derive(Debug, Default)]
pub(crate) struct Tests(BTreeMap<String, Vec<String>>);

impl Tests {
    /// Adds the tests of one file; `is_test` says that all of it is one.
    pub(crate) fn add(&mut self, lines: &[Line], is_test: bool) {
        let first = if is_test { 0 } else { first_test_line(lines) };
        for (at, line) in lines.iter().enumerate().skip(first) {
            let Some(name) = function(&line.code) else { continue };
            let above = lines[first..at].iter().rev();
            let above = above.take_while(|line| {
                let code = line.code.trim();
                let blank = code.is_empty() && line.comment.is_empty();
                !blank && (code.is_empty() || code.starts_with("#["))
            });
            let comment: Vec<&str> = above.map(|line| line.comment.as_str()).collect();
            let named = comment.iter().flat_map(|comment| references(comment));
            self.0.entry(name).or_default().extend(named.map(str::to_owned));
        }
    }
}

fn function(code: &str) -> Option<String> {
    let name = code.trim_start().strip_prefix("fn ")?;
    let end = name.find(|c: char| !is_word(c))?;
    (end > 0).then(|| name[..end].to_owned())
}

/// What does not match; empty when all is well.
pub(crate) fn mismatches(rows: &[Row], tests: &Tests) -> Vec<String> {
    let mut wrong = Vec::new();
    for row in rows {
        let number = row.number;
        if row.planned {
            continue;
        }
        if row.tests.is_empty() {
            wrong.push(format!("row {number} has no test"));
        }
        for test in row.tests.iter().filter(|test| !tests.0.contains_key(*test)) {
            wrong.push(format!("row {number}: there is no test `{test}`"));
        }
        for reference in &row.references {
            let naming = |test: &String| tests.0.get(test).is_some_and(|n| n.contains(reference));
            if !row.tests.iter().any(naming) {
                wrong.push(format!("row {number}: none of its tests names {reference}"));
            }
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexer;

    const TABLE: &str = "\
| # | pain | reference | tests |
|---|---|---|---|
| 1 | no heal | memberlist#222, grafana/agent#7 | `it_heals`, `it_stays` |
| 2 | later | serf#1 | planned: with joins |
";

    fn found(source: &str) -> Vec<String> {
        let mut tests = Tests::default();
        tests.add(&lexer::lines(source), true);
        mismatches(&rows(TABLE), &tests)
    }

    #[test]
    fn every_reference_has_to_be_named_above_a_test_of_its_row() {
        let good = "/// Rule H-2, memberlist#222:\n/// it heals.\n#[test]\nfn it_heals() {}\n\n\
                    // grafana/agent#7.\n    fn it_stays(io) {}\n";
        assert_eq!(found(good), [""; 0]);
        let elsewhere = good.replace("// grafana/agent#7.", "// grafana/agent#70.");
        assert_eq!(found(&elsewhere), ["row 1: none of its tests names grafana/agent#7"]);
        let renamed = good.replace("it_stays", "it_goes");
        assert_eq!(found(&renamed).len(), 2, "{:?}", found(&renamed));
        let apart = good.replace("it heals.\n", "it heals.\n\nstatic A: u8 = 0;\n");
        assert_eq!(found(&apart), ["row 1: none of its tests names memberlist#222"]);
    }

    #[test]
    fn rows_without_a_number_are_no_rows() {
        let read = rows(TABLE);
        assert_eq!((read.len(), read[0].number, read[1].planned), (2, 1, true));
        assert_eq!(read[0].tests, ["it_heals", "it_stays"]);
        assert_eq!(rows("| key | memberlist#1 | a | `b` |"), []);
    }
}
