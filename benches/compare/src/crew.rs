//! A round's crew: processes or threads, each on its own processor, that start together.
//!
//! Every round has a crew of its own, forked from this program while it has one thread only: what is
//! measured between threads runs in the threads of one forked child. Nothing is kept from round to round
//! but what the row itself keeps.

use crate::shared::Shared;
use crate::{Result, cpu};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The most members of a crew.
const MEMBERS_MAX: usize = 64;
/// Seconds after which a member that still runs is killed.
const LIMIT: u32 = 60;

/// What a crew shares.
struct Board {
    members: u32,
    arrived: AtomicU32,
    finished: AtomicU32,
    failed: AtomicBool,
    /// All times are counted from here.
    epoch: Instant,
    notes: [Note; MEMBERS_MAX],
}

/// What a member brings back, on a line of its own. Times in nanoseconds, 0: not yet.
#[derive(Default)]
#[repr(align(128))]
struct Note {
    begun: AtomicU64,
    ended: AtomicU64,
    value: AtomicU64,
}

/// A member's place at the start.
pub struct Gate<'a> {
    board: &'a Board,
    /// Which member this is, from 0.
    pub index: usize,
}

impl Gate<'_> {
    /// Waits for the others; the member's time counts from here. Preparation goes before.
    pub fn pass(&self) {
        let board = self.board;
        board.arrived.fetch_add(1, Ordering::AcqRel);
        while board.arrived.load(Ordering::Acquire) < board.members {
            if board.failed.load(Ordering::Relaxed) {
                panic!("another member failed");
            }
            // Members may share a processor.
            std::thread::yield_now();
        }
        board.notes[self.index].begun.store(board.now(), Ordering::Relaxed);
    }

    /// The member's time ends here; without this, where its body ends. Taking down goes behind, when all have come so
    /// far: others may still read what this member has written.
    pub fn finish(&self) {
        let board = self.board;
        board.notes[self.index].ended.store(board.now(), Ordering::Release);
        board.finished.fetch_add(1, Ordering::AcqRel);
        while board.finished.load(Ordering::Acquire) < board.members {
            if board.failed.load(Ordering::Relaxed) {
                panic!("another member failed");
            }
            // The others may need this processor.
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

impl Board {
    fn now(&self) -> u64 {
        // The epoch was taken a moment before the fork; CLOCK_MONOTONIC is one for all processes.
        self.epoch.elapsed().as_nanos().max(1) as u64
    }

    fn run(&self, index: usize, cpu: usize, body: impl FnOnce(Gate<'_>) -> u64) -> Result<()> {
        cpu::pin(cpu)?;
        let value = body(Gate { board: self, index });
        let note = &self.notes[index];
        note.value.store(value, Ordering::Relaxed);
        if note.ended.load(Ordering::Relaxed) == 0 {
            note.ended.store(self.now(), Ordering::Release);
        }
        Ok(())
    }
}

/// What a crew brought back.
pub struct Round {
    /// From the first member's start to the last one's end.
    pub seconds: f64,
    /// What each member's body returned.
    pub values: Vec<u64>,
}

/// Runs `body` in one process for each of `cpus`.
pub fn processes(cpus: &[usize], body: impl Fn(Gate<'_>) -> u64) -> Result<Round> {
    with_board(cpus, |board| {
        let fork_one = |(index, &cpu)| child(board, || board.run(index, cpu, &body));
        cpus.iter().enumerate().map(fork_one).collect()
    })
}

/// Runs `body` in one thread for each of `cpus`, all of one forked process.
pub fn threads(cpus: &[usize], body: impl Fn(Gate<'_>) -> u64 + Sync) -> Result<Round> {
    with_board(cpus, |board| {
        let all = || {
            let body = &body;
            std::thread::scope(|scope| {
                for (index, &cpu) in cpus.iter().enumerate() {
                    scope.spawn(move || {
                        let _mark = MarkPanic(board);
                        board.run(index, cpu, body).expect("pinned");
                    });
                }
            });
            Ok(())
        };
        Ok(vec![child(board, all)?])
    })
}

/// Makes the board, has the children forked, and waits for them.
fn with_board(
    cpus: &[usize],
    fork_all: impl FnOnce(&Board) -> Result<Vec<Child>>,
) -> Result<Round> {
    if cpus.is_empty() || cpus.len() > MEMBERS_MAX {
        return Err(format!("a crew of {}: 1 to {MEMBERS_MAX} are possible", cpus.len()).into());
    }
    let board = Shared::new(Board {
        members: cpus.len() as u32,
        arrived: AtomicU32::new(0),
        finished: AtomicU32::new(0),
        failed: AtomicBool::new(false),
        epoch: Instant::now(),
        notes: std::array::from_fn(|_| Note::default()),
    })?;
    for child in fork_all(&board)? {
        child.join()?;
    }
    let notes = &board.notes[..cpus.len()];
    let times = |of: fn(&Note) -> &AtomicU64| {
        notes.iter().map(move |note| of(note).load(Ordering::Acquire))
    };
    let begun = times(|note| &note.begun).min().unwrap_or(0);
    let ended = times(|note| &note.ended).max().unwrap_or(0);
    if begun == 0 || ended <= begun {
        return Err("a member has not passed the gate, or the round took no time".into());
    }
    Ok(Round { seconds: (ended - begun) as f64 / 1e9, values: times(|note| &note.value).collect() })
}

/// Tells the others, for whom nothing will come any more.
struct MarkPanic<'a>(&'a Board);

impl Drop for MarkPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.failed.store(true, Ordering::Relaxed);
        }
    }
}

/// A forked child. Dropped before it was joined, it is killed and reaped.
struct Child(libc::pid_t);

impl Child {
    fn join(self) -> Result<()> {
        let status = self.reap();
        std::mem::forget(self);
        match status {
            0 => Ok(()),
            _ if libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGALRM => {
                Err(format!("a round took more than {LIMIT} s").into())
            }
            _ if libc::WIFSIGNALED(status) => {
                Err(format!("a member was killed by signal {}", libc::WTERMSIG(status)).into())
            }
            _ => Err("a member failed; see above".into()),
        }
    }

    fn reap(&self) -> i32 {
        let mut status = 0;
        // SAFETY: our own child, not yet reaped; the status is writable.
        while unsafe { libc::waitpid(self.0, &mut status, 0) } < 0
            && std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted
        {}
        status
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: our own child, not yet reaped, so that the pid is still its own.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
        self.reap();
    }
}

/// Forks a child that runs `body` and ends, and never returns from here.
fn child(board: &Board, body: impl FnOnce() -> Result<()>) -> Result<Child> {
    // SAFETY: this program has one thread when it forks.
    match unsafe { libc::fork() } {
        -1 => Err(std::io::Error::last_os_error().into()),
        0 => {
            // SAFETY: plain system calls.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                libc::alarm(LIMIT);
            }
            let body = std::panic::AssertUnwindSafe(body);
            let code = match std::panic::catch_unwind(body) {
                Ok(Ok(())) => 0,
                Ok(Err(error)) => {
                    eprintln!("{error}");
                    1
                }
                Err(_) => 1,
            };
            if code != 0 {
                board.failed.store(true, Ordering::Relaxed);
            }
            // SAFETY: ends the child at once; destructors and exit handlers are the parent's.
            unsafe { libc::_exit(code) }
        }
        pid => Ok(Child(pid)),
    }
}
