//! Items in place: room in a ring to write into, items in a ring to read from.
//!
//! Both are raw views: a peer may be hostile, so nothing here hands out `&[T]` without `unsafe`.

use crate::error::{Error, ErrorKind, Result};
use crate::layout::plain::Pod;
use crate::queue::error::{Failure, PushError};
use crate::queue::spsc::read_end::{Claimed, ReadEnd};
use crate::queue::spsc::write_end::WriteEnd;
use std::marker::PhantomData;

/// Room in a ring for some items, or for one message of bytes, contiguous: to be written, then
/// [committed](RingReservation::commit), all at once. Dropped before that, nothing was pushed. Killed before that: the same.
///
/// ```
/// let ring = mpshm::Ring::<u64>::new(100)?;
/// let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
/// let mut slice = producer.reserve(64)?;
/// for index in 0..64 {
///     slice.write(index, index as u64 * 10)?;
/// }
/// slice.commit(64)?;
/// assert_eq!(consumer.pop_many(100)?[63], 630);
/// # Ok::<(), mpshm::Error>(())
/// ```
#[must_use = "dropped, it is aborted"]
pub struct RingReservation<'r, T: Pod> {
    end: &'r mut WriteEnd,
    start: *mut T,
    length: usize,
}

impl<'r, T: Pod> RingReservation<'r, T> {
    /// There is room for the bytes.
    #[inline(always)]
    pub(super) fn new(end: &'r mut WriteEnd, length: usize) -> Self {
        let start = end.first();
        Self { end, start: start.cast(), length }
    }

    /// Where to write: [`len`](Self::len) items.
    #[inline]
    #[must_use]
    pub fn as_mut_ptr(&mut self) -> *mut T {
        self.start
    }

    /// Items that there is room for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is room for none: a message may be empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Writes one item.
    ///
    /// # Errors
    /// `Invalid` when there is no such item, `Forked` in a child of the process that reserved.
    pub fn write(&mut self, index: usize, item: T) -> Result<()> {
        self.write_at(index, std::slice::from_ref(&item))
    }

    /// Copies `items` to `index` and what follows.
    ///
    /// # Errors
    /// `TooBig` when they reach past what was reserved, `Forked` in a child of the process that reserved;
    /// nothing is written then.
    pub fn write_at(&mut self, index: usize, items: &[T]) -> Result<()> {
        check_range(index, items.len(), self.length, "reserved")?;
        check_process(self.end.is_here(), "reservation")?;
        // SAFETY: inside the room, which is this process's, as just checked.
        unsafe { self.start.add(index).copy_from_nonoverlapping(items.as_ptr(), items.len()) };
        Ok(())
    }

    /// The room as a slice.
    ///
    /// # Safety
    /// Every process that has the segment mapped keeps to the protocol: none but the producer writes there.
    #[inline]
    pub unsafe fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: inside the room; any bytes are a `T`; exclusive by the caller's word and ours.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.length) }
    }

    /// Pushes the first `count` items, or the first `count` bytes as one message: visible to the consumer when this returns,
    /// all at once. Never waits.
    ///
    /// # Errors
    /// The reservation comes back: `Closed`, or `Failed` with `TooBig` when `count` is more than was reserved.
    #[inline(always)]
    pub fn commit(self, count: usize) -> std::result::Result<(), PushError<Self>> {
        match self.put(count) {
            Ok(()) => Ok(()),
            Err((this, failure)) => Err(failure.push(this)),
        }
    }

    #[inline(always)]
    fn put(self, count: usize) -> std::result::Result<(), (Self, Failure)> {
        let checked = check_range(0, count, self.length, "reserved");
        if let Err(error) = checked.and_then(|()| check_process(self.end.is_here(), "reservation"))
        {
            return Err((self, error.into()));
        }
        match self.end.commit_items(count) {
            Ok(()) => Ok(()),
            Err(failure) => Err((self, failure)),
        }
    }
}

/// Items of a ring, or one message of bytes, contiguous, read in place and then [released](RingClaim::release). If this
/// process dies, or panics while it holds the claim, they stay in the ring and come again, marked as such. Dropped
/// otherwise, it is released.
///
/// ```
/// let ring = mpshm::Ring::<[u8]>::new(100)?;
/// let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
/// producer.push(b"hello")?;
/// let message = consumer.claim()?;
/// assert_eq!((message.len(), message.to_vec()), (5, b"hello".to_vec()));
/// message.give_back();
/// let again = consumer.claim()?;
/// assert_eq!(again.deliveries(), 2);
/// again.release();
/// assert!(ring.is_empty());
/// # Ok::<(), mpshm::Error>(())
/// ```
///
/// It lies in the ring's memory, which the consumer keeps mapped, and so cannot outlive that:
///
/// ```compile_fail,E0505
/// let mut consumer = mpshm::Ring::<u64>::new(4)?.consumer();
/// let claim = consumer.claim(1)?;
/// drop(consumer);
/// claim.release();
/// # Ok::<(), mpshm::Error>(())
/// ```
#[must_use = "dropped, it is released"]
pub struct RingClaim<'r, T: Pod> {
    end: &'r mut ReadEnd,
    claimed: Claimed,
    items: PhantomData<T>,
}

impl<'r, T: Pod> RingClaim<'r, T> {
    #[inline(always)]
    pub(super) fn new(end: &'r mut ReadEnd, claimed: Claimed) -> Self {
        Self { end, claimed, items: PhantomData }
    }

