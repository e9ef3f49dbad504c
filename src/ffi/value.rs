//! Shared values.

use crate::error::{Error, ErrorKind, Result};
use crate::ffi::segment::mpshm_segment_t;
use crate::ffi::{
    MPSHM_BOOL, MPSHM_F32, MPSHM_F64, MPSHM_I8, MPSHM_I16, MPSHM_I32, MPSHM_I64, MPSHM_I128,
    MPSHM_U8, MPSHM_U16, MPSHM_U32, MPSHM_U64, MPSHM_U128, call, check_out, free, given, hand_out,
    invalid, locking, place, put,
};
use crate::segment::place::Place;
use crate::value::Value;
use std::ffi::{c_char, c_int, c_void};

/// A scalar in shared memory. Every operation is one atomic step for everybody else.
pub struct mpshm_value_t(pub(super) Any);

pub(super) enum Any {
    I8(Value<i8>),
    U8(Value<u8>),
    I16(Value<i16>),
    U16(Value<u16>),
    I32(Value<i32>),
    U32(Value<u32>),
    I64(Value<i64>),
    U64(Value<u64>),
    F32(Value<f32>),
    F64(Value<f64>),
    I128(Value<i128>),
    U128(Value<u128>),
    Bool(Value<bool>),
}

/// Does `$body` with the value that is inside, whatever its type.
macro_rules! each {
    ($any:expr, $value:ident => $body:expr) => {
        match $any {
            Any::I8($value) => $body,
            Any::U8($value) => $body,
            Any::I16($value) => $body,
            Any::U16($value) => $body,
            Any::I32($value) => $body,
            Any::U32($value) => $body,
            Any::I64($value) => $body,
            Any::U64($value) => $body,
            Any::I128($value) => $body,
            Any::U128($value) => $body,
            Any::F32($value) => $body,
            Any::F64($value) => $body,
            Any::Bool($value) => $body,
        }
    };
}

pub(super) use each;

/// The same for numbers; `bool` is refused.
macro_rules! each_number {
    ($any:expr, $value:ident => $body:expr) => {
        match $any {
            Any::I8($value) => $body,
            Any::U8($value) => $body,
            Any::I16($value) => $body,
            Any::U16($value) => $body,
            Any::I32($value) => $body,
            Any::U32($value) => $body,
            Any::I64($value) => $body,
            Any::U64($value) => $body,
            Any::I128($value) => $body,
            Any::U128($value) => $body,
            Any::F32($value) => $body,
            Any::F64($value) => $body,
            Any::Bool(_) => return Err(invalid("a bool cannot be added or compared")),
        }
    };
}

/// The same for what has bits to combine; floats are refused.
macro_rules! each_bits {
    ($any:expr, $value:ident => $body:expr) => {
        match $any {
            Any::I8($value) => $body,
            Any::U8($value) => $body,
            Any::I16($value) => $body,
            Any::U16($value) => $body,
            Any::I32($value) => $body,
            Any::U32($value) => $body,
            Any::I64($value) => $body,
            Any::U64($value) => $body,
            Any::I128($value) => $body,
            Any::U128($value) => $body,
            Any::Bool($value) => $body,
            Any::F32(_) | Any::F64(_) => {
                return Err(invalid("the bits of a float cannot be combined"))
            }
        }
    };
}

/// Makes or opens a value of the type that a code names.
macro_rules! by_code {
    ($code:expr, $type:ident => $make:expr) => {
        match $code {
            MPSHM_I8 => {
                type $type = i8;
                Any::I8($make)
            }
            MPSHM_U8 => {
                type $type = u8;
                Any::U8($make)
            }
            MPSHM_I16 => {
                type $type = i16;
                Any::I16($make)
            }
            MPSHM_U16 => {
                type $type = u16;
                Any::U16($make)
            }
            MPSHM_I32 => {
                type $type = i32;
                Any::I32($make)
            }
            MPSHM_U32 => {
                type $type = u32;
                Any::U32($make)
            }
            MPSHM_I64 => {
                type $type = i64;
                Any::I64($make)
            }
            MPSHM_U64 => {
                type $type = u64;
                Any::U64($make)
            }
            MPSHM_F32 => {
                type $type = f32;
                Any::F32($make)
            }
            MPSHM_F64 => {
                type $type = f64;
                Any::F64($make)
            }
            MPSHM_I128 => {
                type $type = i128;
                Any::I128($make)
            }
            MPSHM_U128 => {
                type $type = u128;
                Any::U128($make)
            }
            MPSHM_BOOL => {
                type $type = bool;
                Any::Bool($make)
            }
            other => {
                return Err(invalid(format!("a value of type code {other}: a scalar is expected")))
            }
        }
    };
}

