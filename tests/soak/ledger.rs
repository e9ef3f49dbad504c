//! The truth about what everybody did, in memory that is not the library's and that deaths leave alone.
//!
//! Each worker has a line of its own, and each consumer an append-only log: one store adds an event, so
//! wherever its writer is killed, the log says exactly how far it came. Who reaps the dead adds the
//! event that it died.

use std::sync::atomic::{AtomicU64, Ordering};

/// Producers, or consumers, at most: the last one of each is the long-lived process itself.
pub const WORKERS: usize = 8;
/// Events of one consumer in one round.
const EVENTS: usize = 1 << 22;
const LINE: usize = 16;
const WORDS: usize = LINE * (1 + 2 * WORKERS) + WORKERS * EVENTS;

/// An item: who pushed it, and the how manieth of that producer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    pub producer: usize,
    pub number: u64,
}

/// What a consumer's log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Has got it, and releases it at once: killed now, it may be consumed or may come again.
    Got(Item, bool),
    /// Has got it, and keeps it in hand: killed now, it must come again.
    Holds(Item, bool),
    /// Begins to release what it held: killed now, it may be consumed or may come again.
    LetsGo,
    /// Its release has returned: consumed, it never comes again.
    Finished,
    /// Begins to give it back: it must come again, killed now or not.
    GivesBack,
    GaveBack,
    /// Was killed; whether it was inside a call that takes an item.
    Died {
        inside: bool,
    },
}

impl Event {
    fn encode(self) -> u64 {
        let with = |kind: u64, item: Item, marked: bool| {
            kind | u64::from(marked) << 3 | (item.producer as u64) << 4 | item.number << 8
        };
        match self {
            Self::Got(item, marked) => with(1, item, marked),
            Self::Holds(item, marked) => with(2, item, marked),
            Self::LetsGo => 3,
            Self::Finished => 4,
            Self::GivesBack => 5,
            Self::GaveBack => 6,
            Self::Died { inside } => 7 | u64::from(inside) << 3,
        }
    }

    fn decode(word: u64) -> Option<Self> {
        let marked = word >> 3 & 1 == 1;
        let item = Item { producer: (word >> 4 & 15) as usize, number: word >> 8 };
        Some(match word & 7 {
            0 => return None,
            1 => Self::Got(item, marked),
            2 => Self::Holds(item, marked),
            3 => Self::LetsGo,
            4 => Self::Finished,
            5 => Self::GivesBack,
            6 => Self::GaveBack,
            _ => Self::Died { inside: marked },
        })
    }
}

/// The shared memory of a run.
pub struct Ledger(*mut AtomicU64);

impl Ledger {
    pub fn new() -> Self {
        // SAFETY: a fresh shared mapping, zeroed; pages come as they are touched.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                8 * WORDS,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        assert_ne!(start, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
        Self(start.cast())
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < WORDS);
        // SAFETY: inside the mapping, which lives as long as this.
        unsafe { &*self.0.add(index) }
    }

    /// Set when the round comes to its end.
    pub fn stop(&self) -> &AtomicU64 {
        self.word(0)
    }

    /// The newest item of a producer that is known to have been taken.
    pub fn taken(&self, producer: usize) -> &AtomicU64 {
        self.word(4 + producer)
    }

    fn producer(&self, index: usize) -> usize {
        LINE * (1 + index)
    }

    /// The last number that a producer was about to push.
    pub fn announced(&self, producer: usize) -> &AtomicU64 {
        self.word(self.producer(producer))
    }

    /// The last number whose push has returned.
    pub fn pushed(&self, producer: usize) -> &AtomicU64 {
        self.word(self.producer(producer) + 1)
    }

    /// The first number of a producer that is not of this round.
    pub fn limit(&self, producer: usize) -> &AtomicU64 {
        self.word(self.producer(producer) + 2)
    }

    fn consumer(&self, index: usize) -> usize {
        LINE * (1 + WORKERS + index)
    }

    /// 1 while a consumer is in a call that takes an item, until its log names the item.
    pub fn inside(&self, consumer: usize) -> &AtomicU64 {
        self.word(self.consumer(consumer))
    }

    /// How often a consumer has taken something.
    pub fn takes(&self, consumer: usize) -> &AtomicU64 {
        self.word(self.consumer(consumer) + 1)
    }

    fn log(&self, consumer: usize, index: usize) -> &AtomicU64 {
        assert!(index < EVENTS, "a consumer's log is full");
        self.word(LINE * (1 + 2 * WORKERS) + consumer * EVENTS + index)
    }

    /// Where a consumer's log goes on.
    pub fn end_of_log(&self, consumer: usize) -> usize {
        let (mut low, mut high) = (0, EVENTS);
        while low < high {
            let middle = (low + high) / 2;
            match self.log(consumer, middle).load(Ordering::Acquire) {
                0 => high = middle,
                _ => low = middle + 1,
            }
        }
        low
    }

    pub fn append(&self, consumer: usize, end: &mut usize, event: Event) {
        self.log(consumer, *end).store(event.encode(), Ordering::Release);
        *end += 1;
    }

    /// The events of a consumer's log.
    pub fn events(&self, consumer: usize) -> impl Iterator<Item = Event> + '_ {
        (0..EVENTS)
            .map_while(move |at| Event::decode(self.log(consumer, at).load(Ordering::Acquire)))
    }

    /// Empties the logs.
    pub fn clear_logs(&self) {
        for consumer in 0..WORKERS {
            for at in 0..self.end_of_log(consumer) {
                self.log(consumer, at).store(0, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        // SAFETY: our own mapping.
        unsafe { libc::munmap(self.0.cast(), 8 * WORDS) };
    }
}
