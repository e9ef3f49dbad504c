//! Queues.

use crate::error::{Error, ErrorKind, Result};
use crate::ffi::queue_options::{DEFAULTS, mpshm_queue_options_t, read};
use crate::ffi::segment::mpshm_segment_t;
use crate::ffi::{
    bytes, call, check_out, deadline, free, given, given_mut, hand_out, invalid, place, put,
};
use crate::layout::plain::TypeTag;
use crate::os::clock::Deadline;
use crate::os::fork;
use crate::queue::core::Core;
use crate::queue::error::Failure;
use crate::queue::exchange::{Held, Reserved};
use std::ffi::{c_char, c_int, c_void};

/// A bounded queue in shared memory, for any number of producers and consumers. A handle is used by one
/// thread at a time; mpshm_queue_clone() gives another. It works on both sides of a fork.
pub struct mpshm_queue_t {
    pub(super) core: Core,
    /// Bytes of an item; 0 = messages of any length.
    pub(super) item_size: usize,
    /// The block between reserve and commit, for how many bytes, and until when a commit may wait, if it may.
    reserved: Option<(Reserved, usize, Option<Deadline>)>,
    claimed: Option<Held>,
    /// The process that reserved or claimed.
    process: u32,
    /// Whether the handle is one of the producers that the queue follows.
    counts: bool,
}

fn handle(core: Core, item: TypeTag) -> mpshm_queue_t {
    bare(core, item.size as usize, false)
}

fn bare(core: Core, item_size: usize, counts: bool) -> mpshm_queue_t {
    mpshm_queue_t { core, item_size, reserved: None, claimed: None, process: 0, counts }
}

pub(super) fn refused(failure: Failure, full: bool, waits: bool) -> Error {
    let error: Error = if full { failure.push(()).into() } else { failure.pop().into() };
    // A call that does not wait says what it found, one that waits says that its time is over.
    match error.kind() {
        ErrorKind::TimedOut if !waits && full => Error::new(ErrorKind::Full, "the queue is full"),
        ErrorKind::TimedOut if !waits => Error::new(ErrorKind::Empty, "the queue is empty"),
        _ => error,
    }
}

/// Sets the defaults: 1024 messages of up to 4096 bytes.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_queue_options_init(options: *mut mpshm_queue_options_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        unsafe { put(options, DEFAULTS, "options") }
    })
}

/// Bytes that such a queue needs in a segment of 64 participants. `options` may be NULL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_queue_size_for(
    options: *const mpshm_queue_options_t,
    bytes: *mut u64,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe {
            let (options, item) = read(options)?;
            put(bytes, options.size(item)?, "bytes")
        }
    })
}

/// Makes a queue; `options` may be NULL. Place and errors as mpshm_value_create().
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_queue_create(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    options: *const mpshm_queue_options_t,
    queue: *mut *mut mpshm_queue_t,
) -> c_int {
    call(|| {
        check_out(queue, "queue")?;
        // SAFETY: the caller's pointers.
        unsafe {
            let (options, item) = read(options)?;
            let place = place(segment, name, true)?;
            let core = Core::create(place, |participants| options.shape(item, participants), item)?;
            hand_out(queue, handle(core, item));
        }
        Ok(())
    })
}

/// Opens a queue, whose items must be as `options` say (NULL: messages) in size, alignment and type code; the rest is its own.
/// Errors as mpshm_value_open().
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_queue_open(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    options: *const mpshm_queue_options_t,
    queue: *mut *mut mpshm_queue_t,
) -> c_int {
    call(|| {
        check_out(queue, "queue")?;
        // SAFETY: the caller's pointers.
        unsafe {
            let (_, item) = read(options)?;
            hand_out(queue, handle(Core::open(place(segment, name, false)?, item)?, item));
        }
        Ok(())
    })
}

/// Opens a queue, or makes it; of several who do so at once, one makes it.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_queue_open_or_create(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    options: *const mpshm_queue_options_t,
    queue: *mut *mut mpshm_queue_t,
) -> c_int {
    call(|| {
        check_out(queue, "queue")?;
        // SAFETY: the caller's pointers.
        unsafe {
            let (options, item) = read(options)?;
            let core = place(segment, name, false)?.open_or_create(
                |place| Core::open(place, item),
                |place| Core::create(place, |participants| options.shape(item, participants), item),
            )?;
            hand_out(queue, handle(core, item));
        }
        Ok(())
    })
}

