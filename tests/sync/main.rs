//! Locks, signals, and what waits for several things at once.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/options.rs"]
mod options;
#[path = "../common/pin.rs"]
mod pin;
#[path = "../common/probe.rs"]
mod probe;
#[path = "../common/property.rs"]
mod property;

mod barrier;
mod condvar;
mod event;
mod eventfd;
mod latch;
mod lock_races;
mod mutex;
mod once;
mod ping_pong;
mod rwlock;
mod select;
mod semaphore;

fn main() {
    common::main_of(&[
        barrier::TESTS,
        condvar::TESTS,
        event::TESTS,
        eventfd::TESTS,
        latch::TESTS,
        lock_races::TESTS,
        mutex::TESTS,
        once::TESTS,
        ping_pong::TESTS,
        rwlock::TESTS,
        select::TESTS,
        semaphore::TESTS,
    ])
}
