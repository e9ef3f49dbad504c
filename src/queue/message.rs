//! Messages in place: a reservation to write into, a claim to read from.
//!
//! Both are raw views: a peer may be hostile, so nothing here hands out `&[u8]` without `unsafe`.

use crate::error::{Error, ErrorKind, Result};
use crate::layout::plain::Pod;
use crate::os::clock::Deadline;
use crate::os::fork;
use crate::queue::core::Core;
use crate::queue::error::PushError;
use crate::queue::exchange::{Held, Reserved};

/// A block that a message is written into, then [committed](Reservation::commit). Dropped before that,
/// the block is free again and nothing was pushed. Killed before that: the same.
///
/// ```
/// let queue = mpshm::Queue::<[u8]>::new(4, 64)?;
/// let mut message = queue.reserve(5)?;
/// message.write_at(0, b"hello")?;
/// message.commit(5)?;
/// assert_eq!(queue.pop()?, b"hello");
/// # Ok::<(), mpshm::Error>(())
/// ```
#[must_use = "dropped, it is aborted"]
pub struct Reservation<'q> {
    core: &'q Core,
    reserved: Reserved,
    length: usize,
    /// Until when a commit may wait; never for one that was made without waiting.
    deadline: Option<Deadline>,
    process: u32,
}

impl<'q> Reservation<'q> {
    #[inline]
    pub(crate) fn new(
        core: &'q Core,
        reserved: Reserved,
        length: usize,
        deadline: Option<Deadline>,
    ) -> Self {
        Self { core, reserved, length, deadline, process: core.process() }
    }

    /// Where to write: [`len`](Self::len) bytes, aligned as the queue's options say (16 by default).
    #[must_use]
    #[inline]
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.core.payload(self.reserved.held.block)
    }

    /// Bytes that were reserved.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether no bytes were reserved: a message may be empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Copies `bytes` to `offset`.
    ///
    /// # Errors
    /// `TooBig` when they reach past what was reserved, `Forked` in a child of the process that reserved;
    /// nothing is written then.
    #[inline]
    pub fn write_at(&mut self, offset: usize, bytes: &[u8]) -> Result<()> {
        check_range(offset, bytes.len(), self.length, "reserved")?;
        if self.process != fork::generation() {
            return Err(forked("reservation"));
        }
        // SAFETY: inside the payload of a block that this process owns, as just checked.
        unsafe {
            self.as_mut_ptr().add(offset).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        Ok(())
    }

    /// The reserved bytes as a slice.
    ///
    /// # Safety
    /// Every process that has the segment mapped keeps to the protocol: none writes to a block that
    /// is reserved by another.
    #[inline]
    pub unsafe fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: inside the payload; exclusive by the caller's word and ours.
        unsafe { std::slice::from_raw_parts_mut(self.as_mut_ptr(), self.length) }
    }

    /// Pushes the first `length` bytes as one message: visible to every consumer when this returns.
    ///
    /// If others filled the queue meanwhile, waits for room for as long as the reservation was
    /// allowed to wait.
    ///
    /// # Errors
    /// The reservation comes back, to be committed again or dropped: `Full` (from a `try_reserve`), `TimedOut`,
    /// `Interrupted`, `Closed`, or `Failed` with `TooBig` when `length` is more than was reserved.
    #[inline]
    pub fn commit(self, length: usize) -> std::result::Result<(), PushError<Self>> {
        if length > self.length {
            let error = Error::new(
                ErrorKind::TooBig,
                format!("a commit of {length} bytes, {} were reserved", self.length),
            );
            return Err(PushError::Failed(self, error));
        }
        if self.process != fork::generation() {
            let error = forked("reservation");
            return Err(PushError::Failed(self, error));
        }
        let committed = self.core.try_commit(self.reserved, length as u32);
        let committed = match (committed, self.deadline) {
            (Err(failure), Some(deadline)) if failure.is_full() => {
                self.core.commit(self.reserved, length as u32, deadline)
            }
            (other, _) => other,
        };
        match committed {
            Ok(()) => {
                std::mem::forget(self);
                Ok(())
            }
            Err(failure) => Err(failure.push(self)),
        }
    }
}

impl Drop for Reservation<'_> {
    #[inline]
    fn drop(&mut self) {
        // In a forked child the block is the parent's.
        if self.process == fork::generation() {
            self.core.abort(self.reserved.held);
        }
    }
}

impl std::fmt::Debug for Reservation<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reservation").field("len", &self.length).finish_non_exhaustive()
    }
}

/// A message that is read in place, then [released](Claim::release).
///
/// While it is claimed nobody else gets it. If this process dies, or panics while it holds the claim, the
/// message goes back and is delivered again, marked as such. Dropped otherwise, it is released.
///
/// ```
/// let queue = mpshm::Queue::<[u8]>::new(4, 64)?;
/// queue.push(b"hello")?;
/// let message = queue.claim()?;
/// assert_eq!((message.len(), message.to_vec()), (5, b"hello".to_vec()));
/// message.give_back();
/// let again = queue.claim()?;
/// assert_eq!(again.deliveries(), 2);
/// again.release();
/// assert!(queue.is_empty());
/// # Ok::<(), mpshm::Error>(())
/// ```
///
/// It lies in the queue's memory, which the queue's handle keeps mapped, and so cannot outlive that:
///
/// ```compile_fail,E0505
/// let queue = mpshm::Queue::<[u8]>::new(4, 64)?;
/// let message = queue.claim()?;
/// drop(queue);
/// message.release();
/// # Ok::<(), mpshm::Error>(())
/// ```
#[must_use = "dropped, it is released"]
pub struct Claim<'q> {
    core: &'q Core,
    held: Held,
    length: usize,
    process: u32,
}

