//! The pool's fork server: who is whose child, who ends with whom, and what is told when no worker can live.

use crate::common::{Test, reap_all_children, state_of, until};
use crate::tests;
use mpshm::{Array, Error, ErrorKind, ExitStatus, Pool, Process, TaskError, Value};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the documentation says takes up to a second; conditions that nothing promises a time for get five.
const SECOND: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(5);

fn square(n: u64) -> u64 {
    n * n
}

/// How many naps have begun, in any process, where a test wants to know: the workers inherit it at their fork.
static NAPS: Mutex<Option<Arc<Value<u32>>>> = Mutex::new(None);

/// Counts naps as long as this lives.
struct Naps(Arc<Value<u32>>);

impl Naps {
    fn new() -> Self {
        let naps = Arc::new(Value::new(0).unwrap());
        *NAPS.lock().unwrap() = Some(Arc::clone(&naps));
        Self(naps)
    }

    fn wait_for(&self, count: u32) {
        until("naps have begun", SOON, || self.0.load() == count);
    }
}

impl Drop for Naps {
    fn drop(&mut self) {
        NAPS.lock().unwrap().take();
    }
}

fn nap(milliseconds: u64) -> u64 {
    if let Some(naps) = &*NAPS.lock().unwrap() {
        naps.fetch_add(1);
    }
    std::thread::sleep(Duration::from_millis(milliseconds));
    milliseconds
}

fn signal(pid: u32, number: i32) {
    // SAFETY: a signal to a process that this test started.
    unsafe { libc::kill(pid as i32, number) };
}

fn kill(pid: u32) {
    signal(pid, libc::SIGKILL);
}

fn is_alive(pid: u32) -> bool {
    !matches!(state_of(pid), None | Some('Z'))
}

fn parent_of(pid: u32) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after = stat[stat.rfind(')').unwrap() + 1..].split_ascii_whitespace().nth(1).unwrap();
    after.parse().unwrap()
}

/// Whether the words of a signal set in `/proc` have this one.
fn signal_is_in(pid: u32, set: &str, number: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(set)).unwrap();
    u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap() >> (number - 1) & 1 == 1
}

fn processes(pool: &Pool) -> Vec<u32> {
    let mut pids = pool.worker_pids().unwrap();
    pids.extend(pool.server_pid().unwrap());
    pids
}

/// Runs a process that makes a pool, hands out what keeps its workers busy, and tells the pids of all.
fn with_owner(busy: bool, then: impl FnOnce(&Process, &[u32])) {
    let pids = Array::<u32>::new(4).unwrap();
    let owner = Process::spawn(|| {
        let pool = Pool::new(2).unwrap();
        let _tasks: Vec<_> =
            (0..2 * u64::from(busy)).map(|_| pool.submit(nap, 100_000).unwrap()).collect();
        pids.copy_from_slice(0, &processes(&pool)).unwrap();
        pids.store(3, 1).unwrap();
        loop {
            std::thread::park();
        }
    })
    .unwrap();
    until("the owner has a pool", SOON, || pids.load(3).unwrap() == 1);
    let pids: Vec<u32> = (0..3).map(|index| pids.load(index).unwrap()).collect();
    then(&owner, &pids);
    let start = Instant::now();
    owner.join().unwrap();
    until("all have ended", SOON, || pids.iter().all(|&pid| !is_alive(pid)));
    reap_all_children();
    assert!(start.elapsed() < 2 * SECOND, "{:?}", start.elapsed());
    assert!(pids.iter().all(|&pid| state_of(pid).is_none()), "a zombie is left");
}

fn workers_are_the_servers_children_and_their_successors_too() {
    let pool = Pool::new(3).unwrap();
    let server = pool.server_pid().unwrap().unwrap();
    assert_eq!(parent_of(server), std::process::id());
    for _ in 0..2 {
        let pids = pool.worker_pids().unwrap();
        assert_eq!(pids.len(), 3);
        assert!(pids.iter().all(|&pid| parent_of(pid) == server));
        for pid in &pids {
            kill(*pid);
        }
        // Nobody is inside a call on the pool meanwhile.
        until("all three are replaced", SOON, || {
            let now = pool.worker_pids().unwrap();
            now.len() == 3 && now.iter().all(|pid| !pids.contains(pid) && is_alive(*pid))
        });
        assert_eq!(pool.call(square, 5), Ok(25));
    }
    let pids = processes(&pool);
    pool.terminate().unwrap();
    assert!(pids.iter().all(|&pid| state_of(pid).is_none()), "a process or a zombie is left");
    assert_eq!(pool.server_pid().unwrap(), None);
}

