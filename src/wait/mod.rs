//! Waiting: sleep until something changed, never past a deadline, never because somebody died.

pub(crate) mod cancel;
pub(crate) mod death;
pub(crate) mod eventcount;
pub(crate) mod eventfd;
pub(crate) mod patience;
pub(crate) mod select;

#[cfg(all(test, loom))]
mod select_models;
