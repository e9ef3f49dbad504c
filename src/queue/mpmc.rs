//! The queue that people come for: any number of producers and consumers, in any processes.
//!
//! # Overview
//! Bounded and first in, first out. Two forms, by the type of the items:
//! - `Queue<T>` with `T` of up to 8 bytes keeps items in the ring's slots: one CAS to push, one to pop.
//! - `Queue<T>` with larger `T`, and `Queue<[u8]>` for messages of 0 bytes to a stated maximum, keep them in
//!   [blocks](crate::block) that the ring's slots name, so they can be written and read in place. So do queues of
//!   smaller items that are joinable, or deliver at least once.
//!
//! # Order and delivery
//! Items come out in the order in which their pushes took effect. In blocks, each is delivered at least once: what a
//! consumer held when it died (or gave back) is delivered again, marked as such, and may then come out
//! of order. In slots, each is delivered at most once: what a consumer had taken when it died is gone
//! with it.
//!
//! # Progress and death
//! Push and pop are lock-free; no participant, dead or stopped at any instruction, keeps another from
//! completing a `try_` operation. Blocking calls wait for room or for an item, nothing else. A block
//! that a dead participant held is free again, or its item back in the queue, at the next call that finds
//! nothing (within 5 ms), or at the end of a sleeper's slice (80 ms).
//!
//! # Source
//! Ours; see [`ring`](super::ring), [`block`](crate::block) and [`exchange`](super::exchange).

use crate::block::Standing;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::plain::{Pod, TypeTag};
use crate::os::clock::Deadline;
use crate::queue::core::{Core, Counters};
use crate::queue::error::{Failure, PopError, PushError};
use crate::queue::message::{Claim, Reservation};
use crate::queue::options::{Item, QueueOptions};
use crate::queue::role::{Both, MayPop, MayPush, Pops, Pushes, Role};
use crate::segment::Segment;
use crate::segment::place::Place;
use std::marker::PhantomData;

pub(super) type Pushed<V> = std::result::Result<(), PushError<V>>;
pub(super) type Popped<V> = std::result::Result<V, PopError>;

/// A bounded first-in, first-out queue in shared memory, for any number of producers and consumers in any
/// processes.
///
/// - `T` of up to 8 bytes: items travel in the ring's slots, one compare-and-swap to push and one to pop; each
///   is delivered at most once (a consumer killed just as it takes one takes that one along).
/// - Larger `T`, and `[u8]` for messages of 0 bytes to a stated maximum: items lie in blocks, and messages can be
///   written and read in place ([`reserve`](Queue::reserve), [`claim`](Queue::claim)); each is delivered at
///   least once: what a consumer held when it died, or gave back, comes again, marked, and may come late.
///
/// **Progress.** Push and pop are lock-free: nobody, dead or stopped at any instruction, keeps another from
/// completing a `try_` call. Blocking calls wait for room or for an item, nothing else, and make no system call
/// when they need not wait. **What a dead peer does.** What was pushed stays; blocks that it held are free again, or
/// their items back, at the next call that finds nothing, and every 80 ms of a sleep. **Forks.** Handles work on
/// both sides; reservations and claims stay with their process.
///
/// A handle belongs to one thread at a time (`Send`, not `Sync`); [`Clone`] gives another. It may
/// be used on both sides of a fork, and any number of processes may push and pop.
///
/// ```standalone_crate
/// use mpshm::{PopError, Process, Queue};
/// let queue = Queue::<u64>::new(16)?;
/// let child = Process::spawn(|| {
///     for n in 0..5 {
///         queue.push(n).unwrap();
///     }
///     queue.close().unwrap();
///     0
/// })?;
/// assert_eq!(queue.iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
/// assert_eq!(queue.pop(), Err(PopError::Closed));
/// assert_eq!(child.join()?.code(), Some(0));
/// # Ok::<(), mpshm::Error>(())
/// ```
pub struct Queue<T: ?Sized, R: Role = Both> {
    pub(super) core: Core,
    /// Items are moved through, not kept: sendable when `T` is.
    items: PhantomData<fn(Box<T>) -> Box<T>>,
    role: PhantomData<R>,
}

