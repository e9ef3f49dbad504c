//! Plain shared memory: what the harness itself keeps its rounds in, and what bare instructions are measured on.

use crate::Result;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// An anonymous shared mapping, zeroed, which forked children inherit.
pub struct Memory {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a mapping belongs to the process; what is done with its bytes is the business of who does it.
unsafe impl Send for Memory {}
// SAFETY: as above; the handle itself never changes.
unsafe impl Sync for Memory {}

impl Memory {
    /// Maps pages for so many bytes.
    pub fn new(bytes: usize) -> Result<Self> {
        let (access, kind) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        let bytes = bytes.max(1);
        // SAFETY: a new mapping, which replaces none.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error().into());
        }
        Ok(Self { start: NonNull::new(start.cast()).ok_or("a mapping at address 0")?, bytes })
    }

    /// The first byte, at the start of a page.
    pub fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made, of the same length; no reference outlives the handle.
        unsafe { libc::munmap(self.start().cast(), self.bytes) };
    }
}

/// A value in a mapping of its own.
pub struct Shared<T> {
    memory: Memory,
    value: PhantomData<T>,
}

impl<T: Sync> Shared<T> {
    /// Moves `value` there. It is not dropped at the end.
    pub fn new(value: T) -> Result<Self> {
        const { assert!(align_of::<T>() <= 4096 && !std::mem::needs_drop::<T>()) };
        let memory = Memory::new(size_of::<T>())?;
        // SAFETY: the mapping is writable, page-aligned and large enough.
        unsafe { memory.start().cast::<T>().write(value) };
        Ok(Self { memory, value: PhantomData })
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: initialised in `new`; it is `Sync`, and only this program's own processes map it.
        unsafe { &*self.memory.start().cast::<T>() }
    }
}

/// Numbers that children bring home, each written by one of them.
pub struct Numbers {
    memory: Memory,
    count: usize,
}

impl Numbers {
    /// So many, all 0.
    pub fn new(count: usize) -> Result<Self> {
        Ok(Self { memory: Memory::new(count * size_of::<u64>())?, count })
    }

    /// Writes one of them.
    #[inline]
    pub fn set(&self, index: usize, number: u64) {
        self.all()[index].store(number, Ordering::Relaxed);
    }

    /// All of them, when those who wrote them have ended.
    pub fn to_vec(&self) -> Vec<u64> {
        self.all().iter().map(|number| number.load(Ordering::Relaxed)).collect()
    }

    fn all(&self) -> &[AtomicU64] {
        // SAFETY: the mapping holds so many, and zeros are valid.
        unsafe { std::slice::from_raw_parts(self.memory.start().cast(), self.count) }
    }
}
