//! Making, opening, removing; options that are none; bytes that are damaged.

use crate::probe::{Count, LONG, in_child, is, join, spawn};
use crate::view::View;
use mpshm::{
    Array, ErrorKind, PopError, PushError, Queue, QueueOptions, Ring, RingOptions, Segment, Value,
    WhenFull,
};
use std::os::fd::AsFd;

pub fn a_ring_is_opened_by_name_by_descriptor_and_beside_other_objects() {
    let name = crate::common::unique("ring");
    let options = RingOptions::new(5);
    let ring = Ring::<u64>::create(&name, &options).unwrap();
    is(Ring::<u64>::create(&name, &options), ErrorKind::Exists, &[&name]);
    in_child(|| {
        let ring = Ring::<u64>::open(&name).unwrap();
        assert_eq!(ring.capacity(), 5);
        ring.producer().push_many(&[1, 2]).unwrap();
        let same = Ring::<u64>::open_or_create(&name, &RingOptions::new(9)).unwrap();
        same.producer().push(3).unwrap();
    });
    // A second mapping in the same process: the role is the process's all the same.
    let twin = Ring::<u64>::open(&name).unwrap();
    let mut consumer = twin.consumer();
    assert_eq!(consumer.pop(), Ok(1));
    is(ring.consumer().pop(), ErrorKind::Busy, &["consumer", &std::process::id().to_string()]);
    drop(consumer);
    assert_eq!(ring.consumer().try_pop_many(9), Ok(vec![2, 3]));
    Segment::unlink(&name).unwrap();
    is(Ring::<u64>::open(&name), ErrorKind::NotFound, &[&name]);

    let segment = Segment::anonymous(1 << 20).unwrap();
    let value = Value::create(segment.at("value"), 1u64).unwrap();
    let items = Ring::<[u16; 3]>::create(segment.at("items"), &options).unwrap();
    let messages = Ring::<[u8]>::create(segment.at("messages"), &RingOptions::new(100)).unwrap();
    let queue = Queue::<u64>::create(segment.at("queue"), &QueueOptions::new(3)).unwrap();
    let copy = segment.as_fd().try_clone_to_owned().unwrap();
    in_child(|| {
        let attached = Segment::attach_fd(copy).unwrap();
        let items = Ring::<[u16; 3]>::open(attached.at("items")).unwrap();
        let messages = Ring::<[u8]>::open(attached.at("messages")).unwrap();
        let (mut producer, mut sender) = (items.producer(), messages.producer());
        for n in 0..3 {
            producer.push([n; 3]).unwrap();
            sender.push(&[n as u8; 9]).unwrap();
        }
        queue.push(4).unwrap();
        value.store(2);
    });
    for n in 0..3 {
        assert_eq!(items.consumer().pop(), Ok([n; 3]));
        assert_eq!(messages.consumer().pop(), Ok(vec![n as u8; 9]));
    }
    assert_eq!((queue.pop(), value.load()), (Ok(4), 2));
    mpshm::recover(&segment).unwrap();
}

pub fn opening_as_another_type_names_both() {
    let segment = Segment::anonymous(1 << 20).unwrap();
    let options = RingOptions::new(4);
    let numbers = Ring::<u64>::create(segment.at("n"), &options).unwrap();
    let _messages = Ring::<[u8]>::create(segment.at("m"), &options).unwrap();
    let tagged = Ring::<[u32; 4]>::create(segment.at("t"), &options.clone().tag(1000)).unwrap();
    let _queue = Queue::<u64>::create(segment.at("q"), &QueueOptions::new(4)).unwrap();
    is(Ring::<i64>::open(segment.at("n")), ErrorKind::Type, &["'n'", "i64", "u64"]);
    is(Ring::<u32>::open(segment.at("n")), ErrorKind::Type, &["'n'", "4 bytes", "8 bytes"]);
    is(Ring::<[u8]>::open(segment.at("n")), ErrorKind::Type, &["'n'"]);
    is(Ring::<u64>::open(segment.at("m")), ErrorKind::Type, &["'m'"]);
    is(Ring::<[u8; 1]>::open(segment.at("m")), ErrorKind::Type, &["'m'"]);
    is(Ring::<[u32; 4]>::open(segment.at("t")), ErrorKind::Type, &["'t'", "1000"]);
    is(Ring::<u64>::open(segment.at("q")), ErrorKind::Type, &["Ring", "Queue"]);
    is(Queue::<u64>::open(segment.at("n")), ErrorKind::Type, &["Ring", "Queue"]);
    is(Array::<u64>::open(segment.at("n")), ErrorKind::Type, &["Ring", "Array"]);
    is(Ring::<u64>::open(segment.at("x")), ErrorKind::NotFound, &["'x'"]);
    is(Ring::<u64>::create(segment.at("n"), &options), ErrorKind::Exists, &["'n'"]);
    tagged.producer().push([3; 4]).unwrap();
    let same = Ring::<[u32; 4]>::open_or_create(segment.at("t"), &options.clone().tag(1000));
    assert_eq!(same.unwrap().consumer().pop(), Ok([3; 4]));
    let other = Ring::<[u32; 4]>::open_or_create(segment.at("t"), &options.tag(1001));
    is(other, ErrorKind::Type, &["1000", "1001"]);
    assert!(numbers.is_empty());
}

