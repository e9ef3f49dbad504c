//! Memory with a descriptor: anonymous (memfd) and named (`/dev/shm`), mapped shared.
//!
//! Every page is allocated at creation, so that a lack of memory is an error there and never a
//! SIGBUS later. A name appears only when the content behind it is complete.

use crate::error::{Error, ErrorKind, Result};
use memmap2::{MmapOptions, MmapRaw};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Where named segments lie.
const SHM: &str = "/dev/shm";
/// Before every name of ours there, so that other programs' files are neither met nor touched.
const PREFIX: &str = "mpshm.";
/// The longest name, in bytes: what a file name holds, less the prefix and a private suffix.
pub(crate) const NAME_MAX: usize = 200;

/// A shared mapping of a whole file. The bytes may be changed by other processes at any time, so
/// only raw pointers lead out of it.
#[derive(Debug)]
pub(crate) struct Mapping(MmapRaw);

impl Mapping {
    /// Maps the first `length` bytes of `fd` for reading and writing.
    pub(crate) fn new(fd: BorrowedFd<'_>, length: usize, what: &str) -> Result<Self> {
        MmapOptions::new()
            .len(length)
            .map_raw(&fd)
            .map(Self)
            .map_err(|error| os_error(&error, format_args!("cannot map {length} bytes of {what}")))
    }

    /// The first byte; page-aligned.
    pub(crate) fn start(&self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    /// The number of bytes mapped.
    pub(crate) fn length(&self) -> usize {
        self.0.len()
    }
}

/// Makes a memfd of `size` bytes, every page allocated, sealed against any change of its size.
pub(crate) fn create_anonymous(label: &str, size: u64) -> Result<OwnedFd> {
    let what = format!("an anonymous segment of {size} bytes");
    refuse_more_than_free(size, &what)?;
    let label = CString::new(label).unwrap_or_default();
    // SAFETY: a terminated name; the descriptor returned is owned below.
    let fd =
        unsafe { libc::memfd_create(label.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
    if fd < 0 {
        return Err(Error::last_os(format_args!("cannot create {what}")));
    }
    // SAFETY: a fresh descriptor that nobody else has.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    allocate(fd.as_fd(), size, &what)?;
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: no pointers.
    if unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, seals) } != 0 {
        return Err(Error::last_os(format_args!("cannot seal {what}")));
    }
    Ok(fd)
}

/// A file on its way to a name: complete it, then [`Unnamed::publish`] it; dropped before that, it
/// leaves nothing behind.
pub(crate) struct Unnamed {
    fd: OwnedFd,
    /// The private name, where the file system has no nameless files.
    private: Option<CString>,
}

impl Unnamed {
    /// Makes a file of `size` bytes beside the named segments, every page allocated.
    pub(crate) fn create(name: &str, size: u64, mode: u32, group: Option<u32>) -> Result<Self> {
        let what = format!("segment '{name}' of {size} bytes");
        check_name(name)?;
        refuse_more_than_free(size, &what)?;
        let unnamed = Self::open(name)
            .map_err(|errno| Error::from_errno(errno, format_args!("cannot create {what}")))?;
        allocate(unnamed.fd(), size, &what)?;
        if let Some(group) = group {
            // SAFETY: no pointers; -1 keeps the owner.
            if unsafe { libc::fchown(unnamed.fd.as_raw_fd(), u32::MAX, group) } != 0 {
                return Err(Error::last_os(format_args!("cannot give {what} to group {group}")));
            }
        }
        // SAFETY: no pointers. After the change of group, which may clear bits.
        if unsafe { libc::fchmod(unnamed.fd.as_raw_fd(), mode as libc::mode_t) } != 0 {
            return Err(Error::last_os(format_args!("cannot set mode {mode:o} of {what}")));
        }
        Ok(unnamed)
    }

