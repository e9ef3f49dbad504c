//! The C library: one file per section of `include/mpshm.h`, which is generated from here.
//!
//! Every entry point goes through `call`: it turns errors into negative numbers, keeps their sentence
//! for the thread, and stops panics.

#![allow(non_camel_case_types)]
#![allow(clippy::missing_safety_doc)] // the header says what each pointer has to be
#![allow(clippy::too_many_arguments)] // C has no builders

// The header's sections, in this order; blank lines keep it.
pub mod error;

pub mod segment;

pub mod value;

pub mod value_wait;

pub mod array;

pub mod latest;

pub mod mutex;

pub mod rwlock;

pub mod condvar;

pub mod barrier;

pub mod queue_options;

pub mod queue;

pub mod queue_batch;

pub mod ring;

pub mod semaphore;

pub mod event;

pub mod once;

pub mod latch;

pub mod process;

pub mod participant;

pub mod select;

pub mod pool_options;

pub mod pool;

pub mod pool_task;

pub mod pool_map;

pub mod pool_imap;

pub mod canceller;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::plain::{ALIGN_MAX, TypeTag};
use crate::os::clock::Deadline;
use crate::os::fork;
use crate::segment::Segment;
use crate::segment::place::Place;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

/// A time-out that never comes.
pub const MPSHM_FOREVER: i64 = -1;

/// Bytes without a meaning that the library knows; give their size and alignment.
pub const MPSHM_BYTES: u32 = 0;
/// int8_t
pub const MPSHM_I8: u32 = 1;
/// uint8_t
pub const MPSHM_U8: u32 = 2;
/// int16_t
pub const MPSHM_I16: u32 = 3;
/// uint16_t
pub const MPSHM_U16: u32 = 4;
/// int32_t
pub const MPSHM_I32: u32 = 5;
/// uint32_t
pub const MPSHM_U32: u32 = 6;
/// int64_t
pub const MPSHM_I64: u32 = 7;
/// uint64_t
pub const MPSHM_U64: u32 = 8;
/// float
pub const MPSHM_F32: u32 = 9;
/// double
pub const MPSHM_F64: u32 = 10;
/// bool: one byte, 0 or 1
pub const MPSHM_BOOL: u32 = 11;
/// 128 bits, signed: 16 bytes aligned to 16, in the machine's byte order (`__int128`, or two uint64_t, on x86-64 and
/// AArch64 the lower half first). Only where the processor can exchange so many at once (ESYSTEM else).
pub const MPSHM_I128: u32 = 13;
/// 128 bits, unsigned: see MPSHM_I128.
pub const MPSHM_U128: u32 = 14;

/// Runs an entry point's body: 0, or the negative number of its error.
pub(crate) fn call(body: impl FnOnce() -> Result<()>) -> c_int {
    match std::panic::catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => 0,
        Ok(Err(error)) => error::remember(error),
        Err(payload) => {
            std::mem::forget(payload);
            if fork::generation() > 1 {
                // A forked child whose state nobody can judge must not run on.
                std::process::abort();
            }
            error::remember(Error::new(ErrorKind::Panic, "a panic inside the library; see stderr"))
        }
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, message)
}

/// A pointer that must not be NULL, as a reference.
///
/// # Safety
/// `pointer` is NULL or valid for the call.
pub(crate) unsafe fn given<'a, T>(pointer: *const T, what: &str) -> Result<&'a T> {
    // SAFETY: the caller's word.
    unsafe { pointer.as_ref() }.ok_or_else(|| invalid(format!("{what} is NULL")))
}

/// A handle that one caller at a time uses.
///
/// # Safety
/// `pointer` is NULL or valid and nobody else's for the call.
pub(crate) unsafe fn given_mut<'a, T>(pointer: *mut T, what: &str) -> Result<&'a mut T> {
    // SAFETY: the caller's word.
    unsafe { pointer.as_mut() }.ok_or_else(|| invalid(format!("{what} is NULL")))
}

