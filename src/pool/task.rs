//! A task that was handed to a pool, and what can come of it.

use crate::error::{Error, ErrorKind};
use crate::layout::plain::Pod;
use crate::os::clock::Deadline;
use crate::pool::Inner;
use crate::pool::callback::Ended;
use crate::process::ExitStatus;
use std::fmt;
use std::sync::Arc;

/// Why a task has no value. Every task ends: with a value or with one of these.
///
/// ```standalone_crate
/// use mpshm::{Pool, TaskError};
/// let pool = Pool::new(1)?;
/// let halve = |n: u64| if n % 2 == 0 { n / 2 } else { panic!("{n} is odd") };
/// match pool.call(halve, 3) {
///     Err(TaskError::Failed { message, .. }) => assert!(message.starts_with("3 is odd")),
///     other => panic!("{other:?}"),
/// }
/// assert_eq!(pool.call(halve, 4)?, 2);
/// # Ok::<(), mpshm::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskError {
    /// The function panicked (in C: returned an error).
    Failed {
        /// The panic's message and place.
        message: String,
        /// The worker that ran it, which lives on.
        pid: u32,
    },
    /// The worker died while it ran the task. It may have done part of it; it is not run again, unless the pool was
    /// [asked to](crate::PoolBuilder::retry).
    WorkerDied {
        /// The worker; 0 where that is not known ([`Retry::Never`](crate::Retry::Never)).
        pid: u32,
        /// How it ended; `Unknown` if it died with the pool's fork server.
        status: ExitStatus,
        /// How many workers have died in this task: so often it was begun.
        attempts: u32,
    },
    /// The task took longer than [tasks of its pool may](crate::PoolBuilder::task_timeout), and its worker was killed.
    TimeLimit {
        /// The worker.
        pid: u32,
    },
    /// The task was cancelled before it began, or the pool terminated before the task ended.
    Cancelled,
    /// The deadline passed first; the task goes on.
    TimedOut,
    /// The wait was cancelled; the task goes on.
    Interrupted,
    /// The pool cannot be used, or not with this argument: see the error.
    Pool(Error),
}

