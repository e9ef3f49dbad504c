//! Closing: by anybody, at any time, and what a push answers is what happened.

use crate::of_every_form;
use crate::probe::{Count, LONG, Random, SHORT, in_child, join, spawn, until_asleep};
use mpshm::{PopError, PushError, Ring, RingConsumer, RingOptions, RingProducer, WhenFull};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

of_every_form! {
    a_closed_ring_drains_and_then_says_so
    closing_wakes_who_sleeps
}

mod each {
    use super::*;
    use crate::kit::Form;

    pub fn a_closed_ring_drains_and_then_says_so<F: Form>() {
        let ring = F::ring(4);
        let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
        (0..3).for_each(|n| F::push(&mut producer, n).unwrap());
        assert!(!ring.is_closed());
        in_child(|| ring.close().unwrap());
        assert!(ring.is_closed());
        for _ in 0..2 {
            let long = LONG.into();
            assert_eq!(F::try_push(&mut producer, 9), Err(PushError::Closed(())));
            assert_eq!(F::push(&mut producer, 9), Err(PushError::Closed(())));
            assert_eq!(F::push_until(&mut producer, 9, long), Err(PushError::Closed(())));
            assert_eq!((ring.len(), ring.is_full(), ring.is_closed()), (3, false, true));
            ring.close().unwrap();
        }
        // Another producer is told the same.
        drop(producer);
        in_child(|| assert_eq!(F::push(&mut ring.producer(), 9), Err(PushError::Closed(()))));
        assert_eq!(F::pop(&mut consumer), Ok(0));
        drop(consumer);
        let mut consumer = ring.consumer();
        assert_eq!(F::drain(&mut consumer), [1, 2]);
        for _ in 0..2 {
            assert_eq!(F::try_pop(&mut consumer), Err(PopError::Closed));
            assert_eq!(F::pop(&mut consumer), Err(PopError::Closed));
            assert_eq!(F::pop_until(&mut consumer, LONG.into()), Err(PopError::Closed));
            ring.close().unwrap();
        }
        assert_eq!((ring.len(), ring.is_empty()), (0, true));
        // Full, and closed; and never used before.
        let ring = F::ring(1);
        F::push(&mut ring.producer(), 7).unwrap();
        ring.close().unwrap();
        assert_eq!(F::try_push(&mut ring.producer(), 9), Err(PushError::Closed(())));
        assert_eq!(F::drain(&mut ring.consumer()), [7]);
        let ring = F::ring(1);
        ring.close().unwrap();
        assert_eq!(F::pop(&mut ring.consumer()), Err(PopError::Closed));
        assert_eq!(F::push(&mut ring.producer(), 9), Err(PushError::Closed(())));
    }

    pub fn closing_wakes_who_sleeps<F: Form>() {
        let ring = F::ring(1);
        let popping = spawn(|| {
            assert_eq!(F::pop(&mut ring.consumer()), Err(PopError::Closed));
        });
        until_asleep(popping.pid());
        let start = Instant::now();
        in_child(|| ring.close().unwrap());
        join(&popping);
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        let ring = F::ring(1);
        F::push(&mut ring.producer(), 1).unwrap();
        let pushing = spawn(|| {
            assert_eq!(F::push(&mut ring.producer(), 2), Err(PushError::Closed(())));
        });
        until_asleep(pushing.pid());
        ring.close().unwrap();
        join(&pushing);
        assert_eq!(F::drain(&mut ring.consumer()), [1]);
    }
}

pub fn a_reservation_that_outlives_the_close_is_refused_and_comes_back() {
    let ring = Ring::<u64>::new(4).unwrap();
    let mut producer = ring.producer();
    producer.push(1).unwrap();
    let mut slice = producer.reserve(3).unwrap();
    slice.write_at(0, &[2, 3, 4]).unwrap();
    in_child(|| ring.close().unwrap());
    for _ in 0..3 {
        let refused = slice.commit(3).unwrap_err();
        let PushError::Closed(back) = refused else { panic!("{refused}") };
        assert_eq!((back.len(), ring.len()), (3, 1));
        slice = back;
    }
    drop(slice);
    assert_eq!(producer.try_reserve(1).map(drop), Err(PushError::Closed(())));
    assert_eq!(producer.try_push_many(&[1]), Err(PushError::Closed(())));
    assert_eq!(producer.push_many(&[1]), Err(PushError::Closed(0)));
    assert_eq!(producer.push_all(&[1, 2]), Err(PushError::Closed(())));
    assert_eq!(ring.consumer().iter().collect::<Vec<_>>(), [1]);
    assert_eq!((ring.counters().pushed, ring.counters().popped), (1, 1));
}

/// Closes a ring that is pushed to as fast as it goes, again and again: whatever was pushed with success is in it,
/// and nothing else. `push` says how many items its call has brought in, `pop` what it took.
fn race<T: ?Sized + mpshm::Item>(
    rounds: u64,
    options: &RingOptions,
    push: impl Fn(&mut RingProducer<T>, u64) -> Result<u64, PushError<()>>,
    pop: impl Fn(&mut RingConsumer<T>, u64) -> Result<u64, PopError>,
) {
    let mut random = Random::new(rounds);
    let mut sum = 0;
    for round in 0..rounds {
        let ring = Ring::<T>::with_options(options).unwrap();
        let pushed = Count::new();
        let producing = spawn(|| {
            let mut producer = ring.producer();
            let mut next = 0;
            let error = loop {
                match push(&mut producer, next) {
                    Ok(count) => next += count,
                    Err(error) => break error,
                }
                pushed.of(0).store(next, Ordering::SeqCst);
            };
            assert_eq!(error, PushError::Closed(()));
            assert_eq!(push(&mut producer, next), Err(PushError::Closed(())));
            assert!(ring.is_closed());
        });
        let closing = spawn(|| {
            while pushed.get() == 0 {
                std::hint::spin_loop();
            }
            random.pause(60);
            ring.close().unwrap();
        });
        let mut consumer = ring.consumer();
        let mut next = 0;
        let error = loop {
            match pop(&mut consumer, next) {
                Ok(count) => next += count,
                Err(error) => break error,
            }
        };
        assert_eq!(error, PopError::Closed);
        join(&closing);
        join(&producing);
        assert_eq!(next, pushed.get(), "round {round}: popped, and pushed with success");
        assert!(ring.is_empty());
        sum += next;
    }
    println!("    {rounds} closes, {sum} items");
    assert!(sum > rounds, "nothing was put to the test");
}

