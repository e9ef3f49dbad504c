//! What a `Queue` promises, over real processes: order, room, closing, waiting, forks.
//!
//! What the death or stop of a participant does is in `queue_death.rs`. Lines of the list of behaviours
//! that are not as they stand there: one asks for an item that cannot be encoded, which natively is a message that
//! is too long.

mod joining;

use crate::common::{Test, until};
use crate::forms::{LONGEST, Numbers, decode, encode};
use crate::probe::{
    Count, LONG, SHORT, costs_next_to_nothing, in_child, is, join, spawn, until_asleep,
    without_system_calls,
};
use crate::tests;
use joining::*;
use mpshm::{Canceller, Error, ErrorKind, PopError, PushError, Queue, QueueOptions, Segment};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

pub const TESTS: &[Test] = tests![
    a23_six_pushes_of_mixed_forms_fill_a_queue_of_six,
    a24_push_on_a_full_queue_fails_in_time_and_leaves_it_unchanged,
    a25_a_consumer_takes_six_in_order_and_leaves_it_empty,
    a26_pop_on_an_empty_queue_fails_in_time,
    a27_what_a_child_pushed_comes_in_order_by_every_form_of_pop,
    a28_a_childs_items_outlive_it_and_come_after_the_parents,
    a29_len_goes_up_and_down,
    a31_a_message_that_is_too_long_changes_nothing,
    a32_a_closed_queue_drains_and_then_says_so,
    a33_a_child_sees_the_queue_empty_and_then_not,
    join_returns_when_the_last_of_ten_items_is_done: 60,
    what_dies_with_its_worker_is_unfinished,
    b14_a_push_that_has_returned_is_seen_by_everybody: 60,
    b15_a_producer_ends_with_2_mb_in_the_queue_and_nobody_reading,
    b16_a_push_does_not_block_past_its_time_when_the_consumers_are_gone,
    b19_ten_thousand_queues_leave_nothing: 60,
    every_item_comes_once_and_in_the_order_of_its_producer: 60,
    wake_ups_are_not_lost: 60,
    closing_wakes_everybody_who_sleeps,
    a_push_that_raced_with_close_is_in_or_refused: 60,
    capacities_of_every_size_go_round,
    messages_of_every_length_come_whole,
    items_of_every_size_come_whole,
    reserve_writes_in_place_and_commit_may_be_shorter,
    a_dropped_reservation_pushes_nothing,
    a_claim_reads_in_place_and_given_back_comes_again_marked,
    a_panic_gives_a_claim_back,
    pop_into_a_short_buffer_loses_nothing,
    reservations_and_claims_do_not_make_it_look_full,
    a_copy_of_a_reservation_or_a_claim_in_a_child_does_nothing,
    a_handle_is_used_on_both_sides_of_a_fork_and_in_threads,
    cancelling_ends_a_push_and_a_pop,
    centuries_are_for_ever_and_the_past_is_now,
    bad_options_are_errors,
    opening_as_another_type_is_an_error_that_names_both,
    open_or_create_by_several_at_once_makes_one: 60,
    waiting_costs_next_to_nothing: 60,
    push_and_pop_with_nobody_asleep_make_no_system_call,
];

fn a23_six_pushes_of_mixed_forms_fill_a_queue_of_six() {
    for queue in Numbers::all(6) {
        assert!(queue.is_empty() && !queue.is_full());
        queue.push(1).unwrap();
        queue.try_push(2).unwrap();
        queue.push_timeout(3, SHORT).unwrap();
        queue.push_timeout(4, Duration::ZERO).unwrap();
        queue.push_timeout(5, Duration::MAX).unwrap();
        match &queue {
            Numbers::Messages(messages) => {
                let mut message = messages.reserve(LONGEST).unwrap();
                message.write_at(0, &encode(6)).unwrap();
                message.commit(encode(6).len()).unwrap();
            }
            other => other.push(6).unwrap(),
        }
        assert_eq!((queue.is_empty(), queue.is_full(), queue.len()), (false, true, 6));
        assert_eq!(queue.capacity(), 6);
        assert_eq!(queue.drain(), [1, 2, 3, 4, 5, 6]);
    }
}

fn a24_push_on_a_full_queue_fails_in_time_and_leaves_it_unchanged() {
    for queue in Numbers::all(3) {
        (1..=3).for_each(|n| queue.push(n).unwrap());
        let start = Instant::now();
        assert_eq!(queue.try_push(9), Err(PushError::Full(())));
        assert!(start.elapsed() < SHORT);
        assert_eq!(queue.push_timeout(9, Duration::ZERO), Err(PushError::TimedOut(())));
        for wait in [Duration::from_millis(1), Duration::from_millis(200)] {
            let start = Instant::now();
            assert_eq!(queue.push_timeout(9, wait), Err(PushError::TimedOut(())));
            let took = start.elapsed();
            assert!(took >= wait && took < wait + Duration::from_secs(1), "{took:?} of {wait:?}");
        }
        assert_eq!((queue.len(), queue.is_full()), (3, true));
        assert_eq!(queue.drain(), [1, 2, 3]);
    }
    let queue = Queue::<u64>::new(1).unwrap();
    queue.push(1).unwrap();
    assert_eq!(queue.try_push(7).unwrap_err().into_inner(), 7, "the value comes back");
}

