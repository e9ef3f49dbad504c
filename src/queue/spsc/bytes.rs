//! Rings of messages, `Ring<[u8]>`: push and pop, in place, and as a stream of bytes.
//!
//! A message lies behind its length, on a multiple of eight, and is contiguous wherever it begins, for the storage is
//! mapped twice.

use crate::error::Error;
use crate::os::clock::Deadline;
use crate::queue::error::{Failure, PopError, PushError};
use crate::queue::mpmc::{Popped, Pushed};
use crate::queue::ring::Refusal;
use crate::queue::spsc::core::{copy_out, message, write_message};
use crate::queue::spsc::place::{RingClaim, RingReservation};
use crate::queue::spsc::read_end::ReadEnd;
use crate::queue::spsc::ring::{RingConsumer, RingProducer};
use crate::queue::spsc::shape::record;
use std::io;

type Reserved<'r> = std::result::Result<RingReservation<'r, u8>, PushError<()>>;
type Done<T> = std::result::Result<T, Failure>;

impl RingProducer<[u8]> {
    /// Pushes a copy of `message` without waiting.
    ///
    /// # Errors
    /// `Full`, `Closed`, `PeerDead`, `Failed` (with `TooBig` when it is longer than the capacity, `Busy` when somebody else
    /// is the producer).
    #[inline]
    pub fn try_push(&mut self, message: &[u8]) -> Pushed<()> {
        self.put(message).map_err(|failure| failure.push(()))
    }

    #[inline]
    fn put(&mut self, message: &[u8]) -> Done<()> {
        let count = self.end.core.bytes_of(message.len());
        // SAFETY: there is room for the record.
        self.end.try_write(count, |place| unsafe { write_message(place, message) })
    }

    /// Pushes a copy of `message`, waiting for room.
    ///
    /// # Errors
    /// `Closed`, `PeerDead`, `Interrupted`, `Failed`; `Full` where that is the ring's [policy](crate::WhenFull).
    #[inline]
    pub fn push(&mut self, message: &[u8]) -> Pushed<()> {
        self.push_timeout(message, Deadline::FOREVER)
    }

    /// Pushes a copy of `message`, waiting for room until `deadline`.
    ///
    /// # Errors
    /// Those of [`push`](Self::push), and `TimedOut`.
    #[inline]
    pub fn push_timeout(&mut self, message: &[u8], deadline: impl Into<Deadline>) -> Pushed<()> {
        let count = self.end.core.bytes_of(message.len());
        // SAFETY: there is room for the record.
        let put = |place| unsafe { write_message(place, message) };
        self.end
            .wait(count, deadline.into(), |end| end.try_write(count, put))
            .map_err(|failure| failure.push(()))
    }

    /// Pushes copies of as many of `messages` as fit, in their order, without waiting, and says how many: they become
    /// visible all at once.
    ///
    /// ```
    /// let ring = mpshm::Ring::<[u8]>::new(64)?;
    /// assert_eq!(ring.producer().try_push_many(&[[1; 16], [2; 16], [3; 16]])?, 3);
    /// assert_eq!(ring.consumer().try_pop_many(2)?, [[1; 16], [2; 16]]);
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// None was pushed: those of [`try_push`](Self::try_push).
    pub fn try_push_many<M: AsRef<[u8]>>(
        &mut self,
        messages: &[M],
    ) -> std::result::Result<usize, PushError<()>> {
        self.some(messages, None).map_err(|failure| failure.push(()))
    }

    /// Pushes copies of all of `messages` in their order, waiting for room; those that find room at a time become visible
    /// at once.
    ///
    /// # Errors
    /// How many were pushed, and why no more: those of [`push`](Self::push).
    pub fn push_many<M: AsRef<[u8]>>(&mut self, messages: &[M]) -> Pushed<usize> {
        self.push_many_timeout(messages, Deadline::FOREVER)
    }

    /// [`push_many`](Self::push_many), waiting for room until `deadline`.
    ///
    /// # Errors
    /// Those of [`push_many`](Self::push_many), and `TimedOut`.
    pub fn push_many_timeout<M: AsRef<[u8]>>(
        &mut self,
        messages: &[M],
        deadline: impl Into<Deadline>,
    ) -> Pushed<usize> {
        let deadline = deadline.into();
        let mut pushed = 0;
        loop {
            let some = self.some(&messages[pushed..], Some(deadline));
            pushed += some.map_err(|failure| failure.push(pushed))?;
            if pushed >= messages.len() {
                return Ok(());
            }
        }
    }

    fn some<M: AsRef<[u8]>>(&mut self, messages: &[M], deadline: Option<Deadline>) -> Done<usize> {
        self.end.write_many(messages.iter().map(AsRef::as_ref), deadline)
    }

