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
//! | 4–15 | the owner's slot |
//! | 16–63 | the owner's generation (48 bits, never 0); 0 = unlocked |
//!
//! Sleepers wait on the half with bits 0 to 31. `threads_mark` and `thread` tell the owner's threads apart:
//! they are written by the owner alone, after it locked and before it unlocks.
//!
//! # Invariants
//! - I1. The word changes from unlocked to owned, or from a dead owner to a new one, only by CAS.
//! - I2. WAITERS is set before a sleep; who was asleep locks with WAITERS set, for it cannot know
//!   whether others sleep.
//! - I3. `threads_mark` is this process's and `thread` this thread only while this thread holds the lock: the
//!   owner writes `thread`, then `threads_mark`, and clears `threads_mark` before it unlocks. What a dead owner
//!   left there bears its own mark.
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
use crate::wait::cancel;
use crate::wait::eventcount::SLICE;
use std::fmt;

const WAITERS: u64 = 1;
const INCONSISTENT: u64 = 2;
const LOST: u64 = 4;
const FLAGS: u64 = 15;
const UNLOCKED: u64 = 0;
/// Looks at a taken lock before sleeping.
const SPINS: u32 = 100;
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
    /// Not used.
    reserved: AtomicU64,
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
    fn slot(self) -> u32 {
        (self.0 >> 4 & 0xfff) as u32
    }

    fn generation(self) -> u64 {
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

/// How a lock was got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Locked {
    Sound,
    /// The owner before died.
    OwnerDead,
}

/// Why a lock was not got, or was got with a warning.
///
/// ```standalone_crate
/// use mpshm::{LockError, Mutex, Process};
/// let mutex = Mutex::<u64>::new(1)?;
/// let child = Process::spawn(|| {
///     let _guard = mutex.lock().unwrap();
///     std::process::abort()
/// })?;
/// child.join()?;
/// match mutex.lock() {
///     Err(LockError::OwnerDead(mut guard)) => {
///         guard.set(2); // whatever makes the data whole again
///         guard.mark_consistent();
///     }
///     other => panic!("{other:?}"),
/// }
/// assert_eq!(mutex.lock().unwrap().get(), 2);
/// # Ok::<(), mpshm::Error>(())
/// ```
#[non_exhaustive]
pub enum LockError<G> {
    /// The owner died; the lock is held now, by the guard inside. Make the data whole and call
    /// `mark_consistent`; dropped without that, the lock is lost for everybody.
    OwnerDead(G),
    /// An owner died and the next one did not mark the data as consistent.
    NotRecoverable,
    /// Somebody else holds it, and the call does not wait.
    Busy,
    /// It was not free before the deadline.
    TimedOut,
    /// This thread holds it already.
    Deadlock,
    /// The wait was cancelled.
    Interrupted,
    /// This process cannot take part in the segment: see the error.
    Failed(Error),
}

impl<G> LockError<G> {
    /// What to decide on.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::OwnerDead(_) => ErrorKind::OwnerDead,
            Self::NotRecoverable => ErrorKind::NotRecoverable,
            Self::Busy => ErrorKind::Busy,
            Self::TimedOut => ErrorKind::TimedOut,
            Self::Deadlock => ErrorKind::Deadlock,
            Self::Interrupted => ErrorKind::Interrupted,
            Self::Failed(error) => error.kind(),
        }
    }

    /// The same with another guard.
    pub(crate) fn map<H>(self, change: impl FnOnce(G) -> H) -> LockError<H> {
        match self {
            Self::OwnerDead(guard) => LockError::OwnerDead(change(guard)),
            Self::NotRecoverable => LockError::NotRecoverable,
            Self::Busy => LockError::Busy,
            Self::TimedOut => LockError::TimedOut,
            Self::Deadlock => LockError::Deadlock,
            Self::Interrupted => LockError::Interrupted,
            Self::Failed(error) => LockError::Failed(error),
        }
    }
}

impl<G> fmt::Display for LockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OwnerDead(_) => {
                "the lock's owner died; the lock is held now, its data are in doubt"
            }
            Self::NotRecoverable => {
                "the lock is lost: an owner died and its data were never marked consistent"
            }
            Self::Busy => "the lock is held by somebody else",
            Self::TimedOut => "the lock was not free before the deadline",
            Self::Deadlock => "this thread holds the lock already",
            Self::Interrupted => "the wait for the lock was cancelled",
            Self::Failed(error) => return error.fmt(f),
        })
    }
}

