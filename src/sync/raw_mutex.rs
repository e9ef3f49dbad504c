//! The lock word: a futex mutex that names its owner, so that its owner's death has a name too.
//!
//! # Overview
//! One CAS locks, one exchange unlocks; only who finds the word taken spins, asks whether the owner
//! still lives, and sleeps. The word names the owner's participant slot and its generation, so it is
//! never mistaken for somebody who took the slot later, and no repair has to come by first.
//!
//! # Layout
//! | bits of `word` | what |
//! |---|---|
//! | 0 | WAITERS: somebody may be asleep |
//! | 1 | INCONSISTENT: the owner before this one died and nobody has said that the data are sound |
//! | 2 | LOST: an inconsistent lock was unlocked; nobody gets it again |
//! | 3 | READER: the owner only passes through: its death leaves nothing in doubt (`readers.rs`) |
//! | 4–15 | the owner's slot |
//! | 16–63 | the owner's generation (48 bits, never 0); 0 = unlocked |
//!
//! Unlocked and INCONSISTENT is the state in which somebody who was told of a death, and has nothing to say about
//! the data, left the lock: the next owner is told as well.
//!
//! Sleepers wait on the half with bits 0 to 31. `threads_mark` and `thread` tell the owner's threads apart:
//! they are written by the owner alone, after it locked and before it unlocks.
//!
//! | bits of `depth` | what |
//! |---|---|
//! | 0–31 | how often the owner has locked beyond the first time |
//! | 63 | RECURSIVE: the owner may lock again; set before anybody else sees the lock |
//!
//! # Invariants
//! - I1. The word changes from unlocked to owned, or from a dead owner to a new one, only by CAS.
//! - I2. WAITERS is set before a sleep; who was asleep locks with WAITERS set, for it cannot know
//!   whether others sleep.
//! - I3. `threads_mark` is this process's and `thread` this thread only while this thread holds the lock: the
//!   owner writes `thread`, then `threads_mark`, and clears `threads_mark` before it unlocks. What a dead owner
//!   left there bears its own mark.
//! - I4. The count in `depth` is the owner's, and 0 in an unlocked lock. Who takes over from a dead owner makes it 0
//!   before it signs (I3), and so before it can lock again.
//!
//! # Ordering edges
//! - E1. Locking is Acquire and unlocking Release: what was done under the lock is seen by the next
//!   owner. Taking over from a dead owner is Acquire of whatever it had made visible.
//! - E2. `threads_mark` is stored with Release after `thread`, and loaded with Acquire before it.
//!
//! # Crash states
//! | killed | leaves | who repairs |
//! |---|---|---|
//! | owner, before the exchange | a word that names the dead | the next locker at once, a sleeper after its slice: `OwnerDead` |
//! | owner, after the exchange, before the wake | an open lock and sleepers | a sleeper after its slice |
//! | woken sleeper, before its CAS | the same | the same |
//! | who took over | INCONSISTENT with another dead owner | the next one: `OwnerDead` again |
//! | owner, having locked several times | its count in `depth` | who takes over (I4) |
//!
//! # Progress
//! Blocking by nature: a stopped owner keeps the lock. `try_lock` never waits.
//!
//! # Source
//! Drepper's third mutex ("Futexes are tricky") and std's futex mutex; owner and takeover ours.

use crate::atomic::{AtomicU64, Ordering};
use crate::error::{Error, ErrorKind};
use crate::layout::offset::Shared;
use crate::os::clock::Deadline;
use crate::os::futex::{self, Woken};
use crate::segment::participant::Me;
use crate::sync::lock_error::LockError;
use crate::wait::cancel;
use crate::wait::eventcount::SLICE;

const WAITERS: u64 = 1;
const INCONSISTENT: u64 = 2;
const LOST: u64 = 4;
const READER: u64 = 8;
const FLAGS: u64 = 15;
const UNLOCKED: u64 = 0;
const RECURSIVE: u64 = 1 << 63;
const DEPTH: u64 = u32::MAX as u64;
/// How often a thread can hold a recursive lock.
pub(crate) const DEPTH_MAX: u64 = 65_535;
/// Looks at a taken lock before sleeping, each time after twice as long a pause: who looks too often takes the line away from
/// the owner, who needs it to unlock.
const LOOKS: u32 = 8;
/// How often a word is tried to be changed while others keep changing it.
const TRIES: u32 = 1000;

