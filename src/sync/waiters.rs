//! The words of a condition variable: who waits, and who of them was notified.
//!
//! # Overview
//! A table of words, one for each that waits, all of which are changed by who holds the user's lock, and by nobody else. Who
//! waits enters itself, unlocks, and sleeps on its own word until somebody makes it NOTIFIED; with the lock again, it
//! frees the word. To notify is to change the oldest WAITING words and to wake exactly those: it never waits, and where
//! nobody waits there is nothing that could be remembered.
//!
//! # Layout
//! | bits of a word | what |
//! |---|---|
//! | 0–1 | 0 = free, WAITING or NOTIFIED |
//! | 4–63 | the mark of who waits: slot and generation, as in `raw_mutex.rs` |
//!
//! Sleepers wait on the half with bits 0 to 31. Tickets grow with each that enters: the oldest has the smallest. The ticket of a
//! NOTIFIED word is the last one that was given before the notification. All words from `used` on are free. Tickets wrap
//! after 2^64 waits.
//!
//! # Invariants
//! - I1. Only who holds the lock that `lock` names changes anything but its own word; it names one lock as long as
//!   anybody waits.
//! - I2. A notification is a NOTIFIED word until its waiter has the lock. One whose waiter is dead is made another's before
//!   it is freed: a death never loses one, and a death in between doubles it. It goes only to who waited when it was made.
//!
//! # Ordering edges
//! - E1. A word is stored with Release and loaded by its sleeper with Acquire; all else is ordered by the lock.
//!
//! # Crash states
//! | killed | leaves | who repairs |
//! |---|---|---|
//! | entering, before its word | nothing, and the lock | the next locker: `OwnerDead` |
//! | waiting | a WAITING word | who would notify it, and who finds the table full: freed |
//! | notified | a NOTIFIED word | sleepers, each after its slice, or who finds the table full: passed on to the oldest |
//! | who notifies, between a word and its wake | a NOTIFIED sleeper, and the lock | the sleeper, after its slice |
//!
//! # Progress
//! To notify is bounded by the size of the table.
//!
//! # Source
//! Ours.

use crate::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::layout::offset::Shared;
use crate::os::clock::Deadline;
use crate::os::futex::{self, Woken};
use crate::sync::raw_mutex::{Doubt, Mark};
use crate::wait::cancel;
use crate::wait::eventcount::SLICE;

const STATE: u64 = 3;
const FREE: u64 = 0;
const WAITING: u64 = 1;
const NOTIFIED: u64 = 2;

/// The head of a condition variable as it lies in a segment; the words follow.
#[repr(C, align(64))]
pub(crate) struct Head {
    /// Which lock it is used with; means nothing when nobody waits. By who begins to wait.
    pub lock: AtomicU64,
    /// The last ticket.
    tickets: AtomicU64,
    /// See the module's layout.
    used: AtomicU32,
    /// How many words there are: by the maker.
    pub count: AtomicU32,
}
// SAFETY: atomics only; padding is never read.
unsafe impl Shared for Head {}

/// One that waits.
#[repr(C)]
pub(crate) struct Waiter {
    /// See the module's layout.
    word: AtomicU64,
    ticket: AtomicU64,
}
// SAFETY: atomics only.
unsafe impl Shared for Waiter {}

/// The words of one condition variable.
#[derive(Clone, Copy)]
pub(crate) struct Waiters<'a> {
    pub head: &'a Head,
    pub words: &'a [Waiter],
}

/// How a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Notified, or its time is over: the word tells.
    Awake,
    Cancelled,
}

impl Waiter {
    fn load(&self) -> u64 {
        self.word.load(Ordering::Acquire) // E1
    }

    fn store(&self, word: u64) {
        self.word.store(word, Ordering::Release); // E1: pairs with `sleep`
    }

    /// The half of the word that its sleeper waits on: bits 0 to 31.
    #[cfg(not(loom))]
    fn half(&self) -> &AtomicU32 {
        let halves = std::ptr::from_ref(&self.word).cast::<AtomicU32>();
        // SAFETY: the word is two aligned 32-bit halves. Only the kernel reads through this reference.
        unsafe { &*halves.add(usize::from(cfg!(target_endian = "big"))) }
    }

    /// Loom has no halves of words: its futex takes the whole one.
    #[cfg(loom)]
    fn half(&self) -> futex::Half<'_> {
        futex::Half(&self.word)
    }
}

