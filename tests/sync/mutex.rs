//! What a `Mutex` promises, over real processes.
//!
//! Lines of the list of behaviours that are not here: of a34, the release of a free lock (only a guard
//! can release, and there is none then: the compiler refuses); of a35, the release by another thread or process,
//! or one too many, for the same reason. Both are in the C tests.

mod recursive;

use crate::common::{Test, state_of, until};
use crate::probe::{
    Count, LONG, Random, SHORT, costs_next_to_nothing, for_ever, go_on, in_child, is, join, kill,
    spawn, stop, until_asleep, without_system_calls,
};
use crate::tests;
use mpshm::{Canceller, ErrorKind, LockError, Mutex, Process, Segment, Value};
use recursive::*;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub const TESTS: &[Test] = tests![
    a34_a_held_lock_is_busy_for_others_and_free_after_its_release,
    a34_a_lock_with_a_time_out_waits_that_long,
    a35_three_locks_need_three_unlocks,
    a35_a_waiter_gets_it_with_the_last_unlock,
    a36_a_guard_unlocks_on_every_way_out,
    b08_the_next_locker_learns_of_a_dead_owner_within_10_ms,
    b08_a_sleeper_learns_of_a_dead_owner,
    b08_a_lock_that_was_not_marked_consistent_is_lost_for_all,
    b08_a_zombie_is_dead,
    b08_an_owner_whose_idle_child_keeps_its_descriptor_is_dead,
    b08_owners_killed_at_random_leave_a_lock_that_works: 120,
    b08_who_comes_after_a_dead_owner_holds_it_once,
    b08_a_sleeper_at_a_recursive_lock_learns_of_a_dead_owner,
    b24_four_processes_exclude_each_other: 60,
    a_stopped_owner_keeps_the_lock,
    a_stopped_sleeper_does_not_keep_the_lock_from_others,
    a_killed_sleeper_does_not_keep_the_lock_from_others: 60,
    the_same_thread_is_told_instead_of_waiting_for_itself,
    another_thread_of_the_owner_waits,
    a_copy_of_a_guard_in_a_child_does_nothing,
    a_lock_from_before_a_fork_is_the_childs_to_take,
    cancelling_ends_a_wait_from_a_thread,
    cancelling_ends_a_wait_from_a_signal_handler,
    signals_do_not_show,
    centuries_are_for_ever_and_the_past_is_now,
    opening_as_another_type_is_an_error,
    the_data_can_be_of_any_size_and_alignment,
    b31_a_participant_too_many_is_told_so_and_the_dead_make_room,
    waiting_costs_next_to_nothing,
    locking_without_contention_makes_no_system_call,
    handing_over_is_not_lost_among_many_sleepers: 60,
    a_mutex_is_what_it_was_made_as,
    locking_too_often_is_an_error,
    a_child_does_not_hold_what_its_parent_holds_twice,
    locking_again_makes_no_system_call,
];

fn a34_a_held_lock_is_busy_for_others_and_free_after_its_release() {
    let mutex = Mutex::new(0u32).unwrap();
    let guard = mutex.try_lock().unwrap();
    in_child(|| assert!(matches!(mutex.try_lock(), Err(LockError::Busy))));
    drop(guard);
    in_child(|| mutex.try_lock().unwrap().set(5));
    assert_eq!(mutex.lock().unwrap().get(), 5);
}

fn a34_a_lock_with_a_time_out_waits_that_long() {
    let mutex = Mutex::new(0u32).unwrap();
    let guard = mutex.lock().unwrap();
    in_child(|| {
        for wait in [Duration::from_millis(1), SHORT, 4 * SHORT] {
            let start = Instant::now();
            assert!(matches!(mutex.lock_timeout(wait), Err(LockError::TimedOut)));
            assert!(start.elapsed() >= wait, "{:?} of {wait:?}", start.elapsed());
        }
    });
    drop(guard);
    let holds = Value::new(false).unwrap();
    let owner = spawn(|| {
        let _guard = mutex.lock().unwrap();
        holds.store(true);
        std::thread::sleep(SHORT);
    });
    until("the child holds the lock", LONG, || holds.load());
    drop(mutex.lock_timeout(LONG).unwrap());
    join(&owner);
}

