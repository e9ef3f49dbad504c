//! Memory with a descriptor, mapped shared: anonymous (memfd), or a file's (see `file.rs`).
//!
//! Every page is allocated at creation, so that a lack of memory is an error there and never a
//! SIGBUS later.

use crate::error::{Error, ErrorKind, Result};
use crate::os::proc;
use memmap2::{MmapOptions, MmapRaw};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU8, Ordering};

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

    /// Asks for huge pages, now and later. Only advice: where the kernel or the file system has none,
    /// nothing changes.
    pub(crate) fn advise_huge_pages(&self) {
        const MADV_COLLAPSE: i32 = 25; // since Linux 6.1
        for advice in [libc::MADV_HUGEPAGE, MADV_COLLAPSE] {
            // SAFETY: the range is the mapping; the advice changes no content.
            unsafe { libc::madvise(self.start().cast(), self.length(), advice) };
        }
    }

    /// Makes every page present and writable now, and changes no byte.
    pub(crate) fn prefault(&self, what: &str) -> Result<()> {
        loop {
            // SAFETY: the range is the mapping; the advice changes no content.
            let result = unsafe {
                libc::madvise(self.start().cast(), self.length(), libc::MADV_POPULATE_WRITE)
            };
            match if result == 0 { 0 } else { errno() } {
                0 => return Ok(()),
                libc::EINTR | libc::EAGAIN => {}
                libc::EINVAL => break, // before Linux 5.14
                error => {
                    return Err(Error::from_errno(error, format_args!("cannot pre-fault {what}")));
                }
            }
        }
        for at in (0..self.length()).step_by(4096) {
            // SAFETY: inside the mapping. An addition of nothing is a write that others do not see.
            unsafe { AtomicU8::from_ptr(self.start().add(at)).fetch_add(0, Ordering::Relaxed) };
        }
        Ok(())
    }

    /// Keeps every page in memory as long as it is mapped in this process.
    pub(crate) fn lock(&self, what: &str) -> Result<()> {
        // SAFETY: the range is the mapping.
        if unsafe { libc::mlock(self.start().cast(), self.length()) } == 0 {
            return Ok(());
        }
        let error = Error::last_os("mlock");
        if ![libc::ENOMEM, libc::EAGAIN, libc::EPERM].contains(&error.errno()) {
            return Err(Error::from_errno(error.errno(), format_args!("cannot lock {what}")));
        }
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: a valid place for the answer.
        unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
        Err(Error::new(
            ErrorKind::Limit,
            format!(
                "cannot lock {what} into memory: {} bytes are needed, RLIMIT_MEMLOCK allows this process {} in all",
                self.length(),
                limit.rlim_cur
            ),
        ))
    }

    /// Writes what has changed to the file's storage, and returns when it is there.
    pub(crate) fn sync(&self, what: &str) -> Result<()> {
        // SAFETY: the range is the mapping.
        if unsafe { libc::msync(self.start().cast(), self.length(), libc::MS_SYNC) } != 0 {
            return Err(Error::last_os(format_args!("cannot write {what} to its file")));
        }
        Ok(())
    }
}

/// Bytes of the huge pages that this machine sets aside.
pub(crate) fn huge_page_size() -> u64 {
    meminfo("Hugepagesize:").filter(|size| size.is_power_of_two()).unwrap_or(2 << 20)
}

/// What a mapping of the file is a multiple of, or less.
pub(crate) fn page_size_of(fd: BorrowedFd<'_>) -> usize {
    const HUGETLBFS: u64 = 0x9584_58f6;
    // SAFETY: an all-zero statfs is valid, and a valid place for the answer.
    unsafe {
        let mut status: libc::statfs = std::mem::zeroed();
        let known = libc::fstatfs(fd.as_raw_fd(), &raw mut status) == 0;
        let huge = known && status.f_type as u64 == HUGETLBFS;
        if huge { status.f_bsize as usize } else { page_size() as usize }
    }
}

