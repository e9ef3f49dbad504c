//! What waiting for a `Value` promises, over real processes.

use crate::common::{Test, until};
use crate::probe::{
    Count, LONG, Random, SHORT, costs_next_to_nothing, go_on, in_child, is, join, kill, spawn,
    stop, until_asleep, without_system_calls,
};
use crate::tests;
use mpshm::{Canceller, ErrorKind, Process, Segment, Value};
use std::time::{Duration, Instant};

pub const TESTS: &[Test] = tests![
    every_change_wakes_who_waits,
    a_change_under_the_lock_wakes_too,
    a_time_out_is_none_and_a_look_is_a_look,
    a_plain_value_cannot_be_waited_for,
    it_is_waitable_for_whoever_opens_it,
    killed_and_stopped_waiters_keep_nobody,
    waiters_are_served_whoever_of_the_writers_is_killed: 60,
    a_million_rounds_of_two_processes: 300,
    a_million_rounds_of_two_processes_on_one_processor: 300,
    cancelling_ends_a_wait,
    waiting_costs_next_to_nothing,
    changes_with_nobody_asleep_make_no_system_call,
];

fn quick() -> bool {
    std::env::var_os("MPSHM_QUICK").is_some()
}

/// A child asleep until the value is not `from` any more.
fn waiter(value: &Value<i64>, from: i64) -> Process {
    let waiter = spawn(|| {
        value.wait_until(|value| value != from).unwrap();
    });
    until_asleep(waiter.pid());
    waiter
}

