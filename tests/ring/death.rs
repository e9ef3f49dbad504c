//! Producers and consumers that are killed and stopped at random moments, and others that take over: every item is
//! accounted for.

use crate::common::until;
use crate::probe::{Count, LONG, Random, go_on, kill, spawn, stop};
use mpshm::{Process, Ring, RingConsumer, RingOptions, RingProducer, WhenFull};
use std::sync::atomic::{AtomicU64, Ordering};

/// How many processes are killed in each test.
const KILLS: u64 = 250;

/// Kills and stops the one producer and the one consumer at random, and starts them again; says how many of each
/// were killed.
fn kill_at_random(
    seed: u64,
    produce: &dyn Fn(),
    consume: &dyn Fn(),
    progress: &AtomicU64,
) -> [u64; 2] {
    let mut random = Random::new(seed);
    let roles = [produce, consume];
    let mut children: Vec<Process> = roles.iter().map(|role| spawn(role)).collect();
    let mut killed = [0; 2];
    for _ in 0..KILLS {
        random.pause(1500);
        let victim = random.below(2) as usize;
        let stopped = random.below(4) == 0;
        if stopped {
            stop(&children[1 - victim]);
            random.pause(200);
        }
        let child = &children[victim];
        assert!(child.is_alive(), "{:?}", child.panic_message());
        kill(child);
        killed[victim] += 1;
        children[victim] = spawn(roles[victim]);
        if stopped {
            random.pause(400);
            go_on(&children[1 - victim]);
        }
    }
    let before = progress.load(Ordering::SeqCst);
    let further = || progress.load(Ordering::SeqCst) > before + 1000;
    until("the last two go on", LONG, further);
    for child in &children {
        assert!(child.is_alive(), "{:?}", child.panic_message());
        kill(child);
    }
    [killed[0] + 1, killed[1] + 1]
}

/// Now and then an item stays in a consumer's hands for a while.
fn ponder(random: &mut Random) {
    if random.below(4) == 0 {
        random.pause(200);
    }
}

/// What a consumer makes sure of: numbers come one after the other, each once, but for those that are marked.
struct Noted<'a> {
    /// All numbers below have been consumed, or are in the hands of one who noted so.
    next: &'a AtomicU64,
    marked: &'a AtomicU64,
}

impl Noted<'_> {
    fn note(&self, first: u64, count: u64, marked: bool) {
        let next = self.next.load(Ordering::SeqCst);
        if marked {
            assert!(first <= next, "lost: {first} at {next}");
            self.marked.fetch_add(1, Ordering::SeqCst);
        } else {
            assert_eq!(first, next, "lost, or doubled without a mark");
        }
        self.next.fetch_max(first + count, Ordering::SeqCst);
    }
}

/// The number that a producer begins with: the ring knows how many were committed.
fn resume(ring: &Ring<u64>) -> u64 {
    ring.counters().pushed
}

fn push_somehow(producer: &mut RingProducer<u64>, next: u64, random: &mut Random) -> u64 {
    let count = 1 + random.below(5);
    let values: Vec<u64> = (next..next + count).collect();
    match random.below(4) {
        0 => {
            producer.push(next).unwrap();
            return 1;
        }
        1 => producer.push_many(&values).unwrap(),
        2 => producer.push_all(&values).unwrap(),
        _ => {
            let mut slice = producer.reserve(count as usize).unwrap();
            slice.write_at(0, &values).unwrap();
            slice.commit(count as usize).unwrap();
        }
    }
    count
}