/// A queue's handle that only pushes. A queue that [follows its producers](QueueOptions::follow_producers) ends when
/// the last of these is dropped, and says `PeerDead` when the last one died. Made by [`Queue::producer`].
///
/// Clones count, each for itself. In a forked child it counts for the child from its first push on; what the parent
/// drops after the fork ends the parent's only. A process that ends without dropping it has died.
///
/// ```compile_fail
/// let queue = mpshm::Queue::<u64>::new(4)?;
/// queue.producer()?.pop()?; // a producer does not pop
/// # Ok::<(), mpshm::Error>(())
/// ```
pub type Producer<T> = Queue<T, Pushes>;

/// A queue's handle that only pops. Made by [`Queue::consumer`].
///
/// ```compile_fail
/// let queue = mpshm::Queue::<u64>::new(4)?;
/// queue.consumer().push(1)?; // a consumer does not push
/// # Ok::<(), mpshm::Error>(())
/// ```
pub type Consumer<T> = Queue<T, Pops>;

/// What the blocks of a queue are, counted by a walk: exact when nobody else acts.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audit {
    pub blocks: u64,
    pub free: u64,
    /// Reserved and not (yet) committed.
    pub reserved: u64,
    /// Committed items in the ring.
    pub queued: u64,
    pub leased: u64,
    pub returned: u64,
}

impl<T: ?Sized, R: Role> Queue<T, R> {
    fn over(core: Core) -> Self {
        Self { core, items: PhantomData, role: PhantomData }
    }

    /// Ends the queue: pushes say `Closed`, pops say so once everything in it has been taken. Anybody
    /// may close, also twice.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn close(&self) -> Result<()> {
        self.core.close()
    }

    /// Whether the queue has been closed.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn is_closed(&self) -> Result<bool> {
        self.core.is_closed()
    }

    /// Items that can be popped: exact when nobody else acts, else true at some moment of the call. (Should others give
    /// items back without a pause for milliseconds, what was given back is counted as it is met.)
    /// A damaged queue reads as empty.
    #[must_use]
    pub fn len(&self) -> usize {
        self.core.len().unwrap_or(0) as usize
    }

    /// Whether [`len`](Self::len) is 0.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether [`len`](Self::len) is the capacity, or more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len() >= self.capacity()
    }

    /// The number of items that the queue holds at most: exactly what was asked for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.core.shape().plan.capacity as usize
    }

    /// The segment that the queue lies in.
    #[must_use]
    pub fn segment(&self) -> &Segment {
        &self.core.object().segment
    }

    /// What has happened in the queue since it was made. How many were pushed and popped is known exactly, whoever died;
    /// a participant that died in the middle of an operation may have left one of the others uncounted.
    ///
    /// ```
    /// let queue = mpshm::Queue::<u64>::new(4)?;
    /// queue.push(1)?;
    /// queue.push(2)?;
    /// queue.pop()?;
    /// assert_eq!((queue.counters().pushed, queue.counters().popped), (2, 1));
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.core.counters().unwrap_or_default()
    }

    /// Repairs now what dead participants left; pushes and pops that find nothing do so by themselves.
    ///
    /// # Errors
    /// `Corrupt`; `Limit` when this process finds no participant slot.
    pub fn recover(&self) -> Result<()> {
        self.core.recover().map(|_| ())
    }

    /// Counts the blocks by standing. For tests.
    #[doc(hidden)]
    pub fn audit(&self) -> Result<Audit> {
        if self.core.in_slots() {
            let queued = self.core.len()?;
            return Ok(Audit { blocks: 0, free: 0, reserved: 0, queued, leased: 0, returned: 0 });
        }
        let queued = self.core.queued()?;
        let reserved = self.core.count(|standing| matches!(standing, Standing::Reserved(_)));
        Ok(Audit {
            blocks: self.core.shape().blocks.into(),
            free: self.core.count(|standing| standing == Standing::Free),
            reserved: reserved.wrapping_sub(queued),
            queued,
            leased: self.core.count(|standing| matches!(standing, Standing::Leased(_))),
            returned: self.core.count(|standing| standing == Standing::Returned),
        })
    }
}

impl<T: ?Sized, R: Role> Clone for Queue<T, R> {
    /// Another handle of the same queue, for another thread. A producer's clone counts as one more producer.
    fn clone(&self) -> Self {
        let other = Self::over(self.core.another());
        if R::COUNTS {
            // Tried again at the first push, which says why it cannot be.
            let _ = other.core.come();
        }
        other
    }
}

