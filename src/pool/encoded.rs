//! Tasks whose arguments and results are of any type that `serde` can encode: they travel as `postcard`'s bytes.
//!
//! Values are encoded where they are, and decoded where they are used; what cannot be is the error of that task, and of no other.
//! Both sides are the same program, so the format needs no version, and is promised to nobody.

use crate::error::{Error, ErrorKind, Result};
use crate::pool::task::Task;
use crate::pool::worker::{self, Argument, Output};
use crate::pool::{Pool, TaskError};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes before a chunk's items: how many they are.
const COUNT: usize = size_of::<u32>();

impl Pool {
    /// [`call`](Self::call) with an argument and a value that `serde` encodes. Needs the feature `serde`.
    ///
    /// ```standalone_crate
    /// let pool = mpshm::Pool::new(2)?;
    /// let count = |text: String| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    /// assert_eq!(pool.call_serde(count, &"any number of words".to_owned())?.len(), 4);
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`TaskError`]: `Failed` also when the value cannot be encoded, or the argument not be decoded, and the
    /// worker lives on; `Pool` with `Corrupt` when the value cannot be decoded, and with what [`submit_serde`](Self::submit_serde) says.
    pub fn call_serde<F, T, R>(&self, f: F, argument: &T) -> std::result::Result<R, TaskError>
    where
        F: Fn(T) -> R + Copy,
        T: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.submit_serde(f, argument)?.get()
    }

    /// [`submit`](Self::submit) with an argument and a value that `serde` encodes. The value may be of any length.
    ///
    /// # Errors
    /// `Invalid` when the argument cannot be encoded; `TooBig` when its code is longer than
    /// [`PoolBuilder::message_max`](crate::PoolBuilder::message_max); `Closed`; `Forked`.
    pub fn submit_serde<F, T, R>(&self, f: F, argument: &T) -> Result<Task<R>>
    where
        F: Fn(T) -> R + Copy,
        T: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        const { assert!(size_of::<F>() == 0, "a task's function must capture nothing") };
        let _ = f;
        let bytes = postcard::to_allocvec(argument)
            .map_err(|error| unencodable(format_args!("the argument: {error}")))?;
        self.submit_run(run::<F, T, R>, 0, &bytes, decode::<R>)
    }

    /// [`map`](Self::map) of items and values that `serde` encodes, in chunks of a share of the items or of as many as a
    /// message holds. What fails takes its chunk with it.
    ///
    /// ```standalone_crate
    /// let pool = mpshm::Pool::new(2)?;
    /// let words = ["a".to_owned(), "few".to_owned(), "words".to_owned()];
    /// assert_eq!(pool.map_serde(|word: String| word.to_uppercase(), &words)?, ["A", "FEW", "WORDS"]);
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`map`](Self::map) and [`call_serde`](Self::call_serde). When an item cannot be encoded, or is too long, nothing runs.
    pub fn map_serde<F, T, R>(&self, f: F, items: &[T]) -> std::result::Result<Vec<R>, TaskError>
    where
        F: Fn(T) -> R + Copy,
        T: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        const { assert!(size_of::<F>() == 0, "a task's function must capture nothing") };
        let _ = f;
        let (chunks, counts) = self.encode(items)?;
        let mut values: Vec<Vec<R>> = counts.iter().map(|_| Vec::new()).collect();
        let mut failed = None;
        self.inner.map(run_each::<F, T, R>, 0, chunks.iter(), |index, result| {
            match result.and_then(|bytes| decode_many(&bytes, counts[index])) {
                Ok(some) => values[index] = some,
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        })?;
        failed.map_or(Ok(()), Err)?;
        Ok(values.into_iter().flatten().collect())
    }

    /// The items' codes in chunks, and how many are in each.
    fn encode<T: Serialize>(&self, items: &[T]) -> Result<(Vec<Vec<u8>>, Vec<usize>)> {
        let (share, room) = (self.share_of(items.len()), self.inner.message_max());
        let (mut chunks, mut counts): (Vec<Vec<u8>>, Vec<usize>) = (Vec::new(), Vec::new());
        for (index, item) in items.iter().enumerate() {
            let code = postcard::to_allocvec(item)
                .map_err(|error| unencodable(format_args!("item {index}: {error}")))?;
            self.inner.check_argument(COUNT + code.len())?;
            match (chunks.last_mut(), counts.last_mut()) {
                (Some(chunk), Some(count))
                    if *count < share && chunk.len() + code.len() <= room =>
                {
                    chunk.extend_from_slice(&code);
                    *count += 1;
                }
                _ => {
                    chunks.push([&[0; COUNT][..], &code].concat());
                    counts.push(1);
                }
            }
        }
        for (chunk, &count) in chunks.iter_mut().zip(&counts) {
            chunk[..COUNT].copy_from_slice(&(count as u32).to_ne_bytes());
        }
        Ok((chunks, counts))
    }
}

