//! How a queue is made.

use crate::error::Result;
use crate::ffi::{MPSHM_BYTES, check_flags, check_size, invalid, item};
use crate::layout::plain::TypeTag;
use crate::queue::{Delivery, QueueOptions, WhenFull};

/// How a queue is made, or which one is expected. Set by mpshm_queue_options_init(), then changed.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct mpshm_queue_options_t {
    /// Bytes of this struct, as mpshm_queue_options_init() sets it.
    pub struct_size: usize,
    /// MPSHM_QUEUE_ flags, or 0.
    pub flags: u64,
    /// Items that the queue holds at most, exactly: 1 to 2^26; 1024 by default.
    pub capacity: u64,
    /// Bytes of an item; 0, the default, for messages of 0 to message_max bytes. Items of up to 8 bytes
    /// travel in slots: faster, but not in place, and lost with a consumer that dies just as it takes one. Not so with
    /// MPSHM_QUEUE_AT_LEAST_ONCE or MPSHM_QUEUE_JOINABLE: then they lie in blocks, as longer ones do.
    pub item_size: usize,
    /// Alignment of an item, a power of two up to 128 that divides item_size; 0 = the largest one up to 8.
    /// Rust's side has to agree: give `_Alignof` of the type.
    pub item_align: usize,
    /// Bytes of the longest message, at most 2^31; 4096 by default.
    pub message_max: u64,
    /// MPSHM_BYTES, a scalar's code (item_size and item_align may then be 0), or a number from 256 on that
    /// tells the user's types apart, those of messages too.
    pub type_code: u32,
    /// Alignment of messages in place, a power of two up to 128; 16 by default.
    pub message_align: u32,
    /// Blocks that a process may hold (reserved or claimed) without taking from the capacity, 1 to 1024; 4 by default.
    pub leases: u32,
    /// More than 0: the queue ends with its producers, once so many have come in all. It is shut down when the last one
    /// (mpshm_queue_producer()) is closed; pops say EPEERDEAD when the last one to be missed had died.
    pub producers: u32,
    /// Blocks of several sizes for messages, in ascending order; a size of 0 blocks ends the list. None, the default:
    /// one size, for messages of up to message_max bytes. Else message_max is the largest one's, a message lies in a
    /// block of the least size that it fits into and that has one free, and when all of them are taken (reserved, queued or
    /// claimed) the queue is full for it, whatever its capacity.
    pub blocks: [mpshm_queue_blocks_t; 8],
}

/// So many blocks for messages of up to so many bytes.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct mpshm_queue_blocks_t {
    /// Bytes of the longest message.
    pub bytes: u64,
    /// Number of blocks.
    pub count: u64,
}

/// Pushes into a full queue, reserves and commits fail with EFULL at once, also where they would wait.
pub const MPSHM_QUEUE_FULL_FAILS: u64 = 1;
/// A push into a full queue takes the oldest item out, which is counted; what is claimed is not taken from its consumer.
pub const MPSHM_QUEUE_FULL_OVERWRITES: u64 = 2;
/// What a consumer had claimed, or was just popping, when it died is delivered again: the default of all that lies in blocks.
/// Items of up to 8 bytes do then.
pub const MPSHM_QUEUE_AT_LEAST_ONCE: u64 = 4;
/// What a consumer had claimed, or was just popping, when it died is dropped.
pub const MPSHM_QUEUE_AT_MOST_ONCE: u64 = 8;
/// Items are unfinished until mpshm_queue_task_done(), and come again if their consumer dies before; mpshm_queue_join() waits
/// until none is unfinished.
pub const MPSHM_QUEUE_JOINABLE: u64 = 16;

pub(super) const DEFAULTS: mpshm_queue_options_t = mpshm_queue_options_t {
    struct_size: size_of::<mpshm_queue_options_t>(),
    flags: 0,
    capacity: 1024,
    item_size: 0,
    item_align: 0,
    message_max: 4096,
    type_code: MPSHM_BYTES,
    message_align: 16,
    leases: 4,
    producers: 0,
    blocks: [mpshm_queue_blocks_t { bytes: 0, count: 0 }; 8],
};

/// # Safety
/// `options` is NULL or valid.
pub(super) unsafe fn read(
    options: *const mpshm_queue_options_t,
) -> Result<(QueueOptions, TypeTag)> {
    // SAFETY: the caller's word.
    let options = unsafe { options.as_ref() }.unwrap_or(&DEFAULTS);
    check_size::<mpshm_queue_options_t>(options.struct_size)?;
    check_flags(options.flags, 31)?;
    let has = |flag: u64| options.flags & flag != 0;
    for (one, other) in [
        (MPSHM_QUEUE_FULL_FAILS, MPSHM_QUEUE_FULL_OVERWRITES),
        (MPSHM_QUEUE_AT_LEAST_ONCE, MPSHM_QUEUE_AT_MOST_ONCE),
    ] {
        if has(one) && has(other) {
            return Err(invalid(format!(
                "the flags {one} and {other} of a queue exclude each other"
            )));
        }
    }
    let scalar = (1..12).contains(&options.type_code);
    let align = match (options.item_size, options.item_align) {
        (0, _) if !scalar => 1,
        (size, 0) if !scalar => 1 << size.trailing_zeros().min(3),
        (_, align) => align,
    };
    let item = item(options.type_code, options.item_size, align)?;
    let mut read = QueueOptions::new(options.capacity)
        .message_max(options.message_max)
        .align(options.message_align)
        .leases(options.leases);
    if options.producers != 0 {
        read = read.follow_producers(options.producers);
    }
    for blocks in options.blocks.iter().take_while(|blocks| blocks.count != 0) {
        read = read.blocks(blocks.bytes, blocks.count);
    }
    if has(MPSHM_QUEUE_FULL_FAILS) {
        read = read.when_full(WhenFull::Fail);
    }
    if has(MPSHM_QUEUE_FULL_OVERWRITES) {
        read = read.when_full(WhenFull::Overwrite);
    }
    if has(MPSHM_QUEUE_AT_LEAST_ONCE) {
        read = read.delivery(Delivery::AtLeastOnce);
    }
    if has(MPSHM_QUEUE_AT_MOST_ONCE) {
        read = read.delivery(Delivery::AtMostOnce);
    }
    if has(MPSHM_QUEUE_JOINABLE) {
        read = read.joinable();
    }
    Ok((read, item))
}