fn a36_a_guard_unlocks_on_every_way_out() {
    let mutex = Mutex::new(0u32).unwrap();
    let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut guard = mutex.lock().unwrap();
        guard.set(1);
        panic!("on purpose");
    }));
    assert!(panics.is_err());
    assert_eq!(mutex.try_lock().unwrap().get(), 1, "a panic unlocks, and leaves no mark");
    let early = || -> Option<()> {
        let mut guard = mutex.lock().unwrap();
        guard.set(2);
        None?;
        guard.set(3);
        Some(())
    };
    assert_eq!(early(), None);
    for round in 0..3 {
        let mut guard = mutex.try_lock().unwrap();
        guard.set(guard.get() + round);
        if round == 1 {
            break;
        }
    }
    assert_eq!(mutex.try_lock().unwrap().get(), 3);
}

/// A child that holds the lock until it is killed.
fn owner(mutex: &Mutex<u64>) -> Process {
    let holds = Value::new(false).unwrap();
    let child = spawn(|| {
        let guard = mutex.lock();
        holds.store(guard.is_ok());
        for_ever();
    });
    until("the child holds the lock", LONG, || holds.load());
    child
}

/// The lock comes with the warning; it is marked as consistent and released.
#[track_caller]
fn repair(mutex: &Mutex<u64>) {
    match mutex.lock_timeout(LONG) {
        Err(LockError::OwnerDead(mut guard)) => guard.mark_consistent(),
        other => panic!("{other:?}"),
    }
    drop(mutex.try_lock().unwrap());
}

fn b08_the_next_locker_learns_of_a_dead_owner_within_10_ms() {
    let mutex = Mutex::new(0u64).unwrap();
    let mut best = Duration::MAX;
    for _ in 0..10 {
        let child = owner(&mutex);
        assert!(matches!(mutex.try_lock(), Err(LockError::Busy)));
        kill(&child);
        let start = Instant::now();
        repair(&mutex);
        best = best.min(start.elapsed());
    }
    println!("    the best of ten: {best:?}");
    assert!(best < Duration::from_millis(10));
    // A call that does not wait is told as well.
    kill(&owner(&mutex));
    assert!(matches!(mutex.try_lock(), Err(LockError::OwnerDead(_))));
}

fn b08_a_sleeper_learns_of_a_dead_owner() {
    let mutex = Mutex::new(0u64).unwrap();
    let child = owner(&mutex);
    let sleepers: Vec<Process> = (0..3)
        .map(|_| {
            spawn(|| match mutex.lock() {
                Ok(_guard) => {}
                Err(LockError::OwnerDead(mut guard)) => {
                    guard.set(guard.get() + 1);
                    guard.mark_consistent();
                }
                Err(other) => panic!("{other:?}"),
            })
        })
        .collect();
    sleepers.iter().for_each(|sleeper| until_asleep(sleeper.pid()));
    let start = Instant::now();
    kill(&child);
    sleepers.iter().for_each(join);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(mutex.lock().unwrap().get(), 1, "exactly one was told");
}

fn b08_a_lock_that_was_not_marked_consistent_is_lost_for_all() {
    let mutex = Mutex::new(0u64).unwrap();
    let child = owner(&mutex);
    let sleeper = spawn(|| {
        // Whoever comes first is told; the other is told when the lock is lost.
        let refused = mutex.lock().unwrap_err();
        let kind = refused.kind();
        assert!([ErrorKind::OwnerDead, ErrorKind::NotRecoverable].contains(&kind), "{refused:?}");
    });
    until_asleep(sleeper.pid());
    kill(&child);
    let first = mutex.lock().unwrap_err();
    let kind = first.kind();
    assert!([ErrorKind::OwnerDead, ErrorKind::NotRecoverable].contains(&kind), "{first:?}");
    drop(first);
    join(&sleeper);
    assert!(matches!(mutex.lock(), Err(LockError::NotRecoverable)));
    assert!(matches!(mutex.try_lock(), Err(LockError::NotRecoverable)));
    in_child(|| assert!(matches!(mutex.lock_timeout(SHORT), Err(LockError::NotRecoverable))));
}

