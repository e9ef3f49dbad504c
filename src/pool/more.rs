//! Further forms of maps.

use crate::error::{Error, ErrorKind, Result};
use crate::layout::plain::Pod;
use crate::os::clock::Deadline;
use crate::pool::callback::Ended;
use crate::pool::gather::Values;
use crate::pool::task::decode_bytes;
use crate::pool::worker::{self, Argument, Output};
use crate::pool::{Pool, Task, TaskError, check_types};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

impl Pool {
    /// [`map`](Self::map) that does not wait.
    ///
    /// ```standalone_crate
    /// let pool = mpshm::Pool::new(2)?;
    /// let squares = pool.map_async(|n: u64| n * n, &[1, 2, 3])?;
    /// assert_eq!(squares.get()?, [1, 4, 9]);
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Closed`; `TooBig` when not even one item fits a message; `Forked`.
    pub fn map_async<F, T, R>(&self, f: F, items: &[T]) -> Result<MapTask<R>>
    where
        F: Fn(T) -> R + Copy,
        T: Pod,
        R: Pod,
    {
        check_types::<F, T, R>();
        const { assert!(size_of::<R>() != 0, "a value must have at least one byte") };
        let _ = f;
        let fit = self.inner().message_max() / size_of::<T>().max(size_of::<R>());
        let chunk = self.share_of(items.len()).min(fit.max(1));
        let submit = |chunk: &[T]| {
            let bytes = bytemuck::cast_slice(chunk);
            self.submit_run(worker::run_map::<F, T, R>, 0, bytes, decode_bytes)
        };
        let chunks = items.chunks(chunk).map(submit).collect::<Result<_>>()?;
        Ok(MapTask { chunks, types: PhantomData })
    }

    /// Runs `f` on each of `items`, and waits until all have ended.
    ///
    /// # Errors
    /// As [`map`](Self::map).
    pub fn for_each<F, T>(&self, f: F, items: &[T]) -> std::result::Result<(), TaskError>
    where
        F: Fn(T) + Copy,
        T: Pod,
    {
        let done = move |item: T| -> u8 {
            f(item);
            0
        };
        self.map(done, items).map(|_| ())
    }

    /// Runs `f` on the pairs of two slices' items, and waits for all the values, in order.
    ///
    /// ```standalone_crate
    /// let pool = mpshm::Pool::new(2)?;
    /// assert_eq!(pool.starmap(|a: u64, b: f64| a as f64 * b, &[1, 2, 3], &[0.5, 1.5, 2.5])?, [0.5, 3.0, 7.5]);
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`map`](Self::map); `Invalid` for slices of different lengths.
    pub fn starmap<F, A, B, R>(
        &self,
        f: F,
        firsts: &[A],
        seconds: &[B],
    ) -> std::result::Result<Vec<R>, TaskError>
    where
        F: Fn(A, B) -> R + Copy,
        A: Pod,
        B: Pod,
        R: Pod,
    {
        const {
            assert!(size_of::<F>() == 0, "a task's function must capture nothing");
            assert!(size_of::<A>() != 0 && size_of::<B>() != 0);
            assert!(size_of::<R>() != 0 && align_of::<R>() <= 16);
        }
        let _ = f;
        if firsts.len() != seconds.len() {
            let text = format!("a starmap of {} and {} items", firsts.len(), seconds.len());
            return Err(Error::new(ErrorKind::Invalid, text).into());
        }
        // Pairs without padding between the two: they are read byte by byte.
        let pairs: Vec<u8> = firsts
            .iter()
            .zip(seconds)
            .flat_map(|(a, b)| [bytemuck::bytes_of(a), bytemuck::bytes_of(b)].concat())
            .collect();
        let pair = size_of::<A>() + size_of::<B>();
        self.inner().check_argument(pair)?;
        let fit = self.inner().message_max() / pair.max(size_of::<R>());
        let chunk = self.share_of(firsts.len()).min(fit.max(1));
        self.map_bytes(worker_starmap::<F, A, B, R>, &pairs, pair, chunk)
    }

    /// Folds `items` with `f`, which must not care how they are bracketed: each worker folds chunks, and this
    /// process what comes of them, in order. None for no items.
    ///
    /// ```standalone_crate
    /// let pool = mpshm::Pool::new(2)?;
    /// let items: Vec<u64> = (1..=1000).collect();
    /// assert_eq!(pool.reduce(|a: u64, b: u64| a + b, &items)?, Some(500_500));
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`map`](Self::map).
    pub fn reduce<F, T>(&self, f: F, items: &[T]) -> std::result::Result<Option<T>, TaskError>
    where
        F: Fn(T, T) -> T + Copy,
        T: Pod,
    {
        const {
            assert!(size_of::<F>() == 0, "a task's function must capture nothing");
            assert!(size_of::<T>() != 0 && align_of::<T>() <= 16);
        }
        self.inner().check_argument(size_of::<T>())?;
        let fit = self.inner().message_max() / size_of::<T>();
        let chunk = self.share_of(items.len()).min(fit.max(1));
        let mut folded = vec![None; items.len().div_ceil(chunk)];
        let mut failed = None;
        let chunks = items.chunks(chunk).map(bytemuck::cast_slice);
        self.inner().map(worker_reduce::<F, T>, 0, chunks, |index, result| match result {
            Ok(bytes) => folded[index] = bytemuck::try_pod_read_unaligned::<T>(&bytes).ok(),
            Err(error) => {
                failed.get_or_insert(error);
            }
        })?;
        failed.map_or(Ok(()), Err)?;
        Ok(folded.into_iter().flatten().reduce(f))
    }

    /// Runs `run` on chunks of items of `size` bytes each.
    fn map_bytes<R: Pod>(
        &self,
        run: worker::Run,
        items: &[u8],
        size: usize,
        chunk: usize,
    ) -> std::result::Result<Vec<R>, TaskError> {
        let mut values = Values::new(items.len() / size, chunk);
        let chunks = items.chunks(chunk * size);
        self.inner().map(run, 0, chunks, |index, result| values.put(index, result))?;
        values.finish()
    }
}