impl<T: ?Sized, R: Role> std::fmt::Debug for Queue<T, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct(R::NAME)
            .field("capacity", &self.capacity())
            .field("len", &self.len())
            .finish()
    }
}

impl<T: ?Sized + Item> Queue<T> {
    /// An anonymous queue as `options` say, which forked children inherit.
    ///
    /// # Errors
    /// `Invalid`; `NoSpace`.
    pub fn with_options(options: &QueueOptions) -> Result<Self> {
        Self::create(Place::ANONYMOUS, options)
    }

    /// Makes a queue at `place`: a name, or [`segment.at(name)`](Segment::at).
    ///
    /// # Errors
    /// `Exists`; `Invalid`; `NoSpace`; `Limit`.
    pub fn create<'a>(place: impl Into<Place<'a>>, options: &QueueOptions) -> Result<Self> {
        let item = T::type_tag(options)?;
        Core::create(place.into(), |participants| options.shape(item, participants), item)
            .map(Self::over)
    }

    /// Opens the queue at `place`, which must hold `T`s (no tag).
    ///
    /// # Errors
    /// `NotFound`; `Type` when it is no queue or has other items; `Version`, `Corrupt`, `Permission`.
    pub fn open<'a>(place: impl Into<Place<'a>>) -> Result<Self> {
        Core::open(place.into(), T::type_tag(&QueueOptions::new(1))?).map(Self::over)
    }

    /// Opens the queue at `place`, or makes it.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and [`create`](Self::create) but for `NotFound` and `Exists`.
    pub fn open_or_create<'a>(place: impl Into<Place<'a>>, options: &QueueOptions) -> Result<Self> {
        let item = T::type_tag(options)?;
        place.into().open_or_create(
            |place| Core::open(place, item).map(Self::over),
            |place| Self::create(place, options),
        )
    }

    /// Bytes that such a queue needs in a segment of 64 participants.
    ///
    /// # Errors
    /// `Invalid`, `NoSpace` as for [`create`](Self::create).
    pub fn size_for(options: &QueueOptions) -> Result<u64> {
        options.size(T::type_tag(options)?)
    }

    /// [`size_for`](Self::size_for) in a segment of so many participants.
    pub(crate) fn size_with(options: &QueueOptions, participants: u32) -> Result<u64> {
        Ok(options.shape(T::type_tag(options)?, participants)?.total)
    }

    /// A handle that only pushes, and counts as one of the producers that the queue may
    /// [follow](QueueOptions::follow_producers).
    ///
    /// ```
    /// use mpshm::{PopError, Queue, QueueOptions};
    /// let queue = Queue::<u64>::with_options(&QueueOptions::new(4).follow_producers(1))?;
    /// let producer = queue.producer()?;
    /// producer.push(7)?;
    /// drop(producer);
    /// assert_eq!(queue.pop(), Ok(7));
    /// assert_eq!(queue.pop(), Err(PopError::Closed));
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Closed`; `Limit` for the 65,536th of a process, or when this process finds no participant slot; `Corrupt`.
    pub fn producer(&self) -> Result<Producer<T>> {
        let producer = Queue::over(self.core.another());
        producer.core.come()?;
        if producer.is_closed()? {
            return Err(Error::new(
                ErrorKind::Closed,
                "the queue is closed: there is nothing for another producer to push",
            ));
        }
        Ok(producer)
    }

    /// A handle that only pops.
    ///
    /// ```
    /// let queue = mpshm::Queue::<u64>::new(4)?;
    /// queue.push(1)?;
    /// assert_eq!(queue.consumer().pop(), Ok(1));
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    #[must_use]
    pub fn consumer(&self) -> Consumer<T> {
        Queue::over(self.core.another())
    }
}

impl<T: ?Sized + Item, R: MayPop> Queue<T, R> {
    /// Says that the oldest item which this handle has popped, and which is not done yet, is done. The items of
    /// [claims](Claim) are done when they are released.
    ///
    /// # Errors
    /// `Invalid` when this handle has popped no item that is not done, or the queue is not
    /// [joinable](QueueOptions::joinable); nothing is changed then.
    pub fn task_done(&self) -> Result<()> {
        self.core.task_done()
    }

