//! A value under a lock that many may hold to read, or one to write.

use crate::error::{Error, ErrorKind, Result};
use crate::layout::offset::Region;
use crate::layout::plain::{Pod, TypeTag};
use crate::os::clock::Deadline;
use crate::os::fork;
use crate::segment::Segment;
use crate::segment::directory::ObjectKind;
use crate::segment::participant::Me;
use crate::segment::place::{Object, Place, Plan};
use crate::sync::held::{self, Key};
use crate::sync::lock_error::LockError;
use crate::sync::mutex::{self, RawGuard, check_align};
use crate::sync::raw_mutex::{Doubt, Locked, RawMutex};
use crate::sync::readers::{Head, Line, Readers};
use std::marker::PhantomData;

/// A plain value of any size in shared memory that many may read at a time, or one may write.
///
/// To read costs two atomic instructions on a line of one's own, so that readers do not get in each other's way; to write,
/// a look at one line for each process that has ever read. A writer that waits lets no new readers in, and readers that
/// wait get their turn before the next writer but one.
///
/// **What a dead peer does.** A dead reader leaves nothing in doubt, and is not waited for. After a dead writer (one that
/// waited for readers, too) the next writer, and every reader until a writer has
/// [marked the value as consistent](WriteGuard::mark_consistent), gets [`LockError::OwnerDead`] with the lock held; a
/// writer that unlocks without that loses the lock for all. Who sleeps learns of a death within 80 ms.
/// **What a stopped peer does.** A reader keeps writers out, a writer everybody.
/// **Locking again.** A thread that reads may read again. A thread that reads and wants to write, or writes and wants either,
/// gets [`LockError::Deadlock`]: there is no upgrade.
/// **Forks.** A guard belongs to the process that locked; its copy in a forked child does nothing.
///
/// ```standalone_crate
/// use mpshm::{Process, RwLock};
/// let table = RwLock::<[u64; 4]>::new([1, 1, 1, 1])?;
/// let reader = Process::spawn(|| {
///     let seen = table.read().unwrap().get();
///     i32::from(seen != [seen[0]; 4])
/// })?;
/// table.write().unwrap().set([2, 2, 2, 2]);
/// assert!(reader.join()?.success());
/// let (one, another) = (table.read().unwrap(), table.read().unwrap());
/// assert_eq!(one.get(), another.get());
/// # Ok::<(), mpshm::Error>(())
/// ```
pub struct RwLock<T> {
    raw: ByteRwLock,
    item: PhantomData<*mut T>,
}

// SAFETY: the value is reached only through guards: many that read, or one that writes.
unsafe impl<T: Pod> Send for RwLock<T> {}
// SAFETY: as above.
unsafe impl<T: Pod> Sync for RwLock<T> {}

impl<T: Pod> RwLock<T> {
    /// An anonymous lock, which forked children inherit.
    ///
    /// # Errors
    /// `NoSpace`; `Invalid` for a type aligned to more than 128.
    pub fn new(value: T) -> Result<Self> {
        Self::create(Place::ANONYMOUS, value)
    }

