//! mpshm: Python's `multiprocessing` for native programs, over lock-free shared memory.

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
pub use pool::{Pool, PoolBuilder, Task, TaskError};
pub use process::{ExitStatus, Process, ProcessBuilder, cpu_count};
pub use queue::{Audit, Claim, Iter, PopError, PushError, Queue, QueueOptions, Reservation};
pub use recover::recover;
pub use segment::{ObjectInfo, ObjectKind, Place, Segment, SegmentOptions};
pub use sync::{LockError, Mutex, MutexGuard};
pub use value::{Array, Bits, LockedArray, LockedValue, Number, Scalar, Value};
pub use wait::cancel::Canceller;
