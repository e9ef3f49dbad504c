//! What the death, or the stop, of a participant does to a `Queue`: over real processes.

use crate::common::{Test, state_of, until};
use crate::forms::Numbers;
use crate::probe::{
    Count, LONG, Random, SHORT, for_ever, go_on, in_child, is, join, kill, spawn, stop,
    until_asleep,
};
use crate::tests;
use mpshm::{Array, ErrorKind, PopError, Process, PushError, Queue, QueueOptions, Segment, Value};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub const TESTS: &[Test] = tests![
    a_killed_producers_reservation_is_free_again,
    a_killed_consumers_claim_comes_again_marked,
    a_sleeper_gets_what_a_killed_consumer_held,
    a_sleeper_gets_the_room_that_a_killed_producer_held,
    a_closed_queue_is_not_drained_before_a_dead_consumers_item_was_taken,
    a_claim_of_a_process_whose_idle_child_keeps_its_descriptor_comes_again,
    a_zombies_claim_comes_again,
    recover_repairs_at_once_what_the_dead_left,
    a_stopped_producer_keeps_its_reservation_and_nobody_waits_for_it,
    a_stopped_consumer_keeps_its_claim_and_nobody_waits_for_it,
    processes_stopped_anywhere_hold_up_nobody: 120,
    a_killed_sleeper_does_not_keep_an_item_from_others: 60,
    a_participant_too_many_is_told_so_and_the_dead_make_room,
    a_thousand_lives_in_four_slots: 60,
    b09_producers_and_consumers_of_messages_killed_at_random: 200,
    b09_producers_and_consumers_of_items_in_slots_killed_at_random: 200,
];

/// A child in which `hold` was called and then nothing more; it is there when this returns.
fn holder<'a, T>(hold: impl FnOnce() -> T + 'a) -> Process {
    let holds = Value::new(false).unwrap();
    let child = spawn(|| {
        let _held = hold();
        holds.store(true);
        for_ever();
    });
    until("the child holds it", LONG, || holds.load());
    child
}

/// Room for two messages, and one block more for each of two participants.
fn narrow() -> Queue<[u8]> {
    let options = QueueOptions::new(2).message_max(64).leases(1);
    let size = Queue::<[u8]>::size_for(&options).unwrap();
    let segment = Segment::options().participants(2).anonymous(size).unwrap();
    Queue::<[u8]>::create(segment.at("narrow"), &options).unwrap()
}

#[track_caller]
fn all_blocks_are_free(queue: &Queue<[u8]>) {
    queue.recover().unwrap();
    let audit = queue.audit().unwrap();
    assert_eq!(audit.free, audit.blocks, "{audit:?}");
    assert_eq!(queue.len(), 0);
}

fn a_killed_producers_reservation_is_free_again() {
    let queue = narrow();
    for _ in 0..20 {
        let child = holder(|| {
            let mut message = queue.reserve(8).unwrap();
            message.write_at(0, b"half").unwrap();
            message
        });
        assert_eq!(queue.audit().unwrap().reserved, 1);
        kill(&child);
        (0..2).for_each(|_| queue.push(b"whole").unwrap());
        assert_eq!(queue.try_push(b"more").unwrap_err().kind(), ErrorKind::Full);
        (0..2).for_each(|_| assert_eq!(queue.pop(), Ok(b"whole".to_vec())));
        assert_eq!(queue.try_pop(), Err(PopError::Empty));
        all_blocks_are_free(&queue);
    }
}

