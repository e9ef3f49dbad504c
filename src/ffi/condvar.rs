//! Condition variables.

use crate::error::{Error, ErrorKind, Result};
use crate::ffi::mutex::mpshm_mutex_t;
use crate::ffi::segment::mpshm_segment_t;
use crate::ffi::{call, check_out, deadline, free, given, hand_out, place, put};
use crate::sync::mutex::{RawGuard, guard_of_forgotten};
use crate::sync::{Condvar, CondvarOptions};
use std::ffi::{c_char, c_int};
use std::mem::ManuallyDrop;

/// Where threads of several processes wait, under a mutex, until something has changed.
pub struct mpshm_condvar_t(Condvar);

/// As many that wait as are possible unless said otherwise.
fn options(waiters: u32) -> CondvarOptions {
    if waiters == 0 { CondvarOptions::new() } else { CondvarOptions::new().waiters(waiters) }
}

/// Makes a condition variable with which up to `waiters` (1 to 4096; 0 = 128) wait at a time. Place and errors as
/// mpshm_value_create().
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_condvar_create(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    waiters: u32,
    condvar: *mut *mut mpshm_condvar_t,
) -> c_int {
    call(|| {
        check_out(condvar, "condvar")?;
        // SAFETY: the caller's pointers.
        unsafe {
            let made = Condvar::create(place(segment, name, true)?, &options(waiters))?;
            hand_out(condvar, mpshm_condvar_t(made));
        }
        Ok(())
    })
}

/// Opens a condition variable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_condvar_open(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    condvar: *mut *mut mpshm_condvar_t,
) -> c_int {
    call(|| {
        check_out(condvar, "condvar")?;
        // SAFETY: the caller's pointers.
        unsafe {
            let opened = Condvar::open(place(segment, name, false)?)?;
            hand_out(condvar, mpshm_condvar_t(opened));
        }
        Ok(())
    })
}

/// Opens a condition variable, or makes it.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_condvar_open_or_create(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    waiters: u32,
    condvar: *mut *mut mpshm_condvar_t,
) -> c_int {
    call(|| {
        check_out(condvar, "condvar")?;
        // SAFETY: the caller's pointers.
        unsafe {
            let opened = Condvar::open_or_create(place(segment, name, false)?, &options(waiters))?;
            hand_out(condvar, mpshm_condvar_t(opened));
        }
        Ok(())
    })
}

/// Closes the handle; NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mpshm_condvar_close(condvar: *mut mpshm_condvar_t) {
    // SAFETY: the caller's handle.
    unsafe { free(condvar) }
}

/// The two handles, and the lock as this thread holds it.
///
/// # Safety
/// The pointers are NULL or handles.
unsafe fn with_lock<'a>(
    condvar: *const mpshm_condvar_t,
    mutex: *const mpshm_mutex_t,
) -> Result<(&'a Condvar, ManuallyDrop<RawGuard<'a>>)> {
    // SAFETY: the caller's word.
    let (condvar, mutex) = unsafe { (given(condvar, "condvar")?, given(mutex, "mutex")?) };
    let guard = guard_of_forgotten(mutex.0.raw, &mutex.0.object.segment)?;
    Ok((&condvar.0, guard))
}

/// Unlocks the mutex, however often it is held, waits until it is notified, and returns with the mutex held as before: 0.
/// ETIMEDOUT: not notified within the time (a time-out of 0 lets others have the mutex once). EOWNERDEAD: the mutex's
/// owner died meanwhile, as from mpshm_mutex_lock(). EINTERRUPTED: cancelled. ENOTOWNER, EINVAL (others wait with another
/// mutex), ELIMIT (so many wait already): it did not wait. In all these cases the mutex is held as before (ENOTOWNER: not).
/// ENOTRECOVERABLE: the mutex was lost meanwhile, and is not held.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_condvar_wait(
    condvar: *const mpshm_condvar_t,
    mutex: *const mpshm_mutex_t,
    timeout_ns: i64,
) -> c_int {
    call(|| {
        let deadline = deadline(timeout_ns)?;
        // SAFETY: the caller's pointers.
        let (condvar, guard) = unsafe { with_lock(condvar, mutex) }?;
        if condvar.wait_raw(&guard, deadline)? {
            return Ok(());
        }
        Err(Error::new(ErrorKind::TimedOut, "no notification came before the deadline"))
    })
}

/// Notifies the `count` that have waited longest (UINT32_MAX: all); `notified`, which may be NULL, is how many there were.
/// Never waits, and is not remembered. ENOTOWNER: this thread does not hold the mutex. EINVAL: some wait with another one.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_condvar_notify(
    condvar: *const mpshm_condvar_t,
    mutex: *const mpshm_mutex_t,
    count: u32,
    notified: *mut u32,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe {
            let (condvar, guard) = with_lock(condvar, mutex)?;
            let there_were = condvar.notify_raw(&guard, count)?;
            if !notified.is_null() {
                put(notified, there_were, "notified")?;
            }
        }
        Ok(())
    })
}

/// How many wait and are not notified; exact with the mutex held.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_condvar_waiters(
    condvar: *const mpshm_condvar_t,
    waiters: *mut u32,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe { put(waiters, given(condvar, "condvar")?.0.waiters(), "waiters") }
    })
}
