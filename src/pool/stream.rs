//! Values of an iterator's items, as they are asked for: an endless one never has more than so many in flight.

use crate::error::{Error, ErrorKind};
use crate::layout::plain::Pod;
use crate::os::clock::Deadline;
use crate::pool::task::decode_bytes;
use crate::pool::worker::{self, Run};
use crate::pool::{Pool, Task, TaskError, check_types};
use std::any::Any;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;

/// Items in flight for each worker, unless said otherwise: so many that neither side has to sleep for each of them.
pub(super) const BUFFER: usize = 16;

impl Pool {
    /// The values of `f` for an iterator's items, lazily and in order. Each is a result of its own: a failure stands
    /// at its item's place, and the iteration goes on.
    ///
    /// The iterator is asked for items only inside [`next`](Iterator::next), and never for more than
    /// [`buffer`](Imap::buffer) and as many as there are workers beyond those whose values were taken: it may be endless.
    /// If it panics, the values of what came before it come first, then the panic.
    ///
    /// ```standalone_crate
    /// let pool = mpshm::Pool::new(2)?;
    /// let squares = pool.imap(|n: u64| n * n, 0..);
    /// let first: Result<Vec<u64>, _> = squares.take(5).collect();
    /// assert_eq!(first?, [0, 1, 4, 9, 16]);
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    pub fn imap<F, I, T, R>(&self, f: F, items: I) -> Imap<'_, I::IntoIter, R>
    where
        F: Fn(T) -> R + Copy,
        I: IntoIterator<Item = T>,
        T: Pod,
        R: Pod,
    {
        check_types::<F, T, R>();
        let _ = f;
        Imap::new(self, worker::run_map::<F, T, R>, 0, items.into_iter())
    }

    /// [`imap`](Self::imap), but the values come as they are ready.
    pub fn imap_unordered<F, I, T, R>(&self, f: F, items: I) -> Imap<'_, I::IntoIter, R>
    where
        F: Fn(T) -> R + Copy,
        I: IntoIterator<Item = T>,
        T: Pod,
        R: Pod,
    {
        Imap { ordered: false, ..self.imap(f, items) }
    }
}

/// An iterator over a function's values; made by [`Pool::imap`], [`Pool::imap_unordered`] or
/// [`FnPool::imap`](crate::FnPool::imap). Dropped, what is in flight goes on and is forgotten.
#[must_use = "nothing is asked for before `next`"]
pub struct Imap<'p, I, R> {
    pool: &'p Pool,
    run: Run,
    target: u64,
    /// None once it has ended.
    items: Option<I>,
    /// The panic that ended it.
    panic: Option<Box<dyn Any + Send>>,
    chunk: usize,
    buffer: usize,
    ordered: bool,
    /// Chunks in flight, oldest first, with their numbers of items.
    flying: VecDeque<(Task<Vec<u8>>, usize)>,
    /// Values that have come and were not asked for yet.
    ready: VecDeque<Result<R, TaskError>>,
    progress: Option<Progress<'p>>,
}

/// What is told how far a stream is.
struct Progress<'p> {
    tell: Box<dyn FnMut(usize, Option<usize>) + 'p>,
    done: usize,
    total: Option<usize>,
}

impl<'p, I, R> Imap<'p, I, R> {
    pub(super) fn new(pool: &'p Pool, run: Run, target: u64, items: I) -> Self {
        const { assert!(size_of::<R>() != 0, "a value must have at least one byte") };
        Self {
            pool,
            run,
            target,
            items: Some(items),
            panic: None,
            chunk: 1,
            buffer: BUFFER * pool.workers(),
            ordered: true,
            flying: VecDeque::new(),
            ready: VecDeque::new(),
            progress: None,
        }
    }

    /// How many items go to a worker at a time, or as many as a message holds: 1 by default, as is meant by 0. What fails takes its chunk
    /// with it: each of its items has the error.
    pub fn chunk(self, items: usize) -> Self {
        Self { chunk: items.max(1), ..self }
    }

    /// How many items may be in flight beyond one for each worker: 16 for each worker by default.
    pub fn buffer(self, items: usize) -> Self {
        Self { buffer: items, ..self }
    }
}

