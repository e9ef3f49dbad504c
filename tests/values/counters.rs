//! Random operations of several processes on shared counters: the final value is exact.
//!
//! Each case forks 2 to 4 processes, gives each a sequence of operations on the same counters, and
//! lets them race. Operations that commute leave a value that does not depend on the order; what
//! they returned tells whether every one of them saw a value of its own.

use crate::common::{Test, until};
use crate::probe::{Count, LONG, join, kill, spawn};
use crate::property::check;
use crate::tests;
use mpshm::{Array, LockError, Mutex, Number, Process, Value};
use proptest::prelude::*;

pub const TESTS: &[Test] = tests![
    sums_are_exact_whatever_adds_up: 120,
    bits_are_exact_whatever_sets_clears_and_flips_them: 120,
    extremes_are_exact_whatever_raises_and_lowers_them: 120,
    floats_add_up_exactly_where_their_sums_are_exact: 120,
    every_fetch_add_returns_a_value_of_its_own: 120,
    what_is_done_under_the_lock_happens_in_some_order: 120,
    elements_of_an_array_are_counters_of_their_own: 120,
    counters_of_killed_processes_hold_what_these_had_done: 120,
];

/// Runs `body` for each of the sequences, in processes that begin at the same moment.
fn race<T>(sequences: &[T], body: impl Fn(usize, &T)) {
    let (ready, go) = (Count::new(), Count::new());
    let children: Vec<Process> = sequences
        .iter()
        .enumerate()
        .map(|(index, sequence)| {
            let (ready, go, body) = (&ready, &go, &body);
            spawn(move || {
                ready.add(1);
                while go.get() == 0 {
                    std::hint::spin_loop();
                }
                body(index, sequence);
            })
        })
        .collect();
    until("all are ready", LONG, || ready.get() == sequences.len() as u64);
    go.add(1);
    children.iter().for_each(join);
}

/// Sequences of operations for 2 to 4 processes. Each operation is repeated, so that they race.
fn sequences<T: std::fmt::Debug + Clone>(
    operation: impl Strategy<Value = T> + Clone,
) -> impl Strategy<Value = Vec<Vec<(T, u16)>>> {
    let operations = prop::collection::vec((operation, 1..300u16), 1..12);
    prop::collection::vec(operations, 2..=4)
}

fn each<T: Copy>(sequence: &[(T, u16)]) -> impl Iterator<Item = T> + '_ {
    sequence.iter().flat_map(|&(operation, times)| (0..times).map(move |_| operation))
}

#[derive(Clone, Copy, Debug)]
enum Sum {
    Add(i64),
    Subtract(i64),
    Update(i64),
    Exchange(i64),
    Locked(i64),
}

fn sum() -> impl Strategy<Value = Sum> + Clone {
    prop_oneof![
        any::<i64>().prop_map(Sum::Add),
        any::<i64>().prop_map(Sum::Subtract),
        any::<i64>().prop_map(Sum::Update),
        any::<i64>().prop_map(Sum::Exchange),
        any::<i64>().prop_map(Sum::Locked),
    ]
}

fn sums_are_exact_whatever_adds_up() {
    // The same operations on counters of every width: all of them wrap.
    check(100, (any::<i64>(), sequences(sum())), |(first, sequences)| {
        macro_rules! wrapping {
            ($($integer:ty),*) => {{$({
                type I = $integer;
                let made = if first & 1 == 0 { Value::<I>::new } else { Value::<I>::new_waitable };
                let counter = made(first as I).unwrap();
                // What is read and written under the lock is safe from others who take the lock.
                let locked = Value::<I>::new(0).unwrap();
                race(&sequences, |_, sequence| {
                    for operation in each(sequence) {
                        match operation {
                            Sum::Add(n) => drop_value(counter.fetch_add(n as I)),
                            Sum::Subtract(n) => drop_value(counter.fetch_sub(n as I)),
                            Sum::Update(n) => {
                                drop_value(counter.update(|old| old.wrapping_add(n as I)));
                            }
                            Sum::Exchange(n) => {
                                let mut seen = counter.load();
                                while let Err(now) =
                                    counter.compare_exchange(seen, seen.wrapping_add(n as I))
                                {
                                    seen = now;
                                }
                            }
                            Sum::Locked(n) => {
                                let mut guard = locked.lock().unwrap();
                                let next = guard.get().wrapping_add(n as I);
                                guard.set(next);
                            }
                        }
                    }
                });
                let (mut expected, mut expected_locked) = (first as I, 0 as I);
                for operation in sequences.iter().flat_map(|sequence| each(sequence)) {
                    match operation {
                        Sum::Add(n) | Sum::Update(n) | Sum::Exchange(n) => {
                            expected = expected.wrapping_add(n as I);
                        }
                        Sum::Subtract(n) => expected = expected.wrapping_sub(n as I),
                        Sum::Locked(n) => expected_locked = expected_locked.wrapping_add(n as I),
                    }
                }
                assert_eq!((counter.load(), locked.load()), (expected, expected_locked));
            })*}};
        }
        match sequences.len() {
            2 => wrapping!(i64, u8, u128),
            3 => wrapping!(u64, i16, i128),
            _ => wrapping!(i32, u16),
        }
    });
}

