//! Reservations and claims: what they refuse, what becomes of those that are dropped, and of their copies in a child.

use crate::probe::{in_child, is, spawn};
use mpshm::{Error, ErrorKind, PopError, PushError, Ring};

/// The error of a commit, without the reservation that came back.
fn bare<V>(refused: PushError<V>) -> Error {
    match refused {
        PushError::Failed(_, error) => error,
        other => panic!("{:?}", other.kind()),
    }
}

pub fn a_reservation_refuses_what_is_beyond_it() {
    let ring = Ring::<u16>::new(8).unwrap();
    let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
    producer.push_many(&[9; 5]).unwrap();
    consumer.pop_many(5).unwrap();
    let mut slice = producer.reserve(4).unwrap();
    is(slice.write(4, 1), ErrorKind::TooBig, &["1 items at 4", "4"]);
    is(slice.write_at(2, &[1, 2, 3]), ErrorKind::TooBig, &["3 items at 2"]);
    is(slice.write_at(usize::MAX, &[1, 2]), ErrorKind::TooBig, &[]);
    slice.write_at(4, &[]).unwrap();
    slice.write_at(0, &[1, 2, 3, 4]).unwrap();
    let refused = slice.commit(5).unwrap_err();
    assert_eq!((refused.kind(), ring.len()), (ErrorKind::TooBig, 0));
    let slice = refused.into_inner();
    let refused = slice.commit(usize::MAX).unwrap_err();
    assert_eq!((refused.kind(), ring.len()), (ErrorKind::TooBig, 0));
    refused.into_inner().commit(3).unwrap();
    assert_eq!(consumer.try_pop_many(9), Ok(vec![1, 2, 3]));

    let messages = Ring::<[u8]>::new(8).unwrap();
    let mut sender = messages.producer();
    let mut place = sender.reserve(8).unwrap();
    assert_eq!((place.len(), place.is_empty()), (8, false));
    is(place.write_at(7, b"xy"), ErrorKind::TooBig, &["2 items at 7"]);
    place.write(7, b'!').unwrap();
    place.write_at(0, b"in place").unwrap();
    assert!(format!("{place:?}").contains('8'));
    let refused = place.commit(9).unwrap_err();
    assert_eq!((refused.kind(), messages.len()), (ErrorKind::TooBig, 0));
    refused.into_inner().commit(2).unwrap();
    assert!(sender.try_reserve(0).is_err(), "16 of 16 bytes are in use");
    assert_eq!(messages.consumer().pop(), Ok(b"in".to_vec()));
    let empty = sender.reserve(0).unwrap();
    assert!(empty.is_empty());
    empty.commit(0).unwrap();
    assert_eq!(messages.consumer().pop(), Ok(vec![]));
}

pub fn a_reservation_that_is_dropped_pushes_nothing() {
    let ring = Ring::<u64>::new(3).unwrap();
    let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
    for n in 0..10 {
        let mut slice = producer.reserve(3).unwrap();
        slice.write_at(0, &[100, 101, 102]).unwrap();
        drop(slice);
        assert!(ring.is_empty());
        assert_eq!(consumer.try_pop(), Err(PopError::Empty));
        producer.push(n).unwrap();
        assert_eq!(consumer.try_pop(), Ok(n));
    }
    // While it is held, nothing of it is to be seen.
    let mut slice = producer.reserve(2).unwrap();
    slice.write_at(0, &[1, 2]).unwrap();
    in_child(|| assert_eq!((ring.len(), ring.is_full()), (0, false)));
    assert_eq!(consumer.try_pop(), Err(PopError::Empty));
    slice.commit(2).unwrap();
    assert_eq!(consumer.try_pop_many(9), Ok(vec![1, 2]));
}

pub fn a_claim_refuses_what_is_beyond_it() {
    let ring = Ring::<u16>::new(8).unwrap();
    let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
    producer.push_many(&[1, 2, 3, 4]).unwrap();
    let claim = consumer.claim(3).unwrap();
    assert_eq!((claim.len(), claim.is_empty(), claim.deliveries()), (3, false, 1));
    assert!(format!("{claim:?}").contains('3'));
    assert_eq!(claim.read(2).unwrap(), 3);
    is(claim.read(3), ErrorKind::TooBig, &["1 items at 3", "3"]);
    let mut two = [0; 2];
    claim.read_at(1, &mut two).unwrap();
    assert_eq!(two, [2, 3]);
    is(claim.read_at(2, &mut two), ErrorKind::TooBig, &["2 items at 2"]);
    is(claim.read_at(usize::MAX, &mut two), ErrorKind::TooBig, &[]);
    // Items that are claimed are in the ring until they are released.
    assert_eq!(ring.len(), 4);
    is(claim.release_first(4), ErrorKind::TooBig, &["4 items at 0", "3"]);
    assert_eq!(ring.len(), 4);
    let claim = consumer.claim(9).unwrap();
    assert_eq!((claim.to_vec(), claim.deliveries()), (vec![1, 2, 3], 2));
    claim.release_first(3).unwrap();
    assert_eq!(consumer.try_pop(), Ok(4));

    let messages = Ring::<[u8]>::new(64).unwrap();
    messages.producer().push_all(&["", "bytes"]).unwrap();
    let mut receiver = messages.consumer();
    let empty = receiver.claim().unwrap();
    assert_eq!((empty.len(), empty.is_empty(), empty.to_vec()), (0, true, vec![]));
    drop(empty);
    let claim = receiver.claim().unwrap();
    is(claim.read(5), ErrorKind::TooBig, &["1 items at 5", "5"]);
    assert_eq!((claim.read(4).unwrap(), messages.len()), (b's', 1));
    claim.release();
    assert!(messages.is_empty());
}

