//! Events.

use crate::error::{Error, ErrorKind};
use crate::ffi::segment::mpshm_segment_t;
use crate::ffi::{call, check_out, deadline, free, given, hand_out, place, put};
use crate::sync::Event;
use std::ffi::{c_char, c_int};

/// A flag in shared memory that processes set, clear and wait for; unset at first.
pub struct mpshm_event_t(pub(super) Event);

/// Makes an event. Place and errors as mpshm_value_create().
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_event_create(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    event: *mut *mut mpshm_event_t,
) -> c_int {
    call(|| {
        check_out(event, "event")?;
        // SAFETY: the caller's pointers.
        unsafe { hand_out(event, mpshm_event_t(Event::create(place(segment, name, true)?)?)) };
        Ok(())
    })
}

/// Opens an event.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_event_open(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    event: *mut *mut mpshm_event_t,
) -> c_int {
    call(|| {
        check_out(event, "event")?;
        // SAFETY: the caller's pointers.
        unsafe { hand_out(event, mpshm_event_t(Event::open(place(segment, name, false)?)?)) };
        Ok(())
    })
}

/// Opens an event, or makes it.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_event_open_or_create(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    event: *mut *mut mpshm_event_t,
) -> c_int {
    call(|| {
        check_out(event, "event")?;
        // SAFETY: the caller's pointers.
        unsafe {
            let opened = Event::open_or_create(place(segment, name, false)?)?;
            hand_out(event, mpshm_event_t(opened));
        }
        Ok(())
    })
}

/// Closes the handle; NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mpshm_event_close(event: *mut mpshm_event_t) {
    // SAFETY: the caller's handle.
    unsafe { free(event) }
}

/// Sets the event: all who wait go on, and so does whoever comes until it is cleared. Nothing is changed if it is set.
/// Never waits; may be called from a signal handler, and leaves errno alone.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_event_set(event: *const mpshm_event_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        unsafe { given(event, "event") }?.0.set();
        Ok(())
    })
}

/// Clears the event; nothing is changed if it is not set. May be called from a signal handler.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_event_clear(event: *const mpshm_event_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        unsafe { given(event, "event") }?.0.clear();
        Ok(())
    })
}

/// Whether the event is set now. May be called from a signal handler.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_event_is_set(
    event: *const mpshm_event_t,
    is_set: *mut bool,
) -> c_int {
    // SAFETY: the caller's pointers.
    call(|| unsafe { put(is_set, given(event, "event")?.0.is_set(), "is_set") })
}

/// Waits until the event is set, or has been since the call began: no pulse of set and clear is lost. ETIMEDOUT when the
/// time-out passed first, also for one of 0, which is a look; EINTERRUPTED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_event_wait(event: *const mpshm_event_t, timeout_ns: i64) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let event = &unsafe { given(event, "event") }?.0;
        if event.wait_timeout(deadline(timeout_ns)?)? {
            return Ok(());
        }
        Err(Error::new(ErrorKind::TimedOut, "the event was not set before the deadline"))
    })
}