/// A place for a result.
///
/// # Safety
/// `pointer` is NULL or can be written.
pub(crate) unsafe fn put<T>(pointer: *mut T, value: T, what: &str) -> Result<()> {
    if pointer.is_null() {
        return Err(invalid(format!("{what} is NULL")));
    }
    // SAFETY: the caller's word. It may be unaligned for all we know of C.
    unsafe { pointer.write_unaligned(value) };
    Ok(())
}

/// Refuses a NULL for a result before anything is done.
pub(crate) fn check_out<T>(pointer: *mut T, what: &str) -> Result<()> {
    if pointer.is_null() { Err(invalid(format!("{what} is NULL"))) } else { Ok(()) }
}

/// A name, or none for NULL.
///
/// # Safety
/// `name` is NULL or a terminated string.
pub(crate) unsafe fn optional_name<'a>(name: *const c_char) -> Result<Option<&'a str>> {
    if name.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's word.
    let name = unsafe { CStr::from_ptr(name) };
    name.to_str().map(Some).map_err(|_| invalid("a name is not valid UTF-8"))
}

/// A name that must be there.
///
/// # Safety
/// As [`optional_name`].
pub(crate) unsafe fn name<'a>(name: *const c_char) -> Result<&'a str> {
    // SAFETY: the caller's word.
    unsafe { optional_name(name) }?.ok_or_else(|| invalid("the name is NULL"))
}

/// Where an object lies; with `new`, (NULL, NULL) is an anonymous segment of its own, and (segment, NULL) a place without a name.
///
/// # Safety
/// `segment` is NULL or a handle; `name` as in [`optional_name`].
pub(crate) unsafe fn place<'a>(
    segment: *const segment::mpshm_segment_t,
    name: *const c_char,
    new: bool,
) -> Result<Place<'a>> {
    // SAFETY: the caller's word.
    let (segment, name) = unsafe { (segment.as_ref(), optional_name(name)?) };
    match (segment, name) {
        (None, None) if new => Ok(Place::ANONYMOUS),
        (None, Some(name)) => Ok(name.into()),
        (Some(segment), Some(name)) => Ok(Place::inside(&segment.0, name)),
        (Some(segment), None) if new => Ok(segment.0.unnamed()),
        (_, None) => Err(invalid("the object's name is NULL")),
    }
}

/// Nanoseconds of C, as a deadline.
pub(crate) fn deadline(timeout_ns: i64) -> Result<Deadline> {
    match timeout_ns {
        MPSHM_FOREVER => Ok(Deadline::FOREVER),
        0.. => Ok(Deadline::after(Duration::from_nanos(timeout_ns as u64))),
        _ => Err(invalid(format!(
            "a time-out of {timeout_ns} ns: MPSHM_FOREVER (-1), 0 or a positive number is expected"
        ))),
    }
}

/// The type that C describes by code, size and alignment. For a scalar both may be 0.
pub(crate) fn item(code: u32, size: usize, align: usize) -> Result<TypeTag> {
    let scalar = match code {
        MPSHM_BYTES => None,
        MPSHM_I8 | MPSHM_U8 | MPSHM_BOOL => Some(1),
        MPSHM_I16 | MPSHM_U16 => Some(2),
        MPSHM_I32 | MPSHM_U32 | MPSHM_F32 => Some(4),
        MPSHM_I64 | MPSHM_U64 | MPSHM_F64 => Some(8),
        MPSHM_I128 | MPSHM_U128 => Some(16),
        12..=255 => return Err(invalid(format!("there is no type code {code}"))),
        _ => None,
    };
    if let Some(scalar) = scalar {
        if (size != 0 && size != scalar) || (align != 0 && align != scalar) {
            return Err(invalid(format!(
                "type code {code} has {scalar} bytes, {size} aligned to {align} were given"
            )));
        }
        return Ok(TypeTag::bytes(scalar as u32, scalar as u32).with_tag(code.into()));
    }
    if !align.is_power_of_two() || align > ALIGN_MAX || size % align != 0 || size > 1 << 30 {
        return Err(invalid(format!(
            "items of {size} bytes aligned to {align}: an alignment that is a power of two up to {ALIGN_MAX} and divides the size is expected"
        )));
    }
    Ok(TypeTag::bytes(size as u32, align as u32).with_tag(code.into()))
}