/// Another handle of the same queue, for another thread. A producer's clone counts as one more producer.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_queue_clone(
    queue: *const mpshm_queue_t,
    other: *mut *mut mpshm_queue_t,
) -> c_int {
    call(|| {
        check_out(other, "other")?;
        // SAFETY: the caller's pointers.
        unsafe {
            let queue = given(queue, "queue")?;
            let clone = bare(queue.core.another(), queue.item_size, queue.counts);
            if clone.counts {
                clone.core.come()?;
            }
            hand_out(other, clone);
        }
        Ok(())
    })
}

/// Another handle of the same queue, which counts as one of the producers that it follows until it is closed or its
/// process ends; a forked child's copy counts in the child from its first push on. Of a queue that follows none, a
/// handle like any other. Errors: ECLOSED, ELIMIT.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_queue_producer(
    queue: *const mpshm_queue_t,
    producer: *mut *mut mpshm_queue_t,
) -> c_int {
    call(|| {
        check_out(producer, "producer")?;
        // SAFETY: the caller's pointers.
        unsafe {
            let queue = given(queue, "queue")?;
            let end = bare(queue.core.another(), queue.item_size, true);
            end.core.come()?;
            if end.core.is_closed()? {
                return Err(Error::new(ErrorKind::Closed, "the queue is shut down"));
            }
            hand_out(producer, end);
        }
        Ok(())
    })
}

/// Closes the handle; NULL is a no-op. What it has reserved is given up, what it has claimed goes back to
/// be delivered again. To end the queue for everybody, see mpshm_queue_shutdown().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mpshm_queue_close(queue: *mut mpshm_queue_t) {
    // SAFETY: the caller's handle.
    unsafe { free(queue) }
}

impl Drop for mpshm_queue_t {
    fn drop(&mut self) {
        if self.process != fork::generation() {
            return;
        }
        if let Some((reserved, ..)) = self.reserved.take() {
            self.core.abort(reserved.held);
        }
        if let Some(held) = self.claimed.take() {
            self.core.give_back(held);
        }
    }
}

/// Pushes a copy of `length` bytes (for a queue of items: exactly an item's), waiting for room at most
/// `timeout_ns`. Visible to every consumer on return. Also while something is reserved or claimed through the handle.
/// Errors: EFULL (time-out 0), ETIMEDOUT, ECLOSED, ETOOBIG (more than message_max), EINVAL (not an item's length),
/// EINTERRUPTED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_queue_push(
    queue: *mut mpshm_queue_t,
    data: *const c_void,
    length: usize,
    timeout_ns: i64,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        let (queue, bytes) = unsafe { (given_mut(queue, "queue")?, bytes(data, length)?) };
        let waits = timeout_ns != 0;
        let deadline = deadline(timeout_ns)?;
        present(queue)?;
        if queue.item_size != 0 {
            check_item(length, queue.item_size)?;
        }
        let pushed = if queue.core.in_slots() {
            let item = eight(bytes);
            let attempt = || queue.core.try_push_item(item);
            if waits {
                queue.core.push_item(item, deadline)
            } else {
                queue.core.or_repaired(attempt(), attempt)
            }
        } else {
            let attempt = || queue.core.try_push(bytes);
            if waits {
                queue.core.push(bytes, deadline)
            } else {
                queue.core.or_repaired(attempt(), attempt)
            }
        };
        pushed.map_err(|failure| refused(failure, true, waits))
    })
}

pub(super) fn eight(bytes: &[u8]) -> u64 {
    let mut eight = [0; 8];
    eight[..bytes.len()].copy_from_slice(bytes);
    u64::from_ne_bytes(eight)
}

/// A producer's end that crossed a fork counts in the child too.
pub(super) fn present(queue: &mpshm_queue_t) -> Result<()> {
    if queue.counts { queue.core.come_again() } else { Ok(()) }
}

