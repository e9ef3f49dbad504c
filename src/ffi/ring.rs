//! Rings: one producer, one consumer.

use crate::error::{Error, ErrorKind, Result};
use crate::ffi::queue::refused;
use crate::ffi::queue_batch::mpshm_queue_counters_t;
use crate::ffi::segment::mpshm_segment_t;
use crate::ffi::{
    MPSHM_BYTES, bytes, call, check_flags, check_out, check_size, deadline, free, given, given_mut,
    hand_out, invalid, item, place, put,
};
use crate::layout::plain::TypeTag;
use crate::os::clock::Deadline;
use crate::os::fork;
use crate::queue::error::Failure;
use crate::queue::spsc::core::{Core, copy_out, write_message};
use crate::queue::spsc::read_end::{Claimed, ReadEnd};
use crate::queue::spsc::write_end::WriteEnd;
use crate::queue::{Delivery, RingOptions, WhenFull};
use std::ffi::{c_char, c_int, c_void};

/// A bounded stream in shared memory, from one producer to one consumer. Whoever uses a handle first to push (reserve)
/// in a process is the producer until that handle is closed, or its process dies; the same for the consumer, also with the
/// same handle. To others such calls say EBUSY, at once. A call that finds the ring full or empty is a use, one that is refused
/// for its arguments is none. A handle is used by one thread at a time; mpshm_ring_clone() gives another. It works on
/// both sides of a fork.
pub struct mpshm_ring_t {
    pub(super) writer: WriteEnd,
    reader: ReadEnd,
    /// Items (bytes of a message) that there is room for, between reserve and commit.
    reserved: Option<usize>,
    claimed: Option<Claimed>,
    /// The process that reserved or claimed.
    process: u32,
}

/// How a ring is made, or which one is expected. Set by mpshm_ring_options_init(), then changed.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct mpshm_ring_options_t {
    /// Bytes of this struct, as mpshm_ring_options_init() sets it.
    pub struct_size: usize,
    /// MPSHM_RING_ flags, or 0.
    pub flags: u64,
    /// Items that the ring holds, exactly. Of messages, bytes, which are rounded up to a multiple of 8: a message takes
    /// 8 and its length, rounded up to a multiple of 8, and all together take at most 8 more than the capacity, so
    /// that one message of the whole capacity fits. At least 1, at most 2^40 bytes; 65536 by default.
    pub capacity: u64,
    /// Bytes of an item; 0, the default, for messages of 0 to `capacity` (rounded up) bytes.
    pub item_size: usize,
    /// Alignment of an item, a power of two up to 128 that divides item_size; 0 = the largest one up to 8.
    /// Rust's side has to agree: give `_Alignof` of the type.
    pub item_align: usize,
    /// MPSHM_BYTES, a scalar's code (item_size and item_align may then be 0), or a number from 256 on that
    /// tells the user's types apart, those of messages too.
    pub type_code: u32,
    /// 0, or EINVAL.
    pub reserved: u32,
}

/// Pushes into a full ring, and reserves, fail with EFULL at once, also where they would wait.
pub const MPSHM_RING_FULL_FAILS: u64 = 1;
/// A push into a full ring takes the oldest items out, which are counted. Such a ring is not read in place: a claim says
/// EINVAL. Written in place it is, one item at a time; the oldest go at the commit.
pub const MPSHM_RING_FULL_OVERWRITES: u64 = 2;
/// What a consumer had claimed when it died is dropped, not delivered again.
pub const MPSHM_RING_AT_MOST_ONCE: u64 = 4;
/// The stream ends when one of its ends does: it is shut down when the handle is closed that is the producer or the consumer,
/// and says EPEERDEAD when the other one died (to a consumer that has drained it, to a producer that finds it full), until
/// somebody takes the dead one's place. Without this flag nobody says EPEERDEAD: who comes next goes on with the stream.
pub const MPSHM_RING_FOLLOW_ENDS: u64 = 8;

const DEFAULTS: mpshm_ring_options_t = mpshm_ring_options_t {
    struct_size: size_of::<mpshm_ring_options_t>(),
    flags: 0,
    capacity: 65536,
    item_size: 0,
    item_align: 0,
    type_code: MPSHM_BYTES,
    reserved: 0,
};

