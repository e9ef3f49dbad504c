//! The bare system calls to sleep on a word in shared memory, and to wake who does.

use std::sync::atomic::AtomicU32;

/// Sleeps while the word is `value`, unless a signal comes.
pub fn wait(word: &AtomicU32, value: u32) {
    // SAFETY: the word lives for the call; there is no deadline.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            value,
            std::ptr::null::<libc::timespec>(),
        );
    }
}

/// Wakes up to `count` sleepers.
pub fn wake(word: &AtomicU32, count: i32) {
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, count) };
}
