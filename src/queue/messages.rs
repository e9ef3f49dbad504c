//! Queues of messages, `Queue<[u8]>`: push and pop.

use crate::error::{Error, ErrorKind, Result};
use crate::os::clock::Deadline;
use crate::queue::error::{Failure, PopError, PushError};
use crate::queue::message::{Claim, Reservation};
use crate::queue::mpmc::{Popped, Pushed, Queue};
use crate::queue::options::QueueOptions;
use crate::queue::role::{MayPop, MayPush, Role};

impl Queue<[u8]> {
    /// An anonymous queue of `capacity` messages of 0 to `message_max` bytes, which forked children inherit.
    ///
    /// # Errors
    /// `Invalid` for a capacity of 0 or more than 2^26, or messages over 2 GiB; `NoSpace`.
    pub fn new(capacity: u64, message_max: u64) -> Result<Self> {
        Self::with_options(&QueueOptions::new(capacity).message_max(message_max))
    }
}

impl<R: Role> Queue<[u8], R> {
    /// Bytes of the longest message.
    #[must_use]
    pub fn message_max(&self) -> usize {
        self.core.shape().plan.message_max as usize
    }
}

impl<R: MayPush> Queue<[u8], R> {
    /// Pushes a copy of `message` without waiting.
    ///
    /// # Errors
    /// `Full`, `Closed`, `Failed` (with `TooBig` when it is longer than [`message_max`](Self::message_max)).
    pub fn try_push(&self, message: &[u8]) -> Pushed<()> {
        self.present().map_err(|error| PushError::Failed((), error))?;
        let attempt = || self.core.try_push(message);
        self.core.or_repaired(attempt(), attempt).map_err(|failure| failure.push(()))
    }

    /// Pushes a copy of `message`, waiting for room.
    ///
    /// # Errors
    /// `Closed`, `Interrupted`, `Failed`; `Full` where that is the queue's [policy](crate::WhenFull).
    pub fn push(&self, message: &[u8]) -> Pushed<()> {
        self.push_timeout(message, Deadline::FOREVER)
    }

    /// Pushes a copy of `message`, waiting for room until `deadline`.
    ///
    /// # Errors
    /// Those of [`push`](Self::push), and `TimedOut`.
    pub fn push_timeout(&self, message: &[u8], deadline: impl Into<Deadline>) -> Pushed<()> {
        self.present().map_err(|error| PushError::Failed((), error))?;
        self.core.push(message, deadline.into()).map_err(|failure| failure.push(()))
    }

    /// Pushes copies of as many of `messages` as fit, in their order, without waiting; says how many. Others' messages
    /// may come in between. Consumers are woken once.
    ///
    /// # Errors
    /// None was pushed: `Full`, `Closed`, `Failed`.
    pub fn try_push_many<M: AsRef<[u8]>>(
        &self,
        messages: &[M],
    ) -> std::result::Result<usize, PushError<()>> {
        self.present().map_err(|error| PushError::Failed((), error))?;
        let attempt = || self.core.try_push_many(messages.iter().map(AsRef::as_ref));
        self.core.or_repaired(attempt(), attempt).map_err(|failure| failure.push(()))
    }

    /// Pushes copies of all of `messages` in their order, waiting for room.
    ///
    /// ```
    /// let queue = mpshm::Queue::<[u8]>::new(4, 16)?;
    /// queue.push_many(&["one", "two"])?;
    /// assert_eq!(queue.pop_many(4)?, [b"one", b"two"]);
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// How many were pushed, and why no more: those of [`push`](Self::push).
    pub fn push_many<M: AsRef<[u8]>>(&self, messages: &[M]) -> Pushed<usize> {
        self.push_many_timeout(messages, Deadline::FOREVER)
    }

    /// Pushes copies of all of `messages` in their order, waiting for room until `deadline`.
    ///
    /// # Errors
    /// Those of [`push_many`](Self::push_many), and `TimedOut`.
    pub fn push_many_timeout<M: AsRef<[u8]>>(
        &self,
        messages: &[M],
        deadline: impl Into<Deadline>,
    ) -> Pushed<usize> {
        if let Err(error) = self.present() {
            return Err(PushError::Failed(0, error));
        }
        let deadline = deadline.into();
        let mut pushed = 0;
        while pushed < messages.len() {
            let rest = &messages[pushed..];
            let some = self
                .core
                .wait_push(deadline, || self.core.try_push_many(rest.iter().map(AsRef::as_ref)));
            pushed += some.map_err(|failure| failure.push(pushed))?;
        }
        Ok(())
    }