fn b20_idle_and_busy_workers_and_the_server_end_with_their_owner() {
    for busy in [false, true] {
        with_owner(busy, |owner, _| owner.kill().unwrap());
    }
}

fn b20_also_when_the_server_was_stopped() {
    with_owner(true, |owner, pids| {
        signal(pids[2], libc::SIGSTOP);
        until("it is stopped", SOON, || state_of(pids[2]) == Some('T'));
        owner.kill().unwrap();
    });
}

fn b20_also_when_a_worker_was_stopped() {
    with_owner(true, |owner, pids| {
        signal(pids[0], libc::SIGSTOP);
        owner.kill().unwrap();
    });
}

fn a93_an_owner_that_exits_without_closing_leaves_nothing() {
    let pids = Array::<u32>::new(3).unwrap();
    let owner = Process::spawn(|| {
        let pool = Box::leak(Box::new(Pool::new(2).unwrap()));
        let _task = Box::leak(Box::new(pool.submit(nap, 100_000).unwrap()));
        pids.copy_from_slice(0, &processes(pool)).unwrap();
        0
    })
    .unwrap();
    assert_eq!(owner.join().unwrap(), ExitStatus::Exited(0));
    let pids: Vec<u32> = (0..3).map(|index| pids.load(index).unwrap()).collect();
    until("all have ended", SOON, || pids.iter().all(|&pid| !is_alive(pid)));
    reap_all_children();
    assert!(pids.iter().all(|&pid| state_of(pid).is_none()));
}

fn b21_the_thread_that_made_a_pool_ends_and_the_pool_lives() {
    // In a process of its own, for the runner's is single-threaded by contract.
    let child = Process::spawn(|| {
        let naps = Naps::new();
        let pool = std::thread::spawn(|| Pool::new(2).unwrap()).join().unwrap();
        let before = processes(&pool);
        assert_eq!(pool.map(square, &[1, 2, 3]).unwrap(), [1, 4, 9]);
        assert_eq!(processes(&pool), before);
        // A worker that dies now is replaced by the server, whoever waits.
        let busy = pool.submit(nap, 100_000).unwrap();
        naps.wait_for(1);
        for pid in pool.worker_pids().unwrap() {
            kill(pid);
        }
        assert!(matches!(busy.get(), Err(TaskError::WorkerDied { .. })));
        assert_eq!(pool.call(square, 7), Ok(49));
        0
    })
    .unwrap();
    assert_eq!(child.join().unwrap(), ExitStatus::Exited(0));
}

fn a_killed_server_takes_what_was_begun_along_and_another_does_the_rest() {
    let naps = Naps::new();
    let pool = Pool::new(2).unwrap();
    let before = processes(&pool);
    let begun: Vec<_> = (0..2).map(|_| pool.submit(nap, 100_000).unwrap()).collect();
    let waiting: Vec<_> = (0..200).map(|n| pool.submit(square, n).unwrap()).collect();
    naps.wait_for(2);
    assert!(pool.stats().unwrap().iter().all(|worker| worker.is_busy));
    kill(pool.server_pid().unwrap().unwrap());
    let start = Instant::now();
    for task in &begun {
        let error = task.get().unwrap_err();
        assert!(matches!(error, TaskError::WorkerDied { attempts: 1, .. }), "{error:?}");
    }
    for (n, task) in (0..).zip(&waiting) {
        assert_eq!(task.get(), Ok(n * n));
    }
    assert!(start.elapsed() < 2 * SECOND, "{:?}", start.elapsed());
    assert!(processes(&pool).iter().all(|pid| !before.contains(pid)));
    assert_eq!(pool.workers(), 2);
    pool.close().unwrap();
    pool.join().unwrap();
    drop(pool);
    // The dead server's workers came to this process, as to init.
    reap_all_children();
}

