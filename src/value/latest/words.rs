//! The words of a [`Latest`](super::Latest): which buffer is the newest, who writes which, who reads which.
//!
//! # Overview
//! Several buffers, each as large as the value. A writer takes one that nobody uses, fills it, and makes it the
//! newest with one CAS. A reader *pins* the newest: it says in a word of its own which buffer it is about to read, looks
//! whether that one is still the newest, and reads it in place or copies it. There are more buffers than pins,
//! so a writer finds one without waiting for any reader, whatever the readers do.
//!
//! A reader whose look comes too late looks again, but not without bound: its word tells writers that it is looking, and
//! a writer that saw it before it made its own value the newest pins that value for it.
//!
//! # Layout
//! | word | bits | written by |
//! |---|---|---|
//! | `current` | version: 56, buffer: 8 | writers |
//! | `Buffer::writer` | the mark of who writes it, 0 = nobody | who takes it (CAS from 0), who has it, repair |
//! | `Buffer::version` | the version of its content | its writer, before it is the newest |
//! | `Pin::owner` | the mark of the process whose pin it is, 0 = nobody's | who takes it (CAS), who has it, repair |
//! | `Pin::word` | read: 48, state: 8, buffer: 8 | its owner; writers turn LOOKING into PINNED |
//!
//! `read` numbers the reads through a pin, over all its owners. Versions wrap after 114 years at 20 million a second,
//! reads after 163 days at that rate; a wrap matters only to who was stopped for exactly that long in the middle of one call.
//!
//! # Invariants
//! - I1. Only who has its mark in `writer` writes a buffer or makes it the newest; the mark goes only when the
//!   writer has served the readers that it saw looking.
//! - I2. Who has put its mark on a buffer uses it only if it then is neither the newest nor named by a pin; with the mark
//!   on it, it cannot become the newest, so whoever names it from now on finds that out by its look (E1).
//! - I3. In one read a pin's word goes from LOOKING(…) to PINNED(b) once, and b was the newest at a moment of that read: its
//!   owner has looked, or a writer made b the newest after it had seen the read.
//!
//! # Ordering edges
//! - E1. Reader: name the buffer, then look at `current`. Writer: see that `current` is another one, then look at
//!   the pins. One of the two sees the other: naming, the looks and the change of `current` are SeqCst all. (Loom takes
//!   SeqCst accesses for weaker ones; the models get fences in their place.)
//! - E2. `current` is changed with Release and read with Acquire: the content is there. So is what a writer pinned, for
//!   the change of the pin's word is Release and its owner's look at it Acquire.
//! - E3. A pin lets go with Release and writers look at pins with Acquire: the reads are over.
//!
//! # Crash states
//! | killed | leaves | who repairs |
//! |---|---|---|
//! | writer, before the CAS | a buffer with its mark; the newest is the one before | a writer that finds no buffer: the mark goes |
//! | writer, after the CAS | the new newest, with a mark | the same |
//! | reader | a pin with its mark, which keeps a buffer | a writer that finds no buffer, or a reader that finds no pin |
//!
//! # Progress
//! A read takes at most one look for each writer, twice, and one more. Writing takes as long as there are
//! words; it waits only for other writers, when more of them write at once than the value was made for.
//!
//! # Source
//! Hazard pointers (Michael 2004), with announcements that writers serve, as in Herlihy's universal construction; the
//! marks, and that a served read lies within the call, ours.

use crate::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::layout::offset::Shared;
use crate::wait::eventcount::EventCount;

/// The most pins.
pub(crate) const PINS_MAX: usize = 128;
/// How often a word is tried while others keep changing it; beyond it only hostile bytes get.
const TRIES: u32 = 10_000;

const BUFFER: u64 = 0xff;
const VERSION_SHIFT: u32 = 8;
const STATE: u64 = 0xff00;
const LOOKING: u64 = 1 << 8;
const PINNED: u64 = 2 << 8;
const READ_SHIFT: u32 = 16;

/// The first line.
#[repr(C, align(128))]
pub(crate) struct Head {
    /// The newest value. By writers.
    current: AtomicU64,
    /// Who waits for a newer one.
    pub news: EventCount,
    /// Writers that wait for a buffer.
    pub spare: EventCount,
    /// The shape. By who makes the value; read when it is opened, and checked.
    pub readers: AtomicU32,
    pub writers: AtomicU32,
    pub size: AtomicU64,
}
// SAFETY: atomics only.
unsafe impl Shared for Head {}

