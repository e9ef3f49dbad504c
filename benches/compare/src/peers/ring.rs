//! mpshm's rings: one producer, one consumer, between processes.

use crate::Result;
use crate::channel::{Channel, Pop, Push, WORD, bytes, capacity, fill, sum, until};
use mpshm::{Ring, RingConsumer, RingProducer};
use std::ops::Range;

/// Numbers.
pub struct Numbers(Ring<u64>);

impl Numbers {
    /// A ring of as many as every channel of its kind holds.
    pub fn new() -> Result<Self> {
        Self::of(capacity(WORD))
    }

    /// A ring of `capacity`.
    pub fn of(capacity: usize) -> Result<Self> {
        Ok(Self(Ring::<u64>::new(capacity as u64)?))
    }
}

impl Channel for Numbers {
    fn producer(&self) -> Result<impl Push + '_> {
        Ok(self.0.producer())
    }

    fn consumer(&self) -> Result<impl Pop + '_> {
        Ok(self.0.consumer())
    }
}

impl Push for RingProducer<u64> {
    #[inline]
    fn try_push(&mut self, number: u64) -> bool {
        RingProducer::<u64>::try_push(self, number).is_ok()
    }
}

impl Pop for RingConsumer<u64> {
    #[inline]
    fn try_pop(&mut self) -> Option<u64> {
        RingConsumer::<u64>::try_pop(self).ok()
    }
}

/// Numbers, in slices of up to so many, written and read in place.
pub struct Slices {
    ring: Numbers,
    slice: usize,
}

impl Slices {
    /// A ring of as many numbers as every channel of its kind holds.
    pub fn new(slice: usize) -> Result<Self> {
        Ok(Self { ring: Numbers::new()?, slice })
    }
}

impl Channel for Slices {
    fn producer(&self) -> Result<impl Push + '_> {
        Ok(SlicesEnd { end: self.ring.0.producer(), slice: self.slice })
    }

    fn consumer(&self) -> Result<impl Pop + '_> {
        Ok(SlicesEnd { end: self.ring.0.consumer(), slice: self.slice })
    }
}

struct SlicesEnd<E> {
    end: E,
    slice: usize,
}

impl Push for SlicesEnd<RingProducer<u64>> {
    fn try_push(&mut self, number: u64) -> bool {
        self.end.try_push(number).is_ok()
    }

    fn push_all(&mut self, mut numbers: Range<u64>) {
        while !numbers.is_empty() {
            let count = self.slice.min((numbers.end - numbers.start) as usize);
            until(|| {
                let mut slice = self.end.try_reserve(count).ok()?;
                // SAFETY: room for so many, which is this producer's until the commit.
                let places =
                    unsafe { std::slice::from_raw_parts_mut(slice.as_mut_ptr().cast(), count) };
                fill(places, numbers.start);
                slice.commit(count).ok()
            });
            numbers.start += count as u64;
        }
    }
}

impl Pop for SlicesEnd<RingConsumer<u64>> {
    fn try_pop(&mut self) -> Option<u64> {
        self.end.try_pop().ok()
    }

    fn pop_all(&mut self, mut count: u64) -> u64 {
        let mut total = 0_u64;
        while count > 0 {
            let most = self.slice.min(count as usize);
            let (sum, popped) = until(|| {
                let slice = self.end.try_claim(most).ok()?;
                // SAFETY: so many items, which are this consumer's until the release.
                let numbers = unsafe { std::slice::from_raw_parts(slice.as_ptr(), slice.len()) };
                let popped = (sum(numbers), slice.len() as u64);
                slice.release();
                Some(popped)
            });
            total = total.wrapping_add(sum);
            count -= popped;
        }
        total
    }
}

/// Messages of one length in a ring of bytes, copied in and out.
pub struct Messages {
    ring: Ring<[u8]>,
    bytes: usize,
}

impl Messages {
    /// A ring for as many messages of `bytes` as every channel of its kind holds.
    pub fn new(bytes: usize) -> Result<Self> {
        // A record has a length of 8 bytes in front.
        let room = capacity(bytes) * (bytes + WORD);
        Ok(Self { ring: Ring::<[u8]>::new(room as u64)?, bytes })
    }
}

impl Channel for Messages {
    fn producer(&self) -> Result<impl Push + '_> {
        Ok(MessagesEnd { end: self.ring.producer(), buffer: vec![0; self.bytes / WORD] })
    }

    fn consumer(&self) -> Result<impl Pop + '_> {
        Ok(MessagesEnd { end: self.ring.consumer(), buffer: vec![0; self.bytes / WORD] })
    }
}

struct MessagesEnd<E> {
    end: E,
    buffer: Vec<u64>,
}

impl Push for MessagesEnd<RingProducer<[u8]>> {
    #[inline]
    fn try_push(&mut self, number: u64) -> bool {
        self.buffer.fill(number);
        self.end.try_push(bytes(&mut self.buffer)).is_ok()
    }
}

impl Pop for MessagesEnd<RingConsumer<[u8]>> {
    #[inline]
    fn try_pop(&mut self) -> Option<u64> {
        let length = self.end.try_pop_into(bytes(&mut self.buffer)).ok()?;
        Some(sum(&self.buffer[..length / WORD]))
    }
}

/// The same, written and read in place.
pub struct InPlace(Messages);

impl InPlace {
    /// A ring for as many messages of `bytes` as every channel of its kind holds.
    pub fn new(bytes: usize) -> Result<Self> {
        Ok(Self(Messages::new(bytes)?))
    }
}

impl Channel for InPlace {
    fn producer(&self) -> Result<impl Push + '_> {
        Ok(InPlaceEnd { end: self.0.ring.producer(), bytes: self.0.bytes })
    }

    fn consumer(&self) -> Result<impl Pop + '_> {
        Ok(InPlaceEnd { end: self.0.ring.consumer(), bytes: self.0.bytes })
    }
}

struct InPlaceEnd<E> {
    end: E,
    bytes: usize,
}

impl Push for InPlaceEnd<RingProducer<[u8]>> {
    #[inline]
    fn try_push(&mut self, number: u64) -> bool {
        let Ok(mut message) = self.end.try_reserve(self.bytes) else { return false };
        // SAFETY: room for so many bytes, aligned to 8, which is this producer's until the commit.
        unsafe { std::slice::from_raw_parts_mut(message.as_mut_ptr().cast(), self.bytes / WORD) }
            .fill(number);
        message.commit(self.bytes).is_ok()
    }
}

impl Pop for InPlaceEnd<RingConsumer<[u8]>> {
    #[inline]
    fn try_pop(&mut self) -> Option<u64> {
        let message = self.end.try_claim().ok()?;
        // SAFETY: so many bytes, aligned to 8, which are this consumer's until the release.
        Some(sum(unsafe {
            std::slice::from_raw_parts(message.as_ptr().cast(), message.len() / WORD)
        }))
    }
}
