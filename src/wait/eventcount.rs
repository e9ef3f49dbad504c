//! An event count: announce yourself, look again, sleep; the waker wakes only if somebody announced.
//!
//! # Overview
//! A 32-bit word beside the state that is waited for. Who changes the state calls
//! [`notify`](EventCount::notify), which is one load when nobody sleeps. Who waits calls
//! [`wait_for`], which tries, spins a little where that has paid, offers the processor to others, announces
//! itself, tries again, and sleeps at most a slice at a time.
//!
//! # Layout
//! Bit 0: somebody may be asleep (sticky, no count: the dead would leak counts). Bit 1: somebody has announced
//! itself since the last notification with sleepers began. Bit 2: a flag of the owner's that a notifier learns of for
//! nothing, raised once and for good. Bits 3 to 31: a sequence that each notification with sleepers moves on.
//!
//! # Invariants
//! - I1. Who sleeps does so on a value with bit 0 set that was read before its last look at the state.
//! - I2. Bit 0 is cleared only by who found nobody asleep, or woke all, and only if the word has not changed
//!   since: who announces itself meanwhile sets bit 1, and so changes it.
//!
//! # Ordering edges
//! - E1. Waiter: set bit 0, then look at the state. Waker: change the state, then look at bit 0. One of
//!   the two sees the other: the change is a SeqCst read-modify-write, the waker's look a SeqCst
//!   load, the announcement is SeqCst and a SeqCst fence stands before the waiter's look.
//!   (Loom takes SeqCst accesses for weaker ones; the models get fences in their place.)
//! - E2. The same where the change is a plain store: [`notify_quietly`](EventCount::notify_quietly) has the light
//!   half of a barrier (`os/barrier.rs`) behind it, and [`wait_quietly_for`] the heavy half between announcement and look.
//!
//! # Crash states
//! | killed | effect |
//! |---|---|
//! | waiter, announced | bit 0 stays: the next notification makes one needless system call and clears it |
//! | waker, between change and wake | sleepers find the change at the end of their slice |
//! | woken waiter, before it acts | other sleepers find what it left at the end of their slice |
//!
//! # Progress
//! `notify` never waits. A sleep ends after at most [`SLICE`], whatever has died.
//!
//! # Source
//! Event counts: Reed and Kanodia 1979; in this form ours, after Concurrency Kit's `ck_ec` and folly's.

use crate::atomic::{AtomicU32, Ordering, fence};
use crate::layout::offset::Shared;
use crate::os::barrier;
use crate::os::clock::{self, Deadline};
use crate::os::futex::{self, Woken};
use crate::wait::cancel;
use std::cell::Cell;
use std::sync::atomic::AtomicU32 as PrivateU32;

const SLEEPERS: u32 = 1;
/// An announcement since the last wake began.
const SINCE: u32 = 2;
/// The owner's.
const FLAG: u32 = 4;
const STEP: u32 = 8;
/// The longest sleep without a look, in nanoseconds.
pub(crate) const SLICE: u64 = 80_000_000;

/// The word.
#[derive(Debug)]
#[repr(transparent)]
pub struct EventCount(AtomicU32);
// SAFETY: an atomic.
unsafe impl Shared for EventCount {}

/// Why a wait ended without success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GaveUp {
    TimedOut,
    Interrupted,
}

/// Stands between a SeqCst read-modify-write of the state and the look at an event count (E1).
#[inline]
fn after_change() {
    #[cfg(loom)]
    fence(Ordering::SeqCst); // loom does not know SeqCst accesses; see E1
}

impl EventCount {
    #[cfg(all(test, loom))]
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Wakes up to `count` sleepers. The state was changed by a SeqCst read-modify-write before.
    #[inline]
    pub(crate) fn notify(&self, count: u32) {
        after_change();
        // SeqCst: E1, pairs with `announce`.
        if self.0.load(Ordering::SeqCst) & SLEEPERS != 0 {
            self.wake(count);
        }
    }

    /// As [`notify`](Self::notify), but wakes all if the flag is up.
    #[inline]
    pub(crate) fn notify_all_if_flagged(&self, count: u32) {
        after_change();
        // SeqCst: E1, pairs with `announce`.
        let seen = self.0.load(Ordering::SeqCst);
        if seen & SLEEPERS != 0 {
            self.wake(if seen & FLAG != 0 { u32::MAX } else { count });
        }
    }

