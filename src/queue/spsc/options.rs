//! How a ring is made.

use crate::error::{Error, ErrorKind, Result};
use crate::layout::plain::TypeTag;
use crate::os::memory;
use crate::queue::plan::{Delivery, WhenFull};
use crate::queue::spsc::shape::{Plan, Shape};

/// How a [`Ring`](crate::Ring) is made.
///
/// ```
/// use mpshm::{Ring, RingOptions, Segment};
/// let options = RingOptions::new(1000).follow_ends();
/// let segment = Segment::anonymous(Ring::<u64>::size_for(&options)?)?;
/// let ring = Ring::<u64>::create(segment.at("samples"), &options)?;
/// assert_eq!(ring.capacity(), 1000);
/// # Ok::<(), mpshm::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct RingOptions {
    capacity: u64,
    tag: u64,
    full: WhenFull,
    delivery: Delivery,
    follows: bool,
}

impl RingOptions {
    /// A ring of exactly `capacity` items, at most 2^40 bytes of them; a `Ring<[u8]>` of `capacity` bytes, where
    /// each message takes its length, rounded up to a multiple of 8, and 8 bytes more (the last 8 bytes
    /// are not counted, so that one message of `capacity` bytes fits).
    pub fn new(capacity: u64) -> Self {
        Self {
            capacity,
            tag: 0,
            full: WhenFull::Wait,
            delivery: Delivery::AtLeastOnce,
            follows: false,
        }
    }

    /// A tag that tells the item type from others of its size; opening asks for the same.
    pub fn tag(self, tag: u64) -> Self {
        Self { tag, ..self }
    }

    /// What a push does when there is no room; by default it waits. A ring that overwrites needs room for one more item
    /// (for messages: twice the room), is copied from only (no claims), and each pop costs a compare-and-swap.
    pub fn when_full(self, full: WhenFull) -> Self {
        Self { full, ..self }
    }

    /// What becomes of the items that a consumer had claimed when it died: by default they come again, marked.
    pub fn delivery(self, delivery: Delivery) -> Self {
        Self { delivery, ..self }
    }

    /// The stream ends when one of its ends does: it is closed when the producer or the consumer is dropped, and says
    /// `PeerDead` when the other end died (to a consumer that has drained it, to a producer that finds it full),
    /// until somebody takes the dead one's place. By default, whoever comes next goes on with the stream.
    ///
    /// ```standalone_crate
    /// use mpshm::{PopError, Process, Ring, RingOptions};
    /// let ring = Ring::<u64>::with_options(&RingOptions::new(16).follow_ends())?;
    /// let child = Process::spawn(|| {
    ///     let mut producer = ring.producer();
    ///     producer.push(7).unwrap();
    ///     0 // dropped here
    /// })?;
    /// let mut consumer = ring.consumer();
    /// assert_eq!(consumer.pop(), Ok(7));
    /// assert_eq!(consumer.pop(), Err(PopError::Closed));
    /// child.join()?;
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    pub fn follow_ends(self) -> Self {
        Self { follows: true, ..self }
    }

    /// The shape for items of a type; size 0 = messages.
    pub(crate) fn shape(&self, item: TypeTag, page: u64) -> Result<Shape> {
        Plan {
            size: item.size,
            align: item.align,
            capacity: self.capacity,
            full: self.full,
            delivery: self.delivery,
            follows: self.follows,
            page,
        }
        .shape()
    }

    pub(crate) fn size(&self, item: TypeTag) -> Result<u64> {
        Ok(self.shape(item, memory::page_size())?.total)
    }

    pub(crate) fn tagged(&self, item: TypeTag) -> TypeTag {
        if self.tag == 0 { item } else { item.with_tag(self.tag) }
    }

    /// Claims are for rings whose items stay where they are.
    pub(crate) fn no_claims() -> Error {
        Error::new(
            ErrorKind::Invalid,
            "items of a ring that overwrites cannot be read in place: they may be overwritten meanwhile",
        )
    }
}
