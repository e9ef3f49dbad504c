//! Queues: many items at a time; the end of all work; what has happened.

use crate::error::Result;
use crate::ffi::queue::{eight, mpshm_queue_t, pop, present, refused};
use crate::ffi::{call, check_out, check_size, deadline, given, given_mut, invalid, put};
use crate::queue::Counters;
use std::ffi::{c_int, c_void};
use std::marker::PhantomData;

/// Pushes copies of `count` items that lie one behind the other at `data`, in their order, waiting for room at most
/// `timeout_ns`. In a queue of messages, `lengths` has the bytes of each (EINVAL without); else it is NULL (EINVAL with).
/// `*pushed`, unless that is NULL, gets how many were pushed, also when it fails: ETIMEDOUT, ECLOSED, ETOOBIG (those before it
/// are pushed), EINTERRUPTED, or EFULL where the queue was made so. With a time-out of 0 as many are pushed as fit; EFULL
/// when none does.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_queue_push_many(
    queue: *mut mpshm_queue_t,
    data: *const c_void,
    lengths: *const usize,
    count: usize,
    timeout_ns: i64,
    pushed: *mut usize,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers; `lengths` has `count` numbers, and `data` the bytes that they say.
        let (queue, mut items) = unsafe {
            let queue = given_mut(queue, "queue")?;
            (&*queue, items(queue.item_size, data, lengths, count)?)
        };
        present(queue)?;
        let waits = timeout_ns != 0;
        let deadline = deadline(timeout_ns)?;
        let mut done = 0;
        let mut outcome = Ok(());
        while done < count && outcome.is_ok() {
            let some = || {
                let rest = items.clone();
                if queue.core.in_slots() {
                    queue.core.try_push_items(rest.map(eight))
                } else {
                    queue.core.try_push_many(rest)
                }
            };
            let some = if waits {
                queue.core.wait_push(deadline, some)
            } else {
                queue.core.or_repaired(some(), some)
            };
            match some {
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

/// Items of C's that lie one behind the other.
#[derive(Clone)]
pub(super) struct Items<'a> {
    data: *const u8,
    /// The bytes of each; NULL when all have `size`.
    lengths: *const usize,
    size: usize,
    left: usize,
    bytes: PhantomData<&'a [u8]>,
}

/// # Safety
/// As `mpshm_queue_push_many` asks of its caller.
pub(super) unsafe fn items<'a>(
    size: usize,
    data: *const c_void,
    lengths: *const usize,
    count: usize,
) -> Result<Items<'a>> {
    if (size == 0) == lengths.is_null() && count > 0 {
        return Err(invalid(
            "lengths are given for messages, and only for those: its items are of one size, or lengths is NULL",
        ));
    }
    let total = if lengths.is_null() {
        size.checked_mul(count)
    } else {
        // SAFETY: the caller's word.
        let length = |index| unsafe { lengths.add(index).read_unaligned() };
        (0..count).try_fold(0usize, |total, index| total.checked_add(length(index)))
    };
    let Some(total) = total.filter(|&total| total <= isize::MAX as usize) else {
        return Err(invalid(format!("{count} items that do not fit the address space")));
    };
    if data.is_null() && total > 0 {
        return Err(invalid("items at NULL"));
    }
    Ok(Items { data: data.cast(), lengths, size, left: count, bytes: PhantomData })
}

impl<'a> Iterator for Items<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let mut length = self.size;
        if !self.lengths.is_null() {
            // SAFETY: the caller of `items` has given as many lengths as items. They were added up then: whoever changes
            // them meanwhile changes what the caller promised.
            unsafe {
                length = self.lengths.read_unaligned();
                self.lengths = self.lengths.add(1);
            }
        }
        if length == 0 {
            return Some(&[]);
        }
        // SAFETY: the caller of `items` has promised the bytes of all items; they fit the address space.
        unsafe {
            let item = std::slice::from_raw_parts(self.data, length);
            self.data = self.data.add(length);
            Some(item)
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// Pops up to `most` items into `buffer` of `size` bytes, one behind the other, as many as there are and fit, waiting
/// for the first one at most `timeout_ns`. `lengths`, unless that is NULL, gets the bytes of each (it has room for
/// `most`), and `*popped` how many there are: 0 only if `most` is. A message that does not fit any more goes back, as by
/// mpshm_queue_give_back(). Errors as mpshm_queue_pop(), and then none was popped.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_queue_pop_many(
    queue: *mut mpshm_queue_t,
    buffer: *mut c_void,
    size: usize,
    most: usize,
    timeout_ns: i64,
    lengths: *mut usize,
    popped: *mut usize,
) -> c_int {
    call(|| {
        check_out(popped, "popped")?;
        let mut done = 0;
        let mut at = 0;
        while done < most {
            let mut length = 0;
            let room = buffer.cast::<u8>().wrapping_add(at).cast();
            let timeout = if done == 0 { timeout_ns } else { 0 };
            // SAFETY: the caller's pointers, of which `at` bytes are used.
            let one = unsafe { pop(queue, room, size - at, timeout) };
            match one {
                Ok(count) => length += count,
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
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

/// Says that the oldest item which this handle has popped, and which is not done, is done. What is claimed is done
/// when it is released. What a handle is closed with, or a process dies with, and is not done, is delivered again. EINVAL when
/// there is none, or the queue is not joinable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_queue_task_done(queue: *mut mpshm_queue_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        unsafe { given_mut(queue, "queue") }?.core.task_done()
    })
}

/// Waits at most `timeout_ns` until every item is done. What a dead consumer had comes again first. Errors: ETIMEDOUT (also
/// of a time-out of 0), EINTERRUPTED, EINVAL when the queue is not joinable.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_queue_join(queue: *const mpshm_queue_t, timeout_ns: i64) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let queue = unsafe { given(queue, "queue") }?;
        queue.core.join(deadline(timeout_ns)?).map_err(|failure| failure.pop().into())
    })
}

/// What has happened in a queue or a ring since it was made. Set by mpshm_queue_counters() and mpshm_ring_counters().
#[repr(C)]
pub struct mpshm_queue_counters_t {
    /// Bytes of this struct, set by the caller; EINVAL when that is another number.
    pub struct_size: usize,
    /// Items that were put in.
    pub pushed: u64,
    /// Items that consumers took out, each counted once, however often it was delivered.
    pub popped: u64,
    /// Items that were pushed out by newer ones.
    pub overwritten: u64,
    /// How often an item went back to be delivered again, by the death of its consumer or by its will.
    pub redelivered: u64,
    /// Items, of those popped, that were dropped because their consumer died.
    pub dropped: u64,
    /// Calls that went to sleep.
    pub waits: u64,
    /// Dead participants that had something, and were repaired after.
    pub repairs: u64,
}

/// Sets `*counters`, whose struct_size the caller has set.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_queue_counters(
    queue: *const mpshm_queue_t,
    counters: *mut mpshm_queue_counters_t,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        let (queue, into) = unsafe { (given(queue, "queue")?, given_mut(counters, "counters")?) };
        check_size::<mpshm_queue_counters_t>(into.struct_size)?;
        into.set(queue.core.counters()?);
        Ok(())
    })
}

impl mpshm_queue_counters_t {
    pub(super) fn set(&mut self, now: Counters) {
        self.pushed = now.pushed;
        self.popped = now.popped;
        self.overwritten = now.overwritten;
        self.redelivered = now.redelivered;
        self.dropped = now.dropped;
        self.waits = now.waits;
        self.repairs = now.repairs;
    }
}
