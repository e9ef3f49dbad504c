//! Mutexes.

use crate::ffi::segment::mpshm_segment_t;
use crate::ffi::{call, check_out, free, given, hand_out, item, locking, place, put};
use crate::sync::mutex::ByteMutex;
use std::ffi::{c_char, c_int, c_void};

/// A lock in shared memory, and the bytes that it guards.
pub struct mpshm_mutex_t(pub(crate) ByteMutex);

/// Makes a mutex with `size` bytes of data, zeroed and aligned to `align` (a power of two up to 128 that
/// divides `size`; 1 for a size of 0). `type_code` is MPSHM_BYTES, or a scalar's for which size and
/// align may be 0. Place and errors as mpshm_value_create().
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_mutex_create(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    type_code: u32,
    size: usize,
    align: usize,
    mutex: *mut *mut mpshm_mutex_t,
) -> c_int {
    call(|| {
        check_out(mutex, "mutex")?;
        let item = item(type_code, size, align)?;
        // SAFETY: the caller's pointers.
        unsafe {
            hand_out(
                mutex,
                mpshm_mutex_t(ByteMutex::create(place(segment, name, true)?, item, false)?),
            );
        }
        Ok(())
    })
}

/// Makes a mutex that its owner, a thread, may lock up to 65535 times, and has to unlock as often; it is that for
/// everybody who opens it. Else as mpshm_mutex_create(). Who gets it after EOWNERDEAD holds it once, and is told so at
/// each lock until mpshm_mutex_mark_consistent().
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_mutex_create_recursive(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    type_code: u32,
    size: usize,
    align: usize,
    mutex: *mut *mut mpshm_mutex_t,
) -> c_int {
    call(|| {
        check_out(mutex, "mutex")?;
        let item = item(type_code, size, align)?;
        // SAFETY: the caller's pointers.
        unsafe {
            let made = ByteMutex::create(place(segment, name, true)?, item, true)?;
            hand_out(mutex, mpshm_mutex_t(made));
        }
        Ok(())
    })
}

/// Opens a mutex whose data have that type, size and alignment.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_mutex_open(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    type_code: u32,
    size: usize,
    align: usize,
    mutex: *mut *mut mpshm_mutex_t,
) -> c_int {
    call(|| {
        check_out(mutex, "mutex")?;
        let item = item(type_code, size, align)?;
        // SAFETY: the caller's pointers.
        unsafe {
            hand_out(mutex, mpshm_mutex_t(ByteMutex::open(place(segment, name, false)?, item)?));
        }
        Ok(())
    })
}

/// Opens a mutex, or makes it.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_mutex_open_or_create(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    type_code: u32,
    size: usize,
    align: usize,
    mutex: *mut *mut mpshm_mutex_t,
) -> c_int {
    call(|| {
        check_out(mutex, "mutex")?;
        let item = item(type_code, size, align)?;
        // SAFETY: the caller's pointers.
        unsafe {
            let opened = place(segment, name, false)?.open_or_create(
                |place| ByteMutex::open(place, item),
                |place| ByteMutex::create(place, item, false),
            )?;
            hand_out(mutex, mpshm_mutex_t(opened));
        }
        Ok(())
    })
}

/// Opens a mutex, or makes a recursive one. One that is there stays what it is.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_mutex_open_or_create_recursive(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    type_code: u32,
    size: usize,
    align: usize,
    mutex: *mut *mut mpshm_mutex_t,
) -> c_int {
    call(|| {
        check_out(mutex, "mutex")?;
        let item = item(type_code, size, align)?;
        // SAFETY: the caller's pointers.
        unsafe {
            let opened = place(segment, name, false)?.open_or_create(
                |place| ByteMutex::open(place, item),
                |place| ByteMutex::create(place, item, true),
            )?;
            hand_out(mutex, mpshm_mutex_t(opened));
        }
        Ok(())
    })
}

/// Whether the mutex was made recursive.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_mutex_is_recursive(
    mutex: *const mpshm_mutex_t,
    is_recursive: *mut bool,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe { put(is_recursive, given(mutex, "mutex")?.0.raw.is_recursive(), "is_recursive") }
    })
}

/// Closes the handle; NULL is a no-op. A lock that is held through it stays held.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mpshm_mutex_close(mutex: *mut mpshm_mutex_t) {
    // SAFETY: the caller's handle.
    unsafe { free(mutex) }
}

/// Locks; as mpshm_value_lock(): 0, EOWNERDEAD (held), ENOTRECOVERABLE, EBUSY (time-out 0), ETIMEDOUT,
/// EDEADLOCK (this thread holds it, and it is not recursive), ELIMIT (it is, and held 65535 times), EINTERRUPTED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_mutex_lock(mutex: *const mpshm_mutex_t, timeout_ns: i64) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let mutex = &unsafe { given(mutex, "mutex") }?.0;
        locking::lock(mutex.raw, &mutex.object.segment, timeout_ns)
    })
}

/// Unlocks, a recursive one once. ENOTOWNER when this thread of this process does not hold the lock.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_mutex_unlock(mutex: *const mpshm_mutex_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let mutex = &unsafe { given(mutex, "mutex") }?.0;
        locking::unlock(mutex.raw, &mutex.object.segment)
    })
}

/// Says that the data are whole again after EOWNERDEAD; unlocked without it, the mutex is lost. ENOTOWNER
/// when this thread does not hold the lock.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_mutex_mark_consistent(mutex: *const mpshm_mutex_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let mutex = &unsafe { given(mutex, "mutex") }?.0;
        locking::mark_consistent(mutex.raw, &mutex.object.segment)
    })
}

/// Where the data lie; to be touched only with the lock held, until the handle is closed. `size` may be
/// NULL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_mutex_data(
    mutex: *const mpshm_mutex_t,
    data: *mut *mut c_void,
    size: *mut usize,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe {
            let mutex = &given(mutex, "mutex")?.0;
            put(data, mutex.data.cast(), "data")?;
            if !size.is_null() {
                put(size, mutex.item.size as usize, "size")?;
            }
        }
        Ok(())
    })
}