/// # Safety
/// `options` is NULL or valid.
unsafe fn read(options: *const mpshm_ring_options_t) -> Result<(RingOptions, TypeTag)> {
    // SAFETY: the caller's word.
    let options = unsafe { options.as_ref() }.unwrap_or(&DEFAULTS);
    check_size::<mpshm_ring_options_t>(options.struct_size)?;
    check_flags(options.flags, 15)?;
    if options.reserved != 0 {
        return Err(invalid("the reserved field of a ring's options is not 0"));
    }
    let has = |flag: u64| options.flags & flag != 0;
    let full = match (has(MPSHM_RING_FULL_FAILS), has(MPSHM_RING_FULL_OVERWRITES)) {
        (false, false) => WhenFull::Wait,
        (true, false) => WhenFull::Fail,
        (false, true) => WhenFull::Overwrite,
        (true, true) => return Err(invalid("the flags 1 and 2 of a ring exclude each other")),
    };
    let scalar = (1..12).contains(&options.type_code);
    let align = match (options.item_size, options.item_align) {
        (0, _) if !scalar => 1,
        (size, 0) if !scalar => 1 << size.trailing_zeros().min(3),
        (_, align) => align,
    };
    let item = item(options.type_code, options.item_size, align)?;
    let mut read = RingOptions::new(options.capacity).when_full(full);
    if has(MPSHM_RING_AT_MOST_ONCE) {
        read = read.delivery(Delivery::AtMostOnce);
    }
    if has(MPSHM_RING_FOLLOW_ENDS) {
        read = read.follow_ends();
    }
    Ok((read, item))
}

fn handle(core: &Core) -> mpshm_ring_t {
    mpshm_ring_t {
        writer: WriteEnd::new(core.clone()),
        reader: ReadEnd::new(core.clone()),
        reserved: None,
        claimed: None,
        process: 0,
    }
}

impl mpshm_ring_t {
    fn core(&self) -> &Core {
        &self.writer.core
    }

    /// What a forked child finds in its copy of a handle is its parent's.
    fn forget_of_the_parent(&mut self) {
        let process = fork::generation();
        if self.process != process {
            self.reserved = None;
            self.claimed = None;
            self.process = process;
        }
    }

    fn check_process(&self) -> Result<()> {
        if self.process != 0 && self.process != fork::generation() {
            return Err(Error::new(
                ErrorKind::Forked,
                "what was reserved or claimed before the fork belongs to the parent process",
            ));
        }
        Ok(())
    }

    fn room(&self) -> Result<usize> {
        self.check_process()?;
        self.reserved.ok_or_else(|| not_owner("no room is reserved through this handle"))
    }

    fn claim(&self) -> Result<Claimed> {
        self.check_process()?;
        self.claimed.ok_or_else(|| not_owner("nothing is claimed through this handle"))
    }

    /// Nothing may be between reserve and commit.
    fn check_unreserved(&mut self) -> Result<()> {
        self.forget_of_the_parent();
        match self.reserved {
            Some(_) => {
                Err(Error::new(ErrorKind::Busy, "room is reserved already: commit or abort it"))
            }
            None => Ok(()),
        }
    }

    fn check_unclaimed(&mut self) -> Result<()> {
        self.forget_of_the_parent();
        match self.claimed {
            Some(_) => Err(Error::new(ErrorKind::Busy, "something is claimed already: release it")),
            None => Ok(()),
        }
    }
}

fn not_owner(text: &str) -> Error {
    Error::new(ErrorKind::NotOwner, text)
}

/// Sets the defaults: 65536 bytes of messages.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_ring_options_init(options: *mut mpshm_ring_options_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        unsafe { put(options, DEFAULTS, "options") }
    })
}

/// Bytes that such a ring needs in a segment of ordinary pages. `options` may be NULL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_ring_size_for(
    options: *const mpshm_ring_options_t,
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

/// Makes a ring; `options` may be NULL. Place and errors as mpshm_value_create(); ESYSTEM without membarrier(2).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_ring_create(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    options: *const mpshm_ring_options_t,
    ring: *mut *mut mpshm_ring_t,
) -> c_int {
    call(|| {
        check_out(ring, "ring")?;
        // SAFETY: the caller's pointers.
        unsafe {
            let (options, item) = read(options)?;
            let place = place(segment, name, true)?;
            let core = Core::create(place, |page| options.shape(item, page), item)?;
            hand_out(ring, handle(&core));
        }
        Ok(())
    })
}

