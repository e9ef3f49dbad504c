//! Rings: one producer, one consumer, a few nanoseconds an item.
//!
//! [`cursors`] is the algorithm, [`shape`] the bytes, [`role`] who may use which end; [`core`] is a ring that is open,
//! [`write_end`] and [`read_end`] its two ends with waiting and death; the rest is what users see.

pub(crate) mod bytes;
pub(crate) mod core;
pub(crate) mod cursors;

pub(crate) mod options;
pub(crate) mod place;
pub(crate) mod read_end;
pub(crate) mod ring;
pub(crate) mod role;
pub(crate) mod shape;
mod station;
pub(crate) mod typed;
mod words;
pub(crate) mod write_end;

#[cfg(all(test, loom))]
mod models;

pub use bytes::RingMessages;
pub use options::RingOptions;
pub use place::{RingClaim, RingReservation};
pub use ring::{Ring, RingConsumer, RingProducer};
pub use typed::RingIter;
