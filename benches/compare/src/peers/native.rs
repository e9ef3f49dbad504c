//! Rings of numbers in C and C++, from the system's packages: built when their headers were found, else missing.
//!
//! Numbers go through them in loops of their own language, for a call into it costs as much as a push.

use crate::Result;
use crate::channel::{Channel, Pop, Push};
use crate::shared::Memory;
use std::ops::Range;

/// What a ring of numbers is made of.
#[derive(Clone, Copy)]
pub struct Functions {
    /// One, unless there is no room.
    pub try_push: unsafe extern "C" fn(*mut u8, u64) -> bool,
    /// One, when there is one.
    pub try_pop: unsafe extern "C" fn(*mut u8, *mut u64) -> bool,
    /// All from a number to before another, waiting for room.
    pub push_all: unsafe extern "C" fn(*mut u8, u64, u64),
    /// So many, waiting for them; their sum.
    pub pop_all: unsafe extern "C" fn(*mut u8, u64) -> u64,
}

/// A ring of numbers in shared memory.
pub struct Ring {
    memory: Memory,
    functions: Functions,
}

impl Ring {
    /// The ring that was made in `memory`.
    ///
    /// # Safety
    /// It was, and by the library that the functions belong to.
    pub unsafe fn over(memory: Memory, functions: Functions) -> Self {
        Self { memory, functions }
    }
}

impl Channel for Ring {
    fn producer(&self) -> Result<impl Push + '_> {
        Ok(End(self))
    }

    fn consumer(&self) -> Result<impl Pop + '_> {
        Ok(End(self))
    }
}

struct End<'r>(&'r Ring);

impl Push for End<'_> {
    fn try_push(&mut self, number: u64) -> bool {
        // SAFETY: by the word given to `over`, the ring is in this memory.
        unsafe { (self.0.functions.try_push)(self.0.memory.start(), number) }
    }

    fn push_all(&mut self, numbers: Range<u64>) {
        // SAFETY: as above.
        unsafe {
            (self.0.functions.push_all)(self.0.memory.start(), numbers.start, numbers.end);
        }
    }
}

impl Pop for End<'_> {
    fn try_pop(&mut self) -> Option<u64> {
        let mut number = 0;
        // SAFETY: as above; the number is writable.
        unsafe { (self.0.functions.try_pop)(self.0.memory.start(), &mut number) }.then_some(number)
    }

    fn pop_all(&mut self, count: u64) -> u64 {
        // SAFETY: as above.
        unsafe { (self.0.functions.pop_all)(self.0.memory.start(), count) }
    }
}
