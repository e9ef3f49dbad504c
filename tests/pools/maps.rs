//! The pool's other forms of maps, and pools whose function captures.

use crate::common::{Test, until};
use crate::tests;
use mpshm::{Canceller, ErrorKind, ExitStatus, Pool, Process, TaskError, Value};
use std::cell::Cell;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(5);

fn square(n: u64) -> u64 {
    n * n
}

fn nap(milliseconds: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(milliseconds));
    milliseconds
}

fn a75_every_form_of_map_equals_the_serial_one() {
    let pool = Pool::new(3).unwrap();
    for count in [0u64, 1, 2, 10, 100, 5000] {
        let items: Vec<u64> = (0..count).collect();
        let serial: Vec<u64> = items.iter().map(|&n| square(n)).collect();
        assert_eq!(pool.map_async(square, &items).unwrap().get().unwrap(), serial);
        let lazy: Result<Vec<u64>, _> = pool.imap(square, items.iter().copied()).collect();
        assert_eq!(lazy.unwrap(), serial);
        let mut any: Vec<u64> =
            pool.imap_unordered(square, items.clone()).map(Result::unwrap).collect();
        any.sort_unstable();
        assert_eq!(any, serial);
        assert_eq!(pool.starmap(|a: u64, b: u64| a * b, &items, &items).unwrap(), serial);
        let sum = pool.reduce(|a: u64, b: u64| a + b, &items).unwrap();
        assert_eq!(sum, (count > 0).then(|| items.iter().sum()));
    }
    // Sizes and alignments that do not fit each other.
    let wide =
        pool.starmap(|a: u8, b: [u64; 3]| [u64::from(a) + b[2]; 2], &[1, 2], &[[1; 3], [5; 3]]);
    assert_eq!(wide.unwrap(), [[2; 2], [7; 2]]);
    let uneven = pool.starmap(|a: u8, b: u8| a + b, &[1, 2], &[1]).unwrap_err();
    assert_eq!(uneven.kind(), ErrorKind::Invalid);
    // Not the sum alone: the order of what is folded.
    let pairs: Vec<[u64; 2]> = (0..1000).map(|n| [n, n + 1]).collect();
    let join = |a: [u64; 2], b: [u64; 2]| if a[1] == b[0] { [a[0], b[1]] } else { [u64::MAX; 2] };
    assert_eq!(pool.reduce(join, &pairs).unwrap(), Some([0, 1000]));
}

fn a81_chunks_and_the_end_of_the_stream() {
    let pool = Pool::new(3).unwrap();
    let mut ordered = pool.imap(square, 0..1000).chunk(100).buffer(500);
    for n in 0..1000 {
        assert_eq!(ordered.next(), Some(Ok(n * n)));
    }
    assert_eq!(ordered.next(), None);
    assert_eq!(ordered.next(), None);
    let unordered = pool.imap_unordered(square, 0..1000).chunk(7).buffer(100);
    let mut values: Vec<u64> = unordered.map(Result::unwrap).collect();
    values.sort_unstable();
    assert!(values.into_iter().eq((0..1000).map(square)));
}

fn unordered_values_come_as_they_are_ready() {
    let pool = Pool::new(2).unwrap();
    let values: Vec<u64> = pool.imap_unordered(nap, [1000, 1, 2, 3]).map(Result::unwrap).collect();
    assert_eq!(values.last(), Some(&1000), "{values:?}");
}

fn b27_an_endless_input_has_a_bounded_number_in_flight() {
    let pool = Pool::new(2).unwrap();
    for chunk in [1, 3] {
        let drawn = Cell::new(0);
        let endless = (0u64..).inspect(|_| drawn.set(drawn.get() + 1));
        let mut values = pool.imap(square, endless).buffer(4).chunk(chunk);
        for n in 0..200 {
            assert_eq!(values.next(), Some(Ok(n * n)));
            // What was taken, or lies in a chunk that was, is not in flight.
            assert!(drawn.get() <= n + chunk as u64 + 4 + 2, "{} drawn at {n}", drawn.get());
        }
    }
    assert_eq!(pool.call(square, 3), Ok(9));
}

fn a79_an_input_that_panics_yields_what_came_before_it_and_the_pool_is_good() {
    let pool = Pool::new(2).unwrap();
    for (fails_at, chunk, whole) in [(0u64, 1, 0), (3, 1, 3), (7, 3, 6)] {
        let mut values = pool
            .imap(square, (0..10).inspect(|&n| assert!(n != fails_at, "no item {n}")))
            .chunk(chunk)
            .buffer(20);
        for n in 0..whole {
            assert_eq!(values.next(), Some(Ok(n * n)));
        }
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| values.next()));
        let text = panic.unwrap_err().downcast::<String>().unwrap();
        assert_eq!(*text, format!("no item {fails_at}"));
        assert_eq!(values.next(), None);
    }
    assert_eq!(pool.map(square, &[2]).unwrap(), [4]);
}

