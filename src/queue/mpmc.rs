//! The queue that people come for: any number of producers and consumers, in any processes.
//!
//! # Overview
//! Bounded and first in, first out. Two forms, by the type of the items:
//! - `Queue<T>` with `T` of up to 8 bytes keeps items in the ring's slots: one CAS to push, one to pop.
//! - `Queue<T>` with larger `T`, and `Queue<[u8]>` for messages of 0 bytes to a stated maximum, keep them in
//!   [blocks](crate::block) that the ring's slots name, so they can be written and read in place.
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
use crate::layout::plain::{ALIGN_MAX, Pod, TypeTag};
use crate::os::clock::Deadline;
use crate::queue::core::Core;
use crate::queue::error::{Failure, PopError, PushError};
use crate::queue::exchange::Held;
use crate::queue::message::{Claim, Reservation};
use crate::queue::shape::{Plan, Shape};
use crate::segment::Segment;
use crate::segment::place::Place;
use std::marker::PhantomData;

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
pub struct Queue<T: ?Sized> {
    core: Core,
    /// Items are moved through, not kept: sendable when `T` is.
    items: PhantomData<fn(Box<T>) -> Box<T>>,
}

/// How a queue is made.
///
/// ```
/// use mpshm::{Queue, QueueOptions, Segment};
/// let options = QueueOptions::new(100).message_max(1000);
/// let segment = Segment::anonymous(Queue::<[u8]>::size_for(&options)?)?;
/// let queue = Queue::<[u8]>::create(segment.at("jobs"), &options)?;
/// assert_eq!(queue.capacity(), 100);
/// # Ok::<(), mpshm::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct QueueOptions {
    capacity: u64,
    message_max: u64,
    align: u32,
    leases: u32,
    tag: u64,
}

impl QueueOptions {
    /// A queue of exactly `capacity` items, 1 to 2^26.
    pub fn new(capacity: u64) -> Self {
        Self { capacity, message_max: 4096, align: 16, leases: 4, tag: 0 }
    }

    /// Bytes of the longest message of a `Queue<[u8]>`, 4096 by default.
    pub fn message_max(self, bytes: u64) -> Self {
        Self { message_max: bytes, ..self }
    }

    /// Alignment of messages in place: a power of two up to 128, 16 by default.
    pub fn align(self, align: u32) -> Self {
        Self { align, ..self }
    }

    /// How many blocks one process may hold (reserved or claimed) at a time without taking from the
    /// capacity; 4 by default. Each costs a block for each participant that the segment admits.
    pub fn leases(self, leases: u32) -> Self {
        Self { leases, ..self }
    }

    /// A tag that tells the item type from others of its size; opening asks for the same.
    pub fn tag(self, tag: u64) -> Self {
        Self { tag, ..self }
    }

    pub(crate) fn shape(&self, item: TypeTag, participants: u32) -> Result<Shape> {
        let messages = item.size == 0;
        let in_slots = !messages && fits_slot(item.size as usize);
        if in_slots && !portable_atomic::AtomicU128::is_lock_free() {
            return Err(Error::new(
                ErrorKind::System,
                "items of up to 8 bytes travel in 128-bit slots, which this processor cannot change atomically",
            ));
        }
        Plan {
            in_slots,
            participants,
            capacity: self.capacity,
            message_max: if messages { self.message_max } else { item.size.into() },
            align: if messages { self.align } else { item.align },
            leases: self.leases,
        }
        .shape()
    }

    pub(crate) fn size(&self, item: TypeTag) -> Result<u64> {
        Ok(self.shape(item, Place::ANONYMOUS.participants())?.total)
    }
}

pub(crate) fn fits_slot(size: usize) -> bool {
    size <= 8
}

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

impl<T: ?Sized> Queue<T> {
    fn over(core: Core) -> Self {
        Self { core, items: PhantomData }
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

    /// Items that can be popped: exact when nobody else acts, else true at some moment of the call.
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
        if self.core.shape().plan.in_slots {
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

impl<T: ?Sized> Clone for Queue<T> {
    /// Another handle of the same queue, for another thread.
    fn clone(&self) -> Self {
        Self::over(self.core.another())
    }
}

impl<T: ?Sized> std::fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue")
            .field("capacity", &self.capacity())
            .field("len", &self.len())
            .finish()
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
        let item = item::<T>(options)?;
        Core::create(place.into(), |participants| options.shape(item, participants), item)
            .map(Self::over)
    }

    /// Opens the queue at `place`, which must hold `T`s (no tag).
    ///
    /// # Errors
    /// `NotFound`; `Type` when it is no queue or has other items; `Version`, `Corrupt`, `Permission`.
    pub fn open<'a>(place: impl Into<Place<'a>>) -> Result<Self> {
        Core::open(place.into(), item::<T>(&QueueOptions::new(1))?).map(Self::over)
    }

