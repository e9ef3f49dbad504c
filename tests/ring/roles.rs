//! One producer, one consumer: who may be it, who takes it over, and what its end means to the other.

use crate::common::until;
use crate::of_every_form;
use crate::probe::{
    Count, LONG, SHORT, for_ever, go_on, in_child, is, join, kill, spawn, stop, until_asleep,
};
use mpshm::{Error, ErrorKind, PopError, Process, PushError, Ring, RingOptions};
use std::time::{Duration, Instant};

/// A child that has done something and then does no more; it has when this returns.
fn after(f: impl FnOnce() -> Box<dyn std::any::Any>) -> Process {
    let done = Count::new();
    let child = spawn(|| {
        let _kept = f();
        done.add(1);
        for_ever();
    });
    until("the child has done its part", LONG, || done.get() == 1);
    child
}

#[track_caller]
fn is_taken<T>(result: Result<T, impl Into<Error>>, what: &str, who: &str) {
    is(result, ErrorKind::Busy, &[what, who, "a ring has one"]);
}

of_every_form! {
    each_role_has_one_holder
    whoever_comes_after_the_dead_goes_on
    a_handle_that_was_not_used_holds_nothing
    the_ends_of_a_ring_that_follows_them_are_its_end
    a_killed_producer_is_told_of_and_followed
    a_killed_consumer_is_told_of_and_followed
    handles_cross_a_fork_and_each_side_uses_its_end
}

mod each {
    use super::*;
    use crate::kit::Form;

    pub fn each_role_has_one_holder<F: Form>() {
        let ring = F::ring(4);
        let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
        F::push(&mut producer, 1).unwrap();
        assert_eq!(F::pop(&mut consumer), Ok(1));
        // In the same process,
        for _ in 0..2 {
            is_taken(F::try_push(&mut ring.producer(), 9), "producer", "another handle");
            is_taken(F::push(&mut ring.clone().producer(), 9), "producer", "another handle");
            is_taken(F::try_pop(&mut ring.consumer()), "consumer", "another handle");
            is_taken(F::pop(&mut ring.consumer()), "consumer", "another handle");
        }
        // in a child, by a handle of its own or an inherited one,
        let me = format!("process {} ", std::process::id());
        in_child(|| {
            is_taken(F::try_push(&mut ring.producer(), 9), "producer", &me);
            is_taken(F::push(&mut producer, 9), "producer", &me);
            is_taken(F::try_pop(&mut ring.consumer()), "consumer", &me);
            is_taken(F::pop_until(&mut consumer, LONG.into()), "consumer", &me);
        });
        let mut ends = Some((producer, consumer));
        // A copy takes nothing along when it goes, refused or not.
        in_child(|| drop(ends.take()));
        in_child(|| {
            is_taken(F::push(&mut ends.as_mut().unwrap().0, 9), "producer", &me);
            drop(ends.take());
        });
        is_taken(F::try_push(&mut ring.producer(), 9), "producer", "another handle");
        let (mut producer, mut consumer) = ends.unwrap();
        F::push(&mut producer, 2).unwrap();
        assert_eq!(F::pop(&mut consumer), Ok(2));
        // and the other way round.
        drop((producer, consumer));
        let child = after(|| {
            let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
            F::push(&mut producer, 3).unwrap();
            F::push(&mut producer, 4).unwrap();
            assert_eq!(F::pop(&mut consumer), Ok(3));
            Box::new((producer, consumer))
        });
        let it = format!("process {} ", child.pid());
        is_taken(F::try_push(&mut ring.producer(), 9), "producer", &it);
        is_taken(F::try_pop(&mut ring.consumer()), "consumer", &it);
        stop(&child);
        is_taken(F::push(&mut ring.producer(), 9), "producer", &it);
        is_taken(F::pop(&mut ring.consumer()), "consumer", &it);
        assert_eq!((ring.len(), ring.counters().repairs), (1, 0));
        kill(&child);
        F::push(&mut ring.producer(), 5).unwrap();
        assert_eq!(F::drain(&mut ring.consumer()), [4, 5]);
        assert_eq!(ring.counters().repairs, 2);
    }

