//! What every form of the queue does: take part, find room, wait, repair.
//!
//! A [`Core`] is one handle: it belongs to one thread at a time and keeps what it has learned (who
//! it is, where it last looked) in private cells, so that the common push and pop touch nothing shared
//! but the ring and the block.

use crate::atomic::{AtomicU64, Ordering};
use crate::block::{Blocks, Standing};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::plain::TypeTag;
use crate::os::clock;
use crate::os::fork;
use crate::queue::ends;
use crate::queue::error::corrupt;
use crate::queue::exchange::{Exchange, Held};
use crate::queue::plan::{Delivery, Shape};
use crate::queue::ring::{InSlots, Ring};
use crate::queue::shape::{Parts, Table};
use crate::queue::slot::{BlockSlots, ItemSlots};
use crate::segment::directory::ObjectKind;
use crate::segment::participant::Me;
use crate::segment::place::{Object, Place, Plan as ObjectPlan};
use crate::wait::eventcount::{EventCount, Spin};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// Calls that find nothing look for deaths at most this often, in nanoseconds.
pub(super) const LOOK_EVERY: u64 = 5_000_000;
/// The dear proof of one participant's death is sought at most this often, in nanoseconds.
const DOUBT_EVERY: u64 = 250_000_000;
pub(super) const EVERYBODY: u32 = u32::MAX;

/// What has happened in a queue since it was made: see [`Queue::counters`](crate::Queue::counters).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Items that were put in.
    pub pushed: u64,
    /// Items that were taken out by consumers, each once, however often it was delivered.
    pub popped: u64,
    /// Items that were pushed out by newer ones.
    pub overwritten: u64,
    /// How often an item went back to be delivered again, by the death of its consumer or by its will.
    pub redelivered: u64,
    /// Items, of those popped, that were dropped because their consumer died ([`Delivery::AtMostOnce`], in blocks).
    pub dropped: u64,
    /// Calls that went to sleep.
    pub waits: u64,
    /// Dead participants that were repaired after.
    pub repairs: u64,
}