    /// Makes a lock at `place`: a name, or [`segment.at(name)`](Segment::at).
    ///
    /// # Errors
    /// `Exists`; `Invalid`; `NoSpace`; `Limit`.
    pub fn create<'a>(place: impl Into<Place<'a>>, value: T) -> Result<Self> {
        check_align::<T>()?;
        let bytes = bytemuck::bytes_of(&value);
        let raw = ByteRwLock::create(place.into(), TypeTag::of::<T>(), |data| {
            // SAFETY: inside the extent, which nobody else sees yet.
            unsafe { data.start().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        })?;
        Ok(Self { raw, item: PhantomData })
    }

    /// Opens the lock at `place`, which must hold a `T`.
    ///
    /// # Errors
    /// `NotFound`; `Type`; `Version`, `Corrupt`, `Permission`.
    pub fn open<'a>(place: impl Into<Place<'a>>) -> Result<Self> {
        check_align::<T>()?;
        let raw = ByteRwLock::open(place.into(), TypeTag::of::<T>())?;
        Ok(Self { raw, item: PhantomData })
    }

    /// Opens the lock at `place`, or makes it with `value`.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and [`create`](Self::create) but for `NotFound` and `Exists`.
    pub fn open_or_create<'a>(place: impl Into<Place<'a>>, value: T) -> Result<Self> {
        place.into().open_or_create(Self::open, |place| Self::create(place, value))
    }

    /// Bytes that such a lock needs in a segment for so many
    /// [participants](crate::SegmentOptions::participants) (64 by default).
    #[must_use]
    pub fn size_for(participants: u32) -> u64 {
        length(participants, size_of::<T>() as u64)
    }

    /// The segment that the lock lies in.
    #[must_use]
    pub fn segment(&self) -> &Segment {
        &self.raw.object.segment
    }

    /// Locks to read, waiting until nobody writes.
    ///
    /// # Errors
    /// [`LockError`]: `OwnerDead` (with the lock held), `NotRecoverable`, `Deadlock`, `Interrupted`, `Failed`.
    #[inline]
    pub fn read(&self) -> std::result::Result<ReadGuard<'_, T>, LockError<ReadGuard<'_, T>>> {
        self.read_timeout(Deadline::FOREVER)
    }

    /// Locks to read, waiting until `deadline` (a [`Deadline`], a `Duration` or an `Instant`).
    ///
    /// # Errors
    /// As [`read`](Self::read), and `TimedOut`.
    #[inline]
    pub fn read_timeout(
        &self,
        deadline: impl Into<Deadline>,
    ) -> std::result::Result<ReadGuard<'_, T>, LockError<ReadGuard<'_, T>>> {
        let reads = self.raw.read(deadline.into());
        reads.map(|raw| self.reading(raw)).map_err(|error| error.map(|raw| self.reading(raw)))
    }

    /// Locks to read if nobody writes, or waits to, or who did is dead.
    ///
    /// # Errors
    /// As [`read`](Self::read), and `Busy`.
    #[inline]
    pub fn try_read(&self) -> std::result::Result<ReadGuard<'_, T>, LockError<ReadGuard<'_, T>>> {
        let reads = self.raw.try_read();
        reads.map(|raw| self.reading(raw)).map_err(|error| error.map(|raw| self.reading(raw)))
    }

    /// Locks to write, waiting until nobody else reads or writes.
    ///
    /// # Errors
    /// [`LockError`]: `OwnerDead` (with the lock held), `NotRecoverable`, `Deadlock`, `Interrupted`, `Failed`.
    #[inline]
    pub fn write(&self) -> std::result::Result<WriteGuard<'_, T>, LockError<WriteGuard<'_, T>>> {
        self.write_timeout(Deadline::FOREVER)
    }

    /// Locks to write, waiting until `deadline` (a [`Deadline`], a `Duration` or an `Instant`).
    ///
    /// # Errors
    /// As [`write`](Self::write), and `TimedOut`.
    #[inline]
    pub fn write_timeout(
        &self,
        deadline: impl Into<Deadline>,
    ) -> std::result::Result<WriteGuard<'_, T>, LockError<WriteGuard<'_, T>>> {
        let writes = self.raw.write(deadline.into());
        writes.map(|raw| self.writing(raw)).map_err(|error| error.map(|raw| self.writing(raw)))
    }

    /// Locks to write if nobody reads or writes who is not dead.
    ///
    /// # Errors
    /// As [`write`](Self::write), and `Busy`.
    #[inline]
    pub fn try_write(
        &self,
    ) -> std::result::Result<WriteGuard<'_, T>, LockError<WriteGuard<'_, T>>> {
        let writes = self.raw.try_write();
        writes.map(|raw| self.writing(raw)).map_err(|error| error.map(|raw| self.writing(raw)))
    }

    fn reading<'l>(&'l self, raw: RawRead<'l>) -> ReadGuard<'l, T> {
        ReadGuard { _raw: raw, data: self.raw.data.cast() }
    }

    fn writing<'l>(&'l self, raw: RawGuard<'l>) -> WriteGuard<'l, T> {
        WriteGuard { raw, data: self.raw.data.cast() }
    }
}

impl<T> std::fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RwLock").finish_non_exhaustive()
    }
}

/// Where the data begin, after the head and the lines; a multiple of every alignment.
fn data_offset(participants: u32) -> u64 {
    size_of::<Head>() as u64 + u64::from(participants) * size_of::<Line>() as u64
}

fn length(participants: u32, size: u64) -> u64 {
    data_offset(participants) + size
}

/// A lock whose data are bytes of a size that is known at run time.
pub(crate) struct ByteRwLock {
    readers: Readers<'static>,
    pub data: *mut u8,
    pub item: TypeTag,
    pub object: Object,
    key: Key,
}

impl ByteRwLock {
    pub(crate) fn create(
        place: Place<'_>,
        item: TypeTag,
        fill: impl FnOnce(Region),
    ) -> Result<Self> {
        let participants = place.participants();
        let (at, size) = (data_offset(participants), item.size.into());
        let plan = Plan { kind: ObjectKind::RwLock, item, length: length(participants, size) };
        let object = place.create(plan, |region| {
            fill(region.slice(at, size)?);
            Ok(())
        })?;
        Self::over(object, item)
    }

    pub(crate) fn open(place: Place<'_>, item: TypeTag) -> Result<Self> {
        Self::over(place.open(ObjectKind::RwLock, item)?, item)
    }

    fn over(object: Object, item: TypeTag) -> Result<Self> {
        let region: Region = object.region;
        let participants = object.segment.participants_max();
        let readers = Readers {
            head: region.one(0)?,
            lines: region.array(size_of::<Head>() as u64, participants as usize)?,
        };
        let data = region.slice(data_offset(participants), item.size.into())?.start();
        let offset = region.start() as usize - object.segment.region().start() as usize;
        let key = Key { segment: object.segment.id(), offset };
        Ok(Self { readers, data, item, object, key })
    }

