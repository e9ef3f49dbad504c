//! Lock, add, unlock: alone, from two processes, from eight; against pthread's robust mutex and std's.

use crate::measure::{Row, Side, Sides, Unit, Work, sides};
use crate::python::Python;
use crate::shared::Shared;
use crate::{Result, cpu, crew};
use mpshm::{Mutex, RwLock, Segment, Value};
use std::cell::UnsafeCell;
use std::sync::Mutex as StdMutex;
use std::time::{Duration, Instant};

pub fn rows() -> Vec<Row> {
    vec![
        against_pthread("mutex_alone_vs_pthread", 1, 1.3),
        against_std(),
        against_pthread("mutex_2p_vs_pthread", 2, 1.0),
        against_pthread("mutex_8p_vs_pthread", 8, 1.0),
        longest_wait("mutex_2p_longest_wait", 2),
        longest_wait("mutex_8p_longest_wait", 8),
        against_pthread_reads(),
        against_python(),
        create_and_remove(),
    ]
}

/// Two processes read under a lock that many may have at once.
fn against_pthread_reads() -> Row {
    Row {
        id: "rwlock_read_2p_vs_pthread",
        unit: Unit::Nanoseconds,
        peer_name: "pthread_rwlock, shared between processes",
        target: 1.5,
        work: Work::Grains(2000),
        prepare: sides(
            |work| {
                let lock = RwLock::new(7u64)?;
                adding(2, work, || assert_eq!(lock.read().expect("nobody died").get(), 7))
            },
            Ok(|work| {
                let lock = ReadWrite::new()?;
                adding(2, work, || assert_eq!(lock.read(), 7))
            }),
        ),
    }
}

/// A mutex without a name made in a segment that is open, and dropped.
fn create_and_remove() -> Row {
    Row {
        id: "mutex_create_drop",
        unit: Unit::Nanoseconds,
        peer_name: "limit: 200 ns",
        target: 1.0,
        work: Work::Grains(1000),
        prepare: sides(
            |work| {
                let segment = Segment::anonymous(1 << 16)?;
                let make = || drop(Mutex::create(segment.unnamed(), 0u64).expect("made"));
                adding(1, work, make)
            },
            Ok(|work| Ok(work as f64 * 200e-9)),
        ),
    }
}

fn against_pthread(id: &'static str, members: u64, target: f64) -> Row {
    Row {
        id,
        unit: Unit::Nanoseconds,
        peer_name: "pthread_mutex, shared between processes, robust",
        target,
        work: Work::Grains(1000 * members),
        prepare: sides(
            move |work| {
                let mutex = Mutex::new(0u64)?;
                let add = || {
                    let mut guard = mutex.lock().expect("nobody died");
                    let sum = guard.get() + 1;
                    guard.set(sum);
                };
                let seconds = adding(members, work, add)?;
                check(work, mutex.lock().map_err(mpshm::Error::from)?.get(), seconds)
            },
            Ok(move |work| {
                let robust = Robust::new()?;
                let seconds = adding(members, work, || robust.add())?;
                check(work, robust.sum(), seconds)
            }),
        ),
    }
}

/// The longest that one of very many lock calls took, its holder's time slices included.
fn longest_wait(id: &'static str, members: u64) -> Row {
    const TIMES: u64 = 400_000;
    Row {
        id,
        unit: Unit::Nanoseconds,
        peer_name: "pthread_mutex, shared between processes, robust",
        target: 0.0,
        work: Work::Fixed(TIMES),
        prepare: sides(
            move |work| {
                let mutex = Mutex::new(0u64)?;
                waiting(members, work, || {
                    let begin = Instant::now();
                    let mut guard = mutex.lock().expect("nobody died");
                    let waited = begin.elapsed();
                    let sum = guard.get() + 1;
                    guard.set(sum);
                    waited
                })
            },
            Ok(move |work| {
                let robust = Robust::new()?;
                waiting(members, work, || robust.add_and_tell())
            }),
        ),
    }
}

/// Runs `lock` so often, in so many processes; the longest that it took, times `work`, for rows are per operation.
fn waiting(members: u64, work: u64, lock: impl Fn() -> Duration) -> Result<f64> {
    let (first, second) = cpu::pair();
    let cpus: Vec<usize> =
        (0..members).map(|index| if index % 2 == 0 { second } else { first }).collect();
    let round = crew::processes(&cpus, |gate| {
        lock();
        gate.pass();
        (0..work / members).map(|_| lock().as_nanos() as u64).max().unwrap_or(0)
    })?;
    let longest = round.values.iter().max().copied().unwrap_or(0);
    Ok(longest as f64 * 1e-9 * work as f64)
}

fn against_std() -> Row {
    Row {
        id: "mutex_alone_vs_std",
        unit: Unit::Nanoseconds,
        peer_name: "std::sync::Mutex, threads",
        target: 1.0,
        work: Work::Grains(1000),
        prepare: sides(
            |work| {
                let mutex = Mutex::new(0u64)?;
                let add = || {
                    let mut guard = mutex.lock().expect("nobody died");
                    let sum = guard.get() + 1;
                    guard.set(sum);
                };
                let seconds = adding(1, work, add)?;
                check(work, mutex.lock().map_err(mpshm::Error::from)?.get(), seconds)
            },
            Ok(|work| {
                let mutex = Shared::new(StdMutex::new(0u64))?;
                let add = || *std::hint::black_box(&*mutex).lock().expect("nobody panicked") += 1;
                let seconds = adding(1, work, add)?;
                let sum = *mutex.lock().map_err(|error| error.to_string())?;
                check(work, sum, seconds)
            }),
        ),
    }
}

