//! Rings of plain items: order, room, slices, times, against a model and between processes.

use crate::common::until;
use crate::of_every_form;
use crate::probe::{Count, LONG, Random, SHORT, in_child, is, join, spawn};
use mpshm::{
    Deadline, ErrorKind, Pod, PopError, PushError, Ring, RingConsumer, RingOptions, RingProducer,
    WhenFull, Zeroable,
};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub fn many_items_go_in_as_far_as_there_is_room() {
    let ring = Ring::<u64>::new(4).unwrap();
    let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
    assert_eq!(producer.try_push_many(&[]), Ok(0));
    assert_eq!(producer.try_push_many(&[0, 1, 2, 3, 4, 5]), Ok(4), "more than the capacity");
    assert_eq!(producer.try_push_many(&[9]), Err(PushError::Full(())));
    assert_eq!(consumer.try_pop_many(3), Ok(vec![0, 1, 2]));
    assert_eq!(producer.try_push_many(&[4, 5, 6, 7]), Ok(3));
    assert_eq!(producer.try_push_many(&[9; 100]), Err(PushError::Full(())));
    assert_eq!(consumer.try_pop_many(9), Ok(vec![3, 4, 5, 6]));
    std::thread::scope(|scope| {
        scope.spawn(|| producer.push_many(&(0..10_000).collect::<Vec<_>>()).unwrap());
        (0..10_000).for_each(|n| assert_eq!(consumer.pop(), Ok(n)));
    });
}

/// An item of any size.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bytes<const N: usize>([u8; N]);
// SAFETY: bytes.
unsafe impl<const N: usize> Zeroable for Bytes<N> {}
// SAFETY: bytes, all of which are valid.
unsafe impl<const N: usize> Pod for Bytes<N> {}

/// What an item of `N` bytes is for a number.
fn item<const N: usize>(number: u64) -> Bytes<N> {
    let byte = |index: usize| (number.wrapping_mul(31) >> (index % 8 * 4)) as u8 ^ index as u8;
    Bytes(std::array::from_fn(byte))
}

/// One random operation of the producer, on the ring and on its model.
fn push_somehow<const N: usize>(
    producer: &mut RingProducer<Bytes<N>>,
    model: &mut VecDeque<u64>,
    capacity: usize,
    next: &mut u64,
    random: &mut Random,
) {
    let room = capacity - model.len();
    let some = random.below(capacity as u64 + 2) as usize;
    let items: Vec<Bytes<N>> = (*next..*next + some as u64).map(item).collect();
    let pushed = match random.below(4) {
        0 => match producer.try_push(item(*next)) {
            Ok(()) => 1,
            Err(PushError::Full(value)) => {
                assert_eq!((value, room), (item(*next), 0));
                0
            }
            Err(error) => panic!("{error}"),
        },
        1 => match producer.try_push_many(&items) {
            Ok(count) => {
                assert_eq!(count, some.min(room));
                count
            }
            Err(error) => {
                assert_eq!((error, room), (PushError::Full(()), 0));
                0
            }
        },
        2 => match producer.try_push_all(&items) {
            Ok(()) => some,
            Err(PushError::Full(())) => {
                assert!(some > room && some <= capacity, "{some} of {room}");
                0
            }
            Err(error) => {
                assert_eq!((error.kind(), some), (ErrorKind::TooBig, capacity + 1));
                0
            }
        },
        _ => match producer.try_reserve(some) {
            Ok(mut slice) => {
                assert!(some <= room);
                assert_eq!((slice.len(), slice.is_empty()), (some, some == 0));
                slice.write_at(0, &items).unwrap();
                let part = random.below(some as u64 + 1) as usize;
                match random.below(4) {
                    0 => 0, // dropped
                    _ => slice.commit(part).map(|()| part).unwrap(),
                }
            }
            Err(error) => {
                assert!(some > room, "{error}");
                0
            }
        },
    };
    model.extend(*next..*next + pushed as u64);
    *next += pushed as u64;
}

