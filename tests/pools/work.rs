//! What a pool does with work: callbacks, progress, chunks, retries, tasks that end badly.

use crate::common::{Test, until};
use crate::tests;
use mpshm::{Array, ErrorKind, ExitStatus, Pool, Process, Retry, TaskError, Value};
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

fn square(n: u64) -> u64 {
    n * n
}

fn nap(milliseconds: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(milliseconds));
    milliseconds
}

fn fail_if_odd(n: u64) -> u64 {
    if n % 2 == 1 { panic!("{n} is odd") } else { n * n }
}

fn kill(pid: u32) {
    // SAFETY: a signal to a process that this test started.
    unsafe { libc::kill(pid as i32, libc::SIGKILL) };
}

/// Runs a test in a child, whose descriptors nobody compares.
fn in_a_child(test: impl FnOnce() + std::panic::UnwindSafe) {
    let child = Process::spawn(|| {
        test();
        0
    });
    let child = child.unwrap();
    assert_eq!(child.join().unwrap(), ExitStatus::Exited(0), "{:?}", child.panic_message());
}

/// What callbacks were called with, by a number.
#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Vec<Call>>>);

type Call = (u64, Result<u64, TaskError>);

impl Calls {
    fn note(&self, number: u64) -> impl FnOnce(Result<u64, TaskError>) + Send + 'static {
        let calls = self.clone();
        move |value| calls.0.lock().unwrap().push((number, value))
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// What each was called with; fails if one was twice.
    fn by_number(&self) -> HashMap<u64, Result<u64, TaskError>> {
        let all = self.0.lock().unwrap();
        let by_number: HashMap<_, _> = all.iter().cloned().collect();
        assert_eq!(by_number.len(), all.len(), "one was called twice: {all:?}");
        by_number
    }
}

fn a76_a_callback_gets_the_value_or_the_error_once() {
    let pool = Pool::new(2).unwrap();
    let calls = Calls::default();
    let tasks: Vec<_> = (0..100).map(|n| pool.submit(fail_if_odd, n).unwrap()).collect();
    for (n, task) in (0..).zip(&tasks) {
        task.on_done(calls.note(n)).unwrap();
    }
    for (n, task) in (0..).zip(&tasks) {
        assert_eq!(task.get().is_ok(), n % 2 == 0);
        // One that comes late is called at once.
        task.on_done(calls.note(1000 + n)).unwrap();
        assert!(calls.by_number().contains_key(&(1000 + n)));
        let _ = (task.get(), task.is_done());
    }
    pool.finish().unwrap();
    let by_number = calls.by_number();
    assert_eq!(by_number.len(), 200);
    for (number, value) in by_number {
        let n = number % 1000;
        match value {
            Ok(value) => assert!(n % 2 == 0 && value == n * n),
            Err(TaskError::Failed { message, .. }) => {
                assert!(n % 2 == 1 && message.starts_with(&format!("{n} is odd")), "{message}");
            }
            other => panic!("{other:?}"),
        }
    }
}

fn a76_a_whole_map_calls_once() {
    let pool = Pool::new(2).unwrap();
    let items: Vec<u64> = (0..1000).map(|n| 2 * n).collect();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = |name: &'static str| {
        let seen = Arc::clone(&seen);
        move |values: Result<Vec<u64>, TaskError>| seen.lock().unwrap().push((name, values))
    };
    let map = pool.map_async(fail_if_odd, &items).unwrap();
    map.on_done(note("good")).unwrap();
    let values = map.get().unwrap();
    assert_eq!(*seen.lock().unwrap(), [("good", Ok(values))]);
    let bad = pool.map_async(fail_if_odd, &[1, 2, 3, 4]).unwrap();
    bad.on_done(note("bad")).unwrap();
    let error = bad.get().unwrap_err();
    let none = pool.map_async(fail_if_odd, &[]).unwrap();
    none.on_done(note("none")).unwrap();
    // The handle is dropped at once.
    pool.map_async(square, &[7]).unwrap().on_done(note("dropped")).unwrap();
    pool.finish().unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen[1..], [("bad", Err(error)), ("none", Ok(vec![])), ("dropped", Ok(vec![49]))]);
}

