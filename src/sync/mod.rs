//! Locks that survive their owner, and signals that nobody's death holds back.

mod barrier;
pub(crate) mod condvar;
pub(crate) mod event;
mod held;
pub(crate) mod latch;
pub(crate) mod lock_error;
mod meeting;
pub(crate) mod mutex;
pub(crate) mod once;
pub(crate) mod permits;
pub(crate) mod raw_mutex;
mod readers;
pub(crate) mod rwlock;
pub(crate) mod semaphore;
mod waiters;

pub use barrier::{Barrier, BarrierError, BarrierOptions, BarrierPass};
pub use condvar::{Condvar, CondvarOptions, WaitError};
pub use event::Event;
pub use latch::Latch;
pub use lock_error::LockError;
pub use mutex::{HeldLock, Mutex, MutexGuard};
pub use once::{Attempt, Once};
pub use rwlock::{ReadGuard, RwLock, WriteGuard};
pub use semaphore::{AcquireError, Permit, Semaphore, SemaphoreOptions};