fn a_failing_item_stands_at_its_place_and_the_others_come() {
    let pool = Pool::new(2).unwrap();
    let odd_fails = |n: u64| if n % 2 == 1 { panic!("{n} is odd") } else { n };
    let mut values = pool.imap(odd_fails, 0..20);
    for n in 0..20 {
        match values.next().unwrap() {
            Ok(value) => assert!(value == n && n % 2 == 0),
            Err(TaskError::Failed { message, .. }) => {
                assert!(n % 2 == 1 && message.starts_with(&format!("{n} is odd")), "{message}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(values.next().is_none());
}

fn a_value_that_is_late_can_be_asked_for_again() {
    let pool = Pool::new(1).unwrap();
    let mut values = pool.imap(nap, [300, 1]);
    let start = Instant::now();
    let late = values.next_timeout(Duration::from_millis(50));
    assert_eq!(late, Some(Err(TaskError::TimedOut)));
    assert!(start.elapsed() >= Duration::from_millis(50));
    assert_eq!(values.next(), Some(Ok(300)));
    assert_eq!(values.next_timeout(SOON), Some(Ok(1)));
    assert_eq!(values.next_timeout(Duration::ZERO), None);
    let all = pool.map_async(nap, &[200]).unwrap();
    assert!(!all.is_done());
    assert_eq!(all.get_timeout(Duration::from_millis(20)), Err(TaskError::TimedOut));
    assert_eq!(all.get().unwrap(), [200]);
    assert!(all.is_done());
}

fn a_dropped_stream_leaves_nothing_behind() {
    let pool = Pool::new(2).unwrap();
    for _ in 0..300 {
        let mut values = pool.imap(square, 0..);
        assert_eq!(values.next(), Some(Ok(0)));
    }
    pool.finish().unwrap();
}

fn a_worker_that_dies_in_a_stream_fails_its_item_only() {
    let pool = Pool::new(2).unwrap();
    let dies_at_5 = |n: u64| if n == 5 { std::process::abort() } else { n };
    for (n, value) in (0..).zip(pool.imap(dies_at_5, 0..30)) {
        match value {
            Ok(value) => assert!(value == n && n != 5),
            Err(error) => assert!(n == 5 && error.kind() == ErrorKind::WorkerDied, "{error:?}"),
        }
    }
}

fn a_function_that_captures_and_one_with_state() {
    let table: Vec<u64> = (0..1000).map(|n| n * 3).collect();
    let pool = Pool::builder().workers(2).build_with(move |n: u64| table[n as usize]).unwrap();
    assert_eq!(pool.call(5), Ok(15));
    assert_eq!(pool.map(&[1, 2, 999]).unwrap(), [3, 6, 2997]);
    assert!(pool.imap(0..1000).map(Result::unwrap).eq((0..1000).map(|n| n * 3)));
    assert!(matches!(pool.call(1000), Err(TaskError::Failed { .. })));
    // Workers of a later fork have it too.
    for pid in pool.worker_pids().unwrap() {
        // SAFETY: a signal to a process that this test started.
        unsafe { libc::kill(pid as i32, libc::SIGKILL) };
    }
    assert_eq!(pool.call(7), Ok(21));
    assert_eq!(pool.pool_call_of_another_function(), 81);

    // The state is the worker's own, and lasts from task to task.
    let base = 1000;
    let count = |seen: &mut Vec<u64>, n: u64| {
        seen.push(n);
        seen.iter().sum::<u64>()
    };
    let pool = Pool::builder().workers(1).build_with_state(move || vec![base], count).unwrap();
    assert_eq!(pool.map(&[1, 2, 3]).unwrap(), [1001, 1003, 1006]);
    assert_eq!(pool.call(4), Ok(1010));
}

/// A pool for one function runs others as well.
trait Another {
    fn pool_call_of_another_function(&self) -> u64;
}

impl Another for Pool {
    fn pool_call_of_another_function(&self) -> u64 {
        self.call(square, 9).unwrap()
    }
}

static COUNT: OnceLock<Value<u64>> = OnceLock::new();

fn for_each_runs_all_and_the_state_is_made_once_in_each_worker() {
    let child = Process::spawn(|| {
        let count = COUNT.get_or_init(|| Value::new(0).unwrap());
        let make = || COUNT.get().unwrap().fetch_add(1);
        let pool = Pool::builder()
            .workers(3)
            .build_with_state(make, |_: &mut u64, n: u64| nap(n))
            .unwrap();
        pool.map(&[1; 100]).unwrap();
        until("three were made", SOON, || count.load() == 3);
        count.store(0);
        pool.for_each(
            |n: u64| {
                COUNT.get().unwrap().fetch_add(n);
            },
            &[1, 2, 3, 4],
        )
        .unwrap();
        assert_eq!(count.load(), 10);
        0
    })
    .unwrap();
    assert_eq!(child.join().unwrap(), ExitStatus::Exited(0));
}

fn a_wait_that_is_cancelled_says_so_and_the_task_goes_on() {
    let pool = Pool::new(1).unwrap();
    let canceller = Canceller::new();
    let task = pool.submit(nap, 300).unwrap();
    let mut values = pool.imap(nap, [1]);
    canceller.cancel();
    assert_eq!(canceller.run(|| task.get()), Err(TaskError::Interrupted));
    assert_eq!(canceller.run(|| values.next()), Some(Err(TaskError::Interrupted)));
    let map = canceller.run(|| pool.map(nap, &[1]));
    assert_eq!(map.unwrap_err().kind(), ErrorKind::Interrupted);
    assert_eq!(task.get(), Ok(300));
    assert_eq!(values.next(), Some(Ok(1)));
}

fn ten_thousand_tasks_with_a_worker_killed_every_5_ms_all_end() {
    let pool = Pool::new(2).unwrap();
    let own = |label: &str| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(label)).unwrap();
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let busy = |n: u64| {
        let start = Instant::now();
        while start.elapsed() < Duration::from_micros(100) {
            std::hint::spin_loop();
        }
        n * n
    };
    let (mut done, mut died, mut kills, mut number) = (0u64, 0u64, 0u64, 0usize);
    let mut last = Instant::now();
    let (mut descriptors, mut memory) = (crate::common::descriptors().len(), 0);
    for round in 0..10u64 {
        for (n, value) in (0u64..).zip(pool.imap(busy, 0..1000)) {
            match value {
                Ok(value) => {
                    assert_eq!(value, n * n);
                    done += 1;
                }
                Err(TaskError::WorkerDied { status: ExitStatus::Signaled(9), .. }) => died += 1,
                Err(other) => panic!("{other:?}"),
            }
            if last.elapsed() >= Duration::from_millis(5) {
                let pids = pool.worker_pids().unwrap();
                number += 1;
                if let Some(pid) = pids.get(number % pids.len().max(1)) {
                    // SAFETY: a signal to a process that this test started.
                    unsafe { libc::kill(*pid as i32, libc::SIGKILL) };
                    kills += 1;
                }
                last = Instant::now();
            }
        }
        if round == 1 {
            (descriptors, memory) = (crate::common::descriptors().len(), own("VmRSS"));
        }
    }
    println!("    {kills} kills: {done} done, {died} died with their worker");
    assert_eq!(done + died, 10_000);
    assert!(kills >= 50 && died <= kills, "{kills} kills, {died} died");
    assert_eq!(crate::common::descriptors().len(), descriptors);
    assert!(own("VmRSS") < memory + 4096, "{} kB after {memory}", own("VmRSS"));
    let server = pool.server_pid().unwrap().unwrap();
    // What the server has open: no more than for its workers.
    let open = std::fs::read_dir(format!("/proc/{server}/fd")).unwrap().count();
    assert!(open < descriptors + 16, "{open} descriptors in the server");
}

pub const TESTS: &[Test] = tests![
    a75_every_form_of_map_equals_the_serial_one,
    a81_chunks_and_the_end_of_the_stream,
    unordered_values_come_as_they_are_ready,
    b27_an_endless_input_has_a_bounded_number_in_flight,
    a79_an_input_that_panics_yields_what_came_before_it_and_the_pool_is_good,
    a_failing_item_stands_at_its_place_and_the_others_come,
    a_value_that_is_late_can_be_asked_for_again,
    a_dropped_stream_leaves_nothing_behind,
    a_worker_that_dies_in_a_stream_fails_its_item_only,
    a_function_that_captures_and_one_with_state,
    for_each_runs_all_and_the_state_is_made_once_in_each_worker,
    a_wait_that_is_cancelled_says_so_and_the_task_goes_on,
    ten_thousand_tasks_with_a_worker_killed_every_5_ms_all_end: 120,
];
