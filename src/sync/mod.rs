//! Locks that survive their owner.

pub(crate) mod mutex;
pub(crate) mod raw_mutex;

pub use mutex::{Mutex, MutexGuard};
pub use raw_mutex::LockError;
