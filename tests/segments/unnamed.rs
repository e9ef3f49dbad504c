//! Objects without a name: as long as anybody has them, their space is nobody else's; then it is.

use crate::common::{Test, until};
use crate::probe::{Count, LONG, Random, for_ever, in_child, is, join, kill, spawn};
use crate::tests;
use mpshm::{Array, ErrorKind, Mutex, Queue, QueueOptions, Segment};
use std::time::{Duration, Instant};

pub const TESTS: &[Test] = tests![
    b19_a_million_locks_and_queues_leave_nothing: 120,
    making_and_dropping_one_takes_no_system_call,
    one_cannot_be_opened_and_is_not_listed,
    a_forked_child_has_it_and_keeps_it_when_its_maker_drops_it,
    a_forked_child_keeps_it_when_its_maker_is_killed,
    what_a_child_drops_stays_its_makers,
    without_a_descriptor_to_be_had_a_child_keeps_it_too,
    all_of_several_handles_must_go,
    a_killed_makers_objects_are_gone_with_it,
    under_threads_that_make_and_forks_that_inherit_nothing_overlaps: 60,
];

const MOST: usize = 39_000;

fn small() -> Segment {
    Segment::options().objects(4).anonymous(40_000).unwrap()
}

/// Nothing is left: one object can have all the room there is.
#[track_caller]
fn all_space_is_free(segment: &Segment) {
    let all = Array::<u8>::create(segment.unnamed(), MOST);
    let all = all.unwrap_or_else(|error| panic!("{error}"));
    assert!(all.iter().all(|byte| byte == 0));
}

#[track_caller]
fn space_is_taken(segment: &Segment) {
    is(Array::<u8>::create(segment.unnamed(), MOST), ErrorKind::NoSpace, &["in one piece"]);
}

/// Numbers that take a good part of the segment, the first one a 5.
fn five(segment: &Segment) -> Array<u64> {
    let array = Array::create(segment.unnamed(), 500).unwrap();
    array.store(0, 5).unwrap();
    array
}

fn maps() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

fn b19_a_million_locks_and_queues_leave_nothing() {
    let times = if crate::options::quick() { 50_000 } else { 1_000_000 };
    let segment = small();
    all_space_is_free(&segment); // takes part in the segment
    in_child(|| {}); // and forks are watched
    let before = (crate::common::descriptors(), maps());
    let begin = Instant::now();
    for round in 0..times {
        let lock = Mutex::create(segment.unnamed(), round).unwrap();
        assert_eq!(lock.lock().unwrap().get(), round);
    }
    let locks = begin.elapsed();
    for round in 0..times {
        let queue = Queue::<u64>::create(segment.unnamed(), &QueueOptions::new(2)).unwrap();
        queue.try_push(round).unwrap();
        assert_eq!(queue.try_pop(), Ok(round));
    }
    let queues = begin.elapsed() - locks;
    all_space_is_free(&segment);
    assert_eq!((crate::common::descriptors(), maps()), before);
    for _ in 0..times / 100 {
        drop(Mutex::new(1_u64).unwrap());
    }
    assert_eq!((crate::common::descriptors(), maps()), before);
    let each = |time: Duration| time.as_nanos() / u128::from(times);
    println!("    each of {times}: lock {} ns, queue {} ns", each(locks), each(queues));
}

fn making_and_dropping_one_takes_no_system_call() {
    let segment = small();
    let none = crate::probe::without_system_calls(
        || {
            for _ in 0..100 {
                drop(Mutex::create(segment.unnamed(), 1_u64).unwrap());
            }
        },
        || drop(Mutex::create(segment.unnamed(), 1_u64).unwrap()),
    );
    assert!(none);
}

fn one_cannot_be_opened_and_is_not_listed() {
    let segment = small();
    let lock = Mutex::create(segment.unnamed(), 1_u64).unwrap();
    assert_eq!(segment.objects().unwrap(), []);
    is(Mutex::<u64>::open(segment.unnamed()), ErrorKind::Invalid, &["without a name"]);
    is(Mutex::open_or_create(segment.unnamed(), 2_u64), ErrorKind::Invalid, &["without a name"]);
    drop(lock);
    all_space_is_free(&segment);
}

fn a_forked_child_has_it_and_keeps_it_when_its_maker_drops_it() {
    let segment = small();
    let value = five(&segment);
    let (seen, end) = (Count::new(), Count::new());
    let child = spawn(|| {
        value.fetch_add(0, 1).unwrap();
        seen.add(1);
        until("it may end", LONG, || end.get() == 1);
        assert_eq!(value.load(0).unwrap(), 16);
    });
    until("the child has it", LONG, || seen.get() == 1);
    assert_eq!(value.fetch_add(0, 10).unwrap(), 6);
    drop(value);
    space_is_taken(&segment);
    drop(Array::<u8>::create(segment.unnamed(), 30_000).unwrap());
    end.add(1);
    join(&child);
    all_space_is_free(&segment);
}

