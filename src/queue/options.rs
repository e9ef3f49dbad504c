//! How a queue is made: the options, and the items that it can hold.

use crate::error::{Error, ErrorKind, Result};
use crate::layout::plain::{ALIGN_MAX, Pod, TypeTag};
use crate::queue::plan::{CLASSES_MAX, Class, Delivery, Plan, Shape, WhenFull};
use crate::segment::place::Place;

/// How a queue is made.
///
/// ```
/// use mpshm::{Queue, QueueOptions, Segment};
/// let options = QueueOptions::new(100).message_max(1000);
/// let segment = Segment::anonymous(Queue::<[u8]>::size_for(&options)?)?;
/// let queue = Queue::<[u8]>::create(segment.at("jobs"), &options)?;
/// assert_eq!(queue.capacity(), 100);
/// # Ok::<(), mpshm::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct QueueOptions {
    capacity: u64,
    message_max: u64,
    align: u32,
    leases: u32,
    tag: u64,
    classes: Vec<(u64, u64)>,
    full: WhenFull,
    delivery: Option<Delivery>,
    joinable: bool,
    producers: u32,
}

impl QueueOptions {
    /// A queue of exactly `capacity` items, 1 to 2^26.
    pub fn new(capacity: u64) -> Self {
        Self {
            capacity,
            message_max: 4096,
            align: 16,
            leases: 4,
            tag: 0,
            classes: Vec::new(),
            full: WhenFull::Wait,
            delivery: None,
            joinable: false,
            producers: 0,
        }
    }

    /// Bytes of the longest message of a `Queue<[u8]>`, 4096 by default.
    pub fn message_max(self, bytes: u64) -> Self {
        Self { message_max: bytes, ..self }
    }

    /// Alignment of messages in place: a power of two up to 128, 16 by default.
    pub fn align(self, align: u32) -> Self {
        Self { align, ..self }
    }

    /// How many blocks one process may hold (reserved or claimed) at a time without taking from the
    /// capacity; 4 by default. Each costs a block for each participant that the segment admits. Without meaning
    /// where [`blocks`](Self::blocks) chooses their number.
    pub fn leases(self, leases: u32) -> Self {
        Self { leases, ..self }
    }

    /// Adds `count` blocks of `bytes` for a `Queue<[u8]>`: up to 8 sizes, in ascending order. A message lies in a block
    /// of the least size that it fits into and that has one free; the longest one that the queue takes is as long as
    /// the largest blocks. What is reserved, queued or claimed holds a block, and when all that are large enough are
    /// taken the queue is full for that message, though it may have less than its capacity.
    ///
    /// ```
    /// use mpshm::{Queue, QueueOptions};
    /// let options = QueueOptions::new(100).blocks(64, 100).blocks(1 << 20, 2);
    /// let queue = Queue::<[u8]>::with_options(&options)?;
    /// assert_eq!(queue.message_max(), 1 << 20);
    /// assert!(Queue::<[u8]>::size_for(&options)? < 3 << 20);
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    pub fn blocks(mut self, bytes: u64, count: u64) -> Self {
        self.classes.push((bytes, count));
        self
    }

    /// A tag that tells the item type from others of its size; opening asks for the same.
    pub fn tag(self, tag: u64) -> Self {
        Self { tag, ..self }
    }

    /// What a push does when there is no room; by default it waits.
    pub fn when_full(self, full: WhenFull) -> Self {
        Self { full, ..self }
    }

    /// What becomes of an item whose consumer dies while it has it; the default depends on the items' size.
    pub fn delivery(self, delivery: Delivery) -> Self {
        Self { delivery: Some(delivery), ..self }
    }

    /// Items count as unfinished until their consumer says [`task_done`](crate::Queue::task_done), and
    /// [`join`](crate::Queue::join) waits until none is. An item popped and not done goes back when its consumer dies
    /// or drops its handle. Items of up to 8 bytes lie in blocks then.
    ///
    /// ```
    /// use mpshm::{Queue, QueueOptions};
    /// let queue = Queue::<u32>::with_options(&QueueOptions::new(10).joinable())?;
    /// queue.push(1)?;
    /// assert_eq!(queue.pop()?, 1);
    /// queue.task_done()?;
    /// queue.join()?;
    /// assert!(queue.task_done().is_err());
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    pub fn joinable(self) -> Self {
        Self { joinable: true, ..self }
    }

