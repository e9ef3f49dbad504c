//! From an offset, which may be hostile, to a place inside the mapping, or to nothing.

use crate::error::{Error, ErrorKind, Result};

/// A range of bytes inside a mapping, checked against it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region {
    start: *mut u8,
    length: usize,
}

impl Region {
    /// The whole of a mapping.
    ///
    /// # Safety
    /// `length` bytes from `start` on are mapped, readable and writable, for as long as the region
    /// and what is derived from it are used.
    pub(crate) unsafe fn new(start: *mut u8, length: usize) -> Self {
        Self { start, length }
    }

    pub(crate) fn start(self) -> *mut u8 {
        self.start
    }

    pub(crate) fn length(self) -> usize {
        self.length
    }

    /// `length` bytes from `offset` on; an error when they do not lie inside.
    #[inline]
    pub(crate) fn slice(self, offset: u64, length: u64) -> Result<Self> {
        let end = offset.checked_add(length);
        if end.is_none_or(|end| end > self.length as u64) {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "{length} bytes at offset {offset} do not lie inside the {} bytes there are",
                    self.length
                ),
            ));
        }
        // SAFETY: offset <= self.length, so the result stays inside the same mapping.
        Ok(Self { start: unsafe { self.start.add(offset as usize) }, length: length as usize })
    }

    /// `count` values of `T` from `offset` on, inside and aligned.
    ///
    /// `T` has to be made of atomics: the references say nothing about who else writes.
    #[inline]
    pub(crate) fn array<'a, T: Shared>(self, offset: u64, count: usize) -> Result<&'a [T]> {
        let bytes = (count as u64).checked_mul(size_of::<T>() as u64).ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, format!("{count} items overflow the address space"))
        })?;
        let region = self.slice(offset, bytes)?;
        if region.start as usize % align_of::<T>() != 0 {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("offset {offset} is not aligned to {}", align_of::<T>()),
            ));
        }
        // SAFETY: inside the mapping and aligned, as checked; `Shared` types bear any bytes and
        // concurrent writers. The caller of `new` vouches for the lifetime.
        Ok(unsafe { std::slice::from_raw_parts(region.start.cast::<T>(), count) })
    }

    /// One value of `T` at `offset`.
    #[inline]
    pub(crate) fn one<'a, T: Shared>(self, offset: u64) -> Result<&'a T> {
        Ok(&self.array::<T>(offset, 1)?[0])
    }
}

/// Types that may be referred to while others write them: atomics, and structs of nothing else.
///
/// # Safety
/// Every field is an atomic; every bit pattern is valid; no padding is read.
pub(crate) unsafe trait Shared {}

// SAFETY: an atomic.
unsafe impl Shared for crate::atomic::AtomicU32 {}
// SAFETY: an atomic.
unsafe impl Shared for crate::atomic::AtomicU64 {}
