//! Read-write locks.

use crate::ffi::segment::mpshm_segment_t;
use crate::ffi::{call, check_out, deadline, free, given, hand_out, item, locking, place, put};
use crate::sync::rwlock::ByteRwLock;
use std::ffi::{c_char, c_int, c_void};

/// A lock in shared memory that many may hold to read, or one to write, and the bytes that it guards.
pub struct mpshm_rwlock_t(ByteRwLock);

/// Makes a read-write lock. Data as for mpshm_mutex_create(), place and errors as mpshm_value_create().
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_rwlock_create(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    type_code: u32,
    size: usize,
    align: usize,
    rwlock: *mut *mut mpshm_rwlock_t,
) -> c_int {
    call(|| {
        check_out(rwlock, "rwlock")?;
        let item = item(type_code, size, align)?;
        // SAFETY: the caller's pointers.
        unsafe {
            hand_out(
                rwlock,
                mpshm_rwlock_t(ByteRwLock::create(place(segment, name, true)?, item, |_| ())?),
            );
        }
        Ok(())
    })
}

/// Opens a read-write lock whose data have that type, size and alignment.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_rwlock_open(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    type_code: u32,
    size: usize,
    align: usize,
    rwlock: *mut *mut mpshm_rwlock_t,
) -> c_int {
    call(|| {
        check_out(rwlock, "rwlock")?;
        let item = item(type_code, size, align)?;
        // SAFETY: the caller's pointers.
        unsafe {
            hand_out(rwlock, mpshm_rwlock_t(ByteRwLock::open(place(segment, name, false)?, item)?));
        }
        Ok(())
    })
}

/// Opens a read-write lock, or makes it.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_rwlock_open_or_create(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    type_code: u32,
    size: usize,
    align: usize,
    rwlock: *mut *mut mpshm_rwlock_t,
) -> c_int {
    call(|| {
        check_out(rwlock, "rwlock")?;
        let item = item(type_code, size, align)?;
        // SAFETY: the caller's pointers.
        unsafe {
            let opened = place(segment, name, false)?.open_or_create(
                |place| ByteRwLock::open(place, item),
                |place| ByteRwLock::create(place, item, |_| ()),
            )?;
            hand_out(rwlock, mpshm_rwlock_t(opened));
        }
        Ok(())
    })
}

/// Closes the handle; NULL is a no-op. What is held through it stays held.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mpshm_rwlock_close(rwlock: *mut mpshm_rwlock_t) {
    // SAFETY: the caller's handle.
    unsafe { free(rwlock) }
}

/// Locks to read, as one of many: 0, EOWNERDEAD (held; a writer died, and none has marked the data as consistent since),
/// ENOTRECOVERABLE, EBUSY (time-out 0), ETIMEDOUT, EDEADLOCK (this thread writes), ELIMIT (this process reads 65535 times),
/// EINTERRUPTED. A thread that reads may read again, and ends each reading.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_rwlock_read_lock(
    rwlock: *const mpshm_rwlock_t,
    timeout_ns: i64,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let rwlock = &unsafe { given(rwlock, "rwlock") }?.0;
        locking::keep(match timeout_ns {
            0 => rwlock.try_read(),
            _ => rwlock.read(deadline(timeout_ns)?),
        })
    })
}

/// Ends a reading. ENOTOWNER when this thread of this process does not read.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_rwlock_read_unlock(rwlock: *const mpshm_rwlock_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        unsafe { given(rwlock, "rwlock") }?.0.read_unlock_forgotten()
    })
}

/// Locks to write, alone: 0, EOWNERDEAD (held), ENOTRECOVERABLE, EBUSY (time-out 0), ETIMEDOUT, EDEADLOCK (this thread reads
/// or writes), EINTERRUPTED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_rwlock_write_lock(
    rwlock: *const mpshm_rwlock_t,
    timeout_ns: i64,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let rwlock = &unsafe { given(rwlock, "rwlock") }?.0;
        locking::keep(match timeout_ns {
            0 => rwlock.try_write(),
            _ => rwlock.write(deadline(timeout_ns)?),
        })
    })
}

/// Ends a writing. ENOTOWNER when this thread of this process does not write.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_rwlock_write_unlock(rwlock: *const mpshm_rwlock_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let rwlock = &unsafe { given(rwlock, "rwlock") }?.0;
        locking::unlock(rwlock.writers(), &rwlock.object.segment)
    })
}

/// Says that the data are whole again after EOWNERDEAD; a writer that unlocks without it loses the lock. ENOTOWNER when this
/// thread does not write.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_rwlock_mark_consistent(rwlock: *const mpshm_rwlock_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let rwlock = &unsafe { given(rwlock, "rwlock") }?.0;
        locking::mark_consistent(rwlock.writers(), &rwlock.object.segment)
    })
}

/// Where the data lie; to be touched only with the lock held, until the handle is closed. `size` may be
/// NULL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_rwlock_data(
    rwlock: *const mpshm_rwlock_t,
    data: *mut *mut c_void,
    size: *mut usize,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe {
            let rwlock = &given(rwlock, "rwlock")?.0;
            put(data, rwlock.data.cast(), "data")?;
            if !size.is_null() {
                put(size, rwlock.item.size as usize, "size")?;
            }
        }
        Ok(())
    })
}
