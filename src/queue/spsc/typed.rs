//! Rings of plain items, `Ring<T>`: push and pop, slices in place.

use crate::layout::plain::Pod;
use crate::os::clock::Deadline;
use crate::queue::error::{Failure, PopError, PushError};
use crate::queue::mpmc::{Popped, Pushed};
use crate::queue::spsc::place::{RingClaim, RingReservation};
use crate::queue::spsc::read_end::ReadEnd;
use crate::queue::spsc::ring::{RingConsumer, RingProducer};
use crate::queue::spsc::write_end::WriteEnd;

type Reserved<'r, T> = std::result::Result<RingReservation<'r, T>, PushError<()>>;

impl<T: Pod> RingProducer<T> {
    const SIZE: u64 = size_of::<T>() as u64;

    #[inline]
    fn put(&mut self, value: T) -> std::result::Result<(), Failure> {
        // SAFETY: `try_write` found room for so many bytes there; on their way into a ring that overwrites they lie
        // anywhere.
        self.end
            .try_write(Self::SIZE, move |place| unsafe { place.cast::<T>().write_unaligned(value) })
    }

    /// Pushes without waiting.
    ///
    /// ```
    /// use mpshm::{PushError, Ring};
    /// let mut producer = Ring::<u8>::new(1)?.producer();
    /// producer.try_push(1)?;
    /// assert_eq!(producer.try_push(2), Err(PushError::Full(2)));
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// The value comes back: `Full`, `Closed`, `PeerDead`, `Failed` (with `Busy` when somebody else is the producer).
    #[inline]
    pub fn try_push(&mut self, value: T) -> Pushed<T> {
        self.put(value).map_err(|failure| failure.push(value))
    }

    /// Pushes, waiting for room.
    ///
    /// # Errors
    /// The value comes back: `Closed`, `PeerDead`, `Interrupted`, `Failed`; `Full` where that is the ring's
    /// [policy](crate::WhenFull).
    #[inline]
    pub fn push(&mut self, value: T) -> Pushed<T> {
        self.push_timeout(value, Deadline::FOREVER)
    }

    /// Pushes, waiting for room until `deadline` (a [`Deadline`], a `Duration` or an `Instant`).
    ///
    /// # Errors
    /// Those of [`push`](Self::push), and `TimedOut`.
    #[inline]
    pub fn push_timeout(&mut self, value: T, deadline: impl Into<Deadline>) -> Pushed<T> {
        match self.put(value) {
            Err(failure) if failure.is_full() => {
                let again = self.end.wait(Self::SIZE, deadline.into(), |end| {
                    // SAFETY: as in `put`.
                    end.try_write(Self::SIZE, move |place| unsafe {
                        place.cast::<T>().write_unaligned(value)
                    })
                });
                again.map_err(|failure| failure.push(value))
            }
            other => other.map_err(|failure| failure.push(value)),
        }
    }

    /// Pushes as many of `values` as fit, in their order, without waiting, and says how many: they become visible
    /// all at once.
    ///
    /// ```
    /// let ring = mpshm::Ring::<u64>::new(4)?;
    /// assert_eq!(ring.producer().try_push_many(&[1, 2, 3, 4, 5, 6])?, 4);
    /// assert_eq!(ring.consumer().try_pop_many(10)?, [1, 2, 3, 4]);
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// None was pushed: `Full`, `Closed`, `PeerDead`, `Failed`.
    pub fn try_push_many(&mut self, values: &[T]) -> std::result::Result<usize, PushError<()>> {
        self.some(values, None).map_err(|failure| failure.push(()))
    }

    /// Pushes all of `values` in their order, waiting for room; those that find room at a time become visible at once.
    ///
    /// # Errors
    /// How many were pushed, and why no more: those of [`push`](Self::push).
    pub fn push_many(&mut self, values: &[T]) -> Pushed<usize> {
        self.push_many_timeout(values, Deadline::FOREVER)
    }

