//! A pool of worker processes.
//!
//! # Overview
//! Workers are forked when the pool is made, and take tasks from one queue of the pool's anonymous
//! segment; results come home through another, in as many messages as they need. There is no
//! helper thread: whoever waits for a result hands out tasks, collects results and looks after the
//! workers meanwhile, inside its own call. Tasks beyond what the queue holds wait in the owner's memory,
//! and move up with the next call on the pool.
//!
//! # Tasks
//! Functions or closures that capture nothing (checked when compiling), on plain types or bytes: a
//! worker was forked before the task was known, so only what is in the program's code can be named.
//!
//! # Death
//! | killed | what happens |
//! |---|---|
//! | a worker, idle | another is forked |
//! | a worker that has taken a task and not begun it | another worker runs it; with [`Retry::Never`] it ends as [`TaskError::WorkerDied`] with 0 attempts |
//! | a worker in a task | that task ends as [`TaskError::WorkerDied`] and does not run again, unless [`Retry::Times`] asks for it; another worker is forked |
//! | a worker that sends a result | a complete result counts; else `WorkerDied` |
//! | the fork server | the workers die with it, and the tasks that they had begun end as `WorkerDied`; another server is forked, or the pool is `Broken` |
//! | the owner | the server ends the workers, and itself |
//!
//! The owner learns of a worker's death at once if it waits, of the server's within 50 ms. A stopped worker keeps its
//! task, and no other's; a stopped server is continued.
//!
//! # Forks
//! A pool belongs to the process that made it; used in a forked child it says `Forked`. One fork of that process is
//! made, when the pool is: the fork server's, a process with one thread that forks all workers, also when one is
//! replaced. So it is the moment of creation that counts: what memory the owner has then, server and workers keep (shared with
//! it until either side writes), and what locks other threads hold at that moment stay locked in all of them. They also keep the
//! descriptors that the owner has open then. The thread that made the pool may end.

mod builder;
mod callback;
mod chunks;
#[cfg(feature = "serde")]
mod encoded;
pub(crate) mod feed;
mod function;
mod gather;
mod keeper;
mod map;
mod more;
mod owner;
mod scope_crew;
mod scope_map;
mod stats;
mod stream;
pub(crate) mod task;
mod wire;
pub(crate) mod worker;

use crate::error::Result;
use crate::layout::plain::Pod;
use crate::os::clock::Deadline;
pub use builder::{PoolBuilder, Retry};
pub use function::FnPool;
pub use more::MapTask;
pub(crate) use owner::Inner;
pub use scope_map::{ScopeMapError, scope_map, scope_map_bytes, scope_map_each};
pub use stats::WorkerStats;
use std::sync::Arc;
use std::time::Duration;
pub use stream::Imap;
pub(crate) use task::decode_bytes;
use task::{Decode, decode_plain};
pub use task::{Task, TaskError};
use worker::Run;

/// How long [`Pool::terminate`] and dropping a pool leave the workers before they are killed.
pub(crate) const GRACE: Duration = Duration::from_millis(500);

/// A pool of worker processes.
///
/// Tasks are functions, or closures that capture nothing, on plain types or bytes. Whoever waits for a
/// result does the owner's work meanwhile: there is no helper thread, and tasks beyond what the queue to
/// the workers holds move up with the next call on the pool.
///
/// **What a dead worker does.** The task that it had begun ends as [`TaskError::WorkerDied`] and does not run
/// again (unless asked for: [`PoolBuilder::retry`]); one that it had not begun runs elsewhere; another worker is forked.
///
/// **Forks.** A pool belongs to the process that made it. That one is forked once, for a *fork server*: a process with
/// one thread that forks the workers, replaces those that die, and ends with all of them when the owner ends, however
/// it ends. Server and workers keep what memory and descriptors the owner had when the pool was made: make pools early. In a program
/// with threads, what locks the others held at that moment stays locked in the workers (the allocator's is safe). If the
/// server dies its workers do, and it is forked anew from what the owner then is, or the pool says `Broken`:
/// [`PoolBuilder::replace_server`].
///
/// **Signals.** Server and workers ignore `SIGINT`: what the owner makes of a Ctrl-C holds for all.
/// **Threads.** Any thread may use the pool, and the one that made it may end.
///
/// ```standalone_crate
/// let pool = mpshm::Pool::new(3)?;
/// assert_eq!(pool.map(|n: u64| n * n, &[1, 2, 3, 4, 5])?, [1, 4, 9, 16, 25]);
/// # Ok::<(), mpshm::Error>(())
/// ```
///
/// What captures something is refused when compiling:
///
/// ```compile_fail
/// let pool = mpshm::Pool::new(1).unwrap();
/// let factor = 3;
/// pool.map(move |n: u64| n * factor, &[1]).unwrap();
/// ```
pub struct Pool {
    inner: Arc<Inner>,
}

impl Pool {
    /// How a pool is made, to be changed from the defaults.
    pub fn builder() -> PoolBuilder {
        PoolBuilder::new()
    }

    /// A pool of `workers` processes.
    ///
    /// # Errors
    /// As [`PoolBuilder::build`].
    pub fn new(workers: usize) -> Result<Self> {
        Self::builder().workers(workers).build()
    }

