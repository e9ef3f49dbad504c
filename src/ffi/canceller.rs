//! Cancelling blocked calls.

use crate::ffi::{call, check_out, free, given, hand_out};
use crate::wait::cancel::Canceller;
use std::cell::RefCell;
use std::ffi::c_int;

/// Ends the blocking calls of a thread on purpose: they say EINTERRUPTED.
pub struct mpshm_canceller_t(Canceller);

thread_local! {
    /// The regions this thread is in, innermost last: what was current before, and what keeps each alive.
    static REGIONS: RefCell<Vec<(*const std::sync::atomic::AtomicU32, Canceller)>> =
        const { RefCell::new(Vec::new()) };
}

/// Makes a canceller.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_canceller_create(canceller: *mut *mut mpshm_canceller_t) -> c_int {
    call(|| {
        check_out(canceller, "canceller")?;
        // SAFETY: checked above.
        unsafe { hand_out(canceller, mpshm_canceller_t(Canceller::new())) };
        Ok(())
    })
}

/// From here to mpshm_canceller_leave(), blocking calls of this thread end when the canceller is used. Regions
/// nest.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_canceller_enter(canceller: *const mpshm_canceller_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let canceller = &unsafe { given(canceller, "canceller") }?.0;
        REGIONS.with_borrow_mut(|regions| regions.push((canceller.enter(), canceller.clone())));
        Ok(())
    })
}

/// Ends this thread's innermost region. EINVAL when it is in none.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn mpshm_canceller_leave() -> c_int {
    call(|| {
        let region = REGIONS.with_borrow_mut(Vec::pop);
        let (before, _) = region.ok_or_else(|| super::invalid("this thread is in no region"))?;
        Canceller::leave(before);
        Ok(())
    })
}

/// Ends the blocking calls, now and until mpshm_canceller_reset(). From any thread; async-signal-safe.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_canceller_cancel(canceller: *const mpshm_canceller_t) -> c_int {
    // Not through `call`, which may allocate: signal handlers come here.
    // SAFETY: the caller's pointer.
    match unsafe { canceller.as_ref() } {
        Some(canceller) => {
            canceller.0.cancel();
            0
        }
        None => super::error::MPSHM_EINVAL,
    }
}

/// Makes calls block again.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_canceller_reset(canceller: *const mpshm_canceller_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        unsafe { given(canceller, "canceller") }?.0.reset();
        Ok(())
    })
}

/// Closes the handle; NULL is a no-op. Regions that were entered keep it alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mpshm_canceller_close(canceller: *mut mpshm_canceller_t) {
    // SAFETY: the caller's handle.
    unsafe { free(canceller) }
}