fn owner(word: u64) -> Mark {
    Mark::of_word(word)
}

impl<'a> Waiters<'a> {
    fn used(self) -> &'a [Waiter] {
        let used = self.head.used.load(Ordering::Relaxed) as usize;
        &self.words[..used.min(self.words.len())]
    }

    /// How many wait who were not notified; `is_over` leaves out the dead.
    pub(crate) fn waiting(self, is_over: impl Fn(Mark) -> bool) -> u32 {
        let waits = |waiter: &&Waiter| {
            let word = waiter.load();
            word & STATE == WAITING && !is_over(owner(word))
        };
        self.used().iter().filter(waits).count() as u32
    }

    /// Whether anybody is entered.
    pub(crate) fn is_in_use(self) -> bool {
        self.used().iter().any(|waiter| waiter.load() & STATE != FREE)
    }

    /// Enters one that waits; `None` when all words are taken by the living. With the lock.
    pub(crate) fn enter(self, me: Mark, is_over: impl Fn(Mark) -> bool) -> Option<usize> {
        let free = |waiter: &Waiter| waiter.load() & STATE == FREE;
        let mut index = self.used().iter().position(free);
        if index.is_none() && self.used().len() == self.words.len() {
            self.sweep(&is_over);
            index = self.used().iter().position(free);
        }
        let index = index.unwrap_or(self.used().len());
        let waiter = self.words.get(index)?;
        let used = self.used().len().max(index + 1);
        self.head.used.store(used as u32, Ordering::Relaxed);
        let ticket = self.head.tickets.load(Ordering::Relaxed).wrapping_add(1);
        self.head.tickets.store(ticket, Ordering::Relaxed);
        waiter.ticket.store(ticket, Ordering::Relaxed);
        waiter.store(me.word() | WAITING);
        Some(index)
    }

    /// Sleeps until the word is changed, the deadline passes, or the wait is cancelled; after each slice, `look`s whether
    /// there is something to be done. Without the lock.
    pub(crate) fn sleep(
        self,
        index: usize,
        me: Mark,
        deadline: Deadline,
        mut look: impl FnMut(),
    ) -> Ended {
        let waiter = &self.words[index];
        let waiting = me.word() | WAITING;
        while waiter.load() == waiting && !deadline.has_passed() {
            let until = deadline.at_most(SLICE);
            match futex::wait(waiter.half(), waiting as u32, until, cancel::current()) {
                Woken::Cancelled => return Ended::Cancelled,
                Woken::TimedOut => look(),
                Woken::Spurious => {}
            }
        }
        Ended::Awake
    }

    /// Frees one's word; whether it was notified. With the lock.
    pub(crate) fn leave(self, index: usize, me: Mark) -> bool {
        let word = self.words[index].load();
        // Another word there is none that somebody left who keeps to the protocol.
        if owner(word) == me {
            self.words[index].store(FREE);
        }
        self.shrink();
        word == me.word() | NOTIFIED
    }

    fn shrink(self) {
        let used = self.used();
        let taken = used.iter().rposition(|waiter| waiter.load() & STATE != FREE);
        let used = taken.map_or(0, |last| last as u32 + 1);
        self.head.used.store(used, Ordering::Relaxed);
    }

    /// Notifies the `count` that have waited longest; returns how many there were. With the lock.
    pub(crate) fn notify(self, count: u32, is_over: &impl Fn(Mark) -> bool) -> u32 {
        let now = self.head.tickets.load(Ordering::Relaxed);
        if count as usize >= self.used().len() {
            let notifies = |waiter: &&Waiter| self.notify_this(waiter, now, is_over);
            return self.used().iter().filter(notifies).count() as u32;
        }
        (0..count).take_while(|_| self.notify_oldest(now, is_over)).count() as u32
    }

    /// Notifies the oldest that waited at a time; false when none lives.
    fn notify_oldest(self, then: u64, is_over: &impl Fn(Mark) -> bool) -> bool {
        let ticket = |waiter: &&Waiter| waiter.ticket.load(Ordering::Relaxed);
        let waited = |waiter: &&Waiter| waiter.load() & STATE == WAITING && ticket(waiter) <= then;
        // Each round changes a word of the table, to one that is not looked for.
        for _ in 0..self.used().len() {
            match self.used().iter().filter(waited).min_by_key(ticket) {
                None => return false,
                Some(oldest) if self.notify_this(oldest, then, is_over) => return true,
                Some(_) => {}
            }
        }
        false
    }

    /// Notifies one, if it waits and is not dead.
    fn notify_this(self, waiter: &Waiter, then: u64, is_over: &impl Fn(Mark) -> bool) -> bool {
        let word = waiter.load();
        if word & STATE != WAITING {
            return false;
        }
        waiter.ticket.store(then, Ordering::Relaxed);
        waiter.store(word & !STATE | NOTIFIED);
        // Who was asleep lives, which asking costs as much as the wake does.
        if futex::wake(waiter.half(), 1) == 0 && is_over(owner(word)) {
            waiter.store(FREE);
            return false;
        }
        true
    }

    /// Whether a notification lies with somebody dead. Looks only.
    pub(crate) fn has_lost_one(self, is_over: impl Fn(Mark) -> bool) -> bool {
        self.used().iter().any(|waiter| {
            let word = waiter.load();
            word & STATE == NOTIFIED && is_over(owner(word))
        })
    }

    /// Frees the words of the dead; what they were notified of, others are. With the lock.
    pub(crate) fn sweep(self, is_over: &impl Fn(Mark) -> bool) {
        for waiter in self.used() {
            let word = waiter.load();
            if word & STATE == FREE || !is_over(owner(word)) {
                continue;
            }
            if word & STATE == NOTIFIED {
                // I2: before it is freed.
                self.notify_oldest(waiter.ticket.load(Ordering::Relaxed), is_over);
            }
            waiter.store(FREE);
        }
        self.shrink();
    }
}

