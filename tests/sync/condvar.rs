//! What a `Condvar` promises, over real processes.
//!
//! Of a46, waiting or notifying without the lock: the compiler refuses it here, for there is no guard then. It is in the C
//! tests.

use crate::common::{Test, until};
use crate::probe::{
    Count, LONG, Random, SHORT, costs_next_to_nothing, go_on, in_child, is, join, kill, spawn,
    stop, without_system_calls,
};
use crate::tests;
use mpshm::{
    Array, Canceller, Condvar, CondvarOptions, ErrorKind, LockError, Mutex, MutexGuard, Process,
    Segment, Value, WaitError,
};
use std::time::{Duration, Instant};

pub const TESTS: &[Test] = tests![
    a40_each_notification_wakes_exactly_one,
    a41_six_that_time_out_leave_nothing_and_six_new_ones_all_wake,
    a42_so_many_are_notified_and_nothing_is_remembered,
    a42_those_that_have_waited_longest_are_notified_first,
    a43_a_wait_without_a_notification_takes_its_time_and_holds_the_lock,
    a44_a_condition_is_waited_for,
    a45_a_wait_is_ended_by_a_child,
    a45_signals_do_not_show_and_cancelling_keeps_the_lock,
    a45_who_was_notified_before_it_was_cancelled_counts_as_notified,
    a46_a_recursive_lock_is_given_back_and_comes_back_as_deep,
    a46_a_guard_of_another_process_neither_waits_nor_notifies,
    b08_the_lock_of_one_that_died_meanwhile_comes_with_a_warning,
    b08_a_lock_that_was_lost_meanwhile_is_not_held,
    b10_notifying_after_a_waiter_was_killed_returns_at_once,
    b10_what_a_dead_one_was_notified_of_goes_to_the_next,
    b10_waiters_killed_at_random_lose_no_notification: 120,
    a_doubt_is_kept_over_a_wait,
    the_locks_of_values_and_arrays_serve_too,
    with_one_lock_at_a_time,
    the_table_full_of_the_living_is_a_limit_and_of_the_dead_is_none,
    a_stopped_waiter_does_not_keep_others_from_anything,
    what_is_no_condition_is_refused,
    waiting_costs_next_to_nothing,
    notifying_nobody_makes_no_system_call,
];

/// A lock, and what is waited for under it.
struct Place {
    lock: Mutex<u64>,
    changed: Condvar,
}

impl Place {
    fn new() -> Self {
        Self { lock: Mutex::new(0).unwrap(), changed: Condvar::new().unwrap() }
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.lock.lock().unwrap()
    }

    fn until_waiting(&self, count: u32) {
        until("they wait", LONG, || {
            let _guard = self.lock();
            self.changed.waiters() == count
        });
    }

    /// A child that waits once, and then counts.
    fn waiter<'a>(&'a self, awake: &'a Count) -> Process {
        spawn(|| {
            let mut guard = self.lock();
            assert!(self.changed.wait_timeout(&mut guard, LONG).unwrap());
            awake.add(1);
        })
    }

    fn notify(&self, count: u32) -> u32 {
        self.changed.notify(&self.lock(), count).unwrap()
    }
}

fn a40_each_notification_wakes_exactly_one() {
    let place = Place::new();
    let awake = Count::new();
    let child = place.waiter(&awake);
    let counter = awake.of(0);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut guard = place.lock();
            place.changed.wait(&mut guard).unwrap();
            counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        });
        place.until_waiting(2);
        assert!(place.changed.notify_one(&place.lock()).unwrap());
        until("one is awake", LONG, || awake.get() == 1);
        std::thread::sleep(4 * SHORT); // longer than a slice
        assert_eq!((awake.get(), place.changed.waiters()), (1, 1));
        assert!(place.changed.notify_one(&place.lock()).unwrap());
        thread.join().unwrap();
    });
    join(&child);
    assert_eq!(awake.get(), 2);
}