pub fn a_ring_that_is_removed_works_on_and_makes_room_when_it_is_closed() {
    let options = RingOptions::new(1000);
    let size = Ring::<u64>::size_for(&options).unwrap();
    let segment = Segment::options().objects(4).anonymous(size).unwrap();
    for round in 0..30 {
        let ring = Ring::<u64>::create(segment.at("ring"), &options).unwrap();
        assert!(ring.is_empty() && !ring.is_closed(), "it begins anew: round {round}");
        assert_eq!(ring.counters(), mpshm::Counters::default());
        let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
        producer.push(round).unwrap();
        segment.remove("ring").unwrap();
        is(Ring::<u64>::open(segment.at("ring")), ErrorKind::NotFound, &["'ring'"]);
        producer.push(round + 1).unwrap();
        assert_eq!(consumer.try_pop_many(9), Ok(vec![round, round + 1]));
        is(
            Ring::<u64>::create(segment.at("ring"), &options).map(drop),
            ErrorKind::NoSpace,
            &["'ring'"],
        );
        // Each of the three has it open.
        drop(ring);
        drop(producer);
        is(
            Ring::<u64>::create(segment.at("ring"), &options).map(drop),
            ErrorKind::NoSpace,
            &["'ring'"],
        );
        drop(consumer);
    }
}

pub fn open_or_create_by_several_at_once_makes_one_ring() {
    let name = crate::common::unique("race");
    for round in 0..20 {
        let go = Count::new();
        let children: Vec<_> = (0..3)
            .map(|_| {
                spawn(|| {
                    while go.get() == 0 {
                        std::hint::spin_loop();
                    }
                    let options = RingOptions::new(100);
                    let ring = Ring::<u64>::open_or_create(&name, &options).unwrap();
                    // They are producers one after another.
                    crate::common::until("the role is free", LONG, || {
                        ring.producer().try_push(1).is_ok()
                    });
                })
            })
            .collect();
        go.add(1);
        children.iter().for_each(join);
        assert_eq!(Ring::<u64>::open(&name).unwrap().len(), 3, "round {round}: all met in one");
        Segment::unlink(&name).unwrap();
    }
}

