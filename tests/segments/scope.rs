//! What `scope` promises: what was made through it is gone at its end.

use crate::common::{Test, unique};
use crate::probe::{for_ever, in_child, is, join, kill, spawn};
use crate::tests;
use mpshm::{ErrorKind, Event, Queue, QueueOptions, Segment, Value, scope};
use std::os::fd::{AsFd, AsRawFd};

pub const TESTS: &[Test] = tests![
    a73_after_its_end_every_segment_is_not_found,
    a73_helpers_that_are_interrupted_do_not_break_it,
    a_panic_ends_it_too,
    what_is_let_go_is_unmapped_and_closed,
    what_others_made_stays,
    an_error_takes_nothing_away,
    a_forked_child_removes_nothing,
    what_outlives_it_can_be_used,
    a72_one_that_is_killed_leaves_what_unlink_removes,
    scopes_nest,
];

fn gone(name: &str) {
    is(Segment::attach(name), ErrorKind::NotFound, &[name]);
}

fn a73_after_its_end_every_segment_is_not_found() {
    let names = [unique("one"), unique("two"), unique("three")];
    let path = std::env::temp_dir().join(unique("file"));
    let sum = scope(|scope| {
        for name in &names {
            let segment = scope.create(name, 1 << 16).unwrap();
            Value::<u64>::create(segment.at("x"), 7).unwrap();
        }
        scope.create_file(&path, 4096).unwrap();
        scope.anonymous(4096).unwrap();
        in_child(|| {
            for name in &names {
                let segment = Segment::attach(name).unwrap();
                Value::<u64>::open(segment.at("x")).unwrap().fetch_add(1);
            }
        });
        let value = |name: &String| {
            Value::<u64>::open(Segment::attach(name).unwrap().at("x")).unwrap().load()
        };
        names.iter().map(value).sum::<u64>()
    });
    assert_eq!(sum, 24);
    names.iter().for_each(|name| gone(name));
    assert!(!path.exists());
}

fn a73_helpers_that_are_interrupted_do_not_break_it() {
    let name = unique("helped");
    scope(|scope| {
        let segment = scope.create(&name, 1 << 16).unwrap();
        let queue = Queue::<u64>::create(segment.at("q"), &QueueOptions::new(4)).unwrap();
        let helper = spawn(|| {
            queue.push(1).unwrap();
            for_ever();
        });
        assert_eq!(queue.pop(), Ok(1));
        helper.interrupt().unwrap();
        helper.join().unwrap();
        queue.push(2).unwrap();
        assert_eq!(Queue::<u64>::open(segment.at("q")).unwrap().pop(), Ok(2));
    });
    gone(&name);
}

fn a_panic_ends_it_too() {
    let name = unique("panics");
    std::panic::set_hook(Box::new(|_| {}));
    let ended = std::panic::catch_unwind(|| {
        scope(|scope| {
            scope.create(&name, 4096).unwrap();
            panic!("in the middle");
        })
    });
    drop(std::panic::take_hook());
    assert!(ended.is_err());
    gone(&name);
}

fn what_is_let_go_is_unmapped_and_closed() {
    let name = unique("unmapped");
    // As it was called when it was mapped: not by its name yet.
    let mapped = || std::fs::read_to_string("/proc/self/maps").unwrap().contains(" /dev/shm/");
    assert!(!mapped());
    let before = crate::common::descriptors();
    scope(|scope| {
        let segment = scope.create(&name, 4096).unwrap();
        Value::<u64>::create(segment.at("x"), 1).unwrap();
        assert!(mapped());
    });
    assert!(!mapped());
    assert_eq!(crate::common::descriptors(), before);
}

fn what_others_made_stays() {
    let name = unique("others");
    scope(|scope| {
        let own = scope.create(&name, 4096).unwrap();
        // Somebody removes it, and makes another.
        Segment::unlink(&name).unwrap();
        in_child(|| drop(Segment::create(&name, 4096).unwrap()));
        assert_ne!(Segment::attach(&name).unwrap().id(), own.id());
    });
    Segment::attach(&name).unwrap();
    Segment::unlink(&name).unwrap();
}

fn an_error_takes_nothing_away() {
    let name = unique("there");
    let there = Segment::create(&name, 4096).unwrap();
    scope(|scope| {
        is(scope.create(&name, 4096), ErrorKind::Exists, &[&name]);
        is(scope.create("a/b", 4096), ErrorKind::Invalid, &["slash"]);
    });
    assert_eq!(Segment::attach(&name).unwrap().id(), there.id());
    Segment::unlink(&name).unwrap();
}

fn a_forked_child_removes_nothing() {
    let name = unique("forked");
    scope(|outer| {
        outer.create(&name, 4096).unwrap();
        // SAFETY: this program has one thread.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // A scope of its own ends as any; its copy of the other one comes to its end and does nothing.
            let own = scope(|inner| inner.create(&unique("own"), 4096).map(drop));
            let code = finish(outer) + i32::from(own.is_err());
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(code) };
        }
        let mut status = 0;
        // SAFETY: our own child.
        unsafe { libc::waitpid(pid, &raw mut status, 0) };
        assert_eq!(status, 0);
        Segment::attach(&name).unwrap();
    });
    gone(&name);
    gone(&unique("own"));
}

/// Ends the copy of a scope.
fn finish(scope: &mpshm::Scope) -> i32 {
    // SAFETY: read once; the original is not dropped, for the process exits.
    drop(unsafe { std::ptr::read(scope) });
    0
}

fn what_outlives_it_can_be_used() {
    let name = unique("outlived");
    let value = scope(|scope| {
        let segment = scope.create(&name, 4096).unwrap();
        Value::<u64>::create(segment.at("x"), 5).unwrap()
    });
    gone(&name);
    assert_eq!(value.fetch_add(1) + value.load(), 11);
}

fn a72_one_that_is_killed_leaves_what_unlink_removes() {
    let name = unique("killed");
    let made = Event::new().unwrap();
    let child = spawn(|| {
        scope(|scope| {
            scope.create(&name, 4096).unwrap();
            made.set();
            for_ever();
        })
    });
    made.wait().unwrap();
    kill(&child);
    assert!(Segment::attach(&name).unwrap().participants().unwrap().is_empty());
    Segment::unlink(&name).unwrap();
    gone(&name);
}

fn scopes_nest() {
    let (outer, inner) = (unique("outer"), unique("inner"));
    scope(|first| {
        let segment = first.create(&outer, 4096).unwrap();
        scope(|second| {
            second.create(&inner, 4096).unwrap();
            Segment::attach(&outer).unwrap();
        });
        gone(&inner);
        Segment::attach(&outer).unwrap();
        assert!(segment.as_fd().as_raw_fd() >= 0);
        join(&spawn(|| ()));
    });
    gone(&outer);
}
