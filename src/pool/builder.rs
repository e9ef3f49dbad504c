//! How a pool is made.

use crate::error::{Error, ErrorKind, Result};
use crate::layout::plain::Pod;
use crate::pool::Pool;
use crate::pool::function::FnPool;
use crate::pool::owner::{Inner, Plan};
use crate::pool::worker::Habits;
use crate::process::cpu_count;
use crate::process::server::Rules;
use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

/// The most workers of a pool.
const MOST: usize = 1000;

/// What a pool does with a task, or a chunk of a map, whose worker died. See [`PoolBuilder::retry`].
///
/// ```standalone_crate
/// use mpshm::{Pool, Retry, TaskError};
/// let pool = Pool::builder().workers(1).retry(Retry::Times(1)).build()?;
/// let dies = |_: u64| -> u64 { std::process::abort() };
/// assert!(matches!(pool.call(dies, 1), Err(TaskError::WorkerDied { attempts: 2, .. })));
/// # Ok::<(), mpshm::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retry {
    /// It ends as [`WorkerDied`](crate::TaskError::WorkerDied), also when the worker had only taken it and not begun it: then with 0
    /// attempts, and no word of who that was. For tasks that must not be late: no worker looks at one twice.
    Never,
    /// It runs on another worker if the dead one had not begun it, which is known exactly; else it ends as `WorkerDied`, with 1
    /// attempt, for it may have done part of its work.
    #[default]
    IfNotBegun,
    /// It also runs again when it was begun, up to so many times; `WorkerDied` then says how many died in it. Arguments are
    /// kept until the task has ended.
    Times(u32),
}

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
    /// As many as there are processors, if none.
    pub(super) workers: Option<usize>,
    pub(super) queue: u64,
    pub(super) message_max: u64,
    pub(super) initializer: Option<Arc<dyn Fn() + Send + Sync>>,
    pub(super) max_tasks: Option<u64>,
    pub(super) task_timeout: Option<Duration>,
    pub(super) restart_limit: Option<(u32, Duration)>,
    pub(super) memory_limit: Option<u64>,
    pub(super) pinned: bool,
    pub(super) replace_server: bool,
    pub(super) retry: Retry,
    pub(super) workers_max: Option<usize>,
}

impl PoolBuilder {
    pub(super) fn new() -> Self {
        Self {
            workers: None,
            queue: 128,
            message_max: 16 << 10,
            initializer: None,
            max_tasks: None,
            task_timeout: None,
            restart_limit: None,
            memory_limit: None,
            pinned: false,
            replace_server: true,
            retry: Retry::default(),
            workers_max: None,
        }
    }

    /// How many workers: as many as there are processors by default.
    pub fn workers(self, workers: usize) -> Self {
        Self { workers: Some(workers), ..self }
    }

    /// How many tasks the queue to the workers holds: 128 by default. With arguments, or chunks, of more than about 200 bytes it
    /// holds fewer: four for each worker and two. What it has no room for waits in this process.
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

    /// After how many tasks a worker ends by itself and another takes its place: never by default. What counts is what
    /// a worker is handed at a time: a chunk of a map is one, as in Python.
    pub fn max_tasks_per_worker(self, tasks: u64) -> Self {
        Self { max_tasks: Some(tasks), ..self }
    }

    /// How long a task, or a chunk of a map, may run: for ever by default. A worker whose task has run that long is
    /// killed by the fork server, no other is; the task ends as [`TaskError::TimeLimit`](crate::TaskError::TimeLimit).
    /// Waiting, for a worker or for room for the result, does not count.
    ///
    /// ```standalone_crate
    /// use mpshm::{Pool, TaskError};
    /// use std::time::Duration;
    /// let pool = Pool::builder().workers(1).task_timeout(Duration::from_millis(50)).build()?;
    /// let hang = |n: u64| loop { std::thread::sleep(Duration::from_secs(n)) };
    /// let outcome: Result<u64, TaskError> = pool.call(hang, 100);
    /// assert!(matches!(outcome, Err(TaskError::TimeLimit { .. })));
    /// assert_eq!(pool.call(|n: u64| n + 1, 1)?, 2);
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    pub fn task_timeout(self, limit: Duration) -> Self {
        Self { task_timeout: Some(limit), ..self }
    }

    /// How many workers may die within a time: as many as will by default. One more, and the pool is `Broken`: all
    /// workers are killed and every task ends with that error. Those that end as asked (after
    /// [`max_tasks_per_worker`](Self::max_tasks_per_worker), or for a task that took too long) do not count.
    pub fn restart_limit(self, deaths: u32, within: Duration) -> Self {
        Self { restart_limit: Some((deaths, within)), ..self }
    }

    /// How many bytes of address space a worker may have beyond those that it begins with: no limit by default. An
    /// allocation that goes beyond fails; where that ends the process, as Rust's do, the task is
    /// [`WorkerDied`](crate::TaskError::WorkerDied).
    pub fn memory_limit(self, bytes: u64) -> Self {
        Self { memory_limit: Some(bytes), ..self }
    }