/// A queue's handle, whatever its items are.
pub(crate) struct Core {
    pub(super) parts: Parts,
    pub(super) object: Object,
    /// The process generation that `me` belongs to.
    pub(super) process: Cell<u32>,
    pub(super) me: Cell<Me>,
    /// The value of `returned` at which no returned item was left.
    pub(super) returned: Cell<u64>,
    /// Where the next search for a free block begins.
    pub(super) cursor: Cell<u32>,
    /// When this handle last looked for deaths, and with whom it began.
    pub(super) looked: Cell<u64>,
    pub(super) turn: Cell<usize>,
    /// When it last sought a proof by identity.
    pub(super) doubted: Cell<u64>,
    pub(super) push_spin: Spin,
    pub(super) pop_spin: Spin,
    /// The process generation in which this handle is a producer's end; 0 = it is none.
    pub(super) end_of: Cell<u32>,
    /// Popped from a joinable queue and not done, by the process `popped_by`.
    pub(super) undone: RefCell<VecDeque<Held>>,
    pub(super) popped_by: Cell<u32>,
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
            (item.size <= 8 || !plan.in_slots)
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
            doubted: Cell::new(0),
            push_spin: Spin::new(),
            pop_spin: Spin::new(),
            end_of: Cell::new(0),
            undone: RefCell::new(VecDeque::new()),
            popped_by: Cell::new(0),
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
    pub(super) fn exchange(&self) -> Exchange<'_, Table> {
        let header = self.parts.header;
        let shape = &self.parts.shape;
        let slots = BlockSlots::new(self.parts.slots(), shape.item_bits, shape.line_bits);
        let bits = shape.index_bits;
        Exchange {
            ring: Ring { head: &header.head.0, tail: &header.tail.0, slots, bits },
            blocks: &self.parts.blocks,
            returned: &header.events.returned,
        }
    }

    #[inline]
    pub(super) fn item_ring(&self) -> Ring<'_, ItemSlots<'_>> {
        let header = self.parts.header;
        let (slots, bits) = (ItemSlots(self.parts.slots()), self.parts.shape.index_bits);
        Ring { head: &header.head.0, tail: &header.tail.0, slots, bits }
    }

    /// Whether items travel in the slots.
    #[inline]
    pub(crate) fn in_slots(&self) -> bool {
        self.parts.shape.plan.in_slots
    }

    pub(super) fn space_event(&self) -> &EventCount {
        &self.parts.header.events.space
    }

    pub(super) fn items_event(&self) -> &EventCount {
        &self.parts.header.events.items
    }

    // ---- taking part ----

    /// This process as a participant of the queue.
    #[inline]
    pub(super) fn me(&self) -> Result<Me> {
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
    /// identity, is sought for one of them at a time, in turn, a few times a second.
    #[cold]
    pub(super) fn look_for_deaths(&self, now: bool) -> Result<bool> {
        if self.in_slots() && self.parts.shape.plan.producers == 0 {
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
        let dear_now = time.wrapping_sub(self.doubted.get()) >= DOUBT_EVERY;
        if dear_now {
            self.doubted.set(time);
            self.turn.set(turn.wrapping_add(1));
        }
        let mut found = false;
        for (index, &(slot, noted)) in others.iter().enumerate() {
            let dear = dear_now && index.wrapping_sub(turn) % others.len() == 0;
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
        let end = &self.parts.ends[slot as usize];
        let ends = end.load(Ordering::Acquire);
        if note.load(Ordering::Acquire) == generation {
            ends::bury(end, ends);
        }
        let plan = &self.parts.shape.plan;
        let tallies = &self.parts.header.tallies;
        if self.in_slots() {
            let last = note.compare_exchange(generation, 0, Ordering::AcqRel, Ordering::Relaxed);
            tally(&tallies.repairs, u64::from(last.is_ok()));
        } else {
            let drops = plan.delivery == Delivery::AtMostOnce;
            let repaired = self.exchange().repair(note, slot, generation, drops);
            tally(&tallies.redelivered, repaired.given_back);
            tally(&tallies.dropped, repaired.dropped);
            tally(&tallies.repairs, repaired.deaths);
        }
        let events = &self.parts.header.events;
        for event in [&events.items, &events.space, &events.done] {
            event.notify(EVERYBODY);
        }
    }

    /// Repairs everything there is to repair, now.
    pub(crate) fn recover(&self) -> Result<bool> {
        self.look_for_deaths(true)
    }

    // ---- producers' ends ----

    /// Makes this handle, in this process, an end of the producers that the queue follows.
    #[cold]
    pub(crate) fn come(&self) -> Result<()> {
        let process = fork::generation();
        if self.parts.shape.plan.producers == 0 || self.end_of.get() == process {
            return Ok(());
        }
        let me = self.me()?;
        if !ends::come(&self.parts.ends[me.slot as usize]) {
            return Err(Error::new(
                ErrorKind::Limit,
                "this process has 65535 producers of the queue, and cannot have more",
            ));
        }
        self.end_of.set(process);
        Ok(())
    }

    /// The same for a producer's end that crossed a fork since.
    #[inline]
    pub(crate) fn come_again(&self) -> Result<()> {
        let process = fork::word().load(Ordering::Relaxed);
        if process == self.end_of.get() && process != 0 { Ok(()) } else { self.come() }
    }

    fn leave(&self) -> Result<()> {
        let me = self.me()?;
        let word = &self.parts.ends[me.slot as usize];
        if ends::leave(word) {
            let closed = if ends::over(self.parts.ends, self.parts.shape.plan.producers) {
                self.close()
            } else {
                Ok(())
            };
            ends::gone(word);
            return closed;
        }
        Ok(())
    }

    /// Whether the producers that the queue follows have all come, and the last one died.
    pub(super) fn producers_died(&self) -> bool {
        let expected = self.parts.shape.plan.producers;
        expected != 0 && ends::over_and_gone(self.parts.ends, expected)
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

    pub(crate) fn counters(&self) -> Result<Counters> {
        let span = if self.in_slots() {
            self.item_ring().span(&InSlots)
        } else {
            let exchange = self.exchange();
            exchange.ring.span(&exchange)
        };
        let (pushed, taken) = span.map_err(|_| corrupt())?;
        let tallies = &self.parts.header.tallies;
        let read = |tally: &AtomicU64| tally.load(Ordering::Relaxed);
        let overwritten = read(&tallies.overwritten);
        Ok(Counters {
            pushed,
            popped: taken.saturating_sub(overwritten),
            overwritten,
            redelivered: read(&tallies.redelivered),
            dropped: read(&tallies.dropped),
            waits: read(&tallies.waits),
            repairs: read(&tallies.repairs),
        })
    }

    pub(crate) fn is_closed(&self) -> Result<bool> {
        let closed = if self.parts.shape.plan.in_slots {
            self.item_ring().is_closed(&InSlots)
        } else {
            self.exchange().is_closed()
        };
        closed.map_err(|_| corrupt())
    }

    /// Items that could be popped, returned ones included. An estimate where others never stop giving items back.
    pub(crate) fn len(&self) -> Result<u64> {
        if self.parts.shape.plan.in_slots {
            return self.item_ring().len(&InSlots).map_err(|_| corrupt());
        }
        self.exchange().available().map_err(|_| corrupt())
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

impl Drop for Core {
    fn drop(&mut self) {
        let process = fork::generation();
        if self.popped_by.get() == process {
            for held in self.undone.take() {
                self.give_back(held);
            }
        }
        if self.end_of.get() == process {
            // In vain for damaged bytes only, of which others will be told.
            let _ = self.leave();
        }
    }
}

pub(super) fn tally(tally: &AtomicU64, more: u64) {
    if more != 0 {
        tally.fetch_add(more, Ordering::Relaxed);
    }
}
