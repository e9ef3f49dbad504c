//! Mutexes that their owner may lock again.

use crate::common::until;
use crate::probe::{
    LONG, SHORT, for_ever, in_child, is, join, kill, spawn, until_asleep, without_system_calls,
};
use mpshm::{ErrorKind, LockError, Mutex, Process, Segment, Value};
use std::time::Instant;

/// How often a thread can hold one.
const MOST: usize = 65_535;

pub fn a35_three_locks_need_three_unlocks() {
    let mutex = Mutex::recursive(0u64).unwrap();
    let mut guards = Vec::new();
    for depth in 0..3 {
        let mut guard = mutex.lock().unwrap();
        assert_eq!(guard.get(), depth);
        guard.set(depth + 1);
        guards.push(guard);
    }
    guards.push(mutex.try_lock().unwrap());
    guards.push(mutex.lock_timeout(SHORT).unwrap());
    let busy = || assert!(matches!(mutex.try_lock(), Err(LockError::Busy)));
    while let Some(guard) = guards.pop() {
        in_child(busy);
        std::thread::scope(|scope| scope.spawn(busy).join().unwrap());
        assert_eq!(guard.get(), 3);
    }
    in_child(|| assert_eq!(mutex.try_lock().unwrap().get(), 3));
    // In any order: the lock is free with the last one.
    let (first, second) = (mutex.lock().unwrap(), mutex.lock().unwrap());
    drop(first);
    in_child(busy);
    drop(second);
    in_child(|| drop(mutex.try_lock().unwrap()));
}

pub fn a35_a_waiter_gets_it_with_the_last_unlock() {
    let mutex = Mutex::recursive(0u64).unwrap();
    let (mut outer, inner) = (mutex.lock().unwrap(), mutex.lock().unwrap());
    let waiter = spawn(|| assert_eq!(mutex.lock().unwrap().get(), 5));
    until_asleep(waiter.pid());
    drop(inner);
    assert_eq!(waiter.join_timeout(4 * SHORT).unwrap(), None, "one unlock of two");
    outer.set(5);
    drop(outer);
    join(&waiter);
}

pub fn a_mutex_is_what_it_was_made_as() {
    let segment = Segment::anonymous(16384).unwrap();
    let twice = Mutex::create_recursive(segment.at("twice"), 7u32).unwrap();
    let once = Mutex::create(segment.at("once"), 8u32).unwrap();
    assert!(twice.is_recursive() && !once.is_recursive());
    let opened = Mutex::<u32>::open(segment.at("twice")).unwrap();
    assert!(opened.is_recursive());
    let guard = twice.lock().unwrap();
    assert_eq!(opened.lock().unwrap().get(), 7, "two handles, one lock");
    drop(guard);
    let plain = Mutex::open_or_create_recursive(segment.at("once"), 0u32).unwrap();
    assert!(!plain.is_recursive());
    let guard = plain.lock().unwrap();
    assert_eq!(guard.get(), 8);
    assert!(matches!(once.lock(), Err(LockError::Deadlock)), "a plain one stays plain");
    drop(guard);
    let opened = Mutex::open_or_create(segment.at("twice"), 0u32).unwrap();
    assert!(opened.is_recursive());
    let made = Mutex::open_or_create_recursive(segment.at("new"), 9u32).unwrap();
    assert!(made.is_recursive() && made.lock().unwrap().get() == 9);
    is(Mutex::create_recursive(segment.at("new"), 1u32), ErrorKind::Exists, &["'new'"]);
}

pub fn locking_too_often_is_an_error() {
    let mutex = Mutex::recursive(0u8).unwrap();
    let guards: Vec<_> = (0..MOST).map(|_| mutex.lock().unwrap()).collect();
    for _ in 0..2 {
        is(mutex.lock(), ErrorKind::Limit, &["65535"]);
        is(mutex.try_lock(), ErrorKind::Limit, &["65535"]);
    }
    drop(guards);
    in_child(|| drop(mutex.try_lock().unwrap()));
}

/// A child that holds the lock so many times until it is killed.
fn owner(mutex: &Mutex<u64>, depth: usize) -> Process {
    let holds = Value::new(false).unwrap();
    let child = spawn(|| {
        let _guards: Vec<_> = (0..depth).map(|_| mutex.lock()).collect();
        holds.store(true);
        for_ever();
    });
    until("the child holds the lock", LONG, || holds.load());
    child
}

pub fn b08_who_comes_after_a_dead_owner_holds_it_once() {
    let mutex = Mutex::recursive(1u64).unwrap();
    for depth in [1, 2, 5] {
        kill(&owner(&mutex, depth));
        let Err(LockError::OwnerDead(mut guard)) = mutex.lock() else { panic!("no dead owner") };
        // Locking again does not hide the doubt.
        let Err(LockError::OwnerDead(inner)) = mutex.lock() else { panic!("no doubt left") };
        drop(inner);
        guard.mark_consistent();
        drop(mutex.lock().unwrap());
        drop(guard);
        in_child(|| drop(mutex.try_lock().unwrap()));
    }
    // The last of several unlocks decides, and any of the guards can swear.
    kill(&owner(&mutex, 3));
    let Err(LockError::OwnerDead(outer)) = mutex.lock() else { panic!("no dead owner") };
    let Err(LockError::OwnerDead(mut inner)) = mutex.lock() else { panic!("no doubt left") };
    drop(outer);
    inner.mark_consistent();
    drop(inner);
    drop(mutex.lock().unwrap());
    kill(&owner(&mutex, 2));
    let (outer, inner) = (mutex.lock().unwrap_err(), mutex.lock().unwrap_err());
    drop(inner);
    in_child(|| assert!(matches!(mutex.try_lock(), Err(LockError::Busy)), "held once more"));
    drop(outer);
    in_child(|| assert!(matches!(mutex.try_lock(), Err(LockError::NotRecoverable))));
}

pub fn b08_a_sleeper_at_a_recursive_lock_learns_of_a_dead_owner() {
    let mutex = Mutex::recursive(1u64).unwrap();
    let child = owner(&mutex, 4);
    let sleeper = spawn(|| match mutex.lock() {
        Err(LockError::OwnerDead(mut guard)) => guard.mark_consistent(),
        other => panic!("{other:?}"),
    });
    until_asleep(sleeper.pid());
    let start = Instant::now();
    kill(&child);
    join(&sleeper);
    assert!(start.elapsed().as_millis() < 1000, "{:?}", start.elapsed());
    drop(mutex.try_lock().unwrap());
}

pub fn a_child_does_not_hold_what_its_parent_holds_twice() {
    let mutex = Mutex::recursive(1u64).unwrap();
    let mut guards = Some((mutex.lock().unwrap(), mutex.lock().unwrap()));
    in_child(|| {
        assert!(matches!(mutex.try_lock(), Err(LockError::Busy)));
        drop(guards.take()); // the child's copies
        assert!(matches!(mutex.try_lock(), Err(LockError::Busy)));
    });
    drop(guards);
    in_child(|| drop(mutex.try_lock().unwrap()));
}

pub fn locking_again_makes_no_system_call() {
    let mutex = Mutex::recursive(0u64).unwrap();
    let came_through = without_system_calls(
        || drop(mutex.lock().unwrap()),
        || {
            for _ in 0..100 {
                let _outer = mutex.lock().unwrap();
                let _inner = mutex.try_lock().unwrap();
            }
        },
    );
    assert!(came_through);
}
