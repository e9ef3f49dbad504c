//! Locks that survive their owner.

mod barrier;
mod held;
pub(crate) mod lock_error;
mod meeting;
pub(crate) mod mutex;
pub(crate) mod raw_mutex;
mod readers;
pub(crate) mod rwlock;

pub use barrier::{Barrier, BarrierError, BarrierOptions, BarrierPass};
pub use lock_error::LockError;
pub use mutex::{Mutex, MutexGuard};
pub use rwlock::{ReadGuard, RwLock, WriteGuard};
