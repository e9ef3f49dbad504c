//! Two processes take turns a million times over each kind of object that is waited on: on two processors and on one, where
//! each turn is a sleep and a wake-up. A wake-up that is lost costs a sleeper its slice; that is seen, though it goes on.
//! (Events have theirs in `event.rs`.)

use crate::common::Test;
use crate::probe::{LONG, join, spawn};
use crate::tests;
use mpshm::{Barrier, Condvar, Mutex, Semaphore, SemaphoreOptions};
use std::time::{Duration, Instant};

pub const TESTS: &[Test] = tests![
    semaphores_lose_no_wake_up: 300,
    semaphores_lose_no_wake_up_on_one_processor: 300,
    condition_variables_lose_no_wake_up: 300,
    condition_variables_lose_no_wake_up_on_one_processor: 300,
    barriers_lose_no_wake_up: 300,
    barriers_lose_no_wake_up_on_one_processor: 300,
    two_who_want_all_permits_do_not_keep_each_other_from_them: 300,
    two_who_want_all_permits_do_not_keep_each_other_from_them_on_one_processor: 300,
    mutexes_lose_no_wake_up: 300,
    mutexes_lose_no_wake_up_on_one_processor: 300,
];

fn rounds() -> u64 {
    if crate::options::quick() { 10_000 } else { 1_000_000 }
}

/// A little less than the slice after which a sleeper looks again by itself.
const SLICE: Duration = Duration::from_millis(70);

/// Plays `mine` here and `theirs` in a child, so many rounds of each.
fn play(mine: impl Fn(u64), theirs: impl Fn(u64)) {
    let rounds = rounds();
    let child = spawn(|| (0..rounds).for_each(&theirs));
    let (start, mut slow) = (Instant::now(), 0);
    for round in 0..rounds {
        let before = Instant::now();
        mine(round);
        slow += u64::from(before.elapsed() > SLICE);
    }
    let each = start.elapsed().as_secs_f64() * 1e9 / rounds as f64;
    join(&child);
    println!("    {rounds} rounds, {each:.0} ns each, {slow} longer than {SLICE:?}");
    // Where others want the processor too, some may be late for that.
    assert!(slow <= 5 + rounds / 20_000, "{slow} of {rounds} rounds took longer than {SLICE:?}");
}

fn semaphores_lose_no_wake_up() {
    let (ping, pong) = (Semaphore::new(0).unwrap(), Semaphore::new(0).unwrap());
    let take = |semaphore: &Semaphore| semaphore.acquire_timeout(LONG).expect("a permit").forget();
    play(
        |_| {
            ping.release(1).unwrap();
            take(&pong);
        },
        |_| {
            take(&ping);
            pong.release(1).unwrap();
        },
    );
}

/// Each finds some taken by the other, gives its own back and tries again: somebody goes on, round after round.
fn two_who_want_all_permits_do_not_keep_each_other_from_them() {
    const ALL: u32 = 3;
    let semaphore = Semaphore::with_options(&SemaphoreOptions::new(ALL).owned()).unwrap();
    let take = |_| {
        let permits = semaphore.acquire_many_timeout(ALL, LONG).expect("all permits");
        assert_eq!((permits.count(), semaphore.value()), (ALL, 0));
    };
    play(take, take);
    assert_eq!(semaphore.value(), ALL);
}

fn condition_variables_lose_no_wake_up() {
    let (turns, changed) = (Mutex::new(0u64).unwrap(), Condvar::new().unwrap());
    // Each waits for its turn, and ends it.
    let turn = |which: u64| {
        let mut guard = turns.lock().expect("the lock");
        while guard.get() % 2 != which {
            assert!(changed.wait_timeout(&mut guard, LONG).expect("a wait"), "no turn");
        }
        guard.set(guard.get() + 1);
        changed.notify_one(&guard).expect("a wake-up");
    };
    play(|_| turn(0), |_| turn(1));
    assert_eq!(turns.lock().expect("the lock").get(), 2 * rounds());
}

fn barriers_lose_no_wake_up() {
    let barrier = Barrier::new(2).unwrap();
    let pass = |_| {
        barrier.wait_timeout(LONG).expect("a pass");
    };
    play(pass, pass);
}

fn mutexes_lose_no_wake_up() {
    let count = Mutex::new(0u64).unwrap();
    // The lock is given up in the middle of its use, so that the other comes upon it.
    let add = |round: u64| {
        let mut guard = count.lock_timeout(LONG).expect("the lock");
        let seen = guard.get();
        if round % 64 == 0 {
            std::thread::yield_now();
        }
        guard.set(seen + 1);
    };
    play(add, add);
    assert_eq!(count.lock().expect("the lock").get(), 2 * rounds());
}

fn semaphores_lose_no_wake_up_on_one_processor() {
    crate::pin::to_one_processor();
    semaphores_lose_no_wake_up();
}

fn two_who_want_all_permits_do_not_keep_each_other_from_them_on_one_processor() {
    crate::pin::to_one_processor();
    two_who_want_all_permits_do_not_keep_each_other_from_them();
}

fn condition_variables_lose_no_wake_up_on_one_processor() {
    crate::pin::to_one_processor();
    condition_variables_lose_no_wake_up();
}

fn barriers_lose_no_wake_up_on_one_processor() {
    crate::pin::to_one_processor();
    barriers_lose_no_wake_up();
}

fn mutexes_lose_no_wake_up_on_one_processor() {
    crate::pin::to_one_processor();
    mutexes_lose_no_wake_up();
}
