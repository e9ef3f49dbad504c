//! Latches.

use crate::error::{Error, ErrorKind, Result};
use crate::ffi::segment::mpshm_segment_t;
use crate::ffi::{call, check_out, deadline, free, given, hand_out, place, put};
use crate::sync::Latch;
use std::ffi::{c_char, c_int};

/// A count in shared memory that processes count down, once, and wait for until it is 0.
pub struct mpshm_latch_t(pub(super) Latch);

/// Makes a latch that waits for `count` to arrive; with 0 it is open. Place and errors as mpshm_value_create().
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_latch_create(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    count: u64,
    latch: *mut *mut mpshm_latch_t,
) -> c_int {
    call(|| {
        check_out(latch, "latch")?;
        // SAFETY: the caller's pointers.
        unsafe {
            hand_out(latch, mpshm_latch_t(Latch::create(place(segment, name, true)?, count)?));
        }
        Ok(())
    })
}

/// Opens a latch.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_latch_open(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    latch: *mut *mut mpshm_latch_t,
) -> c_int {
    call(|| {
        check_out(latch, "latch")?;
        // SAFETY: the caller's pointers.
        unsafe { hand_out(latch, mpshm_latch_t(Latch::open(place(segment, name, false)?)?)) };
        Ok(())
    })
}

/// Opens a latch, which stays as it is, or makes it.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_latch_open_or_create(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    count: u64,
    latch: *mut *mut mpshm_latch_t,
) -> c_int {
    call(|| {
        check_out(latch, "latch")?;
        // SAFETY: the caller's pointers.
        unsafe {
            let opened = Latch::open_or_create(place(segment, name, false)?, count)?;
            hand_out(latch, mpshm_latch_t(opened));
        }
        Ok(())
    })
}

/// Closes the handle; NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mpshm_latch_close(latch: *mut mpshm_latch_t) {
    // SAFETY: the caller's handle.
    unsafe { free(latch) }
}

/// `count` have arrived. Never waits. EINVAL for 0, and when fewer are left: nothing is changed then.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_latch_count_down(latch: *const mpshm_latch_t, count: u64) -> c_int {
    // SAFETY: the caller's pointer.
    call(|| unsafe { given(latch, "latch") }?.0.count_down(count))
}

/// Waits until all have arrived. ETIMEDOUT, also for a time-out of 0, which is a look; EINTERRUPTED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_latch_wait(latch: *const mpshm_latch_t, timeout_ns: i64) -> c_int {
    // SAFETY: the caller's pointer.
    call(|| wait(&unsafe { given(latch, "latch") }?.0, timeout_ns))
}

/// Arrives, and waits for the others; after ETIMEDOUT or EINTERRUPTED it has arrived.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_latch_arrive_and_wait(
    latch: *const mpshm_latch_t,
    timeout_ns: i64,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let latch = &unsafe { given(latch, "latch") }?.0;
        deadline(timeout_ns)?;
        latch.count_down(1)?;
        wait(latch, timeout_ns)
    })
}

fn wait(latch: &Latch, timeout_ns: i64) -> Result<()> {
    if latch.wait_timeout(deadline(timeout_ns)?)? {
        return Ok(());
    }
    let left = latch.count();
    Err(Error::new(
        ErrorKind::TimedOut,
        format!("the latch was not open before the deadline: {left} have not arrived"),
    ))
}

/// How many have still to arrive.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_latch_count(latch: *const mpshm_latch_t, count: *mut u64) -> c_int {
    // SAFETY: the caller's pointers.
    call(|| unsafe { put(count, given(latch, "latch")?.0.count(), "count") })
}