fn unencodable(what: std::fmt::Arguments<'_>) -> Error {
    Error::new(ErrorKind::Invalid, format!("cannot encode {what}"))
}

fn undecodable(error: postcard::Error) -> TaskError {
    TaskError::Pool(Error::new(ErrorKind::Corrupt, format!("cannot decode the result: {error}")))
}

fn decode<R: DeserializeOwned>(bytes: &[u8]) -> std::result::Result<R, TaskError> {
    postcard::from_bytes(bytes).map_err(undecodable)
}

fn decode_many<R: DeserializeOwned>(
    mut bytes: &[u8],
    count: usize,
) -> std::result::Result<Vec<R>, TaskError> {
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        let (value, rest) = postcard::take_from_bytes(bytes).map_err(undecodable)?;
        values.push(value);
        bytes = rest;
    }
    Ok(values)
}

/// The argument's bytes.
///
/// # Safety
/// They are there for as long as they are used.
unsafe fn bytes_of<'a>(argument: Argument) -> &'a [u8] {
    // SAFETY: the caller's word; they are this worker's alone meanwhile.
    unsafe { std::slice::from_raw_parts(argument.start, argument.length) }
}

/// # Safety
/// A value of `F` exists.
unsafe fn run<F, T, R>(_: u64, argument: Argument, output: &mut Output<'_>)
where
    F: Fn(T) -> R + Copy,
    T: DeserializeOwned,
    R: Serialize,
{
    // SAFETY: the caller's word; the argument stays for the call.
    let (f, bytes) = unsafe { (worker::conjure::<F>(), bytes_of(argument)) };
    let value = match postcard::from_bytes(bytes) {
        Ok(item) => f(item),
        Err(error) => return output.fail(&format!("cannot decode the argument: {error}")),
    };
    match postcard::to_allocvec(&value) {
        Ok(code) => output.bytes(&code),
        Err(error) => output.fail(&format!("cannot encode the result: {error}")),
    }
}

/// # Safety
/// A value of `F` exists.
unsafe fn run_each<F, T, R>(_: u64, argument: Argument, output: &mut Output<'_>)
where
    F: Fn(T) -> R + Copy,
    T: DeserializeOwned,
    R: Serialize,
{
    // SAFETY: the caller's word; the argument stays for the call.
    let (f, bytes) = unsafe { (worker::conjure::<F>(), bytes_of(argument)) };
    let Some((count, mut bytes)) = bytes.split_first_chunk::<COUNT>() else {
        return output.fail("a chunk without a number of items");
    };
    let mut codes = Vec::new();
    for _ in 0..u32::from_ne_bytes(*count) {
        let value = match postcard::take_from_bytes(bytes) {
            Ok((item, rest)) => {
                bytes = rest;
                f(item)
            }
            Err(error) => return output.fail(&format!("cannot decode an item: {error}")),
        };
        codes = match postcard::to_extend(&value, codes) {
            Ok(codes) => codes,
            Err(error) => return output.fail(&format!("cannot encode a result: {error}")),
        };
    }
    output.bytes(&codes);
}