    /// Whether each worker is bound to a processor, in turn those that the owner may use. No by default.
    pub fn pin_cpus(self, yes: bool) -> Self {
        Self { pinned: yes, ..self }
    }

    /// What happens to a task whose worker dies: see [`Retry`].
    pub fn retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }

    /// How often a task is run again whose worker died in it: [`Retry::Times`].
    pub fn retries(self, times: u32) -> Self {
        self.retry(Retry::Times(times))
    }

    /// Up to how many workers [`Pool::resize`] may go: by default, as many as the pool begins with. Memory is
    /// set aside for each.
    pub fn workers_max(self, workers: usize) -> Self {
        Self { workers_max: Some(workers), ..self }
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
        self.build_keeping(None)
    }

    /// Makes a pool for one function, which may capture what it likes: it is there before the workers are forked, and
    /// each of them has its own copy.
    ///
    /// ```standalone_crate
    /// let table: Vec<u64> = (0..100).map(|n| n * 7).collect();
    /// let pool = mpshm::Pool::builder().workers(2).build_with(move |n: u64| table[n as usize])?;
    /// assert_eq!(pool.call(6)?, 42);
    /// assert_eq!(pool.map(&[1, 2, 3])?, [7, 14, 21]);
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_with<F, T, R>(self, f: F) -> Result<FnPool<T, R>>
    where
        F: Fn(T) -> R + Send + Sync + 'static,
        T: Pod,
        R: Pod,
    {
        FnPool::plain(self, f)
    }

    /// Makes a pool for one function that works on what its worker keeps from task to task: each worker makes it once,
    /// after its initializer, with `make`. Both may capture what they like.
    ///
    /// ```standalone_crate
    /// let count = |seen: &mut u64, n: u64| { *seen += n; *seen };
    /// let pool = mpshm::Pool::builder().workers(1).build_with_state(|| 100, count)?;
    /// assert_eq!(pool.map(&[1, 2, 3])?, [101, 103, 106]);
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`build`](Self::build). A `make` that fails is a failing [`initializer`](Self::initializer).
    pub fn build_with_state<S, M, F, T, R>(self, make: M, f: F) -> Result<FnPool<T, R>>
    where
        S: 'static,
        M: Fn() -> S + Send + Sync + 'static,
        F: Fn(&mut S, T) -> R + Send + Sync + 'static,
        T: Pod,
        R: Pod,
    {
        FnPool::with_state(self, make, f)
    }

    /// The pool, and what each worker makes of `make` for its tasks.
    pub(super) fn build_keeping(
        self,
        make: Option<Box<dyn Fn() -> Box<dyn Any> + Send + Sync>>,
    ) -> Result<Pool> {
        Ok(Pool { inner: Arc::new(Inner::new(self.plan(make)?)?) })
    }

    fn plan(self, make: Option<Box<dyn Fn() -> Box<dyn Any> + Send + Sync>>) -> Result<Plan> {
        let workers = self.workers.unwrap_or_else(cpu_count);
        self.check(workers)?;
        let workers_max = self.workers_max.unwrap_or(workers);
        let initializer = self.initializer;
        let rules = Rules {
            workers: workers as u32,
            // Twice as many, and some: the ends that the owner has not seen to when it is elsewhere.
            records: 2 * workers_max + 16,
            initializes: initializer.is_some() || make.is_some(),
            restarts: self.restart_limit,
            task_timeout: self.task_timeout,
        };
        let prepare = move || -> Box<dyn Any> {
            if let Some(initializer) = &initializer {
                initializer();
            }
            make.as_ref().map_or_else(|| Box::new(()) as Box<dyn Any>, |make| make())
        };
        let habits = Habits {
            prepare: Box::new(prepare),
            max_tasks: self.max_tasks,
            memory_limit: self.memory_limit,
            pinned: self.pinned,
            only_first_hand: self.retry == Retry::Never,
        };
        Ok(Plan {
            rules,
            habits,
            workers_max,
            queue: self.queue,
            message_max: self.message_max,
            replace_server: self.replace_server,
            retries: match self.retry {
                Retry::Times(times) => times,
                Retry::Never | Retry::IfNotBegun => 0,
            },
        })
    }

    fn check(&self, workers: usize) -> Result<()> {
        let refuse = |text: String| Err(Error::new(ErrorKind::Invalid, text));
        if workers == 0 || workers > MOST {
            return refuse(format!("a pool of {workers} workers: 1 to {MOST} are possible"));
        }
        if self.workers_max.is_some_and(|most| most < workers || most > MOST) {
            return refuse(format!(
                "a pool of {workers} workers that may become {}: at least as many, and at most {MOST}, are possible",
                self.workers_max.unwrap_or(0)
            ));
        }
        let zero = [
            (self.max_tasks == Some(0), "tasks of a worker"),
            (self.task_timeout == Some(Duration::ZERO), "nanoseconds for a task"),
            (self.memory_limit == Some(0), "bytes of memory for a worker"),
        ];
        if let Some((_, what)) = zero.iter().find(|(is_zero, _)| *is_zero) {
            return refuse(format!("0 {what}: at least 1 is expected"));
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
