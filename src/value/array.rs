//! An array of scalars in shared memory.
//!
//! Each element is as atomic as a [`Value`](crate::Value); whole slices are copied element by
//! element, so others may see some of it before the rest, unless both sides take the array's lock.
//! Indexes are checked always; what reaches past the end is an error and changes nothing.

use crate::error::{Error, ErrorKind, Result};
use crate::layout::plain::TypeTag;
use crate::os::clock::Deadline;
use crate::segment::Segment;
use crate::segment::directory::ObjectKind;
use crate::segment::place::{Object, Place, Plan};
use crate::sync::LockError;
use crate::sync::mutex::{self, HeldLock, RawGuard, sealed};
use crate::sync::raw_mutex::RawMutex;
use crate::value::elements::Elements;
use crate::value::scalar::{Scalar, check_lock_free};

/// Where the elements begin: the lock has the first line.
const ELEMENTS: u64 = 128;

/// A shared array of fixed length. Each element is as atomic as a [`Value`](crate::Value); whole slices are
/// copied element by element, so others may see some of it before the rest, unless both sides take the
/// array's lock. Indexes are checked always. All that is done with elements, one or many, is in [`Elements`], which an array
/// is used as.
///
/// There is no exclusive access (`get_mut`, `as_slice`): whether a process has inherited the mapping, from a fork that
/// the library need not have seen, nobody can know. [`as_ptr`](Elements::as_ptr) is for who knows better.
///
/// ```standalone_crate
/// use mpshm::{Array, Process};
/// let array = Array::<i32>::from_slice(&[3, 1, 2])?;
/// let child = Process::spawn(|| {
///     for i in 1..array.len() {
///         array.fetch_add(i, array.load(i - 1).unwrap()).unwrap();
///     }
///     0
/// })?;
/// child.join()?;
/// assert_eq!(array.to_vec(), [3, 4, 6]);
/// assert!(array.load(3).is_err());
/// # Ok::<(), mpshm::Error>(())
/// ```
pub struct Array<T: Scalar> {
    elements: Elements<'static, T>,
    lock: &'static RawMutex,
    object: Object,
}

impl<T: Scalar> Array<T> {
    /// An anonymous array of `length` zeros, which forked children inherit.
    ///
    /// # Errors
    /// `Invalid` for a length of 0; `NoSpace`.
    pub fn new(length: usize) -> Result<Self> {
        Self::create(Place::ANONYMOUS, length)
    }

    /// An anonymous array with these elements.
    ///
    /// # Errors
    /// `Invalid` for an empty slice; `NoSpace`.
    pub fn from_slice(elements: &[T]) -> Result<Self> {
        let array = Self::new(elements.len())?;
        array.copy_from_slice(0, elements)?;
        Ok(array)
    }