/// Pops the oldest item into `buffer` of `size` bytes, waiting for one at most `timeout_ns`; `*length`, unless
/// that is NULL, gets its length. A message that the buffer is too short for goes back, as by mpshm_queue_give_back(): ETOOBIG.
/// Errors: EEMPTY (time-out 0), ETIMEDOUT, ECLOSED (shut down and drained), EPEERDEAD (drained, and the last producer
/// died), EINTERRUPTED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_queue_pop(
    queue: *mut mpshm_queue_t,
    buffer: *mut c_void,
    size: usize,
    timeout_ns: i64,
    length: *mut usize,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        let count = unsafe { pop(queue, buffer, size, timeout_ns) }?;
        if !length.is_null() {
            // SAFETY: the caller's pointer.
            unsafe { length.write_unaligned(count) };
        }
        Ok(())
    })
}

/// # Safety
/// As `mpshm_queue_pop` asks of its caller.
pub(super) unsafe fn pop(
    queue: *mut mpshm_queue_t,
    buffer: *mut c_void,
    size: usize,
    timeout_ns: i64,
) -> Result<usize> {
    // SAFETY: the caller's pointer.
    let queue = unsafe { given_mut(queue, "queue") }?;
    if buffer.is_null() && size != 0 {
        return Err(invalid(format!("a buffer of {size} bytes at NULL")));
    }
    let waits = timeout_ns != 0;
    let deadline = deadline(timeout_ns)?;
    if size < queue.item_size {
        return Err(too_short(queue.item_size, size));
    }
    if queue.core.in_slots() {
        let attempt = || queue.core.try_pop_item();
        let item = if waits {
            queue.core.pop_item(deadline)
        } else {
            queue.core.or_repaired(attempt(), attempt)
        };
        let item = item.map_err(|failure| refused(failure, false, waits))?.to_ne_bytes();
        // SAFETY: the buffer has `size` bytes, which is no less.
        unsafe { buffer.cast::<u8>().copy_from_nonoverlapping(item.as_ptr(), queue.item_size) };
        return Ok(queue.item_size);
    }
    let (held, count) = claim(queue, deadline, waits)?;
    if count > size {
        queue.core.give_back(held);
        return Err(too_short(count, size));
    }
    if count > 0 {
        // SAFETY: the block is ours and holds `count` bytes; the buffer has no fewer.
        unsafe {
            queue.core.payload(held.block).copy_to_nonoverlapping(buffer.cast(), count);
        }
    }
    queue.core.consume(held);
    Ok(count)
}

fn check_item(length: usize, item: usize) -> Result<()> {
    if length == item {
        return Ok(());
    }
    Err(invalid(format!("an item of {length} bytes in a queue of items of {item}")))
}

fn too_short(message: usize, buffer: usize) -> Error {
    let text = format!("the message has {message} bytes, the buffer {buffer}");
    Error::new(ErrorKind::TooBig, text)
}

/// The oldest item, and its bytes. In a damaged segment an item may say that it has fewer than the others: nobody then
/// gets a part of one and takes it for the whole.
fn claim(queue: &mpshm_queue_t, deadline: Deadline, waits: bool) -> Result<(Held, usize)> {
    let attempt = || queue.core.try_claim();
    let claimed =
        if waits { queue.core.claim(deadline) } else { queue.core.or_repaired(attempt(), attempt) };
    let held = claimed.map_err(|failure| refused(failure, false, waits))?;
    let whole = |count: usize| match queue.item_size {
        0 => Ok(count),
        size if size == count => Ok(count),
        size => {
            let text = format!("an item of {count} bytes in a queue of items of {size}");
            Err(Error::new(ErrorKind::Corrupt, text))
        }
    };
    let count = queue.core.length(held).and_then(whole);
    count.map(|count| (held, count)).inspect_err(|_| queue.core.release(held))
}

fn in_place(queue: &mpshm_queue_t) -> Result<()> {
    if queue.core.in_slots() {
        let text = format!(
            "items of {} bytes travel in slots and have no place in memory",
            queue.item_size
        );
        return Err(invalid(text));
    }
    Ok(())
}

