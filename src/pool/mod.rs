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
//! | a worker that has taken a task and not begun it | another worker runs it |
//! | a worker in a task | that task ends as [`TaskError::WorkerDied`], never runs twice; another worker is forked |
//! | a worker that sends a result | a complete result counts; else `WorkerDied` |
//! | the owner | the workers are killed by the kernel |
//!
//! The owner learns of a death within 50 ms while it waits. A stopped worker keeps its task, and no
//! other's.
//!
//! # Forks
//! A pool belongs to the process that made it; used in a forked child it says `Forked`. Workers are forked
//! from the owner, also when one is replaced: in a program with threads the child has only the memory of
//! the others' locks, so functions should not take locks that those may have held at the fork (the
//! allocator's is safe). Workers are killed when the **thread** that made them ends, which is how
//! Linux counts a parent's death: make the pool in a thread that outlives it.

pub(crate) mod task;
mod wire;
pub(crate) mod worker;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::plain::{Pod, Zeroable};
use crate::os::clock::{self, Deadline};
use crate::os::fork;
use crate::process::{Process, cpu_count};
use crate::queue::{Claim, PopError, PushError, Queue, QueueOptions};
use crate::segment::Segment;
use crate::value::Array;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use task::{Decode, decode_bytes, decode_plain};
pub use task::{Task, TaskError};
use wire::{FAILED, HEADER, LAST, ResultHeader, TaskHeader};
use worker::Run;

/// How long the owner waits at a time before it looks after the workers, in nanoseconds.
const LOOK_EVERY: u64 = 50_000_000;
/// How long a terminated worker has before it is killed.
const GRACE: Duration = Duration::from_millis(500);

/// A pool of worker processes; see the [module](self).
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

/// How a pool is made.
///
/// ```standalone_crate
/// let pool = mpshm::Pool::builder().workers(2).message_max(1 << 16).build()?;
/// assert_eq!(pool.workers(), 2);
/// # Ok::<(), mpshm::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is made before `build`"]
pub struct PoolBuilder {
    workers: usize,
    queue: u64,
    message_max: u64,
}

impl PoolBuilder {
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

    /// Makes the pool and forks its workers.
    ///
    /// # Errors
    /// `Invalid` for 0 workers or more than 1000; `NoSpace`; `Limit` when a worker cannot be forked: those
    /// that were are gone again.
    pub fn build(self) -> Result<Pool> {
        if self.workers == 0 || self.workers > 1000 {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("a pool of {} workers: 1 to 1000 are possible", self.workers),
            ));
        }
        let inner = Arc::new(Inner::new(&self)?);
        {
            let mut state = inner.lock()?;
            for index in 0..self.workers as u32 {
                let worker = inner.spawn(&state, index)?;
                state.workers.push(worker);
            }
        }
        Ok(Pool { inner })
    }
}

/// What a pool and its tasks share.
pub(crate) struct Inner {
    /// The process that made the pool.
    process: u32,
    message_max: usize,
    states: Arc<Array<u64>>,
    state: Mutex<State>,
}

/// The owner's side of the pool.
struct State {
    tasks: Queue<[u8]>,
    results: Queue<[u8]>,
    workers: Vec<Process>,
    /// By slot: the tasks that the workers know of.
    flights: Vec<Option<Flight>>,
    free_slots: Vec<u32>,
    backlog: VecDeque<Pending>,
    /// Results that nobody has asked for yet, or may ask for again.
    ended: HashMap<u64, std::result::Result<Vec<u8>, TaskError>>,
    /// Tasks whose handle is gone.
    forgotten: std::collections::HashSet<u64>,
    next_id: u64,
    looked: u64,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    Closed,
    Ended,
}

/// A task that the workers know of.
struct Flight {
    id: u64,
    /// The parts of its result that have come home.
    bytes: Vec<u8>,
}

/// A task that the workers do not know of yet.
struct Pending {
    id: u64,
    run: Run,
    target: u64,
    argument: Box<[u8]>,
}

impl Pool {
    /// How a pool is made, to be changed from the defaults.
    pub fn builder() -> PoolBuilder {
        PoolBuilder { workers: cpu_count(), queue: 128, message_max: 16 << 10 }
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
        self.inner.lock().map_or(0, |state| state.workers.len())
    }

