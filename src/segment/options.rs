//! How a segment is made or attached to.

use crate::error::{Error, ErrorKind, Result};
use crate::layout::header::Geometry;
use crate::os::file::{Target, Unnamed};
use crate::os::memory::{self, Mapping};
use crate::segment::{Origin, Segment};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

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
    huge_pages: bool,
    huge_tlb: bool,
    lock_memory: bool,
    prefault: bool,
}

impl Default for SegmentOptions {
    fn default() -> Self {
        Self {
            participants: 64,
            objects: 64,
            mode: 0o600,
            group: None,
            of_any_user: false,
            huge_pages: false,
            huge_tlb: false,
            lock_memory: false,
            prefault: false,
        }
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

    /// The file mode of a named segment or a segment file, 0600 by default. Not cut down by the umask.
    pub fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    /// The group that a named segment's file, or a segment file, is given to.
    pub fn group(self, group: u32) -> Self {
        Self { group: Some(group), ..self }
    }

    /// Attach also to a segment that belongs to another user, which is refused by default: its
    /// owner can shorten the file.
    pub fn of_any_user(self, of_any_user: bool) -> Self {
        Self { of_any_user, ..self }
    }

    /// Ask for transparent huge pages, for this process's mapping. Only advice: it has no effect where the
    /// kernel or the file system has none, and is never an error.
    pub fn huge_pages(self, huge_pages: bool) -> Self {
        Self { huge_pages, ..self }
    }

    /// Make an anonymous segment of huge pages from the pool that the machine sets aside
    /// (`vm.nr_hugepages`). Its size is rounded up to them; `NoSpace` when there are too few.
    pub fn huge_tlb(self, huge_tlb: bool) -> Self {
        Self { huge_tlb, ..self }
    }

    /// Lock the mapping of this process into memory (`mlock`): no page of it is ever fetched from
    /// storage or swap. `Limit` where `RLIMIT_MEMLOCK` does not allow it. Forked children do not inherit it.
    pub fn lock_memory(self, lock_memory: bool) -> Self {
        Self { lock_memory, ..self }
    }

    /// Map every page of the segment now, writable, so that no later access of this process is a page fault.
    pub fn prefault(self, prefault: bool) -> Self {
        Self { prefault, ..self }
    }

    pub(crate) fn participants_count(&self) -> u32 {
        self.participants
    }

    fn plan(&self, bytes: u64) -> Result<Geometry> {
        let mut geometry = Geometry::plan(self.participants, self.objects, bytes)?;
        if self.huge_tlb {
            geometry.size = geometry.size.next_multiple_of(memory::huge_page_size());
        }
        Ok(geometry)
    }

    /// What this process wants of its mapping.
    pub(crate) fn apply(&self, mapping: &Mapping, what: &str) -> Result<()> {
        if self.huge_pages {
            mapping.advise_huge_pages();
        }
        if self.lock_memory {
            mapping.lock(what)?;
        }
        if self.prefault {
            mapping.prefault(what)?;
        }
        Ok(())
    }

    /// Bytes that a segment with room for `bytes` of objects occupies, tables and rounding to pages
    /// included.
    ///
    /// # Errors
    /// `Invalid` for a count or size out of range; `NoSpace` for more than an address space holds.
    pub fn size_for(&self, bytes: u64) -> Result<u64> {
        Ok(self.plan(bytes)?.size)
    }

    /// Makes an anonymous segment with room for `bytes` of objects.
    ///
    /// # Errors
    /// `Invalid` for a count or size out of range; `NoSpace` when the machine or the control group
    /// has less memory available, or fewer huge pages set aside; `Limit` for what may not be locked.
    pub fn anonymous(&self, bytes: u64) -> Result<Segment> {
        let geometry = self.plan(bytes)?;
        let fd = memory::create_anonymous("mpshm", geometry.size, self.huge_tlb)?;
        Segment::begin(fd, geometry, Origin::Anonymous, self)
    }

    /// Makes the segment `name` with room for `bytes` of objects.
    ///
    /// # Errors
    /// `Exists` when there is one; `Invalid` for a bad name, count or size; `NoSpace`; `Permission`; `Limit`.
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
        self.create_at(&Target::named(name)?, bytes, Origin::Named(name.into()), fill)
    }