/// One random operation of the consumer.
fn pop_somehow<const N: usize>(
    consumer: &mut RingConsumer<Bytes<N>>,
    model: &mut VecDeque<u64>,
    marked: &mut usize,
    random: &mut Random,
) {
    let some = 1 + random.below(model.len() as u64 + 2) as usize;
    let first = |count: usize| model.iter().take(count).map(|&n| item(n)).collect::<Vec<_>>();
    let popped = match random.below(3) {
        0 => match consumer.try_pop() {
            Ok(value) => {
                assert_eq!([value][..], first(1));
                1
            }
            Err(error) => {
                assert_eq!((error, model.len()), (PopError::Empty, 0));
                0
            }
        },
        1 => match consumer.try_pop_many(some) {
            Ok(values) => {
                assert_eq!(values, first(some));
                values.len()
            }
            Err(error) => {
                assert_eq!((error, model.len()), (PopError::Empty, 0));
                0
            }
        },
        _ => match consumer.try_claim(some) {
            Ok(claim) => {
                let wanted = if *marked > 0 { some.min(*marked) } else { some };
                assert_eq!(claim.to_vec(), first(wanted), "{marked} are marked");
                assert_eq!(claim.deliveries() > 1, *marked > 0);
                let length = claim.len();
                let part = random.below(length as u64 + 1) as usize;
                match random.below(4) {
                    0 => {
                        *marked = (*marked).max(length);
                        claim.give_back();
                        0
                    }
                    1 => {
                        claim.release_first(part).unwrap();
                        part
                    }
                    _ => {
                        claim.release();
                        length
                    }
                }
            }
            Err(error) => {
                assert_eq!((error, model.len()), (PopError::Empty, 0));
                0
            }
        },
    };
    model.drain(..popped);
    *marked = marked.saturating_sub(popped);
}

/// Random operations on a ring and on a model of it.
fn go_round<const N: usize>(capacity: usize, steps: u64) {
    let mut random = Random::new(N as u64 * 10_000 + capacity as u64);
    let ring = Ring::<Bytes<N>>::new(capacity as u64).unwrap();
    let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
    let (mut model, mut next, mut marked) = (VecDeque::new(), 0, 0);
    for _ in 0..steps {
        push_somehow(&mut producer, &mut model, capacity, &mut next, &mut random);
        assert_eq!((ring.len(), ring.is_full()), (model.len(), model.len() == capacity));
        pop_somehow(&mut consumer, &mut model, &mut marked, &mut random);
        assert_eq!((ring.len(), ring.is_empty()), (model.len(), model.is_empty()));
        let counters = ring.counters();
        assert_eq!((counters.pushed, counters.popped), (next, next - model.len() as u64));
    }
    assert!(next > 3 * capacity as u64, "{next} items went round a ring of {capacity}");
    assert_eq!((ring.capacity(), ring.is_closed()), (capacity, false));
}

pub fn items_of_odd_sizes_go_round_in_order() {
    for capacity in [1, 2, 3, 1000] {
        let steps = if capacity == 1000 { 200 } else { 3_000 };
        go_round::<1>(capacity, steps);
        go_round::<3>(capacity, steps);
        go_round::<8>(capacity, steps);
        go_round::<24>(capacity, steps);
        go_round::<40>(capacity, steps);
        go_round::<100>(capacity, steps);
    }
}

/// Items of 100 bytes in whole pages: slices cross the storage's end in every way there is.
pub fn slices_are_contiguous_across_the_seam() {
    let ring = Ring::<Bytes<100>>::new(40).unwrap();
    let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
    let mut next = 0;
    for round in 0..400 {
        let count = 1 + round % 40;
        let mut slice = producer.reserve(count).unwrap();
        // SAFETY: nobody else writes there.
        for (index, place) in unsafe { slice.as_mut_slice() }.iter_mut().enumerate() {
            *place = item(next + index as u64);
        }
        // SAFETY: inside the reservation.
        unsafe { slice.as_mut_ptr().add(count - 1).write(item(next + count as u64 - 1)) };
        slice.commit(count).unwrap();
        let claim = consumer.claim(40).unwrap();
        // SAFETY: nobody writes to what is in the ring.
        for (index, found) in unsafe { claim.as_slice() }.iter().enumerate() {
            assert_eq!(*found, item(next + index as u64));
            assert_eq!(claim.read(index).unwrap(), *found);
        }
        // SAFETY: inside the claim.
        assert_eq!(unsafe { claim.as_ptr().add(count - 1).read() }, item(next + count as u64 - 1));
        claim.release();
        next += count as u64;
    }
}

