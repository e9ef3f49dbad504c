//! Rings: of items of several sizes and of messages, waiting, overwriting, following their ends.
//!
//! The ends are made anew for each mutation: they take their roles, and their cursors, from what the bytes say.

use crate::calls::Calls;
use crate::damage::Field;
use crate::layout::{Layout, u32_at, u64_at};
use crate::probe::Random;
use crate::queues::VICTIM;
use crate::world::Kind;
use mpshm::{
    Delivery, ErrorKind, Item, Pod, Ring, RingConsumer, RingOptions, RingProducer, Segment,
    WhenFull, Zeroable,
};
use std::marker::PhantomData;

/// One form of a ring.
pub trait Form: 'static {
    const NAME: &'static str;
    type Item: ?Sized + Item;

    fn options() -> RingOptions;

    fn push(producer: &mut RingProducer<Self::Item>) -> bool;
    fn pop(consumer: &mut RingConsumer<Self::Item>) -> bool;
    /// Claims, and forgets that it has.
    fn keep(consumer: &mut RingConsumer<Self::Item>);

    fn pushes(producer: &mut RingProducer<Self::Item>, calls: &mut Calls);
    fn pops(consumer: &mut RingConsumer<Self::Item>, calls: &mut Calls);
}

/// A kind for each form.
pub struct Rings<F>(PhantomData<F>);

impl<F: Form> Kind for Rings<F> {
    const NAME: &'static str = F::NAME;
    type Handle = Ring<F::Item>;
    const STATES: usize = 5;

    fn create(segment: &Segment) -> Ring<F::Item> {
        Ring::create(segment.at(VICTIM), &F::options()).expect("a ring")
    }

    fn open(segment: &Segment) -> Result<Ring<F::Item>, ErrorKind> {
        Ring::open(segment.at(VICTIM)).map_err(|error| error.kind())
    }

    fn prepare(ring: &Ring<F::Item>, peer: &Ring<F::Item>, state: usize) {
        let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
        match state {
            0 => assert!(F::push(&mut producer) && F::pop(&mut consumer), "a sound ring"),
            1 => while F::push(&mut producer) && ring.len() < 3 {},
            2 => {
                // More than once round, and full.
                for _ in 0..500 {
                    F::push(&mut producer);
                    F::pop(&mut consumer);
                }
                let before = ring.counters().overwritten;
                while F::push(&mut producer) && ring.counters().overwritten == before {}
            }
            // Handed out before; then the producer is somebody who lives.
            3 => F::keep(&mut consumer),
            _ => {
                drop(producer);
                let mut other = peer.producer();
                F::push(&mut other);
                std::mem::forget(other);
            }
        }
    }

    fn die(ring: &Ring<F::Item>) {
        let mut consumer = ring.consumer();
        F::keep(&mut consumer);
        std::mem::forget(consumer);
        let mut producer = ring.producer();
        F::push(&mut producer);
        std::mem::forget(producer);
    }

    fn fields(image: &[u8], layout: &Layout) -> Vec<Field> {
        let at = layout.objects[VICTIM].start;
        let bytes = at + u64_at(image, at + 24) as usize;
        assert_eq!(bytes % u64_at(image, at + 32) as usize, 0, "the records begin on a page");
        assert!(bytes < at + layout.lengths[VICTIM], "the records lie in the object");
        let mut fields = vec![
            Field::new("plan.form", at, 4),
            Field::new("plan.policies", at + 4, 4),
            Field::new("plan.size", at + 8, 4),
            Field::new("plan.align", at + 12, 4),
            Field::new("plan.capacity", at + 16, 8),
            Field::new("plan.offset", at + 24, 8),
            Field::new("plan.page", at + 32, 8),
            Field::new("tail", at + 128, 8),
            Field::new("head", at + 256, 8),
            Field::new("claimed", at + 264, 8),
            Field::new("times", at + 272, 8),
            Field::new("held", at + 280, 8),
            Field::new("items", at + 384, 4),
            Field::new("space", at + 388, 4),
            Field::new("end", at + 392, 8),
            Field::new("writer", at + 512, 8),
            Field::new("reader", at + 520, 8),
        ];
        let tallies = (0..5).map(|tally| Field::new("tally", at + 640 + 8 * tally, 8));
        fields.extend(tallies);
        // Items, or lengths of messages and the messages themselves, where there are some.
        let storage = layout.lengths[VICTIM] - (bytes - at);
        let records = (0..storage / 8).map(|word| Field::new("record", bytes + 8 * word, 8));
        fields.extend(records);
        fields
    }

