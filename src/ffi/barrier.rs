//! Barriers.

use crate::error::Result;
use crate::ffi::segment::mpshm_segment_t;
use crate::ffi::{MPSHM_FOREVER, call, check_out, deadline, free, given, hand_out, place, put};
use crate::sync::{Barrier, BarrierError, BarrierOptions, BarrierPass};
use std::ffi::{c_char, c_int, c_void};
use std::time::Duration;

/// Where several processes, or threads, wait for each other.
pub struct mpshm_barrier_t(Barrier);

/// What the last party to come runs before anybody goes on.
pub type mpshm_barrier_action_t = Option<unsafe extern "C" fn(context: *mut c_void)>;

fn options(parties: u32, timeout_ns: i64) -> Result<BarrierOptions> {
    deadline(timeout_ns)?;
    let options = BarrierOptions::new(parties);
    Ok(match timeout_ns {
        MPSHM_FOREVER => options,
        _ => options.timeout(Duration::from_nanos(timeout_ns as u64)),
    })
}

/// Makes a barrier for 1 to 4096 parties. `timeout_ns` is how long mpshm_barrier_wait_default() waits. Place and errors as
/// mpshm_value_create().
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_barrier_create(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    parties: u32,
    timeout_ns: i64,
    barrier: *mut *mut mpshm_barrier_t,
) -> c_int {
    call(|| {
        check_out(barrier, "barrier")?;
        let options = options(parties, timeout_ns)?;
        // SAFETY: the caller's pointers.
        unsafe {
            let made = Barrier::create(place(segment, name, true)?, &options)?;
            hand_out(barrier, mpshm_barrier_t(made));
        }
        Ok(())
    })
}

/// Opens a barrier.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_barrier_open(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    barrier: *mut *mut mpshm_barrier_t,
) -> c_int {
    call(|| {
        check_out(barrier, "barrier")?;
        // SAFETY: the caller's pointers.
        unsafe {
            let opened = Barrier::open(place(segment, name, false)?)?;
            hand_out(barrier, mpshm_barrier_t(opened));
        }
        Ok(())
    })
}

/// Opens a barrier, or makes it.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_barrier_open_or_create(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    parties: u32,
    timeout_ns: i64,
    barrier: *mut *mut mpshm_barrier_t,
) -> c_int {
    call(|| {
        check_out(barrier, "barrier")?;
        let options = options(parties, timeout_ns)?;
        // SAFETY: the caller's pointers.
        unsafe {
            let opened = Barrier::open_or_create(place(segment, name, false)?, &options)?;
            hand_out(barrier, mpshm_barrier_t(opened));
        }
        Ok(())
    })
}

/// Closes the handle; NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mpshm_barrier_close(barrier: *mut mpshm_barrier_t) {
    // SAFETY: the caller's handle.
    unsafe { free(barrier) }
}

/// Waits for all parties. `index`, which may be NULL, is the place in the order of coming: the last one has parties - 1.
/// EBROKEN: a party's time was over (perhaps this one's), it was cancelled or died, or somebody broke or reset the
/// barrier. EINTERRUPTED: cancelled, and the barrier broken by that.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_barrier_wait(
    barrier: *const mpshm_barrier_t,
    timeout_ns: i64,
    index: *mut u32,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe { passed(given(barrier, "barrier")?.0.wait_timeout(deadline(timeout_ns)?), index) }
    })
}

/// The same with the time-out that the barrier was made with.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_barrier_wait_default(
    barrier: *const mpshm_barrier_t,
    index: *mut u32,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe { passed(given(barrier, "barrier")?.0.wait(), index) }
    })
}

/// Waits for all parties; if this one is the last, it runs `action(context)` before anybody goes on. When its process dies
/// in there, the barrier is broken.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_barrier_wait_with(
    barrier: *const mpshm_barrier_t,
    timeout_ns: i64,
    action: mpshm_barrier_action_t,
    context: *mut c_void,
    index: *mut u32,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers, and its function.
        unsafe {
            let barrier = &given(barrier, "barrier")?.0;
            let run = || {
                if let Some(action) = action {
                    action(context);
                }
            };
            passed(barrier.wait_timeout_with(deadline(timeout_ns)?, run), index)
        }
    })
}

/// # Safety
/// `index` is NULL or can be written.
unsafe fn passed(
    waited: std::result::Result<BarrierPass, BarrierError>,
    index: *mut u32,
) -> Result<()> {
    let pass = waited?;
    if !index.is_null() {
        // SAFETY: the caller's word.
        unsafe { put(index, pass.index(), "index")? };
    }
    Ok(())
}

/// Breaks the barrier for all who wait and all who come, until mpshm_barrier_reset(). Never waits.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_barrier_abort(barrier: *const mpshm_barrier_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        unsafe { given(barrier, "barrier")? }.0.abort();
        Ok(())
    })
}

/// Makes the barrier as new; who waits gets EBROKEN. Never waits.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_barrier_reset(barrier: *const mpshm_barrier_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        unsafe { given(barrier, "barrier")? }.0.reset();
        Ok(())
    })
}

/// Whether the barrier is broken.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_barrier_is_broken(
    barrier: *const mpshm_barrier_t,
    is_broken: *mut bool,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe { put(is_broken, given(barrier, "barrier")?.0.is_broken(), "is_broken") }
    })
}

/// How many parties wait now.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_barrier_waiting(
    barrier: *const mpshm_barrier_t,
    waiting: *mut u32,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe { put(waiting, given(barrier, "barrier")?.0.waiting(), "waiting") }
    })
}

/// How many parties it takes.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_barrier_parties(
    barrier: *const mpshm_barrier_t,
    parties: *mut u32,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe { put(parties, given(barrier, "barrier")?.0.parties(), "parties") }
    })
}