fn callbacks_of_tasks_that_nobody_waits_for_are_called_however_these_end() {
    let pool = Pool::new(1).unwrap();
    let calls = Calls::default();
    pool.submit(square, 3).unwrap().on_done(calls.note(0)).unwrap();
    until("it is called in another call", SOON, || {
        let _ = pool.submit(square, 1).unwrap();
        calls.count() == 1
    });
    let dies = |_: u64| -> u64 { std::process::exit(3) };
    let died = pool.submit(dies, 0).unwrap();
    died.on_done(calls.note(1)).unwrap();
    assert!(died.get().is_err());
    pool.submit(nap, 100_000).unwrap().on_done(calls.note(2)).unwrap();
    let cancelled = pool.submit(square, 1).unwrap();
    cancelled.on_done(calls.note(3)).unwrap();
    assert!(cancelled.cancel().unwrap());
    assert_eq!(calls.count(), 3, "cancelled, and so called");
    // Some in the queue, some in this process.
    for n in 10..500 {
        pool.submit(square, n).unwrap().on_done(calls.note(n)).unwrap();
    }
    drop(pool);
    let mut by_number = calls.by_number();
    assert_eq!(by_number.remove(&0), Some(Ok(9)));
    let status = ExitStatus::Exited(3);
    assert!(
        matches!(by_number.remove(&1), Some(Err(TaskError::WorkerDied { status: s, .. })) if s == status)
    );
    assert_eq!(by_number.len(), 492);
    assert!(by_number.values().all(|value| *value == Err(TaskError::Cancelled)), "{by_number:?}");
}

fn b05_a_callback_that_panics_is_recorded_and_later_results_come() {
    let pool = Pool::new(2).unwrap();
    let calls = Calls::default();
    let tasks: Vec<_> = (0..20).map(|n| pool.submit(square, n).unwrap()).collect();
    for (n, task) in (0..).zip(&tasks) {
        if n % 5 == 0 {
            task.on_done(move |_| panic!("callback {n}")).unwrap();
        }
        task.on_done(calls.note(n)).unwrap();
    }
    for (n, task) in (0..).zip(&tasks) {
        assert_eq!(task.get(), Ok(n * n));
        let expected = (n % 5 == 0).then(|| format!("callback {n}"));
        assert_eq!(task.callback_panic(), expected);
    }
    assert_eq!(calls.by_number().len(), 20, "also those after one that panicked");
    let map = pool.map_async(square, &[1, 2, 3]).unwrap();
    map.on_done(|_| panic!("at the end")).unwrap();
    assert_eq!(map.get().unwrap(), [1, 4, 9]);
    assert_eq!(map.callback_panic().as_deref(), Some("at the end"));
    assert_eq!(pool.map(square, &[5]).unwrap(), [25]);
}

fn a_callback_may_use_the_pool() {
    let pool = Arc::new(Pool::new(2).unwrap());
    let sum = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..50).map(|n| pool.submit(square, n).unwrap()).collect();
    for task in &tasks {
        let (again, sum) = (Arc::downgrade(&pool), Arc::clone(&sum));
        let fourth = move |value: Result<u64, TaskError>| {
            let pool = again.upgrade().unwrap();
            sum.fetch_add(pool.call(square, value.unwrap()).unwrap(), Ordering::Relaxed);
        };
        task.on_done(fourth).unwrap();
    }
    for task in &tasks {
        task.get().unwrap();
    }
    assert_eq!(sum.load(Ordering::Relaxed), (0..50).map(|n| square(square(n))).sum());
}

fn callbacks_are_called_once_whoever_waits() {
    // In a process of its own, for the runner's is single-threaded by contract.
    in_a_child(|| {
        let pool = Pool::new(2).unwrap();
        let calls = Calls::default();
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let (pool, calls) = (&pool, &calls);
                scope.spawn(move || {
                    for n in 0..200 {
                        let number = thread * 1000 + n;
                        let task = pool.submit(square, number).unwrap();
                        task.on_done(calls.note(number)).unwrap();
                        assert_eq!(task.get(), Ok(number * number));
                    }
                });
            }
        });
        pool.finish().unwrap();
        let by_number = calls.by_number();
        assert_eq!(by_number.len(), 800);
        assert!(by_number.iter().all(|(number, value)| *value == Ok(number * number)));
    });
}

