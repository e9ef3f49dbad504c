//! What is done once.

use crate::ffi::segment::mpshm_segment_t;
use crate::ffi::{call, check_out, deadline, free, given, hand_out, invalid, place, put};
use crate::sync::{Attempt, Once};
use std::ffi::{c_char, c_int, c_void};

/// Something that one process does and the others wait for, once for all of them.
pub struct mpshm_once_t(Once);

/// Makes what is done once. Place and errors as mpshm_value_create().
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_once_create(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    once: *mut *mut mpshm_once_t,
) -> c_int {
    call(|| {
        check_out(once, "once")?;
        // SAFETY: the caller's pointers.
        unsafe {
            hand_out(once, mpshm_once_t(Once::create(place(segment, name, true)?)?));
        }
        Ok(())
    })
}

/// Opens what is done once.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_once_open(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    once: *mut *mut mpshm_once_t,
) -> c_int {
    call(|| {
        check_out(once, "once")?;
        // SAFETY: the caller's pointers.
        unsafe { hand_out(once, mpshm_once_t(Once::open(place(segment, name, false)?)?)) };
        Ok(())
    })
}

/// Opens what is done once, which stays as it is, or makes it.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_once_open_or_create(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    once: *mut *mut mpshm_once_t,
) -> c_int {
    call(|| {
        check_out(once, "once")?;
        // SAFETY: the caller's pointers.
        unsafe {
            let opened = Once::open_or_create(place(segment, name, false)?)?;
            hand_out(once, mpshm_once_t(opened));
        }
        Ok(())
    })
}

/// Closes the handle; NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mpshm_once_close(once: *mut mpshm_once_t) {
    // SAFETY: the caller's handle.
    unsafe { free(once) }
}

/// Runs `run(after_failure, context)` unless that is done, by whatever process; who runs it meanwhile is waited for. When this
/// returns 0 it is done, and `*ran`, unless that is NULL, says whether this call did it. `after_failure` is true when one before
/// died or failed in the middle: what it did half is to be made whole. ETASKFAILED when `run` returned anything but 0: the next
/// one is told. ETIMEDOUT, EDEADLOCK (in the middle of a run of this thread's own), EINTERRUPTED, EFORKED (a child that `run`
/// forked and that returned from it).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_once_call(
    once: *const mpshm_once_t,
    run: Option<unsafe extern "C" fn(after_failure: bool, context: *mut c_void) -> c_int>,
    context: *mut c_void,
    timeout_ns: i64,
    ran: *mut bool,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let once = &unsafe { given(once, "once") }?.0;
        let run = run.ok_or_else(|| invalid("run is NULL"))?;
        let did = once.try_call_timeout(deadline(timeout_ns)?, |attempt| {
            // SAFETY: the caller's function and what it wants.
            unsafe { run(attempt == Attempt::AfterFailure, context) == 0 }
        })?;
        if !ran.is_null() {
            // SAFETY: the caller's pointer.
            unsafe { put(ran, did, "ran") }?;
        }
        Ok(())
    })
}

/// Whether it is done.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_once_is_done(
    once: *const mpshm_once_t,
    is_done: *mut bool,
) -> c_int {
    // SAFETY: the caller's pointers.
    call(|| unsafe { put(is_done, given(once, "once")?.0.is_done(), "is_done") })
}
