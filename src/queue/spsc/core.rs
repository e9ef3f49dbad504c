//! A ring that is open, and the records in it.

use crate::atomic::{AtomicU64, Ordering};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::plain::TypeTag;
use crate::os::barrier;
use crate::os::fork;
use crate::os::mirror::Mirror;
use crate::queue::core::{Counters, tally};
use crate::queue::error::Failure;
use crate::queue::plan::WhenFull;
use crate::queue::ring::Refusal;
use crate::queue::spsc::cursors::Cursors;
use crate::queue::spsc::role;
use crate::queue::spsc::shape::{self, Header, PREFIX, Shape, record};
use crate::segment::directory::ObjectKind;
use crate::segment::participant::Me;
use crate::segment::place::{Object, Place, Plan as ObjectPlan};
use std::sync::Arc;

pub(super) type Done<T> = std::result::Result<T, Failure>;

/// More bytes than any ring has.
const BEYOND: u64 = 1 << 48;

/// A ring that is open: what both ends, and who only looks on, have.
#[derive(Clone)]
pub(crate) struct Core {
    pub header: &'static Header,
    pub shape: Shape,
    pub object: Object,
    mirror: Arc<Mirror>,
}

impl Core {
    pub(crate) fn create(
        place: Place<'_>,
        shape: impl Fn(u64) -> Result<Shape>,
        item: TypeTag,
    ) -> Result<Self> {
        let shape = shape(place.page_size())?;
        let plan = ObjectPlan { kind: ObjectKind::Ring, item, length: shape.total };
        Self::over(place.create(plan, |region| shape::begin(region, shape))?, item)
    }

    pub(crate) fn open(place: Place<'_>, item: TypeTag) -> Result<Self> {
        Self::over(place.open(ObjectKind::Ring, item)?, item)
    }

    fn over(object: Object, item: TypeTag) -> Result<Self> {
        let (header, shape, bytes) = shape::open(object.region)?;
        let plan = &shape.plan;
        if plan.size != item.size || plan.align != item.align {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("the ring's plan ({plan:?}) is not one for items of {item}"),
            ));
        }
        let mirror = Arc::new(object.segment.mirror(bytes)?);
        Ok(Self { header, shape, object, mirror })
    }

    #[inline]
    pub(crate) fn cursors(&self) -> Cursors<'_> {
        let header = self.header;
        Cursors {
            tail: &header.tail.0,
            head: &header.reader.head,
            claimed: &header.reader.claimed,
            times: &header.reader.times,
            held: &header.reader.held,
            end: &header.events.end,
            items: &header.events.items,
            space: &header.events.space,
            limit: self.shape.limit,
            whole: self.shape.whole,
        }
    }

    /// The byte at a position; what follows up to the size of the storage is contiguous.
    #[inline]
    pub(super) fn at(&self, position: u64) -> *mut u8 {
        // SAFETY: less than the length of the first copy.
        unsafe { self.mirror.start().add((position % self.shape.bytes) as usize) }
    }

    /// Whether the ring holds messages, each behind its length.
    #[inline]
    pub(crate) fn is_framed(&self) -> bool {
        self.shape.plan.size == 0
    }

    /// Bytes that `count` items take, or a message of `count` bytes with its length.
    #[inline]
    pub(crate) fn bytes_of(&self, count: usize) -> u64 {
        match self.shape.plan.size {
            0 => record((count as u64).min(BEYOND)),
            size => (count as u64).saturating_mul(size.into()),
        }
    }

    /// Whether a record may begin at a position; then it is aligned.
    pub(super) fn is_sound(&self, position: u64) -> bool {
        let grain = match self.shape.plan.size {
            0 => PREFIX,
            size => size.into(),
        };
        position % grain == 0
    }

    /// Where position 0 would be, so that `position`, and what follows up to the size of the storage, is as far behind
    /// it as its number says. An address to reckon with, not to go to.
    #[cold]
    pub(super) fn base(&self, position: u64) -> *mut u8 {
        self.at(position).wrapping_sub(position as usize)
    }

    /// The same, where `base` was right for an earlier position.
    #[inline]
    pub(super) fn rebase(&self, base: *mut u8, position: u64) -> *mut u8 {
        let place = base.wrapping_add(position as usize) as usize;
        let first_copy =
            place.wrapping_sub(self.mirror.start() as usize) < self.shape.bytes as usize;
        if first_copy { base } else { self.base(position) }
    }

    #[inline]
    pub(crate) fn overwrites(&self) -> bool {
        self.shape.plan.full == WhenFull::Overwrite
    }

    /// Bytes of the record at `position`, of which `available` can be read; `None` when that is impossible.
    pub(super) fn record_at(&self, position: u64, available: u64) -> Option<u64> {
        // SAFETY: where the position lies.
        unsafe { self.record_in(self.at(position), available) }
    }

    /// The same for the record at `place`.
    ///
    /// # Safety
    /// `place` is that of a position in the storage.
    #[inline]
    pub(super) unsafe fn record_in(&self, place: *const u8, available: u64) -> Option<u64> {
        let size = match self.shape.plan.size {
            0 => {
                if place.addr() as u64 % PREFIX != 0 {
                    return None;
                }
                // SAFETY: eight bytes, aligned, inside the storage.
                let length = unsafe { (*place.cast::<AtomicU64>()).load(Ordering::Relaxed) };
                if length > available {
                    return None;
                }
                record(length)
            }
            size => size.into(),
        };
        (size <= available).then_some(size)
    }

    pub(crate) fn close(&self) -> Result<()> {
        barrier::register(fork::generation())?;
        self.cursors().close();
        for event in [&self.header.events.items, &self.header.events.space] {
            event.notify(u32::MAX);
        }
        Ok(())
    }

    /// Whether the ring has been closed. The end is decided then: what is pushed later is refused.
    pub(crate) fn is_closed(&self) -> bool {
        let closing = self.cursors().is_closing();
        if closing && barrier::register(fork::generation()).is_ok() {
            self.cursors().end();
        }
        closing
    }

    /// Bytes of records in the ring.
    pub(crate) fn used(&self) -> Result<u64> {
        let (head, tail) = self.span()?;
        Ok((tail - head).min(self.shape.limit))
    }

    /// Head and tail as they were at one moment.
    pub(crate) fn span(&self) -> Result<(u64, u64)> {
        barrier::register(fork::generation())?;
        self.cursors().span().map_err(|_| corrupt())
    }

    /// Items in the ring. Messages are counted by a walk, again when somebody took one meanwhile.
    pub(crate) fn len(&self) -> Result<u64> {
        if let Some(items) = self.used()?.checked_div(self.shape.plan.size.into()) {
            return Ok(items);
        }
        loop {
            let (head, tail) = self.span()?;
            let (mut at, mut count) = (head, 0);
            while at < tail {
                let Some(length) = self.record_at(at, tail - at) else { break };
                at += length;
                count += 1;
            }
            // Between two equal looks at the head nobody wrote over what was walked over.
            std::sync::atomic::fence(Ordering::Acquire);
            if self.header.reader.head.load(Ordering::Acquire) == head {
                return if at == tail { Ok(count) } else { Err(corrupt()) };
            }
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        let least = match self.shape.plan.size {
            0 => PREFIX,
            size => size.into(),
        };
        self.used().is_ok_and(|used| used + least > self.shape.limit)
    }

    pub(crate) fn counters(&self) -> Result<Counters> {
        let (head, tail) = self.span()?;
        let each = u64::from(self.shape.plan.size).max(1);
        let tallies = &self.header.tallies;
        let read = |tally: &AtomicU64| tally.load(Ordering::Relaxed);
        let overwritten = read(&tallies.overwritten);
        // What was dropped had been taken out.
        let gone = if self.is_framed() { 0 } else { overwritten };
        Ok(Counters {
            pushed: tail / each,
            popped: (head / each).saturating_sub(gone),
            overwritten,
            redelivered: read(&tallies.redelivered),
            dropped: read(&tallies.dropped),
            waits: read(&tallies.waits),
            repairs: read(&tallies.repairs),
        })
    }

    /// Takes a role for this process.
    pub(super) fn take(&self, role: &AtomicU64, what: &str) -> Result<(Me, bool)> {
        barrier::register(fork::generation())?;
        let me = self.object.segment.me()?;
        let from_the_dead = role::take(role, me, &self.object.segment.table()?, what)?;
        tally(&self.header.tallies.repairs, u64::from(from_the_dead));
        Ok((me, from_the_dead))
    }

    pub(super) fn leave(&self, role: &AtomicU64, me: Me) {
        if self.shape.plan.follows {
            // In vain for want of barriers only, without which nobody has a role.
            let _ = self.close();
        }
        role::leave(role, me);
    }
}