    fn operate(ring: &Ring<F::Item>, calls: &mut Calls) {
        let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
        for step in calls.shuffled(4) {
            match step {
                0 => F::pushes(&mut producer, calls),
                1 => F::pops(&mut consumer, calls),
                2 => {
                    info(ring, calls);
                    let (items, room) = (ring.readable(), ring.writable(1));
                    calls.timed("select", |wait| mpshm::select(&[&items, &room], wait));
                    calls.timed("select_all", |wait| mpshm::select_all(&[&items, &room], wait));
                }
                _ => {
                    // Ends that come when others have the roles.
                    let (mut second, mut other) = (ring.producer(), ring.consumer());
                    F::pops(&mut other, calls);
                    F::pushes(&mut second, calls);
                }
            }
        }
        calls.info("RingProducer::drop", || drop(producer));
        calls.info("RingConsumer::drop", || drop(consumer));
        if calls.random.below(2) == 0 {
            calls.call("Ring::close", || ring.close());
            F::pushes(&mut ring.producer(), calls);
            F::pops(&mut ring.consumer(), calls);
            info(ring, calls);
        }
    }

    fn forge(random: &mut Random, image: &[u8], layout: &Layout) -> Option<Vec<(Field, u64)>> {
        let at = layout.objects[VICTIM].start;
        let tail = u64_at(image, at + 128);
        let size = u64::from(u32_at(image, at + 8)).max(8);
        // Cursors that agree with each other, at places and distances of which no record begins.
        let far = random.below(1 << 20) * size;
        let used = random.below(200);
        Some(vec![
            (Field::new("tail", at + 128, 8), tail.wrapping_add(far).wrapping_add(used)),
            (Field::new("head", at + 256, 8), tail.wrapping_add(far)),
            (Field::new("claimed", at + 264, 8), tail.wrapping_add(far + random.below(300))),
        ])
    }
}

fn info<T: ?Sized + Item>(ring: &Ring<T>, calls: &mut Calls) {
    calls.info("Ring::len", || ring.len());
    calls.info("Ring::is_empty", || ring.is_empty());
    calls.info("Ring::is_full", || ring.is_full());
    calls.info("Ring::capacity", || ring.capacity());
    calls.info("Ring::counters", || ring.counters());
    calls.info("Ring::is_closed", || ring.is_closed());
    calls.info("Ring::fmt", || format!("{ring:?}"));
    calls.info("Ring::clone", || drop(ring.clone()));
}

/// A form whose items are of the plain type `$item`.
macro_rules! items {
    ($form:ident, $name:literal, $item:ty, $options:expr) => {
        pub struct $form;

        impl Form for $form {
            const NAME: &'static str = $name;
            type Item = $item;

            fn options() -> RingOptions {
                $options
            }

            fn push(producer: &mut RingProducer<$item>) -> bool {
                producer.try_push(<$item>::zeroed()).is_ok()
            }

            fn pop(consumer: &mut RingConsumer<$item>) -> bool {
                consumer.try_pop().is_ok()
            }

            fn keep(consumer: &mut RingConsumer<$item>) {
                std::mem::forget(consumer.try_claim(2));
            }

            fn pushes(producer: &mut RingProducer<$item>, calls: &mut Calls) {
                push_items(producer, calls);
            }

            fn pops(consumer: &mut RingConsumer<$item>, calls: &mut Calls) {
                pop_items(consumer, calls);
            }
        }
    };
}

fn push_items<T: Pod>(producer: &mut RingProducer<T>, calls: &mut Calls) {
    let item = T::zeroed();
    calls.call("RingProducer::try_push", || producer.try_push(item));
    calls.timed("RingProducer::push_timeout", |wait| producer.push_timeout(item, wait));
    calls.call("RingProducer::try_push_many", || producer.try_push_many(&[item; 3]));
    calls.call("RingProducer::try_push_all", || producer.try_push_all(&[item; 2]));
    calls.timed("RingProducer::push_many_timeout", |wait| {
        producer.push_many_timeout(&[item; 9], wait)
    });
    if let Some(mut room) = calls.call("RingProducer::try_reserve", || producer.try_reserve(2)) {
        calls.call("RingReservation::write", || room.write(1, item));
        calls.call("RingReservation::commit", || room.commit(2).map_err(|error| error.kind()));
    }
}

