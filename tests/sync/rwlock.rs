//! What an `RwLock` promises, over real processes.

use crate::common::{Test, until};
use crate::probe::{
    Count, LONG, Random, SHORT, costs_next_to_nothing, go_on, in_child, is, join, kill, spawn,
    stop, until_asleep, without_system_calls,
};
use crate::tests;
use mpshm::{Canceller, ErrorKind, LockError, Process, RwLock, Segment, Value};
use std::time::{Duration, Instant};

pub const TESTS: &[Test] = tests![
    many_read_at_a_time_and_one_writes_alone,
    a_try_is_busy_and_a_timed_wait_times_out,
    a_guard_unlocks_on_every_way_out,
    readers_and_writers_see_whole_values: 60,
    a_waiting_writer_is_not_starved_by_readers,
    waiting_readers_get_their_turn_among_writers,
    b08_the_next_writer_and_every_reader_learn_of_a_dead_writer,
    b08_who_waits_learns_of_a_dead_writer,
    b08_a_writer_that_does_not_swear_loses_it_for_all,
    b08_a_dead_writer_that_only_waited_leaves_the_value,
    a_dead_reader_keeps_nobody_out_and_leaves_no_doubt,
    owners_killed_at_random_leave_a_lock_that_works: 120,
    a_stopped_reader_keeps_writers_out_and_nobody_else,
    a_stopped_writer_keeps_everybody_out,
    a_thread_that_reads_may_read_again_and_never_write,
    a_thread_that_writes_is_told_instead_of_waiting_for_itself,
    threads_of_one_process_are_told_apart,
    a_copy_of_a_guard_in_a_child_does_nothing,
    cancelling_ends_a_wait,
    what_is_no_such_lock_is_refused,
    the_slots_of_the_dead_are_taken_again,
    too_many_readings_are_an_error,
    waiting_costs_next_to_nothing,
    locking_without_contention_makes_no_system_call,
];

/// Says that it has begun, and goes on until it may end.
struct Signs {
    holds: Value<u32>,
    ends: Value<bool>,
}

impl Signs {
    fn new() -> Self {
        Self { holds: Value::new(0).unwrap(), ends: Value::new(false).unwrap() }
    }

    fn hold(&self) {
        self.holds.fetch_add(1);
        until("it may end", 2 * LONG, || self.ends.load());
    }

    fn until_held(&self, count: u32) {
        until("they hold the lock", LONG, || self.holds.load() == count);
    }
}

fn reader<'a>(lock: &'a RwLock<u64>, signs: &'a Signs) -> Process {
    spawn(|| {
        let guard = lock.read().unwrap();
        let before = guard.get();
        signs.hold();
        assert_eq!(guard.get(), before);
    })
}

fn writer<'a>(lock: &'a RwLock<u64>, signs: &'a Signs) -> Process {
    spawn(|| {
        let mut guard = lock.write().unwrap();
        guard.set(guard.get() + 1);
        signs.hold();
    })
}

fn many_read_at_a_time_and_one_writes_alone() {
    let lock = RwLock::new(7u64).unwrap();
    let signs = Signs::new();
    let readers: Vec<Process> = (0..4).map(|_| reader(&lock, &signs)).collect();
    signs.until_held(4);
    assert_eq!(lock.try_read().unwrap().get(), 7);
    assert!(matches!(lock.try_write(), Err(LockError::Busy)));
    in_child(|| assert!(matches!(lock.try_write(), Err(LockError::Busy))));
    signs.ends.store(true);
    readers.iter().for_each(join);
    let signs = Signs::new();
    let alone = writer(&lock, &signs);
    signs.until_held(1);
    assert!(matches!(lock.try_write(), Err(LockError::Busy)));
    assert!(matches!(lock.try_read(), Err(LockError::Busy)));
    signs.ends.store(true);
    join(&alone);
    assert_eq!(lock.try_write().unwrap().get(), 8);
}

