//! The permits of a semaphore: counted, or each with its owner's name.
//!
//! # Overview
//! Counted permits are a number; a claim and a release of any many of them are one compare-and-swap. Owned permits are
//! a word each that names its owner, so that those of the dead are found and freed; a claim is one compare-and-swap a permit.
//!
//! # Layout
//! | field | written by | read by |
//! |---|---|---|
//! | `owned`, `bound` | the maker | whoever opens it, once |
//! | `free` | counted: who takes or gives | the same |
//! | `sleepers` | [`EventCount`]; its flag: somebody has waited for more than one permit | |
//! | words, from byte 64 on | owned: who takes, gives or repairs | the same |
//!
//! | bits of a word | what |
//! |---|---|
//! | 0 | TAKEN; all but the changes are 0 else |
//! | 1–10 | the owner's slot |
//! | 11–39 | the owner's generation (low 29 bits) |
//! | 40–63 | how often the word was changed (wraps) |
//!
//! The low bits of a generation come again after 2^29 joins of one slot, three hours of nothing else at the least: a permit of the
//! dead is then free only when the slot's new holder has left. The count of changes wraps after 2^24; that is harmless
//! but to a call that was stopped in its middle for exactly so many changes of one and the same word, which may miss a free permit then.
//!
//! # Invariants
//! - I1. A word becomes somebody's only from free, and free again only by its owner, or by who has a proof that the
//!   owner is dead and changes the very word that it read.
//! - I2. Every change of a word moves its count of changes on: two looks at all words that find the same counts
//!   found what was true of all of them at once, at any moment between the two. So "none is free" was true.
//! - I3. What one process has taken is one pool: which of its words a release frees does not matter.
//!
//! # Ordering edges
//! - E1. A release is a Release and a claim an Acquire of the same word: what was done with a permit is seen by who has it next.
//! - E2. The event count's E1: what frees is a SeqCst read-modify-write.
//!
//! # Crash states
//! | killed | leaves | who repairs |
//! |---|---|---|
//! | in a claim, of counted permits | the permits taken, for good, or free | – |
//! | in a claim, of owned permits | words that name the dead | who finds too few free; a sleeper at each slice; `recover` |
//! | in a release, before the wake | free permits and sleepers | each sleeper after its slice |
//! | in a repair | some words freed | the next repair |
//! | a sleeper that was woken | free permits and sleepers | each sleeper after its slice |
//!
//! # Progress
//! Counted: lock-free. Owned: lock-free for one permit at a time. Who wants several takes one after the other, and gives
//! them back if they do not suffice: several of those may disturb each other, and others meanwhile find them taken.
//! Retries are bounded, whatever bytes a peer writes.
//!
//! # Source
//! Ours; the two equal looks are the double collect of Afek et al. 1993.

use crate::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::layout::offset::Shared;
use crate::segment::participant::Me;
use crate::wait::eventcount::EventCount;

/// Where the words of owned permits begin.
pub(crate) const WORDS: u64 = 64;
/// The most permits that can have owners.
pub(crate) const OWNED_MOST: u32 = 1 << 16;
/// How often a call begins anew because others were faster.
const TRIES: u32 = 1000;
/// The same for a release, which has to come to its end: no storm of honest peers wins so often in a row.
const TRIES_TO_GIVE: u32 = 1 << 16;

/// The head of a semaphore as it lies in a segment.
#[repr(C)]
pub(crate) struct Head {
    /// 0: counted. 1: owned.
    pub owned: AtomicU32,
    pub sleepers: EventCount,
    /// The most permits there can be.
    pub bound: AtomicU64,
    /// Counted: how many are free.
    pub free: AtomicU64,
}
// SAFETY: atomics only.
unsafe impl Shared for Head {}

/// Wakes as many as `count` freed permits can serve. Who waits for more than one cannot be served by one, and would keep the
/// wake-up from others: once there was such a one, all are woken. (A release that is under way when the first of them comes may
/// still wake that one in vain; then the other looks after its slice.)
#[inline]
fn serve(sleepers: &EventCount, count: u32) {
    sleepers.notify_all_if_flagged(count);
}

/// Permits that anybody may give back.
#[derive(Clone, Copy)]
pub(crate) struct Counted<'a> {
    pub free: &'a AtomicU64,
    pub bound: u32,
    pub sleepers: &'a EventCount,
}

/// Why permits were not given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotGiven {
    /// There would be more than the bound; so many are free.
    AboveBound(u64),
    /// This process does not hold so many.
    NotHeld,
    /// Somebody changes the word without a pause.
    Storm,
}