    /// The process ids of the workers as of now.
    ///
    /// # Errors
    /// `Forked`.
    pub fn worker_pids(&self) -> Result<Vec<u32>> {
        Ok(self.inner.lock()?.workers.iter().map(Process::pid).collect())
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

    pub(crate) fn submit_run<R>(
        &self,
        run: Run,
        target: u64,
        argument: &[u8],
        decode: Decode<R>,
    ) -> Result<Task<R>> {
        self.inner.check_argument(argument.len())?;
        let mut state = self.inner.lock()?;
        state.check_open()?;
        let id = state.new_id();
        state.backlog.push_back(Pending { id, run, target, argument: argument.into() });
        self.inner.step(&mut state, None)?;
        Ok(Task::new(Arc::clone(&self.inner), id, decode))
    }

    /// Runs `f` on each of `items`, and waits for all the values, in order.
    ///
    /// # Errors
    /// The error of the first chunk that failed; the others have run to their end nevertheless.
    pub fn map<F, T, R>(&self, f: F, items: &[T]) -> std::result::Result<Vec<R>, TaskError>
    where
        F: Fn(T) -> R + Copy,
        T: Pod,
        R: Pod,
    {
        let chunk = items.len().div_ceil(4 * self.workers().max(1)).max(1);
        self.map_with_chunk(f, items, chunk)
    }

    /// [`map`](Self::map) in chunks of `chunk` items, or fewer where a message does not hold as many.
    /// What fails takes its chunk with it.
    ///
    /// # Errors
    /// As [`map`](Self::map); `Invalid` for a chunk of 0; `TooBig` when not even one item fits a message.
    pub fn map_with_chunk<F, T, R>(
        &self,
        f: F,
        items: &[T],
        chunk: usize,
    ) -> std::result::Result<Vec<R>, TaskError>
    where
        F: Fn(T) -> R + Copy,
        T: Pod,
        R: Pod,
    {
        check_types::<F, T, R>();
        let _ = f;
        if chunk == 0 {
            return Err(Error::new(
                ErrorKind::Invalid,
                "a chunk of 0 items: at least 1 is expected",
            )
            .into());
        }
        self.inner.check_argument(size_of::<T>())?;
        let fit = self.inner.message_max / size_of::<T>().max(size_of::<R>());
        let chunk = chunk.min(fit.max(1));
        let mut values = vec![R::zeroed(); items.len()];
        let mut failed = None;
        self.inner.map(
            worker::run_map::<F, T, R>,
            items.chunks(chunk).map(bytemuck::cast_slice),
            |index, result| {
                let start = index * chunk;
                let count = chunk.min(items.len() - start);
                let target: &mut [u8] = bytemuck::cast_slice_mut(&mut values[start..start + count]);
                match result {
                    Ok(bytes) if bytes.len() == target.len() => target.copy_from_slice(&bytes),
                    Ok(bytes) => {
                        let found = format!(
                            "a chunk's result of {} bytes, {} were expected",
                            bytes.len(),
                            target.len()
                        );
                        failed.get_or_insert(Error::new(ErrorKind::Corrupt, found).into());
                    }
                    Err(error) => {
                        failed.get_or_insert(error);
                    }
                }
            },
        )?;
        failed.map_or(Ok(values), Err)
    }

    /// Takes no more tasks; those that were handed over go on.
    ///
    /// # Errors
    /// `Forked`.
    pub fn close(&self) -> Result<()> {
        let mut state = self.inner.lock()?;
        if state.phase == Phase::Running {
            state.phase = Phase::Closed;
        }
        Ok(())
    }

    /// Waits until every task has ended, then ends the workers. The pool must be closed.
    ///
    /// # Errors
    /// `Invalid` when the pool still runs; `Interrupted`; `Forked`.
    pub fn join(&self) -> Result<()> {
        self.join_timeout(Deadline::FOREVER).map(|_| ())
    }

    /// [`join`](Self::join) until `deadline`; false when it came first.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub fn join_timeout(&self, deadline: impl Into<Deadline>) -> Result<bool> {
        let deadline = deadline.into();
        let mut state = self.inner.lock()?;
        if state.phase == Phase::Running {
            return Err(Error::new(
                ErrorKind::Invalid,
                "join on a pool that still runs: close it first",
            ));
        }
        while state.has_work() {
            if deadline.has_passed() {
                return Ok(false);
            }
            self.inner.step(&mut state, Some(deadline))?;
        }
        state.tasks.close()?;
        state.phase = Phase::Ended;
        for worker in &state.workers {
            if worker.join_timeout(deadline)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Ends the workers now (SIGTERM, after half a second SIGKILL); tasks that have not ended are
    /// `Cancelled`.
    ///
    /// # Errors
    /// `Forked`.
    pub fn terminate(&self) -> Result<()> {
        self.inner.terminate()
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

impl Inner {
    fn new(builder: &PoolBuilder) -> Result<Self> {
        let participants = builder.workers as u32 + 4;
        // A worker holds one task and one part of a result at a time.
        let options = QueueOptions::new(builder.queue)
            .message_max(builder.message_max.saturating_add(HEADER as u64))
            .leases(1);
        let slots = builder.queue as usize + builder.workers + 64;
        let one = Queue::<[u8]>::size_with(&options, participants)?;
        let size = 2 * one + Array::<u64>::size_for(slots)? + 4096;
        let segment = Segment::options().participants(participants).objects(4).anonymous(size)?;
        let tasks = Queue::<[u8]>::create(segment.at("tasks"), &options)?;
        let results = Queue::<[u8]>::create(segment.at("results"), &options)?;
        let states = Array::<u64>::create(segment.at("states"), slots)?;
        Ok(Self {
            process: fork::generation(),
            message_max: builder.message_max as usize,
            states: Arc::new(states),
            state: Mutex::new(State {
                tasks,
                results,
                workers: Vec::with_capacity(builder.workers),
                flights: (0..slots).map(|_| None).collect(),
                free_slots: (0..slots as u32).rev().collect(),
                backlog: VecDeque::new(),
                ended: HashMap::new(),
                forgotten: std::collections::HashSet::new(),
                next_id: 1,
                looked: 0,
                phase: Phase::Running,
            }),
        })
    }

    /// The owner's side, if this is the owner. (A child's copy of the lock may be held for ever.)
    fn lock(&self) -> Result<MutexGuard<'_, State>> {
        if self.process != fork::generation() {
            return Err(Error::new(
                ErrorKind::Forked,
                "the pool belongs to the process that made it and cannot be used in a forked child",
            ));
        }
        Ok(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn spawn(&self, state: &State, index: u32) -> Result<Process> {
        let (tasks, results) = (state.tasks.clone(), state.results.clone());
        let states = Arc::clone(&self.states);
        Process::builder()
            .name(format!("PoolWorker-{}", index + 1))
            .kill_with_parent(true)
            .daemon(true)
            .spawn(move || worker::run(index, &tasks, &results, &states))
    }

    fn check_argument(&self, length: usize) -> Result<()> {
        if length > self.message_max {
            return Err(Error::new(
                ErrorKind::TooBig,
                format!(
                    "an argument of {length} bytes: the pool's messages hold {}",
                    self.message_max
                ),
            ));
        }
        Ok(())
    }

    /// Hands out what can be handed out, collects what has come home, and looks after the workers.
    /// With a deadline, waits for a result first if none is there.
    fn step(&self, state: &mut State, wait: Option<Deadline>) -> Result<()> {
        if state.phase == Phase::Ended {
            return Ok(());
        }
        self.hand_out(state)?;
        let mut came = self.collect(state)?;
        if let (false, Some(deadline)) = (came, wait) {
            let slice = deadline.at_most(LOOK_EVERY);
            let waited = state.results.claim_timeout(slice).map(Arrival::read);
            match waited {
                Ok(arrival) => {
                    self.arrived(state, arrival?);
                    came = true;
                }
                Err(PopError::TimedOut) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if came {
            self.hand_out(state)?;
        }
        self.look_after_workers(state)
    }

    /// Moves tasks from the backlog to the queue while there is room.
    fn hand_out(&self, state: &mut State) -> Result<()> {
        while let Some(next) = state.backlog.pop_front() {
            if !self.start(state, next.id, next.run, next.target, &next.argument)? {
                state.backlog.push_front(next);
                break;
            }
        }
        Ok(())
    }

    /// Hands one task to the workers; false when the queue has no room.
    fn start(
        &self,
        state: &mut State,
        id: u64,
        run: Run,
        target: u64,
        argument: &[u8],
    ) -> Result<bool> {
        let Some(&slot) = state.free_slots.last() else { return Ok(false) };
        let header = TaskHeader { id, run: run as usize as u64, target, slot, reserved: 0 };
        let mut place = match state.tasks.try_reserve(HEADER + argument.len()) {
            Ok(place) => place,
            Err(PushError::Full(())) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        place.write_at(0, bytemuck::bytes_of(&header))?;
        place.write_at(HEADER, argument)?;
        self.states.store(slot as usize, wire::waiting(id))?;
        match place.commit(HEADER + argument.len()) {
            Ok(()) => {}
            Err(PushError::Full(_)) => return Ok(false),
            Err(error) => return Err(Error::new(error.kind(), error.to_string())),
        }
        state.free_slots.pop();
        state.flights[slot as usize] = Some(Flight { id, bytes: Vec::new() });
        Ok(true)
    }

    /// Takes every result that is there; says whether there was one.
    fn collect(&self, state: &mut State) -> Result<bool> {
        let mut came = false;
        // As many as there were at first: a death is judged only after all that the dead one sent.
        for _ in 0..state.results.len() {
            let arrival = match state.results.try_claim().map(Arrival::read) {
                Ok(arrival) => arrival?,
                Err(PopError::Empty) => break,
                Err(error) => return Err(error.into()),
            };
            self.arrived(state, arrival);
            came = true;
        }
        Ok(came)
    }

    fn arrived(&self, state: &mut State, arrival: Arrival) {
        let Arrival { header, bytes } = arrival;
        let flight = state.flights.get_mut(header.slot as usize).and_then(Option::as_mut);
        let Some(flight) = flight.filter(|flight| flight.id == header.id) else { return };
        if flight.bytes.is_empty() {
            flight.bytes = bytes;
        } else {
            flight.bytes.extend_from_slice(&bytes);
        }
        let bytes = match header.kind {
            LAST | FAILED => std::mem::take(&mut flight.bytes),
            _ => return,
        };
        let result = if header.kind == LAST {
            Ok(bytes)
        } else {
            let message = String::from_utf8_lossy(&bytes).into_owned();
            Err(TaskError::Failed { message, pid: header.pid })
        };
        self.land(state, header.slot, result);
    }

    /// A task has ended: its slot is free again.
    fn land(&self, state: &mut State, slot: u32, result: std::result::Result<Vec<u8>, TaskError>) {
        if let Some(flight) = state.flights[slot as usize].take() {
            let _ = self.states.store(slot as usize, 0);
            state.free_slots.push(slot);
            state.end(flight.id, result);
        }
    }

    /// Replaces workers that have died, and ends the tasks that they had begun.
    fn look_after_workers(&self, state: &mut State) -> Result<()> {
        let now = clock::now_coarse();
        if now.wrapping_sub(state.looked) < LOOK_EVERY / 2 {
            return Ok(());
        }
        state.looked = now;
        for index in 0..state.workers.len() {
            let Some(status) = state.workers[index].exit_status()? else { continue };
            // Everything that it sent is in the queue by now; a complete result counts.
            self.collect(state)?;
            let pid = state.workers[index].pid();
            for slot in 0..state.flights.len() as u32 {
                let Some(flight) = &state.flights[slot as usize] else { continue };
                if self.states.load(slot as usize)? == wire::begun(flight.id, index as u32) {
                    self.land(state, slot, Err(TaskError::WorkerDied { pid, status }));
                }
            }
            let fresh = self.spawn(state, index as u32)?;
            state.workers[index] = fresh;
        }
        Ok(())
    }

    /// Waits for a task to end, and reads what came of it.
    fn outcome<T>(
        &self,
        id: u64,
        deadline: Deadline,
        read: impl Fn(&[u8]) -> std::result::Result<T, TaskError>,
    ) -> std::result::Result<T, TaskError> {
        loop {
            // Unlocked between steps, so that every waiting thread gets its turn.
            let mut state = self.lock()?;
            if !state.ended.contains_key(&id) {
                self.step(&mut state, None)?;
            }
            if let Some(result) = state.ended.get(&id) {
                return result.as_ref().map_err(Clone::clone).and_then(|bytes| read(bytes));
            }
            if deadline.has_passed() {
                return Err(TaskError::TimedOut);
            }
            self.step(&mut state, Some(deadline)).map_err(|error| match error.kind() {
                ErrorKind::Interrupted => TaskError::Interrupted,
                _ => TaskError::Pool(error),
            })?;
        }
    }

    /// Nobody will ask for this task's result any more.
    fn forget(&self, id: u64) {
        if let Ok(mut state) = self.lock() {
            if state.ended.remove(&id).is_none() && state.knows(id) {
                state.forgotten.insert(id);
            }
        }
    }

    /// Runs `run` on every argument; `each` gets the results, as they come, with their index.
    fn map<'a>(
        &self,
        run: Run,
        arguments: impl Iterator<Item = &'a [u8]>,
        mut each: impl FnMut(usize, std::result::Result<Vec<u8>, TaskError>),
    ) -> std::result::Result<(), TaskError> {
        let mut arguments = arguments.enumerate().peekable();
        let mut pending: HashMap<u64, usize> = HashMap::new();
        let mut interrupted = None;
        loop {
            let mut state = self.lock()?;
            state.check_open()?;
            while interrupted.is_none() && state.backlog.is_empty() {
                let Some(&(index, argument)) = arguments.peek() else { break };
                let id = state.next_id;
                if !self.start(&mut state, id, run, 0, argument)? {
                    break;
                }
                state.new_id();
                pending.insert(id, index);
                arguments.next();
            }
            pending.retain(|&id, &mut index| match state.ended.remove(&id) {
                Some(result) => {
                    each(index, result);
                    false
                }
                None => true,
            });
            if pending.is_empty() && (arguments.peek().is_none() || interrupted.is_some()) {
                return interrupted.map_or(Ok(()), Err);
            }
            if let Err(error) = self.step(&mut state, Some(Deadline::FOREVER)) {
                if error.kind() != ErrorKind::Interrupted {
                    return Err(error.into());
                }
                // Cancelled: what has been handed out is forgotten, the rest is not begun.
                state.forgotten.extend(pending.drain().map(|(id, _)| id));
                interrupted = Some(TaskError::Interrupted);
            }
        }
    }

    fn terminate(&self) -> Result<()> {
        let mut state = self.lock()?;
        let state = &mut *state;
        if state.phase == Phase::Ended && !state.has_work() {
            return Ok(());
        }
        let _ = self.collect(state);
        state.phase = Phase::Ended;
        for pending in std::mem::take(&mut state.backlog) {
            state.end(pending.id, Err(TaskError::Cancelled));
        }
        for slot in 0..state.flights.len() as u32 {
            if let Some(flight) = &state.flights[slot as usize] {
                let _ = self.states.compare_exchange(
                    slot as usize,
                    wire::waiting(flight.id),
                    wire::waiting(flight.id) | wire::CANCELLED,
                );
            }
        }
        let _ = state.tasks.close();
        for worker in &state.workers {
            let _ = worker.terminate();
        }
        let grace = Deadline::after(GRACE);
        for worker in &state.workers {
            if !matches!(worker.join_timeout(grace), Ok(Some(_))) {
                let _ = worker.kill();
                let _ = worker.join();
            }
        }
        let _ = self.collect(state);
        for slot in 0..state.flights.len() as u32 {
            self.land(state, slot, Err(TaskError::Cancelled));
        }
        Ok(())
    }
}

impl State {
    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    fn check_open(&self) -> Result<()> {
        if self.phase == Phase::Running {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Closed,
            "the pool takes no more tasks: it was closed or terminated",
        ))
    }

    fn has_work(&self) -> bool {
        !self.backlog.is_empty() || self.flights.iter().any(Option::is_some)
    }

    fn knows(&self, id: u64) -> bool {
        self.backlog.iter().any(|pending| pending.id == id)
            || self.flights.iter().flatten().any(|flight| flight.id == id)
    }

    fn end(&mut self, id: u64, result: std::result::Result<Vec<u8>, TaskError>) {
        if !self.forgotten.remove(&id) {
            self.ended.insert(id, result);
        }
    }
}

/// A message from a worker, copied out of the queue.
struct Arrival {
    header: ResultHeader,
    bytes: Vec<u8>,
}

impl Arrival {
    fn read(message: Claim<'_>) -> Result<Self> {
        let mut header = ResultHeader::zeroed();
        message.read_at(0, bytemuck::bytes_of_mut(&mut header))?;
        let mut bytes = vec![0; message.len() - HEADER];
        message.read_at(HEADER, &mut bytes)?;
        Ok(Self { header, bytes })
    }
}
