//! When the next periodic exchange is due, for the baselines: memberlist's push-pull.
//!
//! Every member exchanges its whole state with a random one every 30 s; above 32 members the pause
//! grows by 30 s with every doubling, because the state grows too.
//!
//! Invariant: the first exchange has a random phase, so that members that start together do not
//! exchange together.

use crate::config::log2_ceil;
use crate::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_secs(30);
/// log2 of the number of members up to which the pause is the shortest.
const SHORTEST_UP_TO: u32 = 5;

/// The next exchange.
#[derive(Clone, Copy, Debug, Default)]
pub struct PushPull {
    due: Option<Instant>,
}

impl PushPull {
    /// Whether an exchange is due; if so, the next one is planned.
    pub fn is_due(&mut self, now: Instant, members: usize, rng: &mut fastrand::Rng) -> bool {
        let pause = PAUSE * (log2_ceil(members).saturating_sub(SHORTEST_UP_TO) + 1);
        let Some(due) = self.due else {
            self.due = Some(now + pause.mul_f64(rng.f64()));
            return false;
        };
        if now < due {
            return false;
        }
        self.due = Some(now + pause);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exchanges_are_periodic_and_rarer_among_many() {
        let exchanges = |members| {
            let mut rng = fastrand::Rng::with_seed(1);
            let mut push_pull = PushPull::default();
            let second = |n| Instant::ORIGIN + Duration::from_secs(n);
            (0..3_600).filter(|n| push_pull.is_due(second(*n), members, &mut rng)).count()
        };
        assert_eq!(exchanges(32), 120);
        assert_eq!(exchanges(33), 60, "⌈log2 33 − 5⌉ + 1 = 2 pauses");
        assert_eq!(exchanges(1_000), 20, "⌈log2 1000 − 5⌉ + 1 = 6 pauses");
    }
}