/// A scalar of C's, as bytes on both sides.
pub(crate) trait Plain: Copy {
    /// Reads one.
    ///
    /// # Safety
    /// `from` has as many readable bytes.
    unsafe fn read(from: *const c_void) -> Self;
}

macro_rules! plain {
    ($($type:ty),*) => {$(
        impl Plain for $type {
            unsafe fn read(from: *const c_void) -> Self {
                // SAFETY: the caller's word.
                unsafe { from.cast::<$type>().read_unaligned() }
            }
        }
    )*};
}
plain!(i8, u8, i16, u16, i32, u32, i64, u64, i128, u128, f32, f64);

impl Plain for bool {
    unsafe fn read(from: *const c_void) -> Self {
        // SAFETY: the caller's word. Any byte but 0 is true.
        unsafe { from.cast::<u8>().read() != 0 }
    }
}

/// Reads a scalar argument.
///
/// # Safety
/// `from` is NULL or has as many readable bytes.
pub(crate) unsafe fn argument<T: Plain>(from: *const c_void, what: &str) -> Result<T> {
    if from.is_null() {
        return Err(invalid(format!("{what} is NULL")));
    }
    // SAFETY: the caller's word.
    Ok(unsafe { T::read(from) })
}

/// Writes the value before, unless C did not ask for it.
///
/// # Safety
/// `out` is NULL or can be written.
pub(crate) unsafe fn before<T>(out: *mut c_void, value: T) {
    if !out.is_null() {
        // SAFETY: the caller's word.
        unsafe { out.cast::<T>().write_unaligned(value) };
    }
}

unsafe fn make(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    code: u32,
    initial: *const c_void,
    out: *mut *mut mpshm_value_t,
    how: impl Fn(Place<'_>) -> How,
) -> c_int {
    call(|| {
        check_out(out, "value")?;
        // SAFETY: the caller's pointers.
        unsafe {
            let place =
                place(segment, name, matches!(how(Place::ANONYMOUS), How::Create | How::Waitable))?;
            let made = by_code!(code, T => match how(place) {
                How::Create => Value::<T>::create(place, argument(initial, "initial")?)?,
                How::Waitable => {
                    Value::<T>::create_waitable(place, argument(initial, "initial")?)?
                }
                How::Open => Value::<T>::open(place)?,
                How::Either => Value::<T>::open_or_create(place, argument(initial, "initial")?)?,
            });
            hand_out(out, mpshm_value_t(made));
        }
        Ok(())
    })
}

enum How {
    Create,
    Waitable,
    Open,
    Either,
}

/// Makes a value of the type `type_code` (MPSHM_I8 … MPSHM_U128) that begins as `*initial`.
///
/// `segment` NULL: in a segment of its own, named `name`, or anonymous when `name` is NULL too (forked
/// children inherit it). Otherwise the object `name` of that segment, or one without a name when that is NULL. So for every
/// _create below.
/// Errors: EEXISTS, EINVAL, ENOSPACE, ELIMIT.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_value_create(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    type_code: u32,
    initial: *const c_void,
    value: *mut *mut mpshm_value_t,
) -> c_int {
    // SAFETY: the caller's pointers.
    unsafe { make(segment, name, type_code, initial, value, |_| How::Create) }
}

/// Makes a waitable value: one whose changes mpshm_value_wait() waits for. Each change then looks for sleepers, which costs
/// a load, and a store an exchange.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_value_create_waitable(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    type_code: u32,
    initial: *const c_void,
    value: *mut *mut mpshm_value_t,
) -> c_int {
    // SAFETY: the caller's pointers.
    unsafe { make(segment, name, type_code, initial, value, |_| How::Waitable) }
}