fn a41_six_that_time_out_leave_nothing_and_six_new_ones_all_wake() {
    let place = Place::new();
    let awake = Count::new();
    let six: Vec<Process> = (0..6)
        .map(|_| {
            spawn(|| {
                let mut guard = place.lock();
                assert!(!place.changed.wait_timeout(&mut guard, 2 * SHORT).unwrap());
            })
        })
        .collect();
    six.iter().for_each(join);
    assert_eq!(place.changed.waiters(), 0);
    let six: Vec<Process> = (0..6).map(|_| place.waiter(&awake)).collect();
    place.until_waiting(6);
    assert_eq!(place.changed.notify_all(&place.lock()).unwrap(), 6);
    six.iter().for_each(join);
    assert_eq!((awake.get(), place.changed.waiters()), (6, 0));
}

fn a42_so_many_are_notified_and_nothing_is_remembered() {
    let place = Place::new();
    let awake = Count::new();
    let six: Vec<Process> = (0..6).map(|_| place.waiter(&awake)).collect();
    place.until_waiting(6);
    assert_eq!(place.notify(2), 2);
    until("two are awake", LONG, || awake.get() == 2);
    std::thread::sleep(4 * SHORT);
    assert_eq!(awake.get(), 2);
    assert_eq!(place.notify(4), 4);
    six.iter().for_each(join);
    assert_eq!(awake.get(), 6);
    assert_eq!(place.notify(3), 0);
    let mut guard = place.lock();
    assert!(!place.changed.wait_timeout(&mut guard, SHORT).unwrap(), "not remembered");
}

fn a42_those_that_have_waited_longest_are_notified_first() {
    let place = Place::new();
    let order = Count::new();
    let waiters: Vec<Process> = (0..5)
        .map(|n| {
            let (place, order) = (&place, &order);
            let child = spawn(move || {
                let mut guard = place.lock();
                place.changed.wait(&mut guard).unwrap();
                assert_eq!(order.get(), n, "the turn of another one");
                order.add(1);
            });
            place.until_waiting(n as u32 + 1);
            child
        })
        .collect();
    for n in 1..=5 {
        assert_eq!(place.notify(1), 1);
        until("it had its turn", LONG, || order.get() == n);
    }
    waiters.iter().for_each(join);
}

fn a43_a_wait_without_a_notification_takes_its_time_and_holds_the_lock() {
    let place = Place::new();
    for wait in [Duration::ZERO, Duration::from_millis(1), 4 * SHORT] {
        let mut guard = place.lock();
        let start = Instant::now();
        assert!(!place.changed.wait_timeout(&mut guard, wait).unwrap());
        assert!(start.elapsed() >= wait);
        in_child(|| assert!(matches!(place.lock.try_lock(), Err(LockError::Busy))));
    }
    // It is free meanwhile; and a wait ends when the lock is free, however long that takes.
    let mut guard = place.lock();
    let holds = Value::new(false).unwrap();
    let child = spawn(|| {
        let mut guard = place.lock();
        guard.set(5);
        holds.store(true);
        std::thread::sleep(6 * SHORT);
    });
    let start = Instant::now();
    while !holds.load() {
        assert!(!place.changed.wait_timeout(&mut guard, SHORT).unwrap());
    }
    assert_eq!(guard.get(), 5);
    assert!(start.elapsed() >= 6 * SHORT);
    drop(guard);
    join(&child);
}

fn a44_a_condition_is_waited_for() {
    let place = Place::new();
    for (most, comes_true) in [(4, true), (3, false)] {
        place.lock().set(0);
        let child = spawn(|| {
            for _ in 0..most {
                std::thread::sleep(SHORT / 5);
                let mut guard = place.lock();
                guard.set(guard.get() + 1);
                place.changed.notify_one(&guard).unwrap();
            }
        });
        let wait = if comes_true { LONG } else { 6 * SHORT };
        let mut guard = place.lock();
        let start = Instant::now();
        let was = place.changed.wait_for(&mut guard, wait, |guard| guard.get() == 4).unwrap();
        assert_eq!(was, comes_true);
        assert!(comes_true || start.elapsed() >= wait);
        assert_eq!(guard.get(), most);
        drop(guard);
        join(&child);
    }
    let child = spawn(|| {
        let mut guard = place.lock();
        guard.set(7);
        place.changed.notify_all(&guard).unwrap();
    });
    let mut guard = place.lock();
    place.changed.wait_while(&mut guard, |guard| guard.get() != 7).unwrap();
    drop(guard);
    join(&child);
}