pub fn items_claimed_by_consumers_killed_at_random_are_never_lost() {
    let ring = Ring::<u64>::new(16).unwrap();
    let counts = Count::new();
    let noted = Noted { next: counts.of(0), marked: counts.of(1) };
    let produce = || {
        let mut random = Random::new(u64::from(std::process::id()));
        let mut producer = ring.producer();
        producer.try_push_many(&[]).unwrap(); // the role is taken before the count is asked for
        let mut next = resume(&ring);
        loop {
            next += push_somehow(&mut producer, next, &mut random);
        }
    };
    let consume = || {
        let mut random = Random::new(u64::from(std::process::id()));
        let mut consumer = ring.consumer();
        loop {
            let claim = consumer.claim(1 + random.below(20) as usize).unwrap();
            let (values, marked) = (claim.to_vec(), claim.deliveries() > 1);
            ponder(&mut random);
            assert!(
                values.is_sorted()
                    && values[0] + values.len() as u64 - 1 == *values.last().unwrap()
            );
            noted.note(values[0], values.len() as u64, marked);
            if random.below(3) == 0 {
                claim.release();
            } else {
                // The rest comes again, not marked by this.
                let part = random.below(values.len() as u64 + 1) as usize;
                counts.of(0).store(values[0] + part as u64, Ordering::SeqCst);
                claim.release_first(part).unwrap();
            }
        }
    };
    let [producers, consumers] = kill_at_random(1, &produce, &consume, noted.next);
    let mut consumer = ring.consumer();
    while let Ok(claim) = consumer.try_claim(9) {
        noted.note(claim.read(0).unwrap(), claim.len() as u64, claim.deliveries() > 1);
    }
    let (pushed, marked) = (ring.counters().pushed, counts.of(1).load(Ordering::SeqCst));
    println!(
        "    {pushed} items, {producers} producers and {consumers} consumers killed, {marked} claims were marked"
    );
    assert_eq!((noted.next.load(Ordering::SeqCst), ring.len()), (pushed, 0));
    assert!(pushed > 1000 && marked > 0, "nothing was put to the test");
    let repairs = ring.counters().repairs;
    assert!(repairs > KILLS / 2 && repairs <= producers + consumers, "{repairs} roles of the dead");
}

pub fn items_popped_by_consumers_killed_at_random_are_lost_with_them_at_most() {
    let ring = Ring::<u64>::new(16).unwrap();
    let counts = Count::new();
    // One word, so that no death comes between the two.
    let state = counts.of(0);
    let unpack = |state: u64| (state >> 16, state & 0xffff);
    let produce = || {
        let mut random = Random::new(u64::from(std::process::id()));
        let mut producer = ring.producer();
        producer.try_push_many(&[]).unwrap();
        let mut number = resume(&ring);
        loop {
            number += push_somehow(&mut producer, number, &mut random);
        }
    };
    let consume = || {
        let mut random = Random::new(u64::from(std::process::id()));
        let mut consumer = ring.consumer();
        loop {
            let value = consumer.pop().unwrap();
            ponder(&mut random);
            let (next, missing) = unpack(state.load(Ordering::SeqCst));
            assert!(value >= next, "{value} came again at {next}");
            state.store((value + 1) << 16 | (missing + value - next), Ordering::SeqCst);
            counts.of(1).fetch_add(1, Ordering::SeqCst);
        }
    };
    let [producers, consumers] = kill_at_random(2, &produce, &consume, counts.of(1));
    let mut consumer = ring.consumer();
    let rest: Vec<u64> = std::iter::from_fn(|| consumer.try_pop().ok()).collect();
    let (next, missing) = unpack(state.load(Ordering::SeqCst));
    let pushed = ring.counters().pushed;
    let first = rest.first().copied().unwrap_or(pushed);
    let missing = missing + first - next;
    println!(
        "    {pushed} items, {producers} producers and {consumers} consumers killed, {missing} items in the hands of the dead"
    );
    assert!(rest.iter().copied().eq(first..pushed));
    assert!(missing <= consumers, "one for each at most");
    assert!(pushed > 1000, "nothing was put to the test");
}

/// The length of a message follows from its number.
fn length(number: u64) -> usize {
    8 + (number * number % 61) as usize
}

fn message(number: u64) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(length(number), number as u8);
    bytes
}

pub fn messages_of_processes_killed_at_random_are_never_lost() {
    let ring = Ring::<[u8]>::new(500).unwrap();
    let counts = Count::new();
    let noted = Noted { next: counts.of(0), marked: counts.of(1) };
    let record = |number| 8 + length(number).next_multiple_of(8) as u64;
    let produce = || {
        let mut producer = ring.producer();
        producer.try_push_many(&[[0u8; 0]; 0]).unwrap();
        let (mut next, mut bytes) = (0, 0);
        while bytes < ring.counters().pushed {
            bytes += record(next);
            next += 1;
        }
        assert_eq!(bytes, ring.counters().pushed, "a part of a message is committed");
        loop {
            match next % 3 {
                0 => producer.push(&message(next)).unwrap(),
                1 => producer.push_all(&[message(next), message(next + 1)]).unwrap(),
                _ => {
                    let mut place = producer.reserve(100).unwrap();
                    place.write_at(0, &message(next)).unwrap();
                    place.commit(length(next)).unwrap();
                }
            }
            next += 1 + u64::from(next % 3 == 1);
        }
    };
    let take = |consumer: &mut RingConsumer<[u8]>, random: &mut Random, wait: bool| {
        let claim = if wait { consumer.claim() } else { consumer.try_claim() };
        let Ok(claim) = claim else { return false };
        let bytes = claim.to_vec();
        ponder(random);
        let number = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
        assert_eq!(bytes, message(number), "a torn message");
        noted.note(number, 1, claim.deliveries() > 1);
        claim.release();
        true
    };
    let consume = || {
        let mut random = Random::new(u64::from(std::process::id()));
        let mut consumer = ring.consumer();
        while take(&mut consumer, &mut random, true) {}
    };
    let [producers, consumers] = kill_at_random(3, &produce, &consume, noted.next);
    let mut consumer = ring.consumer();
    while take(&mut consumer, &mut Random::new(0), false) {}
    let (pushed, marked) = (noted.next.load(Ordering::SeqCst), counts.of(1).load(Ordering::SeqCst));
    println!(
        "    {pushed} messages, {producers} producers and {consumers} consumers killed, {marked} came marked"
    );
    let bytes: u64 = (0..pushed).map(record).sum();
    assert_eq!((ring.counters().pushed, ring.len()), (bytes, 0));
    assert!(pushed > 1000 && marked > 0, "nothing was put to the test");
}