pub fn nothing_is_a_slice_too() {
    let ring = Ring::<u32>::new(2).unwrap();
    let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
    for full in [false, true] {
        producer.try_push_all(&[]).unwrap();
        producer.push_all(&[]).unwrap();
        producer.push_many(&[]).unwrap();
        producer.try_reserve(0).unwrap().commit(0).unwrap();
        assert_eq!(consumer.try_pop_many(0), Ok(vec![]));
        assert_eq!(consumer.pop_many(0), Ok(vec![]), "nothing is not waited for");
        assert_eq!(consumer.pop_many_timeout(0, LONG), Ok(vec![]));
        is(consumer.try_claim(0).map(drop), ErrorKind::Invalid, &["0 items"]);
        is(consumer.claim(0).map(drop), ErrorKind::Invalid, &["0 items"]);
        if !full {
            assert!(ring.is_empty());
            producer.push_many(&[1, 2]).unwrap();
        }
    }
    assert_eq!(consumer.try_pop_many(9), Ok(vec![1, 2]));
}

of_every_form! {
    a_full_ring_refuses_in_time_and_is_unchanged
    an_empty_ring_refuses_in_time
    what_a_child_pushed_comes_in_order_and_outlives_it
    order_and_number_are_kept_between_two_processes_at_full_speed
    a_ring_that_fails_when_full_does_not_wait
}

mod each {
    use super::*;
    use crate::kit::Form;

    pub fn a_full_ring_refuses_in_time_and_is_unchanged<F: Form>() {
        let ring = F::ring(3);
        let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
        (1..=3).for_each(|n| F::try_push(&mut producer, n).unwrap());
        let start = Instant::now();
        assert_eq!(F::try_push(&mut producer, 9), Err(PushError::Full(())));
        assert!(start.elapsed() < SHORT);
        let timed = |producer: &mut _, wait: Duration| F::push_until(producer, 9, wait.into());
        assert_eq!(timed(&mut producer, Duration::ZERO), Err(PushError::TimedOut(())));
        for wait in [Duration::from_millis(1), Duration::from_millis(200)] {
            let start = Instant::now();
            assert_eq!(timed(&mut producer, wait), Err(PushError::TimedOut(())));
            let took = start.elapsed();
            assert!(took >= wait && took < wait + Duration::from_secs(2), "{took:?} of {wait:?}");
        }
        let past = Instant::now().checked_sub(LONG).unwrap();
        assert_eq!(F::push_until(&mut producer, 9, past.into()), Err(PushError::TimedOut(())));
        assert_eq!((ring.len(), ring.is_full(), ring.counters().pushed > 2), (3, true, true));
        assert_eq!(F::drain(&mut consumer), [1, 2, 3], "{}", F::NAME);
        F::push_until(&mut producer, 4, past.into()).expect("room that is there is had at once");
        assert_eq!(F::drain(&mut consumer), [4]);
    }

    pub fn an_empty_ring_refuses_in_time<F: Form>() {
        let ring = F::ring(2);
        let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
        for round in 0..3 {
            let start = Instant::now();
            assert_eq!(F::try_pop(&mut consumer), Err(PopError::Empty));
            assert!(start.elapsed() < SHORT);
            let zero = Deadline::from(Duration::ZERO);
            assert_eq!(F::pop_until(&mut consumer, zero), Err(PopError::TimedOut));
            let wait = Duration::from_millis(100);
            let start = Instant::now();
            assert_eq!(F::pop_until(&mut consumer, wait.into()), Err(PopError::TimedOut));
            let took = start.elapsed();
            assert!(took >= wait && took < wait + Duration::from_secs(2), "{took:?}");
            F::try_push(&mut producer, round).unwrap();
            assert_eq!(F::pop_until(&mut consumer, zero), Ok(round));
        }
        assert!(ring.counters().waits >= 3);
    }

    pub fn what_a_child_pushed_comes_in_order_and_outlives_it<F: Form>() {
        let ring = F::ring(20);
        let mut producer = ring.producer();
        (0..5).for_each(|n| F::push(&mut producer, n).unwrap());
        drop(producer);
        in_child(|| {
            let mut producer = ring.producer();
            (5..15).for_each(|n| F::push(&mut producer, n).unwrap());
        });
        let mut producer = ring.producer();
        (15..20).for_each(|n| F::push(&mut producer, n).unwrap());
        assert_eq!((ring.len(), ring.is_full()), (20, true));
        in_child(|| {
            let mut consumer = ring.consumer();
            (0..10).for_each(|n| assert_eq!(F::pop(&mut consumer), Ok(n)));
        });
        assert_eq!(F::drain(&mut ring.consumer()), (10..20).collect::<Vec<_>>());
        let counters = ring.counters();
        assert_eq!((counters.pushed, counters.repairs), (counters.popped, 0));
    }

