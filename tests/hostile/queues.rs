//! Queues: in slots and in blocks, of one size or several, joinable, overwriting, with producers that are followed.

use crate::calls::Calls;
use crate::damage::Field;
use crate::layout::{self, Layout, u32_at, u64_at};
use crate::probe::Random;
use crate::world::Kind;
use mpshm::{
    Delivery, ErrorKind, Item, Pod, Producer, Queue, QueueOptions, Segment, WhenFull, Zeroable,
};
use std::marker::PhantomData;

/// One form of a queue.
pub trait Form: 'static {
    const NAME: &'static str;
    type Item: ?Sized + Item;

    fn options() -> QueueOptions;

    /// Pushes something, without waiting; pops and forgets what is there.
    fn push(queue: &Queue<Self::Item>) -> bool;
    fn pop(queue: &Queue<Self::Item>) -> bool;

    /// What pushes does so; what pops does so: group `group` of [`GROUPS`].
    fn exchange(queue: &Queue<Self::Item>, group: usize, calls: &mut Calls);

    /// Pushes through an end that counts.
    fn push_at(end: &Producer<Self::Item>, calls: &mut Calls);
}

const GROUPS: usize = 5;

/// The name of the objects that are damaged.
pub const VICTIM: &str = "victim";

/// A queue, and an end of it that counts where producers are followed.
pub struct Ends<F: Form> {
    queue: Queue<F::Item>,
    producer: Option<Producer<F::Item>>,
}

/// A kind for each form.
pub struct Queues<F>(PhantomData<F>);

impl<F: Form> Kind for Queues<F> {
    const NAME: &'static str = F::NAME;
    type Handle = Ends<F>;
    const STATES: usize = 5;

    fn create(segment: &Segment) -> Ends<F> {
        let queue = Queue::create(segment.at(VICTIM), &F::options()).expect("a queue");
        Ends { queue, producer: None }
    }

    fn open(segment: &Segment) -> Result<Ends<F>, ErrorKind> {
        let queue = Queue::<F::Item>::open(segment.at(VICTIM)).map_err(|error| error.kind())?;
        let producer = queue.producer();
        match producer {
            Err(error) if error.kind() != ErrorKind::Closed => Err(error.kind()),
            producer => Ok(Ends { producer: producer.ok(), queue }),
        }
    }

    fn prepare(ends: &Ends<F>, peer: &Ends<F>, state: usize) {
        let queue = &ends.queue;
        match state {
            0 => {
                // Whoever takes part does so from now on.
                for queue in [queue, &peer.queue] {
                    queue.recover().expect("a sound queue");
                    F::push(queue);
                    F::pop(queue);
                }
            }
            1 => {
                F::push(queue);
                F::push(queue);
            }
            2 => {
                // A living peer holds two blocks; then more than once round.
                std::mem::forget(peer.queue.try_claim());
                for _ in 0..3 * queue.capacity() {
                    F::push(queue);
                    F::pop(queue);
                }
                let more = queue.counters().pushed + 2 * queue.capacity() as u64;
                while F::push(queue) && queue.counters().pushed < more {}
            }
            3 => {
                // Some were given back.
                if let Ok(claim) = queue.try_claim() {
                    claim.give_back();
                }
                F::pop(queue);
            }
            _ => queue.close().expect("a sound queue"),
        }
    }

    fn die(ends: &Ends<F>) {
        let queue = &ends.queue;
        std::mem::forget(queue.try_claim());
        std::mem::forget(queue.producer());
        F::push(queue);
    }

    fn fields(image: &[u8], layout: &Layout) -> Vec<Field> {
        queue_fields(image, layout, VICTIM)
    }

    fn operate(ends: &Ends<F>, calls: &mut Calls) {
        operate::<F>(&ends.queue, calls);
        if let Some(producer) = &ends.producer {
            F::push_at(producer, calls);
        }
        if calls.random.below(2) == 0 {
            calls.call("Queue::close", || ends.queue.close());
            F::exchange(&ends.queue, 0, calls);
            F::exchange(&ends.queue, 3, calls);
            info(&ends.queue, calls);
        }
    }