    /// The queue ends with its producers: it is closed when the last [`Producer`](crate::Producer) is dropped, and
    /// consumers get `PeerDead` when the last one died, but not before `count` have come, at least one. Plain handles
    /// may push too; they do not count.
    ///
    /// ```standalone_crate
    /// use mpshm::{Process, Queue, QueueOptions};
    /// let queue = Queue::<u64>::with_options(&QueueOptions::new(10).follow_producers(2))?;
    /// let children: Vec<Process> = (0..2u64)
    ///     .map(|n| {
    ///         let queue = &queue;
    ///         Process::spawn(move || {
    ///             let producer = queue.producer().unwrap();
    ///             producer.push(n).unwrap();
    ///             0
    ///         })
    ///     })
    ///     .collect::<Result<_, _>>()?;
    /// assert_eq!(queue.iter().sum::<u64>(), 1); // ends by itself
    /// for child in children {
    ///     assert_eq!(child.join()?.code(), Some(0));
    /// }
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    pub fn follow_producers(self, count: u32) -> Self {
        Self { producers: count.max(1), ..self }
    }

    pub(crate) fn shape(&self, item: TypeTag, participants: u32) -> Result<Shape> {
        let invalid = |what| Err(Error::new(ErrorKind::Invalid, what));
        let messages = item.size == 0;
        let small = !messages && fits_slot(item.size as usize);
        let in_slots = small
            && !self.joinable
            && self.delivery.unwrap_or(Delivery::AtMostOnce) == Delivery::AtMostOnce;
        if in_slots && !portable_atomic::AtomicU128::is_lock_free() {
            return Err(Error::new(
                ErrorKind::System,
                "items of up to 8 bytes travel in 128-bit slots, which this processor cannot change atomically",
            ));
        }
        if !messages && !self.classes.is_empty() {
            return invalid("sizes of blocks were chosen for a queue of items of one size");
        }
        if self.classes.len() > CLASSES_MAX {
            return invalid("more than 8 sizes of blocks were chosen for a queue");
        }
        let mut classes = [Class::default(); CLASSES_MAX];
        for (class, &(bytes, count)) in classes.iter_mut().zip(&self.classes) {
            let number = |number| u32::try_from(number).unwrap_or(u32::MAX);
            *class = Class { bytes: number(bytes), count: number(count) };
            if *class == Class::default() {
                return invalid("0 blocks of 0 bytes were chosen for a queue");
            }
        }
        Plan {
            in_slots,
            participants,
            capacity: self.capacity,
            message_max: match self.classes.last() {
                Some(&(bytes, _)) => bytes,
                None if messages => self.message_max,
                None => item.size.into(),
            },
            align: if messages { self.align } else { item.align },
            leases: self.leases,
            classes,
            full: self.full,
            delivery: if in_slots {
                Delivery::AtMostOnce
            } else {
                self.delivery.unwrap_or(Delivery::AtLeastOnce)
            },
            joinable: self.joinable,
            producers: self.producers,
        }
        .shape()
    }

    pub(crate) fn size(&self, item: TypeTag) -> Result<u64> {
        Ok(self.shape(item, Place::ANONYMOUS.participants())?.total)
    }
}

pub(crate) fn fits_slot(size: usize) -> bool {
    size <= 8
}

/// What a queue can hold: any plain type, or messages, `[u8]`.
pub trait Item: sealed::Sealed {}

impl<T: Pod> Item for T {}
impl Item for [u8] {}

pub(crate) mod sealed {
    use super::{ALIGN_MAX, Error, ErrorKind, Pod, QueueOptions, Result, TypeTag};

    pub trait Sealed {
        /// Bytes of an item; nothing for messages.
        const SIZE: Option<usize>;
        fn type_tag(options: &QueueOptions) -> Result<TypeTag>;
    }

    impl<T: Pod> Sealed for T {
        const SIZE: Option<usize> = Some(size_of::<T>());

        fn type_tag(options: &QueueOptions) -> Result<TypeTag> {
            if size_of::<T>() == 0 || align_of::<T>() > ALIGN_MAX {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!(
                        "items of {} bytes aligned to {}: at least 1 byte and at most {ALIGN_MAX} are possible",
                        size_of::<T>(),
                        align_of::<T>()
                    ),
                ));
            }
            let item = TypeTag::of::<T>();
            Ok(if options.tag == 0 { item } else { item.with_tag(options.tag) })
        }
    }

    impl Sealed for [u8] {
        const SIZE: Option<usize> = None;

        fn type_tag(options: &QueueOptions) -> Result<TypeTag> {
            Ok(TypeTag::bytes(0, 1).with_tag(options.tag))
        }
    }
}