fn a_killed_consumers_claim_comes_again_marked() {
    let queue = Queue::<[u8]>::new(4, 64).unwrap();
    for round in 0..20u8 {
        queue.push(&[round; 9]).unwrap();
        for delivery in 1..4 {
            let child = holder(|| {
                let claim = queue.claim().unwrap();
                assert_eq!(claim.deliveries(), delivery);
                claim
            });
            assert_eq!((queue.len(), queue.audit().unwrap().leased), (0, 1));
            kill(&child);
        }
        let start = Instant::now();
        let claim = queue.claim_timeout(LONG).unwrap();
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        assert_eq!((claim.to_vec(), claim.deliveries()), (vec![round; 9], 4));
        claim.release();
        all_blocks_are_free(&queue);
    }
    // Calls that do not wait find it as well, within 5 ms.
    queue.push(b"try").unwrap();
    kill(&holder(|| queue.claim().unwrap()));
    let start = Instant::now();
    until("a try_claim finds it", LONG, || queue.try_claim().is_ok());
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

fn a_sleeper_gets_what_a_killed_consumer_held() {
    let queue = Queue::<[u8]>::new(4, 64).unwrap();
    queue.push(b"work").unwrap();
    let child = holder(|| queue.claim().unwrap());
    let sleeper = spawn(|| {
        let claim = queue.claim().unwrap();
        assert_eq!((claim.to_vec(), claim.deliveries()), (b"work".to_vec(), 2));
    });
    until_asleep(sleeper.pid());
    let start = Instant::now();
    kill(&child);
    join(&sleeper);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    all_blocks_are_free(&queue);
}

fn a_sleeper_gets_the_room_that_a_killed_producer_held() {
    // Every block there is, and more than the holder's share of them.
    let queue = narrow();
    let child = holder(|| [(); 4].map(|()| queue.try_reserve(8).unwrap()));
    assert_eq!(queue.audit().unwrap().free, 0);
    let start = Instant::now();
    assert_eq!(queue.push_timeout(b"a", SHORT), Err(PushError::TimedOut(())));
    assert!(start.elapsed() >= SHORT);
    let killer = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            until_asleep(std::process::id());
            child.kill().unwrap();
            Instant::now()
        });
        queue.push(b"a").unwrap();
        let end = Instant::now();
        end.duration_since(thread.join().unwrap())
    });
    assert!(killer < Duration::from_secs(1), "{killer:?}");
    child.join().unwrap();
    assert_eq!(queue.pop(), Ok(b"a".to_vec()));
    all_blocks_are_free(&queue);
}

fn a_closed_queue_is_not_drained_before_a_dead_consumers_item_was_taken() {
    let queue = Queue::<[u8]>::new(4, 64).unwrap();
    queue.push(b"last").unwrap();
    let child = holder(|| queue.claim().unwrap());
    queue.close().unwrap();
    kill(&child);
    let claim = queue.claim().unwrap();
    assert_eq!((claim.to_vec(), claim.deliveries()), (b"last".to_vec(), 2));
    claim.release();
    assert_eq!(queue.pop(), Err(PopError::Closed));
}

fn a_claim_of_a_process_whose_idle_child_keeps_its_descriptor_comes_again() {
    let queue = Queue::<[u8]>::new(4, 64).unwrap();
    queue.push(b"work").unwrap();
    let idle = Count::new();
    let child = holder(|| {
        let claim = queue.claim().unwrap();
        // SAFETY: the child only sleeps, and is killed below.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            for_ever();
        }
        idle.add(pid as u64);
        claim
    });
    kill(&child);
    let start = Instant::now();
    let claim = queue.claim_timeout(LONG).unwrap();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(claim.deliveries(), 2);
    claim.release();
    let pid = idle.get() as i32;
    assert!(state_of(pid as u32).is_some_and(|state| state != 'Z'), "it was there");
    // SAFETY: our own descendant, which came to us as an orphan.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        assert_eq!(libc::waitpid(pid, std::ptr::null_mut(), 0), pid);
    }
}

fn a_zombies_claim_comes_again() {
    let queue = Queue::<[u8]>::new(4, 64).unwrap();
    queue.push(b"work").unwrap();
    let child = holder(|| queue.claim().unwrap());
    child.kill().unwrap();
    until("the child is a zombie", LONG, || state_of(child.pid()) == Some('Z'));
    assert_eq!(queue.claim_timeout(LONG).unwrap().deliveries(), 2);
    child.join().unwrap();
}

