//! The interval experiment (H3): do our baselines behave as published, and how do we compare?
//!
//! The paper's tables hold so many false positives of 128 members that one run has fewer places for
//! them in views: a false positive there is a verdict of a member's own, not each view that learns
//! of it. So own verdicts are compared, and views are printed beside.
//!
//! Invariant: no parameter is chosen for its ratio; what does not fit is said with its reasons.

use crate::plan::Contender;
use crate::scenario::criteria::Check;
use crate::suite::cell::{Row, Shown};
use crate::suite::judge::{Comparison, of};

/// Known differences between our baselines and what was measured for the paper.
const DIFFERENCES: &str = "known differences: memberlist's probe and gossip loops wait inside a \
    blocked send, one suspicion a block, where our nodes hand their datagrams to the blocked \
    network and probe on, one suspicion an interval; a refutation is a signed record that is \
    pulled, a round trip more at a member that runs for milliseconds; k is 2, the paper's 3; six \
    cells stand for the paper's grid";

/// FP and FP- in percent of SWIM's, as published.
const PUBLISHED: [(Contender, f64, f64); 4] = [
    (Contender::LhaProbe, 67.72, 32.88),
    (Contender::LhaSuspicion, 3.00, 6.71),
    (Contender::Buddy, 94.08, 44.57),
    (Contender::Lifeguard, 1.53, 1.89),
];
/// Messages and bytes of Lifeguard in percent of SWIM's.
const PUBLISHED_LOAD: (f64, f64) = (110.59, 97.97);
const FACTOR: f64 = 3.0;
/// What is compared with SWIM here, beside the baselines.
const OBSERVERS: &str = "observers against SWIM";
/// What a comparison with a baseline says in a run without this experiment.
pub const NOT_RUN: &str = "calibration (H3) not run beside it";

#[derive(Clone, Copy, Default)]
struct Sum {
    deaths: f64,
    healthy: f64,
    views: f64,
    messages: f64,
    bytes: f64,
    handshakes: f64,
}

fn sum(contender: Contender, all: &[Shown]) -> Option<Sum> {
    let cells = of(Row::H3, contender, all);
    if cells.is_empty() {
        return None;
    }
    let mut sum = Sum::default();
    for shown in cells {
        sum.deaths += shown.run.found.false_verdicts as f64;
        sum.healthy += shown.run.found.false_verdicts_healthy as f64;
        sum.views += shown.run.found.false_deaths as f64;
        sum.messages += shown.run.load.datagrams as f64;
        sum.bytes += shown.run.load.bytes as f64;
        sum.handshakes += shown.run.load.handshake_bytes as f64;
    }
    Some(sum)
}

/// A ratio within a factor of a published one: 1 is equal, 3 the most that fits.
fn off_by(name: &str, ours: f64, published: f64) -> Check {
    let off = if ours > 0.0 { (ours / published).max(published / ours) } else { f64::INFINITY };
    let name = format!("{name}: {ours:.2} % of SWIM, published {published} %, off by a factor of");
    let off = off.is_finite().then_some(off);
    Check::at_most(&name, off, FACTOR)
}

/// H3: calibration first, then the claim; and how far a comparison with a baseline can be trusted.
pub(super) fn compare(all: &[Shown]) -> (Vec<Comparison>, String) {
    let Some(swim) = sum(Contender::Swim, all) else {
        return (Vec::new(), NOT_RUN.into());
    };
    let percent = |part: f64, whole: f64| 100.0 * part / whole.max(1.0);
    let mut compared = Vec::new();
    let mut fits = true;
    for (contender, deaths, healthy) in PUBLISHED {
        let Some(theirs) = sum(contender, all) else { continue };
        let mut checks = vec![
            off_by("FP", percent(theirs.deaths, swim.deaths), deaths),
            off_by("FP-", percent(theirs.healthy, swim.healthy), healthy),
        ];
        if contender == Contender::Lifeguard {
            let (messages, bytes) = PUBLISHED_LOAD;
            checks.push(off_by("messages", percent(theirs.messages, swim.messages), messages));
            checks.push(off_by("bytes", percent(theirs.bytes, swim.bytes), bytes));
        }
        let pass = checks.iter().all(|check| check.pass);
        fits &= pass;
        let word = if pass { "calibrated" } else { "not calibrated" };
        let note = format!(
            "{word}; own verdicts FP / FP- {} / {}, SWIM {} / {}; in views {} and {}",
            theirs.deaths, theirs.healthy, swim.deaths, swim.healthy, theirs.views, swim.views
        );
        // No verdict in the label: a later run's has to take the place of this one.
        let one = Comparison::of(Row::H3, contender.name().into(), checks, note);
        compared.push(Comparison { counts: false, ..one });
    }
    let short = in_short(fits).to_string();
    let calibration = if fits { short.clone() } else { format!("{short}; {DIFFERENCES}") };
    if let Some(ours) = sum(Contender::Observers, all) {
        let checks = vec![
            Check::at_most("FP in % of SWIM", Some(percent(ours.deaths, swim.deaths)), 0.1),
            Check::at_most("FP-", Some(ours.healthy), 0.0),
            Check::at_most("false deaths in views", Some(ours.views), 0.0),
            Check::at_most("bytes in % of SWIM", Some(percent(ours.bytes, swim.bytes)), 70.0)
                .beside(format!(
                    "and {:.0} % with handshakes",
                    percent(ours.bytes + ours.handshakes, swim.bytes + swim.handshakes)
                )),
        ];
        let note = format!("FP / FP- {} / {}; {calibration}", ours.deaths, ours.healthy);
        compared.push(Comparison::of(Row::H3, OBSERVERS.into(), checks, note));
    }
    (compared, short)
}

/// Whether baselines behave as published, in words.
pub fn in_short(fits: bool) -> &'static str {
    if fits { "baselines calibrated (H3)" } else { "baselines NOT CALIBRATED (H3)" }
}

/// Whether a comparison of the interval experiment is one of a baseline with what was published.
pub fn is_calibration(one: &Comparison) -> bool {
    one.row == Row::H3.name() && one.label != OBSERVERS
}