fn a_pool_that_keeps_no_server_is_broken_with_it() {
    let pool = Pool::builder().workers(2).replace_server(false).build().unwrap();
    let tasks: Vec<_> = (0..300).map(|_| pool.submit(nap, 100_000).unwrap()).collect();
    let server = pool.server_pid().unwrap().unwrap();
    kill(server);
    let start = Instant::now();
    let mut broken = 0;
    for task in &tasks {
        match task.get().unwrap_err() {
            TaskError::WorkerDied { .. } => {}
            error => {
                assert_eq!(error.kind(), ErrorKind::Broken);
                assert!(
                    error.to_string().contains(&format!("server (pid {server}) died")),
                    "{error}"
                );
                broken += 1;
            }
        }
    }
    assert!(start.elapsed() < 2 * SECOND, "{:?}", start.elapsed());
    assert!(broken >= 298, "{broken} of 300");
    assert_eq!(pool.submit(square, 1).unwrap_err().kind(), ErrorKind::Broken);
    assert_eq!(pool.call(square, 1).unwrap_err().kind(), ErrorKind::Broken);
    assert_eq!(pool.map(square, &[1]).unwrap_err().kind(), ErrorKind::Broken);
    pool.close().unwrap();
    pool.join().unwrap();
    drop(pool);
    reap_all_children();
}

fn a_stopped_server_is_continued_and_replaces_who_died_meanwhile() {
    let naps = Naps::new();
    let pool = Pool::new(2).unwrap();
    let server = pool.server_pid().unwrap().unwrap();
    signal(server, libc::SIGSTOP);
    until("it is stopped", SOON, || state_of(server) == Some('T'));
    let begun = pool.submit(nap, 100_000).unwrap();
    naps.wait_for(1);
    for pid in pool.worker_pids().unwrap() {
        kill(pid);
    }
    let start = Instant::now();
    assert!(matches!(begun.get(), Err(TaskError::WorkerDied { .. })));
    assert_eq!(pool.call(square, 3), Ok(9));
    assert!(start.elapsed() < 2 * SECOND, "{:?}", start.elapsed());
}

fn a_pool_whose_server_is_stopped_is_terminated_all_the_same() {
    let pool = Pool::new(2).unwrap();
    let pids = processes(&pool);
    signal(pids[2], libc::SIGSTOP);
    until("it is stopped", SOON, || state_of(pids[2]) == Some('T'));
    let start = Instant::now();
    pool.terminate().unwrap();
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
    assert!(pids.iter().all(|&pid| state_of(pid).is_none()));
}

fn b06_a_worker_that_ignores_sigterm_is_killed_after_the_grace() {
    let pool = Pool::new(1).unwrap();
    let deaf = pool
        .submit(
            |n: u64| {
                // SAFETY: no handler.
                unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
                nap(n)
            },
            100_000,
        )
        .unwrap();
    let worker = pool.worker_pids().unwrap()[0];
    until("it is deaf", SOON, || signal_is_in(worker, "SigIgn", libc::SIGTERM));
    let (start, grace) = (Instant::now(), Duration::from_millis(100));
    pool.terminate_after(grace).unwrap();
    assert!(start.elapsed() >= grace && start.elapsed() < SECOND, "{:?}", start.elapsed());
    assert_eq!(deaf.get(), Err(TaskError::Cancelled));
    assert_eq!(state_of(worker), None);
}

fn b26_one_sigint_to_the_group_ends_owner_server_and_workers() {
    with_owner(true, |_, pids| {
        let server = pids[2];
        assert!(pids.iter().all(|&pid| signal_is_in(pid, "SigIgn", libc::SIGINT)));
        // The group of this test; this process alone lets it pass.
        // SAFETY: no handlers.
        unsafe {
            let before = libc::signal(libc::SIGINT, libc::SIG_IGN);
            libc::kill(0, libc::SIGINT);
            libc::signal(libc::SIGINT, before);
        }
        assert!(server > 0);
    });
}