fn a25_a_consumer_takes_six_in_order_and_leaves_it_empty() {
    for queue in Numbers::all(6) {
        (1..=6).for_each(|n| queue.push(n).unwrap());
        in_child(|| (1..=6).for_each(|n| assert_eq!(queue.pop(), Ok(n))));
        assert_eq!((queue.is_empty(), queue.is_full(), queue.len()), (true, false, 0));
        queue.check_full_cycle();
    }
}

fn a26_pop_on_an_empty_queue_fails_in_time() {
    for queue in Numbers::all(3) {
        let start = Instant::now();
        assert_eq!(queue.try_pop(), Err(PopError::Empty));
        assert!(start.elapsed() < SHORT);
        assert_eq!(queue.pop_timeout(Duration::ZERO), Err(PopError::TimedOut));
        let wait = Duration::from_millis(200);
        let start = Instant::now();
        assert_eq!(queue.pop_timeout(wait), Err(PopError::TimedOut));
        let took = start.elapsed();
        assert!(took >= wait && took < wait + Duration::from_secs(1), "{took:?}");
        queue.push(1).unwrap();
        assert_eq!(queue.try_pop(), Ok(1));
        assert_eq!(queue.try_pop(), Err(PopError::Empty));
    }
}

fn a27_what_a_child_pushed_comes_in_order_by_every_form_of_pop() {
    for queue in Numbers::all(5) {
        let child = spawn(|| (2..=5).for_each(|n| queue.push(n).unwrap()));
        assert_eq!(queue.pop(), Ok(2));
        assert_eq!(queue.pop_timeout(LONG), Ok(3));
        until("an item is there", LONG, || !queue.is_empty());
        assert_eq!(queue.try_pop(), Ok(4));
        match &queue {
            Numbers::Messages(messages) => {
                let claim = messages.claim().unwrap();
                assert_eq!((decode(&claim.to_vec()), claim.deliveries()), (5, 1));
            }
            Numbers::Slots(slots) => assert_eq!(slots.iter().next(), Some(5)),
            Numbers::Blocks(_) => assert_eq!(queue.pop(), Ok(5)),
        }
        assert!(queue.is_empty());
        join(&child);
    }
}

fn a28_a_childs_items_outlive_it_and_come_after_the_parents() {
    for queue in Numbers::all(20) {
        (0..10).for_each(|n| queue.push(n).unwrap());
        in_child(|| (10..20).for_each(|n| queue.push(n).unwrap()));
        (0..20).for_each(|n| assert_eq!(queue.try_pop(), Ok(n)));
        assert_eq!(queue.try_pop(), Err(PopError::Empty));
    }
}

fn a29_len_goes_up_and_down() {
    for queue in Numbers::all(2) {
        for _ in 0..5 {
            assert_eq!(queue.len(), 0);
            queue.push(1).unwrap();
            assert_eq!(queue.len(), 1);
            queue.push(2).unwrap();
            assert_eq!(queue.len(), 2);
            queue.pop().unwrap();
            assert_eq!(queue.len(), 1);
            queue.pop().unwrap();
            assert_eq!(queue.len(), 0);
        }
    }
}

fn a31_a_message_that_is_too_long_changes_nothing() {
    let queue = Queue::<[u8]>::new(1, 10).unwrap();
    let words = ["11 bytes", "10 bytes"];
    for _ in 0..3 {
        is(queue.try_push(&[0; 11]), ErrorKind::TooBig, &words);
        is(queue.push(&[0; 11]), ErrorKind::TooBig, &words);
        is(queue.push_timeout(&[0; 11], SHORT), ErrorKind::TooBig, &words);
        is(queue.try_reserve(11), ErrorKind::TooBig, &words);
        is(queue.reserve(usize::MAX), ErrorKind::TooBig, &[]);
        assert_eq!(queue.len(), 0);
        queue.push(&[7; 10]).unwrap();
        is(queue.try_push(&[0; 11]), ErrorKind::TooBig, &words);
        assert_eq!((queue.len(), queue.pop()), (1, Ok(vec![7; 10])));
    }
    let mut reservation = queue.reserve(4).unwrap();
    is(reservation.write_at(2, &[1; 3]), ErrorKind::TooBig, &["3 bytes at offset 2", "4"]);
    is(reservation.write_at(usize::MAX, &[1; 3]), ErrorKind::TooBig, &[]);
    let refused = reservation.commit(5).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TooBig);
    refused.into_inner().commit(4).unwrap();
    assert_eq!(queue.pop().unwrap().len(), 4);
}