    /// [`push_many`](Self::push_many), waiting for room until `deadline`.
    ///
    /// # Errors
    /// Those of [`push_many`](Self::push_many), and `TimedOut`.
    pub fn push_many_timeout(
        &mut self,
        values: &[T],
        deadline: impl Into<Deadline>,
    ) -> Pushed<usize> {
        let deadline = deadline.into();
        let mut pushed = 0;
        loop {
            let some = self.some(&values[pushed..], Some(deadline));
            pushed += some.map_err(|failure| failure.push(pushed))?;
            if pushed >= values.len() {
                return Ok(());
            }
        }
    }

    /// Copies in what there is room for: at least one, which is waited for if there is a deadline.
    fn some(
        &mut self,
        values: &[T],
        deadline: Option<Deadline>,
    ) -> std::result::Result<usize, Failure> {
        if values.is_empty() {
            self.end.ready()?;
            return Ok(0);
        }
        if self.end.core.overwrites() {
            return WriteEnd::as_many(values.iter(), |&value| self.put(value));
        }
        self.end.room_for_one(Self::SIZE, deadline)?;
        // Looks at the other end again when what is known of is not enough.
        let wanted = (values.len() as u64).saturating_mul(Self::SIZE);
        let room = match self.end.room(wanted.min(self.end.core.shape.limit)) {
            Err(failure) if failure.is_full() => self.end.room(Self::SIZE)?,
            found => found?,
        };
        let count = values.len().min((room / Self::SIZE) as usize);
        self.copy_in(&values[..count])?;
        Ok(count)
    }

    /// There is room for them.
    fn copy_in(&mut self, values: &[T]) -> std::result::Result<(), Failure> {
        // SAFETY: the caller found room for so many items, contiguous and aligned.
        unsafe {
            self.end.place().cast::<T>().copy_from_nonoverlapping(values.as_ptr(), values.len());
        }
        self.end.commit(size_of_val(values) as u64)
    }

    /// Pushes all of `values`, or none, without waiting: they become visible all at once.
    ///
    /// ```
    /// use mpshm::{PushError, Ring};
    /// let mut producer = Ring::<u64>::new(4)?.producer();
    /// producer.try_push_all(&[1, 2, 3])?;
    /// assert_eq!(producer.try_push_all(&[4, 5]), Err(PushError::Full(())));
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// None was pushed: `Full`, `Closed`, `PeerDead`, `Failed` (with `TooBig` when the ring is smaller than that).
    pub fn try_push_all(&mut self, values: &[T]) -> Pushed<()> {
        self.all(values, None)
    }

    /// Pushes all of `values`, or none, waiting for room: they become visible all at once.
    ///
    /// # Errors
    /// None was pushed: those of [`push`](Self::push), or `Failed` with `TooBig` when the ring is smaller than that.
    pub fn push_all(&mut self, values: &[T]) -> Pushed<()> {
        self.push_all_timeout(values, Deadline::FOREVER)
    }

    /// [`push_all`](Self::push_all), waiting for room until `deadline`.
    ///
    /// # Errors
    /// Those of [`push_all`](Self::push_all), and `TimedOut`.
    pub fn push_all_timeout(&mut self, values: &[T], deadline: impl Into<Deadline>) -> Pushed<()> {
        self.all(values, Some(deadline.into()))
    }

    fn all(&mut self, values: &[T], deadline: Option<Deadline>) -> Pushed<()> {
        let done = match values {
            &[value] => self.end.wait_if(Self::SIZE, deadline, |end| {
                // SAFETY: as in `put`.
                end.try_write(Self::SIZE, move |place| unsafe {
                    place.cast::<T>().write_unaligned(value)
                })
            }),
            _ => {
                let room = self.end.room_for_one(size_of_val(values) as u64, deadline);
                room.and_then(|_| self.copy_in(values))
            }
        };
        done.map_err(|failure| failure.push(()))
    }