    /// Opens the queue at `place`, or makes it.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and [`create`](Self::create) but for `NotFound` and `Exists`.
    pub fn open_or_create<'a>(place: impl Into<Place<'a>>, options: &QueueOptions) -> Result<Self> {
        let item = item::<T>(options)?;
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
        options.size(item::<T>(options)?)
    }

    /// Pushes without waiting.
    ///
    /// # Errors
    /// The value comes back: `Full`, `Closed`, `Failed`.
    #[inline]
    pub fn try_push(&self, value: T) -> std::result::Result<(), PushError<T>> {
        let attempt = || {
            if fits_slot(size_of::<T>()) {
                self.core.try_push_item(pack(value))
            } else {
                self.core.try_push(bytemuck::bytes_of(&value))
            }
        };
        self.core.or_repaired(attempt(), attempt).map_err(|failure| failure.push(value))
    }

    /// Pushes, waiting for room.
    ///
    /// # Errors
    /// The value comes back: `Closed`, `Interrupted`, `Failed`.
    #[inline]
    pub fn push(&self, value: T) -> std::result::Result<(), PushError<T>> {
        self.push_timeout(value, Deadline::FOREVER)
    }

    /// Pushes, waiting for room until `deadline` (a [`Deadline`], a `Duration` or an `Instant`).
    ///
    /// # Errors
    /// The value comes back: `TimedOut`, `Closed`, `Interrupted`, `Failed`.
    #[inline]
    pub fn push_timeout(
        &self,
        value: T,
        deadline: impl Into<Deadline>,
    ) -> std::result::Result<(), PushError<T>> {
        if fits_slot(size_of::<T>()) {
            self.core.push_item(pack(value), deadline.into())
        } else {
            self.core.push(bytemuck::bytes_of(&value), deadline.into())
        }
        .map_err(|failure| failure.push(value))
    }

    /// Pops without waiting.
    ///
    /// # Errors
    /// `Empty`, `Closed`, `Failed`.
    #[inline]
    pub fn try_pop(&self) -> std::result::Result<T, PopError> {
        if fits_slot(size_of::<T>()) {
            return self.core.try_pop_item().map(unpack).map_err(Failure::pop);
        }
        let attempt = || self.core.try_claim();
        let held = self.core.or_repaired(attempt(), attempt).map_err(Failure::pop)?;
        self.copy_out(held)
    }

    /// Pops, waiting for an item.
    ///
    /// # Errors
    /// `Closed`, `Interrupted`, `Failed`.
    #[inline]
    pub fn pop(&self) -> std::result::Result<T, PopError> {
        self.pop_timeout(Deadline::FOREVER)
    }

    /// Pops, waiting for an item until `deadline` (a [`Deadline`], a `Duration` or an `Instant`).
    ///
    /// # Errors
    /// `TimedOut`, `Closed`, `Interrupted`, `Failed`.
    #[inline]
    pub fn pop_timeout(&self, deadline: impl Into<Deadline>) -> std::result::Result<T, PopError> {
        let deadline = deadline.into();
        if fits_slot(size_of::<T>()) {
            return self.core.pop_item(deadline).map(unpack).map_err(Failure::pop);
        }
        let held = self.core.claim(deadline).map_err(Failure::pop)?;
        self.copy_out(held)
    }

    #[inline]
    fn copy_out(&self, held: Held) -> std::result::Result<T, PopError> {
        let mut value = T::zeroed();
        let copied = self.core.copy_out(held, bytemuck::bytes_of_mut(&mut value));
        copied.map_err(PopError::Failed)?;
        Ok(value)
    }

    /// Pops until the queue is closed and drained.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter(self)
    }
}

/// Pops until [`PopError::Closed`], or another error: see [`Queue::iter`].
#[derive(Debug)]
pub struct Iter<'q, T: Pod>(&'q Queue<T>);

impl<T: Pod> Iterator for Iter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.pop().ok()
    }
}

