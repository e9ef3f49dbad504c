//! Waiting for several things at once.

use crate::error::{Error, ErrorKind, Result};
use crate::ffi::event::mpshm_event_t;
use crate::ffi::latch::mpshm_latch_t;
use crate::ffi::latest::mpshm_latest_t;
use crate::ffi::participant::mpshm_participant_t;
use crate::ffi::process::mpshm_process_t;
use crate::ffi::queue::mpshm_queue_t;
use crate::ffi::ring::mpshm_ring_t;
use crate::ffi::semaphore::mpshm_semaphore_t;
use crate::ffi::value::{Any, argument, each, mpshm_value_t};
use crate::ffi::value_wait::holds;
use crate::ffi::{call, check_flags, check_out, deadline, free, given, hand_out, invalid, put};
use crate::queue::{Readable, Writable};
use crate::value::Newer;
use crate::wait::eventfd::EventFd;
use crate::wait::select::{Mode, Waitable, wait};
use std::ffi::{c_int, c_void};
use std::os::fd::{AsFd, AsRawFd};

/// An mpshm_event_t: it is set, or was since the call began.
pub const MPSHM_WAITABLE_EVENT: u32 = 1;
/// An mpshm_semaphore_t: a permit is free, or its owner dead.
pub const MPSHM_WAITABLE_SEMAPHORE: u32 = 2;
/// An mpshm_queue_t: a pop without waiting would not say EEMPTY.
pub const MPSHM_WAITABLE_QUEUE_READABLE: u32 = 3;
/// An mpshm_queue_t: a push of the longest item without waiting would not say EFULL.
pub const MPSHM_WAITABLE_QUEUE_WRITABLE: u32 = 4;
/// An mpshm_ring_t: a pop without waiting would not say EEMPTY.
pub const MPSHM_WAITABLE_RING_READABLE: u32 = 5;
/// An mpshm_ring_t: there is room for `operand` items, or for a message of so many bytes, or there never will be.
pub const MPSHM_WAITABLE_RING_WRITABLE: u32 = 6;
/// A waitable mpshm_value_t: it compares to `*value` as `condition` says.
pub const MPSHM_WAITABLE_VALUE: u32 = 7;
/// An mpshm_latch_t: all have arrived.
pub const MPSHM_WAITABLE_LATCH: u32 = 8;
/// An mpshm_latest_t: its version is another than `operand`.
pub const MPSHM_WAITABLE_LATEST: u32 = 9;
/// An mpshm_process_t: it has ended.
pub const MPSHM_WAITABLE_PROCESS: u32 = 10;
/// An mpshm_participant_t: it has left the segment, or is dead.
pub const MPSHM_WAITABLE_PARTICIPANT: u32 = 11;

/// Wait until all are ready at once, not any.
pub const MPSHM_SELECT_ALL: u64 = 1;

/// One thing to wait for. What its kind has no use for is 0, or NULL.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct mpshm_waitable_t {
    /// One of MPSHM_WAITABLE_.
    pub kind: u32,
    /// One of MPSHM_WAIT_, for a value.
    pub condition: u32,
    /// The handle, of the type that `kind` says.
    pub handle: *const c_void,
    /// See MPSHM_WAITABLE_RING_WRITABLE and MPSHM_WAITABLE_LATEST.
    pub operand: u64,
    /// What a value is compared to, of its type.
    pub value: *const c_void,
}

/// A descriptor for poll, epoll and event loops, with a thread of its own.
pub struct mpshm_eventfd_t(EventFd);

type Item = Box<dyn Waitable + Send>;

/// What the caller waits for, by handles of the library's own.
///
/// # Safety
/// The handle is one of its kind, and the value of its type.
unsafe fn item(of: &mpshm_waitable_t) -> Result<Item> {
    let kind = of.kind;
    let uses_operand = matches!(kind, MPSHM_WAITABLE_RING_WRITABLE | MPSHM_WAITABLE_LATEST);
    let is_value = kind == MPSHM_WAITABLE_VALUE;
    if !uses_operand && of.operand != 0 || !is_value && (of.condition != 0 || !of.value.is_null()) {
        return Err(invalid(format!(
            "something to wait for of kind {kind}: an operand, a condition or a value is given that it has no use for"
        )));
    }
    // SAFETY: the caller's word.
    unsafe {
        Ok(match kind {
            MPSHM_WAITABLE_EVENT => Box::new(handle::<mpshm_event_t>(of)?.0.another()),
            MPSHM_WAITABLE_SEMAPHORE => Box::new(handle::<mpshm_semaphore_t>(of)?.0.another()),
            MPSHM_WAITABLE_QUEUE_READABLE => {
                Box::new(Readable::of_queue(&handle::<mpshm_queue_t>(of)?.core))
            }
            MPSHM_WAITABLE_QUEUE_WRITABLE => {
                Box::new(Writable::of_queue(&handle::<mpshm_queue_t>(of)?.core))
            }
            MPSHM_WAITABLE_RING_READABLE => {
                Box::new(Readable::of_ring(&handle::<mpshm_ring_t>(of)?.writer.core))
            }
            MPSHM_WAITABLE_RING_WRITABLE => {
                let core = &handle::<mpshm_ring_t>(of)?.writer.core;
                Box::new(Writable::of_ring(core, of.operand as usize))
            }
            MPSHM_WAITABLE_VALUE => return when(of),
            MPSHM_WAITABLE_LATCH => Box::new(handle::<mpshm_latch_t>(of)?.0.another()),
            MPSHM_WAITABLE_LATEST => {
                Box::new(Newer::of(&handle::<mpshm_latest_t>(of)?.raw, of.operand))
            }
            MPSHM_WAITABLE_PROCESS => Box::new(handle::<mpshm_process_t>(of)?.0.ended()?),
            MPSHM_WAITABLE_PARTICIPANT => Box::new(handle::<mpshm_participant_t>(of)?.0.another()),
            other => return Err(invalid(format!("there is no kind {other} to wait for"))),
        })
    }
}

