//! What processes write down of their calls, in memory that is not the library's and that deaths leave alone.
//!
//! # Stamps
//! A call's two stamps are nanoseconds of `CLOCK_MONOTONIC`. Histories of several processes may be made of them
//! because it is one clock for the whole system: the kernel promises that it never goes back, read on
//! whichever processor (it takes the processors' counters for it only while they run together, and keeps a watch
//! on them); `the_clock_is_one_for_all_processes` sees whether that is so here. A fence stands on the inner side
//! of each stamp. So the first stamp is older than everything that the call reads or writes, and everything that it
//! wrote, its last plain store too, is visible to all before the second stamp is taken: if one call's second
//! stamp is less than another's first one, the other sees all that the one did. That is the order that the
//! checker holds histories to; fences can only make a call longer, and so no order is demanded that there was not.
//!
//! # Who writes what
//! The plan is written by the parent before the gate opens. A record is written by its process: the call before
//! the first stamp, the answer before the second one; stamps are stored with Release and read with Acquire, and 0
//! is none. So what a killed process left is whole as far as its stamps go.

use super::call::{Answer, Call};
use super::disturb::Fate;
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::time::Duration;

/// Processes that work, at most.
pub const WORKERS: usize = 6;
/// Calls of one process in one history, at most.
pub const CALLS: usize = 64;

/// A call that a process is to make.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    pub call: Call,
    /// How often the processor is offered to others before it.
    pub yields: u32,
    pub fate: Fate,
}

/// One call as it went.
pub struct Record {
    plan: UnsafeCell<MaybeUninit<Planned>>,
    answer: UnsafeCell<MaybeUninit<Answer>>,
    invoked: AtomicU64,
    returned: AtomicU64,
}

// SAFETY: see the module's docs: `plan` is written before the gate opens, by the only process that runs then;
// `answer` is written once, before `returned`, and read only behind it.
unsafe impl Sync for Record {}

/// Nanoseconds.
pub fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid place for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The stamp before a call.
pub fn before() -> u64 {
    let stamp = now();
    fence(Ordering::SeqCst);
    stamp
}

/// The stamp after a call.
pub fn after() -> u64 {
    fence(Ordering::SeqCst);
    now()
}

impl Record {
    pub fn plan(&self, planned: Planned) {
        self.invoked.store(0, Ordering::Relaxed);
        self.returned.store(0, Ordering::Relaxed);
        // SAFETY: nobody else looks at it before the gate opens.
        unsafe { (*self.plan.get()).write(planned) };
    }

    /// What was planned, in a record that has been planned.
    pub fn planned(&self) -> Planned {
        // SAFETY: written before the gate opened.
        unsafe { (*self.plan.get()).assume_init() }
    }

    pub fn begin(&self) {
        self.invoked.store(now(), Ordering::Release);
        fence(Ordering::SeqCst);
    }

    pub fn end(&self, answer: Answer) {
        let stamp = after();
        // SAFETY: only this process writes it, once in a history.
        unsafe { (*self.answer.get()).write(answer) };
        self.returned.store(stamp, Ordering::Release);
    }

    pub fn invoked(&self) -> Option<u64> {
        Some(self.invoked.load(Ordering::Acquire)).filter(|&stamp| stamp != 0)
    }

    /// The answer, and the stamp behind it.
    pub fn returned(&self) -> Option<(Answer, u64)> {
        let stamp = self.returned.load(Ordering::Acquire);
        // SAFETY: written before the stamp.
        (stamp != 0).then(|| (unsafe { (*self.answer.get()).assume_init() }, stamp))
    }
}

/// What one process is to do, and did.
pub struct Log {
    count: AtomicU32,
    /// The number of the last history whose plan is done.
    pub done: AtomicU32,
    records: [Record; CALLS],
}

impl Log {
    /// For the next history; the gate is closed.
    pub fn plan(&self, plan: &[Planned]) {
        for (record, &planned) in self.records.iter().zip(plan) {
            record.plan(planned);
        }
        self.count.store(plan.len() as u32, Ordering::Release);
    }

    pub fn records(&self) -> &[Record] {
        &self.records[..self.count.load(Ordering::Acquire) as usize]
    }

    /// The last call that was begun.
    pub fn last(&self) -> Option<&Record> {
        self.records().iter().take_while(|record| record.invoked().is_some()).last()
    }
}

/// A word that processes wait at.
pub struct Word(AtomicU32);

impl Word {
    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    /// Changes it, and wakes all who wait.
    pub fn set(&self, value: u32) {
        self.0.store(value, Ordering::Release);
        self.wake();
    }

    pub fn add(&self) -> u32 {
        self.0.fetch_add(1, Ordering::AcqRel) + 1
    }

    pub fn wake(&self) {
        // SAFETY: a word in a shared mapping.
        unsafe { libc::syscall(libc::SYS_futex, &raw const self.0, libc::FUTEX_WAKE, i32::MAX) };
    }

    /// Sleeps while the word is `value`, for so long at most.
    pub fn wait(&self, value: u32, limit: Duration) {
        let time = libc::timespec {
            tv_sec: limit.as_secs() as libc::time_t,
            tv_nsec: limit.subsec_nanos().into(),
        };
        let (word, limit) = (&raw const self.0, &raw const time);
        // SAFETY: a word in a shared mapping, and a time that the kernel reads.
        unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, value, limit) };
    }
}

/// What the processes of a run share.
pub struct Page {
    /// The number of the present history; [`END`] = there is none any more.
    pub history: Word,
    /// Who stands at the gate.
    pub ready: Word,
    /// The number of the history whose gate is open.
    pub gate: Word,
    /// Moves on whenever somebody has done its plan.
    pub finished: Word,
    pub logs: [Log; WORKERS],
}

pub const END: u32 = u32::MAX;

/// A [`Page`] that children inherit.
pub struct Shared(*mut Page);

impl Shared {
    pub fn new() -> Self {
        let page = map(size_of::<Page>());
        // Zeros are a page: no plan, no stamp, no history.
        Self(page.cast())
    }
}

impl std::ops::Deref for Shared {
    type Target = Page;

    fn deref(&self) -> &Page {
        // SAFETY: mapped as long as this; zeros are valid for its atomics and for what may be uninitialised.
        unsafe { &*self.0 }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: our own mapping.
        unsafe { libc::munmap(self.0.cast(), size_of::<Page>()) };
    }
}

/// Zeroed memory that children inherit, and share with each other.
pub fn map(bytes: usize) -> *mut u8 {
    // SAFETY: a fresh mapping.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(start, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
    start.cast()
}
