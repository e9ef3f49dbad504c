//! What a pool can be asked for: limits of tasks and workers, retries, other numbers of workers.

use crate::common::{Test, state_of, until};
use crate::tests;
use mpshm::{ErrorKind, ExitStatus, Pool, PoolBuilder, TaskError, Value};
use std::collections::HashSet;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(5);

fn square(n: u64) -> u64 {
    n * n
}

/// A word that a test's tasks count in; made before its pool, whose workers inherit it.
static COUNT: OnceLock<Value<u64>> = OnceLock::new();

/// Keeps the descriptors of [`COUNT`] out of the runner's comparison: it checks what a test leaves open.
fn counting(test: impl FnOnce(&'static Value<u64>) + std::panic::UnwindSafe) {
    let child = mpshm::Process::spawn(|| {
        test(COUNT.get_or_init(|| Value::new(0).unwrap()));
        0
    });
    let child = child.unwrap();
    assert_eq!(child.join().unwrap(), ExitStatus::Exited(0), "{:?}", child.panic_message());
}

fn kill(pid: u32) {
    // SAFETY: a signal to a process that this test started.
    unsafe { libc::kill(pid as i32, libc::SIGKILL) };
}

fn refused(builder: PoolBuilder) {
    assert_eq!(builder.build().unwrap_err().kind(), ErrorKind::Invalid);
}

fn a91_options_of_zero_are_refused() {
    let new = || Pool::builder().workers(1);
    refused(new().max_tasks_per_worker(0));
    refused(new().task_timeout(Duration::ZERO));
    refused(new().memory_limit(0));
    refused(new().message_max(0));
    refused(new().workers(0));
    refused(new().workers(3).workers_max(2));
}

fn a89_workers_end_after_so_many_tasks_and_others_take_their_place() {
    let pool = Pool::builder().workers(3).max_tasks_per_worker(10).build().unwrap();
    let mut pids = HashSet::new();
    let own_pid = |_: u64| u64::from(std::process::id());
    for n in 0..100u64 {
        assert_eq!(pool.call(square, n), Ok(n * n));
        pids.insert(pool.call(own_pid, n).unwrap());
    }
    assert!(pids.len() >= 200 / 10 - 3, "{} processes for 200 tasks", pids.len());
    until("there are three", SOON, || pool.worker_pids().unwrap().len() == 3);
    assert!(pool.restarts().unwrap() >= 17, "{}", pool.restarts().unwrap());
}

fn a90_b28_a_closed_pool_whose_workers_do_one_task_each_does_them_all() {
    for (workers, tasks) in [(1, 6), (3, 6), (2, 300)] {
        let pool = Pool::builder().workers(workers).max_tasks_per_worker(1).build().unwrap();
        let tasks: Vec<_> = (0..tasks).map(|n| pool.submit(square, n).unwrap()).collect();
        pool.close().unwrap();
        pool.join().unwrap();
        for (n, task) in (0..).zip(&tasks) {
            assert_eq!(task.get(), Ok(n * n));
        }
    }
}

fn tasks_are_done_with_one_each_though_nobody_waits() {
    counting(|done| {
        let pool = Pool::builder().workers(2).max_tasks_per_worker(1).build().unwrap();
        let count = |n: u64| COUNT.get().unwrap().fetch_add(1) + n;
        let _tasks: Vec<_> = (0..100).map(|_| pool.submit(count, 0).unwrap()).collect();
        until("all are done", 2 * SOON, || done.load() == 100);
    });
}

fn b25_a_task_that_takes_too_long_is_killed_and_no_other() {
    let limit = Duration::from_millis(300);
    let pool = Pool::builder().workers(2).task_timeout(limit).build().unwrap();
    let nap = |milliseconds: u64| {
        std::thread::sleep(Duration::from_millis(milliseconds));
        milliseconds
    };
    let start = Instant::now();
    let long = pool.submit(nap, 100_000).unwrap();
    // Many short ones on the other worker, together longer than the limit.
    let short: Vec<_> = (0..30).map(|_| pool.submit(nap, 20).unwrap()).collect();
    let before = pool.worker_pids().unwrap();
    let TaskError::TimeLimit { pid } = long.get().unwrap_err() else { panic!("{:?}", long.get()) };
    let took = start.elapsed();
    assert!(took >= limit && took < limit + Duration::from_secs(1), "{took:?}");
    assert_eq!(long.get().unwrap_err().kind(), ErrorKind::TimeLimit);
    for task in &short {
        assert_eq!(task.get(), Ok(20));
    }
    let after = pool.worker_pids().unwrap();
    assert!(before.contains(&pid) && !after.contains(&pid));
    assert!(after.iter().any(|pid| before.contains(pid)), "the other worker lives on");
}

fn a_wait_for_room_is_no_part_of_a_tasks_time() {
    let limit = Duration::from_millis(100);
    let pool = Pool::builder().workers(2).queue(2).task_timeout(limit).build().unwrap();
    // The owner is elsewhere, and results that are longer than the queue has room for have to wait.
    let tasks: Vec<_> = (0..2)
        .map(|n: u8| pool.submit_bytes(|bytes| bytes.repeat(1 << 20), &[n]).unwrap())
        .collect();
    let more: Vec<_> = (0..8).map(|n| pool.submit(square, n).unwrap()).collect();
    std::thread::sleep(4 * limit);
    for (n, task) in (0u8..).zip(&tasks) {
        assert_eq!(task.get().unwrap(), vec![n; 1 << 20]);
    }
    for (n, task) in (0..).zip(&more) {
        assert_eq!(task.get(), Ok(n * n));
    }
}

fn more_deaths_than_may_be_break_the_pool() {
    let pool =
        Pool::builder().workers(2).restart_limit(3, Duration::from_secs(60)).build().unwrap();
    let dies = |_: u64| -> u64 { std::process::exit(9) };
    for _ in 0..3 {
        assert_eq!(pool.call(dies, 0).unwrap_err().kind(), ErrorKind::WorkerDied);
        assert_eq!(pool.call(square, 2), Ok(4));
    }
    let last = pool.call(dies, 0).unwrap_err();
    assert!(matches!(last.kind(), ErrorKind::WorkerDied | ErrorKind::Broken), "{last:?}");
    let error = pool.call(square, 2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Broken);
    assert!(error.to_string().contains("exit code 9"), "{error}");
}

fn a_task_that_ends_with_its_pool_is_done() {
    let restarts = Pool::builder().workers(1).restart_limit(0, Duration::from_secs(60));
    let pool = restarts.build().unwrap();
    let dies = |_: u64| -> u64 { std::process::exit(9) };
    let (first, second) = (pool.submit(dies, 0).unwrap(), pool.submit(square, 2).unwrap());
    assert!(matches!(first.get().unwrap_err().kind(), ErrorKind::WorkerDied | ErrorKind::Broken));
    assert_eq!(second.wait(Duration::from_secs(20)), Ok(true));
    assert!(second.is_done());
    assert_eq!(second.get().unwrap_err().kind(), ErrorKind::Broken);
}

fn deaths_long_ago_do_not_count() {
    let within = Duration::from_millis(20);
    let pool = Pool::builder().workers(1).restart_limit(1, within).build().unwrap();
    let dies = |_: u64| -> u64 { std::process::exit(9) };
    for _ in 0..5 {
        assert_eq!(pool.call(dies, 0).unwrap_err().kind(), ErrorKind::WorkerDied);
        std::thread::sleep(3 * within);
    }
    assert_eq!(pool.call(square, 2), Ok(4));
}

fn a_task_beyond_the_memory_limit_ends_and_the_next_one_runs() {
    let pool = Pool::builder().workers(1).memory_limit(64 << 20).build().unwrap();
    let take = |bytes: u64| {
        let memory = vec![1u8; bytes as usize];
        memory.iter().map(|&byte| u64::from(byte)).sum::<u64>()
    };
    assert_eq!(pool.call(take, 16 << 20), Ok(16 << 20));
    let error = pool.call(take, 256 << 20).unwrap_err();
    assert!(matches!(error, TaskError::WorkerDied { .. }), "{error:?}");
    assert_eq!(pool.call(take, 16 << 20), Ok(16 << 20));
}

fn pinned_workers_have_one_processor_each() {
    let cpus = |_: u64| {
        // SAFETY: an all-zero set is valid, and a valid place for the answer.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set);
            libc::CPU_COUNT(&set) as u64
        }
    };
    let pool = Pool::builder().workers(2).pin_cpus(true).build().unwrap();
    assert_eq!(pool.map_with_chunk(cpus, &[0; 20], 1).unwrap(), [1; 20]);
}

