//! Segments: shared memory with a header, participants and named objects.
//!
//! A segment is anonymous (a sealed memfd; forked children inherit it, others get its descriptor),
//! named (a file in `/dev/shm`, mode 0600) or a file at a path of the user's, whose contents outlive a reboot.
//! Whoever attaches checks every field of the header and the file's real size before anything else is
//! read, and keeps a private copy of what it learned.
//!
//! **What a dead peer does.** Nothing: a segment has no lock. Its creator may be killed at any
//! instruction: a name appears only when the segment behind it is complete.
//!
//! **Forks.** A child uses its parent's handles; it counts as a participant of its own.
//!
//! **After a reboot.** Locks on bytes of the file tell who lives, and none outlives the kernel that holds it:
//! in a file segment all participants of before are over, what they held is repaired as for any dead
//! one, and what was removed is free. An orderly shutdown keeps all bytes; a power failure may keep
//! some pages and not others, but for what [`Segment::sync`] had returned from.
//!
//! **Caveat.** The owner of a named segment's file can shorten it, and then every access past the
//! end is SIGBUS, as with any mapped file. Anonymous segments are sealed against it.

pub(crate) mod directory;
pub(crate) mod entry;
pub(crate) mod inherited;
mod options;
pub(crate) mod participant;
pub(crate) mod place;
mod scope;
mod transfer;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::header::{Geometry, Header};
use crate::layout::offset::Region;
use crate::os::file::Target;
use crate::os::fork;
use crate::os::liveness;
use crate::os::memory::{self, FileId, Mapping};
use crate::os::mirror::Mirror;
use directory::{Directory, Extent, Memory, Unnamed, Wanted};
pub use directory::{ObjectInfo, ObjectKind};
pub use options::SegmentOptions;
use participant::{Me, Membership, Table};
pub use place::Place;
pub use scope::{Scope, scope};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
pub use transfer::{recv_fd, send_fd};

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
    origin: Origin,
}

/// Where a segment came from.
#[derive(Debug)]
pub(crate) enum Origin {
    /// Made without a name, or attached by descriptor.
    Anonymous,
    Named(Box<str>),
    File(Box<Path>),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Anonymous => f.write_str("an anonymous segment"),
            Self::Named(name) => write!(f, "segment '{name}'"),
            Self::File(path) => write!(f, "segment file '{}'", path.display()),
        }
    }
}

