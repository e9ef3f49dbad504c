//! Rings that overwrite: the newest stay, whole and in order.

use crate::common::until;
use crate::probe::{Count, LONG, Random, is, join, spawn};
use mpshm::{
    ErrorKind, PopError, PushError, Ring, RingConsumer, RingOptions, RingProducer, WhenFull,
};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

fn options(capacity: u64) -> RingOptions {
    RingOptions::new(capacity).when_full(WhenFull::Overwrite)
}

pub fn the_oldest_items_go_and_each_is_counted() {
    for capacity in [1, 2, 3, 1000] {
        let ring = Ring::<[u8; 24]>::with_options(&options(capacity)).unwrap();
        let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
        let mut overwritten = 0;
        for round in 1..=20u8 {
            let pushed = capacity * u64::from(round) / 4;
            for n in 0..pushed {
                producer.try_push([n as u8; 24]).unwrap();
            }
            overwritten += pushed.saturating_sub(capacity);
            assert_eq!(ring.len() as u64, pushed.min(capacity));
            assert_eq!(ring.is_full(), pushed >= capacity);
            for n in pushed.saturating_sub(capacity)..pushed {
                assert_eq!(consumer.try_pop(), Ok([n as u8; 24]), "{capacity}, round {round}");
            }
            assert_eq!(consumer.try_pop(), Err(PopError::Empty));
            assert_eq!(ring.counters().overwritten, overwritten);
        }
    }
}

pub fn a_reservation_longer_than_an_overwriting_ring_takes_is_refused() {
    let ring = Ring::<u64>::with_options(&options(3)).unwrap();
    let mut producer = ring.producer();
    for n in 0..5 {
        is(producer.try_reserve(2).map(drop), ErrorKind::TooBig, &["2 items", "1 at once"]);
        is(producer.try_reserve(100_000).map(drop), ErrorKind::TooBig, &["100000 items"]);
        let mut one = producer.reserve(1).unwrap();
        one.write(0, n).unwrap();
        one.commit(1).unwrap();
    }
    assert_eq!(ring.consumer().pop_many(9), Ok(vec![2, 3, 4]));
}

pub fn a_message_that_a_buffer_was_too_short_for_may_still_be_overwritten() {
    let ring = Ring::<[u8]>::with_options(&options(64)).unwrap();
    let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
    for round in 0..50u8 {
        producer.push(&[round; 40]).unwrap();
        is(consumer.try_pop_into(&mut [0; 39]), ErrorKind::TooBig, &["40 bytes", "39"]);
        is(consumer.try_claim().map(drop), ErrorKind::Invalid, &["overwrites"]);
        // One message of so many bytes fits: the first one goes.
        producer.push(&[round ^ 0xff; 48]).unwrap();
        assert_eq!(ring.len(), 1);
        assert_eq!(consumer.try_pop(), Ok(vec![round ^ 0xff; 48]), "round {round}");
        assert_eq!((consumer.try_pop(), ring.len()), (Err(PopError::Empty), 0));
        assert_eq!(ring.counters().overwritten, u64::from(round) + 1);
    }
}

#[repr(C, align(128))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Aligned([u8; 128]);
// SAFETY: bytes without padding.
unsafe impl mpshm::Zeroable for Aligned {}
// SAFETY: bytes without padding, all of which are valid.
unsafe impl mpshm::Pod for Aligned {}

/// Fails by an abort where the library is built with the checks of a debug build.
pub fn items_of_strict_alignment_are_overwritten_as_others_are() {
    let ring = Ring::<Aligned>::with_options(&options(3)).unwrap();
    let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
    for n in 0..40u8 {
        producer.push_all(&[Aligned([n; 128])]).unwrap();
        producer.push_timeout(Aligned([!n; 128]), Duration::ZERO).unwrap();
        if n % 3 == 0 {
            let oldest = if n == 0 { 0 } else { !(n - 1) };
            assert_eq!(consumer.pop_many(1), Ok(vec![Aligned([oldest; 128])]));
        }
    }
    assert_eq!(consumer.pop_timeout(Duration::ZERO), Ok(Aligned([39; 128])));
    assert_eq!(consumer.try_pop(), Ok(Aligned([!39; 128])));
    assert_eq!(consumer.try_pop(), Err(PopError::Empty));
}