    /// As [`notify`](Self::notify) behind a change that was a plain store, for sleepers that [wait quietly](wait_quietly_for). Says
    /// whether the flag is up.
    #[inline(always)]
    pub(crate) fn notify_quietly(&self, count: u32) -> bool {
        barrier::light(); // E2: pairs with `wait_quietly_for`
        let seen = self.0.load(Ordering::Relaxed);
        seen & (SLEEPERS | FLAG) != 0 && self.notify_seen(seen, count)
    }

    #[cold]
    fn notify_seen(&self, seen: u32, count: u32) -> bool {
        if seen & SLEEPERS != 0 {
            self.wake(count);
        }
        seen & FLAG != 0
    }

    /// Raises the flag.
    pub(crate) fn raise_flag(&self) {
        self.0.fetch_or(FLAG, Ordering::SeqCst); // SeqCst: before the heavy half of a barrier
    }

    /// Whether the flag is up.
    #[inline]
    pub(crate) fn is_flagged(&self) -> bool {
        self.0.load(Ordering::Acquire) & FLAG != 0
    }

    #[cold]
    fn wake(&self, count: u32) {
        // What the sleepers compare moves on first, so that who is just going to sleep does not.
        let mut seen = self.0.load(Ordering::Relaxed);
        let now = loop {
            let next = (seen & !SINCE).wrapping_add(STEP);
            match self.0.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break next,
                Err(other) => seen = other,
            }
        };
        let woken = futex::wake(&self.0, count);
        if woken < count {
            // I2: nobody is left; who announced itself since has made the CAS fail or will not sleep.
            let _ = self.0.compare_exchange(
                now,
                (now & !SLEEPERS).wrapping_add(STEP),
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
        }
    }

    /// Announces a sleeper; what it returns goes to [`sleep`](Self::sleep).
    pub(crate) fn announce(&self) -> u32 {
        // SeqCst: E1, pairs with `notify`.
        let seen = self.0.fetch_or(SLEEPERS | SINCE, Ordering::SeqCst) | SLEEPERS | SINCE;
        fence(Ordering::SeqCst); // E1: the looks that follow come after the announcement
        seen
    }

    /// What is slept on.
    pub(crate) fn word(&self) -> &AtomicU32 {
        &self.0
    }

    /// Whether there may have been a notification since `announce` returned `seen`.
    pub(crate) fn has_moved(&self, seen: u32) -> bool {
        self.0.load(Ordering::Acquire) != seen
    }

    /// Sleeps unless there was a notification since `announce` returned `seen`.
    pub(crate) fn sleep(&self, seen: u32, deadline: Deadline) -> Woken {
        futex::wait(&self.0, seen, deadline, cancel::current())
    }
}

/// How often the processor is offered to others before a sleep: with more processes than processors, the
/// one that we wait for is often just waiting for this very processor, and a sleep with the wake-up that
/// ends it costs both sides several times as much. Measured: 2 producers on one CPU and 2 consumers on
/// another pass three times as many items.
const YIELDS: u32 = 8;
/// An offer that took longer, in nanoseconds, was taken by somebody who has other work: a sleeper is woken sooner than
/// it would get the processor back.
const YIELD_MOST: u64 = 200_000;
/// After such an offer, so many waits make none.
const WITHOUT_YIELDS: u32 = 100;

/// How long to spin before sleeping: grows where spinning has paid, shrinks where not. And for how many waits the
/// processor is not offered to others.
#[derive(Debug)]
pub(crate) struct Spin(Cell<u32>, Cell<u32>);

impl Spin {
    const LEAST: u32 = 8;
    const MOST: u32 = 400;

    pub(crate) const fn new() -> Self {
        Self(Cell::new(64), Cell::new(0))
    }

    /// None in the models: each look of a loop there is an order of the threads to be explored.
    fn rounds(&self) -> u32 {
        if !cfg!(loom) && more_than_one_cpu() { self.0.get() } else { 0 }
    }

    fn yields(&self) -> u32 {
        match self.1.get() {
            _ if cfg!(loom) => 0,
            0 => YIELDS,
            without => {
                self.1.set(without - 1);
                0
            }
        }
    }

    fn paid(&self, it_did: bool) {
        let rounds = self.0.get();
        self.0.set(if it_did {
            (rounds * 2).min(Self::MOST)
        } else {
            (rounds / 2).max(Self::LEAST)
        });
    }
}

impl Default for Spin {
    fn default() -> Self {
        Self::new()
    }
}

fn more_than_one_cpu() -> bool {
    static CPUS: PrivateU32 = PrivateU32::new(0);
    let mut cpus = CPUS.load(Ordering::Relaxed);
    if cpus == 0 {
        cpus = crate::os::cpu::cpus_allowed() as u32;
        CPUS.store(cpus, Ordering::Relaxed);
    }
    cpus > 1
}

