//! Queues: many producers, many consumers, in shared memory, without locks.

pub(crate) mod core;
pub(crate) mod error;
pub(crate) mod exchange;
pub(crate) mod message;
pub(crate) mod mpmc;
pub(crate) mod ring;
pub(crate) mod shape;
pub(crate) mod slot;

#[cfg(all(test, loom))]
mod models;

pub use error::{PopError, PushError};
pub use message::{Claim, Reservation};
pub use mpmc::{Audit, Iter, Queue, QueueOptions};
pub(crate) use mpmc::{fits_slot, recover};