fn a_try_is_busy_and_a_timed_wait_times_out() {
    let lock = RwLock::new(0u64).unwrap();
    let timed = |writes: bool| {
        for wait in [Duration::from_millis(1), SHORT, 4 * SHORT] {
            let start = Instant::now();
            if writes {
                assert!(matches!(lock.write_timeout(wait), Err(LockError::TimedOut)));
            } else {
                assert!(matches!(lock.read_timeout(wait), Err(LockError::TimedOut)));
            }
            assert!(start.elapsed() >= wait, "{:?} of {wait:?}", start.elapsed());
        }
    };
    let reads = lock.read().unwrap();
    in_child(|| timed(true));
    // A writer that gave up leaves no trace.
    in_child(|| drop(lock.try_read().unwrap()));
    drop(reads);
    let writes = lock.write().unwrap();
    in_child(|| timed(false));
    in_child(|| timed(true));
    drop(writes);
    drop(lock.try_write().unwrap());
    drop(lock.write_timeout(SHORT).unwrap());
    drop(lock.read_timeout(SHORT).unwrap());
}

fn a_guard_unlocks_on_every_way_out() {
    let lock = RwLock::new(0u64).unwrap();
    for writes in [true, false] {
        let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _guards = (writes.then(|| lock.write()), (!writes).then(|| lock.read()));
            panic!("on purpose");
        }));
        assert!(panics.is_err());
        drop(lock.try_write().unwrap());
    }
}

fn readers_and_writers_see_whole_values() {
    const ROUNDS: u64 = 20_000;
    let lock = RwLock::new([0u64; 20]).unwrap();
    let shared = &lock;
    let work = |writes: bool| {
        spawn(move || {
            let mut last = 0;
            for _ in 0..ROUNDS {
                if writes {
                    let mut guard = shared.write().unwrap();
                    let value = guard.get();
                    assert_eq!(value, [value[0]; 20]);
                    guard.set([value[0] + 1; 20]);
                } else {
                    let value = shared.read().unwrap().get();
                    assert_eq!(value, [value[0]; 20]);
                    assert!(value[0] >= last);
                    last = value[0];
                }
            }
        })
    };
    let children: Vec<Process> = [true, false, true, false].map(work).into();
    children.iter().for_each(|child| {
        let status = child.join_timeout(6 * LONG).unwrap().expect("it hangs");
        assert!(status.success(), "{:?}", child.panic_message());
    });
    assert_eq!(lock.read().unwrap().get(), [2 * ROUNDS; 20]);
}

