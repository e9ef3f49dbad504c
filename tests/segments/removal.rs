//! Objects are removed while others use them, and their space is used again: never too early, never lost,
//! whoever is killed or stopped at whatever instruction.

use crate::common::{Test, until};
use crate::probe::{Count, LONG, Random, for_ever, go_on, in_child, is, join, kill, spawn, stop};
use crate::tests;
use mpshm::{Array, ErrorKind, Process, Queue, Segment, Value};
use std::time::{Duration, Instant};

pub const TESTS: &[Test] = tests![
    a_removed_object_has_no_name_and_keeps_its_users,
    bad_names_are_errors,
    a_removed_queue_goes_on_for_those_who_have_it_open,
    space_comes_back_in_one_piece_when_the_last_handle_closes,
    a_forked_child_that_closed_every_descriptor_keeps_the_space,
    a_stopped_opener_keeps_the_space_and_a_killed_one_does_not,
    ten_thousand_objects_fit_where_one_does: 60,
    under_kills_nothing_overlaps_and_all_space_returns: 120,
];

fn small() -> Segment {
    Segment::options().objects(4).anonymous(40_000).unwrap()
}

/// Nothing is left: one object can have all the room there is.
#[track_caller]
fn all_space_is_free(segment: &Segment) {
    let all = Array::<u8>::create(segment.at("all"), 39_000);
    all.unwrap_or_else(|error| panic!("{error}"));
    segment.remove("all").unwrap();
}

fn a_removed_object_has_no_name_and_keeps_its_users() {
    let segment = small();
    let old = Value::create(segment.at("x"), 1u64).unwrap();
    segment.remove("x").unwrap();
    is(segment.remove("x"), ErrorKind::NotFound, &["'x'"]);
    is(Value::<u64>::open(segment.at("x")), ErrorKind::NotFound, &["'x'"]);
    assert_eq!(segment.objects().unwrap(), []);
    let new = Value::create(segment.at("x"), 2u64).unwrap();
    in_child(|| {
        old.fetch_add(10);
        assert_eq!(Value::<u64>::open(segment.at("x")).unwrap().fetch_add(20), 2);
    });
    assert_eq!((old.load(), new.load()), (11, 22));
    is(Value::create(segment.at("x"), 1u64), ErrorKind::Exists, &["'x'"]);
}

fn bad_names_are_errors() {
    let segment = small();
    let long = "n".repeat(57);
    for (name, word) in [("", "empty"), (&*long, "too long"), ("a\0", "NUL")] {
        is(segment.remove(name), ErrorKind::Invalid, &[word, "1 to 56 bytes"]);
    }
    is(segment.remove("missing"), ErrorKind::NotFound, &["'missing'"]);
    // The only object of a segment of its own has no name to be removed by.
    let value = Value::new(1u8).unwrap();
    is(value.segment().remove(""), ErrorKind::Invalid, &["empty"]);
}

fn a_removed_queue_goes_on_for_those_who_have_it_open() {
    let segment = Segment::anonymous(1 << 20).unwrap();
    let options = mpshm::QueueOptions::new(4);
    let queue = Queue::<u64>::create(segment.at("q"), &options).unwrap();
    let child = spawn(|| assert_eq!(queue.pop_timeout(LONG).unwrap(), 7));
    segment.remove("q").unwrap();
    queue.push(7).unwrap();
    join(&child);
    mpshm::recover(&segment).unwrap();
    queue.push(8).unwrap();
    assert_eq!(queue.pop().unwrap(), 8);
}

fn space_comes_back_in_one_piece_when_the_last_handle_closes() {
    let segment = small();
    let make = |name: &str| Array::<u8>::create(segment.at(name), 9_000).unwrap();
    let handles: Vec<_> = ["a", "b", "c", "d"].map(make).into_iter().collect();
    is(Array::<u8>::create(segment.at("e"), 1), ErrorKind::Limit, &["4 entries"]);
    // The two in the middle, neighbours.
    segment.remove("b").unwrap();
    segment.remove("c").unwrap();
    let large = || Array::<u8>::create(segment.at("large"), 18_000);
    is(large(), ErrorKind::Limit, &[]);
    let [a, b, c, d] = <[_; 4]>::try_from(handles).unwrap_or_else(|_| unreachable!());
    let twin = Array::<u8>::open(segment.at("a")).unwrap();
    drop(b);
    is(large(), ErrorKind::NoSpace, &["'large'", "18", "in one piece"]);
    drop(c);
    let large = large().unwrap();
    large.fill(0..18_000, 9).unwrap();
    assert!(a.iter().chain(d.iter()).all(|byte| byte == 0), "it overlaps");
    for name in ["a", "d", "large"] {
        segment.remove(name).unwrap();
    }
    drop((a, d, large));
    is(Array::<u8>::create(segment.at("all"), 39_000), ErrorKind::NoSpace, &[]);
    drop(twin);
    all_space_is_free(&segment);
}

