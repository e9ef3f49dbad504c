//! Something that is done once, by one of many processes.
//!
//! # Overview
//! A word says how far it is, and a [lock](crate::sync::raw_mutex) that survives its owner lets one in at a time. Who is in
//! writes down that it begins, does it, and writes down that it is done: so whoever comes in and finds it begun knows
//! that the one before died, or panicked, in the middle.
//!
//! # Layout
//! | bytes | what |
//! |---|---|
//! | 0 to 7 | `state`: 0 = new, 1 = begun, 2 = done; anything else is taken for begun |
//! | 64 to 95 | the lock |
//!
//! # Invariants
//! - I1. `state` is written only under the lock, and never again once it is 2.
//!
//! # Ordering edges
//! - E1. What was done is seen by whoever finds it done: the store of 2 is Release, the look Acquire.
//!
//! # Crash states
//! | killed | leaves | who repairs |
//! |---|---|---|
//! | before 1 is written | a lock that names the dead | the next one, as if nobody had been there |
//! | between 1 and 2 | the same, and 1 | the next one runs it, and is told |
//! | after 2 | a lock that names the dead | who waits for it; others do not look at the lock |
//!
//! # Progress
//! Once it is done, a call is one load. Before, it blocks: a stopped runner keeps the others until their deadlines.
//!
//! # Source
//! Ours, on the mutex.

use crate::atomic::{AtomicU64, Ordering};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::plain::TypeTag;
use crate::os::clock::Deadline;
use crate::segment::Segment;
use crate::segment::directory::ObjectKind;
use crate::segment::place::{Object, Place, Plan};
use crate::sync::LockError;
use crate::sync::mutex::{self, RawGuard};
use crate::sync::raw_mutex::RawMutex;

const NEW: u64 = 0;
const BEGUN: u64 = 1;
const DONE: u64 = 2;

/// Where the lock lies.
const LOCK: u64 = 64;
const LENGTH: u64 = 128;

/// What came before a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Nothing: it is the first one.
    First,
    /// A runner that died, or panicked, in the middle: what it did half is to be made whole.
    AfterFailure,
}

/// Runs `run` if nobody has, under the lock; says whether it did. `is_ours` tells after the run whether this process still
/// holds the lock, and is no child that it forked.
fn settle(
    state: &AtomicU64,
    run: impl FnOnce(Attempt) -> bool,
    is_ours: impl FnOnce() -> bool,
) -> Outcome {
    let attempt = match state.load(Ordering::Relaxed) {
        DONE => return Outcome::WasDone,
        NEW => Attempt::First,
        _ => Attempt::AfterFailure,
    };
    state.store(BEGUN, Ordering::Relaxed); // ordered by the lock: who reads it has that
    if !run(attempt) {
        return Outcome::Failed;
    }
    if !is_ours() {
        return Outcome::Forked;
    }
    state.store(DONE, Ordering::Release); // E1: pairs with `is_done`
    Outcome::Ran
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    WasDone,
    Ran,
    Failed,
    Forked,
}

/// Something that one process does and the others wait for, once for all of them.
///
/// **What a dead peer does.** If who runs it is killed or panics, the next one that comes or waits runs it, and is told:
/// [`Attempt::AfterFailure`]; who is asleep learns of a death within 80 ms. **A stopped runner** keeps the others until their
/// deadlines. **Forks**: shared with children; one that is forked in the middle of a run has not done it.
///
/// ```standalone_crate
/// use mpshm::{Array, Once, Process};
/// let (once, table) = (Once::new()?, Array::<u64>::new(3)?);
/// let children: Vec<_> = (0..4)
///     .map(|_| {
///         Process::spawn(|| {
///             once.call(|_| table.copy_from_slice(0, &[1, 4, 9]).unwrap()).unwrap();
///             i32::from(table.to_vec() != [1, 4, 9])
///         })
///     })
///     .collect::<Result<_, _>>()?;
/// for child in &children {
///     assert_eq!(child.join()?.code(), Some(0));
/// }
/// assert!(once.is_done());
/// # Ok::<(), mpshm::Error>(())
/// ```
pub struct Once {
    state: &'static AtomicU64,
    lock: &'static RawMutex,
    object: Object,
}

/// What an object's items are, for the directory: nothing.
const ITEM: TypeTag = TypeTag::bytes(0, 1);

