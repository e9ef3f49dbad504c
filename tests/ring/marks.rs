//! What was handed out in place and not released: it comes again, marked, or is gone, as the ring is told.

use crate::common::until;
use crate::probe::{Count, LONG, for_ever, is, kill, spawn};
use mpshm::{Delivery, ErrorKind, PopError, Process, Ring, RingConsumer, RingOptions};
use std::io::Read;

/// A child that holds something of a consumer's, and does no more; it does so when this returns.
fn holder<T: ?Sized + mpshm::Item, H>(
    ring: &Ring<T>,
    hold: impl for<'c> FnOnce(&'c mut RingConsumer<T>) -> H,
) -> Process {
    let holds = Count::new();
    let child = spawn(|| {
        let mut consumer = ring.consumer();
        let _held = hold(&mut consumer);
        holds.add(1);
        for_ever();
    });
    until("the child holds it", LONG, || holds.get() == 1);
    child
}

/// Lets a consumer die that has `count` items in its hand.
fn dies_with(ring: &Ring<u64>, count: usize) {
    kill(&holder(ring, |consumer| std::mem::forget(consumer.claim(count).unwrap())));
}

/// The items that a claim brings, and how often they have been handed out.
fn claimed(consumer: &mut RingConsumer<u64>, most: usize) -> (Vec<u64>, u32) {
    let claim = consumer.try_claim(most).unwrap();
    let found = (claim.to_vec(), claim.deliveries());
    claim.release();
    found
}

pub fn what_a_dead_consumer_had_claimed_keeps_its_mark_until_it_is_consumed() {
    let ring = Ring::<u64>::new(16).unwrap();
    ring.producer().push_many(&[0, 1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    dies_with(&ring, 6);
    let mut consumer = ring.consumer();
    // A part is released: the others, claimed with it or not, are still those that the dead one had.
    let claim = consumer.try_claim(4).unwrap();
    assert_eq!((claim.to_vec(), claim.deliveries()), (vec![0, 1, 2, 3], 2));
    claim.release_first(1).unwrap();
    assert_eq!(claimed(&mut consumer, 2), (vec![1, 2], 2));
    assert_eq!(consumer.try_pop(), Ok(3));
    let claim = consumer.try_claim(9).unwrap();
    assert_eq!((claim.to_vec(), claim.deliveries()), (vec![4, 5], 2), "no others with them");
    claim.release_first(0).unwrap();
    assert_eq!(claimed(&mut consumer, 9), (vec![4, 5], 2));
    assert_eq!(claimed(&mut consumer, 9), (vec![6, 7, 8], 1));
    assert_eq!(consumer.try_claim(1).map(drop), Err(PopError::Empty));
    assert_eq!(ring.counters().popped, 9);
}

pub fn a_message_that_was_read_in_part_comes_again_marked() {
    let ring = Ring::<[u8]>::new(64).unwrap();
    ring.producer().push(b"half of it").unwrap();
    let half = |consumer: &mut RingConsumer<[u8]>| {
        let mut half = [0; 4];
        assert_eq!(consumer.read(&mut half).unwrap(), 4);
        assert_eq!(&half, b"half");
    };
    kill(&holder(&ring, half));
    let mut consumer = ring.consumer();
    half(&mut consumer); // a new reader begins at the beginning
    let claim = consumer.claim().unwrap();
    assert_eq!((claim.to_vec(), claim.deliveries()), (b"half of it".to_vec(), 3));
    claim.release();

    let options = RingOptions::new(64).delivery(Delivery::AtMostOnce);
    let ring = Ring::<[u8]>::with_options(&options).unwrap();
    ring.producer().push_all(&["half of it", "all"]).unwrap();
    kill(&holder(&ring, half));
    assert_eq!(ring.consumer().try_pop(), Ok(b"all".to_vec()));
    assert_eq!((ring.counters().dropped, ring.is_empty()), (1, true));
}

pub fn what_is_given_back_at_most_once_is_not_what_a_dead_consumer_had() {
    let options = RingOptions::new(8).delivery(Delivery::AtMostOnce);
    let ring = Ring::<u64>::with_options(&options).unwrap();
    ring.producer().push_many(&[0, 1, 2, 3, 4, 5, 6]).unwrap();
    // Given back, and an orderly end: nobody has died.
    let mut consumer = ring.consumer();
    consumer.try_claim(3).unwrap().give_back();
    drop(consumer);
    let mut consumer = ring.consumer();
    assert_eq!(claimed(&mut consumer, 9), (vec![0, 1, 2], 2));
    drop(consumer);
    assert_eq!((ring.len(), ring.counters().dropped), (4, 0));
    dies_with(&ring, 2);
    let mut consumer = ring.consumer();
    assert_eq!(claimed(&mut consumer, 9), (vec![5, 6], 1), "two are gone with it");
    // What was dropped had been taken out, and counts as popped.
    assert_eq!((ring.len(), ring.counters().dropped, ring.counters().popped), (0, 2, 7));
    // Given back by one who dies later, with something else in its hands, or nothing: only that is gone.
    ring.producer().push_many(&[10, 11, 12, 13]).unwrap();
    drop(consumer);
    kill(&holder(&ring, |consumer| consumer.claim(3).unwrap().give_back()));
    kill(&holder(&ring, |consumer| {
        consumer.claim(3).unwrap().give_back();
        std::mem::forget(consumer.claim(1).unwrap());
    }));
    kill(&holder(&ring, |consumer| consumer.claim(2).unwrap().release_first(1).unwrap()));
    kill(&holder(&ring, |consumer| {
        is(consumer.claim(2).unwrap().release_first(3), ErrorKind::TooBig, &["3 items"]);
    }));
    let panicking = holder(&ring, |consumer| {
        let claim = || {
            let _claim = consumer.claim(2).unwrap();
            panic!("on purpose");
        };
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(claim)).unwrap_err()
    });
    kill(&panicking);
    let mut consumer = ring.consumer();
    assert_eq!(consumer.try_pop_many(9), Ok(vec![12, 13]));
    assert_eq!((ring.counters().dropped, ring.counters().popped), (3, 11));
    // What was not claimed is not lost with a consumer.
    ring.producer().push_many(&[7, 8]).unwrap();
    drop(consumer);
    kill(&holder(&ring, |consumer| assert_eq!(consumer.pop(), Ok(7))));
    assert_eq!(ring.consumer().try_pop_many(9), Ok(vec![8]));

    let ring = Ring::<[u8]>::with_options(&RingOptions::new(64).delivery(Delivery::AtMostOnce));
    let ring = ring.unwrap();
    ring.producer().push_all(&["gone", "here"]).unwrap();
    kill(&holder(&ring, |consumer| std::mem::forget(consumer.claim().unwrap())));
    assert_eq!(ring.consumer().pop(), Ok(b"here".to_vec()));
    assert_eq!(ring.counters().dropped, 1);
}