    #[inline]
    fn start(&self) -> *const T {
        self.claimed.start.cast()
    }

    /// The first item; [`len`](Self::len) items can be read.
    #[inline]
    #[must_use]
    pub fn as_ptr(&self) -> *const T {
        self.start()
    }

    /// Items that are claimed; bytes of the message.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.claimed.count
    }

    /// Whether the message has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often these items have been handed out, this time included: 1 is the ordinary case, more means that
    /// another may have worked on them. Never too few; of items that were once handed out together with others there may
    /// be fewer, for the ring keeps one number for all that was.
    #[must_use]
    pub fn deliveries(&self) -> u32 {
        u32::try_from(self.claimed.deliveries).unwrap_or(u32::MAX)
    }

    /// One item.
    ///
    /// # Errors
    /// `TooBig` when there is no such item.
    pub fn read(&self, index: usize) -> Result<T> {
        check_range(index, 1, self.len(), "claimed")?;
        // SAFETY: inside the claim, as just checked; any bytes are a `T`.
        Ok(unsafe { self.start().add(index).read() })
    }

    /// Copies items from `index` on into `buffer`, as many as it holds.
    ///
    /// # Errors
    /// `TooBig` when they reach past the claim; nothing is copied then.
    pub fn read_at(&self, index: usize, buffer: &mut [T]) -> Result<()> {
        check_range(index, buffer.len(), self.len(), "claimed")?;
        // SAFETY: inside the claim, as just checked.
        unsafe {
            self.start().add(index).copy_to_nonoverlapping(buffer.as_mut_ptr(), buffer.len());
        }
        Ok(())
    }

    /// Copies what is claimed.
    #[must_use]
    pub fn to_vec(&self) -> Vec<T> {
        let mut items = Vec::with_capacity(self.len());
        // SAFETY: as in `read_at`; the vector has room for them.
        unsafe {
            self.start().copy_to_nonoverlapping(items.as_mut_ptr(), self.len());
            items.set_len(self.len());
        }
        items
    }

    /// What is claimed as a slice.
    ///
    /// # Safety
    /// Every process that has the segment mapped keeps to the protocol: none writes to what is in the ring.
    #[inline]
    #[must_use]
    pub unsafe fn as_slice(&self) -> &[T] {
        // SAFETY: inside the claim; unchanging by the caller's word.
        unsafe { std::slice::from_raw_parts(self.start(), self.len()) }
    }

    /// Ends the claim: all of it is consumed.
    #[inline(always)]
    pub fn release(mut self) {
        self.consume(self.claimed.bytes);
        std::mem::forget(self);
    }

    /// Ends the claim: the items stay in the ring, and come again, marked.
    pub fn give_back(self) {
        self.let_go();
        std::mem::forget(self);
    }

    fn let_go(&self) {
        // In a forked child the claim is the parent's.
        if self.end.is_here() {
            self.end.give_back();
        }
    }

    #[inline(always)]
    fn consume(&mut self, bytes: u64) {
        // In a forked child the claim is the parent's.
        if self.end.is_here() {
            self.end.consume(bytes);
            if bytes < self.claimed.bytes || self.claimed.deliveries > 1 {
                self.end.unclaim(self.claimed.deliveries);
            }
        }
    }

    /// Ends the claim: the first `count` items are consumed, the others come next, as if they had not been claimed. Of
    /// a message, all or none.
    ///
    /// # Errors
    /// `TooBig` when fewer are claimed, `Invalid` for a part of a message: then none is consumed, and they come again.
    pub fn release_first(mut self, count: usize) -> Result<()> {
        let mut checked = check_range(0, count, self.len(), "claimed");
        if checked.is_ok() && count == self.len() {
            self.consume(self.claimed.bytes);
        } else if checked.is_ok() && self.end.core.is_framed() && count > 0 {
            let text = format!("{count} of {} bytes of a message were released", self.len());
            checked = Err(Error::new(ErrorKind::Invalid, text));
        } else if checked.is_ok() {
            self.consume((count * size_of::<T>()) as u64);
        }
        if checked.is_err() {
            self.let_go();
        }
        std::mem::forget(self);
        checked
    }
}

impl<T: Pod> Drop for RingClaim<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.let_go();
        } else {
            self.consume(self.claimed.bytes);
        }
    }
}

macro_rules! debug {
    ($name:ident) => {
        impl<T: Pod> std::fmt::Debug for $name<'_, T> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).field("len", &self.len()).finish_non_exhaustive()
            }
        }
    };
}
debug!(RingReservation);
debug!(RingClaim);

#[inline(always)]
fn check_range(index: usize, count: usize, length: usize, what: &str) -> Result<()> {
    if index.checked_add(count).is_some_and(|end| end <= length) {
        return Ok(());
    }
    Err(out_of_range(index, count, length, what))
}

#[cold]
fn out_of_range(index: usize, count: usize, length: usize, what: &str) -> Error {
    Error::new(ErrorKind::TooBig, format!("{count} items at {index}: only {length} are {what}"))
}

#[inline(always)]
fn check_process(is_here: bool, what: &str) -> Result<()> {
    if is_here { Ok(()) } else { Err(forked(what)) }
}

#[cold]
fn forked(what: &str) -> Error {
    Error::new(
        ErrorKind::Forked,
        format!("the {what} belongs to the parent process and cannot be used in a forked child"),
    )
}
