//! One likelihood ratio settles every doubt.
//!
//! Each unanswered ping speaks for death, each answer against it; how strongly depends on how
//! often living members answer (b). The sum is Wald's sequential test: a bound on the sum is a
//! bound on the probability of error.
//!
//! Λ = lost·ln((1 − r·b)/(1 − b)) − acked·ln(1/r), with r: a dead member "answers" at most a tenth
//! as often as a living one (late datagrams, an old session's ghost).

/// r.
const GHOST: f64 = 0.1;

/// What the pings of one test showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Unanswered after their time.
    pub lost: u32,
    /// Answered, in time or late.
    pub acked: u32,
}

impl Evidence {
    /// Λ for the base `b`.
    pub fn lambda(self, b: f64) -> f64 {
        let silence = libm::log((1.0 - GHOST * b) / (1.0 - b));
        f64::from(self.lost) * silence + f64::from(self.acked) * libm::log(GHOST)
    }
}

/// A: doubt that suffices for a verdict of death with `quorum` voters,
/// max(ln 10³, ln 10⁷/(H+1)): a false vote at most once in a thousand tests, and false quorums of
/// independent voters once in ten million.
pub fn dead_above(quorum: usize) -> f64 {
    let alone = libm::log(1e3);
    let together = libm::log(1e7) / (quorum as f64 + 1.0);
    alone.max(together)
}

/// −B: trust that suffices for a vote that the subject lives; wrong at most once in a hundred.
pub fn alive_below() -> f64 {
    // Two answers are exactly that much; rounding must not ask for a third.
    1e-9 - libm::log(100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule D-5: on a clean link two silences are a case, on a lossy one they are nothing.
    #[test]
    fn silence_weighs_by_how_rare_it_is() {
        let two = Evidence { lost: 2, acked: 0 };
        assert!(two.lambda(0.98) >= dead_above(5));
        assert!(two.lambda(0.5) < 1.5);
        let many = Evidence { lost: 11, acked: 0 };
        assert!(many.lambda(0.5) >= dead_above(5));
    }

    /// Rules D-5 and D-7: an answer takes back more than half of a silence; two make a vote.
    #[test]
    fn answers_speak_against_death() {
        assert!(Evidence { lost: 1, acked: 2 }.lambda(0.98) <= 0.0);
        assert!(Evidence { lost: 1, acked: 1 }.lambda(0.98) > 0.0);
        assert!(Evidence { lost: 0, acked: 2 }.lambda(0.98) <= alive_below());
        assert!(Evidence { lost: 0, acked: 1 }.lambda(0.5) > alive_below());
    }

    #[test]
    fn fewer_voters_must_be_surer() {
        assert!((dead_above(5) - 1_000f64.ln()).abs() < 1e-9);
        assert!((dead_above(1) - 1e7f64.ln() / 2.0).abs() < 1e-9);
    }
}