    /// Pushes copies of all of `messages`, or of none, without waiting: they become visible all at once.
    ///
    /// # Errors
    /// None was pushed: those of [`try_push`](Self::try_push).
    pub fn try_push_all<M: AsRef<[u8]>>(&mut self, messages: &[M]) -> Pushed<()> {
        self.all(messages, None).map_err(|failure| failure.push(()))
    }

    /// Pushes copies of all of `messages`, or of none, waiting for room: they become visible all at once.
    ///
    /// ```
    /// let ring = mpshm::Ring::<[u8]>::new(64)?;
    /// ring.producer().push_all(&["head", "body"])?;
    /// assert_eq!(ring.len(), 2);
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// None was pushed: those of [`push`](Self::push), or `Failed` with `TooBig` when the ring is smaller than all.
    pub fn push_all<M: AsRef<[u8]>>(&mut self, messages: &[M]) -> Pushed<()> {
        self.push_all_timeout(messages, Deadline::FOREVER)
    }

    /// [`push_all`](Self::push_all), waiting for room until `deadline`.
    ///
    /// # Errors
    /// Those of [`push_all`](Self::push_all), and `TimedOut`.
    pub fn push_all_timeout<M: AsRef<[u8]>>(
        &mut self,
        messages: &[M],
        deadline: impl Into<Deadline>,
    ) -> Pushed<()> {
        self.all(messages, Some(deadline.into())).map_err(|failure| failure.push(()))
    }

    fn all<M: AsRef<[u8]>>(&mut self, messages: &[M], deadline: Option<Deadline>) -> Done<()> {
        if self.end.core.overwrites() {
            return self.all_at_once(messages);
        }
        let bytes = messages.iter().map(|message| self.end.core.bytes_of(message.as_ref().len()));
        self.end.room_for_one(bytes.sum(), deadline)?;
        self.some(messages, None).map(|_| ())
    }

    /// For a ring that overwrites: one write, as if it were of one record.
    fn all_at_once<M: AsRef<[u8]>>(&mut self, messages: &[M]) -> Done<()> {
        // Asked for once, so that their lengths stay what they are.
        let messages: Vec<&[u8]> = messages.iter().map(AsRef::as_ref).collect();
        let bytes = messages.iter().map(|message| self.end.core.bytes_of(message.len())).sum();
        self.end.try_write(bytes, |mut place| {
            for message in messages {
                // SAFETY: `try_write` found room for the records of all.
                unsafe {
                    write_message(place, message);
                    place = place.add(record(message.len() as u64) as usize);
                }
            }
        })
    }

    /// Room for a message of up to `length` bytes, contiguous, without waiting. Where there is known to be room, the ring is not looked at: that it
    /// has been closed, the commit says.
    ///
    /// # Errors
    /// Those of [`try_push`](Self::try_push).
    #[inline(always)]
    pub fn try_reserve(&mut self, length: usize) -> Reserved<'_> {
        self.reserved(length, None)
    }

    /// Room for a message of up to `length` bytes, contiguous, waiting for it.
    ///
    /// ```
    /// let ring = mpshm::Ring::<[u8]>::new(4096)?;
    /// let mut producer = ring.producer();
    /// let mut message = producer.reserve(1000)?;
    /// message.write_at(0, b"short")?;
    /// message.commit(5)?;
    /// assert_eq!(ring.consumer().pop()?, b"short");
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`push`](Self::push).
    pub fn reserve(&mut self, length: usize) -> Reserved<'_> {
        self.reserved(length, Some(Deadline::FOREVER))
    }

    /// Room for a message of up to `length` bytes, contiguous, waiting for it until `deadline`.
    ///
    /// # Errors
    /// Those of [`push`](Self::push), and `TimedOut`.
    pub fn reserve_timeout(
        &mut self,
        length: usize,
        deadline: impl Into<Deadline>,
    ) -> Reserved<'_> {
        self.reserved(length, Some(deadline.into()))
    }

    #[inline(always)]
    fn reserved(&mut self, length: usize, deadline: Option<Deadline>) -> Reserved<'_> {
        let room = self.end.room_for_one(self.end.core.bytes_of(length), deadline);
        room.map_err(|failure| failure.push(()))?;
        Ok(RingReservation::new(&mut self.end, length))
    }
}

impl RingConsumer<[u8]> {
    fn take(place: *const u8, count: u64) -> Done<Vec<u8>> {
        // SAFETY: `try_read` found so many bytes there.
        let (bytes, length) = unsafe { message(place, count) }?;
        let mut message = Vec::with_capacity(length);
        // SAFETY: `read` checked the length; the vector has room for it.
        unsafe {
            bytes.copy_to_nonoverlapping(message.as_mut_ptr(), length);
            message.set_len(length);
        }
        Ok(message)
    }