/// The lock as it lies in a segment.
#[repr(C, align(16))]
pub(crate) struct RawMutex {
    /// See the module's layout.
    word: AtomicU64,
    /// The owner's mark once more, once `thread` is its thread; 0 = none.
    threads_mark: AtomicU64,
    /// Which of the owner's threads.
    thread: AtomicU64,
    /// See the module's layout. The count: by the owner alone.
    depth: AtomicU64,
}
// SAFETY: atomics only.
unsafe impl Shared for RawMutex {}

/// Who locks: a participant's mark in the owner bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark(u64);

impl From<Me> for Mark {
    fn from(me: Me) -> Self {
        Self(me.generation << 16 | u64::from(me.slot) << 4)
    }
}

fn owner(word: u64) -> Mark {
    Mark(word & !FLAGS)
}

impl Mark {
    /// As one who only passes through, and changes nothing that the lock guards.
    pub(crate) fn of_a_reader(self) -> Self {
        Self(self.0 | READER)
    }

    /// As it stands in a word, whose lowest four bits are something else.
    pub(crate) fn word(self) -> u64 {
        owner(self.0).0
    }

    /// The mark in such a word.
    pub(crate) fn of_word(word: u64) -> Self {
        owner(word)
    }

    pub(crate) fn slot(self) -> u32 {
        (self.0 >> 4 & 0xfff) as u32
    }

    pub(crate) fn generation(self) -> u64 {
        self.0 >> 16
    }
}

/// How hard to look for a proof that the owner is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// Not at all: the word says enough.
    None,
    /// One system call.
    Some,
    /// A whole slice has passed: every proof there is.
    Much,
}

/// What a look at the word shows who wants to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peek {
    /// Nobody has it, or one who passes through.
    Open,
    /// The same, and an owner died.
    OpenInDoubt,
    Taken,
    /// This thread has it.
    Mine,
    Lost,
}

/// How a lock was got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Locked {
    Sound,
    /// The owner before died.
    OwnerDead,
}

/// A number that no other thread of this process has; the same in a forked child's first thread,
/// which is told apart by its mark.
fn this_thread() -> u64 {
    #[cfg(loom)]
    return loom_thread();
    #[cfg(not(loom))]
    crate::os::cpu::thread()
}

#[cfg(loom)]
fn loom_thread() -> u64 {
    // Loom's threads are coroutines; their ids tell them apart.
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    loom::thread::current().id().hash(&mut hasher);
    hasher.finish() | 1
}

