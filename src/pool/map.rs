//! Maps over slices: chunks, and how far they are.

use crate::error::{Error, ErrorKind};
use crate::layout::plain::Pod;
use crate::pool::chunks::{Chunks, run_map_some};
use crate::pool::worker::{self, Run};
use crate::pool::{Inner, Pool, TaskError, check_types};
use std::cell::RefCell;
use std::collections::HashMap;

/// How a map is run: on so many items at a time, or on as many as a worker does in a time.
pub(super) enum Way {
    /// Workers run all that they are handed.
    Whole(Run, usize),
    /// Workers run the first items of what they are handed.
    Some(Run),
}

/// The chunks of a map that have not ended, by task. What is left of them goes on, for nobody.
pub(super) struct Chunked<'a> {
    pub(super) inner: &'a Inner,
    pub(super) chunks: HashMap<u64, usize>,
}

impl Drop for Chunked<'_> {
    fn drop(&mut self) {
        if self.chunks.is_empty() {
            return;
        }
        if let Ok(mut state) = self.inner.lock() {
            for id in self.chunks.drain().map(|(id, _)| id) {
                if state.ended.remove(&id).is_none() {
                    state.forgotten.insert(id);
                }
            }
        }
    }
}

impl Pool {
    /// Runs `f` on each of `items`, and waits for all the values, in order.
    ///
    /// Workers are handed chunks, four for each of them; one whose chunk lasts longer than 2 ms sends home what it has, and the rest is
    /// handed out anew. So short tasks cost few messages, and long ones, also where they differ a thousandfold, leave no
    /// worker idle for longer than about one task takes.
    ///
    /// # Errors
    /// The error of the first chunk that failed; the others have run to their end nevertheless.
    pub fn map<F, T, R>(&self, f: F, items: &[T]) -> std::result::Result<Vec<R>, TaskError>
    where
        F: Fn(T) -> R + Copy,
        T: Pod,
        R: Pod,
    {
        self.map_with_progress(f, items, |_, _| {})
    }

    /// [`map`](Self::map) in chunks of `chunk` items, or fewer where a message does not hold as many; none is cut short.
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
        self.map_way(Way::Whole(worker::run_map::<F, T, R>, chunk), 0, items, |_, _| {})
    }

    /// [`map`](Self::map) that says how far it is: `progress` is called inside this call, whenever items have ended, with
    /// their number so far, those that failed included, and the number of all.
    ///
    /// ```standalone_crate
    /// let pool = mpshm::Pool::new(2)?;
    /// let mut last = (0, 0);
    /// let squares = pool.map_with_progress(|n: u64| n * n, &[1, 2, 3], |done, total| last = (done, total))?;
    /// assert_eq!((squares, last), (vec![1, 4, 9], (3, 3)));
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`map`](Self::map).
    ///
    /// # Panics
    /// With what `progress` panics with; what was handed out goes on and is forgotten.
    pub fn map_with_progress<F, T, R>(
        &self,
        f: F,
        items: &[T],
        progress: impl FnMut(usize, usize),
    ) -> std::result::Result<Vec<R>, TaskError>
    where
        F: Fn(T) -> R + Copy,
        T: Pod,
        R: Pod,
    {
        check_types::<F, T, R>();
        let _ = f;
        self.map_way(Way::Some(run_map_some::<F, T, R>), 0, items, progress)
    }

    /// The chunks of so many items.
    pub(crate) fn share_of(&self, items: usize) -> usize {
        items.div_ceil(4 * self.workers().max(1)).max(1)
    }

    pub(super) fn map_way<T: Pod, R: Pod>(
        &self,
        way: Way,
        target: u64,
        items: &[T],
        mut progress: impl FnMut(usize, usize),
    ) -> std::result::Result<Vec<R>, TaskError> {
        let (run, chunk, cut) = match way {
            Way::Whole(run, chunk) => (run, chunk, false),
            Way::Some(run) => (run, self.share_of(items.len()), true),
        };
        if chunk == 0 {
            let text = "a chunk of 0 items: at least 1 is expected";
            return Err(Error::new(ErrorKind::Invalid, text).into());
        }
        self.inner.check_argument(size_of::<T>())?;
        let fit = self.inner.message_max() / size_of::<T>().max(size_of::<R>());
        let chunks = RefCell::new(Chunks::new(items.len(), chunk.min(fit.max(1)), self.workers()));
        let mut values = vec![R::zeroed(); items.len()];
        let mut failed = None;
        self.inner.map_telling(
            run,
            target,
            std::iter::from_fn(|| {
                let range = chunks.borrow_mut().next()?;
                Some(bytemuck::cast_slice::<T, u8>(&items[range]))
            }),
            |number, result| {
                let mut chunks = chunks.borrow_mut();
                let range = chunks.range(number);
                let count = range.len();
                let place: &mut [u8] = bytemuck::cast_slice_mut(&mut values[range]);
                let taken = result.and_then(|bytes| copy(&bytes, place, size_of::<R>(), cut));
                chunks.ended(number, taken.as_ref().map_or(count, |&taken| taken.min(count)));
                if let Err(error) = taken {
                    failed.get_or_insert(error);
                }
            },
            || progress(chunks.borrow().done(), items.len()),
        )?;
        failed.map_or(Ok(values), Err)
    }
}

/// Copies a chunk's values, of `size` bytes each, or the first of them; says how many.
fn copy(
    bytes: &[u8],
    place: &mut [u8],
    size: usize,
    cut: bool,
) -> std::result::Result<usize, TaskError> {
    let whole = bytes.len() == place.len();
    let part = cut && !bytes.is_empty() && bytes.len() < place.len() && bytes.len() % size == 0;
    if !whole && !part {
        let found =
            format!("a chunk's result of {} bytes, {} were expected", bytes.len(), place.len());
        return Err(Error::new(ErrorKind::Corrupt, found).into());
    }
    place[..bytes.len()].copy_from_slice(bytes);
    Ok(bytes.len().checked_div(size).unwrap_or(usize::MAX))
}
