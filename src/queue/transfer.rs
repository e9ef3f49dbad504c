//! Items in and out of a queue: through blocks, or through the slots.

use crate::atomic::{Ordering, fence};
use crate::block::{Block, Blocks};
use crate::error::{Error, ErrorKind, Result};
use crate::os::clock::Deadline;
use crate::queue::core::{Core, tally};
use crate::queue::error::{Failure, corrupt};
use crate::queue::exchange::{Held, Reserved};
use crate::queue::plan::WhenFull;
use crate::queue::ring::{InSlots, Refusal};
use crate::wait::eventcount::EventCount;

impl Core {
    // ---- blocks: producers ----

    #[cold]
    fn overwrites(&self) -> bool {
        self.parts.shape.plan.full == WhenFull::Overwrite
    }

    /// How many items one push overwrites before it gives up: far more than honest peers can make it.
    fn patience(&self) -> u64 {
        10_000 + 256 * self.parts.shape.plan.capacity
    }

    /// A block of this process's own for `length` bytes, when the ring has room for it, or overwrites.
    #[inline]
    pub(crate) fn try_reserve(&self, length: usize) -> std::result::Result<Reserved, Failure> {
        self.check_length(length)?;
        let me = self.me()?;
        match self.exchange().try_reserve(me.slot, length as u32, &self.cursor) {
            Err(Refusal::Full) if self.overwrites() => self.reserve_over(me.slot, length as u32),
            other => Ok(other?),
        }
    }

    /// A block, if need be that of the oldest item, or of one that was given back.
    #[cold]
    fn reserve_over(&self, me: u32, length: u32) -> std::result::Result<Reserved, Failure> {
        let exchange = self.exchange();
        for _ in 0..self.patience() {
            match exchange.reserve_anyway(me, length, &self.cursor) {
                Err(Refusal::Full) => {}
                other => return Ok(other?),
            }
            let oldest =
                exchange.try_claim(me, &self.returned).map_err(|refusal| match refusal {
                    Refusal::Empty => Refusal::Full, // consumers hold every block
                    other => other,
                })?;
            // While it was ours, consumers may have freed another block.
            match exchange.reserve_anyway(me, length, &self.cursor) {
                Err(Refusal::Full) => self.overwritten(oldest),
                other => {
                    self.give_back(oldest);
                    return Ok(other?);
                }
            }
        }
        Err(corrupt().into())
    }

    fn overwritten(&self, oldest: Held) {
        self.free(oldest);
        tally(&self.parts.header.tallies.overwritten, 1);
    }

    pub(crate) fn reserve(
        &self,
        length: usize,
        deadline: Deadline,
    ) -> std::result::Result<Reserved, Failure> {
        self.wait_push(deadline, || self.try_reserve(length))
    }

    /// Puts a reserved block in: the item of `length` bytes is visible when this returns.
    #[inline]
    pub(crate) fn try_commit(
        &self,
        reserved: Reserved,
        length: u32,
    ) -> std::result::Result<(), Failure> {
        self.try_commit_quietly(reserved, length)?;
        self.items_event().notify(1);
        Ok(())
    }

    #[inline]
    fn try_commit_quietly(
        &self,
        reserved: Reserved,
        length: u32,
    ) -> std::result::Result<(), Failure> {
        self.head(reserved.held.block)?.set_length(length);
        match self.exchange().try_commit(reserved) {
            Err(Refusal::Full) if self.overwrites() => self.commit_over(reserved),
            other => Ok(other?),
        }
    }

    /// Puts a reserved block in where the oldest one is taken out. That one is freed only when the new one is in: who
    /// is killed in between has overwritten nothing, or has left an item that comes again.
    #[cold]
    fn commit_over(&self, reserved: Reserved) -> std::result::Result<(), Failure> {
        let me = self.me()?;
        let exchange = self.exchange();
        let mut oldest: Option<Held> = None;
        let mut patience = self.patience();
        let committed = loop {
            match exchange.try_commit(reserved) {
                Err(Refusal::Full) => {}
                other => break other,
            }
            match exchange.take_oldest_of_full(me.slot) {
                // Another producer took the room that the one before left.
                Ok(Some(held)) => {
                    if let Some(before) = oldest.replace(held) {
                        self.overwritten(before);
                    }
                }
                Ok(None) => {} // there may be room now
                Err(other) => break Err(other),
            }
            let Some(left) = patience.checked_sub(1) else { break Err(Refusal::Corrupt) };
            patience = left;
        };
        match (oldest, &committed) {
            (Some(oldest), Ok(())) => self.overwritten(oldest),
            (Some(oldest), Err(_)) => self.give_back(oldest),
            (None, _) => {}
        }
        Ok(committed?)
    }

