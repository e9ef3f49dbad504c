//! Random programs of several processes on locks, some of them killed somewhere: what is done under a lock is done by one
//! at a time, all of it or marked as doubtful, and every lock can be had in the end.
//!
//! Each process notes in memory of its own what it is going to do, and that it has done it. The counts behind the locks
//! are then known but for what the killed were just at.

use crate::common::{Test, until};
use crate::probe::{Count, LONG, Random, join, spawn};
use crate::property::check;
use crate::tests;
use mpshm::{
    ErrorKind, ExitStatus, LockError, Mutex, Process, RwLock, Semaphore, SemaphoreOptions,
};
use proptest::prelude::*;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub const TESTS: &[Test] = tests![
    locks_of_processes_that_race_and_are_killed: 240,
    permits_of_processes_that_race_and_are_killed: 240,
];

/// Equal words, whenever the data is whole.
type Data = [u64; 4];

const SOON: Duration = Duration::from_secs(5);
const MOMENT: Duration = Duration::from_micros(50);

/// The locks that a program is about.
struct Locks {
    plain: Mutex<Data>,
    recursive: Mutex<Data>,
    shared: RwLock<Data>,
}

/// What a process does; the number is how often.
#[derive(Clone, Copy, Debug)]
enum Op {
    Lock,
    TryLock,
    LockTimeout,
    LockTwice,
    Read,
    TryRead,
    Write,
    TryWrite,
    WriteTimeout,
}

fn op() -> impl Strategy<Value = Op> + Clone {
    use Op::{Lock, LockTimeout, LockTwice, Read, TryLock, TryRead, TryWrite, Write, WriteTimeout};
    prop::sample::select(vec![
        Lock,
        TryLock,
        LockTimeout,
        LockTwice,
        Read,
        TryRead,
        Write,
        TryWrite,
        WriteTimeout,
    ])
}

/// A process's program, and after how many microseconds it is killed, if it is.
type Part = (Vec<(Op, u16)>, Option<u16>);

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let operations = prop::collection::vec((op(), 1..200u16), 1..10);
    let part = (operations, prop::option::of(0..3000u16));
    prop::collection::vec(part, 2..=4)
}

/// Whole data, one more; each word is stored by itself.
fn one_more(data: Data, mut store: impl FnMut(usize, u64)) {
    assert!(data.iter().all(|&word| word == data[0]), "torn: {data:?}");
    for (index, word) in data.into_iter().enumerate() {
        store(index, word + 1);
        linger();
    }
}

/// A moment in which a kill finds the lock held.
fn linger() {
    (0..30).for_each(|_| std::hint::spin_loop());
}

/// What a dead owner may have left is made whole: its last step counts as done if it was begun.
fn made_whole(data: Data) -> Data {
    let (least, most) = (data.iter().min().unwrap(), data.iter().max().unwrap());
    assert!(most - least <= 1, "more than one step torn: {data:?}");
    [*most; 4]
}

/// The guard, of sound data or of what was made whole; what was refused, by its kind. (Of three types of guards.)
macro_rules! guard {
    ($attempt:expr) => {
        match $attempt {
            Err(LockError::OwnerDead(mut guard)) => {
                let whole = made_whole(guard.get());
                guard.set(whole);
                guard.mark_consistent();
                Ok(guard)
            }
            other => other.map_err(|error| error.kind()),
        }
    };
}

/// Adds one under a lock; false if it was not to be had.
macro_rules! add {
    ($attempt:expr) => {{
        let mut guard = match guard!($attempt) {
            Ok(guard) => guard,
            Err(ErrorKind::Busy | ErrorKind::TimedOut) => return false,
            Err(error) => panic!("{error:?}"),
        };
        let (data, words) = (guard.get(), guard.as_ptr().cast::<u64>());
        // SAFETY: one of the four words, which the guard has locked.
        one_more(data, |index, word| unsafe { words.add(index).write_volatile(word) });
    }};
}

impl Locks {
    fn new() -> Self {
        Self {
            plain: Mutex::new([0; 4]).unwrap(),
            recursive: Mutex::recursive([0; 4]).unwrap(),
            shared: RwLock::new([0; 4]).unwrap(),
        }
    }

    /// Which of the counts the operation adds to.
    fn counts(op: Op) -> Option<usize> {
        match op {
            Op::Lock | Op::TryLock | Op::LockTimeout => Some(0),
            Op::LockTwice => Some(1),
            Op::Write | Op::TryWrite | Op::WriteTimeout => Some(2),
            Op::Read | Op::TryRead => None,
        }
    }

    /// Does it; whether it added.
    fn perform(&self, op: Op) -> bool {
        match op {
            Op::Lock => add!(self.plain.lock()),
            Op::TryLock => add!(self.plain.try_lock()),
            Op::LockTimeout => add!(self.plain.lock_timeout(MOMENT)),
            Op::LockTwice => {
                add!(self.recursive.lock());
                let outer = guard!(self.recursive.lock()).expect("the lock");
                assert_eq!(self.recursive.lock().expect("its own").get(), outer.get());
            }
            Op::Write => add!(self.shared.write()),
            Op::TryWrite => add!(self.shared.try_write()),
            Op::WriteTimeout => add!(self.shared.write_timeout(MOMENT)),
            Op::Read => {
                return self.read(
                    self.shared.read().map(|guard| guard.get()).map_err(|error| error.kind()),
                );
            }
            Op::TryRead => {
                return self.read(
                    self.shared.try_read().map(|guard| guard.get()).map_err(|error| error.kind()),
                );
            }
        }
        true
    }

