//! Everything that can be waited for, each by itself.

use super::{BEFORE_THE_SLICE, Count, Delays, now, places};
use crate::probe::{self, LONG, join, spawn, until_asleep};
use mpshm::{
    Event, Latch, Latest, Queue, QueueOptions, Ring, RingOptions, Semaphore, Value, Waitable,
    select,
};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// One of each kind, none ready.
struct Kinds {
    event: Event,
    semaphore: Semaphore,
    numbers: Queue<u64>,
    blocks: Queue<[u64; 8]>,
    messages: Queue<[u8]>,
    full: Queue<u32>,
    full_blocks: Queue<[u8]>,
    ring: Ring<u32>,
    stream: Ring<[u8]>,
    full_ring: Ring<u64>,
    value: Value<i64>,
    latch: Latch,
    latest: Latest<[f64; 4]>,
}

/// How many there are.
const KINDS: usize = 13;

impl Kinds {
    fn new() -> Self {
        let kinds = Self {
            event: Event::new().unwrap(),
            semaphore: Semaphore::new(0).unwrap(),
            numbers: Queue::<u64>::new(2).unwrap(),
            blocks: Queue::<[u64; 8]>::new(2).unwrap(),
            messages: Queue::<[u8]>::new(2, 64).unwrap(),
            full: Queue::<u32>::new(2).unwrap(),
            full_blocks: Queue::<[u8]>::new(1, 64).unwrap(),
            ring: Ring::new(4).unwrap(),
            stream: Ring::<[u8]>::new(256).unwrap(),
            full_ring: Ring::new(4).unwrap(),
            value: Value::new_waitable(0).unwrap(),
            latch: Latch::new(1).unwrap(),
            latest: Latest::new(&[0.0; 4]).unwrap(),
        };
        kinds.full.push_many(&[1, 2]).unwrap();
        kinds.full_blocks.push(b"one").unwrap();
        kinds.full_ring.producer().push_many(&[1, 2, 3, 4]).unwrap();
        kinds
    }

    fn items(&self) -> Vec<Box<dyn Waitable + '_>> {
        vec![
            Box::new(&self.event),
            Box::new(&self.semaphore),
            Box::new(self.numbers.readable()),
            Box::new(self.blocks.consumer().readable()),
            Box::new(self.messages.readable()),
            Box::new(self.full.writable()),
            Box::new(self.full_blocks.writable()),
            Box::new(self.ring.readable()),
            Box::new(self.stream.consumer().readable()),
            Box::new(self.full_ring.producer().writable(2)),
            Box::new(self.value.when(|value| value > 1).unwrap()),
            Box::new(&self.latch),
            Box::new(self.latest.newer(self.latest.version())),
        ]
    }

    /// Makes one ready.
    fn act(&self, kind: usize) {
        match kind {
            0 => self.event.set(),
            1 => self.semaphore.release(1).unwrap(),
            2 => self.numbers.push(1).unwrap(),
            3 => self.blocks.push([1; 8]).unwrap(),
            4 => self.messages.push(b"hello").unwrap(),
            5 => {
                self.full.pop().unwrap();
            }
            6 => {
                self.full_blocks.pop().unwrap();
            }
            7 => self.ring.producer().push(1).unwrap(),
            8 => self.stream.producer().push(b"hello").unwrap(),
            9 => {
                self.full_ring.consumer().pop_many(2).unwrap();
            }
            10 => {
                self.value.fetch_add(2);
            }
            11 => self.latch.count_down(1).unwrap(),
            _ => {
                self.latest.store(&[1.0; 4]).unwrap();
            }
        }
    }
}

pub fn each_kind_wakes_who_sleeps() {
    let mut delays = Vec::new();
    let parent = std::process::id();
    for round in 0..3 * KINDS {
        let kinds = Kinds::new();
        let made = Count::new();
        let child = spawn(|| {
            until_asleep(parent);
            made.of(0).store(now(), Ordering::SeqCst);
            kinds.act(round % KINDS);
        });
        let items = kinds.items();
        assert_eq!(items.len(), KINDS);
        let items: Vec<&dyn Waitable> = items.iter().map(|item| item as &dyn Waitable).collect();
        let ready = select(&items, LONG).unwrap();
        delays.push(Duration::from_nanos(now() - made.get()));
        assert_eq!(places(&ready), [round % KINDS]);
        join(&child);
    }
    Delays(delays).are_shorter_than(BEFORE_THE_SLICE, "a wake-up");
}

pub fn each_kind_wakes_who_sleeps_without_futex_waitv() {
    probe::without_futex_waitv();
    each_kind_wakes_who_sleeps();
}

pub fn each_kind_is_found_by_a_look() {
    let kinds = Kinds::new();
    let items = kinds.items();
    let items: Vec<&dyn Waitable> = items.iter().map(|item| item as &dyn Waitable).collect();
    for kind in 0..KINDS {
        let before: Vec<usize> = (0..kind).collect();
        assert_eq!(places(&select(&items, Duration::ZERO).unwrap()), before);
        kinds.act(kind);
    }
    assert!(select(&items, Duration::ZERO).unwrap().is_all());
    // And a try finds what is said to be there.
    kinds.semaphore.try_acquire().unwrap().forget();
    kinds.numbers.try_pop().unwrap();
    kinds.blocks.try_pop().unwrap();
    kinds.messages.try_pop().unwrap();
    kinds.full.try_push(1).unwrap();
    kinds.full_blocks.try_push(b"two").unwrap();
    kinds.ring.consumer().try_pop().unwrap();
    kinds.full_ring.producer().try_push_all(&[1, 2]).unwrap();
}

pub fn what_is_closed_counts_as_ready() {
    let parent = std::process::id();
    let closing = |item: &dyn Waitable, close: &dyn Fn()| {
        assert!(select(&[item], Duration::ZERO).unwrap().is_empty());
        let child = spawn(|| {
            until_asleep(parent);
            close();
        });
        assert!(select(&[item], LONG).unwrap().contains(0));
        join(&child);
    };
    let kinds = Kinds::new();
    closing(&kinds.numbers.readable(), &|| kinds.numbers.close().unwrap());
    closing(&kinds.messages.readable(), &|| kinds.messages.close().unwrap());
    closing(&kinds.full.writable(), &|| kinds.full.close().unwrap());
    closing(&kinds.full_blocks.writable(), &|| kinds.full_blocks.close().unwrap());
    closing(&kinds.ring.readable(), &|| kinds.ring.close().unwrap());
    closing(&kinds.full_ring.writable(1), &|| kinds.full_ring.close().unwrap());
    // What overwrites always has room, and what never fits is for the push to say.
    let options = QueueOptions::new(1).when_full(mpshm::WhenFull::Overwrite);
    let queue = Queue::<u64>::with_options(&options).unwrap();
    queue.push(1).unwrap();
    let options = RingOptions::new(1).when_full(mpshm::WhenFull::Overwrite);
    let ring = Ring::<u64>::with_options(&options).unwrap();
    ring.producer().push(1).unwrap();
    let small = Ring::<u64>::new(2).unwrap();
    let items: [&dyn Waitable; 3] = [&queue.writable(), &ring.writable(1), &small.writable(3)];
    assert!(select(&items, Duration::ZERO).unwrap().is_all());
}
