//! Shared arrays.

use crate::error::{Error, ErrorKind, Result};
use crate::ffi::segment::mpshm_segment_t;
use crate::ffi::value::{argument, before};
use crate::ffi::{
    MPSHM_BOOL, MPSHM_F32, MPSHM_F64, MPSHM_I8, MPSHM_I16, MPSHM_I32, MPSHM_I64, MPSHM_I128,
    MPSHM_U8, MPSHM_U16, MPSHM_U32, MPSHM_U64, MPSHM_U128, call, check_out, free, given, hand_out,
    invalid, locking, place, put,
};
use crate::value::Array;
use std::ffi::{c_char, c_int, c_void};

/// An array of scalars in shared memory, of fixed length. Each element is atomic.
pub struct mpshm_array_t(Any);

enum Any {
    I8(Array<i8>),
    U8(Array<u8>),
    I16(Array<i16>),
    U16(Array<u16>),
    I32(Array<i32>),
    U32(Array<u32>),
    I64(Array<i64>),
    U64(Array<u64>),
    F32(Array<f32>),
    F64(Array<f64>),
    I128(Array<i128>),
    U128(Array<u128>),
    Bool(Array<bool>),
}

/// Does `$body` with the array that is inside, whatever its type; for a bool, `$bool`.
macro_rules! each {
    ($any:expr, $array:ident => $body:expr, $bools:ident => $bool:expr) => {
        match $any {
            Any::I8($array) => $body,
            Any::U8($array) => $body,
            Any::I16($array) => $body,
            Any::U16($array) => $body,
            Any::I32($array) => $body,
            Any::U32($array) => $body,
            Any::I64($array) => $body,
            Any::U64($array) => $body,
            Any::I128($array) => $body,
            Any::U128($array) => $body,
            Any::F32($array) => $body,
            Any::F64($array) => $body,
            Any::Bool($bools) => $bool,
        }
    };
    ($any:expr, $array:ident => $body:expr) => {
        each!($any, $array => $body, $array => $body)
    };
}

/// Makes or opens an array of the type that a code names.
macro_rules! by_code {
    ($code:expr, $make:expr) => {
        match $code {
            MPSHM_I8 => Any::I8($make),
            MPSHM_U8 => Any::U8($make),
            MPSHM_I16 => Any::I16($make),
            MPSHM_U16 => Any::U16($make),
            MPSHM_I32 => Any::I32($make),
            MPSHM_U32 => Any::U32($make),
            MPSHM_I64 => Any::I64($make),
            MPSHM_U64 => Any::U64($make),
            MPSHM_F32 => Any::F32($make),
            MPSHM_F64 => Any::F64($make),
            MPSHM_I128 => Any::I128($make),
            MPSHM_U128 => Any::U128($make),
            MPSHM_BOOL => Any::Bool($make),
            other => {
                return Err(invalid(format!("an array of type code {other}: a scalar is expected")))
            }
        }
    };
}

/// A length or index of C's.
fn number(value: u64) -> Result<usize> {
    usize::try_from(value).map_err(|_| {
        Error::new(ErrorKind::NoSpace, format!("{value} elements overflow the address space"))
    })
}

/// Makes an array of `length` zeros of the type `type_code`; place and errors as mpshm_value_create().
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_array_create(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    type_code: u32,
    length: u64,
    array: *mut *mut mpshm_array_t,
) -> c_int {
    call(|| {
        check_out(array, "array")?;
        let length = number(length)?;
        // SAFETY: the caller's pointers.
        unsafe {
            let place = place(segment, name, true)?;
            hand_out(array, mpshm_array_t(by_code!(type_code, Array::create(place, length)?)));
        }
        Ok(())
    })
}

/// Opens an array of the type `type_code`, whatever its length.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_array_open(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    type_code: u32,
    array: *mut *mut mpshm_array_t,
) -> c_int {
    call(|| {
        check_out(array, "array")?;
        // SAFETY: the caller's pointers.
        unsafe {
            let place = place(segment, name, false)?;
            hand_out(array, mpshm_array_t(by_code!(type_code, Array::open(place)?)));
        }
        Ok(())
    })
}

/// Opens an array, or makes it; an existing one keeps its length.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_array_open_or_create(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    type_code: u32,
    length: u64,
    array: *mut *mut mpshm_array_t,
) -> c_int {
    call(|| {
        check_out(array, "array")?;
        let length = number(length)?;
        // SAFETY: the caller's pointers.
        unsafe {
            let place = place(segment, name, false)?;
            let opened = by_code!(type_code, Array::open_or_create(place, length)?);
            hand_out(array, mpshm_array_t(opened));
        }
        Ok(())
    })
}

