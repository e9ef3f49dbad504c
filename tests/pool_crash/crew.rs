//! What all the sweeps have in common: the task, the pool with its two workers, and what is asked of it.

use super::common::{state_of, until};
use super::tracer::{Point, Traced};
use mpshm::{MapTask, Pool, PoolBuilder, Task, TaskError};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::time::Duration;

/// Whether this is a toy's test, which looks until it has found the fault, and does not wait long for what hangs.
static TOY: AtomicBool = AtomicBool::new(false);

pub fn be_a_toy() {
    TOY.store(true, Ordering::Relaxed);
}

/// What is not done after so long hangs: it is far longer than anything here takes.
pub fn limit() -> Duration {
    Duration::from_millis(if TOY.load(Ordering::Relaxed) { 1500 } else { 15_000 })
}

/// Whether a few points are enough.
pub fn quick() -> bool {
    let short = std::env::var_os("MPSHM_QUICK").is_some() || cfg!(debug_assertions);
    short && !TOY.load(Ordering::Relaxed)
}

static BOARD: AtomicPtr<AtomicU64> = AtomicPtr::new(std::ptr::null_mut());
const WORDS: usize = 512;

/// On the board: who ran a task last; whether an owner is inside its operation; how often item n was begun.
pub const RUNNER: usize = 0;
pub const PHASE: usize = 1;
const RUNS: usize = 16;

/// A word of memory that is not the library's, shared with processes forked after [`clear_board`].
pub fn board(word: usize) -> &'static AtomicU64 {
    assert!(word < WORDS);
    let start = BOARD.load(Ordering::Relaxed);
    assert!(!start.is_null(), "no board yet");
    // SAFETY: inside the mapping, which stays for good.
    unsafe { &*start.add(word) }
}

