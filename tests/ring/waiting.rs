//! Who waits sleeps, is woken, and costs nothing; who need not wait makes no system call.

use crate::common::until;
use crate::of_every_form;
use crate::options::quick;
use crate::probe::{
    Count, LONG, Random, SHORT, costs_next_to_nothing, for_ever, go_on, join, kill, spawn, stop,
    until_asleep, without_system_calls,
};
use mpshm::{Canceller, PopError, PushError, Ring, Value, WhenFull};
use std::cell::RefCell;
use std::time::{Duration, Instant};

of_every_form! {
    a_sleeper_is_woken_by_what_it_waits_for
    pushes_and_pops_make_no_system_call_unless_somebody_sleeps
    waiting_costs_next_to_nothing
    cancelling_ends_a_push_and_a_pop
    a_stopped_peer_keeps_nobody_from_a_try
}

mod each {
    use super::*;
    use crate::kit::Form;

    pub fn a_sleeper_is_woken_by_what_it_waits_for<F: Form>() {
        for _ in 0..10 {
            let ring = F::ring(1);
            let popping = spawn(|| {
                let start = Instant::now();
                assert_eq!(F::pop_until(&mut ring.consumer(), LONG.into()), Ok(7));
                assert!(start.elapsed() < LONG);
            });
            until_asleep(popping.pid());
            F::push(&mut ring.producer(), 7).unwrap();
            join(&popping);
            F::push(&mut ring.producer(), 8).unwrap();
            let pushing = spawn(|| F::push(&mut ring.producer(), 9).unwrap());
            until_asleep(pushing.pid());
            assert_eq!(F::try_pop(&mut ring.consumer()), Ok(8));
            join(&pushing);
            assert_eq!(F::try_pop(&mut ring.consumer()), Ok(9));
            assert!(ring.counters().waits >= 2);
        }
    }

    pub fn pushes_and_pops_make_no_system_call_unless_somebody_sleeps<F: Form>() {
        for full in [WhenFull::Wait, WhenFull::Fail, WhenFull::Overwrite] {
            let options = F::options(8).when_full(full);
            let ring = Ring::<F::Item>::with_options(&options).unwrap();
            let cycle = || {
                let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
                for round in 0..20 {
                    for n in 0..8 {
                        F::push(&mut producer, round).unwrap();
                        F::try_push(&mut producer, n).unwrap();
                        assert_eq!(F::pop(&mut consumer), Ok(round));
                        assert_eq!(F::try_pop(&mut consumer), Ok(n));
                    }
                    assert_eq!(F::try_pop(&mut consumer), Err(PopError::Empty));
                    (0..8).for_each(|n| F::try_push(&mut producer, n).unwrap());
                    assert!(ring.is_full() && ring.len() == 8);
                    let beyond = F::try_push(&mut producer, 8).is_ok();
                    assert_eq!(beyond, full == WhenFull::Overwrite);
                    assert_eq!(F::drain(&mut consumer).len(), 8);
                }
                assert!(ring.is_empty() && !ring.is_closed());
            };
            assert!(without_system_calls(cycle, cycle), "{} {full:?}", F::NAME);
        }
        // With somebody asleep there is one, and it is seen.
        let ring = F::ring(8);
        let sleeper = spawn(|| drop(F::pop(&mut ring.consumer())));
        until_asleep(sleeper.pid());
        let came_through = |pushes: bool| {
            let producer = RefCell::new(ring.producer());
            without_system_calls(
                || F::take_role(&mut producer.borrow_mut()),
                || {
                    if pushes {
                        F::try_push(&mut producer.borrow_mut(), 1).unwrap();
                    }
                },
            )
        };
        assert!(came_through(false) && !came_through(true));
        F::push(&mut ring.producer(), 2).unwrap();
        join(&sleeper);
    }

    pub fn waiting_costs_next_to_nothing<F: Form>() {
        let wait = Duration::from_secs(2);
        let ring = Ring::<F::Item>::with_options(&F::options(1).follow_ends()).unwrap();
        // The other end lives, and is asked after.
        let begun = Count::new();
        let other = spawn(|| {
            let mut producer = ring.producer();
            F::push(&mut producer, 1).unwrap();
            begun.add(1);
            for_ever();
        });
        until("the other end is there", LONG, || begun.get() == 1);
        let consumer = RefCell::new(ring.consumer());
        assert_eq!(F::pop(&mut consumer.borrow_mut()), Ok(1));
        costs_next_to_nothing(&format!("a pop of {}", F::NAME), || {
            let popped = F::pop_until(&mut consumer.borrow_mut(), wait.into());
            assert_eq!(popped, Err(PopError::TimedOut));
        });
        kill(&other);
        let producer = RefCell::new(ring.producer());
        F::push(&mut producer.borrow_mut(), 1).unwrap();
        costs_next_to_nothing(&format!("a push of {}", F::NAME), || {
            let pushed = F::push_until(&mut producer.borrow_mut(), 2, wait.into());
            assert_eq!(pushed, Err(PushError::TimedOut(())));
        });
    }

