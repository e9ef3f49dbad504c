//! The words that a fork server, its workers and its owner share.
//!
//! # Layout
//! One board, then a record for each worker that lives or whose end the owner has not taken note of.
//!
//! | word of a record | written by | read by |
//! |---|---|---|
//! | `word` = pid, status, state | see below | all three |
//! | `start` | the worker, before it does anything else | the owner, once the server is dead |
//! | `task` | the worker, and the server that calls it off, by CAS | the server |
//! | `since` | the worker, before `task` | the server |
//! | counters | the worker | the owner |
//!
//! | state | means | next | by |
//! |---|---|---|---|
//! | FREE | nobody's | FORKED | the server |
//! | FORKED | a fork is under way | STARTING | the worker, or the server, whoever is first |
//! | STARTING | it prepares itself | READY | the worker |
//! | READY | it works | RETIRED | the worker, which has nothing in hand and ends |
//! | any of these | – | ENDED, or FREE if it was RETIRED | the server, when it has reaped the worker |
//! | ENDED | it died: what it had in hand has to be seen to | FREE | the owner |
//!
//! # Crash states
//! Every change is one store or one CAS of one word; there is no lock. The words are made anew for every server, so
//! that what workers of a dead one still write in their last microseconds is seen by nobody.

use crate::error::Result;
use crate::os::children;
use crate::os::liveness::{self, Identity};
use crate::os::process as os;
use crate::process::ExitStatus;
use crate::process::status::Word;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Room for the text that says why a server gave up.
const TEXT: usize = 4096 - 128;

/// What concerns all.
#[repr(C, align(128))]
pub(super) struct Board {
    /// What the owner wants: one of the orders below.
    pub(super) order: AtomicU32,
    /// How many workers there are to be; written by the owner.
    pub(super) wanted: AtomicU32,
    /// What workers have after SIGTERM before they are killed, in nanoseconds; written by the owner.
    pub(super) grace: AtomicU64,
    /// The first forks have succeeded; written by the server.
    pub(super) begun: AtomicU32,
    /// Why the server gave up, one of the reasons below; written by the server, after the text.
    pub(super) reason: AtomicU32,
    /// The system's error number, where a fork failed; written by the server, before `reason`.
    pub(super) errno: AtomicU32,
    /// Ends that the owner has to see to so far, wrapping; counted by the server.
    pub(super) ends: AtomicU32,
    /// Forks of workers so far.
    pub(super) forks: AtomicU32,
    /// Bytes of text.
    length: AtomicU32,
    text: [AtomicU8; TEXT],
}

/// Go on.
pub(super) const KEEP: u32 = 0;
/// Fork no more; end when the last worker has ended by itself.
pub(super) const DRAIN: u32 = 1;
/// SIGTERM to all; SIGKILL after the grace; end.
pub(super) const END: u32 = 2;

/// Workers end before they are ready.
pub(super) const NOT_READY: u32 = 1;
/// Workers died more often than they may.
pub(super) const TOO_OFTEN: u32 = 2;
/// No worker can be forked.
pub(super) const NO_FORK: u32 = 3;

/// One worker's words.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Record {
    word: AtomicU64,
    /// When the process began, as [`Identity`] has it.
    start: AtomicU64,
    /// 0, [`PAUSED`], or the number of the task in hand; with [`CALLED_OFF`] the worker is to be killed.
    task: AtomicU64,
    /// When the task began, on the monotonic clock.
    since: AtomicU64,
    /// Set by the server: end when nothing is in hand.
    retire: AtomicU32,
    /// Tasks, or chunks of maps, that ended here.
    tasks: AtomicU64,
    /// Nanoseconds in tasks.
    busy: AtomicU64,
    /// When the worker was ready, on the monotonic clock.
    ready: AtomicU64,
}

const _: () = assert!(size_of::<Board>() == 4096 && size_of::<Record>() == 128);

/// Set in a record's `task` by the server, which then kills the worker.
pub(super) const CALLED_OFF: u64 = 1 << 63;

/// In a record's `task`: a task is in hand, but its time stands still.
const PAUSED: u64 = 1 << 62;

/// Where a worker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Free,
    Forked,
    Starting,
    Ready,
    Retired,
    Ended,
}

/// A record's main word, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) standing: Standing,
    /// 0 until the worker has written it.
    pub(crate) pid: u32,
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// It was killed because its task took too long.
    pub(crate) too_long: bool,
}

const TOO_LONG: u64 = 1 << 24;

impl Entry {
    fn to_word(self) -> u64 {
        let flag = if self.too_long { TOO_LONG } else { 0 };
        let status = u64::from(Word::told(self.status).0) << 8;
        u64::from(self.pid) << 32 | flag | status | self.standing as u64
    }