/// Bytes of an ordinary page.
pub(crate) fn page_size() -> u64 {
    // SAFETY: no pointers.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size).ok().filter(|size| size.is_power_of_two()).unwrap_or(4096)
}

/// Makes a memfd of `size` bytes, every page allocated, sealed against any change of its size; with
/// `huge`, of pages from the pool that the machine sets aside, whose size `size` is a multiple of.
pub(crate) fn create_anonymous(label: &str, size: u64, huge: bool) -> Result<OwnedFd> {
    let what = format!("an anonymous segment of {size} bytes");
    if !huge {
        refuse_more_than_free(size, &what)?;
    }
    let label = CString::new(label).unwrap_or_default();
    let flags =
        libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING | if huge { libc::MFD_HUGETLB } else { 0 };
    let no_huge_pages = || {
        let pool = format!("the pool of reserved huge pages of {} bytes", huge_page_size());
        no_space(&what, &pool)
    };
    // SAFETY: a terminated name; the descriptor returned is owned below.
    let fd = unsafe { libc::memfd_create(label.as_ptr(), flags) };
    if fd < 0 {
        let none = [libc::ENOENT, libc::ENODEV, libc::ENOSYS, libc::EINVAL, libc::ENOMEM];
        return Err(match errno() {
            error if huge && none.contains(&error) => no_huge_pages(),
            error => Error::from_errno(error, format_args!("cannot create {what}")),
        });
    }
    // SAFETY: a fresh descriptor that nobody else has.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    allocate(fd.as_fd(), size, &what).map_err(|error| match error.kind() {
        ErrorKind::NoSpace if huge => no_huge_pages(),
        _ => error,
    })?;
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: no pointers.
    if unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, seals) } != 0 {
        return Err(Error::last_os(format_args!("cannot seal {what}")));
    }
    Ok(fd)
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

