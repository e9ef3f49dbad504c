//! Segments.

use crate::error::{Error, Result};
use crate::ffi::{
    call, check_flags, check_out, check_size, free, given, hand_out, invalid, name, optional_name,
    put,
};
use crate::segment::{Segment, SegmentOptions};
use std::ffi::{c_char, c_int};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// A mapped segment. Objects keep it mapped, so it may be closed before them.
pub struct mpshm_segment_t(pub(crate) Segment);

/// Attach also to a segment that belongs to another user.
pub const MPSHM_SEGMENT_OF_ANY_USER: u64 = 1;
/// Give a new segment's file to `group`.
pub const MPSHM_SEGMENT_SET_GROUP: u64 = 2;

/// How a segment is made or attached to. Set by mpshm_segment_options_init(), then changed.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct mpshm_segment_options_t {
    /// Bytes of this struct, as mpshm_segment_options_init() sets it.
    pub struct_size: usize,
    /// MPSHM_SEGMENT_… bits; 0 by default.
    pub flags: u64,
    /// How many processes can own something at one time, 1 to 1023; 64 by default.
    pub participants: u32,
    /// How many objects there can be, 1 to 65536; 64 by default.
    pub objects: u32,
    /// The file mode of a named segment; 0600 by default.
    pub mode: u32,
    /// The group of a named segment's file, with MPSHM_SEGMENT_SET_GROUP.
    pub group: u32,
}

/// # Safety
/// `options` is NULL or valid.
unsafe fn read(options: *const mpshm_segment_options_t) -> Result<SegmentOptions> {
    // SAFETY: the caller's word.
    let Some(options) = (unsafe { options.as_ref() }) else { return Ok(SegmentOptions::default()) };
    check_size::<mpshm_segment_options_t>(options.struct_size)?;
    check_flags(options.flags, MPSHM_SEGMENT_OF_ANY_USER | MPSHM_SEGMENT_SET_GROUP)?;
    let read = SegmentOptions::default()
        .participants(options.participants)
        .objects(options.objects)
        .mode(options.mode)
        .of_any_user(options.flags & MPSHM_SEGMENT_OF_ANY_USER != 0);
    let group = options.flags & MPSHM_SEGMENT_SET_GROUP != 0;
    Ok(if group { read.group(options.group) } else { read })
}

/// Sets the defaults.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_segment_options_init(
    options: *mut mpshm_segment_options_t,
) -> c_int {
    call(|| {
        let defaults = mpshm_segment_options_t {
            struct_size: size_of::<mpshm_segment_options_t>(),
            flags: 0,
            participants: 64,
            objects: 64,
            mode: 0o600,
            group: 0,
        };
        // SAFETY: the caller's pointer.
        unsafe { put(options, defaults, "options") }
    })
}

/// Makes a segment with room for `bytes` of objects: named, or anonymous when `name` is NULL (forked
/// children inherit it). All of its memory is allocated now. `options` may be NULL.
/// Errors: EEXISTS, EINVAL, ENOSPACE, EPERM.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_segment_create(
    name: *const c_char,
    bytes: u64,
    options: *const mpshm_segment_options_t,
    segment: *mut *mut mpshm_segment_t,
) -> c_int {
    call(|| {
        check_out(segment, "segment")?;
        // SAFETY: the caller's pointers.
        unsafe {
            let options = read(options)?;
            let made = match optional_name(name)? {
                Some(name) => options.create(name, bytes)?,
                None => options.anonymous(bytes)?,
            };
            hand_out(segment, mpshm_segment_t(made));
        }
        Ok(())
    })
}

/// Attaches to the segment `name`. Errors: ENOTFOUND, EPERM, EVERSION, ECORRUPT, EINVAL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_segment_attach(
    name: *const c_char,
    options: *const mpshm_segment_options_t,
    segment: *mut *mut mpshm_segment_t,
) -> c_int {
    call(|| {
        check_out(segment, "segment")?;
        // SAFETY: the caller's pointers.
        unsafe {
            let attached = read(options)?.attach(self::name(name)?)?;
            hand_out(segment, mpshm_segment_t(attached));
        }
        Ok(())
    })
}

/// Attaches to the segment `name`, or makes it; an existing one keeps its size and content.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_segment_open_or_create(
    name: *const c_char,
    bytes: u64,
    options: *const mpshm_segment_options_t,
    segment: *mut *mut mpshm_segment_t,
) -> c_int {
    call(|| {
        check_out(segment, "segment")?;
        // SAFETY: the caller's pointers.
        unsafe {
            let opened = read(options)?.open_or_create(self::name(name)?, bytes)?;
            hand_out(segment, mpshm_segment_t(opened));
        }
        Ok(())
    })
}

/// Attaches to the segment behind `fd`, which was inherited or came over a socket. The descriptor is
/// duplicated: it stays the caller's. Errors: EINVAL, EVERSION, ECORRUPT, ELIMIT.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_segment_attach_fd(
    fd: c_int,
    segment: *mut *mut mpshm_segment_t,
) -> c_int {
    call(|| {
        check_out(segment, "segment")?;
        if fd < 0 {
            return Err(invalid(format!("descriptor {fd}: a number from 0 on is expected")));
        }
        // SAFETY: duplicating a number that is no open descriptor is an error, nothing worse.
        let copy = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned().map_err(|error| {
            let errno = error.raw_os_error().unwrap_or(0);
            Error::from_errno(errno, format_args!("cannot use descriptor {fd}"))
        })?;
        let attached = Segment::attach_fd(copy)?;
        // SAFETY: checked above.
        unsafe { hand_out(segment, mpshm_segment_t(attached)) };
        Ok(())
    })
}

/// The descriptor of the segment's memory, to be handed to another process. It stays the segment's.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_segment_fd(
    segment: *const mpshm_segment_t,
    fd: *mut c_int,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe { put(fd, given(segment, "segment")?.0.as_fd().as_raw_fd(), "fd") }
    })
}

/// Bytes of the whole segment.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_segment_size(
    segment: *const mpshm_segment_t,
    bytes: *mut u64,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe { put(bytes, given(segment, "segment")?.0.size(), "bytes") }
    })
}

/// How many objects the segment has.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_segment_objects(
    segment: *const mpshm_segment_t,
    count: *mut u64,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe { put(count, given(segment, "segment")?.0.objects()?.len() as u64, "count") }
    })
}

/// How many processes own or may own something in the segment and are not proven dead.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_segment_participants(
    segment: *const mpshm_segment_t,
    count: *mut u64,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe { put(count, given(segment, "segment")?.0.participants()?.len() as u64, "count") }
    })
}

/// Repairs everything that dead participants left in the segment. Nobody has to call it: whoever
/// trips over a dead one's mark repairs that mark.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_segment_recover(segment: *const mpshm_segment_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        crate::recover::recover(&unsafe { given(segment, "segment") }?.0)
    })
}

/// Closes the handle; NULL is a no-op. The name, and who else is attached, are not touched.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mpshm_segment_close(segment: *mut mpshm_segment_t) {
    // SAFETY: the caller's handle.
    unsafe { free(segment) }
}

/// Removes the name of a segment. Who is attached stays attached. Errors: ENOTFOUND, EINVAL, EPERM.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_segment_unlink(name: *const c_char) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        Segment::unlink(unsafe { self::name(name) }?)
    })
}