    fn from_word(word: u64) -> Self {
        let standing = match word as u8 {
            1 => Standing::Forked,
            2 => Standing::Starting,
            3 => Standing::Ready,
            4 => Standing::Retired,
            5 => Standing::Ended,
            _ => Standing::Free,
        };
        let status = Word((word >> 8) as u16 as u32).status();
        Self {
            standing,
            pid: (word >> 32) as u32,
            status: status.unwrap_or(ExitStatus::Unknown),
            too_long: word & TOO_LONG != 0,
        }
    }
}

/// What a worker has done so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) tasks: u64,
    pub(crate) busy: u64,
    pub(crate) ready: u64,
    /// When the task in hand began; 0 = none is.
    pub(crate) since: u64,
}

impl Record {
    pub(crate) fn entry(&self) -> Entry {
        Entry::from_word(self.word.load(Ordering::Acquire))
    }

    /// One store. `status` is for those that ended.
    pub(super) fn set(&self, standing: Standing, pid: u32, status: ExitStatus, too_long: bool) {
        self.word.store(Entry { standing, pid, status, too_long }.to_word(), Ordering::Release);
    }

    /// For the server, before it forks.
    pub(super) fn begin(&self) {
        for word in [&self.start, &self.task, &self.since, &self.tasks, &self.busy, &self.ready] {
            word.store(0, Ordering::Relaxed);
        }
        self.retire.store(0, Ordering::Relaxed);
        self.set(Standing::Forked, 0, ExitStatus::Unknown, false);
    }

    /// For the server, after the fork: the pid is known from now on, though the worker may not have run yet.
    pub(super) fn say_forked(&self, pid: u32) {
        let word = |standing, pid| {
            Entry { standing, pid, status: ExitStatus::Unknown, too_long: false }.to_word()
        };
        let _ = self.word.compare_exchange(
            word(Standing::Forked, 0),
            word(Standing::Starting, pid),
            Ordering::Release,
            Ordering::Relaxed,
        );
    }

    /// For the owner, when it has seen to an ended one.
    pub(crate) fn free(&self) {
        self.set(Standing::Free, 0, ExitStatus::Unknown, false);
    }

    // ---- the worker's part ----

    pub(super) fn say_starting(&self) {
        let pid = std::process::id();
        self.start.store(liveness::own_start_time(pid).unwrap_or(0), Ordering::Relaxed);
        self.set(Standing::Starting, pid, ExitStatus::Unknown, false);
    }

    pub(crate) fn say_ready(&self, now: u64) {
        self.ready.store(now, Ordering::Relaxed);
        self.set(Standing::Ready, std::process::id(), ExitStatus::Unknown, false);
    }

    pub(crate) fn say_retired(&self) {
        self.set(Standing::Retired, std::process::id(), ExitStatus::Unknown, false);
    }

    /// Whether the worker is to end when nothing is in hand.
    pub(crate) fn is_to_retire(&self) -> bool {
        self.retire.load(Ordering::Relaxed) != 0
    }

    /// A task begins, or goes on. Called off already: waits to be killed.
    pub(crate) fn take(&self, task: u64, now: u64) {
        self.since.store(now, Ordering::Relaxed);
        let before = if self.task.load(Ordering::Relaxed) == PAUSED { PAUSED } else { 0 };
        // Release: pairs with `in_hand`, which then finds `since`.
        if self.task.compare_exchange(before, task, Ordering::Release, Ordering::Relaxed).is_err() {
            children::wait_to_be_killed();
        }
    }

    /// The task's time stops. Called off meanwhile: waits to be killed.
    pub(crate) fn pause(&self, task: u64) {
        if self.task.compare_exchange(task, PAUSED, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            children::wait_to_be_killed();
        }
    }