/// Reserves a block to write a message of up to `length` bytes (an item: exactly its own) into, at `*data`, aligned to
/// message_align (an item: to its own); one at a time for each handle. Then mpshm_queue_commit() or mpshm_queue_abort().
/// Errors: EFULL (time-out 0; the queue is full, or no block is free), ETIMEDOUT, ECLOSED, ETOOBIG, EBUSY (one is reserved),
/// EINVAL (items that travel in slots), EINTERRUPTED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_queue_reserve(
    queue: *mut mpshm_queue_t,
    length: usize,
    timeout_ns: i64,
    data: *mut *mut c_void,
) -> c_int {
    call(|| {
        check_out(data, "data")?;
        // SAFETY: the caller's pointer.
        let queue = unsafe { given_mut(queue, "queue") }?;
        in_place(queue)?;
        present(queue)?;
        if queue.item_size != 0 {
            check_item(length, queue.item_size)?;
        }
        forget_of_the_parent(queue);
        if queue.reserved.is_some() {
            return Err(Error::new(
                ErrorKind::Busy,
                "a block is reserved already: commit or abort it",
            ));
        }
        queue.core.check_length(length)?;
        let waits = timeout_ns != 0;
        let deadline = deadline(timeout_ns)?;
        let attempt = || queue.core.try_reserve(length);
        let reserved = if waits {
            queue.core.reserve(length, deadline)
        } else {
            queue.core.or_repaired(attempt(), attempt)
        };
        let reserved = reserved.map_err(|failure| refused(failure, true, waits))?;
        queue.reserved = Some((reserved, length, waits.then_some(deadline)));
        queue.process = fork::generation();
        // SAFETY: checked above.
        unsafe { put(data, queue.core.payload(reserved.held.block).cast(), "data") }
    })
}

/// Pushes the first `length` bytes of the reserved block as one message. If others filled the queue
/// meanwhile, waits for as long as the reservation was allowed to; then EFULL or ETIMEDOUT, and the block
/// stays reserved. Other errors: ECLOSED (the block is given up), ETOOBIG (more than was reserved, which it still is),
/// ENOTOWNER (nothing is reserved), EFORKED (it is the parent's).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_queue_commit(queue: *mut mpshm_queue_t, length: usize) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let queue = unsafe { given_mut(queue, "queue") }?;
        let (reserved, room, deadline) = reservation(queue)?;
        if length > room {
            let text = format!("a commit of {length} bytes, {room} were reserved");
            return Err(Error::new(ErrorKind::TooBig, text));
        }
        if queue.item_size != 0 {
            check_item(length, queue.item_size)?;
        }
        let committed = match (queue.core.try_commit(reserved, length as u32), deadline) {
            (Err(failure), Some(deadline)) if failure.is_full() => {
                queue.core.commit(reserved, length as u32, deadline)
            }
            (other, _) => other,
        };
        committed.map_err(|failure| refused(failure, true, deadline.is_some()))?;
        queue.reserved = None;
        Ok(())
    })
}

/// Gives the reserved block up; nothing is pushed. Errors: ENOTOWNER (nothing is reserved), EFORKED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_queue_abort(queue: *mut mpshm_queue_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let queue = unsafe { given_mut(queue, "queue") }?;
        let (reserved, ..) = reservation(queue)?;
        queue.core.abort(reserved.held);
        queue.reserved = None;
        Ok(())
    })
}

/// Claims the oldest message, to be read in place: `*length` bytes at `*data`; one at a time for each
/// handle. Then mpshm_queue_release() or mpshm_queue_give_back(). If this process dies with the claim,
/// the message is delivered again, or dropped, as the queue was made.
/// Errors: EEMPTY (time-out 0), ETIMEDOUT, ECLOSED, EPEERDEAD, EBUSY (one is claimed), EINVAL (items that travel in slots),
/// EINTERRUPTED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_queue_claim(
    queue: *mut mpshm_queue_t,
    timeout_ns: i64,
    data: *mut *const c_void,
    length: *mut usize,
) -> c_int {
    call(|| {
        check_out(data, "data")?;
        check_out(length, "length")?;
        // SAFETY: the caller's pointer.
        let queue = unsafe { given_mut(queue, "queue") }?;
        in_place(queue)?;
        forget_of_the_parent(queue);
        if queue.claimed.is_some() {
            return Err(Error::new(ErrorKind::Busy, "a message is claimed already: release it"));
        }
        let (held, count) = claim(queue, deadline(timeout_ns)?, timeout_ns != 0)?;
        queue.claimed = Some(held);
        queue.process = fork::generation();
        // SAFETY: checked above.
        unsafe {
            put(data, queue.core.payload(held.block).cast_const().cast(), "data")?;
            put(length, count, "length")
        }
    })
}