fn a45_a_wait_is_ended_by_a_child() {
    let place = Place::new();
    let mut guard = place.lock();
    assert!(!place.changed.wait_timeout(&mut guard, Duration::ZERO).unwrap());
    assert!(!place.changed.wait_timeout(&mut guard, 2 * SHORT).unwrap());
    let child = spawn(|| assert_eq!(place.notify(1), 1));
    assert!(place.changed.wait_timeout(&mut guard, LONG).unwrap());
    drop(guard);
    join(&child);
}

extern "C" fn nothing(_: i32) {}

fn a45_signals_do_not_show_and_cancelling_keeps_the_lock() {
    let place = Place::new();
    // SAFETY: a zeroed action with a handler that does nothing; a timer that is stopped below.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut());
    }
    let timer = |microseconds| {
        let time = libc::timeval { tv_sec: 0, tv_usec: microseconds };
        let timer = libc::itimerval { it_interval: time, it_value: time };
        // SAFETY: as above.
        unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
    };
    let mut guard = place.lock();
    let start = Instant::now();
    timer(1000);
    assert!(!place.changed.wait_timeout(&mut guard, 4 * SHORT).unwrap());
    timer(0);
    assert!(start.elapsed() >= 4 * SHORT);
    let canceller = Canceller::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            place.until_waiting(1);
            canceller.cancel();
        });
        let ended = canceller.run(|| place.changed.wait(&mut guard));
        assert!(matches!(ended, Err(WaitError::Interrupted)), "{ended:?}");
    });
    in_child(|| assert!(matches!(place.lock.try_lock(), Err(LockError::Busy)), "it is held"));
    assert_eq!(place.changed.waiters(), 0);
}

fn a45_who_was_notified_before_it_was_cancelled_counts_as_notified() {
    let place = Place::new();
    let canceller = Canceller::new();
    let mut guard = place.lock();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            place.until_waiting(1);
            let guard = place.lock();
            canceller.cancel();
            std::thread::sleep(SHORT); // it wakes, and waits for the lock
            assert_eq!(place.changed.notify(&guard, 1).unwrap(), 1);
        });
        assert!(canceller.run(|| place.changed.wait_timeout(&mut guard, LONG)).unwrap());
    });
}

fn a46_a_recursive_lock_is_given_back_and_comes_back_as_deep() {
    let lock = Mutex::recursive(0u64).unwrap();
    let changed = Condvar::new().unwrap();
    let mut guards = vec![lock.lock().unwrap(), lock.lock().unwrap(), lock.lock().unwrap()];
    let child = spawn(|| {
        let _outer = lock.lock().unwrap();
        let mut guard = lock.lock().unwrap();
        guard.set(1);
        changed.notify_all(&guard).unwrap();
    });
    changed.wait_while(&mut guards[1], |guard| guard.get() == 0).unwrap();
    join(&child);
    assert!(!changed.wait_timeout(&mut guards[2], SHORT).unwrap(), "also when its time is over");
    while let Some(guard) = guards.pop() {
        in_child(|| assert!(matches!(lock.try_lock(), Err(LockError::Busy))));
        drop(guard);
    }
    in_child(|| drop(lock.try_lock().unwrap()));
}

fn a46_a_guard_of_another_process_neither_waits_nor_notifies() {
    let place = Place::new();
    let mut guard = place.lock();
    in_child(|| {
        is(place.changed.wait(&mut guard), ErrorKind::NotOwner, &["not held"]);
        is(place.changed.notify_one(&guard), ErrorKind::NotOwner, &["not held"]);
        is(place.changed.notify_all(&guard), ErrorKind::NotOwner, &["not held"]);
    });
}