fn b08_a_zombie_is_dead() {
    let mutex = Mutex::new(0u64).unwrap();
    let child = owner(&mutex);
    child.kill().unwrap();
    until("the child is a zombie", LONG, || state_of(child.pid()) == Some('Z'));
    repair(&mutex);
    child.join().unwrap();
}

fn b08_an_owner_whose_idle_child_keeps_its_descriptor_is_dead() {
    let mutex = Mutex::new(0u64).unwrap();
    let idle = Count::new();
    let owner = spawn(|| {
        let _guard = mutex.lock().unwrap();
        // A child that has all descriptors and never calls: it holds the byte lock open.
        // SAFETY: the child only sleeps, and is killed below.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            for_ever();
        }
        idle.add(pid as u64);
        for_ever();
    });
    until("the owner has forked", LONG, || idle.get() != 0);
    kill(&owner);
    let start = Instant::now();
    repair(&mutex);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    // The runner made this process the one that orphans come to.
    let pid = idle.get() as i32;
    assert_eq!(state_of(pid as u32).map(|state| state != 'Z'), Some(true), "it was there");
    // SAFETY: our own descendant, which is reaped here.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        assert_eq!(libc::waitpid(pid, std::ptr::null_mut(), 0), pid);
    }
}

fn b08_owners_killed_at_random_leave_a_lock_that_works() {
    const KILLS: usize = 300;
    let mutex = Mutex::new([0u64; 16]).unwrap();
    let told = Count::new();
    let work = || {
        loop {
            let mut guard = match mutex.lock() {
                Ok(guard) => {
                    let [first, rest @ ..] = guard.get();
                    assert!(rest.iter().all(|&n| n == first), "{:?}", guard.get());
                    guard
                }
                Err(LockError::OwnerDead(mut guard)) => {
                    told.add(1);
                    let most = guard.get().into_iter().max().unwrap();
                    guard.set([most; 16]);
                    guard.mark_consistent();
                    guard
                }
                Err(other) => panic!("{other:?}"),
            };
            let next = guard.get()[0] + 1;
            let place = guard.as_ptr().cast::<u64>();
            for index in 0..16 {
                // SAFETY: inside the value, under the lock; volatile, so that a kill finds it half done.
                unsafe { place.add(index).write_volatile(next) };
            }
        }
    };
    let mut random = Random::new(1);
    let mut children: Vec<Process> = (0..4).map(|_| spawn(work)).collect();
    for _ in 0..KILLS {
        random.pause(400);
        let victim = random.below(4) as usize;
        kill(&children[victim]);
        children[victim] = spawn(work);
    }
    // The survivors go on, and none of them has seen half of a change.
    let seen = || match mutex.lock_timeout(LONG) {
        Ok(guard) => guard.get()[0],
        Err(LockError::OwnerDead(mut guard)) => {
            let most = guard.get().into_iter().max().unwrap();
            guard.set([most; 16]);
            guard.mark_consistent();
            most
        }
        Err(other) => panic!("{other:?}"),
    };
    let before = seen();
    until("the lock goes round", LONG, || seen() > before + 1000);
    println!("    {KILLS} kills, {} of them with the lock held, {before} rounds", told.get());
    assert!(told.get() > 0, "no owner was killed");
    for child in &children {
        assert!(child.is_alive(), "{:?}", child.panic_message());
        kill(child);
    }
}

