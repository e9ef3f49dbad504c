//! Segments: shared memory with a header, participants and named objects.
//!
//! A segment is anonymous (a sealed memfd; forked children inherit it, others get its descriptor) or
//! named (a file in `/dev/shm`, mode 0600). Whoever attaches checks every field of the header and
//! the file's real size before anything else is read, and keeps a private copy of what it learned.
//!
//! **What a dead peer does.** Nothing: a segment has no lock. Its creator may be killed at any
//! instruction: a name appears only when the segment behind it is complete.
//!
//! **Forks.** A child uses its parent's handles; it counts as a participant of its own.
//!
//! **Caveat.** The owner of a named segment's file can shorten it, and then every access past the
//! end is SIGBUS, as with any mapped file. Anonymous segments are sealed against it.

pub(crate) mod directory;
pub(crate) mod participant;
pub(crate) mod place;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::header::{Geometry, Header};
use crate::layout::offset::Region;
use crate::os::liveness::{self, Identity};
use crate::os::memory::{self, FileId, Mapping};
use directory::{Directory, Extent, Wanted};
pub use directory::{ObjectInfo, ObjectKind};
use participant::{Me, Membership, Table};
pub use place::Place;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// A mapped segment. Cloning is cheap; the mapping ends with the last clone and the last object.
///
/// ```
/// use mpshm::{Segment, Value};
/// let segment = Segment::anonymous(4096)?;
/// let hits = Value::<u64>::create(segment.at("hits"), 0)?;
/// hits.fetch_add(1);
/// assert_eq!(Value::<u64>::open(segment.at("hits"))?.load(), 1);
/// # Ok::<(), mpshm::Error>(())
/// ```
#[derive(Clone)]
pub struct Segment(Arc<Inner>);

struct Inner {
    membership: Membership,
    mapping: Mapping,
    fd: OwnedFd,
    geometry: Geometry,
    file: Option<FileId>,
    /// For messages; empty when anonymous.
    name: Box<str>,
}

// SAFETY: `Mapping` leads to memory only through raw pointers, and everything in that memory is
// accessed as atomics or under the ownership protocols of the objects.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

/// How a segment is made or attached to.
///
/// ```
/// let segment = mpshm::Segment::options().participants(8).objects(4).anonymous(4096)?;
/// assert_eq!(segment.size(), mpshm::Segment::options().participants(8).objects(4).size_for(4096)?);
/// # Ok::<(), mpshm::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct SegmentOptions {
    participants: u32,
    objects: u32,
    mode: u32,
    group: Option<u32>,
    of_any_user: bool,
}

impl Default for SegmentOptions {
    fn default() -> Self {
        Self { participants: 64, objects: 64, mode: 0o600, group: None, of_any_user: false }
    }
}

impl SegmentOptions {
    /// How many processes can own something in the segment at one time: 1 to 1023, 64 by default.
    pub fn participants(self, participants: u32) -> Self {
        Self { participants, ..self }
    }

    /// How many objects the directory has room for: 1 to 65,536, 64 by default.
    pub fn objects(self, objects: u32) -> Self {
        Self { objects, ..self }
    }

    /// The file mode of a named segment, 0600 by default. Not cut down by the umask.
    pub fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    /// The group that a named segment's file is given to.
    pub fn group(self, group: u32) -> Self {
        Self { group: Some(group), ..self }
    }

    /// Attach also to a segment that belongs to another user, which is refused by default: its
    /// owner can shorten the file.
    pub fn of_any_user(self, of_any_user: bool) -> Self {
        Self { of_any_user, ..self }
    }

    pub(crate) fn participants_count(&self) -> u32 {
        self.participants
    }

    /// Bytes that a segment with room for `bytes` of objects occupies, tables and rounding to pages
    /// included.
    pub fn size_for(&self, bytes: u64) -> Result<u64> {
        Ok(Geometry::plan(self.participants, self.objects, bytes)?.size)
    }

    /// Makes an anonymous segment with room for `bytes` of objects.
    ///
    /// # Errors
    /// `Invalid` for a count or size out of range; `NoSpace` when the machine or the control group
    /// has less memory available.
    pub fn anonymous(&self, bytes: u64) -> Result<Segment> {
        let geometry = Geometry::plan(self.participants, self.objects, bytes)?;
        let fd = memory::create_anonymous("mpshm", geometry.size)?;
        Segment::begin(fd, geometry, "")
    }

    /// Makes the segment `name` with room for `bytes` of objects.
    ///
    /// # Errors
    /// `Exists` when there is one; `Invalid` for a bad name, count or size; `NoSpace`; `Permission`.
    pub fn create(&self, name: &str, bytes: u64) -> Result<Segment> {
        self.create_with(name, bytes, |_| Ok(())).map(|(segment, ())| segment)
    }

