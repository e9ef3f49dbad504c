//! A second mapping of a segment, for a look at its bytes, and for planting wrong ones.

use std::os::fd::{AsFd, AsRawFd};

/// The bytes of a descriptor, mapped shared.
pub struct View {
    start: *mut u8,
    length: usize,
}

impl View {
    pub fn of(fd: impl AsFd, length: usize) -> Self {
        // SAFETY: a fresh mapping of a whole file; nothing else refers to it.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_fd().as_raw_fd(),
                0,
            )
        };
        assert!(start != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
        Self { start: start.cast(), length }
    }

    pub fn memory(&self) -> (*const u8, usize) {
        (self.start, self.length)
    }

    /// Where `bytes` stand, on a multiple of eight.
    pub fn find(&self, bytes: &[u8]) -> Option<usize> {
        (0..self.length - bytes.len()).step_by(8).find(|&at| {
            (bytes.iter().enumerate())
                // SAFETY: inside the mapping; others may write it at any time.
                .all(|(index, byte)| unsafe { self.start.add(at + index).read_volatile() } == *byte)
        })
    }

    /// Writes `bytes` at offset `at`, whatever anybody else thinks of it.
    pub fn plant(&self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.length);
        for (index, byte) in bytes.iter().enumerate() {
            // SAFETY: inside the mapping.
            unsafe { self.start.add(at + index).write_volatile(*byte) };
        }
    }

    /// The word of eight bytes at offset `at`.
    pub fn word(&self, at: usize) -> u64 {
        assert!(at % 8 == 0 && at + 8 <= self.length);
        // SAFETY: an aligned word inside the mapping.
        unsafe { self.start.add(at).cast::<u64>().read_volatile() }
    }

    /// Swaps a word of eight bytes at offset `at` for what `change` makes of it.
    pub fn plant_word(&self, at: usize, change: impl Fn(u64) -> u64) {
        assert!(at % 8 == 0 && at + 8 <= self.length);
        // SAFETY: an aligned word inside the mapping.
        unsafe {
            let word = self.start.add(at).cast::<u64>();
            word.write_volatile(change(word.read_volatile()));
        }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `of`.
        unsafe { libc::munmap(self.start.cast(), self.length) };
    }
}
