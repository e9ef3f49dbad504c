//! What every form of the queue does: take part, find room, wait, repair.
//!
//! A [`Core`] is one handle: it belongs to one thread at a time and keeps what it has learned (who
//! it is, where it last looked) in private cells, so that the common push and pop touch nothing shared
//! but the ring and the block.

use crate::atomic::Ordering;
use crate::block::{Block, Blocks, Standing};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::plain::TypeTag;
use crate::os::clock::{self, Deadline};
use crate::os::fork;
use crate::queue::error::{Failure, corrupt};
use crate::queue::exchange::{Exchange, Held, Reserved};
use crate::queue::ring::{InSlots, Refusal, Ring};
use crate::queue::shape::{Parts, Shape, Table};
use crate::queue::slot::{BlockSlots, ItemSlots};
use crate::segment::directory::ObjectKind;
use crate::segment::participant::Me;
use crate::segment::place::{Object, Place, Plan as ObjectPlan};
use crate::wait::eventcount::{EventCount, Look, Spin, wait_for};
use std::cell::Cell;

/// Calls that find nothing look for deaths at most this often, in nanoseconds.
const LOOK_EVERY: u64 = 5_000_000;
const EVERYBODY: u32 = u32::MAX;

/// A queue's handle, whatever its items are.
pub(crate) struct Core {
    parts: Parts,
    object: Object,
    /// The process generation that `me` belongs to.
    process: Cell<u32>,
    me: Cell<Me>,
    /// The value of `returned` at which no returned item was left.
    returned: Cell<u64>,
    /// Where the next search for a free block begins.
    cursor: Cell<u32>,
    /// When this handle last looked for deaths, and with whom it began.
    looked: Cell<u64>,
    turn: Cell<usize>,
    push_spin: Spin,
    pop_spin: Spin,
}

impl Core {
    pub(crate) fn create(
        place: Place<'_>,
        shape: impl Fn(u32) -> Result<Shape>,
        item: TypeTag,
    ) -> Result<Self> {
        let participants = place.participants();
        let shape = shape(participants)?;
        let plan = ObjectPlan { kind: ObjectKind::Queue, item, length: shape.total };
        let object = place.create(plan, |region| Parts::begin(region, shape))?;
        Self::over(object, item)
    }

    pub(crate) fn open(place: Place<'_>, item: TypeTag) -> Result<Self> {
        Self::over(place.open(ObjectKind::Queue, item)?, item)
    }