fn a_waiting_writer_is_not_starved_by_readers() {
    let lock = RwLock::new(0u64).unwrap();
    let ends = Value::new(false).unwrap();
    let readers: Vec<Process> = (0..3)
        .map(|_| {
            spawn(|| {
                while !ends.load() {
                    let guard = lock.read().unwrap();
                    std::hint::black_box(guard.get());
                    std::thread::sleep(Duration::from_micros(200)); // so that readings overlap
                }
            })
        })
        .collect();
    for _ in 0..50 {
        let start = Instant::now();
        let mut guard = lock.write_timeout(LONG).unwrap();
        guard.set(guard.get() + 1);
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
    ends.store(true);
    readers.iter().for_each(join);
}

fn waiting_readers_get_their_turn_among_writers() {
    let lock = RwLock::new(0u64).unwrap();
    let ends = Value::new(false).unwrap();
    let writers: Vec<Process> = (0..2)
        .map(|_| {
            spawn(|| {
                while !ends.load() {
                    let mut guard = lock.write().unwrap();
                    guard.set(guard.get() + 1);
                    std::thread::yield_now();
                }
            })
        })
        .collect();
    let mut slowest = Duration::ZERO;
    for _ in 0..50 {
        let start = Instant::now();
        drop(lock.read_timeout(LONG).unwrap());
        slowest = slowest.max(start.elapsed());
    }
    println!("    the slowest of 50: {slowest:?}");
    assert!(slowest < Duration::from_secs(3), "{slowest:?}");
    ends.store(true);
    writers.iter().for_each(join);
}

/// A writer that holds the lock until it is killed.
fn owner(lock: &RwLock<u64>) -> Process {
    let signs = Signs::new();
    let child = writer(lock, &signs);
    signs.until_held(1);
    child
}

#[track_caller]
fn swear(lock: &RwLock<u64>) {
    match lock.write_timeout(LONG) {
        Err(LockError::OwnerDead(mut guard)) => guard.mark_consistent(),
        other => panic!("{other:?}"),
    }
}

fn b08_the_next_writer_and_every_reader_learn_of_a_dead_writer() {
    let lock = RwLock::new(0u64).unwrap();
    let mut best = Duration::MAX;
    for round in 1..=5 {
        kill(&owner(&lock));
        for timed in [true, false, true] {
            let start = Instant::now();
            let told = if timed { lock.read() } else { lock.try_read() };
            best = best.min(start.elapsed());
            match told {
                Err(LockError::OwnerDead(guard)) => assert_eq!(guard.get(), round),
                other => panic!("{other:?}"),
            }
            // A thread that reads in doubt, and reads again, is in doubt again.
            let outer = lock.read();
            assert!(matches!(lock.try_read(), Err(LockError::OwnerDead(_))));
            drop(outer);
        }
        in_child(|| assert!(matches!(lock.read(), Err(LockError::OwnerDead(_)))));
        swear(&lock);
        drop(lock.read().unwrap());
        drop(lock.try_write().unwrap());
    }
    println!("    the best of all: {best:?}");
    assert!(best < Duration::from_millis(10));
    kill(&owner(&lock));
    assert!(matches!(lock.try_write(), Err(LockError::OwnerDead(_))));
}

fn b08_who_waits_learns_of_a_dead_writer() {
    let lock = RwLock::new(0u64).unwrap();
    let child = owner(&lock);
    let told = Count::new();
    let waiters: Vec<Process> = (0..4)
        .map(|n| {
            let (lock, told) = (&lock, &told);
            spawn(move || {
                if n % 2 == 0 {
                    match lock.read() {
                        Ok(_) => {}
                        Err(LockError::OwnerDead(_)) => told.add(1),
                        Err(other) => panic!("{other:?}"),
                    }
                } else {
                    match lock.write() {
                        Ok(_) => {}
                        Err(LockError::OwnerDead(mut guard)) => {
                            told.add(1);
                            guard.mark_consistent();
                        }
                        Err(other) => panic!("{other:?}"),
                    }
                }
            })
        })
        .collect();
    waiters.iter().for_each(|waiter| until_asleep(waiter.pid()));
    let start = Instant::now();
    kill(&child);
    waiters.iter().for_each(join);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert!((1..=3).contains(&told.get()), "{} were told", told.get());
    drop(lock.try_write().unwrap());
}

fn b08_a_writer_that_does_not_swear_loses_it_for_all() {
    let lock = RwLock::new(0u64).unwrap();
    kill(&owner(&lock));
    // Readers that do not swear lose nothing.
    drop(lock.read().unwrap_err());
    drop(lock.write().unwrap_err());
    assert!(matches!(lock.write(), Err(LockError::NotRecoverable)));
    assert!(matches!(lock.try_write(), Err(LockError::NotRecoverable)));
    assert!(matches!(lock.read(), Err(LockError::NotRecoverable)));
    in_child(|| assert!(matches!(lock.try_read(), Err(LockError::NotRecoverable))));
}

fn b08_a_dead_writer_that_only_waited_leaves_the_value() {
    let lock = RwLock::new(5u64).unwrap();
    let reads = lock.read().unwrap();
    let waits = spawn(|| drop(lock.write()));
    until_asleep(waits.pid());
    in_child(|| assert!(matches!(lock.try_read(), Err(LockError::Busy)), "a writer waits"));
    kill(&waits);
    in_child(|| match lock.try_read() {
        Err(LockError::OwnerDead(guard)) => assert_eq!(guard.get(), 5),
        other => panic!("{other:?}"),
    });
    drop(reads);
    swear(&lock);
}

fn a_dead_reader_keeps_nobody_out_and_leaves_no_doubt() {
    let lock = RwLock::new(0u64).unwrap();
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let signs = Signs::new();
        let readers = [reader(&lock, &signs), reader(&lock, &signs)];
        signs.until_held(2);
        assert!(matches!(lock.try_write(), Err(LockError::Busy)));
        readers.iter().for_each(kill);
        let start = Instant::now();
        drop(lock.try_write().unwrap());
        best = best.min(start.elapsed());
    }
    assert!(best < Duration::from_millis(10), "{best:?}");
    // One that waits already.
    let signs = Signs::new();
    let child = reader(&lock, &signs);
    signs.until_held(1);
    let waits = spawn(|| drop(lock.write().unwrap()));
    until_asleep(waits.pid());
    let start = Instant::now();
    kill(&child);
    join(&waits);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

fn owners_killed_at_random_leave_a_lock_that_works() {
    let lock = RwLock::new([0u64; 16]).unwrap();
    let (told, rounds) = (Count::new(), Count::new());
    let write = |round: u64| {
        let mut guard = match lock.write() {
            Ok(guard) => {
                assert_eq!(guard.get(), [guard.get()[0]; 16]);
                guard
            }
            Err(LockError::OwnerDead(mut guard)) => {
                told.add(1);
                guard.set([guard.get().into_iter().max().unwrap(); 16]);
                guard.mark_consistent();
                guard
            }
            Err(other) => panic!("{other:?}"),
        };
        let next = guard.get()[0] + round % 2;
        let place = guard.as_ptr().cast::<u64>();
        for index in 0..16 {
            // SAFETY: inside the value, under the lock; volatile, so that a kill finds it half done.
            unsafe { place.add(index).write_volatile(next) };
        }
    };
    let work = || {
        for round in 0.. {
            rounds.add(1);
            if round % 4 == 0 {
                write(round);
            } else if let Ok(guard) = lock.read() {
                let value = guard.get();
                assert_eq!(value, [value[0]; 16], "a sound value");
            }
        }
    };
    let mut random = Random::new(5);
    let mut children: Vec<Process> = (0..4).map(|_| spawn(work)).collect();
    for _ in 0..300 {
        random.pause(400);
        let victim = random.below(4) as usize;
        kill(&children[victim]);
        children[victim] = spawn(work);
    }
    let before = rounds.get();
    until("they go round", LONG, || rounds.get() > before + 1000);
    println!("    {} rounds, {} times in doubt", rounds.get(), told.get());
    assert!(told.get() > 0, "no writer was killed");
    for child in &children {
        assert!(child.is_alive(), "{:?}", child.panic_message());
        kill(child);
    }
}

fn a_stopped_reader_keeps_writers_out_and_nobody_else() {
    let lock = RwLock::new(0u64).unwrap();
    let signs = Signs::new();
    let child = reader(&lock, &signs);
    signs.until_held(1);
    stop(&child);
    assert!(matches!(lock.try_write(), Err(LockError::Busy)));
    assert!(matches!(lock.write_timeout(4 * SHORT), Err(LockError::TimedOut)));
    drop(lock.try_read().unwrap());
    in_child(|| drop(lock.read().unwrap()));
    signs.ends.store(true);
    go_on(&child);
    drop(lock.write_timeout(LONG).unwrap());
    join(&child);
}

fn a_stopped_writer_keeps_everybody_out() {
    let lock = RwLock::new(0u64).unwrap();
    let signs = Signs::new();
    let child = writer(&lock, &signs);
    signs.until_held(1);
    stop(&child);
    assert!(matches!(lock.try_read(), Err(LockError::Busy)));
    assert!(matches!(lock.read_timeout(4 * SHORT), Err(LockError::TimedOut)));
    assert!(matches!(lock.write_timeout(4 * SHORT), Err(LockError::TimedOut)));
    signs.ends.store(true);
    go_on(&child);
    assert_eq!(lock.read_timeout(LONG).unwrap().get(), 1);
    join(&child);
}

fn a_thread_that_reads_may_read_again_and_never_write() {
    let lock = RwLock::new(0u64).unwrap();
    let outer = lock.read().unwrap();
    assert!(matches!(lock.write(), Err(LockError::Deadlock)));
    assert!(matches!(lock.try_write(), Err(LockError::Deadlock)));
    assert!(matches!(lock.write_timeout(SHORT), Err(LockError::Deadlock)));
    // Also while a writer waits for it.
    let waits = spawn(|| drop(lock.write().unwrap()));
    until("a writer waits", LONG, || {
        let mut busy = false;
        std::thread::scope(|scope| {
            busy = scope.spawn(|| matches!(lock.try_read(), Err(LockError::Busy))).join().unwrap();
        });
        busy
    });
    let inner = lock.read().unwrap();
    let again = lock.try_read().unwrap();
    drop(outer);
    drop(again);
    assert_eq!(waits.join_timeout(2 * SHORT).unwrap(), None, "it reads still");
    drop(inner);
    join(&waits);
    drop(lock.write().unwrap());
}

fn a_thread_that_writes_is_told_instead_of_waiting_for_itself() {
    let lock = RwLock::new(0u64).unwrap();
    let guard = lock.write().unwrap();
    assert!(matches!(lock.read(), Err(LockError::Deadlock)));
    assert!(matches!(lock.try_read(), Err(LockError::Deadlock)));
    assert!(matches!(lock.write(), Err(LockError::Deadlock)));
    assert!(matches!(lock.try_write(), Err(LockError::Deadlock)));
    drop(guard);
    drop(lock.write().unwrap());
}

fn threads_of_one_process_are_told_apart() {
    let lock = RwLock::new(0u64).unwrap();
    let reads = lock.read().unwrap();
    std::thread::scope(|scope| {
        let other = || {
            assert!(matches!(lock.try_write(), Err(LockError::Busy)));
            drop(lock.try_read().unwrap());
        };
        scope.spawn(other).join().unwrap();
        let waits = scope.spawn(|| lock.write().unwrap().set(3));
        std::thread::sleep(SHORT);
        drop(reads);
        waits.join().unwrap();
        let writes = lock.write().unwrap();
        scope
            .spawn(|| {
                assert!(matches!(lock.try_write(), Err(LockError::Busy)));
                assert!(matches!(lock.try_read(), Err(LockError::Busy)));
            })
            .join()
            .unwrap();
        assert_eq!(writes.get(), 3);
    });
}

fn a_copy_of_a_guard_in_a_child_does_nothing() {
    let lock = RwLock::new(1u64).unwrap();
    let mut reads = Some(lock.read().unwrap());
    in_child(|| {
        drop(reads.take());
        assert!(matches!(lock.try_write(), Err(LockError::Busy)), "the parent reads");
        drop(lock.try_read().unwrap());
    });
    in_child(|| assert!(matches!(lock.try_write(), Err(LockError::Busy))));
    drop(reads);
    let mut writes = Some(lock.write().unwrap());
    in_child(|| {
        writes.as_mut().unwrap().set(9);
        drop(writes.take());
        assert!(matches!(lock.try_read(), Err(LockError::Busy)), "the parent writes");
    });
    drop(writes);
    in_child(|| assert_eq!(lock.try_write().unwrap().get(), 1));
}

fn cancelling_ends_a_wait() {
    let lock = RwLock::new(0u64).unwrap();
    let signs = Signs::new();
    let child = writer(&lock, &signs);
    signs.until_held(1);
    let canceller = Canceller::new();
    canceller.cancel();
    let refused = canceller.run(|| lock.read().map(drop).map_err(drop_guard));
    assert!(matches!(refused, Err(ErrorKind::Interrupted)), "{refused:?}");
    let refused = canceller.run(|| lock.write().map(drop).map_err(drop_guard));
    assert!(matches!(refused, Err(ErrorKind::Interrupted)), "{refused:?}");
    signs.ends.store(true);
    join(&child);
    let signs = Signs::new();
    let child = reader(&lock, &signs);
    signs.until_held(1);
    let refused = canceller.run(|| lock.write().map(drop).map_err(drop_guard));
    assert!(matches!(refused, Err(ErrorKind::Interrupted)), "{refused:?}");
    drop(lock.try_read().unwrap()); // it does not wait any more
    signs.ends.store(true);
    join(&child);
}

fn drop_guard<G>(error: LockError<G>) -> ErrorKind {
    error.kind()
}

fn what_is_no_such_lock_is_refused() {
    let segment = Segment::options().participants(4).anonymous(16384).unwrap();
    let made = RwLock::create(segment.at("l"), [1u32, 2]).unwrap();
    is(RwLock::<u64>::open(segment.at("l")), ErrorKind::Type, &["'l'", "expected", "found"]);
    is(mpshm::Mutex::<[u32; 2]>::open(segment.at("l")), ErrorKind::Type, &["'l'", "RwLock"]);
    drop(mpshm::Mutex::create(segment.at("m"), 1u32).unwrap());
    is(RwLock::<u32>::open(segment.at("m")), ErrorKind::Type, &["'m'", "Mutex"]);
    is(RwLock::create(segment.at("l"), 0u8), ErrorKind::Exists, &["'l'"]);
    is(RwLock::<u8>::open(segment.at("n")), ErrorKind::NotFound, &["'n'"]);
    made.write().unwrap().set([3, 4]);
    let opened = RwLock::<[u32; 2]>::open_or_create(segment.at("l"), [9, 9]).unwrap();
    assert_eq!(opened.read().unwrap().get(), [3, 4]);
    let reads = opened.read().unwrap();
    assert!(matches!(made.write(), Err(LockError::Deadlock)), "two handles, one lock");
    drop(reads);
    let size = RwLock::<[u32; 2]>::size_for(4);
    let exact = Segment::options().participants(4).objects(1).anonymous(size).unwrap();
    drop(RwLock::create(exact.at("l"), [1u32, 2]).unwrap());
}

fn the_slots_of_the_dead_are_taken_again() {
    let segment = Segment::options().participants(2).anonymous(4096).unwrap();
    let lock = RwLock::create(segment.at("l"), 0u64).unwrap();
    drop(lock.read().unwrap()); // takes one slot
    for _ in 0..5 {
        let signs = Signs::new();
        let child = reader(&lock, &signs); // takes the other
        signs.until_held(1);
        in_child(|| is(lock.read(), ErrorKind::Limit, &["2 participant slots"]));
        kill(&child);
        // A newcomer in its slot reads once, whatever the dead one's count was.
        in_child(|| {
            let reads = lock.read().unwrap();
            drop(reads);
            drop(lock.try_write().unwrap());
        });
    }
    drop(lock.try_write().unwrap());
}

fn too_many_readings_are_an_error() {
    let lock = RwLock::new(0u8).unwrap();
    let guards: Vec<_> = (0..65_535).map(|_| lock.read().unwrap()).collect();
    is(lock.read(), ErrorKind::Limit, &["65535"]);
    is(lock.try_read(), ErrorKind::Limit, &["65535"]);
    in_child(|| assert!(matches!(lock.try_write(), Err(LockError::Busy))));
    drop(guards);
    in_child(|| drop(lock.try_write().unwrap()));
}

fn waiting_costs_next_to_nothing() {
    let lock = RwLock::new(0u64).unwrap();
    let signs = Signs::new();
    let child = reader(&lock, &signs);
    signs.until_held(1);
    costs_next_to_nothing("a wait to write", || {
        let wait = Duration::from_secs(2);
        assert!(matches!(lock.write_timeout(wait), Err(LockError::TimedOut)));
    });
    signs.ends.store(true);
    join(&child);
    let child = owner(&lock);
    costs_next_to_nothing("a wait to read", || {
        let wait = Duration::from_secs(2);
        assert!(matches!(lock.read_timeout(wait), Err(LockError::TimedOut)));
    });
    kill(&child);
}

fn locking_without_contention_makes_no_system_call() {
    let lock = RwLock::new(0u64).unwrap();
    let warm_up = || drop(lock.read().unwrap());
    let came_through = without_system_calls(warm_up, || {
        for n in 0..1000 {
            drop(lock.read().unwrap());
            drop(lock.try_read().unwrap());
            lock.write().unwrap().set(n);
            lock.try_write().unwrap().set(n);
        }
    });
    assert!(came_through);
    let child = owner(&lock);
    let came_through = without_system_calls(warm_up_nothing, || {
        let _ = lock.read_timeout(SHORT);
    });
    assert!(!came_through, "a system call is seen");
    kill(&child);
}

fn warm_up_nothing() {}