fn b08_the_lock_of_one_that_died_meanwhile_comes_with_a_warning() {
    let place = Place::new();
    for depth in [1, 2] {
        let mut guard = place.lock();
        let child = spawn(|| {
            let guard = place.lock();
            place.changed.notify(&guard, depth).unwrap();
            // SAFETY: no pointers.
            unsafe { libc::raise(libc::SIGKILL) };
        });
        let ended = place.changed.wait_timeout(&mut guard, LONG);
        assert!(matches!(ended, Err(WaitError::OwnerDead)), "{ended:?}");
        in_child(|| assert!(matches!(place.lock.try_lock(), Err(LockError::Busy)), "it is held"));
        guard.mark_consistent();
        drop(guard);
        drop(place.lock());
        child.join().unwrap();
    }
}

fn b08_a_lock_that_was_lost_meanwhile_is_not_held() {
    let lock = Mutex::recursive(0u64).unwrap();
    let changed = Condvar::new().unwrap();
    let mut guard = lock.lock().unwrap();
    let inner = lock.lock().unwrap();
    let children = spawn(|| {
        until("it waits", LONG, || changed.waiters() == 1);
        let dies = spawn(|| {
            std::mem::forget(lock.lock());
            // SAFETY: no pointers.
            unsafe { libc::raise(libc::SIGKILL) };
        });
        dies.join().unwrap();
        // Told of it, and without an oath: lost.
        match lock.lock() {
            Err(LockError::OwnerDead(guard)) => drop(guard),
            other => panic!("{other:?}"),
        }
    });
    let ended = changed.wait_timeout(&mut guard, 8 * SHORT);
    join(&children);
    assert!(matches!(ended, Err(WaitError::NotRecoverable)), "{ended:?}");
    is(changed.notify_one(&guard), ErrorKind::NotOwner, &[]);
    drop(guard);
    drop(inner); // neither makes the lock anybody's again
    in_child(|| assert!(matches!(lock.try_lock(), Err(LockError::NotRecoverable))));
    assert_eq!(changed.waiters(), 0);
}

fn b10_notifying_after_a_waiter_was_killed_returns_at_once() {
    let place = Place::new();
    let awake = Count::new();
    for all in [true, false] {
        let victim = place.waiter(&awake);
        place.until_waiting(1);
        let other = place.waiter(&awake);
        place.until_waiting(2);
        kill(&victim);
        let start = Instant::now();
        let notified = place.notify(if all { u32::MAX } else { 1 });
        assert!(start.elapsed() < SHORT, "{:?}", start.elapsed());
        assert_eq!(notified, 1, "the one that lives");
        join(&other);
        assert_eq!(place.changed.waiters(), 0);
    }
    assert_eq!(awake.get(), 2);
}

fn b10_what_a_dead_one_was_notified_of_goes_to_the_next() {
    let place = Place::new();
    let awake = Count::new();
    for _ in 0..5 {
        let before = awake.get();
        let victim = place.waiter(&awake);
        place.until_waiting(1);
        let next = place.waiter(&awake);
        place.until_waiting(2);
        stop(&victim);
        assert_eq!(place.notify(1), 1);
        let start = Instant::now();
        kill(&victim);
        join(&next);
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        assert_eq!(awake.get(), before + 1);
    }
    // To one that came later it does not go.
    let victim = place.waiter(&awake);
    place.until_waiting(1);
    stop(&victim);
    assert_eq!(place.notify(1), 1);
    kill(&victim);
    let mut guard = place.lock();
    assert!(!place.changed.wait_timeout(&mut guard, 8 * SHORT).unwrap(), "another one's");
}

