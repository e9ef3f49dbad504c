//! What a `Latch` promises, over real processes.

use crate::common::{Test, until};
use crate::probe::{
    LONG, Random, SHORT, costs_next_to_nothing, go_on, in_child, is, join, kill, spawn, stop,
    until_asleep, without_system_calls,
};
use crate::tests;
use mpshm::{Canceller, ErrorKind, Event, Latch, Process, Segment};
use std::time::{Duration, Instant};

pub const TESTS: &[Test] = tests![
    it_opens_when_all_have_arrived_and_stays_open,
    a_count_below_nothing_is_an_error_and_changes_nothing,
    parties_wait_for_each_other: 60,
    who_dies_before_it_arrives_is_waited_for_until_the_deadline,
    killed_and_stopped_waiters_keep_nobody,
    whoever_is_killed_arrives_once_at_most: 60,
    cancelling_ends_a_wait,
    opening_by_name_finds_it_as_it_is,
    waiting_costs_next_to_nothing,
    what_does_not_wait_makes_no_system_call,
];

fn quick() -> bool {
    std::env::var_os("MPSHM_QUICK").is_some()
}

fn it_opens_when_all_have_arrived_and_stays_open() {
    let latch = Latch::new(3).unwrap();
    assert!(!latch.wait_timeout(Duration::ZERO).unwrap());
    let start = Instant::now();
    assert!(!latch.wait_timeout(SHORT).unwrap());
    assert!(start.elapsed() >= SHORT);
    in_child(|| latch.count_down(1).unwrap());
    assert_eq!(latch.count(), 2);
    let parent = std::process::id();
    let child = spawn(|| {
        until_asleep(parent);
        latch.count_down(2).unwrap();
    });
    latch.wait().unwrap();
    join(&child);
    assert_eq!(latch.count(), 0);
    latch.wait().unwrap();
    assert!(latch.wait_timeout(Duration::ZERO).unwrap());
    Latch::new(0).unwrap().wait().unwrap();
}

fn a_count_below_nothing_is_an_error_and_changes_nothing() {
    let latch = Latch::new(2).unwrap();
    is(latch.count_down(3), ErrorKind::Invalid, &["by 3", "2 are left"]);
    is(latch.count_down(0), ErrorKind::Invalid, &["by 0"]);
    assert_eq!(latch.count(), 2);
    latch.count_down(2).unwrap();
    is(latch.count_down(1), ErrorKind::Invalid, &["by 1", "0 are left"]);
    is(latch.arrive_and_wait(), ErrorKind::Invalid, &["0 are left"]);
    let most = Latch::new(u64::MAX).unwrap();
    most.count_down(u64::MAX).unwrap();
    most.wait().unwrap();
}

fn parties_wait_for_each_other() {
    for _ in 0..if quick() { 100 } else { 1000 } {
        let latch = Latch::new(3).unwrap();
        let children: Vec<Process> =
            (0..2).map(|_| spawn(|| latch.arrive_and_wait().unwrap())).collect();
        latch.arrive_and_wait().unwrap();
        assert_eq!(latch.count(), 0);
        children.iter().for_each(join);
    }
}

fn who_dies_before_it_arrives_is_waited_for_until_the_deadline() {
    let latch = Latch::new(2).unwrap();
    let never = Event::new().unwrap();
    let dies = spawn(|| {
        never.wait().unwrap();
        latch.count_down(1).unwrap();
    });
    latch.count_down(1).unwrap();
    kill(&dies);
    assert!(!latch.wait_timeout(SHORT).unwrap());
    latch.count_down(1).unwrap(); // in its place
    latch.wait().unwrap();
}

fn killed_and_stopped_waiters_keep_nobody() {
    let latch = Latch::new(1).unwrap();
    let waiters: Vec<Process> = (0..3).map(|_| spawn(|| latch.wait().unwrap())).collect();
    waiters.iter().for_each(|waiter| until_asleep(waiter.pid()));
    kill(&waiters[0]);
    stop(&waiters[1]);
    let start = Instant::now();
    latch.count_down(1).unwrap();
    assert!(start.elapsed() < Duration::from_secs(1));
    join(&waiters[2]);
    go_on(&waiters[1]);
    join(&waiters[1]);
}

fn whoever_is_killed_arrives_once_at_most() {
    let mut random = Random::new(3);
    let (mut arrived, rounds) = (0, if quick() { 50 } else { 500 });
    for _ in 0..rounds {
        let latch = Latch::new(2).unwrap();
        let waiter = spawn(|| latch.wait().unwrap());
        until_asleep(waiter.pid());
        let dies = spawn(|| latch.count_down(1).unwrap());
        random.pause(2000);
        let _ = dies.kill();
        dies.join().unwrap();
        let left = latch.count();
        assert!(left == 1 || left == 2, "{left}");
        arrived += u64::from(left == 1);
        latch.count_down(left).unwrap();
        join(&waiter);
    }
    println!("    {arrived} of {rounds} had arrived");
}

fn cancelling_ends_a_wait() {
    let latch = Latch::new(2).unwrap();
    let canceller = Canceller::new();
    let other = canceller.clone();
    let thread = std::thread::spawn(move || other.cancel());
    is(canceller.run(|| latch.arrive_and_wait()), ErrorKind::Interrupted, &["latch", "cancelled"]);
    thread.join().unwrap();
    assert_eq!(latch.count(), 1, "it has arrived");
}

fn opening_by_name_finds_it_as_it_is() {
    let segment = Segment::anonymous(4096).unwrap();
    let latch = Latch::create(segment.at("start"), 2).unwrap();
    in_child(|| Latch::open(segment.at("start")).unwrap().count_down(1).unwrap());
    assert_eq!(Latch::open_or_create(segment.at("start"), 7).unwrap().count(), 1);
    is(Event::open(segment.at("start")), ErrorKind::Type, &["Latch", "Event"]);
    is(Latch::open(segment.at("other")), ErrorKind::NotFound, &["other"]);
    mpshm::recover(&segment).unwrap();
    assert_eq!(latch.count(), 1);
    assert_eq!(segment.objects().unwrap()[0].kind, Some(mpshm::ObjectKind::Latch));
}

fn waiting_costs_next_to_nothing() {
    let latch = Latch::new(1).unwrap();
    costs_next_to_nothing("Latch::wait_timeout", || {
        assert!(!latch.wait_timeout(Duration::from_secs(2)).unwrap());
    });
}

fn what_does_not_wait_makes_no_system_call() {
    let latch = Latch::new(1000).unwrap();
    let used = || {
        for _ in 0..100 {
            latch.count_down(1).unwrap();
            assert!(latch.count() > 0);
        }
    };
    assert!(without_system_calls(|| (), used));
    latch.count_down(900).unwrap();
    assert!(without_system_calls(|| (), || latch.wait().unwrap()));
    let other = Latch::new(1).unwrap();
    let waiter = spawn(|| other.wait().unwrap());
    until_asleep(waiter.pid());
    assert!(!without_system_calls(|| (), || other.count_down(1).unwrap()), "somebody sleeps");
    until("the waiter has gone on", LONG, || !waiter.is_alive());
    join(&waiter);
}
