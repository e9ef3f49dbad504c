//! The latest value of any size.

use crate::error::{Error, ErrorKind, Result};
use crate::ffi::segment::mpshm_segment_t;
use crate::ffi::{
    MPSHM_BYTES, MPSHM_FOREVER, call, check_flags, check_out, check_size, deadline, free, given,
    given_mut, hand_out, invalid, item, place, put,
};
use crate::layout::plain::TypeTag;
use crate::os::fork;
use crate::value::latest::{Held, LatestOptions, RawLatest, RawReader, RawWrite};
use std::ffi::{c_char, c_int, c_void};

/// The latest value of any size: writers replace it as a whole; readers never wait, and never see a half of it. A writer
/// killed at any instruction leaves the last whole value.
pub struct mpshm_latest_t {
    pub(super) raw: RawLatest,
    /// What is reserved, and by which process.
    reserved: Option<(usize, u32)>,
}

/// One of the readers of a latest value.
pub struct mpshm_latest_reader_t {
    raw: RawReader,
    /// What is claimed, and by which process.
    claimed: Option<(Held, u32)>,
}

/// How a latest value is made. Set by mpshm_latest_options_init(), then changed.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct mpshm_latest_options_t {
    /// Bytes of this struct, as mpshm_latest_options_init() sets it.
    pub struct_size: usize,
    /// 0.
    pub flags: u64,
    /// How many can read at the same moment, 1 to 128; 8 by default. Each costs the space of a value.
    pub readers: u32,
    /// How many can write at the same moment, a stopped one included, 1 to 64; 2 by default. Each costs the space of a
    /// value; one more waits for them.
    pub writers: u32,
}

const DEFAULTS: mpshm_latest_options_t = mpshm_latest_options_t {
    struct_size: size_of::<mpshm_latest_options_t>(),
    flags: 0,
    readers: 8,
    writers: 2,
};

/// Sets the defaults.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_latest_options_init(options: *mut mpshm_latest_options_t) -> c_int {
    // SAFETY: the caller's pointer.
    call(|| unsafe { put(options, DEFAULTS, "options") })
}

/// The options, and the type; one of 0 bytes stands for bytes of any number.
unsafe fn read(
    options: *const mpshm_latest_options_t,
    type_code: u32,
    size: usize,
    align: usize,
) -> Result<(LatestOptions, TypeTag)> {
    // SAFETY: the caller's word.
    let options = unsafe { options.as_ref() }.unwrap_or(&DEFAULTS);
    check_size::<mpshm_latest_options_t>(options.struct_size)?;
    check_flags(options.flags, 0)?;
    let read = LatestOptions::new().readers(options.readers).writers(options.writers);
    if type_code == MPSHM_BYTES && align == 0 {
        return Ok((read.bytes(size as u64), TypeTag::bytes(0, 1)));
    }
    let item = item(type_code, size, align)?;
    if item.size == 0 {
        return Err(invalid("a latest value of 0 bytes: at least 1 is expected"));
    }
    Ok((read, item))
}

/// Makes a latest value of `size` bytes that begins as zeros. `type_code` is MPSHM_BYTES, or a scalar's for which size and
/// align may be 0; `align` a power of two up to 128 that divides `size`, or 0 for bytes without a type (Rust's
/// `Latest<[u8]>`). `options` may be NULL. Place and errors as mpshm_value_create().
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_latest_create(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    type_code: u32,
    size: usize,
    align: usize,
    options: *const mpshm_latest_options_t,
    latest: *mut *mut mpshm_latest_t,
) -> c_int {
    call(|| {
        check_out(latest, "latest")?;
        // SAFETY: the caller's pointers.
        unsafe {
            let (options, item) = read(options, type_code, size, align)?;
            let raw = RawLatest::create(place(segment, name, true)?, &options, item, None)?;
            hand_out(latest, mpshm_latest_t { raw, reserved: None });
        }
        Ok(())
    })
}

/// Opens a latest value of that type, size and alignment; with an `align` of 0, bytes of whatever size.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_latest_open(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    type_code: u32,
    size: usize,
    align: usize,
    latest: *mut *mut mpshm_latest_t,
) -> c_int {
    call(|| {
        check_out(latest, "latest")?;
        // SAFETY: the caller's pointers.
        unsafe {
            let (_, item) = read(std::ptr::null(), type_code, size, align)?;
            let raw = RawLatest::open(place(segment, name, false)?, item)?;
            hand_out(latest, mpshm_latest_t { raw, reserved: None });
        }
        Ok(())
    })
}

/// Opens a latest value, or makes it.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_latest_open_or_create(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    type_code: u32,
    size: usize,
    align: usize,
    options: *const mpshm_latest_options_t,
    latest: *mut *mut mpshm_latest_t,
) -> c_int {
    call(|| {
        check_out(latest, "latest")?;
        // SAFETY: the caller's pointers.
        unsafe {
            let (options, item) = read(options, type_code, size, align)?;
            let raw = place(segment, name, false)?.open_or_create(
                |place| RawLatest::open(place, item),
                |place| RawLatest::create(place, &options, item, None),
            )?;
            hand_out(latest, mpshm_latest_t { raw, reserved: None });
        }
        Ok(())
    })
}

