//! A scalar in shared memory.
//!
//! Every operation is one atomic instruction of the processor (floats: a short CAS loop), so a
//! process killed at any instruction has done all of it or nothing, and nobody ever waits for anybody.
//! Loads are Acquire, stores Release, and what does both is both: a value can guard other memory.
//!
//! `value.store(value.load() + 1)` loses updates; use [`fetch_add`](Value::fetch_add),
//! [`update`](Value::update) or the [lock](Value::lock).

use crate::error::Result;
use crate::layout::plain::TypeTag;
use crate::os::clock::Deadline;
use crate::segment::Segment;
use crate::segment::directory::ObjectKind;
use crate::segment::place::{Object, Place, Plan};
use crate::sync::LockError;
use crate::sync::mutex::{self, HeldLock, RawGuard, sealed};
use crate::sync::raw_mutex::RawMutex;
use crate::value::scalar::{Bits, Number, Scalar, update};
use std::sync::atomic::Ordering;

/// Where the lock lies, on a line of its own half.
const LOCK: u64 = 64;
const LENGTH: u64 = 128;

/// A shared scalar.
///
/// Every operation is one atomic instruction (floats: a short compare-and-swap loop): a process killed at any
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
    cell: &'static T::Cell,
    lock: &'static RawMutex,
    object: Object,
}

impl<T: Scalar> Value<T> {
    /// An anonymous value, which forked children inherit.
    ///
    /// # Errors
    /// `NoSpace`.
    pub fn new(value: T) -> Result<Self> {
        Self::create(Place::ANONYMOUS, value)
    }

    /// Makes a value at `place`: a name, or [`segment.at(name)`](Segment::at).
    ///
    /// # Errors
    /// `Exists`; `Invalid`; `NoSpace`; `Limit`.
    pub fn create<'a>(place: impl Into<Place<'a>>, value: T) -> Result<Self> {
        let plan =
            Plan { kind: ObjectKind::Value, item: TypeTag::of::<T>(), length: Self::size_for() };
        let object = place.into().create(plan, |region| {
            // SAFETY: as in `over`.
            T::store(unsafe { &*region.start().cast::<T::Cell>() }, value, Ordering::Relaxed);
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
        let region = object.region.slice(0, LENGTH)?;
        // SAFETY: inside the extent and aligned to a line; an atomic bears any bytes and other
        // writers. The object keeps the mapping, and the reference does not leave the handle.
        let cell = unsafe { &*region.start().cast::<T::Cell>() };
        Ok(Self { cell, lock: region.one(LOCK)?, object })
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

    /// The value now.
    #[must_use]
    #[inline]
    pub fn load(&self) -> T {
        T::load(self.cell, Ordering::Acquire)
    }

    /// Replaces the value.
    #[inline]
    pub fn store(&self, value: T) {
        T::store(self.cell, value, Ordering::Release);
    }

    /// Replaces the value, and returns the one before.
    #[inline]
    pub fn swap(&self, value: T) -> T {
        T::swap(self.cell, value)
    }

    /// Replaces the value if it is `current` (floats: the same bits); returns the one before either way.
    ///
    /// # Errors
    /// The value that was found instead.
    #[inline]
    pub fn compare_exchange(&self, current: T, new: T) -> std::result::Result<T, T> {
        T::compare_exchange(self.cell, current, new)
    }

    /// Replaces the value by `change` of it, in one step for everybody else; returns the one before.
    /// `change` may run several times.
    #[inline]
    pub fn update(&self, change: impl FnMut(T) -> T) -> T {
        update::<T>(self.cell, change)
    }

    /// Takes the value's lock, as Python's `get_lock()`. It keeps out who takes it too, nobody else.
    ///
    /// # Errors
    /// As [`Mutex::lock`](crate::Mutex::lock).
    #[inline]
    pub fn lock(&self) -> std::result::Result<LockedValue<'_, T>, LockError<LockedValue<'_, T>>> {
        self.lock_timeout(Deadline::FOREVER)
    }

    /// Takes the value's lock, waiting until `deadline`.
    ///
    /// # Errors
    /// As [`Mutex::lock_timeout`](crate::Mutex::lock_timeout).
    #[inline]
    pub fn lock_timeout(
        &self,
        deadline: impl Into<Deadline>,
    ) -> std::result::Result<LockedValue<'_, T>, LockError<LockedValue<'_, T>>> {
        let guard = mutex::lock(self.lock, &self.object.segment, deadline.into());
        guard.map(|raw| self.locked(raw)).map_err(|error| error.map(|raw| self.locked(raw)))
    }

    fn locked<'v>(&'v self, raw: RawGuard<'v>) -> LockedValue<'v, T> {
        LockedValue { value: self, raw }
    }
}

impl<T: Number> Value<T> {
    /// Adds (integers wrap), and returns the value before.
    #[inline]
    pub fn fetch_add(&self, value: T) -> T {
        T::fetch_add(self.cell, value)
    }

    /// Subtracts (integers wrap), and returns the value before.
    #[inline]
    pub fn fetch_sub(&self, value: T) -> T {
        T::fetch_sub(self.cell, value)
    }

    /// Keeps the smaller, and returns the value before.
    #[inline]
    pub fn fetch_min(&self, value: T) -> T {
        T::fetch_min(self.cell, value)
    }

    /// Keeps the greater, and returns the value before.
    #[inline]
    pub fn fetch_max(&self, value: T) -> T {
        T::fetch_max(self.cell, value)
    }
}

impl<T: Bits> Value<T> {
    /// Keeps the bits that are in both, and returns the value before.
    #[inline]
    pub fn fetch_and(&self, value: T) -> T {
        T::fetch_and(self.cell, value)
    }

    /// Keeps the bits that are in either, and returns the value before.
    #[inline]
    pub fn fetch_or(&self, value: T) -> T {
        T::fetch_or(self.cell, value)
    }

    /// Keeps the bits that are in one of the two, and returns the value before.
    #[inline]
    pub fn fetch_xor(&self, value: T) -> T {
        T::fetch_xor(self.cell, value)
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
            T::store(self.value.cell, value, Ordering::Relaxed);
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