    /// Nothing is in hand any more, after a pause.
    pub(crate) fn lay_down(&self) {
        let _ = self.task.compare_exchange(PAUSED, 0, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Counts a task. The worker is the only one to count here.
    pub(crate) fn count(&self, tasks: u64, busy: u64) {
        self.tasks.store(self.tasks.load(Ordering::Relaxed) + tasks, Ordering::Relaxed);
        self.busy.store(self.busy.load(Ordering::Relaxed) + busy, Ordering::Relaxed);
    }

    // ---- the server's part ----

    /// When the task in hand began, and its number.
    pub(super) fn in_hand(&self) -> Option<(u64, u64)> {
        let task = self.task.load(Ordering::Acquire); // pairs with `take`
        let busy = task != 0 && task & (CALLED_OFF | PAUSED) == 0;
        busy.then(|| (task, self.since.load(Ordering::Relaxed)))
    }

    /// Takes the worker's right to go on with `task` (0: to take one); false if it has gone on already.
    pub(super) fn call_off(&self, task: u64) -> bool {
        let off = task | CALLED_OFF;
        self.task.compare_exchange(task, off, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    pub(super) fn retire_when_idle(&self) {
        self.retire.store(1, Ordering::Relaxed);
    }

    // ---- the owner's part ----

    pub(crate) fn tally(&self) -> Tally {
        let task = self.task.load(Ordering::Acquire);
        Tally {
            tasks: self.tasks.load(Ordering::Relaxed),
            busy: self.busy.load(Ordering::Relaxed),
            ready: self.ready.load(Ordering::Relaxed),
            since: if matches!(task, 0 | PAUSED) { 0 } else { self.since.load(Ordering::Relaxed) },
        }
    }

    /// Whether the process that wrote this record certainly exists no more.
    pub(super) fn is_gone(&self, own: Identity) -> bool {
        let entry = self.entry();
        match entry.standing {
            Standing::Free | Standing::Ended => true,
            _ => {
                let start = self.start.load(Ordering::Relaxed);
                // What has not come so far has no task, and dies in one of the many system calls that lie before.
                entry.pid == 0 || start == 0 || Identity { pid: entry.pid, start, ..own }.is_gone()
            }
        }
    }
}

/// The words, as each of the three has them mapped.
#[derive(Debug)]
pub(crate) struct Roster {
    pages: os::SharedPages,
    records: usize,
}

impl Roster {
    /// Maps words for so many records. For the owner, before the server is forked.
    pub(super) fn new(records: usize) -> Result<Self> {
        let length = size_of::<Board>() + records * size_of::<Record>();
        Ok(Self { pages: os::SharedPages::new(length)?, records })
    }

    pub(super) fn board(&self) -> &Board {
        // SAFETY: the mapping is page-aligned, begins with a board and lives as long as `self`; every field is atomic
        // and every bit pattern valid, so that it does not matter who else writes.
        unsafe { self.pages.start().cast::<Board>().as_ref() }
    }

    pub(crate) fn records(&self) -> &[Record] {
        // SAFETY: as above; `records` of them lie behind the board, as aligned as the board's size is.
        unsafe {
            let first = self.pages.start().as_ptr().add(size_of::<Board>()).cast::<Record>();
            std::slice::from_raw_parts(first, self.records)
        }
    }

    /// For the server: why it gives up, text first.
    pub(super) fn give_up(&self, reason: u32, errno: i32, text: &str) {
        let board = self.board();
        let length = (0..=text.len().min(TEXT)).rev().find(|&end| text.is_char_boundary(end));
        let length = length.unwrap_or(0);
        for (place, byte) in board.text.iter().zip(&text.as_bytes()[..length]) {
            place.store(*byte, Ordering::Relaxed);
        }
        board.length.store(length as u32, Ordering::Relaxed);
        board.errno.store(errno as u32, Ordering::Relaxed);
        board.reason.store(reason, Ordering::Release); // pairs with `why`
    }

    /// Why the server gave up: reason, error number, text.
    pub(super) fn why(&self) -> Option<(u32, i32, String)> {
        let board = self.board();
        let reason = board.reason.load(Ordering::Acquire); // pairs with `give_up`
        if reason == 0 {
            return None;
        }
        let length = (board.length.load(Ordering::Relaxed) as usize).min(TEXT);
        let bytes: Vec<u8> =
            board.text[..length].iter().map(|byte| byte.load(Ordering::Relaxed)).collect();
        let errno = board.errno.load(Ordering::Relaxed) as i32;
        Some((reason, errno, String::from_utf8_lossy(&bytes).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_records_word_says_what_was_put_in() {
        let statuses = [ExitStatus::Exited(255), ExitStatus::Signaled(9), ExitStatus::Unknown];
        let standings = [Standing::Free, Standing::Starting, Standing::Ready, Standing::Ended];
        for (status, standing) in statuses.into_iter().flat_map(|s| standings.map(|t| (s, t))) {
            for too_long in [false, true] {
                let entry = Entry { standing, pid: u32::MAX - 7, status, too_long };
                assert_eq!(Entry::from_word(entry.to_word()), entry);
            }
        }
    }

    #[test]
    fn a_task_is_called_off_or_ends_but_not_both() {
        let roster = Roster::new(3).unwrap();
        let record = &roster.records()[2];
        record.begin();
        record.take(7, 70);
        assert_eq!(record.in_hand(), Some((7, 70)));
        record.pause(7);
        assert!(
            !record.call_off(7) && !record.call_off(0),
            "it has ended, and its result is on the way"
        );
        record.lay_down();
        record.take(8, 80);
        assert!(!record.call_off(7), "another is in hand");
        assert!(record.call_off(8) && record.in_hand().is_none());
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let roster = Roster::new(1).unwrap();
        assert!(roster.why().is_none());
        roster.give_up(NO_FORK, 11, &"é".repeat(TEXT));
        let (reason, errno, text) = roster.why().unwrap();
        assert_eq!((reason, errno), (NO_FORK, 11));
        assert!(text.len() <= TEXT && text.chars().all(|c| c == 'é'));
    }
}
