//! Why a lock was not got, or was got with a warning.

use crate::error::{Error, ErrorKind};
use std::fmt;

/// Why a lock was not got, or was got with a warning.
///
/// ```standalone_crate
/// use mpshm::{LockError, Mutex, Process};
/// let mutex = Mutex::<u64>::new(1)?;
/// let child = Process::spawn(|| {
///     let _guard = mutex.lock().unwrap();
///     std::process::abort()
/// })?;
/// child.join()?;
/// match mutex.lock() {
///     Err(LockError::OwnerDead(mut guard)) => {
///         guard.set(2); // whatever makes the data whole again
///         guard.mark_consistent();
///     }
///     other => panic!("{other:?}"),
/// }
/// assert_eq!(mutex.lock().unwrap().get(), 2);
/// # Ok::<(), mpshm::Error>(())
/// ```
#[non_exhaustive]
pub enum LockError<G> {
    /// The owner died; the lock is held now, by the guard inside. Make the data whole and call
    /// `mark_consistent`; dropped without that, the lock is lost for everybody.
    OwnerDead(G),
    /// An owner died and the next one did not mark the data as consistent.
    NotRecoverable,
    /// Somebody else holds it, and the call does not wait.
    Busy,
    /// It was not free before the deadline.
    TimedOut,
    /// This thread holds it already.
    Deadlock,
    /// The wait was cancelled.
    Interrupted,
    /// This process cannot take part in the segment: see the error.
    Failed(Error),
}

impl<G> LockError<G> {
    /// What to decide on.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::OwnerDead(_) => ErrorKind::OwnerDead,
            Self::NotRecoverable => ErrorKind::NotRecoverable,
            Self::Busy => ErrorKind::Busy,
            Self::TimedOut => ErrorKind::TimedOut,
            Self::Deadlock => ErrorKind::Deadlock,
            Self::Interrupted => ErrorKind::Interrupted,
            Self::Failed(error) => error.kind(),
        }
    }

    /// The same with another guard.
    pub(crate) fn map<H>(self, change: impl FnOnce(G) -> H) -> LockError<H> {
        match self {
            Self::OwnerDead(guard) => LockError::OwnerDead(change(guard)),
            Self::NotRecoverable => LockError::NotRecoverable,
            Self::Busy => LockError::Busy,
            Self::TimedOut => LockError::TimedOut,
            Self::Deadlock => LockError::Deadlock,
            Self::Interrupted => LockError::Interrupted,
            Self::Failed(error) => LockError::Failed(error),
        }
    }
}

impl<G> fmt::Display for LockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OwnerDead(_) => {
                "the lock's owner died; the lock is held now, its data are in doubt"
            }
            Self::NotRecoverable => {
                "the lock is lost: an owner died and its data were never marked consistent"
            }
            Self::Busy => "the lock is held by somebody else",
            Self::TimedOut => "the lock was not free before the deadline",
            Self::Deadlock => "this thread holds the lock already",
            Self::Interrupted => "the wait for the lock was cancelled",
            Self::Failed(error) => return error.fmt(f),
        })
    }
}

impl<G> fmt::Debug for LockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LockError({}: {self})", self.kind().name())
    }
}

impl<G> std::error::Error for LockError<G> {}

impl<G> From<LockError<G>> for Error {
    fn from(error: LockError<G>) -> Self {
        match error {
            LockError::Failed(error) => error,
            other => Self::new(other.kind(), other.to_string()),
        }
    }
}
