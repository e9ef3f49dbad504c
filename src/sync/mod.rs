//! Locks that survive their owner.

mod barrier;
pub(crate) mod condvar;
mod held;
pub(crate) mod lock_error;
mod meeting;
pub(crate) mod mutex;
pub(crate) mod raw_mutex;
mod readers;
pub(crate) mod rwlock;
mod waiters;

pub use barrier::{Barrier, BarrierError, BarrierOptions, BarrierPass};
pub use condvar::{Condvar, CondvarOptions, WaitError};
pub use lock_error::LockError;
pub use mutex::{HeldLock, Mutex, MutexGuard};
pub use rwlock::{ReadGuard, RwLock, WriteGuard};
