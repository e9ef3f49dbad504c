//! One way to a process that sleeps, messages of 8 bytes.
//!
//! The message is the time at which it was pushed, and it is pushed only when the kernel says that the other process
//! sleeps; so spinning before a sleep cannot make a sleep look short.

use crate::measure::{Row, Unit, Work, sides};
use crate::shared::{Numbers, Shared};
use crate::{Result, cpu, crew, futex};
use mpshm::{Condvar, Event, Mutex, Queue, Semaphore};
use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const WAKES: u64 = 1000;
/// Time to fall asleep in for a processor whose last process just did.
const SETTLE: Duration = Duration::from_micros(20);

/// Against the bare system calls.
pub fn rows() -> Vec<Row> {
    vec![
        against_futex("wake_vs_futex", 0.9, queue_times),
        against_futex("semaphore_wake_vs_futex", 0.95, semaphore_times),
        against_futex("event_wake_vs_futex", 0.95, event_times),
        against_futex("condvar_wake_vs_futex", 0.95, condvar_times),
    ]
}

fn against_futex(id: &'static str, target: f64, times: fn(u64) -> Result<Vec<u64>>) -> Row {
    Row {
        id,
        unit: Unit::Microseconds,
        peer_name: "bare futex",
        target,
        work: Work::Fixed(WAKES),
        prepare: sides(move |_| seconds(times(WAKES)?), Ok(|_| seconds(bare_times(WAKES)?))),
    }
}

fn seconds(times: Vec<u64>) -> Result<f64> {
    Ok(times.into_iter().sum::<u64>() as f64 / 1e9)
}

/// What each of `count` messages takes through a queue.
pub fn queue_times(count: u64) -> Result<Vec<u64>> {
    let queue = Queue::<u64>::new(16)?;
    one_way(count, |number| queue.push(number).expect("pushed"), || queue.pop().expect("popped"))
}

/// The same with a permit for each number, which lies beside the semaphore.
fn semaphore_times(count: u64) -> Result<Vec<u64>> {
    let semaphore = Semaphore::new(0)?;
    let beside = Shared::new(AtomicU64::new(0))?;
    let push = |number| {
        beside.store(number, Ordering::Relaxed);
        semaphore.release(1).expect("released");
    };
    let pop = || {
        semaphore.acquire().expect("acquired").forget();
        beside.load(Ordering::Relaxed)
    };
    one_way(count, push, pop)
}

/// The same with an event that is cleared again by who waited.
fn event_times(count: u64) -> Result<Vec<u64>> {
    let event = Event::new()?;
    let beside = Shared::new(AtomicU64::new(0))?;
    let push = |number| {
        beside.store(number, Ordering::Relaxed);
        event.set();
    };
    let pop = || {
        event.wait().expect("set");
        event.clear();
        beside.load(Ordering::Relaxed)
    };
    one_way(count, push, pop)
}

/// The same with a condition: the number is under its lock, 0 = none.
fn condvar_times(count: u64) -> Result<Vec<u64>> {
    let mutex = Mutex::new(0u64)?;
    let condvar = Condvar::new()?;
    let push = |number| {
        let mut guard = mutex.lock().expect("nobody died");
        guard.set(number);
        condvar.notify_one(&guard).expect("locked");
    };
    let pop = || {
        let mut guard = mutex.lock().expect("nobody died");
        while guard.get() == 0 {
            condvar.wait(&mut guard).expect("locked");
        }
        let number = guard.get();
        guard.set(0);
        number
    };
    one_way(count, push, pop)
}

/// The same with nothing but the system calls.
pub fn bare_times(count: u64) -> Result<Vec<u64>> {
    let bare = Shared::new(Bare::default())?;
    let seen = Cell::new(0);
    one_way(count, |number| bare.push(number), || bare.pop(&seen))
}

/// A number, and a word to sleep on until it changes.
#[derive(Default)]
#[repr(align(128))]
struct Bare {
    sequence: AtomicU32,
    number: AtomicU64,
}

impl Bare {
    fn push(&self, number: u64) {
        self.number.store(number, Ordering::Relaxed);
        self.sequence.fetch_add(1, Ordering::Release);
        futex::wake(&self.sequence, 1);
    }

    fn pop(&self, seen: &Cell<u32>) -> u64 {
        while self.sequence.load(Ordering::Acquire) == seen.get() {
            futex::wait(&self.sequence, seen.get());
        }
        seen.set(seen.get().wrapping_add(1));
        self.number.load(Ordering::Relaxed)
    }
}

/// Nanoseconds that each of `count` messages took, from before `push` to behind `pop`, in processes on two cores.
fn one_way(count: u64, push: impl Fn(u64), pop: impl Fn() -> u64) -> Result<Vec<u64>> {
    let (first, second) = cpu::pair();
    let epoch = Instant::now();
    let now = || epoch.elapsed().as_nanos() as u64;
    let receiver = Shared::new(AtomicU32::new(0))?;
    let times = Numbers::new(count as usize)?;
    crew::processes(&[first, second], |gate| {
        if gate.index == 0 {
            gate.pass();
            let state = State::of(receiver.load(Ordering::Acquire));
            for _ in 0..count {
                state.wait_for_sleep();
                push(now());
            }
        } else {
            receiver.store(std::process::id(), Ordering::Release);
            gate.pass();
            for index in 0..count as usize {
                let pushed = pop();
                times.set(index, now().saturating_sub(pushed));
            }
        }
        0
    })?;
    Ok(times.to_vec())
}

/// What the kernel says of a process.
struct State(File);

impl State {
    fn of(pid: u32) -> Self {
        Self(File::open(format!("/proc/{pid}/stat")).expect("a process"))
    }

    /// Returns some time after the process fell asleep.
    fn wait_for_sleep(&self) {
        let mut line = [0; 512];
        loop {
            let length = self.0.read_at(&mut line, 0).expect("its state");
            // The state stands behind the name, which is in brackets.
            let name_end = line[..length].iter().rposition(|byte| *byte == b')').expect("a name");
            if line.get(name_end + 2) == Some(&b'S') {
                break;
            }
            std::thread::yield_now();
        }
        let asleep = Instant::now();
        while asleep.elapsed() < SETTLE {
            std::hint::spin_loop();
        }
    }
}
