//! A scalar in shared memory.
//!
//! Every operation is one atomic instruction of the processor (floats, 128 bits and `fetch_nand`: a short CAS loop), so a
//! process killed at any instruction has done all of it or nothing, and nobody ever waits for anybody.
//! Loads are Acquire, stores Release, and what does both is both: a value can guard other memory.
//!
//! `value.store(value.load() + 1)` loses updates; use [`fetch_add`](Value::fetch_add),
//! [`update`](Value::update) or the [lock](Value::lock).
//!
//! # Layout
//! | bytes | what |
//! |---|---|
//! | 0 to 15 | the value |
//! | 16 to 19 | who waits ([`EventCount`]); its flag, raised by the maker: the value is waitable |
//! | 64 to 95 | the lock |
//!
//! # Waiting
//! Only who changes a *waitable* value looks for sleepers; others keep the bare instruction. Which of the two a value is,
//! is asked once, when it is opened, and kept in the handle, so the question is a private load that the processor answers
//! before it comes to the instruction. A change of a waitable value is a SeqCst read-modify-write, a store too
//! (an exchange): that is the event count's E1, on every processor, and needs no barrier of the system's. On x86 it
//! is the instruction that it was, and a load behind it. The halves of a barrier (`os/barrier.rs`) would spare a waitable store
//! its exchange, but each process that ever stores would have to register with the system first; a store into a plain value
//! is a bare store, so nothing is lost to who does not wait.
//!
//! Killed between the change and the wake, a process leaves sleepers that look again after their slice.

use crate::error::{Error, ErrorKind, Result};
use crate::layout::plain::TypeTag;
use crate::os::clock::Deadline;
use crate::segment::Segment;
use crate::segment::directory::ObjectKind;
use crate::segment::place::{Object, Place, Plan};
use crate::sync::LockError;
use crate::sync::mutex::{self, HeldLock, RawGuard, sealed};
use crate::sync::raw_mutex::RawMutex;
use crate::value::scalar::{Bits, Number, Scalar, check_lock_free, update};
use crate::value::when::not_waitable;
use crate::wait::eventcount::{EventCount, GaveUp};
use crate::wait::patience::look_or_wait;
use std::sync::atomic::Ordering;

/// Where the sleepers' word lies, behind the longest value.
const WAITERS: u64 = 16;
/// Where the lock lies, on a line of its own half.
const LOCK: u64 = 64;
const LENGTH: u64 = 128;

/// A shared scalar.
///
/// Every operation is one atomic instruction (floats, 128 bits and `fetch_nand`: a short compare-and-swap loop): a process killed at any
/// instruction has done all of it or nothing, and nobody ever waits. Loads are Acquire, stores Release, and
/// what does both is both. `value.store(value.load() + 1)` loses updates: use [`fetch_add`](Value::fetch_add),
/// [`update`](Value::update) or the [lock](Value::lock).
///
/// ```standalone_crate
/// use mpshm::{Process, Value};
/// let counter = Value::<i64>::new(0)?;
/// let child = Process::spawn(|| {
///     counter.fetch_add(41);
///     0
/// })?;
/// child.join()?;
/// assert_eq!(counter.fetch_add(1), 41);
/// assert_eq!(counter.load(), 42);
/// # Ok::<(), mpshm::Error>(())
/// ```
pub struct Value<T: Scalar> {
    pub(super) cell: &'static T::Cell,
    /// Who waits for changes; none where nobody can.
    pub(super) waiters: Option<&'static EventCount>,
    lock: &'static RawMutex,
    pub(super) object: Object,
}

impl<T: Scalar> Value<T> {
    /// An anonymous value, which forked children inherit.
    ///
    /// # Errors
    /// `NoSpace`; `System` for 128 bits on a processor that has no atomic operations on so many: see
    /// [`is_lock_free`](Scalar::is_lock_free). So for all that make or open one.
    pub fn new(value: T) -> Result<Self> {
        Self::create(Place::ANONYMOUS, value)
    }