/// Closes the handle; NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mpshm_array_close(array: *mut mpshm_array_t) {
    // SAFETY: the caller's handle.
    unsafe { free(array) }
}

/// The number of elements.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_array_length(
    array: *const mpshm_array_t,
    length: *mut u64,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe {
            put(length, each!(&given(array, "array")?.0, array => array.len()) as u64, "length")
        }
    })
}

/// Copies element `index` to `*out`. EINVAL when there is none; so for all that follow.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_array_load(
    array: *const mpshm_array_t,
    index: u64,
    out: *mut c_void,
) -> c_int {
    call(|| {
        check_out(out, "out")?;
        // SAFETY: the caller's pointers.
        unsafe {
            each!(&given(array, "array")?.0, array => before(out, array.load(number(index)?)?))
        };
        Ok(())
    })
}

/// Replaces element `index` by `*new_value`.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_array_store(
    array: *const mpshm_array_t,
    index: u64,
    new_value: *const c_void,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe {
            each!(&given(array, "array")?.0, array => {
                array.store(number(index)?, argument(new_value, "new_value")?)
            })
        }
    })
}

/// Adds `*delta` to element `index` (not for bool); the one before goes to `*out`, unless that is NULL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_array_fetch_add(
    array: *const mpshm_array_t,
    index: u64,
    delta: *const c_void,
    out: *mut c_void,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe {
            each!(&given(array, "array")?.0, array => {
                before(out, array.fetch_add(number(index)?, argument(delta, "delta")?)?);
            }, _array => return Err(invalid("a bool cannot be added")));
        }
        Ok(())
    })
}

/// Copies `count` elements from `start` on to `out`, which has room for them. Each element is read
/// atomically, all of them are not: take the lock for that.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_array_read(
    array: *const mpshm_array_t,
    start: u64,
    count: u64,
    out: *mut c_void,
) -> c_int {
    call(|| {
        check_out(out, "out")?;
        let (start, count) = (number(start)?, number(count)?);
        // SAFETY: the caller's pointers.
        unsafe {
            each!(&given(array, "array")?.0, array => {
                array.check_range(start, count)?;
                for index in 0..count {
                    put_at(out, index, array.load(start + index)?);
                }
            });
        }
        Ok(())
    })
}

/// Replaces `count` elements from `start` on by those at `from`. When they reach past the end, none is.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_array_write(
    array: *const mpshm_array_t,
    start: u64,
    count: u64,
    from: *const c_void,
) -> c_int {
    call(|| {
        check_out(from.cast_mut(), "from")?;
        let (start, count) = (number(start)?, number(count)?);
        // SAFETY: the caller's pointers.
        unsafe {
            each!(&given(array, "array")?.0, array => {
                array.check_range(start, count)?;
                for index in 0..count {
                    array.store(start + index, get_at(from, index, array)?)?;
                }
            });
        }
        Ok(())
    })
}

/// # Safety
/// `out` has room for `index + 1` values.
unsafe fn put_at<T>(out: *mut c_void, index: usize, value: T) {
    // SAFETY: the caller's word.
    unsafe { out.cast::<T>().add(index).write_unaligned(value) };
}

/// # Safety
/// `from` has `index + 1` values of the array's type.
unsafe fn get_at<T>(from: *const c_void, index: usize, _: &Array<T>) -> Result<T>
where
    T: crate::ffi::value::Plain + crate::value::Scalar,
{
    // SAFETY: the caller's word.
    unsafe { argument(from.byte_add(index * size_of::<T>()), "from") }
}

/// Takes the array's lock; as mpshm_value_lock().
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_array_lock(array: *const mpshm_array_t, timeout_ns: i64) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let array = unsafe { given(array, "array") }?;
        each!(&array.0, array => locking::lock(array.raw_lock(), array.segment(), timeout_ns))
    })
}

/// Gives the array's lock back. ENOTOWNER when this thread does not hold it.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_array_unlock(array: *const mpshm_array_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let array = unsafe { given(array, "array") }?;
        each!(&array.0, array => locking::unlock(array.raw_lock(), array.segment()))
    })
}

/// Says that the data are whole again after EOWNERDEAD. ENOTOWNER when this thread does not hold the lock.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_array_mark_consistent(array: *const mpshm_array_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let array = unsafe { given(array, "array") }?;
        each!(&array.0, array => locking::mark_consistent(array.raw_lock(), array.segment()))
    })
}
