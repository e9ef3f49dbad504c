//! Maps over what the caller has borrowed: workers are forked at the call and read the input where it lies.

use crate::error::{Error, Result};
use crate::layout::plain::Pod;
use crate::pool::scope_crew::{Board, Crew, Output};
use crate::pool::task::TaskError;
use std::fmt;

/// Why a [`scope_map`] has no values.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScopeMapError {
    /// An item's function panicked, or its worker died in it; the others have run to their end.
    Item {
        /// The first such item.
        index: usize,
        /// What happened to it.
        error: TaskError,
    },
    /// The map could not be run, or not to its end: no memory, no processes, a wait that was cancelled.
    Map(Error),
}

impl fmt::Display for ScopeMapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Item { index, error } => write!(f, "item {index}: {error}"),
            Self::Map(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ScopeMapError {}

impl From<Error> for ScopeMapError {
    fn from(error: Error) -> Self {
        Self::Map(error)
    }
}

impl From<ScopeMapError> for Error {
    fn from(error: ScopeMapError) -> Self {
        let text = error.to_string();
        match error {
            ScopeMapError::Map(error) => error,
            ScopeMapError::Item { error, .. } => Self::new(error.kind(), text),
        }
    }
}

/// Runs `f` on each of `items` in up to `workers` forked children, and waits for all the values, in order.
///
/// The children are copies of this process as it is at the call: `f` may capture, and `items` refer to, whatever the
/// caller has borrowed. Nothing of the input is copied or sent; the children read it in the pages that they share with
/// this process as long as neither side writes. What they change in their copies is seen by nobody; values come
/// home through shared memory. Children take the next items when they are done with the last ones, more at a time where
/// these take little time.
///
/// For many small maps a [`Pool`](crate::Pool), which forks once, is quicker. For functions of any kind on a pool, see
/// [`PoolBuilder::build_with`](crate::PoolBuilder::build_with).
///
/// ```standalone_crate
/// let text = String::from("what the caller has borrowed");
/// let words: Vec<&str> = text.split(' ').collect();
/// let lengths = mpshm::scope_map(2, &words, |word| word.len())?;
/// assert_eq!(lengths, [4, 3, 6, 3, 8]);
/// # Ok::<(), mpshm::Error>(())
/// ```
///
/// # Panics and deaths in `f`
/// What panics, and what its child dies in, fails as an item of its own and does not run again; another child takes
/// the place of a dead one, and all other items run. The error names the first item that failed; all of them, beside the
/// values of the others, are to be had from [`scope_map_each`].
///
/// # The end
/// When this returns, or unwinds, no child is left. If this process dies, however it does, the kernel kills them.
/// A child that somebody stops keeps the call until it is continued; a [`Canceller`](crate::Canceller) ends call and children.
///
/// # Threads
/// The children are forked by this thread at every call, also to replace dead ones: **in a program with threads, what locks the
/// others hold at that moment stays locked in the children**, and `f` must use none of them. See [`Process`](crate::Process)
/// for what is seen to (the allocator, standard output, panics), and for buffered output.
///
/// # Errors
/// [`ScopeMapError::Item`]; [`ScopeMapError::Map`] with `Invalid` for 0 workers or more than 1000, `NoSpace`, `Limit`,
/// `Interrupted`, or `Broken` when children die again and again before they have begun anything.
pub fn scope_map<T, R, F>(
    workers: usize,
    items: &[T],
    f: F,
) -> std::result::Result<Vec<R>, ScopeMapError>
where
    F: Fn(&T) -> R,
    R: Pod,
{
    first_failure(scope_map_each(workers, items, f)?)
}

/// [`scope_map`], with what became of each item.
///
/// ```standalone_crate
/// use mpshm::TaskError;
/// let halves = mpshm::scope_map_each(2, &[4, 5, 6], |n: &u32| {
///     if n % 2 == 0 { n / 2 } else { panic!("{n} is odd") }
/// })?;
/// assert_eq!((&halves[0], &halves[2]), (&Ok(2), &Ok(3)));
/// assert!(matches!(&halves[1], Err(TaskError::Failed { message, .. }) if message.starts_with("5 is odd")));
/// # Ok::<(), mpshm::Error>(())
/// ```
///
/// # Errors
/// Those of the map as a whole: see [`scope_map`].
pub fn scope_map_each<T, R, F>(
    workers: usize,
    items: &[T],
    f: F,
) -> Result<Vec<std::result::Result<R, TaskError>>>
where
    F: Fn(&T) -> R,
    R: Pod,
{
    const { assert!(align_of::<R>() <= 4096, "values are aligned to at most a page") };
    let board = Board::new(workers, items.len(), size_of::<R>(), align_of::<R>())?;
    let run = |index: usize, _: &mut Output<'_>| {
        let value = f(&items[index]);
        // SAFETY: there is room for a value of every item, aligned; this item is this child's alone.
        unsafe { board.value(index).cast::<R>().write(value) };
        board.say_done(index);
    };
    let mut failures = Crew::new(&board, &run, 1 << 10)?.work()?.failures;
    let read = |index| match failures.remove(&index) {
        Some(error) => Err(error),
        // SAFETY: as above; it was written by a child that has ended, and `R` takes any bytes.
        None => Ok(unsafe { board.value(index).cast::<R>().read() }),
    };
    Ok((0..items.len()).map(read).collect())
}

/// [`scope_map`] with values of any length.
///
/// ```standalone_crate
/// let lines = ["one two", "three"];
/// let loud = mpshm::scope_map_bytes(2, &lines, |line| line.to_uppercase().into_bytes())?;
/// assert_eq!(loud, [&b"ONE TWO"[..], b"THREE"]);
/// # Ok::<(), mpshm::Error>(())
/// ```
///
/// # Errors
/// As [`scope_map`].
pub fn scope_map_bytes<T, F>(
    workers: usize,
    items: &[T],
    f: F,
) -> std::result::Result<Vec<Vec<u8>>, ScopeMapError>
where
    F: Fn(&T) -> Vec<u8>,
{
    let board = Board::new(workers, items.len(), 0, 1)?;
    let run = |index: usize, output: &mut Output<'_>| output.bytes(index, &f(&items[index]));
    let mut outcome = Crew::new(&board, &run, 16 << 10)?.work()?;
    let each = (0..items.len()).map(|index| match outcome.failures.remove(&index) {
        Some(error) => Err(error),
        None => Ok(outcome.values.remove(&index).unwrap_or_default()),
    });
    first_failure(each.collect())
}

fn first_failure<R>(
    each: Vec<std::result::Result<R, TaskError>>,
) -> std::result::Result<Vec<R>, ScopeMapError> {
    let named = each.into_iter().enumerate();
    named
        .map(|(index, value)| value.map_err(|error| ScopeMapError::Item { index, error }))
        .collect()
}
