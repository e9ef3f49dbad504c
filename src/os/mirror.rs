//! A range of a file mapped twice, one copy behind the other: what begins in the first and is no longer than it
//! is contiguous, wherever it begins.

use crate::error::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd};

/// The two copies. The bytes may be changed by other processes at any time, so only raw pointers lead out.
#[derive(Debug)]
pub(crate) struct Mirror {
    start: *mut u8,
    /// Of one copy.
    length: usize,
}

// SAFETY: leads to memory through raw pointers only, and is unmapped once.
unsafe impl Send for Mirror {}
// SAFETY: as above.
unsafe impl Sync for Mirror {}

impl Mirror {
    /// Maps `length` bytes at `offset` of the file, both multiples of its page size.
    pub(crate) fn new(fd: BorrowedFd<'_>, offset: u64, length: usize, what: &str) -> Result<Self> {
        let failed = || Error::last_os(format_args!("cannot map {length} bytes twice of {what}"));
        let none = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let twice = length.checked_mul(2).ok_or_else(failed)?;
        // SAFETY: a fresh range of addresses that nothing can touch yet.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), twice, libc::PROT_NONE, none, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(failed());
        }
        let mirror = Self { start: start.cast(), length };
        for copy in [0, length] {
            // SAFETY: inside the range reserved above, which nobody else has.
            let mapped = unsafe {
                libc::mmap(
                    mirror.start.add(copy).cast(),
                    length,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_SHARED | libc::MAP_FIXED,
                    fd.as_raw_fd(),
                    offset as libc::off_t,
                )
            };
            if mapped == libc::MAP_FAILED {
                return Err(failed());
            }
        }
        Ok(mirror)
    }

    /// The first byte of the first copy.
    #[inline]
    pub(crate) fn start(&self) -> *mut u8 {
        self.start
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        // SAFETY: the range that `new` made; nothing that was derived from it outlives it.
        unsafe { libc::munmap(self.start.cast(), 2 * self.length) };
    }
}