fn drop_value<T>(_: T) {}

fn bits_are_exact_whatever_sets_clears_and_flips_them() {
    // Sets and clears commute only where they do not touch the same bits: one third of the bits is
    // for each kind.
    const SET: u64 = 0x9249_2492_4924_9249;
    const CLEAR: u64 = SET << 1;
    const FLIP: u64 = SET << 2;
    check(100, (any::<u64>(), sequences((0..3u8, any::<u64>()))), |(first, sequences)| {
        let word = Value::new(first).unwrap();
        let flag = Value::new(false).unwrap();
        race(&sequences, |_, sequence| {
            for (kind, bits) in each(sequence) {
                match kind {
                    0 => drop_value(word.fetch_or(bits & SET)),
                    1 => drop_value(word.fetch_and(bits | !CLEAR)),
                    _ => {
                        word.fetch_xor(bits & FLIP);
                        flag.fetch_xor(true);
                    }
                }
            }
        });
        let (mut expected, mut flips) = (first, 0);
        for (kind, bits) in sequences.iter().flat_map(|sequence| each(sequence)) {
            match kind {
                0 => expected |= bits & SET,
                1 => expected &= bits | !CLEAR,
                _ => {
                    expected ^= bits & FLIP;
                    flips += 1;
                }
            }
        }
        assert_eq!((word.load(), flag.load()), (expected, flips % 2 == 1));
    });
}

fn extremes_are_exact_whatever_raises_and_lowers_them() {
    fn hold<T: Number + Ord>(first: T, sequences: &[Vec<(T, u16)>]) {
        let (least, most) = (Value::new(first).unwrap(), Value::new(first).unwrap());
        race(sequences, |_, sequence| {
            for number in each(sequence) {
                assert!(least.fetch_min(number) >= least.load(), "the least never rises");
                assert!(most.fetch_max(number) <= most.load(), "the most never falls");
                assert!(least.load() <= number && most.load() >= number);
            }
        });
        let numbers = || sequences.iter().flatten().map(|&(number, _)| number).chain([first]);
        assert_eq!(least.load(), numbers().min().unwrap());
        assert_eq!(most.load(), numbers().max().unwrap());
    }
    check(60, (any::<i64>(), sequences(any::<i64>())), |(first, sequences)| {
        hold(first, &sequences);
    });
    check(30, (any::<u8>(), sequences(any::<u8>())), |(first, sequences)| hold(first, &sequences));
    check(30, (any::<i32>(), sequences(any::<i32>())), |(first, sequences)| {
        hold(first, &sequences);
    });
}

fn floats_add_up_exactly_where_their_sums_are_exact() {
    // Small multiples of an eighth: no sum of them is rounded, so their order does not matter.
    check(60, sequences((any::<bool>(), -1000..1000i16)), |sequences| {
        let (wide, narrow) = (Value::new(0.0f64).unwrap(), Value::new(0.0f32).unwrap());
        race(&sequences, |_, sequence| {
            for (add, eighths) in each(sequence) {
                if add {
                    wide.fetch_add(f64::from(eighths) / 8.0);
                    narrow.fetch_add(f32::from(eighths / 100));
                } else {
                    wide.fetch_sub(f64::from(eighths) / 8.0);
                    narrow.fetch_sub(f32::from(eighths / 100));
                }
            }
        });
        let all = || sequences.iter().flat_map(|sequence| each(sequence));
        let sign = |add: bool| if add { 1 } else { -1 };
        let sum: i64 = all().map(|(add, n)| sign(add) * i64::from(n)).sum();
        let small: i64 = all().map(|(add, n)| sign(add) * i64::from(n / 100)).sum();
        assert_eq!((wide.load(), narrow.load()), (sum as f64 / 8.0, small as f32));
    });
}

fn every_fetch_add_returns_a_value_of_its_own() {
    check(60, prop::collection::vec(1..2000usize, 2..=4), |times| {
        let counter = Value::new(0u32).unwrap();
        let total: usize = times.iter().sum();
        let taken = Array::<u8>::new(total).unwrap();
        race(&times, |_, &times| {
            let mut before = None;
            for _ in 0..times {
                let number = counter.fetch_add(1);
                assert!(Some(number) > before, "numbers rise");
                before = Some(number);
                taken.fetch_add(number as usize, 1).unwrap();
            }
        });
        assert_eq!(counter.load() as usize, total);
        assert!(taken.iter().all(|times| times == 1), "each number was had once");
    });
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Add(u64),
    Multiply(u64),
    Xor(u64),
}