    fn claimed(&self, deadline: Deadline) -> Popped<Claim<'_>> {
        self.in_blocks().map_err(PopError::Failed)?;
        let held = self.core.claim(deadline).map_err(Failure::pop)?;
        Claim::new(&self.core, held).map_err(PopError::Failed)
    }

    /// The oldest item, to be read in place, without waiting.
    ///
    /// # Errors
    /// `Empty`, `Closed`, `PeerDead`, `Failed` (with `Invalid` when items travel in the slots).
    pub fn try_claim(&self) -> Popped<Claim<'_>> {
        self.in_blocks().map_err(PopError::Failed)?;
        let attempt = || self.core.try_claim();
        let held = self.core.or_repaired(attempt(), attempt).map_err(Failure::pop)?;
        Claim::new(&self.core, held).map_err(PopError::Failed)
    }

    /// The oldest item, to be read in place, waiting for one.
    ///
    /// # Errors
    /// `Closed`, `PeerDead`, `Interrupted`, `Failed` (with `Invalid` when items travel in the slots).
    pub fn claim(&self) -> Popped<Claim<'_>> {
        self.claimed(Deadline::FOREVER)
    }

    /// The oldest item, to be read in place, waiting for one until `deadline`.
    ///
    /// # Errors
    /// `TimedOut`, `Closed`, `PeerDead`, `Interrupted`, `Failed` (with `Invalid` when items travel in the slots).
    pub fn claim_timeout(&self, deadline: impl Into<Deadline>) -> Popped<Claim<'_>> {
        self.claimed(deadline.into())
    }
}

impl<T: ?Sized + Item, R: Role> Queue<T, R> {
    /// Waits until every item that was pushed is done: popped, and [said to be](Self::task_done), or its claim
    /// released. What a dead consumer had comes again first, or is dropped, as the queue's
    /// [delivery](QueueOptions::delivery) says.
    ///
    /// # Errors
    /// `Invalid` when the queue is not [joinable](QueueOptions::joinable); `Interrupted`; `Corrupt`.
    pub fn join(&self) -> Result<()> {
        self.join_timeout(Deadline::FOREVER)
    }

    /// [`join`](Self::join) until `deadline`.
    ///
    /// # Errors
    /// Also `TimedOut`: some items are not done.
    pub fn join_timeout(&self, deadline: impl Into<Deadline>) -> Result<()> {
        self.core.join(deadline.into()).map_err(|failure| match failure.pop() {
            PopError::TimedOut => {
                Error::new(ErrorKind::TimedOut, "items of the queue were not done by the deadline")
            }
            other => other.into(),
        })
    }

    fn in_blocks(&self) -> Result<()> {
        if self.core.in_slots() {
            return Err(Error::new(
                ErrorKind::Invalid,
                "the queue's items travel in its slots and have no place in memory: \
                 ask for Delivery::AtLeastOnce to have them in blocks",
            ));
        }
        Ok(())
    }
}

impl<T: ?Sized + Item, R: MayPush> Queue<T, R> {
    /// A producer's end that crossed a fork counts in the child too.
    #[inline]
    pub(super) fn present(&self) -> Result<()> {
        if R::COUNTS { self.core.come_again() } else { Ok(()) }
    }

    pub(super) fn reserved(
        &self,
        length: usize,
        deadline: Option<Deadline>,
    ) -> std::result::Result<Reservation<'_>, PushError<()>> {
        let ready = self.present().and_then(|()| self.in_blocks());
        ready.map_err(|error| PushError::Failed((), error))?;
        let reserved = match deadline {
            Some(deadline) => self.core.reserve(length, deadline),
            None => {
                let attempt = || self.core.try_reserve(length);
                self.core.or_repaired(attempt(), attempt)
            }
        };
        let reserved = reserved.map_err(|failure| failure.push(()))?;
        Ok(Reservation::new(&self.core, reserved, length, deadline))
    }
}

impl<T: Pod> Queue<T> {
    /// An anonymous queue of `capacity` items, which forked children inherit.
    ///
    /// # Errors
    /// `Invalid` for a capacity of 0 or more than 2^26; `NoSpace`.
    pub fn new(capacity: u64) -> Result<Self> {
        Self::create(Place::ANONYMOUS, &QueueOptions::new(capacity))
    }
}
/// Repairs what dead participants left in the queue at `place`, whatever its items are.
pub(crate) fn recover(place: Place<'_>, item: TypeTag) -> Result<()> {
    Core::open(place, item)?.recover().map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_can_be_sent_to_another_thread() {
        fn is_send<T: Send>() {}
        is_send::<Queue<u64>>();
        is_send::<Queue<[u8]>>();
    }
}
