//! Whether what a run holds grows: memory and descriptors, looked at all the time and judged at the end.
//!
//! The first quarter of a window is left out, in which tables and allocators find their size. The rest is cut
//! into nine parts, and a line is laid through their means: how much it rises, and how far that is from
//! certain by what the means differ from it (Student's t, 95 %).
//!
//! Invariant: what is uncertain is printed, and where it is more than a twentieth of the figure, the run has
//! shown nothing.

use std::time::Duration;

use serde_json::{Value, json};

use crate::outcome::rounded;
use crate::scenario::criteria::Check;

/// What is looked at so often.
pub(super) const EVERY: Duration = Duration::from_secs(10);
/// A window of this length is a soak: what grows in it fails.
const SOAK: Duration = Duration::from_secs(3_600);
const PARTS: usize = 9;
/// Of nine means and two figures of a line: 97.5 % of Student's t with seven degrees of freedom.
const STUDENT: f64 = 2.365;
/// Uncertain in percent of the figure itself.
const MOST_NOISE: f64 = 5.0;

/// What members hold.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Holding {
    pub(super) resident: u64,
    pub(super) descriptors: usize,
    /// Bytes in use, where the allocator tells: what is resident without being in use is no leak.
    pub(super) allocated: Option<u64>,
    /// Sessions of all, where they can be asked soon: what there are more of needs more memory.
    pub(super) sessions: Option<usize>,
}

/// What they held at one moment of the window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Held {
    pub(super) at: Duration,
    pub(super) holding: Holding,
}

/// A line through the parts.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Line {
    mean: f64,
    /// From the beginning of the first part to the end of the last.
    rise: f64,
    /// What the rise is uncertain by, in both directions.
    noise: f64,
}

impl Line {
    fn through(means: &[f64; PARTS]) -> Self {
        let count = PARTS as f64;
        let middle = (count - 1.0) / 2.0;
        let mean = means.iter().sum::<f64>() / count;
        let parts = || (0..PARTS).map(|part| part as f64 - middle).zip(means);
        let spread: f64 = parts().map(|(at, _)| at * at).sum();
        let slope = parts().map(|(at, value)| at * (value - mean)).sum::<f64>() / spread;
        let left: f64 = parts().map(|(at, value)| (value - mean - slope * at).powi(2)).sum();
        let error = (left / (count - 2.0) / spread).sqrt();
        Self { mean, rise: slope * count, noise: STUDENT * error * count }
    }

    fn checks(&self, what: &str, span: Duration) -> [Check; 2] {
        let Self { mean, rise, noise } = *self;
        let rises =
            Check::at_most(&format!("growth of {what} beyond its noise"), Some(rise - noise), 0.0);
        let certain = Check::at_most(
            &format!("noise of {what} in percent"),
            Some(100.0 * noise / mean.max(1.0)),
            MOST_NOISE,
        );
        let note = format!(
            "{rise:.0} more of {mean:.0} in {:.0} min, uncertain by {noise:.0}",
            span.as_secs_f64() / 60.0
        );
        [rises.beside(note), certain.condition()]
    }

    fn json(&self) -> Value {
        let Self { mean, rise, noise } = *self;
        json!({ "mean": rounded(mean), "rise": rounded(rise), "noise": rounded(noise) })
    }
}

/// How what a run holds went on after the first quarter of its window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    window: Duration,
    span: Duration,
    looks: usize,
    resident: Line,
    descriptors: Line,
    // Not judged: they tell where growth comes from.
    allocated: Option<Line>,
    sessions: Option<Line>,
}

