//! How a pool is made.

use crate::error::{Error, ErrorKind, Result};
use crate::pool::Pool;
use crate::pool::owner::{Inner, Plan};
use crate::pool::worker::Habits;
use crate::process::cpu_count;
use crate::process::server::Rules;
use std::sync::Arc;
use std::time::Duration;

/// The most workers of a pool.
const MOST: usize = 1000;

/// How a pool is made.
///
/// ```standalone_crate
/// let pool = mpshm::Pool::builder().workers(2).message_max(1 << 16).build()?;
/// assert_eq!(pool.workers(), 2);
/// # Ok::<(), mpshm::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "nothing is made before `build`"]
pub struct PoolBuilder {
    pub(super) workers: usize,
    pub(super) queue: u64,
    pub(super) message_max: u64,
    pub(super) initializer: Option<Arc<dyn Fn() + Send + Sync>>,
    pub(super) max_tasks: Option<u64>,
    pub(super) task_timeout: Option<Duration>,
    pub(super) restart_limit: Option<(u32, Duration)>,
    pub(super) memory_limit: Option<u64>,
    pub(super) pinned: bool,
    pub(super) replace_server: bool,
    pub(super) retries: u32,
}

impl PoolBuilder {
    pub(super) fn new() -> Self {
        Self {
            workers: cpu_count(),
            queue: 128,
            message_max: 16 << 10,
            initializer: None,
            max_tasks: None,
            task_timeout: None,
            restart_limit: None,
            memory_limit: None,
            pinned: false,
            replace_server: true,
            retries: 0,
        }
    }

    /// How many workers: as many as there are processors by default.
    pub fn workers(self, workers: usize) -> Self {
        Self { workers, ..self }
    }

    /// How many tasks the queue to the workers holds: 128 by default.
    pub fn queue(self, tasks: u64) -> Self {
        Self { queue: tasks, ..self }
    }

    /// Bytes of the longest argument, or of a chunk of `map`, 16 KiB by default. Results have no limit.
    pub fn message_max(self, bytes: u64) -> Self {
        Self { message_max: bytes, ..self }
    }

    /// Runs `f` in each worker, once, before any task. Creation does not wait for it.
    ///
    /// A worker whose initializer panics, exits or is killed is replaced, but not for ever: when one fails after two
    /// others had failed in a row, the pool is `Broken`, and every task ends with an error that has the initializer's message.
    ///
    /// ```standalone_crate
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// static BASE: AtomicU64 = AtomicU64::new(0);
    /// let pool = mpshm::Pool::builder().initializer(|| BASE.store(40, Ordering::Relaxed)).build()?;
    /// assert_eq!(pool.call(|n: u64| BASE.load(Ordering::Relaxed) + n, 2)?, 42);
    /// assert_eq!(BASE.load(Ordering::Relaxed), 0, "it ran in the workers, not here");
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    pub fn initializer<F: Fn() + Send + Sync + 'static>(self, f: F) -> Self {
        Self { initializer: Some(Arc::new(f)), ..self }
    }

    /// Whether a fork server that died is forked anew from the owner: yes by default. The fork is then made by
    /// whichever thread waits for a result, from the process as it is at that moment, with what that means in
    /// a program with threads. If not, the pool is `Broken` and every task ends with that error.
    pub fn replace_server(self, yes: bool) -> Self {
        Self { replace_server: yes, ..self }
    }

    /// Makes the pool and forks its server and workers.
    ///
    /// # Errors
    /// `Invalid` for 0 workers or more than 1000, or a limit of 0; `NoSpace`; `Limit` when a worker cannot be forked:
    /// those that were are gone again.
    pub fn build(self) -> Result<Pool> {
        Ok(Pool { inner: Arc::new(Inner::new(self.plan()?)?) })
    }

    fn plan(self) -> Result<Plan> {
        self.check()?;
        let initializer = self.initializer;
        let rules = Rules {
            workers: self.workers as u32,
            // Twice as many, and some: the ends that the owner has not seen to when it is elsewhere.
            records: 2 * self.workers + 16,
            initializes: initializer.is_some(),
            restarts: self.restart_limit,
            task_timeout: self.task_timeout,
        };
        let prepare = move || -> Box<dyn std::any::Any> {
            if let Some(initializer) = &initializer {
                initializer();
            }
            Box::new(())
        };
        let habits = Habits {
            prepare: Box::new(prepare),
            max_tasks: self.max_tasks,
            memory_limit: self.memory_limit,
            pinned: self.pinned,
        };
        Ok(Plan {
            rules,
            habits,
            workers_max: self.workers,
            queue: self.queue,
            message_max: self.message_max,
            replace_server: self.replace_server,
            retries: self.retries,
        })
    }

    fn check(&self) -> Result<()> {
        let refuse = |text: String| Err(Error::new(ErrorKind::Invalid, text));
        if self.workers == 0 || self.workers > MOST {
            return refuse(format!("a pool of {} workers: 1 to {MOST} are possible", self.workers));
        }
        if self.message_max == 0 {
            return refuse("messages of 0 bytes: at least 1 is expected".into());
        }
        Ok(())
    }
}

impl std::fmt::Debug for PoolBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PoolBuilder")
            .field("workers", &self.workers)
            .field("queue", &self.queue)
            .field("message_max", &self.message_max)
            .finish_non_exhaustive()
    }
}