/// Opens a value, which must be of the type `type_code`. Errors: ENOTFOUND, ETYPE, EVERSION,
/// ECORRUPT, EPERM. So for every _open below.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_value_open(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    type_code: u32,
    value: *mut *mut mpshm_value_t,
) -> c_int {
    // SAFETY: the caller's pointers.
    unsafe { make(segment, name, type_code, std::ptr::null(), value, |_| How::Open) }
}

/// Opens a value, or makes it; of several who do so at once, one makes it.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_value_open_or_create(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    type_code: u32,
    initial: *const c_void,
    value: *mut *mut mpshm_value_t,
) -> c_int {
    // SAFETY: the caller's pointers.
    unsafe { make(segment, name, type_code, initial, value, |_| How::Either) }
}

/// Closes the handle; NULL is a no-op. The value stays for others, a name until it is unlinked.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mpshm_value_close(value: *mut mpshm_value_t) {
    // SAFETY: the caller's handle.
    unsafe { free(value) }
}

/// Copies the value to `*out`, which has the type's size.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_value_load(value: *const mpshm_value_t, out: *mut c_void) -> c_int {
    call(|| {
        check_out(out, "out")?;
        // SAFETY: the caller's pointers.
        unsafe { each!(&given(value, "value")?.0, value => before(out, value.load())) };
        Ok(())
    })
}

/// Replaces the value by `*new_value`.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_value_store(
    value: *const mpshm_value_t,
    new_value: *const c_void,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe {
            each!(&given(value, "value")?.0, value => value.store(argument(new_value, "new_value")?))
        };
        Ok(())
    })
}

/// Replaces the value by `*new_value`; the one before goes to `*out`, unless that is NULL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_value_swap(
    value: *const mpshm_value_t,
    new_value: *const c_void,
    out: *mut c_void,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe {
            each!(&given(value, "value")?.0, value => {
                before(out, value.swap(argument(new_value, "new_value")?));
            });
        }
        Ok(())
    })
}

/// Replaces the value by `*new_value` if it is `*expected` (floats: the same bits), and says in
/// `*exchanged` whether it did. If not, the value that was found goes to `*expected`.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_value_compare_exchange(
    value: *const mpshm_value_t,
    expected: *mut c_void,
    new_value: *const c_void,
    exchanged: *mut bool,
) -> c_int {
    call(|| {
        check_out(expected, "expected")?;
        check_out(exchanged, "exchanged")?;
        // SAFETY: the caller's pointers.
        unsafe {
            each!(&given(value, "value")?.0, value => {
                let (old, new) = (argument(expected, "expected")?, argument(new_value, "new_value")?);
                let result = value.compare_exchange(old, new);
                put(exchanged, result.is_ok(), "exchanged")?;
                if let Err(found) = result {
                    before(expected, found);
                }
            });
        }
        Ok(())
    })
}

/// Adds `*delta` (integers wrap; not for bool); the value before goes to `*out`, unless that is NULL. So
/// for the others that follow.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_value_fetch_add(
    value: *const mpshm_value_t,
    delta: *const c_void,
    out: *mut c_void,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe {
            each_number!(&given(value, "value")?.0, value => {
                before(out, value.fetch_add(argument(delta, "delta")?));
            });
        }
        Ok(())
    })
}

/// Subtracts.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_value_fetch_sub(
    value: *const mpshm_value_t,
    delta: *const c_void,
    out: *mut c_void,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe {
            each_number!(&given(value, "value")?.0, value => {
                before(out, value.fetch_sub(argument(delta, "delta")?));
            });
        }
        Ok(())
    })
}

/// Keeps the smaller.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_value_fetch_min(
    value: *const mpshm_value_t,
    other: *const c_void,
    out: *mut c_void,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe {
            each_number!(&given(value, "value")?.0, value => {
                before(out, value.fetch_min(argument(other, "other")?));
            });
        }
        Ok(())
    })
}