fn recover_repairs_at_once_what_the_dead_left() {
    let segment = Segment::anonymous(1 << 20).unwrap();
    let options = QueueOptions::new(8).message_max(64);
    let queue = Queue::<[u8]>::create(segment.at("a"), &options).unwrap();
    let other = Queue::<[u64; 3]>::create(segment.at("b"), &options).unwrap();
    (0..4).for_each(|_| queue.push(b"work").unwrap());
    let child = holder(|| (queue.claim().unwrap(), queue.claim().unwrap(), queue.reserve(1)));
    kill(&child);
    mpshm::recover(&segment).unwrap();
    let audit = queue.audit().unwrap();
    assert_eq!((audit.reserved, audit.leased, audit.returned, audit.queued), (0, 0, 2, 2));
    assert_eq!(queue.len(), 4);
    let marked = (0..4).filter(|_| queue.try_claim().unwrap().deliveries() == 2).count();
    assert_eq!(marked, 2);
    other.push([1, 2, 3]).unwrap();
    assert_eq!(other.pop(), Ok([1, 2, 3]));
}

fn a_stopped_producer_keeps_its_reservation_and_nobody_waits_for_it() {
    let queue = narrow();
    let go = Value::new(false).unwrap();
    let holds = Value::new(false).unwrap();
    let child = spawn(|| {
        let mut message = queue.reserve(8).unwrap();
        holds.store(true);
        until("it may go on", LONG, || go.load());
        message.write_at(0, b"late").unwrap();
        message.commit(4).unwrap();
    });
    until("the child holds it", LONG, || holds.load());
    stop(&child);
    for _ in 0..100 {
        (0..2).for_each(|_| queue.try_push(b"work").unwrap());
        assert_eq!(queue.try_push(b"more").unwrap_err().kind(), ErrorKind::Full);
        (0..2).for_each(|_| assert_eq!(queue.try_pop(), Ok(b"work".to_vec())));
        assert_eq!(queue.try_pop(), Err(PopError::Empty));
    }
    // For longer than it takes to look for the dead.
    assert_eq!(queue.pop_timeout(5 * SHORT), Err(PopError::TimedOut));
    assert_eq!(queue.audit().unwrap().reserved, 1, "it is alive");
    go.store(true);
    go_on(&child);
    join(&child);
    assert_eq!(queue.pop_timeout(LONG), Ok(b"late".to_vec()));
    all_blocks_are_free(&queue);
}

fn a_stopped_consumer_keeps_its_claim_and_nobody_waits_for_it() {
    let queue = narrow();
    let (go, holds) = (Value::new(false).unwrap(), Value::new(false).unwrap());
    queue.push(b"his").unwrap();
    let child = spawn(|| {
        let claim = queue.claim().unwrap();
        holds.store(true);
        until("it may go on", LONG, || go.load());
        assert_eq!(claim.to_vec(), b"his");
        claim.release();
        queue.push(b"done").unwrap();
    });
    until("the child holds it", LONG, || holds.load());
    stop(&child);
    for _ in 0..100 {
        (0..2).for_each(|_| queue.try_push(b"work").unwrap());
        assert_eq!(queue.try_push(b"more").unwrap_err().kind(), ErrorKind::Full);
        (0..2).for_each(|_| assert_eq!(queue.try_claim().unwrap().deliveries(), 1));
        assert_eq!(queue.try_pop(), Err(PopError::Empty));
    }
    assert_eq!(queue.pop_timeout(5 * SHORT), Err(PopError::TimedOut), "it is not taken away");
    go.store(true);
    go_on(&child);
    join(&child);
    assert_eq!(queue.pop_timeout(LONG), Ok(b"done".to_vec()));
    all_blocks_are_free(&queue);
}