impl<'q, T: Pod> IntoIterator for &'q Queue<T> {
    type Item = T;
    type IntoIter = Iter<'q, T>;

    fn into_iter(self) -> Iter<'q, T> {
        self.iter()
    }
}

fn item<T: Pod>(options: &QueueOptions) -> Result<TypeTag> {
    if size_of::<T>() == 0 || align_of::<T>() > ALIGN_MAX {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!(
                "items of {} bytes aligned to {}: at least 1 byte and at most {ALIGN_MAX} are possible",
                size_of::<T>(),
                align_of::<T>()
            ),
        ));
    }
    let item = TypeTag::of::<T>();
    Ok(if options.tag == 0 { item } else { item.with_tag(options.tag) })
}

#[inline]
fn pack<T: Pod>(value: T) -> u64 {
    let mut bytes = [0; 8];
    let value = bytemuck::bytes_of(&value);
    bytes[..value.len()].copy_from_slice(value);
    u64::from_ne_bytes(bytes)
}

#[inline]
fn unpack<T: Pod>(item: u64) -> T {
    bytemuck::pod_read_unaligned(&item.to_ne_bytes()[..size_of::<T>()])
}

/// The type tag of messages of any length.
fn messages(options: &QueueOptions) -> TypeTag {
    TypeTag::bytes(0, 1).with_tag(options.tag)
}

