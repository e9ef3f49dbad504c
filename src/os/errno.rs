//! The thread's error number, where a caller must not see that it changed.

/// Runs `body` and puts the error number back: what a signal handler does must not show in what it interrupted.
#[inline]
pub(crate) fn kept<R>(body: impl FnOnce() -> R) -> R {
    // SAFETY: the thread's own errno, which stays where it is as long as the thread.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let before = unsafe { place.read() };
    let result = body();
    // SAFETY: as above.
    unsafe { place.write(before) };
    result
}
