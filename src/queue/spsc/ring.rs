//! The handles: [`Ring`], its producer and its consumer.

use crate::error::Result;
use crate::layout::plain::TypeTag;
use crate::queue::core::Counters;
use crate::queue::options::{Item, QueueOptions};
use crate::queue::spsc::core::Core;
use crate::queue::spsc::options::RingOptions;
use crate::queue::spsc::read_end::ReadEnd;
use crate::queue::spsc::write_end::WriteEnd;
use crate::segment::Segment;
use crate::segment::place::Place;
use std::marker::PhantomData;

/// A bounded first-in, first-out stream in shared memory, from one producer to one consumer: a few nanoseconds
/// an item, between processes.
///
/// - `Ring<T>` for plain items of any size: one at a time, or slices of many, copied or in place.
/// - `Ring<[u8]>` for messages of 0 bytes to the whole capacity, each contiguous, copied or in place.
///
/// This handle makes and opens the ring and looks on; [`producer`](Self::producer) and [`consumer`](Self::consumer) give
/// its two ends. The ends' roles are exclusive: a ring has one producer and one consumer at a time, in whatever processes.
/// A handle takes its role when it is first used in a process, and keeps it until it is dropped; then, or when its
/// process has died, another takes it up where the last one left off.
///
/// **Progress.** Wait-free: nobody, dead or stopped at any instruction, keeps the other end from completing a `try_`
/// call (lock-free where a ring overwrites). **What a dead peer does.** What was committed stays; what was being written
/// is as if it had not been; what a dead consumer had claimed comes again, marked. **Forks.** Handles work on both sides;
/// the end that is used first takes the role, and the same end on the other side says `Busy`.
///
/// Needs `membarrier(2)` (Linux 4.16): a push makes no barrier of its own for sleepers, they make it for both.
///
/// ```standalone_crate
/// use mpshm::{Process, Ring};
/// let ring = Ring::<u64>::new(1024)?;
/// let child = Process::spawn(|| {
///     let mut producer = ring.producer();
///     for n in 0..5 {
///         producer.push(n).unwrap();
///     }
///     ring.close().unwrap();
///     0
/// })?;
/// assert_eq!(ring.consumer().iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
/// assert_eq!(child.join()?.code(), Some(0));
/// # Ok::<(), mpshm::Error>(())
/// ```
pub struct Ring<T: ?Sized> {
    pub(in crate::queue) core: Core,
    items: PhantomData<fn(Box<T>) -> Box<T>>,
}

/// The end of a [`Ring`] that pushes. `Send`; a ring has one at a time.
///
/// ```compile_fail
/// let ring = mpshm::Ring::<u64>::new(4)?;
/// ring.producer().pop()?; // a producer does not pop
/// # Ok::<(), mpshm::Error>(())
/// ```
///
/// What is reserved borrows the producer, so there is one reservation at a time:
///
/// ```compile_fail
/// let mut producer = mpshm::Ring::<u64>::new(4)?.producer();
/// let first = producer.reserve(1)?;
/// let second = producer.reserve(1)?;
/// first.commit(1)?;
/// # Ok::<(), mpshm::Error>(())
/// ```
pub struct RingProducer<T: ?Sized> {
    pub(in crate::queue) end: WriteEnd,
    items: PhantomData<fn(Box<T>)>,
}

/// The end of a [`Ring`] that pops. `Send`; a ring has one at a time.
///
/// ```compile_fail
/// let ring = mpshm::Ring::<u64>::new(4)?;
/// ring.consumer().push(1)?; // a consumer does not push
/// # Ok::<(), mpshm::Error>(())
/// ```
pub struct RingConsumer<T: ?Sized> {
    pub(in crate::queue) end: ReadEnd,
    /// Where the message lies that was read in part, as a stream of bytes, and how many bytes were.
    pub(super) partly: (u64, usize),
    items: PhantomData<fn() -> Box<T>>,
}

impl<T: ?Sized + Item> Ring<T> {
    fn over(core: Core) -> Self {
        Self { core, items: PhantomData }
    }

    /// An anonymous ring of exactly `capacity` items, or of messages of up to `capacity` bytes, which forked children
    /// inherit; see [`RingOptions::new`].
    ///
    /// # Errors
    /// `Invalid` for a capacity of 0, or more than 2^40 bytes; `NoSpace`.
    pub fn new(capacity: u64) -> Result<Self> {
        Self::with_options(&RingOptions::new(capacity))
    }

    /// An anonymous ring as `options` say, which forked children inherit.
    ///
    /// # Errors
    /// `Invalid`; `NoSpace`.
    pub fn with_options(options: &RingOptions) -> Result<Self> {
        Self::create(Place::ANONYMOUS, options)
    }