fn a_forked_child_keeps_it_when_its_maker_is_killed() {
    let segment = small();
    let (seen, end) = (Count::new(), Count::new());
    let maker = spawn(|| {
        let value = five(&segment);
        // One that outlives its parent.
        let _child = mpshm::Process::spawn(|| {
            seen.add(1);
            until("it may end", LONG, || end.get() == 1);
            seen.add(u64::from(value.load(0) == Ok(5)));
            0
        });
        for_ever();
    });
    until("the child has it", LONG, || seen.get() == 1);
    kill(&maker);
    mpshm::recover(&segment).unwrap();
    space_is_taken(&segment);
    end.add(1);
    until("the child has looked", LONG, || seen.get() == 2);
    crate::common::reap_all_children(); // the tests are its parent now
    all_space_is_free(&segment);
}

fn what_a_child_drops_stays_its_makers() {
    let segment = small();
    let value = five(&segment);
    let mut held = Some(value);
    in_child(|| drop(held.take()));
    space_is_taken(&segment);
    assert_eq!(held.as_ref().unwrap().load(0).unwrap(), 5);
    drop(held);
    all_space_is_free(&segment);
}

fn all_of_several_handles_must_go() {
    let segment = small();
    let queue = Queue::<u64>::create(segment.unnamed(), &QueueOptions::new(200)).unwrap();
    let other = queue.clone();
    drop(queue);
    space_is_taken(&segment);
    other.try_push(1).unwrap();
    drop(other);
    all_space_is_free(&segment);
}

fn a_killed_makers_objects_are_gone_with_it() {
    let segment = small();
    let made = Count::new();
    let maker = spawn(|| {
        let _value = five(&segment);
        made.add(1);
        for_ever();
    });
    until("it is made", LONG, || made.get() == 1);
    space_is_taken(&segment);
    kill(&maker);
    all_space_is_free(&segment);
}

struct Raise<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

fn without_a_descriptor_to_be_had_a_child_keeps_it_too() {
    let segment = small();
    let array = five(&segment);
    let (seen, end) = (Count::new(), Count::new());
    let mut all = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        all.push(file);
    }
    // SAFETY: this test has one thread.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        seen.add(1);
        while end.get() == 0 {
            std::thread::yield_now();
        }
        // SAFETY: ends the child.
        unsafe { libc::_exit(i32::from(array.load(0) != Ok(5))) };
    }
    drop((all, array));
    until("the child has it", LONG, || seen.get() == 1);
    space_is_taken(&segment);
    end.add(1);
    let mut status = 0;
    // SAFETY: our own child.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(status, 0);
}

/// Threads make, fill and drop, while children that have been forked meanwhile fill what they have inherited.
fn under_threads_that_make_and_forks_that_inherit_nothing_overlaps() {
    let forks = if crate::options::quick() { 60 } else { 400 };
    let segment = Segment::options().objects(40).participants(16).anonymous(100_000).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let made = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for seed in 1..=3 {
            let (segment, stop, made) = (&segment, &stop, &made);
            scope.spawn(move || {
                let mut random = Random::new(seed);
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let length = 10 + random.below(300) as usize;
                    let Ok(array) = Array::<u64>::create(segment.unnamed(), length) else {
                        random.pause(100); // children have it all
                        continue;
                    };
                    let mark = seed << 32 | random.below(1 << 30);
                    array.fill(0..length, mark).unwrap();
                    random.pause(20);
                    assert!(array.iter().all(|word| word == mark), "two objects overlap");
                    made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            });
        }
        // Also when an assertion fails below.
        let _end = Raise(&stop);
        let mut random = Random::new(9);
        let mut children = Vec::new();
        for round in 0..forks {
            let Ok(array) = Array::<u64>::create(segment.unnamed(), 200) else {
                children.drain(..).for_each(|child| join(&child));
                continue;
            };
            array.fill(0..200, round).unwrap();
            // Nothing but the array is used there: the threads' locks are not.
            children.push(spawn(|| {
                for _ in 0..50 {
                    assert!(array.iter().all(|word| word == round), "two objects overlap");
                    std::thread::yield_now();
                }
            }));
            drop(array);
            if children.len() > random.below(6) as usize {
                join(&children.remove(0));
            }
        }
        children.iter().for_each(join);
    });
    let all = Array::<u8>::create(segment.unnamed(), 99_000).unwrap();
    assert!(all.iter().all(|byte| byte == 0));
    let made = made.into_inner();
    assert!(made > forks, "{made}");
    println!("    {made} made, {forks} forks");
}