/// Numbers only rise, items are whole, and what was not popped was overwritten; each death may leave one uncounted.
fn overwritten<T: ?Sized + mpshm::Item>(
    ring: &Ring<T>,
    seed: u64,
    push: impl Fn(&mut RingProducer<T>, u64),
    pop: impl Fn(&mut RingConsumer<T>) -> u64,
) {
    let counts = Count::new();
    let (pushed, newest, popped) = (counts.of(0), counts.of(1), counts.of(2));
    let produce = || {
        let mut producer = ring.producer();
        loop {
            // The number of a push that was under way is passed over.
            push(&mut producer, pushed.fetch_add(1, Ordering::SeqCst) + 1);
        }
    };
    let consume = || {
        let mut random = Random::new(u64::from(std::process::id()));
        let mut consumer = ring.consumer();
        loop {
            let number = pop(&mut consumer);
            let before = newest.fetch_max(number, Ordering::SeqCst);
            assert!(before < number, "{before} and then {number}");
            popped.fetch_add(1, Ordering::SeqCst);
            if random.below(50) == 0 {
                random.pause(100);
            }
        }
    };
    let [producers, consumers] = kill_at_random(seed, &produce, &consume, newest);
    let mut consumer = ring.consumer();
    let mut left = 0;
    while !ring.is_empty() {
        let number = pop(&mut consumer);
        assert!(newest.fetch_max(number, Ordering::SeqCst) < number);
        left += 1;
    }
    let [pushed, newest, popped] =
        [pushed, newest, popped].map(|count| count.load(Ordering::SeqCst));
    let overwritten = ring.counters().overwritten;
    println!(
        "    {pushed} pushes, {popped} popped, {overwritten} overwritten, {left} left; {producers} producers and {consumers} consumers killed"
    );
    assert!(newest + 1 >= pushed, "the newest stays, but for a push that was under way");
    let sum = popped + overwritten + left;
    // A push that came to nothing, or items overwritten for one and not counted; an item taken and not counted.
    assert!(sum <= pushed && sum + 6 * producers + consumers >= pushed, "{sum} of {pushed}");
    assert!(overwritten > 100 && popped > 1000, "nothing was put to the test");
}

pub fn rings_that_overwrite_stay_whole_when_processes_are_killed_at_random() {
    let options = |capacity| RingOptions::new(capacity).when_full(WhenFull::Overwrite);
    let ring = Ring::<u64>::with_options(&options(4)).unwrap();
    overwritten(
        &ring,
        4,
        |producer, n| producer.push(n).unwrap(),
        |consumer| consumer.pop().unwrap(),
    );
    let ring = Ring::<[u64; 25]>::with_options(&options(4)).unwrap();
    overwritten(
        &ring,
        5,
        |producer, n| producer.push([n; 25]).unwrap(),
        |consumer| {
            let item = consumer.pop().unwrap();
            assert_eq!(item, [item[0]; 25], "a torn item");
            item[0]
        },
    );
    let ring = Ring::<[u8]>::with_options(&options(300)).unwrap();
    overwritten(
        &ring,
        6,
        |producer, n| {
            if n % 2 == 0 {
                producer.push(&message(n)).unwrap();
            } else {
                let mut place = producer.reserve(100).unwrap();
                place.write_at(0, &message(n)).unwrap();
                place.commit(length(n)).unwrap();
            }
        },
        |consumer| {
            let bytes = consumer.pop().unwrap();
            let number = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
            assert_eq!(bytes, message(number), "a torn message");
            number
        },
    );
}