impl<'q> Claim<'q> {
    #[inline]
    pub(crate) fn new(core: &'q Core, held: Held) -> Result<Self> {
        let length = core.length(held).inspect_err(|_| core.release(held))?;
        Ok(Self { core, held, length, process: core.process() })
    }

    /// The message's first byte; [`len`](Self::len) bytes can be read.
    #[must_use]
    #[inline]
    pub fn as_ptr(&self) -> *const u8 {
        self.core.payload(self.held.block)
    }

    /// Bytes of the message.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether the message has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// How often the message has been handed to a consumer, this time included: 1 is the ordinary
    /// case, more means that another may have worked on it. After a consumer that died just
    /// when it took a redelivered message, the count is one too low.
    #[must_use]
    pub fn deliveries(&self) -> u32 {
        self.core.redelivered(self.held).saturating_add(1)
    }

    /// Copies bytes from `offset` on into `buffer`, as many as it holds.
    ///
    /// # Errors
    /// `TooBig` when they reach past the message; nothing is copied then.
    #[inline]
    pub fn read_at(&self, offset: usize, buffer: &mut [u8]) -> Result<()> {
        check_range(offset, buffer.len(), self.length, "in the message")?;
        // SAFETY: inside the payload of a block that this process has leased, as just checked.
        unsafe {
            self.as_ptr().add(offset).copy_to_nonoverlapping(buffer.as_mut_ptr(), buffer.len());
        }
        Ok(())
    }

    /// Copies the message.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.to_vec_from(0)
    }

    /// Copies the message from `offset` on; nothing when it is shorter.
    pub(crate) fn to_vec_from(&self, offset: usize) -> Vec<u8> {
        let offset = offset.min(self.length);
        let count = self.length - offset;
        let mut bytes = Vec::with_capacity(count);
        // SAFETY: as in `read_at`; the vector has room for `count` bytes.
        unsafe {
            self.as_ptr().add(offset).copy_to_nonoverlapping(bytes.as_mut_ptr(), count);
            bytes.set_len(count);
        }
        bytes
    }

    /// The message as a slice.
    ///
    /// # Safety
    /// Every process that has the segment mapped keeps to the protocol: none writes to a block that
    /// another has claimed.
    #[must_use]
    #[inline]
    pub unsafe fn as_slice(&self) -> &[u8] {
        // SAFETY: inside the payload; unchanging by the caller's word.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.length) }
    }

    /// The item as a `T`, which it must have the bytes of.
    ///
    /// # Errors
    /// `Type` when it has more or less.
    pub fn read<T: Pod>(&self) -> Result<T> {
        let mut value = T::zeroed();
        if self.length != size_of::<T>() {
            return Err(Error::new(
                ErrorKind::Type,
                format!("an item of {} bytes was read as one of {}", self.length, size_of::<T>()),
            ));
        }
        self.read_at(0, bytemuck::bytes_of_mut(&mut value))?;
        Ok(value)
    }

    /// Copies the message, which is popped then.
    pub(crate) fn consume(self) -> Vec<u8> {
        let bytes = self.to_vec();
        self.keep();
        bytes
    }

    /// The message is popped: in a joinable queue it stays this process's until it is done.
    pub(crate) fn keep(self) {
        self.core.consume(self.held);
        std::mem::forget(self);
    }

    /// Ends the claim: the message is consumed, and in a joinable queue done.
    #[inline]
    pub fn release(self) {
        drop(self);
    }

    /// Ends the claim: the message goes back to be delivered again.
    pub fn give_back(self) {
        if self.process == fork::generation() {
            self.core.give_back(self.held);
        }
        std::mem::forget(self);
    }
}

impl Drop for Claim<'_> {
    #[inline]
    fn drop(&mut self) {
        // In a forked child the claim is the parent's.
        if self.process != fork::generation() {
            return;
        }
        if std::thread::panicking() {
            self.core.give_back(self.held);
        } else {
            self.core.release(self.held);
        }
    }
}

impl std::fmt::Debug for Claim<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim").field("len", &self.length).finish_non_exhaustive()
    }
}

fn check_range(offset: usize, count: usize, length: usize, what: &str) -> Result<()> {
    if offset.checked_add(count).is_none_or(|end| end > length) {
        return Err(Error::new(
            ErrorKind::TooBig,
            format!("{count} bytes at offset {offset}: only {length} are {what}"),
        ));
    }
    Ok(())
}

fn forked(what: &str) -> Error {
    Error::new(
        ErrorKind::Forked,
        format!("the {what} belongs to the parent process and cannot be used in a forked child"),
    )
}