    /// A block to write a message of up to `length` bytes into, without waiting.
    ///
    /// # Errors
    /// `Full`, `Closed`, `Failed` (with `TooBig`).
    pub fn try_reserve(
        &self,
        length: usize,
    ) -> std::result::Result<Reservation<'_>, PushError<()>> {
        self.reserved(length, None)
    }

    /// A block to write a message of up to `length` bytes into, waiting for room.
    ///
    /// # Errors
    /// `Closed`, `Interrupted`, `Failed`; `Full` where that is the queue's [policy](crate::WhenFull).
    pub fn reserve(&self, length: usize) -> std::result::Result<Reservation<'_>, PushError<()>> {
        self.reserved(length, Some(Deadline::FOREVER))
    }

    /// A block to write a message of up to `length` bytes into, waiting for room until `deadline`.
    ///
    /// # Errors
    /// Those of [`reserve`](Self::reserve), and `TimedOut`.
    pub fn reserve_timeout(
        &self,
        length: usize,
        deadline: impl Into<Deadline>,
    ) -> std::result::Result<Reservation<'_>, PushError<()>> {
        self.reserved(length, Some(deadline.into()))
    }
}

impl<R: MayPop> Queue<[u8], R> {
    /// Pops a message without waiting.
    ///
    /// # Errors
    /// `Empty`, `Closed`, `PeerDead`, `Failed`.
    pub fn try_pop(&self) -> Popped<Vec<u8>> {
        Ok(self.try_claim()?.consume())
    }

    /// Pops a message, waiting for one.
    ///
    /// # Errors
    /// `Closed`, `PeerDead`, `Interrupted`, `Failed`.
    pub fn pop(&self) -> Popped<Vec<u8>> {
        Ok(self.claim()?.consume())
    }

    /// Pops a message, waiting for one until `deadline`.
    ///
    /// # Errors
    /// `TimedOut`, `Closed`, `PeerDead`, `Interrupted`, `Failed`.
    pub fn pop_timeout(&self, deadline: impl Into<Deadline>) -> Popped<Vec<u8>> {
        Ok(self.claim_timeout(deadline)?.consume())
    }

    /// Pops a message into `buffer`, waiting for one, and says how long it is.
    ///
    /// # Errors
    /// `Closed`, `PeerDead`, `Interrupted`; `Failed` with `TooBig` when the buffer is too short: the message goes
    /// back, and the error says what it needs.
    pub fn pop_into(&self, buffer: &mut [u8]) -> Popped<usize> {
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
        claim.keep();
        Ok(length)
    }

    /// Pops as many messages as there are, up to `most`, without waiting. Producers are woken once.
    ///
    /// # Errors
    /// None was popped: `Empty`, `Closed`, `PeerDead`, `Failed`.
    pub fn try_pop_many(&self, most: usize) -> Popped<Vec<Vec<u8>>> {
        let mut messages = Vec::new();
        let result = self.pop_some(most, &mut messages);
        let again = || self.pop_some(most, &mut messages);
        self.core.or_repaired(result, again).map_err(Failure::pop)?;
        Ok(messages)
    }

    fn pop_some(
        &self,
        most: usize,
        messages: &mut Vec<Vec<u8>>,
    ) -> std::result::Result<usize, Failure> {
        self.core.try_claim_many(most, |held| {
            messages.push(Claim::new(&self.core, held)?.consume());
            Ok(())
        })
    }

    /// Pops as many messages as there are, up to `most`, waiting for the first one.
    ///
    /// # Errors
    /// None was popped: `Closed`, `PeerDead`, `Interrupted`, `Failed`.
    pub fn pop_many(&self, most: usize) -> Popped<Vec<Vec<u8>>> {
        self.pop_many_timeout(most, Deadline::FOREVER)
    }

    /// [`pop_many`](Self::pop_many), waiting for the first one until `deadline`.
    ///
    /// # Errors
    /// Also `TimedOut`.
    pub fn pop_many_timeout(
        &self,
        most: usize,
        deadline: impl Into<Deadline>,
    ) -> Popped<Vec<Vec<u8>>> {
        let mut messages = Vec::new();
        let some = || self.pop_some(most, &mut messages);
        self.core.wait_pop(deadline.into(), some).map_err(Failure::pop)?;
        Ok(messages)
    }
}
