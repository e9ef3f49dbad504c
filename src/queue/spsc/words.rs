//! Copies of bytes that another process may be writing, or reading, at the same time: word by word, each word whole.
//!
//! What was read so means nothing until it is known that nobody wrote meanwhile.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Copies `count` bytes out of shared memory.
///
/// # Safety
/// `from` is shared memory of `count` bytes, `to` private memory of as many.
pub(crate) unsafe fn read(from: *const u8, to: *mut u8, count: usize) {
    let words = if from.cast::<u64>().is_aligned() { count / 8 } else { 0 };
    for word in 0..words {
        // SAFETY: inside both, and `from` is aligned.
        unsafe {
            let value = (*from.cast::<AtomicU64>().add(word)).load(Ordering::Relaxed);
            to.cast::<u64>().add(word).write_unaligned(value);
        }
    }
    for byte in words * 8..count {
        // SAFETY: inside both.
        unsafe { to.add(byte).write((*from.cast::<AtomicU8>().add(byte)).load(Ordering::Relaxed)) };
    }
}

/// Copies `count` bytes into shared memory.
///
/// # Safety
/// `to` is shared memory of `count` bytes, `from` private memory of as many.
pub(crate) unsafe fn write(to: *mut u8, from: *const u8, count: usize) {
    let words = if to.cast::<u64>().is_aligned() { count / 8 } else { 0 };
    for word in 0..words {
        // SAFETY: inside both, and `to` is aligned.
        unsafe {
            let value = from.cast::<u64>().add(word).read_unaligned();
            (*to.cast::<AtomicU64>().add(word)).store(value, Ordering::Relaxed);
        }
    }
    for byte in words * 8..count {
        // SAFETY: inside both.
        unsafe {
            (*to.cast::<AtomicU8>().add(byte)).store(from.add(byte).read(), Ordering::Relaxed)
        };
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn copies_of_every_length_and_alignment_are_right() {
        let from: Vec<u8> = (0..64).collect();
        for start in 0..9 {
            for count in 0..40 {
                let mut shared = [0u64; 8];
                let mut back = [0xffu8; 48];
                // SAFETY: both ranges lie inside the arrays.
                unsafe {
                    let place = shared.as_mut_ptr().cast::<u8>().add(start);
                    write(place, from.as_ptr(), count);
                    read(place, back.as_mut_ptr(), count);
                }
                assert_eq!(back[..count], from[..count]);
                assert!(back[count..].iter().all(|&byte| byte == 0xff));
            }
        }
    }
}