    pub fn whoever_comes_after_the_dead_goes_on<F: Form>() {
        let ring = F::ring(3);
        let mut next = 0;
        for round in 0..20u64 {
            let child = spawn(|| {
                let mut producer = ring.producer();
                F::push(&mut producer, 2 * round).unwrap();
                F::push(&mut producer, 2 * round + 1).unwrap();
                // SAFETY: dies here, as the producer.
                unsafe { libc::raise(libc::SIGKILL) };
            });
            child.join().unwrap();
            let child = spawn(|| {
                let mut consumer = ring.consumer();
                assert_eq!(F::pop(&mut consumer), Ok(next));
                // SAFETY: dies here, as the consumer.
                unsafe { libc::raise(libc::SIGKILL) };
            });
            assert_eq!(child.join().unwrap().code(), Some(-9));
            assert_eq!(F::pop(&mut ring.consumer()), Ok(next + 1));
            next += 2;
        }
        assert_eq!((ring.len(), ring.counters().repairs), (0, 39));
    }

    pub fn a_handle_that_was_not_used_holds_nothing<F: Form>() {
        let options = F::options(4).follow_ends();
        let ring = Ring::<F::Item>::with_options(&options).unwrap();
        let (mut producer, consumer) = (ring.producer(), ring.consumer());
        drop((ring.producer(), ring.consumer()));
        in_child(|| drop((ring.producer(), ring.consumer())));
        assert!(!ring.is_closed());
        // The parent's unused end does not keep the child's from being the last.
        let child = spawn(|| {
            let mut consumer = consumer;
            for n in 0..100 {
                assert_eq!(F::pop(&mut consumer), Ok(n));
            }
            assert_eq!(F::pop(&mut consumer), Err(PopError::Closed));
        });
        (0..100).for_each(|n| F::push(&mut producer, n).unwrap());
        drop(producer);
        assert!(ring.is_closed());
        join(&child);
    }

    pub fn the_ends_of_a_ring_that_follows_them_are_its_end<F: Form>() {
        let options = F::options(2).follow_ends();
        let ring = Ring::<F::Item>::with_options(&options).unwrap();
        in_child(|| F::push(&mut ring.producer(), 1).unwrap());
        assert!(ring.is_closed());
        let mut consumer = ring.consumer();
        assert_eq!(F::pop(&mut consumer), Ok(1));
        assert_eq!(F::pop(&mut consumer), Err(PopError::Closed));

        let ring = Ring::<F::Item>::with_options(&options).unwrap();
        let mut producer = ring.producer();
        (0..2).for_each(|n| F::push(&mut producer, n).unwrap());
        let child =
            spawn(|| assert_eq!(F::push(&mut producer, 9).unwrap_err().kind(), ErrorKind::Busy));
        join(&child);
        assert!(!ring.is_closed(), "a handle that was refused is no end");
        in_child(|| assert_eq!(F::pop(&mut ring.consumer()), Ok(0)));
        assert_eq!(F::push(&mut producer, 2), Err(PushError::Closed(())));
        // Without that, nothing ends.
        let ring = F::ring(2);
        in_child(|| F::push(&mut ring.producer(), 1).unwrap());
        in_child(|| assert_eq!(F::pop(&mut ring.consumer()), Ok(1)));
        assert!(!ring.is_closed());
        assert_eq!(F::pop_until(&mut ring.consumer(), SHORT.into()), Err(PopError::TimedOut));
    }