fn b26_an_owner_that_goes_on_after_a_sigint_still_has_its_workers() {
    let pool = Pool::new(2).unwrap();
    // Only now: server and workers have not inherited it.
    // SAFETY: no handlers.
    let before = unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
    let pids = processes(&pool);
    let task = pool.submit(nap, 50).unwrap();
    // SAFETY: the group of this test; no handlers.
    unsafe {
        libc::kill(0, libc::SIGINT);
        libc::signal(libc::SIGINT, before);
    }
    assert_eq!(task.get(), Ok(50));
    assert_eq!(processes(&pool), pids);
}

/// A pool whose initializer counts its runs and then does this.
fn failing(workers: usize, fail: fn()) -> (Pool, Arc<Value<u32>>) {
    let runs = Arc::new(Value::<u32>::new(0).unwrap());
    let counted = Arc::clone(&runs);
    let initializer = move || {
        counted.fetch_add(1);
        fail();
    };
    (Pool::builder().workers(workers).initializer(initializer).build().unwrap(), runs)
}

fn b03_an_initializer_that_fails_breaks_the_pool_with_its_message_after_few_forks() {
    let fails: [(fn(), &str); 4] = [
        (|| panic!("no model here"), "no model here (tests/pools/server.rs:"),
        (|| std::process::exit(3), "exit code 3"),
        (|| std::process::abort(), "killed by signal 6"),
        (|| kill(std::process::id()), "killed by signal 9"),
    ];
    for (fail, words) in fails {
        for workers in [1, 3] {
            let (pool, runs) = failing(workers, fail);
            let start = Instant::now();
            let error = Error::from(pool.call(square, 1).unwrap_err());
            assert_eq!(error.kind(), ErrorKind::Broken);
            assert!(error.message().contains(words), "{error}");
            assert!(start.elapsed() < 20 * SECOND, "{:?}", start.elapsed());
            assert_eq!(pool.submit(square, 1).unwrap_err().kind(), ErrorKind::Broken);
            assert!((1..=workers as u32 + 2).contains(&runs.load()), "{} forks", runs.load());
            drop(pool);
        }
    }
}

fn an_initializer_runs_once_in_each_worker_before_any_task() {
    let (pool, runs) = failing(3, || {});
    until("three have run", SOON, || runs.load() == 3);
    for pid in pool.worker_pids().unwrap() {
        kill(pid);
    }
    until("three more have run", SOON, || runs.load() == 6);
    assert_eq!(pool.map(square, &[1, 2]).unwrap(), [1, 4]);
    assert_eq!(runs.load(), 6);
}

fn an_initializer_that_fails_now_and_then_does_not_break_the_pool() {
    let runs = Arc::new(Value::<u32>::new(0).unwrap());
    let counted = Arc::clone(&runs);
    let every_other = move || assert!(counted.fetch_add(1) % 2 == 1, "not this time");
    let pool = Pool::builder().workers(1).initializer(every_other).build().unwrap();
    for n in 0..10 {
        assert_eq!(pool.call(square, n), Ok(n * n));
        let pid = pool.worker_pids().unwrap()[0];
        kill(pid);
        until("it is gone", SOON, || !is_alive(pid));
    }
    assert!(runs.load() >= 10, "{} forks", runs.load());
}

fn a92_when_a_worker_cannot_be_forked_there_is_no_pool_and_nothing_of_it() {
    let before = Array::<u32>::new(1).unwrap();
    let child = Process::spawn(|| {
        // SAFETY: plain calls; the limit holds for this process and its children.
        unsafe {
            // A user of whom there is no other process; root has no limits.
            let user = 3_000_000_000 + std::process::id();
            assert_eq!(libc::setgid(user), 0);
            assert_eq!(libc::setuid(user), 0);
            // Without it `/proc/self` is root's.
            libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0);
            // This process, the server and two workers.
            let limit = libc::rlimit { rlim_cur: 4, rlim_max: 4 };
            assert_eq!(libc::setrlimit(libc::RLIMIT_NPROC, &raw const limit), 0);
        }
        drop(Pool::new(2).unwrap());
        let error = Pool::new(3).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
        assert!(error.message().contains("worker 3 of a pool's 3: "), "{error}");
        assert!(!crate::common::has_children());
        // All four places are free again.
        drop(Pool::new(2).unwrap());
        before.store(0, 1).unwrap();
        0
    })
    .unwrap();
    assert_eq!(child.join().unwrap(), ExitStatus::Exited(0));
    assert_eq!(before.load(0).unwrap(), 1);
}