fn b10_waiters_killed_at_random_lose_no_notification() {
    let lock = Mutex::new([0u64; 2]).unwrap(); // made, taken
    let changed = Condvar::new().unwrap();
    let locked = || match lock.lock() {
        Ok(guard) => guard,
        Err(LockError::OwnerDead(mut guard)) => {
            guard.mark_consistent();
            guard
        }
        Err(other) => panic!("{other:?}"),
    };
    let take = || {
        loop {
            let mut guard = locked();
            loop {
                let [made, taken] = guard.get();
                if taken < made {
                    guard.set([made, taken + 1]);
                    break;
                }
                match changed.wait(&mut guard) {
                    Ok(()) => {}
                    Err(WaitError::OwnerDead) => guard.mark_consistent(),
                    Err(other) => panic!("{other:?}"),
                }
            }
        }
    };
    let mut random = Random::new(7);
    let mut children: Vec<Process> = (0..4).map(|_| spawn(take)).collect();
    for _ in 0..200 {
        let mut guard = locked();
        let [made, taken] = guard.get();
        guard.set([made + 2, taken]);
        changed.notify(&guard, 2).unwrap();
        drop(guard);
        random.pause(300);
        let victim = random.below(4) as usize;
        kill(&children[victim]);
        children[victim] = spawn(take);
    }
    // Nobody notifies any more, and all is taken.
    until("all is taken", LONG, || {
        let [made, taken] = locked().get();
        made == taken
    });
    until("all wait", LONG, || {
        let _guard = locked();
        changed.waiters() == 4
    });
    for child in &children {
        assert!(child.is_alive(), "{:?}", child.panic_message());
        kill(child);
    }
}

fn a_doubt_is_kept_over_a_wait() {
    let place = Place::new();
    kill(&{
        let child = spawn(|| {
            let _guard = place.lock.lock();
            crate::probe::for_ever();
        });
        until("it holds the lock", LONG, || matches!(place.lock.try_lock(), Err(LockError::Busy)));
        child
    });
    let Err(LockError::OwnerDead(mut guard)) = place.lock.lock() else { panic!("no dead owner") };
    // Whoever has it meanwhile is told too, and so are we again: nothing was lost.
    let child = spawn(|| {
        until("the lock is given back", LONG, || match place.lock.try_lock() {
            Err(LockError::OwnerDead(guard)) => {
                place.changed.notify_all(&guard).unwrap();
                std::mem::forget(guard); // and dies
                true
            }
            _ => false,
        });
    });
    let ended = place.changed.wait_timeout(&mut guard, LONG);
    assert!(matches!(ended, Err(WaitError::OwnerDead)), "{ended:?}");
    join(&child);
    assert!(matches!(place.changed.wait_timeout(&mut guard, SHORT), Err(WaitError::OwnerDead)));
    guard.mark_consistent();
    assert!(!place.changed.wait_timeout(&mut guard, SHORT).unwrap());
}

fn the_locks_of_values_and_arrays_serve_too() {
    let (value, array) = (Value::new(0u32).unwrap(), Array::<u32>::new(2).unwrap());
    let (of_value, of_array) = (Condvar::new().unwrap(), Condvar::new().unwrap());
    let child = spawn(|| {
        let mut guard = value.lock().unwrap();
        guard.set(1);
        of_value.notify_all(&guard).unwrap();
        drop(guard);
        let guard = array.lock().unwrap();
        guard.store(1, 2).unwrap();
        of_array.notify_all(&guard).unwrap();
    });
    let mut guard = value.lock().unwrap();
    of_value.wait_while(&mut guard, |guard| guard.get() == 0).unwrap();
    let mut guard = array.lock().unwrap();
    of_array.wait_while(&mut guard, |guard| guard.load(1).unwrap() == 0).unwrap();
    join(&child);
}

fn with_one_lock_at_a_time() {
    let place = Place::new();
    let other = Mutex::new(0u64).unwrap();
    let awake = Count::new();
    let child = place.waiter(&awake);
    place.until_waiting(1);
    let mut guard = other.lock().unwrap();
    is(place.changed.wait(&mut guard), ErrorKind::Invalid, &["another lock"]);
    is(place.changed.notify_one(&guard), ErrorKind::Invalid, &["another lock"]);
    assert_eq!(place.notify(1), 1);
    join(&child);
    assert!(!place.changed.wait_timeout(&mut guard, SHORT).unwrap());
    assert!(!place.changed.notify_one(&guard).unwrap());
    // The dead wait with no lock.
    let child = place.waiter(&awake);
    place.until_waiting(1);
    kill(&child);
    assert!(!place.changed.wait_timeout(&mut guard, SHORT).unwrap());
}