fn what_is_done_under_the_lock_happens_in_some_order() {
    // These do not commute: each process writes down, under the lock, what it did and on which state.
    let step = prop_oneof![
        any::<u64>().prop_map(Step::Add),
        any::<u64>().prop_map(Step::Multiply),
        any::<u64>().prop_map(Step::Xor),
    ];
    let apply = |state: u64, step: Step| match step {
        Step::Add(n) => state.wrapping_add(n),
        Step::Multiply(n) => state.wrapping_mul(n | 1),
        Step::Xor(n) => state ^ n,
    };
    let sequences = prop::collection::vec(prop::collection::vec(step, 1..200), 2..=4);
    check(60, sequences, |sequences| {
        let total: usize = sequences.iter().map(Vec::len).sum();
        let state = Mutex::new([0u64, 7]).unwrap(); // how many steps were done, the state
        let order = Array::<u8>::new(total).unwrap();
        race(&sequences, |index, sequence| {
            for &step in sequence {
                let mut guard = state.lock().unwrap();
                let [done, now] = guard.get();
                order.store(done as usize, index as u8).unwrap();
                guard.set([done + 1, apply(now, step)]);
            }
        });
        let mut next: Vec<_> = sequences.iter().map(|sequence| sequence.iter()).collect();
        let mut expected = 7;
        for index in order.iter() {
            let step = next[index as usize].next().expect("a step of that process");
            expected = apply(expected, *step);
        }
        assert_eq!(state.lock().unwrap().get(), [total as u64, expected]);
    });
}

fn elements_of_an_array_are_counters_of_their_own() {
    // Neighbouring bytes are written by different processes.
    check(60, sequences((0..9usize, any::<u8>())), |sequences| {
        let bytes = Array::<u8>::new(9).unwrap();
        let words = Array::<u16>::new(9).unwrap();
        race(&sequences, |_, sequence| {
            for (index, number) in each(sequence) {
                bytes.fetch_add(index, number).unwrap();
                words.update(8 - index, |word| word.wrapping_sub(number.into())).unwrap();
            }
        });
        let (mut expected, mut expected_words) = ([0u8; 9], [0u16; 9]);
        for (index, number) in sequences.iter().flat_map(|sequence| each(sequence)) {
            expected[index] = expected[index].wrapping_add(number);
            expected_words[8 - index] = expected_words[8 - index].wrapping_sub(number.into());
        }
        assert_eq!((bytes.to_vec(), words.to_vec()), (expected.to_vec(), expected_words.to_vec()));
    });
}

fn counters_of_killed_processes_hold_what_these_had_done() {
    // Each process counts for itself and for all, and is killed somewhere: between the two at worst.
    check(60, prop::collection::vec((1..50u64, 0..600u64), 2..=4), |victims| {
        let all = Value::new(0u64).unwrap();
        let locked = Value::new(0u64).unwrap();
        let own = Array::<u64>::new(victims.len()).unwrap();
        let running = Count::new();
        let children: Vec<Process> = victims
            .iter()
            .enumerate()
            .map(|(index, &(add, _))| {
                let (all, locked, own, running) = (&all, &locked, &own, &running);
                spawn(move || {
                    running.add(1);
                    loop {
                        all.fetch_add(add);
                        own.fetch_add(index, add).unwrap();
                        match locked.lock() {
                            Ok(mut guard) => {
                                let next = guard.get() + 1;
                                guard.set(next);
                            }
                            Err(LockError::OwnerDead(mut guard)) => guard.mark_consistent(),
                            Err(error) => panic!("{error}"),
                        }
                    }
                })
            })
            .collect();
        until("all run", LONG, || running.get() == victims.len() as u64);
        for (child, &(_, microseconds)) in children.iter().zip(&victims) {
            crate::probe::Random::new(microseconds).pause(microseconds + 1);
            kill(child);
        }
        let sum: u64 = own.iter().sum();
        let most: u64 = victims.iter().map(|&(add, _)| add).sum();
        let found = all.load();
        assert!(found >= sum && found <= sum + most, "{found} for all, {sum} for each");
        let before = locked.load();
        match locked.lock() {
            Ok(guard) => assert_eq!(guard.get(), before),
            Err(LockError::OwnerDead(mut guard)) => guard.mark_consistent(),
            Err(error) => panic!("{error}"),
        }
    });
}