/// Opens a ring, whose items must be as `options` say (NULL: messages) in size, alignment and type code; capacity and flags
/// are its own. Errors as mpshm_value_open().
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_ring_open(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    options: *const mpshm_ring_options_t,
    ring: *mut *mut mpshm_ring_t,
) -> c_int {
    call(|| {
        check_out(ring, "ring")?;
        // SAFETY: the caller's pointers.
        unsafe {
            let (_, item) = read(options)?;
            hand_out(ring, handle(&Core::open(place(segment, name, false)?, item)?));
        }
        Ok(())
    })
}

/// Opens a ring, or makes it; of several who do so at once, one makes it.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_ring_open_or_create(
    segment: *const mpshm_segment_t,
    name: *const c_char,
    options: *const mpshm_ring_options_t,
    ring: *mut *mut mpshm_ring_t,
) -> c_int {
    call(|| {
        check_out(ring, "ring")?;
        // SAFETY: the caller's pointers.
        unsafe {
            let (options, item) = read(options)?;
            let core = place(segment, name, false)?.open_or_create(
                |place| Core::open(place, item),
                |place| Core::create(place, |page| options.shape(item, page), item),
            )?;
            hand_out(ring, handle(&core));
        }
        Ok(())
    })
}

/// Another handle of the same ring, for another thread. It is neither producer nor consumer yet.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_ring_clone(
    ring: *const mpshm_ring_t,
    other: *mut *mut mpshm_ring_t,
) -> c_int {
    call(|| {
        check_out(other, "other")?;
        // SAFETY: the caller's pointers.
        unsafe { hand_out(other, handle(given(ring, "ring")?.core())) };
        Ok(())
    })
}

/// Closes the handle; NULL is a no-op. It is no longer the ring's producer or consumer, which others may become then; what it has
/// reserved is given up, what it has claimed is delivered again. To end the stream for both sides, see mpshm_ring_shutdown().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mpshm_ring_close(ring: *mut mpshm_ring_t) {
    // SAFETY: the caller's handle.
    unsafe { free(ring) }
}

/// Checks that an item has the ring's size.
fn check_item(core: &Core, length: usize) -> Result<()> {
    let size = core.shape.plan.size as usize;
    if size == 0 || length == size {
        return Ok(());
    }
    Err(invalid(format!("an item of {length} bytes in a ring of items of {size}")))
}

/// One item, or one message.
fn push(writer: &mut WriteEnd, data: &[u8]) -> std::result::Result<(), Failure> {
    if writer.core.is_framed() {
        let count = writer.core.bytes_of(data.len());
        // SAFETY: there is room for the record.
        return writer.try_write(count, |place| unsafe { write_message(place, data) });
    }
    // SAFETY: there is room for an item.
    writer.try_write(data.len() as u64, |place| unsafe {
        place.copy_from_nonoverlapping(data.as_ptr(), data.len());
    })
}

/// Pushes a copy of `length` bytes (for a ring of items: exactly an item's), waiting for room at most
/// `timeout_ns`. Visible to the consumer on return.
/// Errors: EFULL (time-out 0), ETIMEDOUT, ECLOSED, EPEERDEAD (full, the consumer died, and the ring follows its ends),
/// ETOOBIG (a message longer than the capacity), EINVAL (not an item's length), EBUSY (somebody else is the producer,
/// or room is reserved), EINTERRUPTED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_ring_push(
    ring: *mut mpshm_ring_t,
    data: *const c_void,
    length: usize,
    timeout_ns: i64,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        let (ring, data) = unsafe { (given_mut(ring, "ring")?, bytes(data, length)?) };
        check_item(ring.core(), length)?;
        ring.check_unreserved()?;
        let deadline = (timeout_ns != 0).then(|| deadline(timeout_ns)).transpose()?;
        let count = ring.core().bytes_of(if ring.core().is_framed() { length } else { 1 });
        let pushed = ring.writer.wait_if(count, deadline, |writer| push(writer, data));
        pushed.map_err(|failure| refused(failure, true, deadline.is_some()))
    })
}