pub fn bad_options_are_errors_and_leave_nothing() {
    let before = crate::common::descriptors();
    for capacity in [0, (1 << 37) + 1, 1 << 63, u64::MAX] {
        let words = ["capacity", "137438953472", &capacity.to_string()];
        is(Ring::<u64>::new(capacity), ErrorKind::Invalid, &words);
        is(Ring::<u64>::size_for(&RingOptions::new(capacity)), ErrorKind::Invalid, &words);
        let overwrites = RingOptions::new(capacity).when_full(WhenFull::Overwrite);
        is(Ring::<u64>::with_options(&overwrites), ErrorKind::Invalid, &words);
    }
    for capacity in [0, (1 << 40) + 1, u64::MAX - 7, u64::MAX] {
        let words = ["capacity", "1099511627776", "bytes of messages", &capacity.to_string()];
        is(Ring::<[u8]>::new(capacity), ErrorKind::Invalid, &words);
        let overwrites = RingOptions::new(capacity).when_full(WhenFull::Overwrite);
        is(Ring::<[u8]>::with_options(&overwrites), ErrorKind::Invalid, &words);
    }
    is(Ring::<[u64; 0]>::new(4), ErrorKind::Invalid, &["0 bytes"]);
    is(Ring::<()>::open("no-such-ring"), ErrorKind::Invalid, &["0 bytes"]);
    is(Ring::<u8>::new(1 << 40), ErrorKind::NoSpace, &["no space"]);
    is(Ring::<[u8]>::new(1 << 40), ErrorKind::NoSpace, &["no space"]);
    let options = RingOptions::new(1000);
    let size = Ring::<u64>::size_for(&options).unwrap();
    let segment = Segment::anonymous(size - 1024).unwrap();
    is(Ring::<u64>::create(segment.at("r"), &options), ErrorKind::NoSpace, &["'r'"]);
    assert_eq!(segment.objects().unwrap(), [], "nothing is left");
    let exact = Segment::options().objects(1).anonymous(size).unwrap();
    Ring::<u64>::create(exact.at("r"), &options).unwrap().producer().push(1).unwrap();
    drop((segment, exact));
    assert_eq!(crate::common::descriptors(), before);
}

/// Where the parts of a ring's header begin.
mod at {
    pub const SIZE: usize = 8;
    pub const CAPACITY: usize = 16;
    pub const OFFSET: usize = 24;
    pub const PAGE: usize = 32;
    pub const TAIL: usize = 128;
    pub const HEAD: usize = 256;
    pub const CLAIMED: usize = 264;
    pub const END: usize = 392;
    pub const WRITER: usize = 512;
    pub const READER: usize = 520;
}

/// A segment with a ring of 1000 items of eight bytes, and where its header is.
fn damaged(options: &RingOptions) -> (Segment, Ring<u64>, View, usize) {
    let segment = Segment::anonymous(1 << 16).unwrap();
    let ring = Ring::<u64>::create(segment.at("ring"), options).unwrap();
    let view = View::of(&segment, segment.size() as usize);
    let plan = [8u32, 8].iter().flat_map(|word| word.to_ne_bytes());
    let plan: Vec<u8> = plan.chain(ring.capacity().to_ne_bytes()).collect();
    let header = view.find(&plan).expect("the plan") - at::SIZE;
    (segment, ring, view, header)
}

