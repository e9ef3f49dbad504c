//! The ring: positions that are filled and emptied in order, by CAS on the slots alone.
//!
//! # Overview
//! A ring of N slots without tickets. A producer finds the first slot that waits for an item of the
//! present lap and puts one in with one CAS, which is claim and publication at once, so there is no
//! moment at which a slot is taken but not filled, and no one to wait for. `head` and `tail` are
//! hints: plain stores after the fact, never ahead of the truth, corrected while walking.
//!
//! An item is either in the slot itself, and then the CAS that advances the slot takes it; or in a
//! block that the slot names, and then it is taken by the CAS of the block's word, after which
//! anybody may advance the slot ("help").
//!
//! # Layout
//! A position is {lap, index}, packed as lap << k | index with the fewest bits k for N. Slots: see
//! [`slot`](super::slot).
//!
//! # Invariants
//! - I1. A slot goes (lap, waiting) → (lap, full) → (lap + 1, waiting), never back; so no value comes again. In a ring
//!   that overwrites, a slot with the oldest item goes (lap, full) → (lap + 1, full) too.
//! - I2. Position p is filled only after p − 1 was, and emptied only after p − 1 was: who fills p has
//!   seen p − 1 filled, by walking or by a hint that was stored after it was.
//! - I3. `closed` on a slot stays; a slot that is closed and waiting is the end of the queue.
//!
//! # Ordering edges
//! - E1. A slot becomes full with Release (SeqCst), after the payload was written; who reads it full
//!   does so with Acquire.
//! - E2. A hint is stored with Release after its slot's change and loaded with Acquire: from a
//!   position on, nothing older than what made it a hint is seen.
//!
//! # Crash states
//! | killed | leaves | who repairs |
//! |---|---|---|
//! | before the CAS | nothing in the ring | – |
//! | after the CAS, before the hint | a hint that is one behind | the next walk |
//! | block taken, slot not advanced | a slot that names a block which is LEASED | whoever meets it |
//!
//! # Progress
//! Lock-free; each retry means that another's CAS succeeded. A walk over static bytes, hostile ones
//! too, ends after 2·N + 2 steps at most; [`Refusal::Corrupt`] is said far beyond what honest peers can cause.
//!
//! # Source
//! Ours; slots with laps are Vyukov's bounded queue, from which the tickets were taken away.

use crate::atomic::{AtomicU64, Ordering};
use crate::queue::slot::{Slot, Slots};

/// The most slots of a ring.
pub(crate) const CAPACITY_MAX: u64 = 1 << 26;

/// Why nothing was put in or taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Full,
    Empty,
    Closed,
    /// The bytes contradict each other.
    Corrupt,
}

/// A place in the order of items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    lap: u64,
    index: u32,
}

/// The end where items are put in, as it was at one moment.
#[derive(Clone, Copy, Debug)]
enum Tail {
    /// The slot waits for an item.
    Room(Position, Slot),
    /// The slot still holds the item of the lap before.
    Full(Position, Slot),
    Closed(Position),
}

/// The end where items are taken out, as it was at one moment.
#[derive(Clone, Copy, Debug)]
enum Head {
    Item(Position, Slot),
    Empty(Position),
    Drained(Position),
}

/// What a ring asks of those who know the items.
pub(crate) trait Items {
    /// Whether the item that a full slot names has not been taken yet; `None` for a hostile name.
    fn stands(&self, item: u64) -> Option<bool>;
}

/// Items that are in the slots: a full slot's item stands.
pub(crate) struct InSlots;

impl Items for InSlots {
    #[inline]
    fn stands(&self, _item: u64) -> Option<bool> {
        Some(true)
    }
}

/// A ring, borrowed from a mapping or from the heap.
#[derive(Clone, Copy)]
pub(crate) struct Ring<'a, S> {
    pub head: &'a AtomicU64,
    pub tail: &'a AtomicU64,
    pub slots: S,
    /// [`index_bits`] of the number of slots.
    pub bits: u32,
}

/// The bits of a position's index in a ring of `count` slots.
pub(crate) fn index_bits(count: u32) -> u32 {
    (32 - (count - 1).leading_zeros()).max(1)
}

/// Counts the steps of a walk, so that no bytes can make it endless.
struct Patience(u64);

impl Patience {
    fn step(&mut self) -> Result<(), Refusal> {
        self.0 = self.0.checked_sub(1).ok_or(Refusal::Corrupt)?;
        Ok(())
    }
}