    fn forge(random: &mut Random, image: &[u8], layout: &Layout) -> Option<Vec<(Field, u64)>> {
        forge_plan(random, image, layout.objects[VICTIM].start)
    }
}

/// The fields of the queue `name`, whose table has to account for all of its bytes.
pub fn queue_fields(image: &[u8], layout: &Layout, name: &str) -> Vec<Field> {
    let at = layout.objects[name].start;
    let queue = layout::Queue::of(image, at);
    assert_eq!(u32_at(image, at + 8) as usize, layout.slots(), "{name}: participants");
    assert_eq!(queue.blocks.end - at, layout.lengths[name], "{name}: bytes");
    queue.fields(at)
}

/// Everything but what only some queues have.
fn operate<F: Form>(queue: &Queue<F::Item>, calls: &mut Calls) {
    for step in calls.shuffled(GROUPS + 4) {
        match step {
            0 => claims(queue, calls),
            1 => info(queue, calls),
            2 => {
                calls.call("Queue::task_done", || queue.task_done());
                calls.timed("Queue::join_timeout", |wait| queue.join_timeout(wait));
                let (items, room) = (queue.readable(), queue.writable());
                calls.timed("select", |wait| mpshm::select(&[&items, &room], wait));
                calls.timed("select_all", |wait| mpshm::select_all(&[&items, &room], wait));
            }
            3 => {
                calls.call("Queue::recover", || queue.recover());
                let producer = calls.call("Queue::producer", || queue.producer());
                calls.info("Producer::drop", || drop(producer));
                let consumer = calls.info("Queue::consumer", || queue.consumer());
                calls.call("Consumer::try_claim", || consumer.try_claim().map(drop));
            }
            group => F::exchange(queue, group - 4, calls),
        }
    }
}

fn info<T: ?Sized + Item>(queue: &Queue<T>, calls: &mut Calls) {
    calls.info("Queue::len", || queue.len());
    calls.info("Queue::is_empty", || queue.is_empty());
    calls.info("Queue::is_full", || queue.is_full());
    calls.info("Queue::capacity", || queue.capacity());
    calls.info("Queue::counters", || queue.counters());
    calls.info("Queue::fmt", || format!("{queue:?}"));
    calls.info("Queue::clone", || drop(queue.clone()));
    calls.call("Queue::is_closed", || queue.is_closed());
    calls.call("Queue::audit", || queue.audit());
}

fn claims<T: ?Sized + Item>(queue: &Queue<T>, calls: &mut Calls) {
    if let Some(claim) = calls.call("Queue::try_claim", || queue.try_claim()) {
        calls.info("Claim::deliveries", || claim.deliveries());
        let all = calls.info("Claim::to_vec", || claim.to_vec());
        assert_eq!(all.len(), claim.len());
        let mut some = vec![0; claim.len().min(3)];
        calls.call("Claim::read_at", || claim.read_at(claim.len() - some.len(), &mut some));
        calls.info("Claim::give_back", || claim.give_back());
    }
    if let Some(claim) = calls.timed("Queue::claim_timeout", |wait| queue.claim_timeout(wait)) {
        calls.call("Claim::read", || claim.read::<u64>().or(Ok::<_, ErrorKind>(0)));
        calls.info("Claim::release", || claim.release());
    }
}

/// A form whose items are of the plain type `$item`.
macro_rules! items {
    ($form:ident, $name:literal, $item:ty, $options:expr) => {
        pub struct $form;

        impl Form for $form {
            const NAME: &'static str = $name;
            type Item = $item;

            fn options() -> QueueOptions {
                $options
            }

            fn push(queue: &Queue<$item>) -> bool {
                queue.try_push(<$item>::zeroed()).is_ok()
            }

            fn pop(queue: &Queue<$item>) -> bool {
                let popped = queue.try_pop().is_ok();
                let _ = queue.task_done();
                popped
            }

            fn exchange(queue: &Queue<$item>, group: usize, calls: &mut Calls) {
                exchange_items(queue, group, calls);
            }

            fn push_at(end: &Producer<$item>, calls: &mut Calls) {
                let push = || end.try_push(<$item>::zeroed()).map_err(|error| error.kind());
                calls.call("Producer::try_push", push);
            }
        }
    };
}

