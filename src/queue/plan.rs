//! What a queue is asked to be, and the layout that follows.

use crate::block;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::header::LINE;
use crate::queue::ring::{self, CAPACITY_MAX};
use crate::queue::shape::Header;
use crate::queue::slot;

/// The longest message, in bytes.
pub(crate) const MESSAGE_MAX: u64 = 1 << 31;
/// The most sizes of blocks in one queue.
pub(crate) const CLASSES_MAX: usize = 8;
/// The most blocks of one queue.
const BLOCKS_MAX: u64 = 1 << 28;

/// What a push does when there is no room.
///
/// ```
/// use mpshm::{Queue, QueueOptions, WhenFull};
/// let newest = Queue::<u64>::with_options(&QueueOptions::new(2).when_full(WhenFull::Overwrite))?;
/// for n in 1..=5 {
///     newest.push(n)?;
/// }
/// assert_eq!((newest.pop()?, newest.pop()?), (4, 5));
/// assert_eq!(newest.counters().overwritten, 3);
/// # Ok::<(), mpshm::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenFull {
    /// Wait for room, as long as the call allows.
    #[default]
    Wait,
    /// Say `Full` at once, also in the calls that would wait.
    Fail,
    /// Take the oldest item out, and count it as overwritten. A push waits then only while consumers hold
    /// every block.
    Overwrite,
}

/// What becomes of an item whose consumer dies while it has it.
///
/// ```
/// use mpshm::{Delivery, Queue, QueueOptions};
/// let options = QueueOptions::new(10).delivery(Delivery::AtLeastOnce);
/// let queue = Queue::<u32>::with_options(&options)?;
/// queue.push(7)?;
/// queue.claim()?.give_back();
/// let again = queue.claim()?;
/// assert_eq!((again.deliveries(), again.read::<u32>()?), (2, 7));
/// # Ok::<(), mpshm::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Delivery {
    /// It is gone with it. The default for items of up to 8 bytes, which then travel in the ring's slots: the
    /// fastest form.
    AtMostOnce,
    /// It comes again, marked, and may come late. The default for larger items and messages. Items
    /// of up to 8 bytes lie in blocks then, as larger ones do.
    AtLeastOnce,
}

/// So many blocks of so many bytes of payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Class {
    pub bytes: u32,
    pub count: u32,
}

/// The numbers that a queue's layout follows from, and its policies.
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
    /// Sizes of blocks, ascending; none chosen: one size that follows from the rest.
    pub classes: [Class; CLASSES_MAX],
    pub full: WhenFull,
    pub delivery: Delivery,
    /// Items count as unfinished until their consumer says that they are done.
    pub joinable: bool,
    /// The queue ends with its producers, once so many have come; 0 = it does not.
    pub producers: u32,
}

/// The blocks of one size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The number of the first one.
    pub first: u32,
    pub count: u32,
    /// Where it lies, from the first block of all on, and how far it is to the next.
    pub offset: u64,
    pub stride: u64,
    /// Bytes of payload.
    pub room: u32,
}

/// The plan with what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub plan: Plan,
    pub blocks: u32,
    /// Sizes of blocks in use, at the front.
    pub extents: [Extent; CLASSES_MAX],
    pub sizes: usize,
    /// Of a position's index, and of a block's number in a slot.
    pub index_bits: u32,
    pub item_bits: u32,
    /// Of the lines that slots are spread over.
    pub line_bits: u32,
    /// Whether blocks can run out before the ring is full, by what the options ask for.
    pub tight: bool,
    pub holders: u64,
    pub ends: u64,
    pub slots: u64,
    pub first_block: u64,
    pub block_bytes: u64,
    /// From a block to its payload.
    pub payload: u64,
    pub total: u64,
}

fn out_of_range(what: &str, least: u64, most: u64, found: u64) -> Error {
    Error::new(
        ErrorKind::Invalid,
        format!("{what} of a queue: {least} to {most} are possible, {found} were asked for"),
    )
}

fn no_space(blocks: u64) -> Error {
    Error::new(
        ErrorKind::NoSpace,
        format!("no space for a queue of {blocks} blocks: they overflow the address space"),
    )
}