/// A second description of the same file: what is locked on it is its own. Needs `/proc`. The error
/// is the system's number.
pub(crate) fn reopen(fd: BorrowedFd<'_>) -> std::result::Result<OwnedFd, i32> {
    // SAFETY: a terminated path.
    let fd = unsafe { libc::open(link_of(fd).as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
    if fd < 0 {
        return Err(errno());
    }
    // SAFETY: a fresh descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Where `/proc` shows what is behind a descriptor.
pub(crate) fn link_of(fd: BorrowedFd<'_>) -> CString {
    CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap_or_default()
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

pub(crate) fn status(fd: BorrowedFd<'_>, name: &str) -> Result<libc::stat> {
    // SAFETY: an all-zero stat is valid, and is a valid place for the answer.
    unsafe {
        let mut status: libc::stat = std::mem::zeroed();
        if libc::fstat(fd.as_raw_fd(), &raw mut status) != 0 {
            return Err(Error::last_os(format_args!("cannot examine {name}")));
        }
        Ok(status)
    }
}

/// Sets the size and allocates every page of it. Where the file system cannot do that by itself, zeros
/// are written: on one that copies or compresses what it stores, that is no promise for later.
pub(crate) fn allocate(fd: BorrowedFd<'_>, size: u64, what: &str) -> Result<()> {
    let length = libc::off_t::try_from(size).map_err(|_| no_space(what, "the file system"))?;
    loop {
        // SAFETY: no pointers.
        if unsafe { libc::fallocate(fd.as_raw_fd(), 0, 0, length) } == 0 {
            return Ok(());
        }
        match errno() {
            libc::EINTR => {}
            libc::EOPNOTSUPP | libc::ENOSYS => return write_zeros(fd, size, what),
            libc::ENOSPC | libc::EFBIG | libc::ENOMEM => {
                return Err(no_space(what, "the file system"));
            }
            error => return Err(Error::from_errno(error, format_args!("cannot allocate {what}"))),
        }
    }
}

/// Allocates what of an existing file is not: a copy may have holes, and no room behind them.
pub(crate) fn fill_holes(fd: BorrowedFd<'_>, size: u64, what: &str) -> Result<()> {
    let allocated = status(fd, what)?.st_blocks as u64 * 512;
    if allocated >= size {
        return Ok(());
    }
    // SAFETY: no pointers.
    if unsafe { libc::fallocate(fd.as_raw_fd(), 0, 0, size as libc::off_t) } != 0 {
        return match errno() {
            libc::ENOSPC | libc::EFBIG | libc::ENOMEM => Err(no_space(what, "the file system")),
            _ => Ok(()), // one that does not tell, or cannot
        };
    }
    Ok(())
}

fn write_zeros(fd: BorrowedFd<'_>, size: u64, what: &str) -> Result<()> {
    let zeros = [0u8; 1 << 16];
    let mut at = 0;
    while at < size {
        let length = zeros.len().min((size - at) as usize);
        // SAFETY: a valid buffer and its length.
        let written = unsafe {
            libc::pwrite(fd.as_raw_fd(), zeros.as_ptr().cast(), length, at as libc::off_t)
        };
        match written {
            1.. => at += written as u64,
            _ => match errno() {
                libc::EINTR => {}
                libc::ENOSPC | libc::EFBIG | libc::ENOMEM => {
                    return Err(no_space(what, "the file system"));
                }
                error => {
                    return Err(Error::from_errno(error, format_args!("cannot allocate {what}")));
                }
            },
        }
    }
    Ok(())
}

fn no_space(what: &str, whose: &str) -> Error {
    Error::new(ErrorKind::NoSpace, format!("no space for {what}: {whose} has less"))
}

/// Shared memory that the machine or the control group does not have would bring the
/// out-of-memory killer, not an error: it is asked for first.
pub(crate) fn refuse_more_than_free(size: u64, what: &str) -> Result<()> {
    let machine = if is_little(size) { None } else { meminfo("MemAvailable:") };
    let free = [machine, left_by_groups()].into_iter().flatten().min();
    if let Some(free) = free.filter(|&free| size > free) {
        return Err(Error::new(
            ErrorKind::NoSpace,
            format!("no space for {what}: {free} bytes of memory are available"),
        ));
    }
    Ok(())
}

/// Whether the machine has several times as much memory that is not used at all, which the kernel says much sooner than
/// what it could get hold of.
fn is_little(size: u64) -> bool {
    // SAFETY: an all-zero sysinfo is valid, and a valid place for the answer.
    let (known, info) = unsafe {
        let mut info: libc::sysinfo = std::mem::zeroed();
        (libc::sysinfo(&raw mut info) == 0, info)
    };
    let unused = u128::from(info.freeram) * u128::from(info.mem_unit);
    known && u128::from(size) <= unused / 8
}

/// A limit from here on is none.
const NO_LIMIT: u64 = 1 << 62;

/// Bytes that the control groups of this process have left, if they have limits.
fn left_by_groups() -> Option<u64> {
    let number = |path: &str| -> Option<u64> {
        proc::read_text(path, &mut proc::ROOM.clone())?.trim().parse().ok()
    };
    let mut room = proc::ROOM;
    let mut free: Option<u64> = None;
    for line in proc::read_text("/proc/self/cgroup", &mut room)?.lines() {
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
            let limit = number(&format!("{folder}/{limit}")).filter(|&limit| limit < NO_LIMIT);
            let usage = limit.and_then(|_| number(&format!("{folder}/{usage}")));
            if let (Some(limit), Some(usage)) = (limit, usage) {
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

/// A line of `/proc/meminfo`, in bytes.
fn meminfo(label: &str) -> Option<u64> {
    let mut room = proc::ROOM;
    let text = proc::read_text("/proc/meminfo", &mut room)?;
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

fn os_error(error: &std::io::Error, doing: impl std::fmt::Display) -> Error {
    Error::from_errno(error.raw_os_error().unwrap_or(0), doing)
}

pub(crate) fn errno() -> i32 {
    // SAFETY: the thread's own errno.
    unsafe { *libc::__errno_location() }
}
