//! One likelihood ratio settles every doubt.
//!
//! Each unanswered ping speaks for death, each answer against it; how strongly depends on how
//! often living members answer (b). The sum is Wald's sequential test: a bound on the sum is a
//! bound on the probability of error.
//!
//! The sum is taken in the order of sending and held down at A + 2·ln(1/r): whoever was silent for
//! a minute and answers again is trusted after as many answers as one that was silent for a second.
//!
//! Λ = lost·ln((1 − r·b)/(1 − b)) − acked·ln(1/r), with r: a dead member "answers" at most a tenth
//! as often as a living one (late datagrams, an old session's ghost).

/// r.
const GHOST: f64 = 0.1;

/// Λ for the base `b`, from answers (`true`) and silences in the order of their pings.
pub fn lambda(answers: impl Iterator<Item = bool>, b: f64, quorum: usize) -> f64 {
    let silence = silence(b);
    let answer = libm::log(GHOST);
    // Rounding must not ask for a sixth answer.
    let most = dead_above(quorum) - 2.0 * answer - 1e-9;
    answers.fold(0.0, |sum, acked| if acked { sum + answer } else { most.min(sum + silence) })
}

/// What one unanswered ping adds to Λ.
pub fn silence(b: f64) -> f64 {
    libm::log((1.0 - GHOST * b) / (1.0 - b))
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

    fn after(answers: &[bool], b: f64) -> f64 {
        lambda(answers.iter().copied(), b, 5)
    }

    /// Rule D-5: on a clean link two silences are a case, on a lossy one they are nothing.
    #[test]
    fn silence_weighs_by_how_rare_it_is() {
        assert!(after(&[false; 2], 0.98) >= dead_above(5));
        assert!(after(&[false; 2], 0.5) < 1.5);
        assert!(after(&[false; 11], 0.5) >= dead_above(5));
    }

    /// Rules D-5 and D-7: an answer takes back more than half of a silence; two make a vote.
    #[test]
    fn answers_speak_against_death() {
        assert!(after(&[false, true, true], 0.98) <= 0.0);
        assert!(after(&[false, true], 0.98) > 0.0);
        assert!(after(&[true; 2], 0.98) <= alive_below());
        assert!(after(&[true], 0.5) > alive_below());
    }

    /// Rule D-5: a long silence is not held against whoever answers again.
    #[test]
    fn five_answers_undo_any_silence() {
        let mut answers = [false; 60];
        assert!(after(&answers, 0.98) >= dead_above(5));
        answers[57..].fill(true);
        assert!(after(&answers, 0.98) < dead_above(5), "three take the verdict back");
        answers[55..].fill(true);
        assert!(after(&answers, 0.98) <= 0.0, "five end the doubt");
    }

    #[test]
    fn fewer_voters_must_be_surer() {
        assert!((dead_above(5) - 1_000f64.ln()).abs() < 1e-9);
        assert!((dead_above(1) - 1e7f64.ln() / 2.0).abs() < 1e-9);
    }
}
