//! Which items of a map a worker is handed at a time.
//!
//! # Overview
//! By default each worker gets its items in four chunks, as in Python; but a worker whose chunk lasts longer than [`SLICE`] sends home
//! what it has by then, and the rest is handed out anew. Short tasks cost as many messages as there are chunks, and long ones are
//! balanced to a slice and a task, whatever is known of them before. What comes back is handed out in pieces of no more items than
//! were lately done in a slice, and no more than a share of what is left: who is kept by one long task holds up few others.
//!
//! # Source
//! Ours; shares of what is left are guided self-scheduling (Polychronopoulos and Kuck, 1987).

use crate::layout::plain::Pod;
use crate::os::clock;
use crate::pool::worker::{self, Argument, Output};
use std::ops::Range;

/// So long a worker runs items before it sends home what it has, in nanoseconds: some hundred times what a message costs.
const SLICE: u64 = 2_000_000;
/// How often it looks at the clock about, and after how many items at the latest.
const LOOK_EVERY: u64 = 1_000;
const LOOK_AFTER: usize = 32;

/// The items of a map that are still to be handed out.
pub(super) struct Chunks {
    items: Range<usize>,
    /// Items of a fresh chunk.
    chunk: usize,
    workers: usize,
    /// Parts of chunks that have come back.
    rest: Vec<Range<usize>>,
    /// About how many items are done in a slice.
    pace: usize,
    /// By number: what was handed out.
    ranges: Vec<Range<usize>>,
    done: usize,
}

impl Chunks {
    /// Chunks of `chunk` items.
    pub(super) fn new(items: usize, chunk: usize, workers: usize) -> Self {
        let workers = workers.max(1);
        Self {
            items: 0..items,
            chunk,
            workers,
            rest: Vec::new(),
            pace: chunk,
            ranges: Vec::new(),
            done: 0,
        }
    }

    /// The items of the chunk of a number.
    pub(super) fn range(&self, number: usize) -> Range<usize> {
        self.ranges[number].clone()
    }

    /// How many items have ended.
    pub(super) fn done(&self) -> usize {
        self.done
    }

    /// The first `count` items of a chunk have ended, of at least 1; the others are handed out anew.
    pub(super) fn ended(&mut self, number: usize, count: usize) {
        let range = self.range(number);
        self.done += count;
        if count < range.len() {
            self.pace = count;
            self.rest.push(range.start + count..range.end);
        } else {
            self.pace = self.pace.max(2 * count).min(self.chunk);
        }
    }

    /// The next piece of what has come back.
    fn piece(&mut self) -> Option<Range<usize>> {
        let left: usize = self.rest.iter().map(Range::len).sum();
        let last = self.rest.last_mut()?;
        let most = self.pace.min(left.div_ceil(2 * self.workers));
        let piece = last.start..last.end.min(last.start + most);
        last.start = piece.end;
        if last.start == last.end {
            self.rest.pop();
        }
        Some(piece)
    }
}

impl Iterator for Chunks {
    type Item = Range<usize>;

    /// Those of the next chunk; none at the moment is not none for ever.
    fn next(&mut self) -> Option<Range<usize>> {
        let next = if self.items.is_empty() {
            self.piece()?
        } else {
            let end = self.items.end.min(self.items.start + self.chunk);
            let chunk = self.items.start..end;
            self.items.start = end;
            chunk
        };
        self.ranges.push(next.clone());
        Some(next)
    }
}

/// How long a worker goes on with a chunk.
struct Slice {
    start: u64,
    looked: u64,
    /// Items until the next look.
    step: usize,
}

impl Slice {
    fn begin() -> Self {
        let start = clock::now();
        Self { start, looked: start, step: 1 }
    }

    fn is_over(&mut self) -> bool {
        let now = clock::now();
        let took = now.saturating_sub(self.looked);
        self.looked = now;
        if took < LOOK_EVERY / 2 {
            self.step = (2 * self.step).min(LOOK_AFTER);
        } else if took > LOOK_EVERY {
            self.step = (self.step / 2).max(1);
        }
        now.saturating_sub(self.start) > SLICE
    }
}

/// Runs `f` on the first of the argument's `T`s, as many as fit in a slice and at least one; as many values tell how many.
///
/// # Safety
/// The argument is `T`s.
pub(super) unsafe fn run_some<T, R>(
    argument: Argument,
    output: &mut Output<'_>,
    mut f: impl FnMut(T) -> R,
) where
    T: Pod,
    R: Pod,
{
    if size_of::<R>() == 0 {
        // Their number could not be told.
        // SAFETY: the caller's word.
        return unsafe { worker::run_each(argument, output, f) };
    }
    let count = argument.length / size_of::<T>();
    let input = argument.start.cast::<T>();
    output.in_place_some(count * size_of::<R>(), |place| {
        let place = place.cast::<R>();
        let mut slice = Slice::begin();
        let mut done = 0;
        while done < count && (done == 0 || !slice.is_over()) {
            let end = count.min(done + slice.step);
            for index in done..end {
                // SAFETY: `count` items lie on either side; both sides are aligned to 16, and `T` and `R`
                // to no more.
                unsafe { place.add(index).write(f(input.add(index).read())) };
            }
            done = end;
        }
        done * size_of::<R>()
    });
}

/// Runs the captureless `F` on the first of the argument's `T`s.
///
/// # Safety
/// The argument is `T`s; a value of `F` exists.
pub(super) unsafe fn run_map_some<F, T, R>(_: u64, argument: Argument, output: &mut Output<'_>)
where
    F: Fn(T) -> R + Copy,
    T: Pod,
    R: Pod,
{
    // SAFETY: the caller's word.
    unsafe { run_some(argument, output, worker::conjure::<F>()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out and ends all, `some` items of each chunk; returns the sizes of what was handed out.
    fn play(mut chunks: Chunks, some: impl Fn(&Range<usize>) -> usize) -> Vec<usize> {
        let mut seen = vec![0; chunks.items.len()];
        let mut sizes = Vec::new();
        while let Some(range) = chunks.next() {
            let count = some(&range).clamp(1, range.len());
            range.clone().take(count).for_each(|item| seen[item] += 1);
            sizes.push(range.len());
            chunks.ended(sizes.len() - 1, count);
        }
        assert!(seen.iter().all(|&times| times == 1));
        assert_eq!(chunks.done(), seen.len());
        sizes
    }

    #[test]
    fn what_is_not_cut_is_handed_out_in_equal_chunks() {
        assert_eq!(play(Chunks::new(10, 4, 2), Range::len), [4, 4, 2]);
        assert_eq!(play(Chunks::new(0, 4, 2), Range::len), []);
    }

    #[test]
    fn what_comes_back_is_handed_out_in_pieces_of_a_slice() {
        let sizes = play(Chunks::new(100, 50, 2), |range| range.len().min(3));
        assert_eq!(sizes[..2], [50, 50]);
        assert!(sizes[2..].iter().all(|&size| size <= 6), "{sizes:?}");
        // One long task after another: nobody is handed a second one.
        let sizes = play(Chunks::new(100, 50, 2), |_| 1);
        assert!(sizes[2..].iter().all(|&size| size <= 2), "{sizes:?}");
    }
}