fn exchange_items<T: Pod>(queue: &Queue<T>, group: usize, calls: &mut Calls) {
    let item = T::zeroed();
    let bytes = size_of::<T>();
    match group {
        0 => {
            calls.call("Queue::try_push", || queue.try_push(item));
            calls.timed("Queue::push_timeout", |wait| queue.push_timeout(item, wait));
        }
        1 => {
            calls.call("Queue::try_push_many", || queue.try_push_many(&[item; 3]));
            calls.timed("Queue::push_many_timeout", |wait| {
                queue.push_many_timeout(&[item; 2], wait)
            });
        }
        2 => {
            if let Some(mut place) = calls.call("Queue::try_reserve", || queue.try_reserve()) {
                calls.call("Reservation::write_at", || place.write_at(0, &vec![7; bytes]));
                calls.call("Reservation::commit", || place.commit(bytes));
            }
            let place = calls.timed("Queue::reserve_timeout", |wait| queue.reserve_timeout(wait));
            if let Some(place) = place {
                calls.timed("Reservation::commit", |_| place.commit(bytes));
            }
        }
        3 => {
            calls.call("Queue::try_pop", || queue.try_pop());
            calls.timed("Queue::pop_timeout", |wait| queue.pop_timeout(wait));
        }
        _ => {
            calls.call("Queue::try_pop_many", || queue.try_pop_many(3));
            let all = |wait| queue.pop_many_timeout(usize::MAX, wait);
            calls.timed("Queue::pop_many_timeout", all);
        }
    }
}

/// A form whose items are messages.
macro_rules! messages {
    ($form:ident, $name:literal, $options:expr) => {
        pub struct $form;

        impl Form for $form {
            const NAME: &'static str = $name;
            type Item = [u8];

            fn options() -> QueueOptions {
                $options
            }

            fn push(queue: &Queue<[u8]>) -> bool {
                queue.try_push(&[1; 9]).is_ok()
            }

            fn pop(queue: &Queue<[u8]>) -> bool {
                let popped = queue.try_pop().is_ok();
                let _ = queue.task_done();
                popped
            }

            fn exchange(queue: &Queue<[u8]>, group: usize, calls: &mut Calls) {
                exchange_messages(queue, group, calls);
            }

            fn push_at(end: &Producer<[u8]>, calls: &mut Calls) {
                calls.call("Producer::try_push", || end.try_push(&[2; 5]));
            }
        }
    };
}

/// Bytes for messages of any length that is worth a try.
static BYTES: [u8; 1 << 20] = [0x5a; 1 << 20];

/// A message as long as the queue says it takes, often; else a shorter one.
fn message(queue: &Queue<[u8]>, random: &mut Random) -> &'static [u8] {
    let most = queue.message_max().min(BYTES.len());
    let length = match random.below(4) {
        0 | 1 => most,
        2 => random.below(most as u64 + 1) as usize,
        _ => 0,
    };
    &BYTES[..length]
}

