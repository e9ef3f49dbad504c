//! Which locks this thread reads. Known to this process alone.
//!
//! A writer waits until nobody reads: a thread that reads already is in its way, and may read again; it must not wait
//! to write.

use crate::os::fork;
use crate::segment::participant::Me;
use std::cell::RefCell;

/// A lock, whatever mapping it is seen through: its segment's id and its offset there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub segment: u128,
    pub offset: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Held {
    key: Key,
    me: Me,
    /// What a forked child finds here is its parent's.
    process: u32,
}

thread_local! {
    /// One entry for each time.
    static HELD: RefCell<Vec<Held>> = const { RefCell::new(Vec::new()) };
}

/// Whether this thread reads under the lock.
#[inline]
pub(crate) fn reads(key: Key) -> bool {
    let process = fork::generation();
    let here = |held: &Held| held.key == key && held.process == process;
    // A thread that is about to end, and has lost its list, is not asked any more.
    HELD.try_with(|all| all.borrow().iter().any(here)).unwrap_or(false)
}

/// Notes that it does, once more.
#[inline]
pub(crate) fn add(key: Key, me: Me) {
    let process = fork::generation();
    let _ = HELD.try_with(|all| {
        let mut all = all.borrow_mut();
        if all.first().is_some_and(|held| held.process != process) {
            all.retain(|held| held.process == process);
        }
        all.push(Held { key, me, process });
    });
}

/// Notes that it does so no more, once; false when it did not, or not as this participant.
#[inline]
pub(crate) fn remove(key: Key, me: Me) -> bool {
    let wanted = Held { key, me, process: fork::generation() };
    HELD.try_with(|all| {
        let mut all = all.borrow_mut();
        let found = all.iter().rposition(|held| *held == wanted);
        found.map(|at| all.remove(at)).is_some()
    })
    .unwrap_or(false)
}
