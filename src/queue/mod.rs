//! Queues: many producers, many consumers, in shared memory, without locks.

pub(crate) mod core;
pub(crate) mod ends;
pub(crate) mod error;
pub(crate) mod exchange;
pub(crate) mod message;
pub(crate) mod messages;
pub(crate) mod mpmc;
pub(crate) mod options;
pub(crate) mod plan;
pub(crate) mod ready;
pub(crate) mod ring;
pub(crate) mod role;
pub(crate) mod shape;
pub(crate) mod slot;
pub(crate) mod spsc;
mod transfer;
pub(crate) mod typed;
mod waiting;

#[cfg(all(test, loom))]
mod death_models;
#[cfg(all(test, loom))]
mod models;

pub use self::core::Counters;
pub use error::{PopError, PushError};
pub use message::{Claim, Reservation};
pub(crate) use mpmc::recover;
pub use mpmc::{Audit, Consumer, Producer, Queue};
pub use options::{Item, QueueOptions};
pub use plan::{Delivery, WhenFull};
pub use ready::{Readable, Writable};
pub use role::{Both, MayPop, MayPush, Pops, Pushes, Role};
pub use spsc::{
    Ring, RingClaim, RingConsumer, RingIter, RingMessages, RingOptions, RingProducer,
    RingReservation,
};
pub use typed::Iter;
