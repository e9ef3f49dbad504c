//! A queue as it lies in a segment: header, holders, slots, blocks.
//!
//! | part | bytes | what |
//! |---|---|---|
//! | [`Header`] | 512 | the plan (written once), tail, head, events: a line each |
//! | holders | 8 a participant | which generation of each slot may have left marks here |
//! | slots | 8 or 16 an item | the ring |
//! | blocks | stride × blocks | head and payload; none where items travel in the slots |
//!
//! Everything follows from the plan's five numbers; opening recomputes it and compares the size.

use crate::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::block::{self, Block, Blocks};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::header::LINE;
use crate::layout::offset::{Region, Shared};
use crate::queue::ring::{self, CAPACITY_MAX};
use crate::queue::slot;
use crate::wait::eventcount::EventCount;

/// The longest message, in bytes.
pub(crate) const MESSAGE_MAX: u64 = 1 << 31;

/// A word on a line of its own.
#[repr(C, align(128))]
pub(crate) struct Line(pub AtomicU64);

/// The line that pushers and poppers read and seldom write.
#[repr(C, align(128))]
pub(crate) struct Events {
    /// Consumers sleep here.
    pub items: EventCount,
    /// Producers sleep here.
    pub space: EventCount,
    /// Moves on whenever items may have been given back.
    pub returned: AtomicU64,
}

/// The first bytes of a queue.
#[repr(C, align(128))]
pub(crate) struct Header {
    /// 1 = blocks, 2 = items in the slots. The plan is written once, before the queue is visible.
    form: AtomicU32,
    participants: AtomicU32,
    capacity: AtomicU64,
    message_max: AtomicU64,
    align: AtomicU32,
    leases: AtomicU32,
    /// Hint: where the next item goes. By producers, after the fact.
    pub tail: Line,
    /// Hint: where the oldest item is. By consumers, after the fact.
    pub head: Line,
    pub events: Events,
}
// SAFETY: atomics only; padding is never read.
unsafe impl Shared for Header {}

/// The numbers that a queue's layout follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub in_slots: bool,
    pub participants: u32,
    pub capacity: u64,
    /// Bytes of the longest message.
    pub message_max: u64,
    /// Alignment of a payload.
    pub align: u32,
    /// Blocks that a participant may hold at one time without taking from the capacity.
    pub leases: u32,
}

/// The plan with what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub plan: Plan,
    pub blocks: u32,
    /// Of a position's index, and of a block's number in a slot.
    pub index_bits: u32,
    pub item_bits: u32,
    holders: u64,
    slots: u64,
    first_block: u64,
    /// From a block to its payload, and from a block to the next.
    payload: u64,
    stride: u64,
    pub total: u64,
}

impl Plan {
    pub(crate) fn shape(self) -> Result<Shape> {
        let out_of_range = |what: &str, least: u64, most: u64, found: u64| {
            Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "{what} of a queue: {least} to {most} are possible, {found} were asked for"
                ),
            ))
        };
        if self.capacity == 0 || self.capacity > CAPACITY_MAX {
            return out_of_range("capacity", 1, CAPACITY_MAX, self.capacity);
        }
        if self.message_max > MESSAGE_MAX {
            return out_of_range("bytes in a message", 0, MESSAGE_MAX, self.message_max);
        }
        if !self.align.is_power_of_two() || self.align > LINE as u32 {
            return out_of_range("alignment (a power of two)", 1, LINE as u64, self.align.into());
        }
        if self.leases == 0 || self.leases > 1024 {
            return out_of_range("leases", 1, 1024, self.leases.into());
        }
        let spare = u64::from(self.participants) * u64::from(self.leases);
        let blocks = if self.in_slots { 0 } else { self.capacity + spare };
        let slot = if self.in_slots { 16 } else { 8 };
        let payload = u64::from(self.align).max(block::HEAD as u64);
        // Neighbours share no 64-byte line, and payloads keep their alignment.
        let stride = (payload + self.message_max).next_multiple_of(u64::from(self.align).max(64));
        let line = LINE as u64;
        let holders = size_of::<Header>() as u64;
        let slots = (holders + 8 * u64::from(self.participants)).next_multiple_of(line);
        let first_block = (slots + slot * self.capacity).next_multiple_of(line);
        let total = blocks.checked_mul(stride).and_then(|bytes| bytes.checked_add(first_block));
        match total {
            Some(total) if total < 1 << 46 => Ok(Shape {
                plan: self,
                blocks: blocks as u32,
                index_bits: ring::index_bits(self.capacity as u32),
                item_bits: slot::item_bits(blocks as u32),
                holders,
                slots,
                first_block,
                payload,
                stride,
                total,
            }),
            _ => Err(Error::new(
                ErrorKind::NoSpace,
                format!(
                    "no space for a queue of {blocks} blocks of {stride} bytes: they overflow the address space"
                ),
            )),
        }
    }
}