impl TaskError {
    /// What to decide on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Failed { .. } => ErrorKind::TaskFailed,
            Self::WorkerDied { .. } => ErrorKind::WorkerDied,
            Self::TimeLimit { .. } => ErrorKind::TimeLimit,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::TimedOut => ErrorKind::TimedOut,
            Self::Interrupted => ErrorKind::Interrupted,
            Self::Pool(error) => error.kind(),
        }
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { message, pid } => {
                write!(f, "the task failed in worker {pid}: {message}")
            }
            Self::WorkerDied { attempts: 0, .. } => {
                f.write_str("a worker died that had taken the task and not begun it")
            }
            Self::WorkerDied { pid, status, attempts: 1 } => {
                write!(f, "worker {pid} died while it ran the task: {status}")
            }
            Self::WorkerDied { pid, status, attempts } => {
                write!(
                    f,
                    "worker {pid} was the last of {attempts} that died while they ran the task: {status}"
                )
            }
            Self::TimeLimit { pid } => {
                write!(f, "the task took longer than it may: worker {pid} was killed")
            }
            Self::Cancelled => {
                f.write_str("the task was cancelled, or its pool terminated, before it ended")
            }
            Self::TimedOut => f.write_str("the task had not ended at the deadline"),
            Self::Interrupted => f.write_str("the wait for the task was cancelled"),
            Self::Pool(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TaskError {}

impl From<TaskError> for Error {
    fn from(error: TaskError) -> Self {
        match error {
            TaskError::Pool(error) => error,
            other => Self::new(other.kind(), other.to_string()),
        }
    }
}

impl From<Error> for TaskError {
    fn from(error: Error) -> Self {
        Self::Pool(error)
    }
}

/// Reads a task's result out of the bytes that came home.
pub(crate) type Decode<R> = fn(&[u8]) -> Result<R, TaskError>;

/// The bytes themselves.
pub(crate) fn decode_bytes(bytes: &[u8]) -> Result<Vec<u8>, TaskError> {
    Ok(bytes.to_vec())
}

/// One plain value.
pub(crate) fn decode_plain<R: Pod>(bytes: &[u8]) -> Result<R, TaskError> {
    bytemuck::try_pod_read_unaligned(bytes).map_err(|_| {
        TaskError::Pool(Error::new(
            ErrorKind::Corrupt,
            format!("a result of {} bytes, {} were expected", bytes.len(), size_of::<R>()),
        ))
    })
}

/// A task in a pool. Dropped, its result is forgotten; the task itself goes on.
///
/// ```standalone_crate
/// let pool = mpshm::Pool::new(2)?;
/// let task = pool.submit(|n: u64| n * n, 12)?;
/// assert_eq!(task.get()?, 144);
/// assert_eq!(task.get()?, 144);
/// # Ok::<(), mpshm::Error>(())
/// ```
pub struct Task<R> {
    pool: Arc<Inner>,
    id: u64,
    decode: Decode<R>,
}

impl<R> Task<R> {
    pub(crate) fn new(pool: Arc<Inner>, id: u64, decode: Decode<R>) -> Self {
        Self { pool, id, decode }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Waits until the task has ended; false when `deadline` came first.
    ///
    /// # Errors
    /// `Interrupted`, or `Pool` when the pool's memory is damaged.
    pub fn wait(&self, deadline: impl Into<Deadline>) -> Result<bool, TaskError> {
        match self.pool.wait_for_any(&[self.id], deadline.into()) {
            Ok(_) => Ok(true),
            Err(TaskError::TimedOut) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the task has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.wait(Deadline::after(std::time::Duration::ZERO)).unwrap_or(false)
    }

    /// What the task returned, once it has ended; again and again.
    ///
    /// # Errors
    /// [`TaskError`], but not `TimedOut`.
    pub fn get(&self) -> Result<R, TaskError> {
        self.get_timeout(Deadline::FOREVER)
    }

    /// What the task returned, if it ends before `deadline`.
    ///
    /// # Errors
    /// [`TaskError`].
    pub fn get_timeout(&self, deadline: impl Into<Deadline>) -> Result<R, TaskError> {
        self.pool.outcome(self.id, deadline.into(), self.decode)
    }

    /// Has `f` called once, with the value or the error, when the task has ended: inside this call if it has, else inside
    /// the first call on the pool, of any thread, that notices (a wait for any task, `submit`, `join`, `terminate`, dropping the
    /// pool). Nothing calls it while nobody is in a call on the pool. It may use the pool.
    ///
    /// Several are called in their order. The handle may be dropped: `f` is called nevertheless. A panic of `f` is printed as
    /// ever and goes no further: see [`callback_panic`](Self::callback_panic).
    ///
    /// ```standalone_crate
    /// use std::sync::mpsc::channel;
    /// let pool = mpshm::Pool::new(2)?;
    /// let (sender, values) = channel();
    /// for n in [2, 3] {
    ///     let sender = sender.clone();
    ///     pool.submit(|n: u64| n * n, n)?.on_done(move |value| sender.send(value.unwrap()).unwrap())?;
    /// }
    /// pool.finish()?;
    /// drop(sender);
    /// assert_eq!(values.iter().sum::<u64>(), 13);
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Forked`.
    pub fn on_done<F>(&self, f: F) -> crate::error::Result<()>
    where
        F: FnOnce(Result<R, TaskError>) + Send + 'static,
        R: 'static,
    {
        let decode = self.decode;
        let callback = move |ended: &Ended| match ended {
            Ok(bytes) => f(decode(bytes)),
            Err(error) => f(Err(error.clone())),
        };
        self.pool.on_done(self.id, Box::new(callback))
    }

    /// What a callback of [`on_done`](Self::on_done) panicked with, the first if several did.
    ///
    /// ```standalone_crate
    /// let pool = mpshm::Pool::new(1)?;
    /// let task = pool.submit(|n: u64| n + 1, 1)?;
    /// task.on_done(|_| panic!("not today"))?;
    /// assert_eq!(task.get()?, 2);
    /// assert_eq!(task.callback_panic().as_deref(), Some("not today"));
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    #[must_use]
    pub fn callback_panic(&self) -> Option<String> {
        self.pool.callback_panic(self.id)
    }
}

impl<R> Task<R> {
    /// Ends the task as `Cancelled` if no worker has begun it; says whether that was so.
    ///
    /// ```standalone_crate
    /// use mpshm::{Pool, TaskError};
    /// use std::time::Duration;
    /// let pool = Pool::new(1)?;
    /// let nap = |n: u64| { std::thread::sleep(Duration::from_millis(n)); n };
    /// let (_first, second) = (pool.submit(nap, 200)?, pool.submit(nap, 200)?);
    /// assert!(second.cancel()?);
    /// assert_eq!(second.get(), Err(TaskError::Cancelled));
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Forked`.
    pub fn cancel(&self) -> crate::error::Result<bool> {
        self.pool.cancel(self.id)
    }
}

impl<R> Drop for Task<R> {
    fn drop(&mut self) {
        self.pool.forget(self.id);
    }
}

impl<R> fmt::Debug for Task<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("id", &self.id).finish_non_exhaustive()
    }
}
