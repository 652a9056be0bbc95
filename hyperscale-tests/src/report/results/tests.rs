use std::time::Duration;

use super::*;
use crate::plan::{Contender, Plan, Scenario};
use crate::progress::Progress;
use crate::scenario;
use crate::scenario::criteria::Check;
use crate::suite::cell::{Cell, Shown, Yardstick};

/// A small run that says it was some cell's.
fn shown(row: Row, label: &str, seed: u64) -> Shown {
    let mut plan = Plan::new(Scenario::Steady, 8);
    (plan.warmup, plan.duration) = (Duration::from_secs(2), Duration::from_secs(5));
    plan.seed = seed;
    let run = scenario::run(&plan, &Progress::silent());
    let cell = Cell {
        row,
        label: label.into(),
        plan,
        first: 0,
        contenders: vec![(Contender::Observers, 1)],
        baseline: None,
        yardstick: Yardstick::Scenario,
        alone: false,
    };
    let checks = vec![Check::at_most("a figure", Some(seed as f64), 10.0)];
    let pass = checks.iter().all(|check| check.pass);
    Shown { cell, run, checks, pass, repeated: None }
}

fn report(tier: Tier, commit: &str, shown: &[Shown]) -> Report {
    Report { commit: commit.into(), ..Report::of(tier.name(), shown, Duration::from_secs(1)) }
}

#[test]
fn the_last_run_of_a_cell_is_shown_whatever_it_showed() {
    let first = report(Tier::T1, "aaaa", &[shown(Row::H4, "one", 1), shown(Row::H2, "two", 2)]);
    let second = report(Tier::T1, "bbbb", &[shown(Row::H4, "one", 11)]);
    let results = Results::of(vec![first.clone(), second.clone()]);
    assert!(!results.pass(), "the later run fails");
    let text = results.markdown();
    assert!(text.contains("1 of 2 cells fail"), "{text}");
    assert!(text.contains("FAIL: a figure: 11, limit 10"), "{text}");
    assert!(!text.contains("a figure: 1,"), "{text}");
    // Rows stand in their order, each with its run and seeds.
    let two = text.find("| H2 | two | observers | 1 | 2 |").expect(&text);
    let one = text.find("| H4 | one | observers | 2 | 11 |").expect(&text);
    assert!(two < one, "{text}");
    assert!(text.contains("run 1: ") && text.contains("commit bbbb"), "{text}");
    // The other way round the first one's figures are the present ones, and the failure is gone.
    let results = Results::of(vec![second, first]);
    assert!(results.pass());
    assert!(!results.markdown().contains("bbbb"), "nothing of it is shown");
}

/// What was compared without H3 beside it says what a later run of H3 found.
#[test]
fn comparisons_name_the_calibration_and_absent_cells_are_named() {
    let said = |row: Row, label: &str, pass, note: &str| Comparison {
        row: row.name().into(),
        label: label.into(),
        checks: vec![Check::at_most("a figure", Some(1.0), if pass { 2.0 } else { 0.5 })],
        note: note.into(),
        pass,
        counts: row == Row::H2,
    };
    let of = |row, label: &str, compared| {
        let report = report(Tier::T1, "aaaa", &[shown(row, label, 1)]);
        Report { comparisons: compared, ..report }
    };
    let note = format!("p50 over 10 detections; {}", interval::NOT_RUN);
    let crash = of(Row::H2, "1 of 128", vec![said(Row::H2, "sooner", true, &note)]);
    let alone = Results::of(vec![crash.clone()]).markdown();
    assert!(alone.contains(interval::NOT_RUN), "{alone}");
    assert!(alone.contains("were not run: H17 1000 nodes, 300 s; ") && alone.contains("; H3 "));
    assert!(!alone.contains("; H2 1 of 128;"), "{alone}");
    for fits in [true, false] {
        let found = [said(Row::H3, "swim", true, ""), said(Row::H3, "lifeguard", fits, "")];
        let h3 = of(Row::H3, "a", found.to_vec());
        let text = Results::of(vec![crash.clone(), h3]).markdown();
        assert!(text.contains(interval::in_short(fits)) && !text.contains(interval::NOT_RUN));
        assert!(!text.contains(interval::in_short(!fits)), "{text}");
    }
}

#[test]
fn tiers_do_not_replace_each_other() {
    let of = |tier, seed| report(tier, "aaaa", &[shown(Row::H1, "1000 nodes", seed)]);
    let text = Results::of(vec![of(Tier::T2, 11), of(Tier::T1, 1)]).markdown();
    let smaller = text.find("## Tier t1: 0 of 1 cells fail").expect(&text);
    let larger = text.find("## Tier t2: 1 of 1 cells fail").expect(&text);
    assert!(smaller < larger, "{text}");
}

#[test]
fn what_was_written_is_read_back_and_added_to() {
    let folder = std::env::temp_dir().join(format!("mesh-gossip-results-{}", std::process::id()));
    let (single, out) = (folder.join("single"), folder.join("out"));
    let merge = |merge: &[&PathBuf]| {
        let merge = merge.iter().map(|folder| folder.to_path_buf()).collect();
        run(&Flags { merge, out: out.clone() }).expect("it can be written").markdown()
    };
    let first = report(Tier::T1, "aaaa", &[shown(Row::H11, "one", 1), shown(Row::H2, "two", 2)]);
    first.write(&single).expect("it can be written");
    let before = merge(&[&single]);
    assert_eq!(before, std::fs::read_to_string(out.join("suite.md")).expect("it was written"));
    assert_eq!(merge(&[&out]), before, "read back");
    report(Tier::T1, "bbbb", &[shown(Row::H4, "three", 3)]).write(&single).expect("written");
    let after = merge(&[&out, &single]);
    for cell in ["| H2 | two |", "| H4 | three |", "| H11 | one |", "commit aaaa", "commit bbbb"] {
        assert!(after.contains(cell), "{cell}: {after}");
    }
    for name in plots::NAMES {
        let svg = std::fs::read_to_string(out.join(name)).expect("it was written");
        assert!(svg.contains("<svg"), "{name}");
    }
    std::fs::remove_dir_all(&folder).expect("it is ours");
}

#[test]
fn a_folder_without_a_report_is_named() {
    let merge = vec![PathBuf::from("/nonexistent")];
    let error = run(&Flags { merge, out: "/nonexistent".into() }).expect_err("nothing is there");
    assert!(error.to_string().starts_with("--merge: /nonexistent/report.json: "), "{error}");
}

#[test]
fn seeds_are_told_shortly() {
    let told = [(&[][..], "–"), (&[7], "7"), (&[1, 2, 3], "1 to 3"), (&[1, 3], "1, 3")];
    for (given, text) in told {
        assert_eq!(seeds(given), text);
    }
}