    pub fn order_and_number_are_kept_between_two_processes_at_full_speed<F: Form>() {
        const COUNT: u64 = 300_000;
        for capacity in [1, 3, 1000] {
            let ring = F::ring(capacity);
            let count = if capacity == 1 { COUNT / 20 } else { COUNT };
            let child = spawn(|| {
                let mut producer = ring.producer();
                (0..count).for_each(|n| F::push(&mut producer, n).unwrap());
            });
            let mut consumer = ring.consumer();
            for n in 0..count {
                assert_eq!(F::pop(&mut consumer), Ok(n), "{} {capacity}", F::NAME);
            }
            assert_eq!(F::try_pop(&mut consumer), Err(PopError::Empty));
            join(&child);
        }
    }

    pub fn a_ring_that_fails_when_full_does_not_wait<F: Form>() {
        let ring = Ring::<F::Item>::with_options(&F::options(2).when_full(WhenFull::Fail)).unwrap();
        let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
        (0..2).for_each(|n| F::push(&mut producer, n).unwrap());
        let start = Instant::now();
        assert_eq!(F::push(&mut producer, 9), Err(PushError::Full(())));
        assert_eq!(F::push_until(&mut producer, 9, LONG.into()), Err(PushError::Full(())));
        assert!(start.elapsed() < Duration::from_secs(2));
        assert_eq!(F::pop_until(&mut consumer, SHORT.into()), Ok(0));
        F::push(&mut producer, 2).unwrap();
        assert_eq!(F::drain(&mut consumer), [1, 2]);
        assert_eq!(F::pop_until(&mut consumer, SHORT.into()), Err(PopError::TimedOut));
    }
}

pub fn calls_for_slices_wait_or_fail_as_the_ring_is_told() {
    let ring = Ring::<u32>::with_options(&RingOptions::new(2).when_full(WhenFull::Fail)).unwrap();
    let mut producer = ring.producer();
    assert_eq!(producer.push_many(&[1, 2, 3]), Err(PushError::Full(2)), "two were pushed");
    assert_eq!(producer.push_all(&[4]), Err(PushError::Full(())));
    assert_eq!(producer.reserve(1).map(drop).unwrap_err(), PushError::Full(()));
    assert_eq!(ring.consumer().try_pop_many(9), Ok(vec![1, 2]));

    let ring = Ring::<u32>::new(2).unwrap();
    let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
    let start = Instant::now();
    assert_eq!(producer.push_many_timeout(&[1, 2, 3], SHORT), Err(PushError::TimedOut(2)));
    assert_eq!(producer.push_all_timeout(&[4], SHORT), Err(PushError::TimedOut(())));
    assert_eq!(producer.reserve_timeout(1, SHORT).map(drop), Err(PushError::TimedOut(())));
    assert!(start.elapsed() >= 3 * SHORT);
    let words = ["3 items", "2 at once"];
    is(producer.push_all(&[1, 2, 3]), ErrorKind::TooBig, &words);
    is(producer.try_push_all(&[1, 2, 3]), ErrorKind::TooBig, &words);
    is(producer.reserve(3).map(drop), ErrorKind::TooBig, &words);
    is(producer.try_reserve(usize::MAX).map(drop), ErrorKind::TooBig, &[]);
    is(producer.reserve_timeout(1 << 61, SHORT).map(drop), ErrorKind::TooBig, &[]);
    assert_eq!(consumer.pop_many_timeout(9, SHORT), Ok(vec![1, 2]));
    assert_eq!(consumer.pop_many_timeout(9, SHORT), Err(PopError::TimedOut));
    assert_eq!(consumer.claim_timeout(9, SHORT).map(drop), Err(PopError::TimedOut));
    assert_eq!(consumer.try_claim(9).map(drop), Err(PopError::Empty));
    assert_eq!(consumer.try_pop_many(9), Err(PopError::Empty));
    assert!(ring.is_empty());
}