fn processes_stopped_anywhere_hold_up_nobody() {
    let mut random = Random::new(3);
    for queue in Numbers::all(4) {
        // Both kinds of work, so that the queue is empty, part full and full in turn.
        let children: Vec<_> = (0..2)
            .map(|kind| {
                let queue = &queue;
                spawn(move || {
                    loop {
                        match (kind, queue.len()) {
                            (0, 0..4) => drop(queue.try_push(1)),
                            (1, 1..) => assert!(!matches!(queue.try_pop(), Err(PopError::Closed))),
                            _ => {}
                        }
                    }
                })
            })
            .collect();
        let mut slowest = Duration::ZERO;
        for _ in 0..150 {
            random.pause(300);
            children.iter().for_each(stop);
            // Nobody else runs now: each call has to complete by itself.
            let start = Instant::now();
            let mut refused = 0;
            while queue.try_pop().is_ok() {}
            for _ in 0..4 {
                refused += u64::from(queue.try_push(2).is_err());
            }
            let mut popped = 0;
            while queue.try_pop().is_ok() {
                popped += 1;
            }
            // A stopped producer may own the block of its item, but no place in the ring.
            assert_eq!((refused, popped), (0, 4), "{}", queue.form());
            slowest = slowest.max(start.elapsed());
            children.iter().for_each(go_on);
        }
        println!("    {}: the slowest round of 8 calls took {slowest:?}", queue.form());
        assert!(slowest < Duration::from_secs(1));
        for child in &children {
            assert!(child.is_alive(), "{:?}", child.panic_message());
            kill(child);
        }
        queue.drain();
        queue.check_blocks();
        queue.drain();
        queue.check_full_cycle();
    }
}

fn a_killed_sleeper_does_not_keep_an_item_from_others() {
    let mut random = Random::new(4);
    for queue in Numbers::all(1) {
        for _ in 0..15 {
            let [victim, other] = [(); 2].map(|()| spawn(|| assert_eq!(queue.pop(), Ok(1))));
            until_asleep(victim.pid());
            until_asleep(other.pid());
            queue.push(1).unwrap(); // wakes one of the two
            random.pause(20);
            victim.kill().unwrap();
            victim.join().unwrap();
            // If the victim had it already when it was killed, there is none for the other.
            if queue.is_empty() && other.join_timeout(4 * SHORT).unwrap().is_none() {
                queue.push(1).unwrap();
            }
            let start = Instant::now();
            join(&other);
            assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        }
        queue.drain();
        queue.check_full_cycle();
    }
}

fn a_participant_too_many_is_told_so_and_the_dead_make_room() {
    let queue = narrow(); // of two participants, and this process is one
    let child = holder(|| {
        queue.push(b"first").unwrap();
        queue.claim().unwrap()
    });
    in_child(|| {
        is(queue.try_push(b"x"), ErrorKind::Limit, &["2 participant slots"]);
        is(queue.push(b"x"), ErrorKind::Limit, &["2 participant slots"]);
        is(queue.pop(), ErrorKind::Limit, &["2 participant slots"]);
        is(queue.try_claim(), ErrorKind::Limit, &["2 participant slots"]);
        assert_eq!(queue.len(), 0);
    });
    queue.try_push(b"second").unwrap();
    assert_eq!(queue.try_pop(), Ok(b"second".to_vec()));
    kill(&child);
    // The newcomer takes the dead one's slot, and first repairs what that left.
    in_child(|| {
        let claim = queue.claim_timeout(LONG).unwrap();
        assert_eq!((claim.to_vec(), claim.deliveries()), (b"first".to_vec(), 2));
    });
    in_child(|| queue.push(b"third").unwrap());
    assert_eq!(queue.pop(), Ok(b"third".to_vec()));
    all_blocks_are_free(&queue);
}

fn a_thousand_lives_in_four_slots() {
    let options = QueueOptions::new(8).message_max(16).leases(2);
    let size = Queue::<[u8]>::size_for(&options).unwrap();
    let segment = Segment::options().participants(4).anonymous(size).unwrap();
    let queue = Queue::<[u8]>::create(segment.at("q"), &options).unwrap();
    for life in 0..1000u32 {
        let child = spawn(|| {
            queue.push(&life.to_ne_bytes()).unwrap();
            let _never_committed = queue.reserve(16).unwrap();
            // SAFETY: dies here, holding a block.
            unsafe { libc::raise(libc::SIGKILL) };
        });
        assert_eq!(child.join().unwrap().code(), Some(-9));
        assert_eq!(queue.pop_timeout(LONG), Ok(life.to_ne_bytes().to_vec()));
    }
    assert_eq!(segment.participants().unwrap(), [std::process::id()]);
    all_blocks_are_free(&queue);
}

