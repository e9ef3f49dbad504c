//! Toys: pools with a fault that a sweep must find, each by the check that it is for.

use super::common::reap_all_children;
use super::crew::*;
use super::owners::{STRAYS, the_owner_is_killed_anywhere_as_it_submits};
use super::workers::sweep;
use mpshm::Pool;
use std::sync::atomic::Ordering;

/// Runs a sweep that must fail with these words.
fn fails_with(words: &str, sweep: fn()) {
    be_a_toy();
    std::panic::set_hook(Box::new(|_| {}));
    let panic = std::panic::catch_unwind(sweep).expect_err("the fault was not found");
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
    println!("    found: {text}");
    assert!(text.contains(words), "another check found it");
    // What was handed to others goes with the pool; its processes have to be reaped here.
    reap_all_children();
}

/// A task that takes a while after it was counted.
fn slow(n: u64) -> u64 {
    let value = counted(n);
    std::hint::black_box(format!("{value:?} {:?}", Some(value)));
    value
}

fn with_a_retry() -> mpshm::PoolBuilder {
    Pool::builder().workers(2).retries(1)
}

pub fn a_task_that_runs_again_without_leave_is_found() {
    fails_with("begun too often", || {
        let submit = |pool: &Pool| Handed::Plain(pool.submit(slow, 1).expect("a task"));
        sweep(Form { build: with_a_retry, submit, ..CALL }, Mode::Kill, 600);
    });
}

/// The second run never ends.
fn sleeps_on_it(n: u64) -> u64 {
    slow(n);
    while runs(n) > 1 {
        std::thread::park();
    }
    n * n + 7
}

pub fn a_task_that_does_not_end_is_found() {
    fails_with("TimedOut", || {
        let submit = |pool: &Pool| Handed::Plain(pool.submit(sleeps_on_it, 1).expect("a task"));
        sweep(Form { build: with_a_retry, attempts: 2, submit, ..CALL }, Mode::Kill, 600);
    });
}

pub fn a_process_that_stays_behind_is_found() {
    fails_with("no process is left", || {
        STRAYS.store(true, Ordering::Relaxed);
        the_owner_is_killed_anywhere_as_it_submits();
    });
}