    /// How many workers the pool keeps.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.inner.workers().unwrap_or(0)
    }

    /// Changes how many workers the pool keeps. New ones are forked at once; those that are too many end when they
    /// have no task in hand.
    ///
    /// ```standalone_crate
    /// let pool = mpshm::Pool::builder().workers(1).workers_max(4).build()?;
    /// pool.resize(4)?;
    /// assert_eq!(pool.workers(), 4);
    /// pool.resize(2)?;
    /// assert_eq!(pool.map(|n: u64| n * n, &[1, 2, 3])?, [1, 4, 9]);
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` for 0 or more than [`PoolBuilder::workers_max`]; `Closed`; `Forked`.
    pub fn resize(&self, workers: usize) -> Result<()> {
        self.inner.resize(workers)
    }

    /// The process ids of the workers as of now.
    ///
    /// # Errors
    /// `Forked`.
    pub fn worker_pids(&self) -> Result<Vec<u32>> {
        self.inner.pids().map(|(workers, _)| workers)
    }

    /// The process id of the fork server, the parent of all workers; none once the pool has ended.
    ///
    /// # Errors
    /// `Forked`.
    pub fn server_pid(&self) -> Result<Option<u32>> {
        self.inner.pids().map(|(_, server)| server)
    }

    /// What each living worker has done so far, read from shared words: no worker is asked or disturbed.
    ///
    /// ```standalone_crate
    /// let pool = mpshm::Pool::new(1)?;
    /// for n in 0..5 {
    ///     pool.call(|n: u64| n, n)?;
    /// }
    /// assert_eq!(pool.stats()?[0].tasks, 5);
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Forked`.
    pub fn stats(&self) -> Result<Vec<WorkerStats>> {
        self.inner.stats()
    }

    /// How many workers have been forked in place of others: more than died, if the fork server died too.
    ///
    /// # Errors
    /// `Forked`.
    pub fn restarts(&self) -> Result<u64> {
        self.inner.restarts()
    }

    /// Runs `f` on `argument` in a worker, and waits for the value.
    ///
    /// # Errors
    /// [`TaskError`].
    pub fn call<F, T, R>(&self, f: F, argument: T) -> std::result::Result<R, TaskError>
    where
        F: Fn(T) -> R + Copy,
        T: Pod,
        R: Pod,
    {
        self.submit(f, argument)?.get()
    }

    /// Hands `f` with `argument` to a worker, and does not wait.
    ///
    /// # Errors
    /// `Closed` after [`close`](Self::close) or [`terminate`](Self::terminate); `TooBig`; `Forked`.
    pub fn submit<F, T, R>(&self, f: F, argument: T) -> Result<Task<R>>
    where
        F: Fn(T) -> R + Copy,
        T: Pod,
        R: Pod,
    {
        check_types::<F, T, R>();
        let _ = f;
        let argument = bytemuck::bytes_of(&argument);
        self.submit_run(worker::run_map::<F, T, R>, 0, argument, decode_plain)
    }

    /// Hands `f` with some bytes to a worker; the result may be of any length.
    ///
    /// ```standalone_crate
    /// let pool = mpshm::Pool::new(1)?;
    /// let task = pool.submit_bytes(|bytes| bytes.repeat(100_000), b"abc")?;
    /// assert_eq!(task.get()?.len(), 300_000);
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Closed`; `TooBig` for more bytes than [`PoolBuilder::message_max`]; `Forked`.
    pub fn submit_bytes<F>(&self, f: F, argument: &[u8]) -> Result<Task<Vec<u8>>>
    where
        F: Fn(&[u8]) -> Vec<u8> + Copy,
    {
        const { assert!(size_of::<F>() == 0, "a task's function must capture nothing") };
        let _ = f;
        self.submit_run(worker::run_bytes::<F>, 0, argument, decode_bytes)
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    pub(crate) fn submit_run<R>(
        &self,
        run: Run,
        target: u64,
        argument: &[u8],
        decode: Decode<R>,
    ) -> Result<Task<R>> {
        let id = self.inner.submit(run, target, argument)?;
        Ok(Task::new(Arc::clone(&self.inner), id, decode))
    }

    /// Takes no more tasks; those that were handed over go on.
    ///
    /// # Errors
    /// `Forked`.
    pub fn close(&self) -> Result<()> {
        self.inner.close()
    }

    /// Waits until every task has ended, then ends the workers. The pool must be closed.
    ///
    /// # Errors
    /// `Invalid` when the pool still runs; `Interrupted`; `Forked`.
    pub fn join(&self) -> Result<()> {
        self.join_timeout(Deadline::FOREVER).map(|_| ())
    }

    /// [`close`](Self::close) and [`join`](Self::join): waits until every task has ended, and ends the workers.
    ///
    /// # Errors
    /// `Interrupted`; `Forked`.
    pub fn finish(&self) -> Result<()> {
        self.close()?;
        self.join()
    }

    /// [`join`](Self::join) until `deadline`; false when it came first.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub fn join_timeout(&self, deadline: impl Into<Deadline>) -> Result<bool> {
        self.inner.join(deadline.into())
    }

    /// Ends the workers now (`SIGTERM`, after half a second `SIGKILL`); tasks that have not ended are
    /// `Cancelled`.
    ///
    /// # Errors
    /// `Forked`.
    pub fn terminate(&self) -> Result<()> {
        self.terminate_after(GRACE)
    }

    /// [`terminate`](Self::terminate) with another time between `SIGTERM` and `SIGKILL`.
    ///
    /// # Errors
    /// `Forked`.
    pub fn terminate_after(&self, grace: Duration) -> Result<()> {
        self.inner.terminate(grace)
    }
}

fn check_types<F, T, R>() {
    const {
        assert!(size_of::<F>() == 0, "a task's function must capture nothing");
        assert!(size_of::<T>() != 0, "an item must have at least one byte");
        assert!(align_of::<T>() <= 16 && align_of::<R>() <= 16, "items are aligned to at most 16");
    }
}

impl Drop for Pool {
    /// [`terminate`](Pool::terminate)s.
    fn drop(&mut self) {
        let _ = self.terminate();
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("workers", &self.workers()).finish_non_exhaustive()
    }
}