const LIVES: usize = 500;
/// The most that one life of a producer sends.
const MOST: usize = 1 << 14;

/// What came out, for every life of a producer and every number that it sent: in plain shared memory.
struct Ledger {
    counts: *const AtomicU8,
    /// The last number whose push has returned, for each life.
    returned: Array<u64>,
}

impl Ledger {
    fn new() -> Self {
        // SAFETY: a fresh shared mapping, zeroed, which stays until the test's process ends.
        let counts = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                2 * LIVES * MOST,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        assert_ne!(counts, libc::MAP_FAILED);
        Self { counts: counts.cast(), returned: Array::new(LIVES).unwrap() }
    }

    fn count(&self, marked: bool, life: usize, number: usize) -> &AtomicU8 {
        assert!(life < LIVES && number < MOST, "life {life}, number {number}");
        // SAFETY: inside the mapping.
        unsafe { &*self.counts.add((usize::from(marked) * LIVES + life) * MOST + number) }
    }

    /// Notes a delivery; nothing comes twice without a mark.
    fn note(&self, marked: bool, life: usize, number: usize) {
        let before = self.count(marked, life, number).fetch_add(1, Ordering::SeqCst);
        assert!(marked || before == 0, "{number} of life {life} came twice, unmarked");
    }

    /// How many were pushed, how many of them are missing, how many came by a marked delivery.
    fn sum_up(&self, lives: usize) -> (u64, u64, u64) {
        let (mut pushed, mut missing, mut marked) = (0, 0, 0);
        for life in 0..lives {
            let returned = self.returned.load(life).unwrap() as usize;
            pushed += returned as u64;
            for number in 1..MOST {
                let plain = self.count(false, life, number).load(Ordering::SeqCst);
                let again = self.count(true, life, number).load(Ordering::SeqCst);
                missing += u64::from(number <= returned && plain == 0 && again == 0);
                marked += u64::from(again > 0);
                // The push that was under way when its process died may have taken effect, no other.
                assert!(number <= returned + 1 || plain == 0 && again == 0, "{number} of {life}");
            }
        }
        (pushed, missing, marked)
    }
}

/// Kills and stops producers and consumers at random; returns how many lives of producers there
/// were, and how many consumers were killed.
fn kill_at_random(
    kills: usize,
    seed: u64,
    produce: impl Fn(usize),
    consume: impl Fn(),
    progress: &AtomicU64,
) -> (usize, u64) {
    let mut random = Random::new(seed);
    let mut lives = 0;
    let (mut consumers_killed, mut stops) = (0, 0);
    let mut start = |producer: bool| {
        if !producer {
            return spawn(&consume);
        }
        let life = lives;
        lives += 1;
        spawn(|| produce(life))
    };
    let mut children: Vec<(bool, Process)> =
        [true, true, false, false].map(|producer| (producer, start(producer))).into();
    for _ in 0..kills {
        random.pause(600);
        let victim = random.below(4) as usize;
        let stopped = (random.below(4) == 0).then(|| (victim + 1 + random.below(3) as usize) % 4);
        if let Some(other) = stopped {
            stop(&children[other].1);
            stops += 1;
            random.pause(200);
        }
        let (producer, child) = &children[victim];
        assert!(child.is_alive(), "{:?}", child.panic_message());
        kill(child);
        consumers_killed += u64::from(!producer);
        children[victim].1 = start(*producer);
        if let Some(other) = stopped {
            random.pause(200);
            go_on(&children[other].1);
        }
    }
    let before = progress.load(Ordering::SeqCst);
    until("consumers go on", LONG, || progress.load(Ordering::SeqCst) > before + 100);
    for (_, child) in &children {
        assert!(child.is_alive(), "{:?}", child.panic_message());
        kill(child);
    }
    println!("    {kills} kills and {stops} stops; {before} deliveries meanwhile");
    (lives, consumers_killed + 2)
}