fn a32_a_closed_queue_drains_and_then_says_so() {
    for queue in Numbers::all(4) {
        (0..3).for_each(|n| queue.push(n).unwrap());
        assert!(!queue.is_closed());
        in_child(|| queue.close());
        assert!(queue.is_closed());
        queue.close();
        assert_eq!(queue.try_push(9), Err(PushError::Closed(())));
        assert_eq!(queue.push(9), Err(PushError::Closed(())));
        assert_eq!(queue.push_timeout(9, SHORT), Err(PushError::Closed(())));
        assert_eq!(queue.len(), 3);
        (0..3).for_each(|n| assert_eq!(queue.pop(), Ok(n)));
        for _ in 0..3 {
            assert_eq!(queue.pop(), Err(PopError::Closed));
            assert_eq!(queue.try_pop(), Err(PopError::Closed));
            assert_eq!(queue.pop_timeout(SHORT), Err(PopError::Closed));
            assert_eq!(queue.try_push(9), Err(PushError::Closed(())));
        }
        queue.close();
        assert_eq!(queue.len(), 0);
    }
    // Full, and closed.
    for queue in Numbers::all(2) {
        (0..2).for_each(|n| queue.push(n).unwrap());
        queue.close();
        assert_eq!(queue.try_push(9), Err(PushError::Closed(())));
        assert_eq!(queue.push(9), Err(PushError::Closed(())));
        assert_eq!(queue.drain(), [0, 1]);
        assert_eq!(queue.pop(), Err(PopError::Closed));
    }
    // A block that was reserved before, and an iterator.
    let queue = Queue::<[u8]>::new(2, 8).unwrap();
    let reservation = queue.reserve(8).unwrap();
    queue.close().unwrap();
    let refused = reservation.commit(8).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Closed);
    drop(refused);
    assert_eq!(queue.audit().unwrap().reserved, 0);
    let queue = Queue::<u64>::new(2).unwrap();
    queue.push(1).unwrap();
    queue.close().unwrap();
    assert_eq!(queue.iter().collect::<Vec<_>>(), [1]);
}

fn a33_a_child_sees_the_queue_empty_and_then_not() {
    for queue in Numbers::all(4) {
        in_child(|| {
            queue.push(u64::from(queue.is_empty())).unwrap();
            queue.push(u64::from(queue.is_empty())).unwrap();
        });
        assert_eq!([queue.pop(), queue.pop()], [Ok(1), Ok(0)]);
        assert!(queue.is_empty());
    }
}

fn b14_a_push_that_has_returned_is_seen_by_everybody() {
    for queue in Numbers::all(2) {
        let turn = Count::new();
        let at = |n: u64| {
            while turn.get() < n {
                std::thread::yield_now();
            }
        };
        let child = spawn(|| {
            for n in 0..5_000 {
                at(2 * n + 1);
                assert_eq!((queue.len(), queue.is_empty(), queue.is_full()), (2, false, true));
                assert_eq!(queue.try_pop(), Ok(2 * n), "{}", queue.form());
                assert_eq!(queue.try_pop(), Ok(2 * n + 1));
                assert_eq!((queue.len(), queue.is_empty(), queue.is_full()), (0, true, false));
                turn.add(1);
            }
        });
        for n in 0..5_000 {
            assert_eq!(queue.try_push(2 * n), Ok(()), "{}: room was made", queue.form());
            assert_eq!(queue.try_push(2 * n + 1), Ok(()));
            turn.add(1);
            at(2 * n + 2);
        }
        join(&child);
    }
}

fn b15_a_producer_ends_with_2_mb_in_the_queue_and_nobody_reading() {
    let queue = Queue::<[u8]>::new(2, 1 << 20).unwrap();
    let start = Instant::now();
    in_child(|| {
        queue.push(&[1; 1 << 20]).unwrap();
        queue.push(&[2; 1 << 20]).unwrap();
    });
    assert!(start.elapsed() < Duration::from_secs(2));
    assert_eq!(queue.pop(), Ok(vec![1; 1 << 20]));
    assert_eq!(queue.pop(), Ok(vec![2; 1 << 20]));
}

fn b16_a_push_does_not_block_past_its_time_when_the_consumers_are_gone() {
    for queue in Numbers::all(2) {
        let consumers: Vec<_> = (0..2).map(|_| spawn(|| while queue.pop().is_ok() {})).collect();
        (0..10).for_each(|n| queue.push(n).unwrap());
        // Asleep, and not just taking the last one: what is held when its consumer dies comes again.
        let asleep = |child: &mpshm::Process| crate::common::state_of(child.pid()) == Some('S');
        until("the consumers sleep again", LONG, || {
            queue.is_empty() && consumers.iter().all(asleep)
        });
        consumers.iter().for_each(crate::probe::kill);
        (0..2).for_each(|n| queue.try_push(n).unwrap());
        let start = Instant::now();
        assert_eq!(queue.push_timeout(2, 4 * SHORT), Err(PushError::TimedOut(())));
        let took = start.elapsed();
        assert!(took >= 4 * SHORT && took < Duration::from_secs(1), "{took:?}");
        assert_eq!(queue.drain(), [0, 1]);
        queue.check_full_cycle();
    }
}

fn b19_ten_thousand_queues_leave_nothing() {
    let name = crate::common::unique("again");
    let entries = || std::fs::read_dir("/dev/shm").unwrap().count();
    let (descriptors, _) = (crate::common::descriptors(), entries());
    for round in 0..10_000u64 {
        let queue = Queue::<u64>::new(4).unwrap();
        queue.push(round).unwrap();
        assert_eq!(queue.pop(), Ok(round));
        if round % 10 == 0 {
            let named = Queue::<[u8]>::create(&name, &QueueOptions::new(2).message_max(8)).unwrap();
            named.push(b"x").unwrap();
            Segment::unlink(&name).unwrap();
        }
    }
    assert_eq!(crate::common::descriptors(), descriptors);
    assert!(!std::path::Path::new(&format!("/dev/shm/mpshm.{name}")).exists());
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert_eq!(maps.matches("memfd:mpshm").count(), 0, "no mapping is left");
}