fn progress_only_grows_and_ends_with_all() {
    let pool = Pool::new(2).unwrap();
    let items: Vec<u64> = (0..200).map(|n| n % 3).collect();
    let mut seen = Vec::new();
    pool.map_with_progress(nap, &items, |done, total| seen.push((done, total))).unwrap();
    assert!(seen.len() > 8, "{seen:?}");
    assert!(seen.iter().all(|&(_, total)| total == 200));
    assert!(seen.windows(2).all(|two| two[0].0 < two[1].0), "{seen:?}");
    assert_eq!(seen.last(), Some(&(200, 200)));
    // What fails has ended too.
    seen.clear();
    let odd: Vec<u64> = (0..100).collect();
    pool.map_with_progress(fail_if_odd, &odd, |done, total| seen.push((done, total))).unwrap_err();
    assert_eq!(seen.last(), Some(&(100, 100)));
    let mut told = Vec::new();
    let values = pool.imap(nap, items.clone()).on_progress(|done, total| told.push((done, total)));
    assert_eq!(values.count(), 200);
    assert!(told.iter().map(|one| one.0).eq(1..=200) && told[0].1 == Some(200), "{told:?}");
    let mut told = Vec::new();
    let endless =
        pool.imap_unordered(square, 0..).on_progress(|done, total| told.push((done, total)));
    assert_eq!(endless.take(5).count(), 5);
    assert!(told.len() >= 5 && told.iter().all(|one| one.1.is_none()), "{told:?}");
    let pool = Pool::builder().workers(2).build_with(|n: u64| n + 1).unwrap();
    let mut last = 0;
    pool.map_with_progress(&odd, |done, _| last = done).unwrap();
    assert_eq!(last, 100);
}

fn progress_that_panics_ends_the_map_and_the_pool_is_good() {
    let pool = Pool::new(2).unwrap();
    let items = vec![1u64; 100];
    let map = || pool.map_with_progress(nap, &items, |done, _| assert!(done < 10, "enough"));
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(map)).unwrap_err();
    assert_eq!(pool.map(square, &[1, 2, 3]).unwrap(), [1, 4, 9]);
    pool.finish().unwrap();
}

/// Where and when an item ran: worker, its begin and end on the system's clock.
fn watched_nap(milliseconds: u64) -> [u64; 4] {
    let now = || {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: a valid place for the answer.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    };
    let begin = now();
    if milliseconds > 0 {
        nap(milliseconds);
    } else {
        while now() < begin + 20_000 {
            std::hint::spin_loop();
        }
    }
    [milliseconds, u64::from(std::process::id()), begin, now()]
}

fn tasks_that_differ_a_thousandfold_are_balanced() {
    let pool = Pool::new(2).unwrap();
    const LONG: u64 = 20;
    const LONG_ONES: usize = 16;
    // All at the beginning, all at the end, and one in each sixteenth: no chunk of the first ones is like another.
    let places: [fn(usize) -> bool; 3] = [|n| n < 16, |n| n >= 784, |n| n % 50 == 7];
    for (case, is_long) in places.iter().enumerate() {
        let items: Vec<u64> = (0..800).map(|n| if is_long(n) { LONG } else { 0 }).collect();
        let runs = pool.map(watched_nap, &items).unwrap();
        let mut long: HashMap<u64, usize> = HashMap::new();
        let mut last_end: HashMap<u64, u64> = HashMap::new();
        for run in &runs {
            *long.entry(run[1]).or_default() += usize::from(run[0] == LONG);
            let end = last_end.entry(run[1]).or_default();
            *end = run[3].max(*end);
        }
        let longest = runs.iter().map(|run| run[3] - run[2]).max().unwrap();
        let idle = last_end.values().max().unwrap() - last_end.values().min().unwrap();
        println!(
            "    case {case}: long ones {:?}, the first was idle for {} ms at the end",
            long.values(),
            idle / 1_000_000
        );
        assert_eq!((long.len(), long.values().sum()), (2, LONG_ONES));
        assert!(long.values().all(|&count| count >= LONG_ONES / 2 - 2), "case {case}: {long:?}");
        assert!(idle <= 2 * longest, "case {case}: idle for {idle} ns, the longest took {longest}");
    }
    // Chunks that were asked for are not cut.
    let items: Vec<u64> = (0..800).map(|n| if n < 16 { 5 } else { 0 }).collect();
    let runs = pool.map_with_chunk(watched_nap, &items, 100).unwrap();
    for chunk in runs.chunks(100) {
        assert!(chunk.iter().all(|run| run[1] == chunk[0][1]), "a chunk of two workers");
    }
}

fn each_item_of_a_map_that_is_cut_runs_once() {
    in_a_child(|| {
        let runs = RUNS.get_or_init(|| Array::new(3000).unwrap());
        let count = |n: u64| {
            RUNS.get().unwrap().fetch_add(n as usize, 1).unwrap();
            if n % 100 == 0 { nap(3) } else { n }
        };
        let pool = Pool::new(2).unwrap();
        let items: Vec<u64> = (0..3000).collect();
        let values = pool.map(count, &items).unwrap();
        assert!(values.iter().zip(&items).all(|(value, n)| n % 100 == 0 || value == n));
        assert!(runs.to_vec().iter().all(|&times| times == 1));
        let handed_out: u64 = pool.stats().unwrap().iter().map(|worker| worker.tasks).sum();
        assert!(handed_out > 20, "{handed_out} chunks: none was cut");
        // And short ones are not cut at all.
        pool.map(square, &items).unwrap();
        let more: u64 = pool.stats().unwrap().iter().map(|worker| worker.tasks).sum();
        assert!(more - handed_out <= 12, "{} chunks for 3000 short tasks", more - handed_out);
    });
}

