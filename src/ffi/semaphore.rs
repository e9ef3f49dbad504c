//! Semaphores.

use crate::error::Result;
use crate::ffi::segment::mpshm_segment_t;
use crate::ffi::{
    call, check_flags, check_out, check_size, deadline, free, given, hand_out, invalid, place, put,
};
use crate::sync::{Semaphore, SemaphoreOptions};
use std::ffi::{c_char, c_int};

/// A number of permits in shared memory: who wants one takes it, or waits until it is free.
pub struct mpshm_semaphore_t(pub(super) Semaphore);

/// How a semaphore is made. Set by mpshm_semaphore_options_init(), then changed.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct mpshm_semaphore_options_t {
    /// Bytes of this struct, as mpshm_semaphore_options_init() sets it.
    pub struct_size: usize,
    /// MPSHM_SEMAPHORE_ flags, or 0.
    pub flags: u64,
    /// How many permits are free at first, 0 to 2^32 - 1; 1 by default.
    pub initial: u64,
    /// The most permits that there can be, 1 to 2^32 - 1; 0, the default: no other bound, or with MPSHM_SEMAPHORE_OWNED as
    /// many as at first.
    pub bound: u64,
}

/// Permits have owners: only the process that took one gives it back, and those of the dead come back by themselves. At most
/// 65536, and never more than at first. Without it anybody gives back, and what the dead took stays taken.
pub const MPSHM_SEMAPHORE_OWNED: u64 = 1;

const DEFAULTS: mpshm_semaphore_options_t = mpshm_semaphore_options_t {
    struct_size: size_of::<mpshm_semaphore_options_t>(),
    flags: 0,
    initial: 1,
    bound: 0,
};

/// Sets the defaults.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_semaphore_options_init(
    options: *mut mpshm_semaphore_options_t,
) -> c_int {
    // SAFETY: the caller's pointer.
    call(|| unsafe { put(options, DEFAULTS, "options") })
}

/// The options in Rust's form; NULL = the defaults.
///
/// # Safety
/// `options` is NULL or valid.
unsafe fn read(options: *const mpshm_semaphore_options_t) -> Result<SemaphoreOptions> {
    // SAFETY: the caller's word.
    let options = unsafe { options.as_ref() }.copied().unwrap_or(DEFAULTS);
    check_size::<mpshm_semaphore_options_t>(options.struct_size)?;
    check_flags(options.flags, MPSHM_SEMAPHORE_OWNED)?;
    let small = |number: u64, what: &str| {
        u32::try_from(number).map_err(|_| {
            invalid(format!(
                "{what} of {number} permits ({} as a signed number): at most 2^32 - 1 are possible",
                number as i64
            ))
        })
    };
    let mut read = SemaphoreOptions::new(small(options.initial, "an initial value")?);
    if options.bound != 0 {
        read = read.bound(small(options.bound, "a bound")?);
    }
    if options.flags & MPSHM_SEMAPHORE_OWNED != 0 {
        read = read.owned();
    }
    Ok(read)
}

/// Makes a semaphore; `options` may be NULL. Place and errors as mpshm_value_create().
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_semaphore_create(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    options: *const mpshm_semaphore_options_t,
    semaphore: *mut *mut mpshm_semaphore_t,
) -> c_int {
    call(|| {
        check_out(semaphore, "semaphore")?;
        // SAFETY: the caller's pointers.
        unsafe {
            let made = Semaphore::create(place(segment, name, true)?, &read(options)?)?;
            hand_out(semaphore, mpshm_semaphore_t(made));
        }
        Ok(())
    })
}

/// Opens a semaphore, however it was made.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_semaphore_open(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    semaphore: *mut *mut mpshm_semaphore_t,
) -> c_int {
    call(|| {
        check_out(semaphore, "semaphore")?;
        // SAFETY: the caller's pointers.
        unsafe {
            let opened = Semaphore::open(place(segment, name, false)?)?;
            hand_out(semaphore, mpshm_semaphore_t(opened));
        }
        Ok(())
    })
}

/// Opens a semaphore, which stays as it is, or makes it.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_semaphore_open_or_create(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    options: *const mpshm_semaphore_options_t,
    semaphore: *mut *mut mpshm_semaphore_t,
) -> c_int {
    call(|| {
        check_out(semaphore, "semaphore")?;
        // SAFETY: the caller's pointers.
        unsafe {
            let opened = Semaphore::open_or_create(place(segment, name, false)?, &read(options)?)?;
            hand_out(semaphore, mpshm_semaphore_t(opened));
        }
        Ok(())
    })
}

/// Bytes that such a semaphore needs in a segment.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_semaphore_size_for(
    options: *const mpshm_semaphore_options_t,
    size: *mut u64,
) -> c_int {
    // SAFETY: the caller's pointers.
    call(|| unsafe { put(size, Semaphore::size_for(&read(options)?)?, "size") })
}

/// Closes the handle; NULL is a no-op. What was taken through it stays taken.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mpshm_semaphore_close(semaphore: *mut mpshm_semaphore_t) {
    // SAFETY: the caller's handle.
    unsafe { free(semaphore) }
}

/// Takes `count` permits, all or none, when so many are free. EBUSY (time-out 0), ETIMEDOUT, EINTERRUPTED; EINVAL for 0 and for
/// more than the bound. Owned permits are taken one after the other, and given back if they do not suffice: others
/// may find them taken meanwhile.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_semaphore_acquire(
    semaphore: *const mpshm_semaphore_t,
    count: u64,
    timeout_ns: i64,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let semaphore = &unsafe { given(semaphore, "semaphore") }?.0;
        let count = narrow(semaphore, count)?;
        let taken = if timeout_ns == 0 {
            semaphore.try_acquire_many(count)
        } else {
            semaphore.acquire_many_timeout(count, deadline(timeout_ns)?)
        };
        taken?.forget();
        Ok(())
    })
}

/// Gives `count` permits back. EINVAL for 0, and if there would be more than the bound; ENOTOWNER if this process holds fewer
/// owned ones. Nothing is changed then.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_semaphore_release(
    semaphore: *const mpshm_semaphore_t,
    count: u64,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let semaphore = &unsafe { given(semaphore, "semaphore") }?.0;
        semaphore.release(narrow(semaphore, count)?)
    })
}

/// How many permits are free; those of the dead are not, until somebody needs them.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_semaphore_value(
    semaphore: *const mpshm_semaphore_t,
    value: *mut u64,
) -> c_int {
    // SAFETY: the caller's pointers.
    call(|| unsafe { put(value, given(semaphore, "semaphore")?.0.value().into(), "value") })
}

fn narrow(semaphore: &Semaphore, count: u64) -> Result<u32> {
    u32::try_from(count).map_err(|_| {
        invalid(format!("{count} permits of a semaphore: 1 to {} are expected", semaphore.bound()))
    })
}