/// Keeps the greater.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_value_fetch_max(
    value: *const mpshm_value_t,
    other: *const c_void,
    out: *mut c_void,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe {
            each_number!(&given(value, "value")?.0, value => {
                before(out, value.fetch_max(argument(other, "other")?));
            });
        }
        Ok(())
    })
}

/// Keeps the bits that are in both (not for floats).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_value_fetch_and(
    value: *const mpshm_value_t,
    bits: *const c_void,
    out: *mut c_void,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe {
            each_bits!(&given(value, "value")?.0, value => {
                before(out, value.fetch_and(argument(bits, "bits")?));
            });
        }
        Ok(())
    })
}

/// Keeps the bits that are not in both (not for floats).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_value_fetch_nand(
    value: *const mpshm_value_t,
    bits: *const c_void,
    out: *mut c_void,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe {
            each_bits!(&given(value, "value")?.0, value => {
                before(out, value.fetch_nand(argument(bits, "bits")?));
            });
        }
        Ok(())
    })
}

/// Keeps the bits that are in either (not for floats).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_value_fetch_or(
    value: *const mpshm_value_t,
    bits: *const c_void,
    out: *mut c_void,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe {
            each_bits!(&given(value, "value")?.0, value => {
                before(out, value.fetch_or(argument(bits, "bits")?));
            });
        }
        Ok(())
    })
}

/// Keeps the bits that are in one of the two (not for floats).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_value_fetch_xor(
    value: *const mpshm_value_t,
    bits: *const c_void,
    out: *mut c_void,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe {
            each_bits!(&given(value, "value")?.0, value => {
                before(out, value.fetch_xor(argument(bits, "bits")?));
            });
        }
        Ok(())
    })
}

/// Adds to an int64_t without a detour through pointers; the value before goes to `*out`, unless that is NULL.
/// ETYPE when the value is of another type.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_value_i64_fetch_add(
    value: *const mpshm_value_t,
    delta: i64,
    out: *mut i64,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe {
            let Any::I64(value) = &given(value, "value")?.0 else { return Err(not("int64_t")) };
            before(out.cast(), value.fetch_add(delta));
        }
        Ok(())
    })
}

/// Copies an int64_t to `*out`. ETYPE when the value is of another type.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_value_i64_load(value: *const mpshm_value_t, out: *mut i64) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe {
            let Any::I64(value) = &given(value, "value")?.0 else { return Err(not("int64_t")) };
            put(out, value.load(), "out")
        }
    })
}

/// Replaces an int64_t. ETYPE when the value is of another type.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_value_i64_store(
    value: *const mpshm_value_t,
    new_value: i64,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let Any::I64(value) = (unsafe { &given(value, "value")?.0 }) else {
            return Err(not("int64_t"));
        };
        value.store(new_value);
        Ok(())
    })
}

fn not(expected: &str) -> Error {
    Error::new(ErrorKind::Type, format!("the value is no {expected}"))
}

/// Takes the value's lock, as Python's get_lock(). It keeps out who takes it too, nobody else.
///
/// 0, or: EOWNERDEAD (the owner died, the lock is held now: make the data whole, then
/// mpshm_value_mark_consistent()), ENOTRECOVERABLE, EBUSY (time-out 0), ETIMEDOUT, EDEADLOCK,
/// EINTERRUPTED. The lock belongs to the calling thread.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_value_lock(value: *const mpshm_value_t, timeout_ns: i64) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let value = unsafe { given(value, "value") }?;
        each!(&value.0, value => locking::lock(value.raw_lock(), value.segment(), timeout_ns))
    })
}

/// Gives the value's lock back. ENOTOWNER when this thread does not hold it.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_value_unlock(value: *const mpshm_value_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let value = unsafe { given(value, "value") }?;
        each!(&value.0, value => locking::unlock(value.raw_lock(), value.segment()))
    })
}

/// Says that the data are whole again after EOWNERDEAD. ENOTOWNER when this thread does not hold the lock.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_value_mark_consistent(value: *const mpshm_value_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let value = unsafe { given(value, "value") }?;
        each!(&value.0, value => locking::mark_consistent(value.raw_lock(), value.segment()))
    })
}