impl<'p, T, I, R> Imap<'p, I, R>
where
    T: Pod,
    I: Iterator<Item = T>,
    R: Pod,
{
    /// Has `progress` called inside `next` whenever items have ended, with their number so far, those that failed included, and
    /// the number of all, if the iterator knows that. What has ended is counted when it is fetched: with
    /// [`imap`](Pool::imap) in the order of the items, some beyond those whose values were taken.
    ///
    /// ```standalone_crate
    /// let pool = mpshm::Pool::new(2)?;
    /// let mut last = (0, None);
    /// let values = pool.imap(|n: u64| n * n, vec![1, 2, 3]).on_progress(|done, total| last = (done, total));
    /// assert_eq!(values.count(), 3);
    /// assert_eq!(last, (3, Some(3)));
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    pub fn on_progress(mut self, progress: impl FnMut(usize, Option<usize>) + 'p) -> Self {
        let hint = self.items.as_ref().map_or((0, Some(0)), Iterator::size_hint);
        let total = hint.1.filter(|&most| most == hint.0);
        self.progress = Some(Progress { tell: Box::new(progress), done: 0, total });
        self
    }

    /// The next value, if it is there before `deadline`; else `TimedOut`, and it can be asked for again.
    pub fn next_timeout(&mut self, deadline: impl Into<Deadline>) -> Option<Result<R, TaskError>> {
        self.advance(deadline.into())
    }

    fn advance(&mut self, deadline: Deadline) -> Option<Result<R, TaskError>> {
        if self.ready.is_empty() {
            if let Err(error) = self.fill() {
                self.items = None;
                self.ready.push_back(Err(error));
            } else if let Err(error) = self.land(deadline) {
                return Some(Err(error));
            }
        }
        let value = self.ready.pop_front();
        if value.is_none() {
            if let Some(panic) = self.panic.take() {
                std::panic::resume_unwind(panic);
            }
        }
        value
    }

    /// Asks for items as long as there may be more in flight.
    fn fill(&mut self) -> Result<(), TaskError> {
        let most = self.buffer + self.pool.workers().max(1);
        let fit = self.pool.inner().message_max() / size_of::<T>().max(size_of::<R>());
        let chunk = self.chunk.min(fit.max(1)).min(most);
        let mut count: usize = self.flying.iter().map(|(_, count)| count).sum();
        while count + chunk <= most || self.flying.is_empty() {
            let bunch = self.draw(chunk);
            if bunch.is_empty() {
                break;
            }
            let bytes = bytemuck::cast_slice(&bunch);
            let task = self.pool.submit_run(self.run, self.target, bytes, decode_bytes)?;
            count += bunch.len();
            self.flying.push_back((task, bunch.len()));
        }
        Ok(())
    }

    /// The next items, fewer at the end; none of a chunk in which the iterator panics.
    fn draw(&mut self, count: usize) -> Vec<T> {
        let Some(items) = &mut self.items else { return Vec::new() };
        match std::panic::catch_unwind(AssertUnwindSafe(|| items.take(count).collect::<Vec<T>>())) {
            Ok(bunch) => {
                if bunch.len() < count {
                    self.items = None;
                }
                bunch
            }
            Err(panic) => {
                (self.items, self.panic) = (None, Some(panic));
                Vec::new()
            }
        }
    }

    /// Waits for a chunk in flight, if there is one, and takes its values.
    fn land(&mut self, deadline: Deadline) -> Result<(), TaskError> {
        let ids: Vec<u64> = self.flying.iter().map(|(task, _)| task.id()).collect();
        let Some(&first) = ids.first() else { return Ok(()) };
        let awaited = if self.ordered { &[first][..] } else { &ids };
        let at = self.pool.inner().wait_for_any(awaited, deadline)?;
        let Some((task, count)) = self.flying.remove(at) else { return Ok(()) };
        match task.get() {
            Ok(bytes) if bytes.len() == count * size_of::<R>() => {
                let values = bytes.chunks_exact(size_of::<R>());
                self.ready.extend(values.map(|bytes| Ok(bytemuck::pod_read_unaligned(bytes))));
            }
            Ok(bytes) => {
                let text = format!("a chunk's result of {} bytes for {count} items", bytes.len());
                let error = TaskError::Pool(Error::new(ErrorKind::Corrupt, text));
                self.ready.extend(std::iter::repeat_n(Err(error), count));
            }
            Err(error) => self.ready.extend(std::iter::repeat_n(Err(error), count)),
        }
        if let Some(progress) = &mut self.progress {
            progress.done += count;
            (progress.tell)(progress.done, progress.total);
        }
        Ok(())
    }
}

impl<T, I, R> Iterator for Imap<'_, I, R>
where
    T: Pod,
    I: Iterator<Item = T>,
    R: Pod,
{
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance(Deadline::FOREVER)
    }
}

impl<I, R> std::fmt::Debug for Imap<'_, I, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Imap").field("in_flight", &self.flying.len()).finish_non_exhaustive()
    }
}