fn b24_four_processes_exclude_each_other() {
    let mutex = Mutex::new([0u64, 0]).unwrap();
    let children: Vec<Process> = (0..4)
        .map(|_| {
            spawn(|| {
                for _ in 0..500_000 {
                    let mut guard = mutex.lock().unwrap();
                    let [a, b] = guard.get();
                    assert_eq!(a * 2, b);
                    guard.set([a + 1, b + 2]);
                }
            })
        })
        .collect();
    for child in &children {
        assert!(child.join().unwrap().success(), "{:?}", child.panic_message());
    }
    assert_eq!(mutex.lock().unwrap().get(), [2_000_000, 4_000_000]);
}

fn a_stopped_owner_keeps_the_lock() {
    let mutex = Mutex::new(0u64).unwrap();
    let (holds, release) = (Value::new(false).unwrap(), Value::new(false).unwrap());
    let child = spawn(|| {
        let mut guard = mutex.lock().unwrap();
        holds.store(true);
        until("it may release", LONG, || release.load());
        guard.set(7);
    });
    until("the child holds the lock", LONG, || holds.load());
    stop(&child);
    assert!(matches!(mutex.try_lock(), Err(LockError::Busy)));
    // Longer than any slice after which a death would be looked for.
    assert!(matches!(mutex.lock_timeout(5 * SHORT), Err(LockError::TimedOut)));
    release.store(true);
    go_on(&child);
    assert_eq!(mutex.lock_timeout(LONG).unwrap().get(), 7);
    join(&child);
}

fn a_stopped_sleeper_does_not_keep_the_lock_from_others() {
    let mutex = Mutex::new(0u64).unwrap();
    let guard = mutex.lock().unwrap();
    let sleeper = spawn(|| {
        let mut guard = mutex.lock().unwrap();
        guard.set(guard.get() + 1);
    });
    until_asleep(sleeper.pid());
    stop(&sleeper);
    drop(guard); // wakes the stopped one
    let other = spawn(|| {
        let mut guard = mutex.lock().unwrap();
        guard.set(guard.get() + 1);
    });
    join(&other);
    go_on(&sleeper);
    join(&sleeper);
    assert_eq!(mutex.lock().unwrap().get(), 2);
}

fn a_killed_sleeper_does_not_keep_the_lock_from_others() {
    let mutex = Mutex::new(0u64).unwrap();
    let mut random = Random::new(2);
    for _ in 0..20 {
        let guard = mutex.lock().unwrap();
        let [victim, other] = [(); 2].map(|()| {
            spawn(|| match mutex.lock() {
                Ok(mut guard) => guard.set(guard.get() + 1),
                Err(LockError::OwnerDead(mut guard)) => guard.mark_consistent(),
                Err(error) => panic!("{error:?}"),
            })
        });
        until_asleep(victim.pid());
        until_asleep(other.pid());
        drop(guard); // wakes one of the two
        random.pause(30);
        victim.kill().unwrap();
        let start = Instant::now();
        join(&other);
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        victim.join().unwrap();
        if let Err(LockError::OwnerDead(mut guard)) = mutex.lock_timeout(LONG) {
            guard.mark_consistent();
        }
    }
}

fn the_same_thread_is_told_instead_of_waiting_for_itself() {
    let mutex = Mutex::new(0u64).unwrap();
    let guard = mutex.lock().unwrap();
    assert!(matches!(mutex.lock(), Err(LockError::Deadlock)));
    assert!(matches!(mutex.try_lock(), Err(LockError::Deadlock)));
    assert!(matches!(mutex.lock_timeout(SHORT), Err(LockError::Deadlock)));
    drop(guard);
    drop(mutex.lock().unwrap());
    let again = mutex.lock().unwrap();
    assert!(matches!(mutex.lock(), Err(LockError::Deadlock)));
    drop(again);
}