fn what_was_printed_before_the_pool_comes_once() {
    let text = crate::common::captured(1, || {
        print!("before ");
        // SAFETY: a terminated string.
        unsafe { libc::printf(c"c ".as_ptr()) };
        let pool = Pool::new(2).unwrap();
        for pid in pool.worker_pids().unwrap() {
            kill(pid);
        }
        let loud = |n: u64| {
            print!("task{n} ");
            n
        };
        assert_eq!(pool.call(loud, 1), Ok(1));
        pool.close().unwrap();
        pool.join().unwrap();
    });
    for word in ["before", "c", "task1"] {
        assert_eq!(text.split_whitespace().filter(|one| *one == word).count(), 1, "{text}");
    }
}

fn b29_a_pool_inside_a_worker_works_and_ends_with_it() {
    let pool = Pool::new(2).unwrap();
    let nested = |n: u64| {
        let inner = Pool::new(2).unwrap();
        inner.map(square, &[n, n + 1]).unwrap().iter().sum::<u64>()
    };
    assert_eq!(pool.map_with_chunk(nested, &[1, 2, 3], 1).unwrap(), [5, 13, 25]);
    let pids = Arc::new(Array::<u32>::create(&crate::common::unique("pids"), 4).unwrap());
    let left = |_: u64| -> u64 {
        let inner = Pool::new(2).unwrap();
        let pids = Array::<u32>::open(&crate::common::unique("pids")).unwrap();
        pids.copy_from_slice(0, &processes(&inner)).unwrap();
        pids.store(3, std::process::id()).unwrap();
        nap(100_000)
    };
    let task = pool.submit(left, 0).unwrap();
    until("the nested pool is there", SOON, || pids.load(3).unwrap() != 0);
    mpshm::Segment::unlink(&crate::common::unique("pids")).unwrap();
    kill(pids.load(3).unwrap());
    assert!(matches!(task.get(), Err(TaskError::WorkerDied { .. })));
    for index in 0..3 {
        let pid = pids.load(index).unwrap();
        until("the nested pool has ended", SOON, || !is_alive(pid));
    }
    drop(pool);
    reap_all_children();
}

pub const TESTS: &[Test] = tests![
    workers_are_the_servers_children_and_their_successors_too,
    b20_idle_and_busy_workers_and_the_server_end_with_their_owner,
    b20_also_when_the_server_was_stopped,
    b20_also_when_a_worker_was_stopped,
    a93_an_owner_that_exits_without_closing_leaves_nothing,
    b21_the_thread_that_made_a_pool_ends_and_the_pool_lives,
    a_killed_server_takes_what_was_begun_along_and_another_does_the_rest,
    a_pool_that_keeps_no_server_is_broken_with_it,
    a_stopped_server_is_continued_and_replaces_who_died_meanwhile,
    a_pool_whose_server_is_stopped_is_terminated_all_the_same,
    b06_a_worker_that_ignores_sigterm_is_killed_after_the_grace,
    b26_one_sigint_to_the_group_ends_owner_server_and_workers,
    b26_an_owner_that_goes_on_after_a_sigint_still_has_its_workers,
    b03_an_initializer_that_fails_breaks_the_pool_with_its_message_after_few_forks,
    an_initializer_runs_once_in_each_worker_before_any_task,
    an_initializer_that_fails_now_and_then_does_not_break_the_pool,
    a92_when_a_worker_cannot_be_forked_there_is_no_pool_and_nothing_of_it,
    what_was_printed_before_the_pool_comes_once,
    b29_a_pool_inside_a_worker_works_and_ends_with_it,
];