    /// Makes a segment in the file `path`, with room for `bytes` of objects. The contents outlive a
    /// reboot. Every page is allocated; where the file system cannot do that, by writing zeros.
    ///
    /// ```
    /// # use mpshm::{Segment, Value};
    /// let path = std::env::temp_dir().join(format!("mpshm-doc-{}", std::process::id()));
    /// let segment = Segment::options().create_file(&path, 4096)?;
    /// Value::<u64>::create(segment.at("count"), 7)?;
    /// segment.sync()?;
    /// drop(segment);
    /// let again = Segment::attach_file(&path)?;
    /// assert_eq!(Value::<u64>::open(again.at("count"))?.load(), 7);
    /// Segment::unlink_file(&path)?;
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Exists` when there is a file; `NotFound` when there is no such folder; `Invalid` for a path that
    /// names no file, and for a count or size; `NoSpace`; `Permission`; `Limit`.
    pub fn create_file(&self, path: impl AsRef<Path>, bytes: u64) -> Result<Segment> {
        let path = path.as_ref();
        let made =
            self.create_at(&Target::file(path)?, bytes, Origin::File(path.into()), |_| Ok(()));
        made.map(|(segment, ())| segment)
    }

    fn create_at<T>(
        &self,
        target: &Target,
        bytes: u64,
        origin: Origin,
        fill: impl FnOnce(&Segment) -> Result<T>,
    ) -> Result<(Segment, T)> {
        if self.huge_tlb {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("{} of reserved huge pages: only an anonymous one can be", target.what()),
            ));
        }
        let geometry = self.plan(bytes)?;
        let unnamed = Unnamed::create(target, geometry.size, self.mode, self.group)?;
        let fd = memory::duplicate(unnamed.fd())?;
        let segment = Segment::begin(fd, geometry, origin, self)?;
        let filled = fill(&segment)?;
        unnamed.publish(target)?;
        Ok((segment, filled))
    }

    /// Attaches to the segment `name`. Counts of these options do not matter: the segment has its own.
    ///
    /// # Errors
    /// `NotFound`; `Permission` when it belongs to another user; `Version` when the file is no
    /// segment or one of another format; `Corrupt` when its header contradicts itself or the file; `Limit`.
    pub fn attach(&self, name: &str) -> Result<Segment> {
        let fd = Target::named(name)?.open(self.of_any_user)?;
        Segment::check_and_map(fd, Origin::Named(name.into()), self)
    }

    /// Attaches to the segment in the file `path`, which is not followed when it is a symbolic link.
    ///
    /// Participants of before a reboot are over: what they held is repaired as for any dead one.
    ///
    /// # Errors
    /// As for [`attach`](Self::attach); `Invalid` for a path that names no file; `NoSpace` when the file has holes,
    /// as copies may have, and its file system no room to fill them.
    pub fn attach_file(&self, path: impl AsRef<Path>) -> Result<Segment> {
        let path = path.as_ref();
        let target = Target::file(path)?;
        let fd = target.open(self.of_any_user)?;
        let segment = Segment::check_and_map(fd, Origin::File(path.into()), self)?;
        memory::fill_holes(segment.as_fd(), segment.size(), target.what())?;
        Ok(segment)
    }

    /// Attaches to the segment behind a descriptor; see [`Segment::attach_fd`].
    ///
    /// # Errors
    /// `Version`, `Corrupt`, `Permission`, `Limit`.
    pub fn attach_fd(&self, fd: OwnedFd) -> Result<Segment> {
        if !self.of_any_user && !memory::cannot_shrink(fd.as_fd()) {
            return Err(Error::new(
                ErrorKind::Permission,
                "the descriptor's file is not sealed against shrinking and belongs to another user",
            ));
        }
        Segment::check_and_map(fd, Origin::Anonymous, self)
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

    /// Attaches to the segment in the file `path`, or makes it with room for `bytes`; an existing one
    /// keeps its size and content.
    ///
    /// # Errors
    /// Those of [`attach_file`](Self::attach_file) and [`create_file`](Self::create_file) but for `Exists`.
    pub fn open_or_create_file(&self, path: impl AsRef<Path>, bytes: u64) -> Result<Segment> {
        let path = path.as_ref();
        loop {
            match self.attach_file(path) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                other => return other,
            }
            match self.create_file(path, bytes) {
                Err(error) if error.kind() == ErrorKind::Exists => {}
                other => return other,
            }
        }
    }
}
