//! Runs cells on a few threads, the longest first, and puts their runs together again.
//!
//! Invariant: results do not depend on the number of threads: runs share nothing, and are merged
//! in the order of their seeds.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::ledger;
use crate::outcome::Run;
use crate::plan::Contender;
use crate::progress::Progress;
use crate::scenario;
use crate::suite::cell::{Cell, Shown, Yardstick};
use crate::suite::judge;
use crate::suite::kept::Kept;

/// One run of a cell.
#[derive(Clone, Copy)]
struct Unit {
    cell: usize,
    contender: Contender,
    number: usize,
}

/// Runs every cell; those that must be alone come first, each with a peak of memory of its own.
pub fn run(cells: &[Cell], jobs: usize, kept: &Kept) -> Vec<Shown> {
    let mut units = Vec::new();
    for (cell, planned) in cells.iter().enumerate() {
        for (contender, runs) in &planned.contenders {
            let contender = *contender;
            units.extend((0..*runs).map(|number| Unit { cell, contender, number }));
        }
    }
    let bar = Progress::bar(units.len() as u64, "runs");
    let (alone, mut beside): (Vec<Unit>, Vec<Unit>) =
        units.into_iter().partition(|unit| cells[unit.cell].alone);
    beside.sort_by_key(|unit| std::cmp::Reverse(cost(cells, unit)));
    let mut done = work(cells, &alone, 1, &bar, kept);
    done.extend(work(cells, &beside, jobs, &bar, kept));
    bar.end();
    done.sort_by_key(|(unit, _)| (unit.cell, unit.contender, unit.number));
    gather(cells, done)
}

fn cost(cells: &[Cell], unit: &Unit) -> u128 {
    let plan = cells[unit.cell].plan_of(unit.contender, unit.number);
    plan.nodes as u128 * (plan.duration + plan.warmup).as_millis()
}

fn work(
    cells: &[Cell],
    units: &[Unit],
    jobs: usize,
    bar: &Progress,
    kept: &Kept,
) -> Vec<(Unit, Run)> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(units.len()) {
            scope.spawn(|| {
                while let Some(unit) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let cell = &cells[unit.cell];
                    let run = kept_or_made(cell, *unit, kept);
                    bar.step(&format!("{} {}", cell.row.name(), cell.label));
                    let mut done = done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    done.push((*unit, run));
                }
            });
        }
    });
    done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn kept_or_made(cell: &Cell, unit: Unit, kept: &Kept) -> Run {
    let plan = cell.plan_of(unit.contender, unit.number);
    if let Some(run) = kept.find(&plan, unit.number) {
        return run;
    }
    if cell.alone {
        ledger::forget_peak();
    }
    let run = scenario::run(&plan, &Progress::silent());
    if let Err(error) = kept.keep(&plan, unit.number, &run) {
        eprintln!("a run of {} could not be kept: {error}", cell.label);
    }
    run
}

fn gather(cells: &[Cell], done: Vec<(Unit, Run)>) -> Vec<Shown> {
    let mut shown: Vec<(Unit, Shown)> = Vec::new();
    for (unit, run) in done {
        let cell = &cells[unit.cell];
        let together = shown
            .last_mut()
            .filter(|(last, _)| last.cell == unit.cell && last.contender == unit.contender);
        if let Some((_, shown)) = together {
            if cell.yardstick == Yardstick::Simulator {
                // The second run has the first one's seed: its hash is the point.
                let same = shown.run.trace_hash == run.trace_hash;
                shown.repeated = Some(shown.repeated.unwrap_or(true) && same);
            } else {
                shown.run.merge(run);
            }
        } else {
            let cell = cell.clone();
            let fresh = Shown { cell, run, checks: Vec::new(), pass: false, repeated: None };
            shown.push((unit, fresh));
        }
    }
    let mut shown: Vec<Shown> = shown.into_iter().map(|(_, shown)| shown).collect();
    for one in &mut shown {
        one.checks = judge::checks(one);
        one.pass = one.checks.iter().all(|check| check.pass);
    }
    shown
}