fn a_task_whose_worker_dies_is_run_again_as_often_as_asked() {
    counting(|runs| {
        let pool = Pool::builder().workers(2).retries(2).build().unwrap();
        let dies_till = |last: u64| {
            if COUNT.get().unwrap().fetch_add(1) < last {
                std::process::abort();
            }
            last
        };
        assert_eq!(pool.call(dies_till, 2), Ok(2));
        assert_eq!(runs.load(), 3);
        runs.store(0);
        match pool.call(dies_till, 100) {
            Err(TaskError::WorkerDied { attempts: 3, status, .. }) => {
                assert_eq!(status, ExitStatus::Signaled(libc::SIGABRT));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(runs.load(), 3);
        // Maps too.
        runs.store(0);
        assert_eq!(pool.map_with_chunk(dies_till, &[2, 2, 2], 1).unwrap(), [2, 2, 2]);
    });
}

fn a_task_that_waits_can_be_cancelled_and_one_that_runs_cannot() {
    counting(|begun| {
        let pool = Pool::builder().workers(1).queue(4).build().unwrap();
        let hold = |until: u64| {
            let count = COUNT.get().unwrap();
            count.fetch_add(1);
            while count.load() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
            until
        };
        let running = pool.submit(hold, 100).unwrap();
        // Some in the queue, some in the owner's memory.
        let waiting: Vec<_> = (0..20).map(|_| pool.submit(hold, 0).unwrap()).collect();
        until("the first one runs", SOON, || begun.load() == 1);
        assert!(!running.cancel().unwrap());
        for task in &waiting {
            assert!(task.cancel().unwrap());
            assert_eq!(task.get(), Err(TaskError::Cancelled));
            assert!(!task.cancel().unwrap());
        }
        begun.store(100);
        assert_eq!(running.get(), Ok(100));
        assert_eq!(pool.call(square, 3), Ok(9));
        assert_eq!(begun.load(), 100, "a cancelled one ran");
    });
}

fn a_pool_grows_and_shrinks() {
    let pool = Pool::builder().workers(2).workers_max(5).build().unwrap();
    assert_eq!(pool.resize(0).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(pool.resize(6).unwrap_err().kind(), ErrorKind::Invalid);
    let nap = |milliseconds: u64| {
        std::thread::sleep(Duration::from_millis(milliseconds));
        milliseconds
    };
    let tasks: Vec<_> = (0..200).map(|_| pool.submit(nap, 2).unwrap()).collect();
    for count in [5, 1, 4, 2] {
        pool.resize(count).unwrap();
        assert_eq!(pool.workers(), count);
        until("there are as many", SOON, || pool.worker_pids().unwrap().len() == count);
    }
    for task in &tasks {
        assert_eq!(task.get(), Ok(2), "no task is lost with a worker that leaves");
    }
    let pids = pool.worker_pids().unwrap();
    for pid in &pids {
        kill(*pid);
    }
    until("they are replaced", SOON, || {
        let now = pool.worker_pids().unwrap();
        now.len() == 2 && !now.iter().any(|pid| pids.contains(pid))
    });
    drop(pool);
    assert!(pids.iter().all(|&pid| state_of(pid).is_none()));
}

fn statistics_count_tasks_and_time() {
    let pool = Pool::new(2).unwrap();
    let nap = |milliseconds: u64| {
        std::thread::sleep(Duration::from_millis(milliseconds));
        milliseconds
    };
    pool.map_with_chunk(nap, &[20; 10], 1).unwrap();
    let stats = pool.stats().unwrap();
    assert_eq!(stats.len(), 2);
    assert_eq!(stats.iter().map(|worker| worker.tasks).sum::<u64>(), 10);
    let busy: Duration = stats.iter().map(|worker| worker.busy).sum();
    assert!(busy >= Duration::from_millis(200), "{busy:?}");
    assert!(stats.iter().all(|worker| worker.is_ready && !worker.is_busy));
    assert_eq!(pool.restarts().unwrap(), 0);
}

pub const TESTS: &[Test] = tests![
    a91_options_of_zero_are_refused,
    a89_workers_end_after_so_many_tasks_and_others_take_their_place,
    a90_b28_a_closed_pool_whose_workers_do_one_task_each_does_them_all,
    tasks_are_done_with_one_each_though_nobody_waits,
    b25_a_task_that_takes_too_long_is_killed_and_no_other,
    a_wait_for_room_is_no_part_of_a_tasks_time,
    more_deaths_than_may_be_break_the_pool,
    deaths_long_ago_do_not_count,
    a_task_beyond_the_memory_limit_ends_and_the_next_one_runs,
    pinned_workers_have_one_processor_each,
    a_task_whose_worker_dies_is_run_again_as_often_as_asked,
    a_task_that_waits_can_be_cancelled_and_one_that_runs_cannot,
    a_pool_grows_and_shrinks,
    statistics_count_tasks_and_time,
    a_task_that_ends_with_its_pool_is_done,
];
