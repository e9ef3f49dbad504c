//! A ring as it lies in a segment: header, then the bytes.
//!
//! | part | bytes | what |
//! |---|---|---|
//! | [`Header`] | 768 | the plan (written once), tail, head, events, roles, tallies: a line each |
//! | | less than a page | so that the bytes begin on a page |
//! | bytes | whole pages | the records, mapped twice by everybody who has the ring open |
//!
//! Everything follows from the plan; opening recomputes it and compares the size.

use crate::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::header::LINE;
use crate::layout::offset::{Region, Shared};
use crate::queue::plan::{Delivery, WhenFull};
use crate::queue::shape::Line;
use crate::wait::eventcount::EventCount;

/// The most bytes of a ring.
const BYTES_MAX: u64 = 1 << 40;
/// In front of a message: its length, in a word.
pub(crate) const PREFIX: u64 = 8;

/// What the reader writes.
#[repr(C, align(128))]
pub(crate) struct ReaderLine {
    pub head: AtomicU64,
    /// Up to where bytes were handed out in place, and how often.
    pub claimed: AtomicU64,
    pub times: AtomicU64,
    /// Up to where the reader has bytes in its hands: nothing is between the head and here when it has none.
    pub held: AtomicU64,
}

/// The line that both sides read and seldom write.
#[repr(C, align(128))]
pub(crate) struct Events {
    /// The reader sleeps here; the flag says that the ring is closing.
    pub items: EventCount,
    /// The writer sleeps here.
    pub space: EventCount,
    /// The end of the stream plus one; 0 = open, or not decided.
    pub end: AtomicU64,
}

/// Who writes and who reads: see [`role`](super::role). By who takes it, and by who leaves.
#[repr(C, align(128))]
pub(crate) struct Roles {
    pub writer: AtomicU64,
    pub reader: AtomicU64,
}

/// What happened, for whoever asks; `overwritten` by the writer, the others by whom they happen to.
#[repr(C, align(128))]
pub(crate) struct Tallies {
    pub overwritten: AtomicU64,
    pub redelivered: AtomicU64,
    pub dropped: AtomicU64,
    pub waits: AtomicU64,
    pub repairs: AtomicU64,
}

/// The first bytes of a ring.
#[repr(C, align(128))]
pub(crate) struct Header {
    /// 1. The plan is written once, before the ring is visible.
    form: AtomicU32,
    /// Bits 0 and 1: when full, 0 wait, 1 fail, 2 overwrite. Bit 2: at least once. Bit 3: follows its ends.
    policies: AtomicU32,
    /// Bytes of an item; 0 = messages.
    size: AtomicU32,
    align: AtomicU32,
    capacity: AtomicU64,
    /// From the header to the bytes.
    offset: AtomicU64,
    /// What the bytes are a multiple of.
    page: AtomicU64,
    pub tail: Line,
    pub reader: ReaderLine,
    pub events: Events,
    pub roles: Roles,
    pub tallies: Tallies,
}
// SAFETY: atomics only; padding is never read.
unsafe impl Shared for Header {}

const FULL: [WhenFull; 3] = [WhenFull::Wait, WhenFull::Fail, WhenFull::Overwrite];
const AT_LEAST_ONCE: u32 = 4;
const FOLLOWS: u32 = 8;

/// The numbers that a ring's layout follows from, and its policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Bytes and alignment of an item; 0 = messages.
    pub size: u32,
    pub align: u32,
    /// Items; of messages, bytes.
    pub capacity: u64,
    pub full: WhenFull,
    pub delivery: Delivery,
    /// The stream ends when one of its ends does.
    pub follows: bool,
    pub page: u64,
}

/// The plan with what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub plan: Plan,
    /// Bytes of records that the ring holds.
    pub limit: u64,
    /// The same and the longest record, in a ring that overwrites.
    pub whole: u64,
    /// Bytes of the storage, whole pages.
    pub bytes: u64,
    /// The object's, the way to a page's beginning included.
    pub total: u64,
}

/// Bytes of a message's record: its length, itself, and what makes that a multiple of eight.
#[inline]
pub(crate) fn record(length: u64) -> u64 {
    PREFIX + length.next_multiple_of(8)
}

