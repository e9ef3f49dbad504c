//! Models of waits for several sources: no wake-up is lost, and none that others need is kept.

use crate::atomic::{AtomicU64, Ordering, Vanish, explore};
use crate::os::clock::Deadline;
use crate::wait::eventcount::{EventCount, Look};
use crate::wait::patience::look_or_wait;
use crate::wait::select::sealed::{Bed, Source};
use crate::wait::select::{Mode, Waiting};
use loom::sync::Arc;

/// Items that are counted.
struct Items {
    count: AtomicU64,
    sleepers: EventCount,
    quiet: bool,
}

impl Items {
    fn new(quiet: bool) -> Self {
        Self { count: AtomicU64::new(0), sleepers: EventCount::new(), quiet }
    }

    fn put(&self) {
        if self.quiet {
            self.count.store(1, Ordering::Release);
            self.sleepers.notify_quietly(1);
        } else {
            self.count.fetch_add(1, Ordering::SeqCst);
            self.sleepers.notify(1);
        }
    }

    fn take(&self) -> bool {
        let less = |count: u64| count.checked_sub(1);
        self.count.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).is_ok()
    }

    /// As who sleeps here alone takes one.
    fn wait_and_take(&self) {
        look_or_wait(&self.sleepers, Deadline::FOREVER, |_| self.take().then_some(())).unwrap();
    }
}

impl Source for Items {
    fn bed(&self) -> Bed<'_> {
        if self.quiet { Bed::Quiet(&self.sleepers) } else { Bed::Word(&self.sleepers) }
    }

    fn is_ready(&self, _: u64, _: Look) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }
}

type Two = Arc<[Items; 2]>;

fn two() -> Two {
    Arc::new([Items::new(false), Items::new(false)])
}

/// The places of those that are ready.
fn wait(sources: &[Items], mode: Mode) -> Vec<usize> {
    let mut waiting = Waiting::new(sources.iter().map(|source| source as &dyn Source), mode);
    waiting.wait(Deadline::FOREVER).expect("no descriptors").expect("nobody cancels");
    waiting.ready().collect()
}

fn selects(two: &Two, mode: Mode) -> loom::thread::JoinHandle<Vec<usize>> {
    let two = Arc::clone(two);
    loom::thread::spawn(move || wait(&two[..], mode))
}

#[test]
fn a_change_of_either_ends_a_wait_for_any() {
    for place in 0..2 {
        explore(3, move || {
            let two = two();
            let waits = selects(&two, Mode::Any);
            two[place].put();
            assert_eq!(waits.join().unwrap(), [place]);
        });
    }
}

#[test]
fn a_change_that_is_a_plain_store_ends_it_too() {
    explore(3, || {
        let two = Arc::new([Items::new(false), Items::new(true)]);
        let waits = selects(&two, Mode::Any);
        two[1].put();
        assert_eq!(waits.join().unwrap(), [1]);
    });
}

#[test]
fn a_wait_for_all_ends_with_the_last_change() {
    explore(2, || {
        let two = two();
        let waits = selects(&two, Mode::All);
        let other = Arc::clone(&two);
        let puts = loom::thread::spawn(move || other[1].put());
        two[0].put();
        assert_eq!(waits.join().unwrap(), [0, 1]);
        puts.join().unwrap();
    });
}

#[test]
fn two_wakers_are_both_heard() {
    explore(2, || {
        let two = two();
        let (other, waiter) = (Arc::clone(&two), Arc::clone(&two));
        let waits = loom::thread::spawn(move || {
            let mut taken = 0;
            while taken < 2 {
                let ready = wait(&waiter[..], Mode::Any);
                taken += ready.iter().filter(|&&place| waiter[place].take()).count();
            }
        });
        let puts = loom::thread::spawn(move || other[1].put());
        two[0].put();
        waits.join().unwrap();
        puts.join().unwrap();
    });
}

/// The waker of one source dies at each of its steps: that of the other one is heard.
#[test]
fn who_dies_at_one_source_does_not_silence_the_other() {
    Vanish::at_every_step(2, |vanish| {
        let two = two();
        let waits = selects(&two, Mode::Any);
        let (other, vanish) = (Arc::clone(&two), vanish.clone());
        let dying = loom::thread::spawn(move || vanish.at(|| other[1].put()));
        two[0].put();
        assert!(!waits.join().unwrap().is_empty());
        dying.join().unwrap();
    });
}

/// Another one that sleeps on one of the sources gets what a wait for any was told of beside other things, and left.
#[test]
fn what_is_reported_beside_others_reaches_who_sleeps_there() {
    explore(2, || {
        let two = two();
        let (alone, waiter) = (Arc::clone(&two), Arc::clone(&two));
        let sleeps = loom::thread::spawn(move || alone[0].wait_and_take());
        let waits = loom::thread::spawn(move || {
            let ready = wait(&waiter[..], Mode::Any);
            // It takes the last one that it is told of, and leaves the others.
            let last = *ready.last().unwrap();
            if waiter[last].take() && last == 0 {
                waiter[0].put();
            }
        });
        two[0].put();
        two[1].put();
        sleeps.join().unwrap();
        waits.join().unwrap();
    });
}

/// Another one that sleeps on one of the sources gets what a wait for all was woken for, and sleeps on without.
#[test]
fn what_a_wait_for_all_is_woken_for_reaches_who_sleeps_there() {
    explore(2, || {
        let two = two();
        let waits = selects(&two, Mode::All);
        let alone = Arc::clone(&two);
        let sleeps = loom::thread::spawn(move || alone[0].wait_and_take());
        two[0].put();
        sleeps.join().unwrap();
        two[0].put();
        two[1].put();
        waits.join().unwrap();
    });
}

/// A wait that dies at each of its steps keeps nobody who sleeps on one of the sources: the next change reaches it.
#[test]
fn who_dies_in_a_wait_keeps_nobody_from_the_next_change() {
    Vanish::at_every_step(2, |vanish| {
        let two = two();
        let (alone, waiter, vanish) = (Arc::clone(&two), Arc::clone(&two), vanish.clone());
        let sleeps = loom::thread::spawn(move || alone[0].wait_and_take());
        let dying = loom::thread::spawn(move || {
            vanish.at(|| wait(&waiter[..], Mode::Any));
        });
        // One wake-up may be lost with who dies.
        two[0].put();
        two[0].put();
        sleeps.join().unwrap();
        dying.join().unwrap();
    });
}