    /// Pops a message without waiting.
    ///
    /// # Errors
    /// `Empty`, `Closed`, `PeerDead`, `Failed` (with `Busy` when somebody else is the consumer).
    pub fn try_pop(&mut self) -> Popped<Vec<u8>> {
        self.end.try_read(Self::take).map_err(Failure::pop)
    }

    /// Pops a message, waiting for one.
    ///
    /// # Errors
    /// `Closed`, `PeerDead`, `Interrupted`, `Failed`.
    pub fn pop(&mut self) -> Popped<Vec<u8>> {
        self.pop_timeout(Deadline::FOREVER)
    }

    /// Pops a message, waiting for one until `deadline`.
    ///
    /// # Errors
    /// Those of [`pop`](Self::pop), and `TimedOut`.
    pub fn pop_timeout(&mut self, deadline: impl Into<Deadline>) -> Popped<Vec<u8>> {
        self.end.wait(deadline.into(), |end| end.try_read(Self::take)).map_err(Failure::pop)
    }

    /// Pops a message into `buffer` without waiting, and says how long it is.
    ///
    /// # Errors
    /// Those of [`try_pop`](Self::try_pop); `Failed` with `TooBig` when the buffer is too short: the message stays, and
    /// the error says its length.
    pub fn try_pop_into(&mut self, buffer: &mut [u8]) -> Popped<usize> {
        self.end.try_read(|place, count| into(place, count, buffer)).map_err(Failure::pop)
    }

    /// Pops a message into `buffer`, waiting for one, and says how long it is.
    ///
    /// ```
    /// let ring = mpshm::Ring::<[u8]>::new(100)?;
    /// ring.producer().push(b"hello")?;
    /// let mut consumer = ring.consumer();
    /// assert!(consumer.pop_into(&mut [0; 4]).is_err());
    /// let mut buffer = [0; 8];
    /// assert_eq!(consumer.pop_into(&mut buffer)?, 5);
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`pop`](Self::pop); `Failed` with `TooBig` as for [`try_pop_into`](Self::try_pop_into).
    pub fn pop_into(&mut self, buffer: &mut [u8]) -> Popped<usize> {
        self.pop_into_timeout(buffer, Deadline::FOREVER)
    }

    /// [`pop_into`](Self::pop_into), waiting until `deadline`.
    ///
    /// # Errors
    /// Those of [`pop_into`](Self::pop_into), and `TimedOut`.
    pub fn pop_into_timeout(
        &mut self,
        buffer: &mut [u8],
        deadline: impl Into<Deadline>,
    ) -> Popped<usize> {
        let read = |end: &mut ReadEnd| end.try_read(|place, count| into(place, count, buffer));
        self.end.wait(deadline.into(), read).map_err(Failure::pop)
    }

    /// Pops as many messages as there are, up to `most`, without waiting.
    ///
    /// # Errors
    /// None was popped: `Empty`, `Closed`, `PeerDead`, `Failed`.
    pub fn try_pop_many(&mut self, most: usize) -> Popped<Vec<Vec<u8>>> {
        if most == 0 {
            return self.end.ready().map(|()| Vec::new()).map_err(PopError::Failed);
        }
        let mut messages = Vec::new();
        while messages.len() < most {
            match self.try_pop() {
                Ok(message) => messages.push(message),
                Err(error) if messages.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        Ok(messages)
    }

    /// Pops as many messages as there are, up to `most`, waiting for the first one.
    ///
    /// # Errors
    /// None was popped: those of [`pop`](Self::pop).
    pub fn pop_many(&mut self, most: usize) -> Popped<Vec<Vec<u8>>> {
        self.pop_many_timeout(most, Deadline::FOREVER)
    }

    /// [`pop_many`](Self::pop_many), waiting for the first one until `deadline`.
    ///
    /// # Errors
    /// Also `TimedOut`.
    pub fn pop_many_timeout(
        &mut self,
        most: usize,
        deadline: impl Into<Deadline>,
    ) -> Popped<Vec<Vec<u8>>> {
        if most == 0 {
            return self.try_pop_many(0);
        }
        let mut messages = vec![self.pop_timeout(deadline)?];
        messages.extend(self.try_pop_many(most - 1).unwrap_or_default());
        Ok(messages)
    }

    /// The oldest message, to be read in place, without waiting.
    ///
    /// # Errors
    /// `Empty`, `Closed`, `PeerDead`, `Failed` (with `Invalid` in a ring that overwrites).
    #[inline(always)]
    pub fn try_claim(&mut self) -> Popped<RingClaim<'_, u8>> {
        self.claimed(None)
    }

    /// The oldest message, to be read in place, waiting for one.
    ///
    /// # Errors
    /// Those of [`pop`](Self::pop), and `Failed` with `Invalid` in a ring that overwrites.
    pub fn claim(&mut self) -> Popped<RingClaim<'_, u8>> {
        self.claimed(Some(Deadline::FOREVER))
    }

    /// The oldest message, to be read in place, waiting for one until `deadline`.
    ///
    /// # Errors
    /// Those of [`claim`](Self::claim), and `TimedOut`.
    pub fn claim_timeout(&mut self, deadline: impl Into<Deadline>) -> Popped<RingClaim<'_, u8>> {
        self.claimed(Some(deadline.into()))
    }

    #[inline(always)]
    fn claimed(&mut self, deadline: Option<Deadline>) -> Popped<RingClaim<'_, u8>> {
        let claimed = self.end.front_message(deadline, true).map_err(Failure::pop)?;
        Ok(RingClaim::new(&mut self.end, claimed))
    }

    /// Pops until the ring is closed and drained, or its producer has died.
    pub fn iter(&mut self) -> RingMessages<'_> {
        RingMessages(self)
    }
}