fn a_forked_child_that_closed_every_descriptor_keeps_the_space() {
    let segment = small();
    let array = Array::<u8>::create(segment.at("x"), 30_000).unwrap();
    let (closed, end) = (Count::new(), Count::new());
    // Made without the library, and it never calls it but for the array.
    // SAFETY: this test has one thread.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: closes the child's descriptors.
        unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
        closed.add(1);
        while end.get() == 0 {
            let _ = array.fill(0..30_000, 5);
        }
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) };
    }
    until("it has closed all", LONG, || closed.get() == 1);
    segment.remove("x").unwrap();
    drop(array);
    is(Array::<u8>::create(segment.at("y"), 30_000), ErrorKind::NoSpace, &["'y'"]);
    end.add(1);
    // SAFETY: our own child.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    assert!(Array::<u8>::create(segment.at("y"), 30_000).unwrap().iter().all(|byte| byte == 0));
}

fn a_stopped_opener_keeps_the_space_and_a_killed_one_does_not() {
    let segment = small();
    drop(Array::<u8>::create(segment.at("x"), 30_000).unwrap());
    let opened = Count::new();
    let opener = spawn(|| {
        let _array = Array::<u8>::open(segment.at("x")).unwrap();
        opened.add(1);
        for_ever();
    });
    until("it is open", LONG, || opened.get() == 1);
    stop(&opener);
    segment.remove("x").unwrap();
    is(Array::<u8>::create(segment.at("y"), 30_000), ErrorKind::NoSpace, &["'y'"]);
    mpshm::recover(&segment).unwrap();
    is(Array::<u8>::create(segment.at("y"), 30_000), ErrorKind::NoSpace, &["'y'"]);
    go_on(&opener);
    kill(&opener);
    all_space_is_free(&segment);
}

fn ten_thousand_objects_fit_where_one_does() {
    let segment = small();
    all_space_is_free(&segment); // takes part in the segment
    let before = crate::common::descriptors();
    for round in 0..10_000usize {
        let array = Array::<u8>::create(segment.at("x"), 30_000).unwrap();
        assert_eq!(array.load(round % 30_000).unwrap(), 0);
        array.store(round % 30_000, 1).unwrap();
        if round % 2 == 0 {
            drop(array);
            segment.remove("x").unwrap();
        } else {
            segment.remove("x").unwrap();
        }
    }
    all_space_is_free(&segment);
    assert_eq!(crate::common::descriptors(), before);
}

/// Makes, opens, fills and removes at random; fails when anybody else writes into what it has open alone.
fn churn(segment: &Segment, seed: u64) -> ! {
    let mut random = Random::new(seed);
    loop {
        let name = format!("{}", random.below(6));
        let length = 500 + random.below(6_000) as usize;
        match Array::<u64>::create(segment.at(&name), length / 8) {
            Ok(array) => {
                // Its name is gone before anything is written: whoever has it open only reads.
                if segment.remove(&name).is_err() {
                    continue;
                }
                let mark = seed << 32 | random.below(1 << 30);
                array.fill(0..array.len(), mark).unwrap();
                random.pause(50);
                assert!(array.iter().all(|word| word == mark), "two objects overlap");
            }
            Err(error) => assert!(
                [ErrorKind::Exists, ErrorKind::NoSpace, ErrorKind::Limit].contains(&error.kind()),
                "{error}"
            ),
        }
        if let Ok(array) = Array::<u64>::open(segment.at(&name)) {
            let _ = array.load(0);
        }
        if random.below(4) == 0 {
            let _ = segment.remove(&name);
        }
    }
}

fn under_kills_nothing_overlaps_and_all_space_returns() {
    let kills = if std::env::var_os("MPSHM_QUICK").is_some() { 300 } else { 2_000 };
    let segment = Segment::options().objects(12).participants(16).anonymous(40_000).unwrap();
    let mut random = Random::new(11);
    let start = |seed: u64| {
        let segment = &segment;
        spawn(move || churn(segment, seed))
    };
    let mut workers: Vec<Process> = (1..=4).map(start).collect();
    for round in 0..kills {
        random.pause(1_000);
        let index = random.below(4) as usize;
        if random.below(4) == 0 {
            stop(&workers[index]);
            // A stopped one holds up nobody.
            let begin = Instant::now();
            let name = format!("mine {round}");
            match Value::create(segment.at(&name), 1u8) {
                Ok(_) => segment.remove(&name).unwrap(),
                Err(error) => {
                    assert!([ErrorKind::NoSpace, ErrorKind::Limit].contains(&error.kind()));
                }
            }
            assert!(begin.elapsed() < Duration::from_secs(1));
            go_on(&workers[index]);
        }
        assert!(workers[index].is_alive(), "{:?}", workers[index].panic_message());
        kill(&workers[index]);
        workers[index] = start(5 + round);
    }
    workers.iter().for_each(kill);
    for object in segment.objects().unwrap() {
        segment.remove(&object.name).unwrap();
    }
    // Entries and space, all of them.
    mpshm::recover(&segment).unwrap();
    let made: Vec<_> = (0..12)
        .map(|n| Array::<u8>::create(segment.at(&format!("{n}")), 3_000).expect("all is free"))
        .collect();
    for n in 0..12 {
        segment.remove(&format!("{n}")).unwrap();
    }
    drop(made);
    all_space_is_free(&segment);
    println!("    {kills} kills");
}