fn every_item_comes_once_and_in_the_order_of_its_producer() {
    const EACH: u64 = 30_000;
    for queue in Numbers::all(8) {
        let seen = Count::new();
        let consumers: Vec<_> = (0..2)
            .map(|_| {
                spawn(|| {
                    let mut last = [None; 3];
                    loop {
                        let number = match queue.pop() {
                            Ok(number) => number,
                            Err(PopError::Closed) => break,
                            Err(error) => panic!("{error}"),
                        };
                        let (producer, count) = ((number / EACH) as usize, number % EACH);
                        assert!(last[producer] < Some(count), "{:?} then {count}", last[producer]);
                        last[producer] = Some(count);
                        seen.of(producer).fetch_add(count, Ordering::Relaxed);
                        seen.of(10 + producer).fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let producers: Vec<_> = (0..3)
            .map(|producer| {
                let queue = &queue;
                spawn(move || {
                    (0..EACH).for_each(|n| queue.push(producer * EACH + n).unwrap());
                })
            })
            .collect();
        producers.iter().for_each(join);
        queue.close();
        consumers.iter().for_each(join);
        for producer in 0..3 {
            assert_eq!(seen.of(10 + producer).load(Ordering::SeqCst), EACH, "{}", queue.form());
            assert_eq!(seen.of(producer).load(Ordering::SeqCst), EACH * (EACH - 1) / 2);
        }
        queue.check_blocks();
    }
}

fn wake_ups_are_not_lost() {
    for (there, back) in Numbers::all(1).into_iter().zip(Numbers::all(1)) {
        let child = spawn(|| {
            while let Ok(number) = there.pop() {
                back.push(number + 1).unwrap();
            }
        });
        let start = Instant::now();
        for n in 0..1000 {
            there.push(n).unwrap();
            if n % 100 == 0 {
                std::thread::sleep(Duration::from_millis(1)); // long enough to be asleep for sure
            }
            assert_eq!(back.pop(), Ok(n + 1));
        }
        // Every wake-up that is lost costs a slice of 80 ms.
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
        there.close();
        join(&child);
    }
}

fn closing_wakes_everybody_who_sleeps() {
    for queue in Numbers::all(1) {
        let consumers: Vec<_> =
            (0..3).map(|_| spawn(|| assert_eq!(queue.pop(), Err(PopError::Closed)))).collect();
        consumers.iter().for_each(|child| until_asleep(child.pid()));
        let start = Instant::now();
        queue.close();
        consumers.iter().for_each(join);
        assert!(start.elapsed() < Duration::from_secs(1));
    }
    for queue in Numbers::all(1) {
        queue.push(0).unwrap();
        let producers: Vec<_> = (0..3)
            .map(|_| spawn(|| assert_eq!(queue.push(1), Err(PushError::Closed(())))))
            .collect();
        producers.iter().for_each(|child| until_asleep(child.pid()));
        queue.close();
        producers.iter().for_each(join);
        assert_eq!(queue.drain(), [0]);
        assert_eq!(queue.pop(), Err(PopError::Closed));
    }
}

fn a_push_that_raced_with_close_is_in_or_refused() {
    for round in 0..100 {
        for queue in Numbers::all(64) {
            let pushed = Count::new();
            let producers: Vec<_> = (0..2)
                .map(|_| {
                    spawn(|| {
                        while queue.push(1) == Ok(()) {
                            pushed.add(1);
                        }
                        assert!(queue.is_closed());
                    })
                })
                .collect();
            let mut popped = 0;
            let end = Instant::now() + Duration::from_micros(round * 5);
            while Instant::now() < end {
                popped += u64::from(queue.try_pop().is_ok());
            }
            queue.close();
            loop {
                match queue.pop() {
                    Ok(_) => popped += 1,
                    Err(PopError::Closed) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            producers.iter().for_each(join);
            assert_eq!(popped, pushed.get(), "{}", queue.form());
            assert_eq!(queue.try_pop(), Err(PopError::Closed));
        }
    }
}

fn capacities_of_every_size_go_round() {
    for capacity in [1, 2, 3, 5, 7, 8, 63, 64, 65, 1000] {
        for queue in Numbers::all(capacity) {
            let mut next = 0;
            for step in (1..=capacity.min(9)).chain([capacity, capacity, capacity]) {
                (0..step).for_each(|n| queue.try_push(next + n).unwrap());
                assert_eq!(queue.len() as u64, step);
                assert_eq!(queue.is_full(), step == capacity);
                (0..step).for_each(|n| assert_eq!(queue.try_pop(), Ok(next + n)));
                next += step;
            }
            queue.check_full_cycle();
        }
    }
}

fn messages_of_every_length_come_whole() {
    let queue = Queue::<[u8]>::new(3, 300).unwrap();
    assert_eq!(queue.message_max(), 300);
    let child = spawn(|| {
        for length in 0..=300 {
            queue.push(&vec![length as u8; length]).unwrap();
        }
    });
    for length in 0..=300 {
        assert_eq!(queue.pop(), Ok(vec![length as u8; length]));
    }
    join(&child);
    // Messages of no bytes are messages.
    let nothing = Queue::<[u8]>::new(3, 0).unwrap();
    for _ in 0..3 {
        nothing.push(b"").unwrap();
    }
    assert_eq!((nothing.len(), nothing.is_full()), (3, true));
    is(nothing.try_push(b"a"), ErrorKind::TooBig, &[]);
    assert_eq!([nothing.pop(), nothing.pop(), nothing.pop()], [const { Ok(vec![]) }; 3]);
    assert_eq!(nothing.try_pop(), Err(PopError::Empty));
}

fn items_of_every_size_come_whole() {
    macro_rules! sizes {
        ($($size:literal),*) => {$({
            let queue = Queue::<[u8; $size]>::new(3).unwrap();
            let item = |n: u8| std::array::from_fn::<u8, $size, _>(|i| n.wrapping_mul(31) ^ i as u8);
            let child = spawn(|| (0..50).for_each(|n| queue.push(item(n)).unwrap()));
            (0..50).for_each(|n| assert_eq!(queue.pop(), Ok(item(n)), "{} bytes", $size));
            join(&child);
        })*};
    }
    sizes!(1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 32, 64, 128, 256, 1024, 4096);
    let flags = Queue::<u16>::new(2).unwrap();
    flags.push(u16::MAX).unwrap();
    assert_eq!(flags.pop(), Ok(u16::MAX));
    let floats = Queue::<f64>::new(2).unwrap();
    floats.push(-0.0).unwrap();
    assert_eq!(floats.pop().map(f64::to_bits), Ok((-0.0f64).to_bits()));
}

fn reserve_writes_in_place_and_commit_may_be_shorter() {
    let options = QueueOptions::new(2).message_max(100).align(128);
    let queue = Queue::<[u8]>::with_options(&options).unwrap();
    let mut message = queue.reserve_timeout(100, SHORT).unwrap();
    assert_eq!(message.as_mut_ptr() as usize % 128, 0);
    assert_eq!((message.len(), message.is_empty()), (100, false));
    message.write_at(0, b"hello world").unwrap();
    assert_eq!(queue.len(), 0, "not before the commit");
    message.commit(5).unwrap();
    in_child(|| {
        let claim = queue.claim().unwrap();
        assert_eq!(claim.as_ptr() as usize % 128, 0);
        assert_eq!((claim.len(), claim.to_vec()), (5, b"hello".to_vec()));
    });
    queue.reserve(0).unwrap().commit(0).unwrap();
    assert_eq!(queue.pop(), Ok(vec![]));
    // In a queue that others fill meanwhile, a commit waits as long as the reservation might.
    let message = queue.try_reserve(1).unwrap();
    queue.push(b"a").unwrap();
    queue.push(b"b").unwrap();
    let refused = message.commit(1).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Full);
    queue.pop().unwrap();
    refused.into_inner().commit(1).unwrap();
    queue.pop().unwrap();
    let message = queue.reserve_timeout(1, 3 * SHORT).unwrap();
    queue.push(b"c").unwrap();
    let start = Instant::now();
    let refused = message.commit(1).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TimedOut);
    assert!(start.elapsed() >= 2 * SHORT);
    // When that time is over, too.
    let refused = refused.into_inner().commit(1).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TimedOut);
    drop(refused);
    assert_eq!(queue.audit().unwrap().reserved, 0);
}

fn a_dropped_reservation_pushes_nothing() {
    let queue = Queue::<[u8]>::new(1, 8).unwrap();
    for _ in 0..1000 {
        let mut message = queue.try_reserve(8).unwrap();
        message.write_at(0, b"nothing").unwrap();
    }
    assert_eq!(queue.len(), 0);
    let audit = queue.audit().unwrap();
    assert_eq!((audit.reserved, audit.free), (0, audit.blocks));
    queue.push(b"some").unwrap();
    assert_eq!(queue.pop(), Ok(b"some".to_vec()));
}

fn a_claim_reads_in_place_and_given_back_comes_again_marked() {
    let queue = Queue::<[u8]>::new(4, 16).unwrap();
    for n in 0..3u8 {
        queue.push(&[n; 4]).unwrap();
    }
    let claim = queue.claim().unwrap();
    let mut two = [0; 2];
    claim.read_at(2, &mut two).unwrap();
    assert_eq!((two, claim.deliveries()), ([0; 2], 1));
    is(claim.read_at(3, &mut two), ErrorKind::TooBig, &["2 bytes at offset 3", "4"]);
    is(claim.read_at(usize::MAX, &mut two), ErrorKind::TooBig, &[]);
    assert_eq!(queue.len(), 2, "nobody else gets it");
    claim.give_back();
    assert_eq!(queue.len(), 3);
    let mut marked = Vec::new();
    in_child(|| {
        let mut all: Vec<(u8, u32)> = (0..3)
            .map(|_| queue.try_claim().unwrap())
            .map(|claim| (claim.to_vec()[0], claim.deliveries()))
            .collect();
        all.sort_unstable();
        assert_eq!(all, [(0, 2), (1, 1), (2, 1)]);
    });
    assert!(queue.is_empty());
    queue.push(b"again").unwrap();
    for delivery in 1..5 {
        let claim = queue.claim_timeout(LONG).unwrap();
        marked.push(claim.deliveries());
        assert_eq!(claim.deliveries(), delivery);
        claim.give_back();
    }
    // A closed queue is not drained before it was taken.
    queue.close().unwrap();
    assert_eq!(queue.pop(), Ok(b"again".to_vec()));
    assert_eq!(queue.try_pop(), Err(PopError::Closed));
    assert_eq!(marked, [1, 2, 3, 4]);
}

fn a_panic_gives_a_claim_back() {
    let queue = Queue::<[u8]>::new(2, 8).unwrap();
    queue.push(b"work").unwrap();
    let child = spawn(|| {
        let _claim = queue.claim().unwrap();
        panic!("on purpose");
    });
    assert_eq!(child.join().unwrap().code(), Some(101));
    let claim = queue.claim_timeout(LONG).unwrap();
    assert_eq!((claim.to_vec(), claim.deliveries()), (b"work".to_vec(), 2));
}

fn pop_into_a_short_buffer_loses_nothing() {
    let queue = Queue::<[u8]>::new(2, 16).unwrap();
    queue.push(b"twelve bytes").unwrap();
    let mut short = [0; 11];
    is(queue.pop_into(&mut short), ErrorKind::TooBig, &["12 bytes", "11"]);
    assert_eq!(queue.len(), 1);
    let mut long = [0; 20];
    assert_eq!(queue.pop_into(&mut long), Ok(12));
    assert_eq!(&long[..13], b"twelve bytes\0");
    queue.push(b"").unwrap();
    assert_eq!(queue.pop_into(&mut []), Ok(0));
}

fn reservations_and_claims_do_not_make_it_look_full() {
    let options = QueueOptions::new(4).message_max(8).leases(3);
    let queue = Queue::<[u8]>::with_options(&options).unwrap();
    let reserved: Vec<_> = (0..3).map(|_| queue.try_reserve(8).unwrap()).collect();
    (0..4u8).for_each(|n| queue.try_push(&[n]).unwrap());
    assert_eq!(queue.try_push(b"5"), Err(PushError::Full(())));
    drop(reserved);
    let claims: Vec<_> = (0..3).map(|_| queue.try_claim().unwrap()).collect();
    assert_eq!(queue.len(), 1);
    (4..7u8).for_each(|n| queue.try_push(&[n]).unwrap());
    assert_eq!(queue.try_push(b"5"), Err(PushError::Full(())));
    assert!(queue.is_full());
    drop(claims);
    (3..7u8).for_each(|n| assert_eq!(queue.try_pop(), Ok(vec![n])));
    Numbers::Messages(Queue::<[u8]>::new(1, LONGEST as u64).unwrap()).check_full_cycle();
}

fn a_copy_of_a_reservation_or_a_claim_in_a_child_does_nothing() {
    let queue = Queue::<[u8]>::new(2, 8).unwrap();
    let mut reservation = Some(queue.reserve(8).unwrap());
    in_child(|| {
        let copy = reservation.take().unwrap();
        let refused = copy.commit(8).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Forked);
        assert!(Error::from(refused.map_nothing()).to_string().contains("parent"));
    });
    assert_eq!((queue.len(), queue.audit().unwrap().reserved), (0, 1), "still the parent's");
    let mut mine = reservation.unwrap();
    mine.write_at(0, b"mine").unwrap();
    mine.commit(4).unwrap();

    let mut claim = Some(queue.claim().unwrap());
    in_child(|| claim.take().unwrap().give_back());
    in_child(|| claim.take().unwrap().release());
    in_child(|| {
        let _copy = claim.take();
        panic_quietly();
    });
    assert_eq!((queue.len(), queue.audit().unwrap().leased), (0, 1));
    let claim = claim.unwrap();
    assert_eq!(claim.to_vec(), b"mine");
    claim.give_back();
    assert_eq!(queue.claim().unwrap().deliveries(), 2);
    assert!(queue.is_empty());
}

/// Unwinds without a word; what the caller holds is dropped only afterwards.
fn panic_quietly() {
    let _ = std::panic::catch_unwind(|| std::panic::resume_unwind(Box::new(())));
}

/// An error of a commit without the reservation that came back.
trait MapNothing {
    fn map_nothing(self) -> PushError<()>;
}

impl MapNothing for PushError<mpshm::Reservation<'_>> {
    fn map_nothing(self) -> PushError<()> {
        match self {
            PushError::Failed(reservation, error) => {
                drop(reservation);
                PushError::Failed((), error)
            }
            other => panic!("{:?}", other.kind()),
        }
    }
}

fn a_handle_is_used_on_both_sides_of_a_fork_and_in_threads() {
    for queue in Numbers::all(16) {
        queue.push(0).unwrap();
        in_child(|| {
            queue.push(1).unwrap();
            in_child(|| queue.push(2).unwrap());
            queue.push(3).unwrap();
        });
        queue.push(4).unwrap();
        let other = queue.another();
        std::thread::scope(|scope| {
            scope.spawn(move || other.push(5).unwrap());
        });
        assert_eq!(queue.drain(), [0, 1, 2, 3, 4, 5], "{}", queue.form());
        assert_eq!(
            match &queue {
                Numbers::Slots(queue) => queue.segment().participants().unwrap().len(),
                Numbers::Blocks(queue) => queue.segment().participants().unwrap().len(),
                Numbers::Messages(queue) => queue.segment().participants().unwrap().len(),
            },
            1,
            "the children are gone"
        );
        queue.check_full_cycle();
    }
}

fn cancelling_ends_a_push_and_a_pop() {
    for queue in Numbers::all(1) {
        let canceller = Canceller::new();
        let cancel_when_asleep = |wait: &dyn Fn()| {
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
        cancel_when_asleep(&|| assert_eq!(queue.pop(), Err(PopError::Interrupted)));
        queue.push(1).unwrap();
        cancel_when_asleep(&|| assert_eq!(queue.push(2), Err(PushError::Interrupted(()))));
        canceller.cancel();
        assert_eq!(canceller.run(|| queue.pop()), Ok(1), "a success wins");
        assert_eq!(canceller.run(|| queue.pop()), Err(PopError::Interrupted));
        assert_eq!(queue.pop_timeout(Duration::from_millis(1)), Err(PopError::TimedOut));
        queue.check_full_cycle();
    }
}

fn centuries_are_for_ever_and_the_past_is_now() {
    for queue in Numbers::all(1) {
        for ages in [Duration::MAX, Duration::from_secs(1 << 40)] {
            let sleeper = spawn(|| assert_eq!(queue.pop_timeout(ages), Ok(7)));
            until_asleep(sleeper.pid());
            assert_eq!(sleeper.join_timeout(2 * SHORT).unwrap(), None, "{ages:?}");
            queue.push_timeout(7, ages).unwrap();
            join(&sleeper);
        }
    }
    let queue = Queue::<u64>::new(1).unwrap();
    let past = Instant::now().checked_sub(LONG).unwrap();
    let start = Instant::now();
    assert_eq!(queue.pop_timeout(past), Err(PopError::TimedOut));
    queue.push_timeout(1, past).unwrap();
    assert_eq!(queue.push_timeout(2, past), Err(PushError::TimedOut(2)));
    assert_eq!(queue.pop_timeout(past), Ok(1), "what is there is had at once");
    assert!(start.elapsed() < Duration::from_secs(1));
}

fn bad_options_are_errors() {
    let before = crate::common::descriptors();
    for capacity in [0, (1 << 26) + 1, 1 << 63, u64::MAX] {
        let found = capacity.to_string();
        let words = ["capacity", "67108864", &found];
        is(Queue::<u64>::new(capacity), ErrorKind::Invalid, &words);
        is(Queue::<[u64; 4]>::new(capacity), ErrorKind::Invalid, &words);
        is(Queue::<[u8]>::new(capacity, 8), ErrorKind::Invalid, &words);
        is(Queue::<u64>::size_for(&QueueOptions::new(capacity)), ErrorKind::Invalid, &words);
    }
    is(Queue::<[u8]>::new(1, (1 << 31) + 1), ErrorKind::Invalid, &["2147483648", "2147483649"]);
    is(Queue::<[u8]>::new(1, u64::MAX), ErrorKind::Invalid, &[]);
    is(Queue::<[u8]>::new(1 << 26, 1 << 31), ErrorKind::NoSpace, &["no space"]);
    is(Queue::<[u8]>::new(1 << 20, 1 << 20), ErrorKind::NoSpace, &["no space"]);
    let options = QueueOptions::new(4);
    for align in [0, 3, 256, u32::MAX] {
        is(
            Queue::<[u8]>::with_options(&options.clone().align(align)),
            ErrorKind::Invalid,
            &["alignment", &align.to_string()],
        );
    }
    for leases in [0, 1025, u32::MAX] {
        is(
            Queue::<[u8]>::with_options(&options.clone().leases(leases)),
            ErrorKind::Invalid,
            &["leases", &leases.to_string()],
        );
    }
    is(Queue::<[u8; 0]>::new(4), ErrorKind::Invalid, &["0 bytes"]);
    let segment = Segment::anonymous(4096).unwrap();
    is(
        Queue::<u64>::create(segment.at("q"), &QueueOptions::new(1000)),
        ErrorKind::NoSpace,
        &["'q'"],
    );
    assert_eq!(segment.objects().unwrap(), [], "nothing is left");
    drop(segment);
    assert_eq!(crate::common::descriptors(), before);
}

fn opening_as_another_type_is_an_error_that_names_both() {
    let segment = Segment::anonymous(1 << 20).unwrap();
    let options = QueueOptions::new(4).message_max(16);
    let numbers = Queue::<u64>::create(segment.at("n"), &options).unwrap();
    let messages = Queue::<[u8]>::create(segment.at("m"), &options).unwrap();
    let tagged = Queue::<[u32; 4]>::create(segment.at("t"), &options.clone().tag(1000)).unwrap();
    is(Queue::<i64>::open(segment.at("n")), ErrorKind::Type, &["'n'", "expected", "found"]);
    is(Queue::<u32>::open(segment.at("n")), ErrorKind::Type, &["'n'", "4 bytes", "8 bytes"]);
    is(Queue::<[u8]>::open(segment.at("n")), ErrorKind::Type, &["'n'"]);
    is(Queue::<u64>::open(segment.at("m")), ErrorKind::Type, &["'m'"]);
    is(Queue::<[u32; 4]>::open(segment.at("t")), ErrorKind::Type, &["'t'", "1000"]);
    is(mpshm::Value::<u64>::open(segment.at("n")), ErrorKind::Type, &["Value", "Queue"]);
    is(Queue::<u64>::open(segment.at("x")), ErrorKind::NotFound, &["'x'"]);
    is(Queue::<u64>::create(segment.at("n"), &options), ErrorKind::Exists, &["'n'"]);
    numbers.push(1).unwrap();
    messages.push(b"two").unwrap();
    tagged.push([3; 4]).unwrap();
    assert_eq!(Queue::<u64>::open(segment.at("n")).unwrap().pop(), Ok(1));
    assert_eq!(Queue::<[u8]>::open(segment.at("m")).unwrap().pop(), Ok(b"two".to_vec()));
    let same = Queue::<[u32; 4]>::open_or_create(segment.at("t"), &options.clone().tag(1000));
    assert_eq!(same.unwrap().pop(), Ok([3; 4]));
}

fn open_or_create_by_several_at_once_makes_one() {
    let name = crate::common::unique("race");
    for round in 0..30 {
        let go = Count::new();
        let children: Vec<_> = (0..4)
            .map(|_| {
                spawn(|| {
                    while go.get() == 0 {
                        std::hint::spin_loop();
                    }
                    let options = QueueOptions::new(100);
                    let queue = Queue::<u64>::open_or_create(&name, &options).unwrap();
                    queue.push(1).unwrap();
                })
            })
            .collect();
        go.add(1);
        children.iter().for_each(join);
        let queue = Queue::<u64>::open(&name).unwrap();
        assert_eq!(queue.len(), 4, "round {round}: all met in one queue");
        Segment::unlink(&name).unwrap();
    }
}

fn waiting_costs_next_to_nothing() {
    let wait = Duration::from_secs(2);
    let segment = Segment::anonymous(1 << 20).unwrap();
    let places = [segment.at("s"), segment.at("b"), segment.at("m")];
    let queues = Numbers::create(places, &QueueOptions::new(2)).unwrap();
    // Others take part, and are asked after.
    let others: Vec<_> = (0..3)
        .map(|_| {
            spawn(|| {
                queues.iter().for_each(|queue| queue.push(1).unwrap());
                queues.iter().for_each(|queue| assert_eq!(queue.pop(), Ok(1)));
                crate::probe::for_ever();
            })
        })
        .collect();
    until("all take part", LONG, || segment.participants().unwrap().len() == 4);
    others.iter().for_each(|child| until_asleep(child.pid()));
    for queue in &queues {
        costs_next_to_nothing(&format!("a pop in {}", queue.form()), || {
            assert_eq!(queue.pop_timeout(wait), Err(PopError::TimedOut));
        });
    }
    let queue = &queues[2];
    (0..2).for_each(|n| queue.push(n).unwrap());
    costs_next_to_nothing("a push of messages", || {
        assert_eq!(queue.push_timeout(1, wait), Err(PushError::TimedOut(())));
    });
    others.iter().for_each(crate::probe::kill);
}

fn push_and_pop_with_nobody_asleep_make_no_system_call() {
    for queue in Numbers::all(8) {
        let cycle = || {
            for n in 0..5 {
                queue.push(n).unwrap();
                queue.try_push(n).unwrap();
                assert_eq!(queue.pop(), Ok(n));
                assert_eq!(queue.try_pop(), Ok(n));
            }
        };
        let came_through = without_system_calls(cycle, || {
            for _ in 0..500 {
                cycle();
                assert!(queue.is_empty());
                assert_eq!(queue.len(), 0);
            }
        });
        assert!(came_through, "{}", queue.form());
        queue.check_full_cycle();
    }
    let queue = Queue::<[u8]>::new(4, 64).unwrap();
    let cycle = || {
        let mut message = queue.reserve(64).unwrap();
        message.write_at(0, &[7; 64]).unwrap();
        message.commit(64).unwrap();
        drop(queue.try_reserve(1).unwrap());
        let claim = queue.claim().unwrap();
        assert_eq!(claim.len(), 64);
        claim.release();
    };
    assert!(without_system_calls(cycle, || (0..500).for_each(|_| cycle())), "in place");
    // With somebody asleep there is one, and it is seen.
    for queue in Numbers::all(8) {
        let sleeper = spawn(|| drop(queue.pop()));
        until_asleep(sleeper.pid());
        let came_through =
            without_system_calls(|| assert!(queue.is_empty()), || queue.try_push(1).unwrap());
        assert!(!came_through, "{}", queue.form());
        queue.push(2).unwrap();
        join(&sleeper);
    }
}