/// A message into a buffer; refused when that is too short.
fn into(place: *const u8, count: u64, buffer: &mut [u8]) -> Done<usize> {
    // SAFETY: `try_read` found so many bytes there; the buffer is a slice.
    unsafe { copy_out(place, count, true, buffer.as_mut_ptr(), buffer.len()) }
}

/// Pops until [`PopError::Closed`](crate::PopError::Closed), or another error.
#[derive(Debug)]
pub struct RingMessages<'r>(&'r mut RingConsumer<[u8]>);

impl Iterator for RingMessages<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        self.0.pop().ok()
    }
}

impl<'r> IntoIterator for &'r mut RingConsumer<[u8]> {
    type Item = Vec<u8>;
    type IntoIter = RingMessages<'r>;

    fn into_iter(self) -> RingMessages<'r> {
        self.iter()
    }
}

impl<'m> Extend<&'m [u8]> for RingProducer<[u8]> {
    /// Pushes a copy of each message, waiting for room.
    ///
    /// # Panics
    /// When a message cannot be pushed, as into a closed ring: there is nobody else to tell.
    fn extend<I: IntoIterator<Item = &'m [u8]>>(&mut self, messages: I) {
        for message in messages {
            if let Err(error) = self.push(message).map_err(Error::from) {
                panic!("a message was not pushed: {error}");
            }
        }
    }
}

/// A stream of bytes: each write is one message of as many bytes as the ring can hold; it waits for room.
///
/// ```
/// use std::io::{BufRead, BufReader, Write};
/// let ring = mpshm::Ring::<[u8]>::new(64)?;
/// writeln!(ring.producer(), "one line")?;
/// ring.close()?;
/// let mut lines = BufReader::new(ring.consumer()).lines();
/// assert_eq!(lines.next().unwrap()?, "one line");
/// assert!(lines.next().is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl io::Write for RingProducer<[u8]> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.end.core.shape.plan.capacity as usize);
        if count == 0 {
            return Ok(0);
        }
        match self.push(&bytes[..count]) {
            Ok(()) => Ok(count),
            Err(PushError::Closed(()) | PushError::PeerDead(())) => {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            Err(error) => Err(Error::from(error).into()),
        }
    }

    /// What was written is visible already.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A stream of bytes: a read takes bytes of one message, and leaves what does not fit for the next one; it
/// waits for a message. A message that was read in part is still in the ring, as handed out: a pop gives all of it, and a
/// claim too, marked. The end of the stream is a closed ring, drained; a producer that died is an error, and so is a
/// ring that overwrites.
impl io::Read for RingConsumer<[u8]> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let position = self.end.position();
            let begun = if self.partly.0 == position { self.partly.1 } else { 0 };
            let message = match self.end.front_message(Some(Deadline::FOREVER), begun == 0) {
                Ok(message) => message,
                Err(Failure::Refused(Refusal::Closed)) => return Ok(0),
                Err(failure) => return Err(Error::from(failure.pop()).into()),
            };
            let begun = begun.min(message.count);
            let count = buffer.len().min(message.count - begun);
            // SAFETY: inside the message; the buffer has room for so many.
            unsafe { message.start.add(begun).copy_to_nonoverlapping(buffer.as_mut_ptr(), count) };
            if begun + count < message.count {
                self.partly = (self.end.position(), begun + count);
            } else {
                self.end.consume(message.bytes);
            }
            if count > 0 {
                return Ok(count); // and a message without bytes is not the end
            }
        }
    }
}
