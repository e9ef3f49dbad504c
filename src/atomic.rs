//! The atomics that lie in shared memory: std's, or loom's when the models run.
//!
//! Process-private statics use std's directly: they are not part of a model.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