    pub(crate) fn commit(
        &self,
        reserved: Reserved,
        length: u32,
        deadline: Deadline,
    ) -> std::result::Result<(), Failure> {
        self.wait_push(deadline, || self.try_commit(reserved, length))
    }

    /// Gives a reserved block back unused.
    pub(crate) fn abort(&self, held: Held) {
        self.free(held);
    }

    /// A block of ours is anybody's.
    #[inline]
    fn free(&self, held: Held) {
        if let Ok(head) = self.head(held.block) {
            head.free(held.word);
        }
        if self.parts.shape.tight {
            // Who waits for a block, or for the last one, announces itself and then looks at the words.
            fence(Ordering::SeqCst); // the event counts' E1, behind a change that is a plain store
        }
        self.space_event().notify(1);
    }

    /// Copies `bytes` in, or does nothing.
    #[inline]
    pub(crate) fn try_push(&self, bytes: &[u8]) -> std::result::Result<(), Failure> {
        self.try_push_quietly(bytes)?;
        self.items_event().notify(1);
        Ok(())
    }

    #[inline]
    fn try_push_quietly(&self, bytes: &[u8]) -> std::result::Result<(), Failure> {
        let reserved = self.try_reserve(bytes.len())?;
        // SAFETY: the block is ours, and its payload has room for `bytes.len()` bytes.
        unsafe {
            let payload = self.payload(reserved.held.block);
            payload.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        let committed = self.try_commit_quietly(reserved, bytes.len() as u32);
        if committed.is_err() {
            self.abort(reserved.held);
        }
        committed
    }

    /// Copies as many in as fit, in order; says how many, at least one unless it is refused.
    pub(crate) fn try_push_many<'b>(
        &self,
        items: impl Iterator<Item = &'b [u8]>,
    ) -> std::result::Result<usize, Failure> {
        self.many(self.items_event(), items, |bytes| self.try_push_quietly(bytes))
    }

    /// Does `each` until one is refused; then wakes as many as were done.
    fn many<I>(
        &self,
        event: &EventCount,
        items: impl Iterator<Item = I>,
        mut each: impl FnMut(I) -> std::result::Result<(), Failure>,
    ) -> std::result::Result<usize, Failure> {
        let mut done = 0;
        let mut refused = Ok(());
        for item in items {
            refused = each(item);
            if refused.is_err() {
                break;
            }
            done += 1;
        }
        event.notify(done as u32);
        match refused {
            Err(failure) if done == 0 => Err(failure),
            _ => Ok(done),
        }
    }

    pub(crate) fn push(
        &self,
        bytes: &[u8],
        deadline: Deadline,
    ) -> std::result::Result<(), Failure> {
        self.wait_push(deadline, || self.try_push(bytes))
    }

    #[inline]
    pub(crate) fn check_length(&self, length: usize) -> Result<()> {
        let most = self.parts.shape.plan.message_max;
        if length as u64 > most { Err(too_long(length, most)) } else { Ok(()) }
    }

    // ---- blocks: consumers ----

    /// The oldest item, its block now this process's own.
    #[inline]
    pub(crate) fn try_claim(&self) -> std::result::Result<Held, Failure> {
        let me = self.me()?;
        let held = self.exchange().try_claim(me.slot, &self.returned)?;
        self.space_event().notify(1);
        Ok(held)
    }

    /// Claims as many as there are, up to `most`; `each` gets them. Says how many, at least one unless it is refused.
    pub(crate) fn try_claim_many(
        &self,
        most: usize,
        mut each: impl FnMut(Held) -> Result<()>,
    ) -> std::result::Result<usize, Failure> {
        let me = self.me()?;
        self.many(self.space_event(), 0..self.at_once(most), |_| {
            let held = self.exchange().try_claim(me.slot, &self.returned)?;
            Ok(each(held)?)
        })
    }

    /// No more than can be in the queue at one moment: who pops all there are is not kept by one who pushes for ever.
    fn at_once(&self, most: usize) -> usize {
        let shape = &self.parts.shape;
        most.min(shape.plan.capacity as usize + shape.blocks as usize)
    }