fn b09_producers_and_consumers_of_messages_killed_at_random() {
    let queue = Queue::<[u8]>::new(16, 8 + 300).unwrap();
    let ledger = Ledger::new();
    let deliveries = Count::new();
    let encode = |life: usize, number: usize| {
        let head = (life as u32).to_ne_bytes().into_iter().chain((number as u32).to_ne_bytes());
        let tail = (0..number % 300).map(|i| (i + number + life) as u8);
        head.chain(tail).collect::<Vec<u8>>()
    };
    let take = |message: &[u8], marked: bool| {
        let [life, number] = [0, 4].map(|at| {
            u32::from_ne_bytes(message[at..at + 4].try_into().expect("four bytes")) as usize
        });
        assert_eq!(message, encode(life, number), "a torn message");
        ledger.note(marked, life, number);
        (life, number)
    };
    let produce = |life: usize| {
        for number in 1..MOST {
            let message = encode(life, number);
            if number % 3 == 0 {
                let mut reservation = queue.reserve(message.len()).unwrap();
                reservation.write_at(0, &message).unwrap();
                reservation.commit(message.len()).unwrap();
            } else {
                queue.push(&message).unwrap();
            }
            ledger.returned.store(life, number as u64).unwrap();
        }
        for_ever();
    };
    let consume = || {
        let mut last = vec![0; LIVES];
        loop {
            let claim = queue.claim().unwrap();
            let marked = claim.deliveries() > 1;
            let (life, number) = take(&claim.to_vec(), marked);
            if !marked {
                assert!(last[life] < number, "life {life}: {} and then {number}", last[life]);
                last[life] = number;
            }
            deliveries.add(1);
        }
    };
    let (lives, _) = kill_at_random(250, 5, produce, consume, deliveries.of(0));
    queue.recover().unwrap();
    while let Ok(claim) = queue.try_claim() {
        take(&claim.to_vec(), claim.deliveries() > 1);
    }
    let (pushed, missing, marked) = ledger.sum_up(lives);
    println!(
        "    {pushed} pushed in {lives} lives, {marked} delivered with a mark, {missing} missing"
    );
    assert_eq!(missing, 0);
    assert!(pushed > 1000 && marked > 0, "nothing was put to the test");
    all_blocks_are_free(&queue);
    in_child(|| queue.push(b"and on").unwrap());
    assert_eq!(queue.pop(), Ok(b"and on".to_vec()));
}

fn b09_producers_and_consumers_of_items_in_slots_killed_at_random() {
    let queue = Queue::<u64>::new(16).unwrap();
    let ledger = Ledger::new();
    let deliveries = Count::new();
    let take = |item: u64| ledger.note(false, (item >> 32) as usize, item as u32 as usize);
    let produce = |life: usize| {
        for number in 1..MOST {
            queue.push((life as u64) << 32 | number as u64).unwrap();
            ledger.returned.store(life, number as u64).unwrap();
        }
        for_ever();
    };
    let consume = || {
        let mut last = vec![0; LIVES];
        loop {
            let item = queue.pop().unwrap();
            let (life, number) = ((item >> 32) as usize, item as u32);
            assert!(last[life] < number, "life {life}: {} and then {number}", last[life]);
            last[life] = number;
            take(item);
            deliveries.add(1);
        }
    };
    let (lives, killed) = kill_at_random(250, 6, produce, consume, deliveries.of(0));
    while let Ok(item) = queue.try_pop() {
        take(item);
    }
    let (pushed, missing, _) = ledger.sum_up(lives);
    println!("    {pushed} pushed in {lives} lives, {missing} missing, {killed} consumers killed");
    assert!(missing <= killed, "more than what each of the dead had in hand");
    assert!(pushed > 1000, "nothing was put to the test");
    Numbers::Slots(queue).check_full_cycle();
}