/// Counted in by tasks; made before its pool, whose workers inherit it.
static RUNS: OnceLock<Array<u32>> = OnceLock::new();
static COUNT: OnceLock<Value<u64>> = OnceLock::new();

fn b07_chunks_of_nothing_are_refused_and_all_others_give_the_same() {
    let pool = Pool::new(2).unwrap();
    let items: Vec<u64> = (0..10).collect();
    assert_eq!(pool.map_with_chunk(square, &items, 0).unwrap_err().kind(), ErrorKind::Invalid);
    let serial: Vec<u64> = items.iter().map(|&n| square(n)).collect();
    for chunk in [1, 3, 10, 11, usize::MAX] {
        assert_eq!(pool.map_with_chunk(square, &items, chunk).unwrap(), serial);
    }
    // 0 is the default where it is one of many settings.
    assert!(pool.imap(square, items.clone()).chunk(0).map(Result::unwrap).eq(serial));
}

fn what_ran_how_often_is_known_with_each_policy() {
    in_a_child(|| {
        let runs = COUNT.get_or_init(|| Value::new(0).unwrap());
        let dies = |_: u64| -> u64 {
            COUNT.get().unwrap().fetch_add(1);
            std::process::abort()
        };
        let policies =
            [(Retry::Never, 1), (Retry::IfNotBegun, 1), (Retry::Times(0), 1), (Retry::Times(3), 4)];
        for (retry, times) in policies {
            runs.store(0);
            let pool = Pool::builder().workers(1).retry(retry).build().unwrap();
            match pool.call(dies, 0) {
                Err(TaskError::WorkerDied { pid, status, attempts }) => {
                    assert_eq!((attempts, runs.load()), (times, u64::from(times)), "{retry:?}");
                    assert!(pid != 0 && status == ExitStatus::Signaled(libc::SIGABRT));
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(Retry::default(), Retry::IfNotBegun);
    });
}

/// Kills workers at random under many short tasks; counts those that ended without having been begun.
fn refused_under_kills(retry: Retry, enough: u64, most: u64) -> (u64, u64) {
    let runs = RUNS.get_or_init(|| Array::new(100).unwrap());
    let pool = Pool::builder().workers(2).retry(retry).build().unwrap();
    let count = |n: u64| {
        RUNS.get().unwrap().fetch_add(n as usize, 1).unwrap();
        n
    };
    let (mut refused, mut kills) = (0, 0);
    while refused < enough && kills < most {
        (0..100).for_each(|n| runs.store(n, 0).unwrap());
        let tasks: Vec<_> = (0..100).map(|n| pool.submit(count, n).unwrap()).collect();
        pool.worker_pids().unwrap().first().into_iter().for_each(|&pid| kill(pid));
        kills += 1;
        for (n, task) in tasks.iter().enumerate() {
            let ran = match task.get() {
                Ok(_) => 1..=1,
                Err(TaskError::WorkerDied { attempts: 0, pid: 0, .. }) => {
                    refused += 1;
                    0..=0
                }
                // Between the note that it begins and its first instruction it may be killed, too.
                Err(TaskError::WorkerDied { attempts: 1, .. }) => 0..=1,
                Err(other) => panic!("{other:?}"),
            };
            assert!(ran.contains(&runs.load(n).unwrap()), "task {n}: {:?}", task.get());
        }
    }
    (refused, kills)
}

fn a_task_that_was_taken_and_not_begun_runs_elsewhere_unless_it_is_never_to() {
    in_a_child(|| {
        let (refused, kills) = refused_under_kills(Retry::Never, 1, 5000);
        println!(
            "    {refused} of {kills} kills hit a worker that had taken a task and not begun it"
        );
        assert!(refused >= 1, "none in {kills} kills");
        let (refused, _) = refused_under_kills(Retry::IfNotBegun, 1, 300);
        assert_eq!(refused, 0);
    });
}

fn dig(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 64]);
    if depth == u64::MAX { 0 } else { dig(depth + 1) + room[depth as usize % 64] }
}

/// Ends badly, in one of many ways.
fn end_badly(how: u64) -> u64 {
    match how {
        0 => panic!("plainly"),
        1 => std::panic::panic_any(how),
        2 => std::panic::resume_unwind(Box::new("without the hook")),
        3 => std::process::exit(0),
        4 => std::process::exit(7),
        5 => std::process::abort(),
        6 => dig(0),
        7 => {
            let limit = libc::rlimit { rlim_cur: 1 << 30, rlim_max: 1 << 30 };
            // SAFETY: a valid limit.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0);
            let mut all = Vec::new();
            loop {
                all.push(std::hint::black_box(vec![1u8; 64 << 20]));
            }
        }
        // SAFETY: ends the process, or raises a signal in it.
        8 => unsafe { libc::_exit(9) },
        // SAFETY: nothing lies there, and the kernel says so by a signal.
        9 => unsafe {
            std::hint::black_box(std::ptr::without_provenance::<u64>(8)).read_volatile()
        },
        _ => how,
    }
}

fn b04_a_task_that_panics_exits_aborts_overflows_its_stack_or_its_memory_is_an_error() {
    // A fault's message on the way is not the test's.
    let pool = Pool::new(2).unwrap();
    let tasks: Vec<_> = (0..20).map(|how| pool.submit(end_badly, how).unwrap()).collect();
    let outcomes: Vec<_> = tasks.iter().map(|task| task.get_timeout(SOON)).collect();
    for (how, text) in [(0, "plainly"), (1, ""), (2, "without the hook")] {
        match &outcomes[how] {
            Err(TaskError::Failed { message, .. }) => assert!(message.contains(text), "{message}"),
            other => panic!("{how}: {other:?}"),
        }
    }
    let died: Vec<_> = outcomes[3..10]
        .iter()
        .map(|outcome| match outcome {
            Err(TaskError::WorkerDied { status, attempts: 1, .. }) => status.code().unwrap(),
            other => panic!("{other:?}"),
        })
        .collect();
    let (abort, fault) = (-libc::SIGABRT, -libc::SIGSEGV);
    assert!([abort, fault].contains(&died[3]), "a stack overflow: {died:?}");
    assert_eq!([&died[..3], &died[4..]].concat(), [0, 7, abort, abort, 9, fault]);
    for (how, outcome) in (0..).zip(&outcomes).skip(10) {
        assert_eq!(*outcome, Ok(how));
    }
    assert_eq!(pool.map(square, &[3]).unwrap(), [9]);
}

fn a79_every_lazy_map_gives_what_came_before_an_input_that_panics() {
    let pool = Pool::new(2).unwrap();
    let own = Pool::builder().workers(2).build_with(|n: u64| n * n).unwrap();
    for fails_at in [0u64, 3] {
        let input = || (0..10u64).inspect(move |&n| assert!(n != fails_at, "no item {n}"));
        let take = |values: &mut dyn Iterator<Item = Result<u64, TaskError>>| {
            let got = Cell::new(Vec::new());
            let all = std::panic::AssertUnwindSafe(|| {
                values.for_each(|value| {
                    let mut so_far = got.take();
                    so_far.push(value.unwrap());
                    got.set(so_far);
                });
            });
            let panic = std::panic::catch_unwind(all).unwrap_err().downcast::<String>().unwrap();
            assert_eq!(*panic, format!("no item {fails_at}"));
            let mut got = got.take();
            got.sort_unstable();
            assert!(got.into_iter().eq((0..fails_at).map(square)));
        };
        for _ in 0..2 {
            take(&mut pool.imap(square, input()));
            take(&mut pool.imap_unordered(square, input()));
            take(&mut own.imap(input()));
        }
    }
    assert_eq!(pool.call(square, 2), Ok(4));
}

pub const TESTS: &[Test] = tests![
    a76_a_callback_gets_the_value_or_the_error_once,
    a76_a_whole_map_calls_once,
    callbacks_of_tasks_that_nobody_waits_for_are_called_however_these_end,
    b05_a_callback_that_panics_is_recorded_and_later_results_come,
    a_callback_may_use_the_pool,
    callbacks_are_called_once_whoever_waits,
    progress_only_grows_and_ends_with_all,
    progress_that_panics_ends_the_map_and_the_pool_is_good,
    tasks_that_differ_a_thousandfold_are_balanced,
    each_item_of_a_map_that_is_cut_runs_once,
    b07_chunks_of_nothing_are_refused_and_all_others_give_the_same,
    what_ran_how_often_is_known_with_each_policy,
    a_task_that_was_taken_and_not_begun_runs_elsewhere_unless_it_is_never_to: 180,
    b04_a_task_that_panics_exits_aborts_overflows_its_stack_or_its_memory_is_an_error,
    a79_every_lazy_map_gives_what_came_before_an_input_that_panics,
];