    fn open(name: &str) -> std::result::Result<Self, i32> {
        let directory = path(SHM);
        // SAFETY: a terminated path.
        let fd = unsafe {
            libc::open(
                directory.as_ptr(),
                libc::O_TMPFILE | libc::O_RDWR | libc::O_CLOEXEC,
                0o600 as libc::c_uint,
            )
        };
        // A nameless file gets its name by way of /proc, so that has to be there.
        if fd >= 0 {
            // SAFETY: a fresh descriptor that nobody else has.
            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
            // SAFETY: a terminated path.
            if unsafe { libc::access(link_of(fd.as_fd()).as_ptr(), libc::F_OK) } == 0 {
                return Ok(Self { fd, private: None });
            }
        }
        // SAFETY: no preconditions.
        let pid = unsafe { libc::getpid() };
        let moment = crate::os::clock::now();
        let private = path(&format!("{SHM}/.{PREFIX}{name}.{pid}.{moment:x}"));
        let flags = libc::O_RDWR | libc::O_CLOEXEC | libc::O_CREAT | libc::O_EXCL;
        // SAFETY: a terminated path.
        let fd = unsafe { libc::open(private.as_ptr(), flags, 0o600 as libc::c_uint) };
        if fd < 0 {
            return Err(errno());
        }
        // SAFETY: a fresh descriptor that nobody else has.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) }, private: Some(private) })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Gives the file its name, unless something has it already; one step for every observer.
    pub(crate) fn publish(mut self, name: &str) -> Result<()> {
        let target = named_path(name);
        // SAFETY: both paths are terminated.
        let result = unsafe {
            match &self.private {
                None => libc::linkat(
                    libc::AT_FDCWD,
                    link_of(self.fd()).as_ptr(),
                    libc::AT_FDCWD,
                    target.as_ptr(),
                    libc::AT_SYMLINK_FOLLOW,
                ),
                Some(private) => libc::renameat2(
                    libc::AT_FDCWD,
                    private.as_ptr(),
                    libc::AT_FDCWD,
                    target.as_ptr(),
                    libc::RENAME_NOREPLACE,
                ),
            }
        };
        if result != 0 {
            return Err(Error::last_os(format_args!("cannot create segment '{name}'")));
        }
        self.private = None;
        Ok(())
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        if let Some(private) = &self.private {
            // SAFETY: a terminated path, of our own private file.
            unsafe { libc::unlink(private.as_ptr()) };
        }
    }
}

/// Opens the named segment's file; says who owns it when that is somebody else.
pub(crate) fn open_named(name: &str, of_any_user: bool) -> Result<OwnedFd> {
    check_name(name)?;
    let target = named_path(name);
    let flags = libc::O_RDWR | libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    // SAFETY: a terminated path.
    let fd = unsafe { libc::open(target.as_ptr(), flags) };
    if fd < 0 {
        return Err(Error::last_os(format_args!("cannot open segment '{name}'")));
    }
    // SAFETY: a fresh descriptor that nobody else has.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let owner = status(fd.as_fd(), name)?.st_uid;
    // SAFETY: no preconditions.
    let own = unsafe { libc::geteuid() };
    if owner != own && !of_any_user {
        return Err(Error::new(
            ErrorKind::Permission,
            format!(
                "segment '{name}' belongs to user {owner}, this process is user {own}; attaching to another user's segment has to be asked for"
            ),
        ));
    }
    Ok(fd)
}

/// Removes the name. Who is attached stays attached.
pub(crate) fn unlink_named(name: &str) -> Result<()> {
    check_name(name)?;
    // SAFETY: a terminated path.
    if unsafe { libc::unlink(named_path(name).as_ptr()) } != 0 {
        return Err(Error::last_os(format_args!("cannot unlink segment '{name}'")));
    }
    Ok(())
}

/// The file's size in bytes; refuses what is no regular file.
pub(crate) fn size_of_file(fd: BorrowedFd<'_>, name: &str) -> Result<u64> {
    let status = status(fd, name)?;
    if status.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(Error::new(
            ErrorKind::Version,
            format!("{name} is no segment: not a regular file (mode {:o})", status.st_mode),
        ));
    }
    Ok(status.st_size as u64)
}

/// A second description of the same file: what is locked on it is its own. Needs `/proc`.
pub(crate) fn reopen(fd: BorrowedFd<'_>) -> Option<OwnedFd> {
    // SAFETY: a terminated path.
    let fd = unsafe { libc::open(link_of(fd).as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
    // SAFETY: a fresh descriptor that nobody else has.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What tells a file from every other: its device and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId(u64, u64);

impl FileId {
    /// Of the file behind a descriptor; a descriptor that is none is like no other.
    pub(crate) fn of(fd: BorrowedFd<'_>) -> Option<Self> {
        status(fd, "a segment").ok().map(|status| Self(status.st_dev, status.st_ino))
    }
}

/// Whether the file's size is sealed, or only this user can change it.
pub(crate) fn cannot_shrink(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: no pointers.
    let seals = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GET_SEALS) };
    let sealed = seals >= 0 && seals & libc::F_SEAL_SHRINK != 0;
    sealed || status(fd, "a segment").is_ok_and(|status| status.st_uid == effective_user())
}

/// A second descriptor of the same description.
pub(crate) fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    let copy = fd.try_clone_to_owned();
    copy.map_err(|error| os_error(&error, "cannot duplicate the segment's descriptor"))
}

/// 128 random bits for a segment's id.
pub(crate) fn random_id() -> u128 {
    let mut bytes = [0u8; 16];
    // SAFETY: the buffer is 16 bytes long.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), 16, 0) };
    if got == 16 { u128::from_ne_bytes(bytes) } else { u128::from(crate::os::clock::now()) }
}

/// The effective user of this process.
pub(crate) fn effective_user() -> u32 {
    // SAFETY: no preconditions.
    unsafe { libc::geteuid() }
}

/// Names are file names: not empty, not too long, without slash or NUL.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let problem = if name.is_empty() {
        "is empty"
    } else if name.len() > NAME_MAX {
        "is too long"
    } else if name.contains('/') {
        "has a slash inside"
    } else if name.contains('\0') {
        "has a NUL inside"
    } else {
        return Ok(());
    };
    let shown: String = name.chars().take(40).collect();
    Err(Error::new(
        ErrorKind::Invalid,
        format!(
            "segment name '{shown}' {problem}: 1 to {NAME_MAX} bytes without slash are expected, {} were found",
            name.len()
        ),
    ))
}

