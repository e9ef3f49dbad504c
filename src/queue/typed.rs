//! Queues of items of one plain type: push and pop.

use crate::layout::plain::Pod;
use crate::os::clock::Deadline;
use crate::queue::error::{Failure, PopError, PushError};
use crate::queue::exchange::Held;
use crate::queue::message::Reservation;
use crate::queue::mpmc::{Popped, Pushed, Queue};
use crate::queue::options::fits_slot;
use crate::queue::role::{MayPop, MayPush, Role};

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

impl<T: Pod, R: Role> Queue<T, R> {
    /// Known without a look for items that can lie in blocks only.
    #[inline]
    fn slots(&self) -> bool {
        fits_slot(size_of::<T>()) && self.core.in_slots()
    }
}

impl<T: Pod, R: MayPush> Queue<T, R> {
    /// Pushes without waiting.
    ///
    /// # Errors
    /// The value comes back: `Full`, `Closed`, `Failed`.
    #[inline]
    pub fn try_push(&self, value: T) -> Pushed<T> {
        if let Err(error) = self.present() {
            return Err(PushError::Failed(value, error));
        }
        let attempt = || {
            if self.slots() {
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
    /// The value comes back: `Closed`, `Interrupted`, `Failed`; `Full` where that is the queue's
    /// [policy](crate::WhenFull).
    #[inline]
    pub fn push(&self, value: T) -> Pushed<T> {
        self.push_timeout(value, Deadline::FOREVER)
    }

    /// Pushes, waiting for room until `deadline` (a [`Deadline`], a `Duration` or an `Instant`).
    ///
    /// # Errors
    /// The value comes back: `TimedOut`, `Closed`, `Interrupted`, `Failed`; `Full` where that is the queue's
    /// [policy](crate::WhenFull).
    #[inline]
    pub fn push_timeout(&self, value: T, deadline: impl Into<Deadline>) -> Pushed<T> {
        if let Err(error) = self.present() {
            return Err(PushError::Failed(value, error));
        }
        if self.slots() {
            self.core.push_item(pack(value), deadline.into())
        } else {
            self.core.push(bytemuck::bytes_of(&value), deadline.into())
        }
        .map_err(|failure| failure.push(value))
    }

    /// Pushes as many of `values` as fit, in their order, without waiting; says how many. Others' items may come in
    /// between. Consumers are woken once.
    ///
    /// ```
    /// let queue = mpshm::Queue::<u64>::new(4)?;
    /// assert_eq!(queue.try_push_many(&[1, 2, 3, 4, 5, 6])?, 4);
    /// assert_eq!(queue.try_pop_many(10)?, [1, 2, 3, 4]);
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// None was pushed: `Full`, `Closed`, `Failed`.
    pub fn try_push_many(&self, values: &[T]) -> std::result::Result<usize, PushError<()>> {
        self.present().map_err(|error| PushError::Failed((), error))?;
        let attempt = || self.push_some(values);
        self.core.or_repaired(attempt(), attempt).map_err(|failure| failure.push(()))
    }

    fn push_some(&self, values: &[T]) -> std::result::Result<usize, Failure> {
        if self.slots() {
            self.core.try_push_items(values.iter().map(|&value| pack(value)))
        } else {
            self.core.try_push_many(values.iter().map(bytemuck::bytes_of))
        }
    }

    /// Pushes all of `values` in their order, waiting for room.
    ///
    /// # Errors
    /// How many were pushed, and why no more: `Closed`, `Interrupted`, `Failed`; `Full` where that is the queue's
    /// [policy](crate::WhenFull).
    pub fn push_many(&self, values: &[T]) -> Pushed<usize> {
        self.push_many_timeout(values, Deadline::FOREVER)
    }

    /// Pushes all of `values` in their order, waiting for room until `deadline`.
    ///
    /// # Errors
    /// Those of [`push_many`](Self::push_many), and `TimedOut`.
    pub fn push_many_timeout(&self, values: &[T], deadline: impl Into<Deadline>) -> Pushed<usize> {
        if let Err(error) = self.present() {
            return Err(PushError::Failed(0, error));
        }
        let deadline = deadline.into();
        let mut pushed = 0;
        while pushed < values.len() {
            let some = self.core.wait_push(deadline, || self.push_some(&values[pushed..]));
            pushed += some.map_err(|failure| failure.push(pushed))?;
        }
        Ok(())
    }

    /// A place to write an item into, without waiting; [commit](Reservation::commit) it with the item's size.
    ///
    /// # Errors
    /// `Full`, `Closed`, `Failed` (with `Invalid` when items travel in the slots).
    pub fn try_reserve(&self) -> std::result::Result<Reservation<'_>, PushError<()>> {
        self.reserved(size_of::<T>(), None)
    }

    /// A place to write an item into, waiting for room; [commit](Reservation::commit) it with the item's size.
    ///
    /// ```
    /// let queue = mpshm::Queue::<[u64; 1024]>::new(4)?;
    /// let mut item = queue.reserve()?;
    /// item.write_at(0, bytemuck::bytes_of(&[7u64; 1024]))?;
    /// item.commit(8192)?;
    /// assert_eq!(queue.pop()?[999], 7);
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Closed`, `Interrupted`, `Failed` (with `Invalid` when items travel in the slots).
    pub fn reserve(&self) -> std::result::Result<Reservation<'_>, PushError<()>> {
        self.reserved(size_of::<T>(), Some(Deadline::FOREVER))
    }

    /// A place to write an item into, waiting for room until `deadline`.
    ///
    /// # Errors
    /// Those of [`reserve`](Self::reserve), and `TimedOut`.
    pub fn reserve_timeout(
        &self,
        deadline: impl Into<Deadline>,
    ) -> std::result::Result<Reservation<'_>, PushError<()>> {
        self.reserved(size_of::<T>(), Some(deadline.into()))
    }
}

impl<T: Pod, R: MayPop> Queue<T, R> {
    /// Pops without waiting.
    ///
    /// # Errors
    /// `Empty`, `Closed`, `PeerDead`, `Failed`.
    #[inline]
    pub fn try_pop(&self) -> Popped<T> {
        if self.slots() {
            let attempt = || self.core.try_pop_item();
            return self.core.or_repaired(attempt(), attempt).map(unpack).map_err(Failure::pop);
        }
        let attempt = || self.core.try_claim();
        let held = self.core.or_repaired(attempt(), attempt).map_err(Failure::pop)?;
        self.copy_out(held).map_err(PopError::Failed)
    }

    /// Pops, waiting for an item.
    ///
    /// # Errors
    /// `Closed`, `PeerDead`, `Interrupted`, `Failed`.
    #[inline]
    pub fn pop(&self) -> Popped<T> {
        self.pop_timeout(Deadline::FOREVER)
    }

    /// Pops, waiting for an item until `deadline` (a [`Deadline`], a `Duration` or an `Instant`).
    ///
    /// # Errors
    /// `TimedOut`, `Closed`, `PeerDead`, `Interrupted`, `Failed`.
    #[inline]
    pub fn pop_timeout(&self, deadline: impl Into<Deadline>) -> Popped<T> {
        let deadline = deadline.into();
        if self.slots() {
            return self.core.pop_item(deadline).map(unpack).map_err(Failure::pop);
        }
        let held = self.core.claim(deadline).map_err(Failure::pop)?;
        self.copy_out(held).map_err(PopError::Failed)
    }

    #[inline]
    fn copy_out(&self, held: Held) -> crate::error::Result<T> {
        let mut value = T::zeroed();
        self.core.copy_out(held, bytemuck::bytes_of_mut(&mut value))?;
        Ok(value)
    }

    /// Pops as many items as there are, up to `most`, without waiting. Producers are woken once.
    ///
    /// # Errors
    /// None was popped: `Empty`, `Closed`, `PeerDead`, `Failed`.
    pub fn try_pop_many(&self, most: usize) -> Popped<Vec<T>> {
        let mut values = Vec::new();
        let result = self.pop_some(most, &mut values);
        let again = || self.pop_some(most, &mut values);
        self.core.or_repaired(result, again).map_err(Failure::pop)?;
        Ok(values)
    }

    fn pop_some(&self, most: usize, values: &mut Vec<T>) -> std::result::Result<usize, Failure> {
        values.reserve(most.min(self.len()));
        if self.slots() {
            self.core.try_pop_items(most, |item| values.push(unpack(item)))
        } else {
            self.core.try_claim_many(most, |held| {
                values.push(self.copy_out(held)?);
                Ok(())
            })
        }
    }

    /// Pops as many items as there are, up to `most`, waiting for the first one.
    ///
    /// ```
    /// let queue = mpshm::Queue::<u64>::new(4)?;
    /// queue.push_many(&[1, 2, 3])?;
    /// assert_eq!(queue.pop_many(2)?, [1, 2]);
    /// assert_eq!(queue.pop_many(2)?, [3]);
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// None was popped: `Closed`, `PeerDead`, `Interrupted`, `Failed`.
    pub fn pop_many(&self, most: usize) -> Popped<Vec<T>> {
        self.pop_many_timeout(most, Deadline::FOREVER)
    }

    /// [`pop_many`](Self::pop_many), waiting for the first one until `deadline`.
    ///
    /// # Errors
    /// Also `TimedOut`.
    pub fn pop_many_timeout(&self, most: usize, deadline: impl Into<Deadline>) -> Popped<Vec<T>> {
        let mut values = Vec::new();
        let some = || self.pop_some(most, &mut values);
        self.core.wait_pop(deadline.into(), some).map_err(Failure::pop)?;
        Ok(values)
    }

    /// Pops until the queue is closed and drained, or its last producer has died.
    pub fn iter(&self) -> Iter<'_, T, R> {
        Iter(self)
    }
}

/// Pops until [`PopError::Closed`], or another error: see [`Queue::iter`].
#[derive(Debug)]
pub struct Iter<'q, T: Pod, R: MayPop>(&'q Queue<T, R>);

impl<T: Pod, R: MayPop> Iterator for Iter<'_, T, R> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.pop().ok()
    }
}

impl<'q, T: Pod, R: MayPop> IntoIterator for &'q Queue<T, R> {
    type Item = T;
    type IntoIter = Iter<'q, T, R>;

    fn into_iter(self) -> Iter<'q, T, R> {
        self.iter()
    }
}

impl<T: Pod, R: MayPush> Extend<T> for Queue<T, R> {
    /// Pushes each item, waiting for room.
    ///
    /// ```
    /// let mut queue = mpshm::Queue::<u64>::new(4)?;
    /// queue.extend([1, 2, 3]);
    /// assert_eq!(queue.len(), 3);
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Panics
    /// When an item cannot be pushed, as into a closed queue: there is nobody else to tell.
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        for item in items {
            if let Err(error) = self.push(item).map_err(crate::error::Error::from) {
                panic!("an item was not pushed: {error}");
            }
        }
    }
}