/// Who writes a buffer, and what it holds.
#[repr(C)]
pub(crate) struct Buffer {
    pub writer: AtomicU64,
    version: AtomicU64,
}
// SAFETY: atomics only.
unsafe impl Shared for Buffer {}

/// What one reader is reading.
#[repr(C, align(128))]
pub(crate) struct Pin {
    pub owner: AtomicU64,
    word: AtomicU64,
}
// SAFETY: atomics only.
unsafe impl Shared for Pin {}

/// The words of one value, borrowed.
#[derive(Clone, Copy)]
pub(crate) struct Words<'a> {
    pub head: &'a Head,
    pub buffers: &'a [Buffer],
    pub pins: &'a [Pin],
}

/// A buffer that is ours to read, or to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub buffer: usize,
    pub version: u64,
}

/// The words make no sense: a peer wrote something else into them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Nonsense;

/// Stands before the second of two accesses of E1.
#[inline]
fn in_order() {
    #[cfg(loom)]
    crate::atomic::fence(Ordering::SeqCst); // loom takes SeqCst accesses for weaker ones
}

fn buffer(word: u64) -> usize {
    (word & BUFFER) as usize
}

/// The read that a pin's word belongs to.
fn read(word: u64) -> u64 {
    word >> READ_SHIFT
}

fn is_looking(word: u64) -> bool {
    word & STATE == LOOKING
}

/// Whether the word keeps `wanted` from being written.
fn names(word: u64, wanted: usize) -> bool {
    word & STATE != 0 && buffer(word) == wanted
}