/// Closes the handle; NULL is a no-op. What is reserved through it is given up. Its readers stay usable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mpshm_latest_close(latest: *mut mpshm_latest_t) {
    // SAFETY: the caller's handle.
    unsafe {
        let _ = give_up(latest);
        free(latest);
    }
}

/// # Safety
/// As for the handle's other calls.
unsafe fn give_up(latest: *mut mpshm_latest_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let Some(latest) = (unsafe { latest.as_mut() }) else { return Ok(()) };
        if let Some((buffer, process)) = latest.reserved.take() {
            drop(RawWrite::resume(&latest.raw, buffer, process));
        }
        Ok(())
    })
}

/// Bytes of the value.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_latest_size(
    latest: *const mpshm_latest_t,
    size: *mut usize,
) -> c_int {
    // SAFETY: the caller's pointers.
    call(|| unsafe { put(size, given(latest, "latest")?.raw.size(), "size") })
}

/// The version of the newest value: 1 at first, and one more with each that is stored.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_latest_version(
    latest: *const mpshm_latest_t,
    version: *mut u64,
) -> c_int {
    // SAFETY: the caller's pointers.
    call(|| unsafe { put(version, given(latest, "latest")?.raw.version(), "version") })
}

/// Waits until the newest value's version is another than `seen`; `version` may be NULL. Errors: EBUSY (time-out 0), ETIMEDOUT,
/// EINTERRUPTED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_latest_wait_newer(
    latest: *const mpshm_latest_t,
    seen: u64,
    timeout_ns: i64,
    version: *mut u64,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let latest = unsafe { given(latest, "latest") }?;
        let newer = latest.raw.wait_newer(seen, deadline(timeout_ns)?);
        let newer = newer.map_err(|error| busy(error, timeout_ns))?;
        // SAFETY: the caller's pointer.
        if version.is_null() { Ok(()) } else { unsafe { put(version, newer, "version") } }
    })
}

/// A call that does not wait has nothing that could pass.
fn busy(error: Error, timeout_ns: i64) -> Error {
    if timeout_ns == 0 && error.kind() == ErrorKind::TimedOut {
        return Error::new(ErrorKind::Busy, error.to_string());
    }
    error
}

/// Replaces the value by the `size` bytes at `data`, as many as it has; `version` may be NULL. Waits only when more write at once than
/// the value was made for. Errors: ETOOBIG, EINTERRUPTED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_latest_store(
    latest: *const mpshm_latest_t,
    data: *const c_void,
    size: usize,
    version: *mut u64,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        let latest = unsafe { given(latest, "latest") }?;
        check_bytes(&latest.raw, data.is_null(), size)?;
        let write = latest.raw.reserve(deadline(MPSHM_FOREVER)?)?;
        // SAFETY: as large as the caller says, and as the buffer, which is ours to write.
        unsafe { write.as_ptr().copy_from_nonoverlapping(data.cast(), size) };
        let stored = write.commit()?;
        // SAFETY: the caller's pointer.
        if version.is_null() { Ok(()) } else { unsafe { put(version, stored, "version") } }
    })
}

fn check_bytes(latest: &RawLatest, is_null: bool, size: usize) -> Result<()> {
    if is_null {
        return Err(invalid("data is NULL"));
    }
    if size == latest.size() {
        return Ok(());
    }
    let text = format!("{size} bytes for a latest value of {}", latest.size());
    Err(if size > latest.size() { Error::new(ErrorKind::TooBig, text) } else { invalid(text) })
}

/// Takes a buffer to write the next value in place, one at a time for each handle; an older value stands there. Then
/// mpshm_latest_commit() or mpshm_latest_abort(). Waits only when more write at once than the value was made for.
/// Errors: EBUSY (time-out 0, or one is reserved already), ETIMEDOUT, EINTERRUPTED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_latest_reserve(
    latest: *mut mpshm_latest_t,
    timeout_ns: i64,
    data: *mut *mut c_void,
) -> c_int {
    call(|| {
        check_out(data, "data")?;
        // SAFETY: the caller's pointer.
        let latest = unsafe { given_mut(latest, "latest") }?;
        if latest.reserved.is_some_and(|(_, process)| process == fork::generation()) {
            return Err(Error::new(
                ErrorKind::Busy,
                "a buffer is reserved already: commit or abort it",
            ));
        }
        let write = latest.raw.reserve(deadline(timeout_ns)?);
        let write = write.map_err(|error| busy(error, timeout_ns))?;
        let start = write.as_ptr();
        latest.reserved = Some((write.suspend(), fork::generation()));
        // SAFETY: checked above.
        unsafe { put(data, start.cast(), "data") }
    })
}

