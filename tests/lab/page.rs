//! The page that the lab shares with one child: how far it is, and what it has to say.

use super::verdict::{Check, Failure};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

const TEXT: usize = 2048;
/// Words that a toy or a scenario may use as it likes.
pub const WORDS: usize = 32;

const BEFORE: u32 = 0;
const INSIDE: u32 = 1;
const AFTER: u32 = 2;

#[repr(C)]
struct Shape {
    /// Before, inside or after the operation: written by the markers in the child.
    phase: AtomicU32,
    /// 0, or the number of the check that failed.
    failed: AtomicU32,
    answer: AtomicU64,
    /// Bytes of `text` in use.
    length: AtomicU32,
    text: [AtomicU8; TEXT],
    words: [AtomicU64; WORDS],
}

/// A shared anonymous mapping, zero at first; forked children see the same bytes.
pub struct Page(*mut Shape);

impl Page {
    pub fn new() -> Self {
        // SAFETY: a fresh anonymous mapping; nothing else refers to it.
        let mapped = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<Shape>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert!(mapped != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
        Self(mapped.cast())
    }

    fn shape(&self) -> &Shape {
        // SAFETY: mapped for the life of `self`, aligned, and made of atomics only.
        unsafe { &*self.0 }
    }

    /// The bytes of [`Page::words`], for a look at the memory.
    pub fn memory(&self) -> (*const u8, usize) {
        (self.words().as_ptr().cast(), size_of::<[AtomicU64; WORDS]>())
    }

    pub fn words(&self) -> &[AtomicU64; WORDS] {
        &self.shape().words
    }

    /// Back to the beginning; the words stay as they are.
    pub fn reset(&self) {
        let shape = self.shape();
        shape.phase.store(BEFORE, Ordering::SeqCst);
        shape.failed.store(0, Ordering::SeqCst);
        shape.answer.store(0, Ordering::SeqCst);
        shape.length.store(0, Ordering::SeqCst);
    }

    /// The first marker: what the child executes from here on counts. Out of line, and so small
    /// that the operation's own instructions begin a few further on.
    #[inline(never)]
    pub fn enter(&self) {
        self.shape().phase.store(INSIDE, Ordering::Release);
    }

    /// The second marker: the operation has returned.
    #[inline(never)]
    pub fn leave(&self) {
        self.shape().phase.store(AFTER, Ordering::Release);
    }

    /// Whether the child is between the markers.
    pub fn is_inside(&self) -> bool {
        self.shape().phase.load(Ordering::Acquire) == INSIDE
    }

    /// Whether the child is past the second marker.
    pub fn is_after(&self) -> bool {
        self.shape().phase.load(Ordering::Acquire) == AFTER
    }

    /// What the child's operation, or its check, answered.
    pub fn answered(&self) -> u64 {
        self.shape().answer.load(Ordering::Acquire)
    }

    /// Called in the child: all is well.
    pub fn answer(&self, answer: u64) {
        self.shape().answer.store(answer, Ordering::Release);
    }

    /// Called in the child: this was found wrong.
    pub fn fail(&self, failure: &Failure) {
        let shape = self.shape();
        let text = failure.detail.as_bytes();
        let length = text.len().min(TEXT);
        for (cell, byte) in shape.text.iter().zip(&text[..length]) {
            cell.store(*byte, Ordering::Relaxed);
        }
        shape.length.store(length as u32, Ordering::Relaxed);
        shape.failed.store(failure.check as u32, Ordering::Release);
    }

    /// What the child said: its answer, or what it found wrong.
    pub fn result(&self) -> Result<u64, Failure> {
        let shape = self.shape();
        let Some(check) = Check::from_number(shape.failed.load(Ordering::Acquire)) else {
            return Ok(self.answered());
        };
        let length = (shape.length.load(Ordering::Relaxed) as usize).min(TEXT);
        let bytes: Vec<u8> =
            shape.text[..length].iter().map(|cell| cell.load(Ordering::Relaxed)).collect();
        Err(Failure::new(check, String::from_utf8_lossy(&bytes)))
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`; no reference into it outlives `self`.
        unsafe { libc::munmap(self.0.cast(), size_of::<Shape>()) };
    }
}