fn another_thread_of_the_owner_waits() {
    let mutex = Mutex::new(0u64).unwrap();
    let mut guard = mutex.lock().unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            assert!(matches!(mutex.try_lock(), Err(LockError::Busy)));
            assert!(matches!(mutex.lock_timeout(SHORT), Err(LockError::TimedOut)));
            mutex.lock().unwrap().get()
        });
        std::thread::sleep(2 * SHORT);
        guard.set(3);
        drop(guard);
        assert_eq!(thread.join().unwrap(), 3);
    });
}

fn a_copy_of_a_guard_in_a_child_does_nothing() {
    let mutex = Mutex::new(1u64).unwrap();
    let mut guard = Some(mutex.lock().unwrap());
    in_child(|| {
        drop(guard.take()); // the child's copy
        assert!(matches!(mutex.try_lock(), Err(LockError::Busy)), "the lock is the parent's");
    });
    in_child(|| assert!(matches!(mutex.try_lock(), Err(LockError::Busy))));
    guard.as_mut().unwrap().set(2);
    drop(guard);
    in_child(|| assert_eq!(mutex.try_lock().unwrap().get(), 2));

    // Nor does its word on consistency count.
    kill(&owner(&mutex));
    let Err(LockError::OwnerDead(guard)) = mutex.lock() else { panic!("no dead owner") };
    let mut guard = Some(guard);
    in_child(|| guard.as_mut().unwrap().mark_consistent());
    drop(guard);
    assert!(matches!(mutex.lock(), Err(LockError::NotRecoverable)));
}

fn a_lock_from_before_a_fork_is_the_childs_to_take() {
    let mutex = Mutex::new(1u64).unwrap();
    drop(mutex.lock().unwrap());
    let child = spawn(|| {
        let guard = mutex.lock().unwrap();
        assert!(matches!(mutex.lock(), Err(LockError::Deadlock)));
        drop(guard);
        in_child(|| drop(mutex.lock().unwrap()));
    });
    join(&child);
    drop(mutex.lock().unwrap());
}

fn cancelling_ends_a_wait_from_a_thread() {
    let mutex = Mutex::new(0u64).unwrap();
    let child = owner(&mutex);
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let canceller = Canceller::new();
        let cancelled = std::sync::Mutex::new(None);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                until_asleep(std::process::id());
                *cancelled.lock().unwrap() = Some(Instant::now());
                canceller.cancel();
            });
            let refused = canceller.run(|| mutex.lock());
            let end = Instant::now();
            assert!(matches!(refused, Err(LockError::Interrupted)), "{refused:?}");
            best = best.min(end.duration_since(cancelled.lock().unwrap().unwrap()));
        });
        assert!(canceller.is_cancelled());
        assert!(matches!(canceller.run(|| mutex.lock()), Err(LockError::Interrupted)), "it sticks");
        canceller.reset();
        let refused = canceller.run(|| mutex.lock_timeout(Duration::from_millis(1)));
        assert!(matches!(refused, Err(LockError::TimedOut)));
        canceller.cancel();
        let refused = mutex.lock_timeout(Duration::from_millis(1));
        assert!(matches!(refused, Err(LockError::TimedOut)), "only inside of run");
        canceller.reset();
    }
    println!("    from the cancelling to the end of the wait: {best:?}, the best of five");
    kill(&child);
    // A success wins over cancelling.
    let canceller = Canceller::new();
    canceller.cancel();
    canceller.run(|| repair(&mutex));
}

static CANCELLER: AtomicPtr<Canceller> = AtomicPtr::new(std::ptr::null_mut());

extern "C" fn cancel_now(_: i32) {
    // SAFETY: set before the handler was, and never freed.
    unsafe { (*CANCELLER.load(Ordering::SeqCst)).cancel() };
}

fn handle(signal: i32, handler: extern "C" fn(i32)) {
    // SAFETY: a zeroed action with a handler; without SA_RESTART, so that system calls end.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        assert_eq!(libc::sigaction(signal, &raw const action, std::ptr::null_mut()), 0);
    }
}

