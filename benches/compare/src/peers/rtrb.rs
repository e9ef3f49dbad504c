//! rtrb: one producer, one consumer, between threads.

use crate::Result;
use crate::channel::{Channel, Pop, Push, capacity, fill, sum, until};
use rtrb::{Consumer, Producer, RingBuffer};
use std::ops::Range;
use std::sync::Mutex;

/// Its name in the report.
pub const NAME: &str = "rtrb, threads";

/// Its two ends, each of which is taken by the thread that uses it.
pub struct Ring<T> {
    producer: Mutex<Option<Producer<T>>>,
    consumer: Mutex<Option<Consumer<T>>>,
}

impl<T> Ring<T> {
    /// A ring of as many items as every channel of its kind holds.
    pub fn new() -> Self {
        let (producer, consumer) = RingBuffer::new(capacity(size_of::<T>()));
        Self { producer: Mutex::new(Some(producer)), consumer: Mutex::new(Some(consumer)) }
    }

    fn take<E>(end: &Mutex<Option<E>>) -> Result<E> {
        let end = end.lock().map_err(|_| "another thread failed")?.take();
        Ok(end.ok_or("there is only one of each end")?)
    }
}

impl<const WORDS: usize> Channel for Ring<[u64; WORDS]> {
    fn producer(&self) -> Result<impl Push + '_> {
        Ok(End(Self::take(&self.producer)?))
    }

    fn consumer(&self) -> Result<impl Pop + '_> {
        Ok(End(Self::take(&self.consumer)?))
    }
}

struct End<E>(E);

impl<const WORDS: usize> Push for End<Producer<[u64; WORDS]>> {
    #[inline]
    fn try_push(&mut self, number: u64) -> bool {
        self.0.push([number; WORDS]).is_ok()
    }
}

impl<const WORDS: usize> Pop for End<Consumer<[u64; WORDS]>> {
    #[inline]
    fn try_pop(&mut self) -> Option<u64> {
        Some(sum(&self.0.pop().ok()?))
    }
}

/// Numbers, in slices of up to so many.
pub struct Slices(Ring<u64>, usize);

impl Slices {
    /// A ring of as many numbers as every channel of its kind holds.
    pub fn new(slice: usize) -> Self {
        Self(Ring::new(), slice)
    }
}

impl Channel for Slices {
    fn producer(&self) -> Result<impl Push + '_> {
        Ok(SlicesEnd(Ring::<u64>::take(&self.0.producer)?, self.1))
    }

    fn consumer(&self) -> Result<impl Pop + '_> {
        Ok(SlicesEnd(Ring::<u64>::take(&self.0.consumer)?, self.1))
    }
}

struct SlicesEnd<E>(E, usize);

impl Push for SlicesEnd<Producer<u64>> {
    fn try_push(&mut self, number: u64) -> bool {
        self.0.push(number).is_ok()
    }

    fn push_all(&mut self, mut numbers: Range<u64>) {
        while !numbers.is_empty() {
            let count = self.1.min((numbers.end - numbers.start) as usize);
            until(|| {
                let mut chunk = self.0.write_chunk_uninit(count).ok()?;
                let (first, second) = chunk.as_mut_slices();
                fill(first, numbers.start);
                fill(second, numbers.start + first.len() as u64);
                // SAFETY: all of it has been written.
                unsafe { chunk.commit_all() };
                Some(())
            });
            numbers.start += count as u64;
        }
    }
}

impl Pop for SlicesEnd<Consumer<u64>> {
    fn try_pop(&mut self) -> Option<u64> {
        self.0.pop().ok()
    }

    fn pop_all(&mut self, mut count: u64) -> u64 {
        let mut total = 0_u64;
        while count > 0 {
            let most = self.1.min(count as usize);
            let (sum, popped) = until(|| {
                let chunk = self.0.read_chunk(most).ok()?;
                let (first, second) = chunk.as_slices();
                let popped = (sum(first).wrapping_add(sum(second)), chunk.len() as u64);
                chunk.commit_all();
                Some(popped)
            });
            total = total.wrapping_add(sum);
            count -= popped;
        }
        total
    }
}
