//! Segments.

use crate::error::{Error, Result};
use crate::ffi::{
    call, check_flags, check_out, check_size, free, given, hand_out, invalid, name, optional_name,
    put,
};
use crate::segment::{Segment, SegmentOptions, recv_fd, send_fd};
use std::ffi::{CStr, OsStr, c_char, c_int};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A mapped segment. Objects keep it mapped, so it may be closed before them.
pub struct mpshm_segment_t(pub(crate) Segment);

/// Attach also to a segment that belongs to another user.
pub const MPSHM_SEGMENT_OF_ANY_USER: u64 = 1;
/// Give a new segment's file to `group`.
pub const MPSHM_SEGMENT_SET_GROUP: u64 = 2;

/// Ask for transparent huge pages; only advice, never an error.
pub const MPSHM_SEGMENT_HUGE_PAGES: u64 = 4;
/// Make an anonymous segment of huge pages from the pool that the machine sets aside; ENOSPACE when there
/// are too few.
pub const MPSHM_SEGMENT_HUGE_TLB: u64 = 8;
/// Lock this process's mapping into memory; ELIMIT where RLIMIT_MEMLOCK does not allow it.
pub const MPSHM_SEGMENT_LOCK_MEMORY: u64 = 16;
/// Map every page now, so that no later access of this process is a page fault.
pub const MPSHM_SEGMENT_PREFAULT: u64 = 32;

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
    /// The file mode of a named segment or a segment file; 0600 by default.
    pub mode: u32,
    /// The group of that file, with MPSHM_SEGMENT_SET_GROUP.
    pub group: u32,
}

/// # Safety
/// `options` is NULL or valid.
unsafe fn read(options: *const mpshm_segment_options_t) -> Result<SegmentOptions> {
    // SAFETY: the caller's word.
    let Some(options) = (unsafe { options.as_ref() }) else { return Ok(SegmentOptions::default()) };
    check_size::<mpshm_segment_options_t>(options.struct_size)?;
    let known = MPSHM_SEGMENT_OF_ANY_USER
        | MPSHM_SEGMENT_SET_GROUP
        | MPSHM_SEGMENT_HUGE_PAGES
        | MPSHM_SEGMENT_HUGE_TLB
        | MPSHM_SEGMENT_LOCK_MEMORY
        | MPSHM_SEGMENT_PREFAULT;
    check_flags(options.flags, known)?;
    let has = |flag: u64| options.flags & flag != 0;
    let read = SegmentOptions::default()
        .participants(options.participants)
        .objects(options.objects)
        .mode(options.mode)
        .of_any_user(has(MPSHM_SEGMENT_OF_ANY_USER))
        .huge_pages(has(MPSHM_SEGMENT_HUGE_PAGES))
        .huge_tlb(has(MPSHM_SEGMENT_HUGE_TLB))
        .lock_memory(has(MPSHM_SEGMENT_LOCK_MEMORY))
        .prefault(has(MPSHM_SEGMENT_PREFAULT));
    Ok(if has(MPSHM_SEGMENT_SET_GROUP) { read.group(options.group) } else { read })
}

/// # Safety
/// `path` is NULL or a terminated string.
unsafe fn path<'a>(path: *const c_char) -> Result<&'a Path> {
    if path.is_null() {
        return Err(invalid("the path is NULL"));
    }
    // SAFETY: the caller's word.
    Ok(Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes())))
}