impl<S: Slots> Ring<'_, S> {
    fn patience(&self) -> Patience {
        Patience(10_000 + 256 * u64::from(self.slots.count()))
    }

    #[inline]
    fn hint(&self, hint: &AtomicU64) -> Result<Position, Refusal> {
        let packed = hint.load(Ordering::Acquire); // E2
        let index = (packed & ((1 << self.bits) - 1)) as u32;
        if index >= self.slots.count() {
            return Err(Refusal::Corrupt);
        }
        Ok(Position { lap: packed >> self.bits, index })
    }

    #[inline]
    fn store_hint(&self, hint: &AtomicU64, position: Position) {
        let packed = position.lap << self.bits | u64::from(position.index);
        hint.store(packed, Ordering::Release); // E2
    }

    #[inline]
    fn after(&self, position: Position) -> Position {
        if position.index + 1 == self.slots.count() {
            Position { lap: position.lap.wrapping_add(1), index: 0 }
        } else {
            Position { index: position.index + 1, ..position }
        }
    }

    /// The position after the newest one of this slot that is known to be filled (`or_waiting`
    /// false) or emptied.
    fn past(&self, slot: Slot, index: u32, filled: bool) -> Position {
        let lap = if filled { slot.lap } else { slot.lap.wrapping_sub(1) };
        self.after(Position { lap, index })
    }

    /// Finds the tail from `position` on, which must not be past it.
    #[inline]
    fn find_tail(
        &self,
        mut position: Position,
        items: &impl Items,
        patience: &mut Patience,
    ) -> Result<Tail, Refusal> {
        loop {
            let slot = self.slots.load(position.index); // E1
            if slot.lap == position.lap {
                if !slot.full {
                    let closed = slot.closed;
                    return Ok(if closed {
                        Tail::Closed(position)
                    } else {
                        Tail::Room(position, slot)
                    });
                }
                position = self.after(position);
            } else if slot.lap > position.lap {
                position = self.past(slot, position.index, slot.full);
            } else if slot.full && slot.lap.wrapping_add(1) == position.lap {
                if !items.stands(slot.item).ok_or(Refusal::Corrupt)? {
                    self.advance(position.index, slot);
                } else if self.slots.load(position.index) == slot {
                    // It stood between two looks at the same slot: at that moment the ring was full.
                    let closed = slot.closed;
                    return Ok(if closed {
                        Tail::Closed(position)
                    } else {
                        Tail::Full(position, slot)
                    });
                }
            } else {
                return Err(Refusal::Corrupt); // hints are never ahead of the truth
            }
            patience.step()?;
        }
    }

    /// Finds the first full slot from `position` on, which must not be past the head.
    #[inline]
    fn find_head(&self, mut position: Position, patience: &mut Patience) -> Result<Head, Refusal> {
        loop {
            let slot = self.slots.load(position.index); // E1
            if slot.lap == position.lap {
                return Ok(match (slot.full, slot.closed) {
                    (true, _) => Head::Item(position, slot),
                    (false, false) => Head::Empty(position),
                    (false, true) => Head::Drained(position),
                });
            }
            if slot.lap < position.lap {
                return Err(Refusal::Corrupt);
            }
            position = self.past(slot, position.index, false);
            patience.step()?;
        }
    }

    /// Moves a slot whose item was taken on to the next lap, unless somebody else has.
    pub(crate) fn advance(&self, index: u32, mut slot: Slot) {
        while !self.slots.change(index, slot, slot.advanced()) {
            // The only change that leaves it to us is a close in between.
            let now = self.slots.load(index);
            if now != (Slot { closed: true, ..slot }) || slot.closed {
                return;
            }
            slot = now;
        }
    }

    /// Where an item could be put now, and the slot's leftover name of a block.
    #[inline]
    pub(crate) fn room(&self, items: &impl Items) -> Result<(Position, u64), Refusal> {
        let hint = self.hint(self.tail)?;
        let slot = self.slots.load(hint.index); // E1
        if slot.waits_in(hint.lap) {
            return Ok((hint, slot.item));
        }
        match self.find_tail(hint, items, &mut self.patience())? {
            Tail::Room(at, slot) => Ok((at, slot.item)),
            Tail::Full(..) => Err(Refusal::Full),
            Tail::Closed(_) => Err(Refusal::Closed),
        }
    }

    /// The tail's hint, to commit from.
    #[inline]
    pub(crate) fn tail_hint(&self) -> Result<Position, Refusal> {
        self.hint(self.tail)
    }

    /// Puts `item` in: visible to every consumer when this returns. `near` is a position that the
    /// tail had reached, from [`room`](Self::room) or [`tail_hint`](Self::tail_hint).
    #[inline]
    pub(crate) fn commit(
        &self,
        near: Position,
        item: u64,
        items: &impl Items,
    ) -> Result<(), Refusal> {
        let slot = self.slots.load(near.index); // E1
        if slot.waits_in(near.lap) && self.fill(near, slot, item) {
            return Ok(());
        }
        self.commit_further(near, item, items)
    }

    /// One try to put `item` into a slot that waits.
    #[inline]
    fn fill(&self, at: Position, slot: Slot, item: u64) -> bool {
        // E1: pairs with the loads in find_tail and find_head. Committed here.
        let filled = self.slots.change(at.index, slot, Slot { full: true, item, ..slot });
        if filled {
            let next = self.after(at);
            self.store_hint(self.tail, next);
            self.slots.fetch(next.index);
        }
        filled
    }

    fn commit_further(&self, near: Position, item: u64, items: &impl Items) -> Result<(), Refusal> {
        let mut position = near;
        let mut patience = self.patience();
        loop {
            match self.find_tail(position, items, &mut patience)? {
                Tail::Room(at, slot) if self.fill(at, slot, item) => return Ok(()),
                Tail::Room(at, _) => position = at,
                Tail::Full(..) => return Err(Refusal::Full),
                Tail::Closed(_) => return Err(Refusal::Closed),
            }
            patience.step()?;
        }
    }

    /// Puts `item` in; where the ring is full, in the place of the oldest item, with one CAS. Says whether it was.
    #[cold]
    pub(crate) fn overwrite(&self, item: u64) -> Result<bool, Refusal> {
        let mut position = self.hint(self.tail)?;
        let mut patience = self.patience();
        loop {
            match self.find_tail(position, &InSlots, &mut patience)? {
                Tail::Room(at, slot) if self.fill(at, slot, item) => return Ok(false),
                Tail::Full(at, slot) => {
                    // The slot before was filled in the lap of `at`, so `slot` is the oldest item, and `at` its
                    // next lap is the tail: the CAS empties the one and fills the other.
                    let filled = Slot { lap: at.lap, item, ..slot };
                    if self.slots.change(at.index, slot, filled) {
                        self.store_hint(self.tail, self.after(at));
                        self.store_hint(self.head, self.after(Position { lap: slot.lap, ..at }));
                        return Ok(true);
                    }
                    position = at;
                }
                Tail::Room(at, _) => position = at,
                Tail::Closed(_) => return Err(Refusal::Closed),
            }
            patience.step()?;
        }
    }

    /// Takes the oldest item out of its slot: ours with the CAS.
    #[inline]
    pub(crate) fn take(&self) -> Result<u64, Refusal> {
        let hint = self.hint(self.head)?;
        let slot = self.slots.load(hint.index); // E1
        if slot.lap == hint.lap && slot.full && self.empty(hint, slot) {
            return Ok(slot.item);
        }
        self.take_further(hint)
    }

    /// One try to take the item of a full slot.
    #[inline]
    fn empty(&self, at: Position, slot: Slot) -> bool {
        let emptied = self.slots.change(at.index, slot, Slot { item: 0, ..slot.advanced() });
        if emptied {
            self.store_hint(self.head, self.after(at));
        }
        emptied
    }

    fn take_further(&self, hint: Position) -> Result<u64, Refusal> {
        let mut position = hint;
        let mut patience = self.patience();
        loop {
            match self.find_head(position, &mut patience)? {
                Head::Item(at, slot) if self.empty(at, slot) => return Ok(slot.item),
                Head::Item(at, _) => position = at,
                Head::Empty(_) => return Err(Refusal::Empty),
                Head::Drained(_) => return Err(Refusal::Closed),
            }
            patience.step()?;
        }
    }

    /// Takes the oldest block: `lease` tries to make the block ours.
    ///
    /// `lease(item, still)` reads the block's word, asks `still` whether the slot still names it, and
    /// only then tries its CAS. It says whether it got the block, somebody else has it, or to look again.
    #[inline]
    pub(crate) fn take_block<T>(
        &self,
        mut lease: impl FnMut(u64, &dyn Fn() -> bool) -> Result<Lease<T>, Refusal>,
    ) -> Result<T, Refusal> {
        let mut position = self.hint(self.head)?;
        let mut patience = self.patience();
        loop {
            match self.find_head(position, &mut patience)? {
                Head::Item(at, slot) => {
                    position = at;
                    match lease(slot.item, &|| self.slots.load(at.index) == slot)? {
                        Lease::Ours(leased) => {
                            self.advance(at.index, slot);
                            let next = self.after(at);
                            self.store_hint(self.head, next);
                            self.slots.fetch(next.index);
                            return Ok(leased);
                        }
                        Lease::Taken => self.advance(at.index, slot),
                        Lease::LookAgain => {}
                    }
                    patience.step()?;
                }
                Head::Empty(_) => return Err(Refusal::Empty),
                Head::Drained(_) => return Err(Refusal::Closed),
            }
        }
    }

    /// Takes the oldest block out of a full ring: the very one that the ring was found full with. None when the ring is
    /// not full any more, or others were faster; an item that came since is not touched. `lease` as for
    /// [`take_block`](Self::take_block).
    #[cold]
    pub(crate) fn take_block_of_full<T>(
        &self,
        items: &impl Items,
        lease: impl FnOnce(u64, &dyn Fn() -> bool) -> Result<Lease<T>, Refusal>,
    ) -> Result<Option<T>, Refusal> {
        match self.find_tail(self.hint(self.tail)?, items, &mut self.patience())? {
            Tail::Room(..) => Ok(None),
            Tail::Closed(_) => Err(Refusal::Closed),
            // The slot before was filled in the lap of `at`, so `slot` is the oldest item as long as it stands.
            Tail::Full(at, slot) => {
                match lease(slot.item, &|| self.slots.load(at.index) == slot)? {
                    Lease::Ours(leased) => {
                        self.advance(at.index, slot);
                        self.store_hint(self.head, self.after(Position { lap: slot.lap, ..at }));
                        Ok(Some(leased))
                    }
                    Lease::Taken | Lease::LookAgain => Ok(None),
                }
            }
        }
    }

    /// Ends the queue at its present tail: nobody puts anything in behind it, however long ago they
    /// looked. Closing again changes nothing.
    pub(crate) fn close(&self, items: &impl Items) -> Result<(), Refusal> {
        let mut position = self.hint(self.tail)?;
        let mut patience = self.patience();
        loop {
            match self.find_tail(position, items, &mut patience)? {
                Tail::Closed(_) => return Ok(()),
                Tail::Room(at, slot) | Tail::Full(at, slot) => {
                    if self.slots.change(at.index, slot, Slot { closed: true, ..slot }) {
                        return Ok(());
                    }
                    position = at;
                    patience.step()?;
                }
            }
        }
    }

    /// Whether the queue has been closed; what is left in it can still be taken.
    pub(crate) fn is_closed(&self, items: &impl Items) -> Result<bool, Refusal> {
        let tail = self.find_tail(self.hint(self.tail)?, items, &mut self.patience())?;
        Ok(matches!(tail, Tail::Closed(_)))
    }

    /// How many items the ring held at one moment of the call.
    pub(crate) fn len(&self, items: &impl Items) -> Result<u64, Refusal> {
        let (filled, emptied) = self.span(items)?;
        Ok(filled.wrapping_sub(emptied).min(self.slots.count().into()))
    }

    /// How many items were ever put in, and how many taken out, at one moment of the call.
    pub(crate) fn span(&self, items: &impl Items) -> Result<(u64, u64), Refusal> {
        let mut patience = self.patience();
        let mut before = self.first_standing(items, &mut patience)?;
        loop {
            let (Tail::Room(tail, _) | Tail::Full(tail, _) | Tail::Closed(tail)) =
                self.find_tail(self.hint(self.tail)?, items, &mut patience)?;
            let after = self.first_standing(items, &mut patience)?;
            // The head did not move between the two looks, so the tail seen in between belongs to it.
            if before == after {
                let count = u64::from(self.slots.count());
                let ordinal =
                    |at: Position| at.lap.wrapping_mul(count).wrapping_add(at.index.into());
                return Ok((ordinal(tail), ordinal(after)));
            }
            before = after;
            patience.step()?;
        }
    }

    fn first_standing(
        &self,
        items: &impl Items,
        patience: &mut Patience,
    ) -> Result<Position, Refusal> {
        let mut position = self.hint(self.head)?;
        loop {
            match self.find_head(position, patience)? {
                Head::Empty(at) | Head::Drained(at) => return Ok(at),
                Head::Item(at, slot) => {
                    if !items.stands(slot.item).ok_or(Refusal::Corrupt)? {
                        self.advance(at.index, slot);
                    } else if self.slots.load(at.index) == slot {
                        return Ok(at); // it stood between two looks at the same slot
                    }
                    position = at;
                    patience.step()?;
                }
            }
        }
    }
}

/// The answer of a `lease` that takes a block.
pub(crate) enum Lease<T> {
    Ours(T),
    /// Somebody else has the block: the slot can be advanced.
    Taken,
    /// The slot or the block changed in between.
    LookAgain,
}
