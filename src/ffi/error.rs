//! Error numbers, names and sentences; versions.

use crate::error::{Error, ErrorKind};
use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int};

/// An argument is outside what the call accepts, or NULL where that is not allowed.
pub const MPSHM_EINVAL: c_int = -1;
/// Nothing of that name exists.
pub const MPSHM_ENOTFOUND: c_int = -2;
/// Something of that name exists already.
pub const MPSHM_EEXISTS: c_int = -3;
/// The operating system, or the owner check, refused the access.
pub const MPSHM_EPERM: c_int = -4;
/// The memory or the room that was asked for is not there.
pub const MPSHM_ENOSPACE: c_int = -5;
/// A fixed limit is reached: participants of a segment, objects of a directory.
pub const MPSHM_ELIMIT: c_int = -6;
/// A system call failed for a reason that has no number here; see mpshm_last_errno().
pub const MPSHM_ESYSTEM: c_int = -7;
/// The file is no segment, or one of another format version or machine.
pub const MPSHM_EVERSION: c_int = -20;
/// The object is of another kind, or its items are of another type, size or tag.
pub const MPSHM_ETYPE: c_int = -21;
/// The segment's bytes contradict each other: damaged, truncated or hostile.
pub const MPSHM_ECORRUPT: c_int = -22;
/// There is no room, and the call does not wait.
pub const MPSHM_EFULL: c_int = -40;
/// There is no item, and the call does not wait.
pub const MPSHM_EEMPTY: c_int = -41;
/// The object was shut down.
pub const MPSHM_ECLOSED: c_int = -42;
/// The time-out passed first.
pub const MPSHM_ETIMEDOUT: c_int = -43;
/// The call was cancelled on purpose.
pub const MPSHM_EINTERRUPTED: c_int = -44;
/// The message is longer than a block, or the buffer too short for it.
pub const MPSHM_ETOOBIG: c_int = -45;
/// The lock is held by somebody else, and the call does not wait.
pub const MPSHM_EBUSY: c_int = -46;
/// The lock's owner died: the caller holds the lock now.
pub const MPSHM_EOWNERDEAD: c_int = -60;
/// An owner died and the next one did not mark the data as consistent: gone for good.
pub const MPSHM_ENOTRECOVERABLE: c_int = -61;
/// The caller does not hold what it wants to give back.
pub const MPSHM_ENOTOWNER: c_int = -62;
/// The caller holds the lock already, and would wait for itself.
pub const MPSHM_EDEADLOCK: c_int = -63;
/// The peer on the other end died.
pub const MPSHM_EPEERDEAD: c_int = -64;
/// The handle belongs to the process that made it and must not be used in a forked child.
pub const MPSHM_EFORKED: c_int = -65;
/// The task failed; the message is its own.
pub const MPSHM_ETASKFAILED: c_int = -80;
/// The worker that ran the task died.
pub const MPSHM_EWORKERDIED: c_int = -81;
/// The task was cancelled before it ended.
pub const MPSHM_ECANCELLED: c_int = -82;
/// The pool cannot run tasks any more; or the barrier was broken.
pub const MPSHM_EBROKEN: c_int = -83;
/// The task took longer than tasks of its pool may, and its worker was killed.
pub const MPSHM_ETIMELIMIT: c_int = -84;
/// A panic was stopped at the boundary: a defect of the library.
pub const MPSHM_EPANIC: c_int = -100;

/// The version of the library that this header belongs to.
pub const MPSHM_VERSION_MAJOR: u32 = 0;
/// The version's second part.
pub const MPSHM_VERSION_MINOR: u32 = 1;
/// The version's third part.
pub const MPSHM_VERSION_PATCH: u32 = 0;

thread_local! {
    /// The last failed call of this thread: its error number of the system, and its sentence.
    static LAST: RefCell<(i32, Box<str>)> = RefCell::new((0, Box::from("")));
}