/// Pops the oldest item or message into `buffer` of `size` bytes, waiting for one at most `timeout_ns`; `*length`, unless
/// that is NULL, gets its length. What the buffer is too short for stays: ETOOBIG.
/// Errors: EEMPTY (time-out 0), ETIMEDOUT, ECLOSED (shut down and drained), EPEERDEAD (drained, the producer died, and the
/// ring follows its ends), EBUSY (somebody else is the consumer, or something is claimed), EINTERRUPTED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_ring_pop(
    ring: *mut mpshm_ring_t,
    buffer: *mut c_void,
    size: usize,
    timeout_ns: i64,
    length: *mut usize,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        let count = unsafe { pop(given_mut(ring, "ring")?, buffer, size, timeout_ns) }?;
        if !length.is_null() {
            // SAFETY: the caller's pointer.
            unsafe { length.write_unaligned(count) };
        }
        Ok(())
    })
}

/// # Safety
/// `buffer` is NULL or has `size` bytes.
unsafe fn pop(
    ring: &mut mpshm_ring_t,
    buffer: *mut c_void,
    size: usize,
    timeout_ns: i64,
) -> Result<usize> {
    if buffer.is_null() && size != 0 {
        return Err(invalid(format!("a buffer of {size} bytes at NULL")));
    }
    ring.check_unclaimed()?;
    let framed = ring.core().is_framed();
    let waits = timeout_ns != 0;
    let deadline = deadline(timeout_ns)?;
    let copy = |reader: &mut ReadEnd| {
        reader.try_read(|place, count| {
            // SAFETY: so many bytes can be read there, and the buffer has `size`.
            unsafe { copy_out(place, count, framed, buffer.cast(), size) }
        })
    };
    let popped = if waits { ring.reader.wait(deadline, copy) } else { copy(&mut ring.reader) };
    popped.map_err(|failure| refused(failure, false, waits))
}

/// Pushes copies of `count` items that lie one behind the other at `data`, in their order, waiting for room at most
/// `timeout_ns`; those that find room at a time become visible at once. In a ring of messages, `lengths` has the bytes of
/// each (EINVAL without); else it is NULL (EINVAL with). `*pushed`, unless that is NULL, gets how many were pushed, also when
/// it fails: ETIMEDOUT, ECLOSED, EPEERDEAD, ETOOBIG (those before it are pushed), EINTERRUPTED, or EFULL where the ring was
/// made so. With a time-out of 0 as many are pushed as fit; EFULL when none does. EBUSY as mpshm_ring_push().
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_ring_push_many(
    ring: *mut mpshm_ring_t,
    data: *const c_void,
    lengths: *const usize,
    count: usize,
    timeout_ns: i64,
    pushed: *mut usize,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers; `lengths` has `count` numbers, and `data` the bytes that they say.
        let (ring, mut items) = unsafe {
            let ring = given_mut(ring, "ring")?;
            let size = ring.core().shape.plan.size as usize;
            let items = super::queue_batch::items(size, data, lengths, count)?;
            (ring, items)
        };
        ring.check_unreserved()?;
        let waits = timeout_ns != 0;
        let until = deadline(timeout_ns)?;
        let mut done = 0;
        let mut outcome = Ok(());
        while done < count && outcome.is_ok() {
            let deadline = waits.then_some(until);
            match ring.writer.write_many(items.clone(), deadline) {
                Ok(some) => {
                    done += some;
                    items.by_ref().take(some).for_each(drop);
                }
                Err(failure) if !waits && done > 0 && failure.is_full() => break,
                Err(failure) => outcome = Err(refused(failure, true, waits)),
            }
        }
        if !pushed.is_null() {
            // SAFETY: the caller's pointer.
            unsafe { pushed.write_unaligned(done) };
        }
        outcome
    })
}