    pub fn cancelling_ends_a_push_and_a_pop<F: Form>() {
        let ring = F::ring(1);
        let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
        let canceller = Canceller::new();
        let cancel_when_asleep = |wait: &mut dyn FnMut()| {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    until_asleep(std::process::id());
                    canceller.cancel();
                });
                let start = Instant::now();
                canceller.run(wait);
                assert!(start.elapsed() < LONG);
            });
            canceller.reset();
        };
        cancel_when_asleep(&mut || {
            assert_eq!(F::pop(&mut consumer), Err(PopError::Interrupted));
        });
        F::push(&mut producer, 1).unwrap();
        cancel_when_asleep(&mut || {
            assert_eq!(F::push(&mut producer, 2), Err(PushError::Interrupted(())));
        });
        canceller.cancel();
        assert_eq!(canceller.run(|| F::pop(&mut consumer)), Ok(1), "a success wins");
        assert_eq!(canceller.run(|| F::pop(&mut consumer)), Err(PopError::Interrupted));
        F::push(&mut producer, 3).unwrap();
        assert_eq!(F::drain(&mut consumer), [3]);
    }

    pub fn a_stopped_peer_keeps_nobody_from_a_try<F: Form>() {
        let ring = F::ring(4);
        // Stopped in the middle of whatever it does: its sleep, its push, its pop.
        let mut random = Random::new(7);
        let mut consumer = ring.consumer();
        let child = spawn(|| {
            let mut producer = ring.producer();
            for n in 0.. {
                F::push(&mut producer, n).unwrap();
            }
        });
        let mut next = 0;
        let mut slowest = Duration::ZERO;
        for _ in 0..200 {
            random.pause(300);
            stop(&child);
            let start = Instant::now();
            for n in F::drain(&mut consumer) {
                assert_eq!(n, next);
                next += 1;
            }
            assert_eq!((F::try_pop(&mut consumer), ring.len()), (Err(PopError::Empty), 0));
            slowest = slowest.max(start.elapsed());
            go_on(&child);
        }
        assert!(next > 100 && slowest < Duration::from_secs(1), "{next} items, {slowest:?}");
        stop(&child);
        F::drain(&mut consumer);
        assert_eq!(F::pop_until(&mut consumer, (4 * SHORT).into()), Err(PopError::TimedOut));
        kill(&child);
        F::drain(&mut consumer);
        drop(consumer);

        let child = spawn(|| {
            let mut consumer = ring.consumer();
            while F::pop(&mut consumer).is_ok() {}
        });
        let mut producer = ring.producer();
        for _ in 0..200 {
            (0..3).for_each(|n| drop(F::try_push(&mut producer, n)));
            random.pause(300);
            stop(&child);
            let start = Instant::now();
            for n in ring.len()..4 {
                assert_eq!(F::try_push(&mut producer, n as u64), Ok(()));
            }
            assert_eq!(F::try_push(&mut producer, 9), Err(PushError::Full(())));
            assert!(ring.is_full() && ring.len() == 4);
            slowest = slowest.max(start.elapsed());
            go_on(&child);
        }
        assert!(slowest < Duration::from_secs(1), "{slowest:?}");
        stop(&child);
        while F::try_push(&mut producer, 9).is_ok() {}
        let wait = 4 * SHORT;
        assert_eq!(F::push_until(&mut producer, 9, wait.into()), Err(PushError::TimedOut(())));
        kill(&child);
    }
}

/// Lets this process, and its children, run on these processors only.
fn run_on(cpus: &[usize]) {
    // SAFETY: an all-zero set is valid; the numbers are small.
    let refused = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        cpus.iter().for_each(|&cpu| libc::CPU_SET(cpu, &mut set));
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) != 0
    };
    assert!(!refused, "{cpus:?}: {}", std::io::Error::last_os_error());
}