/// All words 0; made at the first time.
pub fn clear_board() {
    if BOARD.load(Ordering::Relaxed).is_null() {
        // SAFETY: a fresh shared mapping, zeroed.
        let page = unsafe {
            let (protection, flags) =
                (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
            libc::mmap(std::ptr::null_mut(), 8 * WORDS, protection, flags, -1, 0)
        };
        assert_ne!(page, libc::MAP_FAILED);
        BOARD.store(page.cast(), Ordering::Relaxed);
    }
    (0..WORDS).for_each(|word| board(word).store(0, Ordering::SeqCst));
}

/// The task: says that it has begun, and who runs it.
pub fn counted(n: u64) -> u64 {
    board(RUNS + n as usize).fetch_add(1, Ordering::SeqCst);
    board(RUNNER).store(u64::from(std::process::id()), Ordering::SeqCst);
    n * n + 7
}

fn counted_bytes(bytes: &[u8]) -> Vec<u8> {
    counted(u64::from(bytes[0]));
    bytes.repeat(3)
}

/// How often item n was begun.
pub fn runs(n: u64) -> u64 {
    board(RUNS + n as usize).load(Ordering::SeqCst)
}

pub fn runner() -> u32 {
    board(RUNNER).load(Ordering::SeqCst) as u32
}

/// Bytes of a long argument; three times as many come home.
pub const LONG: usize = 4000;

/// What is handed out, and in which pool.
#[derive(Clone, Copy)]
pub struct Form {
    pub name: &'static str,
    pub build: fn() -> PoolBuilder,
    pub submit: fn(&Pool) -> Handed,
    /// The items, counted from 1.
    pub items: u64,
    /// How often a task may be begun.
    pub attempts: u64,
    /// Whether workers end after their task by themselves.
    pub ends: bool,
}

fn plain() -> PoolBuilder {
    Pool::builder().workers(2).message_max(LONG as u64)
}

fn call(pool: &Pool) -> Handed {
    Handed::Plain(pool.submit(counted, 1).expect("a task"))
}

pub const CALL: Form =
    Form { name: "a call", build: plain, submit: call, items: 1, attempts: 1, ends: false };
/// In a pool with hardly any memory, so that little need be lost to be missed.
pub const BYTES: Form = Form {
    name: "bytes of many blocks",
    build: || plain().queue(1),
    submit: |pool| {
        let argument = vec![1; LONG];
        Handed::Bytes(pool.submit_bytes(counted_bytes, &argument).expect("a task"))
    },
    ..CALL
};
pub const MAP: Form = Form {
    name: "two chunks of a map",
    submit: |pool| Handed::Map(pool.map_async(counted, &[1, 2]).expect("a map")),
    items: 2,
    ..CALL
};
pub const RETRIED: Form =
    Form { name: "a call with a retry", build: || plain().retries(1), attempts: 2, ..CALL };
pub const LAST: Form = Form {
    name: "a worker's only call",
    build: || plain().max_tasks_per_worker(1),
    ends: true,
    ..CALL
};
/// What was handed out.
pub enum Handed {
    Plain(Task<u64>),
    Bytes(Task<Vec<u8>>),
    Map(MapTask<u64>),
}

impl Handed {
    /// Whether the right values came; the error if none did. Fails when none does in time.
    pub fn get(&self) -> Result<(), TaskError> {
        match self {
            Self::Plain(task) => assert_eq!(task.get_timeout(limit())?, 8, "the value"),
            Self::Bytes(task) => {
                assert_eq!(task.get_timeout(limit())?, vec![1; 3 * LONG], "the bytes");
            }
            Self::Map(task) => assert_eq!(task.get_timeout(limit())?, [8, 11], "the values"),
        }
        Ok(())
    }
}

/// A pool of two workers.
pub struct Crew {
    pub pool: Pool,
    pub form: Form,
    /// Which workers have been there before.
    known: BTreeSet<u32>,
}

impl Crew {
    pub fn new(form: Form) -> Self {
        clear_board();
        let pool = (form.build)().build().expect("a pool");
        Self { pool, form, known: BTreeSet::new() }
    }

    /// Waits until there are two workers that sleep; the one first that was not there at the last call.
    pub fn settle(&mut self) -> [u32; 2] {
        let mut idle = self.idle();
        idle.sort_by_key(|pid| self.known.contains(pid));
        self.known = idle.into();
        idle
    }

    /// Waits until there are two workers that sleep.
    pub fn idle(&self) -> [u32; 2] {
        let mut idle = Vec::new();
        until("two workers are idle", limit(), || {
            let stats = self.pool.stats().expect("stats");
            let sleeps = |pid| state_of(pid) == Some('S');
            idle = stats
                .iter()
                .filter(|one| one.is_ready && !one.is_busy && sleeps(one.pid))
                .map(|one| one.pid)
                .collect();
            idle.len() == 2 && stats.len() == 2
        });
        [idle[0], idle[1]]
    }

    /// Takes a worker where it sleeps for a task.
    pub fn take(&self, worker: u32) -> Traced {
        await_asleep(worker, libc::SYS_futex)
    }

    /// The pool does everything that it should, by workers other than the `gone`.
    pub fn works(&self, gone: Option<u32>) {
        let others: Vec<_> =
            (20..26).map(|n| self.pool.submit(counted, n).expect("a task")).collect();
        for (n, task) in (20..).zip(&others) {
            assert_eq!(task.get_timeout(limit()), Ok(n * n + 7), "another task");
            assert_eq!(runs(n), 1, "runs of another task");
        }
        assert_ne!(Some(runner()), gone, "who ran the others");
    }

    /// That process is no more, not even to be reaped.
    pub fn is_gone(&self, pid: u32) {
        until("the dead worker is reaped", limit(), || state_of(pid).is_none());
    }
}

/// Takes a process as soon as it sleeps in this call.
pub fn await_asleep(pid: u32, call: libc::c_long) -> Traced {
    let mut traced = None;
    until("it sleeps where it should", limit(), || {
        traced = (state_of(pid) == Some('S')).then(|| Traced::asleep_in(pid, call)).flatten();
        traced.is_some()
    });
    traced.expect("it sleeps")
}

pub fn until_state(pid: u32, state: char) {
    until("a process is in this state", limit(), || state_of(pid) == Some(state));
}

pub fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 1..].split_ascii_whitespace().nth(1)?.parse().ok()
}

pub fn signal(pid: u32, number: i32) {
    // SAFETY: a signal to a process of this test.
    unsafe { libc::kill(pid as i32, number) };
}

/// How a process ends at its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Kill,
    Stop,
}

/// At most so many of a way's points, evenly, and both ends.
pub fn thinned(points: &[Point], most: usize) -> Vec<Point> {
    let most = if quick() { most.min(12) } else { most };
    let step = points.len().div_ceil(most).max(1);
    let taken = points.iter().enumerate();
    let taken = taken.filter(|(k, _)| k % step == 0 || k + 1 == points.len());
    taken.map(|(_, &point)| point).collect()
}

/// What a sweep did.
#[derive(Default)]
pub struct Sum {
    points: usize,
    instructions: BTreeSet<u64>,
    pub stages: BTreeSet<u64>,
}

impl Sum {
    pub fn count(&mut self, point: Point) {
        self.points += 1;
        self.instructions.insert(point.address);
    }

    /// Prints one line; fails when hardly anything was interrupted.
    pub fn print(&self, what: &str, length: usize, wanted: usize) {
        println!(
            "    {what}: {length} instructions, {} points taken, {} distinct instructions, stages {:?}",
            self.points,
            self.instructions.len(),
            self.stages
        );
        assert!(self.points * 4 >= wanted, "{} of {wanted} points were met", self.points);
    }
}