impl Counted<'_> {
    /// Takes `count` permits if so many are free.
    #[inline]
    pub(crate) fn take(self, count: u32) -> bool {
        let mut seen = self.free.load(Ordering::Relaxed);
        for _ in 0..TRIES {
            let Some(left) = seen.checked_sub(count.into()) else { return false };
            // E1: pairs with `give`.
            match self.free.compare_exchange_weak(seen, left, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false // others were faster every time
    }

    #[inline]
    pub(crate) fn give(self, count: u32) -> Result<(), NotGiven> {
        let mut seen = self.free.load(Ordering::Relaxed);
        for _ in 0..TRIES_TO_GIVE {
            let more = seen.saturating_add(count.into());
            if more > self.bound.into() {
                return Err(NotGiven::AboveBound(seen));
            }
            // E1: pairs with `take`. SeqCst: E2.
            match self.free.compare_exchange_weak(seen, more, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => {
                    serve(self.sleepers, count);
                    return Ok(());
                }
                Err(now) => seen = now,
            }
        }
        Err(NotGiven::Storm)
    }

    /// How many are free now.
    pub(crate) fn value(self) -> u64 {
        self.free.load(Ordering::Relaxed).min(self.bound.into())
    }
}

const TAKEN: u64 = 1;
const SLOT_SHIFT: u32 = 1;
const SLOT_MASK: u64 = 0x3ff;
const GENERATION_SHIFT: u32 = 11;
pub(crate) const GENERATION_MASK: u64 = (1 << 29) - 1;
const CHANGES_SHIFT: u32 = 40;

/// A permit's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word(u64);

impl Word {
    fn is_taken(self) -> bool {
        self.0 & TAKEN != 0
    }

    fn slot(self) -> u32 {
        (self.0 >> SLOT_SHIFT & SLOT_MASK) as u32
    }

    fn generation(self) -> u64 {
        self.0 >> GENERATION_SHIFT & GENERATION_MASK
    }

    fn is_of(self, me: Me) -> bool {
        self.is_taken()
            && self.slot() == me.slot
            && self.generation() == me.generation & GENERATION_MASK
    }

    fn changes(self) -> u64 {
        self.0 >> CHANGES_SHIFT
    }

    /// I2: the next tenure, of nobody.
    fn freed(self) -> Self {
        Self(self.changes().wrapping_add(1) << CHANGES_SHIFT)
    }

    /// I2: the next tenure.
    fn taken_by(self, me: Me) -> Self {
        Self(
            self.freed().0
                | (me.generation & GENERATION_MASK) << GENERATION_SHIFT
                | u64::from(me.slot) << SLOT_SHIFT
                | TAKEN,
        )
    }
}

/// Permits that name their owners: on a mapping, or on the heap for the models.
#[derive(Clone, Copy)]
pub(crate) struct Owned<'a> {
    pub words: &'a [AtomicU64],
    pub sleepers: &'a EventCount,
}