pub fn items_that_are_given_back_come_again_marked_and_first() {
    let ring = Ring::<u16>::new(8).unwrap();
    let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
    producer.push_many(&[1, 2]).unwrap();
    for delivery in 1..5 {
        let claim = consumer.claim(8).unwrap();
        assert_eq!((claim.to_vec(), claim.deliveries()), (vec![1, 2], delivery));
        claim.give_back();
        producer.push(delivery as u16 + 2).unwrap();
    }
    assert_eq!((ring.len(), ring.counters().redelivered), (6, 6));
    drop(consumer);
    let mut consumer = ring.consumer();
    // Another consumer, after an orderly end of the first.
    let claim = consumer.claim(8).unwrap();
    assert_eq!((claim.to_vec(), claim.deliveries()), (vec![1, 2], 5));
    claim.release_first(1).unwrap();
    let claim = consumer.claim(8).unwrap();
    assert_eq!((claim.to_vec(), claim.deliveries()), (vec![2], 5), "the fifth came to nothing");
    claim.release();
    let claim = consumer.claim(8).unwrap();
    assert_eq!((claim.to_vec(), claim.deliveries()), (vec![3, 4, 5, 6], 1));
    claim.release();
    // A closed ring is not drained before.
    producer.push(7).unwrap();
    consumer.claim(1).unwrap().give_back();
    ring.close().unwrap();
    assert_eq!(consumer.claim(1).unwrap().deliveries(), 2);
    assert_eq!(consumer.pop(), Err(PopError::Closed));
}

pub fn a_panic_keeps_what_was_claimed() {
    let ring = Ring::<[u8]>::new(64).unwrap();
    ring.producer().push(b"work").unwrap();
    let child = spawn(|| {
        let mut consumer = ring.consumer();
        let _claim = consumer.claim().unwrap();
        panic!("on purpose");
    });
    assert_eq!(child.join().unwrap().code(), Some(101));
    let mut consumer = ring.consumer();
    let claim = consumer.claim().unwrap();
    assert_eq!((claim.to_vec(), claim.deliveries()), (b"work".to_vec(), 2));
}

pub fn copies_of_a_reservation_and_a_claim_in_a_child_do_nothing() {
    let ring = Ring::<u64>::new(4).unwrap();
    let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
    let mut slice = Some(producer.reserve(2).unwrap());
    in_child(|| {
        let mut copy = slice.take().unwrap();
        is(copy.write(0, 1), ErrorKind::Forked, &["reservation", "parent"]);
        is(copy.write_at(0, &[1, 2]), ErrorKind::Forked, &["parent"]);
        let error = bare(copy.commit(2).unwrap_err());
        assert_eq!(error.kind(), ErrorKind::Forked);
        assert!(error.to_string().contains("parent"), "{error}");
    });
    assert!(ring.is_empty());
    let mut slice = slice.unwrap();
    slice.write_at(0, &[7, 8]).unwrap();
    slice.commit(2).unwrap();

    let mut claim = Some(consumer.claim(2).unwrap());
    in_child(|| {
        let copy = claim.take().unwrap();
        assert_eq!(copy.to_vec(), [7, 8], "it can be read");
        copy.release();
    });
    in_child(|| claim.take().unwrap().give_back());
    in_child(|| claim.take().unwrap().release_first(1).unwrap());
    in_child(|| drop(claim.take()));
    assert_eq!((ring.len(), ring.counters().popped), (2, 0));
    let claim = claim.unwrap();
    assert_eq!((claim.to_vec(), claim.deliveries()), (vec![7, 8], 1));
    claim.release_first(1).unwrap();
    let claim = consumer.try_claim(9).unwrap();
    assert_eq!((claim.to_vec(), claim.deliveries()), (vec![8], 1), "as if it had not been claimed");
    claim.release();
    assert!(ring.is_empty());
}
