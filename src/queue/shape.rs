//! A queue as it lies in a segment: header, holders, slots, blocks.
//!
//! | part | bytes | what |
//! |---|---|---|
//! | [`Header`] | 640 | the plan (written once), tail, head, events, tallies: a line each |
//! | holders | 8 a participant | which generation of each slot may have left marks here |
//! | ends | 8 a participant | producer ends that came, and that are here: see [`ends`](super::ends) |
//! | slots | 8 or 16 an item | the ring |
//! | blocks | stride × blocks, class by class | head and payload; none where items travel in the slots |
//!
//! Everything follows from the plan; opening recomputes it and compares the size.

use crate::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::block::{Block, Blocks};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::offset::{Region, Shared};
use crate::os::cpu::{self, CACHE_LINE};
use crate::queue::plan::{CLASSES_MAX, Class, Delivery, Extent, Plan, Shape, WhenFull};
use crate::wait::eventcount::EventCount;
use std::ops::Range;

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
    /// Who waits for the end of all work sleeps here.
    pub done: EventCount,
    /// Moves on whenever items may have been given back.
    pub returned: AtomicU64,
}

/// What happened, for whoever asks: counted by who did it, on paths that are seldom gone.
#[repr(C, align(128))]
pub(crate) struct Tallies {
    pub overwritten: AtomicU64,
    pub redelivered: AtomicU64,
    pub dropped: AtomicU64,
    pub waits: AtomicU64,
    pub repairs: AtomicU64,
}

/// The first bytes of a queue.
#[repr(C, align(128))]
pub(crate) struct Header {
    /// 1 = blocks, 2 = items in the slots. The plan is written once, before the queue is visible.
    form: AtomicU32,
    /// Bits 0 and 1: when full, 0 wait, 1 fail, 2 overwrite. Bit 2: at least once. Bit 3: joinable.
    policies: AtomicU32,
    participants: AtomicU32,
    align: AtomicU32,
    leases: AtomicU32,
    producers: AtomicU32,
    capacity: AtomicU64,
    message_max: AtomicU64,
    /// Bytes and number of the blocks of each size.
    classes: [[AtomicU32; 2]; CLASSES_MAX],
    /// Hint: where the next item goes. By producers, after the fact.
    pub tail: Line,
    /// Hint: where the oldest item is. By consumers, after the fact.
    pub head: Line,
    pub events: Events,
    pub tallies: Tallies,
}
// SAFETY: atomics only; padding is never read.
unsafe impl Shared for Header {}

const FULL: [WhenFull; 3] = [WhenFull::Wait, WhenFull::Fail, WhenFull::Overwrite];
const AT_LEAST_ONCE: u32 = 4;
const JOINABLE: u32 = 8;

impl Header {
    fn write(&self, plan: &Plan) {
        let full = match plan.full {
            WhenFull::Wait => 0,
            WhenFull::Fail => 1,
            WhenFull::Overwrite => 2,
        };
        let policies = full
            | (u32::from(plan.delivery == Delivery::AtLeastOnce) * AT_LEAST_ONCE)
            | (u32::from(plan.joinable) * JOINABLE);
        self.form.store(if plan.in_slots { 2 } else { 1 }, Ordering::Relaxed);
        self.policies.store(policies, Ordering::Relaxed);
        self.participants.store(plan.participants, Ordering::Relaxed);
        self.align.store(plan.align, Ordering::Relaxed);
        self.leases.store(plan.leases, Ordering::Relaxed);
        self.producers.store(plan.producers, Ordering::Relaxed);
        self.capacity.store(plan.capacity, Ordering::Relaxed);
        self.message_max.store(plan.message_max, Ordering::Relaxed);
        for (words, class) in self.classes.iter().zip(plan.classes) {
            words[0].store(class.bytes, Ordering::Relaxed);
            words[1].store(class.count, Ordering::Relaxed);
        }
    }

    /// The plan as it stands there; `None` when it is none.
    fn read(&self) -> Option<Plan> {
        let form = self.form.load(Ordering::Relaxed);
        let policies = self.policies.load(Ordering::Relaxed);
        let classes = std::array::from_fn(|index| Class {
            bytes: self.classes[index][0].load(Ordering::Relaxed),
            count: self.classes[index][1].load(Ordering::Relaxed),
        });
        if !(1..=2).contains(&form) || policies >> 4 != 0 {
            return None;
        }
        Some(Plan {
            in_slots: form == 2,
            participants: self.participants.load(Ordering::Relaxed),
            capacity: self.capacity.load(Ordering::Relaxed),
            message_max: self.message_max.load(Ordering::Relaxed),
            align: self.align.load(Ordering::Relaxed),
            leases: self.leases.load(Ordering::Relaxed),
            classes,
            full: *FULL.get((policies & 3) as usize)?,
            delivery: if policies & AT_LEAST_ONCE != 0 {
                Delivery::AtLeastOnce
            } else {
                Delivery::AtMostOnce
            },
            joinable: policies & JOINABLE != 0,
            producers: self.producers.load(Ordering::Relaxed),
        })
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
    pub ends: &'static [AtomicU64],
    region: Region,
    slots: u64,
    pub blocks: Table,
    pub shape: Shape,
}

// SAFETY: pointers into a mapping that is shared between processes anyway; what lies there is
// accessed as atomics, or by the owner of a block.
unsafe impl Send for Parts {}

/// Blocks with room for more bytes are not asked for ahead: it would be little of what they cost.
const FETCHED: u32 = 512;

/// The blocks in a mapping.
#[derive(Clone, Copy)]
pub(crate) struct Table {
    start: *mut u8,
    payload: usize,
    count: u32,
    sizes: usize,
    extents: [Extent; CLASSES_MAX],
}

impl Table {
    /// The blocks of `index`'s size; `None` when there is no such block.
    #[inline]
    fn extent(&self, index: u32) -> Option<&Extent> {
        let first = &self.extents[0];
        if index < first.count {
            return Some(first);
        }
        self.extents[..self.sizes]
            .iter()
            .find(|extent| index.wrapping_sub(extent.first) < extent.count)
    }