    fn me(&self) -> Result<Me> {
        self.object.segment.me()
    }

    fn is_over(&self) -> impl Fn(u32, u64, Doubt) -> bool + '_ {
        |slot, generation, doubt| mutex::is_over(&self.object.segment, slot, generation, doubt)
    }

    pub(crate) fn read(
        &self,
        deadline: Deadline,
    ) -> std::result::Result<RawRead<'_>, LockError<RawRead<'_>>> {
        let me = self.me().map_err(LockError::Failed)?;
        let again = held::reads(self.key);
        self.settle(me, self.readers.read(me, again, deadline, self.is_over()))
    }

    pub(crate) fn try_read(&self) -> std::result::Result<RawRead<'_>, LockError<RawRead<'_>>> {
        let me = self.me().map_err(LockError::Failed)?;
        let again = held::reads(self.key);
        self.settle(me, self.readers.try_read(me, again, self.is_over()))
    }

    #[inline]
    fn settle(
        &self,
        me: Me,
        got: std::result::Result<Locked, LockError<()>>,
    ) -> std::result::Result<RawRead<'_>, LockError<RawRead<'_>>> {
        let guard = || {
            held::add(self.key, me);
            RawRead { lock: self, me, process: fork::generation(), here: PhantomData }
        };
        match got {
            Ok(Locked::Sound) => Ok(guard()),
            Ok(Locked::OwnerDead) => Err(LockError::OwnerDead(guard())),
            Err(error) => Err(error.map(|()| guard())),
        }
    }

    pub(crate) fn write(
        &self,
        deadline: Deadline,
    ) -> std::result::Result<RawGuard<'_>, LockError<RawGuard<'_>>> {
        let got = self.may_write().and_then(|me| self.readers.write(me, deadline, self.is_over()));
        mutex::settle(self.writers(), &self.object.segment, got)
    }

    pub(crate) fn try_write(&self) -> std::result::Result<RawGuard<'_>, LockError<RawGuard<'_>>> {
        let got = self.may_write().and_then(|me| self.readers.try_write(me, self.is_over()));
        mutex::settle(self.writers(), &self.object.segment, got)
    }

    fn may_write(&self) -> std::result::Result<Me, LockError<()>> {
        if held::reads(self.key) {
            return Err(LockError::Deadlock);
        }
        self.me().map_err(LockError::Failed)
    }

    /// What a writer holds.
    pub(crate) fn writers(&self) -> &'static RawMutex {
        &self.readers.head.writers
    }

    /// Ends a reading of this thread's that forgot its guard.
    pub(crate) fn read_unlock_forgotten(&self) -> Result<()> {
        let me = self.me()?;
        if !held::remove(self.key, me) {
            return Err(Error::new(
                ErrorKind::NotOwner,
                "this thread of this process does not read under the lock",
            ));
        }
        self.readers.leave(me);
        Ok(())
    }
}

/// A reading. Dropped, it ends.
pub(crate) struct RawRead<'l> {
    lock: &'l ByteRwLock,
    me: Me,
    process: u32,
    /// It belongs to a thread.
    here: PhantomData<*const ()>,
}

impl Drop for RawRead<'_> {
    #[inline]
    fn drop(&mut self) {
        // In a forked child the reading is the parent's.
        if self.process == fork::generation() {
            held::remove(self.lock.key, self.me);
            self.lock.readers.leave(self.me);
        }
    }
}

/// The lock, held to read. Dropped, it unlocks.
#[must_use = "dropped, it unlocks"]
pub struct ReadGuard<'l, T> {
    _raw: RawRead<'l>,
    data: *const T,
}

impl<T: Pod> ReadGuard<'_, T> {
    /// A copy of the value.
    #[must_use]
    #[inline]
    pub fn get(&self) -> T {
        // SAFETY: inside the mapping and aligned; any bytes are a `T`; nobody writes while we read.
        unsafe { self.data.read() }
    }

    /// Where the value lies, to be read in place.
    #[must_use]
    pub fn as_ptr(&self) -> *const T {
        self.data
    }
}

impl<T> std::fmt::Debug for ReadGuard<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadGuard").finish_non_exhaustive()
    }
}

/// The lock, held to write: read and change the value. Dropped, it unlocks.
#[must_use = "dropped, it unlocks"]
pub struct WriteGuard<'l, T> {
    raw: RawGuard<'l>,
    data: *mut T,
}

impl<T: Pod> WriteGuard<'_, T> {
    /// A copy of the value.
    #[must_use]
    #[inline]
    pub fn get(&self) -> T {
        // SAFETY: inside the mapping and aligned; any bytes are a `T`; we hold the lock.
        unsafe { self.data.read() }
    }

    /// Replaces the value. Killed in the middle, the next one is told `OwnerDead`. In a forked child, which
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

    /// Says that the value is whole again after [`LockError::OwnerDead`].
    pub fn mark_consistent(&mut self) {
        self.raw.mark_consistent();
    }
}

impl<T> std::fmt::Debug for WriteGuard<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteGuard").finish_non_exhaustive()
    }
}