/// Delivers SIGALRM to this process again and again.
fn ring_every(microseconds: i64) {
    let time = libc::timeval { tv_sec: 0, tv_usec: microseconds };
    let timer = libc::itimerval { it_interval: time, it_value: time };
    // SAFETY: a valid timer, and a null place for the old one.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
}

fn cancelling_ends_a_wait_from_a_signal_handler() {
    let mutex = Mutex::new(0u64).unwrap();
    let child = owner(&mutex);
    let canceller = Canceller::new();
    CANCELLER.store(Box::into_raw(Box::new(canceller.clone())), Ordering::SeqCst);
    handle(libc::SIGALRM, cancel_now);
    for _ in 0..10 {
        canceller.reset();
        ring_every(5_000);
        let refused = canceller.run(|| mutex.lock());
        ring_every(0);
        assert!(matches!(refused, Err(LockError::Interrupted)), "{refused:?}");
    }
    kill(&child);
}

static RANG: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(_: i32) {
    RANG.fetch_add(1, Ordering::Relaxed);
}

fn signals_do_not_show() {
    let mutex = Mutex::new(0u64).unwrap();
    let child = owner(&mutex);
    handle(libc::SIGALRM, count);
    ring_every(1_000);
    let start = Instant::now();
    let refused = mutex.lock_timeout(4 * SHORT);
    ring_every(0);
    assert!(matches!(refused, Err(LockError::TimedOut)), "{refused:?}");
    assert!(start.elapsed() >= 4 * SHORT);
    assert!(RANG.load(Ordering::Relaxed) > 20);
    kill(&child);
}

fn centuries_are_for_ever_and_the_past_is_now() {
    let mutex = Mutex::new(0u64).unwrap();
    let child = owner(&mutex);
    let start = Instant::now();
    for past in [Instant::now().checked_sub(LONG).unwrap(), start] {
        assert!(matches!(mutex.lock_timeout(past), Err(LockError::TimedOut)));
    }
    assert!(matches!(mutex.lock_timeout(Duration::ZERO), Err(LockError::TimedOut)));
    assert!(start.elapsed() < Duration::from_secs(1));
    for ages in [Duration::MAX, Duration::from_secs(1 << 40), Duration::from_secs(10_000_000_000)] {
        let sleeper = spawn(|| match mutex.lock_timeout(ages) {
            Err(LockError::OwnerDead(mut guard)) => guard.mark_consistent(),
            other => panic!("{ages:?}: {other:?}"),
        });
        until_asleep(sleeper.pid());
        assert_eq!(sleeper.join_timeout(2 * SHORT).unwrap(), None, "{ages:?}");
        kill(&sleeper);
    }
    kill(&child);
    repair(&mutex);
}

fn opening_as_another_type_is_an_error() {
    let segment = Segment::anonymous(8192).unwrap();
    let mutex = Mutex::create(segment.at("m"), [1u32, 2]).unwrap();
    is(Mutex::<u64>::open(segment.at("m")), ErrorKind::Type, &["'m'", "expected", "found"]);
    is(Mutex::<[u32; 3]>::open(segment.at("m")), ErrorKind::Type, &["12 bytes", "8 bytes"]);
    is(Mutex::create(segment.at("m"), 0u8), ErrorKind::Exists, &["'m'"]);
    is(Mutex::<u8>::open(segment.at("n")), ErrorKind::NotFound, &["'n'"]);
    mutex.lock().unwrap().set([3, 4]);
    let again = Mutex::<[u32; 2]>::open(segment.at("m")).unwrap();
    assert_eq!(again.lock().unwrap().get(), [3, 4]);
    let guard = again.lock().unwrap();
    assert!(matches!(mutex.lock(), Err(LockError::Deadlock)), "two handles, one lock");
    drop(guard);
    let other = Mutex::<[u32; 2]>::open_or_create(segment.at("m"), [9, 9]).unwrap();
    assert_eq!(other.lock().unwrap().get(), [3, 4]);
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(128))]
struct Line([u64; 16]);

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(256))]
struct TwoLines([u64; 32]);