    #[inline]
    fn offset(extent: &Extent, index: u32) -> usize {
        (extent.offset + u64::from(index - extent.first) * extent.stride) as usize
    }

    /// The payload of a block that exists.
    #[inline]
    pub(crate) fn payload(&self, index: u32) -> *mut u8 {
        let Some(extent) = self.extent(index) else { panic!("block {index} of {}", self.count) };
        // SAFETY: `open` checked that every extent's blocks lie in the mapping from `start` on; the payload
        // lies inside the stride.
        unsafe { self.start.add(Self::offset(extent, index) + self.payload) }
    }

    /// Bytes that a block's payload has room for; 0 when there is no such block.
    #[inline]
    pub(crate) fn room(&self, index: u32) -> u32 {
        self.extent(index).map_or(0, |extent| extent.room)
    }
}

impl Blocks for Table {
    #[inline]
    fn count(&self) -> u32 {
        self.count
    }

    #[inline]
    fn get(&self, index: u32) -> Option<&Block> {
        let extent = self.extent(index)?;
        // SAFETY: as in `payload`; blocks are aligned to 64, and `Block` is made of atomics.
        Some(unsafe { &*self.start.add(Self::offset(extent, index)).cast() })
    }

    /// Its first lines come at once, and to be changed: else the look at the word would bring the first one to be read,
    /// its change would ask for it again, and whatever follows a change waits for that.
    #[inline]
    fn fetch(&self, index: u32) {
        if let Some(extent) = self.extent(index).filter(|extent| extent.room <= FETCHED) {
            let head = self.start.wrapping_add(Self::offset(extent, index));
            cpu::prefetch_to_write(head);
            cpu::prefetch_to_write(head.wrapping_add(CACHE_LINE as usize));
        }
    }

    #[inline]
    fn fitting(&self, length: u32) -> Range<u32> {
        let fits = |extent: &&Extent| extent.room >= length;
        let extent = self.extents[..self.sizes].iter().find(fits);
        // None fits: then no block at all is offered, for those behind an empty range are taken for larger ones.
        extent.map_or(self.count..self.count, |extent| extent.first..extent.first + extent.count)
    }
}

impl Parts {
    /// Writes the plan and the first hints of slots into zeroed bytes.
    pub(crate) fn begin(region: Region, shape: Shape) -> Result<()> {
        let header: &Header = region.one(0)?;
        let plan = shape.plan;
        header.write(&plan);
        if !plan.in_slots {
            let slots = region.array::<AtomicU64>(shape.slots, plan.capacity as usize)?;
            let blocks = u64::from(shape.blocks);
            for (index, slot) in (0u64..).zip(slots) {
                slot.store((index % blocks) << 2, Ordering::Relaxed); // waiting in lap 0, with a free block's name
            }
        }
        Ok(())
    }

    /// Reads the plan of a queue that exists, and checks it against the bytes there are.
    pub(crate) fn open(region: Region, participants: u32) -> Result<Self> {
        let header: &'static Header = region.one(0)?;
        let plan = header.read();
        let shape = plan.and_then(|plan| plan.shape().ok()).filter(|shape| {
            let blocks = shape.blocks > 0;
            blocks != shape.plan.in_slots
                && shape.plan.participants == participants
                && shape.total == region.length() as u64
        });
        let Some(shape) = shape else {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "the queue's plan ({plan:?}) does not fit its {} bytes and {participants} participants",
                    region.length()
                ),
            ));
        };
        let blocks = region.slice(shape.first_block, shape.block_bytes)?;
        Ok(Self {
            header,
            holders: region.array(shape.holders, shape.plan.participants as usize)?,
            ends: region.array(shape.ends, shape.plan.participants as usize)?,
            region,
            slots: shape.slots,
            blocks: Table {
                start: blocks.start(),
                payload: shape.payload as usize,
                count: shape.blocks,
                sizes: shape.sizes,
                extents: shape.extents,
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