/// Pops up to `most` items into `buffer` of `size` bytes, one behind the other, as many as there are and fit, waiting
/// for the first one at most `timeout_ns`. `lengths`, unless that is NULL, gets the bytes of each (it has room for
/// `most`), and `*popped` how many there are: 0 only if `most` is. Errors as mpshm_ring_pop(), and then none was popped.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_ring_pop_many(
    ring: *mut mpshm_ring_t,
    buffer: *mut c_void,
    size: usize,
    most: usize,
    timeout_ns: i64,
    lengths: *mut usize,
    popped: *mut usize,
) -> c_int {
    call(|| {
        check_out(popped, "popped")?;
        // SAFETY: the caller's pointer.
        let ring = unsafe { given_mut(ring, "ring") }?;
        let (mut done, mut at) = (0, 0);
        while done < most {
            let timeout = if done == 0 { timeout_ns } else { 0 };
            let room = buffer.cast::<u8>().wrapping_add(at).cast();
            // SAFETY: the caller's buffer, of which `at` bytes are used.
            let length = match unsafe { pop(ring, room, size - at, timeout) } {
                Ok(length) => length,
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            };
            if !lengths.is_null() {
                // SAFETY: the caller's pointer, with room for `most`.
                unsafe { lengths.add(done).write_unaligned(length) };
            }
            done += 1;
            at += length;
        }
        // SAFETY: checked above.
        unsafe { put(popped, done, "popped") }
    })
}

/// Reserves contiguous room for `count` items, or for one message of up to `count` bytes, at `*data`, aligned as items are,
/// messages to 8 bytes; once for each handle. Then mpshm_ring_commit() or mpshm_ring_abort(). Waits at most `timeout_ns`
/// until there is room for all.
/// Errors: EFULL (time-out 0), ETIMEDOUT, ECLOSED, EPEERDEAD, ETOOBIG (more than the capacity; of items of a ring that
/// overwrites, more than one), EBUSY (somebody else is the producer, or room is reserved), EINTERRUPTED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_ring_reserve(
    ring: *mut mpshm_ring_t,
    count: usize,
    timeout_ns: i64,
    data: *mut *mut c_void,
) -> c_int {
    call(|| {
        check_out(data, "data")?;
        // SAFETY: the caller's pointer.
        let ring = unsafe { given_mut(ring, "ring") }?;
        ring.check_unreserved()?;
        let deadline = (timeout_ns != 0).then(|| deadline(timeout_ns)).transpose()?;
        let bytes = ring.core().bytes_of(count);
        let room = ring.writer.room_for_one(bytes, deadline);
        room.map_err(|failure| refused(failure, true, deadline.is_some()))?;
        ring.reserved = Some(count);
        // SAFETY: checked above.
        unsafe { put(data, ring.writer.first().cast(), "data") }
    })
}

/// Pushes the first `count` items of what was reserved, or its first `count` bytes as one message: visible to the
/// consumer on return, all at once; the rest is given up. 0 items are none, a message of 0 bytes is one. Errors: ECLOSED (and
/// nothing is reserved any more), ETOOBIG (more than was reserved, which it still is), ENOTOWNER (nothing is reserved),
/// EFORKED (it is the parent's).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_ring_commit(ring: *mut mpshm_ring_t, count: usize) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let ring = unsafe { given_mut(ring, "ring") }?;
        let room = ring.room()?;
        if count > room {
            let text = format!("a commit of {count}, {room} were reserved");
            return Err(Error::new(ErrorKind::TooBig, text));
        }
        ring.reserved = None;
        ring.writer.commit_items(count).map_err(|failure| refused(failure, true, false))
    })
}

/// Gives what was reserved up; nothing is pushed. Errors: ENOTOWNER (nothing is reserved), EFORKED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_ring_abort(ring: *mut mpshm_ring_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let ring = unsafe { given_mut(ring, "ring") }?;
        ring.room()?;
        ring.reserved = None;
        Ok(())
    })
}

/// Claims up to `most` items, or the oldest message, to be read in place: `*count` items, or bytes, contiguous at
/// `*data`, aligned as for mpshm_ring_reserve(); once for each handle. Then mpshm_ring_release() or mpshm_ring_give_back(). If this
/// process dies with the claim, it is delivered again. Waits for the first item at most `timeout_ns`. What had been handed out
/// before comes apart from what is new. Errors as mpshm_ring_pop() but ETOOBIG; EINVAL (`most` is 0; a ring that overwrites).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_ring_claim(
    ring: *mut mpshm_ring_t,
    most: usize,
    timeout_ns: i64,
    data: *mut *const c_void,
    count: *mut usize,
) -> c_int {
    call(|| {
        check_out(data, "data")?;
        check_out(count, "count")?;
        // SAFETY: the caller's pointer.
        let ring = unsafe { given_mut(ring, "ring") }?;
        ring.check_unclaimed()?;
        let until: Option<Deadline> =
            (timeout_ns != 0).then(|| deadline(timeout_ns)).transpose()?;
        let claimed = if ring.core().is_framed() && most > 0 {
            ring.reader.front_message(until, true)
        } else {
            let size = ring.core().shape.plan.size;
            ring.reader.claim_items(size.into(), most, until)
        };
        let claimed = claimed.map_err(|failure| refused(failure, false, until.is_some()))?;
        ring.claimed = Some(claimed);
        // SAFETY: checked above.
        unsafe {
            put(data, claimed.start.cast(), "data")?;
            put(count, claimed.count, "count")
        }
    })
}

