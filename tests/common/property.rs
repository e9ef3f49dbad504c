//! Properties that hold for random inputs.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};

/// Runs the property on random inputs, a quarter of them in the quick form; a failing one is made smaller, and shown.
#[track_caller]
pub fn check<S: Strategy>(cases: u32, inputs: S, property: impl Fn(S::Value)) {
    let quick = std::env::var_os("MPSHM_QUICK").is_some();
    let config = Config {
        cases: if quick { cases / 4 } else { cases },
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let result = runner.run(&inputs, |input| {
        property(input);
        Ok(())
    });
    match result {
        Ok(()) => {}
        Err(TestError::Fail(why, input)) => panic!("{why}\n    smallest input: {input:?}"),
        Err(other) => panic!("{other:?}"),
    }
}