fn the_table_full_of_the_living_is_a_limit_and_of_the_dead_is_none() {
    let place = Place {
        lock: Mutex::new(0).unwrap(),
        changed: Condvar::with_options(&CondvarOptions::new().waiters(2)).unwrap(),
    };
    let awake = Count::new();
    let two = [place.waiter(&awake), place.waiter(&awake)];
    place.until_waiting(2);
    let mut guard = place.lock();
    is(place.changed.wait(&mut guard), ErrorKind::Limit, &["2 wait"]);
    in_child(|| assert!(matches!(place.lock.try_lock(), Err(LockError::Busy)), "it is held"));
    drop(guard);
    two.iter().for_each(kill);
    let mut guard = place.lock();
    assert!(!place.changed.wait_timeout(&mut guard, SHORT).unwrap());
    for wrong in [0, 4097] {
        let options = CondvarOptions::new().waiters(wrong);
        is(Condvar::with_options(&options), ErrorKind::Invalid, &["4096"]);
    }
}

fn a_stopped_waiter_does_not_keep_others_from_anything() {
    let place = Place::new();
    let awake = Count::new();
    let stopped = place.waiter(&awake);
    place.until_waiting(1);
    let other = place.waiter(&awake);
    place.until_waiting(2);
    stop(&stopped);
    let start = Instant::now();
    assert_eq!(place.notify(2), 2);
    assert!(start.elapsed() < SHORT);
    join(&other);
    assert_eq!(awake.get(), 1);
    go_on(&stopped);
    join(&stopped);
    assert_eq!(awake.get(), 2);
}

fn what_is_no_condition_is_refused() {
    let segment = Segment::anonymous(16384).unwrap();
    let made = Condvar::create(segment.at("c"), &CondvarOptions::default()).unwrap();
    is(Mutex::<u64>::open(segment.at("c")), ErrorKind::Type, &["'c'", "Condvar"]);
    drop(Mutex::create(segment.at("m"), 1u32).unwrap());
    is(Condvar::open(segment.at("m")), ErrorKind::Type, &["'m'", "Mutex"]);
    is(Condvar::open(segment.at("n")), ErrorKind::NotFound, &["'n'"]);
    let few = CondvarOptions::new().waiters(1);
    is(Condvar::create(segment.at("c"), &few), ErrorKind::Exists, &["'c'"]);
    let opened = Condvar::open_or_create(segment.at("c"), &few).unwrap();
    let lock = Mutex::open_or_create(segment.at("l"), 0u64).unwrap();
    let child = spawn(|| {
        let mut guard = lock.lock().unwrap();
        assert!(made.wait_timeout(&mut guard, LONG).unwrap());
    });
    until("it waits", LONG, || opened.notify_one(&lock.lock().unwrap()).unwrap());
    join(&child);
}

fn waiting_costs_next_to_nothing() {
    let place = Place::new();
    costs_next_to_nothing("a wait for a condition", || {
        let mut guard = place.lock();
        let wait = Duration::from_secs(2);
        assert!(!place.changed.wait_timeout(&mut guard, wait).unwrap());
    });
}

fn notifying_nobody_makes_no_system_call() {
    let place = Place::new();
    let warm_up = || assert_eq!(place.notify(1), 0);
    let came_through = without_system_calls(warm_up, || {
        for _ in 0..100 {
            assert_eq!(place.notify(1), 0);
            assert_eq!(place.notify(u32::MAX), 0);
        }
    });
    assert!(came_through);
    let came_through = without_system_calls(warm_up, || {
        let mut guard = place.lock();
        let _ = place.changed.wait_timeout(&mut guard, SHORT);
    });
    assert!(!came_through, "a system call is seen");
}