impl RawMutex {
    #[cfg(all(test, loom))]
    pub(crate) fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
            threads_mark: AtomicU64::new(0),
            thread: AtomicU64::new(0),
            depth: AtomicU64::new(0),
        }
    }

    /// Lets the owner lock again. Before anybody else sees the lock.
    pub(crate) fn make_recursive(&self) {
        self.depth.store(RECURSIVE, Ordering::Relaxed);
    }

    pub(crate) fn is_recursive(&self) -> bool {
        self.depth.load(Ordering::Relaxed) & RECURSIVE != 0
    }

    /// The owner locks once more, if the lock is one of those.
    fn deepen(&self, seen: u64) -> Result<Locked, LockError<()>> {
        let depth = self.depth.load(Ordering::Relaxed);
        if depth & RECURSIVE == 0 {
            return Err(LockError::Deadlock);
        }
        if depth & DEPTH >= DEPTH_MAX - 1 {
            return Err(LockError::Failed(Error::new(
                ErrorKind::Limit,
                format!("this thread holds the lock {DEPTH_MAX} times already"),
            )));
        }
        self.depth.store(depth + 1, Ordering::Relaxed);
        // Told again as long as nobody has said that the data are sound.
        Ok(if seen & INCONSISTENT == 0 { Locked::Sound } else { Locked::OwnerDead })
    }

    /// I3: says which thread has locked.
    #[inline(always)]
    fn sign(&self, me: Mark) {
        // Mostly it is the thread that had the lock last: a look costs less than a store, which unlocking would wait for.
        let thread = this_thread();
        self.thread.store(thread, Ordering::Relaxed);
        self.threads_mark.store(owner(me.0).0, Ordering::Release); // E2: pairs with is_signed
    }

    /// I3: whether this thread has locked.
    fn is_signed(&self, me: Mark) -> bool {
        // E2: the thread read next is the one of this mark, or a later one's; this thread's own is neither
        // unless it holds the lock.
        self.threads_mark.load(Ordering::Acquire) == owner(me.0).0
            && self.thread.load(Ordering::Relaxed) == this_thread()
    }

    /// Locks if that takes no waiting. `is_over` proves that an owner is dead, if need be at any price.
    #[inline]
    pub(crate) fn try_lock(
        &self,
        me: Mark,
        is_over: impl Fn(u32, u64, Doubt) -> bool,
    ) -> Result<Locked, LockError<()>> {
        if self.lock_at_once(me) {
            return Ok(Locked::Sound);
        }
        self.try_lock_taken(me, 0, Doubt::Some, &is_over)
    }

    /// A look at a word that is not simply unlocked; in doubt, the owner has to prove itself.
    #[cold]
    fn try_lock_taken(
        &self,
        me: Mark,
        waiters: u64,
        doubt: Doubt,
        is_over: &impl Fn(u32, u64, Doubt) -> bool,
    ) -> Result<Locked, LockError<()>> {
        let me_alone = owner(me.0);
        for _ in 0..TRIES {
            let seen = self.word.load(Ordering::Relaxed);
            if seen & LOST != 0 {
                return Err(LockError::NotRecoverable);
            }
            let owner = owner(seen);
            let (taken, locked) = if owner.0 == UNLOCKED && seen & INCONSISTENT != 0 {
                (me.0 | INCONSISTENT | waiters, Locked::OwnerDead)
            } else if owner.0 == UNLOCKED {
                (me.0 | waiters, Locked::Sound)
            } else if owner == me_alone {
                if self.is_signed(me) {
                    return self.deepen(seen);
                }
                return Err(LockError::Busy);
            } else if doubt != Doubt::None && is_over(owner.slot(), owner.generation(), doubt) {
                let waiters = waiters | seen & WAITERS;
                if seen & READER != 0 && seen & INCONSISTENT == 0 {
                    (me.0 | waiters, Locked::Sound)
                } else {
                    (me.0 | waiters | INCONSISTENT, Locked::OwnerDead)
                }
            } else {
                return Err(LockError::Busy);
            };
            // E1: pairs with `unlock`, or with what the dead owner did last.
            if self.word.compare_exchange(seen, taken, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                if locked == Locked::OwnerDead {
                    self.forget_depth();
                }
                self.sign(me);
                return Ok(locked);
            }
        }
        Err(LockError::Busy) // others were faster every time
    }

    /// Locks what is simply unlocked.
    #[inline(always)]
    pub(crate) fn lock_at_once(&self, me: Mark) -> bool {
        // E1: pairs with `unlock`.
        let locked = self
            .word
            .compare_exchange(UNLOCKED, me.0, Ordering::Acquire, Ordering::Relaxed)
            .is_ok();
        if locked {
            self.sign(me);
        }
        locked
    }

    /// Locks, waiting until `deadline`.
    #[inline]
    pub(crate) fn lock(
        &self,
        me: Mark,
        deadline: Deadline,
        is_over: impl Fn(u32, u64, Doubt) -> bool,
    ) -> Result<Locked, LockError<()>> {
        if self.lock_at_once(me) {
            return Ok(Locked::Sound);
        }
        self.lock_taken(me, deadline, is_over)
    }

    #[cold]
    fn lock_taken(
        &self,
        me: Mark,
        deadline: Deadline,
        is_over: impl Fn(u32, u64, Doubt) -> bool,
    ) -> Result<Locked, LockError<()>> {
        let looks = if cfg!(loom) { 0 } else { LOOKS };
        for look in 0..looks {
            match self.try_lock_taken(me, 0, Doubt::None, &is_over) {
                Err(LockError::Busy) => (0..1 << look).for_each(|_| std::hint::spin_loop()),
                settled => return settled,
            }
        }
        let mut waiters = 0;
        let mut doubt = Doubt::Some;
        loop {
            match self.try_lock_taken(me, waiters, doubt, &is_over) {
                Err(LockError::Busy) => {}
                settled => return settled,
            }
            if deadline.has_passed() {
                if waiters != 0 {
                    self.hand_on();
                }
                return Err(LockError::TimedOut);
            }
            let seen = self.word.load(Ordering::Relaxed);
            if owner(seen).0 == UNLOCKED {
                continue;
            }
            // I2
            if seen & WAITERS == 0
                && self
                    .word
                    .compare_exchange(seen, seen | WAITERS, Ordering::Relaxed, Ordering::Relaxed)
                    .is_err()
            {
                continue;
            }
            waiters = WAITERS;
            let asleep = futex::wait(
                self.half(),
                (seen | WAITERS) as u32,
                deadline.at_most(SLICE),
                cancel::current(),
            );
            doubt = if asleep == Woken::TimedOut { Doubt::Much } else { Doubt::None };
            if asleep == Woken::Cancelled {
                self.hand_on();
                return Err(LockError::Interrupted);
            }
        }
    }

    /// A sleeper that gives up passes on what a wake-up may have told it alone: that others sleep.
    fn hand_on(&self) {
        let mut seen = self.word.load(Ordering::Relaxed);
        for _ in 0..TRIES {
            if owner(seen).0 == UNLOCKED || seen & WAITERS != 0 {
                break;
            }
            let told = seen | WAITERS;
            match self.word.compare_exchange(seen, told, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
        if owner(seen).0 == UNLOCKED {
            futex::wake(self.half(), 1);
        }
    }

    /// Says that the data are sound again. Only the owner's bit is touched.
    pub(crate) fn mark_consistent(&self) {
        self.word.fetch_and(!INCONSISTENT, Ordering::Relaxed);
    }

    /// Whether this thread, of the participant `me`, holds the lock.
    pub(crate) fn is_mine(&self, me: Mark) -> bool {
        owner(self.word.load(Ordering::Relaxed)) == me && self.is_signed(me)
    }

    /// A look at the word, for who wants to read. SeqCst: see `readers.rs`.
    #[inline]
    pub(crate) fn peek(&self, me: Mark) -> Peek {
        match self.word.load(Ordering::SeqCst) {
            UNLOCKED => Peek::Open,
            seen => self.judge(seen, me),
        }
    }

    #[cold]
    fn judge(&self, seen: u64, me: Mark) -> Peek {
        if seen & LOST != 0 {
            Peek::Lost
        } else if owner(seen).0 == UNLOCKED || seen & READER != 0 {
            if seen & INCONSISTENT == 0 { Peek::Open } else { Peek::OpenInDoubt }
        } else if owner(seen) == me && self.is_signed(me) {
            Peek::Mine
        } else {
            Peek::Taken
        }
    }

    /// Unlocks what this thread holds, once; an inconsistent lock is lost with the last time.
    #[inline(always)]
    pub(crate) fn unlock(&self) {
        let depth = self.depth.load(Ordering::Relaxed);
        if depth & DEPTH != 0 {
            self.depth.store(depth - 1, Ordering::Relaxed);
            return;
        }
        self.let_go(LOST);
    }

    /// Unlocks what this thread holds once, and hands on what it was told: an inconsistent lock stays so.
    pub(crate) fn hand_on_doubt(&self) {
        self.let_go(INCONSISTENT);
    }

    /// Makes it a lock that is held once; what to [`restore`](Self::restore) later. By the owner.
    pub(crate) fn take_depth(&self) -> u64 {
        let depth = self.depth.load(Ordering::Relaxed);
        self.depth.store(depth & RECURSIVE, Ordering::Relaxed);
        depth & DEPTH
    }

    /// Makes the lock, held once, held as deep as it was. By the owner.
    pub(crate) fn restore(&self, depth: u64) {
        let now = self.depth.load(Ordering::Relaxed);
        self.depth.store(now & RECURSIVE | depth, Ordering::Relaxed);
    }

    /// Unlocks; an inconsistent lock is then as `doubted` says.
    #[inline]
    fn let_go(&self, doubted: u64) {
        self.threads_mark.store(0, Ordering::Relaxed); // I3
        let seen = self.word.load(Ordering::Relaxed);
        if seen & (LOST | INCONSISTENT) != 0 {
            return self.let_go_doubtful(seen, doubted);
        }
        if self.word.swap(UNLOCKED, Ordering::Release) & WAITERS != 0 {
            self.wake(1); // E1: pairs with the CAS of the next owner
        }
    }

    #[cold]
    fn let_go_doubtful(&self, seen: u64, doubted: u64) {
        if seen & LOST != 0 {
            return; // while this thread waited for a condition; some guard of it does not know
        }
        // E1, as above.
        if self.word.swap(doubted, Ordering::Release) & WAITERS != 0 {
            self.wake(if doubted == LOST { u32::MAX } else { 1 });
        }
    }

    /// I4
    #[cold]
    fn forget_depth(&self) {
        let depth = self.depth.load(Ordering::Relaxed);
        self.depth.store(depth & RECURSIVE, Ordering::Relaxed);
    }

    #[cold]
    fn wake(&self, count: u32) {
        futex::wake(self.half(), count);
    }

    /// The half of the word that sleepers wait on: bits 0 to 31.
    #[cfg(not(loom))]
    fn half(&self) -> &crate::atomic::AtomicU32 {
        let halves = std::ptr::from_ref(&self.word).cast::<crate::atomic::AtomicU32>();
        // SAFETY: the word is two aligned 32-bit halves. Only the kernel reads through this reference.
        unsafe { &*halves.add(usize::from(cfg!(target_endian = "big"))) }
    }

    /// Loom has no halves of words: its futex takes the whole one.
    #[cfg(loom)]
    fn half(&self) -> futex::Half<'_> {
        futex::Half(&self.word)
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::atomic::{Vanish, explore};
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;

    struct Counter {
        lock: RawMutex,
        value: UnsafeCell<u32>,
    }
    // SAFETY: the value is touched only under the lock, which loom checks.
    unsafe impl Sync for Counter {}

    fn mark(slot: u32) -> Mark {
        Mark::from(Me { slot, generation: 1 })
    }

    fn add(counter: &Counter, slot: u32) -> Locked {
        let locked = counter
            .lock
            .lock(mark(slot), Deadline::FOREVER, |slot, _, _| slot == 9)
            .expect("a lock that nobody loses");
        counter.value.with_mut(|value| {
            // SAFETY: under the lock.
            unsafe { *value += 1 }
        });
        if locked == Locked::OwnerDead {
            counter.lock.mark_consistent();
        }
        counter.lock.unlock();
        locked
    }

    #[test]
    fn two_lockers_exclude_each_other_and_both_get_in() {
        explore(3, || {
            let counter = Arc::new(Counter { lock: RawMutex::new(), value: UnsafeCell::new(0) });
            let other = Arc::clone(&counter);
            let thread = loom::thread::spawn(move || add(&other, 2));
            add(&counter, 1);
            thread.join().unwrap();
            // SAFETY: the other thread has ended.
            assert_eq!(counter.value.with(|value| unsafe { *value }), 2);
        });
    }

    #[test]
    fn a_wake_up_is_passed_on_from_sleeper_to_sleeper() {
        explore(2, || {
            let counter = Arc::new(Counter { lock: RawMutex::new(), value: UnsafeCell::new(0) });
            let threads: Vec<_> = (2..4)
                .map(|slot| {
                    let other = Arc::clone(&counter);
                    loom::thread::spawn(move || add(&other, slot))
                })
                .collect();
            add(&counter, 1);
            for thread in threads {
                thread.join().unwrap();
            }
        });
    }

    #[test]
    fn of_two_who_find_a_dead_owner_exactly_one_is_told() {
        explore(3, || {
            let counter = Arc::new(Counter { lock: RawMutex::new(), value: UnsafeCell::new(0) });
            counter.lock.word.store(mark(9).0, Ordering::Relaxed);
            let other = Arc::clone(&counter);
            let thread = loom::thread::spawn(move || add(&other, 2));
            let mine = add(&counter, 1);
            let theirs = thread.join().unwrap();
            assert_eq!([mine, theirs].iter().filter(|&&got| got == Locked::OwnerDead).count(), 1);
        });
    }

    /// Participant 9 dies while it locks, adds and unlocks: the next one gets the lock, and knows if the data are in doubt.
    #[test]
    fn the_lock_of_the_dead_is_taken_whenever_they_die() {
        Vanish::at_every_step(2, |vanish| {
            let counter = Arc::new(Counter { lock: RawMutex::new(), value: UnsafeCell::new(0) });
            let (other, third, vanish) =
                (Arc::clone(&counter), Arc::clone(&counter), vanish.clone());
            let nobody = |_: u32, _: u64, _: Doubt| false;
            let dying = loom::thread::spawn(move || {
                vanish.at(|| {
                    other.lock.try_lock(mark(9), nobody).ok()?;
                    other.value.with_mut(|value| {
                        // SAFETY: under the lock.
                        unsafe { *value += 1 }
                    });
                    other.lock.unlock();
                    Some(())
                })
            });
            let living = loom::thread::spawn(move || {
                third.lock.try_lock(mark(2), nobody).ok()?;
                third.value.with_mut(|value| {
                    // SAFETY: under the lock.
                    unsafe { *value += 1 }
                });
                third.lock.unlock();
                Some(())
            });
            let done = dying.join().unwrap();
            let added = living.join().unwrap();
            let locked = add(&counter, 1);
            assert!(locked != Locked::OwnerDead || done.is_none(), "in doubt, and nobody died");
            // SAFETY: the other threads have ended.
            let value = counter.value.with(|value| unsafe { *value });
            let sure = 1 + u32::from(done.flatten().is_some()) + u32::from(added.is_some());
            assert!((sure..=sure + u32::from(done.is_none())).contains(&value), "{value}");
        });
    }

    /// Who was told of a death and has nothing to say hands that on: nobody gets the lock without a warning, and it is
    /// not lost.
    #[test]
    fn doubt_is_handed_on_until_somebody_swears() {
        explore(3, || {
            let lock = Arc::new(RawMutex::new());
            lock.word.store(mark(9).0, Ordering::Relaxed);
            let other = Arc::clone(&lock);
            let take = |lock: &RawMutex, slot| {
                let got = lock.lock(mark(slot), Deadline::FOREVER, |slot, _, _| slot == 9);
                got.expect("a lock that nobody loses")
            };
            let passes = loom::thread::spawn(move || {
                let locked = take(&other, 2);
                other.hand_on_doubt();
                locked
            });
            let mine = take(&lock, 1);
            lock.mark_consistent();
            lock.unlock();
            let theirs = passes.join().unwrap();
            // Whoever passes does not take the warning away.
            assert_eq!(mine, Locked::OwnerDead);
            assert_eq!(take(&lock, 1), Locked::Sound);
            assert!([Locked::Sound, Locked::OwnerDead].contains(&theirs));
        });
    }

    /// Participant 9 dies while it locks twice and unlocks twice: the next owner begins at once, and is rid of the lock
    /// after one unlock.
    #[test]
    fn the_depth_of_the_dead_is_forgotten() {
        Vanish::at_every_step(2, |vanish| {
            let lock = Arc::new(RawMutex::new());
            lock.make_recursive();
            let (other, vanish) = (Arc::clone(&lock), vanish.clone());
            let nobody = |_: u32, _: u64, _: Doubt| false;
            let dying = loom::thread::spawn(move || {
                vanish.at(|| {
                    other.try_lock(mark(9), nobody).ok()?;
                    assert!(other.try_lock(mark(9), nobody).is_ok(), "its own lock");
                    other.unlock();
                    other.unlock();
                    Some(())
                })
            });
            if lock.try_lock(mark(2), nobody).is_ok() {
                lock.unlock();
            }
            dying.join().unwrap();
            let got = lock.lock(mark(1), Deadline::FOREVER, |slot, _, _| slot == 9);
            if got.expect("a dead owner's lock") == Locked::OwnerDead {
                lock.mark_consistent();
            }
            lock.unlock();
            assert_eq!(lock.word.load(Ordering::Relaxed), UNLOCKED);
        });
    }
}