/// Processors that this process may run on.
fn cpus() -> Vec<usize> {
    // SAFETY: an all-zero set is valid, and a valid place for the answer.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        assert_eq!(libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set), 0);
        (0..1024).filter(|&cpu| libc::CPU_ISSET(cpu, &set)).collect()
    }
}

/// Calls that took as long as a slice though what they waited for was there: after a lost wake-up, a sleeper finds it at
/// the end of one.
struct Slow(Count);

fn rounds() -> u64 {
    if quick() { 20_000 } else { 100_000 }
}

/// How many of those there may be, where the machine stops a process between two lines of this test.
fn allowed() -> u64 {
    rounds() / 5000
}

/// Nanoseconds of the clock that all processes share.
fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a place for the answer.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) }, 0);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Nanoseconds for which this process could have run and had no processor; 0 where the kernel does not count them.
fn held_up() -> u64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    text.split_ascii_whitespace().nth(1).map_or(0, |number| number.parse().unwrap())
}

impl Slow {
    /// `there` says since when the call has what it waits for.
    fn timed<T>(&self, there: &Value<u64>, call: impl FnOnce() -> T) -> T {
        let (begin, held) = (now(), held_up());
        let result = call();
        let since = there.load().max(begin);
        let took = now().saturating_sub(since).saturating_sub(held_up() - held);
        self.0.add(u64::from(took >= 75_000_000));
        result
    }

    fn judge(&self, cpus: &[usize], waits: u64) {
        let (rounds, slow) = (rounds(), self.0.get());
        println!("    on {cpus:?}: {waits} sleeps in {rounds} rounds, {slow} calls were slow");
        assert!(waits > rounds / 10, "nobody slept");
        assert!(slow <= allowed(), "wake-ups were lost");
    }

    /// Every third time, what the other end waits for is not there soon.
    fn doze(random: &mut Random) {
        if random.below(3) == 0 {
            std::thread::sleep(Duration::from_micros(random.below(40)));
        }
    }
}

/// Two processes that wait for each other in turn.
fn ping_pong(cpus: &[usize]) {
    run_on(cpus);
    let (there, back) = (Ring::<u64>::new(1).unwrap(), Ring::<[u8]>::new(8).unwrap());
    let slow = Slow(Count::new());
    let [ping, pong, room] = [(); 3].map(|()| Value::<u64>::new(0).unwrap());
    let child = spawn(|| {
        let (mut consumer, mut producer) = (there.consumer(), back.producer());
        let mut random = Random::new(1);
        for n in 0..rounds() {
            assert_eq!(slow.timed(&ping, || consumer.pop()), Ok(n));
            Slow::doze(&mut random);
            pong.store(now());
            slow.timed(&room, || producer.push(&n.to_ne_bytes())).unwrap();
        }
    });
    let (mut producer, mut consumer) = (there.producer(), back.consumer());
    let mut random = Random::new(2);
    for n in 0..rounds() {
        ping.store(now());
        slow.timed(&room, || producer.push(n)).unwrap();
        Slow::doze(&mut random);
        assert_eq!(slow.timed(&pong, || consumer.pop()), Ok(n.to_ne_bytes().to_vec()));
    }
    join(&child);
    let waits = there.counters().waits + back.counters().waits;
    slow.judge(cpus, waits);
}

/// A stream through a ring of one item: both ends sleep by turns.
fn stream(cpus: &[usize]) {
    run_on(cpus);
    let ring = Ring::<u64>::new(1).unwrap();
    let slow = Slow(Count::new());
    let [item, room] = [(); 2].map(|()| Value::<u64>::new(0).unwrap());
    let child = spawn(|| {
        let mut producer = ring.producer();
        let mut random = Random::new(3);
        for n in 0..rounds() {
            item.store(now());
            slow.timed(&room, || producer.push(n)).unwrap();
            Slow::doze(&mut random);
        }
    });
    let mut consumer = ring.consumer();
    let mut random = Random::new(4);
    for n in 0..rounds() {
        room.store(now());
        assert_eq!(slow.timed(&item, || consumer.pop()), Ok(n));
        Slow::doze(&mut random);
    }
    join(&child);
    let waits = ring.counters().waits;
    slow.judge(cpus, waits);
}

pub fn no_wake_up_is_lost_on_one_processor() {
    let cpu = cpus()[0];
    ping_pong(&[cpu]);
    stream(&[cpu]);
}

pub fn no_wake_up_is_lost_on_two_processors() {
    let cpus = cpus();
    let two = &cpus[..2.min(cpus.len())];
    ping_pong(two);
    stream(two);
}
