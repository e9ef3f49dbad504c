//! Copies of bytes that another processor writes again and again.
//!
//! The C library copies long runs with one instruction (`rep movsb`). Where two processors take turns at a few buffers that
//! is slow on some of them: measured on an AMD of 2 cores, a `Latest` of 4 KiB was read 0.3 million times a second so, and 3
//! million times by a loop of 16 bytes at a time that asks for later lines ahead. (Messages of a queue, whose blocks rest
//! longer, showed no difference.)

use std::ptr;

/// Shorter runs are left to the C library.
#[cfg(target_arch = "x86_64")]
const LONG: usize = 1024;
/// How far ahead lines are asked for, in bytes.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 512;
#[cfg(target_arch = "x86_64")]
const STEP: usize = 64;

/// Copies `count` plain values.
///
/// # Safety
/// As for `copy_nonoverlapping`: both are valid for so many, and do not overlap.
#[inline(always)]
pub(crate) unsafe fn copy<T>(from: *const T, to: *mut T, count: usize) {
    #[cfg(target_arch = "x86_64")]
    if count.saturating_mul(size_of::<T>()) >= LONG {
        // SAFETY: the caller's word.
        unsafe { copy_long(from.cast(), to.cast(), count * size_of::<T>()) };
        return;
    }
    // SAFETY: the caller's word.
    unsafe { ptr::copy_nonoverlapping(from, to, count) };
}

#[cfg(target_arch = "x86_64")]
#[inline(never)]
unsafe fn copy_long(from: *const u8, to: *mut u8, length: usize) {
    use crate::os::cpu::prefetch_to_read;
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_storeu_si128};
    let whole = length - length % STEP;
    let mut at = 0;
    while at < whole {
        prefetch_to_read(from.wrapping_add(at + AHEAD));
        // SAFETY: `at + STEP` is at most `length`, the caller's word. Unaligned accesses are allowed.
        unsafe {
            let (from, to) = (from.add(at).cast::<__m128i>(), to.add(at).cast::<__m128i>());
            let line = [0, 1, 2, 3].map(|index| _mm_loadu_si128(from.add(index)));
            for (index, part) in line.into_iter().enumerate() {
                _mm_storeu_si128(to.add(index), part);
            }
        }
        at += STEP;
    }
    // SAFETY: as above.
    unsafe { ptr::copy_nonoverlapping(from.add(whole), to.add(whole), length - whole) };
}

#[cfg(test)]
mod tests {
    use super::copy;

    #[test]
    fn a_copy_of_any_length_and_alignment_is_exact_and_touches_nothing_else() {
        let from: Vec<u8> = (0..5000u32).map(|index| (index * 7 % 251) as u8).collect();
        for length in [0, 1, 63, 64, 1023, 1024, 1025, 1087, 1088, 4096, 4900] {
            for (source, target) in [(0, 0), (1, 0), (0, 3), (17, 31)] {
                let mut to = vec![0xee; 5000];
                // SAFETY: inside both vectors.
                unsafe { copy(from[source..].as_ptr(), to[target..].as_mut_ptr(), length) };
                assert_eq!(to[target..target + length], from[source..source + length]);
                let around = to[..target].iter().chain(&to[target + length..]);
                assert!(around.into_iter().all(|&byte| byte == 0xee), "{length} bytes");
            }
        }
    }
}
