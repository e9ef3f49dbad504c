//! Queues: many producers, many consumers, in shared memory, without locks.

pub(crate) mod core;
pub(crate) mod error;
pub(crate) mod message;
pub(crate) mod mpmc;
pub(crate) mod repair;
pub(crate) mod ring;
pub(crate) mod shape;
pub(crate) mod slot;

pub use error::{PopError, PushError};
pub use message::{Claim, Reservation};
pub use mpmc::{Audit, Iter, Queue, QueueOptions};