/// Checks an options struct's size, the mark of its version.
pub(crate) fn check_size<T>(struct_size: usize) -> Result<()> {
    if struct_size == size_of::<T>() {
        return Ok(());
    }
    Err(invalid(format!(
        "an options struct of {struct_size} bytes, {} are expected: call its _init first",
        size_of::<T>()
    )))
}

/// Refuses flags that this version does not know.
pub(crate) fn check_flags(flags: u64, known: u64) -> Result<()> {
    if flags & !known == 0 {
        return Ok(());
    }
    Err(invalid(format!("unknown flags {:#x}: {known:#x} are known", flags & !known)))
}

/// Copies an item of C's into the buffer that `read` works on.
///
/// # Safety
/// `pointer` is NULL or has `size` readable bytes.
pub(crate) unsafe fn bytes<'a>(pointer: *const c_void, size: usize) -> Result<&'a [u8]> {
    if pointer.is_null() && size != 0 {
        return Err(invalid(format!("{size} bytes at NULL")));
    }
    if size == 0 {
        return Ok(&[]);
    }
    if size > isize::MAX as usize {
        return Err(invalid(format!("{size} bytes do not fit the address space")));
    }
    // SAFETY: the caller's word.
    Ok(unsafe { std::slice::from_raw_parts(pointer.cast(), size) })
}

/// The lock of any object that has one, for C's lock and unlock without guards.
pub(crate) mod locking {
    use super::*;
    use crate::sync::LockError;
    use crate::sync::mutex;
    use crate::sync::raw_mutex::RawMutex;

    pub(crate) fn lock(raw: &RawMutex, segment: &Segment, timeout_ns: i64) -> Result<()> {
        keep(if timeout_ns == 0 {
            mutex::try_lock(raw, segment)
        } else {
            mutex::lock(raw, segment, deadline(timeout_ns)?)
        })
    }

    /// Forgets the guard: C unlocks by a call.
    pub(crate) fn keep<G>(locked: std::result::Result<G, LockError<G>>) -> Result<()> {
        match locked {
            Ok(guard) => {
                std::mem::forget(guard);
                Ok(())
            }
            Err(LockError::OwnerDead(guard)) => {
                std::mem::forget(guard);
                Err(LockError::<()>::OwnerDead(()).into())
            }
            Err(other) => Err(other.into()),
        }
    }

    pub(crate) fn unlock(raw: &RawMutex, segment: &Segment) -> Result<()> {
        mutex::unlock_forgotten(raw, segment)
    }

    pub(crate) fn mark_consistent(raw: &RawMutex, segment: &Segment) -> Result<()> {
        mutex::mark_forgotten(raw, segment)
    }
}

/// Frees a handle that was made by `Box::into_raw`; NULL is a no-op.
///
/// # Safety
/// `handle` is NULL or came from here and is not used again.
pub(crate) unsafe fn free<T>(handle: *mut T) {
    if !handle.is_null() {
        // A panic in a destructor stops here.
        let _ = call(|| {
            // SAFETY: the caller's word.
            drop(unsafe { Box::from_raw(handle) });
            Ok(())
        });
    }
}

/// Hands a new handle out.
///
/// # Safety
/// `out` was checked by [`check_out`] and can be written.
pub(crate) unsafe fn hand_out<T>(out: *mut *mut T, handle: T) {
    // SAFETY: the caller's word.
    unsafe { out.write_unaligned(Box::into_raw(Box::new(handle))) };
}
