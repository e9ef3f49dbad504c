//! Waiting: sleep until something changed, never past a deadline, never because somebody died.

pub(crate) mod cancel;
pub(crate) mod eventcount;
pub(crate) mod patience;
