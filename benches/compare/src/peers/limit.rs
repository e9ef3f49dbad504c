//! The bare means: what a message costs at least, with nothing around it.

use crate::Result;
use crate::channel::{Channel, Pop, Push, WORD, capacity, sum};
use crate::shared::{Memory, Shared};
use std::sync::atomic::{AtomicU64, Ordering};

/// A number on a cache line of its own: one store to push, one load to pop, room for one message.
pub struct Line(Shared<Number>);

#[repr(align(128))]
struct Number(AtomicU64);

impl Line {
    /// With no message in it.
    pub fn new() -> Result<Self> {
        Ok(Self(Shared::new(Number(AtomicU64::new(0)))?))
    }
}

impl Channel for Line {
    fn producer(&self) -> Result<impl Push + '_> {
        Ok(LineProducer(&self.0.0))
    }

    fn consumer(&self) -> Result<impl Pop + '_> {
        Ok(LineConsumer { line: &self.0.0, seen: 0 })
    }
}

struct LineProducer<'a>(&'a AtomicU64);

impl Push for LineProducer<'_> {
    /// Whoever pushes knows that the message before was popped.
    #[inline]
    fn try_push(&mut self, number: u64) -> bool {
        self.0.store(number + 1, Ordering::Release);
        true
    }
}

struct LineConsumer<'a> {
    line: &'a AtomicU64,
    seen: u64,
}

impl Pop for LineConsumer<'_> {
    #[inline]
    fn try_pop(&mut self) -> Option<u64> {
        let number = self.line.load(Ordering::Acquire);
        if number == self.seen {
            return None;
        }
        self.seen = number;
        Some(number - 1)
    }
}

/// Blocks of memory that are written by one process and read by another, in turn, with a flag for each.
pub struct Blocks {
    memory: Memory,
    count: usize,
    bytes: usize,
}

/// A flag is on a line of its own.
const FLAG: usize = 128;

impl Blocks {
    /// As many as a channel for messages of `bytes` holds.
    pub fn new(bytes: usize) -> Result<Self> {
        let count = capacity(bytes);
        Ok(Self { memory: Memory::new(count * (FLAG + bytes))?, count, bytes })
    }

    fn end(&self) -> BlocksEnd<'_> {
        BlocksEnd { blocks: self, next: 0 }
    }
}

impl Channel for Blocks {
    fn producer(&self) -> Result<impl Push + '_> {
        Ok(self.end())
    }

    fn consumer(&self) -> Result<impl Pop + '_> {
        Ok(self.end())
    }
}

struct BlocksEnd<'b> {
    blocks: &'b Blocks,
    next: usize,
}

impl BlocksEnd<'_> {
    fn flag(&self) -> &AtomicU64 {
        // SAFETY: inside the mapping, aligned to a line, and only ever used as an atomic.
        unsafe { &*self.blocks.memory.start().add(self.next * FLAG).cast::<AtomicU64>() }
    }

    fn words(&self) -> *mut u64 {
        let Blocks { memory, count, bytes } = self.blocks;
        // SAFETY: inside the mapping, behind the flags.
        unsafe { memory.start().add(count * FLAG + self.next * bytes).cast() }
    }

    fn advance(&mut self) {
        self.next = (self.next + 1) % self.blocks.count;
    }
}

impl Push for BlocksEnd<'_> {
    #[inline]
    fn try_push(&mut self, number: u64) -> bool {
        if self.flag().load(Ordering::Acquire) != 0 {
            return false;
        }
        // SAFETY: the block is the producer's while its flag is 0.
        unsafe { std::slice::from_raw_parts_mut(self.words(), self.blocks.bytes / WORD) }
            .fill(number);
        self.flag().store(1, Ordering::Release);
        self.advance();
        true
    }
}

impl Pop for BlocksEnd<'_> {
    #[inline]
    fn try_pop(&mut self) -> Option<u64> {
        if self.flag().load(Ordering::Acquire) == 0 {
            return None;
        }
        // SAFETY: the block is the consumer's while its flag is 1.
        let words =
            sum(unsafe { std::slice::from_raw_parts(self.words(), self.blocks.bytes / WORD) });
        self.flag().store(0, Ordering::Release);
        self.advance();
        Some(words)
    }
}