/// The program of the tutorials: five processes count under the value's lock.
fn against_python() -> Row {
    const MEMBERS: u64 = 5;
    Row {
        id: "locked_add_5p_vs_python",
        unit: Unit::Nanoseconds,
        peer_name: "Python multiprocessing.Value under get_lock(), 5 processes",
        target: 25.0,
        work: Work::Grains(1000 * MEMBERS),
        prepare: Box::new(|| {
            let ours = |work| {
                let value = Value::<i64>::new(0)?;
                let add = || {
                    let mut locked = value.lock().expect("nobody died");
                    locked.set(locked.get() + 1);
                };
                let seconds = adding(MEMBERS, work, add)?;
                check(work, value.load() as u64, seconds)
            };
            let peer = Python::start("locked_add.py").map(|mut python| -> Side {
                Box::new(move |work| {
                    let (seconds, sum) = python.round(work)?;
                    check(work, sum, seconds)
                })
            });
            Ok(Sides { ours: Box::new(ours), peer: peer.map_err(|error| error.to_string()) })
        }),
    }
}

/// Adds `work` times in all, in so many processes on two cores.
fn adding(members: u64, work: u64, add: impl Fn()) -> Result<f64> {
    let (first, second) = cpu::pair();
    let cpus: Vec<usize> =
        (0..members).map(|index| if index % 2 == 0 { second } else { first }).collect();
    let round = crew::processes(&cpus, |gate| {
        add();
        gate.pass();
        for _ in 1..work / members {
            add();
        }
        0
    })?;
    Ok(round.seconds)
}

fn check(work: u64, found: u64, seconds: f64) -> Result<f64> {
    if found != work {
        return Err(format!("{found} after adding 1 for {work} times").into());
    }
    Ok(seconds)
}

/// A sum under a mutex of the C library's.
struct Robust(Shared<Guarded>);

#[repr(align(128))]
struct Guarded {
    mutex: UnsafeCell<libc::pthread_mutex_t>,
    sum: UnsafeCell<u64>,
}
// SAFETY: the mutex is made for this, and the sum is touched under it.
unsafe impl Sync for Guarded {}

impl Robust {
    fn new() -> Result<Self> {
        // SAFETY: all zeros are a valid pthread_mutex_t and attribute, which are initialised below.
        let guarded = Shared::new(Guarded {
            mutex: UnsafeCell::new(unsafe { std::mem::zeroed() }),
            sum: UnsafeCell::new(0),
        })?;
        // SAFETY: valid places, initialised in this order; nobody else knows them yet.
        let failed = unsafe {
            let mut attributes: libc::pthread_mutexattr_t = std::mem::zeroed();
            libc::pthread_mutexattr_init(&raw mut attributes)
                | libc::pthread_mutexattr_setpshared(
                    &raw mut attributes,
                    libc::PTHREAD_PROCESS_SHARED,
                )
                | libc::pthread_mutexattr_setrobust(&raw mut attributes, libc::PTHREAD_MUTEX_ROBUST)
                | libc::pthread_mutex_init(guarded.mutex.get(), &raw const attributes)
        };
        if failed == 0 { Ok(Self(guarded)) } else { Err(format!("pthread_mutex: {failed}").into()) }
    }

    fn add(&self) {
        // SAFETY: an initialised mutex, locked and unlocked by this thread; the sum in between.
        unsafe {
            assert_eq!(libc::pthread_mutex_lock(self.0.mutex.get()), 0);
            *self.0.sum.get() += 1;
            libc::pthread_mutex_unlock(self.0.mutex.get());
        }
    }

    /// Adds, and says how long the lock took.
    fn add_and_tell(&self) -> Duration {
        let begin = Instant::now();
        // SAFETY: as in `add`.
        unsafe {
            assert_eq!(libc::pthread_mutex_lock(self.0.mutex.get()), 0);
            let waited = begin.elapsed();
            *self.0.sum.get() += 1;
            libc::pthread_mutex_unlock(self.0.mutex.get());
            waited
        }
    }

    fn sum(&self) -> u64 {
        // SAFETY: all who add have ended.
        unsafe { *self.0.sum.get() }
    }
}

/// A value under a read-write lock of the C library's.
struct ReadWrite(Shared<Read>);

#[repr(align(128))]
struct Read {
    lock: UnsafeCell<libc::pthread_rwlock_t>,
    value: u64,
}
// SAFETY: the lock is made for this, and the value is only read.
unsafe impl Sync for Read {}

impl ReadWrite {
    fn new() -> Result<Self> {
        // SAFETY: all zeros are a valid pthread_rwlock_t and attribute, which are initialised below.
        let read =
            Shared::new(Read { lock: UnsafeCell::new(unsafe { std::mem::zeroed() }), value: 7 })?;
        // SAFETY: valid places, initialised in this order; nobody else knows them yet.
        let failed = unsafe {
            let mut attributes: libc::pthread_rwlockattr_t = std::mem::zeroed();
            libc::pthread_rwlockattr_init(&raw mut attributes)
                | libc::pthread_rwlockattr_setpshared(
                    &raw mut attributes,
                    libc::PTHREAD_PROCESS_SHARED,
                )
                | libc::pthread_rwlock_init(read.lock.get(), &raw const attributes)
        };
        if failed == 0 { Ok(Self(read)) } else { Err(format!("pthread_rwlock: {failed}").into()) }
    }

    fn read(&self) -> u64 {
        // SAFETY: an initialised lock, locked and unlocked by this thread.
        unsafe {
            assert_eq!(libc::pthread_rwlock_rdlock(self.0.lock.get()), 0);
            let value = std::ptr::read_volatile(&self.0.value);
            libc::pthread_rwlock_unlock(self.0.lock.get());
            value
        }
    }
}
