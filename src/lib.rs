//! mpshm: Python's `multiprocessing` for native programs, over lock-free shared memory.
#![allow(dead_code)]

mod atomic;
mod block;
mod error;
mod layout;
mod os;
mod queue;
mod segment;
mod wait;

pub use error::{Error, ErrorKind, Result};
pub use layout::plain::{Pod, TypeTag, Zeroable};
pub use os::clock::Deadline;
pub use queue::{Audit, Claim, Iter, PopError, PushError, Queue, QueueOptions, Reservation};
pub use segment::{ObjectInfo, ObjectKind, Place, Segment, SegmentOptions};
pub use wait::cancel::Canceller;