/// Every kind, with the words of `mpshm_strerror` and the name of `mpshm_err_name`.
const KINDS: [(ErrorKind, &CStr, &CStr); 29] = [
    (ErrorKind::Invalid, c"MPSHM_EINVAL", c"invalid argument"),
    (ErrorKind::NotFound, c"MPSHM_ENOTFOUND", c"nothing of that name exists"),
    (ErrorKind::Exists, c"MPSHM_EEXISTS", c"something of that name exists already"),
    (ErrorKind::Permission, c"MPSHM_EPERM", c"permission denied"),
    (ErrorKind::NoSpace, c"MPSHM_ENOSPACE", c"no space"),
    (ErrorKind::Limit, c"MPSHM_ELIMIT", c"a fixed limit is reached"),
    (ErrorKind::System, c"MPSHM_ESYSTEM", c"a system call failed"),
    (ErrorKind::Version, c"MPSHM_EVERSION", c"no segment, or of another format version"),
    (ErrorKind::Type, c"MPSHM_ETYPE", c"an object of another kind or type"),
    (ErrorKind::Corrupt, c"MPSHM_ECORRUPT", c"the segment is damaged"),
    (ErrorKind::Full, c"MPSHM_EFULL", c"the queue is full"),
    (ErrorKind::Empty, c"MPSHM_EEMPTY", c"the queue is empty"),
    (ErrorKind::Closed, c"MPSHM_ECLOSED", c"the object was shut down"),
    (ErrorKind::TimedOut, c"MPSHM_ETIMEDOUT", c"timed out"),
    (ErrorKind::Interrupted, c"MPSHM_EINTERRUPTED", c"the call was cancelled"),
    (ErrorKind::TooBig, c"MPSHM_ETOOBIG", c"the message is too long"),
    (ErrorKind::Busy, c"MPSHM_EBUSY", c"the lock is held by somebody else"),
    (ErrorKind::OwnerDead, c"MPSHM_EOWNERDEAD", c"the lock's owner died; the caller holds it now"),
    (ErrorKind::NotRecoverable, c"MPSHM_ENOTRECOVERABLE", c"the lock is lost"),
    (ErrorKind::NotOwner, c"MPSHM_ENOTOWNER", c"the caller does not hold it"),
    (ErrorKind::Deadlock, c"MPSHM_EDEADLOCK", c"the caller holds the lock already"),
    (ErrorKind::PeerDead, c"MPSHM_EPEERDEAD", c"the peer died"),
    (ErrorKind::Forked, c"MPSHM_EFORKED", c"the handle belongs to the parent process"),
    (ErrorKind::TaskFailed, c"MPSHM_ETASKFAILED", c"the task failed"),
    (ErrorKind::WorkerDied, c"MPSHM_EWORKERDIED", c"the worker died"),
    (ErrorKind::Cancelled, c"MPSHM_ECANCELLED", c"the task was cancelled"),
    (ErrorKind::Broken, c"MPSHM_EBROKEN", c"the pool or the barrier is broken"),
    (ErrorKind::TimeLimit, c"MPSHM_ETIMELIMIT", c"the task took too long"),
    (ErrorKind::Panic, c"MPSHM_EPANIC", c"a panic inside the library"),
];

/// Keeps the error for the thread; returns its number.
pub(crate) fn remember(error: Error) -> c_int {
    let code = -(error.kind() as c_int);
    // A thread that is ending has no place for it any more.
    let _ = LAST.try_with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            *last = (error.errno(), error.message().into());
        }
    });
    code
}

/// A few words on an error number, English, never NULL. Static: not to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn mpshm_strerror(code: c_int) -> *const c_char {
    if code == 0 {
        return c"success".as_ptr();
    }
    let known = KINDS.iter().find(|(kind, ..)| -(*kind as c_int) == code);
    known.map_or(c"an unknown error number", |known| known.2).as_ptr()
}

/// The name of an error number, `"MPSHM_EINVAL"`, never NULL. Static: not to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn mpshm_err_name(code: c_int) -> *const c_char {
    if code == 0 {
        return c"MPSHM_OK".as_ptr();
    }
    let known = KINDS.iter().find(|(kind, ..)| -(*kind as c_int) == code);
    known.map_or(c"MPSHM_E?", |known| known.1).as_ptr()
}

/// The system's error number behind this thread's last failed call, or 0.
#[unsafe(no_mangle)]
pub extern "C" fn mpshm_last_errno() -> c_int {
    LAST.try_with(|last| last.try_borrow().map_or(0, |last| last.0)).unwrap_or(0)
}

/// Copies the sentence of this thread's last failed call, cut to `length` bytes with its NUL: it
/// names the object, what was expected and what was found. Returns the bytes that the whole sentence
/// needs, its NUL included. `buffer` may be NULL when `length` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mpshm_last_message(buffer: *mut c_char, length: usize) -> usize {
    LAST.try_with(|last| {
        let Ok(last) = last.try_borrow() else { return 0 };
        if !buffer.is_null() && length > 0 {
            let count = last.1.len().min(length - 1);
            // SAFETY: the caller has room for `length` bytes.
            unsafe {
                buffer.copy_from_nonoverlapping(last.1.as_ptr().cast(), count);
                buffer.add(count).write(0);
            }
        }
        last.1.len() + 1
    })
    .unwrap_or(0)
}

/// The version of the library at run time: major << 16 | minor << 8 | patch.
#[unsafe(no_mangle)]
pub extern "C" fn mpshm_version() -> u32 {
    (MPSHM_VERSION_MAJOR << 16) | (MPSHM_VERSION_MINOR << 8) | MPSHM_VERSION_PATCH
}

/// The version of the bytes in a segment that the library makes and attaches to.
#[unsafe(no_mangle)]
pub extern "C" fn mpshm_format_version() -> u32 {
    crate::layout::header::FORMAT_VERSION
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constants_are_the_kinds_and_the_version_is_the_crates() {
        let version = [MPSHM_VERSION_MAJOR, MPSHM_VERSION_MINOR, MPSHM_VERSION_PATCH];
        assert_eq!(version.map(|part| part.to_string()).join("."), env!("CARGO_PKG_VERSION"));
        for (kind, name, _) in KINDS {
            assert_eq!(name.to_str().unwrap(), format!("MPSHM_E{}", kind.name()));
        }
        assert_eq!(MPSHM_EINVAL, -(ErrorKind::Invalid as c_int));
        assert_eq!(MPSHM_ECORRUPT, -(ErrorKind::Corrupt as c_int));
        assert_eq!(MPSHM_EBUSY, -(ErrorKind::Busy as c_int));
        assert_eq!(MPSHM_EFORKED, -(ErrorKind::Forked as c_int));
        assert_eq!(MPSHM_EBROKEN, -(ErrorKind::Broken as c_int));
        assert_eq!(MPSHM_EPANIC, -(ErrorKind::Panic as c_int));
    }
}
