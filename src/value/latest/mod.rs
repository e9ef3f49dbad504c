//! The latest value of any size: writers replace it as a whole, readers never wait and never see a half of it.

mod buffers;
mod newer;
mod words;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::plain::{Pod, TypeTag};
use crate::os::clock::Deadline;
use crate::os::copy::copy;
use crate::segment::Segment;
use crate::segment::place::Place;
pub(crate) use buffers::{RawLatest, RawReader, RawWrite, recover};
pub use newer::Newer;
use std::marker::PhantomData;
pub(crate) use words::Held;

/// How many may read and write a [`Latest`] at once.
///
/// ```
/// use mpshm::{Latest, LatestOptions};
/// let options = LatestOptions::new().readers(2).writers(1);
/// // Four values, and no more: the newest, one for each reader, one for the writer.
/// assert!(Latest::<[u8; 4096]>::size_for(&options)? < 5 * 4096);
/// # Ok::<(), mpshm::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct LatestOptions {
    pub(crate) readers: u32,
    pub(crate) writers: u32,
    pub(crate) bytes: u64,
}

impl LatestOptions {
    /// 8 readers, 2 writers.
    pub fn new() -> Self {
        Self { readers: 8, writers: 2, bytes: 0 }
    }

    /// Bytes of a `Latest<[u8]>`, at least 1.
    pub fn bytes(self, bytes: u64) -> Self {
        Self { bytes, ..self }
    }

    /// How many can read at the same moment: 1 to 128. Each costs the space of a value.
    pub fn readers(self, readers: u32) -> Self {
        Self { readers, ..self }
    }

    /// How many can write at the same moment, a stopped one included: 1 to 64. Each costs the space of a value; one
    /// more waits for them.
    pub fn writers(self, writers: u32) -> Self {
        Self { writers, ..self }
    }
}

impl Default for LatestOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// The latest value of any size. `Latest<T>` holds a plain type, `Latest<[u8]>` bytes of a length that is chosen at
/// creation.
///
/// Writers replace the value as a whole. Readers **never wait**, see the newest complete value, and may read it in place
/// for as long as they like: the writers use other buffers. A read looks at most twice for each writer that is
/// writing meanwhile. A writer waits only for other writers, when more of them write at once than the value
/// [was made for](LatestOptions::writers).
///
/// **What a dead peer does.** A writer killed at any instruction leaves the last complete value; a killed reader's
/// buffer is taken back by the writer that needs it. A stopped one of either keeps its buffer and holds nobody up.
///
/// ```standalone_crate
/// use mpshm::{Latest, Process};
/// let position = Latest::<[f64; 3]>::new(&[0.0; 3])?;
/// let child = Process::spawn(|| {
///     for step in 1..=1000 {
///         position.store(&[f64::from(step); 3]).unwrap();
///     }
///     0
/// })?;
/// let mut reader = position.reader()?;
/// while reader.load()?[0] < 1000.0 {
///     let [x, y, z] = reader.load()?; // never torn
///     assert!(x == y && y == z);
/// }
/// child.join()?;
/// assert_eq!(position.version(), 1001);
/// # Ok::<(), mpshm::Error>(())
/// ```
pub struct Latest<T: ?Sized> {
    raw: RawLatest,
    of: PhantomData<fn(&T)>,
}

mod content {
    use super::{Error, ErrorKind, Pod, Result, TypeTag};

    /// What a [`Latest`](crate::Latest) can hold: a plain type, or `[u8]`.
    pub trait Content {
        #[doc(hidden)]
        fn type_tag() -> Result<TypeTag>;
    }

    impl<T: Pod> Content for T {
        fn type_tag() -> Result<TypeTag> {
            if size_of::<T>() == 0 {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    "a latest value of a type of 0 bytes: at least 1 is expected",
                ));
            }
            Ok(TypeTag::of::<T>())
        }
    }

    impl Content for [u8] {
        fn type_tag() -> Result<TypeTag> {
            Ok(TypeTag::bytes(0, 1))
        }
    }
}
pub use content::Content;

impl<T: Content + ?Sized> Latest<T> {
    /// An anonymous one that begins as zeros, which forked children inherit.
    ///
    /// # Errors
    /// `NoSpace`; `Invalid` for a size of 0, a type aligned to more than 128, too many readers or writers.
    pub fn with_options(options: &LatestOptions) -> Result<Self> {
        Self::create(Place::ANONYMOUS, options)
    }