fn the_data_can_be_of_any_size_and_alignment() {
    let byte = Mutex::new(7u8).unwrap();
    let line = Mutex::new(Line([3; 16])).unwrap();
    let large = Mutex::new([1u64; 1024]).unwrap();
    in_child(|| {
        byte.lock().unwrap().set(8);
        let mut guard = line.lock().unwrap();
        assert_eq!(guard.as_ptr() as usize % 128, 0);
        guard.set(Line([4; 16]));
        large.lock().unwrap().set([2; 1024]);
    });
    assert_eq!(byte.lock().unwrap().get(), 8);
    assert_eq!(line.lock().unwrap().get().0, [4; 16]);
    assert_eq!(large.lock().unwrap().get(), [2; 1024]);
    is(Mutex::new(TwoLines([0; 32])), ErrorKind::Invalid, &["256", "128"]);
}

fn b31_a_participant_too_many_is_told_so_and_the_dead_make_room() {
    let segment = Segment::options().participants(2).anonymous(4096).unwrap();
    let mutex = Mutex::create(segment.at("m"), 0u64).unwrap(); // takes one slot
    let child = owner(&mutex); // takes the other
    in_child(|| is(mutex.lock(), ErrorKind::Limit, &["2 participant slots"]));
    assert!(matches!(mutex.try_lock(), Err(LockError::Busy)));
    kill(&child);
    // The newcomer takes the dead one's slot, and is told of its death nevertheless.
    in_child(|| repair(&mutex));
    in_child(|| drop(mutex.lock().unwrap()));
}

fn waiting_costs_next_to_nothing() {
    let mutex = Mutex::new(0u64).unwrap();
    let child = owner(&mutex);
    costs_next_to_nothing("a wait for a lock", || {
        assert!(matches!(mutex.lock_timeout(Duration::from_secs(2)), Err(LockError::TimedOut)));
    });
    kill(&child);
}

fn locking_without_contention_makes_no_system_call() {
    let mutex = Mutex::new(0u64).unwrap();
    let value = Value::new(0u64).unwrap();
    let warm_up = || {
        drop(mutex.lock().unwrap());
        drop(value.lock().unwrap());
    };
    let came_through = without_system_calls(warm_up, || {
        for n in 0..1000 {
            mutex.lock().unwrap().set(n);
            mutex.try_lock().unwrap().set(n);
            value.lock().unwrap().set(n);
            value.fetch_add(1);
            value.swap(n);
        }
    });
    assert!(came_through);
    assert_eq!(mutex.lock().unwrap().get(), 999);
    // The same with somebody in the way, which shows that a system call is seen.
    let child = owner(&mutex);
    let came_through = without_system_calls(warm_up_value(&value), || {
        let _ = mutex.lock_timeout(SHORT);
    });
    assert!(!came_through);
    kill(&child);
}

fn warm_up_value(value: &Value<u64>) -> impl FnOnce() + '_ {
    || drop(value.lock().unwrap())
}

fn handing_over_is_not_lost_among_many_sleepers() {
    let mutex = Mutex::new(0u64).unwrap();
    let started = Count::new();
    let guard = mutex.lock().unwrap();
    let sleepers: Vec<Process> = (0..20)
        .map(|_| {
            spawn(|| {
                started.add(1);
                for _ in 0..20 {
                    let mut guard = mutex.lock().unwrap();
                    guard.set(guard.get() + 1);
                }
            })
        })
        .collect();
    until("all have started", LONG, || started.get() == 20);
    sleepers.iter().for_each(|sleeper| until_asleep(sleeper.pid()));
    let start = Instant::now();
    drop(guard);
    sleepers.iter().for_each(join);
    // Were each wake-up lost, every one would take a slice of 80 ms.
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(mutex.lock().unwrap().get(), 400);
}