impl Once {
    /// An anonymous one, which forked children inherit.
    ///
    /// # Errors
    /// `NoSpace`.
    pub fn new() -> Result<Self> {
        Self::create(Place::ANONYMOUS)
    }

    /// Makes one at `place`: a name, or [`segment.at(name)`](Segment::at).
    ///
    /// # Errors
    /// `Exists`; `Invalid`; `NoSpace`; `Limit`.
    pub fn create<'a>(place: impl Into<Place<'a>>) -> Result<Self> {
        let plan = Plan { kind: ObjectKind::Once, item: ITEM, length: Self::size_for() };
        Self::over(place.into().create(plan, |_| Ok(()))?)
    }

    /// Opens the one at `place`.
    ///
    /// # Errors
    /// `NotFound`; `Type`; `Version`, `Corrupt`, `Permission`.
    pub fn open<'a>(place: impl Into<Place<'a>>) -> Result<Self> {
        Self::over(place.into().open(ObjectKind::Once, ITEM)?)
    }

    /// Opens the one at `place`, or makes it.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and [`create`](Self::create) but for `NotFound` and `Exists`.
    pub fn open_or_create<'a>(place: impl Into<Place<'a>>) -> Result<Self> {
        place.into().open_or_create(Self::open, Self::create)
    }

    /// Bytes that one needs in a segment.
    #[must_use]
    pub fn size_for() -> u64 {
        LENGTH
    }

    fn over(object: Object) -> Result<Self> {
        let region = object.region;
        Ok(Self { state: region.one(0)?, lock: region.one(LOCK)?, object })
    }

    /// The segment that it lies in.
    #[must_use]
    pub fn segment(&self) -> &Segment {
        &self.object.segment
    }

    /// Whether it is done.
    #[must_use]
    #[inline]
    pub fn is_done(&self) -> bool {
        self.state.load(Ordering::Acquire) == DONE // E1: pairs with `settle`
    }

    /// Runs `run`, unless that is done; who runs it meanwhile is waited for. When this returns it is done. True if this call
    /// did it.
    ///
    /// # Errors
    /// `Deadlock` in the middle of a run of this thread's own; `Interrupted`; `Limit` when this process finds no participant's
    /// slot; `Forked` in a child that `run` forked and that returned from it.
    #[inline]
    pub fn call(&self, run: impl FnOnce(Attempt)) -> Result<bool> {
        self.call_timeout(Deadline::FOREVER, run)
    }

    /// The same, but who runs it is waited for until `deadline` only (a [`Deadline`], a `Duration` or an `Instant`).
    ///
    /// # Errors
    /// As [`call`](Self::call), and `TimedOut`.
    #[inline]
    pub fn call_timeout(
        &self,
        deadline: impl Into<Deadline>,
        run: impl FnOnce(Attempt),
    ) -> Result<bool> {
        self.try_call_timeout(deadline, |attempt| {
            run(attempt);
            true
        })
    }

    /// The same for what may fail: false of `run` says that it is not done, and that the next one is to be told so.
    ///
    /// # Errors
    /// As [`call_timeout`](Self::call_timeout), and `TaskFailed` when `run` said false.
    #[inline]
    pub fn try_call_timeout(
        &self,
        deadline: impl Into<Deadline>,
        run: impl FnOnce(Attempt) -> bool,
    ) -> Result<bool> {
        if self.is_done() {
            return Ok(false);
        }
        self.call_undone(deadline.into(), run)
    }

    #[cold]
    fn call_undone(&self, deadline: Deadline, run: impl FnOnce(Attempt) -> bool) -> Result<bool> {
        let guard = self.enter(deadline)?;
        match settle(self.state, run, || guard.is_here()) {
            Outcome::WasDone => Ok(false),
            Outcome::Ran => Ok(true),
            Outcome::Failed => {
                Err(Error::new(ErrorKind::TaskFailed, "what was to be done once has failed"))
            }
            Outcome::Forked => Err(Error::new(
                ErrorKind::Forked,
                "a child that was forked in the middle of what is done once: its parent does it",
            )),
        }
    }

    fn enter(&self, deadline: Deadline) -> Result<RawGuard<'_>> {
        match mutex::lock(self.lock, self.segment(), deadline) {
            Ok(guard) => Ok(guard),
            Err(LockError::OwnerDead(guard)) => {
                guard.mark_consistent(); // `state` says how far the dead one came
                Ok(guard)
            }
            Err(LockError::Deadlock) => Err(Error::new(
                ErrorKind::Deadlock,
                "what is done once was called for in the middle of its own run",
            )),
            Err(other) => Err(other.map(drop).into()),
        }
    }
}