    /// Room for `count` items, contiguous, without waiting. Where there is known to be room, the ring is not looked at: that it
    /// has been closed, the commit says.
    ///
    /// # Errors
    /// `Full`, `Closed`, `PeerDead`, `Failed` (with `TooBig` when the ring is smaller than that, `Busy` when somebody
    /// else is the producer).
    #[inline(always)]
    pub fn try_reserve(&mut self, count: usize) -> Reserved<'_, T> {
        self.reserved(count, None)
    }

    /// Room for `count` items, contiguous, waiting for it.
    ///
    /// # Errors
    /// Those of [`push`](Self::push), and `Failed` with `TooBig` when the ring is smaller than that.
    pub fn reserve(&mut self, count: usize) -> Reserved<'_, T> {
        self.reserved(count, Some(Deadline::FOREVER))
    }

    /// Room for `count` items, contiguous, waiting for it until `deadline`.
    ///
    /// # Errors
    /// Those of [`reserve`](Self::reserve), and `TimedOut`.
    pub fn reserve_timeout(
        &mut self,
        count: usize,
        deadline: impl Into<Deadline>,
    ) -> Reserved<'_, T> {
        self.reserved(count, Some(deadline.into()))
    }

    #[inline(always)]
    fn reserved(&mut self, count: usize, deadline: Option<Deadline>) -> Reserved<'_, T> {
        let bytes = (count as u64).saturating_mul(Self::SIZE);
        let room = self.end.room_for_one(bytes, deadline);
        room.map_err(|failure| failure.push(()))?;
        Ok(RingReservation::new(&mut self.end, count))
    }
}

impl<T: Pod> RingConsumer<T> {
    const SIZE: u64 = size_of::<T>() as u64;

    /// Pops without waiting.
    ///
    /// # Errors
    /// `Empty`, `Closed`, `PeerDead`, `Failed` (with `Busy` when somebody else is the consumer).
    #[inline]
    pub fn try_pop(&mut self) -> Popped<T> {
        // SAFETY: `try_read` found the bytes of an item there; any are a `T`. A copy out of a ring that overwrites
        // lies anywhere.
        self.end
            .try_read_item(Self::SIZE, |place| unsafe { place.cast::<T>().read_unaligned() })
            .map_err(Failure::pop)
    }

    /// Pops, waiting for an item.
    ///
    /// # Errors
    /// `Closed`, `PeerDead`, `Interrupted`, `Failed`.
    #[inline]
    pub fn pop(&mut self) -> Popped<T> {
        self.pop_timeout(Deadline::FOREVER)
    }

    /// Pops, waiting for an item until `deadline` (a [`Deadline`], a `Duration` or an `Instant`).
    ///
    /// # Errors
    /// Those of [`pop`](Self::pop), and `TimedOut`.
    #[inline]
    pub fn pop_timeout(&mut self, deadline: impl Into<Deadline>) -> Popped<T> {
        match self.try_pop() {
            Err(PopError::Empty) => self
                .end
                .wait(deadline.into(), |end| {
                    // SAFETY: as in `try_pop`.
                    end.try_read_item(Self::SIZE, |place| unsafe {
                        place.cast::<T>().read_unaligned()
                    })
                })
                .map_err(Failure::pop),
            other => other,
        }
    }

    /// Pops as many items as there are, up to `most`, without waiting.
    ///
    /// # Errors
    /// None was popped: `Empty`, `Closed`, `PeerDead`, `Failed`.
    pub fn try_pop_many(&mut self, most: usize) -> Popped<Vec<T>> {
        if most == 0 {
            return self.end.ready().map(|()| Vec::new()).map_err(PopError::Failed);
        }
        if self.end.core.overwrites() {
            return self.one_by_one(most);
        }
        self.end.available_or_dead().and_then(|_| self.some(most)).map_err(Failure::pop)
    }

    /// Pops as many items as there are, up to `most`, waiting for the first one.
    ///
    /// # Errors
    /// None was popped: those of [`pop`](Self::pop).
    pub fn pop_many(&mut self, most: usize) -> Popped<Vec<T>> {
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
    ) -> Popped<Vec<T>> {
        if most == 0 {
            return self.try_pop_many(0);
        }
        if self.end.core.overwrites() {
            let mut values = vec![self.pop_timeout(deadline)?];
            values.extend(self.one_by_one(most - 1).unwrap_or_default());
            return Ok(values);
        }
        self.end
            .wait(deadline.into(), ReadEnd::available)
            .and_then(|_| self.some(most))
            .map_err(Failure::pop)
    }