    /// Makes a ring at `place`: a name, or [`segment.at(name)`](Segment::at).
    ///
    /// # Errors
    /// `Exists`; `Invalid`; `NoSpace`; `Limit`.
    pub fn create<'a>(place: impl Into<Place<'a>>, options: &RingOptions) -> Result<Self> {
        let item = Self::item(options)?;
        Core::create(place.into(), |page| options.shape(item, page), item).map(Self::over)
    }

    /// Opens the ring at `place`, which must hold `T`s (no tag).
    ///
    /// # Errors
    /// `NotFound`; `Type` when it is no ring or has other items; `Version`, `Corrupt`, `Permission`.
    pub fn open<'a>(place: impl Into<Place<'a>>) -> Result<Self> {
        Core::open(place.into(), Self::item(&RingOptions::new(1))?).map(Self::over)
    }

    /// Opens the ring at `place`, or makes it.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and [`create`](Self::create) but for `NotFound` and `Exists`.
    pub fn open_or_create<'a>(place: impl Into<Place<'a>>, options: &RingOptions) -> Result<Self> {
        let item = Self::item(options)?;
        place.into().open_or_create(
            |place| Core::open(place, item).map(Self::over),
            |place| Self::create(place, options),
        )
    }

    /// Bytes that such a ring needs in a segment of ordinary pages.
    ///
    /// # Errors
    /// `Invalid` as for [`create`](Self::create).
    pub fn size_for(options: &RingOptions) -> Result<u64> {
        options.size(Self::item(options)?)
    }

    fn item(options: &RingOptions) -> Result<TypeTag> {
        Ok(options.tagged(T::type_tag(&QueueOptions::new(1))?))
    }

    /// A handle that pushes. The ring's one producer is whoever uses such a handle first.
    #[must_use]
    pub fn producer(&self) -> RingProducer<T> {
        RingProducer { end: WriteEnd::new(self.core.clone()), items: PhantomData }
    }

    /// A handle that pops. The ring's one consumer is whoever uses such a handle first.
    #[must_use]
    pub fn consumer(&self) -> RingConsumer<T> {
        RingConsumer { end: ReadEnd::new(self.core.clone()), partly: (0, 0), items: PhantomData }
    }
}

impl<T: ?Sized> Ring<T> {
    /// Ends the stream: pushes say `Closed`, pops say so once everything in it has been taken. Anybody may close, also
    /// twice, and also while the producer is in the middle of a push: what that push answers is what happened.
    ///
    /// # Errors
    /// `System` without `membarrier(2)`.
    pub fn close(&self) -> Result<()> {
        self.core.close()
    }

    /// Whether the ring has been closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.core.is_closed()
    }

    /// Items, or messages, that can be popped: exact when nobody else acts, else true at some moment of the call.
    /// Messages are counted one by one. A damaged ring reads as empty. A producer that died while it overwrote may have
    /// left one item more than the capacity: that is popped too, unless another producer comes first, and not counted here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.core.len().unwrap_or(0) as usize
    }

    /// Whether there is nothing to pop.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.core.used().unwrap_or(0) == 0
    }

    /// Whether there is no room for one more item, or for a message without bytes.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.core.is_full()
    }

    /// The number of items, or of bytes, that was asked for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.core.shape.plan.capacity as usize
    }

    /// The segment that the ring lies in.
    #[must_use]
    pub fn segment(&self) -> &Segment {
        &self.core.object.segment
    }

    /// What has happened in the ring since it was made. For messages, `pushed` and `popped` are bytes, with 8 a message
    /// for its length, and `popped` has those that were overwritten as well. A participant that died in the middle of an
    /// operation may have left one of the others uncounted.
    ///
    /// ```
    /// let ring = mpshm::Ring::<u32>::new(4)?;
    /// ring.producer().push_many(&[1, 2, 3])?;
    /// ring.consumer().pop()?;
    /// assert_eq!((ring.counters().pushed, ring.counters().popped), (3, 1));
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.core.counters().unwrap_or_default()
    }
}

impl<T: ?Sized> Clone for Ring<T> {
    /// Another handle of the same ring.
    fn clone(&self) -> Self {
        Self { core: self.core.clone(), items: PhantomData }
    }
}

macro_rules! debug {
    ($name:ident, $core:ident => $($path:tt)+) => {
        impl<T: ?Sized> std::fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let $core = self;
                f.debug_struct(stringify!($name))
                    .field("capacity", &$($path)+.shape.plan.capacity)
                    .field("used", &$($path)+.used().unwrap_or(0))
                    .finish_non_exhaustive()
            }
        }
    };
}
debug!(Ring, ring => ring.core);
debug!(RingProducer, producer => producer.end.core);
debug!(RingConsumer, consumer => consumer.end.core);