pub fn slices_wait_for_the_other_end() {
    let ring = Ring::<u64>::new(8).unwrap();
    let child = spawn(|| {
        let mut producer = ring.producer();
        producer.push_many(&(0..1000).collect::<Vec<_>>()).unwrap();
        for first in (1000..2000).step_by(5) {
            producer.push_all(&[0, 1, 2, 3, 4].map(|n| first + n)).unwrap();
        }
        for first in (2000..3000).step_by(8) {
            let mut slice = producer.reserve(8).unwrap();
            (0..8).for_each(|n| slice.write(n, first + n as u64).unwrap());
            slice.commit(8).unwrap();
        }
        producer.extend(3000..4000);
        ring.close().unwrap();
    });
    let mut consumer = ring.consumer();
    let mut next = 0;
    while next < 2000 {
        for value in consumer.pop_many(3).unwrap() {
            assert_eq!(value, next);
            next += 1;
        }
    }
    while next < 3000 {
        let claim = consumer.claim(5.min(3000 - next as usize)).unwrap();
        for (index, value) in claim.to_vec().into_iter().enumerate() {
            assert_eq!(value, next + index as u64);
        }
        next += claim.len() as u64;
    }
    assert_eq!(consumer.iter().take(500).collect::<Vec<_>>(), (3000..3500).collect::<Vec<_>>());
    assert!((&mut consumer).into_iter().eq(3500..4000));
    join(&child);
}

/// An observer sees no part of what is pushed together.
pub fn what_is_pushed_together_is_seen_together() {
    let items = Ring::<u32>::new(12).unwrap();
    let messages = Ring::<[u8]>::new(12 * 16 - 8).unwrap();
    let (stop, begun) = (Count::new(), Count::new());
    let observer = spawn(|| {
        begun.add(1);
        while stop.get() == 0 {
            let pushed = items.counters().pushed;
            assert_eq!(pushed % 3, 0, "a part of three items is visible");
            let pushed = messages.counters().pushed;
            assert_eq!(pushed % 48, 0, "a part of three messages is visible");
        }
    });
    until("somebody looks on", LONG, || begun.get() == 1);
    let (mut producer, mut consumer) = (items.producer(), items.consumer());
    let (mut sender, mut receiver) = (messages.producer(), messages.consumer());
    for n in 0..15_000u32 {
        producer.try_push_many(&[n; 3]).unwrap();
        producer.push_many(&[n; 3]).unwrap();
        producer.push_all(&[n; 3]).unwrap();
        let mut slice = producer.reserve(3).unwrap();
        slice.write_at(0, &[n; 3]).unwrap();
        slice.commit(3).unwrap();
        assert_eq!(consumer.pop_many(99).unwrap(), [n; 12]);
        let three = [n.to_ne_bytes(); 3];
        assert_eq!(sender.try_push_many(&three), Ok(3));
        sender.push_many(&three).unwrap();
        sender.push_all(&three).unwrap();
        sender.try_push_all(&three).unwrap();
        assert_eq!(receiver.pop_many(99).unwrap(), [n.to_ne_bytes(); 12]);
    }
    stop.add(1);
    join(&observer);
}

pub fn the_ends_work_in_threads_of_their_own() {
    let ring = Ring::<u64>::new(7).unwrap();
    let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
    // Taken in one thread, used in another, dropped in a third.
    producer.push(0).unwrap();
    std::thread::scope(|scope| {
        let pushing = scope.spawn(move || {
            (1..50_000).for_each(|n| producer.push(n).unwrap());
            producer
        });
        let popping = scope.spawn(move || {
            (0..50_000).for_each(|n| assert_eq!(consumer.pop(), Ok(n)));
            consumer
        });
        drop((pushing.join().unwrap(), popping.join().unwrap()));
    });
    // The roles are free.
    ring.producer().push(7).unwrap();
    assert_eq!(ring.consumer().pop(), Ok(7));
}

pub fn extending_a_closed_ring_panics() {
    let ring = Ring::<u8>::new(2).unwrap();
    ring.close().unwrap();
    let extend = || ring.producer().extend([1]);
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(extend)).unwrap_err();
    assert!(panic.downcast_ref::<String>().unwrap().contains("closed"));
    let messages = Ring::<[u8]>::new(2).unwrap();
    messages.close().unwrap();
    let extend = || messages.producer().extend([&b"x"[..]]);
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(extend)).unwrap_err();
    assert!(panic.downcast_ref::<String>().unwrap().contains("closed"));
}
