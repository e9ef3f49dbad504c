//! The values of a map, which come home in chunks, in any order.

use crate::error::{Error, ErrorKind};
use crate::layout::plain::Pod;
use crate::pool::TaskError;
use std::mem::MaybeUninit;

/// Room for all the values, which is written once: a chunk goes to its place when it comes.
pub(super) struct Values<R> {
    values: Vec<R>,
    count: usize,
    chunk: usize,
    /// By chunk: whether it has come.
    came: Vec<bool>,
    failed: Option<TaskError>,
}

impl<R: Pod> Values<R> {
    /// Room for `count` values, in chunks of `chunk`, but for the last one.
    pub(super) fn new(count: usize, chunk: usize) -> Self {
        let came = vec![false; count.div_ceil(chunk)];
        Self { values: Vec::with_capacity(count), count, chunk, came, failed: None }
    }

    /// What came of the chunk of this number.
    pub(super) fn put(&mut self, index: usize, result: Result<Vec<u8>, TaskError>) {
        let stored = result.and_then(|bytes| self.store(index, &bytes));
        if let Err(error) = stored {
            self.failed.get_or_insert(error);
        }
    }

    fn store(&mut self, index: usize, bytes: &[u8]) -> Result<(), TaskError> {
        let start = self.chunk * index;
        let end = (start + self.chunk).min(self.count);
        let room = self.values.spare_capacity_mut().get_mut(start..end).unwrap_or_default();
        let expected = size_of_val::<[MaybeUninit<R>]>(room);
        if bytes.len() != expected || room.is_empty() {
            let text =
                format!("a chunk's result of {} bytes, {expected} were expected", bytes.len());
            return Err(Error::new(ErrorKind::Corrupt, text).into());
        }
        // SAFETY: as many bytes as there is room for; any of them are a value.
        unsafe { bytes.as_ptr().copy_to_nonoverlapping(room.as_mut_ptr().cast(), expected) };
        self.came[index] = true;
        Ok(())
    }

    /// All the values, or the first error.
    pub(super) fn finish(mut self) -> Result<Vec<R>, TaskError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if !self.came.iter().all(|came| *came) {
            return Err(Error::new(ErrorKind::Corrupt, "a chunk's result did not come").into());
        }
        // SAFETY: every chunk was written, and the chunks are all of the values.
        unsafe { self.values.set_len(self.count) };
        Ok(self.values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(values: &[u32]) -> Result<Vec<u8>, TaskError> {
        Ok(values.iter().flat_map(|value| value.to_ne_bytes()).collect())
    }

    #[test]
    fn chunks_in_any_order_become_values_in_theirs() {
        let mut values = Values::<u32>::new(5, 2);
        values.put(2, chunk(&[5]));
        values.put(0, chunk(&[1, 2]));
        values.put(1, chunk(&[3, 4]));
        assert_eq!(values.finish().unwrap(), [1, 2, 3, 4, 5]);
        assert_eq!(Values::<u32>::new(0, 1).finish().unwrap(), []);
    }

    #[test]
    fn what_is_missing_too_long_or_failed_is_an_error() {
        let corrupt = |values: Values<u32>| {
            assert_eq!(values.finish().unwrap_err().kind(), ErrorKind::Corrupt)
        };
        let mut missing = Values::new(4, 2);
        missing.put(0, chunk(&[1, 2]));
        missing.put(0, chunk(&[1, 2]));
        corrupt(missing);
        for (index, bytes) in
            [(1, chunk(&[3, 4])), (2, chunk(&[])), (7, chunk(&[])), (0, chunk(&[1]))]
        {
            let mut wrong = Values::new(3, 2);
            wrong.put(0, chunk(&[1, 2]));
            wrong.put(1, chunk(&[3]));
            wrong.put(index, bytes);
            corrupt(wrong);
        }
        let mut failed = Values::<u32>::new(1, 1);
        failed.put(0, Err(TaskError::Cancelled));
        failed.put(0, chunk(&[1]));
        assert_eq!(failed.finish(), Err(TaskError::Cancelled));
    }
}