    pub fn a_killed_producer_is_told_of_and_followed<F: Form>() {
        let options = F::options(4).follow_ends();
        let ring = Ring::<F::Item>::with_options(&options).unwrap();
        let mut consumer = ring.consumer();
        // Nobody has been the producer yet: that is no death.
        assert_eq!(F::pop_until(&mut consumer, (2 * SHORT).into()), Err(PopError::TimedOut));
        let producing = |numbers: [u64; 2]| {
            let ring = &ring;
            after(move || {
                let mut producer = ring.producer();
                numbers.iter().for_each(|&n| F::push(&mut producer, n).unwrap());
                Box::new(producer)
            })
        };
        let child = producing([1, 2]);
        assert_eq!(F::pop(&mut consumer), Ok(1));
        stop(&child);
        assert_eq!(F::pop(&mut consumer), Ok(2));
        assert_eq!(F::pop_until(&mut consumer, (4 * SHORT).into()), Err(PopError::TimedOut));
        go_on(&child);
        kill(&child);
        let start = Instant::now();
        assert_eq!(F::pop(&mut consumer), Err(PopError::PeerDead));
        assert!(start.elapsed() < Duration::from_secs(2));
        until("a try says so", LONG, || F::try_pop(&mut consumer) == Err(PopError::PeerDead));
        assert_eq!(F::pop_until(&mut consumer, LONG.into()), Err(PopError::PeerDead));
        assert!(!ring.is_closed());
        // What it had pushed comes first; and a sleeper is told.
        let child = producing([3, 4]);
        assert_eq!(F::pop(&mut consumer), Ok(3));
        kill(&child);
        assert_eq!(F::pop(&mut consumer), Ok(4));
        let child = producing([5, 6]);
        assert_eq!((F::pop(&mut consumer), F::pop(&mut consumer)), (Ok(5), Ok(6)));
        drop(consumer);
        assert!(ring.is_closed(), "this end has come, too");
        kill(&child);

        let ring = Ring::<F::Item>::with_options(&options).unwrap();
        let child = after(|| {
            let mut producer = ring.producer();
            F::push(&mut producer, 7).unwrap();
            Box::new(producer)
        });
        let sleeper = spawn(|| {
            let mut consumer = ring.consumer();
            assert_eq!(F::pop(&mut consumer), Ok(7));
            assert_eq!(F::pop(&mut consumer), Err(PopError::PeerDead));
            std::mem::forget(consumer); // else it closed the ring
        });
        until_asleep(sleeper.pid());
        kill(&child);
        join(&sleeper);
        // Whoever comes next goes on with the stream.
        let mut producer = ring.producer();
        F::push(&mut producer, 8).unwrap();
        assert_eq!(F::pop(&mut ring.consumer()), Ok(8));
        assert_eq!(ring.counters().repairs, 2);
    }

    pub fn a_killed_consumer_is_told_of_and_followed<F: Form>() {
        let options = F::options(2).follow_ends();
        let ring = Ring::<F::Item>::with_options(&options).unwrap();
        let mut producer = ring.producer();
        F::push(&mut producer, 1).unwrap();
        let child = after(|| {
            let mut consumer = ring.consumer();
            assert_eq!(F::pop(&mut consumer), Ok(1));
            Box::new(consumer)
        });
        stop(&child);
        (2..4).for_each(|n| F::push(&mut producer, n).unwrap());
        let wait = 4 * SHORT;
        assert_eq!(F::push_until(&mut producer, 9, wait.into()), Err(PushError::TimedOut(())));
        go_on(&child);
        kill(&child);
        assert_eq!(F::push(&mut producer, 9), Err(PushError::PeerDead(())));
        assert_eq!(F::push_until(&mut producer, 9, LONG.into()), Err(PushError::PeerDead(())));
        let said = |result| result == Err(PushError::PeerDead(()));
        until("a try says so", LONG, || said(F::try_push(&mut producer, 9)));
        assert_eq!((ring.len(), ring.is_closed()), (2, false));
        let child = after(|| {
            let mut consumer = ring.consumer();
            assert_eq!(F::pop(&mut consumer), Ok(2));
            Box::new(consumer)
        });
        F::push(&mut producer, 4).expect("somebody takes items again");
        let killing = spawn(|| {
            until_asleep(std::os::unix::process::parent_id());
            // SAFETY: a child of this one's parent, which has not reaped it.
            unsafe { libc::kill(child.pid() as i32, libc::SIGKILL) };
        });
        assert_eq!(F::push(&mut producer, 9), Err(PushError::PeerDead(())), "also to a sleeper");
        join(&killing);
        child.join().unwrap();
        assert_eq!(F::drain(&mut ring.consumer()), [3, 4]);
        assert_eq!(F::push(&mut producer, 9), Err(PushError::Closed(())), "that one was dropped");
    }