    /// Makes a value at `place`: a name, or [`segment.at(name)`](Segment::at).
    ///
    /// # Errors
    /// `Exists`; `Invalid`; `NoSpace`; `Limit`.
    pub fn create<'a>(place: impl Into<Place<'a>>, value: T) -> Result<Self> {
        Self::make(place.into(), value, false)
    }

    /// Makes a *waitable* value at `place`: one whose changes can be [waited for](Self::wait_until). Each change then looks
    /// for sleepers, which costs a load, and a store an exchange.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_waitable<'a>(place: impl Into<Place<'a>>, value: T) -> Result<Self> {
        Self::make(place.into(), value, true)
    }

    /// An anonymous waitable value.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn new_waitable(value: T) -> Result<Self> {
        Self::create_waitable(Place::ANONYMOUS, value)
    }

    fn make(place: Place<'_>, value: T, waitable: bool) -> Result<Self> {
        check_lock_free::<T>()?;
        let plan =
            Plan { kind: ObjectKind::Value, item: TypeTag::of::<T>(), length: Self::size_for() };
        let object = place.create(plan, |region| {
            // SAFETY: as in `over`.
            T::store(unsafe { &*region.start().cast::<T::Cell>() }, value, Ordering::Relaxed);
            if waitable {
                region.one::<EventCount>(WAITERS)?.raise_flag();
            }
            Ok(())
        })?;
        Self::over(object)
    }

    /// Opens the value at `place`, which must be a `T`.
    ///
    /// # Errors
    /// `NotFound`; `Type`; `Version`, `Corrupt`, `Permission`.
    pub fn open<'a>(place: impl Into<Place<'a>>) -> Result<Self> {
        Self::over(place.into().open(ObjectKind::Value, TypeTag::of::<T>())?)
    }

    /// Opens the value at `place`, or makes it with `value`.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and [`create`](Self::create) but for `NotFound` and `Exists`.
    pub fn open_or_create<'a>(place: impl Into<Place<'a>>, value: T) -> Result<Self> {
        place.into().open_or_create(|place| Self::open(place), |place| Self::create(place, value))
    }

    /// Bytes that a value needs in a segment.
    #[must_use]
    pub fn size_for() -> u64 {
        LENGTH
    }

    fn over(object: Object) -> Result<Self> {
        check_lock_free::<T>()?;
        let region = object.region.slice(0, LENGTH)?;
        let waiters: &EventCount = region.one(WAITERS)?;
        // SAFETY: inside the extent and aligned to a line; an atomic bears any bytes and other
        // writers. The object keeps the mapping, and the reference does not leave the handle.
        let cell = unsafe { &*region.start().cast::<T::Cell>() };
        let waiters = waiters.is_flagged().then_some(waiters);
        Ok(Self { cell, waiters, lock: region.one(LOCK)?, object })
    }

    /// The lock itself, for callers without guards.
    pub(crate) fn raw_lock(&self) -> &RawMutex {
        self.lock
    }

    /// The segment that the value lies in.
    #[must_use]
    pub fn segment(&self) -> &Segment {
        &self.object.segment
    }

    /// Changes the value, and wakes who waits for that, if anybody can.
    #[inline(always)]
    fn change<R>(&self, order: Ordering, change: impl FnOnce(&T::Cell, Ordering) -> R) -> R {
        let Some(waiters) = self.waiters else { return change(self.cell, order) };
        let result = change(self.cell, Ordering::SeqCst); // SeqCst: the event count's E1
        waiters.notify(u32::MAX);
        result
    }

    /// The value now.
    #[must_use]
    #[inline]
    pub fn load(&self) -> T {
        self.load_with(Ordering::Acquire)
    }

    /// The value now, with another ordering than Acquire.
    ///
    /// # Panics
    /// For `Release` and `AcqRel`, as std's atomics.
    #[must_use]
    #[inline]
    pub fn load_with(&self, order: Ordering) -> T {
        T::load(self.cell, order)
    }

    /// Replaces the value.
    #[inline]
    pub fn store(&self, value: T) {
        self.store_with(value, Ordering::Release);
    }

    /// Replaces the value, with another ordering than Release.
    ///
    /// # Panics
    /// For `Acquire` and `AcqRel`, as std's atomics.
    #[inline]
    pub fn store_with(&self, value: T, order: Ordering) {
        match self.waiters {
            None => T::store(self.cell, value, order),
            Some(_) => {
                let ordered = !matches!(order, Ordering::Acquire | Ordering::AcqRel);
                assert!(ordered, "there is no such thing as a store that acquires");
                self.swap(value);
            }
        }
    }

    /// Replaces the value, and returns the one before.
    #[inline]
    pub fn swap(&self, value: T) -> T {
        self.swap_with(value, Ordering::AcqRel)
    }

    /// The same with another ordering than AcqRel; a waitable value takes every one for SeqCst, here and below.
    #[inline]
    pub fn swap_with(&self, value: T, order: Ordering) -> T {
        self.change(order, |cell, order| T::swap(cell, value, order))
    }

    /// Replaces the value if it is `current` (floats: the same bits); returns the one before either way.
    ///
    /// # Errors
    /// The value that was found instead.
    #[inline]
    pub fn compare_exchange(&self, current: T, new: T) -> std::result::Result<T, T> {
        self.compare_exchange_with(current, new, Ordering::AcqRel, Ordering::Acquire)
    }

    /// The same with other orderings of a success than AcqRel, and of a failure than Acquire.
    ///
    /// # Errors
    /// The value that was found instead.
    ///
    /// # Panics
    /// For a failure that is `Release` or `AcqRel`, as std's atomics.
    #[inline]
    pub fn compare_exchange_with(
        &self,
        current: T,
        new: T,
        done: Ordering,
        failed: Ordering,
    ) -> std::result::Result<T, T> {
        self.change(done, |cell, done| T::compare_exchange(cell, current, new, done, failed))
    }

    /// Replaces the value by `change` of it, in one step for everybody else; returns the one before.
    /// `change` may run several times.
    #[inline]
    pub fn update(&self, change: impl FnMut(T) -> T) -> T {
        self.update_with(Ordering::AcqRel, change)
    }

    /// The same with another ordering than AcqRel.
    #[inline]
    pub fn update_with(&self, order: Ordering, change: impl FnMut(T) -> T) -> T {
        self.change(order, |cell, order| update::<T>(cell, order, change))
    }

    /// Whether changes can be waited for.
    #[must_use]
    #[inline]
    pub fn is_waitable(&self) -> bool {
        self.waiters.is_some()
    }

    /// Waits until `condition` is true of the value, and returns that value. Every change wakes who waits; what the value is
    /// for a moment only, between two changes, may be missed. Nobody's death or stop keeps anybody else; a change whose
    /// maker died before it woke anybody is found within 80 ms.
    ///
    /// ```standalone_crate
    /// use mpshm::{Process, Value};
    /// let done = Value::<u32>::new_waitable(0)?;
    /// let child = Process::spawn(|| {
    ///     for _ in 0..100 {
    ///         done.fetch_add(1);
    ///     }
    ///     0
    /// })?;
    /// assert!(done.wait_until(|count| count >= 50)? >= 50);
    /// child.join()?;
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` when the value was not made waitable; `Interrupted`.
    pub fn wait_until(&self, condition: impl FnMut(T) -> bool) -> Result<T> {
        let reached = self.wait_until_timeout(Deadline::FOREVER, condition)?;
        reached.ok_or_else(|| Error::new(ErrorKind::TimedOut, "for ever has passed"))
    }

    /// The same until `deadline` (a [`Deadline`], a `Duration` or an `Instant`); none when that passed first.
    ///
    /// # Errors
    /// As [`wait_until`](Self::wait_until).
    pub fn wait_until_timeout(
        &self,
        deadline: impl Into<Deadline>,
        mut condition: impl FnMut(T) -> bool,
    ) -> Result<Option<T>> {
        let Some(waiters) = self.waiters else {
            return Err(not_waitable());
        };
        let look = |_| Some(self.load()).filter(|&value| condition(value));
        match look_or_wait(waiters, deadline.into(), look) {
            Ok(value) => Ok(Some(value)),
            Err(GaveUp::TimedOut) => Ok(None),
            Err(GaveUp::Interrupted) => {
                Err(Error::new(ErrorKind::Interrupted, "the wait for the value was cancelled"))
            }
        }
    }

    /// Takes the value's lock, as Python's `get_lock()`. It keeps out who takes it too, nobody else.
    ///
    /// # Errors
    /// As [`Mutex::lock`](crate::Mutex::lock).
    #[inline(always)]
    pub fn lock(&self) -> std::result::Result<LockedValue<'_, T>, LockError<LockedValue<'_, T>>> {
        self.lock_timeout(Deadline::FOREVER)
    }

    /// Takes the value's lock, waiting until `deadline`.
    ///
    /// # Errors
    /// As [`Mutex::lock_timeout`](crate::Mutex::lock_timeout).
    #[inline(always)]
    pub fn lock_timeout(
        &self,
        deadline: impl Into<Deadline>,
    ) -> std::result::Result<LockedValue<'_, T>, LockError<LockedValue<'_, T>>> {
        let guard = mutex::lock(self.lock, &self.object.segment, deadline);
        guard.map(|raw| self.locked(raw)).map_err(|error| error.map(|raw| self.locked(raw)))
    }

    #[inline(always)]
    fn locked<'v>(&'v self, raw: RawGuard<'v>) -> LockedValue<'v, T> {
        LockedValue { value: self, raw }
    }
}

impl<T: Number> Value<T> {
    /// Adds (integers wrap), and returns the value before.
    #[inline]
    pub fn fetch_add(&self, value: T) -> T {
        self.fetch_add_with(value, Ordering::AcqRel)
    }

    /// The same with another ordering than AcqRel.
    #[inline]
    pub fn fetch_add_with(&self, value: T, order: Ordering) -> T {
        self.change(order, |cell, order| T::fetch_add(cell, value, order))
    }

    /// Subtracts (integers wrap), and returns the value before.
    #[inline]
    pub fn fetch_sub(&self, value: T) -> T {
        self.fetch_sub_with(value, Ordering::AcqRel)
    }

    /// The same with another ordering than AcqRel.
    #[inline]
    pub fn fetch_sub_with(&self, value: T, order: Ordering) -> T {
        self.change(order, |cell, order| T::fetch_sub(cell, value, order))
    }

    /// Keeps the smaller, and returns the value before.
    #[inline]
    pub fn fetch_min(&self, value: T) -> T {
        self.fetch_min_with(value, Ordering::AcqRel)
    }

    /// The same with another ordering than AcqRel.
    #[inline]
    pub fn fetch_min_with(&self, value: T, order: Ordering) -> T {
        self.change(order, |cell, order| T::fetch_min(cell, value, order))
    }

    /// Keeps the greater, and returns the value before.
    #[inline]
    pub fn fetch_max(&self, value: T) -> T {
        self.fetch_max_with(value, Ordering::AcqRel)
    }

    /// The same with another ordering than AcqRel.
    #[inline]
    pub fn fetch_max_with(&self, value: T, order: Ordering) -> T {
        self.change(order, |cell, order| T::fetch_max(cell, value, order))
    }
}

impl<T: Bits> Value<T> {
    /// Keeps the bits that are in both, and returns the value before.
    #[inline]
    pub fn fetch_and(&self, value: T) -> T {
        self.fetch_and_with(value, Ordering::AcqRel)
    }

    /// The same with another ordering than AcqRel.
    #[inline]
    pub fn fetch_and_with(&self, value: T, order: Ordering) -> T {
        self.change(order, |cell, order| T::fetch_and(cell, value, order))
    }

    /// Keeps the bits that are not in both, and returns the value before.
    #[inline]
    pub fn fetch_nand(&self, value: T) -> T {
        self.fetch_nand_with(value, Ordering::AcqRel)
    }

    /// The same with another ordering than AcqRel.
    #[inline]
    pub fn fetch_nand_with(&self, value: T, order: Ordering) -> T {
        self.change(order, |cell, order| T::fetch_nand(cell, value, order))
    }

    /// Keeps the bits that are in either, and returns the value before.
    #[inline]
    pub fn fetch_or(&self, value: T) -> T {
        self.fetch_or_with(value, Ordering::AcqRel)
    }

    /// The same with another ordering than AcqRel.
    #[inline]
    pub fn fetch_or_with(&self, value: T, order: Ordering) -> T {
        self.change(order, |cell, order| T::fetch_or(cell, value, order))
    }

    /// Keeps the bits that are in one of the two, and returns the value before.
    #[inline]
    pub fn fetch_xor(&self, value: T) -> T {
        self.fetch_xor_with(value, Ordering::AcqRel)
    }

    /// The same with another ordering than AcqRel.
    #[inline]
    pub fn fetch_xor_with(&self, value: T, order: Ordering) -> T {
        self.change(order, |cell, order| T::fetch_xor(cell, value, order))
    }
}

impl<T: Scalar> std::fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Value").field(&self.load()).finish()
    }
}

/// A value whose lock is held. Dropped, it unlocks.
///
/// ```
/// let balance = mpshm::Value::<i64>::new(100)?;
/// let mut locked = balance.lock().unwrap();
/// locked.set(locked.get() - 30);
/// drop(locked);
/// assert_eq!(balance.load(), 70);
/// # Ok::<(), mpshm::Error>(())
/// ```
#[must_use = "dropped, it unlocks"]
pub struct LockedValue<'v, T: Scalar> {
    value: &'v Value<T>,
    raw: RawGuard<'v>,
}

impl<T: Scalar> HeldLock for LockedValue<'_, T> {}

impl<T: Scalar> sealed::Sealed for LockedValue<'_, T> {
    fn raw(&self) -> &RawGuard<'_> {
        &self.raw
    }
}

impl<T: Scalar> LockedValue<'_, T> {
    /// The value now.
    #[must_use]
    #[inline]
    pub fn get(&self) -> T {
        T::load(self.value.cell, Ordering::Relaxed)
    }

    /// Replaces the value. In a forked child, which does not hold the lock, nothing is done.
    #[inline]
    pub fn set(&mut self, value: T) {
        if self.raw.is_here() {
            self.value.store_with(value, Ordering::Relaxed);
        }
    }

    /// Says that what the lock guards is whole again after [`LockError::OwnerDead`].
    pub fn mark_consistent(&mut self) {
        self.raw.mark_consistent();
    }
}

impl<T: Scalar> std::fmt::Debug for LockedValue<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LockedValue").field(&self.get()).finish()
    }
}