impl Owned<'_> {
    /// Takes `count` permits for this process if so many are free: all or none. False was true at some moment of the call, as
    /// far as one permit goes, or when nobody else was just about to take several.
    #[inline]
    pub(crate) fn take(self, me: Me, count: u32) -> bool {
        for _ in 0..TRIES {
            // Who wants several does not take what will not suffice.
            if (count == 1 || self.look().0 >= count) && self.gather(me, count) {
                return true;
            }
            let first = self.look();
            if first.0 < count && first == self.look() {
                return false; // I2
            }
        }
        false // others were faster every time
    }

    /// One look at all words: how many are free, and the sum of their counts of changes.
    fn look(self) -> (u32, u64) {
        self.words.iter().fold((0, 0), |(free, changes), word| {
            let word = Word(word.load(Ordering::Acquire));
            (free + u32::from(!word.is_taken()), changes + word.changes())
        })
    }

    #[inline]
    fn gather(self, me: Me, count: u32) -> bool {
        let mut got = 0;
        // Each process begins elsewhere, so that they do not meet at every word.
        let (behind, from) = self.words.split_at(me.slot as usize % self.words.len());
        for word in from.iter().chain(behind) {
            let seen = Word(word.load(Ordering::Relaxed));
            if seen.is_taken() {
                continue;
            }
            // E1: pairs with `free`. I1.
            let mine = seen.taken_by(me).0;
            if word.compare_exchange(seen.0, mine, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                got += 1;
                if got == count {
                    return true;
                }
            }
        }
        if got > 0 {
            let _ = self.give(me, got);
        }
        false
    }

    /// I1: a word that was read, of its owner or of a dead one → free.
    #[inline]
    fn free(word: &AtomicU64, seen: Word) -> bool {
        // E1: pairs with `gather`. SeqCst: E2.
        word.compare_exchange(seen.0, seen.freed().0, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Gives `count` of this process's permits back, or none if it holds fewer.
    #[inline]
    pub(crate) fn give(self, me: Me, count: u32) -> Result<(), NotGiven> {
        let mine = |word: &&AtomicU64| Word(word.load(Ordering::Relaxed)).is_of(me);
        if self.words.iter().filter(mine).take(count as usize).count() < count as usize {
            return Err(NotGiven::NotHeld);
        }
        let mut given = 0;
        let (behind, from) = self.words.split_at(me.slot as usize % self.words.len());
        for word in from.iter().chain(behind) {
            let seen = Word(word.load(Ordering::Relaxed));
            // Fails only when another thread of this process gave the same one back.
            if given < count && seen.is_of(me) && Self::free(word, seen) {
                given += 1;
            }
        }
        serve(self.sleepers, given);
        if given == count { Ok(()) } else { Err(NotGiven::NotHeld) }
    }

    /// Frees the permits of owners, named by slot and low bits of their generation, of whose death `is_dead` has a proof. Says how
    /// many.
    pub(crate) fn repair(self, mut is_dead: impl FnMut(u32, u64) -> bool) -> u32 {
        let mut freed = 0;
        for word in self.words {
            // Acquire: the proof of death is looked for after the word that names the dead was read.
            let seen = Word(word.load(Ordering::Acquire));
            if seen.is_taken() && is_dead(seen.slot(), seen.generation()) && Self::free(word, seen)
            {
                freed += 1;
            }
        }
        if freed > 0 {
            serve(self.sleepers, freed);
        }
        freed
    }

    /// How many are free.
    pub(crate) fn value(self) -> u32 {
        let mut seen = self.look();
        for _ in 0..TRIES {
            let again = self.look();
            if again == seen {
                break; // I2
            }
            seen = again;
        }
        seen.0
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::atomic::{Vanish, explore};
    use crate::os::clock::Deadline;
    use crate::wait::patience::look_or_wait;
    use loom::sync::Arc;

    struct Heap {
        free: AtomicU64,
        words: Vec<AtomicU64>,
        sleepers: EventCount,
    }

    fn heap(free: u64, words: usize) -> Arc<Heap> {
        Arc::new(Heap {
            free: AtomicU64::new(free),
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            sleepers: EventCount::new(),
        })
    }

    impl Heap {
        fn counted(&self) -> Counted<'_> {
            Counted { free: &self.free, bound: 3, sleepers: &self.sleepers }
        }

        fn owned(&self) -> Owned<'_> {
            Owned { words: &self.words, sleepers: &self.sleepers }
        }

        fn wait(&self, take: impl Fn() -> bool) {
            look_or_wait(&self.sleepers, Deadline::FOREVER, |_| take().then_some(())).unwrap();
        }
    }

    fn me(slot: u32) -> Me {
        Me { slot, generation: 1 }
    }

    const DEAD: u32 = 9;

    #[test]
    fn two_who_want_one_counted_permit_have_it_in_turn() {
        explore(3, || {
            let heap = heap(1, 0);
            let other = Arc::clone(&heap);
            let thread = loom::thread::spawn(move || {
                other.wait(|| other.counted().take(1));
                other.counted().give(1).unwrap();
            });
            heap.wait(|| heap.counted().take(1));
            assert_eq!(heap.counted().value(), 0);
            heap.counted().give(1).unwrap();
            thread.join().unwrap();
            assert_eq!(heap.counted().value(), 1);
        });
    }

    #[test]
    fn a_release_wakes_as_many_as_it_serves() {
        explore(2, || {
            let heap = heap(0, 0);
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let other = Arc::clone(&heap);
                    loom::thread::spawn(move || other.wait(|| other.counted().take(1)))
                })
                .collect();
            heap.counted().give(2).unwrap();
            for thread in threads {
                thread.join().unwrap();
            }
            assert_eq!(heap.counted().value(), 0);
        });
    }

    /// The one is not kept from its wake-up by the other, which cannot be served.
    #[test]
    fn who_waits_for_two_keeps_no_wake_up_from_who_waits_for_one() {
        explore(2, || {
            let heap = heap(0, 0);
            let (one, two) = (Arc::clone(&heap), Arc::clone(&heap));
            heap.sleepers.raise_flag();
            let for_two = loom::thread::spawn(move || {
                two.wait(|| two.counted().take(2));
            });
            let for_one = loom::thread::spawn(move || one.wait(|| one.counted().take(1)));
            heap.counted().give(1).unwrap();
            for_one.join().unwrap();
            heap.counted().give(2).unwrap();
            for_two.join().unwrap();
        });
    }

    #[test]
    fn counted_permits_of_who_dies_are_taken_or_free_never_more() {
        Vanish::at_every_step(3, |vanish| {
            let heap = heap(2, 0);
            let (other, vanish) = (Arc::clone(&heap), vanish.clone());
            let dying = loom::thread::spawn(move || {
                vanish.at(|| other.counted().take(1) && other.counted().give(1).is_ok())
            });
            let took = heap.counted().take(1);
            let done = dying.join().unwrap();
            let left = heap.counted().value() + u64::from(took);
            assert!(left == 2 || done.is_none() && left == 1, "{left}");
            assert!(took, "there were two");
        });
    }

    #[test]
    fn two_who_want_one_owned_permit_have_it_in_turn() {
        explore(3, || {
            let heap = heap(0, 1);
            let other = Arc::clone(&heap);
            let thread = loom::thread::spawn(move || {
                other.wait(|| other.owned().take(me(2), 1));
                other.owned().give(me(2), 1).unwrap();
            });
            heap.wait(|| heap.owned().take(me(1), 1));
            assert!(!heap.owned().take(me(1), 1));
            assert_eq!(heap.owned().give(me(2), 1), Err(NotGiven::NotHeld));
            heap.owned().give(me(1), 1).unwrap();
            thread.join().unwrap();
            assert_eq!(heap.owned().value(), 1);
        });
    }

    /// One of two permits is free at every moment, now this one and now that one: it is found.
    #[test]
    fn a_permit_is_found_however_the_other_moves() {
        explore(4, || {
            let heap = heap(0, 2);
            let other = Arc::clone(&heap);
            assert!(heap.owned().take(me(4), 1));
            let thread = loom::thread::spawn(move || other.owned().take(me(2), 1));
            for slot in [4, 5, 6] {
                heap.owned().give(me(slot), 1).unwrap();
                // Each begins at another word.
                if !heap.owned().take(me(slot + 1), 1) {
                    break;
                }
            }
            assert!(thread.join().unwrap(), "one was free all the time");
        });
    }

    #[test]
    fn of_two_who_want_all_permits_both_get_them() {
        explore(2, || {
            let heap = heap(0, 2);
            let other = Arc::clone(&heap);
            heap.sleepers.raise_flag();
            assert!(heap.owned().take(me(1), 2));
            let thread = loom::thread::spawn(move || {
                other.wait(|| other.owned().take(me(2), 2));
                other.owned().give(me(2), 2).unwrap();
            });
            heap.owned().give(me(1), 2).unwrap();
            thread.join().unwrap();
            assert_eq!(heap.owned().value(), 2);
        });
    }

    /// Whenever it dies, the living get every permit, once.
    #[test]
    fn owned_permits_of_who_dies_are_free_again() {
        Vanish::at_every_step(3, |vanish| {
            let heap = heap(0, 2);
            let (other, vanish) = (Arc::clone(&heap), vanish.clone());
            let dying = loom::thread::spawn(move || {
                vanish.at(|| {
                    other.owned().take(me(DEAD), 2) && other.owned().give(me(DEAD), 2).is_ok()
                })
            });
            let took = heap.owned().take(me(1), 1);
            let done = dying.join().unwrap();
            if done.is_none() {
                heap.owned().repair(|slot, _| slot == DEAD);
            }
            assert_eq!(heap.owned().value(), 2 - u32::from(took));
            assert!(heap.owned().take(me(2), 2 - u32::from(took)));
        });
    }

    /// The first of two repairers dies; the words that it did not come to are the other's, and nothing of the living is freed.
    #[test]
    fn a_repair_that_dies_is_finished_by_another() {
        Vanish::at_every_step(3, |vanish| {
            let heap = heap(0, 3);
            let (other, vanish) = (Arc::clone(&heap), vanish.clone());
            assert!(heap.owned().take(me(DEAD), 2) && heap.owned().take(me(1), 1));
            let dying = loom::thread::spawn(move || {
                vanish.at(|| other.owned().repair(|slot, _| slot == DEAD))
            });
            let freed = heap.owned().repair(|slot, _| slot == DEAD);
            let theirs = dying.join().unwrap();
            assert!(theirs.is_none_or(|theirs| theirs + freed == 2), "{theirs:?} and {freed}");
            assert_eq!(heap.owned().value(), 2);
            heap.owned().give(me(1), 1).unwrap();
        });
    }
}