    fn some(&mut self, most: usize) -> std::result::Result<Vec<T>, Failure> {
        let (bytes, count) = self.front(most)?;
        let mut values = Vec::with_capacity(count);
        // SAFETY: so many items can be read there; any bytes are a `T`, and the vector has room for them.
        unsafe {
            self.end.place().cast::<T>().copy_to_nonoverlapping(values.as_mut_ptr(), count);
            values.set_len(count);
        }
        self.end.consume(bytes);
        Ok(values)
    }

    /// Bytes and number of the items at the front, up to `most`; there is one.
    #[inline]
    fn front(&mut self, most: usize) -> std::result::Result<(u64, usize), Failure> {
        let wanted = (most as u64).saturating_mul(Self::SIZE);
        let available = self.end.available_up_to(wanted)?;
        let count = (available / Self::SIZE).min(most as u64);
        Ok((count * Self::SIZE, count as usize))
    }

    fn one_by_one(&mut self, most: usize) -> Popped<Vec<T>> {
        let mut values = Vec::new();
        while values.len() < most {
            match self.try_pop() {
                Ok(value) => values.push(value),
                Err(error) if values.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        Ok(values)
    }

    /// As many items as there are, up to `most`, to be read in place, contiguous, without waiting.
    ///
    /// # Errors
    /// `Empty`, `Closed`, `PeerDead`, `Failed` (with `Invalid` for 0 items, and in a ring that overwrites).
    #[inline(always)]
    pub fn try_claim(&mut self, most: usize) -> Popped<RingClaim<'_, T>> {
        self.claimed(most, None)
    }

    /// As many items as there are, up to `most`, to be read in place, contiguous, waiting for the first one.
    ///
    /// ```
    /// let ring = mpshm::Ring::<u64>::new(8)?;
    /// ring.producer().push_many(&[1, 2, 3, 4])?;
    /// let mut consumer = ring.consumer();
    /// let slice = consumer.claim(3)?;
    /// assert_eq!((slice.len(), slice.read(2)?), (3, 3));
    /// slice.release_first(2)?;
    /// assert_eq!(consumer.try_pop_many(9)?, [3, 4]);
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`pop`](Self::pop), and `Failed` with `Invalid` for 0 items, and in a ring that overwrites.
    pub fn claim(&mut self, most: usize) -> Popped<RingClaim<'_, T>> {
        self.claimed(most, Some(Deadline::FOREVER))
    }

    /// [`claim`](Self::claim), waiting for the first one until `deadline`.
    ///
    /// # Errors
    /// Those of [`claim`](Self::claim), and `TimedOut`.
    pub fn claim_timeout(
        &mut self,
        most: usize,
        deadline: impl Into<Deadline>,
    ) -> Popped<RingClaim<'_, T>> {
        self.claimed(most, Some(deadline.into()))
    }

    #[inline(always)]
    fn claimed(&mut self, most: usize, deadline: Option<Deadline>) -> Popped<RingClaim<'_, T>> {
        let claimed = self.end.claim_items(Self::SIZE, most, deadline).map_err(Failure::pop)?;
        Ok(RingClaim::new(&mut self.end, claimed))
    }

    /// Pops until the ring is closed and drained, or its producer has died.
    pub fn iter(&mut self) -> RingIter<'_, T> {
        RingIter(self)
    }
}

/// Pops until [`PopError::Closed`], or another error: see [`RingConsumer::iter`].
#[derive(Debug)]
pub struct RingIter<'r, T: Pod>(&'r mut RingConsumer<T>);

impl<T: Pod> Iterator for RingIter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.pop().ok()
    }
}

impl<'r, T: Pod> IntoIterator for &'r mut RingConsumer<T> {
    type Item = T;
    type IntoIter = RingIter<'r, T>;

    fn into_iter(self) -> RingIter<'r, T> {
        self.iter()
    }
}

impl<T: Pod> Extend<T> for RingProducer<T> {
    /// Pushes each item, waiting for room.
    ///
    /// # Panics
    /// When an item cannot be pushed, as into a closed ring: there is nobody else to tell.
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        for item in items {
            if let Err(error) = self.push(item).map_err(crate::error::Error::from) {
                panic!("an item was not pushed: {error}");
            }
        }
    }
}