/// What the marks of a participant table say, as hard as `doubt` asks.
pub(crate) fn by_mark(
    is_over: impl Fn(u32, u64, Doubt) -> bool,
    doubt: Doubt,
) -> impl Fn(Mark) -> bool {
    move |mark| is_over(mark.slot(), mark.generation(), doubt)
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::atomic::{Vanish, explore};
    use crate::segment::participant::Me;
    use crate::sync::raw_mutex::{Locked, RawMutex};
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;

    struct Shared {
        lock: RawMutex,
        head: Head,
        words: Vec<Waiter>,
        /// What is waited for, under the lock.
        state: UnsafeCell<u32>,
    }
    // SAFETY: the state is touched under the lock only, which loom checks.
    unsafe impl Sync for Shared {}

    const DEAD: u32 = 9;

    fn mark(slot: u32) -> Mark {
        Mark::from(Me { slot, generation: 1 })
    }

    impl Shared {
        fn new() -> Arc<Self> {
            let head = Head {
                lock: AtomicU64::new(0),
                tickets: AtomicU64::new(0),
                used: AtomicU32::new(0),
                count: AtomicU32::new(3),
            };
            let word = || Waiter { word: AtomicU64::new(0), ticket: AtomicU64::new(0) };
            let words = (0..3).map(|_| word()).collect();
            Arc::new(Self { lock: RawMutex::new(), head, words, state: UnsafeCell::new(0) })
        }

        fn waiters(&self) -> Waiters<'_> {
            Waiters { head: &self.head, words: &self.words }
        }

        fn lock(&self, slot: u32, is_dead: bool) -> Locked {
            let is_over = |owner, _, _| is_dead && owner == DEAD;
            self.lock.lock(mark(slot), Deadline::FOREVER, is_over).expect("a lock nobody loses")
        }

        fn state(&self) -> u32 {
            // SAFETY: under the lock.
            self.state.with(|state| unsafe { *state })
        }

        fn set_state(&self, to: u32) {
            // SAFETY: under the lock.
            self.state.with_mut(|state| unsafe { *state = to });
        }

        /// With the lock, before and behind it.
        fn wait(&self, slot: u32) -> bool {
            let index = self.waiters().enter(mark(slot), |_| false).expect("a free word");
            self.lock.hand_on_doubt();
            self.waiters().sleep(index, mark(slot), Deadline::FOREVER, || ());
            self.lock(slot, false);
            self.waiters().leave(index, mark(slot))
        }

        /// Waits until the state is `wanted`.
        fn wait_until(&self, slot: u32, wanted: u32) {
            self.lock(slot, false);
            while self.state() != wanted {
                assert!(self.wait(slot), "it does not end unless notified");
            }
            self.lock.unlock();
        }
    }

    #[test]
    fn a_change_is_not_missed() {
        explore(3, || {
            let shared = Shared::new();
            let other = Arc::clone(&shared);
            let waits = loom::thread::spawn(move || other.wait_until(2, 1));
            shared.lock(1, false);
            shared.set_state(1);
            shared.waiters().notify(1, &|_| false);
            shared.lock.unlock();
            waits.join().unwrap();
            assert!(!shared.waiters().is_in_use());
        });
    }

    #[test]
    fn two_wait_and_each_notification_reaches_one() {
        explore(2, || {
            let shared = Shared::new();
            let threads: Vec<_> = (2..4)
                .map(|slot| {
                    let other = Arc::clone(&shared);
                    loom::thread::spawn(move || other.wait_until(slot, 1))
                })
                .collect();
            shared.lock(1, false);
            shared.set_state(1);
            let first = shared.waiters().notify(1, &|_| false);
            let second = shared.waiters().notify(1, &|_| false);
            assert!(first >= second);
            shared.lock.unlock();
            for thread in threads {
                thread.join().unwrap();
            }
            assert!(!shared.waiters().is_in_use());
        });
    }

    /// Two wait for one another.
    #[test]
    fn a_state_goes_to_and_fro() {
        explore(2, || {
            let shared = Shared::new();
            let other = Arc::clone(&shared);
            let waits = loom::thread::spawn(move || {
                other.lock(2, false);
                while other.state() != 1 {
                    other.wait(2);
                }
                other.set_state(2);
                other.waiters().notify(1, &|_| false);
                other.lock.unlock();
            });
            shared.lock(1, false);
            shared.set_state(1);
            shared.waiters().notify(1, &|_| false);
            while shared.state() != 2 {
                shared.wait(1);
            }
            shared.lock.unlock();
            waits.join().unwrap();
        });
    }

    /// One that waits is notified, and dies at each step on: what it had not acted on is passed on, and its word is free.
    #[test]
    fn what_the_dead_were_notified_of_is_passed_on() {
        Vanish::at_every_step(2, |vanish| {
            let shared = Shared::new();
            shared.lock(DEAD, false);
            let theirs = shared.waiters().enter(mark(DEAD), |_| false).expect("a free word");
            shared.lock.unlock();
            shared.lock(1, false);
            let mine = shared.waiters().enter(mark(1), |_| false).expect("a free word");
            let (other, vanish) = (Arc::clone(&shared), vanish.clone());
            let dying = loom::thread::spawn(move || {
                vanish.at(|| {
                    other.waiters().sleep(theirs, mark(DEAD), Deadline::FOREVER, || ());
                    other.lock(DEAD, false);
                    let notified = other.waiters().leave(theirs, mark(DEAD));
                    other.lock.unlock();
                    notified
                })
            });
            assert_eq!(shared.waiters().notify(1, &|_| false), 1, "the older one");
            shared.lock.unlock();
            let ended = dying.join().unwrap();
            let dead = ended.is_none();
            shared.lock(1, dead);
            // Else it had freed its word, with the lock.
            let had_not_acted = shared.words[theirs].load() & STATE == NOTIFIED;
            assert!(dead || ended == Some(true) && !had_not_acted);
            shared.waiters().sweep(&|mark: Mark| dead && mark.slot() == DEAD);
            let notified = shared.waiters().leave(mine, mark(1));
            assert_eq!(notified, had_not_acted, "a notification is lost, or went astray");
            assert!(!shared.waiters().is_in_use(), "a word of the dead is left");
        });
    }

    /// One dies at each step on its way into the table: others find the lock and a free word.
    #[test]
    fn who_dies_on_its_way_in_is_in_nobodys_way() {
        Vanish::at_every_step(2, |vanish| {
            let shared = Shared::new();
            let (other, vanish) = (Arc::clone(&shared), vanish.clone());
            let dying = loom::thread::spawn(move || {
                vanish.at(|| {
                    other.lock(DEAD, false);
                    let index = other.waiters().enter(mark(DEAD), |_| false);
                    other.lock.hand_on_doubt();
                    index.is_some()
                })
            });
            if shared.lock.try_lock(mark(1), |_, _, _| false).is_ok() {
                shared.waiters().notify(1, &|_| false);
                shared.lock.unlock();
            }
            let dead = dying.join().unwrap() != Some(true);
            shared.lock(1, dead);
            shared.waiters().sweep(&|mark: Mark| mark.slot() == DEAD);
            assert!(!shared.waiters().is_in_use());
            let words = (0..3).map_while(|_| shared.waiters().enter(mark(1), |_| false)).count();
            assert_eq!(words, 3, "a word is lost");
        });
    }
}
