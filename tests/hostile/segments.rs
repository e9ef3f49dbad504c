//! The segment itself: its header, its participants, its directory, under objects of every kind.

use crate::calls::Calls;
use crate::damage::Field;
use crate::layout::{self, CANARIES, Layout};
use crate::locks::{held, used};
use crate::queues::{Ends, Messages, Queues, VICTIM};
use crate::world::Kind;
use mpshm::{Array, ErrorKind, Mutex, Place, Queue, QueueOptions, Segment, Value};
use std::marker::PhantomData;
use std::time::Duration;

/// A part of the segment.
pub trait Part: 'static {
    const NAME: &'static str;
    const ELSEWHERE: bool;
    fn fields(layout: &Layout) -> Vec<Field>;
}

pub struct Header;

impl Part for Header {
    const NAME: &'static str = "segment.header";
    const ELSEWHERE: bool = false;

    fn fields(_layout: &Layout) -> Vec<Field> {
        layout::header()
    }
}

pub struct Participants;

impl Part for Participants {
    const NAME: &'static str = "segment.participants";
    const ELSEWHERE: bool = false;

    fn fields(layout: &Layout) -> Vec<Field> {
        layout::participants(layout)
    }
}

/// A damaged entry may say that an object lies where another one does, or that nothing lies there: who opens an object
/// or makes one then is sent there by the damage itself, and what it writes there is no fault of its own. So only the
/// guards, the header and what handles do that were opened before are looked at.
pub struct Directory;

impl Part for Directory {
    const NAME: &'static str = "segment.directory";
    const ELSEWHERE: bool = true;

    fn fields(layout: &Layout) -> Vec<Field> {
        layout::directory(layout)
    }
}

/// One of each.
pub struct Objects {
    messages: Ends<Messages>,
    slots: Queue<u64>,
    mutex: Mutex<[u64; 4]>,
    value: Value<i64>,
    array: Array<u32>,
}

pub struct Segments<P>(PhantomData<P>);

impl<P: Part> Kind for Segments<P> {
    const NAME: &'static str = P::NAME;
    type Handle = Objects;
    const STATES: usize = 4;
    const SLACK: usize = 30;
    const ELSEWHERE: bool = P::ELSEWHERE;

    fn create(segment: &Segment) -> Objects {
        let slots = QueueOptions::new(4);
        Objects {
            messages: Queues::<Messages>::create(segment),
            slots: Queue::create(segment.at("slots"), &slots).expect("a queue"),
            mutex: Mutex::create(segment.at("mutex"), [5; 4]).expect("a mutex"),
            value: Value::create(segment.at("value"), 5).expect("a value"),
            array: Array::create(segment.at("array"), 20).expect("an array"),
        }
    }

    fn open(segment: &Segment) -> Result<Objects, ErrorKind> {
        let kind = |error: mpshm::Error| error.kind();
        Ok(Objects {
            messages: Queues::<Messages>::open(segment)?,
            slots: Queue::open(segment.at("slots")).map_err(kind)?,
            mutex: Mutex::open(segment.at("mutex")).map_err(kind)?,
            value: Value::open(segment.at("value")).map_err(kind)?,
            array: Array::open(segment.at("array")).map_err(kind)?,
        })
    }

    fn prepare(all: &Objects, peer: &Objects, state: usize) {
        // Not closed: the last of its states is left out.
        Queues::<Messages>::prepare(&all.messages, &peer.messages, state);
        match state {
            0 => drop((all.mutex.lock(), all.value.lock())),
            2 => all.slots.push_many(&[1, 2, 3]).expect("room"),
            _ => {}
        }
    }

    fn die(all: &Objects) {
        Queues::<Messages>::die(&all.messages);
        held(all.mutex.try_lock());
    }

    fn fields(_image: &[u8], layout: &Layout) -> Vec<Field> {
        P::fields(layout)
    }

    fn operate(all: &Objects, calls: &mut Calls) {
        Queues::<Messages>::operate(&all.messages, calls);
        calls.call("Queue::try_push", || all.slots.try_push(1));
        calls.timed("Queue::pop_timeout", |wait| all.slots.pop_timeout(wait));
        calls.info("Queue::len", || all.slots.len());
        calls.timed("Mutex::lock_timeout", |wait| used(all.mutex.lock_timeout(wait)));
        calls.timed("Value::lock_timeout", |wait| used(all.value.lock_timeout(wait)));
        calls.info("Value::fetch_add", || all.value.fetch_add(1));
        calls.info("Array::to_vec", || all.array.to_vec());
    }

    fn manage(segment: &Segment, calls: &mut Calls) {
        calls.info("Segment::fmt", || format!("{segment:?} {} {}", segment.size(), segment.id()));
        calls.call("Segment::participants", || segment.participants());
        calls.info("Segment::participants_max", || segment.participants_max());
        let objects = calls.call("Segment::objects", || segment.objects()).unwrap_or_default();
        for object in &objects {
            let is_damaged = !CANARIES.contains(&object.name.as_str());
            if is_damaged && calls.random.below(4) == 0 {
                open_as_all(segment.at(&object.name));
            }
        }
        let new = |name| Array::<u64>::create(segment.at(name), 30);
        let array = calls.call("Array::create", || new("new"));
        calls.info("Array::fill", || array.as_ref().map(|array| array.fill(0..30, 1)));
        calls.call("Value::create", || Value::create(segment.at("small"), 1u8).map(drop));
        calls.call("Segment::remove", || segment.remove("small"));
        calls.call("Segment::remove", || segment.remove("new"));
        calls.call("mpshm::recover", || mpshm::recover(segment));
        calls.info("Array::drop", || drop(array));
        calls.call("Array::open_or_create", || {
            Array::<u64>::open_or_create(segment.at("other"), 40).map(drop)
        });
        if calls.random.below(4) == 0 {
            for name in [VICTIM, "slots", "value"] {
                calls.call("Segment::remove", || segment.remove(name));
            }
            calls.call("mpshm::recover", || mpshm::recover(segment));
            calls.info("Array::create", || new("last").map_or(Vec::new(), |array| array.to_vec()));
        }
    }
}

/// As whatever it may be; the answer does not matter.
fn open_as_all(place: Place<'_>) {
    let soon = Duration::from_micros(100);
    if let Ok(queue) = Queue::<[u8]>::open(place) {
        let _ = (queue.try_push(b"x"), queue.pop_timeout(soon));
    }
    if let Ok(queue) = Queue::<u64>::open(place) {
        let _ = (queue.try_push(1), queue.pop_timeout(soon));
    }
    if let Ok(mutex) = Mutex::<[u64; 4]>::open(place) {
        let _ = mutex.lock_timeout(soon).map(|mut guard| guard.set([1; 4]));
    }
    if let Ok(value) = Value::<i64>::open(place) {
        value.fetch_add(1);
    }
    if let Ok(array) = Array::<u32>::open(place) {
        let _ = array.fill(0..array.len(), 7);
    }
    if let Ok(array) = Array::<u8>::open(place) {
        let _ = array.fill(0..array.len(), 7);
    }
}
