//! Locks that survive their owner, and signals that nobody's death holds back.

pub(crate) mod event;
pub(crate) mod latch;
pub(crate) mod mutex;
pub(crate) mod once;
pub(crate) mod permits;
pub(crate) mod raw_mutex;
pub(crate) mod semaphore;

pub use event::Event;
pub use latch::Latch;
pub use mutex::{Mutex, MutexGuard};
pub use once::{Attempt, Once};
pub use raw_mutex::LockError;
pub use semaphore::{AcquireError, Permit, Semaphore, SemaphoreOptions};