fn every_change_wakes_who_waits() {
    let value = Value::<i64>::new_waitable(0).unwrap();
    type Change<'a> = &'a dyn Fn(&Value<i64>);
    let changes: [(&str, Change<'_>); 12] = [
        ("store", &|value| value.store(1)),
        ("store_with", &|value| value.store_with(1, std::sync::atomic::Ordering::Relaxed)),
        ("swap", &|value| assert_eq!(value.swap(1), 0)),
        ("compare_exchange", &|value| assert!(value.compare_exchange(0, 1).is_ok())),
        ("update", &|value| assert_eq!(value.update(|old| old + 1), 0)),
        ("fetch_add", &|value| assert_eq!(value.fetch_add(1), 0)),
        ("fetch_sub", &|value| assert_eq!(value.fetch_sub(1), 0)),
        ("fetch_max", &|value| assert_eq!(value.fetch_max(1), 0)),
        ("fetch_min", &|value| assert_eq!(value.fetch_min(-1), 0)),
        ("fetch_or", &|value| assert_eq!(value.fetch_or(1), 0)),
        ("fetch_xor", &|value| assert_eq!(value.fetch_xor(1), 0)),
        ("fetch_nand", &|value| assert_eq!(value.fetch_nand(1), 0)),
    ];
    let start = Instant::now();
    for (name, change) in changes {
        for _ in 0..3 {
            value.store(0);
            let waiter = waiter(&value, 0);
            change(&value);
            let start = Instant::now();
            join(&waiter);
            assert!(start.elapsed() < LONG, "{name}");
        }
    }
    // Who is not woken looks only after 80 ms.
    assert!(start.elapsed() < Duration::from_millis(36 * 75), "{:?}", start.elapsed());
    value.store(6);
    let waiter = waiter(&value, 6);
    assert_eq!(value.fetch_and(3), 6);
    join(&waiter);
}

fn a_change_under_the_lock_wakes_too() {
    let value = Value::<i64>::new_waitable(0).unwrap();
    let start = Instant::now();
    for _ in 0..10 {
        value.store(0);
        let waiter = waiter(&value, 0);
        value.lock().unwrap().set(5);
        join(&waiter);
    }
    assert!(start.elapsed() < Duration::from_millis(10 * 75), "{:?}", start.elapsed());
}

fn a_time_out_is_none_and_a_look_is_a_look() {
    let value = Value::<u8>::new_waitable(7).unwrap();
    assert_eq!(value.wait_until_timeout(Duration::ZERO, |value| value == 7).unwrap(), Some(7));
    let start = Instant::now();
    assert_eq!(value.wait_until_timeout(Duration::ZERO, |value| value == 8).unwrap(), None);
    assert!(start.elapsed() < SHORT);
    let start = Instant::now();
    assert_eq!(value.wait_until_timeout(SHORT, |value| value == 8).unwrap(), None);
    assert!(start.elapsed() >= SHORT);
    assert_eq!(value.wait_until(|value| value < 8).unwrap(), 7);
}

fn a_plain_value_cannot_be_waited_for() {
    let value = Value::<f64>::new(1.0).unwrap();
    assert!(!value.is_waitable());
    is(value.wait_until(|_| true), ErrorKind::Invalid, &["not waitable", "create_waitable"]);
}

fn it_is_waitable_for_whoever_opens_it() {
    let segment = Segment::anonymous(4096).unwrap();
    let value = Value::create_waitable(segment.at("level"), 0.5f64).unwrap();
    let child = spawn(|| {
        let opened = Value::<f64>::open(segment.at("level")).unwrap();
        assert!(opened.is_waitable());
        assert_eq!(opened.wait_until(|level| level > 1.0).unwrap(), 2.5);
    });
    until_asleep(child.pid());
    value.fetch_add(2.0);
    join(&child);
    let plain = Value::create(segment.at("plain"), 1u8).unwrap();
    in_child(|| assert!(!Value::<u8>::open(segment.at("plain")).unwrap().is_waitable()));
    drop(plain);
    let wide = Value::new_waitable(u128::MAX - 1).unwrap();
    let child = spawn(|| assert_eq!(wide.wait_until(|wide| wide == 0).unwrap(), 0));
    wide.fetch_add(1);
    wide.fetch_add(1);
    join(&child);
    assert_eq!(wide.load(), 0, "the sleepers' word is not its neighbour's");
}

fn killed_and_stopped_waiters_keep_nobody() {
    let value = Value::<i64>::new_waitable(0).unwrap();
    let waiters: Vec<Process> = (0..3).map(|_| waiter(&value, 0)).collect();
    kill(&waiters[0]);
    stop(&waiters[1]);
    value.store(1);
    join(&waiters[2]);
    go_on(&waiters[1]);
    join(&waiters[1]);
}

fn waiters_are_served_whoever_of_the_writers_is_killed() {
    let value = Value::<i64>::new_waitable(0).unwrap();
    let mut random = Random::new(5);
    for round in 0..if quick() { 30 } else { 300 } {
        value.store(0);
        let waiter = waiter(&value, 0);
        let writer = spawn(|| {
            loop {
                value.fetch_add(1);
            }
        });
        random.pause(100);
        kill(&writer);
        if value.load() == 0 {
            value.store(1);
        }
        let start = Instant::now();
        join(&waiter);
        assert!(start.elapsed() < Duration::from_secs(2), "{:?} in round {round}", start.elapsed());
    }
}

fn rounds_of_two(rounds: u64) {
    let turn = Value::<u64>::new_waitable(0).unwrap();
    let late = |turn: Option<u64>, round| assert!(turn.is_some(), "lost in round {round}");
    let child = spawn(|| {
        for round in 0..rounds {
            late(turn.wait_until_timeout(LONG, |turn| turn == 2 * round + 1).unwrap(), round);
            turn.fetch_add(1);
        }
    });
    let start = Instant::now();
    for round in 0..rounds {
        turn.store(2 * round + 1);
        late(turn.wait_until_timeout(LONG, |turn| turn == 2 * round + 2).unwrap(), round);
    }
    println!("    {:.0} ns a round", start.elapsed().as_secs_f64() * 1e9 / rounds as f64);
    join(&child);
}

fn a_million_rounds_of_two_processes() {
    rounds_of_two(if quick() { 20_000 } else { 1_000_000 });
}

fn a_million_rounds_of_two_processes_on_one_processor() {
    crate::pin::to_one_processor();
    rounds_of_two(if quick() { 20_000 } else { 1_000_000 });
}

fn cancelling_ends_a_wait() {
    let value = Value::new_waitable(false).unwrap();
    let canceller = Canceller::new();
    let other = canceller.clone();
    let thread = std::thread::spawn(move || other.cancel());
    let ended = canceller.run(|| value.wait_until(|flag| flag));
    is(ended, ErrorKind::Interrupted, &["value", "cancelled"]);
    thread.join().unwrap();
}

fn waiting_costs_next_to_nothing() {
    let value = Value::new_waitable(0).unwrap();
    costs_next_to_nothing("Value::wait_until_timeout", || {
        assert_eq!(value.wait_until_timeout(Duration::from_secs(2), |now| now != 0).unwrap(), None);
    });
}

fn changes_with_nobody_asleep_make_no_system_call() {
    let value = Value::<i64>::new_waitable(0).unwrap();
    let used = || {
        for _ in 0..100 {
            value.store(1);
            value.fetch_add(1);
            value.wait_until(|now| now == 2).unwrap();
        }
    };
    assert!(without_system_calls(used, used));
    let asleep = Count::new();
    let child = spawn(|| {
        asleep.add(1);
        value.wait_until(|now| now == -1).unwrap();
    });
    until("it is about to sleep", LONG, || asleep.get() == 1);
    until_asleep(child.pid());
    assert!(!without_system_calls(|| (), || value.store(3)), "somebody sleeps");
    value.store(-1);
    join(&child);
}