impl Words<'_> {
    /// The first value, in buffer 0, before anybody else sees it.
    pub(crate) fn begin(self) {
        self.buffers[0].version.store(1, Ordering::Relaxed);
        self.head.current.store(1 << VERSION_SHIFT, Ordering::Release); // E2
    }

    /// The version of the newest value.
    #[inline]
    pub(crate) fn version(self) -> u64 {
        self.head.current.load(Ordering::Acquire) >> VERSION_SHIFT // E2
    }

    /// Pins the newest value for the owner of `pin`, which has nothing pinned there.
    #[inline]
    pub(crate) fn pin(self, pin: usize) -> Result<Held, Nonsense> {
        let word = &self.pins.get(pin).ok_or(Nonsense)?.word;
        let id = read(word.load(Ordering::Relaxed)).wrapping_add(1) << READ_SHIFT;
        let current = self.head.current.load(Ordering::Acquire); // E2
        let looking = id | LOOKING | current & BUFFER;
        word.swap(looking, Ordering::SeqCst); // SeqCst: E1, pairs with `take_one`
        in_order();
        if self.head.current.load(Ordering::SeqCst) == current {
            return self.settle(word, looking);
        }
        self.pin_again(word, looking)
    }

    /// I3: the look was in time. A writer may have served the read meanwhile; then that is what is pinned.
    #[inline]
    fn settle(self, word: &AtomicU64, looking: u64) -> Result<Held, Nonsense> {
        let pinned = looking & !STATE | PINNED;
        match word.compare_exchange(looking, pinned, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => self.held(pinned),
            Err(served) => self.held(served), // E2
        }
    }

    fn held(self, pinned: u64) -> Result<Held, Nonsense> {
        let index = buffer(pinned);
        let buffer = self.buffers.get(index).ok_or(Nonsense)?;
        if pinned & STATE != PINNED {
            return Err(Nonsense);
        }
        Ok(Held { buffer: index, version: buffer.version.load(Ordering::Relaxed) })
    }

    /// The newest value changed while it was looked at.
    #[cold]
    fn pin_again(self, word: &AtomicU64, mut looking: u64) -> Result<Held, Nonsense> {
        for _ in 0..TRIES {
            let current = self.head.current.load(Ordering::Acquire); // E2
            let next = looking & !BUFFER | current & BUFFER;
            // SeqCst: E1, pairs with `take_one`
            if let Err(served) =
                word.compare_exchange(looking, next, Ordering::SeqCst, Ordering::Acquire)
            {
                return self.held(served); // E2
            }
            in_order();
            if self.head.current.load(Ordering::SeqCst) == current {
                return self.settle(word, next);
            }
            looking = next;
        }
        Err(Nonsense)
    }

    /// Lets go of what is pinned.
    #[inline]
    pub(crate) fn unpin(self, pin: usize) {
        if let Some(pin) = self.pins.get(pin) {
            let word = pin.word.load(Ordering::Relaxed);
            pin.word.store(read(word) << READ_SHIFT, Ordering::Release); // E3: pairs with `is_pinned`
        }
    }

    fn is_pinned(self, buffer: usize) -> bool {
        self.pins.iter().any(|pin| names(pin.word.load(Ordering::SeqCst), buffer)) // E1, E3
    }

    /// Takes a pin for the reader with this mark: one that nobody has, or whose owner `is_over`.
    pub(crate) fn take_pin(self, mark: u64, is_over: impl Fn(u64) -> bool) -> Option<usize> {
        self.pins.iter().position(|pin| {
            let owner = pin.owner.load(Ordering::Relaxed);
            let free = owner == 0 || is_over(owner);
            // E3: pairs with `drop_pin`.
            free && pin
                .owner
                .compare_exchange(owner, mark, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
        })
    }

    /// Gives a pin back, with nothing pinned there.
    pub(crate) fn drop_pin(self, pin: usize) {
        self.unpin(pin);
        self.pins[pin].owner.store(0, Ordering::Release); // E3: pairs with `take_pin`
    }

    /// Takes away the marks of everybody who `is_over`.
    pub(crate) fn repair(self, is_over: impl Fn(u64) -> bool) {
        for Buffer { writer, .. } in self.buffers {
            let mark = writer.load(Ordering::Relaxed);
            if mark != 0 && is_over(mark) {
                // I1: the dead one writes nothing any more, and serves nobody.
                let _ = writer.compare_exchange(mark, 0, Ordering::AcqRel, Ordering::Relaxed);
            }
        }
        for Pin { owner, word } in self.pins {
            let mark = owner.load(Ordering::Acquire);
            let seen = word.load(Ordering::Acquire);
            if mark == 0 || owner.load(Ordering::Acquire) != mark || !is_over(mark) {
                continue;
            }
            // The word is the dead one's, for whoever takes the pin changes the owner before.
            let free = read(seen) << READ_SHIFT;
            if seen & STATE == 0
                || word.compare_exchange(seen, free, Ordering::AcqRel, Ordering::Relaxed).is_ok()
            {
                let _ = owner.compare_exchange(mark, 0, Ordering::AcqRel, Ordering::Relaxed);
            }
        }
    }

    /// Takes a buffer to write, for the writer with this mark; `None` when there is none.
    pub(crate) fn take(self, mark: u64) -> Option<usize> {
        let newest = buffer(self.head.current.load(Ordering::Relaxed));
        let count = self.buffers.len();
        (1..count).map(|step| (newest + step) % count).find(|&index| self.take_one(index, mark))
    }

    /// I2
    fn take_one(self, index: usize, mark: u64) -> bool {
        let writer = &self.buffers[index].writer;
        // Who takes what it cannot use, and gives it back, wakes others for nothing.
        if writer.load(Ordering::Relaxed) != 0
            || self.is_pinned(index)
            || writer.compare_exchange(0, mark, Ordering::Acquire, Ordering::Relaxed).is_err()
        {
            return false;
        }
        // SeqCst: E1, pairs with `pin`. The mark is there already: the CAS before is Acquire.
        let newest = buffer(self.head.current.load(Ordering::SeqCst));
        in_order();
        if newest == index || self.is_pinned(index) {
            self.give_back(index);
            return false;
        }
        true
    }

    /// Gives back a buffer that was taken and is not to be written any more.
    pub(crate) fn give_back(self, index: usize) {
        // I1: pairs with `take_one`. SeqCst: before the look at `spare`.
        self.buffers[index].writer.swap(0, Ordering::SeqCst);
        self.head.spare.notify(1);
    }

    /// Makes the buffer, which was taken and is written, the newest, and gives it back. Returns its version.
    pub(crate) fn publish(self, index: usize) -> Result<u64, Nonsense> {
        let mut looking = [0; PINS_MAX];
        for (seen, pin) in looking.iter_mut().zip(self.pins) {
            *seen = pin.word.load(Ordering::Relaxed);
        }
        let version = self.make_newest(index);
        if version.is_ok() {
            for (&seen, pin) in looking.iter().zip(self.pins) {
                if is_looking(seen) {
                    serve(&pin.word, seen, index);
                }
            }
            self.head.news.notify(u32::MAX);
        }
        self.give_back(index);
        version
    }

    fn make_newest(self, index: usize) -> Result<u64, Nonsense> {
        let buffer = &self.buffers[index];
        let mut seen = self.head.current.load(Ordering::Relaxed);
        for _ in 0..TRIES {
            let version = (seen >> VERSION_SHIFT).wrapping_add(1);
            buffer.version.store(version, Ordering::Relaxed);
            let next = version << VERSION_SHIFT | index as u64;
            // E2: pairs with `pin`. SeqCst: E1, and before the look at `news`.
            match self.head.current.compare_exchange(
                seen,
                next,
                Ordering::SeqCst,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(version),
                Err(now) => seen = now,
            }
        }
        Err(Nonsense)
    }
}