impl Plan {
    fn check(&self) -> Result<()> {
        let range = |what, least, most, found| {
            if (least..=most).contains(&found) {
                Ok(())
            } else {
                Err(out_of_range(what, least, most, found))
            }
        };
        range("capacity", 1, CAPACITY_MAX, self.capacity)?;
        range("bytes in a message", 0, MESSAGE_MAX, self.message_max)?;
        if !self.align.is_power_of_two() || self.align > LINE as u32 {
            let found = self.align.into();
            return Err(out_of_range("alignment (a power of two)", 1, LINE as u64, found));
        }
        range("leases", 1, 1024, self.leases.into())?;
        range("producers to wait for", 0, 1 << 16, self.producers.into())?;
        let mut least = 0;
        for class in self.chosen() {
            range("bytes of the next larger blocks", least, MESSAGE_MAX, class.bytes.into())?;
            range("blocks of one size", 1, BLOCKS_MAX, class.count.into())?;
            least = u64::from(class.bytes) + 1;
        }
        // Options never ask for what follows, but a damaged segment may: a message that is longer than every block,
        // and items in slots that are given back.
        match self.chosen().last() {
            Some(largest) if u64::from(largest.bytes) != self.message_max => {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!(
                        "messages of {} bytes in a queue whose largest blocks have {}",
                        self.message_max, largest.bytes
                    ),
                ));
            }
            _ => {}
        }
        if self.in_slots && (self.joinable || self.delivery == Delivery::AtLeastOnce) {
            return Err(Error::new(
                ErrorKind::Invalid,
                "a queue with items in its slots: those are delivered at most once, and cannot be joined",
            ));
        }
        Ok(())
    }

    fn chosen(&self) -> impl Iterator<Item = &Class> {
        self.classes.iter().take_while(|class| **class != Class::default())
    }

    pub(crate) fn shape(self) -> Result<Shape> {
        self.check()?;
        let line = LINE as u64;
        let payload = u64::from(self.align).max(block::HEAD as u64);
        let mut extents = [Extent::default(); CLASSES_MAX];
        let (mut blocks, mut bytes, mut sizes) = (0u64, 0u64, 0);
        let mut add = |room: u64, count: u64| {
            // Neighbours share no 64-byte line, and payloads keep their alignment.
            let stride = (payload + room).next_multiple_of(u64::from(self.align).max(64));
            if blocks + count > BLOCKS_MAX {
                return Err(no_space(blocks + count));
            }
            extents[sizes] = Extent {
                first: blocks as u32,
                count: count as u32,
                offset: bytes,
                stride,
                room: room as u32,
            };
            blocks += count;
            bytes = stride
                .checked_mul(count)
                .and_then(|more| bytes.checked_add(more))
                .ok_or_else(|| no_space(blocks))?;
            sizes += 1;
            Ok(())
        };
        let classes = self.chosen().count() > 0;
        if classes {
            for class in self.chosen() {
                add(class.bytes.into(), class.count.into())?;
            }
        } else if !self.in_slots {
            let spare = u64::from(self.participants) * u64::from(self.leases);
            add(self.message_max, self.capacity + spare)?;
        }
        let slot = if self.in_slots { 16 } else { 8 };
        let holders = size_of::<Header>() as u64;
        let ends = holders + 8 * u64::from(self.participants);
        let slots = (ends + 8 * u64::from(self.participants)).next_multiple_of(line);
        let first_block = (slots + slot * self.capacity).next_multiple_of(line);
        let total = first_block.checked_add(bytes).filter(|&total| total < 1 << 46);
        Ok(Shape {
            plan: self,
            blocks: blocks as u32,
            extents,
            sizes,
            index_bits: ring::index_bits(self.capacity as u32),
            item_bits: slot::item_bits(blocks as u32),
            line_bits: slot::line_bits(self.capacity, self.message_max),
            tight: classes || self.joinable,
            holders,
            ends,
            slots,
            first_block,
            block_bytes: bytes,
            payload,
            total: total.ok_or_else(|| no_space(blocks))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages() -> Plan {
        Plan {
            in_slots: false,
            participants: 4,
            capacity: 8,
            message_max: 200,
            align: 16,
            leases: 1,
            classes: [Class::default(); CLASSES_MAX],
            full: WhenFull::Wait,
            delivery: Delivery::AtLeastOnce,
            joinable: false,
            producers: 0,
        }
    }

    #[test]
    fn the_longest_message_is_as_long_as_the_largest_blocks() {
        let mut plan = messages();
        plan.classes[0] = Class { bytes: 20, count: 3 };
        plan.classes[1] = Class { bytes: 200, count: 2 };
        assert_eq!(plan.shape().unwrap().extents[1].room, 200);
        for wrong in [0, 20, 199, 201, MESSAGE_MAX] {
            assert!(Plan { message_max: wrong, ..plan }.shape().is_err(), "{wrong}");
        }
    }

    #[test]
    fn items_in_slots_are_neither_joined_nor_given_back() {
        let slots = Plan {
            in_slots: true,
            message_max: 8,
            align: 8,
            delivery: Delivery::AtMostOnce,
            ..messages()
        };
        assert!(slots.shape().is_ok());
        assert!(Plan { joinable: true, ..slots }.shape().is_err());
        assert!(Plan { delivery: Delivery::AtLeastOnce, ..slots }.shape().is_err());
    }
}