    pub(crate) fn claim(&self, deadline: Deadline) -> std::result::Result<Held, Failure> {
        self.wait_pop(deadline, || self.try_claim())
    }

    /// Ends a claim: the item is consumed, and done.
    #[inline]
    pub(crate) fn release(&self, held: Held) {
        self.free(held);
        if self.parts.shape.plan.joinable {
            self.say_done();
        }
    }

    /// Ends a claim: the item goes back, for anybody to take, marked as redelivered.
    pub(crate) fn give_back(&self, held: Held) {
        self.exchange().give_back(held);
        tally(&self.parts.header.tallies.redelivered, 1);
        self.items_event().notify(1);
    }

    /// Bytes of a claimed item; a length that the block cannot have is an error.
    #[inline]
    pub(crate) fn length(&self, held: Held) -> Result<usize> {
        let length = self.head(held.block)?.length();
        let room = self.parts.blocks.room(held.block);
        if length > room {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("a message of {length} bytes in a queue's block of {room}"),
            ));
        }
        Ok(length as usize)
    }

    /// Copies a claimed item of exactly `into`'s length out, and consumes it.
    #[inline]
    pub(crate) fn copy_out(&self, held: Held, into: &mut [u8]) -> Result<()> {
        let length = self.length(held);
        if length.as_ref().is_ok_and(|&length| length == into.len()) {
            // SAFETY: the block is ours; its payload holds `length` bytes.
            unsafe {
                self.payload(held.block).copy_to_nonoverlapping(into.as_mut_ptr(), into.len());
            }
            self.consume(held);
            return Ok(());
        }
        self.release(held);
        Err(Error::new(
            ErrorKind::Corrupt,
            format!("an item of {} bytes in a queue of items of {}", length?, into.len()),
        ))
    }

    pub(crate) fn redelivered(&self, held: Held) -> u32 {
        self.head(held.block).map_or(0, Block::redelivered)
    }

    #[inline]
    pub(crate) fn payload(&self, block: u32) -> *mut u8 {
        self.parts.blocks.payload(block)
    }

    #[inline]
    pub(super) fn head(&self, block: u32) -> Result<&Block> {
        self.parts.blocks.get(block).ok_or_else(corrupt)
    }

    // ---- items in the slots ----

    #[inline]
    pub(crate) fn try_push_item(&self, item: u64) -> std::result::Result<(), Failure> {
        self.try_push_item_quietly(item)?;
        self.items_event().notify(1);
        Ok(())
    }

    #[inline]
    fn try_push_item_quietly(&self, item: u64) -> std::result::Result<(), Failure> {
        let ring = self.item_ring();
        match ring.commit(ring.tail_hint()?, item, &InSlots) {
            Err(Refusal::Full) if self.overwrites() => {
                tally(&self.parts.header.tallies.overwritten, u64::from(ring.overwrite(item)?));
                Ok(())
            }
            other => Ok(other?),
        }
    }

    pub(crate) fn try_push_items(
        &self,
        items: impl Iterator<Item = u64>,
    ) -> std::result::Result<usize, Failure> {
        self.many(self.items_event(), items, |item| self.try_push_item_quietly(item))
    }

    pub(crate) fn push_item(
        &self,
        item: u64,
        deadline: Deadline,
    ) -> std::result::Result<(), Failure> {
        self.wait_push(deadline, || self.try_push_item(item))
    }

    #[inline]
    pub(crate) fn try_pop_item(&self) -> std::result::Result<u64, Failure> {
        let item = self.item_ring().take()?;
        self.space_event().notify(1);
        Ok(item)
    }

    pub(crate) fn try_pop_items(
        &self,
        most: usize,
        mut each: impl FnMut(u64),
    ) -> std::result::Result<usize, Failure> {
        self.many(self.space_event(), 0..self.at_once(most), |_| {
            each(self.item_ring().take()?);
            Ok(())
        })
    }

    pub(crate) fn pop_item(&self, deadline: Deadline) -> std::result::Result<u64, Failure> {
        self.wait_pop(deadline, || self.try_pop_item())
    }
}

#[cold]
fn too_long(length: usize, most: u64) -> Error {
    Error::new(
        ErrorKind::TooBig,
        format!("a message of {length} bytes does not fit the queue's blocks of {most} bytes"),
    )
}