impl<G> fmt::Debug for LockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LockError({}: {self})", self.kind().name())
    }
}

impl<G> std::error::Error for LockError<G> {}

impl<G> From<LockError<G>> for Error {
    fn from(error: LockError<G>) -> Self {
        match error {
            LockError::Failed(error) => error,
            other => Self::new(other.kind(), other.to_string()),
        }
    }
}

/// A number that no other thread of this process has; the same in a forked child's first thread,
/// which is told apart by its mark.
fn this_thread() -> u64 {
    #[cfg(loom)]
    return loom_thread();
    #[cfg(not(loom))]
    {
        thread_local!(static PLACE: u8 = const { 0 });
        PLACE.with(|place| std::ptr::from_ref(place) as u64)
    }
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
            reserved: AtomicU64::new(0),
        }
    }

    /// I3: says which thread has locked.
    #[inline]
    fn sign(&self, me: Mark) {
        self.thread.store(this_thread(), Ordering::Relaxed);
        self.threads_mark.store(me.0, Ordering::Release); // E2: pairs with is_signed
    }

    /// I3: whether this thread has locked.
    fn is_signed(&self, me: Mark) -> bool {
        // E2: the thread read next is the one of this mark, or a later one's; this thread's own is neither
        // unless it holds the lock.
        self.threads_mark.load(Ordering::Acquire) == me.0
            && self.thread.load(Ordering::Relaxed) == this_thread()
    }

    /// Locks if that takes no waiting. `is_over` proves that an owner is dead, if need be at any price.
    #[inline]
    pub(crate) fn try_lock(
        &self,
        me: Mark,
        is_over: impl Fn(u32, u64, Doubt) -> bool,
    ) -> Result<Locked, LockError<()>> {
        // E1: pairs with `unlock`.
        if self.word.compare_exchange(UNLOCKED, me.0, Ordering::Acquire, Ordering::Relaxed).is_ok()
        {
            self.sign(me);
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
        for _ in 0..TRIES {
            let seen = self.word.load(Ordering::Relaxed);
            if seen & LOST != 0 {
                return Err(LockError::NotRecoverable);
            }
            let owner = owner(seen);
            let (taken, locked) = if owner.0 == UNLOCKED {
                (me.0 | waiters, Locked::Sound)
            } else if owner == me {
                if self.is_signed(me) {
                    return Err(LockError::Deadlock);
                }
                return Err(LockError::Busy);
            } else if doubt != Doubt::None && is_over(owner.slot(), owner.generation(), doubt) {
                (me.0 | INCONSISTENT | waiters | seen & WAITERS, Locked::OwnerDead)
            } else {
                return Err(LockError::Busy);
            };
            // E1: pairs with `unlock`, or with what the dead owner did last.
            if self.word.compare_exchange(seen, taken, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                self.sign(me);
                return Ok(locked);
            }
        }
        Err(LockError::Busy) // others were faster every time
    }

    /// Locks, waiting until `deadline`.
    #[inline]
    pub(crate) fn lock(
        &self,
        me: Mark,
        deadline: Deadline,
        is_over: impl Fn(u32, u64, Doubt) -> bool,
    ) -> Result<Locked, LockError<()>> {
        // E1: pairs with `unlock`.
        if self.word.compare_exchange(UNLOCKED, me.0, Ordering::Acquire, Ordering::Relaxed).is_ok()
        {
            self.sign(me);
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
        let spins = if cfg!(loom) { 0 } else { SPINS };
        for _ in 0..spins {
            match self.try_lock_taken(me, 0, Doubt::None, &is_over) {
                Err(LockError::Busy) => std::hint::spin_loop(),
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

    /// Unlocks what this thread holds; an inconsistent lock is lost with that.
    #[inline]
    pub(crate) fn unlock(&self) {
        self.threads_mark.store(0, Ordering::Relaxed); // I3
        let inconsistent = self.word.load(Ordering::Relaxed) & INCONSISTENT != 0;
        let left = if inconsistent { LOST } else { UNLOCKED };
        let seen = self.word.swap(left, Ordering::Release); // E1: pairs with the CAS of the next owner
        if seen & WAITERS != 0 {
            self.wake(if inconsistent { u32::MAX } else { 1 });
        }
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
}
