//! A value under a lock that survives its owner.

use crate::error::{Error, ErrorKind, Result};
use crate::layout::offset::Region;
use crate::layout::plain::{ALIGN_MAX, Pod, TypeTag};
use crate::os::clock::Deadline;
use crate::os::fork::Process;
use crate::segment::Segment;
use crate::segment::directory::ObjectKind;
use crate::segment::place::{Object, Place, Plan};
use crate::sync::lock_error::LockError;
use crate::sync::raw_mutex::{Doubt, Locked, Mark, RawMutex};
use std::cell::Cell;
use std::marker::PhantomData;

/// A plain value of any size, and the lock that guards it, in shared memory.
///
/// **What a dead peer does.** If the owner is killed, the next `lock` returns
/// [`LockError::OwnerDead`] with the lock held, at once; who is asleep learns of it within 80 ms. A
/// stopped owner keeps the lock. **A panic** unlocks, without a mark: the data may be half-changed.
/// **Forks.** A guard belongs to the process that locked; its copy in a forked child does nothing.
/// **Locking again.** A thread that locks what it holds gets [`LockError::Deadlock`], unless the mutex was made
/// [recursive](Mutex::recursive).
///
/// ```standalone_crate
/// use mpshm::{Mutex, Process};
/// let total = Mutex::<[u64; 2]>::new([0, 0])?;
/// let children: Vec<_> = (0..3)
///     .map(|_| {
///         Process::spawn(|| {
///             for _ in 0..100 {
///                 let mut guard = total.lock().unwrap();
///                 let [a, b] = guard.get();
///                 guard.set([a + 1, b + 2]);
///             }
///             0
///         })
///     })
///     .collect::<Result<_, _>>()?;
/// for child in &children {
///     child.join()?;
/// }
/// assert_eq!(total.lock().unwrap().get(), [300, 600]);
/// # Ok::<(), mpshm::Error>(())
/// ```
pub struct Mutex<T> {
    raw: &'static RawMutex,
    data: *mut T,
    object: Object,
}

// SAFETY: the data are reached only through a guard, which the lock hands to one thread at a time.
unsafe impl<T: Pod> Send for Mutex<T> {}
// SAFETY: as above.
unsafe impl<T: Pod> Sync for Mutex<T> {}

pub(crate) fn check_align<T>() -> Result<()> {
    if align_of::<T>() > ALIGN_MAX {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("a type aligned to {}: at most {ALIGN_MAX} is possible", align_of::<T>()),
        ));
    }
    Ok(())
}

/// What else than the data a new mutex holds.
fn prepare(region: Region, recursive: bool) -> Result<()> {
    if recursive {
        region.one::<RawMutex>(0)?.make_recursive();
    }
    Ok(())
}

/// Where the data begin, after the lock.
fn data_offset<T>() -> u64 {
    (size_of::<RawMutex>() as u64).next_multiple_of(align_of::<T>() as u64)
}

impl<T: Pod> Mutex<T> {
    /// An anonymous mutex, which forked children inherit.
    ///
    /// # Errors
    /// `NoSpace`; `Invalid` for a type aligned to more than 128.
    pub fn new(value: T) -> Result<Self> {
        Self::create(Place::ANONYMOUS, value)
    }

    /// An anonymous mutex that its owner, a thread, may lock up to 65,535 times; who else wants it waits until it was
    /// unlocked as often.
    ///
    /// Each guard reads and replaces the value by copy, so that several in one thread do not get in each other's way.
    /// Who gets it after an owner's death holds it once, and is told of that at each lock until the data are
    /// [marked as consistent](MutexGuard::mark_consistent).
    ///
    /// ```
    /// let mutex = mpshm::Mutex::recursive(1u64)?;
    /// let outer = mutex.lock().unwrap();
    /// let mut inner = mutex.lock().unwrap();
    /// inner.set(2);
    /// drop(inner);
    /// assert_eq!(outer.get(), 2);
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn recursive(value: T) -> Result<Self> {
        Self::create_recursive(Place::ANONYMOUS, value)
    }

