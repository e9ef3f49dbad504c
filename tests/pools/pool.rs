//! The pool: what comes home, in what order, and what the death of a worker does.

use crate::common::Test;
use crate::tests;
use mpshm::{ErrorKind, ExitStatus, Pool, Process, TaskError};
use std::time::{Duration, Instant};

fn square(n: u64) -> u64 {
    n * n
}

fn a75_call_and_map_equal_the_serial_result_in_order() {
    let pool = Pool::new(3).unwrap();
    assert_eq!(pool.call(square, 5), Ok(25));
    for (count, chunk) in [(10u64, 1), (100, 20), (100, 7), (1000, 1000)] {
        let items: Vec<u64> = (0..count).collect();
        let serial: Vec<u64> = items.iter().map(|&n| square(n)).collect();
        assert_eq!(pool.map(square, &items).unwrap(), serial);
        assert_eq!(pool.map_with_chunk(square, &items, chunk).unwrap(), serial);
    }
    // Two arguments are an array of two.
    assert_eq!(pool.map(|[a, b]: [u64; 2]| a * b, &[[2, 3], [4, 5]]).unwrap(), [6, 20]);
    // Other sizes of result than of argument.
    let wide = pool.map(|n: u8| [u64::from(n); 8], &[1, 2, 3]).unwrap();
    assert_eq!(wide, [[1; 8], [2; 8], [3; 8]]);
}

