//! What is pushed is there for everybody when the push has returned, and stays when its producer is gone.

use crate::of_every_form;
use crate::probe::{Count, LONG, SHORT, in_child, join, spawn};
use mpshm::{PopError, PushError, Ring};
use std::time::{Duration, Instant};

of_every_form! {
    a_push_that_has_returned_is_seen_by_everybody
    a_child_sees_the_ring_empty_and_then_not
}

mod each {
    use super::*;
    use crate::kit::Form;

    /// Two processes in turn, each of which finds what the other has left.
    pub fn a_push_that_has_returned_is_seen_by_everybody<F: Form>() {
        let ring = F::ring(2);
        let turn = Count::new();
        let at = |n: u64| {
            let start = Instant::now();
            while turn.get() < n {
                assert!(start.elapsed() < LONG, "the other one does not go on");
                std::thread::yield_now();
            }
        };
        let state = || (ring.len(), ring.is_empty(), ring.is_full());
        let child = spawn(|| {
            let mut consumer = ring.consumer();
            for n in 0..3_000 {
                at(2 * n + 1);
                assert_eq!(state(), (2, false, true), "{}", F::NAME);
                assert_eq!(F::try_pop(&mut consumer), Ok(2 * n));
                assert_eq!(F::try_pop(&mut consumer), Ok(2 * n + 1));
                assert_eq!(F::try_pop(&mut consumer), Err(PopError::Empty));
                turn.add(1);
            }
        });
        let mut producer = ring.producer();
        for n in 0..3_000 {
            assert_eq!(state(), (0, true, false), "{}", F::NAME);
            assert_eq!(F::try_push(&mut producer, 2 * n), Ok(()), "room was made");
            assert_eq!(F::try_push(&mut producer, 2 * n + 1), Ok(()));
            assert_eq!(F::try_push(&mut producer, 9), Err(PushError::Full(())));
            turn.add(1);
            at(2 * n + 2);
        }
        join(&child);
    }

    pub fn a_child_sees_the_ring_empty_and_then_not<F: Form>() {
        let ring = F::ring(2);
        in_child(|| {
            let mut producer = ring.producer();
            F::push(&mut producer, u64::from(ring.is_empty())).unwrap();
            F::push(&mut producer, u64::from(ring.is_empty())).unwrap();
        });
        assert_eq!(F::drain(&mut ring.consumer()), [1, 0]);
        assert!(ring.is_empty());
    }
}

pub fn six_pushes_of_mixed_forms_fill_a_ring_of_six() {
    let ring = Ring::<u64>::new(6).unwrap();
    let mut producer = ring.producer();
    producer.push(1).unwrap();
    producer.try_push(2).unwrap();
    producer.push_timeout(3, SHORT).unwrap();
    producer.push_many(&[4]).unwrap();
    producer.push_all(&[5]).unwrap();
    let mut place = producer.reserve(1).unwrap();
    place.write(0, 6).unwrap();
    place.commit(1).unwrap();
    assert_eq!((ring.is_empty(), ring.is_full(), ring.len()), (false, true, 6));
    // And out again, by as many forms, in a child.
    in_child(|| {
        let mut consumer = ring.consumer();
        assert_eq!(consumer.pop(), Ok(1));
        assert_eq!(consumer.try_pop(), Ok(2));
        assert_eq!(consumer.pop_timeout(LONG), Ok(3));
        assert_eq!(consumer.pop_many(1), Ok(vec![4]));
        assert_eq!(consumer.claim(1).unwrap().to_vec(), [5]);
        assert_eq!(consumer.iter().next(), Some(6));
    });
    assert_eq!((ring.is_empty(), ring.is_full(), ring.len()), (true, false, 0));
}

pub fn a_producer_ends_with_2_mb_in_the_ring_and_nobody_reading() {
    const MEGABYTE: usize = 1 << 20;
    let ring = Ring::<[u8]>::new(2 * MEGABYTE as u64 + 8).unwrap();
    let start = Instant::now();
    in_child(|| {
        let mut producer = ring.producer();
        producer.push(&[1; MEGABYTE]).unwrap();
        producer.push(&[2; MEGABYTE]).unwrap();
    });
    assert!(start.elapsed() < Duration::from_secs(5));
    let mut consumer = ring.consumer();
    assert_eq!(consumer.pop(), Ok(vec![1; MEGABYTE]));
    assert_eq!(consumer.pop(), Ok(vec![2; MEGABYTE]));
    assert_eq!(consumer.try_pop(), Err(PopError::Empty));
}