pub fn messages_that_are_pushed_together_overwrite_together_or_not_at_all() {
    let ring = Ring::<[u8]>::with_options(&options(64)).unwrap();
    let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
    for round in 0..30u8 {
        producer.push_many(&[[round; 8], [round + 1; 8], [round + 2; 8]]).unwrap();
        // 32, 8 and 24 bytes of the 72 that there are.
        producer.push_all(&[&[100 + round; 20][..], b"", &[101 + round; 9]]).unwrap();
        let all = consumer.try_pop_many(9).unwrap();
        assert_eq!(all, [vec![100 + round; 20], vec![], vec![101 + round; 9]]);
    }
    is(producer.push_all(&[[1; 24], [2; 24], [3; 24]]), ErrorKind::TooBig, &["96 bytes", "72"]);
    let (stop, begun) = (Count::new(), Count::new());
    let before = ring.counters().pushed;
    let observer = spawn(|| {
        begun.add(1);
        while stop.get() == 0 {
            let pushed = ring.counters().pushed - before;
            assert_eq!(pushed % 48, 0, "a part of three messages is visible");
        }
    });
    until("somebody looks on", LONG, || begun.get() == 1);
    for n in 0..20_000u64 {
        producer.push_all(&[n.to_ne_bytes(); 3]).unwrap();
    }
    stop.add(1);
    join(&observer);
    // In a closed ring nothing goes for what is refused.
    ring.close().unwrap();
    assert_eq!(producer.push_all(&[b"no", b"no"]), Err(PushError::Closed(())));
    let left = [19_998u64, 19_999, 19_999, 19_999].map(u64::to_ne_bytes);
    assert_eq!(consumer.iter().collect::<Vec<_>>(), left);
}

/// A reader that is slower than the writer, in another process: it gets whole items, in order, and not one too few.
fn is_overtaken<T: ?Sized + mpshm::Item>(
    capacity: u64,
    push: impl Fn(&mut RingProducer<T>, u64),
    pop: impl Fn(&mut RingConsumer<T>) -> Result<u64, PopError>,
) {
    const COUNT: u64 = 60_000;
    let ring = Ring::<T>::with_options(&options(capacity)).unwrap();
    let child = spawn(|| {
        let mut producer = ring.producer();
        let mut random = Random::new(capacity);
        for n in 0..COUNT {
            push(&mut producer, n);
            if random.below(20) == 0 {
                std::thread::yield_now();
            }
        }
        ring.close().unwrap();
    });
    let mut consumer = ring.consumer();
    let mut random = Random::new(capacity + 1);
    let (mut next, mut popped) = (0, 0);
    let error = loop {
        match pop(&mut consumer) {
            Ok(number) => {
                assert!(number >= next, "{number} after {}", next - 1);
                next = number + 1;
                popped += 1;
            }
            Err(error) => break error,
        }
        if random.below(10) == 0 {
            random.pause(20);
        }
    };
    join(&child);
    assert_eq!((error, next), (PopError::Closed, COUNT), "the newest stays");
    let overwritten = ring.counters().overwritten;
    println!("    of {COUNT} items {popped} were popped, {overwritten} overwritten");
    assert_eq!(popped + overwritten, COUNT);
    assert!(popped > 100 && overwritten > 100, "nothing was put to the test");
}

pub fn a_slow_reader_gets_whole_items_in_order() {
    for capacity in [1, 10] {
        is_overtaken::<u64>(capacity, |end, n| end.push(n).unwrap(), |end| end.pop());
        is_overtaken::<[u64; 25]>(
            capacity,
            |end, n| {
                if n % 2 == 0 {
                    end.push([n; 25]).unwrap();
                } else {
                    let mut slice = end.reserve(1).unwrap();
                    slice.write(0, [n; 25]).unwrap();
                    slice.commit(1).unwrap();
                }
            },
            |end| {
                let item = end.pop()?;
                assert_eq!(item, [item[0]; 25], "a torn item");
                Ok(item[0])
            },
        );
        is_overtaken::<[u8]>(
            capacity * 100,
            |end, n| {
                if n % 2 == 0 {
                    end.push(&message(n)).unwrap();
                } else {
                    let mut place = end.reserve(100).unwrap();
                    place.write_at(0, &message(n)).unwrap();
                    place.commit(message(n).len()).unwrap();
                }
            },
            |end| {
                let bytes = end.pop()?;
                let number = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
                assert_eq!(bytes, message(number), "a torn message");
                Ok(number)
            },
        );
    }
}

fn message(number: u64) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(8 + (number * number % 93) as usize, number as u8);
    bytes
}

pub fn a_timed_pop_ends_in_time_however_fast_the_ring_is_overwritten() {
    let ring = Ring::<u64>::with_options(&options(1)).unwrap();
    let (stop, begun) = (Count::new(), Count::new());
    let child = spawn(|| {
        let mut producer = ring.producer();
        while stop.get() == 0 {
            producer.push(1).unwrap();
            begun.of(0).store(1, Ordering::Relaxed);
        }
    });
    until("it pushes", LONG, || begun.get() == 1);
    let mut consumer = ring.consumer();
    let (mut slowest, mut popped) = (Duration::ZERO, 0);
    for _ in 0..2000 {
        let start = Instant::now();
        popped += u64::from(consumer.pop_timeout(Duration::from_millis(1)).is_ok());
        slowest = slowest.max(start.elapsed());
    }
    stop.add(1);
    join(&child);
    println!("    {popped} of 2000 pops took one, the slowest {slowest:?}");
    assert!(popped > 0 && slowest < Duration::from_secs(5));
}