impl Queue<[u8]> {
    /// An anonymous queue of `capacity` messages of 0 to `message_max` bytes, which forked children inherit.
    ///
    /// # Errors
    /// `Invalid` for a capacity of 0 or more than 2^26, or messages over 2 GiB; `NoSpace`.
    pub fn new(capacity: u64, message_max: u64) -> Result<Self> {
        Self::create(Place::ANONYMOUS, &QueueOptions::new(capacity).message_max(message_max))
    }

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
        let item = messages(options);
        Core::create(place.into(), |participants| options.shape(item, participants), item)
            .map(Self::over)
    }

    /// Opens the queue at `place`, which must hold messages (no tag).
    ///
    /// # Errors
    /// `NotFound`; `Type` when it is no queue or has other items; `Version`, `Corrupt`, `Permission`.
    pub fn open<'a>(place: impl Into<Place<'a>>) -> Result<Self> {
        Core::open(place.into(), messages(&QueueOptions::new(1))).map(Self::over)
    }

    /// Opens the queue at `place`, or makes it.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and [`create`](Self::create) but for `NotFound` and `Exists`.
    pub fn open_or_create<'a>(place: impl Into<Place<'a>>, options: &QueueOptions) -> Result<Self> {
        let item = messages(options);
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
        options.size(messages(options))
    }

    /// [`size_for`](Self::size_for) in a segment of so many participants.
    pub(crate) fn size_with(options: &QueueOptions, participants: u32) -> Result<u64> {
        Ok(options.shape(messages(options), participants)?.total)
    }

    /// Bytes of the longest message.
    #[must_use]
    pub fn message_max(&self) -> usize {
        self.core.shape().plan.message_max as usize
    }

    /// Pushes a copy of `message` without waiting.
    ///
    /// # Errors
    /// `Full`, `Closed`, `Failed` (with `TooBig` when it is longer than [`message_max`](Self::message_max)).
    pub fn try_push(&self, message: &[u8]) -> std::result::Result<(), PushError<()>> {
        let attempt = || self.core.try_push(message);
        self.core.or_repaired(attempt(), attempt).map_err(|failure| failure.push(()))
    }

    /// Pushes a copy of `message`, waiting for room.
    ///
    /// # Errors
    /// `Closed`, `Interrupted`, `Failed`.
    pub fn push(&self, message: &[u8]) -> std::result::Result<(), PushError<()>> {
        self.push_timeout(message, Deadline::FOREVER)
    }

    /// Pushes a copy of `message`, waiting for room until `deadline`.
    ///
    /// # Errors
    /// `TimedOut`, `Closed`, `Interrupted`, `Failed`.
    pub fn push_timeout(
        &self,
        message: &[u8],
        deadline: impl Into<Deadline>,
    ) -> std::result::Result<(), PushError<()>> {
        self.core.push(message, deadline.into()).map_err(|failure| failure.push(()))
    }

    /// Pops a message without waiting.
    ///
    /// # Errors
    /// `Empty`, `Closed`, `Failed`.
    pub fn try_pop(&self) -> std::result::Result<Vec<u8>, PopError> {
        Ok(self.try_claim()?.to_vec())
    }

    /// Pops a message, waiting for one.
    ///
    /// # Errors
    /// `Closed`, `Interrupted`, `Failed`.
    pub fn pop(&self) -> std::result::Result<Vec<u8>, PopError> {
        Ok(self.claim()?.to_vec())
    }

    /// Pops a message, waiting for one until `deadline`.
    ///
    /// # Errors
    /// `TimedOut`, `Closed`, `Interrupted`, `Failed`.
    pub fn pop_timeout(
        &self,
        deadline: impl Into<Deadline>,
    ) -> std::result::Result<Vec<u8>, PopError> {
        Ok(self.claim_timeout(deadline)?.to_vec())
    }

    /// Pops a message into `buffer`, waiting for one, and says how long it is.
    ///
    /// # Errors
    /// `Closed`, `Interrupted`; `Failed` with `TooBig` when the buffer is too short: the message goes
    /// back, and the error says what it needs.
    pub fn pop_into(&self, buffer: &mut [u8]) -> std::result::Result<usize, PopError> {
        let claim = self.claim()?;
        let length = claim.len();
        if length > buffer.len() {
            claim.give_back();
            return Err(PopError::Failed(Error::new(
                ErrorKind::TooBig,
                format!("the message has {length} bytes, the buffer {}", buffer.len()),
            )));
        }
        claim.read_at(0, &mut buffer[..length]).map_err(PopError::Failed)?;
        Ok(length)
    }

    /// A block to write a message of up to `length` bytes into, without waiting.
    ///
    /// # Errors
    /// `Full`, `Closed`, `Failed` (with `TooBig`).
    pub fn try_reserve(
        &self,
        length: usize,
    ) -> std::result::Result<Reservation<'_>, PushError<()>> {
        self.core.check_length(length).map_err(|error| PushError::Failed((), error))?;
        let attempt = || self.core.try_reserve();
        let reserved =
            self.core.or_repaired(attempt(), attempt).map_err(|failure| failure.push(()))?;
        Ok(Reservation::new(
            &self.core,
            reserved,
            length,
            Deadline::after(std::time::Duration::ZERO),
        ))
    }

    /// A block to write a message of up to `length` bytes into, waiting for room.
    ///
    /// # Errors
    /// `Closed`, `Interrupted`, `Failed`.
    pub fn reserve(&self, length: usize) -> std::result::Result<Reservation<'_>, PushError<()>> {
        self.reserve_timeout(length, Deadline::FOREVER)
    }

    /// A block to write a message of up to `length` bytes into, waiting for room until `deadline`.
    ///
    /// # Errors
    /// `TimedOut`, `Closed`, `Interrupted`, `Failed`.
    pub fn reserve_timeout(
        &self,
        length: usize,
        deadline: impl Into<Deadline>,
    ) -> std::result::Result<Reservation<'_>, PushError<()>> {
        self.core.check_length(length).map_err(|error| PushError::Failed((), error))?;
        let deadline = deadline.into();
        let reserved = self.core.reserve(deadline).map_err(|failure| failure.push(()))?;
        Ok(Reservation::new(&self.core, reserved, length, deadline))
    }

    /// The oldest message, to be read in place, without waiting.
    ///
    /// # Errors
    /// `Empty`, `Closed`, `Failed`.
    pub fn try_claim(&self) -> std::result::Result<Claim<'_>, PopError> {
        let attempt = || self.core.try_claim();
        let held = self.core.or_repaired(attempt(), attempt).map_err(Failure::pop)?;
        Claim::new(&self.core, held).map_err(PopError::Failed)
    }

    /// The oldest message, to be read in place, waiting for one.
    ///
    /// # Errors
    /// `Closed`, `Interrupted`, `Failed`.
    pub fn claim(&self) -> std::result::Result<Claim<'_>, PopError> {
        self.claim_timeout(Deadline::FOREVER)
    }

    /// The oldest message, to be read in place, waiting for one until `deadline`.
    ///
    /// # Errors
    /// `TimedOut`, `Closed`, `Interrupted`, `Failed`.
    pub fn claim_timeout(
        &self,
        deadline: impl Into<Deadline>,
    ) -> std::result::Result<Claim<'_>, PopError> {
        let held = self.core.claim(deadline.into()).map_err(Failure::pop)?;
        Claim::new(&self.core, held).map_err(PopError::Failed)
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