pub(super) fn corrupt() -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "the ring's cursors or records contradict each other: expected head <= tail <= head + capacity, found others",
    )
}

pub(super) fn failure(refusal: Refusal) -> Failure {
    match refusal {
        Refusal::Corrupt => Failure::Failed(corrupt()),
        other => Failure::Refused(other),
    }
}

/// Writes a message's record: its length, and its bytes behind that.
///
/// # Safety
/// There is room for it at `place`.
#[inline]
pub(crate) unsafe fn write_message(place: *mut u8, message: &[u8]) {
    // SAFETY: as the caller says; records are aligned to eight.
    unsafe {
        place.cast::<u64>().write(message.len() as u64);
        let bytes = place.add(PREFIX as usize);
        bytes.copy_from_nonoverlapping(message.as_ptr(), message.len());
    }
}

/// The bytes of the message in a record of `count` bytes.
///
/// # Safety
/// So many bytes can be read at `place`.
#[inline]
pub(crate) unsafe fn message(place: *const u8, count: u64) -> Done<(*const u8, usize)> {
    // SAFETY: as the caller says. The length may have changed since it was checked: it is checked again.
    let length = unsafe { place.cast::<u64>().read_volatile() };
    if length > count - PREFIX {
        return Err(Failure::Failed(corrupt()));
    }
    // SAFETY: behind the prefix.
    Ok((unsafe { place.add(PREFIX as usize) }, length as usize))
}

/// Copies the message, or the item, in a record of `count` bytes into a buffer, unless that is too short.
///
/// # Safety
/// So many bytes can be read at `place`, and `size` written at `buffer`.
#[inline]
pub(crate) unsafe fn copy_out(
    place: *const u8,
    count: u64,
    framed: bool,
    buffer: *mut u8,
    size: usize,
) -> Done<usize> {
    let (bytes, length) = match framed {
        // SAFETY: as the caller says.
        true => unsafe { message(place, count) }?,
        false => (place, count as usize),
    };
    if length > size {
        return Err(Failure::Failed(Error::new(
            ErrorKind::TooBig,
            format!("the message has {length} bytes, the buffer {size}"),
        )));
    }
    // SAFETY: so many can be read, and written.
    unsafe { bytes.copy_to_nonoverlapping(buffer, length) };
    Ok(length)
}