fn exchange_messages(queue: &Queue<[u8]>, group: usize, calls: &mut Calls) {
    let message = message(queue, &mut calls.random);
    match group {
        0 => {
            calls.call("Queue::try_push", || queue.try_push(message));
            calls.timed("Queue::push_timeout", |wait| queue.push_timeout(message, wait));
        }
        1 => {
            let some: [&[u8]; 3] = [b"", message, b"last"];
            calls.call("Queue::try_push_many", || queue.try_push_many(&some));
            calls.timed("Queue::push_many_timeout", |wait| queue.push_many_timeout(&some, wait));
        }
        2 => {
            let length = message.len();
            if let Some(mut place) = calls.call("Queue::try_reserve", || queue.try_reserve(length))
            {
                calls.call("Reservation::write_at", || place.write_at(0, message));
                calls.call("Reservation::commit", || place.commit(length / 2));
            }
            let place = |wait| queue.reserve_timeout(length, wait);
            if let Some(mut place) = calls.timed("Queue::reserve_timeout", place) {
                calls.call("Reservation::write_at", || {
                    place.write_at(length / 2, &message[length / 2..])
                });
                calls.timed("Reservation::commit", |_| place.commit(length));
            }
        }
        3 => {
            calls.call("Queue::try_pop", || queue.try_pop());
            calls.timed("Queue::pop_timeout", |wait| queue.pop_timeout(wait));
        }
        _ => {
            calls.call("Queue::try_pop_many", || queue.try_pop_many(3));
            let all = |wait| queue.pop_many_timeout(usize::MAX, wait);
            calls.timed("Queue::pop_many_timeout", all);
        }
    }
}

/// Another plan of as many bytes.
fn forge_plan(random: &mut Random, image: &[u8], at: usize) -> Option<Vec<(Field, u64)>> {
    let sound = layout::Queue::of(image, at);
    let class_bytes = Field::new("plan.class_bytes", at + 40, 4);
    let class_count = Field::new("plan.class_count", at + 44, 4);
    let bytes = sound.blocks.len();
    if bytes > 0 && random.below(3) > 0 {
        // One size of blocks, longer or shorter than what the queue says it takes.
        let room = (0..16).map(|_| random.below(bytes as u64) as usize & !7);
        let mut fits = room.filter(|&room| bytes % layout::Queue::stride(sound.align, room) == 0);
        let room = fits.next()?;
        let count = bytes / layout::Queue::stride(sound.align, room);
        let mut writes = vec![(class_bytes, room as u64), (class_count, count as u64)];
        for class in 1..8 {
            writes
                .extend([(class_bytes.further(8 * class), 0), (class_count.further(8 * class), 0)]);
        }
        return Some(writes);
    }
    // A ring with more places and as many blocks.
    let less = 1 + random.below(2);
    let more = less * u64::from(u32_at(image, at + 8));
    Some(vec![
        (Field::new("plan.leases", at + 16, 4), (sound.leases as u64).wrapping_sub(less)),
        (Field::new("plan.capacity", at + 24, 8), u64_at(image, at + 24).wrapping_add(more)),
    ])
}

fn of(capacity: u64) -> QueueOptions {
    QueueOptions::new(capacity).leases(2).message_max(100)
}

items!(Slots, "queue.slots", u64, of(5));
items!(OneSlot, "queue.slots.one", u8, of(1));
items!(SlotsOverwriting, "queue.slots.overwriting", u32, of(4).when_full(WhenFull::Overwrite));
items!(SlotsFollowing, "queue.slots.following", u64, of(3).follow_producers(2));
items!(Blocks, "queue.blocks", [u64; 5], of(6));
items!(SmallBlocks, "queue.blocks.small", u32, of(4).delivery(Delivery::AtLeastOnce));
items!(
    BlocksDropping,
    "queue.blocks.dropping",
    [u64; 30],
    of(3).delivery(Delivery::AtMostOnce).when_full(WhenFull::Fail)
);
messages!(Messages, "queue.messages", of(5));
// So many that a walk over them takes longer than a writer needs to change something.
messages!(ManyMessages, "queue.messages.many", of(1000).message_max(16));
messages!(OneMessage, "queue.messages.one", of(1).leases(1).align(128));
messages!(
    Sizes,
    "queue.messages.sizes",
    of(8).blocks(0, 3).blocks(20, 4).blocks(48, 3).blocks(200, 2)
);
messages!(Overwriting, "queue.messages.overwriting", of(4).when_full(WhenFull::Overwrite));
messages!(Joinable, "queue.messages.joinable", of(4).joinable());
messages!(Following, "queue.messages.following", of(3).follow_producers(2).joinable());
