//! A reference model of membership and precedence beside the real node: small, slow, and written
//! down as a list of rules rather than as a machine. Random lives are told to both; after every
//! step they must agree. Failures shrink, and print a line that replays them.

#[path = "../stage/mod.rs"]
mod stage;

mod beside;
mod join;
mod mesh;
mod reference;
mod steps;

use std::fmt::Debug;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

/// Everybody that may be spoken of; `a` is the node itself.
pub(crate) const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

fn from_environment(name: &str, default: u64) -> u64 {
    let Ok(text) = std::env::var(name) else { return default };
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.unwrap_or_else(|_| panic!("{name}={text} is no number"))
}

/// Runs `test` on random values. `MODEL_SEED` and `MODEL_CASES` choose others than the usual ones.
pub(crate) fn check<S: Strategy>(
    name: &str,
    cases: u32,
    strategy: &S,
    test: impl Fn(S::Value) -> Result<(), TestCaseError>,
) where
    S::Value: Debug,
{
    let seed = from_environment("MODEL_SEED", 0x5EED);
    let cases = u32::try_from(from_environment("MODEL_CASES", cases.into())).unwrap();
    let config =
        Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    match TestRunner::new_with_rng(config, rng).run(strategy, test) {
        Ok(()) => {}
        Err(TestError::Fail(reason, least)) => panic!(
            "seed {seed:#x}: {reason}\nsmallest case: {least:#?}\nreplay: MODEL_SEED={seed:#x} \
             MODEL_CASES={cases} cargo test -p mesh-gossip-proto --test model -- --exact {name}"
        ),
        Err(TestError::Abort(reason)) => panic!("seed {seed:#x}: given up: {reason}"),
    }
}