/// # Safety
/// The handle is a `T`, or NULL.
unsafe fn handle<'a, T>(of: &mpshm_waitable_t) -> Result<&'a T> {
    // SAFETY: the caller's word.
    unsafe { given(of.handle.cast::<T>(), "the handle of something to wait for") }
}

/// # Safety
/// As [`item`], for a value.
unsafe fn when(of: &mpshm_waitable_t) -> Result<Item> {
    let holds = holds(of.condition)?;
    // SAFETY: the caller's word.
    unsafe {
        each!(&handle::<mpshm_value_t>(of)?.0, value => {
            let operand = argument(of.value, "the value to compare to")?;
            Ok(Box::new(value.when(move |now| holds(now.partial_cmp(&operand)))?))
        })
    }
}

/// # Safety
/// As [`item`], for so many.
unsafe fn items(items: *const mpshm_waitable_t, count: usize) -> Result<Vec<Item>> {
    if items.is_null() {
        return Err(invalid("items is NULL"));
    }
    if count > isize::MAX as usize / size_of::<mpshm_waitable_t>() {
        return Err(invalid(format!("{count} things to wait for do not fit the address space")));
    }
    // SAFETY: the caller's word. They may be unaligned for all we know of C.
    (0..count).map(|place| unsafe { item(&items.add(place).read_unaligned()) }).collect()
}

/// Waits until any of `count` items is ready (with MPSHM_SELECT_ALL: until all are, in one look). Then `ready[i]` says for each whether it is, and
/// `*ready_count`, unless that is NULL, how many are. Nothing is consumed: by now somebody else may have been faster, so try, and select
/// again. A caller that is told of a single item and does not try it keeps others that sleep there, for 80 ms at most.
/// What is wrong with an item counts as ready: the try tells what it is. `flags`: 0 or MPSHM_SELECT_ALL. ETIMEDOUT when the time-out passed first,
/// also for one of 0, which is a look; EINTERRUPTED; EINVAL for no items, an unknown kind, a value that is not waitable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_select(
    items: *const mpshm_waitable_t,
    count: usize,
    flags: u64,
    timeout_ns: i64,
    ready: *mut bool,
    ready_count: *mut usize,
) -> c_int {
    call(|| {
        check_flags(flags, MPSHM_SELECT_ALL)?;
        check_out(ready, "ready")?;
        let deadline = deadline(timeout_ns)?;
        let mode = if flags & MPSHM_SELECT_ALL != 0 { Mode::All } else { Mode::Any };
        // SAFETY: the caller's pointers.
        let items = unsafe { self::items(items, count) }?;
        let items: Vec<&dyn Waitable> = items.iter().map(|item| &**item as &dyn Waitable).collect();
        let found = wait(&items, mode, deadline)?;
        if found.is_empty() || mode == Mode::All && !found.is_all() {
            let text = "what is waited for was not ready before the deadline";
            return Err(Error::new(ErrorKind::TimedOut, text));
        }
        for place in 0..count {
            // SAFETY: room for so many, as the caller says.
            unsafe { ready.add(place).write(found.contains(place)) };
        }
        if !ready_count.is_null() {
            // SAFETY: the caller's pointer.
            unsafe { put(ready_count, found.len(), "ready_count") }?;
        }
        Ok(())
    })
}

/// Makes a descriptor that is readable when any of `count` items is ready: see mpshm_select(). Read 8 bytes from it (or call
/// mpshm_eventfd_clear()), then try everything: it becomes readable again at once when something still is ready. The handles in `items` may be
/// closed meanwhile. A thread of the library's, which runs no signal handlers, waits for the items until the handle is
/// closed. In a forked child the descriptor is the parent's, and closing the handle only closes it. EINVAL as for mpshm_select(); ESYSTEM.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_eventfd_create(
    items: *const mpshm_waitable_t,
    count: usize,
    eventfd: *mut *mut mpshm_eventfd_t,
) -> c_int {
    call(|| {
        check_out(eventfd, "eventfd")?;
        // SAFETY: the caller's pointers.
        unsafe { hand_out(eventfd, mpshm_eventfd_t(EventFd::new(self::items(items, count)?)?)) };
        Ok(())
    })
}

/// Sets `*fd` to the descriptor: for poll, not to be closed. Reads of it do not block.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_eventfd_fd(
    eventfd: *const mpshm_eventfd_t,
    fd: *mut c_int,
) -> c_int {
    // SAFETY: the caller's pointers.
    call(|| unsafe { put(fd, given(eventfd, "eventfd")?.0.as_fd().as_raw_fd(), "fd") })
}

/// As a read of 8 bytes: unreadable until something is ready at the next look, which is made now.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_eventfd_clear(eventfd: *const mpshm_eventfd_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        unsafe { given(eventfd, "eventfd") }?.0.clear();
        Ok(())
    })
}

/// Closes the descriptor, and ends its thread; NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mpshm_eventfd_close(eventfd: *mut mpshm_eventfd_t) {
    // SAFETY: the caller's handle.
    unsafe { free(eventfd) }
}