    fn over(object: Object, item: TypeTag) -> Result<Self> {
        let parts = Parts::open(object.region, object.segment.participants_max())?;
        let plan = &parts.shape.plan;
        let sound = if item.size == 0 {
            !plan.in_slots
        } else {
            plan.in_slots == (item.size <= 8)
                && plan.message_max == u64::from(item.size)
                && plan.align == item.align
        };
        if !sound {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("the queue's plan ({plan:?}) is not one for items of {item}"),
            ));
        }
        Ok(Self::with(object, parts))
    }

    fn with(object: Object, parts: Parts) -> Self {
        Self {
            parts,
            object,
            process: Cell::new(0),
            me: Cell::new(Me { slot: 0, generation: 0 }),
            returned: Cell::new(0),
            cursor: Cell::new(0),
            looked: Cell::new(0),
            turn: Cell::new(0),
            push_spin: Spin::new(),
            pop_spin: Spin::new(),
        }
    }

    /// Another handle of the same queue, for another thread.
    pub(crate) fn another(&self) -> Self {
        Self::with(self.object.clone(), self.parts)
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.parts.shape
    }

    pub(crate) fn object(&self) -> &Object {
        &self.object
    }

    /// The process generation that this handle last took part in.
    pub(crate) fn process(&self) -> u32 {
        self.process.get()
    }

    #[inline]
    fn exchange(&self) -> Exchange<'_, Table> {
        let header = self.parts.header;
        let shape = &self.parts.shape;
        let slots = BlockSlots::new(self.parts.slots(), shape.item_bits);
        let bits = shape.index_bits;
        Exchange {
            ring: Ring { head: &header.head.0, tail: &header.tail.0, slots, bits },
            blocks: &self.parts.blocks,
            returned: &header.events.returned,
        }
    }

    #[inline]
    fn item_ring(&self) -> Ring<'_, ItemSlots<'_>> {
        let header = self.parts.header;
        let (slots, bits) = (ItemSlots(self.parts.slots()), self.parts.shape.index_bits);
        Ring { head: &header.head.0, tail: &header.tail.0, slots, bits }
    }

    fn space_event(&self) -> &EventCount {
        &self.parts.header.events.space
    }

    fn items_event(&self) -> &EventCount {
        &self.parts.header.events.items
    }

    // ---- taking part ----

    /// This process as a participant of the queue.
    #[inline]
    fn me(&self) -> Result<Me> {
        let process = fork::word().load(Ordering::Relaxed);
        if process == self.process.get() && process != 0 { Ok(self.me.get()) } else { self.enter() }
    }

    /// Notes this process's incarnation for its slot, after what an earlier one left is repaired.
    #[cold]
    fn enter(&self) -> Result<Me> {
        let process = fork::generation();
        let me = self.object.segment.me()?;
        let note = &self.parts.holders[me.slot as usize];
        for _ in 0..1000 {
            let noted = note.load(Ordering::Acquire);
            if noted == me.generation {
                self.me.set(me);
                self.process.set(process);
                return Ok(me);
            }
            if noted != 0 {
                // The slot is ours, so every earlier incarnation is over.
                self.repair(me.slot, noted);
            } else {
                let _ = note.compare_exchange(
                    0,
                    me.generation,
                    Ordering::AcqRel, // before the first block: what repair relies on
                    Ordering::Relaxed,
                );
            }
        }
        Err(corrupt())
    }

    // ---- death ----

    /// Repairs after every participant of this queue that is proven dead; says whether there was one.
    ///
    /// Costs a system call for each living one, so it is done now and then unless `now`. The dear proof, by
    /// identity, is sought for one of them each time, in turn.
    #[cold]
    fn look_for_deaths(&self, now: bool) -> Result<bool> {
        if self.parts.shape.plan.in_slots {
            return Ok(false); // nothing of such a queue is ever held
        }
        let time = clock::now_coarse();
        if !now && time.wrapping_sub(self.looked.get()) < LOOK_EVERY {
            return Ok(false);
        }
        self.looked.set(time);
        let table = self.object.segment.table()?;
        let me = self.me()?;
        let others = (0u32..).zip(self.parts.holders).filter_map(|(slot, note)| {
            let noted = note.load(Ordering::Acquire);
            let own = slot == me.slot && noted == me.generation;
            (noted != 0 && !own).then_some((slot, noted))
        });
        let others: Vec<(u32, u64)> = others.collect();
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let mut found = false;
        for (index, &(slot, noted)) in others.iter().enumerate() {
            let dear = index.wrapping_sub(turn) % others.len() == 0;
            let over = table.has_let_go(slot, noted) || dear && table.is_over(slot, noted);
            if over {
                self.repair(slot, noted);
                found = true;
            }
        }
        Ok(found)
    }

    fn repair(&self, slot: u32, generation: u64) {
        let note = &self.parts.holders[slot as usize];
        if self.parts.shape.plan.in_slots {
            // Nothing of a queue without blocks is ever held.
            let _ = note.compare_exchange(generation, 0, Ordering::AcqRel, Ordering::Relaxed);
        } else {
            self.exchange().repair(note, slot, generation);
        }
        self.items_event().notify(EVERYBODY);
        self.space_event().notify(EVERYBODY);
    }

    /// Repairs everything there is to repair, now.
    pub(crate) fn recover(&self) -> Result<bool> {
        self.look_for_deaths(true)
    }

    // ---- blocks: producers ----

    /// A block of this process's own, when the ring has room for it.
    #[inline]
    pub(crate) fn try_reserve(&self) -> std::result::Result<Reserved, Failure> {
        let me = self.me()?;
        Ok(self.exchange().try_reserve(me.slot, &self.cursor)?)
    }

    pub(crate) fn reserve(&self, deadline: Deadline) -> std::result::Result<Reserved, Failure> {
        self.wait_push(deadline, || self.try_reserve())
    }

    /// Puts a reserved block in: the item of `length` bytes is visible when this returns.
    #[inline]
    pub(crate) fn try_commit(
        &self,
        reserved: Reserved,
        length: u32,
    ) -> std::result::Result<(), Failure> {
        self.head(reserved.held.block)?.set_length(length);
        self.exchange().try_commit(reserved)?;
        self.items_event().notify(1);
        Ok(())
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
        if let Ok(head) = self.head(held.block) {
            head.free(held.word);
        }
        self.space_event().notify(1);
    }

    /// Copies `bytes` in, or does nothing.
    #[inline]
    pub(crate) fn try_push(&self, bytes: &[u8]) -> std::result::Result<(), Failure> {
        self.check_length(bytes.len())?;
        let reserved = self.try_reserve()?;
        // SAFETY: the block is ours, and its payload has room for `message_max` bytes.
        unsafe {
            let payload = self.payload(reserved.held.block);
            payload.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        let committed = self.try_commit(reserved, bytes.len() as u32);
        if committed.is_err() {
            self.abort(reserved.held);
        }
        committed
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

    pub(crate) fn claim(&self, deadline: Deadline) -> std::result::Result<Held, Failure> {
        self.wait_pop(deadline, || self.try_claim())
    }

    /// Ends a claim: the item is consumed.
    #[inline]
    pub(crate) fn release(&self, held: Held) {
        if let Ok(head) = self.head(held.block) {
            head.free(held.word);
        }
        self.space_event().notify(1);
    }

    /// Ends a claim: the item goes back, for anybody to take, marked as redelivered.
    pub(crate) fn give_back(&self, held: Held) {
        self.exchange().give_back(held);
        self.items_event().notify(1);
    }

    /// Bytes of a claimed item; a length that the block cannot have is an error.
    #[inline]
    pub(crate) fn length(&self, held: Held) -> Result<usize> {
        let length = self.head(held.block)?.length();
        if u64::from(length) > self.parts.shape.plan.message_max {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "a message of {length} bytes in a queue whose blocks have {}",
                    self.parts.shape.plan.message_max
                ),
            ));
        }
        Ok(length as usize)
    }

    /// Copies a claimed item of exactly `into`'s length out, and releases it.
    #[inline]
    pub(crate) fn copy_out(&self, held: Held, into: &mut [u8]) -> Result<()> {
        let length = self.length(held);
        if length.as_ref().is_ok_and(|&length| length == into.len()) {
            // SAFETY: the block is ours; its payload holds `length` bytes.
            unsafe {
                self.payload(held.block).copy_to_nonoverlapping(into.as_mut_ptr(), into.len());
            }
        }
        self.release(held);
        match length? {
            length if length == into.len() => Ok(()),
            length => Err(Error::new(
                ErrorKind::Corrupt,
                format!("an item of {length} bytes in a queue of items of {}", into.len()),
            )),
        }
    }

    pub(crate) fn redelivered(&self, held: Held) -> u32 {
        self.head(held.block).map_or(0, Block::redelivered)
    }

    #[inline]
    pub(crate) fn payload(&self, block: u32) -> *mut u8 {
        self.parts.blocks.payload(block)
    }

    #[inline]
    fn head(&self, block: u32) -> Result<&Block> {
        self.parts.blocks.get(block).ok_or_else(corrupt)
    }

    // ---- items in the slots ----

    #[inline]
    pub(crate) fn try_push_item(&self, item: u64) -> std::result::Result<(), Failure> {
        let ring = self.item_ring();
        ring.commit(ring.tail_hint()?, item, &InSlots)?;
        self.items_event().notify(1);
        Ok(())
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

    pub(crate) fn pop_item(&self, deadline: Deadline) -> std::result::Result<u64, Failure> {
        self.wait_pop(deadline, || self.try_pop_item())
    }

    // ---- waiting ----

    /// Runs `attempt` now; what it refuses is waited for. When nothing can be had, the dead are
    /// looked for first: they may hold it.
    #[inline]
    fn wait_push<T>(
        &self,
        deadline: Deadline,
        attempt: impl Fn() -> std::result::Result<T, Failure>,
    ) -> std::result::Result<T, Failure> {
        match attempt() {
            Err(Failure::Refused(Refusal::Full)) => {
                self.wait(self.space_event(), &self.push_spin, deadline, Refusal::Full, attempt)
            }
            other => other,
        }
    }

    #[inline]
    fn wait_pop<T>(
        &self,
        deadline: Deadline,
        attempt: impl Fn() -> std::result::Result<T, Failure>,
    ) -> std::result::Result<T, Failure> {
        match attempt() {
            Err(Failure::Refused(Refusal::Empty)) => {
                self.wait(self.items_event(), &self.pop_spin, deadline, Refusal::Empty, attempt)
            }
            Err(Failure::Refused(Refusal::Closed)) => self.after_close(attempt),
            other => other,
        }
    }

    #[cold]
    fn wait<T>(
        &self,
        event: &EventCount,
        spin: &Spin,
        deadline: Deadline,
        refusal: Refusal,
        attempt: impl Fn() -> std::result::Result<T, Failure>,
    ) -> std::result::Result<T, Failure> {
        let settled = |result| match result {
            Err(Failure::Refused(again)) if again == refusal => None,
            other => Some(other),
        };
        let done = wait_for(event, deadline, spin, |look| {
            let found = settled(attempt());
            if found.is_some() || look == Look::Items {
                return found;
            }
            match self.look_for_deaths(look == Look::Deaths) {
                Ok(true) => settled(attempt()),
                Ok(false) => None,
                Err(error) => Some(Err(error.into())),
            }
        })?;
        match done {
            Err(Failure::Refused(Refusal::Closed)) if refusal == Refusal::Empty => {
                self.after_close(attempt)
            }
            other => other,
        }
    }

    /// A non-blocking call's refusal, once the dead have been looked for.
    #[inline]
    pub(crate) fn or_repaired<T>(
        &self,
        result: std::result::Result<T, Failure>,
        attempt: impl Fn() -> std::result::Result<T, Failure>,
    ) -> std::result::Result<T, Failure> {
        match result {
            Err(Failure::Refused(_)) if !self.parts.shape.plan.in_slots => {
                self.repaired(result, attempt)
            }
            other => other,
        }
    }

    #[cold]
    fn repaired<T>(
        &self,
        result: std::result::Result<T, Failure>,
        attempt: impl Fn() -> std::result::Result<T, Failure>,
    ) -> std::result::Result<T, Failure> {
        // What is said to be the end has to be: a look that is due only later will not do.
        let closed = matches!(result, Err(Failure::Refused(Refusal::Closed)));
        if self.look_for_deaths(closed)? { attempt() } else { result }
    }

    /// A closed queue is drained only when no dead consumer holds an item that will come back.
    #[cold]
    fn after_close<T>(
        &self,
        attempt: impl Fn() -> std::result::Result<T, Failure>,
    ) -> std::result::Result<T, Failure> {
        if !self.parts.shape.plan.in_slots {
            self.look_for_deaths(true)?;
        }
        attempt()
    }

    // ---- the whole queue ----

    pub(crate) fn close(&self) -> Result<()> {
        let closed = if self.parts.shape.plan.in_slots {
            self.item_ring().close(&InSlots)
        } else {
            self.exchange().close()
        };
        closed.map_err(|_| corrupt())?;
        self.items_event().notify(EVERYBODY);
        self.space_event().notify(EVERYBODY);
        Ok(())
    }

    pub(crate) fn is_closed(&self) -> Result<bool> {
        let closed = if self.parts.shape.plan.in_slots {
            self.item_ring().is_closed(&InSlots)
        } else {
            self.exchange().is_closed()
        };
        closed.map_err(|_| corrupt())
    }

    /// Items that could be popped, returned ones included.
    pub(crate) fn len(&self) -> Result<u64> {
        if self.parts.shape.plan.in_slots {
            return self.item_ring().len(&InSlots).map_err(|_| corrupt());
        }
        let counter = &self.parts.header.events.returned;
        let mut returned = counter.load(Ordering::Acquire);
        loop {
            let queued = self.exchange().len().map_err(|_| corrupt())?;
            if returned == 0 {
                return Ok(queued);
            }
            let given_back = self.count(|standing| standing == Standing::Returned);
            // What was given back in between has been counted twice, or not at all.
            let after = counter.load(Ordering::Acquire);
            if after == returned {
                return Ok(queued + given_back);
            }
            returned = after;
        }
    }

    /// How many items the ring alone holds.
    pub(crate) fn queued(&self) -> Result<u64> {
        self.exchange().len().map_err(|_| corrupt())
    }

    /// How many blocks have a standing.
    pub(crate) fn count(&self, which: impl Fn(Standing) -> bool) -> u64 {
        let blocks = &self.parts.blocks;
        (0..blocks.count())
            .filter(|&block| blocks.get(block).is_some_and(|head| which(head.load().standing())))
            .count() as u64
    }
}

#[cold]
fn too_long(length: usize, most: u64) -> Error {
    Error::new(
        ErrorKind::TooBig,
        format!("a message of {length} bytes does not fit the queue's blocks of {most} bytes"),
    )
}