/// How often the claimed message has been handed to a consumer, this time included: 1 is the ordinary case. Errors: ENOTOWNER
/// (nothing is claimed), EFORKED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_queue_deliveries(
    queue: *const mpshm_queue_t,
    deliveries: *mut u64,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe {
            let queue = given(queue, "queue")?;
            let held = claimed(queue)?;
            put(deliveries, u64::from(queue.core.redelivered(held)) + 1, "deliveries")
        }
    })
}

/// Ends the claim: the message is consumed. Errors: ENOTOWNER (nothing is claimed), EFORKED (it is the parent's).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_queue_release(queue: *mut mpshm_queue_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let queue = unsafe { given_mut(queue, "queue") }?;
        queue.core.release(claimed(queue)?);
        queue.claimed = None;
        Ok(())
    })
}

/// Ends the claim: the message goes back, to be delivered again, marked; who pops next gets it first, but others may have got
/// later ones meanwhile. Errors: ENOTOWNER (nothing is claimed), EFORKED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_queue_give_back(queue: *mut mpshm_queue_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let queue = unsafe { given_mut(queue, "queue") }?;
        queue.core.give_back(claimed(queue)?);
        queue.claimed = None;
        Ok(())
    })
}

/// What a forked child finds in its copy of a handle is its parent's.
fn forget_of_the_parent(queue: &mut mpshm_queue_t) {
    if queue.process != fork::generation() {
        queue.reserved = None;
        queue.claimed = None;
    }
}

fn reservation(queue: &mpshm_queue_t) -> Result<(Reserved, usize, Option<Deadline>)> {
    check_process(queue)?;
    queue
        .reserved
        .ok_or_else(|| Error::new(ErrorKind::NotOwner, "no block is reserved through this handle"))
}

fn claimed(queue: &mpshm_queue_t) -> Result<Held> {
    check_process(queue)?;
    queue
        .claimed
        .ok_or_else(|| Error::new(ErrorKind::NotOwner, "no message is claimed through this handle"))
}

fn check_process(queue: &mpshm_queue_t) -> Result<()> {
    if queue.process != 0 && queue.process != fork::generation() {
        return Err(Error::new(
            ErrorKind::Forked,
            "what was reserved or claimed before the fork belongs to the parent process",
        ));
    }
    Ok(())
}

/// Ends the queue for everybody: pushes say ECLOSED, pops too once everything has been taken. Also twice.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_queue_shutdown(queue: *const mpshm_queue_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        unsafe { given(queue, "queue") }?.core.close()
    })
}

/// Whether the queue was shut down.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_queue_is_shut_down(
    queue: *const mpshm_queue_t,
    shut_down: *mut bool,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe { put(shut_down, given(queue, "queue")?.core.is_closed()?, "shut_down") }
    })
}

/// Items that can be popped, without what is reserved or claimed: exact when nobody else acts, else true at some moment of
/// the call.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_queue_length(
    queue: *const mpshm_queue_t,
    length: *mut u64,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe { put(length, given(queue, "queue")?.core.len()?, "length") }
    })
}

/// Items that the queue holds at most.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_queue_capacity(
    queue: *const mpshm_queue_t,
    capacity: *mut u64,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe { put(capacity, given(queue, "queue")?.core.shape().plan.capacity, "capacity") }
    })
}

/// Bytes of the longest message, or of an item.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_queue_message_max(
    queue: *const mpshm_queue_t,
    bytes: *mut u64,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe { put(bytes, given(queue, "queue")?.core.shape().plan.message_max, "bytes") }
    })
}