/// What an attempt looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Only what is waited for.
    Items,
    /// Deaths too, unless that was done a moment ago: before the first sleep.
    DeathsIfDue,
    /// Deaths too: a whole slice has passed.
    Deaths,
}

/// Tries `attempt` until it succeeds or `deadline` passes, sleeping on `event` in between.
///
/// `attempt` is told when it is time to check whether somebody has died. Cancelling wins over sleeping,
/// never over a success.
pub(crate) fn wait_for<T>(
    event: &EventCount,
    deadline: Deadline,
    spin: &Spin,
    attempt: impl FnMut(Look) -> Option<T>,
) -> Result<T, GaveUp> {
    wait_announced(event, deadline, spin, || (), attempt)
}

/// The same for changes that are plain stores: who makes them only
/// [notifies quietly](EventCount::notify_quietly). Both processes have registered for barriers.
pub(crate) fn wait_quietly_for<T>(
    event: &EventCount,
    deadline: Deadline,
    spin: &Spin,
    attempt: impl FnMut(Look) -> Option<T>,
) -> Result<T, GaveUp> {
    wait_announced(event, deadline, spin, barrier::heavy, attempt)
}

/// Before a sleep: spins, and offers the processor to others, as long as that has paid.
#[inline]
pub(crate) fn linger<T>(spin: &Spin, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    for _ in 0..spin.rounds() {
        std::hint::spin_loop();
        if let Some(done) = attempt() {
            spin.paid(true);
            return Some(done);
        }
    }
    for _ in 0..spin.yields() {
        let begin = clock::now();
        std::thread::yield_now();
        let slow = clock::now().wrapping_sub(begin) > YIELD_MOST;
        if slow {
            spin.1.set(WITHOUT_YIELDS);
        }
        if let Some(done) = attempt() {
            return Some(done);
        }
        if slow {
            break;
        }
    }
    spin.paid(false);
    None
}

fn wait_announced<T>(
    event: &EventCount,
    deadline: Deadline,
    spin: &Spin,
    announced: impl Fn(),
    mut attempt: impl FnMut(Look) -> Option<T>,
) -> Result<T, GaveUp> {
    if let Some(done) = linger(spin, || attempt(Look::Items)) {
        return Ok(done);
    }
    let mut look = Look::DeathsIfDue;
    loop {
        let seen = event.announce();
        announced();
        if let Some(done) = attempt(look) {
            return Ok(done);
        }
        if deadline.has_passed() {
            return Err(GaveUp::TimedOut);
        }
        look = match event.sleep(seen, deadline.at_most(SLICE)) {
            Woken::Spurious => Look::Items,
            Woken::TimedOut => Look::Deaths,
            Woken::Cancelled => {
                // The notification that may have been meant for us goes on to somebody else.
                event.notify(1);
                return Err(GaveUp::Interrupted);
            }
        };
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::atomic::{AtomicU64, explore};
    use loom::sync::Arc;

    /// The waiter's side without spinning and slices: a lost wake-up is a deadlock here.
    fn wait_until(event: &EventCount, ready: impl Fn() -> bool) {
        loop {
            let seen = event.announce();
            if ready() {
                return;
            }
            event.sleep(seen, Deadline::FOREVER);
        }
    }

    #[test]
    fn one_change_reaches_one_sleeper() {
        explore(3, || {
            let shared = Arc::new((EventCount::new(), AtomicU64::new(0)));
            let other = Arc::clone(&shared);
            let waker = loom::thread::spawn(move || {
                other.1.fetch_add(1, Ordering::SeqCst); // the change
                other.0.notify(1);
            });
            wait_until(&shared.0, || shared.1.load(Ordering::Acquire) == 1);
            waker.join().unwrap();
        });
    }

    #[test]
    fn two_changes_reach_a_sleeper_that_waits_for_both() {
        explore(3, || {
            let shared = Arc::new((EventCount::new(), AtomicU64::new(0)));
            let wakers: Vec<_> = (0..2)
                .map(|_| {
                    let other = Arc::clone(&shared);
                    loom::thread::spawn(move || {
                        other.1.fetch_add(1, Ordering::SeqCst); // the change
                        other.0.notify(1);
                    })
                })
                .collect();
            wait_until(&shared.0, || shared.1.load(Ordering::Acquire) == 2);
            for waker in wakers {
                waker.join().unwrap();
            }
        });
    }
}
