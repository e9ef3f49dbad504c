//! What a caller of a queue decides on.

use crate::error::{Error, ErrorKind};
use crate::queue::ring::Refusal;
use crate::wait::eventcount::GaveUp;
use std::fmt;

/// Why an item was not pushed; it comes back inside, and the queue is unchanged.
///
/// ```
/// use mpshm::{PushError, Queue};
/// let queue = Queue::<u64>::new(1)?;
/// queue.try_push(1)?;
/// assert_eq!(queue.try_push(2), Err(PushError::Full(2)));
/// # Ok::<(), mpshm::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PushError<V> {
    /// There is no room, and the call does not wait.
    Full(V),
    /// No room came before the deadline.
    TimedOut(V),
    /// The queue was closed.
    Closed(V),
    /// Who would take the item died, and nobody has taken its place.
    PeerDead(V),
    /// The call was cancelled.
    Interrupted(V),
    /// The item is wrong, or the segment is: see the error.
    Failed(V, Error),
}

/// Why no item was popped.
///
/// ```
/// use mpshm::{PopError, Queue};
/// let queue = Queue::<u64>::new(1)?;
/// assert_eq!(queue.try_pop(), Err(PopError::Empty));
/// # Ok::<(), mpshm::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PopError {
    /// There is no item, and the call does not wait.
    Empty,
    /// No item came before the deadline.
    TimedOut,
    /// The queue was closed and every item has been taken.
    Closed,
    /// The last producer died, and every item has been taken.
    PeerDead,
    /// The call was cancelled.
    Interrupted,
    /// The segment is damaged, or this process cannot take part: see the error.
    Failed(Error),
}

/// Why an operation of the core did nothing, before the caller's value is added.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    Refused(Refusal),
    GaveUp(GaveUp),
    PeerDead,
    Failed(Error),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Corrupt => Self::Failed(corrupt()),
            other => Self::Refused(other),
        }
    }
}

impl From<GaveUp> for Failure {
    fn from(gave_up: GaveUp) -> Self {
        Self::GaveUp(gave_up)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

pub(crate) fn corrupt() -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "the queue's slots contradict its cursors: expected laps that only grow, found others",
    )
}

impl Failure {
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::Refused(Refusal::Full))
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Refused(Refusal::Empty))
    }

    pub(crate) fn push<V>(self, value: V) -> PushError<V> {
        match self {
            Self::Refused(Refusal::Closed) => PushError::Closed(value),
            Self::Refused(Refusal::Corrupt) => PushError::Failed(value, corrupt()),
            Self::Refused(_) => PushError::Full(value),
            Self::GaveUp(GaveUp::TimedOut) => PushError::TimedOut(value),
            Self::GaveUp(GaveUp::Interrupted) => PushError::Interrupted(value),
            Self::PeerDead => PushError::PeerDead(value),
            Self::Failed(error) => PushError::Failed(value, error),
        }
    }

    pub(crate) fn pop(self) -> PopError {
        match self {
            Self::Refused(Refusal::Closed) => PopError::Closed,
            Self::Refused(Refusal::Corrupt) => PopError::Failed(corrupt()),
            Self::Refused(_) => PopError::Empty,
            Self::GaveUp(GaveUp::TimedOut) => PopError::TimedOut,
            Self::GaveUp(GaveUp::Interrupted) => PopError::Interrupted,
            Self::PeerDead => PopError::PeerDead,
            Self::Failed(error) => PopError::Failed(error),
        }
    }
}

impl<V> PushError<V> {
    /// The item that was not pushed.
    pub fn into_inner(self) -> V {
        match self {
            Self::Full(value)
            | Self::TimedOut(value)
            | Self::Closed(value)
            | Self::PeerDead(value)
            | Self::Interrupted(value)
            | Self::Failed(value, _) => value,
        }
    }

    /// What to decide on, without the item.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Full(_) => ErrorKind::Full,
            Self::TimedOut(_) => ErrorKind::TimedOut,
            Self::Closed(_) => ErrorKind::Closed,
            Self::PeerDead(_) => ErrorKind::PeerDead,
            Self::Interrupted(_) => ErrorKind::Interrupted,
            Self::Failed(_, error) => error.kind(),
        }
    }
}

impl PopError {
    /// What to decide on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Empty => ErrorKind::Empty,
            Self::TimedOut => ErrorKind::TimedOut,
            Self::Closed => ErrorKind::Closed,
            Self::PeerDead => ErrorKind::PeerDead,
            Self::Interrupted => ErrorKind::Interrupted,
            Self::Failed(error) => error.kind(),
        }
    }
}

impl<V> fmt::Display for PushError<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the queue is full",
            Self::TimedOut(_) => "the queue stayed full until the deadline",
            Self::Closed(_) => "the queue is closed",
            Self::PeerDead(_) => "the queue's consumer died",
            Self::Interrupted(_) => "the push was cancelled",
            Self::Failed(_, error) => return error.fmt(f),
        })
    }
}

impl fmt::Display for PopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the queue is empty",
            Self::TimedOut => "the queue stayed empty until the deadline",
            Self::Closed => "the queue is closed and drained",
            Self::PeerDead => "the queue's last producer died, and the queue is drained",
            Self::Interrupted => "the pop was cancelled",
            Self::Failed(error) => return error.fmt(f),
        })
    }
}

impl<V: fmt::Debug> std::error::Error for PushError<V> {}
impl std::error::Error for PopError {}

impl<V> From<PushError<V>> for Error {
    fn from(error: PushError<V>) -> Self {
        match error {
            PushError::Failed(_, error) => error,
            other => Self::new(other.kind(), other.to_string()),
        }
    }
}

impl From<PopError> for Error {
    fn from(error: PopError) -> Self {
        match error {
            PopError::Failed(error) => error,
            other => Self::new(other.kind(), other.to_string()),
        }
    }
}
