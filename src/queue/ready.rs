//! Waiting for an item, or for room, together with other things: see [`select`](crate::select).

use crate::atomic::{AtomicU64, Ordering};
use crate::block::{Blocks, Standing};
use crate::error::Result;
use crate::os::barrier;
use crate::os::clock;
use crate::os::fork;
use crate::queue::core::{Core, LOOK_EVERY};
use crate::queue::mpmc::Queue;
use crate::queue::plan::WhenFull;
use crate::queue::ring::{InSlots, Refusal};
use crate::queue::role::{MayPop, MayPush, Role};
use crate::queue::spsc::core::Core as RingCore;
use crate::queue::spsc::ring::{Ring, RingConsumer, RingProducer};
use crate::queue::spsc::role::is_dead;
use crate::wait::eventcount::Look;
use crate::wait::select::Waitable;
use crate::wait::select::sealed::{Bed, Source};
use std::cell::Cell;

/// Something to pop from a [`Queue`] or [`Ring`], for [`select`](crate::select): ready when a `try_pop` would not say `Empty`, so also when
/// it is closed. A handle of its own; it may go to another thread.
pub struct Readable(Of);

/// Room to push into a [`Queue`] or [`Ring`], for [`select`](crate::select): ready when a `try_push` would not say `Full`, so also when
/// it is closed. A handle of its own; it may go to another thread.
pub struct Writable(Of);

enum Of {
    Queue(Box<Core>),
    Ring(RingSide),
}

/// One side of a ring, looked at from outside.
struct RingSide {
    core: RingCore,
    /// Items, or bytes of a message, that there has to be room for.
    count: usize,
    /// When it was last asked whether the other side has died.
    looked: Cell<u64>,
}

impl Readable {
    pub(crate) fn of_queue(core: &Core) -> Self {
        Self(Of::Queue(Box::new(core.another())))
    }

    pub(crate) fn of_ring(core: &RingCore) -> Self {
        Self(Of::Ring(RingSide { core: core.clone(), count: 0, looked: Cell::new(0) }))
    }
}

impl Writable {
    pub(crate) fn of_queue(core: &Core) -> Self {
        Self(Of::Queue(Box::new(core.another())))
    }

    pub(crate) fn of_ring(core: &RingCore, count: usize) -> Self {
        Self(Of::Ring(RingSide { core: core.clone(), count, looked: Cell::new(0) }))
    }
}

impl<T: ?Sized, R: Role> Queue<T, R> {
    /// What [`select`](crate::select) waits for until there is an item to pop, or the queue is closed.
    ///
    /// ```
    /// use mpshm::{Queue, select};
    /// use std::time::Duration;
    /// let (one, other) = (Queue::<u64>::new(4)?, Queue::<[u8]>::new(4, 64)?);
    /// other.push(b"hello")?;
    /// let ready = select(&[&one.readable(), &other.readable()], Duration::from_secs(9))?;
    /// assert_eq!(ready.iter().collect::<Vec<_>>(), [1]);
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    #[must_use]
    pub fn readable(&self) -> Readable
    where
        R: MayPop,
    {
        Readable::of_queue(&self.core)
    }

    /// What [`select`](crate::select) waits for until there is room for an item, or for the longest message, or the queue is closed.
    ///
    /// ```
    /// use mpshm::{Queue, select};
    /// use std::time::Duration;
    /// let queue = Queue::<u64>::new(1)?;
    /// let room = queue.writable();
    /// assert!(select(&[&room], Duration::ZERO)?.contains(0));
    /// queue.push(1)?;
    /// assert!(select(&[&room], Duration::ZERO)?.is_empty());
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    #[must_use]
    pub fn writable(&self) -> Writable
    where
        R: MayPush,
    {
        Writable::of_queue(&self.core)
    }
}

impl<T: ?Sized> Ring<T> {
    /// As [`RingConsumer::readable`], for who looks on.
    #[must_use]
    pub fn readable(&self) -> Readable {
        Readable::of_ring(&self.core)
    }

    /// As [`RingProducer::writable`], for who looks on.
    #[must_use]
    pub fn writable(&self, count: usize) -> Writable {
        Writable::of_ring(&self.core, count)
    }
}

impl<T: ?Sized> RingConsumer<T> {
    /// What [`select`](crate::select) waits for until there is an item to pop, or the ring is closed.
    ///
    /// ```
    /// use mpshm::{Ring, select};
    /// use std::time::Duration;
    /// let ring = Ring::<u32>::new(8)?;
    /// let mut consumer = ring.consumer();
    /// let items = consumer.readable();
    /// assert!(select(&[&items], Duration::ZERO)?.is_empty());
    /// ring.producer().push(7)?;
    /// assert!(select(&[&items], Duration::ZERO)?.contains(0));
    /// assert_eq!(consumer.pop(), Ok(7));
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    #[must_use]
    pub fn readable(&self) -> Readable {
        Readable::of_ring(&self.end.core)
    }
}