    /// Makes the segment `name`, fills it, and only then lets the name appear.
    pub(crate) fn create_with<T>(
        &self,
        name: &str,
        bytes: u64,
        fill: impl FnOnce(&Segment) -> Result<T>,
    ) -> Result<(Segment, T)> {
        memory::check_name(name)?;
        let geometry = Geometry::plan(self.participants, self.objects, bytes)?;
        let unnamed = memory::Unnamed::create(name, geometry.size, self.mode, self.group)?;
        let segment = Segment::begin(memory::duplicate(unnamed.fd())?, geometry, name)?;
        let filled = fill(&segment)?;
        unnamed.publish(name)?;
        Ok((segment, filled))
    }

    /// Attaches to the segment `name`. Counts of these options do not matter: the segment has its own.
    ///
    /// # Errors
    /// `NotFound`; `Permission` when it belongs to another user; `Version` when the file is no
    /// segment or one of another format; `Corrupt` when its header contradicts itself or the file.
    pub fn attach(&self, name: &str) -> Result<Segment> {
        let fd = memory::open_named(name, self.of_any_user)?;
        Segment::check_and_map(fd, name)
    }

    /// Attaches to the segment `name`, or makes it with room for `bytes`; an existing one keeps
    /// its size and content.
    ///
    /// # Errors
    /// Those of [`attach`](Self::attach) and [`create`](Self::create) but for `Exists` and `NotFound`.
    pub fn open_or_create(&self, name: &str, bytes: u64) -> Result<Segment> {
        loop {
            match self.attach(name) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                other => return other,
            }
            match self.create(name, bytes) {
                Err(error) if error.kind() == ErrorKind::Exists => {}
                other => return other,
            }
        }
    }
}

impl Segment {
    /// How a segment is made, to be changed from the defaults.
    pub fn options() -> SegmentOptions {
        SegmentOptions::default()
    }

    /// Makes an anonymous segment with room for `bytes` of objects; see
    /// [`SegmentOptions::anonymous`].
    ///
    /// # Errors
    /// `Invalid`, `NoSpace`.
    pub fn anonymous(bytes: u64) -> Result<Self> {
        Self::options().anonymous(bytes)
    }

    /// Makes the segment `name` with room for `bytes` of objects; see [`SegmentOptions::create`].
    ///
    /// # Errors
    /// `Exists`, `Invalid`, `NoSpace`, `Permission`.
    pub fn create(name: &str, bytes: u64) -> Result<Self> {
        Self::options().create(name, bytes)
    }

    /// Attaches to the segment `name`; see [`SegmentOptions::attach`].
    ///
    /// # Errors
    /// `NotFound`, `Permission`, `Version`, `Corrupt`.
    pub fn attach(name: &str) -> Result<Self> {
        Self::options().attach(name)
    }

    /// Attaches to `name`, or makes it; see [`SegmentOptions::open_or_create`].
    ///
    /// # Errors
    /// `Invalid`, `NoSpace`, `Permission`, `Version`, `Corrupt`.
    pub fn open_or_create(name: &str, bytes: u64) -> Result<Self> {
        Self::options().open_or_create(name, bytes)
    }

