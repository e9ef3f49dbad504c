//! Boost: `lockfree::spsc_queue` in shared memory, and `interprocess::message_queue`.

use crate::Result;
use crate::peers::native::Ring;

/// The ring's name in the report.
pub const RING: &str = "boost::lockfree::spsc_queue";
/// The queue's.
pub const QUEUE: &str = "boost::interprocess::message_queue";

#[cfg(boost)]
pub use built::Queue;

/// What makes rings of as many numbers as every channel of its kind holds, or why nothing does.
pub fn ring() -> std::result::Result<fn() -> Result<Ring>, String> {
    #[cfg(boost)]
    return Ok(built::ring);
    #[cfg(not(boost))]
    Err(MISSING.into())
}

/// What makes queues for messages of so many bytes, or why nothing does.
pub fn queue() -> std::result::Result<fn(usize) -> Result<Queue>, String> {
    #[cfg(boost)]
    return Ok(Queue::new);
    #[cfg(not(boost))]
    Err(MISSING.into())
}

#[cfg(not(boost))]
const MISSING: &str = "Boost's headers were not found when this was built; Debian: libboost-dev";

/// Never made.
#[cfg(not(boost))]
pub type Queue = Ring;

#[cfg(boost)]
mod built {
    use crate::Result;
    use crate::channel::{Channel, Pop, Push, WORD, capacity, sum};
    use crate::peers::native::{Functions, Ring};
    use crate::peers::unique;
    use crate::shared::Memory;
    use std::ffi::{CString, c_char};

    unsafe extern "C" {
        fn compare_boost_ring_size() -> usize;
        fn compare_boost_ring_make(at: *mut u8);
        fn compare_boost_ring_try_push(ring: *mut u8, number: u64) -> bool;
        fn compare_boost_ring_try_pop(ring: *mut u8, number: *mut u64) -> bool;
        fn compare_boost_ring_push_all(ring: *mut u8, number: u64, end: u64);
        fn compare_boost_ring_pop_all(ring: *mut u8, count: u64) -> u64;
        fn compare_boost_queue_create(name: *const c_char, count: usize, bytes: usize) -> *mut u8;
        fn compare_boost_queue_remove(queue: *mut u8, name: *const c_char);
        fn compare_boost_queue_send(queue: *mut u8, bytes: *const u64, count: usize) -> bool;
        fn compare_boost_queue_receive(queue: *mut u8, bytes: *mut u64, room: usize) -> bool;
    }

    const FUNCTIONS: Functions = Functions {
        try_push: compare_boost_ring_try_push,
        try_pop: compare_boost_ring_try_pop,
        push_all: compare_boost_ring_push_all,
        pop_all: compare_boost_ring_pop_all,
    };

    // The ring's capacity is part of its type, and stands in the build script.
    const _: () = assert!(capacity(WORD) == 1024);

    pub fn ring() -> Result<Ring> {
        // SAFETY: a plain number.
        let memory = Memory::new(unsafe { compare_boost_ring_size() })?;
        // SAFETY: the memory is aligned and of the size that was asked for.
        unsafe { compare_boost_ring_make(memory.start()) };
        // SAFETY: made just now.
        Ok(unsafe { Ring::over(memory, FUNCTIONS) })
    }

    /// Messages of one length, copied in and out. Both ends wait in the queue's own way.
    pub struct Queue {
        queue: *mut u8,
        name: CString,
        bytes: usize,
    }

    impl Queue {
        /// For messages of `bytes`.
        pub fn new(bytes: usize) -> Result<Self> {
            let name = CString::new(unique())?;
            // SAFETY: the name ends with 0.
            let queue =
                unsafe { compare_boost_queue_create(name.as_ptr(), capacity(bytes), bytes) };
            if queue.is_null() {
                return Err("Boost could not make a queue".into());
            }
            Ok(Self { queue, name, bytes })
        }
    }

    impl Drop for Queue {
        fn drop(&mut self) {
            // SAFETY: made in `new`, and not used any more.
            unsafe { compare_boost_queue_remove(self.queue, self.name.as_ptr()) };
        }
    }

    impl Channel for Queue {
        fn producer(&self) -> Result<impl Push + '_> {
            Ok(End { queue: self, buffer: vec![0; self.bytes / WORD] })
        }

        fn consumer(&self) -> Result<impl Pop + '_> {
            Ok(End { queue: self, buffer: vec![0; self.bytes / WORD] })
        }
    }

    struct End<'q> {
        queue: &'q Queue,
        buffer: Vec<u64>,
    }

    impl Push for End<'_> {
        fn try_push(&mut self, number: u64) -> bool {
            self.buffer.fill(number);
            let Queue { queue, bytes, .. } = self.queue;
            // SAFETY: the queue is there; the buffer has as many bytes.
            let sent = unsafe { compare_boost_queue_send(*queue, self.buffer.as_ptr(), *bytes) };
            assert!(sent, "Boost's queue failed");
            sent
        }
    }

    impl Pop for End<'_> {
        fn try_pop(&mut self) -> Option<u64> {
            let Queue { queue, bytes, .. } = self.queue;
            // SAFETY: as above.
            let received =
                unsafe { compare_boost_queue_receive(*queue, self.buffer.as_mut_ptr(), *bytes) };
            assert!(received, "Boost's queue failed");
            Some(sum(&self.buffer))
        }
    }
}
