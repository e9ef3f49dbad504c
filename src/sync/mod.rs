//! Locks that survive their owner.

mod barrier;
pub(crate) mod lock_error;
mod meeting;
pub(crate) mod mutex;
pub(crate) mod raw_mutex;

pub use barrier::{Barrier, BarrierError, BarrierOptions, BarrierPass};
pub use lock_error::LockError;
pub use mutex::{Mutex, MutexGuard};
