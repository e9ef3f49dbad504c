//! Locks that survive their owner.

pub(crate) mod lock_error;
pub(crate) mod mutex;
pub(crate) mod raw_mutex;

pub use lock_error::LockError;
pub use mutex::{Mutex, MutexGuard};
