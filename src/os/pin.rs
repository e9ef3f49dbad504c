//! Pins: the kernel's own count of who may still touch something.
//!
//! A pin is one page of the segment's file, mapped without any access, through an open file description
//! of its own that holds a shared lock on one byte. The descriptor is closed at once: from then on only
//! the mapping keeps the description, and with it the lock. Forked children inherit the mapping,
//! `exec` and death, however it comes, end it. So the byte is free when, and only when, no process
//! has the pin mapped any more; nobody has to count, and there is nothing to repair.

use crate::error::{Error, ErrorKind, Result};
use crate::os::liveness;
use crate::os::memory::{self, FileId};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// A byte of the file, locked as long as this, or a forked copy of it, is mapped.
#[derive(Debug)]
pub(crate) struct Pin {
    start: *mut libc::c_void,
    /// 0 = not mapped: without `/proc` the segment's own description holds the lock instead.
    length: usize,
}

// SAFETY: the address is only ever unmapped, once.
unsafe impl Send for Pin {}
// SAFETY: as above.
unsafe impl Sync for Pin {}

impl Pin {
    /// Locks byte `byte` of the file behind `fd`, which has to be `file` still.
    ///
    /// Where there is no `/proc` to open the file anew, the description of `fd` takes the lock: it then
    /// lasts until all who share that description have closed it and unmapped what was mapped through it.
    pub(crate) fn new(fd: BorrowedFd<'_>, file: Option<FileId>, byte: u64) -> Result<Self> {
        let doing = "cannot open the object: no further descriptor of its segment";
        let own = match memory::reopen(fd) {
            Ok(own) => own,
            Err(libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::EACCES) => {
                return Self::through(fd, file, byte);
            }
            Err(errno) => return Err(Error::from_errno(errno, doing)),
        };
        check(own.as_fd(), file)?;
        lock(own.as_fd(), byte)?;
        let length = memory::page_size_of(own.as_fd());
        // SAFETY: a fresh mapping that nobody can read or write.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_NONE,
                libc::MAP_SHARED,
                own.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(Error::last_os("cannot open the object: no further mapping"));
        }
        Ok(Self { start, length })
    }

    /// The same by the description of `fd` itself.
    pub(crate) fn through(fd: BorrowedFd<'_>, file: Option<FileId>, byte: u64) -> Result<Self> {
        check(fd, file)?;
        lock(fd, byte)?;
        Ok(Self { start: std::ptr::null_mut(), length: 0 })
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        if self.length > 0 {
            // SAFETY: the mapping made in `new`, which nothing else refers to.
            unsafe { libc::munmap(self.start, self.length) };
        }
    }
}

/// Asks about pins, through a description that holds none.
#[derive(Debug)]
pub(crate) struct Asker(OwnedFd);

impl Asker {
    /// None where the file cannot be opened anew: then every pin counts as there.
    pub(crate) fn new(fd: BorrowedFd<'_>, file: Option<FileId>) -> Option<Self> {
        let own = memory::reopen(fd).ok()?;
        (FileId::of(own.as_fd()) == file).then_some(Self(own))
    }

    /// Whether anybody may have byte `byte` pinned.
    pub(crate) fn is_pinned(&self, byte: u64) -> bool {
        liveness::byte_is_held(self.0.as_fd(), byte)
    }
}

fn check(fd: BorrowedFd<'_>, file: Option<FileId>) -> Result<()> {
    if FileId::of(fd) == file {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::System,
        "the segment's descriptor was closed behind the library's back, and its number used for another file",
    ))
}

fn lock(fd: BorrowedFd<'_>, byte: u64) -> Result<()> {
    if liveness::share_byte(fd, byte) {
        return Ok(());
    }
    Err(Error::last_os("cannot open the object: its byte of the segment's file cannot be locked"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> (OwnedFd, Option<FileId>) {
        let fd = memory::create_anonymous("pin", 4096, false).unwrap();
        let id = FileId::of(fd.as_fd());
        (fd, id)
    }

    #[test]
    fn a_byte_is_pinned_as_long_as_any_pin_is_there() {
        let _alone = crate::os::alone();
        let (fd, id) = file();
        let asker = Asker::new(fd.as_fd(), id).unwrap();
        assert!(!asker.is_pinned(7));
        let one = Pin::new(fd.as_fd(), id, 7).unwrap();
        let two = Pin::new(fd.as_fd(), id, 7).unwrap();
        assert!(asker.is_pinned(7) && !asker.is_pinned(8));
        drop(one);
        assert!(asker.is_pinned(7));
        drop(two);
        assert!(!asker.is_pinned(7));
    }

    #[test]
    fn a_forked_child_keeps_the_pin_though_it_closes_every_descriptor() {
        let _alone = crate::os::alone();
        let (fd, id) = file();
        let asker = Asker::new(fd.as_fd(), id).unwrap();
        let pin = Pin::new(fd.as_fd(), id, 3).unwrap();
        // SAFETY: the child closes its own descriptors and pauses.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: async-signal-safe calls only.
            unsafe {
                libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0);
                libc::raise(libc::SIGSTOP);
                libc::_exit(0);
            }
        }
        // SAFETY: waits for, and kills, our own child.
        unsafe {
            libc::waitpid(child, std::ptr::null_mut(), libc::WUNTRACED);
            drop(pin);
            assert!(asker.is_pinned(3), "the stopped child has it mapped");
            libc::kill(child, libc::SIGKILL);
            libc::waitpid(child, std::ptr::null_mut(), 0);
        }
        assert!(!asker.is_pinned(3));
    }

    #[test]
    fn another_file_under_the_number_is_refused() {
        let ((fd, _), (_other, id)) = (file(), file());
        assert_eq!(Pin::new(fd.as_fd(), id, 1).unwrap_err().kind(), ErrorKind::System);
        assert!(Asker::new(fd.as_fd(), id).is_none());
    }
}
