//! Rings: one producer, one consumer, a few nanoseconds an item.
//!
//! [`cursors`] is the algorithm, [`shape`] the bytes, [`role`] who may use which end, [`end`] the two ends with
//! waiting and death, the rest what users see.

pub(crate) mod bytes;
pub(crate) mod cursors;
pub(crate) mod end;
pub(crate) mod options;
pub(crate) mod place;
pub(crate) mod ring;
pub(crate) mod role;
pub(crate) mod shape;
pub(crate) mod typed;
mod words;

#[cfg(all(test, loom))]
mod models;

pub use bytes::RingMessages;
pub use options::RingOptions;
pub use place::{RingClaim, RingReservation};
pub use ring::{Ring, RingConsumer, RingProducer};
pub use typed::RingIter;