/// A descriptor that the caller lends. A number that is none makes the system call fail.
fn lent<'a>(fd: c_int, what: &str) -> Result<BorrowedFd<'a>> {
    if fd < 0 {
        return Err(invalid(format!("{what} {fd}: a number from 0 on is expected")));
    }
    // SAFETY: not -1; used for system calls during this call only.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
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
        let copy = lent(fd, "descriptor")?.try_clone_to_owned().map_err(|error| {
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

/// Makes a segment in the file `path`, with room for `bytes` of objects; the contents outlive a reboot.
/// Every page is allocated; where the file system cannot do that, by writing zeros. `options` may be NULL.
/// Errors: EEXISTS, ENOTFOUND (the folder), EINVAL, ENOSPACE, EPERM, ELIMIT.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_segment_create_file(
    path: *const c_char,
    bytes: u64,
    options: *const mpshm_segment_options_t,
    segment: *mut *mut mpshm_segment_t,
) -> c_int {
    call(|| {
        check_out(segment, "segment")?;
        // SAFETY: the caller's pointers.
        unsafe {
            let made = read(options)?.create_file(self::path(path)?, bytes)?;
            hand_out(segment, mpshm_segment_t(made));
        }
        Ok(())
    })
}

/// Attaches to the segment in the file `path`, which is not followed when it is a symbolic link.
/// Errors: ENOTFOUND, EPERM, EVERSION, ECORRUPT, EINVAL, ENOSPACE (a copy with holes), ELIMIT.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_segment_attach_file(
    path: *const c_char,
    options: *const mpshm_segment_options_t,
    segment: *mut *mut mpshm_segment_t,
) -> c_int {
    call(|| {
        check_out(segment, "segment")?;
        // SAFETY: the caller's pointers.
        unsafe {
            let attached = read(options)?.attach_file(self::path(path)?)?;
            hand_out(segment, mpshm_segment_t(attached));
        }
        Ok(())
    })
}

/// Attaches to the segment in the file `path`, or makes it; an existing one keeps its size and content.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_segment_open_or_create_file(
    path: *const c_char,
    bytes: u64,
    options: *const mpshm_segment_options_t,
    segment: *mut *mut mpshm_segment_t,
) -> c_int {
    call(|| {
        check_out(segment, "segment")?;
        // SAFETY: the caller's pointers.
        unsafe {
            let opened = read(options)?.open_or_create_file(self::path(path)?, bytes)?;
            hand_out(segment, mpshm_segment_t(opened));
        }
        Ok(())
    })
}

/// Removes the file `path`, whatever is in it. Who is attached stays attached. Errors: ENOTFOUND, EINVAL, EPERM.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_segment_unlink_file(path: *const c_char) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        Segment::unlink_file(unsafe { self::path(path) }?)
    })
}

/// Writes what has changed to the storage of the segment's file, and returns when it is there. Needed only
/// against a power failure; for memory without a file it does nothing. Errors: ESYSTEM.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_segment_sync(segment: *const mpshm_segment_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        unsafe { given(segment, "segment") }?.0.sync()
    })
}

/// Removes the object `name`. The name is gone at once; who has the object open keeps using it. Its space is
/// used again when everybody who had it open has closed it, or is dead; a stopped process, and a forked child
/// that inherited the handle, count as having it open. Errors: ENOTFOUND, EINVAL, ECORRUPT.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_segment_remove(
    segment: *const mpshm_segment_t,
    name: *const c_char,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe { given(segment, "segment")?.0.remove(self::name(name)?) }
    })
}

/// Sends the segment's descriptor over a connected Unix socket, to mpshm_segment_receive(). Blocks as the
/// socket does. Errors: ECLOSED, ETIMEDOUT, EINVAL, ELIMIT.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_segment_send(
    segment: *const mpshm_segment_t,
    socket: c_int,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        unsafe { given(segment, "segment") }?.0.send_to(lent(socket, "socket")?)
    })
}

/// Receives a segment that mpshm_segment_send() sent, and attaches to it. Blocks as the socket does.
/// Errors: those of mpshm_recv_fd() and of mpshm_segment_attach_fd().
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_segment_receive(
    socket: c_int,
    options: *const mpshm_segment_options_t,
    segment: *mut *mut mpshm_segment_t,
) -> c_int {
    call(|| {
        check_out(segment, "segment")?;
        // SAFETY: the caller's pointers.
        unsafe {
            let options = read(options)?;
            let attached = options.attach_fd(recv_fd(lent(socket, "socket")?)?)?;
            hand_out(segment, mpshm_segment_t(attached));
        }
        Ok(())
    })
}

/// Sends a copy of descriptor `fd` over a connected Unix socket, to mpshm_recv_fd(). The message has one byte
/// of data. Blocks as the socket does. Errors: ECLOSED when the other end is; ETIMEDOUT when
/// the socket waits no longer; EINVAL for what is no socket or no descriptor; ELIMIT.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_send_fd(socket: c_int, fd: c_int) -> c_int {
    call(|| send_fd(lent(socket, "socket")?, lent(fd, "descriptor")?))
}

/// Receives a descriptor that mpshm_send_fd() sent: the caller's, closed on exec. Blocks as the socket does.
/// Errors: ECLOSED, ETIMEDOUT, EINVAL; ETYPE when the message has no descriptor or more than one, all of which
/// are closed then; ELIMIT when this process can have no more: the one that was sent is lost.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_recv_fd(socket: c_int, fd: *mut c_int) -> c_int {
    call(|| {
        check_out(fd, "fd")?;
        let received = recv_fd(lent(socket, "socket")?)?;
        // SAFETY: the caller's pointer, checked.
        unsafe { put(fd, received.into_raw_fd(), "fd") }
    })
}