// SAFETY: `Mapping` leads to memory only through raw pointers, and everything in that memory is
// accessed as atomics or under the ownership protocols of the objects.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

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
        Self::options().attach_fd(fd)
    }

    /// Makes a segment in the file `path`; see [`SegmentOptions::create_file`].
    ///
    /// # Errors
    /// `Exists`, `NotFound`, `Invalid`, `NoSpace`, `Permission`.
    pub fn create_file(path: impl AsRef<Path>, bytes: u64) -> Result<Self> {
        Self::options().create_file(path, bytes)
    }

    /// Attaches to the segment in the file `path`; see [`SegmentOptions::attach_file`].
    ///
    /// # Errors
    /// `NotFound`, `Invalid`, `Permission`, `Version`, `Corrupt`, `NoSpace`.
    pub fn attach_file(path: impl AsRef<Path>) -> Result<Self> {
        Self::options().attach_file(path)
    }

    /// Attaches to the segment in the file `path`, or makes it; see
    /// [`SegmentOptions::open_or_create_file`].
    ///
    /// # Errors
    /// `NotFound` (the folder), `Invalid`, `NoSpace`, `Permission`, `Version`, `Corrupt`.
    pub fn open_or_create_file(path: impl AsRef<Path>, bytes: u64) -> Result<Self> {
        Self::options().open_or_create_file(path, bytes)
    }

    /// Removes the file `path`, whatever is in it: the same as an unlink of your own. Whoever is
    /// attached stays so.
    ///
    /// # Errors
    /// `NotFound`, `Invalid`, `Permission`.
    pub fn unlink_file(path: impl AsRef<Path>) -> Result<()> {
        Target::file(path.as_ref())?.unlink()
    }

    /// Writes what has changed to the storage of the segment's file, and returns when it is there. Needed
    /// only against a power failure. For memory without a file it does nothing. Blocks on the storage.
    ///
    /// # Errors
    /// `System` with the system's error number, such as `EIO`.
    pub fn sync(&self) -> Result<()> {
        self.0.mapping.sync(&self.0.origin.to_string())
    }

    /// Removes the object `name`. The name is gone at once, and a new object may take it; who has the object
    /// open keeps using it, queues with all their sleepers included. Its space is used again when everybody
    /// who had it open has closed it, or is dead; a stopped process, and a forked child that
    /// inherited the handle, count as having it open. Never waits.
    ///
    /// ```
    /// # use mpshm::{ErrorKind, Segment, Value};
    /// let segment = Segment::anonymous(4096)?;
    /// let old = Value::<u8>::create(segment.at("x"), 1)?;
    /// segment.remove("x")?;
    /// assert_eq!(Value::<u8>::open(segment.at("x")).unwrap_err().kind(), ErrorKind::NotFound);
    /// let new = Value::<u8>::create(segment.at("x"), 2)?;
    /// assert_eq!((old.load(), new.load()), (1, 2));
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for a bad name; `Corrupt`.
    pub fn remove(&self, name: &str) -> Result<()> {
        directory::check_object_name(name)?;
        self.directory()?.remove(name)
    }

    /// Removes the name `name`. Whoever is attached stays so; closing never removes a name.
    ///
    /// # Errors
    /// `NotFound`, `Invalid`, `Permission`.
    pub fn unlink(name: &str) -> Result<()> {
        Target::named(name)?.unlink()
    }

    fn begin(
        fd: OwnedFd,
        geometry: Geometry,
        origin: Origin,
        options: &SegmentOptions,
    ) -> Result<Self> {
        let id = memory::random_id();
        let geometry = Geometry { id, ..geometry };
        let what = origin.to_string();
        let mapping = Mapping::new(fd.as_fd(), geometry.size as usize, &what)?;
        options.apply(&mapping, &what)?;
        let header =
            geometry.header(id, liveness::boot_id(), std::process::id(), memory::effective_user());
        // SAFETY: the mapping is larger than the header, page-aligned, and nobody else's yet. The
        // rest of it is zero, which is what empty tables are.
        unsafe { mapping.start().cast::<Header>().write(header) };
        Ok(Self::over(fd, mapping, geometry, origin))
    }

    fn check_and_map(fd: OwnedFd, origin: Origin, options: &SegmentOptions) -> Result<Self> {
        let what = origin.to_string();
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
        options.apply(&mapping, &what)?;
        Ok(Self::over(fd, mapping, geometry, origin))
    }

    fn over(fd: OwnedFd, mapping: Mapping, geometry: Geometry, origin: Origin) -> Self {
        let file = FileId::of(fd.as_fd());
        let membership = Membership::new();
        Self(Arc::new(Inner { membership, mapping, fd, geometry, file, origin }))
    }

    /// The place of the object `name` in this segment, to be handed to an object's `create` or `open`.
    #[must_use]
    pub fn at<'a>(&'a self, name: &'a str) -> Place<'a> {
        Place::inside(self, name)
    }

    /// The place of a new object without a name in this segment, to be handed to an object's `create`. This process has it
    /// by its handle, and so have the children that it forks from then on; nobody can open it. When the last handle here is
    /// gone, its space is used again, unless such a child is alive and has kept its own: then when that is over. The
    /// death of this process ends it in the same way.
    ///
    /// Making and dropping one takes no system call. The first fork behind the making takes a few, for each of them.
    /// In a child of a bare `clone(2)`, which runs no at-fork handlers, it must not be used.
    ///
    /// ```
    /// # use mpshm::{Mutex, Segment};
    /// let segment = Segment::anonymous(4096)?;
    /// for _ in 0..1000 {
    ///     let lock = Mutex::create(segment.unnamed(), 0_u64)?;
    ///     lock.lock()?.set(1);
    /// }
    /// assert!(segment.objects()?.is_empty());
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    #[must_use]
    pub fn unnamed(&self) -> Place<'_> {
        Place::without_name(self)
    }

    /// Bytes of the whole segment.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.geometry.size
    }

    /// The name, or `None` for a segment in a file, an anonymous one, or one attached by descriptor.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.0.origin {
            Origin::Named(name) => Some(name),
            _ => None,
        }
    }

    /// The path that it was made at or attached by, for a segment in a file.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.0.origin {
            Origin::File(path) => Some(path),
            _ => None,
        }
    }

    /// 128 random bits that tell this segment from every other.
    #[must_use]
    pub fn id(&self) -> u128 {
        self.0.geometry.id
    }

    /// The objects in the segment, newest first. Removed ones are not listed, whoever has them open.
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

    /// What a mapping of the segment's file is a multiple of.
    pub(crate) fn page_size(&self) -> u64 {
        memory::page_size_of(self.0.fd.as_fd()) as u64
    }

    /// Maps a range of the segment, whole pages, a second and a third time: see [`Mirror`].
    pub(crate) fn mirror(&self, bytes: Region) -> Result<Mirror> {
        let what = self.0.origin.to_string();
        if FileId::of(self.0.fd.as_fd()) != self.0.file {
            return Err(Error::new(
                ErrorKind::System,
                format!("{what}: its descriptor was closed behind the library's back"),
            ));
        }
        let offset = bytes.start() as usize - self.0.mapping.start() as usize;
        Mirror::new(self.0.fd.as_fd(), offset as u64, bytes.length(), &what)
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

    /// The same, if the process has a slot already.
    #[inline(always)]
    pub(crate) fn me_if_joined(&self) -> Option<(Me, fork::Process)> {
        self.0.membership.if_joined()
    }

    pub(crate) fn create_object(
        &self,
        wanted: Wanted<'_>,
        length: u64,
        memory: Memory,
        fill: impl FnOnce(Region) -> Result<()>,
    ) -> Result<Extent> {
        self.directory()?.create(self.me()?, wanted, (length, memory), fill)
    }
}

impl Segment {
    /// Makes an object without a name.
    pub(crate) fn create_unnamed(
        &self,
        wanted: Wanted<'_>,
        length: u64,
        fill: impl FnOnce(Region) -> Result<()>,
    ) -> Result<(Extent, Keep)> {
        let (directory, me) = (self.directory()?, self.me()?);
        // SAFETY: what keeps the object keeps the segment, and so its descriptor.
        let (extent, unnamed) = unsafe { directory.create_unnamed(me, wanted, length, fill) }?;
        let process = fork::generation();
        Ok((extent, Keep { segment: self.clone(), unnamed: ManuallyDrop::new(unnamed), process }))
    }
}

/// Keeps an object without a name.
#[derive(Debug)]
pub(crate) struct Keep {
    segment: Segment,
    unnamed: ManuallyDrop<Unnamed>,
    /// The maker's process generation.
    process: u32,
}

impl Drop for Keep {
    fn drop(&mut self) {
        // SAFETY: it is not used again.
        let unnamed = unsafe { ManuallyDrop::take(&mut self.unnamed) };
        let inherited = self.process != fork::generation();
        let directory = self.segment.directory().expect("the geometry was checked at attach");
        directory.let_go(unnamed, inherited);
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
        f.debug_struct("Segment")
            .field("origin", &self.0.origin)
            .field("size", &self.size())
            .finish()
    }
}