impl Trend {
    /// Of looks in a window; none where a part has less than two.
    pub(super) fn of(held: &[Held], window: Duration) -> Option<Self> {
        let from = window / 4;
        let late: Vec<&Held> = held.iter().filter(|held| held.at >= from).collect();
        if late.len() < 2 * PARTS {
            return None;
        }
        let line = |of: fn(&Holding) -> Option<f64>| {
            let values: Option<Vec<f64>> = late.iter().map(|held| of(&held.holding)).collect();
            let values = values?;
            let part = |part: usize| {
                let of_part = values.len() * part / PARTS..values.len() * (part + 1) / PARTS;
                let values = &values[of_part];
                values.iter().sum::<f64>() / values.len() as f64
            };
            Some(Line::through(&std::array::from_fn(part)))
        };
        Some(Self {
            window,
            span: window - from,
            looks: late.len(),
            resident: line(|held| Some(held.resident as f64))?,
            descriptors: line(|held| Some(held.descriptors as f64))?,
            allocated: line(|held| held.allocated.map(|bytes| bytes as f64)),
            sessions: line(|held| held.sessions.map(|sessions| sessions as f64)),
        })
    }

    /// What a soak promises.
    pub(super) fn checks(&self) -> Vec<Check> {
        if self.window < SOAK {
            return Vec::new();
        }
        let resident = self.resident.checks("resident bytes", self.span);
        let descriptors = self.descriptors.checks("open descriptors", self.span);
        resident.into_iter().chain(descriptors).collect()
    }

    /// As JSON.
    pub(super) fn json(&self) -> Value {
        json!({
            "span_s": rounded(self.span.as_secs_f64()),
            "looks": self.looks,
            "resident_bytes": self.resident.json(),
            "descriptors": self.descriptors.json(),
            "allocated_bytes": self.allocated.as_ref().map(Line::json),
            "sessions": self.sessions.as_ref().map(Line::json),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks of a soak, each of so many bytes.
    fn soak(bytes: impl Fn(u64) -> u64) -> Trend {
        let held = |look| {
            let holding = Holding { resident: bytes(look), descriptors: 100, ..Holding::default() };
            Held { at: EVERY * look as u32, holding }
        };
        let held: Vec<Held> = (0..360).map(held).collect();
        Trend::of(&held, SOAK).expect("looks enough")
    }

    fn verdicts(trend: &Trend) -> Vec<bool> {
        trend.checks().iter().map(|check| check.pass).collect()
    }

    fn noise(look: u64) -> u64 {
        fastrand::Rng::with_seed(look).u64(..100_000)
    }

    #[test]
    fn what_grows_is_told_from_noise() {
        // What rises in the first quarter alone is the size that was found.
        let found = soak(|look| 50_000_000 + look.min(80) * 100_000 + noise(look));
        assert_eq!(verdicts(&found), [true; 4], "{found:?}");
        let leak = soak(|look| 50_000_000 + look * 1_000 + noise(look));
        assert_eq!(verdicts(&leak), [false, true, true, true], "{leak:?}");
        assert!((leak.resident.rise - 270_000.0).abs() < leak.resident.noise, "{leak:?}");
        // Among such noise nothing could be seen.
        let wild = soak(|look| 10_000_000 + noise(look) * (look / 40 % 2) * 100);
        assert!(!verdicts(&wild)[1], "{wild:?}");
    }

    #[test]
    fn a_short_run_promises_nothing() {
        let held = |look: u32| {
            let sessions = Some(look as usize);
            let holding = Holding { resident: 5, descriptors: 1, sessions, ..Holding::default() };
            Held { at: EVERY * look, holding }
        };
        let few: Vec<Held> = (0..18).map(held).collect();
        assert_eq!(Trend::of(&few, Duration::from_secs(180)), None);
        let many: Vec<Held> = (0..60).map(held).collect();
        let trend = Trend::of(&many, Duration::from_secs(600)).expect("looks enough");
        assert_eq!((trend.looks, trend.checks().len()), (45, 0));
        assert_eq!(trend.json()["resident_bytes"]["mean"], 5.0);
        assert_eq!(trend.json()["sessions"]["rise"], 45.0);
        assert!(trend.json()["allocated_bytes"].is_null());
    }
}