    /// Attaches to the segment behind a descriptor, which was inherited or came over a socket.
    ///
    /// ```
    /// use mpshm::Segment;
    /// use std::os::fd::AsFd;
    /// let segment = Segment::anonymous(4096)?;
    /// let copy = segment.as_fd().try_clone_to_owned().unwrap();
    /// assert_eq!(Segment::attach_fd(copy)?.id(), segment.id());
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Version`, `Corrupt` as for [`attach`](Self::attach); `Permission` when somebody else could shorten the
    /// file: it is not sealed, and belongs to another user.
    pub fn attach_fd(fd: OwnedFd) -> Result<Self> {
        if !memory::cannot_shrink(fd.as_fd()) {
            return Err(Error::new(
                ErrorKind::Permission,
                "the descriptor's file is not sealed against shrinking and belongs to another user",
            ));
        }
        Self::check_and_map(fd, "")
    }

    /// Removes the name `name`. Whoever is attached stays so; closing never removes a name.
    ///
    /// # Errors
    /// `NotFound`, `Invalid`, `Permission`.
    pub fn unlink(name: &str) -> Result<()> {
        memory::unlink_named(name)
    }

    fn begin(fd: OwnedFd, geometry: Geometry, name: &str) -> Result<Self> {
        let id = memory::random_id();
        let geometry = Geometry { id, ..geometry };
        let mapping = Mapping::new(fd.as_fd(), geometry.size as usize, &describe(name))?;
        let header =
            geometry.header(id, liveness::boot_id(), Identity::own().pid, memory::effective_user());
        // SAFETY: the mapping is larger than the header, page-aligned, and nobody else's yet. The
        // rest of it is zero, which is what empty tables are.
        unsafe { mapping.start().cast::<Header>().write(header) };
        {
            let file = FileId::of(fd.as_fd());
            Ok(Self(Arc::new(Inner {
                membership: Membership::new(),
                mapping,
                fd,
                geometry,
                file,
                name: name.into(),
            })))
        }
    }

    fn check_and_map(fd: OwnedFd, name: &str) -> Result<Self> {
        let what = describe(name);
        let file_size = memory::size_of_file(fd.as_fd(), &what)?;
        if file_size < size_of::<Header>() as u64 {
            return Err(Error::new(
                ErrorKind::Version,
                format!(
                    "{what} is no segment: {file_size} bytes are less than a header's {}",
                    size_of::<Header>()
                ),
            ));
        }
        let length = usize::try_from(file_size).map_err(|_| {
            Error::new(
                ErrorKind::Corrupt,
                format!("{what}: {file_size} bytes do not fit the address space"),
            )
        })?;
        let mapping = Mapping::new(fd.as_fd(), length, &what)?;
        // SAFETY: the mapping is larger than the header and page-aligned; the copy is private.
        let header = unsafe { mapping.start().cast::<Header>().read_volatile() };
        let geometry = Geometry::check(&header, file_size, &what)?;
        {
            let file = FileId::of(fd.as_fd());
            Ok(Self(Arc::new(Inner {
                membership: Membership::new(),
                mapping,
                fd,
                geometry,
                file,
                name: name.into(),
            })))
        }
    }

    /// The place of the object `name` in this segment, to be handed to an object's `create` or `open`.
    #[must_use]
    pub fn at<'a>(&'a self, name: &'a str) -> Place<'a> {
        Place::inside(self, name)
    }

    /// Bytes of the whole segment.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.geometry.size
    }

    /// The name, or `None` for an anonymous segment or one attached by descriptor.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        (!self.0.name.is_empty()).then_some(&*self.0.name)
    }

    /// 128 random bits that tell this segment from every other.
    #[must_use]
    pub fn id(&self) -> u128 {
        self.0.geometry.id
    }

    /// The objects in the segment, newest first.
    ///
    /// ```
    /// # use mpshm::{Segment, Value};
    /// let segment = Segment::anonymous(4096)?;
    /// Value::<i32>::create(segment.at("x"), 7)?;
    /// assert_eq!(segment.objects()?[0].name, "x");
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Corrupt` when the directory contradicts itself.
    pub fn objects(&self) -> Result<Vec<ObjectInfo>> {
        self.directory()?.list()
    }

    /// Process ids of those who own or may own something in the segment and are not proven dead.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn participants(&self) -> Result<Vec<u32>> {
        Ok(self.table()?.living().into_iter().map(|(_, pid)| pid).collect())
    }

    /// How many participants there can be at one time.
    #[must_use]
    pub fn participants_max(&self) -> u32 {
        self.0.geometry.participants
    }

    pub(crate) fn region(&self) -> Region {
        // SAFETY: the mapping lives as long as the segment; objects hold a clone of it.
        unsafe { Region::new(self.0.mapping.start(), self.0.mapping.length()) }
    }

    pub(crate) fn table(&self) -> Result<Table<'_>> {
        let geometry = &self.0.geometry;
        let slots =
            self.region().array(geometry.participants_offset, geometry.participants as usize)?;
        Ok(Table { slots, fd: self.0.fd.as_fd(), file: self.0.file })
    }

    pub(crate) fn directory(&self) -> Result<Directory<'_>> {
        let geometry = &self.0.geometry;
        let region = self.region();
        Ok(Directory {
            head: region.one(geometry.directory_offset)?,
            entries: region.array(
                geometry.directory_offset + size_of::<directory::Head>() as u64,
                geometry.objects as usize,
            )?,
            arena: (geometry.arena_offset, geometry.size),
            segment: region,
            participants: self.table()?,
        })
    }

    /// This process as a participant; the first call of a process takes a slot.
    #[inline]
    pub(crate) fn me(&self) -> Result<Me> {
        self.0.membership.me(|| self.table().expect("the geometry was checked at attach"))
    }

    pub(crate) fn create_object(
        &self,
        wanted: Wanted<'_>,
        length: u64,
        fill: impl FnOnce(Region) -> Result<()>,
    ) -> Result<Extent> {
        self.directory()?.create(self.me()?, wanted, length, fill)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let geometry = &self.geometry;
        // SAFETY: the mapping is still there.
        let region = unsafe { Region::new(self.mapping.start(), self.mapping.length()) };
        if let Ok(slots) =
            region.array(geometry.participants_offset, geometry.participants as usize)
        {
            self.membership.end(Table { slots, fd: self.fd.as_fd(), file: self.file });
        }
    }
}

impl AsFd for Segment {
    /// The descriptor of the segment's memory, to be handed to another process.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segment").field("name", &self.name()).field("size", &self.size()).finish()
    }
}

fn describe(name: &str) -> String {
    if name.is_empty() { "an anonymous segment".into() } else { format!("segment '{name}'") }
}