fn pop_items<T: Pod>(consumer: &mut RingConsumer<T>, calls: &mut Calls) {
    if let Some(claim) = calls.call("RingConsumer::try_claim", || consumer.try_claim(3)) {
        calls.info("RingClaim::deliveries", || claim.deliveries());
        let all = calls.info("RingClaim::to_vec", || claim.to_vec());
        assert!(all.len() == claim.len() && all.len() <= 3);
        calls.call("RingClaim::read", || claim.read(claim.len() - 1));
        calls.call("RingClaim::release_first", || claim.release_first(1));
    }
    calls.call("RingConsumer::try_pop", || consumer.try_pop());
    calls.timed("RingConsumer::pop_timeout", |wait| consumer.pop_timeout(wait));
    calls.call("RingConsumer::try_pop_many", || consumer.try_pop_many(usize::MAX));
    calls.timed("RingConsumer::pop_many_timeout", |wait| consumer.pop_many_timeout(2, wait));
}

/// A form whose items are messages.
macro_rules! messages {
    ($form:ident, $name:literal, $options:expr) => {
        pub struct $form;

        impl Form for $form {
            const NAME: &'static str = $name;
            type Item = [u8];

            fn options() -> RingOptions {
                $options
            }

            fn push(producer: &mut RingProducer<[u8]>) -> bool {
                producer.try_push(&[1; 19]).is_ok()
            }

            fn pop(consumer: &mut RingConsumer<[u8]>) -> bool {
                consumer.try_pop().is_ok()
            }

            fn keep(consumer: &mut RingConsumer<[u8]>) {
                std::mem::forget(consumer.try_claim());
            }

            fn pushes(producer: &mut RingProducer<[u8]>, calls: &mut Calls) {
                push_messages(producer, calls);
            }

            fn pops(consumer: &mut RingConsumer<[u8]>, calls: &mut Calls) {
                pop_messages(consumer, calls);
            }
        }
    };
}

fn push_messages(producer: &mut RingProducer<[u8]>, calls: &mut Calls) {
    let long = [3; 200];
    calls.call("RingProducer::try_push", || producer.try_push(&long[..21]));
    calls.timed("RingProducer::push_timeout", |wait| producer.push_timeout(&long, wait));
    calls
        .call("RingProducer::try_push_many", || producer.try_push_many(&[&b""[..], b"one", &long]));
    calls.call("RingProducer::try_push_all", || producer.try_push_all(&["one", "two"]));
    if let Some(mut room) = calls.call("RingProducer::try_reserve", || producer.try_reserve(30)) {
        calls.call("RingReservation::write_at", || room.write_at(20, &[9; 10]));
        calls.call("RingReservation::commit", || room.commit(25).map_err(|error| error.kind()));
    }
}

fn pop_messages(consumer: &mut RingConsumer<[u8]>, calls: &mut Calls) {
    if let Some(claim) = calls.call("RingConsumer::try_claim", || consumer.try_claim()) {
        calls.info("RingClaim::deliveries", || claim.deliveries());
        let all = calls.info("RingClaim::to_vec", || claim.to_vec());
        assert_eq!(all.len(), claim.len());
        calls.info("RingClaim::give_back", || claim.give_back());
    }
    calls.call("RingConsumer::try_pop", || consumer.try_pop());
    calls.call("RingConsumer::try_pop_into", || consumer.try_pop_into(&mut [0; 24]));
    calls.timed("RingConsumer::pop_timeout", |wait| consumer.pop_timeout(wait));
    calls.call("RingConsumer::try_pop_many", || consumer.try_pop_many(3));
}

fn of(capacity: u64) -> RingOptions {
    RingOptions::new(capacity)
}

items!(Words, "ring.words", u64, of(5));
items!(Odd, "ring.odd", [u8; 13], of(7).when_full(WhenFull::Fail));
items!(Dropping, "ring.dropping", [u64; 5], of(6).delivery(Delivery::AtMostOnce));
items!(ItemsOverwriting, "ring.overwriting", [u32; 3], of(4).when_full(WhenFull::Overwrite));
items!(Following, "ring.following", u16, of(9).follow_ends());
messages!(Messages, "ring.messages", of(300));
messages!(MessagesOverwriting, "ring.messages.overwriting", of(300).when_full(WhenFull::Overwrite));
messages!(MessagesFollowing, "ring.messages.following", of(250).follow_ends());