    /// Makes an array of `length` zeros at `place`: a name, or [`segment.at(name)`](Segment::at).
    ///
    /// # Errors
    /// `Exists`; `Invalid`; `NoSpace`; `Limit`.
    pub fn create<'a>(place: impl Into<Place<'a>>, length: usize) -> Result<Self> {
        check_lock_free::<T>()?;
        let plan = Plan {
            kind: ObjectKind::Array,
            item: TypeTag::of::<T>(),
            length: Self::size_for(length)?,
        };
        Self::over(place.into().create(plan, |_| Ok(()))?)
    }

    /// Opens the array at `place`, whatever its length; its elements must be `T`s.
    ///
    /// # Errors
    /// `NotFound`; `Type`; `Version`, `Corrupt`, `Permission`.
    pub fn open<'a>(place: impl Into<Place<'a>>) -> Result<Self> {
        Self::over(place.into().open(ObjectKind::Array, TypeTag::of::<T>())?)
    }

    /// Opens the array at `place`, or makes it; an existing one keeps its length.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and [`create`](Self::create) but for `NotFound` and `Exists`.
    pub fn open_or_create<'a>(place: impl Into<Place<'a>>, length: usize) -> Result<Self> {
        place.into().open_or_create(|place| Self::open(place), |place| Self::create(place, length))
    }

    /// Bytes that an array of `length` elements needs in a segment.
    ///
    /// # Errors
    /// `Invalid` for a length of 0; `NoSpace` for one that overflows.
    pub fn size_for(length: usize) -> Result<u64> {
        if length == 0 {
            return Err(Error::new(
                ErrorKind::Invalid,
                "an array of 0 elements: at least 1 is expected",
            ));
        }
        let bytes = (length as u64).checked_mul(size_of::<T>() as u64);
        bytes.filter(|&bytes| bytes < 1 << 46).map(|bytes| ELEMENTS + bytes).ok_or_else(|| {
            Error::new(
                ErrorKind::NoSpace,
                format!("an array of {length} elements overflows the address space"),
            )
        })
    }

    fn over(object: Object) -> Result<Self> {
        check_lock_free::<T>()?;
        let region = object.region;
        let lock = region.one(0)?;
        let length = (region.length() as u64).saturating_sub(ELEMENTS) / size_of::<T>() as u64;
        let elements = region.slice(ELEMENTS, length * size_of::<T>() as u64)?;
        // SAFETY: inside the extent and aligned to a line; atomics bear any bytes and other writers.
        // The object keeps the mapping, and the reference does not leave the handle.
        let cells = unsafe {
            std::slice::from_raw_parts(elements.start().cast::<T::Cell>(), length as usize)
        };
        Ok(Self { elements: Elements::new(cells), lock, object })
    }

    /// The lock itself, for callers without guards.
    pub(crate) fn raw_lock(&self) -> &RawMutex {
        self.lock
    }

    /// The segment that the array lies in.
    #[must_use]
    pub fn segment(&self) -> &Segment {
        &self.object.segment
    }

    /// Takes the array's lock, as Python's `get_lock()`. It keeps out who takes it too, nobody else.
    ///
    /// # Errors
    /// As [`Mutex::lock`](crate::Mutex::lock).
    pub fn lock(&self) -> std::result::Result<LockedArray<'_, T>, LockError<LockedArray<'_, T>>> {
        self.lock_timeout(Deadline::FOREVER)
    }

    /// Takes the array's lock, waiting until `deadline`.
    ///
    /// # Errors
    /// As [`Mutex::lock_timeout`](crate::Mutex::lock_timeout).
    pub fn lock_timeout(
        &self,
        deadline: impl Into<Deadline>,
    ) -> std::result::Result<LockedArray<'_, T>, LockError<LockedArray<'_, T>>> {
        let guard = mutex::lock(self.lock, &self.object.segment, deadline);
        guard
            .map(|raw| LockedArray { array: self, raw })
            .map_err(|error| error.map(|raw| LockedArray { array: self, raw }))
    }
}

/// An array is used as all its elements.
impl<T: Scalar> std::ops::Deref for Array<T> {
    // Neither Clone nor Copy: a reference cannot outlive the array, and with it the mapping.
    type Target = Elements<'static, T>;

    fn deref(&self) -> &Self::Target {
        &self.elements
    }
}

impl<T: Scalar> std::fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.elements.fmt(f)
    }
}

/// An array whose lock is held; it is used as the array itself. Dropped, it unlocks.
#[must_use = "dropped, it unlocks"]
pub struct LockedArray<'a, T: Scalar> {
    array: &'a Array<T>,
    raw: RawGuard<'a>,
}

impl<T: Scalar> HeldLock for LockedArray<'_, T> {}

impl<T: Scalar> sealed::Sealed for LockedArray<'_, T> {
    fn raw(&self) -> &RawGuard<'_> {
        &self.raw
    }
}

impl<T: Scalar> LockedArray<'_, T> {
    /// Says that what the lock guards is whole again after [`LockError::OwnerDead`].
    pub fn mark_consistent(&mut self) {
        self.raw.mark_consistent();
    }
}

impl<T: Scalar> std::ops::Deref for LockedArray<'_, T> {
    type Target = Array<T>;

    fn deref(&self) -> &Array<T> {
        self.array
    }
}

impl<T: Scalar> std::fmt::Debug for LockedArray<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.array.fmt(f)
    }
}
