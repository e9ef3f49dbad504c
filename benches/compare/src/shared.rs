//! Plain shared memory: what the harness itself keeps its rounds in, and what bare instructions are measured on.

use crate::Result;
use std::ops::Deref;
use std::ptr::NonNull;

/// A value in an anonymous shared mapping of its own, which forked children inherit.
pub struct Shared<T>(NonNull<T>);

impl<T: Sync> Shared<T> {
    /// Maps pages for `value` and moves it there. It is not dropped at the end.
    pub fn new(value: T) -> Result<Self> {
        const { assert!(align_of::<T>() <= 4096 && !std::mem::needs_drop::<T>()) };
        let (access, kind) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, which replaces none.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), size_of::<T>().max(1), access, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error().into());
        }
        let start = NonNull::new(start.cast::<T>()).ok_or("a mapping at address 0")?;
        // SAFETY: the mapping is writable, page-aligned and large enough.
        unsafe { start.write(value) };
        Ok(Self(start))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: initialised in `new`; it is `Sync`, and only this program's own processes map it.
        unsafe { self.0.as_ref() }
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made, of the same length; no reference outlives the handle.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<T>().max(1)) };
    }
}