    pub fn handles_cross_a_fork_and_each_side_uses_its_end<F: Form>() {
        let ring = F::ring(3);
        let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
        let child = spawn(|| {
            (0..1000).for_each(|n| F::push(&mut producer, n).unwrap());
            for_ever();
        });
        (0..1000).for_each(|n| assert_eq!(F::pop(&mut consumer), Ok(n)));
        kill(&child);
        // What was used there can be used here once it is free, and in a grandchild.
        let mut producer = ring.producer();
        F::push(&mut producer, 1000).unwrap();
        drop(producer);
        let mut producer = ring.producer();
        in_child(|| {
            F::push(&mut producer, 1001).unwrap();
            drop(producer);
            let mut producer = ring.producer();
            in_child(|| F::push(&mut producer, 1002).unwrap());
        });
        assert_eq!(F::drain(&mut consumer), [1000, 1001, 1002]);
        assert_eq!(ring.segment().participants().unwrap(), [std::process::id()]);
    }
}

pub fn an_inherited_handle_takes_its_parents_place_when_that_has_died() {
    let ring = Ring::<u64>::new(8).unwrap();
    let done = Count::new();
    let child = spawn(|| {
        let mut producer = ring.producer();
        producer.push_many(&[1, 2]).unwrap();
        let parent = std::process::id();
        // SAFETY: the grandchild ends by `_exit`, and is reaped by the test's process.
        if unsafe { libc::fork() } == 0 {
            is_taken(producer.try_push(9), "producer", &parent.to_string());
            done.add(1);
            until("the parent is dead", LONG, || producer.try_push(3).is_ok());
            producer.push(4).unwrap();
            done.add(1);
            // SAFETY: ends this process; nothing is to be flushed.
            unsafe { libc::_exit(0) };
        }
        for_ever();
    });
    until("the grandchild was refused", LONG, || done.get() == 1);
    kill(&child);
    until("it took over", LONG, || done.get() == 2);
    crate::common::reap_all_children();
    assert_eq!(ring.consumer().try_pop_many(9), Ok(vec![1, 2, 3, 4]));
}

pub fn a_participant_too_many_is_told_so() {
    use mpshm::Segment;
    let options = RingOptions::new(4);
    let size = Ring::<u64>::size_for(&options).unwrap();
    let segment = Segment::options().participants(1).anonymous(size).unwrap();
    let ring = Ring::<u64>::create(segment.at("ring"), &options).unwrap();
    let child = after(|| {
        // The creator is the one participant.
        is(ring.producer().push(1), ErrorKind::Limit, &["1 participant slots"]);
        is(ring.consumer().pop(), ErrorKind::Limit, &["1 participant slots"]);
        assert_eq!(ring.len(), 0);
        Box::new(())
    });
    ring.producer().push(1).unwrap();
    assert_eq!(ring.consumer().pop(), Ok(1));
    kill(&child);
}

/// Who pushes or pops nothing has the role then, and is told who has it already, as with any other call.
pub fn a_batch_of_nothing_takes_the_role() {
    let (items, messages) = (Ring::<u64>::new(4).unwrap(), Ring::<[u8]>::new(100).unwrap());
    let (mut producers, mut consumers) =
        ((items.producer(), messages.producer()), (items.consumer(), messages.consumer()));
    assert_eq!(producers.0.try_push_many(&[]), Ok(0));
    assert_eq!(producers.1.try_push_many::<[u8; 0]>(&[]), Ok(0));
    assert_eq!(consumers.0.try_pop_many(0), Ok(vec![]));
    assert_eq!(consumers.1.try_pop_many(0), Ok(vec![]));
    for _ in 0..2 {
        is_taken(items.producer().try_push_many(&[]), "producer", "another handle");
        is_taken(messages.producer().try_push_many::<[u8; 0]>(&[]), "producer", "another handle");
        is_taken(items.producer().push_many(&[]), "producer", "another handle");
        is_taken(messages.producer().push_many::<[u8; 0]>(&[]), "producer", "another handle");
        is_taken(items.producer().push_all(&[]), "producer", "another handle");
        is_taken(messages.producer().push_all::<[u8; 0]>(&[]), "producer", "another handle");
        is_taken(items.consumer().try_pop_many(0), "consumer", "another handle");
        is_taken(items.consumer().pop_many(0), "consumer", "another handle");
        is_taken(messages.consumer().try_pop_many(0), "consumer", "another handle");
        is_taken(messages.consumer().pop_many(0), "consumer", "another handle");
    }
}
