//! The owner killed and stopped in its calls: nothing of the pool outlives it, or all goes well.

use super::common::until;
use super::crew::*;
use super::tracer::{Point, Traced};
use mpshm::{Pool, Task};
use std::sync::atomic::{AtomicBool, Ordering};

/// What the owner does.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Make,
    Submit,
    /// The result has come home.
    Collect,
    Call,
    /// The fork server is dead.
    CallWithoutServer,
    Terminate,
}

const INSIDE: u64 = 1;
const BEHIND: u64 = 2;

fn make() -> Pool {
    let builder = Pool::builder().workers(2);
    // What the toy plants.
    let strays = STRAYS.load(Ordering::Relaxed);
    let builder = if strays { builder.initializer(leave_a_stray) } else { builder };
    builder.build().expect("a pool")
}

/// Whether each worker is to leave a process behind.
pub static STRAYS: AtomicBool = AtomicBool::new(false);

/// Forks a process that outlives its parent for a while.
fn leave_a_stray() {
    // SAFETY: a worker has one thread; the child only sleeps.
    unsafe {
        if libc::fork() == 0 {
            libc::sleep(5);
            libc::_exit(0);
        }
    }
}

/// What there is before the call.
struct Before {
    pool: Option<Pool>,
    task: Option<Task<u64>>,
}

impl Before {
    fn of(deed: Deed) -> Self {
        if matches!(deed, Deed::Make) {
            return Self { pool: None, task: None };
        }
        let pool = make();
        until("two workers are ready", limit(), || {
            let stats = pool.stats().expect("stats");
            stats.len() == 2 && stats.iter().all(|one| one.is_ready)
        });
        let task = matches!(deed, Deed::Collect).then(|| pool.submit(counted, 1).expect("a task"));
        match deed {
            Deed::Collect => until("the worker is done with it", limit(), || {
                let tasks = pool.stats().expect("stats").iter().map(|one| one.tasks).sum::<u64>();
                tasks == 1
            }),
            Deed::CallWithoutServer => {
                let server = pool.server_pid().expect("pids").expect("a server");
                signal(server, libc::SIGKILL);
                until_state(server, 'Z');
            }
            _ => {}
        }
        Self { pool: Some(pool), task }
    }

    fn do_it(&mut self, deed: Deed) {
        let pool = self.pool.get_or_insert_with(make);
        match deed {
            Deed::Make => {}
            Deed::Submit => self.task = Some(pool.submit(counted, 1).expect("a task")),
            Deed::Collect => assert_eq!(self.task.as_ref().expect("a task").get(), Ok(8)),
            Deed::Call | Deed::CallWithoutServer => assert_eq!(pool.call(counted, 1), Ok(8)),
            Deed::Terminate => pool.terminate().expect("the end"),
        }
    }

    /// Looks whether the call did what it should.
    fn is_well(&self, deed: Deed) {
        if let Some(task) = &self.task {
            assert_eq!(task.get_timeout(limit()), Ok(8));
        }
        if let (Some(pool), false) = (&self.pool, matches!(deed, Deed::Terminate)) {
            assert_eq!(pool.call(counted, 2), Ok(11));
        }
    }
}

/// Forks an owner; it stands before its call.
fn owner(deed: Deed) -> (u32, Traced) {
    clear_board();
    // SAFETY: this test has one thread.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "cannot fork");
    if pid == 0 {
        let well = std::panic::catch_unwind(|| {
            let mut before = Before::of(deed);
            // SAFETY: no pointers; a stop that the tracer takes away.
            unsafe {
                libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
                libc::raise(libc::SIGSTOP);
            }
            board(PHASE).store(INSIDE, Ordering::SeqCst);
            before.do_it(deed);
            board(PHASE).store(BEHIND, Ordering::SeqCst);
            before.is_well(deed);
        });
        // SAFETY: ends the child without the test's destructors.
        unsafe { libc::_exit(i32::from(well.is_err())) };
    }
    (pid as u32, Traced::child(pid as u32))
}

fn is_behind() -> bool {
    board(PHASE).load(Ordering::SeqCst) == BEHIND
}

/// Waits until every process of the pool has ended, without a signal of this test's; says how the owner did.
fn end(owner: u32) -> i32 {
    let mut answer = 0;
    until("no process is left", limit(), || {
        let mut status = 0;
        // SAFETY: a valid place for the status.
        let found = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        if found == owner as i32 {
            answer = status;
        }
        found < 0
    });
    answer
}

fn sweep(deed: Deed, mode: Mode, most: usize) {
    let (pid, mut traced) = owner(deed);
    let (all, length) = traced.survey(is_behind);
    traced.let_go();
    assert_eq!(end(pid), 0, "the owner's end");
    let points: Vec<Point> = thinned(&all, most);
    let mut sum = Sum::default();
    for &point in &points {
        let (pid, mut traced) = owner(deed);
        let there = traced.run_to(point, is_behind);
        if there {
            sum.count(point);
        }
        match mode {
            Mode::Kill if there => {
                traced.kill();
                assert_eq!(end(pid), libc::SIGKILL, "the owner's end");
                continue;
            }
            Mode::Stop if there => {
                traced.stop();
                signal(pid, libc::SIGCONT);
            }
            _ => traced.let_go(),
        }
        assert_eq!(end(pid), 0, "the owner's end");
    }
    sum.print(&format!("{mode:?} of the owner in {deed:?}"), length, points.len());
}

/// The way is long, and recorded step by step.
pub fn the_owner_is_killed_anywhere_as_it_makes_a_pool() {
    if quick() {
        return println!("    only in the full form");
    }
    sweep(Deed::Make, Mode::Kill, 500);
}

pub fn the_owner_is_killed_anywhere_as_it_submits() {
    sweep(Deed::Submit, Mode::Kill, 500);
}

pub fn the_owner_is_killed_anywhere_as_it_collects() {
    sweep(Deed::Collect, Mode::Kill, 500);
}

pub fn the_owner_is_killed_anywhere_in_a_call() {
    sweep(Deed::Call, Mode::Kill, 300);
}

pub fn the_owner_is_killed_anywhere_as_it_replaces_the_server() {
    sweep(Deed::CallWithoutServer, Mode::Kill, 300);
}

pub fn the_owner_is_killed_anywhere_as_it_terminates_the_pool() {
    sweep(Deed::Terminate, Mode::Kill, 300);
}

pub fn the_owner_is_stopped_anywhere_in_its_calls() {
    for deed in [Deed::Submit, Deed::Collect, Deed::CallWithoutServer, Deed::Terminate] {
        sweep(deed, Mode::Stop, 60);
    }
}
