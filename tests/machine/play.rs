//! Runs sequences of steps at random, and makes a failing one as small as can be.

use super::options;
use proptest::prelude::*;
use proptest::test_runner::RngAlgorithm;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRng, TestRunner};
use std::fmt::Debug;

/// A machine: what can be done to something, and what must come of it.
pub trait Machine {
    /// Mostly a row of steps.
    type Case: Debug;

    fn cases() -> BoxedStrategy<Self::Case>;

    /// Does the steps, one after another; an error when something else came of one than must.
    fn play(case: &Self::Case) -> Result<(), String>;
}

/// Plays so many cases.
#[track_caller]
pub fn play<M: Machine>(cases: u32) {
    let cases = options::number("--cases").map_or(cases, |cases| cases as u32);
    let cases = if options::quick() { cases / 8 } else { cases };
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 4_000,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    let seed = options::seed();
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_ne_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let result = runner.run(&M::cases(), |case| M::play(&case).map_err(TestCaseError::fail));
    match result {
        Ok(()) => println!("    seed {seed}, {cases} cases"),
        Err(TestError::Fail(why, case)) => {
            panic!("seed {seed}: {why}\n    the smallest case that fails: {case:#?}")
        }
        Err(other) => panic!("seed {seed}: {other:?}"),
    }
}