    /// Makes one that begins as zeros at `place`: a name, or [`segment.at(name)`](Segment::at).
    ///
    /// # Errors
    /// `Exists`; `Invalid`; `NoSpace`; `Limit`.
    pub fn create<'a>(place: impl Into<Place<'a>>, options: &LatestOptions) -> Result<Self> {
        Self::make(place.into(), options, None)
    }

    fn make(place: Place<'_>, options: &LatestOptions, bytes: Option<&[u8]>) -> Result<Self> {
        RawLatest::create(place, options, T::type_tag()?, bytes).map(Self::over)
    }

    /// Opens the one at `place`, which must hold a `T`.
    ///
    /// # Errors
    /// `NotFound`; `Type`; `Version`, `Corrupt`, `Permission`.
    pub fn open<'a>(place: impl Into<Place<'a>>) -> Result<Self> {
        RawLatest::open(place.into(), T::type_tag()?).map(Self::over)
    }

    /// Opens the one at `place`, or makes it.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and [`create`](Self::create) but for `NotFound` and `Exists`.
    pub fn open_or_create<'a>(
        place: impl Into<Place<'a>>,
        options: &LatestOptions,
    ) -> Result<Self> {
        place.into().open_or_create(|place| Self::open(place), |place| Self::create(place, options))
    }

    /// Bytes that one needs in a segment.
    ///
    /// # Errors
    /// `Invalid`; `NoSpace` when the size overflows.
    pub fn size_for(options: &LatestOptions) -> Result<u64> {
        RawLatest::size_for(options, T::type_tag()?)
    }

    fn over(raw: RawLatest) -> Self {
        Self { raw, of: PhantomData }
    }

    /// The segment that the value lies in.
    #[must_use]
    pub fn segment(&self) -> &Segment {
        &self.raw.object.segment
    }

    /// Bytes of the value.
    #[must_use]
    pub fn size(&self) -> usize {
        self.raw.size()
    }

    /// The version of the newest value: 1 at first, and one more with each that is stored.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.raw.version()
    }

    /// Waits until the newest value's version is another than `version`, and returns it.
    ///
    /// ```
    /// use std::time::Duration;
    /// let level = mpshm::Latest::<u32>::new(&10)?;
    /// let seen = level.version();
    /// assert!(level.wait_newer(seen, Duration::from_millis(1)).is_err());
    /// level.store(&11)?;
    /// assert_eq!(level.wait_newer(seen, Duration::from_secs(9))?, seen + 1);
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// `TimedOut`; `Interrupted`.
    pub fn wait_newer(&self, version: u64, deadline: impl Into<Deadline>) -> Result<u64> {
        self.raw.wait_newer(version, deadline.into())
    }

    /// Takes a buffer to write the next value in place. Waits only when more write at once than the value was
    /// [made for](LatestOptions::writers).
    ///
    /// ```
    /// use mpshm::{Latest, LatestOptions};
    /// let frame = Latest::<[u8]>::with_options(&LatestOptions::new().bytes(1 << 20))?;
    /// let mut write = frame.reserve()?;
    /// write.as_mut_ptr(); // 1 MiB to be filled, in which an older value stands
    /// write.copy_from_slice(0, b"header")?;
    /// write.commit()?;
    /// let mut reader = frame.reader()?;
    /// let claim = reader.claim()?;
    /// let mut header = [0; 6];
    /// claim.copy_to_slice(0, &mut header)?;
    /// assert_eq!(&header, b"header");
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Interrupted`; `Limit` when this process finds no participant slot.
    pub fn reserve(&self) -> Result<LatestWrite<'_, T>> {
        self.reserve_timeout(Deadline::FOREVER)
    }

    /// The same until `deadline`.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve), and `TimedOut`.
    pub fn reserve_timeout(&self, deadline: impl Into<Deadline>) -> Result<LatestWrite<'_, T>> {
        Ok(LatestWrite { raw: self.raw.reserve(deadline.into())?, of: PhantomData })
    }

    /// A reader, one of as many as the value was [made for](LatestOptions::readers).
    ///
    /// # Errors
    /// `Limit` when there are so many already; what the dead had is free again.
    pub fn reader(&self) -> Result<LatestReader<T>> {
        Ok(LatestReader { raw: self.raw.reader()?, of: PhantomData })
    }
}

impl<T: Pod> Latest<T> {
    /// An anonymous one with the default [options](LatestOptions), which forked children inherit.
    ///
    /// # Errors
    /// `NoSpace`; `Invalid` for a type of size 0 or one aligned to more than 128.
    pub fn new(value: &T) -> Result<Self> {
        Self::create_with(Place::ANONYMOUS, &LatestOptions::new(), value)
    }

    /// Makes one that begins as `value`.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_with<'a>(
        place: impl Into<Place<'a>>,
        options: &LatestOptions,
        value: &T,
    ) -> Result<Self> {
        Self::make(place.into(), options, Some(bytemuck::bytes_of(value)))
    }

    /// Replaces the value; returns its version.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve).
    #[inline]
    pub fn store(&self, value: &T) -> Result<u64> {
        let mut write = self.reserve()?;
        write.set(value);
        write.commit()
    }

    /// The newest value. A [reader](Self::reader) that is kept saves two steps of each read.
    ///
    /// # Errors
    /// `Limit` when as many read as the value was made for; `Corrupt`.
    pub fn load(&self) -> Result<T> {
        self.reader()?.load()
    }
}

impl<T: ?Sized> std::fmt::Debug for Latest<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Latest").field("version", &self.raw.version()).finish_non_exhaustive()
    }
}

fn check_range(start: usize, length: usize, size: usize) -> Result<()> {
    if start.checked_add(length).is_some_and(|end| end <= size) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Invalid,
        format!("{length} bytes from byte {start} on, of a value of {size} bytes"),
    ))
}

/// The next value, being written in place. Dropped, it is given up; the newest value stays what it was. A copy in a
/// forked child can do nothing.
#[must_use = "dropped, the value is given up"]
pub struct LatestWrite<'l, T: ?Sized> {
    raw: RawWrite<'l>,
    of: PhantomData<fn(&T)>,
}

impl<T: ?Sized> LatestWrite<'_, T> {
    /// Where the value lies; an older one stands there.
    #[must_use]
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.raw.as_ptr()
    }

    /// Copies `bytes` in, from byte `start` on.
    ///
    /// # Errors
    /// `Invalid` when they reach past the end; `Forked`.
    pub fn copy_from_slice(&mut self, start: usize, bytes: &[u8]) -> Result<()> {
        check_range(start, bytes.len(), self.raw.size())?;
        self.raw.check_here()?;
        // SAFETY: inside the buffer, which is ours to write.
        unsafe {
            copy(bytes.as_ptr(), self.raw.as_ptr().add(start), bytes.len());
        }
        Ok(())
    }

    /// Makes it the newest value; returns its version.
    ///
    /// # Errors
    /// `Forked` in a child of the process that reserved it; `Corrupt`.
    #[inline]
    pub fn commit(self) -> Result<u64> {
        self.raw.commit()
    }
}

impl<T: Pod> LatestWrite<'_, T> {
    /// Writes the whole value. In a forked child nothing is done.
    #[inline]
    pub fn set(&mut self, value: &T) {
        if self.raw.check_here().is_ok() {
            // SAFETY: the buffer is as large as a `T` and aligned to 128, and ours to write.
            unsafe { copy(std::ptr::from_ref(value).cast(), self.raw.as_ptr(), size_of::<T>()) };
        }
    }
}

impl<T: ?Sized> std::fmt::Debug for LatestWrite<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LatestWrite").finish_non_exhaustive()
    }
}

/// One of the readers of a [`Latest`]. In a forked child it is another one, from its first read on.
pub struct LatestReader<T: ?Sized> {
    raw: RawReader,
    of: PhantomData<fn(&T)>,
}

impl<T: ?Sized> LatestReader<T> {
    /// Holds the newest value, to be read in place until it is dropped. Never waits; writers go on.
    ///
    /// # Errors
    /// `Corrupt`; in a forked child also `Limit`.
    #[inline]
    pub fn claim(&mut self) -> Result<LatestClaim<'_, T>> {
        let held = self.raw.pin()?;
        Ok(LatestClaim { reader: self, held })
    }

    /// The version of the newest value.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.raw.latest().version()
    }
}

impl<T: Pod> LatestReader<T> {
    /// A copy of the newest value. Never waits.
    ///
    /// # Errors
    /// As [`claim`](Self::claim).
    #[inline]
    pub fn load(&mut self) -> Result<T> {
        Ok(self.claim()?.get())
    }
}

impl<T: ?Sized> std::fmt::Debug for LatestReader<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LatestReader").finish_non_exhaustive()
    }
}

/// A value that a reader holds. There is no `&T`: a peer that breaks the protocol could change the bytes behind it.
#[must_use = "dropped, the value is let go"]
pub struct LatestClaim<'r, T: ?Sized> {
    reader: &'r mut LatestReader<T>,
    held: Held,
}

impl<T: ?Sized> LatestClaim<'_, T> {
    /// The value's version.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.held.version
    }

    /// Where the value lies.
    #[must_use]
    pub fn as_ptr(&self) -> *const u8 {
        self.reader.raw.at(self.held)
    }

    /// Copies bytes out, from byte `start` on, as many as `bytes` holds.
    ///
    /// # Errors
    /// `Invalid` when they reach past the end.
    pub fn copy_to_slice(&self, start: usize, bytes: &mut [u8]) -> Result<()> {
        check_range(start, bytes.len(), self.reader.raw.latest().size())?;
        // SAFETY: inside the buffer, which writers leave alone.
        unsafe { copy(self.as_ptr().add(start), bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }
}

impl<T: Pod> LatestClaim<'_, T> {
    /// A copy of the value.
    #[must_use]
    #[inline]
    pub fn get(&self) -> T {
        let mut value = std::mem::MaybeUninit::<T>::uninit();
        // SAFETY: the buffer is as large as a `T`, and any bytes are one.
        unsafe {
            copy(self.as_ptr(), value.as_mut_ptr().cast(), size_of::<T>());
            value.assume_init()
        }
    }
}

impl<T: ?Sized> Drop for LatestClaim<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.reader.raw.unpin();
    }
}

impl<T: ?Sized> std::fmt::Debug for LatestClaim<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LatestClaim").field("version", &self.held.version).finish_non_exhaustive()
    }
}