impl std::fmt::Debug for Once {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Once").field("is_done", &self.is_done()).finish_non_exhaustive()
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::atomic::{Vanish, explore};
    use crate::segment::participant::Me;
    use crate::sync::raw_mutex::{Locked, Mark};
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;

    struct Shared {
        state: AtomicU64,
        lock: RawMutex,
        data: UnsafeCell<u32>,
    }
    // SAFETY: the data are written in a run and read when it is done; loom checks it.
    unsafe impl Sync for Shared {}
    // SAFETY: as above.
    unsafe impl Send for Shared {}

    const DEAD: u32 = 9;

    fn shared() -> Arc<Shared> {
        let (state, lock) = (AtomicU64::new(NEW), RawMutex::new());
        Arc::new(Shared { state, lock, data: UnsafeCell::new(0) })
    }

    fn mark(slot: u32) -> Mark {
        Mark::from(Me { slot, generation: 1 })
    }

    impl Shared {
        fn call(&self, slot: u32) -> (Outcome, Option<Attempt>) {
            if self.state.load(Ordering::Acquire) == DONE {
                return (Outcome::WasDone, None);
            }
            let is_over = |slot, _, _| slot == DEAD;
            let locked = self.lock.lock(mark(slot), Deadline::FOREVER, is_over);
            if locked.expect("nobody loses it") == Locked::OwnerDead {
                self.lock.mark_consistent();
            }
            self.settle_and_unlock()
        }

        /// As long as nobody is taken for dead, and only if that takes no waiting.
        fn try_call(&self, slot: u32) -> Option<Outcome> {
            self.lock.try_lock(mark(slot), |_, _, _| false).ok()?;
            Some(self.settle_and_unlock().0)
        }

        fn settle_and_unlock(&self) -> (Outcome, Option<Attempt>) {
            let mut told = None;
            let run = |attempt| {
                told = Some(attempt);
                self.data.with_mut(|data| {
                    // SAFETY: see `Shared`.
                    unsafe { *data += 1 }
                });
                true
            };
            let outcome = settle(&self.state, run, || true);
            self.lock.unlock();
            (outcome, told)
        }

        fn read(&self) -> u32 {
            // SAFETY: see `Shared`.
            self.data.with(|data| unsafe { *data })
        }
    }

    #[test]
    fn of_two_one_does_it_and_both_see_what_it_did() {
        explore(3, || {
            let shared = shared();
            let other = Arc::clone(&shared);
            let thread = loom::thread::spawn(move || {
                let (outcome, _) = other.call(2);
                assert_eq!(other.read(), 1);
                outcome
            });
            let (mine, _) = shared.call(1);
            assert_eq!(shared.read(), 1);
            let theirs = thread.join().unwrap();
            let ran = [mine, theirs].iter().filter(|&&outcome| outcome == Outcome::Ran).count();
            assert_eq!(ran, 1);
        });
    }

    /// Whenever its runner dies, the next one does it, and is told if anything can have been done before.
    #[test]
    fn who_dies_in_the_middle_is_followed_by_one_that_is_told() {
        Vanish::at_every_step(2, |vanish| {
            let shared = shared();
            let (other, third, vanish) = (Arc::clone(&shared), Arc::clone(&shared), vanish.clone());
            let dying = loom::thread::spawn(move || vanish.at(|| other.try_call(DEAD)));
            let living = loom::thread::spawn(move || third.try_call(2));
            dying.join().unwrap();
            living.join().unwrap();
            let (outcome, told) = shared.call(1);
            let value = shared.read();
            match (outcome, told) {
                (Outcome::WasDone, None) => assert_eq!(value, 1),
                (Outcome::Ran, Some(Attempt::First)) => assert_eq!(value, 1),
                (Outcome::Ran, Some(Attempt::AfterFailure)) => assert!(value == 1 || value == 2),
                other => panic!("{other:?}"),
            }
        });
    }
}
