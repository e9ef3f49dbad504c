//! mpshm's queues, in one configuration for all rows.

use crate::Result;
use crate::channel::{Channel, Pop, Push, WORD, bytes, capacity, sum};
use mpshm::Queue;

/// Numbers in a queue's slots.
pub struct Numbers(Queue<u64>);

impl Numbers {
    /// A queue of as many as every channel of its kind holds.
    pub fn new() -> Result<Self> {
        Self::of(capacity(WORD))
    }

    /// A queue of `capacity`.
    pub fn of(capacity: usize) -> Result<Self> {
        Ok(Self(Queue::<u64>::new(capacity as u64)?))
    }
}

impl Channel for Numbers {
    fn producer(&self) -> Result<impl Push + '_> {
        Ok(NumbersEnd(&self.0))
    }

    fn consumer(&self) -> Result<impl Pop + '_> {
        Ok(NumbersEnd(&self.0))
    }
}

struct NumbersEnd<'q>(&'q Queue<u64>);

impl Push for NumbersEnd<'_> {
    #[inline]
    fn try_push(&mut self, number: u64) -> bool {
        self.0.try_push(number).is_ok()
    }
}

impl Pop for NumbersEnd<'_> {
    #[inline]
    fn try_pop(&mut self) -> Option<u64> {
        self.0.try_pop().ok()
    }
}

/// Messages in a queue's blocks, written and read there.
pub struct InPlace {
    queue: Queue<[u8]>,
    bytes: usize,
}

impl InPlace {
    /// A queue for messages of `bytes`.
    pub fn new(bytes: usize) -> Result<Self> {
        Self::of(capacity(bytes), bytes)
    }

    /// A queue of `capacity`.
    pub fn of(capacity: usize, bytes: usize) -> Result<Self> {
        Ok(Self { queue: Queue::<[u8]>::new(capacity as u64, bytes as u64)?, bytes })
    }
}

impl Channel for InPlace {
    fn producer(&self) -> Result<impl Push + '_> {
        Ok(InPlaceEnd(self))
    }

    fn consumer(&self) -> Result<impl Pop + '_> {
        Ok(InPlaceEnd(self))
    }
}

struct InPlaceEnd<'q>(&'q InPlace);

impl Push for InPlaceEnd<'_> {
    #[inline]
    fn try_push(&mut self, number: u64) -> bool {
        let InPlace { queue, bytes } = self.0;
        let Ok(mut message) = queue.try_reserve(*bytes) else { return false };
        // SAFETY: the block is this process's until the commit, aligned to 16, and has room for `bytes`.
        unsafe { std::slice::from_raw_parts_mut(message.as_mut_ptr().cast(), bytes / WORD) }
            .fill(number);
        message.commit(*bytes).is_ok()
    }
}

impl Pop for InPlaceEnd<'_> {
    #[inline]
    fn try_pop(&mut self) -> Option<u64> {
        let message = self.0.queue.try_claim().ok()?;
        // SAFETY: the block is this process's until the release, aligned to 16, and as long as it says.
        Some(sum(unsafe {
            std::slice::from_raw_parts(message.as_ptr().cast(), message.len() / WORD)
        }))
    }
}

/// Messages in a queue's blocks, copied there from a buffer of the producer's, and into one of the consumer's.
pub struct Copied(InPlace);

impl Copied {
    /// A queue for messages of `bytes`.
    pub fn new(bytes: usize) -> Result<Self> {
        Ok(Self(InPlace::new(bytes)?))
    }

    fn end(&self) -> CopiedEnd<'_> {
        CopiedEnd { queue: &self.0.queue, buffer: vec![0; self.0.bytes / WORD] }
    }
}

impl Channel for Copied {
    fn producer(&self) -> Result<impl Push + '_> {
        Ok(self.end())
    }

    fn consumer(&self) -> Result<impl Pop + '_> {
        Ok(self.end())
    }
}

struct CopiedEnd<'q> {
    queue: &'q Queue<[u8]>,
    buffer: Vec<u64>,
}

impl Push for CopiedEnd<'_> {
    #[inline]
    fn try_push(&mut self, number: u64) -> bool {
        self.buffer.fill(number);
        self.queue.try_push(bytes(&mut self.buffer)).is_ok()
    }
}

impl Pop for CopiedEnd<'_> {
    #[inline]
    fn try_pop(&mut self) -> Option<u64> {
        let message = self.queue.try_claim().ok()?;
        message.read_at(0, bytes(&mut self.buffer)).expect("a message as long as all");
        drop(message);
        Some(sum(&self.buffer))
    }
}