    /// Makes a mutex at `place`: a name, or [`segment.at(name)`](Segment::at).
    ///
    /// # Errors
    /// `Exists`; `Invalid`; `NoSpace`; `Limit`.
    pub fn create<'a>(place: impl Into<Place<'a>>, value: T) -> Result<Self> {
        Self::make(place.into(), value, false)
    }

    /// Makes a [recursive](Self::recursive) mutex at `place`; it is that for everybody who opens it.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_recursive<'a>(place: impl Into<Place<'a>>, value: T) -> Result<Self> {
        Self::make(place.into(), value, true)
    }

    fn make(place: Place<'_>, value: T, recursive: bool) -> Result<Self> {
        check_align::<T>()?;
        let plan =
            Plan { kind: ObjectKind::Mutex, item: TypeTag::of::<T>(), length: Self::size_for() };
        let object = place.create(plan, |region| {
            prepare(region, recursive)?;
            let bytes = bytemuck::bytes_of(&value);
            let data = region.slice(data_offset::<T>(), bytes.len() as u64)?;
            // SAFETY: inside the extent, which nobody else sees yet.
            unsafe { data.start().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
            Ok(())
        })?;
        Self::over(object)
    }

    /// Opens the mutex at `place`, which must hold a `T`.
    ///
    /// # Errors
    /// `NotFound`; `Type`; `Version`, `Corrupt`, `Permission`.
    pub fn open<'a>(place: impl Into<Place<'a>>) -> Result<Self> {
        Self::over(place.into().open(ObjectKind::Mutex, TypeTag::of::<T>())?)
    }

    /// Opens the mutex at `place`, or makes it with `value`.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and [`create`](Self::create) but for `NotFound` and `Exists`.
    pub fn open_or_create<'a>(place: impl Into<Place<'a>>, value: T) -> Result<Self> {
        place.into().open_or_create(|place| Self::open(place), |place| Self::create(place, value))
    }

    /// Opens the mutex at `place`, or makes a recursive one with `value`. One that is there stays what it is.
    ///
    /// # Errors
    /// As [`open_or_create`](Self::open_or_create).
    pub fn open_or_create_recursive<'a>(place: impl Into<Place<'a>>, value: T) -> Result<Self> {
        place
            .into()
            .open_or_create(|place| Self::open(place), |place| Self::create_recursive(place, value))
    }

    /// Whether it was made [recursive](Self::recursive).
    #[must_use]
    pub fn is_recursive(&self) -> bool {
        self.raw.is_recursive()
    }

    /// Bytes that such a mutex needs in a segment.
    #[must_use]
    pub fn size_for() -> u64 {
        data_offset::<T>() + size_of::<T>() as u64
    }

    fn over(object: Object) -> Result<Self> {
        check_align::<T>()?;
        let region: Region = object.region;
        let raw = region.one(0)?;
        let data = region.slice(data_offset::<T>(), size_of::<T>() as u64)?.start().cast();
        Ok(Self { raw, data, object })
    }

    /// The segment that the mutex lies in.
    #[must_use]
    pub fn segment(&self) -> &Segment {
        &self.object.segment
    }

    /// Locks, waiting until the lock is free.
    ///
    /// # Errors
    /// [`LockError`]: `OwnerDead` (with the lock held), `NotRecoverable`, `Deadlock`, `Interrupted`, `Failed`.
    #[inline(always)]
    pub fn lock(&self) -> std::result::Result<MutexGuard<'_, T>, LockError<MutexGuard<'_, T>>> {
        self.lock_timeout(Deadline::FOREVER)
    }

    /// Locks, waiting until `deadline` (a [`Deadline`], a `Duration` or an `Instant`).
    ///
    /// # Errors
    /// As [`lock`](Self::lock), and `TimedOut`.
    #[inline(always)]
    pub fn lock_timeout(
        &self,
        deadline: impl Into<Deadline>,
    ) -> std::result::Result<MutexGuard<'_, T>, LockError<MutexGuard<'_, T>>> {
        let guard = lock(self.raw, &self.object.segment, deadline);
        guard.map(|raw| self.guard(raw)).map_err(|error| error.map(|raw| self.guard(raw)))
    }

    /// Locks if the lock is free, or its owner dead.
    ///
    /// # Errors
    /// As [`lock`](Self::lock), and `Busy`.
    #[inline(always)]
    pub fn try_lock(&self) -> std::result::Result<MutexGuard<'_, T>, LockError<MutexGuard<'_, T>>> {
        let guard = try_lock(self.raw, &self.object.segment);
        guard.map(|raw| self.guard(raw)).map_err(|error| error.map(|raw| self.guard(raw)))
    }

    #[inline(always)]
    fn guard<'m>(&'m self, raw: RawGuard<'m>) -> MutexGuard<'m, T> {
        MutexGuard { raw, data: self.data }
    }
}