pub fn a_damaged_plan_is_not_opened() {
    let (segment, ring, view, header) = damaged(&RingOptions::new(1000));
    for (field, bits) in [
        (0, 1),
        (0, 1 << 40), // unknown policies
        (0, 3 << 32), // no such thing to do when full
        (at::SIZE, 1),
        (at::SIZE, 8),
        (at::SIZE, 1 << 33), // the alignment
        (at::CAPACITY, 1 << 20),
        (at::CAPACITY, 1 << 63),
        (at::CAPACITY, 1000), // none at all
        (at::OFFSET, 1),
        (at::OFFSET, 1 << 12),
        (at::OFFSET, 1 << 63),
        (at::PAGE, 1),
        (at::PAGE, 1 << 12), // none
        (at::PAGE, 1 << 35),
    ] {
        view.plant_word(header + field, |word| word ^ bits);
        let error = Ring::<u64>::open(segment.at("ring")).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{field} {bits:#x}: {error}");
        assert!(error.to_string().contains("plan"), "{error}");
        view.plant_word(header + field, |word| word ^ bits);
    }
    // Who has it open has the plan in private memory.
    view.plant_word(header + at::CAPACITY, |_| u64::MAX);
    ring.producer().push_many(&[1, 2]).unwrap();
    assert_eq!(ring.consumer().pop_many(9), Ok(vec![1, 2]));
}

pub fn damaged_cursors_are_errors() {
    let long = 3 << 40;
    for overwrites in [false, true] {
        let full = if overwrites { WhenFull::Overwrite } else { WhenFull::Wait };
        let options = RingOptions::new(1000).when_full(full);
        for (field, value) in [
            (at::TAIL, 8 * 5000),
            (at::TAIL, long),
            (at::TAIL, u64::MAX - 7),
            (at::HEAD, 8),
            (at::HEAD, long),
            (at::HEAD, u64::MAX),
            (at::TAIL, 3),
            (at::TAIL, 8 * 5 + 4),
        ] {
            let (_segment, ring, view, header) = damaged(&options);
            view.plant_word(header + field, |_| value);
            let pushed = ring.producer().try_push(1);
            let popped = ring.consumer().try_pop();
            let corrupt = |kind| kind == ErrorKind::Corrupt;
            let told = pushed.as_ref().is_err_and(|error| corrupt(error.kind()))
                || popped.as_ref().is_err_and(|error| corrupt(error.kind()));
            assert!(told, "{field} {value:#x} {overwrites}: {pushed:?} {popped:?}");
            let _ = (ring.len(), ring.is_full(), ring.counters(), ring.is_empty());
        }
    }
    // A claim's mark, the end, and the roles mean nothing bad wherever they point.
    for (field, value) in [
        (at::CLAIMED, 11),
        (at::CLAIMED, u64::MAX),
        (at::END, long),
        (at::END, u64::MAX),
        (at::WRITER, u64::MAX),
        (at::READER, 0x1234_5678_9abc),
    ] {
        let (_segment, ring, view, header) = damaged(&RingOptions::new(1000));
        ring.producer().push_many(&[1, 2, 3]).unwrap();
        view.plant_word(header + field, |_| value);
        let mut consumer = ring.consumer();
        if let Ok(claim) = consumer.try_claim(3) {
            assert!(claim.len() <= 3);
            claim.release();
        }
        let _ = ring.producer().try_push(4);
        let _ = (consumer.try_pop(), ring.len(), ring.counters());
    }
}

pub fn a_damaged_length_is_an_error() {
    for full in [WhenFull::Wait, WhenFull::Overwrite] {
        for length in [65, 1 << 20, u64::MAX - 7, u64::MAX] {
            let segment = Segment::anonymous(1 << 16).unwrap();
            let options = RingOptions::new(100).when_full(full);
            let ring = Ring::<[u8]>::create(segment.at("ring"), &options).unwrap();
            let view = View::of(&segment, segment.size() as usize);
            ring.producer().push(b"what was pushed, and what is beside it").unwrap();
            let at = view.find(b"what was pushed").unwrap();
            view.plant_word(at - 8, |_| length);
            let mut consumer = ring.consumer();
            is(consumer.try_pop(), ErrorKind::Corrupt, &["records"]);
            is(consumer.try_pop_into(&mut [0; 100]), ErrorKind::Corrupt, &["records"]);
            assert_eq!(ring.len(), 0, "a damaged ring reads as empty");
            if full == WhenFull::Overwrite && length < 100 {
                // As good a length as any to make room by.
                (0..3).for_each(|_| drop(ring.producer().try_push(&[0; 100])));
            } else if full == WhenFull::Overwrite {
                let pushed = (0..3).map(|_| ring.producer().try_push(&[0; 100]));
                assert!(pushed.into_iter().any(|pushed| {
                    matches!(pushed, Err(PushError::Failed((), error)) if error.kind() == ErrorKind::Corrupt)
                }));
            } else {
                is(consumer.try_claim().map(drop), ErrorKind::Corrupt, &["records"]);
                assert_eq!(ring.producer().try_push(&[0; 100]), Err(PushError::Full(())));
            }
        }
    }
    // Tail and head in the middle of a word.
    for field in [at::TAIL, at::HEAD] {
        for full in [WhenFull::Wait, WhenFull::Overwrite] {
            let segment = Segment::anonymous(1 << 16).unwrap();
            let options = RingOptions::new(12_345).when_full(full);
            let ring = Ring::<[u8]>::create(segment.at("ring"), &options).unwrap();
            let view = View::of(&segment, segment.size() as usize);
            let header = view.find(&12_345u64.to_ne_bytes()).unwrap() - at::CAPACITY;
            ring.producer().push_all(&["one", "two"]).unwrap();
            view.plant_word(header + field, |_| 5);
            let pushed = ring.producer().try_push(b"three");
            let popped = [(); 3].map(|()| ring.consumer().try_pop());
            let told = pushed.is_err_and(|error| error.kind() == ErrorKind::Corrupt)
                || popped.iter().any(|popped| {
                    matches!(popped, Err(PopError::Failed(error)) if error.kind() == ErrorKind::Corrupt)
                });
            assert!(told, "{field} {full:?}: {popped:?}");
            let _ = (ring.len(), ring.is_full());
        }
    }
}