fn named_path(name: &str) -> CString {
    path(&format!("{SHM}/{PREFIX}{name}"))
}

fn path(text: &str) -> CString {
    CString::new(text).expect("checked names hold no NUL")
}

fn link_of(fd: BorrowedFd<'_>) -> CString {
    path(&format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

fn status(fd: BorrowedFd<'_>, name: &str) -> Result<libc::stat> {
    // SAFETY: an all-zero stat is valid, and is a valid place for the answer.
    unsafe {
        let mut status: libc::stat = std::mem::zeroed();
        if libc::fstat(fd.as_raw_fd(), &raw mut status) != 0 {
            return Err(Error::last_os(format_args!("cannot examine {name}")));
        }
        Ok(status)
    }
}

/// Sets the size and allocates every page of it.
fn allocate(fd: BorrowedFd<'_>, size: u64, what: &str) -> Result<()> {
    let length = libc::off_t::try_from(size).map_err(|_| no_space(what, "the file system"))?;
    loop {
        // SAFETY: no pointers.
        if unsafe { libc::fallocate(fd.as_raw_fd(), 0, 0, length) } == 0 {
            return Ok(());
        }
        match errno() {
            libc::EINTR => {}
            libc::ENOSPC | libc::EFBIG | libc::ENOMEM => {
                return Err(no_space(what, "the file system"));
            }
            error => return Err(Error::from_errno(error, format_args!("cannot allocate {what}"))),
        }
    }
}

fn no_space(what: &str, whose: &str) -> Error {
    Error::new(ErrorKind::NoSpace, format!("no space for {what}: {whose} has less"))
}

/// Shared memory that the machine or the control group does not have would bring the
/// out-of-memory killer, not an error: it is asked for first.
fn refuse_more_than_free(size: u64, what: &str) -> Result<()> {
    if let Some(free) = free_memory().filter(|&free| size > free) {
        return Err(Error::new(
            ErrorKind::NoSpace,
            format!("no space for {what}: {free} bytes of memory are available"),
        ));
    }
    Ok(())
}

/// Bytes that can still be used: the machine's `MemAvailable`, or less where a control group says.
fn free_memory() -> Option<u64> {
    let number =
        |path: &str| -> Option<u64> { std::fs::read_to_string(path).ok()?.trim().parse().ok() };
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
    });
    let mut free = machine;
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { continue };
        let (root, limit, usage) = if controllers.is_empty() {
            ("/sys/fs/cgroup", "memory.max", "memory.current")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes")
        } else {
            continue;
        };
        // The limit of every ancestor holds as well.
        let mut group = group.trim_end_matches('/');
        loop {
            let folder = format!("{root}{group}");
            if let (Some(limit), Some(usage)) =
                (number(&format!("{folder}/{limit}")), number(&format!("{folder}/{usage}")))
            {
                let left = limit.saturating_sub(usage);
                free = Some(free.map_or(left, |free| free.min(left)));
            }
            match group.rfind('/') {
                Some(slash) => group = &group[..slash],
                None => break,
            }
        }
    }
    free
}

fn os_error(error: &std::io::Error, doing: impl std::fmt::Display) -> Error {
    Error::from_errno(error.raw_os_error().unwrap_or(0), doing)
}

fn errno() -> i32 {
    // SAFETY: the thread's own errno.
    unsafe { *libc::__errno_location() }
}