/// A mutex whose data are bytes of a size that is known at run time.
pub(crate) struct ByteMutex {
    pub raw: &'static RawMutex,
    pub data: *mut u8,
    pub item: TypeTag,
    pub object: Object,
}

impl ByteMutex {
    pub(crate) fn create(place: Place<'_>, item: TypeTag, recursive: bool) -> Result<Self> {
        let length = Self::offset(item) + u64::from(item.size);
        let plan = Plan { kind: ObjectKind::Mutex, item, length };
        Self::over(place.create(plan, |region| prepare(region, recursive))?, item)
    }

    pub(crate) fn open(place: Place<'_>, item: TypeTag) -> Result<Self> {
        Self::over(place.open(ObjectKind::Mutex, item)?, item)
    }

    fn offset(item: TypeTag) -> u64 {
        (size_of::<RawMutex>() as u64).next_multiple_of(item.align.into())
    }

    fn over(object: Object, item: TypeTag) -> Result<Self> {
        let raw = object.region.one(0)?;
        let data = object.region.slice(Self::offset(item), item.size.into())?.start();
        Ok(Self { raw, data, item, object })
    }
}

impl<T> std::fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mutex").finish_non_exhaustive()
    }
}

/// A held lock. Dropped, it unlocks.
pub struct RawGuard<'m> {
    raw: &'m RawMutex,
    segment: &'m Segment,
    /// Who locked; none if the lock was lost while a condition was waited for.
    process: Cell<Process>,
    /// A lock belongs to a thread.
    here: PhantomData<*const ()>,
}

impl<'m> RawGuard<'m> {
    #[inline(always)]
    fn new(raw: &'m RawMutex, segment: &'m Segment, process: Process) -> Self {
        Self { raw, segment, process: Cell::new(process), here: PhantomData }
    }

    /// Whether this is the process that locked, not a forked child with a copy of the guard.
    #[inline(always)]
    pub(crate) fn is_here(&self) -> bool {
        self.process.get().is_this()
    }

    /// The lock itself, and the segment that it lies in.
    pub(crate) fn parts(&self) -> (&RawMutex, &Segment) {
        (self.raw, self.segment)
    }

    /// The lock is nobody's any more: it could not be got again.
    pub(crate) fn lose(&self) {
        self.process.set(Process::none());
    }

    pub(crate) fn mark_consistent(&self) {
        if self.is_here() {
            self.raw.mark_consistent();
        }
    }
}

impl Drop for RawGuard<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // In a forked child the lock is the parent's.
        if self.is_here() {
            self.raw.unlock();
        }
    }
}

/// Guards that a [`Condvar`](crate::Condvar) can wait with: those of mutexes, and of the locks of values and arrays.
pub trait HeldLock: sealed::Sealed {}

pub(crate) mod sealed {
    pub trait Sealed {
        fn raw(&self) -> &super::RawGuard<'_>;
    }
}

/// The guard of a lock that this thread holds, by an owner who forgot it, and must forget it again.
pub(crate) fn guard_of_forgotten<'m>(
    raw: &'m RawMutex,
    segment: &'m Segment,
) -> Result<std::mem::ManuallyDrop<RawGuard<'m>>> {
    held(raw, segment)?;
    Ok(std::mem::ManuallyDrop::new(RawGuard::new(raw, segment, Process::this())))
}

/// Gives back a lock that this thread holds, by an owner who forgot its guard.
pub(crate) fn unlock_forgotten(raw: &RawMutex, segment: &Segment) -> Result<()> {
    held(raw, segment).map(|raw| raw.unlock())
}

/// Marks a lock consistent that this thread holds, by an owner who forgot its guard.
pub(crate) fn mark_forgotten(raw: &RawMutex, segment: &Segment) -> Result<()> {
    held(raw, segment).map(RawMutex::mark_consistent)
}

fn held<'m>(raw: &'m RawMutex, segment: &Segment) -> Result<&'m RawMutex> {
    if raw.is_mine(Mark::from(segment.me()?)) {
        return Ok(raw);
    }
    Err(Error::new(ErrorKind::NotOwner, "the lock is not held by this thread of this process"))
}

/// Locks a lock of any object in `segment`.
///
/// Written so that a guard is made of what stands in registers: what a call returns through memory, moved there and back, costs
/// as much as the lock. So what is called on the slow path returns no guard.
#[inline(always)]
pub(crate) fn lock<'m>(
    raw: &'m RawMutex,
    segment: &'m Segment,
    deadline: impl Into<Deadline>,
) -> std::result::Result<RawGuard<'m>, LockError<RawGuard<'m>>> {
    if let Some(process) = locked_at_once(raw, segment) {
        return Ok(RawGuard::new(raw, segment, process));
    }
    settle(raw, segment, lock_slowly(raw, segment, Some(deadline.into())))
}