fn a77_map_over_nothing_returns_nothing_at_once() {
    let pool = Pool::new(2).unwrap();
    assert_eq!(pool.map(square, &[]).unwrap(), [0; 0]);
    assert_eq!(pool.map_with_chunk(square, &[], 50).unwrap(), [0; 0]);
    let error = pool.map_with_chunk(square, &[1], 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

fn a80_get_times_out_and_gives_the_value_later_again_and_again() {
    let pool = Pool::new(1).unwrap();
    let task = pool
        .submit(
            |milliseconds: u64| {
                std::thread::sleep(Duration::from_millis(milliseconds));
                milliseconds + 1
            },
            300,
        )
        .unwrap();
    let start = Instant::now();
    assert_eq!(task.get_timeout(Duration::from_millis(100)), Err(TaskError::TimedOut));
    assert!(start.elapsed() >= Duration::from_millis(100));
    assert!(!task.is_done());
    assert_eq!(task.get(), Ok(301));
    assert_eq!(task.get(), Ok(301));
    assert!(task.is_done());
}

fn a82_a_pool_of_none_is_an_error_and_of_three_has_three() {
    assert_eq!(Pool::new(0).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(Pool::new(1001).unwrap_err().kind(), ErrorKind::Invalid);
    let pool = Pool::new(3).unwrap();
    let pids = pool.worker_pids().unwrap();
    assert_eq!(pids.len(), 3);
    for pid in pids {
        assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}

fn a83_terminate_with_10_000_queued_tasks_is_quick_and_they_are_cancelled() {
    let pool = Pool::new(2).unwrap();
    let tasks: Vec<_> = (0..10_000)
        .map(|n| {
            pool.submit(
                |n: u64| {
                    std::thread::sleep(Duration::from_secs(10));
                    n
                },
                n,
            )
            .unwrap()
        })
        .collect();
    let start = Instant::now();
    pool.terminate().unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    for task in &tasks {
        assert_eq!(task.get(), Err(TaskError::Cancelled));
    }
}

fn a84_an_ended_pool_takes_no_tasks_and_a_running_one_cannot_be_joined() {
    let pool = Pool::new(2).unwrap();
    assert_eq!(pool.join().unwrap_err().kind(), ErrorKind::Invalid);
    let tasks: Vec<_> = (0..20).map(|n| pool.submit(square, n).unwrap()).collect();
    pool.close().unwrap();
    pool.close().unwrap();
    assert_eq!(pool.submit(square, 1).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(pool.map(square, &[1]).unwrap_err().kind(), ErrorKind::Closed);
    pool.join().unwrap();
    for (n, task) in (0..).zip(&tasks) {
        assert_eq!(task.get(), Ok(n * n));
    }
    pool.terminate().unwrap();
    pool.terminate().unwrap();
}

fn a85_a_panic_comes_home_with_message_place_and_pid_and_the_worker_lives_on() {
    let pool = Pool::new(1).unwrap();
    let pids = pool.worker_pids().unwrap();
    for round in 0..20u64 {
        match pool.call(|n: u64| if n < 100 { panic!("no {n}") } else { n }, round) {
            Err(TaskError::Failed { message, pid }) => {
                assert!(message.starts_with(&format!("no {round} (")), "{message}");
                assert!(message.contains("tests/pools/pool.rs:"), "{message}");
                assert_eq!([pid], *pids);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(pool.call(square, 3), Ok(9));
    assert_eq!(pool.worker_pids().unwrap(), pids);
}

fn a86_a_map_with_failures_waits_for_every_chunk_and_brings_long_messages() {
    let pool = Pool::new(2).unwrap();
    let fail_at_2_and_7 = |n: u64| {
        if n == 2 || n == 7 {
            panic!("{}", "x".repeat(1 << 20));
        }
        n
    };
    let items: Vec<u64> = (0..10).collect();
    match pool.map_with_chunk(fail_at_2_and_7, &items, 1) {
        Err(TaskError::Failed { message, .. }) => assert!(message.len() > 1 << 20),
        other => panic!("{other:?}"),
    }
    pool.close().unwrap();
    pool.join().unwrap();
}

fn a87_nothing_of_an_ended_task_stays_in_the_pools_memory() {
    let pool = Pool::new(2).unwrap();
    // Many times what the queues hold, in both directions.
    for round in 0..200u8 {
        let bytes = vec![round; 16 << 10];
        let task = pool.submit_bytes(|bytes| bytes.repeat(10), &bytes).unwrap();
        assert_eq!(task.get().unwrap(), bytes.repeat(10));
    }
}

fn results_of_any_size_come_home() {
    let pool = Pool::new(2).unwrap();
    for length in [0usize, 1, 16_383, 16_384, 16_385, 3_000_000] {
        let task = pool
            .submit_bytes(
                |bytes| {
                    let length = usize::from_ne_bytes(bytes.try_into().unwrap());
                    (0..length).map(|n| (n % 251) as u8).collect()
                },
                &length.to_ne_bytes(),
            )
            .unwrap();
        let bytes = task.get().unwrap();
        assert_eq!(bytes.len(), length);
        assert!((0..).zip(&bytes).all(|(n, &byte)| byte == (n % 251) as u8));
    }
    let long = vec![0; 1 << 20];
    let error = pool.submit_bytes(<[u8]>::to_vec, &long).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooBig);
    assert_eq!(pool.call(square, 4), Ok(16));
}

fn b01_a_worker_killed_in_a_task_ends_that_task_only_and_is_replaced() {
    let pool = Pool::new(2).unwrap();
    let sleeper = mpshm::Value::<u32>::create(&crate::common::unique("sleeper"), 0).unwrap();
    let asleep = |_: u64| -> u64 {
        let sleeper = mpshm::Value::<u32>::open(&crate::common::unique("sleeper")).unwrap();
        sleeper.store(std::process::id());
        loop {
            std::thread::sleep(Duration::from_secs(1));
        }
    };
    let victim = pool.submit(asleep, 0).unwrap();
    let others: Vec<_> = (0..50).map(|n| pool.submit(square, n).unwrap()).collect();
    for (n, task) in (0..).zip(&others) {
        assert_eq!(task.get(), Ok(n * n));
    }
    wait_until(|| sleeper.load() != 0);
    mpshm::Segment::unlink(&crate::common::unique("sleeper")).unwrap();
    let busy = sleeper.load();
    kill(busy, libc::SIGKILL);
    let start = Instant::now();
    assert_eq!(
        victim.get(),
        Err(TaskError::WorkerDied {
            pid: busy,
            status: ExitStatus::Signaled(libc::SIGKILL),
            attempts: 1
        })
    );
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(pool.call(square, 6), Ok(36));
    let after = pool.worker_pids().unwrap();
    assert_eq!(after.len(), 2);
    assert!(!after.contains(&busy));
}

fn b02_all_idle_workers_killed_and_the_next_task_has_its_result_within_a_second() {
    let pool = Pool::new(3).unwrap();
    assert_eq!(pool.call(square, 2), Ok(4));
    for pid in pool.worker_pids().unwrap() {
        kill(pid, libc::SIGKILL);
    }
    let start = Instant::now();
    assert_eq!(pool.call(square, 3), Ok(9));
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

fn a_task_that_aborts_or_exits_is_worker_died_and_runs_once() {
    let pool = Pool::new(2).unwrap();
    let runs = mpshm::Value::<u64>::create(&crate::common::unique("runs"), 0).unwrap();
    let dies = |how: u64| -> u64 {
        mpshm::Value::<u64>::open(&crate::common::unique("runs")).unwrap().fetch_add(1);
        match how {
            0 => std::process::abort(),
            1 => std::process::exit(7),
            _ => {
                kill(std::process::id(), libc::SIGTERM);
                0
            }
        }
    };
    let outcomes: Vec<_> = (0..3).map(|how| pool.call(dies, how)).collect();
    let statuses: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Err(TaskError::WorkerDied { status, .. }) => status.code().unwrap(),
            other => panic!("{other:?}"),
        })
        .collect();
    mpshm::Segment::unlink(&crate::common::unique("runs")).unwrap();
    assert_eq!(statuses, [-libc::SIGABRT, 7, -libc::SIGTERM]);
    assert_eq!(runs.load(), 3);
}

fn workers_killed_at_random_lose_and_double_nothing() {
    let pool = Pool::new(2).unwrap();
    let mut seed = 1u64;
    let (mut done, mut died) = (0, 0);
    for _ in 0..60 {
        let tasks: Vec<_> = (0..40).map(|n| pool.submit(square, n).unwrap()).collect();
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let pids = pool.worker_pids().unwrap();
        std::thread::sleep(Duration::from_micros(seed >> 33 & 0xff));
        kill(pids[(seed >> 60) as usize % pids.len()], libc::SIGKILL);
        for (n, task) in (0..).zip(&tasks) {
            match task.get() {
                Ok(value) => {
                    assert_eq!(value, n * n);
                    done += 1;
                }
                Err(TaskError::WorkerDied { .. }) => died += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
    }
    println!("    {done} done, {died} died with their worker");
    assert_eq!(done + died, 60 * 40);
    assert!(done > 60 * 38, "a death takes at most the task that was begun");
}

fn a_stopped_worker_keeps_its_task_and_no_other() {
    let pool = Pool::new(2).unwrap();
    assert_eq!(pool.call(square, 1), Ok(1));
    let stopped = pool.worker_pids().unwrap()[0];
    kill(stopped, libc::SIGSTOP);
    // One task may be the stopped worker's; it was asleep and so has none.
    let tasks: Vec<_> = (0..100).map(|n| pool.submit(square, n).unwrap()).collect();
    for (n, task) in (0..).zip(&tasks) {
        assert_eq!(task.get_timeout(Duration::from_secs(5)), Ok(n * n));
    }
    kill(stopped, libc::SIGCONT);
    assert_eq!(pool.call(square, 7), Ok(49));
}

fn b31_a_pool_used_in_a_forked_child_says_so() {
    let pool = Pool::new(1).unwrap();
    let child = Process::spawn(|| {
        let call = pool.call(square, 1).unwrap_err().kind();
        let submit = pool.submit(square, 1).unwrap_err().kind();
        i32::from(call != ErrorKind::Forked || submit != ErrorKind::Forked)
    })
    .unwrap();
    assert_eq!(child.join().unwrap(), ExitStatus::Exited(0));
    assert_eq!(pool.call(square, 2), Ok(4));
}

fn b20_workers_die_with_their_owner() {
    let pids = mpshm::Array::<u32>::new(3).unwrap();
    let owner = Process::spawn(|| {
        let pool = Pool::new(2).unwrap();
        let workers = pool.worker_pids().unwrap();
        pids.copy_from_slice(0, &workers).unwrap();
        pids.store(2, 1).unwrap();
        // Busy workers too.
        let _task = pool
            .submit(
                |n: u64| {
                    std::thread::sleep(Duration::from_secs(100));
                    n
                },
                1,
            )
            .unwrap();
        loop {
            std::thread::park();
        }
    })
    .unwrap();
    wait_until(|| pids.load(2).unwrap() == 1);
    owner.kill().unwrap();
    owner.join().unwrap();
    let start = Instant::now();
    for index in 0..2 {
        let pid = pids.load(index).unwrap();
        wait_until(|| !is_alive(pid));
    }
    // The server has reaped its workers; itself it came to this process.
    crate::common::reap_all_children();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    for index in 0..2 {
        assert_eq!(crate::common::state_of(pids.load(index).unwrap()), None);
    }
}

fn several_threads_share_a_pool() {
    // In a process of its own, for the runner's is single-threaded by contract.
    let child = Process::spawn(|| {
        let pool = Pool::new(2).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let pool = &pool;
                scope.spawn(move || {
                    for n in 0..50 {
                        assert_eq!(
                            pool.call(square, thread * 1000 + n),
                            Ok((thread * 1000 + n).pow(2))
                        );
                    }
                    let items: Vec<u64> = (0..5000).collect();
                    assert_eq!(pool.map(square, &items).unwrap()[4999], 4999 * 4999);
                });
            }
        });
        0
    })
    .unwrap();
    assert_eq!(child.join().unwrap(), ExitStatus::Exited(0));
}

fn a93_dropping_an_unclosed_pool_ends_its_workers() {
    let pool = Pool::new(2).unwrap();
    let pids = pool.worker_pids().unwrap();
    let _tasks: Vec<_> = (0..10).map(|n| pool.submit(square, n).unwrap()).collect();
    drop(pool);
    for pid in pids {
        assert!(!is_alive(pid));
    }
}

fn kill(pid: u32, signal: i32) {
    // SAFETY: a signal to a process that this test started.
    unsafe { libc::kill(pid as i32, signal) };
}

fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

fn wait_until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(2), "waited for two seconds");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub const TESTS: &[Test] = tests![
    a75_call_and_map_equal_the_serial_result_in_order,
    a77_map_over_nothing_returns_nothing_at_once,
    a80_get_times_out_and_gives_the_value_later_again_and_again,
    a82_a_pool_of_none_is_an_error_and_of_three_has_three,
    a83_terminate_with_10_000_queued_tasks_is_quick_and_they_are_cancelled,
    a84_an_ended_pool_takes_no_tasks_and_a_running_one_cannot_be_joined,
    a85_a_panic_comes_home_with_message_place_and_pid_and_the_worker_lives_on,
    a86_a_map_with_failures_waits_for_every_chunk_and_brings_long_messages,
    a87_nothing_of_an_ended_task_stays_in_the_pools_memory,
    a93_dropping_an_unclosed_pool_ends_its_workers,
    b01_a_worker_killed_in_a_task_ends_that_task_only_and_is_replaced,
    b02_all_idle_workers_killed_and_the_next_task_has_its_result_within_a_second,
    b20_workers_die_with_their_owner,
    b31_a_pool_used_in_a_forked_child_says_so,
    a_task_that_aborts_or_exits_is_worker_died_and_runs_once,
    a_stopped_worker_keeps_its_task_and_no_other,
    results_of_any_size_come_home,
    several_threads_share_a_pool,
    workers_killed_at_random_lose_and_double_nothing,
];