    /// Readers find whole data, or are told that it is in doubt.
    fn read(&self, found: Result<Data, ErrorKind>) -> bool {
        match found {
            Ok(data) => assert!(data.iter().all(|&word| word == data[0]), "torn: {data:?}"),
            Err(ErrorKind::OwnerDead | ErrorKind::Busy) => {}
            Err(error) => panic!("{error:?}"),
        }
        false
    }

    /// The counts, when nobody else is left: every lock is to be had.
    fn counted(&self) -> [u64; 3] {
        macro_rules! count {
            ($attempt:expr) => {{
                let data = guard!($attempt).expect("a lock that is to be had").get();
                assert!(data.iter().all(|&word| word == data[0]), "torn: {data:?}");
                data[0]
            }};
        }
        let counts = [
            count!(self.plain.lock_timeout(SOON)),
            count!(self.recursive.lock_timeout(SOON)),
            count!(self.shared.write_timeout(SOON)),
        ];
        assert_eq!(
            self.shared.read_timeout(SOON).map(|guard| guard.get()[0]).ok(),
            Some(counts[2])
        );
        counts
    }
}

/// Starts all at the same moment, kills those that are to be killed, who go on until then, and waits for the others.
fn run<T>(parts: &[(T, Option<u16>)], body: impl Fn(usize, &T)) {
    let (ready, go) = (Count::new(), Count::new());
    let start = |(index, part): (usize, &(T, Option<u16>))| -> Process {
        let (ready, go, body) = (&ready, &go, &body);
        let (part, is_killed) = (&part.0, part.1.is_some());
        spawn(move || {
            ready.add(1);
            while go.get() == 0 {
                std::hint::spin_loop();
            }
            loop {
                body(index, part);
                if !is_killed {
                    break;
                }
            }
        })
    };
    let children: Vec<Process> = parts.iter().enumerate().map(start).collect();
    until("all are ready", LONG, || ready.get() == parts.len() as u64);
    go.add(1);
    for (child, (_, killed)) in children.iter().zip(parts) {
        if let Some(microseconds) = *killed {
            Random::new(microseconds.into()).pause(u64::from(microseconds) / 3 + 1);
            child.kill().unwrap();
        }
    }
    for (child, (_, killed)) in children.iter().zip(parts) {
        match killed {
            Some(_) => assert_eq!(child.join().unwrap(), ExitStatus::Signaled(9)),
            None => join(child),
        }
    }
}

fn locks_of_processes_that_race_and_are_killed() {
    check(300, parts(), |parts| {
        let locks = Locks::new();
        // For each process and lock: begun, and done.
        let notes = Count::new();
        let note =
            |process: usize, lock: usize, done: usize| notes.of(process * 6 + lock * 2 + done);
        run(&parts, |process, operations| {
            for &(op, times) in operations {
                for _ in 0..times {
                    let lock = Locks::counts(op);
                    if let Some(lock) = lock {
                        note(process, lock, 0).fetch_add(1, Ordering::Relaxed);
                    }
                    let added = locks.perform(op);
                    if let Some(lock) = lock {
                        // What was not to be had was not begun either.
                        note(process, lock, 0).fetch_sub(u64::from(!added), Ordering::Relaxed);
                        note(process, lock, 1).fetch_add(u64::from(added), Ordering::Relaxed);
                    }
                }
            }
        });
        for (lock, count) in locks.counted().into_iter().enumerate() {
            let sum = |done| -> u64 {
                (0..parts.len())
                    .map(|process| note(process, lock, done).load(Ordering::Relaxed))
                    .sum()
            };
            let (begun, done) = (sum(0), sum(1));
            assert!((done..=begun).contains(&count), "lock {lock}: {count}, not {done} to {begun}");
            let killed = parts.iter().filter(|part| part.1.is_some()).count() as u64;
            assert!(begun - done <= killed, "{begun} begun, {done} done, {killed} killed");
        }
    });
}

fn permits_of_processes_that_race_and_are_killed() {
    const PERMITS: u32 = 3;
    let operations = prop::collection::vec((1..=PERMITS, 0..3u8, 1..150u16), 1..8);
    let parts = prop::collection::vec((operations, prop::option::of(0..3000u16)), 2..=4);
    check(200, parts, |parts| {
        let semaphore = Semaphore::with_options(&SemaphoreOptions::new(PERMITS).owned()).unwrap();
        // How many permits each process has, by its own account.
        let held = Count::new();
        run(&parts, |process, operations: &Vec<(u32, u8, u16)>| {
            let mine = held.of(process);
            for &(count, how, times) in operations {
                for _ in 0..times {
                    let permit = match how {
                        0 => semaphore.try_acquire_many(count),
                        1 => semaphore.acquire_many_timeout(count, MOMENT),
                        _ => semaphore.acquire_timeout(SOON),
                    };
                    let Ok(permit) = permit else {
                        assert!(how < 2, "a permit was not to be had for {SOON:?}");
                        continue;
                    };
                    mine.store(permit.count().into(), Ordering::SeqCst);
                    linger();
                    if parts.iter().all(|part| part.1.is_none()) {
                        let all: u64 = (0..parts.len())
                            .map(|other| held.of(other).load(Ordering::SeqCst))
                            .sum();
                        assert!(all <= PERMITS.into(), "{all} of {PERMITS} permits are held");
                    }
                    mine.store(0, Ordering::SeqCst);
                    drop(permit);
                }
            }
        });
        // What the killed had comes back.
        let all = semaphore.acquire_many_timeout(PERMITS, SOON);
        let all = all.unwrap_or_else(|error| panic!("not all permits came back: {error:?}"));
        assert_eq!(semaphore.value(), 0);
        drop(all);
        assert_eq!(semaphore.value(), PERMITS);
    });
}