/// Locks a lock of any object in `segment`, without waiting.
#[inline(always)]
pub(crate) fn try_lock<'m>(
    raw: &'m RawMutex,
    segment: &'m Segment,
) -> std::result::Result<RawGuard<'m>, LockError<RawGuard<'m>>> {
    if let Some(process) = locked_at_once(raw, segment) {
        return Ok(RawGuard::new(raw, segment, process));
    }
    settle(raw, segment, lock_slowly(raw, segment, None))
}

/// Locks what is simply unlocked, for a process that takes part in the segment already: which.
#[inline(always)]
fn locked_at_once(raw: &RawMutex, segment: &Segment) -> Option<Process> {
    let (me, process) = segment.me_if_joined()?;
    raw.lock_at_once(Mark::from(me)).then_some(process)
}

/// Without a deadline, locks without waiting.
#[cold]
#[inline(never)]
fn lock_slowly(
    raw: &RawMutex,
    segment: &Segment,
    deadline: Option<Deadline>,
) -> std::result::Result<Locked, LockError<()>> {
    let mark = Mark::from(segment.me().map_err(LockError::Failed)?);
    let is_over = |slot, generation, doubt| is_over(segment, slot, generation, doubt);
    match deadline {
        Some(deadline) => raw.lock(mark, deadline, is_over),
        None => raw.try_lock(mark, is_over),
    }
}

pub(crate) fn is_over(segment: &Segment, slot: u32, generation: u64, doubt: Doubt) -> bool {
    segment.table().is_ok_and(|table| match doubt {
        Doubt::None => false,
        Doubt::Some => table.has_let_go(slot, generation),
        Doubt::Much => table.is_over(slot, generation),
    })
}

#[inline(always)]
pub(crate) fn settle<'m>(
    raw: &'m RawMutex,
    segment: &'m Segment,
    locked: std::result::Result<Locked, LockError<()>>,
) -> std::result::Result<RawGuard<'m>, LockError<RawGuard<'m>>> {
    let guard = || RawGuard::new(raw, segment, Process::this());
    match locked {
        Ok(Locked::Sound) => Ok(guard()),
        Ok(Locked::OwnerDead) => Err(LockError::OwnerDead(guard())),
        Err(error) => Err(error.map(|()| guard())),
    }
}

/// The lock, held: read and change the value. Dropped, it unlocks.
///
/// There is no `&mut T`: a peer that breaks the protocol could change the bytes behind it. The value lies in memory that the
/// mutex keeps mapped, so the guard cannot outlive that:
///
/// ```compile_fail,E0505
/// let mutex = mpshm::Mutex::new(1u64)?;
/// let guard = mutex.lock().unwrap();
/// drop(mutex);
/// drop(guard);
/// # Ok::<(), mpshm::Error>(())
/// ```
#[must_use = "dropped, it unlocks"]
pub struct MutexGuard<'m, T> {
    raw: RawGuard<'m>,
    data: *mut T,
}

impl<T> HeldLock for MutexGuard<'_, T> {}

impl<T> sealed::Sealed for MutexGuard<'_, T> {
    fn raw(&self) -> &RawGuard<'_> {
        &self.raw
    }
}

impl<T: Pod> MutexGuard<'_, T> {
    /// A copy of the value.
    #[must_use]
    #[inline]
    pub fn get(&self) -> T {
        // SAFETY: inside the mapping and aligned; any bytes are a `T`; we hold the lock.
        unsafe { self.data.read() }
    }

    /// Replaces the value. Killed in the middle, the next owner is told `OwnerDead`. In a forked child, which
    /// does not hold the lock, nothing is done.
    #[inline]
    pub fn set(&mut self, value: T) {
        if self.raw.is_here() {
            // SAFETY: as in `get`.
            unsafe { self.data.write(value) };
        }
    }

    /// Where the value lies, to be changed in place.
    #[must_use]
    pub fn as_ptr(&mut self) -> *mut T {
        self.data
    }

    /// Says that the data are whole again after [`LockError::OwnerDead`].
    pub fn mark_consistent(&mut self) {
        self.raw.mark_consistent();
    }
}

impl<T> std::fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MutexGuard").finish_non_exhaustive()
    }
}