/// I3: pins buffer `index` for the read that was seen looking before `index` became the newest, if it still looks.
#[cold]
fn serve(word: &AtomicU64, mut seen: u64, index: usize) {
    let id = read(seen);
    for _ in 0..TRIES {
        let pinned = id << READ_SHIFT | PINNED | index as u64;
        // E2: pairs with `settle` and `pin_again`.
        match word.compare_exchange(seen, pinned, Ordering::AcqRel, Ordering::Relaxed) {
            Err(now) if is_looking(now) && read(now) == id => seen = now,
            _ => return,
        }
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::atomic::{Vanish, explore};
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;

    /// A value of which loom sees every access: its version.
    struct World {
        head: Head,
        buffers: Vec<Buffer>,
        pins: Vec<Pin>,
        content: Vec<UnsafeCell<u64>>,
    }
    // SAFETY: a buffer is touched only by who holds it, which loom checks.
    unsafe impl Sync for World {}

    impl World {
        fn new(readers: usize, writers: usize) -> Arc<Self> {
            let count = readers + writers + 1;
            let world = Self {
                head: Head {
                    current: AtomicU64::new(0),
                    news: EventCount::new(),
                    spare: EventCount::new(),
                    readers: AtomicU32::new(0),
                    writers: AtomicU32::new(0),
                    size: AtomicU64::new(0),
                },
                buffers: (0..count)
                    .map(|_| Buffer { writer: AtomicU64::new(0), version: AtomicU64::new(0) })
                    .collect(),
                pins: (0..readers)
                    .map(|_| Pin { owner: AtomicU64::new(0), word: AtomicU64::new(0) })
                    .collect(),
                content: (0..count).map(|_| UnsafeCell::new(1)).collect(),
            };
            world.words().begin();
            Arc::new(world)
        }

        fn words(&self) -> Words<'_> {
            Words { head: &self.head, buffers: &self.buffers, pins: &self.pins }
        }

        /// Writes the version that the value will have if nobody else writes; any writer's number otherwise.
        fn write(&self, mark: u64, number: u64) -> u64 {
            self.try_write(mark, number).expect("there is a buffer for each writer")
        }

        fn try_write(&self, mark: u64, number: u64) -> Option<u64> {
            let index = self.words().take(mark)?;
            // SAFETY: the buffer is ours.
            self.content[index].with_mut(|content| unsafe { *content = number });
            self.words().publish(index).ok()
        }

        fn read(&self, pin: usize) -> (Held, u64) {
            let held = self.words().pin(pin).expect("the words make sense");
            // SAFETY: the buffer is pinned.
            let number = self.content[held.buffer].with(|content| unsafe { *content });
            self.words().unpin(pin);
            (held, number)
        }
    }

    #[test]
    fn a_reader_sees_whole_values_in_their_order() {
        explore(3, || {
            let world = World::new(1, 1);
            let other = Arc::clone(&world);
            let reader = loom::thread::spawn(move || {
                let known = other.words().version();
                let (first, number) = other.read(0);
                assert_eq!(first.version, number);
                assert!(first.version >= known);
                let (second, number) = other.read(0);
                assert_eq!(second.version, number);
                assert!(second.version >= first.version);
            });
            for number in 2..5 {
                assert_eq!(world.write(1, number), number);
            }
            reader.join().unwrap();
        });
    }

    #[test]
    fn of_two_writers_at_once_each_value_is_whole() {
        explore(2, || {
            let world = World::new(1, 2);
            let threads = [1, 2].map(|writer| {
                let other = Arc::clone(&world);
                loom::thread::spawn(move || other.write(writer, 10 * writer))
            });
            let (first, number) = world.read(0);
            assert!([1, 10, 20].contains(&number), "{number}");
            let (second, _) = world.read(0);
            assert!(second.version >= first.version);
            let versions = threads.map(|thread| thread.join().unwrap());
            assert!(versions == [2, 3] || versions == [3, 2], "{versions:?}");
            let (last, number) = world.read(0);
            assert_eq!(last.version, 3);
            assert_eq!(number, 10 * (1 + u64::from(versions[1] == 3)));
        });
    }

    /// A read began to look when the value in buffer 0 was the newest. One writer is slow to serve it; another, which
    /// had not seen it, goes on, and takes every buffer that it can have.
    #[test]
    fn a_read_that_is_served_is_whole() {
        explore(3, || {
            let world = World::new(1, 1);
            for writer in [1, 2] {
                assert_eq!(world.words().take(writer), Some(writer as usize));
            }
            let looking = 1 << READ_SHIFT | LOOKING;
            world.pins[0].word.store(looking, Ordering::SeqCst);
            let [slow, other] = [(); 2].map(|()| Arc::clone(&world));
            let serving = loom::thread::spawn(move || slow.words().publish(1));
            let reader = loom::thread::spawn(move || {
                let held = other.words().pin_again(&other.pins[0].word, looking).unwrap();
                // SAFETY: the buffer is pinned.
                other.content[held.buffer].with(|content| unsafe { *content });
            });
            world.words().make_newest(2).unwrap();
            world.words().give_back(2);
            world.try_write(2, 20);
            reader.join().unwrap();
            serving.join().unwrap().unwrap();
        });
    }

    /// A writer that saw one read looking is late; its value is no answer to the read after that.
    #[test]
    fn only_the_read_that_was_seen_is_served() {
        loom::model(|| {
            let world = World::new(1, 2);
            let word = &world.pins[0].word;
            word.store(1 << READ_SHIFT | LOOKING, Ordering::Relaxed);
            let seen = word.load(Ordering::Relaxed);
            serve(word, seen, 2);
            assert_eq!(word.load(Ordering::Relaxed), 1 << READ_SHIFT | PINNED | 2);
            for later in [1 << READ_SHIFT | PINNED | 1, 1 << READ_SHIFT, 2 << READ_SHIFT | LOOKING]
            {
                word.store(later, Ordering::Relaxed);
                serve(word, seen, 2);
                assert_eq!(word.load(Ordering::Relaxed), later);
            }
            word.store(1 << READ_SHIFT | LOOKING | 1, Ordering::Relaxed);
            serve(word, seen, 2);
            assert_eq!(word.load(Ordering::Relaxed), 1 << READ_SHIFT | PINNED | 2);
        });
    }

    /// Writer 9 dies at each of its steps; the next writer takes back its buffer, and the reader has gone on.
    #[test]
    fn a_dead_writer_leaves_a_whole_value() {
        Vanish::at_every_step(2, |vanish| {
            let world = World::new(1, 1);
            let (other, third, vanish) = (Arc::clone(&world), Arc::clone(&world), vanish.clone());
            let dying = loom::thread::spawn(move || vanish.at(|| other.write(9, 2)));
            let reader = loom::thread::spawn(move || {
                let (held, number) = third.read(0);
                assert_eq!(held.version, number);
            });
            let done = dying.join().unwrap();
            reader.join().unwrap();
            let newest = world.words().version();
            assert!(newest == 2 || newest == 1 && done.is_none());
            for next in newest + 1..newest + 3 {
                if world.words().take(1).is_none_or(|index| {
                    world.words().give_back(index);
                    false
                }) {
                    world.words().repair(|mark| mark == 9);
                }
                assert_eq!(world.write(1, next), next);
                let (held, number) = world.read(0);
                assert_eq!((held.version, number), (next, next));
            }
        });
    }

    /// The reader with the only pin dies at each of its steps; the next one takes the pin, and writers find buffers.
    #[test]
    fn a_dead_reader_keeps_nothing() {
        Vanish::at_every_step(2, |vanish| {
            let world = World::new(1, 1);
            let pin = world.words().take_pin(9, |_| false);
            assert_eq!(pin, Some(0));
            let (other, vanish) = (Arc::clone(&world), vanish.clone());
            let dying = loom::thread::spawn(move || {
                vanish.at(|| {
                    let held = other.words().pin(0).expect("the words make sense");
                    // SAFETY: the buffer is pinned.
                    let number = other.content[held.buffer].with(|content| unsafe { *content });
                    assert_eq!(held.version, number);
                })
            });
            world.write(1, 2);
            world.write(1, 3);
            dying.join().unwrap();
            world.words().repair(|mark| mark == 9);
            assert!(world.pins.iter().all(|pin| pin.word.load(Ordering::Relaxed) & STATE == 0));
            assert_eq!(world.words().take_pin(8, |mark| mark == 9), Some(0));
            assert_eq!(world.write(1, 4), 4);
            let (held, number) = world.read(0);
            assert_eq!((held.version, number), (4, 4));
        });
    }
}