pub fn a_push_that_races_with_a_close_says_what_happened() {
    let roomy = RingOptions::new(1 << 16);
    let narrow = RingOptions::new(4);
    for options in [&roomy, &narrow] {
        race::<u64>(
            100,
            options,
            |producer, n| producer.push(n).map(|()| 1).map_err(|_| PushError::Closed(())),
            |consumer, n| consumer.pop().inspect(|&value| assert_eq!(value, n)).map(|_| 1),
        );
        race::<u64>(
            100,
            options,
            |producer, n| producer.push_all(&[n, n + 1, n + 2]).map(|()| 3),
            |consumer, n| {
                let values = consumer.pop_many(2)?;
                assert!(values.iter().copied().eq(n..n + values.len() as u64));
                Ok(values.len() as u64)
            },
        );
        race::<u64>(
            100,
            options,
            |producer, n| {
                let mut slice = producer.reserve(2)?;
                slice.write_at(0, &[n, n + 1]).unwrap();
                slice.commit(2).map(|()| 2).map_err(|_| PushError::Closed(()))
            },
            |consumer, n| {
                let claim = consumer.claim(3)?;
                assert!(claim.to_vec().into_iter().eq(n..n + claim.len() as u64));
                Ok(claim.len() as u64)
            },
        );
    }
    race::<[u8]>(
        200,
        &RingOptions::new(500),
        |producer, n| producer.push(&vec![n as u8; n as usize % 50]).map(|()| 1),
        |consumer, n| {
            consumer
                .pop()
                .map(|found| assert_eq!(found, vec![n as u8; n as usize % 50]))
                .map(|()| 1)
        },
    );
}

/// In a ring that overwrites: what was pushed with success was popped, overwritten, or both counts are wrong.
pub fn a_push_that_races_with_a_close_says_what_happened_where_it_overwrites() {
    let mut random = Random::new(1);
    let options = RingOptions::new(3).when_full(WhenFull::Overwrite);
    for round in 0..200 {
        let ring = Ring::<[u64; 5]>::with_options(&options).unwrap();
        let pushed = Count::new();
        let producing = spawn(|| {
            let mut producer = ring.producer();
            while producer.push([pushed.get(); 5]).is_ok() {
                pushed.add(1);
            }
        });
        let closing = spawn(|| {
            while pushed.get() == 0 {
                std::hint::spin_loop();
            }
            random.pause(60);
            ring.close().unwrap();
        });
        let mut popped = Vec::new();
        let mut consumer = ring.consumer();
        let error = loop {
            match consumer.pop() {
                Ok(item) => popped.push(item),
                Err(error) => break error,
            }
        };
        assert_eq!(error, PopError::Closed);
        join(&closing);
        join(&producing);
        assert!(popped.iter().all(|item| *item == [item[0]; 5]), "torn: {popped:?}");
        assert!(popped.is_sorted() && popped.iter().all(|item| item[0] < pushed.get()));
        let counters = ring.counters();
        assert_eq!(popped.last(), Some(&[pushed.get() - 1; 5]), "the newest stays: round {round}");
        assert_eq!(counters.pushed, pushed.get());
        assert_eq!((counters.popped, ring.len()), (popped.len() as u64, 0));
        assert_eq!(counters.popped + counters.overwritten, counters.pushed);
    }
}

/// Who has seen that a ring is closed sees no push succeed after that.
pub fn a_ring_that_is_seen_closed_takes_no_more() {
    for round in 0..200 {
        let ring = Ring::<u64>::new(1 << 16).unwrap();
        let go = Count::new();
        let producing = spawn(|| {
            let mut producer = ring.producer();
            while ring.counters().pushed < 100 + round {
                producer.push(1).unwrap();
            }
            go.add(1);
            loop {
                let closed = ring.is_closed();
                let pushed = producer.push(2);
                assert!(!closed || pushed == Err(PushError::Closed(2)), "{pushed:?}");
                if pushed.is_err() {
                    break;
                }
            }
        });
        while go.get() == 0 {
            std::thread::yield_now();
        }
        ring.close().unwrap();
        join(&producing);
        assert_eq!(ring.len() as u64, ring.counters().pushed);
    }
}

pub fn an_iterator_ends_where_the_ring_does() {
    let ring = Ring::<u64>::new(8).unwrap();
    let child = spawn(|| {
        let mut producer = ring.producer();
        producer.extend(0..1000);
        ring.close().unwrap();
    });
    let mut consumer = ring.consumer();
    assert!(consumer.iter().eq(0..1000));
    assert_eq!(
        (consumer.iter().next(), consumer.pop_timeout(SHORT)),
        (None, Err(PopError::Closed))
    );
    join(&child);
}