/// The values that stand in the chunks' results, one after another.
fn values_of<R: Pod>(parts: &[Vec<u8>]) -> Vec<R> {
    let bytes = parts.iter().flat_map(|part| part.chunks_exact(size_of::<R>()));
    bytes.map(bytemuck::pod_read_unaligned).collect()
}

/// # Safety
/// The argument is pairs of an `A` and a `B`, without padding; a value of `F` exists.
unsafe fn worker_starmap<F, A, B, R>(_: u64, argument: Argument, output: &mut Output<'_>)
where
    F: Fn(A, B) -> R + Copy,
    A: Pod,
    B: Pod,
    R: Pod,
{
    // SAFETY: the caller's word.
    let f = unsafe { worker::conjure::<F>() };
    let pair = size_of::<A>() + size_of::<B>();
    let count = argument.length / pair;
    output.in_place(count * size_of::<R>(), |place| {
        for index in 0..count {
            // SAFETY: `count` pairs lie there, and there is room for as many values, aligned to 16.
            unsafe {
                let first = argument.start.add(index * pair);
                let second = first.add(size_of::<A>());
                let value =
                    f(first.cast::<A>().read_unaligned(), second.cast::<B>().read_unaligned());
                place.cast::<R>().add(index).write(value);
            }
        }
    });
}

/// # Safety
/// The argument is one `T` or more; a value of `F` exists.
unsafe fn worker_reduce<F, T>(_: u64, argument: Argument, output: &mut Output<'_>)
where
    F: Fn(T, T) -> T + Copy,
    T: Pod,
{
    // SAFETY: the caller's word.
    let f = unsafe { worker::conjure::<F>() };
    let count = argument.length / size_of::<T>();
    let items = argument.start.cast::<T>();
    output.in_place(size_of::<T>(), |place| {
        // SAFETY: `count` items lie there, aligned to 16, and there is room for one.
        unsafe {
            let first = items.read();
            let folded = (1..count).fold(first, |sum, index| f(sum, items.add(index).read()));
            place.cast::<T>().write(folded);
        }
    });
}

/// A map that was handed to a pool; made by [`Pool::map_async`]. Dropped, its values are forgotten.
#[derive(Debug)]
pub struct MapTask<R> {
    chunks: Vec<Task<Vec<u8>>>,
    types: PhantomData<fn() -> R>,
}

impl<R: Pod> MapTask<R> {
    /// Whether every chunk has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.chunks.iter().all(Task::is_done)
    }

    /// The values, in order, once all have come; again and again.
    ///
    /// # Errors
    /// The error of the first chunk that failed, when all have ended.
    pub fn get(&self) -> std::result::Result<Vec<R>, TaskError> {
        self.get_timeout(Deadline::FOREVER)
    }

    /// [`get`](Self::get), if all have ended before `deadline`.
    ///
    /// # Errors
    /// As there; `TimedOut`.
    pub fn get_timeout(
        &self,
        deadline: impl Into<Deadline>,
    ) -> std::result::Result<Vec<R>, TaskError> {
        let deadline = deadline.into();
        for chunk in &self.chunks {
            if !chunk.wait(deadline)? {
                return Err(TaskError::TimedOut);
            }
        }
        let parts =
            self.chunks.iter().map(Task::get).collect::<std::result::Result<Vec<_>, _>>()?;
        Ok(values_of(&parts))
    }

    /// Has `f` called once, with all the values or the error of the first chunk that failed, when all have ended:
    /// see [`Task::on_done`].
    ///
    /// ```standalone_crate
    /// let pool = mpshm::Pool::new(2)?;
    /// let (sender, all) = std::sync::mpsc::channel();
    /// pool.map_async(|n: u64| n * n, &[1, 2, 3])?.on_done(move |values| sender.send(values).unwrap())?;
    /// pool.finish()?;
    /// assert_eq!(all.recv().unwrap()?, [1, 4, 9]);
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Forked`.
    pub fn on_done<F>(&self, f: F) -> Result<()>
    where
        F: FnOnce(std::result::Result<Vec<R>, TaskError>) + Send + 'static,
    {
        if self.chunks.is_empty() {
            f(Ok(Vec::new()));
            return Ok(());
        }
        let parts: Vec<Option<Ended>> = self.chunks.iter().map(|_| None).collect();
        let waiting = Arc::new(Mutex::new((self.chunks.len(), parts, Some(f))));
        for (index, chunk) in self.chunks.iter().enumerate() {
            let waiting = Arc::clone(&waiting);
            chunk.on_done(move |ended| {
                let mut guard = waiting.lock().unwrap_or_else(PoisonError::into_inner);
                let (left, parts, f) = &mut *guard;
                parts[index] = Some(ended);
                *left -= 1;
                if *left > 0 {
                    return;
                }
                let (parts, f) = (std::mem::take(parts), f.take());
                drop(guard);
                let parts: std::result::Result<Vec<_>, _> = parts.into_iter().flatten().collect();
                if let Some(f) = f {
                    f(parts.map(|parts| values_of(&parts)));
                }
            })?;
        }
        Ok(())
    }

    /// What the callback of [`on_done`](Self::on_done) panicked with.
    #[must_use]
    pub fn callback_panic(&self) -> Option<String> {
        self.chunks.iter().find_map(Task::callback_panic)
    }

    /// Ends the chunks that no worker has begun as `Cancelled`; says how many.
    ///
    /// # Errors
    /// `Forked`.
    pub fn cancel(&self) -> Result<usize> {
        let mut cancelled = 0;
        for chunk in &self.chunks {
            cancelled += usize::from(chunk.cancel()?);
        }
        Ok(cancelled)
    }
}