/// A queue's parts in a mapping.
///
/// The references live as long as the mapping; whoever holds `Parts` holds the segment too and lets no
/// reference out of its own life.
#[derive(Clone, Copy)]
pub(crate) struct Parts {
    pub header: &'static Header,
    pub holders: &'static [AtomicU64],
    region: Region,
    slots: u64,
    pub blocks: Table,
    pub shape: Shape,
}

// SAFETY: pointers into a mapping that is shared between processes anyway; what lies there is
// accessed as atomics, or by the owner of a block.
unsafe impl Send for Parts {}

/// The blocks in a mapping.
#[derive(Clone, Copy)]
pub(crate) struct Table {
    start: *mut u8,
    stride: usize,
    payload: usize,
    count: u32,
}

impl Blocks for Table {
    #[inline]
    fn count(&self) -> u32 {
        self.count
    }

    #[inline]
    fn get(&self, index: u32) -> Option<&Block> {
        // SAFETY: `count` blocks of `stride` bytes lie in the mapping from `start` on, each aligned to
        // 64; `Block` is made of atomics.
        (index < self.count)
            .then(|| unsafe { &*self.start.add(index as usize * self.stride).cast() })
    }
}

impl Table {
    /// The payload of a block that exists.
    #[inline]
    pub(crate) fn payload(&self, index: u32) -> *mut u8 {
        assert!(index < self.count, "block {index} of {}", self.count);
        // SAFETY: as in `get`; the payload lies inside the stride.
        unsafe { self.start.add(index as usize * self.stride + self.payload) }
    }
}

impl Parts {
    /// Writes the plan and the first hints of slots into zeroed bytes.
    pub(crate) fn begin(region: Region, shape: Shape) -> Result<()> {
        let header: &Header = region.one(0)?;
        let plan = shape.plan;
        header.form.store(if plan.in_slots { 2 } else { 1 }, Ordering::Relaxed);
        header.participants.store(plan.participants, Ordering::Relaxed);
        header.capacity.store(plan.capacity, Ordering::Relaxed);
        header.message_max.store(plan.message_max, Ordering::Relaxed);
        header.align.store(plan.align, Ordering::Relaxed);
        header.leases.store(plan.leases, Ordering::Relaxed);
        if !plan.in_slots {
            let slots = region.array::<AtomicU64>(shape.slots, plan.capacity as usize)?;
            for (index, slot) in (0u64..).zip(slots) {
                slot.store(index << 2, Ordering::Relaxed); // waiting in lap 0; block `index` is free
            }
        }
        Ok(())
    }

    /// Reads the plan of a queue that exists, and checks it against the bytes there are.
    pub(crate) fn open(region: Region, participants: u32) -> Result<Self> {
        let header: &'static Header = region.one(0)?;
        let form = header.form.load(Ordering::Relaxed);
        let plan = Plan {
            in_slots: form == 2,
            participants: header.participants.load(Ordering::Relaxed),
            capacity: header.capacity.load(Ordering::Relaxed),
            message_max: header.message_max.load(Ordering::Relaxed),
            align: header.align.load(Ordering::Relaxed),
            leases: header.leases.load(Ordering::Relaxed),
        };
        let shape = plan.shape().ok().filter(|shape| {
            (form == 1 || form == 2)
                && plan.participants == participants
                && shape.total == region.length() as u64
        });
        let Some(shape) = shape else {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "the queue's plan ({plan:?}, form {form}) does not fit its {} bytes and {participants} participants",
                    region.length()
                ),
            ));
        };
        let blocks = region.slice(shape.first_block, u64::from(shape.blocks) * shape.stride)?;
        Ok(Self {
            header,
            holders: region.array(shape.holders, plan.participants as usize)?,
            region,
            slots: shape.slots,
            blocks: Table {
                start: blocks.start(),
                stride: shape.stride as usize,
                payload: shape.payload as usize,
                count: shape.blocks,
            },
            shape,
        })
    }

    /// The slots as `T`s: `AtomicU64` for blocks, `AtomicU128` for items.
    #[inline]
    pub(crate) fn slots<T: Shared>(&self) -> &[T] {
        let expected = if self.shape.plan.in_slots { 16 } else { 8 };
        assert!(size_of::<T>() == expected);
        // SAFETY: `open` checked that `capacity` slots of this size lie at `slots`; the offset is a
        // multiple of a line.
        unsafe {
            std::slice::from_raw_parts(
                self.region.start().add(self.slots as usize).cast(),
                self.shape.plan.capacity as usize,
            )
        }
    }
}