/// How often what is claimed has been handed out, this time included: 1 is the ordinary case. Never too few; of items that were
/// once handed out together with others there may be fewer, for the ring keeps one number for all that was. Errors: ENOTOWNER (nothing is claimed), EFORKED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_ring_deliveries(
    ring: *const mpshm_ring_t,
    deliveries: *mut u64,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe { put(deliveries, given(ring, "ring")?.claim()?.deliveries, "deliveries") }
    })
}

/// Ends the claim: its first `count` items are consumed, the others come next, as if this claim of them had not been. Of a
/// message, `count` is its length. Errors: ENOTOWNER (nothing is claimed), ETOOBIG (more than is claimed), EINVAL (a part
/// of a message), EFORKED; the claim stays then.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_ring_release(ring: *mut mpshm_ring_t, count: usize) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let ring = unsafe { given_mut(ring, "ring") }?;
        let claimed = ring.claim()?;
        if count > claimed.count {
            let text = format!("a release of {count}, {} are claimed", claimed.count);
            return Err(Error::new(ErrorKind::TooBig, text));
        }
        let all = count == claimed.count;
        if !all && ring.core().is_framed() {
            let text = format!("a release of {count} of {} bytes of a message", claimed.count);
            return Err(invalid(text));
        }
        ring.claimed = None;
        ring.reader.consume(if all { claimed.bytes } else { ring.core().bytes_of(count) });
        if !all || claimed.deliveries > 1 {
            ring.reader.unclaim(claimed.deliveries);
        }
        Ok(())
    })
}

/// Ends the claim: what was claimed stays in the ring, and is delivered again, marked. Errors: ENOTOWNER (nothing is claimed),
/// EFORKED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_ring_give_back(ring: *mut mpshm_ring_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let ring = unsafe { given_mut(ring, "ring") }?;
        ring.claim()?;
        ring.claimed = None;
        ring.reader.give_back();
        Ok(())
    })
}

/// Ends the stream for both sides, and wakes them: pushes and commits say ECLOSED, pops too once everything has been taken.
/// By anybody, also twice.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_ring_shutdown(ring: *const mpshm_ring_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        unsafe { given(ring, "ring") }?.core().close()
    })
}

/// Whether the ring was shut down.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_ring_is_shut_down(
    ring: *const mpshm_ring_t,
    shut_down: *mut bool,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe { put(shut_down, given(ring, "ring")?.core().is_closed(), "shut_down") }
    })
}

/// Items, or messages, in the ring: exact when nobody else acts, else true at some moment of the call. What is claimed counts
/// until it is released. Messages are counted one by one.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_ring_length(ring: *const mpshm_ring_t, length: *mut u64) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe { put(length, given(ring, "ring")?.core().len()?, "length") }
    })
}

/// Items, or bytes of messages, as was asked for when the ring was made.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_ring_capacity(
    ring: *const mpshm_ring_t,
    capacity: *mut u64,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe { put(capacity, given(ring, "ring")?.core().shape.plan.capacity, "capacity") }
    })
}

/// Sets `*counters`, whose struct_size the caller has set. In a ring of messages `pushed` and `popped` are the bytes that they
/// take, and `popped` has those that were overwritten as well; the others are messages. What is claimed is popped when it
/// is released, and redelivered when it is claimed again.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_ring_counters(
    ring: *const mpshm_ring_t,
    counters: *mut mpshm_queue_counters_t,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        let (ring, into) = unsafe { (given(ring, "ring")?, given_mut(counters, "counters")?) };
        check_size::<mpshm_queue_counters_t>(into.struct_size)?;
        into.set(ring.core().counters()?);
        Ok(())
    })
}