impl<T: ?Sized> RingProducer<T> {
    /// What [`select`](crate::select) waits for until there is room for `count` items, or for a message of `count` bytes, or the ring
    /// is closed. More than fits a ring counts as ready: the push says that it is too big.
    ///
    /// ```
    /// use mpshm::{Ring, select};
    /// use std::time::Duration;
    /// let mut producer = Ring::<u32>::new(4)?.producer();
    /// producer.push_many(&[1, 2])?;
    /// let (two, three) = (producer.writable(2), producer.writable(3));
    /// let ready = select(&[&two, &three], Duration::ZERO)?;
    /// assert!(ready.contains(0) && !ready.contains(1));
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    #[must_use]
    pub fn writable(&self, count: usize) -> Writable {
        Writable::of_ring(&self.end.core, count)
    }
}

/// What a look found; what is wrong counts as ready, for the caller's try tells what it is.
fn or_wrong(found: Result<bool>) -> bool {
    found.unwrap_or(true)
}

impl Core {
    /// Whether a `try_pop` would find something other than nothing.
    fn has_item(&self) -> Result<bool> {
        // The ring alone first: what was given back takes a walk.
        if !self.in_slots() && self.queued()? > 0 {
            return Ok(true);
        }
        Ok(self.len()? > 0 || self.is_closed()?)
    }

    /// Whether a `try_push` of the longest item would find something other than no room.
    fn has_room(&self) -> Result<bool> {
        let plan = &self.parts.shape.plan;
        if plan.full == WhenFull::Overwrite {
            return Ok(true);
        }
        if plan.in_slots {
            return Ok(!matches!(self.item_ring().room(&InSlots), Err(Refusal::Full)));
        }
        let exchange = self.exchange();
        match exchange.ring.room(&exchange) {
            Ok(_) => {}
            Err(Refusal::Full) => return Ok(false),
            Err(_) => return Ok(true),
        }
        let blocks = &self.parts.blocks;
        let is_free =
            |block| blocks.get(block).is_some_and(|head| head.load().standing() == Standing::Free);
        Ok(blocks.fitting(plan.message_max as u32).any(is_free))
    }

    /// Looks, and where that is asked for, again after the dead.
    fn is_ready(&self, look: Look, ready: impl Fn() -> Result<bool>) -> Result<bool> {
        if ready()? {
            return Ok(true);
        }
        if look == Look::Items {
            return Ok(false);
        }
        Ok(self.look_for_deaths(look == Look::Deaths)? && ready()?)
    }
}

impl RingSide {
    fn has_item(&self) -> Result<bool> {
        Ok(self.core.used()? > 0 || self.core.is_closed())
    }

    fn has_room(&self) -> Result<bool> {
        let (limit, wanted) = (self.core.shape.limit, self.core.bytes_of(self.count));
        let free = limit.saturating_sub(self.core.used()?);
        Ok(self.core.overwrites() || wanted > limit || free >= wanted || self.core.is_closed())
    }

    /// Whether the ring ends with the holder of `role`, and that is dead.
    fn died(&self, role: &AtomicU64, look: Look) -> Result<bool> {
        let holder = role.load(Ordering::Acquire);
        let time = clock::now_coarse();
        let due = look == Look::Deaths || time.wrapping_sub(self.looked.get()) >= LOOK_EVERY;
        if !self.core.shape.plan.follows || holder == 0 || look == Look::Items || !due {
            return Ok(false);
        }
        self.looked.set(time);
        Ok(is_dead(holder, &self.core.object.segment.table()?))
    }

    /// Before a quiet wait, also in a forked child.
    fn register(&self) -> Result<()> {
        barrier::register(fork::generation())
    }
}

impl Source for Readable {
    fn bed(&self) -> Bed<'_> {
        match &self.0 {
            Of::Queue(core) => Bed::Word(core.items_event()),
            Of::Ring(side) => Bed::Quiet(&side.core.header.events.items),
        }
    }

    fn is_ready(&self, _: u64, look: Look) -> bool {
        or_wrong(match &self.0 {
            Of::Queue(core) => core
                .is_ready(look, || core.has_item())
                .map(|ready| ready || look != Look::Items && core.producers_died()),
            Of::Ring(side) => side.register().and_then(|()| {
                let writer = &side.core.header.roles.writer;
                Ok(side.has_item()? || side.died(writer, look)?)
            }),
        })
    }
}

impl Waitable for Readable {}

impl Source for Writable {
    fn bed(&self) -> Bed<'_> {
        match &self.0 {
            Of::Queue(core) => Bed::Word(core.space_event()),
            Of::Ring(side) => Bed::Quiet(&side.core.header.events.space),
        }
    }

    fn is_ready(&self, _: u64, look: Look) -> bool {
        or_wrong(match &self.0 {
            Of::Queue(core) => core.is_ready(look, || core.has_room()),
            Of::Ring(side) => side.register().and_then(|()| {
                let reader = &side.core.header.roles.reader;
                Ok(side.has_room()? || side.died(reader, look)?)
            }),
        })
    }
}

impl Waitable for Writable {}

macro_rules! debug {
    ($($name:ident),*) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )*};
}
debug!(Readable, Writable);
