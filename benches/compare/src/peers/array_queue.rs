//! crossbeam's `ArrayQueue`: many producers and consumers, between threads.

use crate::Result;
use crate::channel::{Channel, Pop, Push, WORD, capacity};
use crossbeam_queue::ArrayQueue;

/// Its name in the report.
pub const NAME: &str = "crossbeam ArrayQueue, threads";

/// Numbers.
pub struct Numbers(ArrayQueue<u64>);

impl Numbers {
    /// A queue of as many as every channel of its kind holds.
    pub fn new() -> Self {
        Self::of(capacity(WORD))
    }

    /// A queue of `capacity`.
    pub fn of(capacity: usize) -> Self {
        Self(ArrayQueue::new(capacity))
    }
}

impl Channel for Numbers {
    fn producer(&self) -> Result<impl Push + '_> {
        Ok(End(&self.0))
    }

    fn consumer(&self) -> Result<impl Pop + '_> {
        Ok(End(&self.0))
    }
}

struct End<'q>(&'q ArrayQueue<u64>);

impl Push for End<'_> {
    #[inline]
    fn try_push(&mut self, number: u64) -> bool {
        self.0.push(number).is_ok()
    }
}

impl Pop for End<'_> {
    #[inline]
    fn try_pop(&mut self) -> Option<u64> {
        self.0.pop()
    }
}