impl Plan {
    pub(crate) fn shape(self) -> Result<Shape> {
        let most = BYTES_MAX / u64::from(self.size.max(1));
        if !(1..=most).contains(&self.capacity) {
            let what = if self.size == 0 { "bytes of messages" } else { "items" };
            return Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "the capacity of a ring: 1 to {most} {what} are possible, {} were asked for",
                    self.capacity
                ),
            ));
        }
        let (limit, longest) = match u64::from(self.size) {
            0 => (record(self.capacity), record(self.capacity)),
            size => (self.capacity * size, size),
        };
        let whole = if self.full == WhenFull::Overwrite { limit + longest } else { limit };
        let bytes = whole.next_multiple_of(self.page);
        let total = size_of::<Header>() as u64 + self.page - LINE as u64 + bytes;
        Ok(Shape { plan: self, limit, whole, bytes, total })
    }
}

impl Header {
    fn write(&self, plan: &Plan, offset: u64) {
        let full = match plan.full {
            WhenFull::Wait => 0,
            WhenFull::Fail => 1,
            WhenFull::Overwrite => 2,
        };
        let policies = full
            | (u32::from(plan.delivery == Delivery::AtLeastOnce) * AT_LEAST_ONCE)
            | (u32::from(plan.follows) * FOLLOWS);
        self.form.store(1, Ordering::Relaxed);
        self.policies.store(policies, Ordering::Relaxed);
        self.size.store(plan.size, Ordering::Relaxed);
        self.align.store(plan.align, Ordering::Relaxed);
        self.capacity.store(plan.capacity, Ordering::Relaxed);
        self.offset.store(offset, Ordering::Relaxed);
        self.page.store(plan.page, Ordering::Relaxed);
    }

    /// The plan as it stands there, and where the bytes begin; `None` when it is none.
    fn read(&self) -> Option<(Plan, u64)> {
        let policies = self.policies.load(Ordering::Relaxed);
        if self.form.load(Ordering::Relaxed) != 1 || policies >> 4 != 0 {
            return None;
        }
        let plan = Plan {
            size: self.size.load(Ordering::Relaxed),
            align: self.align.load(Ordering::Relaxed),
            capacity: self.capacity.load(Ordering::Relaxed),
            full: *FULL.get((policies & 3) as usize)?,
            delivery: if policies & AT_LEAST_ONCE != 0 {
                Delivery::AtLeastOnce
            } else {
                Delivery::AtMostOnce
            },
            follows: policies & FOLLOWS != 0,
            page: self.page.load(Ordering::Relaxed),
        };
        let sound = plan.page.is_power_of_two() && plan.page <= 1 << 34;
        sound.then_some((plan, self.offset.load(Ordering::Relaxed)))
    }
}

/// Writes the plan into zeroed bytes.
pub(crate) fn begin(region: Region, shape: Shape) -> Result<()> {
    let header: &Header = region.one(0)?;
    let start = region.start() as usize;
    // A segment is mapped from a page's beginning on, so addresses tell of offsets in it.
    let bytes = (start + size_of::<Header>()).next_multiple_of(shape.plan.page as usize);
    let offset = (bytes - start) as u64;
    region.slice(offset, shape.bytes)?;
    header.write(&shape.plan, offset);
    Ok(())
}

/// Reads the plan of a ring that exists, and checks it against the bytes there are; says where the records begin.
pub(crate) fn open(region: Region) -> Result<(&'static Header, Shape, Region)> {
    let header: &'static Header = region.one(0)?;
    let found = header.read();
    let sound = found.and_then(|(plan, offset)| {
        let shape = plan.shape().ok().filter(|shape| shape.total == region.length() as u64)?;
        let bytes = region.slice(offset, shape.bytes).ok()?;
        let aligned = bytes.start() as u64 % plan.page == 0;
        (aligned && offset >= size_of::<Header>() as u64).then_some((header, shape, bytes))
    });
    sound.ok_or_else(|| {
        Error::new(
            ErrorKind::Corrupt,
            format!("the ring's plan ({found:?}) does not fit its {} bytes", region.length()),
        )
    })
}
