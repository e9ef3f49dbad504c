//! mpshm: Python's `multiprocessing` for native programs, over lock-free shared memory.
//!
//! [`Process`], [`Pool`], [`Queue`], [`Mutex`], [`Value`] and [`Array`], in [`Segment`]s that unrelated programs,
//! also in C, share. What is promised, and what proves it, stands in the README; how each part keeps it, in the
//! documentation of its module in the sources: overview, layout, invariants, ordering edges, crash states,
//! progress, source.
//!
//! ```standalone_crate
//! use mpshm::{Process, Queue};
//! let queue = Queue::<u64>::new(10)?;
//! let child = Process::spawn(|| {
//!     queue.push(42).unwrap();
//!     0
//! })?;
//! assert_eq!(queue.pop()?, 42);
//! child.join()?;
//! # Ok::<(), mpshm::Error>(())
//! ```

mod atomic;
mod block;
mod error;
#[doc(hidden)]
pub mod ffi;
mod layout;
mod os;
mod pool;
mod process;
mod queue;
mod recover;
mod segment;
mod sync;
mod value;
mod wait;

pub use error::{Error, ErrorKind, Result};
pub use layout::plain::{Pod, TypeTag, Zeroable};
pub use os::clock::Deadline;
pub use pool::{
    FnPool, Imap, MapTask, Pool, PoolBuilder, Retry, ScopeMapError, Task, TaskError, WorkerStats,
    scope_map, scope_map_bytes, scope_map_each,
};
pub use process::{
    Current, ExitStatus, Parent, Process, ProcessBuilder, Stdio, active_children, cpu_count,
    current, parent,
};
pub use queue::{
    Audit, Both, Claim, Consumer, Counters, Delivery, Item, Iter, MayPop, MayPush, PopError, Pops,
    Producer, PushError, Pushes, Queue, QueueOptions, Readable, Reservation, Ring, RingClaim,
    RingConsumer, RingIter, RingMessages, RingOptions, RingProducer, RingReservation, Role,
    WhenFull, Writable,
};
pub use recover::recover;
pub use segment::{
    ObjectInfo, ObjectKind, Place, Scope, Segment, SegmentOptions, recv_fd, scope, send_fd,
};
pub use sync::{
    AcquireError, Attempt, Barrier, BarrierError, BarrierOptions, BarrierPass, Condvar,
    CondvarOptions, Event, HeldLock, Latch, LockError, Mutex, MutexGuard, Once, Permit, ReadGuard,
    RwLock, Semaphore, SemaphoreOptions, WaitError, WriteGuard,
};
pub use value::{
    Array, Bits, Content, Elements, Latest, LatestClaim, LatestOptions, LatestReader, LatestWrite,
    LockedArray, LockedValue, Newer, Number, Scalar, Value, When,
};
pub use wait::cancel::Canceller;
pub use wait::death::Participant;
pub use wait::eventfd::EventFd;
pub use wait::select::{Ready, Waitable, select, select_all};

/// The README's Rust program runs as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