/// Makes what is reserved the newest value; `version` may be NULL. Errors: ENOTOWNER (nothing is reserved), EFORKED (it is the
/// parent's).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_latest_commit(
    latest: *mut mpshm_latest_t,
    version: *mut u64,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let latest = unsafe { given_mut(latest, "latest") }?;
        let stored = reservation(latest)?.commit()?;
        latest.reserved = None;
        // SAFETY: the caller's pointer.
        if version.is_null() { Ok(()) } else { unsafe { put(version, stored, "version") } }
    })
}

/// Gives up what is reserved; the newest value stays what it was. Errors: ENOTOWNER (nothing is reserved), EFORKED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_latest_abort(latest: *mut mpshm_latest_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let latest = unsafe { given_mut(latest, "latest") }?;
        let write = reservation(latest)?;
        write.check_here()?;
        drop(write);
        latest.reserved = None;
        Ok(())
    })
}

fn reservation(latest: &mpshm_latest_t) -> Result<RawWrite<'_>> {
    let Some((buffer, process)) = latest.reserved else {
        return Err(Error::new(ErrorKind::NotOwner, "no buffer is reserved through this handle"));
    };
    Ok(RawWrite::resume(&latest.raw, buffer, process))
}

/// A reader, one of as many as the value was made for; in a forked child it is another one, from its first read on. Errors: ELIMIT
/// (there are so many already; what the dead had is free again).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_latest_reader(
    latest: *const mpshm_latest_t,
    reader: *mut *mut mpshm_latest_reader_t,
) -> c_int {
    call(|| {
        check_out(reader, "reader")?;
        // SAFETY: the caller's pointers.
        unsafe {
            let raw = given(latest, "latest")?.raw.reader()?;
            hand_out(reader, mpshm_latest_reader_t { raw, claimed: None });
        }
        Ok(())
    })
}

/// Closes the reader; NULL is a no-op. What it has claimed is let go.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mpshm_latest_reader_close(reader: *mut mpshm_latest_reader_t) {
    // SAFETY: the caller's handle.
    unsafe { free(reader) }
}

/// Copies the newest value to `data`, which has room for `size` bytes, as many as the value has. Never waits. `version` may be
/// NULL. Errors: ETOOBIG, EBUSY (the reader has claimed one); in a forked child ELIMIT.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_latest_load(
    reader: *mut mpshm_latest_reader_t,
    data: *mut c_void,
    size: usize,
    version: *mut u64,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let reader = unsafe { given_mut(reader, "reader") }?;
        check_bytes(reader.raw.latest(), data.is_null(), size)?;
        check_unclaimed(reader)?;
        let held = reader.raw.pin()?;
        // SAFETY: as large as the caller says, and as the buffer, which writers leave alone.
        unsafe { reader.raw.at(held).copy_to_nonoverlapping(data.cast(), size) };
        reader.raw.unpin();
        // SAFETY: the caller's pointer.
        if version.is_null() { Ok(()) } else { unsafe { put(version, held.version, "version") } }
    })
}

/// Holds the newest value, to be read in place until mpshm_latest_release(); one at a time for each reader. Never waits, and
/// writers go on. `version` may be NULL. Errors: EBUSY (one is claimed); in a forked child ELIMIT.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_latest_claim(
    reader: *mut mpshm_latest_reader_t,
    data: *mut *const c_void,
    version: *mut u64,
) -> c_int {
    call(|| {
        check_out(data, "data")?;
        // SAFETY: the caller's pointer.
        let reader = unsafe { given_mut(reader, "reader") }?;
        check_unclaimed(reader)?;
        let held = reader.raw.pin()?;
        reader.claimed = Some((held, fork::generation()));
        // SAFETY: checked above; the caller's pointer.
        unsafe {
            put(data, reader.raw.at(held).cast(), "data")?;
            if version.is_null() { Ok(()) } else { put(version, held.version, "version") }
        }
    })
}

/// What a forked child finds claimed is its parent's.
fn check_unclaimed(reader: &mut mpshm_latest_reader_t) -> Result<()> {
    match reader.claimed {
        Some((_, process)) if process == fork::generation() => {
            Err(Error::new(ErrorKind::Busy, "the reader has claimed a value already: release it"))
        }
        _ => Ok(()),
    }
}

/// Lets go of what is claimed. Errors: ENOTOWNER (nothing is claimed), EFORKED (it is the parent's).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_latest_release(reader: *mut mpshm_latest_reader_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let reader = unsafe { given_mut(reader, "reader") }?;
        match reader.claimed {
            None => Err(Error::new(ErrorKind::NotOwner, "nothing is claimed through this reader")),
            Some((_, process)) if process != fork::generation() => {
                Err(Error::new(ErrorKind::Forked, "the value was claimed by the parent process"))
            }
            Some(_) => {
                reader.raw.unpin();
                reader.claimed = None;
                Ok(())
            }
        }
    })
}
